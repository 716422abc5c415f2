//! `--once` and `--json`: one answer, printed for scripts and logs.

use std::io::{self, Write};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::answer::{Answer, list, number, text};
use super::form::{Form, plain};
use super::source::{Failure, Source};
use super::state::Start;
use super::table::{Table, beyond};
use super::views::{Mark, View};
use crate::display::visible;

/// Time for which rates are waited for: an agent that has just started, or was not looked at, has
/// them after two samples.
const RATES_TIMEOUT: Duration = Duration::from_secs(15);

/// Widest column that is padded: two of the longest names that Kubernetes has.
const MAX_PADDED: usize = 512;

/// Reasons for incomplete figures that are printed.
const MAX_REASONS: usize = 20;

/// Letters of each.
const MAX_REASON_LETTERS: usize = 500;

/// Wait between two attempts.
const PAUSE: Duration = Duration::from_millis(500);

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is printed, and nothing is missing.
    Complete,
    /// It is printed, with what is missing in the figures.
    Incomplete(Vec<String>),
    /// The agent does not answer, or refuses.
    NoAnswer(Failure),
}

/// Prints a view as a table in base units.
///
/// # Errors
/// When `out` cannot be written.
pub fn once(source: &Source, start: &Start, out: &mut dyn Write) -> io::Result<Outcome> {
    print(|path| source.get(path), start, |view, answer| write_table(view, start, answer, out))
}

/// Prints the API's answer.
///
/// # Errors
/// When `out` cannot be written.
pub fn json(source: &Source, start: &Start, out: &mut dyn Write) -> io::Result<Outcome> {
    print(|path| source.get(path), start, |_, answer| writeln!(out, "{}", answer.value()))
}

fn print(
    get: impl Fn(&str) -> Result<Answer, Failure>,
    start: &Start,
    write: impl FnOnce(&View, &Answer) -> io::Result<()>,
) -> io::Result<Outcome> {
    let view = start.view;
    let path = view.path(&start.wanted);
    let until = Instant::now() + RATES_TIMEOUT;
    let answer = loop {
        match get(&path) {
            Ok(answer) => {
                let has_rates = number(answer.value(), "/window_seconds").is_none_or(|seconds| seconds > 0.0);
                if has_rates || Instant::now() >= until {
                    break answer;
                }
            }
            // It says itself that it is worth another try.
            Err(Failure::Busy(_)) if Instant::now() < until => {}
            Err(failure) => return Ok(Outcome::NoAnswer(failure)),
        }
        sleep(PAUSE);
    };
    write(view, &answer)?;
    if answer.is_complete() {
        return Ok(Outcome::Complete);
    }
    let degraded = list(answer.value(), "/degraded");
    let said = |of| visible(&text(of, "/text").chars().take(MAX_REASON_LETTERS).collect::<String>());
    let mut reasons: Vec<_> = degraded.iter().take(MAX_REASONS).map(said).collect();
    if degraded.len() > MAX_REASONS {
        reasons.push(format!("{} more reasons", degraded.len() - MAX_REASONS));
    }
    if reasons.is_empty() {
        reasons.push("the answer says neither that it is complete nor what is missing".to_owned());
    }
    Ok(Outcome::Incomplete(reasons))
}

/// A word: without spaces, and of ASCII.
fn word(text: &str) -> String {
    Form::Word.base(&Value::String(text.to_owned()), "")
}

fn write_table(view: &View, start: &Start, answer: &Answer, out: &mut dyn Write) -> io::Result<()> {
    let value = answer.value();
    let mut table = Table { height: start.wanted.limit.into(), ..Table::default() };
    table.update(view, answer.rows(view.rows), start.wanted.sort.as_ref(), false);
    let hidden = number(value, "/hidden/rows").unwrap_or(0.0);
    #[allow(clippy::cast_precision_loss, reason = "a number of rows is small")]
    let (all, hidden) = (table.rows.len() as f64 + hidden, (table.rows.len() - table.shown().len()) as f64 + hidden);
    writeln!(
        out,
        "node {}  time {}  window {:.0}s  state {}  {} {all:.0}",
        word(text(value, "/node")),
        word(text(value, "/time")),
        number(value, "/window_seconds").unwrap_or(0.0),
        if answer.is_complete() { "complete" } else { "incomplete" },
        view.things,
    )?;
    for note in list(value, "/notes").iter().filter_map(Value::as_str) {
        writeln!(out, "note {}", plain(&visible(note), true))?;
    }
    for hook in list(value, "/agent/ledger") {
        let outcomes = hook.pointer("/outcomes").and_then(Value::as_object).into_iter().flatten();
        let outcomes: Vec<_> =
            outcomes.map(|(name, count)| format!("  {} {:.0}", word(name), count.as_f64().unwrap_or(0.0))).collect();
        let of = |name: &str| number(hook, name).unwrap_or(0.0);
        let (seen, pending, difference) = (of("/seen"), of("/pending"), of("/difference"));
        let hook = word(text(hook, "/hook"));
        writeln!(out, "ledger {hook}  seen {seen}{}  pending {pending}  difference {difference}", outcomes.concat())?;
    }
    for limit in list(value, "/agent/limits") {
        let of = |name: &str| number(limit, name).unwrap_or(0.0);
        let (used, most) = (of("/used"), of("/limit"));
        writeln!(out, "limit {}  used {used}  of {most}", word(text(limit, "/name")))?;
    }
    for line in lines(view, &table) {
        writeln!(out, "{line}")?;
    }
    if hidden > 0.0 {
        write!(out, "{hidden:.0} more {}", view.things)?;
        if view.name == "pairs" {
            let (bytes, problems) = beyond(view, &table, answer);
            write!(out, ": {bytes:.3} of the bytes, {problems:.0} with a problem (--problems shows them)")?;
        }
        writeln!(out)?;
    }
    Ok(())
}

/// The lines of a table, its columns as wide as their widest value.
fn lines(view: &View, table: &Table) -> Vec<String> {
    let columns: Vec<_> = view.sorting_columns().filter(|column| column.form != Form::State).collect();
    let mut grid = vec![vec!["STATE".to_owned()]];
    if view.name == "agent" {
        grid = vec![vec!["LOOK".to_owned()]];
    }
    if let Some(head) = grid.first_mut() {
        head.extend(columns.iter().map(|column| column.name.to_owned()));
    }
    for row in table.shown() {
        let mut line = vec![name(view.mark(&row.value)).to_owned()];
        line.extend(columns.iter().map(|column| column.form.base(&row.value, column.at)));
        grid.push(line);
    }
    let is_number = |at: usize| at > 0 && columns.get(at - 1).is_some_and(|column| column.form.is_number());
    let width =
        |at: usize| grid.iter().filter_map(|line| line.get(at)).map(String::len).max().unwrap_or(0).min(MAX_PADDED);
    let widths: Vec<usize> = (0..=columns.len()).map(width).collect();
    let padded = |line: &Vec<String>| {
        let cells = line.iter().zip(&widths).enumerate().map(|(at, (cell, width))| {
            if is_number(at) { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    grid.iter().map(padded).collect()
}

/// The name of a mark.
fn name(mark: Mark) -> &'static str {
    match mark {
        Mark::None => "ok",
        Mark::Passed => "passed",
        Mark::Denied => "denied",
        Mark::Failing => "failing",
        Mark::Slow => "slow",
        Mark::Dropped => "dropped",
        Mark::Error => "error",
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::super::state::Appearance;
    use super::super::tests::{start, wanted};
    use super::super::views::{VIEWS, Wanted};
    use super::*;

    /// By a column that the agent does not sort by, the first of all rows are printed.
    #[test]
    fn all_rows_are_sorted() {
        let wanted = Wanted { limit: 2, ..wanted() };
        let new = |view: &str, sort: &str| {
            Start::new(view, Some(sort), wanted.clone(), Duration::from_secs(5), Appearance::default()).unwrap()
        };
        let by_total = new("drops", "-total");
        assert_eq!(by_total.view.path(&by_total.wanted), "/api/v1/drops?window=1m&limit=2&sort=-total");
        let parts = new("agent", "-restarts");
        assert!(parts.check_agent_sorts().unwrap_err().contains("sorts the view agent by nothing"));
        assert_eq!((by_total.check_agent_sorts(), start("drops").check_agent_sorts()), (Ok(()), Ok(())));
        let rows: Vec<_> =
            [3, 9, 1, 7].map(|total| serde_json::json!({"from": format!("n{total}"), "total": total})).into();
        let answer = serde_json::json!({"rows": rows, "hidden": {"rows": 5}}).to_string();
        let mut out = Vec::new();
        write_table(by_total.view, &by_total, &Answer::read(answer.as_bytes(), "").unwrap(), &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let names: Vec<_> = text.lines().filter_map(|line| line.split_whitespace().nth(1)).collect();
        assert_eq!(names.get(2..4), Some(&["n9", "n7"][..]), "{text}");
        assert!(text.contains("drops 9\n") && text.ends_with("\n7 more drops\n"), "{text}");
    }

    /// An agent with too much to do is asked again; one that says nothing of itself is incomplete.
    #[test]
    fn busy_agents_are_asked_again() {
        let asked = Cell::new(0);
        let get = |_: &str| {
            asked.set(asked.get() + 1);
            let busy = Failure::Busy("503 is the answer".to_owned());
            if asked.get() < 2 { Err(busy) } else { Ok(Answer::read(b"{}", "").unwrap()) }
        };
        let outcome = print(get, &start("pairs"), |_, _| Ok(())).unwrap();
        assert_eq!(asked.get(), 2);
        assert!(matches!(&outcome, Outcome::Incomplete(reasons) if reasons.len() == 1), "{outcome:?}");
    }

    /// What is said of incomplete figures has a bound, whatever an agent sends.
    #[test]
    fn reasons_are_bounded() {
        let degraded: Vec<_> = (0..10_000).map(|_| serde_json::json!({"text": "x".repeat(10_000)})).collect();
        let answer = serde_json::json!({"degraded": degraded}).to_string();
        let get = |_: &str| Ok(Answer::read(answer.as_bytes(), "").unwrap());
        let Outcome::Incomplete(reasons) = print(get, &start("pairs"), |_, _| Ok(())).unwrap() else { panic!() };
        assert_eq!(reasons.len(), MAX_REASONS + 1);
        assert!(reasons.iter().map(String::len).sum::<usize>() < 20_000);
    }

    /// A name of any length is printed.
    #[test]
    fn long_names_are_printed() {
        let answer = serde_json::json!({"rows": [{"from": "n".repeat(100_000)}, {"from": "m"}]}).to_string();
        let mut out = Vec::new();
        let start = start("pairs");
        write_table(start.view, &start, &Answer::read(answer.as_bytes(), "").unwrap(), &mut out).unwrap();
        assert!(out.len() < 110_000);
    }

    /// The tables of all views, of the answers that the API's tests hold.
    #[test]
    fn tables_are_golden() {
        for view in VIEWS {
            let start = super::super::tests::start(view.name);
            let mut out = Vec::new();
            write_table(view, &start, &super::super::tests::recorded(view.name), &mut out).unwrap();
            let text = String::from_utf8(out).unwrap();
            assert!(text.is_ascii());
            insta::assert_snapshot!(format!("once-{}", view.name), text);
        }
    }

    /// Units of a script are never abbreviated.
    #[test]
    fn words_have_no_spaces() {
        assert_eq!(word("a b\u{202e}"), "a_b[U+202E]");
        assert_eq!(Form::Count.base(&serde_json::json!({"a": 3_000_000}), "/a"), "3000000");
    }
}
