//! The results of a migration's commands.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::target::MigrationTarget;
use super::{MigrationError, MigrationSnapshot};
use crate::cutover::Flag;
use crate::engine::{SegmentChoice, SessionResult, StopReason};
use crate::passes::verify::{VerificationResult, VerifyReport};
use crate::passes::{Prediction, RetryResult};
use crate::plan::Fingerprint;
use crate::preflight::{Acceptance, CheckReport, Estimate, Finding, FinishRequirements, SampleResult};
use crate::state::phase::EXPAND;
use crate::state::{AffectedItems, OpenWork, State, StateSummary};
use crate::telemetry::{DryRunReport, PaceRecord, RunReport, StoredBudgets, Subject, UnrestoredItems, Worker};

/// The result of [`super::Migration::check`].
pub struct CheckOutcome {
    pub(super) target: MigrationTarget,
    pub(super) segments: SegmentChoice,
    pub(super) estimate: Estimate,
    pub(super) finish: Option<FinishRequirements>,
    pub(super) findings: Vec<Finding>,
    pub(super) accepted: Vec<Acceptance>,
    pub(super) stopped: Option<StopReason>,
}

impl CheckOutcome {
    /// The findings, most severe first.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Whether `run` would be refused.
    pub fn refuses(&self) -> bool {
        self.report().refuses()
    }

    /// The reason why sampling stopped early; `None` if it did not. The estimate then comes from the table's
    /// description.
    pub fn stopped(&self) -> Option<&StopReason> {
        self.stopped.as_ref()
    }

    /// The report, for people and as JSON.
    pub fn report(&self) -> CheckReport<'_> {
        CheckReport {
            plan: &self.target.plan,
            plan_path: &self.target.path,
            commands: &self.target.commands,
            state_path: &self.target.state,
            table: &self.target.description,
            resolved: &self.target.resolved,
            segments: &self.segments,
            estimate: &self.estimate,
            finish: self.finish.as_ref(),
            findings: &self.findings,
            accepted: &self.accepted,
        }
    }
}

/// The result of [`super::Migration::dry_run`].
pub struct DryRunOutcome {
    pub(super) target: MigrationTarget,
    pub(super) found: Prediction,
    pub(super) estimate: Estimate,
    pub(super) sampled: Option<SampleResult>,
    pub(super) findings: Vec<Finding>,
    pub(super) accepted: Vec<Acceptance>,
    pub(super) stopped: Option<StopReason>,
    pub(super) pairs_unrecorded: bool,
    pub(super) next: String,
}

impl DryRunOutcome {
    /// The findings of the preflight, most severe first. A dry run continues whatever the preflight finds.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// The reason why the dry run stopped early; `None` if it did not. The figures then cover only part of the table.
    pub fn stopped(&self) -> Option<&StopReason> {
        self.stopped.as_ref()
    }

    /// The report, for people and as JSON.
    pub fn report(&self) -> DryRunReport<'_> {
        DryRunReport {
            subject: self.target.subject(),
            found: self.sampled.as_ref().map_or(&self.found, |sampled| &sampled.totals),
            estimate: &self.estimate,
            sampled: self.sampled.as_ref(),
            findings: &self.findings,
            accepted: &self.accepted,
            stopped: self.stopped.as_ref(),
            pairs_unrecorded: self.pairs_unrecorded,
            next: &self.next,
        }
    }
}

/// The result of [`super::Migration::run`].
pub struct RunOutcome {
    pub(super) target: MigrationTarget,
    pub(super) ended: Option<SessionResult>,
    pub(super) worked: bool,
    pub(super) stopped: Option<StopReason>,
}

impl RunOutcome {
    /// Whether this command did any work on the run. If it did none, the report describes the run that is recorded in
    /// the state file.
    pub fn worked(&self) -> bool {
        self.worked
    }

    /// The reason why the command stopped early; `None` if it did not. The same command resumes the work.
    pub fn stopped(&self) -> Option<&StopReason> {
        self.stopped.as_ref()
    }

    /// The number of open failures and open diverged items.
    pub fn open(&self) -> OpenWork {
        self.ended.as_ref().map(|ended| ended.open).unwrap_or_default()
    }

    /// The report, for people and as JSON; `None` if there is no run.
    pub fn report(&self) -> Option<RunReport<'_>> {
        let SessionResult { run, totals, spend, throttles, unusable_replies, open, .. } = self.ended.as_ref()?;
        let subject = self.target.subject();
        let stopped = self.stopped.as_ref();
        Some(RunReport { subject, run, totals, spend, throttles, unusable_replies, open: *open, stopped })
    }
}

/// The newest recorded expand run.
pub(super) async fn recorded_run(store: &State) -> Result<Option<SessionResult>, MigrationError> {
    let Some(run) = store.current_run(EXPAND).await? else { return Ok(None) };
    let totals = store.totals(run.id).await?;
    let open = store.open_work(Some(run.id)).await?;
    let spend = store.spend(run.id).await?;
    Ok(Some(SessionResult {
        run,
        totals,
        spend,
        throttles: Vec::new(),
        unusable_replies: BTreeMap::new(),
        open,
        stopped: None,
    }))
}

/// The result of [`super::Migration::verify`].
pub struct VerifyOutcome {
    pub(super) verified: Option<VerificationResult>,
    pub(super) stopped: Option<StopReason>,
}

impl VerifyOutcome {
    /// The report and its hash, if the verification completed and was recorded.
    pub fn report(&self) -> Option<&(VerifyReport, String)> {
        self.verified.as_ref()?.report.as_ref().filter(|_| self.stopped.is_none())
    }

    /// Whether the verification compared everything but could not record its result, so it proves nothing.
    pub fn unrecorded(&self) -> bool {
        self.stopped.is_some() && self.verified.as_ref().is_some_and(|verified| verified.report.is_some())
    }

    /// Whether this command ran a verification at all.
    pub fn worked(&self) -> bool {
        self.verified.is_some()
    }

    /// The reason why the command stopped early; `None` if it did not. The same command resumes the work.
    pub fn stopped(&self) -> Option<&StopReason> {
        self.stopped.as_ref()
    }
}

/// The result of [`super::Migration::cutover`].
pub struct CutoverOutcome {
    pub(super) flag: Option<Flag>,
    pub(super) stopped: Option<StopReason>,
}

impl CutoverOutcome {
    /// The current flag; `None` if the migration has no flag.
    pub fn flag(&self) -> Option<&Flag> {
        self.flag.as_ref()
    }

    /// The reason why the command stopped early; `None` if it did not. The same command resumes the work.
    pub fn stopped(&self) -> Option<&StopReason> {
        self.stopped.as_ref()
    }
}

/// The result of [`super::Migration::cutover_dry_run`].
pub struct CutoverDryRunOutcome {
    pub(super) new_only_items: Option<AffectedItems>,
    pub(super) next: String,
}

impl CutoverDryRunOutcome {
    /// The items that had only the new attribute before the migration. After the step, readers would see the values of
    /// these items for the first time. `None` if the state file did not record these items.
    pub fn new_only_items(&self) -> Option<&AffectedItems> {
        self.new_only_items.as_ref()
    }

    /// The command that would take the step.
    pub fn next(&self) -> &str {
        &self.next
    }
}

/// One pass of a [`PassOutcome`].
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub struct PassSummary {
    /// The result of the session in which the pass ended.
    pub ended: SessionResult,
    /// Number of values that the run overwrote or removed and that the journal contains.
    pub journaled: u64,
    /// The items that the pass did not restore exactly.
    pub not_as_before: Option<UnrestoredItems>,
}

/// The result of [`super::Migration::contract`] and [`super::Migration::rollback`].
pub struct PassOutcome {
    pub(super) target: MigrationTarget,
    pub(super) passes: Vec<PassSummary>,
    pub(super) unfinished: bool,
    pub(super) stopped: Option<StopReason>,
}

impl PassOutcome {
    /// The passes in which this command did work, in order.
    pub fn passes(&self) -> &[PassSummary] {
        &self.passes
    }

    /// Whether items failed. If so, the same command has to make a further pass.
    pub fn unfinished(&self) -> bool {
        self.unfinished
    }

    /// The reason why the command stopped early; `None` if it did not. The same command resumes the work.
    pub fn stopped(&self) -> Option<&StopReason> {
        self.stopped.as_ref()
    }

    /// The report of one of the passes, for people and as JSON.
    pub fn report<'a>(&'a self, pass: &'a PassSummary) -> RunReport<'a> {
        let subject = Subject { advice: false, ..self.target.subject() };
        let SessionResult { run, totals, spend, throttles, unusable_replies, open, stopped } = &pass.ended;
        RunReport { subject, run, totals, spend, throttles, unusable_replies, open: *open, stopped: stopped.as_ref() }
    }
}

/// The result of [`super::Migration::retry_failures`].
pub struct RetryOutcome {
    pub(super) retried: RetryResult,
    pub(super) open: OpenWork,
    pub(super) stopped: Option<StopReason>,
}

impl RetryOutcome {
    /// The outcomes of the retried failures.
    pub fn retried(&self) -> &RetryResult {
        &self.retried
    }

    /// The number of open failures and open diverged items.
    pub fn open(&self) -> OpenWork {
        self.open
    }

    /// The reason why the retry stopped early; `None` if it did not. These outcomes do not include failures that were
    /// not retried.
    pub fn stopped(&self) -> Option<&StopReason> {
        self.stopped.as_ref()
    }
}

/// The result of [`super::Migration::status`].
pub struct StatusOutcome {
    pub(super) summary: StateSummary,
    pub(super) fingerprint: Fingerprint,
    pub(super) snapshot: MigrationSnapshot,
    pub(super) budgets: Option<StoredBudgets>,
    pub(super) pace: Option<PaceRecord>,
    pub(super) suspended: bool,
    pub(super) now: Timestamp,
}

impl StatusOutcome {
    /// The process that currently works on the migration, if any.
    pub fn worker(&self) -> Option<Worker<'_>> {
        let holder = self.summary.holder.as_ref()?;
        Some(Worker::new(holder, self.pace.clone(), self.suspended, self.now))
    }

    /// The runs recorded in the state file.
    pub fn summary(&self) -> &StateSummary {
        &self.summary
    }

    /// The fingerprint of the current plan.
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    /// Whether the state file belongs to the current plan.
    pub fn matches_plan(&self) -> bool {
        self.summary.identity.fingerprint == self.fingerprint.as_str()
    }

    /// The current stage of the migration, and the next command.
    pub fn snapshot(&self) -> &MigrationSnapshot {
        &self.snapshot
    }

    /// The budgets of the newest run, if it recorded them.
    pub fn budgets(&self) -> Option<&StoredBudgets> {
        self.budgets.as_ref()
    }
}
