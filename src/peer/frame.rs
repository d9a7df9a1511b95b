//! Frames: how bytes on a link are cut into messages.
//!
//! ```text
//! length u32 big-endian, of what follows ‖ kind, 1 byte ‖ body
//!
//! kind 0  hello    version, 1 byte ‖ digest of the network, 32 bytes: the first frame in either direction
//! kind 1  message  see `message`
//! kind 2  ping     empty: now and then from the side that dialled
//! kind 3  pong     empty: the answer
//! ```

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

use crate::crypto::digest::Digest;
use crate::limits::{MAX_FRAME, MAX_HELLO};

/// Version of frames and messages, and of the rules by which what is ordered is executed: whoever changes any of them
/// counts on. Links between different versions are refused, since replicas of different rules would come to different
/// states.
pub const VERSION: u8 = 2;

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Frame {
    Hello(Hello),
    Message(Vec<u8>),
    Ping,
    Pong,
}

/// What both sides must have in common before anything else is said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hello {
    pub version: u8,
    pub network: Digest,
}

#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("a frame of {0} bytes, of which at most {MAX_FRAME} are allowed")]
    TooLong(usize),
    #[error("a frame of kind {kind} with {length} bytes")]
    Malformed { kind: u8, length: usize },
    #[error("an empty frame")]
    Empty,
    #[error("the link was closed")]
    Closed,
    #[error(transparent)]
    Io(io::Error),
}

impl From<io::Error> for FrameError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof { Self::Closed } else { Self::Io(error) }
    }
}

impl Frame {
    /// Appends the frame to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Hello(hello) => write(out, 0, &[&[hello.version], &hello.network.0]),
            Self::Message(bytes) => write(out, 1, &[bytes]),
            Self::Ping => write(out, 2, &[]),
            Self::Pong => write(out, 3, &[]),
        }
    }

    /// The frame of this kind and body.
    pub fn parse(kind: u8, body: Vec<u8>) -> Result<Self, FrameError> {
        match (kind, body.len()) {
            (0, 33) => {
                let network = Digest(body[1..].try_into().expect("32 of 33"));
                Ok(Self::Hello(Hello { version: body[0], network }))
            }
            // Another version's hello may be longer; that it is another version's is all that matters.
            (0, 34..=MAX_HELLO) if body[0] != VERSION => {
                Ok(Self::Hello(Hello { version: body[0], network: Digest::ZERO }))
            }
            (1, _) => Ok(Self::Message(body)),
            (2, 0) => Ok(Self::Ping),
            (3, 0) => Ok(Self::Pong),
            (kind, length) => Err(FrameError::Malformed { kind, length }),
        }
    }

    /// Reads one frame. Memory grows with the bytes that arrive, not with the length that was announced.
    pub async fn read(link: &mut (impl AsyncRead + Unpin)) -> Result<Self, FrameError> {
        let length = link.read_u32().await? as usize;
        if length > MAX_FRAME {
            return Err(FrameError::TooLong(length));
        }
        let body_length = length.checked_sub(1).ok_or(FrameError::Empty)?;
        let kind = link.read_u8().await?;
        let mut body = Vec::with_capacity(body_length.min(16 * 1024));
        link.take(body_length as u64).read_to_end(&mut body).await?;
        if body.len() < body_length {
            return Err(FrameError::Closed);
        }
        Self::parse(kind, body)
    }
}

/// Appends a message frame around `message` without copying it twice.
pub fn write_message(out: &mut Vec<u8>, message: &[u8]) {
    write(out, 1, &[message]);
}

fn write(out: &mut Vec<u8>, kind: u8, body: &[&[u8]]) {
    let length = 1 + body.iter().map(|part| part.len()).sum::<usize>();
    debug_assert!(length <= MAX_FRAME);
    out.extend_from_slice(&(length as u32).to_be_bytes());
    out.push(kind);
    body.iter().for_each(|part| out.extend_from_slice(part));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(frame: &Frame) -> Vec<u8> {
        let mut out = Vec::new();
        frame.write(&mut out);
        out
    }

    #[test]
    fn the_bytes_of_each_frame_are_frozen() {
        let hex = |frame: &Frame| data_encoding::HEXLOWER.encode(&bytes(frame));
        let hello = Frame::Hello(Hello { version: VERSION, network: Digest([0xab; 32]) });
        assert_eq!(hex(&hello), format!("000000220002{}", "ab".repeat(32)));
        assert_eq!(hex(&Frame::Message(vec![5, 6])), "00000003010506");
        assert_eq!(hex(&Frame::Ping), "0000000102");
        assert_eq!(hex(&Frame::Pong), "0000000103");
    }

    #[tokio::test]
    async fn frames_are_read_back_one_after_the_other() {
        let hello = Frame::Hello(Hello { version: 9, network: Digest([1; 32]) });
        let frames = [hello, Frame::Message(vec![7; 70_000]), Frame::Ping, Frame::Message(vec![]), Frame::Pong];
        let link: Vec<u8> = frames.iter().flat_map(bytes).collect();
        let mut link = link.as_slice();
        for frame in frames {
            assert_eq!(Frame::read(&mut link).await.unwrap(), frame);
        }
        assert!(matches!(Frame::read(&mut link).await, Err(FrameError::Closed)));
    }

    #[tokio::test]
    async fn a_frame_over_the_limit_is_refused_before_its_bytes_are_read() {
        let announced = (MAX_FRAME as u32 + 1).to_be_bytes();
        assert!(matches!(Frame::read(&mut announced.as_slice()).await, Err(FrameError::TooLong(_))));
    }

    #[tokio::test]
    async fn malformed_frames_are_refused() {
        for (link, empty) in [(&[0, 0, 0, 0][..], true), (&[0, 0, 0, 2, 2, 0], false), (&[0, 0, 0, 1, 9], false)] {
            let mut link = link;
            match Frame::read(&mut link).await {
                Err(FrameError::Empty) => assert!(empty),
                Err(FrameError::Malformed { .. }) => assert!(!empty),
                other => panic!("{other:?}"),
            }
        }
        let later_version = [&[0, 0, 0, 41, 0, VERSION + 1][..], &[7; 39]].concat();
        let hello = Hello { version: VERSION + 1, network: Digest::ZERO };
        assert_eq!(Frame::read(&mut later_version.as_slice()).await.unwrap(), Frame::Hello(hello));
        let mut cut = &[0, 0, 0, 9, 1, 2][..];
        assert!(matches!(Frame::read(&mut cut).await, Err(FrameError::Closed)));
    }
}
