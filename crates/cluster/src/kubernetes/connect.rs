//! Making a client: TLS with the provider that the rest of the agent uses, keep-alive, and nothing that repeats or logs
//! on its own, which `kube`'s ready-made stack would.

use std::sync::Arc;
use std::time::Duration;

use hyper_rustls::{FixedServerNameResolver, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as Http;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::Body;
use kube::{Client, Config};
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};

use super::Access;
use super::login::{Bearer, Identity, Login, login};
use super::plugin::Limits;
use super::trouble::Trouble;

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(15);

/// A connection without traffic is tried for life this often.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// A client, and what goes with its requests.
#[derive(Clone)]
pub(super) struct Connected {
    pub(super) client: Client,
    /// The server's address, without a slash at its end.
    pub(super) base: String,
    pub(super) bearer: Bearer,
}

/// Reads configuration, credentials and authorities, and makes a client of them. Blocks, a plugin
/// within `limits`. Needs a tokio runtime.
pub(super) fn connect(access: &Access, limits: &Limits) -> Result<Connected, Trouble> {
    let config = access.config()?;
    make(&config, limits).map_err(|why| access.unusable(&why))
}

fn make(config: &Config, limits: &Limits) -> Result<Connected, String> {
    if config.proxy_url.is_some() {
        return Err("proxy-url is not supported".to_owned());
    }
    if config.accept_invalid_certs {
        return Err("insecure-skip-tls-verify is not supported; give certificate-authority".to_owned());
    }
    let Login { bearer, identity } = login(config, limits)?;
    let tls = tls(config, identity)?;
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT));
    tcp.set_keepalive(Some(KEEPALIVE));
    let mut builder = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
    if let Some(name) = &config.tls_server_name {
        let name = name.clone().try_into().map_err(|error| format!("tls-server-name {name}: {error}"))?;
        builder = builder.with_server_name_resolver(FixedServerNameResolver::new(name));
    }
    let http: Http<_, Body> = Http::builder(TokioExecutor::new()).build(builder.enable_http1().wrap_connector(tcp));
    let base = config.cluster_url.to_string().trim_end_matches('/').to_owned();
    Ok(Connected { client: Client::new(http, "default"), base, bearer })
}

fn tls(config: &Config, identity: Option<Identity>) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    match &config.root_cert {
        Some(certificates) => {
            for certificate in certificates {
                roots
                    .add(CertificateDer::from(certificate.clone()))
                    .map_err(|error| format!("certificate-authority: {error}"))?;
            }
        }
        // Those of the machine, among which there may be some that nobody can read.
        None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    match identity {
        None => Ok(builder.with_no_client_auth()),
        Some((chain, key)) => {
            builder.with_client_auth_cert(chain, key).map_err(|error| format!("client certificate: {error}"))
        }
    }
}
