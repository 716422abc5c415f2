//! The reader's second look, with the kernel played by the test: who is behind a service's or a
//! node's address, who waits for that and how it ends, and what policies say of each connection.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use crossbeam_channel::{Receiver, Sender, bounded};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use webb::pipeline::{Commands, Counters, Item, Lane, Lanes, Lifecycle, Reader, ReaderState, Translations};
use webb::records::{RecordSource, Rings, Signal, Waker};
use webb_decode::Decoder;
use webb_decode::nat::{Connection, Conversation, NatUpdate, Peer, Translation};
use webb_decode::verdicts::Undecided;
use webb_flow::abi::{Record, VERSION, flag, kind};
use webb_flow::clock::Clock;
use webb_flow::fault::{Components, State};
use webb_flow::{Address, Direction, EndpointId, Event, Flow, L4, Reasons, Reply, Sort, Verdict};
use webb_index::filters::{FilterSpec, FlowFilter};
use webb_index::policy::spec::{PeerSpec, PolicySpec, PortMatch, PortSpec, RuleSpec, Selector, Subject};
use webb_index::policy::{Compiler, PolicyRevision};
use webb_index::{
    Draft, Endpoint, EndpointKind, EndpointSpec, Index, PodChanges, Policies, ServicePort, ServiceSpec, Services,
};
use webb_names::{Asks, asks};
use zerocopy::IntoBytes;

const NETFILTER: u32 = 8;
const CLIENT: &str = "10.0.1.1";
const BACKEND: &str = "10.0.2.1";
const GUARDED: &str = "10.0.1.9";
const SERVICE: &str = "10.96.0.1";
const NODE: &str = "172.18.0.2";
const OTHER_NODE: &str = "172.18.0.3";
const TO_POD: u8 = 1;
const FROM_POD: u8 = 0;
const SYN: u8 = 0x02;
const SYN_ACK: u8 = 0x12;
const RST: u8 = 0x14;
const SECOND: u64 = 1_000_000_000;

fn ip(text: &str) -> Address {
    text.parse::<IpAddr>().unwrap().into()
}

fn peer(address: &str, port: u16) -> Peer {
    (ip(address), port)
}

/// Two pods here, one elsewhere, both nodes, and a service. `guarded` lets the client in on port 80
/// and out only to the port 8080 of the backend, and both on port 5683 of UDP; the others are not
/// isolated.
fn index() -> Index {
    index_with(&[])
}

/// As above, with these pods as well, by name and address. One named `client` may reach `guarded`.
fn index_with(late: &[(&str, &str)]) -> Index {
    draft_with(late).publish(0, PodChanges::default())
}

fn draft_with(late: &[(&str, &str)]) -> Draft {
    let mut compiler = Compiler::default();
    let mut draft = Draft::default();
    let mut pod = |name: &str, local: bool, address: &str| {
        let spec = EndpointSpec { namespace: "a".into(), pod_name: name.into(), ..EndpointSpec::default() };
        let labels = [("name".to_owned(), name.to_owned())].into();
        let policy_subject = compiler.subject(Subject { namespace: "a".into(), labels, ports: vec![], vendor: false });
        let endpoint = Endpoint { policy_subject, ..Endpoint::new(EndpointKind::Pod, local, &spec) };
        let id = draft.add(if local { Sort::Local } else { Sort::Remote }, endpoint);
        draft.set(ip(address), Some(id), None);
    };
    pod("client", true, CLIENT);
    pod("guarded", true, GUARDED);
    pod("backend", false, BACKEND);
    for (name, address) in late {
        pod(name, true, address);
    }
    let nodes =
        [(EndpointKind::Host, "reserved:host", NODE), (EndpointKind::RemoteNode, "reserved:remote-node", OTHER_NODE)];
    for (kind, label, address) in nodes {
        let id = draft.add(Sort::Node, Endpoint::reserved(kind, 1, label));
        draft.set(ip(address), Some(id), None);
    }
    draft.set(ip(SERVICE), Some(EndpointId::new(Sort::Service, EndpointId::WORLD.row())), None);
    let named = |name: &str| {
        use webb_index::policy::spec::{Requirement, Test};
        Selector(vec![Requirement { key: "name".into(), test: Test::In(vec![name.into()]) }])
    };
    let rule = |name, port| RuleSpec {
        peers: vec![PeerSpec::Pods { namespaces: None, pods: Some(named(name)) }],
        ports: [(L4::Tcp, port), (L4::Udp, 5683)]
            .map(|(protocol, port)| PortSpec { protocol, port: PortMatch::Range(port, port) })
            .into(),
        unknown: false,
    };
    let policy = PolicySpec {
        namespace: "a".into(),
        name: "guard".into(),
        pods: named("guarded"),
        ingress: Some(vec![rule("client", 80)]),
        egress: Some(vec![rule("backend", 8080)]),
    };
    let service = ServiceSpec {
        namespace: "a".into(),
        name: "web".into(),
        addresses: vec![ip(SERVICE)],
        ports: vec![ServicePort { protocol: L4::Tcp, port: 80, node_port: 30080 }],
    };
    draft.set_policies(compiler.compile([&policy]));
    draft.set_networks(&["10.0.3.0/24".parse().unwrap()]);
    draft.set_services(Services::new(&[service]));
    draft
}

fn record(source: (&str, u16), destination: (&str, u16), tcp_flags: u8, hook: u8, flags: u8) -> Record {
    Record {
        version: VERSION,
        kind: if tcp_flags == SYN { kind::NEW } else { kind::FLAGS },
        length: 80,
        family: 4,
        protocol: 6,
        tcp_flags,
        source: ip(source.0).0,
        destination: ip(destination.0).0,
        source_port: source.1,
        destination_port: destination.1,
        hook,
        flags,
        packets: 1,
        bytes: 60,
        ..Record::default()
    }
}

/// The packet that opens a connection, as it leaves its pod.
fn leaves(source: (&str, u16), destination: (&str, u16)) -> Record {
    record(source, destination, SYN, FROM_POD, flag::EGRESS)
}

/// The same, as it enters the other pod.
fn enters(source: (&str, u16), destination: (&str, u16)) -> Record {
    record(source, destination, SYN, TO_POD, 0)
}

/// An answer, as it comes back to the pod that asked.
fn comes_back(source: (&str, u16), destination: (&str, u16), tcp_flags: u8) -> Record {
    record(source, destination, tcp_flags, TO_POD, flag::EGRESS | flag::REPLY)
}

/// An answer, as it leaves the pod that was asked.
fn goes_back(source: (&str, u16), destination: (&str, u16), tcp_flags: u8) -> Record {
    record(source, destination, tcp_flags, FROM_POD, flag::REPLY)
}

/// The kernel's record of a packet that an enforcer dropped.
fn drop_of(packet: Record) -> Record {
    Record { kind: kind::DROP, hook: 4, flags: 0, reason: NETFILTER, ..packet }
}

/// The record, as of so many seconds.
fn at(seconds: u64, record: Record) -> Record {
    Record { time_ns: seconds * SECOND, ..record }
}

/// From the client to the service, which the backend answers; masqueraded if `by_node`.
fn translation(client_port: u16, front: Peer, by_node: bool) -> Translation {
    let opened = Connection { source: peer(CLIENT, client_port), destination: front, protocol: L4::Tcp };
    let source = if by_node { peer(NODE, client_port + 1) } else { opened.source };
    Translation { opened, arrived: Connection { source, destination: peer(BACKEND, 8080), ..opened } }
}

#[derive(Clone, Default)]
struct Ring(Arc<Mutex<VecDeque<Record>>>);

impl RecordSource for Ring {
    fn wait(&mut self, patience: Duration) -> std::io::Result<()> {
        std::thread::sleep(patience.min(Duration::from_millis(1)));
        Ok(())
    }

    fn drain(&mut self, take: &mut dyn FnMut(Signal, &[u8]) -> ControlFlow<()>) -> usize {
        let mut drained = 0;
        loop {
            let Some(record) = self.0.lock().unwrap().pop_front() else { return drained };
            drained += 1;
            if take(Signal::Flow, record.as_bytes()).is_break() {
                return drained;
            }
        }
    }
}

impl Rings for Ring {
    fn open(&self, _: &Waker) -> std::io::Result<Box<dyn RecordSource>> {
        Ok(Box::new(self.clone()))
    }
}

/// Whether a metric asks for policy verdicts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    Yes,
    No,
}

/// A reader whose flows come out at `flows`.
struct Pipeline {
    index: Arc<ArcSwap<Index>>,
    ring: Ring,
    changes: Sender<NatUpdate>,
    queries: Receiver<Connection>,
    follower: Waker,
    flows: Receiver<Item>,
    counters: Arc<Counters>,
    clock_ns: Arc<AtomicU64>,
    lifecycle: Arc<Lifecycle>,
    reader: JoinHandle<()>,
}

fn pipeline(followed: bool, verdicts: Asked) -> Pipeline {
    pipeline_asking(followed, verdicts, None)
}

/// One that has a relay asked for names.
fn pipeline_asking(followed: bool, verdicts: Asked, asks: Option<Asks>) -> Pipeline {
    let components = Components::default();
    let component = components.component("sink");
    component.set_state(State::Up, "");
    let (lane, flows) = Lane::new(component);
    let lanes = Arc::new(Lanes::new(vec![Arc::new(lane)]));
    lanes.want_verdicts(verdicts == Asked::Yes);
    let (changes, told) = bounded(64);
    let (ask, queries) = bounded(64);
    let (follower, ring) = (Waker::new().unwrap(), Ring::default());
    let index = Arc::new(ArcSwap::from_pointee(index()));
    let (counters, clock_ns) = (Arc::new(Counters::default()), Arc::new(AtomicU64::new(0)));
    let (waker, translations) = (
        Waker::new().unwrap(),
        Translations {
            changes: told,
            ask: Some(ask),
            followed: Arc::new(AtomicBool::new(followed)),
            waker: Some(follower.clone()),
            most: 1000,
        },
    );
    let (_post, commands) = Commands::new(waker.clone());
    let reader = Reader {
        rings: Arc::new(ring.clone()),
        waker,
        lanes,
        commands,
        index: Arc::clone(&index),
        decoder: Arc::new(ArcSwapOption::from_pointee(Decoder::new(Reasons::new([(NETFILTER, "NETFILTER_DROP")])))),
        decoder_fault: Box::new(|text| panic!("{text}")),
        counters: Arc::clone(&counters),
        state: ReaderState::new(translations, Clock::by_hand(Arc::clone(&clock_ns)))
            .waiting_for_names(Duration::ZERO, asks),
    };
    let lifecycle = Arc::new(Lifecycle::new(components.component("reader")));
    let lifecycles = Arc::clone(&lifecycle);
    let reader = std::thread::Builder::new().spawn(move || reader.run(&lifecycles).unwrap()).unwrap();
    Pipeline { index, ring, changes, queries, follower, flows, counters, clock_ns, lifecycle, reader }
}

impl Pipeline {
    /// Returns once the reader has taken it, and so before it looks at any record that comes from
    /// now on.
    fn tell(&self, change: NatUpdate) {
        self.changes.send(change).unwrap();
        while !self.changes.is_empty() {
            std::thread::yield_now();
        }
    }

    fn send(&self, records: impl IntoIterator<Item = Record>) {
        self.ring.0.lock().unwrap().extend(records);
    }

    /// The next flows, so many; too few fail here.
    fn take(&self, count: usize) -> Vec<Flow> {
        let mut taken = Vec::new();
        while taken.len() < count {
            let Ok(Item::Batch(batch)) = self.flows.recv_timeout(Duration::from_secs(20)) else {
                panic!("{} of {count} flows came: {taken:?}", taken.len());
            };
            taken.extend_from_slice(&batch.flows);
        }
        assert_eq!(taken.len(), count, "{taken:?}");
        taken
    }

    /// The next flows, so many or more.
    fn take_any(&self, count: usize) {
        let mut taken = 0;
        while taken < count {
            let Ok(Item::Batch(batch)) = self.flows.recv_timeout(Duration::from_secs(20)) else {
                panic!("{taken} of {count} flows came");
            };
            taken += batch.flows.len();
        }
    }

    /// Waits until the reader rings, as the follower of connection tracking does.
    fn rung(&self) {
        let mut fds = [PollFd::new(&self.follower, PollFlags::IN)];
        assert_eq!(poll(&mut fds, Some(&Timespec { tv_sec: 20, tv_nsec: 0 })), Ok(1), "no wake-up came");
        self.follower.reset();
    }

    /// Names of both ends, and of the service of each.
    fn names(&self, flow: &Flow) -> [String; 4] {
        let end = |id| {
            let endpoint = *self.index.load().endpoint(id);
            if endpoint.pod.is_empty() { endpoint.reserved_identity } else { endpoint.pod }
        };
        let service = |id| self.index.load().services().name(id).qualified;
        [
            end(flow.source),
            end(flow.destination),
            service(flow.service.at_source()),
            service(flow.service.at_destination()),
        ]
        .map(|name| name.text().to_string())
    }

    /// Sets the clock, to this many seconds.
    fn at(&self, seconds: u64) {
        self.clock_ns.store(seconds * SECOND, Relaxed);
    }

    /// Sets the clock, and returns once the reader has seen it: what is sent from now on is read at
    /// that time. A first flow may be read in a turn that began before, a second one is not.
    fn is_at(&self, seconds: u64) {
        self.at(seconds);
        for _ in 0..2 {
            self.send([at(seconds, enters((CLIENT, 1), (GUARDED, 80)))]);
            self.take(1);
        }
    }

    fn undecided(&self, reason: Undecided) -> u64 {
        self.counters.undecided[reason as usize].load(Relaxed)
    }

    /// Waits until so many are undecided, for this reason and no other.
    fn becomes_undecided(&self, reason: Undecided, count: u64) {
        let began = Instant::now();
        while self.undecided(reason) < count {
            assert!(began.elapsed() < Duration::from_secs(20), "{} of {count} are undecided", self.undecided(reason));
            std::thread::yield_now();
        }
        assert_eq!(self.undecided_in_all(), count);
    }

    fn undecided_in_all(&self) -> u64 {
        self.counters.undecided.iter().map(|count| count.load(Relaxed)).sum()
    }

    fn lookups(&self) -> [u64; 3] {
        [0, 1, 2].map(|at| self.counters.lookups[at].load(Relaxed))
    }

    fn finish(self) {
        self.lifecycle.stop();
        self.reader.join().unwrap();
    }
}

/// To a service and back, by its own address and by a node's port: the pod behind it, and the
/// service at its own end. The server's side of a masqueraded connection gets the client back,
/// address and all.
#[test]
fn both_ends_are_named() {
    let pipeline = pipeline(false, Asked::No);
    let port = |front: &str, port, by_node| translation(4000, peer(front, port), by_node);
    for told in [port(SERVICE, 80, false), port(NODE, 30080, true)] {
        pipeline.tell(NatUpdate::Add(told));
        let (front, client) = ((told.opened.destination.0.ip().to_string(), told.opened.destination.1), (CLIENT, 4000));
        let front = (front.0.as_str(), front.1);
        pipeline.send([leaves(client, front), comes_back(front, client, SYN_ACK)]);
        let flows = pipeline.take(2);
        assert_eq!(pipeline.names(&flows[0]), ["a/client", "a/backend", "", "a/web"]);
        assert_eq!(pipeline.names(&flows[1]), ["a/backend", "a/client", "a/web", ""]);
        assert_eq!(flows[0].destination_ip, ip(front.0), "the packet's own address");
        let to = FilterSpec { destination_service: vec!["a/we".into()], ..FilterSpec::default() };
        let from = FilterSpec { source_service: vec!["a/".into()], ..FilterSpec::default() };
        let fits = |spec| {
            let filter = FlowFilter::new(spec).unwrap();
            [0, 1].map(|at| filter.matches(&flows[at], None, &pipeline.index.load()))
        };
        assert_eq!((fits(to), fits(from)), ([true, false], [false, true]), "filters see it at its own end");
    }
    pipeline.send([
        enters((NODE, 4001), (BACKEND, 8080)),
        record((BACKEND, 8080), (NODE, 4001), SYN_ACK, FROM_POD, flag::REPLY),
        // An address that a service has, on a port that it has not.
        leaves((CLIENT, 4000), (SERVICE, 81)),
        // Another node's port: who answers is known there alone.
        leaves((CLIENT, 4000), (OTHER_NODE, 30080)),
    ]);
    let flows = pipeline.take(4);
    assert_eq!(pipeline.names(&flows[0]), ["a/client", "a/backend", "", ""]);
    assert_eq!(pipeline.names(&flows[1]), ["a/backend", "a/client", "", ""]);
    assert_eq!((flows[0].source_ip, flows[1].destination_ip), (ip(CLIENT), ip(CLIENT)));
    assert_eq!(pipeline.names(&flows[2]), ["a/client", "reserved:world", "", ""]);
    assert_eq!(pipeline.names(&flows[3]), ["a/client", "reserved:remote-node", "", "a/web"]);
    assert_eq!(pipeline.lookups(), [6, 0, 1]);
    pipeline.finish();
}

/// A record that is read before its translation is told waits for that, and the rest goes by
/// meanwhile.
#[test]
fn a_flow_waits_for_its_translation() {
    let pipeline = pipeline(true, Asked::No);
    pipeline.send([leaves((CLIENT, 4000), (SERVICE, 80)), leaves((CLIENT, 4000), (BACKEND, 8080))]);
    assert_eq!(pipeline.names(&pipeline.take(1)[0]), ["a/client", "a/backend", "", ""], "no service, no wait");
    pipeline.changes.send(NatUpdate::Add(translation(4000, peer(SERVICE, 80), false))).unwrap();
    assert_eq!(pipeline.names(&pipeline.take(1)[0]), ["a/client", "a/backend", "", "a/web"]);
    assert_eq!(pipeline.lookups(), [0, 1, 0]);
    pipeline.finish();
}

/// A flow that waits for an event that never happened goes on once all events are read: a
/// service's flow named by its service, a node's as it was.
#[test]
fn who_hears_nothing_goes_on() {
    let pipeline = pipeline(true, Asked::No);
    pipeline.send([leaves((CLIENT, 4000), (SERVICE, 80)), enters((NODE, 5000), (CLIENT, 8080))]);
    pipeline.rung();
    pipeline.changes.send(NatUpdate::Flushed).unwrap();
    let flows = pipeline.take(2);
    assert_eq!(pipeline.names(&flows[0]), ["a/client", "reserved:world", "", "a/web"]);
    assert_eq!(pipeline.names(&flows[1]), ["reserved:host", "a/client", "", ""]);
    assert_eq!(pipeline.lookups(), [0, 0, 1]);
    pipeline.finish();
}

/// The follower does not answer, and the reader is stopped: what waits is handed on, not lost.
#[test]
fn nothing_waits_beyond_the_end() {
    let pipeline = pipeline(true, Asked::No);
    pipeline.send((0..600).map(|port| leaves((CLIENT, 4000 + port), (SERVICE, 80))));
    while !pipeline.ring.0.lock().unwrap().is_empty() {
        std::thread::yield_now();
    }
    pipeline.lifecycle.stop();
    assert_eq!(pipeline.take(600).len(), 600);
    let Pipeline { reader, .. } = pipeline;
    reader.join().unwrap();
}

/// A follower that is held up does not hold flows up for ever.
#[test]
fn patience_ends() {
    let pipeline = pipeline(true, Asked::No);
    let began = Instant::now();
    pipeline.send([leaves((CLIENT, 4000), (SERVICE, 80))]);
    assert_eq!(pipeline.names(&pipeline.take(1)[0])[3], "a/web");
    assert!(began.elapsed() >= Duration::from_millis(250), "it should have waited");
    pipeline.finish();
}

/// Fields of a verdict: direction, verdict, Hubble's number of the match, and the policy that
/// decided.
fn ruling(pipeline: &Pipeline, flow: &Flow) -> (Direction, Verdict, u8, Option<String>) {
    assert_eq!((flow.event, flow.packets, flow.bytes), (Event::PolicyVerdict, 0, 0));
    let policy = flow.ruling.policy().and_then(|row| pipeline.index.load().policies().name(row));
    (flow.direction, flow.verdict, flow.ruling.matched(), policy.map(|policy| policy.name.text().to_string()))
}

/// Each connection is judged where its packet enters or leaves its pod, by that pod's policies.
#[test]
fn verdicts_at_once() {
    use Direction::{Egress, Ingress};
    use Verdict::Forwarded;
    let pipeline = pipeline(false, Asked::Yes);
    let guard = || Some("guard".to_owned());
    let cases = [
        (leaves((CLIENT, 1), (GUARDED, 80)), (Egress, Forwarded, 4, None)),
        (enters((CLIENT, 1), (GUARDED, 80)), (Ingress, Forwarded, 2, guard())),
        (leaves((GUARDED, 1), (BACKEND, 8080)), (Egress, Forwarded, 2, guard())),
        (enters((BACKEND, 1), (CLIENT, 80)), (Ingress, Forwarded, 4, None)),
    ];
    for (record, expected) in cases {
        pipeline.send([record]);
        let flows = pipeline.take(2);
        assert_eq!(flows[0].event, Event::Trace);
        assert_eq!(ruling(&pipeline, &flows[1]), expected, "{:?}", pipeline.names(&flows[0]));
        assert_eq!((flows[1].source, flows[1].destination), (flows[0].source, flows[0].destination));
        assert_eq!(flows[1].reply, Reply::No);
    }
    // Neither the second packet of a connection nor one that was picked up midway is judged.
    pipeline.send([
        record((CLIENT, 1), (GUARDED, 80), 0x18, TO_POD, 0),
        Record { kind: kind::NEW, ..record((CLIENT, 1), (GUARDED, 80), 0x18, TO_POD, flag::GUESSED) },
    ]);
    assert!(pipeline.take(2).iter().all(|flow| flow.event == Event::Trace));
    pipeline.finish();
    let pipeline = self::pipeline(false, Asked::No);
    pipeline.send([leaves((CLIENT, 1), (GUARDED, 80))]);
    assert_eq!(pipeline.take(1)[0].event, Event::Trace, "no metric asks for verdicts");
    pipeline.finish();
}

/// A connection with forbidden egress waits for a sign: an answer is an audit, once; a drop is a
/// drop, each time; a forged reset of the other side is no sign.
#[test]
fn verdicts_that_wait() {
    use Direction::Egress;
    let pipeline = pipeline(false, Asked::Yes);
    let guard = Some("guard".to_owned());
    let (pod, world) = ((GUARDED, 1), ("8.8.8.8", 443));
    pipeline.send([leaves(pod, world)]);
    assert_eq!(pipeline.take(1)[0].event, Event::Trace, "not known yet");
    pipeline.send([comes_back(world, pod, RST)]);
    assert_eq!(pipeline.take(1)[0].event, Event::Trace, "anybody may have sent that");
    pipeline.send([comes_back(world, pod, SYN_ACK)]);
    let flows = pipeline.take(2);
    assert_eq!(ruling(&pipeline, &flows[1]), (Egress, Verdict::Audit, 0, guard.clone()));
    assert_eq!((flows[1].source, flows[1].source_port, flows[1].destination_port), (flows[0].destination, 1, 443));
    assert!(flows[1].tcp_flags.has(u16::from(SYN)) && !flows[1].tcp_flags.has(u16::from(SYN_ACK)));
    pipeline.send([comes_back(world, pod, 0x18)]);
    assert_eq!(pipeline.take(1).len(), 1, "once only");

    let other = ("8.8.4.4", 443);
    pipeline.send([
        leaves(pod, other),
        drop_of(leaves(pod, other)),
        drop_of(leaves(pod, other)),
        comes_back(other, pod, SYN_ACK),
    ]);
    let flows = pipeline.take(6);
    let events: Vec<_> = flows.iter().map(|flow| flow.event).collect();
    let pair = [Event::Drop, Event::PolicyVerdict];
    assert_eq!(events, [&[Event::Trace][..], &pair, &pair, &[Event::Trace]].concat());
    assert_eq!(ruling(&pipeline, &flows[2]), (Egress, Verdict::Dropped, 0, guard));
    assert_eq!((flows[2].reason, flows[2].reply), (flows[1].reason, Reply::Unknown));
    assert_eq!(pipeline.undecided_in_all(), 0);
    pipeline.finish();
}

/// Policies speak of the pods behind a service: with the backend known its port counts, and without
/// it the verdict is not known.
#[test]
fn verdicts_through_a_service() {
    let pipeline = pipeline(false, Asked::Yes);
    let opened = Connection { source: peer(GUARDED, 1), destination: peer(SERVICE, 80), protocol: L4::Tcp };
    pipeline.tell(NatUpdate::Add(Translation {
        opened,
        arrived: Connection { destination: peer(BACKEND, 8080), ..opened },
    }));
    pipeline.send([leaves((GUARDED, 1), (SERVICE, 80))]);
    let flows = pipeline.take(2);
    assert_eq!(ruling(&pipeline, &flows[1]).1, Verdict::Forwarded, "by the rule for the backend's port");
    assert_eq!(pipeline.names(&flows[1]), ["a/guarded", "a/backend", "", "a/web"]);
    assert_eq!((flows[1].destination_ip, flows[1].destination_port), (ip(SERVICE), 80));

    // Not known when it leaves, known when it is answered.
    pipeline.send([leaves((GUARDED, 2), (SERVICE, 80))]);
    assert_eq!(pipeline.take(1)[0].event, Event::Trace);
    let opened = Connection { source: peer(GUARDED, 2), ..opened };
    pipeline
        .tell(NatUpdate::Add(Translation { opened, arrived: Connection { destination: peer(BACKEND, 80), ..opened } }));
    pipeline.send([comes_back((SERVICE, 80), (GUARDED, 2), SYN_ACK)]);
    let flows = pipeline.take(2);
    assert_eq!(ruling(&pipeline, &flows[1]).1, Verdict::Audit, "the backend's port is another");
    assert_eq!(pipeline.names(&flows[1]), ["a/guarded", "a/backend", "", "a/web"]);

    // Answered, and still not known.
    pipeline.send([leaves((GUARDED, 3), (SERVICE, 80)), comes_back((SERVICE, 80), (GUARDED, 3), SYN_ACK)]);
    assert!(pipeline.take(2).iter().all(|flow| flow.event == Event::Trace));
    pipeline.becomes_undecided(Undecided::Backend, 1);
    pipeline.finish();
}

/// A connection whose drop is seen is denied and nothing more, in whichever order the two are read:
/// sent to a pod, or to a service, where it is dropped at the backend's address before connection
/// tracking tells of it.
#[test]
fn a_drop_settles_it() {
    let pipeline = pipeline(false, Asked::Yes);
    let (service, backend) = ((SERVICE, 80), (BACKEND, 80));
    for (port, to) in [(1, backend), (3, service)] {
        let pod = (GUARDED, port);
        pipeline.send([leaves(pod, to), drop_of(leaves(pod, backend))]);
        assert_eq!(ruling(&pipeline, &pipeline.take(3)[2]).1, Verdict::Dropped);
        // The other way round, as when the flow waited for a name.
        let pod = (GUARDED, port + 1);
        pipeline.send([drop_of(leaves(pod, backend)), leaves(pod, to)]);
        assert_eq!(pipeline.take(3).iter().filter(|flow| flow.event == Event::PolicyVerdict).count(), 1);
    }
    pipeline.at(61);
    // A connection of the next turn: the clock has been looked at when its verdict comes.
    pipeline.send([at(61, enters((CLIENT, 1), (GUARDED, 80)))]);
    pipeline.take(2);
    pipeline.send([at(61, enters((CLIENT, 2), (GUARDED, 80)))]);
    pipeline.take(2);
    assert_eq!(pipeline.undecided_in_all(), 0);
    pipeline.finish();
}

/// At the hook of its own pod a packet has not been delivered: an enforcer may sit behind. The
/// pod's answer says that it was, and a refusal is an answer there; a drop says that it was not.
#[test]
fn verdicts_at_the_receiver_wait() {
    use Direction::Ingress;
    let pipeline = pipeline(false, Asked::Yes);
    let guard = Some("guard".to_owned());
    for (port, tcp_flags) in [(1, SYN_ACK), (2, RST)] {
        let (client, server) = ((CLIENT, port), (GUARDED, 81));
        pipeline.send([enters(client, server)]);
        assert_eq!(pipeline.take(1)[0].event, Event::Trace, "not known yet");
        pipeline.send([goes_back(server, client, tcp_flags)]);
        let flows = pipeline.take(2);
        assert_eq!(ruling(&pipeline, &flows[1]), (Ingress, Verdict::Audit, 0, guard.clone()));
        assert_eq!(pipeline.names(&flows[1])[..2], ["a/client", "a/guarded"]);
    }
    let (client, server) = ((BACKEND, 3), (GUARDED, 80));
    pipeline.send([enters(client, server), drop_of(enters(client, server)), goes_back(server, client, SYN_ACK)]);
    let flows = pipeline.take(4);
    assert_eq!(ruling(&pipeline, &flows[2]), (Ingress, Verdict::Dropped, 0, guard));
    assert_eq!(flows[3].event, Event::Trace);
    pipeline.finish();
}

/// Nothing is heard: after a minute by the clock the connection is undecided, whether or not others
/// come, and an answer that comes later is no verdict.
#[test]
fn a_minute_ends_the_wait() {
    let pipeline = pipeline(false, Asked::Yes);
    let (pod, world) = ((GUARDED, 1), ("8.8.8.8", 443));
    pipeline.at(100);
    pipeline.send([at(100, enters((CLIENT, 9), (GUARDED, 80)))]);
    pipeline.take(2);
    pipeline.send([at(100, leaves(pod, world))]);
    pipeline.take(1);
    pipeline.at(159);
    for port in [1, 2] {
        pipeline.send([at(159, enters((CLIENT, port), (GUARDED, 80)))]);
        pipeline.take(2);
    }
    assert_eq!(pipeline.undecided_in_all(), 0);
    pipeline.at(160);
    pipeline.becomes_undecided(Undecided::Unanswered, 1);
    // The reader was held up: the clock stands still for it, and the records say what happened
    // when.
    let late = (GUARDED, 2);
    pipeline.send([at(160, leaves(late, world)), at(221, comes_back(world, late, SYN_ACK))]);
    assert!(pipeline.take(2).iter().all(|flow| flow.event == Event::Trace), "a minute too late");
    pipeline.becomes_undecided(Undecided::Unanswered, 2);
    pipeline.finish();
}

/// More connections without an answer than may wait do not keep a real one from its verdict.
#[test]
fn the_oldest_makes_room() {
    const MOST: u16 = 16_384;
    let pipeline = pipeline(false, Asked::Yes);
    for ports in (1..=MOST + 100).collect::<Vec<_>>().chunks(100) {
        pipeline.send(ports.iter().map(|port| leaves((GUARDED, *port), ("8.8.8.8", 443))));
        pipeline.take_any(ports.len());
    }
    pipeline.becomes_undecided(Undecided::Evicted, 100);
    let (pod, world) = ((GUARDED, 40_000), ("8.8.4.4", 443));
    pipeline.send([leaves(pod, world), comes_back(world, pod, SYN_ACK)]);
    assert_eq!(ruling(&pipeline, &pipeline.take(3)[2]).1, Verdict::Audit);
    pipeline.becomes_undecided(Undecided::Evicted, 101);
    pipeline.finish();
}

/// A datagram between two ports that say nothing.
fn datagram(record: Record) -> Record {
    Record { kind: kind::NEW, protocol: 17, tcp_flags: 0, ..record }
}

/// Whether a datagram opens a conversation or answers one that is older than all that is remembered
/// here, connection tracking knows: only what opens one is judged. Without an answer, what policies
/// forbid is undecided.
#[test]
fn datagrams_are_asked_about() {
    use Direction::{Egress, Ingress};
    let (server, client) = ((CLIENT, 5683), (GUARDED, 40_000));
    let pushes = |pipeline: &Pipeline| {
        pipeline.send([datagram(leaves(server, client)), datagram(enters(server, client))]);
        assert!(pipeline.take(2).iter().all(|flow| flow.event == Event::Trace), "flows do not wait");
        [0, 1].map(|_| pipeline.queries.recv_timeout(Duration::from_secs(20)).unwrap())
    };
    let pipeline = pipeline(true, Asked::Yes);
    let asked = Connection { source: (ip(CLIENT), 5683), destination: (ip(GUARDED), 40_000), protocol: L4::Udp };
    for conversation in [Conversation::Reply, Conversation::Older] {
        assert_eq!(pushes(&pipeline), [asked; 2]);
        for _ in 0..2 {
            pipeline.tell(NatUpdate::Answer(asked, conversation));
        }
    }
    // Had they been judged, verdicts would come before these two.
    assert_eq!(pushes(&pipeline), [asked; 2]);
    pipeline.tell(NatUpdate::Answer(asked, Conversation::New));
    let forwarded = pipeline.take(1);
    assert_eq!(ruling(&pipeline, &forwarded[0]), (Egress, Verdict::Forwarded, 4, None));
    pipeline.tell(NatUpdate::Answer(asked, Conversation::New));
    pipeline.send([Record { protocol: 17, tcp_flags: 0, ..goes_back(client, server, 0) }]);
    let flows = pipeline.take(2);
    assert_eq!(ruling(&pipeline, &flows[1]), (Ingress, Verdict::Audit, 0, Some("guard".to_owned())));
    assert_eq!(pipeline.undecided_in_all(), 0);

    // The pod's answer may come before that of connection tracking.
    pushes(&pipeline);
    pipeline.send([Record { protocol: 17, tcp_flags: 0, ..goes_back(client, server, 0) }]);
    assert_eq!(pipeline.take(1)[0].event, Event::Trace);
    for expected in [Verdict::Forwarded, Verdict::Audit] {
        pipeline.tell(NatUpdate::Answer(asked, Conversation::New));
        assert_eq!(ruling(&pipeline, &pipeline.take(1)[0]).1, expected);
    }

    // Ports that tell are not asked about: a well-known one is the server's.
    pipeline.send([datagram(enters((CLIENT, 40_000), (GUARDED, 53)))]);
    pipeline.take(1);
    assert!(pipeline.queries.is_empty());

    // No answer comes in time.
    pushes(&pipeline);
    assert_eq!(ruling(&pipeline, &pipeline.take(1)[0]).1, Verdict::Forwarded);
    pipeline.becomes_undecided(Undecided::Untracked, 1);
    pipeline.finish();
}

/// A dropped datagram is denied if it opened the conversation that policies forbid, and not if it
/// answers one.
#[test]
fn dropped_datagrams_are_asked_about() {
    let pipeline = pipeline(true, Asked::Yes);
    let (server, client) = ((GUARDED, 5683), (CLIENT, 40_000));
    for (conversation, reason, verdicts) in
        [(Conversation::Reply, "NETFILTER_DROP", 0), (Conversation::New, "POLICY_DENIED", 1)]
    {
        pipeline.send([drop_of(datagram(leaves(server, client)))]);
        let asked = pipeline.queries.recv_timeout(Duration::from_secs(20)).unwrap();
        pipeline.tell(NatUpdate::Answer(asked, conversation));
        let flows = pipeline.take(1 + verdicts);
        assert_eq!(&*flows[0].reason.0.text(), reason);
        assert!(flows[1..].iter().all(|flow| ruling(&pipeline, flow).1 == Verdict::Dropped));
    }
    pipeline.finish();
}

/// A relay is asked for an address without a name: of an end, and of the pod behind a Service,
/// which no packet shows. The flow waits for it either way, and goes on without it after some
/// seconds.
#[test]
fn a_relay_is_asked_for_names() {
    let (asks, mut asked) = asks();
    let full = asks.clone();
    let pipeline = pipeline_asking(true, Asked::No, Some(asks));
    pipeline.at(100);
    let (behind, end) = ("10.0.3.7", "10.0.3.8");
    let front = peer(SERVICE, 80);
    let opened = Connection { source: peer(CLIENT, 4000), destination: front, protocol: L4::Tcp };
    let arrived = Connection { destination: peer(behind, 8080), ..opened };
    pipeline.tell(NatUpdate::Add(Translation { opened, arrived }));
    pipeline.send([at(100, leaves((CLIENT, 4000), (SERVICE, 80))), at(100, enters((CLIENT, 1), (GUARDED, 80)))]);
    assert_eq!(pipeline.names(&pipeline.take(1)[0])[1], "a/guarded", "the other one waits");
    assert_eq!(asked.blocking_recv(), Some(ip(behind).ip()));
    pipeline.index.store(Arc::new(index_with(&[("late", behind)])));
    assert_eq!(pipeline.names(&pipeline.take(1)[0]), ["a/client", "a/late", "", "a/web"]);

    // Other flows of the address wait for the same answer: the next ask is for another one.
    pipeline.send([4001, 4003, 4004].map(|port| at(100, leaves((CLIENT, port), (end, 80)))));
    assert_eq!(asked.blocking_recv(), Some(ip(end).ip()));
    pipeline.at(103);
    for flow in pipeline.take(3) {
        assert_eq!(pipeline.names(&flow)[1], "reserved:unknown");
    }

    // The same behind the Service: without an answer the Service alone is named, and at once from
    // then on.
    let opened = Connection { source: peer(CLIENT, 4002), ..opened };
    pipeline.tell(NatUpdate::Add(Translation {
        opened,
        arrived: Connection { destination: peer("10.0.3.9", 8080), ..opened },
    }));
    pipeline.send([at(103, leaves((CLIENT, 4002), (SERVICE, 80)))]);
    assert_eq!(asked.blocking_recv(), Some(ip("10.0.3.9").ip()));
    pipeline.at(106);
    assert_eq!(pipeline.names(&pipeline.take(1)[0]), ["a/client", "reserved:unknown", "", "a/web"]);
    pipeline.send([at(106, leaves((CLIENT, 4002), (SERVICE, 80)))]);
    assert_eq!(pipeline.names(&pipeline.take(1)[0])[3], "a/web");
    assert!(asked.try_recv().is_err(), "it is not asked for again");

    // An ask that had no room is repeated with the next flow.
    while full.ask(ip(behind).ip()) {}
    let refused = full.refused();
    pipeline.send([at(106, leaves((CLIENT, 4005), ("10.0.3.10", 80)))]);
    let began = Instant::now();
    while full.refused() == refused {
        assert!(began.elapsed() < Duration::from_secs(20), "it is never asked for");
        std::thread::sleep(Duration::from_millis(1));
    }
    while asked.try_recv().is_ok() {}
    pipeline.send([at(106, leaves((CLIENT, 4006), ("10.0.3.10", 80)))]);
    assert_eq!(asked.blocking_recv(), Some(ip("10.0.3.10").ip()));
    pipeline.finish();
}

/// A translation that arrives late has the address behind the Service: the relay is asked for the
/// name then, and the flow waits for it.
#[test]
fn a_late_backend_is_asked_for() {
    let (asks, mut asked) = asks();
    let pipeline = pipeline_asking(true, Asked::No, Some(asks));
    pipeline.at(100);
    let behind = "10.0.3.7";
    pipeline.send([at(100, leaves((CLIENT, 4000), (SERVICE, 80))), at(100, enters((CLIENT, 1), (GUARDED, 80)))]);
    assert_eq!(pipeline.names(&pipeline.take(1)[0])[1], "a/guarded", "the other one waits");
    let opened = Connection { source: peer(CLIENT, 4000), destination: peer(SERVICE, 80), protocol: L4::Tcp };
    let arrived = Connection { destination: peer(behind, 8080), ..opened };
    pipeline.changes.send(NatUpdate::Add(Translation { opened, arrived })).unwrap();
    let began = Instant::now();
    while asked.is_empty() {
        assert!(began.elapsed() < Duration::from_mins(1), "it is never asked for");
        assert!(pipeline.flows.is_empty(), "it does not wait");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(asked.blocking_recv(), Some(ip(behind).ip()));
    pipeline.index.store(Arc::new(index_with(&[("late", behind)])));
    assert_eq!(pipeline.names(&pipeline.take(1)[0]), ["a/client", "a/late", "", "a/web"]);
    pipeline.finish();
}

/// A flow that has waited for its source waits for the pod behind its Service within the same
/// seconds, and is counted once.
#[test]
fn names_are_waited_for_once() {
    let (asks, mut asked) = asks();
    let pipeline = pipeline_asking(true, Asked::No, Some(asks));
    pipeline.at(100);
    let (client, behind) = ("10.0.3.20", "10.0.3.7");
    let opened = Connection { source: peer(client, 4000), destination: peer(SERVICE, 80), protocol: L4::Tcp };
    let arrived = Connection { destination: peer(behind, 8080), ..opened };
    pipeline.tell(NatUpdate::Add(Translation { opened, arrived }));
    pipeline.send([at(100, leaves((client, 4000), (SERVICE, 80)))]);
    assert_eq!(asked.blocking_recv(), Some(ip(client).ip()));
    // A younger one must not keep it.
    pipeline.is_at(102);
    pipeline.send([at(102, leaves((CLIENT, 4001), ("10.0.3.8", 80)))]);
    assert_eq!(asked.blocking_recv(), Some(ip("10.0.3.8").ip()));
    pipeline.index.store(Arc::new(index_with(&[("late", client)])));
    assert_eq!(asked.blocking_recv(), Some(ip(behind).ip()));
    pipeline.at(103);
    assert_eq!(pipeline.names(&pipeline.take(1)[0]), ["a/late", "reserved:unknown", "", "a/web"]);
    pipeline.at(105);
    assert_eq!(pipeline.names(&pipeline.take(1)[0])[1], "reserved:unknown");
    let waits = || [0, 1, 2].map(|at| pipeline.counters.name_waits[at].load(Relaxed));
    let began = Instant::now();
    while waits() != [0, 2, 0] {
        assert!(began.elapsed() < Duration::from_mins(1), "{:?}", waits());
        std::thread::sleep(Duration::from_millis(1));
    }
    pipeline.finish();
}

/// A pod that is not listed yet talks: its flows wait for its name, and get it with the index that
/// has it. Who gets no name within some seconds is unknown, never the world, and nothing is said of
/// policies that might allow it; then the address is not waited for again.
#[test]
fn a_flow_waits_for_its_name() {
    let pipeline = pipeline(false, Asked::Yes);
    pipeline.at(100);
    let (late, never) = (("10.0.3.1", 1), ("10.0.3.2", 1));
    let known = || enters((CLIENT, 1), (GUARDED, 80));
    // The known one comes first, though it was seen last.
    pipeline.send([at(100, enters(late, (GUARDED, 80))), at(100, known())]);
    assert_eq!(pipeline.names(&pipeline.take(2)[0])[0], "a/client");
    pipeline.index.store(Arc::new(index_with(&[("client", late.0)])));
    let flows = pipeline.take(2);
    assert_eq!((pipeline.names(&flows[0])[0].as_str(), flows[0].source_ip), ("a/client", ip(late.0)));
    assert_eq!(ruling(&pipeline, &flows[1]).1, Verdict::Forwarded);

    pipeline.send([at(100, enters(never, (GUARDED, 80))), at(100, known())]);
    pipeline.take(2);
    assert_eq!(pipeline.undecided_in_all(), 0);
    assert_eq!(pipeline.counters.waiting_for_names.load(Relaxed), 1);
    pipeline.at(103);
    let flows = pipeline.take(1);
    assert_eq!(pipeline.counters.waiting_for_names.load(Relaxed), 0);
    assert_eq!(pipeline.names(&flows[0])[..2], ["reserved:unknown", "a/guarded"]);
    pipeline.becomes_undecided(Undecided::Unnamed, 1);
    pipeline.send([at(103, enters(never, (GUARDED, 80)))]);
    assert_eq!(pipeline.names(&pipeline.take(1)[0])[0], "reserved:unknown", "at once");
    // Behind a pod's own interface whatever has no name is a pod's too.
    pipeline.send([at(103, leaves(("172.31.0.1", 1), (BACKEND, 8080)))]);
    pipeline.send([at(103, known())]);
    pipeline.take(2);
    pipeline.at(106);
    assert_eq!(pipeline.names(&pipeline.take(1)[0])[0], "reserved:unknown");
    let outcomes = [0, 1, 2].map(|at| pipeline.counters.name_waits[at].load(Relaxed));
    assert_eq!(outcomes, [1, 3, 0]);
    pipeline.finish();
}

/// A drop is judged when its ends have names: an unlisted pod that policies turn out to forbid was
/// denied. Of one that stays unknown, what policies might allow was dropped for what the kernel
/// says, and what they allow to no pod was denied.
#[test]
fn a_drop_waits_for_its_name() {
    let pipeline = pipeline(false, Asked::Yes);
    pipeline.at(100);
    let dropped = |port| drop_of(enters(("10.0.3.1", 1), (GUARDED, port)));
    let known = || enters((CLIENT, 1), (GUARDED, 80));
    let reason = |flow: &Flow| (flow.reason.0.text().to_string(), pipeline.names(flow)[0].clone());
    let of = |reason: &str, name: &str| (reason.to_owned(), name.to_owned());
    pipeline.send([at(100, dropped(80)), at(100, dropped(81)), at(100, known())]);
    pipeline.take(2);
    pipeline.at(103);
    let flows = pipeline.take(3);
    assert_eq!(reason(&flows[0]), of("NETFILTER_DROP", "reserved:unknown"));
    assert_eq!(reason(&flows[1]), of("POLICY_DENIED", "reserved:unknown"));
    assert_eq!(ruling(&pipeline, &flows[2]).1, Verdict::Dropped);
    pipeline.at(200);
    pipeline.send([at(200, known())]);
    pipeline.take(2);
    pipeline.send([at(200, dropped(80)), at(200, known())]);
    pipeline.take(2);
    pipeline.index.store(Arc::new(index_with(&[("other", "10.0.3.1")])));
    let flows = pipeline.take(2);
    assert_eq!(reason(&flows[0]), of("POLICY_DENIED", "a/other"));
    assert_eq!(ruling(&pipeline, &flows[1]).1, Verdict::Dropped);
    assert_eq!(pipeline.undecided_in_all(), 0);
    pipeline.finish();
}

/// A connection that policies allow to no pod is forbidden to an unknown peer too: passed, that is
/// an audit.
#[test]
fn an_unknown_peer_is_forbidden_what_all_are() {
    let pipeline = pipeline(false, Asked::Yes);
    pipeline.at(100);
    let never = ("10.0.3.2", 1);
    let known = || enters((CLIENT, 1), (GUARDED, 80));
    pipeline.send([at(100, enters(never, (GUARDED, 81))), at(100, known())]);
    pipeline.take(2);
    pipeline.at(103);
    assert_eq!(pipeline.names(&pipeline.take(1)[0])[0], "reserved:unknown");
    pipeline.send([at(103, goes_back((GUARDED, 81), never, SYN_ACK))]);
    let flows = pipeline.take(2);
    assert_eq!(ruling(&pipeline, &flows[1]), (Direction::Ingress, Verdict::Audit, 0, Some("guard".to_owned())));
    assert_eq!(pipeline.undecided_in_all(), 0);
    pipeline.finish();
}

/// A drop that the old policies forbid waits while newer ones are compiled, and is a denial only if
/// these forbid it too. Nothing waits for what they allowed.
#[test]
fn a_drop_waits_for_changed_policies() {
    let pipeline = pipeline(false, Asked::Yes);
    let (counted, mut draft) = (PolicyRevision::default(), draft_with(&[]));
    let mut publish = |policies: Option<Policies>| {
        draft.set_policy_revision(counted.clone(), counted.current());
        if let Some(policies) = policies {
            draft.set_policies(policies);
        }
        pipeline.index.store(Arc::new(draft.publish(0, PodChanges::default())));
    };
    let forbidden = |port| at(1, drop_of(leaves((GUARDED, port), (BACKEND, 81))));
    let allowed = |port| at(1, drop_of(leaves((CLIENT, port), (BACKEND, 81))));
    publish(None);
    for (turn, policies, reason, verdicts) in
        [(1, None, "POLICY_DENIED", 1), (2, Some(Policies::default()), "NETFILTER_DROP", 0)]
    {
        // A batch that was begun with the old index is out of the way.
        pipeline.send([allowed(turn)]);
        pipeline.take(1);
        counted.advance();
        pipeline.send([forbidden(10 + turn), allowed(20 + turn)]);
        let first = pipeline.take(1);
        assert_eq!(first[0].source_port, 20 + turn, "the other one waits");
        publish(policies);
        let flows = pipeline.take(1 + verdicts);
        assert_eq!((flows[0].source_port, &*flows[0].reason.0.text().to_string()), (10 + turn, reason));
        assert!(flows[1..].iter().all(|flow| flow.verdict == Verdict::Dropped && flow.event == Event::PolicyVerdict));
    }
    assert_eq!(pipeline.undecided_in_all(), 0);
    pipeline.finish();
}
