//! What stands where there are no rows: why, and what to do.

use maud::{Markup, html};

use super::view::Page;
use crate::readings::{Measure, Watched};

/// A metric, and how a view without it is explained.
pub(super) struct Metric {
    /// Name in the configuration.
    pub(super) name: &'static str,
    /// The same where another metric does as well.
    pub(super) or: &'static str,
    /// Measure that tells pairs apart.
    pub(super) measure: Measure,
    /// What is not watched without it.
    pub(super) what: &'static str,
}

/// True if a metric of this name runs.
pub(super) fn is_on(page: &Page<'_>, metric: &str) -> bool {
    let is_it = |labels: &[(String, String)]| labels.iter().any(|(name, value)| name == "metric" && value == metric);
    page.node.own("webb_aggregator_series").any(|(labels, _)| is_it(labels))
}

/// Why a table has no rows; `all` is their number without the filter.
pub(super) fn table(page: &Page<'_>, metric: &Metric, all: usize, nothing: &str) -> Markup {
    const ENDS: &str = "sourceContext=workload|reserved-identity;destinationContext=workload|reserved-identity";
    html! {
        div.empty {
            @if all > 0 {
                p.big { "None of " (all) " rows matches the filter" }
                p { a href=(page.view.path()) { "Remove the filter" } }
            } @else if page.node.watched(metric.measure) == Watched::WithoutEnds {
                p.big { "Pairs cannot be told apart" }
                p { "The metric " code { (metric.name) } " does not name both ends. Add " code { (ENDS) } "." }
            } @else if !is_on(page, metric.name) && !is_on(page, metric.or) {
                p.big { (metric.what) " not watched" }
                p { "No metric counts it. Add " code { (metric.name) ":" (ENDS) } " to " code { "metrics" } "." }
            } @else {
                p.big { (nothing) }
            }
        }
    }
}
