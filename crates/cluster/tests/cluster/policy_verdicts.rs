//! From an answer of policies to a verdict and to a drop reason: what is undecided is said to be,
//! an explicit denial carries its rule, and a drop that policies with tiers forbid has their
//! reason.

use std::net::IpAddr;

use webb_cluster::{Cache, CacheSettings, parse};
use webb_decode::verdicts::{Undecided, Verdicts};
use webb_decode::{Decoded, Decoder};
use webb_flow::abi::{Record, VERSION, kind};
use webb_flow::{Direction, Flow, L4, Point, Reasons, Reply, Verdict};
use webb_index::Index;
use webb_index::policy::Match;
use webb_index::policy::spec::PolicyKind;
use zerocopy::IntoBytes;

const CLUSTER: &str = "
{apiVersion: v1, kind: Namespace, metadata: {name: a, labels: {team: red}}}
---
{apiVersion: v1, kind: Pod, metadata: {name: client, namespace: a, labels: {app: client}}, spec: {nodeName: n1, containers: []}, status: {podIP: 10.0.0.1}}
---
{apiVersion: v1, kind: Pod, metadata: {name: server, namespace: a, labels: {app: server}}, spec: {nodeName: n2, containers: []}, status: {podIP: 10.0.0.2}}
---
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: {name: out}
spec:
  tier: Admin
  priority: 1
  subject: {namespaces: {matchLabels: {team: red}}}
  egress:
  - {action: Accept, to: [{namespaces: {}}], protocols: [{tcp: {destinationPort: {number: 80}}}]}
  - {action: Deny, to: [{namespaces: {}}], protocols: [{tcp: {destinationPort: {number: 81}}}]}
  - {action: Accept, to: [{domainNames: ['*.example.org']}], protocols: [{tcp: {destinationPort: {number: 443}}}]}
  - {action: Deny, to: [{networks: [0.0.0.0/0]}], protocols: [{tcp: {destinationPort: {number: 443}}}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: locked, namespace: a}
spec: {podSelector: {matchLabels: {app: client}}, policyTypes: [Egress]}
";

fn index() -> Index {
    let cache = Cache::new(CacheSettings { node: "n1".into(), ..CacheSettings::default() });
    cache.replace(parse("m.yaml", CLUSTER).unwrap().objects);
    cache.index()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn opens(index: &Index, destination: &str, port: u16) -> Flow {
    let (source_ip, destination_ip) = (ip("10.0.0.1").into(), ip(destination).into());
    Flow {
        time_ns: 1,
        source: index.find(source_ip),
        destination: index.find(destination_ip),
        source_ip,
        destination_ip,
        source_port: 40_000,
        destination_port: port,
        l4: L4::Tcp,
        point: Point::ToStack,
        direction: Direction::Egress,
        reply: Reply::No,
        ..Flow::default()
    }
}

fn policy(index: &Index, flow: &Flow) -> Option<(PolicyKind, String)> {
    let name = index.policies().name(flow.ruling.policy()?)?;
    Some((name.kind, name.name.text().to_string()))
}

/// An allow by a rule of a tier names it and its kind of match, though a NetworkPolicy would deny.
#[test]
fn an_accept_is_forwarded() {
    let index = index();
    let verdict = Verdicts::default().opened(&opens(&index, "10.0.0.2", 80), None, &index).unwrap();
    assert_eq!((verdict.verdict, verdict.ruling.matched()), (Verdict::Forwarded, Match::L3L4.number()));
    assert_eq!(policy(&index, &verdict), Some((PolicyKind::ClusterNetworkPolicy, "out".into())));
}

/// A flow that policies leave open has no verdict, does not wait, and is counted with that reason.
#[test]
fn an_open_question_is_counted() {
    let index = index();
    let mut verdicts = Verdicts::default();
    assert!(verdicts.opened(&opens(&index, "203.0.113.1", 443), None, &index).is_none());
    assert!(!verdicts.any_waiting());
    let counts = Undecided::ALL.map(Undecided::label).into_iter().zip(verdicts.undecided());
    assert_eq!(counts.filter(|(_, count)| *count > 0).collect::<Vec<_>>(), [("policies", 1)]);
    assert!(verdicts.opened(&opens(&index, "10.0.0.2", 82), None, &index).is_none());
    assert!(verdicts.any_waiting(), "the NetworkPolicy forbids that: an answer is waited for");
}

/// Reason of a drop, and the verdict on it: a rule's denial is `POLICY_DENY` and carries the rule's
/// match, a pod's isolation is `POLICY_DENIED` and carries none. What is undecided, or allowed,
/// keeps the kernel's reason.
#[test]
fn drops_have_their_reason() {
    let index = index();
    let decoder = Decoder::new(Reasons::new([(8, "NETFILTER_DROP")]));
    let dropped = |destination: &str, port| {
        let flow = opens(&index, destination, port);
        let record = Record {
            version: VERSION,
            kind: kind::DROP,
            hook: 4,
            length: 80,
            family: 4,
            protocol: 6,
            source: flow.source_ip.0,
            destination: flow.destination_ip.0,
            source_port: flow.source_port,
            destination_port: port,
            reason: 8,
            tcp_flags: 0x02,
            packets: 1,
            ..Record::default()
        };
        let mut flow = Flow::default();
        assert_ne!(decoder.decode(record.as_bytes(), &index, &mut flow), Ok(Decoded::Foreign));
        let denied = flow.reason.0.text().starts_with("POLICY");
        let verdict = denied.then(|| Verdicts::default().denied(&flow, &index));
        let by = verdict.map(|verdict| (verdict.ruling.matched(), policy(&index, &verdict).map(|(_, name)| name)));
        (flow.reason.0.text().to_string(), by)
    };
    let by = |matched: Match, name: &str| Some((matched.number(), Some(name.to_owned())));
    assert_eq!(dropped("10.0.0.2", 81), ("POLICY_DENY".to_owned(), by(Match::L3L4, "out")));
    assert_eq!(dropped("10.0.0.2", 82), ("POLICY_DENIED".to_owned(), by(Match::None, "locked")));
    assert_eq!(dropped("10.0.0.2", 80), ("NETFILTER_DROP".to_owned(), None));
    assert_eq!(dropped("203.0.113.1", 443), ("NETFILTER_DROP".to_owned(), None), "it may be a name under example.org");
}
