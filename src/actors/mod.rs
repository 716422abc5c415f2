//! Supervision: one actor for each stage of the pipeline, named after it, and what restarts them
//! ([`guard`], [`thread_supervisor`], [`restart`]).
//!
//! ```text
//! reader ──► decoder ──► aggregator/<metric> ──► http/metrics
//!               ▲                   ▲            http/admin
//! probes     resolver   sweeper  configurator  dissector  health
//!                     └──► observer/history ──► observer/server
//!                                          └──► flows ──► output/<name>
//!
//! elector ──┐
//! view ─────┴──────────────────────────────────► http/operator
//! ```
//!
//! actix's `Supervisor` restarts an actor only when its context *ends*; a panic in a handler kills
//! the address for good, and there is neither backoff nor limit. So every fault is turned into
//! `ctx.stop()` after a backoff: of an actor's own handlers by [`guard`], of a thread by
//! [`thread_supervisor::ThreadSupervisor`]. Too many restarts within a window escalate, and the
//! agent ends with exit code 70 for its supervisor (kubelet, systemd) to start afresh.

pub mod aggregator;
mod attempts;
pub mod cluster_source;
pub mod cluster_view;
pub mod config_file;
pub mod configurator;
pub mod conntrack;
pub mod decoder;
pub mod deleted_pods;
pub mod dissector;
pub mod elector;
pub mod export_file;
pub mod export_follower;
pub mod exporter;
pub mod exporters;
mod figures;
pub mod file_follower;
pub mod fleet;
pub mod flow_source;
pub mod flows;
mod gaps;
pub mod guard;
pub mod health;
pub mod http;
pub mod listing;
mod losses;
mod manifest_progress;
pub mod mesh;
pub mod metrics_file;
pub mod names;
pub mod network;
pub mod observer;
pub mod output;
pub mod output_follower;
pub mod outputs;
pub mod periodic;
mod poll_schedule;
pub mod probes;
pub mod reader;
pub mod relay;
pub mod resolver;
pub mod restart;
pub mod rollups;
pub mod sweeper;
pub mod thread_supervisor;
mod verify;

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};

use actix::prelude::*;

/// Message that restarts an actor, as `POST /actors/{name}/restart` does.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Restart;

/// Ends a thread's wait for its restart, if it waits.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Resume;

/// Message that stops an actor: a thread's supervisor answers when the thread has ended.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Finish;

/// The addresses of all actors by component name, for the admin listener.
#[derive(Clone, Default)]
pub struct Directory {
    restart: Arc<RwLock<BTreeMap<String, Recipient<Restart>>>>,
}

impl std::fmt::Debug for Directory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Directory").finish_non_exhaustive()
    }
}

impl Directory {
    /// Adds an actor.
    pub fn add(&self, name: &str, address: Recipient<Restart>) {
        self.restart.write().unwrap_or_else(std::sync::PoisonError::into_inner).insert(name.to_owned(), address);
    }

    /// Takes an actor out.
    pub fn remove(&self, name: &str) {
        self.restart.write().unwrap_or_else(std::sync::PoisonError::into_inner).remove(name);
    }

    /// Restarts `name`; false if there is no such actor.
    pub fn restart(&self, name: &str) -> bool {
        let known = self.restart.read().unwrap_or_else(std::sync::PoisonError::into_inner).get(name).cloned();
        known.is_some_and(|address| {
            address.do_send(Restart);
            true
        })
    }

    /// Everything that can be restarted.
    pub fn names(&self) -> Vec<String> {
        self.restart.read().unwrap_or_else(std::sync::PoisonError::into_inner).keys().cloned().collect()
    }
}
