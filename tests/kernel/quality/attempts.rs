//! Attempts to connect: each has one outcome, at both sides and in both families.

use std::time::{Duration, Instant};

use webb::bpf_loader::{Hook, Mode, ProgramSettings, Timeouts};
use webb_flow::abi::{VALUE_RESENT, event, kind};

use super::talk::{By, Numbers, Pod, Talk, at, quality, records, settings, with_events};
use crate::support::packets::{A, A6, ACK, B, B6, FIN, MAC_A, MAC_B, PSH, RST, SYN, write};
use crate::support::{Kernel, Sums, load, table_of};

/// Timeout of a test's wait.
const TIMEOUT: Duration = Duration::from_mins(1);

const ECE: u8 = 0x40;
const CWR: u8 = 0x80;

fn microseconds(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap()
}

/// The time of the handshake rides on the record of the SYN-ACK, and is that from the first SYN.
#[test]
fn a_handshake_is_timed_from_the_first_syn() {
    let Some(mut kernel) = quality() else { return };
    for (talk, resent) in Talk::kinds(40_000).into_iter().zip([false, true, true, false]) {
        let before = Instant::now();
        talk.send(&kernel, By::Opener, SYN | ECE | CWR);
        let after = Instant::now();
        std::thread::sleep(Duration::from_millis(3));
        if resent {
            talk.send(&kernel, By::Opener, SYN | ECE | CWR);
            std::thread::sleep(Duration::from_millis(3));
        }
        let least = microseconds(after.elapsed());
        talk.send(&kernel, By::Acceptor, SYN | ACK);
        let most = microseconds(before.elapsed()) + 1;
        // Neither a SYN-ACK that is sent again nor the rest of the handshake is one more.
        talk.send(&kernel, By::Acceptor, SYN | ACK);
        talk.send(&kernel, By::Opener, ACK);
        let records = with_events(&mut kernel);
        assert_eq!(
            records.iter().filter_map(|record| talk.event(record)).collect::<Vec<_>>(),
            [(event::ACCEPTED, By::Acceptor)]
        );
        let [record] = &records[..] else { panic!("{records:?}") };
        assert_eq!((record.kind, record.tcp_flags, record.packets), (kind::FLAGS, SYN | ACK, 1), "no record more");
        assert_eq!(record.value & VALUE_RESENT != 0, resent);
        let time = record.value & !VALUE_RESENT;
        assert!((least..=most).contains(&time), "{time} us, {least} to {most}");
    }
}

/// A whole connection has the records that it has without connection quality, and those of events
/// alone.
#[test]
fn events_ride_on_records() {
    let count = |connections| {
        let mut kernel = load(&ProgramSettings { connections, ..settings() })?;
        for talk in Talk::kinds(40_001) {
            for (by, flags, payload) in [
                (By::Opener, SYN, &b""[..]),
                (By::Acceptor, SYN | ACK, b""),
                (By::Opener, ACK, b""),
                (By::Opener, ACK | PSH, b"question"),
                (By::Acceptor, ACK | PSH, b"answer"),
                (By::Opener, ACK | FIN, b""),
                (By::Acceptor, ACK | FIN, b""),
                (By::Opener, ACK, b""),
            ] {
                talk.send_at(&kernel, by, flags, at(1000, 1000), payload);
            }
        }
        let mut records = records(&mut kernel);
        let mut sums = Sums::default();
        sums.add(&records);
        sums.equal_reported(&kernel.totals());
        kernel.balanced(Mode::Overdue);
        let events: Vec<_> = records.iter().map(|record| record.event).filter(|event| *event != 0).collect();
        records.retain(|record| record.kind != kind::EVENT);
        Some((records.iter().map(|record| (record.kind, record.tcp_flags, record.bytes)).collect::<Vec<_>>(), events))
    };
    let (Some((without, none)), Some((with, some))) = (count(false), count(true)) else { return };
    assert_eq!((without, none), (with, vec![]));
    // The first data of the pod ends with the acknowledgement that the test's numbers are.
    let expected = [event::ACCEPTED, event::CLOSED];
    assert_eq!(some.iter().filter(|event| expected.contains(event)).count(), 8, "{some:?}");
}

/// A RST of the acceptor, which had not accepted; after it, the same ports are another attempt.
#[test]
fn a_refused_attempt() {
    let Some(mut kernel) = quality() else { return };
    for talk in Talk::kinds(40_002) {
        for resent in [false, true] {
            talk.send(&kernel, By::Opener, SYN);
            if resent {
                talk.send(&kernel, By::Opener, SYN);
            }
            talk.send(&kernel, By::Acceptor, RST | ACK);
            talk.send(&kernel, By::Acceptor, RST | ACK);
            let records = with_events(&mut kernel);
            assert_eq!(
                records.iter().filter_map(|record| talk.event(record)).collect::<Vec<_>>(),
                [(event::REFUSED, By::Acceptor)]
            );
            assert_eq!((records[0].kind, records[0].value), (kind::FLAGS, 0), "it rides on the record of the RST");
        }
    }
    kernel.balanced(Mode::Overdue);
}

const ZERO: Timeouts = Timeouts {
    tcp: Duration::from_hours(1),
    closed: Duration::ZERO,
    half_open: Duration::ZERO,
    other: Duration::from_hours(1),
    evictable: Duration::from_hours(1),
    mac_claim: Duration::from_hours(1),
};

/// Sweeps until the table is empty.
fn sweep_all(kernel: &mut Kernel) {
    let start = Instant::now();
    while kernel.balanced(Mode::Overdue).entries > 0 {
        assert!(start.elapsed() < TIMEOUT, "entries stay");
    }
}

/// The sweep that removes an attempt without an answer reports that, whether there was one SYN or
/// more, with any options of it; and it reports it once.
#[test]
fn an_attempt_without_an_answer() {
    let Some(mut kernel) = load(&ProgramSettings { timeouts: ZERO, ..settings() }) else { return };
    for talk in Talk::kinds(40_003) {
        for (syns, flags) in [(1, SYN), (3, SYN), (2, SYN | ECE | CWR)] {
            for _ in 0..syns {
                talk.send(&kernel, By::Opener, flags);
            }
            sweep_all(&mut kernel);
            assert_eq!(talk.events(&mut kernel), [(event::TIMED_OUT, By::Opener)], "{syns} SYNs, {flags}");
        }
        // One that its opener gave up.
        talk.send(&kernel, By::Opener, SYN);
        talk.send(&kernel, By::Opener, RST);
        sweep_all(&mut kernel);
        assert_eq!(talk.events(&mut kernel), [(event::TIMED_OUT, By::Opener)]);
        // An outcome is none twice.
        talk.send(&kernel, By::Opener, SYN);
        talk.send(&kernel, By::Acceptor, RST | ACK);
        sweep_all(&mut kernel);
        assert_eq!(talk.events(&mut kernel), [(event::REFUSED, By::Acceptor)]);
    }
}

/// An opener that was challenged sends RST and its SYN again: that is the same attempt.
#[test]
fn a_challenged_attempt_goes_on() {
    let Some(mut kernel) = quality() else { return };
    for talk in Talk::kinds(40_004) {
        for (by, flags) in
            [(By::Opener, SYN), (By::Acceptor, ACK), (By::Opener, RST), (By::Opener, SYN), (By::Acceptor, SYN | ACK)]
        {
            talk.send(&kernel, by, flags);
        }
        let records = with_events(&mut kernel);
        assert_eq!(
            records.iter().filter_map(|record| talk.event(record)).collect::<Vec<_>>(),
            [(event::ACCEPTED, By::Acceptor)]
        );
        assert_ne!(records[0].value & VALUE_RESENT, 0);
    }
}

/// Both open at once: one attempt, of the side that was first, accepted by the SYN-ACK of the
/// other.
#[test]
fn both_open_at_once() {
    let Some(mut kernel) = quality() else { return };
    for talk in Talk::kinds(40_005) {
        for (by, flags) in [
            (By::Opener, SYN),
            (By::Acceptor, SYN),
            (By::Opener, SYN | ACK),
            (By::Acceptor, SYN | ACK),
            (By::Opener, FIN | ACK),
            (By::Acceptor, FIN | ACK),
        ] {
            talk.send(&kernel, by, flags);
        }
        assert_eq!(talk.events(&mut kernel), [(event::ACCEPTED, By::Acceptor), (event::CLOSED, By::Acceptor)]);
    }
}

/// A SYN with data (TCP Fast Open) is an attempt as any other, and its data is no round trip.
#[test]
fn a_syn_with_data() {
    let Some(mut kernel) = quality() else { return };
    for talk in Talk::kinds(40_006) {
        talk.send_at(&kernel, By::Opener, SYN, at(1000, 0), b"early");
        talk.send_at(&kernel, By::Acceptor, SYN | ACK, at(5000, 1006), b"");
        talk.send_at(&kernel, By::Opener, ACK, at(1006, 5001), b"");
        assert_eq!(talk.events(&mut kernel), [(event::ACCEPTED, By::Acceptor)]);
    }
}

/// Attempts and connections that newcomers displace are reported too: a flood of SYNs through a
/// small table has an outcome for each, or says how many the ring had no room for. `make syns` has
/// a million of them.
#[test]
fn a_flood_of_syns_adds_up() {
    let attempts = std::env::var("WEBB_SYNS").map_or(20_000, |text| text.parse().unwrap());
    flood(attempts, 16 << 20);
    flood(attempts, 16 << 10);
}

fn flood(attempts: u32, flow_ring_bytes: u32) {
    let Some(mut kernel) =
        load(&ProgramSettings { table_bytes: table_of(700), flow_ring_bytes, timeouts: ZERO, ..settings() })
    else {
        return;
    };
    let (mut counted, mut others, mut sums) = (0, 0, Sums::default());
    let mut read = |kernel: &mut Kernel| {
        let records = records(kernel);
        sums.add(&records);
        for record in records {
            match record.event {
                event::NONE => {}
                event::TIMED_OUT => counted += 1,
                _ => others += 1,
            }
        }
    };
    // The smaller ring is full before it is read.
    let read_every = 15_000;
    for number in 0..attempts {
        let [_, a, b, c] = number.to_be_bytes();
        let syn = crate::support::packets::tcp(([10, a, b, c], 40_000), (B, 80), SYN, b"");
        kernel.send(Hook::FromPod, &syn);
        if number % read_every == 0 {
            read(&mut kernel);
        }
    }
    read(&mut kernel);
    let start = Instant::now();
    while kernel.balanced(Mode::Everything).entries > 0 {
        read(&mut kernel);
        assert!(start.elapsed() < TIMEOUT, "entries stay");
    }
    read(&mut kernel);
    let totals = kernel.totals();
    sums.equal_reported(&totals);
    // A SYN that found no place in the table is no attempt that could have an outcome.
    let lost = totals[0].lost_events[usize::from(event::TIMED_OUT)];
    let placed = u64::from(attempts) - totals[0].alone_records - totals[0].untracked_packets;
    eprintln!("{attempts} SYNs: {placed} had a place, {counted} timed out, {lost} lost");
    assert_eq!((counted + lost, others), (placed, 0));
    assert_eq!(lost > 0, flow_ring_bytes <= 16 << 10, "the smaller ring was full, the larger never");
}

/// A quote of a packet in an ICMP error from a router to the sender.
pub(super) fn icmp(talk: Talk, to: By, quoted: &[u8], message: (u8, u8)) -> Vec<u8> {
    let start = PacketBuilder::ethernet2(MAC_A, MAC_B);
    let opener = to == By::Opener;
    let body = [&[0; 4], quoted].concat();
    if talk.is_ipv6 {
        let frame = write(
            start
                .ipv6([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9], if opener { A6 } else { B6 }, 64)
                .icmpv6_raw(message.0, message.1, [0; 4]),
            &body[4..],
        );
        return frame;
    }
    let to = if opener { A } else { B };
    write(start.ipv4([10, 9, 9, 9], to, 64).icmpv4_raw(message.0, message.1, [0; 4]), &body[4..])
}

use etherparse::PacketBuilder;

/// The error of the case in both families.
pub(super) fn unreachable(talk: Talk) -> (u8, u8) {
    if talk.is_ipv6 { (1, 4) } else { (3, 1) }
}

/// An ICMP error that quotes the SYN ends the attempt; one that quotes another sequence number,
/// says that a packet was too large, or comes from the wrong side does not. Nor does it end what is
/// established.
#[test]
fn an_unreachable_attempt() {
    let Some(mut kernel) = quality() else { return };
    for talk in Talk::kinds(40_007) {
        let numbers = Numbers { sequence: 0xfedc_ba98, ..Numbers::default() };
        let syn = talk.packet(By::Opener, SYN, numbers, b"");
        let other = talk.packet(By::Opener, SYN, Numbers { sequence: 1, ..numbers }, b"");
        // As much of it as every error quotes: the header of IP, and 8 bytes.
        let quoted = &syn[14..][..if talk.is_ipv6 { 48 } else { 28 }];
        let (to_opener, from_opener) = (talk.hook(By::Acceptor), talk.hook(By::Opener));
        let error = |quoted: &[u8], message| icmp(talk, By::Opener, quoted, message);
        let too_large = if talk.is_ipv6 { (2, 0) } else { (3, 4) };

        kernel.send(from_opener, &syn);
        kernel.send(to_opener, &error(&other[14..], unreachable(talk)));
        kernel.send(to_opener, &error(quoted, too_large));
        kernel.send(to_opener, &error(&quoted[..quoted.len() - 1], unreachable(talk)));
        kernel.send(from_opener, &error(quoted, unreachable(talk)));
        assert_eq!(with_events(&mut kernel), []);
        for _ in 0..2 {
            kernel.send(to_opener, &error(quoted, unreachable(talk)));
        }
        let records = with_events(&mut kernel);
        assert_eq!(
            records.iter().filter_map(|record| talk.event(record)).collect::<Vec<_>>(),
            [(event::UNREACHABLE, By::Opener)]
        );
        assert_eq!((records[0].kind, records[0].value), (kind::EVENT, u32::from(unreachable(talk).1)));

        let talk = Talk { port: talk.port + 1, ..talk };
        let syn = talk.packet(By::Opener, SYN, numbers, b"");
        kernel.send(from_opener, &syn);
        talk.send(&kernel, By::Acceptor, SYN | ACK);
        kernel.send(to_opener, &icmp(talk, By::Opener, &syn[14..], unreachable(talk)));
        assert_eq!(talk.events(&mut kernel), [(event::ACCEPTED, By::Acceptor)], "it is accepted, whatever comes");
    }
    kernel.balanced(Mode::Overdue);
}

/// A connection that was picked up midway is no attempt.
#[test]
fn no_syn_no_attempt() {
    let Some(mut kernel) = quality() else { return };
    let talk = Talk::new(Pod::Accepts, 40_010);
    talk.send(&kernel, By::Acceptor, SYN | ACK);
    talk.send(&kernel, By::Opener, ACK);
    assert_eq!(talk.events(&mut kernel), []);
}
