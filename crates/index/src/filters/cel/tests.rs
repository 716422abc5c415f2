//! The language, its refusals and its bounds.

use proptest::prelude::*;
use webb_flow::extra::{Dns, Http, L7, L7Kind, L7Record, Service};
use webb_flow::sym::Sym;
use webb_flow::{Direction, Extra, ExtraId, Family, Flow, L4, Reply, Sort, TcpFlags, Verdict};

use super::*;
use crate::{Draft, Endpoint, EndpointKind, Index};

fn flow() -> (Flow, Extra, Index) {
    let mut draft = Draft::default();
    let source = draft.add(
        Sort::Local,
        Endpoint {
            kind: EndpointKind::Pod,
            identity_number: 300,
            identity: Sym::new("k8s:app=web,k8s:tier=front,reserved:none"),
            namespace: Sym::new("shop"),
            pod_name: Sym::new("web-0"),
            workloads: Sym::new("web/Deployment,other/Job"),
            ..Endpoint::EMPTY
        },
    );
    let flow = Flow {
        source,
        source_ip: "10.0.0.1".parse::<std::net::IpAddr>().unwrap().into(),
        destination_ip: "10.0.0.2".parse::<std::net::IpAddr>().unwrap().into(),
        family: Family::V4,
        l4: L4::Tcp,
        source_port: 40_000,
        destination_port: 443,
        tcp_flags: TcpFlags::known(TcpFlags::SYN),
        verdict: Verdict::Dropped,
        direction: Direction::Egress,
        reply: Reply::Unknown,
        extra: ExtraId(0),
        ..Flow::default()
    };
    let extra = Extra {
        verdict: 2,
        drop_reason: 133,
        traffic_direction: 2,
        has_ip: true,
        has_l4: true,
        node_name: "node-1".into(),
        destination_service: Some(Service { namespace: "shop".into(), name: "db".into() }),
        l7: Some(L7 {
            kind: L7Kind::Request,
            latency_ns: 5,
            record: L7Record::Http(Http {
                method: "GET".into(),
                url: "http://db/v1?x=1".into(),
                headers: vec![("Host".into(), "db".into())],
                ..Http::default()
            }),
        }),
        ..Extra::default()
    };
    (flow, extra, draft.publish(0, crate::PodChanges::default()))
}

fn evaluated(text: &str) -> Result<bool, ()> {
    let (flow, extra, index) = flow();
    let op = compile::compile(text, &RegexBudget::default(), &mut Layer7Reads::default())
        .unwrap_or_else(|error| panic!("{text}: {error}"));
    let view = FlowView { flow: &flow, extra: Some(&extra), index: &index };
    eval::evaluate(&op, Source { view: &view, texts: &Texts::default(), node: "here", node_labels: &[] })
        .map_err(|_| ())
}

/// What is true of the flow, and false when it is turned round.
#[test]
fn true_expressions() {
    let all = [
        "true",
        "_flow.verdict == Verdict.DROPPED",
        "_flow.verdict == flow.Verdict.DROPPED && _flow.drop_reason_desc == DropReason.POLICY_DENIED",
        "_flow.l4.TCP.destination_port == 443u",
        "_flow.l4.UDP.destination_port == 0u && !has(_flow.l4.UDP) && has(_flow.l4.TCP) && has(_flow.l4)",
        "_flow.l4.TCP.flags.SYN && !_flow.l4.TCP.flags.ACK",
        "_flow.IP.source == '10.0.0.1' && _flow.IP.ipVersion == IPVersion.IPv4",
        "_flow.source.identity in [300u, 301u] && !(_flow.source.identity in [])",
        "_flow.source.labels.exists(l, l == 'k8s:app=web') && 'k8s:tier=front' in _flow.source.labels",
        "_flow.source.labels.all(l, l.contains(':')) && _flow.source.labels.exists_one(l, l.endsWith('=web'))",
        "_flow.source.labels[1].startsWith('k8s:t') && size(_flow.source.labels) == 3",
        "_flow.source.labels.filter(l, l.startsWith('k8s:')).map(l, size(l)) == [11, 14]",
        "_flow.source.labels.map(l, l.startsWith('r'), l + '!') == ['reserved:none!']",
        "_flow.source.workloads.exists(w, w.kind == 'Job' && w.name == 'other')",
        "has(_flow.source.namespace) && !has(_flow.source.cluster_name) && has(_flow.source.workloads)",
        "_flow.destination_service.name == 'db' && has(_flow.destination_service) && !has(_flow.source_service)",
        "_flow.is_reply == null && !has(_flow.is_reply) && _flow.source != null",
        "_flow.l7.http.method.matches('^G.T$') && _flow.l7.type == L7FlowType.REQUEST",
        "_flow.l7.http.headers.exists(h, h.key == 'Host' && h.value == 'db') && !has(_flow.l7.dns)",
        "_flow.node_name == 'node-1' && _flow.traffic_direction == TrafficDirection.EGRESS",
        "1 + 2 * 3 - 4 / 2 == 5 && 7 % 3 == 1 && -3 < -2 && --3 == 3 && 1.5 * 2.0 == 3.0 && 2u - 1u >= 1u",
        "int(443u) == 443 && uint('7') == 7u && string(3) + 'x' == '3x' && double(1) < 1.5 && bool('true')",
        "true || 1 / 0 == 0",
        "1 / 0 == 0 || true",
        "!(false && 1 / 0 == 0) && !(1 / 0 == 0 && false)",
        "[1, 0].exists(x, 1 / x == 1) && [0, 1].exists(x, 1 / x == 1)",
        "(_flow.verdict == 2 ? 'a' : 'b') == 'a' ? true : false",
        "[[1, 2], [3]].exists(x, x.exists(y, y == 3) && size(x) == 1)",
        "['a', 'b'].map(x, ['c'].map(y, x + y)[0]) == ['ac', 'bc']",
        "'\u{e9}'.size() == 1 && size('') == 0 && \"it's\" == 'it\\'s'",
        "-9223372036854775808 < 0 // a comment\n && true",
    ];
    for text in all {
        assert_eq!(evaluated(text), Ok(true), "{text}");
        assert_eq!(evaluated(&format!("!({text}\n)")), Ok(false), "{text}");
    }
}

/// What has no value ends without one.
#[test]
fn failures() {
    for text in [
        "1 / 0 == 1",
        "9223372036854775807 + 1 > 0",
        "0u - 1u > 0u",
        "-(-9223372036854775807 - 1) > 0",
        "_flow.source.labels[7] == ''",
        "_flow.source.labels[-1] == ''",
        "int('x') == 1",
        "uint(-1) == 1u",
        "_flow.is_reply",
        "!_flow.is_reply",
        "[0, 2].exists(x, 1 / x == 1)",
        "false || 1 / 0 == 0",
    ] {
        assert_eq!(evaluated(text), Err(()), "{text}");
    }
}

/// Refusals, in the reference implementation's words where it has them.
#[test]
fn refusals() {
    let all = [
        ("_flow.nope == 1", "ERROR: <input>:1:6: undefined field 'nope'\n | _flow.nope == 1\n | .....^"),
        ("_flow.source.namespace", "got \"string\", wanted \"bool\" result type"),
        ("_flow", "got \"flow.Flow\", wanted \"bool\" result type"),
        (
            "true &&\n _flow.verdict == 2u",
            "ERROR: <input>:2:16: found no matching overload for '_==_' applied to '(int, uint)'\n |  _flow.verdict == 2u\n | \
             ...............^",
        ),
        ("x == 1", "ERROR: <input>:1:1: undeclared reference to 'x' (in container 'flow')\n | x == 1\n | ^"),
    ];
    for (text, shown) in all {
        assert_eq!(expression_error(text).unwrap().shown(text), shown);
    }
    for (text, part) in [
        ("", "expected an expression, found the end"),
        ("1 +", "expected an expression"),
        ("(true", "expected ')'"),
        ("true true", "expected an operator or the end, found 'true'"),
        ("Verdict.NOPE == 1", "undeclared reference to 'Verdict.NOPE'"),
        ("Verdict == 1", "undeclared reference to 'Verdict'"),
        ("_flow.ethernet.source == ''", "field 'ethernet' of flow.Flow is not among those"),
        ("_flow.verdict.x == 1", "type 'int' does not support field selection"),
        ("_flow.verdict.exists(x, true)", "cannot be range of a comprehension"),
        ("_flow.source.labels.exists(x, x)", "expected type 'bool' but found 'string'"),
        ("'a'.matches('(')", "invalid matches argument"),
        ("'a'.matches(_flow.uuid)", "must be a string literal"),
        ("'a'.matches('(((a{100}){100}){100})')", "invalid matches argument"),
        ("'a'.nope()", "undeclared reference to 'nope'"),
        ("has(1)", "invalid argument to has() macro"),
        ("has(_flow)", "invalid argument to has() macro"),
        ("{'a': 1} == {}", "maps are not supported"),
        ("flow.IP{} == null", "undeclared reference to 'IP'"),
        ("_flow.source == _flow.destination", "no matching overload"),
        ("[1, 'a'] == []", "expected int as the elements before, found string"),
        ("size(1) == 1", "no matching overload for 'size' applied to '(int)'"),
        ("true < 1", "no matching overload for '_<_' applied to '(bool, int)'"),
        ("true && 1", "no matching overload for '_&&_' applied to '(bool, int)'"),
        ("1 && true", "no matching overload for '_&&_' applied to '(int, bool)'"),
        ("!1", "no matching overload for '!_'"),
    ] {
        let error = expression_error(text).unwrap_or_else(|| panic!("{text} is refused"));
        assert!(error.to_string().contains(part), "{text}: {error}");
    }
}

/// Expressions that would take a stack or a processor: each is refused, or ends without a value
/// after a bounded number of steps. The stack is a fraction of a thread's.
#[test]
fn bombs() {
    let repeated = |text: &str, count: usize| text.repeat(count);
    let bombs = [
        repeated("(", 4000),
        format!("{}true{}", repeated("(", 17), repeated(")", 17)),
        repeated("[", 4000),
        repeated("!", 4000) + "true",
        repeated("-", 4000) + "1 == 1",
        format!("{}true{}", repeated("(", 16), repeated(")", 16)),
        repeated("true ? true : ", 250) + "true",
        repeated("true && ", 500) + "true",
        repeated("1 + ", 900) + "1 == 1",
        format!("'a'{} == ''", repeated(" + 'a'", 500)),
        format!("_flow{}", repeated(".source", 500)),
        format!("[1]{} == 1", repeated("[0]", 1000)),
        format!("{}true{}", repeated("[1,2,3].exists(x, ", 16), repeated(")", 16)),
        format!("{}1 == 2{}", repeated("[1,2,3,4,5,6,7,8].exists(x, ", 15), repeated(")", 15)),
        format!("{}'aaaaaaaaaa'{} == []", repeated("['a','b','c','d','e','f'].map(x, ", 15), repeated(")", 15)),
        format!(
            "['aaaaaaaa'].map(a, a+a+a+a+a+a+a+a){} == []",
            repeated(".map(a, a+a+a+a+a+a+a+a+a+a+a+a+a+a+a+a)", 20)
        ),
        repeated("x", 5000),
        repeated("\u{1f600}", 1000),
        format!("'{}", repeated("\\", 4001)),
        format!("'a'.matches('{}')", repeated("(a*)*", 500)),
    ];
    let run = move || {
        for text in &bombs {
            let (flow, extra, index) = flow();
            let Ok(op) = compile::compile(text, &RegexBudget::default(), &mut Layer7Reads::default()) else { continue };
            let view = FlowView { flow: &flow, extra: Some(&extra), index: &index };
            let _done =
                eval::evaluate(&op, Source { view: &view, texts: &Texts::default(), node: "", node_labels: &[] });
        }
    };
    #[allow(clippy::disallowed_methods, reason = "a test measures the stack")]
    std::thread::Builder::new().stack_size(512 << 10).spawn(run).unwrap().join().unwrap();
}

/// Sixteen brackets within each other are read, one more is refused.
#[test]
fn brackets_have_a_bound() {
    let within = |count: usize| format!("{}true{}", "(".repeat(count), ")".repeat(count));
    assert!(Expression::read(&within(16), &RegexBudget::default()).is_ok());
    let error = expression_error(&within(17)).expect("it is refused").to_string();
    assert!(error.contains("more than 16 brackets"), "{error}");
}

/// A filter with expressions: one that is true is enough, one that fails ends it and is counted.
#[test]
fn several_expressions() {
    let (flow, extra, index) = flow();
    let view = FlowView { flow: &flow, extra: Some(&extra), index: &index };
    let matches = |texts: &[&str]| {
        Expressions::new(texts.iter().map(|text| Expression::read(text, &RegexBudget::default()).unwrap()).collect())
            .matches(&view)
    };
    assert!(matches(&["false", "true", "1 / 0 == 1"]));
    assert!(!matches(&["false"]));
    let before = expression_failures();
    assert!(!matches(&["1 / 0 == 1", "true"]));
    assert!(expression_failures() > before);
}

/// The fields of layer 7 that are read are copied out of messages; others are not.
#[test]
fn layer_7_that_is_read() {
    let reads = |text: &str| Expression::read(text, &RegexBudget::default()).unwrap().1;
    assert_eq!(reads("_flow.l7.http.code == 200u"), Layer7Reads::default());
    assert!(reads("_flow.l7.dns.query == ''").query);
    assert!(reads("has(_flow.l7.http.url)").url);
    assert!(reads("_flow.l7.http.headers.exists(h, true)").headers);
    assert!(reads("has(_flow.trace_context.parent)").trace);
    assert!(reads("'a' in _flow.source_names").names);
}

/// A flow that was seen here has the names of its own node and index.
#[test]
fn flows_of_this_node() {
    let (flow, _, index) = flow();
    let view = FlowView { flow: &flow, extra: None, index: &index };
    let mut here = Expressions::new(vec![
        Expression::read("_flow.node_name == 'c/n' && has(_flow.source)", &RegexBudget::default()).unwrap(),
    ]);
    here.set_local_node("c/n");
    assert!(here.matches(&view));
    here.set_local_node("default/n");
    assert!(!here.matches(&view));
    let dns = L7 { record: L7Record::Dns(Dns { query: "a.b".into(), ..Dns::default() }), ..L7::default() };
    let extra = Extra { live: true, l7: Some(dns), ..Extra::default() };
    let view = FlowView { flow: &flow, extra: Some(&extra), index: &index };
    assert!(
        Expressions::new(vec![Expression::read("_flow.l7.dns.query == 'a.b'", &RegexBudget::default()).unwrap()])
            .matches(&view)
    );
}

/// Pieces of the language, joined at random.
fn piece() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec![
        "_flow",
        ".",
        "source",
        "labels",
        "l4",
        "TCP",
        "destination_port",
        "443u",
        "1",
        "0",
        "-",
        "+",
        "*",
        "/",
        "%",
        "==",
        "!=",
        "<",
        ">=",
        "&&",
        "||",
        "!",
        "?",
        ":",
        "(",
        ")",
        "[",
        "]",
        ",",
        "'a'",
        "\"",
        "r'b'",
        "x",
        ".exists(x, ",
        ".map(x, ",
        ".filter(x, ",
        "has(",
        "size(",
        "int(",
        " in ",
        "Verdict.DROPPED",
        "null",
        "true",
        "1.5",
        "\\",
        "\u{e9}",
        ".matches('a')",
        "_flow.source.workloads",
        ".name",
        "is_reply",
        "\n",
        "//",
        "{",
        "}",
        ";",
    ])
}

proptest! {
    /// No text makes the compiler or an evaluation panic, and an error can be shown.
    #[test]
    fn any_text(pieces in proptest::collection::vec(piece(), 0..40), noise in "\\PC{0,20}") {
        for text in [pieces.concat(), noise] {
            match compile::compile(&text, &RegexBudget::default(), &mut Layer7Reads::default()) {
                Ok(_) => { let _result = evaluated(&text); }
                Err(error) => prop_assert!(!error.shown(&text).is_empty()),
            }
        }
    }

    /// Arithmetic and comparisons agree with Rust's.
    #[test]
    fn numbers(one in any::<i64>(), other in any::<i64>()) {
        for (sign, result) in [
            ("+", one.checked_add(other)), ("-", one.checked_sub(other)), ("*", one.checked_mul(other)),
            ("/", one.checked_div(other)), ("%", one.checked_rem(other)),
        ] {
            let value = evaluated(&format!("({one}) {sign} ({other}) == ({})", result.unwrap_or(0)));
            prop_assert_eq!(value, result.map(|_| true).ok_or(()));
        }
        prop_assert_eq!(evaluated(&format!("{one} < {other}")), Ok(one < other));
        prop_assert_eq!(evaluated(&format!("string({one}) == '{one}'")), Ok(true));
    }
}
