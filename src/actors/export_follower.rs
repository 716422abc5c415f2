//! Polls the file of exporters every five seconds and makes the exporters that run those of it.
//!
//! As [`super::configurator`] does for the file of metrics: the poll blocks and is done on a thread
//! for that; a file with a problem changes nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::*;
use tokio::sync::Mutex;
use webb_flow::fault::{Component, FaultType, State, inject};

use super::export_file::ExportFile;
use super::exporters::{Exporters, SetChanges};
use super::guard::{Guarded, fail, restart};
use super::restart::Intensity;
use super::{Finish, Restart};
use crate::exports::{FlowLogs, STATIC};

/// Interval of the polls, which is Hubble's.
const FILE_POLL_INTERVAL: Duration = Duration::from_secs(5);

/// Time after which a file system counts as one that does not answer.
const READ_LIMIT: Duration = Duration::from_secs(5);

/// Requests a poll of the file now, as SIGHUP does.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct PollFlowLogs;

/// Actor that applies the file of exporters.
#[derive(Debug)]
pub struct ExportFollower {
    shared: Shared,
    intensity: Intensity,
    down: bool,
    finishing: bool,
}

/// State that survives a restart of the actor.
#[derive(Debug, Clone)]
struct Shared {
    file: Arc<ExportFile>,
    exporters: Arc<Exporters>,
    /// Held while the file is read, which may never end.
    reading: Arc<Mutex<()>>,
    /// Held while exporters are changed.
    turn: Arc<Mutex<()>>,
}

impl ExportFollower {
    /// Starts following the file. The exporter of the settings is left alone.
    pub fn start(file: Arc<ExportFile>, exporters: Arc<Exporters>, intensity: Intensity) -> Addr<Self> {
        let shared = Shared { file, exporters, reading: Arc::default(), turn: Arc::default() };
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

impl Shared {
    /// Polls once, and applies what is new. The error is the text of a panic.
    async fn follow(&self, component: &Component) -> Result<(), String> {
        // A poll that is under way will do.
        let Ok(_reading) = self.reading.try_lock() else { return Ok(()) };
        component.beat();
        let (file, began) = (Arc::clone(&self.file), Instant::now());
        let polled = tokio::task::spawn_blocking(move || {
            inject::point("export");
            file.poll()
        });
        tokio::pin!(polled);
        let in_time = tokio::time::timeout(READ_LIMIT, &mut polled).await;
        if in_time.is_err() {
            let (path, limit) = (self.file.path().display(), READ_LIMIT.as_secs());
            let why = format!("{path} does not answer: it could not be read in {limit} s");
            tracing::error!("the exporters stay as they are: {why}");
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
        let mut failed = false;
        match polled.map_err(|error| error.to_string())? {
            Ok(Some(found)) if component.state() != State::Stopped => failed = self.apply(found).await > 0,
            Ok(_) => {}
            Err(problems) => {
                let path = self.file.path().display();
                tracing::error!("the exporters stay as they are, because {path} has problems:\n{problems}");
            }
        }
        if component.state() == State::Stopped {
            return Ok(());
        }
        let complaint = self.file.complaint();
        match complaint.lines().next() {
            Some(first) => component.set_state(State::Degraded, first),
            None if failed => component.set_state(State::Degraded, "not every exporter of the file could be started"),
            None => component.set_state(State::Up, ""),
        }
        Ok(())
    }

    /// Applies a file; returns how many changes failed.
    async fn apply(&self, found: FlowLogs) -> u64 {
        for warning in &found.warnings {
            tracing::warn!("{}", warning.render("exporters", Some(&found.file)));
        }
        let wanted: Vec<_> = found.exporters.iter().map(|listed| listed.config.clone()).collect();
        let changes = self.exporters.change(&wanted, |name| name != STATIC).await;
        let SetChanges { added, updated, removed, failed } = changes;
        tracing::info!(added, updated, removed, failed, exporters = wanted.len(), "exporters configured");
        self.file.applied(&found, changes);
        failed
    }
}

impl Guarded for ExportFollower {
    fn intensity(&mut self) -> &mut Intensity {
        &mut self.intensity
    }

    fn restart_pending(&mut self) -> &mut bool {
        &mut self.down
    }
}

impl Actor for ExportFollower {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.intensity.component().set_state(State::Up, "");
        ctx.run_interval(FILE_POLL_INTERVAL, Self::poll);
        self.poll(ctx);
    }
}

impl Supervised for ExportFollower {
    fn restarting(&mut self, _: &mut Self::Context) {
        self.down = false;
    }
}

impl Handler<PollFlowLogs> for ExportFollower {
    type Result = ();

    fn handle(&mut self, _: PollFlowLogs, ctx: &mut Self::Context) {
        self.poll(ctx);
    }
}

impl Handler<Restart> for ExportFollower {
    type Result = ();

    fn handle(&mut self, _: Restart, ctx: &mut Self::Context) {
        restart(self, ctx);
    }
}

impl Handler<Finish> for ExportFollower {
    type Result = ResponseFuture<()>;

    /// Answers when no change is under way any more; none will be begun.
    fn handle(&mut self, _: Finish, _: &mut Self::Context) -> Self::Result {
        self.finishing = true;
        self.intensity.component().set_state(State::Stopped, "");
        let turn = Arc::clone(&self.shared.turn);
        Box::pin(async move { drop(turn.lock().await) })
    }
}
