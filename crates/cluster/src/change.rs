//! The change that an upserted object makes.

/// Change of the cache by an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The object is new.
    Created,
    /// A part of it that is used differs.
    Updated,
    /// Nothing that is used differs.
    Equal,
}

impl Change {
    /// The change from one value to another.
    pub(super) fn of<V: PartialEq>(before: Option<&V>, now: &V) -> Self {
        match before {
            None => Self::Created,
            Some(before) if before != now => Self::Updated,
            Some(_) => Self::Equal,
        }
    }

    /// True unless nothing differs.
    pub(super) fn is_any(self) -> bool {
        self != Self::Equal
    }
}
