//! Lines and boxes of a map.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::readings::State;

/// A box. What is no workload has two, as caller and as callee, so that it makes no cycle.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Node {
    /// Name of the end.
    pub(crate) end: Arc<str>,
    /// True for the box as callee of what is no workload.
    pub(crate) is_sink: bool,
}

impl Node {
    pub(super) fn of(end: &Arc<str>, calls: bool) -> Self {
        Self { end: Arc::clone(end), is_sink: !calls && is_outside(end) }
    }

    /// Namespace of a workload; empty without one.
    pub(crate) fn namespace(&self) -> &str {
        self.end.split_once('/').map_or("", |(namespace, _)| namespace)
    }
}

/// True for an end that is no workload: the world, other nodes, DNS names and addresses.
pub(crate) fn is_outside(end: &str) -> bool {
    let has_no_name = end.is_empty() || end == "~other";
    has_no_name
        || end.starts_with("reserved:")
        || end.parse::<IpAddr>().is_ok()
        || !end.contains('/') && end.contains('.')
}

/// A line.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Line {
    pub(crate) from: Node,
    pub(crate) to: Node,
    pub(crate) state: State,
    /// Bytes both ways, over the window.
    pub(crate) bytes: u64,
}

/// Bytes of the lines at each box.
pub(crate) fn bytes_of_boxes(lines: &[Line]) -> BTreeMap<&Node, u64> {
    let mut sums: BTreeMap<&Node, u64> = BTreeMap::new();
    for (node, bytes) in lines.iter().flat_map(|line| [(&line.from, line.bytes), (&line.to, line.bytes)]) {
        let sum = sums.entry(node).or_default();
        *sum = sum.saturating_add(bytes);
    }
    sums
}
