//! The label text of every series of a table, rendered once and shared with each scrape.
//!
//! A series' labels never change, so `a="x",b="y"` is written when the series is born and copied ever after. Texts lie
//! in chunks of [`ROWS`] series behind `Arc`s: a snapshot clones the list of chunks, a birth goes into the last chunk.
//! Only if a snapshot still holds that chunk is it copied first, at most once per snapshot.

use std::cmp::Ordering;
use std::sync::Arc;

/// Series in a chunk.
const ROWS: usize = 1024;

/// Texts of up to [`ROWS`] series, one behind the other. A row is found by its range, not by its neighbours, so a
/// slot can be given another text without touching the rest.
#[derive(Debug, Clone, Default)]
struct Chunk {
    text: String,
    rows: Vec<(u32, u32)>,
}

impl Chunk {
    fn push(&mut self, text: &str) {
        let start = self.text.len();
        self.text.push_str(text);
        // Past 4 GiB in one chunk the range is empty rather than wrong.
        let range = u32::try_from(start).and_then(|start| Ok((start, u32::try_from(self.text.len())?)));
        self.rows.push(range.unwrap_or((0, 0)));
    }

    fn get(&self, row: usize) -> &str {
        let Some(&(start, end)) = self.rows.get(row) else { return "" };
        self.text.get(start as usize..end as usize).unwrap_or("")
    }
}

/// Label texts by slot: `a="x",b="y"`, without braces, pairs sorted by label name, values escaped. A clone is cheap
/// and stays as it is while the original grows.
#[derive(Debug, Clone, Default)]
pub struct Labels {
    chunks: Vec<Arc<Chunk>>,
    rows: usize,
}

impl Labels {
    /// Adds a series' text behind the others.
    pub fn push(&mut self, text: &str) {
        if self.rows.is_multiple_of(ROWS) {
            self.chunks.push(Arc::default());
        }
        if let Some(last) = self.chunks.last_mut() {
            Arc::make_mut(last).push(text);
            self.rows += 1;
        }
    }

    /// The text of a slot; empty for a series without labels and for a slot that does not exist.
    pub fn get(&self, slot: u32) -> &str {
        let slot = slot as usize;
        self.chunks.get(slot / ROWS).map_or("", |chunk| chunk.get(slot % ROWS))
    }

    /// How many series have a text.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// True before the first series.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }
}

/// Appends `name="value"`, with a comma before it unless `out` is empty. Backslash, quote and line feed are escaped.
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

/// Orders two texts of one family by their label values, in label-name order, as if they were not escaped.
///
/// Both have the same label names, so they first differ inside a value or at its end. Comparing the bytes there is
/// right but for two things: a value that ends (the closing quote) comes before one that goes on, and an escaped
/// character counts as what it stands for.
pub(super) fn compare(left: &str, right: &str) -> Ordering {
    let (left, right) = (left.as_bytes(), right.as_bytes());
    let Some(at) = left.iter().zip(right).position(|(one, other)| one != other) else {
        return left.len().cmp(&right.len());
    };
    let before = left.get(..at).unwrap_or_default();
    let escaped = before.iter().rev().take_while(|&&byte| byte == b'\\').count() % 2 == 1;
    rank(left, at, escaped).cmp(&rank(right, at, escaped))
}

/// The character at `at` as it was before escaping, raised by one so that the end of a value can be 0.
fn rank(text: &[u8], at: usize, escaped: bool) -> u16 {
    let plain = |byte: Option<&u8>| u16::from(byte.copied().unwrap_or(0)) + 1;
    let unescaped = |byte: Option<&u8>| if byte == Some(&b'n') { plain(Some(&b'\n')) } else { plain(byte) };
    match text.get(at) {
        byte if escaped => unescaped(byte),
        Some(b'"') => 0,
        Some(b'\\') => unescaped(text.get(at + 1)),
        byte => plain(byte),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(values: &[String]) -> String {
        let mut out = String::new();
        for (at, value) in values.iter().enumerate() {
            write_pair(&mut out, &format!("l{at}"), value);
        }
        out
    }

    /// A snapshot must not see what was born after it, and growing must not disturb it.
    #[test]
    fn a_clone_stays_as_it_was() {
        let mut labels = Labels::default();
        for number in 0..ROWS + 10 {
            labels.push(&number.to_string());
        }
        let before = labels.clone();
        labels.push("later");
        assert_eq!(before.len(), ROWS + 10);
        assert_eq!(labels.get(u32::try_from(ROWS + 10).unwrap()), "later");
        assert_eq!(before.get(u32::try_from(ROWS + 10).unwrap()), "");
        assert_eq!(before.get(u32::try_from(ROWS).unwrap()), ROWS.to_string());
    }

    proptest! {
        /// Comparing rendered text must order as comparing the values themselves does, whatever they hold.
        #[test]
        fn rendered_order_is_value_order(
            left in prop::collection::vec("[a !\"\\\\\n\u{1}~é]{0,5}", 2),
            right in prop::collection::vec("[a !\"\\\\\n\u{1}~é]{0,5}", 2),
        ) {
            prop_assert_eq!(compare(&text(&left), &text(&right)), left.cmp(&right));
        }
    }
}
