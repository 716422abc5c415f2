//! Decides whether a packet was dropped by a policy.
//!
//! The kernel reports where a packet was dropped, but neither the rule nor the connection. Policies
//! forbid connections, so a packet is held against them as the opening one of its connection only
//! if it is that. A reply follows its connection: dropped though policies allow that, it was
//! dropped for something else (connection tracking called it invalid, say).

use webb_flow::{Direction, Flow, L4, Reason, SctpChunk, Sort, TcpFlags};
use webb_index::{Index, Policies, policy};

/// The relation of a drop to policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropDecision {
    /// A policy forbids it.
    Denied,
    /// The drop has another cause, or it is unknown whether a policy forbids the packet.
    Other,
    /// A policy forbids it if the packet opened its connection, according to connection tracking.
    IfOpening,
}

/// A drop under a reason that an enforcer of policies gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Suspect {
    /// The reason that the kernel gave.
    pub kernel: Reason,
    /// The reason that it has if no rule allows the packet.
    pub denied: Reason,
    /// The reason that it has if a rule forbids the packet.
    pub deny: Reason,
}

/// The position of a packet in its connection, as far as the packet shows.
enum PacketPosition {
    Opening,
    Later,
    /// UDP between two ports of which neither is well-known.
    Either,
    /// An error about another packet; it follows that packet's connection.
    Related,
}

/// Whether the sender of a datagram opened the conversation, where the ports show it: of two, the
/// well-known one is the server's.
pub fn opened_by_sender(flow: &Flow) -> Option<bool> {
    const WELL_KNOWN: u16 = 1024;
    match (flow.source_port < WELL_KNOWN, flow.destination_port < WELL_KNOWN) {
        (false, true) => Some(true),
        (true, false) => Some(false),
        _ => None,
    }
}

fn place(flow: &Flow) -> PacketPosition {
    let opens = match flow.l4 {
        L4::Tcp => flow.tcp_flags.has(TcpFlags::SYN) && !flow.tcp_flags.has(TcpFlags::ACK),
        L4::Sctp => flow.sctp_chunk == SctpChunk::Init,
        L4::Udp => match opened_by_sender(flow) {
            Some(opened) => opened,
            None => return PacketPosition::Either,
        },
        // Echo replies are later packets, and errors belong to the connection of the packet that
        // they cite.
        L4::IcmpV4 if matches!(flow.icmp_type, 3 | 4 | 5 | 11 | 12) => return PacketPosition::Related,
        L4::IcmpV6 if matches!(flow.icmp_type, 1..=4) => return PacketPosition::Related,
        L4::IcmpV4 => flow.icmp_type != 0,
        L4::IcmpV6 => flow.icmp_type != 129,
        _ => true,
    };
    if opens { PacketPosition::Opening } else { PacketPosition::Later }
}

impl Suspect {
    /// Decides, and sets the reason and the direction of the flow.
    pub fn evaluate(self, flow: &mut Flow, index: &Index) -> DropDecision {
        self.dismiss(flow);
        // Before the first sync one policy may forbid what another, not known yet, allows.
        if !index.is_ready() {
            return DropDecision::Other;
        }
        let (denial, forbidden) = self.denial(flow, index.policies(), index);
        if let (DropDecision::Denied, Some(forbidden)) = (denial, forbidden) {
            (flow.reason, flow.direction) = (self.reason(forbidden), forbidden.direction);
        }
        denial
    }

    /// Sets what the flow has if no policy dropped it.
    pub fn dismiss(self, flow: &mut Flow) {
        (flow.reason, flow.direction) = (self.kernel, direction(flow));
    }

    /// Decides by these policies, of this index or another.
    pub fn denial(self, flow: &Flow, policies: &Policies, index: &Index) -> (DropDecision, Option<policy::Denial>) {
        let forbidden = policies.forbids(index, flow);
        let is_reply_allowed = || policies.forbids(index, &flow.reversed()).is_none();
        let denial = match place(flow) {
            _ if forbidden.is_none() => DropDecision::Other,
            PacketPosition::Related => DropDecision::Other,
            PacketPosition::Later if is_reply_allowed() => DropDecision::Other,
            PacketPosition::Either if is_reply_allowed() => DropDecision::IfOpening,
            PacketPosition::Opening | PacketPosition::Later | PacketPosition::Either => DropDecision::Denied,
        };
        (denial, forbidden)
    }

    /// True if a policy forbids the packet, of which it has become known that it opened its
    /// connection.
    pub fn opening(self, flow: &mut Flow, index: &Index) -> bool {
        let forbidden = index.policies().forbids(index, flow);
        if let Some(forbidden) = forbidden {
            (flow.reason, flow.direction) = (self.reason(forbidden), forbidden.direction);
        }
        forbidden.is_some()
    }

    fn reason(self, forbidden: policy::Denial) -> Reason {
        if forbidden.explicit { self.deny } else { self.denied }
    }
}

/// The direction of a dropped packet, by which end is a pod of this node.
pub(super) fn direction(flow: &Flow) -> Direction {
    match (flow.source.sort(), flow.destination.sort()) {
        (Sort::Local, _) => Direction::Egress,
        (_, Sort::Local) => Direction::Ingress,
        _ => Direction::Unknown,
    }
}
