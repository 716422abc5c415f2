//! The first view: what is wrong right now, and who talks to whom.

use maud::{Markup, html};

use super::view::{Page, View};
use super::{changes, chart, empty, filter, map, pairs, text};
use crate::http::api::{ratio, wanted_pairs};
use crate::http::ledger;
use crate::readings::{Attention, Measure, PairRow, State, Trend};

/// Rows of "Needs a look".
const MAX_ATTENTION_ROWS: usize = 6;

/// Rows of the pairs with most bytes.
const MOST: usize = 8;

/// Rows of the pairs.
const PAIRS: usize = 12;

pub(super) fn view(page: &Page<'_>) -> Markup {
    let Page { node, query, .. } = page;
    let attention = node.cached.reading.attention();
    let rows = wanted_pairs(node, query);
    let shown: Vec<&PairRow> = rows.iter().copied().take(PAIRS).collect();
    html! {
        h1.sr { "Overview" }
        div.tiles id="tiles" data-live { (tiles(page)) }
        div.overview {
        section.card id="attention" data-live {
            @if attention.is_empty() {
                p.calm { span.check aria-hidden="true" { "✓" } " " b { "Nothing needs a look" } }
            } @else {
                h2 { "Needs a look " small { (attention.len().min(MAX_ATTENTION_ROWS)) " of " (attention.len()) ", most serious first" } }
                ul.looks { @for of in attention.iter().take(MAX_ATTENTION_ROWS) { (item(page, of)) } }
            }
        }
        section.card id="pairs" data-live {
            div.row {
                h2 { "Who talks to whom " small { (rows.len()) @if query.is_filtered() { " of " (node.cached.reading.pairs.len()) } " pairs; numbers are " @if query.bits { "bits" } @else { "bytes" } " a second" } }
                span.fill {}
                (switch(page))
            }
            (filter::form(page))
            @if shown.is_empty() {
                (empty::table(page, &TRAFFIC, node.cached.reading.pairs.len(), "No pod has talked yet"))
            } @else {
                @if let Some(focus) = &query.focus {
                    p { b { (text::plain_name(focus)) } ", its callers and callees. " a href={ "/" (query.with("focus", None)) } { "All workloads" } }
                }
                @if !query.table { (map::view(page, &rows)) }
                div.instead[!query.table] {
                    (pairs::table(page, &shown))
                    p { a href={ "/pairs" (query.with_all(&[("focus", None), ("show", None)])) } { "All " (rows.len()) " pairs" } }
                }
            }
        }
        section.card id="changes" data-live { (changes::card(page)) }
        section.card id="most" data-live { (most(page)) }
        }
    }
}

/// The pairs with most bytes.
fn most(page: &Page<'_>) -> Markup {
    let Page { node, query, .. } = page;
    let mut rows = wanted_pairs(node, query);
    let size =
        |row: &PairRow| std::cmp::Reverse((row.bytes(), row.out_bytes.total.saturating_add(row.back_bytes.total)));
    let by_size = |one: &&PairRow, other: &&PairRow| {
        size(one).cmp(&size(other)).then_with(|| (&one.from, &one.to).cmp(&(&other.from, &other.to)))
    };
    if rows.len() > MOST {
        rows.select_nth_unstable_by(MOST, by_size);
        rows.truncate(MOST);
    }
    rows.sort_by(by_size);
    let bytes = |counted| text::bytes(node.rate(Measure::Traffic, counted), query.bits);
    html! {
        h2 { "Most bytes " a.all href={ "/pairs" (query.with_all(&[("sort", Some("-bytes")), ("focus", None), ("show", None)])) } { "All pairs" } }
        div.scroll tabindex="0" role="region" aria-label="Most bytes" {
            table {
                caption.sr { "The pairs with most bytes" }
                thead { tr { th scope="col" { "From, to" } th.num scope="col" { "Out" } th.num scope="col" { "Back" } } }
                tbody {
                    @for row in rows {
                        tr {
                            td { (text::pair(&row.from, &row.to, row.is_directed)) }
                            td.num { (bytes(row.out_bytes)) }
                            td.num { (bytes(row.back_bytes)) }
                        }
                    }
                }
            }
        }
    }
}

/// The choice between map and table.
fn switch(page: &Page<'_>) -> Markup {
    let query = page.query;
    html! {
        span.switch {
            @for (name, value, is_it) in [("Map", None, !query.table), ("Table", Some("table"), query.table)] {
                a.button href={ "/" (query.with("show", value)) } aria-current=[is_it.then_some("true")] { (name) }
            }
        }
    }
}

const TRAFFIC: empty::Metric =
    empty::Metric { name: "traffic", or: "connections", measure: Measure::Traffic, what: "Traffic is" };

fn item(page: &Page<'_>, of: &Attention) -> Markup {
    html! {
        li {
            (text::symbol(of.state))
            span.sentence {
                (text::pair(&of.from, &of.to, true)) " "
                a href={ "/" (of.view) (page.query.with_all(&[("from", Some(&of.from)), ("to", Some(&of.to))])) } { (of.text) }
            }
            span.num { (text::per_second(Some(of.per_second))) }
            span.when { (text::since(of.since, page.node.now.unix)) }
        }
    }
}

/// One number of the first line.
struct Tile {
    view: View,
    label: &'static str,
    /// None where it is not watched.
    value: Option<Markup>,
    worst: String,
    /// Class of the chart.
    class: &'static str,
    state: Option<State>,
    trend: fn(&Trend) -> f64,
}

fn tiles(page: &Page<'_>) -> Markup {
    let node = page.node;
    html! {
        (accounted(page))
        @for tile in all(page) {
            a.tile.off[tile.value.is_none()] href={ (tile.view.path()) (page.query.of_views()) } {
                span.label { @if let Some(state) = tile.state { (text::symbol(state)) " " } (tile.label) }
                @match &tile.value {
                    Some(value) => span.value { (value) },
                    None => span.value { small { "not watched" } },
                }
                span.worst { (tile.worst) }
                @let values: Vec<f64> = node.cached.trends.iter().map(tile.trend).collect();
                @if tile.value.is_some() { (chart::spark(&values, tile.class, &format!("{}, the last minutes", tile.label))) }
            }
        }
    }
}

fn accounted(page: &Page<'_>) -> Markup {
    let hooks = ledger::hooks(page.node);
    let (seen, missing) = ledger::seen_and_missing(&hooks);
    html! {
        a.tile.off[hooks.is_empty()] href={ "/agent" (page.query.of_views()) } {
            span.label { @if missing > 0.0 { (text::symbol(State::Failing)) " " } "Accounted for" }
            @if hooks.is_empty() {
                span.value { small { "not watched" } }
                span.worst { "flows come from another agent" }
            } @else {
                span.value { (text::percent(Some(if seen > 0.0 { (seen - missing) / seen } else { 1.0 }))) }
                span.worst { "of " (text::count(seen)) " packets; " (text::count(missing)) " lost" }
                (chart::stacked(&[("flow", seen - missing), ("fail", missing)], "Packets with a pair, and without"))
            }
        }
    }
}

fn all(page: &Page<'_>) -> Vec<Tile> {
    let reading = &page.node.cached.reading;
    let totals = &reading.totals;
    let on = |names: &[&str]| names.iter().any(|name| empty::is_on(page, name));
    let worst = |state: State| {
        let mut rows = reading.pairs.iter().filter(|row| row.state == state);
        rows.next().map_or_else(String::new, |row| {
            let ends = format!("{} → {}", text::plain_name(&row.from), text::plain_name(&row.to));
            match rows.count() {
                0 => ends,
                more => format!("{ends}, {more} more"),
            }
        })
    };
    let share = |part, all| text::percent(ratio(part, all).or((!reading.span.is_zero()).then_some(0.0)));
    let value = |is_on: bool, value: &dyn Fn() -> Markup| is_on.then(value);
    let has = |state: State| reading.pairs.iter().any(|row| row.state == state).then_some(state);
    vec![
        Tile {
            view: View::Pairs,
            label: "Traffic",
            value: value(on(&["traffic"]), &|| text::bytes(reading.rate(totals.bytes), page.query.bits)),
            worst: format!("{} pairs, at pod interfaces", reading.pairs.len()),
            class: "flow",
            state: None,
            trend: |trend| trend.bytes,
        },
        Tile {
            view: View::Drops,
            label: "Drops",
            value: value(on(&["drop"]), &|| text::per_second(reading.rate(totals.drops))),
            worst: worst(State::Denied),
            class: "denied",
            state: has(State::Denied),
            trend: |trend| trend.drops,
        },
        Tile {
            view: View::Drops,
            label: "Forbidden, passed",
            value: value(on(&["policy"]), &|| text::per_second(reading.rate(totals.passed))),
            worst: worst(State::Passed),
            class: "audit",
            state: has(State::Passed),
            trend: |trend| trend.passed,
        },
        Tile {
            view: View::Connections,
            label: "Connects failed",
            value: value(on(&["connections"]), &|| share(totals.failed, totals.attempts)),
            worst: worst(State::Failing),
            class: "fail",
            state: has(State::Failing),
            trend: |trend| trend.failed,
        },
        Tile {
            view: View::Dns,
            label: "DNS errors",
            value: value(on(&["dns"]), &|| share(totals.answer_errors, totals.answers)),
            worst: String::new(),
            class: "fail",
            state: None,
            trend: |trend| trend.answer_errors,
        },
        Tile {
            view: View::Http,
            label: "HTTP 5xx",
            value: value(on(&["http", "httpV2"]), &|| share(totals.request_errors, totals.requests)),
            worst: String::new(),
            class: "fail",
            state: None,
            trend: |trend| trend.request_errors,
        },
    ]
}
