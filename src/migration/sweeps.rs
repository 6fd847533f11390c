//! The phases that go over the table, each to its end, which is then on record.

use std::sync::Arc;

use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::watch::{FlagWatch, gone, moved};
use super::{Driver, DriverError, Figures, Observer};
use crate::change::Changes;
use crate::clock::Clock;
use crate::cutover::{Flag, WriteTo};
use crate::dynamodb::{TableDescription, Tables};
use crate::engine::{Ended, Job, LOOK_EVERY, StopReason};
use crate::passes::Retried;
use crate::passes::verify::{Stage, Truth, Truths, Verified, begin, verify};
use crate::plan::{Limits, Plan};
use crate::playbook::{Kind, Obstacle, Override, Phase, Scope, Way, What};
use crate::preflight::{Accept, PreflightError, run_changes};
use crate::ratelimit::Budgets;
use crate::state::{
    self, Asked, Begin, KeptFact, NewRun, RunId, RunRecord, RunStatus, SegmentTotals, StoreError, phase,
};
use crate::telemetry::display::{Line, Watched};
use crate::telemetry::{KEPT_EVERY, KeptPace, Pace};

/// How the run of a phase begins.
#[derive(Debug, Clone, PartialEq)]
pub enum Begins {
    /// It is new.
    New,
    /// It goes on from its checkpoints.
    Resumes(Box<RunRecord>),
    /// It is complete already, and only that is not recorded.
    Ended(Box<RunRecord>),
}

/// How far a phase got.
#[derive(Debug)]
pub struct PassEnd {
    /// Which.
    pub phase: Phase,
    /// What it came to; none where it had nothing to do.
    pub result: Option<PassResult>,
    /// Why it stopped before its end, if it did: the same command resumes it.
    pub stopped: Option<StopReason>,
    /// Some items failed, and the phase is not over without them: the same command makes another pass.
    pub unfinished: bool,
}

/// What a phase came to.
#[derive(Debug)]
pub enum PassResult {
    /// Of one that writes.
    Worked(Box<Ended>),
    /// Of a verification.
    Verified(Box<Verified>),
    /// Of the failures that were tried again.
    Retried(Retried),
}

impl Driver {
    /// How this phase's run begins, by what is recorded.
    pub async fn begins(&self, phase: Phase) -> Result<Begins, DriverError> {
        let behind = self.begun.iter().find(|(begun, _)| *begun == phase).map_or(RunId::NONE, |(_, behind)| *behind);
        let current = match run_name(phase) {
            Some(name) => self.store.current_run(name).await?,
            None => None,
        };
        Ok(match current.filter(|run| run.id > behind) {
            Some(run) if run.status == RunStatus::Complete => Begins::Ended(Box::new(run)),
            Some(run) if run.can_be_resumed() => Begins::Resumes(Box::new(run)),
            _ => Begins::New,
        })
    }

    /// The job of a phase.
    pub fn job(&self, phase: Phase) -> Result<Job, DriverError> {
        let lifted = self.goes_back.then(|| Plan { limits: Limits::none(), ..self.plan.clone() });
        let plan = lifted.as_ref().unwrap_or(&self.plan);
        let mut job = job_of(phase, plan, &self.tables, &self.description, &self.budgets)?.on(self.machine.clone());
        job.stop = self.stop.clone();
        job.goes_back = self.goes_back;
        // Between two phases of one process may lie a week: the first look is due by then.
        job.watch_table(self.described, LOOK_EVERY);
        job.validities.extend(self.lease.clone());
        Ok(job)
    }

    /// Goes over the table for this phase: a run that has begun is resumed. Its end is recorded when this returns without
    /// a reason to stop. `restart` begins an expansion anew.
    pub async fn sweep(&mut self, phase: Phase, restart: bool) -> Result<PassEnd, DriverError> {
        let moments = Arc::clone(&self.machine.moments);
        let asked = moments();
        let flag = self.flag().await?;
        let mut job = self.job(phase)?;
        let watched = self.flags.as_ref().zip(flag.as_ref()).map(|(flags, flag)| {
            let (flags, plan, began, stop) = (Arc::clone(flags), self.plan.clone(), flag.clone(), self.stop.clone());
            FlagWatch { flags, plan, phase, began, stop }.begin(asked, moments)
        });
        let (validity, _watch) = watched.unzip();
        job.validities.extend(validity);
        if self.edits_encrypted(phase, restart).await? {
            job.edit_encrypted();
        }
        let dual = flag.as_ref().is_some_and(|flag| flag.write == WriteTo::Both);
        job.repair_remove = self.input.repair_remove;
        job.dual_writes = dual || (phase == Phase::Undo && self.state.dual_written);
        match phase {
            Phase::Verify { scope, repair } => Box::pin(self.verify(&job, scope, repair, flag)).await,
            Phase::Retry => Box::pin(self.retry(&job, flag)).await,
            Phase::Expand | Phase::OldFromNew | Phase::Undo | Phase::Contract => {
                Box::pin(self.work(&job, phase, restart, flag)).await
            }
        }
    }

    /// Whether somebody has accepted by name that items which are signed on the client are changed: with this command, or
    /// with the newest run, for which a retry or a repair records it as well. A `run` that does not resume that run is
    /// accepted anew.
    async fn edits_encrypted(&self, phase: Phase, restart: bool) -> Result<bool, DriverError> {
        let run = self.store.current_run(phase::EXPAND).await?;
        let of_before = phase != Phase::Expand || (!restart && matches!(self.begins(phase).await?, Begins::Resumes(_)));
        let of_run = match run.filter(|_| of_before) {
            Some(run) => self.store.accepted(run.id).await?,
            None => Vec::new(),
        };
        let name = Accept::ClientEncryption.name();
        Ok(self.input.accepted.iter().chain(&of_run).any(|accepted| accepted == name))
    }

    /// Puts the end of a phase on record that this process went over the table for.
    async fn end(&mut self, phase: Phase, flag: Option<Flag>, what: What) -> Result<Option<StopReason>, DriverError> {
        let stopped = self.put_end(phase, flag, what).await?;
        if stopped.is_none() {
            self.swept.push(phase);
        }
        Ok(stopped)
    }

    /// Puts the end of a phase on record, unless the flag was moved under its last pages: why, then.
    async fn put_end(
        &mut self,
        phase: Phase,
        flag: Option<Flag>,
        what: What,
    ) -> Result<Option<StopReason>, DriverError> {
        if let (Some(_), Some(began)) = (&self.flags, flag) {
            let why = match self.flag().await? {
                Some(now) => moved(phase, &began, &now),
                None => Some(gone(&began)),
            };
            if let Some(why) = why {
                return Ok(Some(StopReason::FlagMoved(why)));
            }
        }
        self.record(what).await?;
        Ok(None)
    }

    async fn work(
        &mut self,
        job: &Job,
        phase: Phase,
        restart: bool,
        flag: Option<Flag>,
    ) -> Result<PassEnd, DriverError> {
        let begins = self.begins(phase).await?;
        let over = match &begins {
            Begins::Ended(run) => {
                !restart && (!self.left_failures(phase, run.id).await? || self.leaves_them(phase, run.id).await?)
            }
            Begins::New | Begins::Resumes(_) => job.changes.is_empty(),
        };
        if over {
            let scanned = match &begins {
                Begins::Ended(run) => self.read_by(job, phase, run.id).await?,
                Begins::New | Begins::Resumes(_) => None,
            };
            let what = What::PhaseComplete { phase, scanned };
            // One that another process went over the table for is not this command's own.
            let stopped = match begins {
                Begins::Ended(_) => self.put_end(phase, flag, what).await?,
                Begins::New | Begins::Resumes(_) => self.end(phase, flag, what).await?,
            };
            return Ok(PassEnd { phase, result: None, stopped, unfinished: false });
        }
        let name = run_name(phase).unwrap_or(phase::EXPAND);
        let how = match (restart, begins, self.store.current_run(name).await?) {
            (true, ..) => Begin::Restart,
            (_, Begins::Resumes(_), _) | (.., None) => Begin::ResumeOrNew,
            (.., Some(run)) if run.status == RunStatus::Complete => Begin::Again,
            // One of before: its way was left, and comes no more.
            (.., Some(_)) => Begin::Restart,
        };
        let new = NewRun {
            phase: name.into(),
            total_segments: job.segments().segments,
            tool_version: env!("CARGO_PKG_VERSION").into(),
            table_items_estimate: Some(self.description.item_count),
        };
        // What the pass before has not met would count as there before the migration, although that pass may have written it.
        if (phase, how) == (Phase::Expand, Begin::Restart) && !self.complete_baseline(job).await? {
            let stopped = self.stop.reason().cloned();
            return Ok(PassEnd { phase, result: None, stopped, unfinished: false });
        }
        let session = self.store.begin(how, new).await?;
        if phase == Phase::Expand {
            self.store.accept(session.run.id, self.input.accepted.clone()).await?;
        }
        let line = self.line(job, session.run.total_segments, Some(&self.store.totals(session.run.id).await?));
        let ended = job.work(&self.store, &session).await;
        line.clear().await;
        let ended = ended?;
        let mut stopped = ended.stopped.clone();
        let unfinished = self.left_failures(phase, ended.run.id).await?;
        if stopped.is_none() && !unfinished {
            let scanned = self.read_by(job, phase, ended.run.id).await?;
            stopped = self.end(phase, flag, What::PhaseComplete { phase, scanned }).await?;
        }
        Ok(PassEnd { phase, result: Some(PassResult::Worked(Box::new(ended))), stopped, unfinished })
    }

    /// Items that a complete run read, if it read strongly consistently.
    async fn read_by(&self, job: &Job, phase: Phase, run: RunId) -> Result<Option<u64>, DriverError> {
        let again = phase == Phase::Expand && !self.store.is_first_pass(run).await?;
        let strongly = again || job.reads_consistently();
        Ok(if strongly { Some(self.store.totals(run).await?.counts.scanned) } else { None })
    }

    /// Whether a run left failures that its phase cannot be over with. Those of expand are `failures retry`'s.
    async fn left_failures(&self, phase: Phase, run: RunId) -> Result<bool, DriverError> {
        Ok(phase != Phase::Expand && self.store.open_work(Some(run)).await?.failures > 0)
    }

    /// Whether the operator leaves what failed on the way back as it is: the reason is recorded, with how many those are
    /// by the pass before this command. What is found behind it is more.
    async fn leaves_them(&mut self, phase: Phase, run: RunId) -> Result<bool, DriverError> {
        let goes_back = matches!(phase, Phase::OldFromNew | Phase::Undo);
        let Some(reason) = self.input.force.clone().filter(|_| goes_back) else { return Ok(false) };
        let failed = self.store.open_work(Some(run)).await?.failures;
        let obstacle = Obstacle::ItemsFailed { items: failed };
        self.record(What::Overridden(Override { obstacle, reason })).await?;
        Ok(true)
    }

    async fn complete_baseline(&self, of: &Job) -> Result<bool, DriverError> {
        let mut job = self.job(Phase::Expand)?;
        job.dual_writes = of.dual_writes || self.state.dual_written;
        let Some(pass) = self.store.current_run(phase::EXPAND).await? else { return Ok(true) };
        let line = self.line(&job, pass.total_segments, Some(&self.store.totals(pass.id).await?));
        let met = job.complete_baseline(&self.store).await;
        line.clear().await;
        Ok(met?)
    }

    async fn retry(&mut self, job: &Job, flag: Option<Flag>) -> Result<PassEnd, DriverError> {
        let phase = Phase::Retry;
        let Some(run) = self.store.current_run(phase::EXPAND).await? else {
            return Err(
                StoreError::Refused("there is no run yet, so there are no failures. Nothing was done".into()).into()
            );
        };
        self.store.accept(run.id, self.input.accepted.clone()).await?;
        let due = self.store.open_work_of(&run.phase).await?.failures;
        let line = self.show(Watched { item_estimate: due, ..job.watched(0, None) });
        let retried = job.retry_failures(&self.store, &run).await;
        if let Some(line) = line {
            line.clear().await;
        }
        let retried = retried?;
        let mut stopped = self.stop.reason().cloned();
        if stopped.is_none() {
            stopped = self.end(phase, flag, What::PhaseComplete { phase, scanned: None }).await?;
        }
        Ok(PassEnd { phase, result: Some(PassResult::Retried(retried)), stopped, unfinished: false })
    }

    async fn verify(
        &mut self,
        job: &Job,
        scope: Scope,
        repair: bool,
        flag: Option<Flag>,
    ) -> Result<PassEnd, DriverError> {
        let phase = Phase::Verify { scope, repair };
        let (stage, truths) = self.held_against(flag.as_ref());
        let asked = Asked {
            stage,
            truths,
            repair,
            flag_version: flag.as_ref().filter(|_| self.kind() == Kind::Flagged).map(|flag| flag.version),
            wanted: match scope {
                Scope::Full => None,
                Scope::Sampled => Some(self.input.sample.unwrap_or(DEFAULT_SAMPLE)),
            },
        };
        if repair && let Some(run) = self.store.current_run(phase::EXPAND).await? {
            self.store.accept(run.id, self.input.accepted.clone()).await?;
        }
        let anew = !matches!(self.begins(phase).await?, Begins::Resumes(_));
        let record = begin(job, &self.store, asked, anew, self.machine.random.number()).await?;
        let line = self.line(job, record.run.total_segments, None);
        let before = Arc::new(self.store.clone());
        let verified = verify(job, &self.store, &record, before).await;
        line.clear().await;
        let verified = verified?;
        let mut stopped = verified.stopped.clone();
        if let (None, Some((report, hash))) = (&stopped, &verified.report) {
            let plan = report.fingerprint.clone();
            let mismatches = match scope {
                Scope::Full => report.mismatches,
                Scope::Sampled => report.found(),
            };
            let (hash, compared) = (hash.clone(), Some(report.compared));
            let what = What::Verified { scope, repair, mismatches, plan, hash, compared };
            stopped = self.end(phase, flag, what).await?;
        }
        Ok(PassEnd { phase, result: Some(PassResult::Verified(Box::new(verified))), stopped, unfinished: false })
    }

    /// What a verification that begins now holds items against.
    pub async fn verifies_by(&self) -> Result<(Stage, Truths), DriverError> {
        Ok(self.held_against(self.flag().await?.as_ref()))
    }

    fn held_against(&self, flag: Option<&Flag>) -> (Stage, Truths) {
        let stage = if self.state.contract == Way::Ahead { Stage::Expanded } else { Stage::Contracted };
        (stage, flag.map_or(Truths::All(Truth::Old), Truths::of))
    }

    fn line(&self, job: &Job, total_segments: u32, before: Option<&SegmentTotals>) -> Shown {
        let watched = || job.watched(total_segments, before);
        let kept = keep_pace(self.store.clone(), watched(), self.machine.wall(), Arc::clone(&self.observer));
        Shown { _kept: kept, line: self.show(watched()) }
    }

    /// Shows the progress line, if the observer wants it.
    fn show(&self, watched: Watched) -> Option<Line> {
        self.observer.shows_progress_line().then(|| Line::show(watched))
    }
}

/// A pass, as it is shown while it lasts: in a line, and in the state file.
struct Shown {
    line: Option<Line>,
    _kept: AbortOnDropHandle<()>,
}

impl Shown {
    async fn clear(self) {
        if let Some(line) = self.line {
            line.clear().await;
        }
    }
}

/// Keeps the pace of a pass in the state file for `status`, and tells the observer, until it is dropped.
fn keep_pace(store: state::State, watched: Watched, wall: Clock, observer: Arc<dyn Observer>) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(async move {
        let (start, mut tick) = (Instant::now(), tokio::time::interval(KEPT_EVERY));
        let mut pace = Pace::new(watched.items_before, watched.item_estimate);
        loop {
            tick.tick().await;
            let now = watched.progress.snapshot();
            pace.note(start.elapsed(), now.counts.scanned, now.counts.spend().write);
            observer.progress(&Figures {
                items: watched.items_before + now.counts.scanned,
                item_estimate: watched.item_estimate,
                segments_done: watched.segments_before + now.segments_done,
                total_segments: watched.total_segments,
                throttled: now.throttled,
            });
            let kept = KeptPace::of(&pace, wall());
            // A store that fails stops the pass by its commits; that `status` does not know the pace is no reason.
            let _ = store.keep(KeptFact::Pace, kept.to_json().to_string()).await;
        }
    }))
}

/// The job of a phase on these tables.
pub fn job_of(
    phase: Phase,
    plan: &Plan,
    tables: &Tables,
    description: &TableDescription,
    budgets: &Budgets,
) -> Result<Job, PreflightError> {
    let (key, indexes) = (description.key.clone(), description.indexes.iter().map(|index| index.schema.clone()));
    let (changes, strategy, indexes) = (&plan.changes, plan.strategy, indexes.collect());
    let changes = match phase {
        Phase::Contract => Arc::new(Changes::for_contract(changes, strategy, key, indexes).sparing_encrypted(true)),
        // The way back takes back what this migration wrote, whatever it wrote it to.
        Phase::OldFromNew => Arc::new(Changes::for_old_from_new(changes, strategy, key, indexes)),
        Phase::Undo => Arc::new(Changes::for_undo(changes, strategy, key, indexes)),
        Phase::Expand | Phase::Retry | Phase::Verify { .. } => run_changes(plan, description)?,
    };
    let mut plan = plan.clone();
    if matches!(phase, Phase::OldFromNew | Phase::Undo) {
        // Nothing but the rate holds up the way back.
        plan.limits = Limits::none();
    }
    Ok(Job::new(plan, changes, tables.clone(), description.clone(), budgets))
}

/// Clusters of a sample, where nobody says how many: none of them differing bounds those that do to 0.075 %.
const DEFAULT_SAMPLE: u32 = 4_000;

/// The name of a phase's runs in the state file.
fn run_name(phase: Phase) -> Option<&'static str> {
    match phase {
        Phase::Expand => Some(phase::EXPAND),
        Phase::Contract => Some(phase::CONTRACT),
        Phase::OldFromNew => Some(phase::OLD_EQUAL_NEW),
        Phase::Undo => Some(phase::ROLLBACK),
        Phase::Verify { .. } => Some(phase::VERIFY),
        Phase::Retry => None,
    }
}
