//! Entry point for a fuzz target.

use super::super::resource::RESOURCES;
use super::{ListCutter, event, item, page};

/// Reads any bytes as a list in one piece and in many, as an event and as a pod: each is refused,
/// or read.
///
/// # Panics
/// If the items of a list depend on its pieces.
pub fn fuzz(bytes: &[u8]) {
    let [resource, ..] = &RESOURCES;
    let whole = cut(bytes, bytes.len().max(1));
    let pieces = cut(bytes, 7);
    if let (Some(whole), Some(pieces)) = (whole, pieces) {
        assert_eq!(whole, pieces, "the items of a list depend on its pieces");
    }
    let _either = event(resource, bytes, item);
    let _either = event(resource, bytes.get(4..).unwrap_or_default(), item);
    let _either = item(resource, bytes);
    let _either = page(resource, bytes);
}

/// The items of a list, each read, and its metadata; none if it is refused.
fn cut(bytes: &[u8], size: usize) -> Option<(Vec<usize>, Vec<u8>)> {
    let [resource, ..] = &RESOURCES;
    let (mut cutter, mut items) = (ListCutter::of(resource), Vec::new());
    for piece in bytes.chunks(size) {
        cutter.push(piece);
        while let Some(found) = cutter.next().ok()? {
            let _either = item(resource, &found);
            items.push(found.len());
        }
    }
    Some((items, cutter.metadata().to_vec()))
}
