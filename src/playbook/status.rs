//! Determines the current stage of a migration and its next command. `status` shows both.

use jiff::Timestamp;

use super::request::{StepRequest, add_saturating, round_up};
use super::{
    BackTarget, CutoverTarget, ExpandStatus, Fact, Goal, MigrationState, NextCommand, PhaseStatus, PlanKind,
    StepContext,
};
use crate::cutover::{Flag, ReadFrom, WriteTo};

/// The stage of a migration's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MigrationStage {
    /// The migration has not begun.
    Preflight,
    /// The preflight was accepted, but expand is not complete.
    Expand,
    /// Expand is complete. If the plan has a cutover, the gate is closed.
    Verify,
    /// The gate is open or was overridden. Readers and writers are moving between the attributes.
    Cutover,
    /// Only new values are written.
    Soak,
    /// The old attribute is being removed.
    Contract,
    /// The old attribute is gone. The migration is over.
    Contracted,
    /// A rollback is running.
    Rollback,
    /// The rollback is complete. The migration is over.
    RolledBack,
}

impl MigrationStage {
    /// Returns the stage's name in `status`.
    pub fn name(self) -> &'static str {
        match self {
            MigrationStage::Preflight => "preflight",
            MigrationStage::Expand => "expand",
            MigrationStage::Verify => "verify",
            MigrationStage::Cutover => "cutover",
            MigrationStage::Soak => "soak",
            MigrationStage::Contract => "contract",
            MigrationStage::Contracted => "contracted",
            MigrationStage::Rollback => "rollback",
            MigrationStage::RolledBack => "rolled back",
        }
    }
}

/// The current stage of a migration, and the next command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationStatus {
    /// The current stage.
    pub stage: MigrationStage,
    /// The next command. This command takes one step forward or finishes open work. `None` if everything is done.
    pub next: Option<NextCommand>,
    /// The end of the soak. Until then, the next command is refused. `None` if the migration is not in the soak.
    pub not_before: Option<Timestamp>,
}

/// Determines the current stage of a migration. If the flag has changed since it was last read, the result is outdated.
pub fn status(state: &MigrationState, context: &StepContext<'_>, now: Timestamp) -> MigrationStatus {
    let goal = Goal::Run { again: false };
    let (stage, next) = StepRequest { state, context, goal, now }.status();
    let soaking = match (stage, context.kind) {
        (MigrationStage::Soak, PlanKind::RemoveOnly) => state.old_writes_stopped,
        (MigrationStage::Soak, _) => context.flag.or(state.stated_flag.as_ref()).and_then(|flag| flag.new_since),
        (
            MigrationStage::Preflight
            | MigrationStage::Expand
            | MigrationStage::Verify
            | MigrationStage::Cutover
            | MigrationStage::Contract
            | MigrationStage::Contracted
            | MigrationStage::Rollback
            | MigrationStage::RolledBack,
            _,
        ) => None,
    };
    let not_before =
        soaking.map(|since| round_up(add_saturating(since, context.limits.soak))).filter(|until| *until > now);
    MigrationStatus { stage, next, not_before }
}

impl StepRequest<'_> {
    fn status(&self) -> (MigrationStage, Option<NextCommand>) {
        let contracting = self.current_flag().is_some_and(|flag| flag.contracting);
        match (self.state.contract, self.state.rollback) {
            (PhaseStatus::Complete, _) => (MigrationStage::Contracted, None),
            (_, PhaseStatus::Complete) => (MigrationStage::RolledBack, None),
            // The pass has covered the whole table, but some items failed. The list of failures shows which problems to
            // fix.
            (PhaseStatus::Begun, _) if self.context.unfinished > 0 => {
                (MigrationStage::Contract, Some("failures list".into()))
            }
            (_, PhaseStatus::Begun) if self.context.unfinished > 0 => {
                (MigrationStage::Rollback, Some("failures list".into()))
            }
            (PhaseStatus::Begun, _) => (MigrationStage::Contract, Some(Goal::Contract.into())),
            (_, PhaseStatus::Begun) => (MigrationStage::Rollback, Some(self.next_back(Goal::Rollback))),
            (PhaseStatus::NotBegun, PhaseStatus::NotBegun) if contracting => {
                (MigrationStage::Contract, Some(Goal::Contract.into()))
            }
            (PhaseStatus::NotBegun, PhaseStatus::NotBegun) => match self.context.kind {
                PlanKind::RemoveOnly => self.remove_only_stage(),
                PlanKind::InPlace | PlanKind::SetOnly => self.stage_without_cutover(),
                PlanKind::Flagged | PlanKind::Stated => self.cutover_stage(),
            },
        }
    }

    /// Returns the flag. For a plan without a flag, returns the virtual flag that follows from the stated facts.
    pub(super) fn current_flag(&self) -> Option<&Flag> {
        if self.context.kind == PlanKind::Flagged { self.context.flag } else { self.state.stated_flag.as_ref() }
    }

    fn remove_only_stage(&self) -> (MigrationStage, Option<NextCommand>) {
        let missing = [
            (self.state.readers_moved, Fact::ReadersMoved.option()),
            (self.state.old_writes_stopped, Fact::OldWritesStopped.option()),
        ];
        let missing: Vec<_> =
            missing.into_iter().filter(|(stated_at, _)| stated_at.is_none()).map(|(_, option)| option).collect();
        let stage = match (&self.state.preflight, missing.is_empty()) {
            (None, _) => MigrationStage::Preflight,
            (_, false) => MigrationStage::Cutover,
            (_, true) => MigrationStage::Soak,
        };
        (stage, Some(missing.into_iter().fold(Goal::Contract.into(), NextCommand::with)))
    }

    fn stage_without_cutover(&self) -> (MigrationStage, Option<NextCommand>) {
        match (&self.state.preflight, self.state.expand) {
            (None, _) => (MigrationStage::Preflight, Some(self.goal.into())),
            (_, ExpandStatus::Complete { .. }) => {
                let verified = self.state.full.as_ref().is_some_and(|report| report.mismatches == 0);
                (MigrationStage::Verify, (!verified).then(|| self.next_forward(None)))
            }
            (Some(_), ExpandStatus::NotBegun | ExpandStatus::Open { .. }) => {
                (MigrationStage::Expand, Some(self.goal.into()))
            }
        }
    }

    fn cutover_stage(&self) -> (MigrationStage, Option<NextCommand>) {
        let flag = self.current_flag();
        let dual = Goal::CutoverTo(CutoverTarget::DualWrite);
        if self.state.preflight.is_none() {
            return (MigrationStage::Preflight, Some(self.with_fact_option(dual)));
        }
        match (self.state.expand, flag) {
            // A run is possible without dual writes. But it then misses items that writers change behind its scan
            // position.
            (ExpandStatus::NotBegun, Some(Flag { write: WriteTo::Old, .. })) => {
                (MigrationStage::Expand, Some(self.with_fact_option(dual)))
            }
            (ExpandStatus::NotBegun | ExpandStatus::Open { .. }, _) | (_, None) => {
                (MigrationStage::Expand, Some(self.next_forward(flag)))
            }
            (_, Some(flag)) => self.cutover_stage_with_flag(flag),
        }
    }

    fn cutover_stage_with_flag(&self, flag: &Flag) -> (MigrationStage, Option<NextCommand>) {
        let back = || Some(self.next_back(Goal::Back { to: BackTarget::OldReads, now: false }));
        match (flag.write, flag.read) {
            (WriteTo::New, _) => (MigrationStage::Soak, Some(Goal::Contract.into())),
            // At this point, the migration is returning from new-only writes.
            (WriteTo::Both, _) if flag.old_stale && self.context.unfinished > 0 => {
                (MigrationStage::Cutover, Some("failures list".into()))
            }
            (WriteTo::Both, _) if flag.old_stale => (MigrationStage::Cutover, back()),
            (WriteTo::Both, ReadFrom::New) if flag.read_percent == 100 => match self.write_new_gate(flag) {
                Ok(()) => {
                    (MigrationStage::Cutover, Some(self.with_fact_option(Goal::CutoverTo(CutoverTarget::WriteNew))))
                }
                Err(closed) => (MigrationStage::Cutover, Some(closed.next)),
            },
            (WriteTo::Old, _) => {
                (MigrationStage::Verify, Some(self.with_fact_option(Goal::CutoverTo(CutoverTarget::DualWrite))))
            }
            (WriteTo::Both, read) => match self.gate(flag) {
                Ok(()) => (MigrationStage::Cutover, Some(self.with_fact_option(self.next_reader_step(flag)))),
                Err(closed) if read == ReadFrom::New => (MigrationStage::Cutover, Some(closed.next)),
                Err(closed) => (MigrationStage::Verify, Some(closed.next)),
            },
        }
    }

    /// Returns the command for this goal. For a plan without a flag, adds the option for the fact that the operator
    /// must state.
    pub(super) fn with_fact_option(&self, goal: Goal) -> NextCommand {
        let next = NextCommand::from(goal);
        match goal {
            _ if self.context.kind != PlanKind::Stated => next,
            Goal::CutoverTo(CutoverTarget::DualWrite) => next.with(Fact::DualWritesSince { since: self.now }.option()),
            Goal::CutoverTo(CutoverTarget::ReadNew(_)) => next.with(Fact::ReadersMoved.option()),
            Goal::CutoverTo(CutoverTarget::WriteNew) => next.with(Fact::OldWritesStopped.option()),
            Goal::Run { .. }
            | Goal::FailuresRetry
            | Goal::Verify { .. }
            | Goal::Back { .. }
            | Goal::Contract
            | Goal::Rollback => next,
        }
    }
}
