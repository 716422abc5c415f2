//! The operator's families, and docs/operator-metrics.md made from them.

use std::collections::BTreeSet;

use webb::operator_metrics::{OF_EACH, OF_LEADER};

use crate::agent_inventory::{check, summary};
use crate::inventory::golden;

const HEAD: &str = "\
# Cilium's operator metrics\n\n\
Written by tests/command/operator_inventory.rs from what the code defines; do not edit. `webb\n\
operator` serves these families at `operator.listen` (`[::]:9963`, Cilium's port), and so does an\n\
agent with `operator.election`; with them the `cilium_operator_process_*` of this process. Of\n\
several replicas one leads, by a Lease: it alone exposes what is the same for the whole cluster. A\n\
scrape decides by the clock whether its replica leads, so that one that was stopped, or cut off,\n\
exposes nothing of it. `agent_metrics.compat` chooses the version of Cilium that labels are of. A\n\
family without a series is left out. A value that webb cannot know is not exposed: these families\n\
are listed too, with the reason.\n";

/// docs/operator-metrics.md.
fn page() -> String {
    let (each, leader) = (summary(OF_EACH), summary(OF_LEADER));
    format!("{HEAD}\nEvery replica exposes:\n{each}\n## The leader alone\n\nThe leader alone exposes:\n{leader}")
}

/// Nothing is exposed that the document does not have.
#[test]
fn the_operators_inventory_is_as_written_down() {
    golden("docs/operator-metrics.md", |_| page());
}

/// Families are those of the operator, each once; what the leader alone exposes is not exposed by
/// others under the same name.
#[test]
fn families_of_the_operator_are_unambiguous() {
    for categories in [OF_EACH, OF_LEADER] {
        check(categories, &["cilium_operator_", "cilium_lbipam_", "webb_operator_"]);
    }
    let names = |categories: &[&webb::families::Category]| -> BTreeSet<&str> {
        categories.iter().flat_map(|category| category.families).map(|family| family.def.name).collect()
    };
    assert!(names(OF_EACH).is_disjoint(&names(OF_LEADER)));
}
