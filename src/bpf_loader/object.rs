//! The embedded objects, and loading them into the kernel.
//!
//! aya reads the kernel's BTF into some 13 MB of structs. That is done once for both objects, and
//! all of it is given back before the agent starts its work.

use std::path::PathBuf;

use aya::programs::{BtfTracePoint, RawTracePoint, SchedClassifier};
use aya::{Btf, Ebpf, EbpfLoader};
use webb_flow::fault::inject;

use super::btf::{BtfError, Types};
use super::btf_maps::section;
use super::error::{LoadError, chain, refusal};
use super::features::Features;
use super::settings::{Constants, ProgramSettings, SLOTS, ring_bytes};
use super::signals::without_signals;

/// `bpf/flow.bpf.c`, compiled.
pub static FLOW_OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/flow.bpf.o"));
/// The flow object with layer 7.
pub static FLOW_L7_OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/flow_l7.bpf.o"));
/// The flow object with connection quality.
pub static FLOW_QUALITY_OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/flow_quality.bpf.o"));
/// The flow object with both, and so with each map that one of the flow objects has.
pub static FLOW_ALL_OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/flow_l7_quality.bpf.o"));
/// `bpf/drop.bpf.c`, compiled.
pub static DROP_OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/drop.bpf.o"));

/// `bpf/entry.bpf.c`, compiled.
pub(super) static ENTRY_OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/entry.bpf.o"));

/// Programs of the flow object that watch packets, by [`super::Hook`].
pub(super) const CLASSIFIERS: [&str; 4] = ["webb_from_pod", "webb_to_pod", "webb_from_net", "webb_to_net"];
/// Those for interfaces with something special about them ([`super::ports`]).
pub(super) const FROM_PORT: &str = "webb_from_port";
pub(super) const TO_PORT: &str = "webb_to_port";
/// The two points of a device: before its driver is called, and after the driver has returned.
pub(super) const SENDING: &str = "webb_sending";
pub(super) const SENT: &str = "webb_sent";
/// These two, and the tracepoint of each.
const AT_DEVICE: [(&str, &str); 2] = [(SENDING, "net_dev_start_xmit"), (SENT, "net_dev_xmit")];
/// The programs at retransmissions, and the tracepoint of each.
pub(super) const RETRANSMISSIONS: [(&str, &str); 2] =
    [("webb_retransmit", "tcp_retransmit_skb"), ("webb_retransmit_synack", "tcp_retransmit_synack")];
pub(super) const SWEEP: &str = "webb_sweep";
pub(super) const BALANCE: &str = "webb_balance";
pub(super) const DROP: &str = "webb_drop";

/// Both objects in the kernel, nothing attached but the drop point, and that not with pins.
pub(super) struct Loaded {
    pub(super) flow: Ebpf,
    pub(super) drop: Result<Ebpf, LoadError>,
    /// Outcome of loading the programs that count packets when a device sends them.
    pub(super) device: Result<(), LoadError>,
    /// Outcome of loading the flow object with layer 7; none if it was not configured.
    pub(super) layer7: Option<Result<(), LoadError>>,
    /// The same of connection quality.
    pub(super) connections: Option<Result<(), LoadError>>,
    /// Outcome of loading and attaching the programs at retransmissions; none without connection
    /// quality.
    pub(super) retransmits: Option<Result<(), LoadError>>,
}

/// The path of a map's pin, by its name.
type PinPath<'a> = &'a dyn Fn(&str) -> PathBuf;

/// Loads more objects, where the drop object and the programs at the device are loaded or not.
type LoadMore<'a> = &'a mut dyn FnMut(&mut EbpfLoader<'_>, &Btf, (bool, bool)) -> Result<(), LoadError>;

/// Pins of the maps, and what else is loaded with them.
pub(super) struct Pinning<'a> {
    pub(super) path: PinPath<'a>,
    pub(super) load: LoadMore<'a>,
}

/// Loads both objects; what the kernel refuses of the drop object and of the programs at the device
/// is left out, with the reason, and so is the drop object where the kernel gives no reasons. With
/// `pinning` the maps are those that are pinned there, or are pinned.
pub(super) fn load(
    settings: &ProgramSettings,
    features: &Features,
    mut pinning: Option<Pinning<'_>>,
) -> Result<Loaded, LoadError> {
    let path = pinning.as_ref().map(|pinning| pinning.path);
    prepare(settings, path, |loader, btf| {
        let Flow { object: mut flow, layer7, connections } = load_wanted(loader, settings)?;
        let device = load_device(&mut flow, btf);
        let measured = matches!(connections, Some(Ok(())));
        let retransmits = measured.then(|| load_retransmits(&mut flow, btf, true));
        let drop = match &features.drop_reasons {
            Ok(_) => load_drop(loader, btf, pinning.is_none()),
            Err(why) => Err(LoadError::Kernel { kernel: kernel_release(), why: why.clone() }),
        };
        if let Some(pinning) = &mut pinning {
            (pinning.load)(loader, btf, (drop.is_ok(), device.is_ok()))?;
        }
        Ok(Loaded { flow, drop, device, layer7, connections, retransmits })
    })?
}

/// One program that was loaded for trial: number of instructions that the verifier processed, where
/// the kernel reports it.
pub(super) type Trial = (&'static str, Result<Option<u32>, LoadError>);

/// Loads each program by itself and unloads it again. Fails as a whole where the maps cannot be
/// made.
pub(super) fn try_programs(settings: &ProgramSettings, features: &Features) -> Result<Vec<Trial>, LoadError> {
    prepare(settings, None, |loader, btf| {
        let mut flow = loader.load(FLOW_OBJECT).map_err(|error| refused("flow.bpf.o", &error))?;
        let mut trials: Vec<Trial> = vec![
            (LAYER_7, try_classifiers(loader, FLOW_L7_OBJECT)),
            (CONNECTIONS, try_classifiers(loader, FLOW_ALL_OBJECT)),
            (RETRANSMITS, try_retransmits(loader, btf)),
        ];
        for name in CLASSIFIERS.into_iter().chain([FROM_PORT, TO_PORT]) {
            trials.push((name, load_classifier(&mut flow, name).map(|()| verified(&flow, name))));
        }
        for name in [SWEEP, BALANCE] {
            trials.push((name, load_run(&mut flow, name).map(|()| verified(&flow, name))));
        }
        for (name, point) in AT_DEVICE {
            trials.push((name, load_at_device(&mut flow, btf, name, point).map(|()| verified(&flow, name))));
        }
        if features.drop_reasons.is_ok() {
            trials.push((DROP, load_drop(loader, btf, true).map(|drop| verified(&drop, DROP))));
        }
        Ok(trials)
    })?
}

/// The name of the trial of all programs with layer 7.
pub(super) const LAYER_7: &str = "layer 7";

/// The name of the trial of all programs with layer 7 and connection quality.
pub(super) const CONNECTIONS: &str = "connection quality";
/// The name of the trial of the programs at retransmissions.
pub(super) const RETRANSMITS: &str = "retransmissions";

/// Loads the packet programs of an object. The instructions are those of the largest.
fn try_classifiers(loader: &mut EbpfLoader<'_>, object: &[u8]) -> Result<Option<u32>, LoadError> {
    let flow = load_flow(loader, object)?;
    Ok(CLASSIFIERS.into_iter().chain([FROM_PORT, TO_PORT]).filter_map(|name| verified(&flow, name)).max())
}

fn try_retransmits(loader: &mut EbpfLoader<'_>, btf: &Btf) -> Result<Option<u32>, LoadError> {
    let mut flow = loader.load(FLOW_QUALITY_OBJECT).map_err(|error| refused("flow_quality.bpf.o", &error))?;
    load_retransmits(&mut flow, btf, false)?;
    Ok(RETRANSMISSIONS.into_iter().filter_map(|(name, _)| verified(&flow, name)).max())
}

fn verified(object: &Ebpf, name: &str) -> Option<u32> {
    object.program(name)?.info().ok()?.verified_instruction_count()
}

/// Reads the kernel's BTF once and has `work` load objects with it.
fn prepare<R>(
    settings: &ProgramSettings,
    pinned: Option<PinPath<'_>>,
    work: impl FnOnce(&mut EbpfLoader<'_>, &Btf) -> R,
) -> Result<R, LoadError> {
    let constants = Constants::new(settings);
    let netns = network_namespace();
    let stopped = stopped_reasons();
    let l7_ring_bytes = u64::from(ring_bytes(constants.layer7.ring_bytes));
    let mut loader = EbpfLoader::new();
    // The loader has read the BTF by now and does not share it: free its copy before
    // reading ours.
    loader.btf(None);
    let btf = Btf::from_sys_fs().map_err(|error| LoadError::Kernel {
        kernel: kernel_release(),
        why: format!("its type information cannot be read (CONFIG_DEBUG_INFO_BTF): {}", chain(&error)),
    })?;
    for (name, size) in map_sizes(settings) {
        loader.map_max_entries(name, size);
    }
    loader
        .btf(Some(&btf))
        .override_global("every_packet", &constants.every_packet, false)
        .override_global("tick_ns", &constants.tick_ns, false)
        .override_global("stamp_shift", &constants.stamp_shift, false)
        .override_global("flow_ring_bytes", &constants.flow_ring_bytes, false)
        .override_global("drop_ring_bytes", &constants.drop_ring_bytes, false)
        .override_global("drop_budget", &constants.drop_budget, false)
        .override_global("tcp_timeout", &constants.tcp_timeout, false)
        .override_global("closed_timeout", &constants.closed_timeout, false)
        .override_global("half_open_timeout", &constants.half_open_timeout, false)
        .override_global("other_timeout", &constants.other_timeout, false)
        .override_global("once_timeout", &constants.once_timeout, false)
        .override_global("evictable_after", &constants.evictable_after, false)
        .override_global("claim_life", &constants.claim_life, false)
        .override_global("l7_dns_ports", &constants.layer7.dns_ports[..], false)
        .override_global("l7_http_ports", &constants.layer7.http_ports[..], false)
        .override_global("l7_http_ignored", &constants.layer7.http_ports_ignored[..], false)
        .override_global("l7_request_bytes", &constants.layer7.request_bytes, false)
        .override_global("l7_response_bytes", &constants.layer7.response_bytes, false)
        .override_global("l7_ring_bytes", &l7_ring_bytes, false)
        .override_global("stopped_reasons", &stopped[..], false)
        .override_global("retransmit_budget", &constants.retransmit_budget, false)
        .override_global("node_retransmits", &constants.node_retransmits, false)
        .override_global("host_netns", &netns, false);
    if let Some(path) = pinned {
        for name in pinned_maps().map_err(|error| refused("BTF of an object", &error))? {
            loader.map_pin_path(name, path(name));
        }
    }
    Ok(without_signals(|| work(&mut loader, &btf)))
}

/// The maximal number of entries, or of bytes for a ring, of each map that the objects do not size.
pub(super) fn map_sizes(settings: &ProgramSettings) -> [(&'static str, u32); 6] {
    let constants = Constants::new(settings);
    [
        ("connections", constants.buckets),
        ("connection_details", constants.buckets * SLOTS),
        ("flow_events", ring_bytes(settings.flow_ring_bytes)),
        ("drop_events", ring_bytes(settings.drop_ring_bytes)),
        ("l7_events", ring_bytes(constants.layer7.ring_bytes)),
        // No kernel makes a map without an entry.
        ("l7_switch", u32::from(!inject::refuses("layer7"))),
    ]
}

/// The maps that are handed over: all but the programs' constants.
fn pinned_maps() -> Result<Vec<&'static str>, BtfError> {
    let mut names = Vec::new();
    for object in [FLOW_ALL_OBJECT, DROP_OBJECT, ENTRY_OBJECT] {
        names.extend(Types::new(section(object).ok_or(BtfError::Truncated(0))?)?.map_names()?);
    }
    Ok(names)
}

fn load_flow(loader: &mut EbpfLoader<'_>, object: &[u8]) -> Result<Ebpf, LoadError> {
    let mut flow = loader.load(object).map_err(|error| refused("flow.bpf.o", &error))?;
    for name in CLASSIFIERS.into_iter().chain([FROM_PORT, TO_PORT]) {
        load_classifier(&mut flow, name)?;
    }
    load_run(&mut flow, SWEEP)?;
    load_run(&mut flow, BALANCE)?;
    Ok(flow)
}

/// The flow object, and the outcome for each part of it that can be left out; none if it is not
/// wanted.
struct Flow {
    object: Ebpf,
    layer7: Option<Result<(), LoadError>>,
    connections: Option<Result<(), LoadError>>,
}

/// The flow object with these parts.
pub(super) fn flow_object(layer7: bool, connections: bool) -> &'static [u8] {
    match (layer7, connections) {
        (false, false) => FLOW_OBJECT,
        (true, false) => FLOW_L7_OBJECT,
        (false, true) => FLOW_QUALITY_OBJECT,
        (true, true) => FLOW_ALL_OBJECT,
    }
}

/// Loads the flow object with the parts that are wanted. What the kernel refuses is left out, with
/// the reason.
fn load_wanted(loader: &mut EbpfLoader<'_>, settings: &ProgramSettings) -> Result<Flow, LoadError> {
    let wanted = (settings.layer7.is_some(), settings.connections);
    let outcome = |part: bool| part.then_some(Ok(()));
    let error = match load_flow(loader, flow_object(wanted.0, wanted.1)) {
        Ok(object) => return Ok(Flow { object, layer7: outcome(wanted.0), connections: outcome(wanted.1) }),
        Err(error) => error,
    };
    match wanted {
        (false, false) => Err(error),
        (true, false) => {
            Ok(Flow { object: load_flow(loader, FLOW_OBJECT)?, layer7: Some(Err(error)), connections: None })
        }
        (false, true) => {
            Ok(Flow { object: load_flow(loader, FLOW_OBJECT)?, layer7: None, connections: Some(Err(error)) })
        }
        (true, true) => match load_flow(loader, FLOW_L7_OBJECT) {
            Ok(object) => Ok(Flow { object, layer7: Some(Ok(())), connections: Some(Err(error)) }),
            Err(error) => match load_flow(loader, FLOW_QUALITY_OBJECT) {
                Ok(object) => Ok(Flow { object, layer7: Some(Err(error)), connections: Some(Ok(())) }),
                Err(other) => Ok(Flow {
                    object: load_flow(loader, FLOW_OBJECT)?,
                    layer7: Some(Err(error)),
                    connections: Some(Err(other)),
                }),
            },
        },
    }
}

fn load_retransmits(flow: &mut Ebpf, btf: &Btf, attach: bool) -> Result<(), LoadError> {
    for (name, point) in RETRANSMISSIONS {
        load_at_device(flow, btf, name, point)?;
        if attach {
            let program: &mut BtfTracePoint = program(flow, name)?;
            program.attach().map_err(|error| refused(name, &error))?;
        }
    }
    Ok(())
}

fn load_device(flow: &mut Ebpf, btf: &Btf) -> Result<(), LoadError> {
    for (name, point) in AT_DEVICE {
        load_at_device(flow, btf, name, point)?;
    }
    Ok(())
}

fn load_at_device(flow: &mut Ebpf, btf: &Btf, name: &str, point: &str) -> Result<(), LoadError> {
    let program = program::<BtfTracePoint>(flow, name)?;
    program.load(point, btf).map_err(|error| refused(name, &error))
}

fn load_classifier(flow: &mut Ebpf, name: &str) -> Result<(), LoadError> {
    let program = program::<SchedClassifier>(flow, name)?;
    program.load().map_err(|error| refused(name, &error))
}

/// A program that is never attached, only run.
fn load_run(flow: &mut Ebpf, name: &str) -> Result<(), LoadError> {
    let program = program::<RawTracePoint>(flow, name)?;
    program.load().map_err(|error| refused(name, &error))
}

fn load_drop(loader: &mut EbpfLoader<'_>, btf: &Btf, attach: bool) -> Result<Ebpf, LoadError> {
    let mut drop = loader.load(DROP_OBJECT).map_err(|error| refused("drop.bpf.o", &error))?;
    let tracepoint: &mut BtfTracePoint = program(&mut drop, DROP)?;
    tracepoint.load("kfree_skb", btf).map_err(|error| refused("the drop program (tp_btf/kfree_skb)", &error))?;
    if attach {
        tracepoint.attach().map_err(|error| refused("attaching to kfree_skb", &error))?;
    }
    Ok(drop)
}

/// A program of an object by name.
pub(super) fn program<'a, P>(object: &'a mut Ebpf, name: &str) -> Result<&'a mut P, LoadError>
where
    &'a mut P: TryFrom<&'a mut aya::programs::Program, Error = aya::programs::ProgramError>,
{
    object
        .program_mut(name)
        .ok_or_else(|| LoadError::Refused { object: name.to_owned(), why: "it is not in the object".to_owned() })?
        .try_into()
        .map_err(|error| refused(name, &error))
}

/// A map of an object by name.
pub(super) fn take_map<T>(object: &mut Ebpf, name: &str) -> Result<T, LoadError>
where
    T: TryFrom<aya::maps::Map, Error = aya::maps::MapError>,
{
    let map = object.take_map(name).ok_or_else(|| LoadError::Kernel {
        kernel: kernel_release(),
        why: format!("map {name} is not in the object"),
    })?;
    T::try_from(map).map_err(|error| refused(name, &error))
}

pub(super) fn refused(object: &str, error: &(dyn std::error::Error + 'static)) -> LoadError {
    LoadError::Refused { object: object.to_owned(), why: refusal(error) }
}

/// Kernel release, as `uname -r` prints it.
pub(super) fn kernel_release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// The number of our network namespace, as the kernel's `ns.inum`.
pub(super) fn network_namespace() -> u32 {
    rustix::fs::stat("/proc/thread-self/ns/net").ok().and_then(|stat| u32::try_from(stat.st_ino).ok()).unwrap_or(0)
}

/// The drop reasons, a bit each, that the kernel gives on the way out of an interface behind its
/// egress hook: those of other tc programs and of queues. Their numbers are the running kernel's;
/// where it has no names, no bit is set.
fn stopped_reasons() -> [u64; 4] {
    let mut bits = [0; 4];
    for (number, name) in super::reasons::drop_reasons().unwrap_or_default() {
        let queue = ["QDISC_", "FQ_", "CAKE_"].iter().any(|prefix| name.starts_with(prefix));
        if (queue || name == "TC_EGRESS")
            && let Some(word) = bits.get_mut(number as usize / 64)
        {
            *word |= 1 << (number % 64);
        }
    }
    bits
}
