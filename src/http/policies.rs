//! The policies behind a denial: those that select its ends.
//!
//! A NetworkPolicy denies by selecting a pod while no rule allows, so all that select it in that
//! direction deny together. The tiered ones that select it are among them.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::node_view::NodeView;
use super::pods::PodsOfEnd;
use crate::readings::{DropRow, State};

/// The policies of the ends of some rows; each end is looked up once.
pub(super) struct SelectingPolicies<'a> {
    node: &'a NodeView,
    ends: RefCell<HashMap<Arc<str>, Option<PodsOfEnd>>>,
}

impl<'a> SelectingPolicies<'a> {
    pub(super) fn new(node: &'a NodeView) -> Self {
        Self { node, ends: RefCell::default() }
    }

    /// Policies by name that select the receiver for what it receives or the sender for what it
    /// sends, as far as the row tells which of both; none of a row that no policy explains.
    pub(super) fn of(&self, row: &DropRow) -> BTreeSet<String> {
        let mut policies = BTreeSet::new();
        if !matches!(row.state, State::Denied | State::Passed) {
            return policies;
        }
        if &*row.direction != "ingress" {
            policies.extend(self.end(&row.from, |end| &end.egress_policies));
        }
        if &*row.direction != "egress" {
            policies.extend(self.end(&row.to, |end| &end.ingress_policies));
        }
        policies
    }

    fn end(&self, end: &Arc<str>, which: fn(&PodsOfEnd) -> &BTreeSet<String>) -> BTreeSet<String> {
        let mut ends = self.ends.borrow_mut();
        let of = ends.entry(Arc::clone(end)).or_insert_with(|| self.node.pods(end));
        of.as_ref().map(|of| which(of).clone()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::node_view::tests::example;
    use crate::readings::Counted;

    /// A denial has the policies of the end that the direction names, or of both where none is
    /// told; one that no policy explains has none.
    #[test]
    fn a_denial_has_what_selects_its_ends() {
        let node = example();
        let row = |state, direction: &str, from: &str, to: &str| DropRow {
            from: from.into(),
            to: to.into(),
            protocol: None,
            state,
            reason: "".into(),
            direction: direction.into(),
            count: Counted::default(),
            first: 0,
        };
        for (state, direction, from, to, expected) in [
            (State::Denied, "", "shop/cart-2", "shop/cart-1", "shop/closed"),
            (State::Denied, "ingress", "shop/cart-1", "shop/cart", "shop/closed"),
            (State::Denied, "egress", "shop/cart-1", "shop/cart", "shop/inside"),
            (State::Passed, "", "shop/cart-1", "shop/cart-1", "shop/closed,shop/inside"),
            (State::Denied, "", "shop/cart-1", "shop/cart-2", "shop/inside"),
            (State::Dropped, "", "shop/cart-1", "shop/cart-1", ""),
            (State::Denied, "", "reserved:world", "shop/cart-2", ""),
        ] {
            let row = row(state, direction, from, to);
            let policies = SelectingPolicies::new(&node).of(&row).into_iter().collect::<Vec<_>>();
            assert_eq!(policies.join(","), expected, "{state:?} {direction} {from} {to}");
        }
    }
}
