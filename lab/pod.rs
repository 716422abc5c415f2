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
       pod land [OPTIONS] ADDR:PORT...           POST /v1/request-landing to each address in turn
           --rounds N       how often (default 1)
           --every MS       pause between two requests (default 0)
           --timeout MS     for connecting and for the answer (default 2000)
       pod ask [OPTIONS] ADDR:PORT...            the same with one UDP datagram, waits for its echo
       pod flood PACKETS PORTS ADDR              as many datagrams as fast as it can, to PORTS ports from 20000
       pod forward LISTEN NAMESPACE TARGET       TCP connections to LISTEN here go to TARGET in NAMESPACE
`land` and `ask` exit with 0 if every request was answered, 1 if some were not, and say how many.";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["serve", port] => serve(port).map(|()| true),
        ["land", rest @ ..] => repeat(rest, land),
        ["ask", rest @ ..] => repeat(rest, ask),
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
    // Whoever starts it waits for this line; `forward` says it too.
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
    let (status, body) = if head.starts_with("POST /v1/request-landing ") {
        ("200 OK", "Ship landed\n")
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
fn repeat(words: &[&str], one: fn(SocketAddr, Duration) -> Result<()>) -> Result<bool> {
    let (mut rounds, mut every, mut timeout) = (1, 0, 2000);
    let mut addresses: Vec<SocketAddr> = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut number = || words.next().and_then(|text| text.parse().ok()).ok_or_else(|| invalid(HELP));
        match *word {
            "--rounds" => rounds = number()?,
            "--every" => every = number()?,
            "--timeout" => timeout = number()?,
            address => addresses.push(address.parse().map_err(|_| invalid("ADDR:PORT or [ADDR]:PORT expected"))?),
        }
    }
    let (mut answered, mut failed, mut last) = (0_u64, 0_u64, None);
    for _ in 0..rounds {
        for address in &addresses {
            let started = Instant::now();
            match one(*address, Duration::from_millis(timeout)) {
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

fn land(address: SocketAddr, timeout: Duration) -> Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    write!(stream, "POST /v1/request-landing HTTP/1.1\r\nHost: deathstar\r\nContent-Length: 0\r\n\r\n")?;
    let text = read_until(&mut stream, |_| false)?;
    if text.starts_with("HTTP/1.1 200 ") { Ok(()) } else { Err(invalid(text.lines().next().unwrap_or("no answer"))) }
}

fn ask(address: SocketAddr, timeout: Duration) -> Result<()> {
    let socket = UdpSocket::bind(if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
    socket.connect(address)?;
    socket.set_read_timeout(Some(timeout))?;
    socket.send(b"hail")?;
    socket.recv(&mut [0; 16]).map(drop)
}

/// Each port makes a connection of its own in whoever keeps a table of them. 22 bytes: with the
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

/// A socket belongs to the namespace that it was made in, whoever holds it: it is bound here and
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
