//! Fills a history with flows that were seen here: copies them out of the batches in which they are
//! counted.
//!
//! A batch and its index are not kept: one would pin a whole batch for a few flows of a quiet node,
//! and every version of the index. Segments name their flows by a table of their own, of the
//! endpoints, services and policies that occur in them, which lives as long as they do. A table
//! serves until it is large, so that an endpoint is copied once and not for each segment. Batches
//! are joined until a segment is full.

use std::sync::Arc;

use hashbrown::HashMap;
use prost::Message as _;
use webb_flow::hash::RandomState;
use webb_flow::names::{DROP_REASONS, number_of};
use webb_flow::sym::Sym;
use webb_flow::{Event as FlowEvent, Extra, ExtraId, Flow, L4, Ruling, Verdict};
use webb_index::policy::PolicyName;
use webb_index::{End, Flows, Index};

use crate::history::History;
use crate::proto::flow::{LostEvent, LostEventSource};
use crate::segment::{Event, Other, OtherSort, Segment};
use crate::table::Table;
use crate::taken::{Taken, without_verdict};

/// Events of a segment at most.
const SEGMENT: usize = 1024;

/// Events with which a segment is not left open for the next batch: enough that what it has beside
/// them weighs little, and few enough to be copied with each batch of a quiet node.
const ENOUGH: usize = 256;

/// Copies flows into a history, whose only writer it is.
#[derive(Debug, Default)]
pub struct Recorder {
    takes: Taken,
    /// The segment that is not full yet.
    open: Segment,
    /// Number of its events that the history has.
    known: usize,
    /// Its policies by their rows in `source`.
    policies: HashMap<u32, u32, RandomState>,
    table: Table,
    /// The index of the last batch.
    source: Option<Arc<Index>>,
    node_labels: Arc<[String]>,
    /// Places of the flows of a batch, in the order of their time; kept for its memory.
    order: Vec<usize>,
}

impl Recorder {
    /// A recorder of these flows; the default one is of those that the API has.
    pub fn of(takes: Taken) -> Self {
        Self { takes, ..Self::default() }
    }

    /// Appends the flows of a batch that the history takes, in the order of their time.
    /// `unix_offset_ns` is Unix time less the clock of the flows, `now_ns` that clock's time. Flows
    /// of layer 7 have Unix time in a batch, for exemplars.
    pub fn record(&mut self, history: &History, batch: Flows<'_>, unix_offset_ns: u64, now_ns: u64) {
        self.meet(batch.index);
        let mut order = std::mem::take(&mut self.order);
        order.clear();
        let takes = self.takes;
        let taken = batch.flows.iter().enumerate().filter(|(_, flow)| takes.has(flow, batch.extras));
        order.extend(taken.map(|(place, _)| place));
        let time = |flow: &Flow| match flow.event {
            FlowEvent::L7 => flow.time_ns.saturating_sub(unix_offset_ns),
            _ => flow.time_ns,
        };
        let time_at = |place: &usize| batch.flows.get(*place).map(time);
        if !order.is_sorted_by_key(time_at) {
            order.sort_by_key(time_at);
        }
        self.make_room(order.len());
        let mut attempt;
        for mut flow in order.iter().filter_map(|place| batch.flows.get(*place)) {
            if takes == Taken::FailedConnections {
                attempt = without_verdict(flow);
                flow = &attempt;
            }
            if self.open.events.len() >= SEGMENT {
                self.hand_over(history, now_ns);
            }
            let extra = usize::try_from(flow.extra.0).ok().and_then(|row| batch.extras.get(row));
            let copied = Flow { time_ns: time(flow), ..self.copy(flow, extra, batch.index, now_ns) };
            self.open.events.push(Event::Flow(copied));
        }
        self.order = order;
        self.open.unix_offset_ns = unix_offset_ns;
        self.hand_over(history, now_ns);
    }

    /// Makes room for a batch of flows that a segment is not left open for.
    fn make_room(&mut self, flows: usize) {
        if flows >= ENOUGH {
            self.open.events.reserve_exact(flows.min(SEGMENT.saturating_sub(self.open.events.len())));
        }
    }

    /// Appends the notice that flows were lost on their way to the history. `unix_ns` is its time.
    pub fn lose(&mut self, history: &History, count: u64, node_name: &str, unix_ns: u64, now_ns: u64) {
        let lost = LostEvent {
            source: LostEventSource::ObserverEventsQueue.into(),
            num_events_lost: count,
            ..LostEvent::default()
        };
        let row = u32::try_from(self.open.others.len()).unwrap_or(u32::MAX);
        self.open.others.push(Other {
            sort: OtherSort::Lost,
            message: lost.encode_to_vec().into(),
            node_name: node_name.to_owned(),
            time_ns: unix_ns,
        });
        self.open.events.push(Event::Other(row));
        self.hand_over(history, now_ns);
    }

    /// Forgets what another index has given ids to.
    fn meet(&mut self, index: &Arc<Index>) {
        let Some(last) = &self.source else {
            self.source = Some(Arc::clone(index));
            return;
        };
        if Arc::ptr_eq(last, index) {
            return;
        }
        if last.generation() != index.generation() {
            self.table.forget_ends();
        }
        self.table.forget_services();
        self.policies.clear();
        self.source = Some(Arc::clone(index));
    }

    /// Begins a segment after one of `events`, and a table where the last one has served for long.
    fn begin(&mut self, events: usize) {
        self.known = 0;
        self.policies.clear();
        self.table.events += events;
        if self.table.is_large() {
            self.table = Table::default();
        }
        let (before, node_labels) = (self.table.events, Arc::clone(&self.node_labels));
        self.open = Segment { before, node_labels, ..Segment::default() };
    }

    /// Sets the labels of this node, `key=value`, sorted, that the flows from now on have.
    pub fn set_node_labels(&mut self, labels: Vec<String>) {
        if *self.node_labels != *labels {
            self.node_labels = labels.into();
            // The history has all of it.
            let events = std::mem::take(&mut self.open).events.len();
            self.begin(events);
        }
    }

    /// Gives the history what it does not have yet.
    fn hand_over(&mut self, history: &History, now_ns: u64) {
        if self.open.events.len() == self.known {
            return;
        }
        self.open.index = self.table.publish(now_ns);
        if let Some(source) = &self.source {
            self.open.zones = source.shared_zones();
        }
        self.open.table = Some(Arc::clone(&self.table.owned));
        let known = std::mem::replace(&mut self.known, self.open.events.len());
        let namespaces = self.table.take_namespaces();
        if self.open.events.len() >= ENOUGH {
            let mut full = std::mem::take(&mut self.open);
            full.events.shrink_to_fit();
            full.extras.shrink_to_fit();
            let events = full.events.len();
            history.extend(full, known, &namespaces, now_ns);
            self.begin(events);
        } else {
            history.extend(self.open.clone(), known, &namespaces, now_ns);
        }
    }

    fn copy(&mut self, flow: &Flow, extra: Option<&Extra>, index: &Index, now_ns: u64) -> Flow {
        let names = [End::Source, End::Destination].map(|end| end.dns_names(flow, extra, index));
        Flow {
            source: self.table.end(flow.source, index, now_ns),
            destination: self.table.end(flow.destination, index, now_ns),
            service: self.table.service(flow.service, index),
            ruling: self.ruling(flow.ruling, index),
            extra: self.extra(flow, extra, names),
            ..*flow
        }
    }

    fn ruling(&mut self, ruling: Ruling, index: &Index) -> Ruling {
        let Some(row) = ruling.policy() else { return ruling };
        let own = match self.policies.get(&row) {
            Some(own) => Some(*own),
            None => index.policies().name(row).map(|policy| self.add_policy(row, policy)),
        };
        Ruling::new(ruling.matched(), own)
    }

    fn add_policy(&mut self, row: u32, policy: PolicyName) -> u32 {
        let own = u32::try_from(self.open.policies.len()).unwrap_or(u32::MAX);
        let (namespace, name) = (self.table.own(policy.namespace), self.table.own(policy.name));
        self.open.policies.push(PolicyName { namespace, name, ..policy });
        self.policies.insert(row, own);
        own
    }

    /// The extra of a flow that has one, or names from DNS.
    fn extra(&mut self, flow: &Flow, extra: Option<&Extra>, names: [Sym; 2]) -> ExtraId {
        if extra.is_none() && names == [Sym::EMPTY; 2] {
            return ExtraId::NONE;
        }
        let [source_names, destination_names] = names.map(|names| self.table.own(names));
        let own = extra.cloned().unwrap_or_else(|| plain(flow));
        let id = ExtraId(u32::try_from(self.open.extras.len()).unwrap_or(u32::MAX));
        self.open.extras.push(Extra { source_names, destination_names, ..own });
        id
    }
}

/// The extra of a flow that needs none, for what filters read there.
pub(crate) fn plain(flow: &Flow) -> Extra {
    let reason =
        if flow.verdict == Verdict::Dropped { number_of(&DROP_REASONS, &flow.reason.0.text()).unwrap_or(0) } else { 0 };
    Extra {
        live: true,
        has_ip: true,
        has_l4: flow.l4 != L4::None,
        verdict: flow.verdict as i32,
        drop_reason: reason,
        traffic_direction: flow.direction as i32,
        event_type: (flow.event != FlowEvent::Connection).then(|| i32::from(flow.event as u8)),
        sub_type: if flow.event == FlowEvent::Drop { reason } else { i32::from(flow.point as u8) },
        ..Extra::default()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::path::Path;

    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use prost::Message as _;
    use webb_flow::sym::Names;
    use webb_flow::{Direction, EndpointId, Reason, Reply, ServiceEnd, ServiceId};
    use webb_flowlog::Reader;
    use webb_index::filters::RegexBudget;
    use webb_index::{Draft, Endpoint, EndpointKind, PodChanges, ServiceSpec, Services};

    use super::*;
    use crate::encode::Encoder;
    use crate::proto::flow as api;
    use crate::proto::observer::GetFlowsRequest;
    use crate::{Loader, filter};

    fn recorded(name: &str) -> String {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/observer/golden").join(name);
        let mut text = String::new();
        webb_flowlog::open(&path).unwrap().bytes.read_to_string(&mut text).unwrap();
        text
    }

    /// Makes a batch of a file's flows one of flows that were seen here.
    fn seen(batch: Flows<'_>) -> (Vec<Flow>, Vec<Extra>) {
        let (mut flows, mut extras) = (batch.flows.to_vec(), batch.extras.to_vec());
        for (flow, extra) in flows.iter_mut().zip(&mut extras) {
            if extra.l7.is_none() {
                flow.extra = ExtraId::NONE;
            }
            extra.live = true;
            (extra.source_names, extra.destination_names) = (Sym::EMPTY, Sym::EMPTY);
        }
        (flows, extras)
    }

    /// Calls `with` for every batch of the file, and the segments that the same flows are in.
    fn each_batch(mut with: impl FnMut(Flows<'_>, &[Arc<Segment>])) {
        let mut reader = Reader::default();
        let text = recorded("flows-a.jsonl.zst");
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            reader.line(line.as_bytes()).unwrap();
            if reader.is_full() || lines.peek().is_none() {
                let batch = reader.batch();
                let (flows, extras) = seen(batch);
                let batch = Flows { flows: &flows, extras: &extras, index: batch.index };
                let (history, mut recorder) = (History::new(4095), Recorder::default());
                // In pieces, as a quiet node has them.
                for piece in flows.chunks(7) {
                    recorder.record(&history, Flows { flows: piece, ..batch }, 0, 0);
                }
                let segments: Vec<_> = history.all().segments.into_iter().map(|(_, segment)| segment).collect();
                assert!(segments.len() <= flows.len() / ENOUGH + 1, "pieces are joined");
                with(batch, &segments);
                reader.turn();
            }
        }
    }

    /// Every filter of the recorded requests selects the same flows by the names of their segment
    /// as by those of their batch.
    #[test]
    fn filters_see_the_same() {
        let cases = recorded("cases.jsonl.zst");
        let mut filters = Vec::new();
        for line in cases.lines() {
            let case: serde_json::Value = serde_json::from_str(line).unwrap();
            if case["method"] == "/observer.Observer/GetFlows" && case["code"] == 0 {
                let request = STANDARD.decode(case["request"].as_str().unwrap()).unwrap();
                let request = GetFlowsRequest::decode(request.as_slice()).unwrap();
                filters.extend(filter::compile(request.whitelist, request.blacklist, &RegexBudget::default()));
            }
        }
        assert!(filters.len() > 100);
        let mut selected = 0;
        each_batch(|batch, segments| {
            for filters in &filters {
                filters.clear_caches();
                let extra = |flow: &Flow| batch.extras.get(flow.extra.0 as usize);
                let wanted: Vec<bool> =
                    batch.flows.iter().map(|flow| filters.pass(flow, extra(flow), batch.index)).collect();
                selected += wanted.iter().filter(|passed| **passed).count();
                filters.clear_caches();
                let events =
                    segments.iter().flat_map(|segment| segment.events.iter().map(move |event| (segment, event)));
                let found: Vec<bool> = events
                    .map(|(segment, event)| {
                        let Event::Flow(flow) = event else { panic!("only flows were recorded") };
                        filters.pass(flow, segment.extra(flow), &segment.index)
                    })
                    .collect();
                assert_eq!(found, wanted);
            }
        });
        assert!(selected > 10_000, "{selected}");
    }

    /// An encoded flow has what the same flow has in the file, as far as it is seen here.
    #[test]
    fn encoded_flows_are_those_of_the_file() {
        let file = History::new(4095);
        let mut loader = Loader::new(&file);
        recorded("flows-a.jsonl.zst").lines().for_each(|line| loader.line(line.as_bytes()).unwrap());
        loader.end();
        drop(loader);
        let mut written = file.all().segments.into_iter().flat_map(|(_, segment)| segment.encoded.clone());
        let mut encoder = Encoder::new("here".into(), "1".into(), 7);
        let (mut compared, mut summaries) = (0, 0);
        each_batch(|_, segments| {
            for segment in segments {
                for (place, event) in segment.events.iter().enumerate() {
                    let Event::Flow(flow) = event else { panic!("only flows were recorded") };
                    let mut encoded = Vec::new();
                    encoder.flow(segment, place, flow, &mut encoded);
                    let own = api::Flow::decode(encoded.as_slice()).unwrap();
                    let mut of_file = api::Flow::decode(written.next().unwrap()).unwrap();
                    for end in [&mut of_file.source, &mut of_file.destination].into_iter().flatten() {
                        // A number of Cilium's for a pod of the node.
                        end.id = 0;
                    }
                    if let Some(ip) = &mut of_file.ip {
                        (ip.source_xlated, ip.encrypted) = (String::new(), false);
                    }
                    assert_eq!((&own.time, own.verdict), (&of_file.time, of_file.verdict));
                    assert_eq!((&own.source, &own.destination), (&of_file.source, &of_file.destination));
                    assert_eq!((own.is_reply, own.reply), (of_file.is_reply, of_file.is_reply == Some(true)));
                    assert_eq!(own.traffic_direction, of_file.traffic_direction);
                    if flow.event != FlowEvent::Unknown {
                        let types = [&own, &of_file].map(|flow| flow.event_type.map(|event| event.r#type));
                        assert_eq!(types[0], types[1]);
                    }
                    if flow.event == FlowEvent::Trace && flow.point != webb_flow::Point::Other {
                        assert_eq!(own.event_type, of_file.event_type);
                        assert_eq!(own.trace_observation_point, of_file.trace_observation_point);
                    }
                    if !own.uuid.is_empty() && of_file.ip.as_ref().is_some_and(|ip| !ip.source.contains("::ffff:")) {
                        let ends =
                            |flow: &api::Flow| flow.ip.as_ref().map(|ip| (ip.source.clone(), ip.destination.clone()));
                        let has_both = ends(&of_file).is_some_and(|(a, b)| !a.is_empty() && !b.is_empty());
                        assert!(!has_both || flow.family == webb_flow::Family::NotUsed || ends(&own) == ends(&of_file));
                    }
                    let is_bare = matches!(flow.l4, L4::Vrrp | L4::Igmp | L4::Sctp | L4::None);
                    assert!(is_bare || own.l4 == of_file.l4, "{:?} {:?}", own.l4, of_file.l4);
                    let is_made_up = of_file.summary.starts_with("ICMP") || of_file.summary.starts_with("DNS Answer");
                    if !of_file.summary.is_empty() && !is_made_up {
                        assert_eq!(own.summary, of_file.summary);
                        summaries += 1;
                    }
                    compared += 1;
                }
            }
        });
        assert_eq!(compared, 900);
        assert!(summaries > 500, "{summaries}");
    }

    /// Flows of layer 7 come with Unix time, others with the clock's; the history has both in the
    /// order of their time.
    #[test]
    fn one_clock() {
        let (history, mut recorder) = (History::new(10), Recorder::default());
        let flow = |event, time_ns| Flow { event, time_ns, ..Flow::default() };
        let flows = [flow(FlowEvent::L7, 1_000_005), flow(FlowEvent::Trace, 7), flow(FlowEvent::Trace, 3)];
        let index = Arc::new(Index::new([], webb_index::Policies::default()));
        recorder.record(&history, Flows { flows: &flows, extras: &[], index: &index }, 1_000_000, 9);
        let all = history.all();
        let segment = &all.segments[0].1;
        let times: Vec<u64> = segment.events.iter().map(|event| segment.time_ns(event)).collect();
        assert_eq!(times, [1_000_003, 1_000_005, 1_000_007]);
    }

    /// Names outlive the index that they came from; services and policies are found by their new
    /// rows; flushes are none of Hubble's flows; a full segment is not touched again.
    #[test]
    fn names_stay_with_the_segment() {
        let (history, mut recorder) = (History::new(10_000), Recorder::default());
        for round in 0..4_u64 {
            let mut draft = Draft::default();
            let mut names = Names::default();
            let spec = webb_index::EndpointSpec {
                namespace: "shop".into(),
                pod_name: format!("pod-{round}"),
                labels: vec!["k8s:app=shop".into()],
                ..webb_index::EndpointSpec::default()
            };
            let pod = Endpoint::named(EndpointKind::Pod, true, &spec, |text| names.intern(text));
            let pod = Endpoint { identity: names.intern("k8s:app=shop"), ..pod };
            let id = draft.add(webb_flow::Sort::Local, pod);
            let service =
                |name: &str| ServiceSpec { name: name.into(), namespace: "shop".into(), ..ServiceSpec::default() };
            draft.set_services(Services::new(&[service("other"), service("front")]));
            let index = Arc::new(draft.publish(0, PodChanges::default()));
            let flow = Flow {
                time_ns: round,
                source: id,
                destination: EndpointId::WORLD,
                service: ServiceEnd::destination(ServiceId(2)),
                verdict: Verdict::Dropped,
                reason: Reason(Sym::new("POLICY_DENIED")),
                direction: Direction::Egress,
                event: FlowEvent::Drop,
                reply: Reply::Unknown,
                ..Flow::default()
            };
            let flush = Flow { event: FlowEvent::Flush, ..flow };
            let flows = [vec![flow, flush], vec![flow; 299]].concat();
            recorder.record(&history, Flows { flows: &flows, extras: &[], index: &index }, 1000, 0);
        }
        assert_eq!(history.namespaces(1), ["shop"]);
        let all = history.all();
        assert_eq!(all.segments.iter().map(|(first, _)| *first).collect::<Vec<_>>(), [0, 300, 600, 900]);
        let mut encoder = Encoder::new("here".into(), "1".into(), 7);
        let mut ids = std::collections::HashSet::new();
        for (first, segment) in &all.segments {
            for (place, event) in segment.events.iter().enumerate() {
                let Event::Flow(flow) = event else { panic!("only flows were recorded") };
                let mut encoded = Vec::new();
                encoder.flow(segment, place, flow, &mut encoded);
                let own = api::Flow::decode(encoded.as_slice()).unwrap();
                let round = (first + place as u64) / 300;
                let source = own.source.unwrap();
                assert_eq!((source.pod_name, source.labels), (format!("pod-{round}"), vec!["k8s:app=shop".to_owned()]));
                assert_eq!(own.destination.unwrap().labels, ["reserved:world"]);
                assert_eq!(own.destination_service.unwrap().name, "front");
                assert_eq!((own.drop_reason, own.drop_reason_desc), (133, 133));
                assert_eq!(own.time.unwrap().nanos, i32::try_from(1000 + round).unwrap());
                assert!(ids.insert(own.uuid), "an id of one flow");
            }
        }
        assert_eq!(ids.len(), 1200);
    }
}
