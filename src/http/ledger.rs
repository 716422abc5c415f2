//! The ledger of packets, as the page and the API show it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::node_view::NodeView;
use crate::selfmetrics::{LEDGER_OUTCOMES, MISSING_OUTCOMES};

/// What became of the packets that the programs saw at one hook.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct HookLedger {
    pub(super) hook: String,
    pub(super) seen: f64,
    /// By outcome, those of [`LEDGER_OUTCOMES`].
    pub(super) outcomes: BTreeMap<&'static str, f64>,
    /// Waiting in the connection table.
    pub(super) pending: f64,
    /// Seen, less all others; not 0 between two sweeps.
    pub(super) difference: f64,
}

/// Each hook; none without programs of webb's own.
pub(super) fn hooks(node: &NodeView) -> Vec<HookLedger> {
    let label = |labels: &[(String, String)]| {
        labels.iter().find(|(name, _)| name == "hook").map_or_else(String::new, |(_, value)| value.clone())
    };
    let seen: Vec<_> =
        node.own("webb_ledger_seen_packets_total").map(|(labels, value)| (label(labels), value)).collect();
    let hook = |(hook, seen): (String, f64)| {
        let of = |outcome: &str| node.own_of("webb_ledger_packets_total", &[("hook", &hook), ("outcome", outcome)]);
        let outcomes: BTreeMap<_, _> = LEDGER_OUTCOMES.iter().map(|outcome| (*outcome, of(outcome))).collect();
        let pending = node.own_of("webb_ledger_pending_packets", &[("hook", &hook)]);
        let known: f64 = outcomes.values().sum();
        HookLedger { difference: seen - known - pending, hook, seen, outcomes, pending }
    };
    seen.into_iter().map(hook).collect()
}

/// Packets that were seen, and those of them that are in no metric of pairs.
pub(super) fn seen_and_missing(hooks: &[HookLedger]) -> (f64, f64) {
    let missing = |hook: &HookLedger| -> f64 {
        hook.outcomes.iter().filter(|(outcome, _)| MISSING_OUTCOMES.contains(outcome)).map(|(_, packets)| packets).sum()
    };
    (hooks.iter().map(|hook| hook.seen).sum(), hooks.iter().map(missing).sum())
}

/// What makes figures incomplete.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Degraded {
    pub(super) code: &'static str,
    pub(super) text: String,
    /// Key of the configuration that helps; none if none does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) setting: Option<&'static str>,
}

/// All that is incomplete: losses in the ledger since the agent started, components that are not
/// up, and series that stand for others.
pub(super) fn degraded(node: &NodeView, hooks: &[HookLedger]) -> Vec<Degraded> {
    let lost = |outcome: &str| -> f64 {
        hooks.iter().flat_map(|hook| &hook.outcomes).filter(|(of, _)| **of == outcome).map(|(_, packets)| packets).sum()
    };
    let mut found = Vec::new();
    let mut add = |code, packets: f64, text: &str, setting| {
        if packets > 0.0 {
            found.push(Degraded { code, text: format!("{packets} {text}"), setting });
        }
    };
    add(
        "untracked",
        lost("untracked"),
        "packets have no pair: the connection table and the ring were full",
        Some("table_bytes"),
    );
    add("lost", lost("lost"), "packets have no pair: the ring was full", Some("rings.flow_bytes"));
    add("suppressed", lost("suppressed"), "drops have no pair: they were over the budget", Some("drop_budget"));
    add(
        "folded",
        node.own_of("webb_series_folded_total", &[]),
        "counts are in series of ~other: there is no room for more",
        Some("max_series"),
    );
    for component in &node.components {
        if !matches!(component.state().label(), "up" | "stopped") {
            let reason = component.reason();
            let why = if reason.is_empty() { String::new() } else { format!(": {reason}") };
            let text = format!("{} is {}{why}", component.name(), component.state().label());
            found.push(Degraded { code: "component", text, setting: None });
        }
    }
    found
}
