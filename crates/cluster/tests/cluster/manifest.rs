//! The manifest: what is loaded, what is refused, and how that is said.

use std::fmt::Write as _;
use std::fs;
use std::ops::ControlFlow;

use proptest::prelude::*;
use webb_cluster::{Kind, Manifest, ManifestError, ManifestSource, Object, parse};

/// A demo in the spirit of Cilium's: two sides, one exhaust port.
const STAR_WARS: &str = include_str!("../manifests/star-wars.yaml");

fn parsed(text: &str) -> Manifest {
    parse("m.yaml", text).unwrap()
}

fn names(manifest: &Manifest) -> Vec<String> {
    let name = |object: &Object| format!("{} {}", object.reference().kind.name(), object.reference().key);
    manifest.objects.iter().map(name).collect()
}

fn problems(manifest: &Manifest) -> Vec<String> {
    manifest.problems.iter().map(ToString::to_string).collect()
}

/// The whole demo loads without a word.
#[test]
fn a_good_manifest() {
    let manifest = parsed(STAR_WARS);
    assert_eq!(problems(&manifest), Vec::<String>::new());
    let count = |kind| manifest.objects.iter().filter(|object| object.reference().kind == kind).count();
    let counts = Kind::CORE.map(count);
    assert_eq!(counts, [4, 1, 2, 1, 1, 1]);
}

/// One bad object of each sort, named by file, line and object, with the good ones around it
/// loaded.
#[test]
fn bad_objects_cost_only_themselves() {
    let manifest = parsed(
        "# a comment
apiVersion: v1
kind: Pod
metadata: {name: good, namespace: a}
---
apiVersion: v1
kind: Pod
metadata:
  name: typed
  labels: [not, a, map]
---
apiVersion: v1
kind: Pod
metadata: {name: address}
status:
  podIP: 10.0.0.300
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: unknown, namespace: a}
---
kind: Pod
metadata: {name: unversioned}
---
apiVersion: v1
metadata: {name: kindless}
---
apiVersion: v1
kind: Pod
metadata: {namespace: a}
---
- just
- a list
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: policy}
spec:
  ingress:
  - ports: [{port: 70000}]
---
apiVersion: v1
kind: Namespace
metadata: {name: last}
",
    );
    let kept =
        ["Pod a/good", "Pod default/typed", "Pod default/address", "NetworkPolicy default/policy", "Namespace last"];
    assert_eq!(names(&manifest), kept);
    insta::assert_snapshot!(problems(&manifest).join("\n"));
}

/// A `List` is read item by item: bad ones are left out, and bad parts of good ones, wherever their
/// mistake is.
#[test]
fn lists() {
    let manifest = parsed(
        "apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Pod
  metadata: {name: one}
- apiVersion: v1
  kind: Pod
  metadata:
    name: two
    labels: 5
- 17
- kind: {what: is this}
- apiVersion: v1
  kind: Node
  metadata: {name: three}
  status: {addresses: {}}
- apiVersion: v1
  kind: Node
  metadata: {name: four}
metadata: {resourceVersion: \"\"}
",
    );
    assert_eq!(names(&manifest), ["Pod default/one", "Pod default/two", "Node three", "Node four"]);
    insta::assert_snapshot!(problems(&manifest).join("\n"));
}

/// The typed lists of the API don't repeat kind and version on each item.
#[test]
fn typed_lists() {
    let manifest = parsed("{kind: PodList, apiVersion: v1, items: [{metadata: {name: a}}, {metadata: {name: b}}]}");
    assert_eq!(names(&manifest), ["Pod default/a", "Pod default/b"]);
    assert_eq!(problems(&manifest), Vec::<String>::new());
    for empty in ["{kind: List, apiVersion: v1, items: []}", "{kind: List, items: null}", "kind: List"] {
        let manifest = parsed(empty);
        assert!(manifest.objects.is_empty() && manifest.problems.is_empty(), "{empty}: {:?}", manifest.problems);
    }
}

/// A file is refused where even the end of an object is unclear, and the error names the line.
#[test]
fn broken_yaml_is_refused_with_its_line() {
    let broken = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n---\nkind: Pod\n  metadata: [\n";
    let error = parse("m.yaml", broken).unwrap_err();
    let ManifestError::Yaml { line, .. } = &error else { panic!("{error}") };
    assert!((5..=7).contains(line), "{error}");
    assert!(error.to_string().starts_with("m.yaml:"), "{error}");
}

/// Empty files and documents, markers, directives, byte order marks and Windows' line ends are no
/// objects and no mistakes.
#[test]
fn what_is_nothing() {
    for nothing in
        ["", "\n\n", "---\n", "# c\n---\n---\n# d\n...\n", "%YAML 1.2\n---\n", "\u{feff}# c\n", "---\r\n---\r\n"]
    {
        let manifest = parsed(nothing);
        assert!(manifest.objects.is_empty() && manifest.problems.is_empty(), "{nothing:?}");
    }
    let windows = "%YAML 1.2\r\n---\r\napiVersion: v1\r\nkind: Node\r\nmetadata:\r\n  name: a\r\n...\r\n";
    assert_eq!(names(&parsed(windows)), ["Node a"]);
}

/// A marker inside a block of text must not cut the object apart.
#[test]
fn only_markers_at_the_margin_cut() {
    let text =
        "apiVersion: v1\nkind: Node\nmetadata:\n  name: a\n  annotations:\n    text: |\n      ---\n      kind: Pod\n";
    assert_eq!(names(&parsed(text)), ["Node a"]);
}

/// The same object twice is a slip worth telling; the later one counts, as with `kubectl apply`.
#[test]
fn twice_the_same() {
    let pod = |ip| format!("---\napiVersion: v1\nkind: Pod\nmetadata: {{name: a}}\nstatus: {{podIP: {ip}}}\n");
    let manifest = parsed(&(pod("10.0.0.1") + &pod("10.0.0.2")));
    assert_eq!(problems(&manifest), ["m.yaml:7: Pod a: is here a second time; this one is used"]);
    let [Object::Pod(_, pod)] = manifest.objects.as_slice() else { panic!("{:?}", manifest.objects) };
    assert_eq!(pod.addresses, ["10.0.0.2".parse::<std::net::IpAddr>().unwrap()]);
}

/// A thousand mistakes are described up to a bound and counted beyond it; all else still loads.
#[test]
fn problems_are_bounded() {
    let mut text = String::new();
    for at in 0..1_000 {
        write!(text, "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: p{at}}}\nstatus: {{podIP: [x]}}\n").unwrap();
    }
    text += "---\napiVersion: v1\nkind: Node\nmetadata: {name: good}\n";
    let manifest = parsed(&text);
    assert_eq!(manifest.problems.len(), Manifest::MAX_PROBLEMS);
    assert_eq!(manifest.further_problems, 900);
    assert_eq!((names(&manifest).len(), names(&manifest).pop()), (1001, Some("Node good".to_owned())));
}

/// As above for a list, where mistakes cost another reading: parts that are passed over cost few,
/// and objects that are none (a key twice) many. It must end, and say what it left out.
#[test]
fn a_list_of_mistakes_ends() {
    let mut text = "apiVersion: v1\nkind: List\nitems:\n".to_owned();
    for at in 0..1_000 {
        writeln!(text, "- {{apiVersion: v1, kind: Pod, metadata: {{name: p{at}, labels: 1}}}}").unwrap();
    }
    for (text, objects) in [(text.clone(), 1000), (text.replace("labels: 1", "name: b"), 0)] {
        let manifest = parsed(&text);
        assert_eq!(manifest.problems.len(), Manifest::MAX_PROBLEMS);
        assert_eq!((manifest.objects.len(), manifest.further_problems), (objects, 900));
    }
}

/// Keys given twice, items that are no sequence and entities that multiply are mistakes like
/// others, not disasters.
#[test]
fn odd_shapes() {
    for (odd, after) in [
        ("{apiVersion: v1, kind: Pod, metadata: {name: a, name: b}}", 1),
        ("{apiVersion: v1, kind: PodList, items: 5}", 1),
        ("{apiVersion: v1, kind: Pod, metadata: 5}", 1),
        (
            "{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: c, ports: [{name: p, containerPort: 0}]}]}}",
            1,
        ),
        ("just text", 1),
        ("{apiVersion: v1, kind: WaitingList}", 1),
        ("{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {clusterIP: None}}", 0),
        ("{apiVersion: v1, kind: Pod, metadata: {name: a, labels: &l {x: y}, annotations: *l}}", 0),
        ("{apiVersion: v1, kind: Pod, metadata: null}", 1),
    ] {
        let manifest = parsed(&format!("{odd}\n---\n{{apiVersion: v1, kind: Node, metadata: {{name: good}}}}\n"));
        assert_eq!(names(&manifest).last().map(String::as_str), Some("Node good"), "{odd}");
        assert_eq!(manifest.problems.len(), after, "{odd}: {:?}", manifest.problems);
        println!("{:?}", problems(&manifest));
    }
    let mut bomb = "apiVersion: v1\nkind: Pod\nmetadata:\n  a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..10 {
        let below = format!("*a{}", level - 1);
        writeln!(bomb, "  a{level}: &a{level} [{}]", [below.as_str(); 10].join(", ")).unwrap();
    }
    let Err(error) = parse("m.yaml", &bomb) else { panic!("a thousand million elements were read") };
    println!("{error}");
}

/// NetworkPolicies that the API server would refuse, and its words for them. Each counts all the
/// same: it isolates.
#[test]
fn bad_policies() {
    let specs = [
        "{policyTypes: [Inwards]}",
        "{ingress: [{from: [{}]}]}",
        "{ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8}, podSelector: {}}]}]}",
        "{ingress: [{from: [{ipBlock: {cidr: ten}}]}]}",
        "{egress: [{to: [{ipBlock: {cidr: 10.0.0.0/8, except: [11.0.0.0/16]}}]}]}",
        "{ingress: [{ports: [{port: 80, endPort: 79}]}]}",
        "{ingress: [{ports: [{port: http, endPort: 90}]}]}",
        "{ingress: [{ports: [{endPort: 90}]}]}",
        "{ingress: [{ports: [{port: '80'}]}]}",
        "{ingress: [{ports: [{port: 0}]}]}",
        "{ingress: [{ports: [{protocol: ICMP}]}]}",
        "{podSelector: {matchExpressions: [{key: a, operator: Like, values: [b]}]}}",
        "{podSelector: {matchExpressions: [{key: a, operator: In}]}}",
        "{podSelector: {matchExpressions: [{key: a, operator: Exists, values: [b]}]}}",
    ];
    let mut said = String::new();
    for spec in specs {
        let text =
            format!("{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {{name: p}}, spec: {spec}}}");
        let manifest = parsed(&text);
        assert!(!manifest.problems.is_empty(), "{spec} was accepted");
        assert_eq!(names(&manifest), ["NetworkPolicy default/p"]);
        writeln!(said, "{spec}\n  {}", problems(&manifest).join("\n")).unwrap();
    }
    insta::assert_snapshot!(said);
}

/// The source answers only when there is something new: content decides, and an error is told once.
#[test]
fn the_source_tells_changes_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("manifest.yaml");
    let mut source = ManifestSource::new(&path);
    let mut look = || {
        let mut objects = Vec::new();
        let report = source.poll(&mut |object| objects.push(object), &mut |_| ControlFlow::Continue(()))?;
        Ok(report.map(|_| objects))
    };
    assert!(matches!(look(), Err(ManifestError::Unreadable { .. })));
    assert!(matches!(look(), Ok(None)));
    fs::write(&path, STAR_WARS).unwrap();
    assert!(look().unwrap().is_some_and(|objects| !objects.is_empty()));
    assert!(look().unwrap().is_none());
    fs::write(&path, STAR_WARS).unwrap();
    assert!(look().unwrap().is_none(), "the same content again is no change");
    fs::write(&path, "\n").unwrap();
    assert!(matches!(look(), Err(ManifestError::Empty { .. })), "it is about to be written");
    for other in ["[{kind: Pod, apiVersion: v1, metadata: {name: a}}]", "hello", "12", "{}", "items: x", "kind: Pod"] {
        fs::write(&path, other).unwrap();
        assert!(matches!(look(), Err(ManifestError::Useless { .. })), "{other}: it takes no name away");
    }
    fs::write(&path, "a: [").unwrap();
    assert!(matches!(look(), Err(ManifestError::Yaml { .. })));
    assert!(matches!(look(), Ok(None)));
    fs::write(&path, [0xff, 0xfe, 0xfd]).unwrap();
    assert!(matches!(look(), Err(ManifestError::Unreadable { .. })));
    fs::remove_file(&path).unwrap();
    assert!(matches!(look(), Err(ManifestError::Unreadable { .. })), "another error is told");
    fs::write(&path, STAR_WARS).unwrap();
    assert!(look().unwrap().is_some());
}

proptest! {
    // Integration tests have no source file beside which proptest would keep its failures.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// No text makes the parser panic.
    #[test]
    fn no_text_harms(text in "[-a-z0-9:{}\\[\\]\"'#%.&*!|> \n\t]{0,200}") {
        let _outcome = parse("m.yaml", &text);
    }

    /// Nor does a manifest that was damaged in one place.
    #[test]
    fn no_damage_harms(at in 0..STAR_WARS.len(), with in "[-a-z:{}\\[\\]\"'#&*| \n]{0,3}", cut in 0_usize..20) {
        let mut text = STAR_WARS.to_owned();
        let end = (at + cut).min(text.len());
        text.replace_range(at..end, &with);
        let _outcome = parse("m.yaml", &text);
    }
}
