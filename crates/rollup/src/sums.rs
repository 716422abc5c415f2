//! The sums of a row.

use std::time::Duration;

use webb_flow::extra::{Extra, L7Kind, L7Record};
use webb_flow::{ConnectionEvent, Event, Flow, NO_TIME};

/// Upper bounds of the buckets of both histograms, in microseconds; one bucket more has the rest.
/// They are those of the metric `connections`.
pub const BOUNDS_US: [u64; 15] =
    [50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000];

/// A histogram of durations.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Histogram {
    /// Samples by bucket, not cumulative.
    pub buckets: [u32; BOUNDS_US.len() + 1],
    /// Sum of the samples in microseconds.
    pub sum_us: u64,
}

impl Histogram {
    fn add(&mut self, time: Duration) {
        // Bounds are inclusive, as Prometheus' are.
        let at = BOUNDS_US.partition_point(|bound| Duration::from_micros(*bound) < time);
        if let Some(bucket) = self.buckets.get_mut(at) {
            *bucket = bucket.saturating_add(1);
        }
        self.sum_us = self.sum_us.saturating_add(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    /// True without a sample.
    pub fn is_empty(&self) -> bool {
        self.buckets.iter().all(|count| *count == 0)
    }
}

/// Attempts to connect, by outcome, and what became of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "the names are those of the metric's label outcome")]
pub struct Connections {
    pub opened: u32,
    pub refused: u32,
    pub timed_out: u32,
    pub unreachable: u32,
    pub denied: u32,
    pub dropped: u32,
    /// Connections that ended by a reset.
    pub reset: u32,
    /// Connections that are open at the end of the window, whenever they were opened.
    pub open: u32,
}

impl Connections {
    /// True for an event of the programs that one of these counts.
    pub fn have(event: &ConnectionEvent) -> bool {
        use ConnectionEvent::{Accepted, Refused, ResetByAcceptor, ResetByOpener, TimedOut, Unreachable};
        matches!(event, Accepted | Refused | TimedOut | Unreachable | ResetByOpener | ResetByAcceptor)
    }
}

/// The sums of a row within one window. Those of packets are first: nearly all flows are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Sums {
    /// Bytes of whole frames from the side that opened.
    pub bytes_sent: u64,
    /// Bytes of whole frames to it.
    pub bytes_received: u64,
    /// Packets from the side that opened.
    pub packets_sent: u64,
    /// Packets to it.
    pub packets_received: u64,
    /// Attempts to connect, and connections.
    pub connections: Connections,
    /// Segments that were sent again.
    pub retransmits: u32,
    /// Connections that passed although a policy forbids them.
    pub unenforced: u32,
    /// HTTP responses by class: `2xx`, `3xx`, `4xx`, `5xx`.
    pub responses: [u32; 4],
    /// DNS questions.
    pub dns_questions: u32,
    /// DNS answers with an error, and questions without an answer.
    pub dns_failures: u32,
    /// Time from SYN to SYN-ACK.
    pub handshake: Option<Box<Histogram>>,
    /// Time from HTTP request to response.
    pub request: Option<Box<Histogram>>,
}

impl Sums {
    /// Adds a packet's deltas.
    #[inline]
    pub(crate) fn add_packets(&mut self, flow: &Flow, by_opener: bool) {
        let packets = u64::from(flow.packets);
        if by_opener {
            self.bytes_sent += flow.bytes;
            self.packets_sent += packets;
        } else {
            self.bytes_received += flow.bytes;
            self.packets_received += packets;
        }
    }

    /// Adds an event of a connection.
    pub(crate) fn add_event(&mut self, event: ConnectionEvent, value: u64, histograms: bool) {
        let connections = &mut self.connections;
        let count = match event {
            ConnectionEvent::Accepted => {
                if histograms && value != NO_TIME {
                    self.handshake.get_or_insert_default().add(Duration::from_micros(value));
                }
                &mut connections.opened
            }
            ConnectionEvent::Refused => &mut connections.refused,
            ConnectionEvent::TimedOut => &mut connections.timed_out,
            ConnectionEvent::Unreachable => &mut connections.unreachable,
            ConnectionEvent::Denied => &mut connections.denied,
            ConnectionEvent::Dropped => &mut connections.dropped,
            ConnectionEvent::ResetByOpener | ConnectionEvent::ResetByAcceptor => &mut connections.reset,
            ConnectionEvent::RetransmitSyn | ConnectionEvent::RetransmitSynAck | ConnectionEvent::RetransmitData => {
                let segments = u32::try_from(value.max(1)).unwrap_or(u32::MAX);
                self.retransmits = self.retransmits.saturating_add(segments);
                return;
            }
            ConnectionEvent::Closed
            | ConnectionEvent::Idle
            | ConnectionEvent::Interrupted
            | ConnectionEvent::Sample
            | ConnectionEvent::ZeroWindow
            | ConnectionEvent::Open => return,
        };
        *count = count.saturating_add(1);
    }

    /// Adds a message of layer 7.
    pub(crate) fn add_message(&mut self, flow: &Flow, extra: &Extra, histograms: bool) {
        let Some(l7) = &extra.l7 else { return };
        match (&l7.record, l7.kind) {
            (L7Record::Http(http), L7Kind::Response) => {
                if let Some(count) = (http.code / 100).checked_sub(2).and_then(|at| self.responses.get_mut(at as usize))
                {
                    *count = count.saturating_add(1);
                }
                // Without its request a response has no latency.
                if histograms && l7.latency_ns > 0 {
                    self.request.get_or_insert_default().add(Duration::from_nanos(l7.latency_ns));
                }
            }
            (L7Record::Dns(_), L7Kind::Request) => self.dns_questions = self.dns_questions.saturating_add(1),
            (L7Record::Dns(dns), L7Kind::Response) if dns.rcode != 0 => {
                self.dns_failures = self.dns_failures.saturating_add(1);
            }
            (L7Record::Unanswered(_), _) => self.dns_failures = self.dns_failures.saturating_add(flow.packets.max(1)),
            _ => {}
        }
    }

    /// True if nothing was added, and no connection is open.
    pub fn is_empty(&self) -> bool {
        let Self { handshake, request, .. } = self;
        let no_samples = [handshake, request].into_iter().flatten().all(|histogram| histogram.is_empty());
        no_samples && *self == Self { handshake: handshake.clone(), request: request.clone(), ..Self::default() }
    }

    /// Sets all to nought but the connections that are open; the room of histograms stays.
    pub(crate) fn clear(&mut self) {
        let (mut handshake, mut request) = (self.handshake.take(), self.request.take());
        for histogram in [&mut handshake, &mut request].into_iter().flatten() {
            **histogram = Histogram::default();
        }
        let connections = Connections { open: self.connections.open, ..Connections::default() };
        *self = Self { connections, handshake, request, ..Self::default() };
    }
}

/// The sort of sums that a flow adds to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Share {
    /// Bytes and packets.
    Packets,
    /// An event of a connection.
    Event(ConnectionEvent, u64),
    /// A connection that passed though a policy forbids it.
    Unenforced,
    /// A message of layer 7.
    Message,
}

impl Share {
    /// True for an event of an attempt that was dropped: it belongs to the row of the drop.
    #[inline]
    pub(crate) fn is_denial(self) -> bool {
        matches!(self, Self::Event(ConnectionEvent::Denied | ConnectionEvent::Dropped, _))
    }

    /// What a flow adds to; none for one that stands beside another of the same packet.
    #[inline]
    pub(crate) fn of(flow: &Flow, extra: Option<&Extra>) -> Option<Self> {
        match flow.event {
            Event::Connection => flow.connection_event().map(|(event, value)| Self::Event(event, value)),
            _ if extra.is_some_and(|extra| extra.l7.is_some()) => Some(Self::Message),
            Event::PolicyVerdict => (flow.verdict == webb_flow::Verdict::Audit).then_some(Self::Unenforced),
            Event::Trace | Event::Flush | Event::Drop => Some(Self::Packets),
            Event::Unknown | Event::Capture | Event::Socket | Event::L7 => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An event of the programs is one that connections count, or is not: a lost one is missing
    /// there, or is not.
    #[test]
    fn events_that_connections_count() {
        for event in ConnectionEvent::ALL.into_iter().filter(|event| event.is_recorded()) {
            let mut sums = Sums::default();
            sums.add_event(event, 1, true);
            assert_eq!(Connections::have(&event), sums.connections != Connections::default(), "{event:?}");
        }
    }
}
