//! The version from which a watch goes on.

use std::cmp::Ordering;

use super::error::ApiError;

/// Position of a watch.
#[derive(Debug, Default)]
pub(super) struct ResumePoint {
    /// The version up to which everything is in the cache; none before a list is complete.
    pub(super) version: Option<String>,
    /// Consecutive failures that the request itself may cause, since the last answer.
    pub(super) failures: u32,
    /// While there is no version to go on from: the last one, which a list must not be older than.
    last: Option<String>,
    /// The next list must be the most recent one, whatever that costs the server.
    pub(super) most_recent: bool,
}

impl ResumePoint {
    /// The version of a list, or of the bookmark that ends one.
    pub(super) fn at(version: Option<String>) -> Self {
        Self { version, ..Self::default() }
    }

    /// Makes the next attempt begin with a list.
    pub(super) fn forget(&mut self) {
        self.last = self.version.take().or_else(|| self.last.take());
    }

    /// True if `version` is older than the last one.
    pub(super) fn is_after(&self, version: &str) -> bool {
        self.last.as_deref().is_some_and(|last| compare(version, last) == Some(Ordering::Less))
    }

    /// Goes on to a version that an event or a bookmark carries. A version that goes back is
    /// trouble.
    pub(super) fn advance(&mut self, to: Option<&str>) -> Result<(), ApiError> {
        self.failures = 0;
        let Some(to) = to else { return Ok(()) };
        if let Some(from) = &self.version
            && compare(to, from) == Some(Ordering::Less)
        {
            return Err(ApiError::Rewound { from: from.clone(), to: to.to_owned() });
        }
        self.version = Some(to.to_owned());
        Ok(())
    }
}

/// Order of two versions; none if they are not the numbers that Kubernetes' own resources have.
fn compare(one: &str, other: &str) -> Option<Ordering> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (one, other) = (one.trim_start_matches('0'), other.trim_start_matches('0'));
    (digits(one) && digits(other)).then(|| one.len().cmp(&other.len()).then_with(|| one.cmp(other)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Versions are compared as numbers of any length; what is no number is not compared.
    #[test]
    fn versions_are_numbers() {
        assert_eq!(compare("9", "10"), Some(Ordering::Less));
        assert_eq!(compare("184467440737095516160", "184467440737095516159"), Some(Ordering::Greater));
        assert_eq!(compare("12", "12"), Some(Ordering::Equal));
        assert_eq!((compare("a", "12"), compare("", "1")), (None, None));
        let mut place = ResumePoint { version: Some("12".to_owned()), failures: 2, ..ResumePoint::default() };
        assert_eq!((place.advance(None), place.failures), (Ok(()), 0));
        assert_eq!(place.advance(Some("13")), Ok(()));
        assert!(matches!(place.advance(Some("11")), Err(ApiError::Rewound { .. })));
        place.forget();
        place.forget();
        assert!(place.version.is_none() && place.is_after("12"));
        assert!(!place.is_after("13") && !place.is_after("other") && !ResumePoint::default().is_after("1"));
    }
}
