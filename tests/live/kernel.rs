//! Kernels that can do less than this one: the agent finds out by the kernel's BTF and by loading,
//! and says so.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use crate::counts::{POINTS, exactly};
use crate::harness::{Agent, Lab, METRICS};

/// A script that runs its arguments where the kernel's BTF has no `enum skb_drop_reason`, as before
/// Linux 5.17: there it is another name. Only the script's own mount namespace is concerned, which
/// `ip netns exec` makes.
fn without_drop_reasons(lab: &Lab) -> PathBuf {
    let btf = "/sys/kernel/btf/vmlinux";
    let mut types = fs::read(btf).unwrap();
    let name = b"\0skb_drop_reason\0";
    let at = types.windows(name.len()).position(|bytes| bytes == name).expect("this kernel has drop reasons");
    types[at + 1] = b'x';
    let copy = lab.dir.path().join("vmlinux.btf");
    fs::write(&copy, types).unwrap();
    let text = format!("#!/bin/sh\nset -e\nmount --bind {} {btf}\nexec \"$@\"\n", copy.display());
    let script = lab.file("without-drop-reasons", &text);
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    script
}

/// Without drop reasons the agent counts flows as ever, has no family that needs drops, and names
/// these in `/readyz` and in its log; `webb probe` says the same and that webb runs here.
#[test]
fn without_drop_reasons_the_rest_is_counted() {
    let Some(lab) = Lab::up() else { return };
    let script = without_drop_reasons(&lab);
    let before = script.to_str().unwrap();

    let probe = lab.run("node", &format!("{before} {} probe", env!("CARGO_BIN_EXE_webb")));
    let line = probe.lines().find(|line| line.starts_with("drop reasons")).unwrap();
    assert!(line.contains(" degraded ") && line.contains("hubble_drop_total"), "{probe}");
    assert!(!probe.contains("webb_drop") && !probe.contains(" missing "), "{probe}");

    let manifest = Lab::manifest();
    let words = ["--node-name", "webb-node-1", "--cluster-manifest", manifest.to_str().unwrap(), "--metrics", METRICS];
    let mut agent = Agent::spawn(&lab, before, &words);
    agent.wait_until("it is ready and says what is missing", |agent| {
        agent.get("/readyz").is_some_and(|answer| {
            answer.status == 200 && answer.body.contains("skb_drop_reason") && answer.body.contains("hubble_drop_total")
        })
    });
    let warnings =
        agent.log().lines().filter(|line| line.contains("WARN") && line.contains("drops are not seen")).count();
    assert_eq!(warnings, 1, "{}", agent.log());

    lab.run("tiefighter", "pod land --rounds 10 10.244.1.11:80");
    let denied = lab.denied();
    lab.try_run("xwing", "pod land --timeout 1 10.244.1.11:80");
    assert!(lab.denied() > denied, "the policy is enforced, so something was dropped");
    let seen = |scrape: &crate::scrape::Scrape| {
        exactly(&[("hubble_tcp_flags_total", &[("flag", "SYN-ACK")], 10 * POINTS)])(scrape)
    };
    let scrape = agent.settles(seen);
    assert_eq!(scrape.show("hubble_drop_total"), "");
    assert_eq!(scrape.sum("hubble_flows_processed_total", &[("verdict", "DROPPED")]), 0);
    assert_eq!(scrape.sum("webb_ledger_seen_packets_total", &[("hook", "drop")]), 0);
    assert!(!scrape.values("webb_ledger_seen_packets_total", "hook").contains(&"drop".to_owned()), "no row for it");
}
