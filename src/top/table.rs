//! The rows of a view: their order, the cursor, and what of them is on the screen.

use serde_json::Value;

use super::answer::{Answer, number};
use super::form::Key;
use super::views::{Mark, View};

/// A row, with what tells it from all others.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    pub(super) identity: String,
    pub(super) value: Value,
}

/// The rows of a view, in the order in which they are shown.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Table {
    pub(super) rows: Vec<Row>,
    /// Identity of the row under the cursor; none until it is moved.
    pub(super) cursor: Option<String>,
    /// The first row on the screen.
    pub(super) offset: usize,
    /// Rows that the screen has room for.
    pub(super) height: usize,
}

impl Table {
    /// Takes new rows. With `keep` those that stay keep their places, else they are in the order of
    /// `sort`; either way the row under the cursor stays on its line of the screen.
    pub(super) fn update<'a>(
        &mut self,
        view: &View,
        values: impl Iterator<Item = &'a Value>,
        sort: Option<&(String, bool)>,
        keep: bool,
    ) {
        let mut rows: Vec<Row> =
            values.map(|value| Row { identity: view.identity(value), value: value.clone() }).collect();
        if keep {
            let place = |row: &Row| self.rows.iter().position(|old| old.identity == row.identity).unwrap_or(usize::MAX);
            rows.sort_by_cached_key(place);
        } else {
            order(view, &mut rows, sort);
        }
        let line = self.at().map(|at| at.saturating_sub(self.offset));
        self.rows = rows;
        match (self.at(), line) {
            (Some(at), Some(line)) => self.offset = at.saturating_sub(line),
            // The row is gone: so is the cursor.
            (None, _) => self.cursor = None,
            _ => {}
        }
        self.scroll();
    }

    /// Sorts the rows that are there.
    pub(super) fn sort(&mut self, view: &View, sort: Option<&(String, bool)>) {
        order(view, &mut self.rows, sort);
        self.scroll();
    }

    /// Place of the row under the cursor.
    pub(super) fn at(&self) -> Option<usize> {
        let cursor = self.cursor.as_ref()?;
        self.rows.iter().position(|row| row.identity == *cursor)
    }

    /// The row under the cursor.
    pub(super) fn selected(&self) -> Option<&Row> {
        self.rows.get(self.at()?)
    }

    /// Moves the cursor; the first move puts it on the first row of the screen.
    pub(super) fn step(&mut self, by: isize) {
        let next = match self.at() {
            None => self.offset,
            Some(at) => at.saturating_add_signed(by),
        };
        let next = next.min(self.rows.len().saturating_sub(1));
        self.cursor = self.rows.get(next).map(|row| row.identity.clone());
        self.show_cursor();
    }

    /// Makes the cursor's row one of those on the screen.
    pub(super) fn show_cursor(&mut self) {
        if let Some(at) = self.at() {
            self.offset = self.offset.min(at).max((at + 1).saturating_sub(self.height.max(1)));
        }
        self.scroll();
    }

    /// Keeps the screen full as far as there are rows.
    fn scroll(&mut self) {
        self.offset = self.offset.min(self.rows.len().saturating_sub(self.height.max(1)));
    }

    /// The rows on the screen.
    pub(super) fn shown(&self) -> &[Row] {
        let end = self.offset.saturating_add(self.height).min(self.rows.len());
        self.rows.get(self.offset..end).unwrap_or_default()
    }
}

/// The share of the bytes, and how many problems, that rows have which are not on the screen.
pub(super) fn beyond(view: &View, table: &Table, answer: &Answer) -> (f64, f64) {
    let bytes = |row: &Row| {
        let both = ["/out_bytes_per_second", "/back_bytes_per_second"];
        both.iter().filter_map(|at| number(&row.value, at)).sum::<f64>()
    };
    let (seen, known) = (table.shown().iter().map(bytes).sum::<f64>(), table.rows.iter().map(bytes).sum::<f64>());
    let unknown = number(answer.value(), "/hidden/bytes_ratio").unwrap_or(0.0);
    let more = if known > 0.0 { 1.0 - seen / known * (1.0 - unknown) } else { unknown };
    let is_problem =
        |row: &&Row| matches!(view.mark(&row.value), Mark::Passed | Mark::Denied | Mark::Failing | Mark::Slow);
    #[allow(clippy::cast_precision_loss, reason = "a number of rows is small")]
    let problems =
        (table.rows.iter().filter(is_problem).count() - table.shown().iter().filter(is_problem).count()) as f64;
    (more, problems + number(answer.value(), "/hidden/problems").unwrap_or(0.0))
}

/// Sorts rows by a column; without one they are as the agent sent them, the most serious first.
fn order(view: &View, rows: &mut [Row], sort: Option<&(String, bool)>) {
    let Some((key, descends)) = sort else { return };
    // By another key the agent has sorted them.
    let Some(column) = view.column(key) else { return };
    let key_of = |row: &Row| column.form.key(&row.value, column.at);
    let mut keyed: Vec<(Key, Row)> = rows.iter().map(|row| (key_of(row), row.clone())).collect();
    keyed.sort_by(|(one, _), (other, _)| {
        let order = one.compare(other);
        if *descends { order.reverse() } else { order }
    });
    for (place, (_, row)) in rows.iter_mut().zip(keyed) {
        *place = row;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::views::VIEWS;
    use super::*;

    fn rows(bytes: &[(&str, u64)]) -> Vec<Value> {
        bytes.iter().map(|(from, out)| json!({"from": from, "to": "x", "out_bytes_per_second": out})).collect()
    }

    fn names(table: &Table) -> String {
        table.shown().iter().map(|row| row.value["from"].as_str().unwrap()).collect()
    }

    /// Rows are sorted, and the one under the cursor stays on its line when others pass it by.
    #[test]
    fn the_cursor_keeps_its_row_and_line() {
        let view = &VIEWS[0];
        let sort = Some(("out".to_owned(), true));
        let mut table = Table { height: 3, ..Table::default() };
        table.update(view, rows(&[("a", 1), ("b", 5), ("c", 3), ("d", 2), ("e", 0)]).iter(), sort.as_ref(), false);
        assert_eq!(names(&table), "bcd");
        table.step(1);
        table.step(2);
        assert_eq!(table.selected().unwrap().value["from"], "d");
        table.step(1);
        assert_eq!(names(&table), "cda");
        table.step(-1);
        table.update(view, rows(&[("a", 1), ("b", 5), ("c", 3), ("d", 4), ("e", 0)]).iter(), sort.as_ref(), false);
        assert_eq!(names(&table), "bdc", "d moved up, and is on its line still");
        // Keys were pressed a moment ago: nothing moves, a new row comes last.
        let more = rows(&[("z", 9), ("a", 100), ("b", 5), ("d", 4), ("c", 3)]);
        table.update(view, more.iter(), sort.as_ref(), true);
        assert_eq!(table.rows.iter().map(|row| row.value["from"].as_str().unwrap()).collect::<String>(), "bdcaz");
        table.update(view, rows(&[("b", 5)]).iter(), sort.as_ref(), false);
        assert_eq!((table.cursor.clone(), names(&table)), (None, "b".to_owned()), "its row is gone");
        table.update(view, rows(&[]).iter(), None, false);
        table.step(7);
        assert!(table.selected().is_none());
    }

    /// What was not measured is less than anything measured.
    #[test]
    fn absent_is_least() {
        let view = &VIEWS[0];
        let values = [json!({"from": "a"}), json!({"from": "b", "out_bytes_per_second": 0.0})];
        let mut table = Table { height: 9, ..Table::default() };
        table.update(view, values.iter(), Some(&("out".to_owned(), true)), false);
        assert_eq!(names(&table), "ba");
        table.sort(view, Some(&("from".to_owned(), false)));
        assert_eq!(names(&table), "ab");
    }
}
