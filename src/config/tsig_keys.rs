//! `tsig.keys`: secrets shared with secondaries, one key to a line, as `dig -y` and `kdig -y` take them.
//!
//! ```text
//! # algorithm:name:secret in Base64; `openssl rand -base64 32` makes a secret
//! hmac-sha256:transfer.example.:K8XJ…=
//! ```

use std::path::Path;
use std::sync::Arc;

use super::{ConfigError, file};
use crate::access::TsigKey;
use crate::limits::MAX_TSIG_KEYS;

/// Reads the file, if nobody but its owner can.
pub fn read(path: &Path) -> Result<Vec<Arc<TsigKey>>, ConfigError> {
    let text = file::read_secret(path)?;
    let mut keys: Vec<Arc<TsigKey>> = Vec::new();
    for (number, line) in (1..).zip(text.lines().map(str::trim)) {
        let wrong = |what: String| ConfigError::new(path, number, what);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let key = TsigKey::parse(line).map_err(wrong)?;
        if keys.iter().any(|other| other.name == key.name) {
            return Err(wrong(format!("there is a key {} already", key.name)));
        }
        if keys.len() == MAX_TSIG_KEYS {
            return Err(wrong(format!("more than {MAX_TSIG_KEYS} keys")));
        }
        keys.push(Arc::new(key));
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn read_text(text: &str, mode: u32) -> Result<Vec<Arc<TsigKey>>, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tsig.keys");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        read(&path).map_err(|error| error.to_string())
    }

    const KEY: &str = "hmac-sha256:a.:MDEyMzQ1Njc4OWFiY2RlZg==";

    #[test]
    fn keys_are_read_by_their_owner_only() {
        let two = format!("# ours\n\n{KEY}\n  hmac-sha512:b.:MDEyMzQ1Njc4OWFiY2RlZg==\n");
        assert_eq!(read_text(&two, 0o600).unwrap().len(), 2);
        assert!(read_text(&two, 0o640).unwrap_err().contains("chmod 600"));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line_and_no_secret() {
        for (text, expected) in
            [(format!("{KEY}\n{KEY}"), ":2: there is a key a. already"), (format!("\nx{KEY}"), ":2: the algorithm")]
        {
            let error = read_text(&text, 0o600).unwrap_err();
            assert!(error.contains(expected) && !error.contains("MDE"), "{error}");
        }
    }
}
