//! Metrics that change while the agent runs: the dynamic file as a ConfigMap mounts it, and pods
//! that are deleted.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use crate::counts::{POINTS, exactly};
use crate::harness::{Agent, Lab};

const SYNS: &str = "hubble_tcp_flags_total";
const PORTS: &str = "hubble_port_distribution_total";
const RELOADS: &str = "webb_metrics_config_reloads_total";

/// Exchanges the content as the kubelet does for a ConfigMap: `..data` is a link to a directory of
/// that version.
fn mount(directory: &Path, version: u32, text: &str) {
    let data = directory.join(format!("..{version}"));
    fs::create_dir(&data).unwrap();
    fs::write(data.join("metrics.yaml"), text).unwrap();
    let fresh = directory.join("..fresh");
    symlink(&data, &fresh).unwrap();
    fs::rename(&fresh, directory.join("..data")).unwrap();
}

fn agent(lab: &Lab, directory: &Path, manifest: &str) -> Agent {
    let file = directory.join("metrics.yaml");
    symlink("..data/metrics.yaml", &file).unwrap();
    let words =
        ["--node-name", "webb-node-1", "--cluster-manifest", manifest, "--metrics-config", file.to_str().unwrap()];
    let mut agent = Agent::spawn(lab, "", &words);
    agent.wait_until("the agent is ready", |agent| agent.get("/readyz").is_some_and(|answer| answer.status == 200));
    agent
}

fn reloads(result: &'static str, count: u64) -> impl Fn(&Agent) -> bool {
    move |agent| agent.scrape().sum(RELOADS, &[("outcome", result)]) == count
}

/// A metric that is added counts from then on, one that stays has lost nothing, a file with a
/// mistake changes nothing and is named with its line, and all of it within ten seconds or at once
/// by SIGHUP.
#[test]
fn the_dynamic_file_is_followed() {
    let Some(lab) = Lab::up() else { return };
    let directory = lab.dir.path().to_owned();
    mount(&directory, 1, "metrics:\n- name: tcp\n");
    let mut agent = agent(&lab, &directory, Lab::manifest().to_str().unwrap());
    let land = |rounds: u64| lab.run("tiefighter", &format!("pod land --rounds {rounds} 10.244.1.11:80"));
    land(10);
    agent.settles(exactly(&[(SYNS, &[("flag", "SYN")], 10 * POINTS), (PORTS, &[], 0)]));

    mount(&directory, 2, "metrics:\n- name: tcp\n- name: port-distribution\n");
    agent.signal("HUP");
    agent.wait_until("the change is made", reloads("applied", 1));
    land(5);
    agent.settles(exactly(&[(SYNS, &[("flag", "SYN")], 15 * POINTS), (PORTS, &[("port", "81")], 0)]));
    assert!(agent.scrape().sum(PORTS, &[("port", "80")]) > 0);

    mount(&directory, 3, "metrics:\n- name: tcp\n- name: drop\n  includeFilters: [{source_prot: [\"1\"]}]\n");
    agent.wait_until("the mistake is noticed without a signal", reloads("rejected", 1));
    assert!(agent.log().contains("metrics.yaml:4:21"), "{}", agent.log());
    land(5);
    agent.settles(exactly(&[(SYNS, &[("flag", "SYN")], 20 * POINTS)]));

    mount(&directory, 4, "metrics:\n- name: tcp\n  includeFilters: [{destination_port: [\"80\"]}]\n");
    agent.wait_until("the mended file is taken without a signal", reloads("applied", 2));
    land(5);
    // What goes to port 80 is one SYN at each point; the answers come from it. A metric that went
    // took its series along.
    agent.settles(exactly(&[
        (SYNS, &[("flag", "SYN")], 25 * POINTS),
        (SYNS, &[("flag", "SYN-ACK")], 20 * POINTS),
        (PORTS, &[], 0),
    ]));
}

/// The series of a deleted pod stay for a minute, for a last scrape, and then go; those of others
/// stay.
#[test]
fn series_of_a_deleted_pod_go_after_a_minute() {
    let Some(lab) = Lab::up() else { return };
    let text = fs::read_to_string(Lab::manifest()).unwrap();
    let manifest = lab.file("manifest.yaml", &text);
    let directory = lab.dir.path().to_owned();
    mount(&directory, 1, "metrics:\n- {name: tcp, contextOptions: [{name: sourceContext, values: [pod]}]}\n");
    let mut agent = agent(&lab, &directory, manifest.to_str().unwrap());
    lab.run("tiefighter", "pod land 10.244.1.11:80");
    assert_eq!(lab.try_run("xwing", "pod land --timeout 200 10.244.1.11:80").status.code(), Some(1));
    let of = |pod: &'static str| [("source", pod), ("flag", "SYN")];
    agent.wait_until("both are counted", |agent| {
        let scrape = agent.scrape();
        scrape.sum(SYNS, &of("default/xwing")) > 0 && scrape.sum(SYNS, &of("default/tiefighter")) > 0
    });
    let documents = text.split("\n---\n").filter(|document| !document.contains("\n  name: xwing\n"));
    fs::write(&manifest, documents.collect::<Vec<_>>().join("\n---\n")).unwrap();
    sleep(Duration::from_secs(45));
    assert!(agent.scrape().sum(SYNS, &of("default/xwing")) > 0, "not yet");
    agent.wait_until("the series of xwing are removed", |agent| agent.scrape().sum(SYNS, &of("default/xwing")) == 0);
    let scrape = agent.scrape();
    assert!(scrape.sum(SYNS, &of("default/tiefighter")) > 0);
    assert!(scrape.sum("webb_series_removed_total", &[("metric", "tcp"), ("reason", "pod_deleted")]) > 0);
}

/// Nothing is exposed that docs/metrics.md does not have.
#[test]
fn every_family_is_in_the_inventory() {
    let Some(lab) = Lab::up() else { return };
    let mut agent = Agent::start(&lab, &[]);
    lab.run("tiefighter", "pod land 10.244.1.11:80");
    let scrape = agent.settles(|_| Ok(()));
    let inventory = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md")).unwrap();
    for name in scrape.names() {
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        let known = |name: &str| inventory.contains(&format!("| `{name}` |"));
        assert!(known(name) || known(family), "{name} is not in docs/metrics.md");
    }
}
