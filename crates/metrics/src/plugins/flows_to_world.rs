//! `flows-to-world`: what leaves the cluster (hubble-contract §1.4).

use super::{number, protocol};
use crate::expose::Spec;
use crate::options::Options;
use crate::plugin::{Emit, Plugin, Table, Texts};
use crate::tuples::Tuples;
use webb_flow::sym::Sym;
use webb_flow::{Extra, Flow, L4, Reply, TcpFlags, Verdict};

/// Flows to `reserved:world` that are no replies, and those that a policy denied.
#[derive(Debug)]
pub(super) struct World {
    any_drop: bool,
    port: bool,
    syn_only: bool,
    /// The one reason that counts without `any-drop`; an explicit deny rule is another (quirk 8).
    policy_denied: Sym,
}

const FAMILY: &[Spec] =
    &[Spec { name: "hubble_flows_to_world_total", help: "Total number of flows to reserved:world" }];
/// `DropReason.POLICY_DENIED`.
const POLICY_DENIED: i32 = 133;

impl World {
    fn counts(&self, flow: &Flow, extra: Option<&Extra>) -> bool {
        if self.syn_only && (!flow.tcp_flags.has(TcpFlags::SYN) || flow.l4 != L4::Tcp || flow.reply == Reply::Yes) {
            return false;
        }
        if flow.verdict == Verdict::Dropped {
            return self.any_drop || self.is_policy_denied(flow, extra);
        }
        flow.reply != Reply::Yes
    }

    fn is_policy_denied(&self, flow: &Flow, extra: Option<&Extra>) -> bool {
        extra.map_or(flow.reason.0 == self.policy_denied, |extra| extra.drop_reason == POLICY_DENIED)
    }
}

/// `event_type` is there.
fn has_event(flow: &Flow, extra: Option<&Extra>) -> bool {
    extra.map_or(number::event(flow, None) != 0, |extra| extra.event_type.is_some())
}

impl Plugin for World {
    const NAME: &'static str = "flows-to-world";
    const TABLES: &'static [Table] = &[Table::counters(FAMILY, &["protocol", "verdict", "port"])];
    const OPTIONS: &'static [&'static str] = &["any-drop", "port", "syn-only"];

    fn new(options: &Options) -> Self {
        Self {
            any_drop: options.has("any-drop"),
            port: options.has("port"),
            syn_only: options.has("syn-only"),
            policy_denied: Sym::new("POLICY_DENIED"),
        }
    }

    fn tables(options: &Options) -> &'static [Table] {
        const WITHOUT_PORT: &[Table] = &[Table::counters(FAMILY, &["protocol", "verdict"])];
        if options.has("port") { Self::TABLES } else { WITHOUT_PORT }
    }

    #[inline]
    fn observe(&self, flow: &Flow, emit: &mut Emit<'_, Self>) {
        if !emit.destination().world {
            return;
        }
        let extra = emit.extra();
        // Layer 4 may be there and say nothing.
        if flow.l4 == L4::None && !extra.is_some_and(|extra| extra.has_l4) {
            return;
        }
        if !has_event(flow, extra) || !self.counts(flow, extra) {
            return;
        }
        let protocol = protocol::number(flow, extra);
        // Port 0 is a port; none at all is not.
        let port = match flow.l4 {
            L4::Tcp | L4::Udp | L4::Sctp if self.port => Some(flow.destination_port),
            _ => None,
        };
        let verdict = number::verdict(flow, extra);
        let key = if extra.is_none() || number::is_verdict(verdict) {
            let port = port.map_or(0, |port| u64::from(port) << 1 | 1);
            port << 16 | u64::from(u16::from_le_bytes([protocol, flow.verdict as u8]))
        } else {
            let tuple = emit.tuple().text(protocol::text(protocol)).text(&number::verdict_text(verdict));
            let tuple = match port {
                Some(port) => tuple.number(port),
                None => tuple.text(""),
            };
            tuple.id() | number::TUPLE
        };
        emit.count(0, key);
    }

    fn texts(_table: usize, key: u64, tuples: &Tuples) -> Texts {
        if let Some(tuple) = number::tuple(key) {
            return tuples.texts(tuple);
        }
        let [protocol, verdict, ..] = key.to_le_bytes();
        let port = key >> 16;
        let port = if port & 1 == 1 { (port >> 1).to_string() } else { String::new() };
        vec![protocol::text(protocol).into(), Verdict::of(verdict).name().into(), port.into()]
    }
}
