//! The headings of tables, which sort them.

use maud::{Markup, html};

use super::view::Page;

/// The heading of a column: a link that sorts by `key`, unless that is empty. Numbers begin with
/// the largest, texts with the first.
pub(super) fn heading(page: &Page<'_>, key: &str, name: &str, is_number: bool) -> Markup {
    let Page { query, view, .. } = page;
    let sorted = query.sort.as_ref().filter(|(column, _)| !key.is_empty() && column == key);
    let descends = sorted.map(|(_, descends)| *descends);
    let next = if descends.map_or(is_number, |descends| !descends) { format!("-{key}") } else { key.to_owned() };
    html! {
        th.num[is_number] scope="col" aria-sort=[descends.map(|descends| if descends { "descending" } else { "ascending" })] {
            @if key.is_empty() { (name) } @else { a href={ (view.path()) (query.with("sort", Some(&next))) } { (name) } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::node_view::tests::example;
    use crate::http::page::view::View;
    use crate::http::query::Query;

    /// A heading sorts, then the other way; it says which way it does.
    #[test]
    fn headings_sort() {
        let of = |query: &str, key: &str, is_number| {
            let (node, query) = (example(), Query::read(query));
            heading(&Page { view: View::Drops, node: &node, query: &query, host: "" }, key, "X", is_number)
                .into_string()
        };
        assert!(of("ns=a", "rate", true).contains("/drops?ns=a&amp;sort=-rate"));
        assert!(of("", "from", false).contains("/drops?sort=from"));
        let down = of("sort=-rate", "rate", true);
        assert!(down.contains("aria-sort=\"descending\"") && down.contains("/drops?sort=rate"), "{down}");
        let up = of("sort=from", "from", false);
        assert!(up.contains("aria-sort=\"ascending\"") && up.contains("/drops?sort=-from"), "{up}");
        assert!(!of("sort=rate", "", true).contains("href"));
    }
}
