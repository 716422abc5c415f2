//! Kinds of other APIs that are viewed.

use crate::{Kind, OtherKind};

/// Kinds that an API server has or has not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are Kubernetes' own")]
pub enum ViewedKind {
    ServiceExport,
    ServiceImport,
    GatewayClass,
    IngressClass,
}

impl ViewedKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::ServiceExport, Self::ServiceImport, Self::GatewayClass, Self::IngressClass];

    /// The kind as watches name it.
    pub fn kind(self) -> Kind {
        let [export, import, gateway, ingress] = OtherKind::viewed();
        Kind::Other(match self {
            Self::ServiceExport => export,
            Self::ServiceImport => import,
            Self::GatewayClass => gateway,
            Self::IngressClass => ingress,
        })
    }

    /// The viewed kind of a watch.
    pub fn of(kind: Kind) -> Option<Self> {
        Self::ALL.into_iter().find(|viewed| viewed.kind() == kind)
    }

    /// The versions that are read, the best first.
    pub fn versions(self) -> &'static [&'static str] {
        match self {
            Self::ServiceExport | Self::ServiceImport => &["v1beta1", "v1alpha1"],
            Self::GatewayClass => &["v1", "v1beta1"],
            Self::IngressClass => &["v1"],
        }
    }
}
