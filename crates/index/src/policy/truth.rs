//! Three-valued logic: unknown inputs propagate until they no longer matter.

/// Outcome of a match. `min` is "and", `max` is "or".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Truth {
    #[default]
    No,
    /// Undecided: it depends on an unknown part: an unreadable field, a domain name, an address
    /// without an owner.
    Maybe,
    Yes,
}

impl From<bool> for Truth {
    fn from(is: bool) -> Self {
        if is { Self::Yes } else { Self::No }
    }
}

impl Truth {
    /// The greatest of `all`, no further looked for than to the first `Yes`.
    #[inline]
    pub fn any(all: impl IntoIterator<Item = Self>) -> Self {
        let mut best = Self::No;
        for one in all {
            best = best.max(one);
            if best == Self::Yes {
                break;
            }
        }
        best
    }
}
