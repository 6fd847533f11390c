//! The port of the migration's events and facts.

use async_trait::async_trait;

use super::{EventRecord, KeptFact, StoreError};

/// The append-only events of a migration, and a few facts.
#[async_trait]
pub trait Events: Send + Sync {
    /// Appends an event. When it returns `Ok`, the event is durable. After an error, it is not stored. The returned
    /// record names the newest run at this moment.
    async fn append_event(&self, event: String) -> Result<EventRecord, StoreError>;

    /// All events, oldest first.
    async fn events(&self) -> Result<Vec<EventRecord>, StoreError>;

    /// Deletes the events, and the facts except [`KeptFact::LeaseOwner`], of a migration that has not begun. Such a
    /// migration has no run, and no events except an accepted preflight and the announcement of the first pass. Durable
    /// when it returns `Ok(true)`. Returns `Ok(false)` and deletes nothing if the migration has begun.
    async fn forget_unbegun(&self) -> Result<bool, StoreError>;

    /// A stored fact.
    async fn kept(&self, fact: KeptFact) -> Result<Option<String>, StoreError>;

    /// Stores a fact, and replaces its previous value. Durable when it returns `Ok`.
    async fn keep(&self, fact: KeptFact, value: String) -> Result<(), StoreError>;
}
