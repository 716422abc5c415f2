//! From the cache to the index: who has which address, under which names.

use std::net::IpAddr;
use std::sync::Arc;

use webb_cluster::{Cache, CacheSettings, Counts, Kind, ObjectKey, Reference, parse};
use webb_flow::{Address, Sort};
use webb_index::{CidrSpec, Endpoint, EndpointKind, Index};

const STAR_WARS: &str = include_str!("../manifests/star-wars.yaml");

fn cache(text: &str) -> Cache {
    let settings = CacheSettings {
        node: "node-1".into(),
        cluster: "lab".into(),
        addresses: vec!["10.0.1.1".parse().unwrap(), "127.0.0.1".parse().unwrap()],
        pod_networks: vec!["10.88.0.0/16".parse().unwrap()],
        ..CacheSettings::default()
    };
    let cache = Cache::new(settings);
    fill(&cache, text);
    cache
}

fn fill(cache: &Cache, text: &str) {
    let manifest = parse("m.yaml", text).unwrap();
    assert_eq!(manifest.problems, []);
    cache.replace(manifest.objects);
}

fn at<'a>(index: &'a Index, address: &str) -> &'a Endpoint {
    index.endpoint(index.find(Address::from(address.parse::<IpAddr>().unwrap())))
}

fn identity(index: &Index, address: &str) -> Arc<str> {
    index.identity(index.find(Address::from(address.parse::<IpAddr>().unwrap()))).text()
}

fn who(text: &str, address: &str) -> String {
    let index = cache(text).index();
    let endpoint = at(&index, address);
    if endpoint.kind == EndpointKind::Pod {
        endpoint.pod.text().to_string()
    } else {
        endpoint.reserved_identity.text().to_string()
    }
}

/// A pod with an address, and whatever else a case is about.
fn pod(name: &str, ip: &str, meta: &str, spec: &str, status: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, {meta}}}\nspec: {{containers: [], {spec}}}\nstatus: {{podIP: {ip}, {status}}}\n"
    )
}

/// Names of a pod, as every context will show them.
#[test]
fn pods_are_named() {
    let index = cache(STAR_WARS).index();
    for address in ["10.0.1.10", "fd00:1::10"] {
        let deathstar = at(&index, address);
        assert_eq!(deathstar.kind, EndpointKind::Pod);
        assert!(deathstar.local);
        assert_eq!(&*deathstar.pod.text(), "default/deathstar-5d4f8c7b9-aaaaa");
        assert_eq!(&*deathstar.workload.text(), "default/deathstar");
        assert_eq!(&*deathstar.workload_kind.text(), "Deployment");
        assert_eq!(&*deathstar.app.text(), "deathstar");
        assert_eq!(
            &*identity(&index, address),
            "k8s:app.kubernetes.io/name=deathstar,k8s:class=deathstar,\
             k8s:io.cilium.k8s.namespace.labels.galaxy=far-away,\
             k8s:io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name=default,\
             k8s:io.cilium.k8s.policy.cluster=lab,k8s:io.cilium.k8s.policy.serviceaccount=default,\
             k8s:io.kubernetes.pod.namespace=default,k8s:org=empire"
        );
    }
    let (here, there) = (at(&index, "10.0.1.10"), at(&index, "10.0.2.10"));
    assert!(!there.local, "the other replica is on the other node");
    assert_eq!(&*there.workload.text(), "default/deathstar", "and has a workload all the same");
    assert_eq!(here.identity_number, there.identity_number, "replicas share an identity");
    assert_eq!(here.policy_subject, there.policy_subject, "and a row in the policies");
    assert_ne!(here.identity_number, at(&index, "10.0.1.20").identity_number);
}

/// This node, its extra addresses, the API server behind another node, and the world.
#[test]
fn reserved_identities() {
    let index = cache(STAR_WARS).index();
    let is = |address: &str| {
        let endpoint = at(&index, address);
        (endpoint.kind, endpoint.identity_number, identity(&index, address).to_string())
    };
    for own in ["192.168.0.1", "fd00:a::1", "10.0.1.1", "127.0.0.1"] {
        assert_eq!(is(own), (EndpointKind::Host, 1, "reserved:host".to_owned()));
    }
    let api = "reserved:kube-apiserver,reserved:remote-node".to_owned();
    assert_eq!(is("192.168.0.2"), (EndpointKind::RemoteNode, 7, api));
    assert_eq!(
        is("8.8.8.8"),
        (EndpointKind::World, 9, "reserved:world-ipv4".to_owned()),
        "a pod has addresses of both"
    );
    assert_eq!(is("2001:db8::1"), (EndpointKind::World, 10, "reserved:world-ipv6".to_owned()));
    assert_eq!(&*at(&index, "192.168.0.2").reserved_identity.text(), "reserved:kube-apiserver");
}

/// Another node without the API server, the API outside of every node, and the API on this node.
#[test]
fn api_servers() {
    let slice = |ip: &str| {
        format!(
            "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: k, labels: \
             {{kubernetes.io/service-name: kubernetes}}}}\naddressType: IPv4\nendpoints: [{{addresses: [{ip}]}}]\n"
        )
    };
    let node = |name: &str, ip: &str| {
        format!(
            "---\napiVersion: v1\nkind: Node\nmetadata: {{name: {name}}}\nstatus: {{addresses: [{{type: InternalIP, address: {ip}}}]}}\n"
        )
    };
    let text = node("node-1", "192.168.0.1") + &node("node-2", "192.168.0.2") + &slice("172.20.0.1");
    assert_eq!(who(&text, "192.168.0.2"), "reserved:remote-node");
    assert_eq!(who(&text, "172.20.0.1"), "reserved:kube-apiserver");
    let index = cache(&(node("node-1", "192.168.0.1") + &slice("192.168.0.1"))).index();
    let host = at(&index, "192.168.0.1");
    assert_eq!((host.kind, host.identity_number), (EndpointKind::Host, 1));
    assert_eq!(&*host.identity.text(), "reserved:host,reserved:kube-apiserver");
    let other = slice("172.20.0.1")
        .replace("name: kubernetes", "name: other")
        .replace("service-name: kubernetes", "service-name: other");
    assert_eq!(who(&other, "172.20.0.1"), "reserved:world", "only default/kubernetes is the API");
}

/// An address is used again: the newest pod that runs has it, in whatever order the objects come.
#[test]
fn the_newest_running_pod_has_the_address() {
    let old = pod("old", "10.0.1.5", "creationTimestamp: '2026-01-01T00:00:00Z'", "", "phase: Running");
    let new = pod("new", "10.0.1.5", "creationTimestamp: '2026-01-02T00:00:00Z'", "", "phase: Running");
    let done = pod("done", "10.0.1.5", "creationTimestamp: '2026-01-03T00:00:00Z'", "", "phase: Succeeded");
    let failed = pod("failed", "10.0.1.5", "creationTimestamp: '2026-01-04T00:00:00Z'", "", "phase: Failed");
    let undated = pod("undated", "10.0.1.5", "", "", "phase: Running");
    for text in [
        format!("{old}{new}{done}{failed}{undated}"),
        format!("{undated}{failed}{new}{old}{done}"),
        format!("{new}{undated}{done}{failed}{old}"),
    ] {
        assert_eq!(who(&text, "10.0.1.5"), "default/new");
    }
    assert_eq!(who(&(done + &failed), "10.0.1.5"), "reserved:world", "finished pods have no address");
}

/// Pods in the host's network have the node's address but not its name.
#[test]
fn host_network_pods_leave_the_node_its_name() {
    let node = "---\napiVersion: v1\nkind: Node\nmetadata: {name: node-1}\nstatus: {addresses: [{type: InternalIP, address: 192.168.0.1}]}\n";
    let on_host = pod("proxy", "192.168.0.1", "", "hostNetwork: true, nodeName: node-1", "phase: Running");
    assert_eq!(who(&(node.to_owned() + &on_host), "192.168.0.1"), "reserved:host");
    assert_eq!(who(&on_host, "192.168.0.1"), "reserved:world", "nor any name when the node isn't known");
}

/// Without a Namespace object the label that every namespace has is there all the same.
#[test]
fn namespaces_need_no_object() {
    let index =
        cache(&pod("a", "10.0.1.5", "namespace: shop, labels: {app: till}", "serviceAccountName: clerk", "")).index();
    assert_eq!(
        &*identity(&index, "10.0.1.5"),
        "k8s:app=till,k8s:io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name=shop,\
         k8s:io.cilium.k8s.policy.cluster=lab,k8s:io.cilium.k8s.policy.serviceaccount=clerk,\
         k8s:io.kubernetes.pod.namespace=shop"
    );
    assert!(at(&index, "10.0.1.5").local, "a pod of no node is of a hand-written manifest for this machine");
}

/// Upsert and remove are what watches will call; replace must forget what is no longer told.
#[test]
fn the_cache_follows_its_source() {
    let cache = cache(STAR_WARS);
    let all = Counts {
        pods: 4,
        namespaces: 1,
        nodes: 2,
        services: 1,
        endpoint_slices: 1,
        network_policies: 1,
        ..Counts::default()
    };
    assert_eq!(cache.counts(), all);
    let xwing = Reference { kind: Kind::Pod, key: ObjectKey { namespace: "default".into(), name: "xwing".into() } };
    assert!(cache.remove(&xwing));
    assert!(!cache.remove(&xwing));
    assert_eq!(at(&cache.index(), "10.0.1.30").kind, EndpointKind::Unnamed, "it may be another pod's by now");

    let moved = STAR_WARS.replace("10.0.1.20", "10.0.1.21");
    fill(&cache, &moved);
    let index = cache.index();
    assert_eq!(at(&index, "10.0.1.20").kind, EndpointKind::Unnamed, "the old address is free");
    assert_eq!(&*at(&index, "10.0.1.21").pod_name.text(), "tiefighter");
    assert_eq!(&*at(&index, "10.0.1.30").pod_name.text(), "xwing", "and the removed pod is told again");

    fill(&cache, "");
    assert_eq!(cache.counts(), Counts::default());
    assert_eq!(cache.index().addresses(), 2, "the machine's own addresses remain");
}

/// A pod is where its node is, by the node's labels, new or old; a node and its tunnel are there
/// too. A node that moves takes its pods along, and no endpoint changes.
#[test]
fn zones_are_those_of_nodes() {
    let node = |name: &str, ip: &str, labels: &str| {
        format!(
            "---\napiVersion: v1\nkind: Node\nmetadata: {{name: {name}, labels: {{{labels}}}}}\n\
             spec: {{podCIDR: 10.9.{}.0/24}}\nstatus: {{addresses: [{{type: InternalIP, address: {ip}}}]}}\n",
            name.len()
        )
    };
    let text = |zone: &str| {
        [
            node("node-1", "192.168.0.1", "topology.kubernetes.io/zone: a, topology.kubernetes.io/region: west"),
            node("node-02", "192.168.0.2", &format!("failure-domain.beta.kubernetes.io/zone: {zone}")),
            pod("here", "10.9.6.9", "", "nodeName: node-1", "phase: Running"),
            pod("there", "10.9.7.9", "", "nodeName: node-02", "phase: Running"),
            pod("lost", "10.9.8.9", "", "nodeName: node-003", "phase: Running"),
        ]
        .concat()
    };
    let cache = cache(&text("b"));
    let index = cache.index();
    let place = |index: &Index, ip: &str| {
        let endpoint = *at(index, ip);
        let found = index.zones().find(&endpoint);
        [found.node, found.zone, found.region].map(|name| name.text().to_string()).join(" ")
    };
    for (ip, expected) in [
        ("10.9.6.9", "node-1 a west"),
        ("192.168.0.1", "node-1 a west"),
        ("10.9.6.1", "node-1 a west"),
        ("10.9.7.9", "node-02 b "),
        ("192.168.0.2", "node-02 b "),
        ("10.9.7.1", "node-02 b "),
        ("10.9.8.9", "node-003  "),
        ("8.8.8.8", "  "),
    ] {
        assert_eq!(place(&index, ip), expected, "{ip}");
    }
    fill(&cache, &text("c"));
    let moved = cache.index();
    let id = |index: &Index| index.find(Address::from("10.9.7.9".parse::<IpAddr>().unwrap()));
    assert_eq!((place(&moved, "10.9.7.9").as_str(), id(&moved)), ("node-02 c ", id(&index)));
    assert_eq!(place(&moved, "192.168.0.2"), "node-02 c ");
    assert_ne!(moved.generation(), index.generation());
}

/// Networks outside have the place that they are given, by longest prefix, also after a change and
/// when the cluster becomes dual-stack; what the cluster has is where its node is.
#[test]
fn networks_outside_have_places() {
    let spec = |network: &str, zone: &str, name: &str| CidrSpec {
        network: network.parse().unwrap(),
        zone: zone.into(),
        region: "west".into(),
        name: name.into(),
    };
    let cache = cache(&pod("one", "10.0.1.9", "", "", ""));
    cache.set_places(vec![spec("10.0.0.0/8", "a", ""), spec("10.7.0.0/16", "b", "databases")], 0);
    let place = |index: &Index, ip: &str| {
        let id = index.find(Address::from(ip.parse::<IpAddr>().unwrap()));
        let found = index.place(id);
        let kind = (index.endpoint(id).kind, id.sort());
        ([found.zone, found.region, found.cidr].map(|name| name.text().to_string()).join(" "), kind)
    };
    let world = (EndpointKind::World, Sort::World);
    let index = cache.index();
    assert!(!cache.is_outdated());
    assert_eq!(place(&index, "10.7.0.1"), ("b west databases".into(), world));
    assert_eq!(place(&index, "10.8.0.1"), ("a west 10.0.0.0/8".into(), world));
    assert_eq!(place(&index, "11.0.0.1"), ("  ".into(), world));
    assert_eq!(place(&index, "10.0.1.9").0, "  ", "a pod");
    assert_eq!(place(&index, "10.88.0.9"), ("  ".into(), (EndpointKind::Unnamed, Sort::Unnamed)));

    cache.set_places(vec![spec("10.7.0.0/16", "c", "databases"), spec("2001:db8::/32", "d", "")], 0);
    assert!(cache.is_outdated(), "without a change of the cluster");
    let changed = cache.index();
    assert_eq!(place(&changed, "10.7.0.1").0, "c west databases");
    assert_eq!(place(&changed, "10.8.0.1").0, "  ");
    assert_eq!(place(&index, "10.7.0.1").0, "b west databases", "the index of before");
    assert_ne!(changed.generation(), index.generation());

    fill(&cache, &pod("two", "10.0.1.9", "", "", "podIPs: [{ip: 10.0.1.9}, {ip: 'fd00::9'}]"));
    let dual = cache.index();
    assert_eq!(place(&dual, "2001:db8::1").0, "d west 2001:db8::/32");
    assert_eq!(&*identity(&dual, "2001:db8::1"), "reserved:world-ipv6");
    assert_eq!(&*identity(&dual, "10.7.0.1"), "reserved:world-ipv4");
}

/// A pod on another node is watched while an agent there is ready; while no agent is known on this
/// node, those of others are not known either, and all pods are.
#[test]
fn agents_are_known_by_their_labels() {
    let settings = CacheSettings {
        node: "n1".into(),
        agent_labels: vec![("app".into(), "webb".into())],
        ..CacheSettings::default()
    };
    let cache = Cache::new(settings);
    let agent = |name: &str, node: &str, ready: &str| {
        let status = format!("phase: Running, conditions: [{{type: Ready, status: '{ready}'}}]");
        let spec = format!("hostNetwork: true, nodeName: {node}");
        pod(name, "192.168.0.1", "labels: {app: webb}", &spec, &status)
    };
    let watched = |agents: &[String]| {
        let pods = ["n1", "n2", "n3"].map(|node| {
            pod(
                &format!("at-{node}"),
                &format!("10.0.0.{}", &node[1..]),
                "",
                &format!("nodeName: {node}"),
                "phase: Running",
            )
        });
        fill(&cache, &[agents.concat(), pods.concat()].concat());
        let index = cache.index();
        [1, 2, 3].map(|last| index.is_watched(index.find(Address::from(IpAddr::from([10, 0, 0, last])))))
    };
    assert_eq!(watched(&[]), [true; 3], "nothing is known");
    assert_eq!(watched(&[agent("b", "n2", "True")]), [true; 3], "not even this one");
    assert_eq!(watched(&[agent("a", "n1", "False"), agent("b", "n2", "True")]), [true, true, false]);
    assert_eq!(watched(&[agent("a", "n1", "True"), agent("b", "n2", "False")]), [true, false, false]);
    assert_eq!(watched(&[agent("a", "n1", "True"), agent("c", "n3", "True")]), [true, false, true]);
    assert_eq!(watched(&[agent("a", "n1", "True")]), [true, false, false], "it is gone");
}

/// An address in a node's pod network that no pod is known to have is a pod's, not the world's; the
/// first ones are the node's tunnel and bridge, unless a pod has them. What a plugin notes of its
/// tunnel is the node's wherever it lies.
#[test]
fn pod_networks() {
    let node = |name: &str, net: &str, annotation: &str| {
        format!(
            "---\napiVersion: v1\nkind: Node\nmetadata: {{name: {name}, annotations: {{{annotation}}}}}\n\
             spec: {{podCIDR: {net}, podCIDRs: [{net}, 'fd00:9::/64']}}\n\
             status: {{addresses: [{{type: InternalIP, address: 192.168.0.1}}]}}\n"
        )
    };
    let own = node("node-1", "10.9.1.0/24", "");
    let other = node(
        "node-2",
        "10.9.2.0/24",
        "projectcalico.org/IPv4VXLANTunnelAddr: 10.77.0.1, \
        projectcalico.org/IPv4IPIPTunnelAddr: none",
    );
    let text = format!("{own}{other}{}", pod("first", "10.9.2.1", "", "nodeName: node-2", "phase: Running"));
    for (address, expected) in [
        ("10.9.1.7", "reserved:unknown"),
        ("10.9.2.255", "reserved:unknown"),
        ("fd00:9::77", "reserved:unknown"),
        ("10.9.3.0", "reserved:world"),
        ("10.88.3.0", "reserved:unknown"),
        ("10.9.1.1", "reserved:host"),
        ("10.9.2.0", "reserved:remote-node"),
        ("10.9.2.1", "default/first"),
        ("10.77.0.1", "reserved:remote-node"),
    ] {
        assert_eq!(who(&text, address), expected, "{address}");
    }
    let index = cache(&text).index();
    let unknown = at(&index, "10.9.1.7");
    assert!((unknown.kind, unknown.world, unknown.identity_number) == (EndpointKind::Unnamed, false, 0));
}
