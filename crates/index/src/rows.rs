//! Endpoints by row, in blocks that snapshots share while they are unchanged.
//!
//! The names of a row are computed at its first lookup, so a pod that never talks to this node
//! interns none. The cost falls on the first series of an endpoint. A row owns its names: they are
//! interned while an index has the row, which is at least as long as ids mean the same
//! ([`super::Index::generation`]).

use std::fmt::Debug;
use std::sync::{Arc, LazyLock, OnceLock};

use webb_flow::room::is_spacious;
use webb_flow::sym::{Name, Names, Sym};

use super::Endpoint;

/// Rows in a block: one new endpoint copies so many.
const BLOCK: usize = 64;

/// Computes the names of an endpoint: each method is called once for a row, at its first lookup.
pub trait Describe: Debug + Send + Sync {
    /// Computes all names but the identity, owned by `names`.
    fn endpoint(&self, names: &mut Names) -> Endpoint;

    /// All labels joined with `,`: the longest name by far, and few configurations read it.
    fn identity(&self) -> String;
}

/// The names of a row that are computed at their first lookup. Shared by all indexes with the row,
/// so that its symbols are the same in each.
#[derive(Debug)]
struct Lazy {
    source: Arc<dyn Describe>,
    named: OnceLock<(Endpoint, Names)>,
    identity: OnceLock<Name>,
}

#[derive(Debug, Clone, Default)]
struct Row {
    named: OnceLock<Endpoint>,
    /// Names that are computed at the first lookup; none for rows that were named when they were
    /// set.
    lazy: Option<Arc<Lazy>>,
}

/// The endpoint of a row that was never set.
static EMPTY: Endpoint = Endpoint::EMPTY;

/// The block without endpoints, which all such places share.
static EMPTY_BLOCK: LazyLock<Arc<[Row]>> = LazyLock::new(|| vec![Row::default(); BLOCK].into());

/// Rows; a clone shares the blocks.
#[derive(Debug, Clone, Default)]
pub(super) struct Rows {
    blocks: Vec<Arc<[Row]>>,
    /// One bit for each row of a live endpoint.
    live: Vec<u64>,
}

impl Rows {
    /// Looks up the endpoint of a row; the empty one for a row that was never set.
    #[inline]
    pub(super) fn get(&self, row: u32) -> &Endpoint {
        let (block, at) = place(row);
        let Some(row) = self.blocks.get(block).and_then(|rows| rows.get(at)) else { return &EMPTY };
        match row.named.get() {
            Some(named) => named,
            None => row.name(),
        }
    }

    /// Looks up the identity of a row's endpoint.
    pub(super) fn identity(&self, row: u32) -> Sym {
        let (block, at) = place(row);
        let Some(row) = self.blocks.get(block).and_then(|rows| rows.get(at)) else { return Sym::EMPTY };
        match &row.lazy {
            Some(lazy) => lazy.identity.get_or_init(|| Name::new(&lazy.source.identity())).sym(),
            None => row.named.get().map_or(Sym::EMPTY, |named| named.identity),
        }
    }

    /// Sets the endpoint of a row.
    pub(super) fn put(&mut self, row: u32, endpoint: Endpoint) {
        self.write(row, Row { named: OnceLock::from(endpoint), lazy: None });
    }

    /// Sets the source that computes the names of a row at its first lookup.
    pub(super) fn put_lazy(&mut self, row: u32, source: Arc<dyn Describe>) {
        let lazy = Arc::new(Lazy { source, named: OnceLock::new(), identity: OnceLock::new() });
        self.write(row, Row { named: OnceLock::new(), lazy: Some(lazy) });
    }

    /// Marks the endpoint in this row as deleted. Lookups still return it until the row is reused.
    pub(super) fn mark_deleted(&mut self, row: u32) {
        if let Some(word) = self.live.get_mut(row as usize / 64) {
            *word &= !(1 << (row % 64));
        }
    }

    /// Empties the row of a deleted endpoint: nothing resolves to it any more.
    pub(super) fn clear(&mut self, row: u32) {
        let (block, at) = place(row);
        if let Some(place) = self.blocks.get_mut(block).and_then(|rows| Arc::make_mut(rows).get_mut(at)) {
            *place = Row::default();
        }
    }

    /// Drops the rows from `rows` on, which are empty, and the blocks that became empty.
    pub(super) fn compact(&mut self, rows: u32) {
        let blocks = (rows as usize).div_ceil(BLOCK);
        self.blocks.truncate(blocks);
        self.live.truncate(blocks * BLOCK / 64);
        if is_spacious(self.blocks.capacity() * BLOCK, rows as usize) {
            self.blocks.shrink_to_fit();
            self.live.shrink_to_fit();
        }
        for block in &mut self.blocks {
            if !Arc::ptr_eq(block, &EMPTY_BLOCK) && block.iter().all(Row::is_empty) {
                *block = Arc::clone(&EMPTY_BLOCK);
            }
        }
    }

    /// Number of live endpoints.
    pub(super) fn len(&self) -> usize {
        self.live.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// The rows of live endpoints.
    pub(super) fn live(&self) -> impl Iterator<Item = u32> {
        self.live
            .iter()
            .zip(0_u32..)
            .flat_map(|(&word, at)| (0..64).filter(move |bit| word >> bit & 1 == 1).map(move |bit| at * 64 + bit))
    }

    fn write(&mut self, row: u32, new: Row) {
        let (block, at) = place(row);
        while self.blocks.len() <= block {
            self.blocks.push(Arc::clone(&EMPTY_BLOCK));
            self.live.resize(self.blocks.len() * BLOCK / 64, 0);
        }
        if let Some(place) = self.blocks.get_mut(block).and_then(|rows| Arc::make_mut(rows).get_mut(at)) {
            *place = new;
        }
        if let Some(word) = self.live.get_mut(row as usize / 64) {
            *word |= 1 << (row % 64);
        }
    }
}

impl Row {
    fn is_empty(&self) -> bool {
        self.lazy.is_none() && self.named.get().is_none()
    }

    #[cold]
    fn name(&self) -> &Endpoint {
        self.lazy.as_ref().map_or(&EMPTY, |lazy| self.named.get_or_init(|| lazy.endpoint()))
    }
}

impl Lazy {
    fn endpoint(&self) -> Endpoint {
        let name = || {
            let mut names = Names::default();
            (self.source.endpoint(&mut names), names)
        };
        self.named.get_or_init(name).0
    }
}

#[inline]
fn place(row: u32) -> (usize, usize) {
    (row as usize / BLOCK, row as usize % BLOCK)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use super::*;
    use crate::{Draft, EndpointKind, EndpointSpec, HISTORY_NS, PodChanges};

    /// A pod with made-up names, which counts the lookups of them.
    #[derive(Debug)]
    struct Pod(String, AtomicUsize);

    impl Describe for Pod {
        fn endpoint(&self, names: &mut Names) -> Endpoint {
            self.1.fetch_add(1, Relaxed);
            let spec = EndpointSpec { namespace: "rows".into(), pod_name: self.0.clone(), ..EndpointSpec::default() };
            Endpoint::named(EndpointKind::Pod, true, &spec, |text| names.intern(text))
        }

        fn identity(&self) -> String {
            format!("k8s:job={}", self.0)
        }
    }

    /// Pods that come and go leave nothing behind: their names go when their rows may be used
    /// again, and not before, whichever of the indexes between has named them.
    #[test]
    fn names_go_with_their_rows() {
        const PODS: usize = 3000;
        let known = |name: &str| Sym::known(name).is_some();
        let mut draft = Draft::default();
        let (mut ids, mut asked) = (Vec::new(), Vec::new());
        for number in 0..PODS {
            let pod = Arc::new(Pod(format!("rows-job-{number}"), AtomicUsize::new(0)));
            ids.push(draft.add_lazy(webb_flow::Sort::Local, Arc::clone(&pod) as Arc<dyn Describe>));
            asked.push(pod);
        }
        let first = draft.publish(0, PodChanges::default());
        // Copies the block of the pods that are named by the first index afterwards.
        draft.add(webb_flow::Sort::World, Endpoint::world());
        let second = draft.publish(1, PodChanges::default());
        for (number, id) in ids.iter().enumerate() {
            let name = first.endpoint(*id).pod_name;
            assert_eq!(second.endpoint(*id).pod_name, name);
            assert_eq!(&*name.text(), format!("rows-job-{number}"));
        }
        assert!(asked.iter().all(|pod| pod.1.load(Relaxed) == 1), "each is asked once");
        assert!(known("rows/rows-job-7") && !known("k8s:job=rows-job-7"), "the identity has no reader yet");
        assert_eq!(&*second.identity(ids[7]).text(), "k8s:job=rows-job-7");
        drop(first);
        assert!(known("rows/rows-job-7"));
        for id in &ids {
            draft.retire(*id, 2);
        }
        assert_eq!(draft.reuse_rows(2 * HISTORY_NS).len(), PODS);
        let third = draft.publish(2 * HISTORY_NS, PodChanges::default());
        assert!(known("rows/rows-job-7"), "the second index has it still");
        drop((second, third));
        drop(asked);
        let left = (0..PODS).filter(|number| known(&format!("rows-job-{number}"))).count();
        assert_eq!(left, 0);
        assert!(!known("k8s:job=rows-job-7"));
    }

    /// Many pods at once leave no rows behind, nor blocks between those of pods that stay; these
    /// keep their names.
    #[test]
    fn rows_go_after_many_pods() {
        const PODS: u32 = 20_000;
        let mut draft = Draft::default();
        let add = |draft: &mut Draft, number: u32| {
            let pod = Arc::new(Pod(format!("burst-{number}"), AtomicUsize::new(0)));
            draft.add_lazy(webb_flow::Sort::Local, pod as Arc<dyn Describe>)
        };
        let ids: Vec<_> = (0..PODS).map(|number| add(&mut draft, number)).collect();
        draft.publish(0, PodChanges::default());
        let kept = [10, 3000];
        for (number, id) in ids.iter().enumerate() {
            if !kept.contains(&number) {
                draft.retire(*id, 1);
            }
        }
        assert_eq!(draft.reuse_rows(2 * HISTORY_NS).len(), PODS as usize - kept.len());
        let index = draft.publish(2 * HISTORY_NS, PodChanges::default());
        assert_eq!(draft.rows(), ids[3000].row() as usize + 1);
        let blocks = index.rows.blocks.iter().filter(|block| !Arc::ptr_eq(block, &EMPTY_BLOCK)).count();
        assert_eq!((index.rows.blocks.len(), blocks), (draft.rows().div_ceil(BLOCK), 2));
        for number in kept {
            assert_eq!(&*index.endpoint(ids[number]).pod_name.text(), format!("burst-{number}"));
        }
        draft.shrink();
        let next = add(&mut draft, PODS);
        assert!(next.row() < 10, "the least row is used first: {}", next.row());
        let index = draft.publish(3 * HISTORY_NS, PodChanges::default());
        assert_eq!(&*index.endpoint(next).pod_name.text(), format!("burst-{PODS}"));
        assert_eq!(index.rows.live().count(), 2 + kept.len() + 1);
    }
}
