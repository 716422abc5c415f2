//! The wait of the first records for the first names.
//!
//! The programs are attached before the cluster's names are read, so that no packet goes unseen.
//! Until an index is complete for the first time the records stay in the rings, which is the only
//! place where they wait: for a bounded time, and no more than half a ring of them. What has no
//! room there is read at once, and what is read without names is of `reserved:unknown` where its
//! address has none yet, and counted.

use std::time::{Duration, Instant};

use webb_index::Index;

/// The state of the wait; over by default.
#[derive(Debug, Default)]
pub(super) struct FirstNames {
    wait: Option<Wait>,
}

#[derive(Debug)]
struct Wait {
    since: Instant,
    most: Duration,
    /// Its end is logged; one of several waits does.
    logged: bool,
}

impl FirstNames {
    /// A wait of at most `most`, from now on.
    pub(super) fn within(most: Duration) -> Self {
        Self { wait: Some(Wait { since: Instant::now(), most, logged: true }) }
    }

    /// The same, without a log line at its end.
    pub(super) fn quietly_within(most: Duration) -> Self {
        Self { wait: Some(Wait { since: Instant::now(), most, logged: false }) }
    }

    /// True while the records are to stay where they are. The wait ends with the first complete
    /// index, with its time, and with the reader's last turn (`last`); none begins after that.
    pub(super) fn holds(&mut self, index: &Index, half_full: bool, last: bool) -> bool {
        let Some(Wait { since, most, logged }) = &self.wait else { return false };
        let waited = since.elapsed();
        let (ready, late) = (index.is_ready(), waited >= *most);
        if !ready && !late && !last {
            return !half_full;
        }
        if *logged && ready {
            tracing::info!("names are read after {waited:.1?}: the first records are taken out of the rings");
        } else if *logged && late {
            tracing::warn!(
                "names are not read after {} s: until they are, addresses without one are reserved:unknown",
                most.as_secs()
            );
        }
        self.wait = None;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Records are held for the first complete index, and never again after it.
    #[test]
    fn records_wait_for_the_first_names() {
        let (early, ready) = (Index::not_ready(), Index::default());
        let mut names = FirstNames::within(Duration::from_hours(1));
        assert!(names.holds(&early, false, false));
        assert!(!names.holds(&early, true, false), "a ring that is half full is read");
        assert!(names.holds(&early, false, false), "until it is not");
        assert!(!names.holds(&ready, false, false));
        assert!(!names.holds(&early, false, false), "the wait is over");
    }

    /// The wait ends with its time, and with the reader; there is none by default.
    #[test]
    fn the_wait_is_bounded() {
        let early = Index::not_ready();
        assert!(!FirstNames::within(Duration::ZERO).holds(&early, false, false));
        let mut names = FirstNames::within(Duration::from_hours(1));
        assert!(!names.holds(&early, false, true));
        assert!(!names.holds(&early, false, false));
        assert!(!FirstNames::default().holds(&early, false, false));
    }
}
