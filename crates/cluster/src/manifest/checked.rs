//! A stream of text that keeps the reason for which it could not be read: the YAML parser only says
//! that there was one.

use std::io::{self, Read};

use webb_settings::file::{FileError, not_text};

/// Text from a reader.
#[derive(Debug)]
pub(super) struct Checked<R> {
    from: R,
    /// The lines before what comes next.
    lines: u64,
    /// The first bytes of a letter whose others have not come yet.
    begun: Vec<u8>,
    /// The reason for which reading ended, if it did.
    pub(super) failure: Option<FileError>,
}

impl<R: Read> Checked<R> {
    /// Text that begins behind so many lines of its file.
    pub(super) fn new(from: R, lines_before: u64) -> Self {
        Self { from, lines: lines_before, begun: Vec::new(), failure: None }
    }

    fn fail(&mut self, why: FileError) -> io::Error {
        self.failure = Some(why);
        io::ErrorKind::InvalidData.into()
    }
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(to).map_err(|error| self.fail(error.into()))?;
        let mut bytes = std::mem::take(&mut self.begun);
        bytes.extend_from_slice(to.get(..read).unwrap_or_default());
        let valid = match str::from_utf8(&bytes) {
            Ok(_) => bytes.len(),
            Err(error) if error.error_len().is_none() && read > 0 => error.valid_up_to(),
            Err(error) => return Err(self.fail(not_text(&bytes, error, self.lines))),
        };
        let (whole, begun) = bytes.split_at(valid);
        self.lines += memchr::memchr_iter(b'\n', whole).count() as u64;
        self.begun.extend_from_slice(begun);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A letter in several pieces is one; one that is none, or has no end, has its line.
    #[test]
    fn letters_in_pieces() {
        for (bytes, line) in [
            (&b"a\n\xe2\x82\xac\n\xc3\xa9"[..], None),
            (b"a\n\xe2\x82\n", Some(12)),
            (b"\n\n\xff", Some(13)),
            (b"\n\xe2\x82", Some(12)),
        ] {
            for size in 1..=bytes.len() {
                let mut text = Checked::new(bytes, 10);
                let mut piece = vec![0; size];
                while matches!(text.read(&mut piece), Ok(1..)) {}
                let found = text.failure.map(|why| why.to_string());
                assert_eq!(found, line.map(|line| format!("line {line} is not UTF-8")), "{bytes:?} {size}");
            }
        }
    }
}
