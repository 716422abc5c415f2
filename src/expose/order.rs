//! The order in which a table's series are written, kept from scrape to scrape.
//!
//! Sorting a hundred thousand label texts takes longer than writing them, and the order changes only when a series is
//! born. So it is worked out by the first scrape that needs it, outside of the aggregator, and shared by all that
//! follow; newly born series are sorted among themselves and put into the old order.

use std::sync::{Arc, OnceLock};

use super::labels::{Labels, compare};

/// Slots in the order of their label values. Shared between a table and its snapshots.
#[derive(Debug, Default)]
pub struct Order {
    /// The order of the slots `0..base.len()`, as last worked out.
    base: Option<Arc<[u32]>>,
    sorted: OnceLock<Arc<[u32]>>,
}

impl Order {
    /// The order to use once slots were added: what is known stays known.
    #[must_use]
    pub fn grown(&self) -> Self {
        Self { base: self.sorted.get().or(self.base.as_ref()).map(Arc::clone), sorted: OnceLock::new() }
    }

    /// True until it was worked out.
    pub fn is_pending(&self) -> bool {
        self.sorted.get().is_none()
    }

    /// The slots of `labels` in order. The first caller works it out; the rest wait for it.
    pub fn slots(&self, labels: &Labels) -> &[u32] {
        self.sorted.get_or_init(|| {
            let base = self.base.as_deref().unwrap_or_default();
            let end = u32::try_from(labels.len()).unwrap_or(u32::MAX);
            let mut born: Vec<u32> = (u32::try_from(base.len()).unwrap_or(u32::MAX)..end).collect();
            born.sort_unstable_by(|&one, &other| compare(labels.get(one), labels.get(other)));
            merge(base, &born, labels).into()
        })
    }
}

/// Both are in order; the few in `born` are placed by bisection, so most of `base` is copied unseen.
fn merge(base: &[u32], born: &[u32], labels: &Labels) -> Vec<u32> {
    let mut merged = Vec::with_capacity(base.len() + born.len());
    let mut rest = base;
    for &slot in born {
        let at = rest.partition_point(|&other| compare(labels.get(other), labels.get(slot)).is_le());
        let (before, behind) = rest.split_at(at);
        merged.extend_from_slice(before);
        merged.push(slot);
        rest = behind;
    }
    merged.extend_from_slice(rest);
    merged
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expose::write_pair;
    use proptest::prelude::*;

    proptest! {
        /// However births and scrapes interleave, the order must be the one a plain sort gives.
        #[test]
        fn growing_keeps_the_order(values in prop::collection::hash_set("[a-c \"]{0,4}", 1..40), every in 1_usize..7) {
            let (mut labels, mut order) = (Labels::default(), Order::default());
            for (at, value) in values.iter().enumerate() {
                let mut text = String::new();
                write_pair(&mut text, "l", value);
                labels.push(&text);
                order = order.grown();
                if at % every == 0 {
                    prop_assert_eq!(order.slots(&labels).len(), at + 1);
                }
            }
            let all: Vec<&String> = values.iter().collect();
            let ordered: Vec<&String> = order.slots(&labels).iter().map(|&slot| all[slot as usize]).collect();
            let mut expected = all.clone();
            expected.sort();
            prop_assert_eq!(ordered, expected);
        }
    }
}
