//! The agent against real packets, in network namespaces: a lab of its own for each test
//! (`lab/lab`), so tests run beside each other and leave nothing behind.
//!
//! They need root (or the capabilities of [`harness::NEEDED`]). Without, each test says so and
//! passes; with `CI=true` it fails instead, so that a green CI never means that they did not run.

// `cfg(test)` is always true here; it is how clippy learns that helpers may unwrap, as tests may.
#[cfg(test)]
mod agent_endpoint;
#[cfg(test)]
mod api_server;
#[cfg(test)]
mod attacks;
#[cfg(test)]
#[path = "../kernel/support/attempts.rs"]
mod attempts;
#[cfg(test)]
mod behind_the_hook;
#[cfg(test)]
#[path = "../../crates/otlp/tests/otlp/broker.rs"]
#[allow(dead_code, reason = "its login, its TLS and its errors are for other tests")]
mod broker;
#[cfg(test)]
mod confinement;
#[cfg(test)]
mod connections;
#[cfg(test)]
mod counts;
#[cfg(test)]
mod devices;
#[cfg(test)]
mod documents;
#[cfg(test)]
#[path = "../kernel/support/enforcer.rs"]
mod enforcer;
mod export;
#[cfg(test)]
#[cfg(feature = "fault-injection")]
mod faults;
#[cfg(test)]
mod flood;
#[cfg(test)]
mod flows;
#[cfg(test)]
#[path = "../kernel/support/frames.rs"]
mod frames;
#[cfg(test)]
mod handover;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod health;
#[cfg(test)]
mod kafka;
#[cfg(test)]
mod kernel;
#[cfg(test)]
mod kernel_metrics;
#[cfg(test)]
#[path = "../../crates/cluster/tests/kubernetes/kube_api/mod.rs"]
mod kube_api;
#[cfg(test)]
mod layer7;
#[cfg(test)]
mod layer7_odd;
#[cfg(test)]
mod ledger;
#[cfg(test)]
mod lifecycle;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod listeners;
#[cfg(test)]
mod log;
#[cfg(test)]
mod manifest;
#[cfg(test)]
mod mesh;
#[cfg(test)]
mod names_relay;
#[cfg(test)]
mod observer;
#[cfg(test)]
mod observer_filters;
#[cfg(test)]
mod observer_nodes;
#[cfg(test)]
mod operator;
#[cfg(test)]
#[path = "../kernel/support/packets.rs"]
mod packets;
#[cfg(test)]
mod privileges;
#[cfg(test)]
mod reload;
#[cfg(test)]
mod rollups;
#[cfg(test)]
mod rows_and_metrics;
#[cfg(test)]
#[path = "../command/samples.rs"]
mod samples;
#[cfg(test)]
mod scrape;
#[cfg(test)]
mod servers;
#[cfg(test)]
mod services;
#[cfg(test)]
mod startup;
#[cfg(test)]
mod verdicts;
#[cfg(test)]
mod zones;
