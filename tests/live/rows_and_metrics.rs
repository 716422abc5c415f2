//! Every sum of the rows against the metric that counts the same events.

use std::io::Write as _;
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use crate::connections::in_pod;
use crate::harness::{Agent, Lab, QUICK};
use crate::layer7::{ask, browse, get, read_until, serve};
use crate::rollups::{Receiver, Row, sum};
use crate::scrape::Scrape;

const METRICS: &str = "flow connections dns httpV2";

/// An attribute of rows, and the metrics with the labels whose samples it is the sum of; times are
/// in microseconds.
type Pair = (&'static str, &'static [(&'static str, &'static [(&'static str, &'static str)])]);

const ATTEMPTS: &str = "webb_tcp_connections_total";
const ENDED: &str = "webb_tcp_connection_seconds_count";
const REQUESTS: &str = "hubble_http_requests_total";
const ANSWERS: &str = "hubble_dns_responses_total";

const PAIRS: [Pair; 16] = [
    ("webb.connections.opened", &[(ATTEMPTS, &[("outcome", "accepted")])]),
    ("webb.connections.refused", &[(ATTEMPTS, &[("outcome", "refused")])]),
    ("webb.connections.timed_out", &[(ATTEMPTS, &[("outcome", "timed_out")])]),
    ("webb.connections.unreachable", &[(ATTEMPTS, &[("outcome", "unreachable")])]),
    ("webb.connections.denied", &[(ATTEMPTS, &[("outcome", "denied")])]),
    ("webb.connections.dropped", &[(ATTEMPTS, &[("outcome", "dropped")])]),
    ("webb.connections.reset", &[(ENDED, &[("outcome", "reset_by_opener")])]),
    ("webb.retransmits", &[("webb_tcp_retransmitted_segments_total", &[])]),
    ("webb.handshake.sum_us", &[("webb_tcp_handshake_seconds_sum", &[])]),
    ("webb.requests.2xx", &[(REQUESTS, &[("status", "200")])]),
    ("webb.requests.3xx", &[(REQUESTS, &[("status", "301")])]),
    ("webb.requests.4xx", &[(REQUESTS, &[("status", "404")])]),
    ("webb.requests.5xx", &[(REQUESTS, &[("status", "503")])]),
    ("webb.request.sum_us", &[("hubble_http_request_duration_seconds_sum", &[])]),
    ("webb.dns.questions", &[("hubble_dns_queries_total", &[])]),
    (
        "webb.dns.failures",
        &[(ANSWERS, &[("rcode", "Non-Existent Domain")]), ("webb_l7_unanswered_total", &[("protocol", "dns")])],
    ),
];

/// Says which sum differs first; each must be more than nought.
fn differs(rows: &[Row], scrape: &Scrape) -> Result<(), String> {
    for (attribute, metrics) in PAIRS {
        let found = sum(rows, attribute, &[]);
        let samples = metrics.iter().flat_map(|(metric, labels)| scrape.samples(metric, labels));
        let wanted: f64 = samples.map(|sample| sample.value).sum();
        // A row's microseconds are whole.
        let (wanted, tolerance) = if attribute.ends_with("_us") { (wanted * 1e6, 100.0) } else { (wanted, 0.0) };
        let text = format!("{attribute} is {found}, {metrics:?} {wanted}");
        let found: f64 = found.to_string().parse().unwrap();
        if wanted == 0.0 || (found - wanted).abs() > tolerance {
            return Err(text);
        }
    }
    Ok(())
}

/// Says which sum over the primary rows first differs from what was done. Segments that were sent
/// again are in no other rows.
fn is_done(rows: &[Row], done: &[(&str, u64)]) -> Result<(), String> {
    let primary = |of: &str| sum(rows, of, &[("webb.primary", "true")]);
    for (attribute, wanted) in done {
        let found = primary(attribute);
        if found != *wanted {
            return Err(format!("{attribute} is {found} over primary rows, {wanted} were done\n{rows:#?}"));
        }
    }
    let resent = [primary("webb.retransmits"), sum(rows, "webb.retransmits", &[])];
    if resent[0] == resent[1] {
        Ok(())
    } else {
        Err(format!("retransmissions of primary rows, and of all: {resent:?}"))
    }
}

fn land(lab: &Lab, pod: &str, timeout: u64, to: &str) {
    lab.try_run(pod, &format!("pod land --timeout {timeout} --rounds 2 {to}"));
}

/// Drops SYNs to a port where a node forwards them.
fn drop_on_the_way(lab: &Lab, node: &str, port: u16) {
    lab.run(node, "nft add table inet own");
    lab.run(node, "nft add chain inet own forward { type filter hook forward priority 0 ; }");
    lab.run(node, &format!("nft add rule inet own forward tcp dport {port} drop"));
}

const RULES: [&str; 2] = ["tcp dport 4000 drop", "tcp dport 4001 reject with icmpx type admin-prohibited"];

/// Of a question's wait no more than a second.
fn config(receiver: &Receiver) -> String {
    format!("{QUICK}l7: {{dns_timeout: 1s}}\noutputs_config: {}\n", receiver.outputs)
}

/// Attempts of every outcome, resets, segments that were sent again, HTTP and DNS: each sum over
/// all rows is that of the metric, and so are the times; over the primary rows it is what was done.
#[test]
fn rows_have_what_the_metrics_have() {
    let Some(lab) = Lab::up() else { return };
    in_pod(&lab, "xwing", &RULES);
    drop_on_the_way(&lab, "node", 4002);
    let receiver = Receiver::start(&lab, "node");
    let config = lab.file("rows.yaml", &config(&receiver));
    let mut agent = Agent::start_at(&lab, "node", METRICS, &["--config", config.to_str().unwrap()]);
    lab.slow("deathstar-a", "30ms");
    land(&lab, "tiefighter", 5000, "10.244.1.11:80");
    let exhaust = ["--request", "PUT /v1/exhaust-port", "10.244.1.11:80"];
    lab.command("tiefighter", "pod land --rounds 3").args(exhaust).output().unwrap();
    land(&lab, "tiefighter", 5000, "10.244.1.31:81");
    land(&lab, "tiefighter", 5000, "10.244.1.31:4001");
    thread::scope(|scope| {
        scope.spawn(|| land(&lab, "tiefighter", 2500, "10.244.1.31:4000"));
        scope.spawn(|| land(&lab, "tiefighter", 2500, "10.244.1.31:4002"));
        scope.spawn(|| land(&lab, "xwing", 2500, "10.244.1.11:80"));
    });
    lab.enforce_nothing();
    let listener = lab.listener("xwing", "10.244.1.31:5000");
    let opened: TcpStream = lab.connection("tiefighter", "10.244.1.31:5000");
    let _accepted = listener.accept().unwrap();
    rustix::net::sockopt::set_socket_linger(&opened, Some(Duration::ZERO)).unwrap();
    drop(opened);
    let listener = lab.listener("deathstar-a", "10.244.1.11:8080");
    thread::scope(|scope| {
        let log = scope.spawn(|| serve(&listener));
        let mut stream = lab.connection("tiefighter", "10.244.1.11:8080");
        for _ in 0..4 {
            stream.write_all(get("/moved").as_bytes()).unwrap();
            read_until(&mut stream, "landed", 1);
        }
        drop(stream);
        browse(&lab, "10.244.1.11:8080");
        log.join().unwrap()
    });
    let server = lab.socket("deathstar-a", "10.244.1.11:53");
    let client = lab.socket("tiefighter", "0.0.0.0:0");
    client.connect("10.244.1.11:53").unwrap();
    for (number, code) in (0..).zip([Some(0), Some(3), None, Some(0), Some(3), Some(3), Some(0), None]) {
        ask(&client, &server, number, "some.test", code);
    }
    let done = [
        ("webb.connections.opened", 2 + 3 + 1 + 1 + 12),
        ("webb.connections.refused", 2),
        ("webb.connections.timed_out", 2),
        ("webb.connections.unreachable", 2),
        ("webb.connections.denied", 2),
        ("webb.connections.dropped", 2),
        ("webb.connections.reset", 1),
        ("webb.requests.2xx", 2 + 36),
        ("webb.requests.3xx", 4),
        ("webb.requests.4xx", 5),
        ("webb.requests.5xx", 3),
        ("webb.dns.questions", 8),
        ("webb.dns.failures", 3 + 2),
    ];
    agent.settles(|scrape| {
        let rows = receiver.rows();
        differs(&rows, scrape).and_then(|()| is_done(&rows, &done))
    });
    let by_drop = [("webb.drop.reason", "NETFILTER_DROP"), ("webb.verdict", "DROPPED"), ("webb.primary", "true")];
    assert_eq!(sum(&receiver.rows(), "webb.connections.dropped", &by_drop), 2, "in the row of the packets");
}

/// Between two nodes each attempt, question and response is once in the primary rows of both
/// agents, wherever an attempt ends: but for one that is denied on the other node, which the
/// opener's agent sees time out.
#[test]
fn two_agents_count_each_attempt_once() {
    let Some(lab) = Lab::up() else { return };
    in_pod(&lab, "xwing", &RULES);
    let receivers = ["node", "node2"].map(|node| Receiver::start(&lab, node));
    let mut agents = ["node", "node2"].map(|node| {
        let of = &receivers[usize::from(node == "node2")];
        let config = lab.file(&format!("{node}.yaml"), &config(of));
        Agent::start_at(&lab, node, METRICS, &["--config", config.to_str().unwrap()])
    });
    land(&lab, "tiefighter", 5000, "10.244.2.11:80");
    land(&lab, "deathstar-c", 5000, "10.244.1.31:81");
    land(&lab, "deathstar-c", 5000, "10.244.1.31:4001");
    thread::scope(|scope| {
        scope.spawn(|| land(&lab, "deathstar-c", 2500, "10.244.1.31:4000"));
        scope.spawn(|| land(&lab, "xwing", 2500, "10.244.2.11:80"));
    });
    let server = lab.socket("xwing", "10.244.1.31:53");
    let client = lab.socket("deathstar-c", "0.0.0.0:0");
    client.connect("10.244.1.31:53").unwrap();
    for (number, code) in (0..).zip([Some(0), Some(3), None, Some(0)]) {
        ask(&client, &server, number, "some.test", code);
    }
    let done = [
        ("webb.connections.opened", 2),
        ("webb.connections.refused", 2),
        ("webb.connections.timed_out", 2 + 2),
        ("webb.connections.unreachable", 2),
        ("webb.connections.denied", 2),
        ("webb.connections.dropped", 0),
        ("webb.requests.2xx", 2),
        ("webb.dns.questions", 4),
        ("webb.dns.failures", 2),
    ];
    let rows = || receivers.iter().flat_map(Receiver::rows).collect::<Vec<Row>>();
    for agent in &mut agents {
        agent.settles(|_| is_done(&rows(), &done));
    }
    let rows = rows();
    let seen = |of: &str| sum(&rows, of, &[]);
    assert!(seen("webb.retransmits") > 0, "SYNs that nothing answered");
    let reports = ["opened", "refused", "unreachable"].map(|of| seen(&format!("webb.connections.{of}")));
    assert_eq!(reports, [4; 3], "both agents report them");
}
