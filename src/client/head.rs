//! The newest signed head of a replica, and whether several can be of one order.
//!
//! A head ([`crate::replica::heads`]) names a height and the root over all rows there. The cluster's threshold key
//! signs it: correct replicas sign one for each height. Two signed heads that no single order can have are proof that
//! the cluster diverged: more replicas than may fail signed both, or the key is known to somebody. Any client can show
//! that to anybody.

use std::time::Duration;

use axum::http::StatusCode;

use super::Cluster;
use super::transport::Transport;
use crate::limits::{MAX_OUTCOME_ANSWER, REQUEST_TIMEOUT_MS};
use crate::replica::heads::{Head, SignedHead};
use crate::replica::report::HeadReport;

/// What came of asking for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HeadReply {
    /// The cluster's key signed it.
    Proven(Box<SignedHead>),
    /// It says that none is signed yet.
    Nothing,
    /// What the cluster's key did not sign.
    Forged,
    /// Nobody was asked, or nothing came that has to do with heads.
    Silent,
}

impl HeadReply {
    pub fn proven(&self) -> Option<&SignedHead> {
        match self {
            Self::Proven(signed) => Some(signed),
            _ => None,
        }
    }
}

/// Asks the replica with this API for its newest signed head, and checks it.
pub async fn ask(transport: &Transport, api: &str, cluster: &Cluster) -> HeadReply {
    let within = Duration::from_millis(REQUEST_TIMEOUT_MS);
    match transport.get(api, "/v1/head", MAX_OUTCOME_ANSWER, within).await {
        Some((StatusCode::OK, body)) => judge(&body, cluster),
        Some((StatusCode::NOT_FOUND, _)) => HeadReply::Nothing,
        _ => HeadReply::Silent,
    }
}

fn judge(body: &[u8], cluster: &Cluster) -> HeadReply {
    let report = serde_json::from_slice::<HeadReport>(body).ok();
    let signed = report.and_then(|report| SignedHead::from_bytes(&report.head));
    match signed.filter(|signed| signed.verify(&cluster.heads, cluster.network)) {
        Some(signed) => HeadReply::Proven(Box::new(signed)),
        None => HeadReply::Forged,
    }
}

/// Whether no order has both heads: for one height they differ, or what only grows is less at the greater height.
pub fn contradict(a: &Head, b: &Head) -> bool {
    let (low, high) = if a.height <= b.height { (a, b) } else { (b, a) };
    if low.height == high.height {
        return low != high;
    }
    low.epoch > high.epoch
        || low.round > high.round
        || low.agreed_time > high.agreed_time
        || low.position > high.position
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::client::cluster::tests::{cluster_of, head_key};
    use crate::crypto::digest::Digest;
    use crate::directory::Timestamp;

    pub fn head(height: u64) -> Head {
        Head {
            network: Digest([0x11; 32]),
            epoch: 0,
            height,
            round: 2 * height,
            agreed_time: Timestamp(1000 * height),
            position: 10 * height,
            rows: 5,
            checkpoint: false,
            root: Digest([7; 32]),
        }
    }

    /// Signed by three of four.
    pub fn signed(head: Head) -> SignedHead {
        let (public, secrets) = head_key();
        let digest = head.digest();
        let shares: Vec<_> = secrets[1..].iter().map(|secret| (secret.index(), secret.sign(&digest))).collect();
        SignedHead { head, signature: public.combine(&digest, &shares).unwrap() }
    }

    /// What a replica answers.
    fn answer(head: &[u8]) -> String {
        serde_json::to_string(&HeadReport { head: head.to_vec() }).unwrap()
    }

    #[test]
    fn only_what_the_clusters_key_signed_for_this_network_is_proven() {
        let cluster = cluster_of(&["a:1", "b:1", "c:1", "d:1"].map(String::from));
        let judged = |head: &[u8]| judge(answer(head).as_bytes(), &cluster);
        let sound = signed(head(7));
        assert_eq!(judged(&sound.to_bytes()), HeadReply::Proven(Box::new(sound)));
        let elsewhere = signed(Head { network: Digest([0x12; 32]), ..head(7) });
        assert_eq!(judged(&elsewhere.to_bytes()), HeadReply::Forged, "of another network");
        let other = SignedHead { head: head(8), ..sound };
        assert_eq!(judged(&other.to_bytes()), HeadReply::Forged, "signed for another height");
        for length in 0..sound.to_bytes().len() {
            assert_eq!(judged(&sound.to_bytes()[..length]), HeadReply::Forged, "{length} bytes");
        }
        assert_eq!(judge(b"{}", &cluster), HeadReply::Forged);
    }

    #[test]
    fn heads_of_one_order_grow_in_everything() {
        assert!(!contradict(&head(7), &head(7)) && !contradict(&head(7), &head(9)) && !contradict(&head(9), &head(7)));
        assert!(contradict(&head(7), &Head { root: Digest([8; 32]), ..head(7) }), "two roots at one height");
        for earlier in [
            Head { round: 13, ..head(9) },
            Head { agreed_time: Timestamp(6999), ..head(9) },
            Head { position: 69, ..head(9) },
        ] {
            assert!(contradict(&head(7), &earlier) && contradict(&earlier, &head(7)), "{earlier:?}");
        }
        assert!(!contradict(&head(7), &Head { rows: 1, ..head(9) }), "rows may be deleted");
    }
}
