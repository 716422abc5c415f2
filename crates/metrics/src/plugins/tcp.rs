//! `tcp`: connections opened, accepted, closed and reset, by their flags (hubble-contract §1.12).

use crate::expose::Spec;
use crate::options::Options;
use crate::plugin::{Emit, Plugin, Table, Texts};
use crate::tuples::Tuples;
use webb_flow::{Family, Flow, L4, TcpFlags};

/// Forwarded TCP flows with known flags. One flow counts under each of its flags.
#[derive(Debug)]
pub(super) struct Tcp;

const FLAGS: [&str; 4] = ["FIN", "SYN", "SYN-ACK", "RST"];
const FIN: u8 = 0;
const SYN: u8 = 1;
const SYN_ACK: u8 = 2;
const RST: u8 = 3;

impl Plugin for Tcp {
    const NAME: &'static str = "tcp";
    const TABLES: &'static [Table] = &[Table::counters(
        &[Spec { name: "hubble_tcp_flags_total", help: "TCP flag occurrences" }],
        &["flag", "family"],
    )];

    fn new(_options: &Options) -> Self {
        Self
    }

    #[inline]
    fn observe(&self, flow: &Flow, emit: &mut Emit<'_, Self>) {
        if flow.l4 != L4::Tcp || !flow.verdict.passed() || !has_ip(flow, emit) {
            return;
        }
        let mut count = |flag| emit.count(0, u64::from(u16::from_le_bytes([flag, flow.family as u8])));
        if flow.tcp_flags.has(TcpFlags::FIN) {
            count(FIN);
        }
        if flow.tcp_flags.has(TcpFlags::SYN) {
            count(if flow.tcp_flags.has(TcpFlags::ACK) { SYN_ACK } else { SYN });
        }
        if flow.tcp_flags.has(TcpFlags::RST) {
            count(RST);
        }
    }

    fn texts(_table: usize, key: u64, _tuples: &Tuples) -> Texts {
        let [flag, family, ..] = key.to_le_bytes();
        let flag = FLAGS.get(usize::from(flag)).copied().unwrap_or_default();
        vec![flag.into(), Family::of(family).name().into()]
    }
}

/// True for a flow with an IP message, though that may not say its version.
#[inline]
pub(super) fn has_ip<P: Plugin>(flow: &Flow, emit: &Emit<'_, P>) -> bool {
    flow.family != Family::NotUsed || emit.extra().is_some_and(|extra| extra.has_ip)
}
