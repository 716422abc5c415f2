//! The store of samples.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use webb_metrics::expose::Snapshot;

use super::begins::{Begins, MAX_OF_KIND, add_rest};
use super::changes::{Change, ChangeKind, Changes, Figure, Slowed};
use super::measure::{Form, Measure};
use super::moment::Moment;
use super::samples::{Sample, Samples};
use super::series::{Known, Series};
use super::state::State;
use super::trend::{Trend, Trends};

/// Samples are at least so far apart.
const INTERVAL: Duration = Duration::from_secs(5);

/// Time after the last reading from which on nothing reads the samples.
const IDLE_AFTER: Duration = Duration::from_mins(15);

/// Values in a sample up to which samples are taken though nothing reads them: with all names, and
/// as many samples as there are at most, some 2 MB. A larger node has none until it is read.
const MAX_IDLE_VALUES: usize = 8 << 10;

/// New series whose names are read in a few milliseconds.
const MAX_QUICK_SERIES: usize = MAX_IDLE_VALUES;

/// Samples of the counters of all pairs.
#[derive(Debug, Default)]
pub struct SampleStore {
    pub(super) known: Known,
    pub(super) samples: Samples,
    trends: Trends,
    changes: Changes,
    /// Upper bounds of the histograms' buckets.
    pub(super) bounds: BTreeMap<Measure, Arc<[f64]>>,
    number: u64,
    /// Time of the last reading, on the steady clock.
    read: Option<Duration>,
}

impl SampleStore {
    /// True if the last sample is old enough for another.
    pub fn is_due(&self, moment: Moment) -> bool {
        self.samples.latest().is_none_or(|last| moment.steady.saturating_sub(last.moment.steady) >= INTERVAL)
    }

    /// Notes that the samples are read: all series are kept from the next sample on.
    pub fn mark_read(&mut self, moment: Moment) {
        self.read = Some(moment.steady);
    }

    /// True if nothing has read the samples for a quarter of an hour.
    pub fn is_idle(&self, moment: Moment) -> bool {
        self.read.is_none_or(|read| moment.steady.saturating_sub(read) >= IDLE_AFTER)
    }

    /// Frees the samples, and the names of all series, if nothing reads them and they are many.
    pub fn release(&mut self, moment: Moment) {
        if self.is_idle(moment) && self.known.words() > MAX_IDLE_VALUES {
            self.clear();
        }
    }

    fn clear(&mut self) {
        let mut changes = std::mem::take(&mut self.changes);
        changes.freed();
        *self = Self { number: self.number, read: self.read, changes, ..Self::default() };
    }

    /// True if there is no sample.
    pub fn is_empty(&self) -> bool {
        self.samples.latest().is_none()
    }

    /// Number of the last sample; 0 before the first.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// True if a sample would read the names of many new series, which takes its time.
    pub fn is_costly(&self, snapshots: &[&Snapshot]) -> bool {
        let series: usize = measured(snapshots).map(|(_, snapshot)| snapshot.labels.len()).sum();
        series > self.known.len() + MAX_QUICK_SERIES
    }

    /// Takes a sample, unless nothing reads it and it is a large one.
    pub fn sample(&mut self, moment: Moment, snapshots: &[&Snapshot]) {
        let values: usize = measured(snapshots).map(|(_, snapshot)| snapshot.labels.len() * snapshot.width()).sum();
        if values > MAX_IDLE_VALUES && self.is_idle(moment) {
            self.clear();
            return;
        }
        self.number += 1;
        let number = self.number;
        let mut words = Vec::with_capacity(self.known.words());
        let seconds = moment.unix.as_secs();
        let before = self.samples.latest();
        let mut growth = Trend::default();
        self.changes.sampled(seconds, before.is_none());
        let (mut begins, began) = (Begins::default(), self.changes.began);
        let mut visited = 0;
        self.known.reserve(measured(snapshots).map(|(_, snapshot)| snapshot.labels.len()).sum());
        for (measure, snapshot) in measured(snapshots) {
            // `httpV2` has the same counts twice if it counts responses too.
            if measure == Measure::HttpAnswer && self.known.requests_have_status() {
                continue;
            }
            if self.bounds.get(&measure).is_none_or(|bounds| **bounds != *snapshot.bounds) {
                self.bounds.insert(measure, snapshot.bounds.to_vec().into());
            }
            let width = snapshot.width();
            snapshot.labels.for_each(|slot, text| {
                visited += 1;
                let series = self.known.series(measure, text, width);
                let values = snapshot.values(slot);
                if words.len() < series.offset + width {
                    words.resize(series.offset + width, 0);
                }
                if let Some(place) = words.get_mut(series.offset..series.offset + width) {
                    place.copy_from_slice(values);
                }
                if series.seen == 0 && before.is_some() {
                    series.first = seconds;
                }
                let grown = if snapshot.gauge { 0 } else { grown(series, before, values) };
                if grown > 0 && before.is_some() {
                    begins.grown(series, grown, seconds, began);
                    series.last = seconds;
                    #[allow(clippy::cast_precision_loss, reason = "a chart has some hundred pixels")]
                    growth.of(series).for_each(|sum| *sum += grown as f64);
                }
                series.seen = number;
            });
        }
        let new_pairs = self.known.take_new_pairs();
        self.known.mark_tries();
        if let Some(before) = before {
            let took = moment.steady.saturating_sub(before.moment.steady);
            self.trends.push(took, growth);
            begins.finish(&self.known, &new_pairs, (seconds, took.as_secs_f64()), &mut self.changes);
        }
        self.samples.push(Sample { number, moment, words });
        // A place is used again once no sample has the values of a series that is gone.
        if visited < self.known.len()
            && let Some(oldest) = self.samples.oldest()
        {
            let oldest = oldest.number;
            self.known.forget(oldest);
        }
    }

    /// The growth a second of the totals in the last 15 minutes, oldest first.
    pub fn trends(&self) -> impl Iterator<Item = Trend> {
        self.trends.iter()
    }

    /// The changes of the last six hours, oldest first, 512 at most.
    pub fn changes(&self, now: Moment) -> impl Iterator<Item = &Change> {
        self.changes.until(now.unix.as_secs())
    }

    /// Unix time since which changes are seen, in seconds; none before the first sample.
    pub fn changes_since(&self) -> Option<u64> {
        self.changes.since()
    }

    /// Adds pairs that have become slow by their own past, or by the limit, to the changes: the
    /// slowest of many, and the number of the rest.
    pub fn note_slow(&mut self, moment: Moment, mut slowed: Vec<Slowed>) {
        let (unix, all) = (moment.unix.as_secs(), slowed.len());
        slowed.sort_by(|one, other| other.p95.total_cmp(&one.p95));
        slowed.truncate(MAX_OF_KIND);
        for Slowed { from, to, usual, p95 } in slowed {
            let change = Change::new(unix, ChangeKind::Quality, "connects become slow (p95)".to_owned());
            let figure = Some(Figure { before: usual, after: p95, unit: "seconds" });
            self.changes.push(0, Change { state: State::Slow, ends: Some((from, to)), figure, ..change });
        }
        add_rest(&mut self.changes, unix, ChangeKind::Quality, all, "pairs become slow to connect");
    }

    /// The labels that name the ends in the series of a measure, if they do.
    pub fn form(&self, measure: Measure) -> Option<Form> {
        self.known.form(measure)
    }
}

/// The snapshots that readings are made of.
fn measured<'s>(snapshots: &[&'s Snapshot]) -> impl Iterator<Item = (Measure, &'s Snapshot)> {
    let measure = |of: &Snapshot| of.families.first().and_then(|family| Measure::of(family.name));
    snapshots.iter().filter_map(move |snapshot| Some((measure(snapshot)?, *snapshot)))
}

/// By how much the first value of a counter, or all buckets of a histogram, have grown.
fn grown(series: &Series, before: Option<&Sample>, values: &[u64]) -> u64 {
    let then = before.filter(|_| series.seen > 0).map_or(&[][..], |before| before.at(series.offset, series.width));
    let grown = |at: usize, now: u64| increase(then.get(at).copied().unwrap_or(0), now);
    values
        .iter()
        .enumerate()
        .take(if series.is_histogram() { values.len() } else { 1 })
        .map(|(at, now)| grown(at, *now))
        .sum()
}

/// Growth of a counter, which begins anew at 0 when its series was removed in between.
pub(super) fn increase(then: u64, now: u64) -> u64 {
    now.checked_sub(then).unwrap_or(now)
}
