//! Requests on the wire: gRPC on one connection of HTTP/2, or HTTP/1.1 on as many connections as
//! there are requests at once.
//!
//! hyper has the protocols. tonic's client would compress each message anew, with a level of its
//! own; here the bytes of the queue are sent as they are.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HOST, LOCATION, RETRY_AFTER, TE, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Response, Uri};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::answer::Answer;
use crate::config::Protocol;
use crate::environment::Environment;
use crate::headers::Headers;
use crate::hints;
use crate::io::{CONNECTION, Fault, Io, begin_tls};
use crate::partial::Content;
use crate::proxy::Proxy;
use crate::request::Request;
use crate::resolved::Otlp;
use crate::tls::TlsFiles;

/// Bytes of an answer that are kept.
const MAX_ANSWER: usize = 64 << 10;

/// Bytes of an answer that are read by gRPC, whose status is behind them.
const MAX_READ: u64 = 256 << 20;

/// Bytes before a message of gRPC: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// The client of one receiver of OTLP.
#[derive(Debug)]
pub(crate) struct Client<'a> {
    resolved: &'a Otlp,
    environment: &'a Environment,
    tls: RefCell<TlsFiles>,
    headers: RefCell<Headers>,
    /// Held while a connection is made, so that there is one.
    grpc: Mutex<Option<http2::SendRequest<Parts>>>,
    idle: RefCell<Vec<http1::SendRequest<Parts>>>,
    /// Number of times that connections were dropped: those of before are not used again.
    forgotten: Cell<u64>,
    /// The receiver has answered.
    has_answered: Cell<bool>,
}

impl<'a> Client<'a> {
    /// A client without connections.
    pub(crate) fn new(resolved: &'a Otlp, environment: &'a Environment) -> Self {
        Self {
            resolved,
            environment,
            tls: RefCell::new(TlsFiles::new(resolved.tls.clone(), Some(resolved.protocol))),
            headers: RefCell::new(Headers::new(resolved.headers.clone(), resolved.headers_directory.clone())),
            grpc: Mutex::new(None),
            idle: RefCell::default(),
            forgotten: Cell::default(),
            has_answered: Cell::default(),
        }
    }

    /// Reads files that have changed; connections with others end once they are idle. Returns what
    /// is wrong with them. Blocks.
    pub(crate) fn poll_files(&self) -> Vec<String> {
        let mut problems = Vec::new();
        match self.tls.borrow_mut().poll() {
            Ok(true) => self.forget_connections(),
            Ok(false) => {}
            Err(why) => problems.push(why),
        }
        problems.extend(self.headers.borrow_mut().reload().err());
        problems
    }

    /// Makes the next request open a connection.
    pub(crate) fn forget_connections(&self) {
        self.forgotten.set(self.forgotten.get() + 1);
        self.idle.borrow_mut().clear();
        if let Ok(mut grpc) = self.grpc.try_lock() {
            *grpc = None;
        }
    }

    /// True if headers are those of files.
    pub(crate) fn has_login_files(&self) -> bool {
        self.resolved.headers_directory.is_some()
    }

    /// Reads the headers. True if they have changed. Blocks.
    pub(crate) fn poll_headers(&self) -> bool {
        self.headers.borrow_mut().reload().unwrap_or(false)
    }

    /// A text without the values of headers.
    pub(crate) fn mask(&self, text: &str) -> String {
        self.headers.borrow().mask(text)
    }

    /// Sends a request, and reads the answer.
    ///
    /// # Errors
    /// If there is no answer within the timeout.
    pub(crate) async fn send(&self, request: &Request) -> Result<Answer, Fault> {
        let limit = self.resolved.timeout;
        let exchange = async {
            match self.resolved.protocol {
                Protocol::Grpc => self.send_grpc(request).await,
                Protocol::HttpProtobuf => self.send_http(request).await,
            }
        };
        let Ok(outcome) = timeout(limit, exchange).await else {
            // The connection may be dead without a word.
            self.forget_connections();
            let text = format!("no answer within {} ms", limit.as_millis());
            return Err(Fault { code: "timeout", text });
        };
        if outcome.is_ok() {
            self.has_answered.set(true);
        }
        outcome
    }

    fn failed(&self, doing: &str, error: &hyper::Error) -> Fault {
        let mut fault = exchange_fault(doing, error);
        let how = (self.resolved.protocol, self.resolved.target.is_tls);
        let hint = hints::of_exchange(how, error, &fault.text, self.has_answered.get());
        fault.text.push_str(hint);
        fault
    }

    async fn send_grpc(&self, request: &Request) -> Result<Answer, Fault> {
        let mut prefix = BytesMut::with_capacity(PREFIX);
        prefix.put_u8(u8::from(request.encoding.header().is_some()));
        let length = u32::try_from(request.body.len()).map_err(|_| Fault::connection("it has more than 4 GiB"))?;
        prefix.put_u32(length);
        let body = Parts([prefix.freeze(), request.body.clone()].into());
        let headers = self.head(request, "application/grpc+proto", "grpc-encoding")?;
        let call = self.call(self.resolved.target.uri.clone(), headers, body)?;
        let mut sender = self.grpc_sender().await?;
        let failed = |error| self.failed("the request failed", &error);
        let response = sender.send_request(call).await.map_err(failed)?;
        let (status, head) = (response.status().as_u16(), response.headers().clone());
        let is_grpc = head.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
        let mut of_head = grpc_answer(&head, Content::default()).filter(|_| is_grpc);
        // Without a message the status is where the headers are; before one it means nothing.
        if (status != 200 || response.body().is_end_stream())
            && let Some(answer) = of_head.take()
        {
            return Ok(answer);
        }
        if !is_grpc || status != 200 {
            let location = head.get(LOCATION).and_then(|value| value.to_str().ok());
            return Ok(Answer::not_grpc(status, location, &read(response, 0).await.bytes));
        }
        let read = read(response, MAX_READ).await;
        let body = Content { bytes: message(&read.bytes), is_cut: read.is_cut };
        let of_trailers = read.trailers.and_then(|trailers| grpc_answer(&trailers, body));
        // Some servers cannot end a stream with its headers, and do it with an empty frame.
        let of_head = of_head.filter(|_| read.bytes.is_empty() && matches!(read.end, End::Whole));
        match (of_trailers.or(of_head), read.end) {
            (Some(answer), _) => Ok(answer),
            (None, End::Failed(fault)) => Err(fault),
            (None, End::TooLong) => {
                let text = b"the answer is longer than 256 MiB, so that its status was not read";
                Ok(Answer::grpc(2, text, None, Content::default()))
            }
            (None, End::Whole) => Ok(Answer::grpc(2, b"the answer has no status", None, Content::default())),
        }
    }

    async fn send_http(&self, request: &Request) -> Result<Answer, Fault> {
        let uri = &self.resolved.target.uri;
        let mut headers = self.head(request, "application/x-protobuf", CONTENT_ENCODING.as_str())?;
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        headers.insert(HOST, HeaderValue::from_str(authority).map_err(|error| Fault::connection(error.to_string()))?);
        let path = uri.path().parse().map_err(|_| Fault::connection("the endpoint's path cannot be used"))?;
        let call = self.call(path, headers, Parts([request.body.clone()].into()))?;
        let forgotten = self.forgotten.get();
        let mut sender = self.http_sender().await?;
        let failed = |error| self.failed("the request failed", &error);
        let response = sender.send_request(call).await.map_err(failed)?;
        let (status, head) = (response.status().as_u16(), response.headers().clone());
        let read = read(response, 0).await;
        match read.end {
            End::Whole if !sender.is_closed() && self.forgotten.get() == forgotten => {
                self.idle.borrow_mut().push(sender);
            }
            // The status says what is needed, but for a success, which may be a partial one.
            End::Failed(fault) if (200..300).contains(&status) => return Err(fault),
            _ => {}
        }
        let text = |name| head.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        if (200..300).contains(&status) && text(CONTENT_TYPE).is_some_and(|kind| kind.starts_with("text/html")) {
            return Err(Fault::connection("a web page answers, which is no receiver of OTLP: a login page, perhaps"));
        }
        let mut answer = Answer::http(status, text(RETRY_AFTER), text(LOCATION), read.content());
        if status == 404
            && let Some(hint) = hints::of_path(uri.path())
        {
            let parts = [answer.text, hint];
            answer.text = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ");
        }
        Ok(answer)
    }

    /// The headers of a request.
    fn head(&self, request: &Request, kind: &'static str, encoding: &'static str) -> Result<HeaderMap, Fault> {
        let mut headers = HeaderMap::new();
        self.headers.borrow_mut().apply(&mut headers).map_err(Fault::connection)?;
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("webb/", env!("CARGO_PKG_VERSION"))));
        if let Some(name) = request.encoding.header() {
            headers.insert(encoding, HeaderValue::from_static(name));
        }
        if self.resolved.protocol == Protocol::Grpc {
            headers.insert(TE, HeaderValue::from_static("trailers"));
            headers.insert("grpc-timeout", grpc_timeout(self.resolved.timeout));
        }
        Ok(headers)
    }

    fn call(&self, uri: Uri, headers: HeaderMap, body: Parts) -> Result<http::Request<Parts>, Fault> {
        let mut call = http::Request::builder()
            .method(Method::POST)
            .uri(uri)
            .body(body)
            .map_err(|error| Fault::connection(format!("{}: {error}", self.resolved.target.uri)))?;
        *call.headers_mut() = headers;
        Ok(call)
    }

    /// The connection of gRPC, made if there is none.
    async fn grpc_sender(&self) -> Result<http2::SendRequest<Parts>, Fault> {
        let mut current = self.grpc.lock().await;
        if let Some(sender) = &mut *current
            && !sender.is_closed()
        {
            let mut sender = sender.clone();
            if sender.ready().await.is_ok() {
                return Ok(sender);
            }
        }
        *current = None;
        let io = TokioIo::new(self.connect().await?);
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.timer(TokioTimer::new());
        let (sender, connection) =
            builder.handshake(io).await.map_err(|error| self.failed("cannot begin HTTP/2", &error))?;
        // It ends with its last sender, or with the runtime.
        tokio::spawn(connection);
        Ok(current.insert(sender).clone())
    }

    /// A connection of HTTP/1.1 that is idle, or a new one.
    async fn http_sender(&self) -> Result<http1::SendRequest<Parts>, Fault> {
        loop {
            let Some(mut sender) = self.idle.borrow_mut().pop() else { break };
            if !sender.is_closed() && sender.ready().await.is_ok() {
                return Ok(sender);
            }
        }
        let io = TokioIo::new(self.connect().await?);
        let mut builder = http1::Builder::new();
        builder.max_buf_size(MAX_ANSWER);
        let (sender, connection) =
            builder.handshake(io).await.map_err(|error| self.failed("cannot begin HTTP/1.1", &error))?;
        tokio::spawn(connection);
        Ok(sender)
    }

    async fn connect(&self) -> Result<Box<dyn Io>, Fault> {
        let target = &self.resolved.target;
        let proxy = Proxy::choose(target, self.environment).map_err(Fault::connection)?;
        let (host, port) =
            proxy.as_ref().map_or((target.host.as_str(), target.port), |proxy| (proxy.host.as_str(), proxy.port));
        let failed = |error| Fault::connection(format!("cannot connect to {host}:{port}: {error}"));
        let mut stream = TcpStream::connect((host, port)).await.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        if let Some(proxy) = &proxy {
            proxy.tunnel(&mut stream, target).await.map_err(Fault::connection)?;
        }
        if !target.is_tls {
            return Ok(Box::new(stream));
        }
        begin_tls(&self.tls, &target.host, target.port, stream, hints::of_tls).await
    }
}

/// The fault of an exchange, with its causes.
fn exchange_fault(doing: &str, error: &hyper::Error) -> Fault {
    let mut text = format!("{doing}: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    let is_io = error.is_incomplete_message() || error.is_canceled() || error.is_closed();
    Fault { code: if is_io { CONNECTION } else { "protocol" }, text }
}

/// The timeout as a header, of at most eight digits.
fn grpc_timeout(time: Duration) -> HeaderValue {
    let milliseconds = time.as_millis().clamp(1, 99_999_999);
    HeaderValue::from_str(&format!("{milliseconds}m")).unwrap_or_else(|_| HeaderValue::from_static("10S"))
}

/// The answer that headers or trailers have, if they have a status.
fn grpc_answer(headers: &HeaderMap, body: Content<'_>) -> Option<Answer> {
    let text = |name| headers.get(name).map(HeaderValue::as_bytes);
    let (found, message) = (text("grpc-status")?, text("grpc-message").unwrap_or_default());
    Some(match std::str::from_utf8(found).ok().and_then(|status| status.parse().ok()) {
        Some(status @ 0..=16) => Answer::grpc(status, message, text("grpc-status-details-bin"), body),
        _ => Answer::grpc_without_status(found, message),
    })
}

/// The message of a body of gRPC; empty if it is compressed, which was not asked for.
fn message(body: &[u8]) -> &[u8] {
    match body.split_first_chunk::<PREFIX>() {
        Some(([0, ..], message)) => message,
        _ => &[],
    }
}

/// How far an answer was read.
enum End {
    Whole,
    TooLong,
    Failed(Fault),
}

/// What was read of an answer.
struct Read {
    bytes: Vec<u8>,
    /// There are more bytes than were kept.
    is_cut: bool,
    trailers: Option<HeaderMap>,
    end: End,
}

impl Read {
    fn content(&self) -> Content<'_> {
        Content { bytes: &self.bytes, is_cut: self.is_cut }
    }
}

/// Reads an answer, and keeps it up to its bound. What is longer is read on for its trailers, up to
/// `most` bytes in all.
async fn read(response: Response<Incoming>, most: u64) -> Read {
    let mut body = response.into_body();
    let mut read = Read { bytes: Vec::new(), is_cut: false, trailers: None, end: End::Whole };
    let mut total = 0;
    while let Some(frame) = body.frame().await {
        let frame = match frame {
            Ok(frame) => frame,
            Err(error) => {
                read.end = End::Failed(exchange_fault("the answer was cut off", &error));
                break;
            }
        };
        match frame.into_data() {
            Ok(data) => {
                total += data.len() as u64;
                let room = MAX_ANSWER - read.bytes.len();
                read.is_cut |= data.len() > room;
                read.bytes.extend_from_slice(data.get(..room).unwrap_or(&data));
                if read.is_cut && total > most {
                    read.end = End::TooLong;
                    break;
                }
            }
            Err(frame) => read.trailers = frame.into_trailers().ok(),
        }
    }
    read
}

/// A body of a few parts.
#[derive(Debug)]
struct Parts(VecDeque<Bytes>);

impl Body for Parts {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|part| Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.iter().map(|part| part.len() as u64).sum())
    }
}
