//! As whom to talk to the API server: a token, a client certificate, or what a credential plugin says.
//!
//! Our own, because kube's brings an evaluator of JSON paths and a second reader of YAML for providers that are long
//! gone. A token file is read for each request: there are few, and so a rotated token is never missed.

use std::path::PathBuf;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use kube::Config;
use kube::config::AuthInfo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use secrecy::ExposeSecret;

use super::plugin::{self, Limits};

/// What goes with each request.
#[derive(Clone, Default)]
pub(super) enum Bearer {
    #[default]
    Nothing,
    Token(String),
    File(PathBuf),
}

impl std::fmt::Debug for Bearer {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A token has no place in a log.
        to.write_str("Bearer")
    }
}

impl Bearer {
    /// The value of the `Authorization` header; empty for none.
    pub(super) fn header(&self) -> Result<String, String> {
        match self {
            Self::Nothing => Ok(String::new()),
            Self::Token(token) => Ok(format!("Bearer {}", token.trim())),
            Self::File(path) => {
                let token = std::fs::read_to_string(path)
                    .map_err(|error| format!("cannot read the token file {}: {error}", path.display()))?;
                Ok(format!("Bearer {}", token.trim()))
            }
        }
    }
}

/// A client certificate with its chain, and its key.
pub(super) type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// Who we are.
#[derive(Default)]
pub(super) struct Login {
    pub(super) bearer: Bearer,
    pub(super) identity: Option<Identity>,
}

/// Reads the credentials, or has them made. Blocks for as long as a plugin takes.
pub(super) fn login(config: &Config, limits: &Limits) -> Result<Login, String> {
    let user = &config.auth_info;
    if user.auth_provider.is_some() || user.username.is_some() {
        return Err("it has an auth-provider or a password, which API servers no longer take; use a token, a client \
                    certificate or an exec plugin"
            .to_owned());
    }
    let identity = identity(user)?;
    let bearer = match (&user.token, &user.token_file, &user.exec) {
        (Some(token), _, _) => Bearer::Token(token.expose_secret().to_owned()),
        (None, Some(file), _) => Bearer::File(PathBuf::from(file)),
        (None, None, Some(exec)) => return plugin::run(config, exec, limits),
        (None, None, None) => Bearer::Nothing,
    };
    Ok(Login { bearer, identity })
}

fn identity(user: &AuthInfo) -> Result<Option<Identity>, String> {
    let key = user.client_key_data.as_ref().map(ExposeSecret::expose_secret);
    let certificate =
        pem("client certificate", user.client_certificate_data.as_deref(), user.client_certificate.as_ref())?;
    match (certificate, pem("client key", key, user.client_key.as_ref())?) {
        (None, None) => Ok(None),
        (Some(certificate), Some(key)) => pair(&certificate, &key).map(Some),
        _ => Err("a client certificate and its key must come together".to_owned()),
    }
}

/// From base64 in the kubeconfig itself, or from a file.
fn pem(what: &str, data: Option<&str>, file: Option<&String>) -> Result<Option<Vec<u8>>, String> {
    match (data, file) {
        (Some(data), _) => {
            BASE64_STANDARD.decode(data.trim()).map(Some).map_err(|error| format!("{what}: not base64: {error}"))
        }
        (None, Some(file)) => std::fs::read(file).map(Some).map_err(|error| format!("{what} {file}: {error}")),
        (None, None) => Ok(None),
    }
}

pub(super) fn pair(certificate: &[u8], key: &[u8]) -> Result<Identity, String> {
    let chain = CertificateDer::pem_slice_iter(certificate).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|error| format!("client certificate: {error}"))?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| format!("client key: {error}"))?;
    Ok((chain, key))
}
