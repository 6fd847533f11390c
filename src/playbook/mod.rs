//! The playbook, which models the whole life of a migration as one durable, pure state machine.
//!
//! [`MigrationState`] is everything the tool knows about a migration. Replaying the [`Event`]s in the state file
//! reproduces this state. Only [`MigrationState::next`] changes it, both while a command runs and during a replay.
//! [`step`] decides what a command does next. It uses only the state, the observable facts ([`StepContext`]) and the
//! time. Before a command does any lasting work, [`rehearse()`] simulates its steps. If the simulation refuses the
//! command, the command has recorded nothing. A command is a loop over [`step`]. All progress is durable, so any
//! command can continue after a kill.
//!
//! | [`Step`] | the tool | durable before the next step |
//! | --- | --- | --- |
//! | `Preflight` | inspects the table, and asks the operator to accept the findings | `preflight_accepted` |
//! | `Record` | appends the event | the event |
//! | `Confirm` | asks the operator; `--yes` answers | nothing: the command asks again after a kill |
//! | `Backup` | makes a backup of the table and waits until it is complete | `backed_up` |
//! | `Change` | changes the flag if its version is still the one that was read | the flag |
//! | `RecreateFlag` | recreates a flag that somebody removed | the flag |
//! | `Wait` | waits and reads the flag again | the flag that was read, and the time by which all applications obey it |
//! | `RunPass` | runs a pass over the table, or resumes one | the phase's checkpoints, then `phase_complete` or `verified` |
//! | `Done` | ends | |
//!
//! If the plan has no flag, the operator states the facts that a flag could have proven. These statements change a
//! virtual flag that exists only in the state ([`MigrationState::stated_flag`]). The virtual flag has a cache time of
//! zero. The rules for a real flag also apply to it.
//!
//! # What the model taught
//!
//! `tests/playbook/model.rs` is an exhaustive model. It covers the flag, the phases, one item, two application
//! instances with stale caches, and kills. The model showed that two rules were wrong. The corrected rules are:
//!
//! - **While old values are stale, the old-from-new pass does not skip any item.** Consider an item without an old
//!   attribute that had its new attribute before the migration. In earlier versions, verification counted this item as
//!   a match, so repair and rollback skipped the item. But an application may have written the item during new-only
//!   writes. Then readers with `read = old` found no value, even after a rollback in the correct order. An unchanged
//!   new value does not prove that the item was not written, because an application may have written the same value
//!   again. So while `old_stale` is set, verification treats the item as a mismatch, and the pass derives the item's
//!   old value. The pass adds this old attribute even if no application wrote the item, and a rollback after new-only
//!   writes does not remove it. While old values are fresh, the pass skips the item.
//!
//! - **The old-from-new pass never removes an old value.** In earlier versions, if an item had no new value, the pass
//!   journaled and removed its old value. But an application that deletes the value always deletes both attributes,
//!   whatever the setting of `write` is. So if an item has only an old value after new-only writes, the item never got
//!   a new value. Either the operator overrode a closed gate, or somebody wrote only the old attribute. The old value
//!   is then the only copy. So the pass leaves the old value unchanged, counts the item as a match, and reports the
//!   item. This rule never makes a reader see an older value than before.
//!
//! The model also confirmed these rules, which are not obvious:
//!
//! - Only a full verification clears `old_stale`. This verification must *begin* after the old-from-new pass, and the
//!   pass must begin after all applications obey `write = both`. A resumed phase keeps the time at which it first
//!   began. If that time is too early, the pass would prove nothing, so the phase starts over.
//! - A further expand pass invalidates every earlier verification report. So does the old-from-new pass.
//! - While both attributes are written and old values are fresh, repair derives a missing new value from the old value,
//!   even at `read = new`. Readers fall back to the old value, so they see the same value before and after the repair.
//!   (At `read = new`, a new value can only be missing if the operator overrode a closed gate.)
//! - If no expand pass has read an item, rollback removes the item's new value only if that value equals the old one.
//!   The reason is that no record shows whether the new value existed before the migration.
//! - If the operator moved readers with `--force` while the gate was closed, the step to `write = new` checks the gate
//!   again. After this step, readers no longer fall back to old values.
//! - `--force` never overrides an incomplete expand pass. For `write = new`, `--force` does not override a failed item
//!   either, because readers would find no value in that item.
//! - If somebody else changes the flag while a command is running, the command ends. Otherwise the command could undo a
//!   `--back`.
//!
//! # Clocks
//!
//! Where possible, rules depend on the order of the events in the history instead of on clock times. The event that
//! begins dual writes discards earlier reports. The event that begins new-only writes discards earlier old-from-new
//! passes. Neither rule depends on a clock. The times in the history never decrease, even if the clock is set back
//! between two events ([`MigrationState::latest`]). While the clock is behind the time of the last event, the age of a
//! report is unknown, so the gate stays closed. Each command keeps a list of the passes that it has completed itself,
//! so it recognizes these passes without a clock.
//!
//! **Waits and rules about reads never compare the clocks of two hosts,** because the difference between two clocks is
//! unknown. In the model, the clocks differ by more than the cache time. The tool uses these rules instead of clock
//! times:
//!
//! - [`StepContext::left`] is the time for which applications may still obey an earlier state of the flag. A monotonic
//!   clock measures this time, from the moment when this host first saw the flag's current state
//!   ([`crate::cutover::CacheExpiry`]).
//! - A phase began under the current flag if the flag state recorded at the beginning of the phase ([`Mark`]) equals
//!   the current flag state. For histories that were recorded before marks existed, the tool compares times instead.
//! - If applications write both attributes under every flag state that they may still obey, readers can return to old
//!   values without a wait.
//!
//! The soak, `max_age`, the work window and the deadline do use the wall clock. Operators choose these limits in
//! calendar time, and the limits must stay valid after a restart and on another host. These limits never prevent a
//! rollback, and never determine which attribute readers use.

mod backup;
mod contract;
mod cutover;
mod event;
mod journal;
mod missing_flag;
mod next;
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

pub use backup::BackupPhases;
pub use cutover::{back_needs_state, may_expand, step_back};
pub use event::{Event, EventBody, Mark};
pub use journal::{check_purge, items_left_by_rollback, no_way_back};
pub use obstacle::{Obstacle, Override};
pub use one_way::one_way;
pub use refusal::{NextCommand, StepRefusal};
pub use rehearse::{Rehearsal, rehearse};
pub use state::{
    AcceptedPreflight, Discarded, ExpandStatus, IntendedChange, MigrationState, OpenPhase, PhaseSpan, PhaseStatus,
    ReportSummary, TableBackup,
};
pub use status::{MigrationStage, MigrationStatus, status};
pub use step::step;

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::change::{Change, Strategy};
use crate::cutover::{CHANGE_TIME_MARGIN, Flag, FlagChange, ReadFrom, WriteTo, time_ahead};

/// The kind of a plan, which determines the steps of the migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlanKind {
    /// The migration expands and contracts with a cutover flag. Hooks may provide the flag.
    Flagged,
    /// The migration expands and contracts without a flag. The operator states the facts that a flag could have proven.
    Stated,
    /// A run makes all changes of an item, in one write or, with `split = true`, in several. The migration ends at
    /// verify, and a rollback stays possible. A plan that moves, removes or replaces members of elements is always of
    /// this kind, whatever its strategy.
    InPlace,
    /// The plan only writes values, and does not replace attributes. For example, it sets, computes, converts or
    /// appends values, or puts derived items. There is no old attribute that readers and writers must stop using, so
    /// the migration ends at verify.
    SetOnly,
    /// The plan only removes attributes, and contract removes them. The migration has no expand phase, no verify phase,
    /// and no new attribute to read.
    RemoveOnly,
}

impl PlanKind {
    /// Determines the kind of a plan. `flag` is true if the plan names a flag. It has no effect if the plan is
    /// in-place, set-only or remove-only.
    pub fn new(strategy: Strategy, changes: &[Change], flag: bool) -> PlanKind {
        match strategy {
            Strategy::InPlace => PlanKind::InPlace,
            Strategy::ExpandContract if changes.iter().all(|c| matches!(c, Change::Remove { .. })) => {
                PlanKind::RemoveOnly
            }
            Strategy::ExpandContract if changes.iter().all(Change::only_writes_values) => {
                let destroys = |change: &Change| change.each().is_some_and(|each| each.destroys_values());
                if changes.iter().any(destroys) { PlanKind::InPlace } else { PlanKind::SetOnly }
            }
            Strategy::ExpandContract => PlanKind::with_cutover(flag),
        }
    }

    /// Determines the kind of this plan in a migration that began with the kind `begun`. Earlier versions of the tool
    /// used a cutover for set-only plans. A migration that began with a cutover still needs it.
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
    /// Writes new values, for `run`.
    Expand,
    /// Retries the open failures.
    Retry,
    /// Compares the table with the plan by shadow reads.
    Verify {
        /// The part of the table that is compared.
        scope: VerifyScope,
        /// Whether to repair mismatches by replacing each wrong value with a value that is derived from the correct
        /// value.
        repair: bool,
    },
    /// Makes old values equal to new values, before readers return to old values.
    OldFromNew,
    /// Removes the attributes that expand and dual writes added, and restores values that were overwritten or removed.
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
    /// `--dual-writes-since`: since this time, every writer has written both attributes.
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
    /// `--writers-stopped`: nobody writes the derived items until the rollback ends.
    WritersStopped,
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
    /// `cutover --back`, optionally with `--now`.
    Back {
        /// The stage to which the flag returns. This stage is fixed when the command begins.
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

/// The target of `--back`. It is the stage that precedes the flag's stage at the beginning of the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BackTarget {
    /// Readers read the old attribute; writers write both.
    OldReads,
    /// Writers write only the old attribute.
    OldWrites,
}

impl BackTarget {
    /// Determines the target of `--back` for this flag. After `--back` has moved readers to old values, the target
    /// stays the same until all applications obey the change. Otherwise, the rerun of a `--back` that was killed during
    /// its wait would stop dual writes. This function uses the clock only to guess whether the command is such a rerun.
    /// If this host's clock differs too much from the clock of the host that changed the flag, the function assumes
    /// that the command is a new one, and the target is `OldWrites`.
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

/// The facts that a command can currently observe, and the operator's input from the command line.
#[derive(Debug, Clone)]
pub struct StepContext<'a> {
    /// The kind of the current plan, which may have changed since the migration began.
    pub kind: PlanKind,
    /// The plan's fingerprint.
    pub plan: &'a str,
    /// The flag as it was just read. `None` if the plan names no flag or the flag does not exist.
    pub flag: Option<&'a Flag>,
    /// The time for which applications may still obey an earlier state of the flag ([`crate::cutover::CacheExpiry`]).
    pub left: Duration,
    /// Number of open failures.
    pub failures: u64,
    /// Whether one of the open failures is an item that is not computable. A retry of this item fails until somebody
    /// corrects the item or the plan.
    pub not_computable: bool,
    /// Number of failures that prevent a contract, old-from-new or undo pass from ending. The pass has read the whole
    /// table, and ends only when somebody has resolved these failures.
    pub unfinished: u64,
    /// Number of open diverged items.
    pub diverged: u64,
    /// The limits in the plan's `[cutover]`.
    pub limits: Limits,
    /// The phases before which the plan requires a backup of the table.
    pub backup: BackupPhases,
    /// Whether the plan deletes items.
    pub deletes_items: bool,
    /// Number of items for which no record shows whether the new attribute existed before the migration. A rollback
    /// would leave the new attribute on these items. `None` if there are no such items.
    pub unrestorable_targets: Option<u64>,
    /// The reason why a rollback could fail after new-only writes ([`one_way()`]).
    pub one_way: Option<&'a str>,
    /// The reason why a rollback is impossible ([`no_way_back()`]); `None` if it is possible.
    pub no_way_back: Option<&'a str>,
    /// Whether the plan puts derived items.
    pub puts_items: bool,
    /// The time at which the operator purged the journal; `None` if it was not purged.
    pub purged_at: Option<&'a str>,
    /// Whether the operator accepts that no rollback can undo what this command writes (`--accept no-way-back`).
    pub accept_no_way_back: bool,
    /// Facts stated on this command line.
    pub facts: &'a [Fact],
    /// The reason given with `--force`.
    pub force: Option<&'a str>,
    /// `--accept empty-table`: the operator confirms that the table should be empty.
    pub accept_empty: bool,
    /// Whether the operator has already confirmed the command ([`Step::Confirm`]).
    pub confirmed: bool,
    /// The passes that this command itself has completed, without the passes that were complete before it began.
    pub completed: &'a [Phase],
    /// The version of the flag when this command first read it.
    pub first: Option<u64>,
    /// The last state of the flag that this migration saw, if the flag is currently missing.
    pub missing_flag: Option<&'a Flag>,
}

/// The limits that the plan's `[cutover]` sets for the gate and for contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The gate accepts a verification report up to this age, measured from the start of the verification.
    pub max_age: Duration,
    /// The gate accepts a report with at most this number of mismatches.
    pub max_mismatch: u64,
    /// Whether the report of a sampled verification can open the gate.
    pub accept_sample: bool,
    /// The time for which applications must write only new values before contract may begin.
    pub soak: Duration,
}

/// The tool's next action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Inspect the table, ask the operator to accept the findings, and record the accepted findings.
    Preflight,
    /// Append this event to the history, with the time and the actor.
    Record(EventBody),
    /// Ask for confirmation.
    Confirm,
    /// Make a backup of the table before this phase, then record [`EventBody::BackedUp`].
    Backup(Phase),
    /// Change the flag.
    Change(FlagChange),
    /// Recreate the flag that somebody removed.
    RecreateFlag(Box<Flag>),
    /// Wait for this long, then read the flag again.
    Wait(Duration),
    /// Run a pass over the whole table, then record [`EventBody::PhaseComplete`] or [`EventBody::Verified`].
    RunPass(Phase),
    /// The command has reached its goal.
    Done,
}
