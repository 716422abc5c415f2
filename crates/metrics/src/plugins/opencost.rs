//! `opencost`: what each pod sent and received, as the cost model of OpenCost asks for it, which
//! has no such metric without a daemon of its own.
//!
//! The rule of `zones` holds: of two observations one counts, and so a pod may be another node's.
//! OpenCost sums over all agents by pod. Its releases write two of the labels in two ways, so both
//! are there. A pod's traffic of an unknown place has no price: `same_zone` and `same_region` are
//! empty then, and no query of OpenCost selects it.

use super::zones::{is_counted, overhead};
use crate::context::POD_LABELS;
use crate::expose::Spec;
use crate::options::Options;
use crate::plugin::{Emit, Plugin, Table, Texts};
use crate::table::FAMILIES;
use crate::tuples::Tuples;
use webb_flow::{Flow, Sort};
use webb_index::Scope;

/// Every delta of a forwarded IP packet that is primary, at the pods that are its ends.
#[derive(Debug)]
pub(super) struct OpenCost;

const EGRESS: &[Spec] =
    &[Spec { name: "kubecost_pod_network_egress_bytes_total", help: "Bytes that a pod sent, for OpenCost" }];
const INGRESS: &[Spec] =
    &[Spec { name: "kubecost_pod_network_ingress_bytes_total", help: "Bytes that a pod received, for OpenCost" }];

const LABELS: &[&str] = &["internet", "same_zone", "same_region", "sameZone", "sameRegion"];

/// Numbers of the tables.
mod table {
    pub(super) const EGRESS: usize = 0;
    pub(super) const INGRESS: usize = 1;
}

impl Plugin for OpenCost {
    const NAME: &'static str = "opencost";
    const TABLES: &'static [Table] = &[Table::counters(EGRESS, LABELS), Table::counters(INGRESS, LABELS).of_receiver()];
    const CONTEXT: &'static [&'static str] = &POD_LABELS;
    const FIXED_CONTEXT: bool = true;
    const FLUSHES: bool = true;

    fn new(_options: &Options) -> Self {
        Self
    }

    fn observe(&self, flow: &Flow, emit: &mut Emit<'_, Self>) {
        if !is_counted(flow, emit.index) {
            return;
        }
        let is_pod = |sort| matches!(sort, Sort::Local | Sort::Remote);
        let [sent, received] = [flow.source, flow.destination].map(|end| is_pod(end.sort()));
        let scope = emit.index.scope(flow);
        let zone = match scope {
            Scope::SameNode | Scope::SameZone => Some(true),
            Scope::CrossZone | Scope::CrossRegion | Scope::Internet => Some(false),
            Scope::Unknown => None,
        };
        let region = match scope {
            // Zones that differ are taken for those of one region, unless their regions differ.
            Scope::SameNode | Scope::SameZone | Scope::CrossZone => Some(true),
            Scope::CrossRegion | Scope::Internet => Some(false),
            Scope::Unknown => emit.index.is_in_region(flow),
        };
        let key = u64::from(scope == Scope::Internet) | number(zone) << 1 | number(region) << 3;
        match overhead(flow, emit.index) {
            0 => {
                if sent {
                    emit.count(table::EGRESS, key);
                }
                if received {
                    emit.count_receiver(table::INGRESS, key);
                }
            }
            more => {
                for table in [(sent, table::EGRESS), (received, table::INGRESS)] {
                    if let (true, table) = table {
                        emit.add(table, key, [flow.bytes + more; FAMILIES]);
                    }
                }
            }
        }
    }

    #[inline]
    fn amounts(flow: &Flow) -> [u64; FAMILIES] {
        [flow.bytes; FAMILIES]
    }

    fn texts(_table: usize, key: u64, _tuples: &Tuples) -> Texts {
        let internet = if key & 1 == 1 { "true" } else { "false" };
        let [zone, region] = [text(key >> 1 & 3), text(key >> 3 & 3)];
        [internet, zone, region, zone, region].map(Into::into).into()
    }
}

/// Packs what may not be known.
fn number(known: Option<bool>) -> u64 {
    known.map_or(2, u64::from)
}

fn text(number: u64) -> &'static str {
    match number {
        0 => "false",
        1 => "true",
        _ => "",
    }
}
