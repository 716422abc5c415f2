//! `http`: requests and responses, each by its own flow (hubble-contract §1.5).

use crate::expose::Spec;
use crate::options::{EXEMPLARS, Options};
use crate::plugin::{Emit, Plugin, Table, Texts};
use crate::tuples::Tuples;
use webb_flow::extra::{Extra, Http as Record, L7, L7Kind, L7Record};
use webb_flow::{Direction, Flow};

/// Flows with an HTTP request or response.
#[derive(Debug)]
pub(super) struct Http {
    exemplars: bool,
}

pub(super) const REQUESTS: &[Spec] = &[Spec { name: "hubble_http_requests_total", help: "Count of HTTP requests" }];
pub(super) const RESPONSES: &[Spec] = &[Spec { name: "hubble_http_responses_total", help: "Count of HTTP responses" }];
pub(super) const DURATION: &[Spec; 1] =
    &[Spec { name: "hubble_http_request_duration_seconds", help: "Quantiles of HTTP request duration in seconds" }];

impl Plugin for Http {
    const NAME: &'static str = "http";
    const TABLES: &'static [Table] = &[
        Table::counters(REQUESTS, &["method", "protocol", "reporter"]),
        Table::counters(RESPONSES, &["method", "protocol", "status", "reporter"]),
        Table::seconds(DURATION, &["method", "reporter"]),
    ];
    const NEEDS_EXTRA: bool = true;
    const OPTIONS: &'static [&'static str] = &[EXEMPLARS];
    const CONFLICT: Option<&'static str> = Some("httpV2");

    fn new(options: &Options) -> Self {
        Self { exemplars: options.is_true(EXEMPLARS) }
    }

    #[inline]
    fn observe(&self, flow: &Flow, emit: &mut Emit<'_, Self>) {
        let Some((l7, http)) = record(emit.extra()) else { return };
        let trace = emit.trace().filter(|_| self.exemplars);
        let reporter = reporter(flow);
        match l7.kind {
            L7Kind::Request => {
                let key = emit.tuple().text(&http.method).text(&http.protocol).text(reporter).id();
                emit.count_traced(0, key, trace);
            }
            L7Kind::Response => {
                let tuple = emit.tuple().text(&http.method).text(&http.protocol).number(http.code);
                let key = tuple.text(reporter).id();
                emit.count_traced(1, key, trace);
                let key = emit.tuple().text(&http.method).text(reporter).id();
                emit.observe(2, key, seconds(l7), trace);
            }
            L7Kind::Unknown | L7Kind::Sample => {}
        }
    }

    fn tuple(key: u64) -> Option<u64> {
        Some(key)
    }

    fn texts(_table: usize, key: u64, tuples: &Tuples) -> Texts {
        tuples.texts(key)
    }
}

/// HTTP fields of a flow.
pub(super) fn record(extra: Option<&Extra>) -> Option<(&L7, &Record)> {
    let l7 = extra?.l7.as_ref()?;
    let L7Record::Http(http) = &l7.record else { return None };
    Some((l7, http))
}

/// The side of the proxy that reported it.
pub(super) fn reporter(flow: &Flow) -> &'static str {
    match flow.direction {
        Direction::Egress => "client",
        Direction::Ingress => "server",
        Direction::Unknown => "unknown",
    }
}

/// 0 where no request was found for the response.
#[allow(clippy::cast_precision_loss, reason = "a sample is a float, and Hubble divides as floats")]
pub(super) fn seconds(l7: &L7) -> f64 {
    l7.latency_ns as f64 / 1e9
}
