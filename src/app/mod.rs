//! The composition root: knows every part, joins them, starts them in order and stops them in reverse.
//!
//! Start: listeners (a port in use must show at once), names, aggregators, decoder, reader, and the probes last, so
//! that no record waits for somebody who is not there. Stop: probes first, a last sweep so that nothing is pending,
//! the reader drains the rings, the aggregators their lanes, a final cut is kept for a last scrape, then the
//! listeners. One budget for all of it; a second signal ends at once.

mod error;
mod ledger;
mod reload;
mod wiring;

pub use error::{Exit, StartError};

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use actix::prelude::*;
use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::actors::decoder::{DecoderActor, DecoderFault};
use crate::actors::http::{HttpActor, Routes};
use crate::actors::keeper::ThreadKeeper;
use crate::actors::restart::{Escalations, Intensity, Policy};
use crate::actors::{Directory, Finish, aggregator, probes, reader, resolver, sweeper};
use crate::bpf_loader::Probes;
use crate::fault::{Components, State};
use crate::flow::Reasons;
use crate::http::{Admin, CONTROL, Scrape, admin_routes, metrics_routes};
use crate::index::Index;
use crate::logging::LogControl;
use crate::metrics::Aggregator;
use crate::pipeline::{Command, Counters, CutDesk, Lane, Reader, ReaderSeat, Seat, Waker};
use crate::selfmetrics::SelfMetrics;
use crate::settings::{Layers, Resolved};

/// What `webb run` was told, checked and ready.
#[derive(Debug)]
pub struct Plan {
    /// Where the configuration comes from, for a reload.
    pub layers: Layers,
    /// What it says now.
    pub resolved: Resolved,
    /// One for each configured metric.
    pub aggregators: Vec<Aggregator>,
    /// The log's level.
    pub log: LogControl,
}

/// What every part is made with.
struct Parts {
    components: Components,
    directory: Directory,
    policy: Policy,
    escalations: Escalations,
}

impl Parts {
    fn intensity(&self, name: &str) -> Intensity {
        Intensity::new(self.components.component(name), self.policy, self.escalations.clone())
    }

    fn keep(&self, name: &str, keeper: &Addr<ThreadKeeper>) {
        self.directory.add(name, keeper.clone().recipient());
    }
}

/// Runs the agent until it is asked to stop or gives up.
///
/// # Errors
/// If it cannot start: a port in use, privileges, a kernel that lacks a must-have.
pub async fn run(plan: Plan) -> Result<Exit, StartError> {
    let settings = plan.resolved.settings.clone();
    let (escalations, mut escalated) = mpsc::unbounded_channel();
    let parts = Parts {
        components: Components::default(),
        directory: Directory::default(),
        policy: wiring::policy(&settings.supervision),
        escalations,
    };
    let own = SelfMetrics::new()?;

    let metrics_listener = bind("metrics_listen", settings.metrics_listen)?;
    let admin_listener = bind("admin_listen", settings.admin_listen)?;
    let loaded = Probes::load(&wiring::loader_settings(&settings))?;

    // Names.
    let index = Arc::new(ArcSwap::from_pointee(Index::default()));
    let names = Arc::new(resolver::Names::new(&settings, Arc::clone(&index)));
    let resolver = resolver::start(Arc::clone(&names), parts.intensity("resolver"));
    parts.keep("resolver", &resolver);

    // Aggregators and the lanes to them.
    let mut lanes = Vec::new();
    let mut seats = Vec::new();
    let mut aggregators = Vec::new();
    for aggregator in plan.aggregators {
        let metric = aggregator.name().to_owned();
        let name = format!("aggregator/{metric}");
        let (lane, items) = Lane::new(parts.components.component(&name));
        let seat = Arc::new(Seat::new(aggregator));
        let keeper = aggregator::start(items, Arc::clone(&seat), parts.intensity(&name));
        parts.keep(&name, &keeper);
        lanes.push(lane);
        seats.push((metric, seat));
        aggregators.push(keeper);
    }
    let lanes: Arc<[Lane]> = lanes.into();

    // Decoder and reader.
    let waker = Waker::new()?;
    let (desk, commands) = CutDesk::new(Arc::clone(&lanes), waker.clone());
    let decoder_seat = Arc::new(ArcSwapOption::empty());
    let reasons = loaded.drop_reasons();
    let decoder = DecoderActor::start(reasons, Arc::clone(&decoder_seat), parts.intensity("decoder"));
    parts.directory.add("decoder", decoder.clone().recipient());
    let counters = Arc::new(Counters::default());
    let fault_to = decoder.clone();
    let reader = reader::start(
        Arc::new(Reader {
            rings: loaded.rings(),
            waker,
            lanes: Arc::clone(&lanes),
            commands,
            index: Arc::clone(&index),
            decoder: decoder_seat,
            decoder_fault: Box::new(move |text| fault_to.do_send(DecoderFault(text))),
            counters: Arc::clone(&counters),
            seat: ReaderSeat::default(),
        }),
        parts.intensity("reader"),
    );
    parts.keep("reader", &reader);
    todo!()
}
