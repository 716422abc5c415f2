//! Metrics of flows that the dissector makes: those beyond Hubble's, and labels from the wire.

use std::sync::Arc;

use webb_flow::extra::{Dns, Grpc, GrpcStatus, L7, L7Kind, L7Record, Unanswered};
use webb_flow::sym::Sym;
use webb_flow::{Direction, Event, Extra, ExtraId, Flow, L4};
use webb_index::filters::{FilterSpec, Filters, FlowFilter};
use webb_index::{Flows, Index};
use webb_metrics::grammar;

use crate::common::{aggregators, exposed_with, exposition, feed_view, flow, index, tcp};
use crate::layer7::{DEATHSTAR, TIEFIGHTER, WORLD, dns, event, http, reply};

/// The series of one batch, of flows as the dissector makes them.
fn live(index: &Arc<Index>, configuration: &str, flows: &[(Flow, L7)]) -> Vec<String> {
    let mut aggregators = aggregators(configuration);
    let extra = |l7: &L7| Extra { live: true, l7: Some(l7.clone()), ..event(129) };
    let extras: Vec<Extra> = flows.iter().map(|(_, l7)| extra(l7)).collect();
    let numbered = flows.iter().zip(0..);
    let flows: Vec<Flow> = numbered.map(|((flow, _), number)| Flow { extra: ExtraId(number), ..*flow }).collect();
    feed_view(&mut aggregators, Flows { flows: &flows, extras: &extras, index });
    let text = exposition(&mut aggregators);
    crate::parser::parse(webb_metrics::expose::Format::Text, &text);
    text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
}

fn response(latency_ns: u64, record: L7Record) -> L7 {
    L7 { kind: L7Kind::Response, latency_ns, record }
}

/// Answers by code and time, each in its bucket, and questions without an answer as often as they
/// were asked; the client is the source. A question, and an answer whose question is not known,
/// have no time.
#[test]
fn dns_latency() {
    let index = index();
    let back = reply(Flow { l4: L4::Udp, ..flow(&index, TIEFIGHTER, WORLD) });
    let back = Flow { event: Event::L7, direction: Direction::Egress, ..back };
    let answer = |rcode, latency_ns| (back, response(0, L7Record::Dns(Dns { rcode, latency_ns, ..Dns::default() })));
    let silent = |packets| {
        let flow = Flow { event: Event::Flush, packets, ..back };
        (flow, response(0, L7Record::Unanswered(Unanswered::default())))
    };
    let flows = [
        answer(0, Some(250_000)),
        answer(0, Some(251_000)),
        answer(0, None),
        answer(3, Some(5_000_000_000)),
        answer(77, Some(6_000_000_000)),
        answer(78, Some(6_000_000_000)),
        silent(1),
        silent(2),
    ];
    let series = live(&index, "dnsLatency:sourceContext=pod-name;destinationContext=reserved-identity", &flows);
    let value = |name: &str, labels: &str| {
        let begin = format!("webb_dns_{name}{{destination=\"reserved:world\"{labels}");
        let found: Vec<&str> = series.iter().filter_map(|line| line.strip_prefix(&begin)).collect();
        assert_eq!(found.len(), 1, "{begin} in {series:#?}");
        found[0].rsplit_once(' ').unwrap().1.to_owned()
    };
    let ok = ",rcode=\"No Error\",source=\"tiefighter\"";
    assert_eq!(value("unanswered_total", ",source=\"tiefighter\"}"), "3");
    assert_eq!(value("response_seconds_count", &format!("{ok}}}")), "2");
    assert_eq!(value("response_seconds_bucket", &format!("{ok},le=\"0.00025\"")), "1");
    assert_eq!(value("response_seconds_bucket", &format!("{ok},le=\"0.0005\"")), "2");
    let missing = ",rcode=\"Non-Existent Domain\",source=\"tiefighter\"";
    assert_eq!(value("response_seconds_bucket", &format!("{missing},le=\"2.5\"")), "0");
    assert_eq!(value("response_seconds_bucket", &format!("{missing},le=\"5\"")), "1");
    assert_eq!(value("response_seconds_count", ",rcode=\"\""), "2", "codes without a name are one series");

    let series = live(&index, "dnsLatency:buckets=0.00025,1", &flows[..2]);
    let bounds = ["0.00025\"} 1", "1\"} 2", "+Inf\"} 2"];
    let expected = bounds.map(|end| format!("webb_dns_response_seconds_bucket{{rcode=\"No Error\",le=\"{end}"));
    assert_eq!(series[..3], expected, "{series:#?}");
    assert_eq!(
        live(&index, "dns flow traffic", &[silent(1)]),
        [""; 0],
        "no metric of Hubble's counts what did not come"
    );
}

/// Bounds that are none are an error, with what was expected.
#[test]
fn buckets_that_are_none() {
    let error = |buckets: &str| webb_metrics::grammar::parse(&format!("dnsLatency:{buckets}")).unwrap_err().to_string();
    let many = (1..=65).map(|number| number.to_string()).collect::<Vec<_>>().join("|");
    for wrong in ["", "=", "=x", "=0", "=-1", "=1|1", "=2|1", "=inf", "=NaN|1", &format!("={many}")] {
        assert_eq!(
            error(&format!("buckets{wrong}")),
            "unable to initialize metric 'dnsLatency': expected 1 to 64 numbers of seconds above 0, each greater than \
             the one before, such as 0.001|0.01|0.1 (in option 'buckets')",
            "{wrong}"
        );
    }
    let most = many.strip_suffix("|65").unwrap();
    assert!(webb_metrics::grammar::parse(&format!("dnsLatency:BUCKETS={most}")).unwrap().warnings.is_empty());
    let twice = webb_metrics::grammar::parse("dnsLatency:buckets=1|2;Buckets=3").unwrap();
    let warnings: Vec<_> = twice.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warnings, ["metric 'dnsLatency' has several options 'buckets'; the last one counts"]);
}

/// A file may have the bounds as a list, or in one value as the static grammar writes them.
#[test]
fn buckets_of_a_file() {
    let bounds = |values: &[&str]| {
        let values = values.iter().map(ToString::to_string).collect();
        let option = webb_metrics::MetricOption { name: "buckets".to_owned(), values };
        webb_metrics::MetricConfig::new("dnsLatency", &[option], &mut webb_metrics::config::MetricFindings::default())
    };
    for values in [&["0.1", "0.2"] as &[&str], &["0.1|0.2"], &["0.1 | 0.2"], &["0.1", "0.2|0.3"]] {
        assert!(bounds(values).is_some(), "{values:?}");
    }
    for values in [&["0.1", "|"] as &[&str], &["0.1|"], &["0.2|0.1"]] {
        assert!(bounds(values).is_none(), "{values:?}");
    }
}

/// gRPC calls by status and reporter, with the client as source; the path is a label on demand, and
/// no other metric counts the end of a call.
#[test]
fn grpc() {
    let index = index();
    let back = reply(tcp(flow(&index, TIEFIGHTER, DEATHSTAR), 50_051, 0));
    let end = |status, direction, path: &str| {
        let flow = Flow { event: Event::Flush, direction, ..back };
        (flow, response(20_000_000, L7Record::Grpc(Grpc { status, path: path.to_owned() })))
    };
    let flows = [
        end(GrpcStatus::Number(0), Direction::Ingress, "/a.A/Get"),
        end(GrpcStatus::Number(0), Direction::Ingress, "/a.A/Put"),
        end(GrpcStatus::Number(14), Direction::Egress, "/a.A/Get"),
        end(GrpcStatus::Other, Direction::Ingress, "/a.A/Get"),
        end(GrpcStatus::Unknown, Direction::Ingress, "/a.A/Get"),
    ];
    let unseen = L7Record::Grpc(Grpc { status: GrpcStatus::Unknown, path: "/a.A/Get".to_owned() });
    let unseen = [(flows[0].0, response(0, unseen))];
    let found = live(&index, "grpc", &unseen);
    assert_eq!(found, ["webb_grpc_requests_total{grpc_status=\"unknown\",reporter=\"server\"} 1"], "it has no time");
    let counters = |configuration: &str| {
        let series = live(&index, configuration, &flows).into_iter();
        series.filter(|line| line.starts_with("webb_grpc_requests_total")).collect::<Vec<_>>()
    };
    let expected = [("0", "server", 2), ("14", "client", 1), ("other", "server", 1), ("unknown", "server", 1)];
    let expected = expected.map(|(status, reporter, count)| {
        format!(
            "webb_grpc_requests_total{{grpc_status=\"{status}\",reporter=\"{reporter}\",source=\"tiefighter\"}} {count}"
        )
    });
    assert_eq!(counters("grpc:sourceContext=pod-name"), expected);
    let by_method = counters("grpc:method");
    assert_eq!(by_method.len(), 5);
    assert_eq!(by_method[0], "webb_grpc_requests_total{grpc_status=\"0\",method=\"/a.A/Get\",reporter=\"server\"} 1");
    let long = [end(GrpcStatus::Number(0), Direction::Ingress, &format!("/{}", "m".repeat(1900)))];
    let clipped = format!("{{grpc_status=\"0\",method=\"/{}~\",reporter=\"server\"}} 1", "m".repeat(254));
    let found = live(&index, "grpc:method", &long);
    assert!(found.iter().any(|line| line.ends_with(&clipped)), "{found:#?}");
    let times = live(&index, "grpc", &flows);
    assert!(times.contains(&"webb_grpc_request_seconds_count{reporter=\"server\"} 4".to_owned()), "{times:#?}");
    assert!(times.contains(&"webb_grpc_request_seconds_bucket{reporter=\"server\",le=\"0.01\"} 0".to_owned()));
    assert!(times.contains(&"webb_grpc_request_seconds_bucket{reporter=\"server\",le=\"0.025\"} 4".to_owned()));
    assert_eq!(live(&index, "httpV2 flow traffic port-distribution policy dnsLatency", &flows), [""; 0]);
}

/// Filters see the flow as it is: that of the answer, from server to client, though the metric
/// names the client as source. That is Hubble's rule for `httpV2`, and holds for all metrics of
/// answers.
#[test]
fn filters_see_the_answer() {
    let index = index();
    let back = reply(tcp(flow(&index, TIEFIGHTER, DEATHSTAR), 80, 0));
    let call = L7Record::Grpc(Grpc { status: GrpcStatus::Number(0), path: String::new() });
    let answer = L7Record::Dns(Dns { latency_ns: Some(1), ..Dns::default() });
    let extra = |l7| Extra { live: true, l7: Some(l7), ..event(129) };
    let web = http(L7Kind::Response, "GET", 200).l7.unwrap();
    let metrics = [("httpV2", web), ("grpc", response(1, call)), ("dnsLatency", response(0, answer))];
    for (metric, l7) in metrics {
        let counted = |source: &str| {
            let spec = FilterSpec { source_pod: vec![source.to_owned()], ..FilterSpec::default() };
            let filters = Filters { include: vec![FlowFilter::new(spec).unwrap()], exclude: Vec::new() };
            let config = grammar::parse(&format!("{metric}:sourceContext=pod-name;destinationContext=pod-name"))
                .unwrap()
                .metrics[0]
                .clone();
            let mut aggregators = [webb_metrics::Aggregator::new(&config.with_filters(filters))];
            let flow = Flow { extra: ExtraId(0), ..back };
            feed_view(&mut aggregators, Flows { flows: &[flow], extras: &[extra(l7.clone())], index: &index });
            exposition(&mut aggregators)
        };
        assert!(counted("default/deathstar").contains("source=\"tiefighter\""), "{metric}");
        assert!(!counted("default/tiefighter").contains("source="), "{metric}");
    }
}

/// `httpV2` has responses only with its option, with the labels and the context of its requests.
#[test]
fn responses_on_demand() {
    let index = index();
    let answer = reply(tcp(flow(&index, TIEFIGHTER, DEATHSTAR), 80, 0));
    let flows = [(answer, http(L7Kind::Response, "GET", 200)), (answer, http(L7Kind::Response, "GET", 404))];
    let of = |configuration: &str, family: &str| {
        let text = exposed_with(configuration, &flows, &index);
        let lines = text.lines().filter_map(|line| line.strip_prefix(family)).map(str::to_owned);
        lines.collect::<Vec<_>>()
    };
    let with = "httpV2:responses=true;sourceContext=pod-name";
    let requests = of(with, "hubble_http_requests_total");
    assert_eq!(requests.len(), 2);
    assert_eq!(of(with, "hubble_http_responses_total"), requests);
    assert_eq!(of("httpV2", "hubble_http_responses_total"), [""; 0]);
}

/// `httpV2` has the path only with its option, in every family, and asks for the URL only then.
#[test]
fn paths_on_demand() {
    let index = index();
    let back = reply(tcp(flow(&index, TIEFIGHTER, DEATHSTAR), 80, 0));
    let of = |code: u32, url: &str| {
        let mut extra = http(L7Kind::Response, "PUT", code);
        if let Some(L7 { record: L7Record::Http(http), .. }) = &mut extra.l7 {
            url.clone_into(&mut http.url);
        }
        (back, extra)
    };
    let long = format!("http://deathstar/{}", "y".repeat(1900));
    let flows = [
        of(503, "http://deathstar/exhaust?x=1"),
        of(503, "http://deathstar/exhaust?x=2"),
        of(200, "/land"),
        of(201, &long),
        of(201, &format!("{long}z")),
    ];
    let exposed = |configuration: &str| exposed_with(configuration, &flows, &index);
    let with = exposed("httpV2:path;responses");
    for line in [
        r#"hubble_http_requests_total{method="PUT",path="/exhaust",protocol="HTTP/1.1",reporter="client",status="503"} 2"#,
        r#"hubble_http_responses_total{method="PUT",path="/land",protocol="HTTP/1.1",reporter="client",status="200"} 1"#,
        r#"hubble_http_request_duration_seconds_count{method="PUT",path="/exhaust",reporter="client"} 2"#,
    ] {
        assert!(with.lines().any(|found| found == line), "{line}\n{with}");
    }
    let clipped =
        format!("path=\"/{}~\",protocol=\"HTTP/1.1\",reporter=\"client\",status=\"201\"}} 2\n", "y".repeat(254));
    assert!(with.contains(&clipped), "{clipped}\n{with}");
    assert!(!exposed("httpV2").contains("path"));
    let wishes = |text: &str| grammar::parse(text).unwrap().metrics[0].layer7();
    assert!(wishes("httpV2:path").reads.url && !wishes("httpV2").reads.url && !wishes("http:path").reads.url);
}

/// A value longer than the limit is cut, in a metric's own labels and in its context, and two that
/// differ only beyond it are one series.
#[test]
fn long_values_are_cut() {
    let index = index();
    let udp = Flow { l4: L4::Udp, ..flow(&index, TIEFIGHTER, WORLD) };
    let asked = |end: &str| {
        let mut extra = dns(0, &["A"], &[]);
        let long = format!("{}{end}", "a".repeat(5000));
        extra.source_names = Sym::new(&long);
        let Some(L7 { record: L7Record::Dns(dns), .. }) = &mut extra.l7 else { unreachable!() };
        dns.query = long;
        (udp, extra)
    };
    let before = webb_metrics::limit::cut_values();
    let text = exposed_with("dns:query;sourceContext=dns", &[asked("x"), asked("y")], &index);
    let cut = "a".repeat(webb_metrics::limit::MAX_BYTES);
    let clipped = format!("{}~", "a".repeat(255));
    let series = format!(
        "hubble_dns_queries_total{{ips_returned=\"0\",qtypes=\"A\",query=\"{clipped}\",rcode=\"\",source=\"{cut}\"}} 2\n"
    );
    assert!(text.ends_with(&series));
    assert!(webb_metrics::limit::cut_values() >= before + 4);
}
