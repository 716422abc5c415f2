//! Flows of real packets, as a receiver of OTLP logs gets them.

use std::io::{Read as _, Write as _};

use webb_observer::proto::flow::{Flow, Verdict};
use webb_observer::proto::observer::GetFlowsRequest;

use crate::connections::in_pod;
use crate::harness::{Agent, DEATHSTAR_A, Lab, QUICK, TIEFIGHTER, XWING};
use crate::observer::flows;
use crate::rollups::{Receiver, Row};
use crate::scrape::Scrape;

/// Events of the history and failed attempts, by what became of them for outputs.
const EVENTS: &str = "webb_output_flows_total";

/// Failed attempts to connect by whether the thread that sends had them.
const ATTEMPTS: &str = "webb_output_failed_connections_total";

/// Makes a request to a server, which answers with this status.
fn exchange(lab: &Lab, status: &str) {
    let listener = lab.listener("world", "203.0.113.10:8080");
    let mut client = lab.connection("tiefighter", "203.0.113.10:8080");
    let (mut server, _) = listener.accept().unwrap();
    let request = b"GET /plans HTTP/1.1\r\nHost: world\r\n\r\n";
    client.write_all(request).unwrap();
    server.read_exact(&mut vec![0; request.len()]).unwrap();
    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
    server.write_all(answer.as_bytes()).unwrap();
    client.read_exact(&mut vec![0; answer.len()]).unwrap();
}

/// The name of a pod without its namespace.
fn name(pod: &str) -> &str {
    pod.rsplit('/').next().unwrap()
}

/// True if each event that was recorded is accounted for, and each record that was offered has
/// arrived: so many.
fn is_closed(scrape: &Scrape, records: u64) -> bool {
    let recorded = scrape.sum("webb_observer_recorded_flows_total", &[]) + scrape.sum(ATTEMPTS, &[]);
    let of = |outcome| scrape.sum("webb_output_records_total", &[("stream", "flows"), ("outcome", outcome)]);
    let lost = ["overrun", "panicked"].map(|outcome| scrape.sum(EVENTS, &[("outcome", outcome)]));
    let sent = scrape.sum(EVENTS, &[("outcome", "included")]);
    let is_all = [of("offered"), of("delivered"), records].iter().all(|count| *count == sent);
    scrape.sum(EVENTS, &[]) == recorded && is_all && lost == [0, 0]
}

fn is(row: &Row, with: &[(&str, &str)]) -> bool {
    with.iter().all(|(key, value)| row.get(*key).map_or("", String::as_str) == *value)
}

/// Without an observer's API, a denied connection and an answer 500 arrive at a receiver, with the
/// names of both ends; forwarded flows and answers 200 do not. Every event of the history is
/// accounted for, and every record that was offered arrives.
#[test]
fn problems_arrive() {
    let Some(lab) = Lab::up() else { return };
    let receiver = Receiver::of(&lab, "node", "rollups: {window: 0s}\nflows: {}\n");
    let config = format!("{QUICK}l7: {{capture: \"on\"}}\noutputs_config: {}\n", receiver.outputs);
    let mut agent = Agent::start_with(&lab, &config);
    agent.wait_until("the output runs", |agent| {
        agent.scrape().sum("webb_outputs_config_reloads_total", &[("outcome", "applied")]) == 1
    });
    exchange(&lab, "200 OK");
    exchange(&lab, "500 Internal Server Error");
    lab.run("tiefighter", "pod land --rounds 5 10.244.1.11:80");
    lab.try_run("xwing", "timeout 0.4 pod land --rounds 1 10.244.1.11:80");

    let error = [("http.response.status_code", "500"), ("destination.k8s.pod.name", name(TIEFIGHTER))];
    let denied = [("source.k8s.pod.name", name(XWING)), ("webb.drop.reason", "POLICY_DENIED")];
    agent.settles(|scrape| {
        let rows = receiver.rows();
        let found = [&error[..], &denied[..]].map(|with| rows.iter().filter(|row| is(row, with)).count());
        let passed = scrape.sum(EVENTS, &[("outcome", "passed_over")]);
        if found.iter().all(|count| *count > 0) && is_closed(scrape, rows.len() as u64) && passed > 0 {
            Ok(())
        } else {
            Err(format!("{found:?} of both; {}{}; {rows:?}", scrape.show("webb_output"), scrape.show("webb_observer")))
        }
    });
    for row in receiver.rows() {
        assert_eq!(row["event"], "webb.flow");
        assert_eq!(row["k8s.node.name"], "webb-node-1");
        if row.contains_key("webb.connection.outcome") {
            assert!(is(&row, &[("webb.connection.outcome", "denied"), denied[0]]), "{row:?}");
            continue;
        }
        let is_denied = is(&row, &[("webb.verdict", "DROPPED")]);
        assert!(is_denied || is(&row, &error[..1]), "{row:?}");
        if is_denied {
            let text = format!("{XWING}:{} (", row["source.port"]);
            let says = ["DROPPED", "DENIED"].iter().any(|word| row["body"].contains(word));
            assert!(row["body"].starts_with(&text) && says, "{text}: {}", row["body"]);
        }
    }
}

/// Attempts to connect that fail arrive, each once from the side of each pod that is watched, from
/// the side that opened; connections that are accepted do not. No metric counts connections, and
/// the flows that Hubble's API has of the same packets are what they are without it.
#[test]
fn failed_connections_arrive() {
    let Some(lab) = Lab::up() else { return };
    in_pod(&lab, "world", &["tcp dport 4000 drop"]);
    let receiver = Receiver::of(&lab, "node", "rollups: {window: 0s}\nflows: {}\n");
    let config = format!("{QUICK}outputs_config: {}\n", receiver.outputs);
    let mut agent = Agent::start_with(&lab, &config);
    agent.wait_until("the output runs", |agent| {
        agent.scrape().sum("webb_outputs_config_reloads_total", &[("outcome", "applied")]) == 1
    });
    lab.run("tiefighter", "pod land --rounds 5 10.244.1.11:80");
    lab.try_run("tiefighter", "pod land --rounds 1 203.0.113.10:81");
    lab.try_run("tiefighter", "pod land --rounds 1 10.244.1.31:81");
    // The SYN comes again after a second.
    lab.try_run("tiefighter", "pod land --timeout 2500 --rounds 1 203.0.113.10:4000");
    lab.try_run("xwing", "pod land --timeout 2500 --rounds 1 10.244.1.11:80");

    let of = |source, destination, port, outcome, direction| {
        [
            ("source.k8s.pod.name", name(source)),
            ("destination.k8s.pod.name", name(destination)),
            ("destination.port", port),
            ("webb.connection.outcome", outcome),
            ("network.io.direction", direction),
            ("webb.verdict", ""),
        ]
    };
    let expected = [
        of(TIEFIGHTER, "", "81", "refused", "transmit"),
        of(TIEFIGHTER, XWING, "81", "refused", "transmit"),
        of(TIEFIGHTER, XWING, "81", "refused", "receive"),
        of(TIEFIGHTER, "", "4000", "timed_out", "transmit"),
        of(XWING, DEATHSTAR_A, "80", "denied", "transmit"),
        of(XWING, DEATHSTAR_A, "80", "denied", "receive"),
    ];
    let scrape = agent.settles(|scrape| {
        let rows = receiver.rows();
        let found = expected.map(|with| rows.iter().filter(|row| is(row, &with)).count());
        let attempts: Vec<&Row> = rows.iter().filter(|row| row.contains_key("webb.connection.outcome")).collect();
        let are_all = found == [1; 6] && attempts.len() == 6;
        if are_all && is_closed(scrape, rows.len() as u64) {
            Ok(())
        } else {
            Err(format!("{found:?}; {}; {attempts:?}", scrape.show("webb_output")))
        }
    });
    assert_eq!((scrape.sum(ATTEMPTS, &[("outcome", "recorded")]), scrape.sum(ATTEMPTS, &[])), (6, 6));
    for row in receiver.rows() {
        let outcome = row.get("webb.connection.outcome");
        assert!(outcome.is_some() || row["webb.verdict"] == "DROPPED", "{row:?}");
        let end = outcome.map_or(String::new(), |outcome| format!(" connection {outcome}"));
        assert!(row["body"].ends_with(&end) && row["body"].starts_with("default/"), "{row:?}");
    }
}

/// Beside an output that is sent them, Hubble's API has no failed connections: its flows are those
/// of packets, all of them, and its figures are theirs.
#[test]
fn the_api_has_no_failed_connections() {
    let Some(lab) = Lab::up() else { return };
    let receiver = Receiver::of(&lab, "node", "rollups: {window: 0s}\nflows: {}\n");
    let socket = lab.dir.path().join("node.sock");
    let config = format!(
        "{QUICK}outputs_config: {}\nobserver: {{ enabled: true, listen: ['unix://{}'] }}\n",
        receiver.outputs,
        socket.display()
    );
    let mut agent = Agent::start_with(&lab, &config);
    agent.wait_until("the output runs", |agent| {
        agent.scrape().sum("webb_outputs_config_reloads_total", &[("outcome", "applied")]) == 1 && socket.exists()
    });
    lab.try_run("tiefighter", "pod land --rounds 1 203.0.113.10:81");
    agent.settles(|scrape| {
        let outcomes: Vec<String> =
            receiver.rows().into_iter().filter_map(|mut row| row.remove("webb.connection.outcome")).collect();
        let found = flows(&format!("unix://{}", socket.display()), &GetFlowsRequest::default());
        let figures = ["webb_observer_recorded_flows_total", "webb_observer_flows"].map(|name| scrape.sum(name, &[]));
        let is_packet = |flow: &Flow| flow.verdict() != Verdict::Unknown && flow.event_type.is_some();
        let are_packets = found.iter().all(is_packet);
        if outcomes == ["refused"] && are_packets && !found.is_empty() && figures == [found.len() as u64; 2] {
            Ok(())
        } else {
            Err(format!("{outcomes:?} sent; {figures:?} recorded and held, {} shown: {found:#?}", found.len()))
        }
    });
}
