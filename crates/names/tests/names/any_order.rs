//! Pods that come and go, asks, messages under way, connections that break, in any order: once all
//! is quiet a client knows of each address that it holds what the directory knows.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use proptest::prelude::*;
use webb_cluster::{NodeNetwork, Pod, PodSink as _};
use webb_index::ObjectKey;
use webb_names::wire::{Answer, Request};
use webb_names::{Directory, Held, Lease};

const NODES: [&str; 3] = ["own", "b", "c"];
const MAX_NAMED: usize = 5;
const MAX_UNNAMED: usize = 3;
const CLIENTS: usize = 2;

#[derive(Debug, Clone)]
enum Step {
    Pod { name: u8, addresses: Vec<u8>, app: u8, node: u8, created: i64, state: u8 },
    NoPod { name: u8 },
    List { names: BTreeSet<u8> },
    Nodes { addresses: BTreeMap<u8, u8> },
    Ask { client: usize, address: u8 },
    Request { client: usize },
    Serve { client: usize },
    Answer { client: usize },
    Take { client: usize },
    Reconnect { client: usize, offers_nodes: bool },
}

fn step() -> impl Strategy<Value = Step> {
    let client = || 0..CLIENTS;
    prop_oneof![
        5 => (0..6_u8, prop::collection::vec(0..10_u8, 1..3), 0..4_u8, 0..3_u8, 0..3_i64, 0..8_u8).prop_map(
            |(name, addresses, app, node, created, state)| Step::Pod { name, addresses, app, node, created, state }
        ),
        2 => (0..6_u8).prop_map(|name| Step::NoPod { name }),
        1 => prop::collection::btree_set(0..6_u8, 0..6).prop_map(|names| Step::List { names }),
        1 => prop::collection::btree_map(0..5_u8, 0..3_u8, 0..5).prop_map(|addresses| Step::Nodes { addresses }),
        6 => (client(), 0..10_u8).prop_map(|(client, address)| Step::Ask { client, address }),
        4 => client().prop_map(|client| Step::Request { client }),
        4 => client().prop_map(|client| Step::Serve { client }),
        4 => client().prop_map(|client| Step::Answer { client }),
        4 => client().prop_map(|client| Step::Take { client }),
        1 => (client(), any::<bool>())
            .prop_map(|(client, offers_nodes)| Step::Reconnect { client, offers_nodes }),
    ]
}

fn ip(number: u8) -> IpAddr {
    // Some are of IPv6, and they lie in several blocks.
    if number < 7 { IpAddr::from([10, 0, number, number]) } else { format!("fd00::{number}:1").parse().unwrap() }
}

fn node(last: u8) -> Arc<NodeNetwork> {
    Arc::new(NodeNetwork { internal: vec![[192, 168, 0, last].into()], ..NodeNetwork::default() })
}

fn key(name: u8) -> ObjectKey {
    ObjectKey { namespace: ["x", "y"][usize::from(name % 2)].to_owned(), name: format!("pod-{name}") }
}

/// One client with its side of a connection, and what is under way.
struct Client {
    held: Held,
    lease: Lease,
    requests: VecDeque<Request>,
    answers: VecDeque<Answer>,
    nodes: BTreeMap<String, Arc<NodeNetwork>>,
}

impl Client {
    fn new(directory: &Arc<Directory>) -> Self {
        let mut held = Held::bounded("own".to_owned(), MAX_NAMED, MAX_UNNAMED);
        held.begin(true);
        let (requests, answers, nodes) = Default::default();
        Self { held, lease: directory.connect(), requests, answers, nodes }
    }

    fn request(&mut self) -> bool {
        let request = self.held.next_request();
        let any = request.is_some();
        self.requests.extend(request);
        any
    }

    fn serve(&mut self) -> bool {
        let Some(request) = self.requests.pop_front() else { return false };
        let read = |addresses: &Option<webb_names::wire::Addresses>| {
            addresses.iter().flat_map(|some| some.read().unwrap().collect::<Vec<_>>()).collect::<Vec<_>>()
        };
        self.lease.release(read(&request.release));
        self.lease.ask(read(&request.ask)).unwrap();
        true
    }

    fn answer(&mut self) -> bool {
        let answer = self.lease.next();
        let any = answer.is_some();
        self.answers.extend(answer);
        any
    }

    fn take(&mut self) -> bool {
        let Some(answer) = self.answers.pop_front() else { return false };
        let before: BTreeMap<ObjectKey, Option<Pod>> =
            self.held.keys().map(|key| (key.clone(), self.held.pod(key))).collect();
        let (changes, outcome) = self.held.take(answer);
        outcome.unwrap();
        for name in changes.nodes.removed {
            self.nodes.remove(&name);
        }
        self.nodes.extend(changes.nodes.changed);
        let now: BTreeMap<ObjectKey, Option<Pod>> =
            self.held.keys().map(|key| (key.clone(), self.held.pod(key))).collect();
        let all: BTreeSet<&ObjectKey> = before.keys().chain(now.keys()).collect();
        for key in all {
            let differs = before.get(key) != now.get(key);
            assert!(!differs || changes.pods.contains(key), "{key} has changed, and is not among the changes");
        }
        true
    }

    fn reconnect(&mut self, directory: &Arc<Directory>, offers_nodes: bool) {
        self.lease = directory.connect();
        if let Some(digest) = self.held.offer_nodes().filter(|_| offers_nodes) {
            self.lease.knows_nodes(digest);
        }
        self.requests.clear();
        self.answers.clear();
        self.held.begin(true);
    }

    fn check_bounds(&self) {
        let counts = self.held.counts();
        assert!(counts.named <= MAX_NAMED, "{counts:?}");
        assert!(counts.unnamed + counts.unanswered <= MAX_UNNAMED, "{counts:?}");
        assert_eq!(counts.named + counts.unnamed + counts.unanswered, self.held.addresses().count());
    }
}

/// The pods as a list of them would have them.
#[derive(Default)]
struct Naive(BTreeMap<ObjectKey, Pod>, BTreeMap<String, Arc<NodeNetwork>>);

impl Naive {
    /// The pods of other nodes at an address.
    fn at(&self, address: IpAddr) -> BTreeSet<ObjectKey> {
        let has = |pod: &Pod| pod.node != "own" && Self::addresses(pod).contains(&address);
        self.0.iter().filter(|(_, pod)| has(pod)).map(|(key, _)| key.clone()).collect()
    }

    fn addresses(pod: &Pod) -> &[IpAddr] {
        if pod.finished || pod.host_network { &[] } else { &pod.addresses }
    }

    fn blocks(&self) -> BTreeSet<IpAddr> {
        let all = self.0.values().flat_map(|pod| Self::addresses(pod).iter().copied());
        all.map(|address| webb_cluster::address_block(address).network()).collect()
    }
}

fn check(client: &Client, naive: &Naive) {
    for address in client.held.addresses() {
        let held = client.held.at(address).unwrap_or_else(|| panic!("{address} has no answer"));
        let held: BTreeSet<ObjectKey> = held.iter().map(|key| ObjectKey::clone(key)).collect();
        assert_eq!(held, naive.at(address), "{address}");
    }
    for key in client.held.keys() {
        let mut expected = naive.0[key].clone();
        expected.addresses.retain(|address| client.held.addresses().any(|held| held == *address));
        expected.addresses.sort_unstable();
        let mut found = client.held.pod(key).unwrap();
        found.addresses.sort_unstable();
        assert_eq!(found, expected);
    }
    let counts = client.held.counts();
    assert_eq!((counts.stale, counts.unanswered), (0, 0), "{counts:?}");
    assert_eq!(client.held.blocks().collect::<BTreeSet<_>>(), naive.blocks());
    assert_eq!(client.nodes, naive.1);
}

fn run(steps: Vec<Step>) {
    // So few profiles that they are forgotten again and again, and one block an answer.
    let directory = Arc::new(Directory::bounded(2, 1));
    let mut naive = Naive::default();
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| Client::new(&directory)).collect();
    for step in steps {
        match step {
            Step::Pod { name, addresses, app, node, created, state } => {
                let mut addresses: Vec<IpAddr> = addresses.into_iter().map(ip).collect();
                addresses.dedup();
                let pod = Pod {
                    labels: [("app".to_owned(), app.to_string())].into(),
                    addresses,
                    node: NODES[usize::from(node)].to_owned(),
                    created,
                    finished: state == 0,
                    host_network: state == 1,
                    service_account: "default".to_owned(),
                    ..Pod::default()
                };
                directory.upsert(key(name), &pod);
                naive.0.insert(key(name), pod);
            }
            Step::NoPod { name } => {
                directory.delete(&key(name));
                naive.0.remove(&key(name));
            }
            Step::List { names } => {
                let listed: std::collections::HashSet<ObjectKey> = names.iter().map(|name| key(*name)).collect();
                directory.keep_only(&listed);
                naive.0.retain(|key, _| listed.contains(key));
            }
            Step::Nodes { addresses } => {
                naive.1 = addresses.into_iter().map(|(name, last)| (name.to_string(), node(last))).collect();
                directory.set_nodes(naive.1.clone().into_iter().collect());
            }
            Step::Ask { client, address } => {
                clients[client].held.ask(ip(address));
            }
            Step::Request { client } => {
                clients[client].request();
            }
            Step::Serve { client } => {
                clients[client].serve();
            }
            Step::Answer { client } => {
                clients[client].answer();
            }
            Step::Take { client } => {
                clients[client].take();
            }
            Step::Reconnect { client, offers_nodes } => clients[client].reconnect(&directory, offers_nodes),
        }
        clients.iter().for_each(Client::check_bounds);
    }
    for client in &mut clients {
        while client.request() | client.serve() | client.answer() | client.take() {}
        check(client, &naive);
    }
    let held: usize = clients.iter().map(|client| client.held.addresses().count()).sum();
    assert_eq!(directory.clients(), (CLIENTS, held), "what is released is held by neither side");
    drop(clients);
    assert_eq!(directory.clients(), (0, 0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// See the module.
    #[test]
    fn both_sides_agree_once_all_is_quiet(steps in prop::collection::vec(step(), 0..120)) {
        run(steps);
    }
}
