//! Counts of the sweep by class, family and TCP or not: each connection is in one class for as long
//! as it is in the table, and counted as ended by the sweep that removes it.

use std::time::{Duration, Instant};

use webb::bpf_loader::{Hook, Mode, ProgramSettings, Timeouts};
use webb_flow::abi::{CLASSES, Swept, class};

use crate::support::packets::{A6, ACK, B6, SYN, tcp, tcp6, udp, udp6};
use crate::support::{Kernel, load};

const SERVER: ([u8; 4], u16) = ([10, 0, 0, 9], 80);

/// Timeout of a test's wait.
const TIMEOUT: Duration = Duration::from_mins(1);

/// Sends `packets` packets of each of these connections: 5 of UDP over IPv4, 4 of TCP over it, 3
/// and 2 over IPv6.
fn send(kernel: &Kernel, packets: u32) {
    for number in 0..5 {
        kernel.send_times(Hook::FromPod, &udp(([10, 1, 0, number], 40000), SERVER, b"some bytes"), packets);
    }
    for number in 0..4 {
        kernel.send(Hook::FromPod, &tcp(([10, 1, 0, number], 40000), SERVER, SYN, b""));
        for _ in 1..packets {
            kernel.send(Hook::FromPod, &tcp(([10, 1, 0, number], 40000), SERVER, ACK, b"more"));
        }
    }
    for port in 0..3 {
        kernel.send_times(Hook::FromPod, &udp6((A6, 40000 + port), (B6, 53), b"some bytes"), packets);
    }
    for port in 0..2 {
        kernel.send_times(Hook::FromPod, &tcp6((A6, 40000 + port), (B6, 80), SYN), packets);
    }
}

fn by_class(swept: [u64; CLASSES]) -> [u64; CLASSES] {
    [swept[0], swept[class::TCP], swept[class::IPV6], swept[class::IPV6 | class::TCP]]
}

/// Whether a connection had one packet or many makes no difference, and a frame that is not IP is
/// an entry without a class.
#[test]
fn connections_have_a_class() {
    for packets in [1, 3] {
        let Some(mut kernel) = load(&ProgramSettings::default()) else { return };
        send(&kernel, packets);
        let mut arp = udp(([10, 1, 0, 1], 1), SERVER, b"");
        arp[12..14].copy_from_slice(&[0x08, 0x06]);
        kernel.send(Hook::FromPod, &arp);
        let swept = kernel.balanced(Mode::Overdue);
        assert_eq!((by_class(swept.alive), swept.entries), ([5, 4, 3, 2], 15), "{packets} packets: {swept:?}");
        assert_eq!(swept.ended, [0; CLASSES]);
    }
}

/// The sweep that removes a connection counts it as ended, and the one after it does not.
#[test]
fn ended_connections_are_counted_once() {
    let zero = Duration::ZERO;
    let timeouts = Timeouts { tcp: zero, closed: zero, half_open: zero, other: zero, evictable: zero, mac_claim: zero };
    for packets in [1, 3] {
        let Some(mut kernel) = load(&ProgramSettings { timeouts, ..ProgramSettings::default() }) else { return };
        send(&kernel, packets);
        let (start, mut ended) = (Instant::now(), [0; CLASSES]);
        let last: Swept = loop {
            let swept = kernel.balanced(Mode::Overdue);
            ended.iter_mut().zip(by_class(swept.ended)).for_each(|(sum, more)| *sum += more);
            kernel.records();
            if swept.entries == 0 && swept.ended == [0; CLASSES] {
                break swept;
            }
            assert!(start.elapsed() < TIMEOUT, "{swept:?}");
        };
        assert_eq!((ended, last.alive, last.deleted), ([5, 4, 3, 2], [0; CLASSES], 14), "{packets} packets");
    }
}
