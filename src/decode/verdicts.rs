//! Policy verdicts: what NetworkPolicies say of a connection, and what became of it.
//!
//! Each new connection of TCP, UDP or SCTP at a pod's interface is judged once by the policies of that pod and that
//! direction, and each packet that was dropped for a policy once more. The verdict is a flow of its own, beside that of
//! the packet:
//!
//! | verdict | when |
//! |---|---|
//! | `FORWARDED` | policies allow the connection, or none isolates the pod (match `all`, as with Hubble) |
//! | `DROPPED` | the kernel dropped the packet, and a policy forbids it |
//! | `AUDIT` | policies forbid the connection and it passed all the same: nobody enforces them |
//!
//! *Passed* is said only where it is known. A packet at its destination's interface has passed what the destination's
//! policies could do to it. One that leaves its pod has not passed yet; if policies forbid that, the connection waits
//! here until the other side answers (`AUDIT`), a drop is seen (`DROPPED`), or a minute has gone by. Then nobody can
//! tell, as with a datagram that nobody answers or a refusal in the other side's name: it is *undecided*, and counted
//! as such. So is one to a service whose backend is unknown, because policies speak of backends.

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::nat::{Connection, Peer};
use crate::flow::{Direction, Event, Flow, L4, Point, Reply, Ruling, ServiceId, TcpFlags, Verdict};
use crate::index::policy::Match;
use crate::index::{Index, Kind};

/// Connections that may wait for an answer at once.
const MOST: usize = 4096;

/// How long one waits for an answer.
const PATIENCE_NS: u64 = 60_000_000_000;

/// How often those that waited in vain are looked for.
const PURGE_NS: u64 = 5_000_000_000;

/// A connection that left its pod though policies forbid it.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    since: u64,
    ruling: Ruling,
    tcp_flags: TcpFlags,
}

/// The connections that wait for their verdict.
#[derive(Debug, Default)]
pub struct Verdicts {
    waiting: HashMap<Connection, Waiting, RandomState>,
    purged: u64,
    undecided: u64,
}

impl Verdicts {
    /// The verdict on a connection that `flow` opens at a pod's interface, if it is known already. `backend` is the
    /// destination's own address where the packet has a service's.
    pub fn opened(&mut self, flow: &Flow, backend: Option<Peer>, index: &Index) -> Option<Flow> {
        let (pod, direction) = match (flow.point, flow.direction) {
            (Point::ToStack, Direction::Egress) => (flow.source, Direction::Egress),
            (Point::ToEndpoint, Direction::Ingress) => (flow.destination, Direction::Ingress),
            _ => return None,
        };
        if index.endpoint(pod).kind != Kind::Pod {
            return None;
        }
        let mut asked = *flow;
        if let Some((address, port)) = backend {
            (asked.destination_ip, asked.destination_port) = (address, port);
        }
        let Some(opinion) = index.policies().judge(index, &asked).of(direction) else {
            return Some(verdict(flow, Verdict::Forwarded, direction, Ruling::new(Match::All.number(), None)));
        };
        let ruling = Ruling::new(opinion.matched.number(), opinion.decider());
        if opinion.allows() {
            self.waiting.remove(&Connection::of(flow));
            return Some(verdict(flow, Verdict::Forwarded, direction, ruling));
        }
        if direction == Direction::Ingress {
            return Some(verdict(flow, Verdict::Audit, direction, ruling));
        }
        if flow.service.at_destination() != ServiceId::NONE && backend.is_none() {
            self.undecided += 1;
        } else {
            self.wait(flow, ruling);
        }
        None
    }

    /// The verdict on a connection that `flow` answers, if it was waited for.
    pub fn answered(&mut self, flow: &Flow) -> Option<Flow> {
        let refused = flow.l4 == L4::Tcp && flow.tcp_flags.has(TcpFlags::RST);
        if (flow.point, flow.direction, flow.reply) != (Point::ToEndpoint, Direction::Egress, Reply::Yes) || refused {
            return None;
        }
        let Waiting { ruling, tcp_flags, .. } = self.waiting.remove(&Connection::of(flow).reversed())?;
        let opened = Flow {
            source_ip: flow.destination_ip,
            destination_ip: flow.source_ip,
            source: flow.destination,
            destination: flow.source,
            source_port: flow.destination_port,
            destination_port: flow.source_port,
            service: flow.service.swapped(),
            tcp_flags,
            ..*flow
        };
        Some(verdict(&opened, Verdict::Audit, Direction::Egress, ruling))
    }

    /// The verdict on a packet that was dropped for a policy; `flow` has the direction of the policy that forbids it.
    pub fn denied(&mut self, flow: &Flow, index: &Index) -> Flow {
        self.waiting.remove(&Connection::of(flow));
        let decider = index.policies().judge(index, flow).of(flow.direction).and_then(|opinion| opinion.decider());
        verdict(flow, Verdict::Dropped, flow.direction, Ruling::new(Match::None.number(), decider))
    }

    /// True if an answer is waited for at all.
    pub fn any_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Connections of which nobody can tell what became of them.
    pub fn undecided(&self) -> u64 {
        self.undecided
    }

    fn wait(&mut self, flow: &Flow, ruling: Ruling) {
        let now = flow.time_ns;
        if now.saturating_sub(self.purged) >= PURGE_NS {
            self.purged = now;
            let before = self.waiting.len();
            self.waiting.retain(|_, waiting| now.saturating_sub(waiting.since) < PATIENCE_NS);
            self.undecided += (before - self.waiting.len()) as u64;
        }
        let key = Connection::of(flow);
        if self.waiting.len() >= MOST && !self.waiting.contains_key(&key) {
            self.undecided += 1;
            return;
        }
        let waiting = Waiting { since: now, ruling, tcp_flags: flow.tcp_flags };
        // The same ports again: of the connection before, nobody will hear any more.
        self.undecided += u64::from(self.waiting.insert(key, waiting).is_some());
    }
}

/// The flow of a verdict: the packet's ends and layer 4, but none of its bytes, which its own flow has.
fn verdict(flow: &Flow, verdict: Verdict, direction: Direction, ruling: Ruling) -> Flow {
    Flow {
        event: Event::PolicyVerdict,
        point: Point::Other,
        reply: if verdict == Verdict::Dropped { Reply::Unknown } else { Reply::No },
        verdict,
        direction,
        ruling,
        bytes: 0,
        packets: 0,
        ifindex: 0,
        ..*flow
    }
}
