//! Layer 7 in the kernel: its ring, its totals, and the switch that says which sides of which
//! protocols are looked for.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use aya::Ebpf;
use aya::maps::{Array, MapData, PerCpuArray};
use webb_flow::abi::L7Totals;

use super::error::{LoadError, RunError};
use super::plain::Plain;
use super::probes::take_map;
use super::ring::{KernelRings, RingSource};
use crate::records::Signal;

/// Ports of a list that the programs know; `L7_PORTS`.
pub const MOST_PORTS: usize = 8;

/// What the programs are told of layer 7 before they are loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layer7Settings {
    /// Size of the ring of layer-7 records; rounded up to a power of two of pages.
    pub ring_bytes: u32,
    /// Ports of DNS servers; 0 in unused places.
    pub dns_ports: [u16; MOST_PORTS],
    /// Ports of HTTP servers; all if the first is 0.
    pub http_ports: [u16; MOST_PORTS],
    /// Ports of servers that are not taken for HTTP.
    pub http_ports_ignored: [u16; MOST_PORTS],
    /// Bytes that are captured of a segment that begins with a request.
    pub request_bytes: u32,
    /// The same of a response.
    pub response_bytes: u32,
}

impl Default for Layer7Settings {
    fn default() -> Self {
        Self {
            ring_bytes: 4 << 20,
            dns_ports: [53, 0, 0, 0, 0, 0, 0, 0],
            http_ports: [0; MOST_PORTS],
            http_ports_ignored: [0; MOST_PORTS],
            request_bytes: 2048,
            response_bytes: 1024,
        }
    }
}

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
    pub(super) fn new(flow: &mut Ebpf) -> Result<Self, LoadError> {
        let ring = RingSource::new(Signal::Message, &take_map(flow, "l7_events")?)?;
        Ok(Self(Arc::new(Maps {
            rings: KernelRings::new(vec![ring]),
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
        let cpus = self.0.totals.get(&0, 0).map_err(|error| RunError::map("reading the totals of layer 7", error))?;
        let mut totals = L7Totals::default();
        cpus.iter().for_each(|cpu| totals.add(&cpu.0));
        Ok(totals)
    }

    /// Has the programs look for these: bits of [`webb_flow::abi::l7_switch`]. Nothing at first.
    pub fn look_for(&self, wanted: u32) -> Result<(), RunError> {
        let mut switch = self.0.switch.lock().unwrap_or_else(PoisonError::into_inner);
        switch.set(0, wanted, 0).map_err(|error| RunError::map("switching layer 7", error))
    }
}
