//! The policies that select the pods of a row.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use webb_flow::hash::RandomState;

use super::effect::{Effect, VerdictExclusions};
use super::spec::{PolicySpec, Subject, Tier};
use super::table::{Row, RowExtras, Selected, Tiers};
use super::tiered::Tiered;
use super::truth::Truth;

/// NetworkPolicies by namespace, each with its id, in the order of their names.
pub(super) type Standard = HashMap<String, Vec<(u32, Arc<PolicySpec>)>, RandomState>;

/// Lists that rows share.
#[derive(Debug, Default)]
pub(super) struct Lists(HashSet<Arc<[Selected]>, RandomState>);

impl Lists {
    fn intern(&mut self, list: &[Selected]) -> Arc<[Selected]> {
        if let Some(same) = self.0.get(list) {
            return Arc::clone(same);
        }
        let list: Arc<[Selected]> = list.into();
        self.0.insert(Arc::clone(&list));
        list
    }

    /// Drops lists that no row has any more.
    pub(super) fn prune(&mut self) {
        self.0.retain(|list| Arc::strong_count(list) > 1);
    }
}

/// The policies that may select pods of a namespace.
pub(super) struct Selecting<'a> {
    pub(super) standard: &'a [(u32, Arc<PolicySpec>)],
    /// Policies with tiers, in the order of evaluation, each with whether it selects the namespace.
    pub(super) tiered: Vec<(&'a Tiered, Truth)>,
    pub(super) exclusions: &'a VerdictExclusions,
}

impl Selecting<'_> {
    /// Computes the lists of a row.
    pub(super) fn select(&self, row: &mut Row, subject: &Subject, lists: &mut Lists) {
        let mut more = RowExtras {
            undecided: self.exclusions.namespaces.get(&subject.namespace).copied().unwrap_or_default(),
            ..RowExtras::default()
        };
        if subject.vendor {
            more.undecided = more.undecided.with(self.exclusions.annotated);
        }
        (row.ingress, row.egress) = self.select_standard(&mut more, subject);
        self.select_tiered(&mut more, subject, lists);
        let is_plain = more.ingress.is_empty() && more.egress.is_empty() && more.undecided == Effect::NONE;
        row.extras = (!is_plain).then(|| Arc::new(more));
    }

    /// The NetworkPolicies that isolate a pod for certain: ingress and egress.
    fn select_standard(&self, more: &mut RowExtras, subject: &Subject) -> (Vec<u32>, Vec<u32>) {
        let mut certain = [Vec::new(), Vec::new()];
        let mut maybe = [Vec::new(), Vec::new()];
        for (id, spec) in self.standard {
            let into = match spec.pods.matches(&subject.labels) {
                Truth::Yes => &mut certain,
                Truth::Maybe => &mut maybe,
                Truth::No => continue,
            };
            for (list, rules) in into.iter_mut().zip([&spec.ingress, &spec.egress]) {
                list.extend(rules.as_ref().map(|_| *id));
            }
        }
        let [ingress, egress] = maybe;
        (more.ingress.maybe, more.egress.maybe) = (ingress.into(), egress.into());
        let [ingress, egress] = certain;
        (ingress, egress)
    }

    fn select_tiered(&self, more: &mut RowExtras, subject: &Subject, lists: &mut Lists) {
        if self.tiered.is_empty() {
            return;
        }
        let mut selected = [const { Vec::new() }; 4];
        let [admin_in, admin_out, baseline_in, baseline_out] = &mut selected;
        for &(tiered, is) in &self.tiered {
            let pods = tiered.spec.pods.as_ref().map_or(Truth::Yes, |pods| pods.matches(&subject.labels));
            let is = is.min(pods);
            if is == Truth::No {
                continue;
            }
            let into = match tiered.tier {
                Some(Tier::Admin) => [&mut *admin_in, &mut *admin_out],
                Some(Tier::Baseline) => [&mut *baseline_in, &mut *baseline_out],
                None => {
                    (more.ingress.unreadable, more.egress.unreadable) = (true, true);
                    continue;
                }
            };
            for (list, rules) in into.into_iter().zip(tiered.rules()) {
                // A direction without rules is not touched.
                if !rules.is_empty() {
                    list.push(Selected { policy: tiered.id, certain: is == Truth::Yes });
                }
            }
        }
        let set = |tiers: &mut Tiers, admin: &[Selected], baseline: &[Selected], lists: &mut Lists| {
            (tiers.admin, tiers.baseline) = (lists.intern(admin), lists.intern(baseline));
        };
        set(&mut more.ingress, admin_in, baseline_in, lists);
        set(&mut more.egress, admin_out, baseline_out, lists);
    }
}
