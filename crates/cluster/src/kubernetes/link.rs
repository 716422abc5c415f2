//! The connection to the API server that all watches share, and its requests.
//!
//! Tokens rotate on disk, client certificates and authorities are renewed, a credential plugin
//! gives credentials for an hour. All of it is read again in one way: a new client is made from the
//! files as they are then. That happens before the next request when the server has refused the
//! client or cannot be reached, and in the background, while the old client serves, when its
//! credentials are about to expire.

use std::cell::Cell;
use std::future::Future;
use std::io::PipeWriter;
use std::time::{Duration, Instant};

use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, ETAG, HeaderMap, IF_NONE_MATCH, RETRY_AFTER, USER_AGENT};
use http::{Method, Request, Response, StatusCode};
use kube::client::Body;
use tokio::sync::{Mutex, Notify};
use tokio::task::JoinHandle;

use super::connect::{Connected, connect};
use super::error::{ApiError, chain};
use super::form::Form;
use super::login::Renewal;
use super::plugin::RunBounds;
use super::{Access, Requests, WatchTimings, answer, lines, protobuf};

/// Delay before the next attempt to build a client; the old one serves meanwhile.
const RENEWAL_RETRY_INTERVAL: Duration = Duration::from_secs(30);

/// Requests to one API server.
#[derive(Debug)]
pub(super) struct Link<'a> {
    access: &'a Access,
    pub(super) timings: &'a WatchTimings,
    /// Counters of the requests, where they are shown.
    requests: Option<&'a Requests>,
    client: Mutex<Current>,
    /// The last request found the server out of reach.
    lost: Cell<bool>,
    /// Time until which protocol buffers are not requested: the server has none, or some that
    /// cannot be read.
    json_until: Cell<Option<Instant>>,
    /// Number of times at which that began.
    refusals: Cell<u64>,
    /// The last answer to a request for protocol buffers was in them.
    in_protobuf: Cell<bool>,
    back: Notify,
}

/// The client in use, and how many there were before it.
#[derive(Default)]
struct Current {
    client: Option<Connected>,
    made: u64,
    /// The next client, being made: never more than one at a time, however long that takes.
    making: Option<Making>,
}

/// A request beside its path.
enum Asked<'a> {
    /// An object or a watch, unless its ETag is this.
    Get(Option<&'a str>),
    /// A list, compressed if the server likes.
    List,
    Write(Method, Vec<u8>),
}

struct Making {
    task: JoinHandle<Result<Connected, ApiError>>,
    /// Write end of a pipe; closing it kills a plugin with credentials that are no longer awaited.
    _stop_on_drop: PipeWriter,
}

impl std::fmt::Debug for Current {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.debug_struct("Current").field("made", &self.made).finish_non_exhaustive()
    }
}

impl<'a> Link<'a> {
    pub(super) fn new(access: &'a Access, timings: &'a WatchTimings) -> Self {
        let (client, lost, back) = (Mutex::default(), Cell::new(false), Notify::new());
        Self {
            access,
            timings,
            requests: None,
            client,
            lost,
            json_until: Cell::default(),
            refusals: Cell::default(),
            in_protobuf: Cell::default(),
            back,
        }
    }

    /// Counts all requests in `requests`.
    pub(super) fn counted(self, requests: &'a Requests) -> Self {
        Self { requests: Some(requests), ..self }
    }

    /// Returns when a server that was out of reach answers a request.
    pub(super) async fn back_in_reach(&self) {
        self.back.notified().await;
    }

    /// Requests `path` with its query, in the form `accept`. A success is the answer with its body
    /// still to come; anything else is trouble.
    pub(super) async fn get(&self, path: &str, accept: &str) -> Result<Response<Body>, ApiError> {
        self.request(path, accept, Asked::Get(None)).await
    }

    /// As [`Link::get`], for a list, which may come compressed.
    pub(super) async fn list(&self, path: &str, accept: &str) -> Result<Response<Body>, ApiError> {
        self.request(path, accept, Asked::List).await
    }

    /// Sends an object, with `POST` or `PUT`. The answer is as with [`Link::get`].
    pub(super) async fn send(&self, method: Method, path: &str, object: Vec<u8>) -> Result<Response<Body>, ApiError> {
        self.request(path, super::resource::JSON, Asked::Write(method, object)).await
    }

    /// As [`Link::get`], with the answer's ETag. None if what is at `path` still has the ETag
    /// `known`.
    pub(super) async fn get_if_changed(
        &self,
        path: &str,
        accept: &str,
        known: Option<&str>,
    ) -> Result<Option<(Response<Body>, Option<String>)>, ApiError> {
        let response = self.request(path, accept, Asked::Get(known)).await?;
        if response.status() == StatusCode::NOT_MODIFIED {
            return Ok(None);
        }
        let etag = response.headers().get(ETAG).and_then(|etag| etag.to_str().ok()).map(str::to_owned);
        Ok(Some((response, etag)))
    }

    /// Takes note of an answer about pods that cannot be read: if it was in protocol buffers, JSON
    /// alone is requested for a while.
    pub(super) fn doubt_protobuf(&self, error: &ApiError) {
        if self.in_protobuf.get() {
            self.refuse_protobuf(error);
        }
    }

    fn refuse_protobuf(&self, error: &ApiError) {
        if self.is_in_json() {
            return;
        }
        let period = self.timings.paged_period;
        self.json_until.set(Instant::now().checked_add(period));
        self.refusals.set(self.refusals.get() + 1);
        let again = self.refusals.get();
        if again == 1 {
            tracing::info!(
                "pods are requested in JSON, not in protocol buffers, which are tried again each {period:?}: {error}"
            );
        } else {
            tracing::debug!(again, "pods are requested in JSON: {error}");
        }
    }

    fn is_in_json(&self) -> bool {
        self.json_until.get().is_some_and(|until| Instant::now() < until)
    }

    async fn request(&self, path: &str, accept: &str, what: Asked<'_>) -> Result<Response<Body>, ApiError> {
        let (client, made) = self.client().await?;
        let (mut accept, again) = (accept, matches!(what, Asked::List));
        if accept == protobuf::ACCEPT && self.is_in_json() {
            accept = super::resource::JSON;
        }
        let mut asked = self.ask(&client, path, accept, what).await;
        if let Err(error @ ApiError::Rejected { status: 406, .. }) = &asked
            && accept == protobuf::ACCEPT
        {
            self.refuse_protobuf(error);
            let what = if again { Asked::List } else { Asked::Get(None) };
            asked = self.ask(&client, path, super::resource::JSON, what).await;
        }
        if accept == protobuf::ACCEPT
            && let Ok(response) = &asked
        {
            self.in_protobuf.set(Form::of(response.headers()) == Form::Protobuf);
        }
        let lost = asked.as_ref().is_err_and(ApiError::out_of_reach);
        let throttled = asked.as_ref().is_err_and(|error| error.retry_after().is_some());
        if !throttled && self.lost.replace(lost) && !lost {
            self.back.notify_waiters();
        }
        if asked.as_ref().is_err_and(ApiError::outdates_client) {
            let mut current = self.client.lock().await;
            // Another watch may have been here first.
            if current.made == made {
                current.client = None;
            }
        }
        asked
    }

    async fn ask(
        &self,
        Connected { client, host, .. }: &Connected,
        path: &str,
        accept: &str,
        what: Asked<'_>,
    ) -> Result<Response<Body>, ApiError> {
        let request = Request::builder()
            .uri(path)
            .header(ACCEPT, accept)
            .header(USER_AGENT, concat!("webb/", env!("CARGO_PKG_VERSION")));
        let (request, body) = match what {
            Asked::Get(None) => (request, Body::empty()),
            Asked::List => (request.header(ACCEPT_ENCODING, "gzip"), Body::empty()),
            Asked::Get(Some(known)) => (request.header(IF_NONE_MATCH, known), Body::empty()),
            Asked::Write(method, object) => {
                (request.method(method).header(CONTENT_TYPE, super::resource::JSON), Body::from(object))
            }
        };
        let request = request
            .body(body)
            .map_err(|error| ApiError::Unconfigured(format!("the path makes no request: {error}")))?;
        let timeout = self.timings.answer_timeout;
        let (method, began) = (request.method().clone(), Instant::now());
        let sent = within(timeout, client.send(request)).await;
        if let Some(requests) = self.requests {
            let status = sent.as_ref().ok().and_then(|sent| sent.as_ref().ok()).map(|sent| sent.status().as_u16());
            requests.count(host, method.as_str(), path, status, began.elapsed());
        }
        let response = sent?.map_err(|error| ApiError::Unreachable(chain(&error)))?;
        if response.status().is_success() || response.status() == StatusCode::NOT_MODIFIED {
            return Ok(response);
        }
        let (status, after) = (response.status(), retry_after(response.headers()));
        // What the server says about it is good to have, but the status is enough.
        let body = lines::read_body(response.into_body(), lines::MAX_ERROR_BYTES, timeout);
        let body = within(timeout, body).await.flatten().unwrap_or_default();
        Err(answer::refusal(status, &body, after))
    }

    /// The client, made if there is none. One whose credentials are about to expire serves until
    /// the next one is made.
    async fn client(&self) -> Result<(Connected, u64), ApiError> {
        let mut current = self.client.lock().await;
        let Current { client, made, making } = &mut *current;
        if let Some(connected) = client
            && making.is_none()
            && !connected.renewal.is_due()
        {
            return Ok((connected.clone(), *made));
        }
        let task = match &mut *making {
            Some(making) => &mut making.task,
            none => &mut none.insert(self.make()?).task,
        };
        if let Some(connected) = client
            && !task.is_finished()
        {
            return Ok((connected.clone(), *made));
        }
        // A plugin ends in its time. A file system that hangs does not, and is waited for by the
        // next that asks.
        let next = within(self.timings.answer_timeout * 2, task).await?;
        *making = None;
        let next = next.map_err(|error| ApiError::Unconfigured(format!("no client: {error}"))).flatten();
        match (next, client) {
            (Ok(next), client) => {
                *made += 1;
                Ok((client.insert(next).clone(), *made))
            }
            (Err(error), Some(old)) => {
                tracing::warn!("credentials cannot be renewed; the old ones serve: {error}");
                old.renewal = Renewal::At(Instant::now() + RENEWAL_RETRY_INTERVAL);
                Ok((old.clone(), *made))
            }
            (Err(error), None) => Err(error),
        }
    }

    fn make(&self) -> Result<Making, ApiError> {
        let pipe = std::io::pipe();
        let (stopped, stop_on_drop) = pipe.map_err(|error| ApiError::Unconfigured(format!("no client: {error}")))?;
        let (access, limits) = (self.access.clone(), RunBounds { timeout: self.timings.answer_timeout, stopped });
        Ok(Making { task: tokio::task::spawn_blocking(move || connect(&access, &limits)), _stop_on_drop: stop_on_drop })
    }
}

async fn within<T>(timeout: Duration, work: impl Future<Output = T>) -> Result<T, ApiError> {
    tokio::time::timeout(timeout, work).await.map_err(|_| ApiError::Timeout(timeout))
}

/// Seconds; the form with a date is not used by API servers, and would need a clock that is right.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}
