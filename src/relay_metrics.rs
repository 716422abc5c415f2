//! The families of a names relay. docs/relay.md lists them.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use webb_cluster::Kind;
use webb_cluster::kubernetes::Status;
use webb_flow::fault::{Components, FaultType, State};
use webb_names::Directory;
use webb_observer::Admission;

use crate::families::{Category, CategorySource, build_row, cilium_families};

cilium_families! {
    BUILD_INFO: gauge "webb_names_version" ["version", "revision", "arch"]
        "Version of the relay; always 0"
        from "the build";
    CLIENTS: gauge "webb_names_clients" []
        "Streams of agents"
        from "the directory";
    LEASES: gauge "webb_names_leases" []
        "Addresses that agents hold, each counted for each agent"
        from "the directory";
    PODS: gauge "webb_names_pods" []
        "Pods with an address of their own"
        from "the directory";
    ADDRESSES: gauge "webb_names_addresses" []
        "Addresses of pods"
        from "the directory";
    NODES: gauge "webb_names_nodes" []
        "Nodes of the cluster"
        from "the directory";
    PROFILES: gauge "webb_names_profiles" []
        "Profiles: what replicas share"
        from "the directory";
    ASKS: counter "webb_names_asks_total" []
        "Addresses that agents asked for"
        from "the directory";
    RELEASES: counter "webb_names_releases_total" []
        "Addresses that agents gave up"
        from "the directory";
    REFUSED: counter "webb_names_refused_total" []
        "Streams that were ended because the agent asked for more addresses than it may hold"
        from "the directory";
    INVALIDATIONS: counter "webb_names_invalidations_total" []
        "Addresses that changed while an agent held them, each counted for each agent"
        from "the directory";
    ANSWERS: counter "webb_names_answers_total" []
        "Messages to agents, beside those that only say that the relay is there"
        from "the directory";
    ENTRIES: counter "webb_names_entries_sent_total" []
        "Addresses in these messages"
        from "the directory";
    PROFILES_SENT: counter "webb_names_profiles_sent_total" []
        "Profiles in these messages"
        from "the directory";
    LEFT_OUT: counter "webb_names_node_parts_left_out_total" []
        "Nodes, and addresses and networks of nodes, beyond what is sent of them, at each change"
        from "the directory";
    BYTES: counter "webb_names_bytes_sent_total" []
        "Bytes of these messages, before TLS"
        from "the directory";
    LAG: gauge "webb_names_watch_lag_seconds" []
        "Seconds since the API server last said anything of pods; a bookmark comes about once a minute"
        from "the watch";
    CONNECTIONS: gauge "webb_names_connections" []
        "Open connections of agents"
        from "the listener";
    DROPPED: counter "webb_names_connections_dropped_total" ["reason"]
        "Connections that were refused or closed: limit, client_limit, handshake or silent"
        from "the listener";
    COMPONENT_UP: gauge "webb_names_component_up" ["component"]
        "1 while the component works, degraded or not; 0 while it starts, restarts or is stopped"
        from "supervision";
    COMPONENT_FAULTS: counter "webb_names_component_faults_total" ["component", "type"]
        "Faults of a component: panicked, failed or stalled"
        from "supervision";
}

/// The category.
pub static CATEGORY: Category = Category { title: "Names relay", families: FAMILIES, absent: &[] };

/// Source of the rows.
pub fn source(
    directory: Arc<Directory>,
    watch: Arc<Status>,
    admission: Arc<Admission>,
    components: Components,
) -> CategorySource {
    Box::new(move |rows| {
        build_row(rows, &BUILD_INFO);
        let (clients, leases) = directory.clients();
        let (pods, addresses, profiles) = directory.counts();
        for (family, number) in
            [(&CLIENTS, clients), (&LEASES, leases), (&PODS, pods), (&ADDRESSES, addresses), (&PROFILES, profiles)]
        {
            rows.add(family, &[], number as u64);
        }
        rows.add(&NODES, &[], directory.nodes() as u64);
        let sent = directory.sent();
        for (family, counter) in [
            (&ASKS, &sent.asks),
            (&RELEASES, &sent.releases),
            (&REFUSED, &sent.refused),
            (&INVALIDATIONS, &sent.invalidations),
            (&ANSWERS, &sent.answers),
            (&ENTRIES, &sent.entries),
            (&PROFILES_SENT, &sent.profiles),
            (&BYTES, &sent.bytes),
            (&LEFT_OUT, &sent.left_out),
        ] {
            rows.add(family, &[], counter.load(Relaxed));
        }
        for watched in watch.watched().iter().filter(|watched| watched.kind == Kind::Pod) {
            rows.add_f64(&LAG, &[], watched.lag());
        }
        rows.add(&CONNECTIONS, &[], admission.connections() as u64);
        for (reason, count) in admission.dropped() {
            rows.add(&DROPPED, &[reason], count);
        }
        for component in components.all() {
            let (name, state) = (component.name(), component.state());
            rows.add(&COMPONENT_UP, &[name], u64::from(matches!(state, State::Up | State::Degraded)));
            for kind in FaultType::ALL {
                rows.add(&COMPONENT_FAULTS, &[name, kind.label()], component.faults(kind));
            }
        }
    })
}
