//! Lines of a stream, cut from one buffer.

use std::io::{self, Read};
use std::ops::ControlFlow;

use memchr::memchr;

/// Number of bytes per read.
const READ_BYTES: usize = 1 << 20;

/// A line may be this long; flows have about a thousand bytes.
pub(super) const MAX_LINE_BYTES: usize = 16 << 20;

/// One line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line<'a> {
    /// Its bytes, without the line feed.
    Bytes(&'a [u8]),
    /// A line of more than `MAX_LINE_BYTES` bytes, which was dropped.
    TooLong,
}

/// Calls `each` with every line and its number, the first being 1, until it breaks. The last line
/// need not end.
///
/// # Errors
/// If `input` cannot be read.
pub fn lines<B>(
    input: &mut dyn Read,
    mut each: impl FnMut(u64, Line<'_>) -> ControlFlow<B>,
) -> io::Result<ControlFlow<B>> {
    let mut buffer = vec![0; READ_BYTES];
    let mut held = 0;
    let mut number = 0;
    // The line that comes is the rest of one that was too long.
    let mut too_long = false;
    loop {
        let read = match input.read(buffer.get_mut(held..).unwrap_or_default()) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let (searched, end) = (held, held + read);
        let filled = buffer.get(..end).unwrap_or(&[]);
        let (mut start, mut from) = (0, searched);
        while let Some(length) = memchr(b'\n', filled.get(from..).unwrap_or(&[])) {
            let line = filled.get(start..from + length).unwrap_or(&[]);
            (start, from) = (from + length + 1, from + length + 1);
            number += 1;
            let line = if std::mem::take(&mut too_long) { Line::TooLong } else { Line::Bytes(line) };
            if let ControlFlow::Break(value) = each(number, line) {
                return Ok(ControlFlow::Break(value));
            }
        }
        if read == 0 {
            let rest = filled.get(start..).unwrap_or(&[]);
            if rest.is_empty() && !too_long {
                return Ok(ControlFlow::Continue(()));
            }
            return Ok(each(number + 1, if too_long { Line::TooLong } else { Line::Bytes(rest) }));
        }
        buffer.copy_within(start..end, 0);
        held = end - start;
        if held >= MAX_LINE_BYTES {
            (too_long, held) = (true, 0);
        } else if held == buffer.len() {
            buffer.resize(2 * held, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives its bytes a few at a time, as a pipe may.
    struct Drip<'a>(&'a [u8], usize);

    impl Read for Drip<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(self.0.len()).min(buffer.len());
            let (now, later) = self.0.split_at(count);
            buffer[..count].copy_from_slice(now);
            self.0 = later;
            Ok(count)
        }
    }

    fn collect(bytes: &[u8], step: usize) -> Vec<(u64, Option<Vec<u8>>)> {
        let mut seen = Vec::new();
        let ended = lines(&mut Drip(bytes, step), |number, line| {
            seen.push((number, if let Line::Bytes(line) = line { Some(line.to_vec()) } else { None }));
            ControlFlow::<()>::Continue(())
        });
        assert_eq!(ended.unwrap(), ControlFlow::Continue(()));
        seen
    }

    /// However the bytes arrive, the lines are the same, and a last one without a line feed is not
    /// lost.
    #[test]
    fn lines_do_not_depend_on_reads() {
        for step in [1, 2, 3, 7, 100] {
            let seen = collect(b"one\n\ntwo and more\nlast", step);
            let texts: Vec<_> = seen.iter().map(|(number, line)| (*number, line.as_deref().unwrap())).collect();
            assert_eq!(texts, [(1, &b"one"[..]), (2, b""), (3, b"two and more"), (4, b"last")]);
        }
        assert!(collect(b"", 5).is_empty());
    }

    /// A line without end costs a bounded buffer and its own place, not its neighbours.
    #[test]
    fn a_line_that_is_too_long_is_one_line() {
        let mut bytes = b"first\n".to_vec();
        bytes.extend(std::iter::repeat_n(b'x', 2 * MAX_LINE_BYTES + 5));
        bytes.extend_from_slice(b"\nlast\n");
        let seen = collect(&bytes, 1 << 22);
        let expected = [(1, Some(b"first".to_vec())), (2, None), (3, Some(b"last".to_vec()))];
        assert_eq!(seen, expected);
    }
}
