//! Label texts in the order of writing, so that writing them is copying adjacent bytes.
//!
//! A page holds some hundred neighbours. Of each text it keeps only what differs from the one
//! before, without the parts that both begin and end with: neighbours share most of their labels,
//! so a page is a fraction of what it writes, and the shared parts are copied from the line that
//! was just written, out of the nearest cache. An insertion
//! rewrites the page it falls into; all others stay as they are, shared with readers of the old
//! list.

use std::sync::Arc;

use super::order::{common, common_end, compare};

/// The pages of a table, in order.
pub(super) type Pages = Arc<Vec<Arc<Page>>>;

/// Series on a page at most; a page that outgrows it is split. About 80 KB of lines with six
/// labels.
pub(super) const ROWS: usize = 256;

/// Rows that are merged at a time, so that insertions on every page do not lay out the whole table
/// at once.
const RUN: usize = 16 * ROWS;

/// One series on a page.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    /// Slot of the table that holds the values.
    pub(super) slot: u32,
    /// Length of the text's common prefix with the one before, in bytes.
    pub(super) shared: u32,
    /// Length of the common suffix of the rest, in bytes.
    pub(super) shared_end: u32,
    /// End of the text in between, on the page.
    end: u32,
}

/// Neighbouring series with their label texts, in the form `{a="x",b="y"} ` that stands between
/// name and value, or a space alone for a series without labels.
#[derive(Debug, Default)]
pub(super) struct Page {
    rows: Vec<Row>,
    text: Vec<u8>,
    /// The length of all texts, written out.
    expanded: usize,
}

impl Page {
    fn new(texts: &[(u32, Text<'_>)]) -> Self {
        let mut page = Self { rows: Vec::with_capacity(texts.len()), ..Self::default() };
        let (mut last, mut line): (Vec<u8>, Vec<u8>) = (Vec::new(), Vec::new());
        for (slot, text) in texts {
            line.clear();
            match text.bytes() {
                [] => line.extend_from_slice(BARE),
                labels => {
                    line.push(b'{');
                    line.extend_from_slice(labels);
                    line.extend_from_slice(b"} ");
                }
            }
            let shared = common(&last, &line);
            let shared_end = common_end(last.get(shared..).unwrap_or_default(), line.get(shared..).unwrap_or_default());
            page.text.extend_from_slice(line.get(shared..line.len() - shared_end).unwrap_or_default());
            page.expanded += line.len();
            // A page with 4 GiB of text cannot be: label values are capped.
            let small = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
            page.rows.push(Row {
                slot: *slot,
                shared: small(shared),
                shared_end: small(shared_end),
                end: small(page.text.len()),
            });
            std::mem::swap(&mut last, &mut line);
        }
        page.text.shrink_to_fit();
        page
    }

    /// Number of series on the page.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The length of all its texts together.
    pub(super) fn expanded(&self) -> usize {
        self.expanded
    }

    /// Each row with the part of its text that it shares with neither end of the one before.
    pub(super) fn rows(&self) -> impl Iterator<Item = (Row, &[u8])> {
        let mut start = 0;
        self.rows.iter().map(move |&row| {
            let own = self.text.get(start..row.end as usize).unwrap_or_default();
            start = row.end as usize;
            (row, own)
        })
    }

    /// Calls `each` with slot and text of every row.
    pub(super) fn for_each(&self, mut each: impl FnMut(u32, &[u8])) {
        let (mut text, mut end) = (Vec::new(), Vec::new());
        for (row, own) in self.rows() {
            end.clear();
            end.extend_from_slice(text.get(text.len() - row.shared_end as usize..).unwrap_or_default());
            text.truncate(row.shared as usize);
            text.extend_from_slice(own);
            text.extend_from_slice(&end);
            each(row.slot, &text);
        }
    }

    /// The text of the first row, which shares nothing.
    fn first(&self) -> &[u8] {
        self.rows().next().map_or(&[], |(_, own)| own)
    }
}

/// A text on its way to a page, without what encloses it.
enum Text<'a> {
    Kept(Box<[u8]>),
    Born(&'a [u8]),
}

impl Text<'_> {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Kept(text) => text,
            Self::Born(text) => text,
        }
    }
}

/// Text between name and value without labels.
const BARE: &[u8] = b" ";

/// The labels of a row's text, without what encloses them.
pub(super) fn labels_of(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"{").and_then(|text| text.strip_suffix(b"} ")).unwrap_or_default()
}

/// The pages of `base` after changes: slots, the latest change first, each with the text of its new
/// series if there is one.
pub(super) fn gather<'a>(base: &Pages, latest_first: impl Iterator<Item = (u32, Option<&'a str>)>) -> Pages {
    let (inserted, touched) = latest(latest_first);
    if touched.is_empty() {
        return Arc::clone(base);
    }
    let mut rest = inserted.as_slice();
    let mut pages = Vec::with_capacity(base.len() + rest.len() / ROWS + 1);
    let mut run: Vec<(u32, Text<'_>)> = Vec::new();
    for (at, page) in base.iter().enumerate() {
        // What is inserted belongs here if it comes before the next page.
        let here = base.get(at + 1).map_or(rest.len(), |next| {
            rest.partition_point(|(_, text)| compare(text.as_bytes(), labels_of(next.first())).is_lt())
        });
        let (insertions, behind) = rest.split_at(here);
        rest = behind;
        if insertions.is_empty() && !page.rows.iter().any(|row| touched.contains(row.slot)) {
            flush(&mut run, &mut pages);
            pages.push(Arc::clone(page));
        } else {
            merge(page, insertions, &touched, &mut run);
            if run.len() >= RUN {
                flush(&mut run, &mut pages);
            }
        }
    }
    merge(&Page::default(), rest, &touched, &mut run);
    flush(&mut run, &mut pages);
    Arc::new(pages)
}

/// New series after all changes, in order, and every slot that has changed.
fn latest<'a>(latest_first: impl Iterator<Item = (u32, Option<&'a str>)>) -> (Vec<(u32, &'a str)>, Slots) {
    let (mut inserted, mut touched) = (Vec::new(), Slots::default());
    for (slot, text) in latest_first {
        if touched.insert(slot)
            && let Some(text) = text
        {
            inserted.push((slot, text));
        }
    }
    // Equal texts do not occur in a table; if they did, the order would still be the same at every
    // scrape.
    inserted.sort_unstable_by(|one, other| compare(one.1.as_bytes(), other.1.as_bytes()).then(one.0.cmp(&other.0)));
    (inserted, touched)
}

/// Puts the rows of `page` that stay and those that are inserted into one run, in order.
fn merge<'a>(page: &Page, insertions: &[(u32, &'a str)], touched: &Slots, run: &mut Vec<(u32, Text<'a>)>) {
    let mut insertions = insertions.iter().map(|(slot, text)| (*slot, text.as_bytes())).peekable();
    page.for_each(|slot, text| {
        if touched.contains(slot) {
            return;
        }
        let text = labels_of(text);
        while let Some((inserted, before)) =
            insertions.next_if(|(inserted, insertion)| compare(insertion, text).then(inserted.cmp(&slot)).is_lt())
        {
            run.push((inserted, Text::Born(before)));
        }
        run.push((slot, Text::Kept(text.into())));
    });
    run.extend(insertions.map(|(slot, text)| (slot, Text::Born(text))));
}

/// Writes a run to as few pages as hold it, all of the same size.
fn flush(run: &mut Vec<(u32, Text<'_>)>, pages: &mut Vec<Arc<Page>>) {
    if !run.is_empty() {
        let size = run.len().div_ceil(run.len().div_ceil(ROWS));
        pages.extend(run.chunks(size).map(|texts| Arc::new(Page::new(texts))));
        run.clear();
    }
}

/// A set of slots.
#[derive(Default)]
pub(super) struct Slots(Vec<u64>);

impl Slots {
    /// True if it was not in yet.
    pub(super) fn insert(&mut self, slot: u32) -> bool {
        let (word, bit) = (slot as usize / 64, 1 << (slot % 64));
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0.get_mut(word).is_some_and(|word| {
            let new = *word & bit == 0;
            *word |= bit;
            new
        })
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn contains(&self, slot: u32) -> bool {
        self.0.get(slot as usize / 64).is_some_and(|word| word & (1 << (slot % 64)) != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expose::{Labels, write_pair};

    /// An insertion costs its page, not the table: all other pages are the very same ones.
    #[test]
    fn an_insertion_rewrites_one_page() {
        let mut labels = Labels::default();
        let text = |number: usize| {
            let mut text = String::new();
            write_pair(&mut text, "number", &format!("{number:06}"));
            text
        };
        for number in 0..ROWS * 20 {
            labels.push(&text(number * 2));
        }
        let before = labels.sheet();
        assert_eq!(before.pages().len(), 20);
        labels.push(&text(ROWS * 7 + 1));
        let after = labels.sheet();
        let kept = after.pages().iter().filter(|page| before.pages().iter().any(|old| Arc::ptr_eq(old, page))).count();
        assert_eq!((kept, after.pages().len()), (19, 21));
    }

    /// Neighbours share most of their text, so pages must be far smaller than what they write.
    #[test]
    fn pages_are_small() {
        let mut labels = Labels::default();
        for number in 0..1000 {
            let mut text = String::new();
            write_pair(&mut text, "namespace", "a-namespace-with-a-name-of-some-length");
            write_pair(&mut text, "pod", &format!("pod-{number}"));
            labels.push(&text);
        }
        for page in labels.sheet().pages() {
            assert!(page.text.len() * 5 < page.expanded(), "{} of {}", page.text.len(), page.expanded());
        }
    }
}
