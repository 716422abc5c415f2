//! Code samples of the documents: what a reader copies works. Commands of webb are parsed by its
//! own command line, those that need a file only are run (the others in the lab, by a live test),
//! paths of listeners are asked of an agent, and samples of the configuration are checked as
//! `check-config` does.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use clap::Parser as _;
use webb::cli::Cli;
use webb::exports;
use webb_metrics::dynamic;
use webb_settings::{Environment, KEYS, SourceFile, resolve};

use crate::flow_source::{Agent, address, directory};
use crate::samples::{blocks, commands, of_webb, words};

/// Each command of webb in the documents is one that it knows, with flags that it has.
#[test]
fn commands_are_understood() {
    let mut seen = 0;
    for (place, line) in commands() {
        if let Some(words) = of_webb(&line) {
            let parsed = Cli::try_parse_from(&words);
            assert!(parsed.is_ok(), "{place}: {line}\n{}", parsed.unwrap_err());
            seen += 1;
        }
    }
    assert!(seen >= 10, "{seen} commands");
}

/// Each `make` in the documents has its target.
#[test]
fn targets_of_make_are_there() {
    let makefile = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Makefile")).unwrap();
    let mut seen = 0;
    for (place, line) in commands() {
        let words = words(&line);
        if words.first().is_some_and(|word| word == "make") {
            let target = words.get(1).unwrap_or_else(|| panic!("{place}: {line}"));
            assert!(makefile.lines().any(|rule| rule.starts_with(&format!("{target}:"))), "{place}: {line}");
            seen += 1;
        }
    }
    assert!(seen >= 3, "{seen} commands");
}

/// Flows as the documents' files have them, under every name that the documents use.
fn files(directory: &Path) {
    let recorded =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/observer/tests/observer/golden/flows-a.jsonl.zst");
    let mut text = Vec::new();
    webb_flowlog::open(&recorded).unwrap().bytes.read_to_end(&mut text).unwrap();
    fs::write(directory.join("flows.jsonl"), &text).unwrap();
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(&text).unwrap();
    fs::write(directory.join("flows.jsonl.gz"), packed.finish().unwrap()).unwrap();
    let sample = blocks().into_iter().find(|block| block.text.starts_with("metrics:\n- name:")).unwrap();
    fs::write(directory.join("dynamic-metrics.yaml"), sample.text).unwrap();
}

/// Commands that read a file and end are run as they stand, and print something.
#[test]
fn commands_on_files_run() {
    let directory = tempfile::tempdir().unwrap();
    files(directory.path());
    let mut seen = 0;
    for (place, line) in commands() {
        let Some(words) = of_webb(&line) else { continue };
        let ends = words[1] == "replay" && !words.iter().any(|word| word == "--observe" || word == "--serve");
        if !ends {
            continue;
        }
        let output = Command::new(env!("CARGO_BIN_EXE_webb"))
            .args(&words[1..])
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !output.stdout.is_empty(), "{place}: {line}\n{errors}");
        seen += 1;
    }
    assert!(seen >= 2, "{seen} commands");
}

/// The path of a URL at one of an agent's ports, as the documents write them.
fn path_at(line: &str, port: &str) -> Option<String> {
    let (_, path) = line.split_once(&format!("localhost:{port}"))?;
    let path: String = path.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '/').collect();
    (!line.contains("-X POST")).then_some(path)
}

fn status(at: SocketAddr, path: &str) -> u16 {
    let Ok(mut stream) = TcpStream::connect(at) else { return 0 };
    let mut answer = String::new();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    if stream.write_all(request.as_bytes()).and_then(|()| stream.read_to_string(&mut answer)).is_err() {
        return 0;
    }
    answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
}

/// Each path of a `curl` in the documents is answered by a running agent. Ready it is not: its
/// source is away.
#[test]
fn paths_are_answered() {
    let directory = directory();
    let config = directory.path().join("webb.yaml");
    let text = format!("flow_source: hubble:unix:///nowhere/flows.sock\nhealth: {{listen: \"{}:20199\"}}\n", address());
    fs::write(&config, text).unwrap();
    let agent = Agent::start(90, &["--config", config.to_str().unwrap()]);
    let mut seen = 0;
    for (place, line) in commands().into_iter().filter(|(_, line)| line.contains("curl ")) {
        for (at, ports) in [(agent.metrics, ["9965"].as_slice()), (agent.admin, ["9966", "9967"].as_slice())] {
            for path in ports.iter().filter_map(|port| path_at(&line, port)) {
                let began = Instant::now();
                let mut answer = 0;
                while answer == 0 && began.elapsed() < Duration::from_mins(1) {
                    answer = status(at, &path);
                    std::thread::sleep(Duration::from_millis(20));
                }
                assert!(matches!(answer, 200 | 503), "{place}: {line}: {path} is answered by {answer}");
                seen += 1;
            }
        }
    }
    assert!(seen >= 4, "{seen} paths");
}

/// Top keys of samples of other files: values of webb's chart below another's, of Cilium's chart,
/// of the OpenTelemetry Collector, and of Prometheus. A part without a top key is of one of them
/// too.
const OTHER_KEYS: [&str; 9] =
    ["cluster", "exporters", "groups", "hubble", "processors", "receivers", "relabel_configs", "service", "webb"];

/// Samples of the configuration, and of metrics with filters, are valid as they stand. A sample
/// with none of their keys is of a file that is known: a misspelt key is found.
#[test]
fn samples_of_the_configuration_are_valid() {
    let is_key = |name: &str| KEYS.iter().any(|key| key.name == name || key.name.starts_with(&format!("{name}.")));
    let (mut settings, mut metrics, mut outputs) = (0, 0, 0);
    for block in blocks().into_iter().filter(|block| block.language == "yaml") {
        let top: Vec<String> = block
            .text
            .lines()
            .filter(|line| line.starts_with(|letter: char| letter.is_ascii_lowercase()))
            .filter_map(|line| line.split_once(':').map(|(key, _)| key.to_owned()))
            .collect();
        let has_names = block.text.contains("name: ");
        let file = SourceFile { name: block.place.clone(), text: block.text };
        if top == ["metrics"] && has_names {
            let read = dynamic::read(file);
            assert!(read.is_ok(), "{}: {:?}", block.place, read.err());
            metrics += 1;
        } else if !top.is_empty() && top.iter().all(|key| ["rollups", "flows", "otlp", "kafka"].contains(&key.as_str()))
        {
            let read = exports::read_outputs(file, &webb_otlp::Environment::default());
            assert!(read.is_ok(), "{}: {}", block.place, read.unwrap_err());
            outputs += 1;
        } else if top.iter().any(|key| is_key(key)) {
            // A sample with a key of the configuration is one: a misspelt key beside it is found.
            let read = resolve(Some(file), &Environment { hostname: "node".to_owned(), ..Environment::default() }, &[]);
            assert!(read.is_ok(), "{}: {}", block.place, read.unwrap_err());
            settings += 1;
        } else {
            let known = top.iter().all(|key| OTHER_KEYS.contains(&key.as_str()));
            assert!(known, "{}: {top:?}: neither keys of the configuration nor of another file", block.place);
        }
    }
    assert!(settings >= 4 && metrics >= 2 && outputs >= 4, "{settings}, {metrics} and {outputs}");
}

/// A command is read as a shell reads it.
#[test]
fn commands_are_read_as_by_a_shell() {
    assert_eq!(words("a 'b c' \"d|e\"f --g=h # i"), ["a", "b c", "d|ef", "--g=h"]);
    assert_eq!(words("a | b"), ["a"]);
    assert_eq!(of_webb("sudo target/release/webb probe   # x").unwrap(), ["target/release/webb", "probe"]);
    assert_eq!(of_webb("kubectl exec ds/webb -- webb observe --follow").unwrap(), ["webb", "observe", "--follow"]);
    assert_eq!(of_webb("helm install webb charts/webb"), None);
    assert_eq!(path_at("curl -s localhost:9966/actors   # all", "9966").unwrap(), "/actors");
    assert_eq!(path_at("curl -X POST localhost:9966/loglevel", "9966"), None);
}
