//! Forward: the gate, and the three steps behind it. And back, where that asks nobody.

use std::time::Duration;

use jiff::Timestamp;

use super::asked::{Asked, REPAIR, began_in_dual_writes, later};
use super::{BackTo, Goal, Kind, Next, Obstacle, Override, Refused, Report, Scope, Step, Target, What};
use crate::cutover::{Flag, FlagChange, FlagError, ReadFrom, WriteTo};

/// Whether `run` and `failures retry` may write, or go on writing, under this flag: old values must be what is read, and
/// must be fresh. Asked again every `max_cache_seconds`; when it refuses, the run drains.
pub fn may_expand(flag: &Flag) -> Result<(), Refused> {
    let why = if flag.contracting {
        return Err(Refused::new("the old attribute is being removed", Goal::Contract));
    } else if flag.write == WriteTo::New {
        "only new values are written: old ones are stale, and are copied no more"
    } else if flag.old_stale {
        "old values may be stale, and are copied no more"
    } else if flag.read == ReadFrom::New {
        "readers read the new attribute: what they read is not overwritten behind them"
    } else {
        return Ok(());
    };
    Err(Refused::new(why, Goal::Back { to: BackTo::OldReads, now: false }))
}

/// Whether `--back` needs the state file, and so its lock: it does where rollback's order comes first.
pub fn back_needs_state(flag: &Flag) -> bool {
    flag.write == WriteTo::New || flag.old_stale
}

/// `cutover --back` while both are written and old values are fresh: no gate, no state, whatever else is under way.
pub fn step_back(flag: &Flag, to: BackTo, now: Timestamp, left: Duration) -> Result<Step, Refused> {
    if flag.contracting {
        return Err(Refused::new("the old attribute is being removed, and there is no way back", Goal::Contract));
    }
    if back_needs_state(flag) {
        return Err(Refused::new(
            "old values may be stale: the way back makes them equal the new ones first, or accepts stale reads by `--now`, \
             and needs the state file",
            Goal::Back { to: BackTo::OldReads, now: false },
        ));
    }
    let change = match (flag.read, flag.write, to) {
        (ReadFrom::New, ..) => FlagChange::ReadOld { accept_stale: false },
        (ReadFrom::Old, WriteTo::Both, BackTo::OldWrites) => FlagChange::WriteOld,
        (ReadFrom::Old, ..) => {
            return Ok(if left.is_zero() { Step::Done } else { Step::Wait(left) });
        }
    };
    match flag.next(change, now, left) {
        Ok(_) => Ok(Step::Change(change)),
        Err(FlagError::TooSoon { left }) => Ok(Step::Wait(left)),
        Err(error) => Err(Refused::new(error.to_string(), "status")),
    }
}

impl Asked<'_> {
    pub(super) fn cutover(&self, target: Target) -> Result<Step, Refused> {
        if matches!(self.world.kind, Kind::Flagged | Kind::Stated) && self.state.preflight.is_none() {
            return match target {
                Target::DualWrite => Ok(Step::Preflight),
                Target::ReadNew(_) | Target::WriteNew => {
                    Err(Refused::new("the migration has not begun", Goal::Run { again: false }))
                }
            };
        }
        let flag = self.flag()?;
        if flag.contracting {
            return Err(Refused::new("the old attribute is being removed", Goal::Contract));
        }
        match target {
            Target::DualWrite => self.dual_write(flag),
            Target::ReadNew(percent) => self.read_new(flag, percent),
            Target::WriteNew => self.write_new(flag),
        }
    }

    fn dual_write(&self, flag: &Flag) -> Result<Step, Refused> {
        match (flag.write, flag.read) {
            (WriteTo::Old, _) => self.past(FlagChange::DualWrite, Ok(())),
            (WriteTo::Both, ReadFrom::Old) => Ok(self.settle().unwrap_or(Step::Done)),
            (WriteTo::Both, ReadFrom::New) | (WriteTo::New, _) => Err(self.beyond(flag)),
        }
    }

    fn read_new(&self, flag: &Flag, percent: u8) -> Result<Step, Refused> {
        if !(1..=100).contains(&percent) {
            return Err(Refused::new("`--percent` is from 1 to 100", self.ahead(Some(flag))));
        }
        if self.world.kind == Kind::Stated && percent < 100 {
            return Err(Refused::new(
                "without a flag nothing says which keys a percentage means",
                Goal::CutoverTo(Target::ReadNew(100)),
            ));
        }
        let back = Goal::Back { to: BackTo::OldReads, now: false };
        match flag.write {
            WriteTo::Old => {
                return Err(match self.expanded() {
                    Err(refused) => refused,
                    Ok(()) => Refused::new("new values are not written yet", Goal::CutoverTo(Target::DualWrite)),
                });
            }
            WriteTo::New => return Err(self.beyond(flag)),
            WriteTo::Both if flag.old_stale && percent < 100 => {
                return Err(Refused::new("old values may be stale, and nobody is sent to them", back));
            }
            WriteTo::Both if flag.read_percent == percent => {
                return Ok(self.settle().unwrap_or(Step::Done));
            }
            WriteTo::Both if flag.old_stale => {
                return Err(Refused::new("old values may be stale: first they are made equal the new ones", back));
            }
            WriteTo::Both => {}
        }
        let change = FlagChange::ReadNew(percent);
        if percent < flag.read_percent {
            // Fewer keys than the gate let through: what it said then still stands.
            let given_up = self.give_up(change, None)?;
            return given_up.map_or_else(|| self.forward(change, self.state.forced_reads.as_deref()), Ok);
        }
        self.expanded().map_err(|refused| self.whatever_the_reason(refused))?;
        let gate = self.gate(flag);
        if gate.is_ok() && self.rests_on_an_empty_table(flag) && !self.state.is_overridden(Obstacle::EmptyTable) {
            let (obstacle, reason) = (Obstacle::EmptyTable, "--accept empty-table".to_owned());
            let accepted = Step::Record(What::Overridden(Override { obstacle, reason }));
            return Ok(if self.world.confirmed { accepted } else { Step::Confirm });
        }
        self.past(change, gate)
    }

    /// Whether the verification that counts for the gate has compared nothing.
    fn rests_on_an_empty_table(&self, flag: &Flag) -> bool {
        let counts = self.for_the_gate().find(|(_, report)| self.counts(report, flag).is_ok());
        counts.is_some_and(|(_, report)| report.compared == Some(0))
    }

    /// The verifications that the gate looks at, in this order.
    fn for_the_gate(&self) -> impl Iterator<Item = (Scope, &Report)> {
        let sampled = self.state.sampled.as_ref().filter(|_| self.world.limits.accept_sample);
        let good = [(Scope::Full, self.state.full.as_ref()), (Scope::Sampled, sampled)];
        good.into_iter().filter_map(|(scope, report)| Some((scope, report?)))
    }

    fn write_new(&self, flag: &Flag) -> Result<Step, Refused> {
        match flag.write {
            WriteTo::New => return Ok(self.settle().unwrap_or(Step::Done)),
            WriteTo::Both if flag.read_percent == 100 => {}
            WriteTo::Both | WriteTo::Old => {
                return Err(Refused::new("some readers still read the old attribute", self.ahead(Some(flag))));
            }
        }
        self.whole().map_err(|refused| self.whatever_the_reason(refused))?;
        self.past(FlagChange::WriteNew, self.last_gate(flag))
    }

    /// One step forward: the last one waited out, and this one confirmed.
    fn forward(&self, change: FlagChange, forced: Option<&str>) -> Result<Step, Refused> {
        if !self.world.confirmed {
            return Ok(Step::Confirm);
        }
        match self.settle() {
            Some(wait) => Ok(wait),
            None => self.make(change, forced),
        }
    }

    /// One step forward, through the gate and with a way back, or for a reason.
    fn past(&self, change: FlagChange, gate: Result<(), Refused>) -> Result<Step, Refused> {
        let closed = gate.err();
        let forced = closed.as_ref().and(self.world.force);
        match self.give_up(change, closed)? {
            Some(step) => Ok(step),
            None => self.forward(change, forced),
        }
    }

    /// Whatever stands in the way of this change, and has not been gone past, is named at once: a reason is given for all
    /// that was said, and for nothing else. With one, what is given up for it is recorded first.
    fn give_up(&self, change: FlagChange, closed: Option<Refused>) -> Result<Option<Step>, Refused> {
        const FORWARD: &str = "`--force REASON` goes forward anyway";
        let no_way_back = self.world.no_way_back.map(|items| {
            let obstacle = Obstacle::UnsureTargets { items };
            (obstacle, format!("{obstacle}. So a step forward is refused. {FORWARD}"))
        });
        let one_way = self.world.one_way.filter(|_| change == FlagChange::WriteNew);
        let one_way = one_way.map(|why| (Obstacle::OneWay, format!("{}: {why}. {FORWARD}", Obstacle::OneWay)));
        let given_up = no_way_back.into_iter().chain(one_way).map(|(obstacle, why)| self.go_past(obstacle, why));
        if self.world.force.is_none() {
            return together(closed.into_iter().chain(given_up.filter_map(Result::err))).map(|()| None);
        }
        for step in given_up {
            if let Some(step) = step? {
                return Ok(Some(step));
            }
        }
        Ok(None)
    }

    /// A refusal that no reason goes past.
    fn whatever_the_reason(&self, refused: Refused) -> Refused {
        match self.world.force {
            Some(_) => Refused { why: format!("{}, and `--force` does not go past that", refused.why), ..refused },
            None => refused,
        }
    }

    /// Whether every item that has an old value has got its new one. From `write = new` on readers fall back no more, and
    /// would find nothing.
    fn whole(&self) -> Result<(), Refused> {
        self.expanded()?;
        match self.world.failures {
            0 => Ok(()),
            failed => Err(Refused::new(
                format!(
                    "{failed} items have failed: without a new value they would be lost to readers (`failures retry` \
                         works where readers read old)"
                ),
                Goal::Back { to: BackTo::OldReads, now: false },
            )),
        }
    }

    /// Whether the new attribute alone may be written; if not, what opens it.
    pub(super) fn last_gate(&self, flag: &Flag) -> Result<(), Refused> {
        self.whole()?;
        match self.state.forced_reads {
            // What readers did not see while they fell back may show.
            Some(_) => self.gate(flag),
            None => self.nothing_is_known_to_differ(flag),
        }
    }

    /// What a verification has found is there until a later one of all items finds it no more: a sample may have missed it.
    fn nothing_is_known_to_differ(&self, flag: &Flag) -> Result<(), Refused> {
        let full = self.state.full.as_ref();
        let behind = |report: &&Report| full.is_none_or(|full| report.span.began >= full.span.began);
        let sampled = self.state.sampled.as_ref().filter(behind);
        let found = [full.zip(Some("verification of all items")), sampled.zip(Some("sampled verification"))];
        match found.into_iter().flatten().find(|(report, _)| report.mismatches > self.world.limits.max_mismatch) {
            None => Ok(()),
            Some((report, _)) if full == Some(report) && report.repair => Err(Refused::new(
                format!("the last repair left {} mismatches, and its report says why", report.mismatches),
                self.forced_forward(flag),
            )),
            Some((report, which)) => {
                Err(Refused::new(format!("the last {which} found {} mismatches", report.mismatches), REPAIR))
            }
        }
    }

    /// Whether reads may move to the new attribute; if not, all that keeps it closed, and what comes first to open it.
    pub(super) fn gate(&self, flag: &Flag) -> Result<(), Refused> {
        self.expanded()?;
        let mut closed = Vec::new();
        if self.world.failures > 0 {
            // Nothing is copied behind readers of the new attribute.
            let next = match flag.read {
                ReadFrom::Old => self.failed(),
                ReadFrom::New => Goal::Back { to: BackTo::OldReads, now: false }.into(),
            };
            closed.push(Refused::new(format!("{} items have failed", self.world.failures), next));
        }
        if self.world.diverged > 0 {
            // Another repair would leave what the last one has left.
            let repaired = self.state.full.as_ref().is_some_and(|report| report.repair);
            let next = if repaired { self.forced_forward(flag) } else { REPAIR.into() };
            closed.push(Refused::new(format!("{} items have diverged", self.world.diverged), next));
        }
        closed.extend(self.nothing_is_known_to_differ(flag).and_then(|()| self.is_verified(flag)).err());
        together(closed)
    }

    /// The step forward with `--force REASON`, despite the items that a repair left.
    fn forced_forward(&self, flag: &Flag) -> Next {
        let goal = if flag.read_percent >= 100 {
            Goal::CutoverTo(Target::WriteNew)
        } else if let Goal::CutoverTo(Target::ReadNew(_)) = self.goal {
            self.goal
        } else {
            Goal::CutoverTo(Target::ReadNew(100))
        };
        Next::from(goal).with("--force REASON")
    }

    /// Whether a verification that found no more than it may counts for the gate.
    fn is_verified(&self, flag: &Flag) -> Result<(), Refused> {
        let mut closed = None;
        for (scope, report) in self.for_the_gate() {
            match self.counts(report, flag) {
                Ok(()) => return self.read_something(scope, report).and_then(|()| self.clock_goes_forward()),
                Err(why) => closed = Some(why),
            }
        }
        let why = match (closed, &self.state.sampled) {
            (Some(why), _) => why,
            (None, Some(_)) => "there is no full verification, and the plan does not say `accept_sample = true`",
            (None, None) => "nothing has been verified",
        };
        Err(Refused::new(why, Goal::Verify { scope: Scope::Full, repair: false }))
    }

    /// That nothing was compared proves nothing, unless a pass that was read otherwise has found the table empty too.
    fn read_something(&self, scope: Scope, report: &Report) -> Result<(), Refused> {
        let nothing = Obstacle::EmptyTable;
        match (report.compared, self.state.expanded_items) {
            (Some(0), Some(0)) if self.world.accept_empty || self.state.is_overridden(nothing) => Ok(()),
            (Some(0), Some(0)) => {
                let next = Next::from(Goal::CutoverTo(Target::ReadNew(100))).with("--accept empty-table");
                Err(Refused::new(format!("{nothing}. If that is right, confirm it with `--accept empty-table`"), next))
            }
            // It may have drawn no item of a table that has some.
            (Some(0), _) if scope == Scope::Sampled => Err(Refused::new(
                "the last sampled verification compared no item",
                Goal::Verify { scope: Scope::Full, repair: false },
            )),
            (Some(0), read) => {
                let read = match read {
                    Some(items) => format!("the run read {items} items"),
                    None => "it is not recorded how many items the run read strongly consistently".to_owned(),
                };
                Err(Refused::new(
                    format!("the last verification compared no item, and {read}: run another pass to find out"),
                    Goal::Run { again: true },
                ))
            }
            (_, _) => Ok(()),
        }
    }

    /// Whether this report is one for the gate.
    fn counts(&self, report: &Report, flag: &Flag) -> Result<(), &'static str> {
        let began = report.span.began;
        let super::Expand::Complete { ended } = self.state.expand else { return Err("expand is not complete") };
        if flag.dual_since.is_none() {
            return Err("new values are not written yet");
        }
        if report.plan != self.world.plan {
            Err("the last verification was of another plan")
        } else if report.mismatches > self.world.limits.max_mismatch {
            Err("the last verification found mismatches")
        } else if began < ended {
            Err("the last verification began before expand ended")
        } else if !began_in_dual_writes(began, report.span.under, flag, Timestamp::MAX) {
            Err("the last verification began before every writer wrote both attributes")
        } else if later(began, self.world.limits.max_age) < self.now {
            Err("the last verification is older than the plan's `max_age`")
        } else {
            Ok(())
        }
    }

    /// Refuses while the clock stands before what has happened: it was set back, and ages cannot be told by it.
    fn clock_goes_forward(&self) -> Result<(), Refused> {
        let (now, latest) = (self.now, self.state.latest);
        if now >= latest {
            return Ok(());
        }
        let goal =
            if matches!(self.goal, Goal::CutoverTo(_)) { self.goal } else { Goal::CutoverTo(Target::ReadNew(100)) };
        Err(Refused::new(
            format!(
                "the clock of this host says {now}, and the last line of the history is of {latest}: it was set back, and how \
                 old the last verification is cannot be told. Set it right, or wait until then"
            ),
            goal,
        ))
    }

    fn beyond(&self, flag: &Flag) -> Refused {
        Refused::new("the migration is beyond that (`backfill cutover --back` goes back)", self.ahead(Some(flag)))
    }
}

/// All of these in one refusal, with the way out of the first.
fn together(refused: impl IntoIterator<Item = Refused>) -> Result<(), Refused> {
    let all = refused.into_iter().reduce(|all, one| Refused { why: format!("{}; and {}", all.why, one.why), ..all });
    all.map_or(Ok(()), Err)
}
