//! The calls of Kafka that a producer needs, in versions that brokers since 2.1 have.

use std::collections::HashMap;
use std::sync::Arc;

use thiserror::Error;
use webb_flow::hash::RandomState;

use super::wire::{Malformed, Reader, put_bytes, put_i32, put_string};

/// A call: its number, and its version here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) key: i16,
    pub(super) version: i16,
}

pub(super) const PRODUCE: Call = Call { key: 0, version: 7 };
pub(super) const METADATA: Call = Call { key: 3, version: 4 };
pub(super) const SASL_HANDSHAKE: Call = Call { key: 17, version: 1 };
pub(super) const SASL_AUTHENTICATE: Call = Call { key: 36, version: 1 };

/// Error of an answer that is none to what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum Unusable {
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// A record is delivered only where the answer names its own topic and partition.
    #[error("the answer is about another topic or partition than the request")]
    Misdirected,
}

/// Asks for the partitions of a topic, which the cluster may make if it is not there.
pub(super) fn metadata(topic: &str) -> Vec<u8> {
    let mut body = Vec::new();
    put_i32(&mut body, 1);
    put_string(&mut body, topic);
    body.push(1);
    body
}

/// Bytes of a host's name at most, as in DNS.
const MAX_HOST: usize = 255;

/// A broker's address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Broker {
    pub(super) host: String,
    pub(super) port: u16,
}

/// The partitions of a topic, in their order, each with its leader, if there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Topic {
    pub(super) error: i16,
    pub(super) leaders: Vec<Option<Arc<Broker>>>,
}

/// Reads what [`metadata`] asks for about a topic.
pub(super) fn read_metadata(answer: &[u8], asked: &str) -> Result<Topic, Unusable> {
    let mut reader = Reader(answer);
    let _throttled = reader.i32()?;
    let brokers = reader.array(|reader| {
        let (id, host, port) = (reader.i32()?, reader.string()?, reader.i32()?);
        let _rack = reader.string()?;
        // It is shown where it cannot be reached.
        let is_of_host = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':');
        if host.is_empty() || host.len() > MAX_HOST || !host.bytes().all(is_of_host) {
            return Err(Malformed);
        }
        let port = u16::try_from(port).ok().filter(|port| *port > 0).ok_or(Malformed)?;
        Ok((id, Arc::new(Broker { host: host.to_owned(), port })))
    })?;
    let brokers: HashMap<i32, Arc<Broker>, RandomState> = brokers.into_iter().collect();
    let (_cluster, _controller) = (reader.string()?, reader.i32()?);
    let topics = reader.array(|reader| {
        let (error, name, _internal) = (reader.i16()?, reader.string()?, reader.bool()?);
        let mut leaders = reader.array(|reader| {
            let (_error, partition, leader) = (reader.i16()?, reader.i32()?, reader.i32()?);
            let _replicas = reader.array(Reader::i32)?;
            let _in_sync = reader.array(Reader::i32)?;
            Ok((partition, brokers.get(&leader).cloned()))
        })?;
        leaders.sort_by_key(|(partition, _)| *partition);
        // Their places are their numbers.
        if leaders.iter().zip(0..).any(|((partition, _), place)| *partition != place) {
            return Err(Malformed);
        }
        Ok((name, Topic { error, leaders: leaders.into_iter().map(|(_, leader)| leader).collect() }))
    })?;
    let [(name, topic)] = <[(&str, Topic); 1]>::try_from(topics).map_err(|_| Malformed)?;
    if name == asked { Ok(topic) } else { Err(Unusable::Misdirected) }
}

/// Hands a batch to all replicas of a partition.
pub(super) fn produce(topic: &str, partition: i32, batch: &[u8], timeout_ms: i32) -> Vec<u8> {
    let mut body = Vec::with_capacity(batch.len() + topic.len() + 32);
    // No transaction; an answer once all replicas in sync have it.
    body.extend_from_slice(&[0xff; 2]);
    body.extend_from_slice(&[0xff; 2]);
    put_i32(&mut body, timeout_ms);
    put_i32(&mut body, 1);
    put_string(&mut body, topic);
    put_i32(&mut body, 1);
    put_i32(&mut body, partition);
    put_bytes(&mut body, batch);
    body
}

/// Reads the answer to [`produce`]: a code of an error, zero for none, and a time in milliseconds
/// for which the broker asks to send nothing. `asked`: the topic and the partition of the batch.
pub(super) fn read_produce(answer: &[u8], asked: (&str, i32)) -> Result<(i16, i32), Unusable> {
    let mut reader = Reader(answer);
    let topics = reader.array(|reader| {
        let name = reader.string()?;
        let partitions = reader.array(|reader| {
            let (partition, error) = (reader.i32()?, reader.i16()?);
            let (_offset, _appended, _start) = (reader.i64()?, reader.i64()?, reader.i64()?);
            Ok((partition, error))
        })?;
        Ok((name, partitions))
    })?;
    let throttled = reader.i32()?;
    let [(name, partitions)] = topics.as_slice() else { return Err(Malformed.into()) };
    let [(partition, error)] = partitions.as_slice() else { return Err(Malformed.into()) };
    if (*name, *partition) == asked { Ok((*error, throttled)) } else { Err(Unusable::Misdirected) }
}

/// Asks for a mechanism of SASL.
pub(super) fn sasl_handshake(mechanism: &str) -> Vec<u8> {
    let mut body = Vec::new();
    put_string(&mut body, mechanism);
    body
}

/// Reads the answer to [`sasl_handshake`]: a code of an error, and the mechanisms that there are.
pub(super) fn read_sasl_handshake(answer: &[u8]) -> Result<(i16, Vec<String>), Malformed> {
    let mut reader = Reader(answer);
    Ok((reader.i16()?, reader.array(|reader| reader.string().map(str::to_owned))?))
}

/// A message of the chosen mechanism.
pub(super) fn sasl_authenticate(message: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    put_bytes(&mut body, message);
    body
}

/// What the broker answers to a message of a mechanism.
#[derive(Debug)]
pub(super) struct SaslAnswer<'a> {
    pub(super) error: i16,
    pub(super) text: &'a str,
    pub(super) message: &'a [u8],
    /// Milliseconds for which the connection is good; zero is without end.
    pub(super) lifetime_ms: i64,
}

/// Reads the answer to [`sasl_authenticate`].
pub(super) fn read_sasl_authenticate(answer: &[u8]) -> Result<SaslAnswer<'_>, Malformed> {
    let mut reader = Reader(answer);
    let (error, text, message) = (reader.i16()?, reader.string()?, reader.bytes()?);
    Ok(SaslAnswer { error, text, message, lifetime_ms: reader.i64()? })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TOPIC: &str = "webb.flows";

    /// An answer about a topic: a broker with this host, and partitions with their leaders.
    fn answer(host: &str, partitions: impl ExactSizeIterator<Item = (i32, i32)>) -> Vec<u8> {
        let mut answer = vec![0; 4];
        put_i32(&mut answer, 1);
        put_i32(&mut answer, 7);
        put_string(&mut answer, host);
        put_i32(&mut answer, 9092);
        answer.extend_from_slice(&[0xff, 0xff, 0xff, 0xff]);
        put_i32(&mut answer, 7);
        put_i32(&mut answer, 1);
        answer.extend_from_slice(&[0, 0]);
        put_string(&mut answer, TOPIC);
        answer.push(0);
        put_i32(&mut answer, i32::try_from(partitions.len()).unwrap());
        for (partition, leader) in partitions {
            answer.extend_from_slice(&[0, 0]);
            for number in [partition, leader, 1, 7, 0] {
                put_i32(&mut answer, number);
            }
        }
        answer
    }

    /// The leaders of a topic stand at the numbers of their partitions; half an answer is none.
    #[test]
    fn leaders_are_those_of_partitions() {
        let answer = answer("kafka-0", [(1, 7), (0, -1)].into_iter());
        let broker = Arc::new(Broker { host: "kafka-0".to_owned(), port: 9092 });
        assert_eq!(read_metadata(&answer, TOPIC), Ok(Topic { error: 0, leaders: vec![None, Some(broker)] }));
        for length in 0..answer.len() {
            assert_eq!(read_metadata(&answer[..length], TOPIC), Err(Malformed.into()), "{length}");
        }
    }

    /// Numbers that are missing or there twice, and names that no host has, are refused; many
    /// partitions have one copy of their leader.
    #[test]
    fn answers_that_lie_are_refused() {
        for partitions in [[(0, 7), (2, 7)], [(1, 7), (1, 7)], [(-1, 7), (0, 7)]] {
            assert_eq!(
                read_metadata(&answer("a", partitions.into_iter()), TOPIC),
                Err(Malformed.into()),
                "{partitions:?}"
            );
        }
        for host in ["x".repeat(256), "a\nb".to_owned(), "\u{202e}a".to_owned(), "a b".to_owned(), String::new()] {
            assert_eq!(read_metadata(&answer(&host, std::iter::once((0, 7))), TOPIC), Err(Malformed.into()));
        }
        let many = read_metadata(&answer("a", (0..100_000).map(|number| (number, 7))), TOPIC).unwrap();
        let [first, .., last] = &many.leaders[..] else { panic!() };
        assert!(Arc::ptr_eq(first.as_ref().unwrap(), last.as_ref().unwrap()));
    }

    /// An answer about another topic or partition, or about two, says nothing about what was asked.
    #[test]
    fn answers_about_others_are_refused() {
        let other = read_metadata(&answer("a", std::iter::once((0, 7))), "webb.rollups");
        assert_eq!(other, Err(Unusable::Misdirected));
        let produced = |partitions: &[i32]| {
            let mut answer = Vec::new();
            put_i32(&mut answer, 1);
            put_string(&mut answer, TOPIC);
            put_i32(&mut answer, i32::try_from(partitions.len()).unwrap());
            for partition in partitions {
                put_i32(&mut answer, *partition);
                answer.extend_from_slice(&[0; 2 + 24]);
            }
            put_i32(&mut answer, 5);
            answer
        };
        assert_eq!(read_produce(&produced(&[2]), (TOPIC, 2)), Ok((0, 5)));
        for asked in [(TOPIC, 1), ("webb.rollups", 2), ("", 2)] {
            assert_eq!(read_produce(&produced(&[2]), asked), Err(Unusable::Misdirected), "{asked:?}");
        }
        for partitions in [&[][..], &[2, 2]] {
            assert_eq!(read_produce(&produced(partitions), (TOPIC, 2)), Err(Malformed.into()), "{partitions:?}");
        }
    }

    proptest! {
        /// Any bytes are an answer or an error.
        #[test]
        fn any_answer_is_survived(bytes: Vec<u8>) {
            let _any = read_metadata(&bytes, TOPIC);
            let _any = read_produce(&bytes, (TOPIC, 0));
            let _any = read_sasl_handshake(&bytes);
            let _any = read_sasl_authenticate(&bytes);
        }
    }
}
