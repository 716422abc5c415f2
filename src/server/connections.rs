//! Admits and evicts the connections of one listener.
//!
//! A limit that refuses newcomers lets those that came first keep all others out. So a newcomer
//! takes the place of the connection that does the least: one without a request, then an idle one,
//! then one with an unread answer; of the client with the most connections first. If all are at
//! work, a client with more than its part gives up one for a client with few; only where none has
//! more a newcomer is refused.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::client::Client;
use super::connection::{Connection, Rank};
use super::limits::Limits;
use super::reason::Reason;

/// A client with more than so many times the connections of a newcomer gives up one for it, though
/// all of them are at work.
const UNFAIR: usize = 2;

/// The connections of one listener, over all runs of its server.
#[derive(Debug)]
pub struct Connections {
    limits: Limits,
    open: Mutex<Vec<Arc<Connection>>>,
    dropped: [AtomicU64; Reason::ALL.len()],
}

impl Connections {
    /// A table without connections.
    pub fn new(limits: Limits) -> Self {
        Self { limits, open: Mutex::default(), dropped: std::array::from_fn(|_| AtomicU64::default()) }
    }

    /// Their bounds.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Number of open connections.
    pub fn count(&self) -> usize {
        self.open().len()
    }

    /// Number of dropped connections, by reason.
    pub fn dropped(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Reason::ALL.iter().zip(&self.dropped).map(|(reason, count)| (reason.label(), count.load(Relaxed)))
    }

    fn open(&self) -> MutexGuard<'_, Vec<Arc<Connection>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one that is dropped.
    pub(super) fn count_dropped(&self, reason: Reason) {
        if let Some(count) = self.dropped.get(reason as usize) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// Admits a connection, or none if it is refused.
    pub(super) fn admit(self: &Arc<Self>, peer: Option<IpAddr>, tls: bool, now: Instant) -> Option<Admitted> {
        // Without an address it has ended already.
        let client = Client::from(peer.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)));
        let mut open = self.open();
        let of_client = open.iter().filter(|other| other.client == client).count();
        let reason = if of_client >= self.limits.per_client {
            Some(Reason::ClientLimit)
        } else if open.len() >= self.limits.connections {
            Some(Reason::Limit)
        } else {
            None
        };
        if let Some(reason) = reason {
            self.count_dropped(reason);
            let least = if reason == Reason::ClientLimit {
                least_of(&open, now, |other| (other == client).then_some(0))
            } else {
                let count = |other| open.iter().filter(|connection| connection.client == other).count();
                least_of(&open, now, |other| Some(count(other)).filter(|count| *count >= of_client))
                    .or_else(|| greediest(&open, count, UNFAIR * (of_client + 1)))
            };
            open.swap_remove(least?).cut();
        }
        let connection = Arc::new(Connection::new(client, now, tls));
        open.push(Arc::clone(&connection));
        Some(Admitted { connection, connections: Arc::clone(self) })
    }

    /// Cuts all that are overdue.
    pub(super) fn reap(&self, now: Instant) {
        self.open().retain(|connection| {
            let Some(reason) = connection.overdue(&self.limits, now) else { return true };
            self.count_dropped(reason);
            connection.cut();
            false
        });
    }
}

/// The most dispensable connection: of the client with the largest `weight`, the lowest rank.
/// Clients without a weight are left alone.
fn least_of(open: &[Arc<Connection>], now: Instant, weight: impl Fn(Client) -> Option<usize>) -> Option<usize> {
    let mut least: Option<(usize, Rank, usize)> = None;
    for (at, connection) in open.iter().enumerate() {
        let Some(rank) = connection.rank(now) else { continue };
        let Some(weight) = weight(connection.client) else { continue };
        if least.is_none_or(|(most, lowest, _)| weight > most || (weight == most && rank < lowest)) {
            least = Some((weight, rank, at));
        }
    }
    least.map(|(_, _, at)| at)
}

/// The newest connection of the client with the most, if these are more than `part`.
fn greediest(open: &[Arc<Connection>], count: impl Fn(Client) -> usize, part: usize) -> Option<usize> {
    let counts = open.iter().map(|connection| count(connection.client)).enumerate();
    counts.filter(|(_, count)| *count > part).max_by_key(|&(at, count)| (count, at)).map(|(at, _)| at)
}

/// The place of an admitted connection, given back when dropped.
#[derive(Debug)]
pub(super) struct Admitted {
    pub(super) connection: Arc<Connection>,
    pub(super) connections: Arc<Connections>,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.connections.open().retain(|other| !Arc::ptr_eq(other, &self.connection));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    struct Bench {
        connections: Arc<Connections>,
        began: Instant,
    }

    impl Bench {
        fn new(connections: usize, per_client: usize) -> Self {
            let limits = Limits { connections, per_client, ..Limits::default() };
            Self { connections: Arc::new(Connections::new(limits)), began: Instant::now() }
        }

        fn at(&self, ms: u64) -> Instant {
            self.began + Duration::from_millis(ms)
        }

        fn admit(&self, client: u8, ms: u64) -> Option<Admitted> {
            self.connections.admit(Some(Ipv4Addr::new(10, 0, 0, client).into()), false, self.at(ms))
        }

        fn dropped(&self) -> String {
            let some = self.connections.dropped().filter(|(_, count)| *count > 0);
            some.map(|(reason, count)| format!("{reason}={count}")).collect::<Vec<_>>().join(" ")
        }

        fn has(&self, admitted: &Admitted) -> bool {
            self.connections.open().iter().any(|open| Arc::ptr_eq(open, &admitted.connection))
        }
    }

    /// Silent connections of one client push out each other, and no others.
    #[test]
    fn a_client_pays_for_itself() {
        let bench = Bench::new(10, 3);
        let scraper = bench.admit(1, 0).unwrap();
        let silent: Vec<_> = (1..9).map(|ms| bench.admit(2, ms).unwrap()).collect();
        assert_eq!(bench.connections.count(), 4);
        assert!(bench.has(&scraper) && bench.has(&silent[7]) && !bench.has(&silent[0]));
        assert_eq!(bench.dropped(), "client_limit=5");
        drop(silent);
        assert_eq!(bench.connections.count(), 1);
    }

    /// From ever more addresses they push out the oldest; a client that is being answered stays.
    #[test]
    fn many_clients_keep_no_other_out() {
        let bench = Bench::new(4, 3);
        let scraper = bench.admit(1, 0).unwrap();
        scraper.connection.request_begins(bench.at(0));
        let mut others: Vec<_> = (2..40).map(|client| bench.admit(client, client.into()).unwrap()).collect();
        assert!(bench.has(&scraper));
        assert_eq!(bench.connections.count(), 4);
        let newcomer = bench.admit(50, 100).unwrap();
        assert!(bench.has(&newcomer));
        others.clear();
        assert_eq!(bench.connections.count(), 2);
    }

    /// Of the client with the most, and of what does the least: first the silent, then the idle,
    /// then the blocked; what works is never dropped.
    #[test]
    fn the_least_goes_first() {
        let bench = Bench::new(4, 4);
        let kept = bench.admit(1, 0).unwrap();
        let [working, blocked, idle] = [1, 2, 3].map(|ms| bench.admit(2, ms).unwrap());
        for connection in [&working, &blocked, &idle].map(|admitted| &admitted.connection) {
            connection.request_begins(bench.at(5));
        }
        blocked.connection.is_blocked(bench.at(6));
        working.connection.has_written(1, bench.at(6));
        idle.connection.request_ends(bench.at(6));
        let third = bench.admit(3, 2000).unwrap();
        assert!(!bench.has(&idle) && bench.has(&kept));
        third.connection.request_begins(bench.at(2000));
        let fourth = bench.admit(3, 2000).unwrap();
        assert!(!bench.has(&blocked) && bench.has(&kept));
        fourth.connection.request_begins(bench.at(2000));
        let fifth = bench.admit(5, 2000).unwrap();
        assert!(!bench.has(&kept), "one that asks for nothing, where all others work");
        fifth.connection.request_begins(bench.at(2000));
        assert!(bench.admit(6, 2000).is_none());
        assert_eq!(bench.dropped(), "limit=4");
    }

    /// Few clients whose connections are all at work keep no other out, and a newcomer keeps out
    /// none that has as few.
    #[test]
    fn the_greediest_gives_up() {
        let bench = Bench::new(8, 4);
        let busy: Vec<_> = [1, 1, 1, 1, 2, 2, 2, 3]
            .map(|client| {
                let admitted = bench.admit(client, 0).unwrap();
                admitted.connection.request_begins(bench.at(0));
                admitted
            })
            .into();
        let scraper = bench.admit(9, 1).unwrap();
        scraper.connection.request_begins(bench.at(1));
        assert_eq!(busy.iter().filter(|busy| !bench.has(busy)).count(), 1);
        assert!(busy[..4].iter().any(|busy| !bench.has(busy)), "it is one of the client with the most");
        for client in 10..12 {
            bench.admit(client, 2).unwrap().connection.request_begins(bench.at(2));
        }
        assert!(bench.has(&busy[7]) && bench.has(&scraper));
    }

    /// The overdue go with their reason, and their place is free at once.
    #[test]
    fn the_overdue_go() {
        let bench = Bench::new(4, 4);
        let [silent, reading] = [0, 0].map(|ms| bench.admit(1, ms).unwrap());
        reading.connection.request_begins(bench.at(0));
        bench.connections.reap(bench.at(5900));
        assert_eq!(bench.connections.count(), 2);
        bench.connections.reap(bench.at(6000));
        assert!(!bench.has(&silent) && bench.has(&reading));
        assert_eq!(bench.dropped(), "slow_head=1");
    }
}
