//! The rest of a first pass that was stopped, looked at and not written.
//!
//! Only items that the first pass has read have a baseline (`first_look.rs`). If that pass was stopped, a rollback and a
//! run from the beginning need the baseline of the other items too, and cannot tell these from items that the pass has
//! written. So its open segments are read to their ends as the pass would have read them, with the first look and its
//! checkpoints, but without a write. That can be killed like the pass itself. When it is done, every item has been read.

use std::sync::Arc;

use super::RecordFirst;
use super::first_look::FirstLook;
use crate::change::{Changes, Strategy};
use crate::engine::job::{Job, schedule};
use crate::engine::stop::StopReason;
use crate::engine::sweep;
use crate::engine::write::write_pages::WritePages;
use crate::engine::write::writer::Writer;
use crate::state::{Begin, NewRun, RunRecord, RunStatus, State, StoreError, phase};

/// What is stored as the reason why the pass ended.
const ENDED: &str = "it was ended: the items that it had not met were looked at, and not written";

impl Job {
    /// Has every item met by the first pass, if that was begun and stopped; to be called before a run that begins anew
    /// ([`Begin::Restart`]), with a job of its own. It writes nothing, and is counted to the stopped pass; but as a part of
    /// what begins anew it may spend as much as a new run, and read all items.
    ///
    /// False where it was stopped; it then goes on where it was when it is called again.
    pub async fn complete_baseline(&self, store: &State) -> Result<bool, StoreError> {
        let Some(pass) = self.begin_look(store).await? else { return Ok(true) };
        tracing::info!("what the stopped run has not read is looked at first, and not written");
        let before = store.begin_spend(pass.session(), self.allowance.prices()).await?;
        self.allowance.begin_beside(store.spend_ledger(), pass.session(), before, pass.look_from);
        self.stop_at_limits();
        let baseline = self.look(store, &pass).await;
        self.end_spend(store, &pass).await?;
        baseline
    }

    /// The same within a session of another run, of whose limits it spends.
    pub(crate) async fn look_through(&self, store: &State) -> Result<bool, StoreError> {
        match self.begin_look(store).await? {
            Some(pass) => self.look(store, &pass).await,
            None => Ok(true),
        }
    }

    /// Begins a session of the first pass for the look, if that pass was begun and stopped.
    async fn begin_look(&self, store: &State) -> Result<Option<RunRecord>, StoreError> {
        let Some(pass) = self.stopped_first_pass(store).await? else { return Ok(None) };
        let new = NewRun {
            phase: phase::EXPAND.to_owned(),
            total_segments: pass.total_segments,
            tool_version: pass.tool_version,
            table_items_estimate: pass.table_items_estimate,
        };
        Ok(Some(store.begin(Begin::Look, new).await?.run))
    }

    /// The look itself, and the end of its session. False if the look was stopped.
    async fn look(&self, store: &State, pass: &RunRecord) -> Result<bool, StoreError> {
        let requests = self.requests();
        let key = &self.description.key;
        let none = Changes::for_expand(&[], Strategy::InPlace, key.clone(), Vec::new());
        let writer = Writer::new(Arc::new(none), store.history(), pass.session());
        let look = FirstLook::new(Arc::new(self.expansion()), store.history(), pass.session(), true);
        let pages = WritePages::new(writer, store.checkpoints(), pass.id, requests.clone(), u64::MAX, 0, true);
        let handler = RecordFirst::new(look, pages, requests.clone());
        let scheduler = schedule(store, pass).await?;
        sweep(self.reading(pass.total_segments), &scheduler, &requests, Arc::new(handler)).await;
        let baseline = store.totals(pass.id).await?.done == pass.total_segments;
        if !baseline && !self.stop.is_stopping() {
            self.stop.stop(StopReason::Internal("segments were left over".into()));
        }
        let reason = if baseline { Some(ENDED.to_owned()) } else { self.stop.reason().map(ToString::to_string) };
        let abandoned = if baseline { 0 } else { self.progress.snapshot().abandoned_pages };
        store.end_session(pass.session(), RunStatus::Stopped, reason, abandoned).await?;
        Ok(baseline)
    }

    /// The first pass, if it has begun and has not read every item. `None` if the plan needs no baseline.
    async fn stopped_first_pass(&self, store: &State) -> Result<Option<RunRecord>, StoreError> {
        let Some(pass) = store.current_run(phase::EXPAND).await?.filter(RunRecord::is_unfinished) else {
            return Ok(None);
        };
        let due = self.expansion().needs_baseline()
            && store.is_first_pass(pass.id).await?
            && !store.baseline_complete().await?;
        Ok(Some(pass).filter(|_| due))
    }

    /// What the first look goes by.
    fn expansion(&self) -> Changes {
        let (plan, key) = (&self.plan, self.description.key.clone());
        let dual_writes = self.changes.dual_writes();
        Changes::for_expand(&plan.changes, plan.strategy, key, Vec::new()).beside_dual_writes(dual_writes)
    }
}
