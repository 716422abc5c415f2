//! Requests that the admin listener refuses: those that a foreign web page makes, those without the
//! token where there is one, and commands where it is read-only.
//!
//! A browser on the node, or one that a forwarded port leads from, sends requests for any page that
//! it shows. It names that page in `Origin` and `Sec-Fetch-Site`; a page whose name was made to
//! lead here (DNS rebinding) is named in `Host`. A page cannot set a header of its own for another
//! site without asking first, and it is not answered when it asks: so what changes something needs
//! one.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::error::{ErrorForbidden, ErrorServiceUnavailable, ErrorUnauthorized};
use actix_web::http::header::{
    AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, ORIGIN, X_CONTENT_TYPE_OPTIONS,
};
use actix_web::http::{Method, Uri};
use actix_web::middleware::Next;
use webb_flow::fault::{Component, State};
use webb_settings::token;

/// The header that a request other than GET must have, with any value.
pub const COMMAND_HEADER: &str = "X-Webb-Admin";

/// What a kubelet asks, which has no token.
const PROBES: [&str; 2] = ["/healthz", "/readyz"];

/// Who may ask the admin listener, and for what.
#[derive(Debug, Default)]
pub struct Access {
    /// Names that it has beside `localhost` and addresses.
    pub hosts: Vec<String>,
    /// The file of the token that each request needs but those of probes; none without one. It is
    /// read at each request, so that another token takes effect at once.
    pub token_file: Option<PathBuf>,
    /// Whether only GET is answered.
    pub read_only: bool,
    /// The component that is degraded while the token file cannot be used; none without one.
    pub component: Option<Arc<Component>>,
}

/// Lets a request pass, or answers it with 401, 403 or 503 and the reason. HEAD passes as the GET
/// that it asks about.
///
/// # Errors
/// If the request is refused.
pub async fn guard(
    access: Arc<Access>,
    mut request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    if let Err(why) = check(&access, request.method(), request.uri(), request.headers()) {
        tracing::warn!("an admin request is refused: {why}");
        return Err(ErrorForbidden(format!("{why}\n")));
    }
    // A file system that does not answer must not end the agent by its liveness probe.
    if let Some(file) = access.token_file.clone().filter(|_| request.path() != "/healthz") {
        let expected = expected_token(file).await;
        // Probes need no token, and /readyz says why all others are refused.
        access.report(expected.as_ref().err());
        if !PROBES.contains(&request.path()) {
            check_token(expected, &sent_token(request.headers()))?;
        }
    }
    // What a GET would be answered with; the server leaves its body out.
    if request.method() == Method::HEAD {
        request.head_mut().method = Method::GET;
    }
    let mut response = next.call(request).await?;
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if !headers.contains_key(CONTENT_TYPE) {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    }
    Ok(response)
}

/// The token of a request; empty without one.
fn sent_token(headers: &HeaderMap) -> Vec<u8> {
    let sent = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes).unwrap_or_default();
    let is_bearer = sent.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"Bearer "));
    if is_bearer { sent.get(7..).unwrap_or_default().trim_ascii().to_vec() } else { Vec::new() }
}

impl Access {
    /// Shows whether the token file can be used.
    fn report(&self, unusable: Option<&String>) {
        if let Some(component) = &self.component {
            let state = if unusable.is_some() { State::Degraded } else { State::Up };
            component.set_state(state, unusable.map_or("", String::as_str));
        }
    }
}

/// The token in the file, or why there is none.
async fn expected_token(file: PathBuf) -> Result<String, String> {
    let name = file.display().to_string();
    let why = match actix_web::web::block(move || token::read(&file)).await {
        Ok(Ok(token)) => return Ok(token),
        Ok(Err(error)) => error.to_string(),
        Err(error) => error.to_string(),
    };
    Err(format!("admin.token_file: {name}: {why}; requests are refused"))
}

fn check_token(expected: Result<String, String>, sent: &[u8]) -> Result<(), actix_web::Error> {
    let expected = expected.map_err(|why| {
        tracing::warn!("{why}");
        ErrorServiceUnavailable("the token of this listener cannot be read; /readyz and the log say why\n")
    })?;
    if are_equal(expected.as_bytes(), sent) {
        return Ok(());
    }
    tracing::warn!(
        "an admin request is refused: {}",
        if sent.is_empty() { "it has no token" } else { "its token is wrong" }
    );
    Err(ErrorUnauthorized("a token is needed: curl -H 'Authorization: Bearer TOKEN'\n"))
}

/// Compares in a time that does not depend on where both differ.
fn are_equal(one: &[u8], other: &[u8]) -> bool {
    let differences = one.iter().zip(other).fold(0, |sum, (one, other)| sum | (one ^ other));
    one.len() == other.len() && std::hint::black_box(differences) == 0
}

fn check(access: &Access, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), String> {
    // Of a header that is there more than once each value counts.
    let all = |name: &str| headers.get_all(name).map(|value| value.to_str().unwrap_or("?"));
    // A request target with a host in it is for that host, whatever the header says.
    let asked = uri.authority().map(actix_web::http::uri::Authority::as_str);
    let host = all(HOST.as_str()).next();
    // A client of HTTP/1.0 sends none, and no browser is one.
    if let Some(host) = asked.into_iter().chain(all(HOST.as_str())).find(|host| !is_own(access, host)) {
        return Err(format!(
            "the host {host:?} may be any page's name: use localhost or an address, or list it in admin.hosts"
        ));
    }
    let is_foreign = |origin: &&str| {
        let of_host = origin.split_once("://").map(|(_, of_host)| of_host);
        of_host.is_none() || of_host != host
    };
    if let Some(origin) = all(ORIGIN.as_str()).find(is_foreign) {
        return Err(format!("it comes from a page of {origin:?}"));
    }
    if let Some(site) = all("sec-fetch-site").find(|site| !matches!(*site, "same-origin" | "none")) {
        return Err(format!("it comes from a page of another site ({site:?})"));
    }
    if matches!(*method, Method::GET | Method::HEAD) {
        return Ok(());
    }
    if access.read_only {
        return Err(format!("{method} is refused: admin.read_only is set"));
    }
    if !headers.contains_key(COMMAND_HEADER) {
        return Err(format!("{method} needs the header {COMMAND_HEADER}: curl -X {method} -H '{COMMAND_HEADER}: 1'"));
    }
    Ok(())
}

/// True for a name that is listed, and for what no name server makes lead elsewhere.
fn is_own(access: &Access, host: &str) -> bool {
    let name = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    let name = name.map_or(host, |(name, _)| name);
    is_address(host) || access.hosts.iter().any(|own| own.eq_ignore_ascii_case(name))
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
    use actix_web::http::header::HeaderName;

    use super::*;

    fn checked(method: &Method, headers: &[(&str, &str)]) -> Result<(), String> {
        checked_at("/", method, headers)
    }

    fn checked_at(target: &str, method: &Method, headers: &[(&str, &str)]) -> Result<(), String> {
        let read = |(name, value): &(&str, &str)| {
            (HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(*value).unwrap())
        };
        let mut map = HeaderMap::new();
        headers.iter().map(read).for_each(|(name, value)| map.append(name, value));
        check(&Access::default(), method, &target.parse().unwrap(), &map)
    }

    /// A second header does not hide behind the first, nor a host in the target behind a header.
    #[test]
    fn each_value_counts() {
        let own = ("Origin", "http://localhost:9966");
        let host = ("Host", "localhost:9966");
        assert_eq!(checked(&Method::GET, &[host, own, own]), Ok(()));
        assert!(checked(&Method::GET, &[host, own, ("Origin", "https://evil.example")]).is_err());
        assert!(checked(&Method::GET, &[host, ("Host", "evil.example")]).is_err());
        assert!(checked_at("http://evil.example/config", &Method::GET, &[host]).is_err());
        assert_eq!(checked_at("http://localhost:9966/config", &Method::GET, &[host]), Ok(()));
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
        let app = test::init_service(
            App::new().wrap(from_fn(|request, next| guard(Arc::default(), request, next))).route("/healthz", route),
        )
        .await;
        let request = test::TestRequest::with_uri("/healthz").method(Method::HEAD).to_request();
        let answer = test::call_service(&app, request).await;
        assert_eq!(answer.status(), 200);
        // No browser takes an answer for something else than text.
        assert_eq!(answer.headers().get(X_CONTENT_TYPE_OPTIONS).unwrap(), "nosniff");
        assert!(answer.headers().get(CONTENT_TYPE).unwrap().to_str().unwrap().starts_with("text/plain"));
    }

    /// A listed name passes with any port, and no other that looks like it.
    #[test]
    fn listed_names_pass() {
        let access = Access { hosts: vec!["webb.example".to_owned()], ..Access::default() };
        let asked = |host: &'static str| {
            let headers = [(HOST, HeaderValue::from_static(host))].into_iter().collect();
            check(&access, &Method::GET, &Uri::from_static("/"), &headers)
        };
        assert_eq!((asked("webb.example"), asked("WEBB.example:9966")), (Ok(()), Ok(())));
        for host in ["webb.example.evil.example", "evil-webb.example", "webb.example:x", "webb.example.", ""] {
            assert!(asked(host).is_err(), "{host}");
        }
    }

    /// Where only reading is allowed, no header makes a command.
    #[test]
    fn read_only_refuses_commands() {
        let access = Access { read_only: true, ..Access::default() };
        let headers: HeaderMap =
            [(HeaderName::from_static("x-webb-admin"), HeaderValue::from_static("1"))].into_iter().collect();
        let uri = Uri::from_static("/");
        assert!(check(&access, &Method::POST, &uri, &headers).unwrap_err().contains("read_only"));
        assert_eq!(check(&access, &Method::GET, &uri, &headers), Ok(()));
    }

    /// With a token file each request but a probe needs the token that is in it at that time, and
    /// none passes while it cannot be read.
    #[actix_web::test]
    async fn tokens_are_needed() {
        use actix_web::middleware::from_fn;
        use actix_web::{App, test, web};
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("token");
        let component = webb_flow::fault::Components::default().component("admin_token");
        let of_access = Some(Arc::clone(&component));
        let access = Arc::new(Access { token_file: Some(file.clone()), component: of_access, ..Access::default() });
        let guarded = from_fn(move |request, next| guard(Arc::clone(&access), request, next));
        let route = || web::get().to(|| async { "ok" });
        let app = App::new().wrap(guarded).route("/healthz", route()).route("/config", route());
        let app = test::init_service(app).await;
        let asked = async |path: &str, token: Option<&str>| {
            let mut request = test::TestRequest::with_uri(path);
            if let Some(token) = token {
                request = request.insert_header((AUTHORIZATION, token));
            }
            match test::try_call_service(&app, request.to_request()).await {
                Ok(answer) => answer.status().as_u16(),
                Err(error) => error.as_response_error().status_code().as_u16(),
            }
        };
        assert_eq!(asked("/config", Some("Bearer ")).await, 503, "no file");
        assert_eq!(asked("/healthz", None).await, 200);
        assert!(component.state() == State::Degraded && component.reason().contains("admin.token_file: "));
        std::fs::write(&file, " \n").unwrap();
        assert_eq!(asked("/config", Some("Bearer ")).await, 503, "no token in it");
        for unusable in [&b"secret\nother\n"[..], b"secret\0", b"\xff\xfes\0"] {
            std::fs::write(&file, unusable).unwrap();
            assert_eq!(asked("/config", Some("Bearer secret")).await, 503, "{unusable:?}");
            assert_eq!((asked("/readyz", None).await, component.state()), (404, State::Degraded), "{unusable:?}");
        }
        std::fs::write(&file, "\u{feff}secret\n").unwrap();
        for (token, status) in [
            (None, 401),
            (Some("Bearer secret"), 200),
            (Some("bearer  secret"), 200),
            (Some("Bearer secre"), 401),
            (Some("Bearer secretx"), 401),
            (Some("Basic secret"), 401),
            (Some("secret"), 401),
        ] {
            assert_eq!(asked("/config", token).await, status, "{token:?}");
        }
        assert_eq!((asked("/healthz", None).await, component.state()), (200, State::Up));
        for path in ["//healthz", "/healthz/../config", "/healthz/", "/config?/healthz", "/%2e%2e/config"] {
            assert_ne!(asked(path, None).await, 200, "{path}");
        }
        std::fs::write(&file, "other").unwrap();
        assert_eq!(
            (asked("/config", Some("Bearer secret")).await, asked("/config", Some("Bearer other")).await),
            (401, 200)
        );
    }
}
