//! Services across two nodes, each with its agent: who answers for an address, and who is behind a
//! node's.
//!
//! A request is 4 reports in the client's direction and 3 in the server's at each point where it is
//! observed (see [`crate::counts`]). A client and a server on different nodes have one point each:
//! the client's node sees the Service's address, since it is translated behind the client's
//! interface, and the server's node sees the pod's.

use crate::harness::{Agent, DEATHSTAR_A, DEATHSTAR_C, Lab, TIEFIGHTER};
use crate::scrape::Scrape;

/// Everything that names an end, in one family.
const METRICS: &str = "flow:labelsContext=source_ip,source_pod,source_namespace,source_workload,destination_ip,\
    destination_pod,destination_namespace,destination_workload,source_service,destination_service;\
    sourceContext=pod|reserved-identity;destinationContext=pod|reserved-identity";

const FLOWS: &str = "hubble_flows_processed_total";
const SERVICE: &str = "default/deathstar";
const FROM_CLIENT: u64 = 4;
const FROM_SERVER: u64 = 3;

/// The labels of an end that has a name.
#[derive(Debug, Clone, Copy)]
struct End<'a> {
    /// `namespace/name`, or a reserved identity.
    name: &'a str,
    workload: &'a str,
    service: &'a str,
}

const CLIENT: End<'_> = End { name: TIEFIGHTER, workload: "", service: "" };

fn server(name: &'static str, service: &'static str) -> End<'static> {
    End { name, workload: "deathstar", service }
}

fn stranger(name: &'static str, service: &'static str) -> End<'static> {
    End { name, workload: "", service }
}

/// Number of TCP flows from one end to another, all labels compared.
fn flows(scrape: &Scrape, from: End<'_>, to: End<'_>) -> u64 {
    let pod = |end: End<'_>| match end.name.split_once('/') {
        Some((namespace, pod)) => (namespace.to_owned(), pod.to_owned()),
        None => (String::new(), String::new()),
    };
    let ((source_namespace, source_pod), (destination_namespace, destination_pod)) = (pod(from), pod(to));
    scrape.sum(
        FLOWS,
        &[
            ("protocol", "TCP"),
            ("verdict", "FORWARDED"),
            ("source", from.name),
            ("source_pod", &source_pod),
            ("source_namespace", &source_namespace),
            ("source_workload", from.workload),
            ("source_service", from.service),
            ("destination", to.name),
            ("destination_pod", &destination_pod),
            ("destination_namespace", &destination_namespace),
            ("destination_workload", to.workload),
            ("destination_service", to.service),
        ],
    )
}

fn lookups(scrape: &Scrape, result: &str) -> u64 {
    scrape.sum("webb_conntrack_lookups_total", &[("outcome", result)])
}

/// `requests` from the client to the server, seen at `points` with these names, and nothing of TCP
/// beside that. What went on without its translation, because this machine had no time for the
/// thread that hears of it, is counted, and is the only thing that may be missing.
fn seen(agent: &mut Agent, client: End<'_>, server: End<'_>, requests: u64) {
    let wanted = requests * (FROM_CLIENT + FROM_SERVER);
    agent.settles(|scrape| {
        let (there, back) = (flows(scrape, client, server), flows(scrape, server, client));
        let alone = lookups(scrape, "miss");
        let all = scrape.sum(FLOWS, &[("protocol", "TCP"), ("verdict", "FORWARDED")]);
        let right = all == wanted && there + back + alone == wanted && alone * 10 < wanted;
        let exact = alone > 0 || (there, back) == (requests * FROM_CLIENT, requests * FROM_SERVER);
        if right && exact {
            return Ok(());
        }
        Err(format!("wanted {wanted}; {there} there, {back} back, {alone} named by the service alone, {all} in all"))
    });
}

/// The heart of it: a request from a pod to the Service's address that a pod on the other node
/// answers. Both agents name both ends with namespace, pod and workload, there and back; the
/// client's names the service too, the server's does not, because a backend's address is no
/// service's (hubble-contract §5.5).
#[test]
fn a_service_answered_on_the_other_node() {
    let Some(lab) = Lab::up() else { return };
    lab.choose("node", "c");
    let mut near = Agent::start_at(&lab, "node", METRICS, &[]);
    let mut far = Agent::start_at(&lab, "node2", METRICS, &[]);
    let (v4, v6) = (9, 6);
    lab.run("tiefighter", &format!("pod land --rounds {v4} 10.96.23.45:80"));
    lab.run("tiefighter", &format!("pod land --rounds {v6} [fd00:10:96::2d]:80"));

    seen(&mut near, CLIENT, server(DEATHSTAR_C, SERVICE), v4 + v6);
    seen(&mut far, CLIENT, server(DEATHSTAR_C, ""), v4 + v6);

    // The addresses are those of the packets, whatever is behind them.
    let scrape = near.scrape();
    let to = |address| scrape.sum(FLOWS, &[("destination_ip", address)]);
    assert_eq!((to("10.96.23.45"), to("fd00:10:96::2d")), (v4 * FROM_CLIENT, v6 * FROM_CLIENT));
    assert_eq!((to("10.244.2.11"), to("fd00:10:244:2::11")), (0, 0));
    // On the server's node nothing is translated, so there is nothing to look up.
    assert_eq!(lookups(&far.scrape(), "hit") + lookups(&far.scrape(), "delayed"), 0);
    assert!(scrape.sum("webb_conntrack_events_total", &[("event", "new")]) >= v4 + v6);
    assert_eq!(scrape.sum("webb_conntrack_malformed_total", &[]), 0);
}

/// A node's own port, where the client's address is masqueraded: on that node both sides of the
/// connection know the other's pod, though the server's packets bear the node's address. IPv4 and
/// IPv6.
#[test]
fn a_node_port_with_masquerade() {
    let Some(lab) = Lab::up() else { return };
    lab.choose("node", "a");
    let mut near = Agent::start_at(&lab, "node", METRICS, &[]);
    let (v4, v6) = (7, 5);
    lab.run("tiefighter", &format!("pod land --rounds {v4} 172.18.0.2:30080"));
    lab.run("tiefighter", &format!("pod land --rounds {v6} [fd00:172:18::2]:30080"));
    let requests = v4 + v6;
    near.settles(|scrape| {
        let server = |service| server(DEATHSTAR_A, service);
        let client_side = (flows(scrape, CLIENT, server(SERVICE)), flows(scrape, server(SERVICE), CLIENT));
        let server_side = (flows(scrape, CLIENT, server("")), flows(scrape, server(""), CLIENT));
        let wanted = (requests * FROM_CLIENT, requests * FROM_SERVER);
        if (client_side, server_side) == (wanted, wanted) && lookups(scrape, "miss") == 0 {
            return Ok(());
        }
        Err(format!("wanted {wanted:?} twice, found {client_side:?} and {server_side:?}\n{}", scrape.show(FLOWS)))
    });
    // A masqueraded packet shows the address that was there before the node's took its place.
    assert_eq!(near.scrape().sum(FLOWS, &[("source_ip", "172.18.0.2"), ("source", TIEFIGHTER)]), 0);
}

/// The other node's port: it translates, and so its agent alone knows whom. The client's agent
/// names the service, and the node for want of the pod; the server's agent gets the masqueraded
/// client back.
#[test]
fn a_node_port_of_the_other_node() {
    let Some(lab) = Lab::up() else { return };
    lab.choose("node2", "c");
    let mut near = Agent::start_at(&lab, "node", METRICS, &[]);
    let mut far = Agent::start_at(&lab, "node2", METRICS, &[]);
    let (v4, v6) = (5, 4);
    lab.run("tiefighter", &format!("pod land --rounds {v4} 172.18.0.3:30080"));
    lab.run("tiefighter", &format!("pod land --rounds {v6} [fd00:172:18::3]:30080"));
    seen(&mut far, CLIENT, server(DEATHSTAR_C, ""), v4 + v6);
    near.settles(|scrape| {
        let node = stranger("reserved:remote-node", SERVICE);
        let found = (flows(scrape, CLIENT, node), flows(scrape, node, CLIENT));
        let wanted = ((v4 + v6) * FROM_CLIENT, (v4 + v6) * FROM_SERVER);
        if found == wanted { Ok(()) } else { Err(format!("wanted {wanted:?}, found {found:?}")) }
    });
}

/// A replica that asks its own Service and is chosen itself: the packet comes back to it with the
/// node's address.
#[test]
fn a_pod_that_meets_itself() {
    let Some(lab) = Lab::up() else { return };
    lab.choose("node", "a");
    let mut agent = Agent::start_at(&lab, "node", METRICS, &[]);
    let requests = 6;
    lab.run("deathstar-a", &format!("pod land --rounds {requests} 10.96.23.45:80"));
    agent.settles(|scrape| {
        let (itself, service) = (server(DEATHSTAR_A, ""), server(DEATHSTAR_A, SERVICE));
        let sums = [flows(scrape, itself, service), flows(scrape, service, itself), flows(scrape, itself, itself)];
        let wanted = [FROM_CLIENT, FROM_SERVER, FROM_CLIENT + FROM_SERVER].map(|reports| reports * requests);
        if sums == wanted { Ok(()) } else { Err(format!("wanted {wanted:?}, found {sums:?}\n{}", scrape.show(FLOWS))) }
    });
}

/// Connections that were there before the agent are in the first dump; without connection tracking
/// the service still has its name, and `/readyz` says what is missing.
#[test]
fn what_was_there_before_and_what_is_without() {
    let Some(lab) = Lab::up() else { return };
    lab.choose("node", "c");
    lab.run("tiefighter", "pod land --rounds 4 10.96.23.45:80");
    let mut agent = Agent::start_at(&lab, "node", METRICS, &[]);
    agent.settles(|scrape| {
        let (entries, dumps) =
            (scrape.sum("webb_conntrack_entries", &[]), scrape.sum("webb_conntrack_dumps_total", &[]));
        if entries >= 4 && dumps == 1 { Ok(()) } else { Err(format!("{entries} entries after {dumps} dumps")) }
    });
    drop(agent);

    lab.run("node", "sh -c echo${IFS}0>/proc/sys/net/netfilter/nf_conntrack_events");
    let mut agent = Agent::start_at(&lab, "node", METRICS, &[]);
    agent.wait_until("connection tracking is said to be silent", |agent| {
        let answer = agent.get("/readyz").unwrap();
        answer.status == 200 && answer.body.contains("nf_conntrack_events")
    });
    let requests = 3;
    lab.run("tiefighter", &format!("pod land --rounds {requests} 10.96.23.45:80"));
    agent.settles(|scrape| {
        let service = stranger("reserved:world-ipv4", SERVICE);
        let found = (flows(scrape, CLIENT, service), flows(scrape, service, CLIENT));
        let wanted = (requests * FROM_CLIENT, requests * FROM_SERVER);
        // Records that bring packets and no flow are looked up too.
        if found == wanted && lookups(scrape, "miss") >= wanted.0 + wanted.1 {
            Ok(())
        } else {
            Err(format!("wanted {wanted:?}, found {found:?}"))
        }
    });
}
