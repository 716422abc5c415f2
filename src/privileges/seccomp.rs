//! A seccomp filter: system calls that a running agent never needs end with an error.
//!
//! It is a list of what is refused. A list of what is allowed would be shorter to explain and
//! longer to keep right: libraries choose their calls by the kernel. A container runtime's profile,
//! which is such a list, holds beside it.

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::{
    BpfProgram, Error, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, apply_filter_all_threads,
};

/// Calls that are refused whatever their arguments are.
const REFUSED: &[c_long] = &[
    // Other processes.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    // Mounts and namespaces.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    // The machine.
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_syslog,
    libc::SYS_vhangup,
    libc::SYS_personality,
    // Large interfaces of the kernel without a use here.
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_fanotify_init,
];

/// Further ones of this architecture.
#[cfg(target_arch = "x86_64")]
const REFUSED_HERE: &[c_long] = &[libc::SYS_iopl, libc::SYS_ioperm, libc::SYS_modify_ldt, libc::SYS_uselib];
#[cfg(not(target_arch = "x86_64"))]
const REFUSED_HERE: &[c_long] = &[];

/// Calls that only a program of others may need, such as a credential plugin: execution, and
/// changes of files' owners, modes and attributes, which Landlock leaves alone.
const REFUSED_WITHOUT_PROGRAMS: &[c_long] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_mknodat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
];

/// The older forms of these on this architecture.
#[cfg(target_arch = "x86_64")]
const REFUSED_HERE_WITHOUT_PROGRAMS: &[c_long] = &[libc::SYS_chmod, libc::SYS_chown, libc::SYS_lchown, libc::SYS_mknod];
#[cfg(not(target_arch = "x86_64"))]
const REFUSED_HERE_WITHOUT_PROGRAMS: &[c_long] = &[];

/// Those of them that set the mode of a socket's file, as the standard library does.
#[cfg(target_arch = "x86_64")]
const MODE_CALLS: &[c_long] = &[libc::SYS_chmod, libc::SYS_fchmodat];
#[cfg(not(target_arch = "x86_64"))]
const MODE_CALLS: &[c_long] = &[libc::SYS_fchmodat];

/// Commands of `bpf` that make something, or fetch what others made: `BPF_MAP_CREATE`,
/// `BPF_PROG_LOAD`, `BPF_OBJ_PIN`, `BPF_OBJ_GET`, `BPF_PROG_GET_FD_BY_ID`, `BPF_MAP_GET_FD_BY_ID`,
/// `BPF_BTF_LOAD`, `BPF_BTF_GET_FD_BY_ID`, `BPF_LINK_GET_FD_BY_ID`, `BPF_ITER_CREATE`,
/// `BPF_PROG_BIND_MAP`, `BPF_TOKEN_CREATE`. Attaching what is loaded is not among them: interfaces
/// come, and with some of them a tracepoint is needed.
const REFUSED_COMMANDS: [u64; 12] = [0, 5, 6, 7, 13, 14, 18, 19, 30, 33, 35, 36];

/// Those of them that a handover needs: `BPF_OBJ_PIN`, `BPF_OBJ_GET`.
const PIN_COMMANDS: [u64; 2] = [6, 7];

/// Those of them that open the maps and programs of others: `BPF_PROG_GET_FD_BY_ID`,
/// `BPF_MAP_GET_FD_BY_ID`.
const ID_COMMANDS: [u64; 2] = [13, 14];

/// Families of sockets that are used: names and signals, both versions of IP, netlink.
const SOCKETS: [i32; 4] = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];

/// Flags of `clone` that make a namespace.
const NAMESPACES: [i32; 7] = [
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWNS,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWCGROUP,
];

/// Bit of the x32 calls, which share the x86-64 filter: each refused call has a number there, too.
#[cfg(target_arch = "x86_64")]
const X32: Option<c_long> = Some(0x4000_0000);
#[cfg(not(target_arch = "x86_64"))]
const X32: Option<c_long> = None;

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: TargetArch = TargetArch::x86_64;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: TargetArch = TargetArch::aarch64;

/// What some configurations need beyond the rest.
#[derive(Debug, Clone, Copy, Default)]
#[allow(clippy::struct_excessive_bools, reason = "each is a need of its own")]
pub(super) struct Allowed {
    /// Credential plugins are run.
    pub(super) programs: bool,
    /// Modes of files are changed: the agent makes sockets.
    pub(super) modes: bool,
    /// Maps and links are pinned.
    pub(super) pins: bool,
    /// Maps and programs of others are opened, for which the kernel asks for `CAP_SYS_ADMIN`.
    pub(super) ids: bool,
}

/// Puts all threads of the process under the filter, for good.
///
/// # Errors
/// If the kernel, or the container runtime's own filter, refuses.
pub(super) fn confine(allowed: Allowed) -> Result<(), Error> {
    filters(allowed)?.iter().try_for_each(|filter| apply_filter_all_threads(filter))
}

/// The filters. `clone3` has one of its own: its flags are in memory, out of reach, and a library
/// that is told that there is no such call takes `clone`.
fn filters(Allowed { programs, modes, pins, ids }: Allowed) -> Result<[BpfProgram; 2], Error> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    let calls = [REFUSED, REFUSED_HERE].concat();
    let without = [REFUSED_WITHOUT_PROGRAMS, REFUSED_HERE_WITHOUT_PROGRAMS].concat();
    let without = without.into_iter().filter(|call| !(programs || modes && MODE_CALLS.contains(call)));
    for call in calls.into_iter().chain(without) {
        // No rule is a rule that always holds.
        rules.insert(call, Vec::new());
    }
    let first = |operator, value: u64| SeccompCondition::new(0, SeccompCmpArgLen::Dword, operator, value);
    let one = |operator, value| SeccompRule::new(vec![first(operator, value)?]);
    let bits = |flag: i32| u64::from(flag.cast_unsigned());
    let refused = |command: &&u64| !(pins && PIN_COMMANDS.contains(command) || ids && ID_COMMANDS.contains(command));
    let commands = REFUSED_COMMANDS.iter().filter(refused).map(|command| one(SeccompCmpOp::Eq, *command));
    rules.insert(libc::SYS_bpf, commands.collect::<Result<_, _>>()?);
    let flags = NAMESPACES.iter().map(|flag| one(SeccompCmpOp::MaskedEq(bits(*flag)), bits(*flag)));
    rules.insert(libc::SYS_clone, flags.collect::<Result<_, _>>()?);
    let others = SOCKETS.iter().map(|family| first(SeccompCmpOp::Ne, bits(*family)));
    rules.insert(libc::SYS_socket, vec![SeccompRule::new(others.collect::<Result<_, _>>()?)?]);
    if let Some(x32) = X32 {
        let twins: Vec<_> = rules.iter().map(|(call, rules)| (call | x32, rules.clone())).collect();
        rules.extend(twins);
    }
    Ok([compile(rules, libc::EPERM)?, compile([(libc::SYS_clone3, Vec::new())].into_iter().collect(), libc::ENOSYS)?])
}

fn compile(rules: BTreeMap<i64, Vec<SeccompRule>>, error: i32) -> Result<BpfProgram, Error> {
    let refused = SeccompAction::Errno(error.cast_unsigned());
    Ok(SeccompFilter::new(rules, SeccompAction::Allow, refused, ARCHITECTURE)?.try_into()?)
}

/// Puts this thread alone under the filter.
#[cfg(test)]
pub(crate) fn confine_this_thread(programs: bool) {
    confine_this_thread_to(Allowed { programs, ..Allowed::default() });
}

#[cfg(test)]
fn confine_this_thread_to(allowed: Allowed) {
    for filter in filters(allowed).unwrap() {
        seccompiler::apply_filter(&filter).unwrap();
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;
    use std::thread;

    use rustix::net::{AddressFamily, SocketType, socket};

    use super::*;

    /// Runs `work` on a thread of its own, under the filter.
    fn confined<R: Send>(programs: bool, work: impl FnOnce() -> R + Send) -> R {
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                confine_this_thread(programs);
                work()
            });
            thread.join().unwrap()
        })
    }

    /// What is refused ends with EPERM, and what the agent does goes on: threads, sockets, files.
    #[test]
    fn calls_are_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let permissions = || fs::set_permissions(file.path(), Permissions::from_mode(0o600));
        permissions().unwrap();
        confined(false, || {
            assert_eq!(permissions().unwrap_err().raw_os_error(), Some(libc::EPERM));
            assert_eq!(Command::new("/bin/true").status().unwrap_err().raw_os_error(), Some(libc::EPERM));
            for family in [libc::AF_PACKET, libc::AF_ALG, libc::AF_VSOCK, libc::AF_XDP] {
                let opened = socket(AddressFamily::from_raw(family.try_into().unwrap()), SocketType::RAW, None);
                assert_eq!(opened.unwrap_err().raw_os_error(), libc::EPERM, "{family}");
            }
            for family in SOCKETS {
                socket(AddressFamily::from_raw(family.try_into().unwrap()), SocketType::DGRAM, None).unwrap();
            }
            assert_eq!(thread::scope(|scope| scope.spawn(|| 7).join().unwrap()), 7);
            assert!(fs::read(file.path()).is_ok());
            let status = fs::read_to_string("/proc/thread-self/status").unwrap();
            assert!(status.contains("Seccomp:\t2\n"), "{status}");
        });
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                confine_this_thread_to(Allowed { modes: true, ..Allowed::default() });
                permissions().unwrap();
                assert_eq!(Command::new("/bin/true").status().unwrap_err().raw_os_error(), Some(libc::EPERM));
            });
            thread.join().unwrap();
        });
        confined(true, || {
            permissions().unwrap();
            assert!(Command::new("/bin/true").status().unwrap().success());
            let mount = Command::new("unshare").args(["--user", "--mount", "/bin/true"]).output().unwrap();
            assert!(String::from_utf8_lossy(&mount.stderr).contains("Operation not permitted"), "{mount:?}");
        });
    }

    /// No call is named twice, and the twins of x32 have their bit.
    #[test]
    fn the_list_is_plain() {
        let mut all = [REFUSED, REFUSED_HERE, REFUSED_WITHOUT_PROGRAMS, REFUSED_HERE_WITHOUT_PROGRAMS].concat();
        let number = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), number);
        assert!(all.iter().all(|call| X32.is_none_or(|x32| call & x32 == 0)));
    }
}
