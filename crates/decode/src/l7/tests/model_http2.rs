//! HTTP/2 against a plain model of whole sessions: streams that overlap, header blocks that refer
//! to one another by the table, cut into frames and records, lost, and joined in the middle.
//!
//! Each exchange has its number in the path and in the status, so a response that is matched with
//! another's request, or read by a table that is not the sender's, shows.

use std::collections::VecDeque;

use proptest::prelude::*;
use webb_flow::abi::message_flag;

use super::model::Dice;
use super::*;

const SERVER: (&str, u16) = ("10.244.1.11", 80);
const H2: MessageProtocol = MessageProtocol::Http2;
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A sender's table, newest first, and what it has sent.
#[derive(Default)]
struct Sender {
    table: VecDeque<(String, String)>,
    sequence: u32,
}

impl Sender {
    /// A field by its place in the table, or as a new entry, or as none.
    fn field(&mut self, dice: &mut Dice, name: (u8, &str), value: &str, block: &mut Vec<u8>) {
        let known = self.table.iter().position(|(known, text)| known == name.1 && text == value);
        let length = u8::try_from(value.len()).unwrap();
        if let Some(at) = known {
            // 62 is the newest; behind 126 the number has a second byte.
            let index = u8::try_from(at + 62).unwrap();
            block.extend(if index < 127 { vec![0x80 | index] } else { vec![0xff, index - 127] });
        } else if dice.chance(80) {
            block.extend([0x40 | name.0, length]);
            block.extend(value.bytes());
            self.table.push_front((name.1.to_owned(), value.to_owned()));
            let size =
                |table: &VecDeque<(String, String)>| table.iter().map(|(a, b)| a.len() + b.len() + 32).sum::<usize>();
            while size(&self.table) > 4096 {
                self.table.pop_back();
            }
        } else {
            block.extend(if name.0 < 15 { vec![name.0, length] } else { vec![15, name.0 - 15, length] });
            block.extend(value.bytes());
        }
    }
}

/// Loss of records, and whether the agent was there from the beginning.
#[derive(Debug, Clone, Copy)]
struct Network {
    lost: usize,
    /// The sender's segments were passed over: its next record says so. Else the ring was full.
    gap: bool,
    late: bool,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    exchanges: u64,
    right: u64,
    wrong: u64,
    named: u64,
}

fn frame(of: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[of, flags], &stream.to_be_bytes(), payload].concat()
}

/// A header block in one to three frames.
fn frames(dice: &mut Dice, stream: u32, block: &[u8]) -> Vec<Vec<u8>> {
    let parts: Vec<&[u8]> = block.chunks(block.len().div_ceil(1 + dice.below(3))).collect();
    let last = parts.len() - 1;
    let one =
        |(at, part): (usize, &&[u8])| frame(if at == 0 { 1 } else { 9 }, if at == last { 4 } else { 0 }, stream, part);
    parts.iter().enumerate().map(one).collect()
}

/// Plays a session.
fn play(seed: u64, network: Network) -> Outcome {
    let mut dice = Dice(seed);
    let wants = Wants { url: true, ..Wants::default() };
    let mut bench = Bench::with(message_kind::HTTP2, SERVER, Limits::default(), wants);
    let mut senders = [Sender { sequence: u32::MAX - 2000, ..Sender::default() }, Sender::default()];
    let mut missed = [false; 2];
    let mut unseen = if network.late { 2 + dice.below(20) } else { 0 };
    let mut outcome = Outcome::default();
    if !network.late {
        let record = Message { sequence: senders[0].sequence - 24, flags: message_flag::FIRST, ..bench.record(true) };
        bench.read(record, PREFACE);
    }
    let mut waiting: Vec<u32> = Vec::new();
    for turn in 0..u32::try_from(30 + dice.below(60)).unwrap() {
        let answers = !waiting.is_empty() && (waiting.len() > 8 || dice.chance(50));
        let (side, number) = if answers { (1, waiting.remove(dice.below(waiting.len()))) } else { (0, turn) };
        let (stream, mut block) = (2 * number + 1, Vec::new());
        let (sender, any) = (&mut senders[side], dice.below(3));
        if answers {
            sender.field(&mut dice, (8, ":status"), &(400 + number).to_string(), &mut block);
            sender.field(&mut dice, (26, "content-encoding"), ["a", "b", "c"][any], &mut block);
        } else {
            waiting.push(number);
            // The two that the static table has.
            match any {
                0 => block.push(0x82),
                1 => block.push(0x83),
                _ => sender.field(&mut dice, (2, ":method"), "PUT", &mut block),
            }
            sender.field(&mut dice, (4, ":path"), &format!("/{number}"), &mut block);
            sender.field(&mut dice, (58, "user-agent"), &"x".repeat(60 + any), &mut block);
        }
        let seen = unseen == 0;
        unseen = unseen.saturating_sub(1);
        outcome.exchanges += u64::from(answers && seen);
        for bytes in frames(&mut dice, stream, &block) {
            // A record ends where the segment does.
            let (head, rest) = bytes.split_at(1 + dice.below(bytes.len()));
            for (at, part) in [head, rest].into_iter().enumerate().filter(|(_, part)| !part.is_empty()) {
                let sequence = senders[side].sequence;
                senders[side].sequence = sequence.wrapping_add(u32::try_from(part.len()).unwrap());
                if !seen {
                    continue;
                }
                if dice.chance(network.lost) {
                    missed[side] = true;
                    if !network.gap {
                        bench.dissector.records_lost();
                    }
                    continue;
                }
                let mut flags = if at > 0 { message_flag::CONTINUES } else { 0 };
                if network.gap && missed[side] {
                    // The kernel takes a sender up again where a frame begins.
                    if at > 0 {
                        continue;
                    }
                    missed[side] = false;
                    flags |= message_flag::GAP;
                }
                let record = Message { sequence, begin: sequence, flags, ..bench.record(side == 0) };
                bench.read(record, part);
            }
        }
        // A body that the kernel passes over.
        senders[side].sequence = senders[side].sequence.wrapping_add(u32::try_from(dice.below(5000)).unwrap());
    }
    for line in bench.lines().iter().filter(|line| line.starts_with('<')) {
        let number = line.split(' ').nth(2).unwrap().parse::<u32>().unwrap().wrapping_sub(400).to_string();
        let path = line.rsplit('/').next().unwrap();
        // The path of a request may be of a table that was not seen: then there is none.
        outcome.right += u64::from(path == number || path.is_empty());
        outcome.wrong += u64::from(path != number && !path.is_empty());
    }
    let ledger = bench.dissector.ledger();
    let unanswered: u64 = Unanswered::ALL.iter().map(|reason| ledger.unanswered_for(H2, *reason)).sum();
    let unmatched = ledger.messages(H2, MessageType::Response, MessageOutcome::Unmatched)
        + ledger.messages(H2, MessageType::Request, MessageOutcome::Unmatched);
    let torn = ledger.records(H2, RecordOutcome::Torn) + ledger.doubts(Doubt::Table) + ledger.doubts(Doubt::Block);
    outcome.named = outcome.wrong + unanswered + unmatched + torn + bench.dissector.gauges().requests;
    outcome
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    /// Seen as a whole every exchange is right.
    #[test]
    fn exact(seed in any::<u64>()) {
        let outcome = play(seed, Network { lost: 0, gap: false, late: false });
        prop_assert_eq!((outcome.right, outcome.wrong, outcome.named >= outcome.wrong), (outcome.exchanges, 0, true));
    }

    /// With records lost, in the ring or on the network, and joined in the middle, none is wrong.
    #[test]
    fn parts(seed in any::<u64>(), lost in prop::sample::select(vec![0, 2, 20]), gap in any::<bool>(), late in any::<bool>()) {
        let outcome = play(seed, Network { lost, gap, late });
        prop_assert_eq!(outcome.wrong, 0, "{:?}", outcome);
        prop_assert!(outcome.right + outcome.named >= outcome.exchanges, "{:?}", outcome);
    }
}

/// With some records lost most is right all the same.
#[test]
fn most_is_right() {
    for gap in [false, true] {
        let all: Vec<Outcome> = (1..200_u64)
            .map(|seed| play(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15), Network { lost: 1, gap, late: false }))
            .collect();
        let (right, exchanges) = all.iter().fold((0, 0), |sum, one| (sum.0 + one.right, sum.1 + one.exchanges));
        assert!(right * 2 > exchanges, "{right} of {exchanges}");
    }
}
