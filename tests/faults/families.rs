//! Families of the agent endpoint that come from the watches of an API server.

use std::sync::Arc;

use serde_json::{Value, json};
use webb::actors::Finish;
use webb::agent_metrics::kubernetes;
use webb::families::{SelectedRows, Selection};
use webb_cluster::kubernetes::Status;
use webb_settings::Compat;

use crate::kube_api::Api;
use crate::kube_api::store::pod;
use crate::resolver::{ALONE, Resolver, sources, start_with};

fn slice(terminating: &[bool]) -> Value {
    let endpoint = |(at, terminating): (usize, &bool)| json!({"addresses": [format!("10.1.0.{}", at + 1)], "conditions": {"terminating": terminating}});
    let endpoints: Vec<Value> = terminating.iter().enumerate().map(endpoint).collect();
    json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4", "endpoints": endpoints,
        "metadata": {"name": "web-1", "namespace": "shop", "labels": {"kubernetes.io/service-name": "web"}}})
}

/// The rows of a family, each with its first label.
fn rows(resolver: &Resolver, family: &str) -> Vec<(String, f64)> {
    let names = Arc::clone(&resolver.names);
    let watches: kubernetes::Watches = Arc::new(move |each| {
        if let Some(status) = names.watches() {
            each(status);
        }
    });
    let selection = Selection::new(Compat::V1_20, &[]);
    let mut rows = SelectedRows::new(&selection);
    kubernetes::source(Arc::clone(resolver.names.cache()), watches)(&mut rows);
    let families = rows.into_families();
    let rows =
        families.iter().filter(|found| found.name() == family).flat_map(prometheus::proto::MetricFamily::get_metric);
    rows.map(|row| {
        let label = row.get_label().first().map_or("", prometheus::proto::LabelPair::value);
        (label.to_owned(), row.get_gauge().get_value() + row.get_counter().get_value())
    })
    .collect()
}

/// The first list of each kind is timed, also of a kind without objects, and terminating endpoints
/// count with each event of their slice.
#[actix::test]
async fn lists_are_timed_and_terminating_endpoints_counted() {
    let _shared = ALONE.read().await;
    let api = Api::start();
    api.put(pod("shop", "web-1", "10.1.0.1"));
    api.put(slice(&[true, false, true]));
    let resolver = start_with(sources(Some(api.kubeconfig(None))), &[]);
    resolver.until("synced", |resolver| resolver.names.watches().is_some_and(Status::synced)).await;
    let durations = rows(&resolver, "cilium_kubernetes_resource_sync_duration");
    let scopes: Vec<&str> = durations.iter().map(|(scope, _)| scope.as_str()).collect();
    for kind in ["Pod", "Namespace", "Node", "Service", "Endpoint", "NetworkPolicy"] {
        assert!(scopes.contains(&kind), "{kind}: {scopes:?}");
    }
    assert!(durations.iter().all(|(_, seconds)| (0.0..300.0).contains(seconds)), "{durations:?}");
    let counted = |resolver: &Resolver| {
        rows(resolver, "cilium_k8s_terminating_endpoints_events_total").iter().map(|(_, count)| count).sum::<f64>()
    };
    let before = counted(&resolver);
    // A watch that lists anew counts them once more.
    assert!(before >= 2.0, "{before}");
    api.put(slice(&[true, true, true]));
    resolver.until("counted", |resolver| counted(resolver) >= before + 3.0).await;
    resolver.supervisor.send(Finish).await.unwrap();
}
