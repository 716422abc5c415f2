//! Selects the proxy for the API server of a kubeconfig: the one that the kubeconfig names, or that
//! of the environment, as for kubectl.
//!
//! kube makes the connections. Its choice is not used, since it compares `NO_PROXY` with the
//! proxy's own address. A service account's server is never behind a proxy.

use std::net::IpAddr;

use http::Uri;
use http::uri::Scheme;
use hyper_util::client::proxy::matcher::Matcher;
use kube::config::Kubeconfig;

/// Proxy variables of the environment.
#[derive(Debug, Default)]
pub(super) struct Environment {
    /// `HTTPS_PROXY`.
    proxy: Option<String>,
    /// `NO_PROXY`: domains, addresses and networks, separated by commas; `*` for all.
    exceptions: Option<String>,
}

impl Environment {
    pub(super) fn read() -> Self {
        let first = |names: [&str; 2]| {
            names.into_iter().filter_map(|name| std::env::var(name).ok()).find(|text| !text.trim().is_empty())
        };
        Self { proxy: first(["HTTPS_PROXY", "https_proxy"]), exceptions: first(["NO_PROXY", "no_proxy"]) }
    }
}

/// The proxy that the cluster of the current context names.
pub(super) fn named(kubeconfig: &Kubeconfig) -> Option<String> {
    let current = kubeconfig.current_context.as_ref()?;
    let context = kubeconfig.contexts.iter().find(|context| context.name == *current)?.context.as_ref()?;
    let cluster = kubeconfig.clusters.iter().find(|cluster| cluster.name == context.cluster)?.cluster.as_ref()?;
    cluster.proxy_url.clone().filter(|url| !url.trim().is_empty())
}

/// The proxy for `server`; none for a direct connection. `named`: that of the kubeconfig, which
/// knows no exceptions.
pub(super) fn choose(server: &Uri, named: Option<&str>, environment: &Environment) -> Result<Option<Uri>, String> {
    let proxy = match (named, &environment.proxy) {
        (Some(named), _) => named,
        (None, Some(proxy)) if !is_excepted(server, environment.exceptions.as_deref()) => proxy,
        (None, _) => return Ok(None),
    };
    let url = if proxy.contains("://") { proxy.trim().to_owned() } else { format!("http://{}", proxy.trim()) };
    // Its text is not shown: it may have a password.
    let url: Uri = url.parse().map_err(|error| format!("the URL of the proxy cannot be read: {error}"))?;
    match url.scheme_str() {
        // kube would not offer it, and the proxy's refusal would say nothing of that.
        Some("socks5") if url.authority().is_some_and(|authority| authority.as_str().contains('@')) => {
            Err("the proxy's URL has a user, which is possible for http and https only, not for socks5".to_owned())
        }
        Some("http" | "https" | "socks5") => Ok(Some(url)),
        scheme => Err(format!("the proxy's scheme is {}, not http, https or socks5", scheme.unwrap_or("missing"))),
    }
}

/// True if the environment's proxy is not for this server.
fn is_excepted(server: &Uri, exceptions: Option<&str>) -> bool {
    let host = server.host().unwrap_or_default().trim_matches(['[', ']']);
    let is_local = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    let exceptions: Vec<&str> =
        exceptions.unwrap_or_default().split(',').filter_map(|one| without_port(one.trim(), server)).collect();
    let matcher = || Matcher::builder().https("http://any").no(exceptions.join(",")).build();
    server.scheme() != Some(&Scheme::HTTPS) || is_local || matcher().intercept(server).is_none()
}

/// An exception as the matcher has it: Go's, and so kubectl's, may name a port, or begin with `*.`.
/// None if its port is not the server's.
fn without_port<'a>(exception: &'a str, server: &Uri) -> Option<&'a str> {
    let of_server = server.port_u16().unwrap_or(443);
    let host = match exception.rsplit_once(':') {
        // More colons are an IPv6 address, which has a port only behind brackets.
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
            port.parse::<u16>().is_ok_and(|port| port == of_server).then_some(host)?
        }
        _ => exception,
    };
    Some(host.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(host).trim_matches(['[', ']']))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(server: &str, named: Option<&str>, proxy: &str, exceptions: &str) -> String {
        let environment = Environment { proxy: Some(proxy.to_owned()), exceptions: Some(exceptions.to_owned()) };
        match choose(&server.parse().unwrap(), named, &environment) {
            Ok(proxy) => proxy.map_or_else(|| "direct".to_owned(), |proxy| proxy.to_string()),
            Err(why) => why,
        }
    }

    /// The kubeconfig's proxy comes first and has no exceptions; the environment's is for TLS to
    /// other machines, but for what `NO_PROXY` names. Exceptions are compared with the server,
    /// not with the proxy.
    #[test]
    fn the_proxy_is_chosen_as_by_kubectl() {
        let server = "https://api.example.org:6443";
        assert_eq!(chosen(server, None, "10.0.0.5:3128", "10.0.0.0/8,,"), "http://10.0.0.5:3128/");
        assert_eq!(chosen(server, None, "http://10.0.0.5:3128", "a.org, example.org"), "direct");
        assert_eq!(chosen(server, None, "http://10.0.0.5:3128", ".example.org"), "direct");
        assert_eq!(chosen(server, None, "http://10.0.0.5:3128", "*"), "direct");
        for exception in ["*.example.org", "api.example.org:6443", "x:1, .example.org:6443"] {
            assert_eq!(chosen(server, None, "http://10.0.0.5:3128", exception), "direct", "{exception}");
        }
        assert_eq!(chosen(server, None, "http://10.0.0.5:3128", "api.example.org:443"), "http://10.0.0.5:3128/");
        for exception in ["fd00::/8", "[fd00::1]:6443", "fd00::1"] {
            assert_eq!(chosen("https://[fd00::1]:6443", None, "http://10.0.0.5:3128", exception), "direct");
        }
        assert_eq!(chosen("https://10.2.3.4", None, "http://10.0.0.5:3128", "10.0.0.0/8"), "direct");
        for local in ["https://localhost:6443", "https://127.0.0.1", "https://[::1]:6443", "http://api.example.org"] {
            assert_eq!(chosen(local, None, "http://10.0.0.5:3128", ""), "direct");
        }
        assert_eq!(chosen(server, Some("socks5://10.0.0.6:1080"), "", "*"), "socks5://10.0.0.6:1080/");
        assert!(chosen(server, Some("ftp://u:secret@p"), "", "").ends_with("not http, https or socks5"));
        assert!(!chosen(server, Some("http://u:secret@[p"), "", "").contains("secret"));
        let socks = chosen(server, Some("socks5://u:secret@10.0.0.6:1080"), "", "");
        assert!(socks.contains("not for socks5") && !socks.contains("secret"), "{socks}");
        assert_eq!(choose(&server.parse().unwrap(), None, &Environment::default()), Ok(None));
    }
}
