//! Reads the lines of files; bad ones are named and left out.

use std::ops::ControlFlow;
use std::path::Path;

use webb_flowlog::progress::Progress;
use webb_flowlog::{Counts, JsonError, Line, lines, open};

/// Number of bad lines that are named; the rest is only counted.
const MAX_LINES_NAMED: u64 = 20;

/// Takes the lines of files.
pub(super) trait Lines {
    /// Reads a line. It is left out after an error.
    fn line(&mut self, line: &[u8]) -> Result<(), JsonError>;

    /// A line that is too long to be kept.
    fn bad_line(&mut self);

    /// The end of a file.
    fn end(&mut self);

    /// Counts of the lines so far.
    fn counts(&self) -> &Counts;
}

/// The outcome of reading files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Complete,
    /// A file could not be read to its end.
    Incomplete,
    /// There was a bad line, and none was to be left out.
    Refused,
}

/// Reads all files; `strict` ends it at the first bad line.
pub(super) fn read<'a>(
    files: impl IntoIterator<Item = &'a std::path::PathBuf>,
    strict: bool,
    out: &mut impl Lines,
) -> Outcome {
    let mut outcome = Outcome::Complete;
    for path in files {
        match file(path, strict, out) {
            Outcome::Complete => {}
            Outcome::Incomplete => outcome = Outcome::Incomplete,
            Outcome::Refused => return Outcome::Refused,
        }
    }
    let Counts { lines, bad, replaced, .. } = out.counts();
    if *bad > 0 {
        eprintln!("{bad} of {lines} lines could not be read and are left out");
    }
    if *replaced > 0 {
        eprintln!("{replaced} of {lines} lines are not UTF-8 everywhere; what is not was replaced");
    }
    outcome
}

fn file(path: &Path, strict: bool, out: &mut impl Lines) -> Outcome {
    let name = if path.as_os_str() == "-" { "standard input".into() } else { path.display().to_string() };
    let before = out.counts().lines;
    let ended = open(path).and_then(|mut input| {
        let mut progress = Progress::new(&name, &input);
        let ended = lines(&mut input.bytes, |number, content| {
            progress.tick(|| out.counts().flows);
            if line(&name, number, content, out) || !strict {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        });
        progress.end();
        ended
    });
    out.end();
    match ended {
        Ok(ControlFlow::Continue(())) => Outcome::Complete,
        Ok(ControlFlow::Break(())) => Outcome::Refused,
        Err(error) => {
            let lines = out.counts().lines - before;
            let how_far = if lines > 0 { format!(" after line {lines}") } else { String::new() };
            eprintln!("{name}: cannot be read{how_far}: {error}");
            Outcome::Incomplete
        }
    }
}

/// Reads a line; false if it is bad.
fn line(name: &str, number: u64, content: Line<'_>, out: &mut impl Lines) -> bool {
    let bad = match content {
        Line::Bytes(bytes) => out.line(without_mark(number, bytes)).err().map(|wrong| wrong.to_string()),
        Line::TooLong => {
            out.bad_line();
            Some("longer than 16 MiB".to_owned())
        }
    };
    let Some(why) = bad else { return true };
    if out.counts().bad <= MAX_LINES_NAMED {
        eprintln!("{name}: line {number}: {why}");
    }
    false
}

/// A line without the byte order mark that some editors put before a file's first.
fn without_mark(number: u64, line: &[u8]) -> &[u8] {
    const MARK: &[u8] = "\u{feff}".as_bytes();
    if number == 1 { line.strip_prefix(MARK).unwrap_or(line) } else { line }
}
