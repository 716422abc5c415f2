//! The client against servers that answer, and against what is no server of Hubble's.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_rustls::TlsAcceptor;
use webb_flowlog::{Content, Reader};
use webb_observer::History;
use webb_observer::client::{Cause, Client, ClientError, ClientTls, ServerAddress};

use crate::server::{Server, history, recorded};

/// Something listens on a socket; each connection is `serve`d.
fn listen<F>(serve: impl Fn(UnixStream) -> F + Send + 'static) -> (TempDir, ServerAddress)
where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s.sock");
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    (directory, ServerAddress::Unix(path))
}

/// The error of a client that wants to follow.
async fn refusal(address: &ServerAddress) -> ClientError {
    let client = match Client::connect(address).await {
        Ok(client) => client,
        Err(error) => return error,
    };
    if let Err(error) = client.state().await {
        return error;
    }
    client.follow(0).next().await.unwrap_err()
}

/// The history, then what comes; since a time; the end of the server.
#[tokio::test]
async fn flows_are_followed() {
    let lines = recorded("flows-a.jsonl.zst");
    let server = Server::start(history(&lines, 10_000)).await;
    let client = Client::connect(&server.address()).await.unwrap();
    let state = client.state().await.unwrap().unwrap();
    assert_eq!(state.seen_flows, server.history.totals().flows);
    let (mut expected, mut found) = (Reader::default(), Reader::default());
    let lines: Vec<&[u8]> = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
    let mut followed = client.follow(0);
    let mut last_ns = 0;
    for line in &lines[..400] {
        expected.line(line).unwrap();
        assert_eq!(found.response(&followed.next().await.unwrap()), Ok(Content::Flow));
        assert_eq!(found.batch().flows.last(), expected.batch().flows.last());
        last_ns = last_ns.max(found.batch().flows.last().unwrap().time_ns);
    }
    // Another stream of the same connection begins where it is asked to.
    let mut since = client.follow(last_ns);
    let mut reader = Reader::default();
    reader.response(&since.next().await.unwrap()).unwrap();
    assert!(reader.batch().flows[0].time_ns >= last_ns);
    server.stop();
    let ended = loop {
        if let Err(error) = followed.next().await {
            break error;
        }
    };
    assert_eq!(ended.cause(), Cause::Ended, "{ended}");
}

/// What there is in place of a server is named by its cause.
#[tokio::test]
async fn what_is_no_server() {
    let gone = refusal(&ServerAddress::Unix("/nonexistent/hubble.sock".into())).await;
    assert_eq!(gone.cause(), Cause::Unreachable);
    assert!(gone.to_string().contains("is Hubble enabled on this node"), "{gone}");

    let (_directory, closes) = listen(|mut stream| async move { stream.shutdown().await });
    let closed = refusal(&closes).await;
    assert!([Cause::Ended, Cause::Protocol].contains(&closed.cause()), "{closed}");

    let (_directory, web) = listen(|mut stream: UnixStream| async move {
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await?;
        stream.read_to_end(&mut Vec::new()).await.map(|_| ())
    });
    let web = refusal(&web).await;
    assert_eq!(web.cause(), Cause::Protocol, "{web:?}");

    let (_directory, noise) = listen(|mut stream: UnixStream| async move {
        let mut word = 1_u64;
        loop {
            word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            stream.write_all(&word.to_be_bytes()).await?;
        }
    });
    let noise = refusal(&noise).await;
    assert_eq!(noise.cause(), Cause::Protocol, "{noise:?}");
}

/// A server of gRPC that is none of Hubble's.
#[tokio::test]
async fn another_server() {
    let (_directory, other) = listen(|stream| async move {
        let (_reporter, health) = tonic_health::server::health_reporter();
        let one = futures::stream::iter([Ok::<_, io::Error>(stream)]);
        let served = tonic::transport::Server::builder().add_service(health).serve_with_incoming(one).await;
        served.map_err(io::Error::other)
    });
    let unsupported = refusal(&other).await;
    assert_eq!(unsupported.cause(), Cause::Unsupported, "{unsupported}");
}

/// A response that no flow can be ends the stream, with its own cause.
#[tokio::test]
async fn a_response_that_is_too_large() {
    let history = Arc::new(History::new(10));
    let flow = webb_observer::Event::Flow(webb_flow::Flow::default());
    let huge = webb_observer::Segment {
        events: vec![flow],
        encoded: vec![vec![0; 5 << 20].into()],
        ..webb_observer::Segment::default()
    };
    history.push(huge, 0);
    let server = Server::start(history).await;
    let error = refusal(&server.address()).await;
    assert_eq!(error.cause(), Cause::TooLarge, "{error}");
}

/// A server that accepts and says nothing is given up.
#[tokio::test(start_paused = true)]
async fn a_server_that_says_nothing() {
    let (_directory, mute) = listen(|mut stream: UnixStream| async move {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.map(|_| ())
    });
    let error = refusal(&mute).await;
    assert_eq!(error.cause(), Cause::Timeout, "{error}");
}

/// An authority with a certificate for a node and one for a client.
struct Authority {
    directory: TempDir,
    server: Vec<rustls::pki_types::CertificateDer<'static>>,
    key: Vec<u8>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap();
        let issuer = Issuer::new(params, key);
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("ca.pem"), root.pem()).unwrap();
        let issue = |name: &str| {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
            (params.signed_by(&key, &issuer).unwrap(), key)
        };
        let (client, client_key) = issue("*.hubble-relay.cilium.io");
        std::fs::write(directory.path().join("client.pem"), client.pem()).unwrap();
        std::fs::write(directory.path().join("client-key.pem"), client_key.serialize_pem()).unwrap();
        let (server, key) = issue("*.default.hubble-grpc.cilium.io");
        Self { server: vec![server.der().clone(), root.der().clone()], key: key.serialize_der(), directory }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A listener that asks for certificates and hands what comes on to a socket.
    async fn relay(&self, to: PathBuf) -> u16 {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.server[1].clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let clients = rustls::server::WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(&provider));
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_client_cert_verifier(clients.build().unwrap())
            .with_single_cert(vec![self.server[0].clone()], PrivateKeyDer::try_from(self.key.clone()).unwrap())
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, to) = (acceptor.clone(), to.clone());
                tokio::spawn(async move {
                    let mut stream = acceptor.accept(stream).await?;
                    let mut socket = UnixStream::connect(to).await?;
                    tokio::io::copy_bidirectional(&mut stream, &mut socket).await
                });
            }
        });
        port
    }
}

fn address(port: u16, tls: Option<ClientTls>) -> ServerAddress {
    ServerAddress::Tcp { host: "127.0.0.1".into(), port, tls }
}

/// TLS as Cilium's: the name of a node, and a certificate of the client's own; and what goes wrong.
#[tokio::test]
async fn tls() {
    let server = Server::start(history(&recorded("flows-a.jsonl.zst"), 10_000)).await;
    let ServerAddress::Unix(socket) = server.address() else { panic!("it is a socket") };
    let authority = Authority::new();
    let port = authority.relay(socket).await;
    let right = ClientTls {
        ca: Some(authority.file("ca.pem")),
        own: Some((authority.file("client.pem"), authority.file("client-key.pem"))),
        server_name: Some("node-1.default.hubble-grpc.cilium.io".into()),
    };
    let client = Client::connect(&address(port, Some(right.clone()))).await.unwrap();
    assert!(client.state().await.unwrap().is_some());
    client.follow(0).next().await.unwrap();

    let other = Authority::new();
    for (wrong, why) in [
        (ClientTls { ca: Some(other.file("ca.pem")), ..right.clone() }, "invalid peer certificate"),
        (ClientTls { server_name: None, ..right.clone() }, "not valid for name"),
        (ClientTls { server_name: Some("a b".into()), ..right.clone() }, "no name that a certificate can have"),
        (
            ClientTls { ca: Some(Path::new("/nonexistent").into()), ..right.clone() },
            "cannot read the CA file /nonexistent",
        ),
        (ClientTls { ca: Some(authority.file("client-key.pem")), ..right.clone() }, "holds no certificate in PEM"),
    ] {
        let error = refusal(&address(port, Some(wrong))).await;
        assert_eq!(error.cause(), Cause::Tls, "{error}");
        assert!(error.to_string().contains(why), "{why}: {error}");
    }
    // The handshake of TLS 1.3 is complete for the client before the server refuses it.
    let anonymous = refusal(&address(port, Some(ClientTls { own: None, ..right.clone() }))).await;
    assert!(anonymous.to_string().to_lowercase().contains("certificate"), "{anonymous}");
    // Without TLS.
    let plain = refusal(&address(port, None)).await;
    assert!([Cause::Protocol, Cause::Ended].contains(&plain.cause()), "{plain}");
    assert!(plain.to_string().contains("use tls:// in the address"), "{plain}");
    // A handshake that ends in the middle.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _): (TcpStream, _) = listener.accept().await.unwrap();
        stream.read_u8().await.unwrap();
        stream.write_all(&[0x16, 3, 3, 0, 100, 2]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
    });
    assert_eq!(refusal(&address(port, Some(right))).await.cause(), Cause::Tls);
}

/// A listener whose first connection is sent these bytes once the client has sent its first ones.
async fn answering(bytes: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _): (TcpStream, _) = listener.accept().await?;
        stream.read_u8().await?;
        stream.write_all(bytes).await?;
        stream.shutdown().await?;
        // All of it, or the end would be a reset, by which an answer may be lost.
        stream.read_to_end(&mut Vec::new()).await
    });
    port
}

/// A connection without TLS to a port that has it, and the reverse, fail with what to do: whether
/// the server says why or only ends the connection.
#[tokio::test]
async fn tls_at_one_end() {
    let authority = Authority::new();
    let tls = ClientTls { ca: Some(authority.file("ca.pem")), own: None, server_name: None };
    let settings: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
    for (bytes, tls, cause, what) in [
        (&[21, 3, 3, 0, 2, 2, 10][..], None, Cause::Protocol, "it speaks TLS: use tls:// in the address"),
        (&[], None, Cause::Ended, "if the port speaks TLS, use tls:// in the address"),
        (settings, Some(tls.clone()), Cause::Tls, "the port does not speak TLS: use the address without it"),
        (&[], Some(tls), Cause::Tls, "the port may not speak TLS: if so, use the address without it"),
    ] {
        let error = refusal(&address(answering(bytes).await, tls)).await;
        assert_eq!(error.cause(), cause, "{error}");
        assert!(error.to_string().contains(what), "{what}: {error}");
    }
    // One that answers as it should, and ends then, may have no TLS.
    let error = refusal(&address(answering(settings).await, None)).await;
    assert!(!error.to_string().contains("TLS"), "{error}");
}
