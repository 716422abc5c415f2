//! The places of what is outside of the cluster, which no object has.

use webb_index::CidrSpec;

use super::Cache;
use super::store::lock;

impl Cache {
    /// Sets the places of networks outside the cluster, [`webb_index::MAX_CIDRS`] at most. The next
    /// index has them.
    pub fn set_cidrs(&self, cidrs: Vec<CidrSpec>) {
        *lock(&self.store.cidrs) = cidrs.into();
        self.touched().cidrs = true;
    }
}
