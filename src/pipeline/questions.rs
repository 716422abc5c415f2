//! Questions to connection tracking about UDP packets: a datagram does not say whether it opens a
//! conversation.
//!
//! webb forgets a conversation that is silent for a while, and did not see one that is older than
//! the agent; the kernel's connection tracking knows it longer. So the verdict on a datagram that
//! is the first here, and on one that was dropped, waits some milliseconds for its answer. Answers
//! come in the order of the questions.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use webb_decode::LookupReasons;
use webb_decode::nat::{Connection, Peer};
use webb_flow::Flow;

/// Questions that may be on their way at once. One more is not asked.
pub const MOST_QUESTIONS: usize = 1024;

/// How long an answer is waited for at most.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(250);

/// A packet whose verdict waits.
#[derive(Debug)]
pub(super) struct Question {
    asked: Connection,
    pub(super) flow: Flow,
    pub(super) why: LookupReasons,
    pub(super) backend: Option<Peer>,
    /// The first packet the other way, if one came meanwhile.
    pub(super) reply: Option<Flow>,
    since: Instant,
}

/// The questions that are on their way, oldest first.
#[derive(Debug)]
pub(super) struct Questions {
    to: Option<Sender<Connection>>,
    waiting: VecDeque<Question>,
    /// Set until the follower has been woken for the last.
    unannounced: bool,
}

impl Questions {
    pub(super) fn new(to: Option<Sender<Connection>>) -> Self {
        Self { to, waiting: VecDeque::new(), unannounced: false }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Asks about a packet; gives it back if that cannot be done now. `asked` are the ends that the
    /// packet has.
    pub(super) fn ask(
        &mut self,
        asked: Connection,
        (flow, why, backend): (Flow, LookupReasons, Option<Peer>),
        now: Instant,
    ) -> Option<Flow> {
        let sent = self.waiting.len() < MOST_QUESTIONS && self.to.as_ref().is_some_and(|to| to.try_send(asked).is_ok());
        if !sent {
            return Some(flow);
        }
        self.unannounced = true;
        self.waiting.push_back(Question { asked, flow, why, backend, reply: None, since: now });
        None
    }

    /// True once for all questions since the last call: the follower must be woken.
    pub(super) fn announce(&mut self) -> bool {
        std::mem::take(&mut self.unannounced)
    }

    /// Keeps a packet that may answer one whose question is on its way.
    pub(super) fn keep_reply(&mut self, reply: &Flow) {
        let asked = Connection::of(reply).reversed();
        let is = |question: &&mut Question| {
            question.reply.is_none() && question.asked == asked && question.flow.direction == reply.direction
        };
        if let Some(question) = self.waiting.iter_mut().find(is) {
            question.reply = Some(*reply);
        }
    }

    /// The question that was answered; those before it, which will not be, go to `unanswered`.
    pub(super) fn answered(&mut self, asked: &Connection, mut unanswered: impl FnMut(Question)) -> Option<Question> {
        let at = self.waiting.iter().position(|question| question.asked == *asked)?;
        self.waiting.drain(..at).for_each(&mut unanswered);
        self.waiting.pop_front()
    }

    /// The oldest question if its time is up.
    pub(super) fn over(&mut self, now: Instant, last: bool) -> Option<Question> {
        self.waiting.pop_front_if(|question| last || now >= question.since + ANSWER_TIMEOUT)
    }
}
