//! The command line: types and help texts. What the commands do is decided in `main` and `app`.
//!
//! Values stay text here: `settings` reads them with the same rules as the file and the
//! environment, so a mistake gets the same answer wherever it was made. The help is meant to be
//! enough to work with: examples, exit codes, variables.

mod check_config;
mod check_endpoint;
mod generated;
mod names;
mod observe;
mod share_directory;
mod top;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, ErrorKind, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::LazyLock;

pub use check_endpoint::CheckEndpointArgs;
use clap::{Args, Parser, Subcommand, ValueEnum};
pub use generated::{completions, manual};
pub use observe::ObserveArgs;
pub use share_directory::ShareDirectoryArgs;
pub use top::TopArgs;
use webb_observer::MAX_EVENTS;
use webb_settings::{Attempt, CheckRest, Checked, Environment, Flag, Layers, ListenAddress, Value, check_file};

/// Exit code of the program, after BSD's `sysexits.h` where that has a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Success.
    Success = 0,
    /// A server refuses, or cannot be reached (observe, check-config --send).
    Refused = 1,
    /// What was printed is incomplete (top).
    Incomplete = 3,
    /// The agent does not answer (top).
    NoAnswer = 4,
    /// The command line or the configuration is wrong.
    Configuration = 64,
    /// The input is wrong, with `--strict` (replay), or an answer (check-endpoint).
    Data = 65,
    /// A file cannot be read (replay), or an agent does not answer (check-endpoint).
    NoInput = 66,
    /// The kernel lacks something that cannot be done without, or something around this process
    /// refuses it: seccomp, a user namespace, lockdown, a memory limit.
    Kernel = 69,
    /// A component failed more often than `supervision.max_restarts` allows.
    GaveUp = 70,
    /// The output cannot be written: a full disk.
    Output = 74,
    /// A capability is missing.
    Privileges = 77,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

const EXIT_CODES: &str = "\
Exit codes:
  0   asked to stop, or done
  1   a server refuses, or cannot be reached (observe, check-config --send)
  3   the numbers are incomplete (top)
  4   the agent does not answer (top)
  64  the command line or the configuration is wrong
  65  a line cannot be read, and --strict was given (replay); a family is missing, or the answer is
      no exposition (check-endpoint)
  66  a file cannot be read to its end (replay); an agent does not answer (check-endpoint)
  69  eBPF that cannot be done without is not in this kernel, or is refused to this process in
      spite of its capabilities (seccomp, user namespace, lockdown, memory limit); the text says which
  70  a component failed too often
  74  the output cannot be written
  77  a capability is missing";

const EXAMPLES: &str = "\
Examples:
  webb probe                                  what this kernel and these privileges allow
  webb run --cluster-manifest pods.yaml       watch every pod interface, names from a file
  curl -s localhost:9965/metrics              what it counts
  webb check-config /etc/webb/webb.yaml       is the file right?
  webb replay flows.json                      what would the metrics of these flows be?
  webb observe --verdict DROPPED              which flows were dropped here?
  webb top                                    who talks to whom now, who is dropped, who is slow?";

const RUN_EXAMPLES: &str = "\
Examples:
  webb run --cluster-manifest pods.yaml
  webb run --config /etc/webb/webb.yaml --log debug
  webb run --metrics \"flow tcp drop:sourceContext=pod;destinationContext=pod\"
  webb run --interface 'lxc*' --interface 'cali*' --aggregation none
  webb run --flow-source hubble:unix:///var/run/cilium/hubble.sock    Cilium's flows, without eBPF

Environment:
  WEBB_CONFIG      as --config
  WEBB_<KEY>       any key of the file, in capitals, `__` between group and key:
                   WEBB_RINGS__FLOW_BYTES=16MiB, WEBB_INTERFACES__NODE='eth0 eth1';
                   a name that is nearly such a one is warned of, any other is not webb's
  NODE_NAME        the node's name where none is configured
  Flags win over variables, variables over the file, the file over defaults.

Signals:
  SIGTERM, SIGINT  stop in order, within shutdown.budget; a second one stops at once
  SIGHUP           read the configuration and the manifest again

Endpoints (see --metrics-listen and --admin-listen):
  :9965/metrics
  localhost:9966/  the page, in a browser; otherwise the list of endpoints:
  localhost:9966/{healthz,readyz,version,actors,faults,config,health,pods,services,policies}
  localhost:9966/api/v1/{status,pairs,pair,drops,connections,dns,http,changes,map,agent,schema.json}
  agent_metrics.listen/metrics, health.listen/hello, and with --operator-election :9963/metrics";

const OPERATOR_HELP: &str = "\
One replica leads, by a Lease (operator.lease_name), and serves what is the same for all nodes:
services without an address, pods that no agent sees, addresses by node. The others serve their own
state. Neither eBPF nor a capability is needed.

Of the configuration count the keys operator, admin_listen, kubeconfig, agent_metrics.compat,
privileges, shutdown, supervision and log.

Examples:
  webb operator
  webb operator --kubeconfig ~/.kube/config --log debug
  WEBB_OPERATOR__LISTEN=127.0.0.1:9963 webb operator
  webb run --operator-election                an agent as a replica, without a Deployment

Signals:
  SIGTERM, SIGINT  give the Lease up and stop; a second one stops at once

Endpoints (operator.listen and --admin-listen):
  :9963/{metrics,healthz,readyz}
  localhost:9966/{healthz,readyz,version,actors,faults,config}

Exit codes:
  0   asked to stop
  64  the command line or the configuration is wrong
  70  a component failed too often";

const PROBE_HELP: &str = "\
One line for each thing that webb needs or can use: ok, degraded (it works with less), missing, or
untried (a capability is lacking for that), and why.
Nothing is attached and nothing stays behind.

Exit codes:
  0   webb can run here, perhaps with less
  69  eBPF that cannot be done without is not in this kernel, or is refused to this process in
      spite of its capabilities (seccomp, user namespace, lockdown, memory limit); the text says which
  77  a capability is missing";

const REPLAY_HELP: &str = "\
Reads flows, one JSON object a line: {\"flow\":{...}} or the flow alone, plain, gzip or zstd.
Lost events count, other events are passed over. A line that cannot be read is named on standard
error, with the reason, and left out.

Examples:
  hubble observe -o json --last 1000 | webb replay -
  webb replay --metrics \"dns:query httpV2:labelsContext=source_namespace\" flows.json.gz
  webb replay --metrics-config dynamic-metrics.yaml --cardinality flows-*.zst
  webb replay --serve 127.0.0.1:9965 flows.json

Exit codes:
  0   done; lines that could not be read are counted on standard error
  64  the command line or the configuration of the metrics is wrong
  65  a line could not be read, and --strict was given
  66  a file could not be read to its end";

/// More than the version number, for bug reports. The build script names revision and compiler
/// where it can.
static LONG_VERSION: LazyLock<String> = LazyLock::new(|| {
    format!(
        "{}\nrevision: {}\ncompiler: {}\nplatform: {} {}{}\nlicence:  Apache-2.0; eBPF programs GPL-2.0-only OR \
         BSD-2-Clause",
        env!("CARGO_PKG_VERSION"),
        option_env!("BUILD_REVISION").unwrap_or("unknown"),
        option_env!("BUILD_RUSTC").unwrap_or("unknown"),
        std::env::consts::OS,
        std::env::consts::ARCH,
        if cfg!(feature = "fault-injection") { "\nfeatures: fault-injection" } else { "" },
    )
});

/// Hubble's pod network metrics from eBPF, on any Kubernetes CNI.
#[derive(Debug, Parser)]
#[command(name = "webb", version, max_term_width = 110, after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
#[command(long_version = LONG_VERSION.as_str(), subcommand_required = true, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Watch this node's pods and serve their metrics
    #[command(after_help = format!("{RUN_EXAMPLES}\n\n{EXIT_CODES}"))]
    Run(RunArgs),
    /// Serve metrics of the whole cluster, as one of several replicas of which one leads
    #[command(after_help = OPERATOR_HELP)]
    Operator(OperatorArgs),
    /// Tell agents which pods have the addresses that they meet, in a large cluster
    #[command(after_help = names::HELP)]
    Names(OperatorArgs),
    /// Report what this kernel and these privileges allow
    #[command(after_help = PROBE_HELP)]
    Probe(ProbeArgs),
    /// Check a configuration file without running
    #[command(after_help = check_config::HELP)]
    CheckConfig(CheckConfigArgs),
    /// Count the flows of a file as if they happened now, and print the metrics
    #[command(after_help = REPLAY_HELP)]
    Replay(ReplayArgs),
    /// Print the flows that an agent, Hubble or its Relay has
    #[command(after_help = observe::HELP)]
    Observe(ObserveArgs),
    /// Show what an agent's pods do now, in a terminal or as a table
    #[command(after_help = top::HELP)]
    Top(TopArgs),
    /// Scrape the agents behind an address, and report missing metrics
    #[command(after_help = check_endpoint::HELP)]
    CheckEndpoint(CheckEndpointArgs),
    /// Give a directory to a group, so that an agent may make files in it
    #[command(after_help = share_directory::HELP)]
    ShareDirectory(ShareDirectoryArgs),
    /// Print completions for a shell, to be sourced
    #[command(after_help = "Example:\n  source <(webb completions bash)")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write the manual pages of all commands
    #[command(after_help = "Example:\n  webb manual /usr/local/share/man/man1")]
    Manual {
        /// Where they go: one file for each command, as webb-observe.1
        directory: PathBuf,
    },
}

/// `webb run`.
#[derive(Debug, Clone, Default, Args)]
pub struct RunArgs {
    /// Configuration file; config/webb.yaml documents every key
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Metrics to count, separated by spaces, as in Hubble's `hubble-metrics`
    #[arg(long, value_name = "LIST")]
    pub metrics: Option<String>,
    /// File of metrics and filters, followed while it runs, instead of --metrics
    #[arg(long, value_name = "FILE", conflicts_with = "metrics")]
    pub metrics_config: Option<String>,
    #[allow(rustdoc::broken_intra_doc_links, reason = "an address in brackets is no link")]
    /// Where /metrics is served; [::]:9965 unless configured
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub metrics_listen: Option<String>,
    /// Where health, actors and configuration are served; 127.0.0.1:9966 unless configured
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub admin_listen: Option<String>,
    /// Let other machines reach the admin listener without a token
    #[arg(long)]
    pub insecure_admin: bool,
    /// Where names come from: auto (unless configured), kubernetes, manifest or none
    #[arg(long, value_name = "SOURCE")]
    pub cluster_source: Option<String>,
    /// File of Kubernetes objects that gives addresses their names
    #[arg(long, value_name = "FILE")]
    pub cluster_manifest: Option<String>,
    /// How to reach the API server; found by itself unless given
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<String>,
    /// Where flows come from: ebpf (unless configured), or a server of Hubble's API
    #[arg(long, value_name = "SOURCE")]
    pub flow_source: Option<String>,
    /// Pod interfaces to watch instead of all; may be repeated
    #[arg(long, value_name = "GLOB")]
    pub interface: Vec<String>,
    /// Kubernetes name of this node; `NODE_NAME` or the host's name unless configured
    #[arg(long, value_name = "NAME")]
    pub node_name: Option<String>,
    /// Which packets make a record: medium (unless configured), or none for every packet
    #[arg(long, value_name = "LEVEL")]
    pub aggregation: Option<String>,
    /// Take part in the election of the operator, which serves metrics of the whole cluster
    #[arg(long)]
    pub operator_election: bool,
    /// Log level, or directives such as `info,webb_cluster=debug`; info unless configured
    #[arg(long, value_name = "LEVEL")]
    pub log: Option<String>,
}

/// `webb operator` and `webb names`.
#[derive(Debug, Clone, Default, Args)]
pub struct OperatorArgs {
    /// Configuration file, of which a few keys count
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where health, actors and configuration are served; 127.0.0.1:9966 unless configured
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub admin_listen: Option<String>,
    /// How to reach the API server; found by itself unless given
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<String>,
    /// Log level, or directives such as `info,webb_cluster=debug`; info unless configured
    #[arg(long, value_name = "LEVEL")]
    pub log: Option<String>,
}

impl OperatorArgs {
    /// Layers of the settings, as [`RunArgs::layers`].
    pub fn layers(&self, environment: Environment) -> Layers {
        let Self { config, admin_listen, kubeconfig, log } = self.clone();
        RunArgs { config, admin_listen, kubeconfig, log, ..RunArgs::default() }.layers(environment)
    }
}

/// `webb probe`.
#[derive(Debug, Clone, Default, Args)]
pub struct ProbeArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `webb check-config`.
#[derive(Debug, Clone, Args)]
pub struct CheckConfigArgs {
    /// The configuration file
    pub file: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Send a heartbeat to each output in each of its streams, and print the answers
    #[arg(long)]
    pub send: bool,
}

/// `webb replay`.
#[derive(Debug, Clone, Default, Args)]
pub struct ReplayArgs {
    /// Files of flows; `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Metrics to count, separated by spaces, as in Hubble's `hubble-metrics`; those of an agent
    /// unless given
    #[arg(long, value_name = "LIST", conflicts_with = "metrics_config")]
    pub metrics: Option<String>,
    /// Metrics to count, from a file in the form of Hubble's dynamic metrics
    #[arg(long, value_name = "FILE")]
    pub metrics_config: Option<PathBuf>,
    /// Format to print
    #[arg(long, value_enum, default_value_t)]
    pub format: ReplayFormat,
    /// Serve /metrics there, once all is read, instead of printing
    #[arg(long, value_name = "ADDRESS:PORT", conflicts_with_all = ["format", "cardinality"])]
    pub serve: Option<SocketAddr>,
    /// Print how many series and bytes each family and each label has, instead of the metrics
    #[arg(long, conflicts_with = "format")]
    pub cardinality: bool,
    /// Serve the flows there by Hubble's API, once all are read: address:port or unix:///path
    #[arg(
        long,
        value_name = "ADDRESS",
        conflicts_with_all = ["metrics", "metrics_config", "format", "serve", "cardinality"]
    )]
    pub observe: Option<ListenAddress>,
    /// How many flows to serve, the last ones of the files
    #[arg(long, value_name = "NUMBER", default_value_t = 4095, requires = "observe", value_parser = history)]
    pub history: usize,
    /// Name of the node that serves them; this machine's unless given
    #[arg(long, value_name = "NAME", requires = "observe")]
    pub node: Option<String>,
    /// Stop at the first line that cannot be read
    #[arg(long)]
    pub strict: bool,
}

/// A number of flows to keep.
fn history(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (1..=MAX_EVENTS).contains(number));
    number.ok_or_else(|| format!("expected a number from 1 to {MAX_EVENTS}"))
}

/// Formats of the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum ReplayFormat {
    /// Prometheus text 0.0.4
    #[default]
    Text,
    /// OpenMetrics 1.0.0, with exemplars
    Openmetrics,
}

impl Cli {
    /// Reads a command line. Help, the version and mistakes are printed here; the error is how to
    /// exit then.
    ///
    /// # Errors
    /// [`Exit::Success`] after help or version, [`Exit::Output`] if these cannot be written,
    /// [`Exit::Configuration`] after a mistake.
    pub fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, Exit> {
        Self::try_parse_from(arguments).map_err(|error| {
            let printed = error.print().and_then(|()| io::stdout().flush());
            match printed {
                _ if error.use_stderr() => Exit::Configuration,
                Err(failed) if failed.kind() != ErrorKind::BrokenPipe => {
                    eprintln!("the output is not whole: {failed}");
                    Exit::Output
                }
                _ => Exit::Success,
            }
        })
    }
}

impl RunArgs {
    /// Layers of the settings: the given flags, the file they name, and the environment.
    pub fn layers(&self, environment: Environment) -> Layers {
        let text =
            |name, value: &Option<String>| value.as_ref().map(|value| Flag { name, value: Value::Text(value.clone()) });
        let interfaces = (!self.interface.is_empty())
            .then(|| Flag { name: "--interface", value: Value::list(self.interface.iter().map(String::as_str)) });
        let flags = [
            text("--metrics", &self.metrics),
            text("--metrics-config", &self.metrics_config),
            text("--metrics-listen", &self.metrics_listen),
            text("--admin-listen", &self.admin_listen),
            self.insecure_admin.then(|| Flag { name: "--insecure-admin", value: Value::Text("true".to_owned()) }),
            text("--cluster-source", &self.cluster_source),
            text("--cluster-manifest", &self.cluster_manifest),
            text("--kubeconfig", &self.kubeconfig),
            text("--flow-source", &self.flow_source),
            interfaces,
            text("--node-name", &self.node_name),
            text("--aggregation", &self.aggregation),
            self.operator_election.then(|| Flag { name: "--operator-election", value: Value::Text("true".to_owned()) }),
            text("--log", &self.log),
        ];
        let variable = environment.variables.get("WEBB_CONFIG").filter(|path| !path.is_empty());
        Layers {
            file: self.config.clone().or_else(|| variable.map(PathBuf::from)),
            flags: flags.into_iter().flatten().collect(),
            environment,
        }
    }
}

impl CheckConfigArgs {
    /// Checks the file and prints its problems. `rest` checks what the settings do not; `attempt`
    /// sends, if that is asked for.
    ///
    /// # Errors
    /// When `out` cannot be written.
    pub fn run(&self, rest: &CheckRest<'_>, attempt: &Attempt<'_>, out: &mut dyn Write) -> io::Result<Exit> {
        let checked = check_file(&self.file, self.json, (rest, self.send.then_some(attempt)), out)?;
        Ok(match checked {
            Checked::Valid => Exit::Success,
            Checked::Invalid => Exit::Configuration,
            Checked::Failed => Exit::Refused,
        })
    }
}

/// The process's environment and the host's name. Variables that are not UTF-8 cannot be ours and
/// are left out.
pub fn environment() -> Environment {
    let variables: BTreeMap<String, String> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let hostname = rustix::system::uname().nodename().to_string_lossy().into_owned();
    Environment { variables, hostname }
}
