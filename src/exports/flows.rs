//! Reads the section `flows` of a file of outputs: which flows are sent, and what of them.

use webb_index::filters::Filters;
use webb_metrics::dynamic::tree::{Node, Value};
use webb_observer::stream::{Body, FlowSettings, MAX_LABELS};

use super::settings::is_field;
use super::values::Values;

/// Letters of the key of a label at most.
const MAX_LABEL: usize = 317;

/// The flows that a file asks for; none without the section.
pub(super) fn read(values: &mut Values<'_>, root: &Node, node: Option<&Node>) -> Option<FlowSettings> {
    let Some(node) = node else {
        if let Value::Map(pairs) = &root.value
            && let Some((_, bare)) = pairs.iter().find(|(key, _)| key.text.eq_ignore_ascii_case("flows"))
        {
            values.expected(bare, "flows", "keys and values, or {} for what they are by default");
        }
        return None;
    };
    let defaults = FlowSettings::default();
    let [include, exclude, sample, max_per_second, uid, labels, body, fields] = values.fields(
        Some(node),
        "flows",
        ["include", "exclude", "sample", "max_per_second", "uid", "labels", "body", "fields"],
    );
    let filters = Filters {
        include: values.found.filters(include, "include"),
        exclude: values.found.filters(exclude, "exclude"),
    };
    let [every] = values.fields(sample, "sample", ["every"]);
    let mut number = |node, what, default: u32, least| {
        u32::try_from(values.number(node, what, default.into(), (least, 1_000_000))).unwrap_or(default)
    };
    let sample_every = number(every, "every", defaults.sample_every, 0);
    let max_per_second = number(max_per_second, "max_per_second", defaults.max_per_second, 1);
    let bodies = [("none", Body::None), ("summary", Body::Summary), ("hubble", Body::Hubble)];
    Some(FlowSettings {
        filters,
        sample_every,
        max_per_second,
        uid: values.boolean(uid, "uid", defaults.uid),
        labels: read_labels(values, labels),
        body: values.choice(body, "body", &bodies).unwrap_or_default(),
        fields: read_fields(values, fields),
    })
}

fn read_labels(values: &mut Values<'_>, node: Option<&Node>) -> Vec<String> {
    let list = node.map(|node| values.found.list(node, "labels")).unwrap_or_default();
    if let Some(first) = list.get(MAX_LABELS) {
        values.expected(first, "labels", &format!("at most {MAX_LABELS} keys"));
    }
    let mut labels = Vec::new();
    for node in list.iter().take(MAX_LABELS) {
        let Some(key) = values.found.text(node, "labels") else { continue };
        let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./".contains(letter);
        if key.is_empty() || key.len() > MAX_LABEL || !key.chars().all(is_plain) {
            values.expected(node, "labels", "the key of a pod's label, such as app.kubernetes.io/name");
        } else if !labels.contains(&key) {
            labels.push(key);
        }
    }
    labels
}

fn read_fields(values: &mut Values<'_>, node: Option<&Node>) -> Vec<String> {
    let list = node.map(|node| values.found.list(node, "fields")).unwrap_or_default();
    let mut fields = Vec::new();
    for node in list {
        let Some(path) = values.found.text(node, "fields") else { continue };
        if is_field(&path) {
            fields.push(path);
        } else {
            values.expected(node, "fields", "a field of flow.Flow, such as source.pod_name");
        }
    }
    fields
}
