//! The manifest file: Kubernetes objects in YAML, as `kubectl get -o yaml` prints them or as a
//! person writes them.
//!
//! Documents are cut apart at their `---` lines first (YAML allows these nowhere else), so that a
//! bad object costs only itself: it becomes a [`Problem`] and the rest is loaded. A syntax error in
//! YAML ends the reading, because the start of the next object is then not known.
//!
//! A small document is read twice: once for what it is, once as that, straight into Kubernetes'
//! types. Only where that ends at a mistake it is read a third time, as a tree, of which the bad
//! parts are left out. A large one is the list of a whole cluster. It is read item by item, and
//! each object is handed on as it comes, so that memory is that of one item: in JSON an item is cut
//! out first, in YAML it is what the parser has read of the stream.

mod checked;
mod document;
mod head;
mod input;
mod json;
mod loading;
mod locate;
mod problem;
mod source;
mod stream;
mod tree;
mod typed;

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::io::Read;
use std::sync::Arc;

use document::{Document, LOCATED};
use input::Input;
use loading::Loading;
pub use problem::{ManifestError, Problem};
pub use source::{ManifestSource, Progress};
pub(super) use typed::One;
use webb_settings::file::{FileError, not_text};

use super::{Object, OtherKinds, Reference};

/// Content of a manifest.
#[derive(Debug, Default)]
pub struct Manifest {
    /// The good objects, each once.
    pub objects: Vec<Object>,
    /// Objects that could not be used, in the order of the file; at most
    /// [`Manifest::MAX_PROBLEMS`].
    pub problems: Vec<Problem>,
    /// Problems beyond these.
    pub further_problems: usize,
    /// Group and kind of what is a policy by its name or group, and not known.
    pub strange: BTreeSet<(String, String)>,
}

impl Manifest {
    /// Maximal number of described problems; the rest is counted.
    pub const MAX_PROBLEMS: usize = problem::MAX;
}

/// Report about a manifest after its objects were emitted one by one.
#[derive(Debug, Default)]
pub struct Report {
    /// Objects that could not be used, in the order of the file; at most
    /// [`Manifest::MAX_PROBLEMS`].
    pub problems: Vec<Problem>,
    /// Problems beyond these.
    pub further_problems: usize,
    /// Group and kind of what is a policy by its name or group, and not known.
    pub strange: BTreeSet<(String, String)>,
    /// All objects that were handed on.
    pub listed: HashSet<Reference>,
}

/// Parses a manifest. `file` is only for messages.
pub fn parse(file: &str, text: &str) -> Result<Manifest, ManifestError> {
    parse_with(file, text, &OtherKinds::default())
}

/// Parses like [`parse`], with these other kinds of policy.
pub fn parse_with(file: &str, text: &str, others: &OtherKinds) -> Result<Manifest, ManifestError> {
    collect(file, text, others, LOCATED)
}

/// Parses like [`parse_with`]; documents that are longer than `longest` are read as streams.
fn collect(file: &str, text: &str, others: &OtherKinds, longest: usize) -> Result<Manifest, ManifestError> {
    let (mut objects, mut places) = (Vec::<Object>::new(), HashMap::new());
    let mut take = |object: Object| match places.entry(object.reference()) {
        Entry::Vacant(place) => {
            place.insert(objects.len());
            objects.push(object);
        }
        Entry::Occupied(place) => {
            if let Some(earlier) = objects.get_mut(*place.get()) {
                *earlier = object;
            }
        }
    };
    let Report { problems, further_problems, strange, .. } = read(file, text.as_bytes(), others, longest, &mut take)?;
    Ok(Manifest { objects, problems, further_problems, strange })
}

/// Reads a manifest and hands each good object to `take`. Documents that are longer than `longest`
/// are read as streams.
fn read(
    file: &str,
    from: impl Read,
    others: &OtherKinds,
    longest: usize,
    take: &mut dyn FnMut(Object),
) -> Result<Report, ManifestError> {
    let name: Arc<str> = Arc::from(file);
    let mut loading = Loading::new(&name, others, take);
    let unreadable = |why: FileError| ManifestError::Unreadable { file: file.to_owned(), why };
    let mut input = Input::new(from);
    while input.next_document().map_err(|error| unreadable(error.into()))? {
        let lines_before = input.lines();
        let mut head = Vec::new();
        let is_whole = loop {
            match input.piece().map_err(|error| unreadable(error.into()))? {
                None => break true,
                Some(piece) => head.extend_from_slice(piece),
            }
            if head.len() > longest {
                break false;
            }
        };
        if is_whole {
            let text = str::from_utf8(&head).map_err(|error| unreadable(not_text(&head, error, lines_before)))?;
            Document { text, lines_before }.read(file, &mut loading)?;
        } else if let Some(begin) = json::begins(&head) {
            json::read(file, (&head, begin, lines_before), &mut input, &mut loading)?;
        } else {
            stream::read(file, (&head, lines_before), &mut input, &mut loading)?;
        }
    }
    let (problems, further_problems) = loading.problems.finish();
    Ok(Report { problems, further_problems, strange: loading.strange, listed: loading.listed })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const STAR_WARS: &str = include_str!("../../tests/manifests/star-wars.yaml");

    fn described(manifest: &Manifest) -> (Vec<String>, Vec<String>) {
        let objects = manifest.objects.iter().map(|object| format!("{object:?}")).collect();
        (objects, manifest.problems.iter().map(ToString::to_string).collect())
    }

    fn read_as(text: &str, longest: usize) -> (Vec<String>, Vec<String>) {
        described(&collect("m", text, &OtherKinds::default(), longest).unwrap())
    }

    /// The objects of a manifest as one list, with a mistake of each sort among them.
    fn items() -> Vec<Value> {
        let documents = STAR_WARS.split("\n---\n").map(|text| serde_saphyr::from_str::<Value>(text).unwrap());
        let mut items: Vec<Value> = documents.filter(|value| !value.is_null()).collect();
        let pod = |name: &str, more: Value| json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": more}});
        items.push(pod("bad-part", json!(5)));
        items.push(json!(17));
        items.push(json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "other"}}));
        items.push(pod("twice", json!({"a": "] } \\ \" é"})));
        items.push(pod("twice", json!({"a": "items"})));
        items.push(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": 7}}));
        items
    }

    /// A list that is read as a stream has the same objects and problems as one that is read whole,
    /// in JSON and in YAML, wherever its kind stands.
    #[test]
    fn streams_are_as_good_as_text() {
        let items = items();
        let list = json!({"apiVersion": "v1", "items": items, "kind": "List", "metadata": {"resourceVersion": ""}});
        let json = serde_json::to_string_pretty(&list).unwrap();
        let mut yaml = String::from("apiVersion: v1\nitems:\n");
        for item in &items {
            // Flow style in block style, one line an item.
            yaml += &format!("- {item}\n");
        }
        yaml += "kind: List\n";
        for text in [&json, &format!("# a list\n{yaml}"), &format!("---\n\n{json}"), &format!("{yaml}---\n{json}")] {
            let (objects, problems) = read_as(text, usize::MAX);
            let (streamed, told) = read_as(text, 0);
            assert_eq!(streamed, objects);
            assert!(objects.len() > 8 && problems.len() >= 5, "{problems:?}");
            let words = |problem: &String| problem.splitn(3, ':').nth(2).map(ToOwned::to_owned);
            assert_eq!(told.iter().map(words).collect::<Vec<_>>(), problems.iter().map(words).collect::<Vec<_>>());
        }
    }

    /// Items of a `PodList` do not say what they are. The list does, before or behind them.
    #[test]
    fn typed_lists_are_streamed() {
        let items = r#"[{"metadata":{"name":"one"}},{"metadata":{"name":"two"}}]"#;
        let before = format!(r#"{{"kind":"PodList","apiVersion":"v1","items":{items}}}"#);
        let behind = format!(r#"{{"items":{items},"kind":"PodList","apiVersion":"v1"}}"#);
        let yaml = format!("items: {items}\nkind: PodList\napiVersion: v1\n");
        let split = format!(r#"{{"kind":"PodList","items":{items},"apiVersion":"v1"}}"#);
        for text in [before, behind, split, yaml] {
            let (objects, problems) = read_as(&text, 0);
            assert_eq!(objects.len(), 2, "{text}: {problems:?}");
            assert!(problems.is_empty(), "{problems:?}");
        }
        let (objects, problems) = read_as(&format!(r#"{{"items":{items}}}"#), 0);
        assert!(objects.is_empty());
        assert!(problems.iter().any(|problem| problem.contains("kind is missing")), "{problems:?}");
    }

    /// Mistakes have their lines, and a truncated list gives another error than a malformed one.
    #[test]
    fn errors_of_streams_name_lines() {
        let error = |text: &str| collect("m", text, &OtherKinds::default(), 0).unwrap_err().to_string();
        assert_eq!(
            error("---\n{\n\"items\": [\n{\n"),
            "m:4: not valid JSON: it ends in the middle of an object or a list"
        );
        assert_eq!(error("{\n\"items\": [\n{}\n],\n,}\n"), "m:5: not valid JSON: key must be a string");
        assert!(error("a: 1\nb: [\n").starts_with("m:"), "{}", error("a: 1\nb: [\n"));
        assert!(
            error("items:\n- {a: 1}\n- [}\n").starts_with("m:3: not valid YAML"),
            "{}",
            error("items:\n- {a: 1}\n- [}\n")
        );
        let (_, problems) =
            read_as("{\n\"kind\": \"List\", \"items\": [\n{\n\"kind\": x\n},\n{\"kind\": \"Pod\"}]}", 0);
        assert_eq!(problems[0], "m:4: object: not valid JSON: expected value");
        assert!(problems[1].starts_with("m:6: Pod without a name: apiVersion is missing"), "{problems:?}");
    }

    /// An object that is no list is read as one, however long it is.
    #[test]
    fn long_objects() {
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one", "labels": {"a": "x".repeat(70_000)}}});
        for text in [pod.to_string(), format!("# yaml\n{pod}\n")] {
            let (objects, problems) = read_as(&text, LOCATED);
            assert_eq!((objects.len(), problems), (1, vec![]));
        }
    }

    /// Both readers make the same of odd texts: objects, and the words of problems.
    #[test]
    fn readers_agree() {
        let pod = |name: &str, more: &str| format!("apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\n{more}");
        let cases = [
            pod("a", ""),
            pod("a", "  name: b\n"),
            pod("a", "metadata: {}\n"),
            pod("a", "kind: Service\n"),
            pod("a", "  labels: {a: y, b: 1, c: 1.10, d: ~, e: 0x10, f: off}\n"),
            pod("a", "  labels: {a: true}\n"),
            pod("a", "  labels: {<<: {x: z}}\n"),
            pod("a", "  labels: &l {x: z}\n  annotations: *l\n"),
            pod("a", "  labels: *nothing\n"),
            pod("&x a", "spec: {nodeName: *x}\n"),
            pod("!!str 17", ""),
            pod("!thing a", ""),
            pod("17", ""),
            pod("'17'", ""),
            pod("a", "status: {podIP: 10.0.0.1, phase: Running}\n"),
            pod("a", "status: {podIP: nonsense}\n"),
            pod("a", "spec: {hostNetwork: yes}\n"),
            pod("a", "spec: {hostNetwork: \"true\"}\n"),
            pod("a", "spec: [1, 2]\n"),
            pod("a", "1: 2\ntrue: x\n"),
            pod("a", "  creationTimestamp: 2026-01-14T09:00:01Z\n"),
            pod("a", "  creationTimestamp: null\n"),
            "\u{feff}".to_owned() + &pod("a", ""),
            pod("a", "").replace('\n', "\r\n"),
            pod("a", "...\n"),
            "kind: List\nitems:\n- ".to_owned() + &pod("a", "").replace('\n', "\n  "),
            "kind: List\napiVersion: v1\nitems: {}\n".to_owned(),
            "kind: List\napiVersion: v1\nitems: text\n".to_owned(),
            "kind: List\napiVersion: v1\nitems: []\nitems: []\n".to_owned(),
            "kind: List\napiVersion: v1\nitems:\nitems: [{apiVersion: v1, kind: Pod, metadata: {name: a}}]\n".to_owned(),
            "kind: List\napiVersion: v1\nkind: PodList\nitems: [{metadata: {name: a}}]\n".to_owned(),
            "kind: List\napiVersion: v1\nitems: [~, 1, text, [], {}]\n".to_owned(),
            "kind: PodList\napiVersion: v1\nitems: [{metadata: {name: a}}, {metadata: {name: a}, metadata: {name: b}}]\n".to_owned(),
            "kind: PodList\napiVersion: v1\nitems: [{metadata: {name: a}}, {metadata: {name: b, labels: {x: [1]}}}]\n".to_owned(),
            "kind: PodList\napiVersion: v2\nitems: [{metadata: {name: a}}]\n".to_owned(),
            "kind: ConfigMapList\napiVersion: v1\nitems: [{metadata: {name: a}}]\n".to_owned(),
            "kind: PodList\napiVersion: v1\n".to_owned(),
            "[]\n".to_owned(),
            "text\n".to_owned(),
            "{}\n".to_owned(),
            "- a\n".to_owned(),
            "a: [1\n".to_owned(),
            "a: b: c\n".to_owned(),
            "\ta: b\n".to_owned(),
            "a: \"x\n".to_owned(),
            "a: \u{7}\n".to_owned(),
            pod("a", "x: [\n"),
            pod("a", "\tx: 1\n"),
            pod("a", "  labels:\n    a: 'x\n"),
        ];
        // A stream has neither the lines of parts nor the text to quote.
        let of = |text: &str, longest: usize| match collect("m", text, &OtherKinds::default(), longest) {
            Ok(manifest) => {
                let (objects, problems) = described(&manifest);
                (objects, problems.len(), None)
            }
            Err(ManifestError::Yaml { line, .. }) => (Vec::new(), 0, Some(line)),
            Err(error) => panic!("{error}"),
        };
        for text in cases {
            assert_eq!(of(&text, 0), of(&text, usize::MAX), "{text}");
        }
    }

    /// What the API server would refuse is no name and no switch, in a small file as in a large
    /// one.
    #[test]
    fn scalars_have_their_types() {
        for (more, problem) in [
            ("name: 17}", "Pod without a name: metadata.name: invalid type: integer `17`, expected a string"),
            ("name: a}, spec: {hostNetwork: \"true\"}", "Pod a: spec.hostNetwork: invalid type: string"),
        ] {
            let text = format!("{{apiVersion: v1, kind: Pod, metadata: {{{more}}}\n");
            for longest in [0, usize::MAX] {
                let (_, problems) = read_as(&text, longest);
                assert!(problems.len() == 1 && problems[0].contains(problem), "{problems:?}");
            }
        }
    }

    /// Bytes that are no text refuse the file and name their line, however long the document is and
    /// whichever its format.
    #[test]
    fn what_is_no_text_has_a_line() {
        let pod =
            |name: &str| format!("{{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{{\"name\":\"{name}\"}}}}");
        let json = format!("{{\"kind\":\"List\",\"items\":[\n{},\n{}\n]}}\n", pod("a"), pod("?"));
        let yaml = format!("kind: List\nitems:\n- {}\n- {}\n", pod("a"), pod("?"));
        let behind = format!("{}\n---\n{}\n", pod("a"), pod("?"));
        for (text, line) in [(json, 3), (yaml, 4), (behind, 3)] {
            let bytes: Vec<u8> = text.bytes().map(|byte| if byte == b'?' { 0xe9 } else { byte }).collect();
            for longest in [0, usize::MAX] {
                let read = read("m", &bytes[..], &OtherKinds::default(), longest, &mut |_| ());
                let error = read.unwrap_err().to_string();
                assert_eq!(error, format!("cannot read the manifest m: line {line} is not UTF-8"), "{longest}");
            }
        }
    }
}
