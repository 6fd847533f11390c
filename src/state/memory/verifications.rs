//! Verifications: what each was asked, what it counted, which items it found, and its report.

use async_trait::async_trait;

use super::super::{
    MAX_MISMATCHES, Mismatch, NewRun, NewVerification, RunId, RunRecord, RunStatus, SegmentEvent, StoreError,
    StoredReport, Verdict, VerdictCounts, VerificationRecord, Verifications, VerifiedPages, phase,
};
use super::{MemoryState, Tables, Verification, refused};
use crate::change::Outcome;

#[async_trait]
impl Verifications for MemoryState {
    async fn begin_verification(&self, new: NewVerification, anew: bool) -> Result<VerificationRecord, StoreError> {
        self.call(|tables, now| tables.begin_verification(&new, anew, now)).await
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
        run: RunId,
        reason: Option<String>,
        abandoned_pages: u64,
    ) -> Result<RunRecord, StoreError> {
        self.call(|tables, now| tables.end_session(run, RunStatus::Stopped, reason, abandoned_pages, now)).await
    }

    async fn finish_verification(
        &self,
        run: RunId,
        ended_at: String,
        json: String,
        hash: String,
    ) -> Result<RunRecord, StoreError> {
        self.call(|tables, _| tables.finish_verification(run, ended_at, json, hash)).await
    }

    async fn reports(&self, limit: u32) -> Result<Vec<StoredReport>, StoreError> {
        self.call(|tables, _| {
            let report = |(id, stored): (&RunId, &Verification)| {
                let (json, hash) = stored.report.clone()?;
                let run = tables.run(*id).ok()?;
                Some(StoredReport {
                    run: *id,
                    asked: stored.asked.clone(),
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

impl Tables {
    fn begin_verification(
        &mut self,
        new: &NewVerification,
        anew: bool,
        now: &str,
    ) -> Result<VerificationRecord, StoreError> {
        let current = self.current_run(phase::VERIFY).cloned();
        if current.as_ref().is_some_and(|run| run.open_session) {
            return Err(refused("a session of this verification is already open in this process; nothing was changed"));
        }
        if let Some(run) = current.as_ref().filter(|run| run.is_unfinished() && !anew)
            && let Some(stored) = self.verifications.get(&run.id).filter(|stored| stored.asked == new.asked).cloned()
        {
            return Ok(stored.record(self.resume(run.id)?.run, true));
        }
        let (asked, drawn) = (&new.asked, &new.drawn);
        if asked.wanted.is_some() != drawn.is_some() || drawn.as_ref().is_some_and(|drawn| drawn.seed >> 63 != 0) {
            return Err(refused(
                "a verification was to begin with a sample that cannot be stored; nothing was changed",
            ));
        }
        let pass = current.as_ref().map_or(1, |run| run.pass + 1);
        let run = NewRun { phase: phase::VERIFY.to_owned(), ..new.run.clone() };
        let run = self.insert_run(&run, pass, now)?.run;
        if let Some(before) = current.filter(RunRecord::is_unfinished) {
            let before = self.run_mut(before.id)?;
            before.status = before.status.next(RunStatus::Superseded)?;
            before.stop_reason = Some("superseded by another verification".to_owned());
        }
        self.forget_old_ones();
        let stored = Verification { asked: asked.clone(), drawn: drawn.clone(), due: new.due, report: None };
        self.verifications.insert(run.id, stored.clone());
        Ok(stored.record(run, false))
    }

    /// What was counted and kept item by item stays of the newest complete verification only.
    fn forget_old_ones(&mut self) {
        let complete = self.verifications.iter().rev().find(|(_, stored)| stored.report.is_some());
        let Some(newest) = complete.map(|(run, _)| *run) else { return };
        self.verdicts.retain(|(run, _), _| *run >= newest);
        self.mismatches.retain(|run, _| *run >= newest);
    }

    fn commit_verified(&mut self, pages: &VerifiedPages, now: &str) -> Result<(), StoreError> {
        let run = self.open_run(pages.run)?;
        let SegmentEvent::PagesDone { counts, .. } = &pages.event;
        let VerifiedPages { segment, verdicts, mismatches, .. } = pages;
        if run.phase != phase::VERIFY || *segment >= run.total_segments {
            return Err(refused(format!(
                "segment {segment} was to be committed in run {}, which has none such to verify; nothing of it was stored",
                pages.run
            )));
        }
        let repaired = mismatches.iter().filter(|mismatch| mismatch.repaired).count() as u64;
        if verdicts.compared() != counts.scanned
            || verdicts.mismatching() != mismatches.len() as u64
            || verdicts.repaired != repaired
            || verdicts.skipped != counts.of(Outcome::Skipped)
        {
            return Err(refused(format!(
                "pages of {} items came with {} verdicts and {} records of {} mismatches; nothing of them was stored",
                counts.scanned,
                verdicts.compared(),
                mismatches.len(),
                verdicts.mismatching()
            )));
        }
        self.check_pre_images(&pages.refused)?;
        self.move_segment(pages.run, *segment, &pages.event, now)?;
        self.verdicts.entry((pages.run, *segment)).or_default().add(verdicts);
        let kept = self.mismatches.entry(pages.run).or_default();
        for mismatch in mismatches {
            let of_verdict = kept.iter().filter(|known| known.verdict == mismatch.verdict).count();
            if of_verdict < MAX_MISMATCHES as usize {
                kept.push(mismatch.clone());
            }
        }
        self.mark_refused(&pages.refused);
        Ok(())
    }

    fn finish_verification(
        &mut self,
        id: RunId,
        ended_at: String,
        json: String,
        hash: String,
    ) -> Result<RunRecord, StoreError> {
        let status = self.open_run(id)?.status.next(RunStatus::Complete)?;
        let done = self.totals(id)?.done;
        let Some(stored) = self.verifications.get_mut(&id) else {
            return Err(StoreError::Corrupt(format!("verification {id} does not say what it was asked")));
        };
        if done != stored.due {
            return Err(refused(format!(
                "a verification cannot be complete with {done} of {} segments done; its session stays open",
                stored.due
            )));
        }
        stored.report = Some((json, hash));
        let run = self.run_mut(id)?;
        (run.status, run.open_session) = (status, false);
        (run.ended_at, run.stop_reason) = (Some(ended_at), None);
        Ok(run.clone())
    }
}

impl Verification {
    fn record(&self, run: RunRecord, resumed: bool) -> VerificationRecord {
        let Verification { asked, drawn, due, .. } = self.clone();
        VerificationRecord { run, asked, drawn, due, resumed }
    }
}
