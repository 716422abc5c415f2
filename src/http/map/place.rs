//! Places of boxes that stay the same between refreshes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::layout::{self, Place};
use super::line::{Line, Node};

/// Time after which the place of a box that is not shown is removed.
const PLACE_TTL: Duration = Duration::from_mins(15);

/// Time without a map after which the next one is laid out anew.
const IDLE_TIMEOUT: Duration = Duration::from_mins(10);

/// Refreshes in a row below the cut at which a line goes.
const MAX_BELOW: u8 = 3;

/// Time between two refreshes that are counted: samples are no closer.
const MIN_REFRESH_INTERVAL: Duration = Duration::from_secs(4);

/// The most places of a layout: those of four maps.
const MAX_PLACES: usize = 160;

/// The most layouts.
const MAX_LAYOUTS: usize = 8;

/// The places of one layout.
#[derive(Debug, Clone, Default)]
pub(crate) struct Placements {
    /// With the time that each was last shown.
    places: BTreeMap<Node, (Place, Duration)>,
    /// Lines of the last map, by the names of their ends, with the number of refreshes in a row in
    /// which each was below the cut.
    lines: BTreeMap<(Arc<str>, Arc<str>), u8>,
    /// Time of the last refresh that was counted.
    counted: Duration,
    /// Time of the last map.
    used: Duration,
}

impl Placements {
    /// True if the last map had a line with these ends.
    pub(super) fn has_line(&self, from: &Arc<str>, to: &Arc<str>) -> bool {
        !self.lines.is_empty() && self.lines.contains_key(&(Arc::clone(from), Arc::clone(to)))
    }

    /// True for a line of the last map that is shown on, also below the cut.
    pub(super) fn stays(&self, from: &Arc<str>, to: &Arc<str>) -> bool {
        let below = self.lines.get(&(Arc::clone(from), Arc::clone(to)));
        below.is_some_and(|below| *below + 1 < MAX_BELOW)
    }

    /// Counts for how many refreshes lines are below the cut. All clients share a layout: what is
    /// asked for within one interval is one refresh.
    pub(crate) fn note_below(&mut self, below: &BTreeSet<(Arc<str>, Arc<str>)>, now: Duration) {
        if now.saturating_sub(self.counted) < MIN_REFRESH_INTERVAL {
            return;
        }
        self.counted = now;
        for (ends, count) in &mut self.lines {
            *count = if below.contains(ends) { count.saturating_add(1) } else { 0 };
        }
    }

    /// Number of stored places.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// Places of the boxes of these lines: those that have one keep it, the others get a free one
    /// near to their partners.
    pub(super) fn of(&mut self, lines: &[Line], now: Duration) -> BTreeMap<Node, Place> {
        if now.saturating_sub(self.used) >= IDLE_TIMEOUT {
            self.places.clear();
        }
        self.used = now;
        self.places.retain(|_, (_, shown)| now.saturating_sub(*shown) < PLACE_TTL);
        let count = |ends: (Arc<str>, Arc<str>)| {
            let below = self.lines.get(&ends).copied().unwrap_or(0);
            (ends, below)
        };
        let ends = lines.iter().map(|line| (Arc::clone(&line.from.end), Arc::clone(&line.to.end)));
        self.lines = ends.map(count).collect();
        let nodes = layout::nodes(lines);
        let mut places: BTreeMap<Node, Place> = nodes
            .iter()
            .filter_map(|node| self.places.get(*node).map(|(place, _)| ((*node).clone(), *place)))
            .collect();
        if places.is_empty() {
            self.places.clear();
            places = layout::layout(lines);
        } else if places.len() < nodes.len() {
            self.add(lines, &mut places);
        }
        for (node, place) in &places {
            self.places.insert(node.clone(), (*place, now));
        }
        while self.places.len() > MAX_PLACES {
            let oldest = self.places.iter().min_by_key(|(_, (_, shown))| *shown).map(|(node, _)| node.clone());
            oldest.map(|oldest| self.places.remove(&oldest));
        }
        places
    }

    /// Places the boxes that have none, those with most placed partners first.
    fn add(&self, lines: &[Line], places: &mut BTreeMap<Node, Place>) {
        let columns = layout::columns(lines, places);
        let mut taken: BTreeMap<Place, Node> =
            self.places.iter().map(|(node, (place, _))| (*place, node.clone())).collect();
        let mut left: BTreeSet<&Node> =
            layout::nodes(lines).into_iter().filter(|node| !places.contains_key(*node)).collect();
        while !left.is_empty() {
            let placed_partners = |node: &Node| {
                let is_placed = |line: &&Line| {
                    line.from == *node && places.contains_key(&line.to)
                        || line.to == *node && places.contains_key(&line.from)
                };
                lines.iter().filter(is_placed).count()
            };
            let Some(next) = left.iter().rev().max_by_key(|node| placed_partners(node)).copied() else { break };
            left.remove(next);
            let column = columns.get(next).copied().unwrap_or(0);
            #[allow(clippy::cast_precision_loss, reason = "some dozens")]
            let wish = layout::wish(next, lines, |of| places.get(of).map(|(_, row)| *row as f64));
            let place = (column, free_row(next, column, wish, &taken));
            taken.insert(place, next.clone());
            places.insert(next.clone(), place);
        }
    }
}

/// The free row nearest to `wish`; beside a box of the same namespace it counts as nearer.
#[allow(clippy::cast_precision_loss, reason = "some dozens")]
fn free_row(node: &Node, column: usize, wish: f64, taken: &BTreeMap<Place, Node>) -> usize {
    let is_beside = |row: usize| {
        let neighbours = [row.checked_sub(1), Some(row + 1)].into_iter().flatten();
        neighbours.filter_map(|row| taken.get(&(column, row))).any(|of| of.namespace() == node.namespace())
    };
    let cost = |row: usize| (row as f64 - wish).abs() - if is_beside(row) { 1.5 } else { 0.0 };
    // One more row than there are places is always free.
    let free = (0..=taken.len()).filter(|row| !taken.contains_key(&(column, *row)));
    free.min_by(|one, other| cost(*one).total_cmp(&cost(*other))).unwrap_or(0)
}

/// The layouts of all maps that are looked at, by what each is of.
#[derive(Debug, Default)]
pub(crate) struct Layouts(BTreeMap<String, Placements>);

impl Layouts {
    /// The layout with this key. For a new one the least recently used one is removed.
    pub(crate) fn of(&mut self, key: &str) -> &mut Placements {
        if !self.0.contains_key(key) && self.0.len() >= MAX_LAYOUTS {
            let oldest = self.0.iter().min_by_key(|(_, of)| of.used).map(|(key, _)| key.clone());
            oldest.map(|oldest| self.0.remove(&oldest));
        }
        self.0.entry(key.to_owned()).or_default()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
