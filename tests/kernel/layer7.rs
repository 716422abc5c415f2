//! Layer 7 in the kernel: which segments of which connections become a record, by
//! `BPF_PROG_TEST_RUN`.

use std::ops::ControlFlow;

use webb::bpf_loader::{FLOW_L7_OBJECT, FLOW_OBJECT, Hook, Layer7, Layer7Settings, ProgramSettings};
use webb::records::{RecordSource, Rings, Waker};
use webb_flow::abi::{L7Totals, Message, l7_switch, message_flag, message_kind};

use crate::support::packets::{A, A6, ACK, B, B6, FIN, MAC_A, PSH, SYN, mapped, tagged, udp, udp6};
use crate::support::{Kernel, load};

const CLIENT: ([u8; 4], u16) = (A, 40_000);
const SERVER: ([u8; 4], u16) = (B, 80);
const QUERY: &[u8] = b"\0\x07\x01\0\0\x01\0\0\0\0\0\0\x03web\x04test\0\0\x01\0\x01";
const HTTP1: usize = 0;
const DNS: usize = 2;
const DNS_TCP: usize = 3;
const ALL: u32 = l7_switch::DNS_CLIENT | l7_switch::DNS_SERVER | l7_switch::HTTP_CLIENT | l7_switch::HTTP_SERVER;

/// The programs with layer 7, and its ring.
struct Bench {
    kernel: Kernel,
    layer7: Layer7,
    reader: Box<dyn RecordSource>,
}

impl Bench {
    fn with(settings: Layer7Settings, switch: u32) -> Option<Self> {
        let kernel = load(&ProgramSettings { layer7: Some(settings), ..ProgramSettings::default() })?;
        let layer7 = kernel.probes.layer7().expect("the kernel takes the programs with layer 7");
        let reader = layer7.rings().open(&Waker::new().unwrap()).unwrap();
        layer7.look_for(switch).unwrap();
        Some(Self { kernel, layer7, reader })
    }

    fn new() -> Option<Self> {
        Self::with(Layer7Settings::default(), ALL)
    }

    /// The records so far.
    fn records(&mut self) -> Vec<(Message, Vec<u8>)> {
        let mut records = Vec::new();
        self.reader.drain(&mut |_, bytes| {
            let (message, payload) = Message::split(bytes).expect("a whole record");
            records.push((message, payload.to_vec()));
            ControlFlow::Continue(())
        });
        let totals = self.totals();
        for protocol in 0..totals.wanted.len() {
            let outcomes = totals.sent[protocol] + totals.lost[protocol] + totals.unread[protocol];
            assert_eq!(totals.wanted[protocol], outcomes, "{totals:?}");
        }
        records
    }

    fn totals(&self) -> L7Totals {
        self.layer7.totals().unwrap()
    }

    /// Sends a segment of a connection that the pod has opened; returns the payloads of its
    /// records.
    fn segment(
        &mut self,
        from_client: bool,
        sequence: u32,
        acknowledged: u32,
        payload: &[u8],
    ) -> Vec<(Message, Vec<u8>)> {
        self.flagged(from_client, ACK | PSH, sequence, acknowledged, payload)
    }

    fn flagged(
        &mut self,
        from_client: bool,
        flags: u8,
        sequence: u32,
        acknowledged: u32,
        payload: &[u8],
    ) -> Vec<(Message, Vec<u8>)> {
        self.kernel.send(hook(from_client), &tcp(ends(from_client, SERVER), flags, sequence, acknowledged, payload));
        self.records()
    }

    /// The three packets that open a connection; its streams begin at 1001 and 5001.
    fn open(&mut self) {
        for (from_client, flags, sequence, acknowledged) in
            [(true, SYN, 1000, 0), (false, SYN | ACK, 5000, 1001), (true, ACK, 1001, 5001)]
        {
            assert_eq!(self.flagged(from_client, flags, sequence, acknowledged, b""), []);
        }
    }
}

fn hook(from_pod: bool) -> Hook {
    if from_pod { Hook::FromPod } else { Hook::ToPod }
}

fn ends(from_client: bool, server: ([u8; 4], u16)) -> (([u8; 4], u16), ([u8; 4], u16)) {
    if from_client { (CLIENT, server) } else { (server, CLIENT) }
}

fn tcp(
    (from, to): (([u8; 4], u16), ([u8; 4], u16)),
    flags: u8,
    sequence: u32,
    acknowledged: u32,
    payload: &[u8],
) -> Vec<u8> {
    let mut packet = crate::support::packets::tcp(from, to, flags, payload);
    packet[38..42].copy_from_slice(&sequence.to_be_bytes());
    packet[42..46].copy_from_slice(&acknowledged.to_be_bytes());
    packet
}

/// Payloads of records.
fn payloads(records: &[(Message, Vec<u8>)]) -> Vec<&[u8]> {
    records.iter().map(|(_, payload)| payload.as_slice()).collect()
}

/// Without layer 7 nothing of it is in the programs; with it, the verifier is far from its limit.
#[test]
fn programs_without_layer_7_have_nothing_of_it() {
    let has = |object: &[u8]| object.windows(3).any(|bytes| bytes == b"l7_");
    // BTF names the fields of the table's entries that are there for it.
    assert!(has(FLOW_L7_OBJECT));
    assert!(!FLOW_OBJECT.windows(9).any(|bytes| bytes == b"l7_events"));
    let Some(plain) = load(&ProgramSettings::default()) else { return };
    assert!(plain.probes.layer7().is_none());
    let Some(bench) = Bench::new() else { return };
    for hook in [Hook::FromPod, Hook::ToPod, Hook::FromNetwork, Hook::ToNetwork] {
        let (Some(without), Some(with)) = (plain.probes.instructions(hook), bench.kernel.probes.instructions(hook))
        else {
            return;
        };
        eprintln!("{hook:?}: instructions and verified, without {without:?}, with {with:?}");
        assert!(without.0 < with.0, "{hook:?}: {without:?} {with:?}");
        assert!(with.1 < 300_000, "{hook:?}: {with:?}");
    }
}

/// A DNS message is a record with all its bytes, at both hooks, both families, behind a VLAN tag,
/// and when the connection has been seen before.
#[test]
fn datagrams_of_dns() {
    let Some(mut bench) = Bench::new() else { return };
    for times in 1..=3 {
        bench.kernel.send(Hook::FromPod, &udp(CLIENT, (B, 53), QUERY));
        bench.kernel.send(Hook::ToPod, &udp((B, 53), CLIENT, b"answer......"));
        let records = bench.records();
        assert_eq!(payloads(&records), [QUERY, b"answer......"], "round {times}");
        let (query, answer) = (records[0].0, records[1].0);
        assert_eq!((query.kind, query.hook, query.protocol, query.family), (message_kind::DNS, 0, 17, 4));
        assert_eq!((query.source, query.destination), (mapped(A), mapped(B)));
        assert_eq!((query.source_port, query.destination_port, query.flags), (40_000, 53, 0));
        assert_eq!((answer.hook, answer.source_port, answer.payload), (1, 53, 12));
        assert!(query.time_ns > 0 && query.time_ns <= answer.time_ns && query.ifindex > 0);
    }
    bench.kernel.send(Hook::FromPod, &udp6((A6, 40_000), (B6, 53), QUERY));
    let records = bench.records();
    assert_eq!((records[0].0.family, records[0].0.source), (6, A6));
    bench.kernel.send(Hook::FromPod, &tagged(&udp(CLIENT, (B, 53), QUERY), &[0x8100]));
    assert_eq!(payloads(&bench.records()), [QUERY]);
}

/// Other ports, multicast, empty datagrams, node devices and sides that are not wanted are left
/// alone.
#[test]
fn datagrams_that_are_no_dns() {
    let Some(mut bench) = Bench::with(Layer7Settings::default(), l7_switch::DNS_CLIENT) else { return };
    for packet in [udp(CLIENT, (B, 5353), QUERY), udp(CLIENT, ([224, 0, 0, 251], 53), QUERY), udp(CLIENT, (B, 53), b"")]
    {
        bench.kernel.send(Hook::FromPod, &packet);
    }
    bench.kernel.send(Hook::FromNetwork, &udp(CLIENT, (B, 53), QUERY));
    // The server's side.
    bench.kernel.send(Hook::ToPod, &udp(CLIENT, (B, 53), QUERY));
    bench.kernel.send(Hook::FromPod, &udp((B, 53), CLIENT, QUERY));
    assert_eq!(bench.records(), []);
    bench.kernel.send(Hook::FromPod, &udp(CLIENT, (B, 53), QUERY));
    bench.layer7.look_for(0).unwrap();
    bench.kernel.send(Hook::FromPod, &udp(CLIENT, (B, 53), QUERY));
    assert_eq!(bench.records().len(), 1);
    assert_eq!(bench.totals().wanted, [0, 0, 1, 0]);
}

/// A head beyond what a record holds is cut, and says so.
#[test]
fn long_heads_are_cut() {
    let Some(mut bench) = Bench::new() else { return };
    bench.open();
    let mut head = b"GET /".to_vec();
    head.resize(2048, b'x');
    let whole = bench.segment(true, 1001, 5001, &head);
    assert_eq!((whole[0].0.captured, whole[0].0.has(message_flag::CUT)), (2048, false));
    let mut head = b"GET /".to_vec();
    head.resize(3000, b'x');
    let cut = bench.segment(true, 3049, 5001, &head);
    assert_eq!((cut[0].0.captured, cut[0].0.payload, cut[0].0.has(message_flag::CUT)), (2048, 3000, true));
    assert_eq!((bench.totals().cut[HTTP1], bench.totals().sent_bytes[HTTP1]), (1, 4096));
    // What is cut has no continuation.
    assert_eq!(bench.segment(true, 6049, 5001, b"more"), []);
}

/// A ring that is full loses records of layer 7 by number, and none of another kind.
#[test]
fn a_full_ring_is_counted() {
    let Some(mut bench) = Bench::with(Layer7Settings { ring_bytes: 65_536, ..Layer7Settings::default() }, ALL) else {
        return;
    };
    bench.kernel.send_times(Hook::FromPod, &udp(CLIENT, (B, 53), &[7; 1000]), 500);
    let records = bench.records();
    let totals = bench.totals();
    assert_eq!((totals.wanted[DNS], records.len() as u64), (500, totals.sent[DNS]));
    assert!(totals.lost[DNS] > 400, "{totals:?}");
    assert_eq!(bench.kernel.totals()[0].lost_records, 0);
}

/// A connection that begins with a request is HTTP/1: heads are sent, bodies are not.
#[test]
fn heads_are_sent_and_bodies_are_not() {
    let Some(mut bench) = Bench::new() else { return };
    bench.open();
    let head = b"POST /a HTTP/1.1\r\nHost: s\r\nContent-Length: 8\r\n\r\n";
    let request = bench.segment(true, 1001, 5001, head);
    assert_eq!(payloads(&request), [head]);
    let first = request[0].0;
    assert_eq!(
        (first.kind, first.flags, first.sequence, first.begin),
        (message_kind::HTTP1, message_flag::FIRST, 1001, 1001)
    );
    assert_eq!((first.acknowledgement, first.hook), (5001, 0));
    assert_eq!(bench.segment(true, 1001 + head.len() as u32, 5001, b"nameonly"), []);
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n";
    let response = bench.segment(false, 5001, 1001 + head.len() as u32 + 8, answer);
    assert_eq!(payloads(&response), [answer]);
    assert_eq!((response[0].0.flags, response[0].0.hook), (0, 1));
    assert_eq!(bench.segment(false, 5001 + answer.len() as u32, 1060, b"body"), []);
    // A segment without payload, and the end.
    assert_eq!(bench.flagged(true, ACK, 1060, 5100, b""), []);
    assert_eq!(bench.flagged(true, ACK | FIN, 1060, 5100, b""), []);
    let totals = bench.totals();
    assert_eq!((totals.wanted[HTTP1], totals.found[HTTP1], totals.looked, totals.none), (2, 1, 1, 0));
}

/// The first record of each sender says where its stream began, so that a request which was
/// overtaken is missed.
#[test]
fn streams_have_a_beginning() {
    let Some(mut bench) = Bench::new() else { return };
    bench.open();
    let head = b"GET /b HTTP/1.1\r\n\r\n";
    let second = bench.segment(true, 1101, 5001, head);
    assert_eq!((second[0].0.sequence, second[0].0.begin), (1101, 1001));
    let response = bench.segment(false, 5001, 1201, b"HTTP/1.1 200 OK\r\n\r\n");
    assert_eq!((response[0].0.sequence, response[0].0.begin), (5001, 5001));
}

/// The missing part of a head is sent as its continuation, up to four segments, or fifteen small
/// ones; a head that is whole has none, and a repeat changes nothing.
#[test]
fn heads_in_pieces() {
    let Some(mut bench) = Bench::new() else { return };
    bench.open();
    // One letter is enough.
    assert_eq!(payloads(&bench.segment(true, 1001, 5001, b"G")), [b"G"]);
    let rest = bench.segment(true, 1002, 5001, b"ET /pie HT");
    assert_eq!((payloads(&rest), rest[0].0.flags), (vec![&b"ET /pie HT"[..]], message_flag::CONTINUES));
    // The request before comes once more: it begins as a head, and what is waited for stays.
    assert_eq!(bench.segment(true, 1001, 5001, b"GET /pie").len(), 1);
    let end = bench.segment(true, 1012, 5001, b"tp/1.1\r\n\r\n");
    assert_eq!((end.len(), end[0].0.flags), (1, message_flag::CONTINUES));
    // Its end was seen.
    assert_eq!(bench.segment(true, 1022, 5001, b"tail of a body"), []);
    assert_eq!(bench.segment(true, 1036, 5001, b"PUT /x HTTP/1.1\r\nX: ").len(), 1);
    let mut sequence = 1056;
    for (piece, most) in [(&b"more of it"[..], 15), (&[b'm'; 100], 4)] {
        for round in 0..17 {
            let sent = bench.segment(true, sequence, 5001, piece);
            assert_eq!(sent.len(), usize::from(round < most), "continuation {round} of {}", piece.len());
            sequence += piece.len() as u32;
        }
        bench.segment(true, sequence, 5001, b"PUT /x HTTP/1.1\r\nX: ");
        sequence += 20;
    }
}

/// A method of any letters is a head if the beginning of a path follows; a word of a text is none.
#[test]
fn methods_of_other_letters() {
    for (begin, is_head) in [
        (&b"get /a HTTP/1.1\r\n\r\n"[..], true),
        (b"delete / HTTP/1.1\r\n\r\n", true),
        (b"A_1 /a HTTP/1.1\r\n\r\n", true),
        (b"VERSION_CONTROL / HTTP/1.1\r\n\r\n", false),
        (b"the end of it", false),
        (b"if /a", false),
        (b"get", false),
        (b"get ", false),
        (b"g@t /a HTTP/1.1\r\n\r\n", false),
    ] {
        let Some(mut bench) = Bench::new() else { return };
        bench.open();
        let records = bench.segment(true, 1001, 5001, begin);
        assert_eq!(records.len(), usize::from(is_head), "{}", begin.escape_ascii());
    }
}

/// The rest of a response of some size is a body.
#[test]
fn responses_with_a_body_go_on_without_records() {
    let Some(mut bench) = Bench::new() else { return };
    bench.open();
    bench.segment(true, 1001, 5001, b"GET / HTTP/1.1\r\n\r\n");
    let mut response = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
    response.resize(1448, b'x');
    let sent = bench.segment(false, 5001, 1019, &response);
    assert_eq!((sent[0].0.captured, sent[0].0.payload, sent[0].0.flags), (1024, 1448, message_flag::CUT));
    assert_eq!(bench.segment(false, 5001 + 1448, 1019, &[b'x'; 1448]), []);
}

/// TLS is left at once, anything else after four payloads; a connection that was picked up midway
/// is looked at for longer.
#[test]
fn other_protocols_are_left_alone() {
    let Some(mut bench) = Bench::new() else { return };
    bench.open();
    assert_eq!(bench.segment(true, 1001, 5001, b"\x16\x03\x01\x02\0\x01"), []);
    assert_eq!(bench.segment(true, 1007, 5001, b"GET / HTTP/1.1\r\n\r\n"), []);
    assert_eq!((bench.totals().looked, bench.totals().none), (1, 1));

    let Some(mut bench) = Bench::new() else { return };
    bench.open();
    for sequence in 0..4 {
        assert_eq!(bench.segment(true, 1001 + sequence * 4, 5001, b"\0\x01\x02\x03"), []);
    }
    assert_eq!(bench.segment(true, 1017, 5001, b"GET / HTTP/1.1\r\n\r\n"), []);
    assert_eq!((bench.totals().looked, bench.totals().none), (4, 1));

    let Some(mut bench) = Bench::new() else { return };
    for sequence in 0..10 {
        assert_eq!(bench.segment(true, 1001 + sequence * 4, 5001, b"\0\x01\x02\x03"), []);
    }
    assert_eq!(bench.segment(true, 1041, 5001, b"GET / HTTP/1.1\r\n\r\n").len(), 1);
}

/// Ports used again begin anew: what was left alone is looked at.
#[test]
fn connections_begin_anew() {
    let Some(mut bench) = Bench::new() else { return };
    bench.open();
    bench.segment(true, 1001, 5001, b"\x16\x03\x01\x02\0\x01");
    bench.flagged(true, ACK | FIN, 1007, 5001, b"");
    bench.flagged(false, ACK | FIN, 5001, 1008, b"");
    bench.open();
    let records = bench.segment(true, 1001, 5001, b"GET / HTTP/1.1\r\n\r\n");
    assert_eq!((records.len(), records[0].0.flags), (1, message_flag::FIRST));
}

/// DNS over TCP is sent whole, up to what a sender may send.
#[test]
fn dns_over_tcp() {
    let Some(mut bench) = Bench::new() else { return };
    let send = |bench: &mut Bench, flags, sequence, payload: &[u8]| {
        bench.kernel.send(Hook::FromPod, &tcp(ends(true, (B, 53)), flags, sequence, 5001, payload));
        bench.records()
    };
    assert_eq!(send(&mut bench, SYN, 1000, b""), []);
    let one = send(&mut bench, ACK, 1001, b"\0");
    assert_eq!(
        (one[0].0.kind, one[0].0.flags, payloads(&one)),
        (message_kind::DNS_TCP, message_flag::FIRST, vec![&b"\0"[..]])
    );
    // 64 KiB in all.
    let mut sequence = 1002;
    while bench.totals().budget == 0 {
        let records = send(&mut bench, ACK, sequence, &[3; 3000]);
        let parts: Vec<_> =
            records.iter().map(|(message, _)| (message.sequence, message.captured, message.flags)).collect();
        assert!(parts.is_empty() || parts == [(sequence, 3000, 0)], "{parts:?}");
        sequence += 3000;
    }
    assert_eq!(sequence, 1002 + 22 * 3000);
    assert_eq!(send(&mut bench, ACK, sequence, b"more"), []);
    assert_eq!(bench.totals().found[DNS_TCP], 1);
}

/// Lists of ports say what is looked at, and a side that is not wanted is left alone from the
/// start.
#[test]
fn ports_and_sides() {
    let ports = |port| [port, 0, 0, 0, 0, 0, 0, 0];
    let head = b"GET / HTTP/1.1\r\n\r\n";
    for (settings, switch, expected) in [
        (Layer7Settings { http_ports: ports(80), ..Layer7Settings::default() }, ALL, 1),
        (Layer7Settings { http_ports: ports(81), ..Layer7Settings::default() }, ALL, 0),
        (Layer7Settings { http_ports_ignored: ports(80), ..Layer7Settings::default() }, ALL, 0),
        (Layer7Settings { dns_ports: ports(80), ..Layer7Settings::default() }, ALL, 1),
        (Layer7Settings::default(), l7_switch::HTTP_CLIENT, 1),
        (Layer7Settings::default(), l7_switch::HTTP_SERVER, 0),
        (Layer7Settings::default(), l7_switch::DNS_CLIENT, 0),
    ] {
        let Some(mut bench) = Bench::with(settings, switch) else { return };
        bench.open();
        assert_eq!(bench.segment(true, 1001, 5001, head).len(), expected, "{settings:?} {switch}");
    }
}

/// Bytes behind the IP packet's end, such as the padding of short frames, are no payload.
#[test]
fn padding_is_no_payload() {
    let Some(mut bench) = Bench::new() else { return };
    let mut packet = udp(CLIENT, (B, 53), QUERY);
    packet.extend([0; 40]);
    assert_eq!(packet[6..12], MAC_A[..], "an Ethernet frame");
    bench.kernel.send(Hook::FromPod, &packet);
    assert_eq!(payloads(&bench.records()), [QUERY]);
}

/// The preface of HTTP/2.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame of HTTP/2.
fn frame(of: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[of, flags, 0, 0, 0, stream], payload].concat()
}

fn settings() -> Vec<u8> {
    frame(4, 0, 0, &[0, 3, 0, 0, 0, 100])
}

fn headers(stream: u8, block: &[u8]) -> Vec<u8> {
    frame(1, 4, stream, block)
}

fn data(stream: u8, length: usize) -> Vec<u8> {
    frame(0, 0, stream, &vec![b'x'; length])
}

/// Of HTTP/2 the preface and the frames that user space reads are sent, however they lie in the
/// segments, and no body.
#[test]
fn frames_are_followed() {
    let Some(mut bench) = Bench::new() else { return };
    bench.open();
    let first =
        [PREFACE, &settings(), &headers(1, b"\x82\x84"), &data(1, 100), &frame(3, 0, 1, &[0, 0, 0, 8])].concat();
    let records = bench.segment(true, 1001, 5001, &first);
    assert_eq!(payloads(&records), [PREFACE, &headers(1, b"\x82\x84"), &frame(3, 0, 1, &[0, 0, 0, 8])]);
    let flags: Vec<_> = records.iter().map(|(message, _)| (message.kind, message.flags, message.sequence)).collect();
    let at = |skipped: usize| 1001 + skipped as u32;
    assert_eq!(
        flags,
        [
            (message_kind::HTTP2, message_flag::FIRST | message_flag::CUT, at(0)),
            (message_kind::HTTP2, 0, at(24 + 15)),
            (message_kind::HTTP2, 0, at(24 + 15 + 11 + 109)),
        ]
    );
    let mut sequence = at(first.len());
    // A body over several segments, then a frame behind it.
    let body = [data(3, 3000), headers(5, b"\x82\x86")].concat();
    for part in body.chunks(1000) {
        let expected: &[&[u8]] = if part.len() < 1000 { &[&headers(5, b"\x82\x86")] } else { &[] };
        assert_eq!(payloads(&bench.segment(true, sequence, 5001, part)), expected);
        sequence += part.len() as u32;
    }
    // A block over two segments.
    let block = headers(7, &[7; 600]);
    let begins = bench.segment(true, sequence, 5001, &block[..400]);
    assert_eq!((payloads(&begins), begins[0].0.flags), (vec![&block[..400]], 0));
    let rest = [&block[400..], &headers(9, b"\x82")].concat();
    let ends = bench.segment(true, sequence + 400, 5001, &rest);
    assert_eq!(payloads(&ends), [&block[400..], &headers(9, b"\x82")[..]]);
    assert_eq!((ends[0].0.flags & message_flag::CONTINUES, ends[1].0.flags), (message_flag::CONTINUES, 0));
    // The server begins where its stream does.
    let answer = [settings(), headers(1, b"\x88"), data(1, 20)].concat();
    assert_eq!(payloads(&bench.segment(false, 5001, sequence, &answer)), [headers(1, b"\x88")]);
    let totals = bench.totals();
    assert_eq!((totals.found, totals.resync, totals.frames), ([0, 1, 0, 0], 0, 0));
}

/// A frame is sent whole in as many records as it needs, also when it goes on in other segments and
/// when its head was split; of a longer one than is read only the beginning is.
#[test]
fn long_frames() {
    let joined = |records: &[(Message, Vec<u8>)]| -> Vec<u8> {
        let mut next = None;
        for (number, (message, payload)) in records.iter().enumerate() {
            assert!(
                next.is_none_or(|next| next == message.sequence),
                "record {number} begins where the one before ends"
            );
            assert_eq!(message.has(message_flag::CONTINUES), number > 0, "record {number}");
            next = Some(message.sequence + payload.len() as u32);
        }
        records.iter().flat_map(|(_, payload)| payload.clone()).collect()
    };
    // A test packet has less than a page; a segment of several records is for the live tests.
    for (size, first) in [(2500, 2509), (6000, 3000), (16_384, 3000), (16_384, 100), (16_384, 5)] {
        let Some(mut bench) = Bench::new() else { return };
        bench.open();
        bench.segment(true, 1001, 5001, &[PREFACE, &settings()].concat());
        let sequence = 1001 + 24 + 15;
        let whole = headers(1, &vec![7; size]);
        let mut records = bench.segment(true, sequence, 5001, &whole[..first]);
        for (number, part) in whole[first..].chunks(3000).enumerate() {
            records.extend(bench.segment(true, sequence + (first + number * 3000) as u32, 5001, part));
        }
        assert!(joined(&records) == whole, "{size} {first}");
        let next = bench.segment(true, sequence + whole.len() as u32, 5001, &headers(3, b"\x82"));
        assert_eq!(payloads(&next), [headers(3, b"\x82")]);
    }
    let Some(mut bench) = Bench::new() else { return };
    bench.open();
    let whole = headers(1, &vec![7; 20_000]);
    bench.segment(true, 1001, 5001, &[PREFACE, &settings()].concat());
    let records = bench.segment(true, 1040, 5001, &whole[..3000]);
    assert!(joined(&records) == whole[..3000]);
    let rest = [&whole[3000..], &headers(3, b"\x82")].concat();
    let mut records = Vec::new();
    for (number, part) in rest.chunks(3000).enumerate() {
        records.extend(bench.segment(true, 4040 + number as u32 * 3000, 5001, part));
    }
    assert_eq!(payloads(&records), [headers(3, b"\x82")]);
}

/// A head that is split between two segments is put together, at whichever byte.
#[test]
fn heads_of_frames_are_split() {
    for at in 1..9 {
        let Some(mut bench) = Bench::new() else { return };
        bench.open();
        let begin = [PREFACE, &settings(), &headers(1, b"\x82\x84")[..at]].concat();
        assert_eq!(payloads(&bench.segment(true, 1001, 5001, &begin)), [PREFACE]);
        let rest = [&headers(1, b"\x82\x84")[at..], &data(1, 5)].concat();
        let sequence = 1001 + begin.len() as u32;
        let records = bench.segment(true, sequence, 5001, &rest);
        assert_eq!(payloads(&records), [headers(1, b"\x82\x84")], "split at {at}");
        assert_eq!((records[0].0.sequence, records[0].0.flags), (sequence - at as u32, 0));
        let next = sequence + rest.len() as u32;
        assert_eq!(bench.segment(true, next, 5001, &headers(3, b"\x82")).len(), 1);
        assert_eq!(bench.totals().resync, 0);
    }
}

/// Behind a segment that was not seen, only a segment that begins with whole frames is taken up
/// again, and says so; one that begins a byte late is not.
#[test]
fn frames_are_taken_up_behind_a_gap() {
    let Some(mut bench) = Bench::new() else { return };
    bench.open();
    bench.segment(true, 1001, 5001, &[PREFACE, &settings()].concat());
    let whole = [headers(3, b"\x82\x84"), data(3, 50)].concat();
    assert_eq!(bench.segment(true, 9000, 5001, &whole[1..]), []);
    let taken = bench.segment(true, 12_000, 5001, &whole);
    assert_eq!((payloads(&taken), taken[0].0.flags), (vec![&headers(3, b"\x82\x84")[..]], message_flag::GAP));
    let next = bench.segment(true, 12_000 + whole.len() as u32, 5001, &headers(5, b"\x82"));
    assert_eq!((next.len(), next[0].0.flags), (1, 0));
    // A repeat is not read.
    assert_eq!(bench.segment(true, 12_000, 5001, &whole), []);
    assert_eq!(bench.totals().resync, 1);
}

/// A connection that was picked up midway is found by its frames.
#[test]
fn http2_is_joined_late() {
    let Some(mut bench) = Bench::new() else { return };
    let taken = bench.segment(true, 7000, 5001, &[headers(3, b"\x82"), data(3, 10)].concat());
    assert_eq!((payloads(&taken), taken[0].0.flags), (vec![&headers(3, b"\x82")[..]], message_flag::GAP));
    assert_eq!(bench.totals().found, [0, 1, 0, 0]);
}

/// More frames than are followed lose the place by name.
#[test]
fn a_segment_of_many_frames() {
    let Some(mut bench) = Bench::new() else { return };
    bench.open();
    let many = data(1, 0).repeat(300);
    assert_eq!(bench.segment(true, 1001, 5001, &[PREFACE, &many, &headers(1, b"\x82")].concat()).len(), 2);
    assert_eq!(bench.totals().frames, 0);
}
