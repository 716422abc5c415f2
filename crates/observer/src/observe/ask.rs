//! Calls of a server, and their failures in the words of Hubble's command line.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use tokio::time::timeout;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Code, Request, Status, Streaming};

use crate::client::{Client, ClientError, MAX_RESPONSE_BYTES, Raw};

/// Time in which a call that is no stream is answered.
const CALL_TIMEOUT: Duration = Duration::from_secs(12);

/// Why there is no answer, or no more of it.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A sentence for standard error.
    #[error("{0}")]
    Text(String),
    /// The output cannot be written.
    #[error("{0}")]
    Output(#[from] io::Error),
}

impl From<String> for Failure {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Status> for Failure {
    /// A plain error of the server is its text alone; any other has its code.
    fn from(status: Status) -> Self {
        // What the transport says has a source, which says why; what the server says has none.
        if std::error::Error::source(&status).is_some() {
            return Self::Text(ClientError::from(status).to_string());
        }
        let message = status.message();
        let code = match status.code() {
            Code::Unknown => return Self::Text(message.to_owned()),
            Code::Cancelled => "Canceled".to_owned(),
            code => format!("{code:?}"),
        };
        Self::Text(format!("rpc error: code = {code} desc = {message}"))
    }
}

impl From<prost::DecodeError> for Failure {
    fn from(error: prost::DecodeError) -> Self {
        Self::Text(format!("a response cannot be read: {error}"))
    }
}

/// Asks for one answer.
pub(super) async fn one<Q, A>(client: &Client, path: &'static str, request: Q) -> Result<A, Failure>
where
    Q: Message + 'static,
    A: Message + Default,
{
    let call = async {
        let mut grpc = ready(client).await?;
        grpc.unary(Request::new(request), PathAndQuery::from_static(path), Raw::default()).await
    };
    let Ok(answer) = timeout(CALL_TIMEOUT, call).await else {
        return Err(Status::deadline_exceeded("context deadline exceeded").into());
    };
    Ok(A::decode(answer.map_err(|status| client.explain(status))?.into_inner())?)
}

/// Asks for a stream of answers, each encoded.
pub(super) async fn many<Q: Message + 'static>(
    client: &Client,
    path: &'static str,
    request: Q,
) -> Result<Streaming<Bytes>, Status> {
    let mut grpc = ready(client).await?;
    let answer = grpc.server_streaming(Request::new(request), PathAndQuery::from_static(path), Raw::default()).await;
    Ok(answer.map_err(|status| client.explain(status))?.into_inner())
}

async fn ready(client: &Client) -> Result<Grpc<tonic::transport::Channel>, Status> {
    let mut grpc = Grpc::new(client.channel()).max_decoding_message_size(MAX_RESPONSE_BYTES);
    grpc.ready().await.map_err(|error| client.explain(Status::from_error(Box::new(error))))?;
    Ok(grpc)
}
