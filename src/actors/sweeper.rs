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
use webb_flow::abi::{self, PARTS};
use webb_flow::fault::inject;

use super::restart::Intensity;
use super::thread_supervisor::ThreadSupervisor;
use crate::bpf_loader::{Ledger, Mode, Sweeper};

/// How often the last sweep is tried again because the ring was full; then the rest stays behind.
const MAX_LAST_SWEEPS: usize = 50;

/// What the last sweep found.
#[derive(Debug, Default)]
pub struct Swept {
    last: Mutex<abi::Swept>,
    lost_records: AtomicU64,
    lost_notices: AtomicU64,
}

impl Swept {
    /// Pending packets and bytes, entries, and what was removed.
    pub fn last(&self) -> abi::Swept {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// In how many sweeps new losses in a ring were noticed: what `hubble_lost_events_total`
    /// counts, which is notifications of loss and not lost records (hubble-contract §3.1).
    pub fn lost_notices(&self) -> u64 {
        self.lost_notices.load(Relaxed)
    }

    fn note(&self, swept: abi::Swept, totals: &[abi::Totals]) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = swept;
        let lost = totals.iter().map(|totals| totals.lost_records).sum();
        if self.lost_records.swap(lost, Relaxed) < lost {
            self.lost_notices.fetch_add(1, Relaxed);
            tracing::warn!(lost_records = lost, "records were lost because a ring was full");
        }
    }
}

/// Starts the sweeper.
pub fn start(
    sweeper: Sweeper,
    ledger: Ledger,
    swept: Arc<Swept>,
    interval: Duration,
    intensity: Intensity,
) -> Addr<ThreadSupervisor> {
    // Only ever one run at a time: the lock is never waited for.
    let sweeper = Mutex::new(sweeper);
    let body = move |lifecycle: &crate::pipeline::Lifecycle| {
        let mut sweeper = sweeper.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = Instant::now();
        while !lifecycle.stopping() {
            lifecycle.beat();
            if Instant::now() >= next {
                next = Instant::now() + interval / u32::try_from(PARTS).unwrap_or(1);
                inject::point("sweeper");
                swept.note(sweeper.sweep_part(Mode::Overdue)?, &ledger.totals()?);
            }
            lifecycle.wait(next.saturating_duration_since(Instant::now()));
        }
        for _ in 0..MAX_LAST_SWEEPS {
            let left = sweeper.sweep(Mode::Everything)?;
            swept.note(left, &ledger.totals()?);
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
