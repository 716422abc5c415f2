//! Which pods are gone for good: their series are removed a minute after they went (hubble-contract
//! §3.4).
//!
//! Hubble goes by a pod's name alone and removes what a pod of the same name has counted since,
//! such as a StatefulSet's that was only replaced. Here a pod that is back within the minute has
//! never been away.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use webb_flow::sym::Sym;
use webb_index::{Index, ObjectKey};
use webb_metrics::Gone;

/// How long the series of a deleted pod stay.
pub const GRACE: Duration = Duration::from_mins(1);

/// The pods that went, and when.
#[derive(Debug, Default)]
pub struct Departures {
    away: HashMap<Arc<ObjectKey>, Instant>,
}

impl Departures {
    /// Records the deletions and arrivals of an index that is published at `now`. Each index must
    /// be passed once.
    pub fn see(&mut self, index: &Index, now: Instant) {
        let changes = index.changes();
        for pod in &changes.removed {
            self.away.entry(Arc::clone(pod)).or_insert(now);
        }
        for pod in &changes.added {
            self.away.remove(pod);
        }
    }

    /// The pods that have been deleted for the grace period at `now`, if there are any. They stay
    /// due until [`Departures::forget`].
    ///
    /// A pod whose name was never interned has no series, so it is not among them.
    pub fn due(&mut self, now: Instant) -> Option<Gone> {
        let is_due = |since: &Instant| now.duration_since(*since) >= GRACE;
        let symbols = |pod: &ObjectKey| Some((Sym::known(&pod.namespace)?, Sym::known(&pod.name)?));
        self.away.retain(|pod, since| !is_due(since) || symbols(pod).is_some());
        let due = self.away.iter().filter(|(_, since)| is_due(since));
        let gone = Gone::new(due.filter_map(|(pod, _)| symbols(pod)));
        (!gone.is_empty()).then_some(gone)
    }

    /// Forgets the pods that were due at `now`, once their series have been removed.
    pub fn forget(&mut self, now: Instant) {
        self.away.retain(|_, since| now.duration_since(*since) < GRACE);
    }
}

#[cfg(test)]
mod tests {
    use webb_index::{Draft, PodChanges};

    use super::*;

    fn pods(names: &[&str]) -> Vec<Arc<ObjectKey>> {
        names.iter().map(|&name| Arc::new(ObjectKey { namespace: "a".into(), name: name.into() })).collect()
    }

    fn index(came: &[&str], went: &[&str]) -> Index {
        Draft::default().publish(0, PodChanges { added: pods(came), removed: pods(went) })
    }

    fn gone(pods: &[&str]) -> Gone {
        Gone::new(pods.iter().map(|name| (Sym::new("a"), Sym::new(name))))
    }

    /// A pod's series go a minute after it, not before, and not at all if it comes back.
    #[test]
    fn a_minute_of_grace() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        for name in ["a", "stays", "goes", "returns"] {
            Sym::new(name);
        }
        let mut departures = Departures::default();
        departures.see(&index(&["stays", "goes", "returns"], &[]), at(0));
        departures.see(&index(&[], &["goes", "returns"]), at(10));
        departures.see(&index(&["returns"], &[]), at(40));
        assert_eq!(departures.due(at(69)), None);
        assert_eq!(departures.due(at(70)), Some(gone(&["goes"])));
        assert_eq!(departures.due(at(80)), Some(gone(&["goes"])), "still due: nobody has heard of it");
        departures.forget(at(80));
        assert_eq!(departures.due(at(500)), None);
        departures.see(&index(&[], &["stays", "returns"]), at(501));
        assert_eq!(departures.due(at(561)), Some(gone(&["stays", "returns"])));
    }

    /// Pods that no flow was ever named by have no series: a cluster's churn is not handed to the
    /// aggregators.
    #[test]
    fn who_was_never_named_has_nothing_to_remove() {
        let (mut departures, start) = (Departures::default(), Instant::now());
        departures.see(&index(&[], &["a-name-that-nobody-ever-interned"]), start);
        assert_eq!(departures.due(start + GRACE), None);
        assert!(departures.away.is_empty(), "nor is it remembered");
    }
}
