//! `--observe`: the files' flows, for Hubble's own clients.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use webb_flow::clock::now_ns;
use webb_flowlog::{Counts, JsonError};
use webb_observer::{Admission, History, Listener, Loader, Peer, Site, UnixSocket, connections, serve};
use webb_settings::ListenAddress;

use super::files::{self, Lines, Outcome};
use crate::cli::{Exit, ReplayArgs};

/// Time for the last answers of a server that stops.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

impl Lines for Loader<'_> {
    fn line(&mut self, line: &[u8]) -> Result<(), JsonError> {
        Loader::line(self, line)
    }

    fn bad_line(&mut self) {
        Loader::bad_line(self);
    }

    fn end(&mut self) {
        Loader::end(self);
    }

    fn counts(&self) -> &Counts {
        Loader::counts(self)
    }
}

/// Reads the files and serves their last flows until SIGINT or SIGTERM.
pub(super) fn observe(arguments: &ReplayArgs, address: &ListenAddress) -> Exit {
    let history = Arc::new(History::new(arguments.history));
    let mut loader = Loader::new(&history);
    match files::read(&arguments.files, arguments.strict, &mut loader) {
        Outcome::Complete => {}
        // A server has no exit status that would say so later.
        Outcome::Incomplete => {
            eprintln!("not served: not every file could be read to its end");
            return Exit::NoInput;
        }
        Outcome::Refused => return Exit::Data,
    }
    drop(loader);
    let node = arguments.node.clone().unwrap_or_else(host_name);
    if let Err(error) = run(history, node, address) {
        eprintln!("cannot serve {address}: {error}");
        return Exit::Configuration;
    }
    Exit::Success
}

fn run(history: Arc<History>, node: String, address: &ListenAddress) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let (stop, stopping) = watch::channel(false);
        let stopped = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            stop.send_replace(true);
            // A client that reads nothing does not hold up the end.
            tokio::time::sleep(LAST_ANSWERS).await;
        };
        let (announce, peers) = watch::channel(Arc::from([]));
        let version = concat!("webb v", env!("CARGO_PKG_VERSION")).to_owned();
        let (started_ns, calls) = (now_ns(), Arc::default());
        let site = Site { node: node.clone(), cluster: String::new(), version, started_ns, calls, peers, stopping };
        let listener = match address {
            ListenAddress::Unix(path) => {
                let socket = UnixSocket::bind(path).await?;
                eprintln!("serving {address}");
                Listener::Unix(socket)
            }
            ListenAddress::Tcp(wanted) => {
                let listener = TcpListener::bind(wanted).await?;
                let bound = listener.local_addr()?;
                eprintln!("serving {bound}");
                let own = Peer { name: node, address: bound.to_string(), server_name: None };
                announce.send_replace(Arc::from([own]));
                Listener::Tcp(listener)
            }
        };
        let connections = connections(listener, None, Arc::new(Admission::default()));
        let served = tokio::select! {
            served = serve(history, site, connections) => served,
            () = stopped => Ok(()),
        };
        served.map_err(io::Error::other)
    })
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
