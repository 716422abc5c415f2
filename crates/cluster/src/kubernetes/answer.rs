//! Answers of the API: lists, lines of a watch, errors.
//!
//! Each object is cut out first and read on its own, so that one with a wrong field costs only
//! itself. Its head (name and version) is read apart from the rest, because a watch must go on
//! after an object that is otherwise of no use.

use std::borrow::Cow;

use http::StatusCode;
use serde::Deserialize;
use serde::de::{DeserializeSeed, IgnoredAny};
use serde_json::value::RawValue;

use super::Resource;
use super::error::ApiError;
use crate::manifest::One;
use crate::{Checked, Invalid, Kind, Object, ObjectKey, PassedOver, Raw, partly};

/// The annotation of the bookmark that ends a streamed list.
pub(super) const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

/// Characters of a server's message that are shown.
const MAX_MESSAGE_CHARS: usize = 300;

/// Metadata of an object, parsed before the rest of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) key: Option<ObjectKey>,
    pub(super) version: Option<String>,
    /// Kind of an object that is none of those that were requested.
    pub(super) strange: Option<String>,
}

/// One object of a list, or of a watch.
#[derive(Debug)]
pub(super) struct Item<T> {
    pub(super) head: Head,
    /// The object, or why it cannot be used.
    pub(super) object: Result<T, String>,
    /// Parts of it that could not be read, and why.
    pub(super) passed_over: PassedOver,
}

/// One line of a watch.
#[derive(Debug)]
pub(super) enum Event<T> {
    /// Added or changed.
    Applied(Item<T>),
    Deleted(Head),
    /// A version without further changes up to it; `complete`: the streamed list ends here.
    Bookmark {
        version: Option<String>,
        complete: bool,
    },
    Error(ApiError),
}

impl<T> Event<T> {
    /// The version that it brings its kind to.
    pub(super) fn version(&self) -> Option<&str> {
        match self {
            Self::Applied(Item { head, .. }) | Self::Deleted(head) => head.version.as_deref(),
            Self::Bookmark { version, .. } => version.as_deref(),
            Self::Error(_) => None,
        }
    }
}

/// Metadata of a list, or of a page of one.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) version: String,
    /// Empty on the last page.
    pub(super) next: String,
    /// Objects on the pages that follow, where the server counts them.
    pub(super) remaining: usize,
}

#[derive(Deserialize)]
struct RawEvent<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Deserialize)]
struct RawPage<'a> {
    #[serde(borrow)]
    kind: Option<Cow<'a, str>>,
    metadata: RawPageMeta,
    /// Cut out already, or null; an answer without it is no list.
    #[serde(rename = "items")]
    _items: IgnoredAny,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawPageMeta {
    #[serde(default)]
    resource_version: String,
    #[serde(rename = "continue", default)]
    next: String,
    #[serde(default)]
    remaining_item_count: Option<usize>,
}

#[derive(Deserialize)]
struct RawHead<'a> {
    #[serde(borrow)]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    metadata: RawMeta<'a>,
}

/// The kind of a list, whatever else of it has come.
#[derive(Deserialize)]
struct RawKind<'a> {
    #[serde(borrow)]
    kind: Cow<'a, str>,
}

/// Each field raw, so that one of the wrong type does not hide the others.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawMeta<'a> {
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow)]
    namespace: Option<&'a RawValue>,
    #[serde(borrow)]
    resource_version: Option<&'a RawValue>,
    #[serde(borrow)]
    annotations: Option<&'a RawValue>,
}

/// `v1.Status`, as far as it is read.
#[derive(Deserialize, Default)]
struct RawStatus {
    #[serde(default)]
    message: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    code: u16,
}

fn text(raw: Option<&RawValue>) -> Option<String> {
    raw.and_then(|raw| serde_json::from_str(raw.get()).ok())
}

fn raw_head(object: &RawValue) -> Option<RawHead<'_>> {
    serde_json::from_str(object.get()).ok()
}

fn meta(object: &RawValue) -> Option<RawMeta<'_>> {
    raw_head(object).map(|head| head.metadata)
}

pub(super) fn head(resource: &Resource, object: &RawValue) -> Head {
    let Some(RawHead { kind, metadata: meta }) = raw_head(object) else { return Head::default() };
    let name = text(meta.name).filter(|name| !name.is_empty());
    // A namespace that is no text is not the default one.
    let namespace = meta.namespace.map(|namespace| text(Some(namespace)));
    let key = match (name, namespace) {
        (Some(name), None) => Some(resource.key(None, name)),
        (Some(name), Some(Some(namespace))) => Some(resource.key(Some(namespace), name)),
        _ => None,
    };
    // Items of a list have no kind.
    let strange = text(kind).filter(|kind| !kind.is_empty() && !resource.is_of(kind));
    Head { key, version: text(meta.resource_version), strange }
}

/// Parses an object for the cache of names.
pub(super) fn item(resource: &Resource, raw: &RawValue) -> Item<Object> {
    let checked = read(resource.kind, raw).and_then(|(raw, passed_over)| Object::check_rest(raw, passed_over));
    let head = head(resource, raw);
    match checked {
        Ok(Checked { object, passed_over }) => Item { head, object: Ok(object), passed_over },
        Err(Invalid(why)) => {
            // A policy counts all the same: what it says is unknown.
            let stand_in = head.key.as_ref().and_then(|key| Object::unreadable(resource.kind, key));
            let mut passed_over = PassedOver::default();
            if stand_in.is_some() {
                passed_over.note(why.clone());
            }
            Item { head, object: stand_in.ok_or(why), passed_over }
        }
    }
}

fn read(kind: Kind, raw: &RawValue) -> Result<(Raw, PassedOver), Invalid> {
    match One(kind).deserialize(&mut serde_json::Deserializer::from_str(raw.get())) {
        Ok(raw) => Ok((raw, PassedOver::default())),
        Err(error) => {
            let tree = serde_json::from_str(raw.get()).map_err(|error| Invalid(error.to_string()))?;
            let (raw, mut passed_over) = partly::read(kind, tree)?;
            if passed_over.count() == 0 {
                // A tree has each field once.
                passed_over.note(error.to_string());
            }
            Ok((raw, passed_over))
        }
    }
}

fn not_a_list(resource: &Resource, error: &serde_json::Error) -> ApiError {
    ApiError::Malformed(format!("a list of {}: {error}", resource.plural))
}

/// Parses an object in the way of those that keep it.
pub(super) type ReadItem<T> = fn(&Resource, &RawValue) -> Item<T>;

/// Reads an item of a list.
pub(super) fn list_item<T>(resource: &Resource, item: &[u8], read: ReadItem<T>) -> Result<Item<T>, ApiError> {
    let raw = serde_json::from_slice(item).map_err(|error| not_a_list(resource, &error))?;
    Ok(read(resource, raw))
}

/// Refuses a list of another kind, as far as its beginning says of which it is.
pub(super) fn check_beginning(resource: &Resource, beginning: &[u8]) -> Result<(), ApiError> {
    let kind = serde_json::from_slice::<RawKind<'_>>(beginning).map(|list| list.kind);
    kind.map_or(Ok(()), |kind| resource.check_list(&kind)).map_err(ApiError::Malformed)
}

/// Reads a list without its items.
pub(super) fn page(resource: &Resource, rest: &[u8]) -> Result<Page, ApiError> {
    let page: RawPage<'_> = serde_json::from_slice(rest).map_err(|error| not_a_list(resource, &error))?;
    // What takes a list's place, such as a Status, must not be an empty one.
    page.kind.map_or(Ok(()), |kind| resource.check_list(&kind)).map_err(ApiError::Malformed)?;
    let RawPageMeta { resource_version, next, remaining_item_count } = page.metadata;
    Ok(Page { version: resource_version, next, remaining: remaining_item_count.unwrap_or(0) })
}

/// Reads a line of a watch.
pub(super) fn event<T>(resource: &Resource, line: &[u8], read: ReadItem<T>) -> Result<Event<T>, ApiError> {
    let event: RawEvent<'_> = serde_json::from_slice(line)
        .map_err(|error| ApiError::Malformed(format!("an event of {}: {error}", resource.plural)))?;
    Ok(match &*event.kind {
        "ADDED" | "MODIFIED" => Event::Applied(read(resource, event.object)),
        "DELETED" => Event::Deleted(head(resource, event.object)),
        "BOOKMARK" => {
            let meta = meta(event.object);
            let annotations = meta.as_ref().and_then(|meta| text_map(meta.annotations));
            Event::Bookmark {
                version: meta.and_then(|meta| text(meta.resource_version)),
                complete: annotations.is_some_and(|all| all.get(INITIAL_EVENTS_END).is_some_and(|is| is == "true")),
            }
        }
        "ERROR" => {
            let status: RawStatus = serde_json::from_str(event.object.get()).unwrap_or_default();
            let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            Event::Error(of_status(code, &status.message, &status.reason))
        }
        other => return Err(ApiError::Malformed(format!("an event of {} has the type {other:?}", resource.plural))),
    })
}

fn text_map(raw: Option<&RawValue>) -> Option<std::collections::BTreeMap<String, String>> {
    raw.and_then(|raw| serde_json::from_str(raw.get()).ok())
}

/// Reads the body of an answer that is no success.
pub(super) fn refusal(status: StatusCode, body: &[u8], after: Option<std::time::Duration>) -> ApiError {
    let read: RawStatus = serde_json::from_slice(body).unwrap_or_default();
    match of_status(status, &read.message, &read.reason) {
        ApiError::Throttled { text, .. } => ApiError::Throttled { text, after },
        ApiError::Failed { status, text, .. } => ApiError::Failed { status, text, after },
        other => other,
    }
}

/// The error that a `Status` is about.
pub(super) fn of_status(status: StatusCode, message: &str, reason: &str) -> ApiError {
    // A person reads it, in a log line and in `/readyz`.
    let mut text: String = message.chars().take(MAX_MESSAGE_CHARS).filter(|letter| !letter.is_control()).collect();
    if text.trim().is_empty() {
        text = status.to_string();
    }
    if matches!(reason, "Expired" | "Gone") {
        return ApiError::Gone(text);
    }
    ApiError::of_status(status, text, None)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::RESOURCES;
    use super::*;

    const POD: &str = r#"{"metadata":{"name":"a","namespace":"n","resourceVersion":"7","managedFields":[{}]},"spec":{"containers":null},"status":{"podIP":"10.0.0.1"}}"#;

    fn line(kind: &str, object: &str) -> Event<Object> {
        event(&RESOURCES[0], format!(r#"{{"type":"{kind}","object":{object}}}"#).as_bytes(), item).unwrap()
    }

    /// An object that cannot be used still has its name and version, so that the watch can go on
    /// after it.
    #[test]
    fn a_bad_object_keeps_its_head() {
        let Event::Applied(good) = line("ADDED", POD) else { panic!() };
        assert_eq!(good.head.version.as_deref(), Some("7"));
        assert_eq!(good.head.key.unwrap().to_string(), "n/a");
        assert_eq!(good.object.unwrap().reference().key.to_string(), "n/a");
        let Event::Applied(item) = line("MODIFIED", &POD.replace("\"n\"", "7")) else { panic!() };
        assert_eq!((item.head.key, item.head.version.as_deref()), (None, Some("7")), "it is not in `default`");
        assert!(item.object.unwrap_err().contains("metadata.namespace: invalid type"));
        // A field that is there twice is an oddity of its own.
        let Event::Applied(twice) = line("MODIFIED", &POD.replace("\"status\"", "\"status\":{},\"status\"")) else {
            panic!()
        };
        assert!(twice.object.is_ok() && twice.passed_over.described[0].to_string().contains("duplicate field"));
        let Event::Applied(part) = line("MODIFIED", &POD.replace("10.0.0.1", "10.0.0.256")) else { panic!() };
        assert!(part.object.is_ok() && part.passed_over.described[0].to_string().contains("not an IP address"));
        let Event::Applied(nameless) = line("MODIFIED", &POD.replace("\"a\"", "{}")) else { panic!() };
        assert_eq!((nameless.head.key, nameless.head.version.as_deref()), (None, Some("7")));
        assert!(nameless.object.is_err());
    }

    /// An object of another kind keeps its version, and says what it is.
    #[test]
    fn other_kinds() {
        for what in ["ADDED", "DELETED"] {
            let service = POD.replacen('{', r#"{"kind":"Service","#, 1);
            let (Event::Applied(Item { head, .. }) | Event::Deleted(head)) = line(what, &service) else { panic!() };
            assert_eq!((head.strange.as_deref(), head.version.as_deref()), (Some("Service"), Some("7")));
            let pod = POD.replacen('{', r#"{"kind":"Pod","#, 1);
            let (Event::Applied(Item { head, .. }) | Event::Deleted(head)) = line(what, &pod) else { panic!() };
            assert_eq!(head.strange, None);
        }
        let beginning = br#"{"kind":"ServiceList","apiVersion":"v1","metadata":{},"items":[]}"#;
        assert!(check_beginning(&RESOURCES[3], beginning).is_ok());
        assert!(check_beginning(&RESOURCES[0], beginning).unwrap_err().to_string().contains("expected PodList"));
        assert!(check_beginning(&RESOURCES[0], br#"{"items":[]}"#).is_ok(), "what it is comes later");
    }

    /// What a server says is shown as far as it can be.
    #[test]
    fn messages_are_for_people() {
        let text = |message: &str| of_status(StatusCode::BAD_GATEWAY, message, "").to_string();
        assert!(text(&"\0".repeat(1000)).ends_with("(502): 502 Bad Gateway"), "{}", text(&"\0".repeat(1000)));
        assert!(text("over\x1b[31mloaded\n").ends_with("over[31mloaded"));
    }

    /// Bookmarks, deletions and errors are each handled by their type.
    #[test]
    fn other_events() {
        let ending = r#"{"metadata":{"resourceVersion":"9","annotations":{"k8s.io/initial-events-end":"true"}}}"#;
        let Event::Bookmark { version, complete } = line("BOOKMARK", ending) else { panic!() };
        assert_eq!((version.as_deref(), complete), (Some("9"), true));
        let Event::Bookmark { complete, .. } = line("BOOKMARK", r#"{"metadata":{"resourceVersion":"9"}}"#) else {
            panic!()
        };
        assert!(!complete);
        let Event::Deleted(head) = line("DELETED", POD) else { panic!() };
        assert_eq!(head.version.as_deref(), Some("7"));
        let gone = r#"{"kind":"Status","code":410,"reason":"Expired","message":"too old"}"#;
        assert!(matches!(line("ERROR", gone), Event::Error(ApiError::Gone(text)) if text == "too old"));
        assert!(matches!(line("ERROR", "{}"), Event::Error(ApiError::Failed { status: 500, .. })));
    }

    /// One bad object of a list costs only itself.
    #[test]
    fn lists_survive_bad_items() {
        let items = [POD, "7", "{}"].map(|item| list_item(&RESOURCES[0], item.as_bytes(), super::item).unwrap());
        assert_eq!(items.map(|item| item.object.is_ok()), [true, false, false]);
        assert!(matches!(list_item(&RESOURCES[0], b"{", item), Err(ApiError::Malformed(_))));
        let page = super::page(&RESOURCES[0], br#"{"metadata":{"resourceVersion":"12","continue":"x"},"items":[]}"#);
        assert_eq!(page, Ok(Page { version: "12".to_owned(), next: "x".to_owned(), remaining: 0 }));
        assert_eq!(super::page(&RESOURCES[0], br#"{"metadata":{},"items":null}"#), Ok(Page::default()));
        for other in ["{", r#"{"metadata":{}}"#, r#"{"kind":"Status","metadata":{},"status":"Success","items":[]}"#] {
            assert!(matches!(super::page(&RESOURCES[0], other.as_bytes()), Err(ApiError::Malformed(_))), "{other}");
        }
    }

    proptest! {
        /// Whatever a server sends, reading it ends in an answer, not in a panic.
        #[test]
        fn nothing_panics(at in 0usize..200, with in any::<u8>(), kind in 0usize..6) {
            let mut bytes = format!(r#"{{"type":"ADDED","object":{POD}}}"#).into_bytes();
            let at = at % bytes.len();
            bytes[at] = with;
            let _either = event(&RESOURCES[kind], &bytes, item);
            bytes.truncate(at);
            prop_assert!(event(&RESOURCES[kind], &bytes, item).is_err());
            let _either = page(&RESOURCES[kind], &bytes);
            let _either = list_item(&RESOURCES[kind], &bytes, item);
        }
    }
}
