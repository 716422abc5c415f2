//! From objects of a cluster to the index, and what policies answer.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may end where it is wrong"
)]

mod any_changes;
mod churn;
mod index;
mod manifest;
mod mesh;
mod networks;
mod policy_bursts;
mod policy_cases;
mod policy_changes;
mod policy_naive;
mod policy_table;
mod policy_verdicts;
mod recent;
mod unreadable;
