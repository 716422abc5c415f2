//! The lab itself: what the other tests take for granted.

use crate::harness::Lab;

/// The manifest names the addresses that the lab's script sets up; if they drift apart, every name
/// in a test is wrong.
#[test]
fn the_manifest_has_the_labs_addresses() {
    let output =
        std::process::Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/lab/lab")).arg("check").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The story of the lab: the empire lands, the alliance does not, both may ping; and its namespaces
/// go when it goes.
#[test]
fn the_lab_does_what_its_policy_says() {
    let Some(lab) = Lab::up() else { return };
    let both = "10.244.1.11:80 [fd00:10:244:1::12]:80";
    lab.run("tiefighter", &format!("pod land {both}"));
    assert_eq!(lab.try_run("xwing", &format!("pod land --timeout 200 {both}")).status.code(), Some(1));
    assert_eq!(lab.denied(), 2);
    lab.run("xwing", "ping -c 1 -W 5 10.244.1.11");
    lab.run("xwing", "ping -c 1 -W 5 fd00:10:244:1::12");
    lab.run("xwing", "pod ask 10.244.1.21:7777 [fd00:10:244:1::21]:7777");
    lab.run("tiefighter", "pod land 203.0.113.10:80 [2001:db8::10]:80 172.18.0.3:80");

    let namespace = std::path::Path::new("/run/netns").join(lab.namespace("node"));
    assert!(namespace.exists());
    drop(lab);
    assert!(!namespace.exists());
}
