//! Flows of real packets, as a receiver of OTLP logs gets them.

use std::io::{Read as _, Write as _};

use crate::harness::{Agent, Lab, QUICK, TIEFIGHTER, XWING};
use crate::rollups::{Receiver, Row};

/// Events of the history by what became of them for outputs.
const EVENTS: &str = "webb_output_flows_total";

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

    let name = |pod: &'static str| pod.rsplit('/').next().unwrap();
    let error = [("http.response.status_code", "500"), ("destination.k8s.pod.name", name(TIEFIGHTER))];
    let denied = [("source.k8s.pod.name", name(XWING)), ("webb.drop.reason", "POLICY_DENIED")];
    let scrape = agent.settles(|scrape| {
        let rows = receiver.rows();
        let found = [&error[..], &denied[..]].map(|with| rows.iter().filter(|row| is(row, with)).count());
        let events = scrape.sum(EVENTS, &[]);
        let recorded = scrape.sum("webb_observer_recorded_flows_total", &[]);
        let of = |outcome| scrape.sum("webb_output_records_total", &[("stream", "flows"), ("outcome", outcome)]);
        let sent = scrape.sum(EVENTS, &[("outcome", "included")]);
        let counts = [events, recorded, sent, of("offered"), of("delivered"), rows.len() as u64];
        let is_closed = events == recorded && counts[2..].iter().all(|count| *count == sent);
        let passed = scrape.sum(EVENTS, &[("outcome", "passed_over")]);
        if found.iter().all(|count| *count > 0) && is_closed && passed > 0 {
            Ok(())
        } else {
            Err(format!("{found:?} of both; {counts:?}, {passed} passed over; {rows:?}"))
        }
    });
    assert_eq!(scrape.sum(EVENTS, &[("outcome", "overrun")]) + scrape.sum(EVENTS, &[("outcome", "panicked")]), 0);
    for row in receiver.rows() {
        assert_eq!(row["event"], "webb.flow");
        assert_eq!(row["k8s.node.name"], "webb-node-1");
        let is_denied = is(&row, &[("webb.verdict", "DROPPED")]);
        assert!(is_denied || is(&row, &error[..1]), "{row:?}");
        if is_denied {
            let text = format!("{XWING}:{} (", row["source.port"]);
            let says = ["DROPPED", "DENIED"].iter().any(|word| row["body"].contains(word));
            assert!(row["body"].starts_with(&text) && says, "{text}: {}", row["body"]);
        }
    }
}
