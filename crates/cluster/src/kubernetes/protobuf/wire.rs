//! The wire format of protocol buffers: the fields of a message, one after the other.

/// Bytes that are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WireError {
    #[error("a message ends within a field")]
    CutOff,
    #[error("a number has more than 64 bits")]
    LongNumber,
    #[error("a field has the wire type {0}, which no message of Kubernetes has")]
    WireType(u8),
}

/// The value of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Number(u64),
    /// A text, bytes, or a message.
    Bytes(&'a [u8]),
    /// Of a fixed width, which nothing that is read has.
    Fixed,
}

impl<'a> Value<'a> {
    pub(super) fn bytes(self) -> Option<&'a [u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Number(_) | Self::Fixed => None,
        }
    }

    pub(super) fn number(self) -> Option<u64> {
        match self {
            Self::Number(number) => Some(number),
            Self::Bytes(_) | Self::Fixed => None,
        }
    }
}

/// The fields of a message, each with its number. Ends after an error.
#[derive(Debug, Clone)]
pub(super) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn of(message: &'a [u8]) -> Self {
        Self(message)
    }

    fn field(&mut self) -> Result<(u64, Value<'a>), WireError> {
        let (tag, wire_type) = self.tag()?;
        let value = match wire_type {
            0 => Value::Number(self.number()?),
            2 => {
                let length = self.number()?;
                Value::Bytes(self.take(usize::try_from(length).map_err(|_| WireError::CutOff)?)?)
            }
            1 => self.take(8).map(|_| Value::Fixed)?,
            5 => self.take(4).map(|_| Value::Fixed)?,
            other => return Err(WireError::WireType(other)),
        };
        Ok((tag, value))
    }

    /// Number and wire type of the next field.
    fn tag(&mut self) -> Result<(u64, u8), WireError> {
        let tag = self.number()?;
        Ok((tag >> 3, tag.to_le_bytes()[0] & 7))
    }

    fn number(&mut self) -> Result<u64, WireError> {
        let (number, length) = number(self.0)?.ok_or(WireError::CutOff)?;
        self.take(length)?;
        Ok(number)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], WireError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(WireError::CutOff)?;
        self.0 = rest;
        Ok(taken)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>), WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

/// A number at the beginning of `bytes`, and how many it takes; none if it goes on behind them.
pub(super) fn number(bytes: &[u8]) -> Result<Option<(u64, usize)>, WireError> {
    let mut number: u64 = 0;
    for (at, byte) in bytes.iter().enumerate() {
        let bits = u64::from(byte & 0x7f);
        let shift = 7 * u32::try_from(at).unwrap_or(u32::MAX);
        // The tenth byte has one bit left.
        if at > 9 || (at == 9 && bits > 1) {
            return Err(WireError::LongNumber);
        }
        number |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok(Some((number, at + 1)));
        }
    }
    if bytes.len() > 9 { Err(WireError::LongNumber) } else { Ok(None) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Numbers of all lengths, and those that are too long or cut off.
    #[test]
    fn numbers() {
        for (bytes, expected) in [
            (&[0][..], Ok(Some((0, 1)))),
            (&[0x7f, 9], Ok(Some((127, 1)))),
            (&[0xac, 0x02], Ok(Some((300, 2)))),
            (&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], Ok(Some((u64::MAX, 10)))),
            (&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2], Err(WireError::LongNumber)),
            (&[0x80; 10], Err(WireError::LongNumber)),
            (&[0x80; 9], Ok(None)),
            (&[], Ok(None)),
        ] {
            assert_eq!(number(bytes), expected, "{bytes:?}");
        }
    }

    /// Fields of each type, and what is wrong with one ends the message.
    #[test]
    fn fields() {
        let all: Vec<_> = Fields::of(&[0x08, 5, 0x12, 2, b'a', b'b', 0x1d, 1, 2, 3, 4, 0x21, 1, 2, 3, 4, 5, 6, 7, 8])
            .map(Result::unwrap)
            .collect();
        assert_eq!(all, [(1, Value::Number(5)), (2, Value::Bytes(b"ab")), (3, Value::Fixed), (4, Value::Fixed)]);
        for (bytes, error) in [
            (&[0x12, 3, b'a'][..], WireError::CutOff),
            (&[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], WireError::CutOff),
            (&[0x08], WireError::CutOff),
            (&[0x0b], WireError::WireType(3)),
            (&[0x1d, 1, 2], WireError::CutOff),
        ] {
            assert_eq!(Fields::of(bytes).collect::<Vec<_>>(), [Err(error)], "{bytes:?}");
        }
    }

    proptest! {
        /// Whatever the bytes, reading them ends.
        #[test]
        fn reading_ends(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Fields::of(&bytes).count() <= bytes.len());
        }
    }
}
