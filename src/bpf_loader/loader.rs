//! [`Loader`]: the thread that loads the programs, and the only one that may.

use std::io;
use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};

use tokio::sync::oneshot;

use super::error::LoadError;
use super::features;
use super::handover::Handover;
use super::maps::{self, NodeObjects};
use super::probes::Probes;
use super::settings::ProgramSettings;
use super::sys;
use crate::privileges;

type Loaded = Result<Probes, LoadError>;

/// An order to load the programs.
struct Order {
    settings: ProgramSettings,
    handover: Handover,
    answer: oneshot::Sender<Loaded>,
    lists: Option<Lists>,
}

/// What makes the thread stay, to list the maps and programs of all programs on this machine.
struct Lists {
    serve: Box<dyn FnOnce() + Send>,
    confine: Confine,
}

/// Puts a thread under the restrictions of the others.
pub type Confine = Box<dyn FnOnce() + Send>;

/// A thread that waits for the order to load the programs, with the capabilities of the thread that
/// started it. It ends when they are loaded, or when there will be no order. With
/// `agent_metrics.all_maps` it stays, with `CAP_SYS_ADMIN` alone, and no other thread has that.
#[derive(Debug)]
pub struct Loader {
    orders: Sender<Order>,
    thread: JoinHandle<()>,
}

impl Loader {
    /// Starts the thread. The one that calls this can lower its own capabilities then.
    ///
    /// # Errors
    /// If the system has no thread.
    pub fn start() -> io::Result<Self> {
        let (orders, order) = mpsc::channel::<Order>();
        let thread = thread::Builder::new().name("loader".to_owned()).spawn(move || {
            let Ok(Order { settings, handover, answer, lists }) = order.recv() else { return };
            let loaded = Probes::load_with(&settings, &handover);
            let Some(Lists { serve, confine }) = lists.filter(|_| loaded.is_ok()) else {
                // An agent that is ending does not wait for it.
                let _unwanted = answer.send(loaded);
                return;
            };
            let lowered = privileges::keep_sys_admin();
            confine();
            let _unwanted = answer.send(loaded);
            match lowered {
                Ok(()) => serve(),
                Err(error) => tracing::warn!("maps of other programs are not listed: {error}"),
            }
        })?;
        Ok(Self { orders, thread })
    }

    /// Ends the thread, as there will be no order: then no thread has its capabilities.
    pub fn dismiss(self) {
        drop(self.orders);
        let _panicked = self.thread.join();
    }

    /// Loads the programs, which takes seconds on a busy machine. With `confine` the thread stays,
    /// so confined, to list all maps and programs of this machine.
    ///
    /// # Errors
    /// If the kernel refuses them, the pins cannot be used, or the thread panics.
    pub async fn load(
        self,
        settings: ProgramSettings,
        handover: Handover,
        confine: Option<Confine>,
    ) -> Result<(Probes, Option<NodeObjects>), LoadError> {
        let (answer, loaded) = oneshot::channel();
        let ended = || LoadError::Refused {
            object: "the programs".to_owned(),
            why: "the thread that loads them has ended before".to_owned(),
        };
        let (objects, lists) = confine
            .map(|confine| {
                let (objects, requests) = NodeObjects::new();
                (objects, Lists { serve: Box::new(move || maps::serve(&requests)), confine })
            })
            .unzip();
        self.orders.send(Order { settings, handover, answer, lists }).map_err(|_| ended())?;
        let loaded = loaded.await.map_err(|_| ended())?;
        if objects.is_none() || loaded.is_err() {
            // Its last act was the answer: once it has ended, no thread has its capabilities.
            let _panicked = self.thread.join();
        }
        loaded.map(|probes| (probes, objects))
    }
}

/// True if this kernel has TCX. Asking takes `CAP_NET_ADMIN`; without, true.
pub fn has_tcx() -> bool {
    features::tcx().is_ok()
}

/// True if this kernel asks for `CAP_BPF` at each use of eBPF, and not only when something is made,
/// as before Linux 5.19 where `kernel.unprivileged_bpf_disabled` is set.
pub fn asks_always_for_bpf() -> bool {
    // A kernel that does not ask finds that there is no such map.
    let refused = || sys::look_up_nothing().raw_os_error() == Some(libc::EPERM);
    privileges::try_without_bpf(refused).unwrap_or(false)
}
