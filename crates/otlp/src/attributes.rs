//! Attributes as the bytes that a log record has them in.
//!
//! Those of an endpoint are encoded once and copied into each of its records, which is most of what
//! a record costs.

use crate::protobuf::{Fields, put_bytes, put_len, put_varint, varint_len};

/// Attributes of a record at most. Further ones are dropped and counted in the record.
pub const MAX_ATTRIBUTES: u32 = 48;

/// Bytes of a record at most.
pub const MAX_RECORD_BYTES: usize = 16 << 10;

/// Bytes of a string at most, so that one alone does not take the place of all others. A longer one
/// is cut.
pub const MAX_VALUE_BYTES: usize = 4 << 10;

/// Bytes of a key at most; an attribute with a longer one is dropped.
pub const MAX_KEY_BYTES: usize = 512;

/// Bytes of the fields and lengths around a key and its value at most.
const OVERHEAD: usize = 24;

/// Bytes that are left for the number of dropped attributes.
pub(crate) const RESERVED: usize = 8;

/// `LogRecord.attributes`.
pub(crate) const ATTRIBUTE: u8 = 6 << 3 | 2;

const KEY: u8 = 1 << 3 | 2;
const VALUE: u8 = 2 << 3 | 2;
const STRING: u8 = 1 << 3 | 2;
const BOOL: u8 = 2 << 3;
const INT: u8 = 3 << 3;
const DOUBLE: u8 = 4 << 3 | 1;
const ARRAY: u8 = 5 << 3 | 2;
const ELEMENT: u8 = 1 << 3 | 2;

/// Attributes of a record, of a resource, or of an endpoint that many records have.
///
/// Attributes are in the order of the calls. A key that is written twice is there twice, which OTLP
/// forbids: callers write each once. Values that do not fit are cut, and attributes without a place
/// are left out; [`Attributes::dropped`] counts both.
#[derive(Debug, Clone, Default)]
pub struct Attributes {
    pub(crate) bytes: Vec<u8>,
    count: u32,
    pub(crate) dropped: u32,
}

impl Attributes {
    /// No attributes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Removes all; the memory stays.
    pub fn clear(&mut self) {
        self.bytes.clear();
        (self.count, self.dropped) = (0, 0);
    }

    /// Number of attributes.
    pub fn len(&self) -> u32 {
        self.count
    }

    /// True without attributes.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Number of attributes that were cut or left out.
    pub fn dropped(&self) -> u32 {
        self.dropped
    }

    /// Appends a string. An empty one is left out: what is absent has no attribute.
    #[inline]
    pub fn string(&mut self, key: &str, value: &str) {
        if value.is_empty() {
            return;
        }
        let Some(room) = self.room(key) else { return };
        let value = self.cut(value, room);
        if value.is_empty() {
            return;
        }
        self.key(key, 1 + varint_len(value.len() as u64) + value.len());
        self.bytes.push(STRING);
        put_len(&mut self.bytes, value.len());
        self.bytes.extend_from_slice(value.as_bytes());
    }

    /// Appends an integer.
    #[inline]
    pub fn int(&mut self, key: &str, value: i64) {
        if self.room(key).is_some() {
            let value = value.cast_unsigned();
            self.key(key, 1 + varint_len(value));
            self.bytes.push(INT);
            put_varint(&mut self.bytes, value);
        }
    }

    /// Appends a count; one beyond the integers of OTLP is their greatest.
    #[inline]
    pub fn count(&mut self, key: &str, value: u64) {
        self.int(key, i64::try_from(value).unwrap_or(i64::MAX));
    }

    /// Appends a boolean.
    #[inline]
    pub fn bool(&mut self, key: &str, value: bool) {
        if self.room(key).is_some() {
            self.key(key, 2);
            self.bytes.extend_from_slice(&[BOOL, u8::from(value)]);
        }
    }

    /// Appends a number with a fraction.
    #[inline]
    pub fn double(&mut self, key: &str, value: f64) {
        if self.room(key).is_some() {
            self.key(key, 9);
            self.bytes.push(DOUBLE);
            self.bytes.extend_from_slice(&value.to_le_bytes());
        }
    }

    /// Appends a list of strings; an empty list is left out. Strings at its end that do not fit are
    /// left out too.
    pub fn strings<'a>(&mut self, key: &str, values: impl Iterator<Item = &'a str> + Clone) {
        let length = |value: &str| 1 + varint_len(value.len() as u64) + value.len();
        self.array(key, values, length, |out, value| {
            out.push(STRING);
            put_len(out, value.len());
            out.extend_from_slice(value.as_bytes());
        });
    }

    /// Appends a list of integers; an empty list is left out. Integers at its end that do not fit
    /// are left out too.
    pub fn ints(&mut self, key: &str, values: impl Iterator<Item = i64> + Clone) {
        let length = |value: i64| 1 + varint_len(value.cast_unsigned());
        self.array(key, values, length, |out, value| {
            out.push(INT);
            put_varint(out, value.cast_unsigned());
        });
    }

    /// Appends attributes that are encoded already.
    #[inline]
    pub fn copy(&mut self, ready: &Self) {
        self.dropped += ready.dropped;
        let fits = self.bytes.len() + ready.bytes.len() + RESERVED <= MAX_RECORD_BYTES
            && self.count + ready.count <= MAX_ATTRIBUTES;
        if fits {
            self.bytes.extend_from_slice(&ready.bytes);
            self.count += ready.count;
        } else {
            self.copy_each(ready);
        }
    }

    #[cold]
    fn copy_each(&mut self, ready: &Self) {
        let mut rest = Fields(&ready.bytes);
        loop {
            let before = rest.0;
            if rest.next().is_none() {
                break;
            }
            let attribute = before.get(..before.len() - rest.0.len()).unwrap_or_default();
            if self.count < MAX_ATTRIBUTES && self.bytes.len() + attribute.len() + RESERVED <= MAX_RECORD_BYTES {
                self.bytes.extend_from_slice(attribute);
                self.count += 1;
            } else {
                self.dropped += 1;
            }
        }
    }

    /// Bytes that a value may have; none if there is no place for the attribute, which is counted.
    #[inline]
    fn room(&mut self, key: &str) -> Option<usize> {
        let used = self.bytes.len() + key.len() + OVERHEAD + RESERVED;
        let room = MAX_RECORD_BYTES.saturating_sub(used);
        if room == 0 || key.len() > MAX_KEY_BYTES || self.count == MAX_ATTRIBUTES {
            self.dropped += 1;
            return None;
        }
        Some(room)
    }

    /// The beginning of a value that fits.
    #[inline]
    fn cut<'a>(&mut self, value: &'a str, room: usize) -> &'a str {
        let most = room.min(MAX_VALUE_BYTES);
        if value.len() <= most {
            return value;
        }
        self.dropped += 1;
        value.get(..value.floor_char_boundary(most)).unwrap_or_default()
    }

    /// Appends the head of an attribute whose value has `length` bytes.
    #[inline]
    fn key(&mut self, key: &str, length: usize) {
        self.count += 1;
        let whole = 2 + varint_len(key.len() as u64) + key.len() + varint_len(length as u64) + length;
        let short = |length: usize| u8::try_from(length).ok().filter(|length| *length < 0x80);
        // Nearly all lengths have one byte.
        if let (Some(whole), Some(key_length), Some(length)) = (short(whole), short(key.len()), short(length)) {
            self.bytes.extend_from_slice(&[ATTRIBUTE, whole, KEY, key_length]);
            self.bytes.extend_from_slice(key.as_bytes());
            self.bytes.extend_from_slice(&[VALUE, length]);
            return;
        }
        self.bytes.push(ATTRIBUTE);
        put_len(&mut self.bytes, whole);
        put_bytes(&mut self.bytes, KEY, key.as_bytes());
        self.bytes.push(VALUE);
        put_len(&mut self.bytes, length);
    }

    /// Appends an array. `length` is that of an element as a value, which `put` appends.
    fn array<T: Copy>(
        &mut self,
        key: &str,
        values: impl Iterator<Item = T> + Clone,
        length: impl Fn(T) -> usize,
        put: impl Fn(&mut Vec<u8>, T),
    ) {
        if values.clone().next().is_none() {
            return;
        }
        let Some(room) = self.room(key) else { return };
        let (mut elements, mut bytes) = (0, 0);
        for value in values.clone() {
            let element = length(value);
            let with = bytes + 1 + varint_len(element as u64) + element;
            if with > room {
                self.dropped += 1;
                break;
            }
            (elements, bytes) = (elements + 1, with);
        }
        if elements == 0 {
            return;
        }
        self.key(key, 1 + varint_len(bytes as u64) + bytes);
        self.bytes.push(ARRAY);
        put_len(&mut self.bytes, bytes);
        for value in values.take(elements) {
            self.bytes.push(ELEMENT);
            put_len(&mut self.bytes, length(value));
            put(&mut self.bytes, value);
        }
    }
}
