//! Entry points for fuzz targets.

use super::{re2, uri};

/// Reads any text as every kind of value that has a syntax. Nothing but a panic is a finding.
pub fn fuzz(text: &str) {
    use super::{address::AddressMatch, names, selector::Selector, status::Status};
    let (value, name) = text.split_once('\n').unwrap_or((text, text));
    let _place = AddressMatch::read(value);
    let _status = Status::read(value).map(|status| status.fits(404));
    let _prefix = names::Prefix::read(value).map(|prefix| prefix.fits(name, value));
    let _pattern = names::Pattern::read(value).map(|pattern| pattern.fits(name));
    let _node = names::NodePattern::read(value).map(|pattern| pattern.fits(name));
    let _selector = Selector::read(value).map(|selector| selector.selects(name.split(',')));
    let _expression =
        re2::read(value, &re2::RegexBudget::default()).map(|expression| expression.is_match(name.as_bytes()));
    let _path = uri::path(name);
    let _cel = super::expression_error(text).map(|error| error.shown(text));
}
