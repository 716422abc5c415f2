//! Families of the agent endpoint that come from the watches of an API server.

use std::sync::Arc;

use webb::actors::Finish;
use webb::agent_metrics::kubernetes;
use webb::families::{SelectedRows, Selection};
use webb_cluster::kubernetes::Status;
use webb_settings::Compat;

use crate::kube_api::Api;
use crate::kube_api::store::pod;
use crate::resolver::{ALONE, Resolver, sources, start_with};

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
    kubernetes::source(watches)(&mut rows);
    let families = rows.into_families();
    let rows =
        families.iter().filter(|found| found.name() == family).flat_map(prometheus::proto::MetricFamily::get_metric);
    rows.map(|row| {
        let label = row.get_label().first().map_or("", prometheus::proto::LabelPair::value);
        (label.to_owned(), row.get_gauge().get_value() + row.get_counter().get_value())
    })
    .collect()
}

/// The first list of each kind is timed, also of a kind without objects.
#[actix::test]
async fn lists_are_timed() {
    let _shared = ALONE.read().await;
    let api = Api::start();
    api.put(pod("shop", "web-1", "10.1.0.1"));
    let resolver = start_with(sources(Some(api.kubeconfig(None))), &[]);
    resolver.until("synced", |resolver| resolver.names.watches().is_some_and(Status::synced)).await;
    let durations = rows(&resolver, "cilium_kubernetes_resource_sync_duration");
    let scopes: Vec<&str> = durations.iter().map(|(scope, _)| scope.as_str()).collect();
    for kind in ["Pod", "Namespace", "Node", "Service", "Endpoint", "NetworkPolicy"] {
        assert!(scopes.contains(&kind), "{kind}: {scopes:?}");
    }
    assert!(durations.iter().all(|(_, seconds)| (0.0..300.0).contains(seconds)), "{durations:?}");
    resolver.supervisor.send(Finish).await.unwrap();
}
