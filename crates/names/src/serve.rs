//! The server: one stream for each agent.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, stream};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tonic::transport::Server;
use tonic::transport::server::Connected;
use tonic::{Request, Response, Status, Streaming};
use webb_flow::hash::seed;

use crate::directory::{Directory, Lease};
use crate::nodes_digest::NodesDigest;
use crate::protocol_error::ProtocolError;
use crate::wire::names_server::{Names, NamesServer};
use crate::wire::{Addresses, Answer, Hello, Request as Asked};
use crate::{BEAT_INTERVAL, VERSION};

/// Bytes of a request: it asks for 4096 addresses and releases as many.
const MAX_REQUEST_BYTES: usize = 1 << 20;

/// Streams of one connection at once. An agent has one, and perhaps one that is ending.
const MAX_STREAMS: u32 = 4;

/// Bytes of a call's headers.
const MAX_HEADER_BYTES: u32 = 16 << 10;

/// Time in which a client must have sent its first request.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// Interval of the question whether a client is still there, and time for its answer.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// A server that cannot go on.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ServeError(#[from] tonic::transport::Error);

/// The relay that serves.
#[derive(Clone)]
pub struct Site {
    /// Name of the cluster.
    pub cluster: String,
    /// Name of this relay, for logs of agents.
    pub name: String,
    /// Time since the API server last said anything; none before all pods are listed.
    pub lag: Arc<dyn Fn() -> Option<Duration> + Send + Sync>,
    /// Age at which a stream ends in order, or up to half as long again: agents that had no other
    /// relay when they began spread over those that there are.
    pub max_age: Duration,
    /// True when the server is to stop.
    pub stopping: watch::Receiver<bool>,
}

impl std::fmt::Debug for Site {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Site").field("cluster", &self.cluster).field("name", &self.name).finish_non_exhaustive()
    }
}

/// Serves a directory to the connections of a listener until the site stops.
///
/// # Errors
/// If the listener fails.
pub async fn serve<C>(
    directory: Arc<Directory>,
    site: Site,
    connections: impl Stream<Item = io::Result<C>>,
) -> Result<(), ServeError>
where
    C: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
{
    let (mut stopping, turns) = (site.stopping.clone(), Arc::clone(&directory));
    let served = Server::builder()
        .max_concurrent_streams(MAX_STREAMS)
        .http2_max_header_list_size(MAX_HEADER_BYTES)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .add_service(NamesServer::new(Relay { directory, site }).max_decoding_message_size(MAX_REQUEST_BYTES))
        .serve_with_incoming_shutdown(connections, async move {
            let _stopped = stopping.wait_for(|stopping| *stopping).await;
        });
    tokio::select! {
        served = served => Ok(served?),
        never = turns.take_turns() => match never {},
    }
}

struct Relay {
    directory: Arc<Directory>,
    site: Site,
}

#[tonic::async_trait]
impl Names for Relay {
    type FollowStream = Pin<Box<dyn Stream<Item = Result<Answer, Status>> + Send>>;

    async fn follow(&self, requests: Request<Streaming<Asked>>) -> Result<Response<Self::FollowStream>, Status> {
        if (self.site.lag)().is_none() {
            return Err(Status::unavailable("the pods and nodes of the cluster are not listed yet"));
        }
        let mut requests = requests.into_inner();
        let first = timeout(HELLO_TIMEOUT, requests.message()).await;
        let first = first.map_err(|_| Status::deadline_exceeded("no greeting came"))??;
        let first = first.ok_or_else(|| refusal(&ProtocolError::Hello))?;
        greet(first.hello.as_ref(), &self.site.cluster).map_err(|error| refusal(&error))?;
        let lease = self.directory.connect();
        if let Some(digest) = first.hello.as_ref().and_then(|hello| NodesDigest::read(&hello.nodes_digest)) {
            lease.knows_nodes(digest);
        }
        take(&lease, &Asked { hello: None, ..first })?;
        let (cluster, name) = (self.site.cluster.clone(), self.site.name.clone());
        let nodes = self.directory.knows_nodes();
        let hello = Hello { version: VERSION, cluster, name, nodes, ..Hello::default() };
        let now = Instant::now();
        let ends = now + self.site.max_age + part_of(self.site.max_age / 2);
        let state = State::New(hello);
        let stream = AgentStream { lease, requests, site: self.site.clone(), state, beat: now, ends };
        let answers = stream::unfold(Some(stream), |stream| async move {
            let mut stream = stream?;
            match stream.next().await {
                Ok(Some(answer)) => Some((Ok(answer), Some(stream))),
                Ok(None) => None,
                Err(status) => Some((Err(status), None)),
            }
        });
        Ok(Response::new(Box::pin(answers)))
    }
}

/// Checks the greeting of the other side.
pub(crate) fn greet(hello: Option<&Hello>, cluster: &str) -> Result<(), ProtocolError> {
    let hello = hello.ok_or(ProtocolError::Hello)?;
    if hello.version != VERSION {
        return Err(ProtocolError::Version(hello.version));
    }
    if hello.cluster != cluster {
        return Err(ProtocolError::Cluster { theirs: hello.cluster.clone(), ours: cluster.to_owned() });
    }
    Ok(())
}

/// The status that ends the stream of an agent that sent what no correct one sends. The agent tells
/// its reason by the code.
fn refusal(error: &ProtocolError) -> Status {
    let text = error.to_string();
    match error {
        ProtocolError::Version(_) => Status::failed_precondition(text),
        ProtocolError::Cluster { .. } => Status::not_found(text),
        _ => Status::invalid_argument(text),
    }
}

/// A random part of a duration.
fn part_of(whole: Duration) -> Duration {
    let part = u32::try_from(seed() % 1024).unwrap_or(0);
    whole * part / 1024
}

/// Where a stream stands.
enum State {
    /// It begins with this.
    New(Hello),
    Running,
    /// The agent was told that it ends.
    Ending,
}

/// What a stream has waited for.
enum Wake {
    /// There may be something to send, or the stream is old.
    Changes,
    /// Nothing was said for a while.
    Beat,
    /// The agent has ended the stream.
    Gone,
}

/// One agent's stream.
struct AgentStream {
    lease: Lease,
    requests: Streaming<Asked>,
    site: Site,
    state: State,
    /// Time of the next answer that only says that the relay is there.
    beat: Instant,
    ends: Instant,
}

impl AgentStream {
    /// The next answer; none at the end of the stream. What an agent asks is read only while its
    /// answers are.
    async fn next(&mut self) -> Result<Option<Answer>, Status> {
        match std::mem::replace(&mut self.state, State::Running) {
            State::New(hello) => return Ok(Some(self.with_lag(Answer { hello: Some(hello), ..Answer::default() }))),
            State::Running => {}
            State::Ending => return Ok(None),
        }
        loop {
            if Instant::now() >= self.ends {
                self.state = State::Ending;
                return Ok(Some(self.with_lag(Answer { ends: true, ..Answer::default() })));
            }
            if let Some(answer) = self.lease.next() {
                return Ok(Some(self.with_lag(answer)));
            }
            match self.wait().await? {
                Wake::Changes => {}
                Wake::Beat => return Ok(Some(self.with_lag(Answer::default()))),
                Wake::Gone => return Ok(None),
            }
        }
    }

    /// Waits until there may be something to send.
    async fn wait(&mut self) -> Result<Wake, Status> {
        loop {
            tokio::select! {
                request = self.requests.message() => match request? {
                    Some(request) => take(&self.lease, &request)?,
                    None => return Ok(Wake::Gone),
                },
                () = self.lease.woken() => return Ok(Wake::Changes),
                () = sleep_until(self.ends) => return Ok(Wake::Changes),
                () = sleep_until(self.beat) => return Ok(Wake::Beat),
                _ = self.site.stopping.wait_for(|stopping| *stopping) => {
                    return Err(Status::unavailable("the relay stops"));
                }
            }
        }
    }

    fn with_lag(&mut self, answer: Answer) -> Answer {
        // Agents that began together are not told of it together.
        self.beat = Instant::now() + BEAT_INTERVAL / 2 + part_of(BEAT_INTERVAL / 2);
        // While the pods are being listed it is not known.
        let lag = (self.site.lag)();
        Answer { lag_ms: lag.map(|lag| u64::try_from(lag.as_millis()).unwrap_or(u64::MAX)), ..answer }
    }
}

/// Takes a request.
pub(crate) fn take(lease: &Lease, request: &Asked) -> Result<(), Status> {
    if request.hello.is_some() {
        return Err(refusal(&ProtocolError::Hello));
    }
    let read = |addresses: &Option<Addresses>| -> Result<Vec<IpAddr>, Status> {
        let Some(some) = addresses else { return Ok(Vec::new()) };
        Ok(some.read().map_err(|error| refusal(&error))?.collect())
    };
    lease.release(read(&request.release)?);
    lease.ask(read(&request.ask)?).map_err(|many| Status::resource_exhausted(many.to_string()))
}
