//! Windows: begins and ends them, and sends their rows.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::time::Instant;

use webb_flow::open::ListingStep;
use webb_otlp::{Feed, Output, Stream};
use webb_rollup::{Totals, Window, Windows};

use super::site::{ROLLUPS_SCOPE, new_instance, resource, spread, uuid};
use super::state::RollupState;
use super::work::{Work, add_to_all};

impl RollupState {
    /// Takes up a change of what is wanted.
    pub(super) fn take_up(&self, work: &mut Work, now_ns: u64, now: Instant) {
        if let Some((most, _)) = self.following.get() {
            work.rollups.limit_open(*most);
        }
        let wants = self.wants.load(Acquire);
        let wanted = self.wanted.load_full();
        if !Arc::ptr_eq(&wanted, &work.wanted) {
            if !wanted.is_on() {
                self.end(work, now_ns);
                work.rollups.list(ListingStep::Reset);
            } else if !work.wanted.is_on() {
                self.begin_ledger(work);
            }
            self.flush(work);
            work.wanted = wanted;
            self.make_feeds(work);
        }
        if work.wanted.is_on() && work.windows.is_none() {
            self.begin_instance(work, now_ns);
            self.spread(work, work.settings.window.as_secs(), now);
        }
        self.taken.store(wants, Release);
    }

    /// Ends a window that is over, and sends what is due.
    pub(super) fn advance(&self, work: &mut Work, now_ns: u64, now: Instant) {
        let closing = work.windows.as_mut().and_then(|windows| windows.advance(now_ns));
        if let Some(closing) = closing {
            self.close(work, closing.window, now_ns);
            if closing.is_last_of_instance || work.settings != work.wanted.settings {
                self.begin_instance(work, now_ns);
            }
            self.spread(work, closing.window.seconds, now);
        }
        if work.flush_at.is_some_and(|at| now >= at) {
            self.flush(work);
        }
        self.make_good(work, now);
        self.publish(work);
    }

    /// Has what is held be offered at this node's time: all agents of a cluster end their windows
    /// at once.
    fn spread(&self, work: &mut Work, window: u64, now: Instant) {
        let percent = work.wanted.spread;
        work.flush_at.get_or_insert_with(|| now + spread(&self.site.node, window, percent));
    }

    /// Begins a window with the wanted settings as another instance: its start may be that of a
    /// window that was sent, and two rows of one key must not become one. No row is open.
    fn begin_instance(&self, work: &mut Work, now_ns: u64) {
        if std::mem::replace(&mut work.has_begun, true) {
            work.instance = new_instance();
        }
        work.encoder.set_instance(work.instance);
        self.make_feeds(work);
        work.settings = work.wanted.settings;
        work.rollups.apply(work.settings);
        self.list();
        work.windows = Some(Windows::new(work.settings.window, now_ns));
        let last_ns = work.last.as_ref().or_else(|| self.before()).map(|window| window.end_ns);
        // The clock may have gone back while no rows were wanted.
        let last_ns = last_ns.filter(|last_ns| *last_ns <= now_ns);
        let Work { encoder, feeds, held, is_handed_over, .. } = work;
        add_to_all(feeds, held, encoder.gap(last_ns, now_ns, std::mem::take(is_handed_over)));
        work.hold();
    }

    /// Sends the rows of the window that is open, which is not over. What goes on in it is another
    /// instance's: its rows must not have the ids of these.
    pub(super) fn end(&self, work: &mut Work, now_ns: u64) {
        if let Some(windows) = work.windows.take() {
            self.close(work, windows.open(), now_ns);
        }
        self.flush(work);
        self.publish(work);
    }

    fn close(&self, work: &mut Work, window: Window, now_ns: u64) {
        let place = work.index.zones().own();
        if place != work.place {
            work.place = place;
            self.make_feeds(work);
        }
        let Work { rollups, encoder, feeds, held, .. } = work;
        let seen = self.seen();
        encoder.window(window, rollups, (self.lost(), seen), now_ns, |record| add_to_all(feeds, held, record));
        work.hold();
        work.last = Some(self.last_window(work, now_ns.min(window.end_ns()), seen));
        work.is_new = true;
        self.figures.windows.fetch_add(1, Relaxed);
        self.publish(work);
    }

    /// A feed for each output, of this instance at its place. What those before have is held.
    fn make_feeds(&self, work: &mut Work) {
        work.hold();
        let resource = resource(&self.site, &uuid(work.instance), work.place);
        let feed = |output: &Arc<Output>| {
            Feed::new(Arc::clone(output), Stream::Rollups, &resource, ROLLUPS_SCOPE.0, ROLLUPS_SCOPE.1)
        };
        work.feeds = work.wanted.outputs.iter().map(feed).collect();
    }

    pub(super) fn publish(&self, work: &Work) {
        let (totals, figures): (Totals, _) = (work.rollups.totals(), &self.figures);
        figures.rows.store(work.rollups.rows() as u64, Relaxed);
        figures.flows.store(totals.flows, Relaxed);
        figures.passed_over.store(totals.passed_over, Relaxed);
        figures.folded.store(totals.folded, Relaxed);
        for (figure, (_, count)) in figures.corrected.iter().zip(work.rollups.corrections().rows()) {
            figure.store(count, Relaxed);
        }
        figures.held.store(work.held.iter().map(|(_, request)| u64::from(request.records)).sum(), Relaxed);
    }
}
