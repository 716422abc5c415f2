//! Landlock and seccomp, which the running agent is under: each file of its configuration is read
//! again after it was replaced, others are refused by the kernel, and the error says so.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::harness::{Agent, Lab};

/// Exchanges a file for one of another inode, as editors and configuration management do.
fn replace(file: &Path, text: &str) {
    let fresh = file.with_extension("fresh");
    fs::write(&fresh, text).unwrap();
    fs::rename(fresh, file).unwrap();
}

/// The modes of seccomp of all threads.
fn seccomp(agent: &Agent) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{}/task", agent.pid())).unwrap();
    // A thread that has ended meanwhile has no status.
    let statuses = tasks.filter_map(|task| fs::read_to_string(task.unwrap().path().join("status")).ok());
    statuses
        .map(|status| status.lines().find_map(|line| line.strip_prefix("Seccomp:")).unwrap().trim().to_owned())
        .collect()
}

fn privileges(agent: &Agent) -> Value {
    let answer: Value = serde_json::from_str(&agent.get("/readyz").unwrap().body).unwrap();
    answer["privileges"].clone()
}

fn certificate() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

fn pod(name: &str) -> String {
    format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: a}}\nstatus: {{podIP: 10.1.1.1}}\n")
}

/// Every file of the configuration is followed under Landlock, each in a directory of its own; one
/// outside of them is refused, named as such, and its place in the configuration changes nothing.
#[test]
fn files_are_followed_and_others_refused() {
    let Some(lab) = Lab::up() else { return };
    let at = |path: &str| lab.dir.path().join(path);
    for directory in ["etc", "metrics", "names", "tls", "outside"] {
        fs::create_dir(at(directory)).unwrap();
    }
    let (chain, key) = certificate();
    for (path, text) in [
        ("metrics/metrics.yaml", "metrics: [{name: tcp}]\n"),
        ("names/pods.yaml", &pod("one")),
        ("outside/pods.yaml", &pod("elsewhere")),
        ("tls/tls.crt", &chain),
        ("tls/tls.key", &key),
    ] {
        fs::write(at(path), text).unwrap();
    }
    let config = |level: &str, manifest: &str| {
        let [metrics, manifest, chain, key] =
            ["metrics/metrics.yaml", manifest, "tls/tls.crt", "tls/tls.key"].map(|path| at(path).display().to_string());
        format!(
            "metrics_config: {metrics}\ncluster_manifest: {manifest}\nlog: {{level: {level}}}\n\
             metrics_tls: {{certificate: {chain}, key: {key}}}\n"
        )
    };
    fs::write(at("etc/webb.yaml"), config("info", "names/pods.yaml")).unwrap();
    let mut agent = Agent::spawn(&lab, "", &["--node-name", "n", "--config", at("etc/webb.yaml").to_str().unwrap()]);
    agent.wait_until("the agent is ready", |agent| agent.get("/readyz").is_some_and(|answer| answer.status == 200));
    let found = privileges(&agent);
    assert_eq!(found["seccomp"]["enforced"], true, "{found}");
    assert_eq!(found["landlock"]["enforced"], true, "{found}");
    assert!(!found["readable"].to_string().contains("outside"), "{found}");
    let modes = seccomp(&agent);
    assert!(modes.len() > 5 && modes.iter().all(|mode| mode == "2"), "{modes:?}");

    replace(&at("names/pods.yaml"), &pod("two"));
    replace(&at("metrics/metrics.yaml"), "metrics: [{name: tcp}, {name: icmp}]\n");
    let (chain, key) = certificate();
    replace(&at("tls/tls.crt"), &chain);
    replace(&at("tls/tls.key"), &key);
    replace(&at("etc/webb.yaml"), &config("debug", "names/pods.yaml"));
    agent.signal("HUP");
    for (what, said, times) in [
        ("the configuration is read again", "configuration changed key=\"log.level\"", 1),
        ("metrics are read again", "metrics configured added=1", 1),
        ("certificates are read again", "TLS certificates read", 2),
        ("names are read again", "names published", 2),
    ] {
        agent.wait_until(what, |agent| agent.log().matches(said).count() >= times);
    }

    replace(&at("etc/webb.yaml"), &config("info", "outside/pods.yaml"));
    agent.signal("HUP");
    agent.wait_until("the file outside is refused", |agent| {
        let log = agent.log();
        let refused = log.lines().find(|line| line.contains("outside/pods.yaml") && line.contains("Permission denied"));
        refused.is_some_and(|line| line.contains("Landlock: this path is not among those"))
    });
}

/// Both can be switched off, and `/readyz` says that they are.
#[test]
fn confinement_can_be_switched_off() {
    let Some(lab) = Lab::up() else { return };
    let agent = Agent::start_with(&lab, "privileges: { landlock: false, seccomp: false }\n");
    let found = privileges(&agent);
    assert_eq!(found["landlock"]["reason"], "privileges.landlock is false", "{found}");
    assert_eq!(found["seccomp"]["reason"], "privileges.seccomp is false", "{found}");
    let scrape = agent.scrape();
    for restriction in ["landlock", "seccomp"] {
        assert_eq!(scrape.sum("webb_privileges_restricted", &[("type", restriction)]), 0);
    }
    assert!(agent.log().contains("Landlock is not in force: privileges.landlock is false"), "{}", agent.log());
}

/// A path of an output that is not there is named at the start, and nothing that a machine need not
/// have: under Landlock it is refused even once it is there.
#[test]
fn what_is_missing_at_the_start_is_named() {
    let Some(lab) = Lab::up() else { return };
    let [headers, spool] = ["headers", "spool"].map(|name| lab.dir.path().join(name).display().to_string());
    let outputs = lab.file(
        "outputs.yaml",
        &format!(
            "otlp:\n- name: lab\n  endpoint: http://127.0.0.1:9\n  headers_directory: {headers}\n  \
             spool: {{directory: {spool}}}\n"
        ),
    );
    let agent = Agent::start_with(&lab, &format!("outputs_config: {}\n", outputs.display()));
    let log = agent.log();
    let named: Vec<&str> =
        log.lines().filter_map(|line| line.split_once("could not be opened: ")).map(|(_, named)| named).collect();
    assert_eq!(named, [format!("{headers} (No such file or directory (os error 2))")], "{log}");
}
