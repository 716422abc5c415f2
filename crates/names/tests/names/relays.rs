//! Relays for tests, the real one and those that answer wrongly, and a client.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::{Stream, stream};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};
use webb_cluster::Pod;
use webb_index::ObjectKey;
use webb_names::wire::names_server::{Names, NamesServer};
use webb_names::wire::{Answer, Hello, Request as Asked};
use webb_names::{Directory, Site, serve};

/// Connections of a listener.
pub(crate) fn incoming(listener: TcpListener) -> impl Stream<Item = io::Result<TcpStream>> {
    stream::unfold(listener, |listener| async move {
        let accepted = listener.accept().await.and_then(|(stream, _)| stream.set_nodelay(true).map(|()| stream));
        Some((accepted, listener))
    })
}

/// A relay on loopback, which ends with this.
pub(crate) struct Relay {
    pub(crate) at: SocketAddr,
    pub(crate) directory: Arc<Directory>,
    /// Lag in milliseconds; `u64::MAX` before the pods are listed.
    pub(crate) lag: Arc<AtomicU64>,
    pub(crate) stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Relay {
    pub(crate) async fn start(cluster: &str) -> Self {
        Self::aging(cluster, Duration::from_hours(1)).await
    }

    /// A relay that ends streams of this age.
    pub(crate) async fn aging(cluster: &str, max_age: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let directory = Arc::new(Directory::default());
        let lag = Arc::new(AtomicU64::new(0));
        let (stop, stopping) = watch::channel(false);
        let of_site = Arc::clone(&lag);
        let site = Site {
            cluster: cluster.to_owned(),
            name: "relay".to_owned(),
            lag: Arc::new(move || match of_site.load(Relaxed) {
                u64::MAX => None,
                lag => Some(Duration::from_millis(lag)),
            }),
            max_age,
            stopping,
        };
        let served = Arc::clone(&directory);
        let task = tokio::spawn(async move { serve(served, site, incoming(listener)).await.unwrap() });
        Self { at, directory, lag, stop, task }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A relay that sends these answers to whatever it is asked, and then nothing.
pub(crate) async fn lying(answers: Vec<Answer>) -> SocketAddr {
    struct Lying(Mutex<Vec<Answer>>);

    #[tonic::async_trait]
    impl Names for Lying {
        type FollowStream = Pin<Box<dyn Stream<Item = Result<Answer, Status>> + Send>>;

        async fn follow(&self, mut asked: Request<Streaming<Asked>>) -> Result<Response<Self::FollowStream>, Status> {
            asked.get_mut().message().await?;
            let answers = self.0.lock().unwrap().clone();
            let (answers, rest) = (stream::iter(answers.into_iter().map(Ok)), stream::pending());
            // Requests are taken, and not read.
            let all = futures::StreamExt::chain(answers, rest);
            let kept = futures::StreamExt::map(all, move |answer| {
                let _kept = &asked;
                answer
            });
            Ok(Response::new(Box::pin(kept)))
        }
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let service = NamesServer::new(Lying(Mutex::new(answers)));
    tokio::spawn(Server::builder().add_service(service).serve_with_incoming(incoming(listener)));
    at
}

/// The greeting of a correct relay.
pub(crate) fn hello() -> Answer {
    let (cluster, name) = ("east".to_owned(), "liar".to_owned());
    let hello = Hello { version: webb_names::VERSION, cluster, name, ..Hello::default() };
    Answer { hello: Some(hello), ..Answer::default() }
}

pub(crate) async fn channel(at: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{at}")).unwrap().connect().await.unwrap()
}

pub(crate) fn key(name: &str) -> ObjectKey {
    ObjectKey { namespace: "default".to_owned(), name: name.to_owned() }
}

pub(crate) fn pod(address: &str) -> Pod {
    Pod {
        addresses: vec![address.parse().unwrap()],
        node: "there".to_owned(),
        labels: [("app".to_owned(), "web".to_owned())].into(),
        ..Pod::default()
    }
}
