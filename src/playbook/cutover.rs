//! The steps of the cutover: the checks of the gate, the three steps forward, and the steps back, which need no gate.

use std::time::Duration;

use jiff::Timestamp;

use super::asked::{Asked, REPAIR, began_in_dual_writes, later};
use super::{BackTo, Goal, Kind, Next, Obstacle, Override, Refused, Report, Scope, Step, Target, What};
use crate::cutover::{Flag, FlagChange, FlagError, ReadFrom, WriteTo};
use crate::figure::count;

/// Checks whether `run` and `failures retry` may write under this flag. These commands may write if readers read old
/// values and old values are fresh. A running pass repeats this check every `max_cache_seconds`, and drains if the
/// check refuses.
pub fn may_expand(flag: &Flag) -> Result<(), Refused> {
    let why = if flag.contracting {
        return Err(Refused::new("the old attribute is being removed", Goal::Contract));
    } else if flag.write == WriteTo::New {
        "only new values are written, so old ones are stale and must not be copied"
    } else if flag.old_stale {
        "old values may be stale and must not be copied"
    } else if flag.read == ReadFrom::New {
        "readers read the new attribute: what they read is not overwritten behind them"
    } else {
        return Ok(());
    };
    Err(Refused::new(why, Goal::Back { to: BackTo::OldReads, now: false }))
}

/// The recommended percentage of the keys for the first time that readers move. This percentage is large enough to
/// reveal an error and small enough to limit the damage.
const FIRST_PERCENT: u8 = 10;

/// Whether `--back` needs the state file and its lock, because the old-from-new pass must run first.
pub fn back_needs_state(flag: &Flag) -> bool {
    flag.write == WriteTo::New || flag.old_stale
}

/// The next step of `cutover --back` while both attributes are written and old values are fresh. This step needs
/// neither a gate nor the state file, so it works while other commands run.
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
                return Err(Refused::new("old values may be stale, so no reader may move to them", back));
            }
            WriteTo::Both if flag.read_percent == percent => {
                return Ok(self.settle().unwrap_or(Step::Done));
            }
            WriteTo::Both if flag.old_stale => {
                return Err(Refused::new("old values may be stale: make them equal the new ones first", back));
            }
            WriteTo::Both => {}
        }
        let change = FlagChange::ReadNew(percent);
        if percent < flag.read_percent {
            // The gate already allowed a larger percentage of the keys, so the gate is not checked again.
            let given_up = self.give_up(change, None)?;
            return given_up.map_or_else(|| self.forward(change, self.state.forced_reads.as_deref()), Ok);
        }
        self.expanded().map_err(|refused| self.whatever_the_reason(refused))?;
        let gate = self.gate(flag);
        if gate.is_ok() && self.rests_on_an_empty_table(flag) && !self.state.is_overridden(Obstacle::EmptyTable) {
            let obstacle = Obstacle::EmptyTable;
            let reason = "--accept empty-table".to_owned();
            let accepted = Step::Record(What::Overridden(Override { obstacle, reason }));
            return Ok(if self.world.confirmed { accepted } else { Step::Confirm });
        }
        self.past(change, gate)
    }

    /// Whether the verification that opens the gate compared no item.
    fn rests_on_an_empty_table(&self, flag: &Flag) -> bool {
        let counts = self.for_the_gate().find(|(_, report)| self.counts(report, flag).is_ok());
        counts.is_some_and(|(_, report)| report.compared == Some(0))
    }

    /// The verifications that the gate considers, in order: the full verification, and then the sampled verification if
    /// the plan accepts samples.
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

    /// Moves the flag one step forward. The step needs a confirmation, and waits until applications obey the previous
    /// step.
    fn forward(&self, change: FlagChange, forced: Option<&str>) -> Result<Step, Refused> {
        if !self.world.confirmed {
            return Ok(Step::Confirm);
        }
        match self.settle() {
            Some(wait) => Ok(wait),
            None => self.make(change, forced),
        }
    }

    /// Moves the flag one step forward if the gate is open and a rollback remains possible. Otherwise the operator must
    /// give a `--force` reason.
    fn past(&self, change: FlagChange, gate: Result<(), Refused>) -> Result<Step, Refused> {
        let closed = gate.err();
        let forced = closed.as_ref().and(self.world.force);
        match self.give_up(change, closed)? {
            Some(step) => Ok(step),
            None => self.forward(change, forced),
        }
    }

    /// Checks the obstacles to this change that are not overridden yet. Without a `--force` reason, one refusal lists
    /// all of them, because a later reason covers exactly the listed obstacles. With a reason, returns the next step
    /// that records an override; `None` once every override is recorded.
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

    /// If `--force` was given, adds to the refusal a remark that `--force` does not override this obstacle.
    fn whatever_the_reason(&self, refused: Refused) -> Refused {
        match self.world.force {
            Some(_) => Refused { why: format!("{}, and `--force` does not go past that", refused.why), ..refused },
            None => refused,
        }
    }

    /// Refuses if an item may have an old value but no new value. From `write = new` on, readers no longer fall back to
    /// old values, so they would find nothing.
    fn whole(&self) -> Result<(), Refused> {
        self.expanded()?;
        match self.world.failures {
            0 => Ok(()),
            failed => Err(Refused::new(
                format!(
                    "{}: readers of the new attribute would not find a value there. `failures retry` works only \
                         while readers read the old attribute",
                    count(failed, "item has failed", "items have failed")
                ),
                Goal::Back { to: BackTo::OldReads, now: false },
            )),
        }
    }

    /// Checks whether writers may write only the new attribute. The refusal suggests the command that opens this gate.
    pub(super) fn last_gate(&self, flag: &Flag) -> Result<(), Refused> {
        self.whole()?;
        match self.state.forced_reads {
            // The operator used `--force` to move readers while the gate was closed. For this step the gate must be
            // open, because readers stop falling back to old values.
            Some(_) => self.gate(flag),
            None => self.nothing_is_known_to_differ(flag),
        }
    }

    /// A mismatch from any verification keeps the gate closed until a later full verification is clean. A later sampled
    /// verification is not enough, because it may miss the items that differ.
    fn nothing_is_known_to_differ(&self, flag: &Flag) -> Result<(), Refused> {
        let full = self.state.full.as_ref();
        let behind = |report: &&Report| full.is_none_or(|full| report.span.began >= full.span.began);
        let sampled = self.state.sampled.as_ref().filter(behind);
        let found = [full.zip(Some("the last verification of all items")), sampled.zip(Some("a sampled verification"))];
        match found.into_iter().flatten().find(|(report, _)| report.mismatches > self.world.limits.max_mismatch) {
            None => Ok(()),
            Some((report, _)) if full == Some(report) && report.repair => Err(Refused::new(
                format!(
                    "the last repair left {}, and its report says why",
                    count(report.mismatches, "mismatch", "mismatches")
                ),
                self.forced_forward(flag),
            )),
            Some((report, which)) => Err(Refused::new(
                format!("{which} found {}", count(report.mismatches, "mismatch", "mismatches")),
                REPAIR,
            )),
        }
    }

    /// Checks whether readers may move to the new attribute. The refusal lists every reason why the gate is closed, and
    /// suggests the first command to run.
    pub(super) fn gate(&self, flag: &Flag) -> Result<(), Refused> {
        self.expanded()?;
        let mut closed = Vec::new();
        if self.world.failures > 0 {
            // While readers read the new attribute, no command copies old values, so `failures retry` cannot run.
            let next = match flag.read {
                ReadFrom::Old => self.failed(),
                ReadFrom::New => Goal::Back { to: BackTo::OldReads, now: false }.into(),
            };
            closed.push(Refused::new(count(self.world.failures, "item has failed", "items have failed"), next));
        }
        if self.world.diverged > 0 {
            // The last repair could not fix these items, so a second repair would not fix them either.
            let repaired = self.state.full.as_ref().is_some_and(|report| report.repair);
            let next = if repaired { self.forced_forward(flag) } else { REPAIR.into() };
            closed.push(Refused::new(count(self.world.diverged, "item has diverged", "items have diverged"), next));
        }
        closed.extend(self.nothing_is_known_to_differ(flag).and_then(|()| self.is_verified(flag)).err());
        together(closed)
    }

    /// The next step that moves readers. With a flag, readers first move for a small percentage of the keys, and later
    /// for all keys. Without a flag, readers can only move for all keys at once.
    pub(super) fn readers(&self, flag: &Flag) -> Goal {
        let is_first = self.world.kind == Kind::Flagged && flag.read == ReadFrom::Old;
        Goal::CutoverTo(Target::ReadNew(if is_first { FIRST_PERCENT } else { 100 }))
    }

    /// The command to suggest if a repair could not fix some items: the step forward with `--force REASON`.
    fn forced_forward(&self, flag: &Flag) -> Next {
        let goal = if flag.read_percent >= 100 {
            Goal::CutoverTo(Target::WriteNew)
        } else if let Goal::CutoverTo(Target::ReadNew(_)) = self.goal {
            self.goal
        } else {
            self.readers(flag)
        };
        Next::from(goal).with("--force REASON")
    }

    /// Refuses if the gate accepts none of the recorded verifications.
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

    /// A verification that compared no item proves nothing, unless a strongly consistent pass also found the table
    /// empty.
    fn read_something(&self, scope: Scope, report: &Report) -> Result<(), Refused> {
        let nothing = Obstacle::EmptyTable;
        match (report.compared, self.state.expanded_items) {
            (Some(0), Some(0)) if self.world.accept_empty || self.state.is_overridden(nothing) => Ok(()),
            (Some(0), Some(0)) => {
                let next = Next::from(Goal::CutoverTo(Target::ReadNew(100))).with("--accept empty-table");
                Err(Refused::new(format!("{nothing}. If that is right, confirm it with `--accept empty-table`"), next))
            }
            // A sample of a table that has items may contain no item.
            (Some(0), _) if scope == Scope::Sampled => Err(Refused::new(
                "the last sampled verification compared no item",
                Goal::Verify { scope: Scope::Full, repair: false },
            )),
            (Some(0), read) => {
                let read = match read {
                    Some(items) => format!("the run read {}", count(items, "item", "items")),
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

    /// Checks whether the gate accepts this report. The error says why the gate does not accept it.
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

    /// Refuses if this host's clock is behind the time of the last event in the history. In that case the clock was set
    /// back, so the age of a report is unknown.
    fn clock_goes_forward(&self) -> Result<(), Refused> {
        let now = self.now;
        let latest = self.state.latest;
        if now >= latest {
            return Ok(());
        }
        let goal = match (self.goal, self.flag_if_any()?) {
            (Goal::CutoverTo(_), _) | (_, None) => self.goal,
            (_, Some(flag)) => self.readers(flag),
        };
        Err(Refused::new(
            format!(
                "the clock of this host says {now}, but the last line of the history is from {latest}. The clock was set \
                 back, so the age of the last verification is unknown. Set the clock right, or wait until then"
            ),
            goal,
        ))
    }

    fn beyond(&self, flag: &Flag) -> Refused {
        Refused::new(
            "the migration is already past that step (`backfill cutover --back` goes back)",
            self.ahead(Some(flag)),
        )
    }
}

/// Joins these refusals into one. The result suggests the next command of the first refusal.
fn together(refused: impl IntoIterator<Item = Refused>) -> Result<(), Refused> {
    let all = refused.into_iter().reduce(|all, one| Refused { why: format!("{}; and {}", all.why, one.why), ..all });
    all.map_or(Ok(()), Err)
}
