//! Records of layer 7 as the kernel writes them, for tests and benches that count and measure.

#![allow(dead_code, reason = "each uses its part of it")]

use webb_decode::l7::{Connection, Event, Judgement, Sink};
use webb_flow::abi::{Message, VERSION, message_kind};
use zerocopy::IntoBytes;

/// Counts events.
#[derive(Default)]
pub(crate) struct Count(pub(crate) u64);

impl Sink for Count {
    fn judge(&mut self, _: &Connection) -> Judgement {
        Judgement::Emit
    }

    fn emit(&mut self, event: &Event<'_>) {
        self.0 += u64::from(event.time_ns > 0);
    }
}

const REQUEST: &[u8] = b"GET /api/v1/landing?ship=tie&pilot=7 HTTP/1.1\r\nHost: deathstar.default.svc\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)\r\nAccept: */*\r\n\
    Accept-Encoding: gzip, deflate, br\r\nAccept-Language: en-GB,en;q=0.9\r\nConnection: keep-alive\r\n\
    X-Request-Id: 3f1c2a9e-4f1f-4c3c-9f5e-000000000000\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nServer: nginx/1.25.3\r\nDate: Mon, 21 Oct 2013 20:13:21 GMT\r\n\
    Content-Type: text/html\r\nContent-Length: 612\r\nLast-Modified: Tue, 24 Oct 2013 13:46:47 GMT\r\n\
    Connection: keep-alive\r\nETag: \"6537cac7-264\"\r\nAccept-Ranges: bytes\r\n\r\n";
const QUERY: &[u8] = b"\0\0\x01\0\0\x01\0\0\0\0\0\0\x09deathstar\x07default\x03svc\x07cluster\x05local\0\0\x01\0\x01";

fn record(kind: u8, from_client: bool, client: u16, number: u32, time_ns: u64, payload: &[u8]) -> Vec<u8> {
    let captured = u16::try_from(payload.len()).unwrap();
    let ports = if from_client { (client, 80) } else { (80, client) };
    let ends = if from_client { (10, 20) } else { (20, 10) };
    let message = Message {
        version: VERSION,
        kind,
        captured,
        ifindex: 7,
        time_ns,
        source: [ends.0; 16],
        destination: [ends.1; 16],
        source_port: ports.0,
        destination_port: ports.1,
        sequence: number,
        acknowledgement: number,
        payload: u32::from(captured),
        begin: number,
        family: 4,
        protocol: if kind == message_kind::DNS { 17 } else { 6 },
        hook: u8::from(!from_client),
        flags: 0,
    };
    [message.as_bytes(), payload].concat()
}

/// 256 DNS exchanges.
pub(crate) fn dns() -> Vec<Vec<u8>> {
    let exchange = |number: u16| {
        let mut query = QUERY.to_vec();
        query[..2].copy_from_slice(&number.to_be_bytes());
        let mut answer = query.clone();
        (answer[2], answer[7]) = (0x81, 2);
        for last in [1, 2] {
            answer.extend(b"\xc0\x0c\0\x01\0\x01\0\0\0\x1e\0\x04\x0a\x01\x02");
            answer.push(last);
        }
        let of = |from_client, payload: &[u8]| record(message_kind::DNS, from_client, 1000 + number, 0, 5, payload);
        [of(true, &query), of(false, &answer)]
    };
    (0..256).flat_map(exchange).collect()
}

/// 256 exchanges of HTTP/1 on 16 connections; the `round`th time of them.
pub(crate) fn http1(round: u32) -> Vec<Vec<u8>> {
    let exchange = |number: u32| {
        let client = 1000 + u16::try_from(number % 16).unwrap();
        let turn = round * 16 + number / 16;
        let (request, response) = (u32::try_from(REQUEST.len()).unwrap(), u32::try_from(RESPONSE.len()).unwrap() + 612);
        let mut first = record(message_kind::HTTP1, true, client, turn.wrapping_mul(request), 5, REQUEST);
        // What was read of the responses before.
        first[56..60].copy_from_slice(&turn.wrapping_mul(response).to_ne_bytes());
        let mut second = record(message_kind::HTTP1, false, client, turn.wrapping_mul(response), 6, RESPONSE);
        second[56..60].copy_from_slice(&(turn + 1).wrapping_mul(request).to_ne_bytes());
        [first, second]
    };
    (0..256).flat_map(exchange).collect()
}

/// 256 gRPC calls, three blocks each, on 16 connections; the `round`th time of them.
pub(crate) fn http2(round: u32) -> Vec<Vec<u8>> {
    // Names and values of the first call go into the tables, later ones are their indices.
    let insert = b"\x83\x86\x44\x10/fleet.DeathStar\x41\x01s\x5f\x10application/grpc\x40\x02te\x08trailers";
    let indexed = b"\x83\x86\xc1\xc0\xbf\xbe";
    let call = |number: u32| {
        let client = 2000 + u16::try_from(number % 16).unwrap();
        let turn = round * 16 + number / 16;
        let first: &[u8] = if turn == 0 { insert } else { indexed };
        let parts: [(bool, &[u8]); 3] =
            [(true, first), (false, b"\x88\x0f\x10\x10application/grpc"), (false, b"\0\x0bgrpc-status\x010")];
        parts.into_iter().enumerate().map(move |(part, (from_client, block))| {
            let length = u8::try_from(block.len()).unwrap();
            let stream = (turn * 2 + 1).to_be_bytes();
            let frame = [&[0, 0, length, 1, 4], &stream[..], block].concat();
            let frame = if turn == 0 && from_client {
                [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &frame[..]].concat()
            } else {
                frame
            };
            let sequence = turn.wrapping_mul(4096) + u32::try_from(part).unwrap() * 512;
            record(message_kind::HTTP2, from_client, client, sequence, 5, &frame)
        })
    };
    (0..256).flat_map(call).collect()
}
