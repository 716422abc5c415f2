//! The structs that the programs and the Rust side share must be the same ones: names, offsets and
//! sizes of the built objects' BTF against `crates/flow/src/abi.rs`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test stops where its assumptions fail"
)]

use std::mem::{offset_of, size_of};

use webb::bpf_loader::btf::Types;
use webb::bpf_loader::btf_maps::section;
use webb::bpf_loader::{DROP_OBJECT, FLOW_ALL_OBJECT, FLOW_L7_OBJECT, FLOW_OBJECT, FLOW_QUALITY_OBJECT};
use webb_flow::abi::{
    ADDRESS_SEEDS, CLASSES, Claim, Claimed, EVENTS, HOOKS, L7Totals, Message, PARTS, PORT_MACS, Port, RETRANSMITS,
    Record, Retransmits, SEEDS, SUPPRESSED_REASONS, Swept, Totals, UNPARSED, class, event,
};

macro_rules! layout {
    ($type:ty: $($field:ident),* $(,)?) => {
        (size_of::<$type>(), vec![$((stringify!($field), offset_of!($type, $field))),*])
    };
}

fn compare(object: &[u8], name: &str, (size, fields): (usize, Vec<(&str, usize)>)) {
    let types = Types::new(section(object).expect("the object has BTF")).expect("the object's BTF can be read");
    let layout = types.layout(name).expect("well-formed").unwrap_or_else(|| panic!("no struct {name} in the object"));
    assert_eq!(layout.size as usize, size, "size of {name}");
    let kernel: Vec<_> = layout.members.iter().map(|member| (member.name.as_str(), member.offset as usize)).collect();
    assert_eq!(kernel, fields, "members of {name}");
}

/// Every member of the shared structs, in both objects.
#[test]
fn structs_are_the_same_on_both_sides() {
    for object in [FLOW_OBJECT, FLOW_L7_OBJECT, FLOW_QUALITY_OBJECT, FLOW_ALL_OBJECT, DROP_OBJECT] {
        compare(
            object,
            "webb_record",
            layout!(Record: version, kind, length, ifindex, time_ns, source, destination, source_port,
                destination_port, family, protocol, tcp_flags, flags, hook, icmp_type, icmp_code, event, packets, bytes,
                reason, value),
        );
        compare(
            object,
            "webb_totals",
            layout!(Totals: seen_packets, seen_bytes, seeds, report_interval, buckets, more_seeds, records,
                reported_packets, reported_bytes, ring_is_tight, released_entries, evicted_entries, alone_records,
                lost_records, lost_packets, lost_bytes, untracked_packets, untracked_bytes, suppressed_packets,
                suppressed_bytes, flooded_packets, flooded_bytes, stopped_packets, stopped_bytes, fragments, mtu_errors,
                address_seeds, unparsed_packets, unparsed_bytes, lost_events),
        );
    }
    compare(
        FLOW_L7_OBJECT,
        "webb_message",
        layout!(Message: version, kind, captured, ifindex, time_ns, source, destination, source_port, destination_port,
            sequence, acknowledgement, payload, begin, family, protocol, hook, flags),
    );
    compare(
        FLOW_L7_OBJECT,
        "webb_l7_totals",
        layout!(L7Totals: wanted, sent, sent_bytes, lost, unread, cut, looked, found, none, untracked, budget, frames,
            resync),
    );
    compare(
        FLOW_OBJECT,
        "webb_swept",
        layout!(Swept: pending_packets, pending_bytes, entries, deleted, flushed, alive, ended),
    );
    compare(FLOW_QUALITY_OBJECT, "webb_retransmits", layout!(Retransmits: seen, sent, suppressed, lost));
    compare(FLOW_OBJECT, "webb_claimed", layout!(Claimed: mac, bridge, pad0));
    compare(FLOW_OBJECT, "webb_claim", layout!(Claim: ifindex, own, renewed, contested));
    compare(FLOW_OBJECT, "webb_port", layout!(Port: flags, bridge, own, last, renewed, window, learned, pad0));
}

/// Array lengths do not show in offsets alone: the enums give them.
#[test]
fn enums_have_the_same_length() {
    let header = include_str!("../bpf/include/abi.h");
    let value = |name: &str| -> usize {
        let line = header.lines().find(|line| line.trim_start().starts_with(name)).expect(name);
        line.split(&['=', ','][..]).nth(1).expect(name).trim().parse().expect(name)
    };
    let ports = header.lines().find_map(|line| line.strip_prefix("#define WEBB_PORT_MACS ")).unwrap();
    assert_eq!(ports.parse(), Ok(PORT_MACS));
    for (name, number) in [
        ("WEBB_SEEDS", SEEDS),
        ("WEBB_ADDRESS_SEEDS", ADDRESS_SEEDS),
        ("WEBB_PARTS", PARTS),
        ("WEBB_CLASSES", CLASSES),
        ("WEBB_CLASS_TCP", class::TCP),
        ("WEBB_CLASS_IPV6", class::IPV6),
        ("WEBB_SUPPRESSED_REASONS", SUPPRESSED_REASONS),
        ("WEBB_RETRANSMITS", RETRANSMITS),
    ] {
        let line = header.lines().find_map(|line| line.strip_prefix(&format!("#define {name} "))).expect(name);
        assert_eq!(line.split_whitespace().next().and_then(|digits| digits.parse().ok()), Some(number), "{name}");
    }
    assert_eq!(value("WEBB_HOOKS ="), HOOKS);
    assert_eq!(value("WEBB_EVENTS ="), EVENTS);
    for (name, number) in [
        ("NONE", event::NONE),
        ("ACCEPTED", event::ACCEPTED),
        ("REFUSED", event::REFUSED),
        ("TIMED_OUT", event::TIMED_OUT),
        ("UNREACHABLE", event::UNREACHABLE),
        ("DROPPED", event::DROPPED),
        ("CLOSED", event::CLOSED),
        ("RESET_BY_OPENER", event::RESET_BY_OPENER),
        ("RESET_BY_ACCEPTOR", event::RESET_BY_ACCEPTOR),
        ("IDLE", event::IDLE),
        ("INTERRUPTED", event::INTERRUPTED),
        ("SAMPLE", event::SAMPLE),
        ("RETRANSMIT_SYN", event::RETRANSMIT_SYN),
        ("RETRANSMIT_SYN_ACK", event::RETRANSMIT_SYN_ACK),
        ("RETRANSMIT_DATA", event::RETRANSMIT_DATA),
        ("ZERO_WINDOW", event::ZERO_WINDOW),
        ("OPEN", event::OPEN),
    ] {
        assert_eq!(value(&format!("WEBB_EVENT_{name} =")), usize::from(number), "{name}");
    }
    assert_eq!(value("WEBB_UNPARSED_REASONS ="), UNPARSED.len());
    for (number, name) in UNPARSED.iter().enumerate() {
        assert_eq!(value(&format!("WEBB_UNPARSED_{} =", name.to_uppercase())), number, "{name}");
    }
}
