//! The list of what changed.

use std::sync::Arc;

use webb_cluster::{Cache, CacheSettings, Kind, Object, ObjectEvent, ObjectKey, Pod, Reference};
use webb_index::policy::spec::{PolicySpec, Selector};

/// What the first reading brings is no change; what comes and goes afterwards is, of this node
/// and of policies alone.
#[test]
fn changes_are_those_since_the_first_reading() {
    let cache = Cache::new(CacheSettings { node: "here".into(), ..CacheSettings::default() });
    let key = |name: &str| ObjectKey { namespace: "a".into(), name: name.into() };
    let pod = |name: &str, node: &str, finished| {
        let pod = Pod { node: node.into(), finished, ..Pod::default() };
        cache.upsert(Object::Pod(key(name), Box::new(pod)));
    };
    pod("before", "here", false);
    cache.set_ready(true);
    pod("before", "here", false);
    pod("elsewhere", "there", false);
    pod("job", "here", false);
    pod("job", "here", true);
    cache.remove(&Reference { kind: Kind::Pod, key: key("job") });
    let policy = |ingress: Option<_>| {
        let (namespace, name) = ("a".to_owned(), "deny".to_owned());
        let pods = Selector::default();
        let policy = PolicySpec { namespace, name, pods, ingress, egress: None };
        cache.upsert(Object::NetworkPolicy(key("deny"), Arc::new(policy)));
    };
    policy(None);
    policy(None);
    policy(Some(Vec::new()));
    cache.remove(&Reference { kind: Kind::NetworkPolicy, key: key("deny") });
    let changes = cache.recent_changes();
    let said: Vec<_> = changes.iter().map(|of| (of.kind, of.key.name.as_str(), of.event)).collect();
    assert_eq!(
        said,
        [
            (Kind::Pod, "job", ObjectEvent::Created),
            (Kind::Pod, "job", ObjectEvent::Finished),
            (Kind::Pod, "job", ObjectEvent::Removed),
            (Kind::NetworkPolicy, "deny", ObjectEvent::Created),
            (Kind::NetworkPolicy, "deny", ObjectEvent::Changed),
            (Kind::NetworkPolicy, "deny", ObjectEvent::Removed),
        ]
    );
}
