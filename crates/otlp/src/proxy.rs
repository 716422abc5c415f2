//! The proxy of the environment for a receiver, and the tunnel through it.

use std::net::IpAddr;

use http::{HeaderValue, Uri};
use hyper_util::client::proxy::matcher::Matcher;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::environment::Environment;
use crate::target::Target;

/// Bytes of a proxy's answer at most.
const MAX_ANSWER: usize = 8 << 10;

/// A proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Proxy {
    pub(crate) host: String,
    pub(crate) port: u16,
    /// `Proxy-Authorization`, if its URL has a user. Marked as sensitive.
    login: Option<HeaderValue>,
}

impl Proxy {
    /// The proxy for a target; none for a direct connection.
    ///
    /// # Errors
    /// If the environment names one that cannot be used. The text has no password.
    pub(crate) fn choose(target: &Target, environment: &Environment) -> Result<Option<Self>, String> {
        let first = |names: [&str; 2]| names.into_iter().find_map(|name| environment.get(name));
        let variable = if target.is_tls { ["HTTPS_PROXY", "https_proxy"] } else { ["HTTP_PROXY", "http_proxy"] };
        let Some(url) = first(variable) else { return Ok(None) };
        let is_local = target.host.eq_ignore_ascii_case("localhost")
            || target.host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        if is_local {
            return Ok(None);
        }
        let with_scheme = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        let unusable = |why: &str| format!("the proxy of {} cannot be used: {why}", variable[0]);
        let uri: Uri = with_scheme.parse().map_err(|_| unusable("its URL cannot be read"))?;
        if uri.scheme_str() != Some("http") {
            return Err(unusable("its scheme is not http"));
        }
        // One that is no number from 1 to 65535 is passed over by what reads URLs.
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let place = authority.rsplit_once('@').map_or(authority, |(_, place)| place);
        let after_host = place.rsplit_once(']').map_or(place, |(_, after)| after);
        if let Some((_, port)) = after_host.rsplit_once(':')
            && uri.port_u16().is_none_or(|port| port == 0)
        {
            return Err(unusable(&format!("its port {port:?} is no number from 1 to 65535")));
        }
        let exceptions = first(["NO_PROXY", "no_proxy"]).unwrap_or_default();
        let exceptions: Vec<&str> =
            exceptions.split(',').filter_map(|one| without_port(one.trim(), target.port)).collect();
        let matcher = Matcher::builder().all(with_scheme).no(exceptions.join(",")).build();
        let Some(found) = matcher.intercept(&target.uri) else { return Ok(None) };
        let mut login = found.basic_auth().cloned();
        if let Some(login) = &mut login {
            login.set_sensitive(true);
        }
        let host = found.uri().host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        Ok(Some(Self { host, port: found.uri().port_u16().unwrap_or(80), login }))
    }

    /// Asks the proxy for a tunnel to the target.
    ///
    /// # Errors
    /// What the proxy answers instead.
    pub(crate) async fn tunnel(&self, stream: &mut TcpStream, target: &Target) -> Result<(), String> {
        let host = if target.host.contains(':') { format!("[{}]", target.host) } else { target.host.clone() };
        let to = format!("{host}:{}", target.port);
        let mut request = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n").into_bytes();
        if let Some(login) = &self.login {
            request.extend_from_slice(b"Proxy-Authorization: ");
            request.extend_from_slice(login.as_bytes());
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"\r\n");
        let failed = |error| format!("the proxy {}:{} does not answer: {error}", self.host, self.port);
        stream.write_all(&request).await.map_err(failed)?;
        let mut answer = Vec::new();
        // What follows the answer is the receiver's.
        while !answer.ends_with(b"\r\n\r\n") {
            if answer.len() == MAX_ANSWER {
                return Err(failed(std::io::Error::other("its answer is too long")));
            }
            answer.push(stream.read_u8().await.map_err(failed)?);
        }
        let line = String::from_utf8_lossy(answer.split(|byte| *byte == b'\r').next().unwrap_or_default()).into_owned();
        if line.starts_with("HTTP/1.") && line.split(' ').nth(1) == Some("200") {
            return Ok(());
        }
        let line: String = line.chars().filter(|letter| !letter.is_control()).take(100).collect();
        Err(format!("the proxy {}:{} refuses the connection to {to}: {line}", self.host, self.port))
    }
}

/// An exception as the matcher has it: one may name a port, or begin with `*.`. None if its port is
/// another.
fn without_port(exception: &str, port: u16) -> Option<&str> {
    let host = match exception.rsplit_once(':') {
        // More colons are an IPv6 address, which has a port only behind brackets.
        Some((host, of)) if !host.contains(':') || host.ends_with(']') => {
            of.parse::<u16>().is_ok_and(|of| of == port).then_some(host)?
        }
        _ => exception,
    };
    Some(host.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(host).trim_matches(['[', ']']))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Protocol;

    fn chosen(endpoint: &str, variables: &[(&str, &str)]) -> String {
        let environment = Environment::new(|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        });
        let target = Target::new(Some(endpoint), Protocol::Grpc, true, &environment).unwrap();
        match Proxy::choose(&target, &environment) {
            Ok(Some(proxy)) => format!("{}:{}{}", proxy.host, proxy.port, if proxy.login.is_some() { "+" } else { "" }),
            Ok(None) => "direct".to_owned(),
            Err(why) => why,
        }
    }

    /// The proxy is that of the scheme, with exceptions by name, network and port; no text has its
    /// password.
    #[test]
    fn the_proxy_is_chosen() {
        let (https, http) = ("https://gateway.example.org:4317", "http://gateway.example.org:4317");
        let proxy = ("HTTPS_PROXY", "http://10.0.0.5:3128");
        assert_eq!(chosen(https, &[proxy]), "10.0.0.5:3128");
        assert_eq!(chosen(https, &[("https_proxy", "u:secret@proxy")]), "proxy:80+");
        assert_eq!(chosen(http, &[proxy]), "direct");
        assert_eq!(chosen(http, &[("HTTP_PROXY", "http://[fd00::1]:1")]), "fd00::1:1");
        for exception in ["example.org", ".example.org", "*.example.org", "*", "a, gateway.example.org:4317"] {
            assert_eq!(chosen(https, &[proxy, ("NO_PROXY", exception)]), "direct", "{exception}");
        }
        assert_eq!(chosen(https, &[proxy, ("NO_PROXY", "gateway.example.org:4318,b")]), "10.0.0.5:3128");
        assert_eq!(chosen("https://10.2.3.4", &[proxy, ("NO_PROXY", "10.0.0.0/8")]), "direct");
        for local in ["https://localhost:4317", "https://127.0.0.1:1", "https://[::1]:1"] {
            assert_eq!(chosen(local, &[proxy]), "direct");
        }
        for port in ["70000", "0", "x", ""] {
            let why = chosen(https, &[("HTTPS_PROXY", &format!("http://u:secret@proxy:{port}"))]);
            assert!(why.contains("HTTPS_PROXY") && !why.contains("secret"), "{why}");
        }
        assert!(chosen(https, &[("HTTPS_PROXY", "http://[fd00::1]:99999")]).contains("its port \"99999\""));
        assert_eq!(chosen(https, &[("HTTPS_PROXY", "http://[fd00::1]")]), "fd00::1:80");
        for bad in ["https://u:secret@proxy", "socks5://u:secret@proxy", "http://u:secret@[p"] {
            let why = chosen(https, &[("HTTPS_PROXY", bad)]);
            assert!(why.contains("HTTPS_PROXY") && !why.contains("secret"), "{why}");
        }
    }
}
