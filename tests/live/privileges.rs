//! What a running agent may still do, and that it does its work with that.

use std::fs;

use serde_json::Value;

use crate::counts::exactly;
use crate::harness::{Agent, Lab};

/// `CAP_BPF`, `CAP_PERFMON` and `CAP_SYS_ADMIN`, with which programs are loaded.
const LOADING: u64 = 1 << 39 | 1 << 38 | 1 << 21;
const NET_ADMIN: u64 = 1 << 12;

/// The capabilities that each thread is permitted to have, or has in any other way, with its name.
fn of_threads(agent: &Agent) -> Vec<(String, u64)> {
    let tasks = fs::read_dir(format!("/proc/{}/task", agent.pid())).unwrap();
    // A thread that has ended meanwhile has no status.
    let statuses = tasks.filter_map(|task| fs::read_to_string(task.unwrap().path().join("status")).ok());
    let of = |status: String| {
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
        // Nor can a program that it executes have more.
        assert_eq!(field("NoNewPrivs:"), "1", "{}", field("Name:"));
        let bits =
            ["CapPrm:", "CapEff:", "CapInh:", "CapAmb:"].map(|set| u64::from_str_radix(&field(set), 16).unwrap());
        (field("Name:"), bits.into_iter().fold(0, |all, set| all | set))
    };
    let threads: Vec<_> = statuses.map(of).collect();
    assert!(threads.len() > 5, "{threads:?}");
    threads
}

fn readyz(agent: &Agent) -> Value {
    serde_json::from_str(&agent.get("/readyz").unwrap().body).unwrap()
}

fn held(agent: &Agent) -> [u64; 3] {
    let scrape = agent.scrape();
    ["CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN"]
        .map(|capability| scrape.sum("webb_privileges_held", &[("capability", capability)]))
}

/// An interface that appears after the capabilities are lowered is watched, by programs that were
/// loaded before, and its packets are counted.
fn watches_a_new_interface(lab: &Lab, agent: &mut Agent) {
    let world = lab.namespace("world");
    lab.run("node", &format!("ip link add late type veth peer name late netns {world}"));
    lab.run("node", "ip address add 10.9.9.1/24 dev late");
    lab.run("node", "ip link set late up");
    lab.run("world", "ip address add 10.9.9.2/24 dev late");
    lab.run("world", "ip link set late up");
    agent.wait_until("the new interface is watched", |agent| {
        agent.scrape().sum("webb_probe_interfaces", &[("role", "pod")]) == 5
    });
    let requests = |agent: &Agent| agent.scrape().sum("hubble_icmp_total", &[("type", "EchoRequest")]);
    let seen = requests(agent);
    lab.run("world", "ping -q -c 5 -i 0.05 10.9.9.1");
    agent.settles(exactly(&[("hubble_icmp_total", &[("type", "EchoRequest")], seen + 5)]));
}

/// Once the programs are loaded no thread can load others, not even those of the allocator and of
/// the log, which start early; interfaces that appear are watched, and every component can start
/// anew.
#[cfg(feature = "fault-injection")]
#[test]
fn the_right_to_load_programs_is_given_up() {
    let Some(lab) = Lab::up() else { return };
    let mut agent = Agent::start(&lab, &[]);
    let threads = of_threads(&agent);
    assert!(threads.iter().all(|(_, bits)| bits & LOADING == 0), "{threads:?}");
    assert!(threads.iter().any(|(_, bits)| bits & NET_ADMIN != 0), "{threads:?}");
    assert_eq!(held(&agent), [0, 0, 1]);
    let privileges = readyz(&agent)["privileges"].clone();
    let names = privileges["capabilities"].to_string();
    assert!(names.contains("CAP_NET_ADMIN") && !names.contains("CAP_BPF"), "{privileges}");
    assert_eq!(privileges["off"], Value::Array(Vec::new()), "{privileges}");
    let components = readyz(&agent)["components"].as_array().unwrap().clone();
    let names = components.iter().map(|one| one["name"].as_str().unwrap().to_owned());
    for name in names.filter(|name| !name.starts_with("http/") && name != "control") {
        agent.post(&format!("/actors/{name}/restart"));
        agent.wait_until(&format!("{name} has started anew"), |agent| {
            agent.component(&name).is_some_and(|one| one["restarts"] == 1 && one["state"] == "up")
        });
    }
    watches_a_new_interface(&lab, &mut agent);
    assert!(of_threads(&agent).iter().all(|(_, bits)| bits & LOADING == 0));
}

/// Under `privileges.least` no capability is left that anything needs; interfaces are still
/// watched, a link that is taken away is noticed by its own information, and what is off is said.
#[test]
fn the_least_privileges() {
    let Some(lab) = Lab::up() else { return };
    let mut agent = Agent::start_with(&lab, "privileges: { least: true }\n");
    if readyz(&agent)["privileges"]["more"].to_string().contains("clsact") {
        assert_eq!(held(&agent), [0, 0, 1], "without TCX it is kept");
        return;
    }
    let threads = of_threads(&agent);
    assert!(threads.iter().all(|(_, bits)| bits & (LOADING | NET_ADMIN) == 0), "{threads:?}");
    assert_eq!(held(&agent), [0, 0, 0]);
    let answer = readyz(&agent);
    assert!(answer["privileges"]["off"].to_string().contains("connection tracking is not read"), "{answer}");
    assert!(!answer["components"].to_string().contains("conntrack"), "{answer}");
    watches_a_new_interface(&lab, &mut agent);
    let index = lab.run("node", "cat /sys/class/net/late/ifindex");
    for descriptor in fs::read_dir(format!("/proc/{}/fdinfo", agent.pid())).unwrap() {
        let text = fs::read_to_string(descriptor.unwrap().path()).unwrap_or_default();
        let field = |name: &str| text.lines().find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()));
        if field("link_type:").as_deref() == Some("tcx") && field("ifindex:").as_deref() == Some(index.trim()) {
            lab.run("node", &format!("bpftool link detach id {}", field("link_id:").unwrap()));
        }
    }
    agent.wait_until("the links are missed and made anew", |agent| agent.log().contains("in their places again"));
    let requests = |agent: &Agent| agent.scrape().sum("hubble_icmp_total", &[("type", "EchoRequest")]);
    let seen = requests(&agent);
    lab.run("world", "ping -q -c 5 -i 0.05 10.9.9.1");
    agent.settles(exactly(&[("hubble_icmp_total", &[("type", "EchoRequest")], seen + 5)]));
    assert_eq!(agent.get("/readyz").unwrap().status, 200);
}
