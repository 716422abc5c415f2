//! No allocation per event, from the ring to the counters: reader, decoder, lanes and aggregators
//! together, with the threads and channels they run on.
//!
//! One test to a binary, because the allocator counts for the whole process.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test ends where it is wrong")]

mod counting_allocator;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use counting_allocator::allocations;
use webb::pipeline::{
    AggregatorState, Commands, Counters, Lane, Lanes, Lifecycle, Looks, Reader, ReaderState, Translations, work,
};
use webb::records::{RecordSource, Rings, Signal, Waker};
use webb_decode::Decoder;
use webb_decode::nat::{Connection, NatUpdate, Translation};
use webb_flow::abi::{Record, VERSION, flag, kind};
use webb_flow::clock::Clock;
use webb_flow::fault::{Components, State};
use webb_flow::{Address, EndpointId, L4, Reasons, Sort};
use webb_index::{Draft, Endpoint, EndpointSpec, Index, PodChanges, ServicePort, ServiceSpec, Services};
use webb_metrics::{Aggregator, grammar};
use zerocopy::IntoBytes;

/// Hands out as many records as were asked for, of 64 connections in turn. One is to a service, and
/// one is opened anew each time by a pod, so that policies are asked.
struct Tap {
    asked: Arc<AtomicU64>,
    given: u64,
    records: Vec<Record>,
}

impl RecordSource for Tap {
    fn wait(&mut self, _: Duration) -> std::io::Result<()> {
        std::thread::sleep(Duration::from_millis(1));
        Ok(())
    }

    fn drain(&mut self, take: &mut dyn FnMut(Signal, &[u8]) -> ControlFlow<()>) -> usize {
        let before = self.given;
        while self.given < self.asked.load(SeqCst) {
            let record = &self.records[usize::try_from(self.given % 64).unwrap()];
            self.given += 1;
            if take(Signal::Flow, record.as_bytes()).is_break() {
                break;
            }
        }
        usize::try_from(self.given - before).unwrap()
    }
}

struct Source(Arc<AtomicU64>);

impl Rings for Source {
    fn open(&self, _: &Waker) -> std::io::Result<Box<dyn RecordSource>> {
        Ok(Box::new(Tap { asked: Arc::clone(&self.0), given: 0, records: (0..64).map(record).collect() }))
    }
}

const TO_SERVICE: u8 = 5;
const OF_POD: u8 = 2;

fn address(at: u8) -> Address {
    std::net::IpAddr::from([10, 0, 0, at]).into()
}

fn index() -> Index {
    let mut draft = Draft::default();
    let spec = EndpointSpec { namespace: "a".into(), pod_name: "b".into(), ..EndpointSpec::default() };
    let pod = draft.add(Sort::Local, Endpoint::new(webb_index::EndpointKind::Pod, true, &spec));
    draft.set(address(OF_POD), Some(pod), None);
    draft.set(address(TO_SERVICE), Some(EndpointId::new(Sort::Service, EndpointId::WORLD.row())), None);
    draft.set_services(Services::new(&[ServiceSpec {
        namespace: "a".into(),
        name: "c".into(),
        addresses: vec![address(TO_SERVICE)],
        ports: vec![ServicePort { protocol: L4::Tcp, port: 8000 + u16::from(TO_SERVICE), node_port: 0 }],
    }]));
    draft.publish(0, PodChanges::default())
}

/// Translation of the service to its backend.
fn translation() -> Translation {
    let peer = |port| (address(TO_SERVICE), port);
    let opened = Connection { source: peer(0), destination: peer(8000 + u16::from(TO_SERVICE)), protocol: L4::Tcp };
    Translation { opened, arrived: Connection { destination: (address(OF_POD), 80), ..opened } }
}

fn record(at: u8) -> Record {
    let source = address(at).0;
    Record {
        version: VERSION,
        kind: if at == OF_POD { kind::NEW } else { kind::FLAGS },
        flags: if at == OF_POD { flag::EGRESS } else { 0 },
        length: 80,
        source,
        destination: source,
        family: 4,
        protocol: if at.is_multiple_of(8) { 17 } else { 6 },
        tcp_flags: at & 0x17,
        destination_port: 8000 + u16::from(at % 8),
        packets: 3,
        bytes: 180,
        ..Record::default()
    }
}

/// Maximal number of rounds of a million records. An allocation per event, batch or wake-up would
/// show in each.
const ROUNDS: u64 = 10;

/// A million records in steady state allocate nothing at all, in whatever thread.
#[test]
fn a_million_records_allocate_nothing() {
    const METRICS: &str = "flow tcp icmp port-distribution \
        drop:sourceContext=pod|reserved-identity;destinationContext=pod|reserved-identity \
        traffic:sourceContext=pod|reserved-identity;destinationContext=pod|reserved-identity \
        policy:labelsContext=source_pod,destination_service";
    let components = Components::default();
    let (mut lanes, mut threads, mut lifecycles, mut states) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for config in grammar::parse(METRICS).unwrap().metrics {
        let component = components.component(config.name());
        component.set_state(State::Up, "");
        let (lane, items) = Lane::new(Arc::clone(&component));
        let (state, lifecycle) =
            (Arc::new(AggregatorState::new(Aggregator::new(&config))), Arc::new(Lifecycle::new(component)));
        lanes.push(Arc::new(lane));
        states.push(Arc::clone(&state));
        lifecycles.push(Arc::clone(&lifecycle));
        threads.push(
            std::thread::Builder::new().spawn(move || work(&lifecycle, &items, &state, Looks::default())).unwrap(),
        );
    }
    let waker = Waker::new().unwrap();
    let lanes = Arc::new(Lanes::new(lanes));
    lanes.want_verdicts(true);
    let (told, changes) = crossbeam_channel::bounded(1);
    told.send(NatUpdate::Add(translation())).unwrap();
    let counters = Arc::new(Counters::default());
    let (_post, commands) = Commands::new(waker.clone());
    let asked = Arc::new(AtomicU64::new(0));
    let reader = Reader {
        rings: Arc::new(Source(Arc::clone(&asked))),
        waker,
        lanes,
        commands,
        index: Arc::new(ArcSwap::from_pointee(index())),
        decoder: Arc::new(ArcSwapOption::from_pointee(Decoder::new(Reasons::new([])))),
        decoder_fault: Box::new(|text| unreachable!("{text}")),
        counters: Arc::clone(&counters),
        state: ReaderState::new(Translations { changes, most: 10, ..Translations::default() }, Clock::default()),
    };
    let lifecycle = Arc::new(Lifecycle::new(components.component("reader")));
    lifecycles.push(Arc::clone(&lifecycle));
    threads.push(std::thread::Builder::new().spawn(move || reader.run(&lifecycle).unwrap()).unwrap());

    let counted_all = |records: u64| {
        let began = Instant::now();
        // One in 64 has a verdict beside it.
        while states.iter().any(|state| state.counted() < records + records / 64) {
            assert!(began.elapsed() < Duration::from_mins(1), "the records do not get through");
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    // What is allocated once in a thread's or channel's life (the first time that a lane is full,
    // say) may come late.
    let mut rounds = Vec::new();
    for round in 1..=ROUNDS {
        let before = allocations();
        asked.store(round * 1_000_000, SeqCst);
        counted_all(round * 1_000_000);
        rounds.push(allocations() - before);
        if rounds.last() == Some(&0) {
            break;
        }
    }
    assert_eq!(rounds.last(), Some(&0), "allocations for each million records through seven aggregators: {rounds:?}");
    let records = rounds.len() as u64 * 1_000_000;
    let [found, late, alone] = [0, 1, 2].map(|at| counters.lookups[at].load(SeqCst));
    assert_eq!((found, late, alone, counters.verdicts.load(SeqCst)), (records / 64, 0, 0, records / 64));

    for lifecycle in &lifecycles {
        lifecycle.stop();
    }
    for thread in threads {
        thread.join().unwrap();
    }
}
