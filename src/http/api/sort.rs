//! The order of rows: by any column, over all rows, before a page of them is cut.

use std::cmp::{Ordering, Reverse};
use std::sync::Arc;

use crate::http::query::Query;
use crate::readings::{AnswerRow, Change, Connections, Counted, DropRow, HttpRow, PairRow};

/// What rows are sorted by: what was not measured is less than all that was.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Key {
    Absent,
    Number(f64),
    Text(Arc<str>),
}

impl Eq for Key {}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Number(one), Self::Number(other)) => one.total_cmp(other),
            (Self::Text(one), Self::Text(other)) => one.cmp(other),
            (one, other) => one.rank().cmp(&other.rank()),
        }
    }
}

impl Key {
    fn rank(&self) -> u8 {
        match self {
            Self::Absent => 0,
            Self::Number(_) => 1,
            Self::Text(_) => 2,
        }
    }

    #[allow(clippy::cast_precision_loss, reason = "an order of what is shown with three digits")]
    fn count(count: u64) -> Self {
        Self::Number(count as f64)
    }

    fn counted(of: Counted) -> Self {
        Self::count(of.window)
    }

    fn number(number: Option<f64>) -> Self {
        number.map_or(Self::Absent, Self::Number)
    }

    fn text(text: &Arc<str>) -> Self {
        Self::Text(Arc::clone(text))
    }

    fn share(part: Counted, all: Counted) -> Self {
        Self::number(part.share_of(all))
    }
}

/// A column's name, and its value in a row.
type Column<T> = (&'static str, fn(&T) -> Key);

/// Rows that can be sorted by their columns.
pub(crate) trait Sorted: 'static {
    /// All of them.
    const COLUMNS: &'static [Column<Self>];
}

/// Sorts rows by the column that a query names. Returns a note if there is none of that name: then
/// they stay in their order.
pub(crate) fn sort<T: Sorted>(rows: &mut [&T], query: &Query) -> Option<String> {
    let (name, descends) = query.sort.as_ref()?;
    let Some((_, key)) = T::COLUMNS.iter().find(|(column, _)| column == name) else {
        let known: Vec<_> = T::COLUMNS.iter().map(|(column, _)| *column).collect();
        return Some(format!("sort={name} is left out: these rows are sorted by {}", known.join(", ")));
    };
    // Each key is worked out once: a quantile takes longer than a comparison.
    if *descends {
        rows.sort_by_cached_key(|row| Reverse(key(row)));
    } else {
        rows.sort_by_cached_key(|row| key(row));
    }
    None
}

fn of_connections(row: &PairRow, key: fn(&Connections) -> Key) -> Key {
    row.connections.as_ref().map_or(Key::Absent, key)
}

fn failed(of: &Connections) -> Key {
    let (failed, _) = of.failed();
    Key::share(Counted { window: failed, total: failed }, of.attempts())
}

impl Sorted for PairRow {
    const COLUMNS: &'static [Column<Self>] = &[
        ("bytes", |row| Key::count(row.bytes())),
        ("out", |row| Key::counted(row.out_bytes)),
        ("back", |row| Key::counted(row.back_bytes)),
        ("opened", |row| of_connections(row, |of| Key::counted(of.attempts()))),
        ("open", |row| of_connections(row, |of| Key::count(of.open))),
        ("failed", |row| of_connections(row, failed)),
        ("p50", |row| of_connections(row, |of| Key::number(of.handshake.quantile(0.5)))),
        ("p95", |row| of_connections(row, |of| Key::number(of.handshake.quantile(0.95)))),
        ("rtt", |row| of_connections(row, |of| Key::number(of.round_trip.quantile(0.5)))),
        ("again", |row| of_connections(row, |of| Key::counted(of.sent_again))),
        ("side", |row| of_connections(row, |of| Key::count(u64::from(!of.by_client)))),
        ("drops", |row| Key::counted(row.drops)),
        ("state", |row| Key::count(row.state as u64)),
        ("port", |row| row.protocols.first().map_or(Key::Absent, Key::text)),
        ("from", |row| Key::text(&row.from)),
        ("to", |row| Key::text(&row.to)),
    ];
}

impl Sorted for DropRow {
    const COLUMNS: &'static [Column<Self>] = &[
        ("from", |row| Key::text(&row.from)),
        ("to", |row| Key::text(&row.to)),
        ("port", |row| row.protocol.as_ref().map_or(Key::Absent, Key::text)),
        ("state", |row| Key::count(row.state as u64)),
        ("rate", |row| Key::counted(row.count)),
        ("total", |row| Key::count(row.count.total)),
        ("since", |row| Key::count(row.first)),
        ("why", |row| Key::text(&row.reason)),
    ];
}

impl Sorted for AnswerRow {
    const COLUMNS: &'static [Column<Self>] = &[
        ("name", |row| row.name.as_ref().map_or(Key::Absent, Key::text)),
        ("answer", |row| Key::text(&row.code)),
        ("from", |row| Key::text(&row.from)),
        ("to", |row| Key::text(&row.to)),
        ("rate", |row| Key::counted(row.count)),
        ("total", |row| Key::count(row.count.total)),
        ("since", |row| Key::count(row.first)),
    ];
}

impl Sorted for Change {
    const COLUMNS: &'static [Column<Self>] = &[
        ("time", |row| Key::count(row.unix)),
        ("kind", |row| Key::count(row.kind as u64)),
        ("from", |row| row.ends.as_ref().map_or(Key::Absent, |(from, _)| Key::text(from))),
        ("to", |row| row.ends.as_ref().map_or(Key::Absent, |(_, to)| Key::text(to))),
        ("what", |row| row.object.as_ref().map_or_else(|| Key::Text(row.text.as_str().into()), Key::text)),
        ("after", |row| Key::number(row.figure.map(|figure| figure.after))),
        ("unit", |row| row.figure.map_or(Key::Absent, |figure| Key::Text(figure.unit.into()))),
    ];
}

fn class(row: &HttpRow, class: usize) -> Key {
    Key::share(row.status.get(class).copied().unwrap_or_default(), row.requests())
}

impl Sorted for HttpRow {
    const COLUMNS: &'static [Column<Self>] = &[
        ("from", |row| Key::text(&row.from)),
        ("to", |row| Key::text(&row.to)),
        ("rate", |row| Key::counted(row.requests())),
        ("4xx", |row| class(row, 4)),
        ("5xx", |row| class(row, 5)),
        ("p50", |row| Key::number(row.times.quantile(0.5))),
        ("p95", |row| Key::number(row.times.quantile(0.95))),
        ("p99", |row| Key::number(row.times.quantile(0.99))),
        ("side", |row| Key::text(&row.reporter)),
    ];
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::readings::State;
    use crate::readings::tests::pair_row;

    /// The query knows the columns of all views, and no others.
    #[test]
    fn columns_are_those_of_the_query() {
        let mut names: Vec<_> = [
            PairRow::COLUMNS.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
            DropRow::COLUMNS.iter().map(|(name, _)| *name).collect(),
            AnswerRow::COLUMNS.iter().map(|(name, _)| *name).collect(),
            HttpRow::COLUMNS.iter().map(|(name, _)| *name).collect(),
            Change::COLUMNS.iter().map(|(name, _)| *name).collect(),
        ]
        .concat();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names, crate::http::query::COLUMNS);
    }

    /// By any column, both ways; what was not measured is the least, and rows that are equal keep
    /// their order.
    #[test]
    fn rows_are_sorted() {
        let mut rows: Vec<PairRow> =
            [("b", 5), ("a", 9), ("c", 5)].map(|(from, bytes)| pair_row(from, "x", State::Forwarded, bytes)).into();
        let connections = Connections { outcomes: [Counted { window: 3, total: 3 }; 6], ..Connections::default() };
        rows[2].connections = Some(connections);
        let sorted = |query: &str| {
            let mut sorted: Vec<_> = rows.iter().collect();
            let note = sort(&mut sorted, &Query::read(query));
            (sorted.iter().map(|row| &*row.from).collect::<String>(), note.is_some())
        };
        for (query, order) in [
            ("", "bac"),
            ("sort=-out", "abc"),
            ("sort=out", "bca"),
            ("sort=-opened", "cba"),
            ("sort=p95", "bac"),
            ("sort=-from", "cba"),
        ] {
            assert_eq!(sorted(query), (order.to_owned(), false), "{query}");
        }
        assert_eq!(sorted("sort=-5xx"), ("bac".to_owned(), true), "pairs have no such column");
    }

    /// Every column of `webb top` is one that the API sorts by: it sorts all rows, and a terminal
    /// has a page of them.
    #[test]
    fn columns_of_top_are_sorted_here() {
        let known = [
            ("pairs", PairRow::COLUMNS.iter().map(|(name, _)| *name).collect::<Vec<_>>()),
            ("connections", PairRow::COLUMNS.iter().map(|(name, _)| *name).collect()),
            ("drops", DropRow::COLUMNS.iter().map(|(name, _)| *name).collect()),
            ("dns", AnswerRow::COLUMNS.iter().map(|(name, _)| *name).collect()),
            ("http", HttpRow::COLUMNS.iter().map(|(name, _)| *name).collect()),
            ("changes", Change::COLUMNS.iter().map(|(name, _)| *name).collect()),
        ];
        for (view, columns) in known {
            let (sorts, shown) = crate::top::sorts_of(view);
            assert!(sorts.iter().all(|name| columns.contains(name)), "{view}: {sorts:?}");
            assert!(shown.iter().all(|name| sorts.contains(name)), "{view}: {shown:?}");
        }
    }
}
