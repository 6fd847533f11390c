//! The loop over the playbook's steps that all commands share.

use super::order::header;
use super::{Advance, Begins, MigrationError, Notice, Order, PassEnd, PassResult, Session};
use crate::engine::StopReason;
use crate::playbook::{Goal, Phase};

impl Session {
    /// Takes the playbook's steps until the goal is reached or the session is stopped. Returns the passes that ran, and
    /// the reason if the session was stopped. Each step is durable before the next one begins.
    ///
    /// # Errors
    ///
    /// Fails if a step fails, is refused, or is not confirmed.
    pub async fn pursue(&mut self, mut order: Order) -> Result<(Vec<PassEnd>, Option<StopReason>), MigrationError> {
        let mut passes = Vec::new();
        let mut asked = order.confirmed;
        if asked {
            self.driver.confirm();
        }
        loop {
            // Do not begin a step after a stop was requested or the lease was lost.
            if self.driver.stop.is_stopping() {
                return Ok((passes, self.driver.stop.reason().cloned()));
            }
            match self.advance(order.goal).await? {
                Advance::Done => return Ok((passes, None)),
                Advance::Recorded => {}
                Advance::Confirm => {
                    if let Some(stopped) = self.ask(&order).await? {
                        return Ok((passes, Some(stopped)));
                    }
                    self.driver.confirm();
                    asked = true;
                }
                Advance::Changed(flag) => self.observer.notice(&Notice::FlagChanged(&flag)),
                Advance::Wait(wait) => {
                    self.observer.notice(&Notice::Waiting(&wait));
                    if !self.driver.wait(wait.left).await {
                        return Ok((passes, self.driver.stop.reason().cloned()));
                    }
                }
                Advance::Preflight => self.accept_preflight(&order).await?,
                Advance::Sweep(phase) => {
                    self.announce(phase, &order, asked).await?;
                    let end = self.driver.sweep(phase, std::mem::take(&mut order.restart)).await?;
                    if !matches!(order.goal, Goal::Verify { .. }) {
                        self.tell_mismatches(&end);
                    }
                    let stopped = end.stopped.clone();
                    let unfinished = end.unfinished;
                    passes.push(end);
                    if stopped.is_some() || unfinished {
                        return Ok((passes, stopped));
                    }
                }
            }
        }
    }

    /// Takes the next step.
    ///
    /// # Errors
    ///
    /// Fails if the playbook refuses the step. The refusal suggests the command to run instead.
    pub async fn advance(&mut self, goal: Goal) -> Result<Advance, MigrationError> {
        self.driver.advance(goal).await.map_err(|error| MigrationError::of_driver(error, &self.target.commands))
    }

    /// Asks the order's question. Before a repair, this may first compare the table. If that comparison is stopped,
    /// returns the stop reason.
    async fn ask(&mut self, order: &Order) -> Result<Option<StopReason>, MigrationError> {
        if let Goal::Verify { scope, repair: true } = order.goal {
            return self.ask_for_repair(scope, order).await;
        }
        order.ask(&self.target, self.observer.as_ref())?;
        Ok(None)
    }

    /// Announces the pass that is about to begin. Asks for confirmation of a new run, unless the operator has already
    /// confirmed it.
    async fn announce(&self, phase: Phase, order: &Order, asked: bool) -> Result<(), MigrationError> {
        let observer = self.observer.as_ref();
        if phase != Phase::Expand {
            observer.notice(&Notice::PassBegins(phase));
            if matches!(order.goal, Goal::Back { .. } | Goal::Rollback) {
                observer.notice(&Notice::LimitsLifted(&self.target.plan.limits.named()));
            }
            return Ok(());
        }
        match self.driver.begins(phase).await? {
            Begins::Resumes(run) if !order.restart => header(&self.target, Some(&run), observer),
            Begins::Ended(_) if !order.restart => {}
            Begins::New | Begins::Resumes(_) | Begins::Ended(_) if asked => {}
            Begins::New | Begins::Resumes(_) | Begins::Ended(_) => order.ask(&self.target, observer)?,
        }
        Ok(())
    }

    /// Records the findings that the operator accepted. Runs the preflight before that, unless the preflight ran before
    /// the state file was created.
    async fn accept_preflight(&mut self, order: &Order) -> Result<(), MigrationError> {
        let accepted = match &order.held {
            Some(accepted) => accepted.clone(),
            None => order.preflight(&self.target, self.observer.as_ref()).await?,
        };
        Ok(self.driver.accept(accepted).await?)
    }

    /// Shows the mismatches that a verification found in the middle of a command. The refusal that follows gives only
    /// their number.
    fn tell_mismatches(&self, end: &PassEnd) {
        let Some(PassResult::Verified(verified)) = &end.result else { return };
        if let Some((report, _)) = verified.report.as_ref().filter(|(report, _)| report.mismatches > 0) {
            self.observer.notice(&Notice::Mismatches(report));
        }
    }
}
