//! DNS over UDP and TCP.

use super::*;

const SERVER: (&str, u16) = ("10.96.0.10", 53);
const UDP: MessageProtocol = MessageProtocol::Dns;
const TCP: MessageProtocol = MessageProtocol::DnsTcp;
const A: u16 = 1;
const CNAME: u16 = 5;
const AAAA: u16 = 28;

fn name(text: &str) -> Vec<u8> {
    let mut wire = Vec::new();
    for label in text.split('.').filter(|label| !label.is_empty()) {
        wire.push(u8::try_from(label.len()).unwrap());
        wire.extend(label.bytes());
    }
    wire.push(0);
    wire
}

fn header(id: u16, flags: u16, counts: [u16; 4]) -> Vec<u8> {
    [id, flags].into_iter().chain(counts).flat_map(u16::to_be_bytes).collect()
}

fn query(id: u16, text: &str, qtype: u16) -> Vec<u8> {
    [header(id, 0x0100, [1, 0, 0, 0]), name(text), [qtype, 1].map(u16::to_be_bytes).concat()].concat()
}

/// A record of the answer: owner, type, TTL, data.
type Rr<'a> = (&'a [u8], u16, u32, &'a [u8]);

const QUESTION: &[u8] = &[0xc0, 12];

fn answer(id: u16, text: &str, qtype: u16, flags: u16, records: &[Rr<'_>]) -> Vec<u8> {
    let mut bytes = query(id, text, qtype);
    bytes[2..4].copy_from_slice(&(0x8000 | flags).to_be_bytes());
    bytes[6..8].copy_from_slice(&u16::try_from(records.len()).unwrap().to_be_bytes());
    for (owner, of, ttl, data) in records {
        bytes.extend_from_slice(owner);
        bytes.extend([*of, 1].map(u16::to_be_bytes).concat());
        bytes.extend(ttl.to_be_bytes());
        bytes.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(data);
    }
    bytes
}

fn udp() -> Bench {
    Bench::new(message_kind::DNS, SERVER)
}

impl Bench {
    fn ask(&mut self, bytes: &[u8]) {
        let record = self.record(true);
        self.read(record, bytes);
    }

    fn reply(&mut self, bytes: &[u8]) {
        let record = self.record(false);
        self.read(record, bytes);
    }

    fn tcp(&mut self, from_client: bool, sequence: u32, bytes: &[u8]) {
        let record = Message { sequence, begin: 1000, ..self.record(from_client) };
        self.read(record, bytes);
    }
}

fn framed(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}

/// All addresses and aliases of an answer are there if they are wanted, also those that are not of
/// the question's name; a target that is no name ends the list.
#[test]
fn answers_in_full() {
    use crate::l7::dns::Parser;
    let (real, other) = (name("Real.web.test"), name("other.test"));
    let records: [Rr<'_>; 4] = [
        (QUESTION, CNAME, 60, &real),
        (&real, A, 30, &[192, 0, 2, 1]),
        (&other, AAAA, 90, &[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
        (QUESTION, CNAME, 60, &[63]),
    ];
    let mut parser = Parser::default();
    let bytes = answer(7, "web.test", A, 0, &records);
    for answers in [true, false] {
        let head = parser.parse(&bytes, Wants { answers, ..Wants::default() }).unwrap();
        let addresses: Vec<_> = parser.answered.iter().map(|address| address.ip().to_string()).collect();
        if answers {
            assert_eq!(addresses, ["192.0.2.1", "2001:db8::1"]);
            assert_eq!(parser.cnames, ["real.web.test."]);
        } else {
            assert!(addresses.is_empty() && parser.cnames.is_empty());
        }
        assert_eq!((head.ips, head.ttl), (2, 30));
    }
}

/// Cases 56 to 58: a query and its answer; names in lower case; A and AAAA of one socket are two.
#[test]
fn queries_meet_their_answers() {
    let mut bench = udp();
    bench.ask(&query(7, "WEB.Test", A));
    bench.ask(&query(8, "web.test", AAAA));
    bench.later(12);
    bench.reply(&answer(8, "web.test", AAAA, 0, &[]));
    bench.reply(&answer(7, "web.TEST", A, 0, &[(QUESTION, A, 30, &[10, 1, 2, 3])]));
    assert_eq!(
        bench.lines(),
        [
            "> web.test. A",
            "> web.test. AAAA",
            "< web.test. AAAA rcode=0 ips=0 [] 12ms",
            "< web.test. A rcode=0 ips=1 [A] 12ms"
        ]
    );
    assert_eq!(bench.kept.addresses, ["10.1.2.3"]);
    assert_eq!(bench.dissector.gauges().queries, 0);
}

/// Cases 59, 70 and 71: aliases are followed; an address that the name does not lead to is counted
/// and not believed.
#[test]
fn only_addresses_of_the_name_are_believed() {
    let mut bench = udp();
    bench.ask(&query(7, "web.test", A));
    let (real, bank) = (name("real.test"), name("bank.test"));
    let records: [Rr<'_>; 4] = [
        (QUESTION, CNAME, 60, &real),
        (&real, A, 30, &[10, 1, 2, 3]),
        (&real, A, 30, &[10, 1, 2, 4]),
        (&bank, A, 30, &[6, 6, 6, 6]),
    ];
    bench.reply(&answer(7, "web.test", A, 0, &records));
    assert_eq!(bench.lines()[1], "< web.test. A rcode=0 ips=3 [CNAME,A,A,A] 0ms");
    assert_eq!(bench.kept.addresses, ["10.1.2.3", "10.1.2.4"]);
    for flags in [0x0200, 3] {
        bench.kept.addresses.clear();
        bench.ask(&query(9, "web.test", A));
        bench.reply(&answer(9, "web.test", A, flags, &records));
        assert_eq!(bench.kept.addresses, [""; 0], "{flags:#x}");
    }
    // A circle of aliases ends.
    bench.ask(&query(9, "web.test", A));
    let circle: [Rr<'_>; 2] = [(QUESTION, CNAME, 60, &real), (&real, CNAME, 60, QUESTION)];
    bench.reply(&answer(9, "web.test", A, 0, &circle));
    assert_eq!(bench.outcome(UDP, RecordOutcome::Message), 8);
}

/// Case 60: the upper bits of a code are in the OPT record.
#[test]
fn codes_have_their_extension_bits() {
    for (flags, extension, wanted) in [(3, 0, 3), (5, 0, 5), (0, 1, 16), (7, 0xff, 0xff7)] {
        let mut bench = udp();
        bench.ask(&query(7, "web.test", A));
        let mut bytes = answer(7, "web.test", A, flags, &[]);
        bytes[11] = 1;
        bytes.extend([0, 0, 41, 4, 0xd0, extension, 0, 0, 0, 0, 0]);
        bench.reply(&bytes);
        assert_eq!(bench.lines()[1], format!("< web.test. A rcode={wanted} ips=0 [] 0ms"));
    }
}

/// Cases 61 and 62: each asking is a query, and takes one answer.
#[test]
fn retries_are_queries_of_their_own() {
    let mut bench = udp();
    bench.ask(&query(7, "web.test", A));
    bench.later(5000);
    bench.ask(&query(7, "web.test", A));
    bench.reply(&answer(7, "web.test", A, 0, &[]));
    assert_eq!(bench.lines()[2], "< web.test. A rcode=0 ips=0 [] -", "not known which was answered");
    assert_eq!(bench.dissector.gauges().queries, 1);
    bench.later(9_999);
    assert_eq!(bench.dissector.gauges().queries, 1);
    bench.later(1);
    assert_eq!(bench.dissector.ledger().unanswered_for(UDP, Unanswered::Expired), 1);
    bench.ask(&query(8, "web.test", A));
    bench.reply(&answer(8, "web.test", A, 0, &[]));
    bench.reply(&answer(8, "web.test", A, 0, &[]));
    assert_eq!((bench.lines().len(), bench.outcome(UDP, RecordOutcome::Unasked)), (2, 1));
}

/// A question whose time is over is emitted in place of its answer, once for all its askings; one
/// that was answered, or made room, or that no consumer wants, is not. What has no room comes next.
#[test]
fn questions_are_given_up() {
    let wants = Wants { query: true, unanswered: true, ..Wants::default() };
    let limits = Limits { queries: 3, ..Limits::default() };
    let mut bench = Bench::with(message_kind::DNS, SERVER, limits, wants);
    for (id, text) in [(1, "room.test"), (2, "answered.test"), (3, "silent.test"), (4, "twice.test"), (4, "twice.test")]
    {
        bench.ask(&query(id, text, A));
    }
    bench.reply(&answer(2, "answered.test", A, 0, &[]));
    bench.lines();
    bench.later(9_999);
    assert_eq!(bench.lines(), [""; 0]);
    let late = bench.now_ns + MILLISECOND;
    assert_eq!(bench.dissector.expire(late, 1, &mut bench.kept), 1);
    assert_eq!(bench.lines(), ["< unanswered silent.test. A x1"]);
    assert_eq!(bench.dissector.expire(late, 0, &mut bench.kept), 0);
    assert_eq!(bench.dissector.gauges().queries, 2);
    assert_eq!(bench.dissector.expire(late, 9, &mut bench.kept), 1);
    assert_eq!(bench.lines(), ["< unanswered twice.test. A x2"]);
    let ledger = bench.dissector.ledger();
    assert_eq!(ledger.messages(UDP, MessageType::End, MessageOutcome::Emitted), 2);
    assert_eq!(ledger.unanswered_for(UDP, Unanswered::Expired), 3);
    assert_eq!(ledger.unanswered_for(UDP, Unanswered::Evicted), 1, "the first made room for the last");

    let mut silent = udp();
    silent.ask(&query(1, "silent.test", A));
    silent.later(10_000);
    assert_eq!((silent.lines().len(), silent.dissector.gauges().queries), (1, 0));
}

/// Case 63: without its query an answer is nothing.
#[test]
fn answers_must_have_been_asked_for() {
    let mut bench = udp();
    let one: [Rr<'_>; 1] = [(QUESTION, A, 30, &[10, 1, 2, 3])];
    bench.reply(&answer(7, "web.test", A, 0, &one));
    bench.ask(&query(7, "web.test", A));
    bench.reply(&answer(8, "web.test", A, 0, &one));
    bench.reply(&answer(7, "bank.test", A, 0, &one));
    bench.reply(&answer(7, "web.test", AAAA, 0, &one));
    let other = Message { source_port: 54, ..bench.record(false) };
    bench.read(other, &answer(7, "web.test", A, 0, &one));
    assert_eq!(bench.lines(), ["> web.test. A"]);
    assert_eq!(bench.outcome(UDP, RecordOutcome::Unasked), 5);
    assert_eq!(bench.kept.addresses, [""; 0]);
}

/// Case 67: what is no query or answer with one question is refused by reason.
#[test]
fn bad_messages_are_named() {
    let mut bench = udp();
    let good = query(7, "web.test", A);
    let with = |at: usize, bytes: &[u8]| {
        let mut bad = good.clone();
        bad[at..at + bytes.len()].copy_from_slice(bytes);
        bad
    };
    for (bytes, reason) in [
        (good[..11].to_vec(), Unparsed::Short),
        (Vec::new(), Unparsed::Short),
        (with(4, &[0, 0]), Unparsed::Questions),
        (with(4, &[0, 2]), Unparsed::Questions),
        (with(2, &[0x28]), Unparsed::Opcode),
        (with(12, &[0xc0, 12]), Unparsed::Name),
        (with(12, &[0xc0, 20]), Unparsed::Name),
        (with(12, &[64]), Unparsed::Name),
        (with(12, &[0x80]), Unparsed::Name),
        (with(16, &[60]), Unparsed::Name),
        (good[..good.len() - 1].to_vec(), Unparsed::Name),
        ([header(7, 0, [1, 0, 0, 0]), name(&"a.".repeat(128)), vec![0, 1, 0, 1]].concat(), Unparsed::Name),
    ] {
        let before = bench.dissector.ledger().unparsed_for(reason);
        bench.ask(&bytes);
        assert_eq!(bench.dissector.ledger().unparsed_for(reason), before + 1, "{reason:?} {bytes:?}");
    }
    assert_eq!(bench.lines(), [""; 0]);
    let longest = "a.".repeat(127);
    bench.ask(&query(7, &longest, A));
    assert_eq!(bench.lines(), [format!("> {longest} A")]);
}

/// An answer that ends early counts as far as it goes, its header included.
#[test]
fn answers_may_end_early() {
    let full = answer(7, "web.test", A, 0x0203, &[(QUESTION, A, 30, &[10, 1, 2, 3]), (QUESTION, A, 9, &[10, 1, 2, 4])]);
    for length in query(7, "web.test", A).len()..=full.len() {
        let mut bench = udp();
        bench.ask(&query(7, "web.test", A));
        bench.reply(&full[..length]);
        let ips = (length - 26) / 16;
        let line = format!("< web.test. A rcode=3 ips={ips} [{}] 0ms", vec!["A"; ips].join(","));
        assert_eq!(bench.lines()[1], line);
    }
}

/// Names are printed as Hubble prints them.
#[test]
fn names_are_escaped() {
    for (labels, wanted) in [
        (vec![b"".as_slice()], "."),
        (vec![b"a.b\"c\\", b"(d)", b""], "a\\.b\\\"c\\\\.\\(d\\)."),
        (vec![b"x\x00\xffY @", b""], "x\\000\\255y\\ \\@."),
    ] {
        let wire: Vec<u8> =
            labels.iter().flat_map(|label| [&[u8::try_from(label.len()).unwrap()], *label].concat()).collect();
        let mut bench = udp();
        bench.ask(&[header(7, 0, [1, 0, 0, 0]), wire, vec![0, 16, 0, 1]].concat());
        assert_eq!(bench.lines(), [format!("> {wanted} TXT")]);
    }
}

/// At the bound the oldest query makes room, and is counted.
#[test]
fn queries_are_bounded() {
    let limits = Limits { queries: 4, ..Limits::default() };
    let mut bench = Bench::with(message_kind::DNS, SERVER, limits, Wants::default());
    (0..10).for_each(|id| bench.ask(&query(id, "web.test", A)));
    assert_eq!(bench.dissector.gauges().queries, 4);
    assert_eq!(bench.dissector.ledger().unanswered_for(UDP, Unanswered::Evicted), 6);
    bench.reply(&answer(5, "web.test", A, 0, &[]));
    bench.reply(&answer(6, "web.test", A, 0, &[]));
    assert_eq!(bench.outcome(UDP, RecordOutcome::Unasked), 1);
    bench.dissector.restart();
    bench.balance();
    assert_eq!(bench.dissector.ledger().unanswered_for(UDP, Unanswered::Restart), 3);
}

/// A message that the other side emits, or that only passes a pod, makes no event.
#[test]
fn other_sides_are_counted_apart() {
    for (judgement, record, message) in [
        (Judgement::OtherSide, RecordOutcome::OtherSide, MessageOutcome::OtherSide),
        (Judgement::Transit, RecordOutcome::Transit, MessageOutcome::Transit),
    ] {
        let mut bench = udp();
        bench.kept.judgement = judgement;
        bench.ask(&query(7, "web.test", A));
        bench.reply(&answer(7, "web.test", A, 0, &[]));
        assert_eq!((bench.lines().len(), bench.outcome(UDP, record)), (0, 2));
        for of in [MessageType::Request, MessageType::Response] {
            assert_eq!(bench.dissector.ledger().messages(UDP, of, message), 1);
        }
    }
}

/// The side of a message follows from its type and the point of observation.
#[test]
fn sides_follow_from_the_hook() {
    struct Sides(Vec<Connection>);
    impl Sink for Sides {
        fn judge(&mut self, connection: &Connection) -> Judgement {
            self.0.push(*connection);
            Judgement::OtherSide
        }
        fn emit(&mut self, _: &Event<'_>) {}
    }
    let bench = udp();
    let mut dissector = Dissector::new(Limits::default(), Wants::default(), Redact::default());
    let mut sides = Sides(Vec::new());
    for (from_client, hook, side) in
        [(true, 0, Side::Client), (true, 1, Side::Server), (false, 1, Side::Client), (false, 0, Side::Server)]
    {
        let bytes = if from_client { query(7, "web.test", A) } else { answer(7, "web.test", A, 0, &[]) };
        let captured = u16::try_from(bytes.len()).unwrap();
        let record = Message { hook, captured, payload: captured.into(), ..bench.record(from_client) };
        dissector.read(&[record.as_bytes(), &bytes].concat(), &mut sides);
        let seen = sides.0.pop().unwrap();
        assert_eq!((seen.side, seen.client(), seen.server()), (side, port(CLIENT), port(SERVER)));
    }
    let record = Message { hook: 2, ..bench.record(true) };
    dissector.read(record.as_bytes(), &mut sides);
    assert_eq!(dissector.ledger().records(UDP, RecordOutcome::Malformed), 1);
}

/// Case 65: a length byte alone, a message over three segments, four messages in one, a repeat.
#[test]
fn tcp_messages_come_in_pieces() {
    let mut bench = Bench::new(message_kind::DNS_TCP, SERVER);
    let messages: Vec<_> = (0..6).map(|id| framed(&query(id, "web.test", A))).collect();
    let all = messages.concat();
    let mut sequence = 1000;
    let cuts = [0, 1, 5, 20, messages[0].len() + 7, messages[0].len() + 9, messages[0].len() * 2, all.len()];
    for pair in cuts.windows(2) {
        bench.tcp(true, sequence, &all[pair[0]..pair[1]]);
        bench.tcp(true, sequence, &all[pair[0]..pair[1]]);
        sequence += u32::try_from(pair[1] - pair[0]).unwrap();
    }
    assert_eq!(bench.lines(), vec!["> web.test. A"; 6]);
    assert_eq!(bench.outcome(TCP, RecordOutcome::Past), 7);
    let answers: Vec<u8> = (0..6).flat_map(|id| framed(&answer(id, "web.test", A, 0, &[]))).collect();
    bench.tcp(false, 1000, &answers);
    assert_eq!(bench.lines().len(), 6);
}

/// However the bytes are cut and in whatever order they come, the messages are the same; with a
/// gap that is not filled the direction is given up and named.
#[test]
fn tcp_order_is_restored() {
    let all: Vec<u8> = (0..20).flat_map(|id| framed(&query(id, "web.test", A))).collect();
    for size in 1..60 {
        let mut bench = Bench::new(message_kind::DNS_TCP, SERVER);
        let mut pieces: Vec<_> = (1000_u32..).step_by(size).zip(all.chunks(size)).collect();
        pieces.chunks_mut(5).for_each(<[_]>::reverse);
        for (sequence, bytes) in &pieces {
            bench.tcp(true, *sequence, bytes);
        }
        assert_eq!(bench.lines().len(), 20, "pieces of {size}");
    }
    let mut bench = Bench::new(message_kind::DNS_TCP, SERVER);
    for piece in 1..40 {
        bench.tcp(true, 1000 + piece * 100, &[0; 100]);
    }
    assert_eq!(bench.dissector.ledger().abandoned_for(Abandoned::Gap), 1);
    assert!(bench.outcome(TCP, RecordOutcome::Opaque) > 0);
}

/// A message longer than what is kept is read as far as it is kept, and the next is found behind.
#[test]
fn tcp_messages_may_be_long() {
    let mut bench = Bench::new(message_kind::DNS_TCP, SERVER);
    bench.tcp(true, 1000, &[framed(&query(1, "web.test", A)), framed(&query(2, "web.test", A))].concat());
    let records: Vec<Rr<'_>> = vec![(QUESTION, A, 30, &[10, 1, 2, 3]); 2000];
    let all = [framed(&answer(1, "web.test", A, 0, &records)), framed(&answer(2, "web.test", A, 0, &[]))].concat();
    let mut sequence = 1000;
    for piece in all.chunks(1448) {
        bench.tcp(false, sequence, piece);
        sequence += u32::try_from(piece.len()).unwrap();
    }
    let lines = bench.lines();
    assert_eq!(lines.len(), 4);
    assert!(lines[2].contains("ips=510"), "{}", lines[2]);
}

/// A direction joined where no message begins is not followed.
#[test]
fn tcp_joined_midway() {
    let mut bench = Bench::new(message_kind::DNS_TCP, SERVER);
    let bytes = framed(&query(1, "web.test", A));
    let record = Message { sequence: 5, begin: 5, ..bench.record(true) };
    bench.read(record, &bytes[3..]);
    bench.read(Message { sequence: 5 + 300, begin: 5, ..record }, &[1; 5000]);
    bench.read(Message { sequence: 2, begin: 5, ..record }, &[1; 2]);
    assert_eq!(bench.lines(), [""; 0]);
    let other = Message { source_port: 9, sequence: u32::MAX - 3, begin: u32::MAX - 3, ..record };
    bench.read(other, &bytes);
    assert_eq!(bench.lines().len(), 1, "sequence numbers wrap");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 512, ..Default::default() })]

    /// Any bytes, over both transports: the ledger adds up after each record.
    #[test]
    fn any_bytes_are_counted(
        records in proptest::collection::vec(
            (proptest::bool::ANY, 0_u32..200, proptest::collection::vec(proptest::num::u8::ANY, 0..80)), 1..30),
        tcp in proptest::bool::ANY,
        real in proptest::bool::ANY,
    ) {
        let mut bench = Bench::new(if tcp { message_kind::DNS_TCP } else { message_kind::DNS }, SERVER);
        for (from_client, sequence, mut bytes) in records {
            if real && bytes.len() > 20 {
                let good = if tcp { framed(&query(7, "a.b", A)) } else { query(7, "a.b", A) };
                bytes[..12].copy_from_slice(&good[..12]);
            }
            bench.tcp(from_client, 1000 + sequence, &bytes);
        }
    }
}
