//! [`Lock`]: one process at a time has a directory of pins.
//!
//! The lock is on the directory itself, so it is of no use once the directory was removed: another
//! process makes it anew and locks the new one. Both are found out. The first compares the
//! directory under the path with the one that it has locked. The second finds the first by a name
//! in the network namespace that goes with its process, an abstract socket. Any process there can
//! have that name, so it refuses nothing: it only says that two agents may be running.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

use super::mark;

/// Interval of the attempts while another process has the lock.
const INTERVAL: Duration = Duration::from_millis(20);

/// Lock on a directory of pins, held until it is dropped.
#[derive(Debug)]
pub(super) struct Lock {
    directory: PathBuf,
    /// The name of the directory in the network namespace; none while another process has it. Freed
    /// before the lock, so that the next process finds it free.
    name: Option<UnixDatagram>,
    file: File,
}

impl Lock {
    /// Takes the lock of a directory; waits for it for so long.
    pub(super) fn take(directory: &Path, wait: Duration) -> io::Result<Self> {
        let file = File::open(directory)?;
        let began = Instant::now();
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(error) if error.kind() == ErrorKind::WouldBlock && began.elapsed() < wait => {
                    std::thread::sleep(INTERVAL);
                }
                Err(error) => return Err(error.into()),
            }
        }
        let mut lock = Self { directory: directory.to_owned(), name: None, file };
        lock.find_name();
        Ok(lock)
    }

    /// Whether the directory under the path is still the one that is locked.
    pub(super) fn is_valid(&self) -> bool {
        let identity = |found: fs::Metadata| (found.dev(), found.ino());
        let locked = self.file.metadata().map(identity);
        let found = fs::metadata(&self.directory).map(identity);
        // Where one cannot be read for another reason than its absence, nothing is known.
        match (locked, found) {
            (Ok(locked), Ok(found)) => locked == found,
            (_, Err(error)) => error.kind() != ErrorKind::NotFound,
            (Err(_), _) => true,
        }
    }

    /// Sentence about a lock that does not keep other processes away; none if it does.
    pub(super) fn problem(&mut self) -> Option<String> {
        let directory = self.directory.display();
        if !self.is_valid() {
            return Some(format!(
                "{directory} was removed or replaced while this process used it: its pins are gone, and another webb may \
                 use the new one; restart this process"
            ));
        }
        let directory = directory.to_string();
        (!self.find_name()).then(|| {
            format!(
                "another process uses {directory} as it was before it was replaced: is another webb running? It counts \
                 the same packets; end it"
            )
        })
    }

    /// Takes the name of the directory in the network namespace. False if another process has it.
    fn find_name(&mut self) -> bool {
        if self.name.is_none() {
            let Ok(address) = address(&self.file, &self.directory) else { return true };
            match UnixDatagram::bind_addr(&address) {
                Ok(socket) => self.name = Some(socket),
                Err(error) => return error.kind() != ErrorKind::AddrInUse,
            }
        }
        true
    }
}

/// The name of a directory: its path, in its filesystem.
fn address(file: &File, directory: &Path) -> io::Result<SocketAddr> {
    let (filesystem, path) = (file.metadata()?.dev(), fs::canonicalize(directory)?);
    let path = mark::hash(&path.to_string_lossy());
    SocketAddr::from_abstract_name(format!("webb-handover-{filesystem:x}-{path:016x}"))
}

/// Sentence about a lock that could not be taken.
pub(super) fn in_use(error: &io::Error) -> String {
    if error.kind() == ErrorKind::WouldBlock {
        "another process uses it: is another webb running? Each needs a handover_dir of its own".to_owned()
    } else {
        format!("it cannot be locked: {error}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory is one process's at a time.
    #[test]
    fn a_directory_is_locked() {
        let home = tempfile::tempdir().unwrap();
        let mut first = Lock::take(home.path(), Duration::ZERO).unwrap();
        let error = Lock::take(home.path(), Duration::from_millis(30)).unwrap_err();
        assert!(in_use(&error).contains("is another webb running?"), "{error}");
        assert_eq!(first.problem(), None);
        drop(first);
        assert_eq!(Lock::take(home.path(), Duration::ZERO).unwrap().problem(), None);
    }

    /// A directory that was removed under its lock and made again: both locks know, until one of
    /// them is gone.
    #[test]
    fn a_directory_that_is_replaced() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("webb");
        fs::create_dir(&directory).unwrap();
        let mut first = Lock::take(&directory, Duration::ZERO).unwrap();
        fs::remove_dir(&directory).unwrap();
        assert!(first.problem().is_some_and(|why| why.contains("was removed or replaced")));
        // The number of the removed one may be given again only once the first has closed it.
        fs::create_dir(&directory).unwrap();
        let mut second = Lock::take(&directory, Duration::ZERO).unwrap();
        assert!(!first.is_valid() && second.is_valid());
        assert!(first.problem().is_some_and(|why| why.contains("restart this process")));
        assert!(second.problem().is_some_and(|why| why.contains("is another webb running?")));
        drop(first);
        assert_eq!(second.problem(), None);
    }
}
