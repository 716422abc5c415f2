//! [`Confinement`]: what Landlock and seccomp leave to the running agent, and whether they are in
//! force.

use std::path::PathBuf;
use std::sync::OnceLock;

use webb_settings::confinement::{self as recorded, record};

use super::landlock::Landlock;
use super::needs::Needs;
use super::seccomp::{self, Allowed};

/// Whether a restriction is in force: its extent, or the reason for which it is not.
pub type Restriction = Result<String, String>;

/// Restrictions of the process by itself.
#[derive(Debug)]
pub struct Confinement {
    landlock: Result<Landlock, String>,
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
            (true, false) => Landlock::new(needs).map_err(|error| error.to_string()),
        };
        let in_force = Err("not yet".to_owned());
        let allowed = Allowed {
            programs: needs.programs,
            modes: !needs.socket_directories.is_empty(),
            pins: needs.pins,
            ids: needs.all_maps,
        };
        Self { landlock, in_force, allowed, wants_seccomp: seccomp, seccomp: OnceLock::new() }
    }

    /// Puts this thread under Landlock, with those that it starts from now on, if that is possible.
    pub fn enforce_landlock(&mut self) {
        self.in_force = self.landlock.as_ref().map_err(Clone::clone).and_then(Landlock::enforce);
        if let (Ok(landlock), Ok(_)) = (&self.landlock, &self.in_force) {
            let (readable, writable) = (Some(landlock.readable().to_vec()), landlock.writable().to_vec());
            record(recorded::Confinement { readable, writable, programs: false });
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
        self.ruleset().map_or(&[], Landlock::readable)
    }

    /// Paths that the configuration names and Landlock refuses, with the reason: they could not be
    /// opened when the rules were made.
    pub fn out_of_reach(&self) -> &[(PathBuf, String)] {
        self.ruleset().map_or(&[], Landlock::out_of_reach)
    }

    /// The rules in force.
    fn ruleset(&self) -> Option<&Landlock> {
        self.landlock.as_ref().ok().filter(|_| self.in_force.is_ok())
    }
}
