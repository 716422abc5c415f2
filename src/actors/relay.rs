//! The agent's connection to a names relay: pods of other nodes, of the addresses that flows have.
//!
//! It runs on the resolver's thread, beside the watches of what is small and of this node's pods,
//! so that the two sources of pods take turns. Without a connection the last answers stay;
//! addresses that are met meanwhile are asked for on the next one.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc};
use tokio::time::sleep;
use webb_cluster::Cache;
use webb_index::ObjectKey;
use webb_names::{Asks, Changes, FollowError, Following, Held, asks, drain, follow};
use webb_observer::client::{Client, ClientTls, ServerAddress};
use webb_settings::{RelayAddress, Settings};

use crate::pipeline::flow_source::Backoff;

/// Interval in which pods are tried again whose name a pod of this node had.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// A relay, and the agent that asks it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelaySettings {
    /// Where the relay is.
    pub server: ServerAddress,
    /// Name of the agent's cluster, which must be the relay's.
    pub cluster: String,
    /// Name of the agent's node.
    pub node: String,
}

impl RelaySettings {
    /// The relay of these settings, if there is one.
    pub fn of(settings: &Settings) -> Option<Self> {
        let RelayAddress { host, port, tls } = settings.cluster_relay.clone()?;
        let files = &settings.cluster_relay_tls;
        let own = files.certificate.clone().zip(files.key.clone());
        let server_name = Some(files.server_name.clone()).filter(|name| !name.is_empty());
        // The settings have it with TLS.
        let tls = files.ca.clone().filter(|_| tls).map(|ca| ClientTls { ca: Some(ca), own, server_name });
        Some(Self {
            server: ServerAddress::Tcp { host, port, tls },
            cluster: settings.cluster_name.clone(),
            node: settings.node_name.clone(),
        })
    }
}

/// The connection, and what is held. Outlives a run of the resolver's thread.
#[derive(Debug)]
pub struct RelayClient {
    server: ServerAddress,
    following: Following,
    asks: Asks,
    asked: tokio::sync::Mutex<mpsc::Receiver<IpAddr>>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Ends of connections, and failed attempts, by reason.
    ends: BTreeMap<&'static str, u64>,
    /// The failure that lasts, and its beginning.
    failure: Option<(Instant, String)>,
    /// Pods whose name a pod of this node had.
    blocked: BTreeSet<ObjectKey>,
}

impl RelayClient {
    /// A client that is not connected yet.
    pub fn new(settings: RelaySettings) -> Self {
        let RelaySettings { server, cluster, node } = settings;
        let (asks, asked) = asks();
        Self {
            server,
            following: Following::new(cluster, node),
            asks,
            asked: tokio::sync::Mutex::new(asked),
            state: Mutex::default(),
        }
    }

    /// The end of the thread that meets addresses.
    pub fn asks(&self) -> &Asks {
        &self.asks
    }

    /// What is held.
    pub fn following(&self) -> &Following {
        &self.following
    }

    /// Ends of connections, and failed attempts, by reason.
    pub fn ends(&self) -> BTreeMap<&'static str, u64> {
        self.state().ends.clone()
    }

    /// True once it is known which networks pods have addresses in.
    pub fn knows_networks(&self) -> bool {
        self.following.held().knows_networks()
    }

    /// Reason for which names of other nodes' pods are incomplete or stale; empty if there is none.
    pub fn complaint(&self) -> String {
        let failure = self.state().failure.clone();
        match failure {
            Some((since, failure)) => {
                format!("names relay: {}: {failure} (for {} s)", self.server, since.elapsed().as_secs())
            }
            None if self.knows_networks() => String::new(),
            None => format!("names relay: {}: no answer yet", self.server),
        }
    }

    /// Keeps the pods of other nodes in `cache`, until it is dropped. `changed` is notified after
    /// each change.
    pub async fn run(&self, cache: &Cache, changed: &Notify) -> Infallible {
        {
            let mut held = self.following.held();
            // Nodes, which are not held, may have been on their way when the last run ended.
            held.invalidate_nodes();
            let named: BTreeSet<&ObjectKey> = held.keys().collect();
            cache.keep_relayed(|key| named.contains(key));
            cache.set_relayed_blocks(held.blocks());
            self.apply(cache, &held, held.keys().cloned());
        }
        changed.notify_one();
        tokio::select! {
            never = self.connect_forever(cache, changed) => match never {},
            never = self.retry_blocked(cache, changed) => match never {},
        }
    }

    async fn connect_forever(&self, cache: &Cache, changed: &Notify) -> Infallible {
        let mut asked = self.asked.lock().await;
        let mut backoff = Backoff::default();
        loop {
            let began = Instant::now();
            let end = match Client::connect(&self.server).await {
                Ok(client) => {
                    let taken = |held: &Held, changes: Changes| {
                        cache.set_relay_sends_nodes(held.sends_nodes());
                        cache.take_relayed_nodes(changes.nodes);
                        if changes.networks {
                            cache.set_relayed_blocks(held.blocks());
                            self.connected();
                        }
                        self.apply(cache, held, changes.pods);
                        changed.notify_one();
                    };
                    let end = follow(client.channel(), &self.following, &mut asked, taken).await;
                    let why = self.explain(&end, client.early_end());
                    Ok((end, why))
                }
                Err(error) => Err(error),
            };
            // After a stream that was old, less than flows wait for names.
            let wait = backoff.after(began.elapsed());
            match end {
                Ok((FollowError::Age, _)) => self.ended(FollowError::Age.label()),
                Ok((error, why)) => self.failed(error.label(), why, wait),
                Err(error) => self.failed(error.cause().label(), error.to_string(), wait),
            }
            let until = tokio::time::Instant::now() + wait;
            loop {
                tokio::select! {
                    () = tokio::time::sleep_until(until) => break,
                    Some(address) = asked.recv() => drain(&mut self.following.held(), address, &mut asked),
                }
            }
        }
    }

    /// Why a connection ended, with what may be the reason where the relay said none.
    fn explain(&self, end: &FollowError, early_end: Option<&str>) -> String {
        let is_plain = matches!(self.server, ServerAddress::Tcp { tls: None, .. });
        match early_end {
            _ if !end.is_of_connection() => end.to_string(),
            _ if is_plain && !self.knows_networks() => {
                format!("{end}; if the relay has TLS, `cluster_relay` is to begin with https://")
            }
            Some(early_end) if !is_plain => format!("{end}; {early_end}"),
            _ => end.to_string(),
        }
    }

    async fn retry_blocked(&self, cache: &Cache, changed: &Notify) -> Infallible {
        loop {
            sleep(RETRY_INTERVAL).await;
            let blocked = std::mem::take(&mut self.state().blocked);
            if !blocked.is_empty() {
                self.apply(cache, &self.following.held(), blocked);
                changed.notify_one();
            }
        }
    }

    fn apply(&self, cache: &Cache, held: &Held, pods: impl IntoIterator<Item = ObjectKey>) {
        for key in pods {
            match held.pod(&key) {
                Some(pod) => {
                    if !cache.upsert_relayed(key.clone(), pod) {
                        self.state().blocked.insert(key);
                    }
                }
                None => cache.remove_relayed(&key),
            }
        }
    }

    fn connected(&self) {
        if self.state().failure.take().is_some() {
            tracing::info!("the names relay {} answers again", self.server);
        }
    }

    fn ended(&self, reason: &'static str) {
        *self.state().ends.entry(reason).or_default() += 1;
    }

    /// A failure is logged when it begins; the state has it while it lasts.
    fn failed(&self, reason: &'static str, why: String, wait: Duration) {
        self.ended(reason);
        let mut state = self.state();
        let wait = wait.as_millis();
        let text = format!("names relay {}: {why}; the next attempt is in {wait} ms", self.server);
        match &mut state.failure {
            Some((_, known)) => {
                *known = why;
                tracing::debug!(reason, "{text}");
            }
            failure => {
                *failure = Some((Instant::now(), why));
                tracing::warn!(reason, "{text}");
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
