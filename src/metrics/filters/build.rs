//! From what was written to tests: every value is read, and all that cannot be are named.

use super::address::Place;
use super::memo::Memo;
use super::names::{NodePattern, Pattern, Prefix};
use super::re2;
use super::selector::Selector;
use super::spec::FilterSpec;
use super::status::Status;
use super::tests::{EventTest, Protocol, Test};
use crate::flow::names::{DROP_REASONS, name_of};
use crate::flow::{L4, Reason};
use crate::metrics::context::End;
use crate::sym::Sym;

/// A value of a filter that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {value:?}: {why}")]
pub struct FilterError {
    /// The field, as flow.proto names it.
    pub field: &'static str,
    /// Which of its values.
    pub item: usize,
    /// The value, at most 80 characters of it.
    pub value: String,
    /// What was expected.
    pub why: String,
}

/// `event_type.type` of layer-7 events.
const L7: i32 = 129;

/// The tests of a filter.
pub(super) fn tests(spec: &FilterSpec) -> Result<Vec<Test>, Vec<FilterError>> {
    let mut building = Building::default();
    building.numbers(spec);
    building.places(spec);
    building.names(spec);
    building.layer_7(spec);
    building.check_http(spec);
    if building.errors.is_empty() { Ok(building.tests) } else { Err(building.errors) }
}

#[derive(Default)]
struct Building {
    tests: Vec<Test>,
    errors: Vec<FilterError>,
}

impl Building {
    /// Adds a test unless the field is empty.
    fn plain<T: Clone>(&mut self, values: &[T], test: impl FnOnce(Vec<T>) -> Test) {
        if !values.is_empty() {
            self.tests.push(test(values.to_vec()));
        }
    }

    /// Reads each value; adds a test unless the field is empty.
    fn read<T>(
        &mut self,
        field: &'static str,
        values: &[String],
        read: impl Fn(&str) -> Result<T, String>,
        test: impl FnOnce(Vec<T>) -> Test,
    ) {
        let mut understood = Vec::with_capacity(values.len());
        for (item, value) in values.iter().enumerate() {
            match read(value) {
                Ok(meaning) => understood.push(meaning),
                Err(why) => {
                    let value = value.chars().take(80).collect();
                    self.errors.push(FilterError { field, item, value, why });
                }
            }
        }
        if !values.is_empty() {
            self.tests.push(test(understood));
        }
    }

    fn numbers(&mut self, spec: &FilterSpec) {
        self.plain(&spec.verdict, Test::Verdict);
        self.plain(&spec.traffic_direction, Test::Direction);
        self.plain(&spec.ip_version, Test::IpVersion);
        self.plain(&spec.reply, Test::Reply);
        self.plain(&spec.encrypted, Test::Encrypted);
        self.read("protocol", &spec.protocol, protocol, Test::Protocol);
        self.read("source_port", &spec.source_port, port, |ports| Test::Port(End::Source, ports));
        self.read("destination_port", &spec.destination_port, port, |ports| Test::Port(End::Destination, ports));
        self.plain(&spec.tcp_flags, Test::TcpFlags);
        let reasons: Vec<_> = spec.drop_reason_desc.iter().map(|number| (*number, reason(*number))).collect();
        self.plain(&reasons, Test::DropReason);
        let events: Vec<_> = spec
            .event_type
            .iter()
            .map(|event| EventTest {
                kind: event.kind,
                sub_type: event.match_sub_type.then(|| (event.sub_type, reason(event.sub_type))),
            })
            .collect();
        self.plain(&events, Test::Event);
        self.plain(&spec.source_identity, |numbers| Test::Identity(End::Source, numbers));
        self.plain(&spec.destination_identity, |numbers| Test::Identity(End::Destination, numbers));
        self.plain(&spec.interface, Test::Interface);
        self.plain(&spec.ip_trace_id, Test::IpTraceId);
    }

    fn places(&mut self, spec: &FilterSpec) {
        self.read("source_ip", &spec.source_ip, Place::read, |places| Test::Address(End::Source, places));
        self.read("destination_ip", &spec.destination_ip, Place::read, |places| {
            Test::Address(End::Destination, places)
        });
        self.read("source_ip_xlated", &spec.source_ip_xlated, Place::read, Test::Translated);
    }

    fn names(&mut self, spec: &FilterSpec) {
        use End::{Destination, Source};
        let memo = Memo::default;
        self.read("source_pod", &spec.source_pod, Prefix::read, |read| Test::Pod(Source, read, memo()));
        self.read("destination_pod", &spec.destination_pod, Prefix::read, |read| Test::Pod(Destination, read, memo()));
        self.read("source_label", &spec.source_label, Selector::read, |read| Test::Label(Source, read, memo()));
        self.read("destination_label", &spec.destination_label, Selector::read, |read| {
            Test::Label(Destination, read, memo())
        });
        self.plain(&spec.source_workload, |wanted| Test::Workload(Source, wanted, memo()));
        self.plain(&spec.destination_workload, |wanted| Test::Workload(Destination, wanted, memo()));
        self.read("source_cluster_name", &spec.source_cluster_name, not_empty, |read| {
            Test::Cluster(Source, read, memo())
        });
        self.read("destination_cluster_name", &spec.destination_cluster_name, not_empty, |read| {
            Test::Cluster(Destination, read, memo())
        });
        self.read("source_fqdn", &spec.source_fqdn, Pattern::read, |read| Test::Fqdn(Source, read, memo()));
        self.read("destination_fqdn", &spec.destination_fqdn, Pattern::read, |read| {
            Test::Fqdn(Destination, read, memo())
        });
    }

    fn layer_7(&mut self, spec: &FilterSpec) {
        self.read("http_status_code", &spec.http_status_code, Status::read, Test::Status);
        self.plain(&spec.uuid, Test::Uuid);
        self.plain(&spec.trace_id, Test::TraceId);
        self.read("source_service", &spec.source_service, Prefix::read, |read| {
            Test::Service(End::Source, read, Memo::default())
        });
        self.read("destination_service", &spec.destination_service, Prefix::read, |read| {
            Test::Service(End::Destination, read, Memo::default())
        });
        self.plain(&spec.http_method, Test::Method);
        self.plain(&spec.http_header, Test::Header);
        self.read("node_name", &spec.node_name, NodePattern::read, |read| Test::Node(read, false));
        self.read("node_labels", &spec.node_labels, Selector::read, Test::NodeLabel);
        self.read("dns_query", &spec.dns_query, re2::read, Test::DnsQuery);
        self.read("http_url", &spec.http_url, re2::read, Test::Url);
        self.read("http_path", &spec.http_path, re2::read, Test::Path);
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
