//! Kinds of policy that a server has or has not: found by discovery, followed while they are there,
//! and never a false verdict meanwhile.

use std::time::Duration;

use serde_json::json;
use webb_cluster::OtherKinds;
use webb_cluster::kubernetes::{RESOURCES, Reason, WatchTimings};
use webb_index::policy::Effect;

use crate::kube_api::agent::{Agent, timings};
use crate::kube_api::crds::{Crd, Documents};
use crate::kube_api::{Api, Ending, Fault, Seen};

const CNP: &str = "ClusterNetworkPolicy.policy.networking.k8s.io";
const CILIUM: &str = "CiliumNetworkPolicy.cilium.io";
const CCNP: &str = "CiliumClusterwideNetworkPolicy.cilium.io";
const CALICO: &str = "GlobalNetworkPolicy.crd.projectcalico.org";

fn cnp() -> Crd {
    Crd::new("policy.networking.k8s.io", "v1alpha2", "ClusterNetworkPolicy", "clusternetworkpolicies")
}

fn cilium() -> Crd {
    Crd::new("cilium.io", "v2", "CiliumNetworkPolicy", "ciliumnetworkpolicies").namespaced()
}

fn put_cnp(api: &Api, name: &str) {
    let subject = json!({"namespaces": {}});
    api.put(cnp().object("", name, &json!({"tier": "Admin", "priority": 1, "subject": subject})));
}

/// Discovery several times a second.
fn eager() -> WatchTimings {
    WatchTimings { discovery_interval: Duration::from_millis(80), ..timings() }
}

fn start(api: &Api) -> Agent {
    Agent::start(api.kubeconfig(None), eager())
}

fn of(id: &'static str) -> impl Fn(&Seen) -> bool {
    move |seen| seen.kind == id
}

impl Agent {
    /// Waits until nothing is open: everything is listed, and no verdict is kept back.
    fn settles(&self, what: &str) {
        self.until(what, || {
            self.status.complete() && self.undecided().is_empty() && self.status.complaint().is_empty()
        });
    }

    fn undecided(&self) -> String {
        self.cache.undecided_because()
    }

    /// Waits until discovery has been asked so many times more.
    fn discovers(&self, api: &Api, times: usize) {
        let before = api.discoveries().len();
        self.until("discovery", || api.discoveries().len() >= before + times);
    }
}

/// A server without such kinds is asked what it has, and for nothing else; unless that changes, the
/// answer is empty.
#[test]
fn absent_kinds_cost_nothing() {
    let api = Api::start();
    let agent = start(&api);
    agent.settles("the first look");
    agent.discovers(&api, 4);
    assert_eq!(api.seen(|_| true).len(), RESOURCES.len());
    let answers = api.discoveries();
    assert_eq!(answers[0], 200);
    assert!(answers[1..].iter().all(|status| *status == 304), "{answers:?}");
}

/// Whatever form discovery has, the kinds are found; what is evaluated comes whole, of a vendor's
/// kind only metadata.
#[test]
fn kinds_are_found() {
    for documents in [Documents::Aggregated, Documents::Beta, Documents::Old] {
        let api = Api::start();
        api.set_documents(documents);
        api.install(&cnp());
        api.install(&cilium());
        put_cnp(&api, "first");
        for name in ["one", "two"] {
            api.put(cilium().object("shop", name, &json!({"ingress": [{}]})));
        }
        let agent = start(&api);
        agent.until("both kinds", || {
            let counts = agent.cache.counts();
            agent.status.complete() && (counts.cluster_network_policies, counts.other_policies) == (1, 2)
        });
        assert!(agent.undecided().contains("CiliumNetworkPolicy (cilium.io) in shop"), "{}", agent.undecided());
        assert!(!agent.undecided().contains("no verdicts"), "{}", agent.undecided());
        assert!(api.seen(of(CNP)).iter().all(|seen| seen.streaming && !seen.metadata), "{documents:?}");
        assert!(api.seen(of(CILIUM)).iter().all(|seen| seen.streaming && seen.metadata), "{documents:?}");
        let labels: Vec<String> = agent.status.found().iter().map(|watched| watched.label().to_owned()).collect();
        assert_eq!(labels, ["ClusterNetworkPolicy", CILIUM]);
        put_cnp(&api, "second");
        api.delete(CILIUM, "shop", "one");
        api.delete(CILIUM, "shop", "two");
        agent.settles("no vendor's policy is left");
        agent.until("the second", || agent.cache.counts().cluster_network_policies == 2);
        agent.converges(&api, &format!("policies of other kinds, {documents:?}"));
    }
}

/// Until it is known which kinds there are, and until each is listed, no verdict is given.
#[test]
fn verdicts_wait_for_the_first_list() {
    let api = Api::start();
    api.install(&cnp());
    api.plan(Some("discovery"), None, Fault::Status(503), usize::MAX);
    let agent = start(&api);
    agent.until("why", || {
        agent.undecided().contains("no verdicts: kinds of policy: not looked for yet: the API server")
    });
    agent.until("names", || agent.status.synced());
    assert!(!agent.status.complete());
    api.recover();
    api.plan(Some(CNP), None, Fault::Status(500), usize::MAX);
    agent.until("why", || agent.undecided().starts_with("no verdicts: ClusterNetworkPolicy: not listed yet: the API"));
    assert!(!agent.undecided().contains("kinds of policy"), "{}", agent.undecided());
    api.recover();
    agent.settles("listed");
}

/// A kind that is made while the agent runs is found when discovery shows it.
#[test]
fn a_kind_appears() {
    let api = Api::start();
    let agent = start(&api);
    agent.settles("the first look");
    api.serve(&cnp());
    put_cnp(&api, "early");
    agent.discovers(&api, 3);
    assert_eq!(api.seen(of(CNP)).len(), 0, "it is not known");
    api.show(&cnp());
    agent.until("found", || agent.cache.counts().cluster_network_policies == 1);
    agent.settles("listed");
    assert_eq!(api.seen(of(CNP)).len(), 1, "one request lists and watches");
}

/// A kind whose schema is changed: watches end in order, and for moments it is not there. Nothing
/// is forgotten.
#[test]
fn a_kind_changes() {
    let api = Api::start();
    api.install(&cnp());
    put_cnp(&api, "kept");
    // Discovery in an hour, unless there is a doubt.
    let agent =
        Agent::start(api.kubeconfig(None), WatchTimings { discovery_interval: Duration::from_hours(1), ..timings() });
    agent.settles("the first look");
    let asked = api.discoveries().len();
    api.plan(Some(CNP), None, Fault::Status(404), 1);
    api.plan(Some(CNP), None, Fault::Throttle(0), 1);
    api.plan(Some(CNP), None, Fault::Status(503), 1);
    api.plan(Some(CNP), None, Fault::Status(404), 1);
    api.end_watches(Some(CNP), Ending::InOrder);
    agent.until("asked again", || {
        assert_eq!(agent.cache.counts().cluster_network_policies, 1);
        assert!(!agent.undecided().contains("not listed"), "{}", agent.undecided());
        agent.status.found()[0].restarts(Reason::Rejected) == 2
    });
    agent.until("discovery at once", || api.discoveries().len() > asked);
    put_cnp(&api, "after");
    agent.until("it goes on", || agent.cache.counts().cluster_network_policies == 2);
    agent.settles("well");
    assert_eq!(agent.status.found()[0].lists()[0].1, 1, "no list was needed");
}

/// Forgotten is what neither a list nor discovery has: not what only one of them has not.
#[test]
fn a_kind_disappears() {
    let api = Api::start();
    api.install(&cnp());
    put_cnp(&api, "kept");
    let agent = start(&api);
    agent.settles("the first look");
    // Another server of the cluster answers, which does not know of it yet.
    api.hide(&cnp());
    agent.discovers(&api, 4);
    assert_eq!(agent.cache.counts().cluster_network_policies, 1, "a list has it");
    api.show(&cnp());
    agent.discovers(&api, 2);
    api.withdraw(&cnp());
    agent.until("missed", || agent.status.found()[0].restarts(Reason::Rejected) >= 3);
    agent.discovers(&api, 4);
    assert_eq!(agent.cache.counts().cluster_network_policies, 1, "discovery has it");
    assert_eq!((agent.undecided(), agent.status.complaint()), (String::new(), String::new()), "no trouble");
    api.hide(&cnp());
    agent.until("forgotten", || agent.cache.counts().cluster_network_policies == 0);
    agent.until("no longer shown", || agent.status.found().is_empty());
    agent.settles("nothing is open");
    let requests = api.seen(of(CNP)).len();
    agent.discovers(&api, 3);
    assert_eq!(api.seen(of(CNP)).len(), requests, "it costs nothing any more");
    // And back again.
    api.install(&cnp());
    agent.until("found again", || agent.cache.counts().cluster_network_policies == 1);
    api.uninstall(&cnp());
    agent.until("deleted one by one", || agent.cache.counts().cluster_network_policies == 0);
    api.hide(&cnp());
    agent.until("no longer shown", || agent.status.found().is_empty());
}

/// 403 is the answer for what is not there as well: only discovery tells whether something is kept
/// from us.
#[test]
fn kinds_that_may_not_be_read() {
    let api = Api::start();
    api.forbid(&["clusternetworkpolicies.policy.networking.k8s.io", "ciliumnetworkpolicies.cilium.io", CNP, CILIUM]);
    let agent = start(&api);
    agent.settles("not there, so nothing is kept from us");
    api.install(&cnp());
    api.install(&cilium());
    agent.until("both are said", || {
        let text = agent.undecided();
        text.contains("no verdicts: ClusterNetworkPolicy: not allowed (does the role grant get, list and watch?)")
            && text.contains("CiliumNetworkPolicy (cilium.io), which cannot be listed, in every namespace")
    });
    agent.until("that is all there is to know", || agent.status.complete());
    assert_eq!(agent.status.complaint(), "", "names are as they should be");
    api.forbid(&[]);
    agent.settles("the role is put right");
    api.forbid(&["ciliumnetworkpolicies.cilium.io"]);
    api.end_watches(Some(CILIUM), Ending::InOrder);
    let kept = "CiliumNetworkPolicy.cilium.io: the API server forbids what it allowed before";
    agent.until("a complaint", || agent.status.complaint().starts_with(kept));
    api.withdraw(&cilium());
    api.hide(&cilium());
    agent.settles("it is gone");
}

/// The kinds of an aggregated server that is down are neither present nor deleted.
#[test]
fn stale_discovery() {
    let api = Api::start();
    api.install(&cilium());
    api.put(cilium().object("shop", "kept", &json!({})));
    let agent = start(&api);
    agent.until("listed", || agent.status.complete() && agent.cache.counts().other_policies == 1);
    api.set_stale(&["cilium.io", "projectcalico.org"]);
    agent.until("what was not known before", || {
        agent.undecided().contains("NetworkPolicy (projectcalico.org), which cannot be listed")
    });
    assert!(!agent.undecided().contains("(cilium.io), which"), "{}", agent.undecided());
    assert_eq!(agent.cache.counts().other_policies, 1, "what was known is kept");
    assert_eq!(api.seen(of(CILIUM)).len(), 1, "and followed");
    api.set_stale(&[]);
    api.delete(CILIUM, "shop", "kept");
    agent.settles("fresh again");
    // Of a kind that would be evaluated, nothing is decided.
    api.set_stale(&["policy.networking.k8s.io"]);
    agent.until("why", || agent.undecided().contains("no verdicts: policy.networking.k8s.io: the API server does not"));
    api.set_stale(&[]);
    agent.settles("fresh again");
}

/// Of a kind of the whole cluster only matters whether there is one that counts: a short list now
/// and then, no watch.
#[test]
fn kinds_of_the_whole_cluster() {
    let api = Api::start();
    let ccnp = Crd::new("cilium.io", "v2", "CiliumClusterwideNetworkPolicy", "ciliumclusterwidenetworkpolicies");
    let calico = Crd::new("crd.projectcalico.org", "v1", "GlobalNetworkPolicy", "globalnetworkpolicies");
    api.install(&ccnp);
    api.install(&calico);
    api.put(calico.object("", "kcnp.kube-admin.copy", &json!({})));
    let agent = start(&api);
    agent.settles("none that counts");
    for name in ["one", "two", "three"] {
        api.put(ccnp.object("", name, &json!({})));
    }
    agent.until("one is enough", || agent.undecided().contains("CiliumClusterwideNetworkPolicy (cilium.io) in every"));
    assert_eq!(agent.cache.counts().other_policies, 1);
    for name in ["one", "two", "three"] {
        api.delete(CCNP, "", name);
    }
    agent.settles("all are deleted");
    api.put(calico.object("", "default.deny", &json!({})));
    agent.until("one that counts", || {
        agent.undecided().contains("GlobalNetworkPolicy (crd.projectcalico.org) in every")
    });
    api.delete(CALICO, "", "default.deny");
    agent.settles("a copy is left");
    let requests = api.seen(|seen| seen.kind == CCNP || seen.kind == CALICO);
    assert!(requests.iter().all(|seen| !seen.watch && seen.metadata));
    assert!(requests.iter().filter(|seen| seen.kind == CCNP).all(|seen| seen.limit == Some(1)));
}

/// A kind that the configuration ignores is not requested.
#[test]
fn ignored_kinds() {
    let api = Api::start();
    api.install(&cilium());
    api.install(&cnp());
    api.put(cilium().object("shop", "one", &json!({})));
    let agent = Agent::start_with(api.kubeconfig(None), eager(), OtherKinds::new(true, &[]));
    agent.settles("the first look");
    agent.discovers(&api, 2);
    assert_eq!((api.seen(of(CILIUM)).len(), api.seen(of(CNP)).len()), (0, 1));
}

/// The best version that is known is read, another as soon as that is served; one of later times is
/// not guessed at.
#[test]
fn versions() {
    let api = Api::start();
    api.install(&cnp());
    put_cnp(&api, "kept");
    let agent = start(&api);
    agent.settles("v1alpha2");
    let [first] = agent.status.found().try_into().unwrap();
    api.install(&Crd { versions: vec!["v1beta1", "v1alpha2"], ..cnp() });
    agent.until("v1beta1", || {
        assert_eq!(agent.cache.counts().cluster_network_policies, 1, "what is known serves");
        api.seen(of(CNP)).len() == 2 && agent.status.complete()
    });
    agent.settles("listed");
    assert!(!std::sync::Arc::ptr_eq(&first, &agent.status.found()[0]), "the other watch is not shown any more");
    api.install(&Crd { versions: vec!["v2"], ..cnp() });
    api.end_watches(Some(CNP), Ending::InOrder);
    let why = "no verdicts: ClusterNetworkPolicy in versions: v2; v1, v1beta1, v1alpha2 are known";
    agent.until("why", || agent.undecided() == why);
    api.install(&cnp());
    agent.settles("a version that is known");
}

/// A kind that is a policy by its name is named; nothing is known of it, so it changes nothing.
#[test]
fn strange_kinds() {
    let api = Api::start();
    let strange = Crd::new("example.com", "v1", "MyNetworkPolicy", "mynetworkpolicies");
    api.install(&strange);
    let agent = start(&api);
    agent.until("named", || agent.undecided().contains("MyNetworkPolicy (example.com) is not known"));
    assert_eq!(api.seen(|seen| seen.kind == strange.id()).len(), 0);
    api.hide(&strange);
    agent.settles("gone");
}

/// A kind of `policy.networking.k8s.io` that is not known may overrule all that are: there are no
/// verdicts, and why is said, unless the configuration says what the kind means, or that none
/// matters.
#[test]
fn strange_kinds_of_the_upstream_group() {
    let api = Api::start();
    let agent = start(&api);
    agent.settles("before it is there");
    let strange = Crd::new("policy.networking.k8s.io", "v1", "TenantNetworkRule", "tenantnetworkrules");
    api.install(&strange);
    let named =
        "no verdicts: TenantNetworkRule (policy.networking.k8s.io) is not known; `policies.more_kinds` can define it";
    agent.until("named", || agent.undecided().starts_with(named));
    let count = ("policy.networking.k8s.io".to_owned(), "TenantNetworkRule".to_owned(), "unknown", 1);
    assert_eq!(agent.cache.other_counts(), [count]);
    for others in [
        OtherKinds::new(true, &[]),
        OtherKinds::new(false, &[("policy.networking.k8s.io".into(), "tenantnetworkrules".into(), Effect::NONE)]),
    ] {
        let knowing = Agent::start_with(api.kubeconfig(None), eager(), others);
        knowing.discovers(&api, 2);
        knowing.settles("told what it means");
    }
    api.hide(&strange);
    agent.settles("gone");
}

/// Undecided verdicts do not stay so when the agent reads names from elsewhere.
#[test]
fn the_end_leaves_nothing_open() {
    let api = Api::start();
    api.install(&cnp());
    api.forbid(&["clusternetworkpolicies.policy.networking.k8s.io"]);
    let strange = Crd::new("example.com", "v1", "MyNetworkPolicy", "mynetworkpolicies");
    api.install(&strange);
    let agent = start(&api);
    agent.until("open", || agent.undecided().contains("not allowed"));
    let cache = std::sync::Arc::clone(&agent.cache);
    drop(agent);
    assert_eq!(cache.undecided_because(), "");
}
