//! Events of TCP connections: whether they are captured, and their ledger.

use std::sync::Arc;
use std::time::Instant;

use webb_flow::ConnectionEvent;
use webb_flow::abi::{Retransmits, Totals};
use webb_metrics::captures::NAME;
use webb_settings::{Capture, Settings};

use super::configured::Metrics;
use super::outputs::Sending;
use crate::actors::fleet::{AggregatorFactory, Fleet};
use crate::actors::listing::Lister;
use crate::bpf_loader::Ledger;
use crate::families::Rows;
use crate::pipeline::Commands;
use crate::selfmetrics::{self as own, SelfMetrics};

/// True if the programs capture events: decided at the start, before capabilities are given up.
pub(super) fn are_captured(settings: &Settings, metrics: &Metrics) -> bool {
    match settings.connections.capture {
        Capture::On => true,
        Capture::Off => false,
        Capture::Auto => metrics.connections() || settings.outputs_config.is_some(),
    }
}

/// Makes the lister of open connections, if events are captured; the aggregators of `factory`
/// and the rollups request its listings.
pub(super) fn lister(
    captures: bool,
    factory: AggregatorFactory,
    commands: &Commands,
    sending: Option<&Sending>,
) -> (AggregatorFactory, Option<Lister>) {
    let listings = Arc::clone(&factory.listings);
    if let Some(sending) = sending.filter(|_| captures) {
        let listings = Arc::clone(&listings);
        sending.follows_connections(factory.limits.open_connections, Box::new(move || listings.request()));
    }
    let lister = captures.then(|| Lister::new(listings, commands.clone(), Instant::now()));
    (factory, lister)
}

/// Adds what was lost of events, and by how much the gauge of open connections was corrected. No
/// rows where events are not captured.
pub(super) fn ledger(
    metrics: &SelfMetrics,
    kernel: Option<Ledger>,
    fleet: Arc<Fleet>,
) -> Result<(), prometheus::Error> {
    let Some(kernel) = kernel else { return Ok(()) };
    metrics.add(
        &[
            &own::CONNECTION_EVENTS_LOST,
            &own::RETRANSMISSIONS,
            &own::OPEN_CONNECTIONS_CORRECTED,
            &own::OPEN_CONNECTION_LISTINGS,
        ],
        Box::new(move |rows| {
            if let Ok(totals) = kernel.totals() {
                let lost = |event: ConnectionEvent| {
                    let of = |totals: &Totals| totals.lost_events.get(event as usize).copied().unwrap_or(0);
                    totals.iter().map(of).sum::<u64>()
                };
                for event in ConnectionEvent::ALL.into_iter().filter(|event| event.is_recorded()) {
                    rows.add(&own::CONNECTION_EVENTS_LOST, &[event.name()], lost(event));
                }
            }
            if let Ok(Some(totals)) = kernel.retransmits() {
                retransmissions(rows, &totals);
            }
            for (outcome, count) in fleet.listings().outcomes() {
                rows.add(&own::OPEN_CONNECTION_LISTINGS, &[outcome], count);
            }
            for (_, member) in fleet.members().iter().filter(|(metric, _)| *metric == NAME) {
                for (outcome, count) in member.state.corrected() {
                    rows.add(&own::OPEN_CONNECTIONS_CORRECTED, &[outcome], count);
                }
            }
        }),
    )
}

/// Rows of the records of segments that were sent again.
fn retransmissions(rows: &mut Rows, totals: &Retransmits) {
    let outcomes = [("sent", totals.sent), ("suppressed", totals.suppressed), ("lost", totals.lost)];
    for (outcome, counts) in outcomes {
        for (segment, count) in ["syn", "syn_ack", "data"].into_iter().zip(counts) {
            rows.add(&own::RETRANSMISSIONS, &[segment, outcome], count);
        }
    }
}
