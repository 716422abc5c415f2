//! Interfaces with something special about them: ports of bridges, and those where others may drop
//! a packet behind our egress program.
//!
//! At the first it is learned which MAC addresses the pod has, so that flooded frames are told from
//! its own; the second are counted when the device sends (`bpf/include/port.h`, `device.h`).
//! `Ports` keeps what the programs are told about them.

use aya::Ebpf;
use aya::maps::{HashMap, MapData, MapError};
use aya::programs::tp_btf::BtfTracePointLink;
use aya::programs::{BtfTracePoint, ProgramFd};
use webb_flow::abi::{Claim, Claimed, Port, port};

use super::error::{LoadError, chain};
use super::handover::{AT_SENDING, AT_SENT, Entries, Pins};
use super::maps::MapOperation::{Delete, GetNextKey, Lookup, Update};
use super::maps::{OwnMap, SYSCALLS};
use super::object::{CLASSIFIERS, FROM_PORT, SENDING, SENT, TO_PORT, program};
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

/// The programs of a pod's interface, ingress and egress.
pub(super) fn programs(special: Special) -> (&'static str, &'static str) {
    let [from_pod, to_pod, ..] = CLASSIFIERS;
    (if special.bridge.is_some() { FROM_PORT } else { from_pod }, if special.is_none() { to_pod } else { TO_PORT })
}

/// The part of `special` that this kernel supports.
pub(super) fn possible(special: Special, ports: &Ports) -> Special {
    Special { at_device: special.at_device && ports.refusal().is_none(), ..special }
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
    tracing: Option<Tracing>,
    /// Error that prevents counting interfaces at the device.
    refusal: Option<String>,
}

/// What keeps the programs at the device attached.
#[derive(Debug)]
enum Tracing {
    /// Their links; dropping them detaches.
    Own(#[allow(dead_code, reason = "held")] [BtfTracePointLink; 2]),
    /// Entries, whose links are pinned.
    Entered,
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
        let mut port = self.port(index).unwrap_or_default().0;
        let bridge = special.bridge.unwrap_or(0);
        if (port.bridge, port.own) != (bridge, own.unwrap_or(0)) {
            self.forget_claims(index, &port);
            port = Port { bridge, own: own.unwrap_or(0), ..Port::default() };
        }
        port.flags = special.flags();
        if let Some(mac) = own {
            let claim = Claim { ifindex: index, own: 1, ..Claim::default() };
            let claimed = Plain(Claimed { mac, bridge, pad0: 0 });
            SYSCALLS.count(OwnMap::Claims, Update, || self.claims.insert(claimed, Plain(claim), 0))?;
        }
        if let Some(drops) = &mut self.at_device {
            if special.at_device {
                SYSCALLS.count(OwnMap::AtDevice, Update, || drops.insert(index, 1, 0))?;
            } else {
                // It may not be there.
                let _absent = SYSCALLS.count(OwnMap::AtDevice, Delete, || drops.remove(&index));
            }
        }
        SYSCALLS.count(OwnMap::Ports, Update, || self.by_index.insert(index, Plain(port), 0))
    }

    fn port(&self, index: u32) -> Result<Plain<Port>, MapError> {
        SYSCALLS.count(OwnMap::Ports, Lookup, || self.by_index.get(&index, 0))
    }

    /// Forgets an interface.
    pub(super) fn remove(&mut self, index: u32) {
        // Most interfaces are in neither map.
        let Ok(port) = self.port(index) else { return };
        self.forget_claims(index, &port.0);
        let _absent = SYSCALLS.count(OwnMap::Ports, Delete, || self.by_index.remove(&index));
        if let Some(drops) = &mut self.at_device {
            let _absent = SYSCALLS.count(OwnMap::AtDevice, Delete, || drops.remove(&index));
        }
    }

    /// The MAC addresses of a port are free for others.
    fn forget_claims(&mut self, index: u32, port: &Port) {
        if port.flags & port::BRIDGED == 0 {
            return;
        }
        let all: Vec<Plain<Claimed>> = self.claims.keys().filter_map(Result::ok).collect();
        SYSCALLS.note(OwnMap::Claims, GetNextKey, false, all.len() as u64 + 1);
        for claimed in all {
            let claim = SYSCALLS.count(OwnMap::Claims, Lookup, || self.claims.get(&claimed, 0));
            if claim.is_ok_and(|claim| claim.0.ifindex == index) {
                // It may have been evicted meanwhile.
                let _absent = SYSCALLS.count(OwnMap::Claims, Delete, || self.claims.remove(&claimed));
            }
        }
    }

    /// Attaches the programs at the device, or takes them off: every packet of the machine pays for
    /// them.
    pub(super) fn trace(
        &mut self,
        flow: &mut Ebpf,
        pinned: Option<(&mut Entries, &Pins)>,
        wanted: bool,
    ) -> Result<(), LoadError> {
        match (wanted, pinned, &self.tracing) {
            (true, _, Some(_)) => {}
            (true, None, None) => self.tracing = Some(Tracing::Own([attach(flow, SENDING)?, attach(flow, SENT)?])),
            (true, Some((entries, pins)), None) => {
                entries.enter(pins, AT_SENT, tracepoint_fd(flow, SENT)?)?;
                entries.enter(pins, AT_SENDING, tracepoint_fd(flow, SENDING)?)?;
                self.tracing = Some(Tracing::Entered);
            }
            (false, pinned, _) => {
                if let (Some((_, pins)), Some(Tracing::Entered)) = (pinned, &self.tracing) {
                    Entries::leave(pins, AT_SENDING);
                    Entries::leave(pins, AT_SENT);
                }
                self.tracing = None;
            }
        }
        Ok(())
    }

    /// Special properties of an interface by what a process of before has written.
    pub(super) fn left(&self, index: u32) -> Special {
        let port = self.port(index).unwrap_or_default().0;
        Special {
            bridge: (port.flags & port::BRIDGED != 0).then_some(port.bridge),
            at_device: port.flags & port::AT_DEVICE != 0,
        }
    }

    /// Forgets all interfaces but those.
    pub(super) fn retain(&mut self, keep: impl Fn(u32) -> bool) {
        let gone: Vec<u32> = self.by_index.keys().filter_map(Result::ok).filter(|&index| !keep(index)).collect();
        for index in gone {
            self.remove(index);
        }
    }
}

/// A program that an entry is to call.
fn tracepoint_fd<'a>(flow: &'a mut Ebpf, name: &str) -> Result<&'a ProgramFd, LoadError> {
    let tracepoint: &mut BtfTracePoint = program(flow, name)?;
    tracepoint.fd().map_err(|error| super::object::refused(name, &error))
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
