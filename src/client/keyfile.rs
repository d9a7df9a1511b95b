//! Key files: an Ed25519 private key as PKCS#8 in PEM, as `openssl genpkey -algorithm ed25519` writes it (RFC 8410 §7,
//! RFC 5958, RFC 7468 §10).
//!
//! Read: version 1, and version 2 with a public key that fits. Written: version 1, mode 0600, never over a file.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use zeroize::Zeroizing;

use super::input::{self, InputError};
use crate::crypto::ed25519::{PKCS8, SecretKey};

const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const END: &str = "-----END PRIVATE KEY-----";
/// PrivateKeyInfo with version 1 and a public key after it ([1], 33 bytes: no unused bits, then the key).
const VERSION_2: &[u8] = &[0x30, 0x51, 2, 1, 1, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
const VERSION_2_PUBLIC: &[u8] = &[0x81, 0x21, 0];

pub fn load(path: &Path) -> Result<SecretKey, InputError> {
    let text = input::read_text(path)?;
    let key = parse(&text).map_err(|(line, what)| InputError::new(path, line, what))?;
    if let Ok(metadata) = std::fs::metadata(path)
        && metadata.permissions().mode() & 0o077 != 0
    {
        tracing::warn!("{}: others can read this key; chmod 600 it", path.display());
    }
    Ok(key)
}

/// Writes a new key file. An existing file is left as it is.
pub fn create(path: &Path, key: &SecretKey) -> Result<(), InputError> {
    let failed = |error: std::io::Error| {
        let what = match error.kind() {
            ErrorKind::AlreadyExists => "exists already; a key file is never overwritten".to_owned(),
            _ => format!("cannot be written: {error}"),
        };
        InputError::new(path, None, what)
    };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    file.write_all(to_pem(key).as_bytes()).and_then(|()| file.sync_all()).map_err(failed)
}

pub fn to_pem(key: &SecretKey) -> Zeroizing<String> {
    let base64 = Zeroizing::new(data_encoding::BASE64.encode(&key.to_pkcs8()));
    Zeroizing::new(format!("{BEGIN}\n{}\n{END}\n", base64.as_str()))
}

type Complaint = (Option<usize>, String);

fn parse(text: &str) -> Result<SecretKey, Complaint> {
    let mut lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
    // Text before the first boundary is commentary (RFC 7468 §2).
    let (_, begin) = lines
        .find(|(_, line)| line.starts_with("-----BEGIN "))
        .ok_or_else(|| (Some(1), format!("no line {BEGIN}: this is not a key file")))?;
    if begin != BEGIN {
        let at = text.lines().position(|line| line.trim() == begin).map(|at| at + 1);
        return Err((at, another_kind(begin)));
    }
    let mut base64 = Zeroizing::new(String::with_capacity(text.len()));
    let mut first = None;
    for (at, line) in lines {
        if line == END {
            return decode(&base64).map_err(|what| (first, what));
        }
        let alphabet = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte);
        if !line.bytes().all(alphabet) {
            return Err((Some(at), "neither base64 nor the line that ends the key".to_owned()));
        }
        first = first.or(Some(at));
        base64.push_str(line);
    }
    Err((Some(text.lines().count()), format!("the key breaks off before a line {END}")))
}

fn another_kind(begin: &str) -> String {
    match begin {
        "-----BEGIN ENCRYPTED PRIVATE KEY-----" => {
            "the key is encrypted: decrypt it with `openssl pkey -in FILE -out PLAIN`".to_owned()
        }
        "-----BEGIN PUBLIC KEY-----" => "this is a public key; signing needs the private one".to_owned(),
        "-----BEGIN OPENSSH PRIVATE KEY-----" => {
            "an OpenSSH key; make one with `torrens key generate` instead".to_owned()
        }
        other => format!("{other}, where {BEGIN} was expected"),
    }
}

fn decode(base64: &str) -> Result<SecretKey, String> {
    let der = data_encoding::BASE64.decode(base64.as_bytes()).map(Zeroizing::new);
    let der = der.map_err(|error| format!("not base64: {error}"))?;
    let not_ours = || {
        "not an Ed25519 key: make one with `torrens key generate` or `openssl genpkey -algorithm ed25519`".to_owned()
    };
    let (seed, public) = if let Some(seed) = der.strip_prefix(PKCS8) {
        (seed, None)
    } else {
        let rest = der.strip_prefix(VERSION_2).ok_or_else(not_ours)?;
        let (seed, public) = rest.split_at_checked(32).ok_or_else(not_ours)?;
        (seed, Some(public.strip_prefix(VERSION_2_PUBLIC).ok_or_else(not_ours)?))
    };
    let key = SecretKey::from_seed(seed.try_into().map_err(|_| not_ours())?);
    if public.is_some_and(|public| public != key.public().0) {
        return Err("the public key in the file does not belong to the private one".to_owned());
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8410 §10.3.
    const RFC_8410: &str = "-----BEGIN PRIVATE KEY-----\n\
        MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
        -----END PRIVATE KEY-----\n";

    fn complaint(text: &str) -> Complaint {
        parse(text).expect_err("should be refused")
    }

    #[test]
    fn the_key_of_rfc_8410_section_10_3_is_read_and_written_back() {
        let key = parse(RFC_8410).unwrap();
        let public = data_encoding::BASE64.encode(&key.public().0);
        assert_eq!(public, "Gb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=");
        assert_eq!(to_pem(&key).as_str(), RFC_8410);
    }

    #[test]
    fn a_version_2_key_must_hold_its_own_public_key() {
        let key = SecretKey::from_seed(&[7; 32]);
        let pem = |public: &[u8]| {
            let der = [VERSION_2, &*key.seed(), VERSION_2_PUBLIC, public].concat();
            format!("{BEGIN}\n{}\n{END}\n", data_encoding::BASE64.encode(&der))
        };
        assert_eq!(parse(&pem(&key.public().0)).unwrap().public(), key.public());
        assert!(complaint(&pem(&[1; 32])).1.contains("does not belong"));
    }

    #[test]
    fn a_broken_key_file_is_told_by_line() {
        assert_eq!(complaint("hello\n").0, Some(1));
        assert_eq!(complaint(&RFC_8410.replace("MC4C", "MC*C")).0, Some(2));
        assert_eq!(complaint(&RFC_8410.replace("MC4C", "MC4D")).0, Some(2));
        assert_eq!(complaint(RFC_8410.split_inclusive("VhC\n").next().unwrap()).0, Some(2));
        let (line, what) = complaint("note\n-----BEGIN ENCRYPTED PRIVATE KEY-----\n");
        assert_eq!(line, Some(2));
        assert!(what.contains("encrypted"), "{what}");
    }

    #[test]
    fn a_key_file_is_private_and_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("alice.key");
        let key = SecretKey::from_seed(&[7; 32]);
        create(&path, &key).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let again = create(&path, &SecretKey::from_seed(&[8; 32])).unwrap_err();
        assert!(again.to_string().contains("never overwritten"), "{again}");
        assert_eq!(load(&path).unwrap().public(), key.public());
    }
}
