//! Objects of the API in protocol buffers, `application/vnd.kubernetes.protobuf`: two thirds of
//! the bytes that they are in JSON, and less work for both sides.
//!
//! Only pods are requested so, which are nearly all that a server sends. Of a pod a dozen fields
//! are read (`pod`), by their numbers; all others are stepped over. A list is one message, cut into
//! items while it arrives (`list`); a watch is a sequence of events, each behind its length. An
//! object within an event has an envelope with its kind, and the list has one, too.

pub(super) mod fuzz;
mod list;
mod pod;
mod wire;

use http::StatusCode;

use list::MAGIC;
pub(super) use list::{ListCutter, ListError};
use wire::{Fields, Value, WireError};

use super::answer::{self, Event, Head, INITIAL_EVENTS_END, Item, Page};
use super::error::ApiError;
use super::resource::Resource;
use crate::{Checked, Invalid, Object, PassedOver, Raw};

/// The media type.
pub(super) const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";

/// The forms of a list and a watch, the better one first.
pub(super) const ACCEPT: &str = "application/vnd.kubernetes.protobuf,application/json";

/// Parses an object in the way of those that keep it.
pub(super) type ReadMessage<T> = fn(&Resource, &[u8]) -> Item<T>;

impl From<ListError> for ApiError {
    fn from(error: ListError) -> Self {
        match error {
            ListError::Kind(text) => Self::Malformed(text),
            error => Self::Malformed(format!("a list cannot be read: {error}")),
        }
    }
}

/// Parses a pod for the cache of names.
pub(super) fn item(resource: &Resource, message: &[u8]) -> Item<Object> {
    let mut odd = PassedOver::default();
    let read = pod::read(message, &mut odd).map_err(|error| Invalid(error.to_string()));
    let checked = read.and_then(|(pod, _)| Object::check_rest(Raw::Pod(Box::new(pod)), odd));
    let head = head(resource, message);
    match checked {
        Ok(Checked { object, passed_over }) => Item { head, object: Ok(object), passed_over },
        Err(Invalid(why)) => Item { head, object: Err(why), passed_over: PassedOver::default() },
    }
}

/// Name and version of an object, whatever else is in it.
fn head(resource: &Resource, message: &[u8]) -> Head {
    let metadata = Fields::of(message).flatten().find_map(|field| match field {
        (1, Value::Bytes(metadata)) => Some(metadata),
        _ => None,
    });
    let Some(metadata) = metadata else { return Head::default() };
    let (mut name, mut namespace, mut version) = (None, None, None);
    for field in Fields::of(metadata).flatten() {
        match field {
            (1, value) => name = value.bytes(),
            (3, value) => namespace = value.bytes(),
            (6, value) => version = value.bytes(),
            _ => {}
        }
    }
    let text = |bytes: Option<&[u8]>| {
        let bytes = bytes.filter(|bytes| !bytes.is_empty())?;
        Some(std::str::from_utf8(bytes).ok()?.to_owned())
    };
    // A namespace that is no text is not the default one.
    let is_read = namespace.is_none_or(|namespace| std::str::from_utf8(namespace).is_ok());
    let key = text(name).filter(|_| is_read).map(|name| resource.key(text(namespace), name));
    Head { key, version: text(version), strange: None }
}

/// Reads a list's metadata.
pub(super) fn page(resource: &Resource, metadata: &[u8]) -> Result<Page, ApiError> {
    let mut page = Page::default();
    for field in Fields::of(metadata) {
        let field = field.map_err(|error| malformed(resource, "a list", error))?;
        let text = |value: Value<'_>| String::from_utf8_lossy(value.bytes().unwrap_or_default()).into_owned();
        match field {
            (2, value) => page.version = text(value),
            (3, value) => page.next = text(value),
            (4, Value::Number(number)) => page.remaining = usize::try_from(number).unwrap_or(0),
            _ => {}
        }
    }
    Ok(page)
}

/// Reads an event of a watch.
pub(super) fn event<T>(resource: &Resource, frame: &[u8], read: ReadMessage<T>) -> Result<Event<T>, ApiError> {
    let broken = |error: WireError| malformed(resource, "an event", error);
    let (mut kind, mut object) = (&[][..], &[][..]);
    for field in Fields::of(frame) {
        match field.map_err(broken)? {
            (1, Value::Bytes(text)) => kind = text,
            (2, Value::Bytes(extension)) => object = inner(extension, 1).map_err(broken)?.unwrap_or_default(),
            _ => {}
        }
    }
    let (object, of) = unwrap(resource, object)?;
    let strange = of.filter(|of| !of.is_empty() && !resource.is_of(of));
    Ok(match kind {
        b"ADDED" | b"MODIFIED" => {
            let item = read(resource, object);
            Event::Applied(Item { head: Head { strange, ..item.head }, ..item })
        }
        b"DELETED" => Event::Deleted(Head { strange, ..head(resource, object) }),
        b"BOOKMARK" => {
            let metadata = inner(object, 1).map_err(broken)?.unwrap_or_default();
            Event::Bookmark { version: head(resource, object).version, complete: ends_list(metadata) }
        }
        b"ERROR" => Event::Error(status(object)),
        other => {
            let other = String::from_utf8_lossy(other);
            return Err(ApiError::Malformed(format!("an event of {} has the type {other:?}", resource.plural)));
        }
    })
}

fn malformed(resource: &Resource, what: &str, error: WireError) -> ApiError {
    ApiError::Malformed(format!("{what} of {} in protocol buffers: {error}", resource.plural))
}

/// The last value of a field.
fn inner(message: &[u8], number: u64) -> Result<Option<&[u8]>, WireError> {
    let mut found = None;
    for field in Fields::of(message) {
        if let (at, Value::Bytes(value)) = field?
            && at == number
        {
            found = Some(value);
        }
    }
    Ok(found)
}

/// The object in an envelope, and the kind that this says it is of.
fn unwrap<'a>(resource: &Resource, object: &'a [u8]) -> Result<(&'a [u8], Option<String>), ApiError> {
    let Some(envelope) = object.strip_prefix(MAGIC) else {
        return Err(ApiError::Malformed(format!("an event of {} has an object of another form", resource.plural)));
    };
    let part = |message, number| inner(message, number).map_err(|error| malformed(resource, "an event", error));
    let kind = part(part(envelope, 1)?.unwrap_or_default(), 2)?;
    let kind = kind.map(|kind| String::from_utf8_lossy(kind).into_owned());
    Ok((part(envelope, 2)?.unwrap_or_default(), kind))
}

/// True for the bookmark that ends a streamed list.
fn ends_list(metadata: &[u8]) -> bool {
    Fields::of(metadata).flatten().any(|field| match field {
        (12, Value::Bytes(entry)) => {
            let part = |number| inner(entry, number).ok().flatten();
            part(1) == Some(INITIAL_EVENTS_END.as_bytes()) && part(2) == Some(b"true")
        }
        _ => false,
    })
}

/// Reads a `Status`.
fn status(message: &[u8]) -> ApiError {
    let text = |number| String::from_utf8_lossy(inner(message, number).ok().flatten().unwrap_or_default()).into_owned();
    let code = Fields::of(message).flatten().find_map(|(at, value)| value.number().filter(|_| at == 6));
    let code = code.and_then(|code| StatusCode::from_u16(u16::try_from(code).ok()?).ok());
    answer::of_status(code.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), &text(3), &text(4))
}

#[cfg(test)]
mod tests;
