//! Expressions in CEL, the Common Expression Language, over the flow: `cel_expression` of a filter.
//!
//! The text is parsed and its types are checked once, when the filter is compiled; a flow then
//! costs a walk over a small tree, which reads the fields that the expression names and no others.
//! The `cel` crate would do neither: it has no checker, so that a misspelt field would silently
//! match nothing, and no bound on the steps of an evaluation.
//!
//! ```text
//! text ──token──▶ tokens ──compile, typed──▶ Op ──eval (reads the flow by `read`)──▶ true or false
//! ```
//!
//! A hostile expression is bounded by length, depth and steps. Left out: bytes, maps, making of
//! messages, times and durations; each is refused with its name.

mod compile;
mod error;
mod eval;
mod op;
mod read;
#[cfg(test)]
mod tests;
mod token;
mod typed;
mod types;
mod value;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub use error::ExpressionError;
use op::Op;
use read::{Source, Texts};

use super::flow_view::FlowView;
use super::re2::RegexBudget;
use super::reads::Layer7Reads;

/// Evaluations that failed, of all filters of this process.
static FAILURES: AtomicU64 = AtomicU64::new(0);

/// The number of evaluations of `cel_expression` that had no result so far: an overflow, an index
/// out of range, a null where a value is needed, too many steps. Such a filter does not match.
pub fn expression_failures() -> u64 {
    FAILURES.load(Ordering::Relaxed)
}

/// The expressions of a filter, of which one must be true.
#[derive(Debug)]
pub(super) struct Expressions {
    ops: Vec<Op>,
    reads: Layer7Reads,
    texts: Texts,
    node: String,
    node_labels: Arc<[String]>,
}

impl Clone for Expressions {
    /// A clone starts without texts: it serves another thread and other flows.
    fn clone(&self) -> Self {
        let (ops, node, node_labels) = (self.ops.clone(), self.node.clone(), Arc::clone(&self.node_labels));
        Self { ops, reads: self.reads, texts: Texts::default(), node, node_labels }
    }
}

/// A compiled expression, and what it reads of layer 7.
#[derive(Debug)]
pub(super) struct Expression(Op, Layer7Reads);

impl Expression {
    pub(super) fn read(text: &str, budget: &RegexBudget) -> Result<Self, String> {
        let mut reads = Layer7Reads::default();
        compile::compile(text, budget, &mut reads).map(|op| Self(op, reads)).map_err(|error| error.to_string())
    }
}

/// The error in an expression; none if it can be compiled.
pub fn expression_error(text: &str) -> Option<ExpressionError> {
    compile::compile(text, &RegexBudget::default(), &mut Layer7Reads::default()).err()
}

impl Expressions {
    pub(super) fn new(expressions: Vec<Expression>) -> Self {
        let mut reads = Layer7Reads::default();
        for Expression(_, one) in &expressions {
            reads.add(*one);
        }
        let ops = expressions.into_iter().map(|Expression(op, _)| op).collect();
        Self { ops, reads, texts: Texts::default(), node: String::new(), node_labels: Arc::default() }
    }

    pub(super) fn reads(&self) -> Layer7Reads {
        self.reads
    }

    /// `cluster/node`; flows carry the default cluster's name as none.
    pub(super) fn set_local_node(&mut self, node: &str) {
        node.strip_prefix("default/").unwrap_or(node).clone_into(&mut self.node);
    }

    pub(super) fn set_local_node_labels(&mut self, labels: &Arc<[String]>) {
        self.node_labels = Arc::clone(labels);
    }

    pub(super) fn clear(&self) {
        self.texts.clear();
    }

    /// True if one is true. The first that fails ends it: no match.
    pub(super) fn matches(&self, view: &FlowView<'_>) -> bool {
        let source = Source { view, texts: &self.texts, node: &self.node, node_labels: &self.node_labels };
        for op in &self.ops {
            match eval::evaluate(op, source) {
                Ok(true) => return true,
                Ok(false) => {}
                Err(_) => {
                    FAILURES.fetch_add(1, Ordering::Relaxed);
                    return false;
                }
            }
        }
        false
    }
}
