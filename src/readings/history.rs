//! What pairs did in the last hour: small charts, and what is slow for a pair.
//!
//! Points are taken of readings that are made anyway; while nothing is read there are none.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use webb_flow::hash::RandomState;

use super::changes::{QUIET, Slowed};
use super::reading::Reading;
use super::rows::PairRow;
use super::state::State;

/// Time between two points of a pair.
const STEP: Duration = Duration::from_secs(30);

/// Points of an hour.
const MAX_POINTS: usize = 120;

/// Points of a chart, a quarter of an hour.
const CHART_SECONDS: u64 = 900;

/// Pairs with a history: the first ones of a reading, with 0.7 MB.
const MAX_PAIRS: usize = 512;

/// Points from which on a median is taken for what is usual: five minutes.
const MIN_POINTS: usize = 10;

/// A pair is slow if its handshakes take so many times as long as usual,
const SLOW_FACTOR: f64 = 3.0;

/// and at least so many seconds.
const MIN_SLOW_SECONDS: f64 = 0.005;

type Ends = (Arc<str>, Arc<str>);

/// A pair at one moment.
#[derive(Debug, Clone, Copy)]
struct Point {
    /// On the steady clock, in seconds.
    at: u32,
    /// Bytes a second, both ways.
    bytes: f32,
    /// 95th percentile of its handshakes in seconds; NaN without any.
    p95: f32,
}

/// The last hour of the pairs that matter most.
#[derive(Debug, Default)]
pub struct History {
    pairs: HashMap<Ends, VecDeque<Point>, RandomState>,
    last: Option<Duration>,
    /// Pairs that were slow, with the time when they were so last, on the steady clock.
    slow: HashMap<Ends, Duration, RandomState>,
    /// 95th percentile over which a pair is slow whatever is usual, in seconds.
    limit: Option<f64>,
}

impl History {
    /// An empty one. Pairs over `limit` are slow whatever is usual; zero for none.
    pub fn new(limit: Duration) -> Self {
        Self { limit: (!limit.is_zero()).then_some(limit.as_secs_f64()), ..Self::default() }
    }

    /// Takes a point of each pair if one is due, and marks pairs that are slow by their own past.
    /// Returns those that were not so a short time ago.
    pub fn observe(&mut self, reading: &mut Reading) -> Vec<Slowed> {
        let Some(moment) = reading.moment.filter(|_| !reading.span.is_zero()) else { return Vec::new() };
        if self.last.is_none_or(|last| moment.steady.saturating_sub(last) >= STEP) {
            self.last = Some(moment.steady);
            self.record(reading, moment.steady);
        }
        self.mark(reading);
        self.slowed(reading, moment.steady)
    }

    fn slowed(&mut self, reading: &Reading, now: Duration) -> Vec<Slowed> {
        let mut slowed = Vec::new();
        for row in reading.pairs.iter().filter(|row| row.state == State::Slow) {
            let (Some(p95), usual) = (p95(row), row.usual_p95) else { continue };
            let (from, to) = (Arc::clone(&row.from), Arc::clone(&row.to));
            let last = self.slow.insert((Arc::clone(&from), Arc::clone(&to)), now);
            if last.is_none_or(|last| now.saturating_sub(last).as_secs() >= QUIET) {
                slowed.push(Slowed { from, to, usual, p95 });
            }
        }
        self.slow.retain(|_, last| now.saturating_sub(*last).as_secs() < QUIET);
        slowed
    }

    /// Marks the pairs that are slow by their own past, or by the limit.
    pub fn mark(&self, reading: &mut Reading) {
        let mut any = false;
        for row in &mut reading.pairs {
            let Some(p95) = p95(row).filter(|_| row.state > State::Slow) else { continue };
            let usual = (p95 >= MIN_SLOW_SECONDS).then(|| self.of(row).and_then(median)).flatten();
            let usual = usual.filter(|usual| p95 >= SLOW_FACTOR * usual);
            let limit = self.limit.filter(|limit| p95 > *limit);
            if usual.is_some() || limit.is_some() {
                (row.state, row.usual_p95, row.limit_p95, any) = (State::Slow, usual, limit, true);
            }
        }
        if any {
            reading.sort_pairs();
        }
    }

    /// Bytes a second in the last quarter of an hour, oldest first; empty for a pair without
    /// history.
    pub fn chart(&self, row: &PairRow) -> Vec<f64> {
        let now = self.last.map_or(0, |last| last.as_secs());
        let is_late = |point: &&Point| u64::from(point.at) + CHART_SECONDS >= now;
        self.of(row).into_iter().flatten().filter(is_late).map(|point| f64::from(point.bytes)).collect()
    }

    fn of(&self, row: &PairRow) -> Option<&VecDeque<Point>> {
        self.pairs.get(&(Arc::clone(&row.from), Arc::clone(&row.to)))
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "a chart and a median")]
    fn record(&mut self, reading: &Reading, now: Duration) {
        let at = u32::try_from(now.as_secs()).unwrap_or(u32::MAX);
        let seconds = reading.span.as_secs_f64();
        for row in reading.pairs.iter().take(MAX_PAIRS) {
            let points = self.pairs.entry((Arc::clone(&row.from), Arc::clone(&row.to))).or_default();
            if points.len() >= MAX_POINTS {
                points.pop_front();
            }
            let bytes = (row.bytes() as f64 / seconds) as f32;
            points.push_back(Point { at, bytes, p95: p95(row).map_or(f32::NAN, |p95| p95 as f32) });
        }
        let hour = u32::try_from(STEP.as_secs()).unwrap_or(0) * u32::try_from(MAX_POINTS).unwrap_or(0);
        self.pairs.retain(|_, points| {
            while points.front().is_some_and(|point| at.saturating_sub(point.at) > hour) {
                points.pop_front();
            }
            !points.is_empty()
        });
        // Those that were not among the first for longest go.
        if self.pairs.len() > MAX_PAIRS {
            let mut last: Vec<u32> = self.pairs.values().filter_map(|points| points.back()).map(|of| of.at).collect();
            last.sort_unstable_by(|one, other| other.cmp(one));
            let oldest = last.get(MAX_PAIRS - 1).copied().unwrap_or(0);
            let mut room = MAX_PAIRS;
            self.pairs.retain(|_, points| {
                let stays = room > 0 && points.back().is_some_and(|point| point.at >= oldest);
                room -= usize::from(stays);
                stays
            });
        }
    }

    /// Number of pairs.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.pairs.len()
    }
}

fn p95(row: &PairRow) -> Option<f64> {
    row.connections.as_ref().and_then(|of| of.handshake.quantile(0.95))
}

/// The median of the handshakes; none with too few points.
fn median(points: &VecDeque<Point>) -> Option<f64> {
    let mut known: Vec<f32> = points.iter().map(|point| point.p95).filter(|p95| !p95.is_nan()).collect();
    if known.len() < MIN_POINTS {
        return None;
    }
    known.sort_unstable_by(f32::total_cmp);
    known.get(known.len() / 2).map(|median| f64::from(*median))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::readings::tests::{at, pair_row};
    use crate::readings::{Connections, Times};

    fn reading(seconds: u64, pairs: u64, milliseconds: f64) -> Reading {
        let row = |of: u64| {
            let handshake =
                Times { bounds: vec![milliseconds / 2000.0, milliseconds / 1000.0].into(), counts: vec![0, 9, 0] };
            let connections = Some(Connections { handshake, ..Connections::default() });
            PairRow { connections, ..pair_row(&format!("a/{of}"), "b/b", State::Forwarded, 6000) }
        };
        let pairs = (0..pairs).map(row).collect();
        Reading { moment: Some(at(seconds)), span: Duration::from_mins(1), pairs, ..Reading::default() }
    }

    /// A pair is slow against its own past: not before that is known, not if it always was, and
    /// not below some milliseconds.
    #[test]
    fn slow_is_slower_than_usual() {
        for (usual, now, is_slow) in [(1.0, 20.0, true), (100.0, 120.0, false), (0.1, 1.0, false)] {
            let mut history = History::default();
            let mut early = reading(0, 1, usual);
            history.observe(&mut early);
            let mut early = reading(5, 1, now);
            history.observe(&mut early);
            assert_eq!(early.pairs[0].state, State::Forwarded, "the past is not known yet");
            (1..20).for_each(|step| assert_eq!(history.observe(&mut reading(30 * step, 1, usual)), []));
            let mut slow = reading(601, 1, now);
            let slowed = history.observe(&mut slow);
            assert_eq!(slowed.len(), usize::from(is_slow));
            assert_eq!(history.observe(&mut reading(606, 1, now)), [], "it was slow a moment ago");
            assert_eq!(slow.pairs[0].state == State::Slow, is_slow, "{usual} ms, then {now}");
            assert_eq!(slow.pairs[0].usual_p95.is_some(), is_slow);
        }
    }

    /// Over a limit of the configuration a pair is slow at once, and what is said names the limit.
    #[test]
    fn limits_are_exceeded() {
        let mut history = History::new(Duration::from_millis(250));
        let (mut fast, mut slow) = (reading(0, 1, 240.0), reading(5, 1, 300.0));
        assert_eq!(history.observe(&mut fast), []);
        assert_eq!(history.observe(&mut slow).len(), 1);
        assert_eq!((fast.pairs[0].state, slow.pairs[0].state), (State::Forwarded, State::Slow));
        let said = &slow.attention()[0].text;
        assert!(said.ends_with("(p95), over the limit of 250.0 ms"), "{said}");
    }

    /// Charts are of a quarter of an hour, and neither pairs nor points grow without bound.
    #[test]
    fn histories_are_bounded() {
        let mut history = History::default();
        for step in 0..200 {
            let mut now = reading(30 * step, 600, 1.0);
            now.pairs.rotate_left(usize::try_from(step).unwrap());
            history.observe(&mut now);
        }
        assert_eq!(history.len(), MAX_PAIRS);
        assert!(history.pairs.values().all(|points| points.len() <= MAX_POINTS));
        let charts: Vec<_> = reading(0, 600, 1.0).pairs.iter().map(|row| history.chart(row)).collect();
        assert!(charts.iter().any(|chart| chart.len() == 31));
        assert!(charts.iter().flatten().all(|rate| (rate - 100.0).abs() < 1e-3));
        // Rare points are no neighbours: a chart has those of its quarter of an hour alone.
        let row = &reading(0, 600, 1.0).pairs[0];
        history.observe(&mut reading(30 * 199 + 600, 600, 1.0));
        assert_eq!(history.chart(row).len(), 12);
        history.observe(&mut reading(100_000, 1, 1.0));
        assert_eq!(history.len(), 1, "an hour later");
    }
}
