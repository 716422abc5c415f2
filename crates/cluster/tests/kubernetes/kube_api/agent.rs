//! The source under test, running against the server, and the question whether it knows the truth.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, oneshot};
use webb_cluster::kubernetes::{Access, Reason, Status, WatchTimings, Watched, follow};
use webb_cluster::{Cache, CacheSettings, Counts, OtherKinds};
use webb_flow::Address;

use super::Api;

/// Patience scaled down, so that what takes half a minute in a cluster takes a second here.
pub fn timings() -> WatchTimings {
    WatchTimings {
        backoff_min: Duration::from_millis(20),
        backoff_max: Duration::from_millis(300),
        answer_timeout: Duration::from_secs(2),
        silence_timeout: Duration::from_secs(150),
        max_watch: Duration::from_secs(290),
        min_watch: Duration::from_millis(50),
        start_spread: Duration::ZERO,
        start_spread_per_node: Duration::ZERO,
        nodes_interval: Duration::from_mins(10),
        own_node_interval: Duration::from_mins(1),
        node_reads_interval: Duration::from_millis(20),
        relist_backoff: Duration::from_millis(40),
        discovery_interval: Duration::from_mins(1),
        paged_period: Duration::from_mins(10),
    }
}

/// A source in which nothing moves for so long is stuck, and one that moves in vain for so long as
/// well.
const STUCK: Duration = Duration::from_secs(30);
const LONGEST: Duration = Duration::from_mins(5);

/// Whether a slice is of the API server itself, which are all that are read.
fn is_of_api(slice: &serde_json::Value) -> bool {
    let meta = &slice["metadata"];
    meta["namespace"] == "default" && meta["labels"]["kubernetes.io/service-name"] == "kubernetes"
}

/// A running source.
pub struct Agent {
    pub cache: Arc<Cache>,
    pub status: Arc<Status>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Agent {
    pub fn start(kubeconfig: PathBuf, timings: WatchTimings) -> Self {
        Self::start_with(kubeconfig, timings, OtherKinds::default())
    }

    /// An agent that is told of other kinds of policy what the configuration says.
    pub fn start_with(kubeconfig: PathBuf, timings: WatchTimings, other_kinds: OtherKinds) -> Self {
        let settings =
            CacheSettings { node: "node-1".into(), cluster: "lab".into(), other_kinds, ..CacheSettings::default() };
        Self::start_into(Cache::new(settings), kubeconfig, timings)
    }

    /// An agent that fills this cache.
    pub fn start_into(cache: Cache, kubeconfig: PathBuf, timings: WatchTimings) -> Self {
        let (cache, status) = (Arc::new(cache), Arc::new(Status::default()));
        let (stop, stopped) = oneshot::channel();
        let (filled, told) = (Arc::clone(&cache), Arc::clone(&status));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let (access, changed) = (Access::Kubeconfig(kubeconfig), Notify::new());
            runtime.block_on(async {
                tokio::select! {
                    never = follow(&access, &timings, &filled, &told, &changed) => match never {},
                    _ = stopped => {}
                }
            });
            runtime.shutdown_background();
        });
        Self { cache, status, stop: Some(stop), thread: Some(thread) }
    }

    /// An agent of this server that has listed everything.
    pub fn synced(api: &Api) -> Self {
        let agent = Self::start(api.kubeconfig(None), timings());
        agent.converges(api, "the first list");
        agent
    }

    /// Waits until the cache equals the server, and says how long that took.
    pub fn converges(&self, api: &Api, what: &str) -> Duration {
        let began = Instant::now();
        self.wait(|| self.misses(api), what);
        let took = began.elapsed();
        println!("converged {:>8.1} ms after: {what}", took.as_secs_f64() * 1000.0);
        took
    }

    /// Waits until nothing is missing, for as long as the source gets on. Ends a test when it does
    /// not.
    fn wait(&self, mut missing: impl FnMut() -> String, what: &str) {
        let (began, mut moved, mut before) = (Instant::now(), Instant::now(), self.progress());
        loop {
            let missing = missing();
            if missing.is_empty() {
                return;
            }
            self.alive();
            let now = self.progress();
            if now != before {
                (moved, before) = (Instant::now(), now);
            }
            let stuck = moved.elapsed() > STUCK || began.elapsed() > LONGEST;
            let (complaint, undecided) = (self.status.complaint(), self.cache.undecided_because());
            assert!(!stuck, "never came true: {what}: {missing}; {complaint}; {undecided}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// State that changes while the source makes progress.
    fn progress(&self) -> (Counts, u64) {
        let watched = self.status.watched().iter();
        let done = watched.map(|watched| {
            let restarts: u64 = Reason::ALL.iter().map(|reason| watched.restarts(*reason)).sum();
            let lists: u64 = watched.lists().iter().map(|(_, count)| count).sum();
            // Seconds since the start at which it last had a sign of life, roughly.
            restarts + lists + watched.invalid() + u64::from(watched.lag() < 1.0)
        });
        (self.cache.counts(), done.sum())
    }

    /// Differences between the cache and the server; empty if there are none.
    fn misses(&self, api: &Api) -> String {
        let there = |kind| api.objects(kind).len();
        let truth = Counts {
            pods: there("Pod"),
            namespaces: there("Namespace"),
            nodes: there("Node"),
            services: there("Service"),
            endpoint_slices: api.objects("EndpointSlice").iter().filter(|slice| is_of_api(slice)).count(),
            network_policies: there("NetworkPolicy"),
            admin_network_policies: there("AdminNetworkPolicy.policy.networking.k8s.io"),
            baseline_admin_network_policies: there("BaselineAdminNetworkPolicy.policy.networking.k8s.io"),
            cluster_network_policies: there("ClusterNetworkPolicy.policy.networking.k8s.io"),
            other_policies: 0,
        };
        // Of vendors' kinds not all that there is is kept.
        let known = Counts { other_policies: 0, ..self.cache.counts() };
        if known != truth {
            return format!("{known:?}, but there are {truth:?}");
        }
        if !self.status.synced() {
            return self.status.complaint();
        }
        let index = self.cache.index();
        for pod in api.objects("Pod") {
            let text = |path: &str| pod.pointer(path).and_then(serde_json::Value::as_str).unwrap_or_default();
            let Ok(ip) = text("/status/podIP").parse::<IpAddr>() else { continue };
            let wanted = format!("{}/{}", text("/metadata/namespace"), text("/metadata/name"));
            let found = index.endpoint(index.find(Address::from(ip))).pod.text().to_string();
            if found != wanted {
                return format!("{ip} is {found:?}, but should be {wanted:?}");
            }
        }
        String::new()
    }

    /// Owner of an address.
    pub fn who(&self, ip: &str) -> String {
        let index = self.cache.index();
        index.endpoint(index.find(Address::from(ip.parse::<IpAddr>().unwrap()))).pod.text().to_string()
    }

    pub fn pods(&self) -> &Watched {
        &self.status.watched()[0]
    }

    /// Waits for something that must come true.
    pub fn until(&self, what: &str, mut true_yet: impl FnMut() -> bool) {
        let counts = || format!("{:?}", self.cache.counts());
        self.wait(|| if true_yet() { String::new() } else { counts() }, what);
    }

    /// As [`Agent::until`], and says how long it took.
    pub fn converges_on(&self, what: &str, true_yet: impl FnMut() -> bool) {
        let began = Instant::now();
        self.until(what, true_yet);
        println!("converged {:>8.1} ms after: {what}", began.elapsed().as_secs_f64() * 1000.0);
    }

    /// Watches that were started again, of all kinds.
    pub fn restarts(&self, reason: Reason) -> u64 {
        self.status.watched().iter().map(|watched| watched.restarts(reason)).sum()
    }

    /// Fails if the source has panicked.
    pub fn alive(&self) {
        assert!(self.thread.as_ref().is_some_and(|thread| !thread.is_finished()), "the source has ended");
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _gone = stop.send(());
        }
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
            && !std::thread::panicking()
        {
            panic!("the source has panicked");
        }
    }
}
