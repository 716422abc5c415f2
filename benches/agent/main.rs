//! What a running agent costs, measured from outside: `benches/agent.sh [PART]`, as root.
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
mod churn;
#[path = "../mix/dice.rs"]
mod dice;
mod flood;
mod lab;
mod memory;
mod packets;
mod scrape;
mod series;

use lab::Lab;

/// A part by its name.
type Part = (&'static str, fn(&Lab));

const PARTS: [Part; 5] = [
    ("api", api_start::run),
    ("churn", churn::run),
    ("scrape", scrape::run),
    ("memory", memory::run),
    ("flood", flood::run),
];

/// A row of the table: what, and its value with a unit.
fn row(what: &str, value: impl std::fmt::Display) {
    println!("| {what} | {value} |");
}

fn main() {
    // Cargo adds words of its own.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let unknown = wanted.iter().find(|word| PARTS.iter().all(|(name, _)| name != word));
    assert!(unknown.is_none(), "there is no part {unknown:?}; there are {:?}", PARTS.map(|(name, _)| name));
    let lab = Lab::up();
    for (name, part) in PARTS {
        if wanted.is_empty() || wanted.iter().any(|word| word == name) {
            println!("\n| {name} | |\n|---|---|");
            part(&lab);
        }
    }
}
