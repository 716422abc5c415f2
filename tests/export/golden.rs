//! What Hubble's exporter wrote for the same flows, byte for byte.

use std::sync::Arc;

use webb::exports::{Rules, read};
use webb_observer::export::Exporter;
use webb_settings::SourceFile;

use crate::common::{finish, flows, history, node, unpacked, written};

/// A recorded flow log.
fn expected(name: &str) -> String {
    unpacked(&format!("tests/export/golden/{name}.log.zst"))
}

/// The lines that are no groups in their order, then the groups, which have none.
fn sorted(log: &str) -> Vec<&str> {
    let (mut groups, mut lines): (Vec<_>, Vec<_>) = log.lines().partition(|line| line.contains(r#""aggregate":{"#));
    groups.sort_unstable();
    lines.extend(groups);
    lines
}

#[track_caller]
fn assert_equal(name: &str, found: &str, wanted: &str) {
    let (found, wanted) = (sorted(found), sorted(wanted));
    for (at, (found, wanted)) in found.iter().zip(&wanted).enumerate() {
        assert_eq!(found, wanted, "{name}, line {at}");
    }
    assert_eq!(found.len(), wanted.len(), "{name}: lines");
}

/// Every recorded case of the static exporter: filters on flows and on other events, masks,
/// aggregation.
#[test]
fn recorded_cases() {
    let nothing = "field_aggregate: [verdict]";
    for (name, of, settings) in [
        ("static-all", "flows-ev", ""),
        // Without an interval nothing is aggregated.
        ("static-all", "flows-ev", nothing),
        ("static-allow", "flows-a", r#"allow_list: ['{"verdict":["DROPPED","ERROR"]}']"#),
        ("static-allow-agent", "flows-ev", r#"allow_list: ['{"event_type":[{"type":130}]}']"#),
        (
            "static-allow-deny",
            "flows-a",
            "allow_list: ['{\"source_pod\":[\"default/\"]} {\"destination_pod\":[\"default/\"]}']\n\
             deny_list: ['{\"protocol\":[\"tcp\"]}{\"verdict\":[\"AUDIT\"]}']",
        ),
        ("static-allow-lost", "flows-ev", r#"allow_list: ['{"event_type":[{"type":1},{"type":129}]}']"#),
        (
            "static-deny-lost",
            "flows-ev",
            r#"deny_list: ['{"source_pod":["kube-system/"]} {"destination_pod":["kube-system/"]}']"#,
        ),
        (
            "static-mask",
            "flows-a",
            "field_mask: [time, source.namespace, source.pod_name, destination.namespace, destination.pod_name, l4, IP, \
             node_name, is_reply, verdict, drop_reason_desc]",
        ),
        ("static-mask-no-time", "flows-a", "field_mask: [source.identity, verdict]"),
        (
            "aggregate",
            "flows-ev",
            "field_aggregate: [source.namespace, destination.namespace, verdict]\naggregation_interval: 1h",
        ),
        (
            "aggregate-and-mask",
            "flows-ev",
            "field_mask: [verdict, time]\nfield_aggregate: [verdict]\naggregation_interval: 1h",
        ),
        (
            "aggregate-node",
            "flows-ev",
            "field_aggregate: [node_name, verdict, l4.TCP.destination_port]\naggregation_interval: 1h",
        ),
    ] {
        assert_equal(name, &written(&flows(of), settings), &expected(name));
    }
}

/// The recorded file of exporters: all of its exporters write what Hubble's did, and the one whose
/// time is over writes no file.
#[test]
fn recorded_flow_logs() {
    const FILE: &str = r#"
flowLogs:
- name: all
  filePath: all.log
- name: drops
  filePath: drops.log
  fieldMask: [time, verdict, drop_reason_desc, source.pod_name]
  includeFilters:
  - verdict: [DROPPED]
    event_type:
    - type: 1
  excludeFilters:
  - source_pod: ["kube-system/"]
  fileMaxSizeMb: 1
  fileMaxBackups: 2
  fileCompress: true
- name: ended
  filePath: ended.log
  end: "2023-10-09T23:59:59-07:00"
- name: agg
  filePath: agg.log
  fieldAggregate: [verdict]
  aggregationInterval: 1h
"#;
    let scratch = tempfile::tempdir().unwrap();
    let rules = Rules { directory: scratch.path().to_owned(), max_age: None, sync: None, taken: None };
    let file = SourceFile { name: "flowlogs.yaml".to_owned(), text: FILE.to_owned() };
    let history = history(&flows("flows-ev"));
    for listed in read(file, &rules).unwrap().exporters {
        finish(&Exporter::new(&listed.config, Arc::clone(&history), &node(), (0, Arc::default())).unwrap());
    }
    let found = |name: &str| std::fs::read_to_string(scratch.path().join(name));
    assert_equal("all", &found("all.log").unwrap(), &expected("static-all"));
    assert_equal("drops", &found("drops.log").unwrap(), &expected("dyn-drops"));
    assert_equal("agg", &found("agg.log").unwrap(), &expected("aggregate-and-mask"));
    assert!(found("ended.log").is_err());
}

/// A flow log is read as it was written: what `webb replay` counts of it, it counts of the flows
/// themselves; and an export of an export is the same.
#[test]
fn a_flow_log_is_replayed() {
    let lines = flows("flows-a");
    let log = written(&lines, "");
    assert_eq!(written(&log, ""), log);
    let metrics = |lines: &str| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("flows.jsonl");
        std::fs::write(&path, lines).unwrap();
        let metrics = "flow:sourceContext=pod drop tcp dns httpV2 port-distribution icmp policy";
        let replay = std::process::Command::new(env!("CARGO_BIN_EXE_webb"))
            .args(["replay", "--strict", "--metrics", metrics])
            .arg(&path)
            .output()
            .unwrap();
        assert!(replay.status.success(), "{replay:?}");
        String::from_utf8(replay.stdout).unwrap()
    };
    assert_eq!(metrics(&log), metrics(&lines));
}
