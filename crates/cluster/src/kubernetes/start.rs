//! Spreads the first requests of agents that start together.
//!
//! In a large cluster the lists of all agents at once are more than an API server sends. So an
//! agent asks first how many Nodes there are, reads the pods of its own node, which it needs at
//! once, and then waits for a time by chance that grows with the cluster.

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::sleep;

use super::backoff::random;
use super::error::ApiError;
use super::items::Items;
use super::link::Link;
use super::pods::of_node;
use super::resume::ResumePoint;
use super::watch::Watch;
use super::{Resource, answer};
use crate::Cache;

/// The longest time over which agents are spread.
const MAX_SPREAD: Duration = Duration::from_mins(1);

/// Waits for this agent's turn, and returns the number of Nodes; zero if it is not known. A failure
/// ends the waiting: the watches report it, and have timeouts of their own.
pub(super) async fn wait_for_turn(nodes: &Resource, pods: &Watch<'_, Cache>) -> usize {
    let per_node = pods.link.timings.start_spread_per_node;
    if per_node.is_zero() {
        return 0;
    }
    let count = match count(pods.link, &nodes.metadata()).await {
        Ok(count) => count,
        Err(error) => {
            tracing::debug!("the nodes cannot be counted: {error}");
            return 0;
        }
    };
    let spread = per_node.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX)).min(MAX_SPREAD);
    if let Err(error) = list_own_pods(pods).await {
        tracing::debug!("the pods of this node cannot be listed first: {error}");
    }
    sleep(random(spread)).await;
    count
}

/// Number of objects of a kind: one of them is listed, with how many remain.
pub(super) async fn count(link: &Link<'_>, resource: &Resource) -> Result<usize, ApiError> {
    let mut items = Items::new(link.list(&resource.request("limit=1"), resource.accept_list()).await?, resource)?;
    let mut count = 0;
    while items.next(link.timings.answer_timeout).await?.is_some() {
        count += 1;
    }
    let page = answer::page(resource, &items.into_rest())?;
    Ok(count + page.remaining)
}

/// Puts the pods of this node into the cache. The list of all pods follows.
async fn list_own_pods(pods: &Watch<'_, Cache>) -> Result<(), ApiError> {
    let node = &pods.objects.store.settings.node;
    if node.is_empty() {
        return Ok(());
    }
    let resource = &of_node(pods.resource, node);
    let Watch { link, objects, watched, changed, streaming, journal, .. } = *pods;
    let own = Watch { resource, link, objects, watched, changed, streaming, journal, presence: None };
    own.page("", &ResumePoint::default(), &mut HashSet::new()).await.map(drop)
}
