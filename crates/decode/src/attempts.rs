//! Attempts to connect that fail: each is counted once, under the outcome that says most.
//!
//! One attempt may leave several traces. Its SYN is dropped, again each time that it is repeated,
//! and a minute later the kernel's table gives up the entry. Or a policy rejects it: the drop of
//! the SYN is seen, and the RST or ICMP error that the policy's enforcer sends. So:
//!
//! - A SYN that a policy forbids is `denied`, at once. Later traces of the attempt count no more:
//!   a SYN of the same ports with another sequence number is one of the next attempt.
//! - A SYN dropped otherwise makes the attempt `dropped`, for the reason of the last drop, if
//!   nothing answers it; it may be repeated and succeed.
//! - A RST or ICMP error waits for a moment, since the drop of its SYN is read after it.
//! - A RST ends the attempt. After an ICMP error or a time-out the SYN may come again, so these
//!   count once in 180 s for the ports.
//!
//! A dropped SYN has no interface. It counts at the ends that are pods of this node. A segment that
//! a socket sends again counts if the socket's address is one of the pods of this node, or of the
//! node for its own sockets. Other events count at the interface of the pod that is their end:
//! those of packets that pass a pod, and of forged ones, do not.

use std::collections::VecDeque;

use webb_flow::sym::Sym;
use webb_flow::{Address, ConnectionEvent, Direction, EndpointId, Event, Flow, Point, Reason, Reply, ServiceId, Sort};

use super::connections::is_syn;
use super::expiring::Expiring;
use super::nat::Peer;

/// Time for which an attempt is remembered: a SYN is repeated for two minutes.
const ATTEMPT_TTL_NS: u64 = 180_000_000_000;

/// Attempts that are remembered, at most: some 10 MB.
const MAX_ATTEMPTS: usize = 65_536;

/// Wait of a refusal for the drop of its SYN.
const REFUSAL_DELAY_NS: u64 = 60_000_000;

/// Refusals that wait, at most; one more counts at once.
const MAX_WAITING: usize = 4096;

/// Time within which a refusal is of the SYN that was dropped.
const SAME_PACKET_NS: u64 = 1_000_000_000;

/// Stands for any destination: a service whose backend is not known.
const ANY: Peer = (Address([0; 16]), 0);

/// An attempt, as one side reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Attempt {
    direction: Direction,
    opener: Peer,
    destination: Peer,
}

/// State of an attempt.
#[derive(Debug, Clone, Copy)]
struct Trace {
    /// Its outcome has been counted.
    counted: bool,
    /// Time of the last dropped SYN; 0 for none.
    dropped_ns: u64,
    /// Reason of that drop.
    reason: Reason,
    /// [`Flow::sequence_mark`] of that SYN.
    mark: u16,
}

/// Number of flows by what became of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AttemptCounts {
    /// Traces of attempts that were counted before.
    pub repeated: u64,
    /// Attempts that were evicted because too many others were remembered.
    pub evicted: u64,
    /// Refusals that did not wait, because too many others did.
    pub hurried: u64,
    /// Retransmissions of sockets that are neither a pod's nor the node's.
    pub foreign: u64,
    /// Events at the interface of a pod that is not their end.
    pub transit: u64,
}

/// Number of [`AttemptCounts::rows`].
pub const ATTEMPT_OUTCOMES: usize = 5;

impl AttemptCounts {
    /// The counts with the value of their label `outcome`.
    pub fn rows(self) -> [(&'static str, u64); ATTEMPT_OUTCOMES] {
        [
            ("repeated", self.repeated),
            ("evicted", self.evicted),
            ("hurried", self.hurried),
            ("foreign", self.foreign),
            ("transit", self.transit),
        ]
    }
}

/// Failed attempts to connect.
#[derive(Debug)]
pub struct Attempts {
    known: Expiring<Attempt, Trace>,
    waiting: VecDeque<(u64, Flow)>,
    /// Reasons of drops by a policy.
    denials: [Reason; 2],
    /// Denials of the batch in hand.
    denied: Vec<Flow>,
    now_ns: u64,
    counts: AttemptCounts,
}

impl Default for Attempts {
    fn default() -> Self {
        Self {
            known: Expiring::new(ATTEMPT_TTL_NS, MAX_ATTEMPTS),
            waiting: VecDeque::new(),
            denials: ["POLICY_DENIED", "POLICY_DENY"].map(|name| Reason(Sym::new(name))),
            denied: Vec::new(),
            now_ns: 0,
            counts: AttemptCounts::default(),
        }
    }
}

impl Attempts {
    /// Begins a turn; `now_ns` is of the clock that flows are stamped with.
    pub fn turn(&mut self, now_ns: u64) {
        self.now_ns = now_ns;
        self.known.expire(now_ns);
    }

    /// True if no refusal waits.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Counts since start.
    pub fn counts(&self) -> AttemptCounts {
        self.counts
    }

    /// True, and counted, if the interface of the event is that of a pod which is not the event's
    /// end there: a gateway, or a forged packet. `behind` is the pod at the interface, if it is
    /// known.
    pub fn passes(&mut self, flow: &Flow, behind: Option<EndpointId>) -> bool {
        let end = if flow.is_reported_by_opener() == Some(true) { flow.source } else { flow.destination };
        // A pod may have further addresses, and those of services.
        let is_other = matches!(end.sort(), Sort::Local | Sort::Remote | Sort::Node);
        let passes = is_other && behind.is_some_and(|behind| behind != end);
        self.counts.transit += u64::from(passes);
        passes
    }

    /// Has a refusal wait; gives back what does not.
    #[inline]
    pub fn hold(&mut self, flow: Flow) -> Option<Flow> {
        let refused = [ConnectionEvent::Refused, ConnectionEvent::Unreachable];
        if !flow.connection_event().is_some_and(|(event, _)| refused.contains(&event)) {
            return Some(flow);
        }
        if self.waiting.len() >= MAX_WAITING {
            self.counts.hurried += 1;
            return Some(flow);
        }
        self.waiting.push_back((self.now_ns + REFUSAL_DELAY_NS, flow));
        None
    }

    /// The next refusal that has waited long enough; with `last`, any. Its ends must be named anew.
    pub fn next(&mut self, last: bool) -> Option<Flow> {
        let (until, _) = self.waiting.front()?;
        if last || *until <= self.now_ns { self.waiting.pop_front().map(|(_, flow)| flow) } else { None }
    }

    /// Goes through the flows of a batch: adds denials, and leaves out what counts no more. Returns
    /// the number of events in it.
    pub fn settle(&mut self, flows: &mut Vec<Flow>) -> u64 {
        let mut events = 0;
        flows.retain_mut(|flow| match flow.event {
            Event::Drop if is_syn(flow) => {
                self.drop(flow);
                true
            }
            Event::Connection => {
                let counts = self.keep(flow);
                events += u64::from(counts);
                counts
            }
            _ => true,
        });
        events += self.denied.len() as u64;
        flows.append(&mut self.denied);
        events
    }

    /// A SYN that was dropped. A repeated one is of the same attempt.
    fn drop(&mut self, flow: &Flow) {
        let denied = self.denials.contains(&flow.reason);
        for (end, direction) in [(flow.source, Direction::Egress), (flow.destination, Direction::Ingress)] {
            if end.sort() != Sort::Local {
                continue;
            }
            let attempt = attempt(flow, direction);
            let mark = flow.sequence_mark();
            // Without a drop before, the trace of an attempt does not say which SYN it is of.
            let is_same = |known: &&Trace| known.dropped_ns == 0 || known.mark == mark;
            let counted = self.known.get(&attempt).filter(is_same).is_some_and(|known| known.counted);
            let trace = Trace { counted: counted || denied, dropped_ns: flow.time_ns, reason: flow.reason, mark };
            self.remember(attempt, trace);
            self.remember(Attempt { destination: ANY, ..attempt }, trace);
            if denied && !counted {
                let flow = Flow { direction, reply: Reply::No, ..*flow };
                self.denied.push(flow.connection(ConnectionEvent::Denied, 0));
            }
            self.counts.repeated += u64::from(denied && counted);
        }
    }

    /// Upserts an attempt. A known one keeps its time: that of its first trace.
    fn remember(&mut self, attempt: Attempt, trace: Trace) {
        if let Some(known) = self.known.get_mut(&attempt) {
            *known = trace;
            return;
        }
        let full = self.known.len() >= MAX_ATTEMPTS;
        self.counts.evicted += u64::from(full);
        self.known.insert(attempt, trace, self.now_ns);
    }

    /// False for an event that counts no more.
    fn keep(&mut self, flow: &mut Flow) -> bool {
        let Some((event, _)) = flow.connection_event() else { return true };
        match event {
            ConnectionEvent::Accepted => {
                if !self.known.is_empty() {
                    self.forget(attempt(flow, flow.direction));
                }
                true
            }
            ConnectionEvent::Refused => {
                let attempt = self.attempt_of(flow);
                let denied = self
                    .known
                    .get(&attempt)
                    .is_some_and(|known| known.counted && flow.time_ns.abs_diff(known.dropped_ns) <= SAME_PACKET_NS);
                // The attempt is over: another SYN of these ports is another one.
                self.forget(attempt);
                self.counts.repeated += u64::from(denied);
                !denied
            }
            ConnectionEvent::TimedOut | ConnectionEvent::Unreachable => {
                let attempt = self.attempt_of(flow);
                let known = self.known.get(&attempt).copied();
                if known.is_some_and(|known| known.counted) {
                    self.counts.repeated += 1;
                    return false;
                }
                let trace = known.unwrap_or(Trace { counted: false, dropped_ns: 0, reason: Reason::NONE, mark: 0 });
                if trace.dropped_ns > 0 && event == ConnectionEvent::TimedOut {
                    *flow = Flow { reason: trace.reason, ..flow.connection_again(ConnectionEvent::Dropped) };
                }
                self.remember(attempt, Trace { counted: true, ..trace });
                true
            }
            ConnectionEvent::RetransmitSyn | ConnectionEvent::RetransmitSynAck | ConnectionEvent::RetransmitData => {
                let sender = if flow.direction == Direction::Egress { flow.source } else { flow.destination };
                // A socket may have any address: that of an unnamed pod is none of a known one.
                let own = match flow.point {
                    Point::ToNetwork => matches!(sender.sort(), Sort::Local | Sort::Node),
                    _ => sender.sort() == Sort::Local,
                };
                self.counts.foreign += u64::from(!own);
                own
            }
            _ => true,
        }
    }

    /// The attempt that a failure is of. Where the pod behind a service is not known, any that the
    /// opener's port made.
    fn attempt_of(&self, flow: &Flow) -> Attempt {
        let exact = attempt(flow, flow.direction);
        let of_service = flow.service.at_destination() != ServiceId::NONE && self.known.get(&exact).is_none();
        if of_service { Attempt { destination: ANY, ..exact } } else { exact }
    }

    fn forget(&mut self, attempt: Attempt) {
        self.known.remove(&attempt);
        self.known.remove(&Attempt { destination: ANY, ..attempt });
    }
}

fn attempt(flow: &Flow, direction: Direction) -> Attempt {
    Attempt {
        direction,
        opener: (flow.source_ip, flow.source_port),
        destination: (flow.destination_ip, flow.destination_port),
    }
}
