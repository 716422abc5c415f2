//! `grpc`: calls by their status, which Hubble does not read.
//!
//! The status of a call is in its trailers, so it is known at the end of a call, which is a flow of
//! its own from server to client. The context is exchanged: the client is the source.

use super::http::{reporter, seconds};
use crate::expose::Spec;
use crate::options::Options;
use crate::plugin::{Emit, Plugin, Table, Texts};
use crate::tuples::{Tuple, Tuples};
use webb_flow::Flow;
use webb_flow::extra::{GrpcStatus, L7Record};

/// Ends of gRPC calls, seen or given up.
#[derive(Debug)]
pub(super) struct Grpc {
    method: bool,
}

const REQUESTS: &[Spec] = &[Spec {
    name: "webb_grpc_requests_total",
    help: "gRPC calls by status: 0 to 16, other, or unknown if none was seen (nor, perhaps, the end)",
}];
const DURATION: &[Spec; 1] = &[Spec {
    name: "webb_grpc_request_seconds",
    help: "Seconds from the head of a gRPC call to its end, if that was seen",
}];

/// The option that adds the path of a call.
pub(crate) const METHOD: &str = "method";

impl Plugin for Grpc {
    const NAME: &'static str = "grpc";
    const TABLES: &'static [Table] = &[
        Table::counters(REQUESTS, &["grpc_status", "reporter", "method"]),
        Table::seconds(DURATION, &["reporter", "method"]),
    ];
    const NEEDS_EXTRA: bool = true;
    const ENDS: bool = true;
    const OPTIONS: &'static [&'static str] = &[METHOD];
    const EXCHANGED: bool = true;

    fn new(options: &Options) -> Self {
        Self { method: options.has(METHOD) }
    }

    fn tables(options: &Options) -> &'static [Table] {
        const WITHOUT_METHOD: &[Table] =
            &[Table::counters(REQUESTS, &["grpc_status", "reporter"]), Table::seconds(DURATION, &["reporter"])];
        if options.has(METHOD) { Self::TABLES } else { WITHOUT_METHOD }
    }

    #[inline]
    fn observe(&self, flow: &Flow, emit: &mut Emit<'_, Self>) {
        let Some(l7) = emit.extra().and_then(|extra| extra.l7.as_ref()) else { return };
        let L7Record::Grpc(call) = &l7.record else { return };
        let method = self.method.then_some(call.path.as_str());
        let tuple = match call.status {
            GrpcStatus::Number(number) => emit.tuple().number(number),
            GrpcStatus::Other => emit.tuple().text("other"),
            GrpcStatus::Unknown => emit.tuple().text("unknown"),
        };
        let tuple = tuple.text(reporter(flow));
        let key = method.into_iter().fold(tuple, Tuple::wire_text).id();
        emit.count_traced(0, key, None);
        // The time of a call whose end was not seen is not known.
        if l7.latency_ns > 0 {
            let tuple = emit.tuple().text(reporter(flow));
            let key = method.into_iter().fold(tuple, Tuple::wire_text).id();
            emit.observe(1, key, seconds(l7), None);
        }
    }

    fn tuple(key: u64) -> Option<u64> {
        Some(key)
    }

    fn texts(_table: usize, key: u64, tuples: &Tuples) -> Texts {
        tuples.texts(key)
    }
}
