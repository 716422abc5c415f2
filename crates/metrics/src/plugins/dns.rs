//! `dns`: questions and answers, as a DNS proxy or parser saw them (hubble-contract §1.1).
//!
//! Hubble names the label `rcode` wrongly for some numbers of context labels (quirk 1); here it is
//! always `rcode`.

use crate::expose::Spec;
use crate::options::Options;
use crate::plugin::{Emit, Plugin, Table, Texts};
use crate::tuples::{Tuple, Tuples};
use webb_flow::extra::{Dns as Record, L7Record};
use webb_flow::{Flow, Reply, Verdict};

/// Every flow with a DNS record, whatever its event.
#[derive(Debug)]
pub(super) struct Dns {
    query: bool,
    ignore_aaaa: bool,
}

const QUERIES: &[Spec] = &[Spec { name: "hubble_dns_queries_total", help: "Number of DNS queries observed" }];
const RESPONSES: &[Spec] = &[Spec { name: "hubble_dns_responses_total", help: "Number of DNS responses observed" }];
const TYPES: &[Spec] =
    &[Spec { name: "hubble_dns_response_types_total", help: "Number of DNS response types observed" }];

/// Numbers of the tables.
const QUERY: usize = 0;
const RESPONSE: usize = 1;
const TYPE: usize = 2;

impl Plugin for Dns {
    const NAME: &'static str = "dns";
    const TABLES: &'static [Table] = &[
        Table::counters(QUERIES, &["rcode", "qtypes", "ips_returned", "query"]),
        Table::counters(RESPONSES, &["rcode", "qtypes", "ips_returned", "query"]),
        Table::counters(TYPES, &["type", "qtypes", "query"]),
    ];
    const NEEDS_EXTRA: bool = true;
    const OPTIONS: &'static [&'static str] = &["query", "ignoreAAAA"];

    fn new(options: &Options) -> Self {
        Self { query: options.has("query"), ignore_aaaa: options.has("ignoreAAAA") }
    }

    fn tables(options: &Options) -> &'static [Table] {
        const WITHOUT_QUERY: &[Table] = &[
            Table::counters(QUERIES, &["rcode", "qtypes", "ips_returned"]),
            Table::counters(RESPONSES, &["rcode", "qtypes", "ips_returned"]),
            Table::counters(TYPES, &["type", "qtypes"]),
        ];
        if options.has("query") { Self::TABLES } else { WITHOUT_QUERY }
    }

    #[inline]
    fn observe(&self, flow: &Flow, emit: &mut Emit<'_, Self>) {
        let record = emit.extra().and_then(|extra| extra.l7.as_ref()).map(|l7| &l7.record);
        let Some(L7Record::Dns(dns)) = record else { return };
        if self.ignore_aaaa && matches!(dns.qtypes.as_slice(), [only] if only == "AAAA") {
            return;
        }
        let (table, code) = match (flow.verdict, flow.reply) {
            (Verdict::Dropped, _) => (QUERY, "Policy denied"),
            (_, Reply::Yes) => (RESPONSE, rcode(dns.rcode)),
            (_, Reply::No | Reply::Unknown) => (QUERY, ""),
        };
        let key = self.with_query(emit.tuple().text(code).joined(&dns.qtypes).number(dns.ips), dns);
        emit.count(table, key);
        if table == RESPONSE {
            for kind in &dns.rrtypes {
                let key = self.with_query(emit.tuple().text(kind).joined(&dns.qtypes), dns);
                emit.count(TYPE, key);
            }
        }
    }

    fn tuple(key: u64) -> Option<u64> {
        Some(key)
    }

    fn texts(_table: usize, key: u64, tuples: &Tuples) -> Texts {
        tuples.texts(key)
    }
}

impl Dns {
    fn with_query(&self, tuple: Tuple<'_>, dns: &Record) -> u64 {
        if self.query { tuple.wire_text(&dns.query).id() } else { tuple.id() }
    }
}

/// The names that metrics use; Hubble's summaries of flows have others.
pub(super) fn rcode(number: u32) -> &'static str {
    match number {
        0 => "No Error",
        1 => "Format Error",
        2 => "Server Failure",
        3 => "Non-Existent Domain",
        4 => "Not Implemented",
        5 => "Query Refused",
        6 => "Name Exists when it should not",
        7 => "RR Set Exists when it should not",
        8 => "RR Set that should exist does not",
        9 => "Not Authorized",
        10 => "Name not contained in zone",
        11 => "DSO-TYPE Not Implemented",
        16 => "Bad OPT Version",
        17 => "Key not recognized",
        18 => "Signature out of time window",
        19 => "Bad TKEY Mode",
        20 => "Duplicate key name",
        21 => "Algorithm not supported",
        22 => "Bad Truncation",
        23 => "Bad/missing Server Cookie",
        _ => "",
    }
}
