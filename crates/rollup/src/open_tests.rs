//! Open connections of rows against a plain set of them.

use std::collections::BTreeMap;

use proptest::prelude::*;
use webb_flow::ConnectionEvent as E;

use super::*;

/// An event of connection `number` from one of the pods.
fn event(index: &Index, number: u16, event: E) -> Flow {
    let opening = packet(index, 1 + u8::try_from(number % 2).unwrap(), 3);
    Flow { source_port: 40_000 + number, ..opening.connection(event, 0) }
}

/// Open connections by row, without rows that have none; the next window begins.
fn open(rollups: &mut Rollups) -> BTreeMap<String, u32> {
    let rows = rows(rollups).into_iter().map(|(row, sums)| (row, sums.connections.open));
    rows.filter(|(_, open)| *open > 0).collect()
}

const CART: &str = "shop/cart>data/db:80 Forwarded  source";

/// A connection is in its row in each window at whose end it is open, if nothing moves too.
#[test]
fn a_quiet_connection_has_a_row() {
    let index = index();
    let mut rollups = Rollups::new(Settings::default());
    // Two are opened, and one of them ends in the same batch.
    let flows = [event(&index, 0, E::Accepted), event(&index, 2, E::Accepted), event(&index, 0, E::Closed)];
    observe(&mut rollups, &index, &flows, &[]);
    let one = BTreeMap::from([(CART.to_owned(), 1)]);
    assert_eq!(open(&mut rollups), one);
    let expected = Connections { open: 1, ..Connections::default() };
    assert_eq!(rows(&mut rollups)[0].1.connections, expected, "a window without a flow");
    observe(&mut rollups, &index, &[event(&index, 2, E::ResetByOpener)], &[]);
    assert_eq!(rows(&mut rollups)[0].1.connections, Connections { reset: 1, ..Connections::default() });
    assert!(rows(&mut rollups).is_empty());
}

/// The end of a connection lowers the row of its begin, although its pod has another name by then.
#[test]
fn an_end_lowers_the_row_of_its_begin() {
    let index = index();
    let mut rollups = Rollups::new(Settings::default());
    observe(&mut rollups, &index, &[event(&index, 0, E::Accepted)], &[]);
    let renamed = Arc::new(Index::new([(pod("shop", "till", true), vec![address(1)])], Policies::default()));
    observe(&mut rollups, &renamed, &[event(&renamed, 0, E::Closed)], &[]);
    assert!(open(&mut rollups).is_empty());
}

/// Connections that other settings, or a listing, take away are in no row any more.
#[test]
fn listings_correct() {
    let index = index();
    let mut rollups = Rollups::new(Settings::default());
    let accepted = |numbers: std::ops::Range<u16>| numbers.map(|number| event(&index, number, E::Accepted)).collect();
    let flows: Vec<Flow> = accepted(0..6);
    observe(&mut rollups, &index, &flows, &[]);
    rollups.list(ListingStep::Begin);
    let listed = [event(&index, 0, E::Open), event(&index, 8, E::Open)];
    observe(&mut rollups, &index, &listed, &[]);
    rollups.list(ListingStep::End);
    assert_eq!(open(&mut rollups), BTreeMap::from([(CART.to_owned(), 2)]));
    assert_eq!(rollups.corrections(), Corrections { added: 1, removed: 5, refused: 0 });
    rollups.apply(Settings { max_rows: 7, ..Settings::default() });
    assert!(open(&mut rollups).is_empty());
    rollups.limit_open(1);
    observe(&mut rollups, &index, &flows, &[]);
    assert_eq!(open(&mut rollups).into_values().sum::<u32>(), 1, "the bound");
    assert_eq!(rollups.corrections().refused, 5);
    rollups.list(ListingStep::Reset);
    assert!(open(&mut rollups).is_empty());
}

proptest! {
    /// Whatever connections begin, end and are listed, in whatever windows, and however few rows
    /// there may be: at the end of each window the rows have as many as are open.
    #[test]
    fn as_many_as_are_open(steps in prop::collection::vec((0..40_u16, 0..12_u8), 0..200), max_rows in 1..4_usize) {
        let index = index();
        let mut rollups = Rollups::new(Settings { max_rows, ..Settings::default() });
        let mut known = std::collections::BTreeSet::new();
        for (number, step) in steps {
            let kind = match step {
                0..5 => E::Accepted,
                5..8 => E::Closed,
                8 => E::Interrupted,
                9 => E::RetransmitData,
                10 => {
                    prop_assert_eq!(open(&mut rollups).into_values().sum::<u32>() as usize, known.len());
                    continue;
                }
                _ => {
                    rollups.list(ListingStep::Begin);
                    known.retain(|open| *open != number);
                    let listed: Vec<Flow> = known.iter().map(|open| event(&index, *open, E::Open)).collect();
                    observe(&mut rollups, &index, &listed, &[]);
                    rollups.list(ListingStep::End);
                    continue;
                }
            };
            observe(&mut rollups, &index, &[event(&index, number, kind)], &[]);
            match kind {
                E::Accepted => known.insert(number),
                kind if kind.is_end() => known.remove(&number),
                _ => false,
            };
        }
        prop_assert_eq!(open(&mut rollups).into_values().sum::<u32>() as usize, known.len());
    }
}
