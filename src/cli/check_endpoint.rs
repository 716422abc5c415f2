//! `webb check-endpoint`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use webb_settings::units::parse_duration;

pub(super) const HELP: &str = "\
Every address that the host's name has is asked, so that a headless Service stands for all of its
agents. One line for each, with the number of its series, or what is wrong.

Examples:
  webb check-endpoint http://localhost:9965/metrics
  webb check-endpoint http://hubble-metrics.kube-system.svc:9965/metrics --wait 1m --require hubble_drop_total
  webb check-endpoint https://10.0.0.7:9965/metrics --ca ca.crt --server-name default.hubble-metrics.cilium.io

Exit codes:
  0   all answered, and nothing is missing
  64  the command line is wrong, or a file that it names
  65  a family is missing, or the answer is no exposition
  66  one did not answer";

/// `webb check-endpoint`.
#[derive(Debug, Clone, Args)]
pub struct CheckEndpointArgs {
    /// Where /metrics is served: http or https, host, port and path
    pub url: String,
    /// Family that each must have; may be repeated
    #[arg(long, value_name = "FAMILY")]
    pub require: Vec<String>,
    /// How long to try until all checks pass
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = parse_duration)]
    pub wait: Duration,
    /// Authority of the server's certificate, PEM; needed for https
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Name in the server's certificate; the host's unless given
    #[arg(long, value_name = "NAME")]
    pub server_name: Option<String>,
    /// Certificate to show to the server, PEM
    #[arg(long, value_name = "FILE", requires = "key")]
    pub certificate: Option<PathBuf>,
    /// Its private key, PEM
    #[arg(long, value_name = "FILE", requires = "certificate")]
    pub key: Option<PathBuf>,
}
