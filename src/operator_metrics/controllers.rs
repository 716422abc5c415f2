//! Controllers and work queues.

use std::sync::Arc;

use webb_cluster::lease::{Leadership, Outcome};

use crate::families::{Absent, Category, CategorySource, cilium_families};

cilium_families! {
    GROUP_RUNS: counter "cilium_operator_controllers_group_runs_total" ["group_name", "status"]
        "Number of times that a controller process was run, labeled by completion status"
        from "the election, the one part of webb's operator that runs again and again: a run is a request about the \
              Lease, `failure` one without an answer of use";
}

/// The category.
pub static CATEGORY: Category = Category {
    title: "Controllers and work queues",
    families: FAMILIES,
    absent: &[Absent {
        name: "cilium_operator_workqueue_*",
        reason: "webb's operator has no work queues: watches change its view at once",
    }],
};

/// Source of the rows.
pub fn source(leadership: Arc<Leadership>) -> CategorySource {
    Box::new(move |rows| {
        let failed = leadership.requests(Outcome::Failed);
        let all: u64 = Outcome::ALL.into_iter().map(|outcome| leadership.requests(outcome)).sum();
        rows.add(&GROUP_RUNS, &["leader-election", "success"], all.saturating_sub(failed));
        rows.add(&GROUP_RUNS, &["leader-election", "failure"], failed);
    })
}
