//! What stands around the parts of the agent: the ledger above, the bounds below.

use serde_json::Value;

use super::answer::{Answer, list, number, sum, text};
use super::form::count;
use super::screen::{Screen, bold, normal};
use crate::display::{percent, visible};
use crate::selfmetrics::MISSING_OUTCOMES;

/// Lines that parts have at least.
const PARTS: u16 = 5;

/// Draws ledger and bounds between two lines of the screen; returns the lines left for the parts.
pub(super) fn around(screen: &mut Screen<'_>, answer: &Answer, first: u16, end: u16) -> (u16, u16) {
    let y = ledger(screen, list(answer.value(), "/agent/ledger"), first);
    let limits = list(answer.value(), "/agent/limits");
    let columns = screen.width() / 40;
    let lines = u16::try_from(limits.len()).unwrap_or(u16::MAX).div_ceil(columns.max(1));
    let lines = lines.min(end.saturating_sub(y + PARTS));
    let place = screen.width() / columns.max(1);
    let cells = (0..lines).flat_map(|line| (0..columns).map(move |column| (line, column)));
    for ((line, column), limit) in cells.zip(limits) {
        bound(screen, limit, column * place, end - lines + line, place);
    }
    (y, end - lines)
}

/// The sum of all hooks: every packet that was seen has an outcome.
fn ledger(screen: &mut Screen<'_>, hooks: &[Value], y: u16) -> u16 {
    let width = screen.width() - 2;
    if hooks.is_empty() {
        screen.put(1, y, width, "Flows come from another agent: there is no ledger of packets here.", normal());
        return y + 2;
    }
    let of = |at: &str| hooks.iter().filter_map(|hook| number(hook, at)).sum::<f64>();
    let outcome = |name: &str| hooks.iter().map(|hook| sum(hook, "/outcomes", |key| key == name)).sum::<f64>();
    let seen = of("/seen");
    let missing: f64 = MISSING_OUTCOMES.iter().map(|name| outcome(name)).sum();
    let share = if seen > 0.0 { 1.0 - missing / seen } else { 1.0 };
    let said = format!(
        "Accounted for: {} % of {} packets; difference {}",
        percent(share),
        count(seen),
        count(of("/difference"))
    );
    screen.put(1, y, width, &said, bold());
    let bar = screen.bar(width, share);
    screen.put(1, y + 1, width, &bar, normal());
    let mut outcomes: Vec<String> = vec![format!("waiting {}", count(of("/pending")))];
    for hook in hooks.iter().take(1) {
        let names = hook.pointer("/outcomes").and_then(Value::as_object).into_iter().flatten();
        outcomes.extend(names.map(|(name, _)| format!("{} {}", visible(name), count(outcome(name)))));
    }
    let (mut line, mut x) = (y + 2, 1);
    for said in outcomes {
        let used = u16::try_from(said.chars().count()).unwrap_or(width);
        if x > 1 && x + used > width {
            (line, x) = (line + 1, 1);
        }
        if line > y + 3 {
            break;
        }
        x = screen.put(x, line, width, &said, normal()) + 3;
    }
    line.min(y + 3) + 2
}

fn bound(screen: &mut Screen<'_>, limit: &Value, x: u16, y: u16, width: u16) {
    let (used, most) = (number(limit, "/used").unwrap_or(0.0), number(limit, "/limit").unwrap_or(0.0));
    let share = if most > 0.0 { used / most } else { 0.0 };
    screen.put(x + 1, y, 19, &visible(text(limit, "/name")), normal());
    screen.put_right(x + 20, y, 7, &format!("{} %", percent(share)), normal());
    let bar = screen.bar(width.saturating_sub(30).min(20), share);
    screen.put(x + 28, y, 20, &bar, normal());
}
