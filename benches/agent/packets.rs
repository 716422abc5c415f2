//! Packets of the node's pods, as fast as they are wanted: raw sockets in the pods' namespace,
//! whose packets pass the interface like any other.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SendFlags, SocketType, ipproto, sendto, socket};

use super::lab::inside;

/// Type of a packet.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Udp,
    /// TCP with these flags.
    Tcp(u8),
    /// TCP with these four bytes and no more.
    Malformed(u32),
}

pub(crate) const SYN: u8 = 2;
pub(crate) const ACK: u8 = 16;

/// One packet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Packet {
    pub(crate) kind: Kind,
    pub(crate) from: (Ipv4Addr, u16),
    pub(crate) to: (Ipv4Addr, u16),
}

/// Bytes of the longest packet made here.
const LONGEST: usize = 40;

impl Packet {
    /// Appends the packet; the kernel fills in its length and the header's checksum. Checksums of
    /// the layers above are left out: nothing on the way looks at them.
    fn write(&self, out: &mut Vec<u8>) {
        let protocol = match self.kind {
            Kind::Udp => 17,
            Kind::Tcp(_) | Kind::Malformed(_) => 6,
        };
        out.extend_from_slice(&[0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0]);
        out.extend_from_slice(&self.from.0.octets());
        out.extend_from_slice(&self.to.0.octets());
        if let Kind::Malformed(bytes) = self.kind {
            return out.extend_from_slice(&bytes.to_be_bytes());
        }
        out.extend_from_slice(&self.from.1.to_be_bytes());
        out.extend_from_slice(&self.to.1.to_be_bytes());
        match self.kind {
            Kind::Udp => out.extend_from_slice(&[0, 12, 0, 0, b'p', b'i', b'n', b'g']),
            Kind::Tcp(flags) => {
                out.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, u8::from(flags & ACK != 0), 0x50, flags]);
                out.extend_from_slice(&[0x20, 0, 0, 0, 0, 0]);
            }
            Kind::Malformed(_) => {}
        }
    }
}

/// Number of sent packets, and the duration.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sent {
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    pub(crate) took: Duration,
}

/// A socket in a namespace of pods.
#[derive(Debug)]
pub(crate) struct Sender(OwnedFd);

impl Sender {
    pub(crate) fn new(namespace: &str) -> Self {
        Self(inside(namespace, || socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::RAW)).unwrap()))
    }

    /// Sends all, so many a second; as fast as it goes for 0. Every packet leaves: a raw socket
    /// waits for room.
    pub(crate) fn send(&self, packets: impl IntoIterator<Item = Packet>, rate: u32) -> Sent {
        let mut bytes = Vec::with_capacity(LONGEST);
        let (began, mut sent) = (Instant::now(), Sent::default());
        for packet in packets {
            if rate > 0 && sent.packets.is_multiple_of(16) {
                let due = Duration::from_secs(1).mul_f64(sent.packets as f64 / f64::from(rate));
                std::thread::sleep(due.saturating_sub(began.elapsed()));
            }
            bytes.clear();
            packet.write(&mut bytes);
            let to = SocketAddr::V4(SocketAddrV4::new(packet.to.0, 0));
            sendto(&self.0, &bytes, SendFlags::empty(), &to).unwrap();
            sent.packets += 1;
            // With the Ethernet header, as an interface counts them.
            sent.bytes += bytes.len() as u64 + 14;
        }
        Sent { took: began.elapsed(), ..sent }
    }
}
