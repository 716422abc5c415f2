//! An exposition, divided into parts that can be rendered one by one, in any order, on any thread.
//!
//! A part is a page of a family or the small things between two of them: some ten kilobytes. The
//! response body renders a part when the connection has taken the one before, so a scrape costs
//! memory for a part, however large the whole is; and scrapes of one snapshot can share a page that
//! one of them has rendered.

use super::family::{Family, FamilyType};
use super::snapshot::Snapshot;
use super::{Format, lines};

/// A piece of an exposition.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Part {
    /// Headers, small families and the end: written when the exposition was planned.
    Written(Vec<u8>),
    /// A page of one family of a snapshot. Equal pages of two expositions of the same snapshots are
    /// equal text.
    Page {
        /// Position of the snapshot.
        snapshot: usize,
        /// Position of the family in it.
        column: usize,
        /// Position of the page in the snapshot.
        page: usize,
    },
}

/// Parts to write, in order.
#[derive(Debug)]
pub struct Exposition {
    format: Format,
    parts: Vec<Part>,
}

impl Exposition {
    /// Plans the exposition of all sources: families sorted by name, series by label values,
    /// families without a series left out. Families of one name are written together, under the
    /// help and type of the first. `wanted` says which families there are to be, by their full
    /// name.
    ///
    /// Blocks while series that are new since the last scrape are sorted.
    pub fn new<'a>(
        format: Format,
        snapshots: &[&'a Snapshot],
        families: impl IntoIterator<Item = &'a Family>,
        wanted: impl Fn(&str) -> bool,
    ) -> Self {
        let columns = snapshots.iter().enumerate().flat_map(|(at, &snapshot)| {
            (0..snapshot.families.len()).map(move |column| Source::Column { at, snapshot, column })
        });
        let mut sources: Vec<Source<'_>> = columns.chain(families.into_iter().map(Source::Plain)).collect();
        sources.retain(|source| !source.is_empty() && wanted(source.name()));
        sources.sort_by_key(Source::name);
        let mut exposition = Self { format, parts: Vec::new() };
        let mut last = None;
        for source in &sources {
            if last != Some(source.name()) {
                exposition.add(|out| lines::header(out, format, source.name(), source.help(), source.kind()));
                last = Some(source.name());
            }
            match *source {
                Source::Column { at, snapshot, column } => {
                    let pages = 0..snapshot.labels.pages().len();
                    exposition.parts.extend(pages.map(|page| Part::Page { snapshot: at, column, page }));
                }
                Source::Plain(family) => exposition.add(|out| lines::family(out, format, family)),
            }
        }
        if format == Format::OpenMetrics {
            exposition.add(|out| out.extend_from_slice(b"# EOF\n"));
        }
        exposition
    }

    /// Goes on with the text at the end, or begins one.
    fn add(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut text = match self.parts.pop_if(|last| matches!(last, Part::Written(_))) {
            Some(Part::Written(text)) => text,
            _ => Vec::new(),
        };
        write(&mut text);
        self.parts.push(Part::Written(text));
    }

    /// The format of all parts.
    pub fn format(&self) -> Format {
        self.format
    }

    /// All parts; written one after the other they are the exposition.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Appends a part. `snapshot` gives those that the exposition was planned with, by place.
    pub fn write<'a>(&self, part: &Part, snapshot: impl Fn(usize) -> Option<&'a Snapshot>, out: &mut Vec<u8>) {
        match *part {
            Part::Written(ref text) => out.extend_from_slice(text),
            Part::Page { snapshot: at, column, page } => {
                let Some(snapshot) = snapshot(at) else { return };
                let Some(page) = snapshot.labels.pages().get(page) else { return };
                if snapshot.kind() == FamilyType::Histogram {
                    lines::histograms(out, self.format, snapshot, page);
                } else {
                    lines::counters(out, self.format, snapshot, column, page);
                }
            }
        }
    }
}

/// Appends a whole exposition at once.
pub(super) fn render<'a>(
    format: Format,
    snapshots: impl IntoIterator<Item = &'a Snapshot>,
    families: impl IntoIterator<Item = &'a Family>,
    out: &mut Vec<u8>,
) {
    let snapshots: Vec<&Snapshot> = snapshots.into_iter().collect();
    let exposition = Exposition::new(format, &snapshots, families, |_| true);
    for part in exposition.parts() {
        exposition.write(part, |at| snapshots.get(at).copied(), out);
    }
}

/// Source of one family's samples.
enum Source<'a> {
    Column { at: usize, snapshot: &'a Snapshot, column: usize },
    Plain(&'a Family),
}

impl<'a> Source<'a> {
    fn name(&self) -> &'a str {
        match *self {
            Self::Column { snapshot, column, .. } => snapshot.families.get(column).map_or("", |spec| spec.name),
            Self::Plain(family) => &family.name,
        }
    }

    fn help(&self) -> &'a str {
        match *self {
            Self::Column { snapshot, column, .. } => snapshot.families.get(column).map_or("", |spec| spec.help),
            Self::Plain(family) => &family.help,
        }
    }

    fn kind(&self) -> FamilyType {
        match self {
            Self::Column { snapshot, .. } => snapshot.kind(),
            Self::Plain(family) => family.kind,
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::Column { snapshot, .. } => snapshot.series() == 0,
            Self::Plain(family) => family.samples.is_empty(),
        }
    }
}
