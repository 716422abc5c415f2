//! Takes part in an election by a Lease of an API server, until it is stopped.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use http::Method;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::sleep;
use webb_flow::clock;
use webb_flow::fault::inject;

use super::backoff::random;
use super::error::ApiError;
use super::lines;
use super::link::Link;
use super::resource::JSON;
use super::{Access, WatchTimings};
use crate::lease::{Answer, Election, ElectionTimings, Leadership, Lease, LeaseRecord, Outcome, Request, Step, Term};

/// Time for giving the Lease up: another replica takes it over without it, only later.
const MAX_RELEASE: Duration = Duration::from_secs(3);

/// A Lease with all that may be written into it by hand.
const MAX_LEASE_BYTES: usize = 1 << 20;

/// The smallest time-out of a request.
const MIN_TIMEOUT: Duration = Duration::from_millis(500);

/// A replica that wants to lead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Name of the Lease.
    pub name: String,
    /// Identity of this process, unlike that of any other, before or after.
    pub identity: String,
    /// Durations of the election.
    pub timings: ElectionTimings,
}

/// Takes part until `stop` is ready, and gives the Lease up then. All troubles are retried.
///
/// A leader ends its term at its deadline, whether the server answers or not; `leadership` says so
/// by the clock, even if this task does not run.
pub async fn elect(access: &Access, candidate: &Candidate, leadership: &Leadership, stop: impl Future<Output = ()>) {
    let answer_timeout = (candidate.timings.renew / 2).max(MIN_TIMEOUT);
    let timings = WatchTimings { answer_timeout, ..WatchTimings::default() };
    let mut replica = Replica {
        link: Link::new(access, &timings),
        candidate,
        leadership,
        object: None,
        election: Election::new(candidate.identity.clone(), candidate.timings),
        led: false,
    };
    let mut stop = pin!(stop);
    tokio::select! {
        () = &mut stop => {}
        () = replica.run() => {}
    }
    replica.election.release(clock::boot_ns());
    leadership.set_term(None);
    // What is not done by then is left to the Lease's duration.
    if tokio::time::timeout(MAX_RELEASE, replica.run()).await.is_err() {
        tracing::warn!("the Lease {} could not be given up in time: it runs out", replica.name());
    }
}

struct Replica<'a> {
    link: Link<'a>,
    candidate: &'a Candidate,
    leadership: &'a Leadership,
    /// The Lease as last read or written, with the fields that are not ours.
    object: Option<Value>,
    election: Election,
    /// Whether it led when that was last logged.
    led: bool,
}

impl Replica<'_> {
    fn name(&self) -> String {
        format!("{}/{}", self.candidate.namespace, self.candidate.name)
    }

    /// Does one step after the other until the Lease is given up.
    async fn run(&mut self) {
        loop {
            let wall_us = Timestamp::now().as_microsecond().saturating_add(inject::wall_skew_us());
            match self.election.next(clock::boot_ns(), wall_us) {
                Step::Done => return,
                Step::Wait(until) => self.wait(until).await,
                Step::Send(request) => {
                    let sent = clock::boot_ns();
                    let answer = self.send(&request).await;
                    self.leadership.count(Outcome::of(&request, &answer));
                    self.election.answered(&request, answer, (sent, clock::boot_ns()));
                    self.leadership.set_term(self.election.term());
                    self.report();
                }
            }
        }
    }

    /// Waits, those that do not lead a little longer, so that they do not come together; not beyond
    /// the beginning or the end of a term, which are logged.
    async fn wait(&mut self, until: u64) {
        let now = clock::boot_ns();
        let mut wait = Duration::from_nanos(until.saturating_sub(now));
        if let Some(Term { from, until }) = self.election.term() {
            for bound in [from, until].into_iter().filter(|bound| *bound > now) {
                wait = wait.min(Duration::from_nanos(bound - now));
            }
        } else {
            wait += random(self.candidate.timings.retry / 5);
        }
        sleep(wait).await;
        self.report();
    }

    /// Logs what has changed.
    fn report(&mut self) {
        let leads = self.leadership.is_leading();
        if self.led != leads {
            self.led = leads;
            if leads {
                tracing::info!(lease = %self.name(), "this replica leads");
            } else {
                tracing::warn!(lease = %self.name(), "this replica does not lead any more");
            }
        }
        let holder = self.election.holder();
        if self.leadership.set_holder(holder) && holder != self.candidate.identity && !holder.is_empty() {
            tracing::info!(lease = %self.name(), holder, "another replica holds the Lease");
        }
    }

    async fn send(&mut self, request: &Request) -> Answer {
        match self.try_send(request).await {
            Ok(object) => {
                let lease = Lease::of(&object);
                self.object = Some(object);
                if self.leadership.set_problem(None) {
                    tracing::info!("the Lease {} is in reach again", self.name());
                }
                Answer::Lease(lease)
            }
            // For a new Lease it means that there is no such namespace.
            Err(ApiError::Rejected { status: 404, .. }) if !matches!(request, Request::Create(_)) => Answer::NotFound,
            Err(ApiError::Rejected { status: 409, .. }) => Answer::Conflict,
            Err(error) => {
                let text = format!("the Lease {}: {error}", self.name());
                // Logged when it begins; what it is after that is in `/readyz`.
                if self.leadership.set_problem(Some(text.clone())) {
                    tracing::warn!("{text}");
                }
                Answer::Failed
            }
        }
    }

    async fn try_send(&self, request: &Request) -> Result<Value, ApiError> {
        let Candidate { namespace, name, .. } = self.candidate;
        let all = format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases");
        let one = format!("{all}/{name}");
        let response = match request {
            Request::Get => self.link.get(&one, JSON).await?,
            Request::Create(record) => {
                let new = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                    "metadata": {"name": name, "namespace": namespace}});
                self.link.send(Method::POST, &all, body(new, record)).await?
            }
            Request::Update(version, record) => {
                let mut object = self.object.clone().unwrap_or_default();
                if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
                    metadata.insert("resourceVersion".to_owned(), json!(version));
                }
                self.link.send(Method::PUT, &one, body(object, record)).await?
            }
        };
        let timeout = self.link.timings.answer_timeout;
        let read = lines::read_body(response.into_body(), MAX_LEASE_BYTES, timeout);
        let text = tokio::time::timeout(timeout, read).await.map_err(|_| ApiError::Timeout(timeout))??;
        let object: Value =
            serde_json::from_slice(&text).map_err(|error| ApiError::Malformed(format!("a Lease: {error}")))?;
        let kind = object.get("kind").and_then(Value::as_str);
        if kind.is_some_and(|kind| kind != "Lease") || !object.get("metadata").is_some_and(Value::is_object) {
            return Err(ApiError::Malformed("a Lease: it is another object".to_owned()));
        }
        Ok(object)
    }
}

fn body(mut object: Value, record: &LeaseRecord) -> Vec<u8> {
    record.write_to(&mut object);
    object.to_string().into_bytes()
}
