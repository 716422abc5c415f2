//! HPACK (RFC 7541) for a reader that may join late.
//!
//! Earlier insertions are unknown then: an index behind the known entries is an unknown field, and
//! later insertions are exact. Values are kept of few fields only, of all others their size. No
//! input grows a table beyond its bound.

use std::collections::VecDeque;

use super::huffman;

/// Bytes of a table at first.
const TABLE: usize = 4096;

/// Bytes of a table at most; an encoder that was allowed more is followed as far as that.
pub(super) const TABLE_MOST: usize = 64 * 1024;

/// Bytes that an entry counts beside its texts.
const OVERHEAD: usize = 32;

/// Bytes of memory that a table keeps after its connection has ended.
const KEPT_TABLE_BYTES: usize = 8 * 1024;

/// Names with stored values; texts of all others only where headers are wanted.
const NAMES: [&[u8]; 8] =
    [b":method", b":path", b":authority", b":status", b"content-type", b"grpc-status", b"traceparent", b"x-request-id"];

/// Appendix A.
#[rustfmt::skip]
const STATIC: [(&str, &str); 61] = [
    (":authority", ""), (":method", "GET"), (":method", "POST"), (":path", "/"), (":path", "/index.html"),
    (":scheme", "http"), (":scheme", "https"), (":status", "200"), (":status", "204"), (":status", "206"),
    (":status", "304"), (":status", "400"), (":status", "404"), (":status", "500"), ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"), ("accept-language", ""), ("accept-ranges", ""), ("accept", ""),
    ("access-control-allow-origin", ""), ("age", ""), ("allow", ""), ("authorization", ""), ("cache-control", ""),
    ("content-disposition", ""), ("content-encoding", ""), ("content-language", ""), ("content-length", ""),
    ("content-location", ""), ("content-range", ""), ("content-type", ""), ("cookie", ""), ("date", ""), ("etag", ""),
    ("expect", ""), ("expires", ""), ("from", ""), ("host", ""), ("if-match", ""), ("if-modified-since", ""),
    ("if-none-match", ""), ("if-range", ""), ("if-unmodified-since", ""), ("last-modified", ""), ("link", ""),
    ("location", ""), ("max-forwards", ""), ("proxy-authenticate", ""), ("proxy-authorization", ""), ("range", ""),
    ("referer", ""), ("refresh", ""), ("retry-after", ""), ("server", ""), ("set-cookie", ""),
    ("strict-transport-security", ""), ("transfer-encoding", ""), ("user-agent", ""), ("vary", ""), ("via", ""),
    ("www-authenticate", ""),
];

/// A field of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen<'a> {
    /// Its name and value.
    Field(&'a [u8], &'a [u8]),
    /// An entry that was inserted before the table was known.
    Unknown,
}

/// The block is no HPACK; the table means nothing from here on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Broken;

/// A name in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    /// A row of [`NAMES`].
    Kept(u8),
    /// Another name; its text is there if headers are wanted.
    Other(u16),
    Unknown,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    size: u32,
    name: Name,
    name_length: u16,
    /// Bytes of its value that are kept; none if it has a value that is not.
    value: Option<u32>,
    /// The count of appended bytes behind its texts.
    end: u32,
}

impl Entry {
    /// Bytes that it has in the table's text.
    fn kept(&self) -> usize {
        let name = if let Name::Other(length) = self.name { usize::from(length) } else { 0 };
        name + self.value.map_or(0, |length| length as usize)
    }
}

/// One direction's table.
#[derive(Debug)]
pub(super) struct Table {
    /// Oldest first.
    entries: VecDeque<Entry>,
    /// Texts of the entries in their order, from `begin` on.
    text: Vec<u8>,
    begin: usize,
    /// Bytes that were ever appended to `text`, modulo 2^32.
    appended: u32,
    size: usize,
    most: usize,
    /// Older entries may be in the encoder's table.
    missing: bool,
    /// `most` is the encoder's bound, not a guess.
    exact: bool,
    /// The encoder's table is larger than what is kept.
    pub(super) oversized: bool,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            entries: VecDeque::new(),
            text: Vec::new(),
            begin: 0,
            appended: 0,
            size: 0,
            most: TABLE,
            missing: false,
            exact: true,
            oversized: false,
        }
    }
}

/// Texts of one field while it is read.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    name: Vec<u8>,
    value: Vec<u8>,
}

impl Table {
    /// Forgets what is in the table, since it is not known any more.
    pub(super) fn forget(&mut self) {
        self.empty();
        (self.missing, self.exact) = (true, false);
    }

    /// The table of a new connection, in the same memory.
    pub(super) fn reset(&mut self) {
        let mut kept = std::mem::take(self);
        kept.empty();
        if kept.footprint() <= KEPT_TABLE_BYTES {
            (self.entries, self.text) = (kept.entries, kept.text);
        }
    }

    /// Gives the memory back and forgets all.
    pub(super) fn release(&mut self) {
        *self = Self { most: self.most, ..Self::default() };
        self.forget();
    }

    /// Bytes of memory.
    pub(super) fn footprint(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>() + self.text.capacity()
    }

    /// Bytes by HPACK's count.
    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.size
    }

    fn empty(&mut self) {
        self.entries.clear();
        self.text.clear();
        (self.begin, self.size) = (0, 0);
    }

    /// Decodes a block, and shows its fields in order. With `all` the texts of all fields are kept,
    /// else only those of [`NAMES`] are shown.
    ///
    /// # Errors
    /// If the block breaks HPACK's rules. The table is forgotten then.
    pub(super) fn decode(
        &mut self,
        block: &[u8],
        all: bool,
        scratch: &mut Scratch,
        show: &mut dyn FnMut(Seen<'_>),
    ) -> Result<(), Broken> {
        let mut rest = block;
        while let Some(&first) = rest.first() {
            if self.field(first, &mut rest, all, scratch, show).is_none() {
                self.forget();
                return Err(Broken);
            }
        }
        Ok(())
    }

    fn field(
        &mut self,
        first: u8,
        rest: &mut &[u8],
        all: bool,
        scratch: &mut Scratch,
        show: &mut dyn FnMut(Seen<'_>),
    ) -> Option<()> {
        if first & 0x80 != 0 {
            let index = integer(rest, 7)?;
            return self.indexed(index, show);
        }
        if first & 0xe0 == 0x20 {
            let most = integer(rest, 5)?;
            self.resize(most);
            return Some(());
        }
        let inserts = first & 0x40 != 0;
        let index = integer(rest, if inserts { 6 } else { 4 })?;
        scratch.name.clear();
        scratch.value.clear();
        let mut length = 0;
        let name = if index == 0 {
            string(rest, &mut scratch.name)?;
            length = scratch.name.len();
            name_of(&scratch.name)
        } else {
            self.name(index, &mut scratch.name, &mut length)?
        };
        string(rest, &mut scratch.value)?;
        match name {
            Name::Unknown => show(Seen::Unknown),
            Name::Kept(_) => show(Seen::Field(&scratch.name, &scratch.value)),
            Name::Other(_) if all => show(Seen::Field(&scratch.name, &scratch.value)),
            Name::Other(_) => {}
        }
        if inserts {
            self.insert(name, length, all, scratch);
        }
        Some(())
    }

    fn indexed(&self, index: usize, show: &mut dyn FnMut(Seen<'_>)) -> Option<()> {
        let at = index.checked_sub(1)?;
        if let Some((name, value)) = STATIC.get(at) {
            show(Seen::Field(name.as_bytes(), value.as_bytes()));
            return Some(());
        }
        let Some((entry, text)) = self.entry(at - STATIC.len()) else {
            self.missing.then(|| show(Seen::Unknown))?;
            return Some(());
        };
        match (entry.name, entry.value) {
            (Name::Unknown, _) => show(Seen::Unknown),
            (Name::Kept(row), Some(_)) => show(Seen::Field(NAMES.get(usize::from(row))?, text)),
            (Name::Other(length), Some(_)) if length > 0 => {
                let (name, value) = text.split_at_checked(usize::from(length))?;
                show(Seen::Field(name, value));
            }
            // Neither name nor value of it is wanted.
            _ => {}
        }
        Some(())
    }

    /// The entry that was inserted as the `at`th before the last, and its texts.
    fn entry(&self, at: usize) -> Option<(Entry, &[u8])> {
        let from_oldest = self.entries.len().checked_sub(at + 1)?;
        let entry = *self.entries.get(from_oldest)?;
        let end = self.text.len().checked_sub(self.appended.wrapping_sub(entry.end) as usize)?;
        Some((entry, self.text.get(end.checked_sub(entry.kept())?..end)?))
    }

    /// The name at an index, its text if that is known, and its length.
    fn name(&self, index: usize, text: &mut Vec<u8>, length: &mut usize) -> Option<Name> {
        let at = index.checked_sub(1)?;
        if let Some((name, _)) = STATIC.get(at) {
            text.extend_from_slice(name.as_bytes());
            *length = name.len();
            return Some(name_of(name.as_bytes()));
        }
        let Some((entry, texts)) = self.entry(at - STATIC.len()) else {
            return self.missing.then_some(Name::Unknown);
        };
        match entry.name {
            Name::Kept(row) => text.extend_from_slice(NAMES.get(usize::from(row))?),
            Name::Other(known) => text.extend_from_slice(texts.get(..usize::from(known))?),
            Name::Unknown => {}
        }
        *length = usize::from(entry.name_length);
        Some(entry.name)
    }

    /// Sets the bound. Beyond what is kept, what is older than that counts as missing.
    fn resize(&mut self, most: usize) {
        self.most = most.min(TABLE_MOST);
        self.exact = most <= TABLE_MOST;
        if !self.exact {
            (self.missing, self.oversized) = (true, true);
        }
        self.shrink(self.most);
        if most == 0 {
            self.missing = false;
        }
    }

    /// Evicts entries until so many bytes are left.
    fn shrink(&mut self, most: usize) {
        while self.size > most {
            let Some(oldest) = self.entries.pop_front() else { break };
            self.size -= oldest.size as usize;
            self.begin += oldest.kept();
            // The encoder evicted what is older than this before.
            self.missing &= !self.exact;
        }
        if self.begin > self.text.len() / 2 {
            self.text.copy_within(self.begin.., 0);
            self.text.truncate(self.text.len() - self.begin);
            self.begin = 0;
        }
    }

    fn insert(&mut self, name: Name, length: usize, all: bool, scratch: &Scratch) {
        let size = length + scratch.value.len() + OVERHEAD;
        if size > self.most {
            self.shrink(0);
            self.missing &= !self.exact;
            return;
        }
        self.shrink(self.most - size);
        let keeps = matches!(name, Name::Kept(_)) || all && matches!(name, Name::Other(_));
        let name = match name {
            Name::Other(_) if all => Name::Other(u16::try_from(scratch.name.len()).unwrap_or(0)),
            Name::Other(_) => Name::Other(0),
            other => other,
        };
        if let Name::Other(1..) = name {
            self.text.extend_from_slice(&scratch.name);
        }
        if keeps {
            self.text.extend_from_slice(&scratch.value);
        }
        let value = keeps.then_some(u32::try_from(scratch.value.len()).unwrap_or(0));
        let mut entry = Entry {
            size: u32::try_from(size).unwrap_or(u32::MAX),
            name,
            name_length: u16::try_from(length).unwrap_or(u16::MAX),
            value,
            end: 0,
        };
        self.appended = self.appended.wrapping_add(u32::try_from(entry.kept()).unwrap_or(u32::MAX));
        entry.end = self.appended;
        self.entries.push_back(entry);
        self.size += size;
    }
}

fn name_of(name: &[u8]) -> Name {
    let row = NAMES.iter().position(|known| *known == name);
    row.and_then(|row| u8::try_from(row).ok()).map_or(Name::Other(0), Name::Kept)
}

/// A number behind a prefix of so many bits (5.1).
fn integer(rest: &mut &[u8], bits: u32) -> Option<usize> {
    let (first, mut behind) = rest.split_first()?;
    let mask = (1_usize << bits) - 1;
    let mut number = usize::from(*first) & mask;
    if number == mask {
        let mut shift = 0;
        loop {
            let (byte, next) = behind.split_first()?;
            behind = next;
            // Four bytes hold every number that means something.
            if shift > 21 {
                return None;
            }
            number += usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
    }
    *rest = behind;
    Some(number)
}

/// A text, plain or in Huffman's code (5.2), appended to `out`.
fn string(rest: &mut &[u8], out: &mut Vec<u8>) -> Option<()> {
    let coded = rest.first()? & 0x80 != 0;
    let length = integer(rest, 7)?;
    let (text, behind) = rest.split_at_checked(length)?;
    *rest = behind;
    if coded {
        return huffman::decode(text, out);
    }
    out.extend_from_slice(text);
    Some(())
}

#[cfg(test)]
mod tests;
