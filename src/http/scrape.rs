//! One scrape: a consistent cut of all aggregators, joined with the agent's own metrics, as text.
//!
//! Scrapes that come together share one cut, and none waits for a component that is down: its last series are served
//! and the scrape is counted as stale. A scrape never fails because something is restarting.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::expose::{Family, Histogram, server, text};
use crate::pipeline::CutDesk;
use crate::selfmetrics::SelfMetrics;

/// What the scrape endpoint needs.
#[derive(Debug)]
pub struct Scrape {
    desk: Mutex<(CutDesk, Option<Instant>)>,
    own: SelfMetrics,
    handled: Mutex<BTreeMap<u16, (u64, Histogram)>>,
    lost: Box<dyn LostEvents>,
    results: [AtomicU64; 3],
    min_interval_ms: AtomicU64,
    patience_ms: AtomicU64,
    last_size: AtomicUsize,
}

/// Where `hubble_lost_events_total` comes from (contract, 3.1).
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
            desk: Mutex::new((desk, None)),
            own,
            handled: Mutex::default(),
            lost,
            results: std::array::from_fn(|_| AtomicU64::default()),
            min_interval_ms: AtomicU64::default(),
            patience_ms: AtomicU64::default(),
            last_size: AtomicUsize::default(),
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

    /// The last cut, once the reader has ended; scrapes are answered with it from then on. Blocks.
    pub fn final_cut(&self) {
        let mut held = self.desk.lock().unwrap_or_else(PoisonError::into_inner);
        held.0.final_cut(Duration::from_millis(self.patience_ms.load(Relaxed)));
        self.min_interval_ms.store(u64::MAX, Relaxed);
        held.1 = Some(Instant::now());
    }

    /// How many scrapes there were by result.
    pub fn results(&self) -> impl Iterator<Item = (&'static str, u64)> {
        RESULTS.into_iter().zip(self.results.iter().map(|count| count.load(Relaxed)))
    }

    /// The whole exposition. Blocks for as long as the cut takes.
    pub fn exposition(&self) -> Vec<u8> {
        let mut held = self.desk.lock().unwrap_or_else(PoisonError::into_inner);
        let (desk, last) = &mut *held;
        let min_interval = Duration::from_millis(self.min_interval_ms.load(Relaxed));
        let result = if last.is_some_and(|last| last.elapsed() < min_interval) {
            1
        } else if desk.cut(Duration::from_millis(self.patience_ms.load(Relaxed))) == 0 {
            *last = Some(Instant::now());
            0
        } else {
            2
        };
        if let Some(count) = self.results.get(result) {
            count.fetch_add(1, Relaxed);
        }
        let snapshots: Vec<_> = desk.snapshots().cloned().collect();
        drop(held);
        let mut families = self.hubble_server_families();
        families.extend(self.own.gather().iter().map(Family::from));
        let mut out = Vec::with_capacity(self.last_size.load(Relaxed) + 4096);
        text::render(&snapshots, &families, &mut out);
        self.last_size.store(out.len(), Relaxed);
        out
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
