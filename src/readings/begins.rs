//! What begins at a sample: pairs that are new, and counters of what is unwelcome that grow after
//! a quiet time.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;

use webb_flow::hash::RandomState;

use super::changes::{Change, ChangeKind, Changes, Figure, QUIET};
use super::measure::Measure;
use super::search_path::NO_SUCH_NAME;
use super::series::{Known, Pair, Series};
use super::state::State;

/// Changes of one kind that a sample adds at most; the rest are one more with their number.
pub(super) const MAX_OF_KIND: usize = 64;

/// What a counter that grows is a sign of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Sign<'a> {
    kind: ChangeKind,
    state: State,
    /// What tells it from other signs of two ends: a reason, a direction, an outcome, a code.
    detail: &'a str,
    /// A DNS name.
    name: &'a str,
}

/// The sign that a series is; none of what is welcome.
fn sign(series: &Series) -> Option<Sign<'_>> {
    let label = |name: &str| series.labels.get(name);
    let sign = |kind, state, detail| Sign { kind, state, detail, name: "" };
    Some(match series.measure {
        Measure::Drop if label("reason").starts_with("POLICY_DEN") => sign(ChangeKind::Drop, State::Denied, ""),
        Measure::Drop => sign(ChangeKind::Drop, State::Dropped, label("reason")),
        Measure::Verdict => match label("action") {
            "audit" => sign(ChangeKind::Drop, State::Passed, label("direction")),
            "dropped" => sign(ChangeKind::Drop, State::Denied, ""),
            _ => return None,
        },
        Measure::Attempt => match label("outcome") {
            "accepted" => return None,
            "denied" => sign(ChangeKind::Drop, State::Denied, ""),
            outcome => sign(ChangeKind::Quality, State::Failing, outcome),
        },
        Measure::DnsAnswer if series.is_answer_error() => of_answer(series),
        Measure::DnsUnanswered => sign(ChangeKind::Dns, State::Failing, "unanswered"),
        Measure::HttpRequest | Measure::HttpAnswer if label("status").starts_with('5') => {
            sign(ChangeKind::Quality, State::Failing, "5xx")
        }
        _ => return None,
    })
}

/// The sign of an answer with an error.
fn of_answer(series: &Series) -> Sign<'_> {
    let label = |name: &str| series.labels.get(name);
    Sign { kind: ChangeKind::Dns, state: State::Failing, detail: label("rcode"), name: label("query") }
}

impl Sign<'_> {
    fn text(&self) -> String {
        match (self.kind, self.state) {
            (ChangeKind::Dns, _) if self.name.is_empty() && self.detail == NO_SUCH_NAME => {
                format!("names begin to fail: {NO_SUCH_NAME}; which are tries in a search path is not known")
            }
            (ChangeKind::Dns, _) if self.name.is_empty() => format!("names begin to fail: {}", self.detail),
            (ChangeKind::Dns, _) => format!("begins to fail: {}", self.detail),
            (ChangeKind::Quality, _) if self.detail == "5xx" => "responses begin to be 5xx".to_owned(),
            (ChangeKind::Quality, _) => format!("connects begin to fail: {}", self.detail.replace('_', " ")),
            (_, State::Passed) if self.detail.is_empty() => "begins to pass, though a policy forbids it".to_owned(),
            (_, State::Passed) => format!("begins to pass, though a policy for {} forbids it", self.detail),
            (_, State::Denied) => "begins to be denied by a policy".to_owned(),
            _ => format!("begins to be dropped: {}", self.detail),
        }
    }
}

/// Growth of one sign between two ends.
#[derive(Debug)]
struct Growth {
    pair: Arc<Pair>,
    change: Change,
    grown: u64,
    /// True if it grew a short time ago.
    goes_on: bool,
}

/// The changes that a sample shows.
#[derive(Debug, Default)]
pub(super) struct Begins {
    hasher: RandomState,
    signs: HashMap<u64, Growth, RandomState>,
    /// How often `from` of a pair calls, by new series that say which end does.
    calls: HashMap<Arc<Pair>, u64, RandomState>,
}

impl Begins {
    /// Takes a series that has grown. Its own times are still those of the sample before; `began`
    /// is the time since which it would have been seen to grow.
    pub(super) fn grown(&mut self, series: &Series, grown: u64, unix: u64, began: u64) {
        let Some(pair) = &series.pair else { return };
        if series.seen == 0 {
            let calls = self.calls.entry(Arc::clone(pair)).or_default();
            *calls = calls.saturating_add(series.measure.calls(grown));
        }
        let Some(sign) = sign(series) else { return };
        let is_quiet = series.seen == 0 || series.last.max(series.first).max(began) + QUIET <= unix;
        let key = self.hasher.hash_one((pair, sign));
        let growth = self.signs.entry(key).or_insert_with(|| {
            let ends = Some((Arc::clone(&pair.from), Arc::clone(&pair.to)));
            let object = Some(sign.name).filter(|name| !name.is_empty()).map(Into::into);
            let change = Change { state: sign.state, ends, object, ..Change::new(unix, sign.kind, sign.text()) };
            Growth { pair: Arc::clone(pair), change, grown: 0, goes_on: false }
        });
        growth.grown = growth.grown.saturating_add(grown);
        growth.goes_on |= !is_quiet;
    }

    /// Adds what began to the list. `new_pairs` are those of which there was no series before,
    /// `seconds` the time since the last sample.
    #[allow(clippy::cast_precision_loss, reason = "a rate is a float")]
    pub(super) fn finish(
        mut self,
        known: &Known,
        new_pairs: &[Arc<Pair>],
        (unix, seconds): (u64, f64),
        changes: &mut Changes,
    ) {
        self.signs.retain(|_, growth| !growth.goes_on);
        if !self.signs.is_empty() {
            self.drop_continued(known, unix);
            self.drop_tries(known);
        }
        let mut begun: Vec<(u64, Growth)> = self.signs.into_iter().collect();
        begun.sort_by(|(_, one), (_, other)| {
            let names = |of: &Growth| (Arc::clone(&of.pair.from), Arc::clone(&of.pair.to));
            let order = one.change.kind.cmp(&other.change.kind).then(other.grown.cmp(&one.grown));
            order.then_with(|| names(one).cmp(&names(other))).then_with(|| one.change.text.cmp(&other.change.text))
        });
        let added = new_pairs.iter().take(MAX_OF_KIND).map(|pair| {
            let back = pair.reversed();
            let calls = |pair: &Pair| self.calls.get(pair).copied().unwrap_or(0);
            let (there, here) = (calls(pair), calls(&back));
            let Pair { from, to } = if there < here { &back } else { &**pair };
            let change = Change::new(unix, ChangeKind::Pair, "new pair".to_owned());
            let ends = Some((Arc::clone(from), Arc::clone(to)));
            (self.hasher.hash_one(pair), Change { ends, is_directed: there != here, ..change })
        });
        added.for_each(|(key, change)| changes.push(key, change));
        add_rest(changes, unix, ChangeKind::Pair, new_pairs.len(), "new pairs");
        for (kind, what) in [
            (ChangeKind::Drop, "pairs begin to be dropped, denied, or to pass though forbidden"),
            (ChangeKind::Quality, "pairs begin to fail"),
            (ChangeKind::Dns, "names or pairs begin to fail"),
        ] {
            let of_kind = || begun.iter().filter(|(_, growth)| growth.change.kind == kind);
            for (key, growth) in of_kind().take(MAX_OF_KIND) {
                let after = growth.grown as f64 / seconds.max(1.0);
                let figure = Some(Figure { before: None, after, unit: "per_second" });
                changes.push(*key, Change { figure, ..growth.change.clone() });
            }
            add_rest(changes, unix, kind, of_kind().count(), what);
        }
    }

    /// Drops signs of which another series grew a short time ago: one with another method or type
    /// of question.
    fn drop_continued(&mut self, known: &Known, unix: u64) {
        for series in known.iter().filter(|series| series.last < unix && series.last + QUIET > unix) {
            if let (Some(pair), Some(sign)) = (&series.pair, sign(series)) {
                self.signs.remove(&self.hasher.hash_one((pair, sign)));
            }
        }
    }

    /// Drops names that do not exist, as was to be expected: a resolver tried them in its search
    /// path for another name.
    fn drop_tries(&mut self, known: &Known) {
        for series in known.iter().filter(|series| series.is_try) {
            if let Some(pair) = &series.pair {
                self.signs.remove(&self.hasher.hash_one((pair, of_answer(series))));
            }
        }
    }
}

/// Adds the number of those of `all` that are not listed one by one.
pub(super) fn add_rest(changes: &mut Changes, unix: u64, kind: ChangeKind, all: usize, what: &str) {
    if let Some(more) = all.checked_sub(MAX_OF_KIND).filter(|more| *more > 0) {
        changes.push(0, Change::new(unix, kind, format!("{more} more {what}")));
    }
}

#[cfg(test)]
mod tests {
    use webb_metrics::expose::Snapshot;

    use super::super::SampleStore;
    use super::super::tests::{at, ends, snapshot, traffic};
    use super::*;

    fn said(store: &SampleStore, seconds: u64) -> Vec<String> {
        let said = |change: &Change| {
            let ends = change.ends.as_ref().map_or(String::new(), |(from, to)| {
                format!("{from} {} {to} ", if change.is_directed { "->" } else { "<->" })
            });
            let object = change.object.as_ref().map_or(String::new(), |object| format!("{object} "));
            let figure = change.figure.map_or(String::new(), |figure| format!(", {}", figure.after));
            format!("{ends}{object}{}{figure}", change.text)
        };
        store.changes(at(seconds)).map(said).collect()
    }

    fn attempts(outcome: &str, count: u64) -> Snapshot {
        let labels = ends("a/x", "b/y", &[("outcome", outcome), ("reporter", "client")]);
        snapshot("webb_tcp_connections_total", &[(&labels, &[count])])
    }

    /// What was there at the start is no change; a pair is new once, whatever counts it and in
    /// which direction, and one that comes back is not new.
    #[test]
    fn pairs_are_new_once() {
        let mut store = SampleStore::default();
        store.sample(at(0), &[&traffic(&[("a/x", "b/y", "egress", 1, 1)])]);
        let more = traffic(&[
            ("a/x", "b/y", "egress", 1, 1),
            ("b/y", "a/x", "ingress", 1, 1),
            ("b/y", "c/z", "ingress", 1, 1),
            ("p", "q", "ingress", 1, 1),
        ]);
        let labels = ends("c/z", "b/y", &[("outcome", "accepted"), ("reporter", "client")]);
        let opened = snapshot("webb_tcp_connections_total", &[(&labels, &[2])]);
        // Segments are sent again by either end.
        let labels = ends("b/y", "c/z", &[("reporter", "server")]);
        let again = snapshot("webb_tcp_retransmitted_segments_total", &[(&labels, &[9])]);
        store.sample(at(10), &[&more, &opened, &again]);
        let mut new = said(&store, 10);
        new.sort();
        assert_eq!(new, ["c/z -> b/y new pair", "p <-> q new pair"]);
        (2..100).for_each(|step| store.sample(at(10 * step), &[&traffic(&[("a/x", "b/y", "egress", 1, 1)])]));
        store.sample(at(2000), &[&more, &opened]);
        assert_eq!(said(&store, 2000).len(), 2);
    }

    /// A failure is said when it begins, with its rate: not while it goes on, not by another
    /// label of the same, and again after a quiet time.
    #[test]
    fn failures_begin() {
        let mut store = SampleStore::default();
        store.sample(at(0), &[&attempts("refused", 7)]);
        store.sample(at(10), &[&attempts("refused", 9)]);
        assert_eq!(said(&store, 10), [""; 0], "whether it failed before the first sample is not known");
        store.sample(at(20), &[&attempts("timed_out", 5)]);
        assert_eq!(said(&store, 20), ["a/x -> b/y connects begin to fail: timed out, 0.5"]);
        store.sample(at(30), &[&attempts("timed_out", 50)]);
        store.sample(at(930), &[&attempts("timed_out", 50)]);
        assert_eq!(said(&store, 930).len(), 1);
        store.sample(at(940), &[&attempts("timed_out", 60)]);
        assert_eq!(said(&store, 940).last().unwrap(), "a/x -> b/y connects begin to fail: timed out, 1");
        let errors = |method: &'static str, status: &'static str, count| {
            let rest = [("method", method), ("protocol", "HTTP/1.1"), ("reporter", "client"), ("status", status)];
            let labels = ends("a/x", "b/y", &rest);
            snapshot("hubble_http_requests_total", &[(&labels, &[count])])
        };
        store.sample(at(950), &[&errors("GET", "503", 1)]);
        assert_eq!(said(&store, 950).last().unwrap(), "a/x -> b/y responses begin to be 5xx, 0.1");
        store.sample(at(960), &[&errors("GET", "503", 1), &errors("POST", "500", 1)]);
        assert_eq!(said(&store, 960).len(), 3);
    }

    /// Each kind of sign in words.
    #[test]
    fn signs_are_said() {
        let mut store = SampleStore::default();
        store.sample(at(0), &[&traffic(&[("a/x", "b/y", "egress", 1, 1)])]);
        let drop = |reason| ends("a/x", "b/y", &[("reason", reason), ("protocol", "TCP")]);
        let (denied, full) = (drop("POLICY_DENIED"), drop("QUEUE_FULL"));
        let drops = snapshot("hubble_drop_total", &[(&denied, &[10]), (&full, &[20])]);
        let verdict = |action| ends("a/x", "b/y", &[("direction", "egress"), ("match", "none"), ("action", action)]);
        let (audit, dropped) = (verdict("audit"), verdict("dropped"));
        let verdicts = snapshot("hubble_policy_verdicts_total", &[(&audit, &[30]), (&dropped, &[1])]);
        let answer = |code, name| {
            ends("b/y", "a/x", &[("rcode", code), ("qtypes", "A"), ("ips_returned", "0"), ("query", name)])
        };
        let (gone, good) = (answer("Non-Existent Domain", "x.test"), answer("No Error", "y.test"));
        let answers = snapshot("hubble_dns_responses_total", &[(&gone, &[40]), (&good, &[9])]);
        store.sample(at(10), &[&drops, &verdicts, &answers, &attempts("denied", 5)]);
        assert_eq!(
            said(&store, 10),
            [
                "a/x -> b/y begins to pass, though a policy for egress forbids it, 3",
                "a/x -> b/y begins to be dropped: QUEUE_FULL, 2",
                "a/x -> b/y begins to be denied by a policy, 1.6",
                "a/x -> b/y x.test begins to fail: Non-Existent Domain, 4",
            ]
        );
    }

    /// What a resolver tries in its search path is no name that begins to fail; the name itself is,
    /// if it is nowhere.
    #[test]
    fn tries_are_no_failures() {
        let mut store = SampleStore::default();
        store.sample(at(0), &[&traffic(&[("a/x", "b/y", "egress", 1, 1)])]);
        let answer = |code, name| {
            ends("b/y", "a/x", &[("rcode", code), ("qtypes", "A"), ("ips_returned", "0"), ("query", name)])
        };
        let tried = ["api.test.a.svc.cluster.local", "api.test.svc.cluster.local", "gone.a.svc.cluster.local", "gone"]
            .map(|name| answer("Non-Existent Domain", name));
        let (found, broken) = (answer("No Error", "api.test"), answer("Server Failure", "api.test.svc.cluster.local"));
        let of = |more: &[u64; 6]| -> Snapshot {
            let rows: Vec<_> = tried.iter().chain([&found, &broken]).zip(more).collect();
            let rows: Vec<(&[_], &[u64])> =
                rows.iter().map(|(labels, count)| (&labels[..], std::slice::from_ref(*count))).collect();
            snapshot("hubble_dns_responses_total", &rows)
        };
        store.sample(at(10), &[&of(&[1, 1, 10, 10, 10, 20])]);
        assert_eq!(
            said(&store, 10),
            [
                "a/x -> b/y api.test.svc.cluster.local begins to fail: Server Failure, 2",
                "a/x -> b/y gone begins to fail: Non-Existent Domain, 1",
            ]
        );
        let nameless = ends("b/y", "a/z", &[("rcode", "Non-Existent Domain"), ("qtypes", "A"), ("ips_returned", "0")]);
        store.sample(at(20), &[&snapshot("hubble_dns_responses_total", &[(&nameless, &[10])])]);
        let last =
            "a/z -> b/y names begin to fail: Non-Existent Domain; which are tries in a search path is not known, 1";
        assert!(said(&store, 20).iter().any(|said| said == last), "{:?}", said(&store, 20));
    }

    /// A flood of new pairs leaves room for what else changes.
    #[test]
    fn floods_are_numbers() {
        let mut store = SampleStore::default();
        store.sample(at(0), &[]);
        let names: Vec<String> = (0..500).map(|at| format!("a/{at}")).collect();
        let rows: Vec<_> = names.iter().map(|name| (name.as_str(), "b/y", "egress", 1, 1)).collect();
        store.sample(at(10), &[&traffic(&rows)]);
        let said = said(&store, 10);
        assert_eq!((said.len(), said.last().unwrap().as_str()), (MAX_OF_KIND + 1, "436 more new pairs"));
    }
}
