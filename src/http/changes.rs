//! What changed: the changes that samples show, joined with those of this node's pods, of policies
//! and of the agent.

use std::sync::Arc;

use webb_cluster::{Kind, ObjectChange, ObjectEvent};
use webb_flow::fault::Components;

use super::explain::Explain;
use super::query::Query;
use crate::readings::{Change, ChangeKind, MAX_CHANGE_AGE, MAX_CHANGES, State};

/// Letters of a fault's text that are shown.
const MAX_FAULT_LETTERS: usize = 200;

/// Seconds of which the number of changes is shown beside the view's name.
pub(super) const RECENT: u64 = 3600;

/// All changes, the latest first.
#[derive(Debug, Default)]
pub(super) struct AllChanges {
    pub(super) all: Vec<Change>,
    /// Unix time since which samples show them; none before the first sample.
    pub(super) since: Option<u64>,
}

impl AllChanges {
    /// Joins `of_samples` with what is known of objects and faults of the last hours before `now`.
    pub(super) fn join(
        of_samples: Vec<Change>,
        since: Option<u64>,
        names: Option<&Explain>,
        components: &Components,
        now: u64,
    ) -> Self {
        let mut all = of_samples;
        all.extend(names.into_iter().flat_map(|names| names.cache.recent_changes()).map(|of| object(&of)));
        all.extend(components.log().entries().into_iter().map(|of| {
            let text: String = of.text.chars().take(MAX_FAULT_LETTERS).collect();
            let change = Change::new(of.unix_seconds, ChangeKind::Agent, format!("{}: {text}", of.kind));
            Change { state: State::Failing, object: Some(of.component.into()), ..change }
        }));
        all.retain(|change| change.unix + MAX_CHANGE_AGE >= now);
        // Stable: what one source has stays in its order.
        all.sort_by_key(|change| change.unix);
        all.reverse();
        all.truncate(MAX_CHANGES);
        Self { all, since }
    }

    /// Those that a query wants.
    pub(super) fn wanted(&self, query: &Query) -> Vec<&Change> {
        self.all.iter().filter(|change| is_wanted(change, query)).collect()
    }

    /// Number of those of the last hour.
    pub(super) fn recent(&self, now: u64) -> usize {
        self.all.iter().filter(|change| change.unix + RECENT >= now).count()
    }
}

fn is_wanted(change: &Change, query: &Query) -> bool {
    let of_kind = query.kinds.is_empty() || query.kinds.contains(&change.kind);
    let of_ends = match (&change.ends, &change.object) {
        (Some((from, to)), _) => query.wants_ends(from, to),
        // Of an object its name counts, not its kind.
        (None, Some(object)) => {
            let name = object.rsplit(' ').next().unwrap_or_default();
            query.wants_ends(name, name)
        }
        (None, None) => query.wants_ends("", ""),
    };
    of_kind && of_ends && query.wants_state(change.state)
}

fn object(of: &ObjectChange) -> Change {
    let text = match (of.kind, of.event) {
        (Kind::Pod, ObjectEvent::Created) => "is new on this node",
        (Kind::Pod, ObjectEvent::Finished) => "has finished",
        (_, ObjectEvent::Created) => "was created",
        (_, ObjectEvent::Changed | ObjectEvent::Finished) => "was changed",
        (_, ObjectEvent::Removed) => "is gone",
    };
    let kind = if of.kind == Kind::Pod { ChangeKind::Pod } else { ChangeKind::Policy };
    let name: Arc<str> = format!("{} {}", of.kind.name(), of.key).into();
    Change { object: Some(name), ..Change::new(of.unix, kind, text.to_owned()) }
}

#[cfg(test)]
pub(super) mod tests {
    use webb_flow::fault::FaultType;

    use super::*;
    use crate::readings::Figure;

    /// A change of each kind before `now`, the latest first; none before a sample.
    pub(crate) fn example(now: u64) -> AllChanges {
        if now == 0 {
            return AllChanges::default();
        }
        let ends = |from: &str, to: &str| Some((from.into(), to.into()));
        let change = |ago: u64, kind, text: &str| Change::new(now - ago, kind, text.to_owned());
        let per_second = |after| Some(Figure { before: None, after, unit: "per_second" });
        let slow = Some(Figure { before: Some(0.0011), after: 0.212, unit: "seconds" });
        let all = vec![
            Change { ends: ends("shop/promo", "data/cache"), ..change(60, ChangeKind::Pair, "new pair") },
            Change {
                object: Some("Pod shop/cart-x2l4q".into()),
                ..change(240, ChangeKind::Pod, "is new on this node")
            },
            Change {
                state: State::Slow,
                ends: ends("shop/cart", "data/db"),
                figure: slow,
                ..change(400, ChangeKind::Quality, "connects become slow (p95)")
            },
            Change {
                state: State::Failing,
                ends: ends("shop/cart", "kube-system/coredns"),
                object: Some("psp.example".into()),
                figure: per_second(0.4),
                ..change(500, ChangeKind::Dns, "begins to fail: Non-Existent Domain")
            },
            Change {
                object: Some("NetworkPolicy shop/no-egress".into()),
                ..change(700, ChangeKind::Policy, "was created")
            },
            Change {
                state: State::Denied,
                ends: ends("shop/storefront", "payments/psp"),
                figure: per_second(38.2),
                ..change(900, ChangeKind::Drop, "begins to be denied by a policy")
            },
            Change {
                state: State::Failing,
                object: Some("resolver".into()),
                ..change(4000, ChangeKind::Agent, "failed: the API server does not answer")
            },
        ];
        AllChanges { all, since: Some(now - 5000) }
    }

    /// Faults and samples are one list, the latest first; filters mean either end or the object.
    #[test]
    fn sources_are_joined() {
        let now = 1_000_000_000_000;
        let components = Components::default();
        components.component("reader").fault(FaultType::Panicked, &"x".repeat(3000));
        let at = components.log().entries()[0].unix_seconds;
        let sample = |unix| Change::new(unix, ChangeKind::Pair, "new pair".to_owned());
        let joined = AllChanges::join(vec![sample(at - 1), sample(at + 1)], None, None, &components, at + 2);
        let kinds: Vec<_> = joined.all.iter().map(|change| change.kind).collect();
        assert_eq!(kinds, [ChangeKind::Pair, ChangeKind::Agent, ChangeKind::Pair]);
        assert!(joined.all[1].text.len() < 220 && joined.all[1].text.starts_with("panicked: xx"));
        let later = AllChanges::join(vec![sample(at)], None, None, &components, at + MAX_CHANGE_AGE + 1);
        assert!(later.all.is_empty());
        let all = example(now);
        let count = |query: &str| all.wanted(&Query::read(query)).len();
        assert_eq!((count(""), count("kind=pod&kind=drop"), count("workload=psp"), count("problems=1")), (7, 2, 1, 4));
        assert_eq!((count("ns=shop"), count("kind=odd"), all.recent(now)), (6, 7, 6));
    }
}
