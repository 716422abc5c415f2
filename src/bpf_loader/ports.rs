//! Interfaces with something special about them: ports of bridges, and those where others may drop a packet behind our
//! egress program.
//!
//! The first learn the pod's MAC addresses, so that flooded frames are told from its own; the second are counted when
//! the device sends (`bpf/include/port.h`, `device.h`). [`Ports`] keeps what the programs are told about them.

use aya::Ebpf;
use aya::maps::{HashMap, MapData, MapError};
use aya::programs::BtfTracePoint;
use aya::programs::tp_btf::BtfTracePointLink;

use super::error::{LoadError, chain};
use super::object::{SENDING, SENT, program};
use crate::abi::{Port, port};

// SAFETY: plain integers without padding (asserted in `abi`), valid for every bit pattern.
unsafe impl aya::Pod for Port {}

/// What is special about a pod's interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Special {
    /// It is a port of a bridge, which may flood.
    pub bridged: bool,
    /// Others may drop behind our egress program: packets count when the device sends them.
    pub at_device: bool,
}

impl Special {
    /// True if the plain programs do.
    pub fn is_none(self) -> bool {
        self == Self::default()
    }

    fn flags(self) -> u32 {
        let bit = |set: bool, bit: u32| if set { bit } else { 0 };
        bit(self.bridged, port::BRIDGED) | bit(self.at_device, port::AT_DEVICE)
    }
}

/// What the programs are told about special interfaces.
#[derive(Debug)]
pub(super) struct Ports {
    by_index: HashMap<MapData, u32, Port>,
    /// The drop program's own list of interfaces that are counted at the device.
    at_device: Option<HashMap<MapData, u32, u8>>,
    /// The two points of a device, while any interface is counted there.
    tracing: Option<[BtfTracePointLink; 2]>,
    /// Why interfaces cannot be counted at the device.
    refusal: Option<String>,
}

impl Ports {
    pub(super) fn new(
        by_index: HashMap<MapData, u32, Port>,
        at_device: Option<HashMap<MapData, u32, u8>>,
        loaded: Result<(), LoadError>,
    ) -> Self {
        let refusal = loaded.err().map(|error| chain(&error));
        Self { by_index, at_device, tracing: None, refusal }
    }

    /// Why no interface can be counted at the device, if so.
    pub(super) fn refusal(&self) -> Option<&str> {
        self.refusal.as_deref()
    }

    /// Tells the programs about an interface. What they have learned about it stays.
    pub(super) fn set(&mut self, index: u32, special: Special, own: Option<u64>) -> Result<(), MapError> {
        let mut port = self.by_index.get(&index, 0).unwrap_or_default();
        port.flags = port.flags & port::MANY | special.flags();
        if let Some(own) = own.filter(|own| !port.macs.contains(own))
            && let Some(free) = port.macs.iter_mut().find(|mac| **mac == 0)
        {
            *free = own;
        }
        if let Some(drops) = &mut self.at_device {
            if special.at_device {
                drops.insert(index, 1, 0)?;
            } else {
                // It may not be there.
                let _absent = drops.remove(&index);
            }
        }
        self.by_index.insert(index, port, 0)
    }

    /// Forgets an interface.
    pub(super) fn remove(&mut self, index: u32) {
        // Most interfaces are in neither map.
        let _absent = self.by_index.remove(&index);
        if let Some(drops) = &mut self.at_device {
            let _absent = drops.remove(&index);
        }
    }

    /// Attaches the programs at the device, or takes them off: every packet of the machine pays for them.
    pub(super) fn trace(&mut self, flow: &mut Ebpf, wanted: bool) -> Result<(), LoadError> {
        if !wanted {
            self.tracing = None;
        } else if self.tracing.is_none() {
            self.tracing = Some([attach(flow, SENDING)?, attach(flow, SENT)?]);
        }
        Ok(())
    }
}

fn attach(flow: &mut Ebpf, name: &str) -> Result<BtfTracePointLink, LoadError> {
    let refused = |error| super::object::refused(name, &error);
    let tracepoint: &mut BtfTracePoint = program(flow, name)?;
    let id = tracepoint.attach().map_err(refused)?;
    tracepoint.take_link(id).map_err(refused)
}

/// A MAC address as the programs have it.
pub(super) fn mac_number(mac: [u8; 6]) -> u64 {
    mac.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}
