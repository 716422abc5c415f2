//! Tracks one protocol of one address: when a failure makes it unreachable.
//!
//! One failure proves little, and an agent that is restarted, as in an upgrade, is no broken path.
//! So a failure is retried soon, and two in a row without a sign of life make it unreachable. While
//! the peer's kernel answers in the agent's place (the connection is refused, reset, or accepted
//! and not answered), its host is there, and failures must last for [`GRACE`]. One answer ends all
//! that.

use std::time::{Duration, Instant};

use super::{Connectivity, ProbeError};

/// Time that an agent may take to be restarted.
pub(super) const GRACE: Duration = Duration::from_secs(30);

/// Failures in a row that make an address unreachable if none of them looks like a restart.
const FAILURES: u32 = 2;

/// The longest wait before a failure is retried.
const MAX_RETRY: Duration = Duration::from_secs(5);

/// Wait before a failure is retried.
pub(super) fn retry(interval: Duration) -> Duration {
    (interval / 10).min(MAX_RETRY)
}

/// State of one protocol of one address.
#[derive(Debug, Clone, Default)]
pub(super) struct Track {
    connectivity: Connectivity,
    /// Latency of the last answer.
    pub(super) latency: Option<Duration>,
    /// Time of the last answer.
    pub(super) seen: Option<Instant>,
    /// Time of the last result, whichever it was.
    result: Option<Instant>,
    /// Error of the last probe.
    pub(super) error: Option<ProbeError>,
    streak: Option<Streak>,
}

/// Failures without an answer between them.
#[derive(Debug, Clone, Copy)]
struct Streak {
    since: Instant,
    /// The last failures, after any in which the peer's kernel answered in the agent's place.
    unexplained: u32,
}

impl Track {
    /// Records the outcome of a probe.
    pub(super) fn record(&mut self, outcome: &Result<Duration, ProbeError>, now: Instant) {
        match outcome {
            Ok(latency) => {
                let latency = Some(*latency);
                let (seen, result) = (Some(now), Some(now));
                *self =
                    Self { connectivity: Connectivity::Reachable, latency, seen, result, error: None, streak: None };
            }
            Err(error) => {
                self.error = Some(error.clone());
                if !error.is_local() {
                    self.result = Some(now);
                    self.fail(error, now);
                }
            }
        }
    }

    fn fail(&mut self, error: &ProbeError, now: Instant) {
        let streak = self.streak.get_or_insert(Streak { since: now, unexplained: 0 });
        streak.unexplained = if error.is_absence() { 0 } else { streak.unexplained.saturating_add(1) };
        let lasts = now.saturating_duration_since(streak.since) >= GRACE;
        if lasts || streak.unexplained >= FAILURES {
            self.connectivity = Connectivity::Unreachable;
        }
    }

    /// Connectivity as the last results have it; unknown if those are older than `max_age`.
    pub(super) fn connectivity(&self, now: Instant, max_age: Duration) -> Connectivity {
        match self.result {
            Some(at) if now.saturating_duration_since(at) <= max_age => self.connectivity,
            _ => Connectivity::Unknown,
        }
    }

    /// Outcome of the last probe; none before the first one.
    pub(super) fn outcome(&self) -> Option<&'static str> {
        match &self.error {
            Some(error) => Some(error.label()),
            None => self.seen.and(ProbeError::OUTCOMES.first().copied()),
        }
    }

    /// Wait before the next probe.
    pub(super) fn wait(&self, interval: Duration) -> Duration {
        match self.streak {
            Some(_) if self.connectivity == Connectivity::Unreachable => interval,
            Some(Streak { unexplained: 0, .. }) => interval.min(GRACE / 3),
            Some(_) => retry(interval),
            None => interval,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const INTERVAL: Duration = Duration::from_secs(10);
    const MAX_AGE: Duration = Duration::from_mins(1);
    const LATENCY: Result<Duration, ProbeError> = Ok(Duration::from_millis(3));

    fn silent() -> Result<Duration, ProbeError> {
        Err(ProbeError::Timeout(Duration::from_secs(4)))
    }

    fn refused() -> Result<Duration, ProbeError> {
        Err(ProbeError::Refused)
    }

    fn unanswered() -> Result<Duration, ProbeError> {
        Err(ProbeError::Unanswered(Duration::from_secs(4)))
    }

    fn after(track: &mut Track, outcome: &Result<Duration, ProbeError>, now: Instant) -> Connectivity {
        track.record(outcome, now);
        track.connectivity(now, MAX_AGE)
    }

    /// No result is unknown, one silent failure changes nothing and is retried soon, the second one
    /// counts, and one answer takes it back.
    #[test]
    fn two_silent_failures_count() {
        let (mut track, now) = (Track::default(), Instant::now());
        assert_eq!(track.connectivity(now, MAX_AGE), Connectivity::Unknown);
        assert_eq!(after(&mut track, &silent(), now), Connectivity::Unknown);
        assert_eq!(after(&mut track, &LATENCY, now), Connectivity::Reachable);
        assert_eq!(track.wait(INTERVAL), INTERVAL);
        assert_eq!(after(&mut track, &silent(), now), Connectivity::Reachable);
        assert_eq!(track.wait(INTERVAL), Duration::from_secs(1));
        assert_eq!(after(&mut track, &silent(), now), Connectivity::Unreachable);
        assert_eq!(track.wait(INTERVAL), INTERVAL);
        assert!(track.error.is_some() && track.latency == Some(Duration::from_millis(3)));
        assert_eq!(after(&mut track, &LATENCY, now), Connectivity::Reachable);
        assert_eq!(track.error, None);
    }

    /// An agent that is restarted refuses connections, and may be slow to answer at first; one that
    /// is stopped has its connections accepted and not answered. Within the grace it is not
    /// unreachable; if it stays away it is.
    #[test]
    fn a_restart_has_its_grace() {
        let (mut track, start) = (Track::default(), Instant::now());
        track.record(&LATENCY, start);
        for second in 0..30 {
            let outcome = if second % 3 == 0 { refused() } else { unanswered() };
            let now = start + Duration::from_secs(second);
            assert_eq!(after(&mut track, &outcome, now), Connectivity::Reachable, "{second} s");
            assert_eq!(track.wait(Duration::from_mins(2)), Duration::from_secs(10));
        }
        assert_eq!(after(&mut track, &refused(), start + GRACE), Connectivity::Unreachable);
        assert_eq!(after(&mut track, &LATENCY, start + GRACE), Connectivity::Reachable);
    }

    /// The grace is for agents: a host that falls silent after its agent, as one that is shut down,
    /// has none.
    #[test]
    fn a_host_that_falls_silent_has_no_grace() {
        for absent in [refused(), unanswered()] {
            let (mut track, now) = (Track::default(), Instant::now());
            let outcomes = [LATENCY, absent.clone(), silent(), absent, silent()];
            let connectivity = outcomes.map(|outcome| after(&mut track, &outcome, now));
            assert_eq!(connectivity, [Connectivity::Reachable; 5], "never two silent ones in a row");
            assert_eq!(track.wait(INTERVAL), Duration::from_secs(1));
            assert_eq!(after(&mut track, &silent(), now), Connectivity::Unreachable);
        }
    }

    /// Results grow old: a prober that stands still does not vouch for its peers.
    #[test]
    fn old_results_are_none() {
        let (mut track, now) = (Track::default(), Instant::now());
        for outcome in [LATENCY, silent(), silent()] {
            track.record(&outcome, now);
            assert_ne!(track.connectivity(now + MAX_AGE, MAX_AGE), Connectivity::Unknown);
            assert_eq!(track.connectivity(now + MAX_AGE * 2, MAX_AGE), Connectivity::Unknown);
        }
    }

    proptest! {
        /// Over any outcomes at any times: reachable only after an answer, unreachable only after
        /// two failures in a row of which none is local, and an answer always ends it.
        #[test]
        fn states_have_their_reasons(outcomes in prop::collection::vec((0..5_u8, 0..40_u64), 1..40)) {
            let (mut track, mut now) = (Track::default(), Instant::now());
            let (mut answered, mut in_a_row, mut silent_in_a_row, mut since) = (false, 0, 0, now);
            for (outcome, seconds) in outcomes {
                now += Duration::from_secs(seconds);
                let outcome = match outcome {
                    0 => LATENCY,
                    1 => silent(),
                    2 => refused(),
                    3 => unanswered(),
                    _ => Err(ProbeError::Local("too many open files".to_owned())),
                };
                match &outcome {
                    Ok(_) => (answered, in_a_row, silent_in_a_row) = (true, 0, 0),
                    Err(error) if error.is_local() => {}
                    Err(error) => {
                        since = if in_a_row == 0 { now } else { since };
                        in_a_row += 1;
                        silent_in_a_row = if error.is_absence() { 0 } else { silent_in_a_row + 1 };
                    }
                }
                track.record(&outcome, now);
                let state = track.connectivity;
                prop_assert!(state != Connectivity::Reachable || answered);
                prop_assert!(state != Connectivity::Unreachable || in_a_row >= 2);
                if outcome.is_ok() {
                    prop_assert_eq!(state, Connectivity::Reachable);
                }
                let is_local = outcome.as_ref().is_err_and(ProbeError::is_local);
                if !is_local && (silent_in_a_row >= 2 || in_a_row >= 2 && now - since >= GRACE) {
                    prop_assert_eq!(state, Connectivity::Unreachable);
                }
                prop_assert!(track.wait(INTERVAL) <= INTERVAL);
            }
        }
    }
}
