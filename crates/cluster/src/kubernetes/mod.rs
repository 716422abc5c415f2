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
mod trouble;
mod watch;

use std::cell::Cell;
use std::convert::Infallible;
use std::time::{Duration, Instant};

pub use config::Access;
use futures::future;
use journal::Journal;
use link::Link;
use policies::Policies;
pub use resource::{RESOURCES, Resource};
pub use status::{Reason, Status, Watched};
use tokio::sync::Notify;
use watch::Watch;

use super::Cache;

/// How patient the watches are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pace {
    /// Bound of the wait after the first failure.
    pub backoff_min: Duration,
    /// Bound of the wait after many failures.
    pub backoff_max: Duration,
    /// How long an answer may take to begin, and to go on. Overloaded servers take half a minute.
    pub answer: Duration,
    /// Silence on a watch after which the connection is taken for dead, or the version for one that
    /// the server does not know: servers send a bookmark each minute.
    pub quiet: Duration,
    /// The longest that a watch is asked to last; up to a quarter less, so that agents started
    /// together drift apart.
    pub watch: Duration,
    /// A watch that ends in order sooner than this counts as a failure.
    pub brief: Duration,
    /// The first requests of each kind are spread over this.
    pub spread: Duration,
    /// Bound of the wait before a list that a healthy server asks for, and of the first wait after
    /// its refusal: agents that were cut off together do not list together.
    pub relist: Duration,
    /// How often it is asked which kinds of policy there are, and whether a vendor's kind of the
    /// whole cluster has objects; down to a quarter less.
    pub discovery: Duration,
    /// How long lists come in pages after the server has refused a streamed one. It may have been
    /// another server's word, or an older one's.
    pub paged: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            backoff_min: Duration::from_millis(500),
            backoff_max: Duration::from_secs(30),
            answer: Duration::from_mins(1),
            quiet: Duration::from_secs(150),
            watch: Duration::from_secs(290),
            brief: Duration::from_secs(5),
            spread: Duration::from_millis(500),
            relist: Duration::from_secs(1),
            discovery: Duration::from_mins(1),
            paged: Duration::from_mins(10),
        }
    }
}

/// Whether the server has streamed lists.
#[derive(Debug, Default)]
struct Streaming {
    /// Until when it is not asked for them.
    paged_until: Cell<Option<Instant>>,
}

impl Streaming {
    fn offered(&self) -> bool {
        self.paged_until.get().is_none_or(|until| Instant::now() >= until)
    }

    fn refuse(&self, time: Duration) {
        self.paged_until.set(Some(Instant::now() + time));
    }
}

/// Keeps `cache` equal to what the API server says, until it is dropped. Needs a tokio runtime with
/// I/O and time.
///
/// `changed` is notified after each change of the cache, `status` says how it goes. All troubles
/// are met with patience: the only way out is a panic.
pub async fn follow(access: &Access, pace: &Pace, cache: &Cache, status: &Status, changed: &Notify) -> Infallible {
    status.begin();
    cache.set_watched(true);
    let link = Link::new(access, pace);
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
