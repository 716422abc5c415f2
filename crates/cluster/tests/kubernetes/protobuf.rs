//! Pods in protocol buffers: the same objects as in JSON, and JSON where a server has none.

use std::time::Duration;

use webb_cluster::kubernetes::{RESOURCES, Reason, WatchTimings};

use crate::kube_api::agent::{Agent, timings};
use crate::kube_api::store::pod;
use crate::kube_api::{Api, Ending, Lists, Protobuf, Streaming};
use crate::watch::many;

fn knowing(pods: usize) -> Api {
    let api = Api::start();
    api.set_protobuf(Protobuf::Known);
    api.put_all(many(pods));
    api
}

/// Whether each request for pods, and no other, has asked for protocol buffers.
fn asked_for_pods_alone(api: &Api) -> bool {
    !api.seen(|seen| seen.kind == "Pod").is_empty()
        && api.seen(|_| true).iter().all(|seen| seen.protobuf == (seen.kind == "Pod"))
}

/// Streamed lists, lists from a cache, compressed, and lists in pages, and then changes, deletions,
/// bookmarks and a version that is too old: nothing is missed, and nothing counts as unreadable.
#[test]
fn pods_in_protocol_buffers() {
    for (streaming, lists) in
        [(Streaming::Offered, Lists::Cached), (Streaming::Refused, Lists::Cached), (Streaming::Refused, Lists::Stored)]
    {
        let api = knowing(1234);
        api.set_streaming(streaming);
        api.set_lists(lists);
        api.set_bookmarks(Duration::from_millis(50));
        let agent = Agent::synced(&api);
        assert_eq!(agent.who("10.244.0.1"), "default/web-00000");
        agent.until("watches", || api.open_watches() == RESOURCES.len());
        api.put(pod("default", "late", "10.99.0.1"));
        api.delete("Pod", "default", "web-00000");
        agent.converges(&api, "a pod is made, another one deleted");
        assert_eq!((agent.who("10.244.0.1"), agent.who("10.99.0.1")), (String::new(), "default/late".to_owned()));
        for (number, ending) in [Ending::InOrder, Ending::Abrupt, Ending::Error(410)].into_iter().enumerate() {
            api.end_watches(Some("Pod"), ending);
            api.put(pod("default", &format!("after-{number}"), &format!("10.99.1.{number}")));
            agent.converges(&api, &format!("{ending:?}"));
        }
        assert_eq!((agent.pods().restarts(Reason::Gone), agent.pods().invalid()), (1, 0));
        assert_eq!(agent.status.complaint(), "");
        assert!(asked_for_pods_alone(&api));
    }
}

/// Lists that break off again and again are requested in JSON, after some tries; and in protocol
/// buffers again later.
#[test]
fn lists_that_break_off() {
    let api = knowing(20);
    api.set_protobuf(Protobuf::Truncated);
    api.set_streaming(Streaming::Refused);
    let timings = WatchTimings { paged_period: Duration::from_secs(2), ..timings() };
    let agent = Agent::start(api.kubeconfig(None), timings);
    agent.converges(&api, "half a list each time, then JSON");
    let asked = api.seen(|seen| seen.kind == "Pod" && seen.protobuf && !seen.watch).len();
    assert!(asked >= 3, "{asked}");
    assert!(agent.pods().restarts(Reason::Interrupted) >= 3);
    api.set_protobuf(Protobuf::Known);
    let whole = |api: &Api| api.seen(|seen| seen.kind == "Pod" && seen.protobuf && !seen.watch).len() > asked;
    agent.until("protocol buffers are requested again", || {
        api.end_watches(Some("Pod"), Ending::Error(410));
        std::thread::sleep(Duration::from_millis(50));
        whole(&api)
    });
    agent.converges(&api, "pods in protocol buffers");
}

/// A server that refuses protocol buffers, answers in JSON, or in something that cannot be read:
/// pods come in JSON, and it is not tried again.
#[test]
fn json_in_the_place_of_protocol_buffers() {
    for (protobuf, tries) in [(Protobuf::Refused, 1), (Protobuf::Broken, 1), (Protobuf::Unknown, usize::MAX)] {
        let api = knowing(20);
        api.set_protobuf(protobuf);
        api.set_streaming(Streaming::Refused);
        let agent = Agent::start(api.kubeconfig(None), timings());
        agent.converges(&api, &format!("{protobuf:?}"));
        api.put(pod("default", "late", "10.99.0.1"));
        agent.converges(&api, "a pod is made");
        // The first request is for a streamed list, which no server is asked for in vain twice.
        let asked = api.seen(|seen| seen.kind == "Pod" && seen.protobuf && seen.status != 422).len();
        assert!(asked >= 1 && asked <= tries, "{protobuf:?}: {asked}");
        assert_eq!(agent.status.complaint(), "");
    }
}
