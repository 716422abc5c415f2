//! Rows of flows between a few pods, and their sums against those of the flows.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use webb_flow::extra::{Dns, Http, L7, L7Kind, L7Record, Unanswered};
use webb_flow::{Address, ConnectionEvent, Direction, EndpointId, Event, ExtraId, L4, Reply, Sort};
use webb_index::{Endpoint, EndpointKind, EndpointSpec, Policies, Workload};

use super::*;

#[path = "open_tests.rs"]
mod open_tests;
#[path = "primary_tests.rs"]
mod primary_tests;

fn address(last: u8) -> Address {
    Address::from(std::net::IpAddr::from([10, 0, 0, last]))
}

fn pod(namespace: &str, workload: &str, local: bool) -> Endpoint {
    let workloads = vec![Workload { name: workload.into(), kind: "Deployment".into() }];
    let spec = EndpointSpec {
        namespace: namespace.into(),
        pod_name: format!("{workload}-1"),
        workloads,
        ..EndpointSpec::default()
    };
    Endpoint::new(EndpointKind::Pod, local, &spec)
}

/// `shop/cart` (10.0.0.1) and `shop/pay` (10.0.0.2) of this node, `data/db` (10.0.0.3) of another,
/// and 60 workloads in namespaces of their own from 10.0.0.100 on.
fn index() -> Arc<Index> {
    let named = [("shop", "cart", true), ("shop", "pay", true), ("data", "db", false)];
    let pods = named.iter().zip(1..).map(|((ns, name, local), last)| (pod(ns, name, *local), vec![address(last)]));
    let many = (100..160).map(|last| (pod(&format!("ns-{last}"), "app", false), vec![address(last)]));
    Arc::new(Index::new(pods.chain(many), Policies::default()))
}

/// A packet of a TCP connection to port 80.
fn packet(index: &Index, from: u8, to: u8) -> Flow {
    Flow {
        source_ip: address(from),
        destination_ip: address(to),
        source: index.find(address(from)),
        destination: index.find(address(to)),
        source_port: 40_000,
        destination_port: 80,
        bytes: 100,
        packets: 1,
        l4: L4::Tcp,
        event: Event::Trace,
        verdict: Verdict::Forwarded,
        direction: Direction::Egress,
        reply: Reply::No,
        ..Flow::default()
    }
}

/// The packet that answers it.
fn answer(flow: &Flow) -> Flow {
    Flow { reply: Reply::Yes, bytes: 900, packets: 2, ..flow.reversed() }
}

fn observe(rollups: &mut Rollups, index: &Arc<Index>, flows: &[Flow], extras: &[Extra]) {
    let mut progress = 0;
    rollups.observe(Flows { flows, extras, index }, 0, &mut progress);
    assert_eq!(progress, flows.len());
}

/// Rows in words, sorted.
fn rows(rollups: &mut Rollups) -> Vec<(String, Sums)> {
    let mut rows = Vec::new();
    rollups.close(|key, sums| {
        let end = |end: &EndKey| {
            let parts = [end.namespace, end.workload, end.reserved].map(Sym::text);
            parts.iter().filter(|part| !part.is_empty()).map(ToString::to_string).collect::<Vec<_>>().join("/")
        };
        let (verdict, reason) = (key.verdict, key.reason.text());
        let text = format!(
            "{}>{}:{} {verdict:?} {reason}{} {}{}",
            end(&key.source),
            end(&key.destination),
            key.port,
            key.policy.map_or(String::new(), |policy| format!(" {}", policy.name.text())),
            key.reporter.label(),
            if key.primary { " primary" } else { "" },
        );
        rows.push((text, sums.clone()));
    });
    rows.sort_by(|a, b| a.0.cmp(&b.0));
    rows
}

/// Both ways of a connection are one row, from opener to called, at the interface that saw them.
#[test]
fn both_ways_are_one_row() {
    let index = index();
    let mut rollups = Rollups::new(Settings::default());
    let there = packet(&index, 1, 3);
    observe(&mut rollups, &index, &[there, answer(&there), there], &[]);
    let expected =
        Sums { bytes_sent: 200, packets_sent: 2, bytes_received: 900, packets_received: 2, ..Sums::default() };
    assert_eq!(rows(&mut rollups), [("shop/cart>data/db:80 Forwarded  source".to_owned(), expected)]);
    // A window without flows has no rows, and the one after it begins at nought.
    assert!(rows(&mut rollups).is_empty());
    observe(&mut rollups, &index, &[there], &[]);
    assert_eq!(rows(&mut rollups)[0].1.bytes_sent, 100);
}

/// Of two reports of the same packets one is primary; of a call to no pod the opener's.
#[test]
fn one_report_is_primary() {
    let index = index();
    let mut rollups = Rollups::new(Settings::default());
    let there = packet(&index, 1, 2);
    let here = Flow { direction: Direction::Ingress, ..there };
    let out = Flow {
        destination_ip: Address::from(std::net::IpAddr::from([8, 8, 8, 8])),
        destination: EndpointId::WORLD,
        ..there
    };
    observe(&mut rollups, &index, &[there, here, out], &[]);
    let rows: Vec<String> = rows(&mut rollups).into_iter().map(|row| row.0).collect();
    assert_eq!(
        rows,
        [
            "shop/cart>reserved:world:80 Forwarded  source primary",
            "shop/cart>shop/pay:80 Forwarded  destination primary",
            "shop/cart>shop/pay:80 Forwarded  source",
        ]
    );
}

/// Drops are rows by reason; verdicts beside a packet that is a flow already add nothing.
#[test]
fn drops_are_rows_by_reason() {
    let index = index();
    let mut rollups = Rollups::new(Settings::default());
    let reason = webb_flow::Reason(Sym::new("NETFILTER_DROP"));
    let drop = Flow {
        event: Event::Drop,
        verdict: Verdict::Dropped,
        reply: Reply::Unknown,
        reason,
        tcp_flags: webb_flow::TcpFlags::known(2),
        ..packet(&index, 1, 3)
    };
    let verdict = Flow { event: Event::PolicyVerdict, ..drop };
    let allowed = Flow { event: Event::PolicyVerdict, ..packet(&index, 1, 3) };
    observe(&mut rollups, &index, &[drop, verdict, allowed], &[]);
    let rows = rows(&mut rollups);
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].0, "shop/cart>data/db:80 Dropped NETFILTER_DROP source primary");
    assert_eq!((rows[0].1.bytes_sent, rows[0].1.packets_sent), (100, 1));
    let Totals { flows, passed_over, .. } = rollups.totals();
    assert_eq!((flows, passed_over), (1, 2));
}

/// Events of connections and messages of layer 7 are in the row of the packets, or in the one that
/// differs by being primary.
#[test]
fn events_and_messages_are_sums_of_the_row() {
    let index = index();
    let mut rollups = Rollups::new(Settings::default());
    let there = packet(&index, 1, 3);
    let event = |event, value| there.connection(event, value);
    let message = |extra: u32| Flow { event: Event::L7, extra: ExtraId(extra), bytes: 0, packets: 0, ..answer(&there) };
    let of = |kind, latency_ns, record| Extra { l7: Some(L7 { kind, latency_ns, record }), ..Extra::default() };
    let http = |code| L7Record::Http(Http { code, ..Http::default() });
    let dns = |rcode| L7Record::Dns(Dns { rcode, ..Dns::default() });
    let extras = [
        of(L7Kind::Response, 2_000_000, http(503)),
        of(L7Kind::Response, 0, http(204)),
        of(L7Kind::Request, 0, http(0)),
        of(L7Kind::Request, 0, dns(0)),
        of(L7Kind::Response, 0, dns(3)),
        of(L7Kind::Response, 0, L7Record::Unanswered(Unanswered::default())),
    ];
    let mut flows = vec![
        there,
        event(ConnectionEvent::Accepted, 60),
        event(ConnectionEvent::Refused, 0),
        event(ConnectionEvent::RetransmitData, 4),
        event(ConnectionEvent::ResetByAcceptor, 9),
        event(ConnectionEvent::Sample, 9),
    ];
    flows.extend((0..6).map(message));
    observe(&mut rollups, &index, &flows, &extras);
    let rows = rows(&mut rollups);
    // Of what fails the opener's report is primary, of what is sent again the sender's.
    let [(_, sums), (name, primary)] = &rows[..] else { panic!("{rows:?}") };
    assert!(name.ends_with(" primary"));
    assert_eq!(
        (sums.connections, sums.retransmits),
        (Connections { opened: 1, reset: 1, ..Connections::default() }, 0)
    );
    assert_eq!((primary.connections, primary.retransmits), (Connections { refused: 1, ..Connections::default() }, 4));
    let handshake = sums.handshake.as_deref().unwrap();
    assert_eq!((handshake.buckets[0], handshake.buckets[1], handshake.sum_us), (0, 1, 60));
    assert_eq!((sums.responses, sums.dns_questions, sums.dns_failures), ([1, 0, 0, 1], 1, 2));
    let request = sums.request.as_deref().unwrap();
    // Two milliseconds are in the bucket of 2.5.
    assert_eq!((request.buckets.iter().sum::<u32>(), request.buckets[5]), (1, 1));
}

/// What finds the table full is folded, by namespaces and then into one row, and no byte is lost.
#[test]
fn a_full_table_folds() {
    let index = index();
    let mut rollups = Rollups::new(Settings { max_rows: 20, ..Settings::default() });
    let flows: Vec<Flow> = (100..160).map(|to| packet(&index, 1, to)).collect();
    observe(&mut rollups, &index, &flows, &[]);
    // 20 rows, 2 of namespaces, and one for the rest.
    assert_eq!(rollups.rows(), 23);
    assert_eq!(rollups.totals().folded, 40);
    let rows = rows(&mut rollups);
    assert_eq!(rows.iter().map(|(_, sums)| sums.bytes_sent).sum::<u64>(), 6000);
    assert_eq!(rows.iter().find(|row| row.0 == ">:0 Forwarded  source").unwrap().1.packets_sent, 38);
    // The next window has room again.
    assert!(self::rows(&mut rollups).is_empty());
    assert_eq!(rollups.rows(), 0);
}

/// Rows that only the window before had give way before anything is folded, and none is mistaken
/// for another after that.
#[test]
fn rows_of_before_give_way() {
    let index = index();
    let mut rollups = Rollups::new(Settings { max_rows: 20, ..Settings::default() });
    let window = |rollups: &mut Rollups, ends: std::ops::Range<u8>| {
        let flows: Vec<Flow> = ends.map(|to| packet(&index, 1, to)).collect();
        observe(rollups, &index, &flows, &[]);
        observe(rollups, &index, &flows, &[]);
        rows(rollups)
    };
    for ends in [100..120, 120..140, 110..130, 100..120] {
        let names = window(&mut rollups, ends.clone());
        assert_eq!(names.len(), 20);
        for (to, (name, sums)) in ends.zip(names) {
            assert!(name.contains(&format!("ns-{to}/app")), "{to}: {name}");
            assert_eq!(sums.packets_sent, 2);
        }
    }
    assert_eq!(rollups.totals().folded, 0);
    // What is beyond the limit within one window is folded.
    window(&mut rollups, 100..125);
    assert_eq!(rollups.totals().folded, 10);
}

/// A name that goes leaves its row as it is, and its number may be another's.
#[test]
fn rows_own_their_names() {
    let mut rollups = Rollups::new(Settings::default());
    for name in ["first-of-two", "second-of-two"] {
        // An index of its own, whose names go with it.
        let index = Arc::new(Index::new([(pod("shop", name, false), vec![address(9)])], Policies::default()));
        observe(&mut rollups, &index, &[packet(&index, 1, 9)], &[]);
    }
    let names: Vec<String> = rows(&mut rollups).into_iter().map(|row| row.0).collect();
    assert!(names[0].contains("first-of-two") && names[1].contains("second-of-two"), "{names:?}");
}

/// The sums that a flow adds, computed in the plainest way.
fn plain(flow: &Flow) -> (u64, u64) {
    match flow.event {
        Event::Trace | Event::Flush | Event::Drop => (flow.bytes, flow.packets.into()),
        _ => (0, 0),
    }
}

fn any_flow() -> impl Strategy<Value = Flow> {
    let ends = (1..6_u8, 1..6_u8, 0..3_u8, 0..3_u8);
    let what = (prop_oneof![Just(0_u8), Just(1), Just(4), Just(5), Just(254), Just(255)], 0..8_u8, 0..4_u16, 0..9_u64);
    (ends, what).prop_map(|((from, to, direction, reply), (event, verdict, port, bytes))| Flow {
        source_ip: address(from),
        destination_ip: address(to),
        source_port: port,
        destination_port: 2,
        bytes,
        packets: 1,
        l4: L4::Udp,
        event: [Event::Trace, Event::Drop, Event::Flush, Event::PolicyVerdict, Event::Connection]
            [usize::from(event) % 5],
        verdict: [Verdict::Forwarded, Verdict::Dropped, Verdict::Audit, Verdict::Unknown][usize::from(verdict) % 4],
        direction: Direction::of(direction),
        reply: [Reply::Unknown, Reply::No, Reply::Yes][usize::from(reply)],
        icmp_type: 1,
        ..Flow::default()
    })
}

proptest! {
    /// Whatever flows come, in whatever windows and however few rows there may be: the sums of all
    /// rows are those of all flows, and every flow is in a row or passed over.
    #[test]
    fn sums_are_exact(flows in prop::collection::vec(any_flow(), 0..200), max_rows in 1..12_usize, window in 1..60_usize) {
        let index = index();
        let mut flows = flows;
        for flow in &mut flows {
            (flow.source, flow.destination) = (index.find(flow.source_ip), index.find(flow.destination_ip));
        }
        let mut rollups = Rollups::new(Settings { max_rows, ..Settings::default() });
        let (mut bytes, mut packets) = (0, 0);
        for batch in flows.chunks(window) {
            observe(&mut rollups, &index, batch, &[]);
            prop_assert!(rollups.rows() <= max_rows + max_rows / 10 + 1 + 64);
            rollups.close(|_, sums| {
                bytes += sums.bytes_sent + sums.bytes_received;
                packets += sums.packets_sent + sums.packets_received;
            });
        }
        let expected = flows.iter().map(plain).fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        prop_assert_eq!((bytes, packets), expected);
        let totals = rollups.totals();
        prop_assert_eq!((totals.bytes, totals.packets), expected);
        prop_assert_eq!(totals.flows + totals.passed_over, flows.len() as u64);
        let lost = Lost { flows: flows.len() as u64, packets: expected.1, bytes: expected.0 };
        prop_assert_eq!(Lost::of(&flows, &[]), lost, "had they not come to a row");
    }

    /// One table of many windows and one of few rows agree with a map from keys to sums.
    #[test]
    fn as_a_map(flows in prop::collection::vec(any_flow(), 0..100)) {
        let index = index();
        let mut rollups = Rollups::new(Settings::default());
        let mut map: BTreeMap<(u32, u32, u16, u8, u8, u8), u64> = BTreeMap::new();
        let mut known = Vec::new();
        for mut flow in flows {
            (flow.source, flow.destination) = (index.find(flow.source_ip), index.find(flow.destination_ip));
            flow.event = Event::Trace;
            flow.verdict = Verdict::Forwarded;
            flow.reply = if flow.reply == Reply::Unknown { Reply::No } else { flow.reply };
            let opening = if flow.reply == Reply::No { flow } else { flow.reversed() };
            let key = (opening.source.0, opening.destination.0, opening.destination_port, 0, 0, flow.direction as u8);
            *map.entry(key).or_default() += flow.bytes;
            known.push(flow);
        }
        observe(&mut rollups, &index, &known, &[]);
        let mut found: Vec<u64> = Vec::new();
        rollups.close(|_, sums| found.push(sums.bytes_sent + sums.bytes_received));
        found.sort_unstable();
        let mut wanted: Vec<u64> = map.into_values().collect();
        wanted.sort_unstable();
        // Rows with packets of no bytes are rows too: every flow has a packet.
        prop_assert_eq!(found, wanted);
    }
}

/// The sort of an endpoint is in its id; the rules above rely on it.
#[test]
fn endpoints_have_their_sort() {
    let index = index();
    let sorts = [1, 3, 9].map(|last| index.find(address(last)).sort());
    assert_eq!(sorts, [Sort::Local, Sort::Remote, Sort::World]);
}
