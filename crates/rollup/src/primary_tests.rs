//! Which report is primary, for each sum and wherever both ends are.

use webb_flow::{ConnectionEvent as E, Point, TcpFlags};
use webb_index::{AgentNodes, Draft, PodChanges};

use super::*;

/// Where an end is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// A pod of this node.
    Here,
    /// A pod of a node with an agent.
    There,
    /// A pod of a node without one.
    Alone,
    /// Another node.
    Node,
    World,
}

/// Sums that have the same rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sort {
    /// Packets that were forwarded, connections and their resets, messages that both sides report.
    Called,
    /// Attempts that were refused, timed out or were unreachable.
    Failed,
    /// Attempts that were denied or dropped.
    Dropped,
    /// Retransmissions, dropped packets, messages that one side reports, and connections that a
    /// policy forbids.
    Single,
}

const FIGURES: [(Sort, &str); 13] = [
    (Sort::Called, "packets"),
    (Sort::Called, "opened"),
    (Sort::Called, "reset"),
    (Sort::Called, "questions of both sides"),
    (Sort::Failed, "refused"),
    (Sort::Failed, "timed out"),
    (Sort::Failed, "unreachable"),
    (Sort::Dropped, "denied"),
    (Sort::Dropped, "dropped"),
    (Sort::Single, "retransmissions"),
    (Sort::Single, "dropped packets"),
    (Sort::Single, "responses of one side"),
    (Sort::Single, "unenforced"),
];

fn figures(key: &RowKey, sums: &Sums) -> [u64; FIGURES.len()] {
    let Connections { opened, refused, timed_out, unreachable, denied, dropped, reset, .. } = sums.connections;
    let is_dropped = key.verdict == Verdict::Dropped;
    let packets = |of_dropped: bool| if is_dropped == of_dropped { sums.packets_sent } else { 0 };
    [
        packets(false),
        opened.into(),
        reset.into(),
        sums.dns_questions.into(),
        refused.into(),
        timed_out.into(),
        unreachable.into(),
        denied.into(),
        dropped.into(),
        sums.retransmits.into(),
        packets(true),
        sums.responses[0].into(),
        sums.unenforced.into(),
    ]
}

fn ends() -> (Arc<Index>, impl Fn(At) -> EndpointId) {
    let mut draft = Draft::default();
    let mut add = |sort, kind, node: &str| {
        let endpoint = Endpoint::new(kind, sort == webb_flow::Sort::Local, &EndpointSpec::default());
        draft.add(sort, Endpoint { node: Sym::new(node), ..endpoint })
    };
    let here = add(webb_flow::Sort::Local, EndpointKind::Pod, "n1");
    let there = add(webb_flow::Sort::Remote, EndpointKind::Pod, "n2");
    let alone = add(webb_flow::Sort::Remote, EndpointKind::Pod, "n3");
    let node = add(webb_flow::Sort::Node, EndpointKind::RemoteNode, "n2");
    draft.set_agents(AgentNodes::new(["n1", "n2"]));
    let index = Arc::new(draft.publish(0, PodChanges::default()));
    let of = move |at| match at {
        At::Here => here,
        At::There => there,
        At::Alone => alone,
        At::Node => node,
        At::World => EndpointId::WORLD,
    };
    (index, of)
}

fn opening(source: EndpointId, destination: EndpointId, direction: Direction) -> Flow {
    Flow { source, destination, direction, ..packet(&Index::default(), 1, 3) }
}

/// One flow for each of the figures.
fn flows(opening: Flow) -> (Vec<Flow>, [Extra; 2]) {
    let message = |extra: u32| Flow { event: Event::L7, extra: ExtraId(extra), bytes: 0, packets: 0, ..opening };
    let drop = Flow {
        event: Event::Drop,
        verdict: Verdict::Dropped,
        reply: Reply::Unknown,
        tcp_flags: TcpFlags::known(TcpFlags::SYN),
        ..opening
    };
    let audit = Flow { event: Event::PolicyVerdict, verdict: Verdict::Audit, ..opening };
    let events = [
        E::Accepted,
        E::ResetByOpener,
        E::Refused,
        E::TimedOut,
        E::Unreachable,
        E::Denied,
        E::Dropped,
        E::RetransmitData,
    ];
    let mut flows = vec![opening, message(0), message(1), drop, audit];
    flows.extend(events.map(|event| opening.connection(event, 0)));
    let l7 = |kind, record| Some(L7 { kind, latency_ns: 0, record });
    let question = l7(L7Kind::Request, L7Record::Dns(Dns::default()));
    let response = l7(L7Kind::Response, L7Record::Http(Http { code: 200, ..Http::default() }));
    let extras =
        [Extra { l7: question, ..Extra::default() }, Extra { l7: response, is_only_report: true, ..Extra::default() }];
    (flows, extras)
}

/// The figures of the primary rows, and of the others.
fn by_primary(rollups: &mut Rollups) -> [[u64; FIGURES.len()]; 2] {
    let mut all = [[0; FIGURES.len()]; 2];
    rollups.close(|key, sums| {
        let of = &mut all[usize::from(!key.primary)];
        of.iter_mut().zip(figures(key, sums)).for_each(|(sum, more)| *sum += more);
    });
    all
}

/// What only one side reports is primary. Packets, connections and messages of both sides count at
/// the called side where an agent watches that; attempts that failed at the opener's, but for those
/// that were dropped on a node which is not the opener's: the opener's agent takes them for
/// something else.
#[test]
fn each_sum_has_its_primary_report() {
    let (index, of) = ends();
    let mut rollups = Rollups::new(Settings::default());
    let (source, destination) = (Direction::Egress, Direction::Ingress);
    for (opener, called, reporter, [by_called, failed, dropped]) in [
        (At::Here, At::Here, source, [false, true, true]),
        (At::Here, At::Here, destination, [true, false, false]),
        (At::Here, At::There, source, [false, true, true]),
        (At::There, At::Here, destination, [true, false, true]),
        (At::Here, At::Alone, source, [true; 3]),
        (At::Alone, At::Here, destination, [true; 3]),
        (At::Here, At::Node, source, [true; 3]),
        (At::Node, At::Here, destination, [true; 3]),
        (At::Here, At::World, source, [true; 3]),
        (At::World, At::Here, destination, [true; 3]),
        (At::Here, At::There, Direction::Unknown, [false; 3]),
        (At::Node, At::World, Direction::Unknown, [false; 3]),
    ] {
        let (mut flows, extras) = flows(opening(of(opener), of(called), reporter));
        // The second time the rows are known; and the order must not matter.
        for _ in 0..2 {
            observe(&mut rollups, &index, &flows, &extras);
            let [primary, others] = by_primary(&mut rollups);
            for (at, (sort, name)) in FIGURES.into_iter().enumerate() {
                let is_primary = match sort {
                    Sort::Called => by_called,
                    Sort::Failed => failed,
                    Sort::Dropped => dropped,
                    Sort::Single => true,
                };
                let found = [primary[at], others[at]];
                let wanted = if is_primary { [1, 0] } else { [0, 1] };
                assert_eq!(found, wanted, "{name}: {opener:?} to {called:?}, reported at {reporter:?}");
            }
            flows.reverse();
        }
    }
}

/// What a socket of the node sends again is primary where the packets of its connection are: at the
/// pod that is its other end.
#[test]
fn retransmissions_of_a_node_are_primary_where_its_packets_are() {
    let (index, of) = ends();
    let mut rollups = Rollups::new(Settings::default());
    for (opener, called, is_primary) in [
        (At::Node, At::Here, true),
        (At::Node, At::There, true),
        (At::There, At::Node, true),
        (At::Node, At::Alone, false),
        (At::Node, At::World, false),
        (At::Node, At::Node, false),
    ] {
        for direction in [Direction::Egress, Direction::Ingress] {
            let flow = Flow { point: Point::ToNetwork, ..opening(of(opener), of(called), direction) };
            observe(&mut rollups, &index, &[flow.connection(E::RetransmitSyn, 3)], &[]);
            let mut found = Vec::new();
            rollups.close(|key, sums| found.push((key.reporter, key.primary, sums.retransmits)));
            assert_eq!(found, [(Reporter::Node, is_primary, 3)], "{opener:?} to {called:?}");
        }
    }
}
