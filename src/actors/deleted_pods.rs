//! Tracks deleted pods: their series are removed a minute after the deletion (hubble-contract
//! §3.4).
//!
//! Hubble goes by a pod's name alone and removes what a pod of the same name has counted since,
//! such as a StatefulSet's that was only replaced. Here a pod that is back within the minute has
//! never been since.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use webb_flow::room::is_spacious;
use webb_index::{Index, ObjectKey};
use webb_metrics::RemovedPods;

/// Time that the series of a deleted pod stay exposed.
pub const GRACE: Duration = Duration::from_mins(1);

/// Deleted pods, with the time of deletion.
#[derive(Debug, Default)]
pub struct DeletedPods {
    since: HashMap<Arc<ObjectKey>, Instant>,
}

impl DeletedPods {
    /// Records the deletions and arrivals of an index that is published at `now`. Each index must
    /// be passed once.
    pub fn observe(&mut self, index: &Index, now: Instant) {
        let changes = index.changes();
        for pod in &changes.removed {
            self.since.entry(Arc::clone(pod)).or_insert(now);
        }
        for pod in &changes.added {
            self.since.remove(pod);
        }
    }

    /// The pods that have been deleted for the grace period at `now`, if there are any. They stay
    /// due until [`DeletedPods::forget`].
    ///
    /// A pod whose name is not interned has no series, so it is not among them.
    pub fn due(&mut self, now: Instant) -> Option<RemovedPods> {
        let is_due = |since: &Instant| now.duration_since(*since) >= GRACE;
        self.since.retain(|pod, since| !is_due(since) || RemovedPods::may_be_named(pod));
        self.shrink();
        let due = self.since.iter().filter(|(_, since)| is_due(since));
        let gone = RemovedPods::new(due.map(|(pod, _)| Arc::clone(pod)));
        (!gone.is_empty()).then_some(gone)
    }

    /// Forgets the pods that were due at `now`, once their series have been removed.
    pub fn forget(&mut self, now: Instant) {
        self.since.retain(|_, since| now.duration_since(*since) < GRACE);
        self.shrink();
    }

    /// Gives back the room of a table that was larger.
    fn shrink(&mut self) {
        if is_spacious(self.since.capacity(), self.since.len()) {
            self.since.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use webb_flow::sym::Sym;
    use webb_index::{Draft, PodChanges};

    use super::*;

    fn pods(names: &[&str]) -> Vec<Arc<ObjectKey>> {
        names.iter().map(|&name| Arc::new(ObjectKey { namespace: "a".into(), name: name.into() })).collect()
    }

    fn index(came: &[&str], went: &[&str]) -> Index {
        Draft::default().publish(0, PodChanges { added: pods(came), removed: pods(went) })
    }

    fn gone(names: &[&str]) -> RemovedPods {
        RemovedPods::new(pods(names))
    }

    /// A pod's series go a minute after it, not before, and not at all if it comes back.
    #[test]
    fn a_minute_of_grace() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        for name in ["a", "stays", "goes", "returns"] {
            Sym::new(name);
        }
        let mut deleted_pods = DeletedPods::default();
        deleted_pods.observe(&index(&["stays", "goes", "returns"], &[]), at(0));
        deleted_pods.observe(&index(&[], &["goes", "returns"]), at(10));
        deleted_pods.observe(&index(&["returns"], &[]), at(40));
        assert_eq!(deleted_pods.due(at(69)), None);
        assert_eq!(deleted_pods.due(at(70)), Some(gone(&["goes"])));
        assert_eq!(deleted_pods.due(at(80)), Some(gone(&["goes"])), "still due: it was not forgotten");
        deleted_pods.forget(at(80));
        assert_eq!(deleted_pods.due(at(500)), None);
        deleted_pods.observe(&index(&[], &["stays", "returns"]), at(501));
        assert_eq!(deleted_pods.due(at(561)), Some(gone(&["stays", "returns"])));
    }

    /// Many deletions at once leave no room behind.
    #[test]
    fn room_goes_with_deletions() {
        let names: Vec<String> = (0..20_000).map(|number| format!("gone-{number}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        Sym::new("gone-7");
        let (mut deleted_pods, start) = (DeletedPods::default(), Instant::now());
        deleted_pods.observe(&index(&[], &names), start);
        assert_eq!(deleted_pods.due(start + GRACE), Some(gone(&["gone-7"])));
        assert!(deleted_pods.since.capacity() < 100, "{}", deleted_pods.since.capacity());
    }

    /// Pods that no flow was ever named by have no series: a cluster's churn is not handed to the
    /// aggregators.
    #[test]
    fn who_was_never_named_has_nothing_to_remove() {
        let (mut deleted_pods, start) = (DeletedPods::default(), Instant::now());
        deleted_pods.observe(&index(&[], &["a-name-that-was-never-interned"]), start);
        assert_eq!(deleted_pods.due(start + GRACE), None);
        assert!(deleted_pods.since.is_empty(), "nor is it remembered");
    }
}
