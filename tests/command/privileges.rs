//! Capabilities of the binary's file, as an image has them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use rustix::fs::{XattrFlags, setxattr};

/// As `setcap cap_bpf,cap_perfmon,cap_net_admin+p` writes it (`struct vfs_cap_data`, version 2):
/// permitted, and not in force by themselves.
fn permitted_only() -> Vec<u8> {
    let version = 2_u32 << 24;
    // The permitted in two halves, and after each the inheritable.
    let (net_admin, perfmon, bpf) = (1 << 12, 1 << (38 - 32), 1 << (39 - 32));
    let words = [version, net_admin, 0, perfmon | bpf, 0];
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// `webb probe` as user 65532 with a bounding set, as a container runtime starts it: the exit code,
/// and the line on privileges.
fn probe(program: &Path, bounding: &str) -> (Option<i32>, String) {
    let output = Command::new("setpriv")
        .args(["--reuid=65532", "--regid=65532", "--clear-groups", &format!("--bounding-set={bounding}"), "--"])
        .arg(program)
        .arg("probe")
        .output()
        .unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let line = out.lines().find(|line| line.starts_with("privileges")).map_or(said, str::to_owned);
    (output.status.code(), line)
}

/// A binary with permitted capabilities raises them itself, so that a user other than root needs no
/// ambient ones; where the container has none, it still runs and names what is missing.
#[test]
fn permitted_capabilities_are_raised() {
    if !rustix::process::geteuid().is_root() {
        println!("SKIPPED: file capabilities are root's to give");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = directory.path().join("webb");
    fs::copy(env!("CARGO_BIN_EXE_webb"), &program).unwrap();
    setxattr(&program, "security.capability", &permitted_only(), XattrFlags::empty()).unwrap();
    let (_, granted) = probe(&program, "-all,+net_admin,+cap_38,+cap_39");
    assert!(granted.split_whitespace().nth(1) == Some("ok"), "{granted}");
    let (code, none) = probe(&program, "-all");
    assert_eq!(code, Some(77), "{none}");
    assert!(none.contains("missing") && none.contains("CAP_BPF"), "{none}");
}
