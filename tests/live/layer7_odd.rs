//! Layer 7 where something is odd: requests of which little is captured, blocks of many records,
//! and an agent that does not see layer 7.

use std::io::{Read, Write};

use crate::harness::{Agent, Lab};
use crate::layer7::{END_HEADERS, HEADERS, METRICS, SETTINGS, connected, frame, settled};
#[cfg(feature = "fault-injection")]
use crate::layer7::{FLOWS, ask};

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
