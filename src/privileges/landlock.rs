//! Landlock: the files that the running agent may read, and the ports that it may bind. It writes
//! no file but flow logs and spools and executes none; of a handover it makes and removes pins in
//! their directory.
//!
//! A domain is of a *thread*, as capabilities are, and inherited. Rules are of inodes; those of
//! `/proc` live as long as a name is in use, so that these names are kept open.

use std::error::Error as _;
use std::path::PathBuf;

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, LandlockStatus, NetPort, PathBeneath, PathFd,
    PathFdError, Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus,
};

use super::needs::Needs;
use super::paths::directories;

/// What the agent, its libraries and the runtime read of the machine: threads and descriptors of
/// this process, switches of the kernel, processors, limits of the cgroup, types for reasons.
const MACHINE: [&str; 8] = [
    "/proc/self",
    "/proc/sys",
    "/proc/stat",
    "/sys/devices/system/cpu",
    "/sys/fs/cgroup",
    "/sys/fs/selinux/enforce",
    "/sys/kernel/btf",
    "/sys/kernel/security/lockdown",
];

/// The newest version of Landlock whose rights are used.
const NEWEST: ABI = ABI::V7;

/// A ruleset that a thread can take on.
#[derive(Debug)]
pub(super) struct Landlock {
    ruleset: RulesetCreated,
    readable: Vec<PathBuf>,
    writable: Vec<PathBuf>,
    out_of_reach: Vec<(PathBuf, String)>,
    _kept_open: Vec<PathFd>,
}

impl Landlock {
    /// Allows what is needed, and reading what any agent needs of the machine. A rule is of a file
    /// that is there: what the configuration names and cannot be opened stays out of reach.
    ///
    /// # Errors
    /// If the kernel refuses a rule, or this process has no path for itself.
    pub(super) fn new(needs: &Needs) -> Result<Self, RulesetError> {
        let machine = MACHINE.iter().map(PathBuf::from).chain(std::env::current_exe());
        let mut readable: Vec<PathBuf> = machine.chain(needs.of_machine.iter().cloned()).collect();
        readable.extend(needs.followed.iter().flat_map(|file| directories(file)));
        let mut ruleset = Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(NEWEST))?
            .handle_access(AccessNet::BindTcp)?
            .create()?;
        for port in &needs.ports {
            ruleset = ruleset.add_rule(NetPort::new(*port, AccessNet::BindTcp))?;
        }
        let (mut opened, mut kept_open) = (Vec::new(), Vec::new());
        let of_names = AccessFs::MakeReg | AccessFs::MakeDir | AccessFs::RemoveFile | AccessFs::RemoveDir;
        let of_sockets = AccessFs::MakeSock | AccessFs::RemoveFile;
        let of_files = of_names | AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::Truncate;
        let Needs { pin_directories, socket_directories, writable: of_configuration, .. } = needs;
        let directories = [(pin_directories, of_names), (socket_directories, of_sockets), (of_configuration, of_files)];
        let (mut writable, mut out_of_reach) = (Vec::new(), Vec::new());
        for (paths, making) in directories {
            for path in paths {
                match PathFd::new(path) {
                    Ok(rule) => {
                        ruleset = ruleset.add_rule(PathBeneath::new(rule, making | AccessFs::ReadDir))?;
                        opened.push(path.clone());
                        writable.extend(making.contains(AccessFs::WriteFile).then(|| path.clone()));
                    }
                    Err(error) => out_of_reach.push((path.clone(), reason(&error))),
                }
            }
        }
        for path in &needs.fixed {
            match PathFd::new(path) {
                Ok(_) => readable.push(path.clone()),
                Err(error) => out_of_reach.push((path.clone(), reason(&error))),
            }
        }
        for path in readable {
            // What a machine does not have, such as a security module, needs no rule.
            let (Ok(rule), Ok(kept), Ok(real)) = (PathFd::new(&path), PathFd::new(&path), path.canonicalize()) else {
                continue;
            };
            let access = if real.is_dir() { AccessFs::ReadFile | AccessFs::ReadDir } else { AccessFs::ReadFile.into() };
            ruleset = ruleset.add_rule(PathBeneath::new(rule, access))?;
            if path.starts_with("/proc") {
                kept_open.push(kept);
            }
            opened.push(real);
        }
        opened.sort();
        opened.dedup();
        Ok(Self { ruleset, readable: opened, writable, out_of_reach, _kept_open: kept_open })
    }

    /// The directories and files that may be read.
    pub(super) fn readable(&self) -> &[PathBuf] {
        &self.readable
    }

    /// The directories in which files may be written.
    pub(super) fn writable(&self) -> &[PathBuf] {
        &self.writable
    }

    /// Paths of the configuration without a rule, and why they have none.
    pub(super) fn out_of_reach(&self) -> &[(PathBuf, String)] {
        &self.out_of_reach
    }

    /// Puts this thread, and those that it starts from now on, under the ruleset, for good.
    ///
    /// # Errors
    /// Why it is not in force.
    pub(super) fn enforce(&self) -> Result<String, String> {
        let ruleset = self.ruleset.try_clone().map_err(|error| error.to_string())?;
        let status = ruleset.restrict_self().map_err(|error| error.to_string())?;
        match (status.ruleset, status.landlock) {
            (RulesetStatus::NotEnforced, LandlockStatus::NotEnabled) => {
                Err("this kernel has Landlock, and does not use it: it is not in the boot option lsm=".to_owned())
            }
            (RulesetStatus::NotEnforced, _) => {
                Err("this kernel has no Landlock, or the container runtime's seccomp profile refuses it".to_owned())
            }
            (_, LandlockStatus::Available { effective_abi, .. }) => Ok(format!("ABI version {}", effective_abi as i32)),
            (_, status) => Ok(format!("{status:?}")),
        }
    }
}

/// Why a file cannot be opened: of an error the system's part.
fn reason(error: &PathFdError) -> String {
    error.source().map_or_else(|| error.to_string(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;
    use std::path::Path;
    use std::process::Command;
    use std::{fs, io, thread};

    use super::*;

    const NOT_FOUND: &str = "No such file or directory (os error 2)";

    fn is_refused(path: &Path) -> bool {
        fs::File::open(path).is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
    }

    /// The kernel refuses a file outside, also to a thread that is started later, and root; a
    /// followed file is read again after it was replaced, over a link as well. Nothing is written
    /// or executed, names are made where that is allowed, and no other port is bound. This process
    /// stays readable for itself, with the threads that it starts later. What is configured and
    /// missing is named.
    #[test]
    fn files_outside_are_refused() {
        let scratch = tempfile::tempdir().unwrap();
        let at = |path: &str| scratch.path().join(path);
        for directory in ["etc/one", "etc/two", "outside", "pins/one", "run", "logs"] {
            fs::create_dir_all(at(directory)).unwrap();
            fs::write(at(directory).join("file"), directory).unwrap();
        }
        std::os::unix::fs::symlink("one", at("etc/data")).unwrap();
        std::os::unix::fs::symlink("data/file", at("etc/file")).unwrap();
        let needs = Needs {
            followed: vec![at("etc/file")],
            fixed: vec![at("etc/missing")],
            of_machine: vec![at("libraries")],
            pin_directories: vec![at("pins")],
            socket_directories: vec![at("run")],
            writable: vec![at("logs"), at("spool")],
            ports: vec![0],
            ..Needs::default()
        };
        let landlock = Landlock::new(&needs).unwrap();
        // What a machine need not have is not named.
        let missing = [at("spool"), at("etc/missing")].map(|path| (path, NOT_FOUND.to_owned()));
        assert_eq!((landlock.writable(), landlock.out_of_reach()), (&[at("logs")][..], &missing[..]));
        thread::scope(|scope| {
            let (turn, turned) = std::sync::mpsc::channel();
            let (ask, asked) = std::sync::mpsc::channel();
            let confined = scope.spawn(move || {
                if let Err(why) = landlock.enforce() {
                    assert!(std::env::var_os("CI").is_none(), "CI needs Landlock: {why}");
                    println!("SKIPPED: {why}");
                    return;
                }
                let later = thread::scope(|scope| {
                    let later =
                        scope.spawn(|| (is_refused(&at("outside/file")), fs::write(at("etc/new"), "").is_err()));
                    later.join().unwrap()
                });
                assert_eq!(later, (true, true));
                assert!(is_refused(&at("outside/file")) && is_refused(Path::new("/etc/passwd")));
                assert!(Command::new("/bin/true").status().is_err());
                assert!(TcpListener::bind("127.0.0.1:0").is_ok());
                // Names are made and removed there, and no file is read or written.
                assert!(is_refused(&at("pins/one/file")) && fs::write(at("pins/one/file"), "").is_err());
                fs::create_dir(at("pins/two")).unwrap();
                // Sockets are made where they belong, and nothing else is.
                UnixListener::bind(at("run/one.sock")).unwrap();
                fs::remove_file(at("run/one.sock")).unwrap();
                assert!(fs::write(at("run/file"), "").is_err() && fs::create_dir(at("run/one")).is_err());
                assert!(UnixListener::bind(at("pins/one.sock")).is_err());
                // Files of logs are written, cut, renamed and removed.
                fs::OpenOptions::new().append(true).read(true).open(at("logs/file")).unwrap().set_len(1).unwrap();
                fs::rename(at("logs/file"), at("logs/old")).unwrap();
                fs::write(at("logs/file"), fs::read(at("logs/old")).unwrap()).unwrap();
                fs::remove_file(at("logs/old")).unwrap();
                fs::remove_dir_all(at("pins/one")).unwrap();
                assert_eq!(fs::read_to_string(at("etc/file")).unwrap(), "etc/one");
                ask.send(()).unwrap();
                turned.recv().unwrap();
                assert_eq!(fs::read_to_string(at("etc/file")).unwrap(), "etc/two");
                for task in fs::read_dir("/proc/self/task").unwrap() {
                    assert!(!is_refused(&task.unwrap().path().join("status")));
                }
            });
            if asked.recv().is_ok() {
                std::os::unix::fs::symlink("two", scratch.path().join("etc/fresh")).unwrap();
                fs::rename(scratch.path().join("etc/fresh"), scratch.path().join("etc/data")).unwrap();
                turn.send(()).unwrap();
            }
            confined.join().unwrap();
        });
        assert!(!is_refused(&scratch.path().join("outside/file")), "other threads are as before");
    }
}
