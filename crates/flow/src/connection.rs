//! Events in the life of a TCP connection, as flows of their own.
//!
//! The kernel's record of a SYN-ACK, a FIN or a RST carries what that packet decided about its
//! connection. The packet's flow is Hubble's; the event becomes a second flow beside it, of
//! [`Event::Connection`], whose source is always the side that opened the connection, whatever
//! direction the packet had. So contexts and filters mean the same for all events of a connection.

use std::hash::BuildHasher;
use std::sync::LazyLock;

use crate::hash::RandomState;
use crate::{Direction, Event, Flow, TcpFlags};

/// Hashes the addresses of connections.
static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::default);

/// An event of a connection; the numbers are those of `enum webb_event`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ConnectionEvent {
    /// The acceptor answered with SYN-ACK; the value is the time since the first SYN, in
    /// microseconds.
    Accepted = 1,
    /// The acceptor answered with RST.
    Refused = 2,
    /// Nothing answered.
    TimedOut = 3,
    /// An ICMP error quoted the SYN.
    Unreachable = 4,
    /// The SYN was dropped, by no policy.
    Dropped = 5,
    /// FIN both ways; the value of this and the next four is the time since the first SYN, in
    /// milliseconds.
    Closed = 6,
    /// RST by the opener.
    ResetByOpener = 7,
    /// RST by the acceptor.
    ResetByAcceptor = 8,
    /// Removed after a time without packets.
    Idle = 9,
    /// Evicted, or taken over by another connection of the same ports.
    Interrupted = 10,
    /// A round trip of data and its acknowledgement; the value is its time in microseconds.
    Sample = 11,
    /// A SYN was sent again; the value of this and the next two is the number of segments.
    RetransmitSyn = 12,
    /// A SYN-ACK was.
    RetransmitSynAck = 13,
    /// Data was.
    RetransmitData = 14,
    /// A side closed its receive window; the value is 1 if it was the acceptor.
    ZeroWindow = 15,
    /// A listing found the connection open.
    Open = 16,
    /// The SYN was dropped, and a policy forbids it. User space's own: no record has it.
    Denied = 32,
}

impl ConnectionEvent {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::Accepted,
        Self::Refused,
        Self::TimedOut,
        Self::Unreachable,
        Self::Dropped,
        Self::Closed,
        Self::ResetByOpener,
        Self::ResetByAcceptor,
        Self::Idle,
        Self::Interrupted,
        Self::Sample,
        Self::RetransmitSyn,
        Self::RetransmitSynAck,
        Self::RetransmitData,
        Self::ZeroWindow,
        Self::Open,
        Self::Denied,
    ];

    /// The event of a number.
    #[inline]
    pub fn of(number: u8) -> Option<Self> {
        let at = match number {
            1..=16 => usize::from(number) - 1,
            32 => 16,
            _ => return None,
        };
        Self::ALL.get(at).copied()
    }

    /// True for the events that the programs write.
    pub fn is_recorded(self) -> bool {
        !matches!(self, Self::Dropped | Self::Denied)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Refused => "refused",
            Self::TimedOut => "timed_out",
            Self::Unreachable => "unreachable",
            Self::Dropped => "dropped",
            Self::Closed => "closed",
            Self::ResetByOpener => "reset_by_opener",
            Self::ResetByAcceptor => "reset_by_acceptor",
            Self::Idle => "idle",
            Self::Interrupted => "interrupted",
            Self::Sample => "sample",
            Self::RetransmitSyn => "retransmit_syn",
            Self::RetransmitSynAck => "retransmit_syn_ack",
            Self::RetransmitData => "retransmit_data",
            Self::ZeroWindow => "zero_window",
            Self::Open => "open",
            Self::Denied => "denied",
        }
    }

    /// True for the events that end an attempt to connect without a connection.
    #[inline]
    pub fn is_failure(self) -> bool {
        matches!(self, Self::Refused | Self::TimedOut | Self::Unreachable | Self::Dropped | Self::Denied)
    }

    /// True for the events that end a connection.
    #[inline]
    pub fn is_end(self) -> bool {
        matches!(self, Self::Closed | Self::ResetByOpener | Self::ResetByAcceptor | Self::Idle | Self::Interrupted)
    }
}

/// The value of an event whose time is not known: the connection was picked up midway.
pub const NO_TIME: u64 = u64::MAX;

impl Flow {
    /// The event of a connection whose opener is the source of this flow. Such a flow has no bytes,
    /// no packets and no ICMP type: the places hold the value, a keyed hash of the addresses as
    /// they are in packets, which tells connections apart after translation too, and the event.
    #[must_use]
    pub fn connection(self, event: ConnectionEvent, value: u64) -> Self {
        #[allow(clippy::cast_possible_truncation, reason = "half of the hash will do beside the ports")]
        let addresses = HASHER.hash_one((self.source_ip, self.destination_ip)) as u32;
        Self {
            event: Event::Connection,
            bytes: value,
            packets: addresses,
            icmp_type: event as u8,
            icmp_code: 0,
            tcp_flags: TcpFlags::default(),
            ..self
        }
    }

    /// A dropped SYN with this sequence number. TCP has no ICMP type and code: the places hold half
    /// of the number, which tells a SYN that is repeated from that of another attempt.
    #[must_use]
    pub fn with_sequence(self, sequence: u32) -> Self {
        let [a, b, c, d] = sequence.to_be_bytes();
        Self { icmp_type: a ^ c, icmp_code: b ^ d, ..self }
    }

    /// What [`Flow::with_sequence`] holds.
    pub fn sequence_mark(&self) -> u16 {
        u16::from_be_bytes([self.icmp_type, self.icmp_code])
    }

    /// The same connection with another event, without a value.
    #[must_use]
    pub fn connection_again(self, event: ConnectionEvent) -> Self {
        Self { icmp_type: event as u8, bytes: 0, ..self }
    }

    /// The event of the connection that this flow is about, and its value.
    #[inline]
    pub fn connection_event(&self) -> Option<(ConnectionEvent, u64)> {
        if self.event != Event::Connection {
            return None;
        }
        ConnectionEvent::of(self.icmp_type).map(|event| (event, self.bytes))
    }

    /// True if the interface is the opener's: its side reports. None at a device of the node.
    #[inline]
    pub fn is_reported_by_opener(&self) -> Option<bool> {
        match self.direction {
            Direction::Egress => Some(true),
            Direction::Ingress => Some(false),
            Direction::Unknown => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers are those of the ABI; one without a record has another.
    #[test]
    fn numbers_are_the_records() {
        use crate::abi::{EVENTS, event};
        assert_eq!(ConnectionEvent::Accepted as u8, event::ACCEPTED);
        assert_eq!(ConnectionEvent::Dropped as u8, event::DROPPED);
        assert_eq!(ConnectionEvent::Interrupted as u8, event::INTERRUPTED);
        assert_eq!(ConnectionEvent::RetransmitData as u8, event::RETRANSMIT_DATA);
        assert_eq!(ConnectionEvent::Open as u8, event::OPEN);
        assert_eq!(ConnectionEvent::Open as usize + 1, EVENTS);
        assert!(ConnectionEvent::Denied as usize >= EVENTS);
    }

    /// An event and its value come out of a flow as they were put in; other flows have none.
    #[test]
    fn events_come_out_as_they_went_in() {
        for event in ConnectionEvent::ALL {
            let flow = Flow::default().connection(event, 77);
            assert_eq!(flow.connection_event(), Some((event, 77)));
            assert!(!(event.is_failure() && event.is_end()), "{event:?}");
        }
        assert_eq!(Flow { icmp_type: 1, ..Flow::default() }.connection_event(), None);
        for number in [0, 17, 31, 33, 255] {
            assert_eq!(ConnectionEvent::of(number), None);
        }
    }
}
