//! The parts of an object that could not be read.

/// Error that makes an object unusable: the field, the found value and the expected one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub String);

/// Parts of one object that are described; those beyond are only counted.
const MAX_PARTS: usize = 20;

/// Parts that were passed over, and the reasons.
#[derive(Debug, Clone, Default)]
pub struct PassedOver {
    /// The first parts: where each is in the object, what was found and what was expected.
    pub described: Vec<Invalid>,
    /// Number of further parts.
    pub further: usize,
    /// Items of lists that have been taken out, by their paths.
    taken_out: Vec<String>,
}

impl PassedOver {
    /// Notes one part.
    pub(super) fn note(&mut self, text: String) {
        if self.described.len() < MAX_PARTS {
            self.described.push(Invalid(text));
        } else {
            self.further += 1;
        }
    }

    /// Notes an item of a list that is taken out: there is `null` in its place.
    pub(super) fn take_out(&mut self, path: String) {
        self.taken_out.push(path);
    }

    /// Number of parts.
    pub(super) fn count(&self) -> usize {
        self.described.len() + self.further
    }

    /// The items of a list, if it is there, with their places. One that is `null` is noted, if it
    /// was not taken out before.
    pub(super) fn items<'a, T>(&mut self, path: &str, list: Option<&'a [Option<T>]>) -> Vec<(String, &'a T)> {
        let list = list.unwrap_or_default();
        let mut items = Vec::with_capacity(list.len());
        for (at, item) in list.iter().enumerate() {
            let path = format!("{path}[{at}]");
            match item {
                Some(item) => items.push((path, item)),
                None if self.taken_out.contains(&path) => {}
                None => self.note(format!("{path} is null")),
            }
        }
        items
    }
}
