//! The form that filters a view: a `GET` with the keys of the query, so it works without script.

use std::sync::Arc;

use maud::{Markup, html};

use super::text;
use super::view::{Page, View};
use crate::readings::State;

/// Choices of a list.
const MAX_OPTIONS: usize = 256;

/// The form. The keys that it has no field for stay as they are.
pub(super) fn form(page: &Page<'_>) -> Markup {
    let Page { view, query, .. } = page;
    let reading = &page.node.cached.reading;
    let namespaces = options("ns", &reading.namespaces, &query.namespaces);
    let protocols = if has_protocols(*view) { options("proto", &reading.protocols, &query.protocols) } else { None };
    let mut fields = vec!["workload", "verdict", "problems"];
    fields.extend(namespaces.as_ref().map(|_| "ns"));
    fields.extend(protocols.as_ref().map(|_| "proto"));
    html! {
        form.filter method="get" action=(view.path()) role="search" {
            label { span.sr { "Workloads" }
                input type="search" name="workload" value=(query.workload) placeholder="workload, e.g. shop/* -prom";
            }
            @if let Some(list) = namespaces { label { "Namespace " (list) } }
            label { "State "
                select name="verdict" {
                    option value="" { "all" }
                    @for state in State::ALL {
                        option value=(state.label()) selected[query.states == [state]] { (state.label()) }
                    }
                }
            }
            @if let Some(list) = protocols { label { "Protocol " (list) } }
            label { input type="checkbox" name="problems" value="1" checked[query.problems]; " Problems only" }
            @for (key, value) in query.kept(&fields) { input type="hidden" name=(key) value=(value); }
            button type="submit" { "Apply" }
            @if query.is_filtered() { a href=(view.path()) { "Remove the filter" } }
        }
    }
}

/// True if the rows of a view have protocols.
fn has_protocols(view: View) -> bool {
    matches!(view, View::Overview | View::Pairs | View::Drops)
}

/// A list of `all` values of a key; none if there is nothing to choose, or if several are chosen,
/// which one list cannot say.
fn options(key: &str, all: &[Arc<str>], chosen: &[String]) -> Option<Markup> {
    let chosen = match chosen {
        [] if all.is_empty() => return None,
        [] => None,
        [one] => Some(one.as_str()),
        _ => return None,
    };
    let is_it = |value: &str| chosen.is_some_and(|chosen| chosen.eq_ignore_ascii_case(value));
    // Kubernetes has no names with signs that a browser obeys.
    let all: Vec<&Arc<str>> = all.iter().filter(|value| text::visible(value) == ***value).collect();
    let shown = all.get(..MAX_OPTIONS).unwrap_or(&all);
    let is_shown = shown.iter().any(|value| is_it(value));
    Some(html! {
        select name=(key) {
            option value="" { "all" }
            @if let Some(chosen) = chosen.filter(|_| !is_shown) {
                option value=(chosen) selected { (text::visible(chosen)) }
            }
            @for value in shown { option value=(value) selected[is_it(value)] { (text::visible(value)) } }
            @if all.len() > shown.len() { option disabled { (all.len() - shown.len()) " more: write NAME/* at the left" } }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::node_view::tests::example;
    use crate::http::query::Query;

    fn of(view: View, query: &str) -> String {
        form(&Page { view, node: &example(), query: &Query::read(query), host: "localhost:9966" }).into_string()
    }

    /// Each key of the query is in the form once: in a field, or hidden where it has none.
    #[test]
    fn forms_keep_the_query() {
        let query = "ns=shop&proto=TCP&by=namespace&show=table&unit=bit&page=3&open=x&workload=cart";
        let form = of(View::Overview, query);
        for (name, times) in
            [("ns", 1), ("proto", 1), ("by", 1), ("show", 1), ("unit", 1), ("workload", 1), ("page", 0), ("open", 0)]
        {
            assert_eq!(form.matches(&format!(" name=\"{name}\"")).count(), times, "{name} in {form}");
        }
        assert!(form.contains("<option value=\"shop\" selected>shop</option>"), "{form}");
        assert!(form.contains("<option value=\"TCP\" selected>TCP</option>"), "{form}");
        // Names that fail have no protocol: what is set is not lost.
        assert!(of(View::Dns, query).contains("<input type=\"hidden\" name=\"proto\" value=\"TCP\">"));
    }

    /// What is chosen stays chosen, though no row has it now, and though it is one of several.
    #[test]
    fn choices_are_kept() {
        let form = of(View::Pairs, "ns=elsewhere&proto=sctp");
        assert!(form.contains("<option value=\"elsewhere\" selected>"), "{form}");
        assert!(form.contains("<option value=\"sctp\" selected>"), "{form}");
        let form = of(View::Pairs, "ns=shop&ns=elsewhere");
        assert!(!form.contains("<select name=\"ns\""), "{form}");
        assert_eq!(form.matches("<input type=\"hidden\" name=\"ns\"").count(), 2);
    }

    /// Lists have a bound, and say what they leave out; names in them are data.
    #[test]
    fn lists_are_bounded() {
        let names: Vec<Arc<str>> = (0..1000).map(|at| format!("<b>{at}").into()).collect();
        let list = options("ns", &names, &[]).unwrap().into_string();
        assert_eq!(list.matches("<option").count(), MAX_OPTIONS + 2);
        assert!(list.contains("744 more") && !list.contains("<b>"), "{list}");
        assert!(options("ns", &[], &[]).is_none());
        let odd = options("ns", &["\u{202e}x".into(), "y".into()], &[]).unwrap().into_string();
        assert_eq!(odd.matches("<option").count(), 2, "{odd}");
    }
}
