//! An endpoint's families: its categories' sources, read one after the other when Prometheus asks.
//!
//! A source that panics costs its own category's rows of that scrape, and is counted.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use arc_swap::ArcSwap;
use prometheus::core::Collector;
use webb_metrics::expose;

use super::{Category, Process, SelectedRows, Selection};

/// Fills the rows of a category. Called by a scrape, so it must not block.
pub type CategorySource = Box<dyn Fn(&mut SelectedRows<'_>) + Send + Sync>;

/// Families that are exposed only while something holds.
struct Restriction {
    names: HashSet<&'static str>,
    holds: Box<dyn Fn() -> bool + Send + Sync>,
}

struct Part {
    title: &'static str,
    source: CategorySource,
    panics: AtomicU64,
}

/// The families of one endpoint.
pub struct Endpoint {
    process: Process,
    parts: Vec<Part>,
    restriction: Option<Restriction>,
    selection: ArcSwap<Selection>,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint").field("selection", &self.selection).finish_non_exhaustive()
    }
}

impl Endpoint {
    /// An endpoint with the standard families of this process, as `prefix_process_*`, and those of
    /// `sources`.
    pub fn new(
        prefix: &str,
        selection: Selection,
        sources: impl IntoIterator<Item = (&'static Category, CategorySource)>,
    ) -> Self {
        let part = |(category, source): (&'static Category, _)| Part {
            title: category.title,
            source,
            panics: AtomicU64::default(),
        };
        Self {
            process: Process::new(prefix),
            parts: sources.into_iter().map(part).collect(),
            restriction: None,
            selection: ArcSwap::from_pointee(selection),
        }
    }

    /// Exposes the families of `categories` only if `holds` says so when all of them are read: what
    /// held before may not hold any more, if this process was stopped meanwhile.
    #[must_use]
    pub fn restricted(
        mut self,
        categories: &'static [&'static Category],
        holds: impl Fn() -> bool + Send + Sync + 'static,
    ) -> Self {
        let families = categories.iter().flat_map(|category| category.families);
        let names = families.map(|family| family.def.name).collect();
        self.restriction = Some(Restriction { names, holds: Box::new(holds) });
        self
    }

    /// Changes the selection, from the next scrape on.
    pub fn select(&self, selection: Selection) {
        self.selection.store(Arc::new(selection));
    }

    /// Number of panics of each category's source.
    pub fn panics(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.parts.iter().map(|part| (part.title, part.panics.load(Relaxed)))
    }

    /// All families with their values as they are now, sorted by name.
    pub fn gather(&self) -> Vec<expose::Family> {
        let selection = self.selection.load();
        let mut families: Vec<expose::Family> = self.process.collect().iter().map(expose::Family::from).collect();
        families.retain(|family| selection.allows_name(&family.name, true));
        for part in &self.parts {
            let read = catch_unwind(AssertUnwindSafe(|| {
                let mut rows = SelectedRows::new(&selection);
                (part.source)(&mut rows);
                rows.into_families()
            }));
            match read {
                Ok(rows) => families.extend(rows.iter().map(expose::Family::from)),
                Err(_) => {
                    part.panics.fetch_add(1, Relaxed);
                }
            }
        }
        if let Some(Restriction { names, holds }) = &self.restriction
            && !holds()
        {
            families.retain(|family| !names.contains(&*family.name));
        }
        families.sort_by(|one, other| one.name.cmp(&other.name));
        families
    }
}
