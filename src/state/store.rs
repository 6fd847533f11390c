//! The facade over the ports: one state, owned by one session of this program.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use async_trait::async_trait;

use super::{Checkpoints, Events, History, Runs, SpendLedger, StoreError, Verifications};

/// The state of one migration on one table, with every port. Ownership is exclusive: while one process owns a state,
/// opening it again fails with [`StoreError::Locked`].
///
/// Opening a state closes the sessions that a dead process left open: their runs are `Stopped`, the counts of these
/// runs are a lower bound, and capacity that the sessions had reserved counts as spent. Opening fails with
/// [`StoreError::Foreign`] if the state belongs to another plan or table whose migration has begun.
///
/// Requests take effect in the order of their calls. After [`StoreError::Broken`], every later request fails with the
/// same error, so that nothing is reported as stored unless it is.
#[async_trait]
pub trait StateStore: Runs + Checkpoints + History + SpendLedger + Verifications + Events {
    /// The current time in its stored form.
    fn now(&self) -> String;

    /// Finishes earlier requests, closes the state and releases it, so that another process can open it. Later requests
    /// fail. An open session stays open.
    async fn close(&self) -> Result<(), StoreError>;
}

/// An open state. Clones share it. Dropping the last clone closes the state like [`StateStore::close`].
///
/// Code that needs only one port takes that port instead of the whole state: [`State::checkpoints`],
/// [`State::history`], [`State::spend_ledger`].
#[derive(Clone)]
pub struct State(Arc<dyn StateStore>);

impl State {
    /// Wraps a store.
    pub fn new(store: impl StateStore + 'static) -> State {
        State(Arc::new(store))
    }

    /// The port that stores the progress of segments.
    pub fn checkpoints(&self) -> Arc<dyn Checkpoints> {
        self.0.clone()
    }

    /// The port of the recorded history of items.
    pub fn history(&self) -> Arc<dyn History> {
        self.0.clone()
    }

    /// The port that records the spend of runs.
    pub fn spend_ledger(&self) -> Arc<dyn SpendLedger> {
        self.0.clone()
    }

    /// The port of events and facts.
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
