//! The trait for storing verifications: their parameters, counts, mismatches and reports.

use async_trait::async_trait;

use super::{
    Mismatch, NewVerification, RunId, RunRecord, SessionId, StoreError, StoredReport, VerificationRecord, VerifiedPages,
};
use crate::state::{Verdict, VerdictCounts};

/// Stores verifications. Each verification is a run of the phase [`VERIFY`](super::phase::VERIFY).
///
/// When a method that changes something returns `Ok`, the whole change is durable. After an error, no part of the
/// change is stored.
#[async_trait]
pub trait Verifications: Send + Sync {
    /// Begins a session of a verification. The session resumes the newest verification if that is unfinished, has the
    /// same parameters and has readable counts, and if `force_new` is not set. Otherwise a new verification begins,
    /// which supersedes an unfinished one.
    ///
    /// A new verification deletes the counts and mismatches of verifications older than the newest complete one.
    /// Reports stay.
    ///
    /// Returns [`StoreError::Refused`] if a session of the verification is open, if only one of the sample size and the
    /// inputs of the draw is given, or if the seed is 2^63 or more.
    async fn begin_verification(&self, new: NewVerification, force_new: bool)
    -> Result<VerificationRecord, StoreError>;

    /// Commits a segment's progress together with its verdicts and mismatches, as
    /// [`Checkpoints::commit`](super::Checkpoints::commit) does for other runs. For each verdict, the store keeps up to
    /// [`MAX_MISMATCHES`](super::MAX_MISMATCHES) mismatches, but counts all of them.
    ///
    /// Returns [`StoreError::Refused`] if the run is not a verification, has no open session or no such segment, or if
    /// the verdicts, records and counts of the pages do not match. Returns [`StoreError::Fenced`] if a later session
    /// has begun.
    async fn commit_verified(&self, pages: VerifiedPages) -> Result<(), StoreError>;

    /// The current counts of every segment of a verification, in ascending order. Omits segments without a committed
    /// page.
    async fn segment_verdicts(&self, run: RunId) -> Result<Vec<(u32, VerdictCounts)>, StoreError>;

    /// The first items that a verification found with this verdict, in the order of their commits.
    async fn mismatches(&self, run: RunId, verdict: Verdict, limit: u32) -> Result<Vec<Mismatch>, StoreError>;

    /// Ends a session before the verification is complete, like [`Runs::end_session`](super::Runs::end_session).
    async fn stop_verification(
        &self,
        session: SessionId,
        reason: Option<String>,
        abandoned_pages: u64,
    ) -> Result<RunRecord, StoreError>;

    /// Ends a verification with its report and the report's hash.
    ///
    /// Returns [`StoreError::Refused`], and leaves the session open, if a segment is not done. Returns
    /// [`StoreError::Fenced`] if a later session has begun.
    async fn finish_verification(
        &self,
        session: SessionId,
        ended_at: String,
        json: String,
        hash: String,
    ) -> Result<RunRecord, StoreError>;

    /// Up to `limit` reports of complete verifications, newest first. Damaged reports are omitted.
    async fn reports(&self, limit: u32) -> Result<Vec<StoredReport>, StoreError>;

    /// The newest verification, whether or not it is complete. `None` if no verification exists, or if the record of
    /// the newest one is damaged.
    async fn newest_verification(&self) -> Result<Option<VerificationRecord>, StoreError>;

    /// The newest report; `None` if no report exists.
    async fn latest_report(&self) -> Result<Option<StoredReport>, StoreError> {
        Ok(self.reports(1).await?.into_iter().next())
    }
}
