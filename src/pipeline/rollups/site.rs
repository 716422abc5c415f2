//! Resource attributes of requests of rows, and the delay with which a node sends them.

use std::hash::{DefaultHasher, Hasher as _};
use std::io;
use std::time::Duration;

use webb_flow::clock::unix_ns;
use webb_flow::hash::seed;
use webb_index::Place;
use webb_observer::stream;
use webb_otlp::{Attributes, Encoding, Request, RequestBuilder, Stream};
use webb_rollup::{Encoder, Lost, Rollups, Settings, Window};

/// Scope of the records of rows, and the version of their attributes.
pub(super) const ROLLUPS_SCOPE: (&str, &str) = ("webb.rollups", "1");

/// The node that rows are of.
#[derive(Debug, Clone)]
pub struct RollupSite {
    /// Name of the cluster.
    pub cluster: String,
    /// Name of the node.
    pub node: String,
}

/// A request of a single heartbeat in a stream, of a window without rows that ends now: for a check
/// of an output before an agent sends to it. `instance`: a UUID.
///
/// # Errors
/// If there is no memory to compress it with.
pub fn heartbeat(site: &RollupSite, instance: &str, stream: Stream, encoding: Encoding) -> io::Result<Option<Request>> {
    let scope = match stream {
        Stream::Rollups => ROLLUPS_SCOPE,
        Stream::Flows => stream::SCOPE,
    };
    let resource = resource(site, instance, Place::default());
    let mut builder = RequestBuilder::new(stream, &resource, scope.0, scope.1);
    let now_ns = unix_ns();
    let window = Window { start: now_ns / 1_000_000_000, seconds: 0 };
    let mut encoder = Encoder::new(new_instance());
    let (mut rollups, nothing) = (Rollups::new(Settings::default()), (Lost::default(), None));
    encoder.window(window, &mut rollups, nothing, now_ns, |record| builder.push(record));
    builder.take(encoding)
}

/// Delay of a node's requests of a window, within `percent` of it.
pub(super) fn spread(node: &str, window: u64, percent: u8) -> Duration {
    // The same for a node at each of its starts.
    let mut hasher = DefaultHasher::new();
    hasher.write(node.as_bytes());
    let part = Duration::from_secs(window) * percent.into() / 100;
    part.mul_f64(f64::from(u16::try_from(hasher.finish() % 1000).unwrap_or(0)) / 1000.0)
}

/// A random UUID, as text.
pub fn new_uuid() -> String {
    uuid(new_instance())
}

pub(super) fn new_instance() -> u128 {
    u128::from(seed()) << 64 | u128::from(seed())
}

/// Attributes of the agent in every request. `instance`: a UUID.
pub fn resource(site: &RollupSite, instance: &str, place: Place) -> Attributes {
    let mut attributes = Attributes::new();
    attributes.string("service.name", "webb");
    attributes.string("service.version", env!("CARGO_PKG_VERSION"));
    attributes.string("service.instance.id", instance);
    attributes.string("k8s.cluster.name", &site.cluster);
    attributes.string("k8s.node.name", &site.node);
    attributes.string("cloud.availability_zone", &place.zone.text());
    attributes.string("cloud.region", &place.region.text());
    attributes
}

/// A number in the form of a random UUID.
pub(super) fn uuid(number: u128) -> String {
    const VERSION: u128 = 0xf << 76;
    const VARIANT: u128 = 0x3 << 62;
    let hex = format!("{:032x}", number & !VERSION & !VARIANT | 0x4 << 76 | 0x2 << 62);
    let part = |from, to| hex.get(from..to).unwrap_or_default();
    [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A receiver that checks the form of an id finds that of a random UUID.
    #[test]
    fn instances_are_uuids() {
        assert_eq!(uuid(0), "00000000-0000-4000-8000-000000000000");
        assert_eq!(uuid(u128::MAX), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_ne!(new_instance(), new_instance());
    }

    /// Nodes send at different times, within the share of the window that is configured.
    #[test]
    fn requests_are_spread() {
        for percent in [20, 100] {
            let share = Duration::from_secs(60 * u64::from(percent) / 100);
            let delays: Vec<Duration> = (0..200).map(|node| spread(&format!("worker-{node}"), 60, percent)).collect();
            assert!(delays.iter().all(|delay| *delay < share));
            let early = delays.iter().filter(|delay| **delay < share / 2).count();
            assert!((40..160).contains(&early), "{early} of 200");
        }
        assert_eq!(spread("worker-1", 60, 0), Duration::ZERO);
    }
}
