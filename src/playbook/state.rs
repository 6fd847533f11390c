//! The durable state of a migration, and the only function that changes it.

mod parts;
mod refusals;

pub use parts::{
    AcceptedPreflight, Discarded, ExpandStatus, IntendedChange, OpenPhase, PhaseSpan, PhaseStatus, ReportSummary,
    TableBackup,
};

use std::time::Duration;

use jiff::Timestamp;

use super::{Event, EventBody, Fact, Goal, Obstacle, Override, Phase, PlanKind, StepRefusal, VerifyScope};
use crate::cutover::{Flag, FlagChange, ReadFrom, WriteTo};

/// The durable state of a migration. Replaying the migration's events reproduces this state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct MigrationState {
    /// The last accepted preflight. Every other event requires an accepted preflight.
    pub preflight: Option<AcceptedPreflight>,
    /// The progress of the expand passes.
    pub expand: ExpandStatus,
    /// The phase that began last, if it is not complete. For an expand pass, see `expand` instead.
    pub open: Option<OpenPhase>,
    /// The last full verification; `None` if a later event invalidated it.
    pub full: Option<ReportSummary>,
    /// The last sampled verification; `None` if a later event invalidated it.
    pub sampled: Option<ReportSummary>,
    /// The reason why the last verifications do not count any more; `None` if they count, or if there were none.
    pub discarded: Option<Discarded>,
    /// Number of items that the last complete expand pass read; `None` if its reads were not strongly consistent.
    pub expanded_items: Option<u64>,
    /// Whether a further expand pass has begun after a complete one, without a clean full verification since then.
    pub expanded_again: bool,
    /// Whether the open failures have been retried since the last expand pass began.
    pub retried: bool,
    /// The time range of the last complete old-from-new pass; `None` if a later event invalidated the pass.
    pub old_from_new: Option<PhaseSpan>,
    /// Number of items that the last old-from-new pass read, if known.
    pub old_from_new_items: Option<u64>,
    /// A flag change with an unknown outcome, because no command has read the flag since the change. `None` if there is
    /// no such change.
    pub intended: Option<IntendedChange>,
    /// The flag's version when this migration last read or changed the flag.
    pub flag_seen: Option<u64>,
    /// Whether writers have ever written both attributes.
    pub dual_written: bool,
    /// The operator's `--force` reason, if readers moved while the gate was closed.
    pub forced_reads: Option<String>,
    /// The operator's `--force` reason, if writers moved to new-only writes while the gate of this step was closed.
    pub forced_writes: Option<String>,
    /// The operator's `--force` reason for beginning a rollback that cannot restore every item.
    pub forced_rollback: Option<String>,
    /// The overridden obstacles. Each obstacle is listed once, with the largest number of items that any override of it
    /// covers.
    pub overrides: Vec<Override>,
    /// Number of items that may stay unequal after a rollback or a step back, because of an override.
    pub accepted_unequal: u64,
    /// The virtual flag that follows from the operator's stated facts. `None` if the plan has a flag.
    pub stated_flag: Option<Flag>,
    /// The time at which the operator stated that nobody reads the old attribute. Only set for a plan that only
    /// removes.
    pub readers_moved: Option<Timestamp>,
    /// The time at which the operator stated that nobody writes the old attribute. Only set for a plan that only
    /// removes.
    pub old_writes_stopped: Option<Timestamp>,
    /// The latest time at which the operator stated that every reader reads the old attribute again. Only set for a
    /// plan without a flag.
    pub readers_back: Option<Timestamp>,
    /// The latest time at which the operator stated that nobody writes the new attribute. Only set for a plan without a
    /// flag.
    pub new_writes_stopped: Option<Timestamp>,
    /// The time at which the operator stated that nobody writes the derived items until the rollback ends. Only set for
    /// a plan that puts derived items. `None` if no rollback is in progress.
    pub writers_stopped: Option<Timestamp>,
    /// The backups of the table that the tool made, oldest first.
    pub backups: Vec<TableBackup>,
    /// The progress of contract.
    pub contract: PhaseStatus,
    /// The progress of the rollback.
    pub rollback: PhaseStatus,
    /// The time of the latest event.
    pub latest: Timestamp,
}

impl MigrationState {
    /// Replays an entire history, and returns the resulting state.
    pub fn replay<'a>(events: impl IntoIterator<Item = &'a Event>) -> Result<MigrationState, StepRefusal> {
        events.into_iter().try_fold(MigrationState::default(), |state, event| state.next(event))
    }

    /// Returns the state after an event. Refuses an event that cannot follow the current state.
    pub fn next(&self, event: &Event) -> Result<MigrationState, StepRefusal> {
        let mut next = self.clone();
        if self.preflight.is_none() && !matches!(event.body, EventBody::PreflightAccepted { .. }) {
            return Err(StepRefusal::new("no preflight was accepted", "check"));
        }
        match &event.body {
            EventBody::PreflightAccepted { kind, accepted } => {
                self.check_preflight(*kind)?;
                next.preflight = Some(AcceptedPreflight { at: event.at, kind: *kind, accepted: accepted.clone() });
                next.stated_flag = (*kind == PlanKind::Stated)
                    .then(|| self.stated_flag.clone().unwrap_or_else(|| Flag::new(0, Timestamp::MIN)));
            }
            EventBody::PhaseBegun { phase } => next.begin(*phase, event)?,
            EventBody::BackedUp { phase, arn } => {
                let arn = arn.clone();
                next.backups.push(TableBackup { phase: *phase, at: event.at, arn, is_used: false });
            }
            EventBody::PhaseComplete { phase, scanned } => next.complete(*phase, *scanned, event.at)?,
            EventBody::Verified { scope, repair, mismatches, plan, hash, compared } => {
                let phase = Phase::Verify { scope: *scope, repair: *repair };
                let span = next.close(phase, event.at)?;
                next.use_backups(phase);
                if *scope == VerifyScope::Full {
                    // If this verification found fewer unequal items than the operator accepted, the accepted number
                    // drops to the number found.
                    next.accepted_unequal = self.accepted_unequal.min(*mismatches);
                }
                // A sample can miss the mismatches that an earlier sample found. So only a full verification lowers the
                // number of mismatches from samples.
                let mismatches = match scope {
                    VerifyScope::Full => *mismatches,
                    VerifyScope::Sampled => self.sampled_mismatches().max(*mismatches),
                };
                let compared = *compared;
                let repair = *repair;
                let report =
                    ReportSummary { span, mismatches, compared, repair, plan: plan.clone(), hash: hash.clone() };
                // A clean verification shows that the further pass helped, so another further pass may help later.
                next.discarded = None;
                next.expanded_again &= *scope != VerifyScope::Full || mismatches > 0;
                match scope {
                    VerifyScope::Full => next.full = Some(report),
                    VerifyScope::Sampled => next.sampled = Some(report),
                }
            }
            EventBody::FlagIntended { change, version, forced } => {
                self.check_no_rollback_has_begun(*change)?;
                next.apply_flag_change(*change, forced.as_ref());
                next.flag_seen = Some(*version);
                next.intended = Some(IntendedChange { change: *change, version: *version, forced: forced.clone() });
            }
            EventBody::FlagSeen { version, ours } => {
                let Some(intended) = next.intended.take() else {
                    return Err(StepRefusal::new("no flag change was intended", "status"));
                };
                next.flag_seen = Some(if *ours { *version } else { intended.version });
            }
            EventBody::FactStated { fact, forced } => next.state_fact(*fact, forced.as_ref(), event.at)?,
            EventBody::OldIsFresh => next.change_stated_flag(FlagChange::OldIsFresh, event.at)?,
            EventBody::Overridden(given) => {
                if !self.is_overridden(given.obstacle) {
                    next.overrides.retain(|known| !given.obstacle.covers(known.obstacle));
                    next.overrides.push(given.clone());
                }
                next.accepted_unequal = self.accepted_unequal.max(given.obstacle.items_left());
            }
            EventBody::RollbackBegun { forced } => {
                if self.contract != PhaseStatus::NotBegun {
                    return Err(self.contracting());
                }
                next.rollback = PhaseStatus::Begun;
                next.forced_rollback.clone_from(forced);
                next.open = None;
                if forced.is_some() {
                    // The `--force` reason for the beginning of a rollback does not cover mismatches, so the table must
                    // be verified again.
                    next.full = None;
                }
            }
        }
        next.latest = self.latest.max(event.at);
        Ok(next)
    }

    /// Returns the kind of plan with which this migration began; `None` before its preflight.
    pub fn kind(&self) -> Option<PlanKind> {
        self.preflight.as_ref().map(|preflight| preflight.kind)
    }

    /// Returns whether the operator overrode this obstacle, for at least this many items.
    pub fn is_overridden(&self, obstacle: Obstacle) -> bool {
        self.overrides.iter().any(|known| known.obstacle.covers(obstacle))
    }

    /// Returns the number of mismatches that samples have found since the last full verification.
    fn sampled_mismatches(&self) -> u64 {
        let is_current =
            |sampled: &&ReportSummary| self.full.as_ref().is_none_or(|full| sampled.span.began >= full.span.began);
        self.sampled.as_ref().filter(is_current).map_or(0, |sampled| sampled.mismatches)
    }

    /// Begins a phase. If contract or a rollback has begun, refuses every phase that cannot follow it.
    fn begin(&mut self, phase: Phase, event: &Event) -> Result<(), StepRefusal> {
        let at = event.at;
        let only_compares = matches!(phase, Phase::Verify { repair: false, .. });
        if (self.contract == PhaseStatus::Complete && !only_compares)
            || (self.contract == PhaseStatus::Begun && phase != Phase::Contract)
        {
            return Err(self.contracting());
        }
        let on_the_way_back = matches!(phase, Phase::OldFromNew | Phase::Undo)
            || matches!(phase, Phase::Verify { scope: VerifyScope::Full, repair: false });
        if self.rollback == PhaseStatus::Complete || (self.rollback == PhaseStatus::Begun && !on_the_way_back) {
            return Err(self.rolled_back());
        }
        if matches!(phase, Phase::Expand | Phase::OldFromNew) {
            self.discard_reports(Discarded::PassBegan);
        }
        if phase == Phase::OldFromNew {
            self.old_from_new = None;
        }
        match phase {
            Phase::Expand => {
                self.expanded_again |= matches!(self.expand, ExpandStatus::Complete { .. });
                self.expand = ExpandStatus::Open { began: at };
                self.open = None;
                self.retried = false;
            }
            Phase::Undo if self.rollback == PhaseStatus::NotBegun => {
                return Err(StepRefusal::new("the rollback has not begun", Goal::Rollback));
            }
            Phase::Retry | Phase::Verify { .. } | Phase::OldFromNew | Phase::Undo | Phase::Contract => {
                self.open = Some(OpenPhase { phase, began: at, flag_mark: event.flag })
            }
        }
        if phase == Phase::Contract {
            self.contract = PhaseStatus::Begun;
            if let Some(flag) = &mut self.stated_flag {
                *flag = next_flag(flag, FlagChange::Contract, at)?;
            }
        }
        Ok(())
    }

    fn complete(&mut self, phase: Phase, scanned: Option<u64>, at: Timestamp) -> Result<(), StepRefusal> {
        self.use_backups(phase);
        if phase == Phase::Expand {
            let ExpandStatus::Open { .. } = self.expand else {
                return Err(StepRefusal::new("no expand pass is open", Goal::Run { again: false }));
            };
            self.expand = ExpandStatus::Complete { ended: at };
            self.expanded_items = scanned;
            return Ok(());
        }
        let span = self.close(phase, at)?;
        match phase {
            Phase::Retry => self.retried = true,
            Phase::OldFromNew => {
                self.old_from_new = Some(span);
                self.old_from_new_items = scanned;
            }
            Phase::Undo => {
                self.rollback = PhaseStatus::Complete;
                self.writers_stopped = None;
            }
            Phase::Contract => self.contract = PhaseStatus::Complete,
            Phase::Expand | Phase::Verify { .. } => {
                return Err(StepRefusal::new("a verification ends with its report", "verify --all"));
            }
        }
        Ok(())
    }

    /// Records that a phase is complete. From then on, its backups do not count for the next phase.
    fn use_backups(&mut self, phase: Phase) {
        self.backups.iter_mut().filter(|backup| backup.phase == phase).for_each(|backup| backup.is_used = true);
    }

    /// Ends the open phase.
    fn close(&mut self, phase: Phase, ended: Timestamp) -> Result<PhaseSpan, StepRefusal> {
        match self.open.take() {
            Some(OpenPhase { phase: open, began, flag_mark }) if open == phase => {
                Ok(PhaseSpan { began, ended, flag_mark })
            }
            _ => Err(StepRefusal::new("a phase that has not begun cannot end", "status")),
        }
    }

    fn check_preflight(&self, kind: PlanKind) -> Result<(), StepRefusal> {
        if self.contract != PhaseStatus::NotBegun {
            return Err(self.contracting());
        }
        if self.rollback != PhaseStatus::NotBegun {
            return Err(self.rolled_back());
        }
        match self.kind() {
            Some(before) if before != kind => Err(StepRefusal::new(
                "the plan was of another kind when the migration began (with a flag, without one, in place, or only \
                 removing): restore the original plan, or roll back and begin with a new state file",
                Goal::Rollback,
            )),
            _ => Ok(()),
        }
    }

    fn check_no_rollback_has_begun(&self, change: FlagChange) -> Result<(), StepRefusal> {
        let forward = match change {
            FlagChange::DualWrite | FlagChange::ReadNew(_) | FlagChange::WriteNew | FlagChange::Contract => true,
            FlagChange::DualWriteAgain | FlagChange::OldIsFresh | FlagChange::ReadOld { .. } | FlagChange::WriteOld => {
                false
            }
        };
        if forward && self.rollback != PhaseStatus::NotBegun { Err(self.rolled_back()) } else { Ok(()) }
    }

    fn state_fact(&mut self, fact: Fact, forced: Option<&String>, at: Timestamp) -> Result<(), StepRefusal> {
        if fact == Fact::WritersStopped {
            self.writers_stopped = Some(at);
            return Ok(());
        }
        if self.kind() == Some(PlanKind::RemoveOnly) {
            match fact {
                Fact::ReadersMoved => self.readers_moved = Some(at),
                Fact::OldWritesStopped => self.old_writes_stopped = Some(at),
                Fact::DualWritesSince { .. } | Fact::ReadersBack | Fact::NewWritesStopped | Fact::WritersStopped => {
                    return Err(StepRefusal::new(
                        "this fact is not possible for a plan that only removes",
                        Goal::Contract,
                    ));
                }
            }
            return Ok(());
        }
        let Some(flag) = &self.stated_flag else {
            return Err(StepRefusal::new("the plan's flag proves this fact, so it must not be stated", "status"));
        };
        match fact {
            Fact::DualWritesSince { .. } => self.new_writes_stopped = None,
            Fact::ReadersMoved => self.readers_back = None,
            Fact::OldWritesStopped | Fact::WritersStopped => {}
            Fact::ReadersBack => self.readers_back = Some(at),
            Fact::NewWritesStopped => self.new_writes_stopped = Some(at),
        }
        let (change, when) = match fact {
            Fact::DualWritesSince { since } if since > at => {
                return Err(StepRefusal::new("`--dual-writes-since` is in the future", "status"));
            }
            Fact::DualWritesSince { since } if flag.write == WriteTo::New => (FlagChange::DualWriteAgain, since),
            Fact::DualWritesSince { since } => (FlagChange::DualWrite, since),
            Fact::ReadersMoved => (FlagChange::ReadNew(100), at),
            Fact::OldWritesStopped => (FlagChange::WriteNew, at),
            // The operator repeats a fact that is already true.
            Fact::ReadersBack if flag.read == ReadFrom::Old => return Ok(()),
            Fact::NewWritesStopped if flag.write == WriteTo::Old => return Ok(()),
            // If old values may be stale, stating this fact also accepts stale reads.
            Fact::ReadersBack => (FlagChange::ReadOld { accept_stale: flag.old_stale }, at),
            Fact::NewWritesStopped => (FlagChange::WriteOld, at),
            Fact::WritersStopped => return Ok(()),
        };
        self.check_no_rollback_has_begun(change)?;
        self.apply_flag_change(change, forced);
        self.change_stated_flag(change, when)
    }

    /// Updates the state for a flag change. Discards the results that the change invalidates, because an earlier pass
    /// has not seen the writes that applications make from now on.
    fn apply_flag_change(&mut self, change: FlagChange, forced: Option<&String>) {
        match change {
            FlagChange::DualWrite => {
                let again = std::mem::replace(&mut self.dual_written, true);
                // Without a flag, dual writes may have begun long before the operator stated this fact. So the gate may
                // still accept earlier reports.
                if self.stated_flag.is_none() {
                    self.discard_reports(Discarded::DualWritesBegan { again });
                    self.open = self.open.filter(|open| !matches!(open.phase, Phase::Verify { .. }));
                }
            }
            FlagChange::ReadNew(_) => self.forced_reads = forced.cloned(),
            FlagChange::WriteNew => {
                self.forced_writes = forced.cloned();
                self.old_from_new = None;
                self.accepted_unequal = 0;
                self.open = self.open.filter(|open| open.phase != Phase::OldFromNew);
            }
            FlagChange::Contract
            | FlagChange::DualWriteAgain
            | FlagChange::OldIsFresh
            | FlagChange::ReadOld { .. }
            | FlagChange::WriteOld => {}
        }
    }

    /// Discards the last verifications, because they did not see what happens from now on.
    fn discard_reports(&mut self, why: Discarded) {
        if self.full.take().is_some() | self.sampled.take().is_some() {
            self.discarded = Some(why);
        }
    }

    fn change_stated_flag(&mut self, change: FlagChange, at: Timestamp) -> Result<(), StepRefusal> {
        let Some(flag) = &mut self.stated_flag else {
            return Err(StepRefusal::new("facts can be stated only for a plan without a flag", "status"));
        };
        *flag = next_flag(flag, change, at)?;
        Ok(())
    }
}

fn next_flag(flag: &Flag, change: FlagChange, at: Timestamp) -> Result<Flag, StepRefusal> {
    let next = flag.next(change, at, Duration::ZERO).map_err(|error| StepRefusal::new(error.to_string(), "status"))?;
    // Without a flag, no caches have to expire. So what the operator states takes effect at the time that it names.
    let before = flag.settled_at();
    if at < before {
        return Err(StepRefusal::new(
            format!("this fact has an earlier time than the previously confirmed fact ({before})"),
            "status",
        ));
    }
    Ok(next)
}
