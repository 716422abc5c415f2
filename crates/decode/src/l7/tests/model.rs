//! HTTP/1 against a plain model of whole sessions: random exchanges, cut into segments, repeated,
//! reordered and lost, through a copy of the kernel's choice of segments.
//!
//! Each exchange has its number in the path and in the status, so a response that is matched with
//! another's request shows.

use proptest::prelude::*;

use super::*;

const SERVER: (&str, u16) = ("10.244.1.11", 80);
const H1: MessageProtocol = MessageProtocol::Http1;

/// Random numbers that a seed repeats.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((self.0 >> 33) % most as u64).unwrap()
    }

    pub(super) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

/// Order and loss of segments.
#[derive(Debug, Clone, Copy)]
struct Network {
    /// Bytes of a segment; 0 for any number of them up to 3,000.
    cut: usize,
    repeated: usize,
    reordered: usize,
    lost: usize,
    /// Bodies may be full of heads. One whose own head is lost or late cannot be told from a
    /// message then.
    heads: bool,
    /// Requests with a line longer than is captured, or with a method that the kernel may not know.
    odd: usize,
}

/// The kernel's choice of segments (4.4 and 4.5) for one sender.
#[derive(Default)]
struct Filter {
    wanted: u8,
    next: u32,
}

impl Filter {
    /// Captured bytes and flags of a segment that is sent.
    fn look(&mut self, sequence: u32, bytes: &[u8]) -> Option<(usize, u8)> {
        let begin = &bytes[..bytes.len().min(8)];
        let response = begin.starts_with(b"HTTP/1.") || (begin.len() <= 6 && b"HTTP/1.".starts_with(begin));
        let upper = |letter: &u8| letter.is_ascii_uppercase() || *letter == b'-';
        let word = begin.iter().take_while(|letter| upper(letter)).count();
        let other = begin.iter().take_while(|letter| letter.is_ascii_alphanumeric() || b"-_".contains(letter)).count();
        let request = word == begin.len()
            || word >= 3 && begin[word] == b' '
            || other >= 3 && begin.get(other..other + 2) == Some(b" /");
        let head = response || request || begin.starts_with(b"\r\n");
        let continues = self.wanted > 0 && sequence == self.next && !head;
        let repeat = head && self.wanted > 0 && sequence.wrapping_sub(self.next).cast_signed() < 0;
        if !head && !continues {
            return None;
        }
        let captured = bytes.len().min(if response { 1024 } else { 2048 });
        if !repeat {
            let whole = captured == bytes.len() && !bytes.ends_with(b"\r\n\r\n") && (!response || bytes.len() < 512);
            self.wanted = match (continues, whole) {
                (_, false) => 0,
                (false, true) => 15,
                (true, true) => self.wanted.saturating_sub(if bytes.len() > 64 { 4 } else { 1 }),
            };
            self.next = sequence.wrapping_add(u32::try_from(bytes.len()).unwrap());
        }
        Some((captured, u8::from(continues) | if captured < bytes.len() { 2 } else { 0 }))
    }
}

fn body(dice: &mut Dice, heads: bool) -> Vec<u8> {
    let like: &[u8] = [b"x".as_slice(), b"HTTP/1.1 200 OK\r\n\r\n", b"GET /no HTTP/1.1\r\n\r\n"]
        [if heads { dice.below(3) } else { 0 }];
    let length = [0, 1, 30, 700, 5_000, 40_000][dice.below(6)];
    like.iter().copied().cycle().take(length).collect()
}

fn fields(dice: &mut Dice) -> String {
    let length = [0, 20, 300, 1500][dice.below(4)];
    format!("X-Fill: {}\r\n", "f".repeat(length))
}

/// A request and its response.
fn exchange(dice: &mut Dice, number: usize, Network { heads, odd, .. }: Network) -> [Vec<u8>; 2] {
    let mut method = ["GET", "HEAD", "POST", "PUT", "DELETE"][dice.below(5)];
    let mut query = String::new();
    let [long_query, odd_method] = [(); 2].map(|()| dice.chance(odd));
    if long_query {
        query = format!("?{}", "q".repeat(dice.below(6000)));
    } else if odd_method {
        method = ["get", "Get_9", "version_control"][dice.below(3)];
    }
    let mut request = format!("{method} /{number}{query} HTTP/1.1\r\nHost: s\r\n{}", fields(dice)).into_bytes();
    if matches!(method, "POST" | "PUT") {
        finish(dice, &mut request, heads);
    } else {
        request.extend(b"\r\n");
    }
    let mut response = Vec::new();
    if dice.chance(10) {
        response.extend(b"HTTP/1.1 100 Continue\r\n\r\n");
    }
    response.extend(format!("HTTP/1.1 {} x\r\n{}", 400 + number, fields(dice)).into_bytes());
    if method == "HEAD" {
        response.extend(format!("Content-Length: {}\r\n\r\n", dice.below(100_000)).into_bytes());
    } else {
        finish(dice, &mut response, heads);
    }
    [request, response]
}

/// Adds a body, with its length or in chunks.
fn finish(dice: &mut Dice, message: &mut Vec<u8>, heads: bool) {
    let body = body(dice, heads);
    if dice.chance(50) {
        message.extend(format!("Content-Length: {}\r\n\r\n", body.len()).into_bytes());
        message.extend(body);
        return;
    }
    message.extend(b"Transfer-Encoding: chunked\r\n\r\n");
    for chunk in body.chunks(3000) {
        message.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
        message.extend(chunk);
        message.extend(b"\r\n");
    }
    message.extend(b"0\r\n\r\n");
}

/// Outcome of a session.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Outcome {
    exchanges: u64,
    right: u64,
    wrong: u64,
    /// What is not right, by all reasons.
    named: u64,
}

/// Plays a session of exchanges in turn.
fn play(seed: u64, network: Network) -> Outcome {
    let mut dice = Dice(seed);
    let wants = Wants { url: true, ..Wants::default() };
    let mut bench = Bench::with(message_kind::HTTP1, SERVER, Limits::default(), wants);
    let begin = [u32::MAX - 50_000, 77];
    let (mut sent, mut filters, mut first) = (begin, [Filter::default(), Filter::default()], [true; 2]);
    let mut outcome = Outcome { exchanges: 5 + dice.below(20) as u64, ..Outcome::default() };
    for number in 0..usize::try_from(outcome.exchanges).unwrap() {
        for (side, bytes) in exchange(&mut dice, number, network).into_iter().enumerate() {
            let mut segments = Vec::new();
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                let size = if network.cut == 0 { 1 + dice.below(3000) } else { network.cut };
                let (segment, behind) = rest.split_at(size.min(rest.len()));
                segments.push((sent[side], segment));
                sent[side] = sent[side].wrapping_add(u32::try_from(segment.len()).unwrap());
                rest = behind;
            }
            for at in 1..segments.len() {
                if side == 0 && dice.chance(network.reordered) {
                    segments.swap(at - 1, at);
                }
            }
            for at in (0..segments.len()).rev() {
                if dice.chance(network.repeated) {
                    let to = (at + 1 + dice.below(3)).min(segments.len());
                    segments.insert(to, segments[at]);
                }
            }
            for (sequence, segment) in segments {
                let Some((captured, flags)) = filters[side].look(sequence, segment) else { continue };
                if dice.chance(network.lost) {
                    first[side] = false;
                    continue;
                }
                let from = if std::mem::take(&mut first[side]) { begin[side] } else { sequence };
                let record = Message {
                    sequence,
                    acknowledgement: sent[1 - side],
                    payload: u32::try_from(segment.len()).unwrap(),
                    begin: from,
                    flags,
                    ..bench.record(side == 0)
                };
                bench.read(record, &segment[..captured]);
            }
        }
    }
    for line in bench.lines().iter().filter(|line| line.starts_with('<')) {
        let status = line.split(' ').nth(2).unwrap();
        let number = (status.parse::<usize>().unwrap().wrapping_sub(400)).to_string();
        let right = line.rsplit('/').next().unwrap().split('?').next().unwrap() == number;
        outcome.right += u64::from(right);
        outcome.wrong += u64::from(!right);
    }
    let ledger = bench.dissector.ledger();
    let unanswered: u64 = Unanswered::ALL.iter().map(|reason| ledger.unanswered_for(H1, *reason)).sum();
    let orphans = ledger.messages(H1, MessageType::Response, MessageOutcome::Unmatched);
    outcome.named = outcome.wrong + unanswered + orphans + bench.dissector.gauges().requests;
    outcome
}

fn play_many(sessions: u64, network: Network) -> Outcome {
    (0..sessions).map(|seed| play(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15), network)).fold(
        Outcome::default(),
        |sum, one| Outcome {
            exchanges: sum.exchanges + one.exchanges,
            right: sum.right + one.right,
            wrong: sum.wrong + one.wrong,
            named: sum.named + one.named,
        },
    )
}

const PLAIN: Network = Network { cut: 1448, repeated: 0, reordered: 0, lost: 0, heads: false, odd: 0 };

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// Without loss and reordering every exchange is right, however it is cut and repeated.
    #[test]
    fn exact(seed in any::<u64>(), cut in prop::sample::select(vec![65_536, 1448, 536, 0]), repeated in 0_usize..6) {
        let outcome = play(seed, Network { cut, repeated, heads: true, ..PLAIN });
        prop_assert_eq!(outcome, Outcome { right: outcome.exchanges, ..outcome });
        prop_assert_eq!(outcome.wrong, 0);
    }

    /// Lines longer than is captured and methods of any letters: no response is wrong, and what is
    /// not right has a reason.
    #[test]
    fn odd_requests(seed in any::<u64>(), cut in prop::sample::select(vec![65_536, 1448, 536, 0])) {
        let outcome = play(seed, Network { cut, odd: 30, ..PLAIN });
        prop_assert_eq!(outcome.wrong, 0, "{:?}", outcome);
        prop_assert!(outcome.right + outcome.named >= outcome.exchanges, "{:?}", outcome);
    }

    /// Reordered requests make no response wrong.
    #[test]
    fn reordered(seed in any::<u64>()) {
        prop_assert_eq!(play(seed, Network { reordered: 5, ..PLAIN }).wrong, 0);
    }
}

/// One byte a segment: as much as is sent of a head counts, and all that does not has a reason.
#[test]
fn byte_by_byte() {
    for odd in [0, 30] {
        let outcome = play_many(20, Network { cut: 1, odd, ..PLAIN });
        assert_eq!(outcome.wrong, 0, "{outcome:?}");
        assert!(outcome.right + outcome.named >= outcome.exchanges, "{outcome:?}");
        assert!(odd > 0 || outcome.right * 10 >= outcome.exchanges * 9, "{outcome:?}");
    }
}

/// Requests that come byte by byte, each of more than is sent, in turn with whole ones: all count.
#[test]
fn byte_by_byte_in_turn() {
    let requests = [
        ("DELETE /one/byte/after/another HTTP/1.1\r\nX: lower-case-letters\r\n\r\n", 1),
        ("GET / HTTP/1.1\r\n\r\n", 100),
    ];
    let answer = ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 100);
    let mut bench = Bench::new(message_kind::HTTP1, SERVER);
    let (mut sent, mut filters) = ([1000_u32, 9000], [Filter::default(), Filter::default()]);
    for request in requests.repeat(3) {
        for (side, (text, most)) in [request, answer].into_iter().enumerate() {
            for part in text.as_bytes().chunks(most) {
                if let Some((captured, flags)) = filters[side].look(sent[side], part) {
                    let (sequence, acknowledgement) = (sent[side], sent[1 - side]);
                    let record =
                        Message { sequence, begin: sequence, acknowledgement, flags, ..bench.record(side == 0) };
                    bench.read(record, &part[..captured]);
                }
                sent[side] += u32::try_from(part.len()).unwrap();
            }
        }
    }
    let lines = bench.lines();
    let answered = |method: &str| lines.iter().filter(|line| line.starts_with(&format!("< {method} 200"))).count();
    assert_eq!((answered("DELETE"), answered("GET"), lines.len()), (3, 3, 12), "{lines:?}");
}

/// With records lost nearly nothing is wrong, and most is right.
#[test]
fn lost_records() {
    for (lost, wrong, right) in [(2, 1, 900), (20, 10, 400)] {
        let outcome = play_many(300, Network { lost, ..PLAIN });
        assert!(outcome.wrong * 1000 <= outcome.exchanges * wrong, "{lost} %: {outcome:?}");
        assert!(outcome.right * 1000 >= outcome.exchanges * right, "{lost} %: {outcome:?}");
    }
}
