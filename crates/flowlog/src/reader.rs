//! Reads lines into batches.

use std::borrow::Cow;

use webb_flow::names::LOST_EVENT_SOURCES;
use webb_flow::sym::Sym;
use webb_flow::{Extra, ExtraId, Flow, Reason};
use webb_index::Flows;

use super::fields;
use super::interner::EndpointInterner;
use super::json::{Cursor, JsonError};
use super::numbers::number;

/// Maximal number of flows in a batch. Rows are reused, so that their strings need no new memory.
const BATCH: usize = 512;

/// Counts of the lines so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Lines read, empty ones included.
    pub lines: u64,
    /// Flows among them.
    pub flows: u64,
    /// Node status, agent and debug events: well formed and nothing to count.
    pub others: u64,
    /// Lines that could not be read.
    pub bad: u64,
    /// Lines that were not UTF-8 everywhere; invalid bytes are replaced.
    pub replaced: u64,
    /// Lost events by source, in the order of [`LOST_EVENT_SOURCES`].
    pub lost: [u64; LOST_EVENT_SOURCES.len()],
}

/// Turns lines into flows. Hand out [`Reader::batch`] when [`Reader::is_full`], and at the end.
#[derive(Debug)]
pub struct Reader {
    interner: EndpointInterner,
    flows: Vec<Flow>,
    /// The first of them belong to `flows`; the others wait to be used again.
    extras: Vec<Extra>,
    counts: Counts,
    unknown_reason: Reason,
}

/// Content of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LineContent {
    Flow,
    Lost { source: usize, count: u64 },
    Other,
}

impl Default for Reader {
    fn default() -> Self {
        Self {
            interner: EndpointInterner::default(),
            flows: Vec::with_capacity(BATCH),
            extras: Vec::with_capacity(BATCH),
            counts: Counts::default(),
            unknown_reason: Reason(Sym::new("DROP_REASON_UNKNOWN")),
        }
    }
}

impl Reader {
    /// Reads a line. A flow joins the batch.
    ///
    /// # Errors
    /// The error in the line and its position. Nothing but [`Counts::bad`] has changed then.
    pub fn line(&mut self, line: &[u8]) -> Result<(), JsonError> {
        self.counts.lines += 1;
        if line.trim_ascii_start().is_empty() {
            return Ok(());
        }
        // Asked first, because replacing looks at every byte by itself.
        let text = if let Ok(text) = std::str::from_utf8(line) {
            Cow::Borrowed(text)
        } else {
            self.counts.replaced += 1;
            String::from_utf8_lossy(line)
        };
        let at = self.flows.len();
        if at == self.extras.len() {
            self.extras.push(Extra::default());
        }
        let Some(extra) = self.extras.get_mut(at) else { return Ok(()) };
        let mut flow = Flow::default();
        let found = read(&mut Cursor::new(&text), &mut flow, extra, &mut self.interner);
        match found {
            Ok(LineContent::Flow) => {
                fields::finish(&mut flow, extra, self.unknown_reason);
                flow.extra = ExtraId(u32::try_from(at).unwrap_or(u32::MAX));
                self.flows.push(flow);
                self.counts.flows += 1;
            }
            Ok(LineContent::Lost { source, count }) => {
                if let Some(lost) = self.counts.lost.get_mut(source) {
                    *lost = lost.saturating_add(count);
                }
            }
            Ok(LineContent::Other) => self.counts.others += 1,
            Err(_) => self.counts.bad += 1,
        }
        found.map(|_| ())
    }

    /// A line that was not even kept.
    pub fn bad_line(&mut self) {
        self.counts.lines += 1;
        self.counts.bad += 1;
    }

    /// True if the batch must be handed out before the next line.
    pub fn is_full(&self) -> bool {
        self.flows.len() >= BATCH
    }

    /// The flows since the last [`Reader::turn`].
    pub fn batch(&mut self) -> Flows<'_> {
        let extras = self.extras.get(..self.flows.len()).unwrap_or(&[]);
        Flows { flows: &self.flows, extras, index: self.interner.index() }
    }

    /// The batch is done with; the next one begins.
    pub fn turn(&mut self) {
        self.flows.clear();
        self.interner.turn();
    }

    /// Counts of the lines so far.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }
}

/// Reads a line of either form: a flow, or an envelope around a flow or something else.
fn read(
    cursor: &mut Cursor<'_>,
    flow: &mut Flow,
    extra: &mut Extra,
    interner: &mut EndpointInterner,
) -> Result<LineContent, JsonError> {
    fields::empty(extra);
    let mut envelope = None;
    let mut bare = false;
    cursor.object(|inside, name| {
        match name {
            "flow" => {
                // What came before it was the envelope's.
                *flow = Flow::default();
                fields::empty(extra);
                inside.object(|inside, name| fields::field(inside, name, flow, extra, interner).map(|_| ()))?;
                envelope = Some(LineContent::Flow);
            }
            "lost_events" => envelope = Some(lost_events(inside)?),
            "node_status" | "agent_event" | "debug_event" => {
                inside.skip()?;
                envelope = Some(LineContent::Other);
            }
            _ if envelope.is_some() => inside.skip()?,
            _ => {
                let known = fields::field(inside, name, flow, extra, interner)?;
                // These two stand in an envelope as well, and make no flow.
                bare |= known && !matches!(name, "node_name" | "time");
            }
        }
        Ok(())
    })?;
    cursor.end()?;
    Ok(envelope.unwrap_or(if bare { LineContent::Flow } else { LineContent::Other }))
}

/// `flow.LostEvent`. Hubble counts a notice of the ring's as one, however many events it is about,
/// and each event that found its queue full (hubble-contract §3.1).
fn lost_events(cursor: &mut Cursor<'_>) -> Result<LineContent, JsonError> {
    const OBSERVER_EVENTS_QUEUE: usize = 2;
    let (mut source, mut events) = (0, 0_u64);
    cursor.object(|inside, name| {
        match name {
            "source" => source = number(inside, &LOST_EVENT_SOURCES)?,
            "num_events_lost" => events = inside.whole()?,
            _ => inside.skip()?,
        }
        Ok(())
    })?;
    let source = usize::try_from(source).ok().filter(|&source| source < LOST_EVENT_SOURCES.len()).unwrap_or(0);
    Ok(LineContent::Lost { source, count: if source == OBSERVER_EVENTS_QUEUE { events.max(1) } else { 1 } })
}
