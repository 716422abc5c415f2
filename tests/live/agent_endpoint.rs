//! The agent endpoint of a running agent: Cilium's names, in the version that is asked for, and
//! nothing that is not documented.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use webb::agent_metrics::CATEGORIES;
use webb::families::PROCESS_FAMILIES;
use webb_metrics::expose::FamilyType;

use crate::harness::{Agent, Lab, request};
use crate::scrape::Scrape;

const PORT: u16 = 9962;

fn config(more: &str) -> String {
    format!("agent_metrics: {{ listen: '[::]:{PORT}'{more} }}\n")
}

/// Text of the endpoint.
fn text(lab: &Lab) -> String {
    let answer = request(&lab.namespace("node"), PORT, "GET", "/metrics").expect("the agent endpoint answers");
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body
}

/// Checks text with Prometheus's own tool; false, said loudly, where there is none.
fn promtool(text: &str) -> bool {
    let unpacked = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/promtool");
    let program = if unpacked.exists() { unpacked } else { "promtool".into() };
    let child = Command::new(program).args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let Ok(mut child) = child else {
        assert!(std::env::var_os("CI").is_none(), "promtool is missing, and CI must run it");
        eprintln!("SKIPPED: there is no promtool; scripts/setup brings it");
        return false;
    };
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    // Its advice about names is for authors of new metrics, and these are Cilium's.
    let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
    let errors: Vec<_> = complaints.lines().filter(|line| line.starts_with("error")).collect();
    assert!(errors.is_empty(), "{complaints}");
    true
}

/// Every family that is exposed is documented with its type and labels, and Prometheus can read all
/// of it.
#[test]
fn all_of_it_is_documented() {
    let Some(lab) = Lab::up() else { return };
    let _agent = Agent::start_with(&lab, &config(""));
    lab.run("tiefighter", "pod land --rounds 20 10.244.1.11:80");
    let text = text(&lab);
    promtool(&text);
    let families: Vec<_> = CATEGORIES.iter().flat_map(|category| category.families).collect();
    let scrape = Scrape::parse(&text);
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').unwrap();
        if PROCESS_FAMILIES.iter().any(|process| name == format!("cilium_{process}")) {
            continue;
        }
        let family = families.iter().find(|family| family.def.name == name).unwrap_or_else(|| panic!("{name}"));
        assert_eq!(family.def.kind.name(), kind, "{name}");
        let sample = if family.def.kind == FamilyType::Histogram { format!("{name}_count") } else { name.to_owned() };
        let sample = scrape.samples(&sample, &[]).next().unwrap();
        let mut labels: Vec<_> = family.def.labels.to_vec();
        labels.sort_unstable();
        assert_eq!(sample.labels.keys().collect::<Vec<_>>(), labels, "{name}");
    }
    assert!(scrape.names().any(|name| name == "cilium_version"));
    let not_found = request(&lab.namespace("node"), PORT, "GET", "/").unwrap();
    assert_eq!(not_found.status, 404);
}

/// Families are switched, and labels spelled for another version, while the agent runs; an entry
/// that switches nothing is named, and refuses nothing.
#[test]
fn toggles_are_live() {
    let Some(lab) = Lab::up() else { return };
    let mut agent = Agent::start_with(&lab, &config(""));
    let before = Scrape::parse(&text(&lab));
    assert_eq!(before.samples("cilium_hive_degraded_status", &[]).count(), 0, "it is off by default");
    assert!(before.samples("cilium_errors_warnings_total", &[("level", "WARN")]).count() > 0);
    let toggles = "[+cilium_hive_degraded_status, -cilium_version, -cilium_process_open_fds, -cilium_versoin, cilium_endpoint, '']";
    lab.file("webb.yaml", &config(&format!(", compat: 1.16, metrics: {toggles}")));
    agent.signal("HUP");
    agent.wait_until("the change is made", |_| !text(&lab).contains("cilium_version{"));
    let after = Scrape::parse(&text(&lab));
    assert!(after.samples("cilium_hive_degraded_status", &[]).count() > 0);
    assert_eq!(after.samples("cilium_process_open_fds", &[]).count(), 0);
    assert!(after.samples("cilium_errors_warnings_total", &[("level", "warning")]).count() > 0);
    assert!(after.samples("cilium_endpoint", &[]).count() > 0);
    for named in ["did you mean `cilium_version`?", "`cilium_endpoint`: it has neither + nor -", "the entry is empty"] {
        agent.wait_until("the mistake is named", |agent| agent.log().contains(named));
    }
}
