//! Warnings about entries of `agent_metrics.metrics` that switch nothing: the agent passes over
//! them, as Cilium's, and names them.

use webb_settings::{Compat, Problem, Resolved, Toggle, did_you_mean};

use super::agent_metrics::PREFIX;
use crate::agent_metrics::CATEGORIES;
use crate::families::{Family, PROCESS_FAMILIES};

const KEY: &str = "agent_metrics.metrics";

/// Characters of an entry that a warning shows.
const MAX_SHOWN: usize = 100;

/// Adds a warning for each entry that switches nothing.
pub(super) fn check(resolved: &mut Resolved) {
    let settings = resolved.settings.agent_metrics.clone();
    for toggle in &settings.metrics {
        let Some((message, help)) = warning(toggle, settings.compat) else { continue };
        let origin = resolved.origin_of_item(KEY, toggle.text());
        let problem = Problem::new(origin, format!("`{KEY}`: {message}"));
        resolved.warnings.push(if help.is_empty() { problem } else { problem.with_help(help) });
    }
}

fn families() -> impl Iterator<Item = &'static Family> {
    CATEGORIES.iter().flat_map(|category| category.families.iter().copied())
}

/// Warning about an entry, and the suggestion; none if it switches a family of that version.
fn warning(toggle: &Toggle, compat: Compat) -> Option<(String, String)> {
    let of_process: Vec<String> = PROCESS_FAMILIES.map(|name| format!("{PREFIX}_{name}")).into();
    let known = || families().map(|family| family.def.name).chain(of_process.iter().map(String::as_str));
    let name = match toggle.switch() {
        Ok((_, name)) => name,
        Err(why) => {
            let text: String = toggle.text().chars().take(MAX_SHOWN).collect();
            let entry = if text.is_empty() { String::new() } else { format!("`{}`: ", text.escape_debug()) };
            let help = match known().find(|name| *name == text) {
                Some(name) => format!("did you mean `+{name}`, or `-{name}`?"),
                None => did_you_mean(text.trim_start_matches(['+', '-']), known()),
            };
            return Some((format!("{entry}{why}; it is passed over"), help));
        }
    };
    if let Some(absent) = CATEGORIES.iter().flat_map(|category| category.absent).find(|absent| absent.covers(name)) {
        return Some((format!("`{name}` is not exposed: {}", absent.reason), String::new()));
    }
    if !known().any(|known| known == name) {
        return Some((format!("there is no family `{name}`"), did_you_mean(name, known())));
    }
    let is_of_version = families().any(|family| family.def.name == name && family.versions.contains(compat))
        || of_process.iter().any(|known| known == name);
    let other = || format!("`{name}` is not in the version of Cilium that `agent_metrics.compat` names");
    (!is_of_version).then(|| (other(), String::new()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Entries that switch something have no warning; every other is named, with a suggestion where
    /// there is one.
    #[test]
    fn entries_that_switch_nothing() {
        let warning = |text: &str| warning(&Toggle::new(text), Compat::V1_19).unwrap_or_default();
        for good in ["+cilium_version", "-cilium_process_open_fds", "-cilium_process_virtual_memory_max_bytes"] {
            assert_eq!(warning(good), (String::new(), String::new()), "{good}");
        }
        for (bad, message, help) in [
            ("", "the entry is empty; it is passed over", ""),
            ("cilium_version", "`cilium_version`: it has neither + nor -", "`+cilium_version`, or `-cilium_version`"),
            ("cilium_versoin", "neither + nor -", "did you mean `cilium_version`?"),
            ("+cilium-version", "it is not the name of a metric", "did you mean `cilium_version`?"),
            ("-cilium_versoin", "there is no family `cilium_versoin`", "did you mean `cilium_version`?"),
            ("+cilium_kvstore_quorum_errors_total", "is not exposed: webb uses no key-value store", ""),
            ("+cilium_hive_start_duration", "is not in the version of Cilium", ""),
        ] {
            let (found, suggested) = warning(bad);
            assert!(found.contains(message) && suggested.contains(help), "{bad}: {found}; {suggested}");
            assert_eq!(help.is_empty(), suggested.is_empty(), "{bad}: {suggested}");
        }
    }
}
