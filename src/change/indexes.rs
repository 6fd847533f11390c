//! The currently known indexes of the table. Indexes may be added or deleted while a run lasts. This module does no
//! I/O.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::item::{IndexSchema, Projection};

/// The indexes for which write costs are computed. All code that computes costs shares this list. The position of an
/// index never changes. A new index is added at the end. A deleted index keeps its position, as an index without
/// entries.
#[derive(Debug, Clone, Default)]
pub struct Indexes(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    schemas: RwLock<Arc<[IndexSchema]>>,
    version: AtomicU64,
}

impl Indexes {
    /// Returns all indexes, in the order of their positions.
    pub fn schemas(&self) -> Arc<[IndexSchema]> {
        Arc::clone(&self.0.schemas.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns a number that increases with each change of the list.
    pub(super) fn version(&self) -> u64 {
        self.0.version.load(Ordering::Acquire)
    }

    /// Applies a new description of the table. Returns the names of the new indexes, and the names of the deleted
    /// indexes.
    pub fn follow(&self, described: &[IndexSchema]) -> (Vec<String>, Vec<String>) {
        let mut schemas = self.0.schemas.write().unwrap_or_else(PoisonError::into_inner);
        let mut new = Vec::new();
        let mut deleted = Vec::new();
        let mut next: Vec<IndexSchema> = schemas.to_vec();
        for known in &mut next {
            match described.iter().find(|index| index.name == known.name) {
                Some(index) if *index == *known => {}
                Some(index) => {
                    new.push(known.name.clone());
                    *known = index.clone();
                }
                None if is_deleted(known) => {}
                None => {
                    deleted.push(known.name.clone());
                    *known = IndexSchema { key: Vec::new(), projection: Projection::KeysOnly, ..known.clone() };
                }
            }
        }
        for index in described.iter().filter(|index| schemas.iter().all(|known| known.name != index.name)) {
            new.push(index.name.clone());
            next.push(index.clone());
        }
        if !new.is_empty() || !deleted.is_empty() {
            *schemas = next.into();
            drop(schemas);
            self.0.version.fetch_add(1, Ordering::Release);
        }
        (new, deleted)
    }
}

/// Returns whether this entry is the placeholder of a deleted index. A placeholder has no key; every existing index has
/// one.
fn is_deleted(index: &IndexSchema) -> bool {
    index.key.is_empty()
}

impl From<Vec<IndexSchema>> for Indexes {
    fn from(schemas: Vec<IndexSchema>) -> Indexes {
        Indexes(Arc::new(Inner { schemas: RwLock::new(schemas.into()), version: AtomicU64::new(0) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::KeyAttribute;

    fn index(name: &str, key: &str) -> IndexSchema {
        let key = vec![KeyAttribute { name: key.into(), kind: "S".into() }];
        IndexSchema { name: name.into(), key, partition: 1, projection: Projection::All, local: false }
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn every_index_keeps_its_position_forever() {
        let indexes = Indexes::from(vec![index("a", "x"), index("b", "x")]);
        let shared = indexes.clone();
        assert_eq!(indexes.follow(&[index("b", "x"), index("a", "x")]), (vec![], vec![]), "the order does not matter");
        assert_eq!(shared.version(), 0);
        assert_eq!(indexes.follow(&[index("c", "x"), index("b", "x")]), (names(&["c"]), names(&["a"])));
        assert_eq!(
            indexes.follow(&[index("c", "x"), index("b", "x")]),
            (vec![], vec![]),
            "a deletion is reported once"
        );
        // The table now has a different index with the same name.
        assert_eq!(indexes.follow(&[index("a", "x"), index("c", "y"), index("b", "x")]), (names(&["a", "c"]), vec![]));
        let now: Vec<_> =
            shared.schemas().iter().map(|index| (index.name.clone(), index.key[0].name.clone())).collect();
        assert_eq!(now, [("a", "x"), ("b", "x"), ("c", "y")].map(|(name, key)| (name.to_owned(), key.to_owned())));
        assert_eq!(shared.version(), 2);
    }
}
