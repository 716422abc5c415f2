//! The view of the node that the page and the API render: readings are cached for each sample.
//!
//! All clients share readings, and at most two requests are rendered at once.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::task::JoinHandle;
use webb_flow::fault::{Component, Components};
use webb_metrics::expose::{self, Family};

use super::changes::AllChanges;
use super::explain::Explain;
use super::map::{self, Choice, Layouts, Map};
use super::pods::{self, PodsOfEnd};
use super::query::Query;
use super::scrape::Scrape;
use crate::readings::{By, Counted, Form, History, Measure, Moment, PairRow, Reading, SampleStore, Trend, Watched};

/// Cached readings: those of three windows, and one by namespace.
const MAX_CACHED_READINGS: usize = 4;

/// Requests that are rendered at once.
const MAX_CONCURRENT_RENDERS: usize = 2;

/// Wait of a further request for its turn; then it is answered with 503.
const RENDER_WAIT_TIMEOUT: Duration = Duration::from_secs(1);

/// Interval at which readings are freed: those in use are made again with each sample.
const RELEASE_INTERVAL: Duration = Duration::from_mins(1);

/// The window whose readings are kept as history.
const HISTORY_WINDOW: Duration = Duration::from_mins(1);

/// What a reading is of: the window of its rates, and what its pairs are.
type Rates = (Duration, By);

/// The cache of readings, and the limit of requests that are rendered at once.
#[derive(Debug)]
pub struct ViewCache {
    scrape: Arc<Scrape>,
    agent: AgentInfo,
    started: Moment,
    turns: tokio::sync::Semaphore,
    readings: Mutex<Vec<(Rates, Arc<CachedReading>)>>,
    history: Arc<Mutex<History>>,
    layouts: Arc<Mutex<Layouts>>,
    /// The task that frees what nothing reads any more.
    release: Mutex<Option<JoinHandle<()>>>,
}

/// What is shown of the agent itself.
#[derive(Debug, Clone)]
pub struct AgentInfo {
    /// Name of this node.
    pub node: String,
    /// Everything that can fail.
    pub components: Components,
    /// `version`, `kernel` and the like.
    pub version: Value,
    /// 95th percentile of handshakes over which a pair is slow; zero for none.
    pub slow: Duration,
    /// The names of addresses, and how they came to be; none where there are none.
    pub names: Option<Arc<Explain>>,
}

/// What a sample shows over a window.
#[derive(Debug)]
pub(super) struct CachedReading {
    /// Number of the sample.
    pub(super) number: u64,
    pub(super) reading: Reading,
    pub(super) trends: Vec<Trend>,
    watched: Vec<(Measure, Watched, Option<Form>)>,
}

/// All that a request is rendered of.
#[derive(Debug, Clone)]
pub(super) struct NodeView {
    pub(super) cached: Arc<CachedReading>,
    pub(super) now: Moment,
    pub(super) started: Moment,
    pub(super) name: String,
    pub(super) version: Value,
    pub(super) components: Vec<Arc<Component>>,
    pub(super) families: Arc<Vec<Family>>,
    /// Places of the boxes of maps, for all clients.
    pub(super) layouts: Arc<Mutex<Layouts>>,
    pub(super) history: Arc<Mutex<History>>,
    pub(super) changes: Arc<AllChanges>,
    pub(super) names: Option<Arc<Explain>>,
}

/// Too many requests are rendered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Busy;

impl ViewCache {
    /// Reads the samples of what `scrape` collects.
    pub fn new(scrape: &Arc<Scrape>, agent: AgentInfo) -> Self {
        let slow = agent.slow;
        Self {
            scrape: Arc::clone(scrape),
            agent,
            started: scrape.moment(),
            turns: tokio::sync::Semaphore::new(MAX_CONCURRENT_RENDERS),
            readings: Mutex::default(),
            history: Arc::new(Mutex::new(History::new(slow))),
            layouts: Arc::default(),
            release: Mutex::default(),
        }
    }

    /// Calls `render` with a view of now, on a thread for blocking work.
    pub(super) async fn render<T: Send + 'static>(
        self: Arc<Self>,
        of: Rates,
        render: impl FnOnce(&NodeView) -> T + Send + 'static,
    ) -> Result<T, Busy> {
        let views = Arc::clone(&self);
        let _turn = tokio::time::timeout(RENDER_WAIT_TIMEOUT, views.turns.acquire()).await.map_err(|_| Busy)?;
        let rendered = actix_web::web::block(move || render(&self.now(of))).await.map_err(|_| Busy);
        views.release_later();
        rendered
    }

    /// Sees to it that a task frees readings and samples once nothing reads them. It ends with the
    /// listener that it was started by; the next request starts another.
    fn release_later(self: &Arc<Self>) {
        let mut release = self.release.lock().unwrap_or_else(PoisonError::into_inner);
        if release.as_ref().is_some_and(|task| !task.is_finished()) {
            return;
        }
        let views = Arc::downgrade(self);
        *release = Some(actix_web::rt::spawn(async move {
            loop {
                tokio::time::sleep(RELEASE_INTERVAL).await;
                let Some(views) = views.upgrade() else { return };
                views.readings.lock().unwrap_or_else(PoisonError::into_inner).clear();
                if views.scrape.release_samples() {
                    if let Some(names) = &views.agent.names {
                        names.cache.forget_workloads();
                    }
                    *lock(&views.history) = History::new(views.agent.slow);
                    return;
                }
            }
        }));
    }

    /// Forgets where the boxes of a map were.
    pub(super) fn tidy(&self, query: &Query) {
        *lock(&self.layouts).of(query.layout()) = map::Placements::default();
    }

    fn now(&self, (window, by): Rates) -> NodeView {
        let now = self.scrape.moment();
        let (cached, of_samples, since) = self.scrape.read_samples(|store| {
            let cached = self.cached(store, window, by);
            (cached, store.changes(now).cloned().collect(), store.changes_since())
        });
        let AgentInfo { names, components, .. } = &self.agent;
        let changes = AllChanges::join(of_samples, since, names.as_deref(), components, now.unix.as_secs());
        NodeView {
            cached,
            now: self.scrape.moment(),
            started: self.started,
            name: self.agent.node.clone(),
            version: self.agent.version.clone(),
            components: components.all(),
            families: Arc::new(self.scrape.own_families()),
            layouts: Arc::clone(&self.layouts),
            history: Arc::clone(&self.history),
            changes: Arc::new(changes),
            names: names.clone(),
        }
    }

    /// The reading of the last sample.
    fn cached(&self, store: &mut SampleStore, window: Duration, by: By) -> Arc<CachedReading> {
        let mut readings = self.readings.lock().unwrap_or_else(PoisonError::into_inner);
        readings.retain(|(_, cached)| cached.number == store.number());
        if let Some((_, cached)) = readings.iter().find(|(of, _)| *of == (window, by)) {
            return Arc::clone(cached);
        }
        let mut reading = store.reading(window, by);
        match (by, window == HISTORY_WINDOW) {
            (By::Label, true) => {
                let slowed = lock(&self.history).observe(&mut reading);
                store.note_slow(reading.moment.unwrap_or_default(), slowed);
            }
            // Points of another window would not be like those before them.
            (By::Label, false) => lock(&self.history).mark(&mut reading),
            (By::Namespace, _) => {}
        }
        let watched = |measure| (measure, store.watched(measure), store.form(measure));
        let cached = Arc::new(CachedReading {
            number: store.number(),
            reading,
            trends: store.trends().collect(),
            watched: Measure::all().map(watched).collect(),
        });
        if readings.len() < MAX_CACHED_READINGS {
            readings.push(((window, by), Arc::clone(&cached)));
        }
        cached
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl NodeView {
    /// Time since the sample that is shown.
    pub(super) fn age(&self) -> Duration {
        self.cached.reading.moment.map_or(Duration::ZERO, |of| self.now.steady.saturating_sub(of.steady))
    }

    /// The map of these pairs, with boxes where they were before.
    pub(super) fn map(&self, rows: &[&PairRow], query: &Query) -> (Choice, Map) {
        let mut placements = lock(&self.layouts).of(query.layout()).clone();
        let choice = map::choose(rows, query.focus.as_deref(), &placements);
        placements.note_below(&choice.below, self.now.steady);
        let drawn = map::draw(&choice.lines, &mut placements, self.now.steady);
        // A map of some of the pairs is not what the next map of all is to be like.
        if !query.is_filtered() {
            *lock(&self.layouts).of(query.layout()) = placements;
        }
        (choice, drawn)
    }

    /// Number of this node's pods, and of their namespaces; none unless all names have been read.
    pub(super) fn pods_and_namespaces(&self) -> Option<(usize, usize)> {
        let names = self.names.as_ref()?;
        let index = names.index.load();
        (index.is_sourced() && index.is_ready()).then(|| names.cache.pods_and_namespaces())
    }

    /// The pods of an end; none where it is neither a pod nor a workload, or nothing has names.
    pub(super) fn pods(&self, end: &str) -> Option<PodsOfEnd> {
        pods::of_end(self.names.as_ref()?, end)
    }

    /// The pair that a query names, by both its ends in either order.
    pub(super) fn pair(&self, query: &Query) -> Option<&PairRow> {
        let (from, to) = query.from.as_deref().zip(query.to.as_deref())?;
        self.cached.reading.pairs.iter().find(|row| row.has_ends(from, to))
    }

    /// Bytes a second of a pair in the last quarter of an hour, oldest first; empty if not known.
    pub(super) fn chart(&self, row: &PairRow) -> Vec<f64> {
        lock(&self.history).chart(row)
    }

    /// Whether a measure has series, and whether these tell pairs apart.
    pub(super) fn watched(&self, measure: Measure) -> Watched {
        self.of(measure).map_or(Watched::Nothing, |(_, watched, _)| *watched)
    }

    /// The labels that name the ends in the series of a measure.
    pub(super) fn form(&self, measure: Measure) -> Option<Form> {
        self.of(measure).and_then(|(.., form)| *form)
    }

    /// Growth a second of something that is counted by a measure; none where that has no series.
    pub(super) fn rate(&self, measure: Measure, counted: Counted) -> Option<f64> {
        self.cached.reading.rate(counted).filter(|_| self.watched(measure) != Watched::Nothing)
    }

    fn of(&self, measure: Measure) -> Option<&(Measure, Watched, Option<Form>)> {
        self.cached.watched.iter().find(|(of, ..)| *of == measure)
    }

    /// A family of the agent's own: the labels of each sample, and its value.
    pub(super) fn own(&self, name: &str) -> impl Iterator<Item = (&[(String, String)], f64)> {
        let family = self.families.iter().find(|family| family.name == name);
        family.into_iter().flat_map(|family| &family.samples).map(|sample| (&sample.labels[..], number(&sample.value)))
    }

    /// Its value where it has these labels, among others.
    pub(super) fn own_of(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let has = |of: &[(String, String)]| labels.iter().all(|label| of.iter().any(|(n, v)| (&**n, &**v) == *label));
        self.own(name).filter(|(of, _)| has(of)).map(|(_, value)| value).sum()
    }
}

#[allow(clippy::cast_precision_loss, reason = "the exposition writes the same")]
fn number(value: &expose::Value) -> f64 {
    match value {
        expose::Value::Count(count) => *count as f64,
        expose::Value::Number(number) => *number,
        expose::Value::Histogram(histogram) => histogram.sum,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use webb_flow::fault::State;
    use webb_metrics::expose::FamilyType;

    use super::*;
    use crate::readings;

    /// A view of a small node with a bit of everything.
    pub(crate) fn example() -> NodeView {
        of_store(&readings::tests::example())
    }

    /// The same by namespace.
    pub(crate) fn example_by_namespace() -> NodeView {
        of_reading(&readings::tests::example(), By::Namespace)
    }

    /// A view of these samples, beside an agent that lacks nothing.
    pub(crate) fn of_store(store: &readings::SampleStore) -> NodeView {
        of_reading(store, By::Label)
    }

    pub(crate) fn of_reading(store: &readings::SampleStore, by: By) -> NodeView {
        let watched = |measure| (measure, store.watched(measure), store.form(measure));
        let cached = CachedReading {
            number: store.number(),
            reading: store.reading(Duration::from_mins(1), by),
            trends: store.trends().collect(),
            watched: Measure::all().map(watched).collect(),
        };
        let components = Components::default();
        components.component("reader").set_state(State::Up, "");
        components.component("resolver").set_state(State::Degraded, "the API server does not answer");
        let of = cached.reading.moment.unwrap_or_default();
        NodeView {
            now: Moment { steady: of.steady + Duration::from_secs(2), unix: of.unix + Duration::from_secs(2) },
            cached: Arc::new(cached),
            started: Moment { steady: Duration::ZERO, unix: Duration::from_secs(1_000_000) },
            name: "worker-7".to_owned(),
            version: serde_json::json!({"name": "webb", "version": "0.0.0", "kernel": "6.1.0"}),
            components: components.all(),
            families: Arc::new(own()),
            layouts: Arc::default(),
            history: Arc::default(),
            changes: Arc::new(crate::http::changes::tests::example(of.unix.as_secs())),
            names: Some(Arc::new(crate::http::pods::tests::names())),
        }
    }

    fn own() -> Vec<Family> {
        let counter = |name: &str| Family::new(name, "", FamilyType::Counter);
        let mut outcomes = counter("webb_ledger_packets_total");
        for outcome in crate::selfmetrics::LEDGER_OUTCOMES {
            let packets: u64 = match outcome {
                "reported" => 4_000_000,
                "suppressed" => 7,
                _ => 0,
            };
            outcomes.push(&[("hook", "egress"), ("outcome", outcome)], packets);
        }
        let mut series = Family::new("webb_aggregator_series", "", FamilyType::Gauge);
        for metric in ["connections", "dns", "drop", "httpV2", "policy", "traffic"] {
            series.push(&[("metric", metric)], 1_u64);
        }
        vec![
            series,
            counter("webb_ledger_seen_packets_total").with(&[("hook", "egress")], 4_000_107_u64),
            outcomes,
            counter("webb_ledger_pending_packets").with(&[("hook", "egress")], 100_u64),
            counter("webb_connection_table_entries").with(&[], 1_000_u64),
            counter("webb_connection_table_size").with(&[], 4_000_u64),
        ]
    }
}
