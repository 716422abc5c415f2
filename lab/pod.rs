//! What runs inside the lab's pods: a small HTTP server, its client, and a port forwarder between
//! namespaces.
//!
//! One file without dependencies, so that `lab/lab` can build it in a second with the `rustc` that
//! the project needs anyway. A busybox or socat server would be one more package, answer a POST
//! badly, and put packets on the wire that differ from version to version; the live tests count
//! packets, so the client and the server here always make the same ones: one connection per
//! request, closed by the server first.

use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const HELP: &str = "\
usage: pod serve PORT                            HTTP on TCP and echo on UDP, IPv4 and IPv6
       pod names PORT                            DNS on UDP: the Service deathstar has an address, all else does not exist
       pod land [OPTIONS] ADDR:PORT...           POST /v1/request-landing to each address in turn
           --rounds N       how often (default 1)
           --every MS       pause between two requests (default 0)
           --timeout MS     for connecting and for the answer (default 2000)
           --request TEXT   instead of that method and path, or path
       pod call [OPTIONS] ADDR:PORT...           the same with a gRPC call of /deathstar.Port/Land
       pod ask [OPTIONS] ADDR:PORT...            the same with one UDP datagram, waits for its echo
       pod resolve NAME [OPTIONS] ADDR:PORT...   the same with a DNS query for the name's IPv4 address
       pod flood PACKETS PORTS ADDR              as many datagrams as fast as it can, to PORTS ports from 20000
       pod forward LISTEN NAMESPACE TARGET       TCP connections to LISTEN here go to TARGET in NAMESPACE
`land`, `call`, `ask` and `resolve` exit with 0 if every request was answered well, 1 if some were not, and say how many.";

const LANDING: &str = "POST /v1/request-landing";
const CALL: &str = "/deathstar.Port/Land";

/// The call that the deathstar cannot take, and gRPC's status UNAVAILABLE for it.
const EXHAUST: (&str, &str) = ("/deathstar.Port/Exhaust", "14");

/// Work of the server on the request that the deathstar cannot take.
const EXHAUSTED_AFTER: Duration = Duration::from_millis(30);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["serve", port] => serve(port).map(|()| true),
        ["names", port] => names(port).map(|()| true),
        ["land", rest @ ..] => repeat(rest, LANDING, land),
        ["call", rest @ ..] => repeat(rest, CALL, call),
        ["ask", rest @ ..] => repeat(rest, "", ask),
        ["resolve", name, rest @ ..] => repeat(rest, name, resolve),
        ["flood", packets, ports, address] => flood(packets, ports, address).map(|()| true),
        ["forward", listen, namespace, target] => forward(listen, namespace, target),
        // The half of `forward` that lives in the namespace: its standard input is the listening
        // socket.
        ["accept", target] => accept(target).map(|()| true),
        _ => Err(invalid(HELP)),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "pod {}: {error}", words.join(" "));
            ExitCode::from(2)
        }
    }
}

fn invalid(text: &str) -> Error {
    Error::new(ErrorKind::InvalidInput, text)
}

/// `[::]` takes IPv4 too. A thread per connection: the lab's clients are few and close soon.
fn serve(port: &str) -> Result<()> {
    let tcp = TcpListener::bind(format!("[::]:{port}"))?;
    let udp = UdpSocket::bind(format!("[::]:{port}"))?;
    // The parent process waits for this line; `forward` prints it too.
    writeln!(std::io::stdout(), "listening on port {port}")?;
    thread::spawn(move || {
        let mut datagram = [0; 2048];
        while let Ok((length, from)) = udp.recv_from(&mut datagram) {
            let _ = udp.send_to(datagram.get(..length).unwrap_or_default(), from);
        }
    });
    for stream in tcp.incoming().flatten() {
        thread::spawn(move || answer(stream));
    }
    Ok(())
}

fn answer(mut stream: TcpStream) -> Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let head = read_until(&mut stream, |text| text.contains("\r\n\r\n"))?;
    if head.starts_with(PREFACE) {
        answer_call(&mut stream, &head)?;
        stream.shutdown(Shutdown::Write)?;
        return read_until(&mut stream, |_| false).map(drop);
    }
    let (status, body) = if head.strip_prefix(LANDING).is_some_and(|rest| rest.starts_with(' ')) {
        ("200 OK", "Ship landed\n")
    } else if head.starts_with("PUT /v1/exhaust-port ") {
        thread::sleep(EXHAUSTED_AFTER);
        ("503 Service Unavailable", "Panic: deathstar exploded\n")
    } else {
        ("404 Not Found", "This is the deathstar. POST /v1/request-landing\n")
    };
    let length = body.len();
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")?;
    stream.shutdown(Shutdown::Write)?;
    // Waits for the client's FIN, so that the connection always ends the same way and never with a
    // reset.
    read_until(&mut stream, |_| false).map(drop)
}

/// Reads until `enough` says so, the other side closes, or 64 KiB have come.
fn read_until(stream: &mut TcpStream, enough: impl Fn(&str) -> bool) -> Result<String> {
    let mut text = String::new();
    let mut part = [0; 4096];
    while !enough(&text) && text.len() < 65_536 {
        let length = stream.read(&mut part)?;
        if length == 0 {
            break;
        }
        text.push_str(&String::from_utf8_lossy(part.get(..length).unwrap_or_default()));
    }
    Ok(text)
}

/// Sends `one` request to each address, round after round, and tells how many were answered.
fn repeat(words: &[&str], what: &str, one: fn(SocketAddr, Duration, &str) -> Result<()>) -> Result<bool> {
    let (mut rounds, mut every, mut timeout, mut what) = (1, 0, 2000, what);
    let mut addresses: Vec<SocketAddr> = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut number = || words.next().and_then(|text| text.parse().ok()).ok_or_else(|| invalid(HELP));
        match *word {
            "--rounds" => rounds = number()?,
            "--every" => every = number()?,
            "--timeout" => timeout = number()?,
            "--request" => what = words.next().ok_or_else(|| invalid(HELP))?,
            address => addresses.push(address.parse().map_err(|_| invalid("ADDR:PORT or [ADDR]:PORT expected"))?),
        }
    }
    let (mut answered, mut failed, mut last) = (0_u64, 0_u64, None);
    for _ in 0..rounds {
        for address in &addresses {
            let started = Instant::now();
            match one(*address, Duration::from_millis(timeout), what) {
                Ok(()) => answered += 1,
                Err(error) => {
                    failed += 1;
                    last = Some(format!("{address}: {error}"));
                }
            }
            thread::sleep(Duration::from_millis(every).saturating_sub(started.elapsed()));
        }
    }
    let why = last.map_or_else(String::new, |text| format!("; last: {text}"));
    let _ = writeln!(std::io::stdout(), "answered {answered}, not answered {failed}{why}");
    Ok(failed == 0)
}

fn land(address: SocketAddr, timeout: Duration, request: &str) -> Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    write!(stream, "{request} HTTP/1.1\r\nHost: deathstar\r\nContent-Length: 0\r\n\r\n")?;
    let text = read_until(&mut stream, |_| false)?;
    if text.starts_with("HTTP/1.1 200 ") { Ok(()) } else { Err(invalid(text.lines().next().unwrap_or("no answer"))) }
}

/// What an HTTP/2 client says first.
const PREFACE: &str = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame of HTTP/2, of at most 255 bytes.
fn frame(of: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap_or_default();
    [&[0, 0, length, of, flags, 0, 0, 0, stream], payload].concat()
}

/// A text of HPACK, not compressed.
fn text(text: &str) -> Vec<u8> {
    [&[u8::try_from(text.len()).unwrap_or_default()], text.as_bytes()].concat()
}

/// Types and flags of frames, and the first bytes of headers in HPACK: what stands in its static
/// table, and what is written out.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const CONTENT_TYPE: [u8; 2] = [0x0f, 0x10];

/// An empty message of gRPC.
const MESSAGE: [u8; 5] = [0; 5];

fn call(address: SocketAddr, timeout: Duration, path: &str) -> Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    // POST, http, the path, the authority, the content's type, and that trailers are welcome.
    let head = [
        &[0x83, 0x86, 0x04],
        text(path).as_slice(),
        &[0x01],
        &text("deathstar"),
        &CONTENT_TYPE,
        &text("application/grpc"),
        &[0x00],
        &text("te"),
        &text("trailers"),
    ]
    .concat();
    let all = [
        PREFACE.as_bytes(),
        &frame(SETTINGS, 0, 0, &[]),
        &frame(HEADERS, END_HEADERS, 1, &head),
        &frame(DATA, END_STREAM, 1, &MESSAGE),
    ];
    stream.write_all(&all.concat())?;
    let answer = read_until(&mut stream, |_| false)?;
    if answer.contains("grpc-status\u{1}0") { Ok(()) } else { Err(invalid("the call failed")) }
}

/// One call is on each connection, and all of it came at once.
fn answer_call(stream: &mut TcpStream, asked: &str) -> Result<()> {
    let status = if asked.contains(EXHAUST.0) { EXHAUST.1 } else { "0" };
    let head = [&[0x88], CONTENT_TYPE.as_slice(), &text("application/grpc")].concat();
    let trailers = [&[0x00], text("grpc-status").as_slice(), &text(status)].concat();
    let all = [
        frame(SETTINGS, 0, 0, &[]),
        frame(HEADERS, END_HEADERS, 1, &head),
        frame(DATA, 0, 1, &MESSAGE),
        frame(HEADERS, END_HEADERS | END_STREAM, 1, &trailers),
    ];
    stream.write_all(&all.concat())
}

fn ask(address: SocketAddr, timeout: Duration, _: &str) -> Result<()> {
    exchange(address, timeout, b"hail").map(drop)
}

/// Sends a datagram and waits for the first that comes back.
fn exchange(address: SocketAddr, timeout: Duration, datagram: &[u8]) -> Result<Vec<u8>> {
    let socket = UdpSocket::bind(if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
    socket.connect(address)?;
    socket.set_read_timeout(Some(timeout))?;
    socket.send(datagram)?;
    let mut answer = vec![0; 512];
    let length = socket.recv(&mut answer)?;
    answer.truncate(length);
    Ok(answer)
}

/// The only name that the lab's DNS server knows, and its address.
const KNOWN: (&str, [u8; 4]) = ("deathstar.default.svc.cluster.local", [10, 96, 23, 45]);

/// Bytes of the header of a DNS message.
const DNS_HEADER: usize = 12;

/// The question for the IPv4 address of a name.
fn question(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len()).unwrap_or_default());
        bytes.extend(label.as_bytes());
    }
    // The root, type A, class IN.
    bytes.extend([0, 0, 1, 0, 1]);
    bytes
}

fn resolve(address: SocketAddr, timeout: Duration, name: &str) -> Result<()> {
    // An id, recursion desired, one question.
    let header = [0x77, 0x65, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    let answer = exchange(address, timeout, &[&header, question(name).as_slice()].concat())?;
    match answer.get(3).map(|flags| flags & 15) {
        Some(0) => Ok(()),
        Some(3) => Err(Error::new(ErrorKind::NotFound, format!("{name} does not exist"))),
        _ => Err(invalid("no DNS answer")),
    }
}

/// A DNS server for messages with one question and nothing else, as `resolve` makes them.
fn names(port: &str) -> Result<()> {
    let socket = UdpSocket::bind(format!("[::]:{port}"))?;
    writeln!(std::io::stdout(), "listening on port {port}")?;
    let mut datagram = [0; 512];
    loop {
        let (length, from) = socket.recv_from(&mut datagram)?;
        let Some((header, asked)) = datagram.get(..length).and_then(|bytes| bytes.split_at_checked(DNS_HEADER)) else {
            continue;
        };
        let found = asked == question(KNOWN.0);
        let mut answer = header.to_vec();
        // A response, recursion available; no error, or no such name; the number of answers.
        answer.splice(2..8, [0x81, if found { 0x80 } else { 0x83 }, 0, 1, 0, u8::from(found)]);
        answer.extend(asked);
        if found {
            // The name of the question, A, IN, 30 s, four bytes.
            answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 30, 0, 4]);
            answer.extend(KNOWN.1);
        }
        let _ = socket.send_to(&answer, from);
    }
}

/// Each port makes a connection of its own in each table of connections. 22 bytes: with the
/// IPv4 and UDP headers a frame of 64, checksum aside.
fn flood(packets: &str, ports: &str, address: &str) -> Result<()> {
    let packets: u32 = packets.parse().map_err(|_| invalid(HELP))?;
    let ports: u16 = ports.parse().map_err(|_| invalid(HELP))?;
    let address: IpAddr = address.parse().map_err(|_| invalid(HELP))?;
    let socket = UdpSocket::bind(if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
    let targets = (0..ports).cycle().map(|port| SocketAddr::new(address, 20_000 + port));
    let sent = targets.take(packets as usize).filter(|target| socket.send_to(&[0; 22], target).is_ok()).count();
    writeln!(std::io::stdout(), "sent {sent}")
}

/// A socket belongs to the namespace that it was made in: it is bound here and
/// handed, as standard input, to a copy of this program that runs in the namespace and connects
/// from there.
fn forward(listen: &str, namespace: &str, target: &str) -> Result<bool> {
    let listener = TcpListener::bind(listen)?;
    writeln!(std::io::stdout(), "listening on {listen}")?;
    let this = std::env::current_exe()?;
    let mut child = Command::new("ip");
    child.args(["netns", "exec", namespace]).arg(this).args(["accept", target]);
    Ok(child.stdin(Stdio::from(OwnedFd::from(listener))).status()?.success())
}

fn accept(target: &str) -> Result<()> {
    let listener = TcpListener::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    for near in listener.incoming().flatten() {
        let target = target.to_owned();
        thread::spawn(move || -> Result<()> {
            let far = TcpStream::connect(target)?;
            let (near_in, far_out) = (near.try_clone()?, far.try_clone()?);
            thread::spawn(move || pump(&near_in, &far_out));
            pump(&far, &near);
            Ok(())
        });
    }
    Ok(())
}

fn pump(mut from: &TcpStream, mut to: &TcpStream) {
    let _ = std::io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}
