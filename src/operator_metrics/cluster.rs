//! The cluster, as the leader's categories read it.

use std::sync::Arc;

use webb_cluster::kubernetes::Status;
use webb_cluster::lease::Leadership;
use webb_cluster::view::ClusterView;

use crate::families::{CategorySource, SelectedRows};

/// Parts that the leader's categories read.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// The cluster's objects.
    pub view: Arc<ClusterView>,
    /// Which of them are listed.
    pub watches: Arc<Status>,
    /// Whether this replica leads.
    pub leadership: Arc<Leadership>,
}

impl Cluster {
    /// A source that a replica reads only while it leads.
    pub(super) fn source(
        &self,
        fill: impl Fn(&Cluster, &mut SelectedRows<'_>) + Send + Sync + 'static,
    ) -> CategorySource {
        let cluster = self.clone();
        Box::new(move |rows| {
            if cluster.leadership.is_leading() {
                fill(&cluster, rows);
            }
        })
    }
}
