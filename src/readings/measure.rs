//! The families that readings are made of, and which of their labels name the ends.

use std::borrow::Cow;

use webb_metrics::expose::write_pair;

/// A table of series that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "each is one family, see `Measure::of`")]
pub enum Measure {
    Traffic,
    Drop,
    Verdict,
    Attempt,
    Handshake,
    RoundTrip,
    SentAgain,
    Open,
    DnsAnswer,
    DnsUnanswered,
    HttpRequest,
    HttpAnswer,
    HttpTime,
}

/// Each with the first family of its table.
const FAMILIES: [(&str, Measure); 13] = [
    ("webb_traffic_bytes_total", Measure::Traffic),
    ("hubble_drop_total", Measure::Drop),
    ("hubble_policy_verdicts_total", Measure::Verdict),
    ("webb_tcp_connections_total", Measure::Attempt),
    ("webb_tcp_handshake_seconds", Measure::Handshake),
    ("webb_tcp_rtt_seconds", Measure::RoundTrip),
    ("webb_tcp_retransmitted_segments_total", Measure::SentAgain),
    ("webb_tcp_open_connections", Measure::Open),
    ("hubble_dns_responses_total", Measure::DnsAnswer),
    ("webb_dns_unanswered_total", Measure::DnsUnanswered),
    ("hubble_http_requests_total", Measure::HttpRequest),
    ("hubble_http_responses_total", Measure::HttpAnswer),
    ("hubble_http_request_duration_seconds", Measure::HttpTime),
];

impl Measure {
    /// The measure whose table begins with this family.
    pub fn of(family: &str) -> Option<Self> {
        FAMILIES.iter().find(|(name, _)| *name == family).map(|(_, measure)| *measure)
    }

    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        FAMILIES.iter().map(|(_, measure)| *measure)
    }

    /// Name of its first family.
    pub fn family(self) -> &'static str {
        FAMILIES.iter().find(|(_, measure)| *measure == self).map_or("", |(name, _)| name)
    }

    /// How many calls of `from` a growth of its series stands for. Of a connection that is known
    /// the end that is measured may be either: that it is there weighs little.
    pub(super) fn calls(self, grown: u64) -> u64 {
        match self {
            Self::Traffic | Self::Drop => 0,
            Self::Handshake | Self::RoundTrip | Self::SentAgain | Self::Open => 1,
            _ => grown,
        }
    }

    /// True where the label `source` is the server, which answers: the caller is the other end.
    /// `requests_have_status` is the mark of Hubble's `httpV2`, whose source is always the client.
    pub(super) fn is_turned(self, requests_have_status: bool) -> bool {
        match self {
            Self::DnsAnswer => true,
            Self::HttpAnswer | Self::HttpTime => !requests_have_status,
            _ => false,
        }
    }
}

/// The labels that name an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `source` and `destination`.
    Joined,
    /// `source_namespace` if there is one, and `source_` with this; likewise of the destination.
    Split(&'static str),
}

/// Labels of `labelsContext` that name an end, the best first.
const NAMES: [&str; 4] = ["workload", "app", "pod", "ip"];

/// The labels of one series.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Labels(Vec<(Box<str>, Box<str>)>);

impl Labels {
    /// Parses `a="x",b="y"`, as the label text of a series is written.
    pub(super) fn parse(text: &str) -> Self {
        Self(LabelText::split(text).0.into_iter().map(|(name, value)| (name.into(), plain(value).into())).collect())
    }

    /// The value of a label; empty for one that is not there.
    pub(super) fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(known, _)| **known == *name).map_or("", |(_, value)| value)
    }
}

/// Labels as they are written, each name with its value's escapes: what is read of a new series.
/// Of 100,000 series all have ends of their own, and few other labels that differ.
#[derive(Debug)]
pub(super) struct LabelText<'t>(Vec<(&'t str, &'t str)>);

impl<'t> LabelText<'t> {
    pub(super) fn split(text: &'t str) -> Self {
        let (mut labels, mut rest) = (Vec::with_capacity(8), text);
        while let Some((name, value)) = rest.split_once("=\"") {
            let mut end = 0;
            while let Some(byte) = value.as_bytes().get(end).filter(|byte| **byte != b'"') {
                end += if *byte == b'\\' { 2 } else { 1 };
            }
            labels.push((name.trim_start_matches(','), value.get(..end).unwrap_or(value)));
            rest = value.get(end + 1..).unwrap_or_default();
        }
        Self(labels)
    }

    fn find(&self, is_it: impl Fn(&str) -> bool) -> Option<&'t str> {
        self.0.iter().find(|(name, _)| is_it(name)).map(|(_, value)| *value)
    }

    /// True for a label that is there and has a value.
    pub(super) fn has_value(&self, name: &str) -> bool {
        self.find(|known| known == name).is_some_and(|value| !value.is_empty())
    }

    /// The labels that name both ends; none where an end has none.
    pub(super) fn form(&self) -> Option<Form> {
        let has = |name: &str| self.find(|known| known == name).is_some();
        if has("source") && has("destination") {
            return Some(Form::Joined);
        }
        let has = |prefix, name| self.find(|known| is_part(known, prefix, name)).is_some();
        NAMES.iter().find(|name| has("source", name) && has("destination", name)).map(|name| Form::Split(name))
    }

    /// The name of the end with this `prefix`, `source` or `destination`.
    pub(super) fn end(&self, form: Form, prefix: &str) -> Cow<'t, str> {
        match form {
            Form::Joined => plain(self.find(|known| known == prefix).unwrap_or_default()),
            Form::Split(name) => {
                let part = |part| plain(self.find(|known| is_part(known, prefix, part)).unwrap_or_default());
                let (namespace, name) = (part("namespace"), part(name));
                if namespace.is_empty() { name } else { format!("{namespace}/{name}").into() }
            }
        }
    }

    /// Writes the labels that name no end, as they were.
    pub(super) fn write_without_ends(&self, text: &mut String) {
        let of_ends = |name: &str| name.starts_with("source") || name.starts_with("destination");
        for (name, value) in self.0.iter().filter(|(name, _)| !of_ends(name)) {
            if !text.is_empty() {
                text.push(',');
            }
            text.extend([name, "=\"", value, "\""]);
        }
    }
}

/// True for the label of an end with this name: `source_pod`.
fn is_part(label: &str, prefix: &str, name: &str) -> bool {
    label.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('_')) == Some(name)
}

/// A value without escapes.
fn plain(value: &str) -> Cow<'_, str> {
    if !value.contains('\\') {
        return value.into();
    }
    let (mut plain, mut characters) = (String::with_capacity(value.len()), value.chars());
    while let Some(character) = characters.next() {
        match (character, character == '\\') {
            (other, false) => plain.push(other),
            (_, true) => plain.extend(characters.next().map(|escaped| if escaped == 'n' { '\n' } else { escaped })),
        }
    }
    plain.into()
}

impl Form {
    /// Selects all ends of a namespace in PromQL. An end without one is itself.
    pub fn namespace_matchers(self, prefix: &str, namespace: &str) -> String {
        if namespace.contains(':') || namespace.parse::<std::net::IpAddr>().is_ok() {
            return self.matchers(prefix, namespace);
        }
        let mut text = String::new();
        match self {
            Self::Joined => {
                let mut expression = String::new();
                for letter in namespace.chars() {
                    // RE2 takes any sign of ASCII behind a backslash as itself.
                    if letter.is_ascii_punctuation() {
                        expression.push('\\');
                    }
                    expression.push(letter);
                }
                expression.push_str("(/.+)?");
                write_pair(&mut text, prefix, &expression);
                text.replacen('=', "=~", 1)
            }
            Self::Split(_) => {
                write_pair(&mut text, &format!("{prefix}_namespace"), namespace);
                text
            }
        }
    }

    /// Selects an end in PromQL; `prefix` is `source` or `destination`.
    pub fn matchers(self, prefix: &str, end: &str) -> String {
        let mut text = String::new();
        match self {
            Self::Joined => write_pair(&mut text, prefix, end),
            Self::Split(name) => {
                let (namespace, of) = end.split_once('/').map_or((None, end), |(namespace, of)| (Some(namespace), of));
                if let Some(namespace) = namespace {
                    write_pair(&mut text, &format!("{prefix}_namespace"), namespace);
                }
                write_pair(&mut text, &format!("{prefix}_{name}"), of);
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever a pod or a DNS name is called: its labels are read as they were before they
        /// were written.
        #[test]
        fn labels_are_read_as_written(values in prop::collection::vec("[a-c\\\\\"\n=,{}é]{0,12}", 0..5)) {
            let mut text = String::new();
            for (at, value) in values.iter().enumerate() {
                write_pair(&mut text, &format!("l{at}"), value);
            }
            let labels = Labels::parse(&text);
            prop_assert_eq!(labels.0.len(), values.len());
            for (at, value) in values.iter().enumerate() {
                prop_assert_eq!(labels.get(&format!("l{at}")), value.as_str());
            }
            let mut again = String::new();
            LabelText::split(&text).write_without_ends(&mut again);
            prop_assert_eq!(again, text);
        }

        /// What is no label text is read without a panic.
        #[test]
        fn nothing_panics(text in "[a\\\\\"=,é]{0,24}") {
            let split = LabelText::split(&text);
            split.form();
            Labels::parse(&text);
        }
    }

    /// What names an end is in no other label, however it is written.
    #[test]
    fn ends_are_left_out() {
        let mut rest = String::new();
        let text = r#"destination="b",protocol="TCP",source="a",source_pod="a\"",verdict="x\\""#;
        LabelText::split(text).write_without_ends(&mut rest);
        assert_eq!(rest, r#"protocol="TCP",verdict="x\\""#);
    }

    /// A namespace is selected with all in it, whatever is in its name.
    #[test]
    fn namespaces_are_selected() {
        assert_eq!(Form::Joined.namespace_matchers("source", "kube-system"), r#"source=~"kube\\-system(/.+)?""#);
        assert_eq!(Form::Joined.namespace_matchers("source", "a\"b"), r#"source=~"a\\\"b(/.+)?""#);
        assert_eq!(Form::Joined.namespace_matchers("source", "reserved:world"), r#"source="reserved:world""#);
        assert_eq!(Form::Split("app").namespace_matchers("source", "shop"), r#"source_namespace="shop""#);
    }

    /// The ends are named by what the configuration has of them, and PromQL selects the same.
    #[test]
    fn ends_have_the_labels_in_force() {
        let joined = LabelText::split(r#"destination="shop/db",protocol="TCP",source="shop/cart""#);
        assert_eq!(joined.form(), Some(Form::Joined));
        assert_eq!(&*joined.end(Form::Joined, "source"), "shop/cart");
        let split = LabelText::split(
            r#"destination_namespace="b",destination_workload="y",source_namespace="a",source_workload="x""#,
        );
        let form = split.form().unwrap();
        assert_eq!((form, &*split.end(form, "destination")), (Form::Split("workload"), "b/y"));
        assert_eq!(form.matchers("source", "a/x"), r#"source_namespace="a",source_workload="x""#);
        assert_eq!(Form::Joined.matchers("source", "a\"\\\n"), r#"source="a\"\\\n""#);
        assert_eq!(LabelText::split(r#"protocol="TCP",source="a""#).form(), None);
    }

    /// Each family is one of a plugin: a renamed one would leave a view empty.
    #[test]
    fn families_exist() {
        let known: Vec<&str> = webb_metrics::plugins::all()
            .iter()
            .flat_map(|plugin| plugin.tables)
            .filter_map(|table| table.families.first())
            .map(|family| family.name)
            .collect();
        for (family, measure) in FAMILIES {
            assert!(known.contains(&family), "{family}");
            assert_eq!((Measure::of(family), measure.family()), (Some(measure), family));
        }
    }
}
