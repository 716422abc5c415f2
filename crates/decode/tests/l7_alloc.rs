//! Reading records of layer 7 must not allocate after warm-up: an allocator that counts shows it.
//! Alone in its binary, since the allocator is the process'.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may end where it is wrong")]

#[path = "../../../tests/counting_allocator/mod.rs"]
mod counting_allocator;
#[path = "l7/records.rs"]
mod records;

use counting_allocator::{allocations_here, bytes};
use records::Count;
use webb_decode::l7::{Dissector, Limits, Redact, Wants};

/// Case 89: with all texts wanted, none is allocated anew.
#[test]
fn records_allocate_nothing() {
    let rounds: Vec<_> =
        (0..40).map(|round| [records::dns(), records::http1(round), records::http2(round)].concat()).collect();
    let mut dissector = Dissector::new(Limits::default(), Wants::ALL, Redact::default());
    let mut count = Count::default();
    let mut before = 0;
    for (number, round) in rounds.iter().enumerate() {
        if number == 10 {
            (before, count.0) = (allocations_here(), 0);
        }
        for record in round {
            dissector.read(record, &mut count);
        }
        dissector.expire(7, usize::MAX, &mut count);
    }
    let allocated = allocations_here() - before;
    assert_eq!(count.0, 30 * 256 * (2 + 2 + 3), "{:?}", dissector.ledger());
    assert_eq!(allocated, 0);
}

/// The bound of memory with everything full (5.9), but for tables of HTTP/2.
#[test]
fn memory_is_bounded() {
    let held = bytes();
    let mut dissector = Dissector::new(Limits::default(), Wants::default(), Redact::default());
    let mut count = Count::default();
    let kinds = [records::dns().swap_remove(0), records::http1(0).swap_remove(0), records::http2(0).swap_remove(0)];
    for number in 0..150_000_u32 {
        for record in &kinds {
            let mut record = record.clone();
            record[4..8].copy_from_slice(&number.to_ne_bytes());
            dissector.read(&record, &mut count);
            // A second request of each connection.
            record[52..56].copy_from_slice(&9000_u32.to_ne_bytes());
            dissector.read(&record, &mut count);
        }
    }
    let held = bytes() - held;
    assert!(dissector.gauges().queries >= 65_536 && dissector.gauges().connections == 16_384);
    assert!(held < 48 << 20, "{held}");
    println!("{} MiB", held >> 20);
}
