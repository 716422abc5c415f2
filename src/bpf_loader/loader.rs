//! [`Loader`]: the thread that loads the programs, and the only one that may.

use std::io;
use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};

use tokio::sync::oneshot;

use super::error::LoadError;
use super::features;
use super::probes::Probes;
use super::settings::ProgramSettings;
use super::sys;
use crate::privileges;

type Loaded = Result<Probes, LoadError>;

/// A thread that waits for the order to load the programs, with the capabilities of the thread that
/// started it. It ends when they are loaded, or when there will be no order.
#[derive(Debug)]
pub struct Loader {
    orders: Sender<(ProgramSettings, oneshot::Sender<Loaded>)>,
    thread: JoinHandle<()>,
}

impl Loader {
    /// Starts the thread. The one that calls this can lower its own capabilities then.
    ///
    /// # Errors
    /// If the system has no thread.
    pub fn start() -> io::Result<Self> {
        let (orders, order) = mpsc::channel::<(ProgramSettings, oneshot::Sender<Loaded>)>();
        let thread = thread::Builder::new().name("loader".to_owned()).spawn(move || {
            let Ok((settings, answer)) = order.recv() else { return };
            // An agent that is ending does not wait for it.
            let _unwanted = answer.send(Probes::load(&settings));
        })?;
        Ok(Self { orders, thread })
    }

    /// Loads the programs, which takes seconds on a busy machine.
    ///
    /// # Errors
    /// If the kernel refuses them, or the thread panics.
    pub async fn load(self, settings: ProgramSettings) -> Result<Probes, LoadError> {
        let (answer, loaded) = oneshot::channel();
        let ended = || LoadError::Refused {
            object: "the programs".to_owned(),
            why: "the thread that loads them has ended before".to_owned(),
        };
        self.orders.send((settings, answer)).map_err(|_| ended())?;
        let loaded = loaded.await.map_err(|_| ended())?;
        // Its last act was the answer: once it has ended, no thread has its capabilities.
        let _panicked = self.thread.join();
        loaded
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
