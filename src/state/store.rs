//! Combines the store traits into one open state, which this process owns.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use async_trait::async_trait;

use super::{Checkpoints, Events, History, Runs, SpendLedger, StoreError, Verifications};

/// The state of one migration on one table, with all store traits implemented. Ownership is exclusive: while a process
/// owns a state, every other attempt to open the state fails with [`StoreError::Locked`].
///
/// Opening a state closes the sessions that dead processes left open. The runs of these sessions become `Stopped`, and
/// their counts become a lower bound. Capacity that the sessions had reserved counts as spent. If the state belongs to
/// a different plan or table, and its migration has begun, opening fails with [`StoreError::Foreign`].
///
/// Requests take effect in the order in which they are made. After [`StoreError::Broken`], every later request fails
/// with the same error. So a change is reported as stored only if it is stored.
#[async_trait]
pub trait StateStore: Runs + Checkpoints + History + SpendLedger + Verifications + Events {
    /// Returns the current time in its stored form.
    fn now(&self) -> String;

    /// Finishes earlier requests, then closes and releases the state, so that a different process can open it. Later
    /// requests fail. A session that is open stays open in the stored data.
    async fn close(&self) -> Result<(), StoreError>;
}

/// An open state. All clones share one state. Dropping the last clone closes the state, as [`StateStore::close`] does.
///
/// Code that needs only one trait takes an object of that trait and not a [`State`]; see [`State::checkpoints`],
/// [`State::history`] and [`State::spend_ledger`].
#[derive(Clone)]
pub struct State(Arc<dyn StateStore>);

impl State {
    /// Wraps a store.
    pub fn new(store: impl StateStore + 'static) -> State {
        State(Arc::new(store))
    }

    /// Returns the trait object that stores the progress of segments.
    pub fn checkpoints(&self) -> Arc<dyn Checkpoints> {
        self.0.clone()
    }

    /// Returns the trait object that stores the recorded history of items.
    pub fn history(&self) -> Arc<dyn History> {
        self.0.clone()
    }

    /// Returns the trait object that records the spend of runs.
    pub fn spend_ledger(&self) -> Arc<dyn SpendLedger> {
        self.0.clone()
    }

    /// Returns the trait object that stores events and facts.
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
