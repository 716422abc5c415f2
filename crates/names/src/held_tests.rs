//! Tests of what an agent holds.

use super::*;

/// Blocks from this one on.
fn blocks(first: usize, number: usize) -> wire::Addresses {
    let block = |at: usize| IpAddr::from(u32::try_from(at * 64).unwrap().to_be_bytes());
    (first..first + number).map(block).collect()
}

fn take(held: &mut Held, networks: wire::Networks) -> (bool, usize) {
    let (changes, outcome) = held.take(wire::Answer { networks: Some(networks), ..wire::Answer::default() });
    outcome.unwrap();
    (changes.networks, held.blocks().count())
}

/// The blocks of a new stream replace those of before once all are here, and not before: an
/// address in one of the rest would be of the world meanwhile.
#[test]
fn blocks_come_in_parts() {
    let mut held = Held::new("own".to_owned());
    let part = |begins, more, added| wire::Networks { begins, more, added, removed: None };
    held.begin(true);
    assert_eq!(take(&mut held, part(true, true, Some(blocks(0, 3)))), (false, 0));
    assert!(!held.knows_networks());
    assert_eq!(take(&mut held, part(false, false, Some(blocks(3, 3)))), (true, 6));
    assert!(held.knows_networks());
    held.begin(true);
    assert_eq!(take(&mut held, part(true, true, Some(blocks(10, 1)))), (false, 6));
    // That stream has ended before all were here.
    held.begin(true);
    assert_eq!(take(&mut held, part(true, true, Some(blocks(20, 1)))), (false, 6));
    assert_eq!(take(&mut held, part(false, false, Some(blocks(21, 1)))), (true, 2));
}

/// Without a stream nothing waits to be sent: the next one begins with all that is held by then.
#[test]
fn a_stream_begins_with_what_is_held() {
    let mut held = Held::bounded("own".to_owned(), 4, 3);
    for last in 0..200 {
        held.ask(IpAddr::from([10, 0, 0, last]));
    }
    assert!(held.outgoing.is_empty());
    held.begin(true);
    let request = held.next_request().unwrap();
    assert_eq!((request.ask.unwrap().read().unwrap().count(), request.release), (3, None));
    held.end();
    assert!(held.ask(IpAddr::from([10, 0, 1, 1])) && !held.has_request());
}

/// Beyond the bound, addresses that no pod has are released before those that flows wait for,
/// and of each the oldest first.
#[test]
fn what_is_waited_for_is_released_last() {
    let mut held = Held::bounded("own".to_owned(), 4, 3);
    let ip = |last: u8| IpAddr::from([10, 0, 0, last]);
    let answer = |held: &mut Held, last: u8| {
        let entry = wire::Entry { address: Some([ip(last)].into_iter().collect()), pods: vec![] };
        held.take(wire::Answer { entries: vec![entry], ..wire::Answer::default() }).1.unwrap();
    };
    let held_now = |held: &Held| (1..=6).filter(|last| held.addresses.contains_key(&ip(*last))).collect::<Vec<u8>>();
    for last in 1..=3 {
        held.ask(ip(last));
    }
    answer(&mut held, 2);
    answer(&mut held, 3);
    held.ask(ip(4));
    assert_eq!(held_now(&held), [1, 3, 4]);
    held.ask(ip(5));
    assert_eq!(held_now(&held), [1, 4, 5]);
    // All of them are waited for.
    held.ask(ip(6));
    assert_eq!((held_now(&held), held.counts().unanswered, held.counts().evicted), (vec![4, 5, 6], 3, 3));
}

/// More blocks than there is room for are counted, and end nothing.
#[test]
fn blocks_are_bounded() {
    let mut held = Held::new("own".to_owned());
    let all = wire::Networks { begins: true, added: Some(blocks(0, MAX_BLOCKS + 5)), ..wire::Networks::default() };
    assert_eq!(take(&mut held, all), (true, MAX_BLOCKS));
    let more =
        wire::Networks { added: Some(blocks(MAX_BLOCKS, 3)), removed: Some(blocks(0, 2)), ..wire::Networks::default() };
    assert_eq!(take(&mut held, more), (true, MAX_BLOCKS));
    assert_eq!(held.counts().refused_blocks, 5 + 1);
}
