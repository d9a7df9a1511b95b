//! What both directions of a link share: the hello, writing with a time limit, and the reasons why links end.

use std::io;
use std::time::Duration;

use rustls::AlertDescription;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::frame::{Frame, FrameError, Hello};
use crate::crypto::digest::Digest;
use crate::limits::{HANDSHAKE_TIMEOUT_MS, LINK_IDLE_MS, MAX_QUICK_PINGS, WRITE_TIMEOUT_MS};
use crate::replica::message::MessageError;

/// Why a link was not made or has ended.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error("no link within {HANDSHAKE_TIMEOUT_MS} ms")]
    Slow,
    #[error("{0}")]
    Tls(io::Error),
    #[error("it shows a key that is no replica's of this network: check that its secrets.key belongs to this genesis")]
    Stranger,
    #[error(
        "it shows another key than the genesis has for it: check its address, and that it runs with its own secrets.key"
    )]
    WrongKey,
    #[error("it refuses our key: check that our secrets.key and genesis are of the network that it serves")]
    Refused,
    #[error("it speaks version {theirs} of the peer protocol, we speak {ours}: run the same release on all replicas")]
    Version { theirs: u8, ours: u8 },
    #[error("it belongs to network {theirs}, we to {ours}: check which cluster its address is of")]
    Network { theirs: Digest, ours: Digest },
    #[error("it does not start with a hello")]
    NoHello,
    #[error("nothing heard for {LINK_IDLE_MS} ms")]
    Silent,
    #[error("a write was not taken within {WRITE_TIMEOUT_MS} ms")]
    Stuck,
    #[error("a frame that has no place here")]
    Unexpected,
    #[error("more than {MAX_QUICK_PINGS} pings in a row without waiting")]
    Pings,
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("{0}")]
    Message(#[from] MessageError),
    #[error("the node is gone")]
    NodeGone,
}

impl LinkError {
    /// Whether the other side broke the rules, as opposed to being slow, gone or cut off.
    pub fn is_violation(&self) -> bool {
        match self {
            Self::Frame(error) => !matches!(error, FrameError::Closed | FrameError::Io(_)),
            Self::Message(_) | Self::Unexpected | Self::Pings => true,
            _ => false,
        }
    }
}

/// Why a TLS handshake failed: by `wrong_key`, if it was the key that the other side showed.
pub fn handshake_error(error: io::Error, wrong_key: LinkError) -> LinkError {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => wrong_key,
        Some(rustls::Error::AlertReceived(AlertDescription::AccessDenied | AlertDescription::CertificateRequired)) => {
            LinkError::Refused
        }
        _ => LinkError::Tls(error),
    }
}

/// Says who we are and hears the same of the other side, so that both can say why there is no link.
pub async fn exchange_hello(link: &mut (impl AsyncRead + AsyncWrite + Unpin), ours: Hello) -> Result<(), LinkError> {
    let mut bytes = Vec::new();
    Frame::Hello(ours).write(&mut bytes);
    link.write_all(&bytes).await.map_err(LinkError::Tls)?;
    link.flush().await.map_err(LinkError::Tls)?;
    let frame = Frame::read(link).await.map_err(|error| match error {
        // In TLS 1.3 the side that dialled hears only now what the other thinks of its key.
        FrameError::Io(error) => handshake_error(error, LinkError::WrongKey),
        other => LinkError::Frame(other),
    })?;
    let Frame::Hello(theirs) = frame else { return Err(LinkError::NoHello) };
    if theirs.version != ours.version {
        return Err(LinkError::Version { theirs: theirs.version, ours: ours.version });
    }
    if theirs.network != ours.network {
        return Err(LinkError::Network { theirs: theirs.network, ours: ours.network });
    }
    Ok(())
}

/// The next frame. It has to come whole within the time limit, however slowly its bytes trickle in.
pub async fn next_frame(link: &mut (impl AsyncRead + Unpin)) -> Result<Frame, LinkError> {
    let frame = timeout(Duration::from_millis(LINK_IDLE_MS), Frame::read(link)).await;
    Ok(frame.map_err(|_| LinkError::Silent)??)
}

/// Writes all bytes, unless the other side does not take them.
pub async fn write_all(link: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> Result<(), LinkError> {
    let written = async {
        link.write_all(bytes).await?;
        link.flush().await
    };
    let written = timeout(Duration::from_millis(WRITE_TIMEOUT_MS), written).await;
    written.map_err(|_| LinkError::Stuck)?.map_err(|error| LinkError::Frame(error.into()))
}
