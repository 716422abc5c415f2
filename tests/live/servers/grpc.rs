//! gRPC's own server and client: each call by its method and status as often as the client saw it.

use super::{Counts, Server, client, counts, differences, equal, load, program, script, series};
use crate::harness::{Agent, Lab};
use crate::scrape::Scrape;

const METRICS: &str = "grpc:method httpV2 flow";

const DEADLINE: &str = "/fleet.Deathstar/Wait 4";
const CANCELLED: &str = "/fleet.Deathstar/Wait 1";

/// Counted calls, in the words of the client.
fn counted(scrape: &Scrape) -> Counts {
    series(scrape, "webb_grpc_requests_total", &[], &["method", "grpc_status"])
}

/// As counted, but that a client's own deadline is a reset of the stream with the code of a
/// cancellation: which of both it was is not on the wire.
fn on_the_wire(mut calls: Counts) -> Counts {
    if let Some(count) = calls.remove(DEADLINE) {
        *calls.entry(CANCELLED.to_owned()).or_default() += count;
    }
    calls
}

/// All statuses, from trailers and from responses of trailers only, with and without messages
/// before; calls that the server ends before the client has, that the client cancels, and that take
/// too long; several channels with eight calls at a time.
#[test]
fn grpc() {
    let Some(lab) = Lab::up() else { return };
    let (Some(server), Some(python)) = (script("grpc_server.py"), program("python")) else { return };
    lab.enforce_nothing();
    let mut agent = Agent::start_at(&lab, "node", METRICS, &[]);
    let log = lab.dir.path().join("grpc.log");
    let server =
        Server::start(&lab, "deathstar-a", &format!("{server} {} 50051", log.display()), "grpc.log", &["tcp:50051"]);
    let (channels, rounds) = (3_usize, load(2));
    let mut said = Vec::new();
    for address in ["10.244.1.11", "[fd00:10:244:1::11]"] {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/live/servers/grpc_client.py");
        let words = format!("{script} {address}:50051 {channels} {rounds}");
        said.extend(client(&lab, "tiefighter", &python, &words).lines().map(str::to_owned));
    }
    let seen = counts(said);
    let scrape = equal(&mut agent, &on_the_wire(seen.clone()), |scrape| on_the_wire(counted(scrape)));
    // What the server ended by itself is what it says.
    let mut own = counts(server.lines(1));
    own.retain(|line, _| !line.contains("/Wait"));
    let ended = |mut calls: Counts| {
        calls.retain(|line, _| !line.contains("/Wait") && !line.contains("/Missing"));
        calls
    };
    differences(&own, &ended(counted(&scrape))).unwrap();
    let each = (2 * channels * rounds) as u64;
    assert_eq!(seen["/fleet.Deathstar/Unary 0"], each);
    assert_eq!((0..17).filter(|status| seen[&format!("/fleet.Deathstar/Stream {status}")] == each).count(), 17);
    assert_eq!(scrape.sum("webb_l7_cut_total", &[]), 0);
}
