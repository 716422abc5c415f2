//! `flow`: every flow, by what kind of event it is (contract, section 1.3).

use super::protocol;
use crate::expose::Spec;
use crate::flow::{Event, Flow, Point, Verdict};
use crate::metrics::plugin::{Emit, Plugin, Table, Texts};

/// Every flow there is.
#[derive(Debug)]
pub struct Flows;

impl Plugin for Flows {
    const NAME: &'static str = "flow";
    const TABLES: &'static [Table] = &[Table {
        families: &[Spec { name: "hubble_flows_processed_total", help: "Total number of flows processed" }],
        labels: &["protocol", "type", "subtype", "verdict"],
    }];

    fn new() -> Self {
        Self
    }

    #[inline]
    fn observe(&self, flow: &Flow, emit: &mut Emit<'_, Self>) {
        // Only a trace shows where it was seen; in the key of another event the point would split a series.
        let point = if flow.event == Event::Trace { flow.point as u8 } else { 0 };
        let key = [protocol::number(flow), flow.event as u8, point, flow.verdict as u8];
        emit.count(0, u64::from(u32::from_le_bytes(key)));
    }

    fn texts(_table: usize, key: u64) -> Texts {
        let [protocol, event, point, verdict, ..] = key.to_le_bytes();
        let (kind, subtype) = match Event::of(event) {
            Event::L7 => ("L7", ""),
            Event::Drop => ("Drop", ""),
            Event::Capture => ("Capture", ""),
            Event::Trace => ("Trace", Point::of(point).name()),
            Event::PolicyVerdict => ("PolicyVerdict", ""),
            Event::Socket => ("Unknown", "7"),
            Event::Unknown | Event::Flush => ("Unknown", "0"),
        };
        vec![protocol::text(protocol).into(), kind.into(), subtype.into(), Verdict::of(verdict).name().into()]
    }
}
