//! `traffic`: packets and bytes, which Hubble lacks. Exact, for they are the deltas that the
//! kernel's connection table keeps, not samples: what passed the watched interfaces is what is
//! counted here.

use crate::expose::Spec;
use crate::options::Options;
use crate::plugin::{Emit, Plugin, Table, Texts};
use crate::tuples::Tuples;
use webb_flow::{Direction, Event, Flow, L4};

/// Every delta of a forwarded packet: of trace flows and of those that carry deltas only.
#[derive(Debug)]
pub(super) struct Traffic;

impl Plugin for Traffic {
    const NAME: &'static str = "traffic";
    const TABLES: &'static [Table] = &[Table::counters(
        &[
            Spec { name: "webb_traffic_bytes_total", help: "Bytes that passed pod interfaces, whole frames" },
            Spec { name: "webb_traffic_packets_total", help: "Packets that passed pod interfaces" },
        ],
        &["protocol", "traffic_direction"],
    )];
    const FLUSHES: bool = true;

    fn new(_options: &Options) -> Self {
        Self
    }

    #[inline]
    fn observe(&self, flow: &Flow, emit: &mut Emit<'_, Self>) {
        if matches!(flow.event, Event::Trace | Event::Flush) {
            let key = u64::from(flow.l4 as u8) | u64::from(flow.direction as u8) << 8;
            emit.count(0, key);
        }
    }

    #[inline]
    fn amounts(flow: &Flow) -> [u64; 2] {
        [flow.bytes, u64::from(flow.packets)]
    }

    fn texts(_table: usize, key: u64, _tuples: &Tuples) -> Texts {
        let [l4, direction, ..] = key.to_le_bytes();
        vec![L4::of(l4).name().into(), Direction::of(direction).label().into()]
    }
}
