//! Cost of layer 7 in the kernel: nanoseconds a packet of the programs without it and with it, in
//! turn; `cargo bench --bench layer7_cost`, as root.

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

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use kernel_support::packets::{A, ACK, B, PSH, SYN, tcp, udp};
use kernel_support::{Kernel, load};
use webb::bpf_loader::{Hook, Layer7Settings, ProgramSettings};
use webb::records::{RecordSource, Rings, Waker};
use webb_flow::abi::l7_switch;

/// Runs of a packet between two times that the rings are emptied: their records fit.
const REPEAT: u32 = 4000;

/// Rounds, of which the best counts: what else runs makes a round longer, never shorter.
const ROUNDS: u32 = 61;

const CLIENT: ([u8; 4], u16) = (A, 40_000);
const SERVER: ([u8; 4], u16) = (B, 80);
const QUERY: &[u8] = b"\0\x07\x01\0\0\x01\0\0\0\0\0\0\x03web\x04test\0\0\x01\0\x01";

/// Packets that open a connection and decide what it speaks, and the one that is measured.
struct Case {
    name: &'static str,
    before: Vec<Vec<u8>>,
    packet: Vec<u8>,
    /// Whether a record of layer 7 is made of each.
    is_sent: bool,
}

fn segment(port: u16, flags: u8, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let mut packet = tcp((CLIENT.0, port), SERVER, flags, payload);
    packet[38..42].copy_from_slice(&sequence.to_be_bytes());
    packet
}

fn cases() -> Vec<Case> {
    let head = |bytes: usize| {
        let start = "GET /status HTTP/1.1\r\nHost: web\r\nUser-Agent: ";
        format!("{start}{}\r\n\r\n", "x".repeat(bytes - start.len() - 4)).into_bytes()
    };
    let opened = |port: u16, first: &[u8]| {
        vec![segment(port, SYN, 1000, b""), segment(port, ACK, 1001, b""), segment(port, ACK | PSH, 1001, first)]
    };
    let on = |name, port, first: &[u8], payload: &[u8], is_sent| {
        let sequence = 1001 + u32::try_from(first.len()).unwrap();
        Case { name, before: opened(port, first), packet: segment(port, ACK | PSH, sequence, payload), is_sent }
    };
    let query = udp(CLIENT, (B, 53), QUERY);
    vec![
        on("TCP, not layer 7, 400 bytes", 40_001, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03", &[0xa5; 400], false),
        Case { name: "DNS query", before: vec![query.clone()], packet: query, is_sent: true },
        on("head of HTTP/1, 100 bytes", 40_002, &head(100), &head(100), true),
        on("head of HTTP/1, 400 bytes", 40_003, &head(400), &head(400), true),
        on("segment of HTTP/1, no head", 40_004, &head(100), &[b'x'; 400], false),
    ]
}

/// Both ways to have the programs.
struct Side {
    kernel: Kernel,
    layer7: Option<Box<dyn RecordSource>>,
}

impl Side {
    fn new(layer7: bool) -> Option<Self> {
        let settings = layer7.then(Layer7Settings::default);
        let kernel = load(&ProgramSettings { layer7: settings, ..ProgramSettings::default() })?;
        let layer7 = kernel.probes.layer7().map(|layer7| {
            let all = l7_switch::DNS_CLIENT | l7_switch::DNS_SERVER | l7_switch::HTTP_CLIENT | l7_switch::HTTP_SERVER;
            layer7.look_for(all).unwrap();
            layer7.rings().open(&Waker::new().unwrap()).unwrap()
        });
        Some(Self { kernel, layer7 })
    }

    /// Empties the rings; returns the number of records of layer 7.
    fn empty(&mut self) -> usize {
        self.kernel.records();
        self.layer7.as_mut().map_or(0, |ring| ring.drain(&mut |_, _| ControlFlow::Continue(())))
    }

    fn time(&mut self, packet: &[u8]) -> Duration {
        let began = Instant::now();
        self.kernel.send_times(Hook::FromPod, packet, REPEAT);
        began.elapsed()
    }
}

fn main() {
    let (Some(mut plain), Some(mut with)) = (Side::new(false), Side::new(true)) else { return };
    println!("{:<32}{:>10}{:>10}{:>10}{:>8}", "ns a packet, test run included", "without", "with", "more", "ratio");
    for case in cases() {
        let mut best = [f64::INFINITY; 2];
        for side in [&mut plain, &mut with] {
            for packet in &case.before {
                side.kernel.send(Hook::FromPod, packet);
            }
            side.empty();
        }
        for _ in 0..ROUNDS {
            for (side, best) in [&mut plain, &mut with].into_iter().zip(&mut best) {
                *best = best.min(side.time(&case.packet).as_nanos() as f64 / f64::from(REPEAT));
                let wanted = if case.is_sent && side.layer7.is_some() { REPEAT as usize } else { 0 };
                assert_eq!(side.empty(), wanted, "{}", case.name);
            }
        }
        let [without, with] = best;
        println!("{:<32}{without:>10.0}{with:>10.0}{:>10.0}{:>8.2}", case.name, with - without, with / without);
    }
}
