use proptest::prelude::*;

use super::*;
use crate::directory::master::parse_records;

fn name(text: &str) -> Name {
    Name::parse(text, None).unwrap()
}

/// The RDATA that a type and its text say, relative to `example.`.
fn wire(rtype: &str, text: &str) -> std::result::Result<Vec<u8>, String> {
    let line = format!("@ {rtype} {text}");
    let rrsets = parse_records(&[line], &name("example."), 300).map_err(|error| error.message)?;
    Ok(rrsets[0].1.rdatas()[0].clone())
}

/// One or more records of every type in the table, as they are printed.
const RECORDS: &[(&str, &str)] = &[
    ("A", "192.0.2.1"),
    ("NS", "ns1.example."),
    ("CNAME", "www.example."),
    ("SOA", "ns1.example. hostmaster.example. 1 10800 3600 1209600 300"),
    ("MD", "a.example."),
    ("MF", "a.example."),
    ("MB", "a.example."),
    ("MG", "a.example."),
    ("MR", "a.example."),
    ("MINFO", "a.example. b.example."),
    ("RT", "10 a.example."),
    ("PX", "10 a.example. b.example."),
    ("LP", "10 a.example."),
    ("PTR", "\\@.a\\.b.example."),
    ("HINFO", "\"RISC-V\" \"\""),
    ("MX", "10 mail.example."),
    ("MX", "0 ."),
    ("TXT", "\"a \\\"quoted\\\" ; thing\" \"\\000\\255\""),
    ("RP", "a.example. ."),
    ("AFSDB", "1 afs.example."),
    ("KEY", "512 3 15 AAECAwQFBgcICQoLDA0ODw=="),
    ("AAAA", "2001:db8::1"),
    ("LOC", "34 55 42.500 S 138 36 2.250 E 50.00m 30.00m 10.00m 5.00m"),
    ("LOC", "90 0 0.000 N 180 0 0.000 W -100000.00m 0.00m 90000000.00m 0.09m"),
    ("SRV", "10 60 5223 chat.example."),
    ("NAPTR", "100 10 \"u\" \"E2U+sip\" \"!^.*$!sip:a@example!\" ."),
    ("KX", "1 kx.example."),
    ("CERT", "1 0 0 AQID"),
    ("DNAME", "other.example."),
    ("DS", "60485 15 2 D4B7D520E7BB5F0F67674A0CCEB1E3E0614B93C4F9E99B8383F6A1E4469DA50A"),
    ("SSHFP", "4 2 0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF"),
    ("DNSKEY", "257 3 15 AAECAwQFBgcICQoLDA0ODw=="),
    ("DHCID", "AAIBY2/AuCccgoJbsaxcQc9TUapptP69lOjxfNuVAA2kjEA="),
    ("TLSA", "3 1 1 0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF"),
    ("TLSA", "3 0 0 30"),
    ("SMIMEA", "3 0 0 30AB"),
    ("CDS", "0 0 0 00"),
    ("CDNSKEY", "0 3 0 AA=="),
    ("OPENPGPKEY", "mQENBFVHm5sBCA=="),
    ("CSYNC", "66 3 A NS AAAA"),
    ("SVCB", "1 ns1.example. alpn=dot port=853"),
    ("SVCB", "0 pool.example."),
    ("HTTPS", "1 . mandatory=alpn,port alpn=h2,h3 no-default-alpn port=443 ipv4hint=192.0.2.1,192.0.2.2 ech=AQID"),
    ("HTTPS", "16 . ipv6hint=2001:db8::1 dohpath=/q{?dns} ohttp key667=\"a b\""),
    ("HTTPS", "1 . alpn=\"f\\\\\\\\oo\\\\,bar,h2\""),
    ("SPF", "\"v=spf1 -all\""),
    ("URI", "10 1 \"https://example/\""),
    ("CAA", "0 issue \"torrens.example\""),
    ("CAA", "128 tbs \"\""),
    ("TYPE65280", "\\# 4 c0000201"),
    ("TYPE65280", "\\# 0"),
];

#[test]
fn every_type_goes_from_text_to_wire_and_back() {
    for (rtype, text) in RECORDS {
        let bytes = wire(rtype, text).unwrap_or_else(|error| panic!("{rtype} {text}: {error}"));
        assert_eq!(rdata_to_text(rtype_from_text(rtype).unwrap(), &bytes), *text, "{rtype}");
    }
    let service_made = ["RRSIG", "NSEC", "ZONEMD"];
    for (_, mnemonic, _) in TYPES.iter().filter(|(_, mnemonic, _)| !service_made.contains(mnemonic)) {
        assert!(RECORDS.iter().any(|(rtype, _)| rtype == mnemonic), "{mnemonic} has no record above");
    }
}

#[test]
fn types_that_the_service_makes_are_printed_too() {
    let rrsig = "A 15 2 300 20260904170000 20240229235959 57780 example. AQID";
    let mut wire = Vec::new();
    let words: Vec<Token<'_>> = rrsig.split(' ').map(|text| Token { text, quoted: false }).collect();
    wire.extend(rdata_from_tokens(Rtype::RRSIG, &words, None).unwrap());
    assert_eq!(rdata_to_text(Rtype::RRSIG, &wire), rrsig);
    assert_eq!(wire[8..12], 1_788_541_200u32.to_be_bytes());

    let nsec = "a.example. A NS SOA MX TXT RRSIG NSEC DNSKEY CAA TYPE65280";
    let words: Vec<Token<'_>> = nsec.split(' ').map(|text| Token { text, quoted: false }).collect();
    let wire = rdata_from_tokens(Rtype::NSEC, &words, None).unwrap();
    assert_eq!(rdata_to_text(Rtype::NSEC, &wire), nsec);
}

/// RFC 9460 appendix D.2, RFC 1876 §4 and others: bytes that others compute.
#[test]
fn known_texts_have_known_bytes() {
    let hex = |rtype, text| data_encoding::HEXLOWER.encode(&wire(rtype, text).unwrap());
    assert_eq!(hex("HTTPS", "0 foo.example.com."), "000003666f6f076578616d706c6503636f6d00");
    assert_eq!(hex("SVCB", "16 foo.example.org. port=53"), "001003666f6f076578616d706c65036f726700000300020035");
    assert_eq!(
        hex("SVCB", "16 foo.example.org. (alpn=h2,h3-19 mandatory=ipv4hint,alpn ipv4hint=192.0.2.1)"),
        "001003666f6f076578616d706c65036f72670000000004000100040001000902683205\
         68332d313900040004c0000201"
    );
    assert_eq!(
        hex("SVCB", r#"16 foo.example.org. alpn="f\\\\oo\\,bar,h2""#),
        "001003666f6f076578616d706c65036f726700000100 0c08665c6f6f2c626172026832".replace(' ', "")
    );
    assert_eq!(hex("LOC", "42 21 54 N 71 06 18 W -24m 30m"), "00331613 8917 2dd0 70be 15f0 0098 8d20".replace(' ', ""));
    assert_eq!(hex("CAA", "0 issue \"ca.example\""), "0005697373756563612e6578616d706c65");
    assert_eq!(hex("TXT", "plain \"two words\""), "05706c61696e0974776f20776f726473");
    assert_eq!(hex("MX", "10 MAIL"), "000a046d61696c076578616d706c6500");
}

#[test]
fn the_generic_form_is_held_to_the_type_it_names() {
    assert_eq!(wire("TYPE1", "\\# 4 C0 00 02 01"), wire("A", "192.0.2.1"));
    assert_eq!(wire("A", "\\# 5 c000020100"), Err("A: 1 bytes too many".into()));
    assert_eq!(wire("A", "\\# 4 c00002"), Err("A: \\# says 4 bytes and 3 follow".into()));
    assert!(wire("TYPE65280", "abc").unwrap_err().contains("\\# LENGTH HEX"));
}

#[test]
fn wrong_text_is_refused_in_words() {
    for (rtype, text, says) in [
        ("A", "192.0.2.256", "\"192.0.2.256\" is not an IPv4 address"),
        ("A", "192.0.2.1 192.0.2.2", "more than a A record holds"),
        ("AAAA", "192.0.2.1", "is not an IPv6 address"),
        ("MX", "mail", "is not a number from 0 to 65535"),
        ("MX", "10", "a domain name is missing"),
        ("TXT", "", "at least one string"),
        ("DS", "1 15 2 abcd", "a digest of type 2 has 32 bytes, not 2"),
        ("TLSA", "3 1 1 00", "a digest of type 1 has 32 bytes, not 1"),
        ("TLSA", "3 1 0", "hexadecimal data is missing"),
        ("CAA", "0 is-sue \"x\"", "letters and digits"),
        ("HTTPS", "1 . alpn=h2 alpn=h3", "given twice"),
        ("HTTPS", "1 . mandatory=port", "present among the parameters"),
        ("HTTPS", "1 . no-default-alpn", "only beside alpn"),
        ("HTTPS", "1 . colour=red", "is not a service parameter"),
        ("LOC", "91 N 0 E 0m", "not an angle"),
        ("LOC", "42 60 N 0 E 0m", "not an angle"),
        ("CNAME", "\"www\"", "without quotes"),
        ("CNAME", "a..b", "a label is empty"),
        ("SSHFP", "4 2 xyz", "not hexadecimal data"),
        ("KEY", "512 3 15 ###", "not base64 data"),
    ] {
        let error = wire(rtype, text).unwrap_err();
        assert!(error.contains(says), "{rtype} {text}: {error}");
    }
}

#[test]
fn wire_that_is_no_rdata_of_its_type_is_refused() {
    for (rtype, bytes) in [
        (Rtype::A, &[192, 0, 2][..]),
        (Rtype::A, &[192, 0, 2, 1, 0]),
        (Rtype::NS, b"\x03ns1"),
        (Rtype::NS, b"\x03ns1\xc0\x0c"),
        (Rtype::NS, b""),
        (Rtype::MX, &[0]),
        (Rtype::TXT, b""),
        (Rtype::TXT, b"\x05abc"),
        (Rtype(52), &[3]),
        (Rtype::NSEC, b"\x00\x00\x01"),
        (Rtype::NSEC, b"\x00\x00\x01\x00"),
        (Rtype(64), &[0, 1, 0, 0, 3, 0, 2, 0, 80, 0, 3, 0, 2, 0, 81]),
        (Rtype(29), &[1; 16]),
    ] {
        assert!(check_rdata(rtype, bytes).is_err(), "{rtype} {bytes:?}");
    }
    assert!(check_rdata(Rtype(65280), &vec![0; MAX_RDATA + 1]).is_err());
}

#[test]
fn names_in_rdata_are_lowered() {
    assert_eq!(check_rdata(Rtype::MX, b"\x00\x0a\x04MAIL\x00").unwrap(), b"\x00\x0a\x04mail\x00");
}

#[test]
fn hickory_reads_the_same_bytes() {
    use hickory_proto::rr::{RData, RecordType};
    use hickory_proto::serialize::binary::BinEncodable;
    for (rtype, text) in RECORDS {
        // The types that hickory reads without its DNSSEC stack, and writes without compression.
        let known = ["A", "AAAA", "NS", "CNAME", "MX", "SRV", "TLSA", "SSHFP", "CAA", "NAPTR", "CSYNC"];
        if !known.contains(rtype) {
            continue;
        }
        let record_type = RecordType::from(rtype_from_text(rtype).unwrap().0);
        let theirs = RData::try_from_str(record_type, text).unwrap_or_else(|error| panic!("{rtype} {text}: {error}"));
        assert_eq!(theirs.to_bytes().unwrap(), wire(rtype, text).unwrap(), "{rtype} {text}");
    }
}

fn any_known_type() -> impl Strategy<Value = Rtype> {
    prop_oneof![(0..TYPES.len()).prop_map(|at| Rtype(TYPES[at].0)), any::<u16>().prop_map(Rtype),]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_bytes_are_judged_and_printed(rtype in any_known_type(), bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        let text = rdata_to_text(rtype, &bytes);
        if let Ok(canonical) = check_rdata(rtype, &bytes) {
            prop_assert_eq!(check_rdata(rtype, &canonical).unwrap(), canonical.clone());
            let printed = rdata_to_text(rtype, &canonical);
            let mut entries = crate::directory::master::token::Entries::new(&printed);
            let tokens = entries.next_entry().unwrap().map_or(Vec::new(), |entry| entry.tokens);
            prop_assert_eq!(rdata_from_tokens(rtype, &tokens, None).unwrap(), canonical, "{} {}", rtype, text);
        }
    }

    #[test]
    fn records_with_one_byte_changed_print_what_parses_back(at in 0..RECORDS.len(), place in any::<usize>(), byte: u8) {
        let (rtype, text) = RECORDS[at];
        let mut bytes = wire(rtype, text).unwrap();
        let rtype = rtype_from_text(rtype).unwrap();
        if !bytes.is_empty() {
            let place = place % bytes.len();
            bytes[place] = byte;
        }
        if let Ok(canonical) = check_rdata(rtype, &bytes) {
            let printed = rdata_to_text(rtype, &canonical);
            let mut entries = crate::directory::master::token::Entries::new(&printed);
            let tokens = entries.next_entry().unwrap().map_or(Vec::new(), |entry| entry.tokens);
            prop_assert_eq!(rdata_from_tokens(rtype, &tokens, None).unwrap(), canonical);
        }
    }
}
