//! Errors of connection tracking.

/// Error that prevents following connection tracking.
#[derive(Debug, thiserror::Error)]
pub enum ConntrackError {
    /// The socket cannot be opened.
    #[error("cannot open a netfilter netlink socket: {0}; the kernel may lack CONFIG_NETFILTER_NETLINK")]
    Socket(std::io::Error),
    /// The process may not subscribe to the events.
    #[error("cannot subscribe to connection tracking events: {0}; this needs CAP_NET_ADMIN")]
    Listen(std::io::Error),
    /// The kernel does not know the question.
    #[error("cannot read the connections that are tracked: {0}; is the kernel module nf_conntrack_netlink there?")]
    Dump(std::io::Error),
    /// The socket broke.
    #[error("cannot receive events of connection tracking: {0}")]
    Receive(std::io::Error),
    /// Events are switched off.
    #[error("conntrack events are disabled: set net.netfilter.nf_conntrack_events to 1 or 2; it is 0")]
    NoEvents,
    /// The agent is stopping.
    #[error("stopped")]
    Stopped,
}
