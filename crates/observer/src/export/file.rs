//! The file that lines go to: whole lines by one call each, another file when it is full.
//!
//! A line that was cut by a kill in the middle of a write is the last one of its file: it is cut
//! off when the file is opened. What a write leaves of a line, since the disk is full, is cut off
//! at once. A file that others have moved away or removed is begun anew.

use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use super::backups::{self, Backups};
use super::config::{ExportConfig, InvalidPath, Rotation, Target};
use super::directory;

/// Permissions of new files and directories.
const FILE_MODE: u32 = 0o644;
const DIRECTORY_MODE: u32 = 0o755;

/// Bytes at the end of a file in which its last line begins, if it is one of flows.
const LONGEST_LINE: u64 = 16 << 20;

/// Why lines were not written.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    #[error("{0}")]
    Path(#[from] InvalidPath),
    #[error("{0}")]
    System(#[from] io::Error),
}

/// The place of one exporter's lines.
#[derive(Debug)]
pub(super) enum Sink {
    /// Standard output, and the bytes of the next line that are there already.
    Stdout(usize),
    File(Box<Rotated>),
}

/// What was done besides writing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Written {
    /// Bytes of whole lines that were written.
    pub(super) bytes: usize,
    /// Files that were begun because the one before was full or old.
    pub(super) rotations: u64,
}

impl Sink {
    pub(super) fn new(config: &ExportConfig) -> Self {
        match &config.target {
            Target::Stdout => Self::Stdout(0),
            Target::File { path, directory } => Self::File(Box::new(Rotated {
                path: path.clone(),
                directory: directory.clone(),
                rotation: config.rotation.clone(),
                sync: config.sync,
                open: None,
                backups: Backups::new(&config.rotation),
            })),
        }
    }

    /// Bytes of a line at most.
    pub(super) fn longest_line(&self) -> u64 {
        match self {
            Self::Stdout(_) => u64::MAX,
            Self::File(file) => file.rotation.max_bytes,
        }
    }

    /// Writes whole lines, none of them longer than [`Sink::longest_line`]. With an error, those
    /// that `written` has are written nevertheless.
    pub(super) fn write(&mut self, lines: &[u8], written: &mut Written) -> Result<(), WriteError> {
        match self {
            Self::Stdout(partial) => Ok(write_stdout(lines, partial, written)?),
            Self::File(file) => file.write(lines, written),
        }
    }

    /// Time until lines must be forced to the disk; none if all are there.
    pub(super) fn sync_wait(&self, now: Instant) -> Option<Duration> {
        let Self::File(file) = self else { return None };
        let since = file.open.as_ref()?.unsynced?;
        Some(file.sync?.saturating_sub(now.saturating_duration_since(since)))
    }

    /// Forces lines to the disk, if it is time.
    pub(super) fn sync(&mut self, now: Instant) -> Result<(), WriteError> {
        if self.sync_wait(now).is_some_and(|wait| wait.is_zero())
            && let Self::File(file) = self
            && let Some(open) = &mut file.open
        {
            open.unsynced = None;
            open.file.sync_data()?;
        }
        Ok(())
    }

    /// Closes the file. Waits for what is compressed.
    pub(super) fn close(&mut self) -> Result<(), WriteError> {
        let Self::File(file) = self else { return Ok(()) };
        if let Some(open) = file.open.take()
            && open.unsynced.is_some()
            && file.sync.is_some()
        {
            open.file.sync_data()?;
        }
        Ok(file.backups.finish()?)
    }
}

/// A file, and those before it.
#[derive(Debug)]
pub(super) struct Rotated {
    path: PathBuf,
    directory: PathBuf,
    rotation: Rotation,
    sync: Option<Duration>,
    open: Option<Open>,
    backups: Backups,
}

/// The file that is open.
#[derive(Debug)]
struct Open {
    file: File,
    /// Behind all links.
    path: PathBuf,
    device: u64,
    inode: u64,
    bytes: u64,
    begun: SystemTime,
    /// True if the end of the file may be part of a line.
    torn: bool,
    unsynced: Option<Instant>,
}

impl Rotated {
    /// Writes lines; without any, the file is opened all the same.
    fn write(&mut self, mut lines: &[u8], written: &mut Written) -> Result<(), WriteError> {
        self.opened()?;
        while !lines.is_empty() {
            let max = self.rotation.max_bytes;
            let open = self.opened()?;
            let room = usize::try_from(max.saturating_sub(open.bytes)).unwrap_or(usize::MAX);
            let fits = if lines.len() <= room { lines.len() } else { whole_lines(lines.get(..room).unwrap_or(lines)) };
            let is_old = open.bytes > 0 && self.is_old();
            if fits == 0 || is_old {
                self.rotate()?;
                written.rotations += 1;
                continue;
            }
            let (now, rest) = lines.split_at_checked(fits).unwrap_or((lines, &[]));
            self.append(now, written)?;
            lines = rest;
        }
        Ok(())
    }

    fn is_old(&self) -> bool {
        let age = self.open.as_ref().map(|open| open.begun.elapsed().unwrap_or_default());
        self.rotation.max_age.is_some_and(|max| age.is_some_and(|age| age >= max))
    }

    /// Appends whole lines by one call. Where there is no room for all, the rest of a line that is
    /// there in part is cut off.
    fn append(&mut self, lines: &[u8], written: &mut Written) -> Result<(), WriteError> {
        let open = self.opened()?;
        if open.torn {
            open.file.set_len(open.bytes)?;
            open.torn = false;
        }
        let mut count = 0;
        let mut outcome = Ok(());
        // A write that is cut short is no error; the next one is.
        while let Some(rest) = lines.get(count..).filter(|rest| !rest.is_empty()) {
            match open.file.write(rest) {
                Ok(0) => outcome = Err(io::Error::from(io::ErrorKind::WriteZero)),
                Ok(more) => count += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => outcome = Err(error),
            }
            if outcome.is_err() {
                break;
            }
        }
        let whole = whole_lines(lines.get(..count).unwrap_or_default());
        open.bytes += whole as u64;
        written.bytes += whole;
        open.unsynced.get_or_insert_with(Instant::now);
        if whole < count {
            open.torn = true;
            open.file.set_len(open.bytes)?;
            open.torn = false;
        }
        Ok(outcome?)
    }

    /// The open file, the one that the path leads to.
    fn opened(&mut self) -> Result<&mut Open, WriteError> {
        if self.open.as_ref().is_some_and(|open| !open.is_current()) {
            self.open = None;
        }
        match &mut self.open {
            Some(open) => Ok(open),
            empty @ None => {
                let path = directory::resolve(&self.path, &self.directory)?;
                if let Some(parent) = path.parent() {
                    DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(parent)?;
                }
                Ok(empty.insert(Open::new(path, FILE_MODE)?))
            }
        }
    }

    /// Closes the full file and begins another, with the permissions of that.
    fn rotate(&mut self) -> Result<(), WriteError> {
        let Some(open) = self.open.take() else { return Ok(()) };
        if self.sync.is_some() && open.unsynced.is_some() {
            open.file.sync_data()?;
        }
        let mode = open.file.metadata()?.permissions().mode() & 0o777;
        std::fs::rename(&open.path, backups::name(&open.path, SystemTime::now()))?;
        let new = Open::new(open.path, mode)?;
        if let Err(error) = self.backups.tidy(&new.path) {
            tracing::warn!(file = %new.path.display(), "old flow logs are not removed or compressed: {error}");
        }
        self.open = Some(new);
        Ok(())
    }
}

impl Open {
    fn new(path: PathBuf, mode: u32) -> Result<Self, WriteError> {
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(mode)
            .custom_flags(i32::try_from(flags.bits()).unwrap_or_default())
            .open(&path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(InvalidPath::NotRegular(path).into());
        }
        let bytes = without_torn_line(&mut file, &path, metadata.len())?;
        let begun = begun(&metadata);
        let (device, inode) = (metadata.dev(), metadata.ino());
        Ok(Self { file, path, device, inode, bytes, begun, torn: false, unsynced: None })
    }

    /// True if the path still leads to this file.
    fn is_current(&self) -> bool {
        let found = self.path.symlink_metadata();
        found.is_ok_and(|found| found.dev() == self.device && found.ino() == self.inode)
    }
}

/// Writes lines to standard output, of which nothing can be taken back: `partial` bytes of the
/// first one are there, and at an error those of the next one.
fn write_stdout(lines: &[u8], partial: &mut usize, written: &mut Written) -> io::Result<()> {
    let stdout = io::stdout();
    let mut at = *partial;
    while let Some(rest) = lines.get(at..).filter(|rest| !rest.is_empty()) {
        match rustix::io::write(&stdout, rest) {
            Ok(count) => at += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => {
                written.bytes = whole_lines(lines.get(..at).unwrap_or_default());
                *partial = at - written.bytes;
                return Err(error.into());
            }
        }
    }
    (*partial, written.bytes) = (0, lines.len());
    Ok(())
}

/// The time at which a file was made, where the file system knows it.
fn begun(metadata: &Metadata) -> SystemTime {
    metadata.created().unwrap_or_else(|_| SystemTime::now())
}

/// Cuts off a last line that has no end; returns the bytes that are left.
fn without_torn_line(file: &mut File, path: &Path, bytes: u64) -> io::Result<u64> {
    const BLOCK: u64 = 4096;
    let mut end = bytes;
    let mut block = Vec::new();
    let whole = loop {
        let start = end.saturating_sub(BLOCK);
        file.seek(SeekFrom::Start(start))?;
        block.clear();
        (&mut *file).take(end - start).read_to_end(&mut block)?;
        match block.iter().rposition(|byte| *byte == b'\n') {
            Some(at) => break start + at as u64 + 1,
            None if start == 0 => break 0,
            None if bytes - start > LONGEST_LINE => {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "it is no file of lines"));
            }
            None => end = start,
        }
    };
    if whole < bytes {
        tracing::warn!(file = %path.display(), bytes = bytes - whole, "cut off the last line, which had no end");
        file.set_len(whole)?;
    }
    Ok(whole)
}

/// Bytes of the lines that are whole.
fn whole_lines(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1)
}
