//! The pod cache and its index at 1,000 to 100,000 pods while pods come and go: memory, the time to
//! publish, the time to look an address up, and what a flow allocates.
//!
//! `cargo bench --bench cluster`, optionally with numbers of pods: `-- 5000 20000`.
//!
//! A cluster of N pods has N/10 deployments, N/10 services of as many endpoints, N/110 nodes, N/100
//! namespaces and a policy for each namespace. 500 pods a second go and as many come, on addresses
//! that others had; every 200 ms an index is published. Bytes are those asked of the allocator and
//! not given back.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a bench may end where it is wrong"
)]

#[path = "../tests/counting_allocator/mod.rs"]
mod counting_allocator;

use std::collections::VecDeque;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use counting_allocator::{allocations, bytes};
use webb_cluster::{Cache, CacheSettings, Kind, Node, NodeNetwork, Object, ObjectKey, Pod, Reference, Service, Slice};
use webb_decode::{Decoded, Decoder};
use webb_flow::abi::{Record, VERSION, kind};
use webb_flow::sym;
use webb_flow::{Address, Flow, Reasons};
use webb_index::policy::spec::{NamedPort, PeerSpec, PolicySpec, PortMatch, PortSpec, RuleSpec, Selector};
use webb_index::{Index, Workload};
use zerocopy::IntoBytes;

const PER_NODE: u32 = 110;
const REPLICAS: u32 = 10;
const PER_PUBLISH: u32 = 100;
const STEP: Duration = Duration::from_millis(200);
const LOCAL: &str = "node-0";

fn key(namespace: &str, name: &str) -> ObjectKey {
    ObjectKey { namespace: namespace.to_owned(), name: name.to_owned() }
}

/// A cluster of so many pods, and the pods that will come.
struct World {
    pods: u32,
    made: u32,
    /// Places of running pods, oldest first, with the number of the pod.
    running: VecDeque<(u32, u32)>,
}

impl World {
    fn namespace(&self, place: u32) -> String {
        format!("team-{}", (place / REPLICAS) % (self.pods / 100).max(1))
    }

    fn address(place: u32) -> IpAddr {
        let (node, host) = (place / PER_NODE, place % PER_NODE);
        IpAddr::V4(Ipv4Addr::from(0x0a40_0000 + node * 256 + host + 2))
    }

    fn key(&self, place: u32, made: u32) -> ObjectKey {
        key(&self.namespace(place), &format!("checkout-{}-7d9c8b6f5d-{made:x}", place / REPLICAS))
    }

    fn pod(&self, place: u32, made: u32) -> Object {
        let deployment = format!("checkout-{}", place / REPLICAS);
        let labels = [
            ("app.kubernetes.io/name", deployment.as_str()),
            ("app.kubernetes.io/instance", "production"),
            ("app.kubernetes.io/version", "1.42.7"),
            ("app.kubernetes.io/managed-by", "Helm"),
            ("team", "payments"),
            ("pod-template-hash", "7d9c8b6f5d"),
        ];
        let port = |name: &str, port| NamedPort { name: name.to_owned(), protocol: 6, port };
        let pod = Pod {
            labels: labels.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect(),
            addresses: vec![Self::address(place)],
            created: i64::from(made),
            workload: Some(Workload { name: deployment.clone(), kind: "Deployment".to_owned() }),
            node: format!("node-{}", place / PER_NODE),
            service_account: deployment,
            ports: vec![port("http", 8080), port("metrics", 9090)],
            ..Pod::default()
        };
        Object::Pod(self.key(place, made), Box::new(pod))
    }

    fn fill(&mut self, cache: &Cache) {
        let nodes = self.pods.div_ceil(PER_NODE);
        for node in 0..nodes {
            let address = IpAddr::V4(Ipv4Addr::from(0xac10_0000 + node));
            let network = Arc::new(NodeNetwork { external: vec![address], ..NodeNetwork::default() });
            let name = key("", &format!("node-{node}"));
            cache.upsert_at(Object::Node(name, Box::new(Node { network, ..Node::default() })), 0);
        }
        for namespace in 0..(self.pods / 100).max(1) {
            let name = format!("team-{namespace}");
            let labels = [("kubernetes.io/metadata.name".to_owned(), name.clone())].into();
            cache.upsert_at(Object::Namespace(key("", &name), labels), 0);
            let own = RuleSpec {
                peers: vec![PeerSpec::Pods { namespaces: None, pods: Some(Selector::default()) }],
                ports: vec![PortSpec { protocol: webb_flow::L4::Tcp, port: PortMatch::Range(8080, 8080) }],
                unknown: false,
            };
            let policy = PolicySpec {
                namespace: name.clone(),
                name: "own".to_owned(),
                pods: Selector::default(),
                ingress: Some(vec![own]),
                egress: None,
            };
            cache.upsert_at(Object::NetworkPolicy(key(&name, "own"), Arc::new(policy)), 0);
        }
        for service in 0..self.pods / REPLICAS {
            let (namespace, name) = (self.namespace(service * REPLICAS), format!("checkout-{service}"));
            let address = IpAddr::V4(Ipv4Addr::from(0x0a60_0000 + service));
            cache.upsert_at(
                Object::Service(key(&namespace, &name), Service { addresses: vec![address], ..Service::default() }),
                0,
            );
            let addresses = (0..REPLICAS).map(|replica| Self::address(service * REPLICAS + replica)).collect();
            let slice = Slice { service: name.clone(), addresses };
            cache.upsert_at(Object::EndpointSlice(key(&namespace, &format!("{name}-x7k2p")), slice), 0);
        }
        for place in 0..self.pods {
            cache.upsert_at(self.pod(place, self.made), 0);
            self.running.push_back((place, self.made));
            self.made += 1;
        }
    }

    /// The oldest pods go, and others get their addresses.
    fn churn(&mut self, cache: &Cache, now_ns: u64) {
        for _ in 0..PER_PUBLISH.min(self.pods / 2) {
            // A stride through the cluster: what goes at a time is spread over nodes and
            // namespaces.
            self.running.rotate_left(37);
            let (place, made) = self.running.pop_front().unwrap();
            cache.remove_at(&Reference { kind: Kind::Pod, key: self.key(place, made) }, now_ns);
            cache.upsert_at(self.pod(place, self.made), now_ns + 1);
            self.running.push_back((place, self.made));
            self.made += 1;
        }
    }
}

/// Addresses visited at random: one of this node's pods and any pod, as flows have them.
fn addresses(pods: u32, random: &mut impl FnMut(u32) -> u32) -> Vec<Address> {
    let mut address = |below: u32| Address::from(World::address(random(below)));
    (0..32_768).flat_map(|_| [address(PER_NODE.min(pods)), address(pods)]).collect()
}

fn random() -> impl FnMut(u32) -> u32 {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    move |below| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        u32::try_from((state >> 33) % u64::from(below)).unwrap()
    }
}

/// The best of many rounds, for each call: interruptions only ever add.
fn each(calls: usize, mut round: impl FnMut()) -> f64 {
    let mut best = Duration::MAX;
    for _ in 0..200 {
        let start = Instant::now();
        round();
        best = best.min(start.elapsed());
    }
    best.as_nanos() as f64 / calls as f64
}

fn records(addresses: &[Address]) -> Vec<Record> {
    let record = |ends: &[Address]| Record {
        version: VERSION,
        kind: kind::FLAGS,
        hook: 1,
        length: 80,
        source: ends[0].0,
        destination: ends[1].0,
        source_port: 40_000,
        destination_port: 8080,
        family: 4,
        protocol: 6,
        tcp_flags: 0x12,
        packets: 1,
        bytes: 60,
        time_ns: u64::MAX,
        ..Record::default()
    };
    addresses.chunks(2).map(record).collect()
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

fn bench(pods: u32) {
    let before = bytes();
    let cache = Cache::new(CacheSettings {
        node: LOCAL.into(),
        cluster: "production".into(),
        addresses: Vec::new(),
        ..CacheSettings::default()
    });
    let mut world = World { pods, made: 0, running: VecDeque::new() };
    world.fill(&cache);
    let start = Instant::now();
    let mut index = Arc::new(cache.index_at(0));
    let first = start.elapsed();
    let filled = bytes() - before;

    let (mut now_ns, mut times, mut one) = (0, Vec::new(), Vec::new());
    let meaning = index.generation();
    let mut meanings = vec![meaning];
    for _ in 0..600 {
        now_ns += u64::try_from(STEP.as_nanos()).unwrap();
        world.churn(&cache, now_ns);
        let start = Instant::now();
        index = Arc::new(cache.index_at(now_ns));
        times.push(start.elapsed());
        meanings.push(index.generation());
    }
    for _ in 0..200 {
        now_ns += 1_000_000;
        let (place, made) = world.running[one.len()];
        let Object::Pod(key, mut pod) = world.pod(place, made) else { continue };
        pod.created += 1;
        pod.addresses.push(IpAddr::V4(Ipv4Addr::from(0x0b00_0000 + place)));
        cache.upsert_at(Object::Pod(key, pod), now_ns);
        let start = Instant::now();
        index = Arc::new(cache.index_at(now_ns));
        one.push(start.elapsed());
    }
    let churned = bytes() - before;
    times.sort_unstable();
    one.sort_unstable();
    meanings.dedup();

    let mut random = random();
    let ends = addresses(pods, &mut random);
    let strangers: Vec<Address> =
        (0..65_536).map(|_| Address::from(IpAddr::V4(Ipv4Addr::from(0x0800_0000 + random(1 << 24))))).collect();
    let look = |addresses: &[Address]| {
        each(addresses.len(), || {
            for &address in addresses {
                black_box(index.find_at(black_box(address), u64::MAX));
            }
        })
    };
    let (hit, miss) = (look(&ends), look(&strangers));
    let (decode, allocations) = decoding(&ends, &index);
    let names = sym::interned();
    for &address in &ends {
        black_box(index.endpoint(index.find(address)));
    }
    let named = bytes() - before;
    println!(
        "{pods:>7} {:>8.1} {:>8.1} {:>8.1} {:>9.1} {:>9.0} {:>9.0} {:>8.1} {:>6} {hit:>7.2} {miss:>7.2} {decode:>7.1} {allocations:>6} {:>8}",
        megabytes(filled),
        megabytes(churned),
        megabytes(named),
        first.as_secs_f64() * 1e3,
        times[times.len() / 2].as_secs_f64() * 1e6,
        times[times.len() * 99 / 100].as_secs_f64() * 1e6,
        one[one.len() / 2].as_secs_f64() * 1e6,
        meanings.len() - 1,
        sym::interned() - names,
    );
    pods_of(&cache, &world);
}

/// Prints the time to find the pods of a workload, as the page does for each end of a pair: at
/// first, and again, while pods come and go; and the bytes that this takes.
fn pods_of(cache: &Cache, world: &World) {
    let (before, start) = (bytes(), Instant::now());
    let name = format!("{}/checkout-0", world.namespace(0));
    let (count, _) = cache.pods_of(&name, 12);
    let first = start.elapsed();
    let again = each(1, || drop(black_box(cache.pods_of(black_box(&name), 12))));
    println!(
        "        {count} pods of a workload: {:.1} ms at first, then {:.1} us; {:.1} MB until it is forgotten",
        first.as_secs_f64() * 1e3,
        again / 1e3,
        megabytes(bytes() - before),
    );
    cache.forget_workloads();
}

/// Nanoseconds for a record with both ends looked up, and allocations over all rounds.
fn decoding(ends: &[Address], index: &Index) -> (f64, u64) {
    let records = records(ends);
    let decoder = Decoder::new(Reasons::new([]));
    let (mut batch, mut flow) = (Vec::with_capacity(512), Flow::default());
    let before = allocations();
    let time = each(records.len(), || {
        for chunk in records.chunks(512) {
            batch.clear();
            for record in chunk {
                let decoded = decoder.decode(black_box(record.as_bytes()), index, &mut flow);
                if decoded.is_ok_and(Decoded::is_flow) {
                    batch.push(flow);
                }
            }
            black_box(&batch);
        }
    });
    (time, allocations() - before)
}

fn main() {
    let told: Vec<u32> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    println!(
        "{:>7} {:>8} {:>8} {:>8} {:>9} {:>9} {:>9} {:>8} {:>6} {:>7} {:>7} {:>7} {:>6} {:>8}",
        "pods",
        "filled",
        "churned",
        "named",
        "first",
        "publish",
        "p99",
        "one pod",
        "ids",
        "lookup",
        "world",
        "decode",
        "allocs",
        "names"
    );
    println!(
        "{:>7} {:>8} {:>8} {:>8} {:>9} {:>9} {:>9} {:>8} {:>6} {:>7} {:>7} {:>7} {:>6} {:>8}",
        "", "MB", "MB", "MB", "ms", "us", "us", "us", "anew", "ns", "ns", "ns", "", "interned"
    );
    for pods in if told.is_empty() { vec![1_000, 5_000, 20_000, 100_000] } else { told } {
        bench(pods);
    }
}
