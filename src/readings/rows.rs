//! The rows of a reading.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::series::{By, namespace_of};
use super::state::State;

/// A counter: its growth over the window, and its value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counted {
    /// Growth over the window.
    pub window: u64,
    /// Since the series began.
    pub total: u64,
}

impl Counted {
    /// The share of `all` over the window; none of nothing.
    #[allow(clippy::cast_precision_loss, reason = "a share is a float")]
    pub fn share_of(self, all: Self) -> Option<f64> {
        (all.window > 0).then(|| self.window as f64 / all.window as f64)
    }

    pub(super) fn add(&mut self, other: Self) {
        self.window = self.window.saturating_add(other.window);
        self.total = self.total.saturating_add(other.total);
    }
}

/// Outcome of an attempt to connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of the label `outcome`")]
pub enum Outcome {
    Accepted,
    Refused,
    TimedOut,
    Unreachable,
    Denied,
    Dropped,
}

impl Outcome {
    /// All of them, in the order of [`Connections::outcomes`].
    pub const ALL: [Self; 6] =
        [Self::Accepted, Self::Refused, Self::TimedOut, Self::Unreachable, Self::Denied, Self::Dropped];

    /// The value of the label `outcome`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Refused => "refused",
            Self::TimedOut => "timed_out",
            Self::Unreachable => "unreachable",
            Self::Denied => "denied",
            Self::Dropped => "dropped",
        }
    }
}

/// Observations of a histogram over the window, by bucket; `+Inf` is the last.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Times {
    /// Upper bounds in seconds, without `+Inf`.
    pub bounds: Arc<[f64]>,
    /// Observations in each bucket alone.
    pub counts: Vec<u64>,
}

impl Times {
    /// Number of observations.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// A quantile in seconds, worked out as PromQL's `histogram_quantile`; none without
    /// observations.
    #[allow(clippy::cast_precision_loss, reason = "PromQL counts in floats too")]
    pub fn quantile(&self, quantile: f64) -> Option<f64> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let rank = quantile * count as f64;
        let mut below = 0.0;
        for (at, observed) in self.counts.iter().enumerate() {
            let observed = *observed as f64;
            if below + observed >= rank && observed > 0.0 {
                let lower = at.checked_sub(1).and_then(|at| self.bounds.get(at)).copied().unwrap_or(0.0);
                // Beyond the last bound nothing is known but that.
                let Some(upper) = self.bounds.get(at) else { return Some(lower) };
                return Some(lower + (upper - lower) * ((rank - below) / observed));
            }
            below += observed;
        }
        self.bounds.last().copied()
    }
}

/// Connections of a pair, as one side saw them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Connections {
    /// True if the client's side reports, else the server's.
    pub by_client: bool,
    /// Attempts, by [`Outcome`].
    pub outcomes: [Counted; 6],
    /// Connections that are open now.
    pub open: u64,
    /// Segments that were sent again.
    pub sent_again: Counted,
    /// From SYN to SYN-ACK.
    pub handshake: Times,
    /// Round trips.
    pub round_trip: Times,
}

impl Connections {
    /// All attempts.
    pub fn attempts(&self) -> Counted {
        let mut sum = Counted::default();
        self.outcomes.iter().for_each(|outcome| sum.add(*outcome));
        sum
    }

    /// Those that failed, and for which reason the most of them.
    pub fn failed(&self) -> (u64, Outcome) {
        let failures = Outcome::ALL.into_iter().zip(self.outcomes).skip(1);
        let most = failures.clone().max_by_key(|(_, count)| count.window).map_or(Outcome::Refused, |(most, _)| most);
        (failures.map(|(_, count)| count.window).sum(), most)
    }
}

/// Two ends that talk.
#[derive(Debug, Clone, PartialEq)]
pub struct PairRow {
    /// Who calls; where that is not known, who comes first by name.
    pub from: Arc<str>,
    /// Who is called.
    pub to: Arc<str>,
    /// True if it is known which end calls.
    pub is_directed: bool,
    /// Protocols of its traffic.
    pub protocols: BTreeSet<Arc<str>>,
    /// State over the window.
    pub state: State,
    /// Bytes that `from` sent, at the interface that saw more of them.
    pub out_bytes: Counted,
    /// Bytes that `to` sent, likewise.
    pub back_bytes: Counted,
    /// Packets both ways, likewise.
    pub packets: Counted,
    /// Packets that were dropped, both ways.
    pub drops: Counted,
    /// Verdicts that deny.
    pub denied: Counted,
    /// Verdicts that forbid, of connections that passed.
    pub passed: Counted,
    /// Connections; none where they are not watched.
    pub connections: Option<Connections>,
    /// Handshake's usual 95th percentile in seconds, of a pair that is slow.
    pub usual_p95: Option<f64>,
    /// The limit that it exceeds, in seconds, of a pair that is slow.
    pub limit_p95: Option<f64>,
    /// HTTP responses.
    pub requests: Counted,
    /// Those with a status of 5xx.
    pub request_errors: Counted,
    /// Unix time of the first sample with it, in seconds; 0 if it was there at the start.
    pub first: u64,
    /// Unix time of the last sample in which a counter had grown; 0 for none.
    pub last: u64,
}

impl PairRow {
    /// True if these are its ends, in either order.
    pub fn has_ends(&self, from: &str, to: &str) -> bool {
        (&*self.from, &*self.to) == (from, to) || (&*self.to, &*self.from) == (from, to)
    }

    /// True if what is between these ends is a part of it, whose own ends are `by` labels or of
    /// namespaces.
    pub fn has_part(&self, from: &str, to: &str, by: By) -> bool {
        match by {
            By::Label => self.has_ends(from, to),
            By::Namespace => self.has_ends(namespace_of(from), namespace_of(to)),
        }
    }

    /// Bytes both ways, over the window.
    pub fn bytes(&self) -> u64 {
        self.out_bytes.window.saturating_add(self.back_bytes.window)
    }
}

/// Packets or connections of a pair that a policy forbids or the kernel drops.
#[derive(Debug, Clone, PartialEq)]
pub struct DropRow {
    /// Who sent it.
    pub from: Arc<str>,
    /// Who it was for.
    pub to: Arc<str>,
    /// Protocol; none for a verdict, which has none.
    pub protocol: Option<Arc<str>>,
    /// Denied, passed or dropped.
    pub state: State,
    /// The kernel's reason by Hubble's name, or the verdict's match.
    pub reason: Arc<str>,
    /// Direction in which a policy forbids it; empty for a drop.
    pub direction: Arc<str>,
    /// Packets, or connections of a verdict.
    pub count: Counted,
    /// Unix time of the first sample with it, in seconds; 0 if it was there at the start.
    pub first: u64,
}

/// Answers of DNS, or questions without one.
#[derive(Debug, Clone, PartialEq)]
pub struct AnswerRow {
    /// Who asked.
    pub from: Arc<str>,
    /// Who answered.
    pub to: Arc<str>,
    /// The name asked for; none without the option `query`.
    pub name: Option<Arc<str>>,
    /// Code of the answer, or `unanswered`.
    pub code: Arc<str>,
    /// True unless the code says that all is well, or it is a try.
    pub is_error: bool,
    /// True for a name that does not exist and that a resolver has tried in its search path for
    /// another one.
    pub is_try: bool,
    /// Answers.
    pub count: Counted,
    /// Unix time of the first sample with it, in seconds; 0 if it was there at the start.
    pub first: u64,
}

/// HTTP of a pair, as one side saw it.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpRow {
    /// The client.
    pub from: Arc<str>,
    /// The server.
    pub to: Arc<str>,
    /// `client`, `server` or `unknown`.
    pub reporter: Arc<str>,
    /// Responses by the first digit of their status, 1 to 5; 0 has all others.
    pub status: [Counted; 6],
    /// Duration of requests.
    pub times: Times,
}

impl HttpRow {
    /// All responses.
    pub fn requests(&self) -> Counted {
        let mut sum = Counted::default();
        self.status.iter().for_each(|status| sum.add(*status));
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(bounds: &[f64], counts: &[u64]) -> Times {
        Times { bounds: bounds.into(), counts: counts.to_vec() }
    }

    /// The page and Grafana show one number: values that Prometheus works out for these buckets.
    #[test]
    fn quantiles_are_promqls() {
        let of = times(&[0.1, 0.2, 0.4], &[10, 10, 20, 0]);
        assert_eq!(of.quantile(0.5), Some(0.2));
        assert!((of.quantile(0.95).unwrap() - 0.38).abs() < 1e-9);
        assert!((of.quantile(0.125).unwrap() - 0.05).abs() < 1e-9);
        assert_eq!(times(&[0.1, 0.2], &[0, 1, 9]).quantile(0.95), Some(0.2), "beyond the last bound");
        assert_eq!(times(&[0.1], &[0, 0]).quantile(0.5), None);
        assert_eq!(Times::default().quantile(0.5), None);
    }
}
