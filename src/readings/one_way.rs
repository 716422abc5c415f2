//! What is known of two ends, each way.

use std::sync::Arc;

use super::rows::{Connections, Counted, HttpRow, Times};

/// What is known of two ends, each way.
#[derive(Debug, Default)]
pub(super) struct OneWay {
    /// Bytes and packets, by the interface that saw them: egress, ingress, unknown.
    pub(super) traffic: [[Counted; 2]; 3],
    pub(super) protocols: std::collections::BTreeSet<Arc<str>>,
    pub(super) drops: Counted,
    pub(super) denied: Counted,
    pub(super) denied_drops: Counted,
    pub(super) passed: Counted,
    /// As the server's side and the client's side have them.
    pub(super) connections: [Option<Connections>; 2],
    /// By reporter.
    pub(super) http: Vec<HttpRow>,
    /// True if anything but drops and denials was counted: in the window, or ever where there is
    /// no window yet.
    pub(super) is_seen: bool,
    /// How often `from` is known to have called.
    pub(super) calls: u64,
    pub(super) first: Option<u64>,
    pub(super) last: u64,
}

impl OneWay {
    /// The side of its connections that counts: that which has seen more.
    pub(super) fn side(&self) -> Option<&Connections> {
        self.connections.iter().flatten().max_by_key(|side| (side.attempts().total, side.by_client))
    }

    /// The reporter of its requests that counts.
    pub(super) fn http_row(&self) -> Option<&HttpRow> {
        self.http.iter().max_by_key(|row| row.requests().total)
    }
}

/// The side of an interface that saw more: a packet between two pods of this node passes two.
pub(super) fn larger(traffic: &[[Counted; 2]; 3], at: usize) -> Counted {
    let of = |side: usize| traffic.get(side).and_then(|values| values.get(at)).copied().unwrap_or_default();
    let (egress, ingress) = (of(0), of(1));
    let mut sum = if egress.total >= ingress.total { egress } else { ingress };
    sum.add(of(2));
    sum
}

pub(super) fn add_times(sum: &mut Times, other: Times) {
    if sum.counts.len() != other.counts.len() {
        *sum = other;
        return;
    }
    for (sum, other) in sum.counts.iter_mut().zip(&other.counts) {
        *sum = sum.saturating_add(*other);
    }
}
