//! `webb check-config`: validates one file, independent of the machine that it runs on.
//!
//! Variables and the host's name are left out, so that a file that passes on a workstation or in CI
//! passes everywhere. Of other files only those of `metrics_config`, `export.config` and
//! `outputs_config` are read, where they exist. All files are checked, whatever is wrong with one.

use std::collections::HashSet;
use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;

use super::diff::{KeyChange, diff};
use super::keys::KEYS;
use super::model::Settings;
use super::problem::{Origin, Problem, Problems, Report};
use super::resolve::{Environment, Resolved, merge, read_file};

/// A callback to the checks that are on a higher floor, of metrics, exporters and outputs: adds its
/// warnings to those of the configuration, and returns the configuration's problems and what it
/// finds in the files that are named there.
pub type CheckRest<'a> = dyn Fn(&mut Resolved) -> Vec<Problems> + 'a;

/// A callback that tries out what a valid configuration names, and says what came of it.
pub type Attempt<'a> = dyn Fn(&Resolved) -> Vec<Trial> + 'a;

/// What came of one thing that was tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Trial {
    /// The output.
    pub output: String,
    /// The stream of what was sent; none if that could not be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<&'static str>,
    /// Whether it has succeeded.
    pub succeeded: bool,
    /// The answer, or what stands in its way.
    pub answer: String,
}

/// The outcome of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checked {
    /// The file is valid, perhaps with warnings, and what was tried has succeeded.
    Valid,
    /// It is not valid, or not readable.
    Invalid,
    /// It is valid, but not all that was tried has succeeded.
    Failed,
}

/// The answer as JSON.
#[derive(Serialize)]
struct CheckReport<'a> {
    file: String,
    valid: bool,
    problems: Vec<Report<'a>>,
    /// Keys that the file changes; `from` is the default.
    changes: Vec<KeyChange>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sent: Option<Vec<Trial>>,
}

/// Checks a file and writes what there is to say about it; of a valid one also what came of an
/// attempt.
///
/// # Errors
/// When `out` cannot be written.
pub fn check_file(
    path: &Path,
    json: bool,
    (rest, attempt): (&CheckRest<'_>, Option<&Attempt<'_>>),
    out: &mut dyn Write,
) -> io::Result<Checked> {
    let (valid, found) = check(path, rest);
    let sent = valid.as_ref().and_then(|resolved| Some(attempt?(resolved)));
    let name = path.display().to_string();
    let changes = valid.as_ref().map(changes);
    let checked = match &sent {
        _ if valid.is_none() => Checked::Invalid,
        Some(sent) if sent.iter().any(|trial| !trial.succeeded) => Checked::Failed,
        _ => Checked::Valid,
    };
    if json {
        let problems = found.iter().flat_map(|of_file| reports(of_file, &name)).collect();
        let answer = CheckReport {
            file: name.clone(),
            valid: valid.is_some(),
            problems,
            changes: changes.unwrap_or_default(),
            sent,
        };
        serde_json::to_writer_pretty(&mut *out, &answer)?;
        writeln!(out)?;
        return Ok(checked);
    }
    for of_file in found.iter().filter(|of_file| of_file.all().next().is_some()) {
        writeln!(out, "{of_file}")?;
    }
    let count = |of: fn(&Problems) -> usize| found.iter().map(of).sum();
    let errors = counted(count(|of_file| of_file.list.len()), "error");
    let warnings = counted(count(|of_file| of_file.warnings.len()), "warning");
    let Some(changes) = changes else {
        writeln!(out, "{name}: not valid{errors}{warnings}")?;
        return Ok(checked);
    };
    writeln!(out, "{name}: valid{warnings}")?;
    for change in &changes {
        // The default of a list would only make the line hard to read.
        match (change.to.as_str(), change.from.as_str()) {
            (Some(to), Some(from)) => writeln!(out, "  {}: {to} (default {from})", change.key)?,
            _ => writeln!(out, "  {}: {}", change.key, change.to)?,
        }
    }
    let rest = if changes.is_empty() { "Every key has its default." } else { "All other keys have their defaults." };
    writeln!(out, "{rest}")?;
    if let Some(sent) = sent {
        write_trials(&sent, out)?;
    }
    Ok(checked)
}

fn write_trials(trials: &[Trial], out: &mut dyn Write) -> io::Result<()> {
    if trials.is_empty() {
        return writeln!(out, "Nothing was sent: no output and stream is configured.");
    }
    for Trial { output, stream, succeeded, answer } in trials {
        let stream = stream.map(|stream| format!(", {stream}")).unwrap_or_default();
        writeln!(out, "output {output}{stream}: {}: {answer}", if *succeeded { "sent" } else { "failed" })?;
    }
    Ok(())
}

/// What was found in a file; where it is not the one of this name, each report has its name.
fn reports<'a>(found: &'a Problems, checked: &str) -> impl Iterator<Item = Report<'a>> {
    let file = found.file.as_deref().map(|file| file.name.as_str()).filter(|name| *name != checked);
    found.all().map(move |(severity, problem)| Report { file, ..Report::new(severity, problem) })
}

/// The settings, if there is no problem at all, and what was found in each file: first in that of
/// the configuration.
fn check(path: &Path, rest: &CheckRest<'_>) -> (Option<Resolved>, Vec<Problems>) {
    // Any name will do: what the node is called is not the file's business unless it says so.
    let environment = Environment { hostname: "localhost".to_owned(), ..Environment::default() };
    let file = match read_file(path) {
        Ok(file) => file,
        Err(unreadable) => return (None, vec![unreadable]),
    };
    let (mut resolved, list) = merge(Some(file), &environment, &[]);
    let of_rest = rest(&mut resolved);
    let found = by_file(&resolved, list, of_rest);
    let valid = found.iter().all(|of_file| of_file.list.is_empty());
    (valid.then_some(resolved), found)
}

/// What was found in each file: first in that of the configuration, of which `list` was found when
/// it was read, and `rest` by all other checks.
pub fn by_file(resolved: &Resolved, list: Vec<Problem>, rest: Vec<Problems>) -> Vec<Problems> {
    // A key with a problem has its default, of which warnings about its group would speak.
    let wrong: HashSet<String> = list.iter().flat_map(groups).map(ToOwned::to_owned).collect();
    let is_sure = |warning: &&Problem| !groups(warning).any(|group| wrong.contains(group));
    let warnings = resolved.warnings.iter().filter(is_sure).cloned().collect();
    let mut own = Problems { warnings, ..resolved.problems(list) };
    let mut found = Vec::new();
    for of_file in rest {
        if of_file.file == resolved.file {
            own.list.extend(of_file.list);
        } else {
            found.push(of_file);
        }
    }
    found.insert(0, own.sorted());
    found
}

/// The groups of the keys that a problem or warning names, which it does in backticks, as it does
/// values.
fn groups(problem: &Problem) -> impl Iterator<Item = &str> {
    let words = problem.message.split('`').skip(1).step_by(2);
    let groups = words.filter_map(|word| word.split(['.', ':']).next());
    groups.filter(|group| KEYS.iter().any(|key| key.name.split('.').next() == Some(group)))
}

/// Keys that the file changes.
fn changes(resolved: &Resolved) -> Vec<KeyChange> {
    let mut changes = diff(&Settings::default(), &resolved.settings).all();
    changes.retain(|change| resolved.origin(change.key) != Origin::Hostname);
    changes
}

/// `, 2 warnings`, or nothing.
fn counted(count: usize, what: &str) -> String {
    match count {
        0 => String::new(),
        1 => format!(", 1 {what}"),
        _ => format!(", {count} {what}s"),
    }
}
