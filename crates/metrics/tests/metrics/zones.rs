//! The nodes, zones and regions of both ends, as labels and contexts.

use std::sync::Arc;

use webb_flow::sym::Sym;
use webb_flow::{Flow, L4};
use webb_index::{Draft, Endpoint, EndpointKind, Index, PodChanges, ZoneSpec, Zones};

use crate::common::{address, aggregators, exposed, exposition, feed, flow, pod};

const ALL: &str = "icmp:labelsContext=source_node,source_zone,source_region,destination_node,destination_zone,\
                   destination_region";

fn zones(moved: &str) -> Zones {
    let spec =
        |node: &str, zone: &str, region: &str| ZoneSpec { node: node.into(), zone: zone.into(), region: region.into() };
    Zones::new("n1", vec![spec("n1", "a", "west"), spec("n2", moved, "west"), spec("n3", "", "")], Arc::default())
}

/// One pod on each of three nodes, the third in no zone; this node; another one.
fn draft() -> Draft {
    let on = |node: &str, endpoint: Endpoint| Endpoint { node: Sym::new(node), ..endpoint };
    let mut draft = Draft::default();
    for (ip, endpoint) in [
        ("10.0.0.1", on("n1", pod("default", "one", "one"))),
        ("10.0.0.2", on("n2", pod("default", "two", "two"))),
        ("10.0.0.3", on("n3", pod("default", "three", "three"))),
        ("192.168.0.1", Endpoint::reserved(EndpointKind::Host, 1, "reserved:host")),
        ("192.168.0.2", on("n2", Endpoint::reserved(EndpointKind::RemoteNode, 6, "reserved:remote-node"))),
    ] {
        let sort = webb_flow::Sort::Remote;
        let id = draft.add(sort, endpoint);
        draft.set(address(ip), Some(id), None);
    }
    draft
}

fn publish(draft: &mut Draft) -> Arc<Index> {
    Arc::new(draft.publish(0, PodChanges::default()))
}

fn ping(index: &Index, source: &str, destination: &str) -> Flow {
    Flow { l4: L4::IcmpV4, icmp_type: 8, ..flow(index, source, destination) }
}

fn labels(text: &str) -> String {
    let line = text.lines().find(|line| !line.starts_with('#')).unwrap_or_default();
    line.split(['{', '}']).nth(1).unwrap_or_default().replace("\",", "\" ")
}

/// Pods and nodes have their node's place, also without a zone; the world has none.
#[test]
fn both_ends_have_a_place() {
    let mut draft = draft();
    draft.set_zones(zones("b"), 0);
    let index = publish(&mut draft);
    let shown = |source: &str, destination: &str| labels(&exposed(ALL, &[ping(&index, source, destination)], &index));
    let place = |end: &str, node: &str, zone: &str, region: &str| {
        format!("{end}_node=\"{node}\" {end}_region=\"{region}\" {end}_zone=\"{zone}\"")
    };
    for (ip, node, zone, region) in [
        ("10.0.0.1", "n1", "a", "west"),
        ("10.0.0.2", "n2", "b", "west"),
        ("10.0.0.3", "n3", "", ""),
        ("192.168.0.1", "n1", "a", "west"),
        ("192.168.0.2", "n2", "b", "west"),
        ("8.8.8.8", "", "", ""),
    ] {
        let there = shown("10.0.0.1", ip);
        assert!(there.contains(&place("destination", node, zone, region)), "{there}");
        let back = shown(ip, "10.0.0.1");
        assert!(back.contains(&place("source", node, zone, region)), "{back}");
    }
    let context = "icmp:sourceContext=zone|ip;destinationContext=region|node";
    let text = exposed(context, &[ping(&index, "10.0.0.3", "10.0.0.3")], &index);
    assert!(text.contains("destination=\"n3\"") && text.contains("source=\"10.0.0.3\""), "{text}");
}

/// A node that moves names what follows anew, and what was counted stays where it was.
#[test]
fn a_node_moves() {
    let mut draft = draft();
    draft.set_zones(zones("b"), 0);
    let before = publish(&mut draft);
    draft.set_zones(zones("b"), 0);
    let same = publish(&mut draft);
    assert_eq!(same.generation(), before.generation(), "nothing has changed");
    draft.set_zones(zones("c"), 0);
    let after = publish(&mut draft);
    let mut counting = aggregators("icmp:labelsContext=destination_zone");
    for index in [&before, &same, &after] {
        feed(&mut counting, &[ping(index, "10.0.0.1", "10.0.0.2")], index);
    }
    let text = exposition(&mut counting);
    let count = |zone: &str| text.lines().find(|line| line.contains(&format!("destination_zone=\"{zone}\""))).unwrap();
    assert!(count("b").ends_with(" 2") && count("c").ends_with(" 1"), "{text}");
}
