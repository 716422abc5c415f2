//! A few samples of all values, denser the younger they are.

use std::collections::VecDeque;
use std::time::Duration;

use super::moment::Moment;

/// The longest window of a rate.
const LONGEST_WINDOW: Duration = Duration::from_mins(5);

/// Values in all samples together, 2 MiB. With more series there are fewer samples, but never fewer
/// than [`MIN_SAMPLES`], so that beyond 87,000 values these three are the bound.
const MAX_WORDS: usize = 256 << 10;

/// Samples that are kept: enough for windows of 10 s, 1 min and 5 min.
const MAX_SAMPLES: usize = 14;

/// The least: a newest one, one to compare with, and one that becomes it.
const MIN_SAMPLES: usize = 3;

/// All values at one moment.
#[derive(Debug)]
pub(super) struct Sample {
    pub(super) number: u64,
    pub(super) moment: Moment,
    pub(super) words: Vec<u64>,
}

impl Sample {
    /// The values at a place; fewer where they were not known yet.
    pub(super) fn at(&self, offset: usize, width: usize) -> &[u64] {
        self.words.get(offset..offset + width).unwrap_or_default()
    }
}

/// The samples, oldest first.
#[derive(Debug, Default)]
pub(super) struct Samples(VecDeque<Sample>);

impl Samples {
    pub(super) fn latest(&self) -> Option<&Sample> {
        self.0.back()
    }

    pub(super) fn oldest(&self) -> Option<&Sample> {
        self.0.front()
    }

    /// The youngest sample that is at least `window` older than the latest; the oldest if none is.
    /// None if there is but one.
    pub(super) fn base(&self, window: Duration) -> Option<&Sample> {
        let latest = self.latest()?;
        let age = |sample: &Sample| latest.moment.steady.saturating_sub(sample.moment.steady);
        let base = self.0.iter().rev().find(|sample| age(sample) >= window).or_else(|| self.oldest())?;
        (base.number != latest.number).then_some(base)
    }

    /// Adds a sample, and removes those that are too many or too old.
    pub(super) fn push(&mut self, sample: Sample) {
        let words = sample.words.len().max(1);
        let now = sample.moment.steady;
        self.0.push_back(sample);
        let most = (MAX_WORDS / words).clamp(MIN_SAMPLES, MAX_SAMPLES);
        let is_old = |sample: &Sample| now.saturating_sub(sample.moment.steady) >= LONGEST_WINDOW;
        while self.0.get(1).is_some_and(is_old) {
            self.0.pop_front();
        }
        while self.0.len() > most {
            match self.least_missed(now) {
                Some(at) => drop(self.0.remove(at)),
                None => drop(self.0.pop_front()),
            }
        }
    }

    /// The sample whose neighbours are nearest to each other, measured by its age.
    fn least_missed(&self, now: Duration) -> Option<usize> {
        let time = |at: usize| self.0.get(at).map(|sample| sample.moment.steady);
        let gap = |at: usize| {
            let (before, own, after) = (time(at - 1)?, time(at)?, time(at + 1)?);
            let age = now.saturating_sub(own).as_secs_f64().max(1.0);
            Some((at, after.saturating_sub(before).as_secs_f64() / age))
        };
        let inner = 1..self.0.len().saturating_sub(1);
        inner.filter_map(gap).min_by(|one, other| one.1.total_cmp(&other.1)).map(|(at, _)| at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(seconds: u64, words: usize) -> Samples {
        let mut samples = Samples::default();
        for number in 0..=seconds / 5 {
            let steady = Duration::from_secs(number * 5);
            samples.push(Sample { number, moment: Moment { steady, unix: steady }, words: vec![0; words] });
        }
        samples
    }

    fn span(samples: &Samples, window: u64) -> u64 {
        let base = samples.base(Duration::from_secs(window)).unwrap();
        samples.latest().unwrap().moment.steady.saturating_sub(base.moment.steady).as_secs()
    }

    /// Each window finds a sample that is as old, and not much older, however long the agent runs.
    #[test]
    fn windows_are_what_they_say() {
        for seconds in (305..2000).step_by(5) {
            let samples = after(seconds, 10);
            assert!(samples.0.len() <= MAX_SAMPLES);
            for (window, most) in [(10, 20), (60, 120), (300, 500)] {
                let span = span(&samples, window);
                assert!((window..=most).contains(&span), "{span} s for {window} s after {seconds} s");
            }
        }
    }

    /// Memory has a bound: with many series the samples are fewer, and a rate is still known.
    #[test]
    fn many_series_have_few_samples() {
        let samples = after(600, 200_000);
        assert_eq!(samples.0.len(), MIN_SAMPLES);
        assert!(span(&samples, 60) >= 5);
    }

    /// One sample gives no rate.
    #[test]
    fn a_rate_needs_two() {
        assert!(Samples::default().base(Duration::ZERO).is_none());
        assert!(after(0, 1).base(Duration::ZERO).is_none());
        assert_eq!(span(&after(5, 1), 60), 5);
    }
}
