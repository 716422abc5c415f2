//! Any bytes are answered as a request for flows: with a reason, or with answers that can be read.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use webb_flow::ExtraId;
use webb_index::Flows;
use webb_observer::{History, Loader, Recorder, fuzz};

/// Flows of a file, and the same as if they had been seen here.
static HISTORIES: LazyLock<[History; 2]> = LazyLock::new(|| {
    const LINES: [&str; 5] = [
        include_str!("../seeds/flows/dns.json"),
        include_str!("../seeds/flows/drop.json"),
        include_str!("../seeds/flows/http.json"),
        include_str!("../seeds/flows/lost.json"),
        include_str!("../seeds/flows/sctp.json"),
    ];
    let (written, seen) = (History::new(1000), History::new(1000));
    let (mut loader, mut reader) = (Loader::new(&written), webb_flowlog::Reader::default());
    for line in LINES.iter().flat_map(|text| text.lines()) {
        loader.line(line.as_bytes()).expect("a seed");
        reader.line(line.as_bytes()).expect("a seed");
    }
    loader.end();
    drop(loader);
    let batch = reader.batch();
    let (mut flows, mut extras) = (batch.flows.to_vec(), batch.extras.to_vec());
    for (flow, extra) in flows.iter_mut().zip(&mut extras) {
        extra.live = true;
        if extra.l7.is_none() {
            flow.extra = ExtraId::NONE;
        }
    }
    let batch = Flows { flows: &flows, extras: &extras, index: batch.index };
    Recorder::default().record(&seen, batch, 1_700_000_000_000_000_000, 0);
    [written, seen]
});

fuzz_target!(|bytes: &[u8]| {
    for history in &*HISTORIES {
        fuzz::fuzz_request(history, bytes);
    }
});
