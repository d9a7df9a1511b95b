//! Heads signed without pairings, in the universes that take the stand-in.
//!
//! A pairing takes milliseconds, and a universe has few of them to live; with real signatures under heads a third of its
//! CPU time would go there. Shares and signatures here are hashes under a key of the simulator, as long as the real ones:
//! only a replica itself can make its shares, only a quorum of good ones makes a signature, there is one for each head,
//! and everybody can judge both. That is what [`crate::replica::heads`] relies on. Corrupt replicas get at it
//! through [`HeadSigning`] alone, as themselves. One universe in [`super::plan::REAL_EVERY`] has real signatures.

use crate::committee::{Committee, ReplicaId, ReplicaSet};
use crate::crypto::bls::{HeadShare, HeadSignature};
use crate::crypto::digest::{Digest, hash};
use crate::replica::heads::HeadSigning;

pub struct StandIn {
    me: ReplicaId,
    committee: Committee,
    key: Digest,
}

impl StandIn {
    pub fn new(me: ReplicaId, committee: Committee, network: Digest) -> Self {
        Self { me, committee, key: hash("torrens simulated head key", &[&network.0]) }
    }

    fn tag(&self, what: &[u8], head: &Digest) -> [u8; 96] {
        let part = |number: u8| hash("torrens simulated head", &[&self.key.0, what, &head.0, &[number]]).0;
        [part(0), part(1), part(2)].concat().try_into().expect("3 times 32 bytes")
    }

    fn share(&self, author: ReplicaId, head: &Digest) -> HeadShare {
        HeadShare::from_bytes(&self.tag(&[author.0], head))
    }

    fn signature(&self, head: &Digest) -> HeadSignature {
        HeadSignature::from_bytes(&self.tag(b"all", head))
    }
}

impl HeadSigning for StandIn {
    fn sign(&self, head: &Digest) -> HeadShare {
        self.share(self.me, head)
    }

    fn verify_share(&self, author: ReplicaId, head: &Digest, share: &HeadShare) -> bool {
        self.committee.contains(author) && self.share(author, head) == *share
    }

    fn verify(&self, head: &Digest, signature: &HeadSignature) -> bool {
        self.signature(head) == *signature
    }

    fn combine(&self, head: &Digest, shares: &[(ReplicaId, HeadShare)]) -> Option<HeadSignature> {
        let authors: ReplicaSet = shares.iter().map(|(author, _)| *author).collect();
        let all_good = shares.iter().all(|(author, share)| self.verify_share(*author, head, share));
        (all_good && authors.len() >= self.committee.quorum_threshold()).then(|| self.signature(head))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quorum_of_good_shares_makes_the_one_signature_and_nothing_else_does() {
        let committee = Committee::new(4).unwrap();
        let of = |id| StandIn::new(ReplicaId(id), committee.clone(), Digest([1; 32]));
        let (head, other) = (Digest([2; 32]), Digest([3; 32]));
        let share = |id: u8| (ReplicaId(id), of(id).sign(&head));
        let signature = of(0).combine(&head, &[share(1), share(2), share(3)]).unwrap();
        assert_eq!(of(3).combine(&head, &[share(0), share(1), share(2)]), Some(signature));
        assert!(of(2).verify(&head, &signature) && !of(2).verify(&other, &signature));
        assert_eq!(of(0).combine(&head, &[share(1), share(2)]), None);
        assert_eq!(of(0).combine(&head, &[share(1), share(2), share(2)]), None);
        assert_eq!(of(0).combine(&head, &[share(1), share(2), (ReplicaId(3), share(2).1)]), None);
        assert_eq!(of(0).combine(&other, &[share(1), share(2), share(3)]), None);
    }
}
