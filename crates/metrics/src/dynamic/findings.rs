//! Reads keys and values of a file that others may have written for another program: keys in any
//! case, unknown ones with a warning, and every problem at once.

use std::sync::Arc;

use webb_index::filters::FlowFilter;
use webb_settings::{Origin, Problem, Problems, SourceFile, did_you_mean};

use super::filter;
use super::tree::{Node, Value};

const CANNOT_PARSE: &str = "cannot parse yaml";

/// What was found on the way.
#[derive(Debug, Default)]
pub struct Findings {
    /// What is ignored or unusual.
    pub warnings: Vec<Problem>,
    /// What makes the file unusable.
    pub problems: Vec<Problem>,
}

impl Findings {
    /// All that was found in a file, in the order of its lines.
    pub fn into_problems(self, file: Arc<SourceFile>) -> Problems {
        Problems { list: self.problems, warnings: self.warnings, file: Some(file) }.sorted()
    }

    /// Flow filters; one with a problem is left out.
    pub fn filters(&mut self, node: Option<&Node>, what: &str) -> Vec<FlowFilter> {
        let nodes = node.map(|node| self.list(node, what)).unwrap_or_default();
        nodes.iter().filter_map(|node| filter::filter(node, &mut self.problems)).collect()
    }

    /// The values of these keys, whatever their case; the last counts if there are several. All
    /// others are ignored.
    pub fn fields<'n, const N: usize>(
        &mut self,
        node: &'n Node,
        what: &str,
        known: [&str; N],
    ) -> [Option<&'n Node>; N] {
        let mut found = [None; N];
        let Value::Map(pairs) = &node.value else {
            let message = format!("{CANNOT_PARSE}: {what}: expected keys and values, found {}", node.describe());
            self.problems.push(node.problem(message));
            return found;
        };
        for (key, value) in pairs {
            let slot = known.iter().zip(&mut found).find(|(name, _)| name.eq_ignore_ascii_case(&key.text));
            if let Some((_, slot)) = slot {
                *slot = Some(value);
            } else {
                let typed: String = key.text.chars().take(80).collect();
                let message = format!("{what} has no key {typed:?}; it is ignored");
                let mut help = did_you_mean(&typed, known);
                if help.is_empty() {
                    help = format!("expected one of {}", known.join(", "));
                }
                self.warnings.push(Problem::new(Origin::File(key.mark), message).with_help(help));
            }
        }
        found
    }

    /// The elements of a list; none of nothing.
    pub fn list<'n>(&mut self, node: &'n Node, what: &str) -> &'n [Node] {
        match &node.value {
            Value::List(list) => list,
            Value::Null => &[],
            _ => {
                let message = format!("{CANNOT_PARSE}: {what}: expected a list, found {}", node.describe());
                self.problems.push(node.problem(message));
                &[]
            }
        }
    }

    /// A scalar as text: a list of names may hold `true` or `80`.
    pub fn text(&mut self, node: &Node, what: &str) -> Option<String> {
        match &node.value {
            Value::Null => Some(String::new()),
            Value::Bool(value) => Some(value.to_string()),
            Value::Int(number) => Some(number.to_string()),
            Value::Float(number) => Some(number.to_string()),
            Value::Text(text) => Some(text.clone()),
            Value::List(_) | Value::Map(_) => {
                let message = format!("{CANNOT_PARSE}: {what}: expected a text, found {}", node.describe());
                self.problems.push(node.problem(message));
                None
            }
        }
    }
}
