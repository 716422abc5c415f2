//! Requests and their answers.

use std::io::{self, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use rustls::{ServerConnection, StreamOwned};
use serde_json::{Value, json};

use super::crds;
use super::http::{self, Asked, Stream};
use super::leases;
use super::protobuf;
use super::store::{Id, KINDS};
use super::{Ending, Fault, Handshake, Lists, Protobuf, Seen, Shared, State, Streaming};

pub fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for socket in listener.incoming().map_while(Result::ok) {
        if shared.stopped.load(SeqCst) {
            return;
        }
        let shared = Arc::clone(shared);
        std::thread::spawn(move || connection(socket, &shared));
    }
}

fn connection(socket: TcpStream, shared: &Shared) {
    let handshake = shared.state().handshake;
    if handshake == Handshake::Broken {
        return;
    }
    socket.set_nodelay(true).unwrap();
    let stream = match &shared.identities {
        None => Stream::Plain(socket),
        Some((good, stranger)) => {
            let identity = if handshake == Handshake::Good { good } else { stranger };
            let session = ServerConnection::new(Arc::clone(&identity.server)).unwrap();
            Stream::Tls(Box::new(StreamOwned::new(session, socket)))
        }
    };
    let mut stream = BufReader::new(stream);
    while let Some(asked) = http::read(&mut stream) {
        // Connections that were there before do not survive it either.
        if shared.state().handshake != handshake {
            break;
        }
        // A client that has gone is no news.
        if request(&asked, stream.get_mut(), shared).is_err() || shared.stopped.load(SeqCst) {
            break;
        }
    }
    let _gone = stream.get_ref().socket().shutdown(Shutdown::Both);
}

fn broken() -> io::Error {
    io::ErrorKind::ConnectionAborted.into()
}

/// `v1.Status`.
fn status(code: u16, reason: &str, message: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
        "reason": reason, "code": code})
}

pub fn refuse(to: &mut Stream, code: u16, reason: &str, message: &str) -> io::Result<u16> {
    http::answer(to, code, "", status(code, reason, message).to_string().as_bytes())?;
    Ok(code)
}

/// Does what a test has planned; none if the request is answered as always after that.
fn fail(fault: &Fault, to: &mut Stream, shared: &Shared, note: impl Fn(u16)) -> Option<io::Result<()>> {
    match *fault {
        Fault::Close => Some(Err(broken())),
        Fault::Status(code) => {
            note(code);
            Some(refuse(to, code, "InternalError", "planned by a test").map(drop))
        }
        Fault::Throttle(seconds) => {
            note(429);
            let body = status(429, "TooManyRequests", "too many requests").to_string();
            Some(http::answer(to, 429, &format!("retry-after: {seconds}\r\n"), body.as_bytes()))
        }
        Fault::Late(time) => {
            std::thread::sleep(time);
            None
        }
        Fault::Held => {
            let held = |state: &mut State| !state.faults.is_empty() && !shared.stopped.load(SeqCst);
            drop(shared.changed.wait_while(shared.state(), held).unwrap());
            None
        }
        Fault::Half => {
            let begun = http::begin(to).and_then(|()| {
                http::chunk(to, br#"{"kind":"List","metadata":{"resourceVersion":"1"},"items":[{"meta"#)
            });
            Some(begun.and(Err(broken())))
        }
        Fault::Garbage => {
            note(200);
            Some(http::answer(to, 200, "", b"<html>welcome to the proxy</html>\n"))
        }
        Fault::AnotherObject => {
            note(200);
            Some(http::answer(to, 200, "", br#"{"kind":"Status","metadata":{},"status":"Success"}"#))
        }
        Fault::AnotherList => {
            note(200);
            let list =
                br#"{"kind":"ServiceList","metadata":{"resourceVersion":"1"},"items":[{"metadata":{"name":"x"}}]}"#;
            Some(http::answer(to, 200, "", list))
        }
        Fault::SameToken => {
            note(200);
            let list = br#"{"kind":"PodList","metadata":{"resourceVersion":"1","continue":"again"},"items":[]}"#;
            Some(http::answer(to, 200, "", list))
        }
    }
}

fn request(asked: &Asked, to: &mut Stream, shared: &Shared) -> io::Result<()> {
    let core = KINDS.iter().find(|(_, path, _)| *path == asked.path).map(|(kind, _, _)| (*kind).to_owned());
    // Single objects are asked for of one kind.
    let node = asked.path.strip_prefix("/api/v1/nodes/").map(str::to_owned);
    let core = core.or_else(|| node.is_some().then(|| "Node".to_owned()));
    let lease = leases::at(&asked.path);
    let core = core.or_else(|| lease.is_some().then(|| leases::KIND.to_owned()));
    let further = core.is_none().then(|| shared.state().further.at(&asked.path)).flatten();
    let (role, kind) = match (core, further) {
        (Some(kind), _) => (kind.clone(), Some(kind)),
        (None, Some(found)) => found,
        (None, None) => return crds::discover(asked, to, shared),
    };
    let Some(kind) = kind else {
        if shared.state().forbidden.contains(&role.as_str()) {
            return refuse(to, 403, "Forbidden", &format!("{role} is forbidden")).map(drop);
        }
        let known = shared.state().further.has_group(&role);
        return if known {
            refuse(to, 404, "NotFound", "the server could not find the requested resource").map(drop)
        } else {
            http::not_found(to)
        };
    };
    let kind = kind.as_str();
    let watch = asked.is("watch");
    let slot = {
        let mut state = shared.state();
        state.seen.push(Seen {
            kind: kind.to_owned(),
            watch,
            streaming: asked.is("sendInitialEvents"),
            metadata: asked.is_for_metadata(),
            protobuf: asked.is_for_protobuf(),
            name: node.clone(),
            fields: asked.get("fieldSelector").map(str::to_owned),
            gzip: asked.gzip,
            limit: asked.get("limit").and_then(|text| text.parse().ok()),
            version: asked.get("resourceVersion").map(str::to_owned),
            page: asked.get("continue").is_some(),
            credentials: asked.credentials.clone(),
            timeout: asked.get("timeoutSeconds").and_then(|text| text.parse().ok()),
            status: 0,
            at: Instant::now(),
        });
        state.seen.len() - 1
    };
    let note = |code| shared.state().seen[slot].status = code;
    if let Some(fault) = planned(kind, watch, shared)
        && let Some(outcome) = fail(&fault, to, shared, note)
    {
        return outcome;
    }
    let (known, forbidden) = admitted(asked, &role, shared);
    let protobuf = if asked.is_for_protobuf() { shared.state().protobuf } else { Protobuf::Unknown };
    let code = if !known {
        refuse(to, 401, "Unauthorized", "Unauthorized")?
    } else if forbidden {
        let message = format!("{kind} is forbidden: User \"it\" cannot list resource at the cluster scope");
        refuse(to, 403, "Forbidden", &message)?
    } else if protobuf == Protobuf::Refused {
        refuse(to, 406, "NotAcceptable", "only the following media types are accepted: application/json")?
    } else if protobuf == Protobuf::Broken {
        http::list(to, asked, http::PROTOBUF, b"k8s\0\x12\xff")?;
        200
    } else if let Some(lease) = lease {
        leases::answer(&lease, asked, to, shared)?
    } else if let Some(name) = node {
        one(kind, &name, to, shared)?
    } else if watch {
        return self::watch(kind, asked, to, shared, note);
    } else {
        list(kind, asked, to, shared)?
    };
    note(code);
    Ok(())
}

/// Whether the token is good, and whether the role does not cover this.
pub fn admitted(asked: &Asked, role: &str, shared: &Shared) -> (bool, bool) {
    let state = shared.state();
    let known =
        state.tokens.is_empty() || asked.token().is_some_and(|token| state.tokens.iter().any(|good| good == token));
    let starting = state.starting_until.is_some_and(|until| Instant::now() < until);
    (known, starting || state.forbidden.contains(&role))
}

pub fn planned(kind: &str, watch: bool, shared: &Shared) -> Option<Fault> {
    let mut state = shared.state();
    let fits = |fault: &super::Planned| {
        fault.times > 0 && fault.kind.is_none_or(|of| of == kind) && fault.watch.is_none_or(|of| of == watch)
    };
    let fault = state.faults.iter_mut().find(|fault| fits(fault))?;
    fault.times -= 1;
    Some(fault.fault.clone())
}

/// A version that is asked for: nothing and 0 stand for none in particular.
fn wanted(asked: &Asked) -> Option<u64> {
    asked.get("resourceVersion").and_then(|text| text.parse().ok()).filter(|version| *version > 0)
}

fn too_large(to: &mut Stream, wanted: u64, version: u64) -> io::Result<u16> {
    refuse(to, 504, "Timeout", &format!("Too large resource version: {wanted}, current: {version}"))
}

fn one(kind: &str, name: &str, to: &mut Stream, shared: &Shared) -> io::Result<u16> {
    let found = {
        let state = shared.state();
        state.store.at(kind, state.store.version).into_iter().find(|(id, _)| id.2 == name)
    };
    let Some((_, object)) = found else { return refuse(to, 404, "NotFound", &format!("{name} not found")) };
    http::answer(to, 200, "", object.to_string().as_bytes())?;
    Ok(200)
}

fn list(kind: &str, asked: &Asked, to: &mut Stream, shared: &Shared) -> io::Result<u16> {
    let state = shared.state();
    let newest = state.store.version;
    // The token says of which version the list is, and after which object the page begins.
    let token: Option<(u64, Id)> =
        asked.get("continue").map(|token| serde_json::from_str(token).expect("only our own tokens come back"));
    if let Some((version, _)) = token.as_ref().filter(|(version, _)| *version < state.store.compacted) {
        let message = format!("The provided continue parameter is too old: {version}");
        drop(state);
        return refuse(to, 410, "Expired", &message);
    }
    if let Some(wanted) = wanted(asked).filter(|wanted| *wanted > newest) {
        drop(state);
        return too_large(to, wanted, newest);
    }
    // Any version will do: that is what the cache has, all of it at once.
    let cached = token.is_none() && asked.get("resourceVersion") == Some("0");
    let (version, paged) = match (&token, state.lists) {
        (Some((version, _)), _) => (*version, true),
        (None, Lists::Cached) if cached => (newest, false),
        (None, Lists::CachedAt(version)) if cached => (version, false),
        (None, _) => (newest, true),
    };
    let mut objects = state.store.at(kind, version);
    drop(state);
    objects.retain(|(_, object)| asked.selects(object));
    let from = token.map_or(0, |(_, last)| objects.partition_point(|(id, _)| *id <= last));
    let rest = &objects[from..];
    let limit = asked.get("limit").and_then(|text| text.parse().ok()).filter(|limit| *limit > 0);
    let limit = limit.filter(|_| paged).unwrap_or(usize::MAX);
    let page = &rest[..limit.min(rest.len())];
    let mut metadata = json!({"resourceVersion": version.to_string()});
    if page.len() < rest.len() {
        metadata["continue"] = json!(json!([version, page.last().unwrap().0]).to_string());
        metadata["remainingItemCount"] = json!(rest.len() - page.len());
    }
    let items: Vec<Value> = page
        .iter()
        .map(|(_, object)| {
            if asked.is_for_metadata() {
                return metadata_of(object);
            }
            // Items of a list don't repeat what they are.
            let mut item = (**object).clone();
            let fields = item.as_object_mut().unwrap();
            fields.remove("kind");
            fields.remove("apiVersion");
            item
        })
        .collect();
    if asked.is_for_protobuf() && shared.state().protobuf == Protobuf::Known {
        http::list(to, asked, http::PROTOBUF, &protobuf::list(&metadata, items.iter().map(protobuf::pod)))?;
        return Ok(200);
    }
    if asked.is_for_protobuf() && shared.state().protobuf == Protobuf::Truncated {
        let list = protobuf::list(&metadata, items.iter().map(protobuf::pod));
        http::list(to, asked, http::PROTOBUF, &list[..list.len() / 2])?;
        return Ok(200);
    }
    // In the real one's order: what the list says of itself comes first.
    let (metadata, items) = (metadata.to_string(), json!(items).to_string());
    let kind = kind.split('.').next().unwrap_or(kind);
    let body = format!(r#"{{"kind":"{kind}List","apiVersion":"v1","metadata":{metadata},"items":{items}}}"#);
    http::list(to, asked, http::JSON, body.as_bytes())?;
    Ok(200)
}

fn line(what: &str, object: &Value) -> Vec<u8> {
    let mut line = json!({"type": what, "object": object}).to_string().into_bytes();
    line.push(b'\n');
    line
}

/// Writes an event.
type WriteEvent = fn(&str, &Value) -> Vec<u8>;

fn bookmark(kind: &str, version: u64, ending: bool, write: WriteEvent) -> Vec<u8> {
    let mut metadata = json!({"resourceVersion": version.to_string(), "creationTimestamp": null});
    if ending {
        metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
    }
    write("BOOKMARK", &json!({"kind": kind, "apiVersion": "v1", "metadata": metadata}))
}

/// An object without all that is particular to its kind.
fn metadata_of(object: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]})
}

/// Counts a watch as open for as long as it lives.
struct Open<'a>(&'a Shared);

impl<'a> Open<'a> {
    fn new(shared: &'a Shared) -> Self {
        shared.state().open_watches += 1;
        Self(shared)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.state().open_watches -= 1;
    }
}

fn watch(kind: &str, asked: &Asked, to: &mut Stream, shared: &Shared, note: impl Fn(u16)) -> io::Result<()> {
    let offered = shared.state().streaming;
    let in_protobuf = asked.is_for_protobuf() && shared.state().protobuf == Protobuf::Known;
    let (write, form): (WriteEvent, _) =
        if in_protobuf { (protobuf::event, http::PROTOBUF_WATCH) } else { (line, http::JSON) };
    let streaming = asked.is("sendInitialEvents") && offered != Streaming::Ignored;
    let (mut at, first, from_ending) = {
        let state = shared.state();
        let newest = state.store.version;
        let refusal = if streaming && offered == Streaming::Refused {
            let message = "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for watch unless the WatchList \
                           feature gate is enabled";
            Some((422, "Invalid", message.to_owned()))
        } else if streaming && asked.get("resourceVersionMatch") != Some("NotOlderThan") {
            Some((422, "Invalid", "resourceVersionMatch must be set to NotOlderThan with sendInitialEvents".to_owned()))
        } else if !asked.is("sendInitialEvents") && asked.get("resourceVersionMatch").is_some() {
            Some((422, "Invalid", "resourceVersionMatch is forbidden for watch".to_owned()))
        } else {
            None
        };
        let wanted = wanted(asked);
        let ending = state.endings.0;
        let compacted = state.store.compacted;
        let first = match wanted {
            Some(_) if !streaming => Vec::new(),
            _ => state.store.at(kind, newest),
        };
        drop(state);
        if let Some((code, reason, message)) = refusal {
            note(code);
            return refuse(to, code, reason, &message).map(drop);
        }
        if let Some(wanted) = wanted.filter(|wanted| streaming && *wanted > newest) {
            note(504);
            return too_large(to, wanted, newest).map(drop);
        }
        if let Some(wanted) = wanted.filter(|wanted| !streaming && *wanted < compacted) {
            // The real one says so within the answer, or before it: here by turns.
            let message = format!("too old resource version: {wanted} ({compacted})");
            if wanted % 2 == 0 {
                note(410);
                return refuse(to, 410, "Expired", &message).map(drop);
            }
            note(200);
            http::begin_in(to, form)?;
            http::chunk(to, &write("ERROR", &status(410, "Expired", &message)))?;
            return http::chunk(to, b"");
        }
        // A version of the future is taken without a word: nothing comes until the store is there.
        (wanted.filter(|_| !streaming).unwrap_or(newest), first, ending)
    };
    note(200);
    let _open = Open::new(shared);
    http::begin_in(to, form)?;
    let shown = |object: &Value| if asked.is_for_metadata() { metadata_of(object) } else { object.clone() };
    for (_, object) in first.into_iter().filter(|(_, object)| asked.selects(object)) {
        http::chunk(to, &write("ADDED", &shown(&object)))?;
    }
    let bookmarks = asked.is("allowWatchBookmarks");
    if streaming && bookmarks {
        http::chunk(to, &bookmark(kind, at, true, write))?;
    }
    let seconds = asked.get("timeoutSeconds").and_then(|text| text.parse().ok()).unwrap_or(1800);
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut bookmarked = Instant::now();
    loop {
        let (changes, version, every, ending) = {
            let state = shared.state();
            let idle = state.store.version <= at && state.endings.0 == from_ending;
            let state =
                if idle { shared.changed.wait_timeout(state, Duration::from_millis(20)).unwrap().0 } else { state };
            let (count, of, how) = state.endings;
            let ending = (count != from_ending && of.is_none_or(|of| of == kind)).then_some(how);
            (state.store.after(kind, at), state.store.version, state.bookmark_every, ending)
        };
        let mut lines = Vec::new();
        for change in changes.iter().filter(|change| asked.selects(&change.object)) {
            lines.extend(write(change.what, &shown(&change.object)));
        }
        if let Some(ending) = ending {
            if ending == Ending::AfterAll && !lines.is_empty() {
                http::chunk(to, &lines)?;
            }
            return end(kind, ending, to, write);
        }
        if to.is_left() {
            return Err(broken());
        }
        let known = version >= at;
        at = version.max(at);
        if !lines.is_empty() {
            http::chunk(to, &lines)?;
        }
        if bookmarks && known && bookmarked.elapsed() >= every {
            http::chunk(to, &bookmark(kind, at, false, write))?;
            bookmarked = Instant::now();
        }
        if Instant::now() >= until || shared.stopped.load(SeqCst) {
            return http::chunk(to, b"");
        }
    }
}

fn end(kind: &str, ending: Ending, to: &mut Stream, write: WriteEvent) -> io::Result<()> {
    match ending {
        Ending::InOrder | Ending::AfterAll => return http::chunk(to, b""),
        Ending::Abrupt => {}
        Ending::HalfObject => {
            let ghost = br#"{"type":"ADDED","object":{"kind":"Pod","metadata":{"name":"ghost","namespace":"default","#;
            http::chunk(to, ghost)?;
        }
        Ending::Error(code) => {
            http::chunk(
                to,
                &write("ERROR", &status(code, if code == 410 { "Expired" } else { "InternalError" }, "planned")),
            )?;
            return http::chunk(to, b"");
        }
        Ending::OlderBookmark => {
            http::chunk(to, &bookmark(kind, 1, false, write))?;
            return http::chunk(to, b"");
        }
        Ending::Garbage => {
            http::chunk(to, b"{\"type\":\"ADDED\",\"object\":}\n")?;
            return http::chunk(to, b"");
        }
    }
    to.flush()?;
    Err(broken())
}
