//! `webb replay`: flows of files through the same metrics and the same exposition as the agent's.

mod exposition;
mod metrics;
mod serve;

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::Path;

use webb_flow::names::LOST_EVENT_SOURCES;
use webb_flowlog::progress::Progress;
use webb_flowlog::{Counts, Line, Reader, cardinality, lines, open};
use webb_metrics::Aggregator;
use webb_metrics::expose::{Family, FamilyType, server};

use self::exposition::ReplayExposition;
use crate::cli::{Exit, ReplayArgs, ReplayFormat};

/// Number of bad lines that are named; the rest is only counted.
const MAX_LINES_NAMED: u64 = 20;

/// Reads the files and prints, or serves, what their flows count.
///
/// # Errors
/// When `out` cannot be written.
pub fn replay(arguments: &ReplayArgs, out: &mut dyn Write) -> io::Result<Exit> {
    let aggregators = match metrics::aggregators(arguments) {
        Ok(aggregators) => aggregators,
        Err(why) => {
            eprintln!("{why}");
            return Ok(Exit::Configuration);
        }
    };
    let mut replay = Replay { aggregators, reader: Reader::default(), strict: arguments.strict, incomplete: false };
    for file in &arguments.files {
        if replay.file(file).is_break() {
            return Ok(Exit::Data);
        }
    }
    replay.log_skipped();
    let incomplete = replay.incomplete;
    let exposition = replay.end();
    if let Some(address) = arguments.serve {
        // A server has no exit status that would say so later.
        if incomplete {
            eprintln!("not served: not every file could be read to its end");
            return Ok(Exit::NoInput);
        }
        if let Err(error) = serve::serve(address, exposition) {
            eprintln!("cannot serve {address}: {error}");
            return Ok(Exit::Configuration);
        }
    } else if arguments.cardinality {
        out.write_all(cardinality::table(&exposition.render(ReplayFormat::Text)).as_bytes())?;
    } else {
        out.write_all(&exposition.render(arguments.format))?;
    }
    out.flush()?;
    Ok(if incomplete { Exit::NoInput } else { Exit::Success })
}

struct Replay {
    aggregators: Vec<Aggregator>,
    reader: Reader,
    strict: bool,
    /// A file could not be read to its end.
    incomplete: bool,
}

impl Replay {
    /// Counts one file's flows. Breaks at a bad line, if that was asked for.
    fn file(&mut self, path: &Path) -> ControlFlow<()> {
        let name = if path.as_os_str() == "-" { "standard input".into() } else { path.display().to_string() };
        let before = self.reader.counts().lines;
        let ended = open(path).and_then(|mut input| {
            let mut progress = Progress::new(&name, &input);
            let ended = lines(&mut input.bytes, |number, line| {
                progress.tick(|| self.reader.counts().flows);
                self.line(&name, number, line)
            });
            progress.end();
            ended
        });
        match ended {
            Ok(flow) => {
                self.hand_out();
                flow
            }
            Err(error) => {
                self.hand_out();
                let lines = self.reader.counts().lines - before;
                let how_far = if lines > 0 { format!(" after line {lines}") } else { String::new() };
                eprintln!("{name}: cannot be read{how_far}: {error}");
                self.incomplete = true;
                ControlFlow::Continue(())
            }
        }
    }

    fn line(&mut self, name: &str, number: u64, line: Line<'_>) -> ControlFlow<()> {
        let bad = match line {
            Line::Bytes(bytes) => self.reader.line(without_mark(number, bytes)).err().map(|wrong| wrong.to_string()),
            Line::TooLong => {
                self.reader.bad_line();
                Some("longer than 16 MiB".to_owned())
            }
        };
        if self.reader.is_full() {
            self.hand_out();
        }
        let Some(why) = bad else { return ControlFlow::Continue(()) };
        if self.reader.counts().bad <= MAX_LINES_NAMED {
            eprintln!("{name}: line {number}: {why}");
        }
        if self.strict { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// Gives the batch to every metric.
    fn hand_out(&mut self) {
        let batch = self.reader.batch();
        for aggregator in &mut self.aggregators {
            let mut position = 0;
            aggregator.observe(batch, 0, &mut position);
        }
        self.reader.turn();
    }

    fn log_skipped(&self) {
        let Counts { lines, bad, replaced, .. } = self.reader.counts();
        if *bad > 0 {
            eprintln!("{bad} of {lines} lines could not be read and are left out");
        }
        if *replaced > 0 {
            eprintln!("{replaced} of {lines} lines are not UTF-8 everywhere; what is not was replaced");
        }
    }

    fn end(mut self) -> ReplayExposition {
        let snapshots = self.aggregators.iter_mut().flat_map(Aggregator::snapshot).collect();
        ReplayExposition { snapshots, families: vec![lost_events(self.reader.counts())] }
    }
}

/// A line without the byte order mark that some editors put before a file's first.
fn without_mark(number: u64, line: &[u8]) -> &[u8] {
    const MARK: &[u8] = "\u{feff}".as_bytes();
    if number == 1 { line.strip_prefix(MARK).unwrap_or(line) } else { line }
}

/// `hubble_lost_events_total` as the file's own events make it (hubble-contract §3.1).
fn lost_events(counts: &Counts) -> Family {
    let lost = |wanted: &str| {
        let by_source = LOST_EVENT_SOURCES.iter().zip(counts.lost);
        by_source.filter(|((_, name), _)| *name == wanted).map(|(_, count)| count).sum()
    };
    let mut family = server::lost_events(lost("PERF_EVENT_RING_BUFFER"), lost("OBSERVER_EVENTS_QUEUE"));
    debug_assert_eq!(family.kind, FamilyType::Counter, "it only ever grows");
    for name in ["HUBBLE_RING_BUFFER", "UNKNOWN_LOST_EVENT_SOURCE"] {
        if lost(name) > 0 {
            family.push(&[("source", &name.to_ascii_lowercase())], lost(name));
        }
    }
    family
}
