//! The files before the current one: their names, how many are kept, their compression.
//!
//! The names are Hubble's, `events-2026-01-31T12-00-00.000.log` for `events.log`, and others' files
//! are left alone. Compression is a thread's work: it is begun by a rotation, and what a process
//! that was killed left half done is done by the next.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use flate2::Compression;
use flate2::write::GzEncoder;
use webb_flow::date::date;

use super::config::Rotation;

/// Ending of a compressed file, and of one that is being compressed.
const COMPRESSED: &str = ".gz";
const UNFINISHED: &str = ".gz.tmp";

/// Letters of a time in a name.
const TIME: usize = "2026-01-31T12-00-00.000".len();

/// The files before a current one.
#[derive(Debug)]
pub(super) struct Backups {
    keep: usize,
    compress: bool,
    tidying: Option<JoinHandle<io::Result<()>>>,
}

impl Backups {
    pub(super) fn new(rotation: &Rotation) -> Self {
        Self {
            keep: usize::try_from(rotation.backups).unwrap_or(usize::MAX),
            compress: rotation.compress,
            tidying: None,
        }
    }

    /// Removes the oldest files before `path` and compresses the others, on a thread.
    ///
    /// # Errors
    /// Why the work before this one failed, or the thread cannot be started.
    pub(super) fn tidy(&mut self, path: &Path) -> io::Result<()> {
        if self.keep == 0 && !self.compress {
            return Ok(());
        }
        // A rotation that comes while the last one's file is compressed waits for that: otherwise
        // files would come faster than they are compressed.
        let before = self.finish();
        let (path, keep, compress) = (path.to_owned(), self.keep, self.compress);
        let work = move || tidy(&path, keep, compress);
        self.tidying = Some(std::thread::Builder::new().name("export-tidy".to_owned()).spawn(work)?);
        before
    }

    /// Waits for the thread.
    ///
    /// # Errors
    /// Why its work failed.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        let ended = self.tidying.take().map(JoinHandle::join);
        ended.unwrap_or(Ok(Ok(()))).unwrap_or_else(|_| Err(io::Error::other("the thread that compresses panicked")))
    }
}

/// The name for a file that is closed at `time`, which no other file has.
pub(super) fn name(path: &Path, time: SystemTime) -> PathBuf {
    let (stem, ending) = parts(path);
    let mut at = time;
    loop {
        let candidate = path.with_file_name(format!("{stem}-{}{ending}", stamp(at)));
        let compressed = with_ending(&candidate, COMPRESSED);
        if candidate.symlink_metadata().is_err() && compressed.symlink_metadata().is_err() {
            return candidate;
        }
        at += Duration::from_millis(1);
    }
}

fn tidy(path: &Path, keep: usize, compress: bool) -> io::Result<()> {
    let mut backups = list(path)?;
    // The newest first.
    backups.sort_by(|a, b| b.0.cmp(&a.0));
    let kept = if keep == 0 { usize::MAX } else { keep };
    let mut outcome = Ok(());
    for (at, (_, file)) in backups.into_iter().enumerate() {
        let done = if at >= kept {
            fs::remove_file(&file)
        } else if compress && !file.as_os_str().as_encoded_bytes().ends_with(COMPRESSED.as_bytes()) {
            self::compress(&file)
        } else {
            Ok(())
        };
        // The others are not to wait for one that cannot be handled.
        outcome = outcome.and(done);
    }
    outcome
}

/// The files before `path`, each with the time in its name; what was left unfinished is removed.
fn list(path: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let (stem, ending) = parts(path);
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(rest) = name.to_str().and_then(|name| name.strip_prefix(&stem)?.strip_prefix('-')) else { continue };
        let Some((time, rest)) = rest.split_at_checked(TIME) else { continue };
        let Some(rest) = is_stamp(time).then(|| rest.strip_prefix(&*ending)).flatten() else { continue };
        match rest {
            "" | COMPRESSED => found.push((time.to_owned(), entry.path())),
            UNFINISHED => fs::remove_file(entry.path())?,
            _ => {}
        }
    }
    Ok(found)
}

fn compress(file: &Path) -> io::Result<()> {
    let unfinished = with_ending(file, UNFINISHED);
    let written = write_compressed(file, &unfinished);
    if written.is_err() {
        // A disk without room has some again without it.
        let _gone = fs::remove_file(&unfinished);
        return written;
    }
    fs::rename(&unfinished, with_ending(file, COMPRESSED))?;
    fs::remove_file(file)
}

fn write_compressed(file: &Path, to: &Path) -> io::Result<()> {
    let mut from = File::open(file)?;
    let mode = std::os::unix::fs::MetadataExt::mode(&from.metadata()?);
    let mut options = File::options();
    std::os::unix::fs::OpenOptionsExt::mode(options.write(true).create(true).truncate(true), mode & 0o777);
    let mut encoder = GzEncoder::new(BufWriter::new(options.open(to)?), Compression::default());
    io::copy(&mut from, &mut encoder)?;
    encoder.finish()?.flush()
}

/// The name without its ending, and the ending with its dot.
fn parts(path: &Path) -> (String, String) {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    match name.rfind('.') {
        Some(dot) => {
            let (stem, ending) = name.split_at(dot);
            (stem.to_owned(), ending.to_owned())
        }
        None => (name, String::new()),
    }
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// `2026-01-31T12-00-00.000`, in UTC.
fn stamp(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let millis = since.subsec_millis();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}-{minute:02}-{second:02}.{millis:03}")
}

fn is_stamp(text: &str) -> bool {
    let like = "0000-00-00T00-00-00.000";
    let fits = |(letter, like): (u8, u8)| if like == b'0' { letter.is_ascii_digit() } else { letter == like };
    text.len() == like.len() && text.bytes().zip(like.bytes()).all(fits)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    /// Names are Hubble's, and no two files have the same.
    #[test]
    fn names() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("events.log");
        let time = UNIX_EPOCH + Duration::from_millis(1_764_112_854_421);
        let first = name(&path, time);
        assert_eq!(first, scratch.path().join("events-2025-11-25T23-20-54.421.log"));
        fs::write(&first, "").unwrap();
        fs::write(scratch.path().join("events-2025-11-25T23-20-54.422.log.gz"), "").unwrap();
        assert_eq!(name(&path, time), scratch.path().join("events-2025-11-25T23-20-54.423.log"));
        assert_eq!(name(Path::new("/a/flows"), time), Path::new("/a/flows-2025-11-25T23-20-54.421"));
    }

    /// The oldest go, the others are compressed, also those that a process before left; files of
    /// other names stay as they are, and half a compression is not taken for a whole.
    #[test]
    fn oldest_go_and_others_are_compressed() {
        let scratch = tempfile::tempdir().unwrap();
        let at = |name: &str| scratch.path().join(name);
        let stamps = ["01", "02", "03", "04"].map(|day| format!("events-2026-01-{day}T00-00-00.000.log"));
        for stamp in &stamps {
            fs::write(at(stamp), stamp).unwrap();
        }
        fs::write(at(&format!("{}.gz.tmp", stamps[2])), "half").unwrap();
        let others = ["events-2026.log", "events-yesterdayT00-00-00.000.log", "other-2026-01-01T00-00-00.000.log"];
        for other in others {
            fs::write(at(other), other).unwrap();
        }
        let rotation = Rotation { max_bytes: 1, backups: 3, compress: true, max_age: None };
        let mut backups = Backups::new(&rotation);
        backups.tidy(&at("events.log")).unwrap();
        backups.finish().unwrap();
        let mut left: Vec<_> = fs::read_dir(scratch.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        let mut expected: Vec<_> = stamps[1..].iter().map(|stamp| format!("{stamp}.gz")).collect();
        expected.extend(others.map(str::to_owned));
        expected.sort();
        assert_eq!(left, expected);
        let mut text = String::new();
        let bytes = File::open(at(&expected[1])).unwrap();
        flate2::read::GzDecoder::new(bytes).read_to_string(&mut text).unwrap();
        assert_eq!(Some(text.as_str()), expected[1].strip_suffix(".gz"));
    }
}
