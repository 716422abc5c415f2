//! Pending conntrack queries for UDP packets: a datagram does not show whether it opens a
//! conversation.
//!
//! A conversation that is silent for a while leaves webb's table, and one that is older than the
//! agent was never in it; the kernel's connection tracking keeps both longer. So the verdict on a
//! datagram that is the first here, and on one that was dropped, waits some milliseconds for a
//! query. Answers come in the order of the queries.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use webb_decode::LookupReasons;
use webb_decode::nat::{Connection, Peer};
use webb_flow::Flow;

/// PendingQueries that may be on their way at once. One more is not asked.
pub const MAX_PENDING_QUERIES: usize = 1024;

/// The longest wait for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(250);

/// A packet that waits for its verdict.
#[derive(Debug)]
pub(super) struct PendingQuery {
    asked: Connection,
    pub(super) flow: Flow,
    pub(super) why: LookupReasons,
    pub(super) backend: Option<Peer>,
    /// The first packet the other way, if one came meanwhile.
    pub(super) reply: Option<Flow>,
    since: Instant,
}

/// Pending queries, oldest first.
#[derive(Debug)]
pub(super) struct PendingQueries {
    to: Option<Sender<Connection>>,
    waiting: VecDeque<PendingQuery>,
    /// Set until the follower has been woken for the last.
    unannounced: bool,
}

impl PendingQueries {
    pub(super) fn new(to: Option<Sender<Connection>>) -> Self {
        Self { to, waiting: VecDeque::new(), unannounced: false }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Sends a query about a packet; returns the packet if the queue is full. `asked` are the ends
    /// that the packet has.
    pub(super) fn ask(
        &mut self,
        asked: Connection,
        (flow, why, backend): (Flow, LookupReasons, Option<Peer>),
        now: Instant,
    ) -> Option<Flow> {
        let sent =
            self.waiting.len() < MAX_PENDING_QUERIES && self.to.as_ref().is_some_and(|to| to.try_send(asked).is_ok());
        if !sent {
            return Some(flow);
        }
        self.unannounced = true;
        self.waiting.push_back(PendingQuery { asked, flow, why, backend, reply: None, since: now });
        None
    }

    /// True if queries were sent since the last call: the follower must be woken.
    pub(super) fn announce(&mut self) -> bool {
        std::mem::take(&mut self.unannounced)
    }

    /// Stores a packet that may reply to one with a pending query.
    pub(super) fn keep_reply(&mut self, reply: &Flow) {
        let asked = Connection::of(reply).reversed();
        let is = |query: &&mut PendingQuery| {
            query.reply.is_none() && query.asked == asked && query.flow.direction == reply.direction
        };
        if let Some(query) = self.waiting.iter_mut().find(is) {
            query.reply = Some(*reply);
        }
    }

    /// Removes the answered query; older ones, which get no answer any more, go to `unanswered`.
    pub(super) fn answered(
        &mut self,
        asked: &Connection,
        mut unanswered: impl FnMut(PendingQuery),
    ) -> Option<PendingQuery> {
        let at = self.waiting.iter().position(|query| query.asked == *asked)?;
        self.waiting.drain(..at).for_each(&mut unanswered);
        self.waiting.pop_front()
    }

    /// Removes the oldest query if it has timed out.
    pub(super) fn over(&mut self, now: Instant, last: bool) -> Option<PendingQuery> {
        self.waiting.pop_front_if(|query| last || now >= query.since + ANSWER_TIMEOUT)
    }
}
