//! Running a credential plugin: a program that prints a token or a client certificate.
//!
//! kube would wait for it without end. A plugin may hang: on a network that is away, or on a
//! question without an answer. So it has a time, after which it is killed with all that it has
//! started; so it is when the watches end.

use std::io::{PipeReader, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use kube::config::ExecConfig;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use serde::Deserialize;
use serde_json::json;
use webb_settings::confinement::explain_program;

/// A token or a certificate is a few thousand bytes.
const MAX_OUTPUT_BYTES: usize = 1 << 20;

/// Bounds of a plugin's run time.
#[derive(Debug)]
pub(super) struct RunBounds {
    pub(super) timeout: Duration,
    /// Closed by the other end when the credentials are no longer awaited.
    pub(super) stopped: PipeReader,
}

/// Output of a plugin: `client.authentication.k8s.io/v1`, as far as it is read.
#[derive(Deserialize)]
struct ExecCredential {
    status: Option<ExecCredentialStatus>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExecCredentialStatus {
    token: Option<String>,
    client_certificate_data: Option<String>,
    client_key_data: Option<String>,
    expiration_timestamp: Option<String>,
}

/// Credentials from a plugin.
pub(super) struct Credentials {
    pub(super) token: Option<String>,
    /// A client certificate and its key, in PEM.
    pub(super) identity: Option<(String, String)>,
    /// Expiry time of the credentials, as in RFC 3339.
    pub(super) expires: Option<String>,
}

/// Output of a program until its end.
struct Output {
    status: ExitStatus,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

/// Runs a credential plugin.
pub(super) fn run(exec: &ExecConfig, limits: &RunBounds) -> Result<Credentials, String> {
    let name = exec.command.as_deref().ok_or("the exec plugin has no command")?;
    let api = exec.api_version.as_deref().unwrap_or("client.authentication.k8s.io/v1");
    let mut spec = json!({"interactive": false});
    if exec.provide_cluster_info
        && let Some(spec) = spec.as_object_mut()
    {
        spec.insert("cluster".to_owned(), json!(exec.cluster));
    }
    let mut command = Command::new(name);
    command.args(exec.args.iter().flatten());
    for variable in exec.env.iter().flatten() {
        if let (Some(name), Some(value)) = (variable.get("name"), variable.get("value")) {
            command.env(name, value);
        }
    }
    let info = json!({"apiVersion": api, "kind": "ExecCredential", "spec": spec});
    command.env("KUBERNETES_EXEC_INFO", info.to_string());
    let output = output(command, limits).map_err(|why| format!("the credential plugin {name} {why}"))?;
    if !output.status.success() {
        let said: String = String::from_utf8_lossy(&output.stderr).chars().take(300).collect();
        return Err(format!("the credential plugin {name} failed ({}): {}", output.status, said.trim()));
    }
    let answer: ExecCredential = serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("the credential plugin {name} did not print an ExecCredential: {error}"))?;
    let status = answer.status.ok_or_else(|| format!("the credential plugin {name} gave no credentials"))?;
    Ok(Credentials {
        token: status.token,
        identity: status.client_certificate_data.zip(status.client_key_data),
        expires: status.expiration_timestamp,
    })
}

/// Runs a program in a process group of its own, which is killed if the program does not end in its
/// time.
fn output(mut command: Command, limits: &RunBounds) -> Result<Output, String> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn().map_err(|error| match explain_program(&error) {
        Some(why) => format!("cannot be run: {error} ({why})"),
        None => format!("cannot be run: {error}"),
    })?;
    let read = read(&mut child, limits);
    if read.is_err() {
        // Not waited for yet, so the number is still its own.
        let _ended_meanwhile = kill_process_group(Pid::from_child(&child), Signal::KILL);
    }
    let status = child.wait().map_err(|error| format!("cannot be waited for: {error}"))?;
    let (stdout, stderr) = read?;
    Ok(Output { status, stdout, stderr })
}

/// Reads both outputs until the program has ended; what its children still have to print is not
/// waited for.
fn read(child: &mut Child, limits: &RunBounds) -> Result<(Vec<u8>, Vec<u8>), String> {
    let until = Instant::now() + limits.timeout;
    let process = pidfd_open(Pid::from_child(child), PidfdFlags::empty())
        .map_err(|error| format!("cannot be waited for: {error}"))?;
    let (mut stdout, mut stderr) = (Source::new(child.stdout.take()), Source::new(child.stderr.take()));
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(format!("did not end within {} s and was killed", limits.timeout.as_secs_f32()));
        }
        let [ended, stopped, out, err] =
            ready([Some(process.as_fd()), Some(limits.stopped.as_fd()), stdout.fd(), stderr.fd()], left)?;
        if stopped {
            return Err("is no longer waited for and was killed".to_owned());
        }
        // Its last words were there before its end.
        if out {
            stdout.read()?;
        } else if err {
            stderr.read()?;
        } else if ended {
            return Ok((stdout.read, stderr.read));
        }
    }
}

/// An output of a program, and what came of it.
struct Source<R> {
    from: Option<R>,
    read: Vec<u8>,
}

impl<R: Read + AsFd> Source<R> {
    fn new(from: Option<R>) -> Self {
        Self { from, read: Vec::new() }
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.from.as_ref().map(AsFd::as_fd)
    }

    /// Reads what is there, without waiting for more.
    fn read(&mut self) -> Result<(), String> {
        let mut piece = [0; 4096];
        let Some(from) = &mut self.from else { return Ok(()) };
        match from.read(&mut piece).map_err(|error| format!("cannot be read: {error}"))? {
            0 => self.from = None,
            length => self.read.extend(piece.iter().take(length)),
        }
        if self.read.len() > MAX_OUTPUT_BYTES {
            return Err(format!("prints more than {MAX_OUTPUT_BYTES} bytes and was killed"));
        }
        Ok(())
    }
}

/// Waits for one of these to be readable or at its end; true for each that is.
fn ready<const N: usize>(fds: [Option<BorrowedFd<'_>>; N], longest: Duration) -> Result<[bool; N], String> {
    let mut polled: Vec<PollFd<'_>> =
        fds.iter().flatten().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
    let longest = Timespec::try_from(longest).map_err(|error| format!("has too much time: {error}"))?;
    match poll(&mut polled, Some(&longest)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(format!("cannot be waited for: {error}")),
    }
    let mut events = polled.iter().map(|fd| !fd.revents().is_empty());
    Ok(fds.map(|fd| fd.is_some() && events.next().unwrap_or(false)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, limits: &RunBounds) -> Result<Output, String> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        output(command, limits)
    }

    /// Output of a plugin is read whole, whichever pipe fills first; a child that it leaves behind
    /// is not waited for.
    #[test]
    fn outputs_are_read_to_their_end() {
        let (stopped, _leash) = std::io::pipe().unwrap();
        let limits = RunBounds { timeout: Duration::from_mins(5), stopped };
        let Output { status, stdout, stderr } =
            shell("seq 1 20000 >&2; seq 1 30000; sleep 600 & exit 3", &limits).unwrap();
        assert_eq!((status.code(), stdout.len(), stderr.len()), (Some(3), 168_894, 108_894));
        assert!(shell("yes", &limits).err().unwrap().contains("prints more than"));
        assert!(output(Command::new("/no/such/plugin"), &limits).err().unwrap().contains("cannot be run"));
    }

    /// A program that hangs is killed at the end of its time, with all that it has started.
    #[test]
    fn hung_programs_are_killed() {
        let scratch = tempfile::tempdir().unwrap();
        let fifo = scratch.path().join("held");
        assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        let held = rustix::fs::open(&fifo, rustix::fs::OFlags::NONBLOCK, rustix::fs::Mode::empty()).unwrap();
        let (stopped, _leash) = std::io::pipe().unwrap();
        let limits = RunBounds { timeout: Duration::from_secs(2), stopped };
        let script = format!("exec 9>{}; sleep 600 & sleep 600; true", fifo.display());
        let why = shell(&script, &limits).err().unwrap();
        assert_eq!(why, "did not end within 2 s and was killed");
        // It hangs up when the last process that has it open is gone.
        assert_eq!(ready([Some(held.as_fd())], Duration::from_mins(1)).unwrap(), [true]);
    }

    /// A plugin with credentials that are no longer awaited is killed, whatever its timeout.
    #[test]
    fn programs_end_with_those_that_wait() {
        let (stopped, leash) = std::io::pipe().unwrap();
        drop(leash);
        let why = shell("sleep 600", &RunBounds { timeout: Duration::from_hours(1), stopped }).err().unwrap();
        assert_eq!(why, "is no longer waited for and was killed");
    }
}
