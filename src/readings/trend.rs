//! Totals of the last minutes, for the small charts.

use std::collections::VecDeque;
use std::time::Duration;

use super::totals::Totals;

/// Time between two points.
const STEP: Duration = Duration::from_secs(10);

/// The points of a quarter of an hour.
const POINTS: usize = 90;

/// Growth of the counters of all pairs together.
pub type Trend = Totals<f64>;

impl Trend {
    fn plus(mut self, mut other: Self) -> Self {
        for (sum, other) in self.all().into_iter().zip(other.all()) {
            *sum += *other;
        }
        self
    }

    fn per_second(mut self, seconds: f64) -> Self {
        for value in self.all() {
            *value /= seconds;
        }
        self
    }
}

/// The points, oldest first.
#[derive(Debug, Default)]
pub(super) struct Trends {
    points: VecDeque<Trend>,
    /// Growth since the last point, and the time that it took.
    open: (Duration, Trend),
}

impl Trends {
    /// Adds the growth of the time `took`.
    pub(super) fn push(&mut self, took: Duration, growth: Trend) {
        self.open = (self.open.0 + took, self.open.1.plus(growth));
        if self.open.0 < STEP {
            return;
        }
        let (took, growth) = std::mem::take(&mut self.open);
        if self.points.len() >= POINTS {
            self.points.pop_front();
        }
        self.points.push_back(growth.per_second(took.as_secs_f64()));
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Trend> {
        self.points.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Points are rates, whatever the time between two samples, and there are never more than fit.
    #[test]
    fn points_are_rates() {
        let mut trends = Trends::default();
        for _ in 0..2 * POINTS {
            let growth = Trend { bytes: 1000.0, ..Trend::default() };
            trends.push(Duration::from_secs(20), growth);
        }
        let points: Vec<_> = trends.iter().collect();
        assert_eq!(points.len(), POINTS);
        assert!(points.iter().all(|trend| (trend.bytes - 50.0).abs() < 1e-9));
        trends.push(Duration::from_secs(5), Trend { drops: 3.0, ..Trend::default() });
        assert_eq!(trends.iter().last(), points.last().copied(), "half a step is no point yet");
        trends.push(Duration::from_secs(5), Trend { drops: 2.0, ..Trend::default() });
        assert_eq!(trends.iter().last().map(|trend| trend.drops), Some(0.5));
    }
}
