//! The fields of `flow.Flow`, read from JSON into a [`Flow`] and its [`Extra`] (hubble-contract §4
//! and appendix B).
//!
//! Fields come in any order and any of them may be missing; what no metric and no filter reads is
//! passed over.

use std::borrow::Cow;
use std::net::IpAddr;

use webb_flow::Verdict;
use webb_flow::extra::{Dns, Http, Interface, L7, L7Kind, L7Record, Service};
use webb_flow::names;
use webb_flow::{Address, Direction, Event, Extra, Family, Flow, L4, Point, Reason, Reply, SctpChunk, TcpFlags};

use super::interner::EndpointInterner;
use super::json::{Cursor, JsonError};
use super::numbers::number;
use super::time;

/// Reads one field of a flow. `Ok(false)` if it is none that is read; its value is passed all the
/// same.
///
/// # Errors
/// If the value is not what the field holds.
#[inline]
pub(super) fn field(
    cursor: &mut Cursor<'_>,
    name: &str,
    flow: &mut Flow,
    extra: &mut Extra,
    interner: &mut EndpointInterner,
) -> Result<bool, JsonError> {
    match name.as_bytes() {
        b"time" => flow.time_ns = moment(cursor)?,
        b"uuid" => set(&mut extra.uuid, &cursor.string()?),
        b"verdict" => extra.verdict = number(cursor, &names::VERDICTS)?,
        b"IP" => addresses(cursor, flow, extra)?,
        b"l4" => layer4(cursor, flow, extra)?,
        b"source" => flow.source = interner.endpoint(cursor, &mut extra.source_cluster)?,
        b"destination" => flow.destination = interner.endpoint(cursor, &mut extra.destination_cluster)?,
        b"event_type" => event_type(cursor, extra)?,
        b"traffic_direction" => extra.traffic_direction = number(cursor, &names::DIRECTIONS)?,
        b"is_reply" => flow.reply = if cursor.boolean()? { Reply::Yes } else { Reply::No },
        b"node_name" => set(&mut extra.node_name, &cursor.string()?),
        b"interface" => extra.interface = Some(interface(cursor)?),
        b"l7" => extra.l7 = Some(layer7(cursor)?),
        b"drop_reason_desc" => (extra.drop_reason, flow.reason) = interner.drop_reason(cursor)?,
        b"source_names" => extra.source_names = interner.names(cursor)?,
        b"destination_names" => extra.destination_names = interner.names(cursor)?,
        b"node_labels" => texts(cursor, &mut extra.node_labels)?,
        b"source_service" => extra.source_service = Some(service(cursor)?),
        b"destination_service" => extra.destination_service = Some(service(cursor)?),
        b"policy_match_type" => extra.policy_match_type = cursor.whole()?,
        b"trace_context" => trace_context(cursor, extra)?,
        b"ip_trace_id" => cursor.object(|inside, field| {
            if field == "trace_id" {
                extra.ip_trace_id = inside.whole()?;
                return Ok(());
            }
            inside.skip()
        })?,
        _ => {
            cursor.skip()?;
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

fn moment(cursor: &mut Cursor<'_>) -> Result<u64, JsonError> {
    let text = cursor.string()?;
    match time::nanoseconds(&text) {
        Some(moment) => Ok(moment),
        None => cursor.wrong(format!("expected a time such as 2026-01-01T00:00:00Z, found {text:?}")),
    }
}

fn addresses(cursor: &mut Cursor<'_>, flow: &mut Flow, extra: &mut Extra) -> Result<(), JsonError> {
    extra.has_ip = true;
    cursor.object(|inside, field| {
        match field {
            "source" => flow.source_ip = address(inside, &mut extra.mapped.source)?.unwrap_or_default(),
            "destination" => flow.destination_ip = address(inside, &mut extra.mapped.destination)?.unwrap_or_default(),
            "source_xlated" => extra.source_xlated = address(inside, &mut extra.mapped.source_xlated)?,
            "ipVersion" => {
                flow.family = match number(inside, &names::IP_VERSIONS)? {
                    1 => Family::V4,
                    2 => Family::V6,
                    _ => Family::NotUsed,
                }
            }
            "encrypted" => extra.encrypted = inside.boolean()?,
            _ => inside.skip()?,
        }
        Ok(())
    })
}

fn address(cursor: &mut Cursor<'_>, mapped: &mut bool) -> Result<Option<Address>, JsonError> {
    let text = cursor.string()?;
    *mapped = false;
    if text.is_empty() {
        return Ok(None);
    }
    match text.parse::<IpAddr>() {
        Ok(ip) => {
            *mapped = matches!(ip, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some());
            Ok(Some(Address::from(ip)))
        }
        Err(_) => cursor.wrong(format!("expected an IP address, found {text:?}")),
    }
}

fn layer4(cursor: &mut Cursor<'_>, flow: &mut Flow, extra: &mut Extra) -> Result<(), JsonError> {
    extra.has_l4 = true;
    cursor.object(|inside, protocol| {
        flow.l4 = match protocol {
            "TCP" => L4::Tcp,
            "UDP" => L4::Udp,
            "ICMPv4" => L4::IcmpV4,
            "ICMPv6" => L4::IcmpV6,
            "SCTP" => L4::Sctp,
            "VRRP" => L4::Vrrp,
            "IGMP" => L4::Igmp,
            _ => return inside.skip(),
        };
        let l4 = flow.l4;
        inside.object(|inside, field| {
            match (l4, field) {
                (L4::Tcp | L4::Udp | L4::Sctp, "source_port") => flow.source_port = inside.whole()?,
                (L4::Tcp | L4::Udp | L4::Sctp, "destination_port") => flow.destination_port = inside.whole()?,
                (L4::Tcp, "flags") => flow.tcp_flags = tcp_flags(inside)?,
                (L4::IcmpV4 | L4::IcmpV6, "type") => flow.icmp_type = byte(inside)?,
                (L4::IcmpV4 | L4::IcmpV6, "code") => flow.icmp_code = byte(inside)?,
                (L4::Sctp, "chunk_type") => {
                    extra.sctp_chunk = number(inside, &names::SCTP_CHUNKS)?;
                    flow.sctp_chunk = chunk(extra.sctp_chunk);
                }
                _ => inside.skip()?,
            }
            Ok(())
        })
    })
}

/// A byte of a packet in a field of 32 bits.
fn byte(cursor: &mut Cursor<'_>) -> Result<u8, JsonError> {
    Ok(cursor.whole::<u32>()?.to_le_bytes()[0])
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

fn tcp_flags(cursor: &mut Cursor<'_>) -> Result<TcpFlags, JsonError> {
    let mut bits = 0;
    cursor.object(|inside, name| {
        let bit = match name {
            "FIN" => TcpFlags::FIN,
            "SYN" => TcpFlags::SYN,
            "RST" => TcpFlags::RST,
            "PSH" => TcpFlags::PSH,
            "ACK" => TcpFlags::ACK,
            "URG" => TcpFlags::URG,
            "ECE" => TcpFlags::ECE,
            "CWR" => TcpFlags::CWR,
            "NS" => TcpFlags::NS,
            _ => return inside.skip(),
        };
        if inside.boolean()? {
            bits |= bit;
        }
        Ok(())
    })?;
    Ok(TcpFlags::known(bits))
}

fn event_type(cursor: &mut Cursor<'_>, extra: &mut Extra) -> Result<(), JsonError> {
    extra.event_type = Some(0);
    cursor.object(|inside, field| {
        match field {
            "type" => extra.event_type = Some(inside.whole()?),
            "sub_type" => extra.sub_type = inside.whole()?,
            _ => inside.skip()?,
        }
        Ok(())
    })
}

fn interface(cursor: &mut Cursor<'_>) -> Result<Interface, JsonError> {
    let mut interface = Interface::default();
    cursor.object(|inside, field| {
        match field {
            "index" => interface.index = inside.whole()?,
            "name" => interface.name = inside.string()?.into_owned(),
            _ => inside.skip()?,
        }
        Ok(())
    })?;
    Ok(interface)
}

fn service(cursor: &mut Cursor<'_>) -> Result<Service, JsonError> {
    let mut service = Service::default();
    cursor.object(|inside, field| {
        match field {
            "name" => service.name = inside.string()?.into_owned(),
            "namespace" => service.namespace = inside.string()?.into_owned(),
            _ => inside.skip()?,
        }
        Ok(())
    })?;
    Ok(service)
}

fn trace_context(cursor: &mut Cursor<'_>, extra: &mut Extra) -> Result<(), JsonError> {
    cursor.object(|inside, field| {
        if field != "parent" {
            return inside.skip();
        }
        inside.object(|inside, field| {
            if field != "trace_id" {
                return inside.skip();
            }
            set(&mut extra.trace_id, &inside.string()?);
            Ok(())
        })
    })
}

fn layer7(cursor: &mut Cursor<'_>) -> Result<L7, JsonError> {
    let mut l7 = L7::default();
    cursor.object(|inside, field| {
        match field {
            "type" => {
                l7.kind = match number(inside, &names::L7_TYPES)? {
                    1 => L7Kind::Request,
                    2 => L7Kind::Response,
                    3 => L7Kind::Sample,
                    _ => L7Kind::Unknown,
                }
            }
            "latency_ns" => l7.latency_ns = inside.whole()?,
            "dns" => l7.record = L7Record::Dns(dns(inside)?),
            "http" => l7.record = L7Record::Http(http(inside)?),
            _ => inside.skip()?,
        }
        Ok(())
    })?;
    Ok(l7)
}

fn dns(cursor: &mut Cursor<'_>) -> Result<Dns, JsonError> {
    let mut dns = Dns::default();
    cursor.object(|inside, field| {
        match field {
            "query" => dns.query = inside.string()?.into_owned(),
            "ips" => inside.list(|inside| {
                dns.ips += 1;
                inside.string().map(|_| ())
            })?,
            "rcode" => dns.rcode = inside.whole()?,
            "qtypes" => texts(inside, &mut dns.qtypes)?,
            "rrtypes" => texts(inside, &mut dns.rrtypes)?,
            _ => inside.skip()?,
        }
        Ok(())
    })?;
    Ok(dns)
}

fn http(cursor: &mut Cursor<'_>) -> Result<Http, JsonError> {
    let mut http = Http::default();
    cursor.object(|inside, field| {
        match field {
            "code" => http.code = inside.whole()?,
            "method" => http.method = inside.string()?.into_owned(),
            "url" => http.url = inside.string()?.into_owned(),
            "protocol" => http.protocol = inside.string()?.into_owned(),
            "headers" => inside.list(|inside| {
                http.headers.push(header(inside)?);
                Ok(())
            })?,
            _ => inside.skip()?,
        }
        Ok(())
    })?;
    Ok(http)
}

fn header(cursor: &mut Cursor<'_>) -> Result<(String, String), JsonError> {
    let mut header = (String::new(), String::new());
    cursor.object(|inside, field| {
        match field {
            "key" => header.0 = inside.string()?.into_owned(),
            "value" => header.1 = inside.string()?.into_owned(),
            _ => inside.skip()?,
        }
        Ok(())
    })?;
    Ok(header)
}

/// Reads a list of strings into one and reuses the latter's own strings.
fn texts(cursor: &mut Cursor<'_>, out: &mut Vec<String>) -> Result<(), JsonError> {
    let mut count = 0;
    cursor.list(|inside| {
        let text: Cow<'_, str> = inside.string()?;
        match out.get_mut(count) {
            Some(old) => {
                old.clear();
                old.push_str(&text);
            }
            None => out.push(text.into_owned()),
        }
        count += 1;
        Ok(())
    })?;
    out.truncate(count);
    Ok(())
}

/// A field may, against all rules, come twice: the last one counts.
fn set(out: &mut String, text: &str) {
    out.clear();
    out.push_str(text);
}
