//! Progress of the first reading of a manifest: readiness text, log lines and partial indexes.

use std::time::{Duration, Instant};

use webb_cluster::Progress;

/// Minimal interval between two numbers in `/readyz`.
const SHOW_INTERVAL: Duration = Duration::from_millis(100);

/// Minimal interval between two log lines.
const LOG_INTERVAL: Duration = Duration::from_secs(5);

/// Minimal interval between two indexes of the names so far. Building one takes time from the
/// reading.
const PUBLISH_INTERVAL: Duration = Duration::from_secs(1);

/// Something that is done now and then.
#[derive(Debug)]
struct Every {
    interval: Duration,
    last: Instant,
}

impl Every {
    fn new(interval: Duration, now: Instant) -> Self {
        Self { interval, last: now }
    }

    fn is_due(&mut self, now: Instant) -> bool {
        let is_due = now.saturating_duration_since(self.last) >= self.interval;
        if is_due {
            self.last = now;
        }
        is_due
    }
}

/// Steps that are due while the reading goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) show: bool,
    pub(super) log: bool,
    pub(super) publish: bool,
}

/// The reading since it began.
#[derive(Debug)]
pub(super) struct LoadTimer {
    began: Instant,
    show: Every,
    log: Every,
    publish: Every,
}

impl LoadTimer {
    pub(super) fn begin(now: Instant) -> Self {
        let every = |interval| Every::new(interval, now);
        Self { began: now, show: every(SHOW_INTERVAL), log: every(LOG_INTERVAL), publish: every(PUBLISH_INTERVAL) }
    }

    /// Duration of the reading so far.
    pub(super) fn time(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.began)
    }

    pub(super) fn due(&mut self, now: Instant) -> Due {
        Due { show: self.show.is_due(now), log: self.log.is_due(now), publish: self.publish.is_due(now) }
    }
}

/// Text of the progress, for example `12 of 85 MB of the manifest, 3120 objects`.
pub(super) fn text(at: Progress, objects: usize) -> String {
    let megabytes = |bytes: u64| bytes.div_ceil(1_000_000);
    format!("{} of {} MB of the manifest, {objects} objects", megabytes(at.read), megabytes(at.of))
}

/// Text about so many objects that are passed over, in whole or in part; none without any.
pub(super) fn unusable(count: usize) -> Option<String> {
    match count {
        0 => None,
        1 => Some("1 object of the manifest, or a part of it, cannot be used".to_owned()),
        _ => Some(format!("{count} objects of the manifest, or parts of them, cannot be used")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One object is one, and several are several.
    #[test]
    fn objects_are_counted_in_words() {
        assert_eq!(unusable(0), None);
        assert!(unusable(1).unwrap().starts_with("1 object of the manifest, or a part of it,"));
        assert!(unusable(2).unwrap().starts_with("2 objects of the manifest, or parts of them,"));
    }

    /// Each thing has its own interval, and a log line is a rare one.
    #[test]
    fn each_is_due_in_its_time() {
        let began = Instant::now();
        let mut reading = LoadTimer::begin(began);
        let mut counts = [0; 3];
        for ten_ms in 0..1000 {
            let now = began + Duration::from_millis(10 * ten_ms);
            let Due { show, log, publish } = reading.due(now);
            for (count, is_due) in counts.iter_mut().zip([show, log, publish]) {
                *count += u32::from(is_due);
            }
            assert_eq!(reading.time(now), now - began);
        }
        assert_eq!(counts, [99, 1, 9]);
        assert_eq!(text(Progress { read: 1, of: 85_000_000 }, 7), "1 of 85 MB of the manifest, 7 objects");
    }
}
