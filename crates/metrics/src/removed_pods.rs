//! Deleted pods, and the removal of their series (hubble-contract §3.4).
//!
//! The rule is by names alone: a series whose `source` is the pod's `namespace/name`, if the metric
//! lists `pod` among its source contexts, or whose labels `source_namespace` and `source_pod` both
//! are the pod's; the same for destinations. Series that name a pod in another form (by workload,
//! address, name alone) stay, since others may share them.

use std::collections::HashSet;
use std::sync::Arc;

use webb_flow::sym::Sym;
use webb_index::{End, ObjectKey};

use super::context::ContextSpec;
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
        let (mut qualified, mut names) = (HashSet::new(), HashSet::new());
        for pod in &self.0 {
            qualified.extend(Sym::known(&pod.to_string()));
            names.extend(Sym::known(&pod.namespace).zip(Sym::known(&pod.name)));
        }
        Known { qualified, names }
    }

    /// True if some series may name the pod.
    pub fn may_be_named(pod: &ObjectKey) -> bool {
        Sym::known(&pod.to_string()).is_some()
            || (Sym::known(&pod.name).is_some() && Sym::known(&pod.namespace).is_some())
    }
}

/// Deleted pods by symbols.
#[derive(Debug)]
pub(super) struct Known {
    /// `namespace/name`.
    qualified: HashSet<Sym>,
    /// Namespace and name.
    names: HashSet<(Sym, Sym)>,
}

/// Values of a context that name a pod.
#[derive(Debug, Clone, Default)]
pub(super) struct PodLabels {
    /// Places of values that are `namespace/name`.
    qualified: Vec<usize>,
    /// Places of a namespace and of the name in it.
    names: Vec<(usize, usize)>,
}

impl PodLabels {
    /// Those of a context, before it is inverted: it is the label's name that counts.
    pub(super) fn new(spec: &ContextSpec) -> Self {
        let labels = spec.label_names();
        let place = |name: &str| labels.iter().position(|label| *label == name);
        let shown = |end, name| if spec.lists_pod(end) { place(name) } else { None };
        let qualified = [shown(End::Source, "source"), shown(End::Destination, "destination")];
        let pair = |namespace, name| Some((place(namespace)?, place(name)?));
        let names = [pair("source_namespace", "source_pod"), pair("destination_namespace", "destination_pod")];
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
            || self.names.iter().any(|&(namespace, name)| gone.names.contains(&(value(namespace), value(name))))
    }
}
