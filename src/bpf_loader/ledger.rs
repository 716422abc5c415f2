//! The kernel side's ledger: exact totals per hook, and the sweep that reports and ends what waits in the table.
//!
//! At rest, for each hook:
//! seen = reported + pending + untracked + evicted + unparsed + lost + suppressed + flooded + stopped.
//! Packets of an interface that is counted at the device are seen when it sends them, or when they are stopped.
//! `pending` comes from the last sweep, which adds it up from the table itself, so the sum is a check and no
//! tautology.

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use aya::maps::{Array, MapData, PerCpuArray};
use webb_flow::abi::{HOOKS, Swept, Totals};

use super::error::{LoadError, RunError};
use super::plain::Plain;
use super::sys;

/// Reads the totals. Cheap to clone; any thread may ask.
#[derive(Debug, Clone)]
pub struct Ledger(Arc<Maps>);

struct Maps {
    totals: PerCpuArray<MapData, Plain<Totals>>,
    drop_totals: Option<PerCpuArray<MapData, Plain<Totals>>>,
    swept: Array<MapData, Plain<Swept>>,
}

impl fmt::Debug for Maps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Maps").field("drops", &self.drop_totals.is_some()).finish_non_exhaustive()
    }
}

impl Ledger {
    pub(super) fn new(
        totals: PerCpuArray<MapData, Plain<Totals>>,
        drop_totals: Option<PerCpuArray<MapData, Plain<Totals>>>,
        swept: Array<MapData, Plain<Swept>>,
    ) -> Result<Self, LoadError> {
        let ledger = Self(Arc::new(Maps { totals, drop_totals, swept }));
        let fail = |error: RunError| super::object::refused("the totals", &error);
        ledger.totals().map_err(fail)?;
        ledger.swept().map_err(fail)?;
        Ok(ledger)
    }

    /// Whether drops are watched; their row of the totals stays 0 otherwise.
    pub fn sees_drops(&self) -> bool {
        self.0.drop_totals.is_some()
    }

    /// The totals of each hook since the programs were loaded, over all CPUs.
    pub fn totals(&self) -> Result<[Totals; HOOKS], RunError> {
        let mut rows = [Totals::default(); HOOKS];
        for (hook, row) in (0_u32..).zip(rows.iter_mut()) {
            let (map, index) = if hook as usize + 1 == HOOKS {
                let Some(drops) = &self.0.drop_totals else { continue };
                (drops, 0)
            } else {
                (&self.0.totals, hook)
            };
            let cpus = map.get(&index, 0).map_err(|error| RunError::map("reading the totals", error))?;
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

    /// What the last finished sweep found.
    pub fn swept(&self) -> Result<Swept, RunError> {
        self.0
            .swept
            .get(&0, 0)
            .map(|swept| swept.0)
            .map_err(|error| RunError::map("reading what the sweep found", error))
    }
}

/// What a sweep reports of connections that go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// What has been waiting for a report interval.
    Overdue,
    /// All that is pending: before a shutdown. Until the ring is full; so read it, and come again until nothing is
    /// pending.
    Everything,
}

/// Sweeps the connection table. About once a second is right; a sweep takes microseconds to a few milliseconds on one
/// CPU, with its packets served meanwhile.
#[derive(Debug)]
pub struct Sweeper {
    program: OwnedFd,
    ledger: Ledger,
    number: u32,
    capacity: u32,
}

impl Sweeper {
    pub(super) fn new(program: OwnedFd, ledger: Ledger, capacity: u32) -> Self {
        Self { program, ledger, number: 0, capacity }
    }

    /// Sweeps once. Between two sweeps every program that ran has ended: the table's rules of ending (`table.h`) stand
    /// on that.
    pub fn sweep(&mut self, mode: Mode) -> Result<Swept, RunError> {
        sys::grace_period();
        let everything = u64::from(mode == Mode::Everything);
        let mut arguments = [0_u8; 16];
        let (first, second) = arguments.split_at_mut(8);
        first.copy_from_slice(&everything.to_ne_bytes());
        second.copy_from_slice(&u64::from(self.number).to_ne_bytes());
        // A number is never used twice, also if the run fails half-way. At one sweep a second they last 136 years.
        self.number = self.number.wrapping_add(1);
        let what = "sweeping the connection table";
        match sys::test_run(self.program.as_fd(), &[], &arguments, 0) {
            Ok(0) => self.ledger.swept(),
            Ok(_) => Err(RunError::new(what, std::io::Error::other("its maps are missing"))),
            Err(error) => Err(RunError::new(what, error)),
        }
    }

    /// How many connections fit into the table.
    pub fn capacity(&self) -> u32 {
        self.capacity
    }
}
