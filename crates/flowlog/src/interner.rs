//! Interner of the endpoints and names in a flow file: each is parsed once.
//!
//! An endpoint is written out in full in each of its flows: labels, workloads, names. Its text is
//! looked up as it stands in the line, so that a known one costs a hash of these bytes and nothing
//! is parsed. New ones get the next row of the table; the table is published as an [`Index`] when a
//! batch is handed out, and the same one again as long as no endpoint is new, so that what metrics
//! have cached of it holds. An old index stays what it was.

use std::hash::Hash;
use std::sync::Arc;

use hashbrown::HashMap;
use webb_flow::hash::RandomState;
use webb_flow::sym::Sym;
use webb_flow::{EndpointId, Reason, names};
use webb_index::{Endpoint, EndpointKind, EndpointSpec, Index, Policies, Workload};

use super::json::{Cursor, JsonError};
use super::numbers::number;

/// Everything is forgotten at this size, between two batches: a file may make up endpoints, and a
/// new index copies all that are known. Twice the pods of a large cluster.
const MAX_ENDPOINTS: usize = 1 << 16;

/// Rows that every index begins with: no endpoint, and the world.
const RESERVED: usize = 2;

/// An endpoint with a text that was interned before.
#[derive(Debug)]
struct KnownEndpoint {
    id: EndpointId,
    /// Cluster name: not part of an endpoint, but of every flow that has it.
    cluster: Box<str>,
}

/// Interns the endpoints of a flow file.
#[derive(Debug, Default)]
pub struct EndpointInterner {
    by_text: HashMap<Box<str>, KnownEndpoint, RandomState>,
    by_content: HashMap<Endpoint, EndpointId, RandomState>,
    endpoints: Vec<Endpoint>,
    index: Arc<Index>,
    published: usize,
    names: HashMap<Box<str>, Sym, RandomState>,
    reasons: HashMap<i32, Reason, RandomState>,
}

impl EndpointInterner {
    /// Reads `flow.Endpoint`; `cluster` becomes the name of its cluster.
    ///
    /// # Errors
    /// If it is none.
    #[inline]
    pub fn endpoint(&mut self, cursor: &mut Cursor<'_>, cluster: &mut String) -> Result<EndpointId, JsonError> {
        let Some(text) = cursor.raw() else { return self.meet(cursor, None, cluster) };
        if let Some(known) = self.by_text.get(text) {
            cluster.clear();
            cluster.push_str(&known.cluster);
            return Ok(known.id);
        }
        cursor.back(text);
        self.meet(cursor, Some(text), cluster)
    }

    #[cold]
    fn meet(
        &mut self,
        cursor: &mut Cursor<'_>,
        text: Option<&str>,
        cluster: &mut String,
    ) -> Result<EndpointId, JsonError> {
        cluster.clear();
        let endpoint = read(cursor, cluster)?;
        let next = EndpointId(u32::try_from(self.endpoints.len() + RESERVED).unwrap_or(u32::MAX));
        let id = *self.by_content.entry(endpoint).or_insert_with(|| {
            self.endpoints.push(endpoint);
            next
        });
        if let Some(text) = text {
            forget_at_limit(&mut self.by_text);
            self.by_text.insert(text.into(), KnownEndpoint { id, cluster: cluster.as_str().into() });
        }
        Ok(id)
    }

    /// Reads a list of DNS names: joined with `,`, as the identifier `dns` shows them.
    ///
    /// # Errors
    /// If it is none.
    pub fn names(&mut self, cursor: &mut Cursor<'_>) -> Result<Sym, JsonError> {
        let text = cursor.raw();
        if let Some(text) = text {
            if let Some(&known) = self.names.get(text) {
                return Ok(known);
            }
            cursor.back(text);
        }
        let mut names = Vec::new();
        cursor.list(|inside| {
            names.push(inside.string()?);
            Ok(())
        })?;
        let joined = Sym::new(&names.join(","));
        if let Some(text) = text {
            forget_at_limit(&mut self.names);
            self.names.insert(text.into(), joined);
        }
        Ok(joined)
    }

    /// Reads `flow.DropReason`: its number and its text. A name that is younger than this table
    /// stands for itself, and its number is a stand-in; a number without a name is written out.
    ///
    /// # Errors
    /// If it is none.
    pub fn drop_reason(&mut self, cursor: &mut Cursor<'_>) -> Result<(i32, Reason), JsonError> {
        let number = number(cursor, &names::DROP_REASONS)?;
        forget_at_limit(&mut self.reasons);
        let reason =
            *self.reasons.entry(number).or_insert_with(|| Reason(Sym::new(&names::text(&names::DROP_REASONS, number))));
        Ok((number, reason))
    }

    /// The index that names all ids given since [`EndpointInterner::turn`].
    pub fn index(&mut self) -> &Arc<Index> {
        if self.published != self.endpoints.len() {
            let all = self.endpoints.iter().map(|&endpoint| (endpoint, Vec::new()));
            self.index = Arc::new(Index::new(all, Policies::default()));
            self.published = self.endpoints.len();
        }
        &self.index
    }

    /// Between two batches: ids given before may mean something else from now on.
    pub fn turn(&mut self) {
        if self.endpoints.len() >= MAX_ENDPOINTS {
            *self = Self::default();
        }
    }
}

fn forget_at_limit<K: Eq + Hash, V>(cache: &mut HashMap<K, V, RandomState>) {
    if cache.len() >= MAX_ENDPOINTS {
        cache.clear();
    }
}

fn read(cursor: &mut Cursor<'_>, cluster: &mut String) -> Result<Endpoint, JsonError> {
    let mut spec = EndpointSpec::default();
    cursor.object(|inside, field| {
        match field {
            "identity" => spec.identity = inside.whole()?,
            "cluster_name" => *cluster = inside.string()?.into_owned(),
            "namespace" => spec.namespace = inside.string()?.into_owned(),
            "pod_name" => spec.pod_name = inside.string()?.into_owned(),
            "labels" => inside.list(|inside| {
                spec.labels.push(inside.string()?.into_owned());
                Ok(())
            })?,
            "workloads" => inside.list(|inside| {
                spec.workloads.push(workload(inside)?);
                Ok(())
            })?,
            _ => inside.skip()?,
        }
        Ok(())
    })?;
    spec.cluster.clone_from(cluster);
    Ok(Endpoint::new(kind(&spec), false, &spec))
}

fn workload(cursor: &mut Cursor<'_>) -> Result<Workload, JsonError> {
    let mut workload = Workload::default();
    cursor.object(|inside, field| {
        match field {
            "name" => workload.name = inside.string()?.into_owned(),
            "kind" => workload.kind = inside.string()?.into_owned(),
            _ => inside.skip()?,
        }
        Ok(())
    })?;
    Ok(workload)
}

fn kind(spec: &EndpointSpec) -> EndpointKind {
    let has = |label: &str| spec.labels.iter().any(|known| known == label);
    if has("reserved:host") {
        EndpointKind::Host
    } else if has("reserved:remote-node") {
        EndpointKind::RemoteNode
    } else if has("reserved:world") || has("reserved:world-ipv4") || has("reserved:world-ipv6") {
        EndpointKind::World
    } else if !spec.pod_name.is_empty() {
        EndpointKind::Pod
    } else if spec.labels.iter().any(|label| label.starts_with("reserved:")) {
        EndpointKind::Reserved
    } else {
        EndpointKind::Unknown
    }
}
