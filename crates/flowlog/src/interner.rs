//! Interner of the endpoints and names in a flow file: each is parsed once.
//!
//! An endpoint is written out in full in each of its flows: labels, workloads, names. It is looked
//! up as it stands in the line or message, so that a known one costs a hash of these bytes and
//! nothing is parsed. New ones get the next row of the table; the table is published as an
//! [`Index`] when a batch is handed out, and the same one again as long as no endpoint is new, so
//! that what metrics have cached of it holds. An old index stays what it was.

use std::hash::Hash;
use std::sync::Arc;

use hashbrown::HashMap;
use webb_flow::hash::RandomState;
use webb_flow::sym::Sym;
use webb_flow::{EndpointId, Reason, names};
use webb_index::{Endpoint, EndpointKind, EndpointSpec, Index, Policies, Workload};

use super::notation::{EndpointFields, Notation, WorkloadFields};

/// Everything is forgotten at this size, between two batches: a file may make up endpoints, and a
/// new index copies all that are known. Twice the pods of a large cluster.
const MAX_ENDPOINTS: usize = 1 << 16;

/// Rows that every index begins with: no endpoint, and the world.
const RESERVED: usize = 2;

/// An endpoint whose bytes were interned before.
#[derive(Debug)]
struct KnownEndpoint {
    id: EndpointId,
    /// Cluster name: not part of an endpoint, but of every flow that has it.
    cluster: Box<str>,
}

/// Interns the endpoints of a flow file.
#[derive(Debug, Default)]
pub struct EndpointInterner {
    by_bytes: HashMap<Box<[u8]>, KnownEndpoint, RandomState>,
    by_content: HashMap<Endpoint, EndpointId, RandomState>,
    endpoints: Vec<Endpoint>,
    index: Arc<Index>,
    published: usize,
    names: HashMap<Box<[u8]>, Sym, RandomState>,
    reasons: HashMap<i32, Reason, RandomState>,
}

impl EndpointInterner {
    /// Reads `flow.Endpoint`; `cluster` becomes the name of its cluster.
    ///
    /// # Errors
    /// If it is none.
    #[inline]
    pub(super) fn endpoint<'a, N: Notation<'a>>(
        &mut self,
        value: &mut N,
        cluster: &mut String,
    ) -> Result<EndpointId, N::Error> {
        let Some(bytes) = value.bytes() else { return self.meet(value, None, cluster) };
        if let Some(known) = self.by_bytes.get(bytes) {
            cluster.clear();
            cluster.push_str(&known.cluster);
            return Ok(known.id);
        }
        value.rewind(bytes);
        self.meet(value, Some(bytes), cluster)
    }

    #[cold]
    fn meet<'a, N: Notation<'a>>(
        &mut self,
        value: &mut N,
        bytes: Option<&[u8]>,
        cluster: &mut String,
    ) -> Result<EndpointId, N::Error> {
        cluster.clear();
        let endpoint = read(value, cluster)?;
        let next = EndpointId(u32::try_from(self.endpoints.len() + RESERVED).unwrap_or(u32::MAX));
        let id = *self.by_content.entry(endpoint).or_insert_with(|| {
            self.endpoints.push(endpoint);
            next
        });
        if let Some(bytes) = bytes {
            forget_at_limit(&mut self.by_bytes);
            self.by_bytes.insert(bytes.into(), KnownEndpoint { id, cluster: cluster.as_str().into() });
        }
        Ok(id)
    }

    /// Reads DNS names and adds them to those of the same flow: joined with `,`, as the identifier
    /// `dns` shows them.
    ///
    /// # Errors
    /// If it is none.
    pub(super) fn names<'a, N: Notation<'a>>(&mut self, value: &mut N, others: Sym) -> Result<Sym, N::Error> {
        let bytes = value.bytes();
        // Nearly always all the names in JSON, and the first of them on the wire.
        let alone = bytes.filter(|_| others.is_empty());
        if let Some(&known) = alone.and_then(|bytes| self.names.get(bytes)) {
            return Ok(known);
        }
        value.rewind(bytes.unwrap_or_default());
        let mut joined = others.text().to_string();
        value.elements(|inside| {
            if !joined.is_empty() {
                joined.push(',');
            }
            joined.push_str(&inside.text()?);
            Ok(())
        })?;
        let names = Sym::new(&joined);
        if let Some(bytes) = alone {
            forget_at_limit(&mut self.names);
            self.names.insert(bytes.into(), names);
        }
        Ok(names)
    }

    /// Reads `flow.DropReason`: its number and its text. A name that is younger than this table
    /// stands for itself, and its number is a stand-in; a number without a name is written out.
    ///
    /// # Errors
    /// If it is none.
    pub(super) fn drop_reason<'a, N: Notation<'a>>(&mut self, value: &mut N) -> Result<(i32, Reason), N::Error> {
        let number = value.enumeration(&names::DROP_REASONS)?;
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

fn read<'a, N: Notation<'a>>(value: &mut N, cluster: &mut String) -> Result<Endpoint, N::Error> {
    let mut spec = EndpointSpec::default();
    value.message::<EndpointFields>(|inside, field| {
        match field {
            EndpointFields::IDENTITY => spec.identity = inside.integer()?,
            EndpointFields::CLUSTER_NAME => *cluster = inside.text()?.into_owned(),
            EndpointFields::NAMESPACE => spec.namespace = inside.text()?.into_owned(),
            EndpointFields::POD_NAME => spec.pod_name = inside.text()?.into_owned(),
            EndpointFields::LABELS => inside.elements(|inside| {
                spec.labels.push(inside.text()?.into_owned());
                Ok(())
            })?,
            EndpointFields::WORKLOADS => inside.elements(|inside| {
                spec.workloads.push(workload(inside)?);
                Ok(())
            })?,
            _ => inside.pass()?,
        }
        Ok(())
    })?;
    spec.cluster.clone_from(cluster);
    Ok(Endpoint::new(kind(&spec), false, &spec))
}

fn workload<'a, N: Notation<'a>>(value: &mut N) -> Result<Workload, N::Error> {
    let mut workload = Workload::default();
    value.message::<WorkloadFields>(|inside, field| {
        match field {
            WorkloadFields::NAME => workload.name = inside.text()?.into_owned(),
            WorkloadFields::KIND => workload.kind = inside.text()?.into_owned(),
            _ => inside.pass()?,
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
