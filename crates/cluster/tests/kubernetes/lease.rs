//! The election against a server: what is written, and what odd Leases lead to. The state machine
//! has tests of its own, and whole processes are tested with the program.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::oneshot;
use webb_cluster::kubernetes::{Access, Candidate, elect};
use webb_cluster::lease::{ElectionTimings, Leadership, Outcome};
use webb_cluster::view::{KINDS, ViewedKind};

use crate::kube_api::leases::{KIND, lease};
use crate::kube_api::{Api, Fault};

/// A sign that does not come within this will not come.
const STUCK: Duration = Duration::from_mins(1);

struct Replica {
    leadership: Arc<Leadership>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Replica {
    fn start(kubeconfig: PathBuf, identity: &str, timings: ElectionTimings) -> Self {
        let candidate = Candidate {
            namespace: "kube-system".to_owned(),
            name: "webb-operator".to_owned(),
            identity: identity.to_owned(),
            timings,
        };
        let leadership = Arc::new(Leadership::default());
        let (stop, stopped) = oneshot::channel::<()>();
        let of_thread = Arc::clone(&leadership);
        #[allow(clippy::disallowed_methods, reason = "a test's thread is no component")]
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let stopped = async { drop(stopped.await) };
            runtime.block_on(elect(&Access::Kubeconfig(kubeconfig), &candidate, &of_thread, stopped));
        });
        Self { leadership, stop: Some(stop), thread: Some(thread) }
    }

    fn until(&self, what: &str, is: impl Fn(&Leadership) -> bool) {
        let began = Instant::now();
        while !is(&self.leadership) {
            assert!(began.elapsed() < STUCK, "never came true: {what}: {:?}", self.leadership);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn leads(&self) {
        self.until("it leads", Leadership::is_leading);
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _gone = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            assert!(thread.join().is_ok() || std::thread::panicking(), "the replica has panicked");
        }
    }
}

/// Short, but long enough for a loaded machine to renew in time.
fn timings() -> ElectionTimings {
    ElectionTimings { lease: Duration::from_secs(6), renew: Duration::from_secs(5), retry: Duration::from_millis(200) }
}

fn released() -> serde_json::Value {
    json!({"holderIdentity": "", "leaseDurationSeconds": 1, "leaseTransitions": 3, "strategy": "other"})
}

/// A Lease that was given up is taken at once; the record counts the change, and the fields of
/// others stay. A replica that is stopped gives it up again, and the next one takes it.
#[test]
fn a_lease_goes_from_one_to_the_next() {
    let api = Api::start();
    api.put(lease("kube-system", "webb-operator", &released()));
    // No replica of this test can have it by waiting.
    let long = ElectionTimings { lease: Duration::from_mins(5), renew: Duration::from_mins(4), ..timings() };
    let first = Replica::start(api.kubeconfig(None), "first", long);
    first.leads();
    let record = api.lease("kube-system", "webb-operator");
    assert_eq!(record["holderIdentity"], "first");
    assert_eq!((&record["leaseTransitions"], &record["leaseDurationSeconds"]), (&json!(4), &json!(300)));
    assert_eq!(record["strategy"], "other");
    let second = Replica::start(api.kubeconfig(None), "second", long);
    second.until("it sees the first", |leadership| leadership.holder() == "first");
    assert!(!second.leadership.is_leading());
    drop(first);
    second.leads();
    let record = api.lease("kube-system", "webb-operator");
    assert_eq!((&record["holderIdentity"], &record["leaseTransitions"]), (&json!("second"), &json!(5)));
    assert!(
        api.lease_history().iter().any(|record| record["holderIdentity"] == "" && record["acquireTime"].is_string())
    );
}

/// Without a Lease one is created, and a deleted one again: its creator leads only after its
/// duration. Fields that are missing and times of another century change nothing.
#[test]
fn leases_that_are_not_there() {
    let api = Api::start();
    let replica = Replica::start(api.kubeconfig(None), "only", timings());
    replica.until("it has created the Lease", |leadership| leadership.requests(Outcome::Written) > 0);
    assert_eq!(api.lease("kube-system", "webb-operator")["leaseTransitions"], 0);
    replica.leads();
    api.delete(KIND, "kube-system", "webb-operator");
    replica.until("it does not lead without a Lease", |leadership| !leadership.is_leading());
    replica.leads();
    // By hand: another holder, who will never renew.
    let odd = json!({"holderIdentity": "other", "renewTime": "2199-01-01T00:00:00.000000Z"});
    api.put(lease("kube-system", "webb-operator", &odd));
    replica.until("it does not lead beside another", |leadership| !leadership.is_leading());
    replica.until("it sees the other", |leadership| leadership.holder() == "other");
    replica.leads();
}

/// Faults of the server are named, and when they last the term ends at its deadline; a label that
/// is added changes nothing.
#[test]
fn faults_of_the_server() {
    let api = Api::start();
    api.put(lease("kube-system", "webb-operator", &released()));
    let replica = Replica::start(api.kubeconfig(None), "only", timings());
    replica.leads();
    let record = api.lease("kube-system", "webb-operator");
    let mut labelled = lease("kube-system", "webb-operator", &record);
    labelled["metadata"]["labels"] = json!({"a": "b"});
    let conflicts = replica.leadership.requests(Outcome::Conflict);
    api.put(labelled);
    replica.until("a write of an older version is refused", |leadership| {
        leadership.requests(Outcome::Conflict) > conflicts || leadership.requests(Outcome::Written) > 200
    });
    for (fault, text) in [
        (Fault::Status(500), "the API server failed (500)"),
        (Fault::Garbage, "cannot be read"),
        (Fault::AnotherObject, "it is another object"),
        (Fault::Close, "cannot reach the API server"),
    ] {
        api.plan(Some(KIND), None, fault, usize::MAX);
        replica.until(text, |leadership| leadership.problem().is_some_and(|problem| problem.contains(text)));
        api.recover();
        replica.until("the end of the fault", |leadership| leadership.problem().is_none());
    }
    api.forbid(&[KIND]);
    replica.until("it does not lead beyond its deadline", |leadership| !leadership.is_leading());
    let problem = replica.leadership.problem().unwrap();
    assert!(problem.starts_with("the Lease kube-system/webb-operator: not allowed"), "{problem}");
    api.forbid(&[]);
    replica.leads();
}

/// The operator's role grants what it views and nothing else, and of Leases only its own.
#[test]
fn the_operators_role() {
    let text = include_str!("../../../../config/rbac-operator.yaml");
    let documents: Vec<Value> =
        text.split("\n---\n").map(|document| serde_saphyr::from_str(document).unwrap()).collect();
    let kinds: Vec<_> = documents.iter().map(|document| document["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"]);
    let mut granted = BTreeSet::new();
    for rule in documents[1]["rules"].as_array().unwrap() {
        assert_eq!(rule["verbs"], json!(["get", "list", "watch"]));
        for resource in rule["resources"].as_array().unwrap() {
            granted.insert((rule["apiGroups"][0].as_str().unwrap(), resource.as_str().unwrap()));
        }
    }
    let viewed = KINDS.into_iter().chain(ViewedKind::ALL.map(ViewedKind::kind));
    assert_eq!(granted, viewed.map(|kind| (kind.group(), kind.plural())).collect());
    let [any, own] = [0, 1].map(|at| &documents[3]["rules"][at]);
    assert_eq!((&any["verbs"], &own["verbs"]), (&json!(["create"]), &json!(["get", "update"])));
    assert_eq!(own["resourceNames"], json!(["webb-operator"]));
}
