//! The line that Hubble's command line prints behind a flow (`flow.Summary`).

use std::fmt::Write as _;

use webb_flow::extra::{Dns, Http, L7, L7Kind, L7Record};
use webb_flow::{Extra, Flow, L4, TcpFlags};

/// Flags in the order in which they are printed.
const FLAGS: [(u16, &str); 9] = [
    (TcpFlags::SYN, "SYN"),
    (TcpFlags::ACK, "ACK"),
    (TcpFlags::RST, "RST"),
    (TcpFlags::FIN, "FIN"),
    (TcpFlags::PSH, "PSH"),
    (TcpFlags::URG, "URG"),
    (TcpFlags::ECE, "ECE"),
    (TcpFlags::CWR, "CWR"),
    (TcpFlags::NS, "NS"),
];

/// ICMP types with a name: of version 4 or 6, type, name, names of the codes from 0 on.
const ICMP: [(L4, u8, &str, &[&str]); 13] = [
    (L4::IcmpV4, 0, "EchoReply", &[]),
    (L4::IcmpV4, 3, "DestinationUnreachable", &["Net", "Host", "Protocol", "Port", "FragmentationNeeded"]),
    (L4::IcmpV4, 8, "EchoRequest", &[]),
    (L4::IcmpV4, 11, "TimeExceeded", &["TTLExceeded", "FragmentReassemblyTimeExceeded"]),
    (
        L4::IcmpV6,
        1,
        "DestinationUnreachable",
        &["NoRouteToDst", "AdminProhibited", "BeyondScopeOfSrc", "AddressUnreachable", "PortUnreachable"],
    ),
    (L4::IcmpV6, 2, "PacketTooBig", &[]),
    (L4::IcmpV6, 3, "TimeExceeded", &["HopLimitExceeded", "FragmentReassemblyTimeExceeded"]),
    (L4::IcmpV6, 128, "EchoRequest", &[]),
    (L4::IcmpV6, 129, "EchoReply", &[]),
    (L4::IcmpV6, 133, "RouterSolicitation", &[]),
    (L4::IcmpV6, 134, "RouterAdvertisement", &[]),
    (L4::IcmpV6, 135, "NeighborSolicitation", &[]),
    (L4::IcmpV6, 136, "NeighborAdvertisement", &[]),
];

/// Writes the line of a flow over what was in `out`; empty where Hubble's is.
pub(crate) fn write(flow: &Flow, extra: Option<&Extra>, out: &mut String) {
    out.clear();
    // Writing to memory does not fail.
    let _written = match extra.and_then(|extra| extra.l7.as_ref()) {
        Some(L7 { kind, record: L7Record::Dns(message), .. }) => dns(*kind, message, out),
        Some(L7 { kind, latency_ns, record: L7Record::Http(message) }) => http(*kind, *latency_ns, message, out),
        _ => layer_4(flow, out),
    };
}

/// Texts with commas between them, which are not joined in memory first.
struct Joined<'a>(&'a [String]);

impl std::fmt::Display for Joined<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, text) in self.0.iter().enumerate() {
            f.write_str(if at > 0 { "," } else { "" })?;
            f.write_str(text)?;
        }
        Ok(())
    }
}

fn dns(kind: L7Kind, message: &Dns, out: &mut String) -> std::fmt::Result {
    let types = Joined(&message.qtypes);
    match (kind, message.rcode) {
        (L7Kind::Response, 0) => write!(out, "DNS Answer ({} {types})", message.query),
        (L7Kind::Response, rcode) => {
            // RFC 1035, 4.1.1, in the reference server's words.
            let text = match rcode {
                1 => "Format Error",
                2 => "Server Failure",
                3 => "Non-Existent Domain",
                4 => "Not Implemented",
                5 => "Query Refused",
                _ => return write!(out, "DNS Answer RCode: {rcode} ({} {types})", message.query),
            };
            write!(out, "DNS Answer RCode: {text} ({} {types})", message.query)
        }
        _ => write!(out, "DNS Query {} {types}", message.query),
    }
}

fn http(kind: L7Kind, latency_ns: u64, message: &Http, out: &mut String) -> std::fmt::Result {
    let Http { code, method, url, protocol, .. } = message;
    if kind == L7Kind::Response {
        return write!(out, "{protocol} {code} {}ms ({method} {url})", latency_ns / 1_000_000);
    }
    write!(out, "{protocol} {method} {url}")
}

fn layer_4(flow: &Flow, out: &mut String) -> std::fmt::Result {
    let name = match flow.l4 {
        L4::None => return Ok(()),
        L4::Tcp => {
            let set = FLAGS.iter().filter(|(bit, _)| flow.tcp_flags.is_known() && flow.tcp_flags.has(*bit));
            out.push_str("TCP");
            for (at, (_, name)) in set.enumerate() {
                out.push_str(if at == 0 { " Flags: " } else { ", " });
                out.push_str(name);
            }
            return Ok(());
        }
        L4::IcmpV4 | L4::IcmpV6 => return icmp(flow, out),
        L4::Udp => "UDP",
        L4::Sctp => "SCTP",
        L4::Vrrp => "VRRP",
        L4::Igmp => "IGMP",
    };
    out.push_str(name);
    Ok(())
}

fn icmp(flow: &Flow, out: &mut String) -> std::fmt::Result {
    out.push_str(if flow.l4 == L4::IcmpV4 { "ICMPv4 " } else { "ICMPv6 " });
    let (kind, code) = (flow.icmp_type, flow.icmp_code);
    let Some((_, _, name, codes)) = ICMP.iter().find(|(l4, number, ..)| (*l4, *number) == (flow.l4, kind)) else {
        return write!(out, "{kind}({code})");
    };
    out.push_str(name);
    match codes.get(usize::from(code)) {
        Some(code) => write!(out, "({code})"),
        None if code == 0 => Ok(()),
        None => write!(out, "(Code: {code})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(flow: &Flow) -> String {
        let mut out = "before".to_owned();
        write(flow, None, &mut out);
        out
    }

    /// Names of ICMP messages that people look for, and numbers of all others.
    #[test]
    fn icmp_messages() {
        let of = |l4, icmp_type, icmp_code| line(&Flow { l4, icmp_type, icmp_code, ..Flow::default() });
        assert_eq!(of(L4::IcmpV4, 8, 0), "ICMPv4 EchoRequest");
        assert_eq!(of(L4::IcmpV4, 3, 3), "ICMPv4 DestinationUnreachable(Port)");
        assert_eq!(of(L4::IcmpV4, 3, 13), "ICMPv4 DestinationUnreachable(Code: 13)");
        assert_eq!(of(L4::IcmpV6, 128, 0), "ICMPv6 EchoRequest");
        assert_eq!(of(L4::IcmpV6, 8, 2), "ICMPv6 8(2)");
        assert_eq!(line(&Flow::default()), "");
    }
}
