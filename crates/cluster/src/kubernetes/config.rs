//! Address of the API server: from the service account of a pod, or a kubeconfig.

use std::path::{Path, PathBuf};

use kube::Config;
use kube::config::Kubeconfig;

use super::error::{ApiError, chain};
use super::proxy::{self, Environment};

/// Environment variable that is set in a pod.
const IN_CLUSTER_VARIABLE: &str = "KUBERNETES_SERVICE_HOST";

/// The token of a pod's service account.
const IN_CLUSTER_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// Source of the API server's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// The service account of the pod that we run in.
    InCluster,
    /// A kubeconfig. Its current context counts.
    Kubeconfig(PathBuf),
}

impl std::fmt::Display for Access {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::InCluster => to.write_str("the service account of this pod"),
            Self::Kubeconfig(path) => write!(to, "the kubeconfig {}", path.display()),
        }
    }
}

impl Access {
    /// Access that this machine offers: a kubeconfig that is named, a service account, the first
    /// file that `$KUBECONFIG` names, `~/.kube/config`; in this order.
    pub fn find(named: Option<&Path>) -> Option<Self> {
        if let Some(path) = named {
            return Some(Self::Kubeconfig(path.to_owned()));
        }
        if std::env::var_os(IN_CLUSTER_VARIABLE).is_some() && Path::new(IN_CLUSTER_TOKEN).exists() {
            return Some(Self::InCluster);
        }
        let listed = std::env::var_os("KUBECONFIG").filter(|list| !list.is_empty());
        let candidates: Vec<PathBuf> = match &listed {
            Some(list) => std::env::split_paths(list).collect(),
            None => std::env::home_dir().map(|home| home.join(".kube/config")).into_iter().collect(),
        };
        candidates.into_iter().find(|path| path.is_file()).map(Self::Kubeconfig)
    }

    /// Whether this is a pod that was given no token for its service account.
    pub fn is_without_token() -> bool {
        std::env::var_os(IN_CLUSTER_VARIABLE).is_some() && !Path::new(IN_CLUSTER_TOKEN).exists()
    }

    /// Reads the configuration and what it refers to, anew each time.
    pub(super) fn config(&self) -> Result<Config, ApiError> {
        match self {
            Self::InCluster => Config::incluster().map_err(|error| self.unusable(&chain(&error))),
            Self::Kubeconfig(path) => {
                let kubeconfig = read(path).map_err(|why| self.unusable(&why))?;
                let named = proxy::named(&kubeconfig);
                let mut config = Config::try_from(kubeconfig).map_err(|error| self.unusable(&chain(&error)))?;
                let proxy = proxy::choose(&config.cluster_url, named.as_deref(), &Environment::read());
                config.proxy_url = proxy.map_err(|why| self.unusable(&why))?;
                Ok(config)
            }
        }
    }

    pub(super) fn unusable(&self, why: &str) -> ApiError {
        ApiError::Unconfigured(format!("{self} cannot be used: {why}"))
    }
}

/// Reads a kubeconfig. By way of a generic value, which makes the reading of its many types small;
/// the files that it names are relative to it.
fn read(path: &Path) -> Result<Kubeconfig, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let value: serde_json::Value = serde_saphyr::from_str(&text).map_err(|error| error.to_string())?;
    let mut config: Kubeconfig = serde_json::from_value(value).map_err(|error| error.to_string())?;
    let beside = |file: &mut Option<String>| {
        if let (Some(file), Some(directory)) = (file, path.parent()) {
            // An absolute path stays what it is.
            *file = directory.join(&file).display().to_string();
        }
    };
    for cluster in config.clusters.iter_mut().filter_map(|named| named.cluster.as_mut()) {
        beside(&mut cluster.certificate_authority);
    }
    for user in config.auth_infos.iter_mut().filter_map(|named| named.auth_info.as_mut()) {
        beside(&mut user.client_certificate);
        beside(&mut user.client_key);
        beside(&mut user.token_file);
        if let Some(exec) = &mut user.exec
            && exec.command.as_ref().is_some_and(|command| command.contains('/'))
        {
            beside(&mut exec.command);
        }
    }
    Ok(config)
}
