//! The facade over the ports: one state, owned by one session of this program.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use async_trait::async_trait;

use super::{Checkpoints, Events, History, Runs, SpendLedger, StoreError, Verifications};

/// The state of one migration on one table, with every port. An implementation is exclusive: while one process owns a
/// state, opening it again fails with [`StoreError::Locked`].
///
/// Opening a state closes the sessions that their process left open: their runs are `Stopped`, their counts are a lower
/// bound, and capacity that they had reserved counts as spent. It fails with [`StoreError::Foreign`] if the state belongs to
/// another plan or table and something has begun in it.
///
/// Requests take effect in the order in which they are made. After [`StoreError::Broken`] every later request fails with
/// it: nothing is reported as stored that may not be.
#[async_trait]
pub trait StateStore: Runs + Checkpoints + History + SpendLedger + Verifications + Events {
    /// The time, as it is stored.
    fn now(&self) -> String;

    /// Finishes what was asked before, closes the state and gives it up, so that another process can open it. Later requests
    /// fail. It does not end a session.
    async fn close(&self) -> Result<(), StoreError>;
}

/// An open state. Clones share it; when the last one is dropped, the state is closed as by [`StateStore::close`].
///
/// Code that needs one capability takes its port: [`State::checkpoints`], [`State::history`], [`State::spend_ledger`].
#[derive(Clone)]
pub struct State(Arc<dyn StateStore>);

impl State {
    /// A state that this implementation keeps.
    pub fn new(store: impl StateStore + 'static) -> State {
        State(Arc::new(store))
    }

    /// The progress of its segments.
    pub fn checkpoints(&self) -> Arc<dyn Checkpoints> {
        self.0.clone()
    }

    /// The recorded history of its items.
    pub fn history(&self) -> Arc<dyn History> {
        self.0.clone()
    }

    /// What its runs spend.
    pub fn spend_ledger(&self) -> Arc<dyn SpendLedger> {
        self.0.clone()
    }

    /// The facts that are kept for it, and its events.
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
