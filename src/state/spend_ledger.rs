//! The port that records the spend of runs.

use async_trait::async_trait;

use super::{Reservation, RunId, SessionId, Spend, SpendRecord, SpendState, StoreError};
use crate::cost::UnitPrices;

/// The spend of runs, in capacity units.
///
/// Capacity is reserved in slices before it is used. If a process dies, its whole open slice counts as spent. The next
/// owner of the state updates the record ([`SpendState::died`]).
///
/// Every method that changes the record fails with [`StoreError::Fenced`], and changes nothing, if a later session of
/// the run has begun or a later run has superseded it. The session need not be open: a retry of failures spends after
/// its run is complete. So a killed process and a retry may both use the name of the same session.
/// [`SpendLedger::begin_spend`] distinguishes them, because its effect ends when the state is opened again.
#[async_trait]
pub trait SpendLedger: Send + Sync {
    /// The spend of a run so far: the stored amount or the sum of its committed pages, whichever is larger.
    async fn spend(&self, run: RunId) -> Result<SpendRecord, StoreError>;

    /// Starts to record the spend of a session at these prices, and returns the spend of the run so far. The record is
    /// durable when the method returns `Ok`. Call this method before [`SpendLedger::reserve`].
    async fn begin_spend(&self, session: SessionId, prices: UnitPrices) -> Result<SpendState, StoreError>;

    /// Reserves capacity before it is used. When it returns `Ok`, the store durably records that the run has spent
    /// `spent` and may also have spent the slice; only then may the run use the slice. The new slice replaces the
    /// previous one. After an error, the run must not use any of the slice.
    ///
    /// Returns [`StoreError::Refused`] if [`SpendLedger::begin_spend`] was not called before.
    async fn reserve(&self, session: SessionId, reservation: Reservation) -> Result<(), StoreError>;

    /// Closes the open slice: from now on only `spent` counts as spent. The change is durable when the method returns
    /// `Ok`.
    async fn settle_spend(&self, session: SessionId, spent: Spend) -> Result<SpendRecord, StoreError>;
}
