//! What a person takes along from a pair: queries and commands for the same figures.

use super::node_view::NodeView;
use super::query::{Query, encode};
use crate::readings::{By, Measure, PairRow};

/// A query or a command, and what it is.
#[derive(Debug, serde::Serialize)]
pub(super) struct Taken {
    pub(super) title: &'static str,
    pub(super) text: String,
}

/// PromQL with the labels in force, of all nodes, over the window of the query: a minute at least,
/// as scrapes are that far apart.
pub(super) fn promql(node: &NodeView, row: &PairRow, query: &Query) -> Vec<Taken> {
    let span = if query.window.as_secs() == 300 { "5m" } else { "1m" };
    let ends = |measure: Measure, from: &str, to: &str| {
        let form = node.form(measure)?;
        let end = |side, end| match query.by {
            By::Label => form.matchers(side, end),
            By::Namespace => form.namespace_matchers(side, end),
        };
        Some(format!("{}, {}", end("source", from), end("destination", to)))
    };
    let mut queries = Vec::new();
    for (title, from, to) in
        [("PromQL of all nodes, out", &row.from, &row.to), ("PromQL of all nodes, back", &row.to, &row.from)]
    {
        if let Some(ends) = ends(Measure::Traffic, from, to) {
            let rate = format!("rate(webb_traffic_bytes_total{{{ends}}}[{span}])");
            queries.push(Taken { title, text: format!("max(sum by (traffic_direction) ({rate}))") });
        }
    }
    for Count { title, measure, by, is_turned } in counts(node, row, query) {
        let (from, to) = if is_turned { (&row.to, &row.from) } else { (&row.from, &row.to) };
        if let Some(ends) = ends(measure, from, to) {
            let text = format!("sum by ({by}) (rate({}{{{ends}}}[{span}]))", measure.family());
            queries.push(Taken { title, text });
        }
    }
    if let Some(ends) = ends(Measure::Handshake, &row.from, &row.to).filter(|_| row.connections.is_some()) {
        let reporter = if row.connections.as_ref().is_some_and(|of| of.by_client) { "client" } else { "server" };
        let rate = format!("rate(webb_tcp_handshake_seconds_bucket{{{ends}, reporter=\"{reporter}\"}}[{span}])");
        let text = format!("histogram_quantile(0.95, sum by (le) ({rate}))");
        queries.push(Taken { title: "PromQL of all nodes, handshake", text });
    }
    queries
}

/// A count of the pair.
struct Count {
    title: &'static str,
    measure: Measure,
    /// The label that tells its parts apart.
    by: &'static str,
    /// True where the server is the source.
    is_turned: bool,
}

/// The counts that a pair has, of those that are exposed with both ends.
fn counts(node: &NodeView, row: &PairRow, query: &Query) -> Vec<Count> {
    let reading = &node.cached.reading;
    let has_part = |from: &str, to: &str| row.has_part(from, to, query.by);
    let answers = reading.answers.iter().any(|of| has_part(&of.from, &of.to));
    let http = reading.http.iter().any(|of| has_part(&of.from, &of.to));
    // Plain `http` has the status in its responses, whose source is the server.
    let (requests, is_turned) = match node.form(Measure::HttpAnswer) {
        Some(_) => (Measure::HttpAnswer, true),
        None => (Measure::HttpRequest, false),
    };
    let count = |has: bool, title, measure, by, is_turned| has.then_some(Count { title, measure, by, is_turned });
    let verdicts = row.denied.total > 0 || row.passed.total > 0;
    [
        count(row.connections.is_some(), "PromQL of all nodes, connects", Measure::Attempt, "outcome, reporter", false),
        count(row.drops.total > 0, "PromQL of all nodes, drops", Measure::Drop, "reason", false),
        count(verdicts, "PromQL of all nodes, verdicts", Measure::Verdict, "action, match", false),
        count(answers, "PromQL of all nodes, DNS", Measure::DnsAnswer, "rcode", true),
        count(http, "PromQL of all nodes, HTTP", requests, "status, reporter", is_turned),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The command that fetches the pair as JSON; `host` is the address of the page.
pub(super) fn curl(row: &PairRow, host: &str, query: &Query) -> Taken {
    let mut url = format!("http://{host}/api/v1/pair?from=");
    encode(&mut url, &row.from);
    url.push_str("&to=");
    encode(&mut url, &row.to);
    if query.by == By::Namespace {
        url.push_str("&by=namespace");
    }
    if query.window.as_secs() != 60 {
        url.push_str(&format!("&window={}s", query.window.as_secs()).replace("300s", "5m"));
    }
    Taken { title: "JSON", text: format!("curl -s {}", quoted(&url)) }
}

/// True if the agent keeps flows for the observer.
fn has_history(node: &NodeView) -> bool {
    node.own_of("webb_observer_capacity", &[]) > 0.0
}

/// Commands that show the pair's flows; none where the names of its ends say too little, as those
/// of namespaces do.
pub(super) fn commands(node: &NodeView, row: &PairRow) -> Vec<Taken> {
    let flows = selector("from", &row.from).zip(selector("to", &row.to)).map(|(from, to)| format!("{from} {to}"));
    let command =
        |(title, program)| flows.iter().map(move |flows| Taken { title, text: format!("{program} {flows} --last 20") });
    let (own, hubbles) = if has_history(node) {
        ("Flows", "Flows, with Hubble's client")
    } else {
        ("Flows, once observer.listen is set", "Likewise, with Hubble's client")
    };
    [(own, "webb observe"), (hubbles, "hubble observe")].into_iter().flat_map(command).collect()
}

/// The flag that selects an end; none where its name says too little. A pod's name is a beginning,
/// so that it selects a workload's pods too.
fn selector(side: &str, end: &str) -> Option<String> {
    let flag = if end.starts_with("reserved:") {
        "label"
    } else if end.parse::<std::net::IpAddr>().is_ok() {
        "ip"
    } else if end.contains('/') {
        "pod"
    } else {
        return None;
    };
    Some(format!("--{side}-{flag} {}", quoted(end)))
}

/// A word as a shell reads it: names are data, and may come from pods.
fn quoted(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:".contains(&byte);
    if !word.is_empty() && word.bytes().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::node_view::tests::{example, of_reading};
    use crate::readings::tests::{at, pair_row, snapshot};
    use crate::readings::{SampleStore, State};

    /// Commands select both ends, and no name leaves its quotes.
    #[test]
    fn commands_select_the_pair() {
        let node = example();
        let texts = |from: &str, to: &str| -> Vec<String> {
            let row = pair_row(from, to, State::Forwarded, 1);
            commands(&node, &row)
                .into_iter()
                .chain([curl(&row, "localhost:9966", &Query::default())])
                .map(|of| of.text)
                .collect()
        };
        assert_eq!(
            texts("shop/cart", "reserved:world"),
            [
                "webb observe --from-pod shop/cart --to-label reserved:world --last 20",
                "hubble observe --from-pod shop/cart --to-label reserved:world --last 20",
                "curl -s 'http://localhost:9966/api/v1/pair?from=shop/cart&to=reserved:world'",
            ]
        );
        assert_eq!(texts("10.0.0.1", "fd00::1")[0], "webb observe --from-ip 10.0.0.1 --to-ip fd00::1 --last 20");
        assert_eq!(texts("cart", "shop/db").len(), 1, "no namespace, no selector");
        assert!(texts("a/';reboot;'", "b/c")[0].contains(r"'a/'\'';reboot;'\'''"));
    }

    /// The labels of both ends, as `labelsContext` or the contexts of the ends name them.
    fn labels<'a>(form: &'a str, from: &'a str, to: &'a str) -> Vec<(String, &'a str)> {
        let end = |side: &str, end: &'a str| match (form, end.split_once('/')) {
            ("", _) => vec![(side.to_owned(), end)],
            (name, Some((namespace, of))) => {
                vec![(format!("{side}_namespace"), namespace), (format!("{side}_{name}"), of)]
            }
            (name, None) => vec![(format!("{side}_namespace"), ""), (format!("{side}_{name}"), end)],
        };
        [end("source", from), end("destination", to)].concat()
    }

    /// A view with a series of every family, whose ends have labels of this form.
    fn node(form: &str, (from, to): (&str, &str), with_status: bool, by: By) -> NodeView {
        let more = [
            ("reporter", "client"),
            ("outcome", "accepted"),
            ("reason", "POLICY_DENIED"),
            ("action", "audit"),
            ("direction", "egress"),
            ("match", "none"),
            ("rcode", "No Error"),
            ("protocol", "TCP"),
            ("traffic_direction", "egress"),
        ];
        let of = |measure: Measure| {
            let is_turned = matches!(measure, Measure::DnsAnswer | Measure::HttpAnswer);
            let ends = if is_turned { labels(form, to, from) } else { labels(form, from, to) };
            let mut all: Vec<(&str, &str)> = ends.iter().map(|(name, end)| (name.as_str(), *end)).collect();
            all.extend(more);
            if measure == Measure::HttpAnswer || measure == Measure::HttpRequest && with_status {
                all.push(("status", "200"));
            }
            let width = snapshot(measure.family(), &[]).width();
            snapshot(measure.family(), &[(&all, &vec![7; width])])
        };
        let all: Vec<_> = Measure::all().filter(|of| !with_status || *of != Measure::HttpAnswer).map(of).collect();
        let mut store = SampleStore::default();
        store.sample(at(0), &[]);
        store.sample(at(60), &all.iter().collect::<Vec<_>>());
        of_reading(&store, by)
    }

    /// The rules file of these queries, and what promtool says of it; none without promtool.
    fn checked(queries: &[String]) -> Option<(bool, String)> {
        let unpacked = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("target/promtool");
        let program = if unpacked.exists() { unpacked } else { "promtool".into() };
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("rules.yaml");
        let rule = |(at, query): (usize, &String)| serde_json::json!({"record": format!("r{at}"), "expr": query});
        let rules: Vec<_> = queries.iter().enumerate().map(rule).collect();
        let text = serde_json::json!({"groups": [{"name": "taken", "rules": rules}]}).to_string();
        std::fs::write(&file, text).unwrap();
        let Ok(output) = std::process::Command::new(program).args(["check", "rules"]).arg(&file).output() else {
            assert!(std::env::var_os("CI").is_none(), "promtool is missing, and CI must run it");
            eprintln!("SKIPPED: there is no promtool; scripts/setup brings it");
            return None;
        };
        let said = [output.stdout, output.stderr].concat();
        Some((output.status.success(), String::from_utf8_lossy(&said).into_owned()))
    }

    /// Every query is PromQL, whatever labels name the ends and whatever these are called, and
    /// there is one for each family that counts the pair.
    #[test]
    fn queries_are_promql() {
        let mut queries = Vec::new();
        for form in ["", "workload", "app", "pod", "ip"] {
            for (from, to) in [
                ("shop/cart", "data/db"),
                ("reserved:world", "shop/cart"),
                ("10.0.0.1", "fd00::1"),
                ("a\"b\\c\nd/x{}[5m])", "kube-system/~`'$é日本"),
                ("cart", "db"),
            ] {
                for with_status in [true, false] {
                    for query in ["", "by=namespace", "window=5m"].map(Query::read) {
                        let node = node(form, (from, to), with_status, query.by);
                        let row = &node.cached.reading.pairs[0];
                        assert!(row.has_part(from, to, query.by), "{form}: {row:?}");
                        let taken = promql(&node, row, &query);
                        assert_eq!(taken.len(), 8, "{form} {from}: {taken:?}");
                        let family =
                            if with_status { "hubble_http_requests_total" } else { "hubble_http_responses_total" };
                        assert!(taken.iter().any(|of| of.text.contains(family)), "{taken:?}");
                        queries.extend(taken.into_iter().map(|of| of.text));
                    }
                }
            }
        }
        let Some((is_good, said)) = checked(&queries) else { return };
        assert!(is_good && said.contains(&format!("{} rules found", queries.len())), "{said}");
        let (is_good, said) = checked(&["sum(rate(x{a=\"b}[1m]))".to_owned()]).unwrap();
        assert!(!is_good, "{said}");
    }
}
