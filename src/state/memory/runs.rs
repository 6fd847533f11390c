//! Stores runs, and the sessions, failures and diverged items of each run.

use std::collections::BTreeSet;

use async_trait::async_trait;

use super::super::rules::{self, BeginDecision};
use super::super::{
    BeginMode, Cursor, DivergedItem, DivergedRecord, Failure, FailureRecord, ListQuery, NewRun, OpenWork, RowStatus,
    RunId, RunRecord, RunSession, RunStatus, Runs, SessionId, Spend, StoreError, UnreadableRow,
};
use super::{MemoryState, StateTables};
use crate::change::Outcome;
use crate::item::ItemKey;

#[async_trait]
impl Runs for MemoryState {
    async fn current_run(&self, phase: &str) -> Result<Option<RunRecord>, StoreError> {
        self.call(|tables, _| Ok(tables.current_run(phase).cloned())).await
    }

    async fn begin(&self, how: BeginMode, new: NewRun) -> Result<RunSession, StoreError> {
        self.call(|tables, now| tables.begin(how, &new, now)).await
    }

    async fn end_session(
        &self,
        session: SessionId,
        status: RunStatus,
        reason: Option<String>,
        abandoned_pages: u64,
    ) -> Result<RunRecord, StoreError> {
        self.call(|tables, now| tables.end_session(session, status, reason, abandoned_pages, now)).await
    }

    async fn accept(&self, session: SessionId, findings: Vec<String>) -> Result<(), StoreError> {
        self.call(|tables, _| {
            rules::check_epoch(tables.run(session.run)?, session)?;
            tables.accepted.extend(findings.into_iter().map(|finding| (session.run, finding)));
            Ok(())
        })
        .await
    }

    async fn accepted(&self, run: RunId) -> Result<Vec<String>, StoreError> {
        self.call(|tables, _| {
            let of_run = tables.accepted.iter().filter(|(of, _)| *of == run);
            Ok(of_run.map(|(_, finding)| finding.clone()).collect())
        })
        .await
    }

    async fn open_work(&self, run: Option<RunId>) -> Result<OpenWork, StoreError> {
        self.call(|tables, _| Ok(tables.open_work(|of| run.is_none_or(|run| run == of)))).await
    }

    async fn open_work_of_phase(&self, phase: &str) -> Result<OpenWork, StoreError> {
        self.call(|tables, _| {
            let runs: BTreeSet<RunId> = tables.runs_of_phase(phase).map(|run| run.id).collect();
            Ok(tables.open_work(|of| runs.contains(&of)))
        })
        .await
    }

    async fn is_proven(&self, phase: &str) -> Result<bool, StoreError> {
        self.call(|tables, _| {
            let proves = |run: &RunRecord| {
                let mut counts = tables.segments_of(run.id).map(|(_, state)| &state.counts);
                run.status == RunStatus::Complete
                    || counts.any(|c| c.of(Outcome::Applied) > 0 || c.of(Outcome::AlreadyApplied) >= 100)
            };
            Ok(tables.runs_of_phase(phase).any(proves))
        })
        .await
    }

    async fn failures(&self, query: ListQuery) -> Result<Vec<FailureRecord>, StoreError> {
        self.call(|tables, _| {
            let is_listed = |row: &&FailureRecord| is_listed(query, row.id, row.run, row.status);
            Ok(tables.failures.iter().filter(is_listed).take(query.limit as usize).cloned().collect())
        })
        .await
    }

    async fn failures_of_phase(
        &self,
        phase: &str,
        after: Cursor,
        limit: u32,
    ) -> Result<Vec<Result<FailureRecord, UnreadableRow>>, StoreError> {
        self.call(|tables, _| {
            let runs: BTreeSet<RunId> = tables.runs_of_phase(phase).map(|run| run.id).collect();
            let is_open_in_phase =
                |row: &&FailureRecord| row.id > after && runs.contains(&row.run) && row.status == RowStatus::Open;
            Ok(tables.failures.iter().filter(is_open_in_phase).take(limit as usize).cloned().map(Ok).collect())
        })
        .await
    }

    async fn diverged(&self, query: ListQuery) -> Result<Vec<DivergedRecord>, StoreError> {
        self.call(|tables, _| {
            let is_listed = |row: &&DivergedRecord| is_listed(query, row.id, row.run, row.status);
            Ok(tables.diverged.iter().filter(is_listed).take(query.limit as usize).cloned().collect())
        })
        .await
    }

    async fn list_diverged(&self, query: ListQuery) -> Result<Vec<Result<DivergedRecord, UnreadableRow>>, StoreError> {
        Ok(self.diverged(query).await?.into_iter().map(Ok).collect())
    }

    async fn resolve_failure(
        &self,
        session: SessionId,
        run: RunId,
        key: ItemKey,
        outcome: Outcome,
        diverged: Option<DivergedItem>,
    ) -> Result<bool, StoreError> {
        self.call(|tables, now| {
            rules::check_epoch(tables.run(session.run)?, session)?;
            rules::check_resolution(outcome, diverged.as_ref())?;
            let Some(failure) = tables.open_failure(run, &key) else { return Ok(false) };
            failure.status = RowStatus::Resolved;
            failure.resolved_as = Some(outcome.name().to_owned());
            failure.last_at = now.to_owned();
            let segment = failure.segment;
            if let Some(item) = diverged {
                tables.put_diverged(run, segment, &DivergedItem { key, ..item }, now);
            }
            Ok(true)
        })
        .await
    }

    async fn update_failure(&self, session: SessionId, run: RunId, failure: Failure) -> Result<bool, StoreError> {
        self.call(|tables, now| {
            rules::check_epoch(tables.run(session.run)?, session)?;
            rules::check_failure(failure.outcome)?;
            let Some(stored) = tables.open_failure(run, &failure.key) else { return Ok(false) };
            stored.outcome = failure.outcome;
            stored.reason = failure.reason;
            stored.attempts += 1;
            stored.last_at = now.to_owned();
            Ok(true)
        })
        .await
    }

    async fn close_diverged(&self, session: SessionId, items: Vec<(ItemKey, &'static str)>) -> Result<u64, StoreError> {
        self.call(|tables, now| {
            rules::check_epoch(tables.run(session.run)?, session)?;
            let mut closed = 0;
            for (key, how) in items {
                let is_open = |row: &&mut DivergedRecord| row.key == key && row.status == RowStatus::Open;
                let mut of_item = tables.diverged.iter_mut().filter(is_open).peekable();
                closed += u64::from(of_item.peek().is_some());
                for row in of_item {
                    row.status = RowStatus::Resolved;
                    row.resolved_as = Some(how.to_owned());
                    row.last_at = now.to_owned();
                }
            }
            Ok(closed)
        })
        .await
    }
}

impl StateTables {
    fn begin(&mut self, how: BeginMode, new: &NewRun, now: &str) -> Result<RunSession, StoreError> {
        let current = self.current_run(&new.phase).cloned();
        let beginning = rules::begin(how, current.as_ref())?;
        match (beginning, current) {
            (BeginDecision::Resume, Some(run)) => self.resume(run.id),
            (BeginDecision::ReadOnly, Some(run)) => {
                if !run.looked_through {
                    let spent = self.spend_record(run.id)?.state.spent;
                    let stored = self.run_mut(run.id)?;
                    stored.looked_through = true;
                    stored.spend_before_read_only = spent;
                }
                self.resume(run.id)
            }
            (BeginDecision::New { pass, supersedes }, current) => {
                rules::check_new_run(new)?;
                if let Some(run) = current.filter(|_| supersedes) {
                    self.supersede(run.id, rules::SUPERSEDED_BY_RESTART)?;
                }
                self.insert_run(new, pass, now)
            }
            (BeginDecision::Resume | BeginDecision::ReadOnly, None) => {
                Err(StoreError::Corrupt("the run to resume no longer exists".to_owned()))
            }
        }
    }

    /// Marks a run as superseded, with this stop reason.
    pub(super) fn supersede(&mut self, id: RunId, reason: &str) -> Result<(), StoreError> {
        let run = self.run_mut(id)?;
        run.status = RunStatus::Superseded;
        run.stop_reason = Some(reason.to_owned());
        Ok(())
    }

    pub(super) fn resume(&mut self, id: RunId) -> Result<RunSession, StoreError> {
        let run = self.run_mut(id)?;
        run.status = run.status.next(RunStatus::Running)?;
        run.open_session = true;
        run.sessions += 1;
        run.ended_at = None;
        run.stop_reason = None;
        Ok(RunSession { run: run.clone(), resumed: true })
    }

    pub(super) fn insert_run(&mut self, new: &NewRun, pass: u32, now: &str) -> Result<RunSession, StoreError> {
        rules::check_new_run(new)?;
        let run = RunRecord {
            id: RunId::from_number(self.runs.len() as i64 + 1),
            phase: new.phase.clone(),
            pass,
            total_segments: new.total_segments,
            status: RunStatus::Running,
            started_at: now.to_owned(),
            ended_at: None,
            sessions: 1,
            open_session: true,
            lower_bound: false,
            abandoned_pages: 0,
            stop_reason: None,
            table_items_estimate: new.table_items_estimate,
            tool_version: new.tool_version.clone(),
            looked_through: false,
            spend_before_read_only: Spend::default(),
        };
        self.runs.push(run.clone());
        Ok(RunSession { run, resumed: false })
    }

    pub(super) fn end_session(
        &mut self,
        session: SessionId,
        to: RunStatus,
        reason: Option<String>,
        abandoned_pages: u64,
        now: &str,
    ) -> Result<RunRecord, StoreError> {
        let id = session.run;
        let run = self.run(id)?.clone();
        let status = rules::end_session(&run, session, to, self.totals(id)?.done, abandoned_pages)?;
        if status == RunStatus::Complete {
            self.resolve_earlier(&run, now);
        }
        let run = self.run_mut(id)?;
        run.status = status;
        run.open_session = false;
        run.ended_at = Some(now.to_owned());
        run.stop_reason = reason;
        run.abandoned_pages += abandoned_pages;
        run.lower_bound |= abandoned_pages > 0;
        Ok(run.clone())
    }

    /// Marks the open work of earlier runs of the phase as resolved, because the complete run has read every item
    /// again, and has recorded every remaining failure and diverged item itself.
    fn resolve_earlier(&mut self, run: &RunRecord, now: &str) {
        let earlier: BTreeSet<RunId> =
            self.runs_of_phase(&run.phase).map(|run| run.id).filter(|id| *id < run.id).collect();
        for row in self.failures.iter_mut().filter(|row| row.status == RowStatus::Open && earlier.contains(&row.run)) {
            row.status = RowStatus::Resolved;
            row.resolved_as = Some(rules::LATER_PASS.to_owned());
            row.last_at = now.to_owned();
        }
        for row in self.diverged.iter_mut().filter(|row| row.status == RowStatus::Open && earlier.contains(&row.run)) {
            row.status = RowStatus::Resolved;
            row.resolved_as = Some(rules::LATER_PASS.to_owned());
            row.last_at = now.to_owned();
        }
    }

    fn open_work(&self, of: impl Fn(RunId) -> bool) -> OpenWork {
        let failures = self.failures.iter().filter(|row| row.status == RowStatus::Open && of(row.run));
        let diverged = self.diverged.iter().filter(|row| row.status == RowStatus::Open && of(row.run));
        let failures: BTreeSet<String> = failures.map(|row| row.key.to_text()).collect();
        let diverged: BTreeSet<String> = diverged.map(|row| row.key.to_text()).collect();
        OpenWork { failures: failures.len() as u64, diverged: diverged.len() as u64 }
    }

    fn open_failure(&mut self, run: RunId, key: &ItemKey) -> Option<&mut FailureRecord> {
        let is_open_failure =
            |row: &&mut FailureRecord| row.run == run && row.key == *key && row.status == RowStatus::Open;
        self.failures.iter_mut().find(is_open_failure)
    }

    pub(super) fn put_failure(&mut self, run: RunId, segment: u32, failure: &Failure, now: &str) {
        let known = self.failures.iter_mut().find(|row| row.run == run && row.key == failure.key);
        let Failure { key, outcome, reason } = failure.clone();
        match known {
            Some(row) => {
                row.outcome = outcome;
                row.reason = reason;
                row.last_at = now.to_owned();
                row.attempts += 1;
                row.status = RowStatus::Open;
                row.resolved_as = None;
            }
            None => self.failures.push(FailureRecord {
                id: Cursor::from_number(self.failures.len() as i64 + 1),
                run,
                key,
                segment,
                outcome,
                reason,
                attempts: 1,
                first_at: now.to_owned(),
                last_at: now.to_owned(),
                status: RowStatus::Open,
                resolved_as: None,
            }),
        }
    }

    pub(super) fn put_diverged(&mut self, run: RunId, segment: u32, item: &DivergedItem, now: &str) {
        let known = self.diverged.iter_mut().find(|row| row.run == run && row.key == item.key);
        let DivergedItem { key, paths, derived } = item.clone();
        match known {
            Some(row) => {
                row.paths = paths;
                row.derived = derived;
                row.last_at = now.to_owned();
                row.status = RowStatus::Open;
                row.resolved_as = None;
            }
            None => self.diverged.push(DivergedRecord {
                id: Cursor::from_number(self.diverged.len() as i64 + 1),
                run,
                key,
                segment,
                paths,
                derived,
                first_at: now.to_owned(),
                last_at: now.to_owned(),
                status: RowStatus::Open,
                resolved_as: None,
            }),
        }
    }
}

fn is_listed(query: ListQuery, id: Cursor, run: RunId, status: RowStatus) -> bool {
    id > query.after && query.run.is_none_or(|of| of == run) && (!query.open_only || status == RowStatus::Open)
}
