//! Every kind of filter against known traffic: what the server answers to a filter is what of all
//! its flows the filter describes.

use std::collections::BTreeSet;
use std::thread::sleep;
use std::time::{Duration, Instant};

use webb_observer::proto::flow::{Endpoint, Flow, FlowFilter, Workload, layer4, layer7};
use webb_observer::proto::observer::GetFlowsRequest;

use crate::harness::{DEATHSTAR_A, Lab, TIEFIGHTER, XWING};
use crate::layer7::ask;
use crate::observer::{Observed, TIMEOUT, flows};

const METRICS: &str = "flow drop policy dns:query httpV2";
const FORWARDED: i32 = 1;
const DROPPED: i32 = 2;
const POLICY_DENIED: i32 = 133;
const EGRESS: i32 = 2;

/// A filter, what it is about, and the flows that it describes.
type Case = (&'static str, FlowFilter, fn(&Flow) -> bool);

fn is_pod(end: Option<&Endpoint>, name: &str) -> bool {
    end.is_some_and(|end| format!("{}/{}", end.namespace, end.pod_name) == name)
}

fn is_of(end: Option<&Endpoint>, workload: &str, kind: &str) -> bool {
    end.is_some_and(|end| end.workloads.iter().any(|one| one.name == workload && one.kind == kind))
}

fn has_label(end: Option<&Endpoint>, label: &str) -> bool {
    end.is_some_and(|end| end.labels.iter().any(|one| one == label))
}

fn destination_port(flow: &Flow) -> Option<u32> {
    match flow.l4.as_ref()?.protocol.as_ref()? {
        layer4::Protocol::Tcp(tcp) => Some(tcp.destination_port),
        layer4::Protocol::Udp(udp) => Some(udp.destination_port),
        _ => None,
    }
}

fn is_udp(flow: &Flow) -> bool {
    flow.l4.as_ref().is_some_and(|l4| matches!(l4.protocol, Some(layer4::Protocol::Udp(_))))
}

fn record(flow: &Flow) -> Option<&layer7::Record> {
    flow.l7.as_ref()?.record.as_ref()
}

fn is_http(flow: &Flow) -> bool {
    matches!(record(flow), Some(layer7::Record::Http(_)))
}

fn queries(flow: &Flow, name: &str) -> bool {
    matches!(record(flow), Some(layer7::Record::Dns(dns)) if dns.query == name)
}

fn texts(text: &str) -> Vec<String> {
    vec![text.to_owned()]
}

#[allow(clippy::too_many_lines, reason = "a table")]
fn cases() -> Vec<Case> {
    let none = FlowFilter::default;
    vec![
        ("all", none(), |_| true),
        ("verdict", FlowFilter { verdict: vec![DROPPED], ..none() }, |flow| flow.verdict == DROPPED),
        ("another verdict", FlowFilter { verdict: vec![FORWARDED], ..none() }, |flow| flow.verdict == FORWARDED),
        ("drop reason", FlowFilter { drop_reason_desc: vec![POLICY_DENIED], ..none() }, |flow| {
            flow.verdict == DROPPED && flow.drop_reason_desc == POLICY_DENIED
        }),
        ("protocol of layer 4", FlowFilter { protocol: texts("udp"), ..none() }, is_udp),
        ("DNS", FlowFilter { protocol: texts("dns"), ..none() }, |flow| {
            matches!(record(flow), Some(layer7::Record::Dns(_)))
        }),
        ("HTTP", FlowFilter { protocol: texts("http"), ..none() }, is_http),
        ("a query", FlowFilter { dns_query: texts("^web\\.test\\.?$"), ..none() }, |flow| {
            queries(flow, "web.test.") || queries(flow, "web.test")
        }),
        (
            "a status",
            FlowFilter { http_status_code: texts("2+"), ..none() },
            |flow| matches!(record(flow), Some(layer7::Record::Http(http)) if (200..300).contains(&http.code)),
        ),
        (
            "a method",
            FlowFilter { http_method: texts("post"), ..none() },
            |flow| matches!(record(flow), Some(layer7::Record::Http(http)) if http.method == "POST"),
        ),
        (
            "a path",
            FlowFilter { http_path: texts("^/v1/request"), ..none() },
            |flow| matches!(record(flow), Some(layer7::Record::Http(http)) if http.url.contains("/v1/request")),
        ),
        ("a port", FlowFilter { destination_port: texts("80"), ..none() }, |flow| destination_port(flow) == Some(80)),
        ("another port", FlowFilter { destination_port: texts("7777"), ..none() }, |flow| {
            destination_port(flow) == Some(7777)
        }),
        ("a pod", FlowFilter { source_pod: texts(XWING), ..none() }, |flow| is_pod(flow.source.as_ref(), XWING)),
        (
            "two pods",
            FlowFilter { source_pod: texts(TIEFIGHTER), destination_pod: texts(DEATHSTAR_A), ..none() },
            |flow| is_pod(flow.source.as_ref(), TIEFIGHTER) && is_pod(flow.destination.as_ref(), DEATHSTAR_A),
        ),
        (
            "a workload",
            FlowFilter {
                destination_workload: vec![Workload { name: "deathstar".into(), kind: "Deployment".into() }],
                ..none()
            },
            |flow| is_of(flow.destination.as_ref(), "deathstar", "Deployment"),
        ),
        ("a label", FlowFilter { source_label: texts("class=xwing"), ..none() }, |flow| {
            has_label(flow.source.as_ref(), "k8s:class=xwing")
        }),
        ("labels", FlowFilter { destination_label: texts("org=empire,class notin (tiefighter)"), ..none() }, |flow| {
            has_label(flow.destination.as_ref(), "k8s:org=empire")
                && !has_label(flow.destination.as_ref(), "k8s:class=tiefighter")
        }),
        ("this node", FlowFilter { node_name: texts("webb-node-1"), ..none() }, |flow| flow.node_name == "webb-node-1"),
        (EMPTY, FlowFilter { node_name: texts("webb-node-2"), ..none() }, |_| false),
        ("direction", FlowFilter { traffic_direction: vec![EGRESS], ..none() }, |flow| {
            flow.traffic_direction == EGRESS
        }),
        ("an address", FlowFilter { source_ip: texts("10.244.1.31"), ..none() }, |flow| {
            flow.ip.as_ref().is_some_and(|ip| ip.source == "10.244.1.31")
        }),
        ("a network", FlowFilter { destination_ip: texts("10.244.1.0/28"), ..none() }, |flow| {
            flow.ip.as_ref().is_some_and(|ip| {
                ip.destination
                    .strip_prefix("10.244.1.")
                    .is_some_and(|last| last.parse().is_ok_and(|last: u8| last < 16))
            })
        }),
    ]
}

/// The case that no flow is of: the traffic of the test makes flows of each other.
const EMPTY: &str = "another node";

fn ids<'a>(flows: impl IntoIterator<Item = &'a Flow>) -> BTreeSet<&'a str> {
    flows.into_iter().map(|flow| flow.uuid.as_str()).collect()
}

/// What is wrong with the answers at present: a flow may still be on its way between two of them.
fn wrong(address: &str) -> Option<String> {
    let ask = |filter: &FlowFilter| {
        let request =
            GetFlowsRequest { whitelist: vec![filter.clone()], number: 100_000, ..GetFlowsRequest::default() };
        flows(address, &request)
    };
    let all = ask(&FlowFilter::default());
    for (what, filter, describes) in cases() {
        let wanted: Vec<&Flow> = all.iter().filter(|flow| describes(flow)).collect();
        if wanted.is_empty() && what != EMPTY {
            return Some(format!("no flow is of {what}, among {}", all.len()));
        }
        let found = ask(&filter);
        if ids(&found) != ids(wanted.iter().copied()) {
            return Some(format!("{what}: {} flows, and {} of {} are wanted", found.len(), wanted.len(), all.len()));
        }
    }
    None
}

/// The answer to each filter is what of all flows it describes: connections with HTTP and DNS in
/// them, and some that a policy denies.
#[test]
fn every_filter_finds_known_traffic() {
    let Some(lab) = Lab::up() else { return };
    let observed = Observed::start_with(&lab, "node", METRICS, "");
    lab.run("tiefighter", "pod land --rounds 3 10.244.1.11:80");
    lab.try_run("xwing", "pod land --timeout 300 --rounds 2 10.244.1.11:80");
    lab.run("xwing", "pod ask --rounds 2 10.244.1.21:7777");
    let server = lab.socket("tiefighter", "10.244.1.21:53");
    let client = lab.socket("xwing", "0.0.0.0:0");
    client.connect("10.244.1.21:53").unwrap();
    ask(&client, &server, 1, "web.test", Some(0));
    ask(&client, &server, 2, "none.test", Some(3));
    let began = Instant::now();
    while let Some(wrong) = wrong(&observed.address()) {
        assert!(began.elapsed() < TIMEOUT, "{wrong}\n{}", observed.log());
        sleep(Duration::from_millis(200));
    }
}
