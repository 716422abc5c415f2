//! What watching costs in the kernel, as a table: `cargo bench --bench kernel_cost`, as root.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    clippy::print_stdout,
    reason = "a bench prints, and stops where its assumptions fail"
)]

#[path = "../tests/kernel_support/mod.rs"]
mod kernel_support;

use std::time::Instant;

use kernel_support::load;
use kernel_support::packets::{ACK, tcp, udp};
use webb::bpf_loader::{Hook, Mode, Settings};

fn resident_kib() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|word| word.parse().ok()).unwrap_or(0)
}

fn main() {
    table_of_costs();
    every_packet_reported();
}

/// Loading, memory, packets of an established connection, new connections, sweeps.
fn table_of_costs() {
    let before = resident_kib();
    let start = Instant::now();
    let Some(mut kernel) = load(&Settings::default()) else { return };
    println!("load                        {:>10.1?}", start.elapsed());
    for line in std::fs::read_to_string("/proc/self/status").unwrap_or_default().lines() {
        // RssFile holds the rings: each is mapped twice in a row, so that no record is cut in two.
        if line.starts_with("Rss") || line.starts_with("VmHWM") {
            println!("  {line}");
        }
    }
    println!("resident before, after      {before:>10} KiB, {} KiB", resident_kib());

    let packets = [
        ("udp", udp(([10, 0, 0, 1], 40000), ([10, 0, 0, 2], 53), &[0; 64])),
        ("tcp", tcp(([10, 0, 0, 1], 40000), ([10, 0, 0, 2], 80), ACK, &[0; 64])),
    ];
    for (name, packet) in packets {
        let times = 1_000_000;
        let start = Instant::now();
        kernel.send_times(Hook::FromPod, &packet, times);
        println!("established {name}, a packet    {:>10.1?} (test run's own time included)", start.elapsed() / times);
    }
    for entries in [0_u32, 1_000, 10_000, 45_000] {
        for number in 0..entries {
            let [a, b, c, d] = (0x0a00_0000 + number).to_be_bytes();
            kernel.send(Hook::FromPod, &udp(([a, b, c, d], 4000), ([11, 0, 0, 1], 53), b"x"));
        }
        let start = Instant::now();
        let swept = kernel.sweeper.sweep(Mode::Overdue).unwrap();
        println!("sweep of {:>6} connections {:>10.1?} (grace period included)", swept.entries, start.elapsed());
    }
    for cost in kernel.probes.cost() {
        if cost.runs > 0 {
            println!(
                "{:<15} {:>9} runs  {:>10.1?} each",
                cost.program,
                cost.runs,
                cost.run_time.div_f64(cost.runs as f64)
            );
        }
    }
}

/// `aggregation: none` under a flood from one CPU, with a reader on the other.
fn every_packet_reported() {
    let Some(mut kernel) = load(&Settings { every_packet: true, ..Settings::default() }) else { return };
    let packet = udp(([10, 0, 0, 1], 40000), ([10, 0, 0, 2], 53), &[0; 64]);
    let kernel_support::Kernel { probes, reader, .. } = &mut kernel;
    let probes = &*probes;
    let times = 5_000_000_u32;
    let done = std::sync::atomic::AtomicBool::new(false);
    let mut read = 0;
    let start = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            probes.dry_run(Hook::FromPod, &packet, times).unwrap();
            done.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        while !done.load(std::sync::atomic::Ordering::Relaxed) {
            reader.wait(std::time::Duration::from_secs(1)).unwrap();
            read += reader.drain(&mut |_, _| std::ops::ControlFlow::Continue(()));
        }
    });
    let totals = kernel.totals()[0];
    println!(
        "{times} packets in {:.1?}: {read} records read, {} lost in the ring",
        start.elapsed(),
        totals.lost_records
    );
    for cost in kernel.probes.cost().iter().filter(|cost| cost.runs >= u64::from(times)) {
        println!("{:<15} {:>9} runs  {:>10.1?} each", cost.program, cost.runs, cost.run_time.div_f64(cost.runs as f64));
    }
}
