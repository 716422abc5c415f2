//! Golden answers of `webb check-config` and of a wrong environment or flag, as a person sees them.

use std::path::Path;

use clap::Parser;
use webb::app;
use webb::cli::{Cli, Command, Exit};
use webb_settings::{Checked, Environment, check_file, resolve};

/// Output of `check-config` for a file called webb.yaml with this text.
fn answer(text: &str, json: bool) -> String {
    answer_beside(text, &[], json)
}

/// The same beside files with these names and texts, which the text names.
fn answer_beside(text: &str, files: &[(&str, &str)], json: bool) -> String {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("webb.yaml");
    let mut text = text.to_owned();
    for (name, content) in files {
        let beside = directory.path().join(name);
        text = text.replace(name, &beside.display().to_string());
        std::fs::write(beside, content).unwrap();
    }
    std::fs::write(&path, text).unwrap();
    let mut out = Vec::new();
    let valid = check_file(&path, json, (&app::check, None), &mut out).unwrap() == Checked::Valid;
    let plain = |text: &str| text.replace(&format!("{}/", directory.path().display()), "");
    let out = plain(&String::from_utf8(out).unwrap());
    assert_eq!(valid, !out.contains("error:") && !out.contains("\"error\""), "{out}");
    if !valid && !json {
        // An agent that does not start for it says the same.
        let said = plain(&run(&path)) + "\n";
        let (found, _) = out.trim_end().rsplit_once('\n').unwrap();
        assert_eq!(said, format!("{found}\n"));
    }
    out
}

/// What `webb run` says of this configuration, which it cannot start with.
fn run(path: &Path) -> String {
    let arguments = ["webb", "run", "--config", path.to_str().unwrap()];
    let Command::Run(run) = Cli::try_parse_from(arguments).unwrap().command else { panic!("not run") };
    let environment = Environment { hostname: "host-1".to_owned(), ..Environment::default() };
    let (resolved, list) = run.layers(environment).read().unwrap();
    app::read(resolved, list).unwrap_err()
}

/// One golden text for each kind of mistake: where, what was found, what was expected, and what may
/// help.
#[test]
fn answers() {
    for (name, text) in [
        ("unknown_key", "metrics: [flow]\nmetric_listen: 0.0.0.0:9965\n"),
        ("unknown_key_in_group", "rings:\n  flow_byte: 8MiB\n"),
        ("key_in_wrong_place", "log:\n  level: info\n  linger: 5s\n"),
        ("key_that_nobody_knows", "interfaces:\n  pods: auto\n  zebra: 1\n"),
        ("missing_unit", "report_interval: 5\n"),
        ("unknown_unit", "rings:\n  flow_bytes: 8MB\n"),
        ("not_a_power_of_two", "rings:\n  drop_bytes: 3MiB\n"),
        ("out_of_range", "connections:\n  table_bytes: 12KiB\n"),
        ("key_that_was_replaced", "connections:\n  entries: 65536\n"),
        ("bad_address", "metrics_listen: :9965\n"),
        ("wrong_word", "interfaces: {attach: xdp}\n"),
        ("scalar_for_list", "metrics:\n  flow: true\n"),
        ("list_for_scalar", "cluster_name: [a, b]\n"),
        ("scalar_for_group", "log: debug\n"),
        ("nothing_for_value", "cluster_name:\naggregation: medium\n"),
        ("bad_glob", "interfaces:\n  node:\n    - eth*\n    - \"eth[0\"\n"),
        ("bad_log_level", "log:\n  level: inof\n"),
        ("set_twice", "aggregation: none\nlog:\n  format: json\naggregation: medium\n"),
        ("listeners_clash", "metrics_listen: 0.0.0.0:9966\n"),
        ("source_without_manifest", "cluster_source: manifest\n"),
        ("port_of_dns_and_http", "l7:\n  http_ports: [80, 53]\n"),
        ("port_of_http_and_ignored", "l7:\n  http_ports: [80, 8080]\n  http_ports_ignored: [6379, 8080]\n"),
        ("linger_over_budget", "shutdown:\n  budget: 10s\n  linger: 30s\n"),
        ("certificate_without_key", "metrics_tls:\n  certificate: tls.crt\n"),
        ("client_ca_alone", "metrics_tls:\n  client_ca: ca.crt\n"),
        ("neither_true_nor_false", "open_metrics: yes\n"),
        ("bad_metric", "metrics:\n  - flow\n  - drop:sourceContext=pod-short\n"),
        ("admin_without_a_token", "metrics: [flow]\nadmin_listen: 0.0.0.0:9966\n"),
        ("admin_hosts", "admin:\n  hosts: [webb.example, \"http://webb.example:1\", \"*\", \"\", \"a:1\", a/b, a_b]\n"),
        ("not_yaml", "metrics: [flow\nlog: {level: info}\n"),
        ("bad_indentation", "log:\n  level: info\n format: text\n"),
        ("tab", "log:\n\tlevel: info\n"),
        ("list_at_top", "- flow\n- tcp\n"),
        (
            "all_at_once",
            "# many\nmetrics_listen: 9965\nreport_interval: 1.5s\nlogs:\n  level: debug\nscrape: {timeout: 2h}\n",
        ),
    ] {
        insta::assert_snapshot!(name, format!("{text}---\n{}", answer(text, false)));
    }
}

/// A valid file is answered with what it changes, and with warnings.
#[test]
fn valid_files() {
    insta::assert_snapshot!("valid_defaults", answer("", false));
    let text = "metrics: [flow, kafka]\nlog: {level: debug}\nadmin_listen: 0.0.0.0:9966\nadmin: {insecure: true}\n";
    insta::assert_snapshot!("valid_with_warnings", answer(text, false));
    insta::assert_snapshot!("valid_json", answer(text, true));
}

/// Keys and metrics that are valid each for itself and do nothing together are named, with the line
/// of the one that does nothing.
#[test]
fn what_changes_nothing_is_named() {
    for (name, text) in [
        ("redact_keys_without_redact", "l7:\n  redact_headers_allow: [accept]\n  redact_user_info: true\n"),
        ("names_from_dns_of_the_other_side", "metrics:\n  - tcp\n  - flow:sourceContext=dns\nl7: {dns_side: server}\n"),
        ("dns_of_both_sides", "metrics: [dns, dnsLatency, \"http\"]\nl7:\n  dns_side: both\n"),
        (
            "toggles_that_switch_nothing",
            "agent_metrics:\n  metrics:\n    - +cilium_versoin\n    - \"\"\n    - cilium_endpoint\n    \
             - -cilium_process_open_fds, +cilium_kvstore_quorum_errors_total\n",
        ),
        ("capture_off", "metrics:\n  - flow\n  - httpV2\nl7:\n  capture: off\n"),
    ] {
        insta::assert_snapshot!(name, format!("{text}---\n{}", answer(text, false)));
    }
}

/// The file of metrics is read too: its lines are named under its own name. One that is not there
/// is no error, as it may lie on another machine.
#[test]
fn the_file_of_metrics_is_checked() {
    let text = "metrics_config: metrics.yaml\nl7: {capture: off}\n";
    let odd = "metrics:\n  - name: flow\n  - name: dns\n    contextOptions: []\n  - name: kafka\n";
    let wrong = "metrics:\n  - name: flow\n  - name: flow\n";
    let answer_to = |metrics, json| answer_beside(text, &[("metrics.yaml", metrics)], json);
    insta::assert_snapshot!("metrics_file_odd", answer_to(odd, false));
    insta::assert_snapshot!("metrics_file_odd_json", answer_to(odd, true));
    insta::assert_snapshot!("metrics_file_wrong", answer_to(wrong, false));
    insta::assert_snapshot!("metrics_file_wrong_json", answer_to(wrong, true));
    insta::assert_snapshot!("metrics_file_missing", answer("metrics_config: /not/here.yaml\n", false));
}

/// Problems and warnings of all files are found in one go, whatever is wrong with one of them or
/// with the configuration; each option of a metric has its line.
#[test]
fn all_files_at_once() {
    let text = "log: {level: inof}\nmetrics_config: metrics.yaml\nexport:\n  directory: /logs\n  file_path: /other\n  \
                config: flowlogs.yaml\noutputs_config: outputs.yaml\n";
    let metrics = "metrics:\n- name: flow\n  contextOptions:\n  - {name: labelsContex, values: [source_pod]}\n  \
                   - name: labelsContext\n    values:\n    - source_pod\n    - source_pd\n    - source_nod\n\
                   - name: flo\n  contextOptons: []\n  includeFilters:\n  - source_pd: [a]\n\
                   - name: dns\n  contextOptions: [{name: query, values: [no]}, {name: query, values: [[a]]}]\n\
                   - name: traffic\n  contextOptions: [{name: labelsContext, values: [traffic_direction]}]\n";
    let files = [
        ("metrics.yaml", metrics),
        ("flowlogs.yaml", "flowLogs:\n- nam: x\n  filePath: /logs/a\n"),
        ("outputs.yaml", "outputs: []\nendpoints: []\nrollup: {}\n"),
    ];
    insta::assert_snapshot!("all_files_at_once", answer_beside(text, &files, false));
    let short = [files[0], ("flowlogs.yaml", "- nam: x\n"), ("outputs.yaml", "{}\n")];
    insta::assert_snapshot!("all_files_at_once_json", answer_beside(text, &short, true));
    let listed =
        "metrics:\n- drop\n- flow:labelsContex=source_pod;labelsContext=source_pd,source_nod;sourceContext=pd\n";
    insta::assert_snapshot!("all_options_of_a_metric", answer(listed, false));
}

/// An error hides no warning, but for those about its group of keys: `observer.flows` would be
/// of use if the key beside it were not misspelt.
#[test]
fn warnings_stand_beside_errors() {
    let text = "log: {level: inof}\nexport: {file_max_backups: 3}\nobserver:\n  enable: true\n  flows: 1023\n";
    insta::assert_snapshot!("warnings_beside_errors", answer(text, false));
    let without_typo = answer(&text.replace("enable:", "enabled:").replace("true", "false"), false);
    assert!(without_typo.contains("`observer.flows` changes nothing"), "{without_typo}");
}

/// Where an agent cannot start for one file, it names what is wrong with all of them; a file of
/// metrics that is not there is an error to it.
#[test]
fn an_agent_names_the_problems_of_all_files() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let text = format!(
        "metrics_config: {}\nexport: {{config: {}}}\noutputs_config: {}\n",
        at("metrics.yaml").display(),
        at("flowlogs.yaml").display(),
        at("outputs.yaml").display()
    );
    for (name, text) in
        [("webb.yaml", text.as_str()), ("flowlogs.yaml", "flowLogs:\n- nam: x\n"), ("outputs.yaml", "a: 1\n")]
    {
        std::fs::write(at(name), text).unwrap();
    }
    let said = run(&at("webb.yaml"));
    for expected in
        ["error: cannot read ", "metrics.yaml: ", "error: an exporter without a name", "the file has no key \"a\""]
    {
        assert!(said.contains(expected), "{expected}: {said}");
    }
}

/// Outputs that get nothing are no mistake of the file, but are not silent either.
#[test]
fn outputs_without_a_stream_are_said() {
    let check = |outputs: &str| answer_beside("outputs_config: outputs.yaml\n", &[("outputs.yaml", outputs)], false);
    let said = "nothing is sent: `rollups.window` is 0s, and there is no section `flows`";
    let idle = check("rollups: {window: 0s}\notlp:\n- {name: main, endpoint: 'https://a'}\n");
    assert!(idle.contains(said) && idle.contains("valid, 1 warning"), "{idle}");
    for fed in ["flows: {}\notlp:\n- {name: main, endpoint: 'https://a'}\n", "otlp: []\n"] {
        let answer = check(&format!("rollups: {{window: 0s}}\n{fed}"));
        assert!(!answer.contains("nothing is sent"), "{answer}");
    }
    for without in ["{}\n", "rollups: {}\n", "flows: {}\n"] {
        let idle = check(without);
        let said = "nothing is sent: the file has no outputs";
        assert!(idle.contains(said) && idle.contains("valid, 1 warning"), "{without}: {idle}");
    }
}

/// The same for machines.
#[test]
fn json_errors() {
    insta::assert_snapshot!("errors_json", answer("log: {level: inof}\nzebra: 1\n", true));
}

/// Variables and flags are named as they were typed.
#[test]
fn variables_and_flags() {
    let Command::Run(run) =
        Cli::try_parse_from(["webb", "run", "--metrics-listen", "9965", "--aggregation", "low"]).unwrap().command
    else {
        panic!("not run");
    };
    let environment = Environment {
        variables: [("WEBB_RINGS__FLOW_BYTES".to_owned(), "lots".to_owned())].into(),
        hostname: "host-1".to_owned(),
    };
    insta::assert_snapshot!("variables_and_flags", run.layers(environment).load().unwrap_err().to_string());
    let environment = Environment {
        variables: [("WEBB_LOG_LEVEL".to_owned(), "debug".to_owned())].into(),
        hostname: "host-1".to_owned(),
    };
    let resolved = resolve(None, &environment, &[]).unwrap();
    let warnings: Vec<String> = resolved.warnings.iter().map(webb_settings::Problem::one_line).collect();
    insta::assert_snapshot!("unknown_variable", warnings.join("\n"));
}

/// The exit code says that the configuration is to blame, also for a file that is not there.
#[test]
fn a_missing_file_exits_with_64() {
    let Command::CheckConfig(check) = Cli::try_parse_from(["webb", "check-config", "no/such.yaml"]).unwrap().command
    else {
        panic!("not check-config");
    };
    assert_eq!(check.file, Path::new("no/such.yaml"));
    let mut out = Vec::new();
    assert_eq!(check.run(&app::check, &app::send_heartbeats, &mut out).unwrap(), Exit::Configuration);
    insta::assert_snapshot!("missing_file", String::from_utf8(out).unwrap());
}

/// A file of metrics that `run` refuses is an error; only one that is not there may come later.
#[test]
fn a_file_of_metrics_that_run_refuses() {
    let directory = tempfile::tempdir().unwrap();
    let (path, metrics) = (directory.path().join("webb.yaml"), directory.path().join("metrics.yaml"));
    std::fs::write(&path, format!("metrics_config: {}\n", metrics.display())).unwrap();
    let check = || {
        let mut out = Vec::new();
        let valid = check_file(&path, false, (&app::check, None), &mut out).unwrap() == Checked::Valid;
        (valid, String::from_utf8(out).unwrap())
    };
    assert!(check().0);
    std::fs::write(&metrics, b"\xff").unwrap();
    let (valid, said) = check();
    assert!(!valid && said.contains("UTF-8"), "{said}");
    std::fs::remove_file(&metrics).unwrap();
    std::fs::create_dir(&metrics).unwrap();
    let (valid, said) = check();
    assert!(!valid && said.contains("not a regular file"), "{said}");
}
