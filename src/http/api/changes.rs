//! What changed as JSON.

use serde_json::{Value, json};

use super::rfc3339;
use crate::http::changes::RECENT;
use crate::http::node_view::NodeView;
use crate::readings::{Change, MAX_CHANGE_AGE, MAX_CHANGES, State};

/// What is kept of changes, and since when samples show them.
pub(super) fn kept(node: &NodeView) -> Value {
    json!({"since": node.changes.since.map(rfc3339), "changes": MAX_CHANGES, "seconds": MAX_CHANGE_AGE})
}

/// A change as the API has it.
pub(super) fn row(of: &Change, now: u64) -> Value {
    let ends = of.ends.as_ref();
    json!({
        "time": rfc3339(of.unix), "new": of.unix + RECENT >= now, "kind": of.kind.label(),
        "state": (of.state != State::Forwarded).then(|| of.state.label()), "text": of.text,
        "from": ends.map(|(from, _)| &**from), "to": ends.map(|(_, to)| &**to),
        "directed": ends.map(|_| of.is_directed), "object": of.object.as_deref(),
        "before": of.figure.and_then(|figure| figure.before), "after": of.figure.map(|figure| figure.after),
        "unit": of.figure.map(|figure| figure.unit),
    })
}
