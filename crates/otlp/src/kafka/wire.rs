//! Kafka's primitive types: numbers of fixed length, big end first, and strings, bytes and arrays
//! with their lengths before them.

use thiserror::Error;

/// Elements of an array of an answer at most.
const MAX_ELEMENTS: i32 = 1 << 20;

/// Error of an answer that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the answer is not one of Kafka; is the port a broker's?")]
pub(super) struct Malformed;

/// Appends a string, which has at most 32767 bytes; what is longer is cut.
pub(super) fn put_string(out: &mut Vec<u8>, text: &str) {
    let text = &text[..text.floor_char_boundary(i16::MAX as usize)];
    out.extend_from_slice(&i16::try_from(text.len()).unwrap_or(i16::MAX).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// Appends bytes.
pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_i32(out, i32::try_from(bytes.len()).unwrap_or(i32::MAX));
    out.extend_from_slice(bytes);
}

pub(super) fn put_i32(out: &mut Vec<u8>, number: i32) {
    out.extend_from_slice(&number.to_be_bytes());
}

/// Reads an answer.
#[derive(Debug)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    fn fixed<const LENGTH: usize>(&mut self) -> Result<[u8; LENGTH], Malformed> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*bytes)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        Ok(bytes)
    }

    pub(super) fn bool(&mut self) -> Result<bool, Malformed> {
        Ok(self.fixed::<1>()? != [0])
    }

    pub(super) fn i16(&mut self) -> Result<i16, Malformed> {
        self.fixed().map(i16::from_be_bytes)
    }

    pub(super) fn i32(&mut self) -> Result<i32, Malformed> {
        self.fixed().map(i32::from_be_bytes)
    }

    pub(super) fn i64(&mut self) -> Result<i64, Malformed> {
        self.fixed().map(i64::from_be_bytes)
    }

    /// A string; none is empty.
    pub(super) fn string(&mut self) -> Result<&'a str, Malformed> {
        let length = self.i16()?;
        let bytes = self.take(usize::try_from(length).unwrap_or(0))?;
        if length < -1 { Err(Malformed) } else { std::str::from_utf8(bytes).map_err(|_| Malformed) }
    }

    /// Bytes; none are empty.
    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.i32()?;
        if length < -1 { Err(Malformed) } else { self.take(usize::try_from(length).unwrap_or(0)) }
    }

    /// An array, each element read in the same way; none is empty.
    pub(super) fn array<T>(
        &mut self,
        mut read: impl FnMut(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, Malformed> {
        match self.i32()? {
            -1 => Ok(Vec::new()),
            // Memory is taken for what is there, not for what is announced.
            count @ 0..=MAX_ELEMENTS => (0..count).map(|_| read(self)).collect(),
            _ => Err(Malformed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is written is read; lengths that lie are refused.
    #[test]
    fn values_come_back() {
        let mut out = Vec::new();
        put_string(&mut out, "topic");
        put_bytes(&mut out, b"bytes");
        put_i32(&mut out, -1);
        let mut reader = Reader(&out);
        assert_eq!((reader.string(), reader.bytes()), (Ok("topic"), Ok(&b"bytes"[..])));
        assert_eq!((reader.array(Reader::i16), reader.0), (Ok(Vec::new()), &b""[..]));
        for bad in [&[0x7f, 0xff, 1][..], &[0xff, 0xfe], &[0, 1, 0xff]] {
            assert_eq!(Reader(bad).string(), Err(Malformed), "{bad:?}");
        }
        for bad in [&[0x7f, 0xff, 0xff, 0xff, 1][..], &[0xff, 0xff, 0xff, 0xfe]] {
            assert_eq!(Reader(bad).bytes(), Err(Malformed), "{bad:?}");
            assert_eq!(Reader(bad).array(Reader::bool), Err(Malformed), "{bad:?}");
        }
        let mut long = Vec::new();
        put_string(&mut long, &"é".repeat(20_000));
        assert_eq!(Reader(&long).string().map(str::len), Ok(32766));
    }
}
