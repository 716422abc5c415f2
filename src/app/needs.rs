//! [`needs`]: the files and ports of a configuration, which the agent's confinement leaves it.

use std::env;
use std::ffi::OsString;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use webb_cluster::kubernetes::{Access, NamedFiles};
use webb_otlp::Environment;
use webb_settings::{HubbleServer, ListenAddress, Settings, read_file};

use crate::actors::cluster_source::{ChosenSource, Sources};
use crate::exports::read_outputs;
use crate::privileges::Needs;

/// Libraries that resolve names load others.
const LIBRARIES: [&str; 3] = ["/lib", "/lib64", "/usr/lib"];

/// Files by which names of hosts are resolved. In a pod they are replaced in place only.
const RESOLVER: [&str; 6] =
    ["/etc/gai.conf", "/etc/host.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/resolv.conf", "/etc/services"];

/// Configuration of a machine: resolver and authorities, both of which other programs replace.
const HOST: [&str; 4] =
    ["/etc", "/run/systemd/resolve", "/usr/share/ca-certificates", "/usr/local/share/ca-certificates"];

/// The files that are read again while the agent runs, those that libraries read, and the ports of
/// the listeners. `file`: the configuration's own.
pub fn needs(settings: &Settings, file: Option<&Path>) -> Needs {
    let (tls, of_observer) = (&settings.metrics_tls, &settings.observer.tls);
    let named = [
        file,
        settings.metrics_config.as_deref(),
        settings.export.config.as_deref(),
        settings.outputs_config.as_deref(),
        settings.cluster_manifest.as_deref(),
        settings.kubeconfig.as_deref(),
        tls.certificate.as_deref(),
        tls.key.as_deref(),
        tls.client_ca.as_deref(),
        of_observer.certificate.as_deref(),
        of_observer.key.as_deref(),
        of_observer.client_ca.as_deref(),
        settings.admin.token_file.as_deref(),
    ];
    let mut needs = Needs {
        followed: named.into_iter().flatten().map(Path::to_owned).collect(),
        // Without a handover pins of one before are removed there, if there are any.
        pin_directories: settings
            .handover_dir
            .iter()
            .filter(|directory| settings.handover || directory.exists())
            .cloned()
            .collect(),
        socket_directories: sockets(settings),
        writable: settings.export.directory.iter().filter(|_| settings.export.is_on()).cloned().collect(),
        pins: settings.handover,
        all_maps: settings.agent_metrics.listen.is_some() && settings.agent_metrics.all_maps,
        ports: listeners(settings),
        ..Needs::default()
    };
    if let Some(server) = settings.hubble_server() {
        needs.add_flow_source(server, settings);
    }
    if let (ChosenSource::Kubernetes(access), _) = Sources::from(settings).choose() {
        needs.add_server(&access);
    } else if settings.operator.election
        && let Some(access) = Access::find(settings.kubeconfig.as_deref())
    {
        needs.add_server(&access);
    }
    for cluster in &settings.clusters {
        needs.add_server(&Access::Kubeconfig(cluster.kubeconfig.clone()));
    }
    let relay = &settings.cluster_relay_tls;
    needs.followed.extend([&relay.ca, &relay.certificate, &relay.key].into_iter().flatten().cloned());
    if let Some(path) = &settings.outputs_config {
        needs.add_outputs(path);
    }
    needs
}

/// The files and ports of an operator that is a process of its own.
pub fn needs_of_operator(settings: &Settings, file: Option<&Path>) -> Needs {
    let followed = [file, settings.kubeconfig.as_deref()];
    let mut needs = Needs {
        followed: followed.into_iter().flatten().map(Path::to_owned).collect(),
        ports: [settings.operator.listen, settings.admin_listen].map(|address| address.port()).to_vec(),
        ..Needs::default()
    };
    if let Some(access) = Access::find(settings.kubeconfig.as_deref()) {
        needs.add_server(&access);
    }
    needs
}

/// The files and ports of a names relay.
pub fn needs_of_names(settings: &Settings, file: Option<&Path>) -> Needs {
    let mut needs = needs_of_operator(settings, file);
    let tls = &settings.names.tls;
    needs.followed.extend([&tls.certificate, &tls.key, &tls.client_ca].into_iter().flatten().cloned());
    needs.followed.extend(settings.admin.token_file.clone());
    let addresses = [settings.names.listen, settings.metrics_listen, settings.admin_listen];
    needs.ports = addresses.map(|address| address.port()).to_vec();
    needs
}

/// What variables name as the place of authorities: a file, and a list of directories.
fn authorities(variable: impl Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    let file = variable("SSL_CERT_FILE").map(PathBuf::from);
    let directories = variable("SSL_CERT_DIR").unwrap_or_default();
    file.into_iter().chain(env::split_paths(&directories)).filter(|path| !path.as_os_str().is_empty()).collect()
}

/// The directories of the observer's sockets.
fn sockets(settings: &Settings) -> Vec<PathBuf> {
    let listen = settings.observer.listen.iter().filter(|_| settings.observer.enabled);
    let paths = listen.filter_map(|address| match address {
        ListenAddress::Unix(path) => path.parent(),
        ListenAddress::Tcp(_) => None,
    });
    paths.map(Path::to_owned).collect()
}

/// Ports of the listeners.
fn listeners(settings: &Settings) -> Vec<u16> {
    let operator = settings.operator.election.then_some(settings.operator.listen);
    let own = [
        Some(settings.metrics_listen),
        Some(settings.admin_listen),
        settings.agent_metrics.listen,
        settings.health.listen,
        operator,
    ];
    let of_observer = settings.observer.listen.iter().filter(|_| settings.observer.enabled);
    let of_observer = of_observer.filter_map(|address| match address {
        ListenAddress::Tcp(address) => Some(*address),
        ListenAddress::Unix(_) => None,
    });
    own.into_iter().flatten().chain(of_observer).map(|address| address.port()).collect()
}

impl Needs {
    /// The files that the connection to a flow source needs, in the place of those of programs.
    fn add_flow_source(&mut self, server: &HubbleServer, settings: &Settings) {
        (self.pin_directories, self.pins, self.all_maps) = (Vec::new(), false, false);
        let tls = &settings.flow_source_tls;
        let files = [&tls.ca, &tls.certificate, &tls.key];
        self.followed.extend(files.into_iter().flatten().cloned());
        if let HubbleServer::Tcp { host, .. } = server
            && host.parse::<IpAddr>().is_err()
        {
            self.of_machine.extend(LIBRARIES.iter().chain(&RESOLVER).map(PathBuf::from));
        }
    }

    /// The files of the outputs that a file has now: one that names others takes a restart. Without
    /// a file, or with one that is not valid, there are none yet.
    fn add_outputs(&mut self, path: &Path) {
        self.of_machine.extend(LIBRARIES.iter().chain(&RESOLVER).chain(&HOST).map(PathBuf::from));
        self.of_machine.extend(authorities(|name| env::var_os(name)));
        let environment = Environment::of_process();
        let Ok(found) = read_file(path).and_then(|file| read_outputs(file, &environment)) else { return };
        for output in found.outputs {
            self.followed.extend(output.config.tls_files(&environment));
            self.fixed.extend(output.config.headers_directory);
            self.fixed.extend(output.config.kafka.and_then(|kafka| kafka.sasl).map(|sasl| sasl.directory));
            self.writable.extend(output.config.spool.map(|spool| spool.directory));
        }
    }

    /// The files that the connection to an API server needs.
    fn add_server(&mut self, access: &Access) {
        self.of_machine.extend(LIBRARIES.iter().map(PathBuf::from));
        let machine = if *access == Access::InCluster { &RESOLVER[..] } else { &HOST[..] };
        self.of_machine.extend(machine.iter().map(PathBuf::from));
        self.of_machine.extend(authorities(|name| env::var_os(name)));
        let NamedFiles { paths, runs_plugin } = access.named_files();
        self.followed.extend(paths);
        self.programs |= runs_plugin;
    }
}

#[cfg(test)]
mod tests {
    use webb_settings::ClusterSource;

    use super::*;

    /// Each directory of the list is one, and an empty variable names nothing.
    #[test]
    fn authorities_are_a_file_and_a_list() {
        let named = |file: &'static str, directories: &'static str| {
            let found = authorities(|name| Some(if name == "SSL_CERT_FILE" { file } else { directories }.into()));
            found.iter().map(|path| path.display().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(named("/a.pem", "/b:/c"), ["/a.pem", "/b", "/c"]);
        assert!(named("", "").is_empty() && authorities(|_| None).is_empty());
    }

    /// Every file of the configuration is followed, and nothing else is read unless an API server
    /// is asked; then what its kubeconfig names comes along.
    #[test]
    fn files_of_a_configuration() {
        let mut settings = Settings { cluster_source: ClusterSource::None, ..Settings::default() };
        let [paths @ .., file] =
            ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"].map(|name| PathBuf::from("/webb").join(name));
        let [metrics, manifest, certificate, key, client_ca, token, of_observer @ ..] = paths.clone();
        settings.admin.token_file = Some(token);
        settings.metrics_config = Some(metrics);
        settings.cluster_manifest = Some(manifest);
        settings.metrics_tls.certificate = Some(certificate);
        settings.metrics_tls.key = Some(key);
        settings.metrics_tls.client_ca = Some(client_ca);
        let [certificate, key, client_ca] = of_observer.map(Some);
        settings.observer = webb_settings::Observer {
            enabled: true,
            listen: vec![ListenAddress::Unix("/run/webb/a.sock".into()), ":4244".parse().unwrap()],
            tls: webb_settings::Tls { certificate, key, client_ca },
            ..webb_settings::Observer::default()
        };
        settings.health.listen = Some(([127, 0, 0, 1], 4240).into());
        let found = needs(&settings, Some(&file));
        let mut followed = found.followed.clone();
        followed.sort();
        assert_eq!(followed, [&paths[..], &[file]].concat());
        let read = [found.fixed, found.of_machine].concat();
        assert_eq!((read, found.ports, found.programs), (Vec::new(), vec![9965, 9966, 4240, 4244], false));
        assert_eq!(found.socket_directories, [PathBuf::from("/run/webb")]);

        let scratch = tempfile::tempdir().unwrap();
        let kubeconfig = scratch.path().join("config");
        let text = "current-context: a\ncontexts: [{name: a, context: {cluster: a, user: a}}]\n\
                    users: [{name: a, user: {tokenFile: /run/token, exec: {command: aws}}}]\n";
        std::fs::write(&kubeconfig, text).unwrap();
        settings.cluster_source = ClusterSource::Kubernetes;
        settings.kubeconfig = Some(kubeconfig.clone());
        let found = needs(&settings, None);
        assert!(found.programs && found.followed.contains(&kubeconfig), "{found:?}");
        settings.cluster_source = ClusterSource::None;
        let east = webb_settings::RemoteCluster { name: "east".into(), kubeconfig: kubeconfig.clone() };
        let settings = Settings { kubeconfig: None, clusters: vec![east], ..settings };
        let of_mesh = needs(&settings, None);
        assert!(of_mesh.programs && of_mesh.of_machine == found.of_machine, "{of_mesh:?}");
        assert!(of_mesh.followed.contains(&kubeconfig) && of_mesh.followed.contains(&"/run/token".into()));
        assert!(
            found.followed.contains(&"/run/token".into()) && found.of_machine.contains(&"/etc".into()),
            "{found:?}"
        );
    }
}
