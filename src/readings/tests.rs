//! Readings of snapshots that are written by hand.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use webb_metrics::expose::{Labels, Snapshot, write_pair};
use webb_metrics::plugins;

use super::*;

/// A moment so many seconds after the start.
pub(crate) fn at(seconds: u64) -> Moment {
    Moment { steady: Duration::from_secs(seconds), unix: Duration::from_secs(1_000_000 + seconds) }
}

/// A pair with these bytes.
pub(crate) fn pair_row(from: &str, to: &str, state: State, bytes: u64) -> PairRow {
    PairRow {
        from: from.into(),
        to: to.into(),
        is_directed: true,
        protocols: std::collections::BTreeSet::new(),
        state,
        out_bytes: Counted { window: bytes, total: bytes },
        back_bytes: Counted::default(),
        packets: Counted::default(),
        drops: Counted::default(),
        denied: Counted::default(),
        passed: Counted::default(),
        connections: None,
        usual_p95: None,
        limit_p95: None,
        requests: Counted::default(),
        request_errors: Counted::default(),
        first: 0,
        last: 0,
    }
}

/// Labels of a series, and its values.
pub(crate) type Row<'a> = (&'a [(&'a str, &'a str)], &'a [u64]);

/// A snapshot of the table that begins with `family`: each series by its labels, with its values.
pub(crate) fn snapshot(family: &str, rows: &[Row<'_>]) -> Snapshot {
    let table = plugins::all()
        .iter()
        .flat_map(|plugin| plugin.tables)
        .find(|table| table.families.first().is_some_and(|spec| spec.name == family))
        .unwrap();
    let (mut labels, mut values) = (Labels::default(), Vec::new());
    for (pairs, row) in rows {
        let (mut text, sorted) = (String::new(), pairs.iter().copied().collect::<BTreeMap<_, _>>());
        for (name, value) in sorted {
            write_pair(&mut text, name, value);
        }
        labels.push(&text);
        values.extend_from_slice(row);
    }
    let bounds = std::borrow::Cow::Borrowed(table.bounds);
    Snapshot {
        families: table.families,
        bounds,
        values,
        gauge: table.gauge,
        labels: labels.sheet(),
        ..Snapshot::default()
    }
}

pub(crate) fn traffic(rows: &[(&str, &str, &str, u64, u64)]) -> Snapshot {
    let labels: Vec<_> = rows
        .iter()
        .map(|(from, to, direction, ..)| {
            [("source", *from), ("destination", *to), ("protocol", "TCP"), ("traffic_direction", *direction)]
        })
        .collect();
    let values: Vec<_> = rows.iter().map(|(.., bytes, packets)| [*bytes, *packets]).collect();
    let rows: Vec<(&[_], &[u64])> = labels.iter().map(|row| &row[..]).zip(values.iter().map(|row| &row[..])).collect();
    snapshot("webb_traffic_bytes_total", &rows)
}

pub(crate) fn ends<'a>(from: &'a str, to: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut labels = vec![("source", from), ("destination", to)];
    labels.extend(more);
    labels
}

/// A small node: a bit of everything, with rates over ten seconds.
pub(crate) fn example() -> SampleStore {
    let mut store = SampleStore::default();
    sample_example(&mut store, 0, 0);
    sample_example(&mut store, 10, 10);
    store
}

/// A sample with these names as callers.
pub(crate) fn named(store: &mut SampleStore, moment: Moment, names: &[&str], more: u64) {
    let rows: Vec<_> = names.iter().map(|name| (*name, "shop/cart", "egress", 100 * more, more)).collect();
    let denied: Vec<_> =
        names.iter().map(|name| ends(name, name, &[("reason", "POLICY_DENIED"), ("protocol", name)])).collect();
    let drops: Vec<(&[_], &[u64])> = denied.iter().map(|labels| (&labels[..], std::slice::from_ref(&more))).collect();
    let answered: Vec<_> = names.iter().map(|name| ends(name, name, &[("rcode", name), ("query", name)])).collect();
    let answers: Vec<(&[_], &[u64])> =
        answered.iter().map(|labels| (&labels[..], std::slice::from_ref(&more))).collect();
    let (drops, answers) = (snapshot("hubble_drop_total", &drops), snapshot("hubble_dns_responses_total", &answers));
    store.sample(moment, &[&traffic(&rows), &drops, &answers]);
}

/// A sample of so many pairs, both ways.
pub(crate) fn of_pairs(store: &mut SampleStore, moment: Moment, pairs: u64, more: u64) {
    let names: Vec<_> = (0..pairs).map(|at| (format!("from/pod-{at}"), format!("to/pod-{}", at % 700))).collect();
    let there = names.iter().map(|(from, to)| (from.as_str(), to.as_str(), "egress", 1000 + more, 1));
    let back = names.iter().map(|(from, to)| (to.as_str(), from.as_str(), "ingress", 500 + more, 1));
    store.sample(moment, &[&traffic(&there.chain(back).collect::<Vec<_>>())]);
}

/// A large node keeps nothing while nothing is read, and gives all back a quarter of an hour after
/// the last reading; a small one is sampled all the while.
#[test]
fn what_is_not_read_is_freed() {
    let (mut large, mut small) = (SampleStore::default(), SampleStore::default());
    let sample = |store: &mut SampleStore, pairs, seconds| of_pairs(store, at(seconds), pairs, seconds);
    sample(&mut large, 5000, 0);
    sample(&mut small, 1000, 0);
    assert_eq!((large.is_empty(), small.is_empty()), (true, false));
    large.mark_read(at(5));
    sample(&mut large, 5000, 5);
    sample(&mut large, 5000, 10);
    let reading = large.reading(Duration::from_mins(1), By::Label);
    assert_eq!((reading.pairs.len(), reading.pairs[0].first), (5000, 0), "they were there at the start");
    large.release(at(5 + 899));
    assert!(!large.is_empty());
    large.release(at(5 + 900));
    small.release(at(2000));
    assert_eq!((large.is_empty(), large.known.len(), small.is_empty()), (true, 0, false));
    large.mark_read(at(1000));
    sample(&mut large, 5000, 1005);
    sample(&mut large, 5000, 1005 + 900);
    assert!(large.is_empty(), "a scrape frees it too");
}

fn sample_example(store: &mut SampleStore, seconds: u64, more: u64) {
    let flows = traffic(&[
        ("shop/storefront", "shop/cart", "egress", 1_000 + 100_000 * more, 10 + 50 * more),
        ("shop/cart", "shop/storefront", "ingress", 2_000 + 400_000 * more, 12 + 60 * more),
        ("shop/storefront", "payments/psp", "egress", 60, 1),
        ("reserved:world", "shop/storefront", "ingress", 9_000, 9),
    ]);
    let denied = ends("shop/storefront", "payments/psp", &[("reason", "POLICY_DENIED"), ("protocol", "TCP")]);
    let full = ends("shop/cart", "data/db", &[("reason", "QUEUE_FULL"), ("protocol", "UDP")]);
    let drops = snapshot("hubble_drop_total", &[(&denied, &[5 + 4 * more]), (&full, &[3])]);
    let audit = ends("shop/cart", "reserved:world", &[("direction", "egress"), ("match", "none"), ("action", "audit")]);
    let verdicts = snapshot("hubble_policy_verdicts_total", &[(&audit, &[more])]);
    let to_cart = |outcome| ends("shop/storefront", "shop/cart", &[("outcome", outcome), ("reporter", "client")]);
    let (accepted, refused) = (to_cart("accepted"), to_cart("refused"));
    let attempts = snapshot("webb_tcp_connections_total", &[(&accepted, &[9 * more]), (&refused, &[more])]);
    let client = ends("shop/storefront", "shop/cart", &[("reporter", "client")]);
    let mut buckets = [0; 16];
    (buckets[4], buckets[7]) = (8 * more, more);
    let handshakes = snapshot("webb_tcp_handshake_seconds", &[(&client, &buckets)]);
    let open = snapshot("webb_tcp_open_connections", &[(&client, &[3])]);
    let answer = |code| {
        let labels = [("rcode", code), ("qtypes", "A"), ("ips_returned", "0"), ("query", "psp.example")];
        ends("kube-system/coredns", "shop/cart", &labels)
    };
    let (good, bad) = (answer("No Error"), answer("Non-Existent Domain"));
    let answers = snapshot("hubble_dns_responses_total", &[(&good, &[30 * more]), (&bad, &[10 * more])]);
    let request = |status| {
        let labels = [("method", "GET"), ("protocol", "HTTP/1.1"), ("reporter", "client"), ("status", status)];
        ends("shop/storefront", "shop/cart", &labels)
    };
    let (well, failed) = (request("200"), request("503"));
    let requests = snapshot("hubble_http_requests_total", &[(&well, &[99 * more]), (&failed, &[more])]);
    let all = [&flows, &drops, &verdicts, &attempts, &handshakes, &open, &answers, &requests];
    store.sample(at(seconds), &all);
}

/// Of many pairs that become slow at once the slowest are listed, and the number of the rest.
#[test]
fn many_slow_pairs_are_a_number() {
    let mut store = SampleStore::default();
    let slow = |at: u32| Slowed { from: format!("a/{at}").into(), to: "b/y".into(), usual: None, p95: f64::from(at) };
    store.note_slow(at(10), (0..100).map(slow).collect());
    let changes: Vec<_> = store.changes(at(10)).collect();
    assert_eq!((changes.len(), changes[64].text.as_str()), (65, "36 more pairs become slow to connect"));
    assert_eq!(changes[0].ends.as_ref().map(|(from, _)| &**from), Some("a/99"));
}

/// Both ways of a pair are one row, from the end that calls; rates are over both samples.
#[test]
fn a_pair_is_one_row() {
    let mut store = SampleStore::default();
    let attempts = |count| {
        let labels = ends("a/z", "a/b", &[("outcome", "accepted"), ("reporter", "client")]);
        snapshot("webb_tcp_connections_total", &[(&labels, &[count])])
    };
    let flows =
        |more: u64| traffic(&[("a/z", "a/b", "egress", 100 + more, 1), ("a/b", "a/z", "ingress", 700 + 4 * more, 7)]);
    store.sample(at(0), &[&flows(0), &attempts(1)]);
    let first = store.reading(Duration::from_mins(1), By::Label);
    assert_eq!((first.span, first.rate(first.totals.bytes)), (Duration::ZERO, None), "one sample gives no rate");
    store.sample(at(10), &[&flows(500), &attempts(3)]);
    let reading = store.reading(Duration::from_mins(1), By::Label);
    let [row] = &reading.pairs[..] else { panic!("{:?}", reading.pairs) };
    assert_eq!((&*row.from, &*row.to, row.is_directed), ("a/z", "a/b", true));
    assert_eq!(reading.rate(row.out_bytes), Some(50.0));
    assert_eq!(row.back_bytes, Counted { window: 2000, total: 2700 });
    assert_eq!(row.connections.as_ref().unwrap().attempts(), Counted { window: 2, total: 3 });
    assert_eq!(row.state, State::Forwarded);
    assert_eq!(reading.attention(), []);
}

/// What one pair's egress and another's ingress saw are both counted: each is the larger of its own
/// pair. Requests of two workloads are one row of their namespace.
#[test]
fn namespaces_add_what_each_pair_counts() {
    let mut store = SampleStore::default();
    let flows = traffic(&[("a/x", "b/y", "egress", 100, 1), ("a/z", "b/y", "ingress", 100, 1)]);
    let requests = |from: &'static str| ends(from, "b/y", &[("reporter", "client"), ("status", "200")]);
    let (one, other) = (requests("a/x"), requests("a/z"));
    store.sample(at(0), &[&flows, &snapshot("hubble_http_requests_total", &[(&one, &[3]), (&other, &[4])])]);
    let reading = store.reading(Duration::from_mins(1), By::Namespace);
    assert_eq!(reading.pairs[0].out_bytes.total, 200);
    let rows: Vec<_> = reading.http.iter().map(|row| (&*row.from, &*row.to, row.requests().total)).collect();
    assert_eq!(rows, [("a", "b", 7)]);
    assert!(reading.pairs[0].has_part("b/y", "a/z", By::Namespace));
    assert!(!reading.pairs[0].has_part("b/y", "a/z", By::Label));
}

/// Verdicts alone show that a pair is forwarded, where no other metric is on.
#[test]
fn verdicts_are_seen() {
    let mut store = SampleStore::default();
    let state = |store: &SampleStore| store.reading(Duration::from_secs(10), By::Label).pairs[0].state;
    let labels = ends("a/x", "b/y", &[("action", "forwarded"), ("direction", "egress"), ("match", "all")]);
    let verdicts = |count| snapshot("hubble_policy_verdicts_total", &[(&labels, &[count])]);
    for (second, count, expected) in [(0, 1, State::Forwarded), (10, 2, State::Forwarded), (30, 2, State::Idle)] {
        store.sample(at(second), &[&verdicts(count)]);
        assert_eq!(state(&store), expected, "after {second} s");
    }
}

/// A pair that was only ever denied is never forwarded: it is idle once no more is denied, as is
/// one whose traffic ended.
#[test]
fn what_ended_is_idle() {
    let mut store = SampleStore::default();
    let denied = ends("a/x", "b/y", &[("reason", "POLICY_DENIED"), ("protocol", "TCP")]);
    let drops = |count| snapshot("hubble_drop_total", &[(&denied, &[count])]);
    let flows = |bytes| traffic(&[("a/z", "b/y", "egress", bytes, 1)]);
    let states = |store: &SampleStore| {
        let reading = store.reading(Duration::from_secs(10), By::Label);
        let mut states: Vec<_> = reading.pairs.iter().map(|row| (row.from.to_string(), row.state)).collect();
        states.sort();
        states.into_iter().map(|(_, state)| state).collect::<Vec<_>>()
    };
    store.sample(at(0), &[&flows(1), &drops(1)]);
    assert_eq!(states(&store), [State::Idle, State::Forwarded], "no window yet: what was ever seen");
    store.sample(at(10), &[&flows(2), &drops(2)]);
    assert_eq!(states(&store), [State::Denied, State::Forwarded]);
    store.sample(at(20), &[&flows(2), &drops(2)]);
    store.sample(at(30), &[&flows(2), &drops(2)]);
    assert_eq!(states(&store), [State::Idle, State::Idle]);
}

/// By namespace the rows of all pairs of two namespaces are one, with their sums; drops keep their
/// ends.
#[test]
fn namespaces_are_sums() {
    let mut store = SampleStore::default();
    let flows = |more: u64| {
        traffic(&[
            ("a/x", "b/y", "egress", 100 + more, 1),
            ("a/z", "b/y", "egress", 200 + more, 1),
            ("b/y", "a/z", "ingress", 7 + more, 1),
            ("a/x", "reserved:world", "egress", 1, 1),
        ])
    };
    let denied = ends("a/x", "b/y", &[("reason", "POLICY_DENIED"), ("protocol", "TCP")]);
    let drops = |count| snapshot("hubble_drop_total", &[(&denied, &[count])]);
    let request = [("reporter", "client"), ("status", "200"), ("method", "GET"), ("protocol", "HTTP/1.1")];
    let [x, z] = ["a/x", "a/z"].map(|from| ends(from, "b/y", &request));
    let requests = |count| snapshot("hubble_http_requests_total", &[(&x, &[count]), (&z, &[2 * count])]);
    store.sample(at(0), &[&flows(0), &drops(1), &requests(1)]);
    store.sample(at(10), &[&flows(50), &drops(3), &requests(2)]);
    let reading = store.reading(Duration::from_mins(1), By::Namespace);
    let rows: Vec<_> =
        reading.pairs.iter().map(|row| (&*row.from, &*row.to, row.state, row.out_bytes.window)).collect();
    assert_eq!(rows, [("a", "b", State::Denied, 100), ("a", "reserved:world", State::Idle, 0)]);
    assert_eq!(reading.pairs[0].back_bytes, Counted { window: 50, total: 57 });
    assert_eq!(&*reading.drops[0].from, "a/x");
    let [http] = &reading.http[..] else { panic!("{:?}", reading.http) };
    assert_eq!((&*http.from, &*http.to, http.requests().total), ("a", "b", 6));
    let by_label = store.reading(Duration::from_mins(1), By::Label);
    assert_eq!((by_label.pairs.len(), by_label.totals), (3, reading.totals));
}

/// A packet between two pods of the node passes two interfaces, and is counted once in its pair.
#[test]
fn two_interfaces_are_not_added() {
    let mut store = SampleStore::default();
    store.sample(at(0), &[&traffic(&[("a", "b", "egress", 100, 1), ("a", "b", "ingress", 90, 1)])]);
    let reading = store.reading(Duration::from_mins(1), By::Label);
    assert_eq!(reading.pairs[0].out_bytes.total, 100);
    assert_eq!(reading.totals.bytes.total, 190, "the total is that of the interfaces");
    assert!(!reading.pairs[0].is_directed, "which end calls is not known");
}

/// The states, in the order in which they are shown, and what is said of each.
#[test]
fn states_rank() {
    let mut store = SampleStore::default();
    let verdict = |to, action, count| {
        let labels = ends("a", to, &[("direction", "egress"), ("match", "none"), ("action", action)]);
        snapshot("hubble_policy_verdicts_total", &[(&labels, &[count])])
    };
    let failed = |count| {
        let accepted = ends("a", "failing", &[("outcome", "accepted"), ("reporter", "client")]);
        let refused = ends("a", "failing", &[("outcome", "refused"), ("reporter", "client")]);
        snapshot("webb_tcp_connections_total", &[(&accepted, &[10 * count]), (&refused, &[count])])
    };
    let drops = |count| {
        let denied = ends("a", "denied", &[("reason", "POLICY_DENIED"), ("protocol", "TCP")]);
        let full = ends("a", "full", &[("reason", "QUEUE_FULL"), ("protocol", "UDP")]);
        snapshot("hubble_drop_total", &[(&denied, &[count]), (&full, &[count])])
    };
    store.sample(at(0), &[&verdict("passed", "audit", 1), &failed(1), &drops(1)]);
    store.sample(at(60), &[&verdict("passed", "audit", 7), &failed(2), &drops(61)]);
    let reading = store.reading(Duration::from_mins(1), By::Label);
    let states: Vec<_> = reading.pairs.iter().map(|row| (&*row.to, row.state.label())).collect();
    let expected = [("passed", "passed"), ("denied", "denied"), ("failing", "failing"), ("full", "dropped")];
    assert_eq!(states, expected);
    let attention = reading.attention();
    let said: Vec<_> = attention.iter().map(|found| (&*found.to, &*found.text, found.per_second)).collect();
    insta::assert_debug_snapshot!(said);
    assert!(attention.iter().all(|found| !found.is_new), "all of it was there at the start");
}

/// What comes after the start is new for an hour.
#[test]
fn first_denials_are_new() {
    let mut store = SampleStore::default();
    let denied = ends("a", "b", &[("reason", "POLICY_DENIED"), ("protocol", "TCP")]);
    let drops = |count| snapshot("hubble_drop_total", &[(&denied, &[count])]);
    store.sample(at(0), &[]);
    store.sample(at(5), &[&drops(3)]);
    let attention = store.reading(Duration::from_mins(1), By::Label).attention();
    assert_eq!((attention[0].is_new, attention[0].since), (true, 1_000_005));
    assert!((attention[0].per_second - 0.6).abs() < 1e-9, "a series that is new began at 0");
    store.sample(at(4000), &[&drops(4)]);
    assert!(!store.reading(Duration::from_mins(1), By::Label).attention()[0].is_new);
}

/// A series that was removed and counts anew gives no negative rate, and its place goes to others
/// only when no sample has its values.
#[test]
fn series_come_and_go() {
    let mut store = SampleStore::default();
    store.sample(at(0), &[&traffic(&[("a", "b", "egress", 1000, 1)])]);
    store.sample(at(10), &[&traffic(&[("a", "b", "egress", 50, 1)])]);
    assert_eq!(store.reading(Duration::from_secs(10), By::Label).pairs[0].out_bytes.window, 50);
    store.sample(at(20), &[&traffic(&[("c", "d", "egress", 5, 1)])]);
    let reading = store.reading(Duration::from_secs(10), By::Label);
    assert_eq!(reading.pairs.len(), 1, "what is gone is not shown");
    assert_eq!(reading.pairs[0].out_bytes, Counted { window: 5, total: 5 });
    for step in 0..200 {
        let name = format!("pod-{step}");
        store.sample(at(30 + step * 5), &[&traffic(&[(&name, "d", "egress", 7, 1)])]);
        let reading = store.reading(Duration::from_mins(1), By::Label);
        assert_eq!(reading.pairs[0].out_bytes, Counted { window: 7, total: 7 }, "{name}");
    }
    assert!(store.known.words() < 2 * 100, "{} values for one series at a time", store.known.words());
}

/// The caller is `from`, although Hubble's families have the server as the source of a response.
#[test]
fn callers_are_from() {
    let mut store = SampleStore::default();
    let answer = ends(
        "dns",
        "pod",
        &[("rcode", "Non-Existent Domain"), ("qtypes", "A"), ("ips_returned", "0"), ("query", "x.test")],
    );
    let request = ends("pod", "web", &[("method", "GET"), ("protocol", "HTTP/1.1"), ("reporter", "client")]);
    let response =
        ends("web", "pod", &[("method", "GET"), ("protocol", "HTTP/1.1"), ("reporter", "client"), ("status", "503")]);
    let of_http = |count| {
        [
            snapshot("hubble_dns_responses_total", &[(&answer, &[count])]),
            snapshot("hubble_http_requests_total", &[(&request, &[count])]),
            snapshot("hubble_http_responses_total", &[(&response, &[count])]),
        ]
    };
    let sample = |store: &mut SampleStore, seconds, count| {
        let all = of_http(count);
        store.sample(at(seconds), &all.iter().collect::<Vec<_>>());
    };
    sample(&mut store, 0, 1);
    sample(&mut store, 5, 6);
    let reading = store.reading(Duration::from_mins(1), By::Label);
    let [answer] = &reading.answers[..] else { panic!("{:?}", reading.answers) };
    assert_eq!(
        (&*answer.from, &*answer.to, answer.name.as_deref(), answer.is_error),
        ("pod", "dns", Some("x.test"), true)
    );
    let [http] = &reading.http[..] else { panic!("{:?}", reading.http) };
    assert_eq!((&*http.from, &*http.to, http.status[5].window), ("pod", "web", 5));
    assert_eq!(reading.totals.requests, Counted { window: 5, total: 6 });
    assert_eq!(reading.attention()[0].text, "5 of 5 responses are 5xx");
}

/// Without names of both ends there are sums, and no pairs.
#[test]
fn metrics_without_ends_say_so() {
    let mut store = SampleStore::default();
    assert_eq!(store.watched(Measure::Drop), Watched::Nothing);
    store.sample(at(0), &[&snapshot("hubble_drop_total", &[(&[("reason", "X"), ("protocol", "TCP")], &[3])])]);
    assert_eq!(store.watched(Measure::Drop), Watched::WithoutEnds);
    let reading = store.reading(Duration::from_mins(1), By::Label);
    assert_eq!((reading.totals.drops.total, reading.drops.len()), (3, 0));
}

proptest! {
    /// Each counter of the exposition is in the reading once, in its total and in its rows.
    #[test]
    fn sums_are_the_expositions(
        rows in prop::collection::btree_map(("[a-c]", "[d-f]", any::<bool>()), (0_u64..1_000_000, 0_u64..1000), 1..20)
    ) {
        let rows: Vec<_> = rows
            .iter()
            .map(|((from, to, out), (bytes, packets))| {
                (from.as_str(), to.as_str(), if *out { "egress" } else { "ingress" }, *bytes, *packets)
            })
            .collect();
        let exposed = traffic(&rows);
        let sum: u64 = exposed.rows(0).map(|(_, value)| value).sum();
        let mut store = SampleStore::default();
        store.sample(at(0), &[&Snapshot { values: vec![0; exposed.values.len()], ..exposed.clone() }]);
        store.sample(at(7), &[&exposed]);
        let reading = store.reading(Duration::from_mins(1), By::Label);
        prop_assert_eq!(reading.totals.bytes, Counted { window: sum, total: sum });
        let side = |from: &str, to: &str, side: &str| -> u64 {
            rows.iter().filter(|row| (row.0, row.1, row.2) == (from, to, side)).map(|row| row.3).sum()
        };
        for row in &reading.pairs {
            let most = side(&row.from, &row.to, "egress").max(side(&row.from, &row.to, "ingress"));
            prop_assert_eq!(row.out_bytes.total, most);
        }
    }
}
