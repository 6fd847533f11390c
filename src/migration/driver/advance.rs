//! Carries out the steps of the playbook, one at a time.

use super::Driver;
use crate::cutover::Flag;
use crate::migration::begun::limits;
use crate::migration::{DriverError, Wait};
use crate::playbook::{Goal, Phase, Step, World, one_way, step};
use crate::state::phase::EXPAND;
use crate::state::{OpenWork, StoreError};
/// The result of one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Advance {
    /// The table must be inspected first: call [`Driver::accept`].
    Preflight,
    /// The operator must confirm first: call [`Driver::confirm`].
    Confirm,
    /// An event was added to the history.
    Recorded,
    /// The flag was changed to this state.
    Changed(Box<Flag>),
    /// For this duration, applications may still obey the flag's previous value: call [`Driver::wait`].
    Wait(Wait),
    /// A pass of this phase must run: call [`Driver::sweep`].
    Sweep(Phase),
    /// The command has reached its goal.
    Done,
}

impl Driver {
    /// Takes the next step towards this goal, or returns what the caller must do first.
    pub async fn advance(&mut self, goal: Goal) -> Result<Advance, DriverError> {
        self.goes_back = matches!(goal, Goal::Back { .. } | Goal::Rollback);
        let seen = self.look().await?;
        let flag = seen.as_ref().map(|(flag, _)| flag.clone());
        let gone = if flag.is_none() { Some(self.last_seen().await?) } else { None };
        let OpenWork { failures, diverged } = self.store.open_work_of(EXPAND).await?;
        let no_way_back = self.store.no_way_back().await?;
        let one_way = one_way(&self.plan.changes, &self.description.key);
        let fingerprint = self.plan.fingerprint();
        let world = World {
            kind: self.kind(),
            plan: fingerprint.as_str(),
            flag: flag.as_ref(),
            left: self.watched.left(),
            failures,
            unfinished: 0,
            diverged,
            limits: limits(&self.plan),
            no_way_back,
            one_way: one_way.as_deref(),
            facts: &self.input.facts,
            force: self.input.force.as_deref(),
            accept_empty: self.input.accept_empty,
            confirmed: self.confirmed,
            swept: &self.swept,
            first: self.first,
            gone: gone.as_ref(),
        };
        let next = step(&self.state, &world, goal, (self.clock)())?;
        if let Some((flag, meta)) = &seen {
            self.keep_seen(flag, meta).await?;
        }
        match next {
            Step::Preflight => Ok(Advance::Preflight),
            Step::Confirm => Ok(Advance::Confirm),
            Step::Wait(left) => Ok(Advance::Wait(Wait::of(left, flag.as_ref(), (self.clock)()))),
            Step::Sweep(phase) => Ok(Advance::Sweep(phase)),
            Step::Done => Ok(Advance::Done),
            Step::Record(what) => {
                self.record(what).await?;
                Ok(Advance::Recorded)
            }
            Step::Change(change) => {
                let Some((flags, flag)) = self.flags.as_ref().zip(flag) else {
                    return Err(StoreError::Corrupt("a flag that does not exist was to be changed".into()).into());
                };
                let next = flag.next(change, (self.clock)(), self.watched.left())?;
                let meta = self.meta();
                let kept = flags.change(Some(&flag), &next, &meta).await?;
                self.made(&kept, &meta).await?;
                Ok(Advance::Changed(Box::new(kept)))
            }
            Step::Renew(flag) => {
                let Some(flags) = &self.flags else {
                    return Err(
                        StoreError::Corrupt("a flag that the plan does not name was to be created".into()).into()
                    );
                };
                let meta = self.meta();
                let kept = flags.change(None, &flag, &meta).await?;
                self.made(&kept, &meta).await?;
                Ok(Advance::Changed(Box::new(kept)))
            }
        }
    }
}
