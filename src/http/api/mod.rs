//! `/api/v1/...`: what the page shows, as JSON.
//!
//! Base units: bytes, seconds, shares from 0 to 1, times in RFC 3339. A field that is absent was
//! not measured; 0 was. Within v1 fields are only added.

mod changes;
mod map;
mod pair;
mod rows;
mod sort;
mod time;

use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use actix_web::{HttpRequest, HttpResponse, web};
pub(super) use rows::{limits, ratio, wanted_answers, wanted_drops, wanted_http, wanted_pairs};
use serde_json::{Value, json};
pub(super) use sort::{Sorted, sort};
pub(super) use time::rfc3339;

use super::ledger;
use super::node_view::{NodeView, ViewCache};
use super::policies::SelectingPolicies;
use super::query::Query;
use crate::readings::{Change, PairRow, State};

/// The schema of all answers.
const SCHEMA: &str = include_str!("schema.json");

/// These endpoints in the admin listener's index.
pub(super) const INDEX: &str = "\
GET  /api/v1/status              what the page's first view shows: sums, what needs a look, what is incomplete
GET  /api/v1/pairs               who talks to whom: bytes, connections, state; also drops, connections, dns, http
GET  /api/v1/pair?from=A&to=B    all about one pair, with PromQL and commands for it
GET  /api/v1/changes             what changed in the last six hours: pairs, drops, failures, pods, policies, the agent
GET  /api/v1/map                 the map of workloads: boxes with their places, lines, and what is not drawn
GET  /api/v1/agent               the ledger, the components and the limits
GET  /api/v1/schema.json         the schema of these answers
";

/// Adds these endpoints.
pub(super) fn routes(config: &mut web::ServiceConfig) {
    for (name, rows) in VIEWS {
        let to = move |request: HttpRequest, views: web::Data<ViewCache>| answer(request, views, rows);
        config.route(&format!("/api/v1/{name}"), web::get().to(to));
    }
    config.route("/api/v1/schema.json", web::get().to(schema)).route("/api/v1/{view:.*}", web::get().to(unknown));
}

type Rows = fn(&NodeView, &Query) -> Answer;

/// Each view, by its name in the path.
const VIEWS: [(&str, Rows); 10] = [
    ("status", status),
    ("pairs", |node, query| {
        let rows = rows::wanted_pairs(node, query);
        sorted::<PairRow>(query, table(query, &rows, rows::hidden_pairs, |row| json!(rows::pair(node, row))))
    }),
    ("connections", |node, query| {
        let mut rows = rows::wanted_pairs(node, query);
        rows.retain(|row| row.connections.is_some());
        sorted::<PairRow>(query, table(query, &rows, rows::hidden, |row| json!(rows::connection(node, row))))
    }),
    ("drops", |node, query| {
        let policies = SelectingPolicies::new(node);
        of_rows(query, rows::wanted_drops(node, query), |row| rows::drop_row(node, row, &policies))
    }),
    ("dns", |node, query| of_rows(query, rows::wanted_answers(node, query), |row| rows::answer(node, row))),
    ("http", |node, query| of_rows(query, rows::wanted_http(node, query), |row| rows::calls(node, row))),
    ("map", |node, query| map::fields(node, query).into()),
    ("pair", |node, query| pair::fields(node, query).into()),
    ("agent", |node, _| vec![("agent", json!(rows::agent(node)))].into()),
    ("changes", |node, query| {
        let row = |change: &Change| changes::row(change, node.now.unix.as_secs());
        let mut answer = of_rows(query, node.changes.wanted(query).into_iter(), row);
        answer.fields.push(("kept", changes::kept(node)));
        answer
    }),
];

/// Fields of an answer beside those of the envelope.
struct Answer {
    fields: Vec<(&'static str, Value)>,
    /// What of the query is left out by this view.
    note: Option<String>,
}

impl From<Vec<(&'static str, Value)>> for Answer {
    fn from(fields: Vec<(&'static str, Value)>) -> Self {
        Self { fields, note: None }
    }
}

async fn answer(request: HttpRequest, views: web::Data<ViewCache>, rows: Rows) -> HttpResponse {
    let query = Query::read(request.query_string());
    let views = Arc::clone(&views);
    let rendered = views.render((query.window, query.by), move |node| render(node, &query, rows)).await;
    match rendered {
        Ok(text) => HttpResponse::Ok()
            .insert_header((CONTENT_TYPE, "application/json"))
            .insert_header((CACHE_CONTROL, "no-store"))
            .body(text),
        Err(_busy) => busy(),
    }
}

/// The answer to one look too many.
pub(super) fn busy() -> HttpResponse {
    HttpResponse::ServiceUnavailable().insert_header((RETRY_AFTER, "1")).body("too many views at once; try again\n")
}

fn render(node: &NodeView, query: &Query, rows: Rows) -> String {
    let hooks = ledger::hooks(node);
    let degraded = ledger::degraded(node, &hooks);
    let reading = &node.cached.reading;
    let mut envelope = serde_json::Map::new();
    let mut add = |name: &str, value: Value| drop(envelope.insert(name.to_owned(), value));
    add("api", json!("v1"));
    add("node", json!(node.name));
    add("time", json!(reading.moment.map(|moment| rfc3339(moment.unix.as_secs()))));
    add("started", json!(rfc3339(node.started.unix.as_secs())));
    add("window_seconds", json!(reading.span.as_secs_f64()));
    add("complete", json!(degraded.is_empty()));
    add("degraded", json!(degraded));
    let Answer { fields, note } = rows(node, query);
    add("notes", query.notes.iter().chain(&note).map(|note| json!(note)).collect());
    for (name, value) in fields {
        add(name, value);
    }
    let mut text = Value::Object(envelope).to_string();
    text.push('\n');
    text
}

/// A page of a table, and what it hides. Only the rows of the page are made.
fn table<T>(query: &Query, rows: &[T], hidden: fn(&[T], &[T]) -> Value, row: impl Fn(&T) -> Value) -> Answer {
    let first = query.page.saturating_mul(query.limit).min(rows.len());
    let end = first.saturating_add(query.limit).min(rows.len());
    let shown = rows.get(first..end).unwrap_or_default();
    let next = (end < rows.len()).then(|| query.with("page", Some(&(query.page + 2).to_string())));
    let made = shown.iter().map(row).collect();
    Answer { fields: vec![("rows", made), ("hidden", hidden(rows, shown)), ("next", json!(next))], note: None }
}

/// The same of rows in their own order, or in that of the query.
fn of_rows<'a, T: Sorted>(query: &Query, rows: impl Iterator<Item = &'a T>, row: impl Fn(&T) -> Value) -> Answer {
    let mut rows: Vec<&T> = rows.collect();
    let note = sort::sort(&mut rows, query);
    Answer { note, ..table(query, &rows, rows::hidden, |of| row(of)) }
}

/// An answer of rows that are sorted already, with a note if they have not the column that the
/// query names.
fn sorted<T: Sorted>(query: &Query, answer: Answer) -> Answer {
    Answer { note: sort::sort::<T>(&mut [], query), ..answer }
}

fn status(node: &NodeView, query: &Query) -> Answer {
    let reading = &node.cached.reading;
    let totals = &reading.totals;
    let problems = reading.pairs.iter().filter(|row| row.state.is_problem()).count();
    let attention = reading.attention();
    let shown: Vec<_> = attention.iter().take(query.limit).map(rows::attention).collect();
    let (pods, namespaces) = node.pods_and_namespaces().unzip();
    let passing = reading.pairs.iter().filter(|row| row.state == State::Passed).count();
    let fields = vec![
        ("version", node.version.get("version").cloned().unwrap_or_default()),
        ("kernel", node.version.get("kernel").cloned().unwrap_or_default()),
        ("pods", json!(pods)),
        ("namespaces", json!(namespaces)),
        ("pairs", json!(reading.pairs.len())),
        ("problems", json!(problems)),
        ("changes_last_hour", json!(node.changes.recent(node.now.unix.as_secs()))),
        ("passing_against_policy", json!(passing)),
        ("interface_bytes_per_second", json!(reading.rate(totals.bytes))),
        ("drops_per_second", json!(reading.rate(totals.drops))),
        ("passed_per_second", json!(reading.rate(totals.passed))),
        ("connect_failed_ratio", json!(rows::ratio(totals.failed, totals.attempts))),
        ("dns_error_ratio", json!(rows::ratio(totals.answer_errors, totals.answers))),
        ("http_5xx_ratio", json!(rows::ratio(totals.request_errors, totals.requests))),
        ("attention_hidden", json!(attention.len() - shown.len())),
        ("attention_views", rows::attention_views(&attention)),
        ("attention", json!(shown)),
    ];
    fields.into()
}

async fn schema() -> HttpResponse {
    HttpResponse::Ok().insert_header((CONTENT_TYPE, "application/schema+json")).body(SCHEMA)
}

async fn unknown(path: web::Path<String>) -> HttpResponse {
    let names: Vec<_> = VIEWS.iter().map(|(name, _)| *name).collect();
    let text = format!("no view {:?}; there are: {}\n", *path, names.join(", "));
    HttpResponse::build(StatusCode::NOT_FOUND).body(text)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use super::*;
    use crate::http::node_view::tests::example;
    use crate::readings::tests::pair_row;

    const PAIR: &str = "from=shop/storefront&to=shop/cart";

    /// The answers to a small node, as scripts read them.
    #[test]
    fn answers_are_golden() {
        for (name, view) in VIEWS {
            let text = render(&example(), &Query::read(if name == "pair" { PAIR } else { "" }), view);
            let value: Value = serde_json::from_str(&text).unwrap();
            insta::assert_snapshot!(format!("api-{name}"), serde_json::to_string_pretty(&value).unwrap());
        }
    }

    fn fields(value: &Value, of: &mut BTreeSet<String>) {
        match value {
            Value::Object(map) => {
                for (name, value) in map {
                    of.insert(name.clone());
                    // Their keys are data.
                    if !matches!(name.as_str(), "outcomes" | "status" | "faults") {
                        fields(value, of);
                    }
                }
            }
            Value::Array(values) => values.iter().for_each(|value| fields(value, of)),
            _ => {}
        }
    }

    fn properties(value: &Value, of: &mut BTreeSet<String>) {
        if let Some(Value::Object(map)) = value.get("properties") {
            of.extend(map.keys().cloned());
        }
        match value {
            Value::Object(map) => map.values().for_each(|value| properties(value, of)),
            Value::Array(values) => values.iter().for_each(|value| properties(value, of)),
            _ => {}
        }
    }

    /// Problems of HTTP are calls with errors of the server.
    #[test]
    fn problems_of_http() {
        let mut node = example();
        let rows = |node: &NodeView, query: &str| {
            let answer: Value = serde_json::from_str(&render(node, &Query::read(query), VIEWS[5].1)).unwrap();
            answer["rows"].as_array().unwrap().len()
        };
        assert_eq!((rows(&node, ""), rows(&node, "problems=1")), (1, 1));
        let row = &mut Arc::get_mut(&mut node.cached).unwrap().reading.http[0];
        row.status[5].window = 0;
        assert_eq!((rows(&node, ""), rows(&node, "problems=1")), (1, 0));
    }

    /// The schema has every field that an answer has, and none that no answer has.
    #[test]
    fn the_schema_has_every_field() {
        let (mut answered, mut described) = (BTreeSet::new(), BTreeSet::new());
        for (_, view) in VIEWS {
            fields(&serde_json::from_str(&render(&example(), &Query::read("limit=1"), view)).unwrap(), &mut answered);
            fields(&serde_json::from_str(&render(&example(), &Query::default(), view)).unwrap(), &mut answered);
        }
        fields(&serde_json::from_str(&render(&example(), &Query::read(PAIR), VIEWS[7].1)).unwrap(), &mut answered);
        let mut hub = example();
        let pairs = &mut Arc::get_mut(&mut hub.cached).unwrap().reading.pairs;
        (pairs[0].usual_p95, pairs[0].limit_p95) = (Some(0.001), Some(0.25));
        pairs.extend((0..20).map(|of| pair_row(&format!("a/{of}"), "a/hub", State::Forwarded, 1)));
        for view in [VIEWS[1].1, VIEWS[6].1] {
            fields(&serde_json::from_str(&render(&hub, &Query::default(), view)).unwrap(), &mut answered);
        }
        properties(&serde_json::from_str(SCHEMA).unwrap(), &mut described);
        assert_eq!(answered, described);
    }

    /// A filter leaves out rows, and the answer says how many rows a limit hides.
    #[test]
    fn filters_and_limits() {
        let node = example();
        let all = rows::wanted_pairs(&node, &Query::default()).len();
        assert!(all >= 3);
        let problems = rows::wanted_pairs(&node, &Query::read("problems=1"));
        assert!(!problems.is_empty() && problems.len() < all);
        let text = render(&example(), &Query::read("limit=1"), VIEWS[1].1);
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["rows"].as_array().unwrap().len(), 1);
        assert_eq!(value["hidden"]["rows"], all - 1);
        assert_eq!(value["next"], "?limit=1&page=2");
        let status = render(&example(), &Query::read("limit=1"), status);
        let status: Value = serde_json::from_str(&status).unwrap();
        assert_eq!((status["attention"].as_array().unwrap().len(), &status["attention_hidden"]), (1, &json!(2)));
        assert_eq!(status["attention_views"][0]["count"], 2, "of all, not of those that are shown");
    }
}
