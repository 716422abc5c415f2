//! The plain reading of the rules that filters are compared with.

use super::*;

/// The rule for each field; true where it is not set.
#[allow(clippy::too_many_lines, reason = "one line for each field of a filter")]
pub(super) fn plainly(spec: &FilterSpec, told: &Told) -> bool {
    let (extra, flow) = (&told.extra, &told.flow);
    let (dns, http) = match extra.l7.as_ref().map(|l7| &l7.record) {
        Some(L7Record::Dns(dns)) => (Some(dns), None),
        Some(L7Record::Http(http)) => (None, Some(http)),
        _ => (None, None),
    };
    let ends = [(&told.source, flow.source_ip), (&told.destination, flow.destination_ip)];
    let [source, destination] = ends.map(|(end, _)| end);
    let ip = |text: &'static str| {
        // An address of zeros is one only where the packet is IPv6.
        let set = extra.has_ip && !text.is_empty() && (text != "::" || flow.family == Family::V6);
        if set { text } else { "" }
    };
    let translated = extra.source_xlated.map_or(String::new(), |address| address.ip().to_string());
    let translated =
        if extra.has_ip && (translated != "::" || flow.family == Family::V6) { translated } else { String::new() };
    let dropped = extra.verdict == 2;
    let reply = match flow.reply {
        Reply::Yes => Some(true),
        Reply::No => Some(false),
        Reply::Unknown => dropped.then_some(false),
    };
    let matching =
        |expressions: &[String], text: &str| expressions.iter().any(|one| Regex::new(one).unwrap().is_match(text));
    let has_port = matches!(flow.l4, L4::Tcp | L4::Udp | L4::Sctp);
    let of_port =
        |ports: &[String], port: u16| has_port && ports.iter().any(|text| text.parse::<u16>().unwrap() == port);
    let rules = [
        spec.uuid.is_empty() || spec.uuid.contains(&extra.uuid),
        spec.source_ip.is_empty() || of_places(&spec.source_ip, ip(source.ip)),
        spec.destination_ip.is_empty() || of_places(&spec.destination_ip, ip(destination.ip)),
        spec.source_ip_xlated.is_empty() || of_places(&spec.source_ip_xlated, &translated),
        spec.source_pod.is_empty() || of_prefixes(&spec.source_pod, &source.spec.namespace, &source.spec.pod_name),
        spec.destination_pod.is_empty()
            || of_prefixes(&spec.destination_pod, &destination.spec.namespace, &destination.spec.pod_name),
        spec.source_service.is_empty()
            || source.service.is_some_and(|(namespace, name)| of_prefixes(&spec.source_service, namespace, name)),
        spec.destination_service.is_empty()
            || destination
                .service
                .is_some_and(|(namespace, name)| of_prefixes(&spec.destination_service, namespace, name)),
        spec.source_fqdn.is_empty() || of_fqdns(&spec.source_fqdn, &source.names),
        spec.destination_fqdn.is_empty() || of_fqdns(&spec.destination_fqdn, &destination.names),
        spec.source_label.is_empty() || of_selectors(&spec.source_label, &source.spec.labels),
        spec.destination_label.is_empty() || of_selectors(&spec.destination_label, &destination.spec.labels),
        spec.node_labels.is_empty() || of_selectors(&spec.node_labels, &extra.node_labels),
        spec.source_workload.is_empty() || of_workloads(&spec.source_workload, &source.spec.workloads),
        spec.destination_workload.is_empty() || of_workloads(&spec.destination_workload, &destination.spec.workloads),
        spec.source_cluster_name.is_empty() || spec.source_cluster_name.iter().any(|name| name == source.cluster),
        spec.destination_cluster_name.is_empty()
            || spec.destination_cluster_name.iter().any(|name| name == destination.cluster),
        spec.source_identity.is_empty() || spec.source_identity.contains(&source.spec.identity),
        spec.destination_identity.is_empty() || spec.destination_identity.contains(&destination.spec.identity),
        spec.source_port.is_empty() || of_port(&spec.source_port, source.port),
        spec.destination_port.is_empty() || of_port(&spec.destination_port, destination.port),
        spec.traffic_direction.is_empty() || spec.traffic_direction.contains(&extra.traffic_direction),
        spec.verdict.is_empty() || spec.verdict.contains(&extra.verdict),
        spec.drop_reason_desc.is_empty() || dropped && spec.drop_reason_desc.contains(&extra.drop_reason),
        spec.interface.is_empty()
            || extra.interface.as_ref().is_some_and(|is| {
                spec.interface.iter().any(|wanted| {
                    [0, is.index].contains(&wanted.index) && ["", &is.name].contains(&wanted.name.as_str())
                })
            }),
        spec.event_type.is_empty()
            || extra.event_type.is_some_and(|kind| {
                spec.event_type.iter().any(|wanted| {
                    [0, kind].contains(&wanted.kind) && (!wanted.match_sub_type || wanted.sub_type == extra.sub_type)
                })
            }),
        spec.http_status_code.is_empty()
            || http.is_some_and(|http| {
                let code = format!("{:03}", http.code);
                http.code != 0
                    && spec.http_status_code.iter().any(|wanted| match wanted.strip_suffix('+') {
                        Some(prefix) => code.starts_with(prefix),
                        None => code == *wanted,
                    })
            }),
        spec.http_method.is_empty()
            || http.is_some_and(|http| spec.http_method.iter().any(|method| method.eq_ignore_ascii_case(&http.method))),
        spec.http_url.is_empty() || http.is_some_and(|http| matching(&spec.http_url, &http.url)),
        spec.http_path.is_empty()
            || http.is_some_and(|http| {
                let path = match http.url.as_str() {
                    "http://x/v1/items" => "/v1/items",
                    "http://x" => "",
                    "/only/path" => "/only/path",
                    "http://x/a%2Fb?q=/zzz" => "/a/b",
                    _ => return false,
                };
                matching(&spec.http_path, path)
            }),
        spec.http_header.is_empty()
            || http.is_some_and(|http| {
                http.headers.iter().any(|(key, value)| {
                    spec.http_header.iter().any(|wanted| (&wanted.key, &wanted.value) == (key, value))
                })
            }),
        spec.dns_query.is_empty() || dns.is_some_and(|dns| matching(&spec.dns_query, &dns.query)),
        spec.protocol.is_empty()
            || spec.protocol.iter().any(|protocol| match protocol.to_lowercase().as_str() {
                "icmp" => matches!(flow.l4, L4::IcmpV4 | L4::IcmpV6),
                "dns" => dns.is_some(),
                "http" => http.is_some(),
                other => flow.l4 != L4::None && flow.l4.name().to_lowercase() == other,
            }),
        spec.tcp_flags.is_empty() || spec.tcp_flags.iter().any(|bits| flow.tcp_flags.has(*bits)),
        spec.reply.is_empty() || reply.is_some_and(|reply| spec.reply.contains(&reply)),
        spec.encrypted.is_empty() || spec.encrypted.contains(&(extra.has_ip && extra.encrypted)),
        spec.ip_version.is_empty() || spec.ip_version.contains(&if extra.has_ip { flow.family as i32 } else { 0 }),
        spec.node_name.is_empty()
            || spec.node_name.iter().any(|wanted| match (wanted.as_str(), extra.node_name.as_str()) {
                (_, "") => false,
                ("c1/", name) => name.starts_with("c1/"),
                ("default/node-1", name) => name == "node-1",
                _ => true,
            }),
        spec.trace_id.is_empty() || spec.trace_id.contains(&extra.trace_id),
        spec.ip_trace_id.is_empty() || spec.ip_trace_id.contains(&extra.ip_trace_id),
    ];
    rules.into_iter().all(|fits| fits)
}

fn of_places(places: &[String], ip: &str) -> bool {
    let Ok(parsed) = ip.parse::<IpAddr>() else { return false };
    places.iter().any(|place| match place.parse::<IpNet>() {
        Ok(net) => net.contains(&parsed),
        Err(_) => place == ip,
    })
}

fn of_prefixes(prefixes: &[String], namespace: &str, name: &str) -> bool {
    !(namespace.is_empty() && name.is_empty())
        && prefixes.iter().any(|prefix| {
            let (wanted, start) = prefix.split_once('/').unwrap_or(("default", prefix));
            (wanted.is_empty() || wanted == namespace) && name.starts_with(start)
        })
}

fn of_fqdns(patterns: &[String], names: &[&str]) -> bool {
    patterns.iter().any(|pattern| {
        let pattern = pattern.trim().trim_end_matches('.').to_lowercase();
        let expression = regex::escape(&pattern).replace("\\*", "[-.0-9a-z]*");
        let expression = Regex::new(&format!("^(?:{expression})$")).unwrap();
        names.iter().any(|name| expression.is_match(name))
    })
}

fn of_workloads(wanted: &[WorkloadSpec], workloads: &[Workload]) -> bool {
    workloads.iter().any(|is| {
        wanted.iter().any(|wanted| {
            ["", &is.name].contains(&wanted.name.as_str()) && ["", &is.kind].contains(&wanted.kind.as_str())
        })
    })
}

/// The selectors of the test, each spelt out.
fn of_selectors(selectors: &[String], labels: &[String]) -> bool {
    let value = |source: &str, key: &str| {
        labels.iter().find_map(|label| {
            let (origin, rest) = label.split_once(':').unwrap_or(("", label));
            let (name, value) = rest.split_once('=').unwrap_or((rest, ""));
            ((source.is_empty() || source == origin) && name == key).then(|| value.to_owned())
        })
    };
    let is = |source, key, wanted: &str| value(source, key).is_some_and(|value| value == wanted);
    selectors.iter().any(|selector| match selector.as_str() {
        "app" => value("", "app").is_some(),
        "k8s:app=foo" => is("k8s", "app", "foo"),
        "!team" => value("", "team").is_none(),
        "team>5" => value("", "team").is_some_and(|value| value.parse::<i64>().is_ok_and(|number| number > 5)),
        "app in (z, y)" => is("", "app", "z") || is("", "app", "y"),
        "reserved:world,app!=foo" => value("reserved", "world").is_some() && !is("", "app", "foo"),
        "any:app=z" => is("", "app", "z"),
        "zone=a" => is("", "zone", "a"),
        "k8s:zone" => value("k8s", "zone").is_some(),
        "!os" => value("", "os").is_none(),
        "os=linux" => is("", "os", "linux"),
        other => panic!("{other}"),
    })
}
