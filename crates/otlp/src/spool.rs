//! The spool directory of an output: one file for each request, in the bytes that are sent.
//!
//! A file is written under another name and renamed, so that a name stands for a whole file. Files
//! of processes before are found when the directory is opened. A lock has one process use it at a
//! time: two would send the files of each other, and remove them.

use std::collections::{HashSet, VecDeque};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use rustix::fs::{FlockOperation, Mode, OFlags};
use webb_settings::confinement;

use crate::config::SpoolConfig;
use crate::encoding::Encoding;
use crate::request::{MAX_REQUEST_BYTES, Request, Stream};
use crate::window::{self, LastWindow};

/// Files at most.
pub(crate) const MAX_FILES: usize = 10_000;

/// Damaged files that are kept, for a look at them.
const MAX_BAD_FILES: usize = 10;

/// Name of the file that the lock is of.
pub(crate) const LOCK: &str = "lock";

/// End of the name of a file that is being written.
const PARTIAL: &str = ".partial";

/// End of the name of a damaged file.
const BAD: &str = ".bad";

/// Records of a file at most: those of a request.
const MAX_RECORDS: u32 = 100_000;

/// A directory that is open.
#[derive(Debug)]
pub(crate) struct Spool {
    directory: PathBuf,
    fsync: bool,
    /// Names of damaged files, oldest first.
    bad: VecDeque<String>,
    /// Holds the lock.
    lock: File,
}

/// A file of the directory.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) file: String,
    pub(crate) stream: Stream,
    pub(crate) records: u32,
    pub(crate) encoding: Encoding,
    pub(crate) size: u64,
    /// Time at which it was written, in milliseconds since 1970.
    pub(crate) written_ms: u64,
}

impl Spool {
    /// Opens the directory of an output, makes it if it is not there, and lists its files, oldest
    /// first. Blocks.
    ///
    /// # Errors
    /// What stands in the way, such as another process.
    pub(crate) fn open(config: &SpoolConfig, output: &str) -> Result<(Self, Vec<Found>), String> {
        let directory = config.directory.join(output);
        let failed = |error: io::Error| {
            let explained = confinement::explain_writing(&directory, &error);
            let explained = explained.map(|why| format!("; {why}")).unwrap_or_default();
            format!("the spool directory {} cannot be used: {error}{explained}", directory.display())
        };
        DirBuilder::new().recursive(true).mode(0o700).create(&directory).map_err(failed)?;
        let path = directory.join(LOCK);
        if !path.exists() {
            OpenOptions::new().create(true).append(true).mode(0o600).open(&path).map_err(failed)?;
        }
        // For reading only, so that the file system can be made read-only meanwhile.
        let lock = File::open(&path).map_err(failed)?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(format!(
                    "the spool directory {} is in use by another process: give each agent its own",
                    directory.display()
                ));
            }
            Err(error) => return Err(failed(error.into())),
        }
        let mut spool = Self { directory, fsync: config.fsync, bad: VecDeque::new(), lock };
        let found = spool
            .list()
            .map_err(|error| format!("the spool directory {} cannot be read: {error}", spool.directory.display()))?;
        Ok((spool, found))
    }

    /// False once the directory, or the file of its lock, is gone or another one: another process
    /// may use what is there now. Blocks.
    pub(crate) fn is_held(&self) -> bool {
        match (fs::symlink_metadata(self.directory.join(LOCK)), self.lock.metadata()) {
            (Ok(there), Ok(held)) => (there.dev(), there.ino()) == (held.dev(), held.ino()),
            (Err(error), _) => error.kind() != io::ErrorKind::NotFound,
            (_, Err(_)) => true,
        }
    }

    fn list(&mut self) -> io::Result<Vec<Found>> {
        let (mut found, mut bad) = (Vec::new(), Vec::new());
        let mut unknown = HashSet::new();
        for entry in self.directory.read_dir()? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            // What is no file (a directory, a pipe, a link) is none of ours, whatever its name.
            let metadata = entry.metadata().ok().filter(std::fs::Metadata::is_file);
            if metadata.is_some() && name.ends_with(PARTIAL) {
                // Of a process that ended while it wrote: this one has the lock.
                if let Err(error) = fs::remove_file(entry.path()) {
                    tracing::warn!("{} cannot be removed: {error}; it is left alone", entry.path().display());
                }
                continue;
            }
            let (Some((stream, records, encoding)), Some(metadata)) = (parse(&name), &metadata) else {
                if name.ends_with(BAD) {
                    bad.extend(metadata.map(|metadata| (metadata.modified().ok(), name)));
                } else if name != LOCK && name != window::FILE {
                    unknown.insert(name);
                }
                continue;
            };
            let written = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
            let written_ms = written.map_or(0, |age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
            let size = metadata.len();
            found.push(Found { file: name, stream, records, encoding, size, written_ms });
        }
        if let Some(example) = unknown.iter().next() {
            tracing::warn!(
                "{} entries of {} are no requests, such as {example:?}; they are left alone",
                unknown.len(),
                self.directory.display()
            );
        }
        bad.sort();
        self.bad = bad.into_iter().map(|(_, name)| name).collect();
        found.sort_by_key(|found| (found.written_ms, sequence(&found.file)));
        Ok(found)
    }

    /// Writes a request, and returns the name of its file. Blocks.
    ///
    /// # Errors
    /// That of the system. There is no file then.
    pub(crate) fn write(&self, instance: &str, sequence: u64, request: &Request) -> io::Result<String> {
        let name = name(instance, sequence, request);
        let path = self.directory.join(&name);
        if let Err(error) = self.put(&name, &request.body) {
            let _absent_or_stays = fs::remove_file(path);
            return Err(error);
        }
        Ok(name)
    }

    /// Writes the last window of this node whose rows were all written. Blocks.
    ///
    /// # Errors
    /// That of the system. The window of before is still there then.
    pub(crate) fn write_last_window(&self, window: &LastWindow, node: &str) -> io::Result<()> {
        self.put(window::FILE, window::encode(window, node).as_bytes())
    }

    /// Removes it: rows of a later one may be sent that are not here. Blocks.
    ///
    /// # Errors
    /// That of the system, but not if there is none.
    pub(crate) fn remove_last_window(&self) -> io::Result<()> {
        self.remove(window::FILE)
    }

    /// Writes a file as a whole.
    fn put(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let partial = self.directory.join(format!("{name}{PARTIAL}"));
        let renamed = self.write_to(&partial, bytes).and_then(|()| fs::rename(&partial, self.directory.join(name)));
        if renamed.is_err() {
            // A directory without room has room for this.
            let _absent_or_stays = fs::remove_file(partial);
        }
        renamed.and_then(|()| self.sync_directory())
    }

    fn sync_directory(&self) -> io::Result<()> {
        if self.fsync { File::open(&self.directory)?.sync_all() } else { Ok(()) }
    }

    fn write_to(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        file.write_all(bytes)?;
        if self.fsync { file.sync_all() } else { Ok(()) }
    }

    /// The bytes of a file. Blocks.
    ///
    /// # Errors
    /// That of the system.
    pub(crate) fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        // A pipe that took the file's place must not hold up the thread.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::open(self.directory.join(name), flags, Mode::empty())?);
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is no file"));
        }
        file.take(MAX_REQUEST_BYTES as u64 + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Removes a file. Blocks.
    ///
    /// # Errors
    /// That of the system, but not if there is none.
    pub(crate) fn remove(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.directory.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Renames a damaged file, and removes the oldest of those if there are too many. Blocks.
    ///
    /// # Errors
    /// That of the system.
    pub(crate) fn set_aside(&mut self, name: &str) -> io::Result<()> {
        let bad = format!("{name}{BAD}");
        match fs::rename(self.directory.join(name), self.directory.join(&bad)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            outcome => outcome?,
        }
        self.bad.push_back(bad);
        while self.bad.len() > MAX_BAD_FILES
            && let Some(oldest) = self.bad.pop_front()
        {
            self.remove(&oldest)?;
        }
        Ok(())
    }
}

/// The name of a request's file.
fn name(instance: &str, sequence: u64, request: &Request) -> String {
    let end = match request.encoding {
        Encoding::None => "",
        Encoding::Gzip => ".gz",
        Encoding::Zstd => ".zst",
    };
    format!("{instance}-{sequence:010}.{}.{}.otlp{end}", request.stream.label(), request.records)
}

/// Stream, number of records and encoding that a name has.
pub(crate) fn parse(name: &str) -> Option<(Stream, u32, Encoding)> {
    let mut parts = name.split('.');
    let (identity, stream, records, kind) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let (instance, sequence) = identity.rsplit_once('-')?;
    if instance.is_empty() || sequence.is_empty() || !sequence.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let stream = Stream::ALL.into_iter().find(|known| known.label() == stream)?;
    let encoding = match (kind, parts.next(), parts.next()) {
        ("otlp", None, None) => Encoding::None,
        ("otlp", Some("gz"), None) => Encoding::Gzip,
        ("otlp", Some("zst"), None) => Encoding::Zstd,
        _ => return None,
    };
    Some((stream, records.parse().ok().filter(|records| (1..=MAX_RECORDS).contains(records))?, encoding))
}

/// The number of a file among those of its process.
pub(crate) fn sequence(name: &str) -> u64 {
    let identity = name.split('.').next().unwrap_or_default();
    identity.rsplit_once('-').and_then(|(_, sequence)| sequence.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn request(stream: Stream, records: u32, encoding: Encoding) -> Request {
        Request { stream, records, plain_bytes: 3, encoding, body: Bytes::from_static(b"abc") }
    }

    fn config(directory: &Path) -> SpoolConfig {
        let max_age = std::time::Duration::from_hours(24);
        SpoolConfig { directory: directory.to_owned(), max_bytes: 1 << 20, max_age, fsync: true }
    }

    /// Names say what a file has; other names are no requests.
    #[test]
    fn names_are_read() {
        for (number, encoding) in Encoding::ALL.into_iter().enumerate() {
            let stream = Stream::ALL[number % 2];
            let name = name("a-b", 7, &request(stream, 12, encoding));
            assert_eq!(parse(&name), Some((stream, 12, encoding)), "{name}");
            assert_eq!(sequence(&name), 7);
        }
        for other in [
            "a-1.flows.1.otlp.lz4",
            "a-1.flows.1.otlp.gz.x",
            "a-1.flows.0.otlp",
            "a-1.flows.x.otlp",
            "a-1.spans.1.otlp",
            "-1.flows.1.otlp",
            "a-x.flows.1.otlp",
            "lock",
            "",
        ] {
            assert_eq!(parse(other), None, "{other}");
        }
    }

    /// Files of all processes are found, oldest first; what is half written is removed, and what is
    /// something else stays.
    #[test]
    fn files_are_found_again() {
        let base = tempfile::tempdir().unwrap();
        let (spool, found) = Spool::open(&config(base.path()), "main").unwrap();
        assert_eq!(found, []);
        assert!(Spool::open(&config(base.path()), "main").unwrap_err().contains("in use by another process"));
        assert!(Spool::open(&config(base.path()), "second").is_ok());
        let first = spool.write("one", 9, &request(Stream::Flows, 5, Encoding::Gzip)).unwrap();
        let second = spool.write("one", 10, &request(Stream::Rollups, 6, Encoding::None)).unwrap();
        let third = spool.write("two", 1, &request(Stream::Flows, 7, Encoding::Zstd)).unwrap();
        for (number, name) in [&first, &second, &third].into_iter().enumerate() {
            let time = UNIX_EPOCH + std::time::Duration::from_secs(100 + number as u64 / 2);
            File::options().write(true).open(spool.directory.join(name)).unwrap().set_modified(time).unwrap();
        }
        fs::write(spool.directory.join("x.partial"), "").unwrap();
        fs::create_dir(spool.directory.join("y.partial")).unwrap();
        fs::write(spool.directory.join("notes.txt"), "").unwrap();
        let directory = spool.directory.clone();
        drop(spool);
        let (mut spool, found) = Spool::open(&config(base.path()), "main").unwrap();
        let names: Vec<_> = found.iter().map(|found| (found.file.clone(), found.records, found.size)).collect();
        assert_eq!(names, [(first.clone(), 5, 3), (second.clone(), 6, 3), (third, 7, 3)]);
        assert_eq!(found[0].written_ms, 100_000);
        assert!(!directory.join("x.partial").exists() && directory.join("notes.txt").exists());
        assert!(directory.join("y.partial").is_dir(), "it is no file, and does not stand in the way");
        assert_eq!(spool.read(&first).unwrap(), b"abc");
        spool.remove(&first).unwrap();
        spool.remove(&first).unwrap();
        assert!(spool.read(&first).is_err());
        spool.set_aside(&second).unwrap();
        assert!(directory.join(format!("{second}.bad")).exists());
    }

    /// The ten youngest damaged files are kept, also of those that a process before has set aside.
    #[test]
    fn few_damaged_files_are_kept() {
        let base = tempfile::tempdir().unwrap();
        let mut last = String::new();
        for process in 0..3 {
            let (mut spool, _) = Spool::open(&config(base.path()), "main").unwrap();
            for number in 0..6 {
                last = spool.write("one", process * 6 + number, &request(Stream::Flows, 5, Encoding::Gzip)).unwrap();
                spool.set_aside(&last).unwrap();
            }
        }
        let entries = base.path().join("main").read_dir().unwrap().map(|entry| entry.unwrap().file_name());
        let names = entries.map(|name| name.into_string().unwrap()).filter(|name| name.ends_with(BAD));
        let mut numbers: Vec<u64> = names.map(|name| sequence(&name)).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (8..18).collect::<Vec<_>>());
        assert_eq!(sequence(&last), 17);
    }
}
