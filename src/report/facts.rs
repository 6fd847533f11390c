//! The facts of a report, as the state file records them.

use jiff::Timestamp;

use super::cleanup::is_over;
use super::{CleanupEntry, RunEntry, StepEntry, VerificationEntry};
use crate::clock::to_text;
use crate::command_line::CommandLine;
use crate::migration::{DriverError, FlagRecord, MigrationSnapshot, is_suspended, parse_event, snapshot};
use crate::plan::Plan;
use crate::playbook::{MigrationStage, Override, PlanKind};
use crate::state::{
    DivergedGroup, FailureGroup, Identity, MigrationRecord, RecordLimits, StateReader, StateSummary, StoredFact,
    WorkGroups,
};
use crate::steering::Settings;
use crate::telemetry::{PaceRecord, Worker};

/// The number of cells in a heat map of segments.
const CELLS: u32 = 480;

/// The maximum number of verifications in a report. The newest are shown.
const REPORTS: u32 = 50;

/// The maximum number of groups of failures and of diverged items in a report. The largest are shown.
const GROUPS: u32 = 50;

/// The maximum number of keys in a group.
const KEYS: u32 = 25;

/// The maximum number of attempts to read the facts. An attempt is repeated if a process appends an event meanwhile.
const ATTEMPTS: u32 = 10;

/// What a report needs in addition to the state file.
#[derive(Debug, Clone, Copy)]
pub struct ReportSource<'a> {
    /// The current plan.
    pub plan: &'a Plan,
    /// The command line of this migration.
    pub commands: &'a CommandLine,
    /// The current time.
    pub now: Timestamp,
    /// Whether the report shows item keys.
    pub show_keys: bool,
}

/// The facts of a migration, from the state file and the plan file.
#[derive(Debug, Clone)]
pub struct MigrationReport {
    /// The time at which the report was made.
    pub at: Timestamp,
    /// Whether the report shows item keys.
    pub show_keys: bool,
    /// The identity of the plan and of the table, from the state file.
    pub identity: Identity,
    /// The data that `status` shows.
    pub summary: StateSummary,
    /// Number of derived items that the journal records; `None` if the plan puts no derived items.
    pub derived_items: Option<u64>,
    /// The fingerprint of the current plan.
    pub fingerprint: String,
    /// The stage of the migration.
    pub stage: MigrationStage,
    /// Whether the migration ends at `verify`, because the plan has no cutover.
    pub ends_at_verify: bool,
    /// The state of the flag when a command last read it, and the time at which a command first read this state.
    pub flag: Option<FlagRecord>,
    /// What the process is doing, its rate and its ETA; empty if no process works on the migration.
    pub live: Vec<String>,
    /// The next command; `None` if a process works on the migration, or if the migration is over.
    pub next: Option<String>,
    /// The time before which the next command is refused.
    pub not_before: Option<Timestamp>,
    /// The overrides that apply.
    pub overrides: Vec<Override>,
    /// The steps, oldest first.
    pub steps: Vec<StepEntry>,
    /// The runs, oldest first.
    pub runs: Vec<RunEntry>,
    /// The failures, grouped by reason.
    pub failures: WorkGroups<FailureGroup>,
    /// The diverged items, grouped by paths.
    pub diverged: WorkGroups<DivergedGroup>,
    /// The verifications, newest first.
    pub verifications: Vec<VerificationEntry>,
    /// What can be removed after the migration.
    pub cleanup: Vec<CleanupEntry>,
}

impl MigrationReport {
    /// Reads the facts. All facts describe the same moment.
    ///
    /// # Errors
    ///
    /// Fails if the state file cannot be read. Changes nothing.
    pub async fn gather(file: &dyn StateReader, source: ReportSource<'_>) -> Result<MigrationReport, DriverError> {
        let keys = if source.show_keys { KEYS } else { 0 };
        let derived_items = source.plan.puts_items();
        let limits = RecordLimits { cells: CELLS, reports: REPORTS, groups: GROUPS, keys, derived_items };
        let mut attempt = 1;
        loop {
            let record = file.migration(limits).await?;
            let status = snapshot(file, &record.summary, source.plan, source.now, None).await?;
            // The stage comes from a second transaction. If a process appended an event in between, read both again.
            if attempt == ATTEMPTS || file.events().await?.len() == record.events.len() {
                let live = live_lines(file, &record.summary, source.now).await;
                return Ok(MigrationReport { live, ..MigrationReport::new(record, status, source)? });
            }
            attempt += 1;
        }
    }

    fn new(
        record: MigrationRecord,
        snapshot: MigrationSnapshot,
        source: ReportSource<'_>,
    ) -> Result<MigrationReport, DriverError> {
        let events = record.events.iter().map(|event| parse_event(&event.event));
        let events = events.collect::<Result<Vec<_>, _>>()?;
        let steering = record.fact(StoredFact::Steering).and_then(Settings::from_text).unwrap_or_default();
        let steps = StepEntry::all(&events, &steering.record);
        let idle = record.summary.holder.is_none();
        let next = snapshot.status.next.as_ref().filter(|_| idle).map(|next| next.render(source.commands));
        Ok(MigrationReport {
            at: source.now,
            show_keys: source.show_keys,
            identity: record.summary.identity.clone(),
            fingerprint: source.plan.fingerprint().to_string(),
            ends_at_verify: ends_at_verify(source.plan),
            stage: snapshot.status.stage,
            flag: snapshot.flag_record,
            live: Vec::new(),
            next,
            not_before: snapshot.status.not_before,
            overrides: snapshot.state.overrides,
            steps,
            runs: RunEntry::all(&record, &source.plan.limits),
            failures: record.failures,
            diverged: record.diverged,
            verifications: record.reports.iter().map(VerificationEntry::new).collect(),
            cleanup: CleanupEntry::all(
                source.plan,
                snapshot.status.stage == MigrationStage::RolledBack,
                record.summary.pre_images,
            ),
            derived_items: record.derived_items,
            summary: record.summary,
        })
    }

    /// Returns whether the plan file has kept its meaning since the migration began.
    pub fn same_plan(&self) -> bool {
        self.identity.fingerprint == self.fingerprint
    }

    /// Returns the account of the table; `None` if its ARN contains no account, as on a local engine.
    pub fn account(&self) -> Option<&str> {
        self.arn_part(4)
    }

    /// Returns the region of the table; `None` if its ARN contains no region.
    pub fn region(&self) -> Option<&str> {
        self.arn_part(3)
    }

    fn arn_part(&self, at: usize) -> Option<&str> {
        self.identity.table_arn.split(':').nth(at).filter(|part| !part.is_empty())
    }

    /// Returns whether there is a command to run next.
    pub fn has_next_command(&self) -> bool {
        self.next.is_some()
    }

    /// Describes the next step in one sentence.
    pub fn next_text(&self) -> String {
        match (&self.next, self.not_before, &self.summary.holder) {
            (Some(command), Some(until), _) => format!("not before {}: {command}", to_text(until)),
            (Some(command), None, _) => command.clone(),
            (None, _, Some(holder)) => format!("wait until this process ends: {holder}"),
            (None, _, None) if self.stage == MigrationStage::Verify => "nothing; the migration is complete".to_owned(),
            (None, _, None) => "nothing. The migration is over. Keep the state file as its record".to_owned(),
        }
    }

    /// Returns what the process of the migration is doing.
    pub fn process_text(&self) -> String {
        let died = self.summary.current.as_ref().is_some_and(|current| current.died);
        match &self.summary.holder {
            Some(holder) => format!("working when this report was made: {holder}"),
            None if died => "the process of the newest run died; the next step resumes it".to_owned(),
            None => "no process".to_owned(),
        }
    }

    /// Returns the stage in one sentence.
    pub fn stage_text(&self) -> &'static str {
        match self.stage {
            MigrationStage::Preflight => "Not begun",
            MigrationStage::Expand if self.ends_at_verify => "Changing items",
            MigrationStage::Expand => "Writing new values",
            MigrationStage::Verify if self.is_over() => "Complete",
            MigrationStage::Verify if self.ends_at_verify => "Values written; not complete",
            MigrationStage::Verify => "New values written; not cut over",
            MigrationStage::Cutover => "Cutting over",
            MigrationStage::Soak => "Cut over; soaking",
            MigrationStage::Contract => "Removing old values",
            MigrationStage::Contracted => "Complete",
            MigrationStage::Rollback => "Rolling back",
            MigrationStage::RolledBack => "Rolled back",
        }
    }

    /// Returns whether the migration is over, so that everything in `cleanup` can be removed.
    pub fn is_over(&self) -> bool {
        is_over(self.stage, self.next.is_some() || self.summary.holder.is_some())
    }
}

fn ends_at_verify(plan: &Plan) -> bool {
    match PlanKind::new(plan.strategy, &plan.changes, plan.cutover.flag.is_some()) {
        PlanKind::InPlace | PlanKind::SetOnly => true,
        PlanKind::Flagged | PlanKind::Stated | PlanKind::RemoveOnly => false,
    }
}

/// Returns the newest records of the process that works on the migration.
async fn live_lines(file: &dyn StateReader, summary: &StateSummary, now: Timestamp) -> Vec<String> {
    let Some(holder) = &summary.holder else { return Vec::new() };
    let pace = PaceRecord::from_file(file, Some(holder)).await;
    let worker = Worker::new(holder, pace, is_suspended(holder), now);
    let mut lines = Vec::new();
    // A write to memory cannot fail.
    worker.write(&mut lines).unwrap_or_default();
    String::from_utf8_lossy(&lines).lines().map(|line| line.trim().to_owned()).collect()
}
