//! The server: Observer, Peer, health and reflection on one listener, a unix socket or TCP.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::codegen::http::HeaderValue;
use tonic::transport::Server;
use tonic::transport::server::Connected;
use tonic_reflection::pb::{v1, v1alpha};
use tower::util::MapResponseLayer;

use crate::calls::CountCalls;
use crate::expressions::Expressions;
use crate::history::History;
use crate::peers::PeerService;
use crate::proto::DESCRIPTORS;
use crate::proto::observer::observer_server::ObserverServer;
use crate::proto::peer::peer_server::PeerServer;
use crate::service::ObserverService;
use crate::site::Site;

/// The version of Hubble's API that is served. Clients of a newer one warn.
const API_VERSION: HeaderValue = HeaderValue::from_static("1.19.4");
const VERSION_HEADER: &str = "hubble-server-version";

/// The name that clients ask the health of.
const HEALTH_NAME: &str = "hubble.server.Observer";

/// A request may have this many bytes: filters are texts.
const MAX_REQUEST_BYTES: usize = 1 << 20;

/// Calls of one connection at once.
const MAX_STREAMS: u32 = 100;

/// Bytes of a call's headers.
const MAX_HEADER_BYTES: u32 = 16 << 10;

/// Interval of the question whether a client is still there.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);

/// Time for its answer, which one that reads nothing from its connection does not give.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// A server that cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The connections failed.
    #[error("{0}")]
    Transport(#[from] tonic::transport::Error),
    /// The descriptors are not those of the build.
    #[error("{0}")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// Serves a history to the connections of a listener until the site stops.
///
/// # Errors
/// If the listener fails.
pub async fn serve<C>(
    history: Arc<History>,
    site: Site,
    connections: impl Stream<Item = io::Result<C>>,
) -> Result<(), ServeError>
where
    C: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
{
    let mut stopping = site.stopping.clone();
    let observer = ObserverService { history, site: site.clone(), expressions: Expressions::default() };
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_service_status(HEALTH_NAME, tonic_health::ServingStatus::Serving).await;
    // Each version of the reflection lists itself; the other one has to be named.
    let reflection = |other| {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(other)
    };
    Server::builder()
        .max_concurrent_streams(MAX_STREAMS)
        .http2_max_header_list_size(MAX_HEADER_BYTES)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .layer(CountCalls(Arc::clone(&site.calls)))
        .layer(MapResponseLayer::new(|mut response: tonic::codegen::http::Response<_>| {
            response.headers_mut().insert(VERSION_HEADER, API_VERSION);
            response
        }))
        .add_service(ObserverServer::new(observer).max_decoding_message_size(MAX_REQUEST_BYTES))
        .add_service(PeerServer::new(PeerService { site }).max_decoding_message_size(MAX_REQUEST_BYTES))
        .add_service(health_service)
        .add_service(reflection(v1alpha::FILE_DESCRIPTOR_SET).build_v1()?)
        .add_service(reflection(v1::FILE_DESCRIPTOR_SET).build_v1alpha()?)
        .serve_with_incoming_shutdown(connections, async move {
            let _stopped = stopping.wait_for(|stopping| *stopping).await;
        })
        .await?;
    Ok(())
}
