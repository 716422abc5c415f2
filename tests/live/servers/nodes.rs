//! Two nodes, an agent on each, and a Service between them: each request counts once over both
//! agents, and twice with both sides, in both families.

use super::load;
use crate::harness::{Agent, DEATHSTAR_C, Lab, TIEFIGHTER};
use crate::layer7::{adds_up, ask};
use crate::scrape::Scrape;

const METRICS: &str = "httpV2:path;sourceContext=pod;destinationContext=pod;labelsContext=destination_service \
    dns:query;sourceContext=pod;destinationContext=pod flow";

const REQUESTS: &str = "hubble_http_requests_total";
const QUERIES: &str = "hubble_dns_queries_total";

/// Requests and DNS questions of an agent by the side that reports them, all labels compared, and
/// all of them.
fn counted(scrape: &Scrape) -> [u64; 5] {
    let ends = [("source", TIEFIGHTER), ("destination", DEATHSTAR_C)];
    let words = [("method", "POST"), ("status", "200"), ("protocol", "HTTP/1.1"), ("path", "/v1/request-landing")];
    let requests = |side: &[(&str, &str)]| scrape.sum(REQUESTS, &[&ends[..], &words, side].concat());
    [
        // The packet is the Service's at the client's node, and the pod's at the server's.
        requests(&[("reporter", "client"), ("destination_service", "default/deathstar")]),
        requests(&[("reporter", "server"), ("destination_service", "")]),
        scrape.sum(REQUESTS, &[]),
        scrape.sum(QUERIES, &[&ends[..], &[("query", "far.test.")]].concat()),
        scrape.sum(QUERIES, &[]),
    ]
}

/// Requests to the Service's addresses that a pod on the other node answers, and DNS questions to
/// that pod.
#[test]
fn two_nodes() {
    let Some(lab) = Lab::up() else { return };
    lab.choose("node", "c");
    lab.enforce_nothing();
    let dns = lab.socket("deathstar-c", "10.244.2.11:53");
    let client = lab.socket("tiefighter", "0.0.0.0:0");
    client.connect("10.244.2.11:53").unwrap();
    let (requests, questions) = (load(20) as u64, 10);
    for side in ["once", "both"] {
        let config = lab.file("webb.yaml", &format!("l7: {{http_side: {side}, dns_side: {side}}}\n"));
        let more = ["--config", config.to_str().unwrap()];
        let mut near = Agent::start_at(&lab, "node", METRICS, &more);
        let mut far = Agent::start_at(&lab, "node2", METRICS, &more);
        for service in ["10.96.23.45:80", "[fd00:10:96::2d]:80"] {
            lab.run("tiefighter", &format!("pod land --rounds {requests} {service}"));
        }
        for id in 0..questions {
            ask(&client, &dns, id, "far.test", Some(0));
        }
        let (requests, questions) = (2 * requests, u64::from(questions));
        let other = u64::from(side == "both");
        let at_client = [other * requests, 0, other * requests, questions, questions];
        let at_server = [0, requests, requests, other * questions, other * questions];
        for (agent, wanted) in [(&mut near, at_client), (&mut far, at_server)] {
            agent.settles(|scrape| {
                let found = counted(scrape);
                if found == wanted { adds_up(scrape) } else { Err(format!("{side}: {found:?}, not {wanted:?}")) }
            });
        }
    }
}
