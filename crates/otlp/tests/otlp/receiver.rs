//! A receiver of OTLP logs that answers as it is told.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future as _;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use prost::Message as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

/// What becomes of one request.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// Taken.
    Taken,
    /// Taken, but for some records, with a message.
    Partly(i64, &'static str),
    /// Taken, but for some records, with a message of so many letters.
    Long(i64, usize),
    /// Taken, but the status says otherwise.
    TakenAndDenied,
    /// A status of gRPC with a message and details, in the headers or behind a message.
    Grpc { status: u32, message: &'static str, details: Option<String>, trailers_only: bool },
    /// A status of gRPC in headers that do not end the stream; then a message and another in
    /// trailers, or an empty frame at the end.
    GrpcEarly { status: &'static str, then: Option<u32> },
    /// A status of HTTP with headers and a body.
    Http { status: u16, headers: Vec<(&'static str, String)>, body: Vec<u8> },
    /// A success whose body breaks off.
    Half,
    /// A success with a byte of body each second.
    Slow,
    /// A success with a gigabyte of body.
    Huge,
    /// None at all.
    Silence,
}

impl Reply {
    pub(crate) fn grpc(status: u32, message: &'static str) -> Self {
        Self::Grpc { status, message, details: None, trailers_only: true }
    }

    pub(crate) fn http(status: u16) -> Self {
        Self::Http { status, headers: Vec::new(), body: Vec::new() }
    }
}

/// A request that came.
#[derive(Debug, Clone)]
pub(crate) struct Came {
    pub(crate) at: Instant,
    pub(crate) headers: HeaderMap,
    pub(crate) path: String,
    /// Bytes as they came, without the prefix of gRPC.
    pub(crate) wire_bytes: usize,
    pub(crate) plain_bytes: usize,
    pub(crate) records: Vec<LogRecord>,
    pub(crate) resource: usize,
    /// The receiver has kept the records.
    pub(crate) taken: bool,
}

impl Came {
    /// How it was compressed; empty for plain bytes.
    pub(crate) fn encoding(&self) -> String {
        let header = self.headers.get("grpc-encoding").or_else(|| self.headers.get("content-encoding"));
        header.map(|name| name.to_str().unwrap().to_owned()).unwrap_or_default()
    }
}

/// What the receiver does, in the order in which it looks at it.
#[derive(Default)]
pub(crate) struct Rules {
    /// Answers to the next requests.
    pub(crate) replies: VecDeque<Reply>,
    /// Answer to all others, instead of `Taken`.
    pub(crate) always: Option<Reply>,
    /// Plain bytes that are taken.
    pub(crate) max_bytes: Option<usize>,
    /// Encodings that are not known.
    pub(crate) unknown: Vec<&'static str>,
    /// Requests are taken without a look at them, and are not kept.
    pub(crate) unread: bool,
    /// Value that `authorization` must have.
    pub(crate) login: Option<String>,
    pub(crate) came: Vec<Came>,
}

/// A receiver. Its thread ends with it.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    pub(crate) rules: Arc<Mutex<Rules>>,
    pub(crate) tls: Arc<Mutex<Option<Arc<rustls::ServerConfig>>>>,
    grpc: bool,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Receiver {
    pub(crate) fn grpc() -> Self {
        Self::start(true, None, 0)
    }

    pub(crate) fn http() -> Self {
        Self::start(false, None, 0)
    }

    pub(crate) fn start(grpc: bool, tls: Option<rustls::ServerConfig>, port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let rules = Arc::new(Mutex::new(Rules::default()));
        let tls = Arc::new(Mutex::new(tls.map(Arc::new)));
        let (stop, stopped) = oneshot::channel();
        let (for_thread, tls_for_thread) = (Arc::clone(&rules), Arc::clone(&tls));
        let body = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                tokio::select! {
                    () = accept(listener, grpc, for_thread, tls_for_thread) => {}
                    _ = stopped => {}
                }
            });
        };
        let thread = std::thread::Builder::new().name("receiver".to_owned()).spawn(body).unwrap();
        Self { address, rules, tls, grpc, stop: Some(stop), thread: Some(thread) }
    }

    pub(crate) fn url(&self) -> String {
        let scheme = if self.tls.lock().unwrap().is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    pub(crate) fn rules(&self) -> std::sync::MutexGuard<'_, Rules> {
        self.rules.lock().unwrap()
    }

    pub(crate) fn is_grpc(&self) -> bool {
        self.grpc
    }

    pub(crate) fn reply(&self, replies: impl IntoIterator<Item = Reply>) {
        self.rules().replies.extend(replies);
    }

    /// All requests so far.
    pub(crate) fn came(&self) -> Vec<Came> {
        self.rules().came.clone()
    }

    /// The numbers of all records that were taken, in the order in which they came.
    pub(crate) fn taken(&self) -> Vec<i64> {
        self.came().iter().filter(|came| came.taken).flat_map(|came| &came.records).map(number).collect()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking());
        }
    }
}

/// The number that a test gave a record.
pub(crate) fn number(record: &LogRecord) -> i64 {
    let found = record.attributes.iter().find(|attribute| attribute.key == "number").unwrap();
    match found.value.as_ref().unwrap().value {
        Some(Value::IntValue(number)) => number,
        ref other => panic!("{other:?}"),
    }
}

async fn accept(
    listener: TcpListener,
    grpc: bool,
    rules: Arc<Mutex<Rules>>,
    tls: Arc<Mutex<Option<Arc<rustls::ServerConfig>>>>,
) {
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    loop {
        let Ok((stream, _)) = listener.accept().await else { return };
        let rules = Arc::clone(&rules);
        let config = tls.lock().unwrap().clone();
        tokio::spawn(async move {
            match config {
                None => serve(stream, grpc, rules).await,
                Some(config) => {
                    if let Ok(stream) = TlsAcceptor::from(config).accept(stream).await {
                        serve(stream, grpc, rules).await;
                    }
                }
            }
        });
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, grpc: bool, rules: Arc<Mutex<Rules>>) {
    let io = TokioIo::new(stream);
    let service = service_fn(move |request| respond(request, grpc, Arc::clone(&rules)));
    // Connections end as clients like.
    let _outcome = if grpc {
        http2::Builder::new(TokioExecutor::new()).serve_connection(io, service).await
    } else {
        http1::Builder::new().serve_connection(io, service).await
    };
}

async fn respond(
    request: Request<Incoming>,
    grpc: bool,
    rules: Arc<Mutex<Rules>>,
) -> Result<Response<Answer>, Infallible> {
    let at = Instant::now();
    let (head, body) = request.into_parts();
    let Ok(body) = body.collect().await else { return Ok(Response::new(Answer::default())) };
    let body = body.to_bytes();
    if rules.lock().unwrap().unread {
        return Ok(if grpc { grpc_response(Reply::Taken) } else { http_response(Reply::Taken) });
    }
    let header = |name: &str| head.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    let encoding = header(if grpc { "grpc-encoding" } else { "content-encoding" });
    let message = if grpc {
        assert_eq!(usize::from(body[0]), usize::from(encoding.is_some()), "the flag of compression");
        assert_eq!(u32::from_be_bytes(body[1..5].try_into().unwrap()) as usize, body.len() - 5);
        body.slice(5..)
    } else {
        body
    };
    let plain = match encoding.as_deref() {
        None => message.to_vec(),
        Some("gzip") => {
            let mut plain = Vec::new();
            io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&message[..]), &mut plain).unwrap();
            plain
        }
        Some("zstd") => zstd::decode_all(&message[..]).unwrap(),
        Some(other) => panic!("{other}"),
    };
    let decoded = ExportLogsServiceRequest::decode(&plain[..]).unwrap();
    let logs = &decoded.resource_logs;
    let came = Came {
        at,
        path: head.uri.path().to_owned(),
        headers: head.headers.clone(),
        wire_bytes: message.len(),
        plain_bytes: plain.len(),
        records: logs.iter().flat_map(|logs| &logs.scope_logs).flat_map(|scope| scope.log_records.clone()).collect(),
        resource: logs[0].resource.as_ref().unwrap().attributes.len(),
        taken: false,
    };
    let reply = take(&mut rules.lock().unwrap(), came, encoding.as_deref(), header("authorization").as_deref(), grpc);
    if matches!(reply, Reply::Silence) {
        std::future::pending::<()>().await;
    }
    Ok(if grpc { grpc_response(reply) } else { http_response(reply) })
}

/// Chooses the reply, and notes the request.
fn take(rules: &mut Rules, mut came: Came, encoding: Option<&str>, login: Option<&str>, grpc: bool) -> Reply {
    let reply = choose(rules, came.plain_bytes, encoding, login, grpc);
    came.taken = matches!(reply, Reply::Taken | Reply::Partly(..) | Reply::Long(..) | Reply::TakenAndDenied);
    rules.came.push(came);
    reply
}

fn choose(rules: &mut Rules, plain: usize, encoding: Option<&str>, login: Option<&str>, grpc: bool) -> Reply {
    if let Some(reply) = rules.replies.pop_front() {
        return reply;
    }
    if let Some(encoding) = encoding
        && rules.unknown.contains(&encoding)
    {
        let text = "Content is compressed with something which isn't supported";
        return if grpc { Reply::grpc(12, text) } else { Reply::http(415) };
    }
    if rules.max_bytes.is_some_and(|most| plain > most) {
        let text = "grpc: received message larger than max (5000000 vs. 4194304)";
        return if grpc { Reply::grpc(8, text) } else { Reply::http(413) };
    }
    if rules.login.is_some() && rules.login.as_deref() != login {
        return if grpc { Reply::grpc(16, "no such user") } else { Reply::http(401) };
    }
    rules.always.clone().unwrap_or(Reply::Taken)
}

/// The message of a response, with a prefix in gRPC.
fn message(rejected: i64, text: &str, grpc: bool) -> Bytes {
    let partial_success = (rejected != 0 || !text.is_empty())
        .then(|| ExportLogsPartialSuccess { rejected_log_records: rejected, error_message: text.to_owned() });
    let message = ExportLogsServiceResponse { partial_success }.encode_to_vec();
    if !grpc {
        return message.into();
    }
    let mut framed = vec![0];
    framed.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
    framed.extend_from_slice(&message);
    framed.into()
}

fn trailers(status: u32, text: &str, details: Option<String>) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", status.into());
    if !text.is_empty() {
        trailers.insert("grpc-message", text.parse().unwrap());
    }
    if let Some(details) = details {
        trailers.insert("grpc-status-details-bin", details.parse().unwrap());
    }
    trailers
}

fn grpc_response(reply: Reply) -> Response<Answer> {
    let early = if let Reply::GrpcEarly { status, .. } = reply { Some(status) } else { None };
    let frames: Vec<Frame<Bytes>> = match reply {
        Reply::Taken => vec![Frame::data(message(0, "", true)), Frame::trailers(trailers(0, "", None))],
        Reply::Partly(rejected, text) => {
            vec![Frame::data(message(rejected, text, true)), Frame::trailers(trailers(0, "", None))]
        }
        Reply::Long(rejected, letters) => {
            let message = message(rejected, &"x ".repeat(letters / 2), true);
            vec![Frame::data(message), Frame::trailers(trailers(0, "", None))]
        }
        Reply::TakenAndDenied => vec![Frame::trailers(trailers(14, "done, and yet", None))],
        Reply::Grpc { status, message, details, trailers_only: true } => {
            let mut response = Response::new(Answer::default());
            *response.headers_mut() = trailers(status, message, details);
            response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
            return response;
        }
        Reply::Grpc { status, message: text, details, trailers_only: false } => {
            vec![Frame::data(message(0, "", true)), Frame::trailers(trailers(status, text, details))]
        }
        Reply::GrpcEarly { then: Some(then), .. } => {
            vec![Frame::data(message(0, "", true)), Frame::trailers(trailers(then, "of the trailers", None))]
        }
        Reply::GrpcEarly { then: None, .. } => vec![Frame::data(Bytes::new())],
        other => return http_response(other),
    };
    let mut response = Response::new(Answer { frames: frames.into(), then: Then::End });
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    if let Some(status) = early {
        response.headers_mut().insert("grpc-status", HeaderValue::from_static(status));
    }
    response
}

fn http_response(reply: Reply) -> Response<Answer> {
    let (status, headers, body, then) = match reply {
        Reply::Taken => (200, Vec::new(), message(0, "", false), Then::End),
        Reply::Partly(rejected, text) => (200, Vec::new(), message(rejected, text, false), Then::End),
        Reply::Long(rejected, letters) => {
            (200, Vec::new(), message(rejected, &"x ".repeat(letters / 2), false), Then::End)
        }
        Reply::TakenAndDenied => (503, Vec::new(), Bytes::new(), Then::End),
        Reply::Http { status, headers, body } => (status, headers, body.into(), Then::End),
        Reply::Half => (200, Vec::new(), Bytes::from_static(b"\x0a\x05"), Then::Break),
        Reply::Slow => (200, Vec::new(), Bytes::from_static(b"\x0a"), Then::Slowly(None)),
        Reply::Huge => (200, Vec::new(), Bytes::new(), Then::More(1 << 30)),
        Reply::Grpc { .. } | Reply::GrpcEarly { .. } | Reply::Silence => panic!("{reply:?} by HTTP"),
    };
    let frames = if body.is_empty() { VecDeque::new() } else { [Frame::data(body)].into() };
    let mut response = Response::new(Answer { frames, then });
    *response.status_mut() = status.try_into().unwrap();
    for (name, value) in headers {
        response.headers_mut().insert(name, value.parse().unwrap());
    }
    response
}

/// What follows the frames of an answer.
#[derive(Debug, Default)]
enum Then {
    #[default]
    End,
    /// The connection is cut.
    Break,
    /// A byte each second.
    Slowly(Option<Pin<Box<tokio::time::Sleep>>>),
    /// So many bytes.
    More(usize),
}

/// The body of an answer.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    frames: VecDeque<Frame<Bytes>>,
    then: Then,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = io::Error;

    fn is_end_stream(&self) -> bool {
        self.frames.is_empty() && matches!(self.then, Then::End)
    }

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if let Some(frame) = self.frames.pop_front() {
            return Poll::Ready(Some(Ok(frame)));
        }
        match &mut self.then {
            Then::End | Then::More(0) => Poll::Ready(None),
            Then::Break => Poll::Ready(Some(Err(io::Error::other("as told")))),
            Then::More(left) => {
                let part = (*left).min(1 << 16);
                *left -= part;
                Poll::Ready(Some(Ok(Frame::data(Bytes::from(vec![b'x'; part])))))
            }
            Then::Slowly(sleep) => {
                let timer = sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep(Duration::from_secs(1))));
                if timer.as_mut().poll(context).is_pending() {
                    return Poll::Pending;
                }
                *sleep = None;
                Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"x")))))
            }
        }
    }
}
