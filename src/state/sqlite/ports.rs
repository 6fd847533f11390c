//! Implements the store traits. Each method sends a request to the thread that owns the file.

use std::collections::HashSet;

use async_trait::async_trait;

use super::super::{
    AffectedItems, BaselinePage, BeginMode, Checkpoints, Commit, Cursor, DeleteCounts, DeletedItem, DeletedItemsQuery,
    DivergedItem, DivergedRecord, EventRecord, Events, Failure, FailureRecord, History, ListQuery, Mismatch, NewRun,
    NewVerification, OpenWork, PreImageId, PreImageRecord, PreImageRow, Reservation, RunId, RunRecord, RunSession,
    RunStatus, Runs, SegmentState, SegmentTotals, SessionId, Spend, SpendLedger, SpendRecord, SpendState, StateStore,
    StoreError, StoredFact, StoredReport, UnreadableRow, VerificationRecord, Verifications, VerifiedPages,
};
use super::{SqliteStore, accepted, baseline, deleted, events, journal, leftovers, read, spend, verify, write};
use crate::change::{Digest, HistoryLookup, ItemHistory, Leftover, Outcome};
use crate::cost::UnitPrices;
use crate::item::{ItemKey, Path};
use crate::state::{Verdict, VerdictCounts};

#[async_trait]
impl Runs for SqliteStore {
    async fn current_run(&self, phase: &str) -> Result<Option<RunRecord>, StoreError> {
        let phase = phase.to_owned();
        self.thread.run(move |c| read::current_run(c, &phase)).await
    }

    async fn begin(&self, mode: BeginMode, new: NewRun) -> Result<RunSession, StoreError> {
        let now = (self.clock)();
        self.thread.run(move |c| write::begin(c, mode, &new, &now)).await
    }

    async fn end_session(
        &self,
        session: SessionId,
        status: RunStatus,
        reason: Option<String>,
        abandoned_pages: u64,
    ) -> Result<RunRecord, StoreError> {
        let now = (self.clock)();
        self.thread.run(move |c| write::end_session(c, session, status, reason.as_deref(), abandoned_pages, &now)).await
    }

    async fn accept(&self, session: SessionId, findings: Vec<String>) -> Result<(), StoreError> {
        let now = (self.clock)();
        self.thread.run(move |c| accepted::record(c, session, &findings, &now)).await
    }

    async fn accepted(&self, run: RunId) -> Result<Vec<String>, StoreError> {
        self.thread.run(move |c| accepted::findings_of_run(c, run)).await
    }

    async fn open_work(&self, run: Option<RunId>) -> Result<OpenWork, StoreError> {
        self.thread.run(move |c| read::open_work(c, run)).await
    }

    async fn open_work_of_phase(&self, phase: &str) -> Result<OpenWork, StoreError> {
        let phase = phase.to_owned();
        self.thread.run(move |c| read::open_work_of_phase(c, &phase)).await
    }

    async fn is_proven(&self, phase: &str) -> Result<bool, StoreError> {
        let phase = phase.to_owned();
        self.thread.run(move |c| read::is_proven(c, &phase)).await
    }

    async fn failures(&self, query: ListQuery) -> Result<Vec<FailureRecord>, StoreError> {
        self.thread.run(move |c| read::require_readable(read::failures(c, query)?)).await
    }

    async fn failures_of_phase(
        &self,
        phase: &str,
        after: Cursor,
        limit: u32,
    ) -> Result<Vec<Result<FailureRecord, UnreadableRow>>, StoreError> {
        let phase = phase.to_owned();
        self.thread.run(move |c| read::failures_of_phase(c, &phase, after, limit)).await
    }

    async fn diverged(&self, query: ListQuery) -> Result<Vec<DivergedRecord>, StoreError> {
        self.thread.run(move |c| read::require_readable(read::diverged(c, query)?)).await
    }

    async fn list_diverged(&self, query: ListQuery) -> Result<Vec<Result<DivergedRecord, UnreadableRow>>, StoreError> {
        self.thread.run(move |c| read::diverged(c, query)).await
    }

    async fn resolve_failure(
        &self,
        session: SessionId,
        run: RunId,
        key: ItemKey,
        outcome: Outcome,
        diverged: Option<DivergedItem>,
    ) -> Result<bool, StoreError> {
        let now = (self.clock)();
        self.thread.run(move |c| write::resolve_failure(c, session, run, &key, outcome, diverged, &now)).await
    }

    async fn update_failure(&self, session: SessionId, run: RunId, failure: Failure) -> Result<bool, StoreError> {
        let now = (self.clock)();
        self.thread.run(move |c| write::update_failure(c, session, run, &failure, &now)).await
    }

    async fn close_diverged(&self, session: SessionId, items: Vec<(ItemKey, &'static str)>) -> Result<u64, StoreError> {
        let now = (self.clock)();
        self.thread.run(move |c| verify::close_diverged(c, session, &items, &now)).await
    }
}

#[async_trait]
impl Checkpoints for SqliteStore {
    async fn commit(&self, commit: Commit) -> Result<(), StoreError> {
        let now = (self.clock)();
        self.thread.run(move |c| write::commit(c, &commit, &now)).await
    }

    async fn segments_after(
        &self,
        run: RunId,
        after: Option<u32>,
        limit: u32,
    ) -> Result<Vec<(u32, SegmentState)>, StoreError> {
        self.thread.run(move |c| read::segments_after(c, run, after, limit)).await
    }

    async fn totals(&self, run: RunId) -> Result<SegmentTotals, StoreError> {
        self.thread.run(move |c| read::totals(c, &read::run(c, run)?)).await
    }
}

#[async_trait]
impl History for SqliteStore {
    async fn append_pre_images(
        &self,
        session: SessionId,
        rows: Vec<PreImageRow>,
    ) -> Result<Vec<PreImageId>, StoreError> {
        let now = (self.clock)();
        self.thread.run(move |c| journal::append_pre_images(c, session, &rows, &now)).await
    }

    async fn mark_refused(&self, session: SessionId, ids: Vec<PreImageId>) -> Result<(), StoreError> {
        self.thread.run(move |c| journal::mark_refused_by_session(c, session, &ids)).await
    }

    async fn history_of(&self, keys: Vec<ItemKey>, lookup: HistoryLookup) -> Result<Vec<ItemHistory>, StoreError> {
        self.thread.run(move |c| journal::history_of(c, &keys, lookup)).await
    }

    async fn pre_images(&self, key: ItemKey, path: Option<Path>) -> Result<Vec<PreImageRecord>, StoreError> {
        self.thread.run(move |c| journal::pre_images(c, &key, path.as_ref())).await
    }

    async fn deleted_items(&self, query: DeletedItemsQuery) -> Result<Vec<DeletedItem>, StoreError> {
        self.thread.run(move |c| deleted::deleted_items(c, &query)).await
    }

    async fn purge_journal(&self) -> Result<u64, StoreError> {
        self.thread.purge_journal().await
    }

    async fn pre_image_count(&self, run: RunId) -> Result<u64, StoreError> {
        self.thread.run(move |c| journal::pre_image_count(c, Some(run))).await
    }

    async fn delete_counts(&self, run: RunId) -> Result<DeleteCounts, StoreError> {
        self.thread.run(move |c| deleted::delete_counts(c, run)).await
    }

    async fn leftovers(&self, run: RunId, leftover: Leftover, limit: u32) -> Result<AffectedItems, StoreError> {
        self.thread.run(move |c| leftovers::leftovers(c, run, leftover, limit)).await
    }

    async fn record_baseline(&self, page: BaselinePage) -> Result<(), StoreError> {
        let now = (self.clock)();
        self.thread.run(move |c| baseline::record_baseline(c, &page, &now)).await
    }

    async fn items_under_way(&self, run: RunId, segment: u32) -> Result<HashSet<Digest>, StoreError> {
        self.thread.run(move |c| baseline::items_under_way(c, run, segment)).await
    }

    async fn is_first_pass(&self, run: RunId) -> Result<bool, StoreError> {
        self.thread.run(move |c| baseline::is_first_pass(c, run)).await
    }

    async fn preexisting(&self, keys: Vec<ItemKey>) -> Result<Vec<ItemHistory>, StoreError> {
        self.thread.run(move |c| baseline::preexisting(c, &keys)).await
    }

    async fn baseline_complete(&self) -> Result<bool, StoreError> {
        self.thread.run(baseline::baseline_complete).await
    }

    async fn unrestorable_targets(&self) -> Result<Option<u64>, StoreError> {
        self.thread.run(baseline::unrestorable_targets).await
    }

    async fn preexisting_count(&self) -> Result<u64, StoreError> {
        self.thread.run(baseline::preexisting_count).await
    }
}

#[async_trait]
impl SpendLedger for SqliteStore {
    async fn spend(&self, run: RunId) -> Result<SpendRecord, StoreError> {
        self.thread.run(move |c| spend::record(c, &read::run(c, run)?, false)).await
    }

    async fn begin_spend(&self, session: SessionId, prices: UnitPrices) -> Result<SpendState, StoreError> {
        let state = self.thread.run(move |c| spend::begin(c, session, prices)).await?;
        self.spending().insert(session);
        Ok(state)
    }

    async fn reserve(&self, session: SessionId, reservation: Reservation) -> Result<(), StoreError> {
        let begun = self.spending().contains(&session);
        self.thread.run(move |c| spend::reserve(c, session, begun, reservation)).await
    }

    async fn settle_spend(&self, session: SessionId, spent: Spend) -> Result<SpendRecord, StoreError> {
        self.thread.run(move |c| spend::settle(c, session, spent)).await
    }
}

#[async_trait]
impl Verifications for SqliteStore {
    async fn begin_verification(
        &self,
        new: NewVerification,
        force_new: bool,
    ) -> Result<VerificationRecord, StoreError> {
        let now = (self.clock)();
        self.thread.run(move |c| verify::begin(c, &new, force_new, &now)).await
    }

    async fn commit_verified(&self, pages: VerifiedPages) -> Result<(), StoreError> {
        let now = (self.clock)();
        self.thread.run(move |c| verify::commit(c, &pages, &now)).await
    }

    async fn segment_verdicts(&self, run: RunId) -> Result<Vec<(u32, VerdictCounts)>, StoreError> {
        self.thread.run(move |c| verify::segment_verdicts(c, run)).await
    }

    async fn mismatches(&self, run: RunId, verdict: Verdict, limit: u32) -> Result<Vec<Mismatch>, StoreError> {
        self.thread.run(move |c| verify::mismatches(c, run, verdict, limit)).await
    }

    async fn stop_verification(
        &self,
        session: SessionId,
        reason: Option<String>,
        abandoned_pages: u64,
    ) -> Result<RunRecord, StoreError> {
        let now = (self.clock)();
        self.thread
            .run(move |c| write::end_session(c, session, RunStatus::Stopped, reason.as_deref(), abandoned_pages, &now))
            .await
    }

    async fn finish_verification(
        &self,
        session: SessionId,
        ended_at: String,
        json: String,
        hash: String,
    ) -> Result<RunRecord, StoreError> {
        self.thread.run(move |c| verify::finish(c, session, &ended_at, &json, &hash)).await
    }

    async fn reports(&self, limit: u32) -> Result<Vec<StoredReport>, StoreError> {
        self.thread.run(move |c| verify::reports(c, limit)).await
    }

    async fn newest_verification(&self) -> Result<Option<VerificationRecord>, StoreError> {
        self.thread.run(verify::newest).await
    }
}

#[async_trait]
impl Events for SqliteStore {
    async fn append_event(&self, event: String) -> Result<EventRecord, StoreError> {
        self.thread.run(move |c| events::append(c, event)).await
    }

    async fn events(&self) -> Result<Vec<EventRecord>, StoreError> {
        self.thread.run(events::events).await
    }

    async fn clear_unless_begun(&self) -> Result<bool, StoreError> {
        self.thread.run(events::clear_unless_begun).await
    }

    async fn fact(&self, fact: StoredFact) -> Result<Option<String>, StoreError> {
        self.thread.run(move |c| events::fact(c, fact)).await
    }

    async fn set_fact(&self, fact: StoredFact, value: String) -> Result<(), StoreError> {
        self.thread.run(move |c| events::set_fact(c, fact, &value)).await
    }

    async fn forget_histories(&self, kept: Vec<RunId>) -> Result<(), StoreError> {
        self.thread.run(move |c| events::forget_histories(c, &kept)).await
    }
}

#[async_trait]
impl StateStore for SqliteStore {
    fn now(&self) -> String {
        (self.clock)()
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.thread.close().await
    }
}
