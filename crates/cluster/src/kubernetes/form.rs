//! The two forms of an answer, JSON and protocol buffers, and their readers.

use http::HeaderMap;
use http::header::CONTENT_TYPE;

use super::answer::{self, Event, Item, Page, ReadItem};
use super::error::ApiError;
use super::protobuf::{self, ReadMessage};
use super::resource::Resource;

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Form {
    #[default]
    Json,
    Protobuf,
}

impl Form {
    /// The form that an answer says it has. What says nothing is read as JSON.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let text = headers.get(CONTENT_TYPE).and_then(|text| text.to_str().ok()).unwrap_or_default();
        let media_type = text.split(';').next().unwrap_or_default().trim();
        if media_type.eq_ignore_ascii_case(protobuf::MEDIA_TYPE) { Self::Protobuf } else { Self::Json }
    }
}

/// The readers of an object.
#[derive(Debug)]
pub(super) struct Readers<T> {
    pub(super) json: ReadItem<T>,
    /// None where only JSON is requested.
    pub(super) protobuf: Option<ReadMessage<T>>,
}

impl<T> Readers<T> {
    fn protobuf(&self, resource: &Resource) -> Result<ReadMessage<T>, ApiError> {
        let refused = || ApiError::Malformed(format!("{} come in protocol buffers, expected JSON", resource.plural));
        self.protobuf.ok_or_else(refused)
    }

    /// Reads an event of a watch.
    pub(super) fn event(&self, form: Form, resource: &Resource, bytes: &[u8]) -> Result<Event<T>, ApiError> {
        match form {
            Form::Json => answer::event(resource, bytes, self.json),
            Form::Protobuf => protobuf::event(resource, bytes, self.protobuf(resource)?),
        }
    }

    /// Reads an item of a list.
    pub(super) fn list_item(&self, form: Form, resource: &Resource, bytes: &[u8]) -> Result<Item<T>, ApiError> {
        match form {
            Form::Json => answer::list_item(resource, bytes, self.json),
            Form::Protobuf => Ok(self.protobuf(resource)?(resource, bytes)),
        }
    }
}

/// Refuses a list of another kind, as far as its beginning says of which it is. One in protocol
/// buffers is refused when it is cut.
pub(super) fn check_beginning(form: Form, resource: &Resource, beginning: &[u8]) -> Result<(), ApiError> {
    match form {
        Form::Json => answer::check_beginning(resource, beginning),
        Form::Protobuf => Ok(()),
    }
}

/// Reads a list without its items.
pub(super) fn page(form: Form, resource: &Resource, rest: &[u8]) -> Result<Page, ApiError> {
    match form {
        Form::Json => answer::page(resource, rest),
        Form::Protobuf => protobuf::page(resource, rest),
    }
}
