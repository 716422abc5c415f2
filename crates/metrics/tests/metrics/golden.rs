//! Exposition of known flows, letter by letter (hubble-contract §1, §2 and §6.1).

use webb_flow::{Direction, EndpointId, Event, Family, Flow, L4, Point, Reason, Reply, TcpFlags, Verdict};
use webb_index::Index;

use crate::common::{address, dropped, every_plugin, exposed, flow, index, reply, tcp};

const ACK: u16 = TcpFlags::ACK;
const DEATHSTAR: &str = "10.0.0.2";
const TIEFIGHTER: &str = "10.0.0.3";
const XWING: &str = "10.0.0.4";

/// A landing request of the tiefighter, an xwing that is denied, pings, DNS, and what seldom
/// happens.
fn story(index: &Index) -> Vec<Flow> {
    let landing = |port, flags| tcp(flow(index, TIEFIGHTER, DEATHSTAR), port, flags);
    let mut flows = vec![
        landing(80, TcpFlags::SYN),
        reply(landing(80, TcpFlags::SYN | ACK)),
        landing(80, ACK | TcpFlags::PSH),
        reply(landing(80, ACK | TcpFlags::PSH)),
        landing(80, ACK | TcpFlags::FIN),
        reply(landing(80, ACK | TcpFlags::FIN)),
        landing(8443, TcpFlags::SYN),
        reply(landing(8443, TcpFlags::RST | ACK)),
        tcp(flow(index, "fd00::3", "fd00::2"), 80, TcpFlags::SYN | TcpFlags::FIN),
    ];
    let denied = Flow { direction: Direction::Egress, ..tcp(flow(index, XWING, DEATHSTAR), 80, TcpFlags::SYN) };
    flows.extend([dropped(denied, "POLICY_DENIED"); 3]);
    flows.push(dropped(Flow { l4: L4::None, ..denied }, "NETFILTER_DROP"));
    // A denied layer-7 request carries no reason.
    flows.push(Flow { event: Event::L7, verdict: Verdict::Dropped, reason: Reason::NONE, ..denied });
    let ping = |source: &str, destination: &str, l4, icmp_type| Flow {
        l4,
        icmp_type,
        point: Point::ToStack,
        direction: Direction::Egress,
        ..flow(index, source, destination)
    };
    let echo = ping(TIEFIGHTER, "10.0.0.1", L4::IcmpV4, 8);
    flows.extend([echo, echo, reply(Flow { icmp_type: 0, ..echo })]);
    flows.push(ping("fd00::3", "fd00::1", L4::IcmpV6, 128));
    flows.push(ping("fd00::3", "fd00::1", L4::IcmpV6, 143));
    flows.push(dropped(Flow { icmp_type: 3, icmp_code: 3, ..echo }, "IP_OUTNOROUTES"));
    flows.push(Flow { l4: L4::Udp, destination_port: 53, ..flow(index, TIEFIGHTER, "1.1.1.1") });
    flows.push(Flow { event: Event::Socket, verdict: Verdict::Traced, ..landing(80, 0) });
    flows.push(Flow { event: Event::PolicyVerdict, verdict: Verdict::Redirected, ..landing(80, TcpFlags::SYN) });
    flows.push(Flow { event: Event::Flush, bytes: 1_000_000, packets: 1000, ..landing(80, TcpFlags::SYN) });
    flows
}

/// All plugins at their simplest: every family, label and value of the tables in hubble-contract
/// §1.
#[test]
fn plain() {
    let index = index();
    let text = exposed(&every_plugin(), &story(&index), &index);
    crate::parser::parse(webb_metrics::expose::Format::Text, &text);
    insta::assert_snapshot!(text);
}

/// The configuration of the lab: drops by pod, flows by workload or reserved identity, traffic by
/// pod pair.
#[test]
fn contexts() {
    let index = index();
    let configuration = "drop:sourceContext=pod;destinationContext=pod \
        flow:sourceContext=workload-name|reserved-identity;destinationContext=workload-name|reserved-identity \
        tcp:labelsContext=source_namespace,source_workload,destination_app,traffic_direction \
        traffic:sourceContext=pod|reserved-identity;destinationContext=ip";
    let text = exposed(configuration, &story(&index), &index);
    crate::parser::parse(webb_metrics::expose::Format::Text, &text);
    insta::assert_snapshot!(text);
}

/// The first series that one flow gives under a context.
fn series(context: &str, flow: &Flow) -> String {
    let text = exposed(&format!("icmp:{context}"), &[Flow { l4: L4::IcmpV4, ..*flow }], &index());
    text.lines().find(|line| !line.starts_with('#')).unwrap().replace("family=\"IPv4\",", "")
}

/// Every identifier at both ends (hubble-contract §2.2).
#[test]
fn identifiers() {
    let index = index();
    let landing = flow(&index, TIEFIGHTER, "10.0.0.1");
    let named = |identifier: &str| {
        series(&format!("sourceContext={identifier};destinationContext={identifier}"), &landing)
            .replace("hubble_icmp_total", "")
            .replace(",type=\"EchoReply\"} 1", "}")
    };
    let table = [
        ("identity", "reserved:host", "k8s:app=tiefighter,k8s:io.kubernetes.pod.namespace=default"),
        ("namespace", "", "default"),
        ("pod", "", "default/tiefighter"),
        ("pod-name", "", "tiefighter"),
        ("dns", "", ""),
        ("ip", "10.0.0.1", "10.0.0.3"),
        ("reserved-identity", "reserved:host", ""),
        ("workload", "", "default/tiefighter"),
        ("workload-name", "", "tiefighter"),
        ("app", "", "tiefighter"),
        ("POD-Name|ip", "10.0.0.1", "tiefighter"),
        ("dns|workload|reserved-identity", "reserved:host", "default/tiefighter"),
    ];
    for (identifier, destination, source) in table {
        assert_eq!(named(identifier), format!("{{destination=\"{destination}\",source=\"{source}\"}}"), "{identifier}");
    }
}

/// List of contexts for each direction; an empty list is as good as none (hubble-contract §2.1).
#[test]
fn directions() {
    let index = index();
    let of = |direction| Flow { direction, ..flow(&index, TIEFIGHTER, DEATHSTAR) };
    let (ingress, egress, unknown) = (of(Direction::Ingress), of(Direction::Egress), of(Direction::Unknown));
    let all = "sourceContext=namespace;sourceEgressContext=pod-name;sourceIngressContext=ip";
    assert_eq!(series(all, &ingress), "hubble_icmp_total{source=\"10.0.0.3\",type=\"EchoReply\"} 1");
    assert_eq!(series(all, &egress), "hubble_icmp_total{source=\"tiefighter\",type=\"EchoReply\"} 1");
    assert_eq!(series(all, &unknown), "hubble_icmp_total{source=\"default\",type=\"EchoReply\"} 1");
    // Only a directional option: the other direction has the label, empty.
    let one = "destinationEgressContext=pod-name";
    assert_eq!(
        series(one, &egress),
        "hubble_icmp_total{destination=\"deathstar-6c94dcc57b-7pr8c\",type=\"EchoReply\"} 1"
    );
    assert_eq!(series(one, &ingress), "hubble_icmp_total{destination=\"\",type=\"EchoReply\"} 1");
    let empty = "sourceContext=namespace;sourceEgressContext=";
    assert_eq!(series(empty, &egress), "hubble_icmp_total{source=\"default\",type=\"EchoReply\"} 1");
    assert_eq!(series("sourceContext=pod;sourceContext=", &egress), "hubble_icmp_total{type=\"EchoReply\"} 1");
}

/// All labels of `labelsContext` (hubble-contract §2.3), with both ends known, and with nothing
/// known at all.
#[test]
fn labels() {
    let index = index();
    let ends =
        |end: &str| ["ip", "pod", "namespace", "workload", "workload_kind", "app"].map(|name| format!("{end}_{name}"));
    let all = [&ends("source")[..], &ends("destination")[..]].concat().join(",");
    let context = format!("labelsContext={all},traffic_direction");
    assert_eq!(
        series(&context, &flow(&index, "fd00::4", "fd00::2")),
        "hubble_icmp_total{destination_app=\"deathstar\",destination_ip=\"fd00::2\",destination_namespace=\"default\",\
         destination_pod=\"deathstar-6c94dcc57b-7pr8c\",destination_workload=\"deathstar\",\
         destination_workload_kind=\"Deployment\",source_app=\"xwing\",source_ip=\"fd00::4\",\
         source_namespace=\"default\",source_pod=\"xwing\",source_workload=\"xwing\",\
         source_workload_kind=\"Deployment\",traffic_direction=\"ingress\",type=\"EchoReply\"} 1"
    );
    let nothing = Flow { event: Event::Trace, ..Flow::default() };
    assert_eq!(
        series("labelsContext=source_ip,destination_pod,traffic_direction", &nothing),
        "hubble_icmp_total{destination_pod=\"\",source_ip=\"\",traffic_direction=\"unknown\",type=\"EchoReply\"} 1"
    );
    let strange = Flow { source: EndpointId(77), ..flow(&index, XWING, DEATHSTAR) };
    assert_eq!(series("sourceContext=identity|pod", &strange), "hubble_icmp_total{source=\"\",type=\"EchoReply\"} 1");
}

/// Rules that leave a flow out (hubble-contract §1.2, §1.7, §1.10 and §1.12).
#[test]
fn what_does_not_count() {
    let index = index();
    let base = tcp(flow(&index, TIEFIGHTER, DEATHSTAR), 80, TcpFlags::SYN);
    let counted = |metric: &str, flow: Flow| !exposed(metric, &[flow], &index).is_empty();
    assert!(counted("tcp", base));
    assert!(counted("tcp", Flow { verdict: Verdict::Redirected, ..base }));
    assert!(!counted("tcp", Flow { verdict: Verdict::Audit, ..base }));
    assert!(!counted("tcp", dropped(base, "POLICY_DENIED")));
    assert!(!counted("tcp", Flow { tcp_flags: TcpFlags::default(), ..base }));
    assert!(!counted("tcp", Flow { tcp_flags: TcpFlags::known(ACK | TcpFlags::PSH), ..base }));
    assert!(!counted("tcp", Flow { family: Family::NotUsed, ..base }));
    assert!(!counted("tcp", Flow { event: Event::Flush, ..base }));
    assert!(counted("port-distribution", base));
    assert!(!counted("port-distribution", Flow { reply: Reply::Unknown, ..base }));
    assert!(!counted("port-distribution", Flow { reply: Reply::Yes, ..base }));
    assert!(!counted("port-distribution", Flow { l4: L4::None, ..base }));
    assert!(!counted("port-distribution", Flow { verdict: Verdict::Error, ..base }));
    assert!(!counted("port-distribution", Flow { event: Event::Flush, ..base }));
    assert!(!counted("drop", base));
    assert!(counted("drop", Flow { event: Event::PolicyVerdict, verdict: Verdict::Dropped, ..base }));
    assert!(!counted("icmp", base));
    assert!(counted("icmp", dropped(Flow { l4: L4::IcmpV6, ..base }, "X")));
    assert!(!counted("flow", Flow { event: Event::Flush, ..base }));
    assert!(counted("flow", Flow::default()));
    assert!(counted("traffic", Flow { event: Event::Flush, ..base }));
    assert!(!counted("traffic", dropped(base, "X")));
    assert!(!counted("traffic", Flow { event: Event::PolicyVerdict, ..base }));
}

/// Addresses are written as Go writes them.
#[test]
fn addresses() {
    let index = index();
    for (written, text) in [("2001:db8:0:0:1::1", "2001:db8::1:0:0:1"), ("::", "::"), ("192.168.0.1", "192.168.0.1")] {
        let flow = Flow { source_ip: address(written), ..flow(&index, written, XWING) };
        assert!(series("sourceContext=ip", &flow).contains(&format!("source=\"{text}\"")), "{written}");
    }
}
