//! Tracks slots that have not changed for some looks.

/// Sum of a slot's values at the last look, and the number of looks in a row with that sum, by
/// slot.
#[derive(Debug, Default)]
pub(super) struct Idle(Vec<(u64, u32)>);

impl Idle {
    /// Looks at the values of all slots, `width` of each.
    pub(super) fn look(&mut self, values: &[u64], width: usize) {
        self.0.resize(values.len() / width.max(1), (0, 0));
        let sum = |values: &[u64]| values.iter().fold(0_u64, |sum, value| sum.wrapping_add(*value));
        for ((before, unchanged), values) in self.0.iter_mut().zip(values.chunks(width.max(1))) {
            let now = sum(values);
            *unchanged = if now == *before { unchanged.saturating_add(1) } else { 0 };
            *before = now;
        }
    }

    /// True if so many looks in a row found the slot as the one before.
    pub(super) fn is_idle(&self, slot: u32, looks: u32) -> bool {
        self.0.get(slot as usize).is_some_and(|(_, unchanged)| *unchanged >= looks)
    }

    /// The slot is another series' from now on.
    pub(super) fn reset(&mut self, slot: u32) {
        if let Some(look) = self.0.get_mut(slot as usize) {
            *look = (0, 0);
        }
    }

    /// Forgets all looks.
    pub(super) fn clear(&mut self) {
        self.0 = Vec::new();
    }

    /// Gives the series other slots: those in this order are 0, 1, 2, ...
    pub(super) fn renumber(&mut self, slots: &[u32]) {
        if !self.0.is_empty() {
            self.0 = slots.iter().map(|&slot| self.0.get(slot as usize).copied().unwrap_or((0, 0))).collect();
        }
    }
}
