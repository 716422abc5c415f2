//! The screen: head, views, a table, what is said of it, and the keys.

use std::time::Duration;

use ratatui_core::buffer::Buffer;
use ratatui_core::style::{Modifier, Style};

use super::answer::{list, number, text};
use super::form::{Form, Units, since, what};
use super::screen::{Screen, bold, chosen, middle, normal};
use super::state::{Mode, Top};
use super::table::beyond;
use super::views::{Column, Mark, VIEWS, View};
use super::{agent_view, details};
use crate::display::{percent, plain_name, visible};

/// The smallest screen that has room for anything.
const MIN_SIZE: (u16, u16) = (60, 12);

/// The line of the first row below head and views.
const TOP: u16 = 2;

/// Lines at the bottom: a sentence, a sum, the keys.
const BOTTOM: u16 = 3;

/// Draws everything.
pub(super) fn draw(top: &mut Top, buffer: &mut Buffer, now: Duration) {
    buffer.reset();
    let screen = &mut Screen { buffer, ascii: top.appearance.ascii, has_colors: top.appearance.has_colors };
    let (width, height) = (screen.width(), screen.height());
    if width < MIN_SIZE.0 || height < MIN_SIZE.1 {
        let said = format!("needs {} x {}, has {width} x {height}", MIN_SIZE.0, MIN_SIZE.1);
        screen.put(0, 0, width, &said, normal());
        return;
    }
    match &top.mode {
        Mode::Keys => details::keys(screen, TOP + 1),
        Mode::Details => details::row(screen, top, TOP + 1, height - BOTTOM),
        _ => content(screen, top),
    }
    if top.link.lost(now).is_some() {
        for y in TOP..height - BOTTOM {
            screen.style_line(y, Style::new().add_modifier(Modifier::DIM));
        }
    }
    head(screen, top, now);
    tabs(screen, top);
    sentence(screen, top, now, height - 3);
    sum(screen, top, height - 2);
    bottom(screen, top, now, height - 1);
}

fn head(screen: &mut Screen<'_>, top: &Top, now: Duration) {
    let width = screen.width();
    let lost = top.link.lost(now);
    let right = match (lost, &top.shown.received) {
        (Some((since, next, _)), _) => format!("lost {} s ago, next try in {} s", since.as_secs(), next.as_secs()),
        (None, Some((answer, came))) => {
            let time = text(answer.value(), "/time").get(11..19).unwrap_or("no sample").to_owned();
            let kept = now.saturating_sub(*came).as_secs();
            let age = answer.age().map_or_else(String::new, |age| format!("  {} s old", age + kept));
            let (zone, over) = if width >= 100 { (" UTC", "rates over ") } else { ("Z", "") };
            let bits = if top.appearance.bits { "  bits" } else { "" };
            let window = number(answer.value(), "/window_seconds").unwrap_or(0.0);
            let span = if window > 0.0 { format!("{over}{window:.0} s") } else { "rates soon".to_owned() };
            format!("{time}{zone}{age}  {span}{bits}")
        }
        (None, None) => "asking".to_owned(),
    };
    let state = match (top.is_paused, &top.status) {
        (true, _) => "paused",
        (false, None) => "",
        (false, Some(_)) if top.is_complete() => "complete",
        (false, Some(_)) => "! incomplete",
    };
    let node = visible(top.status.as_ref().map_or("", |status| text(status.value(), "/node")));
    let room = width.saturating_sub(u16::try_from(right.len()).unwrap_or(0) + 3);
    let x = screen.put(1, 0, room, "webb top", bold());
    let x = screen.put(x + 2, 0, room.saturating_sub(x + 16), &node, normal());
    screen.put(x + 2, 0, room.saturating_sub(x), state, if state.starts_with('!') { bold() } else { normal() });
    let style = if lost.is_some() { bold() } else { normal() };
    screen.put_right(0, 0, width - 1, &right, style);
}

fn tabs(screen: &mut Screen<'_>, top: &Top) {
    let mut x = 1;
    for (at, view) in VIEWS.iter().enumerate() {
        let is_shown = view.name == top.shown.view.name;
        let (open, close) = if is_shown { ("[", "]") } else { (" ", " ") };
        let style = if is_shown { bold() } else { normal() };
        x = screen.put(x, 1, 40, &format!("{open}{} {}", at + 1, view.title), style);
        let (count, mark) = match view.name {
            "pairs" => {
                let pairs = top.status.as_ref().and_then(|status| number(status.value(), "/pairs"));
                (pairs.map(|pairs| format!(" {pairs:.0}")), Mark::None)
            }
            "agent" if top.status.is_some() && !top.is_complete() => (Some(" ".to_owned()), Mark::Failing),
            _ => {
                let (count, mark) = top.attention(view);
                ((count > 0.0).then(|| format!(" {count:.0}")), mark)
            }
        };
        if let Some(count) = count {
            x = screen.put(x, 1, 12, &count, style);
            if mark != Mark::None {
                let color = screen.color(mark.color());
                x = screen.put(x, 1, 1, mark.symbol(), color);
            }
        }
        x = screen.put(x, 1, 1, close, style);
    }
}

fn content(screen: &mut Screen<'_>, top: &mut Top) {
    let bottom = screen.height() - BOTTOM;
    let (first, end) = match top.answer().filter(|_| top.shown.view.name == "agent") {
        Some(answer) => agent_view::around(screen, &answer.clone(), TOP, bottom),
        None => (TOP, bottom),
    };
    top.shown.table.height = usize::from(end.saturating_sub(first + 1));
    top.shown.table.show_cursor();
    if top.shown.table.rows.is_empty() {
        nothing(screen, top, first + 1);
    } else {
        table(screen, top, first);
    }
}

/// Why there are no rows.
fn nothing(screen: &mut Screen<'_>, top: &Top, y: u16) {
    let width = screen.width() - 2;
    if top.answer().is_none() {
        return;
    }
    let said = if top.wanted.workload.is_empty() && !top.wanted.problems || !top.shown.view.has_ends {
        top.shown.view.nothing.to_owned()
    } else if top.wanted.problems {
        "Nothing needs a look; ! shows the rest".to_owned()
    } else {
        format!("Nothing matches {:?}; / changes it", visible(&top.wanted.workload))
    };
    screen.put(1, y, width, &said, normal());
}

/// The columns that a width has room for, each with its place and width.
fn layout(view: &View, width: u16) -> Vec<(&'static Column, u16, u16)> {
    let shown: Vec<&Column> = view.columns.iter().filter(|column| column.from <= width).collect();
    let fixed: u16 = shown.iter().map(|column| column.width).sum();
    let flexible = u16::try_from(shown.iter().filter(|column| column.width == 0).count()).unwrap_or(1).max(1);
    let mut left = width.saturating_sub(MARK + fixed);
    let share = left / flexible;
    let (mut x, mut places) = (MARK, Vec::new());
    for column in shown {
        let width = match column.width {
            0 if left < 2 * share => std::mem::take(&mut left),
            0 => {
                left -= share;
                share
            }
            width => width,
        };
        places.push((column, x, width));
        x += width;
    }
    places
}

/// Cells before the first column: the cursor and the mark.
const MARK: u16 = 2;

fn table(screen: &mut Screen<'_>, top: &Top, y: u16) {
    let (view, table) = (top.shown.view, &top.shown.table);
    let places = layout(view, screen.width());
    let sort = top.shown.sort.as_ref();
    for (column, x, width) in &places {
        let sorted = sort.filter(|(key, _)| key == column.key);
        let arrow = sorted.map_or("", |(_, descends)| if *descends { "v" } else { "^" });
        let style = bold();
        if column.form.is_number() {
            screen.put_right(*x, y, *width, &format!("{arrow}{}", column.title), style);
        } else {
            screen.put(*x, y, width.saturating_sub(1), &format!("{}{arrow}", column.title), style);
        }
    }
    let now = top.answer().map_or("", |answer| text(answer.value(), "/time"));
    let units = Units { bits: top.appearance.bits, ascii: top.appearance.ascii, now };
    for (line, row) in (y + 1..).zip(table.shown()) {
        let is_chosen = table.cursor.as_ref() == Some(&row.identity);
        for (column, x, width) in &places {
            let said = column.form.shown(&row.value, column.at, &units);
            if column.form.is_number() {
                screen.put_right(*x, line, *width, &format!(" {said}"), normal());
            } else {
                let indent = u16::from(column.title.starts_with("  ")) * 2;
                let room = width.saturating_sub(1 + indent);
                let said = if column.form == Form::End { middle(&said, room, top.appearance.ascii) } else { said };
                screen.put(x + indent, line, room, &said, normal());
            }
        }
        if is_chosen {
            screen.style_line(line, chosen());
        }
        let mark = view.mark(&row.value);
        let color = screen.color(mark.color());
        screen.put(0, line, 1, mark.symbol(), color.add_modifier(Modifier::BOLD));
        screen.put(1, line, 1, if is_chosen { ">" } else { " " }, normal());
    }
}

/// What is to be said of the row under the cursor, or of the agent.
fn sentence(screen: &mut Screen<'_>, top: &Top, now: Duration, y: u16) {
    let width = screen.width() - 2;
    let said = if let Some((.., why)) = top.link.lost(now) {
        format!("The agent does not answer: {why}")
    } else if let Some(row) = top.shown.table.selected().filter(|_| top.shown.view.name == "changes") {
        let (from, to) = (text(&row.value, "/from"), text(&row.value, "/to"));
        let ends = if from.is_empty() && to.is_empty() {
            String::new()
        } else {
            format!("{} -> {}: ", plain_name(from), plain_name(to))
        };
        format!("{ends}{}", what(&row.value))
    } else if let Some(item) = top.item() {
        let ends = top.shown.table.selected().map(|row| {
            let end = |at: &str| plain_name(text(&row.value, at));
            format!("{} -> {}: ", end("/from"), end("/to"))
        });
        let now = top.status.as_ref().map_or("", |status| text(status.value(), "/time"));
        let first = match since(item, "/first_seen", now).trim_end_matches('*') {
            "start" | "" => String::new(),
            days if days.ends_with(" d") => format!(", for {days}"),
            time => format!(", since {time}"),
        };
        format!("{}{}{first}", ends.unwrap_or_default(), visible(text(item, "/text")))
    } else {
        let notes = top.answer().map_or(&[][..], |answer| list(answer.value(), "/notes"));
        let degraded = top.status.as_ref().map_or(&[][..], |status| list(status.value(), "/degraded"));
        let first = degraded.first().map(|of| (text(of, "/text"), text(of, "/setting")));
        match (notes.first().and_then(serde_json::Value::as_str), first) {
            (Some(note), _) => visible(note),
            (None, Some((said, ""))) => visible(said),
            (None, Some((said, setting))) => visible(&format!("{said}. Raise {setting}")),
            (None, None) => String::new(),
        }
    };
    screen.put(1, y, width, &said, normal());
}

/// How many rows are on the screen, in which order, and what is beyond it.
fn sum(screen: &mut Screen<'_>, top: &Top, y: u16) {
    let (view, table) = (top.shown.view, &top.shown.table);
    let Some(answer) = top.answer().filter(|_| !table.rows.is_empty()) else { return };
    let hidden = number(answer.value(), "/hidden/rows").unwrap_or(0.0);
    #[allow(clippy::cast_precision_loss, reason = "a number of rows is small")]
    let (shown, rows) = (table.shown().len() as f64, table.rows.len() as f64);
    let (shown, all) = (shown, rows + hidden);
    let order = match top.shown.sort.as_ref() {
        None if view.name == "changes" => ", the latest first".to_owned(),
        None if view.has_ends => ", problems first".to_owned(),
        None => String::new(),
        Some((key, descends)) => {
            let title = view.column(key).map_or(key.as_str(), |column| column.title.trim());
            format!(", by {title}, {}", if *descends { "largest first" } else { "smallest first" })
        }
    };
    let mut said = if shown < all {
        format!("{shown:.0} of {all:.0} {}{order}; {:.0} more", view.things, all - shown)
    } else {
        format!("{all:.0} {}{order}", view.things)
    };
    if view.name == "pairs" && shown < all {
        let (more, problems) = beyond(view, table, answer);
        said += &format!(": {} % of the bytes, {problems:.0} with a problem", percent(more));
    }
    if !top.wanted.workload.is_empty() && view.has_ends {
        said += &format!("; filter {}", visible(&top.wanted.workload));
    }
    if top.wanted.by_namespace && view.is_grouped {
        said += "; by namespace";
    }
    if top.wanted.problems && view.has_ends {
        said += "; problems only";
    }
    screen.put(1, y, screen.width() - 2, &said, normal());
}

/// The keys, or what is typed or asked.
fn bottom(screen: &mut Screen<'_>, top: &Top, now: Duration, y: u16) {
    let width = screen.width() - 2;
    let said = match (&top.mode, top.notice(now)) {
        // The end of a long text is what is typed.
        (Mode::Filter(typed), _) => {
            let room = usize::from(width).saturating_sub(12);
            let shown: Vec<char> = visible(typed).chars().collect();
            let end: String = shown.iter().skip(shown.len().saturating_sub(room)).collect();
            format!("filter: {end}_")
        }
        (Mode::Restart(name), _) => format!("restart {}? y, any other key is no", visible(name)),
        (_, Some(notice)) => visible(notice),
        (Mode::Keys | Mode::Details, _) => "Esc back  q quit".to_owned(),
        (Mode::Table, _) if top.shown.view.name == "agent" => {
            "q quit  r restart a part  s sort  p pause  Enter more  ? keys".to_owned()
        }
        (Mode::Table, _) => "q quit  / filter  s sort  ! problems  p pause  Enter more  y PromQL  ? keys".to_owned(),
    };
    let style = if matches!(top.mode, Mode::Filter(_) | Mode::Restart(_)) { bold() } else { normal() };
    screen.put(1, y, width, &said, style);
}
