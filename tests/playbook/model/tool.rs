//! The modelled tool, which carries out the playbook's steps.

use std::time::Duration;

use backfill::internals::cutover::{Flag, FlagChange, WriteTo};
use backfill::internals::playbook::{
    BackTarget, BackupPhases, EventBody, Goal, Limits, Phase, PlanKind, Step, StepContext, step, step_back,
};
use jiff::Timestamp;

use super::control::{Control, Transition};
use super::sweep::{
    Decision, FOREIGN, Knowledge, ModelPhase, PassInProgress, counts_as_preexisting, decide, destroyed, values, write,
};
use super::system::{HOME_HOST, Mistake, OTHER_HOST, System, Tool, time};

impl Tool {
    /// Returns the remaining wait before a host's next flag change.
    fn left(&self, control: &Control, host: usize) -> Duration {
        match self.mistake {
            Some(Mistake::NoCacheWait) => Duration::ZERO,
            Some(Mistake::WaitByTheFlagsTime) => {
                let left = control.flag.settled_at().duration_since(self.clock(control, host));
                Duration::try_from(left).unwrap_or_default()
            }
            _ => control.left(host),
        }
    }

    /// Returns the time on a host's clock.
    fn clock(&self, control: &Control, host: usize) -> Timestamp {
        time(control.now + if host == OTHER_HOST { self.skew } else { 0 })
    }

    fn next_step(&self, control: &Control, goal: Goal) -> Option<Step> {
        let flag = &control.flag;
        let context = StepContext {
            kind: PlanKind::Flagged,
            plan: "p",
            flag: Some(flag),
            left: self.left(control, HOME_HOST),
            failures: u64::from(control.failed),
            not_computable: false,
            unfinished: 0,
            diverged: u64::from(control.diverged),
            limits: Limits {
                max_age: Duration::MAX,
                max_mismatch: self.max_mismatch,
                accept_sample: false,
                soak: Duration::from_secs(1),
            },
            backup: BackupPhases::default(),
            deletes_items: false,
            unrestorable_targets: None,
            one_way: None,
            no_way_back: None,
            puts_items: false,
            purged_at: None,
            accept_no_way_back: false,
            facts: &[],
            force: self.force.then_some("because"),
            accept_empty: false,
            confirmed: true,
            // Every step belongs to a new command, which has not completed a pass yet.
            completed: &[],
            first: Some(flag.version),
            missing_flag: None,
        };
        let step = step(&control.state, &context, goal, self.clock(control, HOME_HOST)).ok();
        if let Some(Step::Wait(left)) = step {
            self.assert_bounded(left);
        }
        step
    }

    /// Returns whether this goal is reached.
    pub(super) fn has_ended(&self, system: &System, goal: Goal) -> bool {
        system.in_progress.is_none() && self.next_step(&system.control, goal) == Some(Step::Done)
    }

    fn change(&self, control: &mut Control, change: FlagChange) {
        let left = self.left(control, HOME_HOST);
        let flag = control
            .flag
            .next(change, self.clock(control, HOME_HOST), left)
            .expect("the playbook names only changes that are possible");
        control.record_flag(flag, HOME_HOST);
        match change {
            FlagChange::ReadOld { accept_stale: true } => control.accepted = true,
            FlagChange::OldIsFresh => control.accepted = false,
            _ => {}
        }
    }

    /// Takes one step of a command with this goal. If a phase reads the item in this step, returns the phase.
    pub(super) fn step(&self, control: &mut Control, goal: Goal) -> Option<Option<Phase>> {
        if control.read_flag(HOME_HOST) {
            return Some(None);
        }
        match self.next_step(control, goal)? {
            Step::Preflight => {
                control.append(EventBody::PreflightAccepted { kind: PlanKind::Flagged, accepted: Vec::new() });
            }
            Step::Record(body) => {
                match &body {
                    EventBody::PhaseBegun { phase: Phase::Expand } => control.expanded = false,
                    EventBody::PhaseBegun { .. } => (control.pass_done, control.dirty) = (false, false),
                    EventBody::FlagIntended { forced: Some(_), .. } => control.forced = true,
                    _ => {}
                }
                control.append(body);
            }
            Step::Change(change) => self.change(control, change),
            Step::RecreateFlag(_) => panic!("the flag exists"),
            Step::RunPass(phase) => return Some(Tool::sweep(control, phase)),
            Step::Confirm => panic!("every step is confirmed"),
            Step::Backup(_) => panic!("the plan asks for no backup"),
            Step::Wait(_) | Step::Done => return None,
        }
        Some(None)
    }

    /// Takes one step of a pass. If the pass has finished the item, records that the pass is complete. Otherwise,
    /// returns the phase, which then reads the item.
    fn sweep(control: &mut Control, phase: Phase) -> Option<Phase> {
        let done = if phase == Phase::Expand { control.expanded } else { control.pass_done };
        if done {
            control.append(match phase {
                Phase::Verify { scope, repair } => EventBody::Verified {
                    scope,
                    repair,
                    mismatches: u64::from(control.dirty),
                    plan: "p".to_owned(),
                    hash: String::new(),
                    compared: Some(1),
                },
                _ => EventBody::PhaseComplete { phase, scanned: Some(1) },
            });
            return None;
        }
        Some(phase)
    }

    /// Makes a phase read the item.
    pub(super) fn read(system: &mut System, phase: Phase) {
        let image = system.item;
        if phase == Phase::Expand && system.preexisting.is_none() {
            system.preexisting = Some(counts_as_preexisting(image, system.control.flag.write == WriteTo::Both));
        }
        let phase = ModelPhase::from(phase);
        // While only some keys have moved, this key counts as not moved.
        let reads_new = system.control.flag.read_percent == 100;
        let writes_both =
            matches!(phase, ModelPhase::Verify | ModelPhase::Repair) && system.control.flag.write == WriteTo::Both;
        system.in_progress = Some(PassInProgress { phase, image, reads_new, writes_both, journaled: false });
    }

    pub(super) fn item(&self, system: &mut System) -> Option<()> {
        let mut at = system.in_progress?;
        let known = Knowledge {
            preexisting: system.preexisting,
            reads_new: at.reads_new,
            writes_both: at.writes_both,
            old_stale: system.control.flag.old_stale,
            dual_written: system.control.state.dual_written,
            skip_preexisting: match self.mistake {
                Some(Mistake::SkipPreexisting) => true,
                Some(Mistake::SkipPreexistingValue) => at.image.new == Some(FOREIGN),
                _ => false,
            },
            removes_old_without_new: self.mistake == Some(Mistake::RemoveOldWithoutNew),
        };
        let decision = decide(at.phase, at.image, known);
        let destroyed = destroyed(decision, at.image);
        let removes = matches!(at.phase, ModelPhase::OldFromNew | ModelPhase::Undo | ModelPhase::Contract);
        if destroyed != 0 && !at.journaled && !(removes && self.mistake == Some(Mistake::NoJournal)) {
            at.journaled = true;
            system.in_progress = Some(at);
            return Some(());
        }
        let Some(after) = write(decision, system.item, at.image) else {
            // The write's condition failed. The error contains the current image.
            system.in_progress = Some(PassInProgress { image: system.item, journaled: false, ..at });
            return Some(());
        };
        let journaled = if at.journaled { destroyed } else { 0 };
        system.lost |= values(system.item) & !(values(after) | journaled) != 0;
        system.emptied |= at.phase == ModelPhase::OldFromNew && values(system.item) != 0 && values(after) == 0;
        system.item = after;
        self.finish(system, Transition::Commit(at.phase, decision == Decision::Differs))
    }

    pub(super) fn give_up(&self, system: &mut System) -> Option<()> {
        let at = system.in_progress?;
        self.finish(system, Transition::GiveUp(at.phase))
    }

    /// Ends the phase's work on the item.
    fn finish(&self, system: &mut System, transition: Transition) -> Option<()> {
        system.control = self.transition(system.control, transition)?.control;
        system.in_progress = None;
        Some(())
    }

    /// Runs `cutover --back` in a process without a state file.
    pub(super) fn back(&self, control: &mut Control, to: BackTarget) -> Option<()> {
        let stale = control.flag.old_stale;
        let mut flag = control.flag.clone();
        if self.mistake == Some(Mistake::BackWhileStale) {
            flag.old_stale = false;
        }
        let now = self.clock(control, OTHER_HOST);
        let left = self.left(control, OTHER_HOST);
        match step_back(&flag, to, now, left) {
            Ok(Step::Change(change)) => {
                let flag = flag.next(change, now, left).unwrap();
                control.record_flag(Flag { old_stale: stale, ..flag }, OTHER_HOST);
                Some(())
            }
            Ok(Step::Wait(left)) => {
                self.assert_bounded(left);
                control.read_flag(OTHER_HOST).then_some(())
            }
            _ => None,
        }
    }

    /// Checks that no wait is longer than the cache time, whatever time the clocks show.
    fn assert_bounded(&self, left: Duration) {
        assert!(left <= Duration::from_secs(1) || self.mistake.is_some(), "a wait of {left:?}");
    }
}
