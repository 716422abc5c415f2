//! Numbers of Hubble's enums: those of a flow, and the text of each, also of one that has no name.
//!
//! A [`Flow`] knows the named numbers alone. What was written by another program may hold any, and
//! Hubble shows a number without a name in decimal; such flows carry their numbers in an [`Extra`].

use webb_flow::{Event, Extra, Flow, names};

pub(super) use crate::tuples::{TUPLE, tuple};

/// `event_type.type`, 0 where there is none.
pub(super) fn event(flow: &Flow, extra: Option<&Extra>) -> i32 {
    extra.map_or(flow.event as i32, |extra| extra.event_type.unwrap_or(0))
}

/// `verdict`.
pub(super) fn verdict(flow: &Flow, extra: Option<&Extra>) -> i32 {
    extra.map_or(flow.verdict as i32, |extra| extra.verdict)
}

/// `traffic_direction`.
pub(super) fn direction(flow: &Flow, extra: Option<&Extra>) -> i32 {
    extra.map_or(flow.direction as i32, |extra| extra.traffic_direction)
}

/// True if [`Event`] has a variant with the number.
pub(super) fn is_event(number: i32) -> bool {
    let own = [Event::Flush as i32, Event::Connection as i32];
    u8::try_from(number).is_ok_and(|small| Event::of(small) as i32 == number && !own.contains(&number))
}

/// True if the verdict has a name.
pub(super) fn is_verdict(number: i32) -> bool {
    names::name_of(&names::VERDICTS, number).is_some()
}

/// The name of a verdict, or its number.
pub(super) fn verdict_text(number: i32) -> String {
    names::text(&names::VERDICTS, number)
}

/// The name of a direction, or its number.
pub(super) fn direction_text(number: i32) -> String {
    names::text(&names::DIRECTIONS, number)
}
