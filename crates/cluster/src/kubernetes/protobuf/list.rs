//! A list in protocol buffers, cut into items while it arrives.

use bytes::{Buf, Bytes, BytesMut};

use super::super::resource::Resource;
use super::wire::{Fields, Value, WireError, number};
use crate::cutter::MAX_OBJECT_BYTES;

/// What each object of the API begins with.
pub(super) const MAGIC: &[u8] = b"k8s\0";

/// Maximal length of a field that is no item: kind, version and the token of the next page.
const MAX_REST_BYTES: usize = 1 << 20;

/// A list that cannot be cut.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ListError {
    #[error("it does not begin as an object in protocol buffers: {0:?}")]
    Magic(String),
    #[error("{0}")]
    Kind(String),
    #[error("a part is longer than {0} bytes")]
    TooLong(usize),
    #[error("a part is longer than the list")]
    Overlong,
    #[error("the list is compressed as {0:?}, or in another form")]
    Encoding(String),
    #[error(transparent)]
    Wire(#[from] WireError),
}

/// Section of a list that the cutter is in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Section {
    #[default]
    Magic,
    /// The envelope of all objects, before the list.
    Envelope,
    /// The list, with so many bytes left.
    List(usize),
    /// Behind the list.
    End,
}

/// Cuts the items out of a list.
#[derive(Debug)]
pub(crate) struct ListCutter {
    resource: Resource,
    buffer: BytesMut,
    section: Section,
    /// The list's metadata.
    metadata: Vec<u8>,
}

/// The beginning of a field: its number and wire type, and the bytes of tag and length, and of the
/// value.
struct Begin {
    field: u64,
    head: usize,
    value: usize,
    is_bytes: bool,
}

impl ListCutter {
    /// A cutter for a list of these objects.
    pub(crate) fn of(resource: &Resource) -> Self {
        let (buffer, section, metadata) = (BytesMut::default(), Section::default(), Vec::new());
        Self { resource: resource.clone(), buffer, section, metadata }
    }

    /// Takes the next piece of the list.
    pub(crate) fn push(&mut self, piece: &[u8]) {
        self.buffer.extend_from_slice(piece);
    }

    /// The list's metadata, as far as it came.
    pub(crate) fn metadata(&self) -> &[u8] {
        &self.metadata
    }

    /// True once the list has come to its end.
    pub(crate) fn is_complete(&self) -> bool {
        self.section == Section::End
    }

    /// The next item, if all of it is there.
    pub(crate) fn next(&mut self) -> Result<Option<Bytes>, ListError> {
        loop {
            match self.section {
                Section::Magic => {
                    let Some(found) = self.buffer.get(..MAGIC.len()) else { return Ok(None) };
                    if found != MAGIC {
                        return Err(ListError::Magic(String::from_utf8_lossy(found).into_owned()));
                    }
                    self.buffer.advance(MAGIC.len());
                    self.section = Section::Envelope;
                }
                Section::Envelope => {
                    let Some(begin) = self.begin()? else { return Ok(None) };
                    if begin.field == 2 && begin.is_bytes {
                        self.buffer.advance(begin.head);
                        self.section = Section::List(begin.value);
                        continue;
                    }
                    let Some((_, value)) = self.take(&begin, MAX_REST_BYTES)? else { return Ok(None) };
                    if begin.field == 1 {
                        check_kind(&self.resource, &value)?;
                    }
                }
                Section::List(0) => self.section = Section::End,
                Section::List(left) => {
                    let Some(begin) = self.begin()? else { return Ok(None) };
                    let most = if begin.field == 2 { MAX_OBJECT_BYTES } else { MAX_REST_BYTES };
                    if begin.head.saturating_add(begin.value) > left {
                        return Err(ListError::Overlong);
                    }
                    let Some((taken, value)) = self.take(&begin, most)? else { return Ok(None) };
                    self.section = Section::List(left - taken);
                    match (begin.field, begin.is_bytes) {
                        (1, true) => self.metadata = value.to_vec(),
                        (2, true) => return Ok(Some(value)),
                        _ => {}
                    }
                }
                Section::End => {
                    // What follows says of which form the list is: none is another.
                    let rest = std::mem::take(&mut self.buffer);
                    for field in Fields::of(&rest).flatten() {
                        if let (3 | 4, Value::Bytes(form)) = field
                            && !form.is_empty()
                        {
                            return Err(ListError::Encoding(String::from_utf8_lossy(form).into_owned()));
                        }
                    }
                    return Ok(None);
                }
            }
        }
    }

    /// The beginning of the next field, if all of that is there.
    fn begin(&self) -> Result<Option<Begin>, ListError> {
        let Some((tag, tag_length)) = number(&self.buffer)? else { return Ok(None) };
        let rest = self.buffer.get(tag_length..).unwrap_or_default();
        let field = tag >> 3;
        let of =
            |head: usize, value: usize, is_bytes: bool| Some(Begin { field, head: tag_length + head, value, is_bytes });
        Ok(match tag & 7 {
            0 => number(rest)?.and_then(|(_, length)| of(0, length, false)),
            1 => of(0, 8, false),
            2 => {
                number(rest)?.and_then(|(length, taken)| of(taken, usize::try_from(length).unwrap_or(usize::MAX), true))
            }
            5 => of(0, 4, false),
            other => return Err(WireError::WireType(other.to_le_bytes()[0]).into()),
        })
    }

    /// Takes a field with a value of at most `most` bytes, if all of it is there: the bytes that it
    /// took, and its value.
    fn take(&mut self, begin: &Begin, most: usize) -> Result<Option<(usize, Bytes)>, ListError> {
        if begin.value > most {
            return Err(ListError::TooLong(most));
        }
        if self.buffer.len() < begin.head + begin.value {
            return Ok(None);
        }
        self.buffer.advance(begin.head);
        Ok(Some((begin.head + begin.value, self.buffer.split_to(begin.value).freeze())))
    }
}

/// What takes a list's place, such as a Status, must not be an empty one.
fn check_kind(resource: &Resource, type_meta: &[u8]) -> Result<(), ListError> {
    for field in Fields::of(type_meta) {
        if let (2, Value::Bytes(kind)) = field? {
            resource.check_list(&String::from_utf8_lossy(kind)).map_err(ListError::Kind)?;
        }
    }
    Ok(())
}
