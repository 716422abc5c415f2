//! Flows of any lines as records, for fuzz targets.

use webb_flow::{ConnectionEvent, ExtraId};
use webb_flowlog::Reader;
use webb_index::Flows;

use super::settings::{Body, FlowSettings};
use super::writer::Writer;
use crate::export::Node;
use crate::history::History;
use crate::record::Recorder;
use crate::segment::Event;
use crate::taken::Taken;

/// Reads any bytes as lines of flows, and hands out the record of each, as if it had been seen
/// here. The first byte chooses what records have, and whether they are of attempts to connect that
/// failed.
pub(crate) fn fuzz_records(bytes: &[u8], mut each: impl FnMut(&[u8])) {
    let Some((form, text)) = bytes.split_first() else { return };
    let bodies = [Body::None, Body::Summary, Body::Hubble, Body::Summary];
    let body = bodies.get(usize::from(form & 3)).copied().unwrap_or_default();
    let settings = FlowSettings {
        uid: form & 4 == 0,
        labels: if form & 8 == 0 { Vec::new() } else { vec!["app.kubernetes.io/name".to_owned()] },
        ..FlowSettings::default()
    };
    let node = Node { name: "here".into(), qualified: "default/here".into(), version: "1".into(), run: 7 };
    let Ok(mut writer) = Writer::new(&settings, &node) else { return };
    let mut reader = Reader::default();
    for line in text.split(|byte| *byte == b'\n') {
        let _bad_lines_are_passed_over = reader.line(line);
    }
    let batch = reader.batch();
    let (mut flows, mut extras) = (batch.flows.to_vec(), batch.extras.to_vec());
    let mut outcomes = ConnectionEvent::ALL.into_iter().filter(|event| event.is_failure());
    let outcome = usize::from(form >> 5).checked_sub(1).and_then(|number| outcomes.nth(number));
    for (flow, extra) in flows.iter_mut().zip(&mut extras) {
        extra.live = true;
        if extra.l7.is_none() || outcome.is_some() {
            flow.extra = ExtraId::NONE;
        }
        if let Some(outcome) = outcome {
            *flow = flow.connection(outcome, 0);
        }
    }
    let takes = if outcome.is_some() { Taken::FailedConnections } else { Taken::Shown };
    let history = History::new(1000);
    let batch = Flows { flows: &flows, extras: &extras, index: batch.index };
    Recorder::of(takes).record(&history, batch, 1_700_000_000_000_000_000, 0);
    for (_, segment) in history.all().segments {
        for (place, event) in segment.events.iter().enumerate() {
            if let Event::Flow(flow) = event {
                each(writer.write((&segment, place), flow, (body, form & 16 != 0), 5).bytes());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::logs::v1::LogRecord;
    use prost::Message as _;

    use super::*;

    /// The seeds of the fuzz target are flows, and their records are read by another
    /// implementation.
    #[test]
    fn seeds_are_records() {
        let seeds = [
            &include_bytes!("../../../../fuzz/seeds/flow_records/dns")[..],
            include_bytes!("../../../../fuzz/seeds/flow_records/drop"),
            include_bytes!("../../../../fuzz/seeds/flow_records/http"),
            include_bytes!("../../../../fuzz/seeds/flow_records/refused"),
        ];
        for seed in seeds {
            let mut records = 0;
            fuzz_records(seed, |bytes| {
                let record = LogRecord::decode(bytes).unwrap();
                assert!(!record.attributes.is_empty() && record.event_name == "webb.flow");
                records += 1;
            });
            assert!(records > 0);
        }
        fuzz_records(b"", |_| panic!());
        fuzz_records(b"0{\n\xff", |_| panic!());
    }
}
