//! Hubble's enums as they stand in JSON and in configuration files: by number and by name
//! (hubble-contract, appendix A).
//!
//! A flow that a newer program wrote may hold names that no table here has. Such a name gets a
//! stand-in, a number at the lower end of the range where no enum has any, and [`text`] gives the
//! name back.

use crate::sym::Sym;

/// `flow.Verdict`.
pub const VERDICTS: [(i32, &str); 8] = [
    (0, "VERDICT_UNKNOWN"),
    (1, "FORWARDED"),
    (2, "DROPPED"),
    (3, "ERROR"),
    (4, "AUDIT"),
    (5, "REDIRECTED"),
    (6, "TRACED"),
    (7, "TRANSLATED"),
];

/// `flow.TrafficDirection`.
pub const DIRECTIONS: [(i32, &str); 3] = [(0, "TRAFFIC_DIRECTION_UNKNOWN"), (1, "INGRESS"), (2, "EGRESS")];

/// `flow.IPVersion`.
pub const IP_VERSIONS: [(i32, &str); 3] = [(0, "IP_NOT_USED"), (1, "IPv4"), (2, "IPv6")];

/// `flow.L7FlowType`.
pub const L7_TYPES: [(i32, &str); 4] = [(0, "UNKNOWN_L7_TYPE"), (1, "REQUEST"), (2, "RESPONSE"), (3, "SAMPLE")];

/// `flow.SCTPChunkType`.
pub const SCTP_CHUNKS: [(i32, &str); 7] = [
    (0, "UNSUPPORTED"),
    (1, "INIT"),
    (2, "INIT_ACK"),
    (3, "SHUTDOWN"),
    (4, "SHUTDOWN_ACK"),
    (5, "SHUTDOWN_COMPLETE"),
    (6, "ABORT"),
];

/// `flow.LostEventSource`.
pub const LOST_EVENT_SOURCES: [(i32, &str); 4] = [
    (0, "UNKNOWN_LOST_EVENT_SOURCE"),
    (1, "PERF_EVENT_RING_BUFFER"),
    (2, "OBSERVER_EVENTS_QUEUE"),
    (3, "HUBBLE_RING_BUFFER"),
];

/// `flow.DropReason`, sorted by number.
pub const DROP_REASONS: [(i32, &str); 77] = [
    (0, "DROP_REASON_UNKNOWN"),
    (130, "INVALID_SOURCE_MAC"),
    (131, "INVALID_DESTINATION_MAC"),
    (132, "INVALID_SOURCE_IP"),
    (133, "POLICY_DENIED"),
    (134, "INVALID_PACKET_DROPPED"),
    (135, "CT_TRUNCATED_OR_INVALID_HEADER"),
    (136, "CT_MISSING_TCP_ACK_FLAG"),
    (137, "CT_UNKNOWN_L4_PROTOCOL"),
    (138, "CT_CANNOT_CREATE_ENTRY_FROM_PACKET"),
    (139, "UNSUPPORTED_L3_PROTOCOL"),
    (140, "MISSED_TAIL_CALL"),
    (141, "ERROR_WRITING_TO_PACKET"),
    (142, "UNKNOWN_L4_PROTOCOL"),
    (143, "UNKNOWN_ICMPV4_CODE"),
    (144, "UNKNOWN_ICMPV4_TYPE"),
    (145, "UNKNOWN_ICMPV6_CODE"),
    (146, "UNKNOWN_ICMPV6_TYPE"),
    (147, "ERROR_RETRIEVING_TUNNEL_KEY"),
    (148, "ERROR_RETRIEVING_TUNNEL_OPTIONS"),
    (149, "INVALID_GENEVE_OPTION"),
    (150, "UNKNOWN_L3_TARGET_ADDRESS"),
    (151, "STALE_OR_UNROUTABLE_IP"),
    (152, "NO_MATCHING_LOCAL_CONTAINER_FOUND"),
    (153, "ERROR_WHILE_CORRECTING_L3_CHECKSUM"),
    (154, "ERROR_WHILE_CORRECTING_L4_CHECKSUM"),
    (155, "CT_MAP_INSERTION_FAILED"),
    (156, "INVALID_IPV6_EXTENSION_HEADER"),
    (157, "IP_FRAGMENTATION_NOT_SUPPORTED"),
    (158, "SERVICE_BACKEND_NOT_FOUND"),
    (160, "NO_TUNNEL_OR_ENCAPSULATION_ENDPOINT"),
    (161, "FAILED_TO_INSERT_INTO_PROXYMAP"),
    (162, "REACHED_EDT_RATE_LIMITING_DROP_HORIZON"),
    (163, "UNKNOWN_CONNECTION_TRACKING_STATE"),
    (164, "LOCAL_HOST_IS_UNREACHABLE"),
    (165, "NO_CONFIGURATION_AVAILABLE_TO_PERFORM_POLICY_DECISION"),
    (166, "UNSUPPORTED_L2_PROTOCOL"),
    (167, "NO_MAPPING_FOR_NAT_MASQUERADE"),
    (168, "UNSUPPORTED_PROTOCOL_FOR_NAT_MASQUERADE"),
    (169, "FIB_LOOKUP_FAILED"),
    (170, "ENCAPSULATION_TRAFFIC_IS_PROHIBITED"),
    (171, "INVALID_IDENTITY"),
    (172, "UNKNOWN_SENDER"),
    (173, "NAT_NOT_NEEDED"),
    (174, "IS_A_CLUSTERIP"),
    (175, "FIRST_LOGICAL_DATAGRAM_FRAGMENT_NOT_FOUND"),
    (176, "FORBIDDEN_ICMPV6_MESSAGE"),
    (177, "DENIED_BY_LB_SRC_RANGE_CHECK"),
    (178, "SOCKET_LOOKUP_FAILED"),
    (179, "SOCKET_ASSIGN_FAILED"),
    (180, "PROXY_REDIRECTION_NOT_SUPPORTED_FOR_PROTOCOL"),
    (181, "POLICY_DENY"),
    (182, "VLAN_FILTERED"),
    (183, "INVALID_VNI"),
    (184, "INVALID_TC_BUFFER"),
    (185, "NO_SID"),
    (186, "MISSING_SRV6_STATE"),
    (187, "NAT46"),
    (188, "NAT64"),
    (189, "AUTH_REQUIRED"),
    (190, "CT_NO_MAP_FOUND"),
    (191, "SNAT_NO_MAP_FOUND"),
    (192, "INVALID_CLUSTER_ID"),
    (193, "UNSUPPORTED_PROTOCOL_FOR_DSR_ENCAP"),
    (194, "NO_EGRESS_GATEWAY"),
    (195, "UNENCRYPTED_TRAFFIC"),
    (196, "TTL_EXCEEDED"),
    (197, "NO_NODE_ID"),
    (198, "DROP_RATE_LIMITED"),
    (199, "IGMP_HANDLED"),
    (200, "IGMP_SUBSCRIBED"),
    (201, "MULTICAST_HANDLED"),
    (202, "DROP_HOST_NOT_READY"),
    (203, "DROP_EP_NOT_READY"),
    (204, "DROP_NO_EGRESS_IP"),
    (205, "DROP_PUNT_PROXY"),
    (207, "DROP_FRAG_NOT_FOUND_WORLD"),
];

/// The number behind a name.
pub fn number_of(table: &[(i32, &'static str)], name: &str) -> Option<i32> {
    table.iter().find(|(_, known)| *known == name).map(|&(number, _)| number)
}

/// The name of a number.
pub fn name_of(table: &[(i32, &'static str)], number: i32) -> Option<&'static str> {
    table.iter().find(|&&(known, _)| known == number).map(|&(_, name)| name)
}

/// The number behind a name, or a stand-in for a name that is not in the table. Interns, so not for
/// the event path.
pub fn number_or_stand_in(table: &[(i32, &'static str)], name: &str) -> i32 {
    number_of(table, name).unwrap_or_else(|| i32::MIN.saturating_add_unsigned(Sym::new(name).id()))
}

/// The name of a number or of a stand-in; a number without a name in decimal.
pub fn text(table: &[(i32, &'static str)], number: i32) -> String {
    if let Some(name) = name_of(table, number) {
        return name.to_owned();
    }
    let name =
        if number < 0 { Sym::of(number.wrapping_sub(i32::MIN).cast_unsigned()).text() } else { Sym::EMPTY.text() };
    if name.is_empty() { number.to_string() } else { name.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A name from a newer Hubble is shown as it was written, and a number without a name in
    /// decimal.
    #[test]
    fn unknown_names_stay_names() {
        assert_eq!(number_or_stand_in(&VERDICTS, "AUDIT"), 4);
        assert_eq!(text(&VERDICTS, number_or_stand_in(&VERDICTS, "FLYING")), "FLYING");
        assert_eq!([4, 77, -1, i32::MIN].map(|number| text(&VERDICTS, number)), ["AUDIT", "77", "-1", "-2147483648"]);
    }
}
