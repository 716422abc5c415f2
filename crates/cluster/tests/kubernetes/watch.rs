//! Lists and watches against an API server: what is asked for, how often, and what comes of it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use webb_cluster::kubernetes::{Action, RESOURCES, Reason, Resource, WatchTimings};
use webb_cluster::{Kind, OtherKinds};

use crate::kube_api::agent::{Agent, timings};
use crate::kube_api::store::pod;
use crate::kube_api::{Api, Ending, Streaming};

pub(crate) fn many(count: usize) -> Vec<Value> {
    let ip = |at: usize| format!("10.244.{}.{}", at / 250, at % 250 + 1);
    (0..count).map(|at| pod("default", &format!("web-{at:05}"), &ip(at))).collect()
}

/// A server that streams lists is asked once for each kind, and for nothing else.
#[test]
fn one_request_for_each_kind() {
    let api = Api::start();
    api.put_all(many(1200));
    let agent = Agent::synced(&api);
    let requests = api.seen(|_| true);
    assert_eq!(requests.len(), RESOURCES.len());
    assert!(requests.iter().all(|seen| seen.watch && seen.streaming && seen.status == 200));
    api.put(pod("default", "late", "10.1.0.1"));
    agent.converges(&api, "a pod is made");
    api.put(pod("default", "late", "10.1.0.2"));
    agent.converges(&api, "a pod gets another address");
    assert_eq!(agent.who("10.1.0.1"), "");
    api.delete("Pod", "default", "late");
    agent.converges(&api, "a pod is deleted");
    assert_eq!(api.seen(|_| true).len(), RESOURCES.len(), "all of it came on the watches");
    assert_eq!(agent.pods().lists(), [("streamed", 1), ("paged", 0)]);
    let times = agent.status.requests().times();
    // Discovery may have asked already.
    let watches = times.iter().filter(|((path, _), _)| path != "/apis");
    let counted: BTreeSet<_> = watches.map(|((path, _), times)| (path.clone(), times.count)).collect();
    let path = |resource: &Resource| resource.path().replace("namespaces/default", "namespaces/{namespace}");
    assert_eq!(counted, RESOURCES.iter().map(|resource| (path(resource), 1)).collect());
    let answers = agent.status.requests().answers();
    let answered = |(_, method, status): &(String, String, _)| method == "GET" && *status == Some(200);
    let good: u64 = answers.iter().filter(|(call, _)| answered(call)).map(|(_, count)| count).sum();
    assert!(good >= RESOURCES.len() as u64, "{answers:?}");
}

/// Of EndpointSlices only those of the API server are asked for, listed or watched.
#[test]
fn other_endpoint_slices_are_not_read() {
    let slice = |name: &str, service: &str, ip: &str| {
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "endpoints": [{"addresses": [ip]}],
            "metadata": {"name": name, "namespace": "default", "labels": {"kubernetes.io/service-name": service}}})
    };
    let api = Api::start();
    api.put(slice("web-1", "web", "10.9.0.1"));
    let agent = Agent::synced(&api);
    api.put(slice("web-2", "web", "10.9.0.2"));
    api.put(slice("kubernetes", "kubernetes", "192.168.0.9"));
    let is_api = |ip: &str| {
        let index = agent.cache.index();
        index.endpoint(index.find(webb_flow::Address::from(ip.parse::<std::net::IpAddr>().unwrap()))).identity_number
    };
    agent.until("the API server's address", || is_api("192.168.0.9") == 7);
    assert_eq!(agent.cache.counts().endpoint_slices, 1);
    let slices = agent.status.watched().iter().find(|watched| watched.kind == Kind::EndpointSlice).unwrap();
    assert_eq!(slices.events(Action::Create).changed, 1, "events of other slices do not come");
}

/// Requests that are refused, or never answered, are counted too.
#[test]
fn requests_without_success_are_counted() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = closed.local_addr().unwrap().port();
    drop(closed);
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("config");
    let text = format!(
        "current-context: a\ncontexts: [{{name: a, context: {{cluster: c, user: u}}}}]\n\
         clusters: [{{name: c, cluster: {{server: 'http://127.0.0.1:{port}'}}}}]\nusers: [{{name: u, user: {{}}}}]\n"
    );
    std::fs::write(&path, text).unwrap();
    let agent = Agent::start(path, timings());
    agent.until("requests are counted", || !agent.status.requests().answers().is_empty());
    let answers = agent.status.requests().answers();
    assert!(answers.iter().all(|((host, _, status), _)| *host == format!("127.0.0.1:{port}") && status.is_none()));
}

/// A server that takes a streamed list for a watch, without a word, is found out by the end that
/// does not come, or by the bookmark of a watch: once, and for all kinds.
#[test]
fn pages_where_streaming_is_ignored() {
    let api = Api::start();
    api.set_streaming(Streaming::Ignored);
    api.put_all(many(20));
    let agent = Agent::start(api.kubeconfig(None), timings());
    agent.converges(&api, "a server that ignores what it does not know");
    assert_eq!(agent.pods().lists(), [("streamed", 0), ("paged", 1)]);
    let other =
        Agent::start(api.kubeconfig(None), WatchTimings { answer_timeout: Duration::from_hours(1), ..timings() });
    other.until("watches that should be lists", || api.open_watches() == 2 * RESOURCES.len());
    api.set_bookmarks(Duration::from_millis(20));
    other.converges(&api, "bookmarks of a watch");
    assert_eq!(other.pods().lists(), [("streamed", 0), ("paged", 1)]);
    assert!(api.seen(|seen| seen.streaming).len() <= 2 * RESOURCES.len());
}

/// Bookmarks carry a quiet kind over a compaction: its watch goes on, and nothing is listed again.
#[test]
fn bookmarks_spare_lists() {
    let api = Api::start();
    api.set_bookmarks(Duration::from_millis(20));
    let agent = Agent::synced(&api);
    for at in 0..20 {
        api.put(pod("default", "busy", &format!("10.1.0.{}", at + 1)));
    }
    agent.converges(&api, "twenty changes");
    let version = api.version();
    // Each kind's last sign is from after the last change: a bookmark, with that version.
    let marked = Instant::now();
    agent.until("bookmarks", || {
        agent.status.watched().iter().all(|watched| watched.lag() < marked.elapsed().as_secs_f64() - 0.05)
    });
    api.compact();
    api.end_watches(None, Ending::InOrder);
    agent.until("new watches", || agent.restarts(Reason::Closed) >= RESOURCES.len() as u64 && api.open_watches() == 6);
    api.put(pod("default", "late", "10.1.1.1"));
    agent.converges(&api, "watches that went on from a bookmark");
    let resumed = api.seen(|seen| seen.version.is_some());
    assert_eq!(resumed.len(), RESOURCES.len());
    assert!(resumed.iter().all(|seen| seen.version == Some(version.to_string())), "{resumed:?}");
    assert_eq!(agent.restarts(Reason::Gone), 0);
}

/// Without bookmarks the same compaction costs the quiet kinds a list: the test above sees
/// something.
#[test]
fn without_bookmarks_the_version_grows_old() {
    let api = Api::start();
    api.set_bookmarks(Duration::from_hours(1));
    let agent = Agent::synced(&api);
    for at in 0..20 {
        api.put(pod("default", "busy", &format!("10.1.0.{}", at + 1)));
    }
    agent.converges(&api, "twenty changes");
    api.compact();
    api.end_watches(Some("Service"), Ending::InOrder);
    agent.until("a new list", || agent.status.watched()[3].lists()[0].1 == 2);
    agent.converges(&api, "a version that is too old");
    assert_eq!(agent.restarts(Reason::Gone), 1);
}

/// Agents that started together must not come back together: the time of each watch is drawn.
#[test]
fn watches_last_differently() {
    let api = Api::start();
    let agents: Vec<_> = (0..5).map(|_| Agent::synced(&api)).collect();
    let times: BTreeSet<u64> = api.seen(|seen| seen.watch).iter().map(|seen| seen.timeout.unwrap()).collect();
    assert!(times.first().unwrap() >= &217 && times.last().unwrap() <= &290, "{times:?}");
    assert!(times.len() >= 5, "thirty draws out of 73: {times:?}");
    drop(agents);
}

/// A watch whose time is over is started again from where it was, without waiting and without a
/// list.
#[test]
fn watches_end_and_go_on() {
    let api = Api::start();
    let agent = Agent::start(api.kubeconfig(None), WatchTimings { max_watch: Duration::from_secs(1), ..timings() });
    agent.until("three watches", || agent.pods().restarts(Reason::Closed) >= 2);
    api.put(pod("default", "late", "10.1.0.1"));
    agent.converges(&api, "watches of a second");
    assert_eq!(agent.pods().lists()[0].1, 1);
    assert_eq!(agent.status.complaint(), "", "that is no trouble");
}

/// A connection that is dead without a word is noticed by the silence of its bookmarks. It is not
/// told from a server that does not know our version, so everything is listed.
#[test]
fn silence_is_noticed() {
    let api = Api::start();
    api.set_bookmarks(Duration::from_hours(1));
    let agent =
        Agent::start(api.kubeconfig(None), WatchTimings { silence_timeout: Duration::from_millis(300), ..timings() });
    agent.until("a new watch", || agent.pods().restarts(Reason::Silent) >= 1);
    api.put(pod("default", "late", "10.1.0.1"));
    agent.converges(&api, "a silent watch");
    agent.until("a new list", || agent.pods().lists()[0].1 >= 2);
    assert_eq!(agent.status.complaint(), "", "that is no trouble");
}

/// The lag of a quiet kind stays small as long as bookmarks come, and grows without them.
#[test]
fn the_lag_is_honest() {
    let api = Api::start();
    api.set_bookmarks(Duration::from_millis(50));
    let agent = Agent::synced(&api);
    let began = Instant::now();
    agent.until("small after a while", || began.elapsed() > Duration::from_millis(600) && agent.pods().lag() < 0.5);
    api.set_bookmarks(Duration::from_hours(1));
    agent.until("growing", || agent.pods().lag() > 0.5);
}

/// The role grants what is watched and nothing else.
#[test]
fn the_role_is_what_is_watched() {
    let text = include_str!("../../../../config/rbac.yaml");
    let documents: Vec<Value> =
        text.split("\n---\n").map(|document| serde_saphyr::from_str(document).unwrap()).collect();
    let kinds: Vec<_> = documents.iter().map(|document| document["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"]);
    let (mut granted, mut granted_names) = (BTreeSet::new(), BTreeSet::new());
    for rule in documents[1]["rules"].as_array().unwrap() {
        let granted = match &rule["verbs"] {
            verbs if *verbs == json!(["get", "list", "watch"]) => &mut granted,
            // Of vendors' kinds, names are all that is read.
            verbs => {
                assert_eq!(*verbs, json!(["list", "watch"]));
                &mut granted_names
            }
        };
        assert_eq!(rule.as_object().unwrap().len(), 3, "groups, resources and verbs: {rule}");
        for group in rule["apiGroups"].as_array().unwrap() {
            for resource in rule["resources"].as_array().unwrap() {
                granted.insert((group.as_str().unwrap().to_owned(), resource.as_str().unwrap().to_owned()));
            }
        }
    }
    let (of_all, of_one): (Vec<_>, Vec<_>) = RESOURCES.iter().partition(|resource| resource.namespace.is_empty());
    let watched = of_all.iter().map(|resource| (resource.group.to_owned(), resource.plural.to_owned()));
    let tiered = Kind::TIERED.map(|kind| (kind.group().to_owned(), kind.plural().to_owned()));
    assert_eq!(granted, watched.chain(tiered).collect());
    let others = OtherKinds::default().with_effect();
    let others = others.iter().map(|kind| (kind.group().to_owned(), kind.plural().to_owned()));
    assert_eq!(granted_names, others.collect());
    let of_one: Vec<_> = of_one
        .iter()
        .map(|resource| {
            let rule =
                json!({"apiGroups": [resource.group], "resources": [resource.plural], "verbs": ["list", "watch"]});
            (json!(resource.namespace), json!([rule]))
        })
        .collect();
    assert_eq!(of_one, [(documents[3]["metadata"]["namespace"].clone(), documents[3]["rules"].clone())]);
    assert_eq!(documents[4]["metadata"]["namespace"], documents[3]["metadata"]["namespace"]);
    let name = |document: &Value| (document["metadata"]["name"].clone(), document["metadata"]["namespace"].clone());
    assert_eq!(documents[2]["roleRef"]["name"], name(&documents[1]).0);
    assert_eq!(documents[4]["roleRef"]["name"], name(&documents[3]).0);
    for binding in [2, 4] {
        let subject = &documents[binding]["subjects"][0];
        assert_eq!((subject["name"].clone(), subject["namespace"].clone()), name(&documents[0]));
    }
}

/// Each event counts once, by its action and whether anything that is used differs.
#[test]
fn events_are_counted() {
    let api = Api::start();
    let agent = Agent::synced(&api);
    let counts = || Action::ALL.map(|action| agent.pods().events(action)).map(|counts| (counts.changed, counts.equal));
    api.put(pod("default", "web", "10.1.0.1"));
    agent.converges(&api, "a new pod");
    api.put(pod("default", "web", "10.1.0.2"));
    api.put(pod("default", "web", "10.1.0.2"));
    agent.until("an update, and one that changes nothing", || counts() == [(1, 0), (1, 1), (0, 0)]);
    api.delete("Pod", "default", "web");
    agent.until("a deletion", || counts() == [(1, 0), (1, 1), (1, 0)]);
    assert!(agent.pods().events(Action::Delete).since_last.is_some());
}
