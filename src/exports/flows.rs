//! Reads the section `flows` of a file of outputs: which flows are sent, and what of them.

use webb_index::filters::Filters;
use webb_metrics::dynamic::tree::{Node, Value};
use webb_observer::stream::{Body, FlowSettings, MAX_LABELS};

use super::output::read_body;
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
    let fields = read_fields(values, fields);
    // The line has what the fields leave out.
    let body = read_body(values, body).unwrap_or(if fields.is_empty() { defaults.body } else { Body::None });
    Some(FlowSettings {
        filters,
        sample_every,
        max_per_second,
        uid: values.boolean(uid, "uid", defaults.uid),
        labels: read_labels(values, labels),
        body,
        fields,
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

#[cfg(test)]
mod tests {
    use webb_otlp::{Environment, Stream};
    use webb_settings::SourceFile;

    use super::*;
    use crate::exports::{OutputsFile, read_outputs};

    fn read(text: &str) -> Result<OutputsFile, String> {
        let file = SourceFile { name: "outputs.yaml".to_owned(), text: text.to_owned() };
        read_outputs(file, &Environment::default()).map_err(|problems| problems.to_string())
    }

    /// Flows are sent where the section is there, each key has its effect, and an output gets what
    /// it lists, or all.
    #[test]
    fn a_file_says_which_flows() {
        assert_eq!(read("otlp: []\n").unwrap().flows, None);
        assert_eq!(read("flows: {}\n").unwrap().flows, Some(FlowSettings::default()));
        let file = read(
            "flows:\n  include: [{verdict: [DROPPED]}]\n  exclude: [{source_pod: [kube-system/]}, {}]\n  \
             sample: {every: 100}\n  max_per_second: 50\n  uid: false\n  labels: [app, app, a.b/c]\n  body: hubble\n  \
             fields: [source.pod_name, verdict]\n\
             otlp:\n- {name: a, endpoint: 'https://a'}\n- {name: b, endpoint: 'https://b', streams: [flows], batch: {linger: 2s}}\n",
        )
        .unwrap();
        let flows = file.flows.unwrap();
        assert_eq!((flows.filters.include.len(), flows.filters.exclude.len()), (1, 2));
        assert_eq!((flows.sample_every, flows.max_per_second, flows.uid, flows.body), (100, 50, false, Body::Hubble));
        assert_eq!((flows.labels, flows.fields.len()), (vec!["app".to_owned(), "a.b/c".to_owned()], 2));
        let [all, some] = &file.outputs[..] else { panic!("{:?}", file.outputs) };
        assert_eq!((&all.streams[..], &some.streams[..]), (&Stream::ALL[..], &[Stream::Flows][..]));
        assert_eq!(some.config.batch.linger, std::time::Duration::from_secs(2));

        let outputs = "otlp:\n- {name: a, endpoint: 'https://a', body: none}\n- {name: b, endpoint: 'https://b'}\n\
                       kafka:\n- {name: c, brokers: ['c:9092'], insecure: true, body: summary}\n";
        let file = read(&format!("flows: {{body: hubble}}\n{outputs}")).unwrap();
        let bodies: Vec<_> = file.outputs.iter().map(|output| output.body).collect();
        assert_eq!(bodies, [Some(Body::None), None, Some(Body::Summary)]);
    }

    /// Each mistake is named with its line and what was expected.
    #[test]
    fn mistakes_are_named_at_their_line() {
        for (text, expected) in [
            ("flows:\notlp: []\n", "flows: expected keys and values, or {} for what they are by default; found"),
            ("flows: {includes: []}\n", "flows has no key \"includes\""),
            ("flows:\n  include:\n  - verdict: [DROPED]\n", "outputs.yaml:3:"),
            ("flows:\n  include: [{source_ip: [10.0.0]}]\n", "source_ip"),
            ("flows: {sample: {every: -1}}\n", "every: expected a number from 0 to 1000000"),
            ("flows: {max_per_second: 0}\n", "max_per_second: expected a number from 1 to 1000000"),
            ("flows: {body: json}\n", "body: expected none, summary, hubble; found \"json\""),
            (
                "flows: {}\notlp:\n- {name: a, endpoint: 'https://a', body: json}\n",
                "body: expected none, summary, hubble; found \"json\"\n --> outputs.yaml:3:42",
            ),
            (
                "otlp:\n- {name: a, endpoint: 'https://a', body: none}\n",
                "body: it is of flows, and this output gets none\n --> outputs.yaml:2:42",
            ),
            (
                "flows: {}\notlp:\n- {name: a, endpoint: 'https://a', body: none, streams: [rollups]}\n",
                "body: it is of flows, and this output gets none\n --> outputs.yaml:3:42",
            ),
            ("flows: {labels: ['a=b']}\n", "labels: expected the key of a pod's label"),
            ("flows: {labels: [a, b, c, d, e, f, g, h, i]}\n", "labels: expected at most 8 keys"),
            ("flows: {fields: [source.pod]}\n", "fields: expected a field of flow.Flow, such as source.pod_name"),
            (
                "otlp:\n- {name: a, endpoint: 'https://a', streams: [flows]}\n",
                "streams: no flows are sent: expected a section `flows` in the file",
            ),
            ("otlp:\n- {name: a, endpoint: 'https://a', streams: []}\n", "streams: expected rollups, flows"),
            ("otlp:\n- {name: a, endpoint: 'https://a', streams: [flow]}\n", "streams: expected rollups, flows"),
            (
                "otlp:\n- {name: a, endpoint: 'https://a', batch: {linger: 1h}}\n",
                "linger: expected a time from 10ms to 1m",
            ),
        ] {
            let why = read(text).unwrap_err();
            assert!(why.contains(expected), "{text}: {why}");
        }
    }
}
