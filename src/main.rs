//! The `webb` program.

fn main() {}
