//! The query of a view or of the API: what is shown, and over which window.
//!
//! Unknown keys are ignored, so that links of a later version work; a wrong value is left out and
//! named in a note.

use std::time::Duration;

use actix_web::web;

pub(super) use crate::http_client::encode;
use crate::readings::{By, ChangeKind, State};

/// Rows of a page of a table.
const ROWS: usize = 100;

/// The most rows that `limit` may ask for.
const MAX_ROWS: usize = 500;

/// The most bytes of a query that are read; links on a page are made of it.
const MAX_BYTES: usize = 4096;

/// The most words of `workload`, and values of a repeated key.
const MAX_VALUES: usize = 32;

/// Columns that rows can be sorted by; which of them a view has is its own.
pub(super) const COLUMNS: [&str; 30] = [
    "4xx", "5xx", "after", "again", "answer", "back", "bytes", "drops", "failed", "from", "kind", "name", "open",
    "opened", "out", "p50", "p95", "p99", "port", "rate", "rtt", "side", "since", "state", "time", "to", "total",
    "unit", "what", "why",
];

/// A read query.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "each is a key of the URL")]
pub(super) struct Query {
    /// The pairs as they were given, for links.
    pairs: Vec<(String, String)>,
    pub(super) workload: String,
    words: Vec<String>,
    pub(super) from: Option<String>,
    pub(super) to: Option<String>,
    pub(super) namespaces: Vec<String>,
    pub(super) states: Vec<State>,
    pub(super) protocols: Vec<String>,
    /// Kinds of changes.
    pub(super) kinds: Vec<ChangeKind>,
    pub(super) problems: bool,
    pub(super) by: By,
    /// The workload that a map is of.
    pub(super) focus: Option<String>,
    /// True if the map is laid out anew.
    pub(super) tidy: bool,
    /// True if the overview has a table in place of the map.
    pub(super) table: bool,
    /// Column, and true for the largest first.
    pub(super) sort: Option<(String, bool)>,
    /// From 0.
    pub(super) page: usize,
    pub(super) limit: usize,
    pub(super) open: Option<String>,
    pub(super) window: Duration,
    pub(super) bits: bool,
    pub(super) theme: Theme,
    /// Seconds between two refreshes; 0 is by hand.
    pub(super) every: u64,
    /// What could not be used.
    pub(super) notes: Vec<String>,
}

/// Colours of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Theme {
    Auto,
    Light,
    Dark,
}

impl Default for Query {
    fn default() -> Self {
        Self {
            pairs: Vec::new(),
            workload: String::new(),
            words: Vec::new(),
            from: None,
            to: None,
            namespaces: Vec::new(),
            states: Vec::new(),
            protocols: Vec::new(),
            kinds: Vec::new(),
            problems: false,
            by: By::Label,
            focus: None,
            tidy: false,
            table: false,
            sort: None,
            page: 0,
            limit: ROWS,
            open: None,
            window: Duration::from_mins(1),
            bits: false,
            theme: Theme::Auto,
            every: 5,
            notes: Vec::new(),
        }
    }
}

impl Query {
    /// Reads the part of a URL behind `?`.
    pub(super) fn read(text: &str) -> Self {
        let mut query = Self::default();
        if text.len() > MAX_BYTES {
            query.notes.push(format!("the query is longer than {MAX_BYTES} bytes and is left out"));
            return query;
        }
        let pairs = web::Query::<Vec<(String, String)>>::from_query(text).map(web::Query::into_inner);
        match pairs {
            Ok(pairs) => {
                for (key, value) in &pairs {
                    query.set(key, value.trim());
                }
                query.pairs = pairs;
            }
            Err(_) => query.notes.push("the query cannot be read and is left out".to_owned()),
        }
        query
    }

    fn set(&mut self, key: &str, value: &str) {
        if value.is_empty() {
            if matches!(key, "from" | "to") {
                self.notes.push(format!("{key} is left out: expected a name"));
            }
            return;
        }
        let known = match key {
            "workload" => {
                value.clone_into(&mut self.workload);
                self.words = value.split_whitespace().take(MAX_VALUES).map(str::to_owned).collect();
                value.split_whitespace().nth(MAX_VALUES).is_none()
            }
            "from" => set(&mut self.from, value),
            "to" => set(&mut self.to, value),
            "ns" => push(&mut self.namespaces, value.to_owned()),
            "proto" => push(&mut self.protocols, value.to_owned()),
            "verdict" => match State::ALL.into_iter().find(|state| state.label() == value) {
                Some(state) => push(&mut self.states, state),
                None => false,
            },
            "kind" => match ChangeKind::ALL.into_iter().find(|kind| kind.label() == value) {
                Some(kind) => push(&mut self.kinds, kind),
                None => false,
            },
            "problems" => {
                self.problems = value == "1";
                matches!(value, "0" | "1")
            }
            "by" => {
                self.by = if value == "namespace" { By::Namespace } else { By::Label };
                matches!(value, "namespace" | "workload")
            }
            "port" => false,
            "focus" => set(&mut self.focus, value),
            "tidy" => {
                self.tidy = value == "1";
                matches!(value, "0" | "1")
            }
            "show" => {
                self.table = value == "table";
                matches!(value, "map" | "table")
            }
            "sort" => {
                let (column, descends) = value.strip_prefix('-').map_or((value, false), |column| (column, true));
                let is_known = COLUMNS.contains(&column);
                if is_known {
                    self.sort = Some((column.to_owned(), descends));
                }
                is_known
            }
            "page" => value.parse().ok().filter(|page| *page > 0).map(|page: usize| self.page = page - 1).is_some(),
            "limit" => {
                let limit = value.parse().ok().filter(|limit| (1..=MAX_ROWS).contains(limit));
                limit.map(|limit| self.limit = limit).is_some()
            }
            "open" => set(&mut self.open, value),
            "window" => {
                let seconds = [("10s", 10), ("1m", 60), ("5m", 300)].into_iter().find(|(name, _)| *name == value);
                seconds.map(|(_, seconds)| self.window = Duration::from_secs(seconds)).is_some()
            }
            "unit" => {
                self.bits = value == "bit";
                matches!(value, "bit" | "byte")
            }
            "theme" => {
                let themes = [("auto", Theme::Auto), ("light", Theme::Light), ("dark", Theme::Dark)];
                let theme = themes.into_iter().find(|(name, _)| *name == value);
                theme.map(|(_, theme)| self.theme = theme).is_some()
            }
            "every" => value.parse().ok().filter(|every| *every <= 3600).map(|every| self.every = every).is_some(),
            _ => true,
        };
        if !known {
            self.notes.push(format!("{key}={value} is left out: {}", expected(key)));
        }
    }

    /// The query with `key` set to `value`, or without it, as a link has it: with `?` before it
    /// unless it is empty.
    pub(super) fn with(&self, key: &str, value: Option<&str>) -> String {
        self.with_all(&[(key, value)])
    }

    /// Likewise with several keys. Another page, open row or new layout is not kept.
    pub(super) fn with_all(&self, changes: &[(&str, Option<&str>)]) -> String {
        let changed: Vec<&str> = changes.iter().map(|(key, _)| *key).collect();
        let kept = self.kept(&changed);
        let set = changes.iter().filter_map(|(key, value)| Some((*key, (*value)?)));
        let mut text = String::new();
        for (key, value) in kept.chain(set) {
            text.push(if text.is_empty() { '?' } else { '&' });
            encode(&mut text, key);
            text.push('=');
            encode(&mut text, value);
        }
        text
    }

    /// What a form adds to the query whose fields are `asked`: each key with its value. Another
    /// page, open row or new layout is not kept.
    pub(super) fn kept(&self, asked: &[&str]) -> impl Iterator<Item = (&str, &str)> {
        let is_kept = |key: &str| !asked.contains(&key) && !matches!(key, "page" | "open" | "tidy");
        let pairs = self.pairs.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        pairs.filter(move |(key, value)| is_kept(key) && !value.trim().is_empty())
    }

    /// The keys that stay when another view is opened, as a link has them.
    pub(super) fn of_views(&self) -> String {
        let stays = |key: &str| ["ns", "proto", "workload", "window", "unit", "theme", "every"].contains(&key);
        let dropped: Vec<_> =
            self.pairs.iter().filter(|(key, _)| !stays(key)).map(|(key, _)| (key.as_str(), None)).collect();
        self.with_all(&dropped)
    }

    /// The layout of the map that is asked for: each workload's own map has one, and that of
    /// namespaces.
    pub(super) fn layout(&self) -> &str {
        let whole = if self.by == By::Namespace { "by=namespace" } else { "" };
        self.focus.as_deref().unwrap_or(whole)
    }

    /// True if a filter is set.
    pub(super) fn is_filtered(&self) -> bool {
        !self.words.is_empty()
            || self.from.is_some()
            || self.to.is_some()
            || !self.namespaces.is_empty()
            || !self.states.is_empty()
            || !self.protocols.is_empty()
            || !self.kinds.is_empty()
            || self.problems
    }

    /// True if a row with these ends is wanted.
    pub(super) fn wants_ends(&self, from: &str, to: &str) -> bool {
        let is_end = |wanted: &Option<String>, end: &str| wanted.as_ref().is_none_or(|wanted| wanted == end);
        let in_namespace = |end: &str| {
            let namespace = end.split_once('/').map_or(end, |(namespace, _)| namespace);
            self.namespaces.iter().any(|wanted| wanted == namespace)
        };
        let (mut wanted, mut named) = (false, false);
        for word in &self.words {
            if let Some(excluded) = word.strip_prefix('-').filter(|word| !word.is_empty()) {
                if matches(excluded, from) || matches(excluded, to) {
                    return false;
                }
            } else {
                named = true;
                wanted |= matches(word, from) || matches(word, to);
            }
        }
        (wanted || !named)
            && is_end(&self.from, from)
            && is_end(&self.to, to)
            && (self.namespaces.is_empty() || in_namespace(from) || in_namespace(to))
    }

    /// True if a row of this state is wanted.
    pub(super) fn wants_state(&self, state: State) -> bool {
        (self.states.is_empty() || self.states.contains(&state)) && (!self.problems || state.is_problem())
    }

    /// True if a row of this protocol is wanted.
    pub(super) fn wants_protocol(&self, protocol: &str) -> bool {
        self.protocols.is_empty() || self.protocols.iter().any(|wanted| wanted.eq_ignore_ascii_case(protocol))
    }
}

/// True if a word means an end: `shop/*` by its beginning, `cart` by any part of it.
fn matches(word: &str, end: &str) -> bool {
    match word.strip_suffix('*') {
        Some(start) => end.starts_with(start) || end.split_once('/').is_some_and(|(_, name)| name.starts_with(start)),
        None => end.contains(word),
    }
}

fn set(place: &mut Option<String>, value: &str) -> bool {
    *place = Some(value.to_owned());
    true
}

fn push<T>(all: &mut Vec<T>, value: T) -> bool {
    let fits = all.len() < MAX_VALUES;
    if fits {
        all.push(value);
    }
    fits
}

fn expected(key: &str) -> String {
    let states = || State::ALL.map(State::label).join(", ");
    match key {
        "verdict" => format!("expected one of {}, at most {MAX_VALUES} times", states()),
        "kind" => {
            let kinds = ChangeKind::ALL.map(ChangeKind::label).join(", ");
            format!("expected one of {kinds}, at most {MAX_VALUES} times")
        }
        "workload" => format!("expected at most {MAX_VALUES} words, and the rest"),
        "ns" | "proto" => format!("expected at most {MAX_VALUES} of them"),
        "sort" => {
            format!("expected one of {}, with - before it for the most first", COLUMNS.join(", "))
        }
        "problems" | "tidy" => "expected 0 or 1".to_owned(),
        "by" => "expected namespace or workload; for rows of pods the metrics need sourceContext=pod".to_owned(),
        "port" => "no metric with both ends has ports; webb observe --port has".to_owned(),
        "show" => "expected map or table".to_owned(),
        "page" => "expected a number from 1".to_owned(),
        "limit" => format!("expected a number from 1 to {MAX_ROWS}"),
        "window" => "expected 10s, 1m or 5m".to_owned(),
        "unit" => "expected byte or bit".to_owned(),
        "theme" => "expected auto, light or dark".to_owned(),
        _ => "expected seconds, at most 3600; 0 is by hand".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Words mean either end: a namespace, a beginning, a part; a minus excludes.
    #[test]
    fn words_filter() {
        for (words, from, to, wanted) in [
            ("", "shop/cart", "data/db", true),
            ("shop/*", "data/db", "shop/cart", true),
            ("shop/*", "data/db", "workshop/cart", false),
            ("cart*", "shop/cart-1", "data/db", true),
            ("art*", "shop/cart-1", "data/db", false),
            ("art", "shop/cart-1", "data/db", true),
            ("shop/* -prometheus", "shop/cart", "obs/prometheus", false),
            ("-prometheus", "shop/cart", "data/db", true),
            ("cart other", "x/other", "data/db", true),
        ] {
            let mut text = "workload=".to_owned();
            encode(&mut text, words);
            assert_eq!(Query::read(&text).wants_ends(from, to), wanted, "{words:?} {from} {to}");
        }
    }

    /// Wrong values are named and left out, unknown keys ignored.
    #[test]
    fn wrong_values_are_named() {
        let query = Query::read("window=2m&limit=501&page=0&verdict=fine&verdict=denied&colour=red&every=-1&unit=bit");
        let rest = Query { notes: Vec::new(), pairs: Vec::new(), ..query.clone() };
        assert_eq!(rest, Query { states: vec![State::Denied], bits: true, ..Query::default() });
        assert_eq!(query.notes.len(), 5, "{:?}", query.notes);
        assert!(query.notes[0].contains("expected 10s, 1m or 5m"), "{:?}", query.notes);
        assert_eq!(Query::read(&"x".repeat(5000)).notes.len(), 1);
        assert_eq!(Query::read("from=%0a&workload=").notes, ["from is left out: expected a name"]);
        let query = Query::read("sort=-colour");
        assert!(query.sort.is_none() && query.notes[0].contains("expected one of 4xx, "), "{:?}", query.notes);
        let many = Query::read(&vec!["ns=shop"; MAX_VALUES + 1].join("&"));
        assert_eq!((many.namespaces.len(), many.notes.len()), (MAX_VALUES, 1), "{:?}", many.notes);
    }

    /// A link keeps the filters, and neither page nor open row.
    #[test]
    fn links_keep_filters() {
        let query = Query::read("ns=shop&ns=data&page=3&open=x&sort=-bytes&verdict=denied");
        assert_eq!(query.with("sort", Some("p95")), "?ns=shop&ns=data&verdict=denied&sort=p95");
        assert_eq!(query.with("page", Some("2")), "?ns=shop&ns=data&sort=-bytes&verdict=denied&page=2");
        assert_eq!(query.of_views(), "?ns=shop&ns=data");
        assert_eq!(Query::default().of_views(), "");
    }

    proptest! {
        /// Whatever is asked: it is read without a panic, and a link of it is read as the same.
        #[test]
        fn links_are_read_as_written(text in "(workload|from|ns|open|x)=[ -~é<>\"']{0,20}(&(to|ns)=[!-~]{0,9})?") {
            let query = Query::read(&text);
            let link = query.with("sort", None);
            let again = Query::read(link.trim_start_matches('?'));
            prop_assert_eq!((&again.words, &again.from, &again.to), (&query.words, &query.from, &query.to));
            prop_assert_eq!(&again.namespaces, &query.namespaces);
        }
    }
}
