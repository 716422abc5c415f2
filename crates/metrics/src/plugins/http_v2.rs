//! `httpV2`: requests by their responses, with the client as source (hubble-contract §1.6).
//!
//! The response's flow goes from server to client, so the context is inverted. Requests without a
//! response are not counted (quirk 19), so responses are as many as requests: Hubble's `httpV2` has
//! no family of them. Dashboards that were made for `http` want one, which an option adds. Another
//! adds the path of the request as a label.

use super::http::{DURATION, REQUESTS, RESPONSES, record, reporter, seconds};
use crate::options::{EXEMPLARS, Options};
use crate::plugin::{Emit, Plugin, Table, Texts};
use crate::tuples::{Tuple, Tuples};
use webb_flow::Flow;
use webb_flow::extra::L7Kind;

/// Flows with an HTTP response.
#[derive(Debug)]
pub(super) struct HttpV2 {
    exemplars: bool,
    responses: bool,
    path: bool,
}

/// The option that adds responses, under the name that they have in `http`; not Hubble's.
const RESPONSES_TOO: &str = "responses";

/// The option that adds the path of the request, without its query; not Hubble's.
pub(crate) const PATH: &str = "path";

impl Plugin for HttpV2 {
    const NAME: &'static str = "httpV2";
    const TABLES: &'static [Table] = &[
        Table::counters(REQUESTS, &["method", "protocol", "status", "reporter", PATH]),
        Table::seconds(DURATION, &["method", "reporter", PATH]),
        Table::counters(RESPONSES, &["method", "protocol", "status", "reporter", PATH]),
    ];
    const NEEDS_EXTRA: bool = true;
    const OPTIONS: &'static [&'static str] = &[EXEMPLARS, PATH, RESPONSES_TOO];
    const CONFLICT: Option<&'static str> = Some("http");
    const INVERTED: bool = true;

    fn new(options: &Options) -> Self {
        Self { exemplars: options.is_true(EXEMPLARS), responses: options.has(RESPONSES_TOO), path: options.has(PATH) }
    }

    fn tables(options: &Options) -> &'static [Table] {
        const WITHOUT_PATH: &[Table] = &[
            Table::counters(REQUESTS, &["method", "protocol", "status", "reporter"]),
            Table::seconds(DURATION, &["method", "reporter"]),
            Table::counters(RESPONSES, &["method", "protocol", "status", "reporter"]),
        ];
        const HUBBLES: usize = 2;
        let tables = if options.has(PATH) { Self::TABLES } else { WITHOUT_PATH };
        if options.has(RESPONSES_TOO) { tables } else { tables.get(..HUBBLES).unwrap_or_default() }
    }

    #[inline]
    fn observe(&self, flow: &Flow, emit: &mut Emit<'_, Self>) {
        let Some((l7, http)) = record(emit.extra()) else { return };
        if l7.kind != L7Kind::Response {
            return;
        }
        let trace = emit.trace().filter(|_| self.exemplars);
        let reporter = reporter(flow);
        let path = self.path.then(|| path(&http.url));
        let tuple = emit.tuple().text(&http.method).text(&http.protocol).number(http.code).text(reporter);
        let key = path.into_iter().fold(tuple, Tuple::wire_text).id();
        emit.count_traced(0, key, trace);
        if self.responses {
            emit.count_traced(2, key, trace);
        }
        let tuple = emit.tuple().text(&http.method).text(reporter);
        let key = path.into_iter().fold(tuple, Tuple::wire_text).id();
        emit.observe(1, key, seconds(l7), trace);
    }

    fn tuple(key: u64) -> Option<u64> {
        Some(key)
    }

    fn texts(_table: usize, key: u64, tuples: &Tuples) -> Texts {
        tuples.texts(key)
    }
}

/// The path in a request's URL as it was sent: the query is left out, and `%xx` stays.
fn path(url: &str) -> &str {
    let bare = url.split(['?', '#']).next().unwrap_or_default();
    match bare.split_once("://") {
        Some((_, rest)) if !bare.starts_with('/') => rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/"),
        _ => bare,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever form the target had, the label has neither host nor query.
    #[test]
    fn paths_have_neither_host_nor_query() {
        for (url, wanted) in [
            ("http://deathstar/v1/request-landing", "/v1/request-landing"),
            ("http://deathstar/v1?to=http://x/y#z", "/v1"),
            ("http://deathstar", "/"),
            ("http://user:secret@deathstar:80/a%20b", "/a%20b"),
            ("http://deathstar?token=1", "/"),
            ("/only/a/path?x", "/only/a/path"),
            ("/a://b", "/a://b"),
            ("*", "*"),
            ("", ""),
        ] {
            assert_eq!(path(url), wanted, "{url}");
        }
    }
}
