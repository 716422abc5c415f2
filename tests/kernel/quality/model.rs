//! Any sequence of segments against a plain model, which remembers all of them.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use webb::bpf_loader::{Mode, ProgramSettings, Timeouts};
use webb_flow::abi::{Record, VALUE_UNKNOWN, event};

use super::attempts::{icmp, unreachable};
use super::talk::{By, Pod, Talk, at, settings, with_events};
use crate::support::packets::{ACK, FIN, RST, SYN};
use crate::support::{Kernel, load};

/// Timeout of a test's wait.
const TIMEOUT: Duration = Duration::from_mins(1);

/// A step of a sequence. Offsets are backwards from what the side would send or acknowledge next.
#[derive(Debug, Clone, Copy)]
enum Step {
    Syn,
    SynAck,
    Data { by: By, back: u32, bytes: usize, unacknowledged: u32 },
    Fin(By),
    Rst(By),
    Unreachable,
}

fn steps() -> impl Strategy<Value = Step> {
    let by = prop_oneof![Just(By::Opener), Just(By::Acceptor)];
    let data = (by.clone(), prop_oneof![3 => Just(0_u32), 1 => 1..9_u32], 0..5_usize, 0..4_u32)
        .prop_map(|(by, back, bytes, unacknowledged)| Step::Data { by, back, bytes, unacknowledged });
    prop_oneof![
        3 => Just(Step::Syn),
        3 => Just(Step::SynAck),
        12 => data,
        2 => by.clone().prop_map(Step::Fin),
        1 => by.prop_map(Step::Rst),
        1 => Just(Step::Unreachable),
    ]
}

/// A side: which flags it has sent since the connection began, and its next byte.
#[derive(Debug, Default, Clone, Copy)]
struct Sender {
    has_acknowledged: bool,
    has_finished: bool,
    has_reset: bool,
    next: u32,
}

/// What is known of the connection on these ports.
#[derive(Debug, Default, Clone)]
#[allow(clippy::struct_excessive_bools, reason = "they are independent of each other")]
struct Model {
    /// There was a packet.
    exists: bool,
    /// It began with a SYN, and is not picked up midway.
    is_attempt: bool,
    has_outcome: bool,
    is_accepted: bool,
    has_ended: bool,
    opener: Sender,
    acceptor: Sender,
    /// Sequence of the attempt's last SYN.
    syn: u32,
    is_armed: bool,
    /// What ends the sample: the first byte of the measured segment and the one behind it.
    measured: Option<(u32, u32)>,
    /// Ranges that the pod has sent since it was armed.
    sent: Vec<(u32, u32)>,
    begun: u32,
    outcomes: u32,
}

impl Model {
    fn side(&mut self, by: By) -> &mut Sender {
        if by == By::Opener { &mut self.opener } else { &mut self.acceptor }
    }

    fn is_over(&self) -> bool {
        self.opener.has_reset || self.acceptor.has_reset || (self.opener.has_finished && self.acceptor.has_finished)
    }

    fn is_established(&self) -> bool {
        if self.is_attempt { self.is_accepted } else { self.opener.has_acknowledged && self.acceptor.has_acknowledged }
    }

    fn outcome(&mut self) -> bool {
        let first = self.is_attempt && !self.has_outcome;
        self.has_outcome |= first;
        self.outcomes += u32::from(first);
        first
    }

    fn end(&mut self) -> bool {
        let first = self.is_established() && !self.has_ended;
        self.has_ended |= first;
        first
    }

    /// A SYN: of a new connection if there is none or that has ended, but for an attempt that goes
    /// on. Returns the event of the attempt that it ends.
    fn syn(&mut self, sequence: u32) -> Option<u8> {
        if self.exists && !self.is_over() {
            return None;
        }
        let ends = self.exists && self.is_established() && !self.has_ended;
        let unanswered = self.is_attempt && !self.has_outcome;
        let goes_on = unanswered && !self.opener.has_acknowledged;
        let (begun, outcomes) = (self.begun, self.outcomes);
        // What was accepted unseen is neither an outcome nor an attempt of before.
        let open = u32::from(!goes_on);
        let next = (self.opener.next, self.acceptor.next);
        let dropped = u32::from(unanswered && !goes_on);
        *self = Self { exists: true, is_attempt: true, syn: sequence, ..Self::default() };
        (self.begun, self.outcomes) = (begun + open - dropped, outcomes);
        (self.opener.next, self.acceptor.next) = next;
        ends.then_some(event::INTERRUPTED)
    }
}

fn other(by: By) -> By {
    if by == By::Opener { By::Acceptor } else { By::Opener }
}

/// Carries out a step at both; returns what the model expects.
fn carry_out(kernel: &Kernel, talk: Talk, model: &mut Model, step: Step) -> Vec<u8> {
    let pod = if talk.pod == Pod::Opens { By::Opener } else { By::Acceptor };
    let mut expected = Vec::new();
    match step {
        Step::Syn => {
            let sequence = model.opener.next.wrapping_sub(1);
            talk.send_at(kernel, By::Opener, SYN, at(sequence, 0), b"");
            expected.extend(model.syn(sequence));
        }
        Step::SynAck => {
            talk.send_at(
                kernel,
                By::Acceptor,
                SYN | ACK,
                at(model.acceptor.next.wrapping_sub(1), model.opener.next),
                b"",
            );
            model.exists = true;
            if model.outcome() {
                model.is_accepted = true;
                model.is_armed = true;
                expected.push(event::ACCEPTED);
            }
            model.acceptor.has_acknowledged = true;
        }
        Step::Data { by, back, bytes, unacknowledged } => {
            let (own, peer) = (*model.side(by), *model.side(other(by)));
            let sequence = own.next.wrapping_sub(back);
            let acknowledgement = peer.next.wrapping_sub(unacknowledged);
            talk.send_at(kernel, by, ACK, at(sequence, acknowledgement), &b"data"[..bytes]);
            model.exists = true;
            let end = sequence.wrapping_add(u32::try_from(bytes).unwrap());
            let side = model.side(by);
            side.has_acknowledged = true;
            if end.wrapping_sub(side.next).cast_signed() > 0 {
                side.next = end;
            }
            if by == pod && bytes > 0 {
                match model.measured {
                    Some((_, behind)) if sequence.wrapping_sub(behind).cast_signed() < 0 => model.measured = None,
                    None if model.is_armed && bytes > 1 => {
                        (model.is_armed, model.measured) = (false, Some((sequence, end)));
                        model.sent.clear();
                    }
                    _ => {}
                }
                model.sent.push((sequence, end));
            } else if by != pod
                && let Some((first, behind)) = model.measured
                && acknowledgement.wrapping_sub(behind).cast_signed() >= 0
            {
                model.measured = None;
                expected.push(event::SAMPLE);
                // The measured range was sent once.
                let overlaps = |(from, to): &&(u32, u32)| {
                    from.wrapping_sub(behind).cast_signed() < 0 && first.wrapping_sub(*to).cast_signed() < 0
                };
                assert_eq!(model.sent.iter().filter(overlaps).count(), 1, "{model:?}");
            }
        }
        Step::Fin(by) => {
            // It acknowledges nothing that is new.
            let acknowledgement = model.side(other(by)).next.wrapping_sub(1_000_000);
            talk.send_at(kernel, by, FIN | ACK, at(model.side(by).next, acknowledgement), b"");
            model.exists = true;
            let side = model.side(by);
            (side.has_finished, side.has_acknowledged) = (true, true);
            if model.opener.has_finished && model.acceptor.has_finished && model.end() {
                expected.push(event::CLOSED);
            }
        }
        Step::Rst(by) => {
            talk.send_at(kernel, by, RST, at(model.side(by).next, 0), b"");
            model.exists = true;
            if by == By::Acceptor && model.outcome() {
                expected.push(event::REFUSED);
            } else if model.end() {
                expected.push(if by == By::Opener { event::RESET_BY_OPENER } else { event::RESET_BY_ACCEPTOR });
            }
            model.side(by).has_reset = true;
        }
        Step::Unreachable => {
            let syn = talk.packet(By::Opener, SYN, at(model.syn, 0), b"");
            kernel.send(talk.hook(By::Acceptor), &icmp(talk, By::Opener, &syn[14..], unreachable(talk)));
            if model.outcome() {
                expected.push(event::UNREACHABLE);
            }
        }
    }
    expected
}

/// The records with an event of the connection. A sequence that failed has left its entry behind.
fn of(talk: Talk, kernel: &mut Kernel) -> Vec<Record> {
    let is_own = |record: &Record| record.source_port == talk.port || record.destination_port == talk.port;
    with_events(kernel).into_iter().filter(is_own).collect()
}

/// Each step has the events that the model says; then the sweep ends what is left, and the outcomes
/// add up to the attempts. No sample is absurd, and none is of a range that was sent again.
#[test]
fn any_sequence_is_as_modelled() {
    let zero = Duration::ZERO;
    let timeouts = Timeouts { tcp: zero, closed: zero, half_open: zero, other: zero, ..settings().timeouts };
    let Some(kernel) = load(&ProgramSettings { timeouts, ..settings() }) else { return };
    let (kernel, port) = (RefCell::new(kernel), RefCell::new(44_000));
    let kind = (any::<bool>(), any::<bool>(), any::<u32>());
    let sequence = proptest::collection::vec(steps(), 1..60);
    proptest!(ProptestConfig::with_cases(100), |((pod, is_ipv6, first) in kind, steps in sequence)| {
        let (kernel, port) = (&mut *kernel.borrow_mut(), &mut *port.borrow_mut());
        *port += 1;
        let talk = Talk { pod: if pod { Pod::Opens } else { Pod::Accepts }, is_ipv6, port: *port };
        let mut model = Model::default();
        (model.opener.next, model.acceptor.next) = (first, first.wrapping_mul(3));
        let start = Instant::now();
        for (number, step) in steps.iter().enumerate() {
            let expected = carry_out(kernel, talk, &mut model, *step);
            let found = of(talk, kernel);
            let events: Vec<_> = found.iter().filter_map(|record| talk.event(record)).map(|(event, _)| event).collect();
            prop_assert_eq!(&events, &expected, "step {}: {:?} {:?}", number, step, &model);
            for record in found {
                let most = match record.event {
                    event::SAMPLE | event::ACCEPTED => start.elapsed().as_micros() + 1,
                    _ => start.elapsed().as_millis() + 2,
                };
                let value = u128::from(record.value & 0x7fff_ffff);
                prop_assert!(record.value == VALUE_UNKNOWN || value <= most || record.event == event::UNREACHABLE);
            }
        }
        let unanswered = model.is_attempt && !model.has_outcome;
        let last = if unanswered && !model.opener.has_acknowledged {
            model.outcomes += 1;
            Some(event::TIMED_OUT)
        } else {
            (!unanswered && model.is_established() && !model.has_ended).then_some(event::IDLE)
        };
        while kernel.balanced(Mode::Overdue).entries > 0 {
            assert!(start.elapsed() < TIMEOUT, "entries stay");
        }
        prop_assert_eq!(of(talk, kernel).iter().map(|record| record.event).collect::<Vec<_>>(),
            last.into_iter().collect::<Vec<_>>(), "{:?}", &model);
        prop_assert_eq!(model.outcomes + u32::from(unanswered && last.is_none()), model.begun);
    });
}
