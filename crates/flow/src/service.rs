//! The service that one end of a flow is addressed as.

/// Row of the service table of the index a batch travels with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ServiceId(pub u32);

impl ServiceId {
    /// Id of no service: both names are empty.
    pub const NONE: Self = Self(0);
}

/// The service of a flow and the end that is addressed as it. A packet has one such end at most:
/// where a client talks to a service, its own address is its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ServiceEnd(u32);

impl ServiceEnd {
    /// Neither end is a service's address.
    pub const NONE: Self = Self(0);
    const AT_SOURCE: u32 = 1 << 31;

    /// The packet comes from a service's address: a reply.
    pub fn source(id: ServiceId) -> Self {
        if id == ServiceId::NONE { Self::NONE } else { Self(id.0 | Self::AT_SOURCE) }
    }

    /// Service as the packet's destination.
    pub fn destination(id: ServiceId) -> Self {
        Self(id.0 & !Self::AT_SOURCE)
    }

    /// `source_service`.
    pub fn at_source(self) -> ServiceId {
        if self.0 & Self::AT_SOURCE == 0 { ServiceId::NONE } else { ServiceId(self.0 & !Self::AT_SOURCE) }
    }

    /// `destination_service`.
    pub fn at_destination(self) -> ServiceId {
        if self.0 & Self::AT_SOURCE == 0 { ServiceId(self.0) } else { ServiceId::NONE }
    }

    /// The same service, seen from the reply.
    #[must_use]
    pub fn swapped(self) -> Self {
        if self == Self::NONE { self } else { Self(self.0 ^ Self::AT_SOURCE) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A service shows at its own end only, and the reply has it at the other.
    #[test]
    fn one_end_at_most() {
        let id = ServiceId(7);
        let (to, from) = (ServiceEnd::destination(id), ServiceEnd::source(id));
        assert_eq!((to.at_source(), to.at_destination()), (ServiceId::NONE, id));
        assert_eq!((from.at_source(), from.at_destination()), (id, ServiceId::NONE));
        assert_eq!((to.swapped(), from.swapped()), (from, to));
        assert_eq!(ServiceEnd::source(ServiceId::NONE), ServiceEnd::NONE);
        assert_eq!(ServiceEnd::NONE.swapped(), ServiceEnd::NONE);
    }
}
