//! The current stage of a migration and the next command: the content of `status`.

use jiff::Timestamp;

use super::asked::{Asked, later};
use super::{BackTo, Expand, Fact, Goal, Kind, Next, State, Target, Way, World};
use crate::cutover::{Flag, ReadFrom, WriteTo};

/// The stage of a migration's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// The migration has not begun.
    Preflight,
    /// Expand is writing new values.
    Expand,
    /// Expand is complete. For a plan with a cutover, the gate is closed.
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

impl Stage {
    /// The stage's name in `status`.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Preflight => "preflight",
            Stage::Expand => "expand",
            Stage::Verify => "verify",
            Stage::Cutover => "cutover",
            Stage::Soak => "soak",
            Stage::Contract => "contract",
            Stage::Contracted => "contracted",
            Stage::Rollback => "rollback",
            Stage::RolledBack => "rolled back",
        }
    }
}

/// The current stage of a migration, and the next command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The current stage.
    pub stage: Stage,
    /// The next command. It takes one step forward or finishes open work. `None` if everything is done.
    pub next: Option<Next>,
    /// The end of the soak. Until then, the next command is refused. `None` outside the soak.
    pub not_before: Option<Timestamp>,
}

/// Determines the current stage of a migration. The result is only as recent as the last read of the flag.
pub fn standing(state: &State, world: &World<'_>, now: Timestamp) -> Standing {
    let goal = Goal::Run { again: false };
    let (stage, next) = Asked { state, world, goal, now }.standing();
    let soaking = match (stage, world.kind) {
        (Stage::Soak, Kind::RemoveOnly) => state.old_writes_stopped,
        (Stage::Soak, _) => world.flag.or(state.stated.as_ref()).and_then(|flag| flag.new_since),
        (
            Stage::Preflight
            | Stage::Expand
            | Stage::Verify
            | Stage::Cutover
            | Stage::Contract
            | Stage::Contracted
            | Stage::Rollback
            | Stage::RolledBack,
            _,
        ) => None,
    };
    let not_before = soaking.map(|since| later(since, world.limits.soak)).filter(|until| *until > now);
    Standing { stage, next, not_before }
}

impl Asked<'_> {
    fn standing(&self) -> (Stage, Option<Next>) {
        let contracting = self.current().is_some_and(|flag| flag.contracting);
        match (self.state.contract, self.state.rollback) {
            (Way::Complete, _) => (Stage::Contracted, None),
            (_, Way::Complete) => (Stage::RolledBack, None),
            // The pass has covered the whole table, but some items failed. The list of failures says which problems to
            // fix.
            (Way::Begun, _) if self.world.unfinished > 0 => (Stage::Contract, Some("failures list".into())),
            (_, Way::Begun) if self.world.unfinished > 0 => (Stage::Rollback, Some("failures list".into())),
            (Way::Begun, _) => (Stage::Contract, Some(Goal::Contract.into())),
            (_, Way::Begun) => (Stage::Rollback, Some(self.back_by(Goal::Rollback))),
            (Way::Ahead, Way::Ahead) if contracting => (Stage::Contract, Some(Goal::Contract.into())),
            (Way::Ahead, Way::Ahead) => match self.world.kind {
                Kind::RemoveOnly => self.before_removing(),
                Kind::InPlace | Kind::SetOnly => self.standing_without_cutover(),
                Kind::Flagged | Kind::Stated => self.moving(),
            },
        }
    }

    /// The flag or, for a plan without a flag, the virtual flag from the stated facts.
    fn current(&self) -> Option<&Flag> {
        if self.world.kind == Kind::Flagged { self.world.flag } else { self.state.stated.as_ref() }
    }

    fn before_removing(&self) -> (Stage, Option<Next>) {
        let missing = [
            (self.state.readers_moved, Fact::ReadersMoved.option()),
            (self.state.old_writes_stopped, Fact::OldWritesStopped.option()),
        ];
        let missing: Vec<_> =
            missing.into_iter().filter(|(said, _)| said.is_none()).map(|(_, option)| option).collect();
        let stage = match (&self.state.preflight, missing.is_empty()) {
            (None, _) => Stage::Preflight,
            (_, false) => Stage::Cutover,
            (_, true) => Stage::Soak,
        };
        (stage, Some(missing.into_iter().fold(Goal::Contract.into(), Next::with)))
    }

    fn standing_without_cutover(&self) -> (Stage, Option<Next>) {
        match (&self.state.preflight, self.state.expand) {
            (None, _) => (Stage::Preflight, Some(self.goal.into())),
            (_, Expand::Complete { .. }) => {
                let verified = self.state.full.as_ref().is_some_and(|report| report.mismatches == 0);
                (Stage::Verify, (!verified).then(|| self.ahead(None)))
            }
            (Some(_), Expand::NotBegun | Expand::Open { .. }) => (Stage::Expand, Some(self.goal.into())),
        }
    }

    fn moving(&self) -> (Stage, Option<Next>) {
        let flag = self.current();
        let dual = Goal::CutoverTo(Target::DualWrite);
        if self.state.preflight.is_none() {
            return (Stage::Preflight, Some(self.stating(dual)));
        }
        match (self.state.expand, flag) {
            // A run does not need dual writes. But without dual writes, the run misses items that writers change behind
            // its scan position.
            (Expand::NotBegun, Some(Flag { write: WriteTo::Old, .. })) => (Stage::Expand, Some(self.stating(dual))),
            (Expand::NotBegun | Expand::Open { .. }, _) | (_, None) => (Stage::Expand, Some(self.ahead(flag))),
            (_, Some(flag)) => self.moving_under(flag),
        }
    }

    fn moving_under(&self, flag: &Flag) -> (Stage, Option<Next>) {
        let back = || Some(self.back_by(Goal::Back { to: BackTo::OldReads, now: false }));
        match (flag.write, flag.read) {
            (WriteTo::New, _) => (Stage::Soak, Some(Goal::Contract.into())),
            // Here the migration is on the way back from new-only writes.
            (WriteTo::Both, _) if flag.old_stale && self.world.unfinished > 0 => {
                (Stage::Cutover, Some("failures list".into()))
            }
            (WriteTo::Both, _) if flag.old_stale => (Stage::Cutover, back()),
            (WriteTo::Both, ReadFrom::New) if flag.read_percent == 100 => match self.last_gate(flag) {
                Ok(()) => (Stage::Cutover, Some(self.stating(Goal::CutoverTo(Target::WriteNew)))),
                Err(closed) => (Stage::Cutover, Some(closed.next)),
            },
            (WriteTo::Old, _) => (Stage::Verify, Some(self.stating(Goal::CutoverTo(Target::DualWrite)))),
            (WriteTo::Both, read) => match self.gate(flag) {
                Ok(()) => (Stage::Cutover, Some(self.stating(self.readers(flag)))),
                Err(closed) if read == ReadFrom::New => (Stage::Cutover, Some(closed.next)),
                Err(closed) => (Stage::Verify, Some(closed.next)),
            },
        }
    }

    /// The command, with the facts that the operator must state if no flag proves them.
    fn stating(&self, goal: Goal) -> Next {
        let next = Next::from(goal);
        match goal {
            _ if self.world.kind != Kind::Stated => next,
            Goal::CutoverTo(Target::DualWrite) => next.with(Fact::DualWritesSince { since: self.now }.option()),
            Goal::CutoverTo(Target::ReadNew(_)) => next.with(Fact::ReadersMoved.option()),
            Goal::CutoverTo(Target::WriteNew) => next.with(Fact::OldWritesStopped.option()),
            Goal::Run { .. }
            | Goal::FailuresRetry
            | Goal::Verify { .. }
            | Goal::Back { .. }
            | Goal::Contract
            | Goal::Rollback => next,
        }
    }
}
