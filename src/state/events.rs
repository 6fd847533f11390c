//! The port of the migration's own history: events, and facts beside them.

use async_trait::async_trait;

use super::{EventRecord, KeptFact, StoreError};

/// The events of a migration, append-only, and a few facts that are kept beside them.
#[async_trait]
pub trait Events: Send + Sync {
    /// Appends an event. When it returns `Ok`, the event is durable. After an error it is not stored. The record names the
    /// newest run at this moment.
    async fn append_event(&self, event: String) -> Result<EventRecord, StoreError>;

    /// All events, oldest first.
    async fn events(&self) -> Result<Vec<EventRecord>, StoreError>;

    /// Deletes the events, and the facts except [`KeptFact::LeaseOwner`], of a migration that has not begun: it has no
    /// run, and no events except that a preflight was accepted and that a first pass was about to begin. Durable when
    /// it returns `Ok(true)`. `Ok(false)` if the migration has begun; nothing is deleted then.
    async fn forget_unbegun(&self) -> Result<bool, StoreError>;

    /// A kept fact.
    async fn kept(&self, fact: KeptFact) -> Result<Option<String>, StoreError>;

    /// Stores a fact, and replaces its previous value. Durable when it returns `Ok`.
    async fn keep(&self, fact: KeptFact, value: String) -> Result<(), StoreError>;
}
