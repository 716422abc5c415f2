//! Clients that hold on to what they get: silent, slow, greedy, and too many. Whatever they do, a
//! scraper beside them is served, and what they hold is bounded in number and in time.

#![allow(clippy::print_stdout, reason = "figures for a person")]

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketType};
use webb::server::Limits;
use webb_flow::{Flow, L4};
use webb_index::Flows;
use webb_metrics::{Aggregator, grammar};

use crate::server::{Server, ask, read, read_next, serve_within, until};

/// Short times, so that the tests are, too; what is not under test has all the time it needs.
const LIMITS: Limits = Limits {
    connections: 24,
    per_client: 8,
    head_bytes: 16 << 10,
    handshake: Duration::from_mins(1),
    head: Duration::from_mins(1),
    body: Duration::from_mins(1),
    stalled: Duration::from_mins(1),
    progress_bytes: 64 << 10,
};

/// A server whose answer is several times what all buffers hold.
fn server(limits: Limits) -> Server {
    let index = crate::metrics_common::index();
    let template = crate::metrics_common::flow(&index, "10.0.0.2", "10.0.0.3");
    let flows: Vec<Flow> =
        (1..20_000).map(|destination_port| Flow { l4: L4::Udp, destination_port, ..template }).collect();
    let mut aggregator = Aggregator::new(&grammar::parse("port-distribution").unwrap().metrics[0]);
    aggregator.observe(Flows { flows: &flows, extras: &[], index: &index }, 0, &mut 0);
    serve_within(limits, aggregator, |_| std::thread::sleep(Duration::from_millis(1)), Duration::ZERO, None)
}

fn connect(server: &Server) -> TcpStream {
    TcpStream::connect(server.address).unwrap()
}

/// A connection from another address of this machine.
fn connect_from(server: &Server, from: Ipv4Addr) -> TcpStream {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&socket, &SocketAddr::new(IpAddr::V4(from), 0)).unwrap();
    rustix::net::connect(&socket, &server.address).unwrap();
    socket.into()
}

fn dropped(server: &Server, wanted: &str) -> u64 {
    server.connections.dropped().find(|(reason, _)| *reason == wanted).unwrap().1
}

/// A scrape by an address that nothing else comes from.
fn scrape(server: &Server) -> Duration {
    let began = Instant::now();
    let mut stream = connect_from(server, Ipv4Addr::new(127, 9, 9, 9));
    ask(&mut stream, "GET", "/metrics", "Connection: close\r\n").unwrap();
    let answer = read(&mut stream, false).unwrap();
    assert_eq!(answer.status, 200);
    assert!(answer.text().contains("hubble_port_distribution_total"));
    began.elapsed()
}

/// True once the server has ended a connection.
fn has_ended(stream: &mut TcpStream) -> bool {
    let mut byte = [0; 1];
    !matches!(stream.read(&mut byte), Ok(1))
}

/// Of one address a few connections stay, the newest; of many addresses the oldest go. A scraper is
/// served beside both.
#[test]
fn silent_clients() {
    let server = server(LIMITS);
    let mut of_one: Vec<TcpStream> = (0..200).map(|_| connect(&server)).collect();
    until("most are dropped", || dropped(&server, "client_limit") == 192);
    assert_eq!(server.connections.count(), 8);
    assert!(has_ended(&mut of_one[0]));
    println!("a scrape beside 200 silent connections of one address: {:.1?}", scrape(&server));
    let many: Vec<TcpStream> =
        (1..=200).map(|number| connect_from(&server, Ipv4Addr::new(127, 1, 0, number))).collect();
    until("the oldest are dropped", || dropped(&server, "limit") > 100);
    assert!(server.connections.count() <= 24);
    println!("a scrape beside silent connections of 200 addresses: {:.1?}", scrape(&server));
    drop((of_one, many));
    until("nothing is left behind", || server.connections.count() == 0);
}

/// Clients that ask and read nothing, or next to nothing, are dropped; one that reads slowly is
/// not.
#[test]
fn greedy_clients() {
    let server = server(Limits { stalled: Duration::from_secs(2), progress_bytes: 4 << 10, ..LIMITS });
    let asking = |from| {
        let mut stream = connect_from(&server, Ipv4Addr::new(127, 2, 0, from));
        ask(&mut stream, "GET", "/metrics", "").unwrap();
        stream
    };
    let greedy: Vec<TcpStream> = (1..=8).map(asking).collect();
    let mut slow = asking(9);
    println!("a scrape beside 9 that do not read: {:.1?}", scrape(&server));
    assert!(server.road.cuts.load(Relaxed) <= 5, "each holds the series of its moment");
    let mut part = vec![0; 64 << 10];
    let mut read_slowly = 0;
    until("those that read nothing are dropped", || {
        // A window's worth now and then: some 10 KB a second at least, also on a busy machine.
        read_slowly += slow.read(&mut part).unwrap();
        std::thread::sleep(Duration::from_millis(20));
        dropped(&server, "slow_reader") >= 8
    });
    println!("{read_slowly} bytes were read slowly meanwhile");
    for mut stream in greedy {
        let mut rest = Vec::new();
        // What the kernel held of the answer may come before the end, if it does.
        let _end = stream.read_to_end(&mut rest);
        assert!(!rest.ends_with(b"0\r\n\r\n"), "a whole answer was held");
    }
}

/// Pipelined requests wait in the kernel, not in the server.
#[test]
fn unread_pipelines() {
    let server = server(LIMITS);
    let mut stream = connect(&server);
    stream.set_nonblocking(true).unwrap();
    let request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut sent = 0;
    until("the connection takes no more", || {
        std::iter::repeat_with(|| stream.write(request)).take(1000).any(|written| match written {
            Ok(count) => {
                sent += count;
                false
            }
            Err(_) => true,
        })
    });
    println!("{sent} bytes of requests were taken of a client that reads nothing");
    scrape(&server);
    assert!(sent < 16 << 20, "the server holds them");
}

/// A head that comes too slowly ends its connection, be it the first or a later one.
#[test]
fn slow_heads() {
    let server = server(Limits { head: Duration::from_millis(200), ..LIMITS });
    let mut first = connect(&server);
    first.write_all(b"GET /metr").unwrap();
    assert_eq!(read(&mut first, true).unwrap().status, 408);
    let mut later = connect(&server);
    ask(&mut later, "GET", "/metrics", "").unwrap();
    read(&mut later, false).unwrap();
    later.write_all(b"GET /metr").unwrap();
    until("it is dropped", || dropped(&server, "slow_head") == 1);
    assert!(has_ended(&mut later));
}

/// A head has 16 KiB, a body 4; more is refused by the status that says so.
#[test]
fn large_requests() {
    let server = server(LIMITS);
    let mut head = connect(&server);
    // The rest of it may find the connection closed.
    let _sent = ask(&mut head, "GET", "/metrics", &format!("X: {}\r\n", "x".repeat(100_000)));
    assert_eq!(read(&mut head, true).unwrap().status, 431);
    assert_eq!(dropped(&server, "large_head"), 1);
    let mut body = connect(&server);
    ask(&mut body, "POST", "/metrics", "Content-Length: 5000\r\n").unwrap();
    let _sent = body.write_all(&[b'x'; 5000]);
    assert_eq!(read(&mut body, true).unwrap().status, 413);
    let mut fits = connect(&server);
    let headers = format!("X: {}\r\nContent-Length: 4096\r\n", "x".repeat(10_000));
    ask(&mut fits, "POST", "/metrics", &headers).unwrap();
    fits.write_all(&[b'x'; 4096]).unwrap();
    assert_eq!(read(&mut fits, false).unwrap().status, 200);
}

/// What comes at once behind a head, a body or many requests, is answered by its request's answer
/// and by nothing before it.
#[test]
fn all_at_once() {
    let server = server(LIMITS);
    let mut body = connect(&server);
    let head = "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n";
    let _sent = body.write_all(&[head.as_bytes(), &vec![b'x'; 60_000]].concat());
    assert_eq!(read(&mut body, true).unwrap().status, 413);
    let server = self::server(LIMITS);
    let mut many = connect(&server);
    let request = format!("HEAD /metrics HTTP/1.1\r\nHost: {}\r\n\r\n", "x".repeat(1000));
    many.write_all(request.repeat(40).as_bytes()).unwrap();
    let mut answers = std::io::BufReader::new(many);
    for number in 0..40 {
        assert_eq!(read_next(&mut answers, true).unwrap().status, 200, "answer {number}");
    }
    assert_eq!(dropped(&server, "large_head"), 0);
}

/// What comes of a body after it was refused is no head, however much it is: nothing is counted for
/// it, and the connection ends. The same with `Expect`, where the client may send it all the same.
#[test]
fn the_rest_of_a_refused_body() {
    for expect in ["", "Expect: 100-continue\r\n"] {
        let server = server(LIMITS);
        let mut body = connect(&server);
        ask(&mut body, "POST", "/metrics", &format!("{expect}Content-Length: 1000000\r\n")).unwrap();
        body.write_all(&[b'x'; 5000]).unwrap();
        let mut answers = std::io::BufReader::new(body.try_clone().unwrap());
        if !expect.is_empty() {
            assert_eq!(read_next(&mut answers, true).unwrap().status, 100);
        }
        assert_eq!(read_next(&mut answers, false).unwrap().status, 413, "{expect}");
        // The server may close while this is sent.
        let _sent = (0..50).try_for_each(|_| body.write_all(&[b'x'; 10_000]));
        assert!(has_ended(&mut body), "{expect}");
        drop((body, answers));
        until("it is gone", || server.connections.count() == 0);
        let counted: Vec<_> = server.connections.dropped().filter(|(_, count)| *count > 0).collect();
        assert!(counted.is_empty(), "{expect}: {counted:?}");
    }
}

/// Requests behind which anything may come, to the end of the connection, are refused at once, and
/// nothing more is read.
#[test]
fn requests_without_an_end() {
    let server = server(LIMITS);
    let mut tunnel = connect(&server);
    ask(&mut tunnel, "CONNECT", "example.org:443", "").unwrap();
    assert_eq!(read(&mut tunnel, true).unwrap().status, 400);
    let mut upgrade = connect(&server);
    ask(&mut upgrade, "GET", "/metrics", "Connection: upgrade\r\nUpgrade: WebSocket\r\n").unwrap();
    assert_eq!(read(&mut upgrade, true).unwrap().status, 400);
    for mut stream in [tunnel, upgrade] {
        let _sent = stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert!(has_ended(&mut stream));
    }
    until("they are gone", || server.connections.count() == 0);
    assert_eq!(dropped(&server, "slow_body"), 0);
}

/// A body that does not come ends its request.
#[test]
fn slow_bodies() {
    let server = server(Limits { body: Duration::from_millis(200), ..LIMITS });
    let mut stream = connect(&server);
    ask(&mut stream, "POST", "/metrics", "Content-Length: 10\r\n").unwrap();
    stream.write_all(b"x").unwrap();
    assert_eq!(read(&mut stream, true).unwrap().status, 408);
    assert_eq!(dropped(&server, "slow_body"), 1);
}

/// Bytes that are no request are counted and answered with 400.
#[test]
fn no_requests() {
    let server = server(LIMITS);
    let mut stream = connect(&server);
    stream.write_all(b"\x16\x03\x01 this is TLS\r\n\r\n").unwrap();
    assert_eq!(read(&mut stream, true).unwrap().status, 400);
    until("it is counted", || dropped(&server, "invalid") == 1);
}
