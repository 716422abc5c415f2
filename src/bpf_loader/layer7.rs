//! Layer 7 in the kernel: its ring, its totals, and the switch that enables sides and protocols.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use aya::Ebpf;
use aya::maps::{Array, MapData, PerCpuArray};
use webb_flow::abi::L7Totals;

use super::error::{LoadError, RunError};
use super::maps::{MapOperation, OwnMap, SYSCALLS};
use super::object::take_map;
use super::plain::Plain;
use super::ring::{KernelRings, RingSource};
use crate::records::Signal;

/// A handle to layer 7 in the kernel. Clones share it.
#[derive(Clone)]
pub struct Layer7(Arc<Maps>);

struct Maps {
    rings: KernelRings,
    totals: PerCpuArray<MapData, Plain<L7Totals>>,
    switch: Mutex<Array<MapData, u32>>,
}

impl fmt::Debug for Layer7 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Layer7").finish_non_exhaustive()
    }
}

impl Layer7 {
    pub(super) fn new(flow: &mut Ebpf, kept: bool) -> Result<Self, LoadError> {
        let ring = RingSource::new(Signal::Message, &take_map(flow, "l7_events")?)?;
        Ok(Self(Arc::new(Maps {
            rings: KernelRings::new(vec![ring], kept),
            totals: take_map(flow, "l7_totals")?,
            switch: Mutex::new(take_map(flow, "l7_switch")?),
        })))
    }

    /// The ring.
    pub fn rings(&self) -> KernelRings {
        self.0.rings.clone()
    }

    /// The totals since the programs were loaded, over all CPUs.
    pub fn totals(&self) -> Result<L7Totals, RunError> {
        let cpus = SYSCALLS.count(OwnMap::Layer7Totals, MapOperation::Lookup, || self.0.totals.get(&0, 0));
        let cpus = cpus.map_err(|error| RunError::map("reading the totals of layer 7", error))?;
        let mut totals = L7Totals::default();
        cpus.iter().for_each(|cpu| totals.add(&cpu.0));
        Ok(totals)
    }

    /// Has the programs look for these: bits of [`webb_flow::abi::l7_switch`]. Nothing at first.
    pub fn look_for(&self, wanted: u32) -> Result<(), RunError> {
        let mut switch = self.0.switch.lock().unwrap_or_else(PoisonError::into_inner);
        let set = SYSCALLS.count(OwnMap::Layer7Switch, MapOperation::Update, || switch.set(0, wanted, 0));
        set.map_err(|error| RunError::map("switching layer 7", error))
    }
}
