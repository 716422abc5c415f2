//! [`Pins`]: the directory of the pins, and the links in it.
//!
//! `DIRECTORY/MARK/maps/NAME`, `DIRECTORY/MARK/links/INTERFACE-DIRECTION`, and a directory `ready`
//! beside them once the maps are complete. The names of the BPF filesystem have no dots. One
//! process at a time has the directory, by a lock on it; one whose directory was replaced does not
//! touch what lies there.

use std::collections::HashSet;
use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use aya::programs::TcAttachType;
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::tc::SchedClassifierLink;
use rustix::fs::statfs;

use super::super::error::LoadError;
use super::super::settings::ProgramSettings;
use super::super::sys;
use super::contents;
use super::lock::{Lock, in_use};
use super::mark::Mark;
use super::pin;
use super::{Handover, HandoverOutcome};

/// `BPF_FS_MAGIC`.
const BPF_FILESYSTEM: u64 = 0xcafe_4a11;

/// Directory that a complete set of pins has.
const READY: &str = "ready";

/// Longest wait for a process that still has the directory: it may be ending.
const LOCK_WAIT: Duration = Duration::from_secs(10);

/// Write permission of group and others.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// The pins of this process.
#[derive(Debug)]
pub(in super::super) struct Pins {
    own: PathBuf,
    outcome: HandoverOutcome,
    /// Sets of pins that are not taken over.
    others: Vec<PathBuf>,
    /// Error of the last pin that failed.
    failure: Option<String>,
    /// Held as long as the process lives.
    lock: Lock,
}

impl Pins {
    /// Takes the directory, and looks for what a process of before has left there. `drops`: the
    /// drop object is among those that are loaded.
    pub(in super::super) fn open(directory: &Path, settings: &ProgramSettings, drops: bool) -> Result<Self, LoadError> {
        let fail = |why: String| LoadError::Handover { directory: directory.to_owned(), why };
        make(directory).map_err(fail)?;
        let lock = Lock::take(directory, LOCK_WAIT).map_err(|error| fail(in_use(&error)))?;
        let mark = Mark::new(settings).map_err(|error| fail(error.to_string()))?;
        let own = directory.join(mark.to_string());
        let system = |what: &str, error: &io::Error| fail(format!("{what}: {error}"));
        let sets = sets(directory).map_err(|error| system("it cannot be read", &error))?;
        let mut outcome = outcome(mark, &sets);
        if outcome == HandoverOutcome::TakenOver && !is_complete(&own, settings, drops) {
            fs::remove_dir_all(&own).map_err(|error| system("an incomplete set of pins cannot be removed", &error))?;
            outcome = HandoverOutcome::Incomplete;
        }
        for part in ["", "maps", "links", "programs"] {
            create(&own.join(part)).map_err(|error| system("it is not writable", &error))?;
        }
        let others = sets.into_iter().map(|(_, path)| path).filter(|path| *path != own).collect();
        Ok(Self { own, outcome, others, failure: None, lock })
    }

    /// Outcome of the look.
    pub(in super::super) fn outcome(&self) -> HandoverOutcome {
        self.outcome
    }

    /// True if the maps are those of a process before.
    pub(in super::super) fn are_taken_over(&self) -> bool {
        self.outcome == HandoverOutcome::TakenOver
    }

    /// Sentence about what is wrong with the pins, if anything is.
    pub(in super::super) fn failure(&mut self) -> Option<String> {
        let unpinned =
            || Some(format!("the next process will not take over all interfaces: {}", self.failure.as_ref()?));
        self.lock.problem().map(|why| format!("handover: {why}")).or_else(unpinned)
    }

    /// The pin of a map.
    pub(in super::super) fn map(&self, name: &str) -> PathBuf {
        self.own.join("maps").join(name)
    }

    /// The pin of the link of a tracepoint's entry.
    pub(super) fn entry(&self, name: &str) -> PathBuf {
        self.own.join("links").join(name)
    }

    /// The pin of a program.
    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.own.join("programs").join(name)
    }

    /// Notes that the maps are complete: the next process may take them over.
    pub(in super::super) fn complete(&self) -> Result<(), LoadError> {
        let ready = self.own.join(READY);
        create(&ready).map_err(|error| LoadError::Handover { directory: ready, why: error.to_string() })
    }

    fn link(&self, index: u32, direction: TcAttachType) -> PathBuf {
        let direction = if direction == TcAttachType::Ingress { "ingress" } else { "egress" };
        self.own.join("links").join(format!("{index}-{direction}"))
    }

    /// Whether both links of an interface were left by a process of before, and still are on it.
    pub(in super::super) fn has(&self, index: u32) -> bool {
        [TcAttachType::Ingress, TcAttachType::Egress].into_iter().all(|direction| self.is_on(index, direction))
    }

    fn is_on(&self, index: u32, direction: TcAttachType) -> bool {
        let linked = pin::open(&self.link(index, direction)).and_then(|link| sys::linked_interface(link.as_fd()));
        linked.is_ok_and(|linked| linked == index)
    }

    /// The link that was left at an interface. One that is not on it any more is removed: an
    /// interface may be created anew under an old number.
    pub(in super::super) fn take(&self, index: u32, direction: TcAttachType) -> Option<SchedClassifierLink> {
        let path = self.link(index, direction);
        if !self.is_on(index, direction) {
            let _absent = fs::remove_file(&path);
            return None;
        }
        FdLink::from(PinnedLink::from_pin(&path).ok()?).try_into().ok()
    }

    /// Pins a link, unless it has a pin.
    pub(in super::super) fn keep(&mut self, index: u32, direction: TcAttachType, link: BorrowedFd<'_>) {
        if !self.lock.is_valid() {
            return;
        }
        let path = self.link(index, direction);
        match pin::pin(link, &path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                self.failure = Some(format!("{} cannot be pinned: {error}", path.display()));
            }
            _ => {}
        }
    }

    /// Removes the pins of an interface's links.
    pub(in super::super) fn remove(&self, index: u32) {
        if !self.lock.is_valid() {
            return;
        }
        for direction in [TcAttachType::Ingress, TcAttachType::Egress] {
            let _absent = fs::remove_file(self.link(index, direction));
        }
    }

    /// Removes what was left and is not wanted any more: links of other interfaces than these,
    /// which detaches their programs, and other sets of pins. Returns the number of each.
    pub(in super::super) fn settle(&mut self, attached: &HashSet<u32>) -> (usize, usize) {
        if !self.lock.is_valid() {
            return (0, 0);
        }
        let mut links = 0;
        for entry in fs::read_dir(self.own.join("links")).into_iter().flatten().filter_map(Result::ok) {
            let name = entry.file_name();
            let index = name.to_str().and_then(|name| name.split_once('-')).and_then(|(index, _)| index.parse().ok());
            if index.is_some_and(|index| !attached.contains(&index)) && fs::remove_file(entry.path()).is_ok() {
                links += 1;
            }
        }
        (links, remove_sets(&mut self.others))
    }
}

/// What a process of before has left, where handover is off.
#[derive(Debug)]
pub(in super::super) struct Leftovers {
    sets: Vec<PathBuf>,
    _lock: Lock,
}

impl Leftovers {
    /// Looks for pins. None if there are none, or if they are another process's: one that belongs
    /// to another user, or is at work.
    pub(in super::super) fn find(handover: &Handover) -> Option<Self> {
        let directory = handover.directory.as_deref()?;
        if !directory.exists() || make(directory).is_err() {
            return None;
        }
        let sets: Vec<PathBuf> = sets(directory).ok()?.into_iter().map(|(_, path)| path).collect();
        if sets.is_empty() {
            return None;
        }
        match Lock::take(directory, Duration::ZERO) {
            Ok(lock) => Some(Self { sets, _lock: lock }),
            Err(error) => {
                tracing::warn!("the pins in {} stay: {}", directory.display(), in_use(&error));
                None
            }
        }
    }

    /// Removes them, which detaches their programs. Returns their number.
    pub(in super::super) fn remove(mut self) -> usize {
        remove_sets(&mut self.sets)
    }
}

/// Makes the directory of the pins if there is none.
///
/// # Errors
/// If it cannot be made, or must not be used: it is on no BPF filesystem, or not this user's alone.
pub fn make_directory(directory: &Path) -> Result<(), LoadError> {
    make(directory).map_err(|why| LoadError::Handover { directory: directory.to_owned(), why })
}

/// Makes the directory if there is none, and checks that it is safe to use: on a BPF filesystem,
/// and this user's alone.
fn make(directory: &Path) -> Result<(), String> {
    let existing = directory.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let filesystem = statfs(existing).map_err(|error| format!("{}: {error}", existing.display()))?;
    #[allow(clippy::cast_sign_loss, clippy::unnecessary_cast, reason = "the field's type depends on the machine")]
    let is_bpf = filesystem.f_type as u64 & 0xffff_ffff == BPF_FILESYSTEM;
    if !is_bpf {
        return Err(format!(
            "{} is on no BPF filesystem; mount one (mount -t bpf bpf /sys/fs/bpf; a container needs a hostPath volume of \
             it), or set handover_dir",
            existing.display()
        ));
    }
    let user = rustix::process::geteuid().as_raw();
    create(directory).map_err(|error| {
        format!("it cannot be made by user {user}: {error}; make it, owned by that user and with mode 0700")
    })?;
    let found = fs::metadata(directory).map_err(|error| error.to_string())?;
    if found.uid() != user {
        return Err(format!("it belongs to user {}, and this process is user {user}", found.uid()));
    }
    if found.mode() & WRITABLE_BY_OTHERS != 0 {
        return Err(format!("others may write there (mode {:o}); chmod 0700 it", found.mode() & 0o7777));
    }
    Ok(())
}

fn create(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        other => other,
    }
}

/// The sets of pins in the directory.
fn sets(directory: &Path) -> io::Result<Vec<(Mark, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        found.extend(entry.file_name().to_str().and_then(Mark::parse).map(|mark| (mark, entry.path())));
    }
    Ok(found)
}

/// Whether a process of before has noted its maps as complete, and all of them are there still.
fn is_complete(set: &Path, settings: &ProgramSettings, drops: bool) -> bool {
    let complete = set.join(READY).exists();
    match contents::verify(&set.join("maps"), settings, drops) {
        Err(why) if complete => {
            tracing::warn!("the maps in {} are not taken over: {why}", set.display());
            false
        }
        _ => complete,
    }
}

fn outcome(mark: Mark, sets: &[(Mark, PathBuf)]) -> HandoverOutcome {
    if sets.iter().any(|(other, _)| *other == mark) {
        HandoverOutcome::TakenOver
    } else if sets.iter().any(|(other, _)| other.layouts == mark.layouts) {
        HandoverOutcome::SettingsDiffer
    } else if sets.is_empty() {
        HandoverOutcome::StartedNew
    } else {
        HandoverOutcome::AbiDiffers
    }
}

fn remove_sets(sets: &mut Vec<PathBuf>) -> usize {
    let removed = sets.drain(..).filter(|path| match fs::remove_dir_all(path) {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!("{} cannot be removed: {error}", path.display());
            false
        }
    });
    removed.count()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Neither a directory that is on another filesystem is used, nor made there.
    #[test]
    fn a_directory_on_another_filesystem() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("webb");
        let error = Pins::open(&directory, &ProgramSettings::default(), true).unwrap_err().to_string();
        assert!(error.contains("is on no BPF filesystem; mount one"), "{error}");
        assert!(error.contains(directory.to_str().unwrap()), "{error}");
        assert!(!directory.exists());
        let handover = Handover { wanted: false, directory: Some(home.path().to_owned()) };
        assert!(Leftovers::find(&handover).is_none());
    }

    /// The first that is true of a set says what becomes of it.
    #[test]
    fn outcomes() {
        let mark = |layouts, settings| {
            Mark::parse(&format!("{layouts:016x}-{settings:016x}")).map(|mark| (mark, PathBuf::new())).unwrap()
        };
        let of = |sets: &[(Mark, PathBuf)]| outcome(mark(7, 7).0, sets);
        assert_eq!(of(&[]), HandoverOutcome::StartedNew);
        assert_eq!(of(&[mark(8, 7)]), HandoverOutcome::AbiDiffers);
        assert_eq!(of(&[mark(8, 7), mark(7, 8)]), HandoverOutcome::SettingsDiffer);
        assert_eq!(of(&[mark(8, 7), mark(7, 8), mark(7, 7)]), HandoverOutcome::TakenOver);
    }
}
