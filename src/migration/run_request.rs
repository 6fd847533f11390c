//! The loop that all commands share. It carries out the playbook's steps in sequence.

use super::{Advance, CommandRequest, MigrationError, Notice, PassEnd, PassResult, PassStart, Session};
use crate::engine::StopReason;
use crate::playbook::{Goal, Phase};

impl Session {
    /// Carries out the playbook's steps until the goal is reached or the session is stopped. Returns the passes that
    /// ran. If the session was stopped, also returns the stop reason. Each step is durable before the next step begins.
    ///
    /// # Errors
    ///
    /// Fails if a step fails, is refused or is not confirmed.
    pub async fn run_request(
        &mut self,
        mut request: CommandRequest,
    ) -> Result<(Vec<PassEnd>, Option<StopReason>), MigrationError> {
        let mut passes = Vec::new();
        // If there is nothing to do, announce nothing.
        let mut has_worked = false;
        let mut confirmed = request.confirmed;
        if confirmed {
            self.driver.confirm();
        }
        loop {
            // Do not begin a step after a stop was requested or the lease was lost.
            if self.driver.stop.is_stopping() {
                return Ok((passes, self.driver.stop.reason().cloned()));
            }
            let advance = self.driver.advance(request.goal).await;
            match advance.map_err(|error| request.refused(error, &self.target.commands))? {
                Advance::Done => {
                    self.is_step_due = has_worked;
                    return Ok((passes, None));
                }
                Advance::Recorded => has_worked = true,
                Advance::Confirm => {
                    if let Some(stopped) = self.ask(&request).await? {
                        return Ok((passes, Some(stopped)));
                    }
                    self.driver.confirm();
                    confirmed = true;
                }
                Advance::Backup(phase) => {
                    if let Some(stopped) = self.back_up(phase, &request).await? {
                        return Ok((passes, Some(stopped)));
                    }
                    has_worked = true;
                }
                Advance::Changed(flag) => {
                    has_worked = true;
                    self.observer.notice(&Notice::FlagChanged(&flag));
                }
                Advance::Wait(wait) => {
                    self.observer.notice(&Notice::Waiting(&wait));
                    if !self.driver.wait(wait.left).await {
                        return Ok((passes, self.driver.stop.reason().cloned()));
                    }
                }
                Advance::Preflight => self.accept_preflight(&request).await?,
                Advance::RunPass(phase) => {
                    self.announce(phase, &request, confirmed).await?;
                    let end = self.driver.run_pass(phase, std::mem::take(&mut request.restart)).await?;
                    if !matches!(request.goal, Goal::Verify { .. }) {
                        self.notify_mismatches(&end);
                    }
                    let stopped = end.stopped.clone();
                    let unfinished = end.unfinished;
                    passes.push(end);
                    has_worked = true;
                    if stopped.is_some() || unfinished {
                        self.is_step_due = stopped.is_none();
                        return Ok((passes, stopped));
                    }
                }
            }
        }
    }

    /// Makes the backup that is due before a phase. If the session is stopped during the backup, returns the stop
    /// reason.
    async fn back_up(&mut self, phase: Phase, request: &CommandRequest) -> Result<Option<StopReason>, MigrationError> {
        let made = Box::pin(self.driver.back_up(phase, request.goal)).await;
        made.map_err(|error| request.refused(error, &self.target.commands))
    }

    /// Asks the request's question. Before a repair, compares the table first if necessary. If that comparison is
    /// stopped, returns the stop reason.
    async fn ask(&mut self, request: &CommandRequest) -> Result<Option<StopReason>, MigrationError> {
        if let Goal::Verify { scope, repair: true } = request.goal {
            return self.ask_for_repair(scope, request).await;
        }
        let steered = self.driver.steered_budgets().await;
        request.ask(&self.target, steered.as_ref(), self.observer.as_ref())?;
        Ok(None)
    }

    /// Announces the pass that is about to begin. Asks for confirmation if the pass begins a new expand run that the
    /// operator has not yet confirmed.
    async fn announce(&self, phase: Phase, request: &CommandRequest, confirmed: bool) -> Result<(), MigrationError> {
        let observer = self.observer.as_ref();
        if phase != Phase::Expand {
            observer.notice(&Notice::PassBegins(phase));
            if matches!(request.goal, Goal::Back { .. } | Goal::Rollback) {
                observer.notice(&Notice::LimitsLifted(&self.target.plan.limits.limit_names()));
            }
            return Ok(());
        }
        let steered = self.driver.steered_budgets().await;
        let steered = steered.as_ref();
        match self.driver.pass_start(phase).await? {
            PassStart::Resumes(run) if !request.restart => request.header(&self.target, steered, Some(&run), observer),
            PassStart::Ended(_) if !request.restart => {}
            PassStart::New | PassStart::Resumes(_) | PassStart::Ended(_) if confirmed => {}
            PassStart::New | PassStart::Resumes(_) | PassStart::Ended(_) => {
                request.ask(&self.target, steered, observer)?
            }
        }
        Ok(())
    }

    /// Records the findings that the operator accepted. If the preflight did not run before the state file was created,
    /// runs it first.
    async fn accept_preflight(&mut self, request: &CommandRequest) -> Result<(), MigrationError> {
        let accepted = match &request.accepted_findings {
            Some(accepted) => accepted.clone(),
            None => request.preflight(&self.target, &self.driver.input, self.observer.as_ref()).await?,
        };
        Ok(self.driver.accept(accepted).await?)
    }

    /// Shows the mismatches of a verification that ran as part of another command. The refusal that follows contains
    /// only the number of mismatches.
    fn notify_mismatches(&self, end: &PassEnd) {
        let Some(PassResult::Verified(verified)) = &end.result else { return };
        if let Some((report, _)) = verified.report.as_ref().filter(|(report, _)| report.mismatches > 0) {
            self.observer.notice(&Notice::Mismatches(report));
        }
    }
}
