//! Number of warnings and errors by the part of the program that they come from.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Counts events by level and part. Bounded: parts are modules of the program.
#[derive(Debug, Clone, Default)]
pub(super) struct ProblemCounts(Arc<Mutex<BTreeMap<(Level, &'static str), u64>>>);

impl ProblemCounts {
    pub(super) fn counts(&self) -> Vec<((Level, &'static str), u64)> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.iter().map(|(key, count)| (*key, *count)).collect()
    }
}

impl<S: Subscriber> Layer<S> for ProblemCounts {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let key = (*metadata.level(), part(metadata.target()));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default() += 1;
    }
}

/// Part of the program with this module: `pipeline` of `webb::pipeline::lane`, `cluster` of
/// `webb_cluster::cache`, or a library's name.
fn part(target: &'static str) -> &'static str {
    let (root, rest) = target.split_once("::").unwrap_or((target, ""));
    match root.strip_prefix("webb_") {
        Some(own) => own,
        None if root == "webb" && !rest.is_empty() => rest.split("::").next().unwrap_or(rest),
        None => root,
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    /// Each part has a name of its own, of whatever crate it is.
    #[test]
    fn parts_have_names() {
        for (target, expected) in [
            ("webb::pipeline::lane", "pipeline"),
            ("webb::tls", "tls"),
            ("webb", "webb"),
            ("webb_cluster::cache", "cluster"),
            ("kube_client::config", "kube_client"),
        ] {
            assert_eq!(part(target), expected);
        }
    }

    /// Events count by level and part.
    #[test]
    fn events_are_counted() {
        let counts = ProblemCounts::default();
        let subscriber = tracing_subscriber::registry().with(counts.clone());
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!("one");
            tracing::warn!("two");
            tracing::error!(target: "webb_cluster::cache", "three");
        });
        assert_eq!(counts.counts(), [((Level::ERROR, "cluster"), 1), ((Level::WARN, "logging"), 2)]);
    }
}
