//! A look at the node: what the page and the API show, worked out once for each sample.
//!
//! Looks of all clients share readings, and at most two are worked out at once.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use webb_flow::fault::{Component, Components};
use webb_metrics::expose::{self, Family};

use super::scrape::Scrape;
use crate::readings::{Counted, Form, Measure, Moment, Reading, Trend, Watched};

/// Readings that are kept: one for each window.
const KEPT: usize = 3;

/// Looks that are worked out at once.
const LOOKS: usize = 2;

/// Wait of a further look for its turn.
const PATIENCE: Duration = Duration::from_millis(200);

/// The source of looks.
#[derive(Debug)]
pub struct Looks {
    scrape: Arc<Scrape>,
    agent: Shown,
    started: Moment,
    turns: tokio::sync::Semaphore,
    kept: Mutex<Vec<(Duration, Arc<Seen>)>>,
}

/// What is shown of the agent itself.
#[derive(Debug, Clone)]
pub struct Shown {
    /// Name of this node.
    pub node: String,
    /// Everything that can fail.
    pub components: Components,
    /// `version`, `kernel` and the like.
    pub version: Value,
}

/// What a sample shows over a window.
#[derive(Debug)]
pub(super) struct Seen {
    /// Number of the sample.
    pub(super) number: u64,
    pub(super) reading: Reading,
    pub(super) trends: Vec<Trend>,
    watched: Vec<(Measure, Watched, Option<Form>)>,
}

/// A look.
#[derive(Debug, Clone)]
pub(super) struct Look {
    pub(super) seen: Arc<Seen>,
    pub(super) now: Moment,
    pub(super) started: Moment,
    pub(super) node: String,
    pub(super) version: Value,
    pub(super) components: Vec<Arc<Component>>,
    pub(super) families: Arc<Vec<Family>>,
}

/// Too many looks at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Busy;

impl Looks {
    /// Looks at what `scrape` collects.
    pub fn new(scrape: &Arc<Scrape>, agent: Shown) -> Self {
        Self {
            scrape: Arc::clone(scrape),
            agent,
            started: scrape.moment(),
            turns: tokio::sync::Semaphore::new(LOOKS),
            kept: Mutex::default(),
        }
    }

    /// Looks, and calls `render` with what is seen, both on a thread for blocking work.
    pub(super) async fn look<T: Send + 'static>(
        self: Arc<Self>,
        window: Duration,
        render: impl FnOnce(&Look) -> T + Send + 'static,
    ) -> Result<T, Busy> {
        let looks = Arc::clone(&self);
        let _turn = tokio::time::timeout(PATIENCE, looks.turns.acquire()).await.map_err(|_| Busy)?;
        actix_web::web::block(move || render(&self.now(window))).await.map_err(|_| Busy)
    }

    fn now(&self, window: Duration) -> Look {
        let seen = self.scrape.look(|book| {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.retain(|(_, seen)| seen.number == book.number());
            if let Some((_, seen)) = kept.iter().find(|(of, _)| *of == window) {
                return Arc::clone(seen);
            }
            let watched = |measure| (measure, book.watched(measure), book.form(measure));
            let seen = Arc::new(Seen {
                number: book.number(),
                reading: book.reading(window),
                trends: book.trends().map(|(_, trend)| trend).collect(),
                watched: Measure::all().map(watched).collect(),
            });
            if kept.len() < KEPT {
                kept.push((window, Arc::clone(&seen)));
            }
            seen
        });
        Look {
            seen,
            now: self.scrape.moment(),
            started: self.started,
            node: self.agent.node.clone(),
            version: self.agent.version.clone(),
            components: self.agent.components.all(),
            families: Arc::new(self.scrape.own_families()),
        }
    }
}

impl Look {
    /// Time since the sample that is shown.
    pub(super) fn age(&self) -> Duration {
        self.seen.reading.moment.map_or(Duration::ZERO, |of| self.now.steady.saturating_sub(of.steady))
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
        self.seen.reading.rate(counted).filter(|_| self.watched(measure) != Watched::Nothing)
    }

    fn of(&self, measure: Measure) -> Option<&(Measure, Watched, Option<Form>)> {
        self.seen.watched.iter().find(|(of, ..)| *of == measure)
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

    /// A look at a small node with a bit of everything.
    pub(crate) fn example() -> Look {
        of_book(&readings::tests::example())
    }

    /// A look at a book, beside an agent that lacks nothing.
    pub(crate) fn of_book(book: &readings::Book) -> Look {
        let watched = |measure| (measure, book.watched(measure), book.form(measure));
        let seen = Seen {
            number: book.number(),
            reading: book.reading(Duration::from_mins(1)),
            trends: book.trends().map(|(_, trend)| trend).collect(),
            watched: Measure::all().map(watched).collect(),
        };
        let components = Components::default();
        components.component("reader").set_state(State::Up, "");
        components.component("resolver").set_state(State::Degraded, "the API server does not answer");
        let of = seen.reading.moment.unwrap_or_default();
        Look {
            now: Moment { steady: of.steady + Duration::from_secs(2), unix: of.unix + Duration::from_secs(2) },
            seen: Arc::new(seen),
            started: Moment { steady: Duration::ZERO, unix: Duration::from_secs(1_000_000) },
            node: "worker-7".to_owned(),
            version: serde_json::json!({"name": "webb", "version": "0.0.0", "kernel": "6.1.0"}),
            components: components.all(),
            families: Arc::new(own()),
        }
    }

    fn own() -> Vec<Family> {
        let counter = |name: &str| Family::new(name, "", FamilyType::Counter);
        let mut outcomes = counter("webb_ledger_packets_total");
        for outcome in crate::http::ledger::OUTCOMES {
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
