//! Filters against a plain reading of the hubble-contract §2.6: text against text, without cache,
//! order or shortcut.

mod plain;

use std::net::IpAddr;

use ipnet::IpNet;
use plain::plainly;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use regex::Regex;
use webb_flow::extra::{Dns, Http, Interface, L7, L7Record, Service};
use webb_flow::sym::Sym;
use webb_flow::{Event, Extra, Family, Flow, L4, Reply, TcpFlags};
use webb_index::filters::{EventTypeSpec, FilterSpec, Filters, FlowFilter, HeaderSpec, InterfaceSpec, WorkloadSpec};
use webb_index::{Endpoint, EndpointKind, EndpointSpec, Index, Policies, Workload};

use crate::common::{address, flow, index as small_cluster, written};

/// One end of a flow, as text.
#[derive(Debug, Clone)]
struct End {
    spec: EndpointSpec,
    ip: &'static str,
    port: u16,
    names: Vec<&'static str>,
    service: Option<(&'static str, &'static str)>,
    cluster: &'static str,
}

/// A flow, as text and numbers, and what webb makes of it.
#[derive(Debug, Clone)]
struct Told {
    source: End,
    destination: End,
    flow: Flow,
    extra: Extra,
}

const IPS: [&str; 5] = ["", "10.0.0.1", "10.1.2.3", "fd00::1", "::"];
const QUERIES: [&str; 4] = ["api.stripe.com.", "a.b.svc.cluster.local.", "", "X-Files.com"];
const URLS: [&str; 6] = ["http://x/v1/items", "http://x", "/only/path", "", "http://[bad", "http://x/a%2Fb?q=/zzz"];

fn end() -> impl Strategy<Value = End> {
    let labels = subsequence(
        vec!["any:app=z", "k8s:app=foo", "k8s:io.cilium.k8s.policy.cluster=c1", "k8s:team=7", "reserved:world"],
        0..4,
    );
    let workloads = subsequence(vec![("w1", "Deployment"), ("w2", "DaemonSet"), ("w1", "Job")], 0..3);
    (
        (select(vec!["", "default", "prod"]), select(vec!["", "tie-1", "xwing"]), labels, workloads, 0_u32..3),
        select(&IPS[..]),
        select(vec![53_u16, 80, 443]),
        subsequence(vec!["a.com", "www.example.com", "x_y.org"], 0..3),
        prop::option::of(select(vec![("prod", "db"), ("default", "web"), ("", "")])),
        select(vec!["", "c1", "c2"]),
    )
        .prop_map(|((namespace, name, labels, workloads, identity), ip, port, names, service, cluster)| End {
            spec: EndpointSpec {
                identity,
                cluster: cluster.into(),
                namespace: namespace.into(),
                pod_name: name.into(),
                labels: labels.into_iter().map(str::to_owned).collect(),
                workloads: workloads
                    .into_iter()
                    .map(|(name, kind)| Workload { name: name.into(), kind: kind.into() })
                    .collect(),
            },
            ip,
            port,
            names,
            service,
            cluster,
        })
}

fn layer_7() -> impl Strategy<Value = Option<L7>> {
    let dns = select(&QUERIES[..]).prop_map(|query| L7Record::Dns(Dns { query: query.into(), ..Dns::default() }));
    let http = (select(vec![0_u32, 4, 40, 200, 404, 4040]), select(vec!["GET", "post"]), select(&URLS[..])).prop_map(
        |(code, method, url)| {
            let headers = vec![("User-Agent".to_owned(), "curl/8".to_owned())];
            L7Record::Http(Http { code, method: method.into(), url: url.into(), protocol: String::new(), headers })
        },
    );
    let record = prop_oneof![Just(L7Record::None), dns, http];
    prop::option::of(record.prop_map(|record| L7 { record, ..L7::default() }))
}

fn told() -> impl Strategy<Value = Told> {
    let numbers = (
        prop::option::of(select(vec![0, 1, 4, 5, 7, 129])),
        select(vec![0, 3, 133]),
        0..4_i32,
        select(vec![0, 133, 206]),
        0..3_i32,
        prop::option::of((0_u32..3, select(vec!["", "lxc1"]))),
    );
    let texts = (
        select(vec!["", "node-1", "c1/node-1"]),
        subsequence(vec!["k8s:zone=a", "os=linux"], 0..3),
        select(vec!["", "u1"]),
        select(vec!["", "t1"]),
        0_u64..3,
    );
    let packet = (
        select(vec![L4::None, L4::Tcp, L4::Udp, L4::IcmpV4, L4::IcmpV6, L4::Sctp, L4::Vrrp]),
        prop::option::of(select(vec![0, TcpFlags::SYN, TcpFlags::SYN | TcpFlags::ACK])),
        select(vec![Family::NotUsed, Family::V4, Family::V6]),
        select(vec![Reply::Unknown, Reply::No, Reply::Yes]),
        any::<(bool, bool)>(),
    );
    (end(), end(), numbers, texts, packet, layer_7(), select(&IPS[..])).prop_map(
        |(source, destination, numbers, texts, packet, l7, translated)| {
            let (event_type, sub_type, verdict, drop_reason, traffic_direction, interface) = numbers;
            let (node, node_labels, uuid, trace, ip_trace_id) = texts;
            let (l4, flags, family, reply, (encrypted, has_ip)) = packet;
            let service = |end: &End| {
                end.service.map(|(namespace, name)| Service { namespace: namespace.into(), name: name.into() })
            };
            let extra = Extra {
                uuid: uuid.into(),
                node_name: node.into(),
                node_labels: node_labels.into_iter().map(str::to_owned).collect(),
                source_names: Sym::new(&source.names.join(",")),
                destination_names: Sym::new(&destination.names.join(",")),
                source_service: service(&source),
                destination_service: service(&destination),
                source_cluster: source.cluster.into(),
                destination_cluster: destination.cluster.into(),
                source_xlated: (!translated.is_empty()).then(|| address(translated)),
                encrypted,
                has_ip,
                event_type,
                sub_type,
                verdict,
                drop_reason,
                traffic_direction,
                interface: interface.map(|(index, name)| Interface { index, name: name.into() }),
                trace_id: trace.into(),
                ip_trace_id,
                l7,
                ..Extra::default()
            };
            let set = |ip: &str| if ip.is_empty() { webb_flow::Address::default() } else { address(ip) };
            let flow = Flow {
                source_ip: set(source.ip),
                destination_ip: set(destination.ip),
                source_port: source.port,
                destination_port: destination.port,
                l4,
                tcp_flags: flags.map_or_else(TcpFlags::default, TcpFlags::known),
                family,
                reply,
                ..Flow::default()
            };
            Told { source, destination, flow: written(flow, &extra), extra }
        },
    )
}

/// Few fields, each with few of few values, so that filters match now and then.
fn filter() -> impl Strategy<Value = FilterSpec> {
    let fields = prop::collection::btree_map(0..FIELDS.len(), any::<[prop::sample::Index; 2]>(), 0..4);
    fields.prop_map(|fields| {
        let mut spec = FilterSpec::default();
        for (field, picks) in fields {
            for pick in picks {
                FIELDS[field](&mut spec, pick);
            }
        }
        spec
    })
}

fn push(list: &mut Vec<String>, pick: prop::sample::Index, from: &[&str]) {
    list.push((*pick.get(from)).to_owned());
}

const PLACES: [&str; 6] = ["10.0.0.1", "10.0.0.0/8", "fd00::1", "fd00::/16", "FD00::1", "0.0.0.0/0"];
const PODS: [&str; 6] = ["prod/", "tie", "/x", "/", "default/xwing", "prod/tie-1"];
const SELECTORS: [&str; 7] =
    ["app", "k8s:app=foo", "!team", "team>5", "app in (z, y)", "reserved:world,app!=foo", "any:app=z"];
const FQDNS: [&str; 4] = ["*.com", "a.com", " WWW.*.com. ", "*"];
const PORTS: [&str; 3] = ["53", "80", "0443"];

type Set = fn(&mut FilterSpec, prop::sample::Index);

const FIELDS: [Set; 40] = [
    |spec, pick| push(&mut spec.uuid, pick, &["u1", ""]),
    |spec, pick| push(&mut spec.source_ip, pick, &PLACES),
    |spec, pick| push(&mut spec.source_ip_xlated, pick, &PLACES),
    |spec, pick| push(&mut spec.source_pod, pick, &PODS),
    |spec, pick| push(&mut spec.source_fqdn, pick, &FQDNS),
    |spec, pick| push(&mut spec.source_label, pick, &SELECTORS),
    |spec, pick| push(&mut spec.source_service, pick, &PODS),
    |spec, pick| spec.source_workload.push(workload(pick)),
    |spec, pick| push(&mut spec.source_cluster_name, pick, &["c1", "c2"]),
    |spec, pick| push(&mut spec.destination_ip, pick, &PLACES),
    |spec, pick| push(&mut spec.destination_pod, pick, &PODS),
    |spec, pick| push(&mut spec.destination_fqdn, pick, &FQDNS),
    |spec, pick| push(&mut spec.destination_label, pick, &SELECTORS),
    |spec, pick| push(&mut spec.destination_service, pick, &PODS),
    |spec, pick| spec.destination_workload.push(workload(pick)),
    |spec, pick| push(&mut spec.destination_cluster_name, pick, &["c1", "c2"]),
    |spec, pick| spec.traffic_direction.push(*pick.get(&[0, 1, 2])),
    |spec, pick| spec.verdict.push(*pick.get(&[0, 1, 2])),
    |spec, pick| spec.drop_reason_desc.push(*pick.get(&[133, 206])),
    |spec, pick| {
        let (index, name) = *pick.get(&[(0, ""), (1, ""), (0, "lxc1")]);
        spec.interface.push(InterfaceSpec { index, name: name.into() });
    },
    |spec, pick| {
        let (kind, match_sub_type, sub_type) =
            *pick.get(&[(0, false, 0), (4, false, 9), (4, true, 3), (0, true, 133), (129, true, 0), (129, false, 0)]);
        spec.event_type.push(EventTypeSpec { kind, match_sub_type, sub_type });
    },
    |spec, pick| push(&mut spec.http_status_code, pick, &["4+", "40+", "404", "2+"]),
    |spec, pick| push(&mut spec.protocol, pick, &["TCP", "icmp", "ICMPv6", "dns", "http", "vrrp"]),
    |spec, pick| push(&mut spec.source_port, pick, &PORTS),
    |spec, pick| push(&mut spec.destination_port, pick, &PORTS),
    |spec, pick| spec.reply.push(*pick.get(&[true, false])),
    |spec, pick| push(&mut spec.dns_query, pick, &["stripe", "^.*\\.local\\.?$", "^$", "(?i)x-files"]),
    |spec, pick| spec.source_identity.push(*pick.get(&[0, 1])),
    |spec, pick| spec.destination_identity.push(*pick.get(&[0, 1])),
    |spec, pick| push(&mut spec.http_method, pick, &["get", "POST"]),
    |spec, pick| push(&mut spec.http_path, pick, &["^/v1/", "^$", "^/a/b$", "only"]),
    |spec, pick| push(&mut spec.http_url, pick, &["http", "zzz", "^$"]),
    |spec, pick| {
        let (key, value) = *pick.get(&[("User-Agent", "curl/8"), ("user-agent", "curl/8")]);
        spec.http_header.push(HeaderSpec { key: key.into(), value: value.into() });
    },
    |spec, pick| spec.tcp_flags.push(*pick.get(&[0, TcpFlags::SYN, TcpFlags::ACK])),
    |spec, pick| push(&mut spec.node_name, pick, &["node-1", "c1/", "/node-*", "default/node-1"]),
    |spec, pick| push(&mut spec.node_labels, pick, &["zone=a", "k8s:zone", "!os", "os=linux"]),
    |spec, pick| spec.ip_version.push(*pick.get(&[0, 1, 2])),
    |spec, pick| push(&mut spec.trace_id, pick, &["t1", ""]),
    |spec, pick| spec.ip_trace_id.push(*pick.get(&[0, 1])),
    |spec, pick| spec.encrypted.push(*pick.get(&[true, false])),
];

fn workload(pick: prop::sample::Index) -> WorkloadSpec {
    let (name, kind) = *pick.get(&[("w1", ""), ("", "DaemonSet"), ("w1", "Job"), ("", "")]);
    WorkloadSpec { name: name.into(), kind: kind.into() }
}

/// An index whose only two endpoints are the ends of the flow, and the flow with their ids.
fn named(told: &Told) -> (Index, Flow) {
    let endpoint = |end: &End| (Endpoint::new(EndpointKind::Pod, false, &end.spec), Vec::new());
    let index = Index::new([endpoint(&told.source), endpoint(&told.destination)], Policies::default());
    let ids: Vec<_> = index.endpoints().map(|(id, _)| id).skip(2).collect();
    let flow = Flow { source: ids[0], destination: ids[1], ..told.flow };
    (index, flow)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    /// Any filters on any flows decide as the rules say, however often they were asked before.
    #[test]
    fn filters_decide_as_the_rules_say(
        include in prop::collection::vec(filter(), 0..3),
        exclude in prop::collection::vec(filter(), 0..2),
        flows in prop::collection::vec(told(), 1..8),
    ) {
        let build = |specs: &[FilterSpec]| specs.iter().cloned().map(FlowFilter::new).collect::<Result<Vec<_>, _>>();
        // A field of HTTP beside event types that leave it out is refused; there is nothing to
        // decide then.
        let (Ok(included), Ok(excluded)) = (build(&include), build(&exclude)) else { return Ok(()) };
        let filters = Filters { include: included, exclude: excluded };
        for told in flows.iter().chain(&flows) {
            let (index, flow) = named(told);
            let wanted = (include.is_empty() || include.iter().any(|spec| plainly(spec, told)))
                && !exclude.iter().any(|spec| plainly(spec, told));
            prop_assert_eq!(filters.pass(&flow, Some(&told.extra), &index), wanted, "{:?} {:?}", include, exclude);
        }
    }
}

fn passes(spec: FilterSpec, flow: &Flow, index: &Index) -> bool {
    let mut filters = Filters { include: vec![FlowFilter::new(spec).unwrap()], exclude: Vec::new() };
    filters.set_local_node("c1/node-1");
    filters.pass(flow, None, index)
}

/// A flow that the kernel reports has no extras: what a filter asks of it comes from the flow and
/// its names.
#[test]
fn flows_of_the_kernel_answer_for_themselves() {
    let index = small_cluster();
    let trace = crate::common::tcp(flow(&index, "10.0.0.2", "10.0.0.3"), 80, TcpFlags::SYN);
    let drop = crate::common::dropped(trace, "POLICY_DENIED");
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let event = |kind, sub_type: Option<i32>| FilterSpec {
        event_type: vec![EventTypeSpec {
            kind,
            match_sub_type: sub_type.is_some(),
            sub_type: sub_type.unwrap_or_default(),
        }],
        ..FilterSpec::default()
    };
    for (spec, flow, wanted) in vec![
        (FilterSpec { source_ip: texts(&["10.0.0.0/30"]), ..FilterSpec::default() }, &trace, true),
        (FilterSpec { source_pod: texts(&["deathstar"]), ..FilterSpec::default() }, &trace, true),
        (FilterSpec { source_label: texts(&["app=deathstar"]), ..FilterSpec::default() }, &trace, true),
        (FilterSpec { drop_reason_desc: vec![133], ..FilterSpec::default() }, &drop, true),
        (FilterSpec { drop_reason_desc: vec![134], ..FilterSpec::default() }, &drop, false),
        (FilterSpec { reply: vec![false], ..FilterSpec::default() }, &trace, true),
        (FilterSpec { node_name: texts(&["c1/node-*"]), ..FilterSpec::default() }, &trace, true),
        (FilterSpec { node_name: texts(&["c2/"]), ..FilterSpec::default() }, &trace, false),
        (FilterSpec { http_method: texts(&["GET"]), ..FilterSpec::default() }, &trace, false),
        (FilterSpec { uuid: texts(&[""]), ..FilterSpec::default() }, &trace, true),
        (event(4, Some(0)), &trace, true),
        (event(4, Some(3)), &trace, false),
        (event(1, Some(133)), &drop, true),
        (event(1, Some(181)), &drop, false),
        (event(4, None), &Flow { event: Event::Flush, ..trace }, true),
        (event(0, None), &Flow { event: Event::Unknown, ..trace }, false),
        (FilterSpec::default(), &trace, true),
    ] {
        assert_eq!(passes(spec.clone(), flow, &index), wanted, "{spec:?}");
    }
}
