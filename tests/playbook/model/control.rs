//! The control: the part of a state that does not depend on the item. It consists of the flag, the playbook's state and
//! the clocks.
//!
//! Each control belongs to many states. These states differ in the item, and in the application's writes and caches of
//! the flag. So the model stores each control once ([`Controls`]), and computes each transition of a control once.

use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use backfill::internals::cutover::{Flag, FlagChange};
use backfill::internals::playbook::{
    BackTarget, Event, EventBody, ExpandStatus, Goal, Mark, MigrationState, Phase, PhaseSpan,
};

use super::sweep::ModelPhase;
use super::system::{GOALS, Mistake, OTHER_HOST, Tool, time};

/// The part of a state that does not depend on the item.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Control {
    /// The current time in seconds, as a rank.
    pub(super) now: i64,
    pub(super) flag: Flag,
    /// Whether the other host made the flag's last change. If so, the time of this change comes from that host's clock.
    pub(super) by_other: bool,
    /// The time at which each host first read the flag's current state. `None` if the host has not read this state.
    pub(super) first_seen: [Option<i64>; 2],
    pub(super) state: MigrationState,
    /// Whether the durable records show that the expand pass is done.
    pub(super) expanded: bool,
    /// Whether the durable records show that the pass of the open phase is done, if this phase is not expand.
    pub(super) pass_done: bool,
    /// Whether the open verification found a mismatch.
    pub(super) dirty: bool,
    pub(super) failed: bool,
    pub(super) diverged: bool,
    /// Whether the operator accepted stale reads.
    pub(super) accepted: bool,
    /// Whether the operator overrode the gate with `--force`.
    pub(super) forced: bool,
}

/// An event that can change a control.
#[derive(Debug, Clone, Copy)]
pub(super) enum Transition {
    /// One second passes.
    Tick,
    /// One step of the command with this goal.
    Step(Goal),
    /// A phase has finished the item. The boolean is `true` if the item still differs.
    Commit(ModelPhase, bool),
    /// A phase has recorded the item as a failure.
    GiveUp(ModelPhase),
    /// `cutover --back` in another process.
    Back(BackTarget),
}

/// The control after a transition.
#[derive(Debug, Clone, Copy)]
pub(super) struct Successor {
    pub(super) control: ControlRef,
    /// The phase that reads the item in this transition, if any.
    pub(super) reads: Option<Phase>,
}

/// A reference to a control in [`Controls`]. Two references are equal if they refer to the same control.
#[derive(Clone, Copy)]
pub(super) struct ControlRef(&'static Node);

struct Node {
    number: u32,
    control: Control,
    normal: OnceLock<ControlRef>,
    /// The successor of each transition. The array index is [`Transition::number`].
    successors: [OnceLock<Option<Successor>>; TRANSITIONS],
}

/// The controls of one model, each stored once. They stay in memory until the process ends.
#[derive(Debug, Default)]
pub(super) struct Controls(Mutex<HashMap<Control, ControlRef>>);

impl Controls {
    pub(super) fn intern(&self, control: Control) -> ControlRef {
        let mut known = self.0.lock().unwrap();
        let number = u32::try_from(known.len()).unwrap();
        *known.entry(control).or_insert_with_key(|control| {
            let successors = [const { OnceLock::new() }; TRANSITIONS];
            let node = Node { number, control: control.clone(), normal: OnceLock::new(), successors };
            ControlRef(Box::leak(Box::new(node)))
        })
    }
}

impl std::ops::Deref for ControlRef {
    type Target = Control;

    fn deref(&self) -> &Control {
        &self.0.control
    }
}

impl PartialEq for ControlRef {
    fn eq(&self, other: &ControlRef) -> bool {
        std::ptr::eq(self.0, other.0)
    }
}

impl Eq for ControlRef {}

impl Hash for ControlRef {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.number.hash(state);
    }
}

impl fmt::Debug for ControlRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.control.fmt(f)
    }
}

/// The number of transitions: one tick, two steps back, three results for each of seven phases, and one step for each
/// goal.
const TRANSITIONS: usize = 1 + 2 + 7 * 3 + GOALS.len();

impl Transition {
    fn number(self) -> usize {
        match self {
            Transition::Tick => 0,
            Transition::Back(BackTarget::OldReads) => 1,
            Transition::Back(BackTarget::OldWrites) => 2,
            Transition::Commit(phase, differs) => 3 + phase as usize * 3 + usize::from(differs),
            Transition::GiveUp(phase) => 3 + phase as usize * 3 + 2,
            Transition::Step(goal) => {
                3 + 7 * 3 + GOALS.iter().position(|one| *one == goal).expect("a goal of the model")
            }
        }
    }
}

impl Tool {
    /// Returns the control after this transition. Returns `None` if the transition is impossible.
    pub(super) fn transition(&self, before: ControlRef, transition: Transition) -> Option<Successor> {
        *before.0.successors[transition.number()].get_or_init(|| {
            let mut control = before.0.control.clone();
            let mut reads = None;
            match transition {
                Transition::Tick => control.now += 1,
                Transition::Step(goal) => reads = self.step(&mut control, goal)?,
                Transition::Commit(phase, differs) => control.commit(phase, differs),
                Transition::GiveUp(phase) => control.give_up(phase)?,
                Transition::Back(to) => self.back(&mut control, to)?,
            }
            Some(Successor { control: self.controls.intern(control), reads })
        })
    }

    /// Returns an equivalent control with small numbers, and without irrelevant parts. A part is irrelevant if no
    /// action depends on it.
    pub(super) fn normal_control(&self, kept: ControlRef) -> ControlRef {
        *kept.0.normal.get_or_init(|| {
            let mut control = kept.0.control.clone();
            control.normalise(self.skew, self.mistake == Some(Mistake::WaitByTheFlagsTime));
            self.controls.intern(control)
        })
    }
}

impl Control {
    pub(super) fn initial() -> Control {
        Control {
            now: 1,
            flag: Flag::new(1, time(0)),
            by_other: false,
            first_seen: [None; 2],
            state: MigrationState::default(),
            expanded: false,
            pass_done: false,
            dirty: false,
            failed: false,
            diverged: false,
            accepted: false,
            forced: false,
        }
    }

    /// Returns the remaining time that a host must wait until all applications obey the current flag. The wait lasts
    /// one second on the host's own clock, and begins when the host first saw this flag.
    pub(super) fn left(&self, host: usize) -> Duration {
        let known = self.first_seen[host].map_or(0, |since| self.now - since);
        Duration::from_secs(u64::try_from(1 - known).unwrap_or(0))
    }

    /// Makes a host read the flag. Records the time at which the host first saw the flag's current state. Returns false
    /// if the host had already seen it.
    pub(super) fn read_flag(&mut self, host: usize) -> bool {
        let new = self.first_seen[host].is_none();
        self.first_seen[host].get_or_insert(self.now);
        new
    }

    /// Records that a host has changed the flag to this state.
    pub(super) fn record_flag(&mut self, flag: Flag, host: usize) {
        (self.flag, self.by_other) = (flag, host == OTHER_HOST);
        self.first_seen = [None; 2];
        self.first_seen[host] = Some(self.now);
    }

    pub(super) fn append(&mut self, body: EventBody) {
        let event = Event { at: time(self.now), actor: String::new(), flag: Some(Mark::from_flag(&self.flag)), body };
        self.state = self.state.next(&event).unwrap_or_else(|refused| panic!("{refused}: {event:?} at {self:#?}"));
    }

    fn commit(&mut self, phase: ModelPhase, differs: bool) {
        match phase {
            ModelPhase::Expand => {
                (self.expanded, self.diverged) = (true, differs);
                self.failed = false;
            }
            ModelPhase::Retry => (self.pass_done, self.failed, self.diverged) = (true, false, differs),
            ModelPhase::Verify | ModelPhase::Repair => {
                (self.pass_done, self.dirty) = (true, differs);
                self.diverged &= differs;
            }
            ModelPhase::OldFromNew | ModelPhase::Undo | ModelPhase::Contract => self.pass_done = true,
        }
    }

    fn give_up(&mut self, phase: ModelPhase) -> Option<()> {
        match phase {
            ModelPhase::Expand => (self.expanded, self.failed) = (true, true),
            ModelPhase::OldFromNew => self.pass_done = true,
            ModelPhase::Repair => (self.pass_done, self.dirty) = (true, true),
            _ => return None,
        }
        Some(())
    }

    /// Replaces the control with an equivalent one that has small numbers and no irrelevant parts.
    fn normalise(&mut self, skew: i64, by_the_flags_time: bool) {
        let version = self.flag.version;
        let dual = self.flag.dual_since;
        // The time of the flag's last change keeps its order relative to the start of dual writes. If a wait depends on
        // this time, the time also keeps its order relative to the current time.
        let unsettled = by_the_flags_time && self.flag.changed_at >= time(self.now);
        let changed = time(if unsettled { 20 } else { 15 } + if self.by_other { skew } else { 0 });
        let dual_since = dual.map(|dual| if dual == self.flag.changed_at { changed } else { time(1) });
        let soaked = self.flag.new_since.is_some_and(|since| since < time(self.now));
        let state = &mut self.state;

        // A mark that was made for the current flag matches until the flag changes. A mark that was made for an earlier
        // flag matches neither the current flag nor any later one.
        let since_change =
            |mark: Mark| Mark { version: if mark.version == version { 10 } else { 9 }, dual_since: None };
        let since_dual = |mark: Mark| Mark { version: 0, dual_since: dual_since.filter(|_| mark.dual_since == dual) };
        if let Some(open) = &mut state.open {
            open.began = time(7);
            open.flag_mark = match open.phase {
                Phase::OldFromNew | Phase::Undo => open.flag_mark.map(since_change),
                Phase::Verify { .. } => open.flag_mark.map(since_dual),
                Phase::Expand | Phase::Retry | Phase::Contract => None,
            };
        }
        if let Some(report) = &mut state.full {
            report.span =
                PhaseSpan { began: time(7), ended: time(7), flag_mark: report.span.flag_mark.map(since_dual) };
        }
        if let Some(span) = &mut state.old_from_new {
            *span = PhaseSpan { began: time(6), ended: time(6), flag_mark: span.flag_mark.map(since_change) };
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
            ExpandStatus::NotBegun => {}
            ExpandStatus::Open { began: at } | ExpandStatus::Complete { ended: at } => *at = time(0),
        }
        self.flag.version = 10;
        if let Some(intended) = &mut state.intended {
            let known = intended.version != version;
            intended.version = if known { 9 } else { 10 };
            if known {
                // The rules depend only on whether an intended change without a recorded outcome exists. They do not
                // depend on the kind of change.
                intended.change = FlagChange::WriteOld;
            }
        }
        // The rules use this field only within one command. In this model, each step can belong to a new command.
        state.flag_seen = None;
        // Only the text of a refusal depends on this field.
        state.discarded = None;
        // In this model, clocks are never set back.
        state.latest = time(0);
        if state.open.is_none() {
            (self.pass_done, self.dirty) = (false, false);
        }
    }
}
