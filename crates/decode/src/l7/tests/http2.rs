//! HTTP/2 and gRPC, each case as the kernel would send it.

mod closes;

use fluke_hpack::Encoder;

use super::*;

const SERVER: (&str, u16) = ("10.244.1.11", 50_051);
const H2: MessageProtocol = MessageProtocol::Http2;
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const END_HEADERS: u8 = 4;
const END_STREAM: u8 = 1;
type Fields<'a> = &'a [(&'a str, &'a str)];

const CALL: Fields<'_> = &[
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/fleet.Death/Star?token=secret#x"),
    (":authority", "s"),
    ("content-type", "application/grpc"),
];
const GET: Fields<'_> = &[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "s")];
const OK: Fields<'_> = &[(":status", "200"), ("content-type", "application/grpc")];

fn frame(of: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[of, flags], &stream.to_be_bytes(), payload].concat()
}

struct Talk {
    bench: Bench,
    encoders: [Encoder<'static>; 2],
    sent: [u32; 2],
}

impl Talk {
    /// A connection from its beginning, or one that is joined later.
    fn new(late: bool) -> Self {
        let wants = Wants { grpc: true, grpc_path: true, ..Wants::default() };
        let bench = Bench::with(message_kind::HTTP2, SERVER, Limits::default(), wants);
        let mut talk = Self { bench, encoders: [Encoder::new(), Encoder::new()], sent: [1000, 9000] };
        if !late {
            talk.send(true, PREFACE, 4);
        }
        talk
    }

    fn send(&mut self, from_client: bool, bytes: &[u8], flags: u8) {
        let sequence = self.sent[usize::from(!from_client)];
        let record = Message { sequence, begin: sequence, flags, ..self.bench.record(from_client) };
        self.bench.read(record, bytes);
        self.sent[usize::from(!from_client)] += u32::try_from(bytes.len()).unwrap();
    }

    fn block(&mut self, from_client: bool, fields: Fields<'_>) -> Vec<u8> {
        let fields = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        self.encoders[usize::from(!from_client)].encode(fields)
    }

    fn headers(&mut self, from_client: bool, stream: u32, flags: u8, fields: Fields<'_>) {
        let block = self.block(from_client, fields);
        self.send(from_client, &frame(1, flags | END_HEADERS, stream, &block), 0);
        // Data that the kernel does not send.
        self.sent[usize::from(!from_client)] += 100;
    }

    fn reset(&mut self, from_client: bool, stream: u32, code: u32) {
        self.send(from_client, &frame(3, 0, stream, &code.to_be_bytes()), 0);
    }

    fn unanswered(&self, reason: Unanswered) -> u64 {
        self.bench.dissector.ledger().unanswered_for(H2, reason)
    }
}

/// Case 72: a call with its trailers.
#[test]
fn grpc_call() {
    let mut talk = Talk::new(false);
    talk.headers(true, 1, 0, CALL);
    talk.bench.later(5);
    talk.headers(false, 1, 0, OK);
    talk.bench.later(7);
    talk.headers(false, 1, END_STREAM, &[("grpc-status", "5"), ("grpc-message", "x")]);
    let wanted = ["> POST HTTP/2", "< POST 200 HTTP/2 5ms", "< grpc Number(5) /fleet.Death/Star 12ms"];
    assert_eq!(talk.bench.lines(), wanted);
    let ledger = talk.bench.dissector.ledger();
    assert_eq!(ledger.messages(H2, MessageType::Trailers, MessageOutcome::Unmatched), 1);
    assert_eq!(talk.bench.dissector.gauges().requests, 0);
}

/// A `:path` that is a whole URL has its password in neither the URL nor the name of the method.
#[test]
fn a_path_that_is_a_url_shows_no_password() {
    let mut talk = Talk::new(false);
    let wants = Wants { grpc: true, grpc_path: true, url: true, ..Wants::default() };
    talk.bench.dissector.configure(Limits::default(), wants, Redact::default());
    let paths = ["http://u:PASSW@h/s.S/Good", "HTTP://u:PASSW@h/s.S/Good?q", "//u:PASSW@h/s.S/Good"];
    for (stream, path) in [1, 3, 5].into_iter().zip(paths) {
        talk.headers(true, stream, 0, &[(":method", "POST"), (":path", path), ("content-type", "application/grpc")]);
        talk.headers(false, stream, END_STREAM, &[(":status", "200"), ("grpc-status", "0")]);
    }
    let lines = talk.bench.lines();
    assert_eq!(lines.iter().filter(|line| line.contains(" http://u:HUBBLE_REDACTED@h/s.S/Good")).count(), 6);
    assert_eq!(lines.iter().filter(|line| line.contains(" grpc Number(0) /s.S/Good ")).count(), 3);
    assert!(!lines.iter().any(|line| line.contains("PASSW")), "{lines:#?}");
}

/// Ends of a call without trailers: a trailers-only response, an HTTP status, a reset, a plain end.
#[test]
fn grpc_ends() {
    type End = fn(&mut Talk);
    let ends: [(End, &str); 7] = [
        (|talk| talk.headers(false, 1, END_STREAM, &[(":status", "200"), ("grpc-status", "0")]), "Number(0)"),
        (|talk| talk.headers(false, 1, END_STREAM, &[(":status", "200"), ("grpc-status", "77")]), "Other"),
        (|talk| talk.headers(false, 1, 0, &[(":status", "503")]), "Number(14)"),
        (|talk| talk.headers(false, 1, END_STREAM, OK), "Unknown"),
        (|talk| talk.reset(true, 1, 8), "Number(1)"),
        (|talk| talk.reset(false, 1, 7), "Number(14)"),
        (
            |talk| {
                talk.headers(false, 1, 0, OK);
                talk.reset(false, 1, 11);
            },
            "Number(8)",
        ),
    ];
    for (end, wanted) in ends {
        let mut talk = Talk::new(false);
        talk.headers(true, 1, 0, CALL);
        end(&mut talk);
        assert_eq!(talk.bench.lines().pop().unwrap(), format!("< grpc {wanted} /fleet.Death/Star 0ms"));
        talk.reset(true, 1, 8);
        assert_eq!(talk.bench.lines(), [""; 0], "{wanted}");
    }
}

/// A connection that was open before: the content type is a field of a table that was not seen, so
/// what comes later says whether it is a call, and what nothing says is counted as untyped.
#[test]
fn calls_of_an_open_connection() {
    /// POST, http, and fields of the table.
    const CALL_BY_INDEX: &[u8] = b"\x83\x86\xbe\xbf\xc0";
    fn raw(talk: &mut Talk, from_client: bool, stream: u32, block: &[u8]) {
        talk.send(from_client, &frame(1, END_HEADERS, stream, block), 0);
    }
    type Rest = fn(&mut Talk);
    let ends: [(Rest, Option<&str>, u64); 8] = [
        (|talk| talk.headers(false, 1, END_STREAM, &[("grpc-status", "5")]), Some("Number(5)"), 0),
        (|talk| raw(talk, false, 1, b"\xbe"), None, 1),
        (|talk| talk.headers(false, 1, END_STREAM, &[("other", "0")]), None, 0),
        (|talk| talk.reset(true, 1, 8), None, 1),
        (|talk| talk.headers(false, 3, END_STREAM, &[(":status", "200"), ("grpc-status", "7")]), Some("Number(7)"), 0),
        (|talk| talk.headers(false, 3, 0, &[(":status", "200"), ("content-type", "text/plain")]), None, 0),
        (|talk| talk.headers(false, 3, 0, &[(":status", "200"), ("content-type", "application/grpc+x")]), None, 1),
        (|talk| talk.headers(false, 3, 0, &[(":status", "503")]), None, 1),
    ];
    for (number, (rest, wanted, untyped)) in ends.into_iter().enumerate() {
        let mut talk = Talk::new(true);
        raw(&mut talk, true, 1, CALL_BY_INDEX);
        raw(&mut talk, true, 3, CALL_BY_INDEX);
        raw(&mut talk, false, 1, b"\x88\xbe");
        talk.bench.lines();
        rest(&mut talk);
        let lines = talk.bench.lines();
        let call = lines.iter().find(|line| line.contains("grpc"));
        assert_eq!(call.cloned(), wanted.map(|wanted| format!("< grpc {wanted}  0ms")), "{number}: {lines:?}");
        let cuts = |talk: &Talk, cut| talk.bench.dissector.ledger().cuts(cut);
        if number == 6 {
            // A call by its response's type, whose end is not seen.
            talk.bench.later(600_000);
            assert_eq!(talk.bench.lines(), ["< grpc Unknown  0ms"]);
            assert_eq!(cuts(&talk, Cut::Untyped), untyped);
        } else {
            assert_eq!((cuts(&talk, Cut::Untyped), cuts(&talk, Cut::Call)), (untyped, 0), "{number}");
        }
    }
    // Where calls are not wanted, none is waited for.
    let wants = Wants::default();
    let mut talk =
        Talk { bench: Bench::with(message_kind::HTTP2, SERVER, Limits::default(), wants), ..Talk::new(true) };
    raw(&mut talk, true, 1, CALL_BY_INDEX);
    raw(&mut talk, false, 1, b"\x88\xbe");
    talk.bench.later(600_000);
    assert_eq!(talk.bench.dissector.ledger().cuts(Cut::Untyped), 0);
}

/// A call whose end is not seen is unknown, and has no duration: the connection is another's, the
/// call waited too long, or made room for others. A restart emits nothing, and names it.
#[test]
fn calls_without_an_end() {
    const UNKNOWN: &str = "< grpc Unknown /fleet.Death/Star 0ms";
    let begun = || {
        let mut talk = Talk::new(false);
        talk.headers(true, 1, 0, CALL);
        talk.headers(true, 3, 0, CALL);
        talk.headers(false, 3, 0, OK);
        talk.bench.lines();
        talk
    };
    let ends = |talk: &Talk| talk.bench.dissector.ledger().messages(H2, MessageType::End, MessageOutcome::Emitted);

    let mut closed = begun();
    closed.send(true, PREFACE, 4);
    assert_eq!(closed.bench.lines(), [UNKNOWN, UNKNOWN]);
    assert_eq!((ends(&closed), closed.unanswered(Unanswered::Closed)), (2, 1));

    let mut slow = begun();
    let late = slow.bench.now_ns + 600_000 * MILLISECOND;
    for (room, emitted) in [(0, 0), (1, 1), (9, 1), (9, 0)] {
        assert_eq!(slow.bench.dissector.expire(late, room, &mut slow.bench.kept), emitted);
        assert_eq!(slow.bench.lines(), vec![UNKNOWN; emitted]);
    }
    assert_eq!((ends(&slow), slow.unanswered(Unanswered::Timeout)), (2, 1));

    let mut many = begun();
    for stream in 0..255 {
        many.headers(true, 5 + 2 * stream, 0, CALL);
    }
    assert_eq!(many.bench.lines().iter().filter(|line| *line == UNKNOWN).count(), 1);

    let mut restarted = begun();
    restarted.bench.dissector.restart();
    assert_eq!(restarted.bench.lines(), [""; 0]);
    assert_eq!((ends(&restarted), restarted.bench.dissector.ledger().cuts(Cut::Call)), (0, 2));
}

/// Case 73: streams are answered in any order, each by its own.
#[test]
fn streams_are_independent() {
    let mut talk = Talk::new(false);
    for stream in (1..20).step_by(2) {
        talk.headers(true, stream, END_STREAM, if stream % 4 == 1 { GET } else { CALL });
    }
    for stream in (1..20).step_by(2).collect::<Vec<_>>().into_iter().rev() {
        let status = if stream % 4 == 1 { "404" } else { "200" };
        talk.headers(false, stream, END_STREAM, &[(":status", status), ("x", "y")]);
    }
    let lines = talk.bench.lines();
    assert_eq!(lines.iter().filter(|line| line.starts_with("< GET 404")).count(), 5);
    assert_eq!(lines.iter().filter(|line| line.starts_with("< POST 200")).count(), 5);
}

/// Cases 74 and 75: a padded block in several frames, cut at every byte.
#[test]
fn blocks_in_pieces() {
    for cut in 1..80 {
        let mut talk = Talk::new(false);
        let block = talk.block(true, CALL);
        let padded = [&[3_u8, 0, 0, 0, 0, 9], &block[..7], &[0; 3]].concat();
        let frames = [
            frame(1, 0x28, 1, &padded),
            frame(9, 0, 1, &block[7..9]),
            frame(9, END_HEADERS, 1, &block[9..]),
            frame(0, END_STREAM, 1, b"data"),
        ]
        .concat();
        let cut = cut.min(frames.len() - 5);
        talk.send(true, &frames[..cut], 0);
        talk.send(true, &frames[cut..], 1);
        let boundary = [25, 36].contains(&cut);
        assert_eq!(talk.bench.lines().len(), usize::from(!boundary), "{cut}");
        if !boundary {
            talk.headers(false, 1, 0, OK);
            assert_eq!(talk.bench.lines(), ["< POST 200 HTTP/2 0ms"]);
            assert_eq!(talk.bench.dissector.gauges().partial_heads, 0);
        }
    }
}

/// Blocks of any size come in records of 4,096 bytes and segments of any size. One that is longer
/// than is kept counts by its beginning, and later ones without the table.
#[test]
fn long_blocks() {
    for (value, frame_size, cut) in
        [(4000, 16_384, 4096), (6000, 16_384, 4096), (6000, 4000, 1448), (15_000, 16_384, 4096), (30_000, 16_384, 4096)]
    {
        let mut talk = Talk::new(false);
        for stream in [1, 5] {
            // Of a letter that Huffman's code does not shorten.
            let long = "~".repeat(value);
            let plain: Vec<u8> = [&[0x10, 1, b'x', 0x7f][..], &varint(value - 127), long.as_bytes()].concat();
            let block = [talk.block(true, CALL), plain].concat();
            let last = block.chunks(frame_size).count() - 1;
            let frames: Vec<u8> = block
                .chunks(frame_size)
                .enumerate()
                .flat_map(|(at, part)| {
                    frame(if at == 0 { 1 } else { 9 }, if at == last { END_HEADERS } else { 0 }, stream, part)
                })
                .collect();
            send_frames(&mut talk, &frames, cut);
            talk.headers(false, stream, END_STREAM, &[(":status", "200"), ("grpc-status", "0")]);
            talk.headers(true, stream + 2, END_STREAM, GET);
            talk.headers(false, stream + 2, END_STREAM, &[(":status", "404")]);
        }
        let lines = talk.bench.lines();
        let answered = |what: &str| lines.iter().filter(|line| line.starts_with(what)).count();
        let ledger = talk.bench.dissector.ledger();
        assert_eq!(
            (answered("< GET 404"), answered("> POST"), answered("< POST 200")),
            (2, 2, 2),
            "{value}: {ledger:?}"
        );
        assert_eq!(ledger.cuts(Cut::Block), if value > 16_384 { 2 } else { 0 });
        assert_eq!(talk.bench.dissector.gauges().partial_heads, 0);
    }
}

/// A number behind a prefix that is full.
fn varint(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 128 {
        bytes.push(u8::try_from(number % 128).unwrap() | 128);
        number /= 128;
    }
    bytes.push(u8::try_from(number).unwrap());
    bytes
}

/// Sends frames as the kernel does: each in records of its own, of so many bytes.
fn send_frames(talk: &mut Talk, mut frames: &[u8], cut: usize) {
    while let Some(length) = frames.first_chunk::<3>() {
        let length = length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        let (frame, rest) = frames.split_at(9 + length);
        for (number, part) in frame.chunks(cut).enumerate() {
            talk.send(true, part, u8::from(number > 0));
        }
        frames = rest;
    }
}

/// A block of which the rest is not seen counts by its beginning, whatever comes next.
#[test]
fn blocks_without_an_end() {
    for next in 0..3 {
        let mut talk = Talk::new(false);
        let block = talk.block(true, CALL);
        let whole = frame(1, END_HEADERS, 1, &[&block[..], &[0; 500]].concat());
        talk.send(true, &whole[..block.len() + 20], 0);
        let later = talk.block(true, GET);
        match next {
            0 => talk.send(true, &frame(1, END_HEADERS, 3, &later), 0),
            1 => talk.send(true, &frame(1, END_HEADERS, 3, &later), 8),
            _ => talk.send(true, &frame(9, END_HEADERS, 3, &later), 0),
        }
        talk.headers(false, 1, END_STREAM, OK);
        assert_eq!(talk.bench.lines().iter().filter(|line| line.starts_with("< POST 200")).count(), 1, "{next}");
        assert!(talk.bench.dissector.ledger().doubts(Doubt::Table) > 0);
    }
}

/// A method of letters that are none is counted as a request that is not matched.
#[test]
fn methods() {
    for (method, lines) in [("get", 2), ("A_B", 2), ("A B", 0), ("ABCDEFGHIJKLMNOPQRSTUVWXYZ", 0)] {
        let mut talk = Talk::new(false);
        talk.headers(true, 1, END_STREAM, &[(":method", method), (":path", "/")]);
        talk.headers(false, 1, END_STREAM, &[(":status", "200")]);
        assert_eq!(talk.bench.lines().len(), lines, "{method}");
        let unmatched = talk.bench.dissector.ledger().messages(H2, MessageType::Request, MessageOutcome::Unmatched);
        assert_eq!(unmatched, u64::from(lines == 0));
    }
}

/// Cases 76 and 77: joined late or behind a gap, static fields are right at once and others when
/// they are inserted again; none is wrong.
#[test]
fn joined_late() {
    // The status as a new entry of the table, and as its newest entry.
    let (insert, indexed) = ([&[0x48, 3], b"418".as_slice()].concat(), [0xbe]);
    let answer = |talk: &mut Talk, stream, block: &[u8]| {
        talk.send(false, &frame(1, END_HEADERS | END_STREAM, stream, block), 0);
    };
    for lost in [false, true] {
        let mut talk = Talk::new(!lost);
        if lost {
            talk.headers(true, 1, END_STREAM, GET);
            answer(&mut talk, 1, &insert);
            assert_eq!(talk.bench.lines()[1], "< GET 418 HTTP/2 0ms");
            talk.bench.dissector.records_lost();
        }
        talk.headers(true, 3, END_STREAM, GET);
        answer(&mut talk, 3, &indexed);
        assert_eq!(talk.bench.lines(), ["> GET HTTP/2"], "{lost}");
        assert_eq!(talk.unanswered(Unanswered::Field), 1);
        for (stream, block) in [(5, &insert[..]), (7, &indexed)] {
            talk.headers(true, stream, END_STREAM, GET);
            answer(&mut talk, stream, block);
            assert_eq!(talk.bench.lines()[1], "< GET 418 HTTP/2 0ms");
        }
    }
    let mut talk = Talk::new(false);
    let block = talk.block(true, CALL);
    talk.send(true, &frame(1, END_HEADERS, 1, &block), 8);
    assert_eq!(talk.bench.dissector.ledger().doubts(Doubt::Table), 1);
    assert_eq!(talk.bench.lines(), ["> POST HTTP/2"]);
}

/// Case 78, and what answers nothing.
#[test]
fn halves() {
    let mut talk = Talk::new(false);
    talk.headers(true, 1, END_STREAM, GET);
    talk.reset(true, 1, 8);
    talk.reset(true, 3, 8);
    assert_eq!((talk.unanswered(Unanswered::Reset), talk.bench.lines().len()), (1, 1));
    talk.headers(false, 1, END_STREAM, OK);
    assert_eq!(talk.bench.outcome(H2, RecordOutcome::Orphan), 1);
    talk.headers(true, 5, 0, GET);
    talk.headers(false, 5, 0, &[(":status", "103")]);
    talk.headers(false, 5, 0, OK);
    assert_eq!(talk.bench.lines().len(), 2);
    let again = Message { sequence: 1000, ..talk.bench.record(true) };
    talk.bench.read(again, &frame(1, END_HEADERS, 9, &[0x82]));
    assert_eq!((talk.bench.lines().len(), talk.bench.outcome(H2, RecordOutcome::Past)), (0, 1));
}

/// Bounds: streams of a connection, connections, tables, long blocks.
#[test]
fn bounded() {
    let mut talk = Talk::new(false);
    (0..300).for_each(|number| talk.headers(true, number * 2 + 1, END_STREAM, GET));
    assert_eq!((talk.bench.dissector.gauges().requests, talk.unanswered(Unanswered::Limit)), (256, 44));
    let limits = Limits { http2_connections: 3, table_bytes: 3000, partial_blocks: 2, ..Limits::default() };
    let mut talk = Talk::new(true);
    talk.bench = Bench::with(message_kind::HTTP2, SERVER, limits, Wants { headers: true, ..Wants::default() });
    for port in 0..50 {
        talk.bench.client_port = port;
        talk.encoders = [Encoder::new(), Encoder::new()];
        talk.send(true, PREFACE, 4);
        for stream in [1, 3, 5] {
            talk.headers(true, stream, 0, &[(":method", "GET"), ("x", &"y".repeat(900)), ("z", &"y".repeat(900))]);
        }
        let long = frame(1, 0, 7, &[0; 300]);
        talk.send(true, &long, 0);
    }
    assert_eq!(talk.bench.dissector.gauges().connections, 3);
    assert!(talk.unanswered(Unanswered::Evicted) > 100);
    assert!(talk.bench.dissector.ledger().abandoned_for(Abandoned::Memory) > 0);
    assert!(talk.bench.dissector.ledger().cuts(Cut::Buffers) > 0);
    (0..80).for_each(|_| talk.send(true, &frame(9, 0, 7, &[0; 300]), 0));
    assert!(talk.bench.dissector.ledger().cuts(Cut::Block) + talk.bench.dissector.ledger().doubts(Doubt::Table) > 0);
    talk.bench.dissector.restart();
    talk.bench.balance();
    assert_eq!(talk.bench.dissector.gauges(), Gauges::default());
}

proptest::proptest! {
    /// Any bytes and flags, as frames or not: the ledger adds up after each record.
    #[test]
    fn any_bytes_are_counted(
        records in proptest::collection::vec(
            (proptest::bool::ANY, 0_u32..200, 0_u8..16, 0_u8..12, 0_u32..8,
                proptest::collection::vec(proptest::num::u8::ANY, 0..60)), 1..40),
    ) {
        let mut talk = Talk::new(true);
        for (from_client, sequence, flags, of, stream, bytes) in records {
            let bytes = if of < 10 { frame(of, bytes.first().copied().unwrap_or(4), stream, &bytes) } else { bytes };
            talk.sent[usize::from(!from_client)] += sequence;
            talk.send(from_client, &bytes, flags);
        }
    }
}
