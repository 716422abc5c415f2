//! The kernel side's ledger: exact totals per hook, and the sweep that reports and ends what waits
//! in the table.
//!
//! At rest, for each hook:
//! seen = reported + pending + untracked + unparsed + lost + suppressed + flooded + stopped.
//! Packets of an interface that is counted at the device are seen when it sends them, or when they
//! are stopped. `pending` comes from the last sweep, which adds it up from the table itself, so the
//! sum is a check and no tautology.

use std::fmt;
use std::hash::{BuildHasher, DefaultHasher, Hasher as _, RandomState};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use aya::Ebpf;
use aya::maps::{Array, MapData, PerCpuArray, PerCpuValues};
use webb_flow::abi::{HOOKS, PARTS, Retransmits, Swept, Totals};
use zerocopy::IntoBytes;

use super::error::{LoadError, RunError};
use super::maps::{MapOperation, OwnMap, SYSCALLS};
use super::object::take_map;
use super::plain::Plain;
use super::settings::{Constants, ProgramSettings, SLOTS};
use super::sweep_runs::SweepRuns;
use super::sys;

/// Reads the totals. Cheap to clone; any thread may ask.
#[derive(Debug, Clone)]
pub struct Ledger(Arc<Maps>);

struct Maps {
    totals: PerCpuArray<MapData, Plain<Totals>>,
    drop: Option<DropMaps>,
    retransmits: Option<PerCpuArray<MapData, Plain<Retransmits>>>,
    windows: Mutex<Array<MapData, u64>>,
}

/// The maps of the drop program: totals, and suppressed drops by reason.
pub(super) struct DropMaps {
    totals: PerCpuArray<MapData, Plain<Totals>>,
    suppressed: PerCpuArray<MapData, u64>,
}

impl DropMaps {
    /// Takes them out of the object.
    pub(super) fn take(drop: &mut Ebpf) -> Result<Self, LoadError> {
        Ok(Self { totals: take_map(drop, "drop_totals")?, suppressed: take_map(drop, "suppressed")? })
    }
}

impl fmt::Debug for Maps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Maps").field("drops", &self.drop.is_some()).finish_non_exhaustive()
    }
}

impl Ledger {
    pub(super) fn new(
        totals: PerCpuArray<MapData, Plain<Totals>>,
        drop: Option<DropMaps>,
        retransmits: Option<PerCpuArray<MapData, Plain<Retransmits>>>,
        windows: Array<MapData, u64>,
    ) -> Result<Self, LoadError> {
        let ledger = Self(Arc::new(Maps { totals, drop, retransmits, windows: Mutex::new(windows) }));
        ledger.totals().map_err(|error| super::object::refused("the totals", &error))?;
        Ok(ledger)
    }

    /// Whether drops are watched; their row of the totals stays 0 otherwise.
    pub fn sees_drops(&self) -> bool {
        self.0.drop.is_some()
    }

    /// The totals of each hook since the programs were loaded, over all CPUs.
    pub fn totals(&self) -> Result<[Totals; HOOKS], RunError> {
        let mut rows = [Totals::default(); HOOKS];
        for (hook, row) in (0_u32..).zip(rows.iter_mut()) {
            let (name, map, index) = if hook as usize + 1 == HOOKS {
                let Some(drop) = &self.0.drop else { continue };
                (OwnMap::DropTotals, &drop.totals, 0)
            } else {
                (OwnMap::Totals, &self.0.totals, hook)
            };
            let cpus = SYSCALLS.count(name, MapOperation::Lookup, || map.get(&index, 0));
            let cpus = cpus.map_err(|error| RunError::map("reading the totals", error))?;
            for cpu in cpus.iter() {
                row.add(&cpu.0);
            }
        }
        // The drop point sees what was stopped; it had been on its way to a pod.
        let [_, to_pod, .., drops] = &mut rows;
        to_pod.seen_packets += drops.stopped_packets;
        to_pod.seen_bytes += drops.stopped_bytes;
        to_pod.stopped_packets = std::mem::take(&mut drops.stopped_packets);
        to_pod.stopped_bytes = std::mem::take(&mut drops.stopped_bytes);
        Ok(rows)
    }

    /// Drops over the budget since the programs were loaded, by the kernel's number of the reason;
    /// the last stands for all reasons of subsystems. Reads every reason's row: ask only where
    /// the totals have any.
    pub fn suppressed(&self) -> Result<Vec<(u32, u64)>, RunError> {
        let Some(drop) = &self.0.drop else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        for reason in 0..drop.suppressed.len() {
            let cpus = SYSCALLS.count(OwnMap::Suppressed, MapOperation::Lookup, || drop.suppressed.get(&reason, 0));
            let cpus = cpus.map_err(|error| RunError::map("reading the suppressed drops", error))?;
            let count: u64 = cpus.iter().sum();
            if count > 0 {
                found.push((reason, count));
            }
        }
        Ok(found)
    }
}

impl Ledger {
    /// A number that identifies these maps. It is a hash of the secrets that were made with them,
    /// which do not follow from it.
    pub fn maps_id(&self) -> Result<u64, RunError> {
        let cpus = SYSCALLS.count(OwnMap::Totals, MapOperation::Lookup, || self.0.totals.get(&0, 0));
        let cpus = cpus.map_err(|error| RunError::map("reading the totals", error))?;
        let mut hasher = DefaultHasher::new();
        if let Some(Plain(row)) = cpus.iter().next() {
            hasher.write(row.seeds.as_bytes());
            hasher.write(row.more_seeds.as_bytes());
        }
        Ok(hasher.finish())
    }

    /// Windows of rows that were handed on since the maps were made, by processes before too.
    pub fn windows(&self) -> Result<u64, RunError> {
        let windows = self.0.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let found = SYSCALLS.count(OwnMap::Windows, MapOperation::Lookup, || windows.get(&0, 0));
        found.map_err(|error| RunError::map("reading the number of windows", error))
    }

    /// Sets that number, for the next process.
    pub fn set_windows(&self, number: u64) -> Result<(), RunError> {
        let mut windows = self.0.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let set = SYSCALLS.count(OwnMap::Windows, MapOperation::Update, || windows.set(0, number, 0));
        set.map_err(|error| RunError::map("writing the number of windows", error))
    }

    /// Retransmitted segments since the programs were loaded, over all CPUs; none where the kernel
    /// is not asked for them.
    pub fn retransmits(&self) -> Result<Option<Retransmits>, RunError> {
        let Some(map) = &self.0.retransmits else { return Ok(None) };
        let cpus = SYSCALLS.count(OwnMap::Retransmits, MapOperation::Lookup, || map.get(&0, 0));
        let cpus = cpus.map_err(|error| RunError::map("reading the totals of retransmissions", error))?;
        let mut totals = Retransmits::default();
        cpus.iter().for_each(|cpu| totals.add(&cpu.0));
        Ok(Some(totals))
    }
}

/// Selection of the connections that a sweep reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Counts that have waited for a report interval.
    Overdue,
    /// All that is pending: before a shutdown. Until the ring is full; so read it, and come again
    /// until nothing is pending.
    Everything,
    /// As overdue, and each open connection in an event of its own.
    ListOpen,
}

impl Mode {
    /// Bits of the program's mode.
    fn flags(self) -> u64 {
        match self {
            Self::Overdue => 0,
            Self::Everything => FLUSH_ALL,
            Self::ListOpen => LIST_OPEN,
        }
    }
}

/// Buckets that one run of the program walks: `SWEEP_AT_ONCE`.
const AT_ONCE: u32 = 512;

/// `SWEEP_FLUSH_ALL`, `SWEEP_BEGINS` and `SWEEP_LIST_OPEN` of the program.
const FLUSH_ALL: u64 = 1;
const BEGINS: u64 = 2;
const LIST_OPEN: u64 = 4;

/// Sweeps the connection table, in [`PARTS`] parts. A part takes microseconds to a millisecond on
/// one CPU, with its packets served meanwhile.
pub struct Sweeper {
    sweep: OwnedFd,
    balance: OwnedFd,
    swept: Array<MapData, Plain<Swept>>,
    buckets: u32,
    /// The part that comes next.
    next: usize,
    parts: [Swept; PARTS],
    runs: Arc<SweepRuns>,
}

impl fmt::Debug for Sweeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sweeper").field("buckets", &self.buckets).field("next", &self.next).finish_non_exhaustive()
    }
}

impl Sweeper {
    pub(super) fn new((sweep, balance): (OwnedFd, OwnedFd), swept: Array<MapData, Plain<Swept>>, buckets: u32) -> Self {
        Self { sweep, balance, swept, buckets, next: 0, parts: [Swept::default(); PARTS], runs: Arc::default() }
    }

    /// The sweeps that were made.
    pub fn runs(&self) -> Arc<SweepRuns> {
        Arc::clone(&self.runs)
    }

    /// Sweeps the whole table once.
    pub fn sweep(&mut self, mode: Mode) -> Result<Swept, RunError> {
        for _ in 1..PARTS {
            self.sweep_part(mode)?;
        }
        self.sweep_part(mode)
    }

    /// Sweeps the next part, and returns what the last sweep of each part found, added up.
    /// A part whose sweep fails is the next one again.
    pub fn sweep_part(&mut self, mode: Mode) -> Result<Swept, RunError> {
        let began = Instant::now();
        let swept = self.try_part(mode);
        self.runs.note(swept.is_ok().then_some(self.next == 0), began.elapsed());
        swept
    }

    fn try_part(&mut self, mode: Mode) -> Result<Swept, RunError> {
        let part = self.next;
        let bound = |part: usize| u64::from(self.buckets) * part as u64 / PARTS as u64;
        let (mut first, end) = (bound(part), bound(part + 1));
        let mut flags = BEGINS | mode.flags();
        loop {
            let count = (end - first).min(u64::from(AT_ONCE));
            run(&self.sweep, "sweeping the connection table", &[first, count, flags, part as u64])?;
            flags &= !BEGINS;
            first += count;
            if first == end {
                break;
            }
        }
        self.balance()?;
        let found = SYSCALLS.count(OwnMap::Swept, MapOperation::Lookup, || self.swept.get(&0, 0));
        let Plain(found) = found.map_err(|error| RunError::map("reading what the sweep found", error))?;
        if let Some(known) = self.parts.get_mut(part) {
            *known = found;
        }
        self.next = (part + 1) % PARTS;
        let mut all = Swept::default();
        self.parts.iter().for_each(|part| all.add_part(part));
        Ok(all)
    }

    /// Ends a part: shares are worked out, and the programs' clock is set.
    pub(super) fn balance(&self) -> Result<(), RunError> {
        run(&self.balance, "balancing the interfaces' shares", &[])
    }

    /// Maximal number of connections in the table.
    pub fn capacity(&self) -> u32 {
        self.buckets * SLOTS
    }
}

fn run(program: &OwnedFd, what: &'static str, arguments: &[u64]) -> Result<(), RunError> {
    match sys::test_run(program.as_fd(), &[], arguments.as_bytes(), 0) {
        Ok(0) => Ok(()),
        Ok(_) => Err(RunError::new(what, std::io::Error::other("its maps are missing"))),
        Err(error) => Err(RunError::new(what, error)),
    }
}

/// Writes what is constant into the rows of the totals, before anything is counted in them.
///
/// The random words are the hash's secrets, so that connections cannot be chosen to collide.
pub(super) fn write_constants(
    totals: &mut PerCpuArray<MapData, Plain<Totals>>,
    settings: &ProgramSettings,
) -> Result<(), LoadError> {
    let constants = Constants::new(settings);
    let random = RandomState::new();
    let mut words = (0_u64..).map(|number| random.hash_one(number));
    let mut row =
        Totals { report_interval: constants.report_interval, buckets: constants.buckets, ..Totals::default() };
    let seeds = row.seeds.iter_mut().chain(&mut row.more_seeds).chain(&mut row.address_seeds);
    seeds.zip(&mut words).for_each(|(seed, word)| *seed = word);
    let fail = |error: &(dyn std::error::Error + 'static)| super::object::refused("the totals", error);
    let cpus = aya::util::nr_cpus().map_err(|(_, error)| fail(&error))?;
    for hook in 0..totals.len() {
        let values = PerCpuValues::try_from(vec![Plain(row); cpus]).map_err(|error| fail(&error))?;
        let written = SYSCALLS.count(OwnMap::Totals, MapOperation::Update, || totals.set(hook, values, 0));
        written.map_err(|error| fail(&error))?;
    }
    Ok(())
}
