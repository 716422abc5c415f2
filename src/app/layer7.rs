//! Layer 7: whether it is looked for, the thread that dissects it, and its half of the ledger.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use actix::Addr;
use arc_swap::ArcSwap;
use webb_decode::l7::{
    Abandoned, Cut, Doubt, HeaderRule, Ledger, Limits, MessageOutcome, MessageProtocol, MessageType, RecordOutcome,
    Redact, Unanswered, Unparsed,
};
use webb_flow::abi::L7Totals;
use webb_index::{Index, NameRefusal};
use webb_metrics::Layer7Wishes;
use webb_settings::{self as settings, Capture};

use crate::actors::dissector;
use crate::actors::restart::Intensity;
use crate::actors::thread_supervisor::ThreadSupervisor;
use crate::bpf_loader::{Layer7, Layer7Settings, MAX_PORTS};
use crate::families::Rows;
use crate::pipeline::Lanes;
use crate::pipeline::layer7::{
    self as pipeline, DissectLoop, Inbox, Layer7Config, NamesWriter, Outbox, Published, Side, Sides,
};
use crate::records::Waker;
use crate::selfmetrics::{self as own, SelfMetrics};

/// Load-time settings of the programs if they may parse layer 7: the metrics have these wishes,
/// none if other metrics may come.
pub(super) fn settings(settings: &settings::Settings, wishes: Option<Layer7Wishes>) -> Option<Layer7Settings> {
    let wanted = match settings.l7.capture {
        Capture::On => true,
        Capture::Off => false,
        Capture::Auto => wishes.is_none_or(|wishes| wishes.dns || wishes.http),
    };
    let of_kernel = |ports: &[u16]| {
        let mut list = [0; MAX_PORTS];
        list.iter_mut().zip(ports).for_each(|(place, port)| *place = *port);
        list
    };
    let l7 = &settings.l7;
    wanted.then(|| Layer7Settings {
        ring_bytes: settings.rings.l7_bytes,
        dns_ports: of_kernel(&l7.dns_ports),
        http_ports: of_kernel(&l7.http_ports),
        http_ports_ignored: of_kernel(&l7.http_ports_ignored),
        ..Layer7Settings::default()
    })
}

/// Configuration of the dissector.
pub(super) fn config(settings: &settings::Layer7) -> Layer7Config {
    let side = |side| match side {
        settings::Side::Once => Side::Once,
        settings::Side::Server => Side::Server,
        settings::Side::Client => Side::Client,
        settings::Side::Both => Side::Both,
    };
    let sides = Sides { http: side(settings.http_side), dns: side(settings.dns_side) };
    let headers = match (&settings.redact_headers_allow[..], &settings.redact_headers_deny[..]) {
        ([], []) => HeaderRule::All,
        ([], deny) => HeaderRule::Only(deny.iter().cloned().collect()),
        (allow, _) => HeaderRule::AllBut(allow.iter().cloned().collect()),
    };
    let redact = Redact {
        enabled: settings.redact,
        url_query: settings.redact_url_query,
        user_info: settings.redact_user_info,
        headers,
    };
    let ns = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let limits = Limits {
        http_timeout_ns: ns(settings.http_timeout),
        dns_timeout_ns: ns(settings.dns_timeout),
        ..Limits::default()
    };
    Layer7Config { limits, redact, sides }
}

/// The dissector, if there is one.
pub(super) struct Dissecting {
    pub(super) kernel: Layer7,
    pub(super) supervisor: Addr<ThreadSupervisor>,
    pub(super) published: Arc<Published>,
    pub(super) config: Arc<ArcSwap<Layer7Config>>,
}

/// The dissector's end of the way to the reader.
pub(super) struct WayOut {
    outbox: Outbox,
    names: NamesWriter,
    waker: Waker,
}

/// Both ends of the way from the dissector to the reader, where there is a dissector.
pub(super) fn channel(kernel: Option<&Layer7>, reader: &Waker) -> std::io::Result<(Option<WayOut>, Inbox)> {
    Ok(match kernel {
        Some(_) => {
            let waker = Waker::new()?;
            let (outbox, names, inbox) = Inbox::channel(reader.clone(), waker.clone());
            (Some(WayOut { outbox, names, waker }), inbox)
        }
        None => (None, Inbox::default()),
    })
}

/// Starts the dissector, which is a component only where there is one.
pub(super) fn start(
    intensity: impl FnOnce() -> Intensity,
    settings: &settings::Settings,
    (kernel, way_out): (Option<Layer7>, Option<WayOut>),
    lanes: &Arc<Lanes>,
    index: &Arc<ArcSwap<Index>>,
) -> Option<Dissecting> {
    let (Some(kernel), Some(WayOut { outbox, names, waker })) = (kernel, way_out) else { return None };
    let config = Arc::new(ArcSwap::from_pointee(config(&settings.l7)));
    let (counts, switch) = (kernel.clone(), kernel.clone());
    let parts = pipeline::Parts {
        rings: Arc::new(kernel.rings()),
        waker,
        index: Arc::clone(index),
        lanes: Arc::clone(lanes),
        config: Arc::clone(&config),
        outbox,
        lost: Box::new(move || counts.totals().map_or(0, |totals| totals.lost.iter().sum())),
        look_for: Box::new(move |wanted| {
            if let Err(error) = switch.look_for(wanted) {
                tracing::error!("layer 7 stays as it was: {error}");
            }
        }),
    };
    let dissect_loop = Arc::new(DissectLoop::new(parts, names, settings.cluster_wait));
    let published = dissect_loop.published();
    let supervisor = dissector::start(dissect_loop, intensity());
    Some(Dissecting { kernel, supervisor, published, config })
}

/// Adds the ledger of layer 7: what the programs sent, and what became of it.
pub(super) fn ledger(metrics: &SelfMetrics, dissecting: Option<&Dissecting>) -> Result<(), prometheus::Error> {
    let defs = [
        &own::L7_SEGMENTS,
        &own::L7_BYTES,
        &own::L7_CONNECTIONS,
        &own::L7_LOOKED,
        &own::L7_PASSED_OVER,
        &own::L7_RECORDS,
        &own::L7_MESSAGES,
        &own::L7_UNANSWERED,
        &own::L7_DOUBTS,
        &own::L7_UNPARSED,
        &own::L7_ABANDONED,
        &own::L7_CUT,
        &own::L7_OPEN,
        &own::L7_NAMES_REFUSED,
        &own::L7_NAMES_LATE,
    ];
    let Some(Dissecting { kernel, published, .. }) = dissecting else { return Ok(()) };
    let (kernel, published) = (kernel.clone(), Arc::clone(published));
    metrics.add(
        &defs,
        Box::new(move |rows| {
            if let Ok(totals) = kernel.totals() {
                kernel_rows(rows, &totals);
            }
            let (ledger, gauges, names) = published.lock().unwrap_or_else(PoisonError::into_inner).clone();
            ledger_rows(rows, &ledger);
            let open = [
                ("connections", gauges.connections),
                ("requests", gauges.requests),
                ("queries", gauges.queries),
                ("partial", gauges.partial_heads),
                ("names", names.pairs),
            ];
            for (what, count) in open {
                rows.add(&own::L7_OPEN, &[what], count);
            }
            for (reason, count) in NameRefusal::ALL.iter().zip(names.refused) {
                rows.add(&own::L7_NAMES_REFUSED, &[reason.label()], count);
            }
            rows.add(&own::L7_NAMES_LATE, &[], names.late);
        }),
    )
}

/// Number of DNS names whose time was over; none without a dissector.
pub(super) fn expired_names(dissecting: Option<&Dissecting>) -> Box<dyn Fn() -> Option<u64> + Send + Sync> {
    let published = dissecting.map(|dissecting| Arc::clone(&dissecting.published));
    Box::new(move || {
        let (_, _, names) = &*published.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner);
        Some(names.expired)
    })
}

fn kernel_rows(rows: &mut Rows, totals: &L7Totals) {
    for (at, protocol) in MessageProtocol::ALL.iter().enumerate() {
        let of = |counts: &[u64]| counts.get(at).copied().unwrap_or(0);
        let protocol = protocol.label();
        rows.add(&own::L7_SEGMENTS, &[protocol, "sent"], of(&totals.sent));
        rows.add(&own::L7_SEGMENTS, &[protocol, "lost"], of(&totals.lost));
        rows.add(&own::L7_SEGMENTS, &[protocol, "unread"], of(&totals.unread));
        rows.add(&own::L7_BYTES, &[protocol], of(&totals.sent_bytes));
        // Datagrams have no connection that is decided about.
        if protocol != MessageProtocol::Dns.label() {
            rows.add(&own::L7_CONNECTIONS, &[protocol], of(&totals.found));
        }
    }
    rows.add(&own::L7_CONNECTIONS, &["none"], totals.none);
    rows.add(&own::L7_LOOKED, &[], totals.looked);
    let passed = [("untracked", totals.untracked), ("budget", totals.budget), ("frames", totals.frames)];
    for (reason, count) in passed {
        rows.add(&own::L7_PASSED_OVER, &[reason], count);
    }
}

fn ledger_rows(rows: &mut Rows, ledger: &Ledger) {
    for &protocol in MessageProtocol::ALL {
        let label = protocol.label();
        for &outcome in RecordOutcome::ALL {
            rows.add(&own::L7_RECORDS, &[label, outcome.label()], ledger.records(protocol, outcome));
        }
        for &of in MessageType::ALL {
            for &outcome in MessageOutcome::ALL {
                let count = ledger.messages(protocol, of, outcome);
                rows.add(&own::L7_MESSAGES, &[label, of.label(), outcome.label()], count);
            }
        }
        for &reason in Unanswered::ALL {
            rows.add(&own::L7_UNANSWERED, &[label, reason.label()], ledger.unanswered_for(protocol, reason));
        }
    }
    for &reason in Doubt::ALL {
        rows.add(&own::L7_DOUBTS, &[reason.label()], ledger.doubts(reason));
    }
    for &reason in Unparsed::ALL {
        rows.add(&own::L7_UNPARSED, &[reason.label()], ledger.unparsed_for(reason));
    }
    for &reason in Abandoned::ALL {
        rows.add(&own::L7_ABANDONED, &[reason.label()], ledger.abandoned_for(reason));
    }
    for &what in Cut::ALL {
        rows.add(&own::L7_CUT, &[what.label()], ledger.cuts(what));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Each time-out reaches the dissector, whose own defaults are those of the settings.
    #[test]
    fn timeouts_are_configured() {
        let of = |http, dns| {
            let (http_timeout, dns_timeout) = (Duration::from_secs(http), Duration::from_secs(dns));
            let limits = config(&settings::Layer7 { http_timeout, dns_timeout, ..settings::Layer7::default() }).limits;
            (limits.http_timeout_ns, limits.dns_timeout_ns)
        };
        assert_eq!(of(2, 3), (2_000_000_000, 3_000_000_000));
        assert_eq!(config(&settings::Layer7::default()).limits, Limits::default());
    }

    /// Each key of redaction reaches the dissector; the defaults are Hubble's.
    #[test]
    fn redaction_is_configured() {
        let of = |change: fn(&mut settings::Layer7)| {
            let mut settings = settings::Layer7::default();
            change(&mut settings);
            config(&settings).redact
        };
        let hubble = Redact::default();
        assert_eq!(of(|_| ()), hubble);
        assert_eq!(of(|keys| keys.redact = true), Redact { enabled: true, ..hubble.clone() });
        assert_eq!(of(|keys| keys.redact_url_query = true), Redact { url_query: true, ..hubble.clone() });
        assert_eq!(of(|keys| keys.redact_user_info = false), Redact { user_info: false, ..hubble });
        let names = || BTreeSet::from(["cookie".to_owned()]);
        let listed = of(|keys| keys.redact_headers_allow = vec!["cookie".to_owned()]).headers;
        assert_eq!(listed, HeaderRule::AllBut(names()));
        let listed = of(|keys| keys.redact_headers_deny = vec!["cookie".to_owned()]).headers;
        assert_eq!(listed, HeaderRule::Only(names()));
    }
}
