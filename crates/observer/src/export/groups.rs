//! Flows with equal fields, counted by direction.
//!
//! Groups are told apart by their fields as JSON, which is the same for the same fields whatever
//! their order in the flow.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::lines::write_flow;
use crate::json_write;
use crate::schema::schema;
use crate::wire::{fields, put_bytes, put_message, put_number};

/// Groups at most: beyond, all are written before the interval ends.
const MAX_GROUPS: usize = 65_536;

/// Numbers of fields of `flow.Flow`.
const TIME: u32 = 1;
const DIRECTION: u32 = 22;
const AGGREGATE: u32 = 21007;

/// The groups of an interval.
#[derive(Debug)]
pub(super) struct Groups {
    interval: Duration,
    due: Instant,
    by_fields: HashMap<Vec<u8>, usize>,
    list: Vec<Group>,
    key: Vec<u8>,
}

#[derive(Debug)]
struct Group {
    /// The fields, encoded.
    fields: Bytes,
    /// Time of the first flow, encoded.
    time: Bytes,
    /// Flows of ingress, of egress, and of no known direction.
    counts: [u64; 3],
}

impl Groups {
    pub(super) fn new(interval: Duration) -> Self {
        let (by_fields, list, key) = (HashMap::new(), Vec::new(), Vec::new());
        Self { interval, due: Instant::now() + interval, by_fields, list, key }
    }

    /// Counts a flow with these fields.
    pub(super) fn add(&mut self, masked: &[u8], whole: &[u8]) {
        self.key.clear();
        json_write::write(masked, schema().message("flow.Flow"), &mut self.key);
        let (mut time, mut direction) = (&[][..], 0);
        for field in fields(whole) {
            match field.number {
                TIME => time = field.value.bytes(),
                DIRECTION => direction = field.value.number(),
                _ => {}
            }
        }
        let at = self.by_fields.get(&self.key).copied().unwrap_or_else(|| {
            let (fields, time) = (Bytes::copy_from_slice(masked), Bytes::copy_from_slice(time));
            self.by_fields.insert(self.key.clone(), self.list.len());
            self.list.push(Group { fields, time, counts: [0; 3] });
            self.list.len() - 1
        });
        let of_direction = match direction {
            1 => 0,
            2 => 1,
            _ => 2,
        };
        if let Some(count) = self.list.get_mut(at).and_then(|group| group.counts.get_mut(of_direction)) {
            *count += 1;
        }
    }

    /// True if the groups are to be written: their interval is over, or there are too many.
    pub(super) fn are_due(&self, now: Instant) -> bool {
        now >= self.due || self.list.len() >= MAX_GROUPS
    }

    /// Time until the interval is over.
    pub(super) fn wait(&self, now: Instant) -> Duration {
        self.due.saturating_duration_since(now)
    }

    /// Takes the groups, and begins the next interval.
    pub(super) fn take(&mut self, now: Instant) -> Taken {
        self.due = (self.due + self.interval).max(now);
        self.by_fields.clear();
        Taken { groups: std::mem::take(&mut self.list).into_iter(), flow: Vec::new(), event: Vec::new() }
    }
}

/// The groups of an interval that is over, to be written.
#[derive(Debug)]
pub(super) struct Taken {
    groups: std::vec::IntoIter<Group>,
    flow: Vec<u8>,
    event: Vec<u8>,
}

impl Taken {
    /// Appends the line of the next group; none if there is none. Returns the flows in it.
    pub(super) fn write_next(&mut self, out: &mut Vec<u8>) -> Option<u64> {
        let group = self.groups.next()?;
        self.flow.clear();
        for field in fields(&group.fields).filter(|field| field.number != TIME) {
            self.flow.extend_from_slice(field.encoded);
        }
        if !group.time.is_empty() {
            put_bytes(&mut self.flow, TIME, &group.time);
        }
        put_message(&mut self.flow, AGGREGATE, |out| {
            for (number, count) in (1..).zip(group.counts) {
                if count > 0 {
                    put_number(out, number, count.min(u32::MAX.into()));
                }
            }
        });
        write_flow(&self.flow, &mut self.event, out);
        Some(group.counts.iter().sum())
    }
}
