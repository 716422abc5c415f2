//! What `webb top` shows now: the answers, and what was chosen by keys.

use std::time::Duration;

use super::answer::{Answer, list, number, text};
use super::link::Link;
use super::source::Failure;
use super::table::Table;
use super::views::{Mark, VIEWS, View, Wanted};
use crate::display::visible;

/// Time after a key for which rows keep their places.
const KEEP_ORDER: Duration = Duration::from_secs(3);

/// Time for which the outcome of a key is shown.
const NOTICE: Duration = Duration::from_secs(5);

/// Seconds between two answers that `+` and `-` choose from.
pub(super) const INTERVALS: [u64; 8] = [1, 2, 5, 10, 30, 60, 300, 3600];

/// How values and marks look.
#[derive(Debug, Clone, Copy, Default)]
pub struct Appearance {
    /// Bits instead of bytes.
    pub bits: bool,
    /// Nothing but ASCII.
    pub ascii: bool,
    /// Whether marks have colours.
    pub has_colors: bool,
}

/// What `webb top` starts with.
#[derive(Debug, Clone)]
pub struct Start {
    pub(super) view: &'static View,
    pub(super) wanted: Wanted,
    interval: Duration,
    appearance: Appearance,
}

impl Start {
    /// A view by its name, sorted by a column of it where one is given; `interval` is the time
    /// between two answers.
    ///
    /// # Errors
    /// If there is no such view, or no such column; the text lists those that there are.
    pub fn new(
        view: &str,
        sort: Option<&str>,
        mut wanted: Wanted,
        interval: Duration,
        appearance: Appearance,
    ) -> Result<Self, String> {
        let Some(found) = VIEWS.iter().find(|of| of.name == view) else {
            let known: Vec<_> = VIEWS.iter().map(|view| view.name).collect();
            return Err(format!("--view {view}: expected one of {}", known.join(", ")));
        };
        if let Some(sort) = sort {
            wanted.sort_by(found, sort)?;
        }
        Ok(Self { view: found, wanted, interval, appearance })
    }

    /// Refuses a column that the agent does not sort by: its answer would have another order.
    ///
    /// # Errors
    /// The text lists those that it sorts by.
    pub fn check_agent_sorts(&self) -> Result<(), String> {
        let Some((key, _)) = self.wanted.sort.as_ref().filter(|_| self.view.sorts_here(&self.wanted)) else {
            return Ok(());
        };
        let known = if self.view.sorts.is_empty() { "nothing".to_owned() } else { self.view.sorts.join(", ") };
        Err(format!(
            "--sort {key}: --json prints what the agent sends, and it sorts the view {} by {known}; --once sorts",
            self.view.name
        ))
    }
}

/// A question to the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Question {
    /// The answers of a view, by its path, and the status over the same window.
    View { path: String, window: String },
    /// What is to be copied of a pair, by its path.
    Pair(Taken, String),
    /// A component is to be restarted.
    Restart(String),
}

/// What is taken along from a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// The query for the same figure.
    Promql,
    /// The command that shows its flows.
    Command,
}

/// The agent's answer, or why there is none.
#[derive(Debug)]
pub(super) enum Reply {
    /// The status, and the answer to a path.
    View(String, Result<(Answer, Answer), Failure>),
    Pair(Taken, Result<Answer, Failure>),
    Restart(String, Result<String, Failure>),
}

/// What keys do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mode {
    Table,
    /// All about the row under the cursor.
    Details,
    /// The filter is typed.
    Filter(String),
    /// Whether a component is to be restarted.
    Restart(String),
    /// The keys are listed.
    Keys,
}

/// A view as it is shown.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) view: &'static View,
    pub(super) table: Table,
    /// The last answer, with the time when it came.
    pub(super) received: Option<(Answer, Duration)>,
    /// A column, and true for the largest first; none for the agent's order.
    pub(super) sort: Option<(String, bool)>,
}

/// The answers, and what was chosen.
#[derive(Debug)]
pub(super) struct Top {
    /// The view on the screen.
    pub(super) shown: Shown,
    /// All others, with their last answers.
    others: Vec<Shown>,
    pub(super) status: Option<Answer>,
    pub(super) wanted: Wanted,
    pub(super) interval: Duration,
    pub(super) appearance: Appearance,
    pub(super) is_paused: bool,
    pub(super) mode: Mode,
    pub(super) link: Link,
    notice: Option<(String, Duration)>,
    /// Time of the last key.
    touched: Option<Duration>,
}

impl Top {
    pub(super) fn new(start: Start) -> Self {
        let empty = |view, sort| Shown { view, table: Table::default(), received: None, sort };
        let others = VIEWS.iter().filter(|view| view.name != start.view.name);
        let mut link = Link::default();
        link.ask_now();
        Self {
            shown: empty(start.view, start.wanted.sort.clone()),
            others: others.map(|view| empty(view, None)).collect(),
            status: None,
            wanted: start.wanted,
            interval: start.interval,
            appearance: start.appearance,
            is_paused: false,
            mode: Mode::Table,
            link,
            notice: None,
            touched: None,
        }
    }

    /// Shows another view.
    pub(super) fn switch(&mut self, view: &View) {
        if let Some(other) = self.others.iter_mut().find(|other| other.view.name == view.name) {
            other.table.height = self.shown.table.height;
            std::mem::swap(&mut self.shown, other);
            self.mode = Mode::Table;
            self.link.ask_now();
        }
    }

    pub(super) fn answer(&self) -> Option<&Answer> {
        self.shown.received.as_ref().map(|(answer, _)| answer)
    }

    /// The path of the current view, with its query.
    fn path(&self) -> String {
        self.shown.view.path(&Wanted { sort: self.shown.sort.clone(), ..self.wanted.clone() })
    }

    /// The question that is due.
    pub(super) fn question(&mut self, now: Duration) -> Option<Question> {
        let is_due = self.link.take_turn(now, self.is_paused);
        is_due.then(|| Question::View { path: self.path(), window: self.wanted.window.clone() })
    }

    /// Takes a reply; returns a text to copy.
    pub(super) fn take(&mut self, reply: Reply, now: Duration) -> Option<String> {
        match reply {
            Reply::Pair(_, Err(failure)) => self.say(format!("nothing is copied: {failure}"), now),
            Reply::Pair(taken, Ok(answer)) => {
                let found = self.find(taken, &answer);
                let said = match &found {
                    Some(text) => format!("copied, if this terminal lets programs copy: {text}"),
                    None => "nothing to copy: the row's names say too little, or would be obeyed".to_owned(),
                };
                self.say(said, now);
                return found;
            }
            Reply::View(_, Err(Failure::NoAnswer(why) | Failure::Token(why))) => self.link.failed(now, why),
            Reply::View(_, Err(Failure::Busy(why))) => {
                self.link.put_off(now);
                self.say(why, now);
            }
            Reply::View(path, Ok((status, answer))) => {
                let is_wished = self.link.answered(now, self.interval);
                if self.is_paused && !is_wished {
                    return None;
                }
                self.status = Some(status);
                // What was asked for before another view or filter was chosen is of no use.
                if path == self.path() {
                    let keep = self.touched.is_some_and(|touched| now.saturating_sub(touched) < KEEP_ORDER);
                    let Shown { view, table, received, sort } = &mut self.shown;
                    table.update(view, answer.rows(view.rows), sort.as_ref(), keep && received.is_some());
                    *received = Some((answer, now));
                }
            }
            Reply::Restart(name, Ok(said)) => self.say(format!("{name}: {said}"), now),
            Reply::Restart(name, Err(failure)) => self.say(format!("{name} is not restarted: {failure}"), now),
        }
        None
    }

    /// What is to be copied, in the answer about a pair: of connections the query for handshakes.
    /// A text with control characters is not copied.
    fn find(&self, taken: Taken, answer: &Answer) -> Option<String> {
        let at = if taken == Taken::Promql { "/take/promql" } else { "/take/commands" };
        let all = || list(answer.value(), at).iter();
        let handshake =
            all().find(|of| self.shown.view.name == "connections" && text(of, "/title").contains("handshake"));
        let found = text(handshake.or_else(|| all().next())?, "/text");
        (!found.is_empty() && visible(found) == found).then(|| found.to_owned())
    }

    /// Notes that a key was pressed.
    pub(super) fn touch(&mut self, now: Duration) {
        self.touched = Some(now);
    }

    /// Lets the rows of the next answer take their places at once.
    pub(super) fn settle(&mut self) {
        self.touched = None;
    }

    /// Shows a text for some seconds.
    pub(super) fn say(&mut self, text: String, now: Duration) {
        self.notice = Some((text, now + NOTICE));
    }

    pub(super) fn notice(&self, now: Duration) -> Option<&str> {
        self.notice.as_ref().filter(|(_, until)| now < *until).map(|(text, _)| text.as_str())
    }

    /// Forgets the rows of views that have another filter now, and asks for them.
    pub(super) fn filter_changed(&mut self) {
        for shown in self.others.iter_mut().chain([&mut self.shown]) {
            shown.received = None;
            shown.table = Table { height: shown.table.height, ..Table::default() };
        }
        self.link.ask_now();
    }

    /// True while what is incomplete is nothing.
    pub(super) fn is_complete(&self) -> bool {
        self.status.as_ref().is_some_and(Answer::is_complete)
    }

    /// How many things of a view need a look, and the mark of the most serious.
    pub(super) fn attention(&self, view: &View) -> (f64, Mark) {
        let Some(status) = &self.status else { return (0.0, Mark::None) };
        let mut views = list(status.value(), "/attention_views").iter();
        let Some(found) = views.find(|of| text(of, "/view") == view.name) else { return (0.0, Mark::None) };
        (number(found, "/count").unwrap_or(0.0), Mark::of(text(found, "/state")))
    }

    /// What needs a look of the row under the cursor.
    pub(super) fn item(&self) -> Option<&serde_json::Value> {
        let (status, row) = (self.status.as_ref()?, self.shown.table.selected()?);
        let is_same = |item: &&serde_json::Value| {
            ["/from", "/to"].iter().all(|end| text(item, end) == text(&row.value, end) && !text(item, end).is_empty())
        };
        list(status.value(), "/attention").iter().find(is_same)
    }
}
