//! The record of a Lease: its `spec`, as far as an election uses it.

use k8s_openapi::jiff::Timestamp;
use serde_json::{Map, Value, json};

/// Duration in the record of a holder that was stopped: the Lease is free at once.
const RELEASED_SECONDS: i64 = 1;

/// `spec` of a Lease. Fields that are missing, or that have another type, are none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LeaseRecord {
    /// `holderIdentity`.
    pub holder: String,
    /// `leaseDurationSeconds`.
    pub duration_s: Option<i64>,
    /// `acquireTime`, never read as a time.
    pub acquired: Option<String>,
    /// `renewTime`, never read as a time.
    pub renewed: Option<String>,
    /// `leaseTransitions`.
    pub transitions: i64,
}

/// A Lease as the server has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Its `resourceVersion`.
    pub version: String,
    /// Its record.
    pub record: LeaseRecord,
}

impl Lease {
    /// Reads an object of the API. Every Lease can be read: what it lacks is none.
    pub fn of(object: &Value) -> Self {
        let field = |name: &str| object.get("spec").and_then(|spec| spec.get(name));
        let text = |name: &str| field(name).and_then(Value::as_str).map(str::to_owned);
        let record = LeaseRecord {
            holder: text("holderIdentity").unwrap_or_default(),
            duration_s: field("leaseDurationSeconds").and_then(Value::as_i64),
            acquired: text("acquireTime"),
            renewed: text("renewTime"),
            transitions: field("leaseTransitions").and_then(Value::as_i64).unwrap_or(0),
        };
        let version = object.pointer("/metadata/resourceVersion").and_then(Value::as_str);
        Self { version: version.unwrap_or_default().to_owned(), record }
    }
}

impl LeaseRecord {
    /// True if its holder gave it up when it was stopped.
    pub fn is_released(&self) -> bool {
        self.holder.is_empty() && self.duration_s == Some(RELEASED_SECONDS)
    }

    /// The record that replaces this one when its holder is stopped.
    pub(super) fn released(&self, wall_us: i64) -> Self {
        let now = time(wall_us);
        Self {
            holder: String::new(),
            duration_s: Some(RELEASED_SECONDS),
            acquired: Some(now.clone()),
            renewed: Some(now),
            transitions: self.transitions,
        }
    }

    /// Writes the record into the `spec` of a Lease; fields that it does not have are left there.
    pub fn write_to(&self, object: &mut Value) {
        let Self { holder, duration_s, acquired, renewed, transitions } = self;
        let fields = json!({
            "holderIdentity": holder,
            "leaseDurationSeconds": duration_s,
            "acquireTime": acquired,
            "renewTime": renewed,
            "leaseTransitions": transitions,
        });
        let Value::Object(fields) = fields else { return };
        let Some(object) = object.as_object_mut() else { return };
        let spec = object.entry("spec").or_insert_with(|| Value::Object(Map::new()));
        match spec.as_object_mut() {
            Some(spec) => spec.extend(fields),
            None => *spec = Value::Object(fields),
        }
    }
}

/// A time in the form of Kubernetes' `MicroTime`.
pub(super) fn time(wall_us: i64) -> String {
    // The range of a timestamp is wider than that of any clock; a time beyond it is the epoch.
    let time = Timestamp::from_microsecond(wall_us).unwrap_or_default();
    time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record is written as it is read, and fields of others stay.
    #[test]
    fn records_are_written_as_they_are_read() {
        let mut object = json!({"metadata": {"name": "l", "resourceVersion": "7", "annotations": {"a": "b"}},
            "spec": {"holderIdentity": "a", "strategy": "OldestEmulationVersion"}});
        let record = LeaseRecord {
            holder: "b".to_owned(),
            duration_s: Some(15),
            acquired: Some(time(0)),
            renewed: Some(time(1_767_366_245_123_456)),
            transitions: 4,
        };
        record.write_to(&mut object);
        assert_eq!(Lease::of(&object), Lease { version: "7".to_owned(), record });
        assert_eq!(object["spec"]["renewTime"], "2026-01-02T15:04:05.123456Z");
        assert_eq!(object["spec"]["strategy"], "OldestEmulationVersion");
        assert_eq!(object["metadata"]["annotations"]["a"], "b");
    }

    /// Whatever a Lease lacks or has of another type is none.
    #[test]
    fn odd_leases_are_read() {
        for odd in [json!({}), json!({"spec": null}), json!({"spec": {"leaseDurationSeconds": "x", "renewTime": 7}})] {
            assert_eq!(Lease::of(&odd).record, LeaseRecord::default(), "{odd}");
        }
        let mut nothing = json!({"metadata": {}, "spec": null});
        LeaseRecord::default().write_to(&mut nothing);
        assert_eq!(nothing["spec"]["holderIdentity"], "");
    }
}
