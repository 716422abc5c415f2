//! Cost of the engine: records as they lie in the ring, decoded, named and counted by every metric
//! of a configuration, on one core in all.
//!
//! `cargo bench --bench engine` prints the tables; words behind `--` choose some of them: `path`,
//! `history`, `rollups`, `history-beside`, `stages`, `series`, `pods`, `threads`, `connections`,
//! `memory`. But for `history-beside`, `threads` and `connections`, everything runs in one thread,
//! in the order in which the pipeline's threads would do it. Figures are CPU time, which other
//! programs on the machine lengthen less than time on the clock.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a bench may end where it is wrong"
)]

#[path = "../tests/counting_allocator/mod.rs"]
mod counting_allocator;
mod mix;

use std::sync::Arc;
use std::time::{Duration, Instant};

use counting_allocator::allocations_here;
use mix::pipeline::{Beside, Pipeline};
use rustix::time::{ClockId, clock_gettime};
use webb_decode::{Decoded, Decoder};
use webb_flow::Flow;
use webb_flow::abi::Record;
use webb_index::{Flows, Index};
use webb_metrics::Aggregator;
use webb_metrics::expose::{Exposition, Format, Snapshot};
use webb_observer::{History, Recorder};
use webb_otlp::{Attributes, Encoding, RequestBuilder, Stream};
use webb_rollup::{Encoder, Rollups, Settings, Window};
use zerocopy::IntoBytes;

const CONFIGURATIONS: [(&str, &str); 2] = [("first", mix::FIRST), ("second", mix::SECOND)];

/// A table is measured for about so long.
const MIN_TIME: Duration = Duration::from_secs(3);

/// From record to counter.
struct Engine {
    decoder: Decoder,
    index: Arc<Index>,
    batch: Vec<Flow>,
    aggregators: Vec<Aggregator>,
}

impl Engine {
    fn new(configuration: &str, pods: u32) -> Self {
        Self {
            decoder: mix::decoder(),
            index: mix::index(pods),
            batch: Vec::with_capacity(mix::BATCH),
            aggregators: mix::aggregators(configuration),
        }
    }

    /// Decodes a batch, as the reader does.
    fn decode(&mut self, records: &[Record]) {
        self.batch.clear();
        let mut flow = Flow::default();
        for record in records {
            if self.decoder.decode(record.as_bytes(), &self.index, &mut flow).is_ok_and(Decoded::is_flow) {
                self.batch.push(flow);
            }
        }
        assert_eq!(self.batch.len(), records.len(), "all of the mix is between pods");
    }

    fn observe(&mut self, metric: usize) {
        let batch = Flows { flows: &self.batch, extras: &[], index: &self.index };
        self.aggregators[metric].observe(batch, 0, &mut 0);
    }

    fn run(&mut self, records: &[Record]) {
        for chunk in records.chunks(mix::BATCH) {
            self.decode(chunk);
            for metric in 0..self.aggregators.len() {
                self.observe(metric);
            }
        }
    }

    fn series(&self) -> usize {
        self.aggregators.iter().map(Aggregator::series).sum()
    }
}

fn cpu(of: ClockId) -> Duration {
    let now = clock_gettime(of);
    Duration::new(now.tv_sec.try_into().unwrap(), now.tv_nsec.try_into().unwrap())
}

/// Times of many rounds, each over the same number of records.
#[derive(Default)]
struct Times {
    cpu: Vec<Duration>,
    wall: Vec<Duration>,
}

impl Times {
    fn of(round: impl FnMut()) -> Self {
        Self::by(ClockId::ThreadCPUTime, round)
    }

    fn by(clock: ClockId, mut round: impl FnMut()) -> Self {
        let mut times = Self::default();
        let began = Instant::now();
        while times.cpu.len() < 5 || began.elapsed() < MIN_TIME {
            let (wall, before) = (Instant::now(), cpu(clock));
            round();
            times.cpu.push(cpu(clock).saturating_sub(before));
            times.wall.push(wall.elapsed());
        }
        times.cpu.sort_unstable();
        times.wall.sort_unstable();
        times
    }

    fn print(&self, name: &str, records: usize, series: usize) {
        let rate = |time: Duration| records as f64 / time.as_secs_f64() / 1e6;
        let (best, median) = (self.cpu[0], self.cpu[self.cpu.len() / 2]);
        println!(
            "{name:<34} {series:>9} {:>8.1} {:>8.1} {:>8.2} {:>8.2} {:>8.2} {:>8.2}",
            best.as_secs_f64() * 1e9 / records as f64,
            median.as_secs_f64() * 1e9 / records as f64,
            rate(best),
            rate(median),
            rate(self.wall[0]),
            rate(self.wall[self.wall.len() / 2]),
        );
    }
}

fn head(title: &str) {
    println!("\n{title}");
    println!(
        "{:<34} {:>9} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8}",
        "", "series", "ns best", "median", "M/s best", "median", "wall", "median"
    );
}

fn path() {
    head("From record to counters, 65,536 records a round");
    for (name, configuration) in CONFIGURATIONS {
        let mut engine = Engine::new(configuration, mix::PODS);
        let records = mix::records(mix::PODS);
        for _ in 0..3 {
            engine.run(&records);
        }
        let before = allocations_here();
        engine.run(&records);
        let allocations = allocations_here() - before;
        let series = engine.series();
        Times::of(|| engine.run(&records)).print(name, records.len(), series);
        // What is found in the order in which it was met is found faster: here it is not.
        let mut dice = mix::Dice::new();
        let mut orders = vec![records; 8];
        for records in &mut orders {
            mix::shuffle(&mut dice, records);
        }
        let mut orders = orders.iter().cycle();
        let times = Times::of(|| engine.run(orders.next().unwrap()));
        times.print(&format!("{name}, another order each round"), mix::RECORDS, series);
        println!("{name}: {allocations} allocations in a round");
    }
}

/// What a history costs beside the counters: what its thread does, on the same core.
fn history() {
    head("A history of 65,535 flows beside the counters");
    let records = mix::records(mix::PODS);
    for (name, configuration) in CONFIGURATIONS {
        let mut engine = Engine::new(configuration, mix::PODS);
        let (history, mut recorder) = (History::new(65_535), Recorder::default());
        let index = Arc::clone(&engine.index);
        for with in [false, true] {
            let mut round = || {
                for chunk in records.chunks(mix::BATCH) {
                    engine.run(chunk);
                    if with {
                        let batch = Flows { flows: &engine.batch, extras: &[], index: &index };
                        recorder.record(&history, batch, 0, 0);
                    }
                }
            };
            round();
            let times = Times::of(round);
            times.print(&format!("{name}, {}", if with { "with" } else { "without" }), records.len(), 0);
        }
        println!("{name}: {} bytes a flow", history.bytes() / history.totals().held);
    }
}

/// What rows cost beside the counters: what their thread does, on the same core; and the end of a
/// window.
fn rollups() {
    head("Rows beside the counters");
    let records = mix::records(mix::PODS);
    for (name, configuration) in CONFIGURATIONS {
        let mut engine = Engine::new(configuration, mix::PODS);
        let mut rollups = Rollups::new(Settings::default());
        let index = Arc::clone(&engine.index);
        for with in [false, true] {
            let mut round = || {
                for chunk in records.chunks(mix::BATCH) {
                    engine.run(chunk);
                    if with {
                        let batch = Flows { flows: &engine.batch, extras: &[], index: &index };
                        rollups.observe(batch, 0, &mut 0);
                    }
                }
            };
            round();
            let times = Times::of(round);
            times.print(&format!("{name}, {}", if with { "with" } else { "without" }), records.len(), 0);
        }
        let rows = rollups.rows();
        let mut requests = RequestBuilder::new(Stream::Rollups, &Attributes::new(), "bench", "1");
        let began = Instant::now();
        let window = Window { start: 0, seconds: 60 };
        Encoder::new(1)
            .window(window, &mut rollups, (webb_rollup::Lost::default(), None), 0, |record| requests.push(record));
        let each = began.elapsed().as_secs_f64() * 1e6 / rows as f64;
        let request = requests.take(Encoding::Gzip).unwrap().unwrap();
        let (plain, packed) = (request.plain_bytes / rows, request.body.len() / rows);
        println!("{name}: {rows} rows, each encoded in {each:.2} us: {plain} bytes, {packed} compressed");
    }
}

/// What counting costs while the history's own thread takes the same batches, and what that thread
/// costs. On two cores it cannot take all of a flood.
fn history_beside() {
    head("Through the pipeline's threads, without and with a history of 65,535 flows: counting alone");
    beside(&[("without", Beside::Nothing), ("with a history of 65535", Beside::History(65_535))]);
}

/// The same with rows whose receiver has stopped: their thread and that of the output.
fn rollups_beside() {
    head("Through the pipeline's threads, without and with rows for a receiver that has stopped: counting alone");
    beside(&[("without", Beside::Nothing), ("with rows", Beside::Rows)]);
}

fn beside(cases: &[(&str, Beside)]) {
    const RECORDS: usize = 1 << 20;
    for (name, configuration) in CONFIGURATIONS {
        for (case, beside) in cases {
            let pipeline = Pipeline::of(configuration, mix::PODS, mix::records(mix::PODS), *beside);
            pipeline.run(RECORDS as u64);
            let begin = pipeline.beside();
            let mut times = Times::default();
            let began = Instant::now();
            while times.cpu.len() < 5 || began.elapsed() < MIN_TIME {
                let (wall, all, theirs) = (Instant::now(), cpu(ClockId::ProcessCPUTime), pipeline.beside().0);
                pipeline.run(RECORDS as u64);
                let theirs = pipeline.beside().0.saturating_sub(theirs);
                times.cpu.push(cpu(ClockId::ProcessCPUTime).saturating_sub(all + theirs));
                times.wall.push(wall.elapsed());
            }
            times.cpu.sort_unstable();
            times.wall.sort_unstable();
            times.print(&format!("{name}, {case}"), RECORDS, 0);
            let (time, taken, left_out) = pipeline.beside();
            let (time, taken, left_out) = (time.saturating_sub(begin.0), taken - begin.1, left_out - begin.2);
            if taken > 0 {
                let each = time.as_secs_f64() * 1e9 / taken as f64;
                println!("{name}: its threads took {each:.1} ns a flow; took {taken}, left out {left_out}");
            }
        }
    }
}

/// Each stage by the clock on the wall, the best of many rounds: looking at the clock takes part of
/// it, so the sum is somewhat more than the whole.
fn stages() {
    for (name, configuration) in CONFIGURATIONS {
        let mut engine = Engine::new(configuration, mix::PODS);
        let records = mix::records(mix::PODS);
        let mut best = vec![Duration::MAX; 1 + engine.aggregators.len()];
        let began = Instant::now();
        while began.elapsed() < MIN_TIME {
            let mut times = vec![Duration::ZERO; best.len()];
            for chunk in records.chunks(mix::BATCH) {
                let mut last = Instant::now();
                engine.decode(chunk);
                for (stage, time) in times.iter_mut().enumerate() {
                    if stage > 0 {
                        engine.observe(stage - 1);
                    }
                    let now = Instant::now();
                    *time += now.duration_since(last);
                    last = now;
                }
            }
            best.iter_mut().zip(times).for_each(|(best, time)| *best = time.min(*best));
        }
        println!("\nStages of the {name} configuration, ns a record");
        let names = std::iter::once("decode and resolve").chain(engine.aggregators.iter().map(Aggregator::name));
        for (stage, time) in names.zip(&best) {
            println!("{stage:<34} {:>8.1}", time.as_secs_f64() * 1e9 / records.len() as f64);
        }
        let sum: Duration = best.iter().sum();
        println!("{:<34} {:>8.1}", "sum", sum.as_secs_f64() * 1e9 / records.len() as f64);
    }
}

fn series() {
    head("The second configuration over the number of pairs of 20,000 pods, in random order");
    for pairs in [1_000, 10_000, 100_000, 1_000_000] {
        let mut engine = Engine::new(mix::SECOND, 20_000);
        let records = mix::pairs(20_000, pairs);
        engine.run(&records);
        let records = records.repeat(mix::RECORDS.div_ceil(pairs));
        let times = Times::of(|| engine.run(&records));
        times.print(&format!("{pairs} pairs"), records.len(), engine.series());
    }
}

fn pods() {
    head("The mix over the number of pods");
    for (name, configuration) in CONFIGURATIONS {
        for pods in [200, 2_000, 20_000, 200_000] {
            let mut engine = Engine::new(configuration, pods);
            let records = mix::records(pods);
            engine.run(&records);
            let times = Times::of(|| engine.run(&records));
            times.print(&format!("{name}, {pods} pods"), records.len(), engine.series());
        }
    }
}

/// The pipeline as it is, with its channels: the CPU time of all its threads together.
fn threads() {
    const RECORDS: usize = 1 << 20;
    head("Through the pipeline's threads, a million records a round");
    for (name, configuration) in CONFIGURATIONS {
        let pipeline = Pipeline::new(configuration, mix::PODS);
        pipeline.run(RECORDS as u64);
        let times = Times::by(ClockId::ProcessCPUTime, || pipeline.run(RECORDS as u64));
        times.print(name, RECORDS, 0);
    }
}

/// The same with records that carry events of connections: each accepted SYN-ACK and each FIN, a
/// fourth of all. Without the metric they are not looked at.
fn connections() {
    const RECORDS: usize = 1 << 20;
    head("Through the pipeline's threads, with events of connections");
    let with = format!("{} connections", mix::FIRST);
    let (plain, events) = (mix::records(mix::PODS), mix::connection_events(mix::records(mix::PODS)));
    for (name, configuration, records) in [
        ("first, no events", mix::FIRST, &plain),
        ("first, events, not configured", mix::FIRST, &events),
        ("first and connections, no events", &with, &plain),
        ("first and connections, events", &with, &events),
    ] {
        let pipeline = Pipeline::of(configuration, mix::PODS, records.clone(), Beside::Nothing);
        pipeline.run(RECORDS as u64);
        let times = Times::by(ClockId::ProcessCPUTime, || pipeline.run(RECORDS as u64));
        times.print(name, RECORDS, 0);
    }
}

/// Writes all that the aggregators hold as a scrape does, part by part; returns how much that was.
fn scrape(aggregators: &mut [Aggregator]) -> usize {
    let snapshots: Vec<Snapshot> = aggregators.iter_mut().flat_map(Aggregator::snapshot).collect();
    let snapshots: Vec<&Snapshot> = snapshots.iter().collect();
    let exposition = Exposition::new(Format::Text, &snapshots, [], |_| true);
    let (mut out, mut length) = (Vec::new(), 0);
    for part in exposition.parts() {
        out.clear();
        exposition.write(part, |at| snapshots.get(at).copied(), &mut out);
        length += out.len();
    }
    length
}

/// In a process of its own, since memory that was used once is seldom given back.
fn memory() {
    const HERE: &str = "WEBB_BENCH_MEMORY";
    if std::env::var_os(HERE).is_none() {
        let program = std::env::current_exe().unwrap();
        assert!(std::process::Command::new(program).arg("memory").env(HERE, "").status().unwrap().success());
        return;
    }
    let resident = |what: &str| {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = |name| status.lines().find_map(|line: &str| line.strip_prefix(name)).unwrap().trim().to_owned();
        println!("{what:<60} {:>10}, at most {:>10}", line("VmRSS:"), line("VmHWM:"));
    };
    println!("\nResident memory");
    resident("at start");
    let mut engine = Engine::new(mix::SECOND, 20_000);
    resident("with 20,000 pods");
    let mut dice = mix::Dice::new();
    let mut scraped = 0;
    while engine.series() < 100_000 {
        let records: Vec<Record> = (0..mix::BATCH).map(|_| mix::record(&mut dice, 20_000)).collect();
        engine.run(&records);
        // Series come in the course of many scrapes.
        if engine.series() / 10_000 > scraped {
            scraped = engine.series() / 10_000;
            scrape(&mut engine.aggregators);
        }
    }
    resident(&format!("and {} series, {} of them with six labels", engine.series(), engine.aggregators[0].series()));
    let length = scrape(&mut engine.aggregators);
    resident(&format!("after a scrape of {length} bytes"));
}

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let tables: [(&str, fn()); 11] = [
        ("path", path),
        ("history", history),
        ("rollups", rollups),
        ("history-beside", history_beside),
        ("rollups-beside", rollups_beside),
        ("stages", stages),
        ("series", series),
        ("pods", pods),
        ("threads", threads),
        ("connections", connections),
        ("memory", memory),
    ];
    for (name, table) in tables {
        if wanted.is_empty() || wanted.iter().any(|word| word == name) {
            table();
        }
    }
}
