//! The dynamic file: what it means, and the exact words for everything that can be wrong with it.

use webb_metrics::dynamic::{self, Dynamic, MetricChange, change};
use webb_settings::{Problems, SourceFile};

fn read(text: &str) -> Result<Dynamic, Problems> {
    dynamic::read(SourceFile { name: "metrics.yaml".to_owned(), text: text.to_owned() })
}

/// The problems, as a person would see them.
fn problems(text: &str) -> String {
    read(text).unwrap_err().to_string()
}

fn warnings(text: &str) -> Vec<String> {
    read(text).unwrap().warnings.iter().map(webb_settings::Problem::one_line).collect()
}

fn names(text: &str) -> Vec<&'static str> {
    read(text).unwrap().metrics.iter().map(|listed| listed.config.name()).collect()
}

/// Contract, 2.5.3: keys in any case, unknown keys and metrics passed over with a warning, scalars
/// become texts.
#[test]
fn outer_levels_are_forgiving() {
    let text = "Metrics:\n- NAME: flow\n  unknownKey: 1\n  CONTEXTOPTIONS:\n  - Name: sourceContext\n    Values: [workload-name, ip]\n- name: drop\n  contextOptions:\n  - name: x\n    values: [false, 80, 1.5, yes, ~]\n- name: nonexistent\n";
    assert_eq!(names(text), ["flow", "drop"]);
    let dynamic = read(text).unwrap();
    assert_eq!(dynamic.metrics[1].options.as_ref().unwrap()[0].values, ["false", "80", "1.5", "true", ""]);
    let warnings = warnings(text);
    assert_eq!(warnings.len(), 3, "{warnings:#?}");
    let expected = "file:3: a metric has no key \"unknownKey\"; it is ignored (expected one of name, contextOptions, ";
    assert!(warnings[0].starts_with(expected), "{}", warnings[0]);
    assert!(warnings[2].starts_with("file:11: skipping unknown hubble metric 'nonexistent'"), "{}", warnings[2]);
    for nothing in ["", "# nothing\n", "metrics:\n", "metrics: []\n", "other: 1\n"] {
        assert!(names(nothing).is_empty(), "{nothing}");
    }
}

/// Both spellings of a field, enums by name and number, numbers as texts: all of protobuf's JSON.
#[test]
fn filters_are_protobuf_json() {
    let filter = |text: &str| read(&format!("metrics:\n- name: flow\n  includeFilters: [{text}]\n")).unwrap().metrics;
    let same = [
        ("{source_ip: [\"10.0.0.1\"]}", "{sourceIp: [\"10.0.0.1\"]}"),
        ("{verdict: [DROPPED]}", "{verdict: [2]}"),
        ("{drop_reason_desc: [POLICY_DENIED]}", "{dropReasonDesc: [133.0]}"),
        ("{source_identity: [7]}", "{sourceIdentity: [\"7\"]}"),
        (
            "{event_type: [{type: 4, match_sub_type: true}]}",
            "{eventType: [{type: \"4\", matchSubType: true, subType: 0}]}",
        ),
        ("{tcp_flags: [{SYN: true, ACK: false}]}", "{tcpFlags: [{SYN: true}]}"),
        ("{reply: null, uuid: []}", "{}"),
        ("{experimental: {}}", "{experimental: {cel_expression: []}}"),
        (
            "{experimental: {cel_expression: [\"_flow.verdict == 2\"]}}",
            "{experimental: {celExpression: [\"_flow.verdict == 2\"]}}",
        ),
        ("{reply: [yes]}", "{reply: [true]}"),
    ];
    for (one, other) in same {
        assert_eq!(filter(one)[0].config.filters(), filter(other)[0].config.filters(), "{one}");
    }
}

/// Contract, 2.5.4, and everything that this reader adds: each problem with its line, all of them
/// at once.
#[test]
fn every_problem_has_its_words_and_its_line() {
    insta::assert_snapshot!(problems(include_str!("wrong.yaml")));
}

/// A text that is no YAML is one problem, at its place.
#[test]
fn no_yaml() {
    insta::assert_snapshot!(problems("metrics:\n- name: [flow\n"));
    insta::assert_snapshot!(problems("metrics: {}\n"));
    insta::assert_snapshot!(problems("- name: flow\n"));
}

/// Contract, 2.5.4: what a new file does to each metric; order and comments change nothing.
#[test]
fn changes_are_the_difference() {
    let metric = |name: &str, context: &str, port: &str| {
        let options = format!("contextOptions: [{{name: sourceContext, values: [{context}]}}]");
        format!("- name: {name}\n  {options}\n  includeFilters: [{{destination_port: [\"{port}\"]}}]\n")
    };
    let file = |metrics: &[(&str, &str, &str)]| {
        let metrics: String = metrics.iter().map(|(name, context, port)| metric(name, context, port)).collect();
        read(&format!("# comment\nmetrics:\n{metrics}")).unwrap().metrics
    };
    let old = file(&[("flow", "pod", "80"), ("drop", "pod", "80"), ("tcp", "pod", "80"), ("icmp", "pod", "80")]);
    let new = file(&[("traffic", "pod", "80"), ("tcp", "ip", "80"), ("drop", "pod", "443"), ("flow", "pod", "80")]);
    assert_eq!(
        change::changes(&old, &new),
        [
            MetricChange::Remove("icmp"),
            MetricChange::Add("traffic"),
            MetricChange::Restart("tcp"),
            MetricChange::Filter("drop")
        ]
    );
    assert_eq!(change::changes(&old, &old), []);
}

/// Hubble's rule, for those who want it: an accepted label set stays for as long as the process
/// lives, in every detail.
#[test]
fn hubbles_rule_refuses_other_labels() {
    let file = |options: &str| read(&format!("metrics:\n- name: flow\n{options}")).unwrap().metrics;
    let mut accepted = change::Accepted::default();
    let first = file("  contextOptions: [{name: sourceContext, values: [pod, ip]}]\n");
    assert_eq!(accepted.problems(&first), []);
    accepted.remember(&first);
    accepted.remember(&[]);
    for other in ["", "  contextOptions: []\n", "  contextOptions: [{name: sourceContext, values: [ip, pod]}]\n"] {
        let problems = accepted.problems(&file(other));
        assert_eq!(
            problems[0].message,
            "metric config validation failed - label set cannot be changed without restarting Prometheus. metric: flow"
        );
    }
    assert_eq!(accepted.problems(&first), []);
}
