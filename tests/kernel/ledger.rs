//! The kernel side's ledger: whatever is flooded, full, late or raced, every packet is accounted
//! for.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use webb::bpf_loader::{Hook, Mode, ProgramSettings, Timeouts};
use webb::records::Signal;
use webb_flow::abi::{Record, Swept};

use crate::support::packets::{ACK, SYN, tcp, udp};
use crate::support::{Sums, load, table_of};

fn address(number: u32) -> [u8; 4] {
    [10, 1, (number >> 8) as u8, number as u8]
}

const SERVER: ([u8; 4], u16) = ([10, 0, 0, 9], 80);

fn from_client(number: u32) -> Vec<u8> {
    udp((address(number), 40000), SERVER, b"some bytes")
}

fn to_client(number: u32) -> Vec<u8> {
    udp(SERVER, (address(number), 40000), b"an answer of some bytes")
}

const TINY: Timeouts = Timeouts {
    tcp: Duration::ZERO,
    closed: Duration::ZERO,
    half_open: Duration::ZERO,
    other: Duration::ZERO,
    evictable: Duration::ZERO,
    mac_claim: Duration::ZERO,
};

/// A table for 1,024 connections and a ring of 64 KiB under 10,000 connections: the ledger adds up
/// exactly, before and after sweeps and at the end, and the records carry just what is called
/// reported.
#[test]
fn a_flood_is_accounted_for() {
    let settings =
        ProgramSettings { table_bytes: table_of(1024), flow_ring_bytes: 65536, ..ProgramSettings::default() };
    let Some(mut kernel) = load(&settings) else { return };
    let mut sums = Sums::default();
    for round in 0..3 {
        for number in 0..10_000 {
            kernel.send(Hook::FromPod, &from_client(number));
            if number % 3 == 0 {
                kernel.send_times(Hook::ToPod, &to_client(number), 2);
            }
        }
        let totals = kernel.totals()[0];
        assert!(totals.untracked_packets > 0, "the table must have been full: {totals:?}");
        assert!(totals.lost_records > 0, "the ring must have been full: {totals:?}");
        let swept = kernel.balanced(Mode::Overdue);
        assert!(swept.entries > 800 && swept.entries <= u64::from(kernel.sweeper.capacity()), "{swept:?}");
        assert!(round > 0 || swept.pending_packets[0] > 0, "what the ring had no room for is pending: {swept:?}");
        sums.add(&kernel.records());
        sums.equal_reported(&kernel.totals());
    }
    loop {
        let swept = kernel.balanced(Mode::Everything);
        sums.add(&kernel.records());
        sums.equal_reported(&kernel.totals());
        if swept.pending_packets == [0; 5] {
            break;
        }
    }
    let totals = kernel.totals();
    assert_eq!(totals[0].seen_packets, 30_000);
    assert_eq!(totals[1].seen_packets, 3 * 3334 * 2);
    assert_eq!(totals[0].lost_packets + totals[1].lost_packets, 0, "a full ring costs events, not packets");
}

/// Timeout of a test's wait.
const TIMEOUT: Duration = Duration::from_mins(1);

/// Idle connections go, and with them nothing: what was pending is reported first.
#[test]
fn idle_connections_end() {
    let Some(mut kernel) = load(&ProgramSettings { timeouts: TINY, ..ProgramSettings::default() }) else { return };
    for number in 0..500 {
        kernel.send_times(Hook::FromPod, &from_client(number), 3);
    }
    let mut sums = Sums::default();
    sums.add(&kernel.records());
    assert_eq!(sums.packets[0], 500, "two packets of each are pending");
    let gone = swept_until(&mut kernel, |swept| swept.entries == 0);
    assert_eq!(gone.deleted, 500);
    sums.add(&kernel.records());
    assert_eq!(sums.packets[0], 1500);
    sums.equal_reported(&kernel.totals());
}

/// Sweeps until it finds what is waited for; the ledger adds up each time.
fn swept_until(kernel: &mut crate::support::Kernel, done: impl Fn(&Swept) -> bool) -> Swept {
    let start = Instant::now();
    loop {
        let swept = kernel.balanced(Mode::Overdue);
        if done(&swept) {
            return swept;
        }
        assert!(start.elapsed() < TIMEOUT, "{swept:?}");
    }
}

/// One packet, or one each way, goes by the shorter of the two timeouts, also where it holds
/// nothing to report.
#[test]
fn what_has_said_all_ends() {
    let Some(mut kernel) = load(&ProgramSettings { timeouts: TINY, ..ProgramSettings::default() }) else { return };
    for number in 0..300 {
        kernel.send(Hook::FromPod, &from_client(number));
        if number % 2 == 0 {
            kernel.send(Hook::ToPod, &to_client(number));
        }
    }
    assert_eq!(kernel.records().len(), 450, "each packet is a record");
    assert_eq!(swept_until(&mut kernel, |swept| swept.entries == 0).deleted, 300);
    assert_eq!(kernel.records(), [], "and nothing is left to say");
}

/// A full ring keeps what is pending, and the connection with it, until there is room.
#[test]
fn a_full_ring_delays_the_end() {
    let settings = ProgramSettings { timeouts: TINY, flow_ring_bytes: 4096, ..ProgramSettings::default() };
    let Some(mut kernel) = load(&settings) else { return };
    for number in 0..200 {
        kernel.send_times(Hook::FromPod, &from_client(number), 2);
    }
    std::thread::sleep(Duration::from_millis(30));
    for _ in 0..3 {
        let swept = kernel.balanced(Mode::Overdue);
        assert!(swept.entries >= 150, "nothing goes while it has something to say: {swept:?}");
    }
    let mut sums = Sums::default();
    for _ in 0..20 {
        sums.add(&kernel.records());
        kernel.balanced(Mode::Overdue);
    }
    sums.add(&kernel.records());
    let swept = kernel.balanced(Mode::Overdue);
    assert_eq!((swept.entries, sums.packets[0]), (0, 400), "{swept:?}");
}

/// A lane that could not be reported is never allowed to overflow: it becomes `lost`, by name.
#[test]
fn a_lane_never_overflows() {
    let settings = ProgramSettings { flow_ring_bytes: 4096, ..ProgramSettings::default() };
    let Some(mut kernel) = load(&settings) else { return };
    for number in 0..100 {
        kernel.send(Hook::FromPod, &from_client(number));
    }
    // 2^14 packets are the limit, and 2^30 bytes; the ring is full all the time.
    kernel.send_times(Hook::FromPod, &from_client(1), 100_000);
    let swept = kernel.balanced(Mode::Overdue);
    let totals = kernel.totals()[0];
    assert!(totals.lost_packets >= 80_000, "{totals:?} {swept:?}");
    let large = udp((address(2), 40000), SERVER, &vec![0; 3000]);
    kernel.send_times(Hook::FromPod, &large, 10_000);
    kernel.balanced(Mode::Overdue);
}

/// Threads send over few and ever the same connections, in bursts, while sweeps end whatever was
/// not used for a moment: entries end, begin again and their slots are taken by others as fast as
/// they can be. No packet is lost, doubled or unnamed, and none is reported for another connection
/// or another hook than its own.
#[test]
fn ending_races_lose_nothing() {
    const CONNECTIONS: usize = 24;
    let settings = ProgramSettings {
        table_bytes: table_of(32),
        timeouts: TINY,
        flow_ring_bytes: 16 << 20,
        ..ProgramSettings::default()
    };
    let Some(mut kernel) = load(&settings) else { return };
    let packets: Vec<_> = (0..CONNECTIONS as u32).map(|number| [from_client(number), to_client(number)]).collect();
    let sent: Vec<[AtomicU64; 2]> = packets.iter().map(|_| Default::default()).collect();
    let mut reported = vec![[0_u64; 2]; CONNECTIONS];
    let mut sums = Sums::default();
    let mut count = |record: Record| {
        let client = if record.hook == 0 { record.source } else { record.destination };
        reported[usize::from(client[15])][usize::from(record.hook)] += u64::from(record.packets);
        sums.add(&[record]);
    };
    let stop = AtomicBool::new(false);
    let mut ended = 0;
    let start = Instant::now();
    let crate::support::Kernel { probes, sweeper, reader, .. } = &mut kernel;
    let probes = &*probes;
    std::thread::scope(|scope| {
        for thread in 0..3_usize {
            let (packets, sent, stop) = (&packets, &sent, &stop);
            scope.spawn(move || {
                for turn in (thread..).step_by(5) {
                    for (way, hook) in [Hook::FromPod, Hook::ToPod].into_iter().enumerate() {
                        if stop.load(Relaxed) {
                            return;
                        }
                        let times = 1 + (turn * 7919 + way) as u32 % 10_000;
                        probes.dry_run(hook, &packets[turn % CONNECTIONS][way], times).unwrap();
                        sent[turn % CONNECTIONS][way].fetch_add(u64::from(times), Relaxed);
                    }
                }
            });
        }
        while ended < 1000 {
            let evicted = probes.ledger().totals().unwrap().iter().map(|row| row.evicted_entries).sum::<u64>();
            ended = sweeper.sweep(Mode::Overdue).unwrap().deleted + evicted;
            reader.drain(&mut |signal, bytes| {
                if signal == Signal::Flow {
                    count(crate::support::record(bytes));
                }
                std::ops::ControlFlow::Continue(())
            });
            if start.elapsed() > TIMEOUT {
                break;
            }
        }
        stop.store(true, Relaxed);
    });
    assert!(ended >= 1000, "the race must have taken place: {ended} entries ended");
    while kernel.balanced(Mode::Everything).pending_packets != [0; 5] {}
    kernel.records().into_iter().for_each(&mut count);
    let totals = kernel.totals();
    sums.equal_reported(&totals);
    for way in 0..2 {
        assert_eq!((totals[way].untracked_packets, totals[way].lost_packets), (0, 0), "the ring had room");
        for (number, sent) in sent.iter().enumerate() {
            assert_eq!(reported[number][way], sent[way].load(Relaxed), "connection {number}");
        }
    }
}

/// A reader that panics on a record loses that record and nothing else; the next one goes on behind
/// it.
#[test]
fn a_poisonous_record_is_met_once() {
    let Some(mut kernel) = load(&ProgramSettings::default()) else { return };
    for number in 0..10 {
        kernel.send(Hook::FromPod, &from_client(number));
    }
    let mut seen = 0;
    let died = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        kernel.reader.drain(&mut |signal, _| {
            seen += usize::from(signal == Signal::Flow);
            assert!(seen < 4, "poison");
            std::ops::ControlFlow::Continue(())
        })
    }));
    assert!(died.is_err());
    let waker = webb::records::Waker::new().unwrap();
    kernel.reader = webb::records::Rings::open(&kernel.probes.rings(), &waker).unwrap();
    assert_eq!(kernel.records().len(), 6);
}

/// The fill of a ring is what is written and not read, and waiting ends by the waker or the look
/// every 20 ms.
#[test]
fn fill_and_wait() {
    let Some(mut kernel) = load(&ProgramSettings::default()) else { return };
    let fill = |kernel: &crate::support::Kernel| {
        let rings = kernel.probes.rings().fill();
        let ring = rings.iter().find(|ring| ring.signal == Signal::Flow).unwrap();
        assert_eq!(ring.size, u64::from(ProgramSettings::default().flow_ring_bytes));
        ring.used
    };
    assert_eq!(fill(&kernel), 0);
    kernel.send(Hook::FromPod, &tcp(([1, 2, 3, 4], 5), SERVER, SYN, b""));
    kernel.send(Hook::FromPod, &tcp(([1, 2, 3, 4], 5), SERVER, ACK, b""));
    assert_eq!(fill(&kernel), 2 * 88, "80 bytes and the ring's own 8");
    kernel.reader.wait(Duration::from_secs(5)).unwrap();
    assert_eq!(kernel.records().len(), 2);
    assert_eq!(fill(&kernel), 0);
}

/// Any sequence of packets, sweeps and reads, on a tiny table and ring, leaves a ledger that adds
/// up.
#[test]
fn any_sequence_adds_up() {
    let settings = ProgramSettings {
        table_bytes: table_of(64),
        flow_ring_bytes: 4096,
        timeouts: TINY,
        ..ProgramSettings::default()
    };
    let Some(kernel) = load(&settings) else { return };
    let kernel = std::cell::RefCell::new((kernel, Sums::default()));
    let step = (0_u32..4, 0_u32..200, 1_u32..5);
    proptest!(ProptestConfig::with_cases(60), |(steps in proptest::collection::vec(step, 1..120))| {
        let (kernel, sums) = &mut *kernel.borrow_mut();
        for (what, number, times) in steps {
            match what {
                0 => kernel.send_times(Hook::FromPod, &from_client(number), times),
                1 => kernel.send_times(Hook::ToPod, &to_client(number), times),
                2 => kernel.send_times(Hook::FromNetwork, &tcp((address(number), 9), SERVER, times as u8, b""), times),
                _ if times == 1 => {
                    kernel.balanced(Mode::Overdue);
                }
                _ => sums.add(&kernel.records()),
            }
        }
        kernel.balanced(Mode::Everything);
        sums.add(&kernel.records());
        sums.equal_reported(&kernel.totals());
    });
}
