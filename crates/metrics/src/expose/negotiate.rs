//! Content negotiation: format and encoding of a response (hubble-contract §3.5 and §3.6).
//!
//! The client's order of preference decides; what is not supported (protobuf, OpenMetrics where it
//! is switched off) is skipped, and if nothing remains the answer is text: refusing a scraper would
//! serve no purpose. With the format goes the name-escaping scheme, which is echoed and changes
//! nothing, because all names are plain.

use super::Format;

/// The negotiated format and headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Negotiated {
    /// The format of the body.
    pub format: Format,
    /// The `Content-Type` header.
    pub content_type: String,
    /// True if the body is to be compressed, with `Content-Encoding: gzip`.
    pub gzip: bool,
}

/// The schemes that a client may name; all are the same to names as plain as ours.
const ESCAPING: [&str; 4] = ["allow-utf-8", "underscores", "dots", "values"];

/// Reads a request's `Accept` and `Accept-Encoding` headers; an absent one is the empty string.
/// Malformed parts are skipped. `open_metrics` is true if OpenMetrics may be answered.
pub fn negotiate(accept: &str, accept_encoding: &str, open_metrics: bool) -> Negotiated {
    let (mut answer, mut escaping) = ((Format::Text, TEXT), "underscores");
    for choice in choices(accept).iter().filter(|choice| choice.weight > 0.0) {
        // The scheme named last before, or in, the choice that is answered: a scraper names it
        // beside the formats it would rather have.
        if let Some(known) = ESCAPING.iter().find(|&&known| known == choice.parameter("escaping")) {
            escaping = known;
        }
        match (choice.value.as_str(), choice.parameter("version")) {
            ("text/plain", "" | "0.0.4") => break,
            ("application/openmetrics-text", version @ ("" | "0.0.1" | "1.0.0")) if open_metrics => {
                let version = if version == "1.0.0" { OPEN_METRICS_1_0_0 } else { OPEN_METRICS_0_0_1 };
                answer = (Format::OpenMetrics, version);
                break;
            }
            _ => {}
        }
    }
    let (format, kind) = answer;
    let content_type = format!("{kind}; charset=utf-8; escaping={escaping}");
    Negotiated { format, content_type, gzip: gzip(accept_encoding) }
}

const TEXT: &str = "text/plain; version=0.0.4";
const OPEN_METRICS_0_0_1: &str = "application/openmetrics-text; version=0.0.1";
const OPEN_METRICS_1_0_0: &str = "application/openmetrics-text; version=1.0.0";

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

/// The elements of a header, the most wanted first, those of equal weight as written, the unwanted
/// (`q=0`) left out.
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

/// True if gzip is accepted and not less wanted than the plain body.
fn gzip(accept_encoding: &str) -> bool {
    let choices = choices(accept_encoding);
    let weight = |name: &str| choices.iter().find(|choice| choice.value == name).map(|choice| choice.weight);
    let gzip = weight("gzip").or_else(|| weight("*")).unwrap_or(0.0);
    gzip > 0.0 && gzip >= weight("identity").unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn content_type(accept: &str) -> String {
        negotiate(accept, "", true).content_type
    }

    const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores";
    const OLD: &str = "application/openmetrics-text; version=0.0.1; charset=utf-8; escaping=underscores";
    const NEW: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores";
    const PROTOBUF: &str = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";

    /// The table of the hubble-contract §3.6; protobuf is not written, so the next preference is
    /// answered.
    #[test]
    fn the_table_of_the_contract() {
        let protobuf_first =
            format!("{PROTOBUF};q=0.6,application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.2");
        let rows = [
            ("", TEXT, TEXT),
            ("*/*", TEXT, TEXT),
            ("text/plain", TEXT, TEXT),
            ("text/plain;version=0.0.4", TEXT, TEXT),
            ("application/openmetrics-text;version=1.0.0", NEW, TEXT),
            ("application/openmetrics-text; version=0.0.1", OLD, TEXT),
            ("Application/OpenMetrics-Text", OLD, TEXT),
            ("application/openmetrics-text;version=2.0.0", TEXT, TEXT),
            ("text/plain;version=1.0.0, application/openmetrics-text;version=1.0.0;q=0.1", NEW, TEXT),
            ("text/plain;q=0.4, application/openmetrics-text;version=1.0.0;q=0.5", NEW, TEXT),
            ("text/plain;q=0.5, application/openmetrics-text;version=1.0.0;q=0.4", TEXT, TEXT),
            ("text/plain, application/openmetrics-text;version=1.0.0", TEXT, TEXT),
            ("application/openmetrics-text;version=1.0.0;q=0, text/plain;q=0.1", TEXT, TEXT),
            ("application/openmetrics-text;version=1.0.0;q=0.1, */*", NEW, TEXT),
            (PROTOBUF, TEXT, TEXT),
            (protobuf_first.as_str(), NEW, TEXT),
            (";;,,q=;=", TEXT, TEXT),
        ];
        for (accept, on, off) in rows {
            let (with, without) = (negotiate(accept, "", true), negotiate(accept, "", false));
            assert_eq!((with.content_type.as_str(), without.content_type.as_str()), (on, off), "{accept}");
            let is_text = |answer: &Negotiated| answer.format == Format::Text;
            assert_eq!((is_text(&with), is_text(&without)), (on == TEXT, true), "{accept}");
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
        assert_eq!(of("text/plain;q=0.1,application/xml;q=0.9;escaping=dots"), "dots");
        // What Prometheus 3 sends.
        let prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
            application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,\
            text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
        assert_eq!(of(prometheus), "allow-utf-8");
        assert_eq!(negotiate(prometheus, "", true).format, Format::OpenMetrics);
    }

    /// gzip only where Accept-Encoding has it.
    #[test]
    fn gzip_follows_the_weights() {
        let gzip = |accept_encoding: &str| negotiate("", accept_encoding, true).gzip;
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
            let answer = negotiate(&accept, &accept_encoding, true);
            let is_open = answer.content_type.starts_with("application/openmetrics-text; version=");
            prop_assert_eq!(is_open, answer.format == Format::OpenMetrics);
            prop_assert!(is_open || answer.content_type.starts_with("text/plain; version=0.0.4; charset=utf-8; escaping="));
        }
    }
}
