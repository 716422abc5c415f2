//! Slots with a bound, which are used again, and lists through them in the order of use.
//!
//! A slot keeps its value when it is freed, so that the value's buffers serve the next one: after
//! warm-up nothing is allocated.

/// No slot.
pub(super) const NONE: u32 = u32::MAX;

#[derive(Debug)]
struct Slot<T> {
    before: u32,
    behind: u32,
    value: T,
}

/// A list of slots, the one used longest ago first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Order {
    oldest: u32,
    newest: u32,
    count: u32,
}

impl Default for Order {
    fn default() -> Self {
        Self { oldest: NONE, newest: NONE, count: 0 }
    }
}

impl Order {
    /// The slot used longest ago.
    #[inline]
    pub(super) fn oldest(&self) -> Option<u32> {
        (self.oldest != NONE).then_some(self.oldest)
    }

    /// Its slots.
    pub(super) fn len(&self) -> usize {
        self.count as usize
    }
}

/// The slots. Each used one is in exactly one list.
#[derive(Debug)]
pub(super) struct Arena<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
    most: usize,
}

impl<T: Default> Arena<T> {
    pub(super) fn new(most: usize) -> Self {
        Self { slots: Vec::new(), free: Vec::new(), most }
    }

    /// A slot at the list's end, with the value that it had when it was freed. None if all are
    /// used.
    #[inline]
    pub(super) fn take(&mut self, order: &mut Order) -> Option<u32> {
        let id = match self.free.pop() {
            Some(id) => id,
            None if self.slots.len() < self.most => {
                self.slots.push(Slot { before: NONE, behind: NONE, value: T::default() });
                u32::try_from(self.slots.len() - 1).ok()?
            }
            None => return None,
        };
        self.append(id, order);
        Some(id)
    }

    /// Frees a slot.
    #[inline]
    pub(super) fn free(&mut self, id: u32, order: &mut Order) {
        self.unlink(id, order);
        self.free.push(id);
    }

    /// Moves a slot to the end of its list.
    #[inline]
    pub(super) fn touch(&mut self, id: u32, order: &mut Order) {
        if order.newest != id {
            self.unlink(id, order);
            self.append(id, order);
        }
    }

    #[inline]
    pub(super) fn get(&self, id: u32) -> Option<&T> {
        self.slots.get(id as usize).map(|slot| &slot.value)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, id: u32) -> Option<&mut T> {
        self.slots.get_mut(id as usize).map(|slot| &mut slot.value)
    }

    /// The slot that was used next after this one.
    pub(super) fn behind(&self, id: u32) -> Option<u32> {
        self.slots.get(id as usize).map(|slot| slot.behind).filter(|behind| *behind != NONE)
    }

    fn append(&mut self, id: u32, order: &mut Order) {
        let before = order.newest;
        if let Some(slot) = self.slots.get_mut(id as usize) {
            (slot.before, slot.behind) = (before, NONE);
        }
        match self.slots.get_mut(before as usize) {
            Some(slot) => slot.behind = id,
            None => order.oldest = id,
        }
        order.newest = id;
        order.count += 1;
    }

    fn unlink(&mut self, id: u32, order: &mut Order) {
        let Some(&Slot { before, behind, .. }) = self.slots.get(id as usize) else { return };
        match self.slots.get_mut(before as usize) {
            Some(slot) => slot.behind = behind,
            None => order.oldest = behind,
        }
        match self.slots.get_mut(behind as usize) {
            Some(slot) => slot.before = before,
            None => order.newest = before,
        }
        order.count = order.count.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(arena: &mut Arena<u8>, order: &mut Order) -> Vec<u32> {
        let mut found = Vec::new();
        while let Some(id) = order.oldest() {
            found.push(id);
            arena.free(id, order);
        }
        found
    }

    /// The one used longest ago comes first, whatever was freed or moved before.
    #[test]
    fn order_is_that_of_use() {
        let (mut arena, mut order) = (Arena::<u8>::new(4), Order::default());
        let all: Vec<_> = (0..5).map(|_| arena.take(&mut order)).collect();
        assert_eq!(all, [Some(0), Some(1), Some(2), Some(3), None]);
        arena.touch(0, &mut order);
        arena.touch(0, &mut order);
        assert_eq!((arena.behind(1), arena.behind(0)), (Some(2), None));
        arena.free(3, &mut order);
        assert_eq!(order.len(), 3);
        assert_eq!(arena.take(&mut order), Some(3));
        assert_eq!(ids(&mut arena, &mut order), [1, 2, 0, 3]);
        assert_eq!(order, Order::default());
    }
}
