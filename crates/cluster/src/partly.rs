//! An object of which parts do not fit the type of its kind: these are taken out, and the rest is
//! read.
//!
//! Objects are read straight into their types, which ends at the first mistake. Only then the
//! object is read into a tree, and into its type again and again, each time without the part that
//! ended it. An item of a list is replaced by `null`, so that the items behind it keep their places
//! in messages.

use serde::de::DeserializeSeed;
use serde_json::Value;
use serde_path_to_error::{Deserializer, Path, Segment, Track};

use super::manifest::One;
use super::passed_over::PassedOver;
use super::{Invalid, Kind, Raw};

/// Maximal number of unreadable parts taken out of one object. Beyond that it is none of its kind.
const MAX_UNREADABLE_PARTS: usize = 1000;

/// Reads an object, and what of it was taken out.
///
/// # Errors
/// If it has no readable name or namespace, or if too many parts are wrong.
pub(super) fn read(kind: Kind, mut tree: Value) -> Result<(Raw, PassedOver), Invalid> {
    let mut passed_over = PassedOver::default();
    let mut last = String::new();
    for _ in 0..MAX_UNREADABLE_PARTS {
        let mut track = Track::new();
        let error = match One(kind).deserialize(Deserializer::new(&tree, &mut track)) {
            Ok(raw) => return Ok((raw, passed_over)),
            Err(error) => error,
        };
        let found = track.path();
        let steps: Vec<Step<'_>> = found.iter().map_while(Step::of).collect();
        let path = text(&steps);
        let why = if path.is_empty() { error.to_string() } else { format!("{path}: {error}") };
        if identifies(&found, &steps) || !take_out(&mut tree, &steps) {
            return Err(Invalid(why));
        }
        if matches!(steps.last(), Some(Step::Item(_))) {
            passed_over.take_out(path.clone());
        }
        // What is missing since a part of it was taken out has been noted with that part.
        if !last.strip_prefix(path.as_str()).is_some_and(|rest| rest.starts_with(['.', '['])) {
            passed_over.note(why);
        }
        last = path;
    }
    Err(Invalid(format!("more than {MAX_UNREADABLE_PARTS} parts cannot be read")))
}

/// One step from a node of the tree to the next.
#[derive(Debug, Clone, Copy)]
enum Step<'a> {
    Field(&'a str),
    Item(usize),
}

impl<'a> Step<'a> {
    fn of(segment: &'a Segment) -> Option<Self> {
        match segment {
            Segment::Seq { index } => Some(Self::Item(*index)),
            Segment::Map { key } => Some(Self::Field(key)),
            Segment::Enum { .. } | Segment::Unknown => None,
        }
    }
}

/// The path as messages have it.
fn text(steps: &[Step<'_>]) -> String {
    let mut text = String::new();
    for step in steps {
        match step {
            Step::Item(at) => text.push_str(&format!("[{at}]")),
            Step::Field(name) if text.is_empty() => text.push_str(name),
            Step::Field(name) => text.push_str(&format!(".{name}")),
        }
    }
    text
}

/// True for the parts that identify the object.
fn identifies(found: &Path, steps: &[Step<'_>]) -> bool {
    let is_whole = found.iter().next().is_none() || steps.is_empty();
    is_whole
        || matches!(steps, [Step::Field("metadata")] | [Step::Field("metadata"), Step::Field("name" | "namespace"), ..])
}

/// Takes a part out; false if it is not there.
fn take_out(tree: &mut Value, steps: &[Step<'_>]) -> bool {
    let Some((last, way)) = steps.split_last() else { return false };
    let mut at = tree;
    for step in way {
        let next = match step {
            Step::Field(name) => at.get_mut(*name),
            Step::Item(index) => at.get_mut(*index),
        };
        let Some(next) = next else { return false };
        at = next;
    }
    match (last, at) {
        (Step::Field(name), Value::Object(fields)) => fields.remove(*name).is_some(),
        (Step::Item(index), Value::Array(items)) => {
            items.get_mut(*index).is_some_and(|item| !std::mem::replace(item, Value::Null).is_null())
        }
        _ => false,
    }
}
