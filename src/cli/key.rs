//! `torrens key`: make and show owners' keys.

use std::path::PathBuf;

use rand_core::OsRng;
use serde_json::json;

use super::output::{Failure, Report};
use crate::client::keyfile;
use crate::crypto::ed25519::SecretKey;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Make a new key
    #[command(after_help = "Example:\n  torrens key generate --out alice.key")]
    Generate {
        /// The file to write: PKCS#8 PEM, for your eyes only, never over an existing file
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Print the public key, as `title transfer --to` takes it
    #[command(after_help = "Example:\n  torrens title transfer alice.names.example. --key alice.key \\\n      \
                            --to \"$(torrens key show bob.key)\" --cluster cluster.toml")]
    Show {
        /// A key file
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

impl Command {
    pub fn run(self) -> Result<Report, Failure> {
        match self {
            Self::Generate { out } => {
                let key = SecretKey::generate(&mut OsRng);
                keyfile::create(&out, &key)?;
                let public = key.public().to_string();
                let out = out.display().to_string();
                let text = format!(
                    "{public}\nThe private key is in {out}. Names belong to whoever has it: keep a copy where nobody finds it.\n"
                );
                Ok(Report::accepted(text, json!({ "public": public, "file": out })))
            }
            Self::Show { file } => {
                let public = keyfile::load(&file)?.public().to_string();
                Ok(Report::accepted(format!("{public}\n"), json!({ "public": public })))
            }
        }
    }
}
