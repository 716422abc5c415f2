//! The log's filter: a level, `module=level` pairs, or both, separated by commas.
//!
//! The grammar has no patterns, whose cost the author of a filter would choose: a filter also comes
//! by HTTP.

use std::fmt;

use tracing_subscriber::filter::{LevelFilter, Targets};

/// Bytes of a filter, at most.
const MAX_BYTES: usize = 1024;

/// Error of parsing a filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoFilter(String);

impl fmt::Display for NoFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Parses a filter; its levels come on top of `base`.
///
/// # Errors
/// If it is of another form, or longer than 1,024 bytes. The error quotes at most the part that is
/// wrong.
pub fn log_filter(text: &str, base: Targets) -> Result<Targets, NoFilter> {
    if text.len() > MAX_BYTES {
        return Err(NoFilter(format!("it is longer than {MAX_BYTES} bytes")));
    }
    let mut targets = base;
    for part in text.split(',').map(str::trim) {
        let (module, level) = part.rsplit_once('=').map_or((None, part), |(module, level)| (Some(module), level));
        // A number would be read as well.
        let level: LevelFilter = match level.parse() {
            Ok(read) if !level.is_empty() && level.bytes().all(|byte| byte.is_ascii_alphabetic()) => read,
            _ => return Err(NoFilter(format!("`{}` is not a level", level.escape_debug()))),
        };
        targets = match module {
            None => targets.with_default(level),
            Some(module) if is_module(module) => targets.with_target(module, level),
            Some(module) => return Err(NoFilter(format!("`{}` is not a module", module.escape_debug()))),
        };
    }
    Ok(targets)
}

fn is_module(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':'))
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::filter::LevelFilter;

    use super::*;

    fn enabled(filter: &str, module: &str, level: LevelFilter) -> bool {
        let base = Targets::new().with_target("quiet", LevelFilter::OFF);
        log_filter(filter, base).unwrap().would_enable(module, &level.into_level().unwrap())
    }

    /// A level is for all, a pair for a module and its children, also for a module that is quiet by
    /// default.
    #[test]
    fn filters_are_levels_and_pairs() {
        assert!(enabled("info", "webb::http", LevelFilter::INFO));
        assert!(!enabled("info", "webb::http", LevelFilter::DEBUG));
        let filter = "WARN, webb::http=trace,quiet=info";
        assert!(enabled(filter, "webb::http::admin", LevelFilter::TRACE));
        assert!(!enabled(filter, "webb::actors", LevelFilter::INFO));
        assert!(enabled(filter, "quiet::inside", LevelFilter::INFO));
        assert!(!enabled("info", "quiet", LevelFilter::ERROR) && !enabled("off", "webb", LevelFilter::ERROR));
    }

    /// Everything else is refused, in few words.
    #[test]
    fn other_filters_are_refused() {
        let long = format!("{}=info", "m".repeat(MAX_BYTES));
        for (filter, why) in [
            ("", "`` is not a level"),
            ("verbose", "`verbose` is not a level"),
            ("3", "is not a level"),
            ("info,", "is not a level"),
            ("webb=", "is not a level"),
            ("=info", "`` is not a module"),
            ("[a{b=(a|b)*}]=trace", "is not a module"),
            (long.as_str(), "is longer than"),
        ] {
            let error = log_filter(filter, Targets::new()).unwrap_err().to_string();
            assert!(error.contains(why) && error.len() < 100, "{filter}: {error}");
        }
    }
}
