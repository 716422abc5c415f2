//! Values of a file of outputs: typed, with bounds, each problem at its place.

use std::time::Duration;

use webb_metrics::dynamic::Findings;
use webb_metrics::dynamic::tree::{Node, Value};
use webb_settings::units::{parse_bytes, parse_duration, show_bytes, show_duration};

/// Reads the values of one mapping.
#[derive(Debug)]
pub(super) struct Values<'a> {
    pub(super) found: &'a mut Findings,
}

impl Values<'_> {
    /// The values of these keys, none of nothing. A key that is not known is a problem.
    pub(super) fn fields<'n, const N: usize>(
        &mut self,
        node: Option<&'n Node>,
        what: &str,
        known: [&str; N],
    ) -> [Option<&'n Node>; N] {
        let Some(node) = node.filter(|node| !matches!(node.value, Value::Null)) else { return [None; N] };
        let before = self.found.warnings.len();
        let fields = self.found.fields(node, what, known);
        for mut unknown in self.found.warnings.drain(before..) {
            unknown.message = unknown.message.replace("; it is ignored", "");
            self.found.problems.push(unknown);
        }
        fields.map(|field| field.filter(|node| !matches!(node.value, Value::Null)))
    }

    /// A text; none where there is none.
    pub(super) fn text(&mut self, node: Option<&Node>, what: &str) -> Option<String> {
        let node = node?;
        match &node.value {
            Value::Text(text) => Some(text.clone()).filter(|text| !text.is_empty()),
            Value::Null => None,
            _ => {
                self.expected(node, what, "a text, in quotes if it looks like something else");
                None
            }
        }
    }

    /// A number within bounds.
    pub(super) fn number(&mut self, node: Option<&Node>, what: &str, default: u64, (least, most): (u64, u64)) -> u64 {
        let Some(node) = node else { return default };
        if let Value::Int(number) = &node.value
            && let Ok(number) = u64::try_from(*number)
            && (least..=most).contains(&number)
        {
            return number;
        }
        self.expected(node, what, &format!("a number from {least} to {most}"));
        default
    }

    /// A switch.
    pub(super) fn boolean(&mut self, node: Option<&Node>, what: &str, default: bool) -> bool {
        match node.map(|node| (node, &node.value)) {
            None => default,
            Some((_, Value::Bool(on))) => *on,
            Some((node, _)) => {
                self.expected(node, what, "true or false");
                default
            }
        }
    }

    /// A time within bounds; with `or_none`, 0s as well.
    pub(super) fn duration(
        &mut self,
        node: Option<&Node>,
        what: &str,
        default: Duration,
        (least, most, or_none): (Duration, Duration, bool),
    ) -> Duration {
        let Some(node) = node else { return default };
        let parsed = match &node.value {
            Value::Text(text) => parse_duration(text).ok(),
            _ => None,
        };
        let fits = |time: &Duration| (least..=most).contains(time) || or_none && time.is_zero();
        parsed.filter(fits).unwrap_or_else(|| {
            let none = if or_none { ", or 0s for none" } else { "" };
            self.expected(
                node,
                what,
                &format!("a time from {} to {}{none}", show_duration(least), show_duration(most)),
            );
            default
        })
    }

    /// A share in whole percent.
    pub(super) fn percent(&mut self, node: Option<&Node>, what: &str, default: u8) -> u8 {
        let Some(node) = node else { return default };
        let parsed = match &node.value {
            Value::Text(text) => text.strip_suffix('%').and_then(|number| number.parse().ok()),
            _ => None,
        };
        parsed.filter(|percent| *percent <= 100).unwrap_or_else(|| {
            self.expected(node, what, "a share from 0% to 100%");
            default
        })
    }

    /// A size within bounds.
    pub(super) fn bytes(&mut self, node: Option<&Node>, what: &str, default: u64, (least, most): (u64, u64)) -> u64 {
        let Some(node) = node else { return default };
        let parsed = match &node.value {
            Value::Text(text) => parse_bytes(text).ok(),
            _ => None,
        };
        parsed.filter(|bytes| (least..=most).contains(bytes)).unwrap_or_else(|| {
            self.expected(node, what, &format!("a size from {} to {}", show_bytes(least), show_bytes(most)));
            default
        })
    }

    /// One of these words.
    pub(super) fn choice<T: Copy>(&mut self, node: Option<&Node>, what: &str, choices: &[(&str, T)]) -> Option<T> {
        let node = node?;
        let text = self.found.text(node, what)?;
        let chosen = choices.iter().find(|(word, _)| *word == text).map(|(_, meaning)| *meaning);
        if chosen.is_none() {
            let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
            self.expected(node, what, &words.join(", "));
        }
        chosen
    }

    /// A list of words; none where the list is missing. One that is there twice is a problem.
    pub(super) fn choices<T: Copy + PartialEq>(
        &mut self,
        node: Option<&Node>,
        what: &str,
        choices: &[(&str, T)],
    ) -> Option<Vec<T>> {
        let mut chosen = Vec::new();
        for node in self.found.list(node?, what) {
            let Some(meaning) = self.choice(Some(node), what, choices) else { continue };
            if chosen.contains(&meaning) {
                self.expected(node, what, "each word once");
            } else {
                chosen.push(meaning);
            }
        }
        Some(chosen)
    }

    /// A problem: what was expected, and what there is.
    pub(super) fn expected(&mut self, node: &Node, what: &str, expected: &str) {
        let found = node.describe();
        self.found.problems.push(node.problem(format!("{what}: expected {expected}; found {found}")));
    }
}
