//! Certificates that were asked for: what is to be signed, then the certificate, under the operation's position.

use std::sync::Arc;

use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use crate::ca;
use crate::codec;
use crate::limits::MAX_CERTIFICATE_ROW;
use crate::rows::{Row, Table, TableRows};
use crate::signing::TaskId;

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Certificate {
    /// To-be-signed bytes and the task that signs them.
    Waiting { task: TaskId, to_be_signed: Vec<u8> },
    /// DER.
    Issued(Vec<u8>),
}

/// All of them, by position; cheap to clone.
#[derive(Clone, Default)]
pub struct Certificates {
    by_position: OrdMap<u64, Arc<Certificate>>,
    waiting: OrdMap<TaskId, u64>,
}

impl Certificates {
    /// The certificate that the operation at `position` asked for, in DER, once it is signed.
    pub fn issued(&self, position: u64) -> Option<&[u8]> {
        match self.by_position.get(&position)?.as_ref() {
            Certificate::Issued(der) => Some(der),
            Certificate::Waiting { .. } => None,
        }
    }

    /// Certificates issued so far.
    pub fn count(&self) -> usize {
        self.by_position.len() - self.waiting.len()
    }

    pub(super) fn wait(&mut self, position: u64, task: TaskId, to_be_signed: Vec<u8>) -> Row {
        self.waiting.insert(task, position);
        self.put(position, Certificate::Waiting { task, to_be_signed })
    }

    /// Takes the signature of `task`, if a certificate waits for it.
    pub(super) fn signed(&mut self, task: TaskId, signature: &[u8]) -> Option<Row> {
        let position = *self.waiting.get(&task)?;
        let Certificate::Waiting { to_be_signed, .. } = self.by_position.get(&position)?.as_ref() else {
            return None;
        };
        let signature = signature.try_into().expect("the scheme's signatures have the modulus' length");
        let der = ca::certificate::assemble(to_be_signed, signature);
        self.waiting.remove(&task);
        Some(self.put(position, Certificate::Issued(der)))
    }

    fn put(&mut self, position: u64, certificate: Certificate) -> Row {
        let row = Row::put(Table::Certificate, position.to_be_bytes(), codec::encode(&certificate));
        self.by_position.insert(position, Arc::new(certificate));
        row
    }

    pub(super) fn load(rows: &TableRows) -> Option<Self> {
        let mut certificates = Self::default();
        for (key, value) in rows {
            let position = u64::from_be_bytes(key.as_slice().try_into().ok()?);
            let certificate: Certificate = codec::decode(value, MAX_CERTIFICATE_ROW).ok()?;
            if let Certificate::Waiting { task, .. } = certificate {
                certificates.waiting.insert(task, position);
            }
            certificates.by_position.insert(position, Arc::new(certificate));
        }
        Some(certificates)
    }
}
