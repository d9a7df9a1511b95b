//! The certificate that encrypted transports show: from files, taken again when they change.
//!
//! The files are looked at every [`CERTIFICATE_CHECK_SECONDS`] seconds. A signal would need a hook in whatever renews a
//! certificate, and the right to send it; a look costs two system calls, and nothing has to know of this process. What
//! cannot be used (a chain and a key that do not belong together, as when one of two files is replaced) is logged once,
//! and the certificate before it stays. Connections go on with the certificate that they began with.
//!
//! Before there are usable files, handshakes are refused and the replica runs all the same: its own authority can issue
//! the certificate only once replicas run.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

use crate::limits::{CERTIFICATE_CHECK_SECONDS, MAX_CERTIFICATE_FILE, MAX_CHAIN};

/// Where the chain (the server's certificate first) and its private key are, both in PEM.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CertificateFiles {
    pub chain: PathBuf,
    pub key: PathBuf,
}

/// Why files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error("{}: cannot be read: {error}", .file.display())]
    Unreadable { file: PathBuf, error: io::Error },
    #[error("{}: more than {MAX_CERTIFICATE_FILE} bytes", .file.display())]
    TooLong { file: PathBuf },
    #[error("{}: everybody may read this key: run `chmod o=` on it", .file.display())]
    Exposed { file: PathBuf },
    #[error("{}: 1 to {MAX_CHAIN} certificates in PEM are expected: {what}", .file.display())]
    Chain { file: PathBuf, what: String },
    #[error("{}: a private key in PEM is expected: {what}", .file.display())]
    Key { file: PathBuf, what: String },
    #[error("{}: not a certificate for the key in {}, or of a kind that is not known: {error}", .chain.display(), .key.display())]
    Pair { chain: PathBuf, key: PathBuf, error: rustls::Error },
}

impl CertificateFiles {
    fn load(&self, provider: &CryptoProvider) -> Result<CertifiedKey, CertificateError> {
        let chain = self.load_chain()?;
        let key = read(&self.key, true)?;
        let key = PrivateKeyDer::from_pem_slice(&key)
            .map_err(|error| CertificateError::Key { file: self.key.clone(), what: error.to_string() })?;
        CertifiedKey::from_der(chain, key, provider).map_err(|error| CertificateError::Pair {
            chain: self.chain.clone(),
            key: self.key.clone(),
            error,
        })
    }

    fn load_chain(&self) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
        let wrong = |what: String| CertificateError::Chain { file: self.chain.clone(), what };
        let text = read(&self.chain, false)?;
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
        let chain = chain.map_err(|error| wrong(error.to_string()))?;
        if chain.is_empty() || chain.len() > MAX_CHAIN {
            return Err(wrong(format!("there are {}", chain.len())));
        }
        Ok(chain)
    }
}

fn read(path: &Path, is_secret: bool) -> Result<Zeroizing<Vec<u8>>, CertificateError> {
    let unreadable = |error| CertificateError::Unreadable { file: path.to_path_buf(), error };
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    // A group may share a key, as Debian's ssl-cert does.
    if is_secret && metadata.permissions().mode() & 0o007 != 0 {
        return Err(CertificateError::Exposed { file: path.to_path_buf() });
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_CERTIFICATE_FILE + 1));
    file.take(MAX_CERTIFICATE_FILE as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() > MAX_CERTIFICATE_FILE {
        return Err(CertificateError::TooLong { file: path.to_path_buf() });
    }
    Ok(bytes)
}

/// What tells one state of a file from another; none if it is not there.
type Stamp = Option<[i64; 5]>;

fn stamp(path: &Path) -> Stamp {
    let file = fs::metadata(path).ok()?;
    Some([file.ino() as i64, file.size() as i64, file.mtime(), file.mtime_nsec(), file.ctime_nsec()])
}

/// The certificate of this moment, shared by all encrypted transports.
pub struct Certificates {
    files: CertificateFiles,
    provider: Arc<CryptoProvider>,
    current: ArcSwapOption<CertifiedKey>,
    seen: Mutex<[Stamp; 2]>,
}

impl Certificates {
    /// Loads the files, if they are there and sound.
    pub fn new(files: CertificateFiles, provider: Arc<CryptoProvider>) -> Self {
        let certificates = Self { files, provider, current: ArcSwapOption::empty(), seen: Mutex::default() };
        if let Err(error) = certificates.reload() {
            tracing::error!(%error, "no certificate for encrypted DNS: handshakes are refused until there is one");
        }
        certificates
    }

    /// Looks at the files from time to time, until dropped.
    pub async fn watch(self: Arc<Self>) {
        loop {
            tokio::time::sleep(Duration::from_secs(CERTIFICATE_CHECK_SECONDS)).await;
            let certificates = Arc::clone(&self);
            // Disks can be slow.
            let _ = tokio::task::spawn_blocking(move || certificates.reload_if_changed()).await;
        }
    }

    fn reload_if_changed(&self) {
        if *self.seen() == self.stamps() {
            return;
        }
        match self.reload() {
            Ok(()) => tracing::info!(chain = %self.files.chain.display(), "new certificate for encrypted DNS"),
            Err(error) => tracing::error!(%error, "certificate for encrypted DNS: the one before stays"),
        }
    }

    fn reload(&self) -> Result<(), CertificateError> {
        // Before the files are read: a change meanwhile is seen the next time.
        *self.seen() = self.stamps();
        let key = self.files.load(&self.provider)?;
        self.current.store(Some(Arc::new(key)));
        Ok(())
    }

    fn stamps(&self) -> [Stamp; 2] {
        [stamp(&self.files.chain), stamp(&self.files.key)]
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, [Stamp; 2]> {
        self.seen.lock().expect("never poisoned: nothing panics while it is held")
    }
}

impl std::fmt::Debug for Certificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificates").field("files", &self.files).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Certificates {
    /// One certificate, whatever name the client asks for: most resolvers know a server by its address.
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.current.load_full()
    }
}

#[cfg(test)]
pub mod testing {
    use std::process::Command;

    use super::*;

    /// A certificate for this host name that clients may trust by itself.
    pub fn self_signed(folder: &Path, host: &str) -> CertificateFiles {
        let files = CertificateFiles { chain: folder.join("chain.pem"), key: folder.join("key.pem") };
        make(&files, host);
        files
    }

    pub fn make(files: &CertificateFiles, host: &str) {
        let mut openssl = Command::new("openssl");
        openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]);
        openssl.args([
            "-addext",
            "basicConstraints=critical,CA:FALSE",
            "-addext",
            &format!("subjectAltName=DNS:{host}"),
        ]);
        openssl.args(["-subj", &format!("/CN={host}"), "-out"]).arg(&files.chain).arg("-keyout").arg(&files.key);
        let output = openssl.output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{make, self_signed};
    use super::*;
    use crate::dns::tls::provider;

    fn shown(certificates: &Certificates) -> Option<Vec<u8>> {
        certificates.current.load_full().map(|key| key.cert[0].to_vec())
    }

    #[test]
    fn files_are_taken_when_they_are_sound_and_the_last_sound_ones_stay() {
        let folder = tempfile::tempdir().unwrap();
        let files = CertificateFiles { chain: folder.path().join("chain.pem"), key: folder.path().join("key.pem") };
        let certificates = Certificates::new(files.clone(), provider());
        assert_eq!(shown(&certificates), None);

        make(&files, "one.example");
        certificates.reload_if_changed();
        let first = shown(&certificates).unwrap();

        let other = CertificateFiles { chain: folder.path().join("2.pem"), key: folder.path().join("2.key") };
        make(&other, "two.example");
        fs::rename(&other.key, &files.key).unwrap();
        assert!(matches!(certificates.reload(), Err(CertificateError::Pair { .. })));
        assert_eq!(shown(&certificates).unwrap(), first);
        fs::rename(&other.chain, &files.chain).unwrap();
        certificates.reload_if_changed();
        let second = shown(&certificates).unwrap();
        assert_ne!(second, first);

        fs::remove_file(&files.chain).unwrap();
        certificates.reload_if_changed();
        assert_eq!(shown(&certificates).unwrap(), second);
    }

    #[test]
    fn what_is_wrong_is_said_with_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let files = self_signed(folder.path(), "one.example");
        let provider = provider();
        let wrong = || files.load(&provider).unwrap_err().to_string();
        let sound = fs::read_to_string(&files.chain).unwrap();
        fs::write(&files.chain, sound.repeat(MAX_CHAIN + 1)).unwrap();
        assert!(
            wrong()
                .contains(&format!("chain.pem: 1 to 10 certificates in PEM are expected: there are {}", MAX_CHAIN + 1))
        );
        fs::write(&files.chain, "").unwrap();
        assert!(wrong().contains("there are 0"));
        fs::write(&files.chain, " ".repeat(MAX_CERTIFICATE_FILE + 1)).unwrap();
        assert!(wrong().contains("chain.pem: more than 65536 bytes"));
        fs::write(&files.chain, &sound).unwrap();
        fs::set_permissions(&files.key, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(wrong().contains("key.pem: everybody may read this key"));
        fs::write(&files.key, &sound).unwrap();
        fs::set_permissions(&files.key, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(wrong().contains("key.pem: a private key in PEM is expected"));
    }
}
