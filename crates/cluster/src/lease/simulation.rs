//! Several replicas and one server, with all that can happen between them: at no moment do two of
//! them lead, and when nothing disturbs them any more, one of them does.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use proptest::prelude::*;

use super::{Answer, Election, ElectionTimings, Lease, LeaseRecord, Request, Step};

const MS: u64 = 1_000_000;
const SECOND: u64 = 1000 * MS;

/// Time after which a replica does not wait for an answer any more.
const TIMEOUT: u64 = 3 * SECOND;

/// Time with disturbances, and the time without them that follows.
const DISTURBED: u64 = 300 * SECOND;
const QUIET: u64 = 60 * SECOND;

const TIMINGS: ElectionTimings =
    ElectionTimings { lease: Duration::from_secs(15), renew: Duration::from_secs(10), retry: Duration::from_secs(2) };

/// One process: a restart makes another.
struct Replica {
    election: Election,
    /// Its `CLOCK_BOOTTIME` at the beginning, and its speed in thousandths of the true one.
    boot: u64,
    speed: u64,
    /// Its wall clock against the true time, in microseconds.
    skew_us: i64,
    /// It does nothing until then.
    stopped_until: u64,
    /// Counts its requests: the answer to one that it does not wait for any more is dropped.
    turn: u64,
    released: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// The replica does its next step.
    Step(usize),
    /// A request of its turn reaches the server; it was sent at this time of the replica.
    Arrival(usize, u64, u64),
    /// The answer reaches the replica.
    Reply(usize, u64, u64),
    Timeout(usize, u64, u64),
    Disturbance,
    Look,
}

struct World {
    now: u64,
    random: u64,
    version: u64,
    lease: Option<Lease>,
    replicas: Vec<Replica>,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    /// Requests on their way, and answers, by replica and turn.
    requests: Vec<(usize, u64, Request)>,
    answers: Vec<(usize, u64, Answer)>,
    count: u64,
    led: u64,
}

impl World {
    fn new(seed: u64, replicas: usize) -> Self {
        let mut world = Self {
            now: 0,
            random: seed | 1,
            version: 0,
            lease: None,
            replicas: Vec::new(),
            events: BinaryHeap::new(),
            requests: Vec::new(),
            answers: Vec::new(),
            count: 0,
            led: 0,
        };
        for _ in 0..replicas {
            let replica = world.replica();
            world.replicas.push(replica);
        }
        for index in 0..replicas {
            let at = world.below(3 * SECOND);
            world.at(at, Event::Step(index));
        }
        world.at(SECOND, Event::Disturbance);
        world.at(0, Event::Look);
        world
    }

    fn replica(&mut self) -> Replica {
        self.count += 1;
        Replica {
            election: Election::new(format!("replica-{}", self.count), TIMINGS),
            boot: self.below(1000 * SECOND),
            speed: 950 + self.below(101),
            skew_us: i64::try_from(self.below(200_000_000)).unwrap() - 100_000_000,
            stopped_until: 0,
            turn: 0,
            released: false,
        }
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % bound
    }

    fn at(&mut self, at: u64, event: Event) {
        self.count += 1;
        self.events.push(Reverse((at, self.count, event)));
    }

    fn boot(&self, index: usize) -> u64 {
        let replica = &self.replicas[index];
        replica.boot + self.now / 1000 * replica.speed
    }

    /// The true time at which the replica's clock shows this.
    fn true_time(&self, index: usize, boot: u64) -> u64 {
        let replica = &self.replicas[index];
        boot.saturating_sub(replica.boot) / replica.speed * 1000 + 1000
    }

    fn disturbed(&self) -> bool {
        self.now < DISTURBED
    }

    /// Time on the way to the server or back: short as a rule; none if it is lost.
    fn delay(&mut self) -> Option<u64> {
        if !self.disturbed() {
            return Some(MS);
        }
        match self.below(10) {
            0 => None,
            1 => Some(self.below(30 * SECOND)),
            2 | 3 => Some(self.below(3 * SECOND)),
            _ => Some(self.below(50 * MS)),
        }
    }

    fn leaders(&self) -> Vec<usize> {
        let leads = |index: &usize| {
            let term = self.replicas[*index].election.term();
            term.is_some_and(|term| term.covers(self.boot(*index)))
        };
        (0..self.replicas.len()).filter(leads).collect()
    }

    fn run(&mut self) {
        while let Some(Reverse((at, _, event))) = self.events.pop() {
            self.now = at;
            if at >= DISTURBED + QUIET {
                return;
            }
            let of = match event {
                Event::Step(index) | Event::Reply(index, ..) | Event::Timeout(index, ..) => Some(index),
                _ => None,
            };
            // One that is stopped does everything when it goes on.
            if let Some(until) = of.map(|index| self.replicas[index].stopped_until).filter(|until| *until > at) {
                self.at(until, event);
            } else {
                self.handle(event);
            }
            let leaders = self.leaders();
            assert!(leaders.len() <= 1, "{leaders:?} lead at {} ms", self.now / MS);
            self.led += u64::from(!leaders.is_empty());
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Step(index) => self.step(index),
            Event::Arrival(index, turn, sent) => self.arrive(index, turn, sent),
            Event::Reply(index, turn, sent) => {
                let found = self.answers.iter().position(|answer| (answer.0, answer.1) == (index, turn)).unwrap();
                let (_, _, answer) = self.answers.swap_remove(found);
                self.reply(index, turn, sent, answer);
            }
            Event::Timeout(index, turn, sent) => self.reply(index, turn, sent, Answer::Failed),
            Event::Disturbance => {
                if self.disturbed() {
                    self.disturb();
                    let next = self.now + self.below(20 * SECOND);
                    self.at(next, Event::Disturbance);
                }
            }
            Event::Look => self.at(self.now + 100 * MS, Event::Look),
        }
    }

    fn step(&mut self, index: usize) {
        let boot = self.boot(index);
        let wall = i64::try_from(self.now / 1000).unwrap() + self.replicas[index].skew_us;
        match self.replicas[index].election.next(boot, wall) {
            Step::Wait(until) => {
                let at = self.true_time(index, until);
                self.at(at.max(self.now + 1), Event::Step(index));
            }
            Step::Done => {
                // Another process begins in its place.
                let (turn, mut next) = (self.replicas[index].turn + 1, self.replica());
                next.turn = turn;
                self.replicas[index] = next;
                self.at(self.now + SECOND, Event::Step(index));
            }
            Step::Send(request) => {
                self.replicas[index].turn += 1;
                let turn = self.replicas[index].turn;
                self.requests.push((index, turn, request));
                if let Some(delay) = self.delay() {
                    self.at(self.now + delay, Event::Arrival(index, turn, boot));
                }
                self.at(self.now + TIMEOUT, Event::Timeout(index, turn, boot));
            }
        }
    }

    fn arrive(&mut self, index: usize, turn: u64, sent: u64) {
        let request = self.request(index, turn);
        let answer = match request {
            Request::Get => self.lease.clone().map_or(Answer::NotFound, Answer::Lease),
            Request::Create(record) if self.lease.is_none() => self.write(record),
            Request::Update(version, record) => match &self.lease {
                None => Answer::NotFound,
                Some(lease) if lease.version == version => self.write(record),
                Some(_) => Answer::Conflict,
            },
            Request::Create(_) => Answer::Conflict,
        };
        if let Some(delay) = self.delay() {
            self.answers.push((index, turn, answer));
            self.at(self.now + delay, Event::Reply(index, turn, sent));
        }
    }

    fn request(&self, index: usize, turn: u64) -> Request {
        self.requests.iter().find(|request| (request.0, request.1) == (index, turn)).unwrap().2.clone()
    }

    fn write(&mut self, record: LeaseRecord) -> Answer {
        self.version += 1;
        let lease = Lease { version: self.version.to_string(), record };
        self.lease = Some(lease.clone());
        Answer::Lease(lease)
    }

    /// An answer that the replica still waits for is taken.
    fn reply(&mut self, index: usize, turn: u64, sent: u64, answer: Answer) {
        if self.replicas[index].turn != turn {
            return;
        }
        let (request, received) = (self.request(index, turn), self.boot(index));
        self.replicas[index].turn += 1;
        self.replicas[index].election.answered(&request, answer, (sent, received));
        self.step(index);
    }

    fn disturb(&mut self) {
        let index = usize::try_from(self.below(self.replicas.len() as u64)).unwrap();
        match self.below(8) {
            // SIGSTOP, or a suspended machine.
            0 | 1 => self.replicas[index].stopped_until = self.now + self.below(40 * SECOND),
            // SIGKILL.
            2 => {
                let (turn, mut next) = (self.replicas[index].turn + 1, self.replica());
                next.turn = turn;
                self.replicas[index] = next;
                self.at(self.now + SECOND, Event::Step(index));
            }
            // SIGTERM, perhaps in the middle of a request.
            3 if !self.replicas[index].released && self.replicas[index].stopped_until <= self.now => {
                let boot = self.boot(index);
                self.replicas[index].released = true;
                self.replicas[index].election.release(boot);
                self.replicas[index].turn += 1;
                self.step(index);
            }
            4 => self.lease = None,
            // By hand: a label; an empty holder; this replica as the holder; a restored older time.
            5 => self.by_hand(|_| {}),
            6 => self.by_hand(|record| record.holder.clear()),
            _ => self.by_hand(|record| record.renewed = Some("2099-01-01T00:00:00.000000Z".to_owned())),
        }
    }

    fn by_hand(&mut self, change: impl FnOnce(&mut LeaseRecord)) {
        if let Some(mut lease) = self.lease.clone() {
            change(&mut lease.record);
            let _answer = self.write(lease.record);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Two replicas never lead at the same moment of true time, and in the quiet end one leads.
    #[test]
    fn never_two_leaders(seed in any::<u64>(), replicas in 2_usize..6) {
        let mut world = World::new(seed, replicas);
        world.run();
        prop_assert_eq!(world.leaders().len(), 1);
        prop_assert!(world.led > 0);
    }
}
