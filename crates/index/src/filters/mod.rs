//! Flow filters: they select the flows that a metric counts (hubble-contract §2.6).
//!
//! A [`FilterSpec`] is the filter as written, plain data. [`FlowFilter::new`] compiles it once to a
//! list of predicates, cheapest first. A flow from the kernel, which has no extras, is matched
//! without lock or allocation: numbers are compared, and what depends on names is cached by their
//! symbols. Expressions in CEL come last.
//!
//! ```text
//! file ──metrics::dynamic──▶ FilterSpec ──build──▶ Predicate, Predicate, ... ──▶ Filters::pass
//! ```

mod address;
mod build;
mod cel;
mod flow_view;
pub mod fuzz;
mod match_cache;
mod names;
mod predicate;
mod re2;
mod reads;
mod selector;
mod spec;
mod status;
mod uri;

use std::sync::Arc;

pub use build::FilterError;
pub use cel::{ExpressionError, expression_error, expression_failures};
use flow_view::FlowView;
use predicate::Predicate;
pub use re2::RegexBudget;
pub use reads::Layer7Reads;
pub use spec::{EventTypeSpec, FilterSpec, HeaderSpec, InterfaceSpec, OtherEvent, WorkloadSpec};
use webb_flow::{Extra, Flow};

use crate::Index;

/// One compiled filter. Two are equal if the same was written.
#[derive(Debug, Clone)]
pub struct FlowFilter {
    spec: FilterSpec,
    predicates: Vec<Predicate>,
}

impl PartialEq for FlowFilter {
    fn eq(&self, other: &Self) -> bool {
        self.spec == other.spec
    }
}

impl FlowFilter {
    /// Compiles a filter.
    ///
    /// # Errors
    /// Every value that cannot be used, with its field.
    pub fn new(spec: FilterSpec) -> Result<Self, Vec<FilterError>> {
        Self::within(spec, &RegexBudget::default())
    }

    /// The same, of one of several filters whose regular expressions have one budget.
    ///
    /// # Errors
    /// As [`FlowFilter::new`]; also an expression that is beyond the budget.
    pub fn within(spec: FilterSpec, budget: &RegexBudget) -> Result<Self, Vec<FilterError>> {
        let predicates = build::predicates(&spec, budget)?;
        Ok(Self { spec, predicates })
    }

    /// True if all fields match; without any field, every flow does.
    pub fn matches(&self, flow: &Flow, extra: Option<&Extra>, index: &Index) -> bool {
        let view = FlowView { flow, extra, index };
        self.predicates.iter().all(|predicate| predicate.matches(&view))
    }

    /// True if all fields match an event that is no flow: only `event_type` can.
    fn matches_other(&self, event: OtherEvent) -> bool {
        self.predicates.iter().all(|predicate| predicate.matches_other(event))
    }
}

/// The filters of one metric.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filters {
    /// Filters of which one must match, if there are any.
    pub include: Vec<FlowFilter>,
    /// Filters of which none may match.
    pub exclude: Vec<FlowFilter>,
}

impl Filters {
    /// True if the metric counts the flow. Nearly free without filters.
    #[inline]
    pub fn pass(&self, flow: &Flow, extra: Option<&Extra>, index: &Index) -> bool {
        if self.include.is_empty() && self.exclude.is_empty() {
            return true;
        }
        self.decide(flow, extra, index)
    }

    /// True if an event that is no flow is wanted.
    pub fn pass_other(&self, event: OtherEvent) -> bool {
        let included = self.include.is_empty() || self.include.iter().any(|filter| filter.matches_other(event));
        included && !self.exclude.iter().any(|filter| filter.matches_other(event))
    }

    /// Sets the name of this node, as `cluster/node`: flows that the kernel reports do not carry
    /// it.
    pub fn set_local_node(&mut self, node: &str) {
        for filter in self.include.iter_mut().chain(&mut self.exclude) {
            for predicate in &mut filter.predicates {
                predicate.set_local_node(node);
            }
        }
    }

    /// Sets the labels of this node, `key=value`: flows that the kernel reports do not carry them.
    pub fn set_local_node_labels(&mut self, labels: &Arc<[String]>) {
        for filter in self.include.iter_mut().chain(&mut self.exclude) {
            for predicate in &mut filter.predicates {
                predicate.set_local_node_labels(labels);
            }
        }
    }

    /// True if they want flows of other nodes alone, once [`Filters::set_local_node`] was called:
    /// no flow that was seen here passes.
    pub fn want_other_nodes(&self) -> bool {
        let is_other = |filter: &FlowFilter| filter.predicates.iter().any(Predicate::wants_other_nodes);
        !self.include.is_empty() && self.include.iter().all(is_other)
    }

    /// True if they read the id of a flow, or the name of its interface, which a flow that was seen
    /// here has only once it is shown.
    pub fn read_details(&self) -> bool {
        let filters = self.include.iter().chain(&self.exclude);
        filters.flat_map(|filter| &filter.predicates).any(Predicate::reads_details)
    }

    /// The fields of layer 7 that they read.
    pub fn layer7_reads(&self) -> Layer7Reads {
        let mut reads = Layer7Reads::default();
        let filters = self.include.iter().chain(&self.exclude);
        filters.flat_map(|filter| &filter.predicates).for_each(|predicate| predicate.reads(&mut reads));
        reads
    }

    /// True if one has a `cel_expression`, which may take some microseconds for each flow.
    pub fn have_expressions(&self) -> bool {
        let filters = self.include.iter().chain(&self.exclude);
        filters.flat_map(|filter| &filter.predicates).any(|predicate| matches!(predicate, Predicate::Expression(_)))
    }

    /// Clears all cached match results: symbols may have another meaning from now on. Call it
    /// before flows whose index has another [`Index::generation`], or other services, unless no
    /// text was dropped meanwhile ([`webb_flow::sym::dropped`]).
    pub fn clear_caches(&self) {
        for predicate in self.include.iter().chain(&self.exclude).flat_map(|filter| &filter.predicates) {
            predicate.clear_cache();
        }
    }

    fn decide(&self, flow: &Flow, extra: Option<&Extra>, index: &Index) -> bool {
        let included = self.include.is_empty() || self.include.iter().any(|filter| filter.matches(flow, extra, index));
        included && !self.exclude.iter().any(|filter| filter.matches(flow, extra, index))
    }
}
