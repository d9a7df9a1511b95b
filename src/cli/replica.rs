//! `torrens replica`: one replica, in the foreground.

use std::io::Read;
use std::path::PathBuf;

use tokio::signal::unix::{SignalKind, signal};

use crate::node::run::{self, Conduct};

/// Run one replica in the foreground, until SIGTERM or Ctrl-C.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A replica whose disk was lost, or whose database is damaged, comes back with --lost-disk: it asks the others what it last
said, copies the state they signed, and goes on under the same name. Use it for that start only.

Examples:
  torrens replica --dir demo/replica-1
  torrens replica --dir demo/replica-1 --lost-disk")]
pub struct ReplicaArgs {
    /// The replica's directory: replica.toml, secrets.key and data
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// The data directory is lost or damaged: begin with an empty one
    #[arg(long)]
    lost_disk: bool,
    /// Stop when standard input ends: for a parent that must not leave orphans
    #[arg(long)]
    until_stdin_ends: bool,
    /// Serve altered answers and bad shares
    #[cfg(feature = "misbehave")]
    #[arg(long)]
    misbehave: bool,
}

impl ReplicaArgs {
    pub fn run(self) -> anyhow::Result<()> {
        let conduct = Conduct {
            lost_disk: self.lost_disk,
            #[cfg(feature = "misbehave")]
            misbehave: self.misbehave,
        };
        run::run(&self.dir, conduct, stop(self.until_stdin_ends))?;
        Ok(())
    }
}

/// Completes at SIGTERM, SIGINT or, if asked, at the end of standard input.
async fn stop(until_stdin_ends: bool) {
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return;
    };
    let stdin = async {
        if until_stdin_ends {
            let (ended, end) = tokio::sync::oneshot::channel();
            // A thread of its own: the runtime would wait for a blocking task when it shuts down.
            std::thread::spawn(move || {
                let _ = std::io::stdin().read_to_end(&mut Vec::new());
                let _ = ended.send(());
            });
            let _ = end.await;
        } else {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = stdin => {}
    }
}
