//! `webb check-config`: validates one file, independent of the machine that it runs on.
//!
//! Variables and the host's name are left out, so that a file that passes on a workstation or in CI
//! passes everywhere. Of other files only those of `metrics_config` and `export.config` are read,
//! where they exist.

use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;

use super::diff::{KeyChange, diff};
use super::model::Settings;
use super::problem::{Origin, Problems, Report};
use super::resolve::{Environment, Resolved, read_file, resolve};

/// A callback to the checks that are on a higher floor, of metrics and exporters: adds its warnings
/// to those of the configuration, and returns those of the files that the configuration names.
pub type CheckRest<'a> = dyn Fn(&mut Resolved) -> Result<Vec<Problems>, Problems> + 'a;

/// A callback that tries out what a valid configuration names, and says what came of it.
pub type Attempt<'a> = dyn Fn(&Resolved) -> Vec<Trial> + 'a;

/// What came of one thing that was tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Trial {
    /// The output.
    pub output: String,
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
    let checked = check(path, rest);
    let sent = checked.as_ref().ok().and_then(|(resolved, _)| Some(attempt?(resolved)));
    let valid = match &sent {
        Some(sent) if sent.iter().any(|trial| !trial.succeeded) => Checked::Failed,
        _ => Checked::Valid,
    };
    let name = path.display().to_string();
    if json {
        let (problems, changes) = match &checked {
            Ok((resolved, of_files)) => {
                let own = resolved.warnings.iter().map(|problem| Report::new("warning", problem));
                (
                    own.chain(of_files.iter().flat_map(|problems| reports("warning", problems))).collect(),
                    changes(resolved),
                )
            }
            Err(problems) if problems.file.as_ref().is_some_and(|file| file.name != name) => {
                (reports("error", problems).collect(), Vec::new())
            }
            Err(problems) => (problems.list.iter().map(|problem| Report::new("error", problem)).collect(), Vec::new()),
        };
        let answer = CheckReport { file: name, valid: checked.is_ok(), problems, changes, sent };
        serde_json::to_writer_pretty(&mut *out, &answer)?;
        writeln!(out)?;
        return Ok(if answer.valid { valid } else { Checked::Invalid });
    }
    match checked {
        Ok((resolved, of_files)) => {
            for warning in &resolved.warnings {
                writeln!(out, "{}", warning.render("warning", resolved.file.as_deref()))?;
            }
            for Problems { list, file } in &of_files {
                for warning in list {
                    writeln!(out, "{}", warning.render("warning", file.as_deref()))?;
                }
            }
            let count = resolved.warnings.len() + of_files.iter().map(|problems| problems.list.len()).sum::<usize>();
            writeln!(out, "{name}: valid{}", counted(count, "warning"))?;
            let changes = changes(&resolved);
            for change in &changes {
                // The default of a list would only make the line hard to read.
                match (change.to.as_str(), change.from.as_str()) {
                    (Some(to), Some(from)) => writeln!(out, "  {}: {to} (default {from})", change.key)?,
                    _ => writeln!(out, "  {}: {}", change.key, change.to)?,
                }
            }
            let rest =
                if changes.is_empty() { "Every key has its default." } else { "All other keys have their defaults." };
            writeln!(out, "{rest}")?;
            if let Some(sent) = sent {
                write_trials(&sent, out)?;
            }
            Ok(valid)
        }
        Err(problems) => {
            writeln!(out, "{problems}")?;
            writeln!(out, "{name}: not valid{}", counted(problems.list.len(), "error"))?;
            Ok(Checked::Invalid)
        }
    }
}

fn write_trials(trials: &[Trial], out: &mut dyn Write) -> io::Result<()> {
    if trials.is_empty() {
        return writeln!(out, "Nothing was sent: no output is configured.");
    }
    for Trial { output, succeeded, answer } in trials {
        writeln!(out, "output {output}: {}: {answer}", if *succeeded { "sent" } else { "failed" })?;
    }
    Ok(())
}

/// The problems of a file other than the one that is checked, which each of them names.
fn reports<'a>(severity: &'static str, problems: &'a Problems) -> impl Iterator<Item = Report<'a>> {
    let file = problems.file.as_deref().map(|file| file.name.as_str());
    problems.list.iter().map(move |problem| Report { file, ..Report::new(severity, problem) })
}

fn check(path: &Path, rest: &CheckRest<'_>) -> Result<(Resolved, Vec<Problems>), Problems> {
    // Any name will do: what the node is called is not the file's business unless it says so.
    let environment = Environment { hostname: "localhost".to_owned(), ..Environment::default() };
    let mut resolved = resolve(Some(read_file(path)?), &environment, &[])?;
    let of_files = rest(&mut resolved)?;
    Ok((resolved, of_files))
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
