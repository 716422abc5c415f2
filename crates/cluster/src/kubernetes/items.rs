//! A list, read item by item while it arrives.
//!
//! A server that answers from its watch cache does not split a list into pages: the pods of a large
//! cluster come as one answer of a gigabyte. So items are cut out of the answer without the whole
//! of it being in memory; each is then read on its own. What remains is the list without its items.

use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use kube::client::Body;

use super::lines::{LONGEST_OBJECT, piece};
use super::trouble::Trouble;

/// A list without its items: kind, version and the token of the next page.
const LONGEST_REST: usize = 1 << 20;

/// Closes a list that was read up to its first item.
const CLOSING: &[u8] = b"]}";

/// The items of a list.
#[derive(Debug)]
pub(super) struct Items {
    body: Body,
    cutter: Cutter,
}

impl Items {
    pub(super) fn new(body: Body) -> Self {
        Self { body, cutter: Cutter::default() }
    }

    /// The next item; none after the last one. Waits for each piece of it at most `patience`.
    pub(super) async fn next(&mut self, patience: Duration) -> Result<Option<Bytes>, Trouble> {
        loop {
            if let Some(item) = self.cutter.next()? {
                return Ok(Some(item));
            }
            match tokio::time::timeout(patience, piece(&mut self.body)).await {
                Err(_) => return Err(Trouble::Late(patience)),
                Ok(piece) => match piece? {
                    Some(data) => self.cutter.buffer.extend_from_slice(&data),
                    None => return Ok(None),
                },
            }
        }
    }

    /// The list without items, as far as it was there before the first item.
    pub(super) fn beginning(&self) -> Vec<u8> {
        [&self.cutter.rest, CLOSING].concat()
    }

    /// The list without items, after the last one.
    pub(super) fn into_rest(mut self) -> Vec<u8> {
        self.cutter.rest.extend_from_slice(&self.cutter.buffer);
        self.cutter.rest
    }
}

/// Which part of a list is being looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Place {
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
struct Cutter {
    /// What was not cut yet.
    buffer: BytesMut,
    /// Bytes of the buffer that were looked at; one more if the next byte is escaped.
    at: usize,
    /// Braces and brackets that are open.
    depth: usize,
    in_string: bool,
    place: Place,
    /// Where the last string of the list's own fields begins and ends in the buffer.
    string: (usize, usize),
    /// That string is the field `items`, and its value comes next.
    is_next: bool,
    rest: Vec<u8>,
}

impl Cutter {
    /// The next item, if all of it is there.
    fn next(&mut self) -> Result<Option<Bytes>, Trouble> {
        loop {
            if self.in_string && !self.skip_string() {
                break;
            }
            let Some(&byte) = self.buffer.get(self.at) else { break };
            // Before a scalar item's comma or bracket, which is not its own.
            if self.place == Place::Item
                && self.depth == 2
                && matches!(byte, b',' | b']' | b' ' | b'\t' | b'\r' | b'\n')
            {
                return Ok(Some(self.cut()));
            }
            self.at += 1;
            if self.place == Place::Between {
                match byte {
                    b']' => self.place = Place::Rest,
                    b',' | b' ' | b'\t' | b'\r' | b'\n' => {
                        self.buffer.advance(self.at);
                        self.at = 0;
                        continue;
                    }
                    _ => self.place = Place::Item,
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
                    if self.place == Place::Item && self.depth == 2 {
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
            Place::Item => (self.buffer.len(), LONGEST_OBJECT, "an item of a list"),
            Place::Rest | Place::Between => (self.rest_len(), LONGEST_REST, "a list without its items"),
        };
        if held > most {
            return Err(Trouble::Garbage(format!("{what} is longer than {most} bytes")));
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
        self.rest.extend_from_slice(&self.buffer.split_to(self.at));
        (self.at, self.place, self.is_next) = (0, Place::Between, false);
    }

    fn cut(&mut self) -> Bytes {
        let item = self.buffer.split_to(self.at).freeze();
        (self.at, self.place) = (0, Place::Between);
        item
    }
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
            while let Some(item) = cutter.next().unwrap() {
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

    /// An item beyond the bound, and a list that never comes to its items, end the reading.
    #[test]
    fn what_is_kept_is_bounded() {
        for (list, piece, bound) in [
            (&br#"{"items":[""#[..], vec![b'x'; 1 << 20], LONGEST_OBJECT),
            (br#"{"metadata":""#, vec![b'x'; 1 << 16], LONGEST_REST),
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
