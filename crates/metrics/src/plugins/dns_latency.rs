//! `dnsLatency`: how long answers of DNS take, and questions that get none. Hubble has neither.
//!
//! An answer goes from server to client, and the flow of a question that was given up stands in its
//! place. The context is exchanged: the client is the source of both.

use crate::expose::Spec;
use crate::options::{BUCKETS, Options};
use crate::plugin::{Emit, Plugin, Table, Texts};
use crate::tuples::Tuples;
use webb_flow::Flow;
use webb_flow::extra::L7Record;

use super::dns::rcode;

/// Answers whose question is known, and questions without an answer.
#[derive(Debug)]
pub(super) struct DnsLatency;

const RESPONSES: &[Spec; 1] = &[Spec {
    name: "webb_dns_response_seconds",
    help: "Seconds from a DNS question to its answer; an answer to a question that was asked more than once is left out",
}];
const UNANSWERED: &[Spec] = &[Spec {
    name: "webb_dns_unanswered_total",
    help: "DNS questions without an answer within l7.dns_timeout (10s), each asking of its own",
}];

/// Answers from a cache take some hundred microseconds; resolvers give up after five seconds.
const BOUNDS: [f64; 14] = [0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

/// Numbers of the tables.
const RESPONSE: usize = 0;
const NO_RESPONSE: usize = 1;

/// The key of all codes without a name.
const UNNAMED: u32 = u32::MAX;

impl Plugin for DnsLatency {
    const NAME: &'static str = "dnsLatency";
    const TABLES: &'static [Table] =
        &[Table::histogram(RESPONSES, &["rcode"], &BOUNDS), Table::counters(UNANSWERED, &[])];
    const NEEDS_EXTRA: bool = true;
    const ENDS: bool = true;
    const OPTIONS: &'static [&'static str] = &[BUCKETS];
    const EXCHANGED: bool = true;

    fn new(_options: &Options) -> Self {
        Self
    }

    fn bounds(options: &Options, _table: usize) -> Option<Vec<f64>> {
        options.buckets().ok().flatten()
    }

    #[inline]
    #[allow(clippy::cast_precision_loss, reason = "a sample is a float")]
    fn observe(&self, _flow: &Flow, emit: &mut Emit<'_, Self>) {
        match emit.extra().and_then(|extra| extra.l7.as_ref()).map(|l7| &l7.record) {
            Some(L7Record::Dns(dns)) => {
                let Some(latency_ns) = dns.latency_ns else { return };
                let key = if rcode(dns.rcode).is_empty() { UNNAMED } else { dns.rcode };
                emit.observe(RESPONSE, key.into(), latency_ns as f64 / 1e9, None);
            }
            Some(L7Record::Unanswered(_)) => emit.count(NO_RESPONSE, 0),
            _ => {}
        }
    }

    /// Of a question: how often it was asked.
    #[inline]
    fn amounts(flow: &Flow) -> [u64; 2] {
        [flow.packets.into(); 2]
    }

    fn texts(table: usize, key: u64, _tuples: &Tuples) -> Texts {
        match table {
            RESPONSE => vec![u32::try_from(key).map_or("", rcode).into()],
            _ => Vec::new(),
        }
    }
}
