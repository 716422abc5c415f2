//! The dynamic configuration file: metrics with options and filters, which may change while the
//! agent runs (hubble-contract §2.5.3 and §2.5.4).
//!
//! The file was defined by Go's JSON reader, and its rules are kept: at the outer levels keys go by
//! any case, unknown ones are ignored (here with a warning), and scalars among the values of an
//! option become texts. Inside a filter everything is strict. Everything that is wrong with a file
//! is found in one go, each with its line; a file with a problem is not used at all.

pub mod change;
pub mod filter;
mod findings;
mod json;
mod listed;
pub mod tree;

use std::sync::Arc;

pub use change::{ChangeCounts, MetricChange};
pub use findings::Findings;
use listed::INVALID;
pub use listed::Listed;
use tree::{Node, Value};
use webb_index::filters::Filters;
use webb_settings::{Capture, Layer7, Mark, Origin, Problem, Problems, SourceFile};

use super::config::{MetricConfig, MetricFindings, Place};
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
        Err(problem) => reading.found.problems.push(problem),
    }
    if reading.found.problems.is_empty() {
        return Ok(Dynamic { metrics: reading.metrics, warnings: reading.found.warnings, file });
    }
    Err(reading.found.into_problems(file))
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

#[derive(Default)]
struct ConfigReader {
    metrics: Vec<Listed>,
    names: Vec<String>,
    found: Findings,
}

impl ConfigReader {
    fn root(&mut self, root: &Node) {
        if matches!(root.value, Value::Null) {
            return;
        }
        let [metrics] = self.found.fields(root, "the file", ["metrics"]);
        for (index, entry) in
            metrics.map(|node| self.found.list(node, "metrics")).unwrap_or_default().iter().enumerate()
        {
            self.metric(index, entry);
        }
    }

    fn metric(&mut self, index: usize, node: &Node) {
        let known = ["name", "contextOptions", "includeFilters", "excludeFilters"];
        let before = self.found.problems.len();
        let nothing = matches!(node.value, Value::Null);
        let [name, options, include, exclude] =
            if nothing { [None; 4] } else { self.found.fields(node, "a metric", known) };
        let name_mark = name.unwrap_or(node).mark;
        let name = name.and_then(|node| self.found.text(node, "name")).unwrap_or_default();
        if self.found.problems.len() == before {
            if name.is_empty() {
                let message = format!("{INVALID} - missing metric name at: {index}");
                self.found.problems.push(Problem::new(Origin::File(node.mark), message));
            } else if self.names.contains(&name) {
                let message = format!("{INVALID} - duplicate metric specified: {name}");
                self.found.problems.push(Problem::new(Origin::File(name_mark), message));
            } else {
                self.names.push(name.clone());
            }
        }
        let options_node = options.filter(|node| !matches!(node.value, Value::Null));
        let mut marks = Vec::new();
        let options = options_node.map(|node| self.options(node, &mut marks));
        let include = self.found.filters(include, "includeFilters");
        let exclude = self.found.filters(exclude, "excludeFilters");
        if name.is_empty() {
            return;
        }
        let mut odd = MetricFindings::default();
        let config = MetricConfig::new(&name, options.as_deref().unwrap_or_default(), &mut odd);
        let origin = |place: Place| {
            let mark = match place {
                Place::Metric => None,
                Place::Option(at) => marks.get(at).map(|marks| marks.option),
                Place::Value(at, item) => marks.get(at).and_then(|marks| marks.values.get(item).copied()),
            };
            Origin::File(mark.unwrap_or(name_mark))
        };
        let errors = odd.errors.iter().map(|(place, error)| Problem::new(origin(*place), error.to_string()));
        self.found.problems.extend(errors);
        let warnings = odd.warnings.iter().map(|(place, warning)| Problem::new(origin(*place), warning.to_string()));
        self.found.warnings.extend(warnings);
        let Some(config) = config.filter(|_| self.found.problems.len() == before) else { return };
        let origin = Origin::File(name_mark);
        if let Some(error) = self.metrics.iter().find_map(|other| other.config.conflict(&config)) {
            self.found.problems.push(Problem::new(origin, error.to_string()));
            return;
        }
        let config = config.with_filters(Filters { include, exclude });
        self.metrics.push(Listed { config, options, origin });
    }

    /// Options, and the marks of each. One that is not written as an option has its problem and is
    /// left out.
    fn options(&mut self, node: &Node, marks: &mut Vec<OptionMarks>) -> Vec<MetricOption> {
        let mut options = Vec::new();
        for entry in self.found.list(node, "contextOptions") {
            let before = self.found.problems.len();
            let [name, values] = self.found.fields(entry, "an option", ["name", "values"]);
            let option = name.unwrap_or(entry).mark;
            let name = name.and_then(|node| self.found.text(node, "name")).unwrap_or_default();
            let values = values.map(|node| self.found.list(node, "values")).unwrap_or_default();
            let of_values = values.iter().map(|value| value.mark).collect();
            let values = values.iter().filter_map(|value| self.found.text(value, "values")).collect();
            if self.found.problems.len() == before {
                options.push(MetricOption { name, values });
                marks.push(OptionMarks { option, values: of_values });
            }
        }
        options
    }
}

/// Places of an option's name and of its values.
struct OptionMarks {
    option: Mark,
    values: Vec<Mark>,
}
