//! What a round over the maps and programs found, for scrapes to read.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Buffer, EntryCount, NodeObject, NodeObjects, OpenMap, OwnObjects};
use crate::bpf_loader::error::RunError;

/// Longest time that one map is counted.
const MAX_TIME: Duration = Duration::from_millis(500);

/// Names of maps that have figures of their own; the rest share those of [`OTHER`]. Other programs
/// choose theirs.
const MAX_NAMES: usize = 1024;

/// Name of the maps beyond [`MAX_NAMES`].
const OTHER: &str = "~other";

/// Prefix of webb's own maps among the capacities, where Cilium's have theirs.
const OWN: &str = "webb_";

/// Prefix that Cilium leaves out of its maps' names.
const CILIUM: &str = "cilium_";

/// Number of maps by what became of counting them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outcomes {
    /// Counted.
    pub counted: u64,
    /// Without entries that could be counted.
    pub uncountable: u64,
    /// Given up after half a second.
    pub timed_out: u64,
    /// Refused by the kernel.
    pub refused: u64,
}

/// What one round found.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Figures {
    /// Number of maps.
    pub maps: u64,
    /// Bytes of memory that they take.
    pub map_bytes: u64,
    /// Number of programs.
    pub programs: u64,
    /// Bytes of memory that they take.
    pub program_bytes: u64,
    /// Entries by the maximal number, by name without `cilium_`. Of maps with one name the fullest.
    pub pressures: BTreeMap<String, f64>,
    /// Maximal number of entries by full name. Of maps with one name the largest.
    pub capacities: BTreeMap<String, u64>,
    /// Outcomes of counting.
    pub outcomes: Outcomes,
}

/// Counts objects in rounds. `None` of the figures before the first one has ended.
#[derive(Debug)]
pub struct Round {
    own: OwnObjects,
    node: Option<NodeObjects>,
    found: Mutex<Option<Arc<Figures>>>,
}

impl Round {
    /// Rounds over webb's own objects, and all others with `node`.
    pub fn new(own: OwnObjects, node: Option<NodeObjects>) -> Self {
        Self { own, node, found: Mutex::default() }
    }

    /// The figures of the last round.
    pub fn found(&self) -> Option<Arc<Figures>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Goes over all objects. `pause` is called after each with the time that it took, and ends the
    /// round by returning false.
    ///
    /// # Errors
    /// If the objects of others cannot be listed; the figures are then of webb's own.
    pub fn run(&self, pause: &mut dyn FnMut(Duration) -> bool) -> Result<(), RunError> {
        let (mut figures, mut buffer) = (Figures::default(), Buffer::default());
        for map in self.own.maps() {
            if !figures.add(map, &format!("{OWN}{}", map.name), &mut buffer, pause) {
                return Ok(());
            }
        }
        let (programs, bytes) = self.own.programs();
        (figures.programs, figures.program_bytes) = (programs as u64, bytes);
        let Some(node) = &self.node else {
            self.publish(figures);
            return Ok(());
        };
        match self.with_others(node, figures.clone(), &mut buffer, pause) {
            Ok(Some(all)) => self.publish(all),
            Ok(None) => {}
            Err(error) => {
                self.publish(figures);
                return Err(error);
            }
        }
        Ok(())
    }

    fn publish(&self, figures: Figures) {
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(figures));
    }

    /// Adds the objects of others; `None` if the round was ended.
    fn with_others(
        &self,
        node: &NodeObjects,
        mut figures: Figures,
        buffer: &mut Buffer,
        pause: &mut dyn FnMut(Duration) -> bool,
    ) -> Result<Option<Figures>, RunError> {
        let own: HashSet<u32> = self.own.maps().iter().map(|map| map.id).collect();
        // webb's own are listed with the others.
        (figures.programs, figures.program_bytes) = (0, 0);
        let mut listed = false;
        for object in node.list() {
            listed = true;
            match object? {
                NodeObject::Program { memory } => {
                    figures.programs += 1;
                    figures.program_bytes += memory;
                }
                NodeObject::Map(map) if own.contains(&map.id) => {}
                NodeObject::Map(map) => {
                    if !figures.add(&map, &map.name, buffer, pause) {
                        return Ok(None);
                    }
                }
            }
        }
        if listed { Ok(Some(figures)) } else { Err(RunError::new("listing maps", std::io::ErrorKind::BrokenPipe)) }
    }
}

impl Figures {
    /// Adds a map; false if the round was ended.
    #[allow(clippy::cast_precision_loss, reason = "Prometheus numbers are doubles")]
    fn add(
        &mut self,
        map: &OpenMap,
        group: &str,
        buffer: &mut Buffer,
        pause: &mut dyn FnMut(Duration) -> bool,
    ) -> bool {
        let began = Instant::now();
        self.maps += 1;
        self.map_bytes += map.memory();
        let name = map.name.strip_prefix(CILIUM).unwrap_or(&map.name);
        let outcome = match map.entries(buffer, began + MAX_TIME) {
            EntryCount::Counted(count) => {
                let pressure = count as f64 / f64::from(map.max_entries.max(1));
                let fullest = slot(&mut self.pressures, name);
                *fullest = fullest.max(pressure);
                &mut self.outcomes.counted
            }
            EntryCount::Uncountable => &mut self.outcomes.uncountable,
            EntryCount::TimedOut => &mut self.outcomes.timed_out,
            EntryCount::Refused(error) => {
                tracing::debug!(map = map.name, "a map cannot be counted: {error}");
                &mut self.outcomes.refused
            }
        };
        *outcome += 1;
        let largest = slot(&mut self.capacities, group);
        *largest = (*largest).max(map.max_entries.into());
        pause(began.elapsed())
    }
}

/// The figure of a name, or of [`OTHER`] where there are too many names.
fn slot<'a, T: Default>(figures: &'a mut BTreeMap<String, T>, name: &str) -> &'a mut T {
    let known = figures.len() < MAX_NAMES || figures.contains_key(name);
    figures.entry(if known { name } else { OTHER }.to_owned()).or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names of others are bounded, and what was known before keeps its own figure.
    #[test]
    fn names_are_bounded() {
        let mut figures = BTreeMap::new();
        for number in 0..2 * MAX_NAMES {
            *slot(&mut figures, &format!("map{number}")) += 1_u64;
        }
        *slot(&mut figures, "map7") += 1;
        assert_eq!((figures.len(), figures["map7"], figures[OTHER]), (MAX_NAMES + 1, 2, MAX_NAMES as u64));
    }
}
