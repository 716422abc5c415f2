//! Listings of all open connections, by which the gauge of them is corrected.
//!
//! The gauge follows the begins and ends of connections. It must learn by a listing what it cannot
//! follow: connections that were open before it was there, and events that were lost. Then each
//! part of the next sweep reports the open connections in it.
//!
//! ```text
//! requested, lost, 10 min ──► begin is posted ──► reader has passed it on ──► all parts list
//!        ▲                                                                        │ 3 s
//!        └── lost meanwhile ◄────────────────────────────────────── end is posted ┘
//! ```
//!
//! The end waits longer than any flow does for its name, so that what the listing named has been
//! counted.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use webb_flow::abi::PARTS;
use webb_flow::open::ListingStep;

use crate::pipeline::{Command, Commands};

/// Interval of listings without a cause.
const PERIOD: Duration = Duration::from_mins(10);

/// Time without further losses after which a listing follows: it would be lost as well.
const QUIET: Duration = Duration::from_secs(5);

/// Time from the last part to the end: longer than a flow waits for a name, and than records do.
const SETTLE: Duration = Duration::from_secs(3);

/// Requests of listings, and their outcomes.
#[derive(Debug, Default)]
pub struct Listings {
    wanted: AtomicBool,
    complete: AtomicU64,
    lost: AtomicU64,
}

impl Listings {
    /// Requests a listing. One that is under way is followed by another.
    pub fn request(&self) {
        self.wanted.store(true, Relaxed);
    }

    /// Listings by outcome: complete, or events were lost meanwhile.
    pub fn outcomes(&self) -> [(&'static str, u64); 2] {
        [("complete", self.complete.load(Relaxed)), ("lost", self.lost.load(Relaxed))]
    }
}

#[derive(Debug, Clone, Copy)]
enum Stage {
    Idle,
    /// The begin is on its way.
    Begun,
    /// So many parts are left.
    Sweeping(usize),
    /// The end is due then.
    Settling(Instant),
}

/// Lists, between the parts of the sweeps.
pub struct Lister {
    listings: Arc<Listings>,
    commands: Commands,
    stage: Stage,
    passed_on: Arc<AtomicBool>,
    /// Lost events, when that number changed last, and whether a listing has followed.
    lost: u64,
    lost_at: Instant,
    is_outdated: bool,
    /// Lost events when the listing began.
    lost_before: u64,
    /// Time of the last listing; none before the first.
    last: Option<Instant>,
}

impl fmt::Debug for Lister {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lister").field("stage", &self.stage).field("lost", &self.lost).finish_non_exhaustive()
    }
}

impl Lister {
    /// Carries out `listings`; its steps go to the reader by `commands`.
    pub fn new(listings: Arc<Listings>, commands: Commands, now: Instant) -> Self {
        Self {
            listings,
            commands,
            stage: Stage::Idle,
            passed_on: Arc::default(),
            lost: 0,
            lost_at: now,
            is_outdated: false,
            lost_before: 0,
            last: None,
        }
    }

    /// Before a part of the sweep: true if it lists. `lost` events were lost since start.
    pub fn before_part(&mut self, lost: u64, now: Instant) -> bool {
        if self.lost != lost {
            (self.lost, self.lost_at, self.is_outdated) = (lost, now, true);
        }
        match self.stage {
            Stage::Idle if self.is_due(now) => {
                self.passed_on.store(false, Relaxed);
                if self.post(ListingStep::Begin) {
                    self.listings.wanted.store(false, Relaxed);
                    self.stage = Stage::Begun;
                }
                false
            }
            Stage::Begun if self.passed_on.load(Relaxed) => {
                (self.is_outdated, self.lost_before) = (false, self.lost);
                self.stage = Stage::Sweeping(PARTS);
                true
            }
            Stage::Sweeping(_) => true,
            Stage::Settling(until) if now >= until => {
                let complete = self.lost == self.lost_before;
                if complete && !self.post(ListingStep::End) {
                    return false;
                }
                let count = if complete { &self.listings.complete } else { &self.listings.lost };
                count.fetch_add(1, Relaxed);
                (self.stage, self.last) = (Stage::Idle, Some(now));
                false
            }
            _ => false,
        }
    }

    /// After a part: whether it was swept. One that failed is swept again.
    pub fn after_part(&mut self, swept: bool, now: Instant) {
        if let (Stage::Sweeping(left), true) = (self.stage, swept) {
            self.stage = match left.saturating_sub(1) {
                0 => Stage::Settling(now + SETTLE),
                left => Stage::Sweeping(left),
            };
        }
    }

    fn is_due(&self, now: Instant) -> bool {
        let quiet = now.saturating_duration_since(self.lost_at) >= QUIET;
        let late = self.last.is_none_or(|last| now.saturating_duration_since(last) >= PERIOD);
        self.listings.wanted.load(Relaxed) || (self.is_outdated && quiet) || late
    }

    /// False if the reader's queue is full: it is tried again before the next part.
    fn post(&self, step: ListingStep) -> bool {
        let passed_on = Arc::clone(&self.passed_on);
        let done = Box::new(move || passed_on.store(true, Relaxed));
        self.commands.post(Command::List(step, done)).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::Waker;

    /// Parts are swept as time goes by; returns which of them listed, and the steps that were
    /// posted, each with the number of parts before it.
    struct Sweeps {
        lister: Lister,
        steps: crossbeam_channel::Receiver<Command>,
        now: Instant,
        lost: u64,
    }

    impl Sweeps {
        fn new(listings: &Arc<Listings>) -> Self {
            let (commands, steps) = Commands::new(Waker::new().unwrap());
            let now = Instant::now();
            Self { lister: Lister::new(Arc::clone(listings), commands, now), steps, now, lost: 0 }
        }

        /// A part each second: what it was, as a letter each.
        fn run(&mut self, seconds: usize) -> String {
            let part = |_| {
                self.now += Duration::from_secs(1);
                let lists = self.lister.before_part(self.lost, self.now);
                self.lister.after_part(true, self.now);
                match self.steps.try_recv() {
                    Ok(Command::List(ListingStep::Begin, done)) => {
                        done();
                        'B'
                    }
                    Ok(Command::List(ListingStep::End, done)) => {
                        done();
                        'E'
                    }
                    _ if lists => 'l',
                    _ => '.',
                }
            };
            (0..seconds).map(part).collect()
        }
    }

    /// A listing begins before its parts and ends after them; what is requested meanwhile is a
    /// listing of its own.
    #[test]
    fn a_listing_is_framed() {
        let listings = Arc::new(Listings::default());
        let mut sweeps = Sweeps::new(&listings);
        assert_eq!(sweeps.run(12), "Bllll..E....");
        listings.request();
        assert_eq!(sweeps.run(3), "Bll");
        listings.request();
        assert_eq!(sweeps.run(14), "ll..EBllll..E.");
        assert_eq!(listings.outcomes(), [("complete", 3), ("lost", 0)]);
        assert_eq!(sweeps.run(598), ".".repeat(598));
        assert!(sweeps.run(12).starts_with('B'));
    }

    /// A listing of which events were lost has no end, since what it did not name may be open; the
    /// next one follows when no more are lost.
    #[test]
    fn a_lossy_listing_is_repeated() {
        let listings = Arc::new(Listings::default());
        let mut sweeps = Sweeps::new(&listings);
        assert_eq!(sweeps.run(3), "Bll");
        sweeps.lost = 7;
        assert_eq!(sweeps.run(14), "ll...Bllll..E.");
        assert_eq!(listings.outcomes(), [("complete", 1), ("lost", 1)]);
    }

    /// Nothing is listed before the reader has passed the begin on.
    #[test]
    fn the_begin_is_waited_for() {
        let listings = Arc::new(Listings::default());
        let mut sweeps = Sweeps::new(&listings);
        let now = sweeps.now;
        assert!(!sweeps.lister.before_part(0, now));
        let Ok(Command::List(ListingStep::Begin, done)) = sweeps.steps.try_recv() else { panic!("no begin") };
        assert_eq!(sweeps.run(3), "...");
        done();
        assert_eq!(sweeps.run(4), "llll");
    }
}
