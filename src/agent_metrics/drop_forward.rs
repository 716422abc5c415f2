//! Drops and forwards of layers 3 and 4.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use webb_flow::Direction;
use webb_flow::abi::Totals;
use webb_settings::Compat;

use crate::bpf_loader::{Hook, Ledger};
use crate::families::{Category, CategorySource, Family, SelectedRows, Versions, cilium_families};
use crate::pipeline::{Dropped, Drops};

cilium_families! {
    DROP_COUNT: counter "cilium_drop_count_total" ["reason", "direction"]
        "Total dropped packets, by reason and ingress/egress direction"
        from "the kernel's `skb:kfree_skb` with its reason, for packets of pods, as `hubble_drop_total`. `Policy denied` and \
              `Policy denied by denylist` are drops that a NetworkPolicy explains; a few reasons have Cilium's text, all others \
              the kernel's own. Drops over `drop_budget` are in `webb_drops_suppressed_packets_total` alone. Absent where the \
              kernel gives no reasons";
    DROP_BYTES: counter "cilium_drop_bytes_total" ["reason", "direction"]
        "Total dropped bytes, by reason and ingress/egress direction"
        from "as `cilium_drop_count_total`; whole frames";
    FORWARD_COUNT: counter "cilium_forward_count_total" ["direction"]
        "Total forwarded packets, by ingress/egress direction"
        from "webb's programs at the pods' interfaces: `EGRESS` leaves a pod, `INGRESS` reaches one. A packet from a pod to \
              another of this node is in both. What the kernel drops after a pod has sent it was counted before";
    FORWARD_BYTES: counter "cilium_forward_bytes_total" ["direction"]
        "Total forwarded bytes, by ingress/egress direction"
        from "as `cilium_forward_count_total`; whole frames";
    MTU_ERRORS: counter "cilium_mtu_error_message_total" ["direction"]
        "Total number of ICMP fragmentation needed and ICMPv6 packet too big messages"
        from "webb's programs at the pods' interfaces", in Versions::from(Compat::V1_19);
    FRAGMENTS: counter "cilium_fragmented_count_total" ["direction"]
        "Total number of fragmented packets"
        from "webb's programs at the pods' interfaces: each fragment of an IP packet", in Versions::from(Compat::V1_19);
}

/// The category.
pub static CATEGORY: Category = Category { title: "Drops and forwards", families: FAMILIES, absent: &[] };

/// The direction at each of the pods' hooks.
const DIRECTIONS: [(Hook, &str); 2] = [(Hook::FromPod, "EGRESS"), (Hook::ToPod, "INGRESS")];

/// Source of the rows.
pub fn source(ledger: Ledger, drops: Arc<Drops>) -> CategorySource {
    // The counts of a packet are added one after the other: a difference of two that are read
    // meanwhile may be one too high, and the next must not be lower.
    let highest: [[AtomicU64; 2]; DIRECTIONS.len()] = Default::default();
    Box::new(move |rows| {
        if let Ok(totals) = ledger.totals() {
            for ((hook, direction), highest) in DIRECTIONS.iter().zip(&highest) {
                let Some(totals) = totals.get(*hook as usize) else { continue };
                at_hook(rows, direction, totals, highest);
            }
        }
        if ledger.sees_drops() {
            dropped(rows, &drops);
        }
    })
}

fn at_hook(rows: &mut SelectedRows<'_>, direction: &str, totals: &Totals, highest: &[AtomicU64; 2]) {
    let passed = [
        totals.seen_packets.saturating_sub(totals.flooded_packets + totals.stopped_packets),
        totals.seen_bytes.saturating_sub(totals.flooded_bytes + totals.stopped_bytes),
    ];
    let families: [&Family; 2] = [&FORWARD_COUNT, &FORWARD_BYTES];
    for ((family, passed), highest) in families.iter().zip(passed).zip(highest) {
        let before = highest.fetch_max(passed, Relaxed);
        rows.add(family, &[direction], passed.max(before));
    }
    rows.add(&MTU_ERRORS, &[direction], totals.mtu_errors);
    rows.add(&FRAGMENTS, &[direction], totals.fragments);
}

fn dropped(rows: &mut SelectedRows<'_>, drops: &Drops) {
    let mut counts: BTreeMap<(String, &str), Dropped> = BTreeMap::new();
    // A rate needs the series before its first drop.
    for (_, direction) in DIRECTIONS {
        counts.insert((POLICY_DENIED.to_owned(), direction), Dropped::default());
    }
    for (reason, direction, dropped) in drops.rows() {
        // Several of the kernel's reasons have one text.
        let row = counts.entry((prose(&reason.0.text()).to_owned(), direction_of(direction))).or_default();
        row.packets += dropped.packets;
        row.bytes += dropped.bytes;
    }
    for ((reason, direction), dropped) in counts {
        rows.add(&DROP_COUNT, &[&reason, direction], dropped.packets);
        rows.add(&DROP_BYTES, &[&reason, direction], dropped.bytes);
    }
}

fn direction_of(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "INGRESS",
        Direction::Egress => "EGRESS",
        Direction::Unknown => "UNKNOWN",
    }
}

const POLICY_DENIED: &str = "Policy denied";

/// Cilium's text for a reason that has one; the kernel's name otherwise.
fn prose(reason: &str) -> &str {
    match reason {
        "POLICY_DENIED" => POLICY_DENIED,
        "POLICY_DENY" => "Policy denied by denylist",
        "FIB_LOOKUP_FAILED" => "FIB lookup failed",
        "INVALID_PACKET_DROPPED" => "Invalid packet",
        "UNSUPPORTED_L3_PROTOCOL" => "Unsupported L3 protocol",
        "UNKNOWN_L4_PROTOCOL" => "Unknown L4 protocol",
        "PKT_TOO_BIG" => "Fragmentation needed",
        own => own,
    }
}

#[cfg(test)]
mod tests {
    use webb_flow::sym::Sym;
    use webb_flow::{Event, Flow, Reason, Verdict};

    use super::*;
    use crate::families::Selection;

    fn shown(fill: impl Fn(&mut SelectedRows<'_>)) -> Vec<String> {
        let selection = Selection::new(Compat::V1_19, &[]);
        let mut rows = SelectedRows::new(&selection);
        fill(&mut rows);
        let line = |name: &str, metric: &prometheus::proto::Metric| {
            let labels: Vec<_> = metric.get_label().iter().map(|pair| pair.value().to_owned()).collect();
            format!("{name} {} {}", labels.join(","), metric.get_counter().get_value())
        };
        let families = rows.into_families();
        families
            .iter()
            .flat_map(|family| family.get_metric().iter().map(|metric| line(family.name(), metric)))
            .collect()
    }

    /// Policy drops have series before the first, reasons with one text are one series, and a
    /// reason that Cilium does not have keeps its name.
    #[test]
    fn drops_have_cilium_texts() {
        let drops = Drops::default();
        let first = shown(|rows| dropped(rows, &drops));
        assert_eq!(
            first[..2],
            ["cilium_drop_count_total Policy denied,EGRESS 0", "cilium_drop_count_total Policy denied,INGRESS 0"]
        );
        let drop = |reason: &str, direction| Flow {
            event: Event::Drop,
            verdict: Verdict::Dropped,
            reason: Reason(Sym::new(reason)),
            direction,
            packets: 1,
            bytes: 60,
            ..Flow::default()
        };
        drops.note(&[
            drop("POLICY_DENIED", Direction::Egress),
            drop("NEIGH_FAILED", Direction::Unknown),
            drop("PKT_TOO_BIG", Direction::Ingress),
        ]);
        let found = shown(|rows| dropped(rows, &drops));
        for expected in [
            "cilium_drop_count_total Policy denied,EGRESS 1",
            "cilium_drop_count_total NEIGH_FAILED,UNKNOWN 1",
            "cilium_drop_bytes_total Fragmentation needed,INGRESS 60",
        ] {
            assert!(found.iter().any(|line| line == expected), "{expected}: {found:?}");
        }
    }

    /// What a pod did not get is not forwarded, and a count never goes down.
    #[test]
    fn forwards_only_grow() {
        let highest = Default::default();
        let totals = |seen, flooded| Totals {
            seen_packets: seen,
            flooded_packets: flooded,
            stopped_packets: 1,
            ..Totals::default()
        };
        let at = |totals: Totals| shown(|rows| at_hook(rows, "INGRESS", &totals, &highest))[0].clone();
        assert_eq!(at(totals(10, 2)), "cilium_forward_count_total INGRESS 7");
        assert_eq!(at(totals(10, 3)), "cilium_forward_count_total INGRESS 7");
        assert_eq!(at(totals(12, 3)), "cilium_forward_count_total INGRESS 8");
    }
}
