//! The Kubernetes API as a source: one watch for each kind, all in one task on one thread. Kinds of
//! policy that a server has or has not are looked for, and watched where they are.
//!
//! The client is kube's, with its TLS, authentication and proxies. Lists and watches are our own:
//! kube's types would be a third of the binary, and its watcher neither counts what happens nor
//! honours `Retry-After`, holds whole pages in memory, and cannot tell an older store. This
//! directory is the only user of `kube`.

mod answer;
mod backoff;
mod catalogue;
mod config;
mod connect;
mod discovery;
mod error;
mod items;
mod journal;
mod lines;
mod link;
mod login;
#[cfg(test)]
mod mutations;
mod plugin;
mod policies;
mod presence;
mod proxy;
mod resource;
mod status;
mod streaming;
mod timings;
mod watch;

use std::convert::Infallible;

pub use config::Access;
use futures::future;
use journal::Journal;
use link::Link;
use policies::Policies;
pub use resource::{RESOURCES, Resource};
pub use status::{Reason, Status, Watched};
use streaming::Streaming;
pub use timings::WatchTimings;
use tokio::sync::Notify;
use watch::Watch;

use super::Cache;

/// Keeps `cache` equal to the API server's state, until it is dropped. Needs a tokio runtime with
/// I/O and time.
///
/// `changed` is notified after each change of the cache, `status` says how it goes. All troubles
/// are retried: the only way out is a panic.
pub async fn follow(
    access: &Access,
    timings: &WatchTimings,
    cache: &Cache,
    status: &Status,
    changed: &Notify,
) -> Infallible {
    status.begin();
    cache.set_watched(true);
    let link = Link::new(access, timings);
    let (streaming, journal) = (Streaming::default(), Journal::new(status));
    let watches: Vec<_> = RESOURCES
        .iter()
        .zip(status.watched())
        .map(|(resource, watched)| Watch {
            resource,
            link: &link,
            cache,
            watched,
            changed,
            streaming: &streaming,
            journal: &journal,
            presence: None,
        })
        .collect();
    let policies = Policies {
        link: &link,
        cache,
        status,
        changed,
        streaming: &streaming,
        journal: &journal,
        doubt: Notify::new(),
    };
    let core = future::select_all(watches.iter().map(|watch| Box::pin(watch.follow())));
    tokio::select! {
        (never, _, _) = core => match never {},
        never = policies.follow() => match never {},
    }
}
