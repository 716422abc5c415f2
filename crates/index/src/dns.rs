//! Where the DNS names of a flow come from, once there is somebody who hears answers.

use webb_flow::sym::Sym;
use webb_flow::{Address, EndpointId};

use super::Index;

impl Index {
    /// The names under which `asker` has looked up `address`: sorted, without trailing dots, joined with `,`. They are
    /// `source_names` where the destination asked for the source, and `destination_names` the other way round
    /// (hubble-contract §5.5). The identifier `dns` and the filters on names ask here for every flow that does not bring its own.
    ///
    /// Hubble fills them from the answers that its DNS proxy sees. webb reads no DNS yet, so there are none.
    #[inline]
    #[allow(clippy::unused_self, reason = "the names will be kept here, beside the endpoints")]
    pub fn dns_names(&self, _asker: EndpointId, _address: Address) -> Sym {
        Sym::EMPTY
    }
}
