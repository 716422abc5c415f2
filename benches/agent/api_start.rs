//! The start with the names of a large cluster from an API server.

use super::agent::{Agent, sum, value};
use super::api::{self, Lists};
use super::lab::{Lab, address};
use super::packets::{Kind, Packet, Sender};
use super::row;
use super::series::PODS;

pub(crate) fn run(lab: &Lab) {
    for (name, lists) in [("streamed as a watch", Lists::Streamed), ("a list", Lists::Whole)] {
        let (kubeconfig, bytes) = api::start(lab, PODS, lists);
        let words = ["--cluster-source", "kubernetes", "--kubeconfig", kubeconfig.to_str().unwrap()];
        let agent = Agent::start_with(lab, &words, &[("WEBB_METRICS", "flow:labelsContext=destination_pod")]);
        let text = agent.families(&["webb_startup_seconds", "process_cpu_seconds_total"]);
        let stage = |stage: &str| value(&text, "webb_startup_seconds", &[&format!("stage=\"{stage}\"")]);
        let (named, ready) = (stage("named"), stage("ready"));
        let cpu = value(&text, "process_cpu_seconds_total", &[]);
        let peak = agent.megabytes("VmHWM");
        row(
            &format!("{PODS} pods, {:.0} MB, {name}", bytes as f64 / 1e6),
            format!("named after {named:.2} s, ready {ready:.2} s, CPU {cpu:.2} s, peak {peak:.0} MB"),
        );
        assert_named(lab, &agent);
    }
}

/// The last pod of the list must have its name: names that are not there cost nothing.
fn assert_named(lab: &Lab, agent: &Agent) {
    let last = Packet { kind: Kind::Udp, from: (address(0), 1024), to: (address(PODS - 1), 53) };
    Sender::new(&lab.pods()).send([last], 0);
    let text = agent.at_rest(&["hubble_flows_processed_total"]);
    let pod = format!("-{:05}\"", PODS - 1);
    assert_eq!(sum(&text, "hubble_flows_processed_total", &[&pod]), 1, "it has no name:\n{text}");
}
