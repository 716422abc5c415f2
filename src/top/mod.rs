//! `webb top`: what the page shows, in a terminal, read from the API of an agent's admin listener.
//!
//! What is shown is a table that names columns and where their values are in an answer
//! (`views`); a field that is missing, or of another type, is shown as not measured. Keys change
//! what is shown (`keys`), answers what is known (`state`), and a screen is drawn of both
//! (`draw`). Threads are in `terminal` alone, so that all else is tested without one.

mod agent_view;
mod answer;
mod details;
mod draw;
mod form;
mod keys;
mod link;
mod once;
mod screen;
mod source;
mod state;
mod table;
mod terminal;
#[cfg(test)]
mod tests;
mod views;

pub use once::{Outcome, json, once};
pub use source::{Failure, Source};
pub use state::{Appearance, Start};
pub use terminal::run;
pub use views::Wanted;

/// Columns by which the agent is asked to sort a view, and all that it has.
#[cfg(test)]
pub(crate) fn sorts_of(view: &str) -> (&'static [&'static str], Vec<&'static str>) {
    let view = views::VIEWS.iter().find(|of| of.name == view);
    let columns = view.into_iter().flat_map(views::View::sorting_columns).map(|column| column.key);
    (view.map_or(&[], |view| view.sorts), columns.collect())
}
