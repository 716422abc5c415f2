//! Interfaces with something special about them: ports of bridges, and those where others may drop
//! a packet behind our egress program.
//!
//! At the first it is learned which MAC addresses the pod has, so that flooded frames are told from
//! its own; the second are counted when the device sends (`bpf/include/port.h`, `device.h`).
//! `Ports` keeps what the programs are told about them.

use aya::Ebpf;
use aya::maps::{HashMap, MapData, MapError};
use aya::programs::BtfTracePoint;
use aya::programs::tp_btf::BtfTracePointLink;
use webb_flow::abi::{Claim, Claimed, Port, port};

use super::error::{LoadError, chain};
use super::object::{SENDING, SENT, program};
use super::plain::Plain;

/// Special properties of a pod's interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Special {
    /// The index of the bridge that it is a port of, which may flood.
    pub bridge: Option<u32>,
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
        bit(self.bridge.is_some(), port::BRIDGED) | bit(self.at_device, port::AT_DEVICE)
    }
}

/// Map of special interfaces that the programs read.
#[derive(Debug)]
pub(super) struct Ports {
    by_index: HashMap<MapData, u32, Plain<Port>>,
    /// MAC addresses by port, as the programs learn them.
    claims: HashMap<MapData, Plain<Claimed>, Plain<Claim>>,
    /// The drop program's own list of interfaces that are counted at the device.
    at_device: Option<HashMap<MapData, u32, u8>>,
    /// The two points of a device, while any interface is counted there.
    tracing: Option<[BtfTracePointLink; 2]>,
    /// Error that prevents counting interfaces at the device.
    refusal: Option<String>,
}

impl Ports {
    pub(super) fn new(
        by_index: HashMap<MapData, u32, Plain<Port>>,
        claims: HashMap<MapData, Plain<Claimed>, Plain<Claim>>,
        at_device: Option<HashMap<MapData, u32, u8>>,
        loaded: Result<(), LoadError>,
    ) -> Self {
        let refusal = loaded.err().map(|error| chain(&error));
        Self { by_index, claims, at_device, tracing: None, refusal }
    }

    /// Error that prevents counting at the device, if any.
    pub(super) fn refusal(&self) -> Option<&str> {
        self.refusal.as_deref()
    }

    /// Describes an interface to the programs, and the MAC address of the pod's end of it if that
    /// is known. What they have learned about it stays while it is a port of the same bridge.
    pub(super) fn set(&mut self, index: u32, special: Special, own: Option<u64>) -> Result<(), MapError> {
        let mut port = self.by_index.get(&index, 0).unwrap_or_default().0;
        let bridge = special.bridge.unwrap_or(0);
        if (port.bridge, port.own) != (bridge, own.unwrap_or(0)) {
            self.forget_claims(index, &port);
            port = Port { bridge, own: own.unwrap_or(0), ..Port::default() };
        }
        port.flags = special.flags();
        if let Some(mac) = own {
            let claim = Claim { ifindex: index, own: 1, ..Claim::default() };
            self.claims.insert(Plain(Claimed { mac, bridge, pad0: 0 }), Plain(claim), 0)?;
        }
        if let Some(drops) = &mut self.at_device {
            if special.at_device {
                drops.insert(index, 1, 0)?;
            } else {
                // It may not be there.
                let _absent = drops.remove(&index);
            }
        }
        self.by_index.insert(index, Plain(port), 0)
    }

    /// Forgets an interface.
    pub(super) fn remove(&mut self, index: u32) {
        // Most interfaces are in neither map.
        let Ok(port) = self.by_index.get(&index, 0) else { return };
        self.forget_claims(index, &port.0);
        let _absent = self.by_index.remove(&index);
        if let Some(drops) = &mut self.at_device {
            let _absent = drops.remove(&index);
        }
    }

    /// The MAC addresses of a port are free for others.
    fn forget_claims(&mut self, index: u32, port: &Port) {
        if port.flags & port::BRIDGED == 0 {
            return;
        }
        let all: Vec<Plain<Claimed>> = self.claims.keys().filter_map(Result::ok).collect();
        for claimed in all {
            if self.claims.get(&claimed, 0).is_ok_and(|claim| claim.0.ifindex == index) {
                // It may have been evicted meanwhile.
                let _absent = self.claims.remove(&claimed);
            }
        }
    }

    /// Attaches the programs at the device, or takes them off: every packet of the machine pays for
    /// them.
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
