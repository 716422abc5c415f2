//! All about one pair.

use std::collections::BTreeSet;

use maud::{Markup, html};

use super::view::Page;
use super::{chart, text};
use crate::http::take;
use crate::readings::{By, Measure, Outcome, PairRow, State, Watched};

pub(super) fn view(page: &Page<'_>) -> Markup {
    let (node, query) = (page.node, page.query);
    let row = node.pair(query);
    html! {
        section.card id="pair" data-live {
            @match row {
                Some(row) => (head(page, row)),
                None => {
                    h1 { "Pair" }
                    div.empty {
                        p.big { "This pair is not known" }
                        p { "Name both ends, as " code { "/pair?from=shop/cart&to=shop/db" } ". " a href={ "/pairs" (query.of_views()) } { "All pairs" } }
                    }
                }
            }
        }
        @if let Some(row) = row {
            div.columns {
                section.card id="traffic" data-live { (traffic(page, row)) }
                section.card id="of-connections" data-live { (connections(page, row)) }
                section.card id="policy" data-live { (policy(page, row)) }
                section.card id="layer7" data-live { (layer7(page, row)) }
                section.card id="from" data-live { (end(page, "From", &row.from)) }
                section.card id="to" data-live { (end(page, "To", &row.to)) }
            }
            section.card id="take" data-live { (take_along(page, row)) }
        }
    }
}

fn head(page: &Page<'_>, row: &PairRow) -> Markup {
    html! {
        h1 { span.sentence { (text::pair(&row.from, &row.to, row.is_directed)) } }
        p { (text::state(row.state)) " " span.muted { "first seen " (text::since(row.first, page.node.now.unix)) } }
    }
}

fn traffic(page: &Page<'_>, row: &PairRow) -> Markup {
    let (node, bits) = (page.node, page.query.bits);
    let is_watched = node.watched(Measure::Traffic) == Watched::Pairs;
    html! {
        h2 { "Traffic" }
        dl {
            dt { "Out" } dd { (text::bytes(node.rate(Measure::Traffic, row.out_bytes), bits)) @if is_watched { ", " (text::total(row.out_bytes.total)) " B in all" } }
            dt { "Back" } dd { (text::bytes(node.rate(Measure::Traffic, row.back_bytes), bits)) @if is_watched { ", " (text::total(row.back_bytes.total)) " B in all" } }
            dt { "Packets" } dd { (text::per_second(node.rate(Measure::Traffic, row.packets))) }
            dt { "Protocols" } dd { @for (at, protocol) in row.protocols.iter().enumerate() { @if at > 0 { ", " } (text::visible(protocol)) } }
        }
        (chart::spark(&node.chart(row), "flow", "Bytes a second, the last minutes"))
    }
}

fn connections(page: &Page<'_>, row: &PairRow) -> Markup {
    let reading = &page.node.cached.reading;
    html! {
        h2 { "Connections" }
        @if let Some(of) = &row.connections {
            dl {
                dt { "Opened" } dd { (text::per_second(reading.rate(of.attempts()))) ", " (text::total(of.open)) " open" }
                @for (outcome, count) in Outcome::ALL.into_iter().zip(of.outcomes).filter(|(_, count)| count.total > 0) {
                    dt { (outcome.label().replace('_', " ")) } dd { (text::per_second(reading.rate(count))) ", " (text::total(count.total)) " in all" }
                }
                dt { "Handshake" } dd {
                    (text::seconds(of.handshake.quantile(0.5))) " p50, " (text::seconds(of.handshake.quantile(0.95))) " p95"
                    @if let Some(usual) = row.usual_p95 { ", usually " (text::seconds(Some(usual))) }
                    @if let Some(limit) = row.limit_p95 { ", over the limit of " (text::seconds(Some(limit))) }
                }
                dt { "Round trip" } dd { (text::seconds(of.round_trip.quantile(0.5))) " p50, " (text::seconds(of.round_trip.quantile(0.95))) " p95" }
                dt { "Sent again" } dd { (text::per_second(reading.rate(of.sent_again))) }
            }
            (chart::histogram(&of.handshake.counts, "Handshakes by their time"))
        } @else { p.muted { "not measured" } }
    }
}

fn policy(page: &Page<'_>, row: &PairRow) -> Markup {
    let reading = &page.node.cached.reading;
    let by = page.query.by;
    let drops = reading.drops.iter().filter(|of| row.has_part(&of.from, &of.to, by));
    let is_watched = [Measure::Drop, Measure::Verdict].map(|of| page.node.watched(of) == Watched::Pairs);
    html! {
        h2 { "Drops and policy" }
        dl {
            @for of in drops.clone() {
                dt { (text::state(of.state)) }
                dd {
                    (text::per_second(reading.rate(of.count))) ", " (text::total(of.count.total)) " in all; "
                    @if of.state == State::Passed { "forbidden for " (text::visible(&of.direction)) } @else { (text::visible(&of.reason)) }
                    @if by == By::Namespace { ", " (text::pair(&of.from, &of.to, true)) } @else if *of.from != *row.from { ", on the way back" }
                }
            }
        }
        @if drops.count() == 0 {
            p.muted {
                @match is_watched {
                    [true, true] => "No packet was dropped, none was forbidden.",
                    [true, false] => "No packet was dropped. Whether policies forbid any is not watched.",
                    [false, true] => "None was forbidden by a policy. Drops are not watched.",
                    [false, false] => "not watched",
                }
            }
        }
    }
}

/// The pods of an end, where they run, and what selects them.
fn end(page: &Page<'_>, which: &str, end: &str) -> Markup {
    let list = |names: &BTreeSet<String>| {
        html! {
            @for (at, name) in names.iter().enumerate() { @if at > 0 { ", " } bdi { (text::visible(name)) } }
            @if names.is_empty() { span.muted { "none" } }
        }
    };
    html! {
        h2 { (which) " " (text::name(end)) }
        @match page.node.pods(end) {
            Some(of) => {
                dl {
                    @for pod in &of.pods {
                        dt { "Pod" }
                        dd { a href={ "/pods/" (path(&pod.pod)) } { (text::name(&pod.pod)) } " on " bdi { (text::visible(&pod.node)) } }
                    }
                    dt { "Policies for ingress" } dd { (list(&of.ingress_policies)) }
                    dt { "Policies for egress" } dd { (list(&of.egress_policies)) }
                    @if !of.services.is_empty() { dt { "Services" } dd { (list(&of.services)) } }
                }
                @if of.count > of.pods.len() { p.muted { (of.count - of.pods.len()) " more pods." } }
                p.muted { "Policies are those that select one of these pods now. Which of them decided is in no metric, but in each flow." }
            }
            None => p.muted { "No pod or workload is known by this name." },
        }
    }
}

/// A name in a path.
fn path(name: &str) -> String {
    let mut path = String::new();
    crate::http::query::encode(&mut path, name);
    path
}

fn layer7(page: &Page<'_>, row: &PairRow) -> Markup {
    let reading = &page.node.cached.reading;
    let by = page.query.by;
    let answers: Vec<_> = reading.answers.iter().filter(|of| row.has_part(&of.from, &of.to, by)).collect();
    let http = reading.http.iter().filter(|of| row.has_part(&of.from, &of.to, by));
    html! {
        h2 { "DNS and HTTP" }
        dl {
            @for of in http.clone() {
                @let requests = of.requests();
                @let errors = of.status.get(5).copied().unwrap_or_default();
                dt { "HTTP" }
                dd {
                    (text::per_second(reading.rate(requests))) ", " (text::percent(crate::http::api::ratio(errors, requests))) " 5xx, "
                    (text::seconds(of.times.quantile(0.95))) " p95"
                }
            }
            @for of in answers.iter().take(MAX_ANSWERS) {
                dt { @if of.is_error { (text::symbol(State::Failing)) " " } (text::visible(&of.code)) }
                dd {
                    @if let Some(name) = &of.name { bdi { (text::visible(name)) } " " }
                    (text::per_second(reading.rate(of.count)))
                }
            }
        }
        @if answers.len() > MAX_ANSWERS { p.muted { (answers.len() - MAX_ANSWERS) " more answers" } }
        @if answers.is_empty() && http.count() == 0 { p.muted { "Neither was seen." } }
    }
}

/// Rows of answers of DNS.
const MAX_ANSWERS: usize = 12;

fn take_along(page: &Page<'_>, row: &PairRow) -> Markup {
    html! {
        h2 { "Take it along" }
        (taken(page, row))
    }
}

/// Queries and commands for the same figures.
pub(super) fn taken(page: &Page<'_>, row: &PairRow) -> Markup {
    let all = take::promql(page.node, row, page.query).into_iter().chain(take::commands(page.node, row));
    let all = all.chain([take::curl(row, page.host, page.query)]);
    html! { dl { @for of in all { dt { (of.title) } dd { code { (text::visible(&of.text)) } } } } }
}
