//! An API server for tests: lists, watches, bookmarks, versions and errors as the real one has
//! them, and faults on command. Facts are those of the API's own reference ("API concepts":
//! efficient detection of changes, retrieving large results sets in chunks, streaming lists).

#![allow(dead_code, unreachable_pub, reason = "no test needs all of it, and each is a crate of its own")]
#![allow(clippy::disallowed_methods, reason = "a server's threads belong to no component")]
#![allow(clippy::print_stdout, reason = "how long it took to converge is what one wants to read")]

pub mod agent;
pub mod crds;
pub mod gate;
mod http;
pub mod leases;
#[allow(clippy::cast_possible_truncation, reason = "a byte of a number at a time")]
pub mod protobuf;
pub mod proxy;
mod serve;
pub mod store;
mod tls;

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde_json::Value;
use store::Store;
use tls::Identity;

/// Fault of the next requests instead of an answer.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The connection ends without a word.
    Close,
    /// An error with this status.
    Status(u16),
    /// 429 with `Retry-After`.
    Throttle(u64),
    /// The answer is right, but late.
    Late(Duration),
    /// The answer is right, and comes when the test says so ([`Api::recover`]).
    Held,
    /// Half of the answer, then the connection ends.
    Half,
    /// Something that is not JSON.
    Garbage,
    /// A success that is no list.
    AnotherObject,
    /// A list of another kind.
    AnotherList,
    /// A page of pods that goes on with the same token each time.
    SameToken,
}

/// Way in which running watches are ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// As when their time is over.
    InOrder,
    /// In order, after everything that has happened was sent.
    AfterAll,
    /// The connection breaks; over TLS without a `close_notify`.
    Abrupt,
    /// After half of an event for an object that does not exist.
    HalfObject,
    /// An `ERROR` event with this code, then in order.
    Error(u16),
    /// A line that is not JSON.
    Garbage,
    /// A bookmark with the version 1, then in order: another server answers, whose store is older.
    OlderBookmark,
}

/// Fault of a connection before HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handshake {
    Good,
    /// A certificate of an unknown authority.
    Stranger,
    /// The connection ends.
    Broken,
}

/// Handling of a request for a streamed list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Streaming {
    Offered,
    /// An error says that there is no such thing.
    Refused,
    /// An unknown parameter is ignored, as by old servers: the request becomes a watch.
    Ignored,
}

/// Handling of a request for protocol buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protobuf {
    /// The answer is in JSON, which may be requested beside them.
    Unknown,
    /// Pods are in protocol buffers.
    Known,
    /// A request for them is refused, whatever else it accepts.
    Refused,
    /// The answer says that it is in protocol buffers, and is something else.
    Broken,
    /// Lists of pods are in protocol buffers, and half as long as they say.
    Truncated,
}

/// Answer to a list of any version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lists {
    /// The watch cache, which knows no pages.
    Cached,
    /// A watch cache that lags behind.
    CachedAt(u64),
    /// The store: without a watch cache, as behind some aggregated servers.
    Stored,
}

/// One request as it came.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is a thing that a test asks for")]
pub struct Seen {
    pub kind: String,
    pub watch: bool,
    /// A watch that begins with a list.
    pub streaming: bool,
    /// Only metadata was asked for.
    pub metadata: bool,
    /// Protocol buffers were asked for.
    pub protobuf: bool,
    /// Name of the only object that was asked for.
    pub name: Option<String>,
    /// Fields of the objects that were asked for.
    pub fields: Option<String>,
    /// The answer may be compressed.
    pub gzip: bool,
    pub limit: Option<u64>,
    pub version: Option<String>,
    pub page: bool,
    /// The `Authorization` header.
    pub credentials: Option<String>,
    pub timeout: Option<u64>,
    pub status: u16,
    pub at: Instant,
}

struct Planned {
    kind: Option<&'static str>,
    watch: Option<bool>,
    fault: Fault,
    times: usize,
}

/// State that tests change while the server runs.
struct State {
    store: Store,
    faults: Vec<Planned>,
    seen: Vec<Seen>,
    /// Counts the commands to end watches; the last one.
    endings: (u64, Option<&'static str>, Ending),
    streaming: Streaming,
    lists: Lists,
    protobuf: Protobuf,
    bookmark_every: Duration,
    /// Tokens that are accepted; none: no authentication.
    tokens: Vec<String>,
    handshake: Handshake,
    forbidden: Vec<&'static str>,
    /// Until then nothing is allowed: the server has not read its roles yet.
    starting_until: Option<Instant>,
    further: crds::Further,
    open_watches: usize,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    stopped: AtomicBool,
    identities: Option<(Identity, Identity)>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

/// The server. Ends when dropped.
pub struct Api {
    shared: Arc<Shared>,
    address: SocketAddr,
    scratch: tempfile::TempDir,
}

impl Api {
    pub fn start() -> Self {
        Self::start_on("127.0.0.1:0", None)
    }

    pub fn start_tls() -> Self {
        Self::start_on("127.0.0.1:0", Some((tls::identity("127.0.0.1", false), tls::identity("127.0.0.1", false))))
    }

    /// A server whose certificate has this name instead of its address.
    pub fn start_named(name: &str) -> Self {
        Self::start_on("127.0.0.1:0", Some((tls::identity(name, false), tls::identity(name, false))))
    }

    /// A server that requires client certificates.
    pub fn start_mutual() -> Self {
        Self::start_on("127.0.0.1:0", Some((tls::identity("127.0.0.1", true), tls::identity("127.0.0.1", true))))
    }

    /// Writes a client's certificate and key beside the kubeconfig, as it names them; `good`: by
    /// the right authority.
    pub fn write_client(&self, good: bool) {
        let (right, stranger) = self.shared.identities.as_ref().unwrap();
        let (certificate, key) = if good { &right.client } else { &stranger.client };
        std::fs::write(self.scratch.path().join("client.crt"), certificate).unwrap();
        std::fs::write(self.scratch.path().join("client.key"), key).unwrap();
    }

    fn start_on(address: &str, identities: Option<(Identity, Identity)>) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let state = State {
            store: Store::default(),
            faults: Vec::new(),
            seen: Vec::new(),
            endings: (0, None, Ending::InOrder),
            streaming: Streaming::Offered,
            lists: Lists::Cached,
            protobuf: Protobuf::Unknown,
            // As the real one does.
            bookmark_every: Duration::from_mins(1),
            tokens: Vec::new(),
            handshake: Handshake::Good,
            forbidden: Vec::new(),
            starting_until: None,
            further: crds::Further::default(),
            open_watches: 0,
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            changed: Condvar::new(),
            stopped: AtomicBool::new(false),
            identities,
        });
        let serving = Arc::clone(&shared);
        std::thread::spawn(move || serve::accept(&listener, &serving));
        let api = Self { shared, address, scratch: tempfile::tempdir().unwrap() };
        for object in store::surroundings() {
            api.put(object);
        }
        api
    }

    /// Writes the kubeconfig of a client, with this token in a file of its own if there is one.
    pub fn kubeconfig(&self, token: Option<&str>) -> PathBuf {
        let path = self.scratch.path().join("kubeconfig");
        // Files are named relative to the kubeconfig, as it may name them.
        let user = match token {
            None if self.scratch.path().join("client.crt").exists() => {
                "{client-certificate: client.crt, client-key: client.key}"
            }
            None => "{}",
            Some(token) => {
                self.write_token(token);
                "{tokenFile: token}"
            }
        };
        let (scheme, authority) = match &self.shared.identities {
            None => ("http", String::new()),
            Some((good, _)) => {
                std::fs::write(self.scratch.path().join("ca.crt"), &good.authority).unwrap();
                ("https", ", certificate-authority: ca.crt".to_owned())
            }
        };
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: it\n\
             clusters: [{{name: it, cluster: {{server: '{scheme}://{}'{authority}}}}}]\n\
             users: [{{name: it, user: {user}}}]\n\
             contexts: [{{name: it, context: {{cluster: it, user: it}}}}]\n",
            self.address
        );
        std::fs::write(&path, text).unwrap();
        path
    }

    pub fn write_token(&self, token: &str) {
        std::fs::write(self.scratch.path().join("token"), token).unwrap();
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Certificate and key of a client that the server lets in, in PEM.
    pub fn client(&self) -> (String, String) {
        self.shared.identities.as_ref().unwrap().0.client.clone()
    }

    /// Writes a kubeconfig as [`Api::kubeconfig`] does, with these words in the place of others.
    pub fn kubeconfig_with(&self, changes: &[(&str, &str)]) -> PathBuf {
        let mut text = std::fs::read_to_string(self.kubeconfig(None)).unwrap();
        for (from, to) in changes {
            assert!(text.contains(from), "{from:?} is not in {text}");
            text = text.replace(from, to);
        }
        let path = self.scratch.path().join("changed");
        std::fs::write(&path, text).unwrap();
        path
    }

    /// A place for a test's own files.
    pub fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let changed = change(&mut self.shared.state());
        self.shared.changed.notify_all();
        changed
    }

    pub fn put(&self, object: Value) {
        self.change(|state| state.store.put(object));
    }

    /// Many at once, so that they come in one burst.
    pub fn put_all(&self, objects: impl IntoIterator<Item = Value>) {
        self.change(|state| objects.into_iter().for_each(|object| state.store.put(object)));
    }

    pub fn delete(&self, kind: &str, namespace: &str, name: &str) {
        self.change(|state| state.store.delete(kind, namespace, name));
    }

    /// Forgets the history up to now: an older version is too old from now on.
    pub fn compact(&self) {
        self.change(|state| state.store.compact());
    }

    /// Puts the version back by so much, as when a backup is restored, and ends all watches.
    /// Watches of later versions get nothing, not even a bookmark.
    pub fn rewind(&self, by: u64) {
        self.change(|state| {
            state.store.rewind(by);
            state.endings = (state.endings.0 + 1, None, Ending::Abrupt);
        });
    }

    /// Begins a restart: every watch is cut, and requests are refused until [`Api::come_back`].
    pub fn go_away(&self) {
        self.change(|state| {
            state.handshake = Handshake::Broken;
            state.endings = (state.endings.0 + 1, None, Ending::Abrupt);
        });
    }

    /// Ends a restart. What the server remembered of the past is gone (the version has moved on
    /// meanwhile, by leases if by nothing else), and for `forbidding` it allows nothing.
    pub fn come_back(&self, forbidding: Duration) {
        self.change(|state| {
            state.handshake = Handshake::Good;
            state.store.version += 1;
            state.store.compact();
            state.starting_until = Some(Instant::now() + forbidding);
        });
    }

    /// The objects of a kind.
    pub fn objects(&self, kind: &str) -> Vec<Arc<Value>> {
        let state = self.shared.state();
        state.store.at(kind, state.store.version).into_iter().map(|(_, object)| object).collect()
    }

    pub fn version(&self) -> u64 {
        self.shared.state().store.version
    }

    /// Plans a fault for the next `times` requests of this kind (none: of any), watches or lists
    /// only if said so.
    pub fn plan(&self, kind: Option<&'static str>, watch: Option<bool>, fault: Fault, times: usize) {
        self.change(|state| state.faults.push(Planned { kind, watch, fault, times }));
    }

    /// No more faults; what is held is answered.
    pub fn recover(&self) {
        self.change(|state| state.faults.clear());
    }

    /// Ends the watches of a kind, or all.
    pub fn end_watches(&self, kind: Option<&'static str>, ending: Ending) {
        self.change(|state| state.endings = (state.endings.0 + 1, kind, ending));
    }

    /// Whether streamed lists are offered.
    pub fn set_streaming(&self, streaming: Streaming) {
        self.change(|state| state.streaming = streaming);
    }

    /// Sets the answer to lists of any version.
    pub fn set_lists(&self, lists: Lists) {
        self.change(|state| state.lists = lists);
    }

    /// Sets what becomes of requests for protocol buffers.
    pub fn set_protobuf(&self, protobuf: Protobuf) {
        self.change(|state| state.protobuf = protobuf);
    }

    pub fn set_bookmarks(&self, every: Duration) {
        self.change(|state| state.bookmark_every = every);
    }

    pub fn set_tokens(&self, tokens: &[&str]) {
        self.change(|state| state.tokens = tokens.iter().map(|token| (*token).to_owned()).collect());
    }

    pub fn set_handshake(&self, handshake: Handshake) {
        self.change(|state| state.handshake = handshake);
    }

    /// Kinds that the role does not cover; those that a server need not have by their plural and
    /// group.
    pub fn forbid(&self, kinds: &[&'static str]) {
        self.change(|state| state.forbidden = kinds.to_vec());
    }

    /// Requests so far that fit.
    pub fn seen(&self, fits: impl Fn(&Seen) -> bool) -> Vec<Seen> {
        self.shared.state().seen.iter().filter(|seen| fits(seen)).cloned().collect()
    }

    pub fn open_watches(&self) -> usize {
        self.shared.state().open_watches
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.shared.stopped.store(true, SeqCst);
        self.shared.changed.notify_all();
        // Wakes the listener.
        let _refused = std::net::TcpStream::connect(self.address);
    }
}
