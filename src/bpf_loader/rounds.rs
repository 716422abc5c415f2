//! The order in which several rings are read.
//!
//! A drop is understood by the flow record of its packet, which was written before it, to another
//! ring. So flows are read first, but in rounds: each round reads what was there when it began, the
//! drops' end being looked at before the flows'. Then the flow record of every drop of a round is
//! in that round or before it, and a flood of flows keeps drops waiting no longer than the flows
//! that were there before them.

use std::fmt;
use std::ops::ControlFlow;

use crate::records::Signal;

/// A ring.
pub(super) trait Queue {
    /// Positions of the consumer and of the producer.
    fn ends(&self) -> (u64, u64);

    /// Passes the next record to `take` and returns its result; none if there is none, or it is
    /// still being written.
    fn pop(&mut self, take: &mut dyn FnMut(Signal, &[u8]) -> ControlFlow<()>) -> Option<ControlFlow<()>>;
}

/// Rings in the order of reading, each with the end of this round.
pub(super) struct Rounds<Q>(Vec<(Q, u64)>);

impl<Q> fmt::Debug for Rounds<Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(_, end)| end)).finish()
    }
}

impl<Q: Queue> Rounds<Q> {
    pub(super) fn new(queues: Vec<Q>) -> Self {
        Self(queues.into_iter().map(|queue| (queue, 0)).collect())
    }

    /// The rings, in the order of reading.
    pub(super) fn queues(&self) -> impl Iterator<Item = &Q> {
        self.0.iter().map(|(queue, _)| queue)
    }

    /// Goes on with the round, or begins the next if this one is over. Returns how many records
    /// were handed over.
    pub(super) fn drain(&mut self, take: &mut dyn FnMut(Signal, &[u8]) -> ControlFlow<()>) -> usize {
        if self.0.iter().all(|(queue, end)| queue.ends().0 >= *end) {
            for (queue, end) in self.0.iter_mut().rev() {
                *end = queue.ends().1;
            }
        }
        let mut count = 0;
        for (queue, end) in &mut self.0 {
            while queue.ends().0 < *end {
                let Some(flow) = queue.pop(take) else { return count };
                count += 1;
                if flow.is_break() {
                    return count;
                }
            }
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;

    /// Records are one byte each; `None` is one that is being written.
    #[derive(Clone)]
    struct Fake(Signal, Rc<RefCell<(usize, Vec<Option<u8>>)>>);

    impl Fake {
        fn new(signal: Signal) -> Self {
            Self(signal, Rc::default())
        }

        fn write(&self, byte: impl Into<Option<u8>>) {
            self.1.borrow_mut().1.push(byte.into());
        }
    }

    impl Queue for Fake {
        fn ends(&self) -> (u64, u64) {
            let inside = self.1.borrow();
            (inside.0 as u64, inside.1.len() as u64)
        }

        fn pop(&mut self, take: &mut dyn FnMut(Signal, &[u8]) -> ControlFlow<()>) -> Option<ControlFlow<()>> {
            let mut inside = self.1.borrow_mut();
            let record = inside.1.get(inside.0).copied()??;
            inside.0 += 1;
            drop(inside);
            Some(take(self.0, &[record]))
        }
    }

    fn drained(rounds: &mut Rounds<Fake>, most: usize) -> String {
        let mut text = String::new();
        rounds.drain(&mut |_, record| {
            text.push(record[0].into());
            if text.len() == most { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        text
    }

    /// A drop is never read before a flow that was written before it, and always before flows that
    /// came much later.
    #[test]
    fn drops_come_after_their_flows() {
        let (flows, drops) = (Fake::new(Signal::Flow), Fake::new(Signal::Drop));
        let mut rounds = Rounds::new(vec![flows.clone(), drops.clone()]);
        flows.write(b'a');
        drops.write(b'A');
        flows.write(b'b');
        assert_eq!(drained(&mut rounds, 1), "a");
        // Both come while the round is under way: they are of the next, however late this one ends.
        flows.write(b'c');
        drops.write(b'C');
        assert_eq!(drained(&mut rounds, 9), "bA");
        assert_eq!(drained(&mut rounds, 9), "cC");
        assert_eq!(drained(&mut rounds, 9), "");
    }

    /// A flow that is still being written holds the drops of its round back, and nothing is
    /// skipped.
    #[test]
    fn what_is_being_written_is_waited_for() {
        let (flows, drops) = (Fake::new(Signal::Flow), Fake::new(Signal::Drop));
        let mut rounds = Rounds::new(vec![flows.clone(), drops.clone()]);
        flows.write(None);
        drops.write(b'A');
        assert_eq!(drained(&mut rounds, 9), "");
        flows.1.borrow_mut().1[0] = Some(b'a');
        assert_eq!(drained(&mut rounds, 9), "aA");
    }
}
