//! Deleted pods, and the removal of their series (hubble-contract §3.4).
//!
//! The rule is by names alone: a series whose `source` is the pod's `namespace/name`, if the metric
//! lists `pod` among its source contexts, or whose labels `source_namespace` and `source_pod` both
//! are the pod's; the same for destinations. Series that name a pod in another form (by workload,
//! address, name alone) stay, since others may share them.
//!
//! A pod of another cluster is `cluster/namespace` and name here. Its labels `source_namespace` and
//! `source_pod` are those that a pod of this cluster may have, so they count only beside the label
//! `source_cluster`.

use std::collections::HashSet;
use std::sync::Arc;

use webb_flow::sym::Sym;
use webb_index::{End, ObjectKey};

use super::context::{ContextSpec, POD_LABELS};
use super::value::{OwnedValue, Value};

/// Pods that were deleted some time ago. By text, since it owns no symbol.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RemovedPods(HashSet<Arc<ObjectKey>>);

impl RemovedPods {
    /// These pods.
    pub fn new(pods: impl IntoIterator<Item = Arc<ObjectKey>>) -> Self {
        Self(pods.into_iter().collect())
    }

    /// Number of pods.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The symbols of those that some series may name: what no index and no series owns is not
    /// interned. A symbol of a series that is asked about is owned by it, so it cannot be another's
    /// meanwhile.
    pub(super) fn known(&self) -> Known {
        let (mut qualified, mut names, mut of_mesh) = (HashSet::new(), HashSet::new(), HashSet::new());
        for pod in &self.0 {
            qualified.extend(Sym::known(&pod.to_string()));
            match pod.namespace.split_once('/').map(|(cluster, namespace)| [cluster, namespace, &pod.name]) {
                Some(texts) => {
                    if let [Some(cluster), Some(namespace), Some(name)] = texts.map(Sym::known) {
                        of_mesh.insert((cluster, namespace, name));
                    }
                }
                None => names.extend(Sym::known(&pod.namespace).zip(Sym::known(&pod.name))),
            }
        }
        Known { qualified, names, of_mesh }
    }

    /// True if some series may name the pod.
    pub fn may_be_named(pod: &ObjectKey) -> bool {
        let mut parts = pod.namespace.split('/').chain([pod.name.as_str()]);
        Sym::known(&pod.to_string()).is_some() || parts.all(|part| Sym::known(part).is_some())
    }
}

/// Deleted pods by symbols.
#[derive(Debug)]
pub(super) struct Known {
    /// `namespace/name`.
    qualified: HashSet<Sym>,
    /// Namespace and name.
    names: HashSet<(Sym, Sym)>,
    /// Cluster, namespace and name, of pods of other clusters.
    of_mesh: HashSet<(Sym, Sym, Sym)>,
}

/// Values of a context that name a pod.
#[derive(Debug, Clone, Default)]
pub(super) struct PodLabels {
    /// Places of values that are `namespace/name`.
    qualified: Vec<usize>,
    /// Places of a namespace, of the name in it, and of the cluster.
    names: Vec<(usize, usize, Option<usize>)>,
}

impl PodLabels {
    /// Those of a context, before it is inverted: it is the label's name that counts.
    pub(super) fn new(spec: &ContextSpec) -> Self {
        let labels = spec.label_names();
        let place = |name: &str| labels.iter().position(|label| *label == name);
        let shown = |end, name| if spec.lists_pod(end) { place(name) } else { None };
        let qualified = [shown(End::Source, "source"), shown(End::Destination, "destination")];
        let names = [
            ("source_namespace", "source_pod", "source_cluster"),
            ("destination_namespace", "destination_pod", "destination_cluster"),
            (POD_LABELS[0], POD_LABELS[1], ""),
        ]
        .map(|(namespace, name, cluster)| Some((place(namespace)?, place(name)?, place(cluster))));
        Self { qualified: qualified.into_iter().flatten().collect(), names: names.into_iter().flatten().collect() }
    }

    /// True if no value names a pod.
    pub(super) fn is_empty(&self) -> bool {
        self.qualified.is_empty() && self.names.is_empty()
    }

    /// True if the values name a deleted pod.
    pub(super) fn name(&self, values: &[OwnedValue], gone: &Known) -> bool {
        let value = |at: usize| match values.get(at).map(OwnedValue::value) {
            Some(Value::Name(name)) => name,
            _ => Sym::EMPTY,
        };
        self.qualified.iter().any(|&at| gone.qualified.contains(&value(at)))
            || self.names.iter().any(|&(namespace, name, cluster)| {
                let (namespace, name) = (value(namespace), value(name));
                gone.names.contains(&(namespace, name))
                    || cluster.is_some_and(|cluster| gone.of_mesh.contains(&(value(cluster), namespace, name)))
            })
    }
}
