//! Bounds what the regular expressions of all requests of a listener take together.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tonic::Status;
use webb_index::filters::{Filters, RegexBudget};

use crate::filter;
use crate::proto::flow::FlowFilter;

/// Memory of all of them, in bytes.
const ALL_BYTES: usize = 32 << 20;

/// What is counted by, in bytes: about a small expression with its search.
const UNIT: usize = 1 << 16;

/// What a regular expression takes at most, in bytes: its program and its search. Expressions of
/// CEL have any number of them.
const ONE_BYTES: usize = 2 << 20;

/// Time that a request waits for others to end.
const WAIT_TIMEOUT: Duration = Duration::from_secs(2);

/// Memory for the expressions of the requests that are being answered.
#[derive(Debug, Clone)]
pub(crate) struct Expressions(Arc<Semaphore>);

/// The filters of a request, and the memory that their expressions keep until they are dropped.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub(crate) filters: Filters,
    pub(crate) share: Option<OwnedSemaphorePermit>,
}

impl Default for Expressions {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(ALL_BYTES / UNIT)))
    }
}

impl Expressions {
    /// Compiles the filters of a request. Until that is done it has as much memory as its
    /// expressions may take; then it keeps what they need.
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED if other requests have the memory, else what is wrong with a filter.
    pub(crate) async fn compile(
        &self,
        whitelist: Vec<FlowFilter>,
        blacklist: Vec<FlowFilter>,
    ) -> Result<Compiled, Status> {
        let most = whitelist.iter().chain(&blacklist).map(most_bytes).fold(0, usize::saturating_add);
        let mut share = if most > 0 { Some(self.share(most.min(RegexBudget::BYTES)).await?) } else { None };
        // A hundred regular expressions take seconds, and nothing else would be answered meanwhile.
        let compiled = spawn_blocking(move || {
            let budget = RegexBudget::default();
            let filters = filter::compile(whitelist, blacklist, &budget)?;
            drop(share.as_mut().and_then(|all| all.split(all.num_permits().saturating_sub(units(budget.taken())))));
            Ok(Compiled { filters, share })
        });
        compiled.await.map_err(|_| Status::internal("the filters could not be compiled"))?
    }

    async fn share(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Status> {
        let units = u32::try_from(units(bytes)).unwrap_or(u32::MAX);
        let share = timeout(WAIT_TIMEOUT, Arc::clone(&self.0).acquire_many_owned(units)).await;
        share.ok().and_then(Result::ok).ok_or_else(|| {
            let all = ALL_BYTES >> 20;
            Status::resource_exhausted(format!("the expressions of other requests take most of {all} MiB: try later"))
        })
    }
}

/// What the expressions of a filter take at most, in bytes.
fn most_bytes(filter: &FlowFilter) -> usize {
    if filter::has_cel(filter) { RegexBudget::BYTES } else { filter::regular_expressions(filter) * ONE_BYTES }
}

fn units(bytes: usize) -> usize {
    bytes.div_ceil(UNIT)
}
