//! `icmp`: ICMP messages by type (hubble-contract §1.7).

use crate::expose::Spec;
use crate::options::Options;
use crate::plugin::{Emit, Plugin, Table, Texts};
use crate::tuples::Tuples;
use webb_flow::{Flow, L4};

/// Every ICMP flow, whatever became of it.
#[derive(Debug)]
pub(super) struct Icmp;

impl Plugin for Icmp {
    const NAME: &'static str = "icmp";
    const TABLES: &'static [Table] =
        &[Table::counters(&[Spec { name: "hubble_icmp_total", help: "Number of ICMP messages" }], &["family", "type"])];

    fn new(_options: &Options) -> Self {
        Self
    }

    #[inline]
    fn observe(&self, flow: &Flow, emit: &mut Emit<'_, Self>) {
        if matches!(flow.l4, L4::IcmpV4 | L4::IcmpV6) {
            let key = [flow.l4 as u8, flow.icmp_type, flow.icmp_code, 0];
            emit.count(0, u64::from(u32::from_le_bytes(key)));
        }
    }

    fn texts(_table: usize, key: u64, _tuples: &Tuples) -> Texts {
        let [l4, number, code, ..] = key.to_le_bytes();
        // The layer decides, not the IP header: releases up to 1.18 called both IPv4.
        let (family, known) = match L4::of(l4) {
            L4::IcmpV6 => ("IPv6", v6(number)),
            _ => ("IPv4", v4(number)),
        };
        vec![family.into(), text(known, number, code).into()]
    }
}

/// Name of a type and names of its codes, from 0 on; types without code names have none.
type TypeNames = Option<(&'static str, &'static [&'static str])>;

/// `Name`, `Name(Code)`, `Name(Code: 9)`, or `143(0)` for a type without a name.
fn text(known: TypeNames, number: u8, code: u8) -> String {
    let Some((name, codes)) = known else { return format!("{number}({code})") };
    match codes.get(usize::from(code)) {
        Some(code) => format!("{name}({code})"),
        None if codes.is_empty() && code == 0 => name.to_owned(),
        None => format!("{name}(Code: {code})"),
    }
}

fn v4(number: u8) -> TypeNames {
    Some(match number {
        0 => ("EchoReply", &[]),
        3 => (
            "DestinationUnreachable",
            &[
                "Net",
                "Host",
                "Protocol",
                "Port",
                "FragmentationNeeded",
                "SourceRoutingFailed",
                "NetUnknown",
                "HostUnknown",
                "SourceIsolated",
                "NetAdminProhibited",
                "HostAdminProhibited",
                "NetTOS",
                "HostTOS",
                "CommAdminProhibited",
                "HostPrecedence",
                "PrecedenceCutoff",
            ],
        ),
        4 => ("SourceQuench", &[]),
        5 => ("Redirect", &["Net", "Host", "TOS+Net", "TOS+Host"]),
        8 => ("EchoRequest", &[]),
        9 => ("RouterAdvertisement", &[]),
        10 => ("RouterSolicitation", &[]),
        11 => ("TimeExceeded", &["TTLExceeded", "FragmentReassemblyTimeExceeded"]),
        12 => ("ParameterProblem", &["PointerIndicatesError", "MissingOption", "BadLength"]),
        13 => ("TimestampRequest", &[]),
        14 => ("TimestampReply", &[]),
        15 => ("InfoRequest", &[]),
        16 => ("InfoReply", &[]),
        17 => ("AddressMaskRequest", &[]),
        18 => ("AddressMaskReply", &[]),
        _ => return None,
    })
}

fn v6(number: u8) -> TypeNames {
    Some(match number {
        1 => (
            "DestinationUnreachable",
            &[
                "NoRouteToDst",
                "AdminProhibited",
                "BeyondScopeOfSrc",
                "AddressUnreachable",
                "PortUnreachable",
                "SrcAddressFailedPolicy",
                "RejectRouteToDst",
            ],
        ),
        2 => ("PacketTooBig", &[]),
        3 => ("TimeExceeded", &["HopLimitExceeded", "FragmentReassemblyTimeExceeded"]),
        4 => ("ParameterProblem", &["ErroneousHeaderField", "UnrecognizedNextHeader", "UnrecognizedIPv6Option"]),
        128 => ("EchoRequest", &[]),
        129 => ("EchoReply", &[]),
        133 => ("RouterSolicitation", &[]),
        134 => ("RouterAdvertisement", &[]),
        135 => ("NeighborSolicitation", &[]),
        136 => ("NeighborAdvertisement", &[]),
        137 => ("Redirect", &[]),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The four forms (hubble-contract §1.7).
    #[test]
    fn types() {
        assert_eq!(text(v4(8), 8, 0), "EchoRequest");
        assert_eq!(text(v4(8), 8, 7), "EchoRequest(Code: 7)");
        assert_eq!(text(v4(3), 3, 0), "DestinationUnreachable(Net)");
        assert_eq!(text(v4(3), 3, 15), "DestinationUnreachable(PrecedenceCutoff)");
        assert_eq!(text(v4(3), 3, 16), "DestinationUnreachable(Code: 16)");
        assert_eq!(text(v6(1), 1, 4), "DestinationUnreachable(PortUnreachable)");
        assert_eq!(text(v6(143), 143, 0), "143(0)");
        assert_eq!(text(v4(143), 143, 9), "143(9)");
    }
}
