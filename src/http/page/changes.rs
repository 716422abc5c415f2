//! What changed: new pairs, first denials, failures that began, pods, policies and the agent.

use std::time::Duration;

use maud::{Markup, html};

use super::view::Page;
use super::{filter, text};
use crate::http::api::rfc3339;
use crate::http::changes::RECENT;
use crate::readings::{Change, ChangeKind, MAX_CHANGE_AGE, MAX_CHANGES, State};

/// Rows on the overview.
const MAX_ROWS_IN_CARD: usize = 6;

/// The view.
pub(super) fn view(page: &Page<'_>) -> Markup {
    let Page { node, query, .. } = page;
    let rows = node.changes.wanted(query);
    let first = query.page.saturating_mul(query.limit).min(rows.len());
    let end = first.saturating_add(query.limit).min(rows.len());
    html! {
        section.card id="changes" data-live {
            h1 { "Changes " small { (rows.len()) @if rows.len() != node.changes.all.len() { " of " (node.changes.all.len()) } } }
            (chips(page))
            (filter::form(page))
            @if rows.is_empty() { (nothing(page)) } @else {
                @if rows.len() > 25 { a.skip href="#below" { "Skip the list" } }
                (list(page, rows.get(first..end).unwrap_or_default()))
            }
            p.muted id="below" {
                "Kept: " (MAX_CHANGES) " changes or " (MAX_CHANGE_AGE / 3600) " hours; a restart forgets them. "
                (seen(page)) " "
                @if first > 0 {
                    a href={ "/changes" (query.with("page", (query.page > 1).then(|| query.page.to_string()).as_deref())) } { "Later ones" } " "
                }
                @if end < rows.len() { a href={ "/changes" (query.with("page", Some(&(query.page + 2).to_string()))) } { "Earlier ones" } }
            }
        }
    }
}

/// Since when, and how, changes are seen.
fn seen(page: &Page<'_>) -> Markup {
    html! {
        @match page.node.changes.since {
            Some(since) => {
                "Pairs, drops and failures are those of samples since "
                time datetime=(rfc3339(since)) title=(rfc3339(since)) { (text::clock(Duration::from_secs(since))) " UTC" }
                ", which scrapes take, and so does this page; a time is that of the first sample that shows it. \
                 Handshakes that become slow are seen only while the page, the API or webb top is open."
            }
            None => "No sample was taken yet: pairs, drops and failures are known from the second one on.",
        }
    }
}

fn nothing(page: &Page<'_>) -> Markup {
    html! {
        div.empty {
            @if page.node.changes.all.is_empty() { p.big { "Nothing has changed that was seen" } } @else {
                p.big { "None of " (page.node.changes.all.len()) " changes matches the filter" }
                p { a href="/changes" { "Remove the filter" } }
            }
        }
    }
}

/// A link for each kind that there is, and for all.
fn chips(page: &Page<'_>) -> Markup {
    let Page { node, query, .. } = page;
    let count = |kind: ChangeKind| node.changes.all.iter().filter(|change| change.kind == kind).count();
    let link = |value: Option<&str>| format!("/changes{}", query.with("kind", value));
    html! {
        p.chips {
            a.hub href=(link(None)) aria-current=[query.kinds.is_empty().then_some("true")] { "All " (node.changes.all.len()) } " "
            @for kind in ChangeKind::ALL.into_iter().filter(|kind| count(*kind) > 0 || query.kinds.contains(kind)) {
                a.hub href=(link(Some(kind.label()))) aria-current=[(query.kinds == [kind]).then_some("true")] {
                    (title(kind)) " " (count(kind))
                } " "
            }
        }
    }
}

fn title(kind: ChangeKind) -> &'static str {
    match kind {
        ChangeKind::Pair => "New pairs",
        ChangeKind::Policy => "Policies",
        ChangeKind::Drop => "Drops",
        ChangeKind::Quality => "Failing, slow",
        ChangeKind::Dns => "DNS",
        ChangeKind::Pod => "Pods",
        ChangeKind::Agent => "Agent",
    }
}

/// The card on the overview.
pub(super) fn card(page: &Page<'_>) -> Markup {
    let Page { node, query, .. } = page;
    let now = node.now.unix.as_secs();
    let rows: Vec<_> = node.changes.wanted(query).into_iter().filter(|change| change.unix + RECENT >= now).collect();
    html! {
        h2 {
            "What changed " small { "last 60 min" @if rows.len() > MAX_ROWS_IN_CARD { ", " (MAX_ROWS_IN_CARD) " of " (rows.len()) } }
            " " a.all href={ "/changes" (query.of_views()) } { "All" span.sr { " changes" } }
        }
        @if rows.is_empty() { p.muted { "Nothing that was seen." } }
        @else { (list(page, rows.get(..MAX_ROWS_IN_CARD).unwrap_or(&rows))) }
    }
}

fn list(page: &Page<'_>, rows: &[&Change]) -> Markup {
    html! { ul.looks { @for of in rows { (item(page, of)) } } }
}

fn item(page: &Page<'_>, of: &Change) -> Markup {
    let now = page.node.now.unix;
    html! {
        li {
            (time(of.unix, now))
            @if of.state == State::Forwarded { span.mark aria-hidden="true" { (sign(of.kind)) } } @else { (text::symbol(of.state)) }
            span.sentence {
                @match (&of.ends, &of.object) {
                    (Some((from, to)), object) => {
                        a href={ "/pair" (page.query.with_all(&[("from", Some(&**from)), ("to", Some(&**to)), ("kind", None)])) } {
                            (text::pair(from, to, of.is_directed))
                        }
                        @if let Some(object) = object { ": " bdi { b { (text::visible(object)) } } }
                    }
                    (None, Some(object)) => bdi { b { (text::visible(object)) } },
                    (None, None) => {},
                }
                " " (text::visible(&of.text))
            }
            @if let Some(figure) = of.figure {
                span.num {
                    @if figure.unit == "seconds" {
                        @if let Some(before) = figure.before { (text::seconds(Some(before))) " → " }
                        (text::seconds(Some(figure.after)))
                    } @else { (text::per_second(Some(figure.after))) }
                }
            }
        }
    }
}

/// The sign of a change that is no problem.
fn sign(kind: ChangeKind) -> &'static str {
    match kind {
        ChangeKind::Pair => "+",
        ChangeKind::Policy => "§",
        ChangeKind::Pod => "○",
        _ => "·",
    }
}

fn time(unix: u64, now: Duration) -> Markup {
    let stamp = rfc3339(unix);
    let is_today = unix / 86_400 == now.as_secs() / 86_400;
    html! {
        time.at datetime=(stamp) title=(stamp) {
            (text::clock(Duration::from_secs(unix)))
            @if !is_today { " yesterday" }
        }
    }
}
