//! Golden help texts, and the way from a command line to the settings.

use std::ffi::OsString;

use clap::{CommandFactory, Parser};
use webb::cli::{Cli, Command, Exit, completions, manual};
use webb_settings::{Aggregation, Environment, KEYS, Settings};

/// The help of a command as a terminal of 100 columns shows it.
fn help(command: &[&str]) -> String {
    let mut cli = Cli::command().term_width(100);
    cli.build();
    let mut found = &mut cli;
    for name in command {
        found = found.find_subcommand_mut(name).unwrap();
    }
    found.render_long_help().to_string()
}

/// The help is how people meet the program: a change must be seen and wanted.
#[test]
fn help_texts() {
    insta::assert_snapshot!("webb", help(&[]));
    insta::assert_snapshot!("run", help(&["run"]));
    insta::assert_snapshot!("operator", help(&["operator"]));
    insta::assert_snapshot!("names", help(&["names"]));
    insta::assert_snapshot!("probe", help(&["probe"]));
    insta::assert_snapshot!("check-config", help(&["check-config"]));
    insta::assert_snapshot!("replay", help(&["replay"]));
    insta::assert_snapshot!("observe", help(&["observe"]));
    insta::assert_snapshot!("top", help(&["top"]));
    insta::assert_snapshot!("check-endpoint", help(&["check-endpoint"]));
    insta::assert_snapshot!("share-directory", help(&["share-directory"]));
    insta::assert_snapshot!("completions", help(&["completions"]));
    insta::assert_snapshot!("manual", help(&["manual"]));
}

/// The defaults that the help names are the real ones.
#[test]
fn help_names_the_real_defaults() {
    // In backticks or not.
    let (help, defaults) = (help(&["run"]).replace('`', ""), Settings::default());
    for default in [defaults.metrics_listen.to_string(), defaults.admin_listen.to_string(), defaults.log.level] {
        assert!(help.contains(&format!("{default} unless configured")), "{default}");
    }
    assert_eq!(defaults.aggregation, Aggregation::Medium);
    assert!(help.contains("medium (unless configured)"));
}

/// clap's own checks: clashing names, missing values.
#[test]
fn the_command_line_is_sound() {
    Cli::command().debug_assert();
}

/// A mistake on the command line is a configuration error, help and version are none.
#[test]
fn mistakes_exit_with_64() {
    let read = |arguments: &[&str]| Cli::read(arguments.iter().map(OsString::from)).map(|_| ());
    assert_eq!(read(&["webb", "run", "--no-such-flag"]), Err(Exit::Configuration));
    assert_eq!(read(&["webb", "check-config"]), Err(Exit::Configuration));
    assert_eq!(read(&["webb"]), Err(Exit::Configuration));
    assert_eq!(read(&["webb", "--help"]), Err(Exit::Success));
    assert_eq!(read(&["webb", "--version"]), Err(Exit::Success));
    assert_eq!(read(&["webb", "run"]), Ok(()));
}

/// Every flag that the settings know can be typed, and reaches its key.
#[test]
fn every_flag_reaches_its_key() {
    for (flag, value, key, shown) in [
        ("--metrics", "flow tcp", "metrics", r#"["flow","tcp"]"#),
        ("--metrics-listen", "127.0.0.1:1", "metrics_listen", r#""127.0.0.1:1""#),
        ("--admin-listen", "127.0.0.1:2", "admin_listen", r#""127.0.0.1:2""#),
        ("--cluster-source", "none", "cluster_source", r#""none""#),
        ("--kubeconfig", "k.yaml", "kubeconfig", r#""k.yaml""#),
        ("--cluster-manifest", "m.yaml", "cluster_manifest", r#""m.yaml""#),
        ("--metrics-config", "dynamic.yaml", "metrics_config", r#""dynamic.yaml""#),
        ("--flow-source", "hubble:unix:///a.sock", "flow_source", r#""hubble:unix:///a.sock""#),
        ("--interface", "lxc*", "interfaces.pods", r#"["lxc*"]"#),
        ("--node-name", "node-7", "node_name", r#""node-7""#),
        ("--aggregation", "none", "aggregation", r#""none""#),
        ("--log", "webb=trace", "log.level", r#""webb=trace""#),
    ] {
        let Command::Run(run) = Cli::try_parse_from(["webb", "run", flag, value]).unwrap().command else {
            panic!("not run");
        };
        let resolved = run.layers(Environment { hostname: "h".to_owned(), ..Environment::default() }).load().unwrap();
        let entry = resolved.entries().into_iter().find(|entry| entry.key == key).unwrap();
        assert_eq!((entry.value.to_string().as_str(), entry.source), (shown, format!("flag:{flag}")));
        assert!(KEYS.iter().any(|row| row.name == key && row.flag == Some(flag)));
    }
    let Command::Run(run) =
        Cli::try_parse_from(["webb", "run", "--operator-election", "--insecure-admin"]).unwrap().command
    else {
        panic!("not run");
    };
    let resolved = run.layers(Environment { hostname: "h".to_owned(), ..Environment::default() }).load().unwrap();
    assert!(resolved.settings.operator.election && resolved.settings.admin.insecure);
    assert_eq!(KEYS.iter().filter(|key| key.flag.is_some()).count(), 14);
}

/// `--config` wins over `WEBB_CONFIG`.
#[test]
fn the_file_comes_from_the_flag_or_the_variable() {
    let environment = Environment {
        variables: [("WEBB_CONFIG".to_owned(), "from-variable.yaml".to_owned())].into(),
        hostname: "h".to_owned(),
    };
    for (arguments, file) in [
        (vec!["webb", "run"], "from-variable.yaml"),
        (vec!["webb", "run", "--config", "from-flag.yaml"], "from-flag.yaml"),
    ] {
        let Command::Run(run) = Cli::try_parse_from(arguments).unwrap().command else { panic!("not run") };
        assert_eq!(run.layers(environment.clone()).file, Some(file.into()));
    }
}

/// Each command has its manual page, with its flags.
#[test]
fn each_command_has_its_page() {
    let directory = tempfile::tempdir().unwrap();
    manual(directory.path()).unwrap();
    for command in Cli::command().get_subcommands() {
        let page = std::fs::read_to_string(directory.path().join(format!("webb-{}.1", command.get_name()))).unwrap();
        for flag in command.get_arguments().filter_map(|argument| argument.get_long()) {
            let escaped = flag.replace('-', "\\-");
            assert!(page.contains(&format!("\\-\\-{escaped}")), "{}: {flag}", command.get_name());
        }
    }
    assert!(directory.path().join("webb.1").exists());
    assert!(manual(&directory.path().join("none")).is_err());
}

/// Completions know the commands.
#[test]
fn completions_know_the_commands() {
    for shell in [clap_complete::Shell::Bash, clap_complete::Shell::Zsh, clap_complete::Shell::Fish] {
        let mut script = Vec::new();
        completions(shell, &mut script).unwrap();
        let script = String::from_utf8(script).unwrap();
        assert!(script.contains("check-config") && script.contains("cluster-manifest"), "{shell}");
    }
}
