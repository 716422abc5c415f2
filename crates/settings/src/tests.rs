//! Tests of the layers as a whole. Texts of problems are golden: `tests/command/config_errors.rs`.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn environment(variables: &[(&str, &str)]) -> Environment {
    Environment {
        variables: variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        hostname: "host-1".to_owned(),
    }
}

fn file(text: &str) -> SourceFile {
    SourceFile { name: "webb.yaml".to_owned(), text: text.to_owned() }
}

pub(crate) fn from_file(text: &str) -> Result<Resolved, Problems> {
    resolve(Some(file(text)), &environment(&[]), &[])
}

const DOCUMENTED: &str = include_str!("../../../config/webb.yaml");

/// The documented defaults must be the real ones.
#[test]
fn documented_defaults_are_the_defaults() {
    let resolved = from_file(DOCUMENTED).unwrap();
    assert_eq!(resolved.settings, Settings { node_name: "host-1".to_owned(), ..Settings::default() });
    assert_eq!(resolved.warnings, []);
}

/// The documentation must not leave a key out, and `(live)` must stand beside exactly the keys that
/// are.
#[test]
fn every_key_is_documented() {
    let resolved = from_file(DOCUMENTED).unwrap();
    for entry in resolved.entries() {
        if entry.key == "node_name" {
            // null: worked out from the host.
            assert_eq!(entry.source, "hostname");
            continue;
        }
        let Origin::File(mark) = resolved.origin(entry.key) else {
            panic!("{} is not in config/webb.yaml", entry.key);
        };
        // The comment is the run of comment lines right above the key.
        let own_line = if entry.key == "metrics" { mark.line - 1 } else { mark.line };
        let lines: Vec<&str> = DOCUMENTED.lines().take(own_line - 1).collect();
        let comment: Vec<&str> =
            lines.iter().rev().take_while(|line| line.trim_start().starts_with('#')).copied().collect();
        assert!(!comment.is_empty(), "{} has no comment", entry.key);
        let live = comment.iter().any(|line| line.contains("(live"));
        assert_eq!(live, entry.live, "{}: (live) in its comment", entry.key);
    }
}

/// Flags over variables over file over defaults, and each value has where it came from.
#[test]
fn later_layers_win_and_say_so() {
    let text = "log:\n  level: debug\nadmin_listen: 127.0.0.1:1\nmetrics_listen: 127.0.0.1:2\n";
    let flags = [Flag { name: "--metrics-listen", value: Value::Text("127.0.0.1:4".to_owned()) }];
    let environment = environment(&[
        ("WEBB_ADMIN_LISTEN", "127.0.0.1:3"),
        ("WEBB_METRICS_LISTEN", "127.0.0.1:3"),
        ("NODE_NAME", "n"),
    ]);
    let resolved = resolve(Some(file(text)), &environment, &flags).unwrap();
    let sources: Vec<(String, String)> =
        ["log.level", "admin_listen", "metrics_listen", "node_name", "rings.flow_bytes"]
            .iter()
            .map(|name| resolved.entries().into_iter().find(|entry| entry.key == *name).unwrap())
            .map(|entry| (entry.value.as_str().unwrap().to_owned(), entry.source))
            .collect();
    let expected = [
        ("debug", "file:2"),
        ("127.0.0.1:3", "env:WEBB_ADMIN_LISTEN"),
        ("127.0.0.1:4", "flag:--metrics-listen"),
        ("n", "env:NODE_NAME"),
        ("4MiB", "default"),
    ];
    assert_eq!(sources, expected.map(|(value, source)| (value.to_owned(), source.to_owned())));
}

/// Lists are typed differently in each layer and must mean the same.
#[test]
fn lists_mean_the_same_in_every_layer() {
    let wanted = Pods::Globs(vec!["lxc*".to_owned(), "cali*".to_owned()]);
    let flag = Flag { name: "--interface", value: Value::list(["lxc*", "cali*"]) };
    for resolved in [
        from_file("interfaces:\n  pods: [lxc*, cali*]\n"),
        from_file("interfaces:\n  pods: lxc*,cali*\n"),
        resolve(None, &environment(&[("WEBB_INTERFACES__PODS", "lxc* cali*")]), &[]),
        resolve(None, &environment(&[]), &[flag]),
    ] {
        assert_eq!(resolved.unwrap().settings.interfaces.pods, wanted);
    }
    let metrics = from_file("metrics: flow  tcp\n").unwrap().settings.metrics;
    assert_eq!(metrics, from_file("metrics:\n- flow\n- tcp\n").unwrap().settings.metrics);
    let auto = Flag { name: "--interface", value: Value::list(["auto"]) };
    assert_eq!(resolve(None, &environment(&[]), &[auto]).unwrap().settings.interfaces.pods, Pods::Auto);
}

/// YAML must not bend what was typed: `off` is no boolean here and a version-like name no number.
#[test]
fn scalars_are_taken_as_typed() {
    assert_eq!(from_file("log: {level: off}").unwrap().settings.log.level, "off");
    assert_eq!(from_file("node_name: 1.10").unwrap().settings.node_name, "1.10");
    assert_eq!(from_file("node_name: 007").unwrap().settings.node_name, "007");
    assert_eq!(from_file("cluster_name: &a c1\nnode_name: *a").unwrap().settings.node_name, "c1");
    assert_eq!(
        from_file("cluster_manifest: /a b/c.yaml").unwrap().settings.cluster_manifest,
        Some("/a b/c.yaml".into())
    );
}

/// An empty file and an empty variable set nothing.
#[test]
fn nothing_sets_nothing() {
    for text in ["", "# only a comment\n", "---\n"] {
        assert_eq!(from_file(text).unwrap().settings.log.level, "info");
    }
    let resolved = resolve(None, &environment(&[("WEBB_LOG__LEVEL", ""), ("NODE_NAME", "")]), &[]).unwrap();
    assert_eq!(resolved.origin("log.level"), Origin::Default);
    assert_eq!(resolved.settings.node_name, "host-1");
}

/// A mistyped variable must give a warning; those that Kubernetes sets for a Service called webb
/// are no mistake, nor are those of scripts and images that only begin alike.
#[test]
fn unknown_variables_warn() {
    for (name, help) in [
        ("WEBB_LOG_LEVEL", Some("did you mean `WEBB_LOG__LEVEL`?")),
        ("WEBB_METRIC_LISTEN", Some("did you mean `WEBB_METRICS_LISTEN`?")),
        ("WEBB_FLOW_BYTES", Some("did you mean `WEBB_RINGS__FLOW_BYTES`?")),
        ("WEBB_NO__SUCH_THING", Some("")),
        ("WEBB_SERVICE_HOST", None),
        ("WEBB_PORT_9965_TCP", None),
        ("WEBB_CONFIG", None),
        ("WEBB_ROOT", None),
        ("WEBB_IMAGE", None),
        ("WEBB_VERSION", None),
        ("WEBB_", None),
    ] {
        let warnings = resolve(None, &environment(&[(name, "x")]), &[]).unwrap().warnings;
        let found = warnings.first().map(|warning| {
            assert_eq!(warning.origin, Origin::Variable(name.to_owned()));
            warning.help.as_str()
        });
        assert_eq!((found, warnings.len()), (help, usize::from(help.is_some())), "{name}");
    }
}

/// A node without any name is an error: its metrics would be mixed up with those of others.
#[test]
fn a_node_needs_a_name() {
    let problems = resolve(None, &Environment::default(), &[]).unwrap_err();
    assert!(problems.to_string().contains("node_name"), "{problems}");
}

/// Names of headers read in any case; of the two lists one at most may be given, as in Hubble.
#[test]
fn lists_of_headers_exclude_each_other() {
    let allow = ("WEBB_L7__REDACT_HEADERS_ALLOW", "Accept X-Key");
    let deny = ("WEBB_L7__REDACT_HEADERS_DENY", "cookie");
    let node = ("NODE_NAME", "node");
    let one = resolve(None, &environment(&[node, allow]), &[]).unwrap();
    assert_eq!(one.settings.l7.redact_headers_allow, ["accept", "x-key"]);
    let both = resolve(None, &environment(&[node, allow, deny]), &[]).unwrap_err().to_string();
    let expected = "`l7.redact_headers_allow` and `l7.redact_headers_deny` exclude each other";
    assert!(both.contains(expected), "{both}");
}

/// Ranges end where the error text says they end.
#[test]
fn ranges_end_where_they_say() {
    let many = ["accept"; 65].join(",");
    for (key, good, bad) in [
        ("series_room_ttl", ["1s", "1d"], ["999ms", "25h"]),
        ("report_interval", ["100ms", "10m"], ["99ms", "10m1s"]),
        ("drop_budget", ["1", "1000000"], ["0", "1000001"]),
        ("cluster_wait", ["0s", "10m"], ["601s", "10"]),
        ("connections.table_bytes", ["64KiB", "1GiB"], ["63KiB", "1025MiB"]),
        ("connections.tcp_idle", ["1s", "1d"], ["999ms", "25h"]),
        ("connections.closing_idle", ["1s", "1h"], ["999ms", "2h"]),
        ("connections.half_open_idle", ["1s", "1h"], ["999ms", "2h"]),
        ("connections.other_idle", ["1s", "1d"], ["999ms", "25h"]),
        ("connections.sweep_interval", ["10ms", "1m"], ["9ms", "61s"]),
        ("connections.capture", ["on", "off"], ["true", "ON"]),
        ("rings.flow_bytes", ["64KiB", "1GiB"], ["32KiB", "2GiB"]),
        ("rings.drop_bytes", ["64KiB", "1GiB"], ["96KiB", "1000MiB"]),
        ("rings.l7_bytes", ["64KiB", "1GiB"], ["96KiB", "1000MiB"]),
        ("l7.capture", ["auto", "off"], ["true", "On"]),
        ("l7.http_side", ["once", "both"], ["all", "Client"]),
        ("l7.http_ports", ["", "1,2,3,4,5,6,7,65535"], ["0", "1,2,3,4,5,6,7,8,9"]),
        ("l7.http_ports_ignored", ["6379", "1,2"], ["65536", "http"]),
        ("l7.http_timeout", ["1s", "1h"], ["999ms", "61m"]),
        ("l7.dns_side", ["client", "server"], ["none", "0"]),
        ("l7.dns_ports", ["53", "53,5353"], ["0", "-1"]),
        ("l7.dns_timeout", ["1s", "5m"], ["999ms", "301s"]),
        ("l7.redact_headers_allow", ["", "Accept,user-agent"], ["a:b", &many]),
        ("l7.redact_headers_deny", ["", "cookie"], ["a(b", "é"]),
        ("admin.hosts", ["", "a.b,localhost-2"], ["a:1", "http://a"]),
        ("page.slow", ["0s", "1m"], ["61s", "5"]),
        ("observer.enabled", ["true", "false"], ["yes", "1"]),
        ("observer.listen", ["", "unix:///run/a.sock,[::]:4244"], ["unix:a.sock", "4244"]),
        ("observer.flows", ["1", "1048575"], ["0", "1048576"]),
        ("observer.keep", ["0s", "1d"], ["999ms", "25h"]),
        ("health.listen", ["[::]:4240", "127.0.0.1:1"], ["[::]:0", ":4240"]),
        ("health.interval", ["auto", "1h"], ["999ms", "61m"]),
        ("health.icmp", ["true", "false"], ["auto", "no"]),
        ("export.file_max_size_mb", ["1", "1048576"], ["0", "1048577"]),
        ("export.file_max_age", ["0s", "365d"], ["999ms", "366d"]),
        ("export.allow_list", ["{}", "{\"verdict\":[\"DROPPED\"]} {}"], ["verdict", "[{}]"]),
        ("export.aggregation_interval", ["0s", "1d"], ["99ms", "25h"]),
        ("export.sync_interval", ["100ms", "1h"], ["99ms", "61m"]),
        ("scrape.min_interval", ["0s", "1m"], ["61s", "5"]),
        ("scrape.timeout", ["10ms", "1m"], ["9ms", "61s"]),
        ("shutdown.budget", ["1s", "10m"], ["999ms", "601s"]),
        ("shutdown.linger", ["0s", "25s"], ["26s", "601s"]),
        ("supervision.max_restarts", ["0", "1000"], ["1001", "-1"]),
        ("supervision.window", ["1s", "1h"], ["0s", "2h"]),
        ("supervision.backoff_min", ["1ms", "30s"], ["0s", "31s"]),
        ("supervision.backoff_max", ["100ms", "10m"], ["99ms", "11m"]),
        ("supervision.stall_after", ["1s", "10m"], ["999ms", "11m"]),
        ("handover_dir", ["/sys/fs/bpf/webb", "/run/bpf/a"], ["webb", "./bpf"]),
        ("pod_networks", ["10.0.0.0/8", "fd00::/48"], ["10.0.0.0/33", "010.0.0.0/8"]),
        ("zones.overhead", ["0", "1000"], ["1001", "50B"]),
        ("zones.cidrs", ["10.0.0.0/8=a", "10.0.0.0/8=a/b/c,::/0=//d"], ["10.0.0.0/8", "10.0.0.0/8=a/b/c/d"]),
        ("cluster_name", ["a", "cluster-2"], ["-a", "Cluster"]),
        ("clusters", ["east=/e", "east=/e,west=/w"], ["east", "east=/e,east=/f"]),
        ("policies.other_kinds", ["undecided", "ignore"], ["none", "Ignore"]),
        ("policies.more_kinds", ["a.io/b=both", "a.io/b=none,c.io/d=egress"], ["a.io/b", "a.io/b=all"]),
        ("agent_metrics.listen", ["127.0.0.1:9962", "[::]:0"], ["9962", "localhost:9962"]),
        ("agent_metrics.compat", ["1.16", "1.20"], ["1.17", "1.2"]),
        ("operator.election", ["true", "false"], ["yes", "1"]),
        ("operator.listen", ["[::]:0", "127.0.0.1:9963"], ["9963", "localhost:9963"]),
        ("operator.lease_namespace", ["", "kube-system"], ["Kube", "-a"]),
        ("operator.lease_name", ["a", "webb-operator.1"], ["A", "a_b"]),
        ("operator.lease_duration", ["11s", "10m"], ["1s", "601s"]),
        ("operator.renew_deadline", ["4s", "14s"], ["500ms", "601s"]),
        ("operator.retry_period", ["100ms", "5s"], ["99ms", "61s"]),
        ("operator.agent_labels", ["", "a=b,c.io/d="], ["a", "=b"]),
        ("names.listen", ["127.0.0.1:4246", "[::1]:1"], ["[::]:4246", "4246"]),
        ("cluster_relay", ["", "http://127.0.0.1:4246"], ["http://webb-names:4246", "webb-names:4246"]),
        ("agent_metrics.all_maps", ["true", "false"], ["yes", "1"]),
        ("node_name", ["n", "ip-10-0-0-1.ec2.internal"], ["two words", "ö"]),
    ] {
        let variable = keys::find(key).unwrap().variable();
        for value in good {
            let answer = resolve(None, &environment(&[(&variable, value)]), &[]);
            assert!(answer.is_ok(), "{key} {value}: {answer:?}");
        }
        for value in bad {
            assert!(resolve(None, &environment(&[(&variable, value)]), &[]).is_err(), "{key} {value}");
        }
    }
}

/// A colon without a key is said in words for people.
#[test]
fn missing_keys_are_said() {
    for text in [": a\n", ": : [\n", "log_level: info\n: x\n"] {
        let problem = from_file(text).unwrap_err().list[0].one_line();
        assert!(problem.contains("not valid YAML") && !problem.contains("Option"), "{text:?}: {problem}");
    }
}

/// What is set and changes nothing has a warning.
#[test]
fn unused_settings_warn() {
    for (text, expected) in [
        ("health: {interval: 30s, icmp: false, listen: '[::]:4240'}", &[][..]),
        (
            "health: {interval: 30s, icmp: false}",
            &["`health.interval` changes nothing without", "`health.icmp` changes nothing without"],
        ),
        (
            "cluster_source: none\nhealth: {listen: '[::]:4240'}",
            &["`health.listen`: no node is probed with `cluster_source: none`"],
        ),
        ("observer: {enabled: false, flows: 8191}", &["`observer.flows` changes nothing while"]),
        // Flows for outputs wait in the history, too.
        ("observer: {enabled: false, flows: 8191, keep: 1m}\noutputs_config: /outputs.yaml", &[]),
    ] {
        let warnings = from_file(text).unwrap().warnings;
        assert_eq!(warnings.len(), expected.len(), "{text}: {warnings:?}");
        for (warning, expected) in warnings.iter().zip(expected) {
            assert!(warning.message.starts_with(expected), "{text}: {warnings:?}");
        }
    }
}

/// Two listeners on one port must be refused before anything is opened; port 0 is any free port.
#[test]
fn listeners_must_not_clash() {
    for (metrics, admin, fine) in [
        ("0.0.0.0:1", "127.0.0.1:1", false),
        ("127.0.0.1:1", "127.0.0.1:1", false),
        ("[::]:1", "127.0.0.1:1", false),
        ("127.0.0.2:1", "127.0.0.1:1", true),
        ("127.0.0.1:2", "127.0.0.1:1", true),
        ("127.0.0.1:0", "127.0.0.1:0", true),
    ] {
        let text = format!("metrics_listen: '{metrics}'\nadmin_listen: '{admin}'\n");
        assert_eq!(from_file(&text).is_ok(), fine, "{metrics} {admin}");
        let text = format!("agent_metrics: {{ listen: '{metrics}' }}\nadmin_listen: '{admin}'\n");
        assert_eq!(from_file(&text).is_ok(), fine, "{metrics} {admin}");
    }
    let clash = from_file("observer: {enabled: true, listen: [':9965']}").unwrap_err().to_string();
    assert!(clash.contains("`observer.listen`: [::]:9965 is taken by `metrics_listen`"), "{clash}");
    assert!(from_file("observer: {listen: [':9965']}").is_ok(), "it is off");
    let clash = from_file("health: {listen: '[::]:9965'}").unwrap_err().to_string();
    assert!(clash.contains("`health.listen`: [::]:9965 is taken by `metrics_listen`"), "{clash}");
}

/// Durations of an election that would let two replicas lead, or that leave no second attempt, are
/// refused; a port is taken only where the operator runs in the agent.
#[test]
fn elections_need_room() {
    for (text, expected) in [
        ("renew_deadline: 15s", "must be less than `operator.lease_duration`"),
        ("lease_duration: 10s", "must be less than `operator.lease_duration`"),
        ("retry_period: 6s", "must not be more than half"),
        ("election: true, listen: '[::]:9965'", "is taken by"),
        ("election: true, listen: '127.0.0.1:9966'", "is taken by"),
        ("agent_labels: [app]", "not a label"),
    ] {
        let problems = from_file(&format!("operator: {{ {text} }}\n")).unwrap_err().to_string();
        assert!(problems.contains(expected), "{text}: {problems}");
    }
    assert!(from_file("operator: { listen: '[::]:9965', lease_duration: 1m, renew_deadline: 40s }\n").is_ok());
}

/// Toggles are split as Cilium's agent splits them, one without text stays one, and they survive a
/// reload. `1.20` is a version and no number.
#[test]
fn toggles_of_agent_metrics() {
    let read = |text: &str| from_file(&format!("agent_metrics: {{ {text} }}\n")).unwrap().settings;
    let read = read("metrics: ['+cilium_a -cilium_b', \"+c,d\", '', '  ', '+e f'], compat: 1.20");
    let texts: Vec<_> = read.agent_metrics.metrics.iter().map(Toggle::text).collect();
    assert_eq!(texts, ["+cilium_a", "-cilium_b", "+c", "d", "", "", "+e", "f"]);
    assert_eq!(read.agent_metrics.compat, super::Compat::V1_20);
    assert_eq!(reloaded(&Settings::default(), &read).agent_metrics, read.agent_metrics);
}

/// A reload applies what can change and names what cannot.
#[test]
fn a_reload_applies_what_it_can() {
    let old = from_file("").unwrap().settings;
    let new = from_file("log: {level: debug}\nrings: {flow_bytes: 1MiB}\ncluster_manifest: m.yaml\n").unwrap().settings;
    let diff = diff(&old, &new);
    let keys = |changes: &[KeyChange]| changes.iter().map(|change| change.key).collect::<Vec<_>>();
    assert_eq!(keys(&diff.applied), ["cluster_manifest", "log.level"]);
    assert_eq!(keys(&diff.needs_restart), ["rings.flow_bytes"]);
    assert_eq!(diff.needs_restart[0].from, "4MiB");
    let running = reloaded(&old, &new);
    assert_eq!(running.log.level, "debug");
    assert_eq!(running.cluster_manifest, Some("m.yaml".into()));
    assert_eq!(running.rings.flow_bytes, 4 << 20);
    assert!(super::diff(&old, &old).is_empty());
}

/// `/config` after a reload must show the origin of the values in force, not of those that wait.
#[test]
fn a_reload_keeps_the_origin_of_what_it_keeps() {
    let old = from_file("rings: {flow_bytes: 1MiB}\n").unwrap();
    let new = from_file("log: {level: debug}\n\nrings:\n  flow_bytes: 2MiB\n  drop_bytes: 2MiB\n").unwrap();
    let (running, diff) = old.reload(new);
    assert_eq!((diff.applied.len(), diff.needs_restart.len()), (1, 2));
    assert_eq!(running.settings.rings, old.settings.rings);
    let origins = ["log.level", "rings.flow_bytes", "rings.drop_bytes"].map(|key| running.origin(key).to_string());
    assert_eq!(origins, ["file:1", "file:1", "default"]);
}

/// The metrics' parser runs last, and its errors point at the entry.
#[test]
fn metrics_errors_point_at_their_entry() {
    let error = |text: &str| Remarks { errors: vec![text.to_owned()], ..Remarks::default() };
    let check = |text: &str| match text {
        "flow tcp tcp" => error("metric `tcp` is listed twice"),
        text if text.contains("bad") => error("unknown context `bad`"),
        "kafka" => Remarks { warnings: vec!["`kafka` is not counted any more".to_owned()], ..Remarks::default() },
        _ => Remarks::default(),
    };
    let mut resolved = from_file("metrics:\n  - flow\n  - kafka\n  - drop:sourceContext=bad\n").unwrap();
    let problems = resolved.check_metrics(&check).unwrap_err();
    let [problem] = problems.list.as_slice() else { panic!("{problems}") };
    assert_eq!(problem.origin, Origin::File(Mark { line: 4, column: 5, width: 22 }));
    assert_eq!(resolved.warnings[0].origin.to_string(), "file:3");
    let mut twice = from_file("metrics: flow tcp tcp\n").unwrap();
    assert!(twice.check_metrics(&check).unwrap_err().to_string().contains("listed twice"));
    let mut fine = from_file("metrics: [flow]\n").unwrap();
    assert_eq!(fine.check_metrics(&check), Ok(()));
}

/// Names, variables and flags must be told apart.
#[test]
fn keys_are_distinct() {
    let names: BTreeSet<&str> = KEYS.iter().map(|key| key.name).collect();
    let variables: BTreeSet<String> = KEYS.iter().map(Key::variable).collect();
    assert_eq!(names.len(), KEYS.len());
    assert_eq!(variables.len(), KEYS.len());
    let flags: Vec<&str> = KEYS.iter().filter_map(|key| key.flag).collect();
    assert_eq!(flags.iter().collect::<BTreeSet<_>>().len(), flags.len());
    assert_eq!(keys::find("rings.flow_bytes").unwrap().variable(), "WEBB_RINGS__FLOW_BYTES");
}

/// A file that cannot be read is an error with its reason.
#[test]
fn unreadable_files_say_why() {
    let directory = tempfile::tempdir().unwrap();
    let missing = read_file(&directory.path().join("none.yaml")).unwrap_err().to_string();
    assert!(missing.contains("cannot read") && missing.contains("No such file"), "{missing}");
    let latin = directory.path().join("latin.yaml");
    std::fs::write(&latin, b"node_name: \xfc\n").unwrap();
    let latin = read_file(&latin).unwrap_err().to_string();
    assert!(latin.contains("line 1 is not UTF-8"), "{latin}");
    let layers = Layers { file: Some(directory.path().to_owned()), environment: environment(&[]), flags: Vec::new() };
    assert!(layers.load().is_err());
}

/// A settings value of each field, within its range.
fn any_settings() -> impl Strategy<Value = Settings> {
    let globs = prop::collection::vec("[a-z]{1,5}\\*?", 1..4);
    (
        (prop::option::of(65_536..=1_u32 << 30), 16..=30_u32, 1..=1_000_000_u32, 0..=1000_u32),
        (100..600_000_u64, 10..60_000_u64, 1..30_000_u64),
        prop_oneof![Just(Pods::Auto), globs.clone().prop_map(Pods::Globs)],
        globs,
        prop::option::of("[a-z/]{1,12}"),
        "[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?",
    )
        .prop_map(|((table, ring, budget, restarts), (report, sweep, backoff), pods, node, manifest, name)| {
            let mut settings = Settings::default();
            settings.connections.table_bytes = table;
            settings.rings.flow_bytes = 1 << ring;
            settings.drop_budget = budget;
            settings.supervision.max_restarts = restarts;
            settings.report_interval = Duration::from_millis(report);
            settings.connections.sweep_interval = Duration::from_millis(sweep);
            settings.supervision.backoff_min = Duration::from_millis(backoff);
            settings.interfaces.pods = pods;
            settings.interfaces.node = node;
            settings.cluster_manifest = manifest.map(Into::into);
            settings.cluster_name = name.clone();
            settings.node_name = name;
            settings
        })
}

proptest! {
    /// The shown form of every key reads back: `/config` can be pasted into a file, and a reload
    /// loses nothing.
    #[test]
    fn shown_values_read_back(settings in any_settings()) {
        let mut copy = Settings::default();
        for key in &KEYS {
            prop_assert_eq!((key.set)(&mut copy, &(key.get)(&settings)), Ok(()), "{}", key.name);
        }
        prop_assert_eq!(&copy, &settings);
        prop_assert_eq!(diff(&copy, &settings), Diff::default());
    }

    /// Any text at all gives settings or problems that can be printed, never a panic.
    #[test]
    fn any_file_is_answered(text in ".{0,200}") {
        let _read = from_file(&text).map_err(|problems| assert!(problems.to_string().starts_with("error: ")));
    }

    /// The same for text that is nearly right.
    #[test]
    fn nearly_right_files_are_answered(at in 0..KEYS.len(), value in "[-\\[\\]{}:,&*!#|>'\"%@`a-z0-9 \n]{0,20}") {
        let key = &KEYS[at];
        let text = match key.name.split_once('.') {
            Some((group, name)) => format!("{group}:\n  {name}: {value}\n"),
            None => format!("{}: {value}\n", key.name),
        };
        if let Err(problems) = from_file(&text) {
            prop_assert!(problems.to_string().starts_with("error: "));
            for problem in &problems.list {
                let Origin::File(mark) = &problem.origin else { continue };
                prop_assert!(mark.line <= text.lines().count() + 1, "{mark:?} in {text:?}");
            }
        }
    }
}
