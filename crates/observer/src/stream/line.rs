//! The text of a flow: the line that `observe` prints, without its time, and with reasons of drops
//! that only the kernel has. An attempt to connect that failed has one in the same form.

use std::fmt::Write as _;

use webb_flow::extra::{L7Kind, L7Record};
use webb_flow::{Direction, Event, Extra, Family, Flow, Point, Reply, Verdict};
use webb_index::{End, Index};

use crate::encode::push_address;
use crate::observe::names::{IDENTITIES, drop_reason, name_in, policy_match, trace_point};
use crate::observe::style::push_plain;
use crate::segment::Segment;
use crate::summary;

/// Writes lines; its buffers are used again.
#[derive(Debug, Default)]
pub(super) struct Line {
    text: String,
    part: String,
}

impl Line {
    /// The line of a flow. `reason`: that of a drop, by Hubble's number and by name.
    pub(super) fn write(&mut self, segment: &Segment, flow: &Flow, reason: Option<(i32, &str)>) -> &str {
        self.text.clear();
        let (index, extra) = (&*segment.index, segment.extra(flow));
        let (arrow, left, right) = match flow.reply {
            Reply::Unknown => (" <> ", End::Source, End::Destination),
            Reply::No => (" -> ", End::Source, End::Destination),
            Reply::Yes => (" <- ", End::Destination, End::Source),
        };
        self.end(left, flow, extra, index);
        self.text.push_str(arrow);
        self.end(right, flow, extra, index);
        if let Some((event, _)) = flow.connection_event() {
            self.text.push_str(" connection ");
            self.text.push_str(event.name());
            return &self.text;
        }
        self.text.push(' ');
        put_type(flow, extra, reason, &mut self.text);
        self.text.push(' ');
        self.text.push_str(verdict(flow));
        self.text.push_str(" (");
        summary::write(flow, extra, &mut self.part);
        push_plain(&mut self.text, &self.part);
        self.text.push(')');
        &self.text
    }

    /// Appends the name of an end, pod, service, DNS names or address, with port and identity.
    fn end(&mut self, end: End, flow: &Flow, extra: Option<&Extra>, index: &Index) {
        let (address, port, service) = match end {
            End::Source => (flow.source_ip, flow.source_port, flow.service.at_source()),
            End::Destination => (flow.destination_ip, flow.destination_port, flow.service.at_destination()),
        };
        let endpoint = index.endpoint(end.id(flow));
        let service = index.services().name(service);
        self.part.clear();
        if flow.family != Family::NotUsed {
            let name = if endpoint.pod_name.is_empty() { service.name } else { endpoint.pod_name };
            if name.is_empty() {
                let names = end.dns_names(flow, extra, index);
                if names.is_empty() {
                    push_address(&mut self.part, address.ip());
                } else {
                    self.part.push_str(&names.text());
                }
            } else {
                let namespace = if service.name.is_empty() { endpoint.namespace } else { service.namespace };
                if !namespace.is_empty() {
                    self.part.push_str(&namespace.text());
                    self.part.push('/');
                }
                self.part.push_str(&name.text());
            }
            let has_port = flow.l4.has_ports() && port != 0;
            let is_bracketed = has_port && self.part.contains(':');
            self.text.push_str(if is_bracketed { "[" } else { "" });
            push_plain(&mut self.text, &self.part);
            self.text.push_str(if is_bracketed { "]" } else { "" });
            if has_port {
                // Writing to memory does not fail.
                let _written = write!(self.text, ":{port}");
            }
        }
        let number = endpoint.identity_number;
        let known = i32::try_from(number).ok().and_then(|number| name_in(&IDENTITIES, number));
        let _written = match known {
            Some(name) => write!(self.text, " ({name})"),
            None => write!(self.text, " (ID:{number})"),
        };
    }
}

/// Appends what the flow was made from.
fn put_type(flow: &Flow, extra: Option<&Extra>, reason: Option<(i32, &str)>, out: &mut String) {
    if let Some(l7) = extra.and_then(|extra| extra.l7.as_ref()) {
        let kind = match l7.kind {
            L7Kind::Unknown => "unknown_l7_type",
            L7Kind::Request => "request",
            L7Kind::Response => "response",
            L7Kind::Sample => "sample",
        };
        out.push_str(match l7.record {
            L7Record::Http(_) => "http-",
            L7Record::Dns(_) => "dns-",
            L7Record::None | L7Record::Grpc(_) | L7Record::Unanswered(_) => "l7-",
        });
        out.push_str(kind);
        // `observe` prints who saw a message of DNS here, which no flow that was seen here says.
        out.push_str(if matches!(l7.record, L7Record::Dns(_)) { " " } else { "" });
        return;
    }
    match flow.event {
        Event::Trace => {
            let point = if flow.point == Point::Other { 0 } else { i32::from(flow.point as u8) };
            out.push_str(trace_point(point).unwrap_or_default());
        }
        Event::Drop => match reason {
            // Hubble has no number for a reason of the kernel's, so `observe` cannot print it.
            Some((0, name)) if !name.is_empty() => push_plain(out, name),
            reason => {
                let number = reason.map_or(0, |(number, _)| number);
                match drop_reason(number) {
                    Some(name) => out.push_str(name),
                    None => _ = write!(out, "{}", number & 0xff),
                }
            }
        },
        Event::PolicyVerdict => {
            out.push_str("policy-verdict:");
            out.push_str(policy_match(flow.ruling.matched().into()));
            out.push_str(match flow.direction {
                Direction::Unknown => " TRAFFIC_DIRECTION_UNKNOWN",
                Direction::Ingress => " INGRESS",
                Direction::Egress => " EGRESS",
            });
        }
        Event::Capture => out.push_str("DBG_CAPTURE_POINT_UNKNOWN"),
        Event::Socket => out.push_str("SOCK_XLATE_POINT_UNKNOWN"),
        Event::Unknown | Event::L7 | Event::Connection | Event::Flush => out.push_str("UNKNOWN"),
    }
}

fn verdict(flow: &Flow) -> &'static str {
    if flow.event != Event::PolicyVerdict {
        return flow.verdict.name();
    }
    match flow.verdict {
        Verdict::Forwarded | Verdict::Redirected => "ALLOWED",
        Verdict::Dropped | Verdict::Error => "DENIED",
        Verdict::Audit => "AUDITED",
        other => other.name(),
    }
}
