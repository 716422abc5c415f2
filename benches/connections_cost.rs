//! Cost of connection quality in the kernel: nanoseconds a packet of the programs without it and
//! with it, in turn; `cargo bench --bench connections_cost`, as root.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    clippy::print_stdout,
    reason = "a bench prints, and stops where its assumptions fail"
)]

#[path = "../tests/kernel/support/mod.rs"]
mod kernel_support;

use std::time::{Duration, Instant};

use kernel_support::packets::{A, ACK, B, PSH, SYN, tcp, udp};
use kernel_support::{Kernel, load};
use webb::bpf_loader::{Hook, ProgramSettings};
use webb_flow::abi::event;

/// Runs of a packet that are timed at once.
const REPEAT: u32 = 20_000;

/// Rounds, of which the best counts: what else runs makes a round longer, never shorter.
const ROUNDS: u32 = 101;

const SERVER: ([u8; 4], u16) = (B, 80);

/// Packets of a connection so far, and the one that is measured, each with its hook.
struct Case {
    name: &'static str,
    before: Vec<(Hook, Vec<u8>)>,
    packet: (Hook, Vec<u8>),
    /// Whether a sample was taken before.
    is_sampled: bool,
}

fn numbered(mut packet: Vec<u8>, sequence: u32, acknowledgement: u32) -> Vec<u8> {
    packet[38..42].copy_from_slice(&sequence.to_be_bytes());
    packet[42..46].copy_from_slice(&acknowledgement.to_be_bytes());
    packet
}

fn cases() -> Vec<Case> {
    let out = |port, flags, sequence, payload: &[u8]| {
        (Hook::FromPod, numbered(tcp((A, port), SERVER, flags, payload), sequence, 2001))
    };
    let back = |port, flags, acknowledgement, payload: &[u8]| {
        (Hook::ToPod, numbered(tcp(SERVER, (A, port), flags, payload), 2001, acknowledgement))
    };
    let opened = |port| vec![out(port, SYN, 1000, b""), back(port, SYN | ACK, 1001, b""), out(port, ACK, 1001, b"")];
    let sampled = |port| {
        let mut packets = opened(port);
        packets.extend([out(port, ACK | PSH, 1001, &[0xa5; 400]), back(port, ACK | PSH, 1401, &[0xa5; 400])]);
        packets
    };
    let datagram = (Hook::FromPod, udp((A, 40_000), (B, 53), &[0; 64]));
    vec![
        Case {
            name: "data of the pod",
            before: sampled(40_001),
            packet: out(40_001, ACK, 1401, &[0xa5; 400]),
            is_sampled: true,
        },
        Case {
            name: "data to the pod",
            before: sampled(40_002),
            packet: back(40_002, ACK, 1401, &[0xa5; 400]),
            is_sampled: true,
        },
        Case {
            name: "ACK of the pod, armed",
            before: opened(40_003),
            packet: out(40_003, ACK, 1001, b""),
            is_sampled: false,
        },
        Case {
            name: "ACK to the pod, armed",
            before: opened(40_004),
            packet: back(40_004, ACK, 1001, b""),
            is_sampled: false,
        },
        Case {
            name: "datagram",
            before: vec![datagram.clone(), datagram.clone()],
            packet: datagram,
            is_sampled: false,
        },
    ]
}

fn time(kernel: &mut Kernel, (hook, packet): &(Hook, Vec<u8>)) -> Duration {
    let began = Instant::now();
    kernel.send_times(*hook, packet, REPEAT);
    let took = began.elapsed();
    kernel.records();
    took
}

fn main() {
    let side = |connections| load(&ProgramSettings { connections, ..ProgramSettings::default() });
    let (Some(mut plain), Some(mut with)) = (side(false), side(true)) else { return };
    for hook in [Hook::FromPod, Hook::ToPod] {
        let instructions = [&plain, &with].map(|kernel| kernel.probes.instructions(hook));
        println!("{hook:?}: instructions and verified, without and with: {instructions:?}");
    }
    println!("{:<32}{:>10}{:>10}{:>10}{:>8}", "ns a packet, test run included", "without", "with", "more", "ratio");
    for case in cases() {
        let mut best = [f64::INFINITY; 2];
        for kernel in [&mut plain, &mut with] {
            for (hook, packet) in &case.before {
                kernel.send(*hook, packet);
            }
        }
        plain.records();
        let samples = with.records().iter().filter(|record| record.event == event::SAMPLE).count();
        assert_eq!(samples, usize::from(case.is_sampled), "{}", case.name);
        for _ in 0..ROUNDS {
            for (kernel, best) in [&mut plain, &mut with].into_iter().zip(&mut best) {
                *best = best.min(time(kernel, &case.packet).as_nanos() as f64 / f64::from(REPEAT));
            }
        }
        let [without, with] = best;
        println!("{:<32}{without:>10.1}{with:>10.1}{:>10.1}{:>8.2}", case.name, with - without, with / without);
    }
}
