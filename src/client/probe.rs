//! Whether replicas serve signed answers yet: one DNS query to each, as a validator would send it.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpStream, UdpSocket};

use super::Cluster;
use super::question::query;
use crate::committee::ReplicaId;
use crate::directory::name::Name;
use crate::directory::rrset::Rtype;
use crate::limits::PROBE_TIMEOUT_MS;

/// Replicas and zones without a signed SOA record, in their order.
pub async fn unsigned(cluster: &Cluster) -> Vec<(ReplicaId, Name)> {
    let mut missing = Vec::new();
    for replica in &cluster.replicas {
        // A replica that starts answers from its zones before it has read the rest; its API opens then.
        let connect = TcpStream::connect(&replica.api);
        let is_up = tokio::time::timeout(Duration::from_millis(PROBE_TIMEOUT_MS), connect).await;
        let is_up = is_up.is_ok_and(|connected| connected.is_ok());
        for zone in &cluster.zones {
            if !is_up || !serves_signed(replica.dns, &zone.name).await {
                missing.push((replica.id, zone.name.clone()));
            }
        }
    }
    missing
}

async fn serves_signed(server: SocketAddr, zone: &Name) -> bool {
    let exchange = async {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
        socket.connect(server).await?;
        socket.send(&query(0x706f, zone, Rtype::SOA)).await?;
        let mut answer = [0; 1232];
        let length = socket.recv(&mut answer).await?;
        Ok::<bool, std::io::Error>(is_signed(&answer[..length]))
    };
    let answered = tokio::time::timeout(Duration::from_millis(PROBE_TIMEOUT_MS), exchange).await;
    matches!(answered, Ok(Ok(true)))
}

/// NOERROR, and two records in the answer section: the SOA and its RRSIG.
fn is_signed(answer: &[u8]) -> bool {
    answer.len() > 12 && answer[3] & 0x0f == 0 && answer[6..8] == [0, 2]
}
