//! Flows of a file in place of a server's: filtered, masked and limited here.

use std::collections::VecDeque;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use webb_flowlog::{Line, lines, open};
use webb_index::filters::{Filters, RegexBudget};

use super::ask::Failure;
use super::print::Printer;
use crate::filter;
use crate::history::History;
use crate::load::Loader;
use crate::mask::Mask;
use crate::proto::observer::GetFlowsRequest;
use crate::proto::observer::get_flows_response::ResponseTypes;
use crate::responses::{lost, masked};
use crate::segment::{Event, OtherSort, Segment};
use crate::service::unix_ns;

/// Events that are kept until they are printed: more than the loader hands over at a time.
const EVENTS: usize = 4096;

/// A line that comes alone is printed after so long.
const MAX_BATCH_AGE: Duration = Duration::from_millis(50);

/// Prints the flows of a file; of standard input as they come.
pub(super) fn observe(
    path: &Path,
    request: GetFlowsRequest,
    printer: &mut Printer,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut selection = Selection::new(request)?;
    let history = History::new(EVENTS);
    let mut loader = Loader::new(&history);
    let mut next = 0;
    let name = path.display();
    let mut input = open(path).map_err(|error| format!("{name}: cannot be read: {error}"))?;
    let mut handed_over = Instant::now();
    let ended = lines(&mut input.bytes, |number, line| {
        let read = match line {
            Line::Bytes(bytes) => loader.line(bytes).map_err(|wrong| wrong.to_string()),
            Line::TooLong => Err("longer than 16 MiB".to_owned()),
        };
        if let Err(why) = read {
            eprintln!("{name}: line {number}: {why}");
        }
        if handed_over.elapsed() >= MAX_BATCH_AGE {
            loader.end();
            handed_over = Instant::now();
        }
        match selection.take(&history, &mut next, printer, out) {
            Ok(true) => ControlFlow::Continue(()),
            Ok(false) => ControlFlow::Break(Ok(())),
            Err(failure) => ControlFlow::Break(Err(failure)),
        }
    });
    match ended {
        Ok(ControlFlow::Break(ended)) => ended?,
        Ok(ControlFlow::Continue(())) => {
            loader.end();
            selection.take(&history, &mut next, printer, out)?;
        }
        Err(error) => return Err(Failure::Text(format!("{name}: cannot be read: {error}"))),
    }
    selection.end(printer, out)
}

/// The flows that a request asks for.
struct Selection {
    filters: Filters,
    mask: Option<Mask>,
    since_ns: Option<u64>,
    until_ns: Option<u64>,
    /// Flows that may still be printed.
    left: Option<u64>,
    /// The last flows, encoded, if only so many are to be printed.
    last: Option<(usize, VecDeque<Vec<u8>>)>,
}

impl Selection {
    fn new(request: GetFlowsRequest) -> Result<Self, Failure> {
        let filters = filter::compile(request.whitelist, request.blacklist, &RegexBudget::default())?;
        let mask = request.field_mask.filter(|mask| !mask.paths.is_empty());
        let mask = mask.map(|mask| Mask::new(mask.paths.iter().map(String::as_str))).transpose();
        let count = (request.number > 0).then_some(request.number);
        let last = count.filter(|count| !request.first && *count < u64::MAX);
        Ok(Self {
            filters,
            mask: mask.map_err(|invalid| invalid.to_string())?,
            since_ns: request.since.as_ref().map(unix_ns),
            until_ns: request.until.as_ref().map(unix_ns),
            left: count.filter(|_| request.first),
            last: last.map(|count| (usize::try_from(count).unwrap_or(usize::MAX), VecDeque::new())),
        })
    }

    /// Prints what was read since the last time; false at the end of what is asked for.
    fn take(
        &mut self,
        history: &History,
        next: &mut u64,
        printer: &mut Printer,
        out: &mut dyn Write,
    ) -> Result<bool, Failure> {
        if *history.notices().borrow() == *next {
            return Ok(true);
        }
        for (first, segment) in history.read(*next).segments {
            self.filters.clear_caches();
            for place in 0..segment.events.len() {
                if first + place as u64 >= *next && !self.event(&segment, place, printer)? {
                    return Ok(false);
                }
            }
            *next = first + segment.events.len() as u64;
        }
        out.write_all(printer.out.as_bytes())?;
        out.flush()?;
        printer.out.clear();
        Ok(true)
    }

    fn event(&mut self, segment: &Segment, place: usize, printer: &mut Printer) -> Result<bool, Failure> {
        let Some(event) = segment.events.get(place) else { return Ok(true) };
        let time_ns = segment.time_ns(event);
        if self.since_ns.is_some_and(|since_ns| time_ns < since_ns)
            || self.until_ns.is_some_and(|until_ns| time_ns > until_ns)
        {
            return Ok(true);
        }
        let response = match event {
            Event::Flow(flow) => {
                if !self.filters.pass(flow, segment.extra(flow), &segment.index) {
                    return Ok(true);
                }
                let whole = segment.encoded.get(place).cloned().unwrap_or_default();
                masked(whole, self.mask.as_ref())
            }
            Event::Other(row) => match segment.other(*row).filter(|other| other.sort == OtherSort::Lost) {
                Some(other) => lost(other),
                None => return Ok(true),
            },
        };
        let is_flow = matches!(response.response_types, Some(ResponseTypes::Flow(_)));
        let encoded = prost::Message::encode_to_vec(&response);
        if let Some((count, last)) = &mut self.last {
            if last.len() >= *count {
                last.pop_front();
            }
            last.push_back(encoded);
            return Ok(true);
        }
        printer.flows(&encoded)?;
        if let Some(left) = self.left.as_mut().filter(|_| is_flow) {
            *left -= 1;
        }
        Ok(self.left != Some(0))
    }

    fn end(self, printer: &mut Printer, out: &mut dyn Write) -> Result<(), Failure> {
        for encoded in self.last.into_iter().flat_map(|(_, last)| last) {
            printer.flows(&encoded)?;
        }
        printer.end();
        out.write_all(printer.out.as_bytes())?;
        Ok(out.flush()?)
    }
}
