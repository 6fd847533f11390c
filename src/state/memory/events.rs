//! Stores the events of a migration, and a few facts.

use async_trait::async_trait;

use super::super::{EventRecord, Events, RunId, StoreError, StoredFact, rules};
use super::{MemoryState, StateTables};

#[async_trait]
impl Events for MemoryState {
    async fn append_event(&self, event: String) -> Result<EventRecord, StoreError> {
        self.call(|tables, _| {
            let newest_run = tables.runs.last().map_or(RunId::NONE, |run| run.id);
            let record = EventRecord { event, newest_run };
            tables.events.push(record.clone());
            Ok(record)
        })
        .await
    }

    async fn events(&self) -> Result<Vec<EventRecord>, StoreError> {
        self.call(|tables, _| Ok(tables.events.clone())).await
    }

    async fn clear_unless_begun(&self) -> Result<bool, StoreError> {
        self.call(|tables, _| Ok(tables.clear_unless_begun())).await
    }

    async fn fact(&self, fact: StoredFact) -> Result<Option<String>, StoreError> {
        self.call(|tables, _| Ok(tables.facts.get(&fact.name()).cloned())).await
    }

    async fn set_fact(&self, fact: StoredFact, value: String) -> Result<(), StoreError> {
        self.call(|tables, _| {
            tables.facts.insert(fact.name(), value);
            Ok(())
        })
        .await
    }

    async fn forget_histories(&self, kept: Vec<RunId>) -> Result<(), StoreError> {
        self.call(|tables, _| {
            tables.facts.retain(|name, _| StoredFact::history_run(name).is_none_or(|run| kept.contains(&run)));
            Ok(())
        })
        .await
    }
}

impl StateTables {
    /// If the migration has not begun, deletes its events, and all of its facts except the lease owner. If the
    /// migration has begun, returns false.
    pub(super) fn clear_unless_begun(&mut self) -> bool {
        if self.has_begun() {
            return false;
        }
        self.events.clear();
        self.facts.retain(|name, _| *name == StoredFact::LeaseOwner.name());
        true
    }

    /// Returns whether the migration has begun; see [`rules::has_begun`].
    fn has_begun(&self) -> bool {
        rules::has_begun(!self.runs.is_empty(), &self.events)
    }
}
