//! The flows of a stream: those that filters include, or else problems, and beside them a sample of
//! connections that were forwarded.

use webb_flow::extra::L7Record;
use webb_flow::{Address, Event, Extra, Flow, L4, Reply, TcpFlags, Verdict};
use webb_index::Index;
use webb_index::filters::Filters;

/// Status of HTTP from which on an answer is an error of the server.
const SERVER_ERROR: u32 = 500;

/// What a stream sends beside what its filters include.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Choice {
    /// One in so many connections is sent whole; 0 samples nothing.
    pub(crate) every: u32,
}

/// What becomes of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Chosen {
    /// It is not sent.
    No,
    /// It is sent for itself.
    Included,
    /// It is sent as part of the sample.
    Sampled,
}

impl Choice {
    /// What becomes of a flow. Without filters that include, problems are included.
    pub(crate) fn of(self, filters: &Filters, flow: &Flow, extra: Option<&Extra>, index: &Index) -> Chosen {
        let is_included = if filters.include.is_empty() {
            is_problem(flow, extra)
        } else {
            filters.include.iter().any(|filter| filter.matches(flow, extra, index))
        };
        let chosen = match is_included {
            true => Chosen::Included,
            false if self.samples(flow) => Chosen::Sampled,
            false => return Chosen::No,
        };
        if filters.exclude.iter().any(|filter| filter.matches(flow, extra, index)) { Chosen::No } else { chosen }
    }

    fn samples(self, flow: &Flow) -> bool {
        self.every > 0 && flow.verdict.passed() && connection(flow).is_multiple_of(u64::from(self.every))
    }
}

/// A drop, a denial, an audit, an error, an answer of layer 7 that is one, or an attempt to connect
/// that failed: a history has no other events of connections.
pub(crate) fn is_problem(flow: &Flow, extra: Option<&Extra>) -> bool {
    let is_attempt = flow.event == Event::Connection;
    if is_attempt || matches!(flow.verdict, Verdict::Dropped | Verdict::Error | Verdict::Audit) {
        return true;
    }
    match extra.and_then(|extra| extra.l7.as_ref()).map(|l7| &l7.record) {
        Some(L7Record::Http(http)) => http.code >= SERVER_ERROR,
        Some(L7Record::Dns(dns)) => dns.rcode != 0,
        _ => false,
    }
}

/// A number of a connection, equal in both directions and for both reporters, in every process.
///
/// It is made of the opener's address and port: the called side's are another to each reporter
/// where a Service stands between them. What has no ports has both addresses.
fn connection(flow: &Flow) -> u64 {
    let (source, destination) = ((flow.source_ip, flow.source_port), (flow.destination_ip, flow.destination_port));
    let protocol = mix(u64::from(flow.l4 as u8));
    if !flow.l4.has_ports() {
        return protocol ^ end(source.0, 0).wrapping_add(end(destination.0, 0));
    }
    let (address, port) = if opens(flow) { source } else { destination };
    protocol ^ end(address, port)
}

/// True if the sender opened the connection, or seems to: of two ports the higher one is the
/// opener's.
fn opens(flow: &Flow) -> bool {
    match flow.reply {
        Reply::No => true,
        Reply::Yes => false,
        Reply::Unknown if flow.l4 == L4::Tcp && flow.tcp_flags.has(TcpFlags::SYN) => !flow.tcp_flags.has(TcpFlags::ACK),
        Reply::Unknown => {
            (flow.source_port, flow.source_ip.bits()) >= (flow.destination_port, flow.destination_ip.bits())
        }
    }
}

fn end(address: Address, port: u16) -> u64 {
    let half = |bits: u128| u64::try_from(bits & u128::from(u64::MAX)).unwrap_or(0);
    let (low, high) = (half(address.bits()), half(address.bits() >> 64));
    mix(mix(mix(u64::from(port)) ^ low) ^ high)
}

/// Mixes the bits of a number, as the finaliser of `SplitMix64`; no seed, so that all agents agree.
fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use webb_flow::ConnectionEvent;
    use webb_flow::extra::{Dns, Http, L7};
    use webb_index::filters::{FilterSpec, FlowFilter};

    use super::*;
    use crate::taken::without_verdict;

    fn ip(text: &str) -> Address {
        text.parse::<IpAddr>().unwrap().into()
    }

    fn connections() -> impl Iterator<Item = Flow> {
        (0..4000_u16).map(|number| Flow {
            source_ip: ip(&format!("10.244.{}.{}", number % 7, number % 250)),
            destination_ip: ip("10.96.0.10"),
            source_port: 32_768 + number * 3,
            destination_port: 443,
            l4: L4::Tcp,
            verdict: Verdict::Forwarded,
            reply: Reply::No,
            ..Flow::default()
        })
    }

    /// The same connections are chosen by both reporters and in both directions, through a Service
    /// too, and whether or not the direction is known.
    #[test]
    fn samples_have_whole_connections() {
        let choice = Choice { every: 10 };
        let mut chosen = 0;
        for opened in connections() {
            let reply = Flow { reply: Reply::Yes, ..opened.reversed() };
            let at_backend = Flow { destination_ip: ip("10.244.3.3"), destination_port: 8443, ..opened };
            let reply_of_backend = Flow { reply: Reply::Yes, ..at_backend.reversed() };
            let unknown = Flow { reply: Reply::Unknown, ..opened };
            let syn = Flow { tcp_flags: TcpFlags::known(TcpFlags::SYN), ..unknown };
            let answer = Flow { tcp_flags: TcpFlags::known(TcpFlags::SYN | TcpFlags::ACK), ..syn.reversed() };
            let expected = choice.samples(&opened);
            for other in [reply, at_backend, reply_of_backend, unknown, unknown.reversed(), syn, answer] {
                assert_eq!(choice.samples(&other), expected, "{other:?}");
            }
            chosen += u32::from(expected);
        }
        assert!((300..500).contains(&chosen), "{chosen} of 4000");
        let ping = Flow { l4: L4::IcmpV4, icmp_type: 8, ..connections().next().unwrap() };
        assert_eq!(connection(&ping), connection(&Flow { icmp_type: 0, ..ping.reversed() }));
    }

    /// Two agents of different builds choose alike: the number of a connection never changes.
    #[test]
    fn numbers_of_connections_stay() {
        let first = connections().next().unwrap();
        let v6 = Flow { source_ip: ip("fd00::1"), source_port: 40_000, l4: L4::Udp, ..first };
        assert_eq!([&first, &v6].map(connection), [3_286_146_131_856_314_810, 17_022_488_036_140_056_596]);
    }

    /// Nothing but what was forwarded is sampled, and problems are sent whatever the sample.
    #[test]
    fn problems_are_no_sample() {
        let filters = Filters::default();
        let index = Index::default();
        let forwarded = connections().next().unwrap();
        let l7 = |record| Extra { l7: Some(L7 { record, ..L7::default() }), ..Extra::default() };
        let http = |code| l7(L7Record::Http(Http { code, ..Http::default() }));
        let dns = |rcode| l7(L7Record::Dns(Dns { rcode, ..Dns::default() }));
        let of = |every, flow: &Flow, extra: Option<&Extra>| Choice { every }.of(&filters, flow, extra, &index);
        assert_eq!(of(0, &forwarded, None), Chosen::No);
        assert_eq!(of(1, &forwarded, None), Chosen::Sampled);
        for verdict in [Verdict::Dropped, Verdict::Error, Verdict::Audit] {
            assert_eq!(of(1, &Flow { verdict, ..forwarded }, None), Chosen::Included);
        }
        for verdict in [Verdict::Traced, Verdict::Unknown] {
            assert_eq!(of(1, &Flow { verdict, ..forwarded }, None), Chosen::No);
        }
        for (extra, expected) in
            [(http(499), Chosen::No), (http(500), Chosen::Included), (dns(0), Chosen::No), (dns(3), Chosen::Included)]
        {
            assert_eq!(of(0, &forwarded, Some(&extra)), expected);
        }
    }

    /// Attempts that failed are sent for themselves, and are no part of a sample. Filters see them
    /// as flows without a verdict: those of a pod or a port select them, those of drops do not, and
    /// one of `VERDICT_UNKNOWN` has just them.
    #[test]
    fn failed_attempts_are_problems() {
        let index = Index::default();
        let filter = |spec: FilterSpec| vec![FlowFilter::new(spec).unwrap()];
        let verdict = |verdict: Verdict| filter(FilterSpec { verdict: vec![verdict as i32], ..FilterSpec::default() });
        let port = |port: &str| filter(FilterSpec { destination_port: vec![port.to_owned()], ..FilterSpec::default() });
        let forwarded = connections().next().unwrap();
        for event in ConnectionEvent::ALL.into_iter().filter(|event| event.is_failure()) {
            let attempt = without_verdict(&forwarded.connection(event, 0));
            let of = |include, exclude| Choice { every: 1 }.of(&Filters { include, exclude }, &attempt, None, &index);
            assert_eq!(of(vec![], vec![]), Chosen::Included, "{event:?}");
            assert_eq!(of(port("443"), vec![]), Chosen::Included);
            assert_eq!(of(port("444"), vec![]), Chosen::No, "not even as a sample");
            assert_eq!(of(vec![], port("443")), Chosen::No);
            assert_eq!(of(verdict(Verdict::Unknown), vec![]), Chosen::Included);
            assert_eq!(of(vec![], verdict(Verdict::Unknown)), Chosen::No);
            for other in [Verdict::Forwarded, Verdict::Dropped] {
                assert_eq!(of(verdict(other), vec![]), Chosen::No);
            }
        }
    }
}
