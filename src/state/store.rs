//! Combines the store traits: one open state, which this process owns.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use async_trait::async_trait;

use super::{Checkpoints, Events, History, Runs, SpendLedger, StoreError, Verifications};

/// The state of one migration on one table, with all store traits. Ownership is exclusive: while one process owns a
/// state, opening it again fails with [`StoreError::Locked`].
///
/// Opening a state closes the sessions that a dead process left open. Their runs become `Stopped`, the counts of these
/// runs become a lower bound, and capacity that the sessions had reserved counts as spent. Opening fails with
/// [`StoreError::Foreign`] if the state belongs to a different plan or table whose migration has begun.
///
/// Requests take effect in the order of their calls. After [`StoreError::Broken`], every later request fails with the
/// same error, so that nothing is reported as stored unless it is.
#[async_trait]
pub trait StateStore: Runs + Checkpoints + History + SpendLedger + Verifications + Events {
    /// The current time in its stored form.
    fn now(&self) -> String;

    /// Finishes earlier requests, closes the state and releases it, so that a different process can open it. Later
    /// requests fail. An open session stays open.
    async fn close(&self) -> Result<(), StoreError>;
}

/// An open state. Clones share the state. Dropping the last clone closes the state like [`StateStore::close`].
///
/// Code that needs only one trait takes an object of that trait instead of the whole state: [`State::checkpoints`],
/// [`State::history`], [`State::spend_ledger`].
#[derive(Clone)]
pub struct State(Arc<dyn StateStore>);

impl State {
    /// Wraps a store.
    pub fn new(store: impl StateStore + 'static) -> State {
        State(Arc::new(store))
    }

    /// The trait object that stores the progress of segments.
    pub fn checkpoints(&self) -> Arc<dyn Checkpoints> {
        self.0.clone()
    }

    /// The trait object that stores the recorded history of items.
    pub fn history(&self) -> Arc<dyn History> {
        self.0.clone()
    }

    /// The trait object that records the spend of runs.
    pub fn spend_ledger(&self) -> Arc<dyn SpendLedger> {
        self.0.clone()
    }

    /// The trait object that stores events and facts.
    pub fn event_log(&self) -> Arc<dyn Events> {
        self.0.clone()
    }
}

impl Deref for State {
    type Target = dyn StateStore;

    fn deref(&self) -> &Self::Target {
        self.0.as_ref()
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("State")
    }
}
