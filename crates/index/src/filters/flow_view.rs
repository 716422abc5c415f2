//! A flow as filters read it: fields of its [`Extra`] where there is one, else of the flow itself.

use webb_flow::extra::{Http, L7Record, Mapped};
use webb_flow::sym::Sym;
use webb_flow::{Address, Direction, Event, Extra, Family, Flow, Point, Reason, Reply, Verdict};

use super::address::FlowAddress;
use crate::{End, Endpoint, Index, ServiceName};

/// One flow, its extra, and the index that resolves its ids.
#[derive(Debug, Clone, Copy)]
pub(super) struct FlowView<'a> {
    pub(super) flow: &'a Flow,
    pub(super) extra: Option<&'a Extra>,
    pub(super) index: &'a Index,
}

/// Type and sub-type of an event. The sub-type of a drop from the kernel is its reason, known by
/// name.
#[derive(Debug, Clone, Copy)]
pub(super) enum SubType {
    Number(i32),
    Reason(Reason),
}

impl<'a> FlowView<'a> {
    pub(super) fn endpoint(&self, end: End) -> &'a Endpoint {
        self.index.endpoint(end.id(self.flow))
    }

    /// All labels of the endpoint, joined with `,`.
    pub(super) fn identity(&self, end: End) -> Sym {
        self.index.identity(end.id(self.flow))
    }

    /// Fields that another program wrote beside the flow.
    pub(super) fn written(&self) -> Option<&'a Extra> {
        self.extra.filter(|extra| !extra.live)
    }

    /// `IP.source` or `IP.destination`; none where the flow has no such address.
    pub(super) fn address(&self, end: End) -> Option<FlowAddress> {
        let mapped = self.extra.map_or_else(Mapped::default, |extra| extra.mapped);
        match end {
            End::Source => self.known(self.flow.source_ip, mapped.source),
            End::Destination => self.known(self.flow.destination_ip, mapped.destination),
        }
    }

    /// `IP.source_xlated`.
    pub(super) fn translated(&self) -> Option<FlowAddress> {
        let extra = self.extra?;
        self.known(extra.source_xlated?, extra.mapped.source_xlated)
    }

    fn known(&self, address: Address, mapped: bool) -> Option<FlowAddress> {
        let absent = address == Address::default() && self.flow.family != Family::V6;
        let v4 = address.ip().is_ipv4() && !mapped;
        (self.has_ip() && !absent).then_some(FlowAddress { address, v4 })
    }

    pub(super) fn has_ip(&self) -> bool {
        self.extra.map_or(self.flow.family != Family::NotUsed, |extra| extra.has_ip)
    }

    /// `source_names` or `destination_names`, joined with `,`.
    pub(super) fn names(&self, end: End) -> Sym {
        end.dns_names(self.flow, self.extra, self.index)
    }

    /// `source_service` or `destination_service`, as the index resolves it; empty where there is
    /// none.
    pub(super) fn service(&self, end: End) -> ServiceName {
        let service = self.flow.service;
        self.index.services().name(match end {
            End::Source => service.at_source(),
            End::Destination => service.at_destination(),
        })
    }

    pub(super) fn verdict(&self) -> i32 {
        self.extra.map_or(self.flow.verdict as i32, |extra| extra.verdict)
    }

    pub(super) fn is_dropped(&self) -> bool {
        self.verdict() == Verdict::Dropped as i32
    }

    pub(super) fn direction(&self) -> i32 {
        self.extra.map_or(self.flow.direction as i32, |extra| extra.traffic_direction)
    }

    pub(super) fn ip_version(&self) -> i32 {
        if self.has_ip() { self.flow.family as i32 } else { Family::NotUsed as i32 }
    }

    /// `is_reply`; a drop, of which it is not known, counts as none.
    pub(super) fn reply(&self) -> Option<bool> {
        match self.flow.reply {
            Reply::Yes => Some(true),
            Reply::No => Some(false),
            Reply::Unknown => self.is_dropped().then_some(false),
        }
    }

    /// `event_type`; none where the flow has none.
    pub(super) fn event(&self) -> Option<(i32, SubType)> {
        if let Some(extra) = self.extra {
            return extra.event_type.map(|kind| (kind, SubType::Number(extra.sub_type)));
        }
        let point = match self.flow.point {
            Point::Other => 0,
            point => point as i32,
        };
        match self.flow.event {
            Event::Unknown | Event::Connection => None,
            // Deltas that a trace would have brought, had there been a packet worth one.
            Event::Trace | Event::Flush => Some((Event::Trace as i32, SubType::Number(point))),
            Event::Drop => Some((Event::Drop as i32, SubType::Reason(self.flow.reason))),
            other => Some((other as i32, SubType::Number(0))),
        }
    }

    /// The name of a DNS question, whether or not it was answered; none of another flow.
    pub(super) fn dns_query(&self) -> Option<&'a str> {
        match &self.extra?.l7.as_ref()?.record {
            L7Record::Dns(dns) => Some(&dns.query),
            L7Record::Unanswered(question) => Some(&question.query),
            _ => None,
        }
    }

    pub(super) fn http(&self) -> Option<&'a Http> {
        match &self.extra?.l7.as_ref()?.record {
            L7Record::Http(http) => Some(http),
            _ => None,
        }
    }
}

// The numbers of our enums are flow.proto's, so that a filter's number can be compared with both.
const _: () = assert!(Verdict::Translated as i32 == 7 && Direction::Egress as i32 == 2 && Family::V6 as i32 == 2);
