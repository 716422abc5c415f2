//! Resolved settings: what the configuration means, in types of the rest of the agent.
//!
//! [`Settings::default`] is the agent without any configuration; `config/webb.yaml` documents every
//! key beside its default, and a test holds the two together.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::admin::{AdminAccess, PageSettings};
use super::clusters::RemoteCluster;
use super::export::Export;
use super::flow_source::{ClientTls, FlowSource};
use super::observer::Observer;
use super::operator::Operator;
use super::policies::{OtherKinds, Policies};
use super::relay::{Names, RelayAddress};
use super::tls::Tls;
use super::toggle::Toggle;
use super::zones::Zones;

/// Everything that can be configured. One field for each key of `config/webb.yaml`, under the same
/// name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The metrics to count, one entry each, in Hubble's static grammar (hubble-contract §2.5.2).
    pub metrics: Vec<String>,
    /// A file of metrics with filters, which may change while the agent runs, instead of `metrics`
    /// (hubble-contract §2.5.3).
    pub metrics_config: Option<PathBuf>,
    /// Whether that file is refused if it changes the context options of a metric, as Hubble does.
    pub metrics_config_strict: bool,
    /// Series that one family of a metric may have; what comes later is counted as `~other`.
    pub max_series: u32,
    /// Series that all metrics may have together.
    pub max_series_total: u32,
    /// A series that has not changed for so long is removed; zero is never.
    pub series_ttl: Duration,
    /// While series are refused, one that has not changed for so long makes room; zero is never.
    pub series_room_ttl: Duration,
    /// Address of `/metrics`.
    pub metrics_listen: SocketAddr,
    /// Whether scrapers that ask for OpenMetrics get it. Hubble's own default is not.
    pub open_metrics: bool,
    /// Cilium's agent metrics.
    pub agent_metrics: AgentMetrics,
    /// The operator: metrics of the whole cluster, from one elected replica.
    pub operator: Operator,
    /// The names relay, as `webb names` serves it.
    pub names: Names,
    /// Address of `/healthz`, `/actors`, `/config` and the like.
    pub admin_listen: SocketAddr,
    /// Who may ask it.
    pub admin: AdminAccess,
    /// What the page shows.
    pub page: PageSettings,
    /// The Kubernetes name of this node. Empty only in `default()`: loading fills it in.
    pub node_name: String,
    /// The name of the cluster.
    pub cluster_name: String,
    /// Source of names.
    pub cluster_source: ClusterSource,
    /// A file of Kubernetes objects that maps addresses to pods.
    pub cluster_manifest: Option<PathBuf>,
    /// Path of the kubeconfig; searched for by default.
    pub kubeconfig: Option<PathBuf>,
    /// The names relay that is asked for pods of other nodes; none: all pods are watched.
    pub cluster_relay: Option<RelayAddress>,
    /// TLS of the connection to it.
    pub cluster_relay_tls: ClientTls,
    /// The other clusters of the mesh.
    pub clusters: Vec<RemoteCluster>,
    /// Maximal wait of the first flows for the first names.
    pub cluster_wait: Duration,
    /// Treatment of policies that are not evaluated.
    pub policies: Policies,
    /// Where flows come from.
    pub flow_source: FlowSource,
    /// TLS of the connection to it.
    pub flow_source_tls: ClientTls,
    /// Interfaces to watch, and the mode of attachment.
    pub interfaces: Interfaces,
    /// Selection of the packets that make a record.
    pub aggregation: Aggregation,
    /// Maximal time of a busy connection without a record.
    pub report_interval: Duration,
    /// The networks that pods have their addresses from, beyond the nodes' `podCIDRs`.
    pub pod_networks: Vec<IpNet>,
    /// Where things are, beyond what the cluster says.
    pub zones: Zones,
    /// The connection table in the kernel.
    pub connections: Connections,
    /// Translated connections of the kernel's connection tracking that are remembered; 0 leaves it
    /// alone.
    pub conntrack_entries: u32,
    /// The rings between the kernel and the reader.
    pub rings: Rings,
    /// DNS and HTTP out of packets.
    pub l7: Layer7,
    /// Drop records per second and CPU; drops beyond it are counted but not described.
    pub drop_budget: u32,
    /// TLS for `/metrics`.
    pub metrics_tls: Tls,
    /// A history of flows, and Hubble's API to it.
    pub observer: Observer,
    /// Health between nodes.
    pub health: Health,
    /// Flow log files.
    pub export: Export,
    /// A file of outputs: what rows are made of flows, and where they are sent.
    pub outputs_config: Option<PathBuf>,
    /// Settings of scrapes.
    pub scrape: Scrape,
    /// Settings of the agent's stop.
    pub shutdown: Shutdown,
    /// Restart policy of failing components.
    pub supervision: Supervision,
    /// Whether maps and programs stay when the agent ends, for the next one.
    pub handover: bool,
    /// Directory on a BPF filesystem for what is handed over; never none.
    pub handover_dir: Option<PathBuf>,
    /// Privileges that the running agent gives up.
    pub privileges: Privileges,
    /// Settings of the log.
    pub log: Log,
}

/// Cilium's agent metrics, on a listener of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentMetrics {
    /// Address of their `/metrics`; none without one.
    pub listen: Option<SocketAddr>,
    /// Version of Cilium with the names and labels that are exposed.
    pub compat: Compat,
    /// Families that are switched on or off, in Cilium's grammar for `prometheus.metrics`. The last
    /// one of a family counts.
    pub metrics: Vec<Toggle>,
    /// Whether the maps of all programs of the node are counted, not only webb's.
    pub all_maps: bool,
}

/// A version of Cilium that names and labels are taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Compat {
    V1_16,
    V1_18,
    V1_19,
    V1_20,
}

/// Source of names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClusterSource {
    /// The manifest if there is one, else the API server if there is a way to it, else nothing.
    Auto,
    /// The API server.
    Kubernetes,
    /// The manifest.
    Manifest,
    /// Nowhere.
    None,
}

/// Interfaces to watch, and the mode of attachment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interfaces {
    /// The host side of the pods' interfaces.
    pub pods: Pods,
    /// Globs for the node's own devices.
    pub node: Vec<String>,
    /// Mode of attachment.
    pub attach: Attach,
}

/// Selection of the interfaces that lead to pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pods {
    /// Every veth with a peer in another network namespace.
    Auto,
    /// Interfaces with a name that matches one of these globs.
    Globs(Vec<String>),
}

/// Mode of attachment of programs to interfaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attach {
    /// TCX where the kernel has it, else a clsact filter.
    Auto,
    /// TCX only.
    Tcx,
    /// A clsact filter only.
    Clsact,
}

/// Selection of the packets that make a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aggregation {
    /// Every packet.
    None,
    /// New connections, first TCP flags, and one record each `report_interval`.
    Medium,
}

/// The connection table in the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connections {
    /// Its memory; `None`: by the machine's.
    pub table_bytes: Option<u32>,
    /// Idle timeout of an established TCP connection.
    pub tcp_idle: Duration,
    /// Idle timeout after a FIN or RST.
    pub closing_idle: Duration,
    /// Idle timeout while a handshake is not complete.
    pub half_open_idle: Duration,
    /// Idle timeout of all other protocols.
    pub other_idle: Duration,
    /// Interval between two checks of an entry: for idleness, and for pending counts.
    pub sweep_interval: Duration,
    /// Mode of capturing their events: handshakes, round trips, ends.
    pub capture: Capture,
}

/// The rings between the kernel and the reader. Sizes are powers of two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rings {
    /// Bytes for connection records.
    pub flow_bytes: u32,
    /// Bytes for drop records.
    pub drop_bytes: u32,
    /// Bytes for segments of DNS and HTTP.
    pub l7_bytes: u32,
}

/// DNS and HTTP out of packets.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "each is a key of its own")]
pub struct Layer7 {
    /// Mode of layer 7 parsing.
    pub capture: Capture,
    /// Side of a connection that reports HTTP.
    pub http_side: Side,
    /// Ports of HTTP servers; all if empty.
    pub http_ports: Vec<u16>,
    /// Ports of servers that are not taken for HTTP.
    pub http_ports_ignored: Vec<u16>,
    /// Longest wait for the response to an HTTP request, and for the end of a gRPC call.
    pub http_timeout: Duration,
    /// Side of a connection that reports DNS.
    pub dns_side: Side,
    /// Ports of DNS servers.
    pub dns_ports: Vec<u16>,
    /// Longest wait for the answer to a DNS question.
    pub dns_timeout: Duration,
    /// Redaction of URLs and headers, as `hubble.redact`.
    pub redact: bool,
    /// Removal of query and fragment of a URL.
    pub redact_url_query: bool,
    /// Redaction of the password of a URL.
    pub redact_user_info: bool,
    /// Headers that are not redacted, in lower case.
    pub redact_headers_allow: Vec<String>,
    /// Headers that alone are redacted, in lower case.
    pub redact_headers_deny: Vec<String>,
}

impl Default for Layer7 {
    fn default() -> Self {
        Self {
            capture: Capture::Auto,
            http_side: Side::Once,
            http_ports: Vec::new(),
            http_ports_ignored: Vec::new(),
            http_timeout: Duration::from_mins(5),
            dns_side: Side::Client,
            dns_ports: vec![53],
            dns_timeout: Duration::from_secs(10),
            redact: false,
            redact_url_query: false,
            redact_user_info: true,
            redact_headers_allow: Vec::new(),
            redact_headers_deny: Vec::new(),
        }
    }
}

/// Side of a connection that reports its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// One of them: the server's for HTTP and the client's for DNS, the other where no agent
    /// watches that.
    Once,
    /// The server's.
    Server,
    /// The client's.
    Client,
    /// Both.
    Both,
}

/// Mode of layer 7 parsing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Capture {
    /// On if a metric needs it.
    #[default]
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

/// Health between nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Address at which `GET /hello` is answered; its port is that of all agents. Without one no
    /// node is probed, either.
    pub listen: Option<SocketAddr>,
    /// Interval between two probes of an address; `None`: by the number of nodes.
    pub interval: Option<Duration>,
    /// Whether nodes are probed by ICMP echo, too.
    pub icmp: bool,
}

/// Settings of scrapes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scrape {
    /// A scrape that follows another sooner than this gets the same snapshot.
    pub min_interval: Duration,
    /// An aggregator that takes longer is served from its last snapshot.
    pub timeout: Duration,
}

/// Settings of the agent's stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shutdown {
    /// All of stopping takes at most this long.
    pub budget: Duration,
    /// Time that `/metrics` is still served after everything else has stopped.
    pub linger: Duration,
}

/// Restart policy of failing components.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Supervision {
    /// More restarts of one component than this within `window` end the agent.
    pub max_restarts: u32,
    /// See `max_restarts`.
    pub window: Duration,
    /// Wait before the first restart; doubles with each one that follows.
    pub backoff_min: Duration,
    /// The longest wait before a restart.
    pub backoff_max: Duration,
    /// A component that has work but has not moved for this long is restarted.
    pub stall_after: Duration,
}

/// Privileges that the running agent gives up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Privileges {
    /// `CAP_NET_ADMIN` is given up as well.
    pub least: bool,
    /// Landlock leaves only those files readable that the configuration names.
    pub landlock: bool,
    /// A seccomp filter refuses system calls that a running agent does not need.
    pub seccomp: bool,
}

impl Default for Privileges {
    fn default() -> Self {
        Self { least: false, landlock: true, seccomp: true }
    }
}

/// Settings of the log, which always goes to standard error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// A level, or `tracing` filter directives such as `info,webb_cluster=debug`.
    pub level: String,
    /// Format of log lines.
    pub format: LogFormat,
}

/// Format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Default for Settings {
    fn default() -> Self {
        let context = "sourceContext=pod|reserved-identity;destinationContext=pod|reserved-identity";
        Self {
            metrics: vec![
                "flow".to_owned(),
                "tcp".to_owned(),
                "icmp".to_owned(),
                "port-distribution".to_owned(),
                format!("drop:{context}"),
                format!("traffic:{context}"),
            ],
            metrics_config: None,
            metrics_config_strict: false,
            max_series: 100_000,
            max_series_total: 500_000,
            series_ttl: Duration::ZERO,
            series_room_ttl: Duration::from_mins(5),
            metrics_listen: (Ipv6Addr::UNSPECIFIED, 9965).into(),
            open_metrics: true,
            agent_metrics: AgentMetrics { listen: None, compat: Compat::V1_19, metrics: Vec::new(), all_maps: false },
            operator: Operator::default(),
            names: Names::default(),
            admin_listen: (Ipv4Addr::LOCALHOST, 9966).into(),
            admin: AdminAccess::default(),
            page: PageSettings::default(),
            node_name: String::new(),
            cluster_name: "default".to_owned(),
            cluster_source: ClusterSource::Auto,
            cluster_manifest: None,
            kubeconfig: None,
            cluster_relay: None,
            cluster_relay_tls: ClientTls::default(),
            clusters: Vec::new(),
            cluster_wait: Duration::from_secs(10),
            policies: Policies { other_kinds: OtherKinds::Undecided, more_kinds: Vec::new() },
            flow_source: FlowSource::Ebpf,
            flow_source_tls: ClientTls::default(),
            interfaces: Interfaces { pods: Pods::Auto, node: Vec::new(), attach: Attach::Auto },
            aggregation: Aggregation::Medium,
            report_interval: Duration::from_secs(5),
            connections: Connections {
                table_bytes: None,
                // A little more than the two hours after which Linux probes an idle connection.
                tcp_idle: Duration::from_mins(135),
                closing_idle: Duration::from_secs(10),
                half_open_idle: Duration::from_mins(1),
                other_idle: Duration::from_mins(1),
                sweep_interval: Duration::from_secs(4),
                capture: Capture::Auto,
            },
            pod_networks: Vec::new(),
            zones: Zones::default(),
            conntrack_entries: 65_536,
            rings: Rings { flow_bytes: 4 << 20, drop_bytes: 1 << 20, l7_bytes: 4 << 20 },
            l7: Layer7::default(),
            drop_budget: 1000,
            metrics_tls: Tls::default(),
            observer: Observer::default(),
            health: Health { listen: None, interval: None, icmp: true },
            export: Export::default(),
            outputs_config: None,
            scrape: Scrape { min_interval: Duration::from_millis(250), timeout: Duration::from_secs(1) },
            shutdown: Shutdown { budget: Duration::from_secs(25), linger: Duration::ZERO },
            supervision: Supervision {
                max_restarts: 5,
                window: Duration::from_mins(1),
                backoff_min: Duration::from_millis(100),
                backoff_max: Duration::from_secs(30),
                stall_after: Duration::from_secs(10),
            },
            handover: false,
            handover_dir: Some(PathBuf::from("/sys/fs/bpf/webb")),
            privileges: Privileges::default(),
            log: Log { level: "info".to_owned(), format: LogFormat::Text },
        }
    }
}
