//! The agent endpoint's families, and docs/agent-metrics.md made from them.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use webb::agent_metrics::CATEGORIES;
use webb::families::{Category, Family, Versions};
use webb_metrics::expose::FamilyType;
use webb_settings::Compat;

use crate::inventory::golden;

const HEAD: &str = "\
# Cilium's agent metrics\n\n\
Written by tests/command/agent_inventory.rs from what the code defines; do not edit. The endpoint is\n\
off until `agent_metrics.listen` has an address (`[::]:9962` is Cilium's); its `/metrics` has these\n\
families, and the `cilium_process_*` of this process. `agent_metrics.compat` chooses the version of\n\
Cilium that names and labels are of; a row with versions is there in those only.\n\
`agent_metrics.metrics` switches each family on (`+name`) or off (`-name`). A family without a\n\
series is left out of the exposition. A value that webb cannot know is not exposed: these families\n\
are listed too, with the reason.\n";

fn version(version: Compat) -> &'static str {
    match version {
        Compat::V1_16 => "1.16",
        Compat::V1_18 => "1.18",
        Compat::V1_19 => "1.19",
        Compat::V1_20 => "1.20",
    }
}

fn versions(range: Versions) -> String {
    match (range == Versions::ALL, range.from, range.to) {
        (true, ..) => String::new(),
        (false, Compat::V1_16, to) => format!("to {}", version(to)),
        (false, from, Compat::V1_20) => format!("from {}", version(from)),
        (false, from, to) => format!("{} to {}", version(from), version(to)),
    }
}

fn row(family: &Family) -> String {
    let labels: Vec<_> = family.def.labels.iter().map(|label| format!("`{label}`")).collect();
    let mut notes = versions(family.versions);
    if !family.on_by_default {
        notes = [notes, "off by default".to_owned()]
            .into_iter()
            .filter(|note| !note.is_empty())
            .collect::<Vec<_>>()
            .join(", ");
    }
    let (name, kind, source) = (family.def.name, family.def.kind.name(), family.source);
    format!("| `{name}` | {kind} | {} | {notes} | {source} |\n", labels.join(", "))
}

fn section(category: &Category) -> String {
    let mut text = format!("\n## {}\n", category.title);
    if !category.families.is_empty() {
        text.push_str("\n| family | type | labels | versions | source and meaning |\n|---|---|---|---|---|\n");
        text.extend(category.families.iter().map(|family| row(family)));
    }
    if !category.absent.is_empty() {
        text.push_str("\n| not exposed | reason |\n|---|---|\n");
        for absent in category.absent {
            writeln!(text, "| `{}` | {} |", absent.name, absent.reason).unwrap();
        }
    }
    text
}

/// The counts of these categories, and a section for each.
pub(crate) fn summary(categories: &[&Category]) -> String {
    let mut page = "\n| category | families | not exposed |\n|---|---|---|\n".to_owned();
    for category in categories {
        let names: BTreeSet<_> = category.families.iter().map(|family| family.def.name).collect();
        writeln!(page, "| {} | {} | {} |", category.title, names.len(), category.absent.len()).unwrap();
    }
    page.extend(categories.iter().map(|category| section(category)));
    page
}

/// docs/agent-metrics.md.
fn page() -> String {
    format!("{HEAD}{}", summary(CATEGORIES))
}

/// Nothing is exposed that the document does not have.
#[test]
fn the_agent_inventory_is_as_written_down() {
    golden("docs/agent-metrics.md", |_| page());
}

/// In each version a name stands for one family of one form; a family is not both exposed and
/// absent; a counter is one to Prometheus's conventions unless Cilium's name says otherwise.
#[test]
fn families_of_a_version_are_unambiguous() {
    check(CATEGORIES, &["cilium_"]);
}

/// Fails if one of these categories has a family that another document would read otherwise; names
/// begin with one of `prefixes`.
pub(crate) fn check(categories: &[&Category], prefixes: &[&str]) {
    let families = || categories.iter().flat_map(|category| category.families.iter());
    for compat in [Compat::V1_16, Compat::V1_18, Compat::V1_19, Compat::V1_20] {
        let mut seen = BTreeSet::new();
        for family in families().filter(|family| family.versions.contains(compat)) {
            assert!(seen.insert(family.def.name), "{} twice in {compat:?}", family.def.name);
        }
    }
    for family in families() {
        let Family { def, source, .. } = family;
        assert!(prefixes.iter().any(|prefix| def.name.starts_with(prefix)), "{}", def.name);
        assert!(!def.help.ends_with('.') && !source.is_empty() && !source.contains('|'), "{}", def.name);
        let absent = categories.iter().flat_map(|category| category.absent).find(|absent| absent.covers(def.name));
        assert!(absent.is_none(), "{} is exposed and absent", def.name);
        assert!(def.kind == FamilyType::Counter || !def.name.ends_with("_total"), "{}", def.name);
    }
}
