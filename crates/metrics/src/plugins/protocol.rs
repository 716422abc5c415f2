//! The `protocol` label that `drop`, `flow` and `flows-to-world` share (hubble-contract §1.0.1).

use webb_flow::extra::L7Record;
use webb_flow::{Event, Extra, Flow, L4};

/// Above every number of [`L4`].
const DNS: u8 = 0xfc;
const HTTP: u8 = 0xfd;
const UNKNOWN_L7: u8 = 0xfe;
const UNKNOWN_FLOW: u8 = 0xff;

/// The protocol of a flow as a number.
#[inline]
pub(super) fn number(flow: &Flow, extra: Option<&Extra>) -> u8 {
    match flow.event {
        Event::Drop | Event::Capture | Event::Trace | Event::PolicyVerdict => flow.l4 as u8,
        Event::L7 => match extra.and_then(|extra| extra.l7.as_ref()).map(|l7| &l7.record) {
            Some(L7Record::Dns(_)) => DNS,
            Some(L7Record::Http(_)) => HTTP,
            Some(L7Record::None | L7Record::Grpc(_) | L7Record::Unanswered(_)) | None => UNKNOWN_L7,
        },
        Event::Unknown | Event::Socket | Event::Flush | Event::Connection => UNKNOWN_FLOW,
    }
}

/// The text of that number.
pub(super) fn text(number: u8) -> &'static str {
    match number {
        UNKNOWN_L7 => "Unknown L7",
        UNKNOWN_FLOW => "Unknown flow",
        other => layer7(other).unwrap_or_else(|| L4::of(other).name()),
    }
}

/// The text of the record that made that number: `DNS`, `HTTP` or nothing.
pub(super) fn record(number: u8) -> &'static str {
    layer7(number).unwrap_or_default()
}

fn layer7(number: u8) -> Option<&'static str> {
    match number {
        DNS => Some("DNS"),
        HTTP => Some("HTTP"),
        _ => None,
    }
}
