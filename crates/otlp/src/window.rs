//! The end of the last window of rows that a spool directory has, in a file beside them. The next
//! process takes the start of its gap record from it, and what its ledger goes on from.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::config::OutputConfig;

/// Name of the file.
pub(crate) const FILE: &str = "last-window";

/// What the file begins with.
const HEAD: &str = "webb window";

/// What stands before the node.
const OF: &str = " of ";

/// What stands before the time and the end of the line.
const ENDED: &str = " ended at unix ns ";

/// Bytes of the file at most.
const MAX_BYTES: u64 = 600;

/// A window that has ended, as the next process finds it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LastWindow {
    /// Unix time of its end.
    pub end_ns: u64,
    /// A line of the process that wrote it, for the next one; of printable ASCII, or empty.
    pub note: String,
}

/// The content of the file: node and time in one line, the note in another.
pub(crate) fn encode(window: &LastWindow, node: &str) -> String {
    let LastWindow { end_ns, note } = window;
    let of = if node.is_empty() { "" } else { OF };
    let line = format!("{HEAD}{of}{node}{ENDED}{end_ns}\n");
    if note.is_empty() { line } else { format!("{line}{note}\n") }
}

/// The window, and its node; that is empty in files of older versions.
fn decode(bytes: &[u8]) -> Option<(LastWindow, &str)> {
    let lines = std::str::from_utf8(bytes).ok()?.strip_prefix(HEAD)?.strip_suffix('\n')?;
    let (line, note) = lines.split_once('\n').map_or((lines, None), |(line, note)| (line, Some(note)));
    let (of, time) = line.rsplit_once(ENDED)?;
    let node = if of.is_empty() { of } else { of.strip_prefix(OF).filter(|node| !node.is_empty())? };
    let is_plain = time.bytes().all(|digit| digit.is_ascii_digit()) && !time.starts_with('0');
    let is_note = |note: &str| !note.is_empty() && note.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
    let end_ns = time.parse().ok().filter(|_| is_plain && note.is_none_or(is_note))?;
    Some((LastWindow { end_ns, note: note.unwrap_or_default().to_owned() }, node))
}

/// The last window whose rows are in the spool directory of an output or were delivered from there;
/// none without a directory, or where it has none. `node`: the name of this node. `now_ns`: the
/// Unix time. Blocks.
///
/// # Errors
/// If the file cannot be read, is something else or another node's, or names a time that is still
/// to come.
pub fn last_window(config: &OutputConfig, node: &str, now_ns: u64) -> Result<Option<LastWindow>, String> {
    let Some(spool) = &config.spool else { return Ok(None) };
    let path = spool.directory.join(&config.name).join(FILE);
    let failed = |why: &str| format!("{}: {why}", path.display());
    let bytes = match read(&path) {
        Ok(bytes) => bytes,
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(failed(&error.to_string())),
    };
    match decode(&bytes) {
        // Such as one of a volume that moved, or that nodes share.
        Some((_, of)) if !of.is_empty() && of != node => Err(failed(&format!("it is of node {of:?}, not of {node:?}"))),
        Some((window, _)) if window.end_ns > now_ns => Err(failed("its time is still to come")),
        Some((window, _)) => Ok(Some(window)),
        None => Err(failed("it is damaged")),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Errno> {
    // What took the file's place must not hold up the start.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let mut bytes = Vec::new();
    let read = file.take(MAX_BYTES).read_to_end(&mut bytes);
    read.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::*;
    use crate::config::SpoolConfig;

    /// What was written is read; what is missing, damaged, of the future, of another node or no
    /// file is not known.
    #[test]
    fn a_time_is_read_again() {
        let base = tempfile::tempdir().unwrap();
        let max_age = Duration::from_hours(1);
        let spool = SpoolConfig { directory: base.path().to_owned(), max_bytes: 1 << 20, max_age, fsync: false };
        let config = OutputConfig { spool: Some(spool), ..OutputConfig::named("main") };
        let known = |now| last_window(&config, "node-1", now);
        assert_eq!(last_window(&OutputConfig::named("main"), "node-1", u64::MAX), Ok(None));
        assert_eq!(known(u64::MAX), Ok(None));
        let (directory, now) = (base.path().join("main"), 1_700_000_000_000_000_000);
        let file = directory.join(FILE);
        fs::create_dir(&directory).unwrap();
        let window = |note: &str| LastWindow { end_ns: now, note: note.to_owned() };
        for note in ["seen 12 packets", ""] {
            fs::write(&file, encode(&window(note), "node-1")).unwrap();
            assert_eq!(known(now), Ok(Some(window(note))));
        }
        assert!(known(now - 1).unwrap_err().ends_with("last-window: its time is still to come"));
        fs::write(&file, encode(&window("a note"), "node-2")).unwrap();
        assert!(known(now).unwrap_err().ends_with("last-window: it is of node \"node-2\", not of \"node-1\""));
        // As older versions wrote it.
        fs::write(&file, format!("webb window ended at unix ns {now}\n")).unwrap();
        assert_eq!((known(now), encode(&window(""), "")), (Ok(Some(window(""))), fs::read_to_string(&file).unwrap()));
        let whole = encode(&window(""), "node-1");
        let head = whole.strip_suffix(&format!("{now}\n")).unwrap();
        let more = [format!("{whole}\n"), format!("{whole}a note"), format!("{whole}a\nb\n"), format!("{head}-1\n")];
        for damaged in
            ["", "17", &whole[..whole.len() - 1], head, &whole[12..]].into_iter().chain(more.iter().map(String::as_str))
        {
            fs::write(&file, damaged).unwrap();
            assert!(known(now).unwrap_err().ends_with("it is damaged"), "{damaged:?}");
        }
        fs::write(&file, vec![b'9'; 1 << 20]).unwrap();
        assert!(known(now).is_err());
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        assert!(known(now).is_err());
    }
}
