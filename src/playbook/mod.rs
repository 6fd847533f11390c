//! The playbook: the whole life of a migration as one durable, pure state machine.
//!
//! [`MigrationState`] is everything the tool knows about a migration. Replaying the [`Event`]s in the state file gives
//! this state. Only [`MigrationState::next`] changes the state, both while a command runs and on replay. [`step`]
//! decides what a command does next, from the state, the observable facts ([`StepContext`]) and the time. Before that,
//! [`rehearse()`] simulates the next steps. So a command that is refused before its first lasting work records nothing.
//! A command is a loop over [`step`]. No progress exists only in memory: after a kill, any command continues from the
//! durable state.
//!
//! | [`Step`] | the tool | durable before the next step |
//! | --- | --- | --- |
//! | `Preflight` | inspects the table and asks the operator to accept findings | `preflight_accepted` |
//! | `Record` | appends the event | the event |
//! | `Confirm` | asks; `--yes` answers | nothing: the command asks again after a kill |
//! | `Change` | changes the flag if its version is still the one that was read | the flag |
//! | `RecreateFlag` | recreates the flag that somebody removed | the flag |
//! | `Wait` | waits and reads the flag again | the flag as seen, and the time by which all applications obey it |
//! | `RunPass` | runs a pass over the table, or resumes one | the phase's checkpoints, then `phase_complete` or `verified` |
//! | `Done` | ends | |
//!
//! Without a flag, the operator states the facts that a flag would have proven. These statements change a virtual flag
//! that exists only in the state ([`MigrationState::stated_flag`]). The virtual flag has a cache time of zero, so the
//! rules for a real flag also apply to it.
//!
//! # What the model taught
//!
//! `tests/playbook/model.rs` is an exhaustive model of the flag, the phases, one item, two application instances with
//! stale caches, and kills. The model corrected two rules:
//!
//! - **The old-from-new pass skips no item.** Consider an item that had its new attribute before the migration and has
//!   no old attribute. Verification used to count this item as a match, so repair and rollback skipped the item. But an
//!   application may have written the item during new-only writes. Even after a rollback in the correct order, readers
//!   with `read = old` then found no value. An unchanged new value does not prove that nobody wrote the item, because
//!   an application may have written the same value again. So while `old_stale` is set, verification treats the item as
//!   a mismatch, and the pass derives its old value. If nobody wrote the item, the pass still adds an old attribute to
//!   it, and a rollback after new-only writes does not remove this attribute. While old values are fresh, the pass
//!   skips the item.
//!
//! - **The old-from-new pass removes nothing.** The pass used to journal and remove the old value of an item without a
//!   new value. But an application that deletes the value always deletes both attributes, under every setting of
//!   `write`. So if an item has only an old value after new-only writes, the item never got its new value: the gate was
//!   forced, or somebody wrote only the old attribute. In this case the old value is the only copy. The pass does not
//!   change this old value. It treats the item as a match and reports the item. This rule never makes readers see an
//!   older value than before.
//!
//! The model also confirmed these rules, which are not obvious:
//!
//! - Only a full verification clears `old_stale`. This verification must *begin* after the old-from-new pass, and the
//!   pass must begin after all applications obey `write = both`. If a phase is resumed, the time at which it first
//!   began does not change. If a phase began too early to prove anything, the phase starts again from the beginning.
//! - A further expand pass invalidates every earlier verification report, and so does the old-from-new pass.
//! - While both attributes are written and old values are fresh, repair derives a missing new value from the old value,
//!   even at `read = new`. Readers fall back to the old value, so they see the same value before and after the repair.
//!   (This situation only occurs after the operator overrode a closed gate.)
//! - If no expand pass has read an item, rollback removes the item's new value only if it equals the old value. Nobody
//!   has recorded whether the new value existed before the migration.
//! - If the operator forced readers past a closed gate, `write = new` checks the gate again, because readers then stop
//!   falling back to old values.
//! - `--force` does not override an incomplete expand pass. For `write = new`, it does not override a failed item
//!   either, because readers would find no value on that item.
//! - A command ends if somebody else changed the flag while the command was running. Otherwise the command could undo a
//!   `--back`.
//!
//! # Clocks
//!
//! Where possible, a rule uses the order of the events in the history instead of clock times. The event that begins
//! dual writes discards earlier reports. The event that begins new-only writes discards earlier old-from-new passes.
//! Neither rule depends on a clock. No line of the history has an earlier time than the line before it, even if the
//! clock was set back in between ([`MigrationState::latest`]). While the clock is behind the time of the last line, the
//! age of a report is unknown and the gate stays closed. A command has a list of the passes that it has completed
//! itself, so it recognizes them without a clock.
//!
//! **No wait, and no rule about reads, compares the clocks of two hosts.** Nobody knows how far two clocks differ. In
//! the model, the clocks differ by more than the cache time. The following rules need no such comparison:
//!
//! - [`StepContext::left`] is the time for which applications may still obey an earlier state of the flag. A monotonic
//!   clock measures this time, from the moment when this host first saw the flag's current state
//!   ([`crate::cutover::CacheExpiry`]).
//! - A phase began under the current flag if the flag's state at the beginning of the phase ([`Mark`]) equals the
//!   current state. Times are compared only if the history was recorded before marks existed.
//! - Readers go back to old values without a wait if applications write both attributes under every flag state that
//!   they may still obey.
//!
//! The soak, `max_age`, the work window and the deadline do use the wall clock. People choose them as calendar times,
//! and they must survive a restart or a change of the host. These times never block the way back, and never decide
//! which attribute readers use.

mod contract;
mod cutover;
mod event;
mod missing_flag;
mod obstacle;
mod one_way;
mod refusal;
mod rehearse;
mod request;
mod rollback;
mod state;
mod status;
mod step;
#[cfg(test)]
mod tests;

pub use cutover::{back_needs_state, may_expand, step_back};
pub use event::{Event, EventBody, Mark};
pub use obstacle::{Obstacle, Override};
pub use one_way::one_way;
pub use refusal::{NextCommand, StepRefusal};
pub use rehearse::{Rehearsal, rehearse};
pub use state::{
    AcceptedPreflight, ExpandStatus, IntendedChange, MigrationState, OpenPhase, PhaseSpan, PhaseStatus, ReportSummary,
};
pub use status::{MigrationStage, MigrationStatus, status};
pub use step::step;

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::change::{Change, Strategy};
use crate::cutover::{CHANGE_TIME_MARGIN, Flag, FlagChange, ReadFrom, WriteTo, time_ahead};

/// The kind of a plan. The kind determines which steps of the playbook the migration takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlanKind {
    /// The migration expands and contracts with a cutover flag, which may be behind hooks.
    Flagged,
    /// The migration expands and contracts without a flag. The operator states the facts that a flag would have proven.
    Stated,
    /// One write per item makes all changes. The migration ends at verify, and a rollback remains possible.
    InPlace,
    /// The plan only sets constants. There is no old attribute from which readers and writers must move, so the
    /// migration ends at verify.
    SetOnly,
    /// The plan only removes attributes, and contract removes them. The migration has no expand phase, no verify phase,
    /// and no new attribute to read.
    RemoveOnly,
}

impl PlanKind {
    /// The kind of a plan. `flag` says whether the plan names a flag. For plans that work in place, only set, or only
    /// remove, `flag` makes no difference.
    pub fn new(strategy: Strategy, changes: &[Change], flag: bool) -> PlanKind {
        match strategy {
            Strategy::InPlace => PlanKind::InPlace,
            Strategy::ExpandContract if changes.iter().all(|c| matches!(c, Change::Remove { .. })) => {
                PlanKind::RemoveOnly
            }
            Strategy::ExpandContract if changes.iter().all(|c| matches!(c, Change::Set { .. })) => PlanKind::SetOnly,
            Strategy::ExpandContract => PlanKind::with_cutover(flag),
        }
    }

    /// The kind of this plan in a migration that began with the kind `begun`. Earlier versions of the tool used a
    /// cutover for set-only plans, and a migration that began with a cutover keeps it.
    pub fn in_migration(self, begun: Option<PlanKind>, flag: bool) -> PlanKind {
        let began_with_cutover = matches!(begun, Some(PlanKind::Flagged | PlanKind::Stated));
        if self == PlanKind::SetOnly && began_with_cutover { PlanKind::with_cutover(flag) } else { self }
    }

    fn with_cutover(flag: bool) -> PlanKind {
        if flag { PlanKind::Flagged } else { PlanKind::Stated }
    }
}

/// A kind of pass over the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub enum Phase {
    /// Writes new values: a pass of `run`.
    Expand,
    /// Processes the open failures again.
    Retry,
    /// Compares the table with the plan by shadow reads.
    Verify {
        /// The part of the table that is compared.
        scope: VerifyScope,
        /// Whether mismatches are repaired: the verification derives the wrong value again from the value that is the
        /// truth.
        repair: bool,
    },
    /// Makes old values equal to new values again, on the way back.
    OldFromNew,
    /// Removes what expand and dual writes added, and restores what was overwritten or removed.
    Undo,
    /// Removes old attributes.
    Contract,
}

/// The part of the table that a verification compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerifyScope {
    /// Every item, with strongly consistent reads.
    Full,
    /// Segments drawn at random.
    Sampled,
}

/// A fact that the operator states if no flag proves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "fact", rename_all = "snake_case")]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub enum Fact {
    /// `--dual-writes-since`: every writer has written both attributes since this time.
    DualWritesSince {
        /// The time.
        since: Timestamp,
    },
    /// `--readers-moved`: every reader reads the new attribute.
    ReadersMoved,
    /// `--old-writes-stopped`: nobody writes the old attribute any more.
    OldWritesStopped,
    /// `--readers-back`: every reader reads the old attribute again.
    ReadersBack,
    /// `--new-writes-stopped`: nobody writes the new attribute any more.
    NewWritesStopped,
}

/// The goal of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Goal {
    /// `run`, or `run --again`.
    Run {
        /// Whether to run a further pass over a table that is already expanded.
        again: bool,
    },
    /// `failures retry`.
    FailuresRetry,
    /// `verify`, with `--all` or `--sample`, and optionally `--repair`.
    Verify {
        /// The part of the table to compare.
        scope: VerifyScope,
        /// Whether to repair mismatches.
        repair: bool,
    },
    /// `cutover --to …`.
    CutoverTo(CutoverTarget),
    /// `cutover --back`, maybe with `--now`.
    Back {
        /// The stage to which the flag goes back. This target is fixed when the command begins.
        to: BackTarget,
        /// Whether the operator accepts stale reads.
        now: bool,
    },
    /// `contract`.
    Contract,
    /// `rollback`.
    Rollback,
}

/// The target of a cutover.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CutoverTarget {
    /// `write = both`.
    DualWrite,
    /// `read = new`, for this percentage of the keys.
    ReadNew(u8),
    /// `write = new`.
    WriteNew,
}

/// The target of `--back`: one stage back from the flag's state when the command began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BackTarget {
    /// Readers read the old attribute; writers write both.
    OldReads,
    /// Writers write only the old attribute.
    OldWrites,
}

impl BackTarget {
    /// The target of `--back` under this flag. After `--back` has moved readers to old values, `--back` has this same
    /// target until all applications obey the change. Otherwise, rerunning a `--back` that was killed during its wait
    /// would stop dual writes. The clock is only used to guess the operator's intent. If this host's clock differs too
    /// much from the clock of the host that changed the flag, the target of `--back` is the stage after that.
    pub fn new(flag: &Flag, now: Timestamp, left: Duration) -> BackTarget {
        let moved_reads = flag.write == WriteTo::Both && flag.dual_since != Some(flag.changed_at);
        let recently = now < flag.settled_at() && time_ahead(flag, now).is_none_or(|ahead| ahead <= CHANGE_TIME_MARGIN);
        let just_back = moved_reads && recently && !left.is_zero();
        match flag.read {
            ReadFrom::Old if !flag.old_stale && !just_back => BackTarget::OldWrites,
            ReadFrom::Old | ReadFrom::New => BackTarget::OldReads,
        }
    }
}

/// The facts that a command can observe now, and the input from its command line.
#[derive(Debug, Clone)]
pub struct StepContext<'a> {
    /// The kind of the current plan, which may have changed since the migration began.
    pub kind: PlanKind,
    /// The plan's fingerprint.
    pub plan: &'a str,
    /// The flag, which was read just now; `None` if the plan names no flag or the flag does not exist.
    pub flag: Option<&'a Flag>,
    /// The time for which applications may still obey an earlier state of the flag ([`crate::cutover::CacheExpiry`]).
    pub left: Duration,
    /// Number of open failures.
    pub failures: u64,
    /// Number of open failures of a contract pass, or of a pass on the way back, that has covered the whole table. Such
    /// a pass cannot end until somebody resolves its failures.
    pub unfinished: u64,
    /// Number of open diverged items.
    pub diverged: u64,
    /// The limits in the plan's `[cutover]`.
    pub limits: Limits,
    /// Number of items on which a rollback would leave the new attribute, because nobody knows whether this attribute
    /// existed before the migration. `None` if this is known for every item.
    pub unrestorable_targets: Option<u64>,
    /// The reason why a rollback may fail after new-only writes ([`one_way()`]).
    pub one_way: Option<&'a str>,
    /// Facts stated on this command line.
    pub facts: &'a [Fact],
    /// The reason given with `--force`.
    pub force: Option<&'a str>,
    /// `--accept empty-table`: the operator confirms that the table should be empty.
    pub accept_empty: bool,
    /// Whether the operator has confirmed the question of [`Step::Confirm`].
    pub confirmed: bool,
    /// The passes that this command itself has completed. This list does not include passes that were complete before
    /// the command began.
    pub completed: &'a [Phase],
    /// The version of the flag when this command first read it.
    pub first: Option<u64>,
    /// The last state of the flag that this migration saw, if the flag is missing now.
    pub missing_flag: Option<&'a Flag>,
}

/// The limits that the plan's `[cutover]` sets for the gate and for contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The maximum age at which the gate accepts a verification report, measured from the start of the verification.
    pub max_age: Duration,
    /// The highest number of mismatches that a report may have.
    pub max_mismatch: u64,
    /// Whether the report of a sampled verification is enough to open the gate.
    pub accept_sample: bool,
    /// The time for which applications must write only new values before contract.
    pub soak: Duration,
}

/// The next action of the tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Inspect the table, ask the operator to accept the findings, and record the accepted findings.
    Preflight,
    /// Append this event to the history, with the time and the actor.
    Record(EventBody),
    /// Ask for confirmation.
    Confirm,
    /// Change the flag.
    Change(FlagChange),
    /// Recreate the flag that somebody removed.
    RecreateFlag(Box<Flag>),
    /// Wait for this duration, and read the flag again.
    Wait(Duration),
    /// Run a pass over the whole table, then record [`EventBody::PhaseComplete`] or [`EventBody::Verified`].
    RunPass(Phase),
    /// The command has reached its goal.
    Done,
}
