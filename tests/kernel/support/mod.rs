//! Shared parts of the tests against the running kernel.

#![allow(dead_code, reason = "each test file uses its part")]

pub(crate) mod attempts;
pub(crate) mod enforcer;
pub(crate) mod frames;
pub(crate) mod lab;
pub(crate) mod packets;

use std::ops::ControlFlow;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use webb::bpf_loader::{Hook, LoadError, Mode, Probes, ProgramSettings, Sweeper};
use webb::records::{RecordSource, Rings, Signal, Waker};
use webb_flow::abi::{HOOKS, Record, Swept, Totals};
use zerocopy::FromBytes;

/// The only allowed return value of a program: continue with the next.
pub(crate) const TCX_NEXT: i32 = -1;

/// Loaded programs with their ring open and their sweeper at hand.
pub(crate) struct Kernel {
    pub(crate) probes: Probes,
    pub(crate) sweeper: Sweeper,
    pub(crate) reader: Box<dyn RecordSource>,
    /// Released after the programs are detached.
    _turn: Turn,
}

/// Users of the tracepoints at retransmissions. A test that counts segments wants to be alone: it
/// must not share its budget or its ring with others.
static TURNS: RwLock<()> = RwLock::new(());

enum Turn {
    None,
    Shared { _guard: RwLockReadGuard<'static, ()> },
    Alone { _guard: RwLockWriteGuard<'static, ()> },
}

/// Loads the programs, or says loudly that the test is skipped for want of privileges. In CI that
/// is a failure.
pub(crate) fn load(settings: &ProgramSettings) -> Option<Kernel> {
    let shared = || Turn::Shared { _guard: TURNS.read().unwrap_or_else(PoisonError::into_inner) };
    load_in(if settings.connections { shared() } else { Turn::None }, settings)
}

/// As `load`, while no other test has programs at retransmissions.
pub(crate) fn load_alone(settings: &ProgramSettings) -> Option<Kernel> {
    load_in(Turn::Alone { _guard: TURNS.write().unwrap_or_else(PoisonError::into_inner) }, settings)
}

fn load_in(turn: Turn, settings: &ProgramSettings) -> Option<Kernel> {
    let mut probes = match Probes::load(settings) {
        Ok(probes) => probes,
        Err(LoadError::Privileges { missing, .. }) => {
            let text = format!("needs {missing:?}: run it as root");
            assert!(std::env::var("CI").as_deref() != Ok("true"), "in CI every test must run, and this one {text}");
            eprintln!("\n*** SKIPPED *** this test {text}\n");
            return None;
        }
        Err(error) => panic!("{error}"),
    };
    let sweeper = probes.take_sweeper().expect("it was not taken yet");
    let reader = probes.rings().open(&Waker::new().expect("an eventfd")).expect("the rings open");
    Some(Kernel { probes, sweeper, reader, _turn: turn })
}

/// The size of a connection table with room for so many connections, or a few more.
pub(crate) const fn table_of(connections: u32) -> u32 {
    connections.div_ceil(7) * 768
}

impl Kernel {
    /// Sends a packet through a hook and demands that it is passed on.
    pub(crate) fn send(&self, hook: Hook, packet: &[u8]) {
        self.send_times(hook, packet, 1);
    }

    pub(crate) fn send_times(&self, hook: Hook, packet: &[u8], times: u32) {
        let result = self.probes.dry_run(hook, packet, times).expect("the program runs");
        assert_eq!(result, TCX_NEXT, "a packet must always be passed on");
    }

    /// All flow records that are in the ring. Drops of the machine's own are not looked at.
    pub(crate) fn records(&mut self) -> Vec<Record> {
        let mut records = Vec::new();
        self.reader.drain(&mut |signal, bytes| {
            if signal == Signal::Flow {
                records.push(record(bytes));
            }
            ControlFlow::Continue(())
        });
        records
    }

    pub(crate) fn totals(&self) -> [Totals; HOOKS] {
        self.probes.ledger().totals().expect("totals can be read")
    }

    /// Demands that the ledger adds up now, which needs a fresh sweep for what is pending.
    pub(crate) fn balanced(&mut self, mode: Mode) -> Swept {
        let swept = self.sweeper.sweep(mode).expect("the sweep runs");
        let totals = self.totals();
        for (hook, row) in totals.iter().enumerate().take(HOOKS - 1) {
            let packets = [
                row.reported_packets,
                swept.pending_packets[hook],
                row.untracked_packets,
                row.suppressed_packets,
                row.lost_packets,
                row.flooded_packets,
                row.stopped_packets,
                row.unparsed_packets.iter().sum(),
            ];
            let bytes = [
                row.reported_bytes,
                swept.pending_bytes[hook],
                row.untracked_bytes,
                row.suppressed_bytes,
                row.lost_bytes,
                row.flooded_bytes,
                row.stopped_bytes,
                row.unparsed_bytes.iter().sum(),
            ];
            assert_eq!(row.seen_packets, packets.iter().sum::<u64>(), "packets of hook {hook}: {packets:?} {swept:?}");
            assert_eq!(row.seen_bytes, bytes.iter().sum::<u64>(), "bytes of hook {hook}: {bytes:?}");
        }
        swept
    }
}

pub(crate) fn record(bytes: &[u8]) -> Record {
    Record::read_from_bytes(bytes).expect("a record has its size")
}

/// Sums of the deltas in records, per hook.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Sums {
    pub(crate) packets: [u64; HOOKS],
    pub(crate) bytes: [u64; HOOKS],
}

impl Sums {
    pub(crate) fn add(&mut self, records: &[Record]) {
        for record in records {
            self.packets[record.hook as usize] += u64::from(record.packets);
            self.bytes[record.hook as usize] += record.bytes;
        }
    }

    /// Demands that the records carried just what the totals call reported.
    pub(crate) fn equal_reported(&self, totals: &[Totals; HOOKS]) {
        for (hook, row) in totals.iter().enumerate().take(HOOKS - 1) {
            assert_eq!(self.packets[hook], row.reported_packets, "packets of hook {hook}");
            assert_eq!(self.bytes[hook], row.reported_bytes, "bytes of hook {hook}");
        }
    }
}

/// True if this kernel can attach by TCX; else says that the test is about kernels that can.
pub(crate) fn has_tcx() -> bool {
    let Some(kernel) = load(&ProgramSettings::default()) else { return false };
    let has = kernel.probes.means() == "tcx";
    if !has {
        eprintln!("NOT APPLICABLE: this kernel has no TCX");
    }
    has
}
