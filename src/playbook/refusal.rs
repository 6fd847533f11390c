//! Refuses commands that are out of order, and suggests the command to run instead.

use std::fmt;

use jiff::Timestamp;

use crate::command_line::{ANOTHER_STATE, CommandLine};

use super::{BackTarget, CutoverTarget, Fact, Goal, PlanKind, VerifyScope};

/// The option that states the time since which every writer has written both attributes.
const DUAL_WRITES_SINCE: &str = "--dual-writes-since TIME";

/// The reason why a command is refused, and the command to run instead. A refused command has changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}; next: {next}")]
pub struct StepRefusal {
    /// The reason for the refusal.
    pub why: String,
    /// The command to run next.
    pub next: NextCommand,
    /// The facts that the operator must state first.
    pub missing: Vec<Fact>,
    /// The time before which the next command is refused too. `None` if the next command may run now.
    pub not_before: Option<Timestamp>,
}

/// The command to run next: the words after `backfill`, without the plan's path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NextCommand(String);

impl StepRefusal {
    /// Creates a refusal with this reason and this next command.
    pub(super) fn new(why: impl Into<String>, next: impl Into<NextCommand>) -> StepRefusal {
        StepRefusal { why: why.into(), next: next.into(), missing: Vec::new(), not_before: None }
    }

    /// Returns the refusal for a step whose backup could not be made. `why` describes the error and its remedy.
    pub fn without_backup(why: impl Into<String>, goal: Goal) -> StepRefusal {
        StepRefusal::new(why, goal)
    }

    /// Returns the refusal for a command that had nothing to do in its preview, but has something to do now.
    pub fn state_changed(goal: Goal) -> StepRefusal {
        StepRefusal::new(
            "the state has changed since the command began. The command had nothing to do then, so it did not run the \
             hook `before_step`. Nothing was done; run the same command again",
            goal,
        )
    }
}

impl NextCommand {
    /// Returns the full command line for a migration.
    pub fn render(&self, commands: &CommandLine) -> String {
        commands.render(&self.0)
    }

    /// Returns the words after `backfill`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the first command of a migration with dual writes. Without a flag, this command also needs the time
    /// since which every writer has written both attributes.
    pub fn first_dual_write(kind: PlanKind) -> NextCommand {
        let next = NextCommand::from(Goal::CutoverTo(CutoverTarget::DualWrite));
        if kind == PlanKind::Stated { next.with(DUAL_WRITES_SINCE) } else { next }
    }

    /// Returns the command that begins a migration of this kind. If readers and writers must move, dual writes come
    /// before the first run.
    pub(super) fn first(kind: PlanKind) -> NextCommand {
        match kind {
            PlanKind::Flagged | PlanKind::Stated => NextCommand::first_dual_write(kind),
            PlanKind::InPlace | PlanKind::SetOnly => Goal::Run { again: false }.into(),
            PlanKind::RemoveOnly => NextCommand::from(Goal::Contract).with("--readers-moved --old-writes-stopped"),
        }
    }

    /// Adds the option for a new state file. [`CommandLine::render`] fills in its path.
    pub(super) fn with_another_state(self) -> NextCommand {
        self.with(ANOTHER_STATE)
    }

    /// Adds the findings that the operator accepted for this goal, if this command has the same goal.
    #[must_use]
    pub fn with_accepted<'n>(mut self, goal: Goal, names: impl IntoIterator<Item = &'n str>) -> NextCommand {
        if self.has_goal(goal) {
            for option in names.into_iter().map(|name| format!(" --accept {name}")) {
                if !self.0.contains(&option) {
                    self.0.push_str(&option);
                }
            }
        }
        self
    }

    /// Returns whether this command has this goal and the option `--accept`.
    fn has_goal(&self, goal: Goal) -> bool {
        let words = match goal {
            // A further pass needs the same acceptances.
            Goal::Run { .. } => Goal::Run { again: false },
            // A verification without a repair does not have the option `--accept`.
            Goal::Verify { repair: false, .. } => return false,
            Goal::Verify { repair: true, .. }
            | Goal::FailuresRetry
            | Goal::CutoverTo(_)
            | Goal::Back { .. }
            | Goal::Contract
            | Goal::Rollback => goal,
        };
        let words = NextCommand::from(words).0;
        self.0.strip_prefix(&words).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
    }

    /// Adds the options with which the operator states these facts and, if `forced`, a reason. The options contain the
    /// placeholders `TIME` and `REASON`, so the operator must enter these values again.
    #[must_use]
    pub fn with_stated(self, facts: &[Fact], forced: bool) -> NextCommand {
        let stated = facts.iter().fold(self, |next, fact| next.with(fact.option()));
        if forced { stated.with("--force REASON") } else { stated }
    }

    /// Adds an option.
    pub(super) fn with(self, option: &str) -> NextCommand {
        NextCommand(format!("{} {option}", self.0))
    }
}

impl fmt::Display for NextCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`backfill {}`", self.0)
    }
}

impl From<&str> for NextCommand {
    fn from(words: &str) -> NextCommand {
        NextCommand(words.to_owned())
    }
}

impl From<Goal> for NextCommand {
    fn from(goal: Goal) -> NextCommand {
        NextCommand(match goal {
            Goal::Run { again: false } => "run".to_owned(),
            Goal::Run { again: true } => "run --again".to_owned(),
            Goal::FailuresRetry => "failures retry".to_owned(),
            Goal::Verify { scope, repair } => {
                let scope = if scope == VerifyScope::Full { "--all" } else { "--sample" };
                format!("verify {scope}{}", if repair { " --repair" } else { "" })
            }
            Goal::CutoverTo(CutoverTarget::DualWrite) => "cutover --to dual-write".to_owned(),
            Goal::CutoverTo(CutoverTarget::ReadNew(100)) => "cutover --to read-new".to_owned(),
            Goal::CutoverTo(CutoverTarget::ReadNew(percent)) => format!("cutover --to read-new --percent {percent}"),
            Goal::CutoverTo(CutoverTarget::WriteNew) => "cutover --to write-new".to_owned(),
            Goal::Back { to: BackTarget::OldReads | BackTarget::OldWrites, now } => {
                format!("cutover --back{}", if now { " --now" } else { "" })
            }
            Goal::Contract => "contract".to_owned(),
            Goal::Rollback => "rollback".to_owned(),
        })
    }
}

impl Fact {
    /// Returns the option that states this fact.
    pub fn option(self) -> &'static str {
        match self {
            Fact::DualWritesSince { .. } => DUAL_WRITES_SINCE,
            Fact::ReadersMoved => "--readers-moved",
            Fact::OldWritesStopped => "--old-writes-stopped",
            Fact::ReadersBack => "--readers-back",
            Fact::NewWritesStopped => "--new-writes-stopped",
            Fact::WritersStopped => "--writers-stopped",
        }
    }

    /// Returns the position of this fact in the order in which facts become true.
    pub(super) fn rank(self) -> u8 {
        match self {
            Fact::DualWritesSince { .. } => 0,
            Fact::ReadersMoved => 1,
            Fact::OldWritesStopped => 2,
            Fact::ReadersBack => 3,
            Fact::NewWritesStopped => 4,
            Fact::WritersStopped => 5,
        }
    }

    /// Returns the claim that the operator makes with this fact.
    pub(super) fn claim(self) -> &'static str {
        match self {
            Fact::DualWritesSince { .. } => "every writer writes both attributes",
            Fact::ReadersMoved => "every reader reads the new attribute",
            Fact::OldWritesStopped => "nobody writes the old attribute any more",
            Fact::ReadersBack => "every reader reads the old attribute again",
            Fact::NewWritesStopped => "nobody writes the new attribute any more",
            Fact::WritersStopped => "nobody writes the derived items until the rollback ends",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_command_with_the_same_goal_repeats_what_was_accepted() {
        let repair = |scope| Goal::Verify { scope, repair: true };
        let to = Goal::CutoverTo;
        for (goal, next, is_same) in [
            (Goal::Run { again: true }, "run --again --accept no-way-back", true),
            (Goal::Run { again: false }, "run --again", true),
            (Goal::FailuresRetry, "failures retry", true),
            (Goal::FailuresRetry, "failures list", false),
            (Goal::Contract, "contract --force REASON", true),
            (Goal::Rollback, "rollback", true),
            (Goal::Rollback, "run", false),
            (to(CutoverTarget::WriteNew), "cutover --to write-new --force REASON", true),
            (to(CutoverTarget::WriteNew), "cutover --back", false),
            (to(CutoverTarget::WriteNew), "cutover --to read-new", false),
            (repair(VerifyScope::Full), "verify --all --repair", true),
            (repair(VerifyScope::Full), "verify --all", false),
            (Goal::Verify { scope: VerifyScope::Full, repair: false }, "verify --all --repair", false),
        ] {
            let with = NextCommand::from(next).with_accepted(goal, ["no-pitr"]);
            let expected = if is_same { format!("{next} --accept no-pitr") } else { next.to_owned() };
            assert_eq!(with.as_str(), expected, "{goal:?}");
            assert_eq!(with.clone().with_accepted(goal, ["no-pitr"]), with, "once");
        }
    }

    #[test]
    fn the_same_command_repeats_what_was_stated() {
        let next = NextCommand::from(Goal::Contract).with_stated(&[Fact::ReadersMoved, Fact::OldWritesStopped], true);
        assert_eq!(next.as_str(), "contract --readers-moved --old-writes-stopped --force REASON");
        assert_eq!(NextCommand::from(Goal::Contract).with_stated(&[], false).as_str(), "contract");
    }
}
