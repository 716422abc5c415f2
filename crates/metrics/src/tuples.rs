//! Numbers for tuples of label texts that fit no number by themselves: DNS questions, HTTP methods,
//! numbers of Hubble's enums that have no name.
//!
//! A plugin packs its labels into 64 bits. Where a label is free text it asks for the number of the
//! whole tuple here, once a flow: the texts are written one behind the other into a buffer that is
//! used again, and one probe finds the tuple. Nothing is allocated for a tuple that is known.
//! Tuples belong to one metric. Those that no series has are dropped, when there are as many of
//! them as of others.

use std::hash::BuildHasher;
use std::ops::Range;

use hashbrown::{HashSet, HashTable};
use webb_flow::hash::RandomState;

use super::limit;
use super::table::Texts;

/// Tuples of a metric at most: text can be made up, and memory must not grow with it for ever. All
/// further ones are one tuple, whose texts are [`limit::OTHER`].
const MAX_TUPLES: usize = 1 << 20;

/// Bytes of text that they may have together: most tuples are a few dozen bytes, but a label may
/// have 4096.
const MAX_BYTES: usize = 64 << 20;

/// Tuples, and bytes of them, below which no sweep is worth its work.
const FEW: usize = 4096;
const FEW_BYTES: usize = 1 << 20;

/// Set in keys that are the number of a tuple instead of packed labels, in metrics that have both.
pub const TUPLE: u64 = 1 << 63;

/// The tuple of such a key, if that is what it is.
pub fn tuple(key: u64) -> Option<u64> {
    (key & TUPLE != 0).then_some(key & !TUPLE)
}

/// Ends a field. No byte of UTF-8 text is like it.
const END: u8 = 0xff;

/// The tuples of one metric.
#[derive(Debug)]
pub struct Tuples {
    ids: HashTable<u32>,
    hasher: RandomState,
    /// All tuples, one behind the other, each field with [`END`].
    bytes: Vec<u8>,
    /// Bytes of each tuple, by its number; empty for a number that is free.
    rows: Vec<Range<usize>>,
    free: Vec<u32>,
    /// Number of tuples, and of bytes, that the last sweep has left.
    swept: (usize, usize),
    scratch: Vec<u8>,
    limit: usize,
    most_bytes: usize,
}

impl Default for Tuples {
    fn default() -> Self {
        Self {
            ids: HashTable::new(),
            hasher: RandomState::default(),
            bytes: Vec::new(),
            rows: Vec::new(),
            free: Vec::new(),
            swept: (0, 0),
            scratch: Vec::new(),
            limit: MAX_TUPLES,
            most_bytes: MAX_BYTES,
        }
    }
}

impl Tuples {
    /// Begins a tuple.
    pub fn tuple(&mut self) -> Tuple<'_> {
        self.scratch.clear();
        Tuple { tuples: self }
    }

    /// The texts of a tuple, by its number.
    pub fn texts(&self, id: u64) -> Texts {
        let fields = usize::try_from(id).map_or(&[][..], |id| row(&self.bytes, &self.rows, id));
        let fields = fields.strip_suffix(&[END]).unwrap_or(fields);
        fields.split(|&byte| byte == END).map(|field| String::from_utf8_lossy(field).into_owned().into()).collect()
    }

    fn id(&mut self) -> u64 {
        let hash = self.hasher.hash_one(self.scratch.as_slice());
        let (bytes, rows) = (&self.bytes, &self.rows);
        if let Some(&known) = self.ids.find(hash, |&id| row(bytes, rows, id as usize) == self.scratch.as_slice()) {
            return u64::from(known);
        }
        self.meet(hash)
    }

    #[cold]
    fn meet(&mut self, hash: u64) -> u64 {
        let fields = self.scratch.split_inclusive(|&byte| byte == END).count();
        if self.ids.len() >= self.limit || self.bytes.len() + self.scratch.len() > self.most_bytes {
            let other: Vec<u8> =
                std::iter::repeat_n(limit::OTHER, fields).flat_map(|text| text.bytes().chain([END])).collect();
            if self.scratch != other {
                limit::note_folded();
                self.scratch = other;
                return self.id();
            }
        }
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&self.scratch);
        let id = self.free.pop().unwrap_or_else(|| {
            self.rows.push(0..0);
            u32::try_from(self.rows.len() - 1).unwrap_or(u32::MAX)
        });
        if let Some(row) = self.rows.get_mut(id as usize) {
            *row = start..self.bytes.len();
        }
        let (hasher, bytes, rows) = (&self.hasher, &self.bytes, &self.rows);
        self.ids.insert_unique(hash, id, |&id| hasher.hash_one(row(bytes, rows, id as usize)));
        u64::from(id)
    }

    /// True if there are twice as many as after the last sweep, or they are twice as long.
    pub(super) fn is_worth_a_sweep(&self) -> bool {
        let (tuples, bytes) = self.swept;
        self.ids.len() > 2 * tuples + FEW || self.bytes.len() > 2 * bytes + FEW_BYTES
    }

    /// Drops all tuples but these: no key has the number of another any more.
    pub(super) fn retain(&mut self, used: &HashSet<u64, RandomState>) {
        let dropped: Vec<u32> = self.ids.extract_if(|id| !used.contains(&u64::from(*id))).collect();
        for id in dropped {
            if let Some(row) = self.rows.get_mut(id as usize) {
                *row = 0..0;
            }
            self.free.push(id);
        }
        let mut bytes = Vec::new();
        for row in &mut self.rows {
            let start = bytes.len();
            bytes.extend_from_slice(self.bytes.get(row.clone()).unwrap_or_default());
            *row = start..bytes.len();
        }
        self.bytes = bytes;
        self.swept = (self.ids.len(), self.bytes.len());
    }
}

fn row<'a>(bytes: &'a [u8], rows: &[Range<usize>], id: usize) -> &'a [u8] {
    rows.get(id).and_then(|row| bytes.get(row.clone())).unwrap_or_default()
}

/// A tuple being put together, label by label.
#[derive(Debug)]
pub struct Tuple<'a> {
    tuples: &'a mut Tuples,
}

impl Tuple<'_> {
    /// The next label. Cut where it is too long for a label.
    #[must_use]
    pub fn text(self, text: &str) -> Self {
        self.tuples.scratch.extend_from_slice(limit::cut(text).as_bytes());
        self.tuples.scratch.push(END);
        self
    }

    /// The next label: text from the wire. Cut where it is too long for that.
    #[must_use]
    pub fn wire_text(self, text: &str) -> Self {
        let (begin, end) = limit::clip(text);
        self.tuples.scratch.extend_from_slice(begin.as_bytes());
        self.tuples.scratch.extend_from_slice(end.as_bytes());
        self.tuples.scratch.push(END);
        self
    }

    /// The next label: texts, with commas between them.
    #[must_use]
    pub fn joined(self, texts: &[String]) -> Self {
        let scratch = &mut self.tuples.scratch;
        let start = scratch.len();
        for (at, text) in texts.iter().enumerate() {
            if at > 0 {
                scratch.push(b',');
            }
            scratch.extend_from_slice(text.as_bytes());
        }
        // It is text, for it was put together of text.
        let whole = scratch.get(start..).and_then(|joined| std::str::from_utf8(joined).ok()).unwrap_or_default();
        let length = limit::cut(whole).len();
        scratch.truncate(start + length);
        scratch.push(END);
        self
    }

    /// The next label: a number in decimal.
    #[must_use]
    pub fn number(self, number: impl itoa::Integer) -> Self {
        self.text(itoa::Buffer::new().format(number))
    }

    /// The number of the tuple, the same each time.
    pub fn id(self) -> u64 {
        self.tuples.id()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(tuples: &mut Tuples, texts: &[String]) -> u64 {
        texts.iter().fold(tuples.tuple(), |tuple, text| tuple.text(text)).id()
    }

    /// Made-up text must not grow the table past its limit, and what comes too late must still be
    /// counted, as one.
    #[test]
    fn past_the_limit_all_are_one() {
        let mut tuples = Tuples { limit: 2, ..Tuples::default() };
        let ids: Vec<u64> = ["a", "b", "c", "d", "a"].map(|text| tuples.tuple().text(text).number(1).id()).to_vec();
        assert_eq!(ids, [0, 1, 2, 2, 0]);
        assert_eq!(tuples.texts(2), ["~other", "~other"]);
        assert_eq!(tuples.texts(0), ["a", "1"]);
    }

    /// Few tuples of long text must not grow the table either.
    #[test]
    fn past_so_many_bytes_all_are_one() {
        let mut tuples = Tuples { most_bytes: 3 * limit::MAX_BYTES, ..Tuples::default() };
        let text = |at: u8| char::from(b'a' + at).to_string().repeat(limit::MAX_BYTES);
        let ids: Vec<u64> = (0..5).map(|at| tuples.tuple().text(&text(at)).id()).collect();
        assert_eq!(ids, [0, 1, 2, 2, 2]);
        assert_eq!(tuples.texts(2), ["~other"]);
        assert_eq!(tuples.tuple().text(&text(1)).id(), 1);
    }

    /// A tuple without series is dropped, and its number used again; all others keep their texts.
    #[test]
    fn unused_tuples_are_dropped() {
        let mut tuples = Tuples::default();
        let text = |number: u64| format!("{number}.example.org");
        let mut grown = 0;
        for number in 0..100_000 {
            assert_eq!(tuples.tuple().text("kept").id(), 0);
            tuples.tuple().text(&text(number)).id();
            if tuples.is_worth_a_sweep() {
                tuples.retain(&HashSet::from_iter([0]));
            }
            grown = grown.max(tuples.rows.len());
        }
        assert!(grown <= FEW + 8, "{grown}");
        assert_eq!(tuples.texts(0), ["kept"]);
        let id = tuples.tuple().text("last").id();
        assert_eq!(tuples.texts(id), ["last"]);
    }

    /// Joining is one label, and neither it nor any other grows past the limit of a label.
    #[test]
    fn labels_are_joined_and_cut() {
        let mut tuples = Tuples::default();
        let types = ["A", "AAAA"].map(String::from);
        let long = "é".repeat(limit::MAX_BYTES);
        let id = tuples.tuple().joined(&types).joined(&[]).text(&long).joined(&[long.clone(), long.clone()]).id();
        let texts = tuples.texts(id);
        assert_eq!(texts[..2], ["A,AAAA", ""]);
        assert!(texts[2..].iter().all(|text| text.len() == limit::MAX_BYTES && long.starts_with(&**text)));
    }

    proptest! {
        /// Two tuples have one number if, and only if, they are the same; and their texts come
        /// back.
        #[test]
        fn one_number_for_each(all in prop::collection::vec(prop::collection::vec("[a,é]{0,2}", 1..4), 1..40)) {
            let mut tuples = Tuples::default();
            let ids: Vec<u64> = all.iter().map(|texts| id(&mut tuples, texts)).collect();
            for (one, texts) in ids.iter().zip(&all) {
                prop_assert_eq!(&tuples.texts(*one), texts);
                for (other, others) in ids.iter().zip(&all) {
                    prop_assert_eq!(one == other, texts == others);
                }
            }
        }
    }
}
