//! The engine and its exposition, from flows to text.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may end where it is wrong"
)]

mod common;
mod connections;
mod dynamic;
mod extras;
mod filters;
mod formats;
mod golden;
mod layer7;
mod layer7_live;
mod limits;
mod parser;
mod plugins;
mod properties;
mod zone_traffic;
mod zones;
