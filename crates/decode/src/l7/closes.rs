//! Closes of TCP connections, from the flows of packets.
//!
//! Layer 7 has no record of a FIN or RST, so calls without an end would wait for their time-out. A
//! [`Close`] comes by another ring than what was sent before it: it waits until all records of its
//! time have been read, and for what comes late.

use std::collections::VecDeque;

use webb_flow::{Flow, L4, Point, TcpFlags};

use super::event::{Path, Port};

/// Closes that wait at most. Calls of a connection beyond them wait for their time-out.
const MAX_CLOSES: usize = 4096;

/// Time that a close waits for retransmitted segments, in nanoseconds.
const GRACE_NS: u64 = 200_000_000;

/// Time by which a close may seem to be before its packet, in nanoseconds: two ticks of a kernel
/// that ticks a hundred times a second.
pub(super) const TICKS_NS: u64 = 20_000_000;

/// One side of a connection has sent its last, or has reset it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Close {
    pub(super) path: Path,
    /// The end behind the interface sent it.
    pub(super) from_pod: bool,
    /// A RST, which ends both directions.
    pub(super) is_reset: bool,
    /// Time of the packet (`CLOCK_MONOTONIC`, nanoseconds).
    pub(super) time_ns: u64,
}

impl Close {
    /// The close that a flow of packets stands for, if it does.
    #[inline]
    pub fn of(flow: &Flow) -> Option<Self> {
        let has = |bit| flow.tcp_flags.has(bit);
        if flow.l4 != L4::Tcp || !(has(TcpFlags::FIN) || has(TcpFlags::RST)) {
            return None;
        }
        let source = Port { address: flow.source_ip, port: flow.source_port };
        let destination = Port { address: flow.destination_ip, port: flow.destination_port };
        let (pod, peer, from_pod) = match flow.point {
            Point::ToStack => (source, destination, true),
            Point::ToEndpoint => (destination, source, false),
            _ => return None,
        };
        let path = Path { ifindex: flow.ifindex, pod, peer };
        Some(Self { path, from_pod, is_reset: has(TcpFlags::RST), time_ns: flow.time_ns })
    }
}

/// Closes that wait, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Closes(VecDeque<Close>);

impl Closes {
    pub(super) fn add(&mut self, close: Close) {
        if self.0.len() < MAX_CLOSES {
            self.0.push_back(close);
        }
    }

    /// The next one that has waited long enough.
    pub(super) fn next(&mut self, now_ns: u64) -> Option<Close> {
        self.0.pop_front_if(|close| close.time_ns.saturating_add(GRACE_NS) <= now_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However many connections end at once, so many closes wait, the first ones.
    #[test]
    fn so_many_wait() {
        let path = Path { ifindex: 7, pod: Port::default(), peer: Port::default() };
        let mut closes = Closes::default();
        for time_ns in 0..10_000 {
            closes.add(Close { path, from_pod: true, is_reset: true, time_ns });
        }
        let waiting: Vec<u64> =
            std::iter::from_fn(|| closes.next(u64::MAX)).map(|close: Close| close.time_ns).collect();
        assert_eq!(waiting, (0..MAX_CLOSES as u64).collect::<Vec<_>>());
    }
}
