//! The views of the page, and what one is rendered of.

use crate::http::node_view::NodeView;
use crate::http::query::Query;

/// A view of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum View {
    Overview,
    Pairs,
    Pair,
    Drops,
    Connections,
    Dns,
    Http,
    Changes,
    Agent,
}

impl View {
    pub(super) const ALL: [Self; 9] = [
        Self::Overview,
        Self::Pairs,
        Self::Pair,
        Self::Drops,
        Self::Connections,
        Self::Dns,
        Self::Http,
        Self::Changes,
        Self::Agent,
    ];

    pub(super) fn path(self) -> &'static str {
        match self {
            Self::Overview => "/",
            Self::Pairs => "/pairs",
            Self::Pair => "/pair",
            Self::Drops => "/drops",
            Self::Connections => "/connections",
            Self::Dns => "/dns",
            Self::Http => "/http",
            Self::Changes => "/changes",
            Self::Agent => "/agent",
        }
    }

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Pairs => "Pairs",
            Self::Pair => "Pair",
            Self::Drops => "Drops",
            Self::Connections => "Connections",
            Self::Dns => "DNS",
            Self::Http => "HTTP",
            Self::Changes => "Changes",
            Self::Agent => "Agent",
        }
    }
}

/// What a view is rendered of.
pub(super) struct Page<'a> {
    pub(super) view: View,
    pub(super) node: &'a NodeView,
    pub(super) query: &'a Query,
    /// Address that the browser asked, for commands to copy.
    pub(super) host: &'a str,
}
