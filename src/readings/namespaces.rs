//! Pairs by namespace: the sums of the pairs of two namespaces.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use webb_flow::hash::RandomState;

use super::one_way::{OneWay, add_times, larger};
use super::rows::{Connections, HttpRow};
use super::series::Pair;

/// The namespaces of these ends, sorted; an end without one has none.
pub(super) fn namespaces<'p>(pairs: impl Iterator<Item = &'p &'p Pair>) -> Vec<Arc<str>> {
    let mut known: HashSet<&str, RandomState> = HashSet::default();
    for end in pairs.flat_map(|pair| [&pair.from, &pair.to]) {
        known.extend(end.split_once('/').map(|(namespace, _)| namespace));
    }
    let mut known: Vec<Arc<str>> = known.into_iter().map(Into::into).collect();
    known.sort_unstable();
    known
}

/// What is known of each two namespaces, each way.
pub(super) fn group(pairs: &HashMap<&Pair, OneWay, RandomState>) -> HashMap<Pair, OneWay, RandomState> {
    let mut groups: HashMap<Pair, OneWay, RandomState> = HashMap::default();
    for (pair, way) in pairs {
        let namespaces = pair.of_namespaces();
        let http = way.http_row().map(|row| HttpRow {
            from: Arc::clone(&namespaces.from),
            to: Arc::clone(&namespaces.to),
            ..row.clone()
        });
        groups.entry(namespaces).or_default().absorb(way, http);
    }
    groups
}

impl OneWay {
    /// Adds a part. Which of two interfaces, sides and reporters is counted is decided for each
    /// part: one has seen what the other has not.
    fn absorb(&mut self, part: &Self, http: Option<HttpRow>) {
        let [_, _, traffic] = &mut self.traffic;
        for (at, sum) in traffic.iter_mut().enumerate() {
            sum.add(larger(&part.traffic, at));
        }
        self.protocols.extend(part.protocols.iter().cloned());
        for (sum, of_part) in [
            (&mut self.drops, part.drops),
            (&mut self.denied, part.denied),
            (&mut self.denied_drops, part.denied_drops),
            (&mut self.passed, part.passed),
        ] {
            sum.add(of_part);
        }
        if let Some(side) = part.side() {
            let [sum, _] = &mut self.connections;
            let none = || Connections { by_client: side.by_client, ..Connections::default() };
            sum.get_or_insert_with(none).absorb(side);
        }
        match (self.http.first_mut(), http) {
            (Some(sum), Some(row)) => {
                sum.status.iter_mut().zip(row.status).for_each(|(sum, status)| sum.add(status));
                add_times(&mut sum.times, row.times);
            }
            (None, Some(row)) => self.http.push(row),
            (_, None) => {}
        }
        self.is_seen |= part.is_seen;
        self.calls = self.calls.saturating_add(part.calls);
        self.first = self.first.into_iter().chain(part.first).min();
        self.last = self.last.max(part.last);
    }
}

impl Connections {
    fn absorb(&mut self, other: &Self) {
        self.outcomes.iter_mut().zip(other.outcomes).for_each(|(sum, outcome)| sum.add(outcome));
        self.open = self.open.saturating_add(other.open);
        self.sent_again.add(other.sent_again);
        add_times(&mut self.handshake, other.handshake.clone());
        add_times(&mut self.round_trip, other.round_trip.clone());
    }
}
