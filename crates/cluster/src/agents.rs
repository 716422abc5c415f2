//! The nodes that agents watch: those with a ready pod of an agent.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use webb_index::AgentNodes;

use super::store::Store;
use super::stored_pod::AgentPod;

/// The nodes with a ready agent. Where this agent itself is not among the pods, the labels are not
/// those of agents, or agents run outside of pods: nothing is known then. Nor is it where a relay
/// names the pods of other nodes: it is asked by address, and agents have those of their nodes.
pub(super) fn nodes(store: &Store) -> AgentNodes {
    if store.relayed.load(Relaxed) {
        return AgentNodes::default();
    }
    let (mut own, mut ready) = (false, Vec::new());
    for pod in store.pods.iter().filter(|pod| pod.agent != AgentPod::No) {
        own |= *pod.node == store.settings.node;
        if pod.agent == AgentPod::Ready {
            ready.push(Arc::clone(&pod.node));
        }
    }
    if own { AgentNodes::new(ready.iter().map(|node| &**node)) } else { AgentNodes::default() }
}
