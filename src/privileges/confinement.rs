//! [`Confinement`]: what Landlock and seccomp leave to the running agent, and whether they are in
//! force.

use std::path::PathBuf;
use std::sync::OnceLock;

use webb_settings::confinement::{self as recorded, record};

use super::landlock::Landlock;
use super::seccomp::{self, Allowed};

/// Files, ports and programs that a running agent uses, as its configuration says at its start.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Needs {
    /// Files that are read again after they were replaced.
    pub followed: Vec<PathBuf>,
    /// Files and directories that are read as they are.
    pub fixed: Vec<PathBuf>,
    /// Directories in which names are made and removed.
    pub written: Vec<PathBuf>,
    /// Directories in which unix sockets are made and removed.
    pub sockets: Vec<PathBuf>,
    /// Directories in which files are written, read and removed.
    pub logs: Vec<PathBuf>,
    /// True if maps and links are pinned there.
    pub pins: bool,
    /// True if maps and programs of others are opened by their ids.
    pub all_maps: bool,
    /// TCP ports that are bound.
    pub ports: Vec<u16>,
    /// True if credentials come from a program.
    pub programs: bool,
}

/// Whether a restriction is in force: its extent, or the reason for which it is not.
pub type Restriction = Result<String, String>;

/// Restrictions of the process by itself.
#[derive(Debug)]
pub struct Confinement {
    landlock: Result<Landlock, String>,
    written: Vec<PathBuf>,
    in_force: Restriction,
    allowed: Allowed,
    wants_seccomp: bool,
    seccomp: OnceLock<Restriction>,
}

impl Confinement {
    /// Prepares what the configuration asks for: Landlock, seccomp.
    pub fn new(needs: &Needs, (landlock, seccomp): (bool, bool)) -> Self {
        let landlock = match (landlock, needs.programs) {
            (false, _) => Err("privileges.landlock is false".to_owned()),
            (true, true) => {
                Err("the kubeconfig runs a credential plugin, and files that it needs are not known".to_owned())
            }
            (true, false) => {
                let files = (&needs.followed[..], &needs.fixed[..]);
                Landlock::new(files, (&needs.written, &needs.sockets, &needs.logs), &needs.ports)
                    .map_err(|error| error.to_string())
            }
        };
        let in_force = Err("not yet".to_owned());
        let allowed = Allowed {
            programs: needs.programs,
            modes: !needs.sockets.is_empty(),
            pins: needs.pins,
            ids: needs.all_maps,
        };
        let written = needs.logs.clone();
        Self { landlock, written, in_force, allowed, wants_seccomp: seccomp, seccomp: OnceLock::new() }
    }

    /// Puts this thread under Landlock, with those that it starts from now on, if that is possible.
    pub fn enforce_landlock(&mut self) {
        self.in_force = self.landlock.as_ref().map_err(Clone::clone).and_then(Landlock::enforce);
        if let (Ok(landlock), Ok(_)) = (&self.landlock, &self.in_force) {
            let (readable, written) = (Some(landlock.readable().to_vec()), self.written.clone());
            record(recorded::Confinement { readable, written, programs: false });
        }
    }

    /// Puts this thread, which started before the others were confined, under Landlock as well.
    pub fn confine_thread(&self) {
        if let (Ok(landlock), Ok(_)) = (&self.landlock, &self.in_force)
            && let Err(why) = landlock.enforce()
        {
            tracing::warn!("a thread is not under Landlock: {why}");
        }
    }

    /// Puts all threads under the seccomp filter, once: from then on no program can be loaded.
    pub fn enforce_seccomp(&self) {
        let _first = self.seccomp.get_or_init(|| {
            if !self.wants_seccomp {
                return Err("privileges.seccomp is false".to_owned());
            }
            let programs = if self.allowed.programs { ", programs may be run" } else { "" };
            match seccomp::confine(self.allowed) {
                Ok(()) => {
                    // Of a process under Landlock it is recorded already.
                    let of_process = recorded::Confinement { programs: self.allowed.programs, ..Default::default() };
                    record(of_process);
                    Ok(format!("all threads{programs}"))
                }
                Err(error) => Err(error.to_string()),
            }
        });
    }

    /// Whether Landlock is in force.
    pub fn landlock(&self) -> &Restriction {
        &self.in_force
    }

    /// Whether the seccomp filter is in force; `None` before the programs are loaded.
    pub fn seccomp(&self) -> Option<&Restriction> {
        self.seccomp.get()
    }

    /// The directories and files that Landlock leaves readable; none if all are.
    pub fn readable(&self) -> &[PathBuf] {
        match (&self.landlock, &self.in_force) {
            (Ok(landlock), Ok(_)) => landlock.readable(),
            _ => &[],
        }
    }
}
