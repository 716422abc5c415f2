//! Address of the API server: from the service account of a pod, or a kubeconfig.

use std::path::{Path, PathBuf};

use kube::Config;
use kube::config::Kubeconfig;
use webb_settings::file::{MIB, read_text};
use webb_settings::yaml_words;

use super::error::{ApiError, chain};
use super::proxy::{self, Environment};

/// Environment variable that is set in a pod.
const IN_CLUSTER_VARIABLE: &str = "KUBERNETES_SERVICE_HOST";

/// The token of a pod's service account.
const IN_CLUSTER_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// Files that the connection to an API server needs, beside those of this machine.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NamedFiles {
    /// Kubeconfig, certificates, keys and tokens, as they are named at present.
    pub paths: Vec<PathBuf>,
    /// Whether the current user's credentials come from a program.
    pub runs_plugin: bool,
}

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

    /// The files that the connection reads, again and again. A kubeconfig that cannot be read names
    /// itself only.
    pub fn named_files(&self) -> NamedFiles {
        let Self::Kubeconfig(path) = self else {
            return NamedFiles { paths: vec![PathBuf::from(IN_CLUSTER_TOKEN)], runs_plugin: false };
        };
        let mut named = NamedFiles { paths: vec![path.clone()], runs_plugin: false };
        let Ok(config) = read(path) else { return named };
        let context = config.contexts.iter().find(|context| Some(&context.name) == config.current_context.as_ref());
        let user = context.and_then(|context| context.context.as_ref()?.user.clone());
        for cluster in config.clusters.into_iter().filter_map(|named| named.cluster) {
            named.paths.extend(cluster.certificate_authority.map(PathBuf::from));
        }
        for (name, info) in config.auth_infos.into_iter().filter_map(|named| Some((named.name, named.auth_info?))) {
            let files = [info.client_certificate, info.client_key, info.token_file];
            named.paths.extend(files.into_iter().flatten().map(PathBuf::from));
            named.runs_plugin |= info.exec.is_some() && Some(name) == user;
        }
        named
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

fn not_yaml(error: &serde_saphyr::Error) -> String {
    let place = error.location().map(|at| format!("line {}: ", at.line())).unwrap_or_default();
    format!("{place}not valid YAML: {}", yaml_words(error))
}

/// Size of a kubeconfig at most: it is read before anything else, and by the thread that starts.
const MAX_BYTES: u64 = MIB;

/// Reads a kubeconfig. By way of a generic value, which makes the reading of its many types small;
/// the files that it names are relative to it.
fn read(path: &Path) -> Result<Kubeconfig, String> {
    let text = read_text(path, MAX_BYTES).map_err(|error| error.to_string())?;
    let value: serde_json::Value = serde_saphyr::from_str(&text).map_err(|error| not_yaml(&error))?;
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What is no regular file of a usual size is refused and not read: it would hold up the start.
    #[test]
    fn a_kubeconfig_has_a_bound() {
        let directory = tempfile::tempdir().unwrap();
        let large = directory.path().join("large");
        std::fs::File::create(&large).unwrap().set_len(MAX_BYTES + 1).unwrap();
        assert!(read(&large).unwrap_err().contains("more than"), "{:?}", read(&large));
        assert!(read(Path::new("/dev/zero")).unwrap_err().contains("device"));
        assert!(read(directory.path()).unwrap_err().contains("directory"));
    }

    /// What is no YAML is said with its line, in words for people.
    #[test]
    fn a_kubeconfig_is_yaml() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("config");
        std::fs::write(&path, "users: []\nusers: []\n").unwrap();
        let expected = "line 2: not valid YAML: `users` is set twice in the same group; remove one of them";
        assert_eq!(read(&path).unwrap_err(), expected);
    }

    /// All files of a kubeconfig are named, relative ones beside it; a program only if the current
    /// user has one.
    #[test]
    fn a_kubeconfig_names_its_files() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("config");
        let text = |current: &str| {
            format!(
                "current-context: {current}\n\
                 contexts: [{{name: a, context: {{cluster: c, user: plain}}}}, {{name: b, context: {{cluster: c, user: plugin}}}}]\n\
                 clusters: [{{name: c, cluster: {{server: 'https://a', certificate-authority: ca.pem}}}}]\n\
                 users: [{{name: plain, user: {{tokenFile: /run/token, client-certificate: c.pem, client-key: k.pem}}}}, \
                 {{name: plugin, user: {{exec: {{command: aws}}}}}}]\n"
            )
        };
        let beside = |name: &str| scratch.path().join(name);
        let all = [path.clone(), beside("ca.pem"), beside("c.pem"), beside("k.pem"), "/run/token".into()];
        for (current, runs_plugin) in [("a", false), ("b", true)] {
            std::fs::write(&path, text(current)).unwrap();
            let named = Access::Kubeconfig(path.clone()).named_files();
            assert_eq!(named, NamedFiles { paths: all.to_vec(), runs_plugin }, "{current}");
        }
        std::fs::write(&path, "[").unwrap();
        assert_eq!(Access::Kubeconfig(path.clone()).named_files().paths, [path]);
    }
}
