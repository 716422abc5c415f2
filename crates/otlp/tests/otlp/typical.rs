//! Records as a typical node's flows have them: 28 attributes, ten of each endpoint ready-made.

use webb_otlp::{Attributes, Encoded, Head, Record, Severity};

/// Writes one record after the other.
#[derive(Debug)]
pub(crate) struct Writer {
    record: Record,
    sources: Vec<Attributes>,
    destinations: Vec<Attributes>,
    uid: [u8; 32],
}

/// The attributes of an endpoint, as source or destination.
fn endpoint(side: &str, number: usize) -> Attributes {
    let mut attributes = Attributes::new();
    let mut string = |key: &str, value: String| attributes.string(&format!("{side}.{key}"), &value);
    string("address", format!("10.244.{}.{}", number % 7, number % 250));
    string("k8s.namespace.name", format!("team-{}", number % 12));
    string("k8s.pod.name", format!("workload-{number}-7c9d5b6f48-x{number:04}"));
    string("k8s.owner.name", format!("workload-{number}"));
    string("k8s.owner.type", "Deployment".to_owned());
    string("k8s.node.name", format!("node-{}", number % 30));
    string("cloud.availability_zone", format!("eu-central-1{}", ["a", "b", "c"][number % 3]));
    string("cloud.region", "eu-central-1".to_owned());
    string("k8s.service.name", format!("service-{number}"));
    attributes.int(&format!("webb.{side}.identity"), i64::try_from(number).unwrap_or(0) + 10_000);
    attributes
}

impl Writer {
    pub(crate) fn new() -> Self {
        let all = |side| (0..300).map(|number| endpoint(side, number)).collect();
        Self { record: Record::new(), sources: all("source"), destinations: all("destination"), uid: [b'0'; 32] }
    }

    /// The record of this number.
    pub(crate) fn write(&mut self, number: u64) -> Encoded<'_> {
        let mut hash = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for digit in &mut self.uid {
            *digit = b"0123456789abcdef"[(hash % 16) as usize];
            hash = hash.rotate_right(5).wrapping_mul(3);
        }
        let place = |salt: u64| (number.wrapping_mul(salt) >> 7) as usize % 300;
        let attributes = self.record.begin(&Head {
            time_ns: 1_790_000_000_000_000_000 + number * 1_234_567,
            observed_ns: 1_790_000_001_000_000_000,
            severity: Severity::Info,
            event_name: "webb.flow",
            trace_id: None,
            body: "",
        });
        attributes.copy(&self.sources[place(2_654_435_761)]);
        attributes.copy(&self.destinations[place(40_503)]);
        attributes.string("log.record.uid", std::str::from_utf8(&self.uid).unwrap_or_default());
        attributes.int("source.port", 32_768 + (number % 20_000).cast_signed());
        attributes.int("destination.port", 8080);
        attributes.string("network.transport", "tcp");
        attributes.string("network.io.direction", "transmit");
        attributes.string("webb.verdict", "FORWARDED");
        attributes.count("flow.io.bytes", 100 + number % 9000);
        attributes.bool("webb.is_reply", number % 2 == 1);
        self.record.finish()
    }
}
