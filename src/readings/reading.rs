//! A reading: the rows of all views over a window, worked out of two samples.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use webb_flow::hash::RandomState;

use super::measure::Measure;
use super::moment::Moment;
use super::namespaces::{group, namespaces};
use super::one_way::{OneWay, add_times, larger};
use super::rows::{AnswerRow, Connections, Counted, DropRow, HttpRow, Outcome, PairRow, Times};
use super::samples::Sample;
use super::series::{By, Pair, Series};
use super::state::{Attention, State};
use super::store::{SampleStore, increase};
use super::totals::Totals;

/// The share of failures from which on a pair is failing.
const FAILING: f64 = 0.01;

/// Seconds for which something is new.
const NEW: u64 = 3600;

/// Which measures have series, and whether these name both ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watched {
    /// No series: the metric is off, or has counted nothing yet.
    Nothing,
    /// There are series, and an end of them has no name.
    WithoutEnds,
    /// Pairs can be told apart.
    Pairs,
}

/// All rows at one moment.
#[derive(Debug, Default)]
pub struct Reading {
    /// Moment of the newer sample; none before the first.
    pub moment: Option<Moment>,
    /// Time between both samples; zero with one alone: then there are no rates.
    pub span: Duration,
    /// Pairs, the most serious first, then by bytes.
    pub pairs: Vec<PairRow>,
    /// What is dropped, denied, or passes though it is forbidden; the most serious first.
    pub drops: Vec<DropRow>,
    /// DNS, errors first.
    pub answers: Vec<AnswerRow>,
    /// HTTP, the pairs with most errors first.
    pub http: Vec<HttpRow>,
    /// Sums.
    pub totals: Totals<Counted>,
    /// Namespaces of ends, sorted.
    pub namespaces: Vec<Arc<str>>,
    /// Protocols of traffic and of drops, sorted.
    pub protocols: Vec<Arc<str>>,
}

impl Reading {
    /// Growth a second over the window; none without a window.
    #[allow(clippy::cast_precision_loss, reason = "a rate is a float")]
    pub fn rate(&self, counted: Counted) -> Option<f64> {
        (!self.span.is_zero()).then(|| counted.window as f64 / self.span.as_secs_f64())
    }

    /// What needs a look, the most serious first.
    pub fn attention(&self) -> Vec<Attention> {
        let now = self.moment.map_or(0, |moment| moment.unix.as_secs());
        let rate = |counted: Counted| self.rate(counted).unwrap_or(0.0);
        let is_new = |since: u64| since > 0 && now.saturating_sub(since) < NEW;
        let mut found = Vec::new();
        for row in &self.drops {
            let text = match row.state {
                State::Passed if row.direction.is_empty() => "passes, though a policy forbids it".to_owned(),
                State::Passed => {
                    format!("passes, though a policy for {} forbids it: nothing enforces it", row.direction)
                }
                State::Denied => "is denied by a policy".to_owned(),
                _ => continue,
            };
            if row.count.window > 0 {
                let (from, to) = (Arc::clone(&row.from), Arc::clone(&row.to));
                let per_second = rate(row.count);
                let (state, since) = (row.state, row.first);
                found.push(Attention {
                    state,
                    view: "drops",
                    from,
                    to,
                    text,
                    per_second,
                    since,
                    is_new: is_new(since),
                });
            }
        }
        for row in self.pairs.iter().filter(|row| row.state == State::Slow) {
            found.extend(self.slow(row, is_new(row.first)));
        }
        for row in self.pairs.iter().filter(|row| row.state == State::Failing) {
            let (text, view, failures) = failing(row);
            let (from, to) = (Arc::clone(&row.from), Arc::clone(&row.to));
            let per_second = rate(Counted { window: failures, total: failures });
            let since = row.first;
            let state = State::Failing;
            found.push(Attention { state, view, from, to, text, per_second, since, is_new: is_new(since) });
        }
        found.sort_by(|one, other| {
            let by_rate = other.per_second.total_cmp(&one.per_second);
            let names = (&one.from, &one.to).cmp(&(&other.from, &other.to));
            (one.state, !one.is_new).cmp(&(other.state, !other.is_new)).then(by_rate).then(names)
        });
        found.dedup_by(|one, other| (one.state, &one.from, &one.to) == (other.state, &other.from, &other.to));
        found
    }
}

impl Reading {
    fn slow(&self, row: &PairRow, is_new: bool) -> Option<Attention> {
        let connections = row.connections.as_ref()?;
        let p95 = connections.handshake.quantile(0.95)?;
        let than = match (row.usual_p95, row.limit_p95) {
            (Some(usual), _) => format!("usually {:.1} ms", usual * 1000.0),
            (None, Some(limit)) => format!("over the limit of {:.1} ms", limit * 1000.0),
            (None, None) => return None,
        };
        Some(Attention {
            state: State::Slow,
            view: "connections",
            from: Arc::clone(&row.from),
            to: Arc::clone(&row.to),
            text: format!("connects in {:.1} ms (p95), {than}", p95 * 1000.0),
            per_second: self.rate(connections.attempts()).unwrap_or(0.0),
            since: row.first,
            is_new,
        })
    }
}

/// What fails between two ends, the view of it, and how often it did.
fn failing(row: &PairRow) -> (String, &'static str, u64) {
    let (failed, attempts, most) = row.connections.as_ref().map_or((0, 0, Outcome::Refused), |connections| {
        let (failed, most) = connections.failed();
        (failed, connections.attempts().window, most)
    });
    if failed > 0 && is_failing(failed, attempts) {
        let how = match most {
            Outcome::TimedOut => "time out",
            Outcome::Unreachable => "end as unreachable",
            Outcome::Denied => "are denied",
            Outcome::Dropped => "are dropped",
            Outcome::Accepted | Outcome::Refused => "are refused",
        };
        return (format!("{failed} of {attempts} connects fail, most of them {how}"), "connections", failed);
    }
    let (errors, requests) = (row.request_errors.window, row.requests.window);
    (format!("{errors} of {requests} responses are 5xx"), "http", errors)
}

#[allow(clippy::cast_precision_loss, reason = "a share is a float")]
fn is_failing(failed: u64, all: u64) -> bool {
    failed > 0 && failed as f64 >= FAILING * all as f64
}

impl SampleStore {
    /// True if the series of a measure tell pairs apart.
    pub fn watched(&self, measure: Measure) -> Watched {
        if !self.known.has(measure) {
            Watched::Nothing
        } else if self.form(measure).is_none() {
            Watched::WithoutEnds
        } else {
            Watched::Pairs
        }
    }

    /// Works out all rows over a window of about this length; the pairs are those `by` names.
    pub fn reading(&self, window: Duration, by: By) -> Reading {
        let Some(latest) = self.samples.latest() else { return Reading::default() };
        let base = self.samples.base(window);
        let mut work = Work { store: self, latest, base, pairs: HashMap::default(), reading: Reading::default() };
        for series in self.known.iter().filter(|series| series.seen == latest.number) {
            work.add(series);
        }
        work.finish(by)
    }
}

struct Work<'a> {
    store: &'a SampleStore,
    latest: &'a Sample,
    base: Option<&'a Sample>,
    pairs: HashMap<&'a Pair, OneWay, RandomState>,
    reading: Reading,
}

impl<'a> Work<'a> {
    /// A value of a series.
    fn counted(&self, series: &Series, at: usize) -> Counted {
        let total = self.latest.at(series.offset, series.width).get(at).copied().unwrap_or(0);
        let then = |base: &Sample| base.at(series.offset, series.width).get(at).copied().unwrap_or(0);
        Counted { window: self.base.map_or(0, |base| increase(then(base), total)), total }
    }

    fn times(&self, series: &Series) -> Times {
        let bounds = self.store.bounds.get(&series.measure).cloned().unwrap_or_default();
        Times { bounds, counts: (0..series.width).map(|at| self.counted(series, at).window).collect() }
    }

    fn add(&mut self, series: &'a Series) {
        let count = self.counted(series, 0);
        self.reading.totals.of(series).for_each(|sum| sum.add(count));
        let Some(pair) = &series.pair else { return };
        let second = if series.measure == Measure::Traffic { self.counted(series, 1) } else { Counted::default() };
        let times = if series.is_histogram() { self.times(series) } else { Times::default() };
        let one_way = self.pairs.entry(&**pair).or_default();
        one_way.first = Some(one_way.first.map_or(series.first, |first| first.min(series.first)));
        one_way.last = one_way.last.max(series.last);
        // An open connection may be idle.
        let is_forwarded = match series.measure {
            Measure::Drop | Measure::Open => false,
            Measure::Verdict => !matches!(series.labels.get("action"), "dropped" | "audit"),
            _ => true,
        };
        if is_forwarded {
            one_way.is_seen |= if self.base.is_some() { count.window > 0 } else { count.total > 0 };
        }
        let label = |name: &str| series.labels.get(name);
        let text = |name: &str| -> Arc<str> { label(name).into() };
        let ends = || (Arc::clone(&pair.from), Arc::clone(&pair.to));
        match series.measure {
            Measure::Traffic => {
                let side =
                    ["egress", "ingress"].iter().position(|side| *side == label("traffic_direction")).unwrap_or(2);
                if let Some([bytes, packets]) = one_way.traffic.get_mut(side) {
                    bytes.add(count);
                    packets.add(second);
                }
                one_way.protocols.insert(text("protocol"));
            }
            Measure::Drop => {
                one_way.drops.add(count);
                let state = if label("reason").starts_with("POLICY_DEN") {
                    one_way.denied_drops.add(count);
                    State::Denied
                } else {
                    State::Dropped
                };
                let ((from, to), first) = (ends(), series.first);
                let protocol = Some(text("protocol"));
                let (reason, direction) = (text("reason"), "".into());
                self.reading.drops.push(DropRow { from, to, protocol, state, reason, direction, count, first });
            }
            Measure::Verdict => {
                one_way.calls = one_way.calls.saturating_add(count.total);
                let state = match label("action") {
                    "audit" => {
                        one_way.passed.add(count);
                        State::Passed
                    }
                    "dropped" => return one_way.denied.add(count),
                    _ => return,
                };
                let ((from, to), first) = (ends(), series.first);
                let (reason, direction) = (text("match"), text("direction"));
                self.reading.drops.push(DropRow { from, to, protocol: None, state, reason, direction, count, first });
            }
            Measure::Attempt | Measure::Handshake | Measure::RoundTrip | Measure::SentAgain | Measure::Open => {
                let calls = if series.measure == Measure::Attempt { count.total } else { 1 };
                one_way.calls = one_way.calls.saturating_add(calls);
                let by_client = label("reporter") == "client";
                let [of_server, of_client] = &mut one_way.connections;
                let place = if by_client { of_client } else { of_server };
                let connections = place.get_or_insert_with(|| Connections { by_client, ..Connections::default() });
                add_connections(connections, series, count, times);
            }
            Measure::DnsAnswer | Measure::DnsUnanswered => {
                one_way.calls = one_way.calls.saturating_add(count.total);
                let is_error = series.measure == Measure::DnsUnanswered || series.is_answer_error();
                let code = if series.measure == Measure::DnsUnanswered { "unanswered".into() } else { text("rcode") };
                let name = Some(text("query")).filter(|name| !name.is_empty());
                let ((from, to), first) = (ends(), series.first);
                let is_try = series.is_try;
                self.reading.answers.push(AnswerRow { from, to, name, code, is_error, is_try, count, first });
            }
            Measure::HttpRequest | Measure::HttpAnswer | Measure::HttpTime => {
                one_way.calls = one_way.calls.saturating_add(count.total);
                let reporter = label("reporter");
                let at = one_way.http.iter().position(|row| &*row.reporter == reporter).unwrap_or_else(|| {
                    let (from, to) = ends();
                    let (reporter, status) = (reporter.into(), [Counted::default(); 6]);
                    one_way.http.push(HttpRow { from, to, reporter, status, times: Times::default() });
                    one_way.http.len() - 1
                });
                let Some(row) = one_way.http.get_mut(at) else { return };
                if series.is_histogram() {
                    add_times(&mut row.times, times);
                } else if series.has_status() {
                    let class = label("status").chars().next().and_then(|digit| digit.to_digit(10)).unwrap_or(0);
                    let class = if class > 5 { 0 } else { class as usize };
                    row.status.get_mut(class).into_iter().for_each(|status| status.add(count));
                }
            }
        }
    }

    /// Joins both ways of each pair, and sorts.
    fn finish(self, by: By) -> Reading {
        let Self { latest, base, pairs, mut reading, .. } = self;
        reading.moment = Some(latest.moment);
        reading.span = base.map_or(Duration::ZERO, |base| latest.moment.steady.saturating_sub(base.moment.steady));
        reading.namespaces = namespaces(pairs.keys());
        let dropped = reading.drops.iter().filter_map(|row| row.protocol.as_ref());
        let protocols: BTreeSet<_> = pairs.values().flat_map(|way| &way.protocols).chain(dropped).collect();
        reading.protocols = protocols.into_iter().filter(|protocol| !protocol.is_empty()).cloned().collect();
        if by == By::Namespace {
            let groups = group(&pairs);
            reading.join(groups.iter(), |pair| groups.get(pair));
        } else {
            reading.join(pairs.iter().map(|(pair, way)| (*pair, way)), |pair| pairs.get(pair));
        }
        reading.sort();
        reading
    }
}

impl Reading {
    /// Adds a row for each pair of both ways.
    fn join<'p>(
        &mut self,
        pairs: impl Iterator<Item = (&'p Pair, &'p OneWay)>,
        find: impl Fn(&Pair) -> Option<&'p OneWay>,
    ) {
        let nothing = OneWay::default();
        for (pair, there) in pairs {
            let back = pair.reversed();
            let back = (pair.from != pair.to).then(|| find(&back)).flatten();
            // The end that calls is `from`; each pair is made once, from its side.
            let (calls, calls_back) = (there.calls, back.map_or(0, |back| back.calls));
            if back.is_some() && (calls < calls_back || calls == calls_back && pair.from > pair.to) {
                continue;
            }
            self.http.extend(there.http_row().cloned());
            let mut row = pair_row(pair, there, back.unwrap_or(&nothing));
            row.is_directed = calls != calls_back;
            self.pairs.push(row);
            // Calls of the other end are few, and have rows of their own in the views that count
            // them.
            if let Some(back) = back {
                self.http.extend(back.http_row().cloned());
            }
        }
    }

    /// Sorts pairs, the most serious first, then by bytes.
    pub(super) fn sort_pairs(&mut self) {
        self.pairs.sort_by(|one, other| {
            let rank = |row: &PairRow| if row.state.is_problem() { row.state } else { State::Forwarded };
            let bytes = |row: &PairRow| row.out_bytes.window.saturating_add(row.back_bytes.window);
            let total = |row: &PairRow| row.out_bytes.total.saturating_add(row.back_bytes.total);
            let sizes = (bytes(other), total(other)).cmp(&(bytes(one), total(one)));
            rank(one).cmp(&rank(other)).then(sizes).then_with(|| (&one.from, &one.to).cmp(&(&other.from, &other.to)))
        });
    }

    fn sort(&mut self) {
        self.sort_pairs();
        self.drops.sort_by(|one, other| {
            let counts = (other.count.window, other.count.total).cmp(&(one.count.window, one.count.total));
            let names = || (&one.from, &one.to, &one.reason).cmp(&(&other.from, &other.to, &other.reason));
            one.state.cmp(&other.state).then(counts).then_with(names)
        });
        self.answers.sort_by(|one, other| {
            let counts = (other.count.window, other.count.total).cmp(&(one.count.window, one.count.total));
            let names =
                || (&one.name, &one.from, &one.to, &one.code).cmp(&(&other.name, &other.from, &other.to, &other.code));
            other.is_error.cmp(&one.is_error).then(counts).then_with(names)
        });
        self.http.sort_by(|one, other| {
            let errors = |row: &HttpRow| row.status.get(5).map_or(0, |errors| errors.window);
            let counts = (errors(other), other.requests().window, other.requests().total).cmp(&(
                errors(one),
                one.requests().window,
                one.requests().total,
            ));
            counts.then_with(|| (&one.from, &one.to).cmp(&(&other.from, &other.to)))
        });
    }
}

fn pair_row(pair: &Pair, there: &OneWay, back: &OneWay) -> PairRow {
    let both = |of: fn(&OneWay) -> Counted| {
        let mut sum = of(there);
        sum.add(of(back));
        sum
    };
    let http = there.http_row();
    let requests = http.map_or_else(Counted::default, HttpRow::requests);
    let request_errors = http.and_then(|row| row.status.get(5)).copied().unwrap_or_default();
    let mut packets = larger(&there.traffic, 1);
    packets.add(larger(&back.traffic, 1));
    let mut row = PairRow {
        from: Arc::clone(&pair.from),
        to: Arc::clone(&pair.to),
        is_directed: false,
        protocols: there.protocols.union(&back.protocols).cloned().collect(),
        state: State::Forwarded,
        out_bytes: larger(&there.traffic, 0),
        back_bytes: larger(&back.traffic, 0),
        packets,
        drops: both(|way| way.drops),
        denied: both(|way| way.denied),
        passed: both(|way| way.passed),
        connections: there.side().cloned(),
        usual_p95: None,
        limit_p95: None,
        requests,
        request_errors,
        first: there.first.into_iter().chain(back.first).min().unwrap_or(0),
        last: there.last.max(back.last),
    };
    let failed = row.connections.as_ref().map_or((0, 0), |of| (of.failed().0, of.attempts().window));
    row.state = if row.passed.window > 0 {
        State::Passed
    } else if row.denied.window > 0 || both(|way| way.denied_drops).window > 0 {
        State::Denied
    } else if is_failing(failed.0, failed.1) || is_failing(row.request_errors.window, row.requests.window) {
        State::Failing
    } else if row.drops.window > 0 {
        State::Dropped
    } else if there.is_seen || back.is_seen {
        State::Forwarded
    } else {
        State::Idle
    };
    row
}

fn add_connections(connections: &mut Connections, series: &Series, count: Counted, times: Times) {
    match series.measure {
        Measure::Attempt => {
            let at = Outcome::ALL.iter().position(|outcome| outcome.label() == series.labels.get("outcome"));
            at.and_then(|at| connections.outcomes.get_mut(at)).into_iter().for_each(|outcome| outcome.add(count));
        }
        Measure::Handshake => add_times(&mut connections.handshake, times),
        Measure::RoundTrip => add_times(&mut connections.round_trip, times),
        Measure::SentAgain => connections.sent_again.add(count),
        Measure::Open => connections.open = connections.open.saturating_add(count.total),
        _ => {}
    }
}
