//! Connection quality: the outcome of each attempt, the end of each connection, round trips and
//! closed windows, as events of records.

mod attempts;
mod ends;
mod model;
mod retransmissions;
mod samples;
mod talk;
