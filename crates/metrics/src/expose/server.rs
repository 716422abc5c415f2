//! The families of the metrics server itself, under the names Hubble gives them (hubble-contract
//! §3.1 and §3.2).
//!
//! Only constructors: the numbers are counted by their components.

use webb_flow::names::LOST_EVENT_SOURCES;

use super::family::{Family, FamilyType, Histogram};

/// `hubble_lost_events_total` by source, in the order of [`LOST_EVENT_SOURCES`]: notifications of
/// loss in the kernel's ring, and events for which a queue was full. These two series are there
/// from the start, at 0; the others if they have counted.
pub fn lost_events(by_source: [u64; LOST_EVENT_SOURCES.len()]) -> Family {
    let [unknown, ring_buffer, events_queue, history] = by_source;
    let mut family = Family::new("hubble_lost_events_total", "Number of lost events", FamilyType::Counter)
        .with(&[("source", "perf_event_ring_buffer")], ring_buffer)
        .with(&[("source", "observer_events_queue")], events_queue);
    for (source, lost) in [("hubble_ring_buffer", history), ("unknown_lost_event_source", unknown)] {
        if lost > 0 {
            family.push(&[("source", source)], lost);
        }
    }
    family
}

/// `hubble_metrics_http_handler_requests_total`: answers given on `/metrics`, by HTTP status.
pub fn handler_requests<'a>(by_code: impl IntoIterator<Item = (&'a str, u64)>) -> Family {
    let help = "A counter for requests to Hubble metrics handler.";
    let mut family = Family::new("hubble_metrics_http_handler_requests_total", help, FamilyType::Counter);
    for (code, count) in by_code {
        family.push(&[("code", code)], count);
    }
    family
}

/// `hubble_metrics_http_handler_request_duration_seconds`: how long those answers took, by HTTP
/// status.
pub fn handler_durations<'a>(by_code: impl IntoIterator<Item = (&'a str, Histogram)>) -> Family {
    let help = "A histogram of latencies of Hubble metrics handler.";
    let mut family = Family::new("hubble_metrics_http_handler_request_duration_seconds", help, FamilyType::Histogram);
    for (code, histogram) in by_code {
        family.push(&[("code", code)], histogram);
    }
    family
}
