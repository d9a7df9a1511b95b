//! A replica that was down while the others went on: the benchmark's small form.

use std::process::Command;

use serde_json::Value;

#[test]
fn a_replica_that_missed_20000_operations_rejoins_at_a_signed_head_with_a_veterans_rows() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_torrens"));
    let output =
        command.args(["bench", "recovery", "--operations", "20000", "--titles", "500", "--json"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stdout));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["equal"], true, "{report}");
    let (answered, without) = (&report["answered_meanwhile"], &report["without_data"]);
    assert!(answered.as_u64().unwrap() > 0 && *without == 0, "it serves what it had: {report}");
    assert!(report["commits_compared"].as_u64().unwrap() >= 1000, "{report}");
    assert!(report["copied_bytes"].as_u64().unwrap() > 1_000_000, "{report}");
}
