//! The observer's server as an actor: addresses that cannot be served, TLS and its files, clients
//! that do not do their part.

use std::fs;
use std::io::Read as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::Addr;
use arc_swap::ArcSwap;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;
use tokio::sync::mpsc::unbounded_channel;
use webb::actors::observer::server::{self, Server};
use webb::actors::restart::{Intensity, RestartPolicy};
use webb::actors::thread_supervisor::ThreadSupervisor;
use webb::actors::{Finish, Restart};
use webb::tls::{Paths, TlsFiles};
use webb_cluster::{Cache, CacheSettings};
use webb_flow::Flow;
use webb_flow::fault::{Component, Components, State};
use webb_observer::client::{Client, ClientTls, Responses, ServerAddress};
use webb_observer::{Event, History, Segment};
use webb_settings::{ListenAddress, Observer};

/// Name in the certificate of the node `node` of the cluster `default`.
pub(crate) const SERVER_NAME: &str = "node.default.hubble-grpc.cilium.io";

/// A server of an empty history.
pub(crate) struct Served {
    history: Arc<History>,
    server: Arc<Server>,
    supervisor: Addr<ThreadSupervisor>,
    pub(crate) component: Arc<Component>,
}

impl Served {
    pub(crate) fn at(listen: &[ListenAddress], tls: Option<Paths>) -> Self {
        let component = Components::default().component("observer/server");
        let policy = RestartPolicy {
            max_restarts: 5,
            window: Duration::from_mins(1),
            backoff_min: Duration::from_millis(20),
            backoff_max: Duration::from_millis(100),
            stall_after: Duration::from_secs(10),
        };
        let (escalations, _) = unbounded_channel();
        let intensity = Intensity::new(Arc::clone(&component), Arc::new(ArcSwap::from_pointee(policy)), escalations);
        let history = Arc::new(History::new(4095));
        let settings = Observer { enabled: true, listen: listen.to_vec(), ..Observer::default() };
        let cache = Arc::new(Cache::new(CacheSettings::default()));
        let tls = tls.map(|paths| Arc::new(TlsFiles::new(paths)));
        let server = Arc::new(Server::new(Arc::clone(&history), &settings, tls, ("default", "node", cache)));
        let supervisor = server::start(Arc::clone(&server), intensity);
        Self { history, server, supervisor, component }
    }

    pub(crate) fn push(&self, time_ns: u64) {
        let flow = Flow { time_ns, ..Flow::default() };
        self.history.push(Segment { events: vec![Event::Flow(flow)], ..Segment::default() }, 0);
    }

    fn dropped(&self, reason: &str) -> u64 {
        let counts = self.server.listeners().flat_map(|(_, admission)| admission.dropped());
        counts.filter(|(label, _)| *label == reason).map(|(_, count)| count).sum()
    }

    pub(crate) async fn finish(self) {
        self.supervisor.send(Finish).await.unwrap();
        assert_eq!(self.component.state(), State::Stopped);
    }
}

pub(crate) async fn until(what: &str, mut true_yet: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !true_yet().await {
        assert!(began.elapsed() < Duration::from_mins(1), "never came true: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

pub(crate) fn tcp(address: SocketAddr, tls: Option<ClientTls>) -> ServerAddress {
    ServerAddress::Tcp { host: address.ip().to_string(), port: address.port(), tls }
}

/// True once a call is answered.
pub(crate) async fn answers(address: &ServerAddress) -> bool {
    match Client::connect(address).await {
        Ok(client) => client.state().await.is_ok(),
        Err(_) => false,
    }
}

/// An authority, and the files that it signed.
pub(crate) struct Authority {
    pub(crate) issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    /// Writes a certificate for that name, its key, and the authority's.
    pub(crate) fn write(&self, directory: &Path, name: &str) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        fs::write(directory.join("tls.crt"), params.signed_by(&key, &self.issuer).unwrap().pem()).unwrap();
        fs::write(directory.join("tls.key"), key.serialize_pem()).unwrap();
        fs::write(directory.join("ca.crt"), &self.certificate).unwrap();
    }
}

pub(crate) fn server_files(directory: &TempDir) -> Paths {
    let at = |name: &str| directory.path().join(name);
    Paths { certificate: at("tls.crt"), key: at("tls.key"), client_ca: Some(at("ca.crt")) }
}

pub(crate) fn client_tls(ca: PathBuf, own: Option<&TempDir>) -> ClientTls {
    let own = own.map(|directory| (directory.path().join("tls.crt"), directory.path().join("tls.key")));
    ClientTls { ca: Some(ca), own, server_name: Some(SERVER_NAME.to_owned()) }
}

/// An address that is taken and a directory that is missing leave the others served and the
/// component degraded, with the reason; both are served once they can be. A restart serves again.
#[actix::test]
async fn addresses_are_tried_again() {
    let directory = tempfile::tempdir().unwrap();
    let [good, missing] = ["good.sock", "later/missing.sock"].map(|name| directory.path().join(name));
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    // A dead server's.
    drop(std::os::unix::net::UnixListener::bind(&good).unwrap());
    let listen = [ListenAddress::Unix(good.clone()), ListenAddress::Unix(missing.clone()), ListenAddress::Tcp(address)];
    let served = Served::at(&listen, None);
    let (good, missing) = (ServerAddress::Unix(good), ServerAddress::Unix(missing));
    until("the good one answers", async || answers(&good).await).await;
    until("both others are named", async || {
        let reason = served.component.reason();
        served.component.state() == State::Degraded
            && reason.contains(&format!("{address} is not served"))
            && reason.contains("is there a directory")
    })
    .await;
    drop(taken);
    fs::create_dir(directory.path().join("later")).unwrap();
    until("all answer", async || answers(&missing).await && answers(&tcp(address, None)).await).await;
    until("nothing is wrong any more", async || served.component.state() == State::Up).await;
    served.supervisor.do_send(Restart);
    until("it was restarted", async || served.component.restarts() == 1).await;
    until("all answer again", async || answers(&good).await && answers(&tcp(address, None)).await).await;
    served.finish().await;
    assert!(!directory.path().join("good.sock").exists());
}

/// A client without a certificate, or with that of another authority, is refused. New files count
/// from the next connection on, and a stream that is open goes on; files that do not fit together
/// change nothing.
#[actix::test]
async fn certificates_are_checked_and_followed() {
    let [of_server, of_client, of_stranger] = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let (authority, stranger) = (Authority::new(), Authority::new());
    authority.write(of_client.path(), "client");
    stranger.write(of_stranger.path(), "client");
    let address = free_port();
    let served = Served::at(&[ListenAddress::Tcp(address)], Some(server_files(&of_server)));
    until("the missing files are named", async || {
        served.component.reason().contains("waiting for TLS certificates to become available")
    })
    .await;
    authority.write(of_server.path(), SERVER_NAME);
    let ca = of_client.path().join("ca.crt");
    let known = tcp(address, Some(client_tls(ca.clone(), Some(&of_client))));
    until("the client comes in", async || answers(&known).await).await;
    for own in [None, Some(&of_stranger)] {
        assert!(!answers(&tcp(address, Some(client_tls(ca.clone(), own)))).await, "{own:?}");
    }
    assert!(!answers(&tcp(address, None)).await, "without TLS");
    until("refusals are counted", async || served.dropped("handshake") >= 3).await;

    let client = Client::connect(&known).await.unwrap();
    let mut stream: Responses = client.follow(0);
    served.push(1);
    assert!(!stream.next().await.unwrap().is_empty());
    // The key alone: it does not fit.
    fs::write(of_server.path().join("tls.key"), fs::read(of_stranger.path().join("tls.key")).unwrap()).unwrap();
    until("the misfit is named", async || served.component.reason().contains("the TLS certificates stay as they were"))
        .await;
    assert!(answers(&known).await);
    let next = Authority::new();
    next.write(of_server.path(), SERVER_NAME);
    next.write(of_stranger.path(), "client");
    let renewed = tcp(address, Some(client_tls(of_stranger.path().join("ca.crt"), Some(&of_stranger))));
    until("the new certificates are used", async || answers(&renewed).await).await;
    assert!(!answers(&known).await, "the old authority is gone");
    served.push(2);
    assert!(!stream.next().await.unwrap().is_empty(), "the open stream goes on");
    until("nothing is wrong any more", async || served.component.state() == State::Up).await;
    served.finish().await;
}

/// Half a handshake and a silent connection end by themselves, and keep no other client out
/// meanwhile.
#[actix::test]
async fn half_a_client_is_dropped() {
    let of_server = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    authority.write(of_server.path(), SERVER_NAME);
    let (address, plain) = (free_port(), of_server.path().join("s.sock"));
    let listen = [ListenAddress::Tcp(address), ListenAddress::Unix(plain.clone())];
    let paths = Paths { client_ca: None, ..server_files(&of_server) };
    let served = Served::at(&listen, Some(paths));
    let known = tcp(address, Some(client_tls(of_server.path().join("ca.crt"), None)));
    until("it is served", async || answers(&known).await && answers(&ServerAddress::Unix(plain.clone())).await).await;
    let halves: Vec<TcpStream> = (0..200).map(|_| TcpStream::connect(address).unwrap()).collect();
    let mut silent = UnixStream::connect(&plain).unwrap();
    assert!(answers(&known).await, "beside 200 halves");
    until("all halves are dropped", async || served.dropped("handshake") >= 200).await;
    until("the silent one is", async || served.dropped("silent") >= 1).await;
    // The server's settings, and the end.
    silent.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    silent.read_to_end(&mut Vec::new()).unwrap();
    until("their places are free", async || {
        served.server.listeners().map(|(_, admission)| admission.connections()).sum::<usize>() == 0
    })
    .await;
    drop(halves);
    served.finish().await;
}

/// A thousand clients follow at once and each gets the flow; one address alone does not get so
/// many, and what is beyond the limit is refused and counted.
#[actix::test]
async fn a_thousand_clients() {
    const CLIENTS: usize = 1000;
    let directory = tempfile::tempdir().unwrap();
    let (path, address) = (directory.path().join("s.sock"), free_port());
    let served = Served::at(&[ListenAddress::Unix(path.clone()), ListenAddress::Tcp(address)], None);
    let socket = ServerAddress::Unix(path.clone());
    until("it is served", async || answers(&socket).await && answers(&tcp(address, None)).await).await;
    until("the places are free", async || {
        served.server.listeners().map(|(_, admission)| admission.connections()).sum::<usize>() == 0
    })
    .await;
    let mut streams = Vec::new();
    for _ in 0..CLIENTS {
        let client = Client::connect(&socket).await.unwrap();
        let stream = client.follow(0);
        streams.push((client, stream));
    }
    served.push(1);
    for (_, stream) in &mut streams {
        assert!(!stream.next().await.unwrap().is_empty());
    }
    let more: Vec<UnixStream> = (0..50).map(|_| UnixStream::connect(&path).unwrap()).collect();
    until("those beyond are refused", async || served.dropped("limit") >= 26).await;
    // Others are served all the same.
    assert!(answers(&tcp(address, None)).await);
    let greedy: Vec<TcpStream> = (0..300).map(|_| TcpStream::connect(address).unwrap()).collect();
    until("one address has its share", async || served.dropped("client_limit") >= 44).await;
    drop((more, greedy));
    drop(streams);
    served.finish().await;
}
