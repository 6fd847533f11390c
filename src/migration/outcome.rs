//! The results of a migration's commands.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::target::MigrationTarget;
use super::{MigrationError, MigrationSnapshot, MissingDualWrites};
use crate::cutover::Flag;
use crate::engine::{SegmentChoice, SessionResult, StopReason};
use crate::passes::verify::{VerificationResult, VerifyReport};
use crate::passes::{Prediction, RetryResult, deletes};
use crate::plan::{Fingerprint, Plan};
use crate::playbook::MigrationStatus;
use crate::preflight::{Acceptance, CheckReport, Estimate, FactLookup, Finding, FinishRequirements, SampleResult};
use crate::state::phase::EXPAND;
use crate::state::{AffectedItems, OpenWork, State, StateSummary};
use crate::stats::{StatsReport, TableStats};
use crate::steering::Settings;
use crate::telemetry::{
    ActivityClocks, DryRunReport, PaceRecord, RunReport, StoredBudgets, Subject, UnrestoredItems, Worker,
};

/// The result of [`super::Migration::check`].
pub struct CheckOutcome {
    pub(super) target: MigrationTarget,
    pub(super) segments: SegmentChoice,
    pub(super) estimate: Estimate,
    pub(super) finish: Option<FinishRequirements>,
    pub(super) sampled: Option<SampleResult>,
    pub(super) findings: Vec<Finding>,
    pub(super) accepted: Vec<Acceptance>,
    pub(super) stopped: Option<StopReason>,
    pub(super) begun: Option<MigrationStatus>,
}

impl CheckOutcome {
    /// Returns the findings, most severe first.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Returns whether `run` would be refused.
    pub fn refuses(&self) -> bool {
        self.report().refuses()
    }

    /// Returns the reason why sampling stopped early, or `None` if it completed. If it stopped early, the estimate
    /// comes from the table's description.
    pub fn stopped(&self) -> Option<&StopReason> {
        self.stopped.as_ref()
    }

    /// Returns the report, for people and as JSON.
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
            sampled: self.sampled.as_ref().filter(|sampled| sampled.complete).map(|sampled| &sampled.totals),
            findings: &self.findings,
            accepted: &self.accepted,
            begun: self.begun.as_ref(),
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
    pub(super) leaves_out_old_from_new: bool,
    pub(super) ignores_limits: bool,
    pub(super) plan_may_change: bool,
    pub(super) next: Option<String>,
    pub(super) not_before: Option<Timestamp>,
}

impl DryRunOutcome {
    /// Returns the preflight's findings, most severe first. A dry run continues even if a finding would block a run.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Returns whether the operator may still change the plan, because no migration has begun with it.
    pub fn plan_may_change(&self) -> bool {
        self.plan_may_change
    }

    /// Returns the reason why the dry run stopped early, or `None` if it completed. If it stopped early, the figures
    /// cover only a part of the table.
    pub fn stopped(&self) -> Option<&StopReason> {
        self.stopped.as_ref()
    }

    /// Returns the report, for people and as JSON.
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
            leaves_out_old_from_new: self.leaves_out_old_from_new,
            ignores_limits: self.ignores_limits,
            next: self.next.as_deref(),
            not_before: self.not_before,
        }
    }
}

/// The result of [`super::Migration::stats`].
pub struct StatsOutcome {
    pub(super) target: MigrationTarget,
    pub(super) stats: TableStats,
    pub(super) time_to_live: FactLookup<Option<String>>,
    pub(super) stopped: Option<StopReason>,
}

impl StatsOutcome {
    /// Returns the reason why the sample stopped early, or `None` if it completed. If it stopped early, the figures
    /// describe only the items that were read.
    pub fn stopped(&self) -> Option<&StopReason> {
        self.stopped.as_ref()
    }

    /// Returns the report, for people and as JSON.
    pub fn report(&self) -> StatsReport<'_> {
        StatsReport {
            table: &self.target.description,
            stats: &self.stats,
            time_to_live: &self.time_to_live,
            stopped: self.stopped.as_ref(),
        }
    }
}

/// The result of [`super::Migration::run`].
pub struct RunOutcome {
    pub(super) target: MigrationTarget,
    pub(super) ended: Option<SessionResult>,
    pub(super) clocks: ActivityClocks,
    pub(super) worked: bool,
    pub(super) stopped: Option<StopReason>,
    pub(super) missing_dual_writes: Option<MissingDualWrites>,
}

impl RunOutcome {
    /// Returns whether this command did any work on the run. If it did not, the report describes the run in the state
    /// file.
    pub fn worked(&self) -> bool {
        self.worked
    }

    /// Returns the reason why the command stopped early, or `None` if it completed. A rerun resumes the work.
    pub fn stopped(&self) -> Option<&StopReason> {
        self.stopped.as_ref()
    }

    /// Returns the number of open failures and open diverged items.
    pub fn open(&self) -> OpenWork {
        self.ended.as_ref().map(|ended| ended.open).unwrap_or_default()
    }

    /// Returns the report, for people and as JSON. Returns `None` if there is no run.
    pub fn report(&self) -> Option<RunReport<'_>> {
        let SessionResult { run, totals, spend, throttles, unusable_replies, open, deletes, .. } =
            self.ended.as_ref()?;
        let subject = self.target.subject();
        let stopped = self.stopped.as_ref();
        let clocks = &self.clocks;
        let (open, deletes) = (*open, *deletes);
        let dual_writes_off = self.missing_dual_writes == Some(MissingDualWrites::Off);
        Some(RunReport {
            subject,
            run,
            totals,
            spend,
            clocks,
            throttles,
            unusable_replies,
            open,
            deletes,
            dual_writes_off,
            stopped,
        })
    }
}

/// Returns the newest recorded expand run.
pub(super) async fn recorded_run(store: &State, plan: &Plan) -> Result<Option<SessionResult>, MigrationError> {
    let Some(run) = store.current_run(EXPAND).await? else { return Ok(None) };
    let totals = store.totals(run.id).await?;
    let open = store.open_work(Some(run.id)).await?;
    let spend = store.spend(run.id).await?;
    Ok(Some(SessionResult {
        deletes: deletes(store, plan, &run).await?,
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
    /// Returns the report and its hash, if the verification completed and was recorded.
    pub fn report(&self) -> Option<&(VerifyReport, String)> {
        self.verified.as_ref()?.report.as_ref().filter(|_| self.stopped.is_none())
    }

    /// Returns whether the verification compared everything but its result could not be recorded. Such a verification
    /// proves nothing.
    pub fn unrecorded(&self) -> bool {
        self.stopped.is_some() && self.verified.as_ref().is_some_and(|verified| verified.report.is_some())
    }

    /// Returns whether this command ran a verification.
    pub fn worked(&self) -> bool {
        self.verified.is_some()
    }

    /// Returns the reason why the command stopped early, or `None` if it completed. A rerun resumes the work.
    pub fn stopped(&self) -> Option<&StopReason> {
        self.stopped.as_ref()
    }
}

/// The result of [`super::Migration::cutover`].
pub struct CutoverOutcome {
    pub(super) flag: Option<Flag>,
    pub(super) unfinished: bool,
    pub(super) stopped: Option<StopReason>,
}

impl CutoverOutcome {
    /// Returns whether the step is incomplete because items failed in a pass that it needs. A rerun of the command
    /// retries these items.
    pub fn unfinished(&self) -> bool {
        self.unfinished
    }

    /// Returns the current flag, or `None` if the migration has no flag.
    pub fn flag(&self) -> Option<&Flag> {
        self.flag.as_ref()
    }

    /// Returns the reason why the command stopped early, or `None` if it completed. A rerun resumes the work.
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
    /// Returns the items that had only the new attribute before the migration. After the step, readers would see the
    /// values of these items for the first time. Returns `None` if the state file did not record these items.
    pub fn new_only_items(&self) -> Option<&AffectedItems> {
        self.new_only_items.as_ref()
    }

    /// Returns the command that would carry out the step.
    pub fn next(&self) -> &str {
        &self.next
    }
}

/// One pass of a [`PassOutcome`].
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub struct PassSummary {
    /// The result of the pass's last session.
    pub ended: SessionResult,
    /// The time that the run spent in each activity, over all its sessions.
    pub clocks: ActivityClocks,
    /// The number of values that the run overwrote or removed after it had recorded them in the journal.
    pub journaled: u64,
    /// The items that the pass did not restore exactly.
    pub not_as_before: Option<UnrestoredItems>,
    /// The items with a value that `verify --repair` replaced and the rollback did not restore. An application may have
    /// written that value. The journal keeps it.
    pub repaired_over: AffectedItems,
    /// The derived items that a rollback deleted without receiving the reply. If another writer changed such an item
    /// immediately before its delete, that change is lost.
    pub reply_lost: AffectedItems,
}

/// The result of [`super::Migration::contract`] and [`super::Migration::rollback`].
pub struct PassOutcome {
    pub(super) target: MigrationTarget,
    pub(super) passes: Vec<PassSummary>,
    pub(super) unfinished: bool,
    pub(super) stopped: Option<StopReason>,
}

impl PassOutcome {
    /// Returns the passes in which this command did work, in order.
    pub fn passes(&self) -> &[PassSummary] {
        &self.passes
    }

    /// Returns whether the plan puts derived items.
    pub fn puts_items(&self) -> bool {
        self.target.plan.puts_items()
    }

    /// Returns whether items failed. If so, run the same command again for a further pass.
    pub fn unfinished(&self) -> bool {
        self.unfinished
    }

    /// Returns the reason why the command stopped early, or `None` if it completed. A rerun resumes the work.
    pub fn stopped(&self) -> Option<&StopReason> {
        self.stopped.as_ref()
    }

    /// Returns the report of a pass, for people and as JSON.
    pub fn report<'a>(&'a self, pass: &'a PassSummary) -> RunReport<'a> {
        let subject = Subject { advice: false, ..self.target.subject() };
        let SessionResult { run, totals, spend, throttles, unusable_replies, open, stopped, .. } = &pass.ended;
        let clocks = &pass.clocks;
        let stopped = stopped.as_ref();
        // Only `run` deletes items.
        let deletes = None;
        let open = *open;
        let dual_writes_off = false;
        RunReport {
            subject,
            run,
            totals,
            spend,
            clocks,
            throttles,
            unusable_replies,
            open,
            deletes,
            dual_writes_off,
            stopped,
        }
    }
}

/// The result of [`super::Migration::retry_failures`].
pub struct RetryOutcome {
    pub(super) retried: RetryResult,
    pub(super) open: OpenWork,
    pub(super) stopped: Option<StopReason>,
}

impl RetryOutcome {
    /// Returns the outcomes of the retried failures.
    pub fn retried(&self) -> &RetryResult {
        &self.retried
    }

    /// Returns the number of open failures and open diverged items.
    pub fn open(&self) -> OpenWork {
        self.open
    }

    /// Returns the reason why the retry stopped early, or `None` if it completed. If it stopped early, the outcomes
    /// cover only the failures that were retried.
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
    pub(super) steering: Settings,
    pub(super) journal_purged: Option<String>,
    pub(super) suspended: bool,
    pub(super) now: Timestamp,
}

impl StatusOutcome {
    /// Returns the process that currently works on the migration, or `None` if there is no such process.
    pub fn worker(&self) -> Option<Worker<'_>> {
        let holder = self.summary.holder.as_ref()?;
        Some(Worker::new(holder, self.pace.clone(), self.suspended, self.now))
    }

    /// Returns the settings that operators have set with `ctl`.
    pub fn steering(&self) -> &Settings {
        &self.steering
    }

    /// Returns the time at which the operator purged the journal, or `None` if the journal was not purged. After a
    /// purge, no rollback is possible.
    pub fn journal_purged(&self) -> Option<&str> {
        self.journal_purged.as_deref()
    }

    /// Returns the runs recorded in the state file.
    pub fn summary(&self) -> &StateSummary {
        &self.summary
    }

    /// Returns the fingerprint of the current plan.
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    /// Returns whether the state file belongs to the current plan.
    pub fn matches_plan(&self) -> bool {
        self.summary.identity.fingerprint == self.fingerprint.as_str()
    }

    /// Returns the current stage of the migration, and the next command.
    pub fn snapshot(&self) -> &MigrationSnapshot {
        &self.snapshot
    }

    /// Returns the budgets of the newest run, if it recorded them.
    pub fn budgets(&self) -> Option<&StoredBudgets> {
        self.budgets.as_ref()
    }
}
