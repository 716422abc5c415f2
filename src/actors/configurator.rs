//! Polls the dynamic file every ten seconds and applies its metrics to the fleet of aggregators.
//!
//! ```text
//! file ──poll──▶ unchanged │ problems: said once, all stays as it is │ changes ──▶ Fleet::change ──▶ accepted
//! ```
//!
//! Looking blocks and is done on a thread for that; changing waits for the reader and is done here,
//! one at a time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::*;
use tokio::sync::Mutex;
use webb_flow::fault::{Component, FaultType, State, inject};
use webb_metrics::dynamic::{ChangeCounts, MetricChange};

use super::fleet::Fleet;
use super::guard::{Guarded, fail, restart};
use super::metrics_file::{FileUpdate, MetricsFile};
use super::restart::Intensity;
use super::{Finish, Restart};

/// Interval of the polls (hubble-contract §2.5.4).
const FILE_POLL_INTERVAL: Duration = Duration::from_secs(10);

/// Time after which a file system counts as one that does not answer.
const READ_LIMIT: Duration = Duration::from_secs(5);

/// Requests a poll of the file now, as SIGHUP does.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct PollFile;

/// Actor that applies the dynamic metrics file.
#[derive(Debug)]
pub struct Configurator {
    shared: Shared,
    intensity: Intensity,
    down: bool,
    finishing: bool,
}

/// State that survives a restart of the actor.
#[derive(Debug, Clone)]
struct Shared {
    file: Arc<MetricsFile>,
    fleet: Arc<Fleet>,
    /// Held while the file is read, which may never end.
    reading: Arc<Mutex<()>>,
    /// Held while the fleet is changed.
    turn: Arc<Mutex<()>>,
}

impl Configurator {
    /// Starts following the file.
    pub fn start(file: Arc<MetricsFile>, fleet: Arc<Fleet>, intensity: Intensity) -> Addr<Self> {
        let shared = Shared { file, fleet, reading: Arc::default(), turn: Arc::default() };
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
    /// Polls once, and applies an update. The error is the text of a panic.
    async fn follow(&self, component: &Component) -> Result<(), String> {
        // A poll that is under way will do.
        let Ok(_reading) = self.reading.try_lock() else { return Ok(()) };
        component.beat();
        let (file, began) = (Arc::clone(&self.file), Instant::now());
        let looked = tokio::task::spawn_blocking(move || {
            inject::point("configurator");
            file.poll()
        });
        tokio::pin!(looked);
        let in_time = tokio::time::timeout(READ_LIMIT, &mut looked).await;
        if in_time.is_err() {
            let (path, limit) = (self.file.path().display(), READ_LIMIT.as_secs());
            let why = format!("{path} does not answer: it could not be read in {limit} s");
            tracing::error!("the metrics stay as they are: {why}");
            if component.state() != State::Stopped {
                component.set_state(State::Degraded, &why);
            }
        }
        let looked = match in_time {
            Ok(looked) => looked,
            Err(_) => looked.await,
        };
        component.passes().count(matches!(looked, Ok(Ok(_))), began.elapsed());
        let _turn = self.turn.lock().await;
        match looked.map_err(|error| error.to_string())? {
            Ok(Some(update)) if component.state() != State::Stopped => self.apply(update).await,
            Ok(_) => {}
            Err(problems) => {
                let path = self.file.path().display();
                tracing::error!("the metrics stay as they are, because {path} has problems:\n{problems}");
            }
        }
        if component.state() == State::Stopped {
            return Ok(());
        }
        let complaint = self.file.complaint();
        let first = complaint.lines().next().unwrap_or_default();
        component.set_state(if first.is_empty() { State::Up } else { State::Degraded }, first);
        Ok(())
    }

    async fn apply(&self, update: FileUpdate) {
        for warning in &update.dynamic.warnings {
            tracing::warn!("{}", warning.render("metrics", Some(&update.dynamic.file)));
        }
        for change in &update.changes {
            if let MetricChange::Restart(metric) = change {
                tracing::warn!(metric, "its context options changed: its series begin anew under other labels");
            }
        }
        let configs: Vec<_> = update.dynamic.metrics.iter().map(|listed| &listed.config).collect();
        if !update.changes.is_empty() {
            self.fleet.change(&update.changes, &configs).await;
        }
        let ChangeCounts { added, removed, filtered, restarted } = ChangeCounts::of(&update.changes);
        tracing::info!(added, removed, filtered, restarted, metrics = configs.len(), "metrics configured");
        self.file.accept(update);
    }
}

impl Guarded for Configurator {
    fn intensity(&mut self) -> &mut Intensity {
        &mut self.intensity
    }

    fn restart_pending(&mut self) -> &mut bool {
        &mut self.down
    }
}

impl Actor for Configurator {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.intensity.component().set_state(State::Up, "");
        ctx.run_interval(FILE_POLL_INTERVAL, Self::poll);
        self.poll(ctx);
    }
}

impl Supervised for Configurator {
    fn restarting(&mut self, _: &mut Self::Context) {
        self.down = false;
    }
}

impl Handler<PollFile> for Configurator {
    type Result = ();

    fn handle(&mut self, _: PollFile, ctx: &mut Self::Context) {
        self.poll(ctx);
    }
}

impl Handler<Restart> for Configurator {
    type Result = ();

    fn handle(&mut self, _: Restart, ctx: &mut Self::Context) {
        restart(self, ctx);
    }
}

impl Handler<Finish> for Configurator {
    type Result = ResponseFuture<()>;

    /// Answers when no change is under way any more; none will be begun.
    fn handle(&mut self, _: Finish, _: &mut Self::Context) -> Self::Result {
        self.finishing = true;
        self.intensity.component().set_state(State::Stopped, "");
        let turn = Arc::clone(&self.shared.turn);
        Box::pin(async move { drop(turn.lock().await) })
    }
}
