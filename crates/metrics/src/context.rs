//! Context options: which labels name the two ends of a flow (hubble-contract §2.1 to §2.3).

use std::net::{IpAddr, Ipv6Addr};

use webb_flow::sym::Sym;
use webb_flow::{Address, Direction, Extra, Family, Flow};
use webb_index::{End, Endpoint, Index};

use super::value::Value;

/// Error in the values of a context option: Hubble's texts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContextError {
    /// Not an identifier.
    #[error("unknown context '{0}'")]
    Unknown(String),
    /// Not a label of `labelsContext`.
    #[error("invalid labelsContext value: {0}")]
    InvalidLabel(String),
}

/// Errors in the values of an option, each with the number of its value.
pub type WrongValues = Vec<(usize, ContextError)>;

/// An identifier of an endpoint (hubble-contract §2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of hubble-contract §2.2")]
pub enum Identifier {
    Identity,
    Namespace,
    Pod,
    PodName,
    Dns,
    Ip,
    ReservedIdentity,
    Workload,
    WorkloadName,
    WorkloadKind,
    App,
    Service,
    Cluster,
    Node,
    Zone,
    Region,
}

/// The identifiers that an option may name. `WorkloadKind`, `Service` and `Cluster` exist only as
/// labels.
const IDENTIFIERS: [(&str, Identifier); 13] = [
    ("identity", Identifier::Identity),
    ("namespace", Identifier::Namespace),
    ("pod", Identifier::Pod),
    ("pod-name", Identifier::PodName),
    ("dns", Identifier::Dns),
    ("ip", Identifier::Ip),
    ("reserved-identity", Identifier::ReservedIdentity),
    ("workload", Identifier::Workload),
    ("workload-name", Identifier::WorkloadName),
    ("app", Identifier::App),
    ("node", Identifier::Node),
    ("zone", Identifier::Zone),
    ("region", Identifier::Region),
];

/// A label of `labelsContext`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Label {
    Name(End, Identifier),
    TrafficDirection,
}

/// The labels of `labelsContext` in their fixed order. Hubble's come first; it has none for
/// services, clusters and places.
const LABELS: [(&str, Label); 23] = [
    ("source_ip", Label::Name(End::Source, Identifier::Ip)),
    ("source_pod", Label::Name(End::Source, Identifier::PodName)),
    ("source_namespace", Label::Name(End::Source, Identifier::Namespace)),
    ("source_workload", Label::Name(End::Source, Identifier::WorkloadName)),
    ("source_workload_kind", Label::Name(End::Source, Identifier::WorkloadKind)),
    ("source_app", Label::Name(End::Source, Identifier::App)),
    ("destination_ip", Label::Name(End::Destination, Identifier::Ip)),
    ("destination_pod", Label::Name(End::Destination, Identifier::PodName)),
    ("destination_namespace", Label::Name(End::Destination, Identifier::Namespace)),
    ("destination_workload", Label::Name(End::Destination, Identifier::WorkloadName)),
    ("destination_workload_kind", Label::Name(End::Destination, Identifier::WorkloadKind)),
    ("destination_app", Label::Name(End::Destination, Identifier::App)),
    ("traffic_direction", Label::TrafficDirection),
    ("source_service", Label::Name(End::Source, Identifier::Service)),
    ("destination_service", Label::Name(End::Destination, Identifier::Service)),
    ("source_cluster", Label::Name(End::Source, Identifier::Cluster)),
    ("destination_cluster", Label::Name(End::Destination, Identifier::Cluster)),
    ("source_node", Label::Name(End::Source, Identifier::Node)),
    ("source_zone", Label::Name(End::Source, Identifier::Zone)),
    ("source_region", Label::Name(End::Source, Identifier::Region)),
    ("destination_node", Label::Name(End::Destination, Identifier::Node)),
    ("destination_zone", Label::Name(End::Destination, Identifier::Zone)),
    ("destination_region", Label::Name(End::Destination, Identifier::Region)),
];

/// The labels of one pod, of metrics about one end of a flow: its source.
pub const POD_LABELS: [&str; 2] = ["namespace", "pod_name"];

/// [`POD_LABELS`] with what they show.
const OF_POD: [(&str, Label); 2] = [
    (POD_LABELS[0], Label::Name(End::Source, Identifier::Namespace)),
    (POD_LABELS[1], Label::Name(End::Source, Identifier::PodName)),
];

/// The three lists for the label `source`, or for `destination`. An empty one counts as not set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Side {
    plain: Vec<Identifier>,
    ingress: Vec<Identifier>,
    egress: Vec<Identifier>,
}

impl Side {
    fn is_set(&self) -> bool {
        self.lists().any(|list| !list.is_empty())
    }

    fn is_directional(&self) -> bool {
        !self.ingress.is_empty() || !self.egress.is_empty()
    }

    fn lists(&self) -> impl Iterator<Item = &Vec<Identifier>> {
        [&self.plain, &self.ingress, &self.egress].into_iter()
    }

    fn list(&self, direction: Direction) -> &[Identifier] {
        match direction {
            Direction::Ingress if !self.ingress.is_empty() => &self.ingress,
            Direction::Egress if !self.egress.is_empty() => &self.egress,
            _ => &self.plain,
        }
    }
}

/// The inputs that a context's values depend on, so that a cache key can leave out the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(clippy::struct_excessive_bools, reason = "independent facts, each of them yes or no")]
pub struct Uses {
    /// A name of the source.
    pub source: bool,
    /// A name of the destination.
    pub destination: bool,
    /// The source's address.
    pub source_ip: bool,
    /// The destination's address.
    pub destination_ip: bool,
    /// The source's DNS names.
    pub source_dns: bool,
    /// The destination's DNS names.
    pub destination_dns: bool,
    /// The service of an end.
    pub service: bool,
    /// The direction of the flow.
    pub direction: bool,
}

impl Uses {
    fn note(&mut self, end: End, identifier: Identifier) {
        match (end, identifier) {
            (End::Source, Identifier::Ip) => self.source_ip = true,
            (End::Destination, Identifier::Ip) => self.destination_ip = true,
            (End::Source, Identifier::Dns) => self.source_dns = true,
            (End::Destination, Identifier::Dns) => self.destination_dns = true,
            (_, Identifier::Service) => self.service = true,
            (End::Source, _) => self.source = true,
            (End::Destination, _) => self.destination = true,
        }
    }
}

/// The inputs of a context's values.
#[derive(Debug, Clone, Copy)]
pub struct Ends<'a> {
    /// The flow.
    pub flow: &'a Flow,
    /// Its optional parts.
    pub extra: Option<&'a Extra>,
    /// The index of its batch.
    pub index: &'a Index,
    /// Its source, in that index.
    pub source: &'a Endpoint,
    /// Its destination, likewise.
    pub destination: &'a Endpoint,
}

impl Ends<'_> {
    fn value(self, end: End, identifier: Identifier) -> Value {
        if identifier == Identifier::Ip { self.address(end) } else { Value::Name(self.name(end, identifier)) }
    }

    /// The address at one end; empty where there is none.
    fn address(self, end: End) -> Value {
        let address = if end == End::Source { self.flow.source_ip } else { self.flow.destination_ip };
        // An IP message may lack one address; nothing but IPv6's `::` is all zeros.
        let absent = address == Address::default() && self.flow.family != Family::V6;
        if absent || !is_addressed(self.flow, self.extra) {
            Value::EMPTY
        } else if mapped(self.extra, end) {
            Value::Ip(IpAddr::V6(Ipv6Addr::from(address.0)))
        } else {
            Value::Ip(address.ip())
        }
    }

    fn name(self, end: End, identifier: Identifier) -> Sym {
        let endpoint = match end {
            End::Source => self.source,
            End::Destination => self.destination,
        };
        match identifier {
            Identifier::Identity => self.index.identity(end.id(self.flow)),
            Identifier::Namespace => endpoint.namespace,
            Identifier::Pod => endpoint.pod,
            Identifier::PodName => endpoint.pod_name,
            Identifier::Dns => end.dns_names(self.flow, self.extra, self.index),
            // An address is no name.
            Identifier::Ip => Sym::EMPTY,
            Identifier::ReservedIdentity => endpoint.reserved_identity,
            Identifier::Workload => endpoint.workload,
            Identifier::WorkloadName => endpoint.workload_name,
            Identifier::WorkloadKind => endpoint.workload_kind,
            Identifier::App => endpoint.app,
            Identifier::Service => end.service(self.flow, self.extra, self.index),
            Identifier::Cluster => endpoint.cluster,
            Identifier::Node => self.index.zones().node(endpoint),
            Identifier::Zone => self.index.zones().find(endpoint).zone,
            Identifier::Region => self.index.zones().find(endpoint).region,
        }
    }

    /// The first value of the list that is not empty.
    fn first(self, end: End, list: &[Identifier]) -> Value {
        let value = list.iter().map(|&identifier| self.value(end, identifier)).find(|value| !value.is_empty());
        let value = value.unwrap_or(Value::EMPTY);
        if list.contains(&Identifier::Ip) { value.canonical() } else { value }
    }
}

/// A flow may have an IP message that does not say its version.
pub(super) fn is_addressed(flow: &Flow, extra: Option<&Extra>) -> bool {
    extra.map_or(flow.family != Family::NotUsed, |extra| extra.has_ip)
}

/// True if the address of an end is written as IPv6 though it is IPv4's.
pub(super) fn mapped(extra: Option<&Extra>, end: End) -> bool {
    extra.is_some_and(|extra| if end == End::Source { extra.mapped.source } else { extra.mapped.destination })
}

/// The context of one metric: which labels, and where their values come from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContextSpec {
    /// Source and destination are swapped (hubble-contract §2.4).
    inverted: bool,
    /// The flow's destination is the source of all labels, and the other way round.
    exchanged: bool,
    labels: Vec<(&'static str, Label)>,
    source: Side,
    destination: Side,
    /// Whether an option for `source`, or for `destination`, has ever listed `pod`, even if a later
    /// one replaced it.
    pods: [bool; 2],
}

impl ContextSpec {
    /// Applies an option, with its name in any case; a repeated one replaces the earlier.
    /// `Ok(false)` if it is none of the context options.
    ///
    /// # Errors
    /// Each value that is wrong.
    pub fn set(&mut self, option: &str, values: &[String]) -> Result<bool, WrongValues> {
        let list = match option.to_ascii_lowercase().as_str() {
            "labelscontext" => {
                self.labels = labels(values)?;
                return Ok(true);
            }
            "sourcecontext" => &mut self.source.plain,
            "sourceingresscontext" => &mut self.source.ingress,
            "sourceegresscontext" => &mut self.source.egress,
            "destinationcontext" => &mut self.destination.plain,
            "destinationingresscontext" => &mut self.destination.ingress,
            "destinationegresscontext" => &mut self.destination.egress,
            _ => return Ok(false),
        };
        let of_source = option.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("source"));
        *list = each(values, identifier)?;
        let [source, destination] = &mut self.pods;
        *(if of_source { source } else { destination }) |= list.contains(&Identifier::Pod);
        Ok(true)
    }

    /// Adds labels that it has in any case.
    #[must_use]
    pub fn with_labels(mut self, names: &[&'static str]) -> Self {
        let known = LABELS.into_iter().chain(OF_POD);
        let is_wanted = |name: &&str| names.contains(name) || self.labels.iter().any(|(label, _)| label == name);
        self.labels = known.filter(|(name, _)| is_wanted(name)).collect();
        self
    }

    /// True if a list for the label of this end names pods: series of a deleted pod are recognized
    /// by it.
    pub fn lists_pod(&self, end: End) -> bool {
        let [source, destination] = self.pods;
        if end == End::Source { source } else { destination }
    }

    /// The same labels with both ends in each other's place: `source_*` shows the destination, and
    /// the finished values of `source` and `destination` are swapped, each still worked out by
    /// its own list from its own end.
    #[must_use]
    pub fn inverted(mut self) -> Self {
        for (_, label) in &mut self.labels {
            if let Label::Name(end, _) = label {
                *end = end.other();
            }
        }
        self.inverted = !self.inverted;
        self
    }

    /// The same labels about flows that go the other way: every value of the source, by its list,
    /// is the destination's.
    #[must_use]
    pub fn exchanged(mut self) -> Self {
        for (_, label) in &mut self.labels {
            if let Label::Name(end, _) = label {
                *end = end.other();
            }
        }
        self.exchanged = !self.exchanged;
        self
    }

    /// The end of the flow that is the end of a label.
    fn end_of_flow(&self, end: End) -> End {
        if self.exchanged { end.other() } else { end }
    }

    /// True if it adds no label.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty() && !self.source.is_set() && !self.destination.is_set()
    }

    /// The names of its labels, in the order of [`ContextSpec::values`].
    pub fn label_names(&self) -> Vec<&'static str> {
        let mut names: Vec<&'static str> = self.labels.iter().map(|&(name, _)| name).collect();
        names.extend(self.source.is_set().then_some("source"));
        names.extend(self.destination.is_set().then_some("destination"));
        names
    }

    /// Parts of a flow that its values depend on.
    pub fn uses(&self) -> Uses {
        let mut uses =
            Uses { direction: self.source.is_directional() || self.destination.is_directional(), ..Uses::default() };
        for &(_, label) in &self.labels {
            match label {
                Label::Name(end, identifier) => uses.note(end, identifier),
                Label::TrafficDirection => uses.direction = true,
            }
        }
        for (end, side) in [(End::Source, &self.source), (End::Destination, &self.destination)] {
            for &identifier in side.lists().flatten() {
                uses.note(self.end_of_flow(end), identifier);
            }
        }
        uses
    }

    /// Appends the values of its labels for one flow.
    pub fn values(&self, ends: Ends<'_>, out: &mut Vec<Value>) {
        let direction = ends.flow.direction;
        for &(_, label) in &self.labels {
            out.push(match label {
                Label::Name(end, identifier) => ends.value(end, identifier),
                Label::TrafficDirection => Value::Name(Sym::new(direction.label())),
            });
        }
        let sides = [(End::Source, &self.source), (End::Destination, &self.destination)];
        let mut finished = sides.map(|(end, side)| ends.first(self.end_of_flow(end), side.list(direction)));
        if self.inverted {
            finished.reverse();
        }
        out.extend(sides.into_iter().zip(finished).filter(|((_, side), _)| side.is_set()).map(|(_, value)| value));
    }
}

fn identifier(value: &str) -> Result<Identifier, ContextError> {
    let known = IDENTIFIERS.iter().find(|(name, _)| name.eq_ignore_ascii_case(value));
    known.map(|&(_, identifier)| identifier).ok_or_else(|| ContextError::Unknown(value.to_owned()))
}

/// The labels named, in the fixed order, each once. Names are case-sensitive here.
fn labels(values: &[String]) -> Result<Vec<(&'static str, Label)>, WrongValues> {
    let named = each(values, |value| {
        let known = LABELS.iter().position(|(name, _)| *name == value);
        known.ok_or_else(|| ContextError::InvalidLabel(value.to_owned()))
    })?;
    Ok(LABELS.into_iter().enumerate().filter(|(at, _)| named.contains(at)).map(|(_, label)| label).collect())
}

/// The meaning of each value, or all errors.
fn each<T>(values: &[String], read: impl Fn(&str) -> Result<T, ContextError>) -> Result<Vec<T>, WrongValues> {
    let (mut meanings, mut errors) = (Vec::new(), Vec::new());
    for (at, value) in values.iter().enumerate() {
        match read(value) {
            Ok(meaning) => meanings.push(meaning),
            Err(error) => errors.push((at, error)),
        }
    }
    if errors.is_empty() { Ok(meanings) } else { Err(errors) }
}
