//! The modelled system: its states, and the possible actions in each state.

use std::sync::Arc;

use backfill::internals::cutover::{Flag, WriteTo};
use backfill::internals::playbook::{BackTarget, CutoverTarget, Goal, PhaseStatus, VerifyScope};
use jiff::Timestamp;
use stateright::{Model, Property};

use super::control::{Control, ControlRef, Controls, Transition};
use super::sweep::{FOREIGN, Item, PassInProgress, Value, values};

pub(super) const READS_ARE_FRESH: &str = "every read returns the application's last write";
pub(super) const REMOVED_VALUES_HAVE_COPIES: &str = "every value that the tool removes has a copy";
pub(super) const LAST_WRITE_IS_STORED: &str = "the application's last write is in the item";
pub(super) const ONLY_VALUE_STAYS: &str = "making old values equal to new ones never removes an item's only value";
pub(super) const ROLLBACK_RESTORES: &str = "after a rollback, an item that nobody wrote has its old value";
pub(super) const FLAG_IS_POSSIBLE: &str = "the flag is always in a possible state";

pub(super) const ROLLBACK: Goal = Goal::Rollback;
pub(super) const CONTRACT: Goal = Goal::Contract;

/// The numbers of the two hosts: the host with the state file, and a second host without a state file.
pub(super) const HOME_HOST: usize = 0;
pub(super) const OTHER_HOST: usize = 1;

/// The goals of all commands.
pub(super) const GOALS: [Goal; 13] = [
    Goal::Run { again: false },
    Goal::Run { again: true },
    Goal::FailuresRetry,
    Goal::Verify { scope: VerifyScope::Full, repair: false },
    Goal::Verify { scope: VerifyScope::Full, repair: true },
    Goal::CutoverTo(CutoverTarget::DualWrite),
    Goal::CutoverTo(CutoverTarget::ReadNew(50)),
    Goal::CutoverTo(CutoverTarget::ReadNew(100)),
    Goal::CutoverTo(CutoverTarget::WriteNew),
    Goal::Back { to: BackTarget::OldReads, now: false },
    Goal::Back { to: BackTarget::OldReads, now: true },
    Goal::Contract,
    Goal::Rollback,
];

/// The modelled tool, the mistake that a test plants in the tool, and the bounds of the model.
#[derive(Debug, Clone)]
pub(super) struct Tool {
    pub(super) mistake: Option<Mistake>,
    /// The maximum number of the application's writes.
    pub(super) writes: u8,
    /// Whether the operator overrides a closed gate with `--force`.
    pub(super) force: bool,
    /// The plan's `max_mismatch`. The gate opens only if the number of mismatches does not exceed it.
    pub(super) max_mismatch: u64,
    /// The number of seconds by which the other host's clock is ahead of the clock of the host with the state file.
    /// Negative if it is behind.
    pub(super) skew: i64,
    /// The controls that occur with these settings.
    pub(super) controls: Arc<Controls>,
}

/// A planted mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mistake {
    /// The tool assumes that applications obey a flag change immediately.
    NoCacheWait,
    /// The tool computes its wait from the flag's time and the host's own clock.
    WaitByTheFlagsTime,
    /// Contract and rollback do not journal the values that they destroy.
    NoJournal,
    /// `--back` runs without a state file even if old values are stale.
    BackWhileStale,
    /// The old-from-new pass and the verification after it skip items that had only a new attribute before the
    /// migration.
    SkipPreexisting,
    /// If an item had only a new attribute before the migration and its new value is unchanged, those two passes skip
    /// the item.
    SkipPreexistingValue,
    /// If an item has no new value, the old-from-new pass removes the item's old value.
    RemoveOldWithoutNew,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct System {
    /// The flag, the playbook's state and the clocks.
    pub(super) control: ControlRef,
    pub(super) item: Item,
    /// The item in the initial state.
    pub(super) first: Item,
    /// The application's last write: a value, or the deletion of the item. `None` if the application has not written
    /// yet.
    pub(super) last: Option<Option<Value>>,
    pub(super) writes_left: u8,
    pub(super) preexisting: Option<bool>,
    pub(super) in_progress: Option<PassInProgress>,
    /// The flag that each instance obeys.
    pub(super) instances: [View; 2],
    /// Whether the tool removed a value that had no copy.
    pub(super) lost: bool,
    /// Whether the old-from-new pass removed the item's only value.
    pub(super) emptied: bool,
}

/// The flag as an instance knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct View {
    pub(super) write: WriteTo,
    pub(super) percent: u8,
}

/// An action that can happen in a state of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// A second passes. Afterwards, each instance obeys the flag that was current when this second began, or a newer
    /// one.
    Tick,
    /// An instance reads the flag.
    Refresh(usize),
    /// An instance writes a value, or deletes the item.
    Write(usize, Option<Value>),
    /// One step of a command with this goal. The operator has just started the command, or the command was already
    /// running.
    Step(Goal),
    /// The phase continues with the item that it has read. It journals the values, or sends the write to the table.
    Item,
    /// The phase records the item that it has read as a failure.
    GiveUp,
    /// The process dies.
    Kill,
    /// Another process runs `cutover --back`.
    Back(BackTarget),
}

impl Action {
    /// Returns whether this action can happen while the operator only reruns a command with this goal, and nothing else
    /// happens.
    pub(super) fn serves(self, goal: Goal) -> bool {
        match self {
            Action::Tick | Action::Refresh(_) | Action::Item | Action::Kill => true,
            Action::Step(other) => other == goal,
            Action::Write(..) | Action::GiveUp | Action::Back(_) => false,
        }
    }
}

pub(super) fn time(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

impl View {
    fn from_flag(flag: &Flag) -> View {
        View { write: flag.write, percent: flag.read_percent }
    }

    /// Returns the values that an instance can read. While only some keys have moved, both cases are possible for this
    /// key.
    fn reads(self, item: Item) -> impl Iterator<Item = Option<Value>> {
        let new = if self.write == WriteTo::Both { item.new.or(item.old) } else { item.new };
        let old = (self.percent < 100).then_some(item.old);
        old.into_iter().chain((self.percent > 0).then_some(new))
    }

    fn write(self, item: Item, value: Option<Value>) -> Item {
        match (value, self.write) {
            (None, _) => Item { old: None, new: None },
            (_, WriteTo::Old) => Item { old: value, ..item },
            (_, WriteTo::Both) => Item { old: value, new: value },
            (_, WriteTo::New) => Item { new: value, ..item },
        }
    }
}

impl System {
    /// Returns whether this goal must be reachable from this state.
    pub(super) fn applies_to(&self, goal: Goal) -> bool {
        (goal == CONTRACT) == (self.control.flag.contracting || self.control.state.contract != PhaseStatus::NotBegun)
    }

    fn is_fresh(&self) -> bool {
        let right = |read: Option<Value>| match self.last {
            Some(last) => read == last,
            None => read == self.first.old || (self.first.old.is_none() && read == self.first.new),
        };
        let views = self.instances.into_iter().chain([View::from_flag(&self.control.flag)]);
        views.flat_map(|view| view.reads(self.item)).all(right)
    }

    fn has_last_write(&self) -> bool {
        match self.last {
            Some(Some(last)) => values(self.item) & (1 << last) != 0,
            Some(None) => self.item == Item { old: None, new: None },
            // The application has not written the item. If the tool removed a value that had no copy, `lost` is set.
            None => true,
        }
    }

    /// Checks an item that the application has not written. Returns false if the rollback is complete and has not
    /// restored the item's old value. There are two exceptions. An item without an old value can get one. If the
    /// operator overrode the gate, a preexisting new value can replace an old value.
    fn is_rolled_back(&self) -> bool {
        let must_hold =
            self.last.is_none() && self.first.old.is_some() && (self.first.new.is_none() || !self.control.forced);
        !must_hold || self.control.state.rollback != PhaseStatus::Complete || self.item.old == self.first.old
    }
}

impl Tool {
    fn first(&self, item: Item) -> System {
        let control = self.controls.intern(Control::initial());
        self.normal(System {
            control,
            item,
            first: item,
            last: None,
            writes_left: self.writes,
            preexisting: None,
            in_progress: None,
            instances: [View::from_flag(&control.flag); 2],
            lost: false,
            emptied: false,
        })
    }

    /// Returns the state after this action. Returns `None` if the action is impossible.
    pub(super) fn after(&self, before: &System, action: Action) -> Option<System> {
        let mut system = *before;
        match action {
            Action::Tick => {
                system.control = self.transition(system.control, Transition::Tick)?.control;
                system.instances = [View::from_flag(&system.control.flag); 2];
            }
            Action::Refresh(at) => system.instances[at] = View::from_flag(&system.control.flag),
            Action::Write(at, value) => {
                system.item = system.instances[at].write(system.item, value);
                system.last = Some(value);
                system.writes_left -= 1;
            }
            Action::Step(goal) => {
                let after = self.transition(system.control, Transition::Step(goal))?;
                system.control = after.control;
                if let Some(phase) = after.reads {
                    Tool::read(&mut system, phase);
                }
            }
            Action::Item => self.item(&mut system)?,
            Action::GiveUp => self.give_up(&mut system)?,
            Action::Kill => system.in_progress = None,
            Action::Back(to) => system.control = self.transition(system.control, Transition::Back(to))?.control,
        }
        Some(system)
    }

    /// Returns an equivalent state with small numbers, and without irrelevant parts. The test
    /// `normalising_a_state_changes_no_later_result` checks the equivalence.
    pub(super) fn normal(&self, mut system: System) -> System {
        system.control = self.normal_control(system.control);
        system.instances.sort();
        if system.last.is_some() {
            system.first = Item { old: None, new: None };
        }
        system
    }
}

impl Model for Tool {
    type State = System;
    type Action = Action;

    fn init_states(&self) -> Vec<System> {
        // If the operator overrides the gate, begin only with the two items that would otherwise keep the gate closed.
        // Exploring more items would take longer than a minute.
        let gated = [(Some(0), None), (Some(0), Some(FOREIGN))];
        let others = [(None, None), (Some(0), Some(0)), (None, Some(FOREIGN))];
        gated
            .into_iter()
            .chain(others.into_iter().filter(|_| !self.force))
            .map(|(old, new)| self.first(Item { old, new }))
            .collect()
    }

    fn actions(&self, system: &System, actions: &mut Vec<Action>) {
        actions.push(Action::Tick);
        for at in 0..2 {
            actions.push(Action::Refresh(at));
            if system.writes_left > 0 {
                actions.extend([None, Some(0), Some(1)].map(|value| Action::Write(at, value)));
            }
        }
        actions.extend([Action::Back(BackTarget::OldReads), Action::Back(BackTarget::OldWrites)]);
        if system.in_progress.is_some() {
            actions.extend([Action::Item, Action::GiveUp, Action::Kill]);
        } else {
            let part = Goal::CutoverTo(CutoverTarget::ReadNew(50));
            actions.extend(GOALS.into_iter().filter(|goal| !self.force || *goal != part).map(Action::Step));
        }
    }

    fn next_state(&self, before: &System, action: Action) -> Option<System> {
        let system = self.normal(self.after(before, action)?);
        (system != *before).then_some(system)
    }

    fn properties(&self) -> Vec<Property<Tool>> {
        vec![
            Property::always(READS_ARE_FRESH, |tool: &Tool, system: &System| {
                tool.max_mismatch > 0 || system.control.accepted || system.control.forced || system.is_fresh()
            }),
            Property::always(REMOVED_VALUES_HAVE_COPIES, |_, system: &System| !system.lost),
            Property::always(LAST_WRITE_IS_STORED, |tool: &Tool, system: &System| {
                tool.max_mismatch > 0 || system.control.forced || system.has_last_write()
            }),
            Property::always(ONLY_VALUE_STAYS, |_, system: &System| !system.emptied),
            Property::always(ROLLBACK_RESTORES, |_, system: &System| system.is_rolled_back()),
            Property::always(FLAG_IS_POSSIBLE, |_, system: &System| system.control.flag.broken_rule().is_none()),
            Property::sometimes("a migration contracts", |_, system: &System| {
                system.control.state.contract == PhaseStatus::Complete
            }),
            Property::sometimes("a migration is rolled back", |_, system: &System| {
                system.control.state.rollback == PhaseStatus::Complete
            }),
        ]
    }
}
