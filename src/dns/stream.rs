//! DNS over streams (RFC 7766): messages behind a two-byte length, pipelined, over TCP or whatever wraps it.
//!
//! Answers come in the order of the queries, those of one read in one write. What a client can hold is bounded: time
//! until its next whole query, time to take what was written, life of a connection (and of a zone transfer, which has
//! longer); how many connections there are is bounded by [`super::connections`].
//!
//! A client that pipelines costs one read and one write for all queries of a read: what the kernel has goes into one
//! buffer, answers gather in another, and both live as long as the connection.
//!
//! `hickory-server` is passed over here: it parses each query into an owned message and encodes each answer from one,
//! while ours is bytes ready to send; the framing that it would save is this file's first fifty lines.
//!
//! Deviation: a message that gets silence ends the connection.

use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep_until, timeout};

use super::connections::{Activity, serve_connections};
use super::transfer::{self, Transfer};
use super::{Client, Replied, Server, Transport, padding, query, seconds_now};
use crate::directory::name_ref::NameBuffer;
use crate::limits::{
    DNS_STREAM_IDLE_SECONDS, DNS_STREAM_TOTAL_SECONDS, DNS_STREAM_WRITE_BUFFER, DNS_STREAM_WRITE_SECONDS,
    DNS_TRANSFER_SECONDS, MAX_QUERY,
};

/// Whether others can read what a stream carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Privacy {
    Plain,
    Encrypted,
}

/// Serves one connection until the client ends it or oversteps a limit.
pub async fn serve_stream<S>(mut stream: S, client: IpAddr, server: &Server, activity: &Activity, privacy: Privacy)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let end = Instant::now() + Duration::from_secs(DNS_STREAM_TOTAL_SECONDS);
    let mut pending = Pending::new(client, privacy);
    // One timer, moved on: a timer of each read's own would be taken from the wheel and put there again.
    let mut give_up = pin!(sleep_until(end));
    loop {
        // Bytes alone do not extend this: only a whole query does.
        give_up.as_mut().reset((Instant::now() + Duration::from_secs(DNS_STREAM_IDLE_SECONDS)).min(end));
        while !pending.has_whole_query() {
            let read = tokio::select! {
                biased;
                read = stream.read_buf(&mut pending.incoming) => read,
                () = give_up.as_mut() => Ok(0),
            };
            if !matches!(read, Ok(1..)) {
                return close(stream).await;
            }
        }
        activity.now();
        let mut open = true;
        while open && pending.has_whole_query() {
            let next = pending.answer(server);
            open = !matches!(next, Next::Close);
            let mut transfer = if let Next::Transfer(transfer) = next { Some(transfer) } else { None };
            let transfer_end = Instant::now() + Duration::from_secs(DNS_TRANSFER_SECONDS);
            loop {
                let write = write(&mut stream, &pending.outgoing);
                if !matches!(timeout(Duration::from_secs(DNS_STREAM_WRITE_SECONDS), write).await, Ok(Ok(()))) {
                    return;
                }
                pending.outgoing.clear();
                pending.outgoing.shrink_to(DNS_STREAM_WRITE_BUFFER);
                activity.now();
                if !transfer.as_mut().is_some_and(|transfer| pending.go_on_with(transfer)) {
                    break;
                }
                if Instant::now() >= transfer_end {
                    return;
                }
            }
        }
        if !open || Instant::now() >= end {
            return close(stream).await;
        }
    }
}

async fn write<S: AsyncWrite + Unpin>(stream: &mut S, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes).await?;
    // Of TLS: what is encrypted may not be sent yet.
    stream.flush().await
}

async fn close<S: AsyncWrite + Unpin>(mut stream: S) {
    let _ = timeout(Duration::from_secs(DNS_STREAM_WRITE_SECONDS), stream.shutdown()).await;
}

/// What was read and not answered, what was answered and not written.
struct Pending {
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
    /// The answer in the making.
    message: Vec<u8>,
    client: IpAddr,
    privacy: Privacy,
}

impl Pending {
    fn new(client: IpAddr, privacy: Privacy) -> Self {
        let incoming = Vec::with_capacity(2 + MAX_QUERY);
        Self { incoming, outgoing: Vec::new(), message: Vec::new(), client, privacy }
    }

    /// Whether a query is there, or a length that none may have.
    fn has_whole_query(&self) -> bool {
        let Some((length, rest)) = self.incoming.split_first_chunk() else { return false };
        let length = usize::from(u16::from_be_bytes(*length));
        length > MAX_QUERY || rest.len() >= length
    }

    /// Answers whole queries until there are none, the write buffer is full, or one asks for a zone.
    fn answer(&mut self, server: &Server) -> Next {
        let (view, now) = (server.view.load(), seconds_now());
        let message = &mut self.message;
        let mut at = 0;
        let mut next = Next::Read;
        while matches!(next, Next::Read) && self.outgoing.len() < DNS_STREAM_WRITE_BUFFER {
            let Some((length, rest)) = self.incoming[at..].split_first_chunk() else { break };
            let length = usize::from(u16::from_be_bytes(*length));
            if length > MAX_QUERY {
                next = Next::Close;
                break;
            }
            let Some(query) = rest.get(..length) else { break };
            at += 2 + length;
            let settings = &*server.settings;
            let transport = if server.transfers { Transport::Stream } else { Transport::Exchange };
            let address = self.client;
            let client = Client::new(transport, address, now, settings);
            let mut name = NameBuffer::default();
            let parsed = query::parse(query, &mut name);
            if let Some(transfer) = parsed
                .as_ref()
                .ok()
                .and_then(|asked| server.transfers.then(|| transfer::of(&view, query, asked, &client))?)
            {
                next = Next::Transfer(Box::new(transfer));
                break;
            }
            let is_padded = self.privacy == Privacy::Encrypted && parsed.as_ref().is_ok_and(padding::is_asked);
            if server.reply(&view, query, parsed, &client, message) == Replied::Not {
                next = Next::Close;
                break;
            }
            if is_padded {
                padding::pad(message);
            }
            // An answer is never longer than a stream message; an altered one that is has no business here.
            let length = u16::try_from(message.len()).unwrap_or_default();
            self.outgoing.extend_from_slice(&length.to_be_bytes());
            self.outgoing.extend_from_slice(&message[..usize::from(length)]);
        }
        self.incoming.drain(..at);
        next
    }

    /// Puts the next messages of a transfer where they are written from; false if there are none.
    fn go_on_with(&mut self, transfer: &mut Transfer) -> bool {
        while self.outgoing.len() < DNS_STREAM_WRITE_BUFFER {
            let at = self.outgoing.len();
            self.outgoing.extend_from_slice(&[0, 0]);
            if !transfer.next_message(&mut self.outgoing, seconds_now()) {
                self.outgoing.truncate(at);
                break;
            }
            let length = u16::try_from(self.outgoing.len() - at - 2).expect("messages of transfers are small");
            self.outgoing[at..at + 2].copy_from_slice(&length.to_be_bytes());
        }
        !self.outgoing.is_empty()
    }
}

/// What comes after the queries that were there.
enum Next {
    Read,
    Close,
    Transfer(Box<Transfer>),
}

/// Serves DNS over TCP, until dropped; what it serves ends with it.
pub async fn serve_tcp(listener: TcpListener, server: Server) {
    serve_connections(listener, |stream, client, activity| {
        let server = server.clone();
        async move { serve_stream(stream, client, &server, &activity, Privacy::Plain).await }
    })
    .await;
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;
    use tokio::time::sleep;

    use super::*;
    use crate::directory::rrset::Rtype;
    use crate::dns::testing::{Ask, Reply, example_view, server_of};

    fn framed(message: &[u8]) -> Vec<u8> {
        [&(message.len() as u16).to_be_bytes()[..], message].concat()
    }

    async fn read_message(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
        let mut message = vec![0; usize::from(stream.read_u16().await.unwrap())];
        stream.read_exact(&mut message).await.unwrap();
        message
    }

    /// A client's end of a connection being served.
    fn connect() -> tokio::io::DuplexStream {
        let (client, stream) = tokio::io::duplex(4096);
        let (server, address) = (server_of(example_view()), IpAddr::from([192, 0, 2, 1]));
        tokio::spawn(async move {
            serve_stream(stream, address, &server, &Activity::new(Instant::now()), Privacy::Plain).await
        });
        client
    }

    #[tokio::test]
    async fn a_query_over_tcp_is_answered() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(serve_tcp(listener, server_of(example_view())));
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(&framed(&Ask::new("www.example.", Rtype::A).message())).await.unwrap();
        assert_eq!(Reply::read(&read_message(&mut stream).await).answers(), ["www.example. A 192.0.2.1"]);
        server.abort();
        assert!(server.await.unwrap_err().is_cancelled());
        assert_eq!(stream.read(&mut [0]).await.unwrap_or(0), 0, "the server's end takes its connections with it");
    }

    /// RFC 7766 §6.2.1.1: queries may be pipelined.
    #[tokio::test]
    async fn pipelined_queries_are_all_answered_however_they_are_cut() {
        let mut client = connect();
        let mut bytes = Vec::new();
        for id in 0..300 {
            bytes.extend(framed(&Ask::new("www.example.", Rtype::A).id(id).message()));
        }
        let (mut reader, mut writer) = tokio::io::split(client);
        let writing = tokio::spawn(async move {
            for piece in bytes.chunks(7) {
                writer.write_all(piece).await.unwrap();
            }
            writer
        });
        for id in 0..300 {
            assert_eq!(Reply::read(&read_message(&mut reader).await).id, id);
        }
        client = reader.unsplit(writing.await.unwrap());
        client.shutdown().await.unwrap();
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_sends_a_byte_a_second_is_cut_off() {
        let client = connect();
        let (mut reader, mut writer) = tokio::io::split(client);
        let start = Instant::now();
        let dripping = tokio::spawn(async move {
            for byte in framed(&[0; 1000]) {
                if writer.write_all(&[byte]).await.is_err() {
                    return;
                }
                sleep(Duration::from_secs(1)).await;
            }
        });
        assert_eq!(reader.read(&mut [0]).await.unwrap(), 0);
        assert_eq!(start.elapsed().as_secs(), DNS_STREAM_IDLE_SECONDS);
        drop(reader);
        dripping.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_never_reads_is_cut_off() {
        let mut client = connect();
        let query = framed(&Ask::new("www.example.", Rtype::A).message());
        let start = Instant::now();
        while client.write_all(&query).await.is_ok() {}
        assert!(start.elapsed().as_secs() <= DNS_STREAM_WRITE_SECONDS + 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_ends_after_its_time_however_busy() {
        let mut client = connect();
        let start = Instant::now();
        let query = framed(&Ask::new("www.example.", Rtype::A).message());
        while client.write_all(&query).await.is_ok() && client.read_u16().await.is_ok_and(|length| length > 0) {
            let mut message = [0; 45];
            client.read_exact(&mut message).await.unwrap();
            sleep(Duration::from_secs(5)).await;
        }
        assert!(start.elapsed().as_secs() <= DNS_STREAM_TOTAL_SECONDS + 5);
    }

    #[tokio::test]
    async fn an_oversize_length_or_a_reply_ends_the_connection() {
        let mut reply = Ask::new("www.example.", Rtype::A).message();
        reply[2] |= 0x80;
        for bytes in [vec![0xff, 0xff], framed(&reply), framed(b"")] {
            let mut client = connect();
            client.write_all(&bytes).await.unwrap();
            assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
        }
    }

    /// RFC 9103: what is no transport for transfers refuses them.
    #[tokio::test(start_paused = true)]
    async fn a_stream_that_carries_no_transfers_refuses_them() {
        for (transfers, expected) in [(true, 0), (false, 5)] {
            let mut settings = crate::dns::Settings::new("one", [7; 16]);
            settings.transfers.push("192.0.2.1".parse::<crate::access::Network>().unwrap().into());
            let server = Server { settings: settings.into(), transfers, ..server_of(example_view()) };
            let (mut client, stream) = tokio::io::duplex(4096);
            let address = IpAddr::from([192, 0, 2, 1]);
            tokio::spawn(async move {
                serve_stream(stream, address, &server, &Activity::new(Instant::now()), Privacy::Plain).await
            });
            client.write_all(&framed(&Ask::new("example.", Rtype::AXFR).message())).await.unwrap();
            assert_eq!(Reply::read(&read_message(&mut client).await).rcode, expected);
        }
    }
}
