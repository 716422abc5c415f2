//! The files of the page.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::LazyLock;

/// A file of the page, at an address that changes with it.
pub(super) struct Asset {
    pub(super) path: String,
    pub(super) text: &'static str,
    pub(super) kind: &'static str,
}

pub(super) static STYLE: LazyLock<Asset> =
    LazyLock::new(|| asset("css", include_str!("page.css"), "text/css; charset=utf-8"));
pub(super) static SCRIPT: LazyLock<Asset> =
    LazyLock::new(|| asset("js", include_str!("page.js"), "text/javascript; charset=utf-8"));
pub(super) static ICON: LazyLock<Asset> = LazyLock::new(|| asset("svg", include_str!("icon.svg"), "image/svg+xml"));

pub(super) fn asset(end: &str, text: &'static str, kind: &'static str) -> Asset {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    Asset { path: format!("/page/{:016x}.{end}", hasher.finish()), text, kind }
}
