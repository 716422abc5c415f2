//! `port-distribution`: packets by destination port (hubble-contract §1.10).

use crate::expose::Spec;
use crate::options::Options;
use crate::plugin::{Emit, Plugin, Table, Texts};
use crate::tuples::Tuples;
use webb_flow::{Flow, L4, Reply};

/// Forwarded flows that are known to be no replies.
#[derive(Debug)]
pub(super) struct Ports;

impl Plugin for Ports {
    const NAME: &'static str = "port-distribution";
    const TABLES: &'static [Table] = &[Table::counters(
        &[Spec { name: "hubble_port_distribution_total", help: "Numbers of packets distributed by destination port" }],
        &["protocol", "port"],
    )];

    fn new(_options: &Options) -> Self {
        Self
    }

    #[inline]
    fn observe(&self, flow: &Flow, emit: &mut Emit<'_, Self>) {
        if flow.verdict.passed() && flow.l4 != L4::None && flow.reply == Reply::No {
            let port = if matches!(flow.l4, L4::Tcp | L4::Udp | L4::Sctp) { flow.destination_port } else { 0 };
            emit.count(0, u64::from(port) << 8 | u64::from(flow.l4 as u8));
        }
    }

    fn texts(_table: usize, key: u64, _tuples: &Tuples) -> Texts {
        let [l4, port @ .., _, _, _, _, _] = key.to_le_bytes();
        vec![L4::of(l4).name().into(), u16::from_le_bytes(port).to_string().into()]
    }
}
