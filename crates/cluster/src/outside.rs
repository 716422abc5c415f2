//! The places of what is outside of the cluster, which no object has.

use webb_index::CidrSpec;

use super::Cache;
use super::store::lock;

impl Cache {
    /// Sets the places of networks outside the cluster, [`webb_index::MAX_CIDRS`] at most, and the
    /// bytes that a tunnel between nodes adds to a packet. The next index has them.
    pub fn set_places(&self, cidrs: Vec<CidrSpec>, overhead: u32) {
        *lock(&self.store.places) = (cidrs.into(), overhead);
        self.touched().places = true;
    }
}
