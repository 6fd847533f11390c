//! Stores that break one promise each: the suite finds every one of them.
//!
//! A [`Broken`] store passes every request on to the SQLite store, except where it breaks its promise.

use std::collections::{BTreeSet, HashSet};
use std::sync::Mutex;

use async_trait::async_trait;
use backfill::internals::change::{ItemHistory, Leftover, Lookup};
use backfill::internals::cost::UnitPrices;
use backfill::internals::passes::verify::{Verdict, VerdictCounts};
use backfill::internals::state::{
    BaselinePage, Checkpoints, DivergedRecord, EventRecord, Events, FailureRecord, History, KeptFact, Listed, Mismatch,
    NewVerification, OpenWork, PreImageId, PreImageRecord, Reservation, RunRecord, Runs, SegmentState, SegmentTotals,
    Session, Spend, SpendLedger, SpendRecord, SpendState, StateStore, StoredReport, Unreadable, VerificationRecord,
    Verifications, VerifiedPages,
};

use super::*;

/// Which promise is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Break {
    /// None: the store is as good as the one behind it.
    Nothing,
    /// A commit forgets the failures of its pages.
    FailuresAreForgotten,
    /// Pre-images are stored with the next ones, and not before the call returns.
    PreImagesAreLate,
    /// A commit of an earlier session is stored, too.
    EpochsAreIgnored,
    /// A slice is handed out and not stored.
    SlicesAreNotStored,
}

#[tokio::test]
async fn a_store_that_only_passes_requests_on_keeps_every_promise() {
    assert_eq!(broken_promises(Break::Nothing).await, BTreeSet::new());
}

#[tokio::test]
async fn a_commit_that_forgets_failures_is_found() {
    let found = broken_promises(Break::FailuresAreForgotten).await;
    assert!(found.contains("a_commit_is_durable_with_its_failures_and_diverged_items"), "{found:?}");
}

#[tokio::test]
async fn pre_images_that_are_not_durable_when_the_call_returns_are_found() {
    let found = broken_promises(Break::PreImagesAreLate).await;
    assert!(found.contains("pre_images_are_durable_when_the_call_returns"), "{found:?}");
}

#[tokio::test]
async fn a_slice_that_is_used_before_it_is_durable_is_found() {
    let found = broken_promises(Break::SlicesAreNotStored).await;
    assert!(found.contains("a_slice_counts_as_spent_after_a_crash"), "{found:?}");
}

#[tokio::test]
async fn a_store_that_takes_commits_of_earlier_sessions_is_found() {
    let found = broken_promises(Break::EpochsAreIgnored).await;
    assert_eq!(found, BTreeSet::from(["a_commit_of_an_earlier_session_is_refused_and_changes_nothing"]));
}

/// Promises of the suite that such a store does not keep.
async fn broken_promises(breaks: Break) -> BTreeSet<&'static str> {
    let mut broken = BTreeSet::new();
    for (name, promise) in PROMISES {
        let kept = tokio::spawn(async move {
            promise(&mut Breaking { breaks, sqlite: Sqlite::new() }).await;
        });
        if kept.await.is_err() {
            broken.insert(*name);
        }
    }
    broken
}

/// Opens broken stores.
struct Breaking {
    breaks: Break,
    sqlite: Sqlite,
}

impl Breaking {
    fn wrap(&self, inner: State) -> State {
        State::new(Broken { inner, breaks: self.breaks, late: Mutex::default() })
    }
}

impl Stored for Breaking {
    fn open_as(&mut self, identity: &Identity) -> Result<State, StoreError> {
        self.sqlite.open_as(identity).map(|inner| self.wrap(inner))
    }

    fn crash(&mut self, owned: State) -> State {
        let inner = self.sqlite.crash(owned);
        self.wrap(inner)
    }
}

struct Broken {
    inner: State,
    breaks: Break,
    /// Pre-images that are not stored yet.
    late: Mutex<Vec<(RunId, Vec<PreImageRow>)>>,
}

impl Broken {
    /// Postpones storing pre-images, and guesses their names. Returns those that were postponed before.
    fn postpone(&self, run: RunId, rows: Vec<PreImageRow>) -> (Vec<PreImageId>, Vec<(RunId, Vec<PreImageRow>)>) {
        let ids = (1..).take(rows.len()).map(PreImageId::from_number).collect();
        let before = std::mem::replace(&mut *self.late.lock().unwrap(), vec![(run, rows)]);
        (ids, before)
    }
}

/// The same pages, as if no item had failed.
fn without_failures(mut commit: Commit) -> Commit {
    let SegmentEvent::PagesDone { counts, .. } = &mut commit.event;
    for failed in Outcome::ALL.into_iter().filter(|outcome| outcome.is_failure()) {
        counts.outcomes[Outcome::NothingToDo as usize] += std::mem::take(&mut counts.outcomes[failed as usize]);
    }
    Commit { failures: vec![], ..commit }
}

#[async_trait]
impl Runs for Broken {
    async fn current_run(&self, phase: &str) -> Result<Option<RunRecord>, StoreError> {
        self.inner.current_run(phase).await
    }

    async fn begin(&self, how: Begin, new: NewRun) -> Result<Session, StoreError> {
        self.inner.begin(how, new).await
    }

    async fn end_session(
        &self,
        session: SessionId,
        status: RunStatus,
        reason: Option<String>,
        abandoned_pages: u64,
    ) -> Result<RunRecord, StoreError> {
        self.inner.end_session(session, status, reason, abandoned_pages).await
    }

    async fn accept(&self, run: RunId, findings: Vec<String>) -> Result<(), StoreError> {
        self.inner.accept(run, findings).await
    }

    async fn accepted(&self, run: RunId) -> Result<Vec<String>, StoreError> {
        self.inner.accepted(run).await
    }

    async fn open_work(&self, run: Option<RunId>) -> Result<OpenWork, StoreError> {
        self.inner.open_work(run).await
    }

    async fn open_work_of(&self, phase: &str) -> Result<OpenWork, StoreError> {
        self.inner.open_work_of(phase).await
    }

    async fn is_proven(&self, phase: &str) -> Result<bool, StoreError> {
        self.inner.is_proven(phase).await
    }

    async fn failures(&self, query: ListQuery) -> Result<Vec<FailureRecord>, StoreError> {
        self.inner.failures(query).await
    }

    async fn failures_of(
        &self,
        phase: &str,
        after: Cursor,
        limit: u32,
    ) -> Result<Vec<Result<FailureRecord, Unreadable>>, StoreError> {
        self.inner.failures_of(phase, after, limit).await
    }

    async fn diverged(&self, query: ListQuery) -> Result<Vec<DivergedRecord>, StoreError> {
        self.inner.diverged(query).await
    }

    async fn listed_diverged(&self, query: ListQuery) -> Result<Vec<Result<DivergedRecord, Unreadable>>, StoreError> {
        self.inner.listed_diverged(query).await
    }

    async fn resolve_failure(
        &self,
        run: RunId,
        key: ItemKey,
        outcome: Outcome,
        diverged: Vec<Path>,
    ) -> Result<bool, StoreError> {
        self.inner.resolve_failure(run, key, outcome, diverged).await
    }

    async fn update_failure(&self, run: RunId, failure: Failure) -> Result<bool, StoreError> {
        self.inner.update_failure(run, failure).await
    }

    async fn close_diverged(&self, items: Vec<(ItemKey, &'static str)>) -> Result<u64, StoreError> {
        self.inner.close_diverged(items).await
    }
}

#[async_trait]
impl Checkpoints for Broken {
    async fn commit(&self, commit: Commit) -> Result<(), StoreError> {
        match self.breaks {
            Break::FailuresAreForgotten => self.inner.commit(without_failures(commit)).await,
            Break::EpochsAreIgnored => {
                let newest = self.inner.current_run(phase::EXPAND).await?.map(|run| run.session());
                let session = newest.filter(|newest| newest.run == commit.session.run).unwrap_or(commit.session);
                self.inner.commit(Commit { session, ..commit }).await
            }
            Break::Nothing | Break::PreImagesAreLate | Break::SlicesAreNotStored => self.inner.commit(commit).await,
        }
    }

    async fn segments_after(
        &self,
        run: RunId,
        after: Option<u32>,
        limit: u32,
    ) -> Result<Vec<(u32, SegmentState)>, StoreError> {
        self.inner.segments_after(run, after, limit).await
    }

    async fn totals(&self, run: RunId) -> Result<SegmentTotals, StoreError> {
        self.inner.totals(run).await
    }
}

#[async_trait]
impl History for Broken {
    async fn append_pre_images(&self, run: RunId, rows: Vec<PreImageRow>) -> Result<Vec<PreImageId>, StoreError> {
        match self.breaks {
            Break::PreImagesAreLate => {
                let (ids, before) = self.postpone(run, rows);
                for (run, rows) in before {
                    self.inner.append_pre_images(run, rows).await?;
                }
                Ok(ids)
            }
            Break::Nothing | Break::FailuresAreForgotten | Break::EpochsAreIgnored | Break::SlicesAreNotStored => {
                self.inner.append_pre_images(run, rows).await
            }
        }
    }

    async fn mark_refused(&self, ids: Vec<PreImageId>) -> Result<(), StoreError> {
        self.inner.mark_refused(ids).await
    }

    async fn history_of(&self, keys: Vec<ItemKey>, lookup: Lookup) -> Result<Vec<ItemHistory>, StoreError> {
        self.inner.history_of(keys, lookup).await
    }

    async fn pre_images(&self, key: ItemKey, path: Option<Path>) -> Result<Vec<PreImageRecord>, StoreError> {
        self.inner.pre_images(key, path).await
    }

    async fn journaled(&self, run: RunId) -> Result<u64, StoreError> {
        self.inner.journaled(run).await
    }

    async fn leftovers(&self, run: RunId, leftover: Leftover, limit: u32) -> Result<Listed, StoreError> {
        self.inner.leftovers(run, leftover, limit).await
    }

    async fn record_baseline(&self, page: BaselinePage) -> Result<(), StoreError> {
        self.inner.record_baseline(page).await
    }

    async fn under_way(&self, run: RunId, segment: u32) -> Result<HashSet<Digest>, StoreError> {
        self.inner.under_way(run, segment).await
    }

    async fn is_first_pass(&self, run: RunId) -> Result<bool, StoreError> {
        self.inner.is_first_pass(run).await
    }

    async fn preexisting(&self, keys: Vec<ItemKey>) -> Result<Vec<ItemHistory>, StoreError> {
        self.inner.preexisting(keys).await
    }

    async fn baseline_complete(&self) -> Result<bool, StoreError> {
        self.inner.baseline_complete().await
    }

    async fn no_way_back(&self) -> Result<Option<u64>, StoreError> {
        self.inner.no_way_back().await
    }

    async fn preexisting_count(&self) -> Result<u64, StoreError> {
        self.inner.preexisting_count().await
    }
}

#[async_trait]
impl SpendLedger for Broken {
    async fn spend(&self, run: RunId) -> Result<SpendRecord, StoreError> {
        self.inner.spend(run).await
    }

    async fn begin_spend(&self, session: SessionId, prices: UnitPrices) -> Result<SpendState, StoreError> {
        self.inner.begin_spend(session, prices).await
    }

    async fn reserve(&self, session: SessionId, reservation: Reservation) -> Result<(), StoreError> {
        match self.breaks {
            Break::SlicesAreNotStored => Ok(()),
            Break::Nothing | Break::FailuresAreForgotten | Break::EpochsAreIgnored | Break::PreImagesAreLate => {
                self.inner.reserve(session, reservation).await
            }
        }
    }

    async fn settle_spend(&self, session: SessionId, spent: Spend) -> Result<SpendRecord, StoreError> {
        self.inner.settle_spend(session, spent).await
    }
}

#[async_trait]
impl Verifications for Broken {
    async fn begin_verification(&self, new: NewVerification, anew: bool) -> Result<VerificationRecord, StoreError> {
        self.inner.begin_verification(new, anew).await
    }

    async fn commit_verified(&self, pages: VerifiedPages) -> Result<(), StoreError> {
        self.inner.commit_verified(pages).await
    }

    async fn segment_verdicts(&self, run: RunId) -> Result<Vec<(u32, VerdictCounts)>, StoreError> {
        self.inner.segment_verdicts(run).await
    }

    async fn mismatches(&self, run: RunId, verdict: Verdict, limit: u32) -> Result<Vec<Mismatch>, StoreError> {
        self.inner.mismatches(run, verdict, limit).await
    }

    async fn stop_verification(
        &self,
        session: SessionId,
        reason: Option<String>,
        abandoned_pages: u64,
    ) -> Result<RunRecord, StoreError> {
        self.inner.stop_verification(session, reason, abandoned_pages).await
    }

    async fn finish_verification(
        &self,
        session: SessionId,
        ended_at: String,
        json: String,
        hash: String,
    ) -> Result<RunRecord, StoreError> {
        self.inner.finish_verification(session, ended_at, json, hash).await
    }

    async fn reports(&self, limit: u32) -> Result<Vec<StoredReport>, StoreError> {
        self.inner.reports(limit).await
    }

    async fn newest_verification(&self) -> Result<Option<VerificationRecord>, StoreError> {
        self.inner.newest_verification().await
    }
}

#[async_trait]
impl Events for Broken {
    async fn append_event(&self, event: String) -> Result<EventRecord, StoreError> {
        self.inner.append_event(event).await
    }

    async fn events(&self) -> Result<Vec<EventRecord>, StoreError> {
        self.inner.events().await
    }

    async fn forget_unbegun(&self) -> Result<bool, StoreError> {
        self.inner.forget_unbegun().await
    }

    async fn kept(&self, fact: KeptFact) -> Result<Option<String>, StoreError> {
        self.inner.kept(fact).await
    }

    async fn keep(&self, fact: KeptFact, value: String) -> Result<(), StoreError> {
        self.inner.keep(fact, value).await
    }
}

#[async_trait]
impl StateStore for Broken {
    fn now(&self) -> String {
        self.inner.now()
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.inner.close().await
    }
}
