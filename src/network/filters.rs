//! Reads the clsact filters of an interface and the interface's own packet counters.

use std::collections::{HashMap, HashSet};
use std::io;

use futures::{Stream, StreamExt};
use rtnetlink::Handle;
use rtnetlink::packet_route::link::{LinkAttribute, LinkMessage};
use rtnetlink::packet_route::tc::{TcAttribute, TcFilterBpfOption, TcMessage, TcOption};

use super::error::failed;

/// The filters of an interface in the order in which the kernel runs them: of programs their ids,
/// of others 0.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TcFilters {
    /// Filters of packets that come in by it.
    pub ingress: Vec<u32>,
    /// Filters of packets that leave by it.
    pub egress: Vec<u32>,
}

/// Reads the programs of an interface; none where it has no clsact qdisc or does not exist.
pub(super) async fn filters(handle: &Handle, index: u32) -> io::Result<TcFilters> {
    let index = i32::try_from(index).map_err(io::Error::other)?;
    let mut filters = handle.traffic_filter(index);
    Ok(TcFilters {
        ingress: programs(filters.get().ingress().execute()).await?,
        egress: programs(filters.get().egress().execute()).await?,
    })
}

async fn programs(filters: impl Stream<Item = Result<TcMessage, rtnetlink::Error>>) -> io::Result<Vec<u32>> {
    let mut filters = std::pin::pin!(filters);
    let mut programs = Vec::new();
    while let Some(filter) = filters.next().await {
        let filter = filter.map_err(failed)?;
        // What has no handle is not a filter but the head of a list of them.
        if u32::from(filter.header.handle) != 0 {
            programs.push(program(&filter).unwrap_or(0));
        }
    }
    Ok(programs)
}

fn program(filter: &TcMessage) -> Option<u32> {
    let options = filter.attributes.iter().find_map(|attribute| match attribute {
        TcAttribute::Options(options) => Some(options),
        _ => None,
    });
    options?.iter().find_map(|option| match option {
        TcOption::Bpf(TcFilterBpfOption::ProgId(id)) => Some(*id),
        _ => None,
    })
}

/// The interfaces with a qdisc `ingress`. It takes a filter for packets that leave and runs it on
/// those that come in.
pub(super) async fn without_egress(handle: &Handle) -> io::Result<HashSet<u32>> {
    let mut qdiscs = std::pin::pin!(handle.qdisc().get().execute());
    let mut found = HashSet::new();
    while let Some(qdisc) = qdiscs.next().await {
        let qdisc = qdisc.map_err(failed)?;
        if qdisc.attributes.iter().any(|attribute| matches!(attribute, TcAttribute::Kind(kind) if kind == "ingress")) {
            found.extend(u32::try_from(qdisc.header.index));
        }
    }
    Ok(found)
}

/// Packets that an interface has received and sent, together; none if it was removed.
pub(super) async fn packets_of(handle: &Handle, index: u32) -> io::Result<Option<u64>> {
    let mut links = std::pin::pin!(handle.link().get().match_index(index).execute());
    match links.next().await.transpose().map_err(failed) {
        Ok(link) => Ok(link.as_ref().and_then(count)),
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Packets that each interface has received and sent, together.
pub(super) async fn packets(handle: &Handle) -> io::Result<HashMap<u32, u64>> {
    let mut links = std::pin::pin!(handle.link().get().execute());
    let mut packets = HashMap::new();
    while let Some(link) = links.next().await {
        let link = link.map_err(failed)?;
        packets.extend(count(&link).map(|count| (link.header.index, count)));
    }
    Ok(packets)
}

fn count(link: &LinkMessage) -> Option<u64> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Stats64(stats) => Some(stats.rx_packets.wrapping_add(stats.tx_packets)),
        _ => None,
    })
}
