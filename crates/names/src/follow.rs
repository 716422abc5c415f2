//! The client: follows a relay for as long as a connection lasts.

use std::error::Error as _;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::stream;
use tokio::sync::mpsc;
use tokio::time::{timeout, timeout_at};
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::held::{Changes, Held, HeldCounts};
use crate::nodes_digest::NodesDigest;
use crate::protocol_error::ProtocolError;
use crate::serve::greet;
use crate::wire::names_client::NamesClient;
use crate::wire::{Answer, Hello, Request};
use crate::{BEAT_INTERVAL, VERSION};

/// Bytes of an answer at most.
const MAX_ANSWER_BYTES: usize = 4 << 20;

/// Silence after which a relay is given up: it sends something in each interval.
const SILENCE: Duration = BEAT_INTERVAL.saturating_mul(3);

/// Addresses on their way from the thread that meets them.
const MAX_ASKS: usize = 4096;

/// Requests on their way to the relay.
const MAX_REQUESTS: usize = 4;

/// The end of the thread that meets addresses.
#[derive(Debug, Clone)]
pub struct Asks {
    sender: mpsc::Sender<IpAddr>,
    refused: Arc<AtomicU64>,
    is_open: Arc<AtomicBool>,
}

impl Asks {
    /// Asks for the pods at an address. Does not wait: false if there is no room, which is
    /// counted; then it is to be asked for again with a later flow.
    pub fn ask(&self, address: IpAddr) -> bool {
        let has_room = self.sender.try_send(address).is_ok();
        if !has_room {
            self.refused.fetch_add(1, Relaxed);
        }
        has_room
    }

    /// True while names come from a relay; so at first.
    pub fn is_open(&self) -> bool {
        self.is_open.load(Relaxed)
    }

    /// Sets whether names come from a relay.
    pub fn set_open(&self, is_open: bool) {
        self.is_open.store(is_open, Relaxed);
    }

    /// Number of asks that had no room.
    pub fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }
}

/// A bounded way for asks to the client.
pub fn asks() -> (Asks, mpsc::Receiver<IpAddr>) {
    let (sender, receiver) = mpsc::channel(MAX_ASKS);
    (Asks { sender, refused: Arc::default(), is_open: Arc::new(AtomicBool::new(true)) }, receiver)
}

/// The reason for the end of a connection.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The relay ended the stream, or the call failed.
    #[error("the relay: {}", words(.0))]
    Status(Box<Status>),
    /// The relay ended the stream in order, for another with any relay to begin.
    #[error("the relay ended the stream, which was old")]
    Age,
    /// The relay ended the stream without a word.
    #[error("the relay ended the stream")]
    Ended,
    /// It said nothing for three intervals.
    #[error("the relay was silent for {} s", SILENCE.as_secs())]
    Silent,
    /// It sent what no relay sends.
    #[error("the relay answers wrongly: {0}")]
    Protocol(#[from] ProtocolError),
}

/// The message of a status, with what the transport says of it: its own is always the same.
fn words(status: &Status) -> String {
    let mut words = status.message().to_owned();
    let mut next = status.source();
    while let Some(source) = next {
        let more = source.to_string();
        if !words.contains(&more) {
            words = format!("{words}: {more}");
        }
        next = source.source();
    }
    words
}

impl From<Status> for FollowError {
    fn from(status: Status) -> Self {
        Self::Status(Box::new(status))
    }
}

impl FollowError {
    /// True if the connection has failed, and no relay has answered.
    pub fn is_of_connection(&self) -> bool {
        matches!(self, Self::Status(status) if status.source().is_some())
    }

    /// Value of the label `reason`.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Status(status) => match status.code() {
                Code::Unavailable => "unavailable",
                Code::FailedPrecondition | Code::Unimplemented => "version",
                Code::NotFound => "cluster",
                // A connection that breaks has no status of the relay; these are the client's own.
                Code::Unknown | Code::Cancelled => "ended",
                Code::ResourceExhausted => "too_many",
                Code::Internal | Code::OutOfRange | Code::InvalidArgument => "protocol",
                _ => "refused",
            },
            Self::Age => "age",
            Self::Ended => "ended",
            Self::Silent => "silent",
            Self::Protocol(ProtocolError::Version(_)) => "version",
            Self::Protocol(ProtocolError::Cluster { .. }) => "cluster",
            Self::Protocol(_) => "wrong_answer",
        }
    }
}

/// What an agent holds, shared by the thread that follows the relay and those that read figures.
#[derive(Debug)]
pub struct Following {
    held: Mutex<Held>,
    cluster: String,
    node: String,
    is_connected: AtomicBool,
    /// Milliseconds after `started` up to which the relay was current, plus one; zero is never.
    current: AtomicU64,
    started: Instant,
    answers: AtomicU64,
}

impl Following {
    /// Follows no relay yet.
    pub fn new(cluster: String, node: String) -> Self {
        let held = Mutex::new(Held::new(node.clone()));
        let (is_connected, current, answers) = Default::default();
        Self { held, cluster, node, is_connected, current, started: Instant::now(), answers }
    }

    /// What is held.
    pub fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Numbers for metrics.
    pub fn counts(&self) -> HeldCounts {
        self.held().counts()
    }

    /// Answers since start.
    pub fn answers(&self) -> u64 {
        self.answers.load(Relaxed)
    }

    /// True while a relay answers.
    pub fn is_connected(&self) -> bool {
        self.is_connected.load(Relaxed)
    }

    /// The age of the names: time since the relay was known to be up to date with the API server;
    /// since the start if it never was.
    pub fn staleness(&self) -> Duration {
        let current = Duration::from_millis(self.current.load(Relaxed).saturating_sub(1));
        self.started.elapsed().saturating_sub(current)
    }

    fn note_lag(&self, lag_ms: u64) {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        // A relay that lags more than the one before must not make the names older.
        self.current.fetch_max(now.saturating_sub(lag_ms).saturating_add(1), Relaxed);
    }
}

/// A stream that has begun. It ends when this is dropped.
struct Connected<'a>(&'a Following);

impl<'a> Connected<'a> {
    fn new(following: &'a Following, sends_nodes: bool) -> Self {
        following.held().begin(sends_nodes);
        following.is_connected.store(true, Relaxed);
        Self(following)
    }
}

impl Drop for Connected<'_> {
    fn drop(&mut self) {
        self.0.is_connected.store(false, Relaxed);
        self.0.held().end();
    }
}

/// Follows the relay at the other end of a channel: asks for what is held and for what comes out of
/// `asks`, and hands each change to `changed`. Returns when the connection ends.
pub async fn follow(
    channel: Channel,
    following: &Following,
    asks: &mut mpsc::Receiver<IpAddr>,
    mut changed: impl FnMut(&Held, Changes),
) -> FollowError {
    let Err(error) = run(channel, following, asks, &mut changed).await;
    error
}

async fn run(
    channel: Channel,
    following: &Following,
    asks: &mut mpsc::Receiver<IpAddr>,
    changed: &mut impl FnMut(&Held, Changes),
) -> Result<std::convert::Infallible, FollowError> {
    let (requests, outgoing) = mpsc::channel::<Request>(MAX_REQUESTS);
    let (cluster, name) = (following.cluster.clone(), following.node.clone());
    let nodes_digest = following.held().offer_nodes().map(NodesDigest::to_bytes).unwrap_or_default();
    let hello = Hello { version: VERSION, cluster, name, nodes_digest, ..Hello::default() };
    // There is room: it is the first.
    let _sent = requests.try_send(Request { hello: Some(hello), ..Request::default() });
    let outgoing =
        stream::unfold(
            outgoing,
            |mut outgoing| async move { outgoing.recv().await.map(|request| (request, outgoing)) },
        );
    let mut client = NamesClient::new(channel).max_decoding_message_size(MAX_ANSWER_BYTES);
    let call = timeout(SILENCE, client.follow(outgoing)).await.map_err(|_| FollowError::Silent)?;
    let mut answers = call?.into_inner();
    let first = timeout(SILENCE, answers.message()).await.map_err(|_| FollowError::Silent)??;
    let first = first.ok_or(FollowError::Ended)?;
    greet(first.hello.as_ref(), &following.cluster)?;
    let _connected = Connected::new(following, first.hello.as_ref().is_some_and(|hello| hello.nodes));
    let mut next = Some(Answer { hello: None, ..first });
    // Of the next answer, whatever is asked meanwhile.
    let mut deadline = tokio::time::Instant::now() + SILENCE;
    loop {
        if let Some(answer) = next.take() {
            deadline = tokio::time::Instant::now() + SILENCE;
            following.answers.fetch_add(1, Relaxed);
            if answer.hello.is_some() {
                return Err(ProtocolError::Hello.into());
            }
            if let Some(lag_ms) = answer.lag_ms {
                following.note_lag(lag_ms);
            }
            let ends = answer.ends;
            let mut held = following.held();
            let (changes, outcome) = held.take(answer);
            if changes != Changes::default() {
                changed(&held, changes);
            }
            outcome?;
            if ends {
                return Err(FollowError::Age);
            }
        }
        let has_request = following.held().has_request();
        tokio::select! {
            answer = timeout_at(deadline, answers.message()) => {
                let answer = answer.map_err(|_| FollowError::Silent)??;
                next = Some(answer.ok_or(FollowError::Ended)?);
            }
            permit = requests.reserve(), if has_request => {
                let permit = permit.map_err(|_| FollowError::Ended)?;
                if let Some(request) = following.held().next_request() {
                    permit.send(request);
                }
            }
            Some(address) = asks.recv() => drain(&mut following.held(), address, asks),
        }
    }
}

/// Takes on an address, and all that came with it.
pub fn drain(held: &mut Held, first: IpAddr, asks: &mut mpsc::Receiver<IpAddr>) {
    held.ask(first);
    while let Ok(address) = asks.try_recv() {
        held.ask(address);
    }
}
