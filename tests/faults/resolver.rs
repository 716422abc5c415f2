//! The resolver with an API server as its source: what the decoder sees, what `/readyz` says, and
//! what a panic costs.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::Addr;
use arc_swap::ArcSwap;
use tokio::sync::mpsc::unbounded_channel;
use tokio::sync::{Notify, RwLock};
use webb::actors::Finish;
use webb::actors::cluster_source::Sources;
use webb::actors::mesh::RemoteCluster;
use webb::actors::resolver::{self, Resolver as ResolverState};
use webb::actors::restart::{Intensity, RestartPolicy};
use webb::actors::thread_supervisor::ThreadSupervisor;
use webb::pipeline::Commands;
use webb::records::Waker;
use webb_cluster::kubernetes::{Reason, Status};
use webb_cluster::{Cache, CacheSettings, Counts};
use webb_flow::Address;
use webb_flow::fault::{Component, Components, State};
use webb_index::Index;
use webb_settings::ClusterSource;

use crate::kube_api::agent::timings;
use crate::kube_api::store::pod;
use crate::kube_api::{Api, Ending, Fault, Handshake};

/// An injected panic hits whichever resolver comes by, so its test runs alone.
pub(crate) static ALONE: RwLock<()> = RwLock::const_new(());

pub(crate) struct Resolver {
    pub(crate) names: Arc<ResolverState>,
    pub(crate) index: Arc<ArcSwap<Index>>,
    pub(crate) component: Arc<Component>,
    pub(crate) supervisor: Addr<ThreadSupervisor>,
    /// The signal of a change in another cluster.
    pub(crate) changed: Arc<Notify>,
}

pub(crate) fn sources(kubeconfig: Option<PathBuf>) -> Sources {
    Sources { source: ClusterSource::Kubernetes, manifest: None, kubeconfig, timings: timings(), relay: None }
}

fn start(sources: Sources) -> Resolver {
    start_with(sources, &[])
}

/// A resolver of this cluster and others.
pub(crate) fn start_with(sources: Sources, clusters: &[Arc<RemoteCluster>]) -> Resolver {
    let changed = Arc::new(Notify::new());
    let caches = clusters.iter().map(|cluster| Arc::clone(cluster.cache())).collect();
    let component = Components::default().component("resolver");
    let index = Arc::new(ArcSwap::from_pointee(Index::default()));
    let (commands, _requests) = Commands::new(Waker::new().unwrap());
    let settings = CacheSettings {
        node: "node-1".into(),
        cluster: "lab".into(),
        addresses: Vec::new(),
        ..CacheSettings::default()
    };
    let names = Arc::new(ResolverState::new(
        Arc::new(Cache::with_mesh(settings, caches)),
        sources,
        Arc::default(),
        Arc::clone(&index),
        Arc::clone(&component),
        (commands, Arc::default(), Arc::clone(&changed)),
    ));
    let supervisor = resolver::start(Arc::clone(&names), intensity(&component));
    Resolver { names, index, component, supervisor, changed }
}

/// A component may fail three times.
pub(crate) fn intensity(component: &Arc<Component>) -> Intensity {
    let policy = RestartPolicy {
        max_restarts: 3,
        window: Duration::from_mins(1),
        backoff_min: Duration::from_millis(10),
        backoff_max: Duration::from_millis(40),
        stall_after: Duration::from_secs(10),
    };
    let (escalations, _) = unbounded_channel();
    Intensity::new(Arc::clone(component), Arc::new(ArcSwap::from_pointee(policy)), escalations)
}

impl Resolver {
    pub(crate) fn who(&self, ip: &str) -> String {
        let index = self.index.load();
        index.endpoint(index.find(Address::from(ip.parse::<IpAddr>().unwrap()))).pod.text().to_string()
    }

    /// Waits for something that must come true, for as long as the resolver gets on.
    pub(crate) async fn until(&self, what: &str, mut true_yet: impl FnMut(&Self) -> bool) -> Duration {
        let (began, mut moved, mut before) = (Instant::now(), Instant::now(), self.progress());
        while !true_yet(self) {
            let now = self.progress();
            if now != before {
                (moved, before) = (Instant::now(), now);
            }
            let stuck = moved.elapsed() > Duration::from_secs(30) || began.elapsed() > Duration::from_mins(5);
            let (state, why) = (self.component.state(), self.component.reason());
            assert!(!stuck, "never came true: {what}; {state:?} {why}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        began.elapsed()
    }

    /// State that changes while the resolver makes progress.
    fn progress(&self) -> (u64, Counts, u64) {
        let watched = self.names.watches().map_or(&[][..], Status::watched);
        let restarts = watched.iter().flat_map(|watched| Reason::ALL.map(|reason| watched.restarts(reason)));
        (self.names.published(), self.names.counts(), restarts.sum())
    }
}

/// A change reaches the decoder's index soon, and a storm of changes does not become a storm of
/// indexes.
#[actix::test]
async fn changes_are_published_soon_and_together() {
    let _shared = ALONE.read().await;
    let api = Api::start_tls();
    let resolver = start(sources(Some(api.kubeconfig(None))));
    resolver.until("synced", |resolver| resolver.names.watches().is_some_and(Status::synced)).await;
    resolver.until("up", |resolver| resolver.component.state() == State::Up).await;
    let mut took = Vec::new();
    for at in 0..20 {
        let ip = format!("10.1.0.{}", at + 1);
        api.put(pod("default", &format!("pod-{at}"), &ip));
        took.push(resolver.until("named", |resolver| resolver.who(&ip) == format!("default/pod-{at}")).await);
        tokio::time::sleep(Duration::from_millis(7 * at % 60)).await;
    }
    took.sort();
    println!("a change is visible after {:?} (median), {:?} (worst of {})", took[10], took[19], took.len());
    let (before, began) = (resolver.names.published(), Instant::now());
    for at in 0..1000 {
        api.put(pod("default", "busy", &format!("10.2.{}.{}", at / 200, at % 200 + 1)));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    resolver.until("the last of them", |resolver| resolver.who("10.2.4.200") == "default/busy").await;
    let (published, most) = (resolver.names.published() - before, began.elapsed().as_millis() / 200 + 2);
    println!("1,000 changes in {:?}: {published} indexes", began.elapsed());
    assert!(u128::from(published) <= most, "{published} indexes, at most {most}");
    resolver.supervisor.send(Finish).await.unwrap();
}

/// Without a list of one kind the component says which; with the API gone it says why, and the last
/// state serves.
#[actix::test]
async fn readiness_is_honest() {
    let _shared = ALONE.read().await;
    let api = Api::start();
    api.put(pod("default", "web", "10.1.0.1"));
    api.forbid(&["Node"]);
    let began = Instant::now();
    let resolver = start(sources(Some(api.kubeconfig(None))));
    resolver.until("the pods", |resolver| resolver.who("10.1.0.1") == "default/web").await;
    resolver
        .until("why", |resolver| {
            let reason = resolver.component.reason();
            reason.starts_with("names not read yet: 5 of 6 kinds; Node: not listed yet: not allowed")
        })
        .await;
    resolver
        .until("degraded", |resolver| {
            assert_ne!(resolver.component.state(), State::Up, "a kind is missing");
            resolver.component.state() == State::Degraded
        })
        .await;
    assert!(began.elapsed() >= resolver::INITIAL_SYNC_TIMEOUT, "there was still time");
    api.forbid(&[]);
    resolver.until("up", |resolver| resolver.component.state() == State::Up).await;
    assert_eq!(resolver.component.reason(), "");
    api.set_handshake(Handshake::Broken);
    api.end_watches(None, Ending::Abrupt);
    resolver.until("degraded again", |resolver| resolver.component.state() == State::Degraded).await;
    let since = |why: &str| why.rsplit_once("(for ").is_some_and(|(_, age)| age.ends_with(" s)") && age != "0 s)");
    resolver.until("since when", |resolver| since(&resolver.component.reason())).await;
    assert!(resolver.component.reason().contains("cannot reach the API server"), "{}", resolver.component.reason());
    assert_eq!(resolver.who("10.1.0.1"), "default/web", "the last state serves");
    api.set_handshake(Handshake::Good);
    resolver.until("up again", |resolver| resolver.component.state() == State::Up).await;
    resolver.supervisor.send(Finish).await.unwrap();
}

/// The source can be changed while the agent runs, and one that is missing is waited for.
#[actix::test]
async fn sources_change() {
    let _shared = ALONE.read().await;
    let api = Api::start();
    api.put(pod("default", "web", "10.1.0.1"));
    let resolver = start(Sources { source: ClusterSource::Manifest, ..sources(None) });
    resolver.until("degraded", |resolver| resolver.component.reason() == "`cluster_manifest` is not set").await;
    assert!(resolver.names.watches().is_none());
    let manifest = api.scratch().join("m.yaml");
    std::fs::write(&manifest, pod("default", "listed", "10.1.0.2").to_string()).unwrap();
    let of_file = Sources { source: ClusterSource::Auto, manifest: Some(manifest), ..sources(None) };
    resolver.names.read_from(of_file);
    resolver.until("the manifest", |resolver| resolver.who("10.1.0.2") == "default/listed").await;
    resolver.names.read_from(sources(Some(api.kubeconfig(None))));
    resolver.until("the API", |resolver| resolver.who("10.1.0.1") == "default/web").await;
    resolver.until("what the API does not know", |resolver| resolver.who("10.1.0.2").is_empty()).await;
    resolver.names.read_from(Sources { source: ClusterSource::None, ..sources(None) });
    resolver.until("no owner", |resolver| resolver.who("10.1.0.1").is_empty()).await;
    assert_eq!(api.seen(|seen| seen.streaming).len(), 6);
    resolver.until("hung up", |_| api.open_watches() == 0).await;
    resolver.supervisor.send(Finish).await.unwrap();
}

/// An agent that is asked to stop while the server lets it wait does not wait.
#[actix::test]
async fn stopping_does_not_wait() {
    let _shared = ALONE.read().await;
    let api = Api::start();
    api.plan(None, None, Fault::Late(Duration::from_hours(1)), 6);
    let resolver = start(sources(Some(api.kubeconfig(None))));
    resolver.until("asked", |_| api.seen(|_| true).len() == 6).await;
    resolver.supervisor.send(Finish).await.unwrap();
    assert_eq!(resolver.component.state(), State::Stopped);
}

/// A panic ends one run of the thread; the next one lists anew, and until then the last state
/// serves.
#[cfg(feature = "fault-injection")]
#[actix::test]
async fn a_panic_is_survived() {
    let _alone = ALONE.write().await;
    let api = Api::start();
    api.put(pod("default", "web", "10.1.0.1"));
    let resolver = start(sources(Some(api.kubeconfig(None))));
    resolver.until("up", |resolver| resolver.component.state() == State::Up).await;
    webb_flow::fault::inject::arm("resolver", 1, 0);
    resolver.until("caught", |resolver| resolver.component.faults(webb_flow::fault::FaultType::Panicked) == 1).await;
    assert_eq!(resolver.who("10.1.0.1"), "default/web");
    api.put(pod("default", "late", "10.1.0.2"));
    resolver.until("the next lifecycle", |resolver| resolver.who("10.1.0.2") == "default/late").await;
    resolver.until("up", |resolver| resolver.component.state() == State::Up).await;
    assert_eq!(resolver.component.restarts(), 1);
    resolver.supervisor.send(Finish).await.unwrap();
}
