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
    if let Some(ends) = ends(Measure::Handshake, &row.from, &row.to).filter(|_| row.connections.is_some()) {
        let reporter = if row.connections.as_ref().is_some_and(|of| of.by_client) { "client" } else { "server" };
        let rate = format!("rate(webb_tcp_handshake_seconds_bucket{{{ends}, reporter=\"{reporter}\"}}[{span}])");
        let text = format!("histogram_quantile(0.95, sum by (le) ({rate}))");
        queries.push(Taken { title: "PromQL of all nodes, handshake", text });
    }
    queries
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

/// Commands that show the pair's flows; none where the names of its ends say too little, as those
/// of namespaces do.
pub(super) fn commands(row: &PairRow) -> Vec<Taken> {
    let flows = selector("from", &row.from).zip(selector("to", &row.to)).map(|(from, to)| format!("{from} {to}"));
    let command =
        |(title, program)| flows.iter().map(move |flows| Taken { title, text: format!("{program} {flows} --last 20") });
    [("Flows", "webb observe"), ("Flows, with Hubble's client", "hubble observe")]
        .into_iter()
        .flat_map(command)
        .collect()
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
    use crate::readings::State;
    use crate::readings::tests::pair_row;

    /// Commands select both ends, and no name leaves its quotes.
    #[test]
    fn commands_select_the_pair() {
        let texts = |from: &str, to: &str| -> Vec<String> {
            let row = pair_row(from, to, State::Forwarded, 1);
            commands(&row)
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
}
