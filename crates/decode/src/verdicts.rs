//! Policy verdicts: compares the decision of policies for a connection with its observed outcome.
//!
//! Each new connection of TCP, UDP or SCTP at a pod's interface is evaluated once by the policies
//! of that pod and that direction, and each packet that was dropped for a policy once more. The
//! verdict is a flow of its own, beside that of the packet:
//!
//! | verdict | when |
//! |---|---|
//! | `FORWARDED` | policies allow the connection, or none isolates the pod (match `all`, as with
//! Hubble) |
//! | `DROPPED` | the kernel dropped the packet, and a policy forbids it |
//! | `AUDIT` | policies forbid the connection and it passed all the same: they are not enforced |
//!
//! *Passed* is reported only where it is known. A packet that leaves its pod has not passed yet,
//! nor has one at the hook of the pod that it is for: an enforcer may sit behind that hook. If
//! policies forbid the connection it waits here until the other side answers (`AUDIT`), a drop is
//! seen (`DROPPED`), or a minute has gone by. Then it is *undecided*, and counted with the reason
//! ([`Undecided`]).
//!
//! While newer policies are being compiled, a verdict waits for these, and is given if they say the
//! same ([`super::policy_changes`]).
//!
//! A drop may be read before the packet that it is of, when that one waits for a name. So the last
//! drops are kept for a while, and a connection whose drop was read does not wait.

use webb_flow::{Address, Direction, Event, Flow, L4, Point, Reply, Ruling, ServiceId, Sort, TcpFlags, Verdict};
use webb_index::policy::{Decision, Match};
use webb_index::{EndpointKind, Index};

use super::drops::Suspect;
use super::expiring::Expiring;
use super::nat::{Connection, Peer};
use super::policy_changes::{Held, Superseded};

/// Connections that wait for an answer, at most: some 2 MB. Beyond, the oldest is evicted.
const MAX_WAITING: usize = 16_384;

/// Timeout of a connection that waits for an answer, from packet to packet and by the clock, in
/// nanoseconds.
const ANSWER_TIMEOUT_NS: u64 = 60_000_000_000;

/// Recent drops that are kept, at most, and for how long: longer than any flow waits.
const MAX_DROPS: usize = 4096;
const DROP_TTL_NS: u64 = 10_000_000_000;

/// Reason for which a connection has no verdict, as the label `reason` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Undecided {
    /// Policies forbid it, and within a minute neither an answer nor a drop was seen.
    Unanswered,
    /// Policies forbid it, and it was evicted because too many others waited.
    Evicted,
    /// The destination is a service with an unknown backend.
    Backend,
    /// Policies forbid it unless they allow the end that is not known.
    Unnamed,
    /// Policies forbid the datagram if it opens a conversation, and conntrack could not be queried.
    Untracked,
    /// The deciding part is unknown: an unreadable part, a domain name, a vendor's policy.
    Policies,
    /// Policies changed as it opened, and what they were and what they became differ.
    Changed,
}

impl Undecided {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 7] =
        [Self::Unanswered, Self::Evicted, Self::Backend, Self::Unnamed, Self::Untracked, Self::Policies, Self::Changed];

    /// The label value.
    pub fn label(self) -> &'static str {
        match self {
            Self::Unanswered => "unanswered",
            Self::Evicted => "evicted",
            Self::Backend => "backend",
            Self::Unnamed => "unnamed",
            Self::Untracked => "untracked",
            Self::Policies => "policies",
            Self::Changed => "changed",
        }
    }
}

/// Number of undecided connections, by reason.
pub type UndecidedCounts = [u64; Undecided::ALL.len()];

/// A connection that waits, at the end of which the verdict will be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct WaitingKey {
    connection: Connection,
    direction: Direction,
}

#[derive(Debug, Clone, Copy)]
struct Waiting {
    /// Time of its packet.
    since_ns: u64,
    /// The decision of policies; none while the backend is not known.
    ruling: Option<Ruling>,
    tcp_flags: TcpFlags,
    /// Destination of the packet.
    front: Peer,
    /// The revision of the policies that decided, and whether newer ones were being compiled.
    revision: u64,
    is_outdated: bool,
}

/// A verdict that waits for the policies that are being compiled.
#[derive(Debug)]
struct Unsettled {
    flow: Flow,
    backend: Option<Peer>,
    direction: Direction,
    decision: Decision,
}

/// The connections that wait for their verdict.
#[derive(Debug)]
pub struct Verdicts {
    waiting: Expiring<WaitingKey, Waiting>,
    /// The last drops by protocol and sender: the receiver, and when.
    dropped: Expiring<(L4, Peer), (Peer, u64)>,
    superseded: Superseded,
    unsettled: Held<Unsettled>,
    now_ns: u64,
    undecided: UndecidedCounts,
}

impl Default for Verdicts {
    fn default() -> Self {
        let (waiting, dropped) = (Expiring::new(ANSWER_TIMEOUT_NS, MAX_WAITING), Expiring::new(DROP_TTL_NS, MAX_DROPS));
        let (superseded, unsettled) = (Superseded::default(), Held::default());
        Self { waiting, dropped, superseded, unsettled, now_ns: 0, undecided: UndecidedCounts::default() }
    }
}

/// The receiver of a connection to a service with an unknown backend: in a key it stands for any.
const ANY_BACKEND: Peer = (Address([0; 16]), 0);

impl Verdicts {
    /// Expires waiting connections; `now_ns` is of the clock that flows are stamped with, and
    /// `index` is what they are resolved by from now on.
    pub fn turn(&mut self, index: &Index, now_ns: u64) {
        self.now_ns = now_ns;
        self.superseded.turn(index, now_ns);
        let unanswered = self.waiting.expire(now_ns);
        self.count(Undecided::Unanswered, unanswered);
        self.dropped.expire(now_ns);
    }

    /// The verdict on a connection that `flow` opens at a pod's interface, if it is known already.
    /// `backend` is the destination's own address where the packet has a service's.
    pub fn opened(&mut self, flow: &Flow, backend: Option<Peer>, index: &Index) -> Option<Flow> {
        let direction = Self::side(flow, index)?;
        // Not all policies are known: whatever those say that are.
        if !index.is_ready() {
            self.count(Undecided::Unnamed, 1);
            return None;
        }
        let asked = to(flow, backend);
        let Some(evaluation) = index.policies().evaluate_end(index, &asked, direction) else {
            return Some(verdict(flow, Verdict::Forwarded, direction, Ruling::new(Match::All.number(), None)));
        };
        let ruling = Ruling::new(evaluation.matched().number(), evaluation.decider());
        // Of a pod behind a service only that is known which holds for all of them.
        let any = hides_pod(flow, backend, index);
        if evaluation.allows_any_peer() || (evaluation.allows() && !any) {
            return self.settle(flow, backend, direction, Decision::Allow, ruling, index);
        }
        let is_unnamed = || [flow.source, flow.destination].iter().any(|end| end.sort() == Sort::Unnamed);
        if evaluation.decision == Decision::Undecided && is_unnamed() {
            self.count(Undecided::Unnamed, 1);
            return None;
        }
        let connection = Connection::of(&asked);
        let settled =
            |(receiver, at): &(Peer, u64)| *at >= flow.time_ns && (any || *receiver == connection.destination);
        if self.dropped.get(&(flow.l4, connection.source)).is_some_and(settled) {
            return None;
        }
        if evaluation.decision == Decision::Undecided && !any {
            self.count(Undecided::Policies, 1);
            return None;
        }
        if !self.superseded.agree(&asked, direction, evaluation.decision, index) {
            self.count(Undecided::Changed, 1);
            return None;
        }
        let front = (flow.destination_ip, flow.destination_port);
        let destination = if any { ANY_BACKEND } else { connection.destination };
        let key = WaitingKey { connection: Connection { destination, ..connection }, direction };
        let ruling = (!any).then_some(ruling);
        let (revision, is_outdated) = (index.policy_revision(), index.has_newer_policies());
        let (since_ns, tcp_flags) = (flow.time_ns, flow.tcp_flags);
        self.wait(key, Waiting { since_ns, ruling, tcp_flags, front, revision, is_outdated });
        None
    }

    /// The verdict, now or when the policies have come that are being compiled.
    fn settle(
        &mut self,
        flow: &Flow,
        backend: Option<Peer>,
        direction: Direction,
        decision: Decision,
        ruling: Ruling,
        index: &Index,
    ) -> Option<Flow> {
        if index.has_newer_policies() {
            let held = Unsettled { flow: *flow, backend, direction, decision };
            let refused = self.unsettled.hold(held, index, self.now_ns).is_err();
            self.count(Undecided::Changed, refused.into());
            return None;
        }
        if !self.superseded.agree(&to(flow, backend), direction, decision, index) {
            self.count(Undecided::Changed, 1);
            return None;
        }
        Some(verdict(flow, passed(decision), direction, ruling))
    }

    /// The next verdict that waited for policies that have come.
    pub fn next_settled(&mut self, index: &Index, last: bool) -> Option<Flow> {
        while let Some((Unsettled { flow, backend, direction, decision }, has_come)) =
            self.unsettled.next(index, self.now_ns, last)
        {
            let asked = to(&flow, backend);
            let evaluation = index.policies().evaluate_end(index, &asked, direction);
            let any = hides_pod(&flow, backend, index);
            if let Some(evaluation) = evaluation
                && has_come
                && evaluation.decision == decision
                && (!any || evaluation.allows_any_peer())
                && self.superseded.agree(&asked, direction, decision, index)
            {
                let ruling = Ruling::new(evaluation.matched().number(), evaluation.decider());
                return Some(verdict(&flow, passed(decision), direction, ruling));
            }
            self.count(Undecided::Changed, 1);
        }
        None
    }

    /// Whether a packet that was dropped was forbidden by all policies that there were since.
    pub fn was_forbidden(&self, flow: &Flow, suspect: Suspect, index: &Index) -> bool {
        self.superseded.forbid(flow, suspect, index)
    }

    /// The pod's end of a connection that `flow` opens, if its policies are evaluated here; none if
    /// this is not its interface.
    pub fn side(flow: &Flow, index: &Index) -> Option<Direction> {
        let (pod, direction) = match (flow.point, flow.direction) {
            (Point::ToStack, Direction::Egress) => (flow.source, Direction::Egress),
            (Point::ToEndpoint, Direction::Ingress) => (flow.destination, Direction::Ingress),
            _ => return None,
        };
        let endpoint = index.endpoint(pod);
        (endpoint.kind == EndpointKind::Pod && !endpoint.other_network).then_some(direction)
    }

    /// The verdict on a datagram that may or may not open a conversation: what is allowed is
    /// allowed either way.
    pub fn untracked(&mut self, flow: &Flow, backend: Option<Peer>, index: &Index) -> Option<Flow> {
        let direction = Self::side(flow, index)?;
        let asked = to(flow, backend);
        let evaluation = index.policies().evaluate_end(index, &asked, direction);
        if !index.is_ready() || evaluation.is_none_or(|evaluation| evaluation.decision != Decision::Deny) {
            return self.opened(flow, backend, index);
        }
        self.count(Undecided::Untracked, 1);
        None
    }

    /// The verdict on a connection that `flow` answers, if it was waited for. `backend` is the
    /// source's own address where the packet has a service's.
    pub fn answered(&mut self, flow: &Flow, backend: Option<Peer>, index: &Index) -> Option<Flow> {
        let direction = match (flow.point, flow.direction, flow.reply) {
            // A refusal that comes back may be of an enforcer on the way. One that leaves the pod
            // is the pod's.
            (Point::ToEndpoint, Direction::Egress, Reply::Yes)
                if flow.l4 != L4::Tcp || !flow.tcp_flags.has(TcpFlags::RST) =>
            {
                Direction::Egress
            }
            (Point::ToStack, Direction::Ingress, Reply::Yes) => Direction::Ingress,
            _ => return None,
        };
        let opened = flow.reversed();
        let asked = to(&opened, backend);
        let connection = Connection::of(&asked);
        let waiting = self.take(connection, (opened.destination_ip, opened.destination_port), direction)?;
        if flow.time_ns.saturating_sub(waiting.since_ns) >= ANSWER_TIMEOUT_NS {
            self.count(Undecided::Unanswered, 1);
            return None;
        }
        let opened = Flow { tcp_flags: waiting.tcp_flags, ..opened };
        let any = hides_pod(&opened, backend, index);
        let is_changed = waiting.revision != index.policy_revision();
        match waiting.ruling {
            Some(ruling) if !waiting.is_outdated => Some(verdict(&opened, Verdict::Audit, direction, ruling)),
            Some(ruling) if !is_changed => {
                let opened = Flow { time_ns: waiting.since_ns, ..opened };
                self.settle(&opened, backend, direction, Decision::Deny, ruling, index)
            }
            None if any => {
                self.count(Undecided::Backend, 1);
                None
            }
            ruling => {
                let evaluation = index.policies().evaluate_end(index, &asked, direction);
                let decision = evaluation.map_or(Decision::Allow, |evaluation| evaluation.decision);
                let is_open = if ruling.is_some() { decision != Decision::Deny } else { is_changed };
                if decision == Decision::Undecided || is_open {
                    let reason = if is_open { Undecided::Changed } else { Undecided::Policies };
                    self.count(reason, 1);
                    return None;
                }
                let matched = evaluation.map_or(Match::All, |evaluation| evaluation.matched());
                let ruling = Ruling::new(matched.number(), evaluation.and_then(|evaluation| evaluation.decider()));
                let opened = Flow { time_ns: waiting.since_ns, ..opened };
                self.settle(&opened, backend, direction, decision, ruling, index)
            }
        }
    }

    /// The verdict on a packet that was dropped for a policy; `flow` has the direction of the
    /// policy that forbids it.
    pub fn denied(&mut self, flow: &Flow, index: &Index) -> Flow {
        let connection = Connection::of(flow);
        for direction in [Direction::Egress, Direction::Ingress] {
            for destination in [connection.destination, ANY_BACKEND] {
                self.waiting.remove(&WaitingKey { connection: Connection { destination, ..connection }, direction });
            }
        }
        self.dropped.insert((flow.l4, connection.source), (connection.destination, flow.time_ns), self.now_ns);
        let evaluation = index.policies().evaluate_end(index, flow, flow.direction);
        let (matched, decider) = evaluation.map_or((Match::None, None), |evaluation| evaluation.denying());
        verdict(flow, Verdict::Dropped, flow.direction, Ruling::new(matched.number(), decider))
    }

    /// True if nothing waits for policies that are being compiled.
    pub fn is_settled(&self) -> bool {
        self.unsettled.is_empty()
    }

    /// True if an answer is waited for at all.
    pub fn any_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Connections without a verdict, by [`Undecided::ALL`].
    pub fn undecided(&self) -> UndecidedCounts {
        self.undecided
    }

    fn wait(&mut self, key: WaitingKey, waiting: Waiting) {
        let again = self.waiting.remove(&key).is_some();
        let evicted = self.waiting.insert(key, waiting, self.now_ns).is_some();
        // The same ports again: of the connection before, nothing will be seen any more.
        self.count(Undecided::Unanswered, again.into());
        self.count(Undecided::Evicted, evicted.into());
    }

    /// The waiting connection, by its receiver's own address or by the service that it was sent to.
    fn take(&mut self, connection: Connection, front: Peer, direction: Direction) -> Option<Waiting> {
        if let Some(waiting) = self.waiting.remove(&WaitingKey { connection, direction }) {
            return Some(waiting);
        }
        let any = WaitingKey { connection: Connection { destination: ANY_BACKEND, ..connection }, direction };
        self.waiting.get(&any).filter(|waiting| waiting.front == front)?;
        self.waiting.remove(&any)
    }

    fn count(&mut self, reason: Undecided, new: u64) {
        if let Some(count) = self.undecided.get_mut(reason as usize) {
            *count += new;
        }
    }
}

/// The verdict on a connection that has passed.
fn passed(decision: Decision) -> Verdict {
    if decision == Decision::Allow { Verdict::Forwarded } else { Verdict::Audit }
}

/// The flow as it arrives: at the backend's own address, where that is known.
fn to(flow: &Flow, backend: Option<Peer>) -> Flow {
    let (destination_ip, destination_port) = backend.unwrap_or((flow.destination_ip, flow.destination_port));
    Flow { destination_ip, destination_port, ..*flow }
}

/// Whether a pod that is not known answers for the destination, a service of this cluster. One of
/// another cluster is an address like any other to policies.
fn hides_pod(flow: &Flow, backend: Option<Peer>, index: &Index) -> bool {
    flow.service.at_destination() != ServiceId::NONE
        && backend.is_none()
        && index.endpoint(flow.destination).kind != EndpointKind::Mesh
}

/// The flow of a verdict: the packet's ends and layer 4, but none of its bytes, which its own flow
/// has.
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
