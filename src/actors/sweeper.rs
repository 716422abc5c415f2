//! Keeps the thread that has the kernel sweep its connection table.
//!
//! A sweep reports what has waited longer than the report interval, removes what has been idle for
//! too long, and sums up what is pending. Each turn sweeps a part of the table, so that all of it
//! is swept once in the interval. When the agent stops, a last one reports everything, so that no
//! counted byte stays behind.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use actix::Addr;
use webb_flow::abi::{self, PARTS, Totals, event};
use webb_flow::fault::{State, inject};

use super::listing::Lister;
use super::losses::{self, Losses};
use super::restart::Intensity;
use super::thread_supervisor::ThreadSupervisor;
use crate::bpf_loader::{Layer7, Ledger, Mode, RunError, Sweeper};
use crate::pipeline::Lanes;

/// Maximal number of last sweeps while the ring is full; the rest stays behind.
const MAX_LAST_SWEEPS: usize = 50;

/// Events that say nothing of which connections are open.
const UNFOLLOWED: [u8; 9] = [
    event::REFUSED,
    event::TIMED_OUT,
    event::UNREACHABLE,
    event::DROPPED,
    event::SAMPLE,
    event::RETRANSMIT_SYN,
    event::RETRANSMIT_SYN_ACK,
    event::RETRANSMIT_DATA,
    event::ZERO_WINDOW,
];

/// Totals of the last sweep.
#[derive(Debug, Default)]
pub struct Swept {
    last: Mutex<abi::Swept>,
    losses: Mutex<Losses>,
    lost_notices: AtomicU64,
}

impl Swept {
    /// Pending packets and bytes, entries, and what was removed.
    pub fn last(&self) -> abi::Swept {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Number of sweeps that found new losses of the kernel: `hubble_lost_events_total` counts
    /// these notifications of loss, not lost records (hubble-contract §3.1).
    pub fn lost_notices(&self) -> u64 {
        self.lost_notices.load(Relaxed)
    }

    /// Begins with the losses that the kernel has counted before.
    fn begin(&self, counts: losses::Counts) {
        self.losses.lock().unwrap_or_else(PoisonError::into_inner).begin(counts);
    }

    /// Recent losses as a text; empty if there were none.
    fn note(&self, swept: abi::Swept, counts: losses::Counts) -> String {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = swept;
        let mut losses = self.losses.lock().unwrap_or_else(PoisonError::into_inner);
        if losses.note(counts, Instant::now()) {
            self.lost_notices.fetch_add(1, Relaxed);
        }
        losses.reason()
    }
}

/// Counters of losses.
#[derive(Debug)]
pub struct Losing {
    /// Losses of packets, by the programs.
    pub ledger: Ledger,
    /// Losses of messages, by the programs.
    pub layer7: Option<Layer7>,
    /// Losses of flows, by metrics that do not run, and by a history and rollups that are behind.
    pub lanes: Arc<Lanes>,
}

impl Losing {
    /// Events of connections that were lost: by the programs, and by metrics that do not run.
    /// Rollups that are behind request a listing themselves: theirs must not spoil that of the
    /// metrics.
    fn events(&self) -> Result<u64, RunError> {
        let lost = |totals: &Totals| -> u64 {
            let follows = |event: &usize| !UNFOLLOWED.iter().any(|other| usize::from(*other) == *event);
            let events = totals.lost_events.iter().enumerate();
            events.filter(|(event, _)| follows(event)).map(|(_, count)| count).sum()
        };
        Ok(self.ledger.totals()?.iter().map(lost).sum::<u64>() + self.lanes.skipped().by_metrics)
    }

    fn counts(&self) -> Result<losses::Counts, RunError> {
        let messages =
            self.layer7.as_ref().map(Layer7::totals).transpose()?.map_or(0, |totals| totals.lost.iter().sum());
        Ok(losses::counts(&self.ledger.totals()?, messages, self.lanes.skipped()))
    }
}

/// Starts the sweeper, which looks for losses as well, and lists open connections by `lister`.
pub fn start(
    (sweeper, lister): (Sweeper, Option<Lister>),
    losing: Losing,
    swept: Arc<Swept>,
    interval: Duration,
    intensity: Intensity,
) -> Addr<ThreadSupervisor> {
    // Only ever one run at a time: the lock is never waited for.
    let sweeper = Mutex::new((sweeper, lister));
    let component = Arc::clone(intensity.component());
    // What cannot be read now is an error of the first sweep.
    if let Ok(counts) = losing.counts() {
        swept.begin(counts);
    }
    let body = move |lifecycle: &crate::pipeline::Lifecycle| {
        let (sweeper, lister) = &mut *sweeper.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = Instant::now();
        while !lifecycle.stopping() {
            lifecycle.beat();
            if Instant::now() >= next {
                next = Instant::now() + interval / u32::try_from(PARTS).unwrap_or(1);
                inject::point("sweeper");
                let began = Instant::now();
                let lists = match lister {
                    Some(lister) => lister.before_part(losing.events()?, began),
                    None => false,
                };
                let counted = sweeper.sweep_part(if lists { Mode::ListOpen } else { Mode::Overdue });
                if let Some(lister) = lister {
                    lister.after_part(counted.is_ok(), Instant::now());
                }
                component.passes().count(counted.is_ok(), began.elapsed());
                let lost = swept.note(counted?, losing.counts()?);
                if !lifecycle.stopping() {
                    component.set_state(if lost.is_empty() { State::Up } else { State::Degraded }, &lost);
                }
            }
            lifecycle.wait(next.saturating_duration_since(Instant::now()));
        }
        for _ in 0..MAX_LAST_SWEEPS {
            let left = sweeper.sweep(Mode::Everything)?;
            swept.note(left, losing.counts()?);
            if left.pending_packets.iter().all(|pending| *pending == 0) {
                break;
            }
            // The ring was full; its reader is at work.
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    };
    ThreadSupervisor::start(Arc::new(body), Arc::new(|| {}), intensity)
}
