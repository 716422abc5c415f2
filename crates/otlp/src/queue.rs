//! Requests that wait, in memory and in files, oldest first.
//!
//! Bytes in memory are bounded. What has a file gives up its bytes first, which loses nothing; then
//! the oldest request of flows goes, then the oldest of rollups. What is under way stays.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::encoding::Encoding;
use crate::request::{Request, Stream};
use crate::spool::Found;

/// A request that waits.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) id: u64,
    pub(crate) stream: Stream,
    pub(crate) records: u32,
    /// Bytes before compression; 0 if that is not known yet.
    pub(crate) plain_bytes: usize,
    pub(crate) encoding: Encoding,
    /// Bytes of the body.
    pub(crate) size: u64,
    /// The body, unless it has to be read from the file.
    pub(crate) body: Option<Bytes>,
    /// Name of its file in the spool directory.
    pub(crate) file: Option<String>,
    /// Time at which it was made, in milliseconds since 1970.
    pub(crate) created_ms: u64,
    /// True while it is under way.
    pub(crate) sending: bool,
    /// Answers so far that are retried a few times only.
    pub(crate) doubtful: u8,
}

impl Entry {
    /// The request. Its body is empty if that has to be read.
    pub(crate) fn request(&self) -> Request {
        Request {
            stream: self.stream,
            records: self.records,
            plain_bytes: self.plain_bytes,
            encoding: self.encoding,
            body: self.body.clone().unwrap_or_default(),
        }
    }
}

/// A request that was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dropped {
    pub(crate) stream: Stream,
    pub(crate) records: u32,
}

/// All requests of an output.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    streams: [VecDeque<Entry>; Stream::ALL.len()],
    next_id: u64,
    memory: u64,
    spooled: u64,
    files: usize,
}

impl Queue {
    /// Bytes of bodies in memory.
    pub(crate) fn memory(&self) -> u64 {
        self.memory
    }

    /// Bytes of files.
    pub(crate) fn spooled(&self) -> u64 {
        self.spooled
    }

    /// Number of files.
    pub(crate) fn files(&self) -> usize {
        self.files
    }

    /// True if nothing waits or is under way.
    pub(crate) fn is_empty(&self) -> bool {
        self.streams.iter().all(VecDeque::is_empty)
    }

    /// All entries, those of rollups first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.streams.iter().flatten()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.streams.iter_mut().flatten()
    }

    /// Appends a request within `max` bytes of memory. Returns what was dropped for it, which may
    /// be the request itself.
    pub(crate) fn offer(&mut self, request: Request, created_ms: u64, max: u64) -> Vec<Dropped> {
        let mut dropped = Vec::new();
        let size = request.body.len() as u64;
        if !self.make_room(size, max, request.stream, &mut dropped) {
            dropped.push(Dropped { stream: request.stream, records: request.records });
            return dropped;
        }
        let entry = self.entry(request, created_ms);
        self.append(entry);
        dropped
    }

    /// An entry of a request that has no file.
    fn entry(&mut self, request: Request, created_ms: u64) -> Entry {
        self.next_id += 1;
        Entry {
            id: self.next_id,
            stream: request.stream,
            records: request.records,
            plain_bytes: request.plain_bytes,
            encoding: request.encoding,
            size: request.body.len() as u64,
            body: Some(request.body),
            file: None,
            created_ms,
            sending: false,
            doubtful: 0,
        }
    }

    /// Takes an entry of another queue, at its age, within `max` bytes of memory. Returns what was
    /// dropped for it, which may be the entry itself.
    pub(crate) fn adopt(&mut self, entry: Entry, max: u64) -> Vec<Dropped> {
        if entry.file.is_none() {
            return self.offer(entry.request(), entry.created_ms, max);
        }
        self.next_id += 1;
        // What has a file can be read from there.
        let body = entry.body.filter(|body| self.memory + body.len() as u64 <= max);
        self.append(Entry { id: self.next_id, body, sending: false, ..entry });
        Vec::new()
    }

    /// Removes the entries that are chosen, oldest first. Their files stay on the disk.
    pub(crate) fn extract(&mut self, is_chosen: impl Fn(&Entry) -> bool) -> Vec<Entry> {
        let chosen: Vec<u64> = self.iter().filter(|entry| is_chosen(entry)).map(|entry| entry.id).collect();
        chosen.into_iter().filter_map(|id| self.remove(id)).collect()
    }

    /// Puts a file whose body was not read before all others of its stream.
    pub(crate) fn prepend_file(&mut self, found: Found) {
        self.next_id += 1;
        let entry = Entry {
            id: self.next_id,
            stream: found.stream,
            records: found.records,
            plain_bytes: 0,
            encoding: found.encoding,
            size: found.size,
            body: None,
            file: Some(found.file),
            created_ms: found.written_ms,
            sending: false,
            doubtful: 0,
        };
        self.account(&entry);
        if let Some(stream) = self.streams.get_mut(entry.stream as usize) {
            stream.push_front(entry);
        }
    }

    /// Puts an entry behind those that are as old: the last, unless it comes from another output.
    fn append(&mut self, entry: Entry) {
        self.account(&entry);
        if let Some(stream) = self.streams.get_mut(entry.stream as usize) {
            let at = stream.iter().rposition(|other| other.created_ms <= entry.created_ms).map_or(0, |at| at + 1);
            stream.insert(at, entry);
        }
    }

    fn account(&mut self, entry: &Entry) {
        self.memory += entry.body.as_ref().map_or(0, |body| body.len() as u64);
        if entry.file.is_some() {
            self.spooled += entry.size;
            self.files += 1;
        }
    }

    /// Frees memory for `size` bytes of a request of `stream`. False if that is not possible; then
    /// nothing was dropped.
    fn make_room(&mut self, size: u64, max: u64, stream: Stream, dropped: &mut Vec<Dropped>) -> bool {
        if self.memory + size > max {
            self.release_bodies(self.memory + size - max);
        }
        // Flows never take the place of rollups.
        let victims = match stream {
            Stream::Flows => &[Stream::Flows][..],
            Stream::Rollups => &[Stream::Flows, Stream::Rollups],
        };
        let is_victim = |entry: &Entry| !entry.sending && entry.body.is_some() && entry.file.is_none();
        let may_go = self.iter().filter(|entry| victims.contains(&entry.stream) && is_victim(entry));
        if self.memory + size > max + may_go.map(|entry| entry.size).sum::<u64>() {
            return false;
        }
        while self.memory + size > max {
            let Some(id) = self.oldest(victims, is_victim) else {
                return false;
            };
            if let Some(entry) = self.remove(id) {
                dropped.push(Dropped { stream: entry.stream, records: entry.records });
            }
        }
        true
    }

    /// Frees at least `bytes` of bodies that have files, if there are so many: the youngest, which
    /// are sent last.
    fn release_bodies(&mut self, bytes: u64) {
        let mut freed = 0;
        for entry in self.streams.iter_mut().flat_map(|stream| stream.iter_mut().rev()) {
            if freed >= bytes {
                break;
            }
            if entry.file.is_some() && !entry.sending && entry.body.take().is_some() {
                freed += entry.size;
            }
        }
        self.memory -= freed;
    }

    /// The oldest request that is not under way and fits, of the first stream that has one.
    pub(crate) fn oldest(&self, streams: &[Stream], fits: impl Fn(&Entry) -> bool) -> Option<u64> {
        streams.iter().find_map(|stream| {
            let entries = self.streams.get(*stream as usize)?;
            Some(entries.iter().find(|entry| !entry.sending && fits(entry))?.id)
        })
    }

    /// The request to be sent next: the oldest of all that are not under way. `readable`: files can
    /// be read.
    pub(crate) fn next(&self, readable: bool) -> Option<u64> {
        let fits = |entry: &&Entry| !entry.sending && (readable || entry.body.is_some());
        let first = |entries: &VecDeque<Entry>| entries.iter().find(fits).map(|entry| (entry.created_ms, entry.id));
        // Of equal ages that of rollups is before.
        self.streams.iter().filter_map(first).min_by_key(|(created_ms, _)| *created_ms).map(|(_, id)| id)
    }

    pub(crate) fn get(&self, id: u64) -> Option<&Entry> {
        self.iter().find(|entry| entry.id == id)
    }

    pub(crate) fn get_mut(&mut self, id: u64) -> Option<&mut Entry> {
        self.iter_mut().find(|entry| entry.id == id)
    }

    /// Removes an entry. Its file stays on the disk.
    pub(crate) fn remove(&mut self, id: u64) -> Option<Entry> {
        for stream in &mut self.streams {
            if let Some(at) = stream.iter().position(|entry| entry.id == id) {
                let entry = stream.remove(at)?;
                self.memory -= entry.body.as_ref().map_or(0, |body| body.len() as u64);
                if entry.file.is_some() {
                    self.spooled -= entry.size;
                    self.files -= 1;
                }
                return Some(entry);
            }
        }
        None
    }

    /// Puts requests in the place of another, which is returned.
    pub(crate) fn replace(&mut self, id: u64, requests: Vec<Request>) -> Option<Entry> {
        let (stream, at) = self
            .streams
            .iter()
            .enumerate()
            .find_map(|(stream, entries)| Some((stream, entries.iter().position(|entry| entry.id == id)?)))?;
        let old = self.remove(id)?;
        for request in requests.into_iter().rev() {
            let entry = self.entry(request, old.created_ms);
            self.account(&entry);
            if let Some(entries) = self.streams.get_mut(stream) {
                entries.insert(at, entry);
            }
        }
        Some(old)
    }

    /// The first request without a file.
    pub(crate) fn unsaved(&self) -> Option<(u64, Request)> {
        let entry = self.iter().find(|entry| entry.file.is_none())?;
        Some((entry.id, entry.request()))
    }

    /// Notes that these files are gone, and no others: what is in memory has none any more.
    pub(crate) fn keep_files(&mut self, is_there: impl Fn(&str) -> bool) {
        for entry in self.streams.iter_mut().flatten() {
            if entry.body.is_some() && entry.file.take_if(|file| !is_there(file)).is_some() {
                self.spooled -= entry.size;
                self.files -= 1;
            }
        }
    }

    /// Notes that an entry has a file now. False if the entry was dropped meanwhile.
    pub(crate) fn saved(&mut self, id: u64, file: &str) -> bool {
        let Some(entry) = self.get_mut(id) else { return false };
        let size = entry.size;
        if entry.file.replace(file.to_owned()).is_none() {
            self.spooled += size;
            self.files += 1;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(stream: Stream, records: u32, size: usize) -> Request {
        let body = Bytes::from(vec![0; size]);
        Request { stream, records, plain_bytes: size, encoding: Encoding::None, body }
    }

    fn left(queue: &Queue) -> Vec<u32> {
        queue.iter().map(|entry| entry.records).collect()
    }

    /// The oldest flows go first, then the oldest rollups; flows never displace rollups, and what
    /// is under way stays.
    #[test]
    fn the_oldest_flows_go_first() {
        let mut queue = Queue::default();
        for (stream, records) in [(Stream::Rollups, 1), (Stream::Flows, 2), (Stream::Flows, 3), (Stream::Rollups, 4)] {
            assert!(queue.offer(request(stream, records, 100), 0, 400).is_empty());
        }
        let lost = |stream, records| Dropped { stream, records };
        assert_eq!(queue.offer(request(Stream::Flows, 5, 100), 0, 400), [lost(Stream::Flows, 2)]);
        assert_eq!(
            queue.offer(request(Stream::Rollups, 6, 200), 0, 400),
            [lost(Stream::Flows, 3), lost(Stream::Flows, 5)]
        );
        assert_eq!(queue.offer(request(Stream::Flows, 7, 100), 0, 400), [lost(Stream::Flows, 7)]);
        let first = queue.next(true).unwrap();
        queue.get_mut(first).unwrap().sending = true;
        assert_eq!(queue.offer(request(Stream::Rollups, 8, 100), 0, 400), [lost(Stream::Rollups, 4)]);
        assert_eq!(queue.offer(request(Stream::Rollups, 9, 401), 0, 400), [lost(Stream::Rollups, 9)]);
        assert_eq!((left(&queue), queue.memory()), (vec![1, 6, 8], 400));
        // What would not fit beside that which is under way displaces nothing.
        assert_eq!(queue.offer(request(Stream::Rollups, 10, 350), 0, 400), [lost(Stream::Rollups, 10)]);
        assert_eq!((left(&queue), queue.memory()), (vec![1, 6, 8], 400));
        assert!(!queue.saved(99, "99"));
    }

    /// What has a file gives up its bytes, and nothing is lost.
    #[test]
    fn files_give_up_memory() {
        let mut queue = Queue::default();
        for records in 1..=3 {
            assert!(queue.offer(request(Stream::Flows, records, 100), 0, 300).is_empty());
            assert!(queue.saved(u64::from(records), &format!("{records}")));
        }
        assert_eq!((queue.memory(), queue.spooled(), queue.files()), (300, 300, 3));
        assert!(queue.offer(request(Stream::Flows, 4, 150), 0, 300).is_empty());
        let in_memory: Vec<_> = queue.iter().map(|entry| entry.body.is_some()).collect();
        assert_eq!((in_memory, queue.memory()), (vec![true, false, false, true], 250));
        assert!(queue.remove(1).is_some() && queue.remove(2).is_some() && queue.remove(9).is_none());
        assert_eq!((queue.memory(), queue.spooled(), queue.files()), (150, 100, 1));
    }

    /// What comes from another output stands by its age.
    #[test]
    fn requests_stand_by_their_age() {
        let mut queue = Queue::default();
        for (records, created_ms) in [(3, 30), (4, 40), (1, 10), (2, 20), (5, 40)] {
            assert!(queue.offer(request(Stream::Flows, records, 10), created_ms, 300).is_empty());
        }
        assert_eq!(left(&queue), [1, 2, 3, 4, 5]);
    }

    /// Halves stand where the whole was.
    #[test]
    fn halves_keep_the_place() {
        let mut queue = Queue::default();
        for records in [1, 4, 5] {
            assert!(queue.offer(request(Stream::Flows, records, 100), 0, 300).is_empty());
        }
        let halves = vec![request(Stream::Flows, 2, 60), request(Stream::Flows, 3, 50)];
        assert_eq!(queue.replace(2, halves).unwrap().records, 4);
        assert_eq!((left(&queue), queue.memory()), (vec![1, 2, 3, 5], 310));
        assert!(!queue.is_empty());
    }
}
