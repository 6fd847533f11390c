//! Decides the steps of the cutover. Of the three steps forward, only the steps to `read = new` and `write = new` check
//! the gate. The steps back do not check it.

use std::time::Duration;

use jiff::Timestamp;

use super::request::{REPAIR, StepRequest, add_saturating, began_in_dual_writes};
use super::{
    BackTarget, CutoverTarget, EventBody, Goal, NextCommand, Obstacle, Override, PlanKind, ReportSummary, Step,
    StepRefusal, VerifyScope,
};
use crate::cutover::{Flag, FlagChange, FlagError, ReadFrom, WriteTo};
use crate::figure::count;

/// Checks whether `run` and `failures retry` may write under this flag. They may write while readers read old values
/// and old values are fresh. A running pass repeats this check every `max_cache_seconds`, and drains if the check
/// fails.
pub fn may_expand(flag: &Flag) -> Result<(), StepRefusal> {
    let why = if flag.contracting {
        return Err(StepRefusal::new("the old attribute is being removed", Goal::Contract));
    } else if flag.write == WriteTo::New {
        "applications write only new values, so old values are stale and must not be copied"
    } else if flag.old_stale {
        "old values may be stale and must not be copied"
    } else if flag.read == ReadFrom::New {
        "readers read the new attribute, and a run never overwrites the attribute that they read"
    } else {
        return Ok(());
    };
    Err(StepRefusal::new(why, Goal::Back { to: BackTarget::OldReads, now: false }))
}

/// The percentage of keys that the tool suggests for the first move of readers. It is large enough to reveal an error,
/// but small enough to limit the damage.
const FIRST_PERCENT: u8 = 10;

/// Returns whether `--back` must first run the old-from-new pass, which needs the state file and its lock.
pub fn back_needs_state(flag: &Flag) -> bool {
    flag.write == WriteTo::New || flag.old_stale
}

/// Decides the next step of `cutover --back` while applications write both attributes and old values are fresh. This
/// step needs neither a gate nor the state file, so it is possible while other commands run.
pub fn step_back(flag: &Flag, to: BackTarget, now: Timestamp, left: Duration) -> Result<Step, StepRefusal> {
    if flag.contracting {
        return Err(StepRefusal::new(
            "the old attribute is being removed, so a rollback is no longer possible",
            Goal::Contract,
        ));
    }
    if back_needs_state(flag) {
        return Err(StepRefusal::new(
            "old values may be stale. The step back first makes them equal to the new values, or accepts stale reads \
             with `--now`. Both need the state file",
            Goal::Back { to: BackTarget::OldReads, now: false },
        ));
    }
    let change = match (flag.read, flag.write, to) {
        (ReadFrom::New, ..) => FlagChange::ReadOld { accept_stale: false },
        (ReadFrom::Old, WriteTo::Both, BackTarget::OldWrites) => FlagChange::WriteOld,
        (ReadFrom::Old, ..) => {
            return Ok(if left.is_zero() { Step::Done } else { Step::Wait(left) });
        }
    };
    match flag.next(change, now, left) {
        Ok(_) => Ok(Step::Change(change)),
        Err(FlagError::TooSoon { left }) => Ok(Step::Wait(left)),
        Err(error) => Err(StepRefusal::new(error.to_string(), "status")),
    }
}

impl StepRequest<'_> {
    pub(super) fn cutover(&self, target: CutoverTarget) -> Result<Step, StepRefusal> {
        if matches!(self.context.kind, PlanKind::Flagged | PlanKind::Stated) && self.state.preflight.is_none() {
            return match target {
                CutoverTarget::DualWrite => Ok(Step::Preflight),
                CutoverTarget::ReadNew(_) | CutoverTarget::WriteNew => Err(self.not_begun()),
            };
        }
        let flag = self.flag()?;
        if flag.contracting {
            return Err(StepRefusal::new("the old attribute is being removed", Goal::Contract));
        }
        match target {
            CutoverTarget::DualWrite => self.dual_write(flag),
            CutoverTarget::ReadNew(percent) => self.read_new(flag, percent),
            CutoverTarget::WriteNew => self.write_new(flag),
        }
    }

    fn dual_write(&self, flag: &Flag) -> Result<Step, StepRefusal> {
        match (flag.write, flag.read) {
            (WriteTo::Old, _) => self.forward_through_gate(FlagChange::DualWrite, Ok(())),
            (WriteTo::Both, ReadFrom::Old) => Ok(self.wait_for_caches().unwrap_or(Step::Done)),
            (WriteTo::Both, ReadFrom::New) | (WriteTo::New, _) => Err(self.already_past(flag)),
        }
    }

    fn read_new(&self, flag: &Flag, percent: u8) -> Result<Step, StepRefusal> {
        if !(1..=100).contains(&percent) {
            return Err(StepRefusal::new("`--percent` must be from 1 to 100", self.next_forward(Some(flag))));
        }
        if self.context.kind == PlanKind::Stated && percent < 100 {
            return Err(StepRefusal::new(
                "without a flag, nothing defines which keys belong to a percentage",
                self.with_fact_option(Goal::CutoverTo(CutoverTarget::ReadNew(100))),
            ));
        }
        let back = Goal::Back { to: BackTarget::OldReads, now: false };
        match flag.write {
            WriteTo::Old => {
                return Err(match self.check_expanded() {
                    Err(refused) => refused,
                    Ok(()) => StepRefusal::new(
                        "new values are not written yet",
                        self.with_fact_option(Goal::CutoverTo(CutoverTarget::DualWrite)),
                    ),
                });
            }
            WriteTo::New => return Err(self.already_past(flag)),
            WriteTo::Both if flag.old_stale && percent < 100 => {
                return Err(StepRefusal::new("old values may be stale, so readers must not move to them", back));
            }
            WriteTo::Both if flag.read_percent == percent => {
                return Ok(self.wait_for_caches().unwrap_or(Step::Done));
            }
            WriteTo::Both if flag.old_stale => {
                return Err(StepRefusal::new(
                    "old values may be stale, so first make them equal to the new values",
                    back,
                ));
            }
            WriteTo::Both => {}
        }
        let change = FlagChange::ReadNew(percent);
        if percent < flag.read_percent {
            // The gate already allowed a larger percentage of the keys, so the gate is not checked again.
            let override_steps = self.check_obstacles(change, None)?;
            return override_steps.map_or_else(|| self.forward(change, self.state.forced_reads.as_deref()), Ok);
        }
        self.check_expanded().map_err(|refused| self.mention_force_has_no_effect(refused))?;
        let gate = self.gate(flag);
        if gate.is_ok() && self.verified_an_empty_table(flag) && !self.state.is_overridden(Obstacle::EmptyTable) {
            let obstacle = Obstacle::EmptyTable;
            let reason = "--accept empty-table".to_owned();
            let accepted = Step::Record(EventBody::Overridden(Override { obstacle, reason }));
            return Ok(if self.context.confirmed { accepted } else { Step::Confirm });
        }
        self.forward_through_gate(change, gate)
    }

    /// Returns whether the verification that opens the gate compared no item.
    fn verified_an_empty_table(&self, flag: &Flag) -> bool {
        let counts = self.gate_reports().find(|(_, report)| self.check_report(report, flag).is_ok());
        counts.is_some_and(|(_, report)| report.compared == Some(0))
    }

    /// Returns the verifications that can open the gate, in this order: the full verification, then the sampled
    /// verification if the plan accepts samples.
    fn gate_reports(&self) -> impl Iterator<Item = (VerifyScope, &ReportSummary)> {
        let sampled = self.state.sampled.as_ref().filter(|_| self.context.limits.accept_sample);
        let good = [(VerifyScope::Full, self.state.full.as_ref()), (VerifyScope::Sampled, sampled)];
        good.into_iter().filter_map(|(scope, report)| Some((scope, report?)))
    }

    fn write_new(&self, flag: &Flag) -> Result<Step, StepRefusal> {
        match flag.write {
            WriteTo::New => return Ok(self.wait_for_caches().unwrap_or(Step::Done)),
            WriteTo::Both if flag.old_stale => {
                let why = "a step back has begun, and old values may be stale. Complete it first. Then every item has \
                           fresh values on both sides, and you can go forward again with `cutover --to read-new`";
                return Err(StepRefusal::new(why, self.next_back(Goal::Back { to: BackTarget::OldReads, now: false })));
            }
            WriteTo::Both if flag.read_percent == 100 => {}
            WriteTo::Both | WriteTo::Old => {
                return Err(StepRefusal::new(
                    "some readers still read the old attribute",
                    self.next_forward(Some(flag)),
                ));
            }
        }
        self.check_every_item_has_new_value().map_err(|refused| self.mention_force_has_no_effect(refused))?;
        self.forward_through_gate(FlagChange::WriteNew, self.write_new_gate(flag))
    }

    /// Moves the flag one step forward. Before that, asks for confirmation, and then waits until applications obey the
    /// previous step.
    fn forward(&self, change: FlagChange, forced: Option<&str>) -> Result<Step, StepRefusal> {
        if !self.context.confirmed {
            return Ok(Step::Confirm);
        }
        match self.wait_for_caches() {
            Some(wait) => Ok(wait),
            None => self.change_flag(change, forced),
        }
    }

    /// Moves the flag one step forward if the gate is open and a rollback remains possible. Otherwise, the step needs a
    /// `--force` reason.
    fn forward_through_gate(&self, change: FlagChange, gate: Result<(), StepRefusal>) -> Result<Step, StepRefusal> {
        let closed = gate.err();
        let forced = closed.as_ref().and(self.context.force);
        match self.check_obstacles(change, closed)? {
            Some(step) => Ok(step),
            None => self.forward(change, forced),
        }
    }

    /// Checks for obstacles to this change that are not yet overridden. If the command has no `--force` reason, a
    /// single refusal lists all of these obstacles. A reason that the operator then gives covers exactly the listed
    /// obstacles. If the command has a reason, returns the step that records the next override, or `None` once every
    /// override is recorded.
    fn check_obstacles(&self, change: FlagChange, closed: Option<StepRefusal>) -> Result<Option<Step>, StepRefusal> {
        const FORWARD: &str = "`--force REASON` goes forward anyway";
        let unrestorable_targets = self.context.unrestorable_targets.map(|items| {
            let obstacle = Obstacle::UnsureTargets { items };
            (obstacle, format!("{obstacle}. So a step forward is refused. {FORWARD}"))
        });
        let one_way = self.context.one_way.filter(|_| change == FlagChange::WriteNew);
        let one_way = one_way.map(|why| (Obstacle::OneWay, format!("{}: {why}. {FORWARD}", Obstacle::OneWay)));
        let override_steps =
            unrestorable_targets.into_iter().chain(one_way).map(|(obstacle, why)| self.require_override(obstacle, why));
        if self.context.force.is_none() {
            return merge_refusals(closed.into_iter().chain(override_steps.filter_map(Result::err))).map(|()| None);
        }
        for step in override_steps {
            if let Some(step) = step? {
                return Ok(Some(step));
            }
        }
        Ok(None)
    }

    /// If the operator passed `--force`, adds a note to the refusal which states that `--force` does not override this
    /// obstacle.
    fn mention_force_has_no_effect(&self, refused: StepRefusal) -> StepRefusal {
        match self.context.force {
            Some(_) => StepRefusal { why: format!("{}, and `--force` does not override that", refused.why), ..refused },
            None => refused,
        }
    }

    /// Refuses if an item may have an old value but no new value. Readers would not find a value in such an item,
    /// because from `write = new` on they no longer fall back to old values.
    fn check_every_item_has_new_value(&self) -> Result<(), StepRefusal> {
        self.check_expanded()?;
        match self.context.failures {
            0 => Ok(()),
            failed => Err(StepRefusal::new(
                format!(
                    "{}: readers of the new attribute would not find a value there. `failures retry` works only \
                         while readers read the old attribute",
                    count(failed, "item has failed", "items have failed")
                ),
                Goal::Back { to: BackTarget::OldReads, now: false },
            )),
        }
    }

    /// Checks whether writers may stop writing the old attribute. Otherwise, the refusal suggests the command that
    /// opens this gate.
    pub(super) fn write_new_gate(&self, flag: &Flag) -> Result<(), StepRefusal> {
        self.check_every_item_has_new_value()?;
        match self.state.forced_reads {
            // The operator used `--force` to move readers while the gate was closed. After this step, readers no longer
            // fall back to old values, so the gate must now be open.
            Some(_) => self.gate(flag),
            None => self.check_mismatches(flag),
        }
    }

    /// Refuses if the last full verification, or a later sampled verification, found more mismatches than the plan
    /// accepts. Only a clean full verification ends this refusal. A clean sampled verification does not end it, because
    /// a sample can miss the items that differ.
    fn check_mismatches(&self, flag: &Flag) -> Result<(), StepRefusal> {
        let full = self.state.full.as_ref();
        let is_later = |report: &&ReportSummary| full.is_none_or(|full| report.span.began >= full.span.began);
        let sampled = self.state.sampled.as_ref().filter(is_later);
        let found = [full.zip(Some("the last verification of all items")), sampled.zip(Some("a sampled verification"))];
        match found.into_iter().flatten().find(|(report, _)| report.mismatches > self.context.limits.max_mismatch) {
            None => Ok(()),
            Some((report, _)) if full == Some(report) && report.repair => {
                let left = count(report.mismatches, "mismatch", "mismatches");
                let careful = self.careful_way(flag);
                Err(StepRefusal::new(format!("the last repair left {left}. {careful}"), "failures list"))
            }
            Some((report, which)) => Err(StepRefusal::new(
                format!("{which} found {}", count(report.mismatches, "mismatch", "mismatches")),
                REPAIR,
            )),
        }
    }

    /// Checks whether readers may move to the new attribute. Otherwise, the refusal lists every reason why the gate is
    /// closed, and suggests the command to run first.
    pub(super) fn gate(&self, flag: &Flag) -> Result<(), StepRefusal> {
        self.check_expanded()?;
        let mut closed = Vec::new();
        if self.context.failures > 0 {
            // While readers read the new attribute, no command copies old values, so `failures retry` cannot run.
            let next = match flag.read {
                ReadFrom::Old => self.next_for_failures(),
                ReadFrom::New => Goal::Back { to: BackTarget::OldReads, now: false }.into(),
            };
            closed.push(StepRefusal::new(count(self.context.failures, "item has failed", "items have failed"), next));
        }
        let mismatches = self.check_mismatches(flag);
        if self.context.diverged > 0 {
            let diverged = count(self.context.diverged, "item has diverged", "items have diverged");
            // The last repair could not fix these items, so a second repair would not fix them either.
            let repaired = self.state.full.as_ref().is_some_and(|report| report.repair);
            closed.push(match (repaired, &mismatches) {
                (false, _) => StepRefusal::new(diverged, REPAIR),
                // The refusal for the mismatches already contains these instructions.
                (true, Err(_)) => StepRefusal::new(diverged, "failures list"),
                (true, Ok(())) => StepRefusal::new(format!("{diverged}. {}", self.careful_way(flag)), "failures list"),
            });
        }
        closed.extend(mismatches.and_then(|()| self.check_verified(flag)).err());
        merge_refusals(closed)
    }

    /// Returns the next step that moves readers. With a flag, readers first move for a small percentage of the keys,
    /// then for all keys. Without a flag, readers can only move for all keys at once.
    pub(super) fn next_reader_step(&self, flag: &Flag) -> Goal {
        let is_first = self.context.kind == PlanKind::Flagged && flag.read == ReadFrom::Old;
        Goal::CutoverTo(CutoverTarget::ReadNew(if is_first { FIRST_PERCENT } else { 100 }))
    }

    /// Returns instructions for items that a repair could not fix. The operator must inspect these items first, and
    /// move forward only as the last resort.
    fn careful_way(&self, flag: &Flag) -> String {
        let force = self.next_with_force(flag);
        format!(
            "First look at these items: `failures list` gives the reason for each, and `explain --key` shows one item. \
             Correct the items or the plan, then run `verify --all` again. The last resort is {force}: readers of the \
             new attribute then find missing or wrong values in these items, and later steps may leave the items as they \
             are"
        )
    }

    /// Returns the step forward with `--force REASON`.
    fn next_with_force(&self, flag: &Flag) -> NextCommand {
        let goal = if flag.read_percent >= 100 {
            Goal::CutoverTo(CutoverTarget::WriteNew)
        } else if let Goal::CutoverTo(CutoverTarget::ReadNew(_)) = self.goal {
            self.goal
        } else {
            self.next_reader_step(flag)
        };
        self.with_fact_option(goal).with("--force REASON")
    }

    /// Refuses if the gate does not accept any of the recorded verifications.
    fn check_verified(&self, flag: &Flag) -> Result<(), StepRefusal> {
        let mut closed = None;
        for (scope, report) in self.gate_reports() {
            match self.check_report(report, flag) {
                Ok(()) => return self.check_items_compared(scope, report).and_then(|()| self.check_clock()),
                Err(why) => closed = Some(why),
            }
        }
        let why = match (closed, &self.state.sampled, self.state.discarded) {
            (Some(why), ..) => why,
            (None, Some(_), _) => "there is no full verification, and the plan does not contain `accept_sample = true`",
            (None, None, Some(discarded)) => discarded.text(),
            (None, None, None) => "nothing has been verified",
        };
        Err(StepRefusal::new(why, Goal::Verify { scope: VerifyScope::Full, repair: false }))
    }

    /// Refuses a verification that compared no item, because it proves nothing. Accepts it with the operator's
    /// confirmation if a strongly consistent pass also read no item.
    fn check_items_compared(&self, scope: VerifyScope, report: &ReportSummary) -> Result<(), StepRefusal> {
        let nothing = Obstacle::EmptyTable;
        match (report.compared, self.state.expanded_items) {
            (Some(0), Some(0)) if self.context.accept_empty || self.state.is_overridden(nothing) => Ok(()),
            (Some(0), Some(0)) => {
                let step = Goal::CutoverTo(CutoverTarget::ReadNew(100));
                let next = self.with_fact_option(step).with("--accept empty-table");
                Err(StepRefusal::new(
                    format!("{nothing}. If that is right, confirm it with `--accept empty-table`"),
                    next,
                ))
            }
            // A sample can contain no items even if the table has items.
            (Some(0), _) if scope == VerifyScope::Sampled => Err(StepRefusal::new(
                "the last sampled verification compared no item",
                Goal::Verify { scope: VerifyScope::Full, repair: false },
            )),
            (Some(0), read) => {
                let read = match read {
                    Some(items) => format!("the run read {}", count(items, "item", "items")),
                    None => "the run did not record how many items it read with strong consistency".to_owned(),
                };
                Err(StepRefusal::new(
                    format!(
                        "the last verification compared no item, and {read}. To find out whether the table is empty, run another pass"
                    ),
                    Goal::Run { again: true },
                ))
            }
            (_, _) => Ok(()),
        }
    }

    /// Checks whether the gate accepts this report. If not, the error contains the reason.
    fn check_report(&self, report: &ReportSummary, flag: &Flag) -> Result<(), &'static str> {
        let began = report.span.began;
        let super::ExpandStatus::Complete { ended } = self.state.expand else { return Err("expand is not complete") };
        if flag.dual_since.is_none() {
            return Err("new values are not written yet");
        }
        if report.plan != self.context.plan {
            Err("the last verification checked another plan")
        } else if report.mismatches > self.context.limits.max_mismatch {
            Err("the last verification found mismatches")
        } else if began < ended {
            Err("the last verification began before expand ended")
        } else if !began_in_dual_writes(began, report.span.flag_mark, flag, Timestamp::MAX) {
            Err("the last verification began before every writer wrote both attributes")
        } else if add_saturating(began, self.context.limits.max_age) < self.now {
            Err("the last verification is older than the plan's `max_age`")
        } else {
            Ok(())
        }
    }

    /// Refuses if this host's clock is behind the time of the last event in the history. In that case, the clock was
    /// set back, so the age of a report is unknown.
    fn check_clock(&self) -> Result<(), StepRefusal> {
        let now = self.now;
        let latest = self.state.latest;
        if now >= latest {
            return Ok(());
        }
        let goal = match (self.goal, self.flag_if_any()?) {
            (Goal::CutoverTo(_), _) | (_, None) => self.goal,
            (_, Some(flag)) => self.next_reader_step(flag),
        };
        Err(StepRefusal::new(
            format!(
                "the clock of this host says {now}, but the last line of the history is from {latest}. The clock was set \
                 back, so the age of the last verification is unknown. Set the clock right, or wait until then"
            ),
            goal,
        ))
    }

    fn already_past(&self, flag: &Flag) -> StepRefusal {
        StepRefusal::new(
            "the migration is already past that step (`backfill cutover --back` goes back)",
            self.next_forward(Some(flag)),
        )
    }
}

/// Joins these refusals into one refusal. It suggests the next command of the first of them.
fn merge_refusals(refused: impl IntoIterator<Item = StepRefusal>) -> Result<(), StepRefusal> {
    let all =
        refused.into_iter().reduce(|all, one| StepRefusal { why: format!("{}; and {}", all.why, one.why), ..all });
    all.map_or(Ok(()), Err)
}
