//! `httpV2`: requests by their responses, with the client as source (hubble-contract §1.6).
//!
//! The response's flow goes from server to client, so the context is inverted. Requests without a
//! response are not counted (quirk 19), so responses are as many as requests: Hubble's `httpV2` has
//! no family of them. Dashboards that were made for `http` want one, which an option adds.

use super::http::{DURATION, REQUESTS, RESPONSES, record, reporter, seconds};
use crate::options::{EXEMPLARS, Options};
use crate::plugin::{Emit, Plugin, Table, Texts};
use crate::tuples::Tuples;
use webb_flow::Flow;
use webb_flow::extra::L7Kind;

/// Flows with an HTTP response.
#[derive(Debug)]
pub(super) struct HttpV2 {
    exemplars: bool,
    responses: bool,
}

/// The option that adds responses, under the name that they have in `http`; not Hubble's.
const OPTION: &str = "responses";

impl Plugin for HttpV2 {
    const NAME: &'static str = "httpV2";
    const TABLES: &'static [Table] = &[
        Table::counters(REQUESTS, &["method", "protocol", "status", "reporter"]),
        Table::seconds(DURATION, &["method", "reporter"]),
        Table::counters(RESPONSES, &["method", "protocol", "status", "reporter"]),
    ];
    const NEEDS_EXTRA: bool = true;
    const OPTIONS: &'static [&'static str] = &[EXEMPLARS, OPTION];
    const CONFLICT: Option<&'static str> = Some("http");
    const INVERTED: bool = true;

    fn new(options: &Options) -> Self {
        Self { exemplars: options.is_true(EXEMPLARS), responses: options.has(OPTION) }
    }

    fn tables(options: &Options) -> &'static [Table] {
        const HUBBLES: usize = 2;
        if options.has(OPTION) { Self::TABLES } else { Self::TABLES.get(..HUBBLES).unwrap_or_default() }
    }

    #[inline]
    fn observe(&self, flow: &Flow, emit: &mut Emit<'_, Self>) {
        let Some((l7, http)) = record(emit.extra()) else { return };
        if l7.kind != L7Kind::Response {
            return;
        }
        let trace = emit.trace().filter(|_| self.exemplars);
        let reporter = reporter(flow);
        let tuple = emit.tuple().text(&http.method).text(&http.protocol).number(http.code);
        let key = tuple.text(reporter).id();
        emit.count_traced(0, key, trace);
        if self.responses {
            emit.count_traced(2, key, trace);
        }
        let key = emit.tuple().text(&http.method).text(reporter).id();
        emit.observe(1, key, seconds(l7), trace);
    }

    fn tuple(key: u64) -> Option<u64> {
        Some(key)
    }

    fn texts(_table: usize, key: u64, tuples: &Tuples) -> Texts {
        tuples.texts(key)
    }
}
