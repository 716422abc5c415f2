//! Layer 7 where something is odd: requests of which little is captured, blocks of many records,
//! and an agent that does not see layer 7.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use crate::harness::{Agent, Lab};
#[cfg(feature = "fault-injection")]
use crate::layer7::FLOWS;
use crate::layer7::{END_HEADERS, HEADERS, METRICS, SETTINGS, ask, connected, frame, settled};

/// A kernel that refuses the programs with layer 7 gets those without: packets are counted as
/// always, and what is missing is said by the log and by `/readyz`.
#[cfg(feature = "fault-injection")]
#[test]
fn a_kernel_that_refuses_layer_7() {
    let Some(lab) = Lab::up() else { return };
    lab.enforce_nothing();
    let mut agent = Agent::start_refused(&lab, "layer7", METRICS);
    let refused = "DNS and HTTP are not seen: layer 7 is refused by the kernel: ";
    assert!(agent.log().contains(refused), "{}", agent.log());
    agent.wait_until("said in /readyz", |agent| {
        agent.get("/readyz").is_some_and(|ready| ready.status == 200 && ready.body.contains(refused))
    });
    let server = lab.socket("deathstar-a", "10.244.1.11:53");
    let client = lab.socket("tiefighter", "0.0.0.0:0");
    client.connect("10.244.1.11:53").unwrap();
    for id in 0..5 {
        ask(&client, &server, id, "packets.test", Some(0));
    }
    let l4 = [("protocol", "UDP"), ("type", "Trace"), ("verdict", "FORWARDED")];
    agent.settles(|scrape| {
        let (packets, queries) = (scrape.sum(FLOWS, &l4), scrape.sum("hubble_dns_queries_total", &[]));
        if packets > 0 && queries == 0 { Ok(()) } else { Err(format!("{packets} flows, {queries} queries")) }
    });
}

/// Layer 7 that is switched off beside metrics of it is said by the log and by `/readyz`.
#[test]
fn switched_off() {
    let Some(lab) = Lab::up() else { return };
    let config = lab.file("webb.yaml", "l7:\n  capture: off\n");
    let more = ["--config", config.to_str().unwrap()];
    let mut agent = Agent::start_at(&lab, "node", "flow dns httpV2", &more);
    let off = "DNS and HTTP are not seen: `l7.capture` is off, and `metrics` has dns, httpV2 of them";
    assert!(agent.log().contains(off), "{}", agent.log());
    agent.wait_until("said in /readyz", |agent| {
        agent.get("/readyz").is_some_and(|ready| ready.status == 200 && ready.body.contains(off))
    });
}

/// Requests that a server answers though little of them is captured: a line of 6,000 bytes, one
/// byte a segment, a method of other letters; the next one of the connection counts too.
#[test]
fn odd_requests() {
    let Some(lab) = Lab::up() else { return };
    lab.enforce_nothing();
    let mut agent = Agent::start_at(&lab, "node", METRICS, &[]);
    let address = "10.244.1.11:8080";
    let listener = lab.listener("deathstar-a", address);
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    for first in ["long", "bytes", "other"] {
        let mut client = lab.connection("tiefighter", address);
        client.set_nodelay(true).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        for round in 0..6 {
            let (request, most) = match first {
                _ if round % 2 == 1 => ("GET / HTTP/1.1\r\n\r\n".to_owned(), usize::MAX),
                "long" => (format!("PUT /{} HTTP/1.1\r\nContent-Length: 0\r\n\r\n", "p".repeat(6000)), usize::MAX),
                "bytes" => ("DELETE /one/byte/after/another HTTP/1.1\r\nX: lower-case-letters\r\n\r\n".to_owned(), 1),
                _ => ("patch / HTTP/1.1\r\n\r\n".to_owned(), usize::MAX),
            };
            for part in request.as_bytes().chunks(most) {
                client.write_all(part).unwrap();
                server.read_exact(&mut vec![0; part.len()]).unwrap();
            }
            server.write_all(answer).unwrap();
            client.read_exact(&mut [0; 40]).unwrap();
        }
    }
    let requests = "hubble_http_requests_total";
    settled(
        &mut agent,
        &[
            (requests, &[("method", "PUT"), ("status", "200"), ("protocol", "HTTP/1.1")], 3),
            (requests, &[("method", "DELETE"), ("status", "200")], 3),
            (requests, &[("method", "patch"), ("status", "200")], 3),
            (requests, &[("method", "GET"), ("status", "200")], 9),
            (requests, &[], 18),
        ],
    );
}

/// Header blocks of HTTP/2 of more than a record, in one frame or several.
#[test]
fn long_blocks() {
    let Some(lab) = Lab::up() else { return };
    lab.enforce_nothing();
    let mut agent = Agent::start_at(&lab, "node", METRICS, &[]);
    let (mut client, mut server) = connected(&lab, "10.244.1.11:8080");
    let mut exchange = |asked: &[u8], answer: &[u8]| {
        client.write_all(asked).unwrap();
        server.read_exact(&mut vec![0; asked.len()]).unwrap();
        server.write_all(answer).unwrap();
        client.read_exact(&mut vec![0; answer.len()]).unwrap();
    };
    exchange(
        &[&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(SETTINGS, 0, 0, b"")].concat(),
        &frame(SETTINGS, 0, 0, b""),
    );
    let mut stream = 1;
    for values in [1, 2, 4, 8, 12] {
        for most in [4000, 16_384] {
            // POST of `/`, and fields of 2,000 bytes that no table keeps.
            let mut block = b"\x83\x86\x84".to_vec();
            for _ in 0..values {
                block.extend(b"\x10\x01x\x7f\xd1\x0e");
                block.extend([b'~'; 2000]);
            }
            let last = block.chunks(most).count() - 1;
            let frames: Vec<u8> = block
                .chunks(most)
                .enumerate()
                .flat_map(|(at, part)| {
                    frame(if at == 0 { HEADERS } else { 9 }, if at == last { END_HEADERS } else { 0 }, stream, part)
                })
                .chain(frame(0, 1, stream, b"data"))
                .collect();
            exchange(&frames, &frame(HEADERS, END_HEADERS | 1, stream, b"\x88"));
            stream += 2;
        }
    }
    settled(&mut agent, &[("hubble_http_requests_total", &[("method", "POST"), ("status", "200")], 10)]);
}

/// Calls on a connection that ends are unknown at once, not after five minutes: by FINs of both
/// sides, by a RST of one. Of a connection that only one side has closed, they are open.
#[test]
fn calls_of_connections_that_end() {
    let Some(lab) = Lab::up() else { return };
    lab.enforce_nothing();
    let mut agent = Agent::start_at(&lab, "node", "grpc:sourceContext=pod;destinationContext=pod", &[]);
    let mut call = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    call.extend(frame(SETTINGS, 0, 0, b""));
    // POST of `/`, and a content type.
    let block = [&b"\x83\x86\x84\x0f\x10\x10"[..], b"application/grpc"].concat();
    call.extend(frame(HEADERS, END_HEADERS, 1, &block));
    call.extend(frame(HEADERS, END_HEADERS, 3, &block));
    let begin = |port: u16| {
        let (mut client, mut server) = connected(&lab, &format!("10.244.1.11:{port}"));
        client.write_all(&call).unwrap();
        server.read_exact(&mut vec![0; call.len()]).unwrap();
        (client, server)
    };
    let (mut half_open, both, reset) = (begin(50_051), begin(50_052), begin(50_053));
    half_open.0.shutdown(Shutdown::Write).unwrap();
    assert_eq!(half_open.1.read(&mut [0]).unwrap(), 0);
    drop(both);
    rustix::net::sockopt::set_socket_linger(&reset.1, Some(Duration::ZERO)).unwrap();
    drop(reset);
    let calls = "webb_grpc_requests_total";
    settled(&mut agent, &[(calls, &[("grpc_status", "unknown")], 4), (calls, &[], 4)]);
    half_open.1.write_all(&frame(HEADERS, END_HEADERS | 1, 1, b"\x88\x00\x0bgrpc-status\x010")).unwrap();
    half_open.0.read_exact(&mut [0; 9]).unwrap();
    drop(half_open);
    settled(&mut agent, &[(calls, &[("grpc_status", "0")], 1), (calls, &[("grpc_status", "unknown")], 5)]);
}

/// How long a request and a question wait is a setting, which a reload applies to those that wait
/// already.
#[test]
fn waits_are_settings() {
    let Some(lab) = Lab::up() else { return };
    lab.enforce_nothing();
    let config = lab.file("webb.yaml", "l7: {http_timeout: 1h, dns_timeout: 5m}\n");
    let metrics = format!("{METRICS} dnsLatency");
    let mut agent = Agent::start_at(&lab, "node", &metrics, &["--config", config.to_str().unwrap()]);
    let (mut client, mut server) = connected(&lab, "10.244.1.11:8080");
    client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    server.read_exact(&mut [0; 27]).unwrap();
    let dns = lab.socket("deathstar-a", "10.244.1.11:53");
    let asking = lab.socket("tiefighter", "0.0.0.0:0");
    asking.connect("10.244.1.11:53").unwrap();
    ask(&asking, &dns, 3, "silent.test", None);
    let waiting = |reason| [("reason", reason)];
    let unanswered = "webb_l7_unanswered_total";
    settled(&mut agent, &[("webb_l7_open", &[("type", "requests")], 1), ("webb_l7_open", &[("type", "queries")], 1)]);
    lab.file("webb.yaml", "l7: {http_timeout: 1s, dns_timeout: 1s}\n");
    agent.signal("HUP");
    settled(
        &mut agent,
        &[
            (unanswered, &waiting("timeout"), 1),
            (unanswered, &waiting("expired"), 1),
            ("webb_dns_unanswered_total", &[], 1),
            ("webb_l7_open", &[("type", "requests")], 0),
        ],
    );
}
