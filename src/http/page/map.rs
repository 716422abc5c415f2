//! The map of workloads as SVG.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use maud::{Markup, html};

use super::text;
use super::view::Page;
use crate::http::map::{self, BOX_HEIGHT, BOX_WIDTH, Choice, DrawnBox, Group, Line, Map, Node, Path};
use crate::readings::{Counted, PairRow, State};

/// Letters of a name that fit into a box beside its rate, and without one.
const NAME: (usize, usize) = (16, 22);

/// The states that a line can have, each with a class and a legend.
const LINES: [(State, &str, &str); 5] = [
    (State::Forwarded, "edge-wire", "forwarded, width by bytes (log)"),
    (State::Denied, "edge-denied", "denied"),
    (State::Passed, "edge-audit", "forbidden, passed"),
    (State::Failing, "edge-fail", "failing"),
    (State::Slow, "edge-slow", "slow"),
];

/// The map of these pairs.
pub(super) fn view(page: &Page<'_>, rows: &[&PairRow]) -> Markup {
    let (choice, drawn) = page.node.map(rows, page.query);
    if choice.lines.is_empty() {
        return html! {
            p.muted { "There is no line to draw: no pair of this choice, or only calls of a workload to itself and everybody's partners." }
            (hubs(page, &choice))
        };
    }
    let numbers: BTreeMap<&Node, usize> = drawn.boxes.iter().enumerate().map(|(at, of)| (&of.node, at)).collect();
    let number = |node: &Node| numbers.get(node).copied().unwrap_or(0);
    let ends = |line: &Line| format!("{} {}", number(&line.from), number(&line.to));
    let bytes = map::bytes_of_boxes(&choice.lines);
    html! {
        div.scroll.map.broad[drawn.columns > 5] tabindex="0" role="region" aria-label="Map" {
            svg viewBox=(format!("0 0 {:.0} {:.0}", drawn.width, drawn.height)) {
                defs { @for (_, class, _) in LINES { (arrow(class)) } }
                @for of in &drawn.groups { (group(of)) }
                @for (line, path) in choice.lines.iter().zip(&drawn.paths) { (of_line(page, line, path, &ends(line))) }
                @for of in &drawn.groups { (label(of)) }
                @for (line, path) in choice.lines.iter().zip(&drawn.paths) { (symbol(line, path, &ends(line))) }
                // In reading order, which is that of the tab key.
                @for (at, of) in in_reading_order(&drawn) {
                    (of_box(page, of, at, bytes.get(&of.node).copied().unwrap_or(0)))
                }
            }
        }
        (hubs(page, &choice))
        (legend(page, &choice, &drawn))
    }
}

fn in_reading_order(drawn: &Map) -> Vec<(usize, &DrawnBox)> {
    let mut boxes: Vec<_> = drawn.boxes.iter().enumerate().collect();
    boxes.sort_by_key(|(_, of)| of.place);
    boxes
}

fn arrow(class: &str) -> Markup {
    html! {
        marker.(class) id=(class) viewBox="0 0 7 6" refX="6" refY="3" markerWidth="7" markerHeight="6"
            markerUnits="userSpaceOnUse" orient="auto" { path d="M0 0l7 3-7 3z" {} }
    }
}

fn class(state: State) -> &'static str {
    LINES.iter().find(|(of, ..)| *of == state).map_or("edge-wire", |(_, class, _)| class)
}

fn coordinate(value: f64) -> String {
    format!("{value:.0}")
}

fn group(of: &Group) -> Markup {
    html! {
        rect.group x=(coordinate(of.corner.x - 4.0)) y=(coordinate(of.corner.y - 15.0))
            width=(coordinate(BOX_WIDTH + 8.0)) height=(coordinate(of.height + 18.0)) rx="5" {}
    }
}

fn label(of: &Group) -> Markup {
    let shown = if map::is_outside(&of.node.end) { "outside".to_owned() } else { text::visible(of.node.namespace()) };
    html! { text.namespace x=(coordinate(of.corner.x + 2.0)) y=(coordinate(of.corner.y - 4.0)) { (short(&shown, 24)) } }
}

/// A line, as wide as it has bytes; with a problem it stands out by colour and dashes.
#[allow(clippy::cast_precision_loss, reason = "a width is some pixels")]
fn of_line(page: &Page<'_>, line: &Line, path: &Path, ends: &str) -> Markup {
    let seconds = page.node.cached.reading.span.as_secs_f64().max(1.0);
    let kilobytes = line.bytes as f64 / seconds / 1000.0;
    let width = (0.6 + 0.72 * kilobytes.max(0.1).log10()).clamp(0.8, 4.6);
    let width = if line.state.is_problem() { width.clamp(1.9, 2.8) } else { width };
    let mut drawn = String::new();
    for (at, [start, first, second, end]) in path.curves.iter().enumerate() {
        if at == 0 {
            let _infallible = write!(drawn, "M{:.0} {:.1}", start.x, start.y);
        }
        let is_straight = start == first && second == end;
        let _infallible = if is_straight {
            write!(drawn, "H{:.0}", end.x)
        } else {
            write!(drawn, "C{:.0} {:.1} {:.0} {:.1} {:.0} {:.1}", first.x, first.y, second.x, second.y, end.x, end.y)
        };
    }
    let class = class(line.state);
    // What is denied does not arrive.
    let arrow = (line.state != State::Denied).then(|| format!("url(#{class})"));
    html! {
        path.(class) d=(drawn) fill="none" stroke-width=(format!("{width:.1}")) marker-end=[arrow] data-ends=(ends) {}
    }
}

fn symbol(line: &Line, path: &Path, ends: &str) -> Markup {
    let (x, y) = (path.symbol.x, path.symbol.y);
    html! {
        @if line.state.is_problem() {
            g transform=(format!("translate({:.0} {:.0})", x - 7.0, y - 7.0)) data-ends=(ends) {
                circle.disc cx="7" cy="7" r="9" {}
                (text::symbol(line.state))
            }
        }
    }
}

fn of_box(page: &Page<'_>, of: &DrawnBox, number: usize, bytes: u64) -> Markup {
    let Page { node, query, .. } = page;
    let rate = node.cached.reading.rate(Counted { window: bytes, total: bytes });
    let shown = text::plain_name(&of.node.end);
    let shown = if shown.is_empty() { "without a name".to_owned() } else { shown };
    let name = shown.split_once('/').map_or(&*shown, |(_, name)| name);
    let is_focus = query.focus.as_deref() == Some(&*of.node.end);
    let (x, y) = (of.corner.x, of.corner.y);
    let link = query.with_all(&[("focus", (!is_focus).then_some(&*of.node.end)), ("tidy", None)]);
    let in_sentence = rate.map_or_else(String::new, |rate| format!(", {}", text::bytes_text(rate, query.bits)));
    html! {
        a href={ "/" (link) } data-box=(number) {
            title { (shown) (in_sentence) }
            rect.node.outside[map::is_outside(&of.node.end)].focus[is_focus] x=(coordinate(x)) y=(coordinate(y))
                width=(coordinate(BOX_WIDTH)) height=(coordinate(BOX_HEIGHT)) rx="4" {}
            text x=(coordinate(x + 8.0)) y=(coordinate(y + 17.0)) {
                (short(name, if rate.is_some() { NAME.0 } else { NAME.1 }))
            }
            @if let Some(rate) = rate {
                text.rate x=(coordinate(x + BOX_WIDTH - 7.0)) y=(coordinate(y + 17.0)) text-anchor="end" {
                    (text::bytes_short(rate, query.bits))
                }
            }
        }
    }
}

/// A text that fits; the whole one is in the title. Its end stays, where pods of a workload differ.
fn short(text: &str, most: usize) -> String {
    const END: usize = 6;
    let count = text.chars().count();
    if count <= most {
        return text.to_owned();
    }
    text.chars().take(most - 1 - END).chain(['…']).chain(text.chars().skip(count - END)).collect()
}

fn hubs(page: &Page<'_>, choice: &Choice) -> Markup {
    let Page { node, query, .. } = page;
    let rate = |bytes: u64| node.cached.reading.rate(Counted { window: bytes, total: bytes });
    html! {
        @if !choice.hubs.is_empty() {
            p {
                "Everybody's partners, drawn without lines: "
                @for hub in &choice.hubs {
                    a.hub href={ "/" (query.with("focus", Some(&hub.end))) } {
                        (text::name(&hub.end)) " " @if hub.calls { "calls " } @else { "called by " } (hub.partners)
                        @if let Some(rate) = rate(hub.bytes) { ", " (text::bytes_text(rate, query.bits)) }
                    } " "
                }
            }
        }
    }
}

fn legend(page: &Page<'_>, choice: &Choice, drawn: &Map) -> Markup {
    let query = page.query;
    html! {
        p.legend {
            @for (state, class, word) in LINES {
                span {
                    svg width="36" height="10" viewBox="0 0 36 10" aria-hidden="true" { path.(class) d="M0 5h36" stroke-width="2" fill="none" {} }
                    " " (text::symbol(state)) " " (word)
                }
            }
            span.fill {}
            @if choice.hidden > 0 {
                span {
                    (choice.hidden) " more pairs are not drawn: " (text::percent_text(choice.hidden_share())) " % of the bytes, "
                    @if choice.hidden_problems > 0 { (choice.hidden_problems) } @else { "none" } " with a problem. "
                    a href={ "/pairs" (query.with_all(&[("focus", None), ("show", None)])) } { "Show them" }
                }
            }
            @if drawn.is_untidy() {
                a href={ "/" (query.with("tidy", Some("1"))) } title={ (drawn.crossings) " crossings, anew " (drawn.fresh_crossings) } { "Tidy up" }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two pods of a workload have different names in their boxes.
    #[test]
    fn names_fit_and_differ() {
        assert_eq!(short("deathstar-7b8c5f9d64-h7k2x", NAME.0), "deathstar…-h7k2x");
        assert_eq!(short("deathstar-7b8c5f9d64-h7k2x", NAME.0).chars().count(), NAME.0);
        assert_eq!(short("recommendations", NAME.0), "recommendations");
        assert_eq!(short("ä".repeat(30).as_str(), 10).chars().count(), 10);
    }
}
