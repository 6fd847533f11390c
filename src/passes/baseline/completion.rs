//! Completes the baseline after the first pass was stopped, without writing any item.
//!
//! Only items that the first pass has read have a baseline (`recorder.rs`). If that pass was stopped, a rollback or a
//! restarted run needs the baseline of the other items too. Without this baseline, a preexisting value could not be
//! distinguished from a value that the pass wrote. So this module reads the unfinished segments of the pass to their
//! ends. It records the baseline and commits checkpoints, as the pass does, but it writes no item. It can be killed and
//! resumed, as the pass can. When all segments are done, every item of the table has been read.

use std::sync::Arc;

use super::BaselinePass;
use super::recorder::BaselineRecorder;
use crate::change::{Changes, Strategy};
use crate::engine::decisions::Decisions;
use crate::engine::job::{Job, schedule};
use crate::engine::scan_table;
use crate::engine::stop::StopReason;
use crate::engine::write::write_pages::WritePages;
use crate::engine::write::writer::Writer;
use crate::state::{BeginMode, NewRun, RunRecord, RunStatus, State, StoreError, phase};

/// The stop reason that the state file stores when the baseline is complete.
const COMPLETION_REASON: &str = "ended: it read the remaining items, recorded their baseline, and wrote nothing";

impl Job {
    /// Records the baseline of every item that a stopped first pass did not reach. Writes no item. Call this method
    /// before a restarted run ([`BeginMode::Restart`]), with a separate job. The spend is added to the spend of the
    /// stopped pass. But the limits ignore that earlier spend, because this method may have to read all items, as a new
    /// run does.
    ///
    /// Returns false if the job was stopped. The next call then continues from the last commit.
    pub async fn complete_baseline(&self, store: &State) -> Result<bool, StoreError> {
        let Some(pass) = self.begin_completion(store).await? else { return Ok(true) };
        tracing::info!("recording the baseline of the items that the stopped run did not read; no item is written");
        let before = store.begin_spend(pass.session(), self.allowance.prices()).await?;
        self.allowance.begin_with_exempt_spend(
            store.spend_ledger(),
            pass.session(),
            before,
            pass.spend_before_read_only,
        );
        self.stop_at_limits();
        let baseline = self.record_remaining(store, &pass).await;
        self.end_spend(store, &pass).await?;
        baseline
    }

    /// Like [`Job::complete_baseline`], but within a session of another run. The spend counts against the limits of
    /// that run.
    pub(crate) async fn complete_baseline_within(&self, store: &State) -> Result<bool, StoreError> {
        match self.begin_completion(store).await? {
            Some(pass) => self.record_remaining(store, &pass).await,
            None => Ok(true),
        }
    }

    /// Begins a session of the first pass that reads items and does not write them. Returns `None` if no such session
    /// is needed.
    async fn begin_completion(&self, store: &State) -> Result<Option<RunRecord>, StoreError> {
        let Some(pass) = self.stopped_first_pass(store).await? else { return Ok(None) };
        let new = NewRun {
            phase: phase::EXPAND.to_owned(),
            total_segments: pass.total_segments,
            tool_version: pass.tool_version,
            table_items_estimate: pass.table_items_estimate,
        };
        Ok(Some(store.begin(BeginMode::ReadOnly, new).await?.run))
    }

    /// Reads the remaining items and ends the session. Returns false if the job was stopped.
    async fn record_remaining(&self, store: &State, pass: &RunRecord) -> Result<bool, StoreError> {
        let requests = self.requests();
        let key = &self.description.key;
        let none = Changes::for_expand(&[], Strategy::InPlace, key.clone(), Vec::new());
        let writer = Writer::new(Decisions::new(Arc::new(none), None), store.history(), pass.session());
        let recorder = BaselineRecorder::new(Arc::new(self.expand_changes()), store.history(), pass.session(), true);
        let pages = WritePages::new(writer, store.checkpoints(), pass.id, requests.clone(), u64::MAX, 0, true);
        let handler = BaselinePass::new(recorder, pages, requests.clone());
        let scheduler = schedule(store, pass).await?;
        scan_table(self.read_settings(pass.total_segments), &scheduler, &requests, Arc::new(handler)).await;
        let baseline = store.totals(pass.id).await?.done == pass.total_segments;
        if !baseline && !self.stop.is_stopping() {
            self.stop.stop(StopReason::Internal("segments were left over".into()));
        }
        let reason =
            if baseline { Some(COMPLETION_REASON.to_owned()) } else { self.stop.reason().map(ToString::to_string) };
        let abandoned = if baseline { 0 } else { self.progress.snapshot().abandoned_pages };
        store.end_session(pass.session(), RunStatus::Stopped, reason, abandoned).await?;
        Ok(baseline)
    }

    /// Returns the first pass if it has begun but has not read every item, and if the plan needs a baseline. Otherwise
    /// returns `None`.
    async fn stopped_first_pass(&self, store: &State) -> Result<Option<RunRecord>, StoreError> {
        let Some(pass) = store.current_run(phase::EXPAND).await?.filter(RunRecord::is_unfinished) else {
            return Ok(None);
        };
        let due = self.expand_changes().needs_baseline()
            && store.is_first_pass(pass.id).await?
            && !store.baseline_complete().await?;
        Ok(Some(pass).filter(|_| due))
    }

    /// Returns the plan's expand changes, which determine an item's baseline.
    fn expand_changes(&self) -> Changes {
        let plan = &self.plan;
        let key = self.description.key.clone();
        let dual_writes = self.changes.dual_writes();
        Changes::for_expand(&plan.changes, plan.strategy, key, Vec::new())
            .with_rules(plan.item_rules())
            .with_dual_writes(dual_writes)
    }
}
