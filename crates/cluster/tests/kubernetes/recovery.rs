//! Recovery of the watches after an API server was away, was restarted, or returned with an older
//! store: soon, and to the truth.

use std::time::Duration;

use webb_cluster::Kind;
use webb_cluster::kubernetes::{RESOURCES, Reason, WatchTimings, Watched};

use crate::kube_api::agent::{Agent, timings};
use crate::kube_api::store::pod;
use crate::kube_api::{Api, Ending, Fault, Handshake, Streaming};

const KINDS: u64 = Kind::CORE.len() as u64;

/// Once the server was away, the next attempt comes after hours: a watch that is back sooner did
/// not wait for that.
fn for_hours() -> WatchTimings {
    WatchTimings { backoff_min: Duration::from_hours(9), backoff_max: Duration::from_hours(9), ..timings() }
}

fn filled(api: &Api) {
    api.put_all((0..20).map(|at| pod("default", &format!("web-{at:02}"), &format!("10.100.0.{}", at + 1))));
}

/// Something changes without an event.
fn change_unheard(api: &Api) {
    api.delete("Pod", "default", "web-00");
    api.put(pod("default", "new", "10.99.0.2"));
}

/// Cuts every kind's watch but that of the pods, and waits until all of them have found no server
/// there.
fn cut_all_but_pods(api: &Api, agent: &Agent) {
    api.set_handshake(Handshake::Broken);
    for resource in &RESOURCES[1..] {
        let before = agent.restarts(Reason::Interrupted);
        // An ending is for watches that were there when it came: one at a time.
        agent.until("its watch", || api.open_watches() > 1);
        api.end_watches(Some(resource.kind.name()), Ending::Abrupt);
        agent.until("cut", || agent.restarts(Reason::Interrupted) > before);
    }
}

/// The first answer to any kind ends the waiting of all: none waits as long as the outage has
/// taught it to.
#[test]
fn one_answer_is_enough_for_all() {
    let api = Api::start();
    filled(&api);
    let patient =
        WatchTimings { backoff_min: Duration::from_millis(1), backoff_max: Duration::from_hours(9), ..timings() };
    let agent = Agent::start(api.kubeconfig(None), patient);
    agent.converges(&api, "the first list");
    cut_all_but_pods(&api, &agent);
    // By now a wait is an hour at most, or more: 1 ms doubled 22 times.
    agent.until("waits that are long", || agent.restarts(Reason::Unreachable) >= 12 * (KINDS - 1));
    change_unheard(&api);
    api.set_handshake(Handshake::Good);
    api.end_watches(Some("Pod"), Ending::InOrder);
    agent.converges(&api, "an outage that was over for one kind");
    agent.until("no complaint", || agent.status.complaint().is_empty());
}

/// A restarted server has forgotten the past and first forbids everything. Neither is answered with
/// the patience that was for a server out of reach, and the role is not blamed.
#[test]
fn a_restart_is_soon_over() {
    let api = Api::start_tls();
    filled(&api);
    let agent =
        Agent::start(api.kubeconfig(None), WatchTimings { relist_backoff: Duration::from_millis(40), ..timings() });
    agent.converges(&api, "the first list");
    api.go_away();
    agent.until("out of reach", || agent.restarts(Reason::Unreachable) >= 5 * KINDS);
    change_unheard(&api);
    api.come_back(Duration::from_millis(200));
    let mut complaints = Vec::new();
    let lists = |watched: &Watched| watched.lists().iter().map(|(_, count)| count).sum::<u64>();
    agent.until("well again", || {
        complaints.push(agent.status.complaint());
        agent.status.watched().iter().all(|watched| lists(watched) == 2) && agent.status.complaint().is_empty()
    });
    agent.converges(&api, "a restart");
    assert!(agent.restarts(Reason::Forbidden) >= 1 && agent.restarts(Reason::Gone) >= 1);
    assert!(complaints.iter().all(|complaint| !complaint.contains("role grant")), "{complaints:?}");
    assert!(agent.status.watched().iter().all(|watched| lists(watched) == 2), "one list is enough");
}

/// 410 and 403 of a well server are answered soon, also where an outage would be met with hours of
/// patience.
#[test]
fn a_well_server_is_answered_soon() {
    let api = Api::start();
    filled(&api);
    let agent = Agent::start(api.kubeconfig(None), for_hours());
    agent.converges(&api, "the first list");
    api.end_watches(None, Ending::Error(410));
    change_unheard(&api);
    agent.converges(&api, "410 Gone");
    agent.until("listed", || agent.status.watched().iter().all(|watched| watched.lists()[0].1 == 2));
    api.plan(None, None, Fault::Status(403), RESOURCES.len());
    api.end_watches(None, Ending::Error(403));
    api.put(pod("default", "late", "10.99.0.3"));
    agent.converges(&api, "403 Forbidden");
    assert!(agent.restarts(Reason::Forbidden) >= KINDS);
    assert_eq!(agent.pods().lists()[0].1, 2, "nothing was missed: nothing is listed");
}

/// A store that was restored from a backup does not know our versions, and says nothing: the
/// silence is noticed, and a list tells what there is.
#[test]
fn a_store_that_was_restored() {
    let api = Api::start();
    filled(&api);
    api.set_bookmarks(Duration::from_millis(20));
    let agent =
        Agent::start(api.kubeconfig(None), WatchTimings { silence_timeout: Duration::from_millis(600), ..timings() });
    agent.converges(&api, "the first list");
    api.rewind(5);
    agent.converges(&api, "a server whose history was set back");
    assert!(agent.pods().restarts(Reason::Silent) >= 1);
    api.put(pod("default", "late", "10.99.9.9"));
    agent.converges(&api, "and the next change");
    let lists = agent.pods().lists()[0].1;
    agent.until("bookmarks again", || agent.pods().lag() < 0.1);
    assert_eq!(agent.pods().lists()[0].1, lists, "a watch with bookmarks is not silent");
}

/// A version below that of before is another store's: everything is listed, whatever the watch
/// would have said next.
#[test]
fn a_version_that_goes_back() {
    let api = Api::start();
    filled(&api);
    let agent = Agent::synced(&api);
    api.end_watches(None, Ending::OlderBookmark);
    change_unheard(&api);
    agent.converges(&api, "a bookmark of an older store");
    agent.until("counted", || agent.restarts(Reason::Rewound) == KINDS);
    agent.until("listed", || agent.status.watched().iter().all(|watched| watched.lists()[0].1 == 2));
    assert_eq!(agent.status.complaint(), "");
}

/// One server of several was older, or one answer was wrong: streamed lists are asked for again
/// after a while.
#[test]
fn pages_are_not_for_ever() {
    let api = Api::start();
    filled(&api);
    api.set_streaming(Streaming::Refused);
    let agent = Agent::start(api.kubeconfig(None), WatchTimings { paged_period: Duration::ZERO, ..timings() });
    agent.converges(&api, "lists in pages");
    agent.until("watches after them", || api.open_watches() == RESOURCES.len());
    api.set_streaming(Streaming::Offered);
    api.end_watches(None, Ending::Error(410));
    change_unheard(&api);
    agent.converges(&api, "streamed lists again");
    agent.until("listed", || {
        agent.status.watched().iter().all(|watched| watched.lists() == [("streamed", 1), ("paged", 1)])
    });
}
