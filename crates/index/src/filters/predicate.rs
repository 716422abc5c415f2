//! The predicates that a filter is made of: one for each field that is set.

use std::sync::Arc;

use regex::bytes::Regex;
use webb_flow::sym::Sym;
use webb_flow::{EndpointId, Extra, L4, Reason};

use super::address::AddressMatch;
use super::cel::Expressions;
use super::flow_view::{FlowView, SubType};
use super::match_cache::MatchCache;
use super::names::{NodePattern, Pattern, Prefix};
use super::reads::Layer7Reads;
use super::selector::{Selector, label};
use super::spec::{HeaderSpec, InterfaceSpec, OtherEvent, WorkloadSpec};
use super::status::Status;
use super::uri;
use crate::{End, ServiceName};

/// The label that holds the name of a pod's cluster.
const CLUSTER: (&str, &str) = ("k8s", "io.cilium.k8s.policy.cluster");

/// One value of `event_type`.
#[derive(Debug, Clone)]
pub(super) struct EventPredicate {
    /// 0 is any.
    pub(super) kind: i32,
    /// Number of the sub-type, with the reason that a drop of that number has.
    pub(super) sub_type: Option<(i32, Reason)>,
}

/// One value of `protocol`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    L4(L4),
    Icmp,
    Dns,
    Http,
}

/// One field. Its values are alternatives. In the order of their cost.
#[derive(Debug, Clone)]
pub(super) enum Predicate {
    Verdict(Vec<i32>),
    Direction(Vec<i32>),
    IpVersion(Vec<i32>),
    Reply(Vec<bool>),
    Encrypted(Vec<bool>),
    Protocol(Vec<Protocol>),
    Port(End, Vec<u16>),
    TcpFlags(Vec<u16>),
    DropReason(Vec<(i32, Reason)>),
    Event(Vec<EventPredicate>),
    Identity(End, Vec<u32>),
    Interface(Vec<InterfaceSpec>),
    IpTraceId(Vec<u64>),
    Address(End, Vec<AddressMatch>),
    Translated(Vec<AddressMatch>),
    Pod(End, Vec<Prefix>, MatchCache),
    Label(End, Vec<Selector>, MatchCache),
    Workload(End, Vec<WorkloadSpec>, MatchCache),
    Cluster(End, Vec<String>, MatchCache),
    Fqdn(End, Vec<Pattern>, MatchCache),
    Status(Vec<Status>),
    Uuid(Vec<String>),
    TraceId(Vec<String>),
    Service(End, Vec<Prefix>, MatchCache),
    Method(Vec<String>),
    Header(Vec<HeaderSpec>),
    /// Patterns of the node's name, and true if the flows of this node match.
    Node(Vec<NodePattern>, bool),
    /// Selectors of the node's labels, and whether this node's match; none while they are not
    /// known.
    NodeLabel(Vec<Selector>, Option<bool>),
    DnsQuery(Vec<Regex>),
    Url(Vec<Regex>),
    Path(Vec<Regex>),
    Expression(Expressions),
}

impl Predicate {
    /// Adds the fields of layer 7 that this reads.
    pub(super) fn reads(&self, reads: &mut Layer7Reads) {
        match self {
            Self::DnsQuery(_) => reads.query = true,
            Self::Fqdn(..) => reads.names = true,
            Self::Url(_) | Self::Path(_) => reads.url = true,
            Self::Header(_) => reads.headers = true,
            Self::TraceId(_) => reads.trace = true,
            Self::Expression(expressions) => reads.add(expressions.reads()),
            _ => {}
        }
    }

    pub(super) fn set_local_node(&mut self, node: &str) {
        match self {
            Self::Node(patterns, home) => *home = patterns.iter().any(|pattern| pattern.fits(node)),
            Self::Expression(expressions) => expressions.set_local_node(node),
            _ => {}
        }
    }

    pub(super) fn set_local_node_labels(&mut self, labels: &Arc<[String]>) {
        match self {
            Self::NodeLabel(selectors, home) => *home = Some(select(selectors, labels)),
            Self::Expression(expressions) => expressions.set_local_node_labels(labels),
            _ => {}
        }
    }

    /// True if this reads the id of a flow, or the name of its interface.
    pub(super) fn reads_details(&self) -> bool {
        match self {
            Self::Uuid(_) => true,
            Self::Interface(wanted) => wanted.iter().any(|interface| !interface.name.is_empty()),
            _ => false,
        }
    }

    /// True if this is a node's name that is not this node's.
    pub(super) fn wants_other_nodes(&self) -> bool {
        matches!(self, Self::Node(_, home) if !home)
    }

    /// Clears the cache of match results, if the predicate has one.
    pub(super) fn clear_cache(&self) {
        match self {
            Self::Pod(_, _, cache)
            | Self::Label(_, _, cache)
            | Self::Workload(_, _, cache)
            | Self::Cluster(_, _, cache)
            | Self::Fqdn(_, _, cache)
            | Self::Service(_, _, cache) => cache.clear(),
            Self::Expression(expressions) => expressions.clear(),
            _ => {}
        }
    }

    pub(super) fn matches(&self, view: &FlowView<'_>) -> bool {
        let flow = view.flow;
        match self {
            Self::Verdict(wanted) => wanted.contains(&view.verdict()),
            Self::Direction(wanted) => wanted.contains(&view.direction()),
            Self::IpVersion(wanted) => wanted.contains(&view.ip_version()),
            Self::Reply(wanted) => view.reply().is_some_and(|reply| wanted.contains(&reply)),
            Self::Encrypted(wanted) => {
                wanted.contains(&(view.has_ip() && view.extra.is_some_and(|extra| extra.encrypted)))
            }
            Self::Protocol(wanted) => wanted.iter().any(|protocol| protocol.is_of(view)),
            Self::Port(end, wanted) => {
                let port = if *end == End::Source { flow.source_port } else { flow.destination_port };
                matches!(flow.l4, L4::Tcp | L4::Udp | L4::Sctp) && wanted.contains(&port)
            }
            Self::TcpFlags(wanted) => wanted.iter().any(|bits| flow.tcp_flags.has(*bits)),
            Self::DropReason(wanted) => {
                let fits = |(number, reason): &(i32, Reason)| {
                    view.extra.map_or(flow.reason == *reason, |extra| extra.drop_reason == *number)
                };
                view.is_dropped() && wanted.iter().any(fits)
            }
            Self::Event(wanted) => view.event().is_some_and(|event| wanted.iter().any(|wanted| wanted.is_of(event))),
            // An end without an endpoint has no identity, not even 0.
            Self::Identity(end, wanted) => {
                end.id(flow) != EndpointId::NONE && wanted.contains(&view.endpoint(*end).identity_number)
            }
            Self::Interface(wanted) => wanted.iter().any(|interface| fits_interface(interface, view)),
            Self::IpTraceId(wanted) => wanted.contains(&view.extra.map_or(0, |extra| extra.ip_trace_id)),
            Self::Address(end, places) => {
                view.address(*end).is_some_and(|at| places.iter().any(|place| place.holds(at)))
            }
            Self::Translated(places) => view.translated().is_some_and(|at| places.iter().any(|place| place.holds(at))),
            _ => self.names_match(view),
        }
    }

    pub(super) fn matches_other(&self, event: OtherEvent) -> bool {
        let Self::Event(wanted) = self else { return false };
        match event {
            OtherEvent::Lost => true,
            OtherEvent::Typed(kind, sub_type) => {
                wanted.iter().any(|wanted| wanted.is_of((kind, SubType::Number(sub_type))))
            }
        }
    }

    /// Matches the predicates on names of endpoints, cached by symbol.
    fn names_match(&self, view: &FlowView<'_>) -> bool {
        match self {
            Self::Pod(end, prefixes, cache) => {
                let endpoint = view.endpoint(*end);
                let (namespace, name) = (endpoint.namespace, endpoint.pod_name);
                cache.get_or_insert((namespace, name), || {
                    let (namespace, name) = (namespace.text(), name.text());
                    prefixes.iter().any(|prefix| prefix.fits(&namespace, &name))
                })
            }
            Self::Label(end, selectors, cache) => {
                let identity = view.identity(*end);
                cache.get_or_insert((identity, Sym::EMPTY), || {
                    let text = identity.text();
                    let labels = text.split(',').filter(|label| !label.is_empty());
                    selectors.iter().any(|selector| selector.selects(labels.clone()))
                })
            }
            Self::Workload(end, wanted, cache) => {
                let workloads = view.endpoint(*end).workloads;
                cache.get_or_insert((workloads, Sym::EMPTY), || {
                    workloads.text().split(',').any(|text| wanted.iter().any(|wanted| fits_workload(wanted, text)))
                })
            }
            Self::Cluster(end, wanted, cache) => {
                if let Some(extra) = view.written() {
                    let name = if *end == End::Source { &extra.source_cluster } else { &extra.destination_cluster };
                    wanted.contains(name)
                } else {
                    let identity = view.identity(*end);
                    cache.get_or_insert((identity, Sym::EMPTY), || {
                        let text = identity.text();
                        let mut labels = text.split(',').map(label);
                        labels.any(|(source, key, value)| {
                            (source, key) == CLUSTER && wanted.iter().any(|name| name == value)
                        })
                    })
                }
            }
            Self::Fqdn(end, patterns, cache) => {
                let names = view.names(*end);
                cache.get_or_insert((names, Sym::EMPTY), || {
                    // No names are none, not one that is empty, which `*` would fit.
                    let text = names.text();
                    let mut names = text.split(',').filter(|name| !name.is_empty());
                    names.any(|name| patterns.iter().any(|pattern| pattern.fits(name)))
                })
            }
            _ => self.rest_matches(view),
        }
    }

    /// Matches the predicates on fields that only flows with an extra have.
    fn rest_matches(&self, view: &FlowView<'_>) -> bool {
        let text = |of: fn(&Extra) -> &String| view.extra.map_or("", |extra| of(extra).as_str());
        match self {
            Self::Status(wanted) => view.http().is_some_and(|http| wanted.iter().any(|status| status.fits(http.code))),
            Self::Uuid(wanted) => wanted.iter().any(|uuid| uuid == text(|extra| &extra.uuid)),
            Self::TraceId(wanted) => wanted.iter().any(|id| id == text(|extra| &extra.trace_id)),
            Self::Service(end, prefixes, cache) => {
                let fits = |namespace: &str, name: &str| prefixes.iter().any(|prefix| prefix.fits(namespace, name));
                let Some(extra) = view.written() else {
                    let ServiceName { namespace, name, .. } = view.service(*end);
                    return cache.get_or_insert((namespace, name), || fits(&namespace.text(), &name.text()));
                };
                let service = if *end == End::Source { &extra.source_service } else { &extra.destination_service };
                service.as_ref().is_some_and(|service| fits(&service.namespace, &service.name))
            }
            Self::Method(wanted) => {
                view.http().is_some_and(|http| wanted.iter().any(|method| method.eq_ignore_ascii_case(&http.method)))
            }
            Self::Header(wanted) => view.http().is_some_and(|http| {
                http.headers
                    .iter()
                    .any(|(key, value)| wanted.iter().any(|wanted| wanted.key == *key && wanted.value == *value))
            }),
            Self::Node(patterns, home) => {
                view.written().map_or(*home, |extra| patterns.iter().any(|pattern| pattern.fits(&extra.node_name)))
            }
            Self::NodeLabel(selectors, home) => match (view.written(), home) {
                (Some(extra), _) => select(selectors, &extra.node_labels),
                (None, Some(home)) => *home,
                (None, None) => select(selectors, &[]),
            },
            Self::DnsQuery(expressions) => {
                view.dns_query().is_some_and(|query| expressions.iter().any(|one| one.is_match(query.as_bytes())))
            }
            Self::Url(expressions) => {
                view.http().is_some_and(|http| expressions.iter().any(|one| one.is_match(http.url.as_bytes())))
            }
            Self::Path(expressions) => view
                .http()
                .and_then(|http| uri::path(&http.url))
                .is_some_and(|path| expressions.iter().any(|one| one.is_match(&path))),
            Self::Expression(expressions) => expressions.matches(view),
            // All others were matched above.
            _ => false,
        }
    }
}

impl Protocol {
    fn is_of(self, view: &FlowView<'_>) -> bool {
        match self {
            Self::L4(l4) => view.flow.l4 == l4,
            Self::Icmp => matches!(view.flow.l4, L4::IcmpV4 | L4::IcmpV6),
            Self::Dns => view.dns_query().is_some(),
            Self::Http => view.http().is_some(),
        }
    }
}

impl EventPredicate {
    fn is_of(&self, (kind, sub_type): (i32, SubType)) -> bool {
        let fits = |(number, reason): (i32, Reason)| match sub_type {
            SubType::Number(is) => is == number,
            SubType::Reason(is) => is == reason,
        };
        (self.kind == 0 || self.kind == kind) && self.sub_type.is_none_or(fits)
    }
}

fn select(selectors: &[Selector], labels: &[String]) -> bool {
    selectors.iter().any(|selector| selector.selects(labels.iter().map(String::as_str)))
}

fn fits_interface(wanted: &InterfaceSpec, view: &FlowView<'_>) -> bool {
    let fits = |index, name: &str| {
        (wanted.index == 0 || wanted.index == index) && (wanted.name.is_empty() || wanted.name == name)
    };
    if let Some(extra) = view.written() {
        return extra.interface.as_ref().is_some_and(|interface| fits(interface.index, &interface.name));
    }
    // The kernel says the number alone; a history finds out the name.
    let name = view.extra.and_then(|extra| extra.interface.as_ref()).map_or("", |interface| &interface.name);
    view.flow.ifindex != 0 && fits(view.flow.ifindex, name)
}

/// `text` is `name/kind`, as [`crate::Endpoint::workloads`] has it.
fn fits_workload(wanted: &WorkloadSpec, text: &str) -> bool {
    let Some((name, kind)) = text.rsplit_once('/') else { return false };
    (wanted.name.is_empty() || wanted.name == name) && (wanted.kind.is_empty() || wanted.kind == kind)
}
