//! The system: its states, and what can happen in each state.

use std::time::Duration;

use backfill::internals::cutover::{Flag, FlagChange, WriteTo};
use backfill::internals::playbook::{BackTo, Event, Expand, Goal, Mark, Phase, Scope, Span, State, Target, Way, What};
use jiff::Timestamp;
use stateright::{Model, Property};

use super::sweep::{FOREIGN, Item, UnderWay, Value, values};

pub(super) const FRESH: &str = "every read returns the application's last write";
pub(super) const KEPT: &str = "every value that the tool removes has a copy";
pub(super) const WHOLE: &str = "the application's last write is in the item";
pub(super) const STAYS: &str = "making old values equal to new ones never removes an item's only value";
pub(super) const BACK: &str = "after a rollback, an item that nobody wrote has its old value";
pub(super) const POSSIBLE: &str = "the flag is always in a possible state";

pub(super) const ROLLBACK: Goal = Goal::Rollback;
pub(super) const CONTRACT: Goal = Goal::Contract;

/// The host with the state file, and another host without it.
pub(super) const HOME: usize = 0;
pub(super) const OTHER: usize = 1;

/// Every command.
const GOALS: [Goal; 13] = [
    Goal::Run { again: false },
    Goal::Run { again: true },
    Goal::FailuresRetry,
    Goal::Verify { scope: Scope::Full, repair: false },
    Goal::Verify { scope: Scope::Full, repair: true },
    Goal::CutoverTo(Target::DualWrite),
    Goal::CutoverTo(Target::ReadNew(50)),
    Goal::CutoverTo(Target::ReadNew(100)),
    Goal::CutoverTo(Target::WriteNew),
    Goal::Back { to: BackTo::OldReads, now: false },
    Goal::Back { to: BackTo::OldReads, now: true },
    Goal::Contract,
    Goal::Rollback,
];

/// The tool, the mistake in it, and the bounds of the model.
#[derive(Debug, Clone)]
pub(super) struct Tool {
    pub(super) mistake: Option<Mistake>,
    /// The number of writes that the application may make.
    pub(super) writes: u8,
    /// Whether the operator forces a closed gate.
    pub(super) force: bool,
    /// The number of items that the plan lets differ at the gate.
    pub(super) max_mismatch: u64,
    /// How far the clock of the other host is ahead of the clock of the host with the state file, in seconds.
    pub(super) skew: i64,
}

/// A planted mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mistake {
    /// The tool assumes that applications obey a change of the flag immediately.
    NoCacheWait,
    /// The tool decides by the time in the flag and by its own clock how long to wait.
    WaitByTheFlagsTime,
    /// Contract and rollback do not journal the values that they destroy.
    NoJournal,
    /// `--back` needs no state file while old values are stale.
    BackWhileStale,
    /// Making old values equal to new ones, and the verification of that, skip items that had a new attribute but no
    /// old one before the migration.
    SkipPreexisting,
    /// The same, but only for items whose new value is the preexisting one.
    SkipPreexistingValue,
    /// Making old values equal to new ones removes an old value that has no new one.
    RemoveOldWithoutNew,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct System {
    /// The time in seconds, as a rank.
    pub(super) now: i64,
    pub(super) flag: Flag,
    /// Whether the other host made the flag's last change and dated it by its clock.
    pub(super) by_other: bool,
    /// When each host first read the flag's current state; `None` if it has not.
    pub(super) first_seen: [Option<i64>; 2],
    pub(super) state: State,
    pub(super) item: Item,
    /// The item before anything happened.
    pub(super) first: Item,
    /// What the application wrote last. `None` if it has not written.
    pub(super) last: Option<Option<Value>>,
    pub(super) writes_left: u8,
    pub(super) preexisting: Option<bool>,
    /// The checkpoints: whether the expand pass is done, and whether the pass of the other open phase is done.
    pub(super) expanded: bool,
    pub(super) swept: bool,
    /// Whether the open verification found a mismatch.
    pub(super) dirty: bool,
    pub(super) failed: bool,
    pub(super) diverged: bool,
    pub(super) under_way: Option<UnderWay>,
    /// The flag that each instance obeys.
    pub(super) instances: [View; 2],
    /// Whether a value without a copy was removed.
    pub(super) lost: bool,
    /// Whether making old values equal to new ones removed the only value.
    pub(super) emptied: bool,
    /// Whether stale reads were accepted, and whether the gate was forced.
    pub(super) accepted: bool,
    pub(super) forced: bool,
}

/// What an instance knows about the flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct View {
    pub(super) write: WriteTo,
    pub(super) percent: u8,
}

/// An event in the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// A second passes. After it, nobody obeys a flag that was replaced before it.
    Tick,
    /// An instance reads the flag.
    Refresh(usize),
    /// An instance writes a value, or deletes the item.
    Write(usize, Option<Value>),
    /// One step of a command with this goal, which the operator starts or which is running.
    Step(Goal),
    /// The item under way makes progress: to the journal, or to the table.
    Item,
    /// The item under way fails for good.
    GiveUp,
    /// The process dies.
    Kill,
    /// `--back` from another process.
    Back(BackTo),
}

impl Action {
    /// Whether this may happen without anyone else, while the operator reruns a command with this goal.
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
    fn of(flag: &Flag) -> View {
        View { write: flag.write, percent: flag.read_percent }
    }

    /// What it may read. While only part of the keys have moved, this key may or may not be one of them.
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
    fn first(item: Item, writes: u8) -> System {
        let flag = Flag::first(1, time(0));
        let mut system = System {
            now: 1,
            instances: [View::of(&flag); 2],
            flag,
            by_other: false,
            first_seen: [None; 2],
            state: State::default(),
            item,
            first: item,
            last: None,
            writes_left: writes,
            preexisting: None,
            expanded: false,
            swept: false,
            dirty: false,
            failed: false,
            diverged: false,
            under_way: None,
            lost: false,
            emptied: false,
            accepted: false,
            forced: false,
        };
        system.normalise(0, false);
        system
    }

    /// Whether the end of this goal must be reachable from here.
    pub(super) fn applies_to(&self, goal: Goal) -> bool {
        (goal == CONTRACT) == (self.flag.contracting || self.state.contract != Way::Ahead)
    }

    fn is_fresh(&self) -> bool {
        let right = |read: Option<Value>| match self.last {
            Some(last) => read == last,
            None => read == self.first.old || (self.first.old.is_none() && read == self.first.new),
        };
        let views = self.instances.into_iter().chain([View::of(&self.flag)]);
        views.flat_map(|view| view.reads(self.item)).all(right)
    }

    fn is_whole(&self) -> bool {
        match self.last {
            Some(Some(last)) => values(self.item) & (1 << last) != 0,
            Some(None) => self.item == Item { old: None, new: None },
            // Values that the tool removed are `lost`, or in the journal.
            None => true,
        }
    }

    /// Whether a complete rollback has restored the old value. An item that had no old value may get one, and if the
    /// gate was forced, a preexisting new value may replace an old one.
    fn is_back(&self) -> bool {
        let asked = self.last.is_none() && self.first.old.is_some() && (self.first.new.is_none() || !self.forced);
        !asked || self.state.rollback != Way::Complete || self.item.old == self.first.old
    }

    /// How long a host still waits for others to obey the current flag: one second by its own clock, from the moment
    /// when it first saw this flag.
    pub(super) fn left(&self, host: usize) -> Duration {
        let known = self.first_seen[host].map_or(0, |since| self.now - since);
        Duration::from_secs(u64::try_from(1 - known).unwrap_or(0))
    }

    /// A host reads the flag, and notes when it first saw the current one. Returns false if it had seen it before.
    pub(super) fn read_flag(&mut self, host: usize) -> bool {
        let new = self.first_seen[host].is_none();
        self.first_seen[host].get_or_insert(self.now);
        new
    }

    /// Records a flag that a host has changed.
    pub(super) fn record_flag(&mut self, flag: Flag, host: usize) {
        (self.flag, self.by_other) = (flag, host == OTHER);
        self.first_seen = [None; 2];
        self.first_seen[host] = Some(self.now);
    }

    pub(super) fn append(&mut self, what: What) {
        let event = Event { at: time(self.now), actor: String::new(), flag: Some(Mark::of(&self.flag)), what };
        self.state = self.state.next(&event).unwrap_or_else(|refused| panic!("{refused}: {event:?} at {self:#?}"));
    }

    /// Replaces the state by the same one with small numbers, without the parts that nothing depends on.
    /// `normalising_a_state_drops_nothing_that_matters` checks that.
    fn normalise(&mut self, skew: i64, by_the_flags_time: bool) {
        self.instances.sort();
        let version = self.flag.version;
        let dual = self.flag.dual_since;
        // The time of the flag's last change. It stays distinct from now, and from the beginning of dual writes.
        let unsettled = by_the_flags_time && self.flag.changed_at >= time(self.now);
        let changed = time(if unsettled { 20 } else { 15 } + if self.by_other { skew } else { 0 });
        let dual_since = dual.map(|dual| if dual == self.flag.changed_at { changed } else { time(1) });
        let soaked = self.flag.new_since.is_some_and(|since| since < time(self.now));
        let state = &mut self.state;

        // What began under the current flag matches the flag until it changes. What began under another flag never
        // matches again.
        let since_change =
            |mark: Mark| Mark { version: if mark.version == version { 10 } else { 9 }, dual_since: None };
        let since_dual = |mark: Mark| Mark { version: 0, dual_since: dual_since.filter(|_| mark.dual_since == dual) };
        if let Some(open) = &mut state.open {
            open.began = time(7);
            open.under = match open.phase {
                Phase::OldFromNew | Phase::Undo => open.under.map(since_change),
                Phase::Verify { .. } => open.under.map(since_dual),
                Phase::Expand | Phase::Retry | Phase::Contract => None,
            };
        }
        if let Some(report) = &mut state.full {
            report.span = Span { began: time(7), ended: time(7), under: report.span.under.map(since_dual) };
        }
        if let Some(span) = &mut state.restored {
            *span = Span { began: time(6), ended: time(6), under: span.under.map(since_change) };
        }
        for sight in self.first_seen.iter_mut().flatten() {
            *sight = if self.now > *sight { 5 } else { 20 };
        }
        self.now = 20;
        (self.flag.changed_at, self.flag.dual_since) = (changed, dual_since);
        self.flag.new_since = self.flag.new_since.map(|_| time(if soaked { 5 } else { 20 }));
        if let Some(preflight) = &mut state.preflight {
            preflight.at = time(0);
        }
        match &mut state.expand {
            Expand::NotBegun => {}
            Expand::Open { began: at } | Expand::Complete { ended: at } => *at = time(0),
        }
        self.flag.version = 10;
        if let Some(intended) = &mut state.intended {
            let known = intended.version != version;
            intended.version = if known { 9 } else { 10 };
            if known {
                // The rules only ask whether the intended change has an outcome to record, not which change it is.
                intended.change = FlagChange::WriteOld;
            }
        }
        // The rules ask for this only while an earlier command continues. Here each step may belong to a new command.
        state.seen = None;
        // In this model, no clock is set back.
        state.latest = time(0);
        if state.open.is_none() {
            (self.swept, self.dirty) = (false, false);
        }
        if self.last.is_some() {
            self.first = Item { old: None, new: None };
        }
    }
}

impl Tool {
    /// The state after this action. `None` if the action is impossible.
    pub(super) fn after(&self, before: &System, action: Action) -> Option<System> {
        let mut system = before.clone();
        match action {
            Action::Tick => {
                system.now += 1;
                system.instances = [View::of(&system.flag); 2];
            }
            Action::Refresh(at) => system.instances[at] = View::of(&system.flag),
            Action::Write(at, value) => {
                system.item = system.instances[at].write(system.item, value);
                system.last = Some(value);
                system.writes_left -= 1;
            }
            Action::Step(goal) => self.step(&mut system, goal)?,
            Action::Item => self.item(&mut system)?,
            Action::GiveUp => Tool::give_up(&mut system)?,
            Action::Kill => system.under_way = None,
            Action::Back(to) => self.back(&mut system, to)?,
        }
        Some(system)
    }

    pub(super) fn normal(&self, mut system: System) -> System {
        system.normalise(self.skew, self.mistake == Some(Mistake::WaitByTheFlagsTime));
        system
    }
}

impl Model for Tool {
    type State = System;
    type Action = Action;

    fn init_states(&self) -> Vec<System> {
        // If the operator forces the gate, begin only with the two items that the gate would have stopped. More would
        // take longer than a minute.
        let gated = [(Some(0), None), (Some(0), Some(FOREIGN))];
        let others = [(None, None), (Some(0), Some(0)), (None, Some(FOREIGN))];
        gated
            .into_iter()
            .chain(others.into_iter().filter(|_| !self.force))
            .map(|(old, new)| System::first(Item { old, new }, self.writes))
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
        actions.extend([Action::Back(BackTo::OldReads), Action::Back(BackTo::OldWrites)]);
        if system.under_way.is_some() {
            actions.extend([Action::Item, Action::GiveUp, Action::Kill]);
        } else {
            let part = Goal::CutoverTo(Target::ReadNew(50));
            actions.extend(GOALS.into_iter().filter(|goal| !self.force || *goal != part).map(Action::Step));
        }
    }

    fn next_state(&self, before: &System, action: Action) -> Option<System> {
        let system = self.normal(self.after(before, action)?);
        (system != *before).then_some(system)
    }

    fn properties(&self) -> Vec<Property<Tool>> {
        vec![
            Property::always(FRESH, |tool: &Tool, system: &System| {
                tool.max_mismatch > 0 || system.accepted || system.forced || system.is_fresh()
            }),
            Property::always(KEPT, |_, system: &System| !system.lost),
            Property::always(WHOLE, |tool: &Tool, system: &System| {
                tool.max_mismatch > 0 || system.forced || system.is_whole()
            }),
            Property::always(STAYS, |_, system: &System| !system.emptied),
            Property::always(BACK, |_, system: &System| system.is_back()),
            Property::always(POSSIBLE, |_, system: &System| system.flag.impossible().is_none()),
            Property::sometimes("a migration contracts", |_, system: &System| system.state.contract == Way::Complete),
            Property::sometimes("a migration is rolled back", |_, system: &System| {
                system.state.rollback == Way::Complete
            }),
        ]
    }
}
