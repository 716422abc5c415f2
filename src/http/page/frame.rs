//! The frame of every view: head, views, notes and foot.

use maud::{DOCTYPE, Markup, html};

use super::assets::{ICON, SCRIPT, STYLE};
use super::text;
use super::view::{Page, View};
use crate::http::api::rfc3339;
use crate::http::ledger::{self, Degraded};
use crate::http::query::{Query, Theme};
use crate::readings::State;

/// A whole document.
pub(super) fn page(page: &Page<'_>, body: &Markup) -> Markup {
    let Page { view, node, query, .. } = page;
    let theme = match query.theme {
        Theme::Auto => None,
        Theme::Light => Some("light"),
        Theme::Dark => Some("dark"),
    };
    let hooks = ledger::hooks(node);
    let degraded = ledger::degraded(node, &hooks);
    // The first look has no rates yet; a sample later it has.
    let every = if node.cached.reading.span.is_zero() { query.every.min(5) } else { query.every };
    html! {
        (DOCTYPE)
        html lang="en" data-theme=[theme] {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (view.title()) " · " (text::visible(&node.name)) " · webb" }
                link rel="icon" href=(ICON.path);
                link rel="stylesheet" href=(STYLE.path);
                script src=(SCRIPT.path) defer {}
            }
            body data-every=(every) {
                a.skip href="#main" { "Skip to the content" }
                header {
                    div.head id="head" data-live { (head(page, &degraded)) }
                    nav id="views" aria-label="Views" data-live { (views(page)) }
                }
                p.gone id="status" role="status" hidden {}
                main id="main" tabindex="-1" {
                    div id="notes" data-live { (notes(query, &degraded)) }
                    (body)
                }
                (foot(page))
            }
        }
    }
}

fn head(page: &Page<'_>, degraded: &[Degraded]) -> Markup {
    let Page { node, query, .. } = page;
    let moment = node.cached.reading.moment.unwrap_or(node.now);
    let span = node.cached.reading.span.as_secs();
    html! {
        a.brand href={ "/" (query.of_views()) } { "webb" }
        span {
            span.muted { "node " } b { (text::visible(&node.name)) }
            @if let Some((pods, namespaces)) = node.pods_and_namespaces() {
                span.muted { " " (pods) @if pods == 1 { " pod of " } @else { " pods of " } (namespaces) @if namespaces == 1 { " namespace" } @else { " namespaces" } }
            }
        }
        span.fill {}
        a href={ "/agent" (query.of_views()) } {
            @if degraded.is_empty() { span.dot.good aria-hidden="true" {} "all counted" }
            @else { (text::symbol(State::Failing)) " incomplete" }
        }
        span {
            time datetime=(rfc3339(moment.unix.as_secs())) { (text::clock(moment.unix)) " UTC" }
            " " span.muted data-age=(node.age().as_secs()) { (node.age().as_secs()) " s old" }
        }
        span.muted {
            @if span > 0 { "rates over the last " (span) " s" } @else { "rates in some seconds" }
        }
        span.buttons {
            button type="button" data-pause hidden { "Pause" }
            a.button href={ (page.view.path()) (query.with("open", query.open.as_deref())) } { "Reload" }
        }
    }
}

fn views(page: &Page<'_>) -> Markup {
    let reading = &page.node.cached.reading;
    let count = |state: State| reading.pairs.iter().filter(|row| row.state == state).count();
    let (passed, denied) = (count(State::Passed), count(State::Denied));
    let (failing, slow) = (count(State::Failing), count(State::Slow));
    let changes = page.node.changes.recent(page.node.now.unix.as_secs());
    html! {
        ul {
            // A pair is found by way of the others.
            @for view in View::ALL.into_iter().filter(|view| *view != View::Pair) {
                li {
                    a href={ (view.path()) (page.query.of_views()) } aria-current=[(view == page.view).then_some("page")] {
                        (view.title())
                        @if view == View::Drops && denied + passed > 0 {
                            " " (text::symbol(if passed > 0 { State::Passed } else { State::Denied })) " " (denied + passed)
                        }
                        @if view == View::Connections && failing + slow > 0 {
                            " " (text::symbol(if failing > 0 { State::Failing } else { State::Slow })) " " (failing + slow)
                        }
                        @if view == View::Changes && changes > 0 { " " span.muted { (changes) span.sr { " in the last hour" } } }
                    }
                }
            }
        }
    }
}

fn notes(query: &Query, degraded: &[Degraded]) -> Markup {
    html! {
        @if !degraded.is_empty() || !query.notes.is_empty() {
            div.note {
                @for of in degraded {
                    p {
                        (text::visible(&of.text))
                        @if let Some(setting) = of.setting { ". Raise " code { (setting) } }
                    }
                }
                @for note in &query.notes { p { (text::visible(note)) } }
            }
        }
    }
}

fn foot(page: &Page<'_>) -> Markup {
    let Page { view, node, query, .. } = page;
    let of = |name: &str| node.version.get(name).and_then(serde_json::Value::as_str).unwrap_or("").to_owned();
    let here = |key: &str, value: Option<&str>| format!("{}{}", view.path(), query.with(key, value));
    html! {
        footer {
            span { (text::visible(&node.name)) " is one node; the whole cluster is in Prometheus." }
            span { "webb " (of("version")) ", Linux " (of("kernel")) }
            a href="/api/v1/status" { "API" }
            a href=(here("theme", Some("light"))) { "Light" }
            a href=(here("theme", Some("dark"))) { "Dark" }
            a href=(here("theme", None)) { "As the system" }
            @for window in ["10s", "1m", "5m"] { a href=(here("window", Some(window))) { "Rates over " (window) } }
            @if query.bits { a href=(here("unit", None)) { "Bytes" } } @else { a href=(here("unit", Some("bit"))) { "Bits" } }
            noscript { span { "Without script the page reloads by hand." } }
        }
    }
}
