//! Policies that change while connections open.
//!
//! A change is compiled and published some tenths of a second after it has arrived, and for as long
//! flows are still resolved by the index before. A verdict belongs to the policies of the moment in
//! which the connection opened, and an enforcer applies a change at a moment of its own. So what
//! was decided while newer policies were being compiled waits for these ([`Held`]), and a
//! connection from before the moment in which the reader got the new index is decided only where
//! both say the same ([`Superseded`]).

use std::collections::VecDeque;
use std::sync::Arc;

use webb_flow::{Direction, Flow};
use webb_index::policy::Decision;
use webb_index::{Index, Policies};

use super::drops::{DropDecision, Suspect};

/// Lifetime of replaced tables: longer than any flow waits for a name or a translation.
const SUPERSEDED_TTL_NS: u64 = 3_000_000_000;

/// Replaced tables at most: one publication each 200 ms.
const MAX_SUPERSEDED: usize = 16;

/// Maximal wait for the policies that are being compiled, in nanoseconds, and the maximal number of
/// items of each type.
const HOLD_TIMEOUT_NS: u64 = 5_000_000_000;
const MAX_HELD: usize = 4096;

/// The tables that were replaced lately.
#[derive(Debug, Default)]
pub struct Superseded {
    current: Option<(Arc<Policies>, u64)>,
    /// Oldest first, each with the time until when flows were resolved by it.
    tables: VecDeque<(Arc<Policies>, u64)>,
}

impl Superseded {
    /// Notes the index that flows are resolved by from now on.
    pub fn turn(&mut self, index: &Index, now_ns: u64) {
        while self.tables.pop_front_if(|(_, until_ns)| *until_ns + SUPERSEDED_TTL_NS <= now_ns).is_some() {}
        let revision = index.policy_revision();
        if let Some((current, known)) = &mut self.current
            && *known == revision
        {
            // New pods: in the tables before they are unknown.
            if !std::ptr::eq(&raw const **current, index.policies()) {
                *current = index.shared_policies();
            }
            return;
        }
        // Before the first sync there are no verdicts that could differ.
        let replaced = self.current.take();
        if let Some((tables, _)) = replaced {
            if self.tables.len() >= MAX_SUPERSEDED {
                self.tables.pop_front();
            }
            self.tables.push_back((tables, now_ns));
        }
        self.current = index.is_ready().then(|| (index.shared_policies(), revision));
    }

    /// The tables that served when the flow was seen, or later.
    fn since(&self, flow: &Flow) -> impl Iterator<Item = &Policies> {
        let time_ns = flow.time_ns;
        self.tables.iter().filter(move |(_, until_ns)| time_ns <= *until_ns).map(|(tables, _)| &**tables)
    }

    /// Whether all tables since the connection that `flow` opens decide the same about it.
    pub fn agree(&self, flow: &Flow, direction: Direction, decision: Decision, index: &Index) -> bool {
        self.since(flow).all(|tables| {
            let evaluation = tables.evaluate_end(index, flow, direction);
            evaluation.is_none_or(|evaluation| evaluation.decision == decision)
        })
    }

    /// Whether all tables since then forbid a packet that was dropped.
    pub fn forbid(&self, flow: &Flow, suspect: Suspect, index: &Index) -> bool {
        self.since(flow).all(|tables| suspect.denial(flow, tables, index).0 != DropDecision::Other)
    }
}

/// Items that wait for the policies that are being compiled, oldest first.
#[derive(Debug)]
pub struct Held<T>(VecDeque<Waiting<T>>);

#[derive(Debug)]
struct Waiting<T> {
    /// Revision of the policies that decided it.
    revision: u64,
    since_ns: u64,
    held: T,
}

impl<T> Default for Held<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T> Held<T> {
    /// Holds something; gives it back if too much waits.
    pub fn hold(&mut self, held: T, index: &Index, now_ns: u64) -> Result<(), T> {
        if self.0.len() >= MAX_HELD {
            return Err(held);
        }
        self.0.push_back(Waiting { revision: index.policy_revision(), since_ns: now_ns, held });
        Ok(())
    }

    /// The next item with a finished wait, and true if newer policies have come: not so at the
    /// `last` turn, or when they take too long.
    pub fn next(&mut self, index: &Index, now_ns: u64, last: bool) -> Option<(T, bool)> {
        let revision = index.policy_revision();
        let is_over = |waiting: &mut Waiting<T>| {
            last || waiting.revision != revision || waiting.since_ns + HOLD_TIMEOUT_NS <= now_ns
        };
        self.0.pop_front_if(is_over).map(|waiting| (waiting.held, waiting.revision != revision))
    }

    /// True if nothing waits.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
