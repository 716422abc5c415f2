//! A server of Hubble's API on a socket, with a history that a test fills; for tests of the flow
//! source.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it is wrong")]
#![allow(dead_code, reason = "each uses its part of it")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::watch;
use webb_flow::Flow;
use webb_flow::clock::now_ns;
use webb_observer::{
    Admission, Event, History, Listener, Loader, Other, OtherSort, Segment, Site, UnixSocket, connections, serve,
};

/// A running server.
pub(crate) struct FlowServer {
    path: PathBuf,
    stopping: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl FlowServer {
    /// Serves `history` at `path`.
    pub(crate) fn start(path: &Path, history: Arc<History>) -> Self {
        let (stopping, stopped) = watch::channel(false);
        let (_peers, peers) = watch::channel(Arc::from([]));
        let version = "webb v0".to_owned();
        let site = Site {
            node: "node".into(),
            cluster: String::new(),
            version,
            started_ns: now_ns(),
            calls: Arc::default(),
            peers,
            stopping: stopped,
        };
        let (ready, is_ready) = std::sync::mpsc::channel();
        let socket_path = path.to_owned();
        let run = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let socket = UnixSocket::bind(&socket_path).await.unwrap();
                std::fs::set_permissions(&socket_path, std::fs::Permissions::from_mode(0o666)).unwrap();
                ready.send(()).unwrap();
                let connections = connections(Listener::Unix(socket), None, Arc::new(Admission::default()));
                serve(history, site, Box::pin(connections)).await.unwrap();
            });
        };
        let thread = std::thread::Builder::new().spawn(run).unwrap();
        is_ready.recv().unwrap();
        Self { path: path.to_owned(), stopping, thread: Some(thread) }
    }
}

impl Drop for FlowServer {
    fn drop(&mut self) {
        self.stopping.send_replace(true);
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() && !self.path.exists());
    }
}

/// Appends the flows and events of these lines.
pub(crate) fn load(history: &History, lines: &str) {
    let mut loader = Loader::new(history);
    for line in lines.lines() {
        loader.line(line.as_bytes()).unwrap();
    }
    loader.end();
}

/// A line with a flow: its number is its id, and its time in tenths of a second.
pub(crate) fn line(number: u64) -> String {
    let (minutes, seconds, tenth) = (number / 600 % 60, number / 10 % 60, number % 10);
    let time = format!("2126-01-01T{:02}:{minutes:02}:{seconds:02}.{tenth}Z", number / 36_000);
    format!(
        "{{\"flow\":{{\"time\":\"{time}\",\"uuid\":\"id-{number}\",\"verdict\":\"FORWARDED\",\
         \"event_type\":{{\"type\":4}},\"l4\":{{\"TCP\":{{\"destination_port\":80}}}},\"source\":{{\"pod_name\":\"a\"}}}}}}"
    )
}

/// Appends flows of these numbers, all at once.
pub(crate) fn push(history: &History, numbers: impl IntoIterator<Item = u64>) {
    load(history, &numbers.into_iter().map(line).collect::<Vec<_>>().join("\n"));
}

/// Appends a flow that is encoded so, right or wrong.
pub(crate) fn push_encoded(history: &History, encoded: Vec<u8>) {
    let event = Event::Flow(Flow::default());
    history.push(Segment { events: vec![event], encoded: vec![encoded.into()], ..Segment::default() }, now_ns());
}

/// Appends a notice of lost events that is encoded so.
pub(crate) fn push_lost(history: &History, encoded: Vec<u8>) {
    let other =
        Other { sort: OtherSort::Lost, message: encoded.into(), node_name: String::new(), time_ns: u64::MAX / 2 };
    history.push(
        Segment {
            events: vec![Event::Other(0)],
            others: vec![other],
            encoded: vec![Vec::new().into()],
            ..Segment::default()
        },
        now_ns(),
    );
}
