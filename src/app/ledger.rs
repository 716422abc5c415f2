//! The ledger as metrics: packets that the eBPF programs saw, and their outcomes, from one read of
//! the kernel's counters.
//!
//! `pending` comes from the last sweep of the table itself, the outcomes from the per-CPU totals:
//! two independent counts, so that their sum being what was seen is a check and not a definition.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use webb_decode::attempts::AttemptCounts;
use webb_flow::abi::{HOOKS, Retransmits, Totals, UNPARSED};
use webb_flow::{ConnectionEvent, Reasons};
use webb_observer::History;
use webb_rollup::{Connections, Seen};

use crate::actors::fleet::{Fleet, Member};
use crate::actors::probes::ProbeReconciler;
use crate::actors::sweeper::Swept;
use crate::bpf_loader::{KernelRings, Ledger, RunError, TakenOver};
use crate::families::Rows;
use crate::http;
use crate::pipeline::flow_source::LostEvents;
use crate::pipeline::{Counters, HandedOver, Lanes, NAME_WAITS, RollupLedger};
use crate::records::Signal;
use crate::selfmetrics::{self as own, LEDGER_OUTCOMES, MISSING_OUTCOMES, SelfMetrics};

/// The `hook` label of each row of the totals.
const HOOK_NAMES: [&str; HOOKS] = ["from-pod", "to-pod", "from-network", "to-network", "drop"];

/// Adds what the programs, their table and their rings count.
pub(super) fn programs(
    metrics: &SelfMetrics,
    ledger: Ledger,
    (reasons, capacity): (Reasons, u32),
    swept: Arc<Swept>,
    (of, watch): (KernelRings, &Arc<ProbeReconciler>),
) -> Result<(), prometheus::Error> {
    suppressed(metrics, ledger.clone(), reasons)?;
    kernel(metrics, ledger, capacity, swept)?;
    rings(metrics, of, Arc::clone(watch))
}

/// Adds the kernel half of the ledger.
fn kernel(metrics: &SelfMetrics, ledger: Ledger, capacity: u32, swept: Arc<Swept>) -> Result<(), prometheus::Error> {
    let defs = [
        &own::LEDGER_SEEN_PACKETS,
        &own::LEDGER_SEEN_BYTES,
        &own::LEDGER_PACKETS,
        &own::LEDGER_BYTES,
        &own::LEDGER_PENDING_PACKETS,
        &own::LEDGER_PENDING_BYTES,
        &own::UNPARSED_PACKETS,
        &own::RING_RECORDS,
        &own::RING_LOST_RECORDS,
        &own::TABLE_ENTRIES,
        &own::TABLE_SIZE,
        &own::TABLE_DELETED,
        &own::TABLE_RELEASED,
        &own::TABLE_EVICTED,
        &own::TABLE_ALONE,
    ];
    metrics.add(
        &defs,
        Box::new(move |rows| {
            let Ok(totals) = ledger.totals() else { return };
            let swept = swept.last();
            // What is not watched has no row: a zero would say that nothing was dropped.
            let hooks = if ledger.sees_drops() { HOOKS } else { HOOKS - 1 };
            for ((hook, totals), (packets, bytes)) in
                HOOK_NAMES.iter().take(hooks).zip(&totals).zip(swept.pending_packets.iter().zip(swept.pending_bytes))
            {
                hook_rows(rows, hook, totals);
                rows.add(&own::LEDGER_PENDING_PACKETS, &[hook], *packets);
                rows.add(&own::LEDGER_PENDING_BYTES, &[hook], bytes);
            }
            rows.add(&own::TABLE_ENTRIES, &[], swept.entries);
            rows.add(&own::TABLE_SIZE, &[], u64::from(capacity));
            rows.add(&own::TABLE_DELETED, &[], swept.deleted);
            let sum = |of: fn(&Totals) -> u64| totals.iter().map(of).sum();
            rows.add(&own::TABLE_RELEASED, &[], sum(|totals| totals.released_entries));
            rows.add(&own::TABLE_EVICTED, &[], sum(|totals| totals.evicted_entries));
            rows.add(&own::TABLE_ALONE, &[], sum(|totals| totals.alone_records));
        }),
    )
}

/// Adds the drops over the budget, by reason.
fn suppressed(metrics: &SelfMetrics, ledger: Ledger, reasons: Reasons) -> Result<(), prometheus::Error> {
    metrics.add(
        &[&own::DROPS_SUPPRESSED],
        Box::new(move |rows| {
            let Ok([.., drops]) = ledger.totals() else { return };
            if drops.suppressed_packets == 0 {
                return;
            }
            // Several of the kernel's reasons have one name of Hubble's.
            let mut named: BTreeMap<Box<str>, u64> = BTreeMap::new();
            for (reason, count) in ledger.suppressed().unwrap_or_default() {
                *named.entry(reasons.get(reason).0.text().as_ref().into()).or_default() += count;
            }
            for (reason, count) in named {
                rows.add(&own::DROPS_SUPPRESSED, &[&reason], count);
            }
        }),
    )
}

/// What heartbeats of rows are held against.
pub(super) fn of_rollups(
    ledger: Ledger,
    taken_over: Option<&TakenOver>,
    counters: Arc<Counters>,
) -> Result<RollupLedger, RunError> {
    let maps = ledger.maps_id()?;
    let retransmits = ledger.retransmits()?;
    let windows = ledger.windows()?;
    let handed_over = taken_over.map(|before| HandedOver {
        seen: seen_of(&*before.totals, retransmits),
        read_packets: before.read_packets,
        windows,
    });
    let unrolled = Box::new(move || counters.unrolled());
    let writer = ledger.clone();
    let count_windows = Box::new(move |number| {
        if let Err(error) = writer.set_windows(number) {
            tracing::warn!("the next agent will not know the last window: {error}");
        }
    });
    Ok(RollupLedger { seen: Box::new(move || seen(&ledger)), unrolled, count_windows, maps, handed_over })
}

/// What all hooks have seen, and what of it is in no row.
fn seen(ledger: &Ledger) -> Option<Seen> {
    Some(seen_of(&ledger.totals().ok()?, ledger.retransmits().ok()?))
}

/// The same of these totals.
fn seen_of(hooks: &[Totals], retransmits: Option<Retransmits>) -> Seen {
    let mut seen = Seen::default();
    for totals in hooks {
        seen.packets += totals.seen_packets;
        for (outcome, (packets, bytes)) in LEDGER_OUTCOMES.iter().zip(outcomes(totals)) {
            if MISSING_OUTCOMES.contains(outcome) {
                seen.missing_packets += packets;
                seen.missing_bytes += bytes;
            } else if *outcome != "reported" {
                seen.foreign_packets += packets;
            }
        }
        let lost = |event: ConnectionEvent| totals.lost_events.get(event as usize).copied().unwrap_or(0);
        seen.missing_events += ConnectionEvent::ALL.into_iter().filter(Connections::have).map(lost).sum::<u64>();
    }
    if let Some(Retransmits { suppressed, lost, .. }) = retransmits {
        seen.missing_retransmits = suppressed.iter().chain(&lost).sum();
    }
    seen
}

/// Packets and bytes of each of [`LEDGER_OUTCOMES`].
fn outcomes(totals: &Totals) -> [(u64, u64); LEDGER_OUTCOMES.len()] {
    [
        (totals.reported_packets, totals.reported_bytes),
        (totals.untracked_packets, totals.untracked_bytes),
        (totals.unparsed_packets.iter().sum(), totals.unparsed_bytes.iter().sum()),
        (totals.suppressed_packets, totals.suppressed_bytes),
        (totals.lost_packets, totals.lost_bytes),
        (totals.flooded_packets, totals.flooded_bytes),
        (totals.stopped_packets, totals.stopped_bytes),
    ]
}

fn hook_rows(rows: &mut Rows, hook: &str, totals: &Totals) {
    rows.add(&own::LEDGER_SEEN_PACKETS, &[hook], totals.seen_packets);
    rows.add(&own::LEDGER_SEEN_BYTES, &[hook], totals.seen_bytes);
    for (outcome, (packets, bytes)) in LEDGER_OUTCOMES.into_iter().zip(outcomes(totals)) {
        rows.add(&own::LEDGER_PACKETS, &[hook, outcome], packets);
        rows.add(&own::LEDGER_BYTES, &[hook, outcome], bytes);
    }
    for (why, packets) in UNPARSED.iter().zip(totals.unparsed_packets) {
        rows.add(&own::UNPARSED_PACKETS, &[hook, why], packets);
    }
    rows.add(&own::RING_RECORDS, &[hook], totals.records);
    rows.add(&own::RING_LOST_RECORDS, &[hook], totals.lost_records);
}

/// Adds how full the rings are and what the programs cost.
fn rings(metrics: &SelfMetrics, rings: KernelRings, watch: Arc<ProbeReconciler>) -> Result<(), prometheus::Error> {
    let defs = [
        &own::RING_USED_BYTES,
        &own::RING_SIZE_BYTES,
        &own::BPF_RUN_SECONDS,
        &own::BPF_RUNS,
        &own::BPF_RECURSION_MISSES,
    ];
    metrics.add(
        &defs,
        Box::new(move |rows| {
            for ring in rings.fill() {
                let name = match ring.signal {
                    Signal::Flow => "flow",
                    Signal::Drop => "drop",
                    Signal::Message => "l7",
                };
                rows.add(&own::RING_USED_BYTES, &[name], ring.used);
                rows.add(&own::RING_SIZE_BYTES, &[name], ring.size);
            }
            for cost in watch.cost() {
                rows.add_f64(&own::BPF_RUN_SECONDS, &[&cost.program], cost.run_time.as_secs_f64());
                rows.add(&own::BPF_RUNS, &[&cost.program], cost.runs);
                rows.add(&own::BPF_RECURSION_MISSES, &[&cost.program], cost.misses);
            }
        }),
    )
}

/// Adds the user-space half: reader, decoder and aggregators.
pub(super) fn pipeline(
    metrics: &SelfMetrics,
    counters: Arc<Counters>,
    fleet: Arc<Fleet>,
) -> Result<(), prometheus::Error> {
    handed_on(metrics, Arc::clone(&counters))?;
    aggregators(metrics, fleet)?;
    let defs = [
        &own::READER_READ,
        &own::READER_RECORDS,
        &own::READER_PANICKED_PACKETS,
        &own::READER_VERDICTS,
        &own::READER_UNENFORCED,
        &own::READER_MESSAGES,
        &own::READER_EVENT_RECORDS,
        &own::READER_CONNECTION_EVENTS,
        &own::CONNECTION_EVENTS_SETTLED,
        &own::CLUSTER_LOOKUPS,
        &own::CLUSTER_NAME_WAITS,
        &own::CLUSTER_WAITING_FLOWS,
        &own::CLUSTER_UNSYNCED_FLOWS,
    ];
    metrics.add(
        &defs,
        Box::new(move |rows| {
            rows.add(&own::READER_READ, &[], counters.read.load(Relaxed));
            for (outcome, count) in counters.outcomes() {
                rows.add(&own::READER_RECORDS, &[outcome], count);
            }
            rows.add(&own::READER_PANICKED_PACKETS, &[], counters.panicked_packets.load(Relaxed));
            rows.add(&own::READER_VERDICTS, &[], counters.verdicts.load(Relaxed));
            rows.add(&own::READER_UNENFORCED, &[], counters.unenforced.load(Relaxed));
            rows.add(&own::READER_MESSAGES, &[], counters.messages.load(Relaxed));
            rows.add(&own::READER_EVENT_RECORDS, &[], counters.event_records.load(Relaxed));
            rows.add(&own::READER_CONNECTION_EVENTS, &[], counters.connection_events.load(Relaxed));
            for ((outcome, _), count) in AttemptCounts::default().rows().iter().zip(&counters.attempts) {
                rows.add(&own::CONNECTION_EVENTS_SETTLED, &[outcome], count.load(Relaxed));
            }
            for (outcome, count) in counters.lookups() {
                rows.add(&own::CLUSTER_LOOKUPS, &[outcome], count);
            }
            for (outcome, count) in NAME_WAITS.iter().zip(&counters.name_waits) {
                rows.add(&own::CLUSTER_NAME_WAITS, &[outcome], count.load(Relaxed));
            }
            rows.add(&own::CLUSTER_WAITING_FLOWS, &[], counters.waiting_for_names.load(Relaxed));
            rows.add(&own::CLUSTER_UNSYNCED_FLOWS, &[], counters.unsynced.load(Relaxed));
        }),
    )
}

/// Adds what was handed to the aggregators.
pub(super) fn handed_on(metrics: &SelfMetrics, counters: Arc<Counters>) -> Result<(), prometheus::Error> {
    metrics.add(
        &[&own::READER_FLOWS, &own::READER_BATCHES, &own::READER_BATCHES_ALLOCATED],
        Box::new(move |rows| {
            rows.add(&own::READER_FLOWS, &[], counters.flows.load(Relaxed));
            rows.add(&own::READER_BATCHES, &[], counters.batches.load(Relaxed));
            rows.add(&own::READER_BATCHES_ALLOCATED, &[], counters.allocated.load(Relaxed));
        }),
    )
}

/// Adds what the aggregators counted.
pub(super) fn aggregators(metrics: &SelfMetrics, fleet: Arc<Fleet>) -> Result<(), prometheus::Error> {
    let defs = [
        &own::AGGREGATOR_SENT,
        &own::AGGREGATOR_FLOWS,
        &own::AGGREGATOR_SERIES,
        &own::SERIES_FOLDED,
        &own::SERIES_REMOVED,
    ];
    metrics.add(
        &defs,
        Box::new(move |rows| {
            for (metric, Member { state, lane, .. }) in fleet.members() {
                rows.add(&own::AGGREGATOR_SENT, &[metric], lane.sent());
                rows.add(&own::AGGREGATOR_FLOWS, &[metric, "counted"], state.counted());
                rows.add(&own::AGGREGATOR_FLOWS, &[metric, "skipped"], lane.skipped());
                rows.add(&own::AGGREGATOR_FLOWS, &[metric, "panicked"], state.panicked());
                rows.add(&own::AGGREGATOR_SERIES, &[metric], state.series());
                for (reason, count) in state.folded() {
                    rows.add(&own::SERIES_FOLDED, &[metric, reason], count);
                }
                for (reason, count) in state.removed() {
                    rows.add(&own::SERIES_REMOVED, &[metric, reason], count);
                }
            }
        }),
    )
}

/// Sources of Hubble's own loss counter.
#[derive(Debug)]
pub(super) struct Losses {
    pub(super) swept: Arc<Swept>,
    pub(super) lanes: Arc<Lanes>,
    /// The history, if there is one.
    pub(super) history: Option<Arc<History>>,
}

impl http::LostEvents for Losses {
    fn by_source(&self) -> LostEvents {
        let missed = self.history.as_ref().map_or(0, |history| history.missed());
        [0, self.swept.lost_notices(), self.lanes.skipped().of_hubble(), missed]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each loss has its number in a heartbeat; events that rows have no sum for are none.
    #[test]
    fn what_rows_lack() {
        let mut hooks = [Totals::default(); HOOKS];
        for totals in &mut hooks {
            (totals.seen_packets, totals.reported_packets, totals.untracked_packets) = (100, 60, 10);
            (totals.suppressed_packets, totals.suppressed_bytes, totals.flooded_packets) = (8, 480, 3);
            totals.stopped_packets = 4;
            totals.lost_events[ConnectionEvent::Refused as usize] = 7;
            totals.lost_events[ConnectionEvent::Sample as usize] = 50;
        }
        let retransmits = Retransmits { sent: [9; 3], suppressed: [2; 3], lost: [1; 3], ..Retransmits::default() };
        let seen = Seen {
            packets: 500,
            missing_packets: 90,
            missing_bytes: 5 * 480,
            foreign_packets: 35,
            missing_events: 35,
            missing_retransmits: 9,
        };
        assert_eq!(seen_of(&hooks, Some(retransmits)), seen);
        assert_eq!(seen_of(&hooks, None).missing_retransmits, 0);
    }
}
