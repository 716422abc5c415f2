//! Protobuf as bytes: the few forms that OTLP logs use, written and read without a schema.

use thiserror::Error;

/// Bytes that a varint takes.
pub(crate) fn varint_len(value: u64) -> usize {
    let bits = 64 - (value | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

/// Appends a varint.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(low_byte(value) | 0x80);
        value >>= 7;
    }
    out.push(low_byte(value));
}

/// Appends the length of a field.
pub(crate) fn put_len(out: &mut Vec<u8>, length: usize) {
    put_varint(out, length as u64);
}

/// Appends a field of bytes. `tag`: its number and wire type 2, as one byte.
pub(crate) fn put_bytes(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag);
    put_len(out, bytes.len());
    out.extend_from_slice(bytes);
}

fn low_byte(value: u64) -> u8 {
    value.to_le_bytes()[0]
}

/// The value of a field that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
}

impl<'a> Value<'a> {
    /// The bytes of a field that has some.
    pub(crate) fn bytes(self) -> Option<&'a [u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The number of a field with a varint.
    pub(crate) fn varint(self) -> Option<u64> {
        match self {
            Self::Varint(number) => Some(number),
            _ => None,
        }
    }
}

/// Error of bytes that are no protobuf message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("it is no protobuf message")]
pub(crate) struct Malformed;

/// The fields of a message, in their order, with their numbers.
#[derive(Debug, Clone)]
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first().ok_or(Malformed)?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed)
    }

    fn fixed<const LENGTH: usize>(&mut self) -> Result<[u8; LENGTH], Malformed> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*bytes)
    }

    fn field(&mut self) -> Result<(u64, Value<'a>), Malformed> {
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(self.fixed()?)),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| Malformed)?;
                let (bytes, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
                self.0 = rest;
                Value::Bytes(bytes)
            }
            5 => Value::Fixed32(u32::from_le_bytes(self.fixed()?)),
            _ => return Err(Malformed),
        };
        if tag >> 3 == 0 { Err(Malformed) } else { Ok((tag >> 3, value)) }
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>), Malformed>;

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

/// The bytes of the first field with this number; if the message ends within it, those that are
/// there.
pub(crate) fn beginning(message: &[u8], number: u64) -> Option<&[u8]> {
    let mut fields = Fields(message);
    loop {
        let mut rest = fields.clone();
        match fields.next()? {
            Ok((found, Value::Bytes(bytes))) if found == number => return Some(bytes),
            Ok(_) => {}
            Err(Malformed) => {
                let (tag, _length) = (rest.varint().ok()?, rest.varint().ok()?);
                return (tag == number << 3 | 2).then_some(rest.0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// What is written is read, in the length that was announced.
        #[test]
        fn varints_come_back(value: u64, bytes: Vec<u8>) {
            let mut out = vec![0x08];
            put_varint(&mut out, value);
            prop_assert_eq!(out.len(), 1 + varint_len(value));
            put_bytes(&mut out, 0x12, &bytes);
            let fields: Result<Vec<_>, _> = Fields(&out).collect();
            prop_assert_eq!(fields, Ok(vec![(1, Value::Varint(value)), (2, Value::Bytes(&bytes))]));
        }

        /// Any bytes are fields or an error, and come to an end.
        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>) {
            prop_assert!(Fields(&bytes).count() <= bytes.len());
        }
    }

    /// Each wire type, and each way to be none.
    #[test]
    fn wire_types() {
        let fixed = [0x09, 1, 0, 0, 0, 0, 0, 0, 0, 0x15, 2, 0, 0, 0];
        let fields: Vec<_> = Fields(&fixed).collect();
        assert_eq!(fields, [Ok((1, Value::Fixed64(1))), Ok((2, Value::Fixed32(2)))]);
        for bad in [&[0x0a, 5, 1][..], &[0x08], &[0x0b], &[0x02, 0], &[0x09, 1], &[0xff; 11]] {
            assert_eq!(Fields(bad).last(), Some(Err(Malformed)), "{bad:?}");
        }
    }
}
