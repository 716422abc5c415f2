//! The views: which rows of which answer, in which columns.

use ratatui_core::style::Color;
use serde_json::Value;

use super::answer::{number, text};
use super::form::Form;

/// A view.
#[derive(Debug)]
pub(super) struct View {
    /// Name in the API's path and of `--view`.
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    /// What its rows are, in the plural.
    pub(super) things: &'static str,
    /// Why there may be no rows.
    pub(super) nothing: &'static str,
    /// Where its rows are in the answer.
    pub(super) rows: &'static str,
    pub(super) columns: &'static [Column],
    /// What tells its rows apart.
    pub(super) identity: &'static [&'static str],
    /// Keys by which the agent sorts, which it does over all rows.
    pub(super) sorts: &'static [&'static str],
    /// True if a filter on ends means anything.
    pub(super) has_ends: bool,
    /// True if its rows can be of namespaces.
    pub(super) is_grouped: bool,
}

/// A column of a table.
#[derive(Debug)]
pub(super) struct Column {
    /// Name of `--sort`.
    pub(super) key: &'static str,
    /// Title on a screen.
    pub(super) title: &'static str,
    /// Title of `--once`.
    pub(super) name: &'static str,
    /// Pointer to its value in a row.
    pub(super) at: &'static str,
    pub(super) form: Form,
    /// Width on a screen, with the space before it; 0 takes a share of what is left.
    pub(super) width: u16,
    /// Width of a screen from which on it is shown.
    pub(super) from: u16,
}

#[allow(clippy::too_many_arguments, reason = "a row of a table")]
const fn column(
    key: &'static str,
    title: &'static str,
    name: &'static str,
    at: &'static str,
    form: Form,
    width: u16,
    from: u16,
) -> Column {
    Column { key, title, name, at, form, width, from }
}

/// Rows that the API sends at most.
pub(super) const MAX_LIMIT: u16 = 500;

/// Keys by which the agent sorts pairs.
const PAIR_SORTS: &[&str] = &[
    "bytes", "out", "back", "opened", "open", "failed", "p50", "p95", "rtt", "again", "side", "drops", "state", "port",
    "from", "to",
];

/// All views, in the order of their numbers.
pub(super) const VIEWS: &[View] = &[
    View {
        name: "pairs",
        title: "Pairs",
        things: "pairs",
        nothing: "No pod has talked yet, or the metric traffic is off",
        rows: "/rows",
        columns: &[
            column("from", "FROM", "FROM", "/from", Form::End, 0, 0),
            column("to", "TO", "TO", "/to", Form::End, 0, 0),
            column("port", "PORT", "PORT", "/protocols", Form::Port, 8, 0),
            column("state", "  STATE", "STATE", "/state", Form::State, 20, 120),
            column("out", "OUT/s", "OUT_BYTES_PER_S", "/out_bytes_per_second", Form::Bytes, 8, 0),
            column("back", "BACK/s", "BACK_BYTES_PER_S", "/back_bytes_per_second", Form::Bytes, 8, 0),
            column("opened", "OPEN/s", "CONNECTS_PER_S", "/connects_per_second", Form::Rate, 8, 120),
            column("failed", "FAILED", "FAILED_RATIO", "/failed_ratio", Form::Share, 8, 100),
            column("p50", "p50", "HANDSHAKE_P50_S", "/handshake_p50_seconds", Form::Seconds, 8, 140),
            column("p95", "p95", "HANDSHAKE_P95_S", "/handshake_p95_seconds", Form::Seconds, 7, 0),
            column("drops", "DROPS", "DROPS_TOTAL", "/drops_total", Form::Count, 8, 140),
            column("trend", "15 MIN", "TREND", "/trend", Form::Trend, 13, 160),
        ],
        identity: &["/from", "/to", "/port"],
        sorts: PAIR_SORTS,
        has_ends: true,
        is_grouped: true,
    },
    View {
        name: "drops",
        title: "Drops",
        things: "drops",
        nothing: "No packet was dropped, or the metrics drop and policy are off",
        rows: "/rows",
        columns: &[
            column("from", "FROM", "FROM", "/from", Form::End, 0, 0),
            column("to", "TO", "TO", "/to", Form::End, 0, 0),
            column("port", "PORT", "PORT", "/proto", Form::Port, 8, 0),
            column("state", "  STATE", "STATE", "/verdict", Form::State, 20, 120),
            column("rate", "RATE/s", "PACKETS_PER_S", "/per_second", Form::Rate, 8, 0),
            column("total", "TOTAL", "PACKETS_TOTAL", "/total", Form::Count, 8, 100),
            column("since", "SINCE", "SINCE", "/first_seen", Form::Since, 7, 0),
            column("why", "  WHY", "WHY", "/reason", Form::Why, 0, 0),
        ],
        identity: &["/from", "/to", "/proto", "/verdict", "/reason", "/direction", "/port"],
        sorts: &["from", "to", "port", "state", "rate", "total", "since", "why"],
        has_ends: true,
        is_grouped: false,
    },
    View {
        name: "connections",
        title: "Conn",
        things: "pairs",
        nothing: "No pod has opened a connection yet, or the metric connections is off",
        rows: "/rows",
        columns: &[
            column("from", "FROM", "FROM", "/from", Form::End, 0, 0),
            column("to", "TO", "TO", "/to", Form::End, 0, 0),
            column("state", "  STATE", "STATE", "/state", Form::State, 20, 120),
            column("opened", "OPEN/s", "CONNECTS_PER_S", "/connects_per_second", Form::Rate, 8, 0),
            column("open", "OPEN", "OPEN", "/open", Form::Count, 7, 100),
            column("failed", "FAILED", "FAILED_RATIO", "/outcomes", Form::Failed, 8, 0),
            column("p50", "p50", "HANDSHAKE_P50_S", "/handshake/p50_seconds", Form::Seconds, 7, 0),
            column("p95", "p95", "HANDSHAKE_P95_S", "/handshake/p95_seconds", Form::Seconds, 7, 0),
            column("rtt", "RTT p50", "RTT_P50_S", "/round_trip/p50_seconds", Form::Seconds, 9, 120),
            column("again", "AGAIN/s", "SENT_AGAIN_PER_S", "/sent_again_per_second", Form::Rate, 9, 0),
            column("side", "  SEEN BY", "REPORTER", "/reporter", Form::Word, 10, 140),
        ],
        identity: &["/from", "/to", "/port"],
        sorts: PAIR_SORTS,
        has_ends: true,
        is_grouped: true,
    },
    View {
        name: "dns",
        title: "DNS",
        things: "answers",
        nothing: "No answer was seen yet, or the metric dns is off",
        rows: "/rows",
        columns: &[
            column("name", "NAME", "NAME", "/name", Form::Word, 0, 0),
            column("answer", "ANSWER", "ANSWER", "/rcode", Form::Word, 20, 0),
            column("from", "ASKED BY", "FROM", "/from", Form::End, 20, 0),
            column("to", "ANSWERED BY", "TO", "/to", Form::End, 24, 120),
            column("rate", "RATE/s", "ANSWERS_PER_S", "/per_second", Form::Rate, 8, 0),
            column("total", "TOTAL", "ANSWERS_TOTAL", "/total", Form::Count, 8, 100),
            column("since", "SINCE", "SINCE", "/first_seen", Form::Since, 7, 100),
        ],
        identity: &["/name", "/rcode", "/from", "/to"],
        sorts: &["name", "answer", "from", "to", "rate", "total", "since"],
        has_ends: true,
        is_grouped: false,
    },
    View {
        name: "http",
        title: "HTTP",
        things: "pairs",
        nothing: "No request was seen yet, or the metrics httpV2 and http are off",
        rows: "/rows",
        columns: &[
            column("from", "FROM", "FROM", "/from", Form::End, 0, 0),
            column("to", "TO", "TO", "/to", Form::End, 0, 0),
            column("rate", "REQ/s", "REQUESTS_PER_S", "/requests_per_second", Form::Rate, 7, 0),
            column("4xx", "4xx", "4XX_RATIO", "/status", Form::Class("4xx"), 7, 0),
            column("5xx", "5xx", "5XX_RATIO", "/status", Form::Class("5xx"), 7, 0),
            column("p50", "p50", "DURATION_P50_S", "/duration/p50_seconds", Form::Seconds, 7, 100),
            column("p95", "p95", "DURATION_P95_S", "/duration/p95_seconds", Form::Seconds, 7, 0),
            column("p99", "p99", "DURATION_P99_S", "/duration/p99_seconds", Form::Seconds, 7, 100),
            column("side", "  SEEN BY", "REPORTER", "/reporter", Form::Word, 10, 100),
        ],
        identity: &["/from", "/to", "/reporter"],
        sorts: &["from", "to", "rate", "4xx", "5xx", "p50", "p95", "p99", "side"],
        has_ends: true,
        is_grouped: true,
    },
    View {
        name: "changes",
        title: "Changes",
        things: "changes",
        nothing: "Nothing has changed that was seen",
        rows: "/rows",
        columns: &[
            column("time", "TIME", "TIME", "/time", Form::Since, 7, 0),
            column("kind", "  KIND", "KIND", "/kind", Form::Word, 10, 120),
            column("from", "  FROM", "FROM", "/from", Form::End, 0, 0),
            column("to", "TO", "TO", "/to", Form::End, 0, 0),
            column("what", "WHAT", "WHAT", "/text", Form::What, 0, 0),
            column("after", "NOW", "AFTER", "/after", Form::Figure, 8, 100),
            column("unit", "  UNIT", "UNIT", "/unit", Form::Word, 14, 120),
        ],
        identity: &["/time", "/kind", "/from", "/to", "/object", "/text"],
        sorts: &["time", "kind", "from", "to", "what", "after", "unit"],
        has_ends: true,
        is_grouped: false,
    },
    View {
        name: "agent",
        title: "Agent",
        things: "parts",
        nothing: "The agent names no part",
        rows: "/agent/components",
        columns: &[
            column("name", "PART", "PART", "/name", Form::Word, 0, 0),
            column("state", "STATE", "STATE", "/state", Form::Word, 12, 0),
            column("restarts", "RESTARTS", "RESTARTS", "/restarts", Form::Count, 10, 0),
            column("faults", "FAULTS", "FAULTS", "/faults", Form::Sum, 8, 0),
            column("queue", "QUEUE", "QUEUE", "/queue_depth", Form::Count, 8, 0),
            column("why", "  WHY", "WHY", "/reason", Form::Word, 0, 100),
        ],
        identity: &["/name"],
        sorts: &[],
        has_ends: false,
        is_grouped: false,
    },
];

/// A mark of a row: what needs a look has one, and no two mean the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    None,
    Passed,
    Denied,
    Failing,
    Slow,
    Dropped,
    /// An error answer.
    Error,
}

impl Mark {
    /// The mark of a state of the API.
    pub(super) fn of(state: &str) -> Self {
        match state {
            "passed" => Self::Passed,
            "denied" => Self::Denied,
            "failing" => Self::Failing,
            "slow" => Self::Slow,
            "dropped" => Self::Dropped,
            _ => Self::None,
        }
    }

    pub(super) fn symbol(self) -> &'static str {
        match self {
            Self::None => " ",
            Self::Passed => "#",
            Self::Denied | Self::Error => "x",
            Self::Failing => "!",
            Self::Slow => "~",
            Self::Dropped => "-",
        }
    }

    pub(super) fn color(self) -> Color {
        match self {
            Self::None => Color::Reset,
            Self::Passed => Color::Magenta,
            Self::Denied | Self::Error => Color::Red,
            Self::Failing => Color::Yellow,
            Self::Slow => Color::Cyan,
            Self::Dropped => Color::Blue,
        }
    }
}

impl View {
    /// The mark of a row.
    pub(super) fn mark(&self, row: &Value) -> Mark {
        match self.name {
            "dns" if row.get("error").and_then(Value::as_bool) != Some(true) => Mark::None,
            "dns" if text(row, "/rcode") == "unanswered" => Mark::Failing,
            "dns" => Mark::Error,
            "http" if number(row, "/status/5xx").is_some_and(|errors| errors > 0.0) => Mark::Failing,
            "agent" if !matches!(text(row, "/state"), "up" | "stopped") => Mark::Failing,
            "drops" => Mark::of(text(row, "/verdict")),
            _ => Mark::of(text(row, "/state")),
        }
    }

    /// What tells a row from all others.
    pub(super) fn identity(&self, row: &Value) -> String {
        let parts = self.identity.iter().map(|at| row.pointer(at).unwrap_or(&Value::Null).to_string());
        parts.collect::<Vec<_>>().join(" ")
    }

    /// The columns that rows are sorted by.
    pub(super) fn sorting_columns(&self) -> impl Iterator<Item = &'static Column> {
        self.columns.iter().filter(|column| column.form != Form::Trend)
    }

    /// The column of this key.
    pub(super) fn column(&self, key: &str) -> Option<&'static Column> {
        self.sorting_columns().find(|column| column.key == key)
    }

    /// True if rows are wanted by a column that the agent does not sort by.
    pub(super) fn sorts_here(&self, wanted: &Wanted) -> bool {
        wanted.sort.as_ref().is_some_and(|(key, _)| !self.sorts.contains(&key.as_str()))
    }

    /// The path of the API, with a query of what is wanted. To be sorted here, as many rows are
    /// wanted as there are.
    pub(super) fn path(&self, wanted: &Wanted) -> String {
        use crate::http_client::encode;
        let mut path = format!("/api/v1/{}?window={}", self.name, wanted.window);
        if !self.has_ends {
            return path;
        }
        let limit = if self.sorts_here(wanted) { MAX_LIMIT } else { wanted.limit };
        path.push_str(&format!("&limit={limit}"));
        if !wanted.workload.trim().is_empty() {
            path.push_str("&workload=");
            encode(&mut path, wanted.workload.trim());
        }
        if wanted.by_namespace {
            path.push_str("&by=namespace");
        }
        if wanted.problems {
            path.push_str("&problems=1");
        }
        if let Some((key, descends)) = wanted.sort.as_ref().filter(|(key, _)| self.sorts.contains(&key.as_str())) {
            path.push_str(if *descends { "&sort=-" } else { "&sort=" });
            encode(&mut path, key);
        }
        path
    }
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Words that either end has.
    pub workload: String,
    /// Only what needs a look.
    pub problems: bool,
    /// Rows of namespaces.
    pub by_namespace: bool,
    /// A column, and true for the most first; none for the most serious first.
    pub sort: Option<(String, bool)>,
    /// `10s`, `1m` or `5m`.
    pub window: String,
    /// Rows at most.
    pub limit: u16,
}

impl Wanted {
    /// Sorts by a column of a view, with `-` before it for the most first.
    ///
    /// # Errors
    /// If the view has no such column; the text lists those that it has.
    pub(super) fn sort_by(&mut self, view: &View, text: &str) -> Result<(), String> {
        let (key, descends) = text.strip_prefix('-').map_or((text, false), |key| (key, true));
        if view.column(key).is_none() && !view.sorts.contains(&key) {
            let columns = view.sorting_columns().map(|column| column.key);
            let others = view.sorts.iter().copied().filter(|key| view.column(key).is_none());
            let known: Vec<_> = columns.chain(others).collect();
            return Err(format!(
                "--sort {text}: expected one of {}, with - before it for the most first",
                known.join(", ")
            ));
        }
        self.sort = Some((key.to_owned(), descends));
        Ok(())
    }
}
