//! Reads the other users of an interface's egress by rtnetlink: queues, and filters of `tc`.
//!
//! A packet that our program has seen may still end there. The answers decide which interfaces are
//! counted when the device sends a packet (`bpf/include/device.h`). Only headers and one attribute
//! are read, so no kind of queue or filter is unknown to it.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};

/// Message types of rtnetlink and of netlink itself.
mod message {
    pub(super) const ERROR: u16 = 2;
    pub(super) const DONE: u16 = 3;
    pub(super) const NEW_LINK: u16 = 16;
    pub(super) const GET_LINK: u16 = 18;
    pub(super) const NEW_QDISC: u16 = 36;
    pub(super) const GET_QDISC: u16 = 38;
    pub(super) const NEW_FILTER: u16 = 44;
    pub(super) const GET_FILTER: u16 = 46;
}

const REQUEST: u16 = 0x1;
const DUMP: u16 = 0x300;
/// `TC_H_ROOT`: the parent of the queue that all packets of an interface pass.
const ROOT: u32 = 0xffff_ffff;
/// The egress side of a clsact qdisc: `TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_EGRESS)`.
const CLSACT_EGRESS: u32 = 0xffff_fff3;
/// `TCA_KIND`.
const KIND: u16 = 1;
/// `IFLA_ADDRESS`.
const ADDRESS: u16 = 1;
/// `IFLA_TARGET_NETNSID`.
const TARGET_NETNSID: u16 = 46;
/// Name of the queue that is none: a packet goes to the device at once.
const NO_QUEUE: &[u8] = b"noqueue";
/// A netlink header, and that of a traffic control message behind it.
const HEADER: usize = 16;
const TC_HEADER: usize = 20;
/// The header of a link message.
const LINK_HEADER: usize = 16;
/// Size of the receive buffer in bytes: no answer of the kernel comes in larger pieces.
const BUFFER: usize = 64 << 10;
/// The kernel answers at once, if not that quickly when its network lock is taken.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Queues and filters at the egress of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Egress {
    /// A queue, which may drop.
    pub queue: bool,
    /// Filters of clsact, our own included.
    pub filters: usize,
}

/// Netlink socket for traffic control requests.
#[derive(Debug)]
pub struct TrafficControl {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

impl TrafficControl {
    /// A socket of the calling thread's network namespace.
    pub fn open() -> io::Result<Self> {
        // Routing is the family of number 0, the default.
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        set_socket_timeout(&socket, Timeout::Recv, Some(ANSWER_TIMEOUT))?;
        Ok(Self { socket, buffer: vec![0; BUFFER] })
    }

    /// Egress of every interface that has queues or filters there.
    pub fn egress(&mut self) -> io::Result<HashMap<u32, Egress>> {
        let mut found = HashMap::<u32, Egress>::new();
        let mut clsact = Vec::new();
        self.ask(message::GET_QDISC, DUMP, &tc_header(0, 0), |kind, body| {
            let Some((index, _, parent)) = tc_of(body).filter(|_| kind == message::NEW_QDISC) else { return };
            let name = attribute(body.get(TC_HEADER..).unwrap_or_default(), KIND).unwrap_or_default();
            let name = name.strip_suffix(&[0]).unwrap_or(name);
            if parent == ROOT && name != NO_QUEUE {
                found.entry(index).or_default().queue = true;
            } else if name == b"clsact" {
                clsact.push(index);
            }
        })?;
        for index in clsact {
            let mut filters = 0;
            self.ask(message::GET_FILTER, DUMP, &tc_header(index, CLSACT_EGRESS), |kind, body| {
                // What has no handle is not a filter but the head of a list of them.
                let is_one = tc_of(body).is_some_and(|(_, handle, _)| handle != 0);
                filters += usize::from(kind == message::NEW_FILTER && is_one);
            })?;
            found.entry(index).or_default().filters = filters;
        }
        Ok(found)
    }

    /// The MAC address of an interface in the network namespace that has this number here.
    pub fn address(&mut self, namespace: i32, index: u32) -> io::Result<Option<[u8; 6]>> {
        let mut body = [0; LINK_HEADER].to_vec();
        if let Some(place) = body.get_mut(4..8) {
            place.copy_from_slice(&index.to_ne_bytes());
        }
        body.extend(8_u16.to_ne_bytes());
        body.extend(TARGET_NETNSID.to_ne_bytes());
        body.extend(namespace.to_ne_bytes());
        let mut address = None;
        self.ask(message::GET_LINK, 0, &body, |kind, body| {
            if kind == message::NEW_LINK {
                let attributes = body.get(LINK_HEADER..).unwrap_or_default();
                address = attribute(attributes, ADDRESS).and_then(|value| value.try_into().ok());
            }
        })?;
        Ok(address)
    }

    /// Sends one request and hands every message of the answer to `take`.
    fn ask(&mut self, kind: u16, flags: u16, body: &[u8], mut take: impl FnMut(u16, &[u8])) -> io::Result<()> {
        let length = u32::try_from(HEADER + body.len()).map_err(io::Error::other)?;
        let mut request = length.to_ne_bytes().to_vec();
        request.extend(kind.to_ne_bytes());
        request.extend((REQUEST | flags).to_ne_bytes());
        request.extend([0; 8]);
        request.extend(body);
        // What an earlier request that was given up on has left behind is not this one's answer.
        while recv(&self.socket, &mut *self.buffer, RecvFlags::DONTWAIT).is_ok() {}
        send(&self.socket, &request, SendFlags::empty())?;
        loop {
            let (length, _) = recv(&self.socket, &mut *self.buffer, RecvFlags::empty())?;
            for (kind, body) in messages(self.buffer.get(..length).unwrap_or_default()) {
                match kind {
                    message::DONE => return Ok(()),
                    message::ERROR => return error(body),
                    _ => take(kind, body),
                }
                if flags & DUMP == 0 {
                    return Ok(());
                }
            }
        }
    }
}

/// A `struct tcmsg`.
fn tc_header(index: u32, parent: u32) -> [u8; TC_HEADER] {
    let mut header = [0; TC_HEADER];
    for (at, word) in [(4, index), (12, parent)] {
        if let Some(place) = header.get_mut(at..at + 4) {
            place.copy_from_slice(&word.to_ne_bytes());
        }
    }
    header
}

/// Interface, handle and parent in a `struct tcmsg`.
fn tc_of(body: &[u8]) -> Option<(u32, u32, u32)> {
    Some((word(body, 4)?, word(body, 8)?, word(body, 12)?))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_ne_bytes)
}

/// The messages of a datagram, type and body, up to the first that does not fit.
fn messages(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let (length, kind) = (word(bytes, 0)? as usize, half(bytes, 4)?);
        let body = bytes.get(HEADER..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, body))
    })
}

/// The value of the first attribute of that type.
fn attribute(mut bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let (length, kind) = (usize::from(half(bytes, 0)?), half(bytes, 2)?);
        let value = bytes.get(4..length)?;
        if kind == wanted {
            return Some(value);
        }
        bytes = bytes.get(length.next_multiple_of(4)..)?;
    }
}

/// The error in an answer; 0 is an acknowledgement.
fn error(body: &[u8]) -> io::Result<()> {
    match word(body, 0).map(u32::cast_signed) {
        Some(0) => Ok(()),
        Some(number) => Err(io::Error::from_raw_os_error(number.saturating_neg())),
        None => Err(io::Error::other("netlink gave an error without a number")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_attribute(mut bytes: Vec<u8>, kind: u16, value: &[u8]) -> Vec<u8> {
        bytes.extend(u16::try_from(value.len() + 4).unwrap().to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    /// The kernel's messages are parsed as they come, and a false length ends the walk.
    #[test]
    fn messages_are_walked() {
        let body = with_attribute(with_attribute(tc_header(7, ROOT).to_vec(), 9, b"x"), KIND, b"tbf\0");
        let mut datagram = Vec::new();
        for kind in [message::NEW_QDISC, message::DONE] {
            datagram.extend(u32::try_from(HEADER + body.len()).unwrap().to_ne_bytes());
            datagram.extend(kind.to_ne_bytes());
            datagram.extend([0; 10]);
            datagram.extend(&body);
        }
        let found: Vec<_> = messages(&datagram).collect();
        assert_eq!(found, [(message::NEW_QDISC, &*body), (message::DONE, &*body)]);
        assert_eq!(tc_of(&body), Some((7, 0, ROOT)));
        assert_eq!(attribute(&body[TC_HEADER..], KIND), Some(&b"tbf\0"[..]));
        assert_eq!(attribute(&body[TC_HEADER..], 77), None);
        assert_eq!(messages(&datagram[..datagram.len() - 1]).count(), 1, "cut off");
        assert_eq!(messages(&[4, 0, 0, 0, 1, 0]).count(), 0, "shorter than its own header");
        assert_eq!(attribute(&[200, 0, 1, 0, 1], 1), None, "longer than what is left");
        assert_eq!(attribute(&[0, 0, 1, 0, 1], 1), None, "shorter than its own head");
    }

    /// The kernel's refusals come as negative numbers.
    #[test]
    fn errors_are_read() {
        assert!(error(&0_i32.to_ne_bytes()).is_ok());
        assert_eq!(error(&(-libc::EPERM).to_ne_bytes()).unwrap_err().raw_os_error(), Some(libc::EPERM));
        assert!(error(&[]).is_err());
        assert!(error(&i32::MIN.to_ne_bytes()).is_err());
    }
}
