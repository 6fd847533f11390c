//! Contains defective stores, each of which breaks one promise. The suite must detect each of them.
//!
//! A [`DefectiveStore`] forwards every request to the SQLite store, except the requests to which the broken promise
//! applies.

use std::collections::{BTreeSet, HashSet};
use std::sync::Mutex;

use async_trait::async_trait;
use backfill::internals::change::{HistoryLookup, ItemHistory, Leftover};
use backfill::internals::cost::UnitPrices;
use backfill::internals::passes::verify::{Verdict, VerdictCounts};
use backfill::internals::state::{
    AffectedItems, BaselinePage, Checkpoints, DeleteCounts, DeletedItem, DeletedItemsQuery, DivergedRecord,
    EventRecord, Events, FailureRecord, History, Mismatch, NewVerification, OpenWork, PreImageId, PreImageRecord,
    Reservation, RunRecord, RunSession, Runs, SegmentState, SegmentTotals, Spend, SpendLedger, SpendRecord, SpendState,
    StateStore, StoredFact, StoredReport, UnreadableRow, VerificationRecord, Verifications, VerifiedPages,
};

use super::*;

/// The defect of a store. Every defect breaks a promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Defect {
    /// The store breaks no promise: it behaves like the inner store.
    Nothing,
    /// Commits omit the failures of their pages.
    ForgottenFailures,
    /// The pre-images of a call become durable only during the next call, although they must be durable when the call
    /// returns.
    LatePreImages,
    /// The store accepts commits from earlier sessions.
    IgnoredEpochs,
    /// The store allows earlier sessions to change the recorded history.
    UnfencedHistory,
    /// The store allows earlier sessions to accept findings, and to resolve failures and diverged items.
    UnfencedResolutions,
    /// The store does not record a reserved slice.
    UnstoredSlices,
}

#[tokio::test]
async fn a_store_that_only_forwards_requests_keeps_every_promise() {
    assert_eq!(broken_promises(Defect::Nothing).await, BTreeSet::new());
}

#[tokio::test]
async fn a_commit_that_forgets_failures_is_found() {
    let found = broken_promises(Defect::ForgottenFailures).await;
    assert!(found.contains("a_commit_is_durable_with_its_failures_and_diverged_items"), "{found:?}");
}

#[tokio::test]
async fn pre_images_that_are_not_durable_when_the_call_returns_are_found() {
    let found = broken_promises(Defect::LatePreImages).await;
    assert!(found.contains("pre_images_are_durable_when_the_call_returns"), "{found:?}");
}

#[tokio::test]
async fn a_slice_that_is_used_before_it_is_durable_is_found() {
    let found = broken_promises(Defect::UnstoredSlices).await;
    assert!(found.contains("a_slice_counts_as_spent_after_a_crash"), "{found:?}");
}

#[tokio::test]
async fn a_store_that_takes_commits_of_earlier_sessions_is_found() {
    let found = broken_promises(Defect::IgnoredEpochs).await;
    assert_eq!(found, BTreeSet::from(["a_commit_of_an_earlier_session_is_refused_and_changes_nothing"]));
}

#[tokio::test]
async fn a_store_that_takes_history_of_earlier_sessions_is_found() {
    let found = broken_promises(Defect::UnfencedHistory).await;
    assert_eq!(found, BTreeSet::from(["an_earlier_session_records_no_history"]));
}

#[tokio::test]
async fn a_store_that_lets_earlier_sessions_resolve_is_found() {
    let found = broken_promises(Defect::UnfencedResolutions).await;
    assert_eq!(found, BTreeSet::from(["an_earlier_session_neither_accepts_nor_resolves"]));
}

/// Returns the promises that a store with this defect breaks.
async fn broken_promises(defect: Defect) -> BTreeSet<&'static str> {
    let mut broken = BTreeSet::new();
    for (name, promise) in PROMISES {
        let result = tokio::spawn(async move {
            promise(&mut DefectiveFixture { defect, sqlite: SqliteFixture::new() }).await;
        });
        if result.await.is_err() {
            broken.insert(*name);
        }
    }
    broken
}

/// Opens defective stores.
struct DefectiveFixture {
    defect: Defect,
    sqlite: SqliteFixture,
}

impl DefectiveFixture {
    fn wrap(&self, inner: State) -> State {
        State::new(DefectiveStore { inner, defect: self.defect, postponed: Mutex::default() })
    }
}

impl StoreFixture for DefectiveFixture {
    fn open_as(&mut self, identity: &Identity) -> Result<State, StoreError> {
        self.sqlite.open_as(identity).map(|inner| self.wrap(inner))
    }

    fn crash(&mut self, owned: State) -> State {
        let inner = self.sqlite.crash(owned);
        self.wrap(inner)
    }
}

/// Pre-images that the store writes only when the next pre-images arrive. Each group of pre-images is paired with its
/// session.
type PostponedPreImages = Vec<(SessionId, Vec<PreImageRow>)>;

struct DefectiveStore {
    inner: State,
    defect: Defect,
    /// Pre-images that are not stored yet.
    postponed: Mutex<PostponedPreImages>,
}

impl DefectiveStore {
    /// If the store has this defect, returns the newest session of the run. Otherwise, returns `session`.
    async fn as_newest(&self, defect: Defect, session: SessionId) -> Result<SessionId, StoreError> {
        if self.defect != defect {
            return Ok(session);
        }
        let newest = self.inner.current_run(phase::EXPAND).await?.map(|run| run.session());
        Ok(newest.filter(|newest| newest.run == session.run).unwrap_or(session))
    }

    /// Postpones these pre-images, and invents their ids. Returns these ids, and the pre-images that the previous call
    /// postponed.
    fn postpone(&self, session: SessionId, rows: Vec<PreImageRow>) -> (Vec<PreImageId>, PostponedPreImages) {
        let ids = (1..).take(rows.len()).map(PreImageId::from_number).collect();
        let before = std::mem::replace(&mut *self.postponed.lock().unwrap(), vec![(session, rows)]);
        (ids, before)
    }
}

/// Returns the commit without its failures. The counts treat the failed items as items with nothing to do.
fn without_failures(mut commit: Commit) -> Commit {
    let SegmentEvent::PagesDone { counts, .. } = &mut commit.event;
    for failed in Outcome::ALL.into_iter().filter(|outcome| outcome.is_failure()) {
        counts.outcomes[Outcome::NothingToDo as usize] += std::mem::take(&mut counts.outcomes[failed as usize]);
    }
    Commit { failures: vec![], ..commit }
}

/// Implements a store trait. Each method in the list forwards its request to the inner store. The methods after the
/// list are defined in full.
macro_rules! port {
    ($port:ident: { $(fn $name:ident($($argument:ident: $type:ty),*) -> $answer:ty;)* } $($own:tt)*) => {
        #[async_trait]
        impl $port for DefectiveStore {
            $(async fn $name(&self, $($argument: $type),*) -> Result<$answer, StoreError> {
                self.inner.$name($($argument),*).await
            })*
            $($own)*
        }
    };
}

port! {
    Runs: {
        fn current_run(phase: &str) -> Option<RunRecord>;
        fn begin(mode: BeginMode, new: NewRun) -> RunSession;
        fn end_session(session: SessionId, status: RunStatus, reason: Option<String>, abandoned_pages: u64) -> RunRecord;
        fn accepted(run: RunId) -> Vec<String>;
        fn open_work(run: Option<RunId>) -> OpenWork;
        fn open_work_of_phase(phase: &str) -> OpenWork;
        fn is_proven(phase: &str) -> bool;
        fn failures(query: ListQuery) -> Vec<FailureRecord>;
        fn failures_of_phase(phase: &str, after: Cursor, limit: u32) -> Vec<Result<FailureRecord, UnreadableRow>>;
        fn diverged(query: ListQuery) -> Vec<DivergedRecord>;
        fn list_diverged(query: ListQuery) -> Vec<Result<DivergedRecord, UnreadableRow>>;
    }

    async fn accept(&self, session: SessionId, findings: Vec<String>) -> Result<(), StoreError> {
        let session = self.as_newest(Defect::UnfencedResolutions, session).await?;
        self.inner.accept(session, findings).await
    }

    async fn resolve_failure(
        &self,
        session: SessionId,
        run: RunId,
        key: ItemKey,
        outcome: Outcome,
        diverged: Option<DivergedItem>,
    ) -> Result<bool, StoreError> {
        let session = self.as_newest(Defect::UnfencedResolutions, session).await?;
        self.inner.resolve_failure(session, run, key, outcome, diverged).await
    }

    async fn update_failure(&self, session: SessionId, run: RunId, failure: Failure) -> Result<bool, StoreError> {
        let session = self.as_newest(Defect::UnfencedResolutions, session).await?;
        self.inner.update_failure(session, run, failure).await
    }

    async fn close_diverged(
        &self,
        session: SessionId,
        items: Vec<(ItemKey, &'static str)>,
    ) -> Result<u64, StoreError> {
        let session = self.as_newest(Defect::UnfencedResolutions, session).await?;
        self.inner.close_diverged(session, items).await
    }
}

port! {
    Checkpoints: {
        fn segments_after(run: RunId, after: Option<u32>, limit: u32) -> Vec<(u32, SegmentState)>;
        fn totals(run: RunId) -> SegmentTotals;
    }

    async fn commit(&self, commit: Commit) -> Result<(), StoreError> {
        match self.defect {
            Defect::ForgottenFailures => self.inner.commit(without_failures(commit)).await,
            Defect::IgnoredEpochs => {
                let session = self.as_newest(Defect::IgnoredEpochs, commit.session).await?;
                self.inner.commit(Commit { session, ..commit }).await
            }
            Defect::Nothing
            | Defect::LatePreImages
            | Defect::UnfencedHistory
            | Defect::UnfencedResolutions
            | Defect::UnstoredSlices => self.inner.commit(commit).await,
        }
    }
}

port! {
    History: {
        fn history_of(keys: Vec<ItemKey>, lookup: HistoryLookup) -> Vec<ItemHistory>;
        fn pre_images(key: ItemKey, path: Option<Path>) -> Vec<PreImageRecord>;
        fn pre_image_count(run: RunId) -> u64;
        fn delete_counts(run: RunId) -> DeleteCounts;
        fn deleted_items(query: DeletedItemsQuery) -> Vec<DeletedItem>;
        fn purge_journal() -> u64;
        fn leftovers(run: RunId, leftover: Leftover, limit: u32) -> AffectedItems;
        fn items_under_way(run: RunId, segment: u32) -> HashSet<Digest>;
        fn is_first_pass(run: RunId) -> bool;
        fn preexisting(keys: Vec<ItemKey>) -> Vec<ItemHistory>;
        fn baseline_complete() -> bool;
        fn unrestorable_targets() -> Option<u64>;
        fn preexisting_count() -> u64;
    }

    async fn append_pre_images(
        &self,
        session: SessionId,
        rows: Vec<PreImageRow>,
    ) -> Result<Vec<PreImageId>, StoreError> {
        if self.defect == Defect::LatePreImages {
            let (ids, before) = self.postpone(session, rows);
            for (session, rows) in before {
                self.inner.append_pre_images(session, rows).await?;
            }
            return Ok(ids);
        }
        let session = self.as_newest(Defect::UnfencedHistory, session).await?;
        self.inner.append_pre_images(session, rows).await
    }

    async fn mark_refused(&self, session: SessionId, ids: Vec<PreImageId>) -> Result<(), StoreError> {
        let session = self.as_newest(Defect::UnfencedHistory, session).await?;
        self.inner.mark_refused(session, ids).await
    }

    async fn record_baseline(&self, page: BaselinePage) -> Result<(), StoreError> {
        let session = self.as_newest(Defect::UnfencedHistory, page.session).await?;
        self.inner.record_baseline(BaselinePage { session, ..page }).await
    }
}

port! {
    SpendLedger: {
        fn spend(run: RunId) -> SpendRecord;
        fn begin_spend(session: SessionId, prices: UnitPrices) -> SpendState;
        fn settle_spend(session: SessionId, spent: Spend) -> SpendRecord;
    }

    async fn reserve(&self, session: SessionId, reservation: Reservation) -> Result<(), StoreError> {
        if self.defect == Defect::UnstoredSlices {
            return Ok(());
        }
        self.inner.reserve(session, reservation).await
    }
}

port! {
    Verifications: {
        fn begin_verification(new: NewVerification, force_new: bool) -> VerificationRecord;
        fn commit_verified(pages: VerifiedPages) -> ();
        fn segment_verdicts(run: RunId) -> Vec<(u32, VerdictCounts)>;
        fn mismatches(run: RunId, verdict: Verdict, limit: u32) -> Vec<Mismatch>;
        fn stop_verification(session: SessionId, reason: Option<String>, abandoned_pages: u64) -> RunRecord;
        fn finish_verification(session: SessionId, ended_at: String, json: String, hash: String) -> RunRecord;
        fn reports(limit: u32) -> Vec<StoredReport>;
        fn newest_verification() -> Option<VerificationRecord>;
    }
}

port! {
    Events: {
        fn append_event(event: String) -> EventRecord;
        fn events() -> Vec<EventRecord>;
        fn clear_unless_begun() -> bool;
        fn fact(fact: StoredFact) -> Option<String>;
        fn set_fact(fact: StoredFact, value: String) -> ();
        fn forget_histories(kept: Vec<RunId>) -> ();
    }
}

#[async_trait]
impl StateStore for DefectiveStore {
    fn now(&self) -> String {
        self.inner.now()
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.inner.close().await
    }
}
