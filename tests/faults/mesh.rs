//! Clusters of a mesh, each by an API server of its own: a flow between them names both, and an
//! outage of one touches no other.

use std::sync::Arc;

use actix::Addr;
use serde_json::{Value, json};
use webb::actors::Finish;
use webb::actors::mesh::{self, RemoteCluster};
use webb::actors::thread_supervisor::ThreadSupervisor;
use webb_flow::fault::{Component, Components, State};
use webb_flow::{Address, Direction, Event, Family, Flow, Point, Verdict};
use webb_index::{Flows, Index};
use webb_metrics::expose::text;
use webb_metrics::{Aggregator, grammar};

use crate::kube_api::agent::timings;
use crate::kube_api::store::pod;
use crate::kube_api::{Api, Ending};
use crate::resolver::{ALONE, Resolver, intensity, sources, start_with};

struct Followed {
    cluster: Arc<RemoteCluster>,
    component: Arc<Component>,
    supervisor: Addr<ThreadSupervisor>,
}

fn remote(name: &str, api: &Api, token: Option<&str>) -> Arc<RemoteCluster> {
    let settings = webb_settings::RemoteCluster { name: name.into(), kubeconfig: api.kubeconfig(token) };
    Arc::new(RemoteCluster::new(&settings, timings()))
}

fn follow(cluster: &Arc<RemoteCluster>, resolver: &Resolver) -> Followed {
    let component = Components::default().component(&cluster.component());
    let (own, changed) = (Arc::clone(resolver.names.cache()), Arc::clone(&resolver.changed));
    let supervisor = mesh::start(Arc::clone(cluster), own, changed, intensity(&component));
    Followed { cluster: Arc::clone(cluster), component, supervisor }
}

/// The pod as its ReplicaSet makes it.
fn of_workload(mut pod: Value) -> Value {
    pod["metadata"]["generateName"] = json!("web-5d4f8c7b9-");
    pod
}

/// Series of one flow between two addresses.
fn series(index: &Arc<Index>, source: &str, destination: &str) -> String {
    let [source_ip, destination_ip] =
        [source, destination].map(|ip| Address::from(ip.parse::<std::net::IpAddr>().unwrap()));
    let flow = Flow {
        source_ip,
        destination_ip,
        source: index.find(source_ip),
        destination: index.find(destination_ip),
        packets: 1,
        family: Family::V4,
        event: Event::Trace,
        point: Point::ToEndpoint,
        verdict: Verdict::Forwarded,
        direction: Direction::Ingress,
        ..Flow::default()
    };
    let metrics = "flow:sourceContext=pod;destinationContext=pod;labelsContext=source_cluster,destination_cluster,\
                   source_workload,destination_namespace,destination_workload";
    let parsed = grammar::parse(metrics).unwrap();
    let mut aggregator = Aggregator::new(&parsed.metrics[0]);
    aggregator.observe(Flows { flows: &[flow], extras: &[], index }, 0, &mut 0);
    let mut out = Vec::new();
    text::render(&aggregator.snapshot(), [], &mut out);
    let text = String::from_utf8(out).unwrap();
    text.lines().find(|line| line.starts_with("hubble_flows")).unwrap().to_owned()
}

/// Two clusters beside this one: both ends of a flow are named, with cluster, workload and labels.
/// One goes away and returns; the others do not notice. One refuses its expired token, and is back
/// with a new one. What two of them claim names neither, until one gives it up.
#[actix::test]
async fn clusters_name_each_other() {
    let _shared = ALONE.read().await;
    let [own, east, west] = [Api::start(), Api::start_tls(), Api::start()];
    own.put(of_workload(pod("shop", "client-1", "10.5.0.1")));
    east.put(of_workload(pod("shop", "server-1", "10.1.0.1")));
    east.put(json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "east-node"},
        "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.77"}]}}));
    west.set_tokens(&["first"]);
    let clusters = [remote("east", &east, None), remote("west", &west, Some("first"))];
    west.put(pod("shop", "other-1", "10.2.0.1"));
    let resolver = start_with(sources(Some(own.kubeconfig(None))), &clusters);
    let followed = clusters.each_ref().map(|cluster| follow(cluster, &resolver));
    let [of_east, of_west] = &followed;
    // The surroundings of both servers are the same: a node, which this cluster has as well.
    resolver.until("east is named", |resolver| resolver.who("10.1.0.1") == "east/shop/server-1").await;
    resolver.until("west is named", |resolver| resolver.who("10.2.0.1") == "west/shop/other-1").await;
    resolver.until("its own", |resolver| resolver.who("10.5.0.1") == "shop/client-1").await;
    assert_eq!(
        series(&resolver.index.load_full(), "10.5.0.1", "10.1.0.1"),
        "hubble_flows_processed_total{destination=\"east/shop/server-1\",destination_cluster=\"east\",\
         destination_namespace=\"shop\",destination_workload=\"web\",protocol=\"Unknown L4\",\
         source=\"shop/client-1\",source_cluster=\"lab\",source_workload=\"web\",subtype=\"to-endpoint\",\
         type=\"Trace\",verdict=\"FORWARDED\"} 1"
    );
    let node = resolver.index.load().find("192.0.2.77".parse::<std::net::IpAddr>().unwrap().into());
    assert_eq!(&*resolver.index.load().endpoint(node).cluster.text(), "east");

    // An outage: the last names serve, and the failure is the cluster's alone.
    let failures = of_east.cluster.status().failures();
    east.go_away();
    resolver.until("failed", |_| of_east.component.reason().contains("names are those of before")).await;
    resolver.until("counted", |_| of_east.cluster.status().failures() > failures).await;
    assert_eq!(of_east.component.state(), State::Degraded);
    assert!(of_east.cluster.status().last_failure().is_some() && !of_east.cluster.status().is_well());
    west.put(pod("shop", "other-2", "10.2.0.2"));
    resolver.until("west goes on", |resolver| resolver.who("10.2.0.2") == "west/shop/other-2").await;
    assert_eq!(resolver.who("10.1.0.1"), "east/shop/server-1");
    assert!(of_west.cluster.status().is_well() && resolver.component.state() == State::Up);
    assert_eq!(of_west.cluster.status().failures(), 0);
    east.delete("Pod", "shop", "server-1");
    east.put(pod("shop", "server-2", "10.1.0.2"));
    east.come_back(std::time::Duration::ZERO);
    resolver.until("east is back", |resolver| resolver.who("10.1.0.2") == "east/shop/server-2").await;
    resolver.until("and knows the truth", |resolver| resolver.who("10.1.0.1").is_empty()).await;
    resolver.until("well", |_| of_east.cluster.status().is_well()).await;

    // An expired token.
    west.set_tokens(&["second"]);
    west.end_watches(None, Ending::Abrupt);
    resolver.until("refused", |_| of_west.component.reason().contains("credentials")).await;
    assert_eq!(resolver.who("10.2.0.1"), "west/shop/other-1");
    west.write_token("second");
    west.put(pod("shop", "other-3", "10.2.0.3"));
    resolver.until("a new token", |resolver| resolver.who("10.2.0.3") == "west/shop/other-3").await;

    // Both claim one address.
    west.put(pod("shop", "twin", "10.1.0.2"));
    resolver.until("refused to both", |resolver| resolver.who("10.1.0.2").is_empty()).await;
    let text = "clusters east and west claim";
    resolver.until("said", |_| [of_east, of_west].iter().all(|of| of.component.reason().contains(text))).await;
    west.delete("Pod", "shop", "twin");
    resolver.until("named again", |resolver| resolver.who("10.1.0.2") == "east/shop/server-2").await;
    for of in &followed {
        of.supervisor.send(Finish).await.unwrap();
        assert_eq!(of.component.state(), State::Stopped);
    }
    resolver.supervisor.send(Finish).await.unwrap();
}

/// A kubeconfig that cannot be read is named, keeps no other cluster waiting, and is used once it
/// is there.
#[actix::test]
async fn a_kubeconfig_that_comes_late() {
    let _shared = ALONE.read().await;
    let [own, east] = [Api::start(), Api::start()];
    own.put(pod("shop", "client-1", "10.5.0.1"));
    east.put(pod("shop", "server-1", "10.1.0.1"));
    let path = east.scratch().join("late");
    let settings = webb_settings::RemoteCluster { name: "east".into(), kubeconfig: path.clone() };
    let cluster = Arc::new(RemoteCluster::new(&settings, timings()));
    let resolver = start_with(sources(Some(own.kubeconfig(None))), std::slice::from_ref(&cluster));
    let followed = follow(&cluster, &resolver);
    resolver.until("its own", |resolver| resolver.who("10.5.0.1") == "shop/client-1").await;
    resolver.until("said", |_| followed.component.reason().contains("late cannot be used")).await;
    std::fs::rename(east.kubeconfig(None), &path).unwrap();
    resolver.until("east is named", |resolver| resolver.who("10.1.0.1") == "east/shop/server-1").await;
    followed.supervisor.send(Finish).await.unwrap();
    resolver.supervisor.send(Finish).await.unwrap();
}
