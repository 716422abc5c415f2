//! Follows the interfaces, addresses and routes of this network namespace (rtnetlink).
//!
//! Interfaces are followed message by message. Addresses and routes are read anew whenever a
//! message says that one of interest has changed: some of them go without a message of their own,
//! with their interface or their address.
//!
//! Netlink drops messages when its reader is slow. Then everything is read anew and compared with
//! what was known, so a burst of pods costs a reading and never an interface. Requests have a
//! socket of their own, so no answer is lost in a burst of notifications.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use futures::channel::mpsc::UnboundedReceiver;
use futures::{FutureExt, StreamExt};
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::link::LinkMessage;
use rtnetlink::packet_route::route::RouteMessage;
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::sys::SocketAddr;
use rtnetlink::{Handle, MulticastGroup, new_connection_with_strict_check, new_multicast_connection};
use tokio::time::Instant;

use super::addresses::{self, Addresses};
use super::error::failed;
use super::filters::{self, TcFilters};
use super::interface::Interface;
use super::pending_request::PendingRequest;
use super::routes::Route;

/// The least time between two readings of all addresses and routes: a node may have very many.
const MIN_READ_INTERVAL: Duration = Duration::from_millis(250);

/// Device that carries the addresses of all services in kube-proxy's IPVS mode. They are this
/// machine's by their form only.
const SERVICES_DEVICE: &str = "kube-ipvs0";

const GROUPS: [MulticastGroup; 6] = [
    MulticastGroup::Link,
    MulticastGroup::Tc,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
];

/// This node's own addresses, and those that its routes place behind one interface each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Node {
    /// Every address of an interface of this namespace, sorted.
    pub addresses: Vec<IpAddr>,
    /// Interfaces by index, each with an address that is routed to it alone; sorted.
    pub routes: Vec<(u32, IpAddr)>,
}

/// A change of the interfaces, addresses, routes or queues of this namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetworkEvent {
    /// The interface is new, or something in [`Interface`] has changed.
    Present(Interface),
    /// The interface was removed, or moved to another namespace.
    Gone {
        /// Its index.
        index: u32,
    },
    /// Addresses or routes of this node; sent once at the beginning.
    Node(Node),
    /// A queue or a filter of some interface was added, changed or removed.
    TrafficControl,
}

type Messages = UnboundedReceiver<(NetlinkMessage<RouteNetlinkMessage>, SocketAddr)>;

/// Everything there is, and its changes. Must live on a tokio runtime; dropping it closes the
/// netlink sockets.
#[derive(Debug)]
pub struct NetworkWatch {
    handle: Handle,
    messages: Messages,
    connections: [tokio::task::JoinHandle<()>; 2],
    known: HashMap<u32, Interface>,
    uplinks: HashSet<u32>,
    node: Option<Node>,
    changes: VecDeque<NetworkEvent>,
    /// Interfaces are to be read anew; a wait that is given up leaves it so.
    links_stale: bool,
    links: PendingRequest<Vec<LinkMessage>>,
    /// True if addresses and routes must be read again.
    node_stale: bool,
    routes_and_addresses: PendingRequest<(Routes, Vec<(u32, IpAddr)>)>,
    /// Earliest time of the next read of addresses and routes.
    not_before: Instant,
}

impl NetworkWatch {
    /// Starts to listen, then reads what there is: nothing is missed in between.
    pub async fn new() -> io::Result<Self> {
        let (events, _, messages) = new_multicast_connection(&GROUPS)?;
        let (requests, handle, _) = new_connection_with_strict_check()?;
        let mut watch = Self {
            handle,
            messages,
            connections: [tokio::spawn(events), tokio::spawn(requests)],
            known: HashMap::new(),
            uplinks: HashSet::new(),
            node: None,
            changes: VecDeque::new(),
            links_stale: true,
            links: PendingRequest::default(),
            node_stale: true,
            routes_and_addresses: PendingRequest::default(),
            not_before: Instant::now(),
        };
        // An interface is told as what it is from the first.
        watch.uplinks = read_routes(&watch.handle).await?.uplinks;
        watch.read_links().await?;
        watch.read_node().await?;
        Ok(watch)
    }

    /// The next change; what is there already comes as a change first. An error means that netlink
    /// is closed: make a new watch. A call that is dropped before it ends loses nothing.
    pub async fn next(&mut self) -> io::Result<NetworkEvent> {
        loop {
            if let Some(change) = self.changes.pop_front() {
                return Ok(change);
            }
            // All that has come is taken before anything is read anew: a burst costs one reading.
            if let Some(message) = self.messages.next().now_or_never() {
                self.take(message)?;
            } else if self.links_stale {
                self.read_links().await?;
            } else if self.node_stale && self.not_before <= Instant::now() {
                self.read_node().await?;
            } else if self.node_stale {
                let message = tokio::select! {
                    message = self.messages.next() => message,
                    () = tokio::time::sleep_until(self.not_before) => continue,
                };
                self.take(message)?;
            } else {
                let message = self.messages.next().await;
                self.take(message)?;
            }
        }
    }

    /// The addresses of another network namespace by its number in this one.
    pub async fn addresses_in(&self, namespace: i32) -> io::Result<Addresses> {
        addresses::addresses_in(&self.handle, namespace).await
    }

    /// The programs that are attached to an interface by clsact.
    pub async fn filters(&self, index: u32) -> io::Result<TcFilters> {
        filters::filters(&self.handle, index).await
    }

    /// The interfaces with an ingress qdisc of the older kind, which has no hook for packets that
    /// leave.
    pub async fn without_egress(&self) -> io::Result<HashSet<u32>> {
        filters::without_egress(&self.handle).await
    }

    /// Number of packets that an interface has received and sent, together; none if it was removed.
    pub async fn packets_of(&self, index: u32) -> io::Result<Option<u64>> {
        filters::packets_of(&self.handle, index).await
    }

    /// Number of packets that each interface has received and sent, together.
    pub async fn packets(&self) -> io::Result<HashMap<u32, u64>> {
        filters::packets(&self.handle).await
    }

    fn take(&mut self, message: Option<(NetlinkMessage<RouteNetlinkMessage>, SocketAddr)>) -> io::Result<()> {
        let Some((message, _)) = message else {
            return Err(io::Error::new(io::ErrorKind::BrokenPipe, "the netlink connection has ended"));
        };
        match message.payload {
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => self.present(&link),
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelLink(link)) => self.gone(link.header.index),
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewAddress(_) | RouteNetlinkMessage::DelAddress(_)) => {
                self.node_stale = true;
            }
            NetlinkPayload::InnerMessage(
                RouteNetlinkMessage::NewRoute(route) | RouteNetlinkMessage::DelRoute(route),
            ) => {
                self.node_stale |= Route::of(&route).is_some();
            }
            NetlinkPayload::InnerMessage(
                RouteNetlinkMessage::NewQueueDiscipline(_)
                | RouteNetlinkMessage::DelQueueDiscipline(_)
                | RouteNetlinkMessage::NewTrafficFilter(_)
                | RouteNetlinkMessage::DelTrafficFilter(_),
            ) => self.traffic_control(),
            NetlinkPayload::Overrun(_) => {
                (self.links_stale, self.node_stale) = (true, true);
                // What is lost may have happened after the beginning of a reading, too.
                self.links.give_up();
                self.routes_and_addresses.give_up();
                self.traffic_control();
            }
            _ => {}
        }
        Ok(())
    }

    fn traffic_control(&mut self) {
        if self.changes.back() != Some(&NetworkEvent::TrafficControl) {
            self.changes.push_back(NetworkEvent::TrafficControl);
        }
    }

    fn present(&mut self, message: &LinkMessage) {
        // A bridge reports its ports in messages of its own family, without most attributes.
        if u8::from(message.header.interface_family) != 0 {
            return;
        }
        let Some(mut interface) = Interface::of(message) else { return };
        interface.uplink = self.uplinks.contains(&interface.index);
        if self.known.get(&interface.index) != Some(&interface) {
            // A device that goes down takes routes along without a word.
            self.node_stale = true;
            self.known.insert(interface.index, interface.clone());
            self.changes.push_back(NetworkEvent::Present(interface));
        }
    }

    fn gone(&mut self, index: u32) {
        if self.known.remove(&index).is_some() {
            self.node_stale = true;
            self.changes.push_back(NetworkEvent::Gone { index });
        }
    }

    async fn read_links(&mut self) -> io::Result<()> {
        let handle = &self.handle;
        let found = self.links.finish(|| read_links(handle.clone())).await?;
        self.links_stale = false;
        let there: HashSet<u32> = found.iter().map(|link| link.header.index).collect();
        let lost: Vec<u32> = self.known.keys().copied().filter(|index| !there.contains(index)).collect();
        for index in lost {
            self.gone(index);
        }
        for link in &found {
            self.present(link);
        }
        Ok(())
    }

    /// Reads addresses and routes. What changes meanwhile says so afterwards.
    async fn read_node(&mut self) -> io::Result<()> {
        let handle = &self.handle;
        let read = || {
            let handle = handle.clone();
            async move { Ok((read_routes(&handle).await?, read_addresses(&handle).await?)) }
        };
        let (Routes { uplinks, hosts }, addresses) = self.routes_and_addresses.finish(read).await?;
        self.node_stale = false;
        self.not_before = Instant::now() + MIN_READ_INTERVAL;
        self.uplinks = uplinks;
        for interface in self.known.values_mut() {
            let uplink = self.uplinks.contains(&interface.index);
            if interface.uplink != uplink {
                interface.uplink = uplink;
                self.changes.push_back(NetworkEvent::Present(interface.clone()));
            }
        }
        let services = self.known.values().find(|interface| interface.name == SERVICES_DEVICE);
        let services = services.map(|interface| interface.index);
        let own = addresses.into_iter().filter(|(index, _)| Some(*index) != services);
        let mut addresses: Vec<IpAddr> = own.map(|(_, address)| address).collect();
        addresses.sort_unstable();
        addresses.dedup();
        let node = Node { addresses, routes: hosts };
        if self.node.as_ref() != Some(&node) {
            self.node = Some(node.clone());
            self.changes.push_back(NetworkEvent::Node(node));
        }
        Ok(())
    }
}

/// State of the read of the routes.
#[derive(Debug)]
struct Routes {
    /// The interfaces with a default route.
    uplinks: HashSet<u32>,
    /// The addresses with a route of their own.
    hosts: Vec<(u32, IpAddr)>,
}

async fn read_links(handle: Handle) -> io::Result<Vec<LinkMessage>> {
    let mut links = Box::pin(handle.link().get().execute());
    let mut found = Vec::new();
    while let Some(link) = links.next().await {
        found.push(link.map_err(failed)?);
    }
    Ok(found)
}

async fn read_routes(handle: &Handle) -> io::Result<Routes> {
    let mut found = Routes { uplinks: HashSet::new(), hosts: Vec::new() };
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut request = RouteMessage::default();
        request.header.address_family = family;
        let mut routes = Box::pin(handle.route().get(request).execute());
        while let Some(route) = routes.next().await {
            match Route::of(&route.map_err(failed)?) {
                Some(Route::Default(interfaces)) => found.uplinks.extend(interfaces),
                Some(Route::Host(index, address)) => found.hosts.push((index, address)),
                None => {}
            }
        }
    }
    found.hosts.sort_unstable();
    found.hosts.dedup();
    Ok(found)
}

async fn read_addresses(handle: &Handle) -> io::Result<Vec<(u32, IpAddr)>> {
    let mut answers = Box::pin(handle.address().get().execute());
    let mut found = Vec::new();
    while let Some(answer) = answers.next().await {
        found.extend(addresses::address(&answer.map_err(failed)?));
    }
    Ok(found)
}

impl Drop for NetworkWatch {
    fn drop(&mut self) {
        for connection in &self.connections {
            connection.abort();
        }
    }
}
