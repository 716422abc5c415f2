//! Sends ICMP echo requests over datagram sockets, and matches the replies.
//!
//! Such a socket needs no capability where `net.ipv4.ping_group_range` includes the process's
//! group. One for each version of IP serves all peers: the kernel delivers the replies to its own
//! requests only, and a random token in each request tells a reply from what others may send.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket as StdSocket};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, socket_with};
use tokio::net::UdpSocket;
use tokio::sync::oneshot;
use webb_flow::hash;

use super::ProbeError;
use super::echo_message::{self, BYTES, Reply, parse_reply};

/// Sockets, and the requests that wait for a reply: at most as many as probes run at once.
#[derive(Debug)]
pub(super) struct Echo {
    v4: Option<UdpSocket>,
    v6: Option<UdpSocket>,
    waiting: RefCell<HashMap<u16, Waiting>>,
    next: Cell<u16>,
}

#[derive(Debug)]
struct Waiting {
    from: IpAddr,
    token: u64,
    replied: oneshot::Sender<Instant>,
}

/// What became of a received message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Received {
    /// Reply to a request that waits.
    Matched,
    /// Message that is no reply to a request of this format.
    Malformed,
    /// Reply that nothing waits for: late, doubled, or not of the peer.
    Unmatched,
}

/// Opens a socket for one version of IP.
fn open(family: AddressFamily) -> io::Result<StdSocket> {
    let protocol = if family == AddressFamily::INET { ipproto::ICMP } else { ipproto::ICMPV6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socket_with(family, SocketType::DGRAM, flags, Some(protocol))?.into())
}

/// Tries to open a socket for one version of IP. `Ok(None)`: this kernel does not have that
/// version.
///
/// # Errors
/// The reason, for a person.
fn try_open(family: AddressFamily) -> Result<Option<StdSocket>, String> {
    match open(family) {
        Ok(socket) => Ok(Some(socket)),
        Err(error) if error.raw_os_error() == Some(Errno::AFNOSUPPORT.raw_os_error()) => Ok(None),
        Err(error) if matches!(error.kind(), io::ErrorKind::PermissionDenied) => Err(format!(
            "nodes are probed by HTTP alone: the kernel refuses ICMP echo ({error}), as net.ipv4.ping_group_range does \
             not include the group that webb runs as"
        )),
        Err(error) => Err(format!("nodes are probed by HTTP alone: no socket for ICMP echo: {error}")),
    }
}

/// Checks whether this process may send ICMP echo requests.
///
/// # Errors
/// The reason for which it may not.
pub(super) fn check() -> Result<(), String> {
    try_open(AddressFamily::INET)?;
    try_open(AddressFamily::INET6)?;
    Ok(())
}

impl Echo {
    /// Opens the sockets, if `wanted`. Beside them, the reason for which there is none.
    pub(super) fn open(wanted: bool) -> (Self, Option<String>) {
        let mut complaint = None;
        let mut opened = |family| {
            let socket = if wanted { try_open(family) } else { Ok(None) };
            let socket = socket.and_then(|socket| {
                socket.map(UdpSocket::from_std).transpose().map_err(|error| format!("no ICMP echo: {error}"))
            });
            socket.unwrap_or_else(|why| {
                complaint.get_or_insert(why);
                None
            })
        };
        let (v4, v6) = (opened(AddressFamily::INET), opened(AddressFamily::INET6));
        (Self { v4, v6, waiting: RefCell::default(), next: Cell::new(0) }, complaint)
    }

    fn socket(&self, address: IpAddr) -> Option<&UdpSocket> {
        if address.is_ipv4() { self.v4.as_ref() } else { self.v6.as_ref() }
    }

    /// Whether addresses of that version can be probed.
    pub(super) fn serves(&self, address: IpAddr) -> bool {
        self.socket(address).is_some()
    }

    /// Sends a request and waits for its reply; [`Echo::receive`] must run meanwhile.
    pub(super) async fn ping(&self, address: IpAddr) -> Result<Duration, ProbeError> {
        let Some(socket) = self.socket(address) else {
            return Err(ProbeError::Local("no socket for ICMP echo".to_owned()));
        };
        let (replied, reply) = oneshot::channel();
        let request = Reply { sequence: self.free_sequence()?, token: hash::seed() };
        let waiting = Waiting { from: address, token: request.token, replied };
        self.waiting.borrow_mut().insert(request.sequence, waiting);
        let _removed_at_the_end = Registered { echo: self, sequence: request.sequence };
        let began = Instant::now();
        let message = echo_message::request(address.is_ipv4(), request);
        socket.send_to(&message, SocketAddr::new(address, 0)).await?;
        let at = reply.await.map_err(|_| ProbeError::Local("the request was given up".to_owned()))?;
        Ok(at.saturating_duration_since(began))
    }

    fn free_sequence(&self) -> Result<u16, ProbeError> {
        let waiting = self.waiting.borrow();
        let first = self.next.get();
        let free = (0..=u16::MAX).map(|more| first.wrapping_add(more)).find(|number| !waiting.contains_key(number));
        let free = free.ok_or_else(|| ProbeError::Local("too many requests wait for a reply".to_owned()))?;
        self.next.set(free.wrapping_add(1));
        Ok(free)
    }

    /// Receives one message. Never ends without sockets.
    pub(super) async fn receive(&self) -> io::Result<Received> {
        tokio::select! {
            received = receive(self.v4.as_ref()) => received.map(|message| self.deliver(true, message)),
            received = receive(self.v6.as_ref()) => received.map(|message| self.deliver(false, message)),
        }
    }

    fn deliver(&self, is_v4: bool, (bytes, length, from): ([u8; BYTES + 1], usize, IpAddr)) -> Received {
        let Some(reply) = bytes.get(..length).and_then(|bytes| parse_reply(is_v4, bytes)) else {
            return Received::Malformed;
        };
        let mut waiting = self.waiting.borrow_mut();
        let fits = |one: &Waiting| one.from == from && one.token == reply.token;
        if !waiting.get(&reply.sequence).is_some_and(fits) {
            return Received::Unmatched;
        }
        if let Some(one) = waiting.remove(&reply.sequence) {
            // A probe at its deadline is gone, which is a timeout.
            let _given_up = one.replied.send(Instant::now());
        }
        Received::Matched
    }
}

/// Receives a message, of which one byte more is read than a reply has.
async fn receive(socket: Option<&UdpSocket>) -> io::Result<([u8; BYTES + 1], usize, IpAddr)> {
    let Some(socket) = socket else { return std::future::pending().await };
    let mut bytes = [0; BYTES + 1];
    let (length, from) = socket.recv_from(&mut bytes).await?;
    Ok((bytes, length, from.ip()))
}

/// Takes a request off the list of those that wait, however its probe ends.
struct Registered<'a> {
    echo: &'a Echo,
    sequence: u16,
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        self.echo.waiting.borrow_mut().remove(&self.sequence);
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    fn reply(request: Reply) -> ([u8; BYTES + 1], usize, IpAddr) {
        let mut bytes = [0; BYTES + 1];
        bytes[..BYTES].copy_from_slice(&echo_message::request(true, request));
        bytes[0] = 0;
        (bytes, BYTES, Ipv4Addr::LOCALHOST.into())
    }

    /// Only the reply of the peer to a request that waits is matched: not one with another token,
    /// of another sender, or that comes twice.
    #[test]
    fn replies_are_matched() {
        let (echo, complaint) = Echo::open(false);
        assert_eq!(complaint, None);
        let (replied, mut waits) = oneshot::channel();
        let request = Reply { sequence: 7, token: 1234 };
        echo.waiting.borrow_mut().insert(7, Waiting { from: Ipv4Addr::LOCALHOST.into(), token: 1234, replied });
        assert_eq!(echo.deliver(true, reply(Reply { token: 1235, ..request })), Received::Unmatched);
        assert_eq!(echo.deliver(true, reply(Reply { sequence: 8, ..request })), Received::Unmatched);
        let (bytes, length, _) = reply(request);
        assert_eq!(echo.deliver(true, (bytes, length, Ipv6Addr::LOCALHOST.into())), Received::Unmatched);
        assert_eq!(echo.deliver(true, (bytes, BYTES + 1, Ipv4Addr::LOCALHOST.into())), Received::Malformed);
        assert!(waits.try_recv().is_err());
        assert_eq!(echo.deliver(true, reply(request)), Received::Matched);
        assert!(waits.try_recv().is_ok());
        assert_eq!(echo.deliver(true, reply(request)), Received::Unmatched);
    }

    /// Sequence numbers are not given out twice while one waits, over the end of their range too.
    #[test]
    fn numbers_are_free() {
        let (echo, _) = Echo::open(false);
        echo.next.set(u16::MAX);
        for number in [u16::MAX, 1] {
            let (replied, _) = oneshot::channel();
            echo.waiting.borrow_mut().insert(number, Waiting { from: Ipv4Addr::LOCALHOST.into(), token: 0, replied });
        }
        assert_eq!(echo.free_sequence(), Ok(0));
        assert_eq!(echo.free_sequence(), Ok(2));
    }
}
