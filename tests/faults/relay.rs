//! An agent with a names relay, and what becomes of its names without it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures::stream;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use webb::actors::Finish;
use webb::actors::cluster_source::Sources;
use webb::actors::relay::RelaySettings;
use webb_cluster::kubernetes::{Access, Status, WatchTimings};
use webb_cluster::{Cache, CacheSettings, Kind};
use webb_flow::fault::State;
use webb_flow::{Address, Sort};
use webb_names::{Directory, Site, list, serve};
use webb_observer::client::ServerAddress;
use webb_settings::ClusterSource;

use crate::kube_api::Api;
use crate::kube_api::agent::timings;
use crate::kube_api::store::pod;
use crate::resolver::{ALONE, Resolver, sources, start_with};

/// A relay of the test's API server.
struct Relay {
    at: SocketAddr,
    directory: Arc<Directory>,
    stop: watch::Sender<bool>,
    list: JoinHandle<()>,
    serve: JoinHandle<()>,
}

impl Relay {
    async fn start(api: &Api, at: SocketAddr) -> Self {
        Self::aging(api, at, Duration::from_hours(1)).await
    }

    /// A relay that ends streams of this age.
    async fn aging(api: &Api, at: SocketAddr, max_age: Duration) -> Self {
        let listener = TcpListener::bind(at).await.unwrap();
        let at = listener.local_addr().unwrap();
        let incoming = stream::unfold(listener, |listener| async move {
            let accepted: io::Result<_> = listener.accept().await.map(|(stream, _)| stream);
            Some((accepted, listener))
        });
        let (directory, status) = (Arc::new(Directory::default()), Arc::new(Status::of(&[Kind::Pod, Kind::Node])));
        let known = Arc::clone(&directory);
        let (access, of_site) = (Access::Kubeconfig(api.kubeconfig(None)), Arc::clone(&status));
        let (stop, stopping) = watch::channel(false);
        let site = Site {
            cluster: "lab".to_owned(),
            name: "relay".to_owned(),
            lag: Arc::new(move || (of_site.synced() && known.knows_nodes()).then_some(Duration::ZERO)),
            max_age,
            stopping,
        };
        let (listed, served) = (Arc::clone(&directory), Arc::clone(&directory));
        let list = actix::spawn(async move {
            let nodes = Cache::new(CacheSettings::default());
            match list(&access, &counting(), &listed, &nodes, &status).await {}
        });
        let serve = tokio::spawn(async move { serve(served, site, incoming).await.unwrap() });
        Self { at, directory, stop, list, serve }
    }

    /// Ends it, and its connections.
    async fn end(self) {
        self.list.abort();
        self.stop.send_replace(true);
        tokio::time::timeout(Duration::from_mins(1), self.serve).await.unwrap().unwrap();
    }
}

/// Timings with which Nodes are counted first, and listed again soon where they are many.
fn counting() -> WatchTimings {
    WatchTimings {
        start_spread_per_node: Duration::from_micros(10),
        nodes_interval: Duration::from_millis(100),
        own_node_interval: Duration::from_millis(50),
        ..timings()
    }
}

fn agent(api: &Api, relay: SocketAddr) -> Resolver {
    start_with(agent_sources(api, relay), &[])
}

fn agent_sources(api: &Api, relay: SocketAddr) -> Sources {
    let server = ServerAddress::Tcp { host: relay.ip().to_string(), port: relay.port(), tls: None };
    let relay = Some(RelaySettings { server, cluster: "lab".to_owned(), node: "node-1".to_owned() });
    Sources { relay, timings: counting(), ..sources(Some(api.kubeconfig(None))) }
}

fn node(number: usize, created: &str, address: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Node",
        "metadata": {"name": format!("other-{number}"), "creationTimestamp": created},
        "spec": {"podCIDR": format!("10.200.{number}.0/24")},
        "status": {"addresses": [{"type": "InternalIP", "address": address}]}})
}

fn elsewhere(name: &str, ip: &str) -> Value {
    let mut pod = pod("default", name, ip);
    pod["spec"]["nodeName"] = "node-2".into();
    pod
}

fn ask(resolver: &Resolver, ip: &str) {
    resolver.names.asks().unwrap().ask(ip.parse::<IpAddr>().unwrap());
}

fn sort(resolver: &Resolver, ip: &str) -> Sort {
    resolver.index.load().find(Address::from(ip.parse::<IpAddr>().unwrap())).sort()
}

/// An agent with a relay watches the pods of its node, and learns those of others by asking: what
/// it did not ask for is a pod's and no more. Names change with the pods, stay when the relay is
/// gone, and are put right by the next one.
#[actix::test]
async fn names_come_by_need() {
    let _shared = ALONE.read().await;
    let api = Api::start();
    api.put(pod("default", "own", "10.1.0.1"));
    api.put(elsewhere("far", "10.2.0.1"));
    api.put(elsewhere("farther", "10.2.0.2"));
    let relay = Relay::start(&api, ([127, 0, 0, 1], 0).into()).await;
    let at = relay.at;
    let resolver = agent(&api, at);
    resolver.until("up", |resolver| resolver.component.state() == State::Up).await;
    resolver.until("own pods", |resolver| resolver.who("10.1.0.1") == "default/own").await;
    assert_eq!((resolver.names.counts().pods, sort(&resolver, "10.2.0.1")), (1, Sort::Unnamed));
    ask(&resolver, "10.2.0.1");
    resolver.until("the one that was asked for", |resolver| resolver.who("10.2.0.1") == "default/far").await;
    assert_eq!((resolver.names.counts().pods, sort(&resolver, "10.2.0.2")), (2, Sort::Unnamed));
    assert_eq!(sort(&resolver, "10.9.0.1"), Sort::World, "no pod is near");

    // A pod that moves to this node, as one of a StatefulSet does, and another with its address.
    api.put(pod("default", "far", "10.1.0.2"));
    api.put(elsewhere("next", "10.2.0.1"));
    resolver
        .until("the move", |resolver| {
            resolver.who("10.1.0.2") == "default/far" && resolver.who("10.2.0.1") == "default/next"
        })
        .await;

    relay.end().await;
    resolver.until("degraded", |resolver| resolver.component.state() == State::Degraded).await;
    assert!(resolver.component.reason().contains("names relay"), "{}", resolver.component.reason());
    assert_eq!(resolver.who("10.2.0.1"), "default/next", "the last answer stays");
    ask(&resolver, "10.2.0.2");
    api.put(pod("default", "new", "10.1.0.3"));
    resolver.until("own pods as ever", |resolver| resolver.who("10.1.0.3") == "default/new").await;
    assert_eq!(sort(&resolver, "10.2.0.2"), Sort::Unnamed, "and what is new is unknown");
    api.delete("Pod", "default", "next");

    let relay = Relay::start(&api, at).await;
    resolver.until("what was asked for meanwhile", |resolver| resolver.who("10.2.0.2") == "default/farther").await;
    resolver.until("what has changed meanwhile", |resolver| sort(resolver, "10.2.0.1") != Sort::Remote).await;
    resolver.until("up again", |resolver| resolver.component.state() == State::Up).await;
    assert_eq!(relay.directory.clients().0, 1);
    let relayed = resolver.names.relay().unwrap();
    assert!(relayed.ends().values().sum::<u64>() > 0 && relayed.following().is_connected());
    resolver.supervisor.send(Finish).await.unwrap();
    relay.end().await;
}

/// In a large cluster the relay lists Nodes, once, and an agent their metadata: addresses come from
/// the relay, are known when the agent is ready, stay when the relay is gone, and are put right by
/// the next one.
#[actix::test]
async fn nodes_come_from_the_relay() {
    let _shared = ALONE.read().await;
    let api = Api::start();
    let created = "2026-01-02T15:04:05Z";
    api.put_all((0..150).map(|number| node(number, created, &format!("192.168.1.{number}"))));
    let relay = Relay::start(&api, ([127, 0, 0, 1], 0).into()).await;
    let at = relay.at;
    let resolver = agent(&api, at);
    resolver.until("up", |resolver| resolver.component.state() == State::Up).await;
    for number in [0, 77, 149] {
        assert_eq!(sort(&resolver, &format!("192.168.1.{number}")), Sort::Node);
        assert_eq!(sort(&resolver, &format!("10.200.{number}.1")), Sort::Node, "its bridge");
    }
    relay.end().await;
    resolver.until("degraded", |resolver| resolver.component.state() == State::Degraded).await;
    api.put(node(7, "2026-02-02T15:04:05Z", "192.168.9.7"));
    assert_eq!(sort(&resolver, "192.168.1.7"), Sort::Node, "what was said last stays");
    let next = Relay::start(&api, at).await;
    resolver.until("the next relay", |resolver| sort(resolver, "192.168.9.7") == Sort::Node).await;
    assert_eq!((sort(&resolver, "192.168.1.7"), sort(&resolver, "192.168.1.8")), (Sort::World, Sort::Node));
    let whole = api.seen(|seen| seen.kind == "Node" && !seen.metadata && seen.name.is_none());
    assert!(whole.len() == 2 && whole.iter().all(|seen| !seen.watch), "one of each relay: {whole:?}");

    // A source without the relay takes them along, and they come back with it.
    let of_api = agent_sources(&api, at);
    resolver.names.read_from(Sources { source: ClusterSource::None, ..of_api.clone() });
    resolver.until("no node", |resolver| sort(resolver, "192.168.1.8") == Sort::World).await;
    resolver.names.read_from(of_api);
    resolver.until("all nodes", |resolver| sort(resolver, "192.168.1.8") == Sort::Node).await;
    resolver.supervisor.send(Finish).await.unwrap();
    next.end().await;
}

/// Streams that end because they are old are no fault: names stay, what is asked for between two
/// comes with the next, and the agent is never degraded.
#[actix::test]
async fn old_streams_are_no_fault() {
    let _shared = ALONE.read().await;
    let api = Api::start();
    api.put(elsewhere("far", "10.2.0.1"));
    api.put(elsewhere("farther", "10.2.0.2"));
    let relay = Relay::aging(&api, ([127, 0, 0, 1], 0).into(), Duration::from_millis(300)).await;
    let resolver = agent(&api, relay.at);
    ask(&resolver, "10.2.0.1");
    resolver.until("named", |resolver| resolver.who("10.2.0.1") == "default/far").await;
    resolver.until("up", |resolver| resolver.component.state() == State::Up).await;
    // Before the relay had listed its pods it may have refused.
    let ended = |resolver: &Resolver| {
        let mut ends = resolver.names.relay().unwrap().ends();
        (ends.remove("age").unwrap_or_default(), ends)
    };
    let before = ended(&resolver);
    resolver
        .until("an end", |resolver| {
            assert_eq!(resolver.component.state(), State::Up, "{}", resolver.component.reason());
            assert_eq!(resolver.who("10.2.0.1"), "default/far");
            ended(resolver).0 > before.0 && !resolver.names.relay().unwrap().following().is_connected()
        })
        .await;
    ask(&resolver, "10.2.0.2");
    resolver
        .until("what was asked for meanwhile", |resolver| {
            assert_eq!(resolver.component.state(), State::Up, "{}", resolver.component.reason());
            resolver.who("10.2.0.2") == "default/farther"
        })
        .await;
    assert_eq!(ended(&resolver).1, before.1, "nothing else has ended a stream");
    resolver.supervisor.send(Finish).await.unwrap();
    relay.end().await;
}

/// A source beside which no relay is asked takes all that the relay has said with it: its blocks
/// are networks of pods no more, agents are known again, and nothing is asked.
#[actix::test]
async fn another_source_is_without_the_relay() {
    let _shared = ALONE.read().await;
    let api = Api::start();
    api.put(elsewhere("far", "10.2.0.1"));
    let relay = Relay::start(&api, ([127, 0, 0, 1], 0).into()).await;
    let resolver = agent(&api, relay.at);
    ask(&resolver, "10.2.0.1");
    resolver.until("named", |resolver| resolver.who("10.2.0.1") == "default/far").await;
    assert_eq!(sort(&resolver, "10.2.0.2"), Sort::Unnamed);
    let relayed = |resolver: &Resolver| {
        (resolver.names.cache().is_relayed(), resolver.names.asks().is_some_and(|asks| asks.is_open()))
    };
    assert_eq!(relayed(&resolver), (true, true));

    let manifest = api.scratch().join("m.yaml");
    std::fs::write(&manifest, pod("default", "listed", "10.1.0.2").to_string()).unwrap();
    let of_api = agent_sources(&api, relay.at);
    let of_file = Sources { source: ClusterSource::Manifest, manifest: Some(manifest), ..of_api.clone() };
    for source in [of_file, Sources { source: ClusterSource::None, ..of_api.clone() }] {
        resolver.names.read_from(source);
        resolver.until("no pods' network", |resolver| sort(resolver, "10.2.0.2") == Sort::World).await;
        assert_eq!((sort(&resolver, "10.2.0.1"), relayed(&resolver)), (Sort::World, (false, false)));
        resolver.names.read_from(of_api.clone());
        resolver.until("named again", |resolver| resolver.who("10.2.0.1") == "default/far").await;
        resolver.until("a block again", |resolver| sort(resolver, "10.2.0.2") == Sort::Unnamed).await;
        assert_eq!(relayed(&resolver), (true, true));
    }
    resolver.supervisor.send(Finish).await.unwrap();
    relay.end().await;
}

/// Without a relay from the start nothing is taken for complete: an address that may be a pod's is
/// unknown, and not of the world.
#[actix::test]
async fn a_relay_that_was_never_there() {
    let _shared = ALONE.read().await;
    let api = Api::start();
    api.put(pod("default", "own", "10.1.0.1"));
    // A port that none listens at: it was bound a moment ago.
    let at = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let resolver = agent(&api, at);
    resolver.until("own pods", |resolver| resolver.who("10.1.0.1") == "default/own").await;
    resolver.until("why", |resolver| resolver.component.reason().contains("names relay")).await;
    assert_ne!(resolver.component.state(), State::Up);
    assert!(!resolver.index.load().is_ready());
    assert_eq!(sort(&resolver, "10.2.0.1"), Sort::Unnamed);
    resolver.supervisor.send(Finish).await.unwrap();
}
