//! Speed of JSON readers on a flow file: those that fill structures which borrow from the line, and
//! webb's.
//!
//! Figures are CPU time. The structures hold what metrics and filters read of a flow, and nothing
//! is done with them. webb's reader does more: it checks every value, looks up both endpoints and
//! ends with a flow that can be counted.

#![allow(dead_code, reason = "the fields are filled, and that is all")]

use std::borrow::Cow;
use std::hint::black_box;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde::Deserialize;
use webb_flowlog::Reader;

/// A field that may be absent.
type Text<'a> = Option<Cow<'a, str>>;

#[derive(Debug, Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    flow: Option<Flow<'a>>,
}

#[derive(Debug, Deserialize)]
struct Flow<'a> {
    #[serde(borrow)]
    time: Text<'a>,
    #[serde(borrow)]
    uuid: Text<'a>,
    #[serde(borrow)]
    verdict: Text<'a>,
    #[serde(borrow, rename = "IP")]
    ip: Option<Ip<'a>>,
    l4: Option<Layer4>,
    #[serde(borrow)]
    source: Option<Endpoint<'a>>,
    #[serde(borrow)]
    destination: Option<Endpoint<'a>>,
    event_type: Option<EventType>,
    #[serde(borrow)]
    traffic_direction: Text<'a>,
    is_reply: Option<bool>,
    #[serde(borrow)]
    node_name: Text<'a>,
    #[serde(borrow)]
    drop_reason_desc: Text<'a>,
}

#[derive(Debug, Deserialize)]
struct Ip<'a> {
    #[serde(borrow)]
    source: Text<'a>,
    #[serde(borrow)]
    destination: Text<'a>,
    #[serde(borrow, rename = "ipVersion")]
    version: Text<'a>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
struct Layer4 {
    tcp: Option<Ports>,
    udp: Option<Ports>,
    #[serde(rename = "ICMPv4")]
    icmp: Option<Icmp>,
}

#[derive(Debug, Deserialize)]
struct Ports {
    source_port: Option<u16>,
    destination_port: Option<u16>,
    flags: Option<Flags>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "UPPERCASE", default)]
struct Flags {
    fin: bool,
    syn: bool,
    rst: bool,
    psh: bool,
    ack: bool,
}

#[derive(Debug, Deserialize)]
struct Icmp {
    r#type: Option<u32>,
    code: Option<u32>,
}

#[derive(Debug, Deserialize)]
struct EventType {
    r#type: Option<i32>,
    sub_type: Option<i32>,
}

#[derive(Debug, Deserialize)]
struct Endpoint<'a> {
    identity: Option<u32>,
    #[serde(borrow)]
    cluster_name: Text<'a>,
    #[serde(borrow)]
    namespace: Text<'a>,
    #[serde(borrow)]
    pod_name: Text<'a>,
    #[serde(borrow, default)]
    labels: Vec<Cow<'a, str>>,
    #[serde(borrow, default)]
    workloads: Vec<Workload<'a>>,
}

#[derive(Debug, Deserialize)]
struct Workload<'a> {
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow)]
    kind: Text<'a>,
}

fn measure(name: &str, text: &[u8], mut each: impl FnMut(&[u8])) {
    let mut best = Duration::MAX;
    for _ in 0..10 {
        let began = clock_gettime(ClockId::ThreadCPUTime);
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', text) {
            each(&text[start..end]);
            start = end + 1;
        }
        let took = clock_gettime(ClockId::ThreadCPUTime) - began;
        best = best.min(took.try_into().expect("time goes on"));
    }
    println!("{name:<28} {:>6.0} MB/s", text.len() as f64 / 1e6 / best.as_secs_f64());
}

fn main() {
    let file = std::env::args().nth(1).expect("the name of a flow file");
    let text = std::fs::read(file).expect("a file that can be read");
    measure("serde_json, borrowed", &text, |line| {
        black_box(serde_json::from_slice::<Line>(line).expect("a flow"));
    });
    measure("sonic-rs, borrowed", &text, |line| {
        black_box(sonic_rs::from_slice::<Line>(line).expect("a flow"));
    });
    let mut copy = Vec::new();
    let mut buffers = simd_json::Buffers::default();
    measure("simd-json, borrowed", &text, |line| {
        // It writes into what it reads.
        copy.clear();
        copy.extend_from_slice(line);
        black_box(simd_json::serde::from_slice_with_buffers::<Line>(&mut copy, &mut buffers).expect("a flow"));
    });
    let mut reader = Reader::default();
    measure("webb", &text, |line| {
        reader.line(line).expect("a flow");
        if reader.is_full() {
            black_box(reader.batch());
            reader.turn();
        }
    });
}
