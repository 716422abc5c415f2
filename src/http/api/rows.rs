//! The rows of the API, made of those of a reading.

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Value, json};
use webb_flow::fault::FaultType;

use super::sort::sort;
use super::time::rfc3339;
use crate::http::ledger::{self, HookLedger};
use crate::http::node_view::NodeView;
use crate::http::policies::{Selecting, SelectingPolicies};
use crate::http::query::Query;
use crate::readings::{
    AnswerRow, Attention, Connections, Counted, DropRow, HttpRow, Measure, Outcome, PairRow, State, Times, Watched,
};

/// A share; none of nothing.
pub(crate) fn ratio(part: Counted, all: Counted) -> Option<f64> {
    part.share_of(all)
}

/// Time of a first sample; none if it was the store's first, so that the time before is not known.
fn time(seconds: u64) -> Option<String> {
    (seconds > 0).then(|| rfc3339(seconds))
}

#[derive(Debug, Serialize)]
pub(super) struct Pair<'a> {
    from: &'a str,
    to: &'a str,
    /// False where it is not known which end calls.
    directed: bool,
    protocols: Vec<&'a str>,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    out_bytes_per_second: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    back_bytes_per_second: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    out_bytes_total: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    back_bytes_total: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    packets_per_second: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    drops_total: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connects_per_second: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    open: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failed_ratio: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    handshake_p50_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    handshake_p95_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    handshake_usual_p95_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    handshake_limit_p95_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_seen: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_seen: Option<String>,
    /// Bytes a second in the last quarter of an hour, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    trend: Vec<f64>,
}

/// The pairs that a query wants, in its order.
pub(crate) fn wanted_pairs<'a>(node: &'a NodeView, query: &Query) -> Vec<&'a PairRow> {
    let wanted = |row: &&PairRow| {
        let protocol = query.protocols.is_empty() || row.protocols.iter().any(|of| query.wants_protocol(of));
        protocol && query.wants_state(row.state) && query.wants_ends(&row.from, &row.to)
    };
    let mut rows: Vec<&PairRow> = node.cached.reading.pairs.iter().filter(wanted).collect();
    let _noted_by_the_api = sort(&mut rows, query);
    rows
}

/// A pair as the API has it.
pub(super) fn pair<'a>(node: &'a NodeView, row: &'a PairRow) -> Pair<'a> {
    let reading = &node.cached.reading;
    let total = |measure, counted: Counted| (node.watched(measure) != Watched::Nothing).then_some(counted.total);
    let connections = row.connections.as_ref();
    let quantile = |of: f64| connections.and_then(|connections| connections.handshake.quantile(of));
    let attempts = connections.map(Connections::attempts);
    Pair {
        from: &row.from,
        to: &row.to,
        directed: row.is_directed,
        protocols: row.protocols.iter().map(|protocol| &**protocol).collect(),
        state: row.state.label(),
        out_bytes_per_second: node.rate(Measure::Traffic, row.out_bytes),
        back_bytes_per_second: node.rate(Measure::Traffic, row.back_bytes),
        out_bytes_total: total(Measure::Traffic, row.out_bytes),
        back_bytes_total: total(Measure::Traffic, row.back_bytes),
        packets_per_second: node.rate(Measure::Traffic, row.packets),
        drops_total: total(Measure::Drop, row.drops),
        connects_per_second: attempts.and_then(|attempts| reading.rate(attempts)),
        open: connections.map(|of| of.open),
        failed_ratio: connections.and_then(|of| {
            let (failed, _) = of.failed();
            ratio(Counted { window: failed, total: failed }, of.attempts())
        }),
        handshake_p50_seconds: quantile(0.5),
        handshake_p95_seconds: quantile(0.95),
        handshake_usual_p95_seconds: row.usual_p95,
        handshake_limit_p95_seconds: row.limit_p95,
        first_seen: time(row.first),
        last_seen: time(row.last),
        trend: node.chart(row).into_iter().map(|rate| (rate * 10.0).round() / 10.0).collect(),
    }
}

/// What a page of pairs does not show.
#[allow(clippy::cast_precision_loss, reason = "a share is a float")]
pub(super) fn hidden_pairs(all: &[&PairRow], shown: &[&PairRow]) -> Value {
    let bytes = |rows: &[&PairRow]| rows.iter().map(|row| row.bytes() as f64).sum::<f64>();
    let problems = |rows: &[&PairRow]| rows.iter().filter(|row| row.state.is_problem()).count();
    let (sum, seen) = (bytes(all), bytes(shown));
    let hidden = if sum > 0.0 { (sum - seen) / sum } else { 0.0 };
    json!({"rows": all.len() - shown.len(), "bytes_ratio": hidden, "problems": problems(all) - problems(shown)})
}

/// What a page of any other rows does not show.
pub(super) fn hidden<T>(all: &[T], shown: &[T]) -> Value {
    json!({"rows": all.len() - shown.len()})
}

#[derive(Debug, Serialize)]
pub(super) struct Histogram {
    bounds_seconds: Vec<f64>,
    counts: Vec<u64>,
    p50_seconds: Option<f64>,
    p95_seconds: Option<f64>,
    p99_seconds: Option<f64>,
}

fn histogram(times: &Times) -> Histogram {
    Histogram {
        bounds_seconds: times.bounds.to_vec(),
        counts: times.counts.clone(),
        p50_seconds: times.quantile(0.5),
        p95_seconds: times.quantile(0.95),
        p99_seconds: times.quantile(0.99),
    }
}

/// Connections of a pair.
pub(super) fn connection(node: &NodeView, row: &PairRow) -> Option<Value> {
    let reading = &node.cached.reading;
    let of = row.connections.as_ref()?;
    let outcomes = Outcome::ALL.into_iter().zip(of.outcomes);
    let outcomes: serde_json::Map<_, _> =
        outcomes.map(|(outcome, count)| (outcome.label().to_owned(), json!(count.window))).collect();
    Some(json!({
        "from": &*row.from, "to": &*row.to, "state": row.state.label(),
        "reporter": if of.by_client { "client" } else { "server" },
        "connects_per_second": reading.rate(of.attempts()), "open": of.open, "outcomes": outcomes,
        "sent_again_per_second": reading.rate(of.sent_again),
        "handshake": histogram(&of.handshake), "round_trip": histogram(&of.round_trip),
    }))
}

/// The drops that a query wants.
pub(crate) fn wanted_drops<'a>(node: &'a NodeView, query: &'a Query) -> impl Iterator<Item = &'a DropRow> {
    node.cached.reading.drops.iter().filter(|row| {
        let protocol = row.protocol.as_ref().is_none_or(|protocol| query.wants_protocol(protocol));
        protocol && query.wants_state(row.state) && query.wants_ends(&row.from, &row.to)
    })
}

/// The answers of DNS that a query wants.
pub(crate) fn wanted_answers<'a>(node: &'a NodeView, query: &'a Query) -> impl Iterator<Item = &'a AnswerRow> {
    let rows = node.cached.reading.answers.iter();
    rows.filter(|row| query.wants_ends(&row.from, &row.to) && (!query.problems || row.is_error))
}

/// The rows of HTTP that a query wants: those with errors of a server if it wants problems only.
pub(crate) fn wanted_http<'a>(node: &'a NodeView, query: &'a Query) -> impl Iterator<Item = &'a HttpRow> {
    let has_errors = |row: &HttpRow| row.status.get(5).is_some_and(|errors| errors.window > 0);
    let rows = node.cached.reading.http.iter();
    rows.filter(move |row| query.wants_ends(&row.from, &row.to) && (!query.problems || has_errors(row)))
}

/// A drop as the API has it.
pub(super) fn drop_row(node: &NodeView, row: &DropRow, policies: &SelectingPolicies<'_>) -> Value {
    let reading = &node.cached.reading;
    let now = reading.moment.map_or(0, |moment| moment.unix.as_secs());
    let Selecting { named, hidden } = policies.of(row);
    json!({
        "from": &*row.from, "to": &*row.to, "proto": row.protocol.as_deref(), "verdict": row.state.label(),
        "reason": &*row.reason, "direction": &*row.direction,
        "policies": named, "policies_hidden": hidden,
        "per_second": reading.rate(row.count), "total": row.count.total,
        "first_seen": time(row.first), "new": row.first > 0 && now.saturating_sub(row.first) < 3600,
    })
}

/// Answers of DNS as the API has them.
pub(super) fn answer(node: &NodeView, row: &AnswerRow) -> Value {
    let reading = &node.cached.reading;
    json!({
        "name": row.name.as_deref(), "rcode": &*row.code, "from": &*row.from, "to": &*row.to, "error": row.is_error,
        "search_path": row.is_try,
        "per_second": reading.rate(row.count), "total": row.count.total, "first_seen": time(row.first),
    })
}

/// HTTP of a pair as the API has it.
pub(super) fn calls(node: &NodeView, row: &HttpRow) -> Value {
    let reading = &node.cached.reading;
    let classes = ["other", "1xx", "2xx", "3xx", "4xx", "5xx"];
    let status: serde_json::Map<_, _> =
        classes.iter().zip(row.status).map(|(class, count)| ((*class).to_owned(), json!(count.window))).collect();
    json!({
        "from": &*row.from, "to": &*row.to, "reporter": &*row.reporter,
        "requests_per_second": reading.rate(row.requests()), "status": status,
        "duration": histogram(&row.times),
    })
}

/// Number of what needs a look for each view, with the most serious state.
pub(super) fn attention_views(all: &[Attention]) -> Value {
    let mut views: Vec<(&str, State, usize)> = Vec::new();
    for of in all {
        // The most serious is first.
        match views.iter_mut().find(|(view, ..)| *view == of.view) {
            Some((_, _, count)) => *count += 1,
            None => views.push((of.view, of.state, 1)),
        }
    }
    let value =
        |(view, state, count): (&str, State, usize)| json!({"view": view, "state": state.label(), "count": count});
    views.into_iter().map(value).collect()
}

pub(super) fn attention(of: &Attention) -> Value {
    json!({
        "state": of.state.label(), "view": of.view, "from": &*of.from, "to": &*of.to, "text": of.text,
        "per_second": of.per_second, "first_seen": time(of.since), "new": of.is_new,
    })
}

/// A bound, and how much of it is in use.
#[derive(Debug, Serialize)]
pub(crate) struct Bound {
    pub(crate) name: &'static str,
    pub(crate) used: f64,
    pub(crate) limit: f64,
    pub(crate) unit: &'static str,
}

/// The bounds that the agent counts against.
pub(crate) fn limits(node: &NodeView) -> Vec<Bound> {
    let of = |name, used: f64, limit: f64, unit| (limit > 0.0).then_some(Bound { name, used, limit, unit });
    let ring = |ring: &str, name| {
        let labels = [("ring", ring)];
        of(name, node.own_of("webb_ring_used_bytes", &labels), node.own_of("webb_ring_size_bytes", &labels), "bytes")
    };
    let table = (node.own_of("webb_connection_table_entries", &[]), node.own_of("webb_connection_table_size", &[]));
    let history = (node.own_of("webb_observer_flows", &[]), node.own_of("webb_observer_capacity", &[]));
    let limits = [
        of("connection table", table.0, table.1, "connections"),
        ring("flow", "ring of flows"),
        ring("drop", "ring of drops"),
        ring("l7", "ring of layer 7"),
        of("history of flows", history.0, history.1, "flows"),
    ];
    limits.into_iter().flatten().collect()
}

#[derive(Debug, Serialize)]
pub(super) struct Agent {
    ledger: Vec<HookLedger>,
    components: Vec<Value>,
    limits: Vec<Bound>,
}

pub(super) fn agent(node: &NodeView) -> Agent {
    let component = |of: &Arc<webb_flow::fault::Component>| {
        let faults: serde_json::Map<_, _> =
            FaultType::ALL.into_iter().map(|kind| (kind.label().to_owned(), json!(of.faults(kind)))).collect();
        json!({
            "name": of.name(), "state": of.state().label(), "reason": of.reason(), "restarts": of.restarts(),
            "faults": faults, "queue_depth": of.queue(),
        })
    };
    Agent {
        ledger: ledger::hooks(node),
        components: node.components.iter().map(component).collect(),
        limits: limits(node),
    }
}
