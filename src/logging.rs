//! Logs: where they go, in which form, and how their level is changed while the agent runs.
//!
//! Standard error, since standard output belongs to what a command prints. A call site that repeats
//! itself must not flood the node's disk: at most `BURST` lines a second pass per call site, and
//! the first line of the next second says how many did not.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::level_filters::LevelFilter;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Filter, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

/// Lines a second that one call site may write.
const BURST: u32 = 20;

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Changes the level of a running agent.
#[derive(Debug, Clone)]
pub struct LogControl(reload::Handle<EnvFilter, Registry>);

/// A level or filter that cannot be read, or a second start.
#[derive(Debug, thiserror::Error)]
#[error("log filter {filter:?}: {why} (expected error, warn, info, debug, trace or off, or module=level pairs)")]
pub struct LogError {
    filter: String,
    why: String,
}

impl LogControl {
    /// Sets the filter, in `EnvFilter` syntax: `debug`, or `info,webb::pipeline=debug`.
    pub fn set(&self, filter: &str) -> Result<(), LogError> {
        let parsed = parse(filter)?;
        self.0.reload(parsed).map_err(|error| LogError { filter: filter.to_owned(), why: error.to_string() })
    }
}

fn parse(filter: &str) -> Result<EnvFilter, LogError> {
    // The web server announces each of its workers, which is of no use. The client of the API
    // server logs each failure, which the watches log, too, and at a bounded rate.
    EnvFilter::try_new(format!(
        "actix_server=warn,kube_client::client::builder=off,rustls_platform_verifier=off,{filter}"
    ))
    .map_err(|error| LogError { filter: filter.to_owned(), why: error.to_string() })
}

/// Starts logging for the whole process and puts panics into the log. Once.
pub fn start(filter: &str, format: Format) -> Result<LogControl, LogError> {
    let (filter_layer, handle) = reload::Layer::new(parse(filter)?);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
    let lines = match format {
        Format::Text => lines.with_ansi(std::io::stderr().is_terminal()).boxed(),
        Format::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry()
        .with(filter_layer)
        .with(lines.with_filter(RateLimit::default()))
        .try_init()
        .map_err(|error| LogError { filter: filter.to_owned(), why: error.to_string() })?;
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let place = panic.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
        let backtrace = std::backtrace::Backtrace::capture();
        tracing::error!(thread = thread.name().unwrap_or("unnamed"), %place, %backtrace, "panic: {}", text(panic));
    }));
    Ok(LogControl(handle))
}

fn text(panic: &std::panic::PanicHookInfo<'_>) -> String {
    panic.payload_as_str().unwrap_or("without a text").to_owned()
}

/// Lets at most [`BURST`] events a second of each call site pass.
#[derive(Debug, Default)]
struct RateLimit(Mutex<HashMap<Identifier, (Instant, u32)>>);

impl<S: Subscriber> Filter<S> for RateLimit {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let now = Instant::now();
        let site = event.metadata().callsite();
        let mut sites = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, passed) = sites.entry(site).or_insert((now, 0));
        if now.duration_since(*since) > Duration::from_secs(1) {
            let left_out = passed.saturating_sub(BURST);
            (*since, *passed) = (now, 0);
            if left_out > 0 {
                drop(sites);
                tracing::warn!(left_out, "{} repeated itself; lines were left out", event.metadata().name());
                return true;
            }
        }
        *passed += 1;
        *passed <= BURST
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        None
    }
}
