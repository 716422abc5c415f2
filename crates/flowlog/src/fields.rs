//! The fields of `flow.Flow`, read from any [`Notation`] into a [`Flow`] and its [`Extra`]
//! (hubble-contract §4 and appendix B).
//!
//! Fields come in any order and any of them may be missing; what no metric and no filter reads is
//! passed over.

use std::net::IpAddr;

use webb_flow::Verdict;
use webb_flow::extra::{Dns, Http, Interface, L7, L7Kind, L7Record, Service};
use webb_flow::names;
use webb_flow::{Address, Direction, Event, Extra, Family, Flow, L4, Point, Reason, Reply, SctpChunk, TcpFlags};

use super::interner::EndpointInterner;
use super::notation::{
    DnsFields, EventTypeFields, FlagFields, FlowFields, HeaderFields, HttpFields, IcmpFields, InterfaceFields,
    IpFields, L4Fields, L7Fields, Notation, SctpFields, ServiceFields, TcpFields, TraceContextFields, TraceIdFields,
};

/// Reads one field of a flow. `Ok(false)` if it is none that is read; its value is passed all the
/// same.
///
/// # Errors
/// If the value is not what the field holds.
#[inline]
pub(super) fn field<'a, N: Notation<'a>>(
    value: &mut N,
    number: u32,
    flow: &mut Flow,
    extra: &mut Extra,
    interner: &mut EndpointInterner,
) -> Result<bool, N::Error> {
    match number {
        FlowFields::TIME => flow.time_ns = value.time()?,
        FlowFields::UUID => set(&mut extra.uuid, &value.text()?),
        FlowFields::VERDICT => extra.verdict = value.enumeration(&names::VERDICTS)?,
        FlowFields::IP => addresses(value, flow, extra)?,
        FlowFields::L4 => layer4(value, flow, extra)?,
        FlowFields::SOURCE => flow.source = interner.endpoint(value, &mut extra.source_cluster)?,
        FlowFields::DESTINATION => flow.destination = interner.endpoint(value, &mut extra.destination_cluster)?,
        FlowFields::EVENT_TYPE => event_type(value, extra)?,
        FlowFields::TRAFFIC_DIRECTION => extra.traffic_direction = value.enumeration(&names::DIRECTIONS)?,
        FlowFields::IS_REPLY => flow.reply = if value.wrapped_truth()? { Reply::Yes } else { Reply::No },
        FlowFields::NODE_NAME => set(&mut extra.node_name, &value.text()?),
        FlowFields::INTERFACE => extra.interface = Some(interface(value)?),
        FlowFields::L7 => extra.l7 = Some(layer7(value)?),
        FlowFields::DROP_REASON_DESC => (extra.drop_reason, flow.reason) = interner.drop_reason(value)?,
        FlowFields::SOURCE_NAMES => extra.source_names = interner.names(value, extra.source_names)?,
        FlowFields::DESTINATION_NAMES => extra.destination_names = interner.names(value, extra.destination_names)?,
        FlowFields::NODE_LABELS => texts(value, &mut extra.node_labels)?,
        FlowFields::SOURCE_SERVICE => extra.source_service = Some(service(value)?),
        FlowFields::DESTINATION_SERVICE => extra.destination_service = Some(service(value)?),
        FlowFields::POLICY_MATCH_TYPE => extra.policy_match_type = value.integer()?,
        FlowFields::TRACE_CONTEXT => trace_context(value, extra)?,
        FlowFields::IP_TRACE_ID => value.message::<TraceIdFields>(|inside, field| {
            if field == TraceIdFields::TRACE_ID {
                extra.ip_trace_id = inside.integer()?;
                return Ok(());
            }
            inside.pass()
        })?,
        _ => {
            value.pass()?;
            return Ok(false);
        }
    }
    Ok(true)
}

/// An extra that is used again: nothing is set, and its strings keep their memory.
pub(super) fn empty(extra: &mut Extra) {
    let mut kept = std::mem::take(extra);
    for text in [
        &mut kept.uuid,
        &mut kept.node_name,
        &mut kept.source_cluster,
        &mut kept.destination_cluster,
        &mut kept.trace_id,
    ] {
        text.clear();
    }
    kept.node_labels.clear();
    *extra = Extra {
        uuid: kept.uuid,
        node_name: kept.node_name,
        node_labels: kept.node_labels,
        source_cluster: kept.source_cluster,
        destination_cluster: kept.destination_cluster,
        trace_id: kept.trace_id,
        ..Extra::default()
    };
}

/// Derives the fields that depend on others in any order: called when all have been read.
/// `unknown_reason` is the reason of a drop without one.
pub(super) fn finish(flow: &mut Flow, extra: &Extra, unknown_reason: Reason) {
    flow.verdict = u8::try_from(extra.verdict).map_or(Verdict::Unknown, Verdict::of);
    flow.direction = u8::try_from(extra.traffic_direction).map_or(Direction::Unknown, Direction::of);
    flow.event = match extra.event_type.map(u8::try_from) {
        // 255 is a number of our own.
        Some(Ok(number)) if ![Event::Flush as u8, Event::Connection as u8].contains(&number) => Event::of(number),
        _ => Event::Unknown,
    };
    flow.point = u8::try_from(extra.sub_type).map_or(Point::Other, Point::of);
    flow.reason = match flow.verdict {
        Verdict::Dropped if flow.reason == Reason::NONE => unknown_reason,
        Verdict::Dropped => flow.reason,
        _ => Reason::NONE,
    };
}

fn addresses<'a, N: Notation<'a>>(value: &mut N, flow: &mut Flow, extra: &mut Extra) -> Result<(), N::Error> {
    extra.has_ip = true;
    value.message::<IpFields>(|inside, field| {
        match field {
            IpFields::SOURCE => flow.source_ip = address(inside, &mut extra.mapped.source)?.unwrap_or_default(),
            IpFields::DESTINATION => {
                flow.destination_ip = address(inside, &mut extra.mapped.destination)?.unwrap_or_default();
            }
            IpFields::SOURCE_XLATED => extra.source_xlated = address(inside, &mut extra.mapped.source_xlated)?,
            IpFields::VERSION => {
                flow.family = match inside.enumeration(&names::IP_VERSIONS)? {
                    1 => Family::V4,
                    2 => Family::V6,
                    _ => Family::NotUsed,
                }
            }
            IpFields::ENCRYPTED => extra.encrypted = inside.truth()?,
            _ => inside.pass()?,
        }
        Ok(())
    })
}

fn address<'a, N: Notation<'a>>(value: &mut N, mapped: &mut bool) -> Result<Option<Address>, N::Error> {
    let text = value.text()?;
    *mapped = false;
    if text.is_empty() {
        return Ok(None);
    }
    match text.parse::<IpAddr>() {
        Ok(ip) => {
            *mapped = matches!(ip, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some());
            Ok(Some(Address::from(ip)))
        }
        Err(_) => value.refuse(format!("expected an IP address, found {text:?}")),
    }
}

fn layer4<'a, N: Notation<'a>>(value: &mut N, flow: &mut Flow, extra: &mut Extra) -> Result<(), N::Error> {
    extra.has_l4 = true;
    value.message::<L4Fields>(|inside, protocol| {
        flow.l4 = match protocol {
            L4Fields::TCP => L4::Tcp,
            L4Fields::UDP => L4::Udp,
            L4Fields::ICMP_V4 => L4::IcmpV4,
            L4Fields::ICMP_V6 => L4::IcmpV6,
            L4Fields::SCTP => L4::Sctp,
            L4Fields::VRRP => L4::Vrrp,
            L4Fields::IGMP => L4::Igmp,
            _ => return inside.pass(),
        };
        match flow.l4 {
            L4::Tcp => inside.message::<TcpFields>(|inside, field| match field {
                TcpFields::SOURCE_PORT => port(inside, &mut flow.source_port),
                TcpFields::DESTINATION_PORT => port(inside, &mut flow.destination_port),
                TcpFields::FLAGS => {
                    flow.tcp_flags = tcp_flags(inside)?;
                    Ok(())
                }
                _ => inside.pass(),
            }),
            L4::Udp => inside.message::<TcpFields>(|inside, field| match field {
                TcpFields::SOURCE_PORT => port(inside, &mut flow.source_port),
                TcpFields::DESTINATION_PORT => port(inside, &mut flow.destination_port),
                _ => inside.pass(),
            }),
            L4::Sctp => inside.message::<SctpFields>(|inside, field| match field {
                SctpFields::SOURCE_PORT => port(inside, &mut flow.source_port),
                SctpFields::DESTINATION_PORT => port(inside, &mut flow.destination_port),
                SctpFields::CHUNK_TYPE => {
                    extra.sctp_chunk = inside.enumeration(&names::SCTP_CHUNKS)?;
                    flow.sctp_chunk = chunk(extra.sctp_chunk);
                    Ok(())
                }
                _ => inside.pass(),
            }),
            L4::IcmpV4 | L4::IcmpV6 => inside.message::<IcmpFields>(|inside, field| match field {
                IcmpFields::TYPE => byte(inside, &mut flow.icmp_type),
                IcmpFields::CODE => byte(inside, &mut flow.icmp_code),
                _ => inside.pass(),
            }),
            L4::Vrrp | L4::Igmp | L4::None => inside.pass(),
        }
    })
}

fn port<'a, N: Notation<'a>>(value: &mut N, port: &mut u16) -> Result<(), N::Error> {
    *port = value.integer()?;
    Ok(())
}

/// A byte of a packet in a field of 32 bits.
fn byte<'a, N: Notation<'a>>(value: &mut N, byte: &mut u8) -> Result<(), N::Error> {
    *byte = value.integer::<u32>()?.to_le_bytes()[0];
    Ok(())
}

fn chunk(number: i32) -> SctpChunk {
    match number {
        1 => SctpChunk::Init,
        2 => SctpChunk::InitAck,
        3 => SctpChunk::Shutdown,
        4 => SctpChunk::ShutdownAck,
        5 => SctpChunk::ShutdownComplete,
        6 => SctpChunk::Abort,
        _ => SctpChunk::Unsupported,
    }
}

fn tcp_flags<'a, N: Notation<'a>>(value: &mut N) -> Result<TcpFlags, N::Error> {
    let mut bits = 0;
    value.message::<FlagFields>(|inside, name| {
        let bit = match name {
            FlagFields::FIN => TcpFlags::FIN,
            FlagFields::SYN => TcpFlags::SYN,
            FlagFields::RST => TcpFlags::RST,
            FlagFields::PSH => TcpFlags::PSH,
            FlagFields::ACK => TcpFlags::ACK,
            FlagFields::URG => TcpFlags::URG,
            FlagFields::ECE => TcpFlags::ECE,
            FlagFields::CWR => TcpFlags::CWR,
            FlagFields::NS => TcpFlags::NS,
            _ => return inside.pass(),
        };
        if inside.truth()? {
            bits |= bit;
        }
        Ok(())
    })?;
    Ok(TcpFlags::known(bits))
}

fn event_type<'a, N: Notation<'a>>(value: &mut N, extra: &mut Extra) -> Result<(), N::Error> {
    extra.event_type = Some(0);
    value.message::<EventTypeFields>(|inside, field| {
        match field {
            EventTypeFields::TYPE => extra.event_type = Some(inside.integer()?),
            EventTypeFields::SUB_TYPE => extra.sub_type = inside.integer()?,
            _ => inside.pass()?,
        }
        Ok(())
    })
}

fn interface<'a, N: Notation<'a>>(value: &mut N) -> Result<Interface, N::Error> {
    let mut interface = Interface::default();
    value.message::<InterfaceFields>(|inside, field| {
        match field {
            InterfaceFields::INDEX => interface.index = inside.integer()?,
            InterfaceFields::NAME => interface.name = inside.text()?.into_owned(),
            _ => inside.pass()?,
        }
        Ok(())
    })?;
    Ok(interface)
}

fn service<'a, N: Notation<'a>>(value: &mut N) -> Result<Service, N::Error> {
    let mut service = Service::default();
    value.message::<ServiceFields>(|inside, field| {
        match field {
            ServiceFields::NAME => service.name = inside.text()?.into_owned(),
            ServiceFields::NAMESPACE => service.namespace = inside.text()?.into_owned(),
            _ => inside.pass()?,
        }
        Ok(())
    })?;
    Ok(service)
}

fn trace_context<'a, N: Notation<'a>>(value: &mut N, extra: &mut Extra) -> Result<(), N::Error> {
    value.message::<TraceContextFields>(|inside, field| {
        if field != TraceContextFields::PARENT {
            return inside.pass();
        }
        inside.message::<TraceIdFields>(|inside, field| {
            if field != TraceIdFields::TRACE_ID {
                return inside.pass();
            }
            set(&mut extra.trace_id, &inside.text()?);
            Ok(())
        })
    })
}

fn layer7<'a, N: Notation<'a>>(value: &mut N) -> Result<L7, N::Error> {
    let mut l7 = L7::default();
    value.message::<L7Fields>(|inside, field| {
        match field {
            L7Fields::TYPE => {
                l7.kind = match inside.enumeration(&names::L7_TYPES)? {
                    1 => L7Kind::Request,
                    2 => L7Kind::Response,
                    3 => L7Kind::Sample,
                    _ => L7Kind::Unknown,
                }
            }
            L7Fields::LATENCY_NS => l7.latency_ns = inside.integer()?,
            L7Fields::DNS => l7.record = L7Record::Dns(dns(inside)?),
            L7Fields::HTTP => l7.record = L7Record::Http(http(inside)?),
            _ => inside.pass()?,
        }
        Ok(())
    })?;
    Ok(l7)
}

fn dns<'a, N: Notation<'a>>(value: &mut N) -> Result<Dns, N::Error> {
    let mut dns = Dns::default();
    value.message::<DnsFields>(|inside, field| {
        match field {
            DnsFields::QUERY => dns.query = inside.text()?.into_owned(),
            DnsFields::IPS => inside.elements(|inside| {
                dns.ips += 1;
                inside.text().map(|_| ())
            })?,
            DnsFields::RCODE => dns.rcode = inside.integer()?,
            DnsFields::QTYPES => texts(inside, &mut dns.qtypes)?,
            DnsFields::RRTYPES => texts(inside, &mut dns.rrtypes)?,
            _ => inside.pass()?,
        }
        Ok(())
    })?;
    Ok(dns)
}

fn http<'a, N: Notation<'a>>(value: &mut N) -> Result<Http, N::Error> {
    let mut http = Http::default();
    value.message::<HttpFields>(|inside, field| {
        match field {
            HttpFields::CODE => http.code = inside.integer()?,
            HttpFields::METHOD => http.method = inside.text()?.into_owned(),
            HttpFields::URL => http.url = inside.text()?.into_owned(),
            HttpFields::PROTOCOL => http.protocol = inside.text()?.into_owned(),
            HttpFields::HEADERS => inside.elements(|inside| {
                http.headers.push(header(inside)?);
                Ok(())
            })?,
            _ => inside.pass()?,
        }
        Ok(())
    })?;
    Ok(http)
}

fn header<'a, N: Notation<'a>>(value: &mut N) -> Result<(String, String), N::Error> {
    let mut header = (String::new(), String::new());
    value.message::<HeaderFields>(|inside, field| {
        match field {
            HeaderFields::KEY => header.0 = inside.text()?.into_owned(),
            HeaderFields::VALUE => header.1 = inside.text()?.into_owned(),
            _ => inside.pass()?,
        }
        Ok(())
    })?;
    Ok(header)
}

/// Reads a list of texts.
fn texts<'a, N: Notation<'a>>(value: &mut N, out: &mut Vec<String>) -> Result<(), N::Error> {
    value.elements(|inside| {
        out.push(inside.text()?.into_owned());
        Ok(())
    })
}

/// A field may, against all rules, come twice: the last one counts.
fn set(out: &mut String, text: &str) {
    out.clear();
    out.push_str(text);
}
