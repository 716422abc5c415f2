//! Rows of real packets, as a receiver of OTLP logs gets them.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use flate2::read::GzDecoder;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use prost::Message as _;

use crate::harness::{Agent, Lab, METRICS, QUICK};
use crate::scrape::Scrape;

/// Attributes of a record, as text.
pub(crate) type Row = BTreeMap<String, String>;

/// A receiver of OTLP logs over HTTP, which keeps what it gets.
#[derive(Debug)]
pub(crate) struct Receiver {
    rows: Arc<Mutex<Vec<Row>>>,
    /// The file of outputs that leads to it.
    pub(crate) outputs: String,
}

impl Receiver {
    /// A receiver of rows in a node's namespace.
    pub(crate) fn start(lab: &Lab, node: &str) -> Self {
        Self::of(lab, node, "rollups: {window: 1s}\n")
    }

    /// A receiver in a node's namespace, of what these sections of a file of outputs say.
    pub(crate) fn of(lab: &Lab, node: &str, sections: &str) -> Self {
        Self::with(lab, node, sections, "")
    }

    /// The same with more keys of the output.
    pub(crate) fn with(lab: &Lab, node: &str, sections: &str, more: &str) -> Self {
        let listener = lab.listener(node, "127.0.0.1:0");
        let port = listener.local_addr().unwrap().port();
        let rows: Arc<Mutex<Vec<Row>>> = Arc::default();
        let kept = Arc::clone(&rows);
        spawn(move || serve(&listener, &kept));
        let text = format!(
            "{sections}otlp:\n- {{name: lab, endpoint: 'http://127.0.0.1:{port}', protocol: http/protobuf, \
             batch: {{linger: 100ms}}{more}}}\n"
        );
        let outputs = lab.file(&format!("outputs-{node}.yaml"), &text).display().to_string();
        Self { rows, outputs }
    }

    /// All records so far.
    pub(crate) fn rows(&self) -> Vec<Row> {
        self.rows.lock().unwrap().clone()
    }
}

#[allow(clippy::disallowed_methods, reason = "its panic fails the test by what is missing then")]
fn spawn(body: impl FnOnce() + Send + 'static) {
    std::thread::spawn(body);
}

/// Answers each request on each connection, which the agent keeps.
fn serve(listener: &TcpListener, rows: &Arc<Mutex<Vec<Row>>>) {
    for stream in listener.incoming().map_while(Result::ok) {
        let rows = Arc::clone(rows);
        spawn(move || while answer(&stream, &rows).is_some() {});
    }
}

fn answer(mut stream: &TcpStream, rows: &Mutex<Vec<Row>>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let (mut length, mut line) = (0, String::new());
    while reader.read_line(&mut line).ok()? > 2 {
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap();
        }
        line.clear();
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok().filter(|()| length > 0)?;
    let mut plain = Vec::new();
    GzDecoder::new(&body[..]).read_to_end(&mut plain).unwrap();
    rows.lock().unwrap().extend(records(&plain));
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\ncontent-type: application/x-protobuf\r\n\r\n").ok()
}

/// The records of a request, each with the attributes of its resource.
pub(crate) fn records(request: &[u8]) -> Vec<Row> {
    let mut rows = Vec::new();
    for logs in ExportLogsServiceRequest::decode(request).unwrap().resource_logs {
        let resource = text(&logs.resource.unwrap().attributes);
        for record in logs.scope_logs.into_iter().flat_map(|scope| scope.log_records) {
            let mut row = text(&record.attributes);
            row.extend(resource.clone());
            row.insert("event".to_owned(), record.event_name);
            row.insert("time".to_owned(), record.time_unix_nano.to_string());
            if let Some(Value::StringValue(body)) = record.body.and_then(|body| body.value) {
                row.insert("body".to_owned(), body);
            }
            rows.push(row);
        }
    }
    rows
}

fn text(attributes: &[KeyValue]) -> Row {
    let text = |value: &Value| match value {
        Value::StringValue(text) => text.clone(),
        Value::BoolValue(on) => on.to_string(),
        Value::IntValue(number) => number.to_string(),
        other => format!("{other:?}"),
    };
    let pair = |pair: &KeyValue| Some((pair.key.clone(), text(pair.value.as_ref()?.value.as_ref()?)));
    attributes.iter().filter_map(pair).collect()
}

/// Leaves rows, and what the lab knows of them, for `make clickhouse`, which says where: the rows
/// as the collector's exporter for ClickHouse would write them, one JSON object a line.
fn keep(name: &str, rows: &[Row], books: &serde_json::Value) {
    let Some(directory) = std::env::var_os("WEBB_KEEP_ROWS").map(std::path::PathBuf::from) else { return };
    let mut lines = String::new();
    for row in rows {
        let is_of_resource = |key: &str| ["service.", "k8s.", "cloud."].iter().any(|start| key.starts_with(start));
        let attributes = row.iter().filter(|(key, _)| !["event", "time"].contains(&key.as_str()));
        let (resource, log): (Row, Row) =
            attributes.map(|(key, value)| (key.clone(), value.clone())).partition(|(key, _)| is_of_resource(key));
        let time = &row["time"];
        let line = serde_json::json!({
            "Timestamp": format!("{}.{}", &time[..time.len() - 9], &time[time.len() - 9..]),
            "EventName": row["event"],
            "ResourceAttributes": resource,
            "LogAttributes": log,
        });
        lines.push_str(&format!("{line}\n"));
    }
    std::fs::write(directory.join(format!("{name}.jsonl")), lines).unwrap();
    std::fs::write(directory.join(format!("{name}.books.json")), books.to_string()).unwrap();
}

/// The sum of an attribute over the rows with these attributes.
pub(crate) fn sum(rows: &[Row], of: &str, with: &[(&str, &str)]) -> u64 {
    let has = |row: &&Row| with.iter().all(|(key, value)| row.get(*key).map_or("", String::as_str) == *value);
    let number = |row: &Row| row.get(of).map_or(0, |text| text.parse::<u64>().unwrap());
    rows.iter().filter(has).map(number).sum()
}

/// Both directions.
pub(crate) fn both(rows: &[Row], of: &str, with: &[(&str, &str)]) -> u64 {
    ["sent", "received"].iter().map(|way| sum(rows, &format!("webb.{of}.{way}"), with)).sum()
}

/// Waits until the rows have all that the metrics have, and returns both.
pub(crate) fn settled(agent: &mut Agent, rows: impl Fn() -> Vec<Row>) -> (Vec<Row>, Scrape) {
    let scrape = agent.settles(|scrape| {
        let rows = rows();
        let forwarded = [("webb.verdict", "FORWARDED")];
        let wanted = ["bytes", "packets"].map(|of| scrape.sum(&format!("webb_traffic_{of}_total"), &[]));
        let found = ["bytes", "packets"].map(|of| both(&rows, of, &forwarded));
        if wanted == found && wanted[0] > 0 { Ok(()) } else { Err(format!("{wanted:?} counted, {found:?} in rows")) }
    });
    (rows(), scrape)
}

/// Over all rows the bytes and packets are those that the agent counted, denied ones too, and no
/// flow is missing. Of each pair's two reports one is primary.
#[test]
fn rows_sum_up_to_what_was_counted() {
    let Some(lab) = Lab::up() else { return };
    let receiver = Receiver::start(&lab, "node");
    let config = format!("{QUICK}outputs_config: {}\n", receiver.outputs);
    let mut agent = Agent::start_with(&lab, &config);
    let (forwarded, denied) = (20, 4);
    lab.run("tiefighter", &format!("pod land --rounds {forwarded} 10.244.1.11:80"));
    lab.run("tiefighter", "pod land --rounds 5 [fd00:10:244:1::12]:80");
    for _ in 0..denied {
        lab.try_run("xwing", "timeout 0.4 pod land --rounds 1 10.244.1.11:80");
    }
    let (rows, scrape) = settled(&mut agent, || receiver.rows());

    let empire = [("source.k8s.owner.name", "tiefighter"), ("destination.k8s.owner.name", "deathstar")];
    let with = |more: &[(&'static str, &'static str)]| [&empire[..], more].concat();
    let opened = |more: &[(&'static str, &'static str)]| sum(&rows, "webb.connections.opened", &with(more));
    assert_eq!(opened(&[("webb.reporter", "destination"), ("webb.primary", "true")]), forwarded + 5);
    assert_eq!(opened(&[("webb.reporter", "source"), ("webb.primary", "false")]), forwarded + 5);
    for of in ["bytes", "packets"] {
        let primary = both(&rows, of, &with(&[("webb.primary", "true")]));
        assert_eq!(primary, both(&rows, of, &with(&[("webb.primary", "false")])), "{of}");
        assert!(primary > 0);
    }
    let here = [("source.cloud.availability_zone", "outer-rim-a"), ("network.flow.inter_zone", "false")];
    assert_eq!(opened(&here), 2 * (forwarded + 5));

    // A denied SYN is sent again; each is one packet of a row that names the policy.
    let drops = scrape.sum("hubble_drop_total", &[("reason", "POLICY_DENIED")]);
    let by_policy = [("webb.drop.reason", "POLICY_DENIED"), ("webb.policy.name", "default/empire-only")];
    let policies: Vec<&String> = rows.iter().filter_map(|row| row.get("webb.policy.name")).collect();
    assert!(drops >= denied, "{drops}");
    assert_eq!(sum(&rows, "webb.packets.sent", &by_policy), drops, "{policies:?}");

    let bytes = both(&rows, "bytes", &with(&[("webb.primary", "true"), ("webb.verdict", "FORWARDED")]));
    keep(
        "one_agent",
        &rows,
        &serde_json::json!({"connections": forwarded + 5, "bytes": bytes, "denied_packets": drops}),
    );

    let heartbeats: Vec<&Row> = rows.iter().filter(|row| row["event"] == "webb.heartbeat").collect();
    assert!(heartbeats.len() > 1);
    let total = |of: &str| heartbeats.iter().map(|row| row[of].parse::<u64>().unwrap()).sum::<u64>();
    assert_eq!(total("webb.rollup.bytes"), both(&rows, "bytes", &[]));
    let of = |event: &str| rows.iter().filter(|row| row["event"] == event).count() as u64;
    assert_eq!((total("webb.rollup.rows"), of("webb.gap")), (of("webb.rollup"), 1));
    assert_eq!((total("webb.rollup.lost_flows"), total("webb.rollup.folded_flows")), (0, 0));
    assert!(total("webb.ledger.seen_packets") > 0 && total("webb.ledger.missing_packets") == 0);

    let mut ids: Vec<&String> = rows.iter().map(|row| &row["log.record.uid"]).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), rows.len(), "every row has an id of its own");
}

/// Through a ClusterIP and between two nodes each byte is in one primary row of the two agents,
/// with the zones of both ends.
#[test]
fn two_agents_send_each_byte_once() {
    let Some(lab) = Lab::up() else { return };
    lab.choose("node", "c");
    let receivers = ["node", "node2"].map(|node| Receiver::start(&lab, node));
    let mut agents = ["node", "node2"].map(|node| {
        let of = &receivers[usize::from(node == "node2")];
        let config = lab.file(&format!("{node}.yaml"), &format!("{QUICK}outputs_config: {}\n", of.outputs));
        Agent::start_at(&lab, node, METRICS, &["--config", config.to_str().unwrap()])
    });
    let rounds = 15;
    lab.run("tiefighter", &format!("pod land --rounds {rounds} 10.96.23.45:80"));
    let mut rows = Vec::new();
    for (agent, receiver) in agents.iter_mut().zip(&receivers) {
        rows.extend(settled(agent, || receiver.rows()).0);
    }
    let empire = [("source.k8s.owner.name", "tiefighter"), ("destination.k8s.owner.name", "deathstar")];
    let with = |more: &[(&'static str, &'static str)]| [&empire[..], more].concat();
    let primary = [("webb.primary", "true"), ("k8s.node.name", "webb-node-2"), ("webb.reporter", "destination")];
    assert_eq!(sum(&rows, "webb.connections.opened", &with(&primary)), rounds);
    assert_eq!(sum(&rows, "webb.connections.opened", &with(&[("webb.primary", "true")])), rounds);
    for way in ["webb.bytes.sent", "webb.bytes.received", "webb.packets.sent", "webb.packets.received"] {
        let counted = sum(&rows, way, &with(&[("webb.primary", "true")]));
        let at_opener = sum(&rows, way, &with(&[("webb.reporter", "source")]));
        assert!(counted > 0);
        assert_eq!(counted, at_opener, "{way}");
    }
    let zones =
        [("source.cloud.availability_zone", "outer-rim-a"), ("destination.cloud.availability_zone", "outer-rim-b")];
    let apart = [&zones[..], &[("network.flow.inter_zone", "true"), ("webb.primary", "true")]].concat();
    assert_eq!(sum(&rows, "webb.connections.opened", &apart), rounds);
    let between = both(&rows, "bytes", &with(&[("webb.primary", "true"), ("webb.verdict", "FORWARDED")]));
    keep("two_agents", &rows, &serde_json::json!({"connections": rounds, "bytes": between, "between_zones": between}));
}

/// Connections that are open are in each window's row, though nothing moves; those that have ended
/// are not. Other rows begin with what a listing finds.
#[test]
fn open_connections_are_in_each_window() {
    let Some(lab) = Lab::up() else { return };
    let receiver = Receiver::start(&lab, "node");
    let config = format!("connections: {{sweep_interval: 100ms}}\noutputs_config: {}\n", receiver.outputs);
    let config = lab.file("open.yaml", &config);
    let mut agent = Agent::start_at(&lab, "node", "flow connections", &["--config", config.to_str().unwrap()]);
    let listener = lab.listener("xwing", "10.244.1.31:7000");
    let open = |()| (lab.connection("tiefighter", "10.244.1.31:7000"), listener.accept().unwrap());
    let mut connections = Vec::from([(); 3].map(open));
    // Of the last window that a heartbeat ended: at both interfaces, and what else the rows have.
    let last = || {
        let rows = receiver.rows();
        let ended = rows.iter().rfind(|row| row["event"] == "webb.heartbeat")?.clone();
        let same = ["time", "service.instance.id", "webb.window.seconds"];
        let is_of_it = |row: &&Row| same.iter().all(|key| row.get(*key) == ended.get(*key));
        let pair = [("source.k8s.owner.name", "tiefighter"), ("destination.k8s.owner.name", "xwing")];
        let rows: Vec<Row> = rows.iter().filter(is_of_it).cloned().collect();
        let open = ["source", "destination"]
            .map(|reporter| sum(&rows, "webb.connections.open", &[&pair[..], &[("webb.reporter", reporter)]].concat()));
        Some((open, both(&rows, "packets", &pair), ended["webb.window.seconds"].clone()))
    };
    let wait = |agent: &mut Agent, open: u64, window: &str| {
        let wanted = Some(([open; 2], 0, window.to_owned()));
        agent.wait_until(&format!("{open} open in a quiet window"), |_| last() == wanted);
    };
    wait(&mut agent, 3, "1");
    let scrape = agent.scrape();
    assert_eq!(scrape.sum("webb_tcp_open_connections", &[]), 6, "at both interfaces");
    let handshakes: f64 = scrape.samples("webb_tcp_handshake_seconds_sum", &[]).map(|sample| sample.value * 1e6).sum();
    let in_rows = sum(&receiver.rows(), "webb.handshake.sum_us", &[]);
    assert!(in_rows > 0);
    assert_eq!(in_rows.to_string(), format!("{handshakes:.0}"), "microseconds");
    connections.truncate(1);
    wait(&mut agent, 1, "1");
    let text = std::fs::read_to_string(&receiver.outputs).unwrap().replace("window: 1s", "window: 2s");
    std::fs::write(&receiver.outputs, text).unwrap();
    wait(&mut agent, 1, "2");
    connections.clear();
    wait(&mut agent, 0, "2");
}

/// The gap of an agent whose predecessor was killed begins with the end of the last window that
/// arrived, or was in its spool directory; after an orderly stop that is the time of the stop.
#[test]
fn a_gap_begins_with_the_last_window() {
    let Some(lab) = Lab::up() else { return };
    let directory = lab.dir.path().join("spool");
    // An agent that is confined makes no directory beside those of its configuration.
    std::fs::create_dir(&directory).unwrap();
    let spool = format!(", spool: {{directory: '{}'}}", directory.display());
    let receiver = Receiver::with(&lab, "node", "rollups: {window: 1s}\n", &spool);
    let config = format!("{QUICK}outputs_config: {}\n", receiver.outputs);
    let of = |event: &str| -> Vec<Row> { receiver.rows().into_iter().filter(|row| row["event"] == event).collect() };
    let (mut gaps, mut seen): (Vec<Option<String>>, usize) = (Vec::new(), 0);
    for signal in ["KILL", "TERM", "KILL"] {
        let mut agent = Agent::start_with(&lab, &config);
        agent.wait_until("a gap and a window", |_| {
            let gap = of("webb.gap").get(seen).cloned();
            gap.is_some_and(|gap| {
                let is_of_it = |row: &Row| row["service.instance.id"] == gap["service.instance.id"];
                of("webb.heartbeat").iter().any(is_of_it)
            })
        });
        gaps.push(of("webb.gap")[seen].get("webb.gap.start").cloned());
        seen += 1;
        agent.signal(signal);
        agent.ended();
        let times = of("webb.heartbeat").into_iter().map(|row| row["time"].parse::<u64>().unwrap());
        let last = times.max().unwrap();
        let file = std::fs::read_to_string(directory.join("lab/last-window")).unwrap();
        let known: u64 = file.lines().next().unwrap().rsplit(' ').next().unwrap().parse().unwrap();
        // A window that a stop cuts short ends with the stop.
        assert_eq!(known, last);
        gaps.push(Some(known.to_string()));
    }
    let [first, killed, second, stopped, third, _] = &gaps[..] else { panic!("{gaps:?}") };
    assert_eq!(*first, None, "nothing is known of before");
    assert_eq!((second, third), (killed, stopped));
}

/// Outcomes of connections that find the ring full are in the heartbeats, as many as the kernel has
/// lost: with those that rows have they are all that there were.
#[test]
fn lost_events_are_in_heartbeats() {
    let Some(lab) = Lab::up() else { return };
    let receiver = Receiver::start(&lab, "node");
    let config = format!("{QUICK}rings: {{ flow_bytes: 64KiB }}\noutputs_config: {}\n", receiver.outputs);
    let config = lab.file("lost.yaml", &config);
    let mut agent = Agent::start_at(&lab, "node", "flow traffic connections", &["--config", config.to_str().unwrap()]);
    // Of each of these a row has a sum.
    let kinds = ["accepted", "refused", "timed_out", "unreachable", "reset_by_opener", "reset_by_acceptor"];
    let lost = |scrape: &Scrape, kind: &str| scrape.sum("webb_connection_events_lost_total", &[("event", kind)]);
    let mut rounds = 0;
    agent.wait_until("the ring is full", |agent| {
        // At its next record the reader stands still, with room for some 700 behind it.
        agent.post("/faults/inject?point=reader&times=1&stall_ms=2000");
        lab.run("tiefighter", "pod land --rounds 150 10.244.1.11:80");
        rounds += 150;
        lost(&agent.scrape(), "accepted") > 0
    });
    let pair = [("source.k8s.owner.name", "tiefighter"), ("destination.k8s.owner.name", "deathstar")];
    let scrape = agent.settles(|scrape| {
        let rows = receiver.rows();
        let total = |of: &str| sum(&rows, &format!("webb.{of}"), &[("event", "webb.heartbeat")]);
        let (missing, known) = (total("ledger.missing_connection_events"), kinds.map(|kind| lost(scrape, kind)));
        let opened = sum(&rows, "webb.connections.opened", &pair);
        let parts = ["rollup.packets", "rollup.lost_packets", "ledger.missing_packets", "ledger.foreign_packets"];
        let (seen, accounted) = (total("ledger.seen_packets"), parts.map(total));
        let holds = missing == known.iter().sum::<u64>()
            // At both interfaces.
            && opened + lost(scrape, "accepted") == 2 * rounds
            && seen == accounted.iter().sum::<u64>();
        if holds {
            return Ok(());
        }
        Err(format!(
            "{missing} are missing of {known:?} that were lost, {opened} opened in {rounds} rounds, \
             {seen} packets seen, {accounted:?} accounted for"
        ))
    });
    assert!(lost(&scrape, "accepted") < 2 * rounds, "some were there");
}
