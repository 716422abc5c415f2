//! Is the API server of these tests like a real one? Here it is asked by another client: the
//! requests, types and rules of the `kube` crate, of which the agent's own watches use nothing but
//! the connection.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::config::Kubeconfig;
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api as Objects, Client, Config, ResourceExt};

use crate::kube_api::store::pod;
use crate::kube_api::{Api, Ending, Streaming};

fn pods(api: &Api) -> Objects<DynamicObject> {
    let mut config = Config::try_from(Kubeconfig::read_from(api.kubeconfig(None)).unwrap()).unwrap();
    config.default_retry = false;
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Pod"));
    Objects::all_with(Client::try_from(config).unwrap(), &kind)
}

fn filled() -> Api {
    let api = Api::start();
    api.put_all((0..20).map(|at| pod("default", &format!("web-{at:02}"), &format!("10.1.0.{}", at + 1))));
    api
}

/// Pages follow each other by their tokens, show one version, and an old token is refused.
#[tokio::test]
async fn pages() {
    let api = filled();
    let (pods, mut names, mut token, mut left) = (pods(&api), Vec::new(), None, Vec::new());
    let version = api.version().to_string();
    loop {
        let params = ListParams { continue_token: token, ..ListParams::default().limit(8) };
        let page = pods.list(&params).await.unwrap();
        assert_eq!(page.metadata.resource_version.as_ref(), Some(&version), "what came between is not shown");
        names.extend(page.items.iter().map(ResourceExt::name_any));
        left.push(page.metadata.remaining_item_count.unwrap_or(0));
        api.put(pod("default", "between", "10.2.0.1"));
        token = page.metadata.continue_.filter(|token| !token.is_empty());
        if token.is_none() {
            break;
        }
    }
    assert_eq!(names, (0..20).map(|at| format!("web-{at:02}")).collect::<Vec<_>>());
    assert_eq!(left, [12, 4, 0]);
    let token = pods.list(&ListParams::default().limit(8)).await.unwrap().metadata.continue_.unwrap();
    api.put(pod("default", "between", "10.2.0.2"));
    api.compact();
    let refused = pods.list(&ListParams::default().limit(8).continue_token(&token)).await.unwrap_err();
    assert!(matches!(refused, kube::Error::Api(status) if status.code == 410 && status.reason == "Expired"));
}

/// A streamed list: every object, the bookmark that ends it, then what happens, in the order of
/// versions.
#[tokio::test]
async fn streamed_lists() {
    let api = filled();
    let mut events = pods(&api).watch(&WatchParams::default().initial_events(), "0").await.unwrap().boxed();
    for at in 0..20 {
        let Some(WatchEvent::Added(pod)) = events.try_next().await.unwrap() else { panic!("not a pod: {at}") };
        assert_eq!(pod.name_any(), format!("web-{at:02}"));
    }
    let Some(WatchEvent::Bookmark(end)) = events.try_next().await.unwrap() else { panic!("no end") };
    assert_eq!(end.metadata.annotations["k8s.io/initial-events-end"], "true");
    assert_eq!(end.metadata.resource_version, api.version().to_string());
    api.put(pod("default", "web-00", "10.1.0.1"));
    api.put(pod("default", "new", "10.1.1.1"));
    api.delete("Pod", "default", "web-01");
    let (mut seen, mut last) = (Vec::new(), 0);
    while seen.len() < 3 {
        let (what, pod) = match events.try_next().await.unwrap() {
            Some(WatchEvent::Added(pod)) => ("added", pod),
            Some(WatchEvent::Modified(pod)) => ("modified", pod),
            Some(WatchEvent::Deleted(pod)) => ("deleted", pod),
            Some(WatchEvent::Bookmark(_)) => continue,
            other => panic!("{other:?}"),
        };
        let version: u64 = pod.resource_version().unwrap().parse().unwrap();
        assert!(version > last);
        last = version;
        seen.push(format!("{what} {}", pod.name_any()));
    }
    assert_eq!(seen, ["modified web-00", "added new", "deleted web-01"]);
    api.set_streaming(Streaming::Refused);
    let refused = pods(&api).watch(&WatchParams::default().initial_events(), "0").await.err().unwrap();
    assert!(matches!(refused, kube::Error::Api(status) if status.code == 422 && status.reason == "Invalid"));
}

/// A watch goes on from a version, gets bookmarks, ends in its time, is refused for a version too
/// old, and silent for one that is yet to come.
#[tokio::test]
async fn watches() {
    let api = filled();
    api.set_bookmarks(Duration::from_millis(100));
    let pods = pods(&api);
    let version = api.version().to_string();
    api.delete("Pod", "default", "web-03");
    let mut events = pods.watch(&WatchParams::default().timeout(1), &version).await.unwrap().boxed();
    let Some(WatchEvent::Deleted(gone)) = events.try_next().await.unwrap() else { panic!("not deleted") };
    assert_eq!(gone.name_any(), "web-03");
    let Some(WatchEvent::Bookmark(mark)) = events.try_next().await.unwrap() else { panic!("no bookmark") };
    assert_eq!(mark.metadata.resource_version, api.version().to_string());
    let rest: Vec<_> = tokio::time::timeout(Duration::from_secs(20), events.try_collect()).await.unwrap().unwrap();
    assert!(rest.iter().all(|event| matches!(event, WatchEvent::Bookmark(_))), "then its time was over");
    // Too old, in both forms: the answer itself, or an event in it.
    for _ in 0..2 {
        let old = api.version().to_string();
        api.put(pod("default", "web-04", "10.1.2.1"));
        api.compact();
        let code = match pods.watch(&WatchParams::default(), &old).await {
            Err(kube::Error::Api(status)) => status.code,
            Err(other) => panic!("{other}"),
            Ok(events) => match events.boxed().try_next().await.unwrap() {
                Some(WatchEvent::Error(status)) => status.code,
                other => panic!("{other:?}"),
            },
        };
        assert_eq!(code, 410);
    }
    // A version of the future: neither a refusal nor a word, until the store is there.
    api.set_bookmarks(Duration::from_millis(20));
    let future = (api.version() + 3).to_string();
    let mut events = pods.watch(&WatchParams::default(), &future).await.unwrap().boxed();
    let silence = tokio::time::timeout(Duration::from_millis(300), events.try_next()).await;
    assert!(silence.is_err(), "{silence:?}");
    for round in 0..4 {
        api.put(pod("default", &format!("future-{round}"), "10.1.3.1"));
    }
    loop {
        match events.try_next().await.unwrap() {
            Some(WatchEvent::Bookmark(_)) => {}
            Some(WatchEvent::Added(pod)) => break assert_eq!(pod.name_any(), "future-3"),
            other => panic!("{other:?}"),
        }
    }
    let mut events = pods.watch(&WatchParams::default(), &api.version().to_string()).await.unwrap().boxed();
    api.end_watches(None, Ending::Error(410));
    loop {
        match events.try_next().await.unwrap() {
            Some(WatchEvent::Bookmark(_)) => {}
            Some(WatchEvent::Error(status)) => break assert_eq!(status.code, 410),
            other => panic!("{other:?}"),
        }
    }
}

/// A restart: watches are cut without a word, the past is forgotten, and at first nothing is
/// allowed.
#[tokio::test]
async fn restarts() {
    let api = filled();
    let pods = pods(&api);
    let version = api.version().to_string();
    let mut events = pods.watch(&WatchParams::default(), &version).await.unwrap().boxed();
    api.go_away();
    assert!(!matches!(events.try_next().await, Ok(Some(_))), "the watch is cut");
    assert!(matches!(
        pods.list(&ListParams::default()).await,
        Err(kube::Error::Service(_) | kube::Error::HyperError(_))
    ));
    api.come_back(Duration::from_hours(1));
    let refused = pods.list(&ListParams::default()).await.unwrap_err();
    assert!(matches!(refused, kube::Error::Api(status) if status.code == 403));
    api.come_back(Duration::ZERO);
    let code = match pods.watch(&WatchParams::default(), &version).await {
        Err(kube::Error::Api(status)) => status.code,
        Err(other) => panic!("{other}"),
        Ok(events) => match events.boxed().try_next().await.unwrap() {
            Some(WatchEvent::Error(status)) => status.code,
            other => panic!("{other:?}"),
        },
    };
    assert_eq!(code, 410);
}
