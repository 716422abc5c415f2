//! Who talks to whom, as a table.

use maud::{Markup, html};

use super::empty::{self, Metric};
use super::heading::heading;
use super::view::{Page, View};
use super::{chart, filter, pair, text};
use crate::http::api::{ratio, wanted_pairs};
use crate::readings::{Counted, Measure, PairRow};

/// Columns that sort, with their name in the query.
const COLUMNS: [(&str, &str); 5] =
    [("out", "Out"), ("back", "Back"), ("opened", "Opened"), ("p95", "Handshake p95"), ("drops", "Drops")];

const TRAFFIC: Metric = Metric { name: "traffic", or: "connections", measure: Measure::Traffic, what: "Traffic is" };

pub(super) fn view(page: &Page<'_>) -> Markup {
    let Page { node, query, .. } = page;
    let rows = wanted_pairs(node, query);
    let all = node.cached.reading.pairs.len();
    let first = query.page.saturating_mul(query.limit).min(rows.len());
    let end = first.saturating_add(query.limit).min(rows.len());
    let shown = rows.get(first..end).unwrap_or_default();
    html! {
        section.card id="pairs" data-live {
            h1 { "Pairs " small { (rows.len()) @if query.is_filtered() { " of " (all) } } }
            (filter::form(page))
            @if rows.is_empty() { (empty::table(page, &TRAFFIC, all, "No pod has talked yet")) }
            @else {
                @if shown.len() > 25 { a.skip href="#below" { "Skip the table" } }
                (table(page, shown))
                p id="below" { (hidden(page, &rows, first, end)) }
            }
        }
    }
}

fn hidden(page: &Page<'_>, rows: &[&PairRow], first: usize, end: usize) -> Markup {
    let query = page.query;
    let beyond = rows.iter().take(first).chain(rows.iter().skip(end));
    let bytes = |rows: &mut dyn Iterator<Item = &&PairRow>| {
        let mut sum = Counted::default();
        rows.for_each(|row| sum.window = sum.window.saturating_add(row.bytes()));
        sum
    };
    let problems = beyond.clone().filter(|row| row.state.is_problem()).count();
    let count = rows.len() - (end - first);
    html! {
        @if count == 0 { "All pairs are shown." } @else {
            (count) " pairs are not shown: " (text::percent(ratio(bytes(&mut beyond.into_iter()), bytes(&mut rows.iter()))))
            " of the bytes, " (problems) " with a problem. "
            @if first > 0 {
                a href={ "/pairs" (query.with("page", (query.page > 1).then(|| query.page.to_string()).as_deref())) } { "Previous" } " "
            }
            @if end < rows.len() { a href={ "/pairs" (query.with("page", Some(&(query.page + 2).to_string()))) } { "Next" } }
        }
    }
}

/// The table of these pairs.
pub(super) fn table(page: &Page<'_>, rows: &[&PairRow]) -> Markup {
    let Page { node, query, view, .. } = page;
    let reading = &node.cached.reading;
    let sorts = *view == View::Pairs;
    let key = |key: &'static str| if sorts { key } else { "" };
    html! {
        div.scroll tabindex="0" role="region" aria-label="Pairs" {
            table {
                caption.sr { "Pairs, those with a problem first, then by bytes" }
                thead { tr {
                    (heading(page, key("from"), "From, to", false))
                    (heading(page, key("state"), "State", false))
                    th.wide scope="col" { "Protocol" }
                    @for (of, name) in COLUMNS { (heading(page, key(of), name, true)) }
                    th.wide scope="col" { "15 min" }
                    @if sorts { th scope="col" { span.sr { "More" } } }
                } }
                tbody {
                    @for row in rows {
                        @let key = format!("{} {}", row.from, row.to);
                        @let is_open = sorts && query.open.as_ref() == Some(&key);
                        tr class=[is_open.then_some("open")] {
                            td { (text::pair(&row.from, &row.to, row.is_directed)) }
                            td { (text::state(row.state)) }
                            td.wide.muted { @for (at, protocol) in row.protocols.iter().enumerate() { @if at > 0 { ", " } (text::visible(protocol)) } }
                            td.num { (text::bytes(node.rate(Measure::Traffic, row.out_bytes), query.bits)) }
                            td.num { (text::bytes(node.rate(Measure::Traffic, row.back_bytes), query.bits)) }
                            td.num { (text::per_second(row.connections.as_ref().and_then(|of| reading.rate(of.attempts())))) }
                            td.num { (text::seconds(row.connections.as_ref().and_then(|of| of.handshake.quantile(0.95)))) }
                            td.num { (text::per_second(node.rate(Measure::Drop, row.drops))) }
                            td.wide { (chart::spark(&node.chart(row), "flow", "Bytes a second, the last minutes")) }
                            @if sorts {
                                td {
                                    a href={ "/pairs" (query.with("open", (!is_open).then_some(&key))) } {
                                        @if is_open { "Less" } @else { "More" }
                                        span.sr { " about " (text::visible(&key)) }
                                    }
                                }
                            }
                        }
                        @if is_open { tr.details { td colspan="10" { (details(page, row)) } } }
                    }
                }
            }
        }
    }
}

/// All about a pair, with what to take along.
fn details(page: &Page<'_>, row: &PairRow) -> Markup {
    let node = page.node;
    let reading = &node.cached.reading;
    html! {
        dl {
            dt { "Bytes in all" } dd { (text::total(row.out_bytes.total)) " out, " (text::total(row.back_bytes.total)) " back" }
            dt { "Packets" } dd { (text::per_second(node.rate(Measure::Traffic, row.packets))) }
            @if let Some(of) = &row.connections {
                dt { "Open connections" } dd { (text::total(of.open)) }
                dt { "Sent again" } dd { (text::per_second(reading.rate(of.sent_again))) }
            }
            dt { "First seen" } dd { (text::since(row.first, node.now.unix)) }
            @let ends = page.query.with_all(&[("from", Some(&row.from)), ("to", Some(&row.to)), ("sort", None)]);
            dt { "All of it" } dd { a href={ "/pair" (ends) } { "All about this pair" } }
        }
        (pair::taken(page, row))
    }
}
