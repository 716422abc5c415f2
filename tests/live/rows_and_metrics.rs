//! Every sum of the rows against the metric that counts the same events.

use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use crate::connections::in_pod;
use crate::harness::{Agent, Lab, QUICK};
use crate::layer7::{ask, browse, serve};
use crate::rollups::{Receiver, Row, sum};
use crate::scrape::Scrape;

const METRICS: &str = "flow connections dns httpV2";

/// An attribute of rows, and the metric with the labels whose samples it is the sum of; times are
/// in microseconds.
type Pair = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

const ATTEMPTS: &str = "webb_tcp_connections_total";
const ENDED: &str = "webb_tcp_connection_seconds_count";
const REQUESTS: &str = "hubble_http_requests_total";
const ANSWERS: &str = "hubble_dns_responses_total";

const PAIRS: [Pair; 13] = [
    ("webb.connections.opened", ATTEMPTS, &[("outcome", "accepted")]),
    ("webb.connections.refused", ATTEMPTS, &[("outcome", "refused")]),
    ("webb.connections.timed_out", ATTEMPTS, &[("outcome", "timed_out")]),
    ("webb.connections.unreachable", ATTEMPTS, &[("outcome", "unreachable")]),
    ("webb.connections.denied", ATTEMPTS, &[("outcome", "denied")]),
    ("webb.connections.reset", ENDED, &[("outcome", "reset_by_opener")]),
    ("webb.retransmits", "webb_tcp_retransmitted_segments_total", &[]),
    ("webb.handshake.sum_us", "webb_tcp_handshake_seconds_sum", &[]),
    ("webb.requests.2xx", REQUESTS, &[("status", "200")]),
    ("webb.requests.4xx", REQUESTS, &[("status", "404")]),
    ("webb.request.sum_us", "hubble_http_request_duration_seconds_sum", &[]),
    ("webb.dns.questions", "hubble_dns_queries_total", &[]),
    ("webb.dns.failures", ANSWERS, &[("rcode", "Non-Existent Domain")]),
];

/// Says which sum differs first; each must be more than nought.
fn differs(rows: &[Row], scrape: &Scrape) -> Result<(), String> {
    for (attribute, metric, labels) in PAIRS {
        let found = sum(rows, attribute, &[]);
        let wanted: f64 = scrape.samples(metric, labels).map(|sample| sample.value).sum();
        // A row's microseconds are whole.
        let (wanted, tolerance) = if attribute.ends_with("_us") { (wanted * 1e6, 100.0) } else { (wanted, 0.0) };
        let text = format!("{attribute} is {found}, {metric} {wanted}");
        let found: f64 = found.to_string().parse().unwrap();
        if wanted == 0.0 || (found - wanted).abs() > tolerance {
            return Err(text);
        }
    }
    Ok(())
}

/// Attempts of every outcome, resets, segments sent again, HTTP and DNS: each sum over all
/// rows is that of the metric, and so are the times.
#[test]
fn rows_have_what_the_metrics_have() {
    let Some(lab) = Lab::up() else { return };
    in_pod(&lab, "xwing", &["tcp dport 4000 drop", "tcp dport 4001 reject with icmpx type admin-prohibited"]);
    let receiver = Receiver::start(&lab, "node");
    let config = lab.file("rows.yaml", &format!("{QUICK}outputs_config: {}\n", receiver.outputs));
    let mut agent = Agent::start_at(&lab, "node", METRICS, &["--config", config.to_str().unwrap()]);
    let land = |pod: &str, timeout: u64, to: &str| {
        lab.try_run(pod, &format!("pod land --timeout {timeout} --rounds 2 {to}"));
    };
    lab.slow("deathstar-a", "30ms");
    land("tiefighter", 5000, "10.244.1.11:80");
    land("tiefighter", 5000, "10.244.1.31:81");
    land("tiefighter", 5000, "10.244.1.31:4001");
    thread::scope(|scope| {
        scope.spawn(|| land("tiefighter", 2500, "10.244.1.31:4000"));
        scope.spawn(|| land("xwing", 2500, "10.244.1.11:80"));
    });
    lab.enforce_nothing();
    let listener = lab.listener("xwing", "10.244.1.31:5000");
    let opened: TcpStream = lab.connection("tiefighter", "10.244.1.31:5000");
    let _accepted = listener.accept().unwrap();
    rustix::net::sockopt::set_socket_linger(&opened, Some(Duration::ZERO)).unwrap();
    drop(opened);
    let listener = lab.listener("deathstar-a", "10.244.1.11:8080");
    thread::scope(|scope| {
        scope.spawn(|| serve(&listener));
        browse(&lab, "10.244.1.11:8080");
    });
    let server = lab.socket("deathstar-a", "10.244.1.11:53");
    let client = lab.socket("tiefighter", "0.0.0.0:0");
    client.connect("10.244.1.11:53").unwrap();
    for number in 0..6 {
        ask(&client, &server, number, "some.test", Some(if number % 2 == 0 { 0 } else { 3 }));
    }
    agent.settles(|scrape| differs(&receiver.rows(), scrape));
}
