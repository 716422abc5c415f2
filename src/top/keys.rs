//! What each key does.

use std::time::Duration;

use super::state::{INTERVALS, Mode, Question, Shown, Taken, Top};
use super::views::VIEWS;

/// A key, as far as any is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Letter(char),
    Enter,
    Escape,
    Backspace,
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
    /// Ctrl-C.
    Interrupt,
    /// Ctrl-L.
    Redraw,
}

/// What is to be done beside showing something else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    Nothing,
    Quit,
    Ask(Question),
    /// The terminal is cleared first.
    Redraw,
}

/// All keys, as `?` lists them.
pub(super) const KEYS: [(&str, &str); 17] = [
    ("1 to 7", "another view"),
    ("arrows, j k, PgUp PgDn", "move the cursor, which keeps its row"),
    ("Enter", "all about the row under the cursor"),
    ("Esc", "back; no cursor"),
    ("/", "filter by ends: cart, shop/* (begins), -prom (not)"),
    ("!", "only what needs a look"),
    ("s", "sort by the next column; at last problems first"),
    ("S", "turn the order round"),
    ("b", "bits or bytes a second"),
    ("p", "pause"),
    ("+ -", "more or less often"),
    ("y o", "copy PromQL for this row; the observe command"),
    ("n", "rows of namespaces, and back"),
    ("r", "restart a part of the agent; asks first"),
    ("Ctrl-L", "draw anew"),
    ("?", "this list"),
    ("q", "quit"),
];

/// Length of a filter at most, in characters.
const MAX_FILTER: usize = 1000;

/// Takes a key.
pub(super) fn press(top: &mut Top, key: Key, now: Duration) -> Action {
    if key == Key::Interrupt {
        return Action::Quit;
    }
    if key == Key::Redraw {
        return Action::Redraw;
    }
    top.touch(now);
    match top.mode.clone() {
        Mode::Filter(typed) => filter(top, typed, key),
        Mode::Restart(name) => return restart(top, name, key),
        Mode::Keys | Mode::Details if matches!(key, Key::Escape | Key::Enter) => top.mode = Mode::Table,
        Mode::Keys if matches!(key, Key::Letter('q' | '?')) => top.mode = Mode::Table,
        Mode::Keys => {}
        Mode::Table | Mode::Details => return choose(top, key, now),
    }
    Action::Nothing
}

fn choose(top: &mut Top, key: Key, now: Duration) -> Action {
    let page = isize::try_from(top.shown.table.height.max(1)).unwrap_or(isize::MAX);
    match key {
        Key::Letter('q') => return Action::Quit,
        Key::Letter('j') | Key::Down => top.shown.table.step(1),
        Key::Letter('k') | Key::Up => top.shown.table.step(-1),
        Key::PageDown => top.shown.table.step(page),
        Key::PageUp => top.shown.table.step(-page),
        Key::Home => top.shown.table.step(isize::MIN),
        Key::End => top.shown.table.step(isize::MAX),
        Key::Enter if top.shown.table.selected().is_some() => top.mode = Mode::Details,
        Key::Enter => top.shown.table.step(0),
        Key::Escape => top.shown.table.cursor = None,
        Key::Letter('?') => top.mode = Mode::Keys,
        Key::Letter('/') => top.mode = Mode::Filter(top.wanted.workload.clone()),
        Key::Letter('!') => {
            top.wanted.problems = !top.wanted.problems;
            top.filter_changed();
        }
        Key::Letter('b') => top.appearance.bits = !top.appearance.bits,
        Key::Letter('p') => {
            top.is_paused = !top.is_paused;
            if !top.is_paused {
                top.link.ask_now();
            }
        }
        Key::Letter('s') => next_sort(top),
        Key::Letter('S') => {
            if let Some((_, descends)) = &mut top.shown.sort {
                *descends = !*descends;
                sorted(top);
            }
        }
        Key::Letter('+') => change_interval(top, now, |seconds, than| seconds < than),
        Key::Letter('-') => change_interval(top, now, |seconds, than| seconds > than),
        Key::Letter('y') => return copy(top, Taken::Promql, now),
        Key::Letter('o') => return copy(top, Taken::Command, now),
        Key::Letter('n') => {
            top.wanted.by_namespace = !top.wanted.by_namespace;
            top.filter_changed();
        }
        Key::Letter('r') if top.shown.view.name == "agent" => {
            if let Some(row) = top.shown.table.selected() {
                top.mode = Mode::Restart(super::answer::text(&row.value, "/name").to_owned());
            } else {
                top.say("choose a part first, by the arrows".to_owned(), now);
            }
        }
        Key::Letter(digit) => {
            let number = digit.to_digit(10).and_then(|digit| usize::try_from(digit).ok()?.checked_sub(1));
            if let Some(view) = number.and_then(|number| VIEWS.get(number)) {
                top.switch(view);
            }
        }
        _ => {}
    }
    Action::Nothing
}

fn filter(top: &mut Top, mut typed: String, key: Key) {
    match key {
        Key::Enter => {
            top.mode = Mode::Table;
            if top.wanted.workload != typed {
                top.wanted.workload = typed;
                top.filter_changed();
            }
            return;
        }
        Key::Escape => {
            top.mode = Mode::Table;
            return;
        }
        Key::Backspace => _ = typed.pop(),
        Key::Letter(letter) if !letter.is_control() && typed.chars().count() < MAX_FILTER => typed.push(letter),
        _ => {}
    }
    top.mode = Mode::Filter(typed);
}

fn restart(top: &mut Top, name: String, key: Key) -> Action {
    top.mode = Mode::Table;
    if key == Key::Letter('y') { Action::Ask(Question::Restart(name)) } else { Action::Nothing }
}

/// The next column, the largest first if it has numbers; none behind the last.
fn next_sort(top: &mut Top) {
    let columns: Vec<_> = top.shown.view.sorting_columns().collect();
    let sort = top.shown.sort.as_ref();
    let at = sort.and_then(|(key, _)| columns.iter().position(|column| column.key == key));
    let next = columns.get(at.map_or(0, |at| at + 1));
    top.shown.sort = next.map(|column| (column.key.to_owned(), column.form.is_number()));
    sorted(top);
}

/// Shows the rows that are there in the new order, and asks for those that belong to it.
fn sorted(top: &mut Top) {
    let Shown { view, table, sort, .. } = &mut top.shown;
    table.sort(view, sort.as_ref());
    table.show_cursor();
    top.settle();
    top.link.ask_now();
}

fn change_interval(top: &mut Top, now: Duration, is_next: impl Fn(u64, u64) -> bool) {
    let current = top.interval.as_secs();
    let nearest =
        INTERVALS.into_iter().filter(|seconds| is_next(*seconds, current)).min_by_key(|of| of.abs_diff(current));
    if let Some(seconds) = nearest {
        top.interval = Duration::from_secs(seconds);
        if !top.is_paused {
            top.link.ask_now();
        }
    }
    top.say(format!("an answer every {} s", top.interval.as_secs()), now);
}

/// Asks what there is to take along from the pair under the cursor.
fn copy(top: &mut Top, taken: Taken, now: Duration) -> Action {
    if !top.shown.view.has_ends {
        top.say("there is nothing to copy of a part".to_owned(), now);
        return Action::Nothing;
    }
    let Some(row) = top.shown.table.selected() else {
        top.say("choose a row first, by the arrows".to_owned(), now);
        return Action::Nothing;
    };
    let mut path = format!("/api/v1/pair?window={}", top.wanted.window);
    if top.wanted.by_namespace && top.shown.view.is_grouped {
        path.push_str("&by=namespace");
    }
    for (key, at) in [("&from=", "/from"), ("&to=", "/to")] {
        path.push_str(key);
        crate::http_client::encode(&mut path, super::answer::text(&row.value, at));
    }
    Action::Ask(Question::Pair(taken, path))
}
