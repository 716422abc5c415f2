//! Names by pattern: `namespace/prefix` of pods and services, FQDN patterns of DNS names and nodes.

/// One value of `source_pod` and its like: `ns/prefix`, `prefix` (namespace `default`), `ns/`,
/// `/prefix`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Prefix {
    /// Namespace of the pod; none is any.
    namespace: Option<String>,
    name: String,
}

impl Prefix {
    pub(super) fn read(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("expected namespace/prefix, prefix (in namespace default), namespace/ or /prefix".to_owned());
        }
        let mut parts = text.split('/');
        let first = parts.next().unwrap_or_default().to_owned();
        Ok(match parts.next() {
            None => Self { namespace: Some("default".to_owned()), name: first },
            Some(name) => Self { namespace: (!first.is_empty()).then_some(first), name: name.to_owned() },
        })
    }

    /// True if the name fits. One that is empty altogether never does.
    pub(super) fn fits(&self, namespace: &str, name: &str) -> bool {
        if namespace.is_empty() && name.is_empty() {
            return false;
        }
        self.namespace.as_ref().is_none_or(|wanted| wanted == namespace) && name.starts_with(&self.name)
    }
}

/// A name that may hold `*`, which stands for any run of `-`, `.`, digits and small letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    /// Texts between the stars: one more than there are stars.
    parts: Vec<String>,
}

impl Pattern {
    /// Reads an FQDN pattern: trimmed, in small letters, one trailing dot removed.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let trimmed = text.trim();
        let name = trimmed.strip_suffix('.').unwrap_or(trimmed).to_lowercase();
        if name.is_empty() {
            return Err("expected a name or a pattern, found nothing".to_owned());
        }
        if name.ends_with('.') {
            return Err("expected one trailing dot at most".to_owned());
        }
        let known = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || "-._*".contains(letter);
        if let Some(wrong) = name.chars().find(|letter| !known(*letter)) {
            return Err(format!("expected letters, digits, `-`, `.`, `_` and `*`; found {wrong:?}"));
        }
        Ok(Self { parts: name.split('*').map(str::to_owned).collect() })
    }

    /// True if the whole name fits.
    pub(super) fn fits(&self, name: &str) -> bool {
        let [first, rest @ ..] = self.parts.as_slice() else { return false };
        let Some(mut left) = name.strip_prefix(first.as_str()) else { return false };
        let Some((last, between)) = rest.split_last() else { return left.is_empty() };
        // Each part in its leftmost place: a star can always take what is passed over, as long as
        // its letters allow.
        for part in between {
            match starred(left, part) {
                Some(behind) => left = behind,
                None => return false,
            }
        }
        left.strip_suffix(last.as_str()).is_some_and(|star| star.bytes().all(starrable))
    }
}

/// The rest of `text` behind the first `part`, if a star can match the text before it.
fn starred<'a>(text: &'a str, part: &str) -> Option<&'a str> {
    let at = text.find(part)?;
    let (star, rest) = text.split_at_checked(at)?;
    if star.bytes().all(starrable) { rest.strip_prefix(part) } else { None }
}

fn starrable(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.'
}

/// One value of `node_name`: `node`, `cluster/node`, `cluster/` or `/node`. An empty part is any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NodePattern {
    cluster: Option<Pattern>,
    node: Option<Pattern>,
}

impl NodePattern {
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let (cluster, node) = text.split_once('/').unwrap_or(("", text));
        if node.contains('/') {
            return Err("expected one `/` at most: cluster/node".to_owned());
        }
        let part = |text: &str| if text.is_empty() { Ok(None) } else { Pattern::read(text).map(Some) };
        Ok(Self { cluster: part(cluster)?, node: part(node)? })
    }

    /// True if the name fits; one without a cluster is of the cluster `default`.
    pub(super) fn fits(&self, name: &str) -> bool {
        if name.is_empty() {
            return false;
        }
        let (cluster, node) = name.split_once('/').unwrap_or(("default", name));
        let fits = |pattern: &Option<Pattern>, text| pattern.as_ref().is_none_or(|pattern| pattern.fits(text));
        !node.contains('/') && fits(&self.cluster, cluster) && fits(&self.node, node)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Contract, 2.6, source_pod.
    #[test]
    fn prefixes() {
        let fits = |value: &str, namespace: &str, name: &str| Prefix::read(value).unwrap().fits(namespace, name);
        assert!(fits("empire/tie", "empire", "tiefighter"));
        assert!(!fits("empire/tie", "default", "tiefighter"));
        assert!(fits("tie", "default", "tiefighter"));
        assert!(!fits("tie", "empire", "tiefighter"));
        assert!(fits("empire/", "empire", ""));
        assert!(fits("/tie", "any", "tie"));
        assert!(fits("/", "a", "b"));
        assert!(!fits("/", "", ""));
        assert!(fits("a/b/c", "a", "bx"), "text behind a second slash is ignored");
        assert!(Prefix::read("").is_err());
    }

    /// Contract, 2.6, source_fqdn and node_name.
    #[test]
    fn patterns() {
        let fits = |value: &str, name: &str| Pattern::read(value).unwrap().fits(name);
        assert!(fits(" *Example.com. ", "www.example.com"));
        assert!(fits("*", "a.b-1"));
        assert!(!fits("*", "a_b"), "a star takes no underscore");
        assert!(!fits("*.com", "WWW.com"), "names are not lower-cased");
        assert!(fits("a*b*c", "abbcbc"));
        assert!(!fits("example.com", "www.example.com"));
        for wrong in ["", " ", ".", "a..", "a b", "a/b"] {
            assert!(Pattern::read(wrong).is_err(), "{wrong}");
        }
        let fits = |value: &str, name: &str| NodePattern::read(value).unwrap().fits(name);
        assert!(fits("node-1", "node-1") && fits("node-1", "c1/node-1"));
        assert!(fits("c1/node-*", "c1/node-1") && !fits("c1/node-*", "node-1"));
        assert!(fits("default/", "node-1") && fits("/node-1", "c/node-1"));
        assert!(!fits("/", "") && fits("/", "x"));
        assert!(NodePattern::read("a/b/c").is_err());
    }

    proptest! {
        /// The hand-written matcher must agree with the regular expression of hubble-contract §2.6.
        #[test]
        fn patterns_are_regular_expressions(pattern in "[ab*]{1,6}", name in "[ab_]{0,8}") {
            let expression = format!("^{}$", pattern.replace('*', "[-.0-9a-z]*"));
            let wanted = regex::Regex::new(&expression).unwrap().is_match(&name);
            prop_assert_eq!(Pattern::read(&pattern).unwrap().fits(&name), wanted);
        }
    }
}
