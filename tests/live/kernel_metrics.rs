//! Categories of the agent endpoint that are read from the kernel: drops and forwards, connections,
//! IPsec, maps and programs.

use std::collections::HashSet;
use std::fs;
use std::time::Instant;

use aya::maps::{HashMap, Map, MapData};

use crate::harness::{Agent, DEVICES, Lab, QUICK, request};
use crate::scrape::Scrape;

const PORT: u16 = 9962;

fn config(more: &str) -> String {
    format!("{QUICK}agent_metrics: {{ listen: '[::]:{PORT}'{more} }}\n")
}

fn scrape(lab: &Lab) -> Scrape {
    let answer = request(&lab.namespace("node"), PORT, "GET", "/metrics").expect("the agent endpoint answers");
    Scrape::parse(&answer.body)
}

/// Forwards are the packets and bytes that the pods' interfaces count, fragments are counted in
/// their direction, and connections are there for as long as they are in the table. Series are
/// there before the first packet.
#[test]
fn forwards_and_connections() {
    let Some(lab) = Lab::up() else { return };
    let mut agent = Agent::start_with(&lab, &config(""));
    lab.hush();
    let before = scrape(&lab);
    for family in ["forward_count_total", "forward_bytes_total", "mtu_error_message_total", "fragmented_count_total"] {
        for direction in ["INGRESS", "EGRESS"] {
            let rows = before.samples(&format!("cilium_{family}"), &[("direction", direction)]).count();
            assert_eq!(rows, 1, "{family} {direction}");
        }
    }
    let denied = [("reason", "Policy denied"), ("direction", "EGRESS")];
    assert_eq!(before.samples("cilium_drop_count_total", &denied).count(), 1);
    let counters = |lab: &Lab| DEVICES.map(|device| lab.counters(device));
    let devices = counters(&lab);
    lab.run("tiefighter", "ping -q -c 4 -i 0.05 -s 4000 10.244.1.11");
    lab.run("tiefighter", "pod land --rounds 20 10.244.1.11:80");
    let sum = |of: fn(&crate::harness::Counters) -> u64| {
        let after = counters(&lab);
        after.into_iter().zip(devices).map(|(after, before)| of(&(after - before))).sum::<u64>()
    };
    agent.wait_until("all packets are counted as the interfaces count them", |_| {
        let now = scrape(&lab);
        let grown = |name: &str, direction: &str| {
            let labels = [("direction", direction)];
            now.sum(name, &labels) - before.sum(name, &labels)
        };
        grown("cilium_forward_count_total", "EGRESS") == sum(|device| device.received_packets)
            && grown("cilium_forward_count_total", "INGRESS") == sum(|device| device.sent_packets)
            && grown("cilium_forward_bytes_total", "EGRESS") == sum(|device| device.received_bytes)
            && grown("cilium_forward_bytes_total", "INGRESS") == sum(|device| device.sent_bytes)
    });
    let now = scrape(&lab);
    for direction in ["EGRESS", "INGRESS"] {
        // Four requests and four answers, of three fragments each; both leave a pod and reach one.
        let fragments = now.sum("cilium_fragmented_count_total", &[("direction", direction)]);
        assert_eq!(fragments, 24, "{direction}");
    }
    agent.wait_until("all connections are gone, and sweeps go on", |agent| {
        let (now, own) = (scrape(&lab), agent.scrape());
        let alive = now.sum("cilium_datapath_conntrack_gc_entries", &[("status", "alive")]);
        alive == 0 && own.sum("webb_connection_table_entries", &[]) == 0
    });
    let completed = [("family", "ipv4"), ("protocol", "TCP"), ("status", "completed")];
    let done = |scrape: &Scrape| scrape.sum("cilium_datapath_conntrack_gc_runs_total", &completed);
    let swept = done(&scrape(&lab));
    agent.wait_until("the table is swept again", |_| done(&scrape(&lab)) > swept);
    let now = scrape(&lab);
    assert_eq!(now.sum("cilium_datapath_conntrack_dump_resets_total", &[]), 0);
    assert_eq!(now.samples("cilium_nat_endpoint_max_connection", &[]).count(), 2);
    assert_eq!(now.sum("cilium_bpf_map_ops_total", &[("outcome", "fail")]), 0);
    let looked_up = [("map_name", "totals"), ("operation", "lookup"), ("outcome", "success")];
    assert!(now.sum("cilium_bpf_map_ops_total", &looked_up) > 0);
}

/// States and policies of the node's namespace are counted by direction, and the kernel's errors
/// are there. The states are larval ones, which any kernel makes, and which have no key; they go
/// after half a minute.
#[test]
fn ipsec_of_the_node() {
    let Some(lab) = Lab::up() else { return };
    let own = "10.99.0.1";
    lab.run("node", &format!("ip address add {own}/32 dev lo"));
    for direction in ["in", "out", "fwd"] {
        let template = format!("src {own} dst 10.99.0.2 proto esp mode tunnel");
        let selector = "src 10.99.1.0/24 dst 10.99.2.0/24";
        lab.run("node", &format!("ip xfrm policy add {selector} dir {direction} tmpl {template}"));
    }
    for (from, to) in [(own, "10.99.0.2"), ("10.99.0.2", own), (own, "10.99.0.3"), ("10.99.0.4", "10.99.0.5")] {
        lab.run("node", &format!("ip xfrm state allocspi src {from} dst {to} proto esp mode tunnel min 256 max 512"));
    }
    let mut agent = Agent::start_with(&lab, &config(""));
    let of = |now: &Scrape, name: &str, direction: &str| now.sum(name, &[("direction", direction)]);
    agent.wait_until("states and policies are counted", |_| {
        let now = scrape(&lab);
        ["in", "out", "fwd"].iter().all(|direction| of(&now, "cilium_ipsec_xfrm_policies", direction) == 1)
    });
    let now = scrape(&lab);
    assert_eq!(["in", "out"].map(|direction| of(&now, "cilium_ipsec_xfrm_states", direction)), [1, 2]);
    assert_eq!(now.samples("cilium_ipsec_keys", &[]).map(|sample| sample.value).collect::<Vec<_>>(), [0.0]);
    assert_eq!(now.samples("cilium_ipsec_xfrm_error", &[("type", "outbound"), ("error", "no_state")]).count(), 1);
    assert_eq!(agent.component("ipsec").unwrap()["state"], "up");
}

/// Maps for as long as the values live, each with so many entries of a hundred.
fn maps(entries: &[u32]) -> Vec<HashMap<MapData, u32, u64>> {
    let made = entries.iter().map(|&count| {
        const HASH: u32 = 1;
        let map = MapData::create(aya_obj::Map::new_from_params(HASH, 4, 8, 100, 0), "cilium_test", None).unwrap();
        let mut map: HashMap<_, u32, u64> = HashMap::try_from(Map::HashMap(map)).unwrap();
        for key in 0..count {
            map.insert(key, 1, 0).unwrap();
        }
        map
    });
    made.collect()
}

/// webb's own maps and programs are those that its process has open, each once: what is missing
/// among them would be counted as another program's with `all_maps`, and listed a second time.
#[test]
fn own_objects_are_those_of_the_process() {
    let Some(lab) = Lab::up() else { return };
    for more in ["", "l7: { capture: on }\n"] {
        let mut agent = Agent::start_with(&lab, &format!("{}{more}", config("")));
        agent.wait_until("maps are counted", |_| scrape(&lab).sum("cilium_bpf_maps", &[]) > 0);
        let ids = |field: &str| {
            let files = fs::read_dir(format!("/proc/{}/fdinfo", agent.pid())).unwrap();
            let texts = files.filter_map(|file| fs::read_to_string(file.unwrap().path()).ok());
            let id = |text: String| text.lines().find_map(|line| line.strip_prefix(field)).map(str::to_owned);
            texts.filter_map(id).collect::<HashSet<_>>().len() as u64
        };
        let now = scrape(&lab);
        assert_eq!(now.sum("cilium_bpf_maps", &[]), ids("map_id:"), "{more}");
        assert_eq!(now.sum("cilium_bpf_progs", &[]), ids("prog_id:"), "{more}");
    }
}

/// With `agent_metrics.all_maps` the maps of others are counted too, 500 of them, by one thread
/// that has CAP_SYS_ADMIN for that and nothing else; a scrape does not wait for it.
#[test]
fn all_maps_of_the_node() {
    let Some(lab) = Lab::up() else { return };
    let mut entries = [3; 500];
    entries[77] = 90;
    let made = maps(&entries);
    let mut agent = Agent::start_with(&lab, &config(", all_maps: true"));
    agent.wait_until("all maps are counted", |_| {
        let now = scrape(&lab);
        now.sum("cilium_bpf_maps", &[]) > made.len() as u64
            && now
                .samples("cilium_bpf_map_pressure", &[("map_name", "test")])
                .any(|sample| (sample.value - 0.9).abs() < 1e-9)
    });
    let began = Instant::now();
    let now = scrape(&lab);
    println!("a scrape with {} maps: {:?}", made.len(), began.elapsed());
    assert_eq!(now.sum("cilium_bpf_map_capacity", &[("map_group", "cilium_test")]), 100);
    assert_eq!(now.samples("cilium_bpf_map_pressure", &[("map_name", "claims")]).count(), 1);
    assert!(now.sum("cilium_bpf_maps_virtual_memory_max_bytes", &[]) > 500 * 8 * 100);
    assert!(now.sum("cilium_bpf_progs", &[]) > 8);
    assert_eq!(agent.component("bpf_maps").unwrap()["state"], "up");
    let with_admin: Vec<String> = fs::read_dir(format!("/proc/{}/task", agent.pid()))
        .unwrap()
        .filter_map(|task| fs::read_to_string(task.unwrap().path().join("status")).ok())
        .filter_map(|status| {
            let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim();
            let bits = u64::from_str_radix(field("CapPrm:"), 16).unwrap();
            (bits & 1 << 21 != 0).then(|| format!("{} {bits:x} {}", field("Name:"), field("Seccomp:")))
        })
        .collect();
    assert_eq!(with_admin, ["loader 200000 2"]);
}

/// Without CAP_SYS_ADMIN webb's own maps are counted, the component says what is missing, and all
/// else goes on; without `all_maps` nothing is missing.
#[test]
fn maps_without_the_capability() {
    let Some(lab) = Lab::up() else { return };
    let made = maps(&[1; 30]);
    let file = lab.file("maps.yaml", &config(", all_maps: true"));
    let drop = "-sys_admin";
    let words = ["--config", file.to_str().unwrap()];
    let mut agent = Agent::spawn(&lab, &format!("setpriv --bounding-set={drop} --inh-caps={drop}"), &words);
    agent.wait_until("it says what is missing", |agent| {
        agent.component("bpf_maps").is_some_and(|one| one["reason"].to_string().contains("CAP_SYS_ADMIN"))
    });
    let reason = agent.component("bpf_maps").unwrap()["reason"].to_string();
    assert!(reason.contains("Operation not permitted"), "{reason}");
    let now = scrape(&lab);
    assert!((15..made.len() as u64).contains(&now.sum("cilium_bpf_maps", &[])), "{}", now.sum("cilium_bpf_maps", &[]));
    assert_eq!(now.samples("cilium_bpf_map_pressure", &[("map_name", "test")]).count(), 0);
    agent.wait_until("it is ready all the same", |agent| {
        agent.get("/readyz").is_some_and(|answer| answer.status == 200)
    });
}
