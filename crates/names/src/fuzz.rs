//! Entry point for a fuzz target.

use std::sync::Arc;

use prost::Message as _;

use crate::directory::Directory;
use crate::held::Held;
use crate::nodes_digest::NodesDigest;
use crate::wire;

/// Reads any bytes as an answer and as a request: each is refused, or taken.
///
/// # Panics
/// If an answer makes the state of a client contradict itself.
pub fn fuzz(bytes: &[u8]) {
    if let Ok(answer) = wire::Answer::decode(bytes) {
        let mut held = Held::bounded("own".to_owned(), 4, 4);
        let entries = answer.entries.iter().filter_map(|entry| entry.address.as_ref());
        for address in entries.filter_map(|address| address.read().ok()).flatten() {
            held.ask(address);
        }
        let again = answer.clone();
        let _either = held.take(answer);
        check(&held);
        held.offer_nodes();
        held.begin(true);
        let _either = held.take(again);
        check(&held);
    }
    if let Ok(request) = wire::Request::decode(bytes) {
        let lease = Arc::new(Directory::default()).connect();
        if let Some(digest) = request.hello.as_ref().and_then(|hello| NodesDigest::read(&hello.nodes_digest)) {
            lease.knows_nodes(digest);
        }
        let _either = crate::serve::take(&lease, &request);
        while lease.next().is_some() {}
    }
}

fn check(held: &Held) {
    for key in held.keys() {
        let pod = held.pod(key);
        assert!(pod.is_some_and(|pod| !pod.addresses.is_empty()), "a pod without an address is held");
    }
    let counts = held.counts();
    assert!(counts.named <= 4 && counts.unnamed + counts.unanswered <= 4, "{counts:?}");
}
