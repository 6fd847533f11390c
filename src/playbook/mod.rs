//! The playbook: the whole life of a migration as one durable, pure state machine.
//!
//! [`State`] is what is known of a migration, folded from the [`Event`]s that its state file keeps; [`State::next`] is the
//! only way in which it moves, live and on replay alike. [`step`] says what a command has to do next, from the state, what
//! can be observed ([`World`]) and the time; it plays what comes behind through first ([`rehearse()`]), so that a command which
//! is refused before its first lasting work has recorded nothing. A command is a loop over it: nothing of its progress lives in memory alone,
//! so after a kill the same command, or another one, goes on from what is durable.
//!
//! | [`Step`] | the tool | durable before the next step |
//! | --- | --- | --- |
//! | `Preflight` | looks at the table, and asks what is to be accepted | `preflight_accepted` |
//! | `Record` | appends the event | the event |
//! | `Confirm` | asks; `--yes` answers | nothing: it is asked again after a kill |
//! | `Change` | changes the flag, on condition of the version that was read | the flag |
//! | `Renew` | makes the flag anew, which somebody has removed | the flag |
//! | `Wait` | waits, and reads the flag again | that it was seen, and when it is obeyed by all |
//! | `Sweep` | goes over the table, resuming what has begun | the phase's checkpoints, then `phase_complete` or `verified` |
//! | `Done` | ends | |
//!
//! Without a flag the operator states what it would have proven. Those statements move a flag that exists in the state
//! alone ([`State::stated`]), with a cache of no time, so that the rules are the same.
//!
//! # What the model taught
//!
//! `tests/playbook/model.rs` explores flag, phases, one item, two application instances with stale caches and kills exhaustively. It
//! mended two rules:
//!
//! - **Making old equal new passes over no item.** An item that had its new attribute before the migration, and no old
//!   one, matches, and repair and rollback leave it alone: so the rule was, always. But where only new values were
//!   written, an application may have written that item since, and then `read = old` returned nothing for it, after a
//!   rollback in perfect order. That the new value is still the one of before proves nothing: the same may have been
//!   written again. So while `old_stale` holds such an item is a mismatch, and old is made from new, there too. An item
//!   that nobody wrote gains an old attribute by that, which a rollback after new-only writes leaves behind. While old
//!   values are fresh it is left alone, as before.
//!
//! - **Making old equal new removes nothing.** Where there was no new value, the old one was journaled and removed: so the rule
//!   was. But applications delete both, at every `write`; an old value that is alone behind new-only writes is of an item
//!   which was never given its new one (the gate was forced, or somebody wrote the old name alone), and the only one there.
//!   It stays, matches on the way back, and is reported. No read is staler for it.
//!
//! These it holds, and they are less obvious than they look:
//!
//! - Only a full verification that *began* after old was made equal new, which began after `write = both` had settled,
//!   clears `old_stale`. A resumed phase keeps the time of its first beginning, and one that began too early for what it
//!   is to show is begun anew.
//! - Another pass of expand, and making old equal new, take every earlier report's meaning away.
//! - While both are written and old values are fresh, repair takes an item without a new value from the old one, also at
//!   `read = new`: readers fall back to it, so that it is what they see. (Only a forced gate leads there.)
//! - If no expand pass has read an item, rollback removes its new value only if it equals the old one: nobody has recorded
//!   whether it existed before.
//! - Where reads were moved past a closed gate, `write = new` asks for the gate once more: readers fall back no longer.
//! - No reason goes past an expansion that is incomplete, nor to `write = new` past an item that has failed: it would have
//!   no new value, and readers would find nothing.
//! - A command that finds the flag moved by somebody else while it was at work ends, so that it does not undo a `--back`.
//!
//! # Clocks
//!
//! What can be told by the order of the history is told by it: a report of before dual writes, and old values that were made
//! equal new before new ones were written alone, are forgotten with that step, whatever the clock said then. No line of the
//! history is older than the one before it, also where the clock was set back in between ([`State::latest`]). How old a
//! report is cannot be told while the clock stands before the last line, and the gate stays shut. What a command has done
//! itself it knows by itself.
//!
//! **No wait, and no rule about reads, compares the clocks of two hosts.** Nobody knows how far they differ, and the model has
//! them differ by more than a cache:
//!
//! - How long an earlier state of the flag may still be obeyed ([`World::left`]) is measured by a clock that only goes
//!   forward, from when this host first saw the flag say what it says ([`crate::cutover::Sights`]).
//! - A phase began under today's flag if the flag's state when it began ([`Mark`]) is equal to today's.
//!   Only histories that have no marks are still judged by their times, once.
//! - Readers go back to old values without a wait, where all that anybody may obey writes both.
//!
//! The soak, `max_age`, the work window and the deadline do go by the wall clock: they are times of a calendar, chosen for
//! people, and last over restarts and hosts. They keep nobody on the way back, and no read depends on them.

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

/// What decides which way a plan goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Expand and contract, with a cutover flag (hooks are one).
    Flagged,
    /// Expand and contract; the operator states what a flag would have proven.
    Stated,
    /// Everything in one write: it ends at verify, and rollback stays open.
    InPlace,
    /// Constants alone: there is no old attribute to move readers and writers from, so that it ends at verify, too.
    SetOnly,
    /// Nothing is added, and contract removes: there is nothing to expand, verify or read from.
    RemoveOnly,
}

impl Kind {
    /// Of a plan; `flag` is whether it names one. Plans in place, and plans that only set or only remove, have no use for it.
    pub fn of(strategy: Strategy, changes: &[Change], flag: bool) -> Kind {
        match strategy {
            Strategy::InPlace => Kind::InPlace,
            Strategy::ExpandContract if changes.iter().all(|c| matches!(c, Change::Remove { .. })) => Kind::RemoveOnly,
            Strategy::ExpandContract if changes.iter().all(|c| matches!(c, Change::Set { .. })) => Kind::SetOnly,
            Strategy::ExpandContract => Kind::of_a_cutover(flag),
        }
    }

    /// Of the same plan in a migration that began as this kind. Versions before led plans of constants alone through a
    /// cutover, and a migration keeps the way that it has begun.
    pub fn begun_as(self, begun: Option<Kind>, flag: bool) -> Kind {
        let by_a_cutover = matches!(begun, Some(Kind::Flagged | Kind::Stated));
        if self == Kind::SetOnly && by_a_cutover { Kind::of_a_cutover(flag) } else { self }
    }

    fn of_a_cutover(flag: bool) -> Kind {
        if flag { Kind::Flagged } else { Kind::Stated }
    }
}

/// What goes over the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub enum Phase {
    /// A pass of `run`.
    Expand,
    /// The open failures once more.
    Retry,
    /// Shadow reads.
    Verify {
        /// How much is compared.
        scope: Scope,
        /// Mismatching items are re-derived from the side that is the truth.
        repair: bool,
    },
    /// Old is made equal new, on every item that has either.
    OldFromNew,
    /// What expand and dual writes put there is taken away, what was overwritten or removed is put back.
    Undo,
    /// Old attributes are removed.
    Contract,
}

/// How much a verification compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Every item, by strongly consistent reads.
    Full,
    /// Segments drawn at random.
    Sampled,
}

/// What the operator states where no flag proves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "fact", rename_all = "snake_case")]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub enum Fact {
    /// `--dual-writes-since`: every writer has written both attributes since then.
    DualWritesSince {
        /// Since when.
        since: Timestamp,
    },
    /// `--readers-moved`: every reader reads the new attribute.
    ReadersMoved,
    /// `--old-writes-stopped`: nobody writes the old one any more.
    OldWritesStopped,
    /// `--readers-back`: every reader reads the old attribute again.
    ReadersBack,
    /// `--new-writes-stopped`: nobody writes the new one any more.
    NewWritesStopped,
}

/// What a command is to bring about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Goal {
    /// `run`, with `--again`.
    Run {
        /// Another pass over a table that is expanded.
        again: bool,
    },
    /// `failures retry`.
    FailuresRetry,
    /// `verify`, with `--all` or `--sample`, with `--repair`.
    Verify {
        /// How much.
        scope: Scope,
        /// Repair as well.
        repair: bool,
    },
    /// `cutover --to …`.
    CutoverTo(Target),
    /// `cutover --back`, with `--now`.
    Back {
        /// How far; fixed when the command begins.
        to: BackTo,
        /// Stale reads are accepted.
        now: bool,
    },
    /// `contract`.
    Contract,
    /// `rollback`.
    Rollback,
}

/// Where a cutover goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Target {
    /// `write = both`.
    DualWrite,
    /// `read = new`, for so many percent of the keys.
    ReadNew(u8),
    /// `write = new`.
    WriteNew,
}

/// How far `--back` goes: one stage, from where the flag stood when the command began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BackTo {
    /// Readers read the old attribute, writers write both.
    OldReads,
    /// Only the old attribute is written.
    OldWrites,
}

impl BackTo {
    /// From where the flag stands. While the readers' way back has not settled it is still what the command is about: a
    /// `--back` that was killed in its wait, and is given again, does not stop dual writes. What the clock says only tells
    /// what is meant: where it differs too much from that of the host that made the change, the next stage is.
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
    /// Its fingerprint.
    pub plan: &'a str,
    /// The flag as it was just read; none where the plan names none, or where it does not exist.
    pub flag: Option<&'a Flag>,
    /// For how long somebody may still obey what it said before ([`crate::cutover::Sights`]).
    pub left: Duration,
    /// Open failures.
    pub failures: u64,
    /// Open failures of the pass of a contract or a way back that is open and has been over the whole table: it waits for
    /// somebody.
    pub unfinished: u64,
    /// Open diverged items.
    pub diverged: u64,
    /// The plan's `[cutover]`.
    pub limits: Limits,
    /// The number of items whose new attribute a rollback would leave, because nobody knows whether it existed before the
    /// migration. `None` if it is known for every item.
    pub no_way_back: Option<u64>,
    /// Why a rollback may not succeed once new values alone were written ([`one_way()`]).
    pub one_way: Option<&'a str>,
    /// Facts stated on this command line.
    pub facts: &'a [Fact],
    /// `--force`, with its reason.
    pub force: Option<&'a str>,
    /// `--accept empty-table`: that the table is empty is right.
    pub accept_empty: bool,
    /// What [`Step::Confirm`] asked was confirmed.
    pub confirmed: bool,
    /// What this command has gone over the table for, to the end: not what it found complete.
    pub swept: &'a [Phase],
    /// The flag's version when this command read it first.
    pub first: Option<u64>,
    /// The flag as this migration saw it last, where there is none now.
    pub gone: Option<&'a Flag>,
}

/// What the plan's `[cutover]` asks of the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// A report counts for so long, from its start.
    pub max_age: Duration,
    /// It may have so many mismatches.
    pub max_mismatch: u64,
    /// A sampled report opens the gate too.
    pub accept_sample: bool,
    /// Only new values are written for so long before contract.
    pub soak: Duration,
}

/// The one next thing for the tool to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Look at the table, have findings accepted, and record it.
    Preflight,
    /// Append this event, with the time and the actor.
    Record(What),
    /// Ask for confirmation.
    Confirm,
    /// Change the flag.
    Change(FlagChange),
    /// Make the flag anew, which somebody has removed.
    Renew(Box<Flag>),
    /// Wait for so long, and look again.
    Wait(Duration),
    /// Go over the table, to the end, and record that: [`What::PhaseComplete`] or [`What::Verified`].
    Sweep(Phase),
    /// The command has brought about what it is for.
    Done,
}
