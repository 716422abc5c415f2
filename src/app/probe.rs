//! `webb probe`: what this kernel and these privileges allow, and what is around this process.

use std::io::{self, Write};

use serde_json::json;

use crate::bpf_loader::{Finding, FindingState, PRIVILEGES, findings};
use crate::cli::Exit;
use crate::conntrack;

/// Prints a line for each thing that webb needs or can use; the exit code is success if it can run
/// here.
///
/// # Errors
/// When `out` cannot be written.
pub fn probe(as_json: bool, out: &mut dyn Write) -> io::Result<Exit> {
    let mut findings = findings();
    findings.push(connection_tracking());
    findings.extend(super::site::findings());
    if as_json {
        let list: Vec<_> = findings
            .iter()
            .map(|finding| json!({"subject": finding.subject, "state": finding.state.label(), "reason": finding.why}))
            .collect();
        writeln!(out, "{:#}", json!({ "findings": list }))?;
    } else {
        let width = findings.iter().map(|finding| finding.subject.len()).max().unwrap_or(0);
        for finding in &findings {
            writeln!(out, "{:width$}  {:8}  {}", finding.subject, finding.state.label(), finding.why)?;
        }
    }
    Ok(exit(&findings))
}

/// Only services need it, and these have a name without.
fn connection_tracking() -> Finding {
    let (state, why) = match conntrack::probe() {
        Ok(()) => (FindingState::Ok, "backends of services and masqueraded pods are named".to_owned()),
        Err(error) => (FindingState::Degraded, error.to_string()),
    };
    Finding { subject: "connection tracking", state, why }
}

/// Exit code for the findings: a check that lacks privileges proves nothing about the kernel.
fn exit(findings: &[Finding]) -> Exit {
    let missing: Vec<_> = findings.iter().filter(|finding| finding.state == FindingState::Missing).collect();
    if missing.is_empty() {
        return Exit::Success;
    }
    if missing.iter().any(|finding| finding.subject == PRIVILEGES) { Exit::Privileges } else { Exit::Kernel }
}
