//! Flow filters: which flows a metric looks at (hubble-contract §2.6).
//!
//! What was written is a [`FilterSpec`], plain data; [`FlowFilter::new`] understands it once, and what then decides
//! about a flow is a list of tests, cheapest first. A flow from the kernel, which has no extras, is decided without
//! lock or allocation: numbers are compared, and what depends on names is remembered by their symbols.
//!
//! ```text
//! file ──dynamic──▶ FilterSpec ──build──▶ Test, Test, ... ──▶ Filters::pass
//! ```

mod address;
mod build;
pub mod fuzz;
mod memo;
mod names;
mod re2;
mod seen;
mod selector;
mod spec;
mod status;
mod tests;
mod uri;

pub use build::FilterError;
pub use spec::{EventTypeSpec, FilterSpec, HeaderSpec, InterfaceSpec, WorkloadSpec};

use crate::flow::{Extra, Flow};
use crate::index::Index;
use seen::Seen;
use tests::Test;

/// One filter, ready to be asked. Two are equal if the same was written.
#[derive(Debug, Clone)]
pub struct FlowFilter {
    spec: FilterSpec,
    tests: Vec<Test>,
}

impl PartialEq for FlowFilter {
    fn eq(&self, other: &Self) -> bool {
        self.spec == other.spec
    }
}

impl FlowFilter {
    /// Understands what was written.
    ///
    /// # Errors
    /// Every value that cannot be used, with its field.
    pub fn new(spec: FilterSpec) -> Result<Self, Vec<FilterError>> {
        let tests = build::tests(&spec)?;
        Ok(Self { spec, tests })
    }

    /// True if all fields match; without any field, every flow does.
    pub fn matches(&self, flow: &Flow, extra: Option<&Extra>, index: &Index) -> bool {
        let seen = Seen { flow, extra, index };
        self.tests.iter().all(|test| test.matches(&seen))
    }
}

/// The filters of one metric.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filters {
    /// If there are any, one of them must match.
    pub include: Vec<FlowFilter>,
    /// None of them may match.
    pub exclude: Vec<FlowFilter>,
}

impl Filters {
    /// True if the metric is to look at the flow. Nearly free where there are no filters.
    #[inline]
    pub fn pass(&self, flow: &Flow, extra: Option<&Extra>, index: &Index) -> bool {
        if self.include.is_empty() && self.exclude.is_empty() {
            return true;
        }
        self.decide(flow, extra, index)
    }

    /// Tells the filters which node this is, as `cluster/node`: flows that the kernel reports do not carry it.
    pub fn at_home(&mut self, node: &str) {
        for filter in self.include.iter_mut().chain(&mut self.exclude) {
            for test in &mut filter.tests {
                test.at_home(node);
            }
        }
    }

    fn decide(&self, flow: &Flow, extra: Option<&Extra>, index: &Index) -> bool {
        let included = self.include.is_empty() || self.include.iter().any(|filter| filter.matches(flow, extra, index));
        included && !self.exclude.iter().any(|filter| filter.matches(flow, extra, index))
    }
}
