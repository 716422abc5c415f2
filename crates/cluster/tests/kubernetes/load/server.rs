//! An API server that counts what it sends, and makes its objects while it sends them.

#![allow(clippy::disallowed_methods, reason = "a server's threads belong to no component")]

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use super::objects::Cluster;
use crate::kube_api::protobuf;

/// The version of everything.
pub(super) const VERSION: &str = "41000";

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

    pub(super) fn bytes(&self, of: &[&str]) -> usize {
        of.iter().filter_map(|what| self.0.get(*what)).map(|(_, bytes, _)| bytes).sum()
    }

    pub(super) fn largest(&self, what: &str) -> usize {
        self.0.get(what).map_or(0, |(_, _, largest)| *largest)
    }
}

/// The server. Its threads end with the process.
pub(super) struct Server {
    traffic: Arc<Mutex<Traffic>>,
    scratch: tempfile::TempDir,
}

impl Server {
    pub(super) fn start(cluster: Cluster, lists: Lists, pods: Pods) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (scratch, address) = (tempfile::tempdir().unwrap(), listener.local_addr().unwrap());
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: it\n\
             clusters: [{{name: it, cluster: {{server: 'http://{address}'}}}}]\nusers: [{{name: it, user: {{}}}}]\n\
             contexts: [{{name: it, context: {{cluster: it, user: it}}}}]\n"
        );
        std::fs::write(scratch.path().join("kubeconfig"), text).unwrap();
        let traffic = Arc::new(Mutex::new(Traffic::default()));
        let counted = Arc::clone(&traffic);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let counted = Arc::clone(&counted);
                std::thread::spawn(move || drop(serve(&stream, cluster, (lists, pods), &counted)));
            }
        });
        Self { traffic, scratch }
    }

    pub(super) fn kubeconfig(&self) -> PathBuf {
        self.scratch.path().join("kubeconfig")
    }

    pub(super) fn traffic(&self) -> Traffic {
        self.traffic.lock().unwrap().clone()
    }
}

/// Counts what is written.
struct Counted<'a> {
    to: BufWriter<&'a TcpStream>,
    bytes: usize,
}

impl Write for Counted<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let written = self.to.write(data)?;
        self.bytes += written;
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

    /// What was asked for, in the words of a table.
    fn name(&self) -> String {
        let plural = self.path.rsplit('/').next().unwrap_or_default();
        if self.path.starts_with("/api/v1/nodes/") {
            return "one node".to_owned();
        }
        let form = match () {
            () if self.metadata => "metadata",
            () if self.has("watch") => "watched",
            () if self.has("fieldSelector") => "of one node",
            () => "listed",
        };
        format!("{plural}, {form}")
    }
}

fn serve(
    stream: &TcpStream,
    cluster: Cluster,
    (lists, pods): (Lists, Pods),
    traffic: &Mutex<Traffic>,
) -> io::Result<()> {
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
            request.protobuf |= pods == Pods::Protobuf && header.starts_with("accept:") && header.contains("protobuf");
            request.gzip |= header.starts_with("accept-encoding:") && header.contains("gzip");
        }
        let mut to = Counted { to: BufWriter::with_capacity(64 << 10, stream), bytes: 0 };
        let watched = answer(&request, cluster, lists, &mut to)?;
        to.flush()?;
        let bytes = to.bytes;
        {
            let mut traffic = traffic.lock().unwrap();
            let (requests, all, largest) = traffic.0.entry(request.name()).or_default();
            (*requests, *all, *largest) = (*requests + 1, *all + bytes, bytes.max(*largest));
        }
        if watched {
            // Nothing changes until the agent goes.
            return io::copy(&mut &*stream, &mut io::sink()).map(drop);
        }
    }
    Ok(())
}

/// Answers; true if it is a watch, which stays open.
fn answer(request: &Request, cluster: Cluster, lists: Lists, to: &mut Counted<'_>) -> io::Result<bool> {
    if request.path == "/apis" {
        whole(to, "200 OK", &json!({"kind": "APIGroupDiscoveryList", "items": []}))?;
        return Ok(false);
    }
    let one_node = request.path.strip_prefix("/api/v1/nodes/").is_some();
    if one_node {
        whole(to, "200 OK", &Cluster::node(0))?;
        return Ok(false);
    }
    let (kind, count) = match request.path.rsplit('/').next().unwrap_or_default() {
        "pods" => ("Pod", cluster.pods),
        "nodes" => ("Node", cluster.nodes),
        "endpointslices" => ("EndpointSlice", 0),
        "services" => ("Service", 0),
        "namespaces" => ("Namespace", 0),
        _ => ("NetworkPolicy", 0),
    };
    let object = |number: usize| {
        let whole = if kind == "Pod" { cluster.pod(number) } else { Cluster::node(number) };
        if request.metadata { json!({"kind": "PartialObjectMetadata", "metadata": whole["metadata"]}) } else { whole }
    };
    let streamed = request.has("sendInitialEvents");
    if streamed && lists == Lists::Whole {
        let status = json!({"kind": "Status", "status": "Failure", "reason": "Invalid", "message": "", "code": 422});
        whole(to, "422 Unprocessable Entity", &status)?;
        return Ok(false);
    }
    if request.has("watch") {
        let form =
            if request.protobuf { "application/vnd.kubernetes.protobuf;stream=watch" } else { "application/json" };
        write!(to, "HTTP/1.1 200 OK\r\ncontent-type: {form}\r\ntransfer-encoding: chunked\r\n\r\n")?;
        let line = |what: &str, object: &Value| format!("{}\n", json!({"type": what, "object": object})).into_bytes();
        let event = |what: &str, object: &Value| {
            if request.protobuf { protobuf::event(what, object) } else { line(what, object) }
        };
        if streamed {
            for number in 0..count {
                chunk(to, &event("ADDED", &object(number)))?;
            }
            let end = json!({"resourceVersion": VERSION, "annotations": {"k8s.io/initial-events-end": "true"}});
            chunk(to, &event("BOOKMARK", &json!({"kind": kind, "metadata": end})))?;
        }
        return Ok(true);
    }
    let numbers: Vec<usize> = if request.has("limit=1") {
        (0..count.min(1)).collect()
    } else if request.has("fieldSelector") {
        (0..count).step_by(cluster.nodes).collect()
    } else {
        (0..count).collect()
    };
    let remaining = count - if request.has("limit=1") { numbers.len() } else { count };
    let metadata = json!({"resourceVersion": VERSION, "remainingItemCount": remaining});
    // Long lists are compressed, as the real one does with those of more than 128 KiB.
    let encoding = if request.gzip && numbers.len() > 30 { "content-encoding: gzip\r\n" } else { "" };
    let form = if request.protobuf { "application/vnd.kubernetes.protobuf" } else { "application/json" };
    write!(to, "HTTP/1.1 200 OK\r\ncontent-type: {form}\r\n{encoding}transfer-encoding: chunked\r\n\r\n")?;
    if request.protobuf {
        let list = protobuf::list(&metadata, numbers.into_iter().map(|number| protobuf::pod(&object(number))));
        if encoding.is_empty() {
            chunk(to, &list)?;
        } else {
            let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
            gzip.write_all(&list)?;
            chunk(to, &gzip.finish()?)?;
        }
        to.write_all(b"0\r\n\r\n")?;
        return Ok(false);
    }
    let head = format!(r#"{{"kind":"{kind}List","apiVersion":"v1","metadata":{metadata},"items":["#);
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    let mut plain = |data: &str, to: &mut Counted<'_>| {
        if encoding.is_empty() {
            return chunk(to, data.as_bytes());
        }
        gzip.write_all(data.as_bytes())?;
        let ready = std::mem::take(gzip.get_mut());
        if ready.is_empty() { Ok(()) } else { chunk(to, &ready) }
    };
    plain(&head, to)?;
    for (at, number) in numbers.into_iter().enumerate() {
        let comma = if at > 0 { "," } else { "" };
        plain(&format!("{comma}{}", object(number)), to)?;
    }
    plain("]}\n", to)?;
    if !encoding.is_empty() {
        chunk(to, &gzip.finish()?)?;
    }
    to.write_all(b"0\r\n\r\n")?;
    Ok(false)
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
