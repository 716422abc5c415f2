//! Names of attributes, and the field of `flow.Flow` that each stands for.
//!
//! Names are those of OpenTelemetry's registry where it has them, else those of its proposal for
//! network flows (which may change: they are nowhere else), else `webb.*`.

use webb_otlp::Attributes;

use crate::mask::Mask;

macro_rules! attributes {
    ($($id:ident $name:literal $path:literal)*) => {
        /// An attribute of a record.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub(super) enum Attribute { $($id),* }

        impl Attribute {
            /// All of them.
            const ALL: &[Self] = &[$(Self::$id),*];

            /// Its name.
            pub(super) const fn name(self) -> &'static str {
                match self { $(Self::$id => $name),* }
            }

            /// The field that a mask names for it; empty for one that every record has.
            const fn path(self) -> &'static str {
                match self { $(Self::$id => $path),* }
            }
        }
    };
}

attributes! {
    SourceAddress "source.address" "IP.source"
    SourcePort "source.port" "l4"
    SourceNamespace "source.k8s.namespace.name" "source.namespace"
    SourcePod "source.k8s.pod.name" "source.pod_name"
    SourceOwner "source.k8s.owner.name" "source.workloads"
    SourceOwnerType "source.k8s.owner.type" "source.workloads"
    SourceNode "source.k8s.node.name" "source"
    SourceZone "source.cloud.availability_zone" "source"
    SourceRegion "source.cloud.region" "source"
    SourceCidr "source.cidr" "source"
    SourceService "source.k8s.service.name" "source_service"
    SourceIdentity "webb.source.identity" "source.identity"
    SourceNames "webb.source.names" "source_names"
    SourceCluster "webb.source.cluster" "source.cluster_name"
    SourceLabels "source.k8s.pod.label" "source.labels"
    DestinationAddress "destination.address" "IP.destination"
    DestinationPort "destination.port" "l4"
    DestinationNamespace "destination.k8s.namespace.name" "destination.namespace"
    DestinationPod "destination.k8s.pod.name" "destination.pod_name"
    DestinationOwner "destination.k8s.owner.name" "destination.workloads"
    DestinationOwnerType "destination.k8s.owner.type" "destination.workloads"
    DestinationNode "destination.k8s.node.name" "destination"
    DestinationZone "destination.cloud.availability_zone" "destination"
    DestinationRegion "destination.cloud.region" "destination"
    DestinationCidr "destination.cidr" "destination"
    DestinationService "destination.k8s.service.name" "destination_service"
    DestinationIdentity "webb.destination.identity" "destination.identity"
    DestinationNames "webb.destination.names" "destination_names"
    DestinationCluster "webb.destination.cluster" "destination.cluster_name"
    DestinationLabels "destination.k8s.pod.label" "destination.labels"
    InterZone "network.flow.inter_zone" ""
    Transport "network.transport" "l4"
    NetworkType "network.type" "IP.ipVersion"
    Direction "network.io.direction" "traffic_direction"
    Interface "network.interface.name" "interface.name"
    Bytes "flow.io.bytes" ""
    Packets "flow.io.packets" ""
    Uid "log.record.uid" "uuid"
    Verdict "webb.verdict" "verdict"
    Outcome "webb.connection.outcome" ""
    DropReason "webb.drop.reason" "drop_reason_desc"
    IngressAllowedBy "webb.policy.ingress_allowed_by" "ingress_allowed_by"
    IngressDeniedBy "webb.policy.ingress_denied_by" "ingress_denied_by"
    EgressAllowedBy "webb.policy.egress_allowed_by" "egress_allowed_by"
    EgressDeniedBy "webb.policy.egress_denied_by" "egress_denied_by"
    TcpFlags "webb.tcp.flags" "l4.TCP.flags"
    IcmpType "webb.icmp.type" "l4"
    IcmpCode "webb.icmp.code" "l4"
    IsReply "webb.is_reply" "is_reply"
    EventType "webb.event.type" "event_type.type"
    EventSubType "webb.event.sub_type" "event_type.sub_type"
    Method "http.request.method" "l7.http.method"
    Status "http.response.status_code" "l7.http.code"
    UrlPath "url.path" "l7.http.url"
    ProtocolVersion "network.protocol.version" "l7.http.protocol"
    Question "dns.question.name" "l7.dns.query"
    QuestionTypes "webb.dns.qtypes" "l7.dns.qtypes"
    Rcode "webb.dns.rcode" "l7.dns.rcode"
    Answers "webb.dns.ips" "l7.dns.ips"
    Latency "webb.l7.latency_ns" "l7.latency_ns"
    MessageType "webb.l7.type" "l7.type"
    SampleEvery "webb.sample.every" ""
}

const _: () = assert!(Attribute::ALL.len() <= 128);

/// The attributes of one end.
#[derive(Debug)]
pub(super) struct Side {
    pub(super) address: Attribute,
    pub(super) port: Attribute,
    pub(super) namespace: Attribute,
    pub(super) pod: Attribute,
    pub(super) owner: Attribute,
    pub(super) owner_type: Attribute,
    pub(super) node: Attribute,
    pub(super) zone: Attribute,
    pub(super) region: Attribute,
    pub(super) cidr: Attribute,
    pub(super) service: Attribute,
    pub(super) identity: Attribute,
    pub(super) names: Attribute,
    pub(super) cluster: Attribute,
    pub(super) labels: Attribute,
}

/// Those of the sender.
pub(super) const SOURCE: Side = Side {
    address: Attribute::SourceAddress,
    port: Attribute::SourcePort,
    namespace: Attribute::SourceNamespace,
    pod: Attribute::SourcePod,
    owner: Attribute::SourceOwner,
    owner_type: Attribute::SourceOwnerType,
    node: Attribute::SourceNode,
    zone: Attribute::SourceZone,
    region: Attribute::SourceRegion,
    cidr: Attribute::SourceCidr,
    service: Attribute::SourceService,
    identity: Attribute::SourceIdentity,
    names: Attribute::SourceNames,
    cluster: Attribute::SourceCluster,
    labels: Attribute::SourceLabels,
};

/// Those of the receiver.
pub(super) const DESTINATION: Side = Side {
    address: Attribute::DestinationAddress,
    port: Attribute::DestinationPort,
    namespace: Attribute::DestinationNamespace,
    pod: Attribute::DestinationPod,
    owner: Attribute::DestinationOwner,
    owner_type: Attribute::DestinationOwnerType,
    node: Attribute::DestinationNode,
    zone: Attribute::DestinationZone,
    region: Attribute::DestinationRegion,
    cidr: Attribute::DestinationCidr,
    service: Attribute::DestinationService,
    identity: Attribute::DestinationIdentity,
    names: Attribute::DestinationNames,
    cluster: Attribute::DestinationCluster,
    labels: Attribute::DestinationLabels,
};

/// The attributes that are wanted, as bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wanted(u128);

impl Wanted {
    /// Those that a mask leaves; without one all. `uid`: whether records have an id.
    pub(super) fn new(mask: Option<&Mask>, uid: bool) -> Self {
        let is_wanted = |attribute: &&Attribute| {
            let path = attribute.path();
            (uid || **attribute != Attribute::Uid) && (path.is_empty() || mask.is_none_or(|mask| mask.has(path)))
        };
        Self(Attribute::ALL.iter().filter(is_wanted).fold(0, |all, attribute| all | 1 << *attribute as u8))
    }

    #[inline]
    pub(super) fn has(self, attribute: Attribute) -> bool {
        self.0 >> attribute as u8 & 1 == 1
    }
}

/// Appends attributes that are wanted.
#[derive(Debug)]
pub(super) struct Put<'a> {
    pub(super) to: &'a mut Attributes,
    pub(super) wanted: Wanted,
}

impl Put<'_> {
    #[inline]
    pub(super) fn text(&mut self, attribute: Attribute, value: &str) {
        if self.wanted.has(attribute) {
            self.to.string(attribute.name(), value);
        }
    }

    #[inline]
    pub(super) fn number(&mut self, attribute: Attribute, value: u64) {
        if self.wanted.has(attribute) {
            self.to.count(attribute.name(), value);
        }
    }

    #[inline]
    pub(super) fn boolean(&mut self, attribute: Attribute, value: bool) {
        if self.wanted.has(attribute) {
            self.to.bool(attribute.name(), value);
        }
    }

    pub(super) fn texts<'t>(&mut self, attribute: Attribute, values: impl Iterator<Item = &'t str> + Clone) {
        if self.wanted.has(attribute) {
            self.to.strings(attribute.name(), values);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// Each attribute has a name of its own, and stands for a field that masks know.
    #[test]
    fn every_attribute_has_its_field() {
        let names: HashSet<&str> = Attribute::ALL.iter().map(|attribute| attribute.name()).collect();
        assert_eq!(names.len(), Attribute::ALL.len());
        for attribute in Attribute::ALL.iter().filter(|attribute| !attribute.path().is_empty()) {
            let mask = Mask::new([attribute.path()]).unwrap();
            assert!(Wanted::new(Some(&mask), true).has(*attribute), "{attribute:?}");
        }
    }

    /// A mask leaves what it names, parts of it, and what no field of a flow stands for.
    #[test]
    fn masks_choose_attributes() {
        let wanted = |paths: &[&str]| Wanted::new(Some(&Mask::new(paths.iter().copied()).unwrap()), true);
        let some = wanted(&["source.pod_name", "verdict", "l7.http"]);
        for attribute in [
            Attribute::SourcePod,
            Attribute::SourceZone,
            Attribute::Verdict,
            Attribute::Status,
            Attribute::Bytes,
            Attribute::SampleEvery,
        ] {
            assert!(some.has(attribute), "{attribute:?}");
        }
        for attribute in [Attribute::SourceNamespace, Attribute::DestinationPod, Attribute::Uid, Attribute::Rcode] {
            assert!(!some.has(attribute), "{attribute:?}");
        }
        assert!(wanted(&["source"]).has(Attribute::SourceNamespace));
        assert!(!Wanted::new(None, false).has(Attribute::Uid));
    }
}
