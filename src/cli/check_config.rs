//! The help of `webb check-config`.

pub(super) const HELP: &str = "\
Every problem is reported, each with its line and what was expected; then what a valid file changes.
The files that `metrics_config`, `export.config` and `outputs_config` name are checked too, where
they exist, whatever is wrong with another. Flags and the machine play no part, and of variables
only OTEL_EXPORTER_OTLP_*, for outputs.
With --send each output of `outputs_config` gets a heartbeat in each stream that is sent to it,
once, with the variables and files of this machine; the receiver's answers are printed.

Examples:
  webb check-config /etc/webb/webb.yaml
  webb check-config --send /etc/webb/webb.yaml     do the receivers take what is sent?

Exit codes:
  0   valid, perhaps with warnings
  1   a receiver refuses, or cannot be reached (--send)
  64  not valid, or not readable";
