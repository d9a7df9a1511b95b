//! `recvmmsg` and `sendmmsg`: many datagrams for one system call. The one file of the crate with `unsafe` code.
//!
//! The message headers are built anew for each call, on the stack, so no raw pointer outlives the borrow that it was
//! made from.
#![allow(unsafe_code)]

use std::io;
use std::mem;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd;
use std::ptr;

use crate::limits::{MAX_QUERY, UDP_BATCH};

/// Who sent a datagram, as the kernel wrote it: a reply goes to the same bytes.
#[derive(Clone, Copy)]
pub struct Peer {
    storage: libc::sockaddr_storage,
    length: libc::socklen_t,
}

impl Peer {
    /// The address, if it is one of the Internet.
    pub fn address(&self) -> Option<SocketAddr> {
        let length = self.length as usize;
        let family = libc::c_int::from(self.storage.ss_family);
        if family == libc::AF_INET && length >= mem::size_of::<libc::sockaddr_in>() {
            // SAFETY: `sockaddr_storage` is at least as large as `sockaddr_in` and aligned for it (POSIX
            // <sys/socket.h>), every bit pattern is a valid `sockaddr_in`, and the family says that it is one.
            let address = unsafe { *ptr::from_ref(&self.storage).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr));
            return Some(SocketAddrV4::new(ip, u16::from_be(address.sin_port)).into());
        }
        if family == libc::AF_INET6 && length >= mem::size_of::<libc::sockaddr_in6>() {
            // SAFETY: as above, for `sockaddr_in6`.
            let address = unsafe { *ptr::from_ref(&self.storage).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(address.sin6_addr.s6_addr);
            let port = u16::from_be(address.sin6_port);
            return Some(SocketAddrV6::new(ip, port, address.sin6_flowinfo, address.sin6_scope_id).into());
        }
        None
    }

    fn unknown() -> Self {
        // SAFETY: `sockaddr_storage` is plain bytes and integers; all zeros is a valid value of it (AF_UNSPEC).
        Self { storage: unsafe { mem::zeroed() }, length: 0 }
    }
}

/// A datagram's room and a line of cache: else all datagrams would begin in the same place of a processor's cache,
/// which has a handful of lines for one place.
const STRIDE: usize = MAX_QUERY + 64;

/// Room for the datagrams of one call.
pub struct Received {
    buffers: Vec<[u8; STRIDE]>,
    lengths: [usize; UDP_BATCH],
    peers: [Peer; UDP_BATCH],
    count: usize,
}

impl Received {
    pub fn new() -> Self {
        Self {
            buffers: vec![[0; STRIDE]; UDP_BATCH],
            lengths: [0; UDP_BATCH],
            peers: [Peer::unknown(); UDP_BATCH],
            count: 0,
        }
    }

    /// Waits for one datagram, no longer than the socket's read timeout, and takes all that are there by then.
    pub fn receive(&mut self, socket: &UdpSocket) -> io::Result<()> {
        self.count = 0;
        // SAFETY: `iovec` and `mmsghdr` are plain integers and pointers; all zeros is valid, null where it points.
        let (mut vectors, mut headers): ([libc::iovec; UDP_BATCH], [libc::mmsghdr; UDP_BATCH]) =
            unsafe { (mem::zeroed(), mem::zeroed()) };
        for (slot, header) in headers.iter_mut().enumerate() {
            vectors[slot] = libc::iovec { iov_base: self.buffers[slot].as_mut_ptr().cast(), iov_len: MAX_QUERY };
            header.msg_hdr.msg_name = ptr::from_mut(&mut self.peers[slot].storage).cast();
            header.msg_hdr.msg_namelen = mem::size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            header.msg_hdr.msg_iov = &raw mut vectors[slot];
            header.msg_hdr.msg_iovlen = 1;
        }
        // SAFETY: the descriptor is open while `socket` is borrowed. `headers` has UDP_BATCH entries; each points to
        // one `iovec` of `vectors`, MAX_QUERY bytes of a longer buffer and a `sockaddr_storage`, all distinct, all
        // alive and not otherwise used until the call returns, and each given with its true length. A null timeout is
        // allowed.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                UDP_BATCH as libc::c_uint,
                libc::MSG_WAITFORONE as _,
                ptr::null_mut(),
            )
        };
        let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        self.count = count.min(UDP_BATCH);
        for (slot, header) in headers[..self.count].iter().enumerate() {
            // A datagram longer than the buffer was cut: what is left of it is no message.
            let cut = header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
            self.lengths[slot] = if cut { 0 } else { (header.msg_len as usize).min(MAX_QUERY) };
            self.peers[slot].length = header.msg_hdr.msg_namelen;
        }
        Ok(())
    }

    pub fn datagrams(&self) -> impl Iterator<Item = (&[u8], &Peer)> {
        (0..self.count).map(|slot| (&self.buffers[slot][..self.lengths[slot]], &self.peers[slot]))
    }
}

/// Sends each datagram of a batch, [`UDP_BATCH`] at most; what the socket does not take at once is dropped, as the
/// network might have done.
pub fn send(socket: &UdpSocket, datagrams: &[(&[u8], &Peer)]) {
    // SAFETY: as in `receive`: all zeros is valid.
    let (mut vectors, mut headers): ([libc::iovec; UDP_BATCH], [libc::mmsghdr; UDP_BATCH]) =
        unsafe { (mem::zeroed(), mem::zeroed()) };
    let count = datagrams.len().min(UDP_BATCH);
    for (slot, (bytes, peer)) in datagrams[..count].iter().enumerate() {
        vectors[slot] = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        headers[slot].msg_hdr.msg_name = ptr::from_ref(&peer.storage).cast_mut().cast();
        headers[slot].msg_hdr.msg_namelen = peer.length;
        headers[slot].msg_hdr.msg_iov = &raw mut vectors[slot];
        headers[slot].msg_hdr.msg_iovlen = 1;
    }
    let mut sent = 0;
    while sent < count {
        // SAFETY: the descriptor is open while `socket` is borrowed. The entries from `sent` to `count` were filled
        // above; each points to one `iovec`, and through it to bytes and an address that `datagrams` borrows until
        // after the call. The kernel only reads them (the pointers are `*mut` by the type's history), and writes
        // `msg_len`, which is inside `headers`.
        let done = unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                headers[sent..count].as_mut_ptr(),
                (count - sent) as libc::c_uint,
                libc::MSG_DONTWAIT as _,
            )
        };
        match usize::try_from(done) {
            Ok(done) if done > 0 => sent += done,
            // The first one left cannot be sent (no route, socket full): drop it and go on, at most `count` times.
            _ => sent += 1,
        }
    }
}

/// Never fragment on account of a path MTU that an attacker may have spoofed to us (RFC 9715 §3.1); best effort.
pub fn ignore_path_mtu(socket: &socket2::Socket, ipv4: bool) {
    let (level, option, value) = if ipv4 {
        (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_OMIT)
    } else {
        (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_OMIT)
    };
    let length = mem::size_of_val(&value) as libc::socklen_t;
    // SAFETY: the descriptor is open while `socket` is borrowed; the option takes an integer, whose address and
    // length are given and which lives until the call returns.
    unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, ptr::from_ref(&value).cast(), length) };
}
