//! A TCP connection of a pod, as packets at its interface, and the events that come of it.

use std::time::Duration;

use etherparse::PacketBuilder;
use webb::bpf_loader::{Hook, ProgramSettings, Timeouts};
use webb_flow::abi::{Record, event, flag, kind};

use crate::support::packets::{A, A6, B, B6, MAC_A, MAC_B, write};
use crate::support::{Kernel, load};

/// An hour: so long no test runs, so nothing ends by itself.
const NEVER: Duration = Duration::from_hours(1);

/// Settings with connection quality, where nothing ends by itself and no interval is over.
pub(super) fn settings() -> ProgramSettings {
    let timeouts =
        Timeouts { tcp: NEVER, closed: NEVER, half_open: NEVER, other: NEVER, evictable: NEVER, mac_claim: NEVER };
    ProgramSettings { connections: true, timeouts, report_interval: Duration::from_mins(10), ..Default::default() }
}

pub(super) fn quality() -> Option<Kernel> {
    let mut kernel = load(&settings())?;
    assert_eq!(kernel.probes.degraded(), Vec::<String>::new(), "this kernel measures connections");
    Some(kernel)
}

/// The side of the pod whose interface is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pod {
    Opens,
    Accepts,
}

/// The sender of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    Opener,
    Acceptor,
}

/// A connection: the side of the pod, the family, and the opener's port.
#[derive(Debug, Clone, Copy)]
pub(super) struct Talk {
    pub(super) pod: Pod,
    pub(super) is_ipv6: bool,
    pub(super) port: u16,
}

/// The port that is called.
pub(super) const SERVER_PORT: u16 = 80;

/// The numbers of a segment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Numbers {
    pub(super) sequence: u32,
    pub(super) acknowledgement: u32,
    pub(super) window: u16,
}

impl Default for Numbers {
    fn default() -> Self {
        Self { sequence: 1000, acknowledgement: 2000, window: 1000 }
    }
}

pub(super) fn at(sequence: u32, acknowledgement: u32) -> Numbers {
    Numbers { sequence, acknowledgement, ..Numbers::default() }
}

impl Talk {
    pub(super) fn new(pod: Pod, port: u16) -> Self {
        Self { pod, is_ipv6: false, port }
    }

    /// All four kinds.
    pub(super) fn kinds(port: u16) -> [Self; 4] {
        [(Pod::Opens, false), (Pod::Opens, true), (Pod::Accepts, false), (Pod::Accepts, true)]
            .map(|(pod, is_ipv6)| Self { pod, is_ipv6, port })
    }

    pub(super) fn hook(self, by: By) -> Hook {
        if (self.pod == Pod::Opens) == (by == By::Opener) { Hook::FromPod } else { Hook::ToPod }
    }

    pub(super) fn packet(self, by: By, flags: u8, numbers: Numbers, payload: &[u8]) -> Vec<u8> {
        let (from, to) = if by == By::Opener { (self.port, SERVER_PORT) } else { (SERVER_PORT, self.port) };
        let start = PacketBuilder::ethernet2(MAC_A, MAC_B);
        let (sequence, window) = (numbers.sequence, numbers.window);
        let forward = by == By::Opener;
        let (mut packet, at) = if self.is_ipv6 {
            let (source, destination) = if forward { (A6, B6) } else { (B6, A6) };
            (write(start.ipv6(source, destination, 64).tcp(from, to, sequence, window), payload), 14 + 40)
        } else {
            let (source, destination) = if forward { (A, B) } else { (B, A) };
            (write(start.ipv4(source, destination, 64).tcp(from, to, sequence, window), payload), 14 + 20)
        };
        packet[at + 8..at + 12].copy_from_slice(&numbers.acknowledgement.to_be_bytes());
        packet[at + 13] = flags;
        packet
    }

    pub(super) fn send(self, kernel: &Kernel, by: By, flags: u8) {
        self.send_at(kernel, by, flags, Numbers::default(), b"");
    }

    pub(super) fn send_at(self, kernel: &Kernel, by: By, flags: u8, numbers: Numbers, payload: &[u8]) {
        kernel.send(self.hook(by), &self.packet(by, flags, numbers, payload));
    }

    /// The event of a record, with its sender; none for a record without one. The record must name
    /// this connection.
    pub(super) fn event(self, record: &Record) -> Option<(u8, By)> {
        if record.event == event::NONE {
            assert!(record.kind != kind::EVENT && record.value == 0, "{record:?}");
            return None;
        }
        let by = if record.flags & flag::REPLY == 0 { By::Opener } else { By::Acceptor };
        let ports = (record.source_port, record.destination_port);
        let expected = if by == By::Opener { (self.port, SERVER_PORT) } else { (SERVER_PORT, self.port) };
        assert_eq!(ports, expected, "{record:?}");
        assert_eq!(record.flags & flag::EGRESS != 0, self.pod == Pod::Opens, "{record:?}");
        assert_eq!(u32::from(record.hook), self.hook(by) as u32, "{record:?}");
        assert_eq!((record.family, record.protocol), (if self.is_ipv6 { 6 } else { 4 }, 6), "{record:?}");
        if record.kind == kind::EVENT {
            assert_eq!((record.packets, record.bytes, record.tcp_flags), (0, 0, 0), "{record:?}");
        }
        Some((record.event, by))
    }

    /// The events since the last call, with their senders. All records must be of this connection.
    pub(super) fn events(self, kernel: &mut Kernel) -> Vec<(u8, By)> {
        records(kernel).iter().filter_map(|record| self.event(record)).collect()
    }
}

/// Whether a record is of a socket: others of this machine may send something again at any time.
fn is_of_a_socket(record: &Record) -> bool {
    [event::RETRANSMIT_SYN, event::RETRANSMIT_SYN_ACK, event::RETRANSMIT_DATA].contains(&record.event)
}

/// The records of the packets of the test.
pub(super) fn records(kernel: &mut Kernel) -> Vec<Record> {
    kernel.records().into_iter().filter(|record| !is_of_a_socket(record)).collect()
}

/// Those that have an event.
pub(super) fn with_events(kernel: &mut Kernel) -> Vec<Record> {
    records(kernel).into_iter().filter(|record| record.event != event::NONE).collect()
}
