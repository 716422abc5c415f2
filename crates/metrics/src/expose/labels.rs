//! The label text of every series of a table, rendered once, when the series is inserted.
//!
//! A series' labels never change, so `a="x",b="y"` is written once and copied ever after. The table
//! only appends to a list of changes. A scrape takes the list as it is ([`Sheet`]) and, outside of
//! the aggregator, works it into pages in the order of writing ([`super::pages`]); the table's next
//! snapshot finds the pages and forgets the list. So each text is kept once, where it is copied
//! from.
//!
//! Between two scrapes nothing else works the list into pages, so the table does it whenever the
//! list has grown to an eighth of the slots: series that are inserted at once, or come and go, cost
//! what the pages cost, and little more.

use std::sync::{Arc, OnceLock};

use super::pages::{Page, Pages, gather, labels_of};

/// Changes in a list before it is closed and a new one begun: no list grows so large that appending
/// to it takes long.
const CHANGES: usize = 1024;

/// Changes that are kept of a table with next to no slots.
const FEW: usize = 4 * CHANGES;

/// Changes of a table's slots, oldest first.
#[derive(Debug, Default)]
pub(super) struct Changes {
    text: String,
    /// The slot and the text range of its new series; none if the series was removed.
    rows: Vec<(u32, Option<(usize, usize)>)>,
}

impl Changes {
    fn push(&mut self, slot: u32, text: Option<&str>) {
        let range = text.map(|text| {
            let start = self.text.len();
            self.text.push_str(text);
            (start, self.text.len())
        });
        self.rows.push((slot, range));
    }

    /// The slots, the latest change first, each with the text of its new series if there is one.
    pub(super) fn latest_first(&self) -> impl Iterator<Item = (u32, Option<&str>)> {
        let text = |(start, end)| self.text.get(start..end).unwrap_or("");
        self.rows.iter().rev().map(move |&(slot, range)| (slot, range.map(text)))
    }
}

/// The label texts of a table by slot. Owned by the table; scrapes get a [`Sheet`].
#[derive(Debug, Default)]
pub struct Labels {
    base: Pages,
    changes: Vec<Arc<Changes>>,
    open: Changes,
    /// Number of `changes` that the last sheet has.
    handed_out: usize,
    /// Cell that the readers of the last sheet fill with `base` after those changes.
    gathered: Arc<OnceLock<Pages>>,
    slots: u32,
    series: usize,
}

impl Labels {
    /// A new series in a slot of its own, which is returned. `text` is `a="x",b="y"`: pairs sorted
    /// by label name, values escaped, no braces; empty for a series without labels.
    pub fn push(&mut self, text: &str) -> u32 {
        let slot = self.slots;
        self.slots = self.slots.saturating_add(1);
        self.put(slot, text);
        slot
    }

    /// A new series in the slot of one that was removed.
    pub fn put(&mut self, slot: u32, text: &str) {
        self.series += 1;
        self.change(slot, Some(text));
    }

    /// Removes the series in `slot`; the slot may be reused.
    pub fn remove(&mut self, slot: u32) {
        self.series = self.series.saturating_sub(1);
        self.change(slot, None);
    }

    fn change(&mut self, slot: u32, text: Option<&str>) {
        self.open.push(slot, text);
        if self.open.rows.len() >= CHANGES {
            self.close();
        }
    }

    fn close(&mut self) {
        if self.open.rows.is_empty() {
            return;
        }
        self.changes.push(Arc::new(std::mem::take(&mut self.open)));
        if self.kept() > self.most_kept() {
            self.forget_gathered();
            if self.kept() > self.most_kept() {
                self.gather();
            }
        }
    }

    /// Number of kept changes. There is a list for each thousand of them.
    fn kept(&self) -> usize {
        self.changes.iter().map(|changes| changes.rows.len()).sum()
    }

    /// Maximal number of kept changes: so few that their texts, written out, are small beside the
    /// pages, and so many that a table that grows writes each of its pages a few times only.
    fn most_kept(&self) -> usize {
        self.slots() / 8 + FEW
    }

    /// Takes the pages that readers of the last sheet have made of their changes, if they have.
    fn forget_gathered(&mut self) {
        if let Some(pages) = self.gathered.get() {
            self.base = Arc::clone(pages);
            self.changes.drain(..self.handed_out);
            self.handed_out = 0;
        }
    }

    /// Works all changes into pages. Sheets that were handed out keep theirs.
    fn gather(&mut self) {
        self.base = gather(&self.base, self.changes.iter().rev().flat_map(|changes| changes.latest_first()));
        self.changes.clear();
        self.handed_out = 0;
        self.gathered = Arc::default();
    }

    /// Number of slots: one more than the highest that was ever used.
    pub fn slots(&self) -> usize {
        self.slots as usize
    }

    /// Number of series.
    pub fn len(&self) -> usize {
        self.series
    }

    /// True if there is no series.
    pub fn is_empty(&self) -> bool {
        self.series == 0
    }

    /// The texts as they are now, shared. Cheap: nothing is sorted or copied here.
    pub fn sheet(&mut self) -> Sheet {
        self.close();
        self.forget_gathered();
        if self.handed_out < self.changes.len() {
            self.handed_out = self.changes.len();
            self.gathered = Arc::default();
        }
        Sheet {
            base: Arc::clone(&self.base),
            changes: self.changes.clone(),
            gathered: Arc::clone(&self.gathered),
            series: self.series,
        }
    }
}

/// A table's label texts at one moment.
#[derive(Debug, Clone, Default)]
pub struct Sheet {
    base: Pages,
    changes: Vec<Arc<Changes>>,
    gathered: Arc<OnceLock<Pages>>,
    series: usize,
}

impl Sheet {
    /// Number of series.
    pub fn len(&self) -> usize {
        self.series
    }

    /// True if there is no series.
    pub fn is_empty(&self) -> bool {
        self.series == 0
    }

    /// Slot and text of each series, in the order of writing.
    pub fn rows(&self) -> impl Iterator<Item = (u32, String)> {
        self.pages().iter().flat_map(|page| {
            let mut rows = Vec::with_capacity(page.len());
            page.for_each(|slot, text| {
                rows.push((slot, String::from_utf8_lossy(labels_of(text)).into_owned()));
            });
            rows
        })
    }

    /// Calls `each` with slot and label text of each series, in the order of writing, without an
    /// allocation for each.
    pub fn for_each(&self, mut each: impl FnMut(u32, &str)) {
        for page in self.pages() {
            page.for_each(|slot, text| each(slot, str::from_utf8(labels_of(text)).unwrap_or_default()));
        }
    }

    /// The pages in the order of writing. The first caller merges them; the others wait for it.
    pub(super) fn pages(&self) -> &[Arc<Page>] {
        self.gathered.get_or_init(|| {
            let latest_first = self.changes.iter().rev().flat_map(|changes| changes.latest_first());
            gather(&self.base, latest_first)
        })
    }
}

/// Appends `name="value"`, with a comma before it unless `out` is empty. Backslash, quote and line
/// feed are escaped.
pub fn write_pair(out: &mut String, name: &str, value: &str) {
    if !out.is_empty() {
        out.push(',');
    }
    out.push_str(name);
    out.push_str("=\"");
    for character in value.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            plain => out.push(plain),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::order::compare;
    use super::*;

    fn text(values: &[String]) -> String {
        let mut out = String::new();
        for (at, value) in values.iter().enumerate() {
            write_pair(&mut out, &format!("l{at}"), value);
        }
        out
    }

    /// Expected content of a sheet, from a plain map of slots.
    fn expected(series: &BTreeMap<u32, String>) -> Vec<(u32, String)> {
        let mut rows: Vec<_> = series.iter().collect();
        rows.sort_by(|one, other| (one.1, one.0).cmp(&(other.1, other.0)));
        let line = |(&slot, value): (&u32, &String)| (slot, text(std::slice::from_ref(value)));
        rows.into_iter().map(line).collect()
    }

    /// A text is kept once: when a scrape has worked the insertions into pages, the table forgets
    /// them.
    #[test]
    fn gathered_changes_are_forgotten() {
        let mut labels = Labels::default();
        for number in 0..CHANGES * 2 + 10 {
            labels.push(&number.to_string());
        }
        let sheet = labels.sheet();
        assert_eq!((labels.changes.len(), labels.sheet().changes.len()), (3, 3));
        sheet.pages();
        assert_eq!((labels.sheet().changes.len(), labels.changes.len()), (0, 0));
        labels.push("later");
        assert_eq!(labels.sheet().changes.len(), 1);
        assert_eq!(labels.sheet().rows().count(), CHANGES * 2 + 11);
        assert_eq!(sheet.rows().count(), CHANGES * 2 + 10, "a sheet stays as it was");
    }

    /// Series that come and go without a scrape must not be kept: neither before the first scrape
    /// nor behind one with readers still to come. The next scrape finds the right series.
    #[test]
    fn changes_without_a_scrape_are_bounded() {
        let mut labels = Labels::default();
        let slots: Vec<u32> = (0..100).map(|number| labels.push(&format!("{number:03}"))).collect();
        let mut before = None;
        for round in 0..2_000 {
            for slot in &slots {
                labels.remove(*slot);
                labels.put(*slot, &format!("{slot:03}-{round}"));
            }
            if round == 500 {
                before = Some(labels.sheet());
            }
            assert!(labels.kept() <= labels.slots() / 8 + FEW, "{} changes are kept in round {round}", labels.kept());
        }
        let text: usize = labels.changes.iter().map(|changes| changes.text.capacity()).sum();
        assert!(text < 100_000, "{text} bytes for {} series", labels.len());
        let expected = |round: u32| slots.iter().map(move |slot| (*slot, format!("{slot:03}-{round}")));
        let rows = |sheet: &Sheet| sheet.rows().collect::<Vec<_>>();
        assert!(rows(&before.unwrap()).into_iter().eq(expected(500)), "a sheet stays as it was");
        assert!(rows(&labels.sheet()).into_iter().eq(expected(1_999)));
    }

    proptest! {
        /// Comparing rendered text must order as comparing the values themselves does, whatever
        /// they hold.
        #[test]
        fn rendered_order_is_value_order(
            left in prop::collection::vec("[a !\"\\\\\n\u{1}~é]{0,20}", 2),
            right in prop::collection::vec("[a !\"\\\\\n\u{1}~é]{0,20}", 2),
        ) {
            prop_assert_eq!(compare(text(&left).as_bytes(), text(&right).as_bytes()), left.cmp(&right));
        }

        /// However insertions, deaths, slots used again, snapshots and scrapes interleave: each
        /// sheet has the series of its moment, in order, each with its slot.
        #[test]
        fn sheets_are_the_series_of_their_moment(
            steps in prop::collection::vec((0_u8..8, "[a-c \"]{0,4}", any::<prop::sample::Index>()), 1..60)
        ) {
            let (mut labels, mut series, mut free) = (Labels::default(), BTreeMap::new(), Vec::new());
            let mut taken: Vec<(Sheet, Vec<(u32, String)>)> = Vec::new();
            for (kind, value, index) in steps {
                match kind {
                    0..=3 => {
                        let text = text(std::slice::from_ref(&value));
                        let slot = match free.pop() {
                            Some(slot) => { labels.put(slot, &text); slot }
                            None => labels.push(&text),
                        };
                        series.insert(slot, value);
                    }
                    4 if !series.is_empty() => {
                        let slot = *index.get(&series.keys().copied().collect::<Vec<_>>());
                        series.remove(&slot);
                        labels.remove(slot);
                        free.push(slot);
                    }
                    5 => taken.push((labels.sheet(), expected(&series))),
                    _ if !taken.is_empty() => {
                        let (sheet, expected) = index.get(&taken);
                        prop_assert_eq!(&sheet.rows().collect::<Vec<_>>(), expected);
                    }
                    _ => {}
                }
                prop_assert_eq!(labels.len(), series.len());
            }
            taken.push((labels.sheet(), expected(&series)));
            for (sheet, expected) in taken {
                prop_assert_eq!(sheet.len(), expected.len());
                prop_assert_eq!(sheet.rows().collect::<Vec<_>>(), expected);
            }
        }
    }
}
