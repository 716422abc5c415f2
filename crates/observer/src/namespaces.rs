//! The namespaces of which flows were seen lately.

use std::collections::HashMap;

use webb_flow::sym::Sym;

use crate::segment::{Event, Segment};

/// Time after its last flow that a namespace is listed, in nanoseconds.
const LISTED_NS: u64 = 3_600_000_000_000;

/// The most namespaces that are kept: names may be made up in files.
const MAX_NAMESPACES: usize = 1 << 14;

/// Namespaces by the time of their last flow.
#[derive(Debug, Default)]
pub(crate) struct Namespaces {
    last_seen_ns: HashMap<String, u64>,
}

impl Namespaces {
    /// Adds those of a segment's flows, from event `from` on.
    pub(crate) fn add(&mut self, segment: &Segment, from: usize, now_ns: u64) {
        let mut symbols: Vec<Sym> = Vec::new();
        // A bit for each row of an endpoint that was met.
        let mut met = vec![0_u64; segment.index.rows() / 64 + 1];
        for event in segment.events.iter().skip(from) {
            let Event::Flow(flow) = event else { continue };
            for end in [flow.source, flow.destination] {
                let (word, bit) = (end.row() as usize / 64, 1 << (end.row() % 64));
                match met.get_mut(word) {
                    Some(word) if *word & bit != 0 => continue,
                    Some(word) => *word |= bit,
                    None => {}
                }
                let namespace = segment.index.endpoint(end).namespace;
                if !namespace.is_empty() && !symbols.contains(&namespace) {
                    symbols.push(namespace);
                }
            }
        }
        for symbol in symbols {
            let name = symbol.text();
            match self.last_seen_ns.get_mut(&*name) {
                Some(time_ns) => *time_ns = now_ns,
                None => self.insert(&name, now_ns),
            }
        }
    }

    fn insert(&mut self, name: &str, now_ns: u64) {
        if self.last_seen_ns.len() >= MAX_NAMESPACES {
            self.last_seen_ns.retain(|_, seen_ns| now_ns.saturating_sub(*seen_ns) < LISTED_NS);
        }
        if self.last_seen_ns.len() < MAX_NAMESPACES {
            self.last_seen_ns.insert(name.to_owned(), now_ns);
        }
    }

    /// Those with a flow in the last hour, sorted.
    pub(crate) fn of_the_last_hour(&mut self, now_ns: u64) -> Vec<String> {
        self.last_seen_ns.retain(|_, seen_ns| now_ns.saturating_sub(*seen_ns) < LISTED_NS);
        let mut names: Vec<String> = self.last_seen_ns.keys().cloned().collect();
        names.sort_unstable();
        names
    }
}
