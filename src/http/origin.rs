//! Requests that a foreign web page makes, which the admin listener refuses.
//!
//! A browser on the node, or one that a forwarded port leads from, sends requests for any page that
//! it shows. It names that page in `Origin` and `Sec-Fetch-Site`; a page whose name was made to
//! lead here (DNS rebinding) is named in `Host`. A page cannot set a header of its own for another
//! site without asking first, and it is not answered when it asks: so what changes something needs
//! one.

use std::net::IpAddr;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::error::ErrorForbidden;
use actix_web::http::Method;
use actix_web::http::header::{HOST, HeaderMap, ORIGIN};
use actix_web::middleware::Next;

/// The header that a request other than GET must have, with any value.
pub const COMMAND_HEADER: &str = "X-Webb-Admin";

/// Lets a request pass, or answers it with 403 and the reason. HEAD passes as the GET that it asks
/// about.
pub async fn refuse_foreign(
    mut request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    if let Err(why) = check(request.method(), request.headers()) {
        tracing::warn!("an admin request is refused: {why}");
        return Err(ErrorForbidden(format!("{why}\n")));
    }
    // What a GET would be answered with; the server leaves its body out.
    if request.method() == Method::HEAD {
        request.head_mut().method = Method::GET;
    }
    next.call(request).await
}

fn check(method: &Method, headers: &HeaderMap) -> Result<(), String> {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let host = text(HOST.as_str());
    // A client of HTTP/1.0 sends none, and no browser is one.
    if let Some(host) = host.filter(|host| !is_address(host)) {
        return Err(format!("the host {host:?} may be any page's name: use localhost or an address"));
    }
    if let Some(origin) = text(ORIGIN.as_str()) {
        let of_host = origin.split_once("://").map(|(_, of_host)| of_host);
        if of_host.is_none() || of_host != host {
            return Err(format!("it comes from a page of {origin:?}"));
        }
    }
    if let Some(site) = text("sec-fetch-site").filter(|site| !matches!(*site, "same-origin" | "none")) {
        return Err(format!("it comes from a page of another site ({site:?})"));
    }
    if !matches!(*method, Method::GET | Method::HEAD) && !headers.contains_key(COMMAND_HEADER) {
        return Err(format!("{method} needs the header {COMMAND_HEADER}: curl -X {method} -H '{COMMAND_HEADER}: 1'"));
    }
    Ok(())
}

/// True for `localhost` and addresses, which no name server makes lead elsewhere.
fn is_address(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    };
    let literal = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || literal.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;

    fn checked(method: &Method, headers: &[(&str, &str)]) -> Result<(), String> {
        let read = |(name, value): &(&str, &str)| {
            (HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(*value).unwrap())
        };
        check(method, &headers.iter().map(read).collect())
    }

    /// Requests of curl, kubelet and Prometheus pass.
    #[test]
    fn tools_pass() {
        for host in ["localhost:9966", "127.0.0.1:9966", "[::1]:9966", "[::1]", "10.0.0.7", "localhost", "LOCALHOST"] {
            assert_eq!(checked(&Method::GET, &[("Host", host)]), Ok(()), "{host}");
        }
        assert_eq!(checked(&Method::GET, &[]), Ok(()));
        assert_eq!(checked(&Method::POST, &[("Host", "localhost:9966"), (COMMAND_HEADER, "1")]), Ok(()));
    }

    /// The agent's own page passes: its origin is the host that it asks.
    #[test]
    fn the_own_page_passes() {
        let own = [("Host", "localhost:9966"), ("Origin", "http://localhost:9966"), ("Sec-Fetch-Site", "same-origin")];
        assert_eq!(checked(&Method::GET, &own), Ok(()));
    }

    /// Each of the ways in which a foreign page may ask.
    #[test]
    fn pages_are_refused() {
        for (host, header, value) in [
            ("evil.example:9966", "Accept", "*/*"),
            ("localhost.evil.example", "Accept", "*/*"),
            ("localhost:9966", "Origin", "https://evil.example"),
            ("localhost:9966", "Origin", "null"),
            ("localhost:9966", "Sec-Fetch-Site", "cross-site"),
            ("localhost:9966", "Sec-Fetch-Site", "same-site"),
        ] {
            let asked = checked(&Method::GET, &[("Host", host), (header, value)]);
            assert!(asked.is_err(), "{host} {header}: {value}");
        }
        let why = checked(&Method::POST, &[("Host", "localhost:9966")]).unwrap_err();
        assert!(why.contains("-H 'X-Webb-Admin: 1'"), "{why}");
        assert!(checked(&Method::OPTIONS, &[("Host", "localhost:9966")]).is_err());
    }

    /// HEAD is answered by the routes of GET.
    #[actix_web::test]
    async fn head_is_answered() {
        use actix_web::middleware::from_fn;
        use actix_web::{App, test, web};
        let route = web::get().to(|| async { "ok" });
        let app = test::init_service(App::new().wrap(from_fn(refuse_foreign)).route("/healthz", route)).await;
        let request = test::TestRequest::with_uri("/healthz").method(Method::HEAD).to_request();
        assert_eq!(test::call_service(&app, request).await.status(), 200);
    }
}
