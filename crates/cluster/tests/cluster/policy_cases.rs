//! Connections with their answers, worked out by hand: every directory of `tests/policy_cases` has
//! a cluster and a table. Each is asked on each node of its cluster, and on one that has none of
//! its pods: where an agent runs changes nothing of what policies say.

use std::fmt::Write as _;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde_json::Value;
use webb_cluster::{Cache, CacheSettings, OtherKinds, parse};
use webb_flow::{Address, Direction, Flow, L4, ServiceEnd};
use webb_index::Index;
use webb_index::policy::spec::PolicyKind;
use webb_index::policy::{Decider, Decision, EndEvaluation};

/// One line of a table.
struct Case<'a> {
    id: &'a str,
    source: &'a str,
    destination: &'a str,
    port: &'a str,
    protocol: &'a str,
    /// Decision and deciders, of ingress and of egress.
    expected: [[&'a str; 2]; 2],
}

/// Destination of a packet, once translated.
struct End {
    address: IpAddr,
    /// A Service that it goes through, and the port behind it.
    through: Option<(IpAddr, u16)>,
}

fn directories() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/policy_cases");
    let mut all: Vec<PathBuf> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.retain(|path| path.is_dir());
    all.sort();
    all
}

/// The objects of a manifest as they stand there.
fn objects(text: &str) -> Vec<Value> {
    // A pod called `y` is no truth value.
    let options = || serde_saphyr::options! { strict_booleans: true };
    let documents = text.split("\n---\n");
    documents.map(|document| serde_saphyr::from_str_with_options(document, options()).unwrap()).collect()
}

fn text<'a>(object: &'a Value, path: &str) -> &'a str {
    object.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

fn named<'a>(objects: &'a [Value], kind: &str, namespace: &str, name: &str) -> &'a Value {
    let is = |object: &&Value| {
        text(object, "/kind") == kind
            && text(object, "/metadata/namespace") == namespace
            && text(object, "/metadata/name") == name
    };
    objects.iter().find(is).unwrap_or_else(|| panic!("{kind} {namespace}/{name}"))
}

fn end(objects: &[Value], name: &str) -> End {
    let (name, v6) = name.strip_suffix("%6").map_or((name, false), |name| (name, true));
    let plain = |address| End { address, through: None };
    if let Ok(address) = name.parse() {
        return plain(address);
    }
    let pick = |list: &Value, field: &str| -> IpAddr {
        let all = list.as_array().unwrap().iter().filter_map(|item| item[field].as_str()?.parse().ok());
        all.into_iter().find(|address: &IpAddr| address.is_ipv6() == v6).unwrap()
    };
    if let Some(node) = name.strip_prefix("node:") {
        return plain(pick(&named(objects, "Node", "", node)["status"]["addresses"], "address"));
    }
    if let Some(service) = name.strip_prefix("svc:") {
        let (namespace, name) = service.split_once('/').unwrap();
        let front = text(named(objects, "Service", namespace, name), "/spec/clusterIP").parse().unwrap();
        let of = |object: &&Value| object["metadata"]["labels"]["kubernetes.io/service-name"] == name;
        let slice = objects.iter().filter(|object| text(object, "/kind") == "EndpointSlice").find(of).unwrap();
        let port = u16::try_from(slice["ports"][0]["port"].as_u64().unwrap()).unwrap();
        let address = slice["endpoints"][0]["addresses"][0].as_str().unwrap().parse().unwrap();
        return End { address, through: Some((front, port)) };
    }
    let (namespace, name) = name.split_once('/').unwrap();
    plain(pick(&named(objects, "Pod", namespace, name)["status"]["podIPs"], "ip"))
}

fn flow(index: &Index, objects: &[Value], case: &Case<'_>) -> Flow {
    let (source, destination) = (end(objects, case.source), end(objects, case.destination));
    let l4 = match case.protocol {
        "TCP" => L4::Tcp,
        "UDP" => L4::Udp,
        "SCTP" => L4::Sctp,
        "ICMP" if source.address.is_ipv6() => L4::IcmpV6,
        "ICMP" => L4::IcmpV4,
        other => panic!("{other}"),
    };
    let port = case.port.parse().unwrap_or(0);
    let [source_ip, destination_ip] = [source.address, destination.address].map(Address::from);
    let service = destination.through.map_or_else(ServiceEnd::default, |(front, _)| {
        ServiceEnd::destination(index.services().find(front.into(), port, l4, false))
    });
    Flow {
        source: index.find(source_ip),
        destination: index.find(destination_ip),
        source_ip,
        destination_ip,
        source_port: 40_000,
        destination_port: destination.through.map_or(port, |(_, port)| port),
        service,
        l4,
        ..Flow::default()
    }
}

/// An evaluation as the tables write it: the answer, and who decided.
fn told(index: &Index, evaluation: Option<EndEvaluation<'_>>) -> [String; 2] {
    let Some(evaluation) = evaluation else { return ["-".to_owned(), "-".to_owned()] };
    let answer = match evaluation.decision {
        Decision::Allow => "allow",
        Decision::Deny => "deny",
        Decision::Undecided => "undecided",
    };
    let mut by: Vec<String> = evaluation.decided_by().into_iter().map(|by| decider(index, by)).collect();
    by.sort();
    let by = match evaluation.decision {
        Decision::Undecided if evaluation.is_excluded => "vendor".to_owned(),
        Decision::Undecided => "?".to_owned(),
        _ => by.join(","),
    };
    [answer.to_owned(), by]
}

fn decider(index: &Index, by: Decider) -> String {
    let row = match by {
        Decider::Default => return "default".to_owned(),
        Decider::OwnNode => return "own-node".to_owned(),
        Decider::Policy(row) => row,
    };
    let policy = index.policies().name(row).unwrap();
    let name = policy.name.text();
    match policy.kind {
        PolicyKind::NetworkPolicy => format!("np/{}/{name}", policy.namespace.text()),
        PolicyKind::AdminNetworkPolicy => format!("anp/{name}"),
        PolicyKind::BaselineAdminNetworkPolicy => format!("banp/{name}"),
        PolicyKind::ClusterNetworkPolicy => format!("cnp/{name}"),
    }
}

fn cases(table: &str) -> Vec<Case<'_>> {
    let lines = table.lines().skip(1).filter(|line| !line.is_empty());
    lines
        .map(|line| {
            let [id, source, destination, port, protocol, ingress, egress, ingress_by, egress_by, _] =
                line.split('\t').collect::<Vec<_>>()[..]
            else {
                panic!("{line}")
            };
            Case { id, source, destination, port, protocol, expected: [[ingress, ingress_by], [egress, egress_by]] }
        })
        .collect()
}

fn index(manifest: &str, node: &str, other_kinds: OtherKinds) -> Index {
    let cache = Cache::new(CacheSettings { node: node.to_owned(), other_kinds, ..CacheSettings::default() });
    cache.replace(parse("m.yaml", manifest).unwrap().objects);
    cache.index()
}

/// Every table, from wherever one looks.
#[test]
fn every_table() {
    let mut wrong = String::new();
    let mut seen = 0;
    for directory in directories() {
        let manifest = fs::read_to_string(directory.join("manifest.yaml")).unwrap();
        let table = fs::read_to_string(directory.join("cases.tsv")).unwrap();
        let objects = objects(&manifest);
        for node in ["n1", "n2", "elsewhere"] {
            let index = index(&manifest, node, OtherKinds::default());
            for case in cases(&table) {
                let flow = flow(&index, &objects, &case);
                let evaluation = index.policies().evaluate(&index, &flow);
                let got = [Direction::Ingress, Direction::Egress].map(|side| told(&index, evaluation.of(side)));
                if got != case.expected.map(|side| side.map(str::to_owned)) {
                    let name = directory.file_name().unwrap().display();
                    writeln!(wrong, "{name} {} on {node}: {got:?}, expected {:?}", case.id, case.expected).unwrap();
                }
                seen += 1;
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
    assert!(seen >= 98 * 3, "{seen} cases were read");
}

/// A drop is a denial where the policies that are evaluated forbid the connection for certain, also
/// where a vendor's policy, or a difference between engines, leaves a connection that passes
/// undecided.
#[test]
fn drops_are_denials_where_policies_forbid() {
    let mut seen = 0;
    for directory in directories() {
        let manifest = fs::read_to_string(directory.join("manifest.yaml")).unwrap();
        let table = fs::read_to_string(directory.join("cases.tsv")).unwrap();
        let objects = objects(&manifest);
        let index = index(&manifest, "n1", OtherKinds::default());
        let bare = self::index(&manifest, "n1", OtherKinds::new(true, &[]));
        for case in cases(&table) {
            let flow = flow(&index, &objects, &case);
            let denial = index.policies().forbids(&index, &flow).map(|denial| denial.direction);
            let evaluation = bare.policies().evaluate(&bare, &flow);
            let certain = evaluation.denial().map(|evaluation| evaluation.direction);
            if certain.is_some() {
                seen += 1;
                // The source's denial may be one that only some engines know.
                assert!(denial == certain || denial == Some(Direction::Egress), "{} {}", directory.display(), case.id);
            }
            let sides = [evaluation.egress, evaluation.ingress].into_iter().flatten();
            if sides.clone().all(|evaluation| evaluation.decision == Decision::Allow) {
                assert_eq!(denial, None, "{} {}", directory.display(), case.id);
            }
        }
    }
    assert!(seen > 40, "{seen} denials were met");
}

/// Without regard to vendors' kinds, what they left undecided is what NetworkPolicies say.
#[test]
fn other_kinds_can_be_ignored() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/policy_cases/06-vendors");
    let manifest = fs::read_to_string(directory.join("manifest.yaml")).unwrap();
    let table = fs::read_to_string(directory.join("cases.tsv")).unwrap();
    let index = index(&manifest, "n1", OtherKinds::new(true, &[]));
    let objects = objects(&manifest);
    let mut vendors = 0;
    for case in cases(&table) {
        let flow = flow(&index, &objects, &case);
        let evaluation = index.policies().evaluate(&index, &flow);
        for evaluation in [evaluation.ingress, evaluation.egress].into_iter().flatten() {
            assert_ne!(evaluation.decision, Decision::Undecided, "{}", case.id);
        }
        vendors += case.expected.iter().filter(|[_, by]| *by == "vendor").count();
    }
    assert!(vendors > 3, "nothing was undecided before");
}
