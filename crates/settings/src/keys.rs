//! The table of keys: one row for each thing that can be configured.
//!
//! File, environment, flags, `/config`, reload and the error texts all work from this table, so a
//! new key is one field in the model, one row here and its lines in `config/webb.yaml`.

use std::time::Duration;

use super::admin::hosts;
use super::clusters;
use super::flow_source::kind as flow_source;
use super::kinds::{
    address, aggregation, attach, auto_duration, boolean, bytes, capture, cluster_source, compat, duration, fields,
    file, globs, headers, log_format, log_level, memory, metrics, name, networks, number, open_address, open_name,
    other_kinds, pods, policy_kinds, ports, side, toggles,
};
use super::labels;
use super::model::Settings;
use super::objects;
use super::observer::listen_addresses;
use super::relay::kind as relay;
use super::value::{InvalidValue, Value};
use super::zones as zone_cidrs;

/// Time at which a changed value takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reload {
    /// Takes effect at a reload (SIGHUP).
    Live,
    /// Only when the agent is started again.
    Restart,
}

/// One key.
#[derive(Debug)]
pub struct Key {
    /// Name as in the file, groups with dots: `rings.flow_bytes`.
    pub name: &'static str,
    /// The flag of `webb run` that sets it, if it has one.
    pub flag: Option<&'static str>,
    /// Time at which a change takes effect.
    pub reload: Reload,
    /// Description of a valid value, ready to follow the word "expected".
    pub expected: &'static str,
    pub(super) set: fn(&mut Settings, &Value) -> Result<(), InvalidValue>,
    pub(super) get: fn(&Settings) -> Value,
}

impl Key {
    /// The environment variable that sets it: `rings.flow_bytes` is `WEBB_RINGS__FLOW_BYTES`.
    pub fn variable(&self) -> String {
        format!("WEBB_{}", self.name.replace('.', "__").to_ascii_uppercase())
    }
}

/// The key of that name.
pub(super) fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// Keys that there were, and what has taken their place.
const REPLACED: [(&str, &str); 1] =
    [("connections.entries", "the table's size is set in bytes: `table_bytes`, some 110 for each connection")];

/// The key that has replaced one of that name, if there was one.
pub(super) fn replacement(name: &str) -> Option<&'static str> {
    REPLACED.iter().find(|(key, _)| *key == name).map(|(_, help)| *help)
}

/// One row: the key's name, its field and kind, then what belongs to it.
macro_rules! key {
    ($name:literal, $($field:ident).+: $kind:ident, $reload:ident, $flag:expr, $expected:literal) => {
        key!($name, $($field).+: $kind, $reload, $flag, $expected, |_| true)
    };
    ($name:literal, $($field:ident).+: $kind:ident, $reload:ident, $flag:expr, $expected:literal, $fits:expr) => {
        Key {
            name: $name,
            flag: $flag,
            reload: Reload::$reload,
            expected: $expected,
            set: |settings, value| {
                settings.$($field).+ = fitting(value, $kind::read(value)?, $fits)?;
                Ok(())
            },
            get: |settings| $kind::show(&settings.$($field).+),
        }
    };
}

/// Passes `meaning` on if it fits.
fn fitting<T>(value: &Value, meaning: T, fits: impl Fn(&T) -> bool) -> Result<T, InvalidValue> {
    if fits(&meaning) { Ok(meaning) } else { Err(InvalidValue::of(value)) }
}

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

const fn s(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// Sizes that the kernel takes for a ring on any page size.
fn ring(bytes: u32) -> bool {
    bytes.is_power_of_two() && (64 << 10..=1 << 30).contains(&bytes)
}

/// Sizes that the connection table can have.
fn table(bytes: u32) -> bool {
    (64 << 10..=1 << 30).contains(&bytes)
}

/// Checks the name of a node; empty is "to be worked out".
fn node(name: &str) -> bool {
    name.len() <= 253 && name.chars().all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '.' | '_'))
}

/// Checks the name of a Kubernetes object.
fn object(name: &str) -> bool {
    let plain = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit();
    (1..=253).contains(&name.len())
        && name.starts_with(plain)
        && name.ends_with(plain)
        && name.chars().all(|letter| plain(letter) || matches!(letter, '-' | '.'))
}

/// All keys, in the order of `config/webb.yaml`.
#[rustfmt::skip]
pub static KEYS: [Key; 126] = [
    key!("metrics", metrics: metrics, Restart, Some("--metrics"),
        "a list of metrics, such as [flow, \"drop:sourceContext=pod\"]"),
    key!("metrics_config", metrics_config: file, Restart, Some("--metrics-config"),
        "the path of a file of metrics and filters, or null for none"),
    key!("metrics_config_strict", metrics_config_strict: boolean, Live, None,
        "true or false"),
    key!("max_series", max_series: number, Restart, None,
        "a number of series from 1 to 10000000", |count| (1..=10_000_000).contains(count)),
    key!("max_series_total", max_series_total: number, Restart, None,
        "a number of series from 1 to 100000000", |count| (1..=100_000_000).contains(count)),
    key!("series_ttl", series_ttl: duration, Restart, None,
        "a time from 1m to 30d, such as 1h, or 0s for never", |time| time.is_zero() || (s(60)..=s(2_592_000)).contains(time)),
    key!("series_room_ttl", series_room_ttl: duration, Restart, None,
        "a time from 1s to 1d, such as 5m, or 0s for never", |time| time.is_zero() || (s(1)..=s(86_400)).contains(time)),
    key!("metrics_listen", metrics_listen: address, Restart, Some("--metrics-listen"),
        "an address and a port, such as [::]:9965 or 127.0.0.1:9965"),
    key!("open_metrics", open_metrics: boolean, Live, None,
        "true or false"),
    key!("agent_metrics.listen", agent_metrics.listen: open_address, Restart, None,
        "an address and a port, such as [::]:9962, or null for none"),
    key!("agent_metrics.compat", agent_metrics.compat: compat, Live, None, "1.16, 1.18, 1.19 or 1.20"),
    key!("agent_metrics.metrics", agent_metrics.metrics: toggles, Live, None,
        "a list of families, each with + or - before its name, such as [-cilium_nodes_all_num]"),
    key!("agent_metrics.all_maps", agent_metrics.all_maps: boolean, Restart, None, "true or false"),
    key!("operator.election", operator.election: boolean, Restart, Some("--operator-election"), "true or false"),
    key!("operator.listen", operator.listen: address, Restart, None,
        "an address and a port, such as [::]:9963"),
    key!("operator.lease_namespace", operator.lease_namespace: open_name, Restart, None,
        "the name of a namespace, or null for that of the pod", |name| name.is_empty() || object(name)),
    key!("operator.lease_name", operator.lease_name: name, Restart, None,
        "the name of a Lease, such as webb-operator", |name| object(name)),
    key!("operator.lease_duration", operator.lease_duration: duration, Restart, None,
        "a time from 2s to 10m", |time| (s(2)..=s(600)).contains(time)),
    key!("operator.renew_deadline", operator.renew_deadline: duration, Restart, None,
        "a time from 1s to 10m", |time| (s(1)..=s(600)).contains(time)),
    key!("operator.retry_period", operator.retry_period: duration, Restart, None,
        "a time from 100ms to 1m", |time| (ms(100)..=s(60)).contains(time)),
    key!("operator.agent_labels", operator.agent_labels: labels, Restart, None,
        "a list of labels, such as [app.kubernetes.io/name=webb]"),
    key!("names.listen", names.listen: address, Restart, None,
        "an address and a port, such as [::]:4246"),
    key!("names_tls.certificate", names.tls.certificate: file, Restart, None,
        "the path of a PEM file, or null without TLS"),
    key!("names_tls.key", names.tls.key: file, Restart, None,
        "the path of a PEM file, or null without TLS"),
    key!("names_tls.client_ca", names.tls.client_ca: file, Restart, None,
        "the path of a PEM file, or null without TLS"),
    key!("admin_listen", admin_listen: address, Restart, Some("--admin-listen"),
        "an address and a port, such as 127.0.0.1:9966"),
    key!("admin.hosts", admin.hosts: hosts, Restart, None,
        "a list of names of hosts without port or wildcard, such as [webb.example.com], or [] for none"),
    key!("admin.token_file", admin.token_file: file, Restart, None,
        "the path of a file with a token, or null for none"),
    key!("admin.insecure", admin.insecure: boolean, Restart, Some("--insecure-admin"), "true or false"),
    key!("admin.read_only", admin.read_only: boolean, Restart, None, "true or false"),
    key!("page.slow", page.slow: duration, Restart, None,
        "a time from 1ms to 1m, or 0s for none", |time| time.is_zero() || (ms(1)..=s(60)).contains(time)),
    key!("node_name", node_name: open_name, Restart, Some("--node-name"),
        "the Kubernetes name of this node, or null for $NODE_NAME or the host's name", |name| node(name)),
    key!("cluster_name", cluster_name: name, Restart, None,
        "1 to 32 small letters, digits and dashes, not a dash first or last", |name| clusters::is_name(name)),
    key!("cluster_source", cluster_source: cluster_source, Live, Some("--cluster-source"),
        "auto, kubernetes, manifest or none"),
    key!("cluster_manifest", cluster_manifest: file, Live, Some("--cluster-manifest"),
        "the path of a file of Kubernetes objects, or null for none"),
    key!("kubeconfig", kubeconfig: file, Live, Some("--kubeconfig"),
        "the path of a kubeconfig, or null to find the way to the API server"),
    key!("cluster_relay", cluster_relay: relay, Restart, None,
        "https://HOST:PORT, or http:// with an address of this machine, or null for none"),
    key!("cluster_relay_tls.ca", cluster_relay_tls.ca: file, Restart, None,
        "the path of a PEM file, or null without TLS"),
    key!("cluster_relay_tls.certificate", cluster_relay_tls.certificate: file, Restart, None,
        "the path of a PEM file, or null for no certificate of the agent's own"),
    key!("cluster_relay_tls.key", cluster_relay_tls.key: file, Restart, None,
        "the path of a PEM file, or null for no certificate of the agent's own"),
    key!("cluster_relay_tls.server_name", cluster_relay_tls.server_name: open_name, Restart, None,
        "the name in the relay's certificate, or null for that of the host"),
    key!("clusters", clusters: clusters, Restart, None,
        "a list of clusters such as [{name: east, kubeconfig: /etc/webb/east}], or [] for none"),
    key!("cluster_wait", cluster_wait: duration, Restart, None,
        "a time up to 10m, such as 10s, or 0s not to wait", |time| *time <= s(600)),

    key!("pod_networks", pod_networks: networks, Restart, None,
        "a list of networks such as [10.244.0.0/16, \"fd00:10:244::/48\"]"),

    key!("zones.cidrs", zones.cidrs: zone_cidrs, Live, None,
        "a list of networks such as [{cidr: 10.20.0.0/16, zone: eu-west-1a, region: eu-west-1, name: databases}], or [] for none"),
    key!("zones.overhead", zones.overhead: number, Live, None,
        "a number of bytes from 0 to 1000, such as 50", |bytes| *bytes <= 1000),

    key!("policies.other_kinds", policies.other_kinds: other_kinds, Restart, None,
        "undecided or ignore"),
    key!("policies.more_kinds", policies.more_kinds: policy_kinds, Restart, None,
        "a list of kinds such as [example.com/firewalls=both], or [] for none", |kinds| kinds.len() <= 100),

    key!("flow_source", flow_source: flow_source, Restart, Some("--flow-source"),
        "ebpf, or hubble: and an address: hubble:unix:///var/run/cilium/hubble.sock, hubble:tls://HOST:PORT, hubble:HOST:PORT"),
    key!("flow_source_tls.ca", flow_source_tls.ca: file, Restart, None,
        "the path of a PEM file, or null without TLS"),
    key!("flow_source_tls.certificate", flow_source_tls.certificate: file, Restart, None,
        "the path of a PEM file, or null for no certificate of the agent's own"),
    key!("flow_source_tls.key", flow_source_tls.key: file, Restart, None,
        "the path of a PEM file, or null for no certificate of the agent's own"),
    key!("flow_source_tls.server_name", flow_source_tls.server_name: open_name, Restart, None,
        "the name in the server's certificate, or null for that of the host"),

    key!("interfaces.pods", interfaces.pods: pods, Live, Some("--interface"),
        "auto, or a list of globs such as [\"veth*\", \"lxc*\"]"),
    key!("interfaces.node", interfaces.node: globs, Live, None,
        "a list of globs such as [\"eth*\"], or [] for none"),
    key!("interfaces.attach", interfaces.attach: attach, Restart, None,
        "auto, tcx or clsact"),

    key!("aggregation", aggregation: aggregation, Restart, Some("--aggregation"),
        "none or medium"),
    key!("report_interval", report_interval: duration, Restart, None,
        "a time from 100ms to 10m, such as 5s", |time| (ms(100)..=s(600)).contains(time)),

    key!("connections.table_bytes", connections.table_bytes: memory, Restart, None,
        "a size from 64KiB to 1GiB, such as 8MiB, or null to go by the machine's memory", |bytes| bytes.is_none_or(table)),
    key!("connections.tcp_idle", connections.tcp_idle: duration, Restart, None,
        "a time from 1s to 1d, such as 2h15m", |time| (s(1)..=s(86_400)).contains(time)),
    key!("connections.closing_idle", connections.closing_idle: duration, Restart, None,
        "a time from 1s to 1h, such as 10s", |time| (s(1)..=s(3600)).contains(time)),
    key!("connections.half_open_idle", connections.half_open_idle: duration, Restart, None,
        "a time from 1s to 1h, such as 1m", |time| (s(1)..=s(3600)).contains(time)),
    key!("connections.other_idle", connections.other_idle: duration, Restart, None,
        "a time from 1s to 1d, such as 1m", |time| (s(1)..=s(86_400)).contains(time)),
    key!("connections.sweep_interval", connections.sweep_interval: duration, Restart, None,
        "a time from 10ms to 1m, such as 1s", |time| (ms(10)..=s(60)).contains(time)),
    key!("connections.capture", connections.capture: capture, Restart, None, "auto, on or off"),

    key!("conntrack_entries", conntrack_entries: number, Restart, None,
        "a number from 1024 to 4194304, or 0 to leave connection tracking alone", |count| *count == 0 || (1024..=4_194_304).contains(count)),

    key!("rings.flow_bytes", rings.flow_bytes: bytes, Restart, None,
        "a power of two from 64KiB to 1GiB, such as 8MiB", |bytes| ring(*bytes)),
    key!("rings.drop_bytes", rings.drop_bytes: bytes, Restart, None,
        "a power of two from 64KiB to 1GiB, such as 1MiB", |bytes| ring(*bytes)),
    key!("rings.l7_bytes", rings.l7_bytes: bytes, Restart, None,
        "a power of two from 64KiB to 1GiB, such as 4MiB", |bytes| ring(*bytes)),
    key!("l7.capture", l7.capture: capture, Restart, None, "auto, on or off"),
    key!("l7.http_side", l7.http_side: side, Live, None, "once, server, client or both"),
    key!("l7.http_ports", l7.http_ports: ports, Restart, None, "a list of at most 8 ports, such as [80, 8080]"),
    key!("l7.http_ports_ignored", l7.http_ports_ignored: ports, Restart, None,
        "a list of at most 8 ports, such as [6379]"),
    key!("l7.http_timeout", l7.http_timeout: duration, Live, None,
        "a time from 1s to 1h, such as 5m", |time| (s(1)..=s(3600)).contains(time)),
    key!("l7.dns_side", l7.dns_side: side, Live, None, "once, server, client or both"),
    key!("l7.dns_ports", l7.dns_ports: ports, Restart, None, "a list of 1 to 8 ports, such as [53, 5353]",
        |ports| !ports.is_empty()),
    key!("l7.dns_timeout", l7.dns_timeout: duration, Live, None,
        "a time from 1s to 5m, such as 10s", |time| (s(1)..=s(300)).contains(time)),
    key!("l7.redact", l7.redact: boolean, Live, None, "true or false"),
    key!("l7.redact_url_query", l7.redact_url_query: boolean, Live, None, "true or false"),
    key!("l7.redact_user_info", l7.redact_user_info: boolean, Live, None, "true or false"),
    key!("l7.redact_headers_allow", l7.redact_headers_allow: headers, Live, None,
        "a list of at most 64 names of headers, such as [accept, user-agent], or [] for none"),
    key!("l7.redact_headers_deny", l7.redact_headers_deny: headers, Live, None,
        "a list of at most 64 names of headers, such as [authorization, cookie], or [] for none"),
    key!("drop_budget", drop_budget: number, Restart, None,
        "a number of records from 1 to 1000000", |count| (1..=1_000_000).contains(count)),

    key!("metrics_tls.certificate", metrics_tls.certificate: file, Restart, None,
        "the path of a PEM file, or null for no TLS"),
    key!("metrics_tls.key", metrics_tls.key: file, Restart, None,
        "the path of a PEM file, or null for no TLS"),
    key!("metrics_tls.client_ca", metrics_tls.client_ca: file, Restart, None,
        "the path of a PEM file, or null to require no client certificate"),

    key!("observer.enabled", observer.enabled: boolean, Restart, None, "true or false"),
    key!("observer.listen", observer.listen: listen_addresses, Restart, None,
        "a list of addresses, such as [unix:///var/run/cilium/hubble.sock, \"[::]:4244\"]"),
    key!("observer.flows", observer.flows: number, Restart, None,
        "a number of flows from 1 to 1048575", |count| (1..=1_048_575).contains(count)),
    key!("observer.keep", observer.keep: duration, Restart, None,
        "a time from 1s to 1d, such as 10m, or 0s for no bound by time", |time| time.is_zero() || (s(1)..=s(86_400)).contains(time)),
    key!("observer_tls.certificate", observer.tls.certificate: file, Restart, None,
        "the path of a PEM file, or null for no TLS"),
    key!("observer_tls.key", observer.tls.key: file, Restart, None,
        "the path of a PEM file, or null for no TLS"),
    key!("observer_tls.client_ca", observer.tls.client_ca: file, Restart, None,
        "the path of a PEM file, or null to require no client certificate"),

    key!("health.listen", health.listen: open_address, Restart, None,
        "an address and a port, such as [::]:4240, or null for no probes between nodes",
        |address| address.is_none_or(|address| address.port() != 0)),
    key!("health.interval", health.interval: auto_duration, Restart, None,
        "auto, or a time from 1s to 1h, such as 30s", |time| time.is_none_or(|time| (s(1)..=s(3600)).contains(&time))),
    key!("health.icmp", health.icmp: boolean, Restart, None,
        "true or false"),

    key!("export.file_path", export.file_path: file, Restart, None,
        "the path of a file, stdout, or null for none"),
    key!("export.file_max_size_mb", export.file_max_size_mb: number, Restart, None,
        "a number of MiB from 1 to 1048576", |size| (1..=1_048_576).contains(size)),
    key!("export.file_max_backups", export.file_max_backups: number, Restart, None,
        "a number of files from 0 to 10000", |count| *count <= 10_000),
    key!("export.file_compress", export.file_compress: boolean, Restart, None,
        "true or false"),
    key!("export.file_max_age", export.file_max_age: duration, Restart, None,
        "a time from 1s to 365d, such as 1d, or 0s for never", |time| time.is_zero() || (s(1)..=s(31_536_000)).contains(time)),
    key!("export.allow_list", export.allow_list: objects, Restart, None,
        "a list of filters in JSON, such as ['{\"verdict\":[\"DROPPED\"]}'], or [] for none"),
    key!("export.deny_list", export.deny_list: objects, Restart, None,
        "a list of filters in JSON, such as ['{\"source_pod\":[\"kube-system/\"]}'], or [] for none"),
    key!("export.field_mask", export.field_mask: fields, Restart, None,
        "a list of fields of a flow, such as [time, source.pod_name, verdict], or [] for all"),
    key!("export.field_aggregate", export.field_aggregate: fields, Restart, None,
        "a list of fields of a flow, such as [source.namespace, verdict], or [] for none"),
    key!("export.aggregation_interval", export.aggregation_interval: duration, Restart, None,
        "a time from 100ms to 1d, such as 10s, or 0s for none", |time| time.is_zero() || (ms(100)..=s(86_400)).contains(time)),
    key!("export.sync_interval", export.sync_interval: duration, Restart, None,
        "a time from 100ms to 1h, such as 1s, or 0s for never", |time| time.is_zero() || (ms(100)..=s(3600)).contains(time)),
    key!("export.config", export.config: file, Restart, None,
        "the path of a file of exporters, or null for none"),
    key!("export.directory", export.directory: file, Restart, None,
        "an absolute path of a directory, such as /var/run/cilium/hubble",
        |path| path.as_ref().is_some_and(|path| path.is_absolute() && path.parent().is_some())),

    key!("outputs_config", outputs_config: file, Restart, None,
        "the path of a file of outputs, or null for none"),

    key!("scrape.min_interval", scrape.min_interval: duration, Live, None,
        "a time from 0s to 1m, such as 250ms", |time| *time <= s(60)),
    key!("scrape.timeout", scrape.timeout: duration, Live, None,
        "a time from 10ms to 1m, such as 1s", |time| (ms(10)..=s(60)).contains(time)),

    key!("shutdown.budget", shutdown.budget: duration, Live, None,
        "a time from 1s to 10m, such as 25s", |time| (s(1)..=s(600)).contains(time)),
    key!("shutdown.linger", shutdown.linger: duration, Live, None,
        "a time from 0s to 10m, such as 15s", |time| *time <= s(600)),

    key!("supervision.max_restarts", supervision.max_restarts: number, Live, None,
        "a number from 0 to 1000", |count| *count <= 1000),
    key!("supervision.window", supervision.window: duration, Live, None,
        "a time from 1s to 1h, such as 1m", |time| (s(1)..=s(3600)).contains(time)),
    key!("supervision.backoff_min", supervision.backoff_min: duration, Live, None,
        "a time from 1ms to 10m, such as 100ms", |time| (ms(1)..=s(600)).contains(time)),
    key!("supervision.backoff_max", supervision.backoff_max: duration, Live, None,
        "a time from 1ms to 10m, such as 30s", |time| (ms(1)..=s(600)).contains(time)),
    key!("supervision.stall_after", supervision.stall_after: duration, Live, None,
        "a time from 1s to 10m, such as 10s", |time| (s(1)..=s(600)).contains(time)),

    key!("handover", handover: boolean, Restart, None,
        "true or false"),
    key!("handover_dir", handover_dir: file, Restart, None,
        "an absolute path on a BPF filesystem, such as /sys/fs/bpf/webb",
        |path| path.as_ref().is_some_and(|path| path.is_absolute())),

    key!("privileges.least", privileges.least: boolean, Restart, None,
        "true or false"),
    key!("privileges.landlock", privileges.landlock: boolean, Restart, None,
        "true or false"),
    key!("privileges.seccomp", privileges.seccomp: boolean, Restart, None,
        "true or false"),

    key!("log.level", log.level: log_level, Live, Some("--log"),
        "off, error, warn, info, debug, trace, or filter directives such as info,webb_cluster=debug"),
    key!("log.format", log.format: log_format, Restart, None,
        "text or json"),
];
