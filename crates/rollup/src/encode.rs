//! Rows as records of OTLP logs.
//!
//! Names of attributes are those of OpenTelemetry's registry where it has them, else those of its
//! proposal for network flows, else `webb.*`; docs/rollups.md has the table. What is nought or
//! unknown has no attribute.

use std::hash::{DefaultHasher, Hasher as _};

use webb_flow::sym::Sym;
use webb_flow::{L4, Verdict};
use webb_otlp::{Attributes, Encoded, Head, Record, Severity};

use super::key::{EndKey, Fold, RowKey};
use super::lost::Lost;
use super::seen::Seen;
use super::sums::{Histogram, Sums};
use super::window::Window;
use super::{Rollups, Totals};

/// Name of a row's event.
pub const ROLLUP: &str = "webb.rollup";

/// Name of the event that a window was reported.
pub const HEARTBEAT: &str = "webb.heartbeat";

/// Name of the event that an instance begins.
pub const GAP: &str = "webb.gap";

/// Stands for an end that was folded.
const OTHER: &str = "~other";

/// Attributes of one end.
struct EndNames {
    namespace: &'static str,
    workload: &'static str,
    kind: &'static str,
    pod: &'static str,
    identity: &'static str,
    names: &'static str,
    cidr: &'static str,
    zone: &'static str,
    region: &'static str,
    service: &'static str,
}

const SOURCE: EndNames = EndNames {
    namespace: "source.k8s.namespace.name",
    workload: "source.k8s.owner.name",
    kind: "source.k8s.owner.type",
    pod: "source.k8s.pod.name",
    identity: "webb.source.identity",
    names: "webb.source.names",
    cidr: "source.cidr",
    zone: "source.cloud.availability_zone",
    region: "source.cloud.region",
    service: "source.k8s.service.name",
};

const DESTINATION: EndNames = EndNames {
    namespace: "destination.k8s.namespace.name",
    workload: "destination.k8s.owner.name",
    kind: "destination.k8s.owner.type",
    pod: "destination.k8s.pod.name",
    identity: "webb.destination.identity",
    names: "webb.destination.names",
    cidr: "destination.cidr",
    zone: "destination.cloud.availability_zone",
    region: "destination.cloud.region",
    service: "destination.k8s.service.name",
};

/// Writes the rows of windows.
#[derive(Debug)]
pub struct Encoder {
    record: Record,
    /// Identity of the process that writes.
    instance: u128,
    /// Totals at the end of the window before.
    before: Totals,
    /// Flows that were lost before they came to a row, then.
    lost_before: Lost,
    /// What the programs had seen then; none if that is not known.
    seen_before: Option<Seen>,
}

impl Encoder {
    /// An encoder for an instance.
    pub fn new(instance: u128) -> Self {
        Self {
            record: Record::new(),
            instance,
            before: Totals::default(),
            lost_before: Lost::default(),
            seen_before: None,
        }
    }

    /// Goes on as another instance.
    pub fn set_instance(&mut self, instance: u128) {
        self.instance = instance;
    }

    /// Has the next window begin with what was lost and what the programs had seen then: there was
    /// none before it.
    pub fn begin_from(&mut self, lost: Lost, seen: Option<Seen>) {
        (self.lost_before, self.seen_before) = (lost, seen);
    }

    /// Hands out a record for each row of `rollups`, which begin a new window, and then the
    /// heartbeat. `lost`: flows that never came to a row, since start. `seen`: what the programs
    /// have seen. `now_ns`: Unix time.
    pub fn window(
        &mut self,
        window: Window,
        rollups: &mut Rollups,
        (lost, seen): (Lost, Option<Seen>),
        now_ns: u64,
        mut each: impl FnMut(Encoded<'_>),
    ) {
        let mut rows = 0_u64;
        rollups.close(|key, sums| {
            rows += 1;
            each(self.row(window, key, sums, now_ns));
        });
        let totals = rollups.totals();
        let before = std::mem::replace(&mut self.before, totals);
        let lost = lost.since(std::mem::replace(&mut self.lost_before, lost));
        let seen_before = self.seen_before;
        self.seen_before = seen.or(seen_before);
        let uid = uid(self.instance, window, |hasher| hasher.write(HEARTBEAT.as_bytes()));
        let attributes = self.record.begin(&head(HEARTBEAT, Severity::Info, window, now_ns));
        attributes.string("log.record.uid", &uid);
        attributes.count("webb.window.seconds", window.seconds);
        attributes.count("webb.rollup.rows", rows);
        attributes.count("webb.rollup.flows", totals.flows - before.flows);
        attributes.count("webb.rollup.bytes", totals.bytes - before.bytes);
        attributes.count("webb.rollup.packets", totals.packets - before.packets);
        attributes.count("webb.rollup.folded_flows", totals.folded - before.folded);
        attributes.count("webb.rollup.lost_flows", lost.flows);
        attributes.count("webb.rollup.lost_packets", lost.packets);
        attributes.count("webb.rollup.lost_bytes", lost.bytes);
        if let (Some(seen), Some(before)) = (seen, seen_before) {
            let since = seen.since(before);
            attributes.count("webb.ledger.seen_packets", since.packets);
            attributes.count("webb.ledger.missing_packets", since.missing_packets);
            attributes.count("webb.ledger.missing_bytes", since.missing_bytes);
            attributes.count("webb.ledger.foreign_packets", since.foreign_packets);
            attributes.count("webb.ledger.missing_connection_events", since.missing_events);
            attributes.count("webb.ledger.missing_retransmits", since.missing_retransmits);
        }
        each(self.record.finish());
    }

    /// The record of an instance that begins: nothing is known of the time between `last_ns`, when
    /// one before it reported last, and `now_ns`. Without `last_ns` that is not known.
    /// `is_handed_over`: rows of this instance have what the programs counted in between.
    pub fn gap(&mut self, last_ns: Option<u64>, now_ns: u64, is_handed_over: bool) -> Encoded<'_> {
        let window = Window { start: now_ns / 1_000_000_000, seconds: 0 };
        let uid = uid(self.instance, window, |hasher| hasher.write(GAP.as_bytes()));
        let head = Head { time_ns: now_ns, ..head(GAP, Severity::Info, window, now_ns) };
        let attributes = self.record.begin(&head);
        attributes.string("log.record.uid", &uid);
        if let Some(last_ns) = last_ns {
            attributes.count("webb.gap.start", last_ns);
        }
        attributes.count("webb.gap.end", now_ns);
        if is_handed_over {
            attributes.bool("webb.gap.handed_over", true);
        }
        self.record.finish()
    }

    fn row(&mut self, window: Window, key: &RowKey, sums: &Sums, now_ns: u64) -> Encoded<'_> {
        let severity = match key.verdict {
            Verdict::Dropped | Verdict::Audit => Severity::Warn,
            Verdict::Error => Severity::Error,
            _ => Severity::Info,
        };
        let mut hasher = [DefaultHasher::new(), DefaultHasher::new()];
        let [_, other] = &mut hasher;
        other.write_u8(1);
        let attributes = self.record.begin(&head(ROLLUP, severity, window, now_ns));
        attributes.count("webb.window.seconds", window.seconds);
        write_key(attributes, key, &mut |part| {
            for hasher in &mut hasher {
                hasher.write(part.as_bytes());
                hasher.write_u8(0);
            }
        });
        let uid = uid(self.instance, window, |second| {
            let [one, other] = &hasher;
            second.write_u64(one.finish());
            second.write_u64(other.finish().rotate_left(32));
        });
        attributes.string("log.record.uid", &uid);
        write_sums(attributes, sums);
        self.record.finish()
    }
}

fn head(event_name: &'static str, severity: Severity, window: Window, now_ns: u64) -> Head<'static> {
    // A window that a stop cuts short ends then: a time to come would be in no store's "until now".
    // Where the clock went back its rows stay within it.
    let time_ns = window.end_ns().min(now_ns.max(window.start_ns() + 1));
    Head { time_ns, observed_ns: now_ns, severity, event_name, trace_id: None, body: "" }
}

/// 128 bits that tell a record from all others: of its writer, its window and its key.
fn uid(instance: u128, window: Window, key: impl Fn(&mut DefaultHasher)) -> String {
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        hasher.write_u8(salt);
        hasher.write_u128(instance);
        hasher.write_u64(window.start);
        hasher.write_u64(window.seconds);
        key(&mut hasher);
        hasher.finish()
    };
    format!("{:016x}{:016x}", half(0), half(1))
}

/// Writes the key of a row, and shows each text of it to `part`.
fn write_key(attributes: &mut Attributes, key: &RowKey, part: &mut impl FnMut(&str)) {
    for (end, names) in [(&key.source, &SOURCE), (&key.destination, &DESTINATION)] {
        write_end(attributes, end, names, key.fold, part);
    }
    let [source, destination] = [key.source.zone, key.destination.zone];
    if !source.is_empty() && !destination.is_empty() {
        attributes.bool("network.flow.inter_zone", source != destination);
    }
    if key.port != 0 {
        attributes.count("destination.port", key.port.into());
    }
    part(&key.port.to_string());
    let mut text = |name: &str, value: &str| {
        attributes.string(name, value);
        part(value);
    };
    let transport = if key.l4 == L4::None { String::new() } else { key.l4.name().to_ascii_lowercase() };
    text("network.transport", &transport);
    text("webb.verdict", key.verdict.name());
    text("webb.drop.reason", &key.reason.text());
    if let Some(policy) = key.policy {
        let (namespace, name) = (policy.namespace.text(), policy.name.text());
        let name = if namespace.is_empty() { name.to_string() } else { format!("{namespace}/{name}") };
        text("webb.policy.name", &name);
        text("webb.policy.kind", policy.kind.name());
    } else {
        text("webb.policy.name", "");
    }
    text("webb.reporter", key.reporter.label());
    attributes.bool("webb.primary", key.primary);
    attributes.bool("webb.opener_known", key.opener_known);
    part(if key.primary { "primary" } else { "" });
    part(if key.opener_known { "known" } else { "" });
}

fn write_end(attributes: &mut Attributes, end: &EndKey, names: &EndNames, fold: Fold, part: &mut impl FnMut(&str)) {
    let mut text = |name: &str, value: Sym| {
        let value = value.text();
        attributes.string(name, &value);
        part(&value);
    };
    text(names.namespace, end.namespace);
    text(names.workload, end.workload);
    text(names.kind, end.kind);
    text(names.pod, end.pod);
    text(names.identity, end.reserved);
    text(names.names, end.names);
    text(names.cidr, end.cidr);
    text(names.zone, end.zone);
    text(names.region, end.region);
    text(names.service, end.service);
    match fold {
        Fold::None => {}
        Fold::Namespaces => attributes.string(names.workload, OTHER),
        Fold::All => attributes.string(names.namespace, OTHER),
    }
    part(match fold {
        Fold::None => "",
        Fold::Namespaces => "~namespaces",
        Fold::All => OTHER,
    });
}

fn write_sums(attributes: &mut Attributes, sums: &Sums) {
    let mut count = |name: &str, value: u64| {
        if value > 0 {
            attributes.count(name, value);
        }
    };
    count("webb.bytes.sent", sums.bytes_sent);
    count("webb.bytes.received", sums.bytes_received);
    count("webb.packets.sent", sums.packets_sent);
    count("webb.packets.received", sums.packets_received);
    let connections = &sums.connections;
    count("webb.connections.opened", connections.opened.into());
    count("webb.connections.refused", connections.refused.into());
    count("webb.connections.timed_out", connections.timed_out.into());
    count("webb.connections.unreachable", connections.unreachable.into());
    count("webb.connections.denied", connections.denied.into());
    count("webb.connections.dropped", connections.dropped.into());
    count("webb.connections.reset", connections.reset.into());
    count("webb.connections.open", connections.open.into());
    count("webb.retransmits", sums.retransmits.into());
    count("webb.policy.unenforced", sums.unenforced.into());
    let classes = ["webb.requests.2xx", "webb.requests.3xx", "webb.requests.4xx", "webb.requests.5xx"];
    classes.into_iter().zip(sums.responses).for_each(|(name, value)| count(name, value.into()));
    count("webb.dns.questions", sums.dns_questions.into());
    count("webb.dns.failures", sums.dns_failures.into());
    write_histogram(attributes, sums.handshake.as_deref(), "webb.handshake.buckets", "webb.handshake.sum_us");
    write_histogram(attributes, sums.request.as_deref(), "webb.request.buckets", "webb.request.sum_us");
}

fn write_histogram(attributes: &mut Attributes, histogram: Option<&Histogram>, buckets: &str, sum: &str) {
    if let Some(histogram) = histogram.filter(|histogram| !histogram.is_empty()) {
        attributes.ints(buckets, histogram.buckets.iter().map(|count| i64::from(*count)));
        attributes.count(sum, histogram.sum_us);
    }
}

#[cfg(test)]
#[path = "encode_tests.rs"]
mod tests;
