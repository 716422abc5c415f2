//! The page: what the node's traffic looks like now, for a browser behind `kubectl port-forward`.
//!
//! All of it is HTML that is rendered here, and works without script; the script refreshes the
//! parts that change in place. All state is in the URL. Nothing comes from elsewhere, and the
//! browser is told so.

mod agent;
mod assets;
mod changes;
mod chart;
mod empty;
mod filter;
mod frame;
mod heading;
mod map;
mod overview;
mod pair;
mod pairs;
mod tables;
mod text;
mod view;

use std::sync::Arc;

use actix_web::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderName, LOCATION, REFERRER_POLICY};
use actix_web::http::header::{CONTENT_SECURITY_POLICY, X_CONTENT_TYPE_OPTIONS};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, web};
use assets::{Asset, ICON, SCRIPT, STYLE};
use maud::Markup;
use view::{Page, View};

use super::api::busy;
use super::node_view::ViewCache;
use super::query::Query;

/// Nothing but the page's own files, no style or script in markup, no frame around it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'; trusted-types 'none'";

/// Renders a view as a whole document.
fn render(page: &Page<'_>) -> String {
    let body: Markup = match page.view {
        View::Overview => overview::view(page),
        View::Pairs => pairs::view(page),
        View::Pair => pair::view(page),
        View::Drops => tables::drops(page),
        View::Connections => tables::connections(page),
        View::Dns => tables::dns(page),
        View::Http => tables::http(page),
        View::Changes => changes::view(page),
        View::Agent => agent::view(page),
    };
    frame::page(page, &body).into_string()
}

/// Adds all views but `/`, which is the list of endpoints for whom it is not a page.
pub(super) fn routes(config: &mut web::ServiceConfig) {
    for view in View::ALL.into_iter().filter(|view| *view != View::Overview) {
        let to = move |request: HttpRequest, views: web::Data<ViewCache>| answer(request, views, view);
        config.route(view.path(), web::get().to(to));
    }
    for asset in [&STYLE, &SCRIPT, &ICON] {
        config.route(&asset.path, web::get().to(move || async move { file(asset) }));
    }
}

/// True if the client is a browser that wants to show a page.
pub(super) fn is_wanted(request: &HttpRequest) -> bool {
    let accepted: Vec<&str> = request.headers().get_all(ACCEPT).filter_map(|accept| accept.to_str().ok()).collect();
    prefers_html(&accepted)
}

/// True if HTML is accepted, and plain text is not preferred by name.
fn prefers_html(accepted: &[&str]) -> bool {
    let quality = |wanted: &str| {
        let ranges = accepted.iter().flat_map(|header| header.split(','));
        let mut qualities = ranges.filter_map(|range| {
            let mut parts = range.split(';').map(str::trim);
            parts.next().filter(|kind| kind.eq_ignore_ascii_case(wanted))?;
            let quality = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
            Some(quality.map_or(1.0, |quality| quality.trim().parse::<f64>().unwrap_or(0.0)))
        });
        qualities.next().unwrap_or(0.0)
    };
    let html = quality("text/html");
    html > 0.0 && html >= quality("text/plain")
}

/// The answer to `/` for a browser.
pub(super) async fn overview(request: HttpRequest, views: web::Data<ViewCache>) -> HttpResponse {
    answer(request, views, View::Overview).await
}

async fn answer(request: HttpRequest, views: web::Data<ViewCache>, view: View) -> HttpResponse {
    let query = Query::read(request.query_string());
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost:9966").to_owned();
    let views = Arc::clone(&views);
    if query.tidy {
        // Elsewhere, or each refresh would do it again.
        views.tidy(&query);
        let to = format!("{}{}", view.path(), query.with("tidy", None));
        return HttpResponse::SeeOther().insert_header((LOCATION, to)).finish();
    }
    let rendered = views
        .render((query.window, query.by), move |node| render(&Page { view, node, query: &query, host: &host }))
        .await;
    match rendered {
        Ok(text) => guarded(HttpResponse::Ok())
            .insert_header((CONTENT_TYPE, "text/html; charset=utf-8"))
            .insert_header((CACHE_CONTROL, "no-store"))
            .body(text),
        Err(_busy) => busy(),
    }
}

fn file(asset: &Asset) -> HttpResponse {
    guarded(HttpResponse::Ok())
        .insert_header((CONTENT_TYPE, asset.kind))
        .insert_header((CACHE_CONTROL, "public, max-age=31536000, immutable"))
        .body(asset.text)
}

/// The headers that every answer to a browser has.
fn guarded(mut answer: HttpResponseBuilder) -> HttpResponseBuilder {
    answer
        .insert_header((CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((REFERRER_POLICY, "no-referrer"))
        .insert_header((HeaderName::from_static("cross-origin-opener-policy"), "same-origin"))
        .insert_header((HeaderName::from_static("cross-origin-resource-policy"), "same-origin"));
    answer
}

#[cfg(test)]
mod tests;
