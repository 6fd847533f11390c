//! Stores the events of a migration, and a few facts.

use async_trait::async_trait;

use super::super::{EventRecord, Events, KeptFact, RunId, StoreError, rules};
use super::{MemoryState, Tables};

#[async_trait]
impl Events for MemoryState {
    async fn append_event(&self, event: String) -> Result<EventRecord, StoreError> {
        self.call(|tables, _| {
            let behind = tables.runs.last().map_or(RunId::NONE, |run| run.id);
            let record = EventRecord { event, behind };
            tables.events.push(record.clone());
            Ok(record)
        })
        .await
    }

    async fn events(&self) -> Result<Vec<EventRecord>, StoreError> {
        self.call(|tables, _| Ok(tables.events.clone())).await
    }

    async fn forget_unbegun(&self) -> Result<bool, StoreError> {
        self.call(|tables, _| Ok(tables.forget_unbegun())).await
    }

    async fn kept(&self, fact: KeptFact) -> Result<Option<String>, StoreError> {
        self.call(|tables, _| Ok(tables.kept.get(fact.name()).cloned())).await
    }

    async fn keep(&self, fact: KeptFact, value: String) -> Result<(), StoreError> {
        self.call(|tables, _| {
            tables.kept.insert(fact.name(), value);
            Ok(())
        })
        .await
    }
}

impl Tables {
    /// If the migration has not begun, deletes its events, and its facts except the owner of the lease. Returns false
    /// if the migration has begun.
    pub(super) fn forget_unbegun(&mut self) -> bool {
        if self.has_begun() {
            return false;
        }
        self.events.clear();
        self.kept.retain(|name, _| *name == KeptFact::LeaseOwner.name());
        true
    }

    /// Whether the migration has begun; see [`rules::has_begun`].
    fn has_begun(&self) -> bool {
        rules::has_begun(!self.runs.is_empty(), &self.events)
    }
}
