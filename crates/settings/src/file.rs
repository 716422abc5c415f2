//! Files that others replace while the agent runs: metrics, names, certificates, the configuration.
//!
//! A ConfigMap or Secret is exchanged by turning a link, at some moment, without a word; an editor
//! writes anew. So the content decides whether a file has changed, and neither its time nor its
//! inode does. What is read is a regular file of bounded size: a FIFO would hold the reader up for
//! ever, and a device may have no end. Reading blocks, and a file system may hang: it is not done
//! on the thread that answers requests and signals.

use std::fs::File;
use std::hash::{BuildHasher, Hasher};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::str::Utf8Error;

use webb_flow::hash::RandomState;

use crate::confinement;

/// The most that a configuration, a file of metrics or a certificate may have: what a ConfigMap
/// may.
pub const MIB: u64 = 1 << 20;

/// Bytes that are read at a time where only their hash is wanted.
const CHUNK: usize = 64 << 10;

/// Error of reading a file.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Error from the system.
    #[error(transparent)]
    System(#[from] io::Error),
    /// The process's own confinement refuses it.
    #[error("{0} ({1})")]
    Confined(io::Error, &'static str),
    /// The path is something else.
    #[error("it is a {0}, and not a regular file")]
    NotRegular(&'static str),
    /// The file has no end, or more bytes than allowed.
    #[error("it has more than {0} bytes")]
    TooLong(u64),
    /// The content is something else.
    #[error("line {0} is not UTF-8")]
    NotText(u64),
}

/// Opens a regular file of at most `most` bytes, to be read as a stream.
///
/// # Errors
/// The reason for which the file is refused.
pub fn open(path: &Path, most: u64) -> Result<File, FileError> {
    // Without it, opening a FIFO waits for the other end.
    let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = File::options().read(true).custom_flags(nonblocking).open(path).map_err(|error| refused(path, error))?;
    let metadata = file.metadata()?;
    let kind = metadata.file_type();
    if !kind.is_file() {
        return Err(FileError::NotRegular(match () {
            () if kind.is_dir() => "directory",
            () if kind.is_fifo() => "FIFO",
            () if kind.is_socket() => "socket",
            () => "device",
        }));
    }
    if metadata.len() > most { Err(FileError::TooLong(most)) } else { Ok(file) }
}

/// Explains the error of opening this file.
pub fn refused(path: &Path, error: io::Error) -> FileError {
    match confinement::explain(path, &error) {
        Some(why) => FileError::Confined(error, why),
        None => FileError::System(error),
    }
}

/// Reads a regular file of at most `most` bytes.
///
/// # Errors
/// The reason for which the file is refused.
pub fn read(path: &Path, most: u64) -> Result<Vec<u8>, FileError> {
    let mut bytes = Vec::new();
    open(path, most)?.take(most + 1).read_to_end(&mut bytes)?;
    // It may have grown meanwhile, and files below /proc say that they are empty.
    if bytes.len() as u64 > most { Err(FileError::TooLong(most)) } else { Ok(bytes) }
}

/// Reads the file as text.
///
/// # Errors
/// As [`read`], and for bytes that are no text.
pub fn read_text(path: &Path, most: u64) -> Result<String, FileError> {
    text(read(path, most)?)
}

/// A file's content as text.
///
/// # Errors
/// If it is no text.
pub fn text(content: Vec<u8>) -> Result<String, FileError> {
    String::from_utf8(content).map_err(|error| not_text(error.as_bytes(), error.utf8_error(), 0))
}

/// The error of content that is no text, behind so many lines of a file.
pub fn not_text(content: &[u8], error: Utf8Error, lines_before: u64) -> FileError {
    let valid = content.get(..error.valid_up_to()).unwrap_or_default();
    FileError::NotText(lines_before + valid.split(|byte| *byte == b'\n').count() as u64)
}

/// The result of a poll of followed files.
#[derive(Debug)]
pub enum FilePoll {
    /// Unchanged since the last poll.
    Unchanged,
    /// The content that was last accepted is back.
    Accepted,
    /// Something else: the content of each file.
    Changed(Vec<Vec<u8>>),
    /// The file of this number cannot be read. Said once, then `Unchanged` until something about it
    /// changes.
    Unreadable(usize, FileError),
}

/// Files that are polled, and taken together.
#[derive(Debug)]
pub struct Followed {
    paths: Vec<PathBuf>,
    most: u64,
    hasher: RandomState,
    last: Option<LastPoll>,
    accepted: Option<u64>,
}

/// The result of the last poll.
#[derive(Debug, PartialEq, Eq)]
enum LastPoll {
    Content(u64),
    Unreadable(usize, String),
}

impl Followed {
    /// Files of at most `most` bytes each, which have not been polled yet.
    pub fn new(paths: impl IntoIterator<Item = PathBuf>, most: u64) -> Self {
        let paths = paths.into_iter().collect();
        Self { paths, most, hasher: RandomState::default(), last: None, accepted: None }
    }

    /// Files with content that has been read and accepted elsewhere.
    #[must_use]
    pub fn accepted_as(mut self, contents: &[&[u8]]) -> Self {
        let hash = self.hash(contents.iter().copied());
        self.last = Some(LastPoll::Content(hash));
        self.accepted = Some(hash);
        self
    }

    /// Polls the files. Blocks. What has not changed is never held as a whole: a manifest can have
    /// many megabytes, and is polled every few seconds.
    pub fn poll(&mut self) -> FilePoll {
        if let Some(LastPoll::Content(last)) = self.last
            && self.hash_of_files().is_some_and(|now| now == last)
        {
            return FilePoll::Unchanged;
        }
        let mut contents = Vec::with_capacity(self.paths.len());
        for (number, path) in self.paths.iter().enumerate() {
            match read(path, self.most) {
                Ok(content) => contents.push(content),
                Err(error) => {
                    let found = Some(LastPoll::Unreadable(number, error.to_string()));
                    if self.last == found {
                        return FilePoll::Unchanged;
                    }
                    self.last = found;
                    return FilePoll::Unreadable(number, error);
                }
            }
        }
        let hash = self.hash(contents.iter().map(Vec::as_slice));
        let found = Some(LastPoll::Content(hash));
        if self.last == found {
            return FilePoll::Unchanged;
        }
        self.last = found;
        if self.accepted == Some(hash) { FilePoll::Accepted } else { FilePoll::Changed(contents) }
    }

    /// Records that what the last poll found is in use.
    pub fn accept(&mut self) {
        if let Some(LastPoll::Content(hash)) = self.last {
            self.accepted = Some(hash);
        }
    }

    /// Invalidates what was found and accepted, so that the next poll returns the content whichever
    /// it is: other rules decide over it, or what became of it is not known.
    pub fn invalidate(&mut self) {
        (self.last, self.accepted) = (None, None);
    }

    fn hash<'a>(&self, contents: impl IntoIterator<Item = &'a [u8]>) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        for content in contents {
            content.chunks(CHUNK).for_each(|chunk| hasher.write(chunk));
            hasher.write_usize(content.len());
        }
        hasher.finish()
    }

    /// Hash of the files' present content; none if one of them cannot be read.
    fn hash_of_files(&self) -> Option<u64> {
        let (mut hasher, mut chunk) = (self.hasher.build_hasher(), Vec::with_capacity(CHUNK));
        for path in &self.paths {
            let mut file = open(path, self.most).ok()?.take(self.most + 1);
            let mut length = 0;
            loop {
                chunk.clear();
                let read = file.by_ref().take(CHUNK as u64).read_to_end(&mut chunk).ok()?;
                if read == 0 {
                    break;
                }
                hasher.write(&chunk);
                length += read;
            }
            hasher.write_usize(length);
        }
        Some(hasher.finish())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use super::*;

    /// A poll, in a word.
    fn word(followed: &mut Followed) -> String {
        match followed.poll() {
            FilePoll::Unchanged => "same".to_owned(),
            FilePoll::Accepted => "accepted".to_owned(),
            FilePoll::Changed(contents) => {
                format!(
                    "new {}",
                    contents.iter().map(|text| String::from_utf8_lossy(text)).collect::<Vec<_>>().join("+")
                )
            }
            FilePoll::Unreadable(number, error) => format!("{number}: {error}"),
        }
    }

    /// Each change of a file is reported once, and accepted content is recognised when it comes
    /// back.
    #[test]
    fn each_change_is_found_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let write = |text: &str| std::fs::write(&path, text).unwrap();
        let mut followed = Followed::new([path.clone()], 10);
        let mut polls = |expected: &str| {
            assert_eq!([word(&mut followed), word(&mut followed)], [expected, "same"]);
            if expected == "new good" {
                followed.accept();
            }
        };
        polls("0: No such file or directory (os error 2)");
        write("good");
        polls("new good");
        std::fs::remove_file(&path).unwrap();
        polls("0: No such file or directory (os error 2)");
        write("good");
        polls("accepted");
        write("bad");
        polls("new bad");
        write("good");
        polls("accepted");
        write("eleven byte");
        polls("0: it has more than 10 bytes");
        write("bad");
        polls("new bad");
        followed.invalidate();
        assert_eq!(word(&mut followed), "new bad");
        write("good");
        assert_eq!(word(&mut followed), "new good", "it may not be in use any more");
    }

    /// Files of many chunks: the hash of what is read as a whole is that of what is read in parts,
    /// and the last byte counts.
    #[test]
    fn large_files_are_compared_in_parts() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        for length in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK] {
            let mut content = vec![b'x'; length];
            std::fs::write(&path, &content).unwrap();
            let mut followed = Followed::new([path.clone()], MIB);
            assert!(matches!(followed.poll(), FilePoll::Changed(_)), "{length}");
            assert_eq!(followed.hash_of_files(), Some(followed.hash([content.as_slice()])), "{length}");
            assert_eq!(word(&mut followed), "same", "{length}");
            content.push(b'y');
            std::fs::write(&path, &content).unwrap();
            assert!(matches!(followed.poll(), FilePoll::Changed(_)), "{length}");
        }
    }

    /// A link that is turned exchanges the content, also where time, size and name of the files are
    /// the same.
    #[test]
    fn links_are_followed() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let link = |to: &str| {
            symlink(at(to), at("fresh")).unwrap();
            std::fs::rename(at("fresh"), at("..data")).unwrap();
        };
        for name in ["one", "two"] {
            std::fs::create_dir(at(name)).unwrap();
            for file in ["cert", "key"] {
                std::fs::write(at(name).join(file), name).unwrap();
            }
        }
        link("one");
        let mut followed = Followed::new([at("..data/cert"), at("..data/key")], MIB);
        assert_eq!(word(&mut followed), "new one+one");
        link("two");
        assert_eq!(word(&mut followed), "new two+two");
        std::fs::write(at("two/key"), "").unwrap();
        std::fs::write(at("two/cert"), "twotwo").unwrap();
        assert_eq!(word(&mut followed), "new twotwo+", "the same bytes in other files are another content");
        std::fs::remove_file(at("two/key")).unwrap();
        assert_eq!(word(&mut followed), "1: No such file or directory (os error 2)");
    }

    /// A path that is no regular file is refused, and never waited for.
    #[test]
    fn regular_files_alone_are_read() {
        let directory = tempfile::tempdir().unwrap();
        let fifo = directory.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        let socket = directory.path().join("socket");
        let _listener = UnixListener::bind(&socket).unwrap();
        let why = |path: &Path| read(path, MIB).unwrap_err().to_string();
        assert_eq!(why(&fifo), "it is a FIFO, and not a regular file");
        assert_eq!(why(Path::new("/dev/zero")), "it is a device, and not a regular file");
        assert_eq!(why(directory.path()), "it is a directory, and not a regular file");
        assert!(why(&socket).contains("os error 6"), "{}", why(&socket));
        assert!(read(Path::new("/proc/self/maps"), MIB).unwrap().len() > 100, "its size says that it is empty");
        assert!(matches!(read(Path::new("/proc/self/maps"), 100), Err(FileError::TooLong(100))));
        std::fs::write(directory.path().join("latin"), b"a: b\n\nc: caf\xe9\n").unwrap();
        let latin = read_text(&directory.path().join("latin"), MIB).unwrap_err();
        assert_eq!(latin.to_string(), "line 3 is not UTF-8");
    }
}
