//! Cost of watching in the kernel, as a table: `cargo bench --bench kernel_cost`, as root.

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

use std::time::Instant;

use aya::maps::{Array, ProgramArray};
use aya::programs::{ProgramFd, SchedClassifier, TestRun, TestRunOptions};
use kernel_support::packets::{ACK, tcp, udp};
use kernel_support::{load, table_of};
use webb::bpf_loader::{Hook, Mode, ProgramSettings};

fn resident_kib() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|word| word.parse().ok()).unwrap_or(0)
}

fn main() {
    packets();
    table_of_costs();
    every_packet_reported();
}

/// Numbers of connections, in random order, for which a program's time above the empty one is
/// measured; 0: each packet is a new one.
const KINDS: [(u32, &str); 4] = [(1, "1"), (1000, "1,000"), (50_000, "50,000"), (0, "new")];

const ROUNDS: usize = 5;
const PACKETS: u32 = 400_000;

/// Nanoseconds of a tight loop, median of the rounds: driver and empty program, then floor and webb
/// above that.
fn packets() {
    let settings =
        ProgramSettings { table_bytes: table_of(65_536), flow_ring_bytes: 64 << 20, ..ProgramSettings::default() };
    let Some(mut kernel) = load(&settings) else { return };
    let object = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/driver.bpf.o"));
    let mut own = aya::Ebpf::load(object).unwrap();
    for name in ["empty", "floor_of_all", "driver"] {
        let program: &mut SchedClassifier = own.program_mut(name).unwrap().try_into().unwrap();
        program.load().unwrap();
    }
    let mut target: ProgramArray<_> = own.take_map("target").unwrap().try_into().unwrap();
    let mut drive: Array<_, u64> = own.take_map("drive").unwrap().try_into().unwrap();
    let own_fd = |name: &str| -> ProgramFd {
        let program: &SchedClassifier = own.program(name).unwrap().try_into().unwrap();
        program.fd().unwrap().try_clone().unwrap()
    };
    let (empty, floor) = (own_fd("empty"), own_fd("floor_of_all"));
    let driver: &SchedClassifier = own.program("driver").unwrap().try_into().unwrap();
    let packet = udp(([10, 1, 0, 1], 40000), ([10, 2, 0, 2], 53), &[0; 8]);
    let mut first = 0;
    println!("{:<28}{:>10}{:>10}{:>10}{:>10}", "ns a packet", "empty", "floor", "webb", "sweep ms");
    for (connections, name) in KINDS {
        let mut times = [const { Vec::new() }; 4];
        for _ in 0..ROUNDS {
            drive.set(1, u64::from(connections), 0).unwrap();
            for (at, program) in [Some(&empty), Some(&floor), None].into_iter().enumerate() {
                let program = program.unwrap_or_else(|| kernel.probes.classifier(Hook::FromPod).unwrap());
                target.set(0, program, 0).unwrap();
                // Each connection is met before it is measured.
                for measured in [false, true] {
                    first += 1 << 25;
                    drive.set(0, if connections == 0 { first } else { 0 }, 0).unwrap();
                    let options = TestRunOptions { data_in: Some(&packet), repeat: PACKETS, ..Default::default() };
                    let took = driver.test_run(options).unwrap().duration;
                    kernel.records();
                    if measured {
                        times[at].push(took.as_nanos() as f64);
                    }
                }
            }
            let start = Instant::now();
            kernel.sweeper.sweep(Mode::Overdue).unwrap();
            times[3].push(start.elapsed().as_secs_f64() * 1000.0);
            kernel.records();
        }
        let [empty, floor, webb, sweep] = times.map(|mut times| {
            times.sort_by(f64::total_cmp);
            times[times.len() / 2]
        });
        println!("{name:<28}{empty:>10.0}{:>10.0}{:>10.0}{sweep:>10.2}", floor - empty, webb - empty);
    }
    let totals = kernel.totals()[0];
    println!(
        "{} packets, {} records, {} lost or untracked",
        totals.seen_packets,
        totals.records,
        totals.lost_packets + totals.untracked_packets
    );
    println!("empty is the driver and a program that does nothing; floor and webb are what comes on top\n");
}

/// Loading, memory, packets of an established connection, new connections, sweeps.
fn table_of_costs() {
    let before = resident_kib();
    let start = Instant::now();
    let Some(mut kernel) = load(&ProgramSettings::default()) else { return };
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
        println!("sweep of {:>6} connections {:>10.1?} (whole table)", swept.entries, start.elapsed());
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
    let Some(mut kernel) = load(&ProgramSettings { every_packet: true, ..ProgramSettings::default() }) else { return };
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
