//! The stream between both sides, over gRPC on loopback.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tonic::transport::Endpoint;
use webb_names::wire::{Answer, Entry, Hello, Pod as WirePod, Profile};
use webb_names::{Asks, FollowError, Following, asks, follow};

use crate::relays::{Relay, channel, hello, key, lying, pod};

/// Longer than anything takes on a loaded machine.
const TIMEOUT: Duration = Duration::from_mins(1);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// An agent without the rest of it.
pub(crate) struct Agent {
    pub(crate) following: Arc<Following>,
    asks: Asks,
    asked: mpsc::Receiver<IpAddr>,
}

impl Agent {
    pub(crate) fn new() -> Self {
        let (asks, asked) = asks();
        Self { following: Arc::new(Following::new("east".to_owned(), "here".to_owned())), asks, asked }
    }

    /// Follows until `done`.
    pub(crate) async fn until(&mut self, at: std::net::SocketAddr, done: impl Fn(&Following) -> bool) {
        let following = Arc::clone(&self.following);
        let met = async {
            while !done(&following) {
                sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::select! {
            error = follow(channel(at).await, &self.following, &mut self.asked, |_, _| {}) => panic!("{error}"),
            met = timeout(TIMEOUT, met) => met.unwrap(),
        }
    }

    pub(crate) async fn error(&mut self, at: std::net::SocketAddr) -> FollowError {
        let followed = follow(channel(at).await, &self.following, &mut self.asked, |_, _| {});
        timeout(TIMEOUT, followed).await.unwrap()
    }

    fn named(&self, address: &str) -> Option<Vec<String>> {
        named(&self.following, address)
    }
}

fn named(following: &Following, address: &str) -> Option<Vec<String>> {
    following.held().at(ip(address)).map(|pods| pods.iter().map(ToString::to_string).collect())
}

/// Names come when they are asked for, change when pods do, and stay when the relay is gone; the
/// next relay is asked for all of them.
#[tokio::test]
async fn names_come_change_and_stay() {
    let relay = Relay::start("east").await;
    relay.directory.upsert(key("web"), &pod("10.0.1.1"));
    let mut agent = Agent::new();
    agent.asks.ask(ip("10.0.1.1"));
    agent.asks.ask(ip("10.0.1.2"));
    agent.until(relay.at, |agent| agent.held().counts().unanswered == 0 && agent.held().blocks().count() == 1).await;
    assert_eq!(agent.named("10.0.1.1"), Some(vec!["default/web".to_owned()]));
    assert_eq!(agent.named("10.0.1.2"), Some(vec![]));
    assert_eq!(agent.named("10.0.1.3"), None);
    relay.directory.upsert(key("web"), &pod("10.0.1.2"));
    agent.until(relay.at, |agent| named(agent, "10.0.1.2").is_some_and(|pods| !pods.is_empty())).await;

    drop(relay);
    assert_eq!((agent.following.counts().stale, agent.following.counts().named), (2, 1));
    agent.asks.ask(ip("10.0.1.3"));
    assert_eq!(agent.named("10.0.1.2"), Some(vec!["default/web".to_owned()]), "the last answer stays");
    let next = Relay::start("east").await;
    next.directory.upsert(key("other"), &pod("10.0.1.3"));
    agent
        .until(next.at, |agent| {
            let counts = agent.counts();
            agent.held().at(ip("10.0.1.3")).is_some() && (counts.stale, counts.unanswered) == (0, 0)
        })
        .await;
    assert_eq!(agent.named("10.0.1.2"), Some(vec![]), "the next relay knows better");
    assert_eq!(agent.named("10.0.1.3"), Some(vec!["default/other".to_owned()]));
    assert!(!agent.following.is_connected());
}

/// A stream that is old ends in order, with all that is held kept: the next one, with any relay,
/// begins at once. One that is young goes on.
#[tokio::test]
async fn old_streams_end_in_order() {
    let young = Duration::from_millis(300);
    let relay = Relay::aging("east", young).await;
    relay.directory.upsert(key("web"), &pod("10.0.1.1"));
    let mut agent = Agent::new();
    agent.asks.ask(ip("10.0.1.1"));
    for _ in 0..2 {
        let began = std::time::Instant::now();
        let error = agent.error(relay.at).await;
        assert!(matches!(error, FollowError::Age), "{error}");
        assert!(began.elapsed() >= young, "it has ended after {:?}", began.elapsed());
        assert_eq!(agent.named("10.0.1.1"), Some(vec!["default/web".to_owned()]));
        assert_eq!((agent.following.counts().stale, relay.directory.clients()), (1, (0, 0)));
    }
}

/// A relay that does not know the pods yet, one of another cluster, and one that stops refuse; how
/// far one lags is known.
#[tokio::test]
async fn relays_refuse() {
    let relay = Relay::start("east").await;
    let mut agent = Agent::new();
    relay.lag.store(u64::MAX, Relaxed);
    let error = agent.error(relay.at).await;
    assert_eq!((error.label(), agent.following.answers()), ("unavailable", 0), "{error}");
    // What the relay is behind by counts, up to the start of this process.
    let behind = Duration::from_millis(300);
    let as_old = |agent: &Following| agent.staleness() >= behind;
    relay.lag.store(u64::try_from(behind.as_millis()).unwrap(), Relaxed);
    agent.until(relay.at, |agent| agent.answers() > 0 && as_old(agent)).await;
    // One that is not behind makes the names young, and they stay so with one that is.
    relay.lag.store(0, Relaxed);
    agent.until(relay.at, |agent| !as_old(agent)).await;

    let other = Relay::start("west").await;
    let error = agent.error(other.at).await;
    assert_eq!(error.label(), "cluster");
    assert!(error.to_string().contains("\"east\"") && error.to_string().contains("\"west\""), "{error}");

    let stop = relay.stop.clone();
    let stopped = async {
        sleep(Duration::from_millis(50)).await;
        stop.send_replace(true);
        std::future::pending::<()>().await;
    };
    let error = tokio::select! {
        error = agent.error(relay.at) => error,
        () = stopped => unreachable!(),
    };
    assert!(["unavailable", "ended", "refused"].contains(&error.label()), "{error:?}");
}

fn entry(address: &str, profile: u64) -> Entry {
    let pod = WirePod { name: "web".to_owned(), profile, node: "there".to_owned(), created: 1 };
    Entry { address: Some([ip(address)].into_iter().collect()), pods: vec![pod] }
}

fn profile(number: u64) -> Profile {
    Profile { number, namespace: "default".to_owned(), ..Profile::default() }
}

/// What no relay sends ends the stream with its reason, and does no harm to what is held.
#[tokio::test]
async fn wrong_answers_end_the_stream() {
    let answer = |profiles: Vec<Profile>, entries: Vec<Entry>| Answer { profiles, entries, ..Answer::default() };
    let good = answer(vec![profile(1)], vec![entry("10.0.1.1", 1)]);
    let east = || hello().hello.unwrap();
    let greeting = |hello: Hello| vec![Answer { hello: Some(hello), ..Answer::default() }];
    let no_address = Entry { address: None, ..entry("10.0.1.1", 1) };
    let crowd = Entry { pods: vec![entry("10.0.1.1", 1).pods[0].clone(); 9], ..entry("10.0.1.1", 1) };
    for (hello, label) in
        [(Hello { version: 99, ..east() }, "version"), (Hello { cluster: "west".to_owned(), ..east() }, "cluster")]
    {
        let error = Agent::new().error(lying(greeting(hello)).await).await;
        assert_eq!(error.label(), label, "{error}");
    }
    let cases: [(Vec<Answer>, &str); 7] = [
        (vec![good.clone()], "greeting"),
        (vec![hello(), hello()], "greeting"),
        (vec![hello(), good.clone(), answer(vec![profile(1)], vec![])], "sent twice"),
        (vec![hello(), answer(vec![], vec![entry("10.0.1.1", 7)])], "never sent"),
        (vec![hello(), answer(vec![profile(1)], vec![no_address])], "address"),
        (vec![hello(), answer(vec![profile(1)], vec![crowd])], "more pods"),
        (vec![hello(), answer(vec![Profile { namespace: String::new(), ..profile(1) }], vec![])], "no valid name"),
    ];
    for (answers, expected) in cases {
        let mut agent = Agent::new();
        agent.asks.ask(ip("10.0.1.1"));
        let at = lying(answers).await;
        let error = agent.error(at).await;
        assert_eq!(error.label(), "wrong_answer", "{error}");
        assert!(error.to_string().contains(expected), "{error}");
        assert!(!agent.following.is_connected());
    }
}

/// A connection that breaks, as when the relay's node fails, has ended; the relay has refused
/// nothing.
#[tokio::test]
async fn broken_connections_have_ended() {
    let relay = Relay::start("east").await;
    for is_reset in [false, true] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let (cut, mut is_cut) = mpsc::channel::<()>(1);
        let between = async {
            let (mut near, _) = listener.accept().await.unwrap();
            let mut far = tokio::net::TcpStream::connect(relay.at).await.unwrap();
            tokio::select! {
                _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                _ = is_cut.recv() => {}
            }
            if is_reset {
                near.set_zero_linger().unwrap();
            }
            drop((near, far));
            std::future::pending::<()>().await;
        };
        let mut agent = Agent::new();
        let following = Arc::clone(&agent.following);
        let when_connected = async {
            while !following.is_connected() {
                sleep(Duration::from_millis(2)).await;
            }
            cut.send(()).await.unwrap();
            std::future::pending::<()>().await;
        };
        let error = tokio::select! {
            error = agent.error(at) => error,
            () = between => unreachable!(),
            () = when_connected => unreachable!(),
        };
        assert_eq!(error.label(), "ended", "{error:?}");
    }
}

/// An address that was not asked for is passed over, and counted: it may have been released.
#[tokio::test]
async fn unasked_addresses_are_passed_over() {
    let unasked = Answer { profiles: vec![profile(1)], entries: vec![entry("10.0.1.9", 1)], ..Answer::default() };
    let at = lying(vec![hello(), unasked]).await;
    let mut agent = Agent::new();
    agent.until(at, |agent| agent.counts().unasked == 1).await;
    assert_eq!((agent.named("10.0.1.9"), agent.following.counts().named), (None, 0));
}

/// A relay that accepts and says nothing, and bytes that are no HTTP/2, end within the silence.
#[tokio::test]
async fn silence_and_garbage_end_the_stream() {
    let at = lying(vec![hello()]).await;
    let Agent { following, asks, mut asked } = Agent::new();
    let channel = channel(at).await;
    let follower = {
        let following = Arc::clone(&following);
        tokio::spawn(async move { follow(channel, &following, &mut asked, |_, _| {}).await.label() })
    };
    let connected = async {
        while !following.is_connected() {
            sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(TIMEOUT, connected).await.unwrap();
    // Nothing will come, so only time passes. What the agent asks is no answer.
    tokio::time::pause();
    let asking = async {
        for last in 1..=60 {
            asks.ask(IpAddr::from([10, 0, 9, last]));
            sleep(Duration::from_secs(5)).await;
        }
    };
    tokio::select! {
        label = follower => assert_eq!(label.unwrap(), "silent"),
        () = asking => panic!("the relay is still waited for"),
    }
    tokio::time::resume();

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _sent = stream.write_all(&[0x55; 4096]).await;
        }
    });
    let mut agent = Agent::new();
    let followed = async {
        let channel = Endpoint::from_shared(format!("http://{at}")).unwrap().connect().await.ok()?;
        Some(follow(channel, &agent.following, &mut agent.asked, |_, _| {}).await)
    };
    if let Some(error) = timeout(TIMEOUT, followed).await.unwrap() {
        assert!(!matches!(error, FollowError::Protocol(_)), "{error}");
    }
    assert!(!agent.following.is_connected());
}

/// Pods of one address with labels as large as can be come in several answers, each of a size that
/// a client reads.
#[tokio::test]
async fn large_profiles_come_in_parts() {
    let relay = Relay::start("east").await;
    let large = |at: usize| webb_cluster::Pod {
        labels: [("app".to_owned(), format!("{at}{}", "x".repeat(1 << 20)))].into(),
        ..pod("10.0.1.1")
    };
    for at in 0..8 {
        relay.directory.upsert(key(&format!("web-{at}")), &large(at));
    }
    let mut agent = Agent::new();
    agent.asks.ask(ip("10.0.1.1"));
    agent.until(relay.at, |agent| named(agent, "10.0.1.1").is_some()).await;
    assert_eq!(agent.named("10.0.1.1").unwrap().len(), 8);
}
