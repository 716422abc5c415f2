//! Can the numbers be believed: the ledger, the parts of the agent, and the bounds.

use maud::{Markup, html};
use webb_flow::fault::FaultType;

use super::view::Page;
use super::{chart, text};
use crate::http::api::limits;
use crate::http::ledger::{self, HookLedger};
use crate::readings::State;

pub(super) fn view(page: &Page<'_>) -> Markup {
    let hooks = ledger::hooks(page.node);
    html! {
        section.card id="ledger" data-live {
            @if hooks.is_empty() {
                h1 { "Agent" }
                p { "Flows come from another agent: there is no ledger of packets here." }
            } @else {
                @let (seen, missing) = ledger::seen_and_missing(&hooks);
                h1 {
                    @if missing > 0.0 { (text::percent(Some(missing / seen.max(1.0)))) " of the packets have no pair" }
                    @else { "Every packet is accounted for" }
                    " " small { (text::count(seen)) " seen" }
                }
                @for hook in &hooks { (of_hook(hook)) }
            }
        }
        div.columns {
            section.card id="parts" data-live { (parts(page)) }
            section.card id="limits" data-live { (bounds(page)) }
        }
    }
}

/// What is said of an outcome, and its class in the bar.
const OUTCOMES: [(&str, &str, &str); 7] = [
    ("reported", "flow", "reported"),
    ("untracked", "fail", "untracked: connection table and ring full"),
    ("unparsed", "slow", "not parsed"),
    ("suppressed", "fail", "suppressed: over the budget of drops"),
    ("lost", "denied", "lost: ring full"),
    ("flooded", "wire", "flooded: a bridge sent it to a pod that does not have its MAC"),
    ("stopped", "wire", "stopped behind the program, on the way out"),
];

fn of_hook(hook: &HookLedger) -> Markup {
    let of = |outcome: &str| hook.outcomes.get(outcome).copied().unwrap_or(0.0);
    let mut parts: Vec<(&str, f64)> = OUTCOMES.iter().map(|(outcome, class, _)| (*class, of(outcome))).collect();
    parts.push(("edge", hook.pending));
    let share = |packets: f64| text::percent((hook.seen > 0.0).then(|| packets / hook.seen));
    html! {
        h2 { (text::visible(&hook.hook)) " " small { (text::count(hook.seen)) " packets seen = the sum of the rows; difference " (hook.difference) } }
        (chart::stacked(&parts, "Packets by outcome"))
        div.scroll tabindex="0" role="region" aria-label={ "Ledger, " (text::visible(&hook.hook)) } {
            table {
                caption.sr { "Packets by outcome" }
                thead { tr { th scope="col" { "Outcome" } th.num scope="col" { "Packets" } th.num scope="col" { "Share" } } }
                tbody {
                    @for (outcome, class, said) in OUTCOMES {
                        tr {
                            td { svg.key.(class) width="10" height="10" viewBox="0 0 10 10" aria-hidden="true" { rect width="10" height="10" {} } " " (said) }
                            td.num { (text::count(of(outcome))) }
                            td.num { (share(of(outcome))) }
                        }
                    }
                    tr {
                        td { svg.key.edge width="10" height="10" viewBox="0 0 10 10" aria-hidden="true" { rect width="10" height="10" {} } " waiting in the connection table" }
                        td.num { (text::count(hook.pending)) }
                        td.num { (share(hook.pending)) }
                    }
                }
            }
        }
        @if hook.difference != 0.0 {
            p.muted { "The counters are read one after the other: while packets pass, a difference is what passed meanwhile." }
        }
    }
}

fn parts(page: &Page<'_>) -> Markup {
    let components = &page.node.components;
    html! {
        h2 { "Parts " small { (components.len()) } }
        div.scroll tabindex="0" role="region" aria-label="Parts" {
            table {
                caption.sr { "Parts of the agent" }
                thead { tr {
                    th scope="col" { "Part" } th scope="col" { "State" } th.num scope="col" { "Restarts" }
                    th.num scope="col" { "Faults" } th.num scope="col" { "Queue" }
                } }
                tbody {
                    @for of in components {
                        @let state = of.state().label();
                        tr {
                            td { (text::visible(of.name())) }
                            td {
                                @if state == "up" { span.check aria-hidden="true" { "✓ " } } @else { (text::symbol(State::Failing)) " " }
                                (state)
                                @let reason = of.reason();
                                @if !reason.is_empty() { " " span.muted { (text::visible(&reason)) } }
                            }
                            td.num { (text::total(of.restarts())) }
                            td.num { (text::total(FaultType::ALL.into_iter().map(|kind| of.faults(kind)).sum())) }
                            td.num { (text::total(of.queue())) }
                        }
                    }
                }
            }
        }
        p.muted { "To restart one: " code { "curl -X POST -H 'X-Webb-Admin: 1' http://" (page.host) "/actors/NAME/restart" } }
    }
}

fn bounds(page: &Page<'_>) -> Markup {
    let rows = limits(page.node);
    html! {
        h2 { "Bounds" }
        div.scroll tabindex="0" role="region" aria-label="Bounds" {
            table {
                caption.sr { "Bounds and their use" }
                thead { tr { th scope="col" { "Bound" } th scope="col" { "Use" } th.num scope="col" { "Used" } } }
                tbody {
                    @for of in &rows {
                        tr {
                            td { (of.name) }
                            td { (chart::stacked(&[("flow", of.used), ("rest", (of.limit - of.used).max(0.0))], "Use of the bound")) }
                            td.num { (text::count(of.used)) " of " (text::count(of.limit)) " " small { (of.unit) } }
                        }
                    }
                }
            }
        }
        form.filter method="get" action="/pods" {
            label { "Which pod has an address? " input type="text" name="ip" placeholder="10.244.1.11"; }
            button type="submit" { "Look up" }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::selfmetrics::LEDGER_OUTCOMES;

    /// Each outcome of the ledger has its row, in the ledger's order.
    #[test]
    fn every_outcome_is_said() {
        assert_eq!(OUTCOMES.map(|(outcome, ..)| outcome), LEDGER_OUTCOMES);
    }
}
