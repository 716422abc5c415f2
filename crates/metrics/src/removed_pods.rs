//! Deleted pods, and the removal of their series (hubble-contract §3.4).
//!
//! The rule is by names alone: a series whose `source` is the pod's `namespace/name`, if the metric
//! lists `pod` among its source contexts, or whose labels `source_namespace` and `source_pod` both
//! are the pod's; the same for destinations. Series that name a pod in another form (by workload,
//! address, name alone) stay, since others may share them.

use std::collections::HashSet;

use webb_flow::sym::Sym;
use webb_index::End;

use super::context::ContextSpec;

/// Pods that were deleted some time ago.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RemovedPods {
    /// `namespace/name`.
    qualified: HashSet<Sym>,
    /// Namespace and name.
    names: HashSet<(Sym, Sym)>,
}

impl RemovedPods {
    /// These pods, by namespace and name. Interns, so not for the event path.
    pub fn new(pods: impl IntoIterator<Item = (Sym, Sym)>) -> Self {
        let mut gone = Self::default();
        for (namespace, name) in pods {
            gone.qualified.insert(Sym::new(&format!("{}/{}", namespace.text(), name.text())));
            gone.names.insert((namespace, name));
        }
        gone
    }

    /// How many pods these are.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}

/// Which of a context's values name a pod.
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
    pub(super) fn name(&self, values: &[Sym], gone: &RemovedPods) -> bool {
        let value = |at: usize| values.get(at).copied().unwrap_or(Sym::EMPTY);
        self.qualified.iter().any(|&at| gone.qualified.contains(&value(at)))
            || self.names.iter().any(|&(namespace, name)| gone.names.contains(&(value(namespace), value(name))))
    }
}
