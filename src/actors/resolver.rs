//! Keeps the label-context resolver: cluster source → pod cache → published index.
//!
//! It looks at the manifest every second, brings the cache up to date and publishes a new index whole; the reader picks
//! it up between two batches. With the source gone or broken, the last index keeps serving.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use actix::Addr;
use arc_swap::ArcSwap;

use super::departures::Departures;
use super::keeper::ThreadKeeper;
use super::restart::Intensity;
use crate::cluster::{self, Cache, Counts, Manifest, ManifestSource};
use crate::fault::{Component, State, inject};
use crate::index::Index;
use crate::pipeline::{Command, Commands, Life};

/// How often the source is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Problems of a manifest that are logged one by one; the rest as a number.
const SHOWN: usize = 20;

/// What the resolver knows; shared by all lives of its thread.
#[derive(Debug)]
pub struct Names {
    cache: Arc<Cache>,
    source: Mutex<Option<ManifestSource>>,
    index: Arc<ArcSwap<Index>>,
    component: Arc<Component>,
    departures: Mutex<Departures>,
    /// Leads to the reader, which tells the aggregators what pods are gone.
    reader: Commands,
    looked: AtomicU64,
    problems: AtomicU64,
    published: AtomicU64,
    departed: AtomicU64,
}

impl Names {
    /// Names for a node, read from `manifest` if there is one, published to `index`. What pods are gone is told to
    /// `reader`.
    pub fn new(
        settings: cluster::Settings,
        manifest: Option<PathBuf>,
        index: Arc<ArcSwap<Index>>,
        component: Arc<Component>,
        reader: Commands,
    ) -> Self {
        Self {
            cache: Arc::new(Cache::new(settings)),
            source: Mutex::new(manifest.map(ManifestSource::new)),
            index,
            component,
            departures: Mutex::default(),
            reader,
            looked: AtomicU64::new(0),
            problems: AtomicU64::new(0),
            published: AtomicU64::new(0),
            departed: AtomicU64::new(0),
        }
    }

    /// Reads from another file from now on. Reading the same one anew is what happens anyway when it changes.
    pub fn read_from(&self, manifest: Option<PathBuf>) {
        let mut source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
        if manifest.is_none() {
            self.cache.replace(Vec::new());
            self.publish();
        }
        *source = manifest.map(ManifestSource::new);
    }

    /// What is known of the cluster.
    pub fn cache(&self) -> &Arc<Cache> {
        &self.cache
    }

    /// How many objects are known.
    pub fn counts(&self) -> Counts {
        self.cache.counts()
    }

    /// How many objects could not be used.
    pub fn problems(&self) -> u64 {
        self.problems.load(Relaxed)
    }

    /// How many indexes were published.
    pub fn published(&self) -> u64 {
        self.published.load(Relaxed)
    }

    /// How many pods went for good, so that their series were removed.
    pub fn departed(&self) -> u64 {
        self.departed.load(Relaxed)
    }

    /// Waits for the first look at the source, at most `patience`.
    pub async fn first_look(&self, patience: Duration) {
        let turns = patience.as_millis() / 10;
        for _ in 0..turns {
            if self.looked.load(Relaxed) > 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tracing::warn!("no names after {} s; going on without them", patience.as_secs());
    }

    /// One look at the source.
    fn look(&self) {
        inject::point("resolver");
        let mut source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(source) = source.as_mut() else {
            self.component.set_state(State::Up, "no cluster source: addresses have no names");
            // There is nothing to wait for: what is named by this is not named too early.
            if self.published() == 0 {
                self.publish();
            }
            return;
        };
        match source.poll() {
            Ok(None) => {}
            Ok(Some(manifest)) => self.take(manifest),
            Err(error) => {
                tracing::error!("{error}; what was known before stays");
                self.component.set_state(State::Degraded, &error.to_string());
            }
        }
    }

    fn take(&self, Manifest { objects, problems, further_problems }: Manifest) {
        for problem in problems.iter().take(SHOWN) {
            tracing::warn!("{problem}");
        }
        let count = problems.len() + further_problems;
        if count > SHOWN {
            tracing::warn!("{} more problems in the manifest", count - SHOWN);
        }
        self.problems.store(count as u64, Relaxed);
        self.cache.replace(objects);
        self.publish();
        let why = if count == 0 { String::new() } else { format!("{count} objects of the manifest cannot be used") };
        self.component.set_state(if count == 0 { State::Up } else { State::Degraded }, &why);
        tracing::info!(pods = self.cache.counts().pods, addresses = self.index.load().addresses(), "names published");
    }

    fn publish(&self) {
        let index = Arc::new(self.cache.index());
        self.departures().see(&index, Instant::now());
        self.index.store(index);
        self.published.fetch_add(1, Relaxed);
    }

    /// Has the series of pods removed that went a minute ago.
    fn say_goodbye(&self) {
        let (mut departures, now) = (self.departures(), Instant::now());
        let Some(gone) = departures.due(now) else { return };
        let pods = gone.len();
        // A reader that is too busy is asked again at the next look.
        if self.reader.post(Command::Forget(Arc::new(gone))).is_ok() {
            departures.forget(now);
            self.departed.fetch_add(pods as u64, Relaxed);
            tracing::debug!(pods, "pods are gone for a minute: their series are removed");
        }
    }

    fn departures(&self) -> std::sync::MutexGuard<'_, Departures> {
        self.departures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, life: &Life) {
        while !life.stopping() {
            self.look();
            self.say_goodbye();
            self.looked.fetch_add(1, Relaxed);
            for _ in 0..4 {
                life.beat();
                if !life.stopping() {
                    std::thread::sleep(LOOK / 4);
                }
            }
        }
    }
}

/// Starts the resolver. Its longest wait is a quarter of a second.
pub fn start(names: Arc<Names>, intensity: Intensity) -> Addr<ThreadKeeper> {
    let body = move |life: &Life| {
        names.run(life);
        Ok(())
    };
    ThreadKeeper::start(Arc::new(body), Arc::new(|| {}), intensity)
}

/// Every address of this machine's own interfaces: `reserved:host`, whether its Node object lists it or not.
pub fn own_addresses() -> Vec<IpAddr> {
    match if_addrs::get_if_addrs() {
        Ok(interfaces) => interfaces.iter().map(if_addrs::Interface::ip).collect(),
        Err(error) => {
            tracing::warn!("cannot list this machine's addresses: {error}; only its Node object's are reserved:host");
            Vec::new()
        }
    }
}
