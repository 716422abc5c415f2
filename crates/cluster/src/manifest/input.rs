//! A file that is read in pieces, document by document.
//!
//! Documents are separated by `---` lines, which neither YAML nor JSON allows anywhere else. Memory
//! is one piece, however long a document or a line is.

use std::io::{self, Read};

/// Bytes that are read at once.
const PIECE: usize = 64 << 10;

/// A marker and what must follow it: white space, or the end.
const MARKER: usize = 4;

/// The place in a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Before its first piece.
    Beginning,
    Within,
    /// In a `...` line, which ends it.
    LastLine,
    End,
}

/// The documents of a file.
#[derive(Debug)]
pub(super) struct Input<R> {
    from: R,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    is_at_end: bool,
    is_line_start: bool,
    place: Place,
    lines: u64,
}

pub(super) fn is_marker(line: &[u8], marker: &[u8]) -> bool {
    let rest = line.strip_prefix(marker);
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b' ' | b'\t' | b'\r' | b'\n')))
}

impl<R: Read> Input<R> {
    pub(super) fn new(from: R) -> Self {
        Self {
            from,
            buffer: vec![0; PIECE],
            start: 0,
            end: 0,
            is_at_end: false,
            is_line_start: true,
            place: Place::Beginning,
            lines: 0,
        }
    }

    /// Lines that were handed out.
    pub(super) fn lines(&self) -> u64 {
        self.lines
    }

    /// Goes on to the next document; false at the end of the file. The one before must have been
    /// read to its end.
    pub(super) fn next_document(&mut self) -> io::Result<bool> {
        self.fill()?;
        self.place = Place::Beginning;
        Ok(self.start < self.end)
    }

    /// The next piece of this document; none after the last one.
    pub(super) fn piece(&mut self) -> io::Result<Option<&[u8]>> {
        if self.place == Place::End {
            return Ok(None);
        }
        self.fill()?;
        let bytes = self.buffer.get(self.start..self.end).unwrap_or_default();
        if bytes.is_empty() || (self.is_line_start && self.place != Place::Beginning && is_marker(bytes, b"---")) {
            return Ok(None);
        }
        let is_last_line = self.place == Place::LastLine || (self.is_line_start && is_marker(bytes, b"..."));
        let mut to = 0;
        loop {
            let Some(found) = bytes.get(to..).and_then(|rest| memchr::memchr(b'\n', rest)) else {
                (to, self.is_line_start) = (bytes.len(), false);
                break;
            };
            (to, self.is_line_start) = (to + found + 1, true);
            self.lines += 1;
            let rest = bytes.get(to..).unwrap_or_default();
            let is_unknown = rest.len() < MARKER && !self.is_at_end;
            if is_last_line || is_unknown || is_marker(rest, b"---") || is_marker(rest, b"...") {
                break;
            }
        }
        self.place = match (is_last_line, self.is_line_start) {
            (false, _) => Place::Within,
            (true, false) => Place::LastLine,
            (true, true) => Place::End,
        };
        let from = self.start;
        self.start += to;
        Ok(self.buffer.get(from..self.start))
    }

    /// Reads so much that a marker would be recognised.
    fn fill(&mut self) -> io::Result<()> {
        if self.end - self.start >= MARKER || self.is_at_end {
            return Ok(());
        }
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        while self.end < MARKER && !self.is_at_end {
            let room = self.buffer.get_mut(self.end..).unwrap_or_default();
            match self.from.read(room) {
                Ok(read) => {
                    self.is_at_end = read == 0;
                    self.end += read;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// One document, beginning with bytes that were read before.
pub(super) struct Whole<'a, R> {
    pub(super) head: &'a [u8],
    pub(super) input: &'a mut Input<R>,
    /// A piece that was handed out in part: its end.
    rest: Vec<u8>,
    at: usize,
}

impl<'a, R: Read> Whole<'a, R> {
    pub(super) fn new(head: &'a [u8], input: &'a mut Input<R>) -> Self {
        Self { head, input, rest: Vec::new(), at: 0 }
    }
}

impl<R: Read> Read for Whole<'_, R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if !self.head.is_empty() {
            return self.head.read(to);
        }
        if self.at == self.rest.len() {
            self.rest.clear();
            self.at = 0;
            if let Some(piece) = self.input.piece()? {
                self.rest.extend_from_slice(piece);
            }
        }
        let read = self.rest.get(self.at..).unwrap_or_default().read(to)?;
        self.at += read;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A reader that gives a few bytes at a time.
    struct Slow<'a>(&'a [u8], usize);

    impl Read for Slow<'_> {
        fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
            let most = to.len().min(self.1);
            self.0.read(&mut to[..most])
        }
    }

    fn documents(text: &str, size: usize) -> Vec<(u64, String)> {
        let (mut input, mut found) = (Input::new(Slow(text.as_bytes(), size)), Vec::new());
        while input.next_document().unwrap() {
            let lines = input.lines();
            let mut document = Vec::new();
            while let Some(piece) = input.piece().unwrap() {
                document.extend_from_slice(piece);
            }
            found.push((lines, String::from_utf8(document).unwrap()));
        }
        found
    }

    /// A marker at the margin cuts and begins the next document; `...` belongs to the one that it
    /// ends.
    #[test]
    fn markers_cut() {
        let text = "a\n---\nb\n ---\n---x\n...\nc\n--- d\r\n---";
        let expected = [(0, "a\n"), (1, "---\nb\n ---\n---x\n...\n"), (6, "c\n"), (7, "--- d\r\n"), (8, "---")];
        for size in 1..=text.len() {
            let found = documents(text, size);
            let found: Vec<(u64, &str)> = found.iter().map(|(lines, text)| (*lines, text.as_str())).collect();
            assert_eq!(found, expected, "{size}");
        }
    }

    proptest! {
        /// However a file arrives, its documents are the same, and nothing of it is missing.
        #[test]
        fn pieces_do_not_matter(text in "[-.a \n]{0,60}", size in 1_usize..9) {
            let found = documents(&text, size);
            prop_assert_eq!(&found, &documents(&text, 1000));
            prop_assert_eq!(found.into_iter().map(|(_, text)| text).collect::<String>(), text);
        }
    }
}
