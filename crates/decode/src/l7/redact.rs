//! Redacts parts of URLs and headers before they leave layer 7: Hubble's `redact` options.

use std::collections::BTreeSet;

/// Text in the place of a redacted one.
pub const REDACTED: &str = "HUBBLE_REDACTED";

/// Selection of the header values that are redacted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum HeaderRule {
    /// All.
    #[default]
    All,
    /// All but those of these names, in lower case.
    AllBut(BTreeSet<String>),
    /// Those of these names, in lower case.
    Only(BTreeSet<String>),
}

/// The options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redact {
    /// Whether anything but the password of a URL is redacted.
    pub enabled: bool,
    /// Query and fragment of a URL are dropped.
    pub url_query: bool,
    /// The password of a URL is replaced. Without `enabled` it always is.
    pub user_info: bool,
    /// Values of headers.
    pub headers: HeaderRule,
}

impl Default for Redact {
    fn default() -> Self {
        Self { enabled: false, url_query: false, user_info: true, headers: HeaderRule::All }
    }
}

impl Redact {
    pub(super) fn drops_query(&self) -> bool {
        self.enabled && self.url_query
    }

    pub(super) fn hides_password(&self) -> bool {
        !self.enabled || self.user_info
    }

    /// Whether the value of a header is replaced; `name` is in canonical case.
    pub(super) fn hides_header(&self, name: &str) -> bool {
        let listed = |names: &BTreeSet<String>| names.iter().any(|known| known.eq_ignore_ascii_case(name));
        self.enabled
            && match &self.headers {
                HeaderRule::All => true,
                HeaderRule::AllBut(names) => !listed(names),
                HeaderRule::Only(names) => listed(names),
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Section 2.2: each option, and what holds without any.
    #[test]
    fn options() {
        let names = || BTreeSet::from(["x-key".to_owned()]);
        let on = Redact { enabled: true, ..Redact::default() };
        for (redact, key, other) in [
            (Redact::default(), false, false),
            (on.clone(), true, true),
            (Redact { headers: HeaderRule::AllBut(names()), ..on.clone() }, false, true),
            (Redact { headers: HeaderRule::Only(names()), ..on.clone() }, true, false),
            (Redact { headers: HeaderRule::Only(names()), ..Redact::default() }, false, false),
        ] {
            assert_eq!((redact.hides_header("X-Key"), redact.hides_header("Accept")), (key, other), "{redact:?}");
        }
        assert!(Redact { user_info: false, ..Redact::default() }.hides_password());
        assert!(!Redact { user_info: false, ..on.clone() }.hides_password());
        assert!(!Redact { url_query: true, ..Redact::default() }.drops_query());
        assert!(Redact { url_query: true, ..on }.drops_query());
    }
}
