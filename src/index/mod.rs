//! Who is behind an address: the immutable [`Index`] that one batch of flows is named by.
//!
//! `cluster` builds a new one when the cluster changes and publishes it whole; the reader picks it up between two
//! batches and the batch carries it along, so an [`EndpointId`] means the same to every metric that reads the batch.
//! Looking up an address is one hash probe, without lock or allocation.

mod dns;
mod endpoint;
pub mod policy;
mod services;

pub use endpoint::{Endpoint, EndpointSpec, Kind, Workload};
pub use policy::Policies;
pub use services::{ServiceName, ServicePort, ServiceSpec, Services};

use hashbrown::HashMap;

use crate::flow::{Address, EndpointId};

type ByAddress = HashMap<Address, EndpointId, foldhash::fast::RandomState>;

/// Everything a batch needs to name its flows. Immutable once built.
#[derive(Debug)]
pub struct Index {
    by_address: ByAddress,
    endpoints: Vec<Endpoint>,
    policies: Policies,
    services: Services,
}

impl Default for Index {
    /// Nobody is known: every address is the world's.
    fn default() -> Self {
        Self::new([], Policies::default())
    }
}

impl Index {
    /// An index of these endpoints, each with its addresses. Where two claim an address, the later one has it.
    pub fn new(endpoints: impl IntoIterator<Item = (Endpoint, Vec<Address>)>, policies: Policies) -> Self {
        let mut index = Self {
            by_address: ByAddress::default(),
            endpoints: vec![Endpoint::default(), Endpoint::world()],
            policies,
            services: Services::default(),
        };
        for (endpoint, addresses) in endpoints {
            let row = u32::try_from(index.endpoints.len()).unwrap_or(u32::MAX);
            let id = EndpointId::of_row(row, endpoint.kind.is_front());
            index.endpoints.push(endpoint);
            for address in addresses {
                index.by_address.insert(address, id);
            }
        }
        index
    }

    /// With these services. Their addresses are told to [`Index::new`], as an endpoint of [`Kind::Service`].
    #[must_use]
    pub fn with_services(self, services: Services) -> Self {
        Self { services, ..self }
    }

    /// Who has `address`; `EndpointId::WORLD` for an address nobody claims.
    #[inline]
    pub fn find(&self, address: Address) -> EndpointId {
        self.by_address.get(&address).copied().unwrap_or(EndpointId::WORLD)
    }

    /// The endpoint of an id given by this index; the empty endpoint for any other.
    #[inline]
    pub fn endpoint(&self, id: EndpointId) -> &Endpoint {
        static EMPTY: Endpoint = Endpoint::EMPTY;
        self.endpoints.get(id.row()).unwrap_or(&EMPTY)
    }

    /// Every endpoint with its id, the empty one and the world included.
    pub fn endpoints(&self) -> impl Iterator<Item = (EndpointId, &Endpoint)> {
        self.endpoints.iter().enumerate().map(|(at, endpoint)| {
            (EndpointId::of_row(u32::try_from(at).unwrap_or(u32::MAX), endpoint.kind.is_front()), endpoint)
        })
    }

    /// How many addresses are known.
    pub fn addresses(&self) -> usize {
        self.by_address.len()
    }

    /// The NetworkPolicies, compiled.
    pub fn policies(&self) -> &Policies {
        &self.policies
    }

    /// The services by frontend.
    pub fn services(&self) -> &Services {
        &self.services
    }
}
