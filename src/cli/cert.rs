//! `torrens cert`

mod due;

use std::fs;
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use serde_json::json;
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_cert::der::{Decode, Encode};

use super::cluster::absolute_name;
use super::operation::{Accepted, Done, OwnerArgs, local_time};
use super::output::{Exit, Failure, Report, date};
use super::seams;
use crate::client::input::{self, InputError};
use crate::directory::Timestamp;
use crate::directory::name::Name;
use crate::directory::operation::Action;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Get a certificate for your name and names beneath it
    Issue(IssueArgs),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Of the request only the public key is used; the names are NAME and those given with --san.

With --if-due nothing is done, and no replica asked, while the certificate in --out is for this key and these names and
has at least a third of its time left. deploy/torrens-certificate.timer runs that every hour.

Examples:
  openssl req -new -newkey rsa:2048 -nodes -keyout tls.key -subj / -out alice.csr
  torrens cert issue alice.names.example. --key alice.key --cluster cluster.toml \\
      --csr alice.csr --san www.alice.names.example. --out chain.pem
  torrens cert issue alice.names.example. --key alice.key --cluster cluster.toml \\
      --csr alice.csr --san www.alice.names.example. --out chain.pem --if-due")]
pub struct IssueArgs {
    #[command(flatten)]
    owner: OwnerArgs,
    /// The certificate signing request: PKCS#10, PEM or DER
    #[arg(long, value_name = "FILE")]
    csr: PathBuf,
    /// Where to write the certificate and the authority's
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// A name beneath NAME that the certificate is also for; may be given several times
    #[arg(long, value_name = "NAME", value_parser = absolute_name)]
    san: Vec<Name>,
    /// Only if the certificate in --out does not fit or has less than a third of its time left
    #[arg(long)]
    if_due: bool,
}

impl Command {
    pub async fn run(self) -> Result<Report, Failure> {
        let Self::Issue(args) = self;
        args.run().await
    }
}

impl IssueArgs {
    async fn run(self) -> Result<Report, Failure> {
        let owner = self.owner.open()?;
        let request = input::read(&self.csr)?;
        let public_key =
            seams::csr_public_key(&request).map_err(|what| InputError::new(&self.csr, None, what.to_string()))?;
        let authority = Authority::load(&owner.client.cluster().ca)?;
        let mut names = vec![owner.name.clone()];
        for name in self.san {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        if self.if_due {
            match due::standing(&self.out, &authority, &public_key, &names, local_time()) {
                Ok(standing) => return Ok(not_due(&self.out, standing)),
                Err(why) => tracing::info!(why, "a certificate is due"),
            }
        }
        // Found out now rather than after the certificate was issued.
        let new = Replacement::open(&self.out)?;
        let action = Action::IssueCertificate { public_key: public_key.clone(), names: names.clone() };
        let accepted = match owner.act(action).await? {
            Done::Refused(report) => return Ok(report),
            Done::Accepted(accepted) => accepted,
        };
        let position = accepted.certificate.ok_or_else(|| not_ready(&accepted, "no certificate came of it"))?;
        let signed = owner.client.certificate(position).await;
        let certificate = signed.map_err(|error| not_ready(&accepted, &error.to_string()))?.body.der;
        authority
            .check(&certificate, &public_key, &names, accepted.confirmed.outcome.agreed_time)
            .map_err(|what| InputError::new(&authority.file, None, format!("the certificate issued {what}")))?;
        new.finish(&authority.chain(&certificate))?;
        Ok(report(&accepted, &self.out, &authority.file, &names))
    }
}

fn not_due(chain: &Path, standing: due::Standing) -> Report {
    let due::Standing { until, due } = standing;
    let (file, until_date, due_date) = (chain.display(), date(until), date(due));
    let text = format!("The certificate in {file} holds until {until_date}. It is due from {due_date} on.\n");
    let json = json!({
        "result": "not-due",
        "chain": file.to_string(),
        "until": until.seconds(),
        "due": due.seconds(),
    });
    Report { exit: Exit::Accepted, text, json }
}

fn not_ready(accepted: &Accepted, why: &str) -> Failure {
    Failure::NotConfirmed(format!("accepted at position {}, but {why}", accepted.confirmed.position))
}

fn report(accepted: &Accepted, out: &Path, authority: &Path, names: &[Name]) -> Report {
    let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
    let (out, authority) = (out.display(), authority.display());
    let host = names[0].trim_end_matches('.');
    let next = format!(
        "The certificate for {} is in {out}. Check it:\n  openssl verify -x509_strict -purpose sslserver -verify_hostname {host} -CAfile {authority} {out}\n",
        names.join(", ")
    );
    let mut json = accepted.json();
    json["chain"] = out.to_string().into();
    json["names"] = json!(names);
    Report { exit: Exit::Accepted, json, ..accepted.report(&next) }
}

/// The certificate authority that the cluster file points to.
struct Authority {
    file: PathBuf,
    certificate: CertificateDer<'static>,
}

impl Authority {
    fn load(file: &Path) -> Result<Self, Failure> {
        let pem = input::read(file)?;
        let certificate = CertificateDer::from_pem_slice(&pem)
            .map_err(|error| InputError::new(file, None, format!("no certificate in PEM: {error}")))?;
        anchor_from_trusted_cert(&certificate)
            .map_err(|error| InputError::new(file, None, format!("not a certificate to trust: {error}")))?;
        Ok(Self { file: file.to_path_buf(), certificate: certificate.into_owned() })
    }

    /// Whether `certificate` is what was asked for: signed by this authority, for this key and these names, valid at
    /// the agreed time it was made.
    fn check(&self, certificate: &[u8], public_key: &[u8], names: &[Name], at: Timestamp) -> Result<(), String> {
        let anchor = anchor_from_trusted_cert(&self.certificate).map_err(|error| error.to_string())?;
        let der = CertificateDer::from(certificate);
        let leaf = EndEntityCert::try_from(&der).map_err(|error| format!("cannot be read: {error}"))?;
        let time = UnixTime::since_unix_epoch(std::time::Duration::from_secs(at.seconds()));
        let algorithms = webpki::ALL_VERIFICATION_ALGS;
        leaf.verify_for_usage(algorithms, &[anchor], &[], time, KeyUsage::server_auth(), None, None)
            .map_err(|error| format!("does not chain to this authority: {error}"))?;
        for name in names.iter().filter(|name| !name.is_wildcard()) {
            let host = name.to_string();
            let host = host.trim_end_matches('.');
            let subject = ServerName::try_from(host).map_err(|_| format!("cannot be for {host}: not a host name"))?;
            leaf.verify_is_valid_for_subject_name(&subject).map_err(|_| format!("is not for {host}"))?;
        }
        let parsed =
            x509_cert::Certificate::from_der(certificate).map_err(|error| format!("cannot be read: {error}"))?;
        let key = parsed.tbs_certificate().subject_public_key_info().to_der();
        if key.as_deref() != Ok(public_key) {
            return Err("is for another key than the request's".to_owned());
        }
        Ok(())
    }

    fn chain(&self, certificate: &[u8]) -> String {
        pem(certificate) + &pem(&self.certificate)
    }
}

/// RFC 7468 §5: base64 in lines of 64.
fn pem(der: &[u8]) -> String {
    let base64 = data_encoding::BASE64.encode(der);
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in base64.as_bytes().chunks(64) {
        text.extend(line.iter().map(|&byte| char::from(byte)));
        text.push('\n');
    }
    text + "-----END CERTIFICATE-----\n"
}

/// A file that takes the place of another only when it is whole.
struct Replacement {
    place: PathBuf,
    new: PathBuf,
    done: bool,
}

impl Replacement {
    fn open(place: &Path) -> Result<Self, Failure> {
        if place.is_dir() {
            return Err(InputError::new(place, None, "is a folder").into());
        }
        let mut new = place.as_os_str().to_owned();
        new.push(".new");
        let new = PathBuf::from(new);
        fs::write(&new, "").map_err(|error| cannot_write(place, &error))?;
        Ok(Self { place: place.to_path_buf(), new, done: false })
    }

    fn finish(mut self, text: &str) -> Result<(), Failure> {
        fs::write(&self.new, text)
            .and_then(|()| fs::rename(&self.new, &self.place))
            .map_err(|error| cannot_write(&self.place, &error))?;
        self.done = true;
        Ok(())
    }
}

impl Drop for Replacement {
    fn drop(&mut self) {
        if !self.done {
            let _ = fs::remove_file(&self.new);
        }
    }
}

fn cannot_write(file: &Path, error: &std::io::Error) -> Failure {
    InputError::new(file, None, format!("cannot be written: {error}")).into()
}
