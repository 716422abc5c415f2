//! An API server that counts what it sends, and makes its objects while it sends them. It holds
//! none of them: what a process with it holds is the agent's.

#![allow(clippy::disallowed_methods, reason = "a server's threads belong to no component")]

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use super::objects::{Cluster, VERSION};
use super::time::{Event, Time};
use super::{PODS, protobuf};

/// Time between two bookmarks of a watch.
const BOOKMARKS: Duration = Duration::from_mins(1);

/// Answer to the first request for a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lists {
    /// A watch that begins with all objects.
    Streamed,
    /// It refuses that, and lists.
    Whole,
}

/// The form of pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pods {
    Json,
    Protobuf,
}

/// Requests, bytes of all answers and of the largest one, by what was asked for.
#[derive(Debug, Clone, Default)]
pub(super) struct Traffic(BTreeMap<String, (usize, usize, usize)>);

impl Traffic {
    pub(super) fn requests(&self, what: &str) -> usize {
        self.0.get(what).map_or(0, |(requests, ..)| *requests)
    }

    pub(super) fn all_requests(&self) -> usize {
        self.0.values().map(|(requests, ..)| requests).sum()
    }

    pub(super) fn all_bytes(&self) -> usize {
        self.0.values().map(|(_, bytes, _)| bytes).sum()
    }

    pub(super) fn bytes(&self, of: &[&str]) -> usize {
        of.iter().filter_map(|what| self.0.get(*what)).map(|(_, bytes, _)| bytes).sum()
    }

    pub(super) fn largest(&self, what: &str) -> usize {
        self.0.get(what).map_or(0, |(_, _, largest)| *largest)
    }
}

/// Counts of the traffic of several agents, by what was asked for.
type Counts = Mutex<Traffic>;

/// What a connection serves.
struct Served {
    cluster: Cluster,
    lists: Lists,
    pods: Pods,
    time: Arc<Time>,
    traffic: Counts,
}

/// The server. Its watches end with it, its threads with the agent.
pub(super) struct Server {
    served: Arc<Served>,
    scratch: tempfile::TempDir,
}

impl Server {
    pub(super) fn start(cluster: Cluster, lists: Lists, pods: Pods, time: Arc<Time>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (scratch, address) = (tempfile::tempdir().unwrap(), listener.local_addr().unwrap());
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: it\n\
             clusters: [{{name: it, cluster: {{server: 'http://{address}'}}}}]\nusers: [{{name: it, user: {{}}}}]\n\
             contexts: [{{name: it, context: {{cluster: it, user: it}}}}]\n"
        );
        std::fs::write(scratch.path().join("kubeconfig"), text).unwrap();
        let served = Arc::new(Served { cluster, lists, pods, time, traffic: Counts::default() });
        let serving = Arc::clone(&served);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let serving = Arc::clone(&serving);
                std::thread::spawn(move || drop(serve(&stream, &serving)));
            }
        });
        Self { served, scratch }
    }

    pub(super) fn kubeconfig(&self) -> PathBuf {
        self.scratch.path().join("kubeconfig")
    }

    pub(super) fn cluster(&self) -> Cluster {
        self.served.cluster
    }

    pub(super) fn traffic(&self) -> Traffic {
        self.served.traffic.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.served.time.end();
    }
}

/// Counts what is written.
struct Counted<'a> {
    to: BufWriter<&'a TcpStream>,
    traffic: &'a Counts,
    name: String,
    /// Bytes of this answer.
    bytes: usize,
}

impl<'a> Counted<'a> {
    fn new(stream: &'a TcpStream, traffic: &'a Counts, name: String) -> Self {
        traffic.lock().unwrap().0.entry(name.clone()).or_default().0 += 1;
        Self { to: BufWriter::with_capacity(16 << 10, stream), traffic, name, bytes: 0 }
    }
}

impl Write for Counted<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let written = self.to.write(data)?;
        self.bytes += written;
        let mut traffic = self.traffic.lock().unwrap();
        let (_, all, largest) = traffic.0.get_mut(&self.name).unwrap();
        (*all, *largest) = (*all + written, self.bytes.max(*largest));
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// A request, as far as it is read.
struct Request {
    path: String,
    query: String,
    metadata: bool,
    protobuf: bool,
    gzip: bool,
}

impl Request {
    fn has(&self, parameter: &str) -> bool {
        self.query.split('&').any(|pair| pair == parameter || pair.split('=').next() == Some(parameter))
    }

    fn kind(&self) -> &'static str {
        match self.path.rsplit('/').next().unwrap_or_default() {
            "pods" => "Pod",
            "nodes" => "Node",
            "endpointslices" => "EndpointSlice",
            "services" => "Service",
            "namespaces" => "Namespace",
            _ => "NetworkPolicy",
        }
    }

    /// Number that a parameter has.
    fn number(&self, parameter: &str) -> Option<usize> {
        let mut pairs = self.query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(name, _)| *name == parameter).map(|(_, value)| value.parse().unwrap())
    }

    fn event(&self, what: &str, object: &Value) -> Vec<u8> {
        if self.protobuf {
            return protobuf::event(what, object);
        }
        format!("{}\n", json!({"type": what, "object": object})).into_bytes()
    }

    /// What was asked for, in the words of a table.
    fn name(&self) -> String {
        let plural = self.path.rsplit('/').next().unwrap_or_default();
        if self.path.starts_with("/api/v1/nodes/") {
            return "one node".to_owned();
        }
        let form = match () {
            () if self.metadata => "metadata",
            () if self.has("watch") && self.has("fieldSelector") => "watched of one node",
            () if self.has("watch") => "watched",
            () if self.has("fieldSelector") => "of one node",
            () => "listed",
        };
        format!("{plural}, {form}")
    }
}

fn serve(stream: &TcpStream, served: &Served) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut lines = BufReader::new(stream).lines();
    while let Some(first) = lines.next().transpose()? {
        let target = first.split(' ').nth(1).unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let (path, query) = (path.to_owned(), query.to_owned());
        let mut request = Request { path, query, metadata: false, protobuf: false, gzip: false };
        while let Some(header) = lines.next().transpose()?.filter(|header| !header.is_empty()) {
            let header = header.to_ascii_lowercase();
            request.metadata |= header.starts_with("accept:") && header.contains("partialobjectmetadata");
            request.protobuf |=
                served.pods == Pods::Protobuf && header.starts_with("accept:") && header.contains("protobuf");
            request.gzip |= header.starts_with("accept-encoding:") && header.contains("gzip");
        }
        let mut to = Counted::new(stream, &served.traffic, request.name());
        served.time.begin_answer();
        let answered = answer(&request, served, &mut to).and_then(|is_watch| to.flush().map(|()| is_watch));
        served.time.end_answer();
        if let Some(since) = answered? {
            watch(&request, served, since, &mut to)?;
            to.flush()?;
        }
    }
    Ok(())
}

/// Answers. Of a watch these are the headers and the first list; behind them are the events after
/// the returned one.
fn answer(request: &Request, served: &Served, to: &mut Counted<'_>) -> io::Result<Option<usize>> {
    if request.path == "/apis" {
        return whole(to, "200 OK", &json!({"kind": "APIGroupDiscoveryList", "items": []})).map(|()| None);
    }
    if request.path.starts_with("/api/v1/nodes/") {
        assert!(!request.metadata, "one Node, the own one, is read whole");
        return whole(to, "200 OK", &Cluster::node(0)).map(|()| None);
    }
    let cluster = served.cluster;
    let kind = request.kind();
    let count = match kind {
        "Pod" => cluster.pods,
        "Node" => cluster.nodes,
        _ => 0,
    };
    let is_list = !request.has("watch") || request.has("sendInitialEvents");
    assert!(kind != "Pod" || !is_list || served.time.now().events == 0, "lists have the first pods only");
    let object = |number: usize| {
        let whole = if kind == "Pod" { cluster.pod(number) } else { Cluster::node(number) };
        if request.metadata { json!({"kind": "PartialObjectMetadata", "metadata": whole["metadata"]}) } else { whole }
    };
    let numbers = (0..count).step_by(if request.has("fieldSelector") { cluster.nodes } else { 1 });
    if request.has("watch") {
        return begin_watch(request, served.lists, numbers.map(object), to);
    }
    let (most, remaining) = if request.has("limit=1") { (1, count.saturating_sub(1)) } else { (count, 0) };
    let metadata = json!({"resourceVersion": VERSION.to_string(), "remainingItemCount": remaining});
    // Long lists are compressed, as the real one does with those of more than 128 KiB.
    let encoding = if request.gzip && most.min(numbers.len()) >= PODS { "content-encoding: gzip\r\n" } else { "" };
    let form = if request.protobuf { "application/vnd.kubernetes.protobuf" } else { "application/json" };
    write!(to, "HTTP/1.1 200 OK\r\ncontent-type: {form}\r\n{encoding}transfer-encoding: chunked\r\n\r\n")?;
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    let mut part = |data: &[u8]| {
        if encoding.is_empty() {
            return chunk(to, data);
        }
        gzip.write_all(data)?;
        chunk(to, &std::mem::take(gzip.get_mut()))
    };
    if request.protobuf {
        // Made twice: the length of all comes first.
        let items = || numbers.clone().take(most).map(|number| protobuf::item(&protobuf::pod(&object(number))));
        part(&protobuf::list_head(&metadata, items().map(|item| item.len()).sum()))?;
        items().try_for_each(|item| part(&item))?;
        part(protobuf::LIST_END)?;
    } else {
        part(format!(r#"{{"kind":"{kind}List","apiVersion":"v1","metadata":{metadata},"items":["#).as_bytes())?;
        for (at, number) in numbers.take(most).enumerate() {
            let comma = if at > 0 { "," } else { "" };
            part(format!("{comma}{}", object(number)).as_bytes())?;
        }
        part(b"]}\n")?;
    }
    if !encoding.is_empty() {
        chunk(to, &gzip.finish()?)?;
    }
    to.write_all(b"0\r\n\r\n").map(|()| None)
}

/// Begins a watch, with a list if that is asked for, and returns the event that it is after.
fn begin_watch(
    request: &Request,
    lists: Lists,
    objects: impl Iterator<Item = Value>,
    to: &mut Counted<'_>,
) -> io::Result<Option<usize>> {
    let is_streamed = request.has("sendInitialEvents");
    if is_streamed && lists == Lists::Whole {
        let status = json!({"kind": "Status", "status": "Failure", "reason": "Invalid", "message": "", "code": 422});
        return whole(to, "422 Unprocessable Entity", &status).map(|()| None);
    }
    let form = if request.protobuf { "application/vnd.kubernetes.protobuf;stream=watch" } else { "application/json" };
    write!(to, "HTTP/1.1 200 OK\r\ncontent-type: {form}\r\ntransfer-encoding: chunked\r\n\r\n")?;
    if is_streamed {
        for object in objects {
            chunk(to, &request.event("ADDED", &object))?;
        }
        let end = json!({"resourceVersion": VERSION.to_string(), "annotations": {"k8s.io/initial-events-end": "true"}});
        chunk(to, &request.event("BOOKMARK", &json!({"kind": request.kind(), "metadata": end})))?;
    }
    // An event's version is behind the one before it, of whatever kind.
    Ok(Some(request.number("resourceVersion").map_or(0, |version| version - VERSION)))
}

/// Sends what happens after an event, until the time of the watch is over.
fn watch(request: &Request, served: &Served, mut at: usize, to: &mut Counted<'_>) -> io::Result<()> {
    let kind = request.kind();
    let (cluster, time) = (served.cluster, &served.time);
    let ends = time.now().time + Duration::from_secs(request.number("timeoutSeconds").unwrap_or(300) as u64);
    let mut next_bookmark = time.now().time + BOOKMARKS;
    loop {
        let now = time.wait(at, ends.min(next_bookmark));
        let mut sent = 0;
        for number in at..now.events {
            let (Event { pod, step }, version) = (time.event(number), VERSION + number + 1);
            let event = match kind {
                "Pod" if request.has("fieldSelector") => cluster.step_of_node(pod, step, version),
                "Pod" => Some(cluster.step(pod, step, version)),
                _ => None,
            };
            if let Some((what, pod)) = event {
                chunk(to, &request.event(what, &pod))?;
                sent += 1;
            }
        }
        at = now.events;
        if now.time >= next_bookmark {
            next_bookmark += BOOKMARKS;
            let metadata = json!({"resourceVersion": (VERSION + at).to_string()});
            chunk(to, &request.event("BOOKMARK", &json!({"kind": kind, "metadata": metadata})))?;
        }
        to.flush()?;
        if kind == "Pod" {
            time.pass(at, sent);
        }
        if now.time >= ends || now.is_over {
            return to.write_all(b"0\r\n\r\n");
        }
    }
}

fn whole(to: &mut impl Write, status: &str, body: &Value) -> io::Result<()> {
    let body = body.to_string();
    write!(to, "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

fn chunk(to: &mut impl Write, data: &[u8]) -> io::Result<()> {
    if data.is_empty() {
        return Ok(());
    }
    write!(to, "{:x}\r\n", data.len())?;
    to.write_all(data)?;
    to.write_all(b"\r\n")
}
