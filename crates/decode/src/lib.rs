//! Decodes kernel records into [`Flow`]s with both ends looked up.
//!
//! A record is trusted in nothing: version, length and every number that means something are
//! checked, and what doesn't hold is a [`DecodeError`] for the caller to count. Decoding costs two
//! hash probes and a few comparisons; it takes no lock and allocates nothing.
//!
//! Few flows are [`Decoded::NeedsLookup`]: those with an address that may be translated
//! ([`services`]) or whose pod is not known yet, and those that policies apply to ([`verdicts`],
//! [`drops`]). The caller, which has the tables, does a second lookup; all others are complete.

pub mod attempts;
pub mod connections;
pub mod drops;
mod error;
pub mod expiring;
mod fuzz;
pub mod l7;
pub mod nat;
mod one_sided;
pub mod policy_changes;
pub mod services;
pub mod verdicts;

use std::mem::size_of;
use std::sync::Arc;

use drops::{DropDecision, Suspect};
pub use error::DecodeError;
pub use fuzz::fuzz;
pub use one_sided::OneSided;
use webb_flow::abi::{self, Record, flag, kind};
use webb_flow::{
    Address, Direction, EndpointId, Event, Family, Flow, L4, Point, Reasons, Reply, SctpChunk, Sort, TcpFlags, Verdict,
};
use webb_index::Index;
use zerocopy::FromBytes;

/// `enum webb_hook` of `bpf/include/abi.h`.
mod hook {
    pub(super) const FROM_POD: u8 = 0;
    pub(super) const TO_POD: u8 = 1;
    pub(super) const FROM_NETWORK: u8 = 2;
    pub(super) const TO_NETWORK: u8 = 3;
    pub(super) const DROP: u8 = 4;
}

/// The kind of a decoded record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decoded {
    /// A flow.
    Flow,
    /// A flow that needs a second lookup.
    NeedsLookup(LookupReasons),
    /// A packet that the kernel dropped and that no pod sent or was sent: none of ours.
    Foreign,
}

impl Decoded {
    /// False if the decoded record is to be discarded.
    #[inline]
    pub fn is_flow(self) -> bool {
        self != Self::Foreign
    }
}

/// The reasons for a second lookup of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LookupReasons {
    /// True if one of its addresses may be translated.
    pub front: bool,
    /// True for the first packet of a connection, at a pod's own interface.
    pub opens: bool,
    /// Suspicion of a policy's denial: it was dropped under a reason that an enforcer of policies
    /// gives.
    pub suspect: Option<Suspect>,
}

/// Decodes records into flows.
#[derive(Debug, Clone)]
pub struct Decoder {
    reasons: Reasons,
    one_sided: Arc<OneSided>,
}

impl Decoder {
    /// A decoder for the kernel that has these drop reasons.
    pub fn new(reasons: Reasons) -> Self {
        Self::with_one_sided(reasons, Arc::default())
    }

    /// A decoder with a counter of one-sided connections.
    pub fn with_one_sided(reasons: Reasons, one_sided: Arc<OneSided>) -> Self {
        Self { reasons, one_sided }
    }

    /// Writes the flow in `bytes` to `flow`, its ends resolved by `index`. The flow is written in
    /// place, since moving it costs more than a lookup; it means something only after
    /// [`Decoded::Flow`] and [`Decoded::NeedsLookup`].
    ///
    /// # Errors
    /// If `bytes` is no record that this version of the programs writes.
    #[inline]
    pub fn decode(&self, bytes: &[u8], index: &Index, flow: &mut Flow) -> Result<Decoded, DecodeError> {
        let record = record(bytes)?;
        if record.flags & flag::ONE_SIDED != 0 {
            self.one_sided.note(record.ifindex);
        }
        if usize::from(record.event) >= abi::EVENTS || record.event == abi::event::DROPPED {
            return Err(DecodeError::Event);
        }
        let event = event(&record)?;
        let point = point(record.hook, event)?;
        let family = family(record.family)?;
        *flow = Flow {
            time_ns: record.time_ns,
            source_ip: Address(record.source),
            destination_ip: Address(record.destination),
            bytes: record.bytes,
            packets: record.packets,
            ifindex: record.ifindex,
            source_port: record.source_port,
            destination_port: record.destination_port,
            icmp_type: record.icmp_type,
            icmp_code: record.icmp_code,
            l4: layer_4(&record, family),
            family,
            event,
            point,
            verdict: Verdict::Forwarded,
            direction: direction(&record),
            reply: if record.flags & flag::REPLY == 0 { Reply::No } else { Reply::Yes },
            ..Flow::default()
        };
        match flow.l4 {
            L4::Tcp => flow.tcp_flags = TcpFlags::known(u16::from(record.tcp_flags)),
            L4::Sctp => flow.sctp_chunk = SctpChunk::of_wire(record.icmp_type),
            _ => {}
        }
        if family != Family::NotUsed {
            name(flow, index);
        }
        if event == Event::Drop {
            if connections::is_syn(flow) {
                *flow = flow.with_sequence(record.value);
            }
            return Ok(self.dropped(flow, record.reason, index));
        }
        let front = flow.source.any_front(flow.destination);
        let opens = record.kind == kind::NEW && opens(flow, &record);
        Ok(if front || opens {
            Decoded::NeedsLookup(LookupReasons { front, opens, suspect: None })
        } else {
            Decoded::Flow
        })
    }

    /// Completes a drop. Its record has no connection and no direction, so the end that is a pod of
    /// this node determines the direction.
    #[inline(never)]
    fn dropped(&self, flow: &mut Flow, reason: u32, index: &Index) -> Decoded {
        let ends = [flow.source, flow.destination];
        if !ends.iter().any(|end| matches!(end.sort(), Sort::Local | Sort::Remote | Sort::Unnamed)) {
            return Decoded::Foreign;
        }
        flow.verdict = Verdict::Dropped;
        flow.reply = Reply::Unknown;
        flow.reason = self.reasons.get(reason);
        flow.direction = drops::direction(flow);
        let suspect = self.reasons.may_be_policy(reason).then(|| self.suspect(flow));
        let denial = suspect.map_or(DropDecision::Other, |suspect| suspect.evaluate(flow, index));
        let front = flow.source.any_front(flow.destination);
        if front || denial != DropDecision::Other {
            Decoded::NeedsLookup(LookupReasons { front, opens: false, suspect })
        } else {
            Decoded::Flow
        }
    }

    fn suspect(&self, flow: &Flow) -> Suspect {
        Suspect { kernel: flow.reason, denied: self.reasons.policy_denied(), deny: self.reasons.policy_deny() }
    }
}

/// The end at a pod's own interface: an address without an owner (of a second network, or
/// link-local) is the pod's, which may not be known yet. So is one that another cluster claims.
#[inline]
fn at_pod_interface(end: EndpointId, address: Address, ifindex: u32, index: &Index) -> EndpointId {
    match end.sort() {
        Sort::World | Sort::Unnamed => {
            index.pod_at_interface(ifindex).or_else(|| index.unnamed_at_pod(address)).unwrap_or(end)
        }
        Sort::Mesh => index.pod_at_interface(ifindex).unwrap_or(end),
        _ => end,
    }
}

/// True for multicast and for the broadcast address.
fn is_multicast(address: Address) -> bool {
    match address.v4() {
        Some(v4) => v4 >> 28 == 0xe || v4 == u32::MAX,
        None => address.bits() >> 120 == 0xff,
    }
}

/// Looks up both ends in `index`.
#[inline]
pub fn name(flow: &mut Flow, index: &Index) {
    flow.source = index.find_at(flow.source_ip, flow.time_ns);
    flow.destination = index.find_at(flow.destination_ip, flow.time_ns);
    let source_is_pod = match (flow.event, flow.point) {
        // From opener to acceptor, whichever of the two sent the packet.
        (Event::Connection, _) => flow.is_reported_by_opener(),
        (_, Point::ToStack) => Some(true),
        (_, Point::ToEndpoint) => Some(false),
        _ => None,
    };
    match source_is_pod {
        Some(true) => flow.source = at_pod_interface(flow.source, flow.source_ip, flow.ifindex, index),
        Some(false) if !is_multicast(flow.destination_ip) => {
            flow.destination = at_pod_interface(flow.destination, flow.destination_ip, flow.ifindex, index);
        }
        _ => {}
    }
}

/// The record in `bytes`. The version comes first: another version may well have another length.
fn record(bytes: &[u8]) -> Result<Record, DecodeError> {
    match bytes.first() {
        None => return Err(DecodeError::Short),
        Some(&version) if version != abi::VERSION => return Err(DecodeError::Version),
        Some(_) => {}
    }
    let (record, rest) = Record::read_from_prefix(bytes).map_err(|_| DecodeError::Short)?;
    if usize::from(record.length) != size_of::<Record>() || !rest.is_empty() {
        return Err(DecodeError::Length);
    }
    Ok(record)
}

fn event(record: &Record) -> Result<Event, DecodeError> {
    match record.kind {
        kind::NEW | kind::FLAGS | kind::INTERVAL | kind::PACKET => Ok(Event::Trace),
        kind::FLUSH | kind::EVENT => Ok(Event::Flush),
        kind::DROP => Ok(Event::Drop),
        _ => Err(DecodeError::Kind),
    }
}

/// Hubble's observation point of a hook. The drop point has none, and only drops come from there.
fn point(hook: u8, event: Event) -> Result<Point, DecodeError> {
    match (hook, event == Event::Drop) {
        (hook::FROM_POD, false) => Ok(Point::ToStack),
        (hook::TO_POD, false) => Ok(Point::ToEndpoint),
        (hook::FROM_NETWORK, false) => Ok(Point::FromNetwork),
        (hook::TO_NETWORK, false) => Ok(Point::ToNetwork),
        (hook::DROP, true) => Ok(Point::Other),
        _ => Err(DecodeError::Hook),
    }
}

fn family(number: u8) -> Result<Family, DecodeError> {
    match number {
        0 => Ok(Family::NotUsed),
        4 => Ok(Family::V4),
        6 => Ok(Family::V6),
        _ => Err(DecodeError::Family),
    }
}

/// VRRP and IGMP are known by their number alone; of a fragment not even that is sure to be
/// followed by its header.
fn layer_4(record: &Record, family: Family) -> L4 {
    if family == Family::NotUsed || record.flags & flag::FRAGMENT != 0 {
        return L4::None;
    }
    match L4::of_protocol(record.protocol) {
        known @ (L4::Vrrp | L4::Igmp) => known,
        known if record.flags & flag::NO_L4 == 0 => known,
        _ => L4::None,
    }
}

/// True for the first packet of a connection that is really its first: nothing that was picked up
/// midway.
fn opens(flow: &Flow, record: &Record) -> bool {
    if flow.reply == Reply::Yes || record.flags & flag::GUESSED != 0 {
        return false;
    }
    match (flow.point, flow.l4) {
        (Point::ToStack | Point::ToEndpoint, L4::Tcp) => {
            flow.tcp_flags.has(TcpFlags::SYN) && !flow.tcp_flags.has(TcpFlags::ACK)
        }
        (Point::ToStack | Point::ToEndpoint, L4::Sctp) => flow.sctp_chunk == SctpChunk::Init,
        (Point::ToStack | Point::ToEndpoint, L4::Udp) => true,
        _ => false,
    }
}

/// Direction of the connection, seen from the pod behind the interface. At the node's own devices
/// there is no such pod: a connection that passes there is neither in nor out, and Hubble has no
/// direction for it either.
fn direction(record: &Record) -> Direction {
    match record.hook {
        hook::FROM_POD | hook::TO_POD if record.flags & flag::EGRESS != 0 => Direction::Egress,
        hook::FROM_POD | hook::TO_POD => Direction::Ingress,
        _ => Direction::Unknown,
    }
}
