//! The connection to the API server that all watches share, and its requests.
//!
//! Tokens rotate on disk, client certificates and authorities are renewed, a credential plugin gives credentials for an
//! hour. All of it is read again in one way: when the server refuses us, or cannot be reached, the client is thrown
//! away, and the next request makes a new one from the files as they are then.

use std::future::Future;
use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION, HeaderMap, RETRY_AFTER, USER_AGENT};
use http::{Request, Response};
use kube::client::Body;
use tokio::sync::Mutex;

use super::connect::{Connected, connect};
use super::trouble::{Trouble, chain};
use super::{Access, Pace, answer, lines};

/// Requests to one API server.
#[derive(Debug)]
pub(super) struct Link<'a> {
    access: &'a Access,
    pub(super) pace: &'a Pace,
    client: Mutex<Current>,
}

/// The client in use, and how many there were before it.
#[derive(Default)]
struct Current {
    client: Option<Connected>,
    made: u64,
}

impl std::fmt::Debug for Current {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.debug_struct("Current").field("made", &self.made).finish_non_exhaustive()
    }
}

impl<'a> Link<'a> {
    pub(super) fn new(access: &'a Access, pace: &'a Pace) -> Self {
        Self { access, pace, client: Mutex::default() }
    }

    /// Asks for `path` with its query. A success is the answer with its body still to come; anything else is trouble.
    pub(super) async fn get(&self, path: &str) -> Result<Response<Body>, Trouble> {
        let (client, made) = self.client().await?;
        let asked = self.ask(&client, path).await;
        if asked.as_ref().is_err_and(Trouble::outdates_client) {
            let mut current = self.client.lock().await;
            // Another watch may have been here first.
            if current.made == made {
                current.client = None;
            }
        }
        asked
    }

    async fn ask(&self, to: &Connected, path: &str) -> Result<Response<Body>, Trouble> {
        let mut request = Request::get(format!("{}{path}", to.base))
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, concat!("webb/", env!("CARGO_PKG_VERSION")));
        let bearer = to.bearer.header().map_err(Trouble::Unconfigured)?;
        if !bearer.is_empty() {
            request = request.header(AUTHORIZATION, bearer);
        }
        let request = request
            .body(Body::empty())
            .map_err(|error| Trouble::Unconfigured(format!("address and token make no request: {error}")))?;
        let patience = self.pace.answer;
        let response =
            within(patience, to.client.send(request)).await?.map_err(|error| Trouble::Unreachable(chain(&error)))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let (status, after) = (response.status(), retry_after(response.headers()));
        // What the server says about it is good to have, but the status is enough.
        let body = lines::whole(response.into_body(), patience).await.unwrap_or_default();
        Err(answer::refusal(status, &body, after))
    }

    /// The client, made if there is none.
    async fn client(&self) -> Result<(Connected, u64), Trouble> {
        let mut current = self.client.lock().await;
        if let Some(client) = &current.client {
            return Ok((client.clone(), current.made));
        }
        let access = self.access.clone();
        let making = tokio::task::spawn_blocking(move || connect(&access));
        let made = within(self.pace.answer, making).await?;
        let client = made.map_err(|error| Trouble::Unconfigured(format!("no client: {error}")))??;
        current.client = Some(client.clone());
        current.made += 1;
        Ok((client, current.made))
    }
}

async fn within<T>(patience: Duration, work: impl Future<Output = T>) -> Result<T, Trouble> {
    tokio::time::timeout(patience, work).await.map_err(|_| Trouble::Late(patience))
}

/// Seconds; the form with a date is not used by API servers, and would need a clock that is right.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}
