//! The policies behind a denial: those that select its ends.
//!
//! A NetworkPolicy denies by selecting a pod while no rule allows, so all that select it in that
//! direction deny together. The tiered ones that select it are among them.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use super::node_view::NodeView;
use super::pods::PodsOfEnd;
use crate::readings::{DropRow, State};

/// Policies of a row that are named.
const MAX_NAMED: usize = 8;

/// Policies that select the ends of a row in its direction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Selecting {
    /// The first by name, at most eight.
    pub(super) named: Vec<String>,
    /// Number of the others.
    pub(super) hidden: usize,
}

/// The policies of the ends of some rows; each end is looked up once.
pub(super) struct SelectingPolicies<'a> {
    node: &'a NodeView,
    ends: RefCell<HashMap<Arc<str>, Option<Rc<PodsOfEnd>>>>,
}

impl<'a> SelectingPolicies<'a> {
    pub(super) fn new(node: &'a NodeView) -> Self {
        Self { node, ends: RefCell::default() }
    }

    /// Policies by name that select the receiver for what it receives or the sender for what it
    /// sends, as far as the row tells which of both; none of a row that no policy explains.
    pub(super) fn of(&self, row: &DropRow) -> Selecting {
        if !matches!(row.state, State::Denied | State::Passed) {
            return Selecting::default();
        }
        let from = if &*row.direction == "ingress" { None } else { self.end(&row.from) };
        let to = if &*row.direction == "egress" { None } else { self.end(&row.to) };
        let none = BTreeSet::new();
        let of_from = from.as_ref().map_or(&none, |end| &end.egress_policies);
        let of_to = to.as_ref().map_or(&none, |end| &end.ingress_policies);
        let mut all = of_from.union(of_to);
        let named: Vec<String> = all.by_ref().take(MAX_NAMED).cloned().collect();
        Selecting { named, hidden: all.count() }
    }

    fn end(&self, end: &Arc<str>) -> Option<Rc<PodsOfEnd>> {
        let mut ends = self.ends.borrow_mut();
        ends.entry(Arc::clone(end)).or_insert_with(|| self.node.pods(end).map(Rc::new)).clone()
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
            let policies = SelectingPolicies::new(&node).of(&row);
            assert_eq!(
                (policies.named.join(",").as_str(), policies.hidden),
                (expected, 0),
                "{state:?} {direction} {from} {to}"
            );
        }
    }

    /// Of many policies the first are named, and each is counted once.
    #[test]
    fn many_policies_are_counted() {
        let node = example();
        let policies = SelectingPolicies::new(&node);
        let named = |from: usize, to: usize| (from..to).map(|of| format!("shop/{of:03}")).collect();
        let pods =
            PodsOfEnd { ingress_policies: named(0, 300), egress_policies: named(200, 320), ..PodsOfEnd::default() };
        policies.ends.borrow_mut().insert("a/b".into(), Some(Rc::new(pods)));
        let row = DropRow {
            from: "a/b".into(),
            to: "a/b".into(),
            protocol: None,
            state: State::Denied,
            reason: "".into(),
            direction: "".into(),
            count: Counted::default(),
            first: 0,
        };
        let selecting = policies.of(&row);
        assert_eq!((selecting.named.first().map(String::as_str), selecting.named.len()), (Some("shop/000"), 8));
        assert_eq!(selecting.hidden, 312);
    }
}
