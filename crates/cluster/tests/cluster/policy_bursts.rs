//! Connections that open while policies change: the old tables serve until the new ones are
//! compiled, and a verdict is given only if both say the same.

use std::net::IpAddr;

use webb_cluster::{Cache, CacheSettings, Kind, ObjectKey, Reference, parse};
use webb_decode::drops::{DropDecision, Suspect};
use webb_decode::verdicts::{Undecided, Verdicts};
use webb_flow::sym::Sym;
use webb_flow::{Direction, Flow, L4, Point, Reason, Reply, TcpFlags, Verdict};
use webb_index::Index;

const SECOND: u64 = 1_000_000_000;

const CLUSTER: &str = "
{apiVersion: v1, kind: Namespace, metadata: {name: a, labels: {team: red}}}
---
{apiVersion: v1, kind: Node, metadata: {name: n1}, status: {addresses: [{type: InternalIP, address: 192.168.0.1}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: x, namespace: a, labels: {app: x}}, spec: {nodeName: n1, containers: []}, status: {podIP: 10.0.0.1}}
---
{apiVersion: v1, kind: Pod, metadata: {name: y, namespace: a, labels: {app: y}}, spec: {nodeName: n1, containers: []}, status: {podIP: 10.0.0.2}}
";

/// A policy that isolates the egress of one app, and does not concern the other.
fn lock(app: &str) -> String {
    format!(
        "{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {{name: lock-{app}, namespace: a}}, spec: \
         {{podSelector: {{matchLabels: {{app: {app}}}}}, policyTypes: [Egress]}}}}"
    )
}

/// The reader's part: verdicts by the index that it has, at a time.
struct Reader {
    cache: Cache,
    index: Index,
    verdicts: Verdicts,
}

fn reader() -> Reader {
    let cache = Cache::new(CacheSettings { node: "n1".into(), ..CacheSettings::default() });
    cache.replace(parse("m.yaml", CLUSTER).unwrap().objects);
    let index = cache.index();
    let mut reader = Reader { cache, index, verdicts: Verdicts::default() };
    reader.at(0);
    reader
}

fn reference(name: &str) -> Reference {
    Reference { kind: Kind::NetworkPolicy, key: ObjectKey { namespace: "a".into(), name: name.into() } }
}

impl Reader {
    fn put(&self, text: &str) {
        for object in parse("m.yaml", text).unwrap().objects {
            self.cache.upsert(object);
        }
    }

    /// A turn.
    fn at(&mut self, seconds: u64) {
        self.verdicts.turn(&self.index, seconds * SECOND);
    }

    /// The index of what is cached is published, and the reader takes it.
    fn publish(&mut self, seconds: u64) {
        self.index = self.cache.index();
        self.at(seconds);
    }

    /// A packet of x, as it opens a connection.
    fn packet(&self, seconds: u64, port: u16) -> Flow {
        let [source_ip, destination_ip] = ["10.0.0.1", "10.0.0.2"].map(|ip| ip.parse::<IpAddr>().unwrap().into());
        Flow {
            time_ns: seconds * SECOND,
            source: self.index.find(source_ip),
            destination: self.index.find(destination_ip),
            source_ip,
            destination_ip,
            source_port: port,
            destination_port: 80,
            l4: L4::Tcp,
            tcp_flags: TcpFlags::known(TcpFlags::SYN),
            point: Point::ToStack,
            direction: Direction::Egress,
            reply: Reply::No,
            ..Flow::default()
        }
    }

    fn opens(&mut self, seconds: u64, port: u16) -> Option<Verdict> {
        let flow = self.packet(seconds, port);
        self.verdicts.opened(&flow, None, &self.index).map(|flow| flow.verdict)
    }

    fn is_answered(&mut self, seconds: u64, port: u16) -> Option<Verdict> {
        let reply = self.packet(seconds, port).reversed();
        let reply =
            Flow { point: Point::ToEndpoint, direction: Direction::Egress, reply: Reply::Yes, l4: L4::Tcp, ..reply };
        self.verdicts.answered(&reply, None, &self.index).map(|flow| flow.verdict)
    }

    fn settled(&mut self, last: bool) -> Vec<Verdict> {
        std::iter::from_fn(|| self.verdicts.next_settled(&self.index, last)).map(|flow| flow.verdict).collect()
    }

    fn changed(&self) -> u64 {
        let undecided = self.verdicts.undecided();
        assert_eq!(undecided.iter().sum::<u64>(), undecided[Undecided::Changed as usize], "for another reason");
        undecided[Undecided::Changed as usize]
    }
}

/// Allowed by the old tables: the verdict waits for the new ones, and is given if these allow it
/// too. A change of other pods' policies costs no verdict.
#[test]
fn an_allowed_connection_waits() {
    let mut reader = reader();
    assert_eq!(reader.opens(1, 1), Some(Verdict::Forwarded));
    reader.put(&lock("y"));
    assert_eq!(reader.opens(1, 2), None, "not known yet");
    assert_eq!(reader.settled(false), []);
    reader.publish(1);
    assert_eq!((reader.settled(false), reader.changed()), (vec![Verdict::Forwarded], 0));

    reader.put(&lock("x"));
    assert_eq!(reader.opens(2, 3), None);
    reader.publish(2);
    assert_eq!((reader.settled(false), reader.changed()), (vec![], 1), "the new tables deny it");
    assert!(reader.verdicts.is_settled());
    // Read late: it opened before the new tables came.
    assert_eq!((reader.opens(2, 4), reader.changed()), (None, 2));
    assert_eq!((reader.opens(3, 5), reader.changed()), (None, 2), "of the new tables alone");
    assert_eq!(reader.is_answered(3, 5), Some(Verdict::Audit));
}

/// Denied by the old tables, and it passes: `AUDIT` only if the new ones deny it as well, whether
/// the answer comes before them or after.
#[test]
fn a_denied_connection_waits() {
    for is_answered_first in [true, false] {
        let mut reader = reader();
        reader.put(&lock("x"));
        reader.publish(1);
        for (port, expected, changes) in [(1, vec![Verdict::Audit], 0), (2, vec![], 1)] {
            let seconds = 10 * u64::from(port);
            if changes == 0 {
                reader.put(&lock("y"));
            } else {
                assert!(reader.cache.remove(&reference("lock-x")));
            }
            assert_eq!(reader.opens(seconds, port), None);
            let mut given = Vec::new();
            if is_answered_first {
                assert_eq!(reader.is_answered(seconds, port), None, "not while it may be allowed");
            }
            reader.publish(seconds + 1);
            given.extend(reader.settled(false));
            if !is_answered_first {
                given.extend(reader.is_answered(seconds + 1, port));
            }
            assert_eq!((given, reader.changed()), (expected, changes), "answered first: {is_answered_first}");
        }
    }
}

/// A drop is a denial only if all tables that it may have met deny it.
#[test]
fn a_drop_is_of_all_tables() {
    let mut reader = reader();
    let suspect = Suspect {
        kernel: Reason(Sym::new("NETFILTER_DROP")),
        denied: Reason(Sym::new("POLICY_DENIED")),
        deny: Reason(Sym::new("POLICY_DENY")),
    };
    reader.put(&lock("x"));
    reader.publish(1);
    let is_denied = |seconds| {
        let mut flow = reader.packet(seconds, 1);
        suspect.evaluate(&mut flow, &reader.index) == DropDecision::Denied
            && reader.verdicts.was_forbidden(&flow, suspect, &reader.index)
    };
    assert!(!is_denied(1), "before the policy there was none");
    assert!(is_denied(2));
    reader.put(&lock("y"));
    reader.publish(5);
    let flow = reader.packet(2, 1);
    assert!(reader.verdicts.was_forbidden(&flow, suspect, &reader.index), "both deny it");
}

/// Changes of pods that no policy asks about make no verdict wait: there are always some. Labels
/// that policies may select by do.
#[test]
fn pods_come_and_go_without_a_wait() {
    let mut reader = reader();
    let pod = |labels: &str| {
        format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: z, namespace: a, labels: {labels}}}, spec: {{nodeName: n1, \
             containers: []}}, status: {{podIP: 10.0.0.3}}}}"
        )
    };
    reader.put(&pod("{}"));
    assert_eq!(reader.opens(1, 1), Some(Verdict::Forwarded));
    reader.put(&pod("{app: x}"));
    assert_eq!(reader.opens(1, 2), None);
    reader.publish(1);
    assert_eq!(reader.settled(false), [Verdict::Forwarded]);
    reader.put("{apiVersion: v1, kind: Namespace, metadata: {name: a, labels: {team: red}}}");
    assert_eq!(reader.opens(2, 3), Some(Verdict::Forwarded), "the same object again");
    reader.put("{apiVersion: v1, kind: Namespace, metadata: {name: a, labels: {team: blue}}}");
    assert_eq!(reader.opens(2, 4), None);
    assert_eq!((reader.settled(true), reader.changed()), (vec![], 1), "the last turn waits for nothing");
}

/// The tables that served are those with all pods of that moment: a pod that is newer than the last
/// change of policies was under these, too.
#[test]
fn a_newer_pod_was_under_the_old_policies() {
    let mut reader = reader();
    reader.put(&lock("z"));
    reader.publish(1);
    reader.put(
        "{apiVersion: v1, kind: Pod, metadata: {name: z, namespace: a, labels: {app: z}}, spec: {nodeName: n1, \
         containers: []}, status: {podIP: 10.0.0.3}}",
    );
    reader.publish(2);
    reader.put(&lock("y"));
    let source_ip = "10.0.0.3".parse::<IpAddr>().unwrap().into();
    let packet = reader.packet(3, 1);
    let packet = Flow { source: reader.index.find(source_ip), source_ip, ..packet };
    assert!(reader.verdicts.opened(&packet, None, &reader.index).is_none());
    reader.publish(3);
    let reply = Flow { point: Point::ToEndpoint, reply: Reply::Yes, ..packet.reversed() };
    let reply = Flow { direction: Direction::Egress, ..reply };
    let verdict = reader.verdicts.answered(&reply, None, &reader.index).map(|flow| flow.verdict);
    assert_eq!((verdict, reader.changed()), (Some(Verdict::Audit), 0));
}

/// A change that never comes is not waited for, and the waiting flows are bounded: all the rest is
/// undecided.
#[test]
fn the_wait_is_bounded() {
    let mut reader = reader();
    reader.put(&lock("x"));
    for port in 1..=5_000 {
        assert_eq!(reader.opens(1, port), None);
    }
    assert_eq!(reader.changed(), 5_000 - 4_096);
    reader.at(4);
    assert_eq!((reader.settled(false), reader.changed()), (vec![], 5_000 - 4_096));
    reader.at(5);
    assert_eq!((reader.settled(false), reader.changed()), (vec![], 5_000));
    assert!(reader.verdicts.is_settled());
}
