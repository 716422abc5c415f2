//! DNS and HTTP that real programs speak, counted out of their packets.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};

use crate::counts::{Expected, exactly};
use crate::harness::{Agent, DEATHSTAR_A, Lab, TIEFIGHTER, XWING};
use crate::scrape::Scrape;

pub(crate) const METRICS: &str = "flow \
    dns:query;sourceContext=pod|reserved-identity;destinationContext=pod|reserved-identity \
    httpV2:sourceContext=pod|reserved-identity;destinationContext=pod|reserved-identity";
pub(crate) const FLOWS: &str = "hubble_flows_processed_total";

/// The ledger adds up to the messages that the programs sent, and requests to those with and
/// without a response.
pub(crate) fn adds_up(scrape: &Scrape) -> Result<(), String> {
    let sum = |name, labels: &[(&str, &str)]| scrape.sum(name, labels);
    for protocol in ["http1", "http2", "dns", "dns_tcp"] {
        let sent = sum("webb_l7_segments_total", &[("protocol", protocol), ("outcome", "sent")]);
        let read = sum("webb_l7_records_total", &[("protocol", protocol)]);
        if sent != read {
            return Err(format!("{protocol}: {sent} segments sent, {read} records read"));
        }
    }
    let emitted = |of| sum("webb_l7_messages_total", &[("type", of), ("outcome", "emitted")]);
    let open = ["requests", "queries"].map(|what| sum("webb_l7_open", &[("type", what)])).iter().sum::<u64>();
    let ends = emitted("response") + sum("webb_l7_unanswered_total", &[]) + open;
    if emitted("request") != ends {
        return Err(format!("{} requests, {ends} with an end or open", emitted("request")));
    }
    let flows = sum("webb_reader_messages_total", &[]);
    let messages = ["request", "response", "end"].map(emitted);
    if flows != messages.iter().sum::<u64>() {
        return Err(format!("{flows} flows of {messages:?} messages"));
    }
    Ok(())
}

/// The counts are these, and the ledger adds up.
pub(crate) fn settled(agent: &mut Agent, expected: &[Expected<'_>]) {
    let counts = exactly(expected);
    agent.settles(|scrape| counts(scrape).and_then(|()| adds_up(scrape)));
}

fn question(id: u16, name: &str) -> Vec<u8> {
    let mut bytes = [&id.to_be_bytes()[..], b"\x01\0\0\x01\0\0\0\0\0\0"].concat();
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len()).unwrap());
        bytes.extend(label.bytes());
    }
    bytes.extend(b"\0\0\x01\0\x01");
    bytes
}

/// The answer to a question: two addresses, or the code.
fn answer(question: &[u8], code: u8) -> Vec<u8> {
    let mut bytes = question.to_vec();
    bytes[2] = 0x81;
    bytes[3] = 0x80 | code;
    if code == 0 {
        bytes[7] = 2;
        for last in [1, 2] {
            bytes.extend(b"\xc0\x0c\0\x01\0\x01\0\0\0\x1e\0\x04\x0a\x01\x02");
            bytes.push(last);
        }
    }
    bytes
}

/// Asks a server in another pod; `code` is none if it is not to answer.
pub(crate) fn ask(client: &UdpSocket, server: &UdpSocket, id: u16, name: &str, code: Option<u8>) {
    let mut bytes = [0; 512];
    client.send(&question(id, name)).unwrap();
    let (length, from) = server.recv_from(&mut bytes).unwrap();
    if let Some(code) = code {
        server.send_to(&answer(&bytes[..length], code), from).unwrap();
        client.recv(&mut bytes).unwrap();
    }
}

/// n questions and n answers are n and n, though both pods are on this node and each packet passes
/// two interfaces; they are the client's, egress, with both pods named.
#[test]
fn dns() {
    let Some(lab) = Lab::up() else { return };
    lab.enforce_nothing();
    let mut agent = Agent::start_at(&lab, "node", METRICS, &[]);
    for (family, pod, address) in [("4", "tiefighter", "10.244.1.11:53"), ("6", "xwing", "[fd00:10:244:1::11]:53")] {
        let server = lab.socket("deathstar-a", address);
        let client = lab.socket(pod, if family == "4" { "0.0.0.0:0" } else { "[::]:0" });
        client.connect(address).unwrap();
        for number in 0..20 {
            ask(&client, &server, number, &format!("web{family}.test"), Some(0));
        }
        for number in 100..105 {
            ask(&client, &server, number, "nobody.test", Some(3));
        }
        for number in 200..203 {
            ask(&client, &server, number, "silent.test", None);
        }
    }
    let (queries, responses) = ("hubble_dns_queries_total", "hubble_dns_responses_total");
    let ends = [("source", TIEFIGHTER), ("destination", DEATHSTAR_A)];
    let back = [("source", DEATHSTAR_A), ("destination", TIEFIGHTER)];
    settled(
        &mut agent,
        &[
            (queries, &[("query", "web4.test."), ("qtypes", "A"), ends[0], ends[1]], 20),
            (queries, &[("query", "web6.test.")], 20),
            (queries, &[("query", "nobody.test.")], 10),
            (queries, &[("query", "silent.test.")], 6),
            (queries, &[], 56),
            (responses, &[("query", "web4.test."), ("rcode", "No Error"), ("ips_returned", "2"), back[0], back[1]], 20),
            (responses, &[("rcode", "Non-Existent Domain"), ("ips_returned", "0")], 10),
            (responses, &[], 50),
            ("hubble_dns_response_types_total", &[("type", "A")], 80),
            (FLOWS, &[("type", "L7"), ("subtype", "DNS"), ("protocol", "DNS"), ("verdict", "FORWARDED")], 106),
            (FLOWS, &[("type", "L7")], 106),
        ],
    );
}

/// Answers of the server, by method and status.
pub(crate) type Log = BTreeMap<(String, u16), u64>;

/// Serves connections one after another, until one has asked for `/end`.
pub(crate) fn serve(listener: &TcpListener) -> Log {
    let mut log = Log::new();
    for connection in listener.incoming() {
        let connection = connection.unwrap();
        let mut input = BufReader::new(connection.try_clone().unwrap());
        while let Some((method, path)) = request(&mut input) {
            let status = [("/missing", 404), ("/moved", 301)].iter().find(|of| of.0 == path).map_or(200, |of| of.1);
            let body = if path == "/big" { vec![b'x'; 65_536] } else { b"landed".to_vec() };
            let mut response = format!("HTTP/1.1 {status} Some\r\nServer: a test\r\n").into_bytes();
            if path == "/chunked" {
                response.extend(b"Transfer-Encoding: chunked\r\n\r\n6\r\nlanded\r\n0\r\n\r\n");
            } else {
                response.extend(format!("Content-Length: {}\r\n\r\n", body.len()).bytes());
                if method != "HEAD" {
                    response.extend(body);
                }
            }
            *log.entry((method, status)).or_default() += 1;
            (&connection).write_all(&response).unwrap();
            if path == "/end" {
                return log;
            }
        }
    }
    log
}

/// Reads a request with its body; returns method and path.
fn request(input: &mut impl BufRead) -> Option<(String, String)> {
    let (mut first, mut length) = (String::new(), 0);
    input.read_line(&mut first).unwrap();
    loop {
        let mut line = String::new();
        if input.read_line(&mut line).unwrap() == 0 {
            return None;
        }
        if line == "\r\n" {
            break;
        }
        if let Some(text) = line.strip_prefix("Content-Length: ") {
            length = text.trim().parse().unwrap();
        }
    }
    input.read_exact(&mut vec![0; length]).unwrap();
    let mut words = first.split(' ').map(str::to_owned);
    Some((words.next()?, words.next()?))
}

pub(crate) fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: deathstar\r\n\r\n")
}

/// Reads until this text has come so many times, the last time at the end.
pub(crate) fn read_until(stream: &mut impl Read, end: &str, times: usize) {
    let (mut seen, mut bytes) = (String::new(), [0; 8192]);
    while !(seen.ends_with(end) && seen.matches(end).count() >= times) {
        let count = stream.read(&mut bytes).unwrap();
        assert!(count > 0, "the connection ended");
        seen.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
    }
}

/// Asks for all that the test counts.
pub(crate) fn browse(lab: &Lab, address: &str) {
    {
        let mut stream = lab.connection("tiefighter", address);
        for path in ["/a", "/missing", "/chunked", "/big", "/b"].iter().cycle().take(25) {
            stream.write_all(get(path).as_bytes()).unwrap();
            let end = match *path {
                "/chunked" => "0\r\n\r\n".to_owned(),
                "/big" => "x".repeat(65_536),
                _ => "landed".to_owned(),
            };
            read_until(&mut stream, &end, 1);
        }
        // Three in one segment.
        stream.write_all(get("/a").repeat(3).as_bytes()).unwrap();
        read_until(&mut stream, "landed", 3);
        stream.write_all(b"HEAD /a HTTP/1.1\r\n\r\n").unwrap();
        read_until(&mut stream, "Content-Length: 6\r\n\r\n", 1);
        // A head in pieces, and a body that looks like a request.
        for piece in ["POST /a HT", "TP/1.1\r\nContent-Length: 18\r\n", "\r\n", "GET /no HTTP/1.1\r\n"] {
            stream.write_all(piece.as_bytes()).unwrap();
        }
        read_until(&mut stream, "landed", 1);
    }
    for _ in 0..10 {
        let mut stream = lab.connection("tiefighter", address);
        stream.write_all(get("/a").as_bytes()).unwrap();
        read_until(&mut stream, "landed", 1);
    }
    let mut last = lab.connection("tiefighter", address);
    last.write_all(get("/end").as_bytes()).unwrap();
    read_until(&mut last, "landed", 1);
}

/// The counts are the server's own: with keep-alive, new connections, pipelining, chunks, a
/// response of many segments, HEAD and POST; each once, though it passes two interfaces.
#[test]
fn http() {
    let Some(lab) = Lab::up() else { return };
    lab.enforce_nothing();
    let mut agent = Agent::start_at(&lab, "node", METRICS, &[]);
    let mut all = Log::new();
    for address in ["10.244.1.11:8080", "[fd00:10:244:1::11]:8080"] {
        let listener = lab.listener("deathstar-a", address);
        let log = std::thread::scope(|scope| {
            let server = scope.spawn(|| serve(&listener));
            browse(&lab, address);
            server.join().unwrap()
        });
        for (key, count) in log {
            *all.entry(key).or_default() += count;
        }
    }
    let requests = "hubble_http_requests_total";
    let total: u64 = all.values().sum();
    let count = |method: &str, status| all.get(&(method.to_owned(), status)).copied().unwrap();
    let ends = [("source", TIEFIGHTER), ("destination", DEATHSTAR_A)];
    let of =
        |method, status| [("method", method), ("status", status), ("protocol", "HTTP/1.1"), ("reporter", "server")];
    settled(
        &mut agent,
        &[
            (requests, &of("GET", "200"), count("GET", 200)),
            (requests, &of("GET", "404"), count("GET", 404)),
            (requests, &of("HEAD", "200"), count("HEAD", 200)),
            (requests, &of("POST", "200"), count("POST", 200)),
            (requests, &ends, total),
            (requests, &[], total),
            ("hubble_http_request_duration_seconds_count", &[], total),
            (FLOWS, &[("type", "L7"), ("subtype", "HTTP"), ("protocol", "HTTP"), ("verdict", "FORWARDED")], 2 * total),
        ],
    );
}

/// Makes `count` requests of one connection to a listener.
fn exchange(lab: &Lab, listener: &TcpListener, to: &str, count: usize) {
    let mut client = lab.connection("tiefighter", to);
    let (mut server, _) = listener.accept().unwrap();
    for _ in 0..count {
        client.write_all(get("/a").as_bytes()).unwrap();
        server.read_exact(&mut vec![0; get("/a").len()]).unwrap();
        server.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
        client.read_exact(&mut [0; 38]).unwrap();
    }
}

/// With both sides a request between two pods of a node counts twice, told apart by `reporter`; a
/// request to the world counts at the client, and once.
#[test]
fn sides() {
    let Some(lab) = Lab::up() else { return };
    lab.enforce_nothing();
    let config = lab.file("webb.yaml", "l7: {http_side: both}\n");
    let mut agent = Agent::start_at(&lab, "node", METRICS, &["--config", config.to_str().unwrap()]);
    let pod = lab.listener("deathstar-a", "10.244.1.11:8080");
    let world = lab.listener("world", "203.0.113.10:8080");
    exchange(&lab, &pod, "10.244.1.11:8080", 7);
    exchange(&lab, &world, "203.0.113.10:8080", 5);
    let requests = "hubble_http_requests_total";
    let both = [
        (requests, &[("reporter", "server"), ("destination", DEATHSTAR_A)][..], 7),
        (requests, &[("reporter", "client"), ("destination", DEATHSTAR_A)], 7),
        (requests, &[("reporter", "client"), ("destination", "reserved:world-ipv4")], 5),
        (requests, &[], 19),
    ];
    settled(&mut agent, &both);
    lab.file("webb.yaml", "l7: {http_side: once}\n");
    agent.signal("HUP");
    settled(&mut agent, &[("webb_config_reloads_total", &[("outcome", "applied")], 1)]);
    exchange(&lab, &pod, "10.244.1.11:8080", 3);
    exchange(&lab, &world, "203.0.113.10:8080", 2);
    settled(
        &mut agent,
        &[
            (requests, &[("reporter", "server"), ("destination", DEATHSTAR_A)], 10),
            (requests, &[("reporter", "client"), ("destination", DEATHSTAR_A)], 7),
            (requests, &[("reporter", "client"), ("destination", "reserved:world-ipv4")], 7),
        ],
    );
}

/// A message that makes the dissector panic costs itself and what was open; the flows of packets go
/// on, and the dissector does.
#[cfg(feature = "fault-injection")]
#[test]
fn a_panic_costs_layer_7_alone() {
    let Some(lab) = Lab::up() else { return };
    lab.enforce_nothing();
    let mut agent = Agent::start_at(&lab, "node", METRICS, &[]);
    let server = lab.socket("deathstar-a", "10.244.1.11:53");
    let client = lab.socket("tiefighter", "0.0.0.0:0");
    client.connect("10.244.1.11:53").unwrap();
    let queries = "hubble_dns_queries_total";
    ask(&client, &server, 1, "open.test", None);
    settled(&mut agent, &[(queries, &[], 1)]);
    agent.post("/faults/inject?point=dissector&times=1&stall_ms=0");
    ask(&client, &server, 2, "lost.test", None);
    agent.wait_until("the dissector is up again", |agent| {
        agent.component("dissector").is_some_and(|now| now["faults"]["panicked"] == 1 && now["state"] == "up")
    });
    for id in 3..8 {
        ask(&client, &server, id, "after.test", Some(0));
    }
    settled(
        &mut agent,
        &[
            (queries, &[("query", "open.test.")], 1),
            (queries, &[("query", "lost.test.")], 0),
            (queries, &[("query", "after.test.")], 5),
            ("webb_l7_records_total", &[("outcome", "panicked")], 1),
            ("webb_l7_unanswered_total", &[("reason", "restart")], 1),
            ("webb_reader_records_total", &[("outcome", "panicked")], 0),
        ],
    );
}

/// A frame of HTTP/2.
pub(crate) fn frame(of: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[of, flags], &stream.to_be_bytes(), payload].concat()
}

pub(crate) const HEADERS: u8 = 1;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const END_HEADERS: u8 = 4;
const RESET: u8 = 3;
const END: u8 = END_HEADERS | 1;

/// A connection from `tiefighter` to an address of `deathstar-a`: both its ends.
pub(crate) fn connected(lab: &Lab, address: &str) -> (TcpStream, TcpStream) {
    let listener = lab.listener("deathstar-a", address);
    let client = lab.connection("tiefighter", address);
    (client, listener.accept().unwrap().0)
}

/// HTTP/2 by prior knowledge: ten streams in one segment, answered in another order, with bodies
/// between the heads.
#[test]
fn http2() {
    let Some(lab) = Lab::up() else { return };
    lab.enforce_nothing();
    let mut agent = Agent::start_at(&lab, "node", METRICS, &[]);
    let (mut client, mut server) = connected(&lab, "10.244.1.11:8080");
    let mut asked = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    asked.extend(frame(SETTINGS, 0, 0, b""));
    for stream in (1..20).step_by(2) {
        // GET or POST of `/`, by entries of the static table.
        let block: &[u8] = if stream < 10 { b"\x82\x86\x84" } else { b"\x83\x86\x84" };
        asked.extend(frame(HEADERS, END_HEADERS, stream, block));
        asked.extend(frame(0, 1, stream, &[b'x'; 300]));
    }
    client.write_all(&asked).unwrap();
    server.read_exact(&mut vec![0; asked.len()]).unwrap();
    let mut answer = frame(SETTINGS, 0, 0, b"");
    for stream in (1..20).step_by(2).rev() {
        // 200 or 404.
        answer.extend(frame(HEADERS, END_HEADERS, stream, if stream == 3 { b"\x8d" } else { b"\x88" }));
        answer.extend(frame(0, 1, stream, &[b'y'; 9000]));
    }
    server.write_all(&answer).unwrap();
    client.read_exact(&mut vec![0; answer.len()]).unwrap();
    let requests = "hubble_http_requests_total";
    let of = |method, status| [("method", method), ("status", status), ("protocol", "HTTP/2"), ("reporter", "server")];
    settled(
        &mut agent,
        &[
            (requests, &of("GET", "200"), 4),
            (requests, &of("GET", "404"), 1),
            (requests, &of("POST", "200"), 5),
            (requests, &[("source", TIEFIGHTER), ("destination", DEATHSTAR_A)], 10),
            (requests, &[], 10),
        ],
    );
}

/// An answer that gives one address.
fn address_answer(question: &[u8], address: [u8; 4]) -> Vec<u8> {
    let mut bytes = answer(question, 0);
    bytes[7] = 1;
    bytes.truncate(question.len());
    bytes.extend(b"\xc0\x0c\0\x01\0\x01\0\0\0\x1e\0\x04");
    bytes.extend(address);
    bytes
}

/// A pod asks, the answer names an address outside, and the connection that it opens at once is
/// counted under the name. Another pod's connection to the same address is not, and an answer that
/// was not asked for gives no name. The answer's time is observed, and a question without an answer
/// is counted when its time is over.
#[test]
fn names_from_dns() {
    let Some(lab) = Lab::up() else { return };
    lab.enforce_nothing();
    let metrics = "tcp:sourceContext=pod;destinationContext=dns dnsLatency:sourceContext=pod;destinationContext=pod";
    let mut agent = Agent::start_at(&lab, "node", metrics, &[]);
    let server = lab.socket("deathstar-a", "10.244.1.11:53");
    let client = lab.socket("tiefighter", "0.0.0.0:0");
    client.connect("10.244.1.11:53").unwrap();
    let world = lab.listener("world", "203.0.113.10:8080");
    let mut bytes = [0; 512];
    client.send(&question(1, "outside.test")).unwrap();
    let (length, from) = server.recv_from(&mut bytes).unwrap();
    let asked = bytes[..length].to_vec();
    // Of another name, and with another id.
    for poison in [question(1, "bank.test"), question(2, "outside.test")] {
        server.send_to(&address_answer(&poison, [203, 0, 113, 10]), from).unwrap();
        client.recv(&mut bytes).unwrap();
    }
    server.send_to(&address_answer(&asked, [203, 0, 113, 10]), from).unwrap();
    client.recv(&mut bytes).unwrap();
    for pod in ["tiefighter", "xwing"] {
        drop(lab.connection(pod, "203.0.113.10:8080"));
        world.accept().unwrap();
    }
    ask(&client, &server, 3, "silent.test", None);
    let syn = |source, destination| [("flag", "SYN"), ("source", source), ("destination", destination)];
    let flags = "hubble_tcp_flags_total";
    let ends = [("source", TIEFIGHTER), ("destination", DEATHSTAR_A)];
    settled(
        &mut agent,
        &[
            (flags, &syn(TIEFIGHTER, "outside.test"), 1),
            (flags, &syn(TIEFIGHTER, ""), 0),
            (flags, &syn(XWING, ""), 1),
            (flags, &[("destination", "bank.test")], 0),
            ("webb_l7_open", &[("type", "names")], 1),
            ("webb_l7_names_late_flows_total", &[], 0),
            ("webb_l7_records_total", &[("outcome", "unasked")], 2),
            ("webb_dns_response_seconds_count", &[("rcode", "No Error"), ends[0], ends[1]], 1),
            ("webb_dns_unanswered_total", &ends, 1),
        ],
    );
}

/// A literal field of a header block, with a name of the static table or one of its own.
fn field(name: Result<u8, &str>, value: &str) -> Vec<u8> {
    let length = |text: &str| u8::try_from(text.len()).unwrap();
    let mut bytes = match name {
        Ok(index @ 0..15) => vec![index],
        Ok(index) => vec![15, index - 15],
        Err(text) => [&[0, length(text)], text.as_bytes()].concat(),
    };
    bytes.push(length(value));
    bytes.extend(value.bytes());
    bytes
}

/// Calls by the status of their trailers, of a response that is trailers only, of a reset, of an
/// HTTP status, and with none.
#[test]
fn grpc() {
    let Some(lab) = Lab::up() else { return };
    lab.enforce_nothing();
    let metrics = "grpc:method;sourceContext=pod;destinationContext=pod httpV2:responses=true";
    let mut agent = Agent::start_at(&lab, "node", metrics, &[]);
    let (mut client, mut server) = connected(&lab, "10.244.1.11:50051");
    let (content_type, path, status) = (Ok(31), Ok(4), Err("grpc-status"));
    let mut asked = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    asked.extend(frame(SETTINGS, 0, 0, b""));
    for stream in (1..=13).step_by(2) {
        let kind = if stream == 13 { "text/plain" } else { "application/grpc+proto" };
        let block = [b"\x83\x86".to_vec(), field(path, "/empire.Fleet/Land"), field(content_type, kind)].concat();
        asked.extend(frame(HEADERS, END_HEADERS, stream, &block));
    }
    client.write_all(&asked).unwrap();
    server.read_exact(&mut vec![0; asked.len()]).unwrap();
    let mut answer = frame(SETTINGS, 0, 0, b"");
    for (stream, trailers) in [(1, field(status, "0")), (3, field(status, "99")), (5, field(Err("x"), "y"))] {
        answer.extend(frame(HEADERS, END_HEADERS, stream, b"\x88"));
        answer.extend(frame(0, 0, stream, &[b'y'; 300]));
        answer.extend(frame(HEADERS, END, stream, &trailers));
    }
    answer.extend(frame(HEADERS, END, 7, &[b"\x88".to_vec(), field(status, "5")].concat()));
    answer.extend(frame(HEADERS, END, 9, &field(Ok(8), "503")));
    answer.extend(frame(RESET, 0, 11, &8_u32.to_be_bytes()));
    answer.extend(frame(HEADERS, END, 13, b"\x88"));
    server.write_all(&answer).unwrap();
    client.read_exact(&mut vec![0; answer.len()]).unwrap();
    let calls = "webb_grpc_requests_total";
    let of = |status| [("grpc_status", status), ("method", "/empire.Fleet/Land"), ("reporter", "server")];
    let ends = [("source", TIEFIGHTER), ("destination", DEATHSTAR_A)];
    settled(
        &mut agent,
        &[
            (calls, &of("0"), 1),
            (calls, &of("other"), 1),
            (calls, &of("unknown"), 1),
            (calls, &of("5"), 1),
            (calls, &of("14"), 1),
            (calls, &of("1"), 1),
            (calls, &ends, 6),
            (calls, &[], 6),
            ("webb_grpc_request_seconds_count", &ends, 6),
            // The reset call has no response.
            ("hubble_http_requests_total", &[], 6),
            ("hubble_http_responses_total", &[("status", "200")], 5),
            ("hubble_http_responses_total", &[("status", "503")], 1),
        ],
    );
}
