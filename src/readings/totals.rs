//! Sums over all pairs.

use super::measure::Measure;
use super::series::Series;

/// Sums over all pairs: of counters, or of their growth.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Totals<T> {
    /// Bytes at the interfaces of pods; a packet between two pods of this node passes two.
    pub bytes: T,
    /// Dropped packets.
    pub drops: T,
    /// Forbidden connections that passed.
    pub passed: T,
    /// Attempts to connect.
    pub attempts: T,
    /// Those that failed.
    pub failed: T,
    /// Answers of DNS.
    pub answers: T,
    /// Those with an error.
    pub answer_errors: T,
    /// HTTP responses.
    pub requests: T,
    /// Those with 5xx.
    pub request_errors: T,
}

impl<T> Totals<T> {
    /// The sums that a series is a part of.
    pub(super) fn of(&mut self, series: &Series) -> impl Iterator<Item = &mut T> {
        let label = |name: &str| series.labels.get(name);
        let (sum, errors, is_error) = match series.measure {
            Measure::Traffic => (&mut self.bytes, None, false),
            Measure::Drop => (&mut self.drops, None, false),
            Measure::Verdict if label("action") == "audit" => (&mut self.passed, None, false),
            Measure::Attempt => (&mut self.attempts, Some(&mut self.failed), label("outcome") != "accepted"),
            Measure::DnsAnswer => (&mut self.answers, Some(&mut self.answer_errors), series.is_answer_error()),
            Measure::HttpRequest | Measure::HttpAnswer if series.has_status() => {
                (&mut self.requests, Some(&mut self.request_errors), label("status").starts_with('5'))
            }
            _ => return None.into_iter().chain(None),
        };
        Some(sum).into_iter().chain(errors.filter(|_| is_error))
    }

    /// All sums, in the order of the fields.
    pub(super) fn all(&mut self) -> [&mut T; 9] {
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
