//! Round trips: what is measured, and what is not.

use std::time::{Duration, Instant};

use webb::bpf_loader::{Mode, ProgramSettings};
use webb_flow::abi::{event, kind};

use super::talk::{By, Pod, Talk, at, quality, records, settings, with_events};
use crate::support::packets::{ACK, FIN, PSH, RST, SYN};
use crate::support::{Kernel, load};

/// The kinds of connections, accepted, with the sequence numbers with which each side goes on. The
/// pod's lane is armed.
fn accepted(kernel: &mut Kernel, port: u16, first: u32) -> [Talk; 4] {
    let talks = Talk::kinds(port);
    for talk in talks {
        talk.send_at(kernel, By::Opener, SYN, at(first.wrapping_sub(1), 0), b"");
        talk.send_at(kernel, By::Acceptor, SYN | ACK, at(first.wrapping_sub(1), first), b"");
        talk.send_at(kernel, By::Opener, ACK, at(first, first), b"");
    }
    with_events(kernel);
    talks
}

/// The sender behind the interface, and the other.
fn local(talk: Talk) -> (By, By) {
    if talk.pod == Pod::Opens { (By::Opener, By::Acceptor) } else { (By::Acceptor, By::Opener) }
}

/// What each side's next byte would be, `number` bytes behind the handshake's.
fn segments(kernel: &Kernel, talk: Talk, by: By, sequence: u32, acknowledgement: u32, payload: &[u8]) {
    talk.send_at(kernel, by, ACK | PSH, at(sequence, acknowledgement), payload);
}

/// The first data of the pod after the handshake is measured, to the acknowledgement of all of it;
/// not what enters, not what follows. Sequence numbers go round in the middle of it.
#[test]
fn the_first_data_is_measured() {
    let Some(mut kernel) = quality() else { return };
    for (number, first) in (0..).zip([1000, u32::MAX - 3, u32::MAX, 0, 1 << 31, i32::MAX.unsigned_abs() - 2]) {
        for talk in accepted(&mut kernel, 43_000 + number, first) {
            let (pod, peer) = local(talk);
            let on = |bytes: u32| first.wrapping_add(bytes);
            // What enters is not measured, and its acknowledgement ends nothing.
            segments(&kernel, talk, peer, on(0), on(0), b"hello");
            segments(&kernel, talk, pod, on(0), on(5), b"");
            let before = Instant::now();
            segments(&kernel, talk, pod, on(0), on(5), b"question");
            let after = Instant::now();
            segments(&kernel, talk, pod, on(8), on(5), b"more");
            // The part of it is not enough.
            segments(&kernel, talk, peer, on(5), on(7), b"");
            std::thread::sleep(Duration::from_millis(2));
            let least = after.elapsed().as_micros();
            assert_eq!(talk.events(&mut kernel), []);
            segments(&kernel, talk, peer, on(5), on(8), b"answer");
            let most = before.elapsed().as_micros() + 1;
            segments(&kernel, talk, peer, on(11), on(12), b"");
            let records = with_events(&mut kernel);
            assert_eq!(
                records.iter().filter_map(|record| talk.event(record)).collect::<Vec<_>>(),
                [(event::SAMPLE, pod)]
            );
            assert_eq!(records[0].kind, kind::EVENT);
            let time = u128::from(records[0].value);
            assert!((least..=most).contains(&time), "{time} us, {least} to {most}");
            // Once: the next waits for an interval.
            segments(&kernel, talk, pod, on(12), on(11), b"question");
            segments(&kernel, talk, peer, on(11), on(20), b"");
            assert_eq!(talk.events(&mut kernel), []);
        }
    }
    kernel.balanced(Mode::Overdue);
}

/// Data of the measured range that is sent again throws the sample away, as does a RST for nothing
/// but the sample; keep-alives, of no byte or one, are no data.
#[test]
fn what_is_not_measured() {
    let Some(mut kernel) = quality() else { return };
    for talk in accepted(&mut kernel, 43_100, 1000) {
        let (pod, peer) = local(talk);
        // Keep-alives of an armed connection, and their answers.
        segments(&kernel, talk, pod, 999, 1000, b"");
        segments(&kernel, talk, peer, 1000, 1000, b"");
        segments(&kernel, talk, pod, 999, 1000, b"k");
        segments(&kernel, talk, peer, 1000, 1000, b"");
        assert_eq!(talk.events(&mut kernel), []);
        // A part of the measured segment is sent again.
        segments(&kernel, talk, pod, 1000, 1000, b"question");
        segments(&kernel, talk, pod, 1008, 1000, b"more");
        segments(&kernel, talk, pod, 1004, 1000, b"tion");
        segments(&kernel, talk, peer, 1000, 1012, b"");
        assert_eq!(talk.events(&mut kernel), []);
    }
    for talk in accepted(&mut kernel, 43_101, 1000) {
        let (pod, peer) = local(talk);
        segments(&kernel, talk, pod, 1000, 1000, b"question");
        // Bytes behind it are other bytes, whenever they are sent again.
        segments(&kernel, talk, pod, 1008, 1000, b"more");
        segments(&kernel, talk, pod, 1008, 1000, b"more");
        // Neither a SYN nor a RST acknowledges.
        talk.send_at(&kernel, peer, SYN | ACK, at(999, 1012), b"");
        segments(&kernel, talk, peer, 1000, 1012, b"");
        assert_eq!(talk.events(&mut kernel), [(event::SAMPLE, pod)]);
    }
    for talk in accepted(&mut kernel, 43_102, 1000) {
        let (pod, peer) = local(talk);
        segments(&kernel, talk, pod, 1000, 1000, b"question");
        talk.send_at(&kernel, peer, RST | ACK, at(1000, 1012), b"");
        let events = talk.events(&mut kernel);
        assert!(matches!(events[..], [(event::RESET_BY_OPENER | event::RESET_BY_ACCEPTOR, _)]), "{events:?}");
    }
    // A FIN acknowledges what came before it.
    for talk in accepted(&mut kernel, 43_103, 1000) {
        let (pod, peer) = local(talk);
        segments(&kernel, talk, pod, 1000, 1000, b"question");
        talk.send_at(&kernel, peer, FIN | ACK, at(1000, 1008), b"");
        assert_eq!(talk.events(&mut kernel), [(event::SAMPLE, pod)]);
    }
}

/// A long connection is measured again in each report interval, and not more often, however many
/// packets it has; also where every packet is a record.
#[test]
fn one_sample_in_an_interval() {
    for every_packet in [false, true] {
        let interval = Duration::from_millis(200);
        let Some(mut kernel) = load(&ProgramSettings { report_interval: interval, every_packet, ..settings() }) else {
            return;
        };
        let talk = accepted(&mut kernel, 43_200, 1000)[0];
        let (pod, peer) = local(talk);
        let (start, mut sequence, mut samples, mut intervals) = (Instant::now(), 1000_u32, 0_u32, 0_u32);
        while samples < 4 {
            assert!(
                start.elapsed() < Duration::from_mins(1),
                "{samples} samples, {intervals} intervals, {:?}",
                kernel.totals()[0]
            );
            // More than a lane can hold: what is reported then does not begin the interval anew.
            kernel.send_times(talk.hook(pod), &talk.packet(pod, ACK, at(sequence, 1000), b""), 9000);
            for _ in 0..50 {
                segments(&kernel, talk, pod, sequence, 1000, b"question");
                sequence += 8;
                segments(&kernel, talk, peer, 1000, sequence, b"");
            }
            for record in records(&mut kernel) {
                samples += u32::from(record.event == event::SAMPLE);
                intervals += u32::from(record.kind == kind::INTERVAL);
            }
            if every_packet && start.elapsed() > 3 * interval {
                // None is due without records of an interval, and so with each packet none more.
                break;
            }
        }
        assert!(samples <= 1 + intervals, "{samples} samples, {intervals} intervals");
        assert_eq!(every_packet, samples < 4, "{samples} samples");
    }
}
