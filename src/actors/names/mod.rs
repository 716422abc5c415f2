//! Keeps a names relay: the thread that lists the pods, and the one that serves agents.

pub mod listing;
pub mod server;
