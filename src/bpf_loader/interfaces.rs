//! The interfaces of this network namespace, as they come, change and go (rtnetlink).
//!
//! Netlink drops messages when its reader is slow. Then everything is read anew and compared with what was known, so
//! a burst of pods costs a dump and never an interface.

use std::collections::{HashMap, VecDeque};
use std::io;

use futures::StreamExt;
use futures::channel::mpsc::UnboundedReceiver;
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{
    InfoKind, InfoPortKind, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage,
};
use rtnetlink::sys::SocketAddr;
use rtnetlink::{Handle, MulticastGroup, new_multicast_connection};

use super::uplinks::uplinks;

/// What kind of interface it is, as far as that matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// One end of a veth pair.
    Veth,
    /// A veth that carries this node's default route.
    Uplink,
    /// Anything else.
    Other,
}

/// What we want to know of an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "facts of the kernel's that have nothing to do with each other")]
pub struct Interface {
    /// Its index, which it keeps for life.
    pub index: u32,
    /// Its name, which may change.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Its peer sits in another network namespace.
    pub peer_in_other_namespace: bool,
    /// The other end: the number here of its namespace, and its index there.
    pub peer: Option<(i32, u32)>,
    /// It is a port of a bridge.
    pub bridged: bool,
    /// Its packets begin with an Ethernet header.
    pub ethernet: bool,
    /// It is administratively up.
    pub up: bool,
}

impl Interface {
    fn of(message: &LinkMessage) -> Option<Self> {
        let mut interface = Self {
            index: message.header.index,
            name: String::new(),
            kind: Kind::Other,
            peer_in_other_namespace: false,
            peer: None,
            bridged: false,
            ethernet: message.header.link_layer_type == LinkLayerType::Ether,
            up: message.header.flags.contains(LinkFlags::Up),
        };
        let (mut namespace, mut peer) = (None, None);
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => interface.name.clone_from(name),
                // Present only where the peer is elsewhere; -1 where its namespace has no number here.
                LinkAttribute::LinkNetNsId(number) => {
                    interface.peer_in_other_namespace = true;
                    namespace = Some(*number);
                }
                LinkAttribute::Link(index) => peer = Some(*index),
                LinkAttribute::LinkInfo(infos) => {
                    if infos.contains(&LinkInfo::Kind(InfoKind::Veth)) {
                        interface.kind = Kind::Veth;
                    }
                    interface.bridged = infos.iter().any(is_bridge_port);
                }
                _ => {}
            }
        }
        interface.peer = namespace.zip(peer);
        (!interface.name.is_empty()).then_some(interface)
    }
}

/// True for a port of a bridge or of an Open vSwitch, which floods as well.
fn is_bridge_port(info: &LinkInfo) -> bool {
    match info {
        LinkInfo::PortKind(InfoPortKind::Bridge) => true,
        LinkInfo::PortKind(InfoPortKind::Other(name)) => name == "openvswitch",
        _ => false,
    }
}

/// What became of an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It is new, or something in [`Interface`] has changed.
    Present(Interface),
    /// It is gone, or moved to another namespace.
    Gone {
        /// Its index.
        index: u32,
    },
    /// A queue or a filter of some interface has come, changed or gone.
    TrafficControl,
}

/// All interfaces and their changes. Must live on a tokio runtime; dropping it closes the netlink socket.
#[derive(Debug)]
pub struct Watch {
    handle: Handle,
    messages: UnboundedReceiver<(NetlinkMessage<RouteNetlinkMessage>, SocketAddr)>,
    connection: tokio::task::JoinHandle<()>,
    known: HashMap<u32, Interface>,
    changes: VecDeque<Change>,
}

impl Watch {
    /// Starts to listen, then reads what there is: nothing is missed in between.
    pub async fn new() -> io::Result<Self> {
        let (connection, handle, messages) = new_multicast_connection(&[MulticastGroup::Link, MulticastGroup::Tc])?;
        let connection = tokio::spawn(connection);
        let mut watch = Self { handle, messages, connection, known: HashMap::new(), changes: VecDeque::new() };
        watch.read_all().await?;
        Ok(watch)
    }

    /// The next change; each interface that is there already comes as a change first. An error means that netlink is
    /// closed: make a new watch.
    pub async fn next(&mut self) -> io::Result<Change> {
        loop {
            if let Some(change) = self.changes.pop_front() {
                return Ok(change);
            }
            let Some((message, _)) = self.messages.next().await else {
                return Err(io::Error::new(io::ErrorKind::BrokenPipe, "the netlink connection has ended"));
            };
            match message.payload {
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => self.present(&link),
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelLink(link)) => self.gone(link.header.index),
                NetlinkPayload::InnerMessage(
                    RouteNetlinkMessage::NewQueueDiscipline(_)
                    | RouteNetlinkMessage::DelQueueDiscipline(_)
                    | RouteNetlinkMessage::NewTrafficFilter(_)
                    | RouteNetlinkMessage::DelTrafficFilter(_),
                ) => return Ok(Change::TrafficControl),
                NetlinkPayload::Overrun(_) => self.read_all().await?,
                _ => {}
            }
        }
    }

    fn present(&mut self, message: &LinkMessage) {
        // A bridge tells of its ports in messages of its own family, without most attributes.
        if u8::from(message.header.interface_family) != 0 {
            return;
        }
        let Some(mut interface) = Interface::of(message) else { return };
        if interface.kind == Kind::Veth && uplinks().contains(&interface.name) {
            interface.kind = Kind::Uplink;
        }
        if self.known.get(&interface.index) != Some(&interface) {
            self.known.insert(interface.index, interface.clone());
            self.changes.push_back(Change::Present(interface));
        }
    }

    fn gone(&mut self, index: u32) {
        if self.known.remove(&index).is_some() {
            self.changes.push_back(Change::Gone { index });
        }
    }

    async fn read_all(&mut self) -> io::Result<()> {
        let mut links = Box::pin(self.handle.link().get().execute());
        let mut found = Vec::new();
        while let Some(link) = links.next().await {
            found.push(link.map_err(io::Error::other)?);
        }
        drop(links);
        let lost: Vec<u32> =
            self.known.keys().copied().filter(|index| !found.iter().any(|link| link.header.index == *index)).collect();
        for index in lost {
            self.gone(index);
        }
        for link in &found {
            self.present(link);
        }
        Ok(())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.connection.abort();
    }
}
