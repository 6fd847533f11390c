//! The playbook: the whole life of a migration as one durable, pure state machine.
//!
//! [`State`] is everything the tool knows about a migration. It is folded from the [`Event`]s in the state file, and only
//! [`State::next`] moves it, live and on replay. [`step`] decides what a command does next from the state, from what can be
//! observed ([`World`]) and from the time. [`rehearse()`] plays the coming steps through first, so that a command that is
//! refused before its first lasting work records nothing. A command is a loop over [`step`]. It keeps no progress in memory
//! alone: after a kill, the same command or another one continues from what is durable.
//!
//! | [`Step`] | the tool | durable before the next step |
//! | --- | --- | --- |
//! | `Preflight` | inspects the table and asks the operator to accept findings | `preflight_accepted` |
//! | `Record` | appends the event | the event |
//! | `Confirm` | asks; `--yes` answers | nothing: it asks again after a kill |
//! | `Change` | changes the flag if its version is still the one that was read | the flag |
//! | `Renew` | recreates the flag that somebody removed | the flag |
//! | `Wait` | waits and reads the flag again | that the flag was seen, and when all applications obey it |
//! | `Sweep` | runs a pass over the table, or resumes one | the phase's checkpoints, then `phase_complete` or `verified` |
//! | `Done` | ends | |
//!
//! Without a flag, the operator states what the flag would have proven. These statements move a flag that exists only in the
//! state ([`State::stated`]) and has a cache time of zero, so the same rules apply.
//!
//! # What the model taught
//!
//! `tests/playbook/model.rs` explores the flag, the phases, one item, two application instances with stale caches, and kills
//! exhaustively. It corrected two rules:
//!
//! - **The old-from-new pass skips no item.** Take an item that had its new attribute before the migration and has no old
//!   one. It matches, so repair and rollback used to leave it alone. But while only new values were written, an application
//!   may have written that item. After a rollback in perfect order, `read = old` then returned nothing for it. An unchanged
//!   new value proves nothing, because an application may have written the same value again. So while `old_stale` is set,
//!   such an item is a mismatch and the pass derives its old value too. An item that nobody wrote thereby gains an old
//!   attribute, which a rollback after new-only writes leaves behind. While old values are fresh, the pass leaves the item
//!   alone.
//!
//! - **The old-from-new pass removes nothing.** It used to journal and remove an old value that had no new value beside it.
//!   But applications delete both attributes, whatever `write` is. An old value that is alone after new-only writes belongs
//!   to an item that never got its new value (the gate was forced, or somebody wrote only the old name), and it is the only
//!   copy. It stays, counts as a match on the way back, and is reported. Readers see nothing staler because of it.
//!
//! The model also confirmed these rules, which are less obvious than they look:
//!
//! - Only a full verification clears `old_stale`. It must *begin* after the old-from-new pass, which in turn must begin after
//!   `write = both` has settled. A resumed phase keeps the time of its first beginning. A phase that began too early for what
//!   it has to prove begins anew.
//! - Another expand pass and the old-from-new pass invalidate every earlier report.
//! - While both attributes are written and old values are fresh, repair derives a missing new value from the old one, also at
//!   `read = new`: readers fall back to the old value, so they see the same. (Only a forced gate leads there.)
//! - If no expand pass has read an item, rollback removes its new value only if it equals the old one: nobody has recorded
//!   whether it existed before.
//! - If reads were forced past a closed gate, `write = new` checks the gate again, because readers stop falling back.
//! - `--force` overrides neither an incomplete expand pass nor, for `write = new`, a failed item: that item would have no new
//!   value, and readers would find nothing.
//! - A command ends when it finds that somebody else moved the flag while it was at work, so that it does not undo a
//!   `--back`.
//!
//! # Clocks
//!
//! Where the order of the history can decide, it decides. The step itself discards reports from before dual writes, and old
//! values that were made equal before new-only writes, whatever the clock said at the time. No line of the history is older
//! than the line before it, even if the clock was set back in between ([`State::latest`]). While the clock is behind the last
//! line, the age of a report is unknown and the gate stays closed. A command remembers what it has done itself, without any
//! clock.
//!
//! **No wait, and no rule about reads, compares the clocks of two hosts.** Nobody knows how far two clocks differ. In the
//! model they differ by more than a cache time:
//!
//! - [`World::left`] is how long applications may still obey an earlier state of the flag. A clock that only moves forward
//!   measures it, from the moment this host first saw the flag's current state ([`crate::cutover::Sights`]).
//! - A phase began under today's flag if the flag's state when it began ([`Mark`]) equals today's. Only histories without
//!   marks are still judged by their times, once.
//! - Readers go back to old values without a wait if every flag state that applications may still obey writes both
//!   attributes.
//!
//! The soak, `max_age`, the work window and the deadline do use the wall clock: people choose them as calendar times, and
//! they must survive restarts and changes of host. They never block the way back, and no read depends on them.

mod asked;
mod contract;
mod cutover;
mod event;
mod gone;
mod obstacle;
mod one_way;
mod refused;
mod rehearse;
mod rollback;
mod standing;
mod state;
mod step;
#[cfg(test)]
mod tests;

pub use cutover::{back_needs_state, may_expand, step_back};
pub use event::{Event, Mark, What};
pub use obstacle::{Obstacle, Override};
pub use one_way::one_way;
pub use refused::{Next, Refused};
pub use rehearse::{Rehearsal, rehearse};
pub use standing::{Stage, Standing, standing};
pub use state::{Expand, Intended, Open, Preflight, Report, Span, State, Way};
pub use step::step;

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::change::{Change, Strategy};
use crate::cutover::{AHEAD, Flag, FlagChange, ReadFrom, WriteTo, dated_ahead};

/// Which route through the playbook a plan takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Expand and contract, with a cutover flag (hooks are one).
    Flagged,
    /// Expand and contract; the operator states what a flag would have proven.
    Stated,
    /// Everything in one write: it ends at verify, and rollback stays open.
    InPlace,
    /// Only constants: there is no old attribute to move readers and writers away from, so this ends at verify too.
    SetOnly,
    /// Adds nothing, and contract removes attributes: there is nothing to expand, verify or read from.
    RemoveOnly,
}

impl Kind {
    /// The kind of a plan. `flag` is whether the plan names a flag; plans in place, and plans that only set or only remove,
    /// ignore it.
    pub fn of(strategy: Strategy, changes: &[Change], flag: bool) -> Kind {
        match strategy {
            Strategy::InPlace => Kind::InPlace,
            Strategy::ExpandContract if changes.iter().all(|c| matches!(c, Change::Remove { .. })) => Kind::RemoveOnly,
            Strategy::ExpandContract if changes.iter().all(|c| matches!(c, Change::Set { .. })) => Kind::SetOnly,
            Strategy::ExpandContract => Kind::of_a_cutover(flag),
        }
    }

    /// The kind of the same plan in a migration that began as `begun`. Earlier versions took set-only plans through a
    /// cutover, and a migration keeps the route it began with.
    pub fn begun_as(self, begun: Option<Kind>, flag: bool) -> Kind {
        let by_a_cutover = matches!(begun, Some(Kind::Flagged | Kind::Stated));
        if self == Kind::SetOnly && by_a_cutover { Kind::of_a_cutover(flag) } else { self }
    }

    fn of_a_cutover(flag: bool) -> Kind {
        if flag { Kind::Flagged } else { Kind::Stated }
    }
}

/// A kind of pass over the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub enum Phase {
    /// A pass of `run`.
    Expand,
    /// Processes the open failures again.
    Retry,
    /// Compares the table with the plan by shadow reads.
    Verify {
        /// How much is compared.
        scope: Scope,
        /// Whether it re-derives mismatching items from the side that is the truth.
        repair: bool,
    },
    /// Makes old values equal the new ones, on every item that has either.
    OldFromNew,
    /// Removes what expand and dual writes added, and restores what was overwritten or removed.
    Undo,
    /// Removes old attributes.
    Contract,
}

/// How much of the table a verification compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Every item, with strongly consistent reads.
    Full,
    /// Segments drawn at random.
    Sampled,
}

/// What the operator states when no flag proves it.
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
        /// Whether to run another pass over an expanded table.
        again: bool,
    },
    /// `failures retry`.
    FailuresRetry,
    /// `verify`, with `--all` or `--sample`, and maybe `--repair`.
    Verify {
        /// How much to compare.
        scope: Scope,
        /// Whether to repair mismatches.
        repair: bool,
    },
    /// `cutover --to …`.
    CutoverTo(Target),
    /// `cutover --back`, maybe with `--now`.
    Back {
        /// How far; fixed when the command begins.
        to: BackTo,
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
pub enum Target {
    /// `write = both`.
    DualWrite,
    /// `read = new`, for this percentage of the keys.
    ReadNew(u8),
    /// `write = new`.
    WriteNew,
}

/// How far `--back` goes: one stage back from where the flag was when the command began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BackTo {
    /// Readers read the old attribute; writers write both.
    OldReads,
    /// Writers write only the old attribute.
    OldWrites,
}

impl BackTo {
    /// The stage that `--back` means, given the flag. While the last move of readers back to old has not settled, the command
    /// still means that move: rerunning a `--back` that was killed during its wait must not stop dual writes. The clock is
    /// only used to guess the intent. If it differs too much from the clock of the host that made the change, the command
    /// means the next stage.
    pub fn of(flag: &Flag, now: Timestamp, left: Duration) -> BackTo {
        let moved_reads = flag.write == WriteTo::Both && flag.dual_since != Some(flag.changed_at);
        let lately = now < flag.settled_at() && dated_ahead(flag, now).is_none_or(|ahead| ahead <= AHEAD);
        let just_back = moved_reads && lately && !left.is_zero();
        match flag.read {
            ReadFrom::Old if !flag.old_stale && !just_back => BackTo::OldWrites,
            ReadFrom::Old | ReadFrom::New => BackTo::OldReads,
        }
    }
}

/// What can be observed now, and what the command line says.
#[derive(Debug, Clone)]
pub struct World<'a> {
    /// The kind of the plan as it is now.
    pub kind: Kind,
    /// The plan's fingerprint.
    pub plan: &'a str,
    /// The flag as it was just read; `None` if the plan names no flag or the flag does not exist.
    pub flag: Option<&'a Flag>,
    /// How long somebody may still obey what the flag said before ([`crate::cutover::Sights`]).
    pub left: Duration,
    /// Open failures.
    pub failures: u64,
    /// Open failures of a contract pass, or of a pass on the way back, that has covered the whole table and is still open: it
    /// waits for somebody to resolve them.
    pub unfinished: u64,
    /// Open diverged items.
    pub diverged: u64,
    /// The plan's `[cutover]`.
    pub limits: Limits,
    /// The number of items whose new attribute a rollback would leave in place, because nobody knows whether it existed
    /// before the migration. `None` if this is known for every item.
    pub no_way_back: Option<u64>,
    /// Why a rollback may not succeed after new-only writes ([`one_way()`]).
    pub one_way: Option<&'a str>,
    /// Facts stated on this command line.
    pub facts: &'a [Fact],
    /// The reason given with `--force`.
    pub force: Option<&'a str>,
    /// `--accept empty-table`: the operator confirms that the table should be empty.
    pub accept_empty: bool,
    /// The operator has confirmed what [`Step::Confirm`] asked.
    pub confirmed: bool,
    /// The passes that this command itself has completed, not those it found complete.
    pub swept: &'a [Phase],
    /// The version of the flag when this command first read it.
    pub first: Option<u64>,
    /// If the flag is missing now: the flag as this migration last saw it.
    pub gone: Option<&'a Flag>,
}

/// What the plan's `[cutover]` demands of the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How long a report counts, from its start.
    pub max_age: Duration,
    /// How many mismatches a report may have.
    pub max_mismatch: u64,
    /// Whether a sampled report opens the gate too.
    pub accept_sample: bool,
    /// How long only new values must be written before contract.
    pub soak: Duration,
}

/// The one thing the tool does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Inspect the table, have the operator accept findings, and record it.
    Preflight,
    /// Append this event, with the time and the actor.
    Record(What),
    /// Ask for confirmation.
    Confirm,
    /// Change the flag.
    Change(FlagChange),
    /// Recreate the flag that somebody removed.
    Renew(Box<Flag>),
    /// Wait this long, and read the flag again.
    Wait(Duration),
    /// Run a pass over the whole table, then record [`What::PhaseComplete`] or [`What::Verified`].
    Sweep(Phase),
    /// The command has reached its goal.
    Done,
}
