//! Items cut out of a list in JSON that arrives in pieces.
//!
//! The pods of a large cluster are a gigabyte as the API server sends them, and some hundred
//! megabytes in a file. So items are cut out without the whole of the list being in memory; each is
//! then parsed on its own. What remains is the list without its items.

use bytes::{Buf, Bytes, BytesMut};

/// Objects are at most a few megabytes; what is beyond this is no object.
pub(crate) const MAX_OBJECT_BYTES: usize = 32 << 20;

/// A list without its items: kind, version and the token of the next page.
const MAX_REST_BYTES: usize = 1 << 20;

/// Closes a list that was read up to its first item.
const CLOSING: &[u8] = b"]}";

/// A part that is longer than its bound.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} is longer than {most} bytes")]
pub(crate) struct TooLong {
    what: &'static str,
    most: usize,
}

/// An item, and the lines of the list before it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    pub(crate) item: Bytes,
    pub(crate) lines_before: u64,
}

/// Section of a list that the cutter is in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum ListSection {
    /// The list's own fields.
    #[default]
    Rest,
    /// Within the brackets of the items, before an item or behind one.
    Between,
    Item,
}

/// Cuts the items out of a list. Checks no more of JSON's grammar than it must: items and rest are
/// parsed later.
#[derive(Debug, Default)]
pub(crate) struct Cutter {
    /// Bytes that were not cut yet.
    buffer: BytesMut,
    /// Bytes of the buffer that were scanned; one more if the next byte is escaped.
    at: usize,
    /// Braces and brackets that are open.
    depth: usize,
    in_string: bool,
    place: ListSection,
    /// Begin and end of the last string among the list's own fields, in the buffer.
    string: (usize, usize),
    /// That string is the field `items`, and its value comes next.
    is_next: bool,
    rest: Vec<u8>,
    /// Maximal length of the rest; [`MAX_REST_BYTES`] by default.
    longest_rest: Option<usize>,
    /// Lines that were cut out or have gone to the rest.
    lines: u64,
    /// Lines of the rest before the first item.
    lines_before: u64,
}

impl Cutter {
    /// A cutter for what need not be a list: all of an object may be the rest.
    pub(crate) fn of_objects() -> Self {
        Self { longest_rest: Some(MAX_OBJECT_BYTES), ..Self::default() }
    }

    /// Takes the next piece of the list.
    pub(crate) fn push(&mut self, piece: &[u8]) {
        self.buffer.extend_from_slice(piece);
    }

    /// The list without items, as far as it was there before the first item.
    pub(crate) fn beginning(&self) -> Vec<u8> {
        [&self.rest, CLOSING].concat()
    }

    /// True if a list has begun and its end has not come.
    pub(crate) fn is_open(&self) -> bool {
        self.depth > 0 || self.in_string
    }

    /// Lines of the rest before the first item, and of the items.
    pub(crate) fn lines(&self) -> (u64, u64) {
        (self.lines_before, self.lines - self.lines_before)
    }

    /// The list without items, after the last one.
    pub(crate) fn into_rest(mut self) -> Vec<u8> {
        self.rest.extend_from_slice(&self.buffer);
        self.rest
    }

    /// The next item, if all of it is there.
    pub(crate) fn next(&mut self) -> Result<Option<Cut>, TooLong> {
        loop {
            if self.in_string && !self.skip_string() {
                break;
            }
            let Some(&byte) = self.buffer.get(self.at) else { break };
            // Before a scalar item's comma or bracket, which is not its own.
            if self.place == ListSection::Item
                && self.depth == 2
                && matches!(byte, b',' | b']' | b' ' | b'\t' | b'\r' | b'\n')
            {
                return Ok(Some(self.cut()));
            }
            self.at += 1;
            if self.place == ListSection::Between {
                match byte {
                    b']' => self.place = ListSection::Rest,
                    b',' | b' ' | b'\t' | b'\r' | b'\n' => {
                        self.lines += u64::from(byte == b'\n');
                        self.buffer.advance(self.at);
                        self.at = 0;
                        continue;
                    }
                    _ => self.place = ListSection::Item,
                }
            }
            match byte {
                b'"' => self.begin_string(),
                b'{' | b'[' => {
                    self.depth += 1;
                    if byte == b'[' && self.depth == 2 && self.is_next {
                        self.enter();
                    }
                }
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.place == ListSection::Item && self.depth == 2 {
                        return Ok(Some(self.cut()));
                    }
                }
                b':' if self.depth == 1 => {
                    let (from, to) = self.string;
                    self.is_next = self.buffer.get(from..to) == Some(b"items");
                }
                b',' if self.depth == 1 => self.is_next = false,
                _ => {}
            }
        }
        let (held, most, what) = match self.place {
            ListSection::Item => (self.buffer.len(), MAX_OBJECT_BYTES, "an item of a list"),
            ListSection::Rest | ListSection::Between => {
                (self.rest_len(), self.longest_rest.unwrap_or(MAX_REST_BYTES), "a list without its items")
            }
        };
        if held > most {
            return Err(TooLong { what, most });
        }
        Ok(None)
    }

    fn rest_len(&self) -> usize {
        self.rest.len() + self.buffer.len()
    }

    fn begin_string(&mut self) {
        self.in_string = true;
        if self.depth == 1 {
            self.string = (self.at, self.at);
        }
    }

    /// Goes behind the end of a string; false if that is not there yet.
    fn skip_string(&mut self) -> bool {
        loop {
            let Some(found) = self.buffer.get(self.at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) else {
                self.at = self.at.max(self.buffer.len());
                return false;
            };
            let end = self.at + found;
            if self.buffer.get(end) == Some(&b'"') {
                self.at = end + 1;
                self.in_string = false;
                if self.depth == 1 {
                    self.string.1 = end;
                }
                return true;
            }
            self.at = end + 2;
        }
    }

    /// Goes into the items: what came before them belongs to the rest.
    fn enter(&mut self) {
        let before = self.buffer.split_to(self.at);
        self.lines += newlines(&before);
        self.lines_before = self.lines;
        self.rest.extend_from_slice(&before);
        (self.at, self.place, self.is_next) = (0, ListSection::Between, false);
    }

    fn cut(&mut self) -> Cut {
        let item = self.buffer.split_to(self.at).freeze();
        (self.at, self.place) = (0, ListSection::Between);
        let cut = Cut { lines_before: self.lines, item };
        self.lines += newlines(&cut.item);
        cut
    }
}

fn newlines(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Items and rest of a list that comes in pieces of `size` bytes.
    fn cut(list: &[u8], size: usize) -> (Vec<String>, String) {
        let (mut cutter, mut items) = (Cutter::default(), Vec::new());
        for piece in list.chunks(size) {
            cutter.buffer.extend_from_slice(piece);
            while let Some(Cut { item, .. }) = cutter.next().unwrap() {
                items.push(String::from_utf8_lossy(&item).into_owned());
            }
        }
        let rest = [&cutter.rest[..], &cutter.buffer[..]].concat();
        (items, String::from_utf8_lossy(&rest).into_owned())
    }

    /// Wherever an answer is split, its items come out whole, whatever is in their strings, and the
    /// rest is the list without them. Fields of other depths that are called `items` are none.
    #[test]
    fn items_are_cut_wherever_pieces_end() {
        let items = [
            r#"{"a":"] \" } \\","items":[1,[2]]}"#,
            r#""x,]\\""#,
            "7",
            "null",
            "{}",
            "[ ]",
            r#"{"spec":{"items":[{}]}}"#,
        ];
        let (before, after) =
            (r#"{ "metadata":{"items":[1],"resourceVersion":"9"}, "items" : ["#, r#"] ,"z":"items"}"#);
        let list = format!("{before} {} {after}", items.join(" , "));
        for size in 1..=list.len() {
            assert_eq!(cut(list.as_bytes(), size), (items.map(str::to_owned).to_vec(), format!("{before}{after}")));
        }
        for empty in [r#"{"items":[],"metadata":{}}"#, r#"{"items":null}"#, r#"{"kind":"items","x":[1]}"#, "<html>[1]"]
        {
            assert_eq!(cut(empty.as_bytes(), 3), (vec![], empty.to_owned()));
        }
    }

    /// Each item has its line, wherever pieces end; so has what comes behind the items.
    #[test]
    fn items_have_their_lines() {
        let list = b"{\n\"items\": [\n{\n\"a\": 1\n},\n\n{}, 7],\n\"z\": 1}\n";
        for size in 1..=list.len() {
            let (mut cutter, mut lines) = (Cutter::default(), Vec::new());
            for piece in list.chunks(size) {
                cutter.push(piece);
                while let Some(cut) = cutter.next().unwrap() {
                    lines.push(cut.lines_before);
                }
                assert!(cutter.is_open() || lines.len() == 3);
            }
            assert_eq!((lines, cutter.lines()), (vec![2, 6, 6], (1, 5)), "{size}");
            assert!(!cutter.is_open());
        }
    }

    /// An item beyond the bound, and a list that never comes to its items, end the reading.
    #[test]
    fn what_is_kept_is_bounded() {
        for (list, piece, bound) in [
            (&br#"{"items":[""#[..], vec![b'x'; 1 << 20], MAX_OBJECT_BYTES),
            (br#"{"metadata":""#, vec![b'x'; 1 << 16], MAX_REST_BYTES),
        ] {
            let mut cutter = Cutter::default();
            cutter.buffer.extend_from_slice(list);
            let mut pushed = 0;
            let error = loop {
                match cutter.next() {
                    Ok(item) => assert_eq!(item, None),
                    Err(error) => break error,
                }
                cutter.buffer.extend_from_slice(&piece);
                pushed += piece.len();
                assert!(pushed < bound + 2 * piece.len());
            };
            assert!(error.to_string().contains("is longer than"), "{error}");
        }
    }

    proptest! {
        /// Whatever a server sends, and however it is split, it is cut without a panic, and in the
        /// same way.
        #[test]
        fn nothing_panics(at in 0usize..60, with in any::<u8>(), size in 1usize..60) {
            let mut list = br#"{"metadata":{"a":"\\"},"items":[{"b":[]},7,"\""],"c":[{}]}"#.to_vec();
            let at = at % list.len();
            list[at] = with;
            prop_assert_eq!(cut(&list, size), cut(&list, list.len()));
        }
    }
}
