//! webb's own families of a replica: whether it leads, and how its parts are.

use std::sync::Arc;

use webb_cluster::kubernetes::Status;
use webb_cluster::lease::{Leadership, Outcome};
use webb_flow::fault::{Components, FaultType, State};

use crate::families::{Category, CategorySource, cilium_families};

cilium_families! {
    LEADER: gauge "webb_operator_leader" []
        "1 while this replica leads, else 0: no two replicas of a cluster have 1 at the same time"
        from "1 while this replica leads, else 0, by the Lease and the clock at the scrape: no two replicas of a cluster have 1 \
              at the same time";
    LEASE_REQUESTS: counter "webb_operator_lease_requests_total" ["outcome"]
        "Requests about the Lease by outcome: read, written, conflict (another replica was faster), not_found or failed"
        from "the election: `outcome` is read, written, conflict (another replica was faster), not_found or failed";
    WATCH_LAG: gauge "webb_operator_watch_lag_seconds" ["kind"]
        "Seconds since the last event or bookmark of a kind; one without events gets a bookmark about once a minute"
        from "the watches: seconds since the last event or bookmark, which comes about once a minute";
    COMPONENT_UP: gauge "webb_operator_component_up" ["component"]
        "1 while the component works, degraded or not; 0 while it starts, restarts or is stopped"
        from "supervision: 1 while the component works, degraded or not";
    COMPONENT_FAULTS: counter "webb_operator_component_faults_total" ["component", "type"]
        "Faults of a component: panicked, failed or stalled"
        from "supervision: `type` is panicked, failed or stalled";
}

/// The category.
pub static CATEGORY: Category = Category { title: "Replica", families: FAMILIES, absent: &[] };

/// Source of the rows.
pub fn source(leadership: Arc<Leadership>, watches: Arc<Status>, components: Components) -> CategorySource {
    Box::new(move |rows| {
        for outcome in Outcome::ALL {
            rows.add(&LEASE_REQUESTS, &[outcome.label()], leadership.requests(outcome));
        }
        for watched in watches.watched() {
            rows.add_f64(&WATCH_LAG, &[watched.label()], watched.lag());
        }
        for watched in watches.found() {
            rows.add_f64(&WATCH_LAG, &[watched.label()], watched.lag());
        }
        for component in components.all() {
            let (name, state) = (component.name(), component.state());
            rows.add(&COMPONENT_UP, &[name], u64::from(matches!(state, State::Up | State::Degraded)));
            for kind in FaultType::ALL {
                rows.add(&COMPONENT_FAULTS, &[name, kind.label()], component.faults(kind));
            }
        }
        rows.add(&LEADER, &[], u64::from(leadership.is_leading()));
    })
}
