//! Protobuf's encoding: reads and writes the fields of a message without knowing their meaning.

/// One field of a message: its number, its value, and the bytes of both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Field<'a> {
    pub(crate) number: u32,
    pub(crate) value: Value<'a>,
    pub(crate) encoded: &'a [u8],
}

/// The value of a field by its form on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
}

impl<'a> Value<'a> {
    /// The bytes of a text, list or message; none of a number.
    pub(crate) fn bytes(self) -> &'a [u8] {
        if let Self::Bytes(bytes) = self { bytes } else { &[] }
    }

    /// The number; 0 of bytes.
    pub(crate) fn number(self) -> u64 {
        match self {
            Self::Varint(number) | Self::Fixed64(number) => number,
            Self::Fixed32(number) => number.into(),
            Self::Bytes(_) => 0,
        }
    }
}

/// Iterates over the fields of a message; ends where the bytes are not one.
#[derive(Debug, Clone)]
pub(crate) struct Fields<'a>(&'a [u8]);

/// The fields of an encoded message.
pub(crate) fn fields(message: &[u8]) -> Fields<'_> {
    Fields(message)
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        let start = self.0;
        let key = take_varint(&mut self.0)?;
        let value = match key & 7 {
            0 => Value::Varint(take_varint(&mut self.0)?),
            1 => Value::Fixed64(u64::from_le_bytes(take(&mut self.0)?)),
            2 => {
                let length = usize::try_from(take_varint(&mut self.0)?).ok()?;
                let (bytes, rest) = self.0.split_at_checked(length)?;
                self.0 = rest;
                Value::Bytes(bytes)
            }
            5 => Value::Fixed32(u32::from_le_bytes(take(&mut self.0)?)),
            _ => return None,
        };
        let encoded = start.get(..start.len() - self.0.len())?;
        Some(Field { number: u32::try_from(key >> 3).ok()?, value, encoded })
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*taken)
}

/// Takes a varint off the front; none if it is cut off or longer than ten bytes.
pub(crate) fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..70).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// Appends a varint.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

/// Appends a field that is a number, whatever its value.
pub(crate) fn put_number(out: &mut Vec<u8>, number: u32, value: u64) {
    put_varint(out, u64::from(number) << 3);
    put_varint(out, value);
}

/// Appends a field that is a text, or an encoded message.
pub(crate) fn put_bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    put_varint(out, u64::from(number) << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends a field that is a message, which `write` appends.
pub(crate) fn put_message<T>(out: &mut Vec<u8>, number: u32, write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    put_varint(out, u64::from(number) << 3 | 2);
    // Nearly every message is short, so its length is one byte; else the message moves.
    let at = out.len();
    out.push(0);
    let written = write(out);
    let length = out.len() - at - 1;
    if let (Ok(byte @ ..0x80), Some(place)) = (u8::try_from(length), out.get_mut(at)) {
        *place = byte;
    } else {
        let mut prefix = Vec::with_capacity(10);
        put_varint(&mut prefix, length as u64);
        out.splice(at..=at, prefix);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each form is read as it was written; a message longer than its length byte foresaw, too.
    #[test]
    fn fields_are_read_as_written() {
        let long = [7; 300];
        let mut out = Vec::new();
        put_number(&mut out, 1, 0);
        put_number(&mut out, 100_000, u64::MAX);
        put_bytes(&mut out, 2, b"text");
        out.extend_from_slice(&[9 << 3 | 1, 5, 0, 0, 0, 0, 0, 0, 0]);
        put_message(&mut out, 3, |out| put_bytes(out, 1, &long));
        let found: Vec<_> = fields(&out).collect();
        assert_eq!(found.iter().map(|field| field.number).collect::<Vec<_>>(), [1, 100_000, 2, 9, 3]);
        assert_eq!(found[1].value, Value::Varint(u64::MAX));
        assert_eq!(found[3].value, Value::Fixed64(5));
        assert_eq!(fields(found[4].value.bytes()).next().map(|inner| inner.value), Some(Value::Bytes(&long)));
        assert_eq!(found.iter().flat_map(|field| field.encoded).copied().collect::<Vec<_>>(), out);
    }

    /// Cut or invalid bytes end the fields; nothing is read beyond them.
    #[test]
    fn cut_messages_end() {
        let mut out = Vec::new();
        put_bytes(&mut out, 2, b"text");
        for length in 0..out.len() {
            assert_eq!(fields(&out[..length]).count(), 0, "{length}");
        }
        assert_eq!(fields(&[0xff; 20]).count(), 0);
        assert_eq!(fields(&[0x0b, 0x0c]).count(), 0, "groups are not read");
    }
}
