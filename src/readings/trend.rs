//! Totals of the last minutes, for the small charts.

use std::collections::VecDeque;
use std::time::Duration;

use super::measure::Measure;
use super::series::Series;

/// Time between two points.
const STEP: Duration = Duration::from_secs(10);

/// The points of a quarter of an hour.
const POINTS: usize = 90;

/// Growth of the counters of all pairs together.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[allow(missing_docs, reason = "the names are those of the rows")]
pub struct Trend {
    /// Bytes at the interfaces of pods.
    pub bytes: f64,
    pub drops: f64,
    /// Verdicts `audit`: forbidden, and passed.
    pub passed: f64,
    pub attempts: f64,
    pub failed: f64,
    pub answers: f64,
    pub answer_errors: f64,
    pub requests: f64,
    pub request_errors: f64,
}

impl Trend {
    /// Adds what one series has grown by.
    pub(super) fn add(&mut self, series: &Series, grown: u64) {
        #[allow(clippy::cast_precision_loss, reason = "a chart has some hundred pixels")]
        let grown = grown as f64;
        match series.measure {
            Measure::Traffic => self.bytes += grown,
            Measure::Drop => self.drops += grown,
            Measure::Verdict if series.labels.get("action") == "audit" => self.passed += grown,
            Measure::Attempt => {
                self.attempts += grown;
                if series.labels.get("outcome") != "accepted" {
                    self.failed += grown;
                }
            }
            Measure::DnsAnswer => {
                self.answers += grown;
                if series.is_answer_error() {
                    self.answer_errors += grown;
                }
            }
            Measure::HttpRequest | Measure::HttpAnswer if series.has_status() => {
                self.requests += grown;
                if series.labels.get("status").starts_with('5') {
                    self.request_errors += grown;
                }
            }
            _ => {}
        }
    }

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

    fn all(&mut self) -> [&mut f64; 9] {
        [
            &mut self.bytes,
            &mut self.drops,
            &mut self.passed,
            &mut self.attempts,
            &mut self.failed,
            &mut self.answers,
            &mut self.answer_errors,
            &mut self.requests,
            &mut self.request_errors,
        ]
    }
}

/// The points, oldest first.
#[derive(Debug, Default)]
pub(super) struct Trends {
    points: VecDeque<(Duration, Trend)>,
    /// Growth since the last point, and the time of it.
    open: (Duration, Trend),
}

impl Trends {
    /// Adds the growth of the time `took` before `at`.
    pub(super) fn push(&mut self, at: Duration, took: Duration, growth: Trend) {
        self.open = (self.open.0 + took, self.open.1.plus(growth));
        if self.open.0 < STEP {
            return;
        }
        let (took, growth) = std::mem::take(&mut self.open);
        if self.points.len() >= POINTS {
            self.points.pop_front();
        }
        self.points.push_back((at, growth.per_second(took.as_secs_f64())));
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Duration, Trend)> {
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
        for number in 1..=2 * POINTS as u64 {
            let growth = Trend { bytes: 1000.0, ..Trend::default() };
            trends.push(Duration::from_secs(number * 20), Duration::from_secs(20), growth);
        }
        let points: Vec<_> = trends.iter().collect();
        assert_eq!(points.len(), POINTS);
        assert!(points.iter().all(|(_, trend)| (trend.bytes - 50.0).abs() < 1e-9));
        trends.push(Duration::from_secs(9999), Duration::from_secs(5), Trend { drops: 3.0, ..Trend::default() });
        assert_eq!(trends.iter().last(), points.last().copied(), "half a step is no point yet");
        trends.push(Duration::from_secs(10_004), Duration::from_secs(5), Trend { drops: 2.0, ..Trend::default() });
        assert_eq!(trends.iter().last().map(|(_, trend)| trend.drops), Some(0.5));
    }
}
