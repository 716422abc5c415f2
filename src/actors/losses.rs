//! Losses as operators see them: a degraded component during the loss and for a while afterwards,
//! and a line of the log, at most one a minute.
//!
//! The counters say it too, but only to those that look at each of them.

use std::time::{Duration, Instant};

use webb_flow::abi::Totals;

use crate::pipeline::Skipped;

/// Time that a loss stays shown after the last one; also the interval of its log line.
const SHOWN_FOR: Duration = Duration::from_mins(1);

/// Losses so far, by what was lost and why.
pub(super) type Counts = [u64; TEXTS.len()];

const TEXTS: [&str; 7] = [
    "records (a ring was full)",
    "packets (connection table and ring were full)",
    "drops (over drop_budget)",
    "messages of layer 7 (their ring was full)",
    "flows for a metric (its thread was not running)",
    "flows for clients, flow logs and outputs (the thread of the history was behind)",
    "flows for rollups (their thread was behind)",
];

/// Those of [`Counts`] that the programs count.
const OF_KERNEL: usize = 4;

/// The counts of the kernel's side and of the lanes.
pub(super) fn counts(totals: &[Totals], messages: u64, skipped: Skipped) -> Counts {
    let sum = |of: fn(&Totals) -> u64| totals.iter().map(of).sum();
    [
        sum(|totals| totals.lost_records),
        sum(|totals| totals.untracked_packets),
        sum(|totals| totals.suppressed_packets),
        messages,
        skipped.by_metrics,
        skipped.by_history,
        skipped.by_rollups,
    ]
}

/// Follows the counts.
#[derive(Debug, Default)]
pub(super) struct Losses {
    last: Counts,
    episode: Option<Episode>,
}

/// Losses that follow each other.
#[derive(Debug)]
struct Episode {
    before: Counts,
    last: Instant,
    logged: Instant,
}

impl Losses {
    /// Begins with these counts: what the kernel counted before, for another process, is nothing
    /// new.
    pub(super) fn begin(&mut self, counts: Counts) {
        self.last = counts;
    }

    /// Takes up the counts of now. True if something was lost in the kernel since the last time.
    pub(super) fn note(&mut self, counts: Counts, now: Instant) -> bool {
        let grew = |at: usize| counts.get(at) > self.last.get(at);
        let (any, in_kernel) = ((0..counts.len()).any(grew), (0..OF_KERNEL).any(grew));
        let before = std::mem::replace(&mut self.last, counts);
        if any {
            if let Some(episode) = &mut self.episode {
                episode.last = now;
            } else {
                self.episode = Some(Episode { before, last: now, logged: now });
                tracing::warn!("lost: {}", self.reason());
            }
        }
        let Some(episode) = &mut self.episode else { return in_kernel };
        if now.saturating_duration_since(episode.last) >= SHOWN_FOR {
            tracing::info!("nothing was lost for a minute; before that: {}", self.reason());
            self.episode = None;
        } else if now.saturating_duration_since(episode.logged) >= SHOWN_FOR && any {
            episode.logged = now;
            tracing::warn!("still lost: {}", self.reason());
        }
        in_kernel
    }

    /// Losses since the current series of them began; empty a minute after its end.
    pub(super) fn reason(&self) -> String {
        let Some(Episode { before, .. }) = &self.episode else { return String::new() };
        let lost = self.last.iter().zip(before).zip(TEXTS).filter(|((now, before), _)| now > before);
        lost.map(|((now, before), text)| format!("{} {text}", now - before)).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was lost before the start, when another process had the maps, is no loss of this one.
    #[test]
    fn what_was_lost_before_is_not_shown() {
        let (mut losses, began) = (Losses::default(), Instant::now());
        losses.begin([5, 0, 0, 0, 0, 0, 0]);
        assert!(!losses.note([5, 0, 0, 0, 0, 0, 0], began));
        assert_eq!(losses.reason(), "");
        assert!(losses.note([6, 0, 0, 0, 0, 0, 0], began));
        assert_eq!(losses.reason(), "1 records (a ring was full)");
    }

    /// A loss shows at once, with its number, and until a minute after the last; only what the
    /// kernel lost is a notice of Hubble's.
    #[test]
    fn losses_show_for_a_while() {
        let (mut losses, began) = (Losses::default(), Instant::now());
        let after = |seconds| began + Duration::from_secs(seconds);
        assert!(!losses.note([0; 7], after(0)));
        assert_eq!(losses.reason(), "");
        assert!(losses.note([5, 0, 0, 0, 0, 0, 0], after(1)));
        assert_eq!(losses.reason(), "5 records (a ring was full)");
        assert!(!losses.note([5, 0, 0, 0, 7, 0, 0], after(2)));
        assert!(losses.note([5, 3, 2, 4, 7, 0, 0], after(59)));
        let all = "5 records (a ring was full), 3 packets (connection table and ring were full), \
                   2 drops (over drop_budget), 4 messages of layer 7 (their ring was full), \
                   7 flows for a metric (its thread was not running)";
        assert_eq!(losses.reason(), all);
        assert!(!losses.note([5, 3, 2, 4, 7, 0, 0], after(118)));
        assert_eq!(losses.reason(), all);
        assert!(!losses.note([5, 3, 2, 4, 7, 0, 0], after(119)));
        assert_eq!(losses.reason(), "");
        assert!(losses.note([6, 3, 2, 4, 7, 0, 0], after(120)));
        assert_eq!(losses.reason(), "1 records (a ring was full)");
        assert!(!losses.note([6, 3, 2, 4, 7, 9, 0], after(121)));
        let history = "9 flows for clients, flow logs and outputs (the thread of the history was behind)";
        assert!(losses.reason().ends_with(history), "{}", losses.reason());
    }

    /// Every hook's counts are added.
    #[test]
    fn all_hooks_count() {
        let totals = [
            Totals { lost_records: 1, suppressed_packets: 10, ..Totals::default() },
            Totals { lost_records: 2, untracked_packets: 5, ..Totals::default() },
        ];
        let skipped = Skipped { by_metrics: 4, by_history: 2, by_rollups: 8 };
        assert_eq!(counts(&totals, 6, skipped), [3, 5, 10, 6, 4, 2, 8]);
    }
}
