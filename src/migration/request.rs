//! A command's request to the playbook. This module also contains the checks and questions that come before the state
//! file is opened and locked. Because of this order, a refused command creates and changes nothing.

use super::target::MigrationTarget;
use super::{
    DriverError, ItemsRead, MigrationError, MissingDualWrites, Notice, Observer, OperatorInput, Preview, Question,
    job_for_phase, preview, run_preflight,
};
use crate::clock::wall_clock;
use crate::command_line::CommandLine;
use crate::cutover::FlagStore;
use crate::playbook::{Goal, NextCommand, Phase};
use crate::preflight::Acceptance;
use crate::ratelimit::ResolvedBudgets;
use crate::state::RunRecord;

/// A command's request to the playbook.
#[derive(Debug, Clone)]
pub struct CommandRequest {
    /// The goal to reach.
    pub goal: Goal,
    /// The question to ask before the first step that changes anything.
    pub question: String,
    /// Findings that the operator accepts.
    pub accept: Vec<Acceptance>,
    /// The findings that the operator accepted, if the preflight has already run. `None` before the preflight.
    pub accepted_findings: Option<Vec<String>>,
    /// Whether the question has already been answered.
    pub confirmed: bool,
    /// Whether the expand pass starts from the beginning instead of resuming.
    pub restart: bool,
    /// The reason why a run must be repeated later. `None` if writers write both attributes.
    pub missing_dual_writes: Option<MissingDualWrites>,
}

impl CommandRequest {
    /// Creates a request with this goal.
    pub fn new(goal: Goal, accept: &[Acceptance], question: impl Into<String>) -> CommandRequest {
        let question = question.into();
        let accept = accept.to_vec();
        CommandRequest {
            goal,
            question,
            accept,
            accepted_findings: None,
            confirmed: false,
            restart: false,
            missing_dual_writes: None,
        }
    }

    /// Checks every precondition of the command's first durable step. If that step needs a preflight or a confirmation,
    /// runs the preflight or asks for the confirmation. Returns whether the command has anything to do.
    pub(super) async fn prepare(
        &mut self,
        target: &MigrationTarget,
        flags: Option<&dyn FlagStore>,
        input: &OperatorInput,
        observer: &dyn Observer,
    ) -> Result<bool, MigrationError> {
        let MigrationTarget { commands, state, plan, description, .. } = target;
        let previewed = preview(state, plan, description, flags, input, self.goal, wall_clock()()).await;
        let previewed = previewed.map_err(|error| self.refused(error, commands))?;
        let Some(Preview { goal, rehearsal, missing_dual_writes }) = previewed else {
            return Ok(true);
        };
        self.goal = goal;
        if matches!(goal, Goal::Run { .. }) {
            self.missing_dual_writes = missing_dual_writes;
        }
        if rehearsal.preflight && self.accepted_findings.is_none() {
            self.accepted_findings = Some(self.preflight(target, input, observer).await?);
        }
        // The question before a repair includes a preview, which needs the open state file. So ask this question later.
        let asks_later = matches!(self.goal, Goal::Verify { repair: true, .. });
        match (rehearsal.confirm, asks_later) {
            (true, true) if !observer.can_confirm() => return Err(MigrationError::CannotConfirm),
            (true, false) => {
                self.ask(target, None, observer)?;
                self.confirmed = true;
            }
            (true, true) | (false, _) => {}
        }
        Ok(!rehearsal.is_done)
    }

    /// Asks for confirmation before the first step that changes anything. For a run, first shows the run header with
    /// the table, the budgets and the limits. `steered` contains the budgets if an operator has set a rate.
    pub(super) fn ask(
        &self,
        target: &MigrationTarget,
        steered: Option<&ResolvedBudgets>,
        observer: &dyn Observer,
    ) -> Result<(), MigrationError> {
        if matches!(self.goal, Goal::Run { .. }) {
            self.header(target, steered, None, observer);
        }
        // A question must not delay a step back, so a step back needs no confirmation here.
        if matches!(self.goal, Goal::Back { .. }) {
            return Ok(());
        }
        if !observer.can_confirm() {
            return Err(MigrationError::CannotConfirm);
        }
        let notice = self.missing_dual_writes.map_or("", MissingDualWrites::notice);
        let question = format!("{notice}{}", self.question);
        match observer.confirm(&Question { text: &question }) {
            super::Answer::Yes => Ok(()),
            super::Answer::No => Err(MigrationError::NotConfirmed),
        }
    }

    /// Converts the error of a step of this request. The next command of a refusal repeats the operator's accepted
    /// findings.
    pub(super) fn refused(&self, error: DriverError, commands: &CommandLine) -> MigrationError {
        MigrationError::from_driver(error.with_accepted(self.goal, &self.accept), commands)
    }

    /// Runs the preflight and returns the findings that the operator accepted.
    pub(super) async fn preflight(
        &self,
        target: &MigrationTarget,
        input: &OperatorInput,
        observer: &dyn Observer,
    ) -> Result<Vec<String>, MigrationError> {
        let phase = if self.goal == Goal::Contract { Phase::Contract } else { Phase::Expand };
        let MigrationTarget { plan, tables, description, resolved, .. } = target;
        let job = job_for_phase(phase, plan, tables, description, &resolved.budgets)?;
        let report = run_preflight(target, &job, ItemsRead::Nothing, self.accept.clone()).await;
        let words = NextCommand::from(self.goal).with_stated(&input.facts, input.force.is_some());
        let removes = if input.repair_remove { " --repair-remove" } else { "" };
        report.check_findings(&format!("{}{removes}", words.as_str()), &target.commands)?;
        report.notify(observer);
        Ok(report.accepted_names())
    }

    /// Sends the observer the header of a run: the table, the budgets, the limits, whether the run begins or resumes,
    /// and whether it must be repeated. `steered` contains the budgets if an operator has set a rate.
    pub(super) fn header(
        &self,
        target: &MigrationTarget,
        steered: Option<&ResolvedBudgets>,
        resumed: Option<&RunRecord>,
        observer: &dyn Observer,
    ) {
        let budgets = steered.unwrap_or(&target.resolved);
        let mut text = target.subject().header(budgets, resumed);
        if let Some(missing) = self.missing_dual_writes {
            text.push('\n');
            text += &missing.warning(&target.commands);
        }
        observer.notice(&Notice::RunHeader(&text));
    }
}
