//! One scrape: a consistent cut of all aggregators, joined with the agent's own metrics.
//!
//! Scrapes that come together share one cut, and none waits for a component that is down: its last series are served
//! and the scrape is counted as stale. A scrape never fails because something is restarting.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::body::{Loan, Loans};
use super::cut::Cut;
use crate::expose::{Exposition, Family, Format, Histogram, server};
use crate::pipeline::CutDesk;
use crate::selfmetrics::SelfMetrics;

/// What the scrape endpoint needs.
#[derive(Debug)]
pub struct Scrape {
    desk: Mutex<Desk>,
    turn: tokio::sync::Mutex<()>,
    loans: Loans,
    own: SelfMetrics,
    handled: Mutex<BTreeMap<u16, (u64, Histogram)>>,
    lost: Box<dyn LostEvents>,
    results: [AtomicU64; 3],
    min_interval_ms: AtomicU64,
    patience_ms: AtomicU64,
    open_metrics: AtomicBool,
}

/// Where cuts are made, and the last one.
#[derive(Debug)]
struct Desk {
    cuts: CutDesk,
    last: Option<Instant>,
    cut: Arc<Cut>,
}

impl Desk {
    fn keep(&mut self) {
        self.cut = Arc::new(Cut::new(self.cuts.snapshots().cloned().collect()));
    }
}

/// Where `hubble_lost_events_total` comes from (hubble-contract §3.1).
pub trait LostEvents: Send + Sync + std::fmt::Debug {
    /// How often a loss in the kernel ring was noticed; not how many records were lost.
    fn ring(&self) -> u64;
    /// Flows that an aggregator missed because it was down.
    fn queue(&self) -> u64;
}

/// How a scrape got its series, as the `result` label of `webb_scrapes_total`.
const RESULTS: [&str; 3] = ["fresh", "shared", "stale"];

impl Scrape {
    /// Scrapes through `desk`; younger cuts than `min_interval` are shared, and an aggregator that does not answer
    /// within `patience` is passed over.
    pub fn new(
        desk: CutDesk,
        own: SelfMetrics,
        lost: Box<dyn LostEvents>,
        min_interval: Duration,
        patience: Duration,
    ) -> Self {
        let scrape = Self {
            desk: Mutex::new(Desk { cuts: desk, last: None, cut: Arc::default() }),
            turn: tokio::sync::Mutex::default(),
            loans: Loans::default(),
            own,
            handled: Mutex::default(),
            lost,
            results: std::array::from_fn(|_| AtomicU64::default()),
            min_interval_ms: AtomicU64::default(),
            patience_ms: AtomicU64::default(),
            open_metrics: AtomicBool::new(true),
        };
        scrape.set_pace(min_interval, patience);
        scrape
    }

    /// Changes how young a cut may be shared and how long an aggregator is waited for.
    pub fn set_pace(&self, min_interval: Duration, patience: Duration) {
        let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.min_interval_ms.store(milliseconds(min_interval), Relaxed);
        self.patience_ms.store(milliseconds(patience), Relaxed);
    }

    /// Changes whether OpenMetrics is answered to who asks for it. It is, at first.
    pub fn set_open_metrics(&self, on: bool) {
        self.open_metrics.store(on, Relaxed);
    }

    /// True if OpenMetrics is answered to who asks for it.
    pub(super) fn open_metrics(&self) -> bool {
        self.open_metrics.load(Relaxed)
    }

    /// Held while a scrape is planned, so that the others wait without a thread.
    pub(super) async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// The last cut, once the reader has ended; scrapes are answered with it from then on. Blocks.
    pub fn final_cut(&self) {
        let mut held = self.desk.lock().unwrap_or_else(PoisonError::into_inner);
        held.cuts.final_cut(Duration::from_millis(self.patience_ms.load(Relaxed)));
        self.min_interval_ms.store(u64::MAX, Relaxed);
        held.last = Some(Instant::now());
        held.keep();
    }

    /// How many scrapes there were by result.
    pub fn results(&self) -> impl Iterator<Item = (&'static str, u64)> {
        RESULTS.into_iter().zip(self.results.iter().map(|count| count.load(Relaxed)))
    }

    /// Plans an answer with the families that `wanted` names, or all if it names none. Blocks for as long as the cut
    /// takes, and while series that were born since the last scrape are put in order.
    pub(super) fn plan(&self, format: Format, wanted: &[String]) -> (Loan, Exposition) {
        let cut = self.cut();
        let mut families = self.hubble_server_families();
        families.extend(self.own.gather().iter().map(Family::from));
        let wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);
        let exposition = Exposition::new(format, &cut.snapshots(), &families, wanted);
        (self.loans.lend(cut), exposition)
    }

    /// A cut that is young enough, or a new one.
    fn cut(&self) -> Arc<Cut> {
        let mut desk = self.desk.lock().unwrap_or_else(PoisonError::into_inner);
        let min_interval = Duration::from_millis(self.min_interval_ms.load(Relaxed));
        let result = if desk.last.is_some_and(|last| last.elapsed() < min_interval) {
            1
        } else {
            let missing = desk.cuts.cut(Duration::from_millis(self.patience_ms.load(Relaxed)));
            desk.keep();
            if missing == 0 {
                desk.last = Some(Instant::now());
            }
            if missing == 0 { 0 } else { 2 }
        };
        if let Some(count) = self.results.get(result) {
            count.fetch_add(1, Relaxed);
        }
        Arc::clone(&desk.cut)
    }

    /// Counts a finished request, so that it shows in the next scrape.
    pub fn answered(&self, status: u16, took: Duration) {
        let mut handled = self.handled.lock().unwrap_or_else(PoisonError::into_inner);
        let (count, durations) = handled.entry(status).or_default();
        *count += 1;
        durations.observe(took.as_secs_f64());
    }

    /// `hubble_lost_events_total` and the handler's own families.
    fn hubble_server_families(&self) -> Vec<Family> {
        let handled = self.handled.lock().unwrap_or_else(PoisonError::into_inner);
        let by_code: Vec<_> = handled.iter().map(|(code, seen)| (code.to_string(), seen)).collect();
        vec![
            server::lost_events(self.lost.ring(), self.lost.queue()),
            server::handler_requests(by_code.iter().map(|(code, (count, _))| (code.as_str(), *count))),
            server::handler_durations(by_code.iter().map(|(code, (_, times))| (code.as_str(), times.clone()))),
        ]
    }
}
