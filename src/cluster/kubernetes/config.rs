//! Where the API server is, and as whom to talk to it.

use std::path::{Path, PathBuf};

use kube::config::Kubeconfig;
use kube::{Client, Config};

use super::trouble::{Trouble, chain};

/// Says that a process runs in a pod.
const IN_CLUSTER_VARIABLE: &str = "KUBERNETES_SERVICE_HOST";

/// The token of a pod's service account.
const IN_CLUSTER_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// What tells where the API server is.
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
    /// What there is on this machine: a kubeconfig that somebody named, a service account, the first file that
    /// `$KUBECONFIG` names, `~/.kube/config`; in this order.
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

    /// Reads configuration, credentials and authorities, and makes a client of them. Runs the credential plugin if the
    /// kubeconfig names one, so it may block for as long as that takes.
    pub(super) fn client(&self) -> Result<Client, Trouble> {
        let config = self.config()?;
        Client::try_from(config).map_err(|error| self.unusable(&error))
    }

    fn config(&self) -> Result<Config, Trouble> {
        let mut config = match self {
            Self::InCluster => Config::incluster().map_err(|error| self.unusable(&error))?,
            Self::Kubeconfig(path) => {
                let read = Kubeconfig::read_from(path).map_err(|error| self.unusable(&error))?;
                Config::try_from(read).map_err(|error| self.unusable(&error))?
            }
        };
        // Repeating is our own business: with jitter, with `Retry-After`, and counted.
        config.default_retry = false;
        Ok(config)
    }

    fn unusable(&self, error: &dyn std::error::Error) -> Trouble {
        Trouble::Unconfigured(format!("{self} cannot be used: {}", chain(error)))
    }
}
