//! The order of series: rendered label texts, compared as the values in them.

use std::cmp::Ordering;

/// Orders two texts of one family by their label values, in label-name order, as if they were not
/// escaped.
///
/// Both have the same label names, so they first differ inside a value or at its end. Comparing the
/// bytes there is right but for two things: a value that ends (the closing quote) comes before one
/// that goes on, and an escaped character counts as what it stands for.
pub(super) fn compare(left: &[u8], right: &[u8]) -> Ordering {
    let at = common(left, right);
    if at == left.len().min(right.len()) {
        return left.len().cmp(&right.len());
    }
    let before = left.get(..at).unwrap_or_default();
    let escaped = before.iter().rev().take_while(|&&byte| byte == b'\\').count() % 2 == 1;
    rank(left, at, escaped).cmp(&rank(right, at, escaped))
}

/// Length of the common prefix in bytes. Neighbours share most of a text of some hundred bytes,
/// hence the larger steps.
pub(super) fn common(left: &[u8], right: &[u8]) -> usize {
    const STEP: usize = 16;
    let steps = left.chunks_exact(STEP).zip(right.chunks_exact(STEP)).take_while(|(one, other)| one == other).count();
    let rest = left.iter().zip(right).skip(steps * STEP).take_while(|(one, other)| one == other).count();
    steps * STEP + rest
}

/// Length of the common suffix in bytes.
pub(super) fn common_end(left: &[u8], right: &[u8]) -> usize {
    const STEP: usize = 16;
    let steps = left.rchunks_exact(STEP).zip(right.rchunks_exact(STEP)).take_while(|(one, other)| one == other).count();
    let (left, right) = (left.iter().rev().skip(steps * STEP), right.iter().rev().skip(steps * STEP));
    steps * STEP + left.zip(right).take_while(|(one, other)| one == other).count()
}

/// The character at `at` as it was before escaping, raised by one so that the end of a value can be
/// 0.
fn rank(text: &[u8], at: usize, escaped: bool) -> u16 {
    let plain = |byte: Option<&u8>| u16::from(byte.copied().unwrap_or(0)) + 1;
    let unescaped = |byte: Option<&u8>| if byte == Some(&b'n') { plain(Some(&b'\n')) } else { plain(byte) };
    match text.get(at) {
        byte if escaped => unescaped(byte),
        Some(b'"') => 0,
        Some(b'\\') => unescaped(text.get(at + 1)),
        byte => plain(byte),
    }
}
