//! `policy`: verdicts of NetworkPolicies (hubble-contract §1.9).

use super::number;
use crate::expose::Spec;
use crate::options::Options;
use crate::plugin::{Emit, Plugin, Table, Texts};
use crate::tuples::Tuples;
use webb_flow::extra::L7Record;
use webb_flow::{Event, Extra, Flow};

/// Policy verdicts, but for those on packets of the node itself; and every layer-7 flow.
#[derive(Debug)]
pub(super) struct Policy;

/// The numeric identity of this node.
const HOST: u32 = 1;

/// Texts of the label `match`: `policy_match_type` by number, then one that Hubble has no name for,
/// then layer 7.
const MATCHES: [&str; 11] =
    ["none", "l3-only", "l3-l4", "l4-only", "all", "l3-proto", "proto-only", "unknown", "l7/dns", "l7/http", "l7/"];
const UNKNOWN: u8 = 7;
const DNS: u8 = 8;
const HTTP: u8 = 9;
const OTHER_L7: u8 = 10;

/// Place in [`MATCHES`].
fn matched(flow: &Flow, extra: Option<&Extra>) -> u8 {
    if flow.event == Event::L7 {
        return match extra.and_then(|extra| extra.l7.as_ref()).map(|l7| &l7.record) {
            Some(L7Record::Dns(_)) => DNS,
            Some(L7Record::Http(_)) => HTTP,
            Some(L7Record::None | L7Record::Grpc(_) | L7Record::Unanswered(_)) | None => OTHER_L7,
        };
    }
    let number = extra.map_or_else(|| flow.ruling.matched().into(), |extra| extra.policy_match_type);
    u8::try_from(number).unwrap_or(UNKNOWN).min(UNKNOWN)
}

impl Plugin for Policy {
    const NAME: &'static str = "policy";
    const VERDICTS: bool = true;
    const TABLES: &'static [Table] = &[Table::counters(
        &[Spec { name: "hubble_policy_verdicts_total", help: "Total number of Cilium network policy verdicts" }],
        &["direction", "match", "action"],
    )];

    fn new(_options: &Options) -> Self {
        Self
    }

    #[inline]
    fn observe(&self, flow: &Flow, emit: &mut Emit<'_, Self>) {
        match flow.event {
            Event::L7 => {}
            Event::PolicyVerdict if emit.source().identity_number != HOST => {}
            _ => return,
        }
        let extra = emit.extra();
        let matched = matched(flow, extra);
        let key = match (number::direction(flow, extra), number::verdict(flow, extra)) {
            (direction @ 0..=2, verdict @ 0..=7) => {
                let [direction, ..] = direction.to_le_bytes();
                let [verdict, ..] = verdict.to_le_bytes();
                u64::from(u32::from_le_bytes([direction, matched, verdict, 0]))
            }
            (direction, verdict) => {
                let [direction, matched, action] = texts(direction, matched, verdict);
                emit.tuple().text(&direction).text(&matched).text(&action).id() | number::TUPLE
            }
        };
        emit.count(0, key);
    }

    fn texts(_table: usize, key: u64, tuples: &Tuples) -> Texts {
        if let Some(tuple) = number::tuple(key) {
            return tuples.texts(tuple);
        }
        let [direction, matched, verdict, ..] = key.to_le_bytes();
        texts(direction.into(), matched, verdict.into()).map(Into::into).into()
    }
}

fn texts(direction: i32, matched: u8, verdict: i32) -> [String; 3] {
    let matched = MATCHES.get(usize::from(matched)).copied().unwrap_or_default();
    let lower = |text: String| text.to_ascii_lowercase();
    [lower(number::direction_text(direction)), matched.to_owned(), lower(number::verdict_text(verdict))]
}
