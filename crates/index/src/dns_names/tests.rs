//! What is learned, for how long, and every bound.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;
use crate::{Endpoint, EndpointKind, EndpointSpec, Index, Policies};

const SECOND: u64 = 1_000_000_000;

fn address(number: u32) -> Address {
    Address::from(std::net::IpAddr::from(Ipv4Addr::from_bits(0x0a00_0000 + number)))
}

fn learn(cache: &mut DnsNameCache, pod: u32, name: &str, peers: &[u32], ttl: u32, now: u64) {
    let peers: Vec<Address> = peers.iter().map(|peer| address(*peer)).collect();
    cache.learn((address(pod), Sym::EMPTY), name, &peers, (ttl, now * SECOND));
}

fn found(table: &DnsNames, pod: u32, peer: u32) -> String {
    table.find(address(pod), address(peer)).text().to_string()
}

fn refused(cache: &DnsNameCache, reason: NameRefusal) -> u64 {
    cache.refused()[reason as usize]
}

/// Names are the asking pod's alone, without their dot, sorted; a table stays as it was published.
#[test]
fn names_belong_to_the_pod_that_asked() {
    let mut cache = DnsNameCache::new(NameLimits::default());
    assert!(cache.publish(0).is_none());
    learn(&mut cache, 1, "web.test.", &[100, 101], 30, 0);
    let first = cache.publish(0).unwrap();
    assert_eq!([found(&first, 1, 100), found(&first, 1, 101)], ["web.test", "web.test"]);
    assert_eq!([found(&first, 2, 100), found(&first, 100, 1), found(&first, 1, 102)], ["", "", ""]);
    learn(&mut cache, 1, "a.test.", &[100], 30, 1);
    learn(&mut cache, 1, "web.test.", &[100], 30, 1);
    learn(&mut cache, 1, ".", &[102], 30, 1);
    let second = cache.publish(SECOND).unwrap();
    assert_eq!([found(&second, 1, 100), found(&second, 1, 102)], ["a.test,web.test", ""]);
    assert_eq!(found(&first, 1, 100), "web.test");
    learn(&mut cache, 1, "web.test.", &[100, 101], 30, 2);
    assert!(cache.publish(2 * SECOND).is_none(), "nothing but a time has changed");
}

/// A name stays for its TTL, at least a minute and at most an hour, and longer if it is learned
/// again; of two names of an address each has its own time.
#[test]
fn names_end() {
    for (ttl, before, after) in [(0, 59, 65), (30, 59, 65), (300, 299, 305), (u32::MAX, 3599, 3605)] {
        let mut cache = DnsNameCache::new(NameLimits::default());
        learn(&mut cache, 1, "web.test.", &[100], ttl, 0);
        cache.expire(before * SECOND);
        assert_eq!(found(&cache.publish(0).unwrap(), 1, 100), "web.test", "{ttl}");
        cache.expire(after * SECOND);
        assert_eq!(found(&cache.publish(0).unwrap(), 1, 100), "", "{ttl}");
        assert!(cache.is_empty());
        assert_eq!(cache.expired(), 1, "{ttl}");
    }
    let mut cache = DnsNameCache::new(NameLimits::default());
    learn(&mut cache, 1, "again.test.", &[100], 60, 0);
    learn(&mut cache, 1, "once.test.", &[100], 60, 0);
    learn(&mut cache, 1, "again.test.", &[100], 60, 50);
    cache.expire(70 * SECOND);
    assert_eq!(found(&cache.publish(0).unwrap(), 1, 100), "again.test");
    cache.expire(115 * SECOND);
    assert!(cache.is_empty());
    assert_eq!(cache.expired(), 2);
}

/// Each bound evicts what ends first, of the one that has too much, and counts it.
#[test]
fn bounds_are_kept() {
    let limits = NameLimits { pairs: 6, pairs_of_pod: 4, names_of_pair: 2, ..NameLimits::default() };
    let mut cache = DnsNameCache::new(limits);
    for (name, ttl) in [("long.test.", 900), ("short.test.", 100), ("new.test.", 500)] {
        learn(&mut cache, 1, name, &[100], ttl, 0);
    }
    assert_eq!(found(&cache.publish(0).unwrap(), 1, 100), "long.test,new.test");
    assert_eq!(refused(&cache, NameRefusal::Address), 1);
    learn(&mut cache, 1, "web.test.", &[101], 100, 0);
    learn(&mut cache, 1, "web.test.", &[102, 103, 104], 200, 0);
    let table = cache.publish(0).unwrap();
    assert_eq!(
        [100, 101, 102, 103, 104].map(|peer| !found(&table, 1, peer).is_empty()),
        [true, false, true, true, true]
    );
    assert_eq!((cache.len(), refused(&cache, NameRefusal::Pod)), (4, 1));
    // The pod that has the most makes room for others.
    learn(&mut cache, 2, "web.test.", &[100, 101, 102], 60, 0);
    let table = cache.publish(0).unwrap();
    assert_eq!((cache.len(), refused(&cache, NameRefusal::Table)), (6, 1));
    assert_eq!([100, 101, 102].map(|peer| found(&table, 2, peer)), ["web.test"; 3]);
    assert_eq!(found(&table, 1, 100), "long.test,new.test");
}

/// A pod whose address another one has now leaves it no names; one that becomes known keeps its
/// own.
#[test]
fn names_go_with_their_pod() {
    let index = |name: &str| {
        let spec = EndpointSpec { namespace: "a".into(), pod_name: name.into(), ..EndpointSpec::default() };
        Index::new(vec![(Endpoint::new(EndpointKind::Pod, true, &spec), vec![address(1)])], Policies::default())
    };
    let mut cache = DnsNameCache::new(NameLimits::default());
    learn(&mut cache, 1, "web.test.", &[100], 3600, 0);
    for name in ["first", "first"] {
        cache.follow(&index(name));
        assert_eq!(cache.len(), 1, "{name}");
    }
    cache.follow(&index("second"));
    assert_eq!((cache.len(), found(&cache.publish(0).unwrap(), 1, 100)), (0, String::new()));
    // An answer may come before the new index is followed.
    let first = Name::new("a/first");
    cache.learn((address(1), first.sym()), "web.test.", &[address(100)], (30, 0));
    let second = Name::new("a/second");
    cache.learn((address(1), second.sym()), "new.test.", &[address(101)], (30, 0));
    let table = cache.publish(0).unwrap();
    assert_eq!([100, 101].map(|peer| found(&table, 1, peer)), ["", "new.test"]);
}

/// Texts of names that are gone go too, but only with another generation, and with the last table
/// of theirs: a cache of symbols must not read another name for one. What would be too many texts
/// in too short a time is not learned.
#[test]
fn texts_go_with_their_generation() {
    let limits = NameLimits { pairs_of_pod: 2, texts: 200, ..NameLimits::default() };
    let mut cache = DnsNameCache::new(limits);
    let known = |number: u32| Sym::known(&format!("texts-{number}.test")).is_some();
    let mut before = cache.publish(0).unwrap_or_default();
    for number in 0..200 {
        learn(&mut cache, 1, &format!("texts-{number}.test."), &[number], 60, 1);
        if number == 0 {
            before = cache.publish(SECOND).unwrap();
        }
    }
    assert_eq!((refused(&cache, NameRefusal::Texts), refused(&cache, NameRefusal::Pod)), (0, 198));
    learn(&mut cache, 1, "texts-200.test.", &[200], 60, 1);
    assert_eq!(refused(&cache, NameRefusal::Texts), 1);
    let table = cache.publish(SECOND).unwrap();
    assert_eq!(table.generation(), before.generation());
    assert!(known(0) && known(150));
    learn(&mut cache, 1, "texts-201.test.", &[201], 60, 20);
    assert_eq!(refused(&cache, NameRefusal::Texts), 1);
    let after = cache.publish(20 * SECOND).unwrap();
    assert_ne!(after.generation(), before.generation());
    drop(table);
    assert_eq!(found(&before, 1, 0), "texts-0.test");
    assert!(known(150), "the first table is there still");
    drop(before);
    assert!(!known(0) && !known(150));
    assert_eq!([199, 201].map(|peer| found(&after, 1, peer)), ["texts-199.test", "texts-201.test"]);
    let generation = after.generation();
    cache.clear();
    let empty = cache.publish(21 * SECOND).unwrap();
    assert_eq!((found(&empty, 1, 201), cache.len()), (String::new(), 0));
    assert_ne!(empty.generation(), generation);
    assert_eq!(refused(&cache, NameRefusal::Texts), 1);
}

/// What a test does: learn a name for some addresses, or let time pass.
#[derive(Debug, Clone)]
enum Step {
    Learn { pod: u32, name: char, peers: Vec<u32>, ttl: u32 },
    Pass(u64),
}

fn any_step() -> impl Strategy<Value = Step> {
    let learn = (0_u32..3, prop::char::range('a', 'd'), prop::collection::vec(0_u32..5, 0..4), 0_u32..200)
        .prop_map(|(pod, name, peers, ttl)| Step::Learn { pod, name, peers, ttl });
    prop_oneof![3 => learn, 1 => (1_u64..40).prop_map(Step::Pass)]
}

proptest! {
    /// Against a plain list of what was learned: a name is there until it ends, at most a step and
    /// a look longer, and never another one; no bound is exceeded, and what is missing is counted.
    #[test]
    fn the_table_is_what_was_learned(steps in prop::collection::vec(any_step(), 1..120), small in any::<bool>()) {
        let limits = if small {
            NameLimits { pairs: 6, pairs_of_pod: 3, names_of_pair: 2, texts: 40 }
        } else {
            NameLimits::default()
        };
        let mut cache = DnsNameCache::new(limits);
        let (mut now, mut table) = (1_u64, Arc::new(DnsNames::default()));
        let mut model: BTreeMap<(u32, u32, char), u64> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Learn { pod, name, peers, ttl } => {
                    learn(&mut cache, pod, &format!("{name}.test."), &peers, ttl, now);
                    for peer in peers {
                        let end = model.entry((pod, peer, name)).or_default();
                        *end = (*end).max(now + u64::from(ttl.max(60)));
                    }
                }
                Step::Pass(seconds) => now += seconds,
            }
            cache.expire(now * SECOND);
            if let Some(newer) = cache.publish(now * SECOND) {
                table = newer;
            }
            prop_assert!(cache.len() <= limits.pairs);
            let evicted = cache.refused().iter().sum::<u64>();
            for pod in 0..3 {
                let mut pairs = 0;
                for peer in 0..5 {
                    let text = found(&table, pod, peer);
                    let shown: Vec<&str> = text.split(',').filter(|name| !name.is_empty()).collect();
                    prop_assert!(shown.is_sorted_by(|one, other| one < other), "{shown:?}");
                    prop_assert!(shown.len() <= limits.names_of_pair);
                    pairs += usize::from(!shown.is_empty());
                    for name in 'a'..='d' {
                        let is_shown = shown.contains(&format!("{name}.test").as_str());
                        let end = model.get(&(pod, peer, name)).copied().unwrap_or(0);
                        // Ends are rounded up to four seconds, and looked for each second.
                        prop_assert!(!is_shown || now < end + 5, "{name} at {now}, end {end}");
                        prop_assert!(is_shown || now >= end || evicted > 0, "{name} at {now}, end {end}");
                    }
                }
                prop_assert!(pairs <= limits.pairs_of_pod);
            }
        }
        if !small {
            prop_assert_eq!(cache.refused(), [0; NameRefusal::ALL.len()]);
        }
    }
}
