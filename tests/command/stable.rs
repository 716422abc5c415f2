//! The promise of docs/compatibility.md: names that dashboards, alerts and configuration files
//! depend on stay. Golden lists hold them; `make golden` adds to a list and never removes from it.

use std::collections::BTreeSet;
use std::fs;

use clap::CommandFactory as _;
use webb::cli::Cli;
use webb_settings::KEYS;

use crate::inventory::inventory;

/// Compares a list with what there is: what is gone, and what is to be added.
fn compared<'a>(list: &'a str, there: &'a BTreeSet<String>) -> (Vec<&'a str>, Vec<&'a str>) {
    let promised: BTreeSet<&str> = list.lines().collect();
    let there: BTreeSet<&str> = there.iter().map(String::as_str).collect();
    (promised.difference(&there).copied().collect(), there.difference(&promised).copied().collect())
}

fn stays(name: &str, there: &BTreeSet<String>) {
    let path = format!("{}/tests/command/stable/{name}", env!("CARGO_MANIFEST_DIR"));
    let list = fs::read_to_string(&path).unwrap_or_default();
    let (gone, new) = compared(&list, there);
    assert!(
        gone.is_empty(),
        "{gone:?}: promised by {path} and gone. Bring it back; or delete its line, say under Changed in CHANGELOG.md \
         what has taken its place, and raise the version"
    );
    if new.is_empty() {
        return;
    }
    assert!(std::env::var("INSTA_UPDATE").is_ok_and(|mode| mode == "always"), "{new:?}: run `make golden`");
    let lines: Vec<&str> = there.iter().map(String::as_str).collect();
    fs::write(&path, lines.join("\n") + "\n").unwrap();
}

/// A family, its type, and each of its labels is a line.
#[test]
fn metrics_stay() {
    let mut there = BTreeSet::new();
    for row in inventory() {
        there.insert(format!("{} {}", row.name, row.kind));
        there.extend(row.labels.iter().map(|label| format!("{}{{{label}}}", row.name)));
    }
    stays("metrics.txt", &there);
}

/// Keys of the configuration, commands and flags.
#[test]
fn keys_and_flags_stay() {
    let mut there: BTreeSet<String> = KEYS.iter().map(|key| key.name.to_owned()).collect();
    for command in Cli::command().get_subcommands() {
        let name = format!("webb {}", command.get_name());
        let flags = command.get_arguments().filter_map(|argument| argument.get_long());
        there.extend(flags.map(|flag| format!("{name} --{flag}")));
        there.insert(name);
    }
    stays("keys.txt", &there);
}

/// What is gone is found, and what is new as well.
#[test]
fn what_is_gone_is_found() {
    let there = BTreeSet::from(["a".to_owned(), "c".to_owned()]);
    assert_eq!(compared("a\nb\n", &there), (vec!["b"], vec!["c"]));
    assert_eq!(compared("a\nc\n", &there), (vec![], vec![]));
}
