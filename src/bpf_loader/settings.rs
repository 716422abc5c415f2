//! Load-time settings of the programs.

use std::time::Duration;

use webb_settings as settings;

/// Mode of attachment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Attach {
    /// TCX where the kernel has it, else clsact filters.
    #[default]
    Auto,
    /// TCX only.
    Tcx,
    /// clsact filters only.
    Clsact,
}

/// Timeouts of connections that end without a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// An established TCP connection that is idle.
    pub tcp: Duration,
    /// Time after FIN both ways, RST, or the end of an SCTP association.
    pub closed: Duration,
    /// A SYN without an answer.
    pub half_open: Duration,
    /// All other protocols.
    pub other: Duration,
    /// Minimal idle time of a connection that is evicted for a new one of the same interface when
    /// there is no room.
    pub evictable: Duration,
    /// A MAC address that a pod behind a bridge has not sent from: it is no longer known to be the
    /// pod's.
    pub mac_claim: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        ProgramSettings::default().timeouts
    }
}

/// Ports of a list that the programs know; `L7_PORTS`.
pub const MAX_PORTS: usize = 8;

/// Load-time settings for layer 7.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layer7Settings {
    /// Size of the ring of layer-7 records; rounded up to a power of two of pages.
    pub ring_bytes: u32,
    /// Ports of DNS servers; 0 in unused places.
    pub dns_ports: [u16; MAX_PORTS],
    /// Ports of HTTP servers; all if the first is 0.
    pub http_ports: [u16; MAX_PORTS],
    /// Ports of servers that are not taken for HTTP.
    pub http_ports_ignored: [u16; MAX_PORTS],
    /// Bytes that are captured of a segment that begins with a request.
    pub request_bytes: u32,
    /// Bytes that are captured of a segment that begins with a response.
    pub response_bytes: u32,
}

impl Default for Layer7Settings {
    fn default() -> Self {
        Self {
            ring_bytes: 4 << 20,
            dns_ports: [53, 0, 0, 0, 0, 0, 0, 0],
            http_ports: [0; MAX_PORTS],
            http_ports_ignored: [0; MAX_PORTS],
            request_bytes: 2048,
            response_bytes: 1024,
        }
    }
}

/// [`ProgramSettings::retransmit_budget`] of the agent.
const RETRANSMIT_BUDGET: u32 = 1000;

/// Settings of the programs; each is a constant to the kernel once they are loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProgramSettings {
    /// Every packet is reported (`aggregation: none`).
    pub every_packet: bool,
    /// Interval of reports about a connection that goes on.
    pub report_interval: Duration,
    /// Memory of the connection table; some 110 bytes for each connection.
    pub table_bytes: u32,
    /// Size of the ring of flow records; rounded up to a power of two of pages.
    pub flow_ring_bytes: u32,
    /// Size of the ring of drop records; as above.
    pub drop_ring_bytes: u32,
    /// Drop records per second and CPU; further drops are only counted.
    pub drop_budget: u32,
    /// Timeouts of connections.
    pub timeouts: Timeouts,
    /// Mode of attachment.
    pub attach: Attach,
    /// Events of TCP connections are captured.
    pub connections: bool,
    /// Records of retransmissions per second and CPU; further segments are only counted.
    pub retransmit_budget: u32,
    /// Segments that sockets of the node's own network namespace send again are among them.
    pub node_sockets: bool,
    /// Layer 7, if it may be looked for.
    pub layer7: Option<Layer7Settings>,
}

impl Default for ProgramSettings {
    /// The agent's own defaults: there is one set of them.
    fn default() -> Self {
        Self::from(&settings::Settings::default())
    }
}

impl From<&settings::Settings> for ProgramSettings {
    fn from(settings: &settings::Settings) -> Self {
        let connections = &settings.connections;
        Self {
            every_packet: settings.aggregation == settings::Aggregation::None,
            report_interval: settings.report_interval,
            table_bytes: connections.table_bytes.unwrap_or_else(table_bytes_here),
            flow_ring_bytes: settings.rings.flow_bytes,
            drop_ring_bytes: settings.rings.drop_bytes,
            drop_budget: settings.drop_budget,
            timeouts: Timeouts {
                tcp: connections.tcp_idle,
                closed: connections.closing_idle,
                half_open: connections.half_open_idle,
                other: connections.other_idle,
                evictable: Duration::from_secs(1),
                mac_claim: Duration::from_mins(5),
            },
            attach: match settings.interfaces.attach {
                settings::Attach::Auto => Attach::Auto,
                settings::Attach::Tcx => Attach::Tcx,
                settings::Attach::Clsact => Attach::Clsact,
            },
            connections: false,
            retransmit_budget: RETRANSMIT_BUDGET,
            node_sockets: !settings.interfaces.node.is_empty(),
            layer7: None,
        }
    }
}

/// Slots of a bucket of the connection table.
pub(super) const SLOTS: u32 = 7;

/// Size of a bucket in bytes: its words and entries, and the details of each.
const BUCKET_BYTES: u32 = 320 + SLOTS * 64;

/// The connection table's memory if none is set: a 4096th of the machine's, 1 to 16 MiB. A larger
/// one is slower, since what it holds lies in more lines and pages.
fn table_bytes_here() -> u32 {
    let system = rustix::system::sysinfo();
    #[allow(clippy::useless_conversion, reason = "the fields' type depends on the machine")]
    let bytes = u64::from(system.totalram).saturating_mul(u64::from(system.mem_unit)) / 4096;
    u32::try_from(bytes.clamp(1 << 20, 16 << 20)).unwrap_or(1 << 20)
}

/// `ProgramSettings` in the units of the programs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Constants {
    pub(super) every_packet: u8,
    pub(super) report_interval: u32,
    pub(super) buckets: u32,
    pub(super) tick_ns: u64,
    pub(super) stamp_shift: u32,
    pub(super) flow_ring_bytes: u64,
    pub(super) drop_ring_bytes: u64,
    pub(super) drop_budget: u32,
    pub(super) tcp_timeout: u32,
    pub(super) closed_timeout: u32,
    pub(super) half_open_timeout: u32,
    pub(super) other_timeout: u32,
    /// Timeout in units of the stamp, as `bpf/include/sweep.h` has it.
    pub(super) once_timeout: u32,
    pub(super) evictable_after: u32,
    pub(super) claim_life: u32,
    pub(super) retransmit_budget: u32,
    pub(super) node_retransmits: u8,
    pub(super) layer7: Layer7Settings,
}

impl Constants {
    pub(super) fn new(settings: &ProgramSettings) -> Self {
        let tick = tick();
        let ticks = |time: Duration| ticks(time, tick);
        Self {
            every_packet: u8::from(settings.every_packet),
            report_interval: ticks(settings.report_interval).div_ceil(REPORTED_TICKS).min(MAX_REPORTED),
            buckets: buckets(settings.table_bytes),
            tick_ns: tick.as_nanos().try_into().unwrap_or(4_000_000),
            stamp_shift: stamp_shift(tick),
            flow_ring_bytes: ring_bytes(settings.flow_ring_bytes).into(),
            drop_ring_bytes: ring_bytes(settings.drop_ring_bytes).into(),
            drop_budget: settings.drop_budget,
            tcp_timeout: ticks(settings.timeouts.tcp),
            closed_timeout: ticks(settings.timeouts.closed),
            half_open_timeout: ticks(settings.timeouts.half_open),
            other_timeout: ticks(settings.timeouts.other),
            once_timeout: (ticks(settings.timeouts.other.min(settings.timeouts.half_open)) >> stamp_shift(tick))
                .min(MAX_UNITS),
            evictable_after: ticks(settings.timeouts.evictable),
            claim_life: ticks(settings.timeouts.mac_claim),
            retransmit_budget: settings.retransmit_budget,
            node_retransmits: u8::from(settings.node_sockets),
            layer7: settings.layer7.unwrap_or_default(),
        }
    }
}

/// Duration of a jiffy: the resolution of the coarse clocks.
fn tick() -> Duration {
    let resolution = super::sys::coarse_resolution();
    // 1 to 10 ms on every kernel we know; anything else would be a clock that is not the jiffies'
    // one.
    if (Duration::from_micros(500)..=Duration::from_millis(20)).contains(&resolution) {
        resolution
    } else {
        Duration::from_millis(4)
    }
}

/// Number of ticks in `time`, rounded up; at most what 32-bit differences can represent.
fn ticks(time: Duration, tick: Duration) -> u32 {
    let ticks = time.as_nanos().div_ceil(tick.as_nanos().max(1));
    u32::try_from(ticks).unwrap_or(u32::MAX).min(i32::MAX.unsigned_abs())
}

/// Ticks that the time of a lane's last event is counted in; `REPORTED_TICKS`.
const REPORTED_TICKS: u32 = 8;

/// Longest interval that a 16-bit time represents with certainty.
const MAX_REPORTED: u32 = 1 << 14;

/// Longest age that a 12-bit stamp represents, with a quarter left for a late sweep.
const MAX_UNITS: u32 = 3 << 10;

/// The unit of a slot's stamp as a shift of ticks: the power of two next to 32 ms. A slot changes
/// hands once in a unit at most, and its generation goes round in 1,024 of them.
fn stamp_shift(tick: Duration) -> u32 {
    (0..8).find(|shift| tick * (1 << shift) >= Duration::from_millis(25)).unwrap_or(8)
}

/// Buckets of a table of that size.
pub(super) fn buckets(bytes: u32) -> u32 {
    (bytes / BUCKET_BYTES).max(2)
}

/// A ring's size as the kernel takes it: a power of two, at least a page.
pub(super) fn ring_bytes(bytes: u32) -> u32 {
    bytes.clamp(super::sys::page_size(), 1 << 30).next_power_of_two()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel refuses sizes that are no power of two; a user may write any number.
    #[test]
    fn sizes_are_rounded_up() {
        assert_eq!(ring_bytes(65536), 65536);
        assert_eq!(ring_bytes(65537), 131_072);
        assert!(ring_bytes(0) >= 4096);
    }

    /// A table is as large as it may be, and never none; by itself it is within 1 and 16 MiB.
    #[test]
    fn tables_fit_into_their_bytes() {
        assert_eq!((buckets(1 << 20), buckets(1 << 20) * SLOTS), (1365, 9555));
        assert_eq!((buckets(3 * BUCKET_BYTES - 1), buckets(0)), (2, 2));
        assert!((1 << 20..=16 << 20).contains(&table_bytes_here()));
    }

    /// A unit must be long enough that generations last half a minute, whatever the kernel's tick
    /// is.
    #[test]
    fn units_are_some_thirty_milliseconds() {
        for hertz in [100, 250, 300, 1000] {
            let tick = Duration::from_secs(1) / hertz;
            let unit = tick * (1 << stamp_shift(tick));
            assert!((25..=50).contains(&unit.as_millis()), "{hertz} Hz: {unit:?}");
        }
    }

    /// A timeout must never become shorter by rounding, nor wrap when it is absurdly long.
    #[test]
    fn ticks_round_up() {
        let tick = Duration::from_millis(4);
        assert_eq!(ticks(Duration::ZERO, tick), 0);
        assert_eq!(ticks(Duration::from_millis(1), tick), 1);
        assert_eq!(ticks(Duration::from_secs(5), tick), 1250);
        assert_eq!(ticks(Duration::MAX, tick), i32::MAX.unsigned_abs());
    }
}
