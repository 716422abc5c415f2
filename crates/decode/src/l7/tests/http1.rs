//! HTTP/1, each case as the kernel would send it.

use super::*;

mod heads;

const SERVER: (&str, u16) = ("10.244.1.11", 80);
const H1: MessageProtocol = MessageProtocol::Http1;
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: s\r\n\r\n")
}

/// A connection as its two streams; each acknowledges what the other has sent.
struct Talk {
    bench: Bench,
    sent: [u32; 2],
}

impl Talk {
    fn new() -> Self {
        Self { bench: Bench::new(message_kind::HTTP1, SERVER), sent: [1000, 9000] }
    }

    fn record(&self, from_client: bool, sequence: u32) -> Message {
        let acknowledgement = self.sent[usize::from(from_client)];
        Message { sequence, begin: sequence, acknowledgement, ..self.bench.record(from_client) }
    }

    /// A segment of which the first bytes are captured.
    fn segment(&mut self, from_client: bool, bytes: &str, captured: usize, flags: u8) {
        let payload = u32::try_from(bytes.len()).unwrap();
        let sequence = self.sent[usize::from(!from_client)];
        let flags = flags | if captured < bytes.len() { 2 } else { 0 };
        let record = Message { payload, flags, ..self.record(from_client, sequence) };
        self.bench.read(record, &bytes.as_bytes()[..captured]);
        self.sent[usize::from(!from_client)] = sequence.wrapping_add(payload);
    }

    fn client(&mut self, bytes: &str) {
        self.segment(true, bytes, bytes.len().min(2048), 0);
    }

    fn server(&mut self, bytes: &str) {
        self.segment(false, bytes, bytes.len().min(1024), 0);
    }

    /// Bytes that the kernel does not send.
    fn unseen(&mut self, from_client: bool, bytes: usize) {
        let sent = &mut self.sent[usize::from(!from_client)];
        *sent = sent.wrapping_add(u32::try_from(bytes).unwrap());
    }

    /// An exchange of one request and one response.
    fn exchange(&mut self, request: &str, response: &str) {
        self.client(request);
        self.bench.later(1);
        self.server(response);
    }

    /// Responses so far, as method and status.
    fn responses(&mut self) -> Vec<String> {
        let lines = self.bench.lines();
        let responses = lines.iter().filter_map(|line| line.strip_prefix("< "));
        responses.map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect()
    }

    fn count(&self, outcome: RecordOutcome) -> u64 {
        self.bench.outcome(H1, outcome)
    }

    fn unanswered(&self, reason: Unanswered) -> u64 {
        self.bench.dissector.ledger().unanswered_for(H1, reason)
    }

    fn doubts(&self, reason: Doubt) -> u64 {
        self.bench.dissector.ledger().doubts(reason)
    }

    fn open(&self) -> u64 {
        self.bench.dissector.gauges().requests
    }
}

/// Cases 1 to 3: an exchange, its latency, many of them in turn.
#[test]
fn exchanges_in_turn() {
    let mut talk = Talk::new();
    for _ in 0..20 {
        talk.client(&get("/"));
        talk.bench.later(12);
        talk.server(OK);
    }
    assert_eq!(talk.bench.lines(), [["> GET HTTP/1.1", "< GET 200 HTTP/1.1 12ms"]; 20].concat());
    assert_eq!(talk.open(), 0);
}

/// Requests that were sent before the response to an earlier one had come, and a later one that
/// acknowledges that: it says nothing of theirs.
#[test]
fn requests_that_cross_a_response() {
    let mut talk = Talk::new();
    talk.exchange(&get("/0"), OK);
    let before = talk.sent[1];
    talk.client(&get("/1"));
    talk.server(OK);
    for path in ["/2", "/3"] {
        let sequence = talk.sent[0];
        let record = Message { acknowledgement: before, ..talk.record(true, sequence) };
        talk.bench.read(record, get(path).as_bytes());
        talk.sent[0] += u32::try_from(get(path).len()).unwrap();
    }
    talk.client(&get("/4"));
    (0..3).for_each(|_| talk.server(OK));
    assert_eq!(talk.responses(), ["GET 200"; 5]);
    assert_eq!((talk.doubts(Doubt::Acknowledged), talk.unanswered(Unanswered::Doubt)), (0, 0));
}

/// A body that looks like a head comes before its own head, which was held back on its way: at the
/// connection's beginning, and when the response before it was missed. It is no response.
#[test]
fn a_body_overtakes_its_head() {
    let fake = "HTTP/1.1 500 no head\r\n\r\n1234";
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 28\r\n\r\n";
    let mut talk = Talk::new();
    for _ in 0..3 {
        talk.client(&get("/"));
        let begin = talk.sent[1];
        let behind = begin + u32::try_from(head.len()).unwrap();
        for (sequence, bytes) in [(behind, fake), (begin, head)] {
            let record = Message { begin, ..talk.record(false, sequence) };
            talk.bench.read(record, bytes.as_bytes());
        }
        talk.unseen(false, head.len() + fake.len());
    }
    assert_eq!(talk.responses(), [""; 0]);
    assert_eq!(talk.unanswered(Unanswered::Doubt), 3);
    talk.exchange(&get("/"), OK);
    assert_eq!(talk.responses(), ["GET 200"]);
}

/// Cases 4 and 5: pipelined; no body where the method or the status forbids one.
#[test]
fn pipelined() {
    let mut talk = Talk::new();
    talk.client(&format!("{}{}", get("/a"), get("/b")));
    talk.bench.later(5);
    talk.server(&OK.repeat(2));
    assert_eq!(talk.bench.lines()[2..], ["< GET 200 HTTP/1.1 5ms"; 2]);
    let line = |method| format!("{method} / HTTP/1.1\r\n\r\n");
    talk.client(&["GET", "HEAD", "GET", "GET", "DELETE"].map(line).concat());
    let answers = [
        "200 OK\r\nContent-Length: 0",
        "200 OK\r\nContent-Length: 9",
        "304 x\r\nContent-Length: 777",
        "204 x",
        "200 OK\r\nContent-Length: 1",
    ];
    talk.server(&(answers.map(|answer| format!("HTTP/1.1 {answer}\r\n\r\n")).concat() + "x"));
    assert_eq!(talk.responses(), ["GET 200", "HEAD 200", "GET 304", "GET 204", "DELETE 200"]);
}

/// Case 6: HEAD's Content-Length skips nothing.
#[test]
fn head_has_no_body() {
    let mut talk = Talk::new();
    talk.exchange("HEAD / HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 123456\r\n\r\n");
    talk.exchange(&get("/"), OK);
    assert_eq!(talk.responses(), ["HEAD 200", "GET 200"]);
}

/// Cases 7 to 9: chunks within a segment and over several; one that looks like a response.
#[test]
fn chunks() {
    let mut talk = Talk::new();
    talk.client(&get("/").repeat(2));
    talk.server(&format!("{CHUNKED}2\r\nhi\r\n0\r\n\r\n").repeat(2));
    assert_eq!(talk.responses(), ["GET 200"; 2]);
    talk.exchange(&get("/"), &format!("{CHUNKED}fff\r\n"));
    talk.unseen(false, 5 * 1448);
    talk.exchange(&get("/"), &format!("{CHUNKED}fff\r\n"));
    talk.server("HTTP/1.1 500 X\r\n\r\n");
    talk.unseen(false, 1448);
    talk.exchange(&get("/"), OK);
    assert_eq!(talk.responses(), ["GET 200"; 3]);
    assert_eq!(talk.count(RecordOutcome::Orphan), 1);
}

/// Cases 10 to 12: bodies that look like heads.
#[test]
fn bodies_like_heads() {
    let mut talk = Talk::new();
    talk.client(&get("/"));
    talk.server("HTTP/1.1 200 OK\r\nContent-Length: 60\r\n\r\n");
    talk.server(&format!("{:<60}", "HTTP/1.1 500 X\r\n\r\n"));
    assert_eq!((talk.responses().len(), talk.count(RecordOutcome::Past)), (1, 1));
    talk.client("POST / HTTP/1.1\r\nContent-Length: 27\r\n\r\n");
    talk.client("GET /no HTTP/1.1\r\nHost: s\r\n\r\n"[..27].as_ref());
    talk.server(OK);
    talk.client("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n40\r\n");
    talk.client("GET /no HTTP/1.1\r\n\r\n");
    talk.server(OK);
    talk.exchange(&get("/"), OK);
    assert_eq!(talk.responses(), ["POST 200", "POST 200", "GET 200"]);
    assert_eq!((talk.count(RecordOutcome::Past), talk.count(RecordOutcome::Body)), (2, 1));
}

/// Cases 13 to 16: what is not final answers nothing.
#[test]
fn informational() {
    const PUT: &str = "PUT / HTTP/1.1\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
    const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";
    let mut talk = Talk::new();
    talk.client(PUT);
    talk.server(CONTINUE);
    talk.unseen(true, 5);
    talk.server(OK);
    talk.client(PUT);
    talk.unseen(true, 5);
    talk.server(&format!("{CONTINUE}{OK}"));
    talk.client(&get("/"));
    talk.server("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n");
    talk.server(OK);
    talk.exchange(PUT, "HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n");
    talk.exchange(&get("/"), OK);
    assert_eq!(talk.responses(), ["PUT 200", "PUT 200", "GET 200", "PUT 417", "GET 200"]);
    let ledger = talk.bench.dissector.ledger();
    assert_eq!(ledger.messages(H1, MessageType::Informational, MessageOutcome::Unmatched), 3);
}

/// Cases 17 and 18: what follows a change of protocol is not read.
#[test]
fn other_protocols() {
    for (request, response, wanted) in [
        ("GET / HTTP/1.1\r\nUpgrade: x\r\n\r\n", "HTTP/1.1 101 Switching\r\n\r\n", "GET 101"),
        ("CONNECT h:443 HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n", "CONNECT 200"),
    ] {
        let mut talk = Talk::new();
        talk.exchange(request, response);
        talk.exchange(&get("/in"), OK);
        assert_eq!(talk.responses(), [wanted]);
        assert_eq!(talk.count(RecordOutcome::Opaque), 2);
    }
}

/// Cases 19 and 20: HTTP/1.0, and a body until the end of the connection.
#[test]
fn old_versions() {
    let mut talk = Talk::new();
    talk.exchange(&get("/"), "HTTP/1.0 200 OK\r\n\r\n");
    talk.server("HTTP/1.1 200 OK\r\n\r\n");
    assert_eq!(talk.bench.lines(), ["> GET HTTP/1.1", "< GET 200 HTTP/1.1 1ms"]);
    let mut talk = Talk::new();
    talk.exchange("GET / HTTP/1.0\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n");
    talk.server("HTTP/1.1 200 OK\r\n\r\n");
    assert_eq!(talk.bench.lines(), ["> GET HTTP/1", "< GET 200 HTTP/1 1ms"]);
}

/// Cases 21 and 22: repeats, of another length too; also behind the connection's end.
#[test]
fn repeats() {
    let mut talk = Talk::new();
    talk.client(&get("/"));
    let again = talk.record(true, 1000);
    talk.bench.read(again, get("/").as_bytes());
    talk.server(OK);
    let again = talk.record(false, 9000);
    talk.bench.read(Message { payload: 41 + 1448, ..again }, OK.as_bytes());
    assert_eq!(talk.bench.lines().len(), 2);
    let mut talk = Talk::new();
    talk.exchange(&get("/"), "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
    let again = talk.record(true, 1000);
    talk.bench.read(again, get("/").as_bytes());
    assert_eq!((talk.bench.lines().len(), talk.count(RecordOutcome::Past)), (2, 1));
    talk.sent[0] = 1_000_000_000;
    talk.exchange(&get("/"), OK);
    assert_eq!(talk.bench.lines().len(), 2, "another connection of the same ports");
}

/// Case 23: a request that was overtaken is answered first.
#[test]
fn overtaken() {
    let mut talk = Talk::new();
    let record = |talk: &Talk, sequence| Message { begin: 1000, ..talk.record(true, sequence) };
    let (a, b) = ("HEAD /a HTTP/1.1\r\n\r\n", "GET /b HTTP/1.1\r\n\r\n");
    let second = record(&talk, 1000 + u32::try_from(a.len()).unwrap());
    talk.bench.read(second, b.as_bytes());
    let first = record(&talk, 1000);
    talk.bench.read(first, a.as_bytes());
    talk.unseen(true, a.len() + b.len());
    talk.server(&format!("HTTP/1.1 404 x\r\n\r\n{OK}"));
    assert_eq!(talk.responses(), ["HEAD 404", "GET 200"]);
}

/// Cases 30, 31 and 92: an empty line first, other methods, a body's tail of capitals.
#[test]
fn odd_beginnings() {
    let mut talk = Talk::new();
    talk.exchange(&format!("\r\n{}", get("/")), OK);
    talk.exchange("PROPFIND / HTTP/1.1\r\n\r\n", "HTTP/1.1 207 x\r\nContent-Length: 0\r\n\r\n");
    talk.exchange("MKCOL / HTTP/1.1\r\n\r\n", "HTTP/1.1 201 x\r\nContent-Length: 0\r\n\r\n");
    talk.client("POST / HTTP/1.1\r\nContent-Length: 1002\r\n\r\n");
    talk.unseen(true, 1000);
    talk.client("OK");
    talk.server(OK);
    talk.exchange(&get("/"), OK);
    assert_eq!(talk.responses(), ["GET 200", "PROPFIND 207", "MKCOL 201", "POST 200", "GET 200"]);
}

/// Cases 32 and 33: a request without an answer, an answer without a request.
#[test]
fn halves() {
    let mut talk = Talk::new();
    talk.client(&get("/"));
    talk.bench.later(299_999);
    assert_eq!(talk.open(), 1);
    talk.bench.later(1);
    assert_eq!((talk.open(), talk.unanswered(Unanswered::Timeout)), (0, 1));
    let mut talk = Talk::new();
    talk.server(OK);
    assert_eq!((talk.responses().len(), talk.count(RecordOutcome::Orphan)), (0, 1));
}

/// Cases 34 to 36: what was lost is named, and nothing is answered by what belongs to another.
#[test]
fn losses() {
    let mut talk = Talk::new();
    talk.exchange("HEAD / HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n");
    talk.client("DELETE / HTTP/1.1\r\n\r\n");
    talk.unseen(false, 300);
    talk.exchange(&get("/"), OK);
    assert_eq!(talk.responses(), ["HEAD 200", "GET 200"]);
    assert_eq!((talk.doubts(Doubt::Acknowledged), talk.unanswered(Unanswered::Doubt)), (1, 1));

    let mut talk = Talk::new();
    talk.unseen(true, 30);
    talk.server(OK);
    talk.exchange(&get("/"), OK);
    assert_eq!((talk.responses().len(), talk.count(RecordOutcome::Orphan)), (1, 1));

    let mut talk = Talk::new();
    talk.exchange(&get("/"), OK);
    talk.client(&get("/").repeat(2));
    talk.unseen(false, 500);
    talk.server(OK);
    assert_eq!((talk.responses().len(), talk.count(RecordOutcome::Unmatched), talk.doubts(Doubt::Gap)), (1, 1, 1));
    talk.exchange(&get("/"), OK);
    assert_eq!(talk.responses(), ["GET 200"], "the next turn heals it");
}

/// A request that was lost could only be answered first.
#[test]
fn lost_request_of_several() {
    let mut talk = Talk::new();
    talk.exchange(&get("/"), OK);
    talk.unseen(true, 40);
    talk.client("DELETE / HTTP/1.1\r\n\r\n");
    talk.server(OK);
    talk.server("HTTP/1.1 201 x\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(talk.responses(), ["GET 200"]);
    assert_eq!(talk.doubts(Doubt::Hole), 1);
}

/// Case 37: heads behind what is captured make nothing wrong.
#[test]
fn beyond() {
    let mut talk = Talk::new();
    let many = get("/").repeat(100);
    talk.client(&many);
    assert_eq!(talk.doubts(Doubt::Beyond) + talk.bench.dissector.ledger().cuts(Cut::Head), 1);
    let requests = talk.bench.lines().len();
    assert!((70..100).contains(&requests), "{requests}");
    talk.exchange(&get("/"), OK);
    talk.exchange("DELETE / HTTP/1.1\r\n\r\n", OK);
    assert!(!talk.responses().contains(&"DELETE 404".to_owned()));
}

/// Case 38: ports that are used again.
#[test]
fn ports_used_again() {
    let mut talk = Talk::new();
    talk.client(&get("/"));
    talk.sent = [77, 88];
    let record = Message { flags: 4, ..talk.record(true, 77) };
    talk.bench.read(record, get("/").as_bytes());
    talk.unseen(true, get("/").len());
    talk.server(OK);
    assert_eq!((talk.unanswered(Unanswered::Closed), talk.responses().len()), (1, 1));
}

/// Case 39: sequence numbers wrap.
#[test]
fn sequence_wraps() {
    let mut talk = Talk::new();
    talk.sent = [u32::MAX - 10, u32::MAX - 20];
    talk.exchange(&get("/"), OK);
    talk.exchange(&get("/"), OK);
    assert_eq!(talk.responses().len(), 2);
}

/// Case 91: a repeat comes while a head waits for its rest.
#[test]
fn repeat_while_a_head_waits() {
    let mut talk = Talk::new();
    talk.exchange(&get("/"), OK);
    talk.client("OPTIONS / HT");
    let again = talk.record(true, 1000);
    talk.bench.read(again, get("/").as_bytes());
    talk.segment(true, "TP/1.1\r\n\r\n", 10, 1);
    talk.server(OK);
    assert_eq!(talk.responses(), ["GET 200", "OPTIONS 200"]);
}

/// Case 88: tables are bounded, and what makes room is counted.
#[test]
fn tables_are_bounded() {
    let limits = Limits { connections: 100, requests: 50, partial_heads: 2, ..Limits::default() };
    let mut bench = Bench::with(message_kind::HTTP1, SERVER, limits, Wants::default());
    for port in 0..1000 {
        bench.client_port = port;
        let record = bench.record(true);
        bench.read(record, if port % 5 == 0 { b"GET /part" } else { b"GET / HTTP/1.1\r\n\r\n" });
    }
    let gauges = bench.dissector.gauges();
    assert_eq!((gauges.connections, gauges.requests), (100, 50));
    assert!(gauges.partial_heads <= 2 && bench.dissector.ledger().cuts(Cut::Buffers) > 0);
    assert_eq!(bench.dissector.ledger().unanswered_for(H1, Unanswered::Limit), 930);
    let mut bench = Bench::new(message_kind::HTTP1, SERVER);
    let record = bench.record(true);
    for number in 0..300 {
        let sequence = number * 18;
        bench.read(Message { sequence, begin: sequence, ..record }, b"GET / HTTP/1.1\r\n\r\n");
    }
    assert_eq!(bench.dissector.gauges().requests, 256);
    assert_eq!(bench.dissector.ledger().unanswered_for(H1, Unanswered::Limit), 44);
    bench.dissector.restart();
    bench.balance();
    assert_eq!(bench.dissector.gauges(), Gauges::default());
}

/// Case 81: URL, headers and trace id are there when they are wanted, and redacted.
#[test]
fn texts() {
    let request = "GET /a?q HTTP/1.1\r\nhost: u:p@web\r\nx-request-id: 7\r\n\
        traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n\r\n";
    let wants = Wants { url: true, headers: true, trace: true, ..Wants::default() };
    let on = Redact { enabled: true, url_query: true, ..Redact::default() };
    for (wants, redact, wanted) in [
        (Wants::default(), Redact::default(), ["", ""]),
        (
            wants,
            Redact::default(),
            [
                " http://u:HUBBLE_REDACTED@web/a?q Host=u:p@web Traceparent=00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01 X-Request-Id=7 4bf92f3577b34da6a3ce929d0e0e4736",
                " http://u:HUBBLE_REDACTED@web/a?q Content-Length=0 Server=x X-Request-Id=7 4bf92f3577b34da6a3ce929d0e0e4736",
            ],
        ),
        (Wants { headers: false, trace: false, ..wants }, on, [" http://u:HUBBLE_REDACTED@web/a"; 2]),
    ] {
        let mut talk = Talk::new();
        talk.bench.dissector.configure(Limits::default(), wants, redact);
        talk.exchange(request, "HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 0\r\n\r\n");
        let [first, second] = wanted;
        let lines = [format!("> GET HTTP/1.1{first}"), format!("< GET 200 HTTP/1.1 1ms{second}")];
        assert_eq!(talk.bench.lines(), lines);
    }
}

/// A message that this side does not emit is counted by its first line.
#[test]
fn other_sides_are_counted_apart() {
    let mut talk = Talk::new();
    talk.bench.kept.judgement = Judgement::OtherSide;
    talk.exchange(&get("/"), OK);
    assert_eq!((talk.bench.lines().len(), talk.count(RecordOutcome::OtherSide)), (0, 2));
    let ledger = talk.bench.dissector.ledger();
    assert_eq!(ledger.messages(H1, MessageType::Request, MessageOutcome::OtherSide), 1);
    assert_eq!(ledger.messages(H1, MessageType::Response, MessageOutcome::OtherSide), 1);
}
