//! Implements the read-only traits for a state file.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::super::{
    AffectedItems, DivergedRecord, EventRecord, FailureRecord, HistoryReader, Identity, ListQuery, MigrationRecord,
    Mismatch, OpenWork, PreImageRecord, RecordLimits, RunRecord, StateReader, StateSummary, StoreError, StoredFact,
    UnreadableRow,
};
use super::journal::history_of;
use super::{StateFile, deleted};
use crate::change::{BaselinePair, HistoryLookup, ItemHistory, Leftover};
use crate::item::ItemKey;

/// A state file for several callers. The callers read the file one after the other.
///
/// The methods of this type block the async worker that calls them. Blocking is acceptable, because commands read
/// little, and read only before and after their main work. A dry run is different: it reads the history of every page.
/// So [`HistoryReader::read_history`] reads on a separate blocking thread.
#[derive(Debug)]
pub struct SqliteReader(Arc<Mutex<StateFile>>);

impl SqliteReader {
    /// Opens a state file as [`StateFile::open`] does.
    pub fn open(path: &Path) -> Result<SqliteReader, StoreError> {
        StateFile::open(path).map(SqliteReader::new)
    }

    fn new(file: StateFile) -> SqliteReader {
        SqliteReader(Arc::new(Mutex::new(file)))
    }

    fn file(&self) -> MutexGuard<'_, StateFile> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StateFile {
    /// Converts this state file to read-only access to the recorded history of items, for a dry run of a rollback. A
    /// different process may own the file.
    pub fn into_history_reader(self) -> Arc<dyn HistoryReader> {
        Arc::new(SqliteReader::new(self))
    }
}

#[async_trait]
impl HistoryReader for SqliteReader {
    async fn read_history(&self, keys: Vec<ItemKey>, lookup: HistoryLookup) -> Result<Vec<ItemHistory>, StoreError> {
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
impl StateReader for SqliteReader {
    async fn summary(&self) -> Result<StateSummary, StoreError> {
        self.file().summary()
    }

    async fn migration(&self, limits: RecordLimits) -> Result<MigrationRecord, StoreError> {
        self.file().migration(limits)
    }

    async fn identity(&self) -> Result<Identity, StoreError> {
        self.file().identity()
    }

    async fn check_identity(&self, ours: &Identity) -> Result<(), StoreError> {
        self.file().check_identity(ours)
    }

    async fn has_begun(&self) -> Result<bool, StoreError> {
        self.file().has_begun()
    }

    async fn events(&self) -> Result<Vec<EventRecord>, StoreError> {
        self.file().events()
    }

    async fn fact(&self, fact: StoredFact) -> Result<Option<String>, StoreError> {
        self.file().fact(fact)
    }

    async fn current_run(&self, phase: &str) -> Result<Option<(RunRecord, Vec<String>)>, StoreError> {
        self.file().current_run(phase)
    }

    async fn open_work_of_phase(&self, phase: &str) -> Result<OpenWork, StoreError> {
        self.file().open_work_of_phase(phase)
    }

    async fn list_failures(&self, query: ListQuery) -> Result<Vec<Result<FailureRecord, UnreadableRow>>, StoreError> {
        self.file().list_failures(query)
    }

    async fn list_diverged(&self, query: ListQuery) -> Result<Vec<Result<DivergedRecord, UnreadableRow>>, StoreError> {
        self.file().list_diverged(query)
    }

    async fn journal(&self, query: ListQuery) -> Result<Vec<Result<PreImageRecord, UnreadableRow>>, StoreError> {
        self.file().journal(query)
    }

    async fn derived_items(&self) -> Result<u64, StoreError> {
        self.file().read(deleted::derived_items)
    }

    async fn unrestorable_targets(&self) -> Result<Option<u64>, StoreError> {
        self.file().unrestorable_targets()
    }

    async fn baseline_pairs(&self, kind: BaselinePair, limit: u32) -> Result<Option<AffectedItems>, StoreError> {
        self.file().baseline_pairs(kind, limit)
    }

    async fn open_mismatches(&self, limit: u32) -> Result<Vec<Mismatch>, StoreError> {
        self.file().open_mismatches(limit)
    }

    async fn rollback_notes(&self, leftover: Leftover, limit: u32) -> Result<AffectedItems, StoreError> {
        self.file().rollback_notes(leftover, limit)
    }

    async fn pairs_unrecorded(&self) -> Result<bool, StoreError> {
        self.file().pairs_unrecorded()
    }
}
