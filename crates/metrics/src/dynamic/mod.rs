//! The dynamic configuration file: metrics with options and filters, which may change while the
//! agent runs (hubble-contract §2.5.3 and §2.5.4).
//!
//! The file was defined by Go's JSON reader, and its rules are kept: at the outer levels keys go by
//! any case, unknown ones are ignored (here with a warning), and scalars among the values of an
//! option become texts. Inside a filter everything is strict. Everything that is wrong with a file
//! is found in one go, each with its line; a file with a problem is not used at all.

pub mod change;
mod filter;
mod json;
mod listed;
mod tree;

use std::sync::Arc;

pub use change::{ChangeCounts, MetricChange};
use listed::INVALID;
pub use listed::Listed;
use tree::{Node, Value};
use webb_index::filters::{Filters, FlowFilter};
use webb_settings::{Capture, Layer7, Origin, Problem, Problems, SourceFile, did_you_mean};

use super::config::MetricConfig;
use super::options::MetricOption;

/// A file that can be used.
#[derive(Debug, Clone)]
pub struct Dynamic {
    /// The metrics, in the file's order, without those that are unknown.
    pub metrics: Vec<Listed>,
    /// Warnings: what is ignored or unusual.
    pub warnings: Vec<Problem>,
    /// The file, for [`Problem::render`].
    pub file: Arc<SourceFile>,
}

impl Dynamic {
    /// Adds a warning for each metric that contradicts the settings of layer 7, at its line.
    pub fn check_layer7(&mut self, l7: &Layer7) {
        self.warnings.extend(
            self.metrics.iter().filter_map(|listed| {
                Some(Problem::new(listed.origin.clone(), listed.config.layer7_contradiction(l7)?))
            }),
        );
    }

    /// The problems of metrics whose events are not captured, at their lines: those of a file that
    /// replaces one without them. `had` are the names of the metrics that count already.
    pub fn not_captured(&self, capture: Capture, had: &[&str]) -> Vec<Problem> {
        let new = self.metrics.iter().filter(|listed| !had.contains(&listed.config.name()));
        new.filter_map(|listed| {
            Some(Problem::new(listed.origin.clone(), listed.config.capture_contradiction(capture)?))
        })
        .collect()
    }

    /// Adds a warning for each metric whose events are not captured, at its line.
    pub fn check_capture(&mut self, capture: Capture) {
        let empty = self.not_captured(capture, &[]);
        self.warnings.extend(empty);
    }
}

/// Reads a file.
///
/// # Errors
/// Everything that is wrong with it.
pub fn read(file: SourceFile) -> Result<Dynamic, Problems> {
    let file = Arc::new(file);
    let mut reading = ConfigReader::default();
    match Node::read(&file.text) {
        Ok(root) => reading.root(&root),
        Err(problem) => reading.problems.push(problem),
    }
    if reading.problems.is_empty() {
        return Ok(Dynamic { metrics: reading.metrics, warnings: reading.warnings, file });
    }
    reading.problems.sort_by_key(|problem| match &problem.origin {
        Origin::File(mark) => (mark.line, mark.column),
        _ => (0, 0),
    });
    Err(Problems { list: reading.problems, file: Some(file) })
}

/// Reads any text; what a fuzz target calls.
///
/// # Panics
/// Never, or that is a finding.
pub fn fuzz(text: &str) {
    match read(SourceFile { name: "fuzz.yaml".to_owned(), text: text.to_owned() }) {
        Ok(dynamic) => {
            // What was read is equal to itself, so a reload of the same text changes nothing.
            let changes = change::changes(&dynamic.metrics, &dynamic.metrics);
            assert!(changes.is_empty(), "{changes:?}");
        }
        Err(problems) => assert!(problems.to_string().starts_with("error: ")),
    }
}

const CANNOT_PARSE: &str = "cannot parse yaml";

#[derive(Default)]
struct ConfigReader {
    metrics: Vec<Listed>,
    names: Vec<String>,
    warnings: Vec<Problem>,
    problems: Vec<Problem>,
}

impl ConfigReader {
    fn root(&mut self, root: &Node) {
        if matches!(root.value, Value::Null) {
            return;
        }
        let [metrics] = self.fields(root, "the file", ["metrics"]);
        for (index, entry) in metrics.map(|node| self.list(node, "metrics")).unwrap_or_default().iter().enumerate() {
            self.metric(index, entry);
        }
    }

    fn metric(&mut self, index: usize, node: &Node) {
        let known = ["name", "contextOptions", "includeFilters", "excludeFilters"];
        let before = self.problems.len();
        let nothing = matches!(node.value, Value::Null);
        let [name, options, include, exclude] = if nothing { [None; 4] } else { self.fields(node, "a metric", known) };
        let name_mark = name.unwrap_or(node).mark;
        let name = name.and_then(|node| self.text(node, "name")).unwrap_or_default();
        if self.problems.len() == before {
            if name.is_empty() {
                let message = format!("{INVALID} - missing metric name at: {index}");
                self.problems.push(Problem::new(Origin::File(node.mark), message));
            } else if self.names.contains(&name) {
                let message = format!("{INVALID} - duplicate metric specified: {name}");
                self.problems.push(Problem::new(Origin::File(name_mark), message));
            } else {
                self.names.push(name.clone());
            }
        }
        let options_node = options.filter(|node| !matches!(node.value, Value::Null));
        let options = options_node.map(|node| self.options(node));
        let include = self.filters(include, "includeFilters");
        let exclude = self.filters(exclude, "excludeFilters");
        if self.problems.len() > before {
            return;
        }
        let origin = Origin::File(name_mark);
        let mut warnings = Vec::new();
        match MetricConfig::new(&name, options.as_deref().unwrap_or_default(), &mut warnings) {
            Ok(Some(config)) => {
                if let Some(error) = self.metrics.iter().find_map(|other| other.config.conflict(&config)) {
                    self.problems.push(Problem::new(origin, error.to_string()));
                    return;
                }
                let config = config.with_filters(Filters { include, exclude });
                self.metrics.push(Listed { config, options, origin: origin.clone() });
            }
            Ok(None) => {}
            Err(error) => {
                let place = options_node.map_or(origin.clone(), |node| Origin::File(node.mark));
                self.problems.push(Problem::new(place, error.to_string()));
            }
        }
        self.warnings.extend(warnings.iter().map(|warning| Problem::new(origin.clone(), warning.to_string())));
    }

    fn options(&mut self, node: &Node) -> Vec<MetricOption> {
        let mut options = Vec::new();
        for entry in self.list(node, "contextOptions") {
            let [name, values] = self.fields(entry, "an option", ["name", "values"]);
            let name = name.and_then(|node| self.text(node, "name")).unwrap_or_default();
            let values = values.map(|node| self.list(node, "values")).unwrap_or_default();
            let values = values.iter().filter_map(|value| self.text(value, "values")).collect();
            options.push(MetricOption { name, values });
        }
        options
    }

    fn filters(&mut self, node: Option<&Node>, what: &str) -> Vec<FlowFilter> {
        let nodes = node.map(|node| self.list(node, what)).unwrap_or_default();
        nodes.iter().filter_map(|node| filter::filter(node, &mut self.problems)).collect()
    }

    /// The values of these keys, whatever their case; the last counts if there are several. All
    /// others are ignored.
    fn fields<'n, const N: usize>(&mut self, node: &'n Node, what: &str, known: [&str; N]) -> [Option<&'n Node>; N] {
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
                let help = did_you_mean(&typed, known);
                self.warnings.push(Problem::new(Origin::File(key.mark), message).with_help(help));
            }
        }
        found
    }

    fn list<'n>(&mut self, node: &'n Node, what: &str) -> &'n [Node] {
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
    fn text(&mut self, node: &Node, what: &str) -> Option<String> {
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
