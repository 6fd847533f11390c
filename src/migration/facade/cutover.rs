//! The commands that move the cutover flag.

use std::path::Path;

use crate::change::BaselinePair;
use crate::clock::wall_clock;
use crate::cutover::{self, Flag};
use crate::machine::Machine;
use crate::migration::back::StepBack;
use crate::migration::hooks::start_hooks;
use crate::migration::session::BRIEFLY;
use crate::migration::target::MigrationTarget;
use crate::migration::{
    CommandRequest, CutoverDryRunOutcome, CutoverOutcome, CutoverStep, Migration, MigrationError, OperatorInput,
    StepOptions, preview, read,
};
use crate::playbook::{NextCommand, back_needs_state};
use crate::preflight::check_plan;
use crate::state;

/// The maximum number of items that a report lists. The report also contains the total number of items.
const MAX_LISTED: u32 = 1_000;

impl Migration {
    /// Moves the cutover flag one step forward or back. If this function returns no stop reason, every application
    /// obeys the reported flag.
    ///
    /// # Errors
    ///
    /// Fails with the same errors as [`Migration::run`]. A closed gate refuses a step forward. While applications write
    /// both attributes, a step back needs no gate and no lock. Before such a step ends dual writes, it asks the
    /// observer for confirmation if `Observer::asks_before_dual_writes_end` returns true.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn embed(migration: backfill::Migration) -> Result<(), backfill::MigrationError> {
    /// use backfill::{CutoverStep, StepOptions};
    ///
    /// let outcome = migration.cutover(CutoverStep::ReadNew(10), &StepOptions::default()).await?;
    /// println!("{:?}", outcome.flag().map(ToString::to_string));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn cutover(&self, step: CutoverStep, options: &StepOptions) -> Result<CutoverOutcome, MigrationError> {
        Box::pin(self.exporting(matches!(step, CutoverStep::Back { .. }), self.cutover_command(step, options))).await
    }

    async fn cutover_command(
        &self,
        step: CutoverStep,
        options: &StepOptions,
    ) -> Result<CutoverOutcome, MigrationError> {
        let (back, now) = match step {
            CutoverStep::Back { now } => (true, now),
            CutoverStep::DualWrite | CutoverStep::ReadNew(_) | CutoverStep::WriteNew => (false, false),
        };
        // Allow a step back in any phase, because applications obey the flag as soon as it exists.
        if back && let Some(moved) = self.step_back().await? {
            return Ok(CutoverOutcome { flag: Some(moved), unfinished: false, stopped: None });
        }
        let reason = now.then(|| "stale reads were accepted by --now".to_owned());
        let input = OperatorInput { reason, ..OperatorInput::from_step_options(&self.actor, options) };
        let target = match back {
            true => Box::pin(self.way_back_target()).await?,
            false => Box::pin(self.target(check_plan)).await?,
        };
        let question = if back { String::new() } else { question(&target, step).await? };
        let request = CommandRequest::new(step.goal(), &options.accept, question);
        let (session, ends, stopped) = Box::pin(self.carry_out(target, input, request)).await?;
        let unfinished = ends.iter().any(|end| end.unfinished);
        let flag = match session.driver.flag().await {
            Ok(flag) => flag,
            Err(error) => {
                // Release the lease despite this error, and then report the error.
                Box::pin(session.close_after_error()).await;
                return Err(error.into());
            }
        };
        session.close().await?;
        Ok(CutoverOutcome { flag, unfinished, stopped })
    }

    /// Moves the flag one step back, if the flag exists and the step does not need the state file. Returns `None` in
    /// all other cases.
    async fn step_back(&self) -> Result<Option<Flag>, MigrationError> {
        let (loaded, notice) = self.kept_plan().await;
        let plan = &loaded.plan;
        let Some(opened) = cutover::open(plan, wall_clock(), None).await? else { return Ok(None) };
        let Some((flag, _)) = read(opened.flag.as_ref(), plan).await? else { return Ok(None) };
        if back_needs_state(&flag) {
            // `way_back_target` sends the notice.
            return Ok(None);
        }
        notice.iter().for_each(|notice| self.observer.notice(notice));
        let back = StepBack {
            plan,
            commands: &self.commands,
            state: &self.state,
            actor: &self.actor,
            observer: self.observer.as_ref(),
            hooks: start_hooks(plan, &self.actor, &Machine::system()),
        };
        let moved = back.run(opened.flag.as_ref(), flag).await;
        Box::pin(back.hooks.drain(BRIEFLY, self.stop.stopped_by_operator())).await;
        Ok(Some(moved?))
    }

    /// Checks every precondition of a step forward, and counts the items that had only the new attribute before the
    /// migration. Changes nothing.
    ///
    /// # Errors
    ///
    /// Fails if the step would be refused, or if the table or the state file cannot be read.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn embed(migration: backfill::Migration) -> Result<(), backfill::MigrationError> {
    /// use backfill::{CutoverStep, StepOptions};
    ///
    /// let outcome = migration.cutover_dry_run(CutoverStep::WriteNew, &StepOptions::default()).await?;
    /// println!("it would be taken by: {}", outcome.next());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn cutover_dry_run(
        &self,
        step: CutoverStep,
        options: &StepOptions,
    ) -> Result<CutoverDryRunOutcome, MigrationError> {
        let target = Box::pin(self.target(check_plan)).await?;
        let MigrationTarget { plan, description, state, .. } = &target;
        let opened = target.open_flag().await?;
        let flags = opened.as_ref().map(|opened| opened.flag.as_ref());
        let input = OperatorInput::from_step_options(&self.actor, options);
        let goal = step.goal();
        let previewed = Box::pin(preview(state, plan, description, flags, &input, goal, wall_clock()())).await;
        if previewed.map_err(|error| MigrationError::from_driver(error, &self.commands))?.is_none() {
            return Err(unreadable(state));
        }
        let new_only_items = if state::is_absent(state).await {
            None
        } else {
            state::read(state)?.baseline_pairs(BaselinePair::NewAlone, MAX_LISTED).await?
        };
        Ok(CutoverDryRunOutcome { new_only_items, next: NextCommand::from(goal).render(&self.commands) })
    }
}

/// Returns the error for a state file that cannot be read.
fn unreadable(state: &Path) -> MigrationError {
    match state::read(state) {
        Err(error) => error.into(),
        Ok(_) => MigrationError::StateChanged(state.display().to_string()),
    }
}

/// Returns the question to ask before a step. The question shows the table, its account, and the flag before and after
/// the step.
async fn question(target: &MigrationTarget, step: CutoverStep) -> Result<String, MigrationError> {
    let MigrationTarget { plan, description, state, .. } = target;
    let from = match target.open_flag().await? {
        Some(opened) => match read(opened.flag.as_ref(), plan).await? {
            Some((flag, _)) => format!("the cutover flag from {flag}"),
            None => "the cutover flag (a new one)".to_owned(),
        },
        None => "readers and writers (no flag is configured)".to_owned(),
    };
    let to = match step {
        CutoverStep::DualWrite => "write = both: writers write both attributes".to_owned(),
        CutoverStep::ReadNew(percent) => {
            format!("read = new at {percent} %: readers of these keys read the new attribute")
        }
        CutoverStep::WriteNew => "write = new: writers write only the new attribute".to_owned(),
        // A step back does not ask this question.
        CutoverStep::Back { .. } => String::new(),
    };
    let name = &description.name;
    let account = description.account();
    Ok(format!(
        "Move {from} → {to}, for table {name} in account {account} (migration {}, state {}) now?",
        plan.name,
        state.display()
    ))
}
