//! `webb top`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use webb_settings::units::parse_duration;

pub(super) const HELP: &str = "\
Shows what the page shows, of one node: pairs that talk, drops, connections, DNS, HTTP and the parts
of the agent. `?` lists the keys. Of a node elsewhere, forward its port first:
kubectl -n kube-system port-forward daemonset/webb 9966:9967

Examples:
  webb top
  webb top --view drops --workload 'shop/* -prometheus'
  webb top --once --problems                  a table of what needs a look, and the exit code
  webb top --once --sort=-bytes --limit 10
  webb top --json --view agent | jq .agent.ledger

Environment:
  NO_COLOR         no colours

Exit codes:
  0   done
  3   the numbers are incomplete: something was lost, or a part of the agent is not up (--once, --json)
  4   the agent does not answer, or refuses (--once, --json)
  64  the command line is wrong, the token file cannot be used, or there is no terminal and neither
      --once nor --json
  74  the output cannot be written";

/// `webb top`.
#[derive(Debug, Clone, Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag")]
pub struct TopArgs {
    /// The agent's admin listener; 127.0.0.1:9966 unless given
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub server: Option<String>,
    /// File of the token that the listener asks for (admin.token_file)
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// What is shown first: pairs, drops, connections, dns, http, changes or agent
    #[arg(long, value_name = "VIEW", default_value = "pairs")]
    pub view: String,
    /// Words that either end has: `shop/*` a beginning, `-prometheus` leaves out
    #[arg(long, value_name = "WORDS", default_value = "", allow_hyphen_values = true)]
    pub workload: String,
    /// Only what needs a look
    #[arg(long)]
    pub problems: bool,
    /// What rows are of: namespace, or workload, which is what the metrics name
    #[arg(long, value_name = "WHAT", default_value = "workload", value_parser = ["workload", "namespace"])]
    pub by: String,
    /// Column to sort by, with - before it for the most first; problems first unless given
    #[arg(long, value_name = "COLUMN", allow_hyphen_values = true)]
    pub sort: Option<String>,
    /// Time that rates are over: 10s, 1m or 5m
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = ["10s", "1m", "5m"])]
    pub window: String,
    /// Time between two answers
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = interval)]
    pub interval: Duration,
    /// Bits instead of bytes a second
    #[arg(long)]
    pub bits: bool,
    /// Nothing but ASCII
    #[arg(long)]
    pub ascii: bool,
    /// Print one table in base units, and end
    #[arg(long, conflicts_with_all = ["json", "bits", "ascii", "interval"])]
    pub once: bool,
    /// Print the API's answer, and end
    #[arg(long, conflicts_with_all = ["bits", "ascii", "interval"])]
    pub json: bool,
    /// Rows that --once and --json print
    #[arg(long, value_name = "NUMBER", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=500))]
    pub limit: u16,
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = parse_duration(text)?;
    let is_usable = (Duration::from_secs(1)..=Duration::from_hours(1)).contains(&interval);
    if is_usable { Ok(interval) } else { Err("expected 1s to 1h".to_owned()) }
}
