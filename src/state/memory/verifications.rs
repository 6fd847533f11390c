//! Stores verifications: their parameters, counts, mismatches and reports.

use async_trait::async_trait;

use super::super::rules::{self, BeginDecision};
use super::super::{
    MAX_MISMATCHES, Mismatch, NewRun, NewVerification, RunId, RunRecord, RunStatus, SessionId, StoreError,
    StoredReport, Verdict, VerdictCounts, VerificationRecord, Verifications, VerifiedPages, phase,
};
use super::{MemoryState, StateTables, Verification};

#[async_trait]
impl Verifications for MemoryState {
    async fn begin_verification(
        &self,
        new: NewVerification,
        force_new: bool,
    ) -> Result<VerificationRecord, StoreError> {
        self.call(|tables, now| tables.begin_verification(&new, force_new, now)).await
    }

    async fn commit_verified(&self, pages: VerifiedPages) -> Result<(), StoreError> {
        self.call(|tables, now| tables.commit_verified(&pages, now)).await
    }

    async fn segment_verdicts(&self, run: RunId) -> Result<Vec<(u32, VerdictCounts)>, StoreError> {
        self.call(|tables, _| {
            let of_run = tables.verdicts.range((run, 0)..=(run, u32::MAX));
            Ok(of_run.map(|((_, segment), counts)| (*segment, *counts)).collect())
        })
        .await
    }

    async fn mismatches(&self, run: RunId, verdict: Verdict, limit: u32) -> Result<Vec<Mismatch>, StoreError> {
        self.call(|tables, _| {
            let found = tables.mismatches.get(&run).into_iter().flatten().filter(|found| found.verdict == verdict);
            Ok(found.take(limit as usize).cloned().collect())
        })
        .await
    }

    async fn stop_verification(
        &self,
        session: SessionId,
        reason: Option<String>,
        abandoned_pages: u64,
    ) -> Result<RunRecord, StoreError> {
        self.call(|tables, now| tables.end_session(session, RunStatus::Stopped, reason, abandoned_pages, now)).await
    }

    async fn finish_verification(
        &self,
        session: SessionId,
        ended_at: String,
        json: String,
        hash: String,
    ) -> Result<RunRecord, StoreError> {
        self.call(|tables, _| tables.finish_verification(session, ended_at, json, hash)).await
    }

    async fn reports(&self, limit: u32) -> Result<Vec<StoredReport>, StoreError> {
        self.call(|tables, _| {
            let report = |(id, stored): (&RunId, &Verification)| {
                let (json, hash) = stored.report.clone()?;
                let run = tables.run(*id).ok()?;
                Some(StoredReport {
                    run: *id,
                    parameters: stored.parameters.clone(),
                    began_at: run.started_at.clone(),
                    ended_at: run.ended_at.clone()?,
                    json,
                    hash,
                })
            };
            Ok(tables.verifications.iter().rev().filter_map(report).take(limit as usize).collect())
        })
        .await
    }

    async fn newest_verification(&self) -> Result<Option<VerificationRecord>, StoreError> {
        self.call(|tables, _| match tables.verifications.last_key_value() {
            Some((id, stored)) => Ok(Some(stored.record(tables.run(*id)?.clone(), false))),
            None => Ok(None),
        })
        .await
    }
}

impl StateTables {
    fn begin_verification(
        &mut self,
        new: &NewVerification,
        force_new: bool,
        now: &str,
    ) -> Result<VerificationRecord, StoreError> {
        let current = self.current_run(phase::VERIFY).cloned();
        let stored = current.as_ref().and_then(|run| self.verifications.get(&run.id)).cloned();
        let parameters = stored.as_ref().map(|stored| &stored.parameters);
        let beginning = rules::begin_verification(new, force_new, current.as_ref(), parameters)?;
        match (beginning, current, stored) {
            (BeginDecision::Resume, Some(run), Some(stored)) => Ok(stored.record(self.resume(run.id)?.run, true)),
            (BeginDecision::New { pass, supersedes }, current, _) => {
                let run = NewRun { phase: phase::VERIFY.to_owned(), ..new.run.clone() };
                let run = self.insert_run(&run, pass, now)?.run;
                if let Some(before) = current.filter(|_| supersedes) {
                    self.supersede(before.id, rules::SUPERSEDED_BY_VERIFICATION)?;
                }
                self.delete_old_details();
                let stored = Verification {
                    parameters: new.parameters.clone(),
                    drawn: new.drawn.clone(),
                    segments_to_read: new.segments_to_read,
                    report: None,
                };
                self.verifications.insert(run.id, stored.clone());
                Ok(stored.record(run, false))
            }
            (BeginDecision::Resume | BeginDecision::ReadOnly, ..) => {
                Err(StoreError::Corrupt("the verification to resume no longer exists".to_owned()))
            }
        }
    }

    /// Deletes the counts and mismatches of all verifications that are older than the newest complete verification.
    fn delete_old_details(&mut self) {
        let complete = self.verifications.iter().rev().find(|(_, stored)| stored.report.is_some());
        let Some(newest) = complete.map(|(run, _)| *run) else { return };
        self.verdicts.retain(|(run, _), _| *run >= newest);
        self.mismatches.retain(|run, _| *run >= newest);
    }

    fn commit_verified(&mut self, pages: &VerifiedPages, now: &str) -> Result<(), StoreError> {
        let run = pages.session.run;
        rules::check_verified(self.run(run)?, pages)?;
        let VerifiedPages { segment, verdicts, mismatches, .. } = pages;
        self.check_pre_images(&pages.refused)?;
        self.advance_segment(run, *segment, &pages.event, now)?;
        self.verdicts.entry((run, *segment)).or_default().add(verdicts);
        let stored = self.mismatches.entry(run).or_default();
        for mismatch in mismatches {
            let of_verdict = stored.iter().filter(|known| known.verdict == mismatch.verdict).count();
            if of_verdict < MAX_MISMATCHES as usize {
                stored.push(mismatch.clone());
            }
        }
        self.mark_refused(&pages.refused);
        Ok(())
    }

    fn finish_verification(
        &mut self,
        session: SessionId,
        ended_at: String,
        json: String,
        hash: String,
    ) -> Result<RunRecord, StoreError> {
        let id = session.run;
        let run = self.run(id)?.clone();
        let done = self.totals(id)?.done;
        let Some(stored) = self.verifications.get_mut(&id) else {
            return Err(StoreError::Corrupt(format!("verification {id} has no parameters")));
        };
        let status = rules::finish_verification(&run, session, stored.segments_to_read, done)?;
        stored.report = Some((json, hash));
        let run = self.run_mut(id)?;
        run.status = status;
        run.open_session = false;
        run.ended_at = Some(ended_at);
        run.stop_reason = None;
        Ok(run.clone())
    }
}

impl Verification {
    fn record(&self, run: RunRecord, resumed: bool) -> VerificationRecord {
        let Verification { parameters, drawn, segments_to_read, .. } = self.clone();
        VerificationRecord { run, parameters, drawn, segments_to_read, resumed }
    }
}
