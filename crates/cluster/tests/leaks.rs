//! Nothing is left behind by watches that broke, however often. Alone in its process, whose
//! descriptors are counted.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may end where it is wrong"
)]

#[path = "kubernetes/kube_api/mod.rs"]
mod kube_api;

use kube_api::agent::{Agent, timings};
use kube_api::store::pod;
use kube_api::{Api, Ending, Handshake};
use webb_cluster::kubernetes::{RESOURCES, Reason};

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Connections that break, requests that are refused and clients that are made anew leave no
/// descriptor open.
#[test]
fn nothing_leaks() {
    let api = Api::start();
    api.set_tokens(&["first", "second"]);
    let agent = Agent::start(api.kubeconfig(Some("first")), timings());
    agent.converges(&api, "the first list");
    let all = RESOURCES.len() as u64;
    let trouble = |round: usize| {
        api.end_watches(None, [Ending::Abrupt, Ending::HalfObject, Ending::Error(410), Ending::InOrder][round % 4]);
        if round.is_multiple_of(5) {
            let before = agent.restarts(Reason::Unauthorized);
            api.set_tokens(&["of no client"]);
            api.end_watches(None, Ending::Abrupt);
            agent.until("refused", || agent.restarts(Reason::Unauthorized) >= before + all);
            api.set_tokens(&["first"]);
        }
        if round.is_multiple_of(7) {
            let before = agent.restarts(Reason::Unreachable);
            api.set_handshake(Handshake::Broken);
            api.end_watches(None, Ending::Abrupt);
            agent.until("out of reach", || agent.restarts(Reason::Unreachable) >= before + all);
            api.set_handshake(Handshake::Good);
        }
        api.put(pod("default", "web", &format!("10.1.0.{}", round + 1)));
        agent.converges(&api, &format!("round {round}"));
        agent.until("all watches", || api.open_watches() == RESOURCES.len());
    };
    (0..5).for_each(trouble);
    let before = descriptors();
    (5..40).for_each(trouble);
    // A connection that was given back may wait for the next request for a while.
    agent.until("no more than before", || descriptors() <= before + 4);
}
