//! `drop`: dropped packets by reason (hubble-contract §1.2).

use super::{number, protocol};
use crate::expose::Spec;
use crate::options::Options;
use crate::plugin::{Emit, Plugin, Table, Texts};
use crate::tuples::Tuples;
use webb_flow::sym::Sym;
use webb_flow::{Flow, Verdict, names};

/// Every flow with the verdict DROPPED, whatever its event.
#[derive(Debug)]
pub(super) struct Drops {
    /// Hubble's reasons, by number. A kernel's reason of the same name is the same reason.
    known: Vec<(i32, Sym)>,
    /// The reason of a drop without one, as of a denied layer-7 request.
    unknown: Sym,
}

impl Drops {
    /// Name of the reason if there is one, else its number.
    fn reason(&self, flow: &Flow, raw: Option<i32>) -> Result<Sym, i32> {
        match raw {
            None if flow.reason.0.is_empty() => Ok(self.unknown),
            None => Ok(flow.reason.0),
            Some(number) => match self.known.binary_search_by_key(&number, |&(known, _)| known) {
                Ok(at) => self.known.get(at).map(|&(_, name)| name).ok_or(number),
                Err(_) => Err(number),
            },
        }
    }
}

impl Plugin for Drops {
    const NAME: &'static str = "drop";
    const TABLES: &'static [Table] =
        &[Table::counters(&[Spec { name: "hubble_drop_total", help: "Number of drops" }], &["reason", "protocol"])];

    fn new(_options: &Options) -> Self {
        let mut known: Vec<(i32, Sym)> =
            names::DROP_REASONS.iter().map(|&(number, name)| (number, Sym::new(name))).collect();
        known.sort_unstable_by_key(|&(number, _)| number);
        Self { known, unknown: Sym::new("DROP_REASON_UNKNOWN") }
    }

    #[inline]
    fn observe(&self, flow: &Flow, emit: &mut Emit<'_, Self>) {
        if flow.verdict != Verdict::Dropped {
            return;
        }
        let extra = emit.extra();
        let protocol = protocol::number(flow, extra);
        let key = match self.reason(flow, extra.map(|extra| extra.drop_reason)) {
            Ok(name) => u64::from(name.id()) << 8 | u64::from(protocol),
            Err(number) => {
                emit.tuple().text(&names::text(&names::DROP_REASONS, number)).text(protocol::text(protocol)).id()
                    | number::TUPLE
            }
        };
        emit.count(0, key);
    }

    fn texts(_table: usize, key: u64, tuples: &Tuples) -> Texts {
        if let Some(tuple) = number::tuple(key) {
            return tuples.texts(tuple);
        }
        let [protocol, reason @ .., _, _, _] = key.to_le_bytes();
        let reason = Sym::of(u32::from_le_bytes(reason)).text();
        vec![reason.to_string().into(), protocol::text(protocol).into()]
    }
}
