//! `webb probe`: what this kernel and these privileges allow, and what is around this process.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::fs::{Access, access};
use rustix::io::Errno;
use rustix::process::getgid;
use serde_json::json;
use webb_settings::Export;

use crate::bpf_loader::{Finding, FindingState, PRIVILEGES, findings};
use crate::cli::Exit;
use crate::conntrack;
use crate::health::probe_echo;
use crate::privileges::may_list_maps;

/// Prints a line for each thing that webb needs or can use; the exit code is success if it can run
/// here.
///
/// # Errors
/// When `out` cannot be written.
pub fn probe(as_json: bool, out: &mut dyn Write) -> io::Result<Exit> {
    let mut findings = findings();
    findings.push(connection_tracking());
    findings.push(icmp_echo());
    findings.push(maps_of_others());
    findings.push(flows_of_cilium(Path::new(CILIUM_SOCKET)));
    findings.push(files_of_flows());
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

/// Only `health.listen` needs it, and nodes are probed by HTTP without.
fn icmp_echo() -> Finding {
    let (state, why) = match probe_echo() {
        Ok(()) => (FindingState::Ok, "other nodes can be probed by it".to_owned()),
        Err(why) => (FindingState::Degraded, why),
    };
    Finding { subject: "ICMP echo", state, why }
}

/// Only `agent_metrics.all_maps` needs it, so nothing is amiss without.
fn maps_of_others() -> Finding {
    let why = if may_list_maps() {
        "agent_metrics.all_maps: can be counted, with CAP_SYS_ADMIN"
    } else {
        "agent_metrics.all_maps: would count webb's own maps alone, without CAP_SYS_ADMIN"
    };
    Finding { subject: "maps of other programs", state: FindingState::Ok, why: why.to_owned() }
}

/// The socket of Cilium's agent.
const CILIUM_SOCKET: &str = "/var/run/cilium/hubble.sock";

/// Only `flow_source` needs it, so nothing is amiss without.
fn flows_of_cilium(path: &Path) -> Finding {
    let shown = path.display();
    let why = match UnixStream::connect(path) {
        Ok(_) => format!("flow_source: {shown} can be used"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => format!("flow_source: there is no {shown} here"),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => format!(
            "flow_source: {shown} cannot be used: it is for its owner and its group (mode 0660), and this process is \
             neither, or may not search its directory"
        ),
        Err(error) => format!("flow_source: {shown} cannot be used: {error}"),
    };
    Finding { subject: "flows of Cilium", state: FindingState::Ok, why }
}

/// Only `observer.listen` and `export` need it, so nothing is amiss without. The places are those
/// of the defaults, and of the chart.
fn files_of_flows() -> Finding {
    let sockets = Path::new(CILIUM_SOCKET).parent().unwrap_or(Path::new("/"));
    let directory = Export::default().directory.unwrap_or_default();
    let why = format!("observer.listen: {}; export: {}", room(sockets), room(&directory));
    Finding { subject: "sockets and files of flows", state: FindingState::Ok, why }
}

/// Whether this process may make files in a directory. Landlock, later, lets an agent do so in
/// those that are configured.
fn room(directory: &Path) -> String {
    let shown = directory.display();
    match access(directory, Access::WRITE_OK | Access::EXEC_OK) {
        Ok(()) => format!("files can be made in {shown}"),
        Err(Errno::NOENT) => format!("there is no {shown} here"),
        Err(Errno::ACCESS) => {
            let group = getgid().as_raw();
            format!("no files can be made in {shown}: webb share-directory --group {group} {shown}, as its owner")
        }
        Err(error) => format!("no files can be made in {shown}: {error}"),
    }
}

/// Exit code for the findings: a check that lacks privileges proves nothing about the kernel.
fn exit(findings: &[Finding]) -> Exit {
    let missing: Vec<_> = findings.iter().filter(|finding| finding.state == FindingState::Missing).collect();
    if missing.is_empty() {
        return Exit::Success;
    }
    if missing.iter().any(|finding| finding.subject == PRIVILEGES) { Exit::Privileges } else { Exit::Kernel }
}
