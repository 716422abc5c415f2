//! Compiles a [`FilterSpec`] into predicates: every value is parsed, and all that cannot be are
//! reported.

use webb_flow::names::{DROP_REASONS, name_of};
use webb_flow::sym::Sym;
use webb_flow::{L4, Reason};

use super::address::AddressMatch;
use super::cel::{Expression, Expressions};
use super::match_cache::MatchCache;
use super::names::{NodePattern, Pattern, Prefix};
use super::predicate::{EventPredicate, Predicate, Protocol};
use super::re2::{self, RegexBudget};
use super::selector::Selector;
use super::spec::FilterSpec;
use super::status::Status;
use crate::End;

/// A value of a filter that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {value:?}: {why}")]
pub struct FilterError {
    /// The field, as flow.proto names it.
    pub field: &'static str,
    /// Position of the value.
    pub item: usize,
    /// The value, at most 80 characters of it.
    pub value: String,
    /// Expected value.
    pub why: String,
}

/// `event_type.type` of layer-7 events.
const L7: i32 = 129;

/// The predicates of a filter, whose regular expressions `budget` is for.
pub(super) fn predicates(spec: &FilterSpec, budget: &RegexBudget) -> Result<Vec<Predicate>, Vec<FilterError>> {
    let mut building = Building { predicates: Vec::new(), errors: Vec::new(), budget };
    building.numbers(spec);
    building.places(spec);
    building.names(spec);
    building.layer_7(spec);
    building.check_http(spec);
    if building.errors.is_empty() { Ok(building.predicates) } else { Err(building.errors) }
}

struct Building<'a> {
    predicates: Vec<Predicate>,
    errors: Vec<FilterError>,
    budget: &'a RegexBudget,
}

impl Building<'_> {
    /// Adds a predicate unless the field is empty.
    fn plain<T: Clone>(&mut self, values: &[T], predicate: impl FnOnce(Vec<T>) -> Predicate) {
        if !values.is_empty() {
            self.predicates.push(predicate(values.to_vec()));
        }
    }

    /// Reads each value; adds a predicate unless the field is empty.
    fn read<T>(
        &mut self,
        field: &'static str,
        values: &[String],
        read: impl Fn(&str) -> Result<T, String>,
        predicate: impl FnOnce(Vec<T>) -> Predicate,
    ) {
        let mut parsed = Vec::with_capacity(values.len());
        for (item, value) in values.iter().enumerate() {
            match read(value) {
                Ok(meaning) => parsed.push(meaning),
                Err(why) => {
                    let value = value.chars().take(80).collect();
                    self.errors.push(FilterError { field, item, value, why });
                }
            }
        }
        if !values.is_empty() {
            self.predicates.push(predicate(parsed));
        }
    }

    fn numbers(&mut self, spec: &FilterSpec) {
        self.plain(&spec.verdict, Predicate::Verdict);
        self.plain(&spec.traffic_direction, Predicate::Direction);
        self.plain(&spec.ip_version, Predicate::IpVersion);
        self.plain(&spec.reply, Predicate::Reply);
        self.plain(&spec.encrypted, Predicate::Encrypted);
        self.read("protocol", &spec.protocol, protocol, Predicate::Protocol);
        self.read("source_port", &spec.source_port, port, |ports| Predicate::Port(End::Source, ports));
        self.read("destination_port", &spec.destination_port, port, |ports| Predicate::Port(End::Destination, ports));
        self.plain(&spec.tcp_flags, Predicate::TcpFlags);
        let reasons: Vec<_> = spec.drop_reason_desc.iter().map(|number| (*number, reason(*number))).collect();
        self.plain(&reasons, Predicate::DropReason);
        let events: Vec<_> = spec
            .event_type
            .iter()
            .map(|event| EventPredicate {
                kind: event.kind,
                sub_type: event.match_sub_type.then(|| (event.sub_type, reason(event.sub_type))),
            })
            .collect();
        self.plain(&events, Predicate::Event);
        self.plain(&spec.source_identity, |numbers| Predicate::Identity(End::Source, numbers));
        self.plain(&spec.destination_identity, |numbers| Predicate::Identity(End::Destination, numbers));
        self.plain(&spec.interface, Predicate::Interface);
        self.plain(&spec.ip_trace_id, Predicate::IpTraceId);
    }

    fn places(&mut self, spec: &FilterSpec) {
        self.read("source_ip", &spec.source_ip, AddressMatch::read, |places| Predicate::Address(End::Source, places));
        self.read("destination_ip", &spec.destination_ip, AddressMatch::read, |places| {
            Predicate::Address(End::Destination, places)
        });
        self.read("source_ip_xlated", &spec.source_ip_xlated, AddressMatch::read, Predicate::Translated);
    }

    fn names(&mut self, spec: &FilterSpec) {
        use End::{Destination, Source};
        let match_cache = MatchCache::default;
        self.read("source_pod", &spec.source_pod, Prefix::read, |read| Predicate::Pod(Source, read, match_cache()));
        self.read("destination_pod", &spec.destination_pod, Prefix::read, |read| {
            Predicate::Pod(Destination, read, match_cache())
        });
        self.read("source_label", &spec.source_label, Selector::read, |read| {
            Predicate::Label(Source, read, match_cache())
        });
        self.read("destination_label", &spec.destination_label, Selector::read, |read| {
            Predicate::Label(Destination, read, match_cache())
        });
        self.plain(&spec.source_workload, |wanted| Predicate::Workload(Source, wanted, match_cache()));
        self.plain(&spec.destination_workload, |wanted| Predicate::Workload(Destination, wanted, match_cache()));
        self.read("source_cluster_name", &spec.source_cluster_name, not_empty, |read| {
            Predicate::Cluster(Source, read, match_cache())
        });
        self.read("destination_cluster_name", &spec.destination_cluster_name, not_empty, |read| {
            Predicate::Cluster(Destination, read, match_cache())
        });
        self.read("source_fqdn", &spec.source_fqdn, Pattern::read, |read| Predicate::Fqdn(Source, read, match_cache()));
        self.read("destination_fqdn", &spec.destination_fqdn, Pattern::read, |read| {
            Predicate::Fqdn(Destination, read, match_cache())
        });
    }

    fn layer_7(&mut self, spec: &FilterSpec) {
        self.read("http_status_code", &spec.http_status_code, Status::read, Predicate::Status);
        self.plain(&spec.uuid, Predicate::Uuid);
        self.plain(&spec.trace_id, Predicate::TraceId);
        self.read("source_service", &spec.source_service, Prefix::read, |read| {
            Predicate::Service(End::Source, read, MatchCache::default())
        });
        self.read("destination_service", &spec.destination_service, Prefix::read, |read| {
            Predicate::Service(End::Destination, read, MatchCache::default())
        });
        self.plain(&spec.http_method, Predicate::Method);
        self.plain(&spec.http_header, Predicate::Header);
        self.read("node_name", &spec.node_name, NodePattern::read, |read| Predicate::Node(read, false));
        self.read("node_labels", &spec.node_labels, Selector::read, |read| Predicate::NodeLabel(read, None));
        let budget = self.budget;
        let regex = |text: &str| re2::read(text, budget);
        self.read("dns_query", &spec.dns_query, regex, Predicate::DnsQuery);
        self.read("http_url", &spec.http_url, regex, Predicate::Url);
        self.read("http_path", &spec.http_path, regex, Predicate::Path);
        // The last, since it costs the most.
        let expression = |text: &str| Expression::read(text, budget);
        self.read("cel_expression", &spec.cel_expression, expression, |expressions| {
            Predicate::Expression(Expressions::new(expressions))
        });
    }

    /// A filter on HTTP that leaves out layer 7 could never match: Hubble refuses it.
    fn check_http(&mut self, spec: &FilterSpec) {
        if spec.event_type.is_empty() || spec.event_type.iter().any(|event| event.kind == L7) {
            return;
        }
        let fields = [
            ("http_status_code", spec.http_status_code.first()),
            ("http_method", spec.http_method.first()),
            ("http_path", spec.http_path.first()),
            ("http_url", spec.http_url.first()),
            ("http_header", spec.http_header.first().map(|header| &header.key)),
        ];
        for (field, first) in fields {
            if let Some(value) = first {
                let why = format!("event_type is given, so one of its entries must have type {L7} (layer 7)");
                self.errors.push(FilterError { field, item: 0, value: value.chars().take(80).collect(), why });
            }
        }
    }
}

/// The reason that drops of a number have: Hubble's name for it, or its digits.
fn reason(number: i32) -> Reason {
    match name_of(&DROP_REASONS, number) {
        Some(name) => Reason(Sym::new(name)),
        None => Reason(Sym::new(&number.to_string())),
    }
}

fn port(text: &str) -> Result<u16, String> {
    let plain = !text.starts_with('+');
    text.parse().ok().filter(|_| plain).ok_or_else(|| "expected a port from 0 to 65535".to_owned())
}

fn not_empty(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("expected a name, found nothing".to_owned()) } else { Ok(text.to_owned()) }
}

fn protocol(text: &str) -> Result<Protocol, String> {
    Ok(match text.to_ascii_lowercase().as_str() {
        "icmp" => Protocol::Icmp,
        "icmpv4" => Protocol::L4(L4::IcmpV4),
        "icmpv6" => Protocol::L4(L4::IcmpV6),
        "tcp" => Protocol::L4(L4::Tcp),
        "udp" => Protocol::L4(L4::Udp),
        "sctp" => Protocol::L4(L4::Sctp),
        "vrrp" => Protocol::L4(L4::Vrrp),
        "igmp" => Protocol::L4(L4::Igmp),
        "dns" => Protocol::Dns,
        "http" => Protocol::Http,
        _ => {
            let known = "icmp, icmpv4, icmpv6, tcp, udp, sctp, vrrp, igmp, dns, http";
            return Err(format!("expected one of {known}"));
        }
    })
}
