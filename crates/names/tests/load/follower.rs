//! An agent or a relay under test, on one thread, and what it holds.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;
use webb_cluster::kubernetes::{Access, Action, Status, WatchTimings, follow, follow_pods_and_nodes};
use webb_cluster::{Cache, CacheSettings, Change, Kind, ObjectKey, Pod, PodSink};
use webb_flow::clock::{self, Clock};
use webb_index::Index;
use webb_names::{Directory, Held as Answered};

use super::counting_allocator::bytes;
use super::objects::{Cluster, node_name};
use super::server::Server;
use super::shown;
use super::time::{TICK, Time};

/// Time without progress after which a test fails.
const STUCK: Duration = Duration::from_mins(2);

/// What follows the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// An agent that watches the pods of all nodes.
    Agent,
    /// An agent that watches those of its own node, since a relay names the others.
    RelayedAgent,
    /// The relay.
    Relay,
}

/// Bytes that the follower holds.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Held {
    pub(super) now: u64,
    pub(super) highest: u64,
}

/// The pods of a relay, with a count of their events.
#[derive(Debug, Default)]
struct Sink {
    directory: Arc<Directory>,
    events: AtomicU64,
    changed: Notify,
}

impl Sink {
    fn count(&self) {
        self.events.fetch_add(1, Relaxed);
        self.changed.notify_one();
    }
}

impl PodSink for Sink {
    fn apply(&self, key: ObjectKey, pod: Pod) -> Change {
        self.count();
        self.directory.apply(key, pod)
    }

    fn remove(&self, key: &ObjectKey) -> bool {
        self.count();
        PodSink::remove(&*self.directory, key)
    }

    fn keep_only(&self, listed: &HashSet<ObjectKey>) {
        self.directory.keep_only(listed);
    }
}

/// A follower of the server.
#[derive(Debug)]
pub(super) struct Follower {
    role: Role,
    cache: Arc<Cache>,
    status: Arc<Status>,
    changed: Arc<Notify>,
    sink: Arc<Sink>,
    /// What an agent holds of its relay's nodes.
    _answered: Option<Answered>,
    index: Option<Arc<Index>>,
    now_ns: Arc<AtomicU64>,
    held_before: u64,
    highest: u64,
    progress: mpsc::Sender<()>,
    stuck: Arc<Notify>,
}

/// Runs `act` beside a follower of the server.
pub(super) fn run<R>(
    role: Role,
    server: &Server,
    timings: &WatchTimings,
    act: impl AsyncFnOnce(&mut Follower) -> R,
) -> R {
    let relay = (role == Role::RelayedAgent).then(|| relay_of(server.cluster()));
    let held_before = bytes();
    // Dropped after the follower, whose end a task of its waits for.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let now_ns = Arc::new(AtomicU64::new(clock::now_ns()));
    // A relay has no node of its own.
    let node = if role == Role::Relay { String::new() } else { node_name(0) };
    let settings = CacheSettings { node, cluster: "lab".into(), ..CacheSettings::default() };
    let cache = Arc::new(Cache::new(settings).timed_by(Clock::by_hand(Arc::clone(&now_ns))));
    cache.set_relayed(role == Role::RelayedAgent);
    let kinds = [Kind::Pod, Kind::Node];
    let status = Arc::new(if role == Role::Relay { Status::of(&kinds) } else { Status::default() });
    let answered = relay.as_ref().map(|relay| take_nodes(relay, &cache));
    let (sink, changed, stuck) = (Arc::<Sink>::default(), Arc::<Notify>::default(), Arc::<Notify>::default());
    let (progress, made) = mpsc::channel();
    let mut follower = Follower {
        role,
        cache: Arc::clone(&cache),
        status: Arc::clone(&status),
        changed: Arc::clone(&changed),
        sink: Arc::clone(&sink),
        _answered: answered,
        index: None,
        now_ns,
        held_before,
        highest: 0,
        progress,
        stuck: Arc::clone(&stuck),
    };
    let access = Access::Kubeconfig(server.kubeconfig());
    runtime.block_on(async {
        // While a blocking task runs, a runtime whose clock stands does not advance it by itself.
        tokio::task::spawn_blocking(move || {
            loop {
                match made.recv_timeout(STUCK) {
                    Ok(()) => {}
                    Err(RecvTimeoutError::Timeout) => stuck.notify_one(),
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        });
        let following = async {
            match role {
                Role::Relay => follow_pods_and_nodes(&access, timings, &*sink, &cache, &status, &changed).await,
                _ => follow(&access, timings, &cache, &status, &changed).await,
            }
        };
        tokio::select! {
            never = following => match never {},
            done = act(&mut follower) => done,
        }
    })
}

/// A relay that knows the nodes.
fn relay_of(cluster: Cluster) -> Arc<Directory> {
    let directory = Arc::new(Directory::default());
    directory.set_nodes((0..cluster.nodes).map(|number| (node_name(number), Cluster::node_network(number))).collect());
    directory
}

/// Takes the nodes that a relay sends at the beginning of a stream, and of the next one.
fn take_nodes(relay: &Arc<Directory>, cache: &Cache) -> Answered {
    let mut answered = Answered::new(node_name(0));
    cache.set_relay_sends_nodes(true);
    let sent = || relay.sent().bytes.load(Relaxed);
    for stream in ["first", "next"] {
        let (lease, before) = (relay.connect(), sent());
        if let Some(digest) = answered.offer_nodes() {
            lease.knows_nodes(digest);
        }
        answered.begin(true);
        while let Some(answer) = lease.next() {
            let (changes, outcome) = answered.take(answer);
            outcome.unwrap();
            cache.take_relayed_nodes(changes.nodes);
        }
        println!("the relay has sent {} on the {stream} stream", shown((sent() - before).try_into().unwrap()));
    }
    answered
}

impl Follower {
    /// Waits for the first lists, and publishes indexes meanwhile as an agent does.
    pub(super) async fn until_synced(&mut self) {
        let mut pods = 0;
        while !self.status.synced() {
            tokio::select! {
                () = sleep(TICK) => {}
                () = self.stuck.notified() => panic!("it is stuck with {pods} pods: {}", self.status.complaint()),
            }
            self.now_ns.store(clock::now_ns(), Relaxed);
            self.publish();
            if self.pods() != pods {
                pods = self.pods();
                self.progress.send(()).unwrap();
            }
        }
        self.publish();
    }

    /// Waits until this comes true, which is asked after each step of the server and the follower.
    pub(super) async fn until(&self, time: &Time, is_true: impl Fn() -> bool) {
        while !is_true() {
            tokio::select! {
                () = time.passed.notified() => {}
                () = self.changed.notified() => {}
                () = self.sink.changed.notified() => {}
                () = self.stuck.notified() => {
                    panic!("it is stuck: {:?}, {} events; {}", time.now(), self.events(), self.status.complaint())
                }
            }
        }
        self.progress.send(()).unwrap();
    }

    /// Goes on to the end of a tick: what happens in it is read, and then published.
    pub(super) async fn tick(&mut self, time: &Time, tick: usize, events_before: u64) {
        time.advance(tick);
        self.until(time, || {
            let now = time.now();
            now.passed == now.events && now.answering == 0 && self.events() == events_before + now.sent as u64
        })
        .await;
        self.now_ns.fetch_add(u64::try_from(TICK.as_nanos()).unwrap(), Relaxed);
        tokio::time::advance(TICK).await;
        self.publish();
    }

    /// Publishes an index, as an agent does at most every [`TICK`].
    fn publish(&mut self) {
        if self.role != Role::Relay {
            self.index = Some(Arc::new(self.cache.index()));
            self.cache.trim();
        }
        self.highest = self.highest.max(self.held().now);
    }

    pub(super) fn held(&self) -> Held {
        Held { now: bytes().saturating_sub(self.held_before), highest: self.highest }
    }

    /// Number of events of pods so far.
    pub(super) fn events(&self) -> u64 {
        if self.role == Role::Relay {
            return self.sink.events.load(Relaxed);
        }
        let pods = self.status.watched().iter().find(|watched| watched.kind == Kind::Pod).unwrap();
        let counts = Action::ALL.map(|action| pods.events(action));
        counts.iter().map(|counts| counts.changed + counts.equal + counts.invalid).sum()
    }

    pub(super) fn status(&self) -> &Status {
        &self.status
    }

    /// Number of pods that are known.
    pub(super) fn pods(&self) -> usize {
        if self.role == Role::Relay { self.sink.directory.counts().0 } else { self.cache.counts().pods }
    }

    pub(super) fn nodes(&self) -> usize {
        self.cache.counts().nodes
    }

    /// Name of the pod that has an address now.
    pub(super) fn name(&self, address: &str) -> String {
        let address: IpAddr = address.parse().unwrap();
        if self.role == Role::Relay {
            let lease = self.sink.directory.connect();
            lease.ask([address]).unwrap();
            let answer = lease.next().unwrap();
            return answer.entries[0].pods[0].name.clone();
        }
        let index = self.index.as_ref().unwrap();
        index.endpoint(index.find(address.into())).pod_name.text().to_string()
    }

    /// Name of the pod that had an address so long ago.
    pub(super) fn name_before(&self, address: &str, ago: Duration) -> String {
        let address: IpAddr = address.parse().unwrap();
        let index = self.index.as_ref().unwrap();
        let time_ns = self.now_ns.load(Relaxed) - u64::try_from(ago.as_nanos()).unwrap();
        index.endpoint(index.find_at(address.into(), time_ns)).pod_name.text().to_string()
    }
}
