//! Kubernetes: the requests to this cluster's API server, and the events of their watches.

use std::sync::Arc;
use std::time::SystemTime;

use webb_cluster::Kind;
use webb_cluster::kubernetes::{Action, EventCounts, Requests, Status, Watched};
use webb_metrics::expose::Histogram;
use webb_settings::Compat;

use crate::families::{Absent, Category, CategorySource, SelectedRows, Versions, cilium_families};

cilium_families! {
    EVENTS: counter "cilium_kubernetes_events_total" ["scope", "action", "status"]
        "Number of Kubernetes events processed labeled by scope, action and execution result"
        from "events of the watches that changed something (`success`), or whose object cannot be used (`failed`)";
    RECEIVED: counter "cilium_kubernetes_events_received_total" ["scope", "action", "valid", "equal"]
        "Number of Kubernetes events received labeled by scope, action, valid data and equalness"
        from "events of the watches, lists included; `equal` if nothing differs that webb uses, an object that cannot be used is an `update`";
    EVENT_TS: gauge "cilium_event_ts" ["source", "scope", "action"]
        "Last timestamp when Cilium received an event from a control plane source, per resource and per action"
        from "Unix seconds of the last event of the watches, `source` is `k8s`";
    SYNC: gauge "cilium_kubernetes_resource_sync_duration" ["scope"]
        "Duration in seconds to synchronize a Kubernetes resource"
        from "the time from the start of a watch to the end of its first list. A watch that is started anew, after other \
              access data, is timed anew", in Versions::from(Compat::V1_20);
    API_LATENCY: histogram "cilium_k8s_client_api_latency_time_seconds" ["path", "method"]
        "Duration of processed API calls labeled by path and method"
        from "requests to this cluster's API server until the headers of the answer; after the start they are watches. \
              `path` has no names of objects";
    API_CALLS: counter "cilium_k8s_client_api_calls_total" ["host", "method", "return_code"]
        "Number of API calls made to kube-apiserver labeled by host, method and return code"
        from "as `cilium_k8s_client_api_latency_time_seconds`; `return_code` is `<error>` without an answer";
}

/// The category.
pub static CATEGORY: Category = Category {
    title: "Kubernetes",
    families: FAMILIES,
    absent: &[
        Absent {
            name: "cilium_k8s_client_rate_limiter_duration_seconds",
            reason: "webb's client has no rate limiter: watches back off",
        },
        Absent { name: "cilium_k8s_workqueue_*", reason: "watches need no work queues" },
        Absent {
            name: "cilium_k8s_terminating_endpoints_events_total",
            reason: "it counts endpoints in all EndpointSlices, of which webb reads those of the API server alone: all \
                     would be a third of an agent's load on it",
        },
        Absent {
            name: "cilium_k8s_event_lag_seconds",
            reason: "it is the time from the kubelet's call of the CNI plugin for a pod to the pod's event, and webb is no \
                     CNI plugin: it sees interfaces, at any time before or after that call",
        },
    ],
};

/// Calls back for the status of the watches; not at all while names come from elsewhere.
pub type Watches = Arc<dyn Fn(&mut dyn FnMut(&Status)) + Send + Sync>;

/// Value of the label `scope`. Several vendors have kinds of one name: theirs have the group too,
/// but for Cilium's own.
fn scope(watched: &Watched) -> &str {
    match watched.kind {
        Kind::EndpointSlice => "Endpoint",
        Kind::Other(other) if other.group() != "cilium.io" => watched.label(),
        other => other.name(),
    }
}

/// Calls `each` with the events of a kind's watch, by action as `add`, `update` and `delete`.
pub(super) fn each_action(watches: &Watches, kind: Kind, mut each: impl FnMut(&str, EventCounts)) {
    watches(&mut |status| {
        for watched in status.watched().iter().filter(|watched| watched.kind == kind) {
            for (action, name) in Action::ALL.into_iter().zip(["add", "update", "delete"]) {
                each(name, watched.events(action));
            }
        }
    });
}

/// Source of the rows.
pub fn source(watches: Watches) -> CategorySource {
    Box::new(move |rows| {
        watches(&mut |status| {
            add_requests(rows, status.requests());
            let found = status.found();
            for watched in status.watched().iter().chain(found.iter().map(AsRef::as_ref)) {
                add_events(rows, watched);
                if let Some(duration) = watched.sync_duration() {
                    rows.add_f64(&SYNC, &[scope(watched)], duration.as_secs_f64());
                }
            }
        });
    })
}

fn add_requests(rows: &mut SelectedRows<'_>, requests: &Requests) {
    for ((path, method), times) in requests.times() {
        let times = Histogram { buckets: times.buckets().collect(), sum: times.sum, count: times.count };
        rows.add_histogram(&API_LATENCY, &[&path, &method], &times);
    }
    for ((host, method, status), count) in requests.answers() {
        let code = status.map_or_else(|| "<error>".to_owned(), |status| status.to_string());
        rows.add(&API_CALLS, &[&host, &method, &code], count);
    }
}

fn add_events(rows: &mut SelectedRows<'_>, watched: &Watched) {
    let scope = scope(watched);
    for (action, name) in Action::ALL.into_iter().zip(["create", "update", "delete"]) {
        let counts = watched.events(action);
        rows.add(&EVENTS, &[scope, name, "success"], counts.changed);
        rows.add(&RECEIVED, &[scope, name, "true", "false"], counts.changed);
        rows.add(&RECEIVED, &[scope, name, "true", "true"], counts.equal);
        if action == Action::Update {
            rows.add(&EVENTS, &[scope, name, "failed"], counts.invalid);
            rows.add(&RECEIVED, &[scope, name, "false", "false"], counts.invalid);
        }
        let last = counts.since_last.and_then(|since| SystemTime::now().checked_sub(since));
        if let Some(last) = last.and_then(|last| last.duration_since(SystemTime::UNIX_EPOCH).ok()) {
            rows.add_f64(&EVENT_TS, &["k8s", scope, name], last.as_secs_f64());
        }
    }
}
