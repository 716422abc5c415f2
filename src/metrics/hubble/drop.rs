//! `drop`: what was dropped, and why (contract, section 1.2).

use super::protocol;
use crate::expose::Spec;
use crate::flow::{Flow, Verdict};
use crate::metrics::plugin::{Emit, Plugin, Table, Texts};
use crate::sym::Sym;

/// Every flow with the verdict DROPPED, whatever its event.
#[derive(Debug)]
pub struct Drops {
    /// The reason of a drop without one, as of a denied layer-7 request.
    unknown: Sym,
}

impl Plugin for Drops {
    const NAME: &'static str = "drop";
    const TABLES: &'static [Table] = &[Table {
        families: &[Spec { name: "hubble_drop_total", help: "Number of drops" }],
        labels: &["reason", "protocol"],
    }];

    fn new() -> Self {
        Self { unknown: Sym::new("DROP_REASON_UNKNOWN") }
    }

    #[inline]
    fn observe(&self, flow: &Flow, emit: &mut Emit<'_, Self>) {
        if flow.verdict == Verdict::Dropped {
            let reason = if flow.reason.0.is_empty() { self.unknown } else { flow.reason.0 };
            emit.count(0, u64::from(reason.id()) << 8 | u64::from(protocol::number(flow)));
        }
    }

    fn texts(_table: usize, key: u64) -> Texts {
        let [protocol, reason @ .., _, _, _] = key.to_le_bytes();
        let reason = Sym::of(u32::from_le_bytes(reason)).text();
        vec![reason.to_string().into(), protocol::text(protocol).into()]
    }
}
