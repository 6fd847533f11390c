//! The port of what runs spend.

use async_trait::async_trait;

use super::{Reservation, RunId, SessionId, Spend, SpendRecord, SpendState, StoreError};
use crate::cost::UnitPrices;

/// What runs have spent, in capacity units.
///
/// Capacity is reserved in slices before it is used. If a process dies, its whole open slice counts as spent. The next
/// owner of the state applies this ([`SpendState::died`]).
///
/// Every method that changes the record fails with [`StoreError::Fenced`], and changes nothing, if a later session of the
/// run has begun or a later run has superseded it. The session need not be open: a retry of failures spends after its run is
/// complete. A process that was killed and a retry may therefore name the same session. What separates them is
/// [`SpendLedger::begin_spend`]: it counts only until the state is opened again.
#[async_trait]
pub trait SpendLedger: Send + Sync {
    /// What a run has spent so far: the stored amount or the sum of its committed pages, whichever is larger.
    async fn spend(&self, run: RunId) -> Result<SpendRecord, StoreError>;

    /// Starts to record what a session spends, at these prices, and returns what the run has spent so far. Durable when it
    /// returns `Ok`. Call it before [`SpendLedger::reserve`].
    async fn begin_spend(&self, session: SessionId, prices: UnitPrices) -> Result<SpendState, StoreError>;

    /// Reserves capacity before it is used. When it returns `Ok`, the store durably records that the run has spent
    /// `spent` and may also have spent the slice; only then may the run use the slice. The new slice replaces the
    /// previous one. After an error, the run must not use any of it.
    ///
    /// [`StoreError::Refused`] before [`SpendLedger::begin_spend`].
    async fn reserve(&self, session: SessionId, reservation: Reservation) -> Result<(), StoreError>;

    /// Closes the open slice: from now on only `spent` counts as spent. Durable when it returns `Ok`.
    async fn settle_spend(&self, session: SessionId, spent: Spend) -> Result<SpendRecord, StoreError>;
}
