//! The map of workloads as JSON.

use serde_json::{Value, json};

use super::rows::wanted_pairs;
use crate::http::map::{self, Node};
use crate::http::node_view::NodeView;
use crate::http::query::Query;
use crate::readings::{Counted, State};

pub(super) fn fields(node: &NodeView, query: &Query) -> Vec<(&'static str, Value)> {
    let (choice, drawn) = node.map(&wanted_pairs(node, query), query);
    let rate = |bytes: u64| node.cached.reading.rate(Counted { window: bytes, total: bytes });
    let bytes = map::bytes_of_boxes(&choice.lines);
    let state = |node: &Node| {
        let lines = choice.lines.iter().filter(|line| line.from == *node || line.to == *node);
        lines.map(|line| line.state).min().unwrap_or(State::Forwarded)
    };
    let nodes: Vec<Value> = drawn
        .boxes
        .iter()
        .map(|of| {
            let (column, row) = of.place;
            let namespace = Some(of.node.namespace()).filter(|namespace| !namespace.is_empty());
            json!({
                "id": id(&of.node), "name": &*of.node.end, "ns": namespace, "column": column, "row": row,
                "x": of.corner.x, "y": of.corner.y, "state": state(&of.node).label(),
                "bytes_per_second": rate(bytes.get(&of.node).copied().unwrap_or(0)),
            })
        })
        .collect();
    let edge = |line: &map::Line| {
        json!({
            "from": id(&line.from), "to": id(&line.to), "state": line.state.label(),
            "bytes_per_second": rate(line.bytes),
        })
    };
    let hub = |hub: &map::Hub| {
        let side = if hub.calls { "caller" } else { "callee" };
        json!({"id": &*hub.end, "side": side, "partners": hub.partners, "bytes_per_second": rate(hub.bytes)})
    };
    let hidden = json!({
        "rows": choice.hidden, "bytes_ratio": choice.hidden_share(), "problems": choice.hidden_problems,
    });
    vec![
        ("columns", json!(drawn.columns)),
        ("nodes", json!(nodes)),
        ("edges", choice.lines.iter().map(edge).collect()),
        ("hubs", choice.hubs.iter().map(hub).collect()),
        ("crossings", json!(drawn.crossings)),
        ("crossings_fresh", json!(drawn.fresh_crossings)),
        ("hidden", hidden),
    ]
}

/// The name of a box: what is no workload has two.
fn id(node: &Node) -> String {
    if node.is_sink { format!("{} as callee", node.end) } else { node.end.to_string() }
}
