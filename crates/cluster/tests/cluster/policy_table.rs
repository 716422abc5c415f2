//! NetworkPolicy semantics, case by case. Every verdict here was worked out by hand from the
//! documentation of `networking.k8s.io/v1`; the few that go beyond it are explained in
//! `crates/index/src/policy`.

use std::fmt::Write as _;
use std::net::IpAddr;

use webb_cluster::{Cache, CacheSettings, parse};
use webb_flow::{Address, Direction, Flow, L4};
use webb_index::Index;
use webb_index::policy::Decision;

/// Two pods with different jobs and one without labels in `a`, two in `b`, one in `c`, and two
/// nodes: ours and one that has a pod in the host's network. `http` is port 8080 for `a/web` and
/// 9090 for `b/web`.
const CLUSTER: &str = "
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Namespace, metadata: {name: a, labels: {team: red}}}
- {apiVersion: v1, kind: Namespace, metadata: {name: b, labels: {team: blue, env: prod}}}
- {apiVersion: v1, kind: Node, metadata: {name: n1}, status: {addresses: [{type: InternalIP, address: 192.168.0.1}]}}
- {apiVersion: v1, kind: Node, metadata: {name: n2}, status: {addresses: [{type: InternalIP, address: 192.168.0.2}]}}
- apiVersion: v1
  kind: Pod
  metadata: {name: web, namespace: a, labels: {app: web, tier: front}}
  spec:
    nodeName: n1
    containers:
    - {name: c, ports: [{name: http, containerPort: 8080}, {name: dns, containerPort: 53, protocol: UDP}]}
    initContainers:
    - {name: sidecar, restartPolicy: Always, ports: [{name: metrics, containerPort: 9100}]}
    - {name: setup, ports: [{name: gone, containerPort: 7000}]}
  status: {podIPs: [{ip: 10.0.0.1}, {ip: 'fd00::1'}]}
- apiVersion: v1
  kind: Pod
  metadata: {name: db, namespace: a, labels: {app: db, tier: back}}
  spec: {nodeName: n1, containers: [{name: c, ports: [{name: pg, containerPort: 5432}]}]}
  status: {podIPs: [{ip: 10.0.0.2}, {ip: 'fd00::2'}]}
- apiVersion: v1
  kind: Pod
  metadata: {name: odd, namespace: a}
  spec: {nodeName: n1, containers: []}
  status: {podIP: 10.0.0.3}
- apiVersion: v1
  kind: Pod
  metadata: {name: web, namespace: b, labels: {app: web}}
  spec: {nodeName: n1, containers: [{name: c, ports: [{name: http, containerPort: 9090}]}]}
  status: {podIP: 10.0.1.1}
- apiVersion: v1
  kind: Pod
  metadata: {name: api, namespace: b, labels: {app: api}}
  spec: {nodeName: n2, containers: []}
  status: {podIP: 10.0.1.2}
- apiVersion: v1
  kind: Pod
  metadata: {name: job, namespace: c, labels: {app: job}}
  spec: {nodeName: n1, containers: []}
  status: {podIP: 10.0.2.1}
- apiVersion: v1
  kind: Pod
  metadata: {name: agent, namespace: a, labels: {app: agent}}
  spec: {nodeName: n2, hostNetwork: true, containers: []}
  status: {podIP: 192.168.0.2}
";

fn address(name: &str) -> IpAddr {
    let ip = match name {
        "a/web" => "10.0.0.1",
        "a/db" => "10.0.0.2",
        "a/odd" => "10.0.0.3",
        "b/web" => "10.0.1.1",
        "b/api" => "10.0.1.2",
        "c/job" => "10.0.2.1",
        "node" => "192.168.0.1",
        "other-node" => "192.168.0.2",
        "world" => "8.8.8.8",
        "a/web6" => "fd00::1",
        "a/db6" => "fd00::2",
        "world6" => "2001:db8::1",
        other => other,
    };
    ip.parse().unwrap()
}

/// The index of the cluster under some policies, each `namespace: spec`.
fn index(policies: &[&str]) -> Index {
    let mut text = CLUSTER.to_owned();
    for (at, policy) in policies.iter().enumerate() {
        let (namespace, spec) = policy.split_once(": ").unwrap();
        write!(
            text,
            "---\n{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, \
             metadata: {{name: p{at}, namespace: {namespace}}}, spec: {spec}}}\n"
        )
        .unwrap();
    }
    let manifest = parse("m.yaml", &text).unwrap();
    assert_eq!(manifest.problems, []);
    let cache = Cache::new(CacheSettings { node: "n1".into(), ..CacheSettings::default() });
    cache.replace(manifest.objects);
    cache.index()
}

/// `a/web > a/db tcp 5432`: who opens what to whom.
fn flow(index: &Index, text: &str) -> Flow {
    let words: Vec<&str> = text.split(' ').collect();
    let [source, ">", destination, protocol, port] = words[..] else { panic!("{text}") };
    let (source_ip, destination_ip) = (Address::from(address(source)), Address::from(address(destination)));
    let l4 = match protocol {
        "tcp" => L4::Tcp,
        "udp" => L4::Udp,
        "sctp" => L4::Sctp,
        "icmp" => L4::IcmpV4,
        "fragment" => L4::None,
        other => panic!("{other}"),
    };
    Flow {
        source: index.find(source_ip),
        destination: index.find(destination_ip),
        source_ip,
        destination_ip,
        source_port: 40_000,
        destination_port: port.parse().unwrap(),
        l4,
        ..Flow::default()
    }
}

fn verdict(index: &Index, flow: &Flow) -> &'static str {
    match index.policies().forbids(index, flow).map(|denial| denial.direction) {
        None => "allowed",
        Some(Direction::Egress) => "egress",
        Some(Direction::Ingress) => "ingress",
        Some(Direction::Unknown) => "a direction that isn't one",
    }
}

/// As [`verdict`], from the full evaluation.
fn judged(index: &Index, flow: &Flow) -> &'static str {
    let evaluation = index.policies().evaluate(index, flow);
    let mut evaluations = [evaluation.egress, evaluation.ingress].into_iter().flatten();
    match evaluation.denial().map(|denial| denial.direction) {
        None if evaluations.any(|evaluation| evaluation.decision == Decision::Undecided) => "undecided",
        None => "allowed",
        Some(Direction::Egress) => "egress",
        Some(Direction::Ingress) => "ingress",
        Some(Direction::Unknown) => "a direction that isn't one",
    }
}

/// The rule, the policies, the flow, and the denying policy.
type Case = (&'static str, &'static [&'static str], &'static str, &'static str);

const DENY_IN: &str = "a: {podSelector: {}}";
const DENY_OUT: &str = "a: {podSelector: {}, policyTypes: [Egress]}";
const DENY_BOTH: &str = "a: {podSelector: {}, policyTypes: [Ingress, Egress]}";

#[rustfmt::skip]
const CASES: &[Case] = &[
    // Isolation.
    ("without policies everything passes", &[], "a/web > a/db tcp 5432", "allowed"),
    ("default deny ingress isolates every pod of its namespace", &[DENY_IN], "a/web > a/db tcp 5432", "ingress"),
    ("default deny ingress isolates from the world", &[DENY_IN], "world > a/web tcp 80", "ingress"),
    ("default deny ingress isolates pods without labels", &[DENY_IN], "b/web > a/odd tcp 80", "ingress"),
    ("default deny ingress leaves egress alone", &[DENY_IN], "a/web > world tcp 443", "allowed"),
    ("default deny ingress leaves other namespaces alone", &[DENY_IN], "a/web > b/web tcp 80", "allowed"),
    ("default deny egress isolates from the world", &[DENY_OUT], "a/web > world tcp 443", "egress"),
    ("default deny egress isolates from pods", &[DENY_OUT], "a/web > b/web tcp 80", "egress"),
    ("default deny egress leaves ingress alone", &[DENY_OUT], "b/web > a/web tcp 80", "allowed"),
    ("where both ends forbid, the packet meets the source's policies first", &[DENY_BOTH], "a/web > a/db tcp 5432", "egress"),
    ("a policy isolates only the pods that it selects", &["a: {podSelector: {matchLabels: {app: db}}}"], "b/web > a/web tcp 80", "allowed"),
    ("the selected pod is isolated", &["a: {podSelector: {matchLabels: {app: db}}}"], "b/web > a/db tcp 80", "ingress"),
    ("a selector of the same labels in another namespace selects nothing here", &["b: {podSelector: {matchLabels: {app: db}}}"], "b/web > a/db tcp 80", "allowed"),
    ("a missing podSelector selects all", &["a: {ingress: []}"], "b/web > a/odd tcp 80", "ingress"),
    // policyTypes.
    ("without policyTypes ingress is meant", &["a: {podSelector: {}, ingress: []}"], "b/web > a/web tcp 80", "ingress"),
    ("without policyTypes and egress rules egress is not meant", &["a: {podSelector: {}, ingress: []}"], "a/web > world tcp 80", "allowed"),
    ("without policyTypes an empty egress list is not meant", &["a: {podSelector: {}, egress: []}"], "a/web > world tcp 80", "allowed"),
    ("without policyTypes egress rules mean egress too", &["a: {podSelector: {}, egress: [{ports: [{port: 53}]}]}"], "a/web > world tcp 80", "egress"),
    ("without policyTypes egress rules still isolate ingress", &["a: {podSelector: {}, egress: [{}]}"], "b/web > a/web tcp 80", "ingress"),
    ("policyTypes Egress alone leaves ingress rules without effect", &["a: {podSelector: {}, policyTypes: [Egress], ingress: []}"], "b/web > a/web tcp 80", "allowed"),
    ("policyTypes Ingress alone leaves egress rules without effect", &["a: {podSelector: {}, policyTypes: [Ingress], egress: [{ports: [{port: 53}]}]}"], "a/web > world tcp 80", "allowed"),
    // Empty rules.
    ("an empty rule admits everyone", &["a: {podSelector: {}, ingress: [{}]}"], "world > a/web tcp 80", "allowed"),
    ("an empty from admits everyone", &["a: {podSelector: {}, ingress: [{from: []}]}"], "world > a/web udp 80", "allowed"),
    ("an empty from admits on the rule's ports only", &["a: {podSelector: {}, ingress: [{from: [], ports: [{port: 80}]}]}"], "world > a/web tcp 81", "ingress"),
    ("an empty egress rule admits everything", &["a: {podSelector: {}, policyTypes: [Egress], egress: [{}]}"], "a/web > world icmp 0", "allowed"),
    ("empty ports admit every protocol", &["a: {podSelector: {}, ingress: [{from: [{podSelector: {}}], ports: []}]}"], "a/web > a/db sctp 7", "allowed"),
    // Peers.
    ("a podSelector peer is of the policy's own namespace", &["a: {podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}]}]}"], "a/web > a/db tcp 1", "allowed"),
    ("a podSelector peer is not of another namespace", &["a: {podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}]}]}"], "b/web > a/db tcp 1", "ingress"),
    ("an empty podSelector peer is the whole namespace", &["a: {podSelector: {}, ingress: [{from: [{podSelector: {}}]}]}"], "a/odd > a/db tcp 1", "allowed"),
    ("an empty podSelector peer is not the world", &["a: {podSelector: {}, ingress: [{from: [{podSelector: {}}]}]}"], "world > a/db tcp 1", "ingress"),
    ("a namespaceSelector peer is every pod there", &["a: {podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: blue}}}]}]}"], "b/api > a/db tcp 1", "allowed"),
    ("a namespaceSelector peer excludes the policy's own namespace unless it matches", &["a: {podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: blue}}}]}]}"], "a/web > a/db tcp 1", "ingress"),
    ("an empty namespaceSelector is every pod of every namespace", &["a: {podSelector: {}, ingress: [{from: [{namespaceSelector: {}}]}]}"], "c/job > a/db tcp 1", "allowed"),
    ("an empty namespaceSelector is not the world", &["a: {podSelector: {}, ingress: [{from: [{namespaceSelector: {}}]}]}"], "world > a/db tcp 1", "ingress"),
    ("an empty namespaceSelector is not another node", &["a: {podSelector: {}, ingress: [{from: [{namespaceSelector: {}}]}]}"], "other-node > a/db tcp 1", "ingress"),
    ("both selectors in one peer must match: they do", &["a: {podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: blue}}, podSelector: {matchLabels: {app: web}}}]}]}"], "b/web > a/db tcp 1", "allowed"),
    ("both selectors in one peer must match: wrong pod", &["a: {podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: blue}}, podSelector: {matchLabels: {app: web}}}]}]}"], "b/api > a/db tcp 1", "ingress"),
    ("both selectors in one peer must match: wrong namespace", &["a: {podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: blue}}, podSelector: {matchLabels: {app: web}}}]}]}"], "a/web > a/db tcp 1", "ingress"),
    ("selectors in two peers need one match: by namespace", &["a: {podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: blue}}}, {podSelector: {matchLabels: {app: web}}}]}]}"], "b/api > a/db tcp 1", "allowed"),
    ("selectors in two peers need one match: by pod", &["a: {podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: blue}}}, {podSelector: {matchLabels: {app: web}}}]}]}"], "a/web > a/db tcp 1", "allowed"),
    ("namespaces carry their name as a label", &["a: {podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: c}}}]}]}"], "c/job > a/db tcp 1", "allowed"),
    ("an egress peer is the destination", &["a: {podSelector: {}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {matchLabels: {team: blue}}}]}]}"], "a/web > b/web tcp 1", "allowed"),
    ("an egress peer is not the source", &["a: {podSelector: {}, policyTypes: [Egress], egress: [{to: [{podSelector: {matchLabels: {app: web}}}]}]}"], "a/web > a/db tcp 1", "egress"),
    ("a pod in the host's network is no peer by its labels", &["a: {podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: agent}}}]}]}"], "other-node > a/db tcp 1", "ingress"),
    // matchExpressions.
    ("In holds for one of its values", &["a: {podSelector: {matchExpressions: [{key: app, operator: In, values: [db, x]}]}}"], "b/web > a/db tcp 1", "ingress"),
    ("In doesn't hold without the label", &["a: {podSelector: {matchExpressions: [{key: app, operator: In, values: [db, x]}]}}"], "b/web > a/odd tcp 1", "allowed"),
    ("NotIn doesn't hold for its value", &["a: {podSelector: {matchExpressions: [{key: app, operator: NotIn, values: [db]}]}}"], "b/web > a/db tcp 1", "allowed"),
    ("NotIn holds without the label", &["a: {podSelector: {matchExpressions: [{key: app, operator: NotIn, values: [db]}]}}"], "b/web > a/odd tcp 1", "ingress"),
    ("Exists needs the label", &["a: {podSelector: {matchExpressions: [{key: app, operator: Exists}]}}"], "b/web > a/odd tcp 1", "allowed"),
    ("Exists takes any value", &["a: {podSelector: {matchExpressions: [{key: app, operator: Exists}]}}"], "b/web > a/db tcp 1", "ingress"),
    ("DoesNotExist needs the label's absence", &["a: {podSelector: {matchExpressions: [{key: app, operator: DoesNotExist}]}}"], "b/web > a/odd tcp 1", "ingress"),
    ("DoesNotExist fails on any value", &["a: {podSelector: {matchExpressions: [{key: app, operator: DoesNotExist}]}}"], "b/web > a/db tcp 1", "allowed"),
    ("labels and expressions must all hold", &["a: {podSelector: {matchLabels: {app: web}, matchExpressions: [{key: tier, operator: In, values: [back]}]}}"], "b/web > a/web tcp 1", "allowed"),
    ("expressions work for namespaces", &["a: {podSelector: {}, ingress: [{from: [{namespaceSelector: {matchExpressions: [{key: team, operator: DoesNotExist}]}}]}]}"], "c/job > a/db tcp 1", "allowed"),
    ("expressions exclude namespaces", &["a: {podSelector: {}, ingress: [{from: [{namespaceSelector: {matchExpressions: [{key: kubernetes.io/metadata.name, operator: NotIn, values: [b]}]}}]}]}"], "b/web > a/db tcp 1", "ingress"),
    // ipBlock.
    ("an ipBlock admits its addresses", &["a: {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 8.8.0.0/16}}]}]}"], "world > a/web tcp 1", "allowed"),
    ("an ipBlock admits no others", &["a: {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 8.9.0.0/16}}]}]}"], "world > a/web tcp 1", "ingress"),
    ("an ipBlock's exception is not admitted", &["a: {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0, except: [8.8.8.0/24]}}]}]}"], "world > a/web tcp 1", "ingress"),
    ("beside the exception the block admits", &["a: {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0, except: [8.8.8.0/24]}}]}]}"], "8.8.9.1 > a/web tcp 1", "allowed"),
    ("what one peer excepts another may admit", &["a: {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0, except: [10.0.0.0/8]}}, {podSelector: {}}]}]}"], "a/web > a/db tcp 1", "allowed"),
    ("an ipBlock counts pods' addresses too", &["a: {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.1.0/24}}]}]}"], "b/web > a/web tcp 1", "allowed"),
    ("an egress ipBlock is the destination's", &["a: {podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 8.8.8.8/32}}]}]}"], "a/web > world udp 53", "allowed"),
    ("an egress ipBlock is not the source's", &["a: {podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 10.0.0.0/24}}]}]}"], "a/web > world udp 53", "egress"),
    ("all of IPv4 is nothing of IPv6", &["a: {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0}}]}]}"], "world6 > a/web6 tcp 1", "ingress"),
    ("all of IPv6 is nothing of IPv4", &["a: {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: '::/0'}}]}]}"], "world > a/web tcp 1", "ingress"),
    ("an IPv6 block admits", &["a: {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: '2001:db8::/32'}}]}]}"], "world6 > a/web6 tcp 1", "allowed"),
    ("a pod is the same by its IPv6 address", &["a: {podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}]}]}"], "a/web6 > a/db6 tcp 1", "allowed"),
    // Ports.
    ("a port without protocol is TCP's", &["a: {podSelector: {}, ingress: [{ports: [{port: 80}]}]}"], "b/web > a/web tcp 80", "allowed"),
    ("a port without protocol is not UDP's", &["a: {podSelector: {}, ingress: [{ports: [{port: 80}]}]}"], "b/web > a/web udp 80", "ingress"),
    ("a UDP port is UDP's", &["a: {podSelector: {}, ingress: [{ports: [{port: 53, protocol: UDP}]}]}"], "b/web > a/web udp 53", "allowed"),
    ("an SCTP port is SCTP's", &["a: {podSelector: {}, ingress: [{ports: [{port: 7, protocol: SCTP}]}]}"], "b/web > a/web sctp 7", "allowed"),
    ("a protocol without port is every port of it", &["a: {podSelector: {}, ingress: [{ports: [{protocol: UDP}]}]}"], "b/web > a/web udp 9999", "allowed"),
    ("an empty port item is all of TCP", &["a: {podSelector: {}, ingress: [{ports: [{}]}]}"], "b/web > a/web tcp 9999", "allowed"),
    ("an empty port item is nothing of UDP", &["a: {podSelector: {}, ingress: [{ports: [{}]}]}"], "b/web > a/web udp 9999", "ingress"),
    ("the first port of a range is in it", &["a: {podSelector: {}, ingress: [{ports: [{port: 80, endPort: 90}]}]}"], "b/web > a/web tcp 80", "allowed"),
    ("the last port of a range is in it", &["a: {podSelector: {}, ingress: [{ports: [{port: 80, endPort: 90}]}]}"], "b/web > a/web tcp 90", "allowed"),
    ("the port after a range is not in it", &["a: {podSelector: {}, ingress: [{ports: [{port: 80, endPort: 90}]}]}"], "b/web > a/web tcp 91", "ingress"),
    ("one of several ports is enough", &["a: {podSelector: {}, ingress: [{ports: [{port: 80}, {port: 81}]}]}"], "b/web > a/web tcp 81", "allowed"),
    ("peer and port must be of one rule", &["a: {podSelector: {}, ingress: [{from: [{podSelector: {}}], ports: [{port: 80}]}, {from: [{namespaceSelector: {}}], ports: [{port: 81}]}]}"], "b/web > a/web tcp 80", "ingress"),
    ("the second rule admits what the first doesn't", &["a: {podSelector: {}, ingress: [{from: [{podSelector: {}}], ports: [{port: 80}]}, {from: [{namespaceSelector: {}}], ports: [{port: 81}]}]}"], "b/web > a/web tcp 81", "allowed"),
    ("a rule with ports admits no ICMP", &["a: {podSelector: {}, ingress: [{ports: [{port: 80}]}]}"], "b/web > a/web icmp 0", "ingress if dropped"),
    ("a rule without ports admits ICMP", &["a: {podSelector: {}, ingress: [{from: [{namespaceSelector: {}}]}]}"], "b/web > a/web icmp 0", "allowed"),
    ("a fragment may be of the admitted port", &["a: {podSelector: {}, ingress: [{ports: [{port: 80}]}]}"], "b/web > a/web fragment 0", "undecided"),
    ("a fragment from a peer that no rule admits is forbidden", &["a: {podSelector: {}, ingress: [{from: [{podSelector: {}}], ports: [{port: 80}]}]}"], "b/web > a/web fragment 0", "ingress"),
    // Named ports.
    ("a named port is what the selected pod calls so", &["a: {podSelector: {}, ingress: [{ports: [{port: http}]}]}"], "b/web > a/web tcp 8080", "allowed"),
    ("a named port is not what the peer calls so", &["a: {podSelector: {}, ingress: [{ports: [{port: http}]}]}"], "b/web > a/web tcp 9090", "ingress"),
    ("a pod without that name has no such port", &["a: {podSelector: {}, ingress: [{ports: [{port: http}]}]}"], "b/web > a/db tcp 8080", "ingress"),
    ("a name is of one protocol", &["a: {podSelector: {}, ingress: [{ports: [{port: dns}]}]}"], "b/web > a/web tcp 53", "ingress"),
    ("a name of UDP is met by UDP", &["a: {podSelector: {}, ingress: [{ports: [{port: dns, protocol: UDP}]}]}"], "b/web > a/web udp 53", "allowed"),
    ("in egress a named port is what the destination calls so", &["a: {podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: http}]}]}"], "a/web > b/web tcp 9090", "allowed"),
    ("in egress a named port is not what the selected pod calls so", &["a: {podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: http}]}]}"], "a/web > b/web tcp 8080", "egress"),
    ("outside of pods nothing has a named port", &["a: {podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: http}]}]}"], "a/web > world tcp 8080", "egress"),
    ("a sidecar's port has a name", &["a: {podSelector: {}, ingress: [{ports: [{port: metrics}]}]}"], "b/web > a/web tcp 9100", "allowed"),
    ("the port of an init container that ends has none", &["a: {podSelector: {}, ingress: [{ports: [{port: gone}]}]}"], "b/web > a/web tcp 7000", "ingress"),
    // Several policies, both ends.
    ("policies add up: what one forbids another may admit", &[DENY_IN, "a: {podSelector: {matchLabels: {app: web}}, ingress: [{ports: [{port: 80}]}]}"], "b/web > a/web tcp 80", "allowed"),
    ("policies add up only for the pods that they select", &[DENY_IN, "a: {podSelector: {matchLabels: {app: web}}, ingress: [{ports: [{port: 80}]}]}"], "b/web > a/db tcp 80", "ingress"),
    ("a policy of the other direction admits nothing", &[DENY_IN, "a: {podSelector: {}, policyTypes: [Egress], egress: [{}]}"], "b/web > a/db tcp 80", "ingress"),
    ("both ends must admit: the source doesn't", &["b: {podSelector: {}, policyTypes: [Egress]}", "a: {podSelector: {}, ingress: [{}]}"], "b/web > a/db tcp 80", "egress"),
    ("both ends must admit: the destination doesn't", &["b: {podSelector: {}, policyTypes: [Egress], egress: [{}]}", DENY_IN], "b/web > a/db tcp 80", "ingress"),
    ("both ends must admit: both do", &["b: {podSelector: {}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {}}]}]}", "a: {podSelector: {}, ingress: [{from: [{namespaceSelector: {}}]}]}"], "b/web > a/db tcp 80", "allowed"),
    // Who is exempt.
    ("the pod's own node may always come in", &[DENY_BOTH], "node > a/web tcp 8080", "allowed"),
    ("the pod's own node may not come in to pods elsewhere", &["b: {podSelector: {}}"], "node > b/api tcp 80", "ingress"),
    ("another node may not come in", &[DENY_IN], "other-node > a/web tcp 8080", "ingress"),
    ("another node may come in by its address", &["a: {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 192.168.0.0/24}}]}]}"], "other-node > a/web tcp 1", "allowed"),
    ("what is sent to the own node is denied only if it is dropped", &[DENY_OUT], "a/web > node tcp 10250", "egress if dropped"),
    ("a pod always reaches itself", &[DENY_BOTH], "a/web > a/web tcp 8080", "allowed"),
    ("no pod, no policy", &[DENY_BOTH], "world > node tcp 22", "allowed"),
    ("a pod in the host's network is its node, which no policy isolates", &["a: {podSelector: {matchLabels: {app: agent}}}"], "b/web > other-node tcp 80", "allowed"),
    ("nor is what it sends", &["a: {podSelector: {matchLabels: {app: agent}}, policyTypes: [Egress]}"], "other-node > world tcp 80", "allowed"),
    ("pods of one node are kept apart like any others", &["a: {podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {matchLabels: {app: nobody}}}]}]}"], "a/web > a/db tcp 5432", "ingress"),
    // As the documentation's examples combine it.
    ("names may be looked up: DNS is let out", &["a: {podSelector: {}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: b}}}], ports: [{port: 53, protocol: UDP}, {port: 53}]}]}"], "a/web > b/api udp 53", "allowed"),
    ("names may be looked up: over TCP too", &["a: {podSelector: {}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: b}}}], ports: [{port: 53, protocol: UDP}, {port: 53}]}]}"], "a/web > b/api tcp 53", "allowed"),
    ("names may be looked up: nothing else is", &["a: {podSelector: {}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: b}}}], ports: [{port: 53, protocol: UDP}, {port: 53}]}]}"], "a/web > b/api tcp 443", "egress"),
    ("names may be looked up: nor elsewhere", &["a: {podSelector: {}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: b}}}], ports: [{port: 53, protocol: UDP}, {port: 53}]}]}"], "a/web > world udp 53", "egress"),
    ("the world, but not the cluster: the world", &["a: {podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 0.0.0.0/0, except: [10.0.0.0/8, 192.168.0.0/16]}}]}]}"], "a/web > world tcp 443", "allowed"),
    ("the world, but not the cluster: a pod", &["a: {podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 0.0.0.0/0, except: [10.0.0.0/8, 192.168.0.0/16]}}]}]}"], "a/web > b/web tcp 443", "egress"),
    ("the world, but not the cluster: another node", &["a: {podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 0.0.0.0/0, except: [10.0.0.0/8, 192.168.0.0/16]}}]}]}"], "a/web > other-node tcp 443", "egress"),
    ("a range of egress ports ends where it says", &["a: {podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: 32000, endPort: 32768}]}]}"], "a/web > b/web tcp 32769", "egress"),
    ("a range of egress ports holds", &["a: {podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: 32000, endPort: 32768}]}]}"], "a/web > b/web tcp 32768", "allowed"),
    ("an IPv6 block's exception is not admitted", &["a: {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: '2001:db8::/32', except: ['2001:db8::/64']}}]}]}"], "world6 > a/web6 tcp 1", "ingress"),
    ("two labels must both hold", &["a: {podSelector: {matchLabels: {app: web, tier: back}}}"], "b/web > a/web tcp 80", "allowed"),
    ("all in, and still nothing out", &["a: {podSelector: {}, policyTypes: [Ingress, Egress], ingress: [{}]}"], "a/web > world tcp 443", "egress"),
    ("all out, and still nothing in", &["a: {podSelector: {}, policyTypes: [Ingress, Egress], egress: [{}]}"], "world > a/web tcp 443", "ingress"),
];

/// Every case, by name. All failures are told at once.
#[test]
fn the_table() {
    let mut wrong = String::new();
    for (name, policies, text, expected) in CASES {
        let index = index(policies);
        let flow = flow(&index, text);
        let (got, judged) = (verdict(&index, &flow), judged(&index, &flow));
        // Where engines differ, only a drop that is seen makes a denial.
        let got = match (got, judged) {
            ("egress", "undecided") => "egress if dropped",
            ("ingress", "undecided") => "ingress if dropped",
            ("allowed", "undecided") => "undecided",
            (got, judged) if got == judged => got,
            _ => "judged in two ways",
        };
        if got != *expected {
            writeln!(wrong, "{name}: {text} is {got} ({judged}), expected {expected}").unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(CASES.len() >= 60);
}

/// Two cases of one name would hide that one of them was meant to be another.
#[test]
fn cases_differ() {
    let mut names: Vec<&str> = CASES.iter().map(|(name, ..)| *name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), CASES.len());
}

/// A denial names the policies that isolate the pod, and so does the list of a pod's policies.
#[test]
fn policies_are_named() {
    let index =
        index(&[DENY_IN, DENY_OUT, "a: {podSelector: {matchLabels: {app: db}}, ingress: [{ports: [{port: 1}]}]}"]);
    let flow = flow(&index, "b/web > a/db tcp 5432");
    let evaluation = index.policies().evaluate(&index, &flow);
    let denial = evaluation.denial().unwrap();
    let text = |names: Vec<webb_index::policy::PolicyName>| {
        names.iter().map(|name| format!("{}/{}", name.namespace.text(), name.name.text())).collect::<Vec<_>>()
    };
    assert_eq!(text(denial.policies().collect()), ["a/p0", "a/p2"]);
    let database = index.endpoint(flow.destination);
    let selecting = |direction| text(index.policies().selecting(database, direction).collect());
    assert_eq!(selecting(Direction::Ingress), ["a/p0", "a/p2"]);
    assert_eq!(selecting(Direction::Egress), ["a/p1"]);
    assert_eq!(selecting(Direction::Unknown), Vec::<String>::new());
    let world = index.endpoint(webb_flow::EndpointId::WORLD);
    assert_eq!(index.policies().selecting(world, Direction::Ingress).count(), 0);
    assert_eq!(index.policies().len(), 3);
}

/// Each end's evaluation with the kind of rule and the policies that decided: all that allow, or
/// all that isolate.
#[test]
fn judgements_name_what_decided() {
    let judge = |policies: &[&str], text: &str| {
        let index = index(policies);
        let flow = flow(&index, text);
        let evaluation = index.policies().evaluate(&index, &flow);
        let tell = |evaluation: Option<webb_index::policy::EndEvaluation<'_>>| {
            evaluation.map_or_else(String::new, |evaluation| {
                let names: Vec<String> = evaluation.policies().map(|policy| policy.name.text().to_string()).collect();
                format!("{:?} {}", evaluation.matched(), names.join(",")).trim_end().to_owned()
            })
        };
        [tell(evaluation.egress), tell(evaluation.ingress)]
    };
    let none = String::new;
    let all = || "All".to_owned();
    assert_eq!(judge(&[], "b/web > a/db tcp 1"), [all(), all()]);
    assert_eq!(judge(&[DENY_IN], "b/web > a/db tcp 1"), [all(), "None p0".to_owned()]);
    assert_eq!(judge(&[DENY_BOTH], "a/web > a/db tcp 1"), ["None p0".to_owned(), "None p0".to_owned()]);
    assert_eq!(judge(&[DENY_BOTH], "a/web > a/web tcp 1"), [none(), none()]);
    assert_eq!(judge(&[DENY_BOTH], "node > a/web tcp 1"), [none(), all()]);
    let ingress =
        |rule: &str| judge(&[DENY_IN, &format!("a: {{podSelector: {{}}, ingress: [{rule}]}}")], "b/web > a/db tcp 80");
    let told = |text: &str| [all(), text.to_owned()];
    assert_eq!(ingress("{}"), told("All p1"));
    assert_eq!(ingress("{from: [{namespaceSelector: {}}]}"), told("L3Only p1"));
    assert_eq!(ingress("{from: [{ipBlock: {cidr: 10.0.0.0/8}}]}"), told("L3Only p1"));
    assert_eq!(ingress("{ports: [{port: 80}]}"), told("L4Only p1"));
    assert_eq!(ingress("{ports: [{port: 1, endPort: 90}]}"), told("L4Only p1"));
    assert_eq!(ingress("{ports: [{protocol: TCP}]}"), told("ProtoOnly p1"));
    assert_eq!(ingress("{from: [{namespaceSelector: {}}], ports: [{port: 80}]}"), told("L3L4 p1"));
    assert_eq!(ingress("{from: [{namespaceSelector: {}}], ports: [{}]}"), told("L3Proto p1"));
    assert_eq!(ingress("{from: [{namespaceSelector: {}}], ports: [{}, {port: 80}]}"), told("L3L4 p1"));
    assert_eq!(ingress("{}, {from: [{namespaceSelector: {}}]}"), told("L3Only p1"));
    assert_eq!(ingress("{from: [{podSelector: {}}]}"), told("None p0,p1"));
    let several =
        ["a: {podSelector: {}, ingress: [{}]}", DENY_IN, "a: {podSelector: {}, ingress: [{ports: [{port: 80}]}]}"];
    assert_eq!(judge(&several, "b/web > a/db tcp 80"), told("L4Only p0,p2"));
}

/// The numbers are Hubble's, which metrics and flow records print.
#[test]
fn matches_have_hubbles_numbers() {
    use webb_index::policy::Match;
    let all = [Match::None, Match::L3Only, Match::L3L4, Match::L4Only, Match::All, Match::L3Proto, Match::ProtoOnly];
    assert_eq!(all.map(Match::number), [0, 1, 2, 3, 4, 5, 6]);
}
