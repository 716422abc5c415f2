//! Faults between an API server and its clients, one test each: the cache converges to the truth,
//! and nothing panics. Each test prints how long that took.

use std::time::Duration;

use serde_json::{Value, json};
use webb_cluster::Kind;
use webb_cluster::kubernetes::{Action, RESOURCES, Reason, WatchTimings};

use crate::kube_api::agent::{Agent, timings};
use crate::kube_api::store::pod;
use crate::kube_api::{Api, Ending, Fault, Handshake, Streaming};

const KINDS: u64 = Kind::CORE.len() as u64;

fn some(count: usize) -> impl Iterator<Item = Value> {
    (0..count).map(|at| {
        pod(
            "default",
            &format!("web-{at:05}"),
            &format!("10.{}.{}.{}", 100 + at / 40_000, at / 200 % 200, at % 200 + 1),
        )
    })
}

/// A server with some pods, and an agent that knows them.
fn running() -> (Api, Agent) {
    let api = Api::start();
    api.put_all(some(20));
    let agent = Agent::synced(&api);
    (api, agent)
}

/// Something changes without an event: a pod is gone, another has a new address, a third is new.
fn change_unheard(api: &Api) {
    api.delete("Pod", "default", "web-00000");
    api.put(pod("default", "web-00001", "10.99.0.1"));
    api.put(pod("default", "new", "10.99.0.2"));
}

/// In order or not: the watch goes on from the last version, and lists nothing.
#[test]
fn watch_closed() {
    let (api, agent) = running();
    for (ending, reason) in [(Ending::InOrder, Reason::Closed), (Ending::Abrupt, Reason::Interrupted)] {
        api.end_watches(None, ending);
        change_unheard(&api);
        agent.converges(&api, &format!("watch closed: {ending:?}"));
        agent.until("counted", || agent.restarts(reason) >= KINDS);
        agent.until("all watches again", || api.open_watches() == RESOURCES.len());
        api.put(pod("default", "web-00000", "10.100.0.1"));
        agent.converges(&api, "and the next change");
    }
    agent.until("no complaint", || agent.status.complaint().is_empty());
    assert_eq!(agent.pods().lists(), [("streamed", 1), ("paged", 0)]);
}

/// As an event in a running watch, and as the answer to the next one.
#[test]
fn gone_410() {
    let (api, agent) = running();
    api.end_watches(None, Ending::Error(410));
    change_unheard(&api);
    agent.converges(&api, "410 Gone as an event");
    assert_eq!(agent.pods().restarts(Reason::Gone), 1);
    assert_eq!(agent.pods().lists()[0].1, 2);
    // What is too old depends on the version that the agent has: the answer's form is tried for
    // both.
    for round in 0..2 {
        api.set_bookmarks(Duration::from_hours(1));
        api.plan(Some("Pod"), None, Fault::Status(503), 3);
        api.end_watches(Some("Pod"), Ending::InOrder);
        api.put(pod("default", &format!("round-{round}"), &format!("10.98.0.{}", round + 1)));
        api.put(pod("default", "web-00002", &format!("10.98.1.{}", round + 1)));
        api.delete("Pod", "default", "web-00002");
        api.put(pod("default", "web-00002", &format!("10.98.2.{}", round + 1)));
        api.compact();
        agent.converges(&api, "410 Gone after an outage");
    }
    assert!(agent.pods().restarts(Reason::Gone) >= 2, "{}", agent.pods().restarts(Reason::Gone));
}

/// A server that asks for patience gets it: no request comes before its time.
#[test]
fn throttled_429() {
    let (api, agent) = running();
    api.plan(None, None, Fault::Throttle(1), RESOURCES.len());
    api.end_watches(None, Ending::InOrder);
    change_unheard(&api);
    agent.until("throttled", || agent.restarts(Reason::Throttled) >= KINDS);
    agent.converges(&api, "429 with Retry-After: 1");
    let requests = api.seen(|seen| seen.kind == "Pod");
    let throttled = requests.iter().position(|seen| seen.status == 429).unwrap();
    let waited = requests[throttled + 1].at - requests[throttled].at;
    assert!(waited >= Duration::from_secs(1), "came back after {waited:?}");
    assert_eq!(agent.pods().lists()[0].1, 1, "patience is not the time for a list");
}

/// Errors of the server: before a watch, within one, and so many that the last version is no longer
/// trusted.
#[test]
fn server_errors_5xx() {
    let (api, agent) = running();
    api.end_watches(None, Ending::Error(500));
    change_unheard(&api);
    agent.converges(&api, "500 as an event");
    for status in [500, 502, 503, 504] {
        for resource in &RESOURCES {
            api.plan(Some(resource.kind.name()), None, Fault::Status(status), 2);
        }
        api.end_watches(None, Ending::InOrder);
        api.put(pod("default", "web-00003", &format!("10.97.1.{}", status - 499)));
        agent.converges(&api, &format!("{status}, twice for each kind"));
        api.recover();
    }
    assert_eq!(agent.pods().lists()[0].1, 1);
    api.plan(Some("Pod"), Some(true), Fault::Status(500), 4);
    api.end_watches(Some("Pod"), Ending::InOrder);
    api.put(pod("default", "web-00004", "10.97.2.1"));
    agent.converges(&api, "500 for every way of watching, four times");
    agent.until("the plainest way is taken in the end", || agent.pods().lists() == [("streamed", 1), ("paged", 1)]);
}

/// No server listens: the last state serves, the complaint says since when, and everything goes on
/// afterwards.
#[test]
fn connections_refused() {
    let (api, agent) = running();
    api.set_handshake(Handshake::Broken);
    api.end_watches(None, Ending::Abrupt);
    change_unheard(&api);
    agent.until("a complaint", || agent.status.complaint().contains("cannot reach the API server"));
    assert_eq!(agent.who("10.100.0.1"), "default/web-00000", "the last state serves");
    agent.until("since when", || {
        agent.status.complaint().ends_with(" s)") && !agent.status.complaint().ends_with("(for 0 s)")
    });
    api.set_handshake(Handshake::Good);
    agent.converges(&api, "an API server that was away");
    agent.until("no complaint", || agent.status.complaint().is_empty());
    assert_eq!(agent.pods().lists()[0].1, 1, "a server that comes back is not asked for lists");
}

/// A certificate of a stranger is not talked to, and a broken handshake is no answer.
#[test]
fn tls_errors() {
    let api = Api::start_tls();
    api.put_all(some(20));
    api.set_handshake(Handshake::Stranger);
    let agent = Agent::start(api.kubeconfig(None), timings());
    agent.until("a complaint", || agent.status.complaint().contains("certificate"));
    println!("complaint: {}", agent.status.complaint());
    assert_eq!(api.seen(|_| true).len(), 0, "nothing was said to a stranger");
    api.set_handshake(Handshake::Good);
    agent.converges(&api, "a stranger's certificate");
    for handshake in [Handshake::Broken, Handshake::Stranger] {
        api.set_handshake(handshake);
        let before = agent.restarts(Reason::Unreachable);
        api.end_watches(None, Ending::Abrupt);
        api.put(pod("default", "web-00001", if handshake == Handshake::Broken { "10.99.1.1" } else { "10.99.1.2" }));
        agent.until("it is counted", || agent.restarts(Reason::Unreachable) >= before + KINDS);
        api.set_handshake(Handshake::Good);
        agent.converges(&api, &format!("a handshake that is {handshake:?}"));
    }
}

/// The token file is read again when the server says that the token is no longer good.
#[test]
fn token_expired() {
    let api = Api::start();
    api.put_all(some(20));
    api.set_tokens(&["first"]);
    let agent = Agent::start(api.kubeconfig(Some("first")), timings());
    agent.converges(&api, "the first list, with a token");
    api.set_tokens(&["second"]);
    api.end_watches(None, Ending::InOrder);
    change_unheard(&api);
    agent.until("a complaint", || agent.status.complaint().contains("does not accept the credentials"));
    assert_eq!(agent.who("10.100.0.1"), "default/web-00000", "the last state serves");
    api.write_token("second");
    agent.converges(&api, "a new token in the file");
    agent.until("no complaint", || agent.status.complaint().is_empty());
    assert_eq!(agent.pods().lists()[0].1, 1);
}

/// Half an object, half a page, a line and a page that are no JSON at all.
#[test]
fn half_sent_objects() {
    let (api, agent) = running();
    for ending in [Ending::HalfObject, Ending::Garbage] {
        agent.until("a watch of each kind is there to be ended", || api.open_watches() as u64 >= KINDS);
        api.end_watches(None, ending);
        change_unheard(&api);
        agent.converges(&api, &format!("{ending:?} in a watch"));
        api.put(pod("default", "web-00000", "10.100.0.1"));
        agent.converges(&api, "and the next change");
    }
    for reason in [Reason::Interrupted, Reason::Malformed] {
        agent.until("every watch has begun anew", || agent.restarts(reason) >= KINDS);
    }
    api.set_streaming(Streaming::Refused);
    let agent = Agent::start(api.kubeconfig(None), timings());
    api.plan(Some("Pod"), Some(false), Fault::Half, 1);
    api.plan(Some("Pod"), Some(false), Fault::Garbage, 1);
    agent.converges(&api, "half a page, then a page that is no JSON");
    assert!(agent.pods().restarts(Reason::Interrupted) >= 1 && agent.pods().restarts(Reason::Malformed) >= 1);
}

/// A success that is no list is not an empty one: it takes no name away.
#[test]
fn another_object_than_a_list() {
    let api = Api::start();
    api.set_streaming(Streaming::Refused);
    api.put_all(some(4));
    let agent = Agent::start(api.kubeconfig(None), timings());
    api.plan(Some("Pod"), Some(false), Fault::AnotherObject, 1);
    agent.converges(&api, "a Status, then the list");
    assert_eq!((agent.pods().restarts(Reason::Malformed), agent.pods().lists()[1].1), (1, 1));
}

/// A list of another kind puts nothing into the cache, and its reason names both kinds.
#[test]
fn another_list() {
    let api = Api::start();
    api.set_streaming(Streaming::Refused);
    api.put_all(some(4));
    api.plan(Some("Pod"), Some(false), Fault::AnotherList, usize::MAX);
    let agent = Agent::start(api.kubeconfig(None), timings());
    let expected = r#"a list of pods is of the kind "ServiceList", expected PodList"#;
    agent.until("it is said", || agent.status.complaint().contains(expected));
    assert_eq!((agent.cache.counts().pods, agent.pods().events(Action::Create).changed), (0, 0));
    api.recover();
    agent.converges(&api, "the list");
}

/// A page that leads to itself ends the list, and the next one comes after a wait.
#[test]
fn a_list_without_an_end() {
    let api = Api::start();
    api.set_streaming(Streaming::Refused);
    api.put_all(some(4));
    api.plan(Some("Pod"), Some(false), Fault::SameToken, 2);
    let agent = Agent::start(api.kubeconfig(None), timings());
    agent.converges(&api, "a page, the same page, then the list");
    let lists = api.seen(|seen| seen.kind == "Pod" && !seen.watch);
    assert_eq!((lists.len(), agent.pods().restarts(Reason::Malformed)), (3, 1));
}

/// A part that is missing or of the wrong type is passed over; an object of which nothing can be
/// used costs itself only. Both in a watch and in both forms of list; when it is put right it is
/// there, and while it is wrong what was known of it stays.
#[test]
fn wrong_fields() {
    let (api, agent) = running();
    let with = |name: &str, path: &str, value: Value| {
        let mut object = pod("default", name, "10.99.0.1");
        *object.pointer_mut(path).unwrap() = value;
        object
    };
    let parts = [
        with("ip", "/status/podIP", json!("10.0.0.256")),
        with("port", "/spec/containers/0/ports/0/containerPort", json!(70_000)),
        with("label", "/metadata/labels", json!({"good": "yes", "bad": null})),
        with("ips", "/status/podIPs", json!({})),
        with("labels", "/metadata/labels", json!([1, 2])),
        with("spec", "/spec", json!("none")),
        with("time", "/metadata/creationTimestamp", json!("yesterday")),
        with("owner", "/metadata/ownerReferences", json!([{"controller": "yes"}])),
    ];
    let nothing_good = json!(vec![7; 1001]);
    let bad = [with("many", "/status/podIPs", nothing_good.clone())];
    let (passed_over, count) = (parts.len() as u64, bad.len() as u64);
    api.put_all(parts.clone());
    api.put_all(bad.clone());
    let slice = json!([{"addresses": null}, null, {"addresses": ["10.99.0.2"]}]);
    let labels = json!({"kubernetes.io/service-name": "kubernetes"});
    let metadata = json!({"name": "no-type", "namespace": "default", "labels": labels});
    api.put(json!({"kind": "EndpointSlice", "metadata": metadata, "endpoints": slice}));
    api.put(pod("default", "after", "10.99.0.2"));
    agent.until("the object after them", || agent.who("10.99.0.2") == "default/after");
    assert_eq!((agent.pods().invalid(), agent.pods().unreadable()), (count, passed_over));
    agent.until("the slice", || agent.status.watched()[4].unreadable() == 1);
    assert_eq!(agent.status.watched()[4].invalid(), 0);
    assert_eq!(agent.restarts(Reason::Malformed), 0, "the watches went on");
    for streaming in [Streaming::Offered, Streaming::Refused] {
        api.set_streaming(streaming);
        let other = Agent::start(api.kubeconfig(None), timings());
        other.until("listed", || other.status.synced());
        assert_eq!(
            (other.pods().invalid(), other.pods().unreadable()),
            (count, passed_over),
            "streaming: {streaming:?}"
        );
        assert_eq!(other.cache.counts().pods, 29);
    }
    // A pod that was good stays as it was while it is wrong.
    api.put(with("after", "/status/podIPs", nothing_good));
    agent.until("counted", || agent.pods().invalid() == count + 1);
    assert_eq!(agent.who("10.99.0.2"), "default/after");
    for object in parts.iter().chain(&bad) {
        let name = object["metadata"]["name"].as_str().unwrap();
        api.delete("Pod", "default", name);
    }
    api.delete("EndpointSlice", "default", "no-type");
    api.put(pod("default", "after", "10.99.0.3"));
    agent.converges(&api, "objects with wrong fields, put right");
}

/// Two pods that say they have one address: the newer one has it, and the other gets it back.
#[test]
fn duplicate_addresses() {
    let (api, agent) = running();
    let mut newer = pod("default", "newer", "10.100.0.1");
    newer["metadata"]["creationTimestamp"] = json!("2026-01-02T15:04:06Z");
    api.put(newer);
    agent.until("the newer pod", || agent.who("10.100.0.1") == "default/newer");
    api.delete("Pod", "default", "newer");
    agent.until("the older one again", || agent.who("10.100.0.1") == "default/web-00000");
    let mut finished = pod("default", "newest", "10.100.0.1");
    finished["metadata"]["creationTimestamp"] = json!("2026-01-02T15:04:07Z");
    api.put(finished.clone());
    agent.until("the newest pod", || agent.who("10.100.0.1") == "default/newest");
    finished["status"]["phase"] = json!("Succeeded");
    api.put(finished);
    agent.converges_on("a pod that has finished", || agent.who("10.100.0.1") == "default/web-00000");
}

/// Ten thousand pods at once, then all of them changed, then gone.
#[test]
fn burst_of_10000() {
    let (api, agent) = running();
    api.put_all(some(10_000));
    agent.converges(&api, "10,000 pods in one burst");
    let changed = some(10_000).map(|mut pod| {
        pod["metadata"]["labels"]["changed"] = json!("yes");
        pod
    });
    // The cache is compared by addresses: a last pod tells that everything before it has come.
    api.put_all(changed.chain([pod("default", "last", "10.99.0.1")]));
    agent.converges(&api, "10,000 changed pods in one burst");
    let names: Vec<_> = (0..10_000).map(|at| format!("web-{at:05}")).collect();
    for name in &names {
        api.delete("Pod", "default", name);
    }
    agent.converges(&api, "10,000 deleted pods");
    assert_eq!(agent.pods().lists()[0].1, 1);
}

/// Thirty seconds, scaled down with the agent's own patience: late but within it, and beyond it.
#[test]
fn slow_answers() {
    let api = Api::start();
    api.put_all(some(20));
    let patient = WatchTimings { answer_timeout: Duration::from_secs(1), ..timings() };
    // Watches alone: discovery, which may come at any time, must not take one of them.
    api.plan(None, Some(true), Fault::Late(Duration::from_millis(500)), RESOURCES.len());
    let agent = Agent::start(api.kubeconfig(None), patient.clone());
    agent.converges(&api, "answers after half of the time-out");
    assert_eq!(agent.restarts(Reason::Timeout), 0);
    api.plan(None, Some(true), Fault::Late(Duration::from_millis(1500)), RESOURCES.len());
    api.end_watches(None, Ending::InOrder);
    change_unheard(&api);
    agent.converges(&api, "answers after one and a half times the time-out");
    agent.until("it is counted", || agent.restarts(Reason::Timeout) >= KINDS);
    agent.until("no complaint", || agent.status.complaint().is_empty());
}

/// Objects that went while no watch was connected go with the next list, and with the watch that
/// goes on.
#[test]
fn deleted_while_disconnected() {
    for (compact, what) in [(false, "deletions in the history"), (true, "deletions that no event reports any more")] {
        let (api, agent) = running();
        api.set_handshake(Handshake::Broken);
        api.end_watches(None, Ending::Abrupt);
        agent.until("disconnected", || api.open_watches() == 0);
        for at in 0..10 {
            api.delete("Pod", "default", &format!("web-{at:05}"));
        }
        api.delete("Service", "default", "web");
        api.delete("NetworkPolicy", "default", "deny");
        api.put(pod("default", "another", "10.100.0.1"));
        if compact {
            api.compact();
        }
        assert_eq!(agent.cache.counts().pods, 20, "the last state serves");
        api.set_handshake(Handshake::Good);
        agent.converges(&api, what);
        assert_eq!(agent.pods().restarts(Reason::Gone), u64::from(compact));
    }
}

/// A role without NetworkPolicies: the rest is known, and the complaint says what is missing.
#[test]
fn forbidden_403() {
    let api = Api::start();
    api.put_all(some(20));
    api.forbid(&["NetworkPolicy"]);
    let agent = Agent::start(api.kubeconfig(None), timings());
    agent.until("the pods", || agent.cache.counts().pods == 20 && agent.cache.counts().services == 1);
    agent.until("a complaint", || {
        let complaint = agent.status.complaint();
        complaint.starts_with("NetworkPolicy: not listed yet: not allowed")
    });
    api.forbid(&[]);
    agent.converges(&api, "a role that is put right");
}

/// Nothing is computed from the time of day: with every object and the server's own time in another
/// century, all of the above would be the same. (Waits and lags use the monotonic clock; the source
/// has no other.)
#[test]
fn clock_jumps() {
    let (api, agent) = running();
    for (at, time) in ["1970-01-01T00:00:00Z", "2262-04-12T00:00:00Z", "2026-01-01T00:00:00Z"].into_iter().enumerate() {
        let mut object = pod("default", "jumper", &format!("10.99.0.{}", at + 1));
        object["metadata"]["creationTimestamp"] = json!(time);
        api.put(object);
        api.end_watches(None, if at == 1 { Ending::Error(410) } else { Ending::Abrupt });
        agent.converges(&api, &format!("a pod made at {time}"));
    }
    // But for two things: the end of a plugin's credentials is a time of day, which becomes a span
    // of time at once; and the times in a Lease are written, and never read.
    let directories = ["/src/kubernetes", "/src/kubernetes/protobuf"];
    let files = directories.into_iter().flat_map(|directory| {
        std::fs::read_dir(format!("{}{directory}", env!("CARGO_MANIFEST_DIR")))
            .unwrap()
            .map(|entry| entry.unwrap().path())
    });
    for path in files.filter(|path| path.is_file()) {
        let source = std::fs::read_to_string(&path).unwrap();
        let asks = source.contains("SystemTime") || source.contains("Timestamp::now");
        assert!(
            !asks || path.ends_with("login.rs") || path.ends_with("lease.rs"),
            "{} asks for the time of day",
            path.display()
        );
    }
}

/// A client certificate that the server does not take, and then one that it does, in the same
/// files.
#[test]
fn client_certificates() {
    let api = Api::start_mutual();
    api.put_all(some(5));
    api.write_client(false);
    let agent = Agent::start(api.kubeconfig(None), timings());
    agent.until("refused", || agent.restarts(Reason::Unreachable) >= KINDS);
    println!("complaint: {}", agent.status.complaint());
    api.write_client(true);
    agent.converges(&api, "a client certificate that was renewed");
}

/// An unsupported option is reported, not ignored.
#[test]
fn kubeconfigs_that_ask_for_too_much() {
    let api = Api::start();
    let plain = std::fs::read_to_string(api.kubeconfig(None)).unwrap();
    for (from, to, why) in [
        ("user: {}", "user: {auth-provider: {name: gcp, config: {}}}", "use a token, a client certificate or an exec"),
        ("user: {}", "user: {exec: {command: /no/such/plugin}}", "cannot be run"),
        ("user: {}", "user: {exec: {command: 'false'}}", "failed (exit status: 1)"),
        ("user: {}", "user: {exec: {command: 'true'}}", "did not print an ExecCredential"),
        ("user: {}", "user: {client-certificate-data: '?', client-key-data: '?'}", "base64"),
        ("user: {}", "user: {client-certificate: /no/such/file}", "No such file"),
        ("user: {}", "user: {tokenFile: nowhere}", "cannot read the token file"),
        ("user: {}", "user: {token: \"a\\nb\"}", "characters that an HTTP header must not have"),
        ("cluster: {server", "cluster: {proxy-url: 'ftp://p', server", "not http, https or socks5"),
        ("current-context: it", "current-context: other", "other"),
    ] {
        let path = api.scratch().join("too-much");
        std::fs::write(&path, plain.replace(from, to)).unwrap();
        let agent = Agent::start(path, timings());
        agent.until(why, || agent.status.complaint().contains(why));
    }
}

/// A kubeconfig that is not there yet, then wrong, then right.
#[test]
fn kubeconfig_comes_late() {
    let api = Api::start();
    let good = std::fs::read_to_string(api.kubeconfig(None)).unwrap();
    let path = api.scratch().join("late");
    let agent = Agent::start(path.clone(), timings());
    agent.until("a complaint", || agent.status.complaint().contains("cannot be used"));
    std::fs::write(&path, "clusters: 7").unwrap();
    agent.until("tried again", || agent.restarts(Reason::Unconfigured) >= 4 * KINDS);
    std::fs::write(&path, good).unwrap();
    agent.converges(&api, "a kubeconfig that came late");
}
