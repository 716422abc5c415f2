//! Results of the flow programs for single packets, by `BPF_PROG_TEST_RUN`.

use proptest::prelude::*;
use webb::bpf_loader::{Hook, Mode, ProgramSettings};
use webb_flow::abi::{Record, UNPARSED, VERSION, flag, kind};

use crate::support::packets::{
    A, A6, ACK, B, B6, FIN, PSH, RST, SYN, ipv4, ipv6, mapped, ping, ping6, sctp, tagged, tcp, udp, udp_header, udp6,
};
use crate::support::{Kernel, load};

fn one(kernel: &mut Kernel, packet: &[u8]) -> Record {
    kernel.send(Hook::FromPod, packet);
    let records = kernel.records();
    assert_eq!(records.len(), 1, "{records:?}");
    let record = records[0];
    assert_eq!((record.version, record.length, record.packets), (VERSION, 80, 1));
    assert_eq!(record.bytes, packet.len() as u64, "the whole frame counts");
    record
}

/// Reason of `abi::UNPARSED` that the packet is counted under; none if it was parsed.
fn unparsed(kernel: &Kernel, packet: &[u8]) -> Option<&'static str> {
    let before = kernel.totals()[0];
    kernel.send(Hook::FromPod, packet);
    let after = kernel.totals()[0];
    assert_eq!(after.seen_packets, before.seen_packets + 1);
    let mut found = None;
    for (why, name) in UNPARSED.iter().enumerate() {
        if after.unparsed_packets[why] > before.unparsed_packets[why] {
            assert_eq!(after.unparsed_bytes[why] - before.unparsed_bytes[why], packet.len() as u64);
            found = Some(*name);
        }
    }
    found
}

/// Each protocol's first packet must be a NEW record with its own ports, type and addresses.
#[test]
fn every_protocol_is_read() {
    let Some(mut kernel) = load(&ProgramSettings::default()) else { return };

    let record = one(&mut kernel, &tcp((A, 40000), (B, 80), SYN, b""));
    assert_eq!((record.kind, record.family, record.protocol, record.tcp_flags), (kind::NEW, 4, 6, SYN));
    assert_eq!((record.source, record.destination), (mapped(A), mapped(B)));
    assert_eq!((record.source_port, record.destination_port), (40000, 80));
    assert_eq!((record.flags, record.hook), (flag::EGRESS, Hook::FromPod as u8));
    assert!(record.time_ns > 0 && record.ifindex > 0);

    let record = one(&mut kernel, &udp((A, 40000), (B, 53), b"question"));
    assert_eq!((record.kind, record.protocol, record.destination_port), (kind::NEW, 17, 53));

    let record = one(&mut kernel, &udp6((A6, 40000), (B6, 53), b"question"));
    assert_eq!((record.family, record.source, record.destination), (6, A6, B6));

    let record = one(&mut kernel, &ping(A, B, 7, false));
    assert_eq!((record.kind, record.protocol, record.icmp_type, record.icmp_code), (kind::NEW, 1, 8, 0));
    assert_eq!((record.source_port, record.destination_port), (0, 0), "the id is no port");

    let record = one(&mut kernel, &ping6(A6, B6, 7, false));
    assert_eq!((record.family, record.protocol, record.icmp_type), (6, 58, 128));

    let record = one(&mut kernel, &ipv4(132, 0, &[], &sctp(40000, 3868, 1)));
    assert_eq!((record.protocol, record.icmp_type, record.destination_port), (132, 1, 3868));

    for protocol in [2, 47, 50, 112] {
        let record = one(&mut kernel, &ipv4(protocol, 0, &[], &[0; 16]));
        assert_eq!((record.protocol, record.flags & flag::NO_L4, record.source_port), (protocol, flag::NO_L4, 0));
    }
}

/// Tags, options and extension headers lie before what we want to read, and must be stepped over
/// exactly.
#[test]
fn what_lies_before_layer_4_is_stepped_over() {
    let Some(mut kernel) = load(&ProgramSettings::default()) else { return };
    let mut port = 1000;
    let mut reads = |kernel: &mut Kernel, make: &dyn Fn(u16) -> Vec<u8>| {
        port += 1;
        let record = one(kernel, &make(port));
        assert_eq!((record.protocol, record.source_port, record.destination_port), (17, port, 9));
    };
    reads(&mut kernel, &|port| tagged(&udp((A, port), (B, 9), b""), &[0x8100]));
    reads(&mut kernel, &|port| tagged(&udp((A, port), (B, 9), b""), &[0x88a8, 0x8100]));
    reads(&mut kernel, &|port| tagged(&udp6((A6, port), (B6, 9), b""), &[0x88a8, 0x8100]));
    for words in 1..=10 {
        reads(&mut kernel, &|port| ipv4(17, 0, &vec![1; words * 4], &udp_header(port, 9)));
    }
    // Hop-by-hop, destination options, routing, each with one more unit of 8 bytes; AH counts in 4
    // bytes.
    for (next, length, size) in [(0, 1, 16), (60, 1, 16), (43, 2, 24), (51, 4, 24)] {
        reads(&mut kernel, &|port| {
            let mut extension = vec![0; size];
            extension[..2].copy_from_slice(&[17, length]);
            ipv6(next, &[extension, udp_header(port, 9)].concat())
        });
    }
    // A chain as long as we follow.
    reads(&mut kernel, &|port| {
        let mut chain = Vec::new();
        for _ in 0..7 {
            chain.extend([60, 0, 0, 0, 0, 0, 0, 0]);
        }
        chain.extend([17, 0, 0, 0, 0, 0, 0, 0]);
        ipv6(60, &[chain, udp_header(port, 9)].concat())
    });
    assert_eq!(unparsed(&kernel, &tagged(&udp((A, 1), (B, 9), b""), &[0x88a8, 0x88a8, 0x8100])), Some("vlan_depth"));
    let long: Vec<u8> = [60, 0, 0, 0, 0, 0, 0, 0].repeat(9);
    assert_eq!(unparsed(&kernel, &ipv6(60, &[long, udp_header(1, 9)].concat())), Some("extension_depth"));
}

/// Fragments, and messages that a packet was too large, are counted beside all else, at their hook;
/// other messages of ICMP are not.
#[test]
fn fragments_and_messages_of_size_are_counted() {
    let Some(kernel) = load(&ProgramSettings::default()) else { return };
    let message = |type_: u8, code: u8| [&[type_, code][..], &[0; 40]].concat();
    for packet in [
        ipv4(17, 0x2000, &[], &udp_header(1234, 9)),
        ipv4(17, 0x00b9, &[], &[0; 32]),
        ipv6(44, &[vec![17, 0, 0, 1, 0, 0, 0, 9], udp_header(1234, 9)].concat()),
    ] {
        kernel.send(Hook::ToPod, &packet);
    }
    for packet in [ipv4(1, 0, &[], &message(3, 4)), ipv6(58, &message(2, 0))] {
        kernel.send(Hook::FromPod, &packet);
    }
    for other in [ipv4(1, 0, &[], &message(3, 1)), ipv6(58, &message(1, 0)), ipv4(1, 0, &[], &message(2, 0))] {
        kernel.send(Hook::FromPod, &other);
    }
    kernel.send(Hook::FromPod, &udp((A, 40000), (B, 53), b"question"));
    let [from_pod, to_pod, ..] = kernel.totals();
    assert_eq!((from_pod.seen_packets, from_pod.fragments, from_pod.mtu_errors), (6, 0, 2));
    assert_eq!((to_pod.seen_packets, to_pod.fragments, to_pod.mtu_errors), (3, 3, 0));
}

/// A fragment has no layer 4, the first one neither, and does not count to the connection that it
/// looks like.
#[test]
fn fragments_have_no_ports() {
    let Some(mut kernel) = load(&ProgramSettings::default()) else { return };
    let mut ipv6_fragment = vec![17, 0, 0, 1, 0, 0, 0, 9];
    ipv6_fragment.extend(udp_header(1234, 9));
    for packet in [
        ipv4(17, 0x2000, &[], &udp_header(1234, 9)),
        ipv4(6, 185, &[], b"anything"),
        ipv4(6, 0x2000 | 3, &[], b""),
        ipv6(44, &ipv6_fragment),
    ] {
        // The second and third belong to one pair of addresses and protocol: another interval must
        // not hide it.
        kernel.send(Hook::FromPod, &packet);
    }
    let records = kernel.records();
    assert_eq!(records.len(), 3, "{records:?}");
    for record in records {
        assert_eq!((record.source_port, record.destination_port, record.tcp_flags), (0, 0, 0));
        assert_eq!(record.flags & (flag::FRAGMENT | flag::NO_L4), flag::FRAGMENT | flag::NO_L4);
    }
}

/// Cut anywhere, a packet is passed on and counted by why; with an honest length the layer that is
/// cut is named.
#[test]
fn every_truncation_is_named() {
    let Some(kernel) = load(&ProgramSettings::default()) else { return };
    let packets = [
        (tcp((A, 1), (B, 2), ACK, b""), 14, 34, 54),
        (udp((A, 1), (B, 2), b""), 14, 34, 42),
        (ipv4(1, 0, &[], &[8, 0, 0, 0, 0, 1, 0, 1]), 14, 34, 42),
        (ipv4(132, 0, &[], &sctp(1, 2, 0)), 14, 34, 50),
        (tagged(&udp((A, 1), (B, 2), b""), &[0x8100]), 18, 38, 46),
        (tagged(&udp((A, 1), (B, 2), b""), &[0x88a8, 0x8100]), 22, 42, 50),
    ];
    for (packet, l3, l4, end) in packets {
        assert_eq!(packet.len(), end);
        // The kernel refuses to make up an untagged IP packet that is shorter than its IP header;
        // the live tests send those.
        for length in if l3 == 14 { l4 } else { 15 }..=end {
            let mut cut = packet[..length].to_vec();
            if length >= l4 {
                assert_eq!(unparsed(&kernel, &cut), (length < end).then_some("bad_ip_header"), "{length} of {end}");
                let total = u16::try_from(length - l3).unwrap();
                cut[l3 + 2..l3 + 4].copy_from_slice(&total.to_be_bytes());
            }
            let expected = match length {
                length if length < l3 => Some("truncated_l2"),
                length if length < l4 => Some("truncated_l3"),
                length if length < end => Some("truncated_l4"),
                _ => None,
            };
            assert_eq!(unparsed(&kernel, &cut), expected, "{length} of {end}: {cut:02x?}");
        }
    }
    let packet = udp6((A6, 1), (B6, 2), b"");
    for length in 54..packet.len() {
        let mut cut = packet[..length].to_vec();
        assert_eq!(unparsed(&kernel, &cut), Some("bad_ip_header"));
        cut[18..20].copy_from_slice(&u16::try_from(length - 54).unwrap().to_be_bytes());
        assert_eq!(unparsed(&kernel, &cut), Some("truncated_l4"), "{length}");
    }
    let tagged = tagged(&packet, &[0x8100]);
    for length in 18..58 {
        assert_eq!(unparsed(&kernel, &tagged[..length]), Some("truncated_l3"), "{length}");
    }
}

/// Lengths that lie are refused, not believed; padding behind an honest length is none.
#[test]
fn lying_lengths_are_refused() {
    let Some(kernel) = load(&ProgramSettings::default()) else { return };
    let good = tcp((A, 1), (B, 2), ACK, b"payload");
    let with = |changes: &[(usize, u8)]| {
        let mut packet = good.clone();
        for &(at, byte) in changes {
            packet[at] = byte;
        }
        packet
    };
    assert_eq!(unparsed(&kernel, &good), None);
    assert_eq!(unparsed(&kernel, &with(&[(14, 0x44)])), Some("bad_ip_header"), "header of 16 bytes");
    assert_eq!(unparsed(&kernel, &with(&[(14, 0x65)])), Some("bad_ip_header"), "version 6");
    assert_eq!(unparsed(&kernel, &with(&[(16, 0), (17, 19)])), Some("bad_ip_header"), "shorter than its header");
    assert_eq!(unparsed(&kernel, &with(&[(16, 0), (17, 0)])), Some("bad_ip_header"), "no length");
    assert_eq!(unparsed(&kernel, &with(&[(16, 0xff)])), Some("bad_ip_header"), "longer than the frame");
    assert_eq!(unparsed(&kernel, &with(&[(14, 0x4f)])), Some("bad_ip_header"), "options beyond the end");
    assert_eq!(unparsed(&kernel, &with(&[(46, 0x40)])), Some("bad_l4_header"), "TCP header of 16 bytes");
    assert_eq!(unparsed(&kernel, &with(&[(46, 0xf0)])), Some("bad_l4_header"), "TCP header beyond the end");
    let mut padded = good.clone();
    padded.extend([0; 20]);
    assert_eq!(unparsed(&kernel, &padded), None);
    let mut six = udp6((A6, 1), (B6, 2), b"");
    six[14] = 0x50;
    assert_eq!(unparsed(&kernel, &six), Some("bad_ip_header"), "version 5");
    // An extension header that claims more than there is.
    assert_eq!(unparsed(&kernel, &ipv6(60, &[17, 9, 0, 0, 0, 0, 0, 0])), Some("bad_ip_header"));
}

/// Frames that are not IP count bytes for the interface and never look like a flow.
#[test]
fn other_frames_only_count() {
    let Some(mut kernel) = load(&ProgramSettings::default()) else { return };
    let mut arp = vec![0xff; 6];
    arp.extend([2, 0, 0, 0, 0, 1, 0x08, 0x06]);
    arp.extend([0; 28]);
    for _ in 0..5 {
        kernel.send(Hook::FromPod, &arp);
        kernel.send(Hook::ToPod, &arp);
    }
    assert_eq!(kernel.records(), []);
    kernel.balanced(Mode::Everything);
    let records = kernel.records();
    assert_eq!(records.len(), 2, "{records:?}");
    for record in records {
        assert_eq!((record.kind, record.family, record.packets, record.bytes), (kind::FLUSH, 0, 5, 5 * 42));
        assert_eq!((record.source, record.destination, record.flags & flag::NO_L4), ([0; 16], [0; 16], flag::NO_L4));
    }
}

/// One TCP connection, seen at the client's interface: what is reported, as what, and whose
/// direction it is.
#[test]
fn a_connection_is_reported_by_its_news() {
    let Some(mut kernel) = load(&ProgramSettings::default()) else { return };
    let out = |flags, payload: &[u8]| tcp((A, 40000), (B, 80), flags, payload);
    let back = |flags, payload: &[u8]| tcp((B, 80), (A, 40000), flags, payload);
    let script = [
        (Hook::FromPod, out(SYN, b""), Some((kind::NEW, flag::EGRESS))),
        (Hook::FromPod, out(SYN, b""), None), // a retransmission is no news
        (Hook::ToPod, back(SYN | ACK, b""), Some((kind::FLAGS, flag::REPLY | flag::EGRESS))),
        (Hook::FromPod, out(ACK, b""), Some((kind::FLAGS, flag::EGRESS))),
        (Hook::FromPod, out(ACK, b"some"), None),
        (Hook::FromPod, out(PSH | ACK, b"request"), Some((kind::FLAGS, flag::EGRESS))),
        (Hook::ToPod, back(ACK, b""), None),
        (Hook::ToPod, back(PSH | ACK, b"answer"), Some((kind::FLAGS, flag::REPLY | flag::EGRESS))),
        (Hook::ToPod, back(PSH | ACK, b"more"), None),
        (Hook::ToPod, back(FIN | ACK, b""), Some((kind::FLAGS, flag::REPLY | flag::EGRESS))),
        (Hook::FromPod, out(FIN | ACK, b""), Some((kind::FLAGS, flag::EGRESS))),
        (Hook::ToPod, back(ACK, b""), None),
        // The ports are used again: all begins anew.
        (Hook::FromPod, out(SYN, b""), Some((kind::NEW, flag::EGRESS))),
        (Hook::ToPod, back(RST | ACK, b""), Some((kind::FLAGS, flag::REPLY | flag::EGRESS))),
    ];
    for (step, (hook, packet, expected)) in script.iter().enumerate() {
        kernel.send(*hook, packet);
        let records = kernel.records();
        let got = records.first().map(|record| (record.kind, record.flags));
        assert!(records.len() <= 1 && got == *expected, "step {step}: {records:?}, expected {expected:?}");
    }
    kernel.balanced(Mode::Everything);
}

/// Deltas: what was not reported by itself comes with the next record of its direction, once.
#[test]
fn records_carry_what_was_pending() {
    let Some(mut kernel) = load(&ProgramSettings::default()) else { return };
    let data = tcp((A, 40000), (B, 80), ACK, &[0; 100]);
    kernel.send(Hook::FromPod, &tcp((A, 40000), (B, 80), SYN, b""));
    kernel.send(Hook::FromPod, &data);
    kernel.send_times(Hook::FromPod, &data, 40);
    kernel.send(Hook::FromPod, &tcp((A, 40000), (B, 80), FIN | ACK, b""));
    let deltas: Vec<_> = kernel.records().iter().map(|record| (record.packets, record.bytes)).collect();
    assert_eq!(deltas, [(1, 54), (1, 154), (41, 40 * 154 + 54)]);
}

/// A pod that acknowledges what was not seen to reach it is marked, as server and as client. One
/// whose packets are all seen is not, nor is a connection that was picked up midway.
#[test]
fn one_side_only() {
    let Some(mut kernel) = load(&ProgramSettings::default()) else { return };
    let mut marked = |hook, packet: &[u8]| {
        kernel.send(hook, packet);
        kernel.records().iter().any(|record| record.flags & flag::ONE_SIDED != 0)
    };
    let (pod, other) = ((A, 40001), (B, 80));
    assert!(!marked(Hook::FromPod, &tcp(pod, other, SYN, b"")), "it has received nothing yet");
    assert!(marked(Hook::FromPod, &tcp(pod, other, ACK, b"")), "a client");
    assert!(marked(Hook::FromPod, &tcp((A, 80), (B, 40002), SYN | ACK, b"")), "a server");

    let (pod, other) = ((A, 40003), (B, 80));
    for (hook, from, to, flags) in [
        (Hook::FromPod, pod, other, SYN),
        (Hook::ToPod, other, pod, SYN | ACK),
        (Hook::FromPod, pod, other, ACK),
        (Hook::FromPod, pod, other, FIN | ACK),
        (Hook::ToPod, other, pod, FIN | ACK),
        (Hook::FromPod, pod, other, ACK),
        // The ports are used again.
        (Hook::FromPod, pod, other, SYN),
        (Hook::ToPod, other, pod, SYN | ACK),
        (Hook::FromPod, pod, other, ACK),
    ] {
        assert!(!marked(hook, &tcp(from, to, flags, b"")), "{hook:?} {flags}");
    }
    let (pod, other) = ((A, 80), (B, 40004));
    assert!(!marked(Hook::ToPod, &tcp(other, pod, SYN, b"")));
    assert!(!marked(Hook::FromPod, &tcp(pod, other, SYN | ACK, b"")), "a server that was asked");

    assert!(!marked(Hook::FromPod, &tcp((A, 40005), (B, 80), ACK, b"midway")));
    assert!(!marked(Hook::FromPod, &tcp((A, 40005), (B, 80), FIN | ACK, b"")));
    // A node's own device may well have another for the way back.
    assert!(!marked(Hook::FromNetwork, &tcp((A, 80), (B, 40006), SYN | ACK, b"")));
}

/// The opener follows from the flags where there are any, else from the well-known port, else the
/// first sender is taken.
#[test]
fn who_started_is_told() {
    let Some(mut kernel) = load(&ProgramSettings::default()) else { return };
    let from_pod = |kernel: &mut Kernel, packet: &[u8]| one(kernel, packet).flags;
    let guessed_reply = flag::REPLY | flag::GUESSED;
    let answer = from_pod(&mut kernel, &tcp((A, 80), (B, 40001), SYN | ACK, b""));
    assert_eq!(answer & !flag::ONE_SIDED, flag::REPLY, "a server answers");
    assert_eq!(from_pod(&mut kernel, &tcp((A, 80), (B, 40002), ACK, b"")), guessed_reply, "midway, server's port");
    assert_eq!(from_pod(&mut kernel, &tcp((A, 40003), (B, 80), ACK, b"")), flag::EGRESS | flag::GUESSED);
    assert_eq!(from_pod(&mut kernel, &udp((A, 53), (B, 40004), b"")), flag::REPLY);
    assert_eq!(from_pod(&mut kernel, &udp((A, 5000), (B, 40005), b"")), flag::EGRESS);
    assert_eq!(from_pod(&mut kernel, &ping(A, B, 1, true)), flag::REPLY, "an echo reply answers");
    assert_eq!(from_pod(&mut kernel, &ping6(A6, B6, 1, false)), flag::EGRESS);
    assert_eq!(from_pod(&mut kernel, &ipv4(132, 0, &[], &sctp(3868, 40006, 2))), flag::REPLY, "INIT ACK answers");
    // At the node's own device the node's side is the one that sends on egress.
    for (hook, expected) in [(Hook::ToNetwork, flag::EGRESS), (Hook::FromNetwork, 0)] {
        kernel.send(hook, &udp((A, 40007 + u16::from(expected)), (B, 53), b""));
        assert_eq!(kernel.records()[0].flags, expected, "{hook:?}");
    }
}

/// ICMP is always reported, each echo and each error, and errors do not mix with echoes.
#[test]
fn icmp_is_always_reported() {
    let Some(mut kernel) = load(&ProgramSettings::default()) else { return };
    for _ in 0..3 {
        kernel.send(Hook::FromPod, &ping(A, B, 3, false));
        kernel.send(Hook::ToPod, &ping(B, A, 3, true));
    }
    // Destination unreachable, whose bytes behind the header look like an echo's id.
    kernel.send(Hook::ToPod, &ipv4(1, 0, &[], &[3, 1, 0, 0, 0, 3, 0, 1]));
    let records = kernel.records();
    let kinds: Vec<_> = records.iter().map(|record| (record.kind, record.icmp_type, record.flags)).collect();
    let (out, back) = (flag::EGRESS, flag::REPLY | flag::EGRESS);
    assert_eq!(
        kinds,
        [
            (kind::NEW, 8, out),
            (kind::PACKET, 0, back),
            (kind::PACKET, 8, out),
            (kind::PACKET, 0, back),
            (kind::PACKET, 8, out),
            (kind::PACKET, 0, back),
            (kind::NEW, 3, 0),
        ]
    );
}

/// SCTP has no flags, but its control chunks mark the same events.
#[test]
fn sctp_control_chunks_are_news() {
    let Some(mut kernel) = load(&ProgramSettings::default()) else { return };
    let mut kinds = Vec::new();
    // INIT, COOKIE ECHO, DATA twice, HEARTBEAT, SHUTDOWN, SHUTDOWN again
    for chunk in [1, 10, 0, 0, 4, 7, 7] {
        kernel.send(Hook::FromPod, &ipv4(132, 0, &[], &sctp(40000, 3868, chunk)));
        kinds.push(kernel.records().first().map(|record| record.kind));
    }
    assert_eq!(kinds, [Some(kind::NEW), Some(kind::FLAGS), None, None, None, Some(kind::FLAGS), None]);
}

/// `aggregation: none`: each packet is a record, and no more than one.
#[test]
fn without_aggregation_every_packet_is_a_record() {
    let Some(mut kernel) = load(&ProgramSettings { every_packet: true, ..ProgramSettings::default() }) else { return };
    kernel.send_times(Hook::FromPod, &udp((A, 1), (B, 2), b"x"), 100);
    let records = kernel.records();
    assert_eq!(records.len(), 100);
    assert_eq!(records[0].kind, kind::NEW);
    assert!(records[1..].iter().all(|record| (record.kind, record.packets) == (kind::PACKET, 1)));
}

/// A connection that goes on is reported again after the interval, and only then.
#[test]
fn the_interval_reports_again() {
    let interval = std::time::Duration::from_millis(300);
    let Some(mut kernel) = load(&ProgramSettings { report_interval: interval, ..ProgramSettings::default() }) else {
        return;
    };
    let packet = udp((A, 1), (B, 2), b"x");
    kernel.send(Hook::FromPod, &packet);
    kernel.send(Hook::FromPod, &packet);
    assert_eq!(kernel.records().len(), 1, "within the interval");
    std::thread::sleep(interval + std::time::Duration::from_millis(50));
    kernel.send(Hook::FromPod, &packet);
    kernel.send(Hook::FromPod, &packet);
    let records = kernel.records();
    assert_eq!(records.iter().map(|record| (record.kind, record.packets)).collect::<Vec<_>>(), [(kind::INTERVAL, 2)]);
    // Without further packets the sweep reports the last one, when the interval is over again.
    std::thread::sleep(interval + std::time::Duration::from_millis(50));
    kernel.balanced(Mode::Overdue);
    let records = kernel.records();
    assert_eq!(records.iter().map(|record| (record.kind, record.packets)).collect::<Vec<_>>(), [(kind::FLUSH, 1)]);
}

/// Random bytes behind a believable beginning: passed on, counted, and the ledger still adds up.
#[test]
fn random_bytes_break_nothing() {
    let Some(kernel) = load(&ProgramSettings::default()) else { return };
    let kernel = std::cell::RefCell::new(kernel);
    let beginnings: Vec<Vec<u8>> = vec![
        vec![],
        vec![0x08, 0x00],
        vec![0x08, 0x00, 0x45, 0],
        vec![0x86, 0xdd],
        vec![0x86, 0xdd, 0x60, 0, 0, 0, 0, 60, 0],
        vec![0x81, 0x00, 0, 1, 0x08, 0x00, 0x45],
    ];
    let strategy =
        (proptest::sample::select(beginnings), proptest::collection::vec(any::<u8>(), 0..300), any::<bool>());
    proptest!(ProptestConfig::with_cases(3000), |((beginning, rest, ingress) in strategy)| {
        let mut packet = vec![2; 12];
        packet.extend(beginning);
        packet.extend(rest);
        // Shorter ones the kernel does not make up.
        packet.resize(packet.len().max(54), 0);
        let hook = if ingress { Hook::FromPod } else { Hook::ToPod };
        kernel.borrow().send(hook, &packet);
    });
    kernel.borrow_mut().balanced(Mode::Everything);
}
