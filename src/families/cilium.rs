//! Families of an endpoint that speaks Cilium's language: what is exposed in which of its versions,
//! and what is not exposed and why.
//!
//! A category is one file; the documents are written from it, so that nothing is exposed that they
//! do not have.

use webb_settings::Compat;

use super::Def;

/// One of Cilium's families.
#[derive(Debug)]
pub struct Family {
    /// Name, type, labels and help.
    pub def: Def,
    /// Whether it is exposed unless a toggle says otherwise, as in Cilium.
    pub on_by_default: bool,
    /// Versions of Cilium that have it in this form. A family with labels that changed is one
    /// `Family` for each spelling.
    pub versions: Versions,
    /// Source of its values, and the difference from Cilium's meaning if there is one.
    pub source: &'static str,
}

/// A range of versions, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions {
    /// First version.
    pub from: Compat,
    /// Last version.
    pub to: Compat,
}

impl Versions {
    /// Every version.
    pub const ALL: Self = Self { from: Compat::V1_16, to: Compat::V1_20 };

    /// This version and those after it.
    #[must_use]
    pub const fn from(from: Compat) -> Self {
        Self { from, to: Compat::V1_20 }
    }

    /// This version and those before it.
    #[must_use]
    pub const fn to(to: Compat) -> Self {
        Self { from: Compat::V1_16, to }
    }

    /// True if `version` is one of them.
    #[must_use]
    pub fn contains(self, version: Compat) -> bool {
        (self.from..=self.to).contains(&version)
    }
}

/// A family of Cilium's that is not exposed.
#[derive(Debug)]
pub struct Absent {
    /// Full name, or several with a common beginning: `cilium_kvstore_*`.
    pub name: &'static str,
    /// The reason, for the documents.
    pub reason: &'static str,
}

impl Absent {
    /// True if `name` is it, or one of them.
    #[must_use]
    pub fn covers(&self, name: &str) -> bool {
        self.name.strip_suffix('*').map_or(self.name == name, |start| name.starts_with(start))
    }
}

/// A category of families, as Cilium's documentation has them.
#[derive(Debug)]
pub struct Category {
    /// Its title.
    pub title: &'static str,
    /// The families that are exposed.
    pub families: &'static [&'static Family],
    /// The families that are not.
    pub absent: &'static [Absent],
}

/// Defines the families of a category: constant, type, name, labels, help, source; then what
/// differs from "on by default, in all versions".
///
/// ```text
/// families! {
///     VERSION: gauge "cilium_version" ["version"] "Help" from "the build";
///     LAG: gauge "cilium_lag" [] "Help" from "the watch", off;
///     OLD: gauge "cilium_old" [] "Help" from "links", in Versions::to(Compat::V1_18);
/// }
/// ```
macro_rules! cilium_families {
    ($($constant:ident: $kind:ident $name:literal [$($label:literal),*] $help:literal from $source:literal
       $(, $word:tt $($versions:expr)?)*;)*) => {
        $(
            #[doc = $help]
            pub static $constant: $crate::families::Family = $crate::families::Family {
                def: $crate::families::Def {
                    name: $name,
                    help: $help,
                    kind: $crate::families::cilium_families!(@type $kind),
                    labels: &[$($label),*],
                },
                on_by_default: $crate::families::cilium_families!(@on $($word)*),
                versions: $crate::families::cilium_families!(@versions $($($versions)?)*),
                source: $source,
            };
        )*
        const FAMILIES: &[&$crate::families::Family] = &[$(&$constant),*];
    };
    (@type counter) => { webb_metrics::expose::FamilyType::Counter };
    (@type gauge) => { webb_metrics::expose::FamilyType::Gauge };
    (@type histogram) => { webb_metrics::expose::FamilyType::Histogram };
    (@on) => { true };
    (@on in) => { true };
    (@on off) => { false };
    (@on off in) => { false };
    (@versions $versions:expr) => { $versions };
    (@versions) => { $crate::families::Versions::ALL };
}

pub(crate) use cilium_families;
