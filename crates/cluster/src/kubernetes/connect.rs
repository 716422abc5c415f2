//! Builds a client: kube's own, with its TLS, authentication and proxies.
//!
//! Its changed parts: nothing is retried on its own, since the watches count each failure and
//! honour `Retry-After`; credentials come from [`login`], and the proxy from
//! [`proxy`](super::proxy).

use std::sync::Once;
use std::time::Duration;

use kube::{Client, Config};

use super::Access;
use super::error::{ApiError, chain};
use super::login::{Renewal, login};
use super::plugin::RunBounds;

/// Timeout of a new connection, with proxy and TLS.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// A client, and when the next one is due.
#[derive(Clone)]
pub(super) struct Connected {
    pub(super) client: Client,
    /// The server's host and port.
    pub(super) host: String,
    pub(super) renewal: Renewal,
}

/// Reads configuration, credentials and authorities, and makes a client of them. Blocks, a plugin
/// within `limits`. Needs a tokio runtime.
pub(super) fn connect(access: &Access, limits: &RunBounds) -> Result<Connected, ApiError> {
    let config = access.config()?;
    make(config, limits).map_err(|why| access.unusable(&why))
}

fn make(mut config: Config, limits: &RunBounds) -> Result<Connected, String> {
    let renewal = login(&mut config, limits)?;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.default_retry = false;
    if config.accept_invalid_certs {
        static WARNED: Once = Once::new();
        WARNED.call_once(|| {
            tracing::warn!(
                "the API server's certificate is not verified (insecure-skip-tls-verify): any server that answers at \
                 {} is believed, and is sent the credentials",
                config.cluster_url
            );
        });
        // kube would load the system's authorities for nothing, and fail where there are none.
        config.root_cert.get_or_insert_default();
    }
    if !config.accept_invalid_certs && config.root_cert.as_ref().is_some_and(Vec::is_empty) {
        return Err("its certificate authority (certificate-authority, or -data) has no certificate".to_owned());
    }
    let host = config.cluster_url.authority().map(ToString::to_string).unwrap_or_default();
    let client = Client::try_from(config).map_err(|error| chain(&error))?;
    Ok(Connected { client, host, renewal })
}
