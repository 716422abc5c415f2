//! The two ends of a flow, and the names of an end that its endpoint does not hold: DNS names and
//! the service.

use webb_flow::sym::Sym;
use webb_flow::{EndpointId, Extra, Flow};

use super::Index;

/// One end of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum End {
    Source,
    Destination,
}

impl End {
    /// The opposite end.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Source => Self::Destination,
            Self::Destination => Self::Source,
        }
    }

    /// The endpoint of a flow at this end.
    #[inline]
    pub fn id(self, flow: &Flow) -> EndpointId {
        match self {
            Self::Source => flow.source,
            Self::Destination => flow.destination,
        }
    }

    /// The DNS names of this end, sorted and joined with `,` (hubble-contract §5.5): those that a
    /// replayed flow, or one in a history, carries, or those by which the other end has looked this
    /// one up.
    #[inline]
    pub fn dns_names(self, flow: &Flow, extra: Option<&Extra>, index: &Index) -> Sym {
        let is_carried = |extra: &&Extra| !extra.live || extra.carries_names();
        match (extra.filter(is_carried), self) {
            (Some(extra), Self::Source) => extra.source_names,
            (Some(extra), Self::Destination) => extra.destination_names,
            (None, Self::Source) => index.dns_names().find(flow.destination_ip, flow.source_ip),
            (None, Self::Destination) => index.dns_names().find(flow.source_ip, flow.destination_ip),
        }
    }

    /// The service with this end as its frontend, as `namespace/name`.
    pub fn service(self, flow: &Flow, extra: Option<&Extra>, index: &Index) -> Sym {
        let own = match (extra.filter(|extra| !extra.live), self) {
            (None, Self::Source) => return index.services().name(flow.service.at_source()).qualified,
            (None, Self::Destination) => return index.services().name(flow.service.at_destination()).qualified,
            (Some(extra), Self::Source) => &extra.source_service,
            (Some(extra), Self::Destination) => &extra.destination_service,
        };
        own.as_ref().map_or(Sym::EMPTY, |service| Sym::new(&format!("{}/{}", service.namespace, service.name)))
    }
}
