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
    /// Begins a session of a verification. Unless `force_new` is set, the session resumes the newest verification if
    /// that verification is unfinished and has the same parameters, and if its counts can be read. In all other cases,
    /// a new verification begins, and supersedes an unfinished verification.
    ///
    /// When a new verification begins, the store deletes the counts and mismatches of all verifications that are older
    /// than the newest complete one. The reports of these verifications stay.
    ///
    /// Returns [`StoreError::Refused`] in three cases: a session of the verification is open, the seed is 2^63 or more,
    /// or the number of segments is not from 1 to 1,000,000. Also returns [`StoreError::Refused`] if the sample size is
    /// given without the inputs of the draw, or if these inputs are given without the size.
    async fn begin_verification(&self, new: NewVerification, force_new: bool)
    -> Result<VerificationRecord, StoreError>;

    /// Commits a segment's progress together with its verdicts and mismatches, as
    /// [`Checkpoints::commit`](super::Checkpoints::commit) does for other runs. For each verdict, the store keeps up to
    /// [`MAX_MISMATCHES`](super::MAX_MISMATCHES) mismatches, but counts all mismatches.
    ///
    /// Returns [`StoreError::Refused`] if the run is not a verification, if it has no open session, or if it has no
    /// such segment. Also returns [`StoreError::Refused`] if the verdicts, records and counts of the pages do not
    /// match. Returns [`StoreError::Fenced`] if a later session has begun.
    async fn commit_verified(&self, pages: VerifiedPages) -> Result<(), StoreError>;

    /// Returns the current counts of a verification's segments, in ascending order of the segments. Omits segments
    /// without a committed page.
    async fn segment_verdicts(&self, run: RunId) -> Result<Vec<(u32, VerdictCounts)>, StoreError>;

    /// Returns the first `limit` items with this verdict that a verification found, in the order of their commits.
    async fn mismatches(&self, run: RunId, verdict: Verdict, limit: u32) -> Result<Vec<Mismatch>, StoreError>;

    /// Ends a session before the verification is complete, like [`Runs::end_session`](super::Runs::end_session).
    async fn stop_verification(
        &self,
        session: SessionId,
        reason: Option<String>,
        abandoned_pages: u64,
    ) -> Result<RunRecord, StoreError>;

    /// Ends a verification. Stores the report and the report's hash.
    ///
    /// If a segment is not done, returns [`StoreError::Refused`] and leaves the session open. Returns
    /// [`StoreError::Fenced`] if a later session has begun.
    async fn finish_verification(
        &self,
        session: SessionId,
        ended_at: String,
        json: String,
        hash: String,
    ) -> Result<RunRecord, StoreError>;

    /// Returns up to `limit` reports of complete verifications, newest first. Damaged reports are omitted.
    async fn reports(&self, limit: u32) -> Result<Vec<StoredReport>, StoreError>;

    /// Returns the newest verification, complete or not. Returns `None` if no verification exists, or if the newest
    /// verification's record is damaged.
    async fn newest_verification(&self) -> Result<Option<VerificationRecord>, StoreError>;

    /// Returns the newest report; `None` if no report exists.
    async fn latest_report(&self) -> Result<Option<StoredReport>, StoreError> {
        Ok(self.reports(1).await?.into_iter().next())
    }
}
