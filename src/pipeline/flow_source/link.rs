//! The thread's loop: connects, follows, waits, and serves commands all the while.

use std::future::Future;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::pin::pin;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::FutureExt as _;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{sleep, timeout};
use webb_flow::clock::unix_ns;
use webb_flow::fault::State;
use webb_observer::client::{Cause, Client, ClientError, Responses, ServerState};

use super::backoff::Backoff;
use super::{FlowSource, Gap, KnownServer, Outcome, Persistent};
use crate::pipeline::Lifecycle;

/// Maximal wait of a flow for others of its batch.
const BATCH_WAIT: Duration = Duration::from_millis(20);

/// Interval of heartbeats while nothing happens.
const BEAT_INTERVAL: Duration = Duration::from_secs(1);

/// Time without a response after which the server is asked how many flows it has seen.
const SILENCE: Duration = Duration::from_secs(30);

impl FlowSource {
    /// One run: follows the server until it is stopped.
    ///
    /// # Errors
    /// If the system has no descriptors or threads.
    pub fn run(&self, lifecycle: &Lifecycle) -> io::Result<()> {
        let mut kept = self.state.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(response) = kept.in_hand.take() {
            self.ledger.count(Outcome::Panicked);
            // The server will send it again.
            kept.resume.pass_over(&response);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let outcome = runtime.block_on(async { Link::new(self, lifecycle, &mut kept)?.run().await });
        self.ledger.set_connected(false);
        // A name that is being looked up is not waited for.
        runtime.shutdown_background();
        outcome
    }
}

/// One run of the thread.
struct Link<'a> {
    source: &'a FlowSource,
    lifecycle: &'a Lifecycle,
    kept: &'a mut Persistent,
    wakeups: AsyncFd<OwnedFd>,
}

impl<'a> Link<'a> {
    fn new(source: &'a FlowSource, lifecycle: &'a Lifecycle, kept: &'a mut Persistent) -> io::Result<Self> {
        #[allow(deprecated, reason = "its successor is unsafe for descriptors that are not owned; this one is")]
        let wakeups = AsyncFd::with_interest(source.waker.as_fd().try_clone_to_owned()?, Interest::READABLE)?;
        Ok(Self { source, lifecycle, kept, wakeups })
    }

    /// Runs until the stop request.
    async fn run(mut self) -> io::Result<()> {
        let mut backoff = Backoff::default();
        self.lifecycle.beat_starting(&format!("connects to {}", self.source.server));
        loop {
            let began = Instant::now();
            let Some(error) = self.connection().await else { break };
            self.source.hand_on(self.kept, self.lifecycle);
            let wait = backoff.after(began.elapsed());
            self.say_ended(&error, wait);
            if self.until(sleep(wait)).await.is_none() {
                break;
            }
        }
        self.source.hand_on(self.kept, self.lifecycle);
        Ok(())
    }

    fn say_ended(&mut self, error: &ClientError, wait: Duration) {
        self.source.ledger.set_connected(false);
        self.source.ledger.end(error.cause());
        let why = format!("{}: {error}", self.source.server);
        tracing::warn!(
            reason = error.cause().label(),
            "no flows: {why}; the next attempt is in {} ms",
            wait.as_millis()
        );
        if error.cause() == Cause::TooLarge {
            // It would come again and again.
            self.source.ledger.count_gap(Gap::TooLarge);
            self.kept.resume.skip_to(unix_ns());
        }
        if self.kept.was_connected {
            self.lifecycle.component().set_state(State::Degraded, &why);
        } else {
            self.lifecycle.beat_starting(&why);
        }
    }

    /// Waits for something else, and serves commands meanwhile. None at the stop request.
    async fn until<T>(&mut self, future: impl Future<Output = T>) -> Option<T> {
        let mut future = pin!(future);
        loop {
            if self.lifecycle.stopping() {
                return None;
            }
            tokio::select! {
                biased;
                readable = self.wakeups.readable() => {
                    self.source.waker.reset();
                    if let Ok(mut readable) = readable {
                        readable.clear_ready();
                    }
                    self.source.handle_commands(self.kept, self.lifecycle);
                }
                done = &mut future => return Some(done),
                () = sleep(BEAT_INTERVAL) => {}
            }
            self.lifecycle.beat();
        }
    }

    /// One connection, from its beginning to its end. None at the stop request.
    async fn connection(&mut self) -> Option<ClientError> {
        let client = match self.until(Client::connect(&self.source.server)).await? {
            Ok(client) => client,
            Err(error) => return Some(error),
        };
        let state = match self.until(client.state()).await? {
            Ok(state) => state,
            Err(error) => return Some(error),
        };
        let since_ns = self.kept.resume.begin();
        self.meet(state);
        self.kept.was_connected = true;
        self.source.ledger.set_connected(true);
        self.lifecycle.component().set_state(State::Up, "");
        tracing::info!("follows the flows of {}", self.source.server);
        self.follow(&client, client.follow(since_ns)).await
    }

    /// Finds out whether the server was started again since the last connection.
    fn meet(&mut self, state: Option<ServerState>) {
        let counted = self.source.ledger.outcome(Outcome::Counted);
        let before = self.kept.server.take();
        let Some(state) = state else { return };
        if let Some(before) = before
            && was_restarted(before, state, counted)
        {
            self.kept.resume.expect_nothing();
            self.source.ledger.count_gap(Gap::Restarted);
            tracing::warn!(
                "flows are missing: {} was started again {} s ago, and has seen {} flows since",
                self.source.server,
                state.uptime.as_secs(),
                state.seen_flows,
            );
        }
        self.kept.server = Some(KnownServer { state, at: Instant::now(), counted });
    }

    /// Takes responses until the connection ends.
    async fn follow(&mut self, client: &Client, mut responses: Responses) -> Option<ClientError> {
        let mut seen_flows = None;
        let mut batch_since = None;
        loop {
            let next = if let Some(next) = responses.next().now_or_never() {
                next
            } else {
                let wait = batch_since.map_or(SILENCE, |since: Instant| BATCH_WAIT.saturating_sub(since.elapsed()));
                match self.until(timeout(wait, responses.next())).await? {
                    Ok(next) => next,
                    Err(_) if batch_since.take().is_some() => {
                        self.source.hand_on(self.kept, self.lifecycle);
                        continue;
                    }
                    Err(_) => match self.silence(client, &mut seen_flows).await? {
                        None => continue,
                        error => return error,
                    },
                }
            };
            let response = match next {
                Ok(response) => response,
                Err(error) => return Some(error),
            };
            seen_flows = None;
            self.take(&response);
            if self.kept.reader.is_full() {
                self.source.hand_on(self.kept, self.lifecycle);
                self.source.handle_commands(self.kept, self.lifecycle);
                if self.lifecycle.stopping() {
                    return None;
                }
                self.lifecycle.beat();
            }
            batch_since = if self.kept.reader.is_empty() { None } else { batch_since.or_else(|| Some(Instant::now())) };
        }
    }

    fn take(&mut self, response: &Bytes) {
        self.source.take(self.kept, response);
    }

    /// Asks a server that has sent nothing for a while whether it has seen flows meanwhile; what it
    /// answered before is in `seen_flows`. Some is an end of the connection. (Cilium's server does
    /// not send to a client that came before its first two events.)
    #[allow(clippy::option_option, reason = "the outer one is the stop request")]
    async fn silence(&mut self, client: &Client, seen_flows: &mut Option<u64>) -> Option<Option<ClientError>> {
        Some(match self.until(client.state()).await? {
            Err(error) => Some(error),
            Ok(None) => None,
            Ok(Some(state)) => {
                let before = seen_flows.replace(state.seen_flows);
                before.is_some_and(|before| state.seen_flows > before).then(ClientError::silent)
            }
        })
    }
}

/// True if a server cannot be the one that it was: it runs for a shorter time, and has seen less
/// than that one had.
fn was_restarted(before: KnownServer, now: ServerState, counted: u64) -> bool {
    let least = before.at.elapsed() + before.state.uptime / 2;
    let seen = before.state.seen_flows.saturating_add(counted.saturating_sub(before.counted));
    now.uptime < least && now.seen_flows < seen
}
