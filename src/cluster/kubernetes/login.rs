//! As whom to talk to the API server: a token, a client certificate, or what a credential plugin says.
//!
//! Our own, because kube's brings an evaluator of JSON paths and a second reader of YAML for providers that are long
//! gone. A token file is read for each request: there are few, and so a rotated token is never missed.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use kube::Config;
use kube::config::{AuthInfo, ExecConfig};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::json;

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

/// What a plugin prints: `client.authentication.k8s.io/v1`, as far as it is read.
#[derive(Deserialize)]
struct Answer {
    status: Option<AnswerStatus>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AnswerStatus {
    token: Option<String>,
    client_certificate_data: Option<String>,
    client_key_data: Option<String>,
}

/// Reads the credentials, or has them made. Blocks for as long as a plugin takes.
pub(super) fn login(config: &Config) -> Result<Login, String> {
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
        (None, None, Some(exec)) => return plugin(config, exec),
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

fn pair(certificate: &[u8], key: &[u8]) -> Result<Identity, String> {
    let chain = CertificateDer::pem_slice_iter(certificate).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|error| format!("client certificate: {error}"))?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| format!("client key: {error}"))?;
    Ok((chain, key))
}

/// Runs a credential plugin. When what it gave has expired, the server says so and it is run again.
fn plugin(config: &Config, exec: &ExecConfig) -> Result<Login, String> {
    let name = exec.command.as_deref().ok_or("the exec plugin has no command")?;
    let api = exec.api_version.as_deref().unwrap_or("client.authentication.k8s.io/v1");
    let mut spec = json!({"interactive": false});
    if exec.provide_cluster_info
        && let Some(spec) = spec.as_object_mut()
    {
        spec.insert("cluster".to_owned(), json!({"server": config.cluster_url.to_string()}));
    }
    let mut command = Command::new(name);
    command.args(exec.args.iter().flatten()).stdin(Stdio::null());
    for variable in exec.env.iter().flatten() {
        if let (Some(name), Some(value)) = (variable.get("name"), variable.get("value")) {
            command.env(name, value);
        }
    }
    let info = json!({"apiVersion": api, "kind": "ExecCredential", "spec": spec});
    let output = command.env("KUBERNETES_EXEC_INFO", info.to_string()).output();
    let output = output.map_err(|error| format!("the credential plugin {name} cannot be run: {error}"))?;
    if !output.status.success() {
        let said: String = String::from_utf8_lossy(&output.stderr).chars().take(300).collect();
        return Err(format!("the credential plugin {name} failed ({}): {}", output.status, said.trim()));
    }
    let answer: Answer = serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("the credential plugin {name} did not print an ExecCredential: {error}"))?;
    let status = answer.status.ok_or_else(|| format!("the credential plugin {name} gave no credentials"))?;
    let identity = match (&status.client_certificate_data, &status.client_key_data) {
        (Some(certificate), Some(key)) => Some(pair(certificate.as_bytes(), key.as_bytes())?),
        _ => None,
    };
    Ok(Login { bearer: status.token.map(Bearer::Token).unwrap_or_default(), identity })
}
