//! Calls of connections that end.

use webb_flow::{Flow, L4, Point, TcpFlags};

use super::*;

const UNKNOWN: &str = "< grpc Unknown /fleet.Death/Star 0ms";

/// A call with a response, and one without.
fn begun() -> Talk {
    let mut talk = Talk::new(false);
    talk.headers(true, 1, 0, CALL);
    talk.headers(true, 3, 0, CALL);
    talk.headers(false, 3, 0, OK);
    talk.bench.lines();
    talk.bench.now_ns += 1000 * MILLISECOND;
    talk
}

impl Talk {
    /// A packet with these flags, as the client's interface sees it.
    fn flags(&mut self, from_client: bool, flags: u16) {
        let record = self.bench.record(from_client);
        let flow = Flow {
            time_ns: record.time_ns,
            source_ip: Address(record.source),
            destination_ip: Address(record.destination),
            source_port: record.source_port,
            destination_port: record.destination_port,
            ifindex: record.ifindex,
            l4: L4::Tcp,
            tcp_flags: TcpFlags::known(flags),
            point: if from_client { Point::ToStack } else { Point::ToEndpoint },
            ..Flow::default()
        };
        if let Some(close) = Close::of(&flow) {
            self.bench.dissector.close(close);
        }
    }

    /// What comes out once the closes so far have waited.
    fn settled(&mut self, milliseconds: u64) -> Vec<String> {
        self.bench.now_ns += milliseconds * MILLISECOND;
        self.bench.dissector.end_closed(self.bench.now_ns, usize::MAX, &mut self.bench.kept);
        self.bench.balance();
        self.bench.lines()
    }
}

/// Calls are unknown as soon as their connection is closed: by a RST of either side, or by the FINs
/// of both.
#[test]
fn calls_end_with_their_connection() {
    for closes in [
        &[(true, TcpFlags::RST)][..],
        &[(false, TcpFlags::RST | TcpFlags::ACK)],
        &[(true, TcpFlags::FIN), (false, TcpFlags::FIN)],
        &[(false, TcpFlags::FIN | TcpFlags::ACK), (true, TcpFlags::FIN | TcpFlags::PSH)],
    ] {
        let mut talk = begun();
        for (from_client, flags) in closes {
            talk.flags(*from_client, *flags);
        }
        assert_eq!(talk.settled(100), [""; 0], "what was sent before may be on its way");
        assert_eq!(talk.settled(100), [UNKNOWN, UNKNOWN], "{closes:?}");
        assert_eq!(talk.unanswered(Unanswered::Closed), 1);
        assert_eq!(talk.bench.dissector.gauges().connections, 0);
        assert_eq!(talk.settled(1000), [""; 0]);
    }
}

/// A connection that one side has closed goes on in the other direction, and so does one in which
/// something comes after its RST, which then was none of it. No other packet is a close.
#[test]
fn open_connections_stay() {
    let mut half = begun();
    half.flags(true, TcpFlags::FIN);
    half.flags(true, TcpFlags::FIN | TcpFlags::ACK);
    half.flags(false, TcpFlags::ACK | TcpFlags::PSH);
    assert_eq!(half.settled(1000), [""; 0]);
    half.headers(false, 1, END_STREAM, &[(":status", "200"), ("grpc-status", "0")]);
    assert_eq!(half.bench.lines().len(), 2);
    half.flags(false, TcpFlags::FIN);
    assert_eq!(half.settled(1000), [UNKNOWN], "the second has no end");

    let mut forged = begun();
    forged.flags(false, TcpFlags::RST);
    forged.bench.now_ns += 150 * MILLISECOND;
    forged.headers(false, 3, END_STREAM, &[("grpc-status", "0")]);
    assert_eq!(forged.settled(1000), ["< grpc Number(0) /fleet.Death/Star 1150ms"]);
    assert_eq!(forged.bench.dissector.gauges().connections, 1);
}

/// What was sent just before the close, and is read after it, counts; a close of the connection
/// that had the same ports before does not end the next one.
#[test]
fn closes_that_overtake() {
    let mut talk = begun();
    talk.flags(false, TcpFlags::RST);
    talk.headers(false, 3, END_STREAM, &[("grpc-status", "0")]);
    assert_eq!(talk.settled(1000), ["< grpc Number(0) /fleet.Death/Star 1000ms", UNKNOWN]);

    let mut again = begun();
    again.flags(true, TcpFlags::FIN);
    again.flags(false, TcpFlags::FIN);
    again.bench.now_ns += 100 * MILLISECOND;
    again.send(true, PREFACE, 4);
    assert_eq!(again.bench.lines(), [UNKNOWN, UNKNOWN]);
    again.headers(true, 1, 0, CALL);
    again.bench.lines();
    assert_eq!(again.settled(1000), [""; 0]);
}

/// A turn that has room for fewer ends takes the next connection later.
#[test]
fn ends_are_spread_over_turns() {
    let mut talk = begun();
    talk.flags(true, TcpFlags::RST);
    let late = talk.bench.now_ns + 1000 * MILLISECOND;
    for (room, emitted) in [(0, 0), (1, 2), (9, 0)] {
        assert_eq!(talk.bench.dissector.end_closed(late, room, &mut talk.bench.kept), emitted);
        assert_eq!(talk.bench.lines(), vec![UNKNOWN; emitted]);
    }
}
