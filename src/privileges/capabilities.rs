//! Capabilities: raised at the start, lowered before the threads of the running agent start.

use std::collections::BTreeMap;
use std::io;
use std::{fs, thread};

use caps::errors::CapsError;
use caps::{CapSet, Capability, CapsHashSet};

/// For each use of eBPF that makes something.
pub const BPF: &str = "CAP_BPF";
/// For programs that look into the kernel.
pub const PERFMON: &str = "CAP_PERFMON";
/// For programs that see packets, for interfaces and connection tracking.
pub const NET_ADMIN: &str = "CAP_NET_ADMIN";

/// The capabilities that the programs need, in the order of their use.
const NEEDED: [(Capability, &str); 3] =
    [(Capability::CAP_BPF, BPF), (Capability::CAP_PERFMON, PERFMON), (Capability::CAP_NET_ADMIN, NET_ADMIN)];

/// What a running agent keeps of root's capabilities: files of other users are read, ports below
/// 1024 are bound.
const KEPT: [Capability; 3] =
    [Capability::CAP_DAC_OVERRIDE, Capability::CAP_DAC_READ_SEARCH, Capability::CAP_NET_BIND_SERVICE];

fn has(capability: Capability) -> bool {
    caps::has_cap(None, CapSet::Effective, capability).unwrap_or(false)
}

/// Makes the needed capabilities effective that this thread is permitted to have.
///
/// A binary with file capabilities that are permitted only (`+p`) starts with none of them in
/// force, also where the container has fewer than the file: the process runs and says what it
/// lacks. With `+ep` the kernel would refuse to start it. Threads inherit what is in force, so this
/// comes before the first of them.
pub fn raise() {
    for (capability, _) in NEEDED {
        if caps::has_cap(None, CapSet::Permitted, capability).unwrap_or(false) {
            // What cannot be raised is missing, and named as such when it is needed.
            let _raised = caps::raise(None, CapSet::Effective, capability);
        }
    }
}

/// The needed capabilities that this thread lacks. `CAP_SYS_ADMIN` stands in for the first two, as
/// in the kernel.
pub fn missing() -> Vec<&'static str> {
    let admin = has(Capability::CAP_SYS_ADMIN);
    let lacks = |capability: Capability| !(has(capability) || (admin && capability != Capability::CAP_NET_ADMIN));
    NEEDED.into_iter().filter(|(capability, _)| lacks(*capability)).map(|(_, name)| name).collect()
}

/// True if a container or service may give its programs all capabilities that are needed.
pub fn granted() -> bool {
    let allowed = |capability| caps::has_cap(None, CapSet::Bounding, capability).unwrap_or(false);
    NEEDED.iter().all(|(capability, _)| allowed(*capability))
}

/// Gives up all capabilities of this thread but `CAP_SYS_ADMIN`, which becomes effective if it is
/// permitted.
///
/// # Errors
/// If the kernel refuses.
pub(super) fn keep_sys_admin() -> Result<(), CapsError> {
    let permitted = caps::read(None, CapSet::Permitted)?;
    let kept: CapsHashSet = permitted.into_iter().filter(|one| *one == Capability::CAP_SYS_ADMIN).collect();
    for set in [CapSet::Ambient, CapSet::Effective, CapSet::Inheritable] {
        caps::clear(None, set)?;
    }
    caps::set(None, CapSet::Permitted, &kept)?;
    caps::set(None, CapSet::Effective, &kept)
}

/// True if this thread may open the maps and programs of others.
pub fn may_list_maps() -> bool {
    caps::has_cap(None, CapSet::Permitted, Capability::CAP_SYS_ADMIN).unwrap_or(false)
}

/// Gives up all capabilities of this thread, for good, but for those that a running agent needs and
/// the ones named. Threads that it starts from now on have no more either.
///
/// # Errors
/// If the kernel refuses.
pub(super) fn lower(named: &[&str]) -> Result<(), CapsError> {
    // It stands in for the one that is named.
    let admin = named.contains(&BPF) && !caps::has_cap(None, CapSet::Permitted, Capability::CAP_BPF)?;
    let keep = |capability: &Capability| {
        KEPT.contains(capability)
            || named.contains(&capability.to_string().as_str())
            || (admin && *capability == Capability::CAP_SYS_ADMIN)
    };
    // A set must lie within the one that follows, at each step.
    for set in [CapSet::Effective, CapSet::Inheritable, CapSet::Permitted] {
        let left: CapsHashSet = caps::read(None, set)?.into_iter().filter(keep).collect();
        caps::set(None, set, &left)?;
    }
    Ok(())
}

/// Has a thread without the right to make eBPF objects try something. None: it could not be tried.
pub fn try_without_bpf<R: Send>(try_it: impl FnOnce() -> R + Send) -> Option<R> {
    thread::scope(|scope| {
        let trial = scope.spawn(|| lower(&[NET_ADMIN]).ok().map(|()| try_it()));
        trial.join().ok().flatten()
    })
}

/// The capabilities that any thread of this process has or may have in force, as the kernel names
/// them, in the order of their numbers.
///
/// # Errors
/// If `/proc` does not say.
pub fn held() -> io::Result<Vec<String>> {
    let mut bits = 0;
    for task in fs::read_dir("/proc/self/task")? {
        match fs::read_to_string(task?.path().join("status")) {
            Ok(status) => bits |= bits_in(&status)?,
            // The thread has ended meanwhile.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound) => {}
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
            Err(error) => return Err(error),
        }
    }
    let held = caps::all().into_iter().filter(|one| bits & one.bitmask() != 0);
    let held: BTreeMap<u8, String> = held.map(|one| (one.index(), one.to_string())).collect();
    Ok(held.into_values().collect())
}

/// The permitted ones: those in force are among them.
fn bits_in(status: &str) -> io::Result<u64> {
    let word = status.lines().find_map(|line| line.strip_prefix("CapPrm:"));
    word.and_then(|word| u64::from_str_radix(word.trim(), 16).ok())
        .ok_or_else(|| io::Error::other("/proc/self/task/*/status has no line CapPrm"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs `work` on a thread of its own, so that other tests keep their capabilities.
    fn apart<R: Send>(work: impl FnOnce() -> R + Send) -> R {
        thread::scope(|scope| scope.spawn(work).join().unwrap())
    }

    /// What is not named is given up in all sets, and cannot be had again.
    #[test]
    fn what_is_lowered_stays_lowered() {
        apart(|| {
            let before = caps::read(None, CapSet::Permitted).unwrap();
            lower(&[BPF]).unwrap();
            for set in [CapSet::Effective, CapSet::Permitted, CapSet::Inheritable, CapSet::Ambient] {
                let left = caps::read(None, set).unwrap();
                assert!(left.iter().all(|one| KEPT.contains(one) || *one == Capability::CAP_BPF), "{set:?}: {left:?}");
            }
            let kept = caps::read(None, CapSet::Permitted).unwrap();
            assert_eq!(kept.contains(&Capability::CAP_BPF), before.contains(&Capability::CAP_BPF));
            raise();
            assert!(!has(Capability::CAP_NET_ADMIN) && !has(Capability::CAP_PERFMON));
            assert!(caps::raise(None, CapSet::Permitted, Capability::CAP_NET_ADMIN).is_err());
        });
    }

    /// A trial has what the running agent has, and takes nothing from the thread that asks for it.
    #[test]
    fn trials_lack_the_right() {
        let before = caps::read(None, CapSet::Effective).unwrap();
        let found = try_without_bpf(|| has(Capability::CAP_BPF) || has(Capability::CAP_SYS_ADMIN));
        assert_eq!(found, Some(false));
        assert_eq!(caps::read(None, CapSet::Effective).unwrap(), before);
    }

    /// A capability of any thread is held by the process.
    #[test]
    fn every_thread_counts() {
        let permitted = caps::read(None, CapSet::Permitted).unwrap();
        let found = apart(|| {
            lower(&[]).unwrap();
            held().unwrap()
        });
        assert!(permitted.iter().all(|one| found.contains(&one.to_string())), "{found:?}");
    }

    /// A status is read by its line; one without is an error, and no promise.
    #[test]
    fn statuses() {
        assert_eq!(bits_in("CapInh:\tff\nCapPrm:\t000000c000001000\nCapEff:\t0\n").unwrap(), 0xc0_0000_1000);
        assert!(bits_in("Name:\twebb\n").is_err() && bits_in("CapPrm:\tnone\n").is_err());
    }
}
