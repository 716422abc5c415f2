//! The state machine of one replica. All times are nanoseconds of the replica's `CLOCK_BOOTTIME`;
//! `wall_us` is the wall clock in microseconds since 1970, and is only written.

use std::collections::VecDeque;
use std::time::Duration;

use super::record::{Lease, LeaseRecord, time};

/// Records of its own that a replica remembers. More would be needed only if so many writes in a
/// row had no answer and one of the first was done after all.
const MAX_OWN_RECORDS: usize = 8;

/// The longest duration of another's Lease that is waited for.
const MAX_LEASE: Duration = Duration::from_mins(10);

/// Durations of an election.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ElectionTimings {
    /// Time without a change after which another replica takes the Lease over.
    pub lease: Duration,
    /// Time that the holder leads for after a write; less than `lease`.
    pub renew: Duration,
    /// Interval of the requests.
    pub retry: Duration,
}

/// A request to the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Read the Lease.
    Get,
    /// Create it.
    Create(LeaseRecord),
    /// Replace it, if it still has this `resourceVersion`.
    Update(String, LeaseRecord),
}

/// The server's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The Lease, as read or as written.
    Lease(Lease),
    /// There is no such Lease.
    NotFound,
    /// Another was faster: the version is not the newest, or the Lease exists already.
    Conflict,
    /// No answer, or any other; whether a write was done is not known.
    Failed,
}

/// The next thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Send this, and report the answer.
    Send(Request),
    /// Nothing until then.
    Wait(u64),
    /// Nothing any more: the Lease is given up.
    Done,
}

/// A time during which a replica leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Term {
    /// Its beginning.
    pub from: u64,
    /// Its end.
    pub until: u64,
}

impl Term {
    /// True if `now` is within the term.
    pub fn covers(&self, now: u64) -> bool {
        (self.from..self.until).contains(&now)
    }
}

/// The Lease as last seen.
#[derive(Debug)]
struct Seen {
    lease: Lease,
    /// Time at which its record was seen for the first time.
    changed: u64,
}

/// The request that comes next, once it is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plan {
    /// A renewal without reading first, if the Lease is this replica's.
    Renew,
    Read,
    Create,
    /// Take the Lease over, or renew it after reading.
    Write,
}

/// One replica's part in the election.
#[derive(Debug)]
pub struct Election {
    identity: String,
    timings: ElectionTimings,
    seen: Option<Seen>,
    /// Records that this replica has sent since another's was seen, the newest first.
    own: VecDeque<LeaseRecord>,
    /// End of the last term that a write has won.
    until: Option<u64>,
    /// Earliest beginning of a term: a duration after this replica created the Lease.
    earliest: u64,
    /// The Lease was created by this replica, or a request to create it is on its way.
    creating: bool,
    plan: Plan,
    due: u64,
    /// Requests left to give the Lease up, once that is wanted.
    releasing: Option<u8>,
}

impl Election {
    /// A replica that knows nothing yet. No other may have the same identity, nor this one after a
    /// restart.
    pub fn new(identity: String, timings: ElectionTimings) -> Self {
        Self {
            identity,
            timings,
            seen: None,
            own: VecDeque::new(),
            until: None,
            earliest: 0,
            creating: false,
            plan: Plan::Read,
            due: 0,
            releasing: None,
        }
    }

    /// The term that this replica has won; none if it is not to lead.
    pub fn term(&self) -> Option<Term> {
        let until = self.until.filter(|_| self.releasing.is_none())?;
        Some(Term { from: self.earliest, until })
    }

    /// The holder as last seen; empty if there is none.
    pub fn holder(&self) -> &str {
        self.seen.as_ref().map_or("", |seen| &seen.lease.record.holder)
    }

    /// Gives leadership up from now on, and the Lease with the next steps.
    pub fn release(&mut self, now: u64) {
        let leads = self.term().is_some_and(|term| term.covers(now));
        // A replica that has not led yet leaves the duration to run out: a former holder that has
        // not noticed that its Lease was deleted may still lead.
        self.releasing = Some(if leads { 3 } else { 0 });
        self.until = None;
        self.plan = Plan::Renew;
        self.due = 0;
    }

    /// The next step.
    pub fn next(&mut self, now: u64, wall_us: i64) -> Step {
        if let Some(left) = &mut self.releasing {
            if *left == 0 {
                return Step::Done;
            }
            *left -= 1;
        } else if now < self.due {
            return Step::Wait(self.due);
        }
        let request = match (self.plan, &self.seen) {
            (Plan::Create, _) => Request::Create(self.record(wall_us)),
            (Plan::Write, Some(seen)) => Request::Update(seen.lease.version.clone(), self.record(wall_us)),
            (Plan::Renew, Some(seen)) if self.is_own(&seen.lease.record) => {
                Request::Update(seen.lease.version.clone(), self.record(wall_us))
            }
            _ => Request::Get,
        };
        self.creating |= matches!(request, Request::Create(_));
        if let Request::Create(record) | Request::Update(_, record) = &request {
            self.remember(record);
        }
        Step::Send(request)
    }

    /// Takes the answer to a request that was sent and answered at these times.
    pub fn answered(&mut self, request: &Request, answer: Answer, (sent, received): (u64, u64)) {
        let retry = received.saturating_add(nanoseconds(self.timings.retry));
        let wrote = !matches!(request, Request::Get);
        match answer {
            Answer::Lease(lease) if wrote => {
                self.remember(&lease.record);
                self.see(lease, received);
                if self.releasing.is_some() {
                    self.releasing = Some(0);
                } else {
                    self.until = Some(sent.saturating_add(nanoseconds(self.timings.renew)));
                }
                (self.plan, self.due) = (Plan::Renew, sent.saturating_add(nanoseconds(self.timings.retry)));
            }
            Answer::Lease(lease) => {
                self.see(lease, received);
                (self.plan, self.due) = match self.free_at() {
                    free if free <= received => (Plan::Write, received),
                    free => (Plan::Read, free.min(retry)),
                };
                // Taken by another meanwhile: there is nothing to give up.
                if self.releasing.is_some() && self.plan == Plan::Read {
                    self.releasing = Some(0);
                }
            }
            Answer::NotFound => {
                self.seen = None;
                self.until = None;
                self.own.clear();
                (self.plan, self.due) = (Plan::Create, received);
                if self.releasing.is_some() {
                    self.releasing = Some(0);
                }
            }
            // A renewal without reading is repeated at once with the newest version: a label may
            // have been added.
            Answer::Conflict if self.plan == Plan::Renew => (self.plan, self.due) = (Plan::Read, received),
            Answer::Conflict | Answer::Failed => (self.plan, self.due) = (Plan::Read, retry),
        }
    }

    fn is_own(&self, record: &LeaseRecord) -> bool {
        self.own.contains(record)
    }

    fn remember(&mut self, record: &LeaseRecord) {
        if !self.is_own(record) {
            self.own.truncate(MAX_OWN_RECORDS - 1);
            self.own.push_front(record.clone());
        }
    }

    fn see(&mut self, lease: Lease, now: u64) {
        if !self.is_own(&lease.record) {
            self.own.clear();
            self.until = None;
        } else if self.creating {
            self.earliest = now.saturating_add(nanoseconds(self.timings.lease));
        }
        self.creating = false;
        let unchanged = self.seen.as_ref().filter(|seen| seen.lease.record == lease.record);
        let changed = unchanged.map_or(now, |seen| seen.changed);
        self.seen = Some(Seen { lease, changed });
    }

    /// Time from which this replica may take the Lease that it sees.
    fn free_at(&self) -> u64 {
        let Some(Seen { lease: Lease { record, .. }, changed }) = &self.seen else { return 0 };
        if self.is_own(record) || record.is_released() {
            return 0;
        }
        let theirs = record
            .duration_s
            .and_then(|seconds| u64::try_from(seconds).ok())
            .map_or(0, |seconds| nanoseconds(Duration::from_secs(seconds).min(MAX_LEASE)));
        changed.saturating_add(theirs.max(nanoseconds(self.timings.lease)))
    }

    /// The record to write next: of a renewal, of a takeover, or of a Lease that is given up.
    fn record(&self, wall_us: i64) -> LeaseRecord {
        let before = self.seen.as_ref().map(|seen| &seen.lease.record);
        // Two records of one replica always differ, also if its clock stands still.
        let taken = |at: i64| self.own.iter().any(|own| own.renewed.as_deref() == Some(&time(at)));
        let mut wall_us = wall_us;
        while taken(wall_us) {
            wall_us = wall_us.saturating_add(1);
        }
        let now = time(wall_us);
        let default = LeaseRecord::default();
        let before_or_none = before.unwrap_or(&default);
        if self.releasing.is_some() {
            return before_or_none.released(wall_us);
        }
        let is_renewal = before.is_some_and(|record| self.is_own(record) && record.holder == self.identity);
        let seconds = self.timings.lease.as_secs() + u64::from(self.timings.lease.subsec_nanos() > 0);
        LeaseRecord {
            holder: self.identity.clone(),
            duration_s: Some(i64::try_from(seconds).unwrap_or(i64::MAX)),
            acquired: if is_renewal { before_or_none.acquired.clone() } else { Some(now.clone()) },
            renewed: Some(now),
            transitions: transitions(before, is_renewal),
        }
    }
}

/// Changes of the holder so far, with the one that is being written. A number that no server
/// accepts begins anew.
fn transitions(before: Option<&LeaseRecord>, is_renewal: bool) -> i64 {
    let Some(before) = before else { return 0 };
    let after = before.transitions.saturating_add(i64::from(!is_renewal));
    if (0..=i64::from(i32::MAX)).contains(&after) { after } else { 0 }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMINGS: ElectionTimings = ElectionTimings {
        lease: Duration::from_secs(15),
        renew: Duration::from_secs(10),
        retry: Duration::from_secs(2),
    };

    const SECOND: u64 = 1_000_000_000;

    fn lease(version: u64, record: LeaseRecord) -> Answer {
        Answer::Lease(Lease { version: version.to_string(), record })
    }

    fn other(holder: &str, renewed: &str, duration_s: Option<i64>) -> LeaseRecord {
        LeaseRecord {
            holder: holder.to_owned(),
            duration_s,
            renewed: Some(renewed.to_owned()),
            ..LeaseRecord::default()
        }
    }

    fn replica() -> Election {
        Election::new("me".to_owned(), TIMINGS)
    }

    fn send(election: &mut Election, now: u64) -> Request {
        match election.next(now, 1) {
            Step::Send(request) => request,
            step => panic!("{step:?}"),
        }
    }

    /// Reads a Lease with this record at `now` and returns the time of the next request.
    fn read(election: &mut Election, record: &LeaseRecord, now: u64) -> u64 {
        assert_eq!(send(election, now), Request::Get);
        election.answered(&Request::Get, lease(7, record.clone()), (now, now));
        match election.next(now, 1) {
            Step::Wait(until) => until,
            Step::Send(_) => now,
            Step::Done => panic!(),
        }
    }

    /// Takes a free Lease at `now`.
    fn acquire(now: u64) -> Election {
        let mut election = replica();
        let released = other("", "x", Some(1));
        assert_eq!(send(&mut election, now), Request::Get);
        election.answered(&Request::Get, lease(7, released), (now, now));
        let request = send(&mut election, now);
        let Request::Update(version, record) = request.clone() else { panic!() };
        assert_eq!((version.as_str(), record.transitions, record.duration_s), ("7", 1, Some(15)));
        election.answered(&request, lease(8, record), (now, now));
        election
    }

    fn leads(election: &Election, now: u64) -> bool {
        election.term().is_some_and(|term| term.covers(now))
    }

    /// A term counts from the sending of the write, and a renewal prolongs it.
    #[test]
    fn terms_count_from_the_sending() {
        let mut election = acquire(100 * SECOND);
        assert!(leads(&election, 100 * SECOND) && leads(&election, 110 * SECOND - 1));
        assert!(!leads(&election, 110 * SECOND), "one that slept leads no more when it wakes");
        assert_eq!(election.next(101 * SECOND, 2), Step::Wait(102 * SECOND));
        let request = send(&mut election, 102 * SECOND);
        let Request::Update(_, record) = request.clone() else { panic!() };
        election.answered(&request, lease(9, record), (102 * SECOND, 109 * SECOND));
        assert!(leads(&election, 112 * SECOND - 1) && !leads(&election, 112 * SECOND));
    }

    /// A Lease that is renewed for ever is never taken; one that is not is taken after the longer
    /// of the two durations from the last change that was seen, whatever its times say.
    #[test]
    fn leases_are_taken_when_they_stand_still() {
        for (theirs, waited) in [(Some(15), 15), (Some(60), 60), (None, 15), (Some(-3), 15), (Some(i64::MAX), 600)] {
            let mut election = replica();
            let mut now = 100 * SECOND;
            for renewal in 0..50 {
                let record = other("other", &format!("2199-01-01T00:00:{renewal:02}Z"), theirs);
                now = read(&mut election, &record, now);
            }
            let (last, began) = (other("other", "2199-01-01T00:00:49Z", theirs), now - 2 * SECOND);
            while now < began + waited * SECOND {
                let next = read(&mut election, &last, now);
                assert!(next > now, "{theirs:?}: taken {} s after the last change", (now - began) / SECOND);
                now = next;
            }
            assert_eq!(now, began + waited * SECOND, "{theirs:?}");
            assert_eq!(read(&mut election, &last, now), now, "it is taken at once when it is free");
        }
    }

    /// The creator of a Lease waits for a whole duration: the former holder may not know that its
    /// Lease is gone.
    #[test]
    fn creators_wait() {
        let mut election = acquire(100 * SECOND);
        let request = send(&mut election, 102 * SECOND);
        election.answered(&request, Answer::NotFound, (102 * SECOND, 102 * SECOND));
        assert!(!leads(&election, 102 * SECOND), "the Lease is gone");
        let request = send(&mut election, 102 * SECOND);
        let Request::Create(record) = request.clone() else { panic!() };
        election.answered(&request, lease(9, record), (102 * SECOND, 102 * SECOND));
        let mut now = 102 * SECOND;
        while now < 116 * SECOND {
            assert!(!leads(&election, now));
            now += 2 * SECOND;
            let request = send(&mut election, now);
            let Request::Update(_, record) = request.clone() else { panic!("{request:?}") };
            election.answered(&request, lease(now, record), (now, now));
        }
        assert!(!leads(&election, 117 * SECOND - 1) && leads(&election, 117 * SECOND));
    }

    /// A holder that is stopped gives the Lease up, and another takes it at once; a Lease emptied
    /// by hand is not taken before its former holder's term has ended.
    #[test]
    fn released_leases_are_free() {
        let mut election = acquire(100 * SECOND);
        election.release(101 * SECOND);
        assert!(!leads(&election, 101 * SECOND));
        let request = send(&mut election, 101 * SECOND);
        let Request::Update(version, record) = request.clone() else { panic!() };
        assert!(record.is_released() && version == "8" && record.transitions == 1);
        // A label was added meanwhile: the newest version is read, and the Lease still given up.
        let held = election.seen.as_ref().unwrap().lease.record.clone();
        election.answered(&request, Answer::Conflict, (101 * SECOND, 101 * SECOND));
        assert_eq!(send(&mut election, 101 * SECOND), Request::Get);
        election.answered(&Request::Get, lease(9, held), (101 * SECOND, 101 * SECOND));
        let request = send(&mut election, 101 * SECOND);
        let Request::Update(version, record) = request.clone() else { panic!() };
        assert!(record.is_released() && version == "9");
        election.answered(&request, lease(10, record), (101 * SECOND, 101 * SECOND));
        assert_eq!(election.next(101 * SECOND, 1), Step::Done);
        let mut next = replica();
        let by_hand = other("", "x", Some(15));
        assert_eq!(read(&mut next, &by_hand, 200 * SECOND), 202 * SECOND, "it is looked at again");
        assert_eq!(next.free_at(), 215 * SECOND);
        let mut follower = replica();
        follower.release(5);
        assert_eq!(follower.next(5, 1), Step::Done, "one that does not lead has nothing to give up");
    }

    /// A write without an answer may have been done: its record is recognised, and one that names
    /// this replica but was not sent by it is not.
    #[test]
    fn own_records_are_recognised() {
        let mut election = acquire(100 * SECOND);
        let request = send(&mut election, 102 * SECOND);
        let Request::Update(_, record) = request.clone() else { panic!() };
        election.answered(&request, Answer::Failed, (102 * SECOND, 104 * SECOND));
        assert!(leads(&election, 109 * SECOND), "the last term goes on");
        assert_eq!(election.next(105 * SECOND, 1), Step::Wait(106 * SECOND));
        assert_eq!(send(&mut election, 106 * SECOND), Request::Get);
        election.answered(&Request::Get, lease(9, record.clone()), (106 * SECOND, 106 * SECOND));
        let request = send(&mut election, 106 * SECOND);
        assert!(matches!(&request, Request::Update(version, _) if version == "9"));
        let impostor = LeaseRecord { renewed: Some("by hand".to_owned()), ..record };
        election.answered(&request, Answer::Conflict, (106 * SECOND, 106 * SECOND));
        assert_eq!(read(&mut election, &impostor, 108 * SECOND), 110 * SECOND);
        assert!(!leads(&election, 108 * SECOND));
    }

    /// Numbers that no server accepts are not written, and no two records of a replica are alike.
    #[test]
    fn odd_numbers_begin_anew() {
        let record = |transitions| LeaseRecord { transitions, ..LeaseRecord::default() };
        assert_eq!(transitions(Some(&record(i64::from(i32::MAX))), false), 0);
        assert_eq!(transitions(Some(&record(i64::MIN)), true), 0);
        let mut election = acquire(100 * SECOND);
        for turn in 1..20 {
            let now = (100 + 2 * turn) * SECOND;
            let request = send(&mut election, now);
            let Request::Update(_, record) = request.clone() else { panic!() };
            assert_eq!(election.own.iter().filter(|own| **own == record).count(), 1, "the clock stands still");
            election.answered(&request, lease(turn, record), (now, now));
        }
        assert!(election.own.len() <= MAX_OWN_RECORDS);
    }
}
