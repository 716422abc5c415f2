//! `connections`: how well two workloads talk, of any protocol over TCP, encrypted or not. Hubble
//! has nothing like it.
//!
//! Counts flows of `Event::Connection`, whose source is the side that opened the connection. A
//! connection between two watched pods is seen at both interfaces, so every family has `reporter`,
//! as Hubble's HTTP metrics do, and a query chooses one.

use crate::expose::Spec;
use crate::options::{BUCKETS, Options};
use crate::plugin::{Emit, Plugin, Table, Texts};
use crate::tuples::Tuples;
use webb_flow::{ConnectionEvent, Flow, NO_TIME};

/// Events of TCP connections.
#[derive(Debug)]
pub(super) struct Connections;

/// The configuration name.
pub const NAME: &str = "connections";

const ATTEMPTS: &[Spec] =
    &[Spec { name: "webb_tcp_connections_total", help: "Attempts to open a TCP connection, by their outcome" }];
const HANDSHAKE: &[Spec; 1] = &[Spec {
    name: "webb_tcp_handshake_seconds",
    help: "Seconds from the first SYN to the SYN-ACK, of accepted TCP connections",
}];
const RTT: &[Spec; 1] = &[Spec {
    name: "webb_tcp_rtt_seconds",
    help: "Seconds from data that leaves the local pod to its acknowledgement, which the peer may delay by 40 ms; \
           a sample when a connection begins, and one each report_interval",
}];
const DURATION: &[Spec; 1] = &[Spec {
    name: "webb_tcp_connection_seconds",
    help: "Seconds from the first SYN to the end of TCP connections; one that was picked up midway has no sample",
}];
const RETRANSMITTED: &[Spec] =
    &[Spec { name: "webb_tcp_retransmitted_segments_total", help: "Segments that the TCP of a local pod sent again" }];
const OPEN: &[Spec; 1] =
    &[Spec { name: "webb_tcp_open_connections", help: "TCP connections that are established and have not ended" }];
const ZERO_WINDOW: &[Spec] = &[Spec {
    name: "webb_tcp_zero_window_total",
    help: "Times that a side of a TCP connection closed its receive window: it reads more slowly than is sent",
}];

/// From a neighbour in the same rack to a lost SYN, which is sent again after a second.
const BOUNDS: [f64; 15] =
    [0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5];

/// From a request of its own connection to one that is kept for hours.
const DURATIONS: [f64; 8] = [0.001, 0.01, 0.1, 1.0, 10.0, 60.0, 600.0, 3600.0];

/// Numbers of the tables.
mod table {
    pub(super) const ATTEMPTS: usize = 0;
    pub(super) const HANDSHAKE: usize = 1;
    pub(super) const RTT: usize = 2;
    pub(super) const DURATION: usize = 3;
    pub(super) const RETRANSMITTED: usize = 4;
    pub(super) const OPEN: usize = 5;
    pub(super) const ZERO_WINDOW: usize = 6;
}

impl Plugin for Connections {
    const NAME: &'static str = NAME;
    const TABLES: &'static [Table] = &[
        Table::counters(ATTEMPTS, &["outcome", "reporter"]),
        Table::histogram(HANDSHAKE, &["reporter"], &BOUNDS),
        Table::histogram(RTT, &["reporter"], &BOUNDS),
        Table::histogram(DURATION, &["outcome", "reporter"], &DURATIONS),
        Table::counters(RETRANSMITTED, &["reporter", "type"]),
        Table::gauge(OPEN, &["reporter"]),
        Table::counters(ZERO_WINDOW, &["reporter", "side"]),
    ];
    const OPTIONS: &'static [&'static str] = &[BUCKETS];
    const CONNECTIONS: bool = true;

    fn new(_options: &Options) -> Self {
        Self
    }

    /// Those of handshakes and round trips; connections last longer.
    fn bounds(options: &Options, table: usize) -> Option<Vec<f64>> {
        if table == table::DURATION { None } else { options.buckets().ok().flatten() }
    }

    #[inline]
    fn observe(&self, flow: &Flow, emit: &mut Emit<'_, Self>) {
        use ConnectionEvent::{
            Accepted, Closed, Denied, Dropped, Idle, Interrupted, Open, Refused, ResetByAcceptor, ResetByOpener,
            RetransmitData, RetransmitSyn, RetransmitSynAck, Sample, TimedOut, Unreachable, ZeroWindow,
        };
        let (Some((event, value)), Some(by_opener)) = (flow.connection_event(), flow.is_reported_by_opener()) else {
            return;
        };
        let reporter = u64::from(by_opener);
        let labelled = reporter | u64::from(event as u8) << 1;
        match event {
            Accepted => {
                emit.count(table::ATTEMPTS, labelled);
                emit.observe(table::HANDSHAKE, reporter, seconds(value, 1e6), None);
                emit.open(table::OPEN, reporter, false);
            }
            Refused | TimedOut | Unreachable | Dropped | Denied => emit.count(table::ATTEMPTS, labelled),
            Closed | ResetByOpener | ResetByAcceptor | Idle | Interrupted => {
                emit.close(table::OPEN);
                if value != NO_TIME {
                    emit.observe(table::DURATION, labelled, seconds(value, 1e3), None);
                }
            }
            Sample => emit.observe(table::RTT, reporter, seconds(value, 1e6), None),
            RetransmitSyn | RetransmitSynAck | RetransmitData => emit.count(table::RETRANSMITTED, labelled),
            ZeroWindow => emit.count(table::ZERO_WINDOW, reporter | value << 1),
            Open => emit.open(table::OPEN, reporter, true),
        }
    }

    /// Of a retransmission: how many segments the record stands for.
    #[inline]
    fn amounts(flow: &Flow) -> [u64; 2] {
        use ConnectionEvent::{RetransmitData, RetransmitSyn, RetransmitSynAck};
        match flow.connection_event() {
            Some((RetransmitSyn | RetransmitSynAck | RetransmitData, segments)) => [segments.max(1); 2],
            _ => [1; 2],
        }
    }

    fn texts(table: usize, key: u64, _tuples: &Tuples) -> Texts {
        let reporter = if key & 1 == 1 { "client" } else { "server" }.into();
        let number = u8::try_from(key >> 1).unwrap_or(u8::MAX);
        let text = ConnectionEvent::of(number).map_or("", text).into();
        match table {
            table::ATTEMPTS | table::DURATION => vec![text, reporter],
            table::RETRANSMITTED => vec![reporter, text],
            table::ZERO_WINDOW => vec![reporter, if number == 0 { "opener" } else { "acceptor" }.into()],
            _ => vec![reporter],
        }
    }
}

/// The value of the label `outcome`, or `type`.
fn text(event: ConnectionEvent) -> &'static str {
    match event {
        ConnectionEvent::Interrupted => "unknown",
        ConnectionEvent::RetransmitSyn => "syn",
        ConnectionEvent::RetransmitSynAck => "syn_ack",
        ConnectionEvent::RetransmitData => "data",
        other => other.name(),
    }
}

#[allow(clippy::cast_precision_loss, reason = "a sample is a float")]
fn seconds(value: u64, per_second: f64) -> f64 {
    value as f64 / per_second
}
