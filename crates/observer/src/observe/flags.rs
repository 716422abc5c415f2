//! Filters by the flags of Hubble's command line.
//!
//! A flag such as `--pod` means either end, so there are two filters: one for the source, one for
//! the destination. Flags of one end set both. `--not` sends the next flag to the filters of flows
//! that are left out.

use super::names::{IDENTITIES, POINTS, TYPES, number_in};
use crate::proto::flow::flow_filter::Experimental;
use crate::proto::flow::{
    DropReason, EventTypeFilter, FlowFilter, HttpHeader, IpVersion, NetworkInterface, TcpFlags, TrafficDirection,
    Verdict, Workload,
};

/// Flags that cannot be given together.
const CONFLICTS: [&[&str]; 24] = [
    &["from-fqdn", "from-ip", "ip", "fqdn", "from-namespace", "namespace", "from-all-namespaces", "all-namespaces"],
    &["from-fqdn", "from-ip", "ip", "fqdn", "from-pod", "pod"],
    &["to-fqdn", "to-ip", "ip", "fqdn", "to-namespace", "namespace", "to-all-namespaces", "all-namespaces"],
    &["to-fqdn", "to-ip", "ip", "fqdn", "to-pod", "pod"],
    &["to-pod", "namespace", "all-namespaces"],
    &["from-pod", "namespace", "all-namespaces"],
    &["to-service", "namespace", "all-namespaces"],
    &["from-service", "namespace", "all-namespaces"],
    &["label", "from-label"],
    &["label", "to-label"],
    &["service", "from-service"],
    &["service", "to-service"],
    &["port", "to-port"],
    &["port", "from-port"],
    &["identity", "to-identity"],
    &["identity", "from-identity"],
    &["workload", "to-workload"],
    &["workload", "from-workload"],
    &["cluster", "from-cluster"],
    &["cluster", "to-cluster"],
    &["encrypted", "unencrypted"],
    &["reply", "not-reply"],
    &["ipv4", "ip-version"],
    &["ipv6", "ip-version"],
];

/// Stands for any name, or any namespace.
const UNNAMED: &str = "";

/// Flags as filters.
#[derive(Debug, Default)]
pub(super) struct Flags {
    left_in: Pair,
    left_out: Pair,
    negated: bool,
}

/// The filters of both ends.
#[derive(Debug, Default)]
struct Pair {
    source: FlowFilter,
    destination: FlowFilter,
    given: Vec<String>,
    namespaces: Vec<String>,
    from_namespaces: Vec<String>,
    to_namespaces: Vec<String>,
}

impl Flags {
    /// Adds a flag.
    pub(super) fn add(&mut self, flag: &str, value: &str) -> Result<(), String> {
        if flag == "not" {
            if std::mem::replace(&mut self.negated, true) {
                return Err(wrong(flag, value, "consecutive --not statements"));
            }
            return Ok(());
        }
        let pair = if std::mem::take(&mut self.negated) { &mut self.left_out } else { &mut self.left_in };
        pair.add(flag, value).map_err(|why| wrong(flag, value, &why))
    }

    /// The filters of what is let in, and of what is left out.
    pub(super) fn filters(self) -> Result<(Vec<FlowFilter>, Vec<FlowFilter>), String> {
        if self.negated {
            return Err("trailing --not found in the arguments".to_owned());
        }
        Ok((self.left_in.filters(), self.left_out.filters()))
    }
}

fn wrong(flag: &str, value: &str, why: &str) -> String {
    format!("invalid argument {value:?} for \"--{flag}\" flag: {why}")
}

impl Pair {
    fn add(&mut self, flag: &str, value: &str) -> Result<(), String> {
        if !self.given.iter().any(|given| given == flag) {
            self.given.push(flag.to_owned());
        }
        let is_given = |flag: &&&str| self.given.iter().any(|given| given == **flag);
        for group in CONFLICTS {
            let mut given = group.iter().filter(is_given);
            if let (Some(one), Some(other)) = (given.next(), given.next()) {
                return Err(format!("filters --{one} and --{other} cannot be combined"));
            }
        }
        let text = || value.to_owned();
        match flag {
            "namespace" => self.namespaces.push(text()),
            "from-namespace" => self.from_namespaces.push(text()),
            "to-namespace" => self.to_namespaces.push(text()),
            "all-namespaces" => self.namespaces.push(UNNAMED.to_owned()),
            "from-all-namespaces" => self.from_namespaces.push(UNNAMED.to_owned()),
            "to-all-namespaces" => self.to_namespaces.push(UNNAMED.to_owned()),
            _ => {
                let is_of_end = self.end(flag, value)?;
                if !is_of_end {
                    self.both(flag, value)?;
                }
            }
        }
        self.check_namespaces()
    }

    /// Adds a flag that has forms for each end; false if it is none.
    fn end(&mut self, flag: &str, value: &str) -> Result<bool, String> {
        let (prefix, name) = match (flag.strip_prefix("from-"), flag.strip_prefix("to-")) {
            (Some(name), _) => ("from", name),
            (_, Some(name)) => ("to", name),
            _ => ("", flag),
        };
        // Filters to change, and whether it is their source.
        let mut targets = match prefix {
            "from" => [(&mut self.source, true), (&mut self.destination, true)],
            "to" => [(&mut self.source, false), (&mut self.destination, false)],
            _ => [(&mut self.source, true), (&mut self.destination, false)],
        };
        for (filter, is_source) in &mut targets {
            let list = match (name, *is_source) {
                ("fqdn", true) => &mut filter.source_fqdn,
                ("fqdn", false) => &mut filter.destination_fqdn,
                ("pod", true) => &mut filter.source_pod,
                ("pod", false) => &mut filter.destination_pod,
                ("ip", true) => &mut filter.source_ip,
                ("ip", false) => &mut filter.destination_ip,
                ("label", true) => &mut filter.source_label,
                ("label", false) => &mut filter.destination_label,
                ("service", true) => &mut filter.source_service,
                ("service", false) => &mut filter.destination_service,
                ("port", true) => &mut filter.source_port,
                ("port", false) => &mut filter.destination_port,
                ("cluster", true) => &mut filter.source_cluster_name,
                ("cluster", false) => &mut filter.destination_cluster_name,
                ("workload", _) => {
                    let list = if *is_source { &mut filter.source_workload } else { &mut filter.destination_workload };
                    list.push(workload(value));
                    continue;
                }
                ("identity", _) => {
                    let list = if *is_source { &mut filter.source_identity } else { &mut filter.destination_identity };
                    list.push(identity(value)?);
                    continue;
                }
                _ => return Ok(false),
            };
            list.push(value.to_owned());
        }
        Ok(true)
    }

    /// Adds a flag that means the flow as a whole.
    fn both(&mut self, flag: &str, value: &str) -> Result<(), String> {
        for filter in [&mut self.source, &mut self.destination] {
            let text = || value.to_owned();
            match flag {
                "uuid" => filter.uuid.push(text()),
                "snat-ip" => filter.source_ip_xlated.push(text()),
                "ipv4" => filter.ip_version.push(IpVersion::IPv4.into()),
                "ipv6" => filter.ip_version.push(IpVersion::IPv6.into()),
                "ip-version" => filter.ip_version.push(ip_version(value).into()),
                "trace-id" => filter.trace_id.push(text()),
                "ip-trace-id" => filter.ip_trace_id.push(match value.parse() {
                    Ok(0) => return Err("invalid --ip-trace-id value; must be greater than 0".to_owned()),
                    Ok(number) => number,
                    Err(why) => return Err(format!("invalid --ip-trace-id value: {why}")),
                }),
                "verdict" => match Verdict::from_str_name(value) {
                    Some(verdict) => filter.verdict.push(verdict.into()),
                    None => return Err(format!("invalid --verdict value: {value}")),
                },
                "drop-reason-desc" => match DropReason::from_str_name(value) {
                    Some(reason) => filter.drop_reason_desc.push(reason.into()),
                    None if value.is_empty() => return Err("empty --drop-reason-desc value".to_owned()),
                    None => return Err(format!("invalid --drop-reason-desc value: {value}")),
                },
                "http-status" => filter.http_status_code.push(text()),
                "http-method" => filter.http_method.push(text()),
                "http-path" => filter.http_path.push(text()),
                "http-url" => filter.http_url.push(text()),
                "http-header" => match value.split_once(':') {
                    Some((key, value)) => {
                        filter.http_header.push(HttpHeader { key: key.to_owned(), value: value.to_owned() });
                    }
                    None => return Err(format!("invalid http-header value {value:?}, expected name:value")),
                },
                "dns-query" => filter.dns_query.push(text()),
                "type" => filter.event_type.push(event_type(value)?),
                "protocol" => filter.protocol.push(text()),
                "node-name" => filter.node_name.push(text()),
                "node-label" => filter.node_labels.push(text()),
                "tcp-flags" => filter.tcp_flags.push(tcp_flags(value)?),
                "traffic-direction" => filter.traffic_direction.push(direction(value)?.into()),
                "cel-expression" => {
                    filter.experimental.get_or_insert_with(Experimental::default).cel_expression.push(text());
                }
                "interface" => filter.interface.push(NetworkInterface { name: text(), index: 0 }),
                "encrypted" | "unencrypted" => filter.encrypted.push(flag == "encrypted"),
                "reply" | "not-reply" => filter.reply.push(flag == "reply"),
                _ => return Err("unknown filter".to_owned()),
            }
        }
        Ok(())
    }

    fn check_namespaces(&self) -> Result<(), String> {
        for filter in [&self.source, &self.destination] {
            let source = || filter.source_pod.iter().chain(&filter.source_service);
            let destination = || filter.destination_pod.iter().chain(&filter.destination_service);
            conflict(&self.namespaces, source().chain(destination()))?;
            conflict(&self.from_namespaces, source())?;
            conflict(&self.to_namespaces, destination())?;
        }
        Ok(())
    }

    fn filters(mut self) -> Vec<FlowFilter> {
        if self.given.is_empty() {
            return Vec::new();
        }
        for filter in [&mut self.source, &mut self.destination] {
            put_namespaces(&self.to_namespaces, &mut filter.destination_pod, &mut filter.destination_service);
            put_namespaces(&self.from_namespaces, &mut filter.source_pod, &mut filter.source_service);
        }
        put_namespaces(&self.namespaces, &mut self.source.source_pod, &mut self.source.source_service);
        let destination = &mut self.destination;
        put_namespaces(&self.namespaces, &mut destination.destination_pod, &mut destination.destination_service);
        if self.source == self.destination { vec![self.source] } else { vec![self.source, self.destination] }
    }
}

/// A name with another namespace than those that are asked for.
fn conflict<'a>(namespaces: &[String], names: impl Iterator<Item = &'a String>) -> Result<(), String> {
    for name in names {
        let Some((namespace, _)) = name.split_once('/').filter(|(namespace, _)| !namespace.is_empty()) else {
            continue;
        };
        if let Some(other) = namespaces.iter().find(|other| *other != namespace) {
            return Err(format!("namespace conflict: {other:?} does not contain {name:?}"));
        }
    }
    Ok(())
}

/// Puts the names without a namespace into each of those; without names, any pod of them.
fn put_namespaces(namespaces: &[String], pods: &mut Vec<String>, services: &mut Vec<String>) {
    if namespaces.is_empty() {
        return;
    }
    if pods.is_empty() && services.is_empty() {
        pods.push(UNNAMED.to_owned());
    }
    for names in [pods, services] {
        let all = std::mem::take(names);
        for name in all {
            if name.contains('/') {
                names.push(name);
            } else {
                names.extend(namespaces.iter().map(|namespace| format!("{namespace}/{name}")));
            }
        }
    }
}

/// `kind/name`, `kind/` or `name`.
fn workload(value: &str) -> Workload {
    let (kind, name) = value.split_once('/').unwrap_or(("", value));
    Workload { kind: kind.to_owned(), name: name.to_owned() }
}

fn identity(value: &str) -> Result<u32, String> {
    let reserved = number_in(&IDENTITIES, value).and_then(|number| u32::try_from(number).ok());
    reserved.or_else(|| value.parse().ok()).ok_or_else(|| {
        let names: Vec<&str> = IDENTITIES.iter().map(|(_, name)| *name).collect();
        format!("invalid security identity, expected one of [{}] or a numeric value", names.join(" "))
    })
}

fn ip_version(value: &str) -> IpVersion {
    match value.to_ascii_lowercase().as_str() {
        "4" | "v4" | "ipv4" | "ip4" => IpVersion::IPv4,
        "6" | "v6" | "ipv6" | "ip6" => IpVersion::IPv6,
        _ => IpVersion::IpNotUsed,
    }
}

fn direction(value: &str) -> Result<TrafficDirection, String> {
    match value.to_ascii_lowercase().as_str() {
        "ingress" => Ok(TrafficDirection::Ingress),
        "egress" => Ok(TrafficDirection::Egress),
        other => Err(format!("{other}: invalid traffic direction, expected ingress or egress")),
    }
}

fn tcp_flags(value: &str) -> Result<TcpFlags, String> {
    let mut flags = TcpFlags::default();
    for name in value.split(',') {
        let flag = match name.to_ascii_uppercase().as_str() {
            "FIN" => &mut flags.fin,
            "SYN" => &mut flags.syn,
            "RST" => &mut flags.rst,
            "PSH" => &mut flags.psh,
            "ACK" => &mut flags.ack,
            "URG" => &mut flags.urg,
            "ECE" => &mut flags.ece,
            "CWR" => &mut flags.cwr,
            "NS" => &mut flags.ns,
            _ => return Err(format!("unknown tcp flag: {name}")),
        };
        *flag = true;
    }
    Ok(flags)
}

/// `type` or `type:subtype`, by name or number.
fn event_type(value: &str) -> Result<EventTypeFilter, String> {
    const TRACE: i32 = 4;
    let (name, sub_type) = value.split_once(':').map_or((value, None), |(name, sub_type)| (name, Some(sub_type)));
    let number = |text: &str| text.parse::<i32>().ok().filter(|number| *number >= 0);
    let kind = number_in(&TYPES, name).or_else(|| number(name)).ok_or_else(|| {
        format!("unable to parse type '{name}', not a known type name and unable to parse as numeric value")
    })?;
    let mut filter = EventTypeFilter { r#type: kind, ..EventTypeFilter::default() };
    if let Some(text) = sub_type {
        let point = if kind == TRACE { number_in(&POINTS, text) } else { None };
        filter.sub_type = point.or_else(|| number(text)).ok_or_else(|| {
            format!(
                "unable to parse event sub-type '{text}', not a known sub-type name and unable to parse as numeric value"
            )
        })?;
        filter.match_sub_type = true;
    }
    Ok(filter)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters(flags: &[(&str, &str)]) -> Result<(Vec<FlowFilter>, Vec<FlowFilter>), String> {
        let mut all = Flags::default();
        for (flag, value) in flags {
            all.add(flag, value)?;
        }
        all.filters()
    }

    /// A flag of either end makes two filters, one of the flow a single one; namespaces are put
    /// before names; `--not` is for the next flag alone.
    #[test]
    fn flags_make_filters() {
        assert_eq!(filters(&[]), Ok((Vec::new(), Vec::new())));
        let (left_in, left_out) =
            filters(&[("namespace", "shop"), ("service", "db"), ("not", ""), ("port", "53"), ("uuid", "1")]).unwrap();
        assert_eq!(left_in.len(), 2);
        assert_eq!(
            (&*left_in[0].source_service, &*left_in[0].uuid),
            (&["shop/db".to_owned()][..], &["1".to_owned()][..])
        );
        assert_eq!(left_in[1].destination_service, ["shop/db"]);
        assert_eq!(
            (left_out[0].source_port.as_slice(), left_out[1].destination_port.as_slice()),
            (&["53".to_owned()][..], &["53".to_owned()][..])
        );
        let (left_in, _) =
            filters(&[("reply", ""), ("traffic-direction", "EGRESS"), ("cel-expression", "true")]).unwrap();
        assert_eq!((left_in.len(), left_in[0].reply.as_slice()), (1, &[true][..]));
        assert_eq!(left_in[0].experimental.as_ref().unwrap().cel_expression, ["true"]);
    }

    /// Every mistake names its flag.
    #[test]
    fn mistakes_are_named() {
        for (flags, why) in [
            (&[("ip", "1.1.1.1"), ("from-pod", "a")][..], "filters --ip and --from-pod cannot be combined"),
            (&[("encrypted", ""), ("unencrypted", "")], "cannot be combined"),
            (&[("namespace", "a"), ("pod", "b/c")], "namespace conflict: \"a\" does not contain \"b/c\""),
            (&[("not", ""), ("not", "")], "consecutive --not statements"),
            (&[("not", "")], "trailing --not"),
            (&[("verdict", "dropped")], "invalid --verdict value: dropped"),
            (&[("tcp-flags", "syn,nope")], "unknown tcp flag: nope"),
            (&[("type", "nope")], "unable to parse type 'nope'"),
            (&[("type", "trace:nope")], "unable to parse event sub-type 'nope'"),
            (&[("identity", "nope")], "invalid security identity"),
            (&[("http-header", "nope")], "expected name:value"),
            (&[("ip-trace-id", "0")], "must be greater than 0"),
            (&[("traffic-direction", "up")], "expected ingress or egress"),
        ] {
            let error = filters(flags).unwrap_err();
            assert!(error.contains(why), "{flags:?}: {error}");
        }
    }

    /// What needs no other flag can be left out, too.
    #[test]
    fn filters_are_independent() {
        let (left_in, left_out) = filters(&[("pod", "a"), ("not", ""), ("ip", "1.1.1.1")]).unwrap();
        assert_eq!((left_in.len(), left_out.len()), (2, 2));
    }
}
