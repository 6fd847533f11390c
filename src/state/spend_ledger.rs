//! The port of what runs spend.

use async_trait::async_trait;

use super::{Reservation, RunId, SessionId, Spend, SpendRecord, SpendState, StoreError};
use crate::cost::UnitPrices;

/// What runs have spent, in capacity units.
///
/// Capacity is reserved in slices before it is used. If a process dies, its whole open slice counts as spent: the next
/// owner of the state finds it so ([`SpendState::died`]).
///
/// Every method that changes the record fails with [`StoreError::Fenced`], and changes nothing, if a later session of the
/// run has begun or a later run has superseded it. The session need not be open: a retry of failures spends after its run is
/// complete. A process that was killed and a retry may therefore name the same session. What separates them is
/// [`SpendLedger::begin_spend`]: it counts only until the state is opened again.
#[async_trait]
pub trait SpendLedger: Send + Sync {
    /// What a run has spent so far: the stored amount or the sum of its committed pages, whichever is larger.
    async fn spend(&self, run: RunId) -> Result<SpendRecord, StoreError>;

    /// Begins to count what a session spends, at these prices, and returns what the run has spent before. Durable when it
    /// returns `Ok`. To be called before [`SpendLedger::reserve`].
    async fn begin_spend(&self, session: SessionId, prices: UnitPrices) -> Result<SpendState, StoreError>;

    /// Reserves capacity before it is used. When it returns `Ok`, it is durable that the run has spent `spent` and may have
    /// spent the slice beyond it, and only then may the slice be used. It replaces the slice before. After an error nothing
    /// of the slice may be used.
    ///
    /// [`StoreError::Refused`] if the session has not begun to spend; [`StoreError::Fenced`] if it had begun before the state
    /// was opened.
    async fn reserve(&self, session: SessionId, reservation: Reservation) -> Result<(), StoreError>;

    /// Closes the open slice: only `spent` is spent, and that is durable when it returns `Ok`. Without an open slice, as
    /// after the death of the process that had it, `spent` can only raise what is recorded.
    async fn settle_spend(&self, session: SessionId, spent: Spend) -> Result<SpendRecord, StoreError>;
}
