//! A client of Hubble's API that follows the flows of a server: an agent of Cilium, a relay, or
//! another webb.
//!
//! Responses are handed out as they are encoded: the caller decodes them, so that a flow is decoded
//! once and one that cannot be does not end the stream.

mod address;
mod connect;
mod error;
mod first_byte;
mod raw;
mod tls;

use std::error::Error as _;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::TryFutureExt as _;
use prost_types::Timestamp;
use tokio::time::timeout;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status, Streaming};

pub use address::{MAX_RESPONSE_BYTES, ServerAddress};
pub use error::{Cause, ClientError};
pub use tls::ClientTls;

use crate::proto::observer::observer_client::ObserverClient;
use crate::proto::observer::{GetFlowsRequest, ServerStatusRequest, ServerStatusResponse};
use first_byte::EarlyEnd;
pub(crate) use raw::Raw;

/// Time in which a connection is made, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Time in which a server answers a call that is not a stream.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection to a server.
#[derive(Debug, Clone)]
pub struct Client {
    channel: Channel,
    early_end: EarlyEnd,
}

/// What a server says of itself, as far as it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerState {
    /// Flows that it has seen since its start.
    pub seen_flows: u64,
    /// Time since its start.
    pub uptime: Duration,
}

impl Client {
    /// Connects, within five seconds.
    ///
    /// # Errors
    /// If there is no server, it refuses, or TLS fails.
    pub async fn connect(address: &ServerAddress) -> Result<Self, ClientError> {
        let early_end = EarlyEnd::default();
        let connected = timeout(CONNECT_TIMEOUT, connect::channel(address, Arc::clone(&early_end))).await;
        let channel = connected.unwrap_or_else(|_| Err(ClientError::timeout("connect", CONNECT_TIMEOUT)))?;
        Ok(Self { channel, early_end })
    }

    /// The channel of its calls.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// How the connection ended before the server's first byte, and a reason that it may have; none
    /// if it did not.
    pub fn early_end(&self) -> Option<&str> {
        self.early_end.get().map(|ended| ended.why.as_str())
    }

    /// The error of a call, with how the connection ended before the server's first byte.
    pub(crate) fn explain(&self, status: Status) -> Status {
        explained(status, &self.early_end)
    }

    /// The state of the server; none if it does not know the call.
    ///
    /// # Errors
    /// If it does not answer, or what answers is no such server.
    pub async fn state(&self) -> Result<Option<ServerState>, ClientError> {
        let mut client = ObserverClient::new(self.channel.clone()).max_decoding_message_size(MAX_RESPONSE_BYTES);
        match timeout(CALL_TIMEOUT, client.server_status(ServerStatusRequest {})).await {
            Ok(Ok(response)) => {
                let ServerStatusResponse { seen_flows, uptime_ns, .. } = response.into_inner();
                Ok(Some(ServerState { seen_flows, uptime: Duration::from_nanos(uptime_ns) }))
            }
            Ok(Err(status)) if status.code() == Code::Unimplemented => Ok(None),
            Ok(Err(status)) => Err(self.explain(status).into()),
            Err(_) => Err(ClientError::timeout("answer", CALL_TIMEOUT)),
        }
    }

    /// Follows the flows: those that are not older than `since_ns`, Unix time in nanoseconds, as
    /// far as the server has them, then each as it comes.
    pub fn follow(&self, since_ns: u64) -> Responses {
        let since = Timestamp {
            seconds: i64::try_from(since_ns / 1_000_000_000).unwrap_or(i64::MAX),
            nanos: i32::try_from(since_ns % 1_000_000_000).unwrap_or(0),
        };
        let request = GetFlowsRequest { follow: true, since: Some(since), ..GetFlowsRequest::default() };
        let (channel, early_end) = (self.channel.clone(), Arc::clone(&self.early_end));
        let call = async move {
            let mut grpc = Grpc::new(channel).max_decoding_message_size(MAX_RESPONSE_BYTES);
            grpc.ready().await.map_err(|error| Status::from_error(Box::new(error)))?;
            let path = PathAndQuery::from_static("/observer.Observer/GetFlows");
            grpc.server_streaming(Request::new(request), path, Raw::default()).await
        };
        Responses::Asked(Box::pin(call.map_err(move |status| explained(status, &early_end))))
    }
}

/// A call's error of the transport has a source; how the connection ended says more.
fn explained(status: Status, early_end: &EarlyEnd) -> Status {
    match early_end.get() {
        Some(ended) if status.source().is_some() => Status::from_error(ended.error()),
        _ => status,
    }
}

/// A call that is under way.
type Call = Pin<Box<dyn Future<Output = Result<Response<Streaming<Bytes>>, Status>> + Send>>;

/// Encoded responses of `GetFlows`, as they come.
pub enum Responses {
    /// The server has not answered: Cilium's sends nothing before the first flow.
    Asked(Call),
    /// It has.
    Open(Box<Streaming<Bytes>>),
}

impl fmt::Debug for Responses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if matches!(self, Self::Asked(_)) { "Asked" } else { "Open" })
    }
}

impl Responses {
    /// The next response. A call that is dropped takes none along.
    ///
    /// # Errors
    /// If the stream ends, in whatever way: the server is to keep it for ever.
    pub async fn next(&mut self) -> Result<Bytes, ClientError> {
        loop {
            match self {
                Self::Asked(call) => {
                    let answer = call.as_mut().await?;
                    *self = Self::Open(Box::new(answer.into_inner()));
                }
                Self::Open(stream) => return stream.message().await?.ok_or_else(ClientError::ended),
            }
        }
    }
}
