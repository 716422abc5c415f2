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

/// What the file begins with, before the time and the end of the line.
const HEAD: &str = "webb window ended at unix ns ";

/// Bytes of the file at most.
const MAX_BYTES: u64 = 400;

/// A window that has ended, as the next process finds it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LastWindow {
    /// Unix time of its end.
    pub end_ns: u64,
    /// A line of the process that wrote it, for the next one; of printable ASCII, or empty.
    pub note: String,
}

/// The content of the file: the time in one line, the note in another.
pub(crate) fn encode(window: &LastWindow) -> String {
    let LastWindow { end_ns, note } = window;
    if note.is_empty() { format!("{HEAD}{end_ns}\n") } else { format!("{HEAD}{end_ns}\n{note}\n") }
}

fn decode(bytes: &[u8]) -> Option<LastWindow> {
    let lines = std::str::from_utf8(bytes).ok()?.strip_prefix(HEAD)?.strip_suffix('\n')?;
    let (time, note) = lines.split_once('\n').map_or((lines, None), |(time, note)| (time, Some(note)));
    let is_plain = time.bytes().all(|digit| digit.is_ascii_digit()) && !time.starts_with('0');
    let is_note = |note: &str| !note.is_empty() && note.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
    let end_ns = time.parse().ok().filter(|_| is_plain && note.is_none_or(is_note))?;
    Some(LastWindow { end_ns, note: note.unwrap_or_default().to_owned() })
}

/// The last window whose rows are in the spool directory of an output or were delivered from there;
/// none without a directory, or where it has none. `now_ns`: the Unix time. Blocks.
///
/// # Errors
/// If the file cannot be read, is something else, or names a time that is still to come.
pub fn last_window(config: &OutputConfig, now_ns: u64) -> Result<Option<LastWindow>, String> {
    let Some(spool) = &config.spool else { return Ok(None) };
    let path = spool.directory.join(&config.name).join(FILE);
    let failed = |why: &str| format!("{}: {why}", path.display());
    let bytes = match read(&path) {
        Ok(bytes) => bytes,
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(failed(&error.to_string())),
    };
    match decode(&bytes) {
        Some(window) if window.end_ns > now_ns => Err(failed("its time is still to come")),
        Some(window) => Ok(Some(window)),
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

    /// What was written is read; what is missing, damaged, of the future or no file is not known.
    #[test]
    fn a_time_is_read_again() {
        let base = tempfile::tempdir().unwrap();
        let max_age = Duration::from_hours(1);
        let spool = SpoolConfig { directory: base.path().to_owned(), max_bytes: 1 << 20, max_age, fsync: false };
        let config = OutputConfig { spool: Some(spool), ..OutputConfig::named("main") };
        assert_eq!(last_window(&OutputConfig::named("main"), u64::MAX), Ok(None));
        assert_eq!(last_window(&config, u64::MAX), Ok(None));
        let (directory, now) = (base.path().join("main"), 1_700_000_000_000_000_000);
        let file = directory.join(FILE);
        fs::create_dir(&directory).unwrap();
        for note in ["seen 12 packets", ""] {
            let window = LastWindow { end_ns: now, note: note.to_owned() };
            fs::write(&file, encode(&window)).unwrap();
            assert_eq!(last_window(&config, now), Ok(Some(window)));
        }
        assert!(last_window(&config, now - 1).unwrap_err().ends_with("last-window: its time is still to come"));
        let whole = encode(&LastWindow { end_ns: now, note: String::new() });
        let more = [format!("{whole}\n"), format!("{whole}a note"), format!("{whole}a\nb\n"), format!("{HEAD}-1\n")];
        for damaged in ["", "17", &whole[..whole.len() - 1], HEAD].into_iter().chain(more.iter().map(String::as_str)) {
            fs::write(&file, damaged).unwrap();
            assert!(last_window(&config, now).unwrap_err().ends_with("it is damaged"), "{damaged:?}");
        }
        fs::write(&file, vec![b'9'; 1 << 20]).unwrap();
        assert!(last_window(&config, now).is_err());
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        assert!(last_window(&config, now).is_err());
    }
}
