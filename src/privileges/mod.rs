//! What the process may do, and how it gives up what it needs no longer: capabilities, files and
//! ports by Landlock, system calls by seccomp.
//!
//! Capabilities are of a *thread*, and inherited by those that it starts. So nothing is taken from
//! a thread by another. `main` lets one thread go with all capabilities, the one that loads the
//! programs (`bpf_loader::Loader`), and lowers its own before it starts any other; that thread ends
//! when they are loaded.

mod capabilities;
mod confinement;
mod landlock;
mod needs;
mod paths;
mod seccomp;

pub use capabilities::{BPF, NET_ADMIN, PERFMON, granted, held, may_list_maps, missing, raise, try_without_bpf};
use caps::errors::CapsError;
pub use confinement::{Confinement, Restriction};
pub use needs::Needs;
use rustix::thread::set_no_new_privs;
#[cfg(test)]
pub(crate) use seccomp::confine_this_thread;

/// What is not done under `privileges.least`.
const OFF: [&str; 4] = [
    "connection tracking is not read",
    "whether another program comes before webb's, or behind it on the way out of an interface, is not seen",
    "addresses in pods' network namespaces are not read",
    "states and policies of IPsec are not counted",
];

/// What the threads of the running agent keep, and what they do not do without the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Privileges {
    keeps_bpf: bool,
    keeps_net_admin: bool,
    /// `privileges.least` is set: whether it is in force, which this machine may not allow.
    least: Option<bool>,
}

impl Privileges {
    /// `CAP_NET_ADMIN`, and `CAP_BPF` where each use of eBPF needs it.
    pub fn new(bpf_always: bool) -> Self {
        Self { keeps_bpf: bpf_always, keeps_net_admin: true, least: None }
    }

    /// No capability.
    pub fn none() -> Self {
        Self { keeps_bpf: false, keeps_net_admin: false, least: None }
    }

    /// As `privileges.least` says; `possible` is false where watching an interface needs
    /// `CAP_NET_ADMIN`.
    #[must_use]
    pub fn least(self, asked: bool, possible: bool) -> Self {
        Self { keeps_net_admin: !(asked && possible), least: asked.then_some(possible), ..self }
    }

    /// True if what needs `CAP_NET_ADMIN` is not done.
    pub fn are_least(&self) -> bool {
        !self.keeps_net_admin
    }

    /// Gives up everything else on this thread, for good, and so on threads that it starts from now
    /// on.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn lower(&self) -> Result<(), CapsError> {
        let kept = [(self.keeps_bpf, BPF), (self.keeps_net_admin, NET_ADMIN)];
        let kept: Vec<&str> = kept.into_iter().filter(|(kept, _)| *kept).map(|(_, name)| name).collect();
        // Root, or a file with capabilities, would have all of them again by executing a program.
        set_no_new_privs(true).map_err(|error| CapsError::from(format!("no_new_privs: {error}")))?;
        capabilities::lower(&kept)
    }

    /// What the agent does not do for want of a capability that it gave up.
    pub fn off(&self) -> &'static [&'static str] {
        if self.least == Some(true) { &OFF } else { &[] }
    }

    /// Why more is kept than was asked for or is usual, one sentence each.
    pub fn more(&self) -> Vec<&'static str> {
        let bpf = "CAP_BPF is kept: this kernel asks for it at each use of eBPF (before Linux 5.19, while \
                   kernel.unprivileged_bpf_disabled is set)";
        let least =
            "privileges.least: CAP_NET_ADMIN is kept, because interfaces are watched by clsact filters, which need it";
        let all = [(self.keeps_bpf, bpf), (self.least == Some(false), least)];
        all.into_iter().filter(|(said, _)| *said).map(|(_, text)| text).collect()
    }
}

/// Leaves this thread `CAP_SYS_ADMIN`, if it is permitted to have that, and gives up everything
/// else, for good. It is what opening maps of other programs takes.
///
/// # Errors
/// If the kernel refuses.
pub fn keep_sys_admin() -> Result<(), CapsError> {
    set_no_new_privs(true).map_err(|error| CapsError::from(format!("no_new_privs: {error}")))?;
    capabilities::keep_sys_admin()
}

#[cfg(test)]
mod tests {
    use std::thread;

    use caps::{CapSet, Capability};

    use super::*;

    /// What is kept is what the kernel and the configuration make necessary, and what is off or
    /// kept beyond that has a sentence.
    #[test]
    fn what_is_kept() {
        let usual = Privileges::new(false);
        for (privileges, kept, off, more) in [
            (usual, [false, true], 0, ""),
            (usual.least(true, true), [false, false], 4, ""),
            (usual.least(true, false), [false, true], 0, "privileges.least"),
            (usual.least(false, true), [false, true], 0, ""),
            (Privileges::new(true), [true, true], 0, "CAP_BPF is kept"),
        ] {
            let had = [Capability::CAP_BPF, Capability::CAP_NET_ADMIN]
                .map(|one| caps::has_cap(None, CapSet::Permitted, one).unwrap());
            let has = thread::scope(|scope| {
                let lowered = scope.spawn(|| {
                    privileges.lower().unwrap();
                    [Capability::CAP_BPF, Capability::CAP_NET_ADMIN, Capability::CAP_PERFMON]
                        .map(|one| caps::has_cap(None, CapSet::Permitted, one).unwrap())
                });
                lowered.join().unwrap()
            });
            assert_eq!(has, [had[0] && kept[0], had[1] && kept[1], false], "{privileges:?}");
            assert_eq!(privileges.off().len(), off, "{privileges:?}");
            assert!(privileges.more().concat().starts_with(more), "{privileges:?}");
        }
    }
}
