//! What a broker's error means for a request.
//!
//! Errors that Kafka's own clients retry are retried here. A topic that is not there may be made,
//! and its permission given: a broker that would make it says at first that this is not allowed. A
//! login may come with the next change of its Secret.

use std::time::Duration;

use crate::answer::{Answer, Verdict};

/// Code of a login that was refused.
pub(super) const SASL_AUTHENTICATION_FAILED: i16 = 58;

/// Code of a mechanism that the broker does not have.
pub(super) const UNSUPPORTED_SASL_MECHANISM: i16 = 33;

/// Code of a partition that has no leader at present.
pub(super) const LEADER_NOT_AVAILABLE: i16 = 5;

/// Errors that a producer meets: number, name, what becomes of the request, and what to do.
const ERRORS: [(i16, &str, Outcome, &str); 29] = [
    (-1, "UNKNOWN_SERVER_ERROR", Outcome::Few, "the broker's log says more"),
    (2, "CORRUPT_MESSAGE", Outcome::Few, "the batch was damaged on its way"),
    (3, "UNKNOWN_TOPIC_OR_PARTITION", Outcome::Retry, "create the topic, or see to `topics`; webb tries again"),
    (5, "LEADER_NOT_AVAILABLE", Outcome::Retry, "the partition has no leader at present"),
    (6, "NOT_LEADER_OR_FOLLOWER", Outcome::Retry, "the partition has another leader"),
    (7, "REQUEST_TIMED_OUT", Outcome::Retry, "replicas did not take it in time"),
    (8, "BROKER_NOT_AVAILABLE", Outcome::Retry, ""),
    (9, "REPLICA_NOT_AVAILABLE", Outcome::Retry, ""),
    (10, "MESSAGE_TOO_LARGE", Outcome::TooLarge, "the topic's `max.message.bytes` is smaller"),
    (13, "NETWORK_EXCEPTION", Outcome::Retry, ""),
    (17, "INVALID_TOPIC_EXCEPTION", Outcome::Refused, "see to `topics`"),
    (18, "RECORD_LIST_TOO_LARGE", Outcome::TooLarge, "the topic's `segment.bytes` is smaller"),
    (19, "NOT_ENOUGH_REPLICAS", Outcome::Retry, "fewer replicas are in sync than `min.insync.replicas`"),
    (20, "NOT_ENOUGH_REPLICAS_AFTER_APPEND", Outcome::Retry, "fewer replicas are in sync than `min.insync.replicas`"),
    (29, "TOPIC_AUTHORIZATION_FAILED", Outcome::Retry, "allow the user to Write to the topic and to Describe it"),
    (31, "CLUSTER_AUTHORIZATION_FAILED", Outcome::Refused, "allow the user to write to the cluster"),
    (UNSUPPORTED_SASL_MECHANISM, "UNSUPPORTED_SASL_MECHANISM", Outcome::Login, "see to `sasl.mechanism`"),
    (34, "ILLEGAL_SASL_STATE", Outcome::Login, "the listener takes no login: leave `sasl` out, or use another port"),
    (35, "UNSUPPORTED_VERSION", Outcome::Refused, "Kafka 2.1 or later is needed"),
    (38, "INVALID_REPLICATION_FACTOR", Outcome::Retry, "the cluster has too few brokers to make the topic"),
    (44, "POLICY_VIOLATION", Outcome::Refused, "a policy of the cluster forbids it"),
    (56, "KAFKA_STORAGE_ERROR", Outcome::Retry, "the broker's disk has failed"),
    (SASL_AUTHENTICATION_FAILED, "SASL_AUTHENTICATION_FAILED", Outcome::Login, "see to the files in `sasl.directory`"),
    (74, "FENCED_LEADER_EPOCH", Outcome::Retry, ""),
    (75, "UNKNOWN_LEADER_EPOCH", Outcome::Retry, ""),
    (76, "UNSUPPORTED_COMPRESSION_TYPE", Outcome::Encoding, ""),
    (87, "INVALID_RECORD", Outcome::Refused, "the topic refuses the message: is it compacted, or has it a schema?"),
    (89, "THROTTLING_QUOTA_EXCEEDED", Outcome::Retry, "the user's quota is used up"),
    (100, "UNKNOWN_TOPIC_ID", Outcome::Retry, ""),
];

/// What becomes of a request.
#[derive(Debug, Clone, Copy)]
enum Outcome {
    Retry,
    Few,
    TooLarge,
    Encoding,
    Login,
    Refused,
}

/// The answer that a code stands for. `says`: what the broker says of it.
pub(super) fn answer(code: i16, says: &str) -> Answer {
    if code == 0 {
        return Answer { code: "OK".to_owned(), verdict: Verdict::Taken { rejected: 0 }, text: String::new() };
    }
    let known = ERRORS.iter().find(|(number, ..)| *number == code);
    let Some((_, name, outcome, hint)) = known else {
        return Answer { code: format!("KAFKA_{code}"), verdict: Verdict::Refused, text: says.to_owned() };
    };
    let verdict = match outcome {
        Outcome::Retry => Verdict::Retry { after: None, few: false },
        Outcome::Few => Verdict::Retry { after: None, few: true },
        Outcome::TooLarge => Verdict::TooLarge,
        Outcome::Encoding => Verdict::Encoding,
        Outcome::Login => Verdict::Login,
        Outcome::Refused => Verdict::Refused,
    };
    let text = [says, *hint].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join("; ");
    Answer { code: (*name).to_owned(), verdict, text }
}

/// Adds to a refusal for now the time that the broker names.
pub(super) fn throttled(mut refused: Answer, milliseconds: i32) -> Answer {
    if let Verdict::Retry { after, .. } = &mut refused.verdict {
        *after = u64::try_from(milliseconds).ok().filter(|time| *time > 0).map(Duration::from_millis);
    }
    refused
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each outcome has a code that has it; numbers are in order, each once.
    #[test]
    fn errors_have_fates() {
        assert!(ERRORS.windows(2).all(|pair| pair[0].0 < pair[1].0));
        for (code, verdict) in [
            (0, Verdict::Taken { rejected: 0 }),
            (3, Verdict::Retry { after: None, few: false }),
            (-1, Verdict::Retry { after: None, few: true }),
            (10, Verdict::TooLarge),
            (29, Verdict::Retry { after: None, few: false }),
            (17, Verdict::Refused),
            (58, Verdict::Login),
            (76, Verdict::Encoding),
            (4711, Verdict::Refused),
        ] {
            assert_eq!(answer(code, "").verdict, verdict, "{code}");
        }
        let refused = answer(58, "Authentication failed");
        let expected = "SASL_AUTHENTICATION_FAILED: Authentication failed; see to the files in `sasl.directory`";
        assert_eq!(refused.to_string(), expected);
        assert_eq!(answer(4711, "").to_string(), "KAFKA_4711");
        let busy = throttled(answer(89, ""), 250).verdict;
        assert_eq!(busy, Verdict::Retry { after: Some(Duration::from_millis(250)), few: false });
    }
}
