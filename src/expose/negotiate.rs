//! Which format and encoding a scraper gets (contract, sections 3.5 and 3.6).
//!
//! Only text 0.0.4 is written, so whatever is asked for, the answer is text: an endpoint that refuses a scraper helps
//! nobody. What remains to be agreed on is the name-escaping scheme, which is echoed, and gzip.

/// What to answer with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The `Content-Type` header.
    pub content_type: String,
    /// True if the body is to be compressed, with `Content-Encoding: gzip`.
    pub gzip: bool,
}

/// The schemes that a client may name; all are the same to names as plain as ours.
const ESCAPING: [&str; 4] = ["allow-utf-8", "underscores", "dots", "values"];

/// Reads a request's `Accept` and `Accept-Encoding` headers; an absent one is the empty string. What makes no sense in
/// them is skipped.
pub fn negotiate(accept: &str, accept_encoding: &str) -> Answer {
    let escaping = escaping(accept);
    Answer {
        content_type: format!("text/plain; version=0.0.4; charset=utf-8; escaping={escaping}"),
        gzip: gzip(accept_encoding),
    }
}

/// One element of a comma-separated header: its value in lower case, its parameters, its weight.
struct Choice<'a> {
    value: String,
    parameters: Vec<(String, &'a str)>,
    weight: f32,
}

impl Choice<'_> {
    fn parameter(&self, name: &str) -> &str {
        self.parameters.iter().find(|(known, _)| known == name).map_or("", |&(_, value)| value)
    }
}

/// The elements of a header, the most wanted first, those of equal weight as written, the unwanted (`q=0`) left out.
fn choices(header: &str) -> Vec<Choice<'_>> {
    let mut choices: Vec<Choice<'_>> = header.split(',').filter_map(choice).collect();
    choices.sort_by(|one, other| other.weight.total_cmp(&one.weight));
    choices
}

fn choice(element: &str) -> Option<Choice<'_>> {
    let mut parts = element.split(';');
    let value = parts.next()?.trim().to_ascii_lowercase();
    let mut choice = Choice { value, parameters: Vec::new(), weight: 1.0 };
    for part in parts {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let (name, value) = (name.trim().to_ascii_lowercase(), value.trim().trim_matches('"'));
        if name == "q" {
            choice.weight = value.parse().ok().filter(|weight| (0.0..=1.0).contains(weight)).unwrap_or(1.0);
        } else {
            choice.parameters.push((name, value));
        }
    }
    (!choice.value.is_empty()).then_some(choice)
}

/// The scheme named last before, or in, the first choice that is text 0.0.4, as the Go client has it: a scraper names
/// it beside the formats it would rather have.
fn escaping(accept: &str) -> &'static str {
    let mut named = "underscores";
    for choice in choices(accept).iter().filter(|choice| choice.weight > 0.0) {
        if let Some(known) = ESCAPING.iter().find(|&&known| known == choice.parameter("escaping")) {
            named = known;
        }
        if choice.value == "text/plain" && matches!(choice.parameter("version"), "" | "0.0.4") {
            break;
        }
    }
    named
}

/// True if gzip is accepted and not less wanted than the plain body.
fn gzip(accept_encoding: &str) -> bool {
    let choices = choices(accept_encoding);
    let weight = |name: &str| choices.iter().find(|choice| choice.value == name).map(|choice| choice.weight);
    let gzip = weight("gzip").or_else(|| weight("*")).unwrap_or(0.0);
    gzip > 0.0 && gzip >= weight("identity").unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn content_type(accept: &str) -> String {
        negotiate(accept, "").content_type
    }

    /// The first row of the table in the contract, section 3.6, and the fall-back for what is not written yet.
    #[test]
    fn everything_is_text() {
        let text = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores";
        for accept in [
            "",
            "*/*",
            "text/plain",
            "text/plain;version=0.0.4",
            "application/openmetrics-text;version=1.0.0",
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited",
            ";;,,q=;=",
        ] {
            assert_eq!(content_type(accept), text, "{accept}");
        }
    }

    /// The client's scheme is echoed if it is a known one, in order of preference, not of writing.
    #[test]
    fn escaping_is_echoed() {
        let of = |accept: &str| content_type(accept).split("escaping=").nth(1).unwrap().to_owned();
        assert_eq!(of("text/plain;version=0.0.4;escaping=dots"), "dots");
        assert_eq!(of("text/plain;escaping=\"values\""), "values");
        assert_eq!(of("text/plain;escaping=nonsense"), "underscores");
        assert_eq!(of("text/plain;q=0.9,application/openmetrics-text;q=0.1;escaping=dots"), "underscores");
        assert_eq!(of("text/plain;q=0.1,application/openmetrics-text;q=0.9;escaping=dots"), "dots");
        // What Prometheus 3 sends.
        let prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
            application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,\
            text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
        assert_eq!(of(prometheus), "allow-utf-8");
    }

    /// gzip only for who asks for it.
    #[test]
    fn gzip_follows_the_weights() {
        let gzip = |accept_encoding: &str| negotiate("", accept_encoding).gzip;
        assert!(gzip("gzip"));
        assert!(gzip("deflate, GZIP;q=0.5"));
        assert!(gzip("*"));
        assert!(gzip("gzip;q=0.5, identity;q=0.5"));
        assert!(!gzip(""));
        assert!(!gzip("zstd, br"));
        assert!(!gzip("gzip;q=0"));
        assert!(!gzip("*, gzip;q=0.0"));
        assert!(!gzip("gzip;q=0.2, identity"));
    }

    proptest! {
        /// Headers come from outside: none may panic, and the answer is always well formed.
        #[test]
        fn any_header(accept in "\\PC{0,60}", accept_encoding in "\\PC{0,60}") {
            let answer = negotiate(&accept, &accept_encoding);
            prop_assert!(answer.content_type.starts_with("text/plain; version=0.0.4; charset=utf-8; escaping="));
        }
    }
}
