//! Bytes of a row on the wire, of nodes whose rows are like those of a cluster with 300 workloads.
//!
//! `make clickhouse` says where to leave the rows, and measures what they take in a store.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may end where it is wrong")]
#![allow(clippy::print_stdout, reason = "its figures are in docs/rollups.md")]

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::IpAddr;
use std::sync::Arc;

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use prost::Message as _;
use webb_flow::extra::{Http, L7, L7Kind, L7Record};
use webb_flow::sym::Sym;
use webb_flow::{
    Address, ConnectionEvent, Direction, EndpointId, Event, Extra, ExtraId, Flow, L4, Reply, Sort, Verdict,
};
use webb_index::{Draft, Endpoint, EndpointKind, EndpointSpec, Flows, Index, PodChanges, Workload, ZoneSpec, Zones};
use webb_otlp::{Attributes, Encoding, RequestBuilder, Stream};
use webb_rollup::{Encoder, Rollups, Settings, Window};

const WORKLOADS: u32 = 300;
/// Pairs that a node sees.
const PAIRS: usize = 500;
/// Records of a full request.
const REQUEST: u32 = 4000;

/// Numbers that are the same in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    /// A number of this size: from half of it to thrice as much.
    fn about(&mut self, size: u64) -> u64 {
        size / 2 + self.below(size * 2 + 1)
    }
}

/// A pair of workloads at a node.
struct Pair {
    flow: Flow,
    connections: u64,
    bytes: [u64; 2],
    handshake_ns: u64,
    has_http: bool,
}

/// A node with its pairs.
struct Node {
    name: String,
    index: Arc<Index>,
    pairs: Vec<Pair>,
    rollups: Rollups,
    encoder: Encoder,
    dice: Dice,
}

fn endpoint(number: u32, node: &str, is_local: bool) -> Endpoint {
    let workloads = vec![Workload { name: format!("workload-{number}"), kind: "Deployment".into() }];
    let namespace = format!("team-{}", number % 40);
    let spec = EndpointSpec { namespace, pod_name: format!("pod-{number}"), workloads, ..EndpointSpec::default() };
    Endpoint { node: Sym::new(node), ..Endpoint::new(EndpointKind::Pod, is_local, &spec) }
}

impl Node {
    fn new(number: u64) -> Self {
        let (mut draft, mut dice) = (Draft::default(), Dice(number));
        let name = format!("node-{number}");
        let local: Vec<EndpointId> =
            (0..30).map(|_| draft.add(Sort::Local, endpoint(small(&mut dice), &name, true))).collect();
        let remote: Vec<EndpointId> = (0..WORKLOADS)
            .map(|number| draft.add(Sort::Remote, endpoint(number, &format!("other-{}", number % 3), false)))
            .collect();
        let zone = |node: String, zone: usize| ZoneSpec {
            node,
            zone: format!("eu-west-1{}", ["a", "b", "c"][zone]),
            region: "eu-west-1".into(),
        };
        let mut zones = vec![zone(name.clone(), usize::try_from(number % 3).unwrap())];
        zones.extend((0..3).map(|other| zone(format!("other-{other}"), other)));
        draft.set_zones(Zones::new(&name, zones, [].into()), 0);
        let pairs = (0..PAIRS).map(|_| Pair::new(&mut dice, &local, &remote)).collect();
        let index = Arc::new(draft.publish(0, PodChanges::default()));
        let (rollups, encoder) = (Rollups::new(Settings::default()), Encoder::new(u128::from(number) + 1));
        Self { name, index, pairs, rollups, encoder, dice }
    }

    /// Adds what a window has of each pair, and hands out its records.
    fn window(&mut self, start: u64, each: impl FnMut(webb_otlp::Encoded<'_>)) {
        let Self { index, pairs, rollups, encoder, dice, .. } = self;
        for pair in pairs {
            // Some pairs are still.
            if dice.below(10) == 0 {
                continue;
            }
            let (flows, extras) = pair.flows(dice);
            rollups.observe(Flows { flows: &flows, extras: &extras, index }, 0, &mut 0);
        }
        let window = Window { start, seconds: 60 };
        encoder.window(window, rollups, (webb_rollup::Lost::default(), None), window.end_ns() + 700_000_000, each);
    }
}

/// A workload; those with small numbers are asked for more.
fn small(dice: &mut Dice) -> u32 {
    let limit = dice.below(WORKLOADS.into()) + 1;
    u32::try_from(dice.below(limit)).unwrap()
}

impl Pair {
    fn new(dice: &mut Dice, local: &[EndpointId], remote: &[EndpointId]) -> Self {
        let here = local[usize::try_from(dice.below(30)).unwrap()];
        let there = remote[small(dice) as usize];
        let address = |number: u32| Address::from(IpAddr::from(number.to_be_bytes()));
        let is_out = dice.below(2) == 0;
        let (source, destination) = if is_out { (here, there) } else { (there, here) };
        let flow = Flow {
            source_ip: address(0x0a00_0000 | source.0 & 0xffff),
            destination_ip: address(0x0a01_0000 | destination.0 & 0xffff),
            source,
            destination,
            source_port: 40_000,
            destination_port: [80, 443, 5432, 6379, 8080, 9090][usize::try_from(dice.below(6)).unwrap()],
            l4: L4::Tcp,
            event: Event::Trace,
            verdict: Verdict::Forwarded,
            direction: if is_out { Direction::Egress } else { Direction::Ingress },
            reply: Reply::No,
            ..Flow::default()
        };
        let pooled = dice.below(100) < 45;
        Self {
            flow,
            connections: if pooled { 0 } else { dice.below(8) + 1 },
            bytes: [1 << (8 + dice.below(10)), 1 << (9 + dice.below(12))],
            handshake_ns: 60_000 << dice.below(4),
            has_http: dice.below(100) < 35,
        }
    }

    fn flows(&self, dice: &mut Dice) -> (Vec<Flow>, Vec<Extra>) {
        let mut packets = |bytes: u64, flow: Flow| {
            let bytes = dice.about(bytes);
            Flow { bytes, packets: u32::try_from(bytes / 700 + 1).unwrap(), ..flow }
        };
        let [sent, received] = self.bytes;
        let answer = Flow { reply: Reply::Yes, ..self.flow.reversed() };
        let mut flows = vec![packets(sent, self.flow), packets(received, answer)];
        for _ in 0..if self.connections > 0 { dice.about(self.connections) } else { 0 } {
            flows.push(self.flow.connection(ConnectionEvent::Accepted, dice.about(self.handshake_ns)));
        }
        let mut extras = Vec::new();
        for _ in 0..if self.has_http { dice.about(5) } else { 0 } {
            let code = if dice.below(50) == 0 { 503 } else { 200 };
            let record = L7Record::Http(Http { code, ..Http::default() });
            let l7 = L7 { kind: L7Kind::Response, latency_ns: dice.about(3_000_000), record };
            let extra = ExtraId(u32::try_from(extras.len()).unwrap());
            extras.push(Extra { live: true, l7: Some(l7), ..Extra::default() });
            flows.push(Flow { event: Event::L7, extra, ..answer });
        }
        (flows, extras)
    }
}

fn builder(node: &str) -> RequestBuilder {
    let mut resource = Attributes::new();
    resource.string("service.name", "webb");
    resource.string("k8s.node.name", node);
    RequestBuilder::new(Stream::Rollups, &resource, "webb.rollups", "1")
}

/// A row of a full request takes what docs/rollups.md says.
#[test]
fn a_row_on_the_wire() {
    for (encoding, (least, most)) in
        [(Encoding::None, (900, 1000)), (Encoding::Gzip, (50, 120)), (Encoding::Zstd, (40, 100))]
    {
        let (mut node, mut builder) = (Node::new(1), builder("node-1"));
        let (mut rows, mut bytes) = (0, 0);
        for window in 0..20 {
            node.window(1_700_000_040 + window * 60, |record| {
                builder.push(record);
                if builder.records() == REQUEST {
                    let request = builder.take(encoding).unwrap().unwrap();
                    (rows, bytes) = (rows + u64::from(request.records), bytes + request.body.len() as u64);
                }
            });
        }
        println!("{}: {} bytes a row", encoding.label(), bytes / rows);
        assert!((least..most).contains(&(bytes / rows)), "{encoding:?}: {} bytes a row", bytes / rows);
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::StringValue(text) => text.clone(),
        Value::BoolValue(on) => on.to_string(),
        Value::IntValue(number) => number.to_string(),
        Value::ArrayValue(list) => {
            let numbers = list.values.iter().map(|value| text(value.value.as_ref().unwrap())).collect::<Vec<_>>();
            format!("[{}]", numbers.join(","))
        }
        other => panic!("{other:?}"),
    }
}

/// Leaves 100,000 rows as the collector's exporter for ClickHouse would write them.
#[test]
fn rows_for_a_store() {
    let Some(directory) = std::env::var_os("WEBB_KEEP_ROWS").map(std::path::PathBuf::from) else { return };
    let mut file = std::io::BufWriter::new(std::fs::File::create(directory.join("sizes.rows")).unwrap());
    let mut line = String::new();
    // The store drops what is older than a month.
    let now = webb_flow::clock::unix_ns() / 1_000_000_000;
    let first = now - now % 60 - 24 * 60;
    for number in 0..10 {
        let mut node = Node::new(number);
        let name = node.name.clone();
        for window in 0..24 {
            node.window(first + window * 60, |record| {
                let record = LogRecord::decode(record.bytes()).unwrap();
                line.clear();
                let ns = record.time_unix_nano;
                write!(
                    line,
                    "{{\"Timestamp\":\"{}.{:09}\",\"EventName\":\"{}\"",
                    ns / 1_000_000_000,
                    ns % 1_000_000_000,
                    record.event_name
                )
                .unwrap();
                write!(line, ",\"ResourceAttributes\":{{\"k8s.node.name\":\"{name}\",\"k8s.cluster.name\":\"lab\"}}")
                    .unwrap();
                line.push_str(",\"LogAttributes\":{");
                for (at, pair) in record.attributes.iter().enumerate() {
                    let value = text(pair.value.as_ref().unwrap().value.as_ref().unwrap());
                    write!(line, "{}\"{}\":\"{value}\"", if at > 0 { "," } else { "" }, pair.key).unwrap();
                }
                line.push_str("}}\n");
                file.write_all(line.as_bytes()).unwrap();
            });
        }
    }
    file.flush().unwrap();
}
