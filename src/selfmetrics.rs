//! The agent's own metrics: every name it exposes beside Hubble's, Cilium's and `traffic`'s,
//! defined here and nowhere else.
//!
//! Values live where they are counted, in atomics and kernel maps; a [`Source`] reads them when
//! Prometheus asks. One source fills all families that must agree with each other, from one look at
//! the counters. Kept in the `prometheus` crate's registry, which these few dozen series suit well
//! (the thousands of Hubble series have their own table).

#[cfg(test)]
mod tests;

use std::sync::Arc;

use prometheus::Registry;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use webb_metrics::expose::FamilyType;

use crate::families::{Def, Process, Rows, Source};

/// What becomes of a packet: values of the label `outcome` of [`LEDGER_PACKETS`].
pub const LEDGER_OUTCOMES: [&str; 7] =
    ["reported", "untracked", "unparsed", "suppressed", "lost", "flooded", "stopped"];

/// Those of packets that are in no metric of pairs.
pub const MISSING_OUTCOMES: [&str; 4] = ["untracked", "unparsed", "suppressed", "lost"];

macro_rules! defs {
    ($($constant:ident: $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $constant: Def =
                Def { name: $name, help: $help, kind: defs!(@ $kind), labels: &[$($label),*] };
        )*
        /// Every family, for the inventory.
        pub const ALL: &[&Def] = &[$(&$constant),*];
    };
    (@ counter) => { FamilyType::Counter };
    (@ gauge) => { FamilyType::Gauge };
    (@ histogram) => { FamilyType::Histogram };
}

defs! {
    BUILD_INFO: gauge "webb_build_info" ["version", "kernel"]
        "Version of the agent and of the kernel it runs on; always 1";

    STARTUP_SECONDS: gauge "webb_startup_seconds" ["stage"]
        "Seconds from the agent's start until it first was attached (the programs, to all interfaces there were), named (names complete) and ready (/readyz), and until the first_packet. Absent until then";

    PRIVILEGES_HELD: gauge "webb_privileges_held" ["capability"]
        "1 for each capability that any thread of the agent has, 0 for those that it needed to start and gave up; others have no row";

    PRIVILEGES_RESTRICTED: gauge "webb_privileges_restricted" ["type"]
        "1 while the agent restricts itself by landlock (files and ports) or seccomp (system calls), 0 while it does not; /readyz has the reason";

    HANDOVER: counter "webb_handover_total" ["outcome"]
        "Starts of an agent with handover, 1 at the outcome of this one: taken_over, started_new (nothing was left), incomplete (left before it counted, or without all its maps), abi_differs and settings_differ (left by another version, or with other sizes: a gap), not_supported (clsact), removed (handover is off and something was left). Absent without handover";

    ENDPOINT_PANICS: counter "webb_agent_metrics_panics_total" ["category"]
        "Panics while the families of a category of the agent endpoint were read: they were missing in that scrape. Absent without that endpoint";

    COMPONENT_UP: gauge "webb_component_up" ["component"]
        "1 while the component works, degraded or not; 0 while it starts, restarts or is stopped";
    COMPONENT_FAULTS: counter "webb_component_faults_total" ["component", "type"]
        "Faults of a component: panicked, failed or stalled";
    COMPONENT_RESTARTS: counter "webb_component_restarts_total" ["component"]
        "Restarts of a component";
    COMPONENT_QUEUE: gauge "webb_component_queue_depth" ["component"]
        "Batches that wait for the component";

    LEDGER_SEEN_PACKETS: counter "webb_ledger_seen_packets_total" ["hook"]
        "Packets seen by the eBPF programs. At rest equals the sum of webb_ledger_packets_total and webb_ledger_pending_packets";
    LEDGER_SEEN_BYTES: counter "webb_ledger_seen_bytes_total" ["hook"]
        "Bytes seen by the eBPF programs. At rest equals the sum of webb_ledger_bytes_total and webb_ledger_pending_bytes";
    LEDGER_PACKETS: counter "webb_ledger_packets_total" ["hook", "outcome"]
        "Packets by outcome: reported, untracked (table and ring full), unparsed, suppressed (drop budget), lost (ring full), flooded (a bridge sent it to a pod that does not have its MAC), stopped (dropped on the way out of the interface, behind webb's program)";
    LEDGER_BYTES: counter "webb_ledger_bytes_total" ["hook", "outcome"]
        "Bytes by outcome, as webb_ledger_packets_total";
    LEDGER_PENDING_PACKETS: gauge "webb_ledger_pending_packets" ["hook"]
        "Packets that wait in the connection table for the next record";
    LEDGER_PENDING_BYTES: gauge "webb_ledger_pending_bytes" ["hook"]
        "Bytes that wait in the connection table for the next record";
    UNPARSED_PACKETS: counter "webb_unparsed_packets_total" ["hook", "reason"]
        "Packets that could not be parsed";
    DROPS_SUPPRESSED: counter "webb_drops_suppressed_packets_total" ["reason"]
        "Drops over drop_budget, by the kernel's reason: they are in no other metric but the ledger. Those of subsystems have DROP_REASON_UNKNOWN";
    RING_RECORDS: counter "webb_ring_records_total" ["hook"]
        "Records written to the ring";
    RING_LOST_RECORDS: counter "webb_ring_lost_records_total" ["hook"]
        "Records dropped because the ring was full; the packets and bytes of a tracked connection stay in the table";
    RING_USED_BYTES: gauge "webb_ring_used_bytes" ["ring"]
        "Bytes in the ring that wait to be read";
    RING_SIZE_BYTES: gauge "webb_ring_size_bytes" ["ring"]
        "Size of the ring";

    TABLE_ENTRIES: gauge "webb_connection_table_entries" []
        "Connections in the kernel's table at the last sweep";
    TABLE_SIZE: gauge "webb_connection_table_size" []
        "Connections that the kernel's table has room for";
    TABLE_DELETED: counter "webb_connection_table_deleted_total" []
        "Connections that a sweep removed from the table: idle or closed";
    TABLE_RELEASED: counter "webb_connection_table_released_total" []
        "Closed or idle connections whose slot was reused before a sweep removed them";
    TABLE_EVICTED: counter "webb_connection_table_evicted_total" []
        "Active connections that were evicted for another; their counts were reported first";
    TABLE_ALONE: counter "webb_connection_table_alone_packets_total" []
        "Packets without a slot in the table, each reported by a record of its own. TCP connections among them are missing in the families of `connections`";

    READER_READ: counter "webb_reader_read_records_total" []
        "Records taken out of the rings. At rest equals the sum of webb_reader_records_total";
    READER_RECORDS: counter "webb_reader_records_total" ["outcome"]
        "Records by outcome: decoded, foreign (a drop without a pod), panicked (lost to a panic), or the decode error";
    READER_PANICKED_PACKETS: counter "webb_reader_panicked_packets_total" []
        "Packets of the records lost to a panic: counted by the kernel, and in no metric";
    READER_FLOWS: counter "webb_reader_flows_total" []
        "Flows handed to the aggregators. At rest equals the decoded records but webb_reader_event_records_total, and webb_reader_verdicts_total, webb_reader_messages_total and webb_reader_connection_events_total; with a flow source, webb_flow_source_responses_total as counted";
    FLOW_SOURCE_CONNECTED: gauge "webb_flow_source_connected" []
        "1 while the server that flow_source names is followed. Absent, as the others of this prefix, with webb's own programs";
    FLOW_SOURCE_DISCONNECTS: counter "webb_flow_source_disconnects_total" ["reason"]
        "Connections to the flow source that ended, and attempts that failed: unreachable, permission (on its socket), tls, protocol (it does not speak gRPC), unsupported (it is none of Hubble's), refused, too_large (a response), ended (it was stopped), timeout, silent (it sees flows and does not send them). Another attempt follows each";
    FLOW_SOURCE_RECEIVED: counter "webb_flow_source_received_responses_total" []
        "Responses received from the flow source. At rest equals the sum of webb_flow_source_responses_total";
    FLOW_SOURCE_RESPONSES: counter "webb_flow_source_responses_total" ["outcome"]
        "Responses by outcome: counted (a flow), duplicate (sent again after a new connection), lost_events (a notice), other, panicked, and what cannot be read: malformed, type, text (not UTF-8), value";
    FLOW_SOURCE_LOST: counter "webb_flow_source_lost_events_total" ["source"]
        "Events that the flow source says it has lost, by its buffer; hubble_lost_events_total counts as Hubble does, notices of rings";
    FLOW_SOURCE_GAPS: counter "webb_flow_source_gaps_total" ["reason"]
        "Interruptions in which flows were missed in a number that is not known: the server was restarted, its history was overwritten before the new connection, either of them (unknown: it does not say how long it runs), or a response was too_large";
    READER_EVENT_RECORDS: counter "webb_reader_event_records_total" []
        "Decoded records of an event of a connection alone, which have no flow of a packet";
    READER_CONNECTION_EVENTS: counter "webb_reader_connection_events_total" []
        "Events of TCP connections, each a flow beside that of its packet. 0 unless a metric counts them";
    CONNECTION_EVENTS_SETTLED: counter "webb_connection_events_settled_total" ["outcome"]
        "Events of TCP connections: traces of a failed attempt that was counted already (repeated), attempts that could not be remembered for 180 s (evicted: a repeated SYN may count again), refusals that did not wait for the drop of their SYN (hurried: a policy that rejects may count as refused or unreachable), retransmissions of sockets that are neither a pod's nor the node's (foreign), events at the interface of a pod that is not their end (transit)";
    CONNECTION_EVENTS_LOST: counter "webb_connection_events_lost_total" ["event"]
        "Events of TCP connections that found the flow ring full: each is missing in its family; webb_tcp_open_connections is corrected by a listing";
    RETRANSMISSIONS: counter "webb_retransmissions_total" ["type", "outcome"]
        "Segments that sockets sent again, by what became of the record: sent, suppressed (over 1,000 records a second and CPU), lost (flow ring full). The last two are missing in webb_tcp_retransmitted_segments_total. No rows where the kernel is not asked for them";
    OPEN_CONNECTIONS_CORRECTED: counter "webb_open_connections_corrected_total" ["outcome"]
        "By how much webb_tcp_open_connections was off: open connections that a listing of the table added, closed ones that it removed, and those beyond the table's size (refused)";
    OPEN_CONNECTION_LISTINGS: counter "webb_open_connection_listings_total" ["outcome"]
        "Listings of the open connections in the table: complete, or not used because events were lost meanwhile (lost)";
    READER_MESSAGES: counter "webb_reader_messages_total" []
        "Flows of DNS and HTTP messages that the dissector made";
    READER_VERDICTS: counter "webb_reader_verdicts_total" []
        "Policy verdicts, each a flow beside that of its packet";
    READER_UNENFORCED: counter "webb_reader_unenforced_verdicts_total" []
        "Policy verdicts audit: the connection is forbidden, and it passed. Those of hubble_policy_verdicts_total, whose series begin with their first verdict, so that these have an increase from the first one on";
    READER_BATCHES: counter "webb_reader_batches_total" []
        "Batches handed to the aggregators";
    READER_BATCHES_ALLOCATED: counter "webb_reader_batches_allocated_total" []
        "Batches that had to be allocated because all others were in use";

    L7_SEGMENTS: counter "webb_l7_segments_total" ["protocol", "outcome"]
        "Segments with layer 7 that the programs wanted to show: sent, lost (ring full), or unread (bytes of the packet could not be read)";
    L7_BYTES: counter "webb_l7_bytes_total" ["protocol"]
        "Bytes of payload in the records of layer 7 that were sent";
    L7_CONNECTIONS: counter "webb_l7_connections_total" ["outcome"]
        "Connections at a pod's interface whose protocol was recognised, or none that is read (TLS and others)";
    L7_LOOKED: counter "webb_l7_looked_total" []
        "Segments that were looked at to recognise a connection's protocol";
    L7_PASSED_OVER: counter "webb_l7_passed_over_total" ["reason"]
        "Segments with layer 7 that were not followed: untracked (DNS over TCP of a connection that the table had no room for), budget (more DNS over TCP of one sender than is read), frames (more HTTP/2 frames than are followed)";
    L7_RECORDS: counter "webb_l7_records_total" ["protocol", "outcome"]
        "Records of layer 7 that were read, each with one outcome; their sum is what was sent";
    L7_MESSAGES: counter "webb_l7_messages_total" ["protocol", "type", "outcome"]
        "Messages of layer 7: emitted as a flow, or not: other_side (the other side reports it), transit (passes a pod that is not its end), unmatched";
    L7_UNANSWERED: counter "webb_l7_unanswered_total" ["protocol", "reason"]
        "Requests and questions that stay without an answer, by the reason for which they were given up. At rest the emitted requests are the emitted responses, these, and those that are open";
    L7_DOUBTS: counter "webb_l7_doubts_total" ["reason"]
        "How often it was not known any more which request of a connection is answered next, or what a table of HTTP/2 holds";
    L7_UNPARSED: counter "webb_l7_unparsed_total" ["reason"]
        "DNS messages that were refused";
    L7_ABANDONED: counter "webb_l7_abandoned_total" ["reason"]
        "Parts of connections that are not followed any more, to stay within a bound or behind a gap";
    L7_CUT: counter "webb_l7_cut_total" ["type"]
        "What was shortened or passed over to stay within a bound, or because its rest was not seen: head (counted by its first line), torn (a head without a method or status: not counted), block (of HTTP/2), text, buffers (all in use), call (gRPC, at a restart), untyped (perhaps gRPC)";
    L7_OPEN: gauge "webb_l7_open" ["type"]
        "What the dissector holds now: connections, requests without a response, queries without an answer, partial heads and frames, and names: pairs of a pod and an address that DNS gave it";
    L7_NAMES_REFUSED: counter "webb_l7_names_refused_total" ["reason"]
        "Names from DNS that were evicted before their time, or not learned, because there were too many: address (16 of one address), pod (1,024 addresses of one pod), table (65,536 of all pods), texts (new names in a short time)";
    L7_NAMES_LATE: counter "webb_l7_names_late_flows_total" []
        "Flows that were counted before the DNS answers of their time were read, so that they may lack a name";

    CONNTRACK_ENTRIES: gauge "webb_conntrack_entries" []
        "Translated addresses of the kernel's connection tracking that are remembered; a connection may have two";
    CONNTRACK_EVENTS: counter "webb_conntrack_events_total" ["event"]
        "Events of connection tracking about translated connections: new or destroy";
    CONNTRACK_OVERRUNS: counter "webb_conntrack_overruns_total" []
        "Times that the kernel dropped events because they were not read in time; a full dump follows";
    CONNTRACK_DUMPS: counter "webb_conntrack_dumps_total" []
        "Times that all tracked connections were read: at the start, after an overrun, and every five minutes";
    CONNTRACK_QUERIES: counter "webb_conntrack_queries_total" []
        "Queries to connection tracking for the end that opened a conversation of UDP";
    CONNTRACK_MALFORMED: counter "webb_conntrack_malformed_total" []
        "Messages of connection tracking that could not be read";
    CONNTRACK_REFUSED: counter "webb_conntrack_refused_total" []
        "Translations beyond conntrack_entries, which are not remembered";
    CONNTRACK_LOOKUPS: counter "webb_conntrack_lookups_total" ["outcome"]
        "NAT lookups for flows with a translated address: hit, delayed (a hit after a wait of milliseconds), or miss (named by the service alone)";
    POLICY_UNDECIDED: counter "webb_policy_undecided_total" ["reason"]
        "Connections without a verdict: unanswered (forbidden, and neither an answer nor a drop was seen within a minute), evicted (forbidden, and 16,384 others waited: the oldest makes room), backend (to a service, and which pod answered is not known), unnamed (forbidden, unless the end without a name is one that policies allow), untracked (of UDP, forbidden if it opens a conversation, and connection tracking could not be asked), policies (what decides is not known: a part that cannot be read, a domain name, an order that is not defined, a vendor's policy), changed (policies changed as it opened, and the old and the new differ)";

    OBSERVER_FLOWS: gauge "webb_observer_flows" []
        "Events that the history holds. Absent without an observer, export and outputs_config, as all of these";
    OBSERVER_CAPACITY: gauge "webb_observer_capacity" []
        "Events that the history can hold: observer.flows";
    OBSERVER_BYTES: gauge "webb_observer_bytes" []
        "Memory of the history, about: events, their names, layer 7";
    OBSERVER_SENT: counter "webb_observer_sent_flows_total" []
        "Flows that the reader sent to the history. At rest equals the sum of those that were recorded and lost";
    OBSERVER_RECORDED: counter "webb_observer_recorded_flows_total" []
        "Flows that were written to the history";
    OBSERVER_LOST: counter "webb_observer_lost_flows_total" ["reason"]
        "Flows that the history lacks, although metrics count them, by reason: skipped (its thread was behind, or down), panicked. Its readers get them as lost events of OBSERVER_EVENTS_QUEUE";
    OBSERVER_CONNECTIONS: gauge "webb_observer_connections" ["listener"]
        "Open connections of clients";
    OBSERVER_CONNECTIONS_DROPPED: counter "webb_observer_connections_dropped_total" ["listener", "reason"]
        "Connections that were refused or closed, by reason: limit, client_limit (too many of one address), handshake (TLS), silent (nothing was sent)";
    OBSERVER_TLS_LOADS: counter "webb_observer_tls_loads_total" ["outcome"]
        "Changes of the observer's certificate files: applied, or rejected because they do not fit together";
    OBSERVER_TLS_EXPIRY: gauge "webb_observer_tls_certificate_expiry_timestamp_seconds" []
        "When the first certificate of the chain that the observer uses expires, in seconds since 1970; absent until there is one";

    GRPC_STARTED: counter "grpc_server_started_total" ["grpc_type", "grpc_service", "grpc_method"]
        "Total number of RPCs started on the server. Absent without an observer, as all of these; the names are Hubble's";
    GRPC_HANDLED: counter "grpc_server_handled_total" ["grpc_type", "grpc_service", "grpc_method", "grpc_code"]
        "Total number of RPCs completed on the server, regardless of success or failure";
    GRPC_RECEIVED: counter "grpc_server_msg_received_total" ["grpc_type", "grpc_service", "grpc_method"]
        "Total number of RPC stream messages received on the server";
    GRPC_SENT: counter "grpc_server_msg_sent_total" ["grpc_type", "grpc_service", "grpc_method"]
        "Total number of gRPC stream messages sent by the server";

    AGGREGATOR_SENT: counter "webb_aggregator_sent_flows_total" ["metric"]
        "Flows for the aggregator. At rest equals the sum of webb_aggregator_flows_total";
    AGGREGATOR_FLOWS: counter "webb_aggregator_flows_total" ["metric", "outcome"]
        "Flows by outcome: counted, skipped (the aggregator was down and its lane full), panicked (lost to a panic)";
    AGGREGATOR_SERIES: gauge "webb_aggregator_series" ["metric"]
        "Series that the aggregator holds";
    SERIES_FOLDED: counter "webb_series_folded_total" ["metric", "reason"]
        "Counts that went into a series of ~other, because max_series or max_series_total was reached, or because the interface has its share of them";
    SERIES_REMOVED: counter "webb_series_removed_total" ["metric", "reason"]
        "Series removed while their metric stays: pod_deleted (a minute ago), idle (unchanged for series_ttl) or made_room (unchanged for series_room_ttl while others were refused)";

    SCRAPES: counter "webb_scrapes_total" ["outcome"]
        "Scrapes: fresh, shared (answered with the snapshot of another) or stale (an aggregator did not answer in time)";
    HTTP_CONNECTIONS: gauge "webb_http_connections" ["listener"]
        "Connections of a listener (metrics, admin, agent, health) that are open";
    HTTP_CONNECTIONS_DROPPED: counter "webb_http_connections_dropped_total" ["listener", "reason"]
        "Connections that were refused or cut: there were too many (limit) or too many of one client (client_limit), the TLS handshake failed or took too long (handshake), the request came too slowly (slow_head, slow_body), was too large (large_head) or was none (invalid), or the answer was not read (slow_reader)";
    TLS_LOADS: counter "webb_tls_loads_total" ["outcome"]
        "Changes of the metrics listener's certificate files: applied, or rejected because they do not fit together";
    TLS_EXPIRY: gauge "webb_tls_certificate_expiry_timestamp_seconds" []
        "When the first certificate of the chain that the metrics listener uses expires, in seconds since 1970; absent until there is one";

    CLUSTER_OBJECTS: gauge "webb_cluster_objects" ["kind"]
        "Objects of the cluster source";
    CLUSTER_ADDRESSES: gauge "webb_cluster_addresses" []
        "Addresses that have a name";
    CLUSTER_PROBLEMS: gauge "webb_cluster_problems" []
        "Objects of the manifest that could not be used";
    CLUSTER_PUBLISHED: counter "webb_cluster_index_published_total" []
        "Times a new index of names was published";
    CLUSTER_CONTESTED: gauge "webb_cluster_contested_addresses" []
        "Addresses that more than one running pod claims; the newest has it";
    CLUSTER_LOOKUPS: counter "webb_cluster_lookups_total" ["outcome"]
        "Lookups of the ends of flows: local (a pod of this node), remote (another pod), mesh (of another cluster of `clusters`), service, node, world (outside of all of these), unnamed (an address of pods without a known pod), unknown (no address)";
    CLUSTER_NAME_WAITS: counter "webb_cluster_name_waits_total" ["outcome"]
        "Flows with an address of pods that no pod is known to have, by the outcome of the wait for its name: named (within 2.5 s), unnamed (reserved:unknown; it was waited for in vain, now or within the last minute), queue_full (reserved:unknown at once, because 4,096 others waited)";
    CLUSTER_WAITING_FLOWS: gauge "webb_cluster_waiting_flows" []
        "Flows that wait for a name; the metrics of flows count them afterwards";
    CLUSTER_UNSYNCED_FLOWS: counter "webb_cluster_unsynced_flows_total" []
        "Flows that did not wait for the first names, because cluster_wait was over or the rings were half full: of reserved:unknown where the address had no name yet";
    CLUSTER_SYNCED: gauge "webb_cluster_synced" ["kind"]
        "1 once the API server's objects of the kind have been listed; only while names come from there, as all of webb_cluster_watch_* and the like";
    CLUSTER_LISTS: counter "webb_cluster_lists_total" ["kind", "type"]
        "Completed lists: streamed (as the beginning of a watch) or paged";
    CLUSTER_WATCH_RESTARTS: counter "webb_cluster_watch_restarts_total" ["kind", "reason"]
        "Watches and lists that ended, by reason: closed (by the server, in order), silent (neither event nor bookmark came), gone (the version is too old), or the type of failure";
    CLUSTER_WATCH_LAG: gauge "webb_cluster_watch_lag_seconds" ["kind"]
        "Seconds since the last event or bookmark; a kind without events gets a bookmark about once a minute";
    CLUSTER_INVALID: counter "webb_cluster_invalid_objects_total" ["kind"]
        "Objects with a missing or wrong field, which cannot be used; their last valid state stays";
    CLUSTER_UNREADABLE: counter "webb_cluster_unreadable_parts_total" ["kind"]
        "Parts of objects that could not be read and were passed over; the rest of the object is used";
    MESH_SYNCED: gauge "webb_mesh_synced" ["cluster"]
        "1 once all objects of another cluster have been listed; only with `clusters`, as all of webb_mesh_*";
    MESH_FAILURES: counter "webb_mesh_failures_total" ["cluster"]
        "Failed attempts to list or watch objects of another cluster";
    MESH_OVERLAPS: gauge "webb_mesh_overlapping_addresses" ["cluster", "other"]
        "Addresses that objects of two clusters claim: this cluster has its own, and what two others claim has no name";
    RELAY_CONNECTED: gauge "webb_cluster_relay_connected" []
        "1 while a names relay answers, else 0: the last answers stay, and pods of other nodes that are met meanwhile are reserved:unknown. Absent without cluster_relay, as all of webb_cluster_relay_*, and while names come from a manifest";

    RELAY_DISCONNECTS: counter "webb_cluster_relay_disconnects_total" ["reason"]
        "Ends of connections to a names relay, and failed attempts, by reason: those of webb_flow_source_disconnects_total, unavailable (its pods are not listed yet, or it stops), version (of the protocol), cluster (another cluster_name), wrong_answer, too_many; age is no fault: the relay ends connections after 10 to 15 minutes, so that agents spread over its replicas";

    RELAY_ADDRESSES: gauge "webb_cluster_relay_addresses" ["state"]
        "Addresses that this agent holds: named (a pod has them), unnamed (none has) and unanswered";

    RELAY_STALE: gauge "webb_cluster_relay_stale_addresses" []
        "Addresses with an answer of an earlier connection, which may be out of date";

    RELAY_STALENESS: gauge "webb_cluster_relay_staleness_seconds" []
        "Seconds since the relay was known to be up to date with the API server, which sends a bookmark about once a minute. Absent while names come from a manifest";

    RELAY_EVICTED: counter "webb_cluster_relay_evicted_addresses_total" []
        "Addresses that were released because this agent may hold no more: 24576 of pods, 4096 others";

    RELAY_REFUSED: counter "webb_cluster_relay_refused_asks_total" []
        "Asks that had no room on their way to the relay: the address is asked for again with a later flow";

    RELAY_REFUSED_BLOCKS: counter "webb_cluster_relay_refused_blocks_total" []
        "Blocks of 64 addresses that pods have some of, and that this agent has no room for beside 131072 others: addresses in them are not asked for, and are reserved:world";

    RELAY_UNASKED: counter "webb_cluster_relay_unasked_entries_total" []
        "Answers about addresses that are not held: released while they were on their way, or never asked for";

    RELAY_ANSWERS: counter "webb_cluster_relay_answers_total" []
        "Messages of the relay, those included that only say that it is there";

    CLUSTER_OTHER_POLICIES: gauge "webb_cluster_other_policies" ["group", "kind", "effect"]
        "Policies of kinds that are not evaluated, and in which direction (ingress, egress, both, none) they leave verdicts undecided; unknown for a kind without a rule";
    INTERNED_NAMES: gauge "webb_interned_names" []
        "Names kept for label values";
    LOG_LINES_LOST: counter "webb_log_lines_lost_total" []
        "Lines of the log that were lost because standard error was not read for too long";
    LABEL_VALUES_CUT: counter "webb_label_values_cut_total" []
        "Times that a label value was longer than 4096 bytes (path, method of grpc and query: 256) and was cut";
    LABEL_TEXTS_FOLDED: counter "webb_label_texts_folded_total" []
        "Counts whose label texts became ~other because the metric holds as many different ones as it may";

    PROBE_INTERFACES: gauge "webb_probe_interfaces" ["role"]
        "Interfaces that are watched";
    PROBE_SPECIAL_INTERFACES: gauge "webb_probe_special_interfaces" ["type"]
        "Pods' interfaces that need more than the plain programs: at_device (others may drop behind webb's program, so packets count when the device sends them), bridged (the bridge may flood)";
    PROBE_ATTACH_ERRORS: counter "webb_probe_attach_errors_total" []
        "Interfaces that could not be attached to";
    PROBE_UNWATCHED_PODS: gauge "webb_probe_unwatched_pods" ["reason"]
        "Running pods of this node that are not watched: they use the node's own network, or no interface of the node leads to them";
    PROBE_UNREAD_ADDRESSES: gauge "webb_probe_unread_addresses" []
        "Addresses in pods' network namespaces beyond 256 of one, which are not looked at";
    PROBE_ONE_SIDED: counter "webb_probe_one_sided_records_total" []
        "Records of TCP connections in which a pod acknowledges what was not seen to enter by its interface: packets reach the pod past the programs, or the pod forges acknowledgements";
    PROBE_GAPS: counter "webb_probe_gaps_total" ["reason"]
        "Times that an interface was found without its programs in their places: removed by something else, or displaced by a program in front of them that may end packets unseen; the programs are attached again. late: a new interface had counted packets when they were attached";
    PROBE_GAP_PACKETS: counter "webb_probe_gap_packets_total" ["reason"]
        "Packets that interfaces counted from the last time that their programs were seen in their places until they were there again, a new one from its first: so many at most were not seen";
    BPF_MAPS_COUNTED: gauge "webb_bpf_maps_counted" ["outcome"]
        "Maps of the last count for cilium_bpf_map_pressure: counted, uncountable (without entries that come and go), timed_out (longer than half a second) or refused by the kernel; only with the agent endpoint";
    BPF_RUN_SECONDS: counter "webb_bpf_run_seconds_total" ["program"]
        "Time spent in an eBPF program; only while kernel.bpf_stats_enabled is on";
    BPF_RUNS: counter "webb_bpf_runs_total" ["program"]
        "Runs of an eBPF program; only while kernel.bpf_stats_enabled is on";
    BPF_RECURSION_MISSES: counter "webb_bpf_recursion_misses_total" ["program"]
        "Runs that the kernel left out because the program was running on that CPU already";

    HEALTH_PROBES: counter "webb_health_probes_total" ["protocol", "outcome"]
        "Probes of other nodes' addresses by outcome: ok, timeout (nothing came from there), unanswered (connected, but the agent is silent), refused and reset (no agent answers there), no_route (this machine does not send there), status, redirect, invalid or large_head (another answer than 200), local (for want of something on this machine: it says nothing about the peer). Absent while health.listen is not set, as all of webb_health_*";
    HEALTH_ECHO_IGNORED: counter "webb_health_echo_ignored_total" ["reason"]
        "Received ICMP messages that are no reply to a request that waits: malformed, or unmatched (late, doubled, or of another sender)";
    HEALTH_UNPROBED: gauge "webb_health_unprobed_addresses" ["reason"]
        "Internal addresses of other nodes that are not probed: family (this node has none of that version of IP), limit (more than 16 of one node), invalid (of no host: unspecified, multicast, broadcast, link-local), own (of this node itself)";
    HEALTH_INTERVAL: gauge "webb_health_interval_seconds" []
        "Interval between two probes of an address";

    CONFIG_RELOADS: counter "webb_config_reloads_total" ["outcome"]
        "Reloads of the configuration: applied or rejected";
    LAST_RELOAD_SUCCESSFUL: gauge "webb_config_last_reload_successful" ["file"]
        "1 if the last reload of the file succeeded: config, metrics_config, or metrics_tls, the certificates; 0 while it says something that cannot be used, and what was read before stays in force";
    LAST_RELOAD_SUCCESS: gauge "webb_config_last_reload_success_timestamp_seconds" ["file"]
        "When the file was last read with success, in seconds since 1970; 0 if it never was";
    METRICS_CONFIG_RELOADS: counter "webb_metrics_config_reloads_total" ["outcome"]
        "New contents of the metrics file: applied, or rejected whole";
    EXPRESSION_FAILURES: counter "webb_filter_expression_failures_total" []
        "Evaluations of a filter's cel_expression, of the metrics file or of a client, that had no result (an overflow, an index out of range, a null, too many steps): the filter did not match";
    METRICS_CONFIG_CHANGES: counter "webb_metrics_config_changes_total" ["metric", "change"]
        "Changes of metrics while the agent runs: added, removed, filtered (other filters), restarted (other context options, so its series began anew)";

    EXPORT_LINES: counter "webb_export_lines_total" ["exporter"]
        "Lines that an exporter of flows has written; the one of export.file_path is called static. Absent without export";
    EXPORT_BYTES: counter "webb_export_bytes_total" ["exporter"]
        "Bytes of these lines";
    EXPORT_LOST: counter "webb_export_lost_events_total" ["exporter", "reason"]
        "Events that an exporter did not write: they had left the history before it came to them because it is slow (overrun) or could not write (disk_full, read_only, denied, failed), each counted before its filters; or lines of which the exporter had made them when it ended, or that are longer than a file (too_long); or it panicked over them (panicked)";
    EXPORT_ROTATIONS: counter "webb_export_rotations_total" ["exporter"]
        "Files that an exporter has closed to begin another";
    EXPORT_CONFIG_RELOADS: counter "webb_export_config_reloads_total" ["outcome"]
        "New contents of export.config: applied, or rejected whole. Absent without it";

    ROLLUP_ROWS: gauge "webb_rollup_rows" []
        "Rows of the open window: one for each pair of workloads, port, zones, verdict, reason and policy";
    ROLLUP_FLOWS: counter "webb_rollup_flows_total" ["outcome"]
        "Flows that the rollups were sent: added to a row; passed_over, because they stand beside another of the same packet; panicked; skipped, because the thread was behind; not_wanted, while no output took rows. All but skipped sum up to what the rollups have received";
    ROLLUP_FOLDED: counter "webb_rollup_folded_flows_total" []
        "Flows in rows of fewer parts, because the window had max_rows rows: by namespaces, or in one row for the rest. Their sums are exact";
    ROLLUP_HELD: gauge "webb_rollup_held_records" []
        "Records of windows that have ended, for each output, which are offered to it (webb_output_records_total) at this node's moment within the next window: up to a fifth of it later";
    ROLLUP_WINDOWS: counter "webb_rollup_windows_total" []
        "Windows whose rows were offered to the outputs. One may have ended early, at a change of the outputs or with the agent";
    ROLLUP_OPEN_CORRECTED: counter "webb_rollup_open_connections_corrected_total" ["outcome"]
        "By how much the open connections of rows were off: those that a listing of the table added, closed ones that it removed, and those beyond the table's size (refused)";
    OUTPUT_FLOWS: counter "webb_output_flows_total" ["outcome"]
        "Events of the history, and failed attempts to connect, by what became of them for outputs with flows: included, sent for themselves; sampled, sent as part of a sample; passed_over, not selected; limited, beyond max_per_second; overrun, gone from the history before they were read; panicked. All together are those that were recorded since flows were asked for";
    OUTPUT_FAILED_CONNECTIONS: counter "webb_output_failed_connections_total" ["outcome"]
        "Failed attempts to connect, while an output wants flows: recorded, for the thread that sends flows; or lost to it, skipped (the thread of the history was behind, or down) or panicked";
    OUTPUT_RECORDS: counter "webb_output_records_total" ["output", "stream", "outcome"]
        "Records of an output: offered, and what became of them: delivered; rejected by a receiver that took the rest of a request; dropped as queue_full, spool_full, too_old, refused (a final answer), too_large, shutdown, corrupted, or orphaned (in a directory that no output has any more). What is missing waits (webb_output_waiting_records). The figures of outputs that are removed stay until the agent restarts, those of the last 32 names";
    OUTPUT_WAITING: gauge "webb_output_waiting_records" ["output", "stream"]
        "Records that wait in memory or in the spool directory, or are under way";
    OUTPUT_BYTES: counter "webb_output_bytes_total" ["output"]
        "Bytes of requests that a receiver has taken, as sent";
    OUTPUT_QUEUE: gauge "webb_output_queue_bytes" ["output"]
        "Bytes of requests that wait in memory";
    OUTPUT_SPOOL: gauge "webb_output_spool_bytes" ["output"]
        "Bytes of requests in the spool directory";
    OUTPUT_SPOOL_FILES: gauge "webb_output_spool_files" ["output"]
        "Files in the spool directory";
    OUTPUT_SPOOL_PROBLEMS: counter "webb_output_spool_problems_total" ["output", "problem"]
        "Files of the spool directory that were corrupted, and times that it was unusable";
    OUTPUT_LAST_SUCCESS: gauge "webb_output_last_success_timestamp_seconds" ["output"]
        "Time at which a receiver last took a request, in seconds since 1970; 0 is never";
    OUTPUT_REQUESTS: counter "webb_output_requests_total" ["output", "code"]
        "Requests by answer: a status of gRPC or HTTP, an error of Kafka, or connection, timeout or protocol without any";
    OUTPUT_REQUEST_SECONDS: histogram "webb_output_request_seconds" ["output", "outcome"]
        "Seconds from a request to its answer, by outcome: success or failure";
    OUTPUTS_CONFIG_RELOADS: counter "webb_outputs_config_reloads_total" ["outcome"]
        "New contents of outputs_config: applied, or rejected whole";
}

struct SourceCollector {
    descs: Vec<Desc>,
    source: Source,
}

impl Collector for SourceCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut rows = Rows::default();
        (self.source)(&mut rows);
        rows.into_families()
    }
}

/// The registry of the agent's own metrics.
#[derive(Debug, Clone)]
pub struct SelfMetrics {
    registry: Arc<Registry>,
}

impl SelfMetrics {
    /// A registry with the standard `process_*` families.
    ///
    /// # Errors
    /// Never in practice: the names are constants.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        registry.register(Box::new(Process::new("")))?;
        Ok(Self { registry: Arc::new(registry) })
    }

    /// Adds families that one source fills.
    ///
    /// # Errors
    /// If a name is taken already.
    pub fn add(&self, defs: &[&Def], source: Source) -> Result<(), prometheus::Error> {
        let descs = defs
            .iter()
            .map(|def| {
                let labels = def.labels.iter().map(|label| (*label).to_owned()).collect();
                Desc::new(def.name.to_owned(), def.help.to_owned(), labels, std::collections::HashMap::new())
            })
            .collect::<Result<_, _>>()?;
        self.registry.register(Box::new(SourceCollector { descs, source }))
    }

    /// All families with their values as they are now, sorted by name.
    pub fn gather(&self) -> Vec<MetricFamily> {
        self.registry.gather()
    }
}
