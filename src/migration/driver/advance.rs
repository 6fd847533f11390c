//! Carries out the playbook's next step.

use super::Driver;
use crate::cutover::Flag;
use crate::migration::history::{backup_phases, has_not_computable_in, limits};
use crate::migration::{DriverError, Notice, Wait};
use crate::playbook::{Goal, Phase, Step, StepContext, StepRefusal, no_way_back, one_way, step};
use crate::state::phase::EXPAND;
use crate::state::{OpenWork, StoreError, StoredFact};
/// The result of one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Advance {
    /// The caller must run the preflight first, and then call [`Driver::accept`].
    Preflight,
    /// The operator must confirm the command first. The caller then calls [`Driver::confirm`].
    Confirm,
    /// The table must be backed up before this phase. The caller must call [`Driver::back_up`].
    Backup(Phase),
    /// An event was added to the history.
    Recorded,
    /// The flag was changed to this state.
    Changed(Box<Flag>),
    /// For this time, it is possible that applications still obey the flag's previous state. The caller must call
    /// [`Driver::wait`].
    Wait(Wait),
    /// A pass of this phase must run. The caller must call [`Driver::run_pass`].
    RunPass(Phase),
    /// The command has reached its goal.
    Done,
}

impl Driver {
    /// Carries out the next step towards this goal. If the caller must act first, returns the required action instead.
    pub async fn advance(&mut self, goal: Goal) -> Result<Advance, DriverError> {
        let is_way_back = matches!(goal, Goal::Back { .. } | Goal::Rollback);
        // A pause from before the command must not block a rollback or a step back, so end the pause. A pause that an
        // operator sets later is obeyed.
        if is_way_back && !self.is_way_back && self.steerer.clear_for_way_back(&self.input.actor).await? {
            self.observer.notice(&Notice::Steering(
                "resumed  the earlier pause ended, because no pause may block a rollback or a step back",
            ));
        }
        self.is_way_back = is_way_back;
        let observed = self.observe_flag().await?;
        let flag = observed.as_ref().map(|(flag, _)| flag.clone());
        let missing_flag = if flag.is_none() { Some(self.last_known_flag().await?) } else { None };
        let OpenWork { failures, diverged } = self.store.open_work_of_phase(EXPAND).await?;
        let not_computable = failures > 0 && has_not_computable_in(&self.store, EXPAND).await?;
        let unrestorable_targets = self.store.unrestorable_targets().await?;
        let purged_at = self.store.fact(StoredFact::JournalPurged).await?;
        let no_way_back = no_way_back(self.plan.deletion(), purged_at.as_deref());
        let one_way = one_way(&self.plan.changes, &self.description.key);
        let fingerprint = self.plan.fingerprint();
        let context = StepContext {
            kind: self.kind(),
            plan: fingerprint.as_str(),
            flag: flag.as_ref(),
            left: self.tracker.left(),
            failures,
            not_computable,
            unfinished: 0,
            diverged,
            limits: limits(&self.plan),
            backup: backup_phases(&self.plan),
            deletes_items: self.plan.deletes_items(),
            unrestorable_targets,
            one_way: one_way.as_deref(),
            no_way_back: no_way_back.as_deref(),
            puts_items: self.plan.puts_items(),
            purged_at: purged_at.as_deref(),
            accept_no_way_back: self.input.accept_no_way_back,
            facts: &self.input.facts,
            force: self.input.force.as_deref(),
            accept_empty: self.input.accept_empty,
            confirmed: self.confirmed,
            completed: &self.completed,
            first: self.first,
            missing_flag: missing_flag.as_ref(),
        };
        let next = step(&self.state, &context, goal, (self.clock)())?;
        if self.expects_done && next != Step::Done {
            return Err(StepRefusal::state_changed(goal).into());
        }
        if let Some((flag, meta)) = &observed {
            self.store_flag_record(flag, meta).await?;
        }
        match next {
            Step::Preflight => Ok(Advance::Preflight),
            Step::Confirm => Ok(Advance::Confirm),
            Step::Backup(phase) => Ok(Advance::Backup(phase)),
            Step::Wait(left) => {
                let wait = Wait::new(left, flag.as_ref(), (self.clock)());
                Ok(Advance::Wait(wait.before_goal(goal, flag.as_ref())))
            }
            Step::RunPass(phase) => Ok(Advance::RunPass(phase)),
            Step::Done => Ok(Advance::Done),
            Step::Record(body) => {
                self.record(body).await?;
                Ok(Advance::Recorded)
            }
            Step::Change(change) => {
                let Some((flags, flag)) = self.flags.as_ref().zip(flag) else {
                    return Err(StoreError::Corrupt("the playbook changes a flag that does not exist".into()).into());
                };
                let next = flag.next(change, (self.clock)(), self.tracker.left())?;
                let meta = self.meta();
                let stored = flags.change(Some(&flag), &next, &meta).await?;
                self.record_flag_change(&stored, &meta).await?;
                Ok(Advance::Changed(Box::new(stored)))
            }
            Step::RecreateFlag(flag) => {
                let Some(flags) = &self.flags else {
                    return Err(
                        StoreError::Corrupt("the playbook creates a flag that the plan does not name".into()).into()
                    );
                };
                let meta = self.meta();
                let stored = flags.change(None, &flag, &meta).await?;
                self.record_flag_change(&stored, &meta).await?;
                Ok(Advance::Changed(Box::new(stored)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;
    use crate::clock::wall_clock;
    use crate::dynamodb::memory::{FaultPlan, MemoryTable};
    use crate::dynamodb::{TableDescription, Tables};
    use crate::migration::{DriverSetup, OperatorInput};
    use crate::plan::load;
    use crate::ratelimit::resolve;
    use crate::state::in_memory;

    const PLAN: &str = "[migration]\nname = \"m\"\n[table]\nname = \"shop\"\n[[change]]\nmove = \"a\"\nto = \"b\"\n";

    /// The preview found nothing to do, so the hook `before_step` did not run.
    #[tokio::test]
    async fn a_command_that_was_not_asked_takes_no_step() {
        let plan = load("p", PLAN).unwrap_or_else(|errors| panic!("{errors}")).plan;
        let description = TableDescription::for_tests();
        let table = MemoryTable::new(description.clone(), (Duration::ZERO, Duration::ZERO), FaultPlan::NONE, 1);
        let setup = DriverSetup {
            budgets: resolve(&plan.capacity, &description).unwrap().budgets,
            plan,
            tables: Tables::one(Arc::new(table.connect(1))),
            description,
            described_at: Instant::now(),
        };
        let input = OperatorInput::default();
        let mut driver = Driver::open(setup, in_memory(), None, wall_clock(), input).await.unwrap();
        driver.accept(Vec::new()).await.unwrap();
        let events = driver.store.events().await.unwrap().len();
        driver.expect_done();
        let error = driver.advance(Goal::Run { again: false }).await.unwrap_err().to_string();
        assert!(error.contains("the state has changed since") && error.contains("Nothing was done"), "{error}");
        assert_eq!(driver.store.events().await.unwrap().len(), events);
        driver.expects_done = false;
        assert!(driver.advance(Goal::Run { again: false }).await.is_ok());
    }
}
