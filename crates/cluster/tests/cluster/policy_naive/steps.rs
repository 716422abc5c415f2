//! Tables that are changed step by step: after each, they are those of the state that was reached.

use super::*;

/// One difference between two clusters.
#[derive(Debug, Clone)]
enum Step {
    Namespace(usize, Map),
    /// A pod takes the place of another, or a new place.
    Pod(usize, Pod),
    /// A policy is added, changed or, without content, deleted.
    Policy(PolicyKind, String, Option<Value>),
}

type Policies = BTreeMap<(PolicyKind, String), Value>;

fn policies(cluster: &Cluster) -> Policies {
    let named = cluster.policies.iter();
    named.map(|(kind, policy)| ((*kind, path(policy)), policy.clone())).collect()
}

fn path(policy: &Value) -> String {
    format!("{}/{}", policy["metadata"]["namespace"].as_str().unwrap_or_default(), policy["metadata"]["name"])
}

/// All steps from one cluster to the other, in the order of the `dice`. Pods of the first that the
/// second lacks stay.
fn steps(from: &Cluster, to: &Cluster, dice: &[u32]) -> Vec<Step> {
    let mut steps = Vec::new();
    steps.extend(to.namespaces.iter().enumerate().map(|(at, labels)| Step::Namespace(at, labels.clone())));
    steps.extend(to.pods.iter().enumerate().map(|(at, pod)| Step::Pod(at, pod.clone())));
    let (before, after) = (policies(from), policies(to));
    for (kind, path) in before.keys().chain(after.keys()) {
        steps.push(Step::Policy(*kind, path.clone(), after.get(&(*kind, path.clone())).cloned()));
    }
    let mut order: Vec<(u32, Step)> = dice.iter().copied().cycle().zip(steps).collect();
    order.sort_by_key(|(place, _)| *place);
    // Pods keep their places.
    let mut pods = to.pods.iter().cloned().enumerate();
    order
        .into_iter()
        .map(|(_, step)| match step {
            Step::Pod(..) => pods.next().map(|(at, pod)| Step::Pod(at, pod)).unwrap(),
            step => step,
        })
        .collect()
}

fn take(cluster: &mut Cluster, step: Step) {
    match step {
        Step::Namespace(at, labels) => cluster.namespaces[at] = labels,
        Step::Pod(at, pod) if at < cluster.pods.len() => cluster.pods[at] = pod,
        Step::Pod(_, pod) => cluster.pods.push(pod),
        Step::Policy(kind, name, content) => {
            cluster.policies.retain(|(other, policy)| (*other, path(policy)) != (kind, name.clone()));
            cluster.policies.extend(content.map(|policy| (kind, policy)));
        }
    }
}

/// Brings the cache from one state to the other.
fn bring(cache: &Cache, before: &Cluster, after: &Cluster) {
    let (old, new) = (objects(before), objects(after));
    for (name, object) in &old {
        if !new.contains_key(name) {
            assert!(cache.remove(&object.reference()), "{name:?}");
        }
    }
    for object in new.into_values() {
        cache.upsert(object);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    /// Policies, pods and labels of namespaces change one after the other, and every state is
    /// published or not as it happens: whatever was shared with the tables before, packets are
    /// judged as if the tables were new. A published index does not change.
    #[test]
    fn changes_one_by_one(
        first in a_cluster(6),
        second in a_cluster(6),
        dice in vec(any::<u32>(), 40),
        published in vec(prop::bool::weighted(0.7), 40),
    ) {
        let cache = Cache::new(CacheSettings { node: NODES[0].0.into(), ..CacheSettings::default() });
        let mut cluster = first.clone();
        for object in objects(&cluster).into_values() {
            cache.upsert(object);
        }
        let all = packets(&first);
        let original = cache.index();
        let told = judge(&original, &all);
        let steps = steps(&first, &second, &dice);
        let last = steps.len() - 1;
        for (at, step) in steps.into_iter().enumerate() {
            let before = cluster.clone();
            take(&mut cluster, step);
            bring(&cache, &before, &cluster);
            if at == last || published[at % published.len()] {
                let some: Vec<Packet> = packets(&cluster).into_iter().skip(at % 11).step_by(11).collect();
                agree(&cluster, &some, &judge(&cache.index(), &some))?;
            }
        }
        prop_assert!(judge(&original, &all) == told, "a published index has changed");
    }
}
