//! Rows about the connection to a names relay.

use std::sync::Arc;

use crate::actors::resolver::Resolver;
use crate::selfmetrics::{self as own, SelfMetrics};

/// Adds the rows; none without a relay.
pub(super) fn metrics(metrics: &SelfMetrics, names: &Arc<Resolver>) -> Result<(), prometheus::Error> {
    let Some(relay) = names.relay().cloned() else { return Ok(()) };
    metrics.add(
        &[
            &own::RELAY_CONNECTED,
            &own::RELAY_DISCONNECTS,
            &own::RELAY_ADDRESSES,
            &own::RELAY_STALE,
            &own::RELAY_STALENESS,
            &own::RELAY_EVICTED,
            &own::RELAY_REFUSED,
            &own::RELAY_REFUSED_BLOCKS,
            &own::RELAY_UNASKED,
            &own::RELAY_ANSWERS,
        ],
        Box::new(move |rows| {
            let (following, counts) = (relay.following(), relay.following().counts());
            // With another source in use its absence is no fault.
            if relay.asks().is_open() {
                rows.add(&own::RELAY_CONNECTED, &[], u64::from(following.is_connected()));
                rows.add_f64(&own::RELAY_STALENESS, &[], following.staleness().as_secs_f64());
            }
            for (reason, count) in relay.ends() {
                rows.add(&own::RELAY_DISCONNECTS, &[reason], count);
            }
            for (state, number) in
                [("named", counts.named), ("unnamed", counts.unnamed), ("unanswered", counts.unanswered)]
            {
                rows.add(&own::RELAY_ADDRESSES, &[state], number as u64);
            }
            rows.add(&own::RELAY_STALE, &[], counts.stale as u64);
            rows.add(&own::RELAY_EVICTED, &[], counts.evicted);
            rows.add(&own::RELAY_REFUSED, &[], relay.asks().refused());
            rows.add(&own::RELAY_REFUSED_BLOCKS, &[], counts.refused_blocks);
            rows.add(&own::RELAY_UNASKED, &[], counts.unasked);
            rows.add(&own::RELAY_ANSWERS, &[], following.answers());
        }),
    )
}
