//! The trait for storing the events and facts of a migration.

use async_trait::async_trait;

use super::{EventRecord, RunId, StoreError, StoredFact};

/// Stores the append-only events of a migration, and a few named facts.
#[async_trait]
pub trait Events: Send + Sync {
    /// Appends an event. When this method returns `Ok`, the event is durable. After an error, the event is not stored.
    /// The returned record contains the id of the newest run at that time.
    async fn append_event(&self, event: String) -> Result<EventRecord, StoreError>;

    /// Returns all events, oldest first.
    async fn events(&self) -> Result<Vec<EventRecord>, StoreError>;

    /// If the migration has not begun, deletes its events, and all of its facts except [`StoredFact::LeaseOwner`]. A
    /// migration has not begun if it has no run, and if its only events are the acceptance of the preflight and the
    /// announcement of the first pass. The deletion is durable when the method returns `Ok(true)`. If the migration has
    /// begun, the method deletes nothing and returns `Ok(false)`.
    async fn clear_unless_begun(&self) -> Result<bool, StoreError>;

    /// Returns a stored fact; `None` if it was never stored.
    async fn fact(&self, fact: StoredFact) -> Result<Option<String>, StoreError>;

    /// Stores a fact. Replaces the fact's previous value. The fact is durable when the method returns `Ok`.
    async fn set_fact(&self, fact: StoredFact, value: String) -> Result<(), StoreError>;

    /// Deletes the facts [`StoredFact::PaceHistory`] of all runs that are not in `kept`. The deletion is durable when
    /// the method returns `Ok`. Other facts stay.
    async fn forget_histories(&self, kept: Vec<RunId>) -> Result<(), StoreError>;
}
