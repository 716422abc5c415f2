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

/// Time that a request waits for others to end.
const PATIENCE: Duration = Duration::from_secs(2);

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
    /// Compiles the filters of a request. Until that is done it has as much memory as a request may
    /// take; then it keeps what its expressions need.
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED if other requests have the memory, else what is wrong with a filter.
    pub(crate) async fn compile(
        &self,
        whitelist: Vec<FlowFilter>,
        blacklist: Vec<FlowFilter>,
    ) -> Result<Compiled, Status> {
        let has_expressions = whitelist.iter().chain(&blacklist).any(filter::has_expressions);
        let mut share = if has_expressions { Some(self.share().await?) } else { None };
        // A hundred regular expressions take seconds, and nothing else would be answered meanwhile.
        let compiled = spawn_blocking(move || {
            let budget = RegexBudget::default();
            let filters = filter::compile(whitelist, blacklist, &budget)?;
            drop(share.as_mut().and_then(|all| all.split(all.num_permits().saturating_sub(units(budget.taken())))));
            Ok(Compiled { filters, share })
        });
        compiled.await.map_err(|_| Status::internal("the filters could not be compiled"))?
    }

    async fn share(&self) -> Result<OwnedSemaphorePermit, Status> {
        let most = u32::try_from(units(RegexBudget::BYTES)).unwrap_or(u32::MAX);
        let share = timeout(PATIENCE, Arc::clone(&self.0).acquire_many_owned(most)).await;
        share.ok().and_then(Result::ok).ok_or_else(|| {
            let all = ALL_BYTES >> 20;
            Status::resource_exhausted(format!("the expressions of other requests take most of {all} MiB: try later"))
        })
    }
}

fn units(bytes: usize) -> usize {
    bytes.div_ceil(UNIT)
}
