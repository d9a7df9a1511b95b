//! Which bytes are a block.

use rand_core::RngCore;

use super::*;
use crate::limits::{MAX_BLOCK, MAX_PARENTS, MAX_PAYLOAD, MAX_ROUND};

fn keys() -> Keys {
    Keys::new(4, WaveLength::Five, 100)
}

fn parent(round: u64, author: u8) -> BlockRef {
    BlockRef { round, author: r(author), digest: hash("test parent", &[&[author], &round.to_be_bytes()]) }
}

fn header(round: u64) -> Header {
    Header {
        epoch: 0,
        round,
        author: r(1),
        parents: (0..3).map(|author| parent(round - 1, author)).collect(),
        coin: Vec::new(),
        timestamp: Timestamp(1_700_000_000_000),
        gap: false,
    }
}

fn sign(keys: &Keys, header: Header, payload: &[u8]) -> Vec<u8> {
    let mut header = header;
    let name = keys.public.share_name(header.round);
    if let Some(name) = name.filter(|_| header.coin.is_empty()) {
        header.coin = keys.coin(r(1)).shares(&name);
    }
    VerifiedBlock::sign(&keys.public, header, payload, &keys.identities[1]).bytes().to_vec()
}

fn fault(keys: &Keys, header: Header) -> BlockFault {
    VerifiedBlock::verify(&keys.public, sign(keys, header, b"")).unwrap_err()
}

#[test]
fn a_valid_block_verifies_and_gives_back_what_went_in() {
    let keys = keys();
    let bytes = sign(&keys, header(7), b"payload");
    let block = VerifiedBlock::verify(&keys.public, bytes.clone()).unwrap();
    assert_eq!((block.round(), block.author(), block.payload()), (7, r(1), b"payload".as_slice()));
    assert_eq!(block.bytes(), bytes);
    assert_eq!(VerifiedBlock::peek(&keys.public, &bytes), Some(block.reference()));
    assert_eq!(VerifiedBlock::reload(&keys.public, &block.reference(), bytes).unwrap(), block);
}

#[test]
fn the_bytes_of_a_block_are_frozen() {
    let keys = keys();
    let bytes = sign(&keys, header(5), b"payload");
    let block = VerifiedBlock::verify(&keys.public, bytes.clone()).unwrap();
    assert_eq!(data_encoding::HEXLOWER.encode(&bytes), include_str!("../../../tests/golden/block.hex").trim());
    assert_eq!(
        block.reference().digest.to_string(),
        "46d33a8c81bedaca2092fac1567bd6a089a35b96036c73e029f21b9e440b1c1b"
    );
}

#[test]
fn parents_are_a_quorum_of_the_round_before_in_strict_order_one_a_slot() {
    let keys = keys();
    let with = |parents: Vec<BlockRef>| fault(&keys, Header { parents, ..header(7) });
    assert_eq!(with(vec![parent(6, 0), parent(6, 1)]), BlockFault::NoQuorum);
    assert_eq!(with(vec![parent(5, 0), parent(6, 1), parent(6, 2)]), BlockFault::NoQuorum);
    assert_eq!(with(vec![parent(6, 1), parent(6, 0), parent(6, 2)]), BlockFault::Parent(parent(6, 0)));
    let twin = BlockRef { digest: hash("twin", &[]), ..parent(6, 1) };
    assert_eq!(with(vec![parent(6, 0), parent(6, 1), twin, parent(6, 2)]), BlockFault::Parent(twin));
    assert_eq!(with(vec![parent(6, 0), parent(6, 1), parent(6, 9)]), BlockFault::Parent(parent(6, 9)));
    assert_eq!(with(vec![parent(6, 0), parent(6, 1), parent(6, 2), parent(7, 0)]), BlockFault::Parent(parent(7, 0)));
    assert_eq!(with(vec![parent(6, 0), parent(6, 2), parent(6, 3)]), BlockFault::OwnParent);
    let many = (0..=MAX_PARENTS as u64).map(|round| parent(round, 0)).collect();
    assert_eq!(with(many), BlockFault::ParentCount(MAX_PARENTS + 1));
}

#[test]
fn parents_lie_within_the_depth() {
    let keys = keys();
    let oldest = |round| {
        let mut parents = vec![parent(round, 3)];
        parents.extend(header(300).parents);
        sign(&keys, Header { parents, ..header(300) }, b"")
    };
    assert!(VerifiedBlock::verify(&keys.public, oldest(200)).is_ok());
    assert_eq!(VerifiedBlock::verify(&keys.public, oldest(199)), Err(BlockFault::Parent(parent(199, 3))));
}

#[test]
fn a_first_block_after_a_gap_needs_no_own_parent_but_must_say_so() {
    let keys = keys();
    let parents = vec![parent(6, 0), parent(6, 2), parent(6, 3)];
    let gap = Header { parents, gap: true, ..header(7) };
    assert!(VerifiedBlock::verify(&keys.public, sign(&keys, gap, b"")).is_ok());
    assert_eq!(fault(&keys, Header { parents: vec![], gap: true, ..header(1) }), BlockFault::Gap);
}

#[test]
fn a_coin_share_is_there_exactly_when_it_belongs() {
    let keys = keys();
    let share = |author: u8, round| keys.coin(r(author)).shares(&keys.public.coin_name(round));
    assert_eq!(fault(&keys, Header { coin: share(1, 1), ..header(4) }), BlockFault::CoinPresence);
    let missing = VerifiedBlock::sign(&keys.public, header(5), b"", &keys.identities[1]);
    assert_eq!(VerifiedBlock::verify(&keys.public, missing.bytes().to_vec()), Err(BlockFault::CoinPresence));
    let of_another = Header { coin: share(2, 3), ..header(7) };
    assert!(VerifiedBlock::verify(&keys.public, sign(&keys, of_another, b"")).is_ok(), "shares are judged later");
}

#[test]
fn rounds_epochs_authors_and_sizes_out_of_range_are_refused() {
    let keys = keys();
    assert_eq!(fault(&keys, Header { round: 0, parents: vec![], ..header(1) }), BlockFault::Round(0));
    let far = Header { round: MAX_ROUND + 1, ..header(7) };
    assert_eq!(fault(&keys, far), BlockFault::Round(MAX_ROUND + 1));
    assert_eq!(fault(&keys, Header { epoch: 1, ..header(7) }), BlockFault::Epoch(1));
    assert_eq!(fault(&keys, Header { author: r(4), ..header(7) }), BlockFault::Author(r(4)));
    let payload = sign(&keys, header(7), &vec![0; MAX_PAYLOAD + 1]);
    assert_eq!(VerifiedBlock::verify(&keys.public, payload), Err(BlockFault::Payload(MAX_PAYLOAD + 1)));
    assert_eq!(VerifiedBlock::verify(&keys.public, vec![0; MAX_BLOCK + 1]), Err(BlockFault::TooLong(MAX_BLOCK + 1)));
}

#[test]
fn the_largest_block_fits() {
    let keys = Keys::new(64, WaveLength::Five, 10_000);
    let round = MAX_ROUND;
    let parents = (round - 4..round).flat_map(|round| (0..64).map(move |author| parent(round, author))).collect();
    let header = Header { round, timestamp: Timestamp(u64::MAX), epoch: 0, parents, ..header(7) };
    let bytes = sign(&keys, header, &vec![7; MAX_PAYLOAD]);
    assert!(bytes.len() <= MAX_BLOCK);
    assert!(VerifiedBlock::verify(&keys.public, bytes).is_ok());
}

#[test]
fn a_block_of_another_author_or_network_is_refused() {
    let keys = keys();
    let forged = VerifiedBlock::sign(&keys.public, header(4), b"", &keys.identities[2]);
    assert_eq!(VerifiedBlock::verify(&keys.public, forged.bytes().to_vec()), Err(BlockFault::Signature(r(1))));
    let elsewhere = OrderPublic { network: hash("another network", &[]), ..(*keys.public).clone() };
    let bytes = sign(&keys, header(4), b"");
    assert_eq!(VerifiedBlock::verify(&elsewhere, bytes), Err(BlockFault::Signature(r(1))));
}

#[test]
fn a_block_has_one_encoding() {
    let keys = keys();
    let bytes = sign(&keys, header(7), b"payload");
    let length = bytes.len() - 64 - b"payload".len() - 1;
    // A number of the header and the payload's length, each padded with a zero; a byte behind the signature.
    for at in [0, length] {
        let mut padded = bytes.clone();
        padded.splice(at..=at, [bytes[at] | 0x80, 0]);
        assert_eq!(VerifiedBlock::verify(&keys.public, padded), Err(BlockFault::Encoding));
    }
    let longer = [bytes, vec![0]].concat();
    assert_eq!(VerifiedBlock::verify(&keys.public, longer), Err(BlockFault::Encoding));
}

#[test]
fn changed_bytes_are_refused_and_no_bytes_panic() {
    let keys = keys();
    let bytes = sign(&keys, header(7), b"some payload");
    for at in 0..bytes.len() {
        for bit in [0x01, 0x80] {
            let mut changed = bytes.clone();
            changed[at] ^= bit;
            assert!(VerifiedBlock::verify(&keys.public, changed.clone()).is_err(), "byte {at}");
            let _ = VerifiedBlock::peek(&keys.public, &changed);
        }
        assert!(VerifiedBlock::verify(&keys.public, bytes[..at].to_vec()).is_err());
    }
    let mut rng = ChaCha20Rng::seed_from_u64(3);
    for _ in 0..20_000 {
        let mut bytes = bytes.clone();
        let start = rng.next_u32() as usize % bytes.len();
        let end = (start + rng.next_u32() as usize % 24).min(bytes.len());
        rng.fill_bytes(&mut bytes[start..end]);
        if rng.next_u32() % 4 == 0 {
            bytes.truncate(rng.next_u32() as usize % 400);
        }
        let _ = VerifiedBlock::peek(&keys.public, &bytes);
        let _ = VerifiedBlock::verify(&keys.public, bytes);
    }
}
