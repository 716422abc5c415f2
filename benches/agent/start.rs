//! From the start of the process to names for 20,000 pods.

use super::agent::Agent;
use super::lab::Lab;
use super::{row, series};

pub(crate) fn run(lab: &Lab) {
    let manifest = lab.manifest(series::PODS);
    let size = std::fs::metadata(&manifest).unwrap().len();
    let agent = Agent::start(lab, &manifest, &[]);
    row(&format!("ready, 20,000 pods in a manifest of {} MB", size / 1_000_000), format!("{:.2?}", agent.ready_after));
    row("CPU until then", format!("{:.2?}", agent.cpu()));
    row("resident then", format!("{:.1} MB, peak {:.1} MB", agent.megabytes("VmRSS"), agent.megabytes("VmHWM")));
}
