//! Logs: where they go, in which form, and how their level is changed while the agent runs.
//!
//! Standard error, since standard output belongs to what a command prints. A call site that repeats
//! itself must not flood the node's disk: at most `MAX_LINES_PER_SECOND` lines a second pass per
//! call site, of warnings and errors one a second if they do not end; the next line that passes
//! says how many did not.
//!
//! A thread of its own writes the lines, so that a pipe that is not read stops no other. Lines that
//! find its queue full are lost, and counted.

mod problems;

use std::collections::HashMap;
use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use problems::ProblemCounts;
use tracing::callsite::Identifier;
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, Filter, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, reload};
use webb_settings::log_filter;

/// Lines a second that one call site may write.
const MAX_LINES_PER_SECOND: u32 = 20;

/// Warnings or errors that one call site may write at once; each second gives it one more. What
/// goes on being wrong is said, and does not fill a disk.
const WARNING_BURST_LINES: u32 = 60;

/// Lines that wait to be written, at most.
const MAX_QUEUED_LINES: usize = 2048;

/// Characters of a filter that an error shows.
const MAX_QUOTED: usize = 100;

/// Targets that log more than is of use: the web server announces each of its workers, and any
/// client can have it log what it takes for an error, which is counted instead (`server`); the
/// client of the API server logs each failure, which the watches log, too, and at a bounded rate.
const QUIET: [(&str, LevelFilter); 4] = [
    ("actix_http", LevelFilter::OFF),
    ("actix_server", LevelFilter::WARN),
    ("kube_client::client::builder", LevelFilter::OFF),
    ("rustls_platform_verifier", LevelFilter::OFF),
];

/// Format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The log of a running process.
#[derive(Debug)]
pub struct Log {
    /// Changes its level.
    pub control: LogControl,
    /// Writes the lines that wait when it is dropped, for a second at most.
    pub writer: WorkerGuard,
}

/// Changes the level of a running agent, and counts the lines that were lost.
#[derive(Debug, Clone)]
pub struct LogControl {
    filter: reload::Handle<Targets, Registry>,
    lost: ErrorCounter,
    problems: ProblemCounts,
}

/// A level or filter that cannot be read, or a second start.
#[derive(Debug, thiserror::Error)]
#[error("log filter {filter:?}: {why} (expected error, warn, info, debug, trace or off, and module=level pairs)")]
pub struct LogError {
    filter: String,
    why: String,
}

impl LogControl {
    /// Sets the filter: a level, `module=level` pairs, or both: `info,webb::pipeline=debug`.
    ///
    /// # Errors
    /// If it is not of that form, or too long. The filter is as before then.
    pub fn set(&self, filter: &str) -> Result<(), LogError> {
        let parsed = parse(filter)?;
        // Before it applies: what turns the log off is its last line.
        tracing::warn!(filter, "the log filter changes");
        self.filter.reload(parsed).map_err(|error| LogError { filter: filter.to_owned(), why: error.to_string() })
    }

    /// Number of lines that were lost because standard error was not read for too long.
    #[must_use]
    pub fn lost_lines(&self) -> u64 {
        self.lost.dropped_lines() as u64
    }
}

impl LogControl {
    /// Number of warnings and errors so far, by level and part of the program; those that were left
    /// out because they repeat themselves count too.
    #[must_use]
    pub fn problems(&self) -> Vec<((Level, &'static str), u64)> {
        self.problems.counts()
    }
}

fn parse(filter: &str) -> Result<Targets, LogError> {
    log_filter(filter, Targets::new().with_targets(QUIET)).map_err(|why| {
        let filter = filter.chars().take(MAX_QUOTED).collect();
        LogError { filter, why: why.to_string() }
    })
}

/// Starts logging for the whole process and puts panics into the log. Once.
pub fn start(filter: &str, format: Format) -> Result<Log, LogError> {
    let (filter_layer, handle) = reload::Layer::new(parse(filter)?);
    let (queue, writer) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(MAX_QUEUED_LINES)
        .thread_name("log")
        .finish(std::io::stderr());
    let lost = queue.error_counter();
    let lines = tracing_subscriber::fmt::layer().with_writer(queue).with_target(false);
    let lines = match format {
        Format::Text => lines.with_ansi(std::io::stderr().is_terminal()).boxed(),
        Format::Json => lines.json().flatten_event(true).boxed(),
    };
    let problems = ProblemCounts::default();
    tracing_subscriber::registry()
        .with(filter_layer)
        .with(problems.clone().with_filter(LevelFilter::WARN))
        .with(lines.with_filter(RateLimit::default()))
        .try_init()
        .map_err(|error| LogError { filter: filter.to_owned(), why: error.to_string() })?;
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let place = panic.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
        let backtrace = std::backtrace::Backtrace::capture();
        tracing::error!(thread = thread.name().unwrap_or("unnamed"), %place, %backtrace, "panic: {}", text(panic));
    }));
    Ok(Log { control: LogControl { filter: handle, lost, problems }, writer })
}

fn text(panic: &std::panic::PanicHookInfo<'_>) -> String {
    panic.payload_as_str().unwrap_or("without a text").to_owned()
}

/// Lets at most [`MAX_LINES_PER_SECOND`] events a second of each call site pass, and fewer warnings
/// and errors that do not end.
#[derive(Debug, Default)]
struct RateLimit(Mutex<HashMap<Identifier, Site>>);

/// Written lines of one call site.
#[derive(Debug)]
struct Site {
    second: Instant,
    /// Lines in that second.
    passed: u32,
    credit: u32,
    left_out: u64,
}

impl Site {
    fn new(now: Instant) -> Self {
        Self { second: now, passed: 0, credit: WARNING_BURST_LINES, left_out: 0 }
    }

    /// Number of lines that were left out before the next one; none if it may not pass.
    fn admit(&mut self, severe: bool, now: Instant) -> Option<u64> {
        let seconds = now.saturating_duration_since(self.second).as_secs();
        if seconds > 0 {
            self.credit = WARNING_BURST_LINES
                .min(self.credit.saturating_add(u32::try_from(seconds).unwrap_or(WARNING_BURST_LINES)));
            (self.second, self.passed) = (now, 0);
        }
        if self.passed >= MAX_LINES_PER_SECOND || (severe && self.credit == 0) {
            self.left_out += 1;
            return None;
        }
        self.passed += 1;
        if severe {
            self.credit -= 1;
        }
        Some(std::mem::take(&mut self.left_out))
    }
}

impl<S: Subscriber> Filter<S> for RateLimit {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let (now, metadata) = (Instant::now(), event.metadata());
        let mut sites = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let site = sites.entry(metadata.callsite()).or_insert_with(|| Site::new(now));
        let Some(left_out) = site.admit(*metadata.level() <= Level::WARN, now) else { return false };
        drop(sites);
        if left_out > 0 {
            tracing::warn!(left_out, "{} repeated itself; lines were left out", metadata.name());
        }
        true
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Lines of one call site: a burst, and then a warning a second; the number of suppressed lines
    /// is logged.
    #[test]
    fn what_repeats_itself_is_cut_down() {
        let began = Instant::now();
        let lines = |severe: bool| {
            let mut site = Site::new(began);
            let mut seconds = (0..100).map(|second| {
                let at = began + Duration::from_secs(second);
                (0..1000).filter(|_| site.admit(severe, at).is_some()).count()
            });
            let first: usize = seconds.by_ref().take(10).sum();
            (first, seconds.sum::<usize>())
        };
        assert_eq!(lines(false), (200, 1800));
        assert_eq!(lines(true), (69, 90));
        let mut site = Site::new(began);
        let admitted: Vec<_> = (0..25).filter_map(|_| site.admit(true, began)).collect();
        assert_eq!(admitted, [0; 20]);
        assert_eq!(site.admit(true, began + Duration::from_secs(1)), Some(5));
        assert_eq!(site.admit(true, began + Duration::from_secs(1)), Some(0));
    }
}
