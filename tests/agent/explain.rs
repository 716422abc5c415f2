//! Explanations of names on the admin listener: the owner of an address and the reason, a pod's
//! names, the policies that select it.

use std::sync::Arc;

use actix_web::{App, test};
use arc_swap::ArcSwap;
use webb::http::{Explain, explain_routes};
use webb_cluster::{Cache, CacheSettings, PodInterface, parse};

const CLUSTER: &str = include_str!("../../crates/cluster/tests/manifests/star-wars.yaml");

/// Two pods that claim one address, one that has given it up, one that never had it, and policies.
const MORE: &str = "
---
apiVersion: v1
kind: Pod
metadata: {name: old, labels: {app: till}, creationTimestamp: '2026-01-01T00:00:00Z'}
spec: {nodeName: node-1, containers: []}
status: {podIP: 10.0.1.99, phase: Running}
---
apiVersion: v1
kind: Pod
metadata: {name: new, labels: {app: till}, creationTimestamp: '2026-01-02T00:00:00Z'}
spec: {nodeName: node-2, serviceAccountName: clerk, containers: []}
status: {podIP: 10.0.1.99, phase: Running}
---
apiVersion: v1
kind: Pod
metadata: {name: done, creationTimestamp: '2026-01-03T00:00:00Z'}
spec: {nodeName: node-1, containers: []}
status: {podIP: 10.0.1.99, phase: Succeeded}
---
apiVersion: v1
kind: Pod
metadata: {name: proxy}
spec: {nodeName: node-1, hostNetwork: true, containers: []}
status: {podIP: 192.168.0.1, phase: Running}
---
apiVersion: v1
kind: Pod
metadata: {name: waiting, labels: {app: till}}
spec: {containers: []}
status: {phase: Pending}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: till, namespace: default}
spec: {podSelector: {matchLabels: {app: till}}, policyTypes: [Ingress, Egress]}
";

fn cache() -> Arc<Cache> {
    let settings = CacheSettings {
        node: "node-1".into(),
        cluster: "lab".into(),
        addresses: Vec::new(),
        ..CacheSettings::default()
    };
    let cache = Cache::new(settings);
    let manifest = parse("m.yaml", &format!("{CLUSTER}{MORE}")).unwrap();
    assert_eq!(manifest.problems, []);
    cache.replace(manifest.objects);
    let interface = |index, address: &str| {
        let addresses = vec![address.parse().unwrap()];
        PodInterface { index, namespace: None, watched: true, addresses }
    };
    cache.set_interfaces(vec![interface(7, "10.0.1.10"), interface(8, "10.0.1.99")]);
    Arc::new(cache)
}

/// Status and body of each request, one below the other.
async fn ask(paths: &[&str]) -> String {
    let cache = cache();
    let index = Arc::new(ArcSwap::from_pointee(cache.index()));
    let explain = Arc::new(Explain { cache, index });
    let app = test::init_service(App::new().configure(|config| explain_routes(config, &explain))).await;
    let mut told = String::new();
    for path in paths {
        let answer = test::call_service(&app, test::TestRequest::get().uri(path).to_request()).await;
        let status = answer.status();
        let body = String::from_utf8(test::read_body(answer).await.to_vec()).unwrap();
        let body = serde_json::from_str::<serde_json::Value>(&body)
            .map_or(body, |json| serde_json::to_string_pretty(&json).unwrap());
        told.push_str(&format!("GET {path}\n{status}\n{body}\n\n"));
    }
    told
}

/// The winner and the losers of an address with reasons; addresses of nodes, services and no owner.
#[actix_web::test]
async fn addresses() {
    let told = ask(&["/pods?ip=10.0.1.99", "/pods?ip=192.168.0.1", "/pods?ip=192.168.0.2", "/pods?ip=8.8.8.8"]).await;
    insta::assert_snapshot!(told);
}

/// A pod with a workload and an interface, one that lost its address, one of the host's network,
/// one that has ended, and one that is not scheduled: it is not of this node, but the policies that
/// select it are known.
#[actix_web::test]
async fn pods() {
    let told = ask(&[
        "/pods/default/deathstar-5d4f8c7b9-aaaaa",
        "/pods/default/old",
        "/pods/default/proxy",
        "/pods/default/done",
        "/pods/default/waiting",
    ])
    .await;
    insta::assert_snapshot!(told);
}

/// Services with who is behind them; policies, all and a pod's.
#[actix_web::test]
async fn services_and_policies() {
    let told = ask(&["/services", "/policies", "/policies?pod=default/new", "/policies?pod=default/waiting"]).await;
    insta::assert_snapshot!(told);
}

/// Questions that have no answer say what is wrong with them.
#[actix_web::test]
async fn wrong_questions() {
    let told = ask(&["/pods", "/pods?ip=tiefighter", "/pods/default/nobody", "/policies?pod=xwing"]).await;
    insta::assert_snapshot!(told);
}

/// Previous owners of an address are shown with the time since.
#[::core::prelude::v1::test]
fn history() {
    use webb_cluster::{Kind, Object, ObjectKey, Pod, Reference};
    let cache = Cache::new(CacheSettings { cluster: "lab".into(), ..CacheSettings::default() });
    let ip = "10.0.0.5".parse().unwrap();
    let key = |name: &str| ObjectKey { namespace: "a".into(), name: name.into() };
    let pod = |name: &str| Object::Pod(key(name), Box::new(Pod { addresses: vec![ip], ..Pod::default() }));
    cache.upsert_at(pod("old"), 0);
    cache.index_at(1);
    cache.remove_at(&Reference { kind: Kind::Pod, key: key("old") }, 5_000_000_000);
    cache.upsert_at(pod("new"), 6_000_000_000);
    let index = cache.index_at(7_000_000_000);
    let explanation = cache.explain_address_at(ip, &index, 7_500_000_000);
    insta::assert_snapshot!(serde_json::to_string_pretty(&explanation).unwrap());
}
