//! Counts the calls of the server, by method, as the reference server's `grpc_server_*` metrics do.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tonic::Code;
use tonic::body::Body;
use tonic::codegen::BoxFuture;
use tonic::codegen::http::{HeaderMap, Request, Response};
use tower::{Layer, Service};

/// A method of the server.
#[derive(Debug, Clone, Copy)]
pub struct Method {
    /// Name of its service.
    pub service: &'static str,
    /// Its name.
    pub name: &'static str,
    /// `unary`, `server_stream` or `bidi_stream`.
    pub call_type: &'static str,
}

const fn method(service: &'static str, name: &'static str, call_type: &'static str) -> Method {
    Method { service, name, call_type }
}

/// All methods.
const METHODS: [Method; 11] = [
    method("grpc.health.v1.Health", "Check", "unary"),
    method("grpc.health.v1.Health", "Watch", "server_stream"),
    method("grpc.reflection.v1.ServerReflection", "ServerReflectionInfo", "bidi_stream"),
    method("grpc.reflection.v1alpha.ServerReflection", "ServerReflectionInfo", "bidi_stream"),
    method("observer.Observer", "GetAgentEvents", "server_stream"),
    method("observer.Observer", "GetDebugEvents", "server_stream"),
    method("observer.Observer", "GetFlows", "server_stream"),
    method("observer.Observer", "GetNamespaces", "unary"),
    method("observer.Observer", "GetNodes", "unary"),
    method("observer.Observer", "ServerStatus", "unary"),
    method("peer.Peer", "Notify", "server_stream"),
];

/// The status codes by number, as metrics write them.
const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

/// Bytes before each message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// The calls of all listeners, since start.
#[derive(Debug, Default)]
pub struct Calls {
    counts: [Counts; METHODS.len()],
}

#[derive(Debug, Default)]
struct Counts {
    started: AtomicU64,
    received: AtomicU64,
    sent: AtomicU64,
    handled: [AtomicU64; CODES.len()],
}

/// The counts of one method.
#[derive(Debug)]
pub struct MethodCounts<'a> {
    /// The method.
    pub method: Method,
    /// Calls that were begun.
    pub started: u64,
    /// Messages of clients.
    pub received: u64,
    /// Messages to clients.
    pub sent: u64,
    handled: &'a [AtomicU64; CODES.len()],
}

impl MethodCounts<'_> {
    /// Calls that have ended, by the name of their status.
    pub fn handled(&self) -> impl Iterator<Item = (&'static str, u64)> {
        CODES.iter().zip(self.handled).map(|(code, count)| (*code, count.load(Relaxed)))
    }
}

impl Calls {
    /// The counts of every method.
    pub fn counts(&self) -> impl Iterator<Item = MethodCounts<'_>> {
        METHODS.iter().zip(&self.counts).map(|(method, counts)| MethodCounts {
            method: *method,
            started: counts.started.load(Relaxed),
            received: counts.received.load(Relaxed),
            sent: counts.sent.load(Relaxed),
            handled: &counts.handled,
        })
    }

    /// Begins a call by its path; none of a method that is not there.
    fn begin(self: &Arc<Self>, path: &str) -> Option<Call> {
        let (service, name) = path.strip_prefix('/')?.split_once('/')?;
        let at = METHODS.iter().position(|method| method.service == service && method.name == name)?;
        let call = Call { calls: Arc::clone(self), at, is_over: false };
        call.counts()?.started.fetch_add(1, Relaxed);
        Some(call)
    }
}

/// A call. One that is dropped before its status was sent was cancelled.
#[derive(Debug)]
struct Call {
    calls: Arc<Calls>,
    at: usize,
    is_over: bool,
}

impl Call {
    fn counts(&self) -> Option<&Counts> {
        self.calls.counts.get(self.at)
    }

    fn end(&mut self, code: Code) {
        if std::mem::replace(&mut self.is_over, true) {
            return;
        }
        let number = usize::try_from(i32::from(code)).unwrap_or(usize::MAX);
        if let Some(count) = self.counts().and_then(|counts| counts.handled.get(number)) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// Ends it with the status of these headers, if there is one.
    fn end_by(&mut self, headers: &HeaderMap) {
        if let Some(status) = headers.get("grpc-status") {
            self.end(Code::from_bytes(status.as_bytes()));
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.end(Code::Cancelled);
    }
}

/// Counts the messages of a stream of bytes.
#[derive(Debug, Default)]
struct Messages {
    /// Bytes of the present message that are still to come.
    rest: usize,
    prefix: [u8; PREFIX],
    /// Bytes of the prefix so far.
    known: usize,
}

impl Messages {
    /// The messages that begin in these bytes.
    fn count(&mut self, mut bytes: &[u8]) -> u64 {
        let mut count = 0;
        loop {
            let inside = self.rest.min(bytes.len());
            (self.rest, bytes) = (self.rest - inside, bytes.get(inside..).unwrap_or_default());
            if bytes.is_empty() {
                return count;
            }
            let taken = bytes.len().min(PREFIX - self.known);
            let (head, tail) = bytes.split_at(taken);
            if let Some(place) = self.prefix.get_mut(self.known..self.known + taken) {
                place.copy_from_slice(head);
            }
            (self.known, bytes) = (self.known + taken, tail);
            if self.known == PREFIX {
                let [_, length @ ..] = self.prefix;
                (self.known, self.rest) = (0, u32::from_be_bytes(length) as usize);
                count += 1;
            }
        }
    }
}

/// Wraps the services of a server.
#[derive(Debug, Clone)]
pub(crate) struct CountCalls(pub(crate) Arc<Calls>);

impl<S> Layer<S> for CountCalls {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted { inner, calls: Arc::clone(&self.0) }
    }
}

/// Services whose calls are counted.
#[derive(Debug, Clone)]
pub(crate) struct Counted<S> {
    inner: S,
    calls: Arc<Calls>,
}

impl<S> Service<Request<Body>> for Counted<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<Response<Body>, S::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Some(mut call) = self.calls.begin(request.uri().path()) else {
            return Box::pin(self.inner.call(request));
        };
        let (calls, at) = (Arc::clone(&self.calls), call.at);
        let request = request.map(|body| Body::new(Received { body, calls, at, messages: Messages::default() }));
        let answered = self.inner.call(request);
        Box::pin(async move {
            let response = answered.await?;
            call.end_by(response.headers());
            Ok(response.map(|body| Body::new(Sent { body, call, messages: Messages::default() })))
        })
    }
}

/// The body of a request.
struct Received {
    body: Body,
    calls: Arc<Calls>,
    at: usize,
    messages: Messages,
}

impl http_body::Body for Received {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        let this = &mut *self;
        let polled = ready!(Pin::new(&mut this.body).poll_frame(context));
        if let Some(Ok(frame)) = &polled
            && let Some(bytes) = frame.data_ref()
            && let Some(counts) = this.calls.counts.get(this.at)
        {
            counts.received.fetch_add(this.messages.count(bytes), Relaxed);
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of a response.
struct Sent {
    body: Body,
    call: Call,
    messages: Messages,
}

impl http_body::Body for Sent {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        let this = &mut *self;
        let polled = ready!(Pin::new(&mut this.body).poll_frame(context));
        if let Some(Ok(frame)) = &polled {
            if let Some(bytes) = frame.data_ref()
                && let Some(counts) = this.call.calls.counts.get(this.call.at)
            {
                counts.sent.fetch_add(this.messages.count(bytes), Relaxed);
            }
            if let Some(trailers) = frame.trailers_ref() {
                this.call.end_by(trailers);
            }
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Messages are counted once however their bytes are cut.
        #[test]
        fn messages_in_pieces(lengths in prop::collection::vec(0_u16..300, 0..20), cuts in prop::collection::vec(1_usize..50, 1..9)) {
            let mut bytes = Vec::new();
            for length in &lengths {
                bytes.push(0);
                bytes.extend(u32::from(*length).to_be_bytes());
                bytes.extend(vec![7; usize::from(*length)]);
            }
            let (mut messages, mut rest, mut count) = (Messages::default(), bytes.as_slice(), 0);
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, tail) = rest.split_at(rest.len().min(*cut));
                count += messages.count(piece);
                rest = tail;
            }
            prop_assert_eq!(count, lengths.len() as u64);
        }
    }
}
