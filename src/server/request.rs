//! Middleware of every handler: reads the request's body with a bound in bytes and time, turns a
//! panic into status 500 and a fault of the listener, and reports the end of an answer to the
//! connection.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::error::{ErrorBadRequest, ErrorInternalServerError, ErrorPayloadTooLarge, ErrorRequestTimeout};
use actix_web::http::Method;
use actix_web::http::header::{HeaderValue, UPGRADE};
use actix_web::middleware::Next;
use actix_web::web::{Bytes, BytesMut};
use actix_web::{Error, HttpMessage};
use futures::{FutureExt, StreamExt};
use tokio::time::timeout;
use webb_flow::fault::{Component, FaultType, panic_text};

use super::connection::Connection;
use super::connections::Connections;
use super::limits::MAX_BODY_BYTES;
use super::reason::Reason;

/// Answers a request.
pub(super) async fn handle(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
    connections: Arc<Connections>,
    component: Arc<Component>,
) -> Result<ServiceResponse<Answer>, Error> {
    component.beat();
    let guard = request.conn_data::<Arc<Connection>>().map(|connection| RequestGuard::new(Arc::clone(connection)));
    if is_endless(&request) {
        if let Some(guard) = &guard {
            guard.0.refuses_body();
        }
        return Err(ErrorBadRequest("neither CONNECT nor a WebSocket is served here\n"));
    }
    let body = timeout(connections.limits().body, body(request.take_payload())).await;
    if let (Ok(Err(_)) | Err(_), Some(guard)) = (&body, &guard) {
        guard.0.refuses_body();
    }
    let Ok(body) = body else {
        connections.count_dropped(Reason::SlowBody);
        return Err(ErrorRequestTimeout("the request's body took too long\n"));
    };
    request.set_payload(Payload::from(body?));
    match AssertUnwindSafe(next.call(request)).catch_unwind().await {
        Ok(answer) => answer.map(|answer| answer.map_body(|_, body| Answer { body: body.boxed(), _guard: guard })),
        Err(payload) => {
            component.fault(FaultType::Panicked, &panic_text(&*payload));
            Err(ErrorInternalServerError("the handler failed; see /faults on the admin listener\n"))
        }
    }
}

/// True for a request of which all that comes behind its head would be the body, without an end:
/// for a tunnel, or to go on as a WebSocket.
fn is_endless(request: &ServiceRequest) -> bool {
    let is_socket = |value: &HeaderValue| value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"websocket");
    request.method() == Method::CONNECT || request.headers().get_all(UPGRADE).any(is_socket)
}

async fn body(mut payload: Payload) -> Result<Bytes, Error> {
    let mut body = BytesMut::new();
    while let Some(part) = payload.next().await {
        let part = part.map_err(ErrorBadRequest)?;
        if body.len() + part.len() > MAX_BODY_BYTES {
            return Err(ErrorPayloadTooLarge(format!("the request's body has more than {MAX_BODY_BYTES} bytes\n")));
        }
        body.extend_from_slice(&part);
    }
    Ok(body.freeze())
}

/// A request, from its head until its answer has been handed to the kernel or given up.
struct RequestGuard(Arc<Connection>);

impl RequestGuard {
    fn new(connection: Arc<Connection>) -> Self {
        connection.request_begins(Instant::now());
        Self(connection)
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        self.0.request_ends(Instant::now());
    }
}

/// The body of an answer.
pub(super) struct Answer {
    body: BoxBody,
    _guard: Option<RequestGuard>,
}

impl MessageBody for Answer {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(context)
    }
}
