//! Requests that the admin listener refuses: those that a foreign web page makes, those without the
//! token where there is one, and commands where it is read-only.
//!
//! A browser on the node, or one that a forwarded port leads from, sends requests for any page that
//! it shows. It names that page in `Origin` and `Sec-Fetch-Site`; a page whose name was made to
//! lead here (DNS rebinding) is named in `Host`. A page cannot set a header of its own for another
//! site without asking first, and it is not answered when it asks: so what changes something needs
//! one.

use std::fs::File;
use std::io::Read as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::error::{ErrorForbidden, ErrorServiceUnavailable, ErrorUnauthorized};
use actix_web::http::Method;
use actix_web::http::header::{
    AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, ORIGIN, X_CONTENT_TYPE_OPTIONS,
};
use actix_web::middleware::Next;

/// The header that a request other than GET must have, with any value.
pub const COMMAND_HEADER: &str = "X-Webb-Admin";

/// What a kubelet asks, which has no token.
const PROBES: [&str; 2] = ["/healthz", "/readyz"];

/// The most bytes of a token.
const MAX_TOKEN: usize = 4096;

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
    if let Err(why) = check(&access, request.method(), request.headers()) {
        tracing::warn!("an admin request is refused: {why}");
        return Err(ErrorForbidden(format!("{why}\n")));
    }
    if let Some(file) = access.token_file.clone().filter(|_| !PROBES.contains(&request.path())) {
        let sent = token(request.headers());
        check_token(file, sent).await?;
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
fn token(headers: &HeaderMap) -> Vec<u8> {
    let sent = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes).unwrap_or_default();
    let is_bearer = sent.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"Bearer "));
    if is_bearer { sent.get(7..).unwrap_or_default().trim_ascii().to_vec() } else { Vec::new() }
}

async fn check_token(file: PathBuf, sent: Vec<u8>) -> Result<(), actix_web::Error> {
    let name = file.display().to_string();
    let read = actix_web::web::block(move || read_token(&file)).await;
    let expected = match read {
        Ok(Ok(text)) if !text.trim_ascii().is_empty() && text.len() <= MAX_TOKEN => text,
        Ok(Ok(_)) => return Err(unusable(&name, "it has no token, or one of more than 4096 bytes")),
        Ok(Err(error)) => return Err(unusable(&name, &error.to_string())),
        Err(error) => return Err(unusable(&name, &error.to_string())),
    };
    if are_equal(expected.trim_ascii(), &sent) {
        return Ok(());
    }
    tracing::warn!(
        "an admin request is refused: {}",
        if sent.is_empty() { "it has no token" } else { "its token is wrong" }
    );
    Err(ErrorUnauthorized("a token is needed: curl -H 'Authorization: Bearer TOKEN'\n"))
}

/// Reads a token; a byte more than one may have, of a file that has more.
fn read_token(file: &Path) -> std::io::Result<Vec<u8>> {
    if !std::fs::metadata(file)?.is_file() {
        return Err(std::io::Error::other("it is no file"));
    }
    let mut token = Vec::new();
    File::open(file)?.take(MAX_TOKEN as u64 + 1).read_to_end(&mut token)?;
    Ok(token)
}

/// All requests are refused while the token is not known.
fn unusable(name: &str, why: &str) -> actix_web::Error {
    tracing::warn!("admin.token_file: {name}: {why}; requests are refused");
    ErrorServiceUnavailable("the token of this listener cannot be read; the log says why\n")
}

/// Compares in a time that does not depend on where both differ.
fn are_equal(one: &[u8], other: &[u8]) -> bool {
    let differences = one.iter().zip(other).fold(0, |sum, (one, other)| sum | (one ^ other));
    one.len() == other.len() && std::hint::black_box(differences) == 0
}

fn check(access: &Access, method: &Method, headers: &HeaderMap) -> Result<(), String> {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let host = text(HOST.as_str());
    // A client of HTTP/1.0 sends none, and no browser is one.
    if let Some(host) = host.filter(|host| !is_own(access, host)) {
        return Err(format!(
            "the host {host:?} may be any page's name: use localhost or an address, or list it in admin.hosts"
        ));
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
        let read = |(name, value): &(&str, &str)| {
            (HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(*value).unwrap())
        };
        check(&Access::default(), method, &headers.iter().map(read).collect())
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
            check(&access, &Method::GET, &[(HOST, HeaderValue::from_static(host))].into_iter().collect())
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
        assert!(check(&access, &Method::POST, &headers).unwrap_err().contains("read_only"));
        assert_eq!(check(&access, &Method::GET, &headers), Ok(()));
    }

    /// With a token file each request but a probe needs the token that is in it at that time, and
    /// none passes while it cannot be read.
    #[actix_web::test]
    async fn tokens_are_needed() {
        use actix_web::middleware::from_fn;
        use actix_web::{App, test, web};
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("token");
        let access = Arc::new(Access { token_file: Some(file.clone()), ..Access::default() });
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
        std::fs::write(&file, " \n").unwrap();
        assert_eq!(asked("/config", Some("Bearer ")).await, 503, "no token in it");
        std::fs::write(&file, "secret\n").unwrap();
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
        assert_eq!(asked("/healthz", None).await, 200);
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
