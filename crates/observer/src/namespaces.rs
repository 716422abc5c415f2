//! The namespaces of which flows were seen lately.

use std::collections::HashMap;

use webb_flow::sym::Sym;

use crate::segment::{Event, Segment};

/// Time after its last flow that a namespace is listed, in nanoseconds.
const LISTED_NS: u64 = 3_600_000_000_000;

/// The most namespaces that are kept: names may be made up in files.
const MAX_NAMESPACES: usize = 1 << 14;

/// The namespaces of a segment's flows, each once.
pub(crate) fn of(segment: &Segment) -> Vec<Sym> {
    let mut namespaces = Vec::new();
    for event in &segment.events {
        let Event::Flow(flow) = event else { continue };
        for end in [flow.source, flow.destination] {
            let namespace = segment.index.endpoint(end).namespace;
            if !namespace.is_empty() && !namespaces.contains(&namespace) {
                namespaces.push(namespace);
            }
        }
    }
    namespaces
}

/// Namespaces by the time of their last flow, to the minute.
#[derive(Debug, Default)]
pub(crate) struct Namespaces {
    last_seen_ns: HashMap<String, u64>,
}

impl Namespaces {
    /// Adds those of flows at this time.
    pub(crate) fn add(&mut self, namespaces: &[Sym], now_ns: u64) {
        for namespace in namespaces {
            let name = namespace.text();
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
