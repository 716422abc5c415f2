//! Invariants of every plugin, one that is added later included: nothing here names any.

use proptest::prelude::*;
use webb_flow::{Extra, ExtraId, Flow};
use webb_index::Flows;
use webb_metrics::expose::Format;
use webb_metrics::options::BUCKETS;
use webb_metrics::plugins;

use crate::common::any::{any_extra, any_flow};
use crate::common::{aggregators, exposition, feed_view, flow, index, written};

/// Each plugin alone, at its simplest and with all of its options.
fn configurations() -> Vec<String> {
    let both = plugins::all().iter().flat_map(|plugin| {
        let value = |option: &str| if option == BUCKETS { "0.1|1" } else { "true" };
        let options = plugin.options.iter().map(|option| format!("{option}={}", value(option)));
        let options: Vec<String> = options.collect();
        [plugin.name.to_owned(), format!("{}:{}", plugin.name, options.join(";"))]
    });
    both.collect()
}

/// A plugin packs the labels of a series into a key. Two keys with the same labels would be two
/// series of one name, for which Prometheus refuses the whole scrape.
fn assert_one_key_for_the_same_labels(flows: &[(Flow, Option<Extra>)]) {
    let index = index();
    let extras: Vec<Extra> = flows.iter().filter_map(|(_, extra)| extra.clone()).collect();
    let mut numbers = 0_u32..;
    let flows: Vec<Flow> = flows
        .iter()
        .map(|(flow, extra)| match extra {
            Some(extra) => Flow { extra: ExtraId(numbers.next().unwrap()), ..written(*flow, extra) },
            None => *flow,
        })
        .collect();
    for configuration in configurations() {
        let mut aggregators = aggregators(&configuration);
        feed_view(&mut aggregators, Flows { flows: &flows, extras: &extras, index: &index });
        crate::parser::parse(Format::Text, &exposition(&mut aggregators));
    }
}

/// The check above would be worth nothing if it let two such series pass: one that is there twice,
/// with whatever value, must end it.
#[test]
fn two_keys_with_the_same_labels_are_found() {
    let index = index();
    let mut aggregators = aggregators("flow");
    let flow = flow(&index, "10.0.0.1", "10.0.0.2");
    feed_view(&mut aggregators, Flows { flows: &[flow], extras: &[], index: &index });
    let good = exposition(&mut aggregators);
    crate::parser::parse(Format::Text, &good);
    let (before, last) = good.trim_end().rsplit_once('\n').unwrap();
    let series = last.rsplit_once(' ').unwrap().0;
    for value in ["1", "2"] {
        let bad = format!("{before}\n{series} {value}\n{last}\n");
        let found = std::panic::catch_unwind(|| crate::parser::parse(Format::Text, &bad));
        let text = found.err().and_then(|panic| panic.downcast::<String>().ok()).unwrap();
        assert!(text.contains(" twice"), "{text}");
    }
}

/// Every family has a name that Prometheus accepts, and a help text.
#[test]
fn families_are_named_and_described() {
    for plugin in plugins::all() {
        for family in plugin.tables.iter().flat_map(|table| table.families) {
            let name = family.name;
            let prefixes = ["hubble_", "webb_", "kubecost_"];
            assert!(prefixes.iter().any(|prefix| name.starts_with(prefix)), "{}: {name}", plugin.name);
            assert!(
                name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_')),
                "{}: {name}",
                plugin.name
            );
            assert!(family.help.len() >= 10 && !family.help.ends_with('.'), "{name}: help {:?}", family.help);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Flows from the kernel and flows that another program wrote down, in one batch: their keys
    /// are made in different ways, and must meet in the same series.
    #[test]
    fn the_same_labels_have_one_key(
        flows in prop::collection::vec((any_flow(), prop::option::weighted(0.3, any_extra())), 1..150)
    ) {
        assert_one_key_for_the_same_labels(&flows);
    }
}
