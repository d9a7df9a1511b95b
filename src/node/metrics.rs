//! Metric families of the replica, in OpenMetrics text.

use std::fmt::Write;
use std::sync::atomic::Ordering;

use crate::dns::transfer::Counts;
use crate::peer::MeshHandle;
use crate::replica::machine::Snapshot;
use crate::store::view::View;

pub fn render(snapshot: &Snapshot, view: &View, mesh: &MeshHandle, transferred: &Counts) -> String {
    let mut text = String::new();
    let mut gauge = |name: &str, help: &str, samples: &[(String, u64)]| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "# TYPE {name} gauge\n# HELP {name} {help}");
        for (labels, value) in samples {
            let _ = writeln!(text, "{name}{labels} {value}");
        }
    };
    let progress = snapshot.progress;
    let plain = |value: u64| vec![(String::new(), value)];
    gauge("torrens_abcast_height", "Commits executed", &plain(progress.height));
    gauge("torrens_abcast_round", "Round of the last committed leader", &plain(progress.round));
    gauge("torrens_operations_executed", "Operations executed", &plain(progress.position));
    gauge("torrens_agreed_time_seconds", "Agreed time", &plain(progress.agreed_time.seconds()));
    gauge("torrens_signatures_due", "Signatures that are due", &plain(snapshot.pending as u64));
    gauge(
        "torrens_sealed_unopened",
        "Sealed operations that are ordered and not opened",
        &plain(snapshot.unopened as u64),
    );
    gauge("torrens_commits_held", "Commits that wait for an opening", &plain(snapshot.held as u64));
    gauge("torrens_certificates_issued", "Certificates issued", &plain(snapshot.certificates.count() as u64));
    gauge("torrens_titles", "Titles", &plain(snapshot.directory.title_count() as u64));
    gauge("torrens_peers_up", "Peers that can be sent to", &plain(mesh.connected().len() as u64));
    let zone = |value: fn(&crate::directory::zone::SignedZone) -> u64| -> Vec<(String, u64)> {
        view.zones.iter().map(|(apex, zone)| (format!("{{zone=\"{apex}\"}}"), value(zone))).collect()
    };
    gauge("torrens_zone_serial", "Serial of the published version", &zone(|zone| zone.serial().unwrap_or(0).into()));
    gauge("torrens_zone_names", "Names with records", &zone(|zone| zone.len() as u64));
    let transfers = [("whole", &transferred.whole), ("incremental", &transferred.incremental)];
    let transfers = transfers.map(|(kind, count)| (format!("{{kind=\"{kind}\"}}"), count.load(Ordering::Relaxed)));
    gauge("torrens_zone_transfers", "Zone transfers begun since the start", &transfers);
    text.push_str("# EOF\n");
    text
}
