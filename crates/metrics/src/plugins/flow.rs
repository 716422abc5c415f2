//! `flow`: every flow, by type of event (hubble-contract §1.3).

use std::borrow::Cow;

use super::{number, protocol};
use crate::expose::Spec;
use crate::options::Options;
use crate::plugin::{Emit, Plugin, Table, Texts};
use crate::tuples::Tuples;
use webb_flow::{Event, Flow, Point, Verdict};

/// Every flow there is.
#[derive(Debug)]
pub(super) struct Flows;

impl Plugin for Flows {
    const NAME: &'static str = "flow";
    const VERDICTS: bool = true;
    const TABLES: &'static [Table] = &[Table::counters(
        &[Spec { name: "hubble_flows_processed_total", help: "Total number of flows processed" }],
        &["protocol", "type", "subtype", "verdict"],
    )];

    fn new(_options: &Options) -> Self {
        Self
    }

    #[inline]
    fn observe(&self, flow: &Flow, emit: &mut Emit<'_, Self>) {
        let extra = emit.extra();
        let protocol = protocol::number(flow, extra);
        // Only a trace shows where it was seen; in the key of another event the point would split a
        // series.
        let point = if flow.event == Event::Trace { flow.point as u8 } else { 0 };
        let (event, verdict) = (number::event(flow, extra), number::verdict(flow, extra));
        let key = if extra.is_none() || number::is_event(event) && number::is_verdict(verdict) {
            u64::from(u32::from_le_bytes([protocol, flow.event as u8, point, flow.verdict as u8]))
        } else {
            let (kind, subtype) = kind(event, point, protocol);
            let tuple = emit.tuple().text(protocol::text(protocol)).text(kind).text(&subtype);
            tuple.text(&number::verdict_text(verdict)).id() | number::TUPLE
        };
        emit.count(0, key);
    }

    fn texts(_table: usize, key: u64, tuples: &Tuples) -> Texts {
        if let Some(tuple) = number::tuple(key) {
            return tuples.texts(tuple);
        }
        let [protocol, event, point, verdict, ..] = key.to_le_bytes();
        let (kind, subtype) = kind(i32::from(event), point, protocol);
        vec![protocol::text(protocol).into(), kind.into(), subtype, Verdict::of(verdict).name().into()]
    }
}

/// The labels `type` and `subtype`.
fn kind(event: i32, point: u8, protocol: u8) -> (&'static str, Cow<'static, str>) {
    match event {
        129 => ("L7", protocol::record(protocol).into()),
        1 => ("Drop", "".into()),
        3 => ("Capture", "".into()),
        4 => ("Trace", Point::of(point).name().into()),
        5 => ("PolicyVerdict", "".into()),
        other => ("Unknown", other.to_string().into()),
    }
}
