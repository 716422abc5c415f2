//! The kernel's connection table: whatever is full or chosen by an attacker, no packet is lost, and
//! no pod hides another.

use std::time::{Duration, Instant};

use webb::bpf_loader::{Hook, Mode, ProgramSettings, Timeouts};
use webb_flow::abi::{Record, flag, kind};

use crate::support::lab::{Lab, interfaces, run};
use crate::support::packets::{A, ACK, B, FIN, PSH, RST, SYN, ipv4, mapped, sctp, tcp, udp, udp6};
use crate::support::{Kernel, Sums, load, table_of};

/// Timeout of a test's wait.
const TIMEOUT: Duration = Duration::from_mins(1);

/// An hour: so long no test runs, so nothing ends by itself.
const NEVER: Timeouts = Timeouts {
    tcp: Duration::from_hours(1),
    closed: Duration::from_hours(1),
    half_open: Duration::from_hours(1),
    other: Duration::from_hours(1),
    evictable: Duration::from_hours(1),
    mac_claim: Duration::from_hours(1),
};

const SERVER: ([u8; 4], u16) = ([10, 0, 0, 9], 53);

fn from_client(number: u32) -> Vec<u8> {
    let [a, b, c, d] = (0x0a01_0000 + number).to_be_bytes();
    udp(([a, b, c, d], 40000), SERVER, b"some bytes")
}

/// Calls `step` until it says that it is done.
fn until(mut step: impl FnMut() -> bool) {
    let start = Instant::now();
    while !step() {
        assert!(start.elapsed() < TIMEOUT, "what is waited for does not come");
    }
}

/// A pod that knows how an unkeyed hash folds its words could choose ports and addresses that meet
/// in one place (it may know the interface's number as well), so that the next flow of that kind is
/// in no metric.
#[test]
fn chosen_flows_do_not_meet() {
    let Some(kernel) = load(&ProgramSettings::default()) else { return };
    let word = |ip: [u8; 4]| u64::from_le_bytes([0, 0, 0xff, 0xff, ip[0], ip[1], ip[2], ip[3]]);
    let product = |ip: [u8; 4], port: u16| {
        let ports = (u64::from(port) << 48 | 53 << 32 | 1).wrapping_add(17);
        word(ip).wrapping_mul(0xbf58_476d_1ce4_e5b9) ^ ports.wrapping_mul(0x94d0_49bb_1331_11eb)
    };
    let want = product([203, 0, 113, 2], 0x8055);
    let chosen: Vec<_> = (2..=255_u8)
        .flat_map(|last| (0..=255_u16).map(move |high| ([203, 0, 113, last], 0x55 | high << 8)))
        .filter(|&(ip, port)| product(ip, port) == want)
        .collect();
    assert!(chosen.len() > 200, "the choice is the attacker's: {}", chosen.len());
    all_find_a_place(kernel, chosen.iter().map(|&(ip, port)| udp(([10, 244, 1, 1], port), (ip, 53), b"x")));
}

/// The same over IPv6, where 64 bits of the destination are the sender's to choose, so any number
/// of flows can meet.
#[test]
fn chosen_ipv6_flows_do_not_meet() {
    let Some(kernel) = load(&ProgramSettings::default()) else { return };
    let factor = 0xbf58_476d_1ce4_e5b9_u64;
    // Its inverse modulo 2^64, by Newton's steps.
    let inverse = (0..6).fold(factor, |x, _| x.wrapping_mul(2_u64.wrapping_sub(factor.wrapping_mul(x))));
    let source: [u8; 16] = [0xfd, 0, 0, 0x10, 2, 0x44, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0x21];
    let network: [u8; 8] = [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0];
    let packets = (20_001..20_061_u16).map(|port| {
        let ports = (u64::from(port) << 48 | 443 << 32 | 1).wrapping_add(17).wrapping_mul(0x94d0_49bb_1331_11eb);
        let low = u64::from_le_bytes(network).wrapping_mul(0xc2b2_ae3d_27d4_eb4f)
            ^ inverse.wrapping_mul(0x1234_5678_9abc_def0 ^ ports);
        let mut to = [0; 16];
        to[..8].copy_from_slice(&network);
        to[8..].copy_from_slice(&low.to_le_bytes());
        udp6((source, port), (to, 443), &[b'x'; 100])
    });
    all_find_a_place(kernel, packets);
}

/// Each packet is of a connection of its own, and each of these has an entry that the next packet
/// finds.
fn all_find_a_place(mut kernel: Kernel, packets: impl Iterator<Item = Vec<u8>>) {
    let mut count = 0;
    for packet in packets {
        count += 1;
        kernel.send_times(Hook::FromPod, &packet, 500);
        let records = kernel.records();
        assert!(records.len() <= 2, "500 packets of an entry are no {} records", records.len());
    }
    let row = kernel.totals()[0];
    assert_eq!((row.untracked_packets, row.alone_records, row.lost_packets), (0, 0, 0));
    assert_eq!(kernel.balanced(Mode::Overdue).entries, count);
}

/// A connection of one packet, or of one each way, makes room for the next before any sweep, and
/// each is a record: a table for 70 connections loses nothing of thousands.
#[test]
fn what_has_said_all_makes_room() {
    let settings = ProgramSettings { table_bytes: table_of(70), timeouts: NEVER, ..ProgramSettings::default() };
    let Some(mut kernel) = load(&settings) else { return };
    let mut sums = Sums::default();
    let mut number = 0;
    until(|| {
        for _ in 0..50 {
            number += 1;
            kernel.send(Hook::FromPod, &from_client(number));
            if number % 2 == 0 {
                let [a, b, c, d] = (0x0a01_0000 + number).to_be_bytes();
                kernel.send(Hook::ToPod, &udp(SERVER, ([a, b, c, d], 40000), b"an answer"));
            }
        }
        sums.add(&kernel.records());
        kernel.totals()[0].released_entries > 1000
    });
    let totals = kernel.totals();
    assert_eq!(sums.packets[..2], [totals[0].seen_packets, totals[1].seen_packets], "each packet is in a record");
    assert_eq!([totals[0].evicted_entries, totals[0].untracked_packets, totals[0].lost_packets], [0; 3]);
    let swept = kernel.balanced(Mode::Overdue);
    assert_eq!((swept.pending_packets, swept.deleted), ([0; 5], 0));
}

/// Closed TCP connections make room too, and what came after their end is reported first.
#[test]
fn closed_connections_make_room() {
    let settings = ProgramSettings { table_bytes: table_of(70), timeouts: NEVER, ..ProgramSettings::default() };
    let Some(mut kernel) = load(&settings) else { return };
    let mut sums = Sums::default();
    let mut number = 0_u32;
    until(|| {
        for _ in 0..20 {
            // A fast machine sends more connections than there are ports before a slot is old
            // enough.
            let client_port = u16::try_from(1024 + number % 60_000).unwrap();
            let server_port = u16::try_from(80 + number / 60_000).unwrap();
            let (client, server) = ((A, client_port), (B, server_port));
            number += 1;
            for (hook, from, to, flags) in [
                (Hook::FromPod, client, server, SYN),
                (Hook::ToPod, server, client, SYN | ACK),
                (Hook::FromPod, client, server, ACK),
                (Hook::FromPod, client, server, FIN | ACK),
                (Hook::ToPod, server, client, FIN | ACK),
                (Hook::FromPod, client, server, ACK),
            ] {
                kernel.send(hook, &tcp(from, to, flags, b""));
            }
        }
        sums.add(&kernel.records());
        kernel.totals()[0].released_entries > 500
    });
    while kernel.balanced(Mode::Everything).pending_packets != [0; 5] {}
    sums.add(&kernel.records());
    let totals = kernel.totals();
    assert_eq!(sums.packets[..2], [totals[0].seen_packets, totals[1].seen_packets], "each packet is in a record");
    assert_eq!([totals[0].evicted_entries, totals[0].untracked_packets, totals[0].lost_packets], [0; 3]);
}

/// A connection that goes on makes room for another of its interface once it is idle, and what it
/// holds is reported first, for itself.
#[test]
fn evicted_connections_lose_nothing() {
    let timeouts = Timeouts { evictable: Duration::ZERO, ..NEVER };
    let settings = ProgramSettings { table_bytes: table_of(21), timeouts, ..ProgramSettings::default() };
    let Some(mut kernel) = load(&settings) else { return };
    let mut number = 0;
    let mut records = Vec::new();
    until(|| {
        for _ in 0..5 {
            number += 1;
            kernel.send_times(Hook::FromPod, &from_client(number), 4);
        }
        records.extend(kernel.records());
        kernel.totals()[0].evicted_entries > 200
    });
    while kernel.balanced(Mode::Everything).pending_packets != [0; 5] {}
    records.extend(kernel.records());
    let mut counted = vec![0; number as usize + 1];
    for record in records {
        let client = u32::from_be_bytes(*record.source.last_chunk().unwrap()) - 0x0a01_0000;
        counted[client as usize] += record.packets;
    }
    let wrong = (1..=number).find(|client| counted[*client as usize] != 4);
    assert_eq!(wrong, None, "each connection's records hold what it sent");
}

/// Each packet is a record of its own where nothing can make room, a new connection's as one; and
/// only if the ring is full too is it untracked.
#[test]
fn a_full_table_reports_each_packet() {
    for ring in [4 << 20, 4096] {
        let settings = ProgramSettings {
            table_bytes: table_of(21),
            timeouts: NEVER,
            flow_ring_bytes: ring,
            ..ProgramSettings::default()
        };
        let Some(mut kernel) = load(&settings) else { return };
        for number in 0..200 {
            kernel.send_times(Hook::FromPod, &from_client(number), 3);
        }
        let mut sums = Sums::default();
        sums.add(&kernel.records());
        kernel.balanced(Mode::Overdue);
        let before = kernel.totals()[0];
        for port in 2000..2100 {
            kernel.send(Hook::FromPod, &tcp((A, port), (B, 80), SYN, b""));
        }
        let after = kernel.totals()[0];
        let records = kernel.records();
        sums.add(&records);
        let alone: Vec<_> = records.iter().filter(|record| record.protocol == 6).collect();
        assert!(alone.iter().all(|record| (record.kind, record.packets) == (kind::NEW, 1)), "{alone:?}");
        let untracked = after.untracked_packets - before.untracked_packets;
        assert_eq!(alone.len() as u64 + untracked, 100);
        if ring > 4096 {
            assert_eq!((untracked, after.alone_records - before.alone_records), (0, 100));
        } else {
            assert!(untracked > 50, "{after:?}");
        }
        while kernel.balanced(Mode::Everything).pending_packets != [0; 5] {
            sums.add(&kernel.records());
        }
        sums.add(&kernel.records());
        sums.equal_reported(&kernel.totals());
        assert_eq!(kernel.totals()[0].lost_packets, 0);
    }
}

/// Two more interfaces, by number.
fn two_interfaces() -> (u32, u32) {
    for name in ["flooder", "innocent"] {
        run(&format!("ip link add {name} type veth peer name {name}-eth0"));
    }
    let found = interfaces();
    (found["flooder"].index, found["innocent"].index)
}

fn of(records: &[Record], interface: u32) -> Vec<Record> {
    records.iter().filter(|record| record.ifindex == interface).copied().collect()
}

/// One pod goes round in more connections than the table holds, so that all of it is living; beside
/// it another pod's connections find places, and each of their packets and flags is counted.
#[test]
fn a_flood_leaves_others_their_places() {
    Lab::run("shares", |_| {
        let (flooder, innocent) = two_interfaces();
        let settings = ProgramSettings { table_bytes: table_of(140), timeouts: NEVER, ..ProgramSettings::default() };
        let mut kernel = load(&settings).unwrap();
        let mut records = Vec::new();
        let mut port = 1024;
        let mut innocents = 0;
        let flood = |kernel: &Kernel| {
            for number in 0..1000 {
                kernel.probes.dry_run_at(flooder, Hook::FromPod, &from_client(number), 2).unwrap();
            }
        };
        until(|| {
            flood(&kernel);
            kernel.balanced(Mode::Overdue);
            port += 1;
            kernel.probes.dry_run_at(innocent, Hook::FromPod, &tcp((A, port), (B, 80), SYN, b""), 1).unwrap();
            innocents += 1;
            records.extend(kernel.records());
            kernel.totals()[0].evicted_entries > 0
        });
        // From here on there is room for it.
        let alone = kernel.totals()[0].alone_records;
        for _ in 0..10 {
            port += 1;
            let send = |flags, payload: &[u8], times| {
                let packet = tcp((A, port), (B, 80), flags, payload);
                kernel.probes.dry_run_at(innocent, Hook::FromPod, &packet, times).unwrap();
            };
            send(SYN, b"", 1);
            send(ACK, b"", 1);
            send(PSH | ACK, b"request", 100);
            send(FIN | ACK, b"", 1);
            innocents += 103;
        }
        assert_eq!(kernel.totals()[0].alone_records, alone, "each of them has an entry");
        flood(&kernel);
        while kernel.balanced(Mode::Everything).pending_packets != [0; 5] {
            records.extend(kernel.records());
        }
        records.extend(kernel.records());
        let theirs = of(&records, innocent);
        assert_eq!(theirs.iter().map(|record| record.packets).sum::<u32>(), innocents, "all of its packets");
        let with = |flag: u8| theirs.iter().filter(|record| record.tcp_flags & flag != 0 && record.kind <= 2).count();
        assert!(theirs.iter().filter(|record| record.kind == kind::NEW).count() >= 10);
        assert_eq!((with(PSH), with(FIN)), (10, 10), "all of its flags");
    });
}

/// One pod fills the ring while it is not read; what another has to say still finds room in its
/// last quarter.
#[test]
fn a_flood_leaves_others_room_in_the_ring() {
    Lab::run("ring", |_| {
        let (flooder, innocent) = two_interfaces();
        let mut kernel = load(&ProgramSettings { flow_ring_bytes: 65536, ..ProgramSettings::default() }).unwrap();
        kernel.probes.dry_run_at(innocent, Hook::FromPod, &tcp((A, 1000), (B, 80), SYN, b""), 1).unwrap();
        kernel.balanced(Mode::Overdue);
        for number in 0..5000 {
            kernel.probes.dry_run_at(flooder, Hook::FromPod, &from_client(number), 1).unwrap();
        }
        assert!(kernel.totals()[0].lost_records > 4000, "the ring is full for the one");
        for port in 2000..2040 {
            kernel.probes.dry_run_at(innocent, Hook::FromPod, &tcp((A, port), (B, 80), SYN, b""), 1).unwrap();
        }
        let records = of(&kernel.records(), innocent);
        assert_eq!(records.iter().filter(|record| record.kind == kind::NEW).count(), 41, "and not for the other");
        kernel.balanced(Mode::Overdue);
    });
}

/// The ports of a connection that was refused, closed or aborted are used again: that is a new
/// connection.
#[test]
fn ports_that_are_used_again_begin_anew() {
    let Some(mut kernel) = load(&ProgramSettings::default()) else { return };
    let chunk = |chunk| ipv4(132, 0, &[], &sctp(40000, 3868, chunk));
    let (client, server) = ((A, 40000), (B, 80));
    let mut script = vec![
        (Hook::FromPod, tcp(client, server, SYN, b""), kind::NEW),
        (Hook::ToPod, tcp(server, client, RST | ACK, b""), kind::FLAGS),
        (Hook::FromPod, tcp(client, server, SYN, b""), kind::NEW),
        (Hook::ToPod, tcp(server, client, RST | ACK, b""), kind::FLAGS),
    ];
    // INIT, COOKIE ECHO, ABORT, and again.
    script.extend([
        (Hook::FromPod, chunk(1), kind::NEW),
        (Hook::FromPod, chunk(10), kind::FLAGS),
        (Hook::FromPod, chunk(6), kind::FLAGS),
        (Hook::FromPod, chunk(1), kind::NEW),
    ]);
    for (step, (hook, packet, expected)) in script.iter().enumerate() {
        kernel.send(*hook, packet);
        let kinds: Vec<_> = kernel.records().iter().map(|record| record.kind).collect();
        assert_eq!(kinds, [*expected], "step {step}");
    }
    kernel.balanced(Mode::Everything);
}

/// A packet that leaves a pod's interface and enters it again is of two connections there, each
/// with both directions.
#[test]
fn hairpins_are_two_connections() {
    let Some(mut kernel) = load(&ProgramSettings::default()) else { return };
    let (out, back) = (tcp((A, 40000), (B, 80), SYN, b""), tcp((B, 80), (A, 40000), SYN | ACK, b""));
    let mut seen = Vec::new();
    for (hook, packet) in [(Hook::FromPod, &out), (Hook::ToPod, &out), (Hook::FromPod, &back), (Hook::ToPod, &back)] {
        kernel.send(hook, packet);
        let records = kernel.records();
        seen.extend(records.iter().map(|record| (record.hook, record.kind, record.flags & flag::REPLY)));
    }
    assert_eq!(
        seen,
        [(0, kind::NEW, 0), (1, kind::NEW, 0), (0, kind::FLAGS, flag::REPLY), (1, kind::FLAGS, flag::REPLY)]
    );
    assert_eq!(kernel.balanced(Mode::Overdue).entries, 2);
}

/// Each kind of connection lives as long as its own setting says: with all but TCP's at nothing,
/// only what is established stays.
#[test]
fn timeouts_are_by_kind() {
    let none = Duration::ZERO;
    let timeouts = Timeouts { closed: none, half_open: none, other: none, ..NEVER };
    let Some(mut kernel) = load(&ProgramSettings { timeouts, ..ProgramSettings::default() }) else { return };
    let send = |port, script: &[(Hook, u8)]| {
        for (hook, flags) in script {
            let (pod, other) = ((A, port), (B, 80));
            let (from, to) = if *hook == Hook::FromPod { (pod, other) } else { (other, pod) };
            kernel.send(*hook, &tcp(from, to, *flags, b""));
        }
    };
    let (out, back) = (Hook::FromPod, Hook::ToPod);
    send(1, &[(out, SYN), (back, SYN | ACK), (out, ACK), (out, ACK)]);
    send(2, &[(out, SYN), (out, SYN), (out, SYN)]);
    send(3, &[(out, SYN), (back, SYN | ACK), (out, ACK), (out, FIN | ACK), (back, FIN | ACK), (out, ACK)]);
    send(4, &[(out, SYN), (back, SYN | ACK), (out, ACK), (back, RST)]);
    kernel.send_times(out, &from_client(1), 5);
    kernel.send_times(out, &ipv4(132, 0, &[], &sctp(40000, 3868, 10)), 5);
    until(|| kernel.balanced(Mode::Overdue).entries == 1);
    // A sweep right behind a packet leaves its entry. On a slow machine "right behind" takes some
    // tries.
    let mut number = 2;
    until(|| {
        number += 1;
        kernel.send(out, &from_client(number));
        kernel.balanced(Mode::Overdue).entries > 1
    });
    until(|| kernel.balanced(Mode::Overdue).entries == 1);
    let _before = kernel.records();
    kernel.send(out, &tcp((A, 1), (B, 80), ACK, b"still there"));
    kernel.balanced(Mode::Everything);
    let records = kernel.records();
    assert_eq!(
        records.iter().map(|record| (record.kind, record.source)).collect::<Vec<_>>(),
        [(kind::FLUSH, mapped(A))]
    );
}

/// The time of a record is the kernel's monotonic clock to two ticks, and never ahead of it.
#[test]
fn records_tell_the_time() {
    let Some(mut kernel) = load(&ProgramSettings::default()) else { return };
    let now = || {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned()
    };
    let mut last = 0;
    for number in 0..200 {
        let before = now();
        kernel.send(Hook::FromPod, &from_client(number));
        let after = now();
        let time = kernel.records()[0].time_ns;
        assert!(time <= after && time + 30_000_000 > before, "{before} {time} {after}");
        assert!(time >= last, "times do not go back");
        last = time;
        if number % 50 == 0 {
            kernel.balanced(Mode::Overdue);
        }
    }
}
