//! Writing records must not allocate once buffers have grown: an allocator that counts shows it.
//! Alone in its binary, since the allocator is the process'.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may end where it is wrong")]

#[path = "../../../tests/counting_allocator/mod.rs"]
mod counting_allocator;
#[path = "otlp/typical.rs"]
mod typical;

use counting_allocator::allocations_here;
use typical::Writer;
use webb_otlp::{Attributes, Encoding, RequestBuilder, Stream};

/// Two rounds of a thousand records, each with endpoints that are ready-made and values of its own:
/// the second round allocates nothing.
#[test]
fn records_allocate_nothing() {
    let mut writer = Writer::new();
    let mut builder = RequestBuilder::new(Stream::Flows, &Attributes::new(), "webb.flows", "1");
    let round = |writer: &mut Writer, builder: &mut RequestBuilder| {
        for number in 0..1000 {
            builder.push(writer.write(number));
        }
    };
    round(&mut writer, &mut builder);
    assert_eq!(builder.take(Encoding::Gzip).unwrap().unwrap().records, 1000);
    let before = allocations_here();
    round(&mut writer, &mut builder);
    assert_eq!(allocations_here() - before, 0);
    let request = builder.take(Encoding::Gzip).unwrap().unwrap();
    let size = request.plain_bytes / 1000;
    assert!((800..1300).contains(&size), "{size} bytes a record");
}
