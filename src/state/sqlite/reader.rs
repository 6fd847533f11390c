//! Implements the read-only traits for a state file.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::super::{
    DivergedRecord, EventRecord, FailureRecord, Identity, KeptFact, ListQuery, Listed, OpenWork, PreImageRecord,
    Records, RunRecord, StateReader, StateSummary, StoreError, Unreadable,
};
use super::StateFile;
use super::journal::history_of;
use crate::change::{BaselinePair, ItemHistory, Lookup};
use crate::item::ItemKey;

/// A state file for several callers, which read it one after the other.
///
/// These methods block their async worker. This is acceptable, because commands read little, and only before and after
/// their main work. But a dry run reads the history of every page, so [`Records::of`] reads on a separate blocking
/// thread.
#[derive(Debug)]
pub struct Reader(Arc<Mutex<StateFile>>);

impl Reader {
    /// Opens a state file as [`StateFile::open`] does.
    pub fn open(path: &Path) -> Result<Reader, StoreError> {
        StateFile::open(path).map(Reader::new)
    }

    fn new(file: StateFile) -> Reader {
        Reader(Arc::new(Mutex::new(file)))
    }

    fn file(&self) -> MutexGuard<'_, StateFile> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StateFile {
    /// Read-only access to the recorded history of items, for a dry run of a rollback. A different process may own the
    /// file.
    pub fn into_records(self) -> Arc<dyn Records> {
        Arc::new(Reader::new(self))
    }
}

#[async_trait]
impl Records for Reader {
    async fn of(&self, keys: Vec<ItemKey>, lookup: Lookup) -> Result<Vec<ItemHistory>, StoreError> {
        let file = Arc::clone(&self.0);
        let read = move || {
            let file = file.lock().unwrap_or_else(PoisonError::into_inner);
            file.read(|connection| history_of(connection, &keys, lookup))
        };
        let read = tokio::task::spawn_blocking(read).await;
        read.unwrap_or_else(|panic| Err(StoreError::Io(format!("the state file could not be read: {panic}"))))
    }
}

#[async_trait]
impl StateReader for Reader {
    async fn summary(&self) -> Result<StateSummary, StoreError> {
        self.file().summary()
    }

    async fn identity(&self) -> Result<Identity, StoreError> {
        self.file().identity()
    }

    async fn check_is_of(&self, ours: &Identity) -> Result<(), StoreError> {
        self.file().check_is_of(ours)
    }

    async fn has_begun(&self) -> Result<bool, StoreError> {
        self.file().has_begun()
    }

    async fn events(&self) -> Result<Vec<EventRecord>, StoreError> {
        self.file().events()
    }

    async fn kept(&self, fact: KeptFact) -> Result<Option<String>, StoreError> {
        self.file().kept(fact)
    }

    async fn current_run(&self, phase: &str) -> Result<Option<(RunRecord, Vec<String>)>, StoreError> {
        self.file().current_run(phase)
    }

    async fn open_work_of(&self, phase: &str) -> Result<OpenWork, StoreError> {
        self.file().open_work_of(phase)
    }

    async fn listed_failures(&self, query: ListQuery) -> Result<Vec<Result<FailureRecord, Unreadable>>, StoreError> {
        self.file().listed_failures(query)
    }

    async fn listed_diverged(&self, query: ListQuery) -> Result<Vec<Result<DivergedRecord, Unreadable>>, StoreError> {
        self.file().listed_diverged(query)
    }

    async fn journal(&self, query: ListQuery) -> Result<Vec<Result<PreImageRecord, Unreadable>>, StoreError> {
        self.file().journal(query)
    }

    async fn no_way_back(&self) -> Result<Option<u64>, StoreError> {
        self.file().no_way_back()
    }

    async fn baseline_pairs(&self, kind: BaselinePair, limit: u32) -> Result<Option<Listed>, StoreError> {
        self.file().baseline_pairs(kind, limit)
    }

    async fn pairs_unrecorded(&self) -> Result<bool, StoreError> {
        self.file().pairs_unrecorded()
    }
}
