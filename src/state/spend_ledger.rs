//! The trait for recording the spend of runs.

use async_trait::async_trait;

use super::{Reservation, RunId, SessionId, Spend, SpendRecord, SpendState, StoreError};
use crate::cost::UnitPrices;

/// Records the spend of runs, in capacity units.
///
/// Capacity is reserved in slices before it is used. If a process dies, its whole open slice counts as spent. The next
/// owner of the state makes this change ([`SpendState::after_death`]).
///
/// If a later session of the run has begun, or a later run has superseded the run, every method that changes the record
/// fails with [`StoreError::Fenced`] and changes nothing. The session need not be open, because a retry of failures
/// spends after its run is complete. So a killed process and a later retry can use the same session id. To distinguish
/// the two, [`SpendLedger::reserve`] requires that the session has called [`SpendLedger::begin_spend`] since the state
/// was opened.
#[async_trait]
pub trait SpendLedger: Send + Sync {
    /// Returns a run's current spend: the stored amount or the spend of the run's committed pages, whichever is larger.
    async fn spend(&self, run: RunId) -> Result<SpendRecord, StoreError>;

    /// Begins to record a session's spend at these prices. Returns the run's current spend. The record is durable when
    /// the method returns `Ok`. Call this method before [`SpendLedger::reserve`].
    async fn begin_spend(&self, session: SessionId, prices: UnitPrices) -> Result<SpendState, StoreError>;

    /// Reserves capacity before it is used. When this method returns `Ok`, it is durably recorded that the run has
    /// spent `spent`, and that it may also spend the slice. The run must not use the slice before this method has
    /// returned `Ok`. After an error, the run must not use the slice at all. The new slice replaces the previous slice.
    ///
    /// Returns [`StoreError::Refused`] if [`SpendLedger::begin_spend`] was not called first.
    async fn reserve(&self, session: SessionId, reservation: Reservation) -> Result<(), StoreError>;

    /// Closes the open slice. After this call, only `spent` counts as spent. The change is durable when the method
    /// returns `Ok`.
    async fn settle_spend(&self, session: SessionId, spent: Spend) -> Result<SpendRecord, StoreError>;
}
