//! Ends of connections, closed windows, and the list of what is open.

use std::time::{Duration, Instant};

use webb::bpf_loader::{Hook, Mode, ProgramSettings, Timeouts};
use webb_flow::abi::{VALUE_UNKNOWN, event, kind};

use super::talk::{By, Numbers, Pod, Talk, quality, settings, with_events};
use crate::support::packets::{ACK, B, FIN, PSH, RST, SYN, tcp};
use crate::support::{Kernel, load, table_of};

/// Timeout of a test's wait.
const TIMEOUT: Duration = Duration::from_mins(1);

/// Sends the segments, all from here on.
fn play(kernel: &Kernel, talk: Talk, segments: &[(By, u8)]) {
    for &(by, flags) in segments {
        talk.send(kernel, by, flags);
    }
}

const HANDSHAKE: [(By, u8); 3] = [(By::Opener, SYN), (By::Acceptor, SYN | ACK), (By::Opener, ACK)];

/// Segments after the handshake, the event that ends the connection, and its sender.
type Case<'a> = (&'a [(By, u8)], u8, By);

/// An accepted connection ends once, by what came first, and says how long it was open.
#[test]
fn a_connection_ends_once() {
    let Some(mut kernel) = quality() else { return };
    let (opener, acceptor) = (By::Opener, By::Acceptor);
    let cases: [Case<'_>; 8] = [
        (&[(opener, FIN | ACK), (acceptor, FIN | ACK), (opener, ACK)], event::CLOSED, acceptor),
        (&[(acceptor, FIN | ACK), (opener, FIN | ACK), (opener, FIN | ACK)], event::CLOSED, opener),
        // Half-closed: the other side sends on.
        (&[(opener, FIN | ACK), (acceptor, ACK | PSH), (opener, ACK), (acceptor, FIN | ACK)], event::CLOSED, acceptor),
        (&[(opener, RST | ACK), (opener, RST)], event::RESET_BY_OPENER, opener),
        (&[(acceptor, RST | ACK), (opener, RST)], event::RESET_BY_ACCEPTOR, acceptor),
        (&[(opener, FIN | ACK), (acceptor, RST)], event::RESET_BY_ACCEPTOR, acceptor),
        // RST after FIN of both.
        (&[(opener, FIN | ACK), (acceptor, FIN | ACK), (opener, RST)], event::CLOSED, acceptor),
        (&[(opener, FIN | ACK), (opener, RST | ACK), (acceptor, RST)], event::RESET_BY_OPENER, opener),
    ];
    for (number, (segments, end, by)) in (0..).zip(cases) {
        for talk in Talk::kinds(41_000 + number) {
            let before = Instant::now();
            play(&kernel, talk, &HANDSHAKE[..1]);
            let after = Instant::now();
            play(&kernel, talk, &HANDSHAKE[1..]);
            assert_eq!(talk.events(&mut kernel), [(event::ACCEPTED, acceptor)]);
            std::thread::sleep(Duration::from_millis(3));
            let least = after.elapsed().as_millis();
            play(&kernel, talk, segments);
            let most = before.elapsed().as_millis() + 2;
            let records = with_events(&mut kernel);
            assert_eq!(
                records.iter().filter_map(|record| talk.event(record)).collect::<Vec<_>>(),
                [(end, by)],
                "case {number}, {talk:?}"
            );
            assert_ne!(records[0].kind, kind::EVENT, "it rides on the record of the last packet");
            let time = u128::from(records[0].value);
            assert!((least - 1..=most).contains(&time), "{time} ms, {least} to {most}");
        }
    }
    kernel.balanced(Mode::Overdue);
}

/// Ports that are used again while the last connection on them waits out its time: two connections,
/// of which each has a begin and an end.
#[test]
fn ports_used_again() {
    let Some(mut kernel) = quality() else { return };
    for talk in Talk::kinds(41_100) {
        for _ in 0..3 {
            play(&kernel, talk, &HANDSHAKE);
            play(&kernel, talk, &[(By::Opener, FIN | ACK), (By::Acceptor, FIN | ACK), (By::Opener, ACK)]);
            assert_eq!(talk.events(&mut kernel), [(event::ACCEPTED, By::Acceptor), (event::CLOSED, By::Acceptor)]);
        }
        assert_eq!(open(&mut kernel), []);
    }
}

/// Of a connection that was picked up midway the end is known and its duration is not; one side
/// alone is no connection.
#[test]
fn picked_up_midway() {
    let Some(mut kernel) = quality() else { return };
    for talk in Talk::kinds(41_200) {
        play(&kernel, talk, &[(By::Opener, ACK | PSH), (By::Acceptor, ACK)]);
        assert_eq!(open(&mut kernel), [(talk.port, VALUE_UNKNOWN)]);
        play(&kernel, talk, &[(By::Acceptor, RST | ACK)]);
        let records = with_events(&mut kernel);
        assert_eq!(
            records.iter().filter_map(|record| talk.event(record)).collect::<Vec<_>>(),
            [(event::RESET_BY_ACCEPTOR, By::Acceptor)]
        );
        assert_eq!(records[0].value, VALUE_UNKNOWN);

        let talk = Talk { port: talk.port + 1, ..talk };
        play(&kernel, talk, &[(By::Opener, ACK | PSH), (By::Opener, RST)]);
        assert_eq!(talk.events(&mut kernel), []);
        assert_eq!(open(&mut kernel), []);
    }
}

/// The ports of the openers of what is listed as open, and the ages.
fn open(kernel: &mut Kernel) -> Vec<(u16, u32)> {
    assert_eq!(with_events(kernel), []);
    kernel.balanced(Mode::ListOpen);
    let mut found: Vec<_> = with_events(kernel)
        .iter()
        .map(|record| {
            assert_eq!((record.event, record.kind, record.packets), (event::OPEN, kind::EVENT, 0));
            (record.source_port, record.value)
        })
        .collect();
    found.sort_unstable();
    found
}

/// A sweep lists each connection that was accepted and has not ended, whatever state its entry is
/// in, and no attempt, no closed connection, and nothing that is not TCP.
#[test]
fn what_is_open_is_listed() {
    let Some(mut kernel) = quality() else { return };
    let talk = |port| Talk::new(Pod::Opens, port);
    // A datagram each way on a slot that was TCP's has that connection's details.
    let other = ([10, 0, 0, 7], 53);
    for (port, count) in [(41_300, 1), (41_301, 2), (41_302, 3)] {
        play(&kernel, talk(port), &HANDSHAKE[..count]);
    }
    play(&kernel, talk(41_303), &HANDSHAKE);
    play(&kernel, talk(41_303), &[(By::Opener, FIN | ACK)]);
    play(&kernel, talk(41_304), &HANDSHAKE);
    play(&kernel, talk(41_304), &[(By::Opener, RST)]);
    play(&kernel, talk(41_305), &HANDSHAKE[..1]);
    play(&kernel, talk(41_305), &[(By::Acceptor, RST | ACK)]);
    for times in 1..4 {
        kernel.send_times(
            Hook::FromPod,
            &crate::support::packets::udp(([10, 0, 0, times], 41_306), other, b"x"),
            times.into(),
        );
        kernel.send(Hook::ToPod, &crate::support::packets::udp(other, ([10, 0, 0, times], 41_306), b"x"));
    }
    with_events(&mut kernel);
    let found = open(&mut kernel);
    assert_eq!(found.iter().map(|(port, _)| *port).collect::<Vec<_>>(), [41_301, 41_302, 41_303]);
    assert!(found.iter().all(|(_, age)| *age < 60_000), "{found:?}");
    kernel.balanced(Mode::Overdue);
    assert_eq!(with_events(&mut kernel), [], "only where that is asked for");
}

/// What the sweep ends is idle, and what a newcomer displaces is interrupted: each open connection
/// has an end, whatever its entry came to.
#[test]
fn entries_end_with_an_event() {
    let zero = Duration::ZERO;
    let timeouts = Timeouts { tcp: zero, half_open: zero, other: zero, ..settings().timeouts };
    let Some(mut kernel) = load(&ProgramSettings { timeouts, ..settings() }) else { return };
    for (talk, accepted) in Talk::kinds(41_400).into_iter().zip([2, 3, 2, 3]) {
        play(&kernel, talk, &HANDSHAKE[..accepted]);
        with_events(&mut kernel);
        let start = Instant::now();
        while kernel.balanced(Mode::Overdue).entries > 0 {
            assert!(start.elapsed() < TIMEOUT, "entries stay");
        }
        assert_eq!(talk.events(&mut kernel), [(event::IDLE, By::Opener)]);
    }

    let timeouts = Timeouts { evictable: zero, ..settings().timeouts };
    let Some(mut kernel) = load(&ProgramSettings { timeouts, table_bytes: table_of(70), ..settings() }) else { return };
    let (mut accepted, mut interrupted, mut number) = (0, 0, 0_u32);
    let start = Instant::now();
    while interrupted < 500 {
        number += 1;
        let [_, a, b, c] = number.to_be_bytes();
        let (client, server) = (([10, a, b, c], 41_500), (B, 80));
        kernel.send(Hook::FromPod, &tcp(client, server, SYN, b""));
        kernel.send(Hook::ToPod, &tcp(server, client, SYN | ACK, b""));
        // Some are DONE, some LIVING.
        if number % 2 == 0 {
            kernel.send(Hook::FromPod, &tcp(client, server, ACK, b""));
        }
        for record in with_events(&mut kernel) {
            match record.event {
                event::ACCEPTED => accepted += 1,
                event::INTERRUPTED if record.value != VALUE_UNKNOWN => interrupted += 1,
                // A SYN whose slot was taken before its answer, and what was picked up then.
                event::INTERRUPTED | event::TIMED_OUT => {}
                other => panic!("{other}"),
            }
        }
        assert!(start.elapsed() < TIMEOUT, "no entry is taken");
    }
    let still = open(&mut kernel).iter().filter(|(_, age)| *age != VALUE_UNKNOWN).count();
    assert_eq!(accepted, interrupted + still, "each that was accepted has ended or is open");
    assert_eq!(kernel.totals().iter().flat_map(|row| row.lost_events).sum::<u64>(), 0);
}

/// A window that closes is reported once, with the next packet of its sender that finds it open
/// before; other packets with a window of 0, of a SYN or RST, say nothing.
#[test]
fn windows_that_close() {
    let Some(mut kernel) = quality() else { return };
    for talk in Talk::kinds(41_600) {
        let segment = |by, flags, window, payload: &[u8]| {
            talk.send_at(&kernel, by, flags, Numbers { window, ..Numbers::default() }, payload);
        };
        segment(By::Opener, SYN, 0, b"");
        segment(By::Acceptor, SYN | ACK, 0, b"");
        segment(By::Opener, ACK, 500, b"");
        segment(By::Opener, ACK | PSH, 500, b"");
        for _ in 0..2 {
            segment(By::Acceptor, ACK, 1, b"");
            for _ in 0..3 {
                segment(By::Acceptor, ACK, 0, b"");
            }
        }
        // The other side's is its own; and where an event has the record, it has one of its own.
        segment(By::Opener, ACK, 0, b"");
        segment(By::Opener, ACK, 9, b"");
        segment(By::Acceptor, ACK, 1, b"");
        segment(By::Opener, ACK | FIN, 0, b"");
        segment(By::Acceptor, ACK | FIN, 0, b"");
        segment(By::Opener, RST, 0, b"");
        let (zero, by_opener, by_acceptor) = (event::ZERO_WINDOW, By::Opener, By::Acceptor);
        assert_eq!(
            talk.events(&mut kernel),
            [
                (event::ACCEPTED, by_acceptor),
                (zero, by_acceptor),
                (zero, by_acceptor),
                (zero, by_opener),
                (zero, by_opener),
                (event::CLOSED, by_acceptor),
                (zero, by_acceptor),
            ]
        );
    }
    kernel.balanced(Mode::Overdue);
}

/// Where the ring is full, what was lost is counted by event, and the state goes on: a connection
/// whose end was lost is not listed as open.
#[test]
fn a_full_ring_loses_events_by_name() {
    let Some(mut kernel) = load(&ProgramSettings { flow_ring_bytes: 4096, ..settings() }) else { return };
    let ports = 42_000..42_200;
    for port in ports.clone() {
        let talk = Talk::new(Pod::Opens, port);
        play(&kernel, talk, &HANDSHAKE);
        play(&kernel, talk, &[(By::Opener, FIN | ACK), (By::Acceptor, FIN | ACK)]);
    }
    let mut seen = [0_u64; 2];
    for record in with_events(&mut kernel) {
        seen[usize::from(record.event == event::CLOSED)] += 1;
    }
    let lost = kernel.totals().map(|row| row.lost_events).into_iter().fold([0; 2], |sum, row| {
        [sum[0] + row[usize::from(event::ACCEPTED)], sum[1] + row[usize::from(event::CLOSED)]]
    });
    let all = ports.len() as u64;
    assert_eq!([seen[0] + lost[0], seen[1] + lost[1]], [all, all], "{seen:?} {lost:?}");
    assert!(lost[0] > 0 && seen[0] > 0, "{seen:?} {lost:?}");
    assert_eq!(open(&mut kernel), []);
}
