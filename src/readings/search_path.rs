//! Names that a resolver tried in its search path, and that were to be expected not to exist.
//!
//! For `db.other` a resolver in the namespace `shop` asks for `db.other.shop.svc.cluster.local`,
//! `db.other.svc.cluster.local`, `db.other.cluster.local` and `db.other`, until one of them is
//! there. Which names are tries is known from the others that the same pod has asked for.

use std::collections::{HashMap, HashSet};

use webb_flow::hash::RandomState;

/// The answer to a name that does not exist.
pub(super) const NO_SUCH_NAME: &str = "Non-Existent Domain";

/// The names that one end has asked another for.
#[derive(Debug, Default)]
pub(super) struct AskedNames<'a> {
    /// True for a name that was found.
    names: HashMap<&'a str, bool, RandomState>,
    /// Domains of clusters: what is behind the label `svc`.
    domains: HashSet<&'a str, RandomState>,
}

impl<'a> AskedNames<'a> {
    /// Takes a name, and whether it was found.
    pub(super) fn add(&mut self, name: &'a str, is_found: bool) {
        let name = bare(name);
        *self.names.entry(name).or_default() |= is_found;
        self.domains.extend(services(name).map(|(_, domain)| domain));
    }

    /// True if a name that was not found is another one with a part of the search path behind it:
    /// one that was asked for as well, and that was found or is said to fail itself. A part that is
    /// no cluster's, such as a node's domain, is known by the other parts that were tried before.
    pub(super) fn is_try(&self, name: &str) -> bool {
        let name = bare(name);
        let found = |other: &str| self.names.get(other) == Some(&true);
        let mut shorter = ends(name).filter_map(|at| Some((name.get(..at)?, name.get(at + 1..)?)));
        let is_part = |(shorter, rest): (&str, &str)| {
            self.names.contains_key(shorter) && (self.is_path(rest) || found(shorter) && self.is_searched(shorter))
        };
        if shorter.any(is_part) {
            return true;
        }
        // In the next parts of the path.
        services(name).any(|(of, domain)| {
            let (owner, _) = of.rsplit_once('.').unwrap_or_default();
            let in_domain = |of: &str| !of.is_empty() && found(&format!("{of}.{domain}"));
            in_domain(of) || in_domain(owner) || (!owner.is_empty() && found(&format!("{owner}.svc.{domain}")))
        })
    }

    /// True if a name was asked for with a cluster's part of a search path.
    fn is_searched(&self, name: &str) -> bool {
        let asked =
            |domain: &str| ["svc.", ""].iter().any(|part| self.names.contains_key(&*format!("{name}.{part}{domain}")));
        self.domains.iter().any(|domain| asked(domain))
    }

    /// True for a part of a search path: `shop.svc.cluster.local`, `svc.cluster.local` or
    /// `cluster.local`.
    fn is_path(&self, rest: &str) -> bool {
        let of_namespace = rest.split_once('.').and_then(|(_, rest)| rest.strip_prefix("svc."));
        let domain = rest.strip_prefix("svc.").or(of_namespace).unwrap_or(rest);
        self.domains.contains(domain)
    }
}

/// Places of the dots in a name.
fn ends(name: &str) -> impl Iterator<Item = usize> {
    name.match_indices('.').map(|(at, _)| at)
}

/// What is before a label `svc`, and what is behind it.
fn services(name: &str) -> impl Iterator<Item = (&str, &str)> {
    name.match_indices(".svc.").filter_map(|(at, label)| Some((name.get(..at)?, name.get(at + label.len()..)?)))
}

fn bare(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(names: &[(&'static str, bool)]) -> AskedNames<'static> {
        let mut asked = AskedNames::default();
        for (name, is_found) in names {
            asked.add(name, *is_found);
        }
        asked
    }

    /// Tries are those of a name that is found: as it is, as a Service's of another namespace, or
    /// with the domain alone.
    #[test]
    fn tries_of_found_names() {
        let outside = [
            ("api.example.com.shop.svc.cluster.local", false),
            ("api.example.com.svc.cluster.local", false),
            ("api.example.com.cluster.local", false),
            ("api.example.com.eu-west-1.compute.internal", false),
            ("api.example.com", true),
        ];
        let names = asked(&outside);
        for (name, is_found) in outside {
            assert_eq!(names.is_try(name), !is_found, "{name}");
        }
        let names = asked(&[("db.other.shop.svc.cluster.local.", false), ("db.other.svc.cluster.local.", true)]);
        assert!(names.is_try("db.other.shop.svc.cluster.local."));
        let names = asked(&[
            ("db.other.svc.shop.svc.k8s.test", false),
            ("db.other.svc.svc.k8s.test", false),
            ("db.other.svc.k8s.test", true),
        ]);
        assert!(names.is_try("db.other.svc.shop.svc.k8s.test") && names.is_try("db.other.svc.svc.k8s.test"));
    }

    /// A name that is nowhere fails itself, and its tries do not; nor is a name a try because
    /// another one was found.
    #[test]
    fn failures_are_of_the_name_itself() {
        let nowhere =
            ["cart.shop.svc.cluster.local", "cart.svc.cluster.local", "cart.cluster.local", "cart", "x.example.com"];
        let names = asked(&nowhere.map(|name| (name, false)));
        assert_eq!(nowhere.map(|name| names.is_try(name)), [true, true, true, false, false]);
        let names = asked(&[("gone.shop.svc.cluster.local", false), ("cart.shop.svc.cluster.local", true), ("", true)]);
        assert!(!names.is_try("gone.shop.svc.cluster.local"));
        assert!(!asked(&[]).is_try("a.b.svc.c") && !asked(&[(".", true)]).is_try("."));
        let names = asked(&[("redis", false), ("redis.prod.example.com", false)]);
        assert!(!names.is_try("redis.prod.example.com"), "it is in no search path that is known");
        let names = asked(&[("example.com", true), ("example.com.typo.org", false), ("db.svc.cluster.local", true)]);
        assert!(!names.is_try("example.com.typo.org"), "it stands behind a name that was found");
    }
}
