//! Liars about the state: its signed heads, and the copies that others make of it.

use std::collections::BTreeMap;

use super::{Conduct, Mind};
use crate::codec;
use crate::committee::ReplicaId;
use crate::crypto::bls::{HeadShare, HeadSignature};
use crate::crypto::digest::Digest;
use crate::limits::MAX_HEAD_MESSAGE;
use crate::replica::heads::{Head, SignedHead};
use crate::replica::message::{PeerMessage, StatePart};
use crate::sim::stream::Stream;

fn share_message(head: &Head, share: HeadShare) -> PeerMessage {
    PeerMessage::HeadShare(codec::encode(&(head, share)))
}

fn read_share(bytes: &[u8]) -> Option<(Head, HeadShare)> {
    codec::decode(bytes, MAX_HEAD_MESSAGE).ok()
}

/// The head with something changed that it says of the state.
fn altered(rng: &mut Stream, head: &Head) -> Head {
    let mut head = *head;
    match rng.below(4) {
        0 => head.root = Digest(rng.bytes(32).try_into().expect("32 bytes")),
        1 => head.height += rng.between(1, 500),
        2 => head.round += rng.between(1, 5000),
        _ => head.checkpoint ^= true,
    }
    head
}

/// Shares that are none, good shares of heads that are none, and heads of its own making.
pub struct BadHeads;

impl BadHeads {
    pub fn new(_: &mut Stream) -> Self {
        Self
    }
}

impl Conduct for BadHeads {
    fn send(&mut self, mind: &mut Mind, to: ReplicaId, message: PeerMessage) {
        let lie = match &message {
            PeerMessage::HeadShare(bytes) => read_share(bytes).map(|(head, _)| {
                let wrong = altered(&mut mind.rng, &head);
                match mind.rng.below(4) {
                    0 => share_message(&wrong, mind.heads.sign(&wrong.digest())),
                    1 => share_message(&head, mind.heads.sign(&wrong.digest())),
                    2 => PeerMessage::HeadShare(mind.rng.bytes(80)),
                    _ => forged(mind, &wrong),
                }
            }),
            PeerMessage::Head(bytes) => SignedHead::from_bytes(bytes).map(|signed| {
                let wrong = altered(&mut mind.rng, &signed.head);
                PeerMessage::Head(SignedHead { head: wrong, ..signed }.to_bytes())
            }),
            _ => None,
        };
        mind.send(to, &lie.unwrap_or(message));
    }
}

/// A checkpoint that nobody signed.
fn forged(mind: &mut Mind, head: &Head) -> PeerMessage {
    let head = Head { checkpoint: true, ..*head };
    let bytes = mind.rng.bytes(96).try_into().expect("96 bytes");
    PeerMessage::Head(SignedHead { head, signature: HeadSignature::from_bytes(&bytes) }.to_bytes())
}

/// Signs no head, and tells nobody of one.
pub struct NoHeads;

impl NoHeads {
    pub fn new(_: &mut Stream) -> Self {
        Self
    }
}

impl Conduct for NoHeads {
    fn send(&mut self, mind: &mut Mind, to: ReplicaId, message: PeerMessage) {
        if !matches!(message, PeerMessage::HeadShare(_) | PeerMessage::Head(_)) {
            mind.send(to, &message);
        }
    }
}

/// Whoever asks is shown the lowest head that it ever saw, and its first shares again and again.
#[derive(Default)]
pub struct StaleHeads {
    signed: BTreeMap<u64, SignedHead>,
    shares: BTreeMap<u64, Vec<u8>>,
}

impl StaleHeads {
    pub fn new(_: &mut Stream) -> Self {
        Self::default()
    }
}

impl Conduct for StaleHeads {
    fn hear(&mut self, _: &mut Mind, _: ReplicaId, message: &PeerMessage) -> bool {
        if let PeerMessage::Head(bytes) = message
            && let Some(signed) = SignedHead::from_bytes(bytes)
        {
            self.signed.insert(signed.head.height, signed);
        }
        true
    }

    fn send(&mut self, mind: &mut Mind, to: ReplicaId, message: PeerMessage) {
        let message = match message {
            PeerMessage::HeadShare(bytes) => {
                if let Some((head, _)) = read_share(&bytes) {
                    self.shares.insert(head.height, bytes.clone());
                }
                PeerMessage::HeadShare(self.shares.first_key_value().map_or(bytes, |(_, oldest)| oldest.clone()))
            }
            PeerMessage::Head(bytes) => {
                if let Some(signed) = SignedHead::from_bytes(&bytes) {
                    self.signed.insert(signed.head.height, signed);
                }
                PeerMessage::Head(self.signed.first_key_value().map_or(bytes, |(_, oldest)| oldest.to_bytes()))
            }
            other => other,
        };
        mind.send(to, &message);
    }
}

/// Serves state that is not what was signed: pieces with wrong bytes, of wrong length or of another place, wrong lists of
/// pieces; or says that it has none.
pub struct LyingState;

impl LyingState {
    pub fn new(_: &mut Stream) -> Self {
        Self
    }
}

impl Conduct for LyingState {
    fn send(&mut self, mind: &mut Mind, to: ReplicaId, message: PeerMessage) {
        let PeerMessage::StateAnswer { height, part, mut bytes } = message else { return mind.send(to, &message) };
        let at = mind.rng.below(bytes.len() as u64) as usize;
        let lie = match mind.rng.below(6) {
            0 => PeerMessage::StateRefusal { height },
            1 => return,
            2 => {
                bytes.truncate(at);
                PeerMessage::StateAnswer { height, part, bytes }
            }
            3 => {
                let elsewhere = match part {
                    StatePart::Manifest => StatePart::Range { offset: 0, length: bytes.len() as u32 },
                    StatePart::Range { offset, length } => StatePart::Range { offset: offset + 1, length },
                };
                PeerMessage::StateAnswer { height, part: elsewhere, bytes }
            }
            4 => PeerMessage::StateAnswer { height: height + 1, part, bytes },
            _ => {
                bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1);
                PeerMessage::StateAnswer { height, part, bytes }
            }
        };
        mind.send(to, &lie);
    }
}
