//! The Peer service: nodes that serve flows, as they come and go.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;

use futures::stream::{self, Stream, StreamExt as _};
use tokio::sync::watch;
use tonic::{Request, Response, Status};

use crate::proto::peer::peer_server::Peer as PeerApi;
use crate::proto::peer::{ChangeNotification, ChangeNotificationType, NotifyRequest, Tls};
use crate::site::{Peer, Site};

/// Notifies clients of the nodes.
#[derive(Debug, Clone)]
pub(crate) struct PeerService {
    pub(crate) site: Site,
}

#[tonic::async_trait]
impl PeerApi for PeerService {
    type NotifyStream = Pin<Box<dyn Stream<Item = Result<ChangeNotification, Status>> + Send>>;

    async fn notify(&self, _: Request<NotifyRequest>) -> Result<Response<Self::NotifyStream>, Status> {
        let follower = Follower {
            peers: self.site.peers.clone(),
            stopping: self.site.stopping.clone(),
            known: BTreeMap::new(),
            is_first: true,
        };
        let changes = stream::unfold(Some(follower), |follower| async {
            let mut follower = follower?;
            match follower.next().await {
                Some(changes) => Some((changes.into_iter().map(Ok).collect::<Vec<_>>(), Some(follower))),
                None => Some((vec![Err(Status::unavailable("the server stops"))], None)),
            }
        });
        Ok(Response::new(Box::pin(changes.flat_map(stream::iter))))
    }
}

/// One client and what it knows.
struct Follower {
    peers: watch::Receiver<Arc<[Peer]>>,
    stopping: watch::Receiver<bool>,
    known: BTreeMap<String, Peer>,
    is_first: bool,
}

impl Follower {
    /// The next changes; none when the server stops.
    async fn next(&mut self) -> Option<Vec<ChangeNotification>> {
        if !std::mem::take(&mut self.is_first) {
            let peers = &mut self.peers;
            let changed = async {
                if peers.changed().await.is_err() {
                    // The list is final: the stream stays open, as clients expect.
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                () = changed => {}
                _ = self.stopping.wait_for(|stopping| *stopping) => return None,
            }
        }
        let now = Arc::clone(&self.peers.borrow_and_update());
        Some(changes(&mut self.known, &now))
    }
}

/// The changes from the nodes that a client knows to those that there are; it knows these then.
fn changes(known: &mut BTreeMap<String, Peer>, now: &[Peer]) -> Vec<ChangeNotification> {
    let mut changes = Vec::new();
    let gone: Vec<String> = known.keys().filter(|name| !now.iter().any(|peer| peer.name == **name)).cloned().collect();
    for name in gone {
        if let Some(peer) = known.remove(&name) {
            changes.push(notification(&peer, ChangeNotificationType::PeerDeleted));
        }
    }
    for peer in now.iter().filter(|peer| !peer.address.is_empty()) {
        let change = match known.insert(peer.name.clone(), peer.clone()) {
            None => ChangeNotificationType::PeerAdded,
            Some(before) if before != *peer => ChangeNotificationType::PeerUpdated,
            Some(_) => continue,
        };
        changes.push(notification(peer, change));
    }
    changes
}

fn notification(peer: &Peer, change: ChangeNotificationType) -> ChangeNotification {
    ChangeNotification {
        name: peer.name.clone(),
        address: peer.address.clone(),
        r#type: change.into(),
        tls: peer.server_name.clone().map(|server_name| Tls { server_name }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(name: &str, address: &str) -> Peer {
        Peer { name: name.into(), address: address.into(), server_name: None }
    }

    /// A client learns of each node once, of a new address, and of its end; a node whose address is
    /// not known yet is not announced, since relays crash when it gets one.
    #[test]
    fn changes_of_peers() {
        use ChangeNotificationType::{PeerAdded, PeerDeleted, PeerUpdated};
        let mut known = BTreeMap::new();
        let mut next = |now: &[Peer]| {
            let changes = changes(&mut known, now);
            changes.into_iter().map(|change| (change.name.clone(), change.r#type())).collect::<Vec<_>>()
        };
        assert_eq!(next(&[peer("a", "1:4244"), peer("b", "")]), [("a".into(), PeerAdded)]);
        assert_eq!(next(&[peer("a", "1:4244"), peer("b", "2:4244")]), [("b".into(), PeerAdded)]);
        assert_eq!(next(&[peer("a", "1:4244"), peer("b", "2:4244")]), []);
        assert_eq!(next(&[peer("b", "3:4244")]), [("a".into(), PeerDeleted), ("b".into(), PeerUpdated)]);
    }
}
