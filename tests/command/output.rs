//! Exit codes of commands whose output is not read or cannot be written.

use std::fs::OpenOptions;
use std::io::Write;
use std::process::{Command, Stdio};

fn webb() -> Command {
    Command::new(env!("CARGO_BIN_EXE_webb"))
}

/// A wrong file, whose answer fills more than a line.
fn wrong() -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "metric_listen: 0.0.0.0:9965").unwrap();
    file
}

/// A reader that closes the pipe does not make a wrong file right.
#[test]
fn a_closed_pipe_keeps_the_verdict() {
    let file = wrong();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status = webb().arg("check-config").arg(file.path()).stdout(writer).status().unwrap();
    assert_eq!(status.code(), Some(64));
}

/// Output that cannot be written is an error of its own, and is said.
#[test]
fn a_full_disk_is_an_error() {
    let file = wrong();
    let full = || OpenOptions::new().write(true).open("/dev/full").unwrap();
    for arguments in [
        vec!["check-config".into(), file.path().display().to_string()],
        vec!["probe".into()],
        vec!["--help".into()],
        vec!["run".into(), "--help".into()],
        vec!["--version".into()],
    ] {
        let output = webb().args(&arguments).stdout(full()).stderr(Stdio::piped()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(74), "{arguments:?}: {said}");
        assert!(said.contains("the output is not whole"), "{said}");
    }
}
