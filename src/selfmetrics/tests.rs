//! Tests of the agent's own metrics.

use super::*;

/// Prometheus conventions hold for every name, and none is defined twice.
#[test]
fn names_follow_the_conventions() {
    let mut names: Vec<_> = ALL.iter().map(|def| def.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), ALL.len());
    for def in ALL {
        // But for the names that are Hubble's.
        let is_hubbles = ["grpc_server_", "hubble_"].iter().any(|begin| def.name.starts_with(begin));
        assert!(is_hubbles || def.name.starts_with("webb_"), "{}", def.name);
        assert_eq!(def.kind == FamilyType::Counter, def.name.ends_with("_total"), "{}", def.name);
        assert!(!def.help.ends_with('.'), "{}", def.name);
    }
}

/// CPU time has fractions: any work shows at once.
#[test]
fn cpu_time_is_fine_grained() {
    let metrics = SelfMetrics::new().unwrap();
    let cpu = || {
        let families = metrics.gather();
        let family = families.iter().find(|family| family.name() == "process_cpu_seconds_total").unwrap();
        family.get_metric()[0].get_counter().get_value()
    };
    let (before, mut work) = (cpu(), 1_u64);
    for number in 0..1_000_000_u64 {
        work = std::hint::black_box(work.wrapping_mul(number | 1));
    }
    let spent = cpu() - before;
    assert!(spent > 0.0 && spent.fract() > 0.0, "{spent} {work}");
}

/// Rows that a source adds are exposed by each scrape.
#[test]
fn sources_are_read_at_each_look() {
    let metrics = SelfMetrics::new().unwrap();
    metrics.add(&[&LEDGER_PACKETS], Box::new(|rows| rows.add(&LEDGER_PACKETS, &["to-pod", "reported"], 7))).unwrap();
    let families = metrics.gather();
    let family = families.iter().find(|family| family.name() == LEDGER_PACKETS.name).unwrap();
    assert!((family.get_metric()[0].get_counter().get_value() - 7.0).abs() < f64::EPSILON);
}
