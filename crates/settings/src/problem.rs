//! Configuration errors and warnings, with file, line, what was expected and what was found.
//!
//! A problem names its place (line of the file, variable or flag), what stood there and what was
//! expected; with a file, the line itself is printed with the place underlined. All problems of a
//! configuration are reported at once.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use super::value::{InvalidValue, Mark, clean, is_obeyed};

/// Origin of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// No source set it.
    Default,
    /// The configuration file.
    File(Mark),
    /// The environment variable of that name.
    Variable(String),
    /// The flag of that name, with its dashes.
    Flag(&'static str),
    /// The host's own name (only `node_name`).
    Hostname,
}

impl fmt::Display for Origin {
    /// Writes the origin as `/config` has it: `default`, `file:12`, `env:WEBB_X`, `flag:--x` or
    /// `hostname`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(mark) => write!(f, "file:{}", mark.line),
            Self::Variable(name) => write!(f, "env:{name}"),
            Self::Flag(name) => write!(f, "flag:{name}"),
            Self::Hostname => f.write_str("hostname"),
        }
    }
}

/// The configuration file: its name, and its text for error messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// Name as it was given.
    pub name: String,
    /// All of it.
    pub text: String,
}

/// One error or warning about a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Expected value and found value.
    pub message: String,
    /// Origin of the value.
    pub origin: Origin,
    /// Hint for the user; may be empty.
    pub help: String,
}

impl Problem {
    /// A problem with a place and without advice.
    pub fn new(origin: Origin, message: impl Into<String>) -> Self {
        Self { message: masked(&message.into()).into_iter().collect(), origin, help: String::new() }
    }

    /// Adds advice.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = help.into();
        self
    }

    /// The value of `key` is not what it must be.
    pub(super) fn bad_value(key: &str, expected: &str, bad: &InvalidValue, origin: &Origin) -> Self {
        let origin = match (bad.mark, origin) {
            (Some(mark), Origin::File(_)) => Origin::File(mark),
            (_, origin) => origin.clone(),
        };
        Self::new(origin, format!("`{key}`: expected {expected}; found {}", bad.found)).with_help(bad.why.clone())
    }

    /// The problem in one line, for the log.
    pub fn one_line(&self) -> String {
        let help = if self.help.is_empty() { String::new() } else { format!(" ({})", self.help) };
        match &self.origin {
            Origin::Default => format!("{}{help}", self.message),
            origin => format!("{origin}: {}{help}", self.message),
        }
    }

    /// The problem the way a compiler prints one, `severity` first, with a line break at the end.
    pub fn render(&self, severity: &str, file: Option<&SourceFile>) -> String {
        let mut lines = vec![match &self.origin {
            Origin::Variable(name) => format!("{severity}: variable {name}: {}", self.message),
            Origin::Flag(name) => format!("{severity}: flag {name}: {}", self.message),
            _ => format!("{severity}: {}", self.message),
        }];
        if let (Origin::File(mark), Some(file)) = (&self.origin, file) {
            lines.extend(snippet(file, *mark));
        }
        if !self.help.is_empty() {
            lines.push(format!("  = {}", self.help));
        }
        lines.push(String::new());
        lines.join("\n")
    }
}

/// `--> file:line:column` and the line with its place underlined.
fn snippet(file: &SourceFile, mark: Mark) -> Vec<String> {
    /// Characters shown of a line: enough for any sensible one.
    const MAX_CHARS_SHOWN: usize = 160;
    let number = mark.line.to_string();
    let margin = " ".repeat(number.len());
    let mut lines = vec![format!("{margin}--> {}:{}:{}", file.name, mark.line, mark.column)];
    if let Some(line) = file.text.lines().nth(mark.line.saturating_sub(1)) {
        let shown = masked(line).into_iter().take(MAX_CHARS_SHOWN);
        let shown: String = shown.map(|letter| if is_obeyed(letter) { ' ' } else { letter }).collect();
        let shown = shown.trim_end();
        lines.push(format!("{margin} |"));
        lines.push(format!("{number} | {shown}"));
        let before = mark.column.saturating_sub(1);
        if before < MAX_CHARS_SHOWN {
            let carets = mark.width.min(shown.chars().count().saturating_sub(before)).max(1);
            lines.push(format!("{margin} | {}{}", " ".repeat(before), "^".repeat(carets)));
        }
    }
    lines
}

/// The characters of a text, with stars in the place of what may be a secret in a URL: its user and
/// password, and its query. Problems go into logs. What stands before an `@` is masked in a URL
/// without a scheme too.
fn masked(text: &str) -> Vec<char> {
    let mut letters: Vec<char> = text.chars().collect();
    let is_end = |letter: &char| letter.is_whitespace() || matches!(letter, '"' | '\'' | '`');
    for word in letters.split_mut(is_end) {
        let scheme = word.windows(3).position(|of| of == [':', '/', '/']);
        let rest = word.get_mut(scheme.map_or(0, |at| at + 3)..).unwrap_or_default();
        // A password may have any sign: the last one before the host counts.
        let user = rest.iter().rposition(|letter| *letter == '@').unwrap_or(0);
        let query = rest.iter().position(|letter| *letter == '?').filter(|_| scheme.is_some());
        let query = query.map_or(rest.len(), |at| at + 1);
        let is_hidden = |at: usize| at < user || at >= query;
        rest.iter_mut().enumerate().filter(|(at, _)| is_hidden(*at)).for_each(|(_, letter)| *letter = '*');
    }
    letters
}

/// Everything that was found in a configuration, or in one of its files. As an error it has at
/// least one problem.
#[derive(Debug, Clone, Default, PartialEq, Eq, thiserror::Error)]
pub struct Problems {
    /// Problems that make it unusable, in the order of the file, then variables, then flags.
    pub list: Vec<Problem>,
    /// Warnings, in the same order.
    pub warnings: Vec<Problem>,
    /// The file, if one was read.
    pub file: Option<Arc<SourceFile>>,
}

impl Problems {
    /// Sorts problems and warnings by their places.
    #[must_use]
    pub fn sorted(mut self) -> Self {
        for list in [&mut self.list, &mut self.warnings] {
            list.sort_by_key(|problem| match &problem.origin {
                Origin::File(mark) => (0, mark.line, mark.column),
                Origin::Variable(_) => (1, 0, 0),
                _ => (2, 0, 0),
            });
        }
        self
    }

    /// Each problem, then each warning, with the word for how bad it is.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, &Problem)> {
        let problems = self.list.iter().map(|problem| ("error", problem));
        problems.chain(self.warnings.iter().map(|warning| ("warning", warning)))
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (severity, problem)) in self.all().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            f.write_str(&problem.render(severity, self.file.as_deref()))?;
        }
        Ok(())
    }
}

/// A problem as JSON, for `check-config --json`.
#[derive(Debug, Serialize)]
pub struct Report<'a> {
    /// `error` or `warning`.
    pub severity: &'static str,
    /// Expected value and found value.
    pub message: &'a str,
    /// Hint for the user; empty if there is none.
    pub help: &'a str,
    /// `file:12`, `env:WEBB_X`, `flag:--x`.
    pub source: String,
    /// The file, if it is not the one that is checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<&'a str>,
    /// Line in the file, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// Column in the file, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
}

impl<'a> Report<'a> {
    /// The JSON form of `problem`.
    pub fn new(severity: &'static str, problem: &'a Problem) -> Self {
        let mark = if let Origin::File(mark) = problem.origin { Some(mark) } else { None };
        Self {
            severity,
            message: &problem.message,
            help: &problem.help,
            source: problem.origin.to_string(),
            file: None,
            line: mark.map(|mark| mark.line),
            column: mark.map(|mark| mark.column),
        }
    }
}

/// `did you mean X?` if one of `known` is close to `typed`, else empty.
pub fn did_you_mean<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let typed = clean(typed);
    let best = known.into_iter().map(|word| (distance(&typed, word), word)).min();
    match best {
        Some((distance, word)) if distance <= word.len().div_ceil(3) => format!("did you mean `{word}`?"),
        _ => String::new(),
    }
}

/// Number of letters that must be changed, added or taken away (Levenshtein's distance).
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.chars().count()).collect();
    for (at, letter) in from.chars().enumerate() {
        let mut diagonal = at;
        let mut left = at + 1;
        let mut next = vec![left];
        for (above, other) in row.iter().skip(1).zip(to.chars()) {
            left = (diagonal + usize::from(letter != other)).min(left + 1).min(above + 1);
            diagonal = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The hint must find typing errors and must not guess wildly.
    #[test]
    fn hints_are_close() {
        assert_eq!(distance("sise", "size"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(did_you_mean("metric_listen", ["metrics", "metrics_listen"]), "did you mean `metrics_listen`?");
        assert_eq!(did_you_mean("zebra", ["metrics", "log"]), "");
    }

    /// An excerpt shows what is wrong, and neither the user nor the password of a URL.
    #[test]
    fn passwords_are_not_shown() {
        for (line, shown) in [
            (
                "endpoint: https://user:se/c@ret@host:4317/x # note",
                "endpoint: https://*************@host:4317/x # note",
            ),
            ("'https://h:1/x?token=secret' # y?", "'https://h:1/x?************' # y?"),
            ("endpoint: \"user:secret@h:1\"", "endpoint: \"***********@h:1\""),
            ("\"https://u ser:secret@h\"", "\"https://u **********@h\""),
            ("endpoint: \"http://u@h\", other: 'https://h/x'", "endpoint: \"http://*@h\", other: 'https://h/x'"),
            ("a://b://c@d://@e", "a://**********@e"),
            ("name: a@b", "name: *@b"),
            ("https://", "https://"),
        ] {
            assert_eq!(masked(line).into_iter().collect::<String>(), shown);
        }
        let file = SourceFile { name: "f".to_owned(), text: "x: https://user:secret@host\n".to_owned() };
        let place = Origin::File(Mark { line: 1, column: 4, width: 24 });
        let problem = Problem::new(place, "expected a name, found `https://user:secret@host`");
        let shown = problem.render("error", Some(&file));
        assert!(!shown.contains("secret") && shown.contains("@host"), "{shown}");
    }

    /// A mark beyond the line, or beyond the file, must still print.
    #[test]
    fn marks_out_of_range_print() {
        let file = SourceFile { name: "f".to_owned(), text: "a: 1\n".to_owned() };
        for mark in [
            Mark { line: 1, column: 40, width: 3 },
            Mark { line: 9, column: 1, width: 1 },
            Mark { line: 0, column: 0, width: 0 },
            Mark { line: 1, column: usize::MAX, width: usize::MAX },
        ] {
            let text = Problem::new(Origin::File(mark), "m").render("error", Some(&file));
            assert!(text.starts_with("error: m\n"), "{text}");
        }
    }
}
