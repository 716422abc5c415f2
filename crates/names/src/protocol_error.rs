//! What can be wrong with a message of the other side.

/// A message that no correct side sends. The stream ends with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// No greeting, or a second one.
    #[error("a greeting is expected in the first message of a stream, and in no other")]
    Hello,
    /// Another version of the protocol.
    #[error("the other side speaks version {0} of the protocol, and this is version {version}", version = crate::VERSION)]
    Version(u32),
    /// Another cluster.
    #[error("the other side is of the cluster {theirs:?}, and this one of {ours:?}: see cluster_name")]
    Cluster {
        /// Name of the other side's cluster.
        theirs: String,
        /// Name of this side's.
        ours: String,
    },
    /// Bytes that are no addresses.
    #[error("an address has neither 4 nor 16 bytes, or there is not exactly one where one is expected")]
    Address,
    /// A profile with a number that another has.
    #[error("a profile is sent twice")]
    KnownProfile,
    /// An entry with a profile that was not sent.
    #[error("an entry refers to a profile that was never sent")]
    UnknownProfile,
    /// A pod without a name or a namespace, or a port beyond 65535.
    #[error("a pod, or a port of one, has no valid name or number")]
    Pod,
    /// A node without a name, or with a network that is none.
    #[error("a node has no valid name, or a network of no valid length")]
    Node,
    /// A reference to nodes that the agent has not offered.
    #[error("the nodes of another stream are referred to, which were not offered")]
    UnknownNodes,
    /// More profiles, pods of an address, networks or nodes than there can be.
    #[error("there are more {0} than there can be")]
    TooMany(&'static str),
}
