//! The trait for recording the spend of runs.

use async_trait::async_trait;

use super::{Reservation, RunId, SessionId, Spend, SpendRecord, SpendState, StoreError};
use crate::cost::UnitPrices;

/// Records the spend of runs, in capacity units.
///
/// Capacity is reserved in slices before it is used. If a process dies, its whole open slice counts as spent. The next
/// owner of the state updates the record ([`SpendState::died`]).
///
/// Every method that changes the record fails with [`StoreError::Fenced`], and changes nothing, if a later session of
/// the run has begun or a later run has superseded the run. The session need not be open: a retry of failures spends
/// after its run is complete. So a killed process and a later retry may use the same session id.
/// [`SpendLedger::begin_spend`] distinguishes them, because its effect ends when the state is opened again.
#[async_trait]
pub trait SpendLedger: Send + Sync {
    /// The current spend of a run: the stored amount or the sum of its committed pages, whichever is larger.
    async fn spend(&self, run: RunId) -> Result<SpendRecord, StoreError>;

    /// Starts to record the spend of a session at these prices, and returns the current spend of the run. The record is
    /// durable when the method returns `Ok`. Call this method before [`SpendLedger::reserve`].
    async fn begin_spend(&self, session: SessionId, prices: UnitPrices) -> Result<SpendState, StoreError>;

    /// Reserves capacity before it is used. When this method returns `Ok`, the store has durably recorded that the run
    /// has spent `spent` and may also have spent the slice. The run must not use the slice earlier, and not at all
    /// after an error. The new slice replaces the previous slice.
    ///
    /// Returns [`StoreError::Refused`] if [`SpendLedger::begin_spend`] was not called before.
    async fn reserve(&self, session: SessionId, reservation: Reservation) -> Result<(), StoreError>;

    /// Closes the open slice. Afterwards, only `spent` counts as spent. The change is durable when the method returns
    /// `Ok`.
    async fn settle_spend(&self, session: SessionId, spent: Spend) -> Result<SpendRecord, StoreError>;
}
