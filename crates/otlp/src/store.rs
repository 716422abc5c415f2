//! The queue of an output from the side of its thread: with the spool directory behind it.
//!
//! A request is written to the directory before it is sent. Its bytes stay in memory while there is
//! room, so that nothing is read back unless a receiver is away. Without the directory (full,
//! read-only, in use by another process) requests wait in memory only; it is tried again after a
//! while. Files are written and read without the lock that those who offer requests take.

use std::collections::HashSet;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::config::SpoolConfig;
use crate::figures::Loss;
use crate::output::Output;
use crate::queue::Entry;
use crate::request::{Request, Stream};
use crate::spool::{MAX_FILES, Spool, sequence};
use crate::window::LastWindow;

/// Time after which a directory that cannot be used is tried again.
const RETRY_INTERVAL: Duration = Duration::from_secs(10);

/// Damaged requests at most that are passed over before the thread's next heartbeat.
const MAX_DAMAGED: usize = 16;

/// The queue and its directory.
#[derive(Debug)]
pub(crate) struct Store<'a> {
    output: &'a Output,
    spool: Option<Spool>,
    /// Time of the next attempt to open or to write.
    retry_at: Instant,
    problem: String,
    /// The end of a window that was written last, or was tried.
    last_window: Option<LastWindow>,
    /// That it cannot be written was said.
    said_window: bool,
}

/// Whether there is room for a file.
#[derive(Debug, PartialEq, Eq)]
enum Room {
    Free,
    /// There will be, once what is under way has arrived.
    Later,
    /// Nothing may go for it.
    None,
}

impl<'a> Store<'a> {
    /// The store of an output, at the beginning of a run: nothing is under way.
    pub(crate) fn new(output: &'a Output) -> Self {
        output.state().queue.iter_mut().for_each(|entry| entry.sending = false);
        let problem = String::new();
        Self { output, spool: None, retry_at: Instant::now(), problem, last_window: None, said_window: false }
    }

    /// What is wrong with the directory; empty if nothing is.
    pub(crate) fn problem(&self) -> &str {
        &self.problem
    }

    /// Opens the directory, writes what has no file, drops what is too old.
    pub(crate) fn maintain(&mut self, now: Instant) {
        let output = self.output;
        if let Some(config) = &output.config.spool {
            if now >= self.retry_at {
                self.check();
                self.open(config, now);
                self.save(config, now);
            }
            let limit = output.now_ms().saturating_sub(u64::try_from(config.max_age.as_millis()).unwrap_or(u64::MAX));
            while let Some(id) = self.oldest(|entry| entry.created_ms < limit) {
                self.drop(id, Loss::TooOld);
            }
        }
        let state = output.state();
        output.figures.set_queue_bytes(state.queue.memory());
        output.figures.set_spool(state.queue.files(), state.queue.spooled());
    }

    /// Writes what has no file yet, at the end of a run.
    pub(crate) fn save_all(&mut self) {
        if let Some(config) = &self.output.config.spool {
            self.save(config, Instant::now());
        }
    }

    /// Closes the directory if it was removed or replaced, so that it is made again: without its
    /// lock another process could use it too.
    fn check(&mut self) {
        if self.spool.take_if(|spool| !spool.is_held()).is_some() {
            self.last_window = None;
            self.output.figures.count_spool_error();
            let name = &self.output.config.name;
            tracing::warn!(output = name, "the spool directory was removed or replaced: it is opened anew");
        }
    }

    fn open(&mut self, config: &SpoolConfig, now: Instant) {
        if self.spool.is_some() {
            return;
        }
        let (spool, found) = match Spool::open(config, &self.output.config.name) {
            Ok(opened) => opened,
            Err(why) => return self.fail(format!("{why}; requests wait in memory"), now),
        };
        let mut state = self.output.state();
        let there: HashSet<&str> = found.iter().map(|found| found.file.as_str()).collect();
        state.queue.keep_files(|file| there.contains(file));
        drop(there);
        // An output before, of this process, may have left files that are not to be replaced.
        self.output.continue_sequence(found.iter().map(|found| sequence(&found.file)).max());
        let known: HashSet<String> = state.queue.iter().filter_map(|entry| entry.file.clone()).collect();
        let found = found.into_iter().filter(|found| !known.contains(&found.file));
        for found in found.rev() {
            self.output.figures.offered(found.stream, found.records);
            state.queue.prepend_file(found);
        }
        drop(state);
        self.spool = Some(spool);
        // Files of before may be more than are allowed now.
        let _within_bounds = self.room(0, config, Stream::Rollups) == Room::Free;
    }

    fn save(&mut self, config: &SpoolConfig, now: Instant) {
        // What is offered from here on may be of a later window.
        let last_window = self.output.state().last_window.clone();
        while self.spool.is_some() {
            let Some((id, request)) = self.output.state().queue.unsaved() else {
                self.problem.clear();
                return self.save_last_window(last_window);
            };
            match self.room(request.body.len() as u64, config, request.stream) {
                Room::Free => {}
                Room::Later => return,
                Room::None => {
                    self.drop(id, Loss::SpoolFull);
                    continue;
                }
            }
            let sequence = self.output.next_sequence();
            let Some(spool) = &self.spool else { return };
            match spool.write(&self.output.instance, sequence, &request) {
                Ok(file) => {
                    let is_wanted = self.output.state().queue.saved(id, &file);
                    // It was dropped for a younger one meanwhile, and is counted as that.
                    if !is_wanted && let Err(error) = spool.remove(&file) {
                        return self.fail_io("cannot remove a file from", &error, now);
                    }
                }
                Err(error) => return self.fail_io("cannot write to", &error, now),
            }
        }
    }

    /// Writes when the last window ended whose rows are written. That this fails costs no row, so
    /// nothing waits for it, and the next window tries again.
    fn save_last_window(&mut self, window: Option<LastWindow>) {
        let Some(spool) = self.spool.as_ref().filter(|_| window != self.last_window) else { return };
        let written = window.as_ref().map_or(Ok(()), |window| spool.write_last_window(window, &self.output.node));
        self.last_window = window;
        if let Err(error) = written {
            let _absent_or_stays = spool.remove_last_window();
            self.output.figures.count_spool_error();
            if !std::mem::replace(&mut self.said_window, true) {
                let name = &self.output.config.name;
                tracing::warn!(output = name, "the end of a window cannot be written to the spool directory: {error}");
            }
        }
    }

    /// Makes room for a file: the oldest flows go, then, for rollups, the oldest rollups.
    fn room(&mut self, size: u64, config: &SpoolConfig, stream: Stream) -> Room {
        let victims = match stream {
            Stream::Flows => &[Stream::Flows][..],
            Stream::Rollups => &[Stream::Flows, Stream::Rollups],
        };
        if size > config.max_bytes {
            return Room::None;
        }
        loop {
            let (spooled, files) = {
                let state = self.output.state();
                (state.queue.spooled(), state.queue.files())
            };
            let new_files = usize::from(size > 0);
            if spooled + size <= config.max_bytes && files + new_files <= MAX_FILES {
                return Room::Free;
            }
            let oldest = self.output.state().queue.oldest(victims, |entry| entry.file.is_some());
            if let Some(id) = oldest {
                self.drop(id, Loss::SpoolFull);
            } else if self.output.state().queue.iter().any(|entry| entry.sending && entry.file.is_some()) {
                return Room::Later;
            } else {
                return Room::None;
            }
        }
    }

    fn oldest(&self, fits: impl Fn(&Entry) -> bool) -> Option<u64> {
        self.output.state().queue.oldest(&[Stream::Flows, Stream::Rollups], fits)
    }

    /// The request to be sent next, which counts as under way from now on. None if there is none;
    /// or after some damaged ones, and then the thread's next wait ends at once. `now` is for what
    /// fails.
    pub(crate) fn next(&mut self, now: Instant) -> Option<(u64, Request)> {
        let mut damaged = 0;
        while damaged < MAX_DAMAGED {
            let (id, request, file) = {
                let state = self.output.state();
                let entry = state.queue.get(state.queue.next(self.spool.is_some())?)?;
                // Without a body it is the request but for that.
                (entry.id, entry.request(), entry.file.clone())
            };
            let request = if request.body.is_empty() {
                let file = file?;
                match self.read(&file, &request) {
                    Ok(Some(read)) => read,
                    Ok(None) => {
                        self.set_aside(id, &file, now);
                        damaged += 1;
                        continue;
                    }
                    Err(error) => {
                        self.fail_io("cannot read from", &error, now);
                        return None;
                    }
                }
            } else {
                request
            };
            let (is_refused, accepted, max_bytes) = {
                let state = self.output.state();
                (state.is_refused(request.encoding), state.encoding, state.max_bytes)
            };
            let changed = if request.plain_bytes > max_bytes && request.records > 1 {
                request.halves().map(|halves| halves.map(Vec::from))
            } else if is_refused {
                request.recoded(accepted).map(|recoded| Some(vec![recoded]))
            } else {
                Ok(None)
            };
            match changed {
                Ok(None) => {
                    self.output.state().queue.get_mut(id)?.sending = true;
                    return Some((id, request));
                }
                Ok(Some(requests)) => self.replace(id, requests),
                Err(error) => {
                    tracing::error!(output = self.output.config.name, "a request is damaged: {error}");
                    self.drop(id, Loss::Corrupted);
                    damaged += 1;
                }
            }
        }
        self.output.wake();
        None
    }

    /// Reads the file of a request; none if it is gone, or something else.
    fn read(&self, file: &str, request: &Request) -> io::Result<Option<Request>> {
        let Some(spool) = &self.spool else { return Err(io::Error::other("it is not open")) };
        let body = match spool.read(file) {
            Ok(body) => Bytes::from(body),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let why = match Request::inspect(request.encoding, &body) {
            Ok((records, plain_bytes)) if records == request.records => {
                return Ok(Some(Request { plain_bytes, body, ..request.clone() }));
            }
            Ok((records, _)) => format!("it has {records} records"),
            Err(error) => error.to_string(),
        };
        tracing::warn!(output = self.output.config.name, "the spool file {file} is damaged: {why}");
        Ok(None)
    }

    fn set_aside(&mut self, id: u64, file: &str, now: Instant) {
        let outcome = self.spool.as_mut().map_or(Ok(()), |spool| spool.set_aside(file));
        self.output.figures.count_bad_file();
        if let Some(entry) = self.output.state().queue.remove(id) {
            self.output.figures.dropped(entry.stream, Loss::Corrupted, entry.records);
        }
        if let Err(error) = outcome {
            self.fail_io("cannot set a damaged file aside in", &error, now);
        }
    }

    /// A request is not under way any more.
    pub(crate) fn release(&mut self, id: u64) {
        if let Some(entry) = self.output.state().queue.get_mut(id) {
            entry.sending = false;
        }
    }

    /// Counts an answer that is doubtful; true if there were too many.
    pub(crate) fn doubt(&mut self, id: u64, most: u8) -> bool {
        self.output.state().queue.get_mut(id).is_some_and(|entry| {
            entry.doubtful += 1;
            entry.doubtful >= most
        })
    }

    /// Removes a request and its file.
    pub(crate) fn remove(&mut self, id: u64) -> Option<Entry> {
        let entry = self.output.state().queue.remove(id)?;
        if let (Some(file), Some(spool)) = (&entry.file, &self.spool)
            && let Err(error) = spool.remove(file)
        {
            // The receiver will get it once more, from the next process.
            self.fail_io("cannot remove a file from", &error, Instant::now());
        }
        Some(entry)
    }

    /// Drops a request.
    pub(crate) fn drop(&mut self, id: u64, reason: Loss) {
        if let Some(entry) = self.remove(id) {
            self.output.figures.dropped(entry.stream, reason, entry.records);
        }
    }

    /// Puts requests with the same records in the place of another.
    pub(crate) fn replace(&mut self, id: u64, requests: Vec<Request>) {
        let old = self.output.state().queue.replace(id, requests);
        self.save_all();
        if let (Some(file), Some(spool)) = (old.and_then(|old| old.file), &self.spool)
            && let Err(error) = spool.remove(&file)
        {
            self.fail_io("cannot remove a file from", &error, Instant::now());
        }
    }

    fn fail_io(&mut self, doing: &str, error: &io::Error, now: Instant) {
        let directory = self.output.config.spool.as_ref().map(|spool| spool.directory.display().to_string());
        let directory = directory.unwrap_or_default();
        self.fail(format!("{doing} the spool directory {directory}: {error}; requests wait in memory"), now);
    }

    fn fail(&mut self, why: String, now: Instant) {
        // Rows of the next window are sent from memory, and the one that is noted is not the last
        // then. A directory without room has room for this.
        if let Some(spool) = &self.spool {
            let _absent_or_stays = spool.remove_last_window();
            self.last_window = None;
        }
        self.output.figures.count_spool_error();
        self.problem = why;
        self.retry_at = now + RETRY_INTERVAL;
    }
}
