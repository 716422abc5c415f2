//! Zones: two nodes in two zones, each with its agent. What the pods' interfaces count is the sum
//! of both agents' metrics, each byte once.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::harness::{Agent, Lab};

const METRICS: &str = "zones opencost";

const BYTES: &str = "webb_zone_traffic_bytes_total";
const PACKETS: &str = "webb_zone_traffic_packets_total";

const SCOPES: [&str; 6] = ["same_node", "same_zone", "cross_zone", "cross_region", "internet", "unknown"];

/// The agents of both nodes, or of one.
struct Agents(Vec<Agent>);

impl Agents {
    /// One on each of these nodes.
    fn start(lab: &Lab, nodes: &[&str], more: &[&str]) -> Self {
        lab.hush();
        Self(nodes.iter().map(|node| Agent::start_at(lab, node, METRICS, more)).collect())
    }

    fn sum(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        self.0.iter().map(|agent| agent.scrape().sum(name, labels)).sum()
    }

    fn scopes(&self, name: &str) -> [u64; 6] {
        SCOPES.map(|scope| self.sum(name, &[("scope", scope)]))
    }

    /// Runs a command in a pod: what its interface counts meanwhile is of this scope, and nothing
    /// is of another. `extra` is added to each packet.
    fn step(&self, lab: &Lab, pod: &str, command: &str, (scope, extra): (&str, u64)) {
        let counted = |name: &str| Counted { scopes: self.scopes(name) };
        let before = (counted(BYTES), counted(PACKETS), interface(lab, pod));
        lab.run(pod, command);
        let at = SCOPES.iter().position(|known| *known == scope).unwrap();
        let begun = Instant::now();
        loop {
            let now = interface(lab, pod);
            let moved = [0, 1, 2, 3].map(|value| now[value] - before.2[value]);
            let (bytes, packets) = (moved[0] + moved[1], moved[2] + moved[3]);
            let wanted = (before.0.with(at, bytes + extra * packets), before.1.with(at, packets));
            let found = (self.scopes(BYTES), self.scopes(PACKETS));
            if packets > 0 && found == wanted {
                return;
            }
            assert!(
                begun.elapsed() < Duration::from_mins(1),
                "{pod}: {command}: {SCOPES:?}\nfound  {found:?}\nwanted {wanted:?}\n{}",
                self.0[0].log()
            );
            std::thread::sleep(Duration::from_millis(300));
        }
    }
}

struct Counted {
    scopes: [u64; 6],
}

impl Counted {
    fn with(&self, at: usize, more: u64) -> [u64; 6] {
        let mut scopes = self.scopes;
        scopes[at] += more;
        scopes
    }
}

/// Bytes received and sent, packets received and sent, by the pod's own interface.
fn interface(lab: &Lab, pod: &str) -> [u64; 4] {
    let text = lab.run(
        pod,
        "cat /sys/class/net/eth0/statistics/rx_bytes /sys/class/net/eth0/statistics/tx_bytes \
         /sys/class/net/eth0/statistics/rx_packets /sys/class/net/eth0/statistics/tx_packets",
    );
    let mut numbers = text.split_whitespace().map(|number| number.parse().unwrap());
    std::array::from_fn(|_| numbers.next().unwrap())
}

/// What two pods of both nodes, a node and the world say to each other is counted once, under its
/// scope, through a Service too; and what each pod sent and received is what its interface counts.
#[test]
fn each_byte_is_counted_once_by_two_agents() {
    let Some(lab) = Lab::up() else { return };
    lab.choose("node", "c");
    let agents = Agents::start(&lab, &["node", "node2"], &[]);
    let before = ["tiefighter", "deathstar-c"].map(|pod| interface(&lab, pod));
    for (pod, command, scope) in [
        ("tiefighter", "pod land --rounds 3 10.244.1.11:80 [fd00:10:244:1::11]:80", "same_node"),
        ("tiefighter", "pod land --rounds 3 10.244.2.11:80 [fd00:10:244:2::11]:80", "cross_zone"),
        ("tiefighter", "pod land --rounds 5 10.96.23.45:80", "cross_zone"),
        ("deathstar-c", "ping -q -i 0.05 -s 700 -c 5 10.244.1.21", "cross_zone"),
        ("tiefighter", "ping -q -i 0.05 -s 4000 -c 3 203.0.113.10", "internet"),
        ("tiefighter", "ping -q -i 0.05 -c 3 2001:db8::10", "internet"),
        ("tiefighter", "ping -q -i 0.05 -c 3 172.18.0.1", "unknown"),
        ("tiefighter", "ping -q -i 0.05 -c 3 172.18.0.2", "same_node"),
        ("tiefighter", "ping -q -i 0.05 -c 3 172.18.0.3", "cross_zone"),
    ] {
        agents.step(&lab, pod, command, (scope, 0));
    }
    for (pod, before) in ["tiefighter", "deathstar-c"].into_iter().zip(before) {
        let now = interface(&lab, pod);
        // The Deployment's replicas have longer names.
        let name = if pod == "tiefighter" { pod } else { "deathstar-7b8c5f9d64-m4c8z" };
        let of = |way: &str| {
            let family = format!("kubecost_pod_network_{way}_bytes_total");
            agents.sum(&family, &[("pod_name", name), ("namespace", "default")])
        };
        assert_eq!([of("ingress"), of("egress")], [now[0] - before[0], now[1] - before[1]], "{pod}");
    }
    let internet = [("pod_name", "tiefighter"), ("internet", "true"), ("same_zone", "false"), ("sameRegion", "false")];
    assert!(agents.sum("kubecost_pod_network_egress_bytes_total", &internet) > 12_000);
}

/// A node that moves, and the region that it moves to, name what follows; so do networks outside;
/// and a tunnel's bytes are added between pods of two nodes alone.
#[test]
fn places_and_tunnels() {
    let Some(lab) = Lab::up() else { return };
    let text = fs::read_to_string(Lab::manifest()).unwrap();
    let (zone, region) = ("topology.kubernetes.io/zone: outer-rim-", "topology.kubernetes.io/region: ");
    let manifest = lab.file("manifest.yaml", &text.replace(&format!("{zone}b"), &format!("{zone}a")));
    let config = lab.file(
        "webb.yaml",
        "zones:\n  overhead: 50\n  cidrs:\n  - {cidr: 203.0.113.0/24, zone: core}\n  - {cidr: 172.18.0.1/32, zone: outer-rim-a}\n",
    );
    let more = ["--cluster-manifest", manifest.to_str().unwrap(), "--config", config.to_str().unwrap()];
    let agents = Agents::start(&lab, &["node", "node2"], &more);
    let land = "pod land --rounds 2 10.244.2.11:80";
    agents.step(&lab, "tiefighter", land, ("same_zone", 50));
    agents.step(&lab, "tiefighter", "ping -q -i 0.05 -c 3 203.0.113.10", ("cross_zone", 0));
    agents.step(&lab, "tiefighter", "ping -q -i 0.05 -c 3 172.18.0.1", ("same_zone", 0));
    agents.step(&lab, "tiefighter", "ping -q -i 0.05 -c 3 10.244.1.11", ("same_node", 0));

    let moved = text
        .replace(&format!("{zone}a"), &format!("{zone}a\n    {region}west"))
        .replace(&format!("{zone}b"), &format!("{zone}b\n    {region}east"));
    write(&manifest, &moved);
    await_region(&agents, &lab);
    agents.step(&lab, "tiefighter", land, ("cross_region", 50));
}

/// Writes a file as a whole.
fn write(path: &Path, text: &str) {
    let fresh = path.with_extension("fresh");
    fs::write(&fresh, text).unwrap();
    fs::rename(fresh, path).unwrap();
}

/// Waits until the agent on the second node, which counts what is sent there, knows both regions.
fn await_region(agents: &Agents, lab: &Lab) {
    let begun = Instant::now();
    let known = || {
        lab.run("tiefighter", "ping -q -c 1 10.244.2.11");
        let far = agents.0[1].scrape();
        far.sum(PACKETS, &[("scope", "cross_region")]) > 0
    };
    while !known() {
        assert!(begun.elapsed() < Duration::from_mins(1), "{}", agents.0[1].log());
        std::thread::sleep(Duration::from_millis(300));
    }
    // What is still in the kernel's table is reported before the next step counts.
    let settled = || agents.scopes(PACKETS);
    let mut before = settled();
    loop {
        std::thread::sleep(Duration::from_secs(6));
        let now = settled();
        if now == before {
            return;
        }
        before = now;
    }
}

/// Where the other node has no ready agent, the opener's counts in its place.
#[test]
fn a_node_without_an_agent() {
    let Some(lab) = Lab::up() else { return };
    let agent = "---\napiVersion: v1\nkind: Pod\nmetadata:\n  name: webb-1\n  namespace: webb\n  labels: \
                 {app.kubernetes.io/name: webb}\nspec: {hostNetwork: true, nodeName: webb-node-1, containers: []}\n\
                 status: {phase: Running, podIP: 172.18.0.2, conditions: [{type: Ready, status: 'True'}]}\n";
    let text = format!("{}{agent}", fs::read_to_string(Lab::manifest()).unwrap());
    let manifest = lab.file("manifest.yaml", &text);
    let agents = Agents::start(&lab, &["node"], &["--cluster-manifest", manifest.to_str().unwrap()]);
    agents.step(&lab, "tiefighter", "pod land --rounds 3 10.244.2.11:80", ("cross_zone", 0));
    agents.step(&lab, "tiefighter", "pod land --rounds 3 10.244.1.11:80", ("same_node", 0));
    agents.step(&lab, "deathstar-c", "ping -q -i 0.05 -c 3 10.244.1.21", ("cross_zone", 0));
}
