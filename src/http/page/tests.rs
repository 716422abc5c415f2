//! Views of nodes that are written by hand.

use super::assets::asset;
use super::*;
use crate::http::node_view::NodeView;
use crate::http::node_view::tests::{example, of_store};
use crate::readings::SampleStore;
use crate::readings::tests::{at, named, of_pairs};

fn rendered(node: &NodeView, view: View, query: &str) -> String {
    render(&Page { view, node, query: &Query::read(query), host: "localhost:9966" })
}

/// A line for each tag, so that a change is seen where it is. Addresses of files change with them.
fn lines(html: &str) -> String {
    let plain = [&STYLE, &SCRIPT, &ICON].iter().fold(html.to_owned(), |html, asset| {
        html.replace(&asset.path, &format!("/page/HASH.{}", asset.path.rsplit('.').next().unwrap()))
    });
    plain.replace("><", ">\n<")
}

/// Each view of a small node.
#[test]
fn views_are_golden() {
    for view in View::ALL {
        insta::assert_snapshot!(format!("page-{}", view.title()), lines(&rendered(&example(), view, "")));
    }
    let open = rendered(&example(), View::Pairs, "open=shop/storefront%20shop/cart&sort=-out&window=2m");
    insta::assert_snapshot!("page-open", lines(&open));
    let known = rendered(&example(), View::Pair, "from=shop/cart&to=shop/storefront");
    insta::assert_snapshot!("page-known-pair", lines(&known));
}

/// A map without a line is a sentence.
#[test]
fn a_map_may_have_no_line() {
    let html = rendered(&example(), View::Overview, "focus=a%2Fnone");
    assert!(html.contains("There is no line to draw") && !html.contains("viewBox=\"0 0 -"));
}

/// The pair of two namespaces has the requests of its parts, and queries that select them.
#[test]
fn a_pair_of_namespaces_has_its_parts() {
    let node = crate::http::node_view::tests::example_by_namespace();
    let html = rendered(&node, View::Pair, "from=shop&to=shop&by=namespace");
    assert!(html.contains("source=~&quot;shop(/.+)?&quot;") && html.contains("<dt>HTTP</dt>"), "{html}");
    assert!(html.contains("by=namespace"), "{html}");
}

/// An agent that has just started says why there is nothing, and what to do.
#[test]
fn empty_views_say_why() {
    let node = NodeView { families: Arc::default(), ..of_store(&SampleStore::default()) };
    for view in View::ALL {
        let html = rendered(&node, view, "");
        assert!(html.contains("</html>") && !html.contains("NaN"), "{view:?}");
    }
    assert!(rendered(&node, View::Dns, "").contains("DNS is not watched"));
    assert!(rendered(&example(), View::Pairs, "workload=nothing-like-it").contains("matches the filter"));
}

/// No element has an attribute twice: a browser would drop the second.
#[test]
fn attributes_are_there_once() {
    for view in View::ALL {
        let html = rendered(&example(), view, "open=shop/storefront%20shop/cart&sort=-out");
        for tag in html.split('<').filter_map(|tag| tag.split_once('>')).map(|(tag, _)| tag) {
            assert!(tag.matches(" class=\"").count() < 2, "{tag}");
        }
        assert!(!html.contains(" style="), "{view:?}: the policy blocks it");
    }
}

/// Neither names of pods nor a query become markup, styles or scripts of the page.
#[test]
fn names_are_data() {
    let names = ["<script>alert(1)</script>", "\"><img src=x onerror=alert(1)>", "\u{202e}gro.live", &"a".repeat(253)];
    let mut store = SampleStore::default();
    for (step, more) in [1_u64, 2].into_iter().enumerate() {
        named(&mut store, at(10 * step as u64), &names, more);
    }
    let node = of_store(&store);
    let mut hostile = String::new();
    crate::http::query::encode(&mut hostile, "'\"><script>alert(2)</script>");
    for view in View::ALL {
        for query in
            [String::new(), format!("workload={hostile}&ns={hostile}&sort={hostile}&window={hostile}&theme={hostile}")]
        {
            let html = rendered(&node, view, &query);
            assert_eq!(html.matches("<script").count(), 1, "{view:?} {query}: its own file alone");
            assert!(!html.contains("<img") && !html.contains('\u{202e}') && !html.contains(" style="), "{view:?}");
            assert!(!html.contains(" onerror=\"") && !html.contains("javascript:"), "{view:?}");
        }
    }
    let html = rendered(&node, View::Pairs, "");
    assert!(html.contains("&lt;script&gt;alert(1)") && html.contains("[U+202E]gro.live"));
}

/// With 5,000 pairs the page is as small as with a few, and says what it hides.
#[test]
fn many_pairs_are_bounded() {
    let mut store = SampleStore::default();
    store.mark_read(at(0));
    of_pairs(&mut store, at(0), 5000, 0);
    of_pairs(&mut store, at(10), 5000, 10);
    let node = of_store(&store);
    let (overview, pairs) = (rendered(&node, View::Overview, ""), rendered(&node, View::Pairs, ""));
    assert!(overview.len() < 120_000 && pairs.len() < 200_000, "{} and {} bytes", overview.len(), pairs.len());
    assert!(pairs.contains("4900") && pairs.contains("pairs are not shown"));
    assert!(STYLE.text.len() < 20_000 && SCRIPT.text.len() < 6_000);
}

/// A page is for what accepts HTML by name, with a quality above nought and not below that of text.
#[test]
fn html_is_asked_for_by_name() {
    for (accepted, is_wanted) in [
        (&["text/html,application/xhtml+xml,*/*;q=0.8"][..], true),
        (&["*/*"], false),
        (&[], false),
        (&["application/json, text/html;q=0"], false),
        (&["text/plain;q=0.5, TEXT/HTML; Q=0.9"], true),
        (&["text/plain, text/html;q=0.9"], false),
        (&["application/json", "text/html"], true),
        (&["x-text/html+json"], false),
        (&["text/html;q=much"], false),
    ] {
        assert_eq!(prefers_html(accepted), is_wanted, "{accepted:?}");
    }
}

/// Browsers are told that nothing comes from elsewhere, and a file's address changes with it.
#[actix_web::test]
async fn answers_are_guarded() {
    let answer = file(&SCRIPT);
    let header = |name: &str| answer.headers().get(name).unwrap().to_str().unwrap().to_owned();
    let policy = header("content-security-policy");
    assert!(policy.starts_with("default-src 'none';") && !policy.contains("unsafe"), "{policy}");
    assert_eq!((header("x-content-type-options"), header("referrer-policy")), ("nosniff".into(), "no-referrer".into()));
    assert_ne!(asset("js", "a", "").path, asset("js", "b", "").path);
}
