//! The line of a part of an object, by the path with which a message begins (`spec.ports[1]: ...`).

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

/// One step from a part to a part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Field(String),
    Item(usize),
}

/// The line, in its document, of what a message is about, or of the smallest part around it that is
/// there. `item` is the object's place in a list, and `read` reads the document with a seed.
pub(super) fn line_of<E>(
    message: &str,
    item: Option<usize>,
    read: impl Fn(Locate<'_>) -> Result<Option<u64>, E>,
) -> Option<u64> {
    let mut steps: Vec<Step> =
        item.into_iter().flat_map(|at| [Step::Field("items".to_owned()), Step::Item(at)]).collect();
    let object = steps.len();
    steps.extend(path_of(message));
    while steps.len() > object {
        if let Ok(Some(line)) = read(Locate(&steps)) {
            return Some(line);
        }
        steps.pop();
    }
    None
}

/// The path with which a message begins.
fn path_of(message: &str) -> Vec<Step> {
    let path = message.split([' ', ':']).next().unwrap_or_default();
    let mut steps = Vec::new();
    for part in path.split('.') {
        let mut ends = part.split('[');
        steps.extend(ends.next().filter(|name| !name.is_empty()).map(|name| Step::Field(name.to_owned())));
        steps.extend(ends.filter_map(|end| end.strip_suffix(']')?.parse().ok()).map(Step::Item));
    }
    steps
}

/// Follows a path, and yields the line of its end.
#[derive(Clone, Copy)]
pub(super) struct Locate<'a>(&'a [Step]);

impl<'de> DeserializeSeed<'de> for Locate<'_> {
    type Value = Option<u64>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Option<u64>, D::Error> {
        match self.0 {
            [] => Spanned::<IgnoredAny>::deserialize(from).map(|found| Some(found.referenced.line())),
            [Step::Field(_), ..] => from.deserialize_map(self),
            [Step::Item(_), ..] => from.deserialize_seq(self),
        }
    }
}

impl<'de> Visitor<'de> for Locate<'_> {
    type Value = Option<u64>;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("a part of an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Option<u64>, A::Error> {
        let mut found = None;
        while let Some(key) = map.next_key::<String>()? {
            match self.0 {
                [Step::Field(name), rest @ ..] if *name == key => found = map.next_value_seed(Locate(rest))?,
                _ => _ = map.next_value::<IgnoredAny>()?,
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Option<u64>, A::Error> {
        let [Step::Item(wanted), rest @ ..] = self.0 else { return Ok(None) };
        for _ in 0..*wanted {
            if items.next_element::<IgnoredAny>()?.is_none() {
                return Ok(None);
            }
        }
        let found = items.next_element_seed(Locate(rest))?.flatten();
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A path ends where the words begin.
    #[test]
    fn paths_of_messages() {
        let field = |name: &str| Step::Field(name.to_owned());
        for (message, steps) in [
            ("spec.ports[1]: port is 0", vec![field("spec"), field("ports"), Step::Item(1)]),
            ("a[0][12] is null", vec![field("a"), Step::Item(0), Step::Item(12)]),
            ("addressType is unknown", vec![field("addressType")]),
            ("", vec![]),
        ] {
            assert_eq!(path_of(message), steps, "{message}");
        }
    }
}
