//! Cost of a record: written, compressed, and delivered to a receiver on the same machine.
//!
//! `cargo bench -p webb-otlp --bench records`. `delivered` is CPU time of what writes, compresses
//! and sends, without that of the receiver.

#![allow(missing_docs, reason = "a bench is no library")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    dead_code,
    reason = "a bench may end where it is wrong, prints figures, and uses a part of the tests' receiver"
)]

#[path = "../../../tests/counting_allocator/mod.rs"]
mod counting_allocator;
#[path = "../tests/otlp/receiver.rs"]
mod receiver;
#[path = "../tests/otlp/typical.rs"]
mod typical;

use std::sync::Arc;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use typical::Writer;
use webb_otlp::{Attributes, Encoding, Environment, Feed, Output, OutputConfig, Owner, RequestBuilder, Stream};

use crate::receiver::Receiver;

/// Records of a round.
const RECORDS: u64 = 200_000;

/// Rounds, of which the best counts.
const ROUNDS: usize = 5;

/// CPU time of the calling thread.
fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.try_into().unwrap())
}

/// The best of some rounds, as nanoseconds a record.
fn best(mut round: impl FnMut() -> Duration) -> f64 {
    let times = (0..ROUNDS).map(|_| round());
    times.min().unwrap().as_secs_f64() * 1e9 / RECORDS as f64
}

fn builder() -> RequestBuilder {
    let mut resource = Attributes::new();
    resource.string("service.name", "webb");
    RequestBuilder::new(Stream::Flows, &resource, "webb.flows", "1")
}

fn written() {
    let (mut writer, mut builder) = (Writer::new(), builder());
    let mut allocations = 0;
    let nanoseconds = best(|| {
        for number in 0..4000 {
            builder.push(writer.write(number));
        }
        builder.take(Encoding::None).unwrap();
        let (mut began, mut spent) = (cpu(), Duration::ZERO);
        let before = counting_allocator::allocations_here();
        let mut own = 0;
        for number in 0..RECORDS {
            builder.push(writer.write(number));
            if builder.records() == 4000 {
                spent += cpu().saturating_sub(began);
                let at = counting_allocator::allocations_here();
                builder.take(Encoding::None).unwrap();
                own += counting_allocator::allocations_here() - at;
                began = cpu();
            }
        }
        allocations = counting_allocator::allocations_here() - before - own;
        spent + (cpu().saturating_sub(began))
    });
    println!("written: {nanoseconds:.0} ns a record, {:.2} M/s, {allocations} allocations", 1e3 / nanoseconds);
}

fn compressed() {
    for encoding in [Encoding::Zstd, Encoding::Gzip] {
        let (mut writer, mut builder) = (Writer::new(), builder());
        let (mut plain, mut size) = (0, 0);
        let nanoseconds = best(|| {
            let mut spent = Duration::ZERO;
            (plain, size) = (0, 0);
            for number in 0..RECORDS {
                builder.push(writer.write(number));
                if builder.records() == 4000 {
                    let began = cpu();
                    let request = builder.take(encoding).unwrap().unwrap();
                    spent += cpu().saturating_sub(began);
                    (plain, size) = (plain + request.plain_bytes, size + request.body.len());
                }
            }
            spent
        });
        println!(
            "compressed by {}: {nanoseconds:.0} ns a record, {} bytes to {}",
            encoding.label(),
            plain as u64 / RECORDS,
            size as u64 / RECORDS
        );
    }
}

/// Stops when all is delivered.
struct WhenDone(Arc<Output>);

impl Owner for WhenDone {
    fn beat(&self) {}

    fn stopping(&self) -> bool {
        self.0.figures().ledger(Stream::Flows).waiting == 0
    }

    fn problem(&self, problem: &str) {
        assert_eq!(problem, "");
    }
}

fn delivered() {
    for encoding in [Encoding::None, Encoding::Zstd, Encoding::Gzip] {
        let receiver = Receiver::grpc();
        receiver.rules().unread = true;
        let nanoseconds = best(|| {
            let config = OutputConfig {
                endpoint: Some(receiver.url()),
                compression: Some(encoding),
                queue_bytes: 1 << 30,
                ..OutputConfig::named("bench")
            };
            let output = Arc::new(Output::new(config, &Environment::default(), "bench").unwrap());
            let mut resource = Attributes::new();
            resource.string("service.name", "webb");
            let mut feed = Feed::new(Arc::clone(&output), Stream::Flows, &resource, "webb.flows", "1");
            let mut writer = Writer::new();
            let began = cpu();
            for number in 0..RECORDS {
                feed.add(writer.write(number));
            }
            feed.flush();
            let made = cpu().saturating_sub(began);
            let began = cpu();
            output.run(&WhenDone(Arc::clone(&output))).unwrap();
            let sent = cpu().saturating_sub(began);
            assert_eq!(output.figures().ledger(Stream::Flows).delivered, RECORDS);
            made + sent
        });
        println!("delivered, {}: {:.2} µs a record", encoding.label(), nanoseconds / 1e3);
    }
}

fn main() {
    written();
    compressed();
    delivered();
}
