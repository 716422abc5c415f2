//! All about one pair as JSON.

use serde_json::{Value, json};

use super::rows;
use crate::http::node_view::NodeView;
use crate::http::policies::SelectingPolicies;
use crate::http::query::Query;
use crate::http::take;

/// All that the rows have of the pair that a query names by `from` and `to`; `null` for an unknown
/// one.
pub(super) fn fields(node: &NodeView, query: &Query) -> Vec<(&'static str, Value)> {
    let reading = &node.cached.reading;
    let Some(row) = node.pair(query) else { return vec![("pair", Value::Null)] };
    let has_part = |from: &str, to: &str| row.has_part(from, to, query.by);
    let drops = reading.drops.iter().filter(|of| has_part(&of.from, &of.to));
    let answers = reading.answers.iter().filter(|of| has_part(&of.from, &of.to));
    let http = reading.http.iter().filter(|of| has_part(&of.from, &of.to));
    let policies = SelectingPolicies::new(node);
    vec![
        ("pair", json!(rows::pair(node, row))),
        ("trend", json!(node.chart(row))),
        ("ends", json!({"from": node.pods(&row.from), "to": node.pods(&row.to)})),
        ("connections", json!(rows::connection(node, row))),
        ("drops", drops.map(|of| rows::drop_row(node, of, &policies)).collect()),
        ("dns", answers.map(|of| rows::answer(node, of)).collect()),
        ("http", http.map(|of| rows::calls(node, of)).collect()),
        ("take", json!({"promql": take::promql(node, row, query), "commands": take::commands(node, row)})),
    ]
}
