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
mod events;
mod form;
mod inflate;
mod items;
mod journal;
mod lease;
mod lines;
mod link;
mod login;
mod mirror;
#[cfg(test)]
mod mutations;
mod nodes;
mod plugin;
mod pods;
mod pods_and_nodes;
mod policies;
mod presence;
mod protobuf;
mod proxy;
mod requests;
mod resource;
mod resume;
mod start;
mod status;
mod streaming;
mod timings;
mod tokens;
mod view;
mod watch;

use std::convert::Infallible;

pub use config::{Access, NamedFiles};
pub use events::{Action, EventCounts};
use futures::future;
use journal::Journal;
pub use lease::{Candidate, elect};
use link::Link;
use nodes::Nodes;
pub use pods::PodSink;
use pods::{OwnPods, Pods, of_node};
pub use pods_and_nodes::follow_pods_and_nodes;
use policies::Policies;
pub use protobuf::fuzz::fuzz as fuzz_protobuf;
pub use requests::{Answered, Call, RequestTimes, Requests};
pub use resource::{RESOURCES, Resource};
pub use status::{Reason, Status, Watched};
use streaming::Streaming;
pub use timings::WatchTimings;
use tokio::sync::Notify;
pub use view::follow_view;
use watch::Watch;

use super::{Cache, Kind};

/// Keeps `cache` equal to the API server's state, until it is dropped. Needs a tokio runtime with
/// I/O and time.
///
/// `changed` is notified after each change of the cache, `status` says how it goes. All troubles
/// are retried: the only way out is a panic. Of another cluster of the mesh only the kinds that
/// names need are watched, with a [`Status::of_mesh`].
pub async fn follow(
    access: &Access,
    timings: &WatchTimings,
    cache: &Cache,
    status: &Status,
    changed: &Notify,
) -> Infallible {
    status.begin();
    cache.set_watched(true);
    let link = &Link::new(access, timings).counted(status.requests());
    let (streaming, journal) = (&Streaming::default(), &Journal::new(status));
    let resources = RESOURCES.iter().zip(status.watched());
    let watch = |(resource, watched)| Watch {
        resource,
        link,
        objects: cache,
        watched,
        changed,
        streaming,
        journal,
        presence: None,
    };
    let watches: Vec<Watch<'_, Cache>> = resources.map(watch).collect();
    let of = |kind| watches.iter().find(|watch| watch.resource.kind == kind);
    let expected = match (of(Kind::Node), of(Kind::Pod)) {
        (Some(nodes), Some(pods)) => start::wait_for_turn(nodes.resource, pods).await,
        _ => 0,
    };
    // Where a relay names the pods of other nodes, those of this one are watched.
    let is_relayed = cache.is_relayed();
    let here = of(Kind::Pod).map(|pods| (of_node(pods.resource, &cache.store.settings.node), pods.watched));
    let objects = &Pods(&OwnPods(cache));
    let own_pods = here.as_ref().map(|(resource, watched)| Watch {
        resource,
        link,
        objects,
        watched,
        changed,
        streaming,
        journal,
        presence: None,
    });
    let own_pods = async {
        match &own_pods {
            Some(watch) if is_relayed => watch.follow().await,
            _ => future::pending().await,
        }
    };
    let core = future::select_all(watches.iter().filter(|watch| !is_relayed || watch.resource.kind != Kind::Pod).map(
        |watch| {
            Box::pin(async move {
                match watch.resource.kind {
                    Kind::Node => Nodes { watch, expected }.follow().await,
                    _ => watch.follow().await,
                }
            })
        },
    ));
    let policies = Policies { link, cache, status, changed, streaming, journal, doubt: Notify::new() };
    tokio::select! {
        (never, _, _) = core => match never {},
        never = own_pods => match never {},
        never = policies.follow(), if !cache.is_of_mesh() => match never {},
    }
}
