//! The direction of a call: which end of a flow opened it, at which port, and who saw it.

use webb_flow::{Direction, Event, Flow, L4, Point, Reply, TcpFlags};

use super::key::Reporter;

/// A flow seen as part of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Call {
    /// The sender of the packet opened the call.
    pub(crate) by_source: bool,
    /// False if the ports alone say so.
    pub(crate) known: bool,
    /// Port of the side that was called.
    pub(crate) port: u16,
    pub(crate) reporter: Reporter,
}

impl Call {
    #[inline]
    pub(crate) fn of(flow: &Flow) -> Self {
        let (by_source, known) = match flow.reply {
            Reply::No => (true, true),
            Reply::Yes => (false, true),
            Reply::Unknown => opener(flow),
        };
        let port = if by_source { flow.destination_port } else { flow.source_port };
        let reporter = match flow.direction {
            // A socket of the node has sent again: the direction is its side's, and no pod's
            // interface has seen it.
            _ if flow.event == Event::Connection && flow.point == Point::ToNetwork => Reporter::Node,
            Direction::Egress => Reporter::Source,
            Direction::Ingress => Reporter::Destination,
            Direction::Unknown => Reporter::Node,
        };
        Self { by_source, known, port, reporter }
    }
}

/// Whether the sender opened, as far as the packet alone shows it, and whether that is certain. Of
/// two ports the lower one is taken for the one that was called.
fn opener(flow: &Flow) -> (bool, bool) {
    let has = |flag| flow.tcp_flags.has(flag);
    match flow.l4 {
        L4::Tcp if has(TcpFlags::SYN) => (!has(TcpFlags::ACK), true),
        L4::IcmpV4 if matches!(flow.icmp_type, 0 | 8) => (flow.icmp_type == 8, true),
        L4::IcmpV6 if matches!(flow.icmp_type, 128 | 129) => (flow.icmp_type == 128, true),
        _ => (flow.source_port >= flow.destination_port, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(flow: Flow) -> (bool, bool, u16) {
        let Call { by_source, known, port, .. } = Call::of(&flow);
        (by_source, known, port)
    }

    /// What the connection says counts; else the packet; else the ports, and then it is a guess.
    #[test]
    fn the_opener_is_told_by_connection_packet_or_ports() {
        let flow = Flow { source_port: 80, destination_port: 40_000, l4: L4::Tcp, ..Flow::default() };
        assert_eq!(call(Flow { reply: Reply::No, ..flow }), (true, true, 40_000));
        assert_eq!(call(Flow { reply: Reply::Yes, ..flow }), (false, true, 80));
        assert_eq!(call(flow), (false, false, 80));
        let syn = TcpFlags::known(0x02);
        assert_eq!(call(Flow { tcp_flags: syn, ..flow }), (true, true, 40_000));
        assert_eq!(call(Flow { tcp_flags: TcpFlags::known(0x12), ..flow }), (false, true, 80));
        let echo = Flow { l4: L4::IcmpV4, icmp_type: 8, ..Flow::default() };
        assert_eq!(call(echo), (true, true, 0));
        assert_eq!(call(Flow { icmp_type: 0, ..echo }), (false, true, 0));
        assert_eq!(call(Flow { l4: L4::IcmpV6, icmp_type: 129, ..echo }), (false, true, 0));
    }
}
