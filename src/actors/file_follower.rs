//! Polls a file of the configuration and applies what is new in it.
//!
//! Polling blocks and is done on a thread for that; applying is done here, one file at a time. A
//! file with a problem changes nothing.

use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::*;
use tokio::sync::{Mutex, watch};
use webb_flow::fault::{Component, FaultType, State, inject};
use webb_settings::Problems;

use super::guard::{Guarded, fail, restart};
use super::restart::Intensity;
use super::{Finish, Restart};

/// Time after which a file system counts as one that does not answer.
const READ_LIMIT: Duration = Duration::from_secs(5);

/// Requests a poll of the file now, as SIGHUP does.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct PollFile;

/// Answered once the file was polled for the first time, and applied if it can be.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct FirstLook;

/// A file that is followed, and what it configures. Clones share it, across restarts of the actor.
pub trait ConfigFile: Debug + Clone + Send + Unpin + 'static {
    /// Content that can be used and differs from the last.
    type Update: Send + 'static;
    /// Interval of the polls.
    const POLL_INTERVAL: Duration;
    /// What the file configures, in log lines: "the metrics".
    const SUBJECT: &'static str;
    /// Name of the place in a poll where tests inject faults.
    const FAULT_POINT: &'static str;

    /// Path of the file.
    fn path(&self) -> &Path;

    /// Polls the file: none if there is nothing new about it. Blocks.
    ///
    /// # Errors
    /// The problems of the file, the first time that they are found.
    fn poll(&self) -> Result<Option<Self::Update>, Problems>;

    /// Has the next poll read the file again though it has not changed.
    fn invalidate(&self);

    /// Error in the file, or in applying it; empty if there is none.
    fn complaint(&self) -> String;

    /// Applies an update. What of it fails is a complaint.
    fn apply(&self, update: Self::Update) -> impl Future<Output = ()>;
}

/// Actor that follows a file.
#[derive(Debug)]
pub struct FileFollower<F> {
    shared: Shared<F>,
    intensity: Intensity,
    down: bool,
    finishing: bool,
}

/// State that survives a restart of the actor.
#[derive(Debug, Clone)]
struct Shared<F> {
    file: F,
    /// Held while the file is read, which may never end.
    reading: Arc<Mutex<()>>,
    /// Held while an update is applied.
    turn: Arc<Mutex<()>>,
    /// The file was polled, and what was found is applied.
    looked: watch::Sender<bool>,
}

impl<F: ConfigFile> FileFollower<F> {
    /// Starts following the file.
    pub fn start(file: F, intensity: Intensity) -> Addr<Self> {
        let shared = Shared { file, reading: Arc::default(), turn: Arc::default(), looked: watch::Sender::default() };
        Supervisor::start(move |_| Self { shared, intensity, down: false, finishing: false })
    }

    fn poll(&mut self, ctx: &mut Context<Self>) {
        if self.down || self.finishing {
            return;
        }
        let (shared, component) = (self.shared.clone(), Arc::clone(self.intensity.component()));
        // On a task of its own: a restart of this actor must not leave a change half done.
        let followed = actix::spawn(async move { shared.follow(&component).await });
        ctx.spawn(followed.into_actor(self).map(|outcome, actor, ctx| {
            if let Err(why) = outcome.unwrap_or_else(|error| Err(error.to_string())) {
                actor.shared.file.invalidate();
                fail(actor, ctx, FaultType::Panicked, &why);
            }
        }));
    }
}

impl<F: ConfigFile> Shared<F> {
    /// Polls once, and applies an update. The error is the text of a panic.
    async fn follow(&self, component: &Component) -> Result<(), String> {
        // A poll that is under way will do.
        let Ok(_reading) = self.reading.try_lock() else { return Ok(()) };
        component.beat();
        let (file, began) = (self.file.clone(), Instant::now());
        let polled = tokio::task::spawn_blocking(move || {
            inject::point(F::FAULT_POINT);
            file.poll()
        });
        tokio::pin!(polled);
        let in_time = tokio::time::timeout(READ_LIMIT, &mut polled).await;
        if in_time.is_err() {
            let (path, limit) = (self.file.path().display(), READ_LIMIT.as_secs());
            let why = format!("{path} does not answer: it could not be read in {limit} s");
            tracing::error!("{} stay as they are: {why}", F::SUBJECT);
            if component.state() != State::Stopped {
                component.set_state(State::Degraded, &why);
            }
        }
        let polled = match in_time {
            Ok(polled) => polled,
            Err(_) => polled.await,
        };
        component.passes().count(matches!(polled, Ok(Ok(_))), began.elapsed());
        let _turn = self.turn.lock().await;
        match polled.map_err(|error| error.to_string())? {
            Ok(Some(update)) if component.state() != State::Stopped => self.file.apply(update).await,
            Ok(_) => {}
            Err(problems) => {
                let path = self.file.path().display();
                tracing::error!("{} stay as they are, because {path} has problems:\n{problems}", F::SUBJECT);
            }
        }
        self.looked.send_replace(true);
        if component.state() == State::Stopped {
            return Ok(());
        }
        let complaint = self.file.complaint();
        let first = complaint.lines().next().unwrap_or_default();
        component.set_state(if first.is_empty() { State::Up } else { State::Degraded }, first);
        Ok(())
    }
}

impl<F: ConfigFile> Guarded for FileFollower<F> {
    fn intensity(&mut self) -> &mut Intensity {
        &mut self.intensity
    }

    fn restart_pending(&mut self) -> &mut bool {
        &mut self.down
    }
}

impl<F: ConfigFile> Actor for FileFollower<F> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.intensity.component().set_state(State::Up, "");
        ctx.run_interval(F::POLL_INTERVAL, Self::poll);
        self.poll(ctx);
    }
}

impl<F: ConfigFile> Supervised for FileFollower<F> {
    fn restarting(&mut self, _: &mut Self::Context) {
        self.down = false;
    }
}

impl<F: ConfigFile> Handler<PollFile> for FileFollower<F> {
    type Result = ();

    fn handle(&mut self, _: PollFile, ctx: &mut Self::Context) {
        self.poll(ctx);
    }
}

impl<F: ConfigFile> Handler<FirstLook> for FileFollower<F> {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: FirstLook, _: &mut Self::Context) -> Self::Result {
        let mut looked = self.shared.looked.subscribe();
        Box::pin(async move {
            let _sender_gone = looked.wait_for(|looked| *looked).await;
        })
    }
}

impl<F: ConfigFile> Handler<Restart> for FileFollower<F> {
    type Result = ();

    fn handle(&mut self, _: Restart, ctx: &mut Self::Context) {
        restart(self, ctx);
    }
}

impl<F: ConfigFile> Handler<Finish> for FileFollower<F> {
    type Result = ResponseFuture<()>;

    /// Answers when no change is under way any more; none will be begun.
    fn handle(&mut self, _: Finish, _: &mut Self::Context) -> Self::Result {
        self.finishing = true;
        self.intensity.component().set_state(State::Stopped, "");
        let turn = Arc::clone(&self.shared.turn);
        Box::pin(async move { drop(turn.lock().await) })
    }
}
