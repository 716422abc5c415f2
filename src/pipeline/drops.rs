//! Counts of dropped packets by reason and direction, for the agent endpoint.
//!
//! They are taken from the flows that are handed on, so they agree with `hubble_drop_total`: a drop
//! is a policy's once that is decided. A batch without a drop costs one look at each flow.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use webb_flow::sym::Sym;
use webb_flow::{Direction, Event, Flow, Reason, Verdict};

/// Reasons and directions that are kept apart: kernels have some hundred.
const MAX_ROWS: usize = 4096;

/// Reason of the drops beyond that.
const OTHER: &str = "~other";

/// Packets and bytes of one reason and direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dropped {
    /// Packets.
    pub packets: u64,
    /// Bytes, whole frames.
    pub bytes: u64,
}

/// The counts since the start.
#[derive(Debug, Default)]
pub struct Drops(Mutex<HashMap<(Reason, Direction), Dropped>>);

impl Drops {
    /// Adds the drops among `flows`.
    pub fn note(&self, flows: &[Flow]) {
        let is_drop = |flow: &&Flow| flow.verdict == Verdict::Dropped && flow.event == Event::Drop;
        let mut dropped = flows.iter().filter(is_drop).peekable();
        if dropped.peek().is_none() {
            return;
        }
        let mut rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for flow in dropped {
            let mut key = (flow.reason, flow.direction);
            if rows.len() >= MAX_ROWS && !rows.contains_key(&key) {
                key.0 = Reason(Sym::new(OTHER));
            }
            let row = rows.entry(key).or_default();
            row.packets += u64::from(flow.packets);
            row.bytes += flow.bytes;
        }
    }

    /// All rows there are.
    pub fn rows(&self) -> Vec<(Reason, Direction, Dropped)> {
        let rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        rows.iter().map(|((reason, direction), dropped)| (*reason, *direction, *dropped)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Drops add up by reason and direction; what passed, and a verdict beside its packet's flow,
    /// are none.
    #[test]
    fn only_drops_count() {
        let drops = Drops::default();
        let denied = Reason(Sym::new("POLICY_DENIED"));
        let flow = |event, verdict, direction| Flow {
            event,
            verdict,
            direction,
            reason: denied,
            packets: 2,
            bytes: 300,
            ..Flow::default()
        };
        drops.note(&[flow(Event::Trace, Verdict::Forwarded, Direction::Egress)]);
        assert!(drops.rows().is_empty());
        let dropped = flow(Event::Drop, Verdict::Dropped, Direction::Egress);
        drops.note(&[
            dropped,
            flow(Event::PolicyVerdict, Verdict::Dropped, Direction::Egress),
            flow(Event::Drop, Verdict::Dropped, Direction::Ingress),
            dropped,
        ]);
        let mut rows = drops.rows();
        rows.sort_by_key(|(_, _, row)| row.packets);
        let of = |packets, bytes| Dropped { packets, bytes };
        assert_eq!(rows, [(denied, Direction::Ingress, of(2, 300)), (denied, Direction::Egress, of(4, 600))]);
    }

    /// Beyond the bound no drop is lost: it has a reason that stands for the rest.
    #[test]
    fn reasons_are_bounded() {
        let drops = Drops::default();
        for number in 0..MAX_ROWS + 10 {
            let reason = Reason(Sym::new(&format!("REASON_{number}")));
            drops.note(&[Flow {
                event: Event::Drop,
                verdict: Verdict::Dropped,
                reason,
                packets: 1,
                ..Flow::default()
            }]);
        }
        let rows = drops.rows();
        let other = rows.iter().find(|(reason, ..)| &*reason.0.text() == OTHER).unwrap();
        assert_eq!((rows.len(), other.2.packets), (MAX_ROWS + 1, 10));
    }
}
