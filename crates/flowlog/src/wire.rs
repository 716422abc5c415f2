//! Protobuf's wire format as a [`Notation`]: a value is read where it lies, and nothing is copied.
//!
//! A field that the message does not have, one of a newer Hubble, is passed over unread. A known
//! field of another type, bytes that end within a field and a text that is not UTF-8 are errors.

use std::borrow::Cow;
use std::fmt;

use super::notation::{Message, Notation, TimestampFields, WrapperFields};

/// What is wrong with an encoded flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WireFault {
    /// The bytes are no message: they end within a field, or hold what no field begins with.
    Malformed,
    /// A field has another type than in Hubble's API.
    Type,
    /// A text is not UTF-8.
    Text,
    /// A value that its field cannot have, such as a port of 70000.
    Value,
}

impl WireFault {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 4] = [Self::Malformed, Self::Type, Self::Text, Self::Value];

    /// Value of the label `reason`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Type => "type",
            Self::Text => "text",
            Self::Value => "value",
        }
    }
}

/// Error in an encoded flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WireError(Box<Inner>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Inner {
    /// Names of the fields around it, the innermost first.
    fields: Vec<&'static str>,
    fault: WireFault,
    what: Cow<'static, str>,
}

impl WireError {
    #[cold]
    fn new(fault: WireFault, what: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Inner { fields: Vec::new(), fault, what: what.into() }))
    }

    #[cold]
    fn within(mut self, field: &'static str) -> Self {
        self.0.fields.push(field);
        self
    }

    /// What is wrong.
    pub fn fault(&self) -> WireFault {
        self.0.fault
    }
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path: Vec<&str> = self.0.fields.iter().rev().copied().collect();
        if !path.is_empty() {
            write!(f, "{}: ", path.join("."))?;
        }
        f.write_str(&self.0.what)
    }
}

impl std::error::Error for WireError {}

/// A value on the wire.
#[derive(Debug, Clone, Copy)]
pub(super) enum WireValue<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    /// A number of 32 or 64 bits, which no field that is read has.
    Fixed,
}

impl<'a> WireValue<'a> {
    /// The value that is a message of its own.
    pub(super) fn message(bytes: &'a [u8]) -> Self {
        Self::Bytes(bytes)
    }

    #[inline]
    fn slice(self) -> Result<&'a [u8], WireError> {
        if let Self::Bytes(bytes) = self { Ok(bytes) } else { self.another("a text or a message") }
    }

    #[inline]
    fn varint(self) -> Result<u64, WireError> {
        if let Self::Varint(number) = self { Ok(number) } else { self.another("a number") }
    }

    #[cold]
    fn another<T>(self, expected: &str) -> Result<T, WireError> {
        let found = match self {
            Self::Varint(_) => "a number",
            Self::Bytes(_) => "bytes",
            Self::Fixed => "a number of fixed length",
        };
        Err(WireError::new(WireFault::Type, format!("expected {expected}, found {found}")))
    }
}

impl<'a> Notation<'a> for WireValue<'a> {
    type Error = WireError;

    #[cold]
    fn refuse<T>(&self, what: impl Into<String>) -> Result<T, WireError> {
        Err(WireError::new(WireFault::Value, what.into()))
    }

    #[inline]
    fn message<M: Message>(
        &mut self,
        mut each: impl FnMut(&mut Self, u32) -> Result<(), WireError>,
    ) -> Result<(), WireError> {
        let mut rest = self.slice()?;
        while !rest.is_empty() {
            let key = take_varint(&mut rest)?;
            let Ok(number @ 1..0x2000_0000) = u32::try_from(key >> 3) else {
                return Err(WireError::new(WireFault::Malformed, "a field without a valid number"));
            };
            let mut value = take_value(key & 7, &mut rest)?;
            each(&mut value, number).map_err(|wrong| wrong.within(M::name(number)))?;
        }
        Ok(())
    }

    #[inline]
    fn elements(&mut self, mut each: impl FnMut(&mut Self) -> Result<(), WireError>) -> Result<(), WireError> {
        each(self)
    }

    #[inline]
    fn text(&mut self) -> Result<Cow<'a, str>, WireError> {
        match std::str::from_utf8(self.slice()?) {
            Ok(text) => Ok(Cow::Borrowed(text)),
            Err(_) => Err(WireError::new(WireFault::Text, "a text that is not UTF-8")),
        }
    }

    #[inline]
    fn truth(&mut self) -> Result<bool, WireError> {
        self.varint().map(|number| number != 0)
    }

    fn wrapped_truth(&mut self) -> Result<bool, WireError> {
        let mut truth = false;
        self.message::<WrapperFields>(|inside, field| {
            if field == WrapperFields::VALUE {
                truth = inside.truth()?;
            }
            Ok(())
        })?;
        Ok(truth)
    }

    #[inline]
    fn integer<T: TryFrom<i128>>(&mut self) -> Result<T, WireError> {
        let number = self.varint()?;
        // A negative number has the 64 bits of its two's complement.
        let signed = || T::try_from(i128::from(number.cast_signed())).ok();
        match T::try_from(i128::from(number)).ok().or_else(signed) {
            Some(number) => Ok(number),
            None => self.refuse(format!("{number} is not a whole number of {} bits", 8 * size_of::<T>())),
        }
    }

    #[inline]
    fn enumeration(&mut self, _: &[(i32, &'static str)]) -> Result<i32, WireError> {
        self.integer()
    }

    fn time(&mut self) -> Result<u64, WireError> {
        let (mut seconds, mut nanos) = (0_u64, 0_u64);
        self.message::<TimestampFields>(|inside, field| {
            match field {
                TimestampFields::SECONDS => seconds = inside.integer::<i64>().and_then(past_1970)?,
                TimestampFields::NANOS => nanos = inside.integer::<i32>().and_then(|nanos| past_1970(nanos.into()))?,
                _ => {}
            }
            Ok(())
        })?;
        match seconds.checked_mul(1_000_000_000).and_then(|time| time.checked_add(nanos)) {
            Some(time) if nanos < 1_000_000_000 => Ok(time),
            _ => self.refuse(format!("expected a time, found {seconds} s and {nanos} ns")),
        }
    }

    #[inline]
    fn pass(&mut self) -> Result<(), WireError> {
        Ok(())
    }

    #[inline]
    fn bytes(&mut self) -> Option<&'a [u8]> {
        if let Self::Bytes(bytes) = *self { Some(bytes) } else { None }
    }

    fn rewind(&mut self, _: &[u8]) {}
}

fn past_1970(number: i64) -> Result<u64, WireError> {
    u64::try_from(number).map_err(|_| WireError::new(WireFault::Value, "a time before 1970"))
}

#[inline]
fn take_value<'a>(wire_type: u64, rest: &mut &'a [u8]) -> Result<WireValue<'a>, WireError> {
    match wire_type {
        0 => take_varint(rest).map(WireValue::Varint),
        1 => take(rest, 8).map(|_| WireValue::Fixed),
        2 => {
            let length = take_varint(rest)?;
            take(rest, usize::try_from(length).unwrap_or(usize::MAX)).map(WireValue::Bytes)
        }
        5 => take(rest, 4).map(|_| WireValue::Fixed),
        _ => Err(WireError::new(WireFault::Malformed, format!("a field of the wire type {wire_type}"))),
    }
}

#[inline]
fn take<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], WireError> {
    match rest.split_at_checked(length) {
        Some((taken, behind)) => {
            *rest = behind;
            Ok(taken)
        }
        None => Err(WireError::new(WireFault::Malformed, "the message ends within a field")),
    }
}

/// Takes a varint off the front: ten bytes at most, of which the last has one bit.
#[inline]
fn take_varint(rest: &mut &[u8]) -> Result<u64, WireError> {
    match **rest {
        [byte @ ..0x80, ref behind @ ..] => {
            *rest = behind;
            Ok(byte.into())
        }
        _ => take_long_varint(rest),
    }
}

fn take_long_varint(rest: &mut &[u8]) -> Result<u64, WireError> {
    let mut value = 0_u64;
    for shift in (0..70).step_by(7) {
        let Some((&byte, behind)) = rest.split_first() else {
            return Err(WireError::new(WireFault::Malformed, "the message ends within a number"));
        };
        *rest = behind;
        if shift == 63 && byte > 1 {
            break;
        }
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(WireError::new(WireFault::Malformed, "a number of more than 64 bits"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers of any length are read, and none beyond 64 bits or the end.
    #[test]
    fn varints() {
        for (bytes, number) in [
            (&[0][..], Some(0)),
            (&[0x7f], Some(127)),
            (&[0x80, 1], Some(128)),
            (&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], Some(u64::MAX)),
            (&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2], None),
            (&[0x80; 11], None),
            (&[0x80], None),
            (&[], None),
        ] {
            let mut rest = bytes;
            assert_eq!(take_varint(&mut rest).ok(), number, "{bytes:x?}");
            assert!(number.is_none() || rest.is_empty());
        }
    }

    /// Negative numbers, numbers that do not fit, and times that are none.
    #[test]
    fn numbers_and_times() {
        let mut minus_two = WireValue::Varint(u64::MAX - 1);
        assert_eq!(minus_two.integer::<i32>(), Ok(-2));
        assert_eq!(minus_two.integer::<u64>(), Ok(u64::MAX - 1));
        assert_eq!(minus_two.integer::<u32>().unwrap_err().fault(), WireFault::Value);
        assert_eq!(WireValue::Varint(70_000).integer::<u16>().unwrap_err().fault(), WireFault::Value);
        assert_eq!(WireValue::Fixed.integer::<u16>().unwrap_err().fault(), WireFault::Type);
        let time = |bytes: &[u8]| WireValue::message(bytes).time().map_err(|wrong| wrong.fault());
        assert_eq!(time(&[]), Ok(0));
        assert_eq!(time(&[1 << 3, 2, 2 << 3, 5]), Ok(2_000_000_005));
        assert_eq!(time(&[1 << 3, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]), Err(WireFault::Value));
        assert_eq!(time(&[2 << 3, 0xff, 0xff, 0xff, 0xff, 0x0f]), Err(WireFault::Value));
        assert_eq!(time(&[1 << 3, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]), Err(WireFault::Value));
        assert_eq!(time(&[1 << 3 | 4]), Err(WireFault::Malformed));
    }
}
