//! Reads lines or responses into batches.

use std::borrow::Cow;

use webb_flow::names::LOST_EVENT_SOURCES;
use webb_flow::sym::Sym;
use webb_flow::{Extra, ExtraId, Flow, Reason};
use webb_index::Flows;

use super::fields;
use super::interner::EndpointInterner;
use super::json::{Cursor, JsonError};
use super::notation::{Envelope, FlowFields, LostFields, Message as _, Notation};
use super::wire::{WireError, WireValue};

/// Maximal number of flows in a batch. Rows are reused, so that their strings need no new memory.
const BATCH: usize = 512;

/// Counts of the lines or responses so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Lines read, empty ones included; or responses.
    pub lines: u64,
    /// Flows among them.
    pub flows: u64,
    /// Node status, agent and debug events: well formed and nothing to count.
    pub others: u64,
    /// Lines or responses that could not be read.
    pub bad: u64,
    /// Lines that were not UTF-8 everywhere; invalid bytes are replaced.
    pub replaced: u64,
    /// Lost events by source, in the order of [`LOST_EVENT_SOURCES`].
    pub lost: [u64; LOST_EVENT_SOURCES.len()],
}

/// Turns lines or responses into flows. Hand out [`Reader::batch`] when [`Reader::is_full`], and at
/// the end.
#[derive(Debug)]
pub struct Reader {
    interner: EndpointInterner,
    flows: Vec<Flow>,
    /// The first of them belong to `flows`; the others wait to be used again.
    extras: Vec<Extra>,
    counts: Counts,
    unknown_reason: Reason,
}

/// Content of a line or response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// A flow, the last one of [`Reader::batch`].
    Flow,
    /// A notice of lost events.
    Lost {
        /// Their source, in [`LOST_EVENT_SOURCES`].
        source: usize,
        /// How many they are.
        events: u64,
    },
    /// Nothing to count.
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
        self.take(|flow, extra, interner| {
            let mut cursor = Cursor::new(&text);
            let content = line_content(&mut cursor, flow, extra, interner)?;
            cursor.end().map(|()| content)
        })
        .map(|_| ())
    }

    /// Reads an encoded `observer.GetFlowsResponse` or `observer.ExportEvent`. A flow joins the
    /// batch.
    ///
    /// # Errors
    /// The error and its field. Nothing but [`Counts::bad`] has changed then.
    pub fn response(&mut self, encoded: &[u8]) -> Result<Content, WireError> {
        self.counts.lines += 1;
        self.take(|flow, extra, interner| response_content(&mut WireValue::message(encoded), flow, extra, interner))
    }

    /// Takes the last flow back out of the batch.
    pub fn retract(&mut self) {
        if self.flows.pop().is_some() {
            self.counts.flows -= 1;
        }
    }

    fn take<E>(
        &mut self,
        read: impl FnOnce(&mut Flow, &mut Extra, &mut EndpointInterner) -> Result<Content, E>,
    ) -> Result<Content, E> {
        let at = self.flows.len();
        if at == self.extras.len() {
            self.extras.push(Extra::default());
        }
        let Some(extra) = self.extras.get_mut(at) else { return Ok(Content::Other) };
        fields::empty(extra);
        let mut flow = Flow::default();
        let found = read(&mut flow, extra, &mut self.interner);
        match found {
            Ok(Content::Flow) => {
                fields::finish(&mut flow, extra, self.unknown_reason);
                flow.extra = ExtraId(u32::try_from(at).unwrap_or(u32::MAX));
                self.flows.push(flow);
                self.counts.flows += 1;
            }
            Ok(Content::Lost { source, events }) => {
                if let Some(lost) = self.counts.lost.get_mut(source) {
                    *lost = lost.saturating_add(hubble_counts(source, events));
                }
            }
            Ok(Content::Other) => self.counts.others += 1,
            Err(_) => self.counts.bad += 1,
        }
        found
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

    /// The last flow of the batch.
    pub fn last(&self) -> Option<(&Flow, &Extra)> {
        let flow = self.flows.last()?;
        self.extras.get(self.flows.len() - 1).map(|extra| (flow, extra))
    }

    /// True if the batch has no flow.
    pub fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }

    /// Moves the batch into `flows` and `extras`, which are empty, and begins the next one, in the
    /// memory of theirs and of `spare` rows. [`Reader::batch`] has its index, before.
    pub fn hand_over(&mut self, flows: &mut Vec<Flow>, extras: &mut Vec<Extra>, spare: &mut Vec<Extra>) {
        std::mem::swap(flows, &mut self.flows);
        std::mem::swap(extras, &mut self.extras);
        self.extras.extend(extras.drain(flows.len()..));
        self.extras.append(spare);
        self.extras.truncate(2 * BATCH);
        self.turn();
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
fn line_content(
    cursor: &mut Cursor<'_>,
    flow: &mut Flow,
    extra: &mut Extra,
    interner: &mut EndpointInterner,
) -> Result<Content, JsonError> {
    let mut envelope = None;
    let mut bare = false;
    cursor.object(|inside, name| {
        match (Envelope::number(name), envelope) {
            (0, Some(_)) => inside.skip()?,
            (0, None) => {
                let number = FlowFields::number(name);
                let known = fields::field(inside, number, flow, extra, interner)?;
                // These two stand in an envelope as well, and make no flow.
                bare |= known && !matches!(number, FlowFields::NODE_NAME | FlowFields::TIME);
            }
            (number, _) => envelope = Some(enveloped(inside, number, flow, extra, interner)?),
        }
        Ok(())
    })?;
    Ok(envelope.unwrap_or(if bare { Content::Flow } else { Content::Other }))
}

/// Reads a response, which is an envelope.
fn response_content(
    response: &mut WireValue<'_>,
    flow: &mut Flow,
    extra: &mut Extra,
    interner: &mut EndpointInterner,
) -> Result<Content, WireError> {
    let mut content = Content::Other;
    response.message::<Envelope>(|inside, number| {
        if !Envelope::name(number).is_empty() {
            content = enveloped(inside, number, flow, extra, interner)?;
        }
        Ok(())
    })?;
    Ok(content)
}

/// Reads one of the contents that an envelope may have.
fn enveloped<'a, N: Notation<'a>>(
    value: &mut N,
    number: u32,
    flow: &mut Flow,
    extra: &mut Extra,
    interner: &mut EndpointInterner,
) -> Result<Content, N::Error> {
    match number {
        Envelope::FLOW => {
            // What came before it was the envelope's.
            *flow = Flow::default();
            fields::empty(extra);
            value.message::<FlowFields>(|inside, number| {
                fields::field(inside, number, flow, extra, interner).map(|_| ())
            })?;
            Ok(Content::Flow)
        }
        Envelope::LOST_EVENTS => lost_events(value),
        _ => value.pass().map(|()| Content::Other),
    }
}

/// Reads `flow.LostEvent`.
fn lost_events<'a, N: Notation<'a>>(value: &mut N) -> Result<Content, N::Error> {
    let (mut source, mut events) = (0, 0_u64);
    value.message::<LostFields>(|inside, field| {
        match field {
            LostFields::SOURCE => source = inside.enumeration(&LOST_EVENT_SOURCES)?,
            LostFields::EVENTS => events = inside.integer()?,
            _ => inside.pass()?,
        }
        Ok(())
    })?;
    let source = usize::try_from(source).ok().filter(|&source| source < LOST_EVENT_SOURCES.len()).unwrap_or(0);
    Ok(Content::Lost { source, events })
}

/// What Hubble counts of lost events of this source, in [`LOST_EVENT_SOURCES`]: a notice of the
/// ring's as one, however many events it is about, and each event that found its queue full
/// (hubble-contract §3.1).
pub fn hubble_counts(source: usize, events: u64) -> u64 {
    const OBSERVER_EVENTS_QUEUE: usize = 2;
    if source == OBSERVER_EVENTS_QUEUE { events.max(1) } else { 1 }
}
