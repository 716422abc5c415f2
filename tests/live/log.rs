//! A log that is not read, as behind a container runtime that hangs, stops nothing else.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::process::Command;

use crate::harness::{Agent, Lab};

/// Standard error is a pipe that is full from the start and that nothing reads: the agent becomes
/// ready, is scraped, and ends when it is asked to.
#[test]
fn a_pipe_that_is_not_read() {
    let Some(lab) = Lab::up() else { return };
    let pipe = lab.file("pipe", "");
    std::fs::remove_file(&pipe).unwrap();
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let mut end = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(&pipe).unwrap();
    loop {
        match end.write(&[b'\n'; 4096]) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
    }
    let script = lab.file("unread.sh", &format!("exec \"$@\" 2>{}\n", pipe.display()));
    let manifest = Lab::manifest();
    let mut agent = Agent::spawn(
        &lab,
        &format!("sh {}", script.display()),
        &["--node-name", "webb-node-1", "--cluster-manifest", manifest.to_str().unwrap(), "--log", "debug"],
    );
    agent.wait_until("it is ready", |agent| agent.get("/readyz").is_some_and(|answer| answer.status == 200));
    assert!(!agent.scrape().show("webb_log_lines_lost_total").is_empty());
    agent.signal("TERM");
    assert!(agent.ended().success());
}
