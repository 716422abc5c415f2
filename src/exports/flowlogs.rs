//! Reads a file of exporters in the format of Cilium's `flowlogs.yaml`.
//!
//! Keys are matched whatever their case, unknown ones have a warning, as in the file of metrics;
//! filters are strict. A file with a problem is refused whole.

use std::sync::Arc;
use std::time::Duration;

use webb_flowlog::nanoseconds;
use webb_index::filters::Filters;
use webb_metrics::dynamic::Findings;
use webb_metrics::dynamic::tree::{Node, Value};
use webb_observer::export::{Aggregation, ExportConfig, Rotation, Target};
use webb_settings::{Mark, Origin, Problem, Problems, SourceFile};

use super::settings::{Rules, is_field};
use super::{MAX_EXPORTERS, MIN_INTERVAL, STATIC, mebibytes, target};

/// Size and number of files where the file has none or 0.
const MAX_SIZE_MB: u64 = 10;
const MAX_BACKUPS: u64 = 5;

/// Letters of a name at most: it is a label.
const MAX_NAME: usize = 128;

/// A file that can be used.
#[derive(Debug, Clone)]
pub struct FlowLogs {
    /// The exporters, in the file's order.
    pub exporters: Vec<Listed>,
    /// What is ignored or unusual.
    pub warnings: Vec<Problem>,
    /// The file, for [`Problem::render`].
    pub file: Arc<SourceFile>,
}

/// An exporter, and its place in the file.
#[derive(Debug, Clone)]
pub struct Listed {
    /// The exporter.
    pub config: ExportConfig,
    /// Its place.
    pub origin: Origin,
}

/// Reads a file.
///
/// # Errors
/// Everything that is wrong with it.
pub fn read(file: SourceFile, rules: &Rules) -> Result<FlowLogs, Problems> {
    let file = Arc::new(file);
    let mut reader = Reader { found: Findings::default(), rules, exporters: Vec::new() };
    match Node::read(&file.text) {
        Ok(root) => reader.root(&root),
        Err(problem) => reader.found.problems.push(problem),
    }
    let Reader { found, exporters, .. } = reader;
    if found.problems.is_empty() {
        return Ok(FlowLogs { exporters, warnings: found.warnings, file });
    }
    Err(found.into_problems(file))
}

/// Reads any text; what a fuzz target calls.
///
/// # Panics
/// Never, or that is a finding.
pub fn fuzz(text: &str) {
    let rules = Rules { directory: "/not-there".into(), max_age: None, sync: None, taken: None };
    match read(SourceFile { name: "fuzz.yaml".to_owned(), text: text.to_owned() }, &rules) {
        Ok(flow_logs) => {
            assert!(flow_logs.exporters.len() <= MAX_EXPORTERS);
            // A reload of the same text changes nothing, and what was read can be run.
            assert!(flow_logs.exporters.iter().all(|one| one.config.is_same(&one.config) && one.config.mask().is_ok()));
        }
        Err(problems) => assert!(problems.to_string().starts_with("error: ")),
    }
}

struct Reader<'a> {
    found: Findings,
    rules: &'a Rules,
    exporters: Vec<Listed>,
}

impl Reader<'_> {
    fn root(&mut self, root: &Node) {
        if matches!(root.value, Value::Null) {
            return;
        }
        let [list] = self.found.fields(root, "the file", ["flowLogs"]);
        let list = list.map(|node| self.found.list(node, "flowLogs")).unwrap_or_default();
        if let Some(first) = list.get(MAX_EXPORTERS) {
            let problem = format!("expected at most {MAX_EXPORTERS} exporters, found {}", list.len());
            self.found.problems.push(first.problem(problem));
        }
        list.iter().take(MAX_EXPORTERS).for_each(|entry| self.exporter(entry));
    }

    fn exporter(&mut self, node: &Node) {
        const KEYS: [&str; 11] = [
            "name",
            "filePath",
            "fieldMask",
            "fieldAggregate",
            "aggregationInterval",
            "includeFilters",
            "excludeFilters",
            "fileMaxSizeMb",
            "fileMaxBackups",
            "fileCompress",
            "end",
        ];
        let before = self.found.problems.len();
        let nothing = matches!(node.value, Value::Null);
        let [name, path, fields, groups, interval, include, exclude, size, backups, compress, end] =
            if nothing { [None; KEYS.len()] } else { self.found.fields(node, "an exporter", KEYS) };
        let name = self.name(node, name);
        let target = self.target(node, path);
        let fields = self.paths(fields, "fieldMask");
        let aggregation = self.aggregation(node, groups, interval);
        let filters = Filters {
            include: self.found.filters(include, "includeFilters"),
            exclude: self.found.filters(exclude, "excludeFilters"),
        };
        let rotation = Rotation {
            max_bytes: mebibytes(self.number(size, "fileMaxSizeMb", MAX_SIZE_MB, 1 << 20)),
            backups: u32::try_from(self.number(backups, "fileMaxBackups", MAX_BACKUPS, 10_000)).unwrap_or(u32::MAX),
            compress: self.boolean(compress, "fileCompress"),
            max_age: self.rules.max_age,
        };
        let end_ns = self.end(end);
        let (Some(target), true) = (target, self.found.problems.len() == before) else { return };
        let config =
            ExportConfig { name, target, filters, fields, aggregation, rotation, sync: self.rules.sync, end_ns };
        self.exporters.push(Listed { config, origin: Origin::File(node.mark) });
    }

    fn name(&mut self, node: &Node, name: Option<&Node>) -> String {
        let mark = name.unwrap_or(node).mark;
        let name = name.and_then(|node| self.found.text(node, "name")).unwrap_or_default();
        let is_known = self.exporters.iter().any(|other| other.config.name == name);
        let shown: String = name.chars().take(80).collect();
        if name.is_empty() {
            self.problem(mark, "an exporter without a name: expected `name`");
        } else if name.chars().count() > MAX_NAME {
            self.problem(mark, format!("name: expected at most {MAX_NAME} letters, found {shown:?}..."));
        } else if is_known {
            self.problem(mark, format!("name: {shown:?} is the name of another exporter"));
        } else if name == STATIC {
            self.problem(mark, format!("name: {STATIC:?} is the name of the exporter of `export.file_path`"));
        }
        name
    }

    fn target(&mut self, node: &Node, path: Option<&Node>) -> Option<Target> {
        let mark = path.unwrap_or(node).mark;
        let path = path.and_then(|node| self.found.text(node, "filePath")).unwrap_or_default();
        if path.is_empty() {
            self.problem(mark, "an exporter without a file: expected `filePath`");
            return None;
        }
        let target = match target(path.as_ref(), &self.rules.directory) {
            Ok(target) => target,
            Err(error) => {
                let problem = Problem::new(Origin::File(mark), format!("filePath: {error}"));
                self.found.problems.push(problem.with_help("exporters write below `export.directory` only"));
                return None;
            }
        };
        let of = |path: &std::path::Path| self.rules.directory.join(path);
        let is_same = |other: &Target| match (other, &target) {
            (Target::File { path: a, .. }, Target::File { path: b, .. }) => of(a) == of(b),
            (a, b) => a == b,
        };
        let is_taken = self.rules.taken.as_ref().is_some_and(|taken| of(taken) == of(path.as_ref()));
        if is_taken || self.exporters.iter().any(|other| is_same(&other.config.target)) {
            let shown: String = path.chars().take(80).collect();
            self.problem(mark, format!("filePath: {shown:?} is the file of another exporter"));
            return None;
        }
        Some(target)
    }

    /// Paths of fields, each of which a flow has.
    fn paths(&mut self, node: Option<&Node>, what: &str) -> Vec<String> {
        let nodes = node.map(|node| self.found.list(node, what)).unwrap_or_default();
        let mut paths = Vec::new();
        for node in nodes {
            let Some(path) = self.found.text(node, what) else { continue };
            if is_field(&path) {
                paths.push(path);
            } else {
                let shown: String = path.chars().take(80).collect();
                let message =
                    format!("{what}: expected a field of flow.Flow, such as source.pod_name; found {shown:?}");
                self.problem(node.mark, message);
            }
        }
        paths
    }

    fn aggregation(&mut self, node: &Node, groups: Option<&Node>, interval: Option<&Node>) -> Option<Aggregation> {
        let fields = self.paths(groups, "fieldAggregate");
        let mark = interval.or(groups).unwrap_or(node).mark;
        let text = interval.and_then(|node| self.found.text(node, "aggregationInterval")).unwrap_or_default();
        let Some(time) = go_duration(&text) else {
            let shown: String = text.chars().take(80).collect();
            self.problem(mark, format!("aggregationInterval: expected a time such as 10s, found {shown:?}"));
            return None;
        };
        if !time.is_zero() && time < MIN_INTERVAL {
            self.problem(mark, format!("aggregationInterval: expected 100ms or more, found {text:?}"));
            return None;
        }
        match (fields.is_empty(), time.is_zero()) {
            (false, false) => return Some(Aggregation { fields, interval: time }),
            (true, true) => {}
            _ => {
                let message =
                    "fieldAggregate and aggregationInterval change nothing without each other: each flow is a line";
                self.found.warnings.push(Problem::new(Origin::File(mark), message));
            }
        }
        None
    }

    /// A number up to `most`; 0 and nothing are the default.
    fn number(&mut self, node: Option<&Node>, what: &str, default: u64, most: u64) -> u64 {
        match node.map(|node| (node, &node.value)) {
            None | Some((_, Value::Null)) => default,
            Some((node, Value::Int(number))) => match u64::try_from(*number) {
                Ok(0) => default,
                Ok(number) if number <= most => number,
                _ => {
                    self.problem(node.mark, format!("{what}: expected a number from 0 to {most}, found {number}"));
                    default
                }
            },
            Some((node, _)) => {
                let found = node.describe();
                self.problem(node.mark, format!("{what}: expected a number from 0 to {most}, found {found}"));
                default
            }
        }
    }

    fn boolean(&mut self, node: Option<&Node>, what: &str) -> bool {
        match node.map(|node| (node, &node.value)) {
            None | Some((_, Value::Null)) => false,
            Some((_, Value::Bool(on))) => *on,
            Some((node, _)) => {
                let found = node.describe();
                self.problem(node.mark, format!("{what}: expected true or false, found {found}"));
                false
            }
        }
    }

    fn end(&mut self, node: Option<&Node>) -> Option<u64> {
        let node = node.filter(|node| !matches!(node.value, Value::Null))?;
        let text = self.found.text(node, "end")?;
        let end = nanoseconds(&text);
        if end.is_none() {
            let shown: String = text.chars().take(80).collect();
            self.problem(node.mark, format!("end: expected a time such as 2026-01-31T23:59:59Z, found {shown:?}"));
        }
        end
    }

    fn problem(&mut self, mark: Mark, message: impl Into<String>) {
        self.found.problems.push(Problem::new(Origin::File(mark), message));
    }
}

/// Reads a time as Go writes it: `1h30m`, `1.5s`, `250ms`; 0 of an empty text.
fn go_duration(text: &str) -> Option<Duration> {
    const UNITS: [(&str, u64); 8] = [
        ("ns", 1),
        ("us", 1000),
        ("\u{b5}s", 1000),
        ("\u{3bc}s", 1000),
        ("ms", 1_000_000),
        ("s", 1_000_000_000),
        ("m", 60_000_000_000),
        ("h", 3_600_000_000_000),
    ];
    let mut rest = text;
    let mut sum = 0_u64;
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    while !rest.is_empty() {
        let end = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let (number, after) = rest.split_at_checked(end)?;
        let end = after.find(|letter: char| letter.is_ascii_digit() || letter == '.').unwrap_or(after.len());
        let (unit, next) = after.split_at_checked(end)?;
        let (_, length) = UNITS.iter().find(|(name, _)| *name == unit)?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let whole = if whole.is_empty() { 0 } else { whole.parse::<u64>().ok()? };
        let mut part = whole.checked_mul(*length)?;
        let mut scale = *length;
        for digit in fraction.bytes() {
            scale /= 10;
            part = part.checked_add(scale * u64::from(digit.checked_sub(b'0').filter(|digit| *digit < 10)?))?;
        }
        sum = sum.checked_add(part)?;
        rest = next;
    }
    Some(Duration::from_nanos(sum))
}
