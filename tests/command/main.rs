//! The program as a person runs it: help, mistakes in its input, replay, and what it says of
//! itself.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may end where it is wrong"
)]

mod admin;
mod agent_inventory;
mod check_endpoint;
mod config_errors;
mod configuration;
mod conformance;
mod documents;
#[path = "../flow_server/mod.rs"]
mod flow_server;
mod flow_source;
mod help;
mod inventory;
mod observe;
mod operator_inventory;
mod output;
mod privileges;
mod replay;
mod samples;
mod send;
mod stable;
mod top;
