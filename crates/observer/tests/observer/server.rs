//! A server of given flows on a socket of its own, and a client that reads bytes.

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use tempfile::TempDir;
use tokio::sync::watch;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use webb_observer::client::ServerAddress;
use webb_observer::{Admission, Calls, History, Listener, Loader, Peer, Site, UnixSocket, connections, serve};

/// A server that stops when it is dropped.
pub(crate) struct Server {
    pub(crate) history: Arc<History>,
    pub(crate) peers: watch::Sender<Arc<[Peer]>>,
    pub(crate) calls: Arc<Calls>,
    stopping: watch::Sender<bool>,
    directory: TempDir,
}

/// Bytes of a file beside the recorded answers.
pub(crate) fn recorded(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/observer/golden").join(name);
    let mut bytes = Vec::new();
    webb_flowlog::open(&path).unwrap().bytes.read_to_end(&mut bytes).unwrap();
    bytes
}

/// A history of the last `limit` events of these lines.
pub(crate) fn history(lines: &[u8], limit: usize) -> Arc<History> {
    let history = Arc::new(History::new(limit));
    let mut loader = Loader::new(&history);
    for line in lines.split(|byte| *byte == b'\n') {
        loader.line(line).unwrap();
    }
    loader.end();
    drop(loader);
    history
}

impl Server {
    /// Starts one, as the recorded answers' server was configured.
    pub(crate) async fn start(history: Arc<History>) -> Self {
        let peer = |name: &str, address: &str| Peer { name: name.into(), address: address.into(), server_name: None };
        let peers = watch::Sender::new(Arc::from([
            peer("stock-1", "192.0.2.1:4244"),
            peer("node-2", "192.0.2.2:4244"),
            peer("prod/node-b.company.com", "192.0.2.3:4244"),
        ]));
        let stopping = watch::Sender::new(false);
        let directory = tempfile::tempdir().unwrap();
        let calls = Arc::new(Calls::default());
        let site = Site {
            node: "stock-1".into(),
            cluster: "default".into(),
            version: "webb v0".into(),
            started_ns: webb_flow::clock::now_ns(),
            calls: Arc::clone(&calls),
            peers: peers.subscribe(),
            stopping: stopping.subscribe(),
        };
        let socket = UnixSocket::bind(&directory.path().join("s.sock")).await.unwrap();
        let served = Arc::clone(&history);
        tokio::spawn(async move {
            let connections = Box::pin(connections(Listener::Unix(socket), None, Arc::new(Admission::default())));
            serve(served, site, connections).await.unwrap();
        });
        Self { history, peers, calls, stopping, directory }
    }

    /// A connection to it.
    pub(crate) async fn connect(&self) -> Channel {
        let path = self.directory.path().join("s.sock");
        Endpoint::try_from(format!("unix://{}", path.display())).unwrap().connect().await.unwrap()
    }

    /// Its address.
    pub(crate) fn address(&self) -> ServerAddress {
        ServerAddress::Unix(self.directory.path().join("s.sock"))
    }

    pub(crate) fn stop(&self) {
        self.stopping.send_replace(true);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Messages as they are on the wire.
#[derive(Debug, Clone, Copy, Default)]
struct RawCodec;

impl Codec for RawCodec {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        bytes::BufMut::put_slice(out, &item);
        Ok(())
    }
}

impl Decoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(bytes.copy_to_bytes(bytes.remaining())))
    }
}

/// Calls a method of any kind with an encoded request: the responses, and the status if it is an
/// error.
pub(crate) async fn call(channel: &Channel, method: &str, request: Vec<u8>) -> (Vec<Bytes>, Option<Status>) {
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await.unwrap();
    let request = Request::new(Bytes::from(request));
    let path = PathAndQuery::try_from(method.to_owned()).unwrap();
    let mut responses = Vec::new();
    match client.server_streaming(request, path, RawCodec).await {
        Err(status) => (responses, Some(status)),
        Ok(stream) => {
            let mut stream = stream.into_inner();
            loop {
                match stream.message().await {
                    Ok(Some(response)) => responses.push(response),
                    Ok(None) => return (responses, None),
                    Err(status) => return (responses, Some(status)),
                }
            }
        }
    }
}
