//! Admits connections: so many in all, so many of one client.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Connections of one listener at most.
pub const MAX_CONNECTIONS: usize = 1024;

/// Connections of one address at most, so that no client keeps all others out.
pub const MAX_CONNECTIONS_OF_CLIENT: usize = 256;

/// A reason for which a connection is refused or closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The listener has too many.
    Limit,
    /// The client has too many.
    ClientLimit,
    /// The TLS handshake failed or took too long.
    Handshake,
    /// The client sent nothing.
    Silent,
}

impl Refusal {
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [Self::Limit, Self::ClientLimit, Self::Handshake, Self::Silent];

    /// Value of a label.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Limit => "limit",
            Self::ClientLimit => "client_limit",
            Self::Handshake => "handshake",
            Self::Silent => "silent",
        }
    }
}

/// The open connections of one listener, and counts of those that were refused or closed.
#[derive(Debug)]
pub struct Admission {
    open: Mutex<Open>,
    /// Connections at most, and those of one client.
    at_most: (usize, usize),
    dropped: [AtomicU64; Refusal::ALL.len()],
}

#[derive(Debug, Default)]
struct Open {
    all: usize,
    by_client: HashMap<IpAddr, usize>,
}

impl Default for Admission {
    fn default() -> Self {
        Self::of(MAX_CONNECTIONS, MAX_CONNECTIONS_OF_CLIENT)
    }
}

impl Admission {
    /// Admits so many connections, and so many of one client.
    pub fn of(all: usize, of_client: usize) -> Self {
        Self { open: Mutex::default(), at_most: (all, of_client), dropped: Default::default() }
    }

    /// Number of open connections.
    pub fn connections(&self) -> usize {
        self.open().all
    }

    /// Connections that were refused or closed, by reason.
    pub fn dropped(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Refusal::ALL.iter().zip(&self.dropped).map(|(refusal, count)| (refusal.label(), count.load(Relaxed)))
    }

    pub(crate) fn count(&self, refusal: Refusal) {
        if let Some(count) = self.dropped.get(refusal as usize) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// A place for a connection of a client; clients of a unix socket have no address.
    pub(crate) fn admit(self: &Arc<Self>, client: Option<IpAddr>) -> Option<Place> {
        let mut open = self.open();
        let of_client = client.map_or(0, |client| open.by_client.get(&client).copied().unwrap_or(0));
        let (most, most_of_client) = self.at_most;
        let refusal = if of_client >= most_of_client {
            Some(Refusal::ClientLimit)
        } else {
            (open.all >= most).then_some(Refusal::Limit)
        };
        if let Some(refusal) = refusal {
            self.count(refusal);
            return None;
        }
        open.all += 1;
        if let Some(client) = client {
            open.by_client.insert(client, of_client + 1);
        }
        Some(Place { admission: Arc::clone(self), client })
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of an open connection, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    admission: Arc<Admission>,
    client: Option<IpAddr>,
}

impl Place {
    pub(crate) fn admission(&self) -> &Admission {
        &self.admission
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.admission.open();
        open.all -= 1;
        let Some(client) = self.client else { return };
        if let Some(count) = open.by_client.get_mut(&client) {
            *count -= 1;
            if *count == 0 {
                open.by_client.remove(&client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One client has its share, all have the whole, and a place that is given back is free.
    #[test]
    fn places_are_bounded() {
        let admission = Arc::new(Admission::default());
        let client = |last: u8| Some(IpAddr::from([10, 0, 0, last]));
        let greedy: Vec<_> = (0..300).filter_map(|_| admission.admit(client(1))).collect();
        assert_eq!(greedy.len(), MAX_CONNECTIONS_OF_CLIENT);
        let mut places: Vec<_> = (0..2000).filter_map(|at: u32| admission.admit(client(at.to_le_bytes()[0]))).collect();
        assert_eq!(places.len() + greedy.len(), MAX_CONNECTIONS);
        assert!(admission.admit(None).is_none());
        drop(greedy);
        places.extend(admission.admit(None));
        assert_eq!(admission.connections(), places.len());
        drop(places);
        assert_eq!((admission.connections(), admission.open().by_client.len()), (0, 0));
        let dropped: Vec<_> = admission.dropped().collect();
        assert!(dropped[0].1 > 0 && dropped[1].1 > 0, "{dropped:?}");
    }
}
