//! The `protocol` label that `drop` and `flow` share (contract, section 1.0.1).

use crate::flow::{Event, Flow, L4};

/// Above every number of [`L4`].
const UNKNOWN_L7: u8 = 0xfe;
const UNKNOWN_FLOW: u8 = 0xff;

/// The protocol of a flow as a number.
#[inline]
pub(super) fn number(flow: &Flow) -> u8 {
    match flow.event {
        Event::Drop | Event::Capture | Event::Trace | Event::PolicyVerdict => flow.l4 as u8,
        // Flows carry no layer-7 record yet; `DNS` and `HTTP` will be told apart here.
        Event::L7 => UNKNOWN_L7,
        Event::Unknown | Event::Socket | Event::Flush => UNKNOWN_FLOW,
    }
}

/// The text of that number.
pub(super) fn text(number: u8) -> &'static str {
    match number {
        UNKNOWN_L7 => "Unknown L7",
        UNKNOWN_FLOW => "Unknown flow",
        l4 => L4::of(l4).name(),
    }
}
