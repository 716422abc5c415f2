//! A scrape: a consistent snapshot of all aggregators, joined with the agent's own metrics.
//!
//! Concurrent scrapes share one snapshot, and none waits for a component that is down: its last
//! series are served and the scrape is counted as stale. A scrape never fails because something is
//! restarting.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use webb_flow::clock::unix_ns;
use webb_flow::names::LOST_EVENT_SOURCES;
use webb_metrics::expose::{Exposition, Family, Format, Histogram, server};

use super::body::{Lease, Leases};
use super::snapshot::RenderedSnapshot;
use crate::pipeline::SnapshotCollector;
use crate::readings::{Moment, SampleStore};
use crate::selfmetrics::SelfMetrics;

/// The state of the scrape endpoint.
#[derive(Debug)]
pub struct Scrape {
    collector: Mutex<Collector>,
    store: Mutex<SampleStore>,
    began: Instant,
    turn: tokio::sync::Mutex<()>,
    leases: Leases,
    own: SelfMetrics,
    handled: Mutex<BTreeMap<u16, (u64, Histogram)>>,
    lost: Box<dyn LostEvents>,
    results: [AtomicU64; 3],
    min_interval_ms: AtomicU64,
    timeout_ms: AtomicU64,
    open_metrics: AtomicBool,
}

/// The source of snapshots, and the last one.
#[derive(Debug)]
struct Collector {
    source: SnapshotCollector,
    taken: Option<Instant>,
    snapshot: Arc<RenderedSnapshot>,
    /// When it was taken.
    moment: Moment,
}

impl Collector {
    fn store(&mut self, moment: Moment) {
        self.moment = moment;
        self.snapshot = Arc::new(RenderedSnapshot::new(self.source.snapshots().cloned().collect()));
    }
}

/// The source of `hubble_lost_events_total` (hubble-contract §3.1).
pub trait LostEvents: Send + Sync + std::fmt::Debug {
    /// Lost events by source, in the order of [`LOST_EVENT_SOURCES`]. Of the kernel's ring it is
    /// the number of observed losses, not of lost records; of the queue that of the flows which an
    /// aggregator missed because it was down, or the history because it was behind; of Hubble's
    /// ring that of the events which clients missed.
    fn by_source(&self) -> [u64; LOST_EVENT_SOURCES.len()];
}

/// Source of a scrape's series, as the `result` label of `webb_scrapes_total`.
const RESULTS: [&str; 3] = ["fresh", "shared", "stale"];

impl Scrape {
    /// Takes snapshots from `source`. Snapshots younger than `min_interval` are shared, and an
    /// aggregator that does not respond within `timeout` is skipped.
    pub fn new(
        source: SnapshotCollector,
        own: SelfMetrics,
        lost: Box<dyn LostEvents>,
        min_interval: Duration,
        timeout: Duration,
    ) -> Self {
        let scrape = Self {
            collector: Mutex::new(Collector {
                source,
                taken: None,
                snapshot: Arc::default(),
                moment: Moment::default(),
            }),
            store: Mutex::default(),
            began: Instant::now(),
            turn: tokio::sync::Mutex::default(),
            leases: Leases::default(),
            own,
            handled: Mutex::default(),
            lost,
            results: std::array::from_fn(|_| AtomicU64::default()),
            min_interval_ms: AtomicU64::default(),
            timeout_ms: AtomicU64::default(),
            open_metrics: AtomicBool::new(true),
        };
        scrape.set_pace(min_interval, timeout);
        scrape
    }

    /// Sets the age up to which a snapshot is shared, and the timeout of an aggregator.
    pub fn set_pace(&self, min_interval: Duration, timeout: Duration) {
        let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.min_interval_ms.store(milliseconds(min_interval), Relaxed);
        self.timeout_ms.store(milliseconds(timeout), Relaxed);
    }

    /// Sets whether OpenMetrics is negotiated. It is by default.
    pub fn set_open_metrics(&self, on: bool) {
        self.open_metrics.store(on, Relaxed);
    }

    /// True if OpenMetrics is negotiated.
    pub(super) fn open_metrics(&self) -> bool {
        self.open_metrics.load(Relaxed)
    }

    /// A lock held while a scrape is planned, so that the others wait without a thread.
    pub(super) async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// Takes the last snapshot, once the reader has ended; scrapes serve it from then on. Blocks.
    pub fn collect_last(&self) {
        let mut collector = self.collector.lock().unwrap_or_else(PoisonError::into_inner);
        collector.source.collect_last(Duration::from_millis(self.timeout_ms.load(Relaxed)));
        self.min_interval_ms.store(u64::MAX, Relaxed);
        collector.taken = Some(Instant::now());
        collector.store(self.moment());
    }

    /// Number of scrapes by result.
    pub fn results(&self) -> impl Iterator<Item = (&'static str, u64)> {
        RESULTS.into_iter().zip(self.results.iter().map(|count| count.load(Relaxed)))
    }

    /// Plans a response with the families that `wanted` names, or all if it names none. Blocks for
    /// as long as the snapshot takes, and while series that are new since the last scrape are
    /// sorted.
    pub(super) fn plan(&self, format: Format, wanted: &[String]) -> (Lease, Exposition) {
        let snapshot = self.snapshot();
        let mut families = self.hubble_server_families();
        families.extend(self.own.gather().iter().map(Family::from));
        let wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);
        let exposition = Exposition::new(format, &snapshot.snapshots(), &families, wanted);
        (self.leases.grant(snapshot), exposition)
    }

    /// The last snapshot if it is young enough or too many are leased, else a new one. Counts as a
    /// scrape.
    fn snapshot(&self) -> Arc<RenderedSnapshot> {
        let (snapshot, moment, result) = self.recent();
        self.sample_beside(&snapshot, moment);
        if let Some(count) = self.results.get(result) {
            count.fetch_add(1, Relaxed);
        }
        snapshot
    }

    /// Calls `read` with the samples, the last of which is as young as a scrape's snapshot
    /// would be. Blocks, as a scrape does.
    pub(super) fn read_samples<T>(&self, read: impl FnOnce(&mut SampleStore) -> T) -> T {
        let is_due = {
            let mut store = self.store();
            store.mark_read(self.moment());
            store.is_due(self.moment())
        };
        if is_due {
            let (snapshot, moment, _) = self.recent();
            self.sample(&snapshot, moment);
        }
        read(&mut self.store())
    }

    /// Frees the samples if nothing has read them for long. True if nothing has.
    pub(super) fn release_samples(&self) -> bool {
        let (mut store, moment) = (self.store(), self.moment());
        store.release(moment);
        store.is_idle(moment)
    }

    /// The families of the agent itself.
    pub(super) fn own_families(&self) -> Vec<Family> {
        self.own.gather().iter().map(Family::from).collect()
    }

    fn store(&self) -> MutexGuard<'_, SampleStore> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Now, by both clocks.
    pub(super) fn moment(&self) -> Moment {
        Moment { steady: self.began.elapsed(), unix: Duration::from_nanos(unix_ns()) }
    }

    /// A snapshot, when it was taken, and the place of its result in [`RESULTS`].
    fn recent(&self) -> (Arc<RenderedSnapshot>, Moment, usize) {
        let mut collector = self.collector.lock().unwrap_or_else(PoisonError::into_inner);
        let min_interval = Duration::from_millis(self.min_interval_ms.load(Relaxed));
        let is_young = collector.taken.is_some_and(|taken| taken.elapsed() < min_interval);
        if is_young || (collector.taken.is_some() && self.leases.are_many(&collector.snapshot)) {
            return (Arc::clone(&collector.snapshot), collector.moment, 1);
        }
        let missing = collector.source.collect(Duration::from_millis(self.timeout_ms.load(Relaxed)));
        collector.store(self.moment());
        if missing == 0 {
            collector.taken = Some(Instant::now());
        }
        (Arc::clone(&collector.snapshot), collector.moment, if missing == 0 { 0 } else { 2 })
    }

    /// Makes a sample of a scrape's snapshot if one is due. A scrape does not wait while the
    /// samples are read, nor for the names of many new series: the sample stays due, and the next
    /// reader takes it.
    fn sample_beside(&self, snapshot: &RenderedSnapshot, moment: Moment) {
        let mut store = match self.store.try_lock() {
            Ok(store) => store,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        let snapshots = snapshot.snapshots();
        if store.is_due(moment) && !store.is_costly(&snapshots) {
            store.sample(moment, &snapshots);
        }
    }

    /// Makes a sample for a reader, which waits for it. A snapshot that is one already is not due.
    fn sample(&self, snapshot: &RenderedSnapshot, moment: Moment) {
        let mut store = self.store();
        if store.is_due(moment) {
            store.sample(moment, &snapshot.snapshots());
        }
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
            server::lost_events(self.lost.by_source()),
            server::handler_requests(by_code.iter().map(|(code, (count, _))| (code.as_str(), *count))),
            server::handler_durations(by_code.iter().map(|(code, (_, times))| (code.as_str(), times.clone()))),
        ]
    }
}

#[cfg(test)]
mod tests {
    use crate::pipeline::{Commands, Lanes};
    use crate::readings::tests::{at, traffic};
    use crate::records::Waker;

    use super::*;

    #[derive(Debug)]
    struct Nothing;

    impl LostEvents for Nothing {
        fn by_source(&self) -> [u64; LOST_EVENT_SOURCES.len()] {
            [0; LOST_EVENT_SOURCES.len()]
        }
    }

    fn scrape() -> Scrape {
        let (commands, requests) = Commands::new(Waker::new().unwrap());
        drop(requests);
        let collector = SnapshotCollector::new(Arc::new(Lanes::new(Vec::new())), commands);
        let (interval, timeout) = (Duration::ZERO, Duration::from_millis(10));
        Scrape::new(collector, SelfMetrics::new().unwrap(), Box::new(Nothing), interval, timeout)
    }

    /// The names of many new series are read by who looks, and not by the scrape that brings them.
    #[test]
    fn scrapes_leave_many_names_to_readers() {
        let scrape = scrape();
        let names: Vec<String> = (0..10_000).map(|at| format!("a/{at}")).collect();
        let rows: Vec<_> = names.iter().map(|name| (name.as_str(), "b/y", "egress", 1, 1)).collect();
        let many = RenderedSnapshot::new(vec![traffic(&rows)]);
        let few = RenderedSnapshot::new(vec![traffic(&rows[..100])]);
        scrape.store().mark_read(at(0));
        let number = || scrape.store().number();
        scrape.sample_beside(&few, at(0));
        assert_eq!(number(), 1);
        scrape.sample_beside(&many, at(5));
        assert_eq!(number(), 1, "it stays due");
        scrape.sample(&many, at(5));
        assert_eq!(number(), 2);
        scrape.sample(&many, at(5));
        assert_eq!(number(), 2, "it is one already");
        scrape.sample_beside(&many, at(10));
        assert_eq!(number(), 3, "they are known by now");
    }

    /// A scrape does not wait while the page reads the samples: the reading ends after it.
    #[test]
    fn scrapes_pass_readers() {
        let scrape = scrape();
        let (reads, is_reading) = std::sync::mpsc::channel();
        let (scraped, is_scraped) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            let scrape = &scrape;
            let reader = scope.spawn(move || {
                scrape.read_samples(|_| {
                    reads.send(()).unwrap();
                    is_scraped.recv_timeout(Duration::from_mins(1)).is_ok()
                })
            });
            is_reading.recv_timeout(Duration::from_mins(1)).unwrap();
            let (_lease, exposition) = scrape.plan(Format::Text, &[]);
            drop(exposition);
            scraped.send(()).unwrap();
            assert!(reader.join().unwrap(), "the scrape waited for the reading");
        });
        assert_eq!(scrape.results().map(|(_, count)| count).sum::<u64>(), 1);
    }
}
