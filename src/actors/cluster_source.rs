//! Selects the source of names: API server, manifest or none.

use std::path::PathBuf;

use webb_cluster::kubernetes::{Access, WatchTimings};
use webb_settings::{ClusterSource, Settings};

use super::relay::RelaySettings;

/// Settings that select the source of names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sources {
    /// Configured source.
    pub source: ClusterSource,
    /// The manifest, if there is one.
    pub manifest: Option<PathBuf>,
    /// The kubeconfig, if one was named.
    pub kubeconfig: Option<PathBuf>,
    /// Intervals and timeouts of the watches.
    pub timings: WatchTimings,
    /// The names relay for pods of other nodes, if the API server is the source.
    pub relay: Option<RelaySettings>,
}

/// A source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChosenSource {
    /// The API server.
    Kubernetes(Access),
    /// A file.
    Manifest(PathBuf),
    /// Nothing: no address has a name.
    Nothing,
    /// The configured source does not exist.
    Missing(&'static str),
}

impl std::fmt::Display for ChosenSource {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Kubernetes(access) => write!(to, "the API server, by {access}"),
            Self::Manifest(path) => write!(to, "the manifest {}", path.display()),
            Self::Nothing => to.write_str("nowhere"),
            Self::Missing(what) => to.write_str(what),
        }
    }
}

impl From<&Settings> for Sources {
    fn from(settings: &Settings) -> Self {
        Self {
            source: settings.cluster_source,
            manifest: settings.cluster_manifest.clone(),
            kubeconfig: settings.kubeconfig.clone(),
            timings: WatchTimings::default(),
            relay: RelaySettings::of(settings),
        }
    }
}

impl Sources {
    /// The source to use, and why. PollSchedule at the machine: for a service account and for a
    /// kubeconfig.
    pub fn choose(&self) -> (ChosenSource, &'static str) {
        self.choose_with(|| Access::find(self.kubeconfig.as_deref()), Access::is_without_token())
    }

    fn choose_with(&self, find: impl FnOnce() -> Option<Access>, no_token: bool) -> (ChosenSource, &'static str) {
        const NO_TOKEN: &str = "this is a pod without a token for its service account: automountServiceAccountToken must \
            not be false (or set cluster_source: none, and no address has a name)";
        const ASKED: &str = "set by cluster_source";
        const NO_ACCESS: &str =
            "no way to the API server: not in a pod with a service account, and no kubeconfig; set `kubeconfig`";
        match (self.source, &self.manifest) {
            (ClusterSource::None, _) => (ChosenSource::Nothing, ASKED),
            (ClusterSource::Manifest, Some(path)) => (ChosenSource::Manifest(path.clone()), ASKED),
            (ClusterSource::Manifest, None) => (ChosenSource::Missing("`cluster_manifest` is not set"), ASKED),
            (ClusterSource::Kubernetes, _) => {
                let missing = ChosenSource::Missing(if no_token { NO_TOKEN } else { NO_ACCESS });
                (find().map_or(missing, ChosenSource::Kubernetes), ASKED)
            }
            (ClusterSource::Auto, Some(path)) => (ChosenSource::Manifest(path.clone()), "cluster_manifest is set"),
            (ClusterSource::Auto, None) => match find() {
                Some(Access::InCluster) => (ChosenSource::Kubernetes(Access::InCluster), "this is a pod"),
                Some(access) => (ChosenSource::Kubernetes(access), "there is no manifest, but a kubeconfig"),
                None if no_token => (ChosenSource::Missing(NO_TOKEN), "this is a pod"),
                None => (ChosenSource::Nothing, "there is neither manifest nor service account nor kubeconfig"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every combination selects the source that the documentation names.
    #[test]
    fn sources_are_chosen_in_order() {
        let (file, config) = (PathBuf::from("m.yaml"), Access::Kubeconfig("k".into()));
        let choose = |source, manifest: bool, access: Option<&Access>| {
            let manifest = manifest.then(|| file.clone());
            let sources = Sources { source, manifest, ..Sources::from(&Settings::default()) };
            sources.choose_with(|| access.cloned(), false).0
        };
        let api = |access: &Access| ChosenSource::Kubernetes(access.clone());
        for access in [None, Some(&config), Some(&Access::InCluster)] {
            assert_eq!(choose(ClusterSource::Auto, true, access), ChosenSource::Manifest(file.clone()));
            assert_eq!(choose(ClusterSource::Manifest, true, access), ChosenSource::Manifest(file.clone()));
            assert_eq!(choose(ClusterSource::None, true, access), ChosenSource::Nothing);
            assert_eq!(choose(ClusterSource::Auto, false, access), access.map_or(ChosenSource::Nothing, api));
            match access {
                Some(access) => assert_eq!(choose(ClusterSource::Kubernetes, true, Some(access)), api(access)),
                None => assert!(matches!(choose(ClusterSource::Kubernetes, true, None), ChosenSource::Missing(_))),
            }
        }
        assert!(matches!(choose(ClusterSource::Manifest, false, None), ChosenSource::Missing(_)));
        let (_, why) = Sources::from(&Settings::default()).choose_with(|| None, false);
        assert_eq!(why, "there is neither manifest nor service account nor kubeconfig");
    }

    /// A pod without a token is an error, unless the configuration asks for no names.
    #[test]
    fn a_pod_without_a_token_is_told() {
        let choose = |source| {
            let sources = Sources { source, ..Sources::from(&Settings::default()) };
            sources.choose_with(|| None, true).0
        };
        for source in [ClusterSource::Auto, ClusterSource::Kubernetes] {
            let ChosenSource::Missing(what) = choose(source) else { panic!("{source:?}") };
            assert!(what.contains("automountServiceAccountToken"), "{what}");
        }
        assert_eq!(choose(ClusterSource::None), ChosenSource::Nothing);
        // With a kubeconfig there is another way.
        let sources = Sources::from(&Settings::default());
        let access = Access::Kubeconfig("k".into());
        assert_eq!(sources.choose_with(|| Some(access.clone()), true).0, ChosenSource::Kubernetes(access));
    }
}
