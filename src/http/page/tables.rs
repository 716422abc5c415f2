//! The views with one table: drops, connections, DNS and HTTP.

use maud::{Markup, html};

use super::empty::{self, Metric};
use super::heading::heading;
use super::view::Page;
use super::{chart, filter, text};
use crate::http::api::{Sorted, ratio, sort, wanted_answers, wanted_drops, wanted_http, wanted_pairs};
use crate::http::policies::SelectingPolicies;
use crate::http::query::Query;
use crate::readings::{Counted, Measure, Outcome, PairRow, State};

/// Rows that a view shows at most; the API pages through all.
const ROWS: usize = 100;

/// A view with a table: its title, the rows that are wanted, and all.
struct Table<'a, T> {
    id: &'a str,
    title: &'a str,
    metric: Metric,
    nothing: &'a str,
    rows: Vec<T>,
    all: usize,
    /// What each column sorts by, its heading, and true for numbers.
    columns: &'a [(&'a str, &'a str, bool)],
}

impl<T> Table<'_, T> {
    fn markup(&self, page: &Page<'_>, cells: impl Fn(&T) -> Markup) -> Markup {
        html! {
            section.card id=(self.id) data-live {
                h1 { (self.title) " " small { (self.rows.len()) @if self.rows.len() != self.all { " of " (self.all) } } }
                (filter::form(page))
                @if self.rows.is_empty() { (empty::table(page, &self.metric, self.all, self.nothing)) }
                @else {
                    @if self.rows.len() > 25 { a.skip href="#below" { "Skip the table" } }
                    div.scroll tabindex="0" role="region" aria-label=(self.title) {
                        table {
                            caption.sr { (self.title) @if page.query.sort.is_none() { ", the most serious first" } }
                            thead { tr { @for (key, name, is_number) in self.columns { (heading(page, key, name, *is_number)) } } }
                            tbody { @for row in self.rows.iter().take(ROWS) { tr { (cells(row)) } } }
                        }
                    }
                    p id="below" {
                        @if self.rows.len() > ROWS {
                            (self.rows.len() - ROWS) " rows are not shown; "
                            a href={ "/api/v1/" (self.id) (page.query.with("limit", Some("500"))) } { "the API has them" } "."
                        } @else { "All rows are shown." }
                    }
                }
            }
        }
    }
}

/// Rows in the order that a query wants, or in their own.
fn sorted<'a, T: Sorted>(rows: impl Iterator<Item = &'a T>, query: &Query) -> Vec<&'a T> {
    let mut rows: Vec<&T> = rows.collect();
    let _noted_by_the_api = sort(&mut rows, query);
    rows
}

/// What is dropped, denied, or passes though it is forbidden.
pub(super) fn drops(page: &Page<'_>) -> Markup {
    let Page { node, query, .. } = page;
    let reading = &node.cached.reading;
    let table = Table {
        id: "drops",
        title: "Drops",
        metric: Metric { name: "drop", or: "policy", measure: Measure::Drop, what: "Drops are" },
        nothing: "No packet was dropped",
        rows: sorted(wanted_drops(node, query), query),
        all: reading.drops.len(),
        columns: &[
            ("from", "From, to", false),
            ("state", "State", false),
            ("why", "Reason", false),
            ("rate", "Rate", true),
            ("total", "In all", true),
            ("since", "Since", true),
        ],
    };
    let policies = SelectingPolicies::new(node);
    table.markup(page, |row| {
        let policies = policies.of(row);
        html! {
            td { (text::pair(&row.from, &row.to, true)) }
            td { (text::state(row.state)) }
            td.muted {
                @match row.state {
                    State::Passed => { "a policy for " (text::visible(&row.direction)) " forbids it, and nothing enforces it" }
                    _ => {
                        (text::visible(&row.reason))
                        @if let Some(protocol) = &row.protocol { ", " (text::visible(protocol)) }
                    }
                }
                @for (at, policy) in policies.named.iter().enumerate() {
                    @if at == 0 { br; "selected by " } @else { ", " }
                    bdi { (text::visible(policy)) }
                }
                @if policies.hidden > 0 { " and " (policies.hidden) " more" }
            }
            td.num { (text::per_second(reading.rate(row.count))) }
            td.num { (text::total(row.count.total)) }
            td.num { (text::since(row.first, node.now.unix)) }
        }
    })
}

/// Which pair is slow, or fails.
pub(super) fn connections(page: &Page<'_>) -> Markup {
    let Page { node, query, .. } = page;
    let reading = &node.cached.reading;
    let rows: Vec<&PairRow> = wanted_pairs(node, query).into_iter().filter(|row| row.connections.is_some()).collect();
    let table = Table {
        id: "connections",
        title: "Connections",
        metric: Metric { name: "connections", or: "", measure: Measure::Attempt, what: "Connections are" },
        nothing: "No pod has opened a connection yet",
        rows,
        all: reading.pairs.iter().filter(|row| row.connections.is_some()).count(),
        columns: &[
            ("from", "From, to", false),
            ("state", "State", false),
            ("opened", "Opened", true),
            ("open", "Open", true),
            ("failed", "Failed", true),
            ("", "Outcome", false),
            ("", "Handshake", false),
            ("p50", "p50", true),
            ("p95", "p95", true),
            ("again", "Sent again", true),
        ],
    };
    table.markup(page, |row| {
        let Some(of) = &row.connections else { return html! {} };
        let (attempts, (failed, most)) = (of.attempts(), of.failed());
        let failures = ratio(Counted { window: failed, total: failed }, attempts);
        let accepted = of.outcomes.first().map_or(0, |accepted| accepted.window);
        #[allow(clippy::cast_precision_loss, reason = "a bar is some pixels wide")]
        let parts = [("flow", accepted as f64), (class_of(most), failed as f64)];
        let said = format!("{accepted} accepted, {failed} failed");
        html! {
            td { (text::pair(&row.from, &row.to, true)) }
            td { (text::state(row.state)) }
            td.num { (text::per_second(reading.rate(attempts))) }
            td.num { (text::total(of.open)) }
            td.num { (text::percent(failures)) @if failed > 0 { " " span.muted { (most.label().replace('_', " ")) } } }
            td { (chart::stacked(&parts, &said)) }
            td { (chart::histogram(&of.handshake.counts, "Handshakes by their time")) }
            td.num { (text::seconds(of.handshake.quantile(0.5))) }
            td.num { (text::seconds(of.handshake.quantile(0.95))) }
            td.num { (text::per_second(reading.rate(of.sent_again))) }
        }
    })
}

fn class_of(outcome: Outcome) -> &'static str {
    if outcome == Outcome::Denied { "denied" } else { "fail" }
}

/// Which name fails, and for whom.
pub(super) fn dns(page: &Page<'_>) -> Markup {
    let Page { node, query, .. } = page;
    let reading = &node.cached.reading;
    let table = Table {
        id: "dns",
        title: "DNS",
        metric: Metric { name: "dns:query", or: "dns", measure: Measure::DnsAnswer, what: "DNS is" },
        nothing: "No answer was seen yet",
        rows: sorted(wanted_answers(node, query), query),
        all: reading.answers.len(),
        columns: &[
            ("name", "Name", false),
            ("answer", "Answer", false),
            ("from", "Asked by, answered by", false),
            ("rate", "Rate", true),
            ("total", "In all", true),
            ("since", "Since", true),
        ],
    };
    table.markup(page, |row| {
        html! {
            td { @match &row.name { Some(name) => bdi { (text::visible(name)) }, None => span.muted { "without option query" } } }
            td { @if row.is_error { (text::symbol(State::Failing)) " " } (text::visible(&row.code)) @if row.is_try { " " span.muted { "tried in a search path" } } }
            td { (text::pair(&row.from, &row.to, true)) }
            td.num { (text::per_second(reading.rate(row.count))) }
            td.num { (text::total(row.count.total)) }
            td.num { (text::since(row.first, node.now.unix)) }
        }
    })
}

/// Which calls fail.
pub(super) fn http(page: &Page<'_>) -> Markup {
    let Page { node, query, .. } = page;
    let reading = &node.cached.reading;
    let table = Table {
        id: "http",
        title: "HTTP",
        metric: Metric { name: "httpV2", or: "http", measure: Measure::HttpRequest, what: "HTTP is" },
        nothing: "No request was seen yet",
        rows: sorted(wanted_http(node, query), query),
        all: reading.http.len(),
        columns: &[
            ("from", "From, to", false),
            ("rate", "Requests", true),
            ("", "Status", false),
            ("4xx", "4xx", true),
            ("5xx", "5xx", true),
            ("p50", "p50", true),
            ("p95", "p95", true),
            ("p99", "p99", true),
            ("side", "Reporter", false),
        ],
    };
    table.markup(page, |row| {
        let requests = row.requests();
        let of = |class: usize| row.status.get(class).copied().unwrap_or_default();
        #[allow(clippy::cast_precision_loss, reason = "a bar is some pixels wide")]
        let parts = [
            ("flow", (requests.window - of(4).window - of(5).window) as f64),
            ("slow", of(4).window as f64),
            ("fail", of(5).window as f64),
        ];
        let said = format!("{} of {} are 4xx, {} 5xx", of(4).window, requests.window, of(5).window);
        html! {
            td { (text::pair(&row.from, &row.to, true)) }
            td.num { (text::per_second(reading.rate(requests))) }
            td { (chart::stacked(&parts, &said)) }
            td.num { (text::percent(ratio(of(4), requests))) }
            td.num { (text::percent(ratio(of(5), requests))) }
            td.num { (text::seconds(row.times.quantile(0.5))) }
            td.num { (text::seconds(row.times.quantile(0.95))) }
            td.num { (text::seconds(row.times.quantile(0.99))) }
            td.muted { (text::visible(&row.reporter)) }
        }
    })
}
