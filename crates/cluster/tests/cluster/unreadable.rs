//! One unreadable part does not spoil its object: it is passed over and counted, and the rest is
//! used.

use std::net::IpAddr;

use webb_cluster::{Cache, CacheSettings, Manifest, OtherKinds, parse, parse_with};
use webb_flow::{Flow, L4};
use webb_index::policy::{Decision, Effect};
use webb_index::{EndpointKind, Index};

fn problems(manifest: &Manifest) -> Vec<String> {
    manifest.problems.iter().map(|problem| format!("{}: {}", problem.object, problem.text)).collect()
}

fn cache(text: &str) -> Cache {
    let cache = Cache::new(CacheSettings { node: "n1".into(), ..CacheSettings::default() });
    cache.replace(parse("m.yaml", text).unwrap().objects);
    cache
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// The answer of the destination's policies to a connection between these addresses.
fn ingress(index: &Index, source: &str, destination: &str, port: u16) -> Option<Decision> {
    let (source_ip, destination_ip) = (ip(source).into(), ip(destination).into());
    let flow = Flow {
        source: index.find(source_ip),
        destination: index.find(destination_ip),
        source_ip,
        destination_ip,
        destination_port: port,
        l4: L4::Tcp,
        ..Flow::default()
    };
    index.policies().evaluate(index, &flow).ingress.map(|evaluation| evaluation.decision)
}

/// A load balancer's address that is blank, a node's that is empty, one with leading zeros, ports
/// and labels that are none: each costs itself.
#[test]
fn blank_addresses() {
    let text = "
apiVersion: v1
kind: Service
metadata: {name: shop, namespace: default}
spec:
  clusterIP: 10.96.23.99
  clusterIPs: [10.96.23.99]
  externalIPs: [010.0.0.1, 192.0.2.10]
  ports: [{port: 80, protocol: TCP}, {port: 0}, {port: 53, protocol: QUIC}]
status: {loadBalancer: {ingress: [{ip: ' '}, {ip: 192.0.2.11}]}}
---
apiVersion: v1
kind: Node
metadata: {name: n2}
status: {addresses: [{type: InternalIP, address: 172.18.0.3}, {type: ExternalIP, address: ''}]}
---
apiVersion: v1
kind: Pod
metadata: {name: cart, namespace: default, labels: {app: cart, tier:, release: 2}}
spec: {nodeName: n1, containers: [{name: c, ports: [{name: http, containerPort: 80}, {name: bad, containerPort: 0}]}]}
status: {podIPs: [{ip: 10.244.1.21}, {ip: fe80::1%eth0}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: s, namespace: default, labels: {kubernetes.io/service-name: shop}}
addressType: IPv4
endpoints: [{addresses: [nowhere]}, {addresses: [10.244.1.21]}]
";
    let manifest = parse("m.yaml", text).unwrap();
    assert_eq!(manifest.objects.len(), 4);
    insta::assert_snapshot!(problems(&manifest).join("\n"));
    let cache = cache(text);
    let index = cache.index();
    for front in ["10.96.23.99", "192.0.2.10", "192.0.2.11"] {
        let service = index.services().name(index.services().find(ip(front).into(), 80, L4::Tcp, false));
        assert_eq!(&*service.qualified.text(), "default/shop", "{front}");
    }
    assert_eq!(index.endpoint(index.find(ip("172.18.0.3").into())).kind, EndpointKind::RemoteNode);
    let cart = index.find(ip("10.244.1.21").into());
    assert_eq!(&*index.endpoint(cart).pod.text(), "default/cart");
    let identity = index.identity(cart).text();
    assert!(identity.contains("k8s:app=cart"), "{identity}");
    assert_eq!(cache.explain_services(&index).first().map(|service| service.endpoints.len()), Some(1));
}

/// Two pods, and a policy whose `spec` is to be filled in.
fn with_policy(spec: &str) -> Index {
    let pod = |name: &str, address: &str| {
        format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, namespace: a, labels: {{app: {name}}}}}, \
             spec: {{nodeName: n1, containers: []}}, status: {{podIP: {address}}}}}\n---\n"
        )
    };
    let policy = format!(
        "{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {{name: p, namespace: a}}, spec: {spec}}}"
    );
    cache(&[pod("one", "10.0.0.1"), pod("two", "10.0.0.2"), policy].concat()).index()
}

/// A NetworkPolicy with an unreadable part isolates all the same. What the readable parts decide is
/// decided, and what depends on the other is undecided: neither allowed nor denied for certain.
#[test]
fn unreadable_policies_isolate() {
    let judge = |spec: &str| ingress(&with_policy(spec), "10.0.0.1", "10.0.0.2", 80).unwrap();
    for (spec, expected) in [
        ("{podSelector: {}}", Decision::Deny),
        ("{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/33}}]}]}", Decision::Undecided),
        ("{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/33}}], ports: [{port: 81}]}]}", Decision::Deny),
        ("{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/33}}, {podSelector: {}}]}]}", Decision::Allow),
        ("{podSelector: {}, ingress: [{ports: [{port: 0}]}]}", Decision::Undecided),
        ("{podSelector: {}, ingress: [{ports: [{port: 0, protocol: UDP}]}]}", Decision::Deny),
        ("{podSelector: {}, ingress: [{ports: [{port: 0}, {port: 80}]}]}", Decision::Allow),
        ("{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: 1}}}]}]}", Decision::Undecided),
        ("{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: 1, x: y}}}]}]}", Decision::Deny),
        ("{podSelector: {}, ingress: [{newPeers: [], from: [{podSelector: {}}]}]}", Decision::Undecided),
        ("{podSelector: {}, ingress: all}", Decision::Undecided),
        ("{podSelector: {}, policyTypes: [Sideways]}", Decision::Undecided),
        ("{podSelector: {}, tier: x}", Decision::Undecided),
        ("{podSelector: {matchLabels: {app: [two]}}}", Decision::Undecided),
        ("{podSelector: {matchLabels: {app: one, x: [y]}}}", Decision::Allow),
        ("17", Decision::Undecided),
        ("{podSelector: {}, podSelector: {}}", Decision::Undecided),
    ] {
        assert_eq!(judge(spec), expected, "{spec}");
    }
}

/// A pod under Kube-OVN's security groups has no verdicts, whatever its network is called; its
/// neighbours have.
#[test]
fn security_groups_by_annotation() {
    let pod = |name: &str, address: &str, annotations: &str| {
        format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, namespace: a, annotations: {annotations}}}, \
             spec: {{nodeName: n1, containers: []}}, status: {{podIP: {address}}}}}\n---\n"
        )
    };
    let pods = [
        pod("first", "10.0.0.1", "{ovn.kubernetes.io/security_groups: sg}"),
        pod("second", "10.0.0.2", "{net1.default.ovn.kubernetes.io/security_groups: sg, other: {not: text}}"),
        pod("none", "10.0.0.3", "{ovn.kubernetes.io/security_groups: ''}"),
        pod("plain", "10.0.0.4", "{kubectl.kubernetes.io/last-applied-configuration: x}"),
    ];
    let text = pods.concat();
    let answers = |index: &Index| {
        ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"].map(|to| ingress(index, "10.9.9.9", to, 80).unwrap())
    };
    let [allow, undecided] = [Decision::Allow, Decision::Undecided];
    assert_eq!(answers(&cache(&text).index()), [undecided, undecided, allow, allow]);
    let settings =
        CacheSettings { node: "n1".into(), other_kinds: OtherKinds::new(true, &[]), ..CacheSettings::default() };
    let ignoring = Cache::new(settings);
    ignoring.replace(parse("m.yaml", &text).unwrap().objects);
    assert_eq!(answers(&ignoring.index()), [allow; 4]);
}

const TWO_PODS: &str = "
{apiVersion: v1, kind: Pod, metadata: {name: x, namespace: a}, spec: {nodeName: n1, containers: []}, status: {podIP: 10.0.0.1}}
---
{apiVersion: v1, kind: Pod, metadata: {name: y, namespace: b}, spec: {nodeName: n1, containers: []}, status: {podIP: 10.0.0.2}}
";

/// Missing parts of a source make verdicts undecided, until they are there: kinds that are not
/// listed yet, and vendors' kinds that cannot be listed. Why is said, and the counts are there for
/// the gauge.
#[test]
fn what_is_missing_is_undecided() {
    let cache = cache(TWO_PODS);
    let answers = |cache: &Cache| {
        let index = cache.index();
        ["10.0.0.1", "10.0.0.2"].map(|to| ingress(&index, "10.9.9.9", to, 80).unwrap())
    };
    let [allow, undecided] = [[Decision::Allow; 2], [Decision::Undecided; 2]];
    assert_eq!((answers(&cache), cache.undecided_because()), (allow, String::new()));

    cache.set_incomplete("ClusterNetworkPolicy", Some("not listed yet".into()));
    assert_eq!(answers(&cache), undecided);
    assert_eq!(cache.undecided_because(), "no verdicts: ClusterNetworkPolicy: not listed yet");
    cache.set_incomplete("ClusterNetworkPolicy", None);
    assert_eq!((answers(&cache), cache.undecided_because()), (allow, String::new()));

    let cilium = cache.other_kinds().find("cilium.io", "ciliumnetworkpolicies").unwrap();
    cache.set_unlisted(cilium, true);
    assert_eq!(answers(&cache), undecided);
    assert!(cache.undecided_because().contains("CiliumNetworkPolicy (cilium.io), which cannot be listed"));
    cache.set_unlisted(cilium, false);
    assert_eq!(answers(&cache), allow);

    assert!(cache.set_strange([("policy.networking.k8s.io".to_owned(), "Foo".to_owned())]));
    assert_eq!(answers(&cache), undecided);
    assert!(cache.undecided_because().starts_with("no verdicts: Foo (policy.networking.k8s.io) is not known"));
    cache.set_strange([("example.com".to_owned(), "FooNetworkPolicy".to_owned())]);
    assert_eq!(answers(&cache), allow);
    assert!(cache.undecided_because().contains("FooNetworkPolicy (example.com) is not known"));
    assert_eq!(cache.other_counts(), [("example.com".to_owned(), "FooNetworkPolicy".to_owned(), "unknown", 1)]);
}

/// A vendor's policy concerns the pods of its namespace, or all; kinds that the configuration adds
/// count as it says; a policy of a version that is not known may do anything.
#[test]
fn policies_of_other_kinds() {
    let with = |more: &str, others: &OtherKinds| {
        let text = format!("{TWO_PODS}---\n{more}\n");
        let cache =
            Cache::new(CacheSettings { node: "n1".into(), other_kinds: others.clone(), ..CacheSettings::default() });
        let manifest = parse_with("m.yaml", &text, others).unwrap();
        cache.replace(manifest.objects);
        cache.set_strange(manifest.strange);
        let index = cache.index();
        let answers = ["10.0.0.1", "10.0.0.2"].map(|to| ingress(&index, "10.9.9.9", to, 80).unwrap());
        (answers, cache.undecided_because())
    };
    let [allow, undecided] = [Decision::Allow, Decision::Undecided];
    let none = OtherKinds::default();
    let cilium = "{apiVersion: cilium.io/v2, kind: CiliumNetworkPolicy, metadata: {name: p, namespace: b}, spec: 1}";
    let (answers, why) = with(cilium, &none);
    assert_eq!(answers, [allow, undecided]);
    insta::assert_snapshot!(why);
    let firewall = "{apiVersion: example.com/v7, kind: Firewall, metadata: {name: p, namespace: a}}";
    assert_eq!(with(firewall, &none), ([allow; 2], String::new()));
    let added = OtherKinds::new(false, &[("example.com".into(), "firewalls".into(), Effect::INGRESS)]);
    assert_eq!(with(firewall, &added).0, [undecided, allow]);
    let future = "{apiVersion: policy.networking.k8s.io/v9, kind: ClusterNetworkPolicy, metadata: {name: p}}";
    assert_eq!(with(future, &none).0, [undecided; 2]);
    for kind in ["TenantRule", "NetworkPolicy"] {
        let future = format!("{{apiVersion: policy.networking.k8s.io/v1, kind: {kind}, metadata: {{name: p}}}}");
        let (answers, why) = with(&future, &none);
        assert_eq!(answers, [undecided; 2], "{kind}");
        assert!(why.starts_with(&format!("no verdicts: {kind} (policy.networking.k8s.io) is not known")), "{why}");
        assert_eq!(with(&future, &OtherKinds::new(true, &[])), ([allow; 2], String::new()), "{kind}");
    }
    let (answers, why) = with("{apiVersion: example.com/v1, kind: XNetworkPolicy, metadata: {name: p}}", &none);
    assert_eq!(answers, [allow; 2]);
    assert!(why.starts_with("XNetworkPolicy (example.com) is not known"), "{why}");
    for silent in [
        "{apiVersion: projectcalico.org/v3, kind: Tier, metadata: {name: t}}",
        "{apiVersion: cilium.io/v2, kind: CiliumEndpoint, metadata: {name: t, namespace: a}}",
    ] {
        assert_eq!(with(silent, &none), ([allow; 2], String::new()), "{silent}");
    }
}

/// A pod that comes before its namespace does is not judged by what the namespace's labels might
/// say, once kinds come one by one; its name is known at once.
#[test]
fn a_namespace_that_is_not_listed_yet() {
    let policy = |selector: &str| {
        format!(
            "{TWO_PODS}---\n{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {{name: p, namespace: b}}, \
             spec: {{podSelector: {{}}, ingress: [{{from: [{{namespaceSelector: {selector}}}]}}]}}}}"
        )
    };
    let judge = |text: &str, watched| {
        let cache = Cache::new(CacheSettings { node: "n1".into(), ..CacheSettings::default() });
        cache.set_watched(watched);
        for object in parse("m.yaml", text).unwrap().objects {
            cache.upsert(object);
        }
        ingress(&cache.index(), "10.0.0.1", "10.0.0.2", 80).unwrap()
    };
    let by_label = policy("{matchLabels: {team: red}}");
    assert_eq!(judge(&by_label, false), Decision::Deny, "a manifest tells all there is");
    assert_eq!(judge(&by_label, true), Decision::Undecided);
    assert_eq!(judge(&policy("{matchLabels: {kubernetes.io/metadata.name: a}}"), true), Decision::Allow);
    assert_eq!(judge(&policy("{matchLabels: {kubernetes.io/metadata.name: c}}"), true), Decision::Deny);
    let listed = format!("{by_label}\n---\n{{apiVersion: v1, kind: Namespace, metadata: {{name: a}}}}\n");
    assert_eq!(judge(&listed, true), Decision::Deny);
}
