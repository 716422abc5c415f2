//! The server's state: all pods and nodes, and which client holds which address.
//!
//! A change marks the addresses for those that hold them; the entry is made when it is sent. So a
//! client that reads slowly costs a mark for each address that it holds, whatever happens to them.

mod client;
mod nodes;
mod pods;

use std::collections::{HashSet, VecDeque};
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hashbrown::HashMap;
use prost::Message as _;
use tokio::sync::Notify;
use tokio::time::sleep;
use webb_cluster::{Change, NodeNetwork, Pod, PodSink};
use webb_flow::hash::RandomState;
use webb_index::ObjectKey;

use crate::nodes_digest::NodesDigest;
use crate::wire;
pub(crate) use client::MAX_PROFILES;
use client::{Bounds, Client, MAX_BLOCKS};
use nodes::NodeTable;
pub(crate) use pods::MAX_PODS_OF_ADDRESS;
use pods::{Changed, Pods};

/// Addresses that one client may hold.
pub(crate) const MAX_LEASES: usize = 65_536;

/// Clients that are notified of a change at once. Those of a change that concerns thousands, such
/// as that of a DNS server's pod or of a block, are notified in turn, so many a [`TURN`]: what one
/// client asks meanwhile does not wait for all the others.
const CLIENTS_A_TURN: usize = 10;

/// Time of a turn: several times what it takes to notify its clients.
const TURN: Duration = Duration::from_millis(1);

/// A client asks for more addresses than `MAX_LEASES`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a client may hold {MAX_LEASES} addresses, and this one asks for more")]
pub struct TooMany;

/// What was sent to clients, and what they asked for, since start.
#[derive(Debug, Default)]
#[allow(missing_docs, reason = "the names are those of the metrics")]
pub struct Sent {
    pub asks: AtomicU64,
    pub releases: AtomicU64,
    pub refused: AtomicU64,
    pub entries: AtomicU64,
    pub profiles: AtomicU64,
    pub invalidations: AtomicU64,
    pub answers: AtomicU64,
    pub bytes: AtomicU64,
    pub left_out: AtomicU64,
}

/// The pods, the nodes, and the clients.
#[derive(Debug)]
pub struct Directory {
    state: Mutex<State>,
    sent: Sent,
    bounds: Bounds,
    /// Notified when a client begins to wait for its turn.
    turn: Notify,
}

#[derive(Debug, Default)]
struct State {
    pods: Pods,
    /// None before they are known.
    nodes: Option<NodeTable>,
    holders: HashMap<IpAddr, Vec<u64>, RandomState>,
    clients: HashMap<u64, Client, RandomState>,
    last_client: u64,
    /// Clients that wait for their turn to be notified of changes.
    in_turn: VecDeque<u64>,
}

impl Default for Directory {
    fn default() -> Self {
        Self::bounded(MAX_PROFILES, MAX_BLOCKS)
    }
}

impl Directory {
    /// A directory that sends so many profiles on a stream until both sides forget them, and so
    /// many blocks in an answer, and nodes.
    pub fn bounded(profiles: usize, blocks: usize) -> Self {
        Self {
            state: Mutex::default(),
            sent: Sent::default(),
            bounds: Bounds { profiles, blocks },
            turn: Notify::new(),
        }
    }

    /// Upserts a pod.
    pub fn upsert(&self, key: ObjectKey, pod: &Pod) -> Change {
        let mut changed = Changed::default();
        let mut state = self.state();
        let change = state.pods.upsert(key, pod, &mut changed);
        self.invalidate(&mut state, &changed);
        change
    }

    /// Removes a pod. False if it was not there, or had no address.
    pub fn delete(&self, key: &ObjectKey) -> bool {
        let mut changed = Changed::default();
        let mut state = self.state();
        let known = state.pods.remove(key, &mut changed);
        self.invalidate(&mut state, &changed);
        known
    }

    fn invalidate(&self, state: &mut State, changed: &Changed) {
        let State { holders, clients, in_turn, .. } = state;
        for address in &changed.addresses {
            let of_address = holders.get(address).map_or(&[][..], Vec::as_slice);
            for number in of_address {
                if let Some(client) = clients.get_mut(number) {
                    client.mark_changed(*address);
                    self.sent.invalidations.fetch_add(1, Relaxed);
                    notify((*number, client), of_address.len(), in_turn);
                }
            }
        }
        if !changed.blocks.is_empty() {
            let of = clients.len();
            for (number, client) in clients {
                if client.mark_blocks(&changed.blocks) {
                    notify((*number, client), of, in_turn);
                }
            }
        }
        if !in_turn.is_empty() {
            self.turn.notify_one();
        }
    }

    /// Replaces the nodes.
    pub fn set_nodes(&self, nodes: Vec<(String, Arc<NodeNetwork>)>) {
        let mut state = self.state();
        let is_new = state.nodes.is_none();
        let (has_changed, left_out) = state.nodes.get_or_insert_default().replace(nodes);
        self.sent.left_out.fetch_add(left_out as u64, Relaxed);
        if !has_changed && !is_new {
            return;
        }
        let State { clients, in_turn, .. } = &mut *state;
        let of = clients.len();
        for (number, client) in clients {
            notify((*number, client), of, in_turn);
        }
        if !in_turn.is_empty() {
            self.turn.notify_one();
        }
    }

    /// True once nodes are known, and sent.
    pub fn knows_nodes(&self) -> bool {
        self.state().nodes.is_some()
    }

    /// Number of nodes.
    pub fn nodes(&self) -> usize {
        self.state().nodes.as_ref().map_or(0, NodeTable::len)
    }

    /// Wakes the streams of clients that wait for their turn, forever.
    pub(crate) async fn take_turns(&self) -> Infallible {
        loop {
            while self.take_turn() {
                sleep(TURN).await;
            }
            self.turn.notified().await;
        }
    }

    /// Wakes the streams of a turn. True if clients wait for another.
    fn take_turn(&self) -> bool {
        let state = &mut *self.state();
        for _ in 0..CLIENTS_A_TURN {
            let Some(number) = state.in_turn.pop_front() else { return false };
            if let Some(client) = state.clients.get_mut(&number) {
                client.in_turn = false;
                client.wake.notify_one();
            }
        }
        !state.in_turn.is_empty()
    }

    /// Begins a stream. Its leases end when the returned one is dropped.
    pub fn connect(self: &Arc<Self>) -> Lease {
        let mut state = self.state();
        state.last_client += 1;
        let (client, number) = (Client::default(), state.last_client);
        let wake = Arc::clone(&client.wake);
        wake.notify_one();
        state.clients.insert(number, client);
        Lease { directory: Arc::clone(self), number, wake }
    }

    /// Number of clients, and of the addresses that they hold.
    pub fn clients(&self) -> (usize, usize) {
        let state = self.state();
        (state.clients.len(), state.clients.values().map(|client| client.leases.len()).sum())
    }

    /// Numbers of pods with an address, of addresses, of profiles.
    pub fn counts(&self) -> (usize, usize, usize) {
        self.state().pods.counts()
    }

    /// What was sent.
    pub fn sent(&self) -> &Sent {
        &self.sent
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PodSink for Directory {
    fn apply(&self, key: ObjectKey, pod: Pod) -> Change {
        self.upsert(key, &pod)
    }

    fn remove(&self, key: &ObjectKey) -> bool {
        self.delete(key)
    }

    fn keep_only(&self, listed: &HashSet<ObjectKey>) {
        let unlisted = self.state().pods.unlisted(|key| listed.contains(key));
        for key in unlisted {
            self.delete(&key);
        }
    }
}

/// What one stream holds.
#[derive(Debug)]
pub struct Lease {
    directory: Arc<Directory>,
    number: u64,
    wake: Arc<Notify>,
}

impl Lease {
    /// Notes which nodes the client has of an earlier stream: if they are those that there are,
    /// none is sent. To be called before [`Lease::next`].
    pub fn knows_nodes(&self, digest: NodesDigest) {
        if let Some(client) = self.directory.state().clients.get_mut(&self.number) {
            client.nodes_before = Some(digest);
        }
    }

    /// Takes addresses on. One that is held already is sent again.
    ///
    /// # Errors
    /// If the client would hold more than `MAX_LEASES`.
    pub fn ask(&self, addresses: impl IntoIterator<Item = IpAddr>) -> Result<(), TooMany> {
        let mut state = self.directory.state();
        let State { holders, clients, .. } = &mut *state;
        let Some(client) = clients.get_mut(&self.number) else { return Ok(()) };
        for address in addresses {
            if client.leases.len() >= MAX_LEASES && !client.leases.contains(&address) {
                self.directory.sent.refused.fetch_add(1, Relaxed);
                return Err(TooMany);
            }
            self.directory.sent.asks.fetch_add(1, Relaxed);
            if client.leases.insert(address) {
                holders.entry(address).or_default().push(self.number);
            }
            client.mark_asked(address);
        }
        Ok(())
    }

    /// Gives addresses up.
    pub fn release(&self, addresses: impl IntoIterator<Item = IpAddr>) {
        let mut state = self.directory.state();
        let State { holders, clients, .. } = &mut *state;
        let Some(client) = clients.get_mut(&self.number) else { return };
        for address in addresses {
            if client.release(address) {
                self.directory.sent.releases.fetch_add(1, Relaxed);
                give_up(holders, address, self.number);
            }
        }
    }

    /// Changes that were not sent yet, as far as they fit into one answer; none if that is
    /// nothing.
    pub fn next(&self) -> Option<wire::Answer> {
        let mut state = self.directory.state();
        let State { pods, nodes, clients, .. } = &mut *state;
        let answer = clients.get_mut(&self.number)?.next(pods, nodes.as_ref(), self.directory.bounds)?;
        drop(state);
        let sent = &self.directory.sent;
        sent.entries.fetch_add(answer.entries.len() as u64, Relaxed);
        sent.profiles.fetch_add(answer.profiles.len() as u64, Relaxed);
        sent.answers.fetch_add(1, Relaxed);
        sent.bytes.fetch_add(answer.encoded_len() as u64, Relaxed);
        Some(answer)
    }

    /// Waits until there may be something to send: at once after an ask, and in its turn after a
    /// change that concerns many.
    pub async fn woken(&self) {
        self.wake.notified().await;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut state = self.directory.state();
        let State { holders, clients, .. } = &mut *state;
        let Some(client) = clients.remove(&self.number) else { return };
        for address in client.leases {
            give_up(holders, address, self.number);
        }
    }
}

/// Notifies a client of a change that concerns so many.
fn notify((number, client): (u64, &mut Client), of: usize, in_turn: &mut VecDeque<u64>) {
    if of <= CLIENTS_A_TURN {
        client.wake.notify_one();
    } else if !std::mem::replace(&mut client.in_turn, true) {
        in_turn.push_back(number);
    }
}

fn give_up(holders: &mut HashMap<IpAddr, Vec<u64>, RandomState>, address: IpAddr, client: u64) {
    if let Some(of_address) = holders.get_mut(&address) {
        of_address.retain(|holder| *holder != client);
        if of_address.is_empty() {
            holders.remove(&address);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    /// What a client asks for is sent at once, and so is a change that concerns few. Of one that
    /// concerns many each client is notified once, in turn, and no other is.
    #[test]
    fn many_are_notified_in_turn() {
        let directory = Arc::new(Directory::default());
        let address: IpAddr = "10.0.1.1".parse().unwrap();
        let upsert = |node: &str| {
            let key = ObjectKey { namespace: "default".to_owned(), name: "web".to_owned() };
            directory.upsert(key, &Pod { addresses: vec![address], node: node.to_owned(), ..Pod::default() });
        };
        let mut leases: Vec<Lease> = (0..25).map(|_| directory.connect()).collect();
        let woken = |leases: &[Lease]| leases.iter().filter(|lease| lease.woken().now_or_never().is_some()).count();
        assert_eq!(woken(&leases), 25, "there is a beginning to send");
        for lease in &leases {
            while lease.next().is_some() {}
        }
        leases[..2].iter().for_each(|lease| lease.ask([address]).unwrap());
        assert_eq!((woken(&leases[..2]), woken(&leases)), (2, 0));
        upsert("a");
        assert_eq!(woken(&leases), 2, "few hold the address, and its block is new to all");
        upsert("b");
        assert_eq!(woken(&leases), 2);
        // Some have gone meanwhile.
        leases.truncate(22);
        let mut turns = Vec::new();
        while turns.last() != Some(&(false, 0)) {
            let has_more = directory.take_turn();
            turns.push((has_more, woken(&leases)));
        }
        assert_eq!(turns.iter().map(|(_, woken)| woken).sum::<usize>(), 22, "{turns:?}");
        assert!(turns.iter().all(|(_, woken)| *woken <= CLIENTS_A_TURN), "{turns:?}");
        assert_eq!(turns.iter().filter(|(has_more, _)| *has_more).count(), 2, "{turns:?}");
    }
}
