//! Lists that are not streamed: from the server's cache or its store, at once or in pages, old and
//! too old.

use std::time::{Duration, Instant};

use webb_cluster::kubernetes::{RESOURCES, Reason, WatchTimings};

use crate::kube_api::agent::{Agent, timings};
use crate::kube_api::store::pod;
use crate::kube_api::{Api, Ending, Fault, Lists, Streaming};
use crate::watch::many;

/// A server without streamed lists.
fn paging(lists: Lists, pods: usize) -> Api {
    let api = Api::start();
    api.set_streaming(Streaming::Refused);
    api.set_lists(lists);
    api.put_all(many(pods));
    api
}

/// Version that a list may request: any, or the most recent one.
const ANY: &str = "0";
const RECENT: &str = "";

/// The versions that lists of pods asked for, in order. Pages that follow are left out.
fn asked_versions(api: &Api) -> Vec<String> {
    let lists = api.seen(|seen| seen.kind == "Pod" && !seen.watch && !seen.page);
    lists.into_iter().map(|seen| seen.version.unwrap_or_default()).collect()
}

/// A server without streamed lists says so once; then lists are asked for of which any version will
/// do: one answer from a cache, pages from a store. Watches go on from the list's version.
#[test]
fn lists_where_they_are_not_streamed() {
    for (lists, requests) in [(Lists::Cached, 1), (Lists::Stored, 3)] {
        let api = paging(lists, 1234);
        let agent = Agent::synced(&api);
        let pods = api.seen(|seen| seen.kind == "Pod" && !seen.watch);
        assert_eq!(pods.len(), requests, "{lists:?}: 1,234 pods");
        assert!(pods.iter().all(|seen| seen.limit == Some(500)));
        let first = api.seen(|seen| !seen.watch && !seen.page);
        assert_eq!(first.len(), RESOURCES.len());
        assert!(first.iter().all(|seen| seen.version.as_deref() == Some(ANY)), "{first:?}");
        // The pods' list is long enough to come compressed, and all of them were read.
        assert!(api.seen(|seen| !seen.watch).iter().all(|seen| seen.gzip), "{first:?}");
        assert!(api.seen(|seen| seen.watch).iter().all(|seen| !seen.gzip), "watches are not compressed");
        assert!(pods.iter().filter(|seen| seen.page).all(|seen| seen.version.is_none()), "{pods:?}");
        let refused = api.seen(|seen| seen.streaming).len();
        assert!((1..=RESOURCES.len()).contains(&refused), "{refused}");
        let version = api.version().to_string();
        agent.until("watches", || api.open_watches() == RESOURCES.len());
        assert_eq!(api.seen(|seen| seen.kind == "Pod" && seen.watch && !seen.streaming)[0].version, Some(version));
        // It is remembered: not even a new list asks again.
        api.compact();
        api.put(pod("default", "late", "10.1.0.1"));
        agent.converges(&api, "a pod is made");
        api.end_watches(None, Ending::Error(410));
        agent.until("new lists", || agent.status.watched().iter().all(|watched| watched.lists()[1].1 == 2));
        agent.converges(&api, "lists after 410");
        assert_eq!(api.seen(|seen| seen.streaming).len(), refused);
        assert_eq!(asked_versions(&api), [ANY, ANY]);
    }
}

/// A continue token that has become too old starts the list anew, with the most recent version.
#[test]
fn a_list_that_takes_too_long_begins_anew() {
    let api = paging(Lists::Stored, 700);
    api.plan(Some("Pod"), Some(false), Fault::Late(Duration::ZERO), 1);
    api.plan(Some("Pod"), Some(false), Fault::Late(Duration::from_millis(400)), 1);
    let agent = Agent::start(api.kubeconfig(None), timings());
    agent.until("the second page is asked for", || !api.seen(|seen| seen.page).is_empty());
    api.put(pod("default", "late", "10.1.0.1"));
    api.compact();
    agent.converges(&api, "the second page is too old");
    assert_eq!(agent.pods().restarts(Reason::Gone), 1);
    assert_eq!(asked_versions(&api), [ANY, RECENT]);
    // The next list is like the first one again.
    agent.until("watches", || api.open_watches() == RESOURCES.len());
    api.end_watches(Some("Pod"), Ending::Error(410));
    agent.until("a new list", || agent.pods().lists()[1].1 == 2);
    assert_eq!(asked_versions(&api), [ANY, RECENT, ANY]);
}

/// A cache that lags behind has a list that is older than what is known. Nothing of it is used: the
/// most recent list is asked for, once, and a cache that stays behind does not make that a loop.
#[test]
fn a_cached_list_may_be_old() {
    let api = paging(Lists::Cached, 20);
    let agent = Agent::synced(&api);
    agent.until("watches", || api.open_watches() == RESOURCES.len());
    api.set_lists(Lists::CachedAt(api.version()));
    api.delete("Pod", "default", "web-00000");
    api.put(pod("default", "new", "10.99.0.2"));
    agent.converges(&api, "changes that the cache does not have");
    for (ending, lists) in [(Ending::Error(410), 2), (Ending::OlderBookmark, 3)] {
        api.end_watches(Some("Pod"), ending);
        agent.until("a new list", || {
            assert_eq!(agent.who("10.244.0.1"), "", "a deleted pod came back");
            assert_eq!(agent.who("10.99.0.2"), "default/new");
            agent.pods().lists()[1].1 == lists
        });
        agent.until("a watch", || api.open_watches() == RESOURCES.len());
        agent.converges(&api, &format!("{ending:?}, with a cache that is behind"));
    }
    assert_eq!(asked_versions(&api), [ANY, ANY, RECENT, ANY, RECENT]);
    assert_eq!((agent.pods().restarts(Reason::Gone), agent.pods().restarts(Reason::Rewound)), (1, 1));
    assert_eq!(agent.status.complaint(), "");
    // A cache that has caught up is good again.
    api.set_lists(Lists::Cached);
    api.end_watches(Some("Pod"), Ending::Error(410));
    agent.until("a new list", || agent.pods().lists()[1].1 == 4);
    assert_eq!(asked_versions(&api).last().unwrap(), ANY);
}

/// A store that was restored has older versions for good: the most recent list says so, and is
/// believed.
#[test]
fn a_restored_store_without_streamed_lists() {
    let api = paging(Lists::Cached, 20);
    api.set_bookmarks(Duration::from_millis(20));
    let agent =
        Agent::start(api.kubeconfig(None), WatchTimings { silence_timeout: Duration::from_millis(600), ..timings() });
    agent.converges(&api, "the first list");
    agent.until("watches", || api.open_watches() == RESOURCES.len());
    api.rewind(5);
    agent.converges(&api, "a server whose history was set back");
    assert!(agent.pods().restarts(Reason::Silent) >= 1);
    assert_eq!(asked_versions(&api)[..3], [ANY, ANY, RECENT]);
    api.put(pod("default", "late", "10.99.9.9"));
    agent.converges(&api, "and the next change");
}

/// Twenty thousand pods, in one answer or in pages, without a pause that anybody would notice.
#[test]
fn a_large_cluster_is_listed() {
    for (lists, requests) in [(Lists::Cached, 1), (Lists::Stored, 40)] {
        let api = paging(lists, 20_000);
        let began = Instant::now();
        let patient = WatchTimings { answer_timeout: Duration::from_mins(1), ..timings() };
        let agent = Agent::start(api.kubeconfig(None), patient);
        agent.until("synced", || agent.status.synced());
        println!("20,000 pods, {lists:?}: {:.1} s", began.elapsed().as_secs_f64());
        assert_eq!(agent.cache.counts().pods, 20_000);
        assert_eq!(api.seen(|seen| seen.kind == "Pod" && !seen.watch).len(), requests);
    }
}
