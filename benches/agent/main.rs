//! Cost of a running agent, measured from outside: `benches/agent.sh [PART]`, as root.
//!
//! The agent runs in a network namespace with the names of so many pods, and its traffic comes from
//! raw sockets in another one, through an interface as pods have it. Each part prints its rows.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::disallowed_methods,
    clippy::expect_used,
    reason = "a bench prints, and stops where its assumptions fail"
)]

mod agent;
mod api;
mod api_start;
mod cgroup;
mod churn;
mod curve;
#[path = "../mix/dice.rs"]
mod dice;
mod flood;
mod growth;
mod lab;
mod memory;
mod packets;
mod rows;
mod scrape;
mod series;
mod siege;

use lab::Lab;

/// A part by its name.
type Part = (&'static str, fn(&Lab));

const PARTS: [Part; 6] = [
    ("api", api_start::run),
    ("churn", churn::run),
    ("scrape", scrape::run),
    ("memory", memory::run),
    ("flood", flood::run),
    ("rows", rows::run),
];

/// Parts that take many minutes: only where they are named.
const LONG: [Part; 4] =
    [("strangers", growth::strangers), ("jobs", growth::jobs), ("soak", growth::soak), ("siege", siege::run)];

/// A row of the table: what, and its value with a unit.
fn row(what: &str, value: impl std::fmt::Display) {
    println!("| {what} | {value} |");
}

fn main() {
    // Cargo adds words of its own.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let all: Vec<Part> = PARTS.into_iter().chain(LONG).collect();
    let unknown = wanted.iter().find(|word| all.iter().all(|(name, _)| name != word));
    let names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
    assert!(unknown.is_none(), "there is no part {unknown:?}; there are {names:?}");
    let lab = Lab::up();
    for (at, (name, part)) in all.into_iter().enumerate() {
        if (wanted.is_empty() && at < PARTS.len()) || wanted.iter().any(|word| word == name) {
            println!("\n| {name} | |\n|---|---|");
            part(&lab);
        }
    }
}
