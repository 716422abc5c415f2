//! [`Probes`]: owns the loaded programs, and attaches them to interfaces.
//!
//! Two programs watch an interface, one for each direction. They come first in the TCX chain, so
//! they see what the wire brought and not what another program made of it, and they always pass the
//! packet on. On kernels without TCX they are filters of a clsact qdisc; a qdisc that exists is
//! used and never deleted, and no filter but our own, known by its name, is ever removed.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use aya::maps::{MapData, PerCpuArray};
use aya::programs::tc::{
    NlOptions, SchedClassifierLink, TcAttachOptions, TcHandle, qdisc_add_clsact, qdisc_detach_program,
};
use aya::programs::{LinkOrder, MultiProgLink, ProgramError, ProgramFd, SchedClassifier, TcAttachType};
use aya::{Btf, Ebpf, EbpfLoader};
use webb_flow::abi::Retransmits;

use super::error::{AttachError, LoadError, RunError, explained, os_error};
use super::features::{Features, NEEDS_DROPS};
use super::findings;
use super::handover::{Entries, Handover, HandoverOutcome, Leftovers, Pins};
use super::layer7::Layer7;
use super::ledger::{DropMaps, Ledger, Sweeper, write_constants};
use super::maps::OwnObjects;
use super::object::{
    BALANCE, CLASSIFIERS, DROP, FROM_PORT, Pinning, SENDING, SENT, SWEEP, TO_PORT, kernel_release, load, program,
    refused, take_map,
};
use super::plain::Plain;
use super::ports::{Ports, Special, possible, programs};
use super::ring::{KernelRings, RingSource};
use super::settings::{Attach, ProgramSettings, buckets};
use super::taken_over::TakenOver;
use super::{Cost, sys};
use crate::network::{Interface, Role};
use crate::privileges;
use crate::records::Signal;

/// A point where packets are seen; `enum webb_hook` without the drop point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hook {
    /// Ingress of the host side of a pod's veth.
    FromPod = 0,
    /// Egress of it.
    ToPod = 1,
    /// Ingress of a node's own device.
    FromNetwork = 2,
    /// Egress of it.
    ToNetwork = 3,
}

impl Hook {
    pub(super) fn program(self) -> &'static str {
        CLASSIFIERS.get(self as usize).copied().unwrap_or_default()
    }
}

/// Both links of an interface; dropping them detaches.
#[derive(Debug)]
pub(super) struct Links {
    pub(super) name: String,
    pub(super) role: Role,
    /// Bridge of the interface, as [`Interface`] has it.
    pub(super) bridge: Option<u32>,
    pub(super) peer: Option<(i32, u32)>,
    pub(super) special: Special,
    pub(super) ingress: SchedClassifierLink,
    pub(super) egress: SchedClassifierLink,
}

/// The programs in the kernel. Dropping it detaches and unloads everything.
#[derive(Debug)]
pub struct Probes {
    pub(super) flow: Ebpf,
    drop: Option<Ebpf>,
    degraded: Vec<String>,
    attach: Attach,
    tcx: bool,
    pub(super) attached: HashMap<u32, Links>,
    pub(super) ports: Ports,
    rings: KernelRings,
    ledger: Ledger,
    sweeper: Option<Sweeper>,
    objects: Option<OwnObjects>,
    layer7: Option<Layer7>,
    pub(super) pins: Option<Pins>,
    pub(super) entries: Option<Entries>,
    pub(super) leftovers: Option<Leftovers>,
    pub(super) handover: Option<HandoverOutcome>,
    pub(super) taken_over: Option<TakenOver>,
}

impl Probes {
    /// Loads the programs and starts to watch drops. Takes some hundred milliseconds.
    pub fn load(settings: &ProgramSettings) -> Result<Self, LoadError> {
        Self::load_with(settings, &Handover::default())
    }

    /// Loads the programs as [`Self::load`] does. With a handover their maps are those that a
    /// process of before has left, if there are any that fit.
    pub fn load_with(settings: &ProgramSettings, handover: &Handover) -> Result<Self, LoadError> {
        let missing = privileges::missing();
        if !missing.is_empty() {
            return Err(LoadError::Privileges { advice: findings::advice(&missing), missing });
        }
        let features = Features::find();
        let missing = features.missing();
        if !missing.is_empty() {
            return Err(LoadError::Kernel { kernel: kernel_release(), why: missing.join("; ") });
        }
        let (tcx, mut degraded) = (features.tcx.is_ok(), Vec::new());
        let supported = means(settings.attach, tcx) == TCX;
        let pins = match &handover.directory {
            Some(directory) if handover.wanted && supported => {
                Some(Pins::open(directory, settings, features.drop_reasons.is_ok())?)
            }
            _ => None,
        };
        let leftovers = if pins.is_none() { Leftovers::find(handover) } else { None };
        let mut entries = None;
        let path = |name: &str| pins.as_ref().map_or_else(PathBuf::new, |pins| pins.map(name));
        let mut more = |loader: &mut EbpfLoader<'_>, btf: &Btf, which| {
            entries = Some(Entries::load(loader, btf, which)?);
            Ok(())
        };
        let pinning = pins.as_ref().map(|_| Pinning { path: &path, load: &mut more });
        let mut loaded = load(settings, &features, pinning)?;
        let mut flow = loaded.flow;
        let outcome = match (&pins, &leftovers) {
            (Some(pins), _) => Some(pins.outcome()),
            (None, _) if handover.wanted => {
                degraded.push(format!("handover: {}", HandoverOutcome::NotSupported.text()));
                Some(HandoverOutcome::NotSupported)
            }
            (None, leftovers) => leftovers.as_ref().map(|_| HandoverOutcome::Removed),
        };
        let entered = match (&mut loaded.drop, entries.as_mut().zip(pins.as_ref())) {
            (Ok(drop), Some((entries, pins))) => entries.enter_drop(pins, drop),
            _ => Ok(()),
        };
        let mut drop = match loaded.drop.and_then(|drop| entered.map(|()| drop)) {
            Ok(drop) => Some(drop),
            Err(error) => {
                degraded.push(format!("drops are not seen: {error}; {NEEDS_DROPS}"));
                None
            }
        };
        let objects = own_objects(entries.as_mut(), &flow, drop.as_ref())?;
        let layer7 = match loaded.layer7 {
            Some(Ok(())) => Some(Layer7::new(&mut flow, pins.is_some())?),
            Some(Err(error)) => {
                degraded.push(format!("DNS and HTTP are not seen: layer 7 is refused by the kernel: {error}"));
                None
            }
            None => None,
        };
        if let Some(Err(error)) = loaded.connections {
            degraded.push(format!("connections are not measured: the kernel refuses that: {error}"));
        }
        let retransmits = seen_again(loaded.retransmits, &mut flow, &mut degraded)?;
        let mut sources = vec![RingSource::new(Signal::Flow, &take_map(&mut flow, "flow_events")?)?];
        if let Some(drop) = &mut drop {
            sources.push(RingSource::new(Signal::Drop, &take_map(drop, "drop_events")?)?);
        }
        let at_device = drop.as_mut().map(|drop| take_map(drop, "at_device")).transpose()?;
        let ports = Ports::new(take_map(&mut flow, "ports")?, take_map(&mut flow, "claims")?, at_device, loaded.device);
        let drop_maps = drop.as_mut().map(DropMaps::take).transpose()?;
        let mut totals = take_map(&mut flow, "totals")?;
        // The secrets of the hash are among them, and the table is arranged by it.
        if !pins.as_ref().is_some_and(Pins::are_taken_over) {
            write_constants(&mut totals, settings)?;
        }
        pins.as_ref().map(Pins::complete).transpose()?;
        let ledger = Ledger::new(totals, drop_maps, retransmits, take_map(&mut flow, "windows")?)?;
        let mut run = |name| {
            let program: &mut aya::programs::RawTracePoint = program(&mut flow, name)?;
            program_fd(name, program.fd())
        };
        let sweeper =
            Sweeper::new((run(SWEEP)?, run(BALANCE)?), take_map(&mut flow, "swept")?, buckets(settings.table_bytes));
        // The programs tell the time by what this writes.
        sweeper.balance().map_err(|error| refused(BALANCE, &error))?;
        let probes = Self {
            flow,
            drop,
            degraded,
            attach: settings.attach,
            tcx,
            attached: HashMap::new(),
            ports,
            rings: KernelRings::new(sources, pins.is_some()),
            ledger,
            sweeper: Some(sweeper),
            objects: Some(objects),
            layer7,
            pins,
            entries,
            leftovers,
            handover: outcome,
            taken_over: None,
        };
        probes.take_over()
    }

    /// Features that are degraded although loading succeeded, one sentence each.
    pub fn degraded(&mut self) -> Vec<String> {
        let mut degraded = self.degraded.clone();
        degraded.extend(self.pins.as_mut().and_then(Pins::failure));
        let names: Vec<_> = self.attached.values().filter(|links| links.special.at_device).collect();
        if let (Some(why), false) = (self.ports.refusal(), names.is_empty()) {
            let names: Vec<_> = names.iter().map(|links| links.name.as_str()).collect();
            degraded.push(format!("what is dropped on the way out of {} counts as sent: {why}", names.join(", ")));
        }
        degraded
    }

    /// Adds a sentence about what does not work.
    pub fn degrade(&mut self, missing: String) {
        self.degraded.push(missing);
    }

    /// Attaches the programs to an interface in the given role. Does nothing if it is watched in
    /// that role already.
    pub fn attach(&mut self, interface: &Interface, role: Role) -> Result<(), AttachError> {
        if let Some(links) = self.attached.get_mut(&interface.index)
            && links.role == role
        {
            (links.bridge, links.peer) = (interface.bridge(), interface.peer());
            return Ok(());
        }
        if !interface.ethernet {
            return Err(AttachError::NotEthernet { name: interface.name.clone() });
        }
        // Its name may have changed since it was seen; its index has not.
        let means = self.means();
        let name = match sys::interface_name(interface.index) {
            Ok(Some(name)) => name,
            Ok(None) => return Err(AttachError::Vanished { name: interface.name.clone(), index: interface.index }),
            Err(error) => {
                let why = format!("its name cannot be read: {error}");
                return Err(AttachError::Refused { name: interface.name.clone(), means, why });
            }
        };
        let special = self.left(interface.index, role);
        if special.is_none() {
            self.detach(interface.index);
        }
        let (ingress, egress) = match role {
            Role::Pod => programs(possible(special.unwrap_or_default(), &self.ports)),
            Role::Node => (Hook::FromNetwork.program(), Hook::ToNetwork.program()),
        };
        if means == CLSACT {
            add_clsact(&name).map_err(|error| refusal(interface, means, &error))?;
        }
        // What enters a pod is seen before what leaves it: a connection that begins in between is
        // not taken for one whose packets reach the pod past the program.
        let egress = self.attach_one(interface.index, &name, egress, TcAttachType::Egress);
        let egress = egress.map_err(|error| refusal(interface, means, &error))?;
        let ingress = self.attach_one(interface.index, &name, ingress, TcAttachType::Ingress);
        let ingress = ingress.map_err(|error| refusal(interface, means, &error))?;
        let (bridge, peer, special) = (interface.bridge(), interface.peer(), special.unwrap_or_default());
        self.attached.insert(interface.index, Links { name, role, bridge, peer, special, ingress, egress });
        Ok(())
    }

    /// Stops watching an interface; true if it was watched. It may be gone already.
    pub fn detach(&mut self, index: u32) -> bool {
        self.ports.remove(index);
        if let Some(pins) = &self.pins {
            pins.remove(index);
        }
        self.attached.remove(&index).is_some()
    }

    /// Stops watching all interfaces; drops are still seen. With a handover the programs stay where
    /// they are, for the next process.
    pub fn detach_all(&mut self) {
        if self.pins.is_some() {
            return;
        }
        for index in std::mem::take(&mut self.attached).into_keys() {
            self.ports.remove(index);
        }
    }

    /// Watched interfaces with special properties: index and properties.
    pub fn special(&self) -> impl Iterator<Item = (u32, Special)> {
        self.attached.iter().map(|(&index, links)| (index, links.special)).filter(|(_, special)| !special.is_none())
    }

    /// Watched interfaces: index, name, role.
    pub fn attached(&self) -> impl Iterator<Item = (u32, &str, Role)> {
        self.attached.iter().map(|(&index, links)| (index, links.name.as_str(), links.role))
    }

    /// True if interfaces are watched by filters of a clsact qdisc.
    pub fn by_filters(&self) -> bool {
        self.means() == CLSACT
    }

    /// Mode of attachment: `tcx` or `clsact`.
    pub fn means(&self) -> &'static str {
        means(self.attach, self.tcx)
    }

    fn attach_one(
        &mut self,
        index: u32,
        name: &str,
        program_name: &str,
        direction: TcAttachType,
    ) -> Result<SchedClassifierLink, ProgramError> {
        let clsact = self.means() == CLSACT;
        let left = self.pins.as_ref().and_then(|pins| pins.take(index, direction));
        let classifier: &mut SchedClassifier =
            self.flow.program_mut(program_name).ok_or(ProgramError::NotLoaded)?.try_into()?;
        let link = if let Some(link) = left {
            classifier.attach_to_link(link)?
        } else if clsact {
            // Filters outlive the process that made them: one that was killed has left its own
            // behind.
            for ours in [FROM_PORT, TO_PORT, program_name] {
                let _left_behind = qdisc_detach_program(name, direction, ours);
            }
            let first = NlOptions { priority: 1, handle: TcHandle::AUTO_ASSIGN, classid: None };
            let anywhere = NlOptions::default();
            // Priority 1 may belong to a filter of another kind.
            classifier
                .attach_with_options(name, direction, TcAttachOptions::Netlink(first))
                .or_else(|_| classifier.attach_with_options(name, direction, TcAttachOptions::Netlink(anywhere)))?
        } else {
            classifier.attach_with_options(name, direction, TcAttachOptions::TcxOrder(LinkOrder::first()))?
        };
        let link = classifier.take_link(link)?;
        if let (Some(pins), Ok(fd)) = (&mut self.pins, link.fd()) {
            pins.keep(index, direction, fd);
        }
        Ok(link)
    }

    /// The rings, for the reader.
    pub fn rings(&self) -> KernelRings {
        self.rings.clone()
    }

    /// A reader of the totals.
    pub fn ledger(&self) -> Ledger {
        self.ledger.clone()
    }

    /// The one sweeper; none if it has been taken.
    pub fn take_sweeper(&mut self) -> Option<Sweeper> {
        self.sweeper.take()
    }

    /// Descriptors of all maps and programs; none if they have been taken.
    pub fn take_objects(&mut self) -> Option<OwnObjects> {
        self.objects.take()
    }

    /// Layer 7, if the programs were loaded with it.
    pub fn layer7(&self) -> Option<Layer7> {
        self.layer7.clone()
    }

    /// Instructions of a hook's program in the kernel, and those that the verifier processed; none
    /// where the kernel does not report them.
    pub fn instructions(&self, hook: Hook) -> Option<(u32, u32)> {
        let info = self.flow.program(hook.program())?.info().ok()?;
        Some((info.size_translated()? / 8, info.verified_instruction_count()?))
    }

    /// Run time and run count of each program, where `kernel.bpf_stats_enabled` is on.
    pub fn cost(&self) -> Vec<Cost> {
        std::iter::once(&self.flow)
            .chain(&self.drop)
            .flat_map(Ebpf::programs)
            .filter_map(|(name, program)| Cost::of(name, program))
            .chain(self.pins.as_ref().map(Entries::cost).unwrap_or_default())
            .collect()
    }

    /// Runs a hook's program on a packet that was never on a wire (`BPF_PROG_TEST_RUN`) and counts
    /// it like any other; returns what the program returned. `repeat` runs it so many times.
    pub fn dry_run(&self, hook: Hook, packet: &[u8], repeat: u32) -> Result<i32, RunError> {
        self.dry_run_at(0, hook, packet, repeat)
    }

    /// Runs like [`Self::dry_run`], with the packet at that interface of this network namespace; 0:
    /// at `lo`.
    pub fn dry_run_at(&self, interface: u32, hook: Hook, packet: &[u8], repeat: u32) -> Result<i32, RunError> {
        let what = "running a program on a made-up packet";
        let other = |error: &'static str| RunError::new(what, std::io::Error::other(error));
        let program = self.flow.program(hook.program()).ok_or_else(|| other("no such program"))?;
        let fd = program.fd().map_err(|_| other("not loaded"))?;
        let context = sys::packet_context(interface);
        let context = if interface == 0 { &[] } else { context.as_slice() };
        let result = sys::test_run(fd.as_fd(), packet, context, repeat);
        result.map(u32::cast_signed).map_err(|error| RunError::new(what, error))
    }

    /// A hook's program, for a call from another program.
    pub fn classifier(&self, hook: Hook) -> Option<&ProgramFd> {
        let classifier: &SchedClassifier = self.flow.program(hook.program())?.try_into().ok()?;
        classifier.fd().ok()
    }

    /// The names of the programs that are loaded, as `bpftool prog` shows them.
    pub fn programs(&self) -> Vec<&'static str> {
        let mut names = CLASSIFIERS.to_vec();
        names.extend([FROM_PORT, TO_PORT, SWEEP, BALANCE]);
        if self.ports.refusal().is_none() {
            names.extend([SENDING, SENT]);
        }
        names.extend(self.drop.as_ref().map(|_| DROP));
        names
    }
}

/// Descriptors of all maps and programs, before the maps are taken out of their objects.
fn own_objects(entries: Option<&mut Entries>, flow: &Ebpf, drop: Option<&Ebpf>) -> Result<OwnObjects, LoadError> {
    let mut objects = entries.map(Entries::take_objects).unwrap_or_default();
    objects.add(flow)?;
    drop.map(|drop| objects.add(drop)).transpose()?;
    Ok(objects)
}

/// The totals of retransmissions, if they are counted.
fn seen_again(
    outcome: Option<Result<(), LoadError>>,
    flow: &mut Ebpf,
    degraded: &mut Vec<String>,
) -> Result<Option<PerCpuArray<MapData, Plain<Retransmits>>>, LoadError> {
    match outcome {
        Some(Ok(())) => take_map(flow, "retransmits").map(Some),
        Some(Err(error)) => {
            degraded.push(format!("retransmissions are not counted: {error}"));
            Ok(None)
        }
        None => Ok(None),
    }
}

const TCX: &str = "tcx";
pub(super) const CLSACT: &str = "clsact";

/// Mode of attachment, where the kernel has TCX or not.
fn means(attach: Attach, tcx: bool) -> &'static str {
    match attach {
        Attach::Tcx => TCX,
        Attach::Auto if tcx => TCX,
        Attach::Auto | Attach::Clsact => CLSACT,
    }
}

/// Makes the qdisc if there is none.
fn add_clsact(name: &str) -> Result<(), aya::programs::tc::TcError> {
    use aya::programs::tc::TcError;
    match qdisc_add_clsact(name) {
        Err(TcError::AlreadyAttached) => Ok(()),
        Err(TcError::NetlinkError(error)) if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
        other => other,
    }
}

fn refusal(interface: &Interface, means: &'static str, error: &(dyn std::error::Error + 'static)) -> AttachError {
    let gone = matches!(os_error(error), Some(libc::ENODEV | libc::ENXIO))
        || matches!(sys::interface_name(interface.index), Ok(None));
    if gone {
        return AttachError::Vanished { name: interface.name.clone(), index: interface.index };
    }
    AttachError::Refused { name: interface.name.clone(), means, why: explained(error) }
}

fn program_fd(name: &str, fd: Result<&ProgramFd, ProgramError>) -> Result<OwnedFd, LoadError> {
    let fd = fd.map_err(|error| refused(name, &error))?;
    fd.as_fd().try_clone_to_owned().map_err(|error| refused(name, &error))
}
