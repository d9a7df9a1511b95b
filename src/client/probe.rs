//! Whether replicas serve signed answers yet: one DNS query to each, as a validator would send it.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;

use super::Cluster;
use crate::committee::ReplicaId;
use crate::directory::name::Name;
use crate::limits::PROBE_TIMEOUT_MS;

/// Replicas and zones without a signed SOA record, in their order.
pub async fn unsigned(cluster: &Cluster) -> Vec<(ReplicaId, Name)> {
    let mut missing = Vec::new();
    for replica in &cluster.replicas {
        for zone in &cluster.zones {
            if !serves_signed(replica.dns, &zone.name).await {
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
        socket.send(&soa_query(zone)).await?;
        let mut answer = [0; 1232];
        let length = socket.recv(&mut answer).await?;
        Ok::<bool, std::io::Error>(is_signed(&answer[..length]))
    };
    let answered = tokio::time::timeout(Duration::from_millis(PROBE_TIMEOUT_MS), exchange).await;
    matches!(answered, Ok(Ok(true)))
}

/// SOA of `zone`, class IN, with the DO bit (RFC 3225, RFC 6891).
fn soa_query(zone: &Name) -> Vec<u8> {
    const HEADER: [u8; 12] = [0x70, 0x6f, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    const SOA_IN: [u8; 4] = [0, 6, 0, 1];
    // Root owner, OPT, 1232 bytes, version 0, DO.
    const OPT: [u8; 11] = [0, 0, 41, 0x04, 0xd0, 0, 0, 0x80, 0, 0, 0];
    [&HEADER[..], zone.as_wire(), &SOA_IN, &OPT].concat()
}

/// NOERROR, and two records in the answer section: the SOA and its RRSIG.
fn is_signed(answer: &[u8]) -> bool {
    answer.len() > 12 && answer[3] & 0x0f == 0 && answer[6..8] == [0, 2]
}
