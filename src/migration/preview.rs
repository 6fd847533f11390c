//! Previews a command before it opens and locks the state file. A preview takes no lock, and creates and changes
//! nothing.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;

use super::history::{backup_phases, has_not_computable, limits, migration_kind, other_flag, parse_event, read};
use super::status::FlagRecord;
use super::{DriverError, MissingDualWrites, OperatorInput};
use crate::cutover::{Flag, FlagStore};
use crate::dynamodb::TableDescription;
use crate::plan::Plan;
use crate::playbook::{
    BackTarget, Goal, MigrationState, PlanKind, Rehearsal, StepContext, no_way_back, one_way, rehearse,
};
use crate::state::phase::EXPAND;
use crate::state::{self, Identity, OpenWork, StoredFact};

/// The preview of a command. It contains the steps that the command would carry out before its first step that does
/// lasting work, provided that the state file and the flag do not change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preview {
    /// The goal of the command. For `cutover --back`, the goal contains the stage to which the flag would return.
    pub goal: Goal,
    /// The steps before the first step that does lasting work.
    pub rehearsal: Rehearsal,
    /// The reason why a run must be repeated later. `None` if writers write both attributes, or if the plan has no dual
    /// writes.
    pub missing_dual_writes: Option<MissingDualWrites>,
}

/// The records of a state file that a preview needs. The file is opened read-only.
#[derive(Default)]
struct RecordedMigration {
    state: MigrationState,
    flag_record: Option<FlagRecord>,
    open: OpenWork,
    /// Whether an open failure is a not-computable item.
    not_computable: bool,
    unrestorable_targets: Option<u64>,
    /// The time at which the operator purged the journal.
    purged_at: Option<String>,
}

/// Simulates a command up to its first step that does lasting work. Refuses a state file that belongs to another plan
/// or table. Returns `None` if the state file cannot be read. The command then reports the error when it opens the file
/// for writing.
pub async fn preview(
    path: &Path,
    plan: &Plan,
    table: &TableDescription,
    flags: Option<&dyn FlagStore>,
    input: &OperatorInput,
    goal: Goal,
    now: Timestamp,
) -> Result<Option<Preview>, DriverError> {
    let Some(recorded) = RecordedMigration::load(path, plan, table).await? else { return Ok(None) };
    let kind = migration_kind(plan, &recorded.state);
    let flag = match flags.filter(|_| kind == PlanKind::Flagged) {
        Some(flags) => read(flags, plan).await?.map(|(flag, _)| flag),
        None => None,
    };
    let left = match (&flag, flags) {
        (Some(flag), Some(flags)) => {
            let mut tracker =
                recorded.flag_record.as_ref().map(|flag_record| flag_record.tracker(flag)).unwrap_or_default();
            tracker.observe(flag, flags.propagation_delay())
        }
        _ => Duration::ZERO,
    };
    let missing_flag = recorded
        .flag_record
        .map(|flag_record| flag_record.flag)
        .unwrap_or_else(|| Flag::new(plan.cutover.max_cache_seconds, now));
    let goal = match goal {
        Goal::Back { now: accept_stale, .. } => {
            let current = if kind == PlanKind::Flagged { flag.as_ref() } else { recorded.state.stated_flag.as_ref() };
            Goal::Back {
                to: current.map_or(BackTarget::OldWrites, |flag| BackTarget::new(flag, now, left)),
                now: accept_stale,
            }
        }
        Goal::Run { .. }
        | Goal::FailuresRetry
        | Goal::Verify { .. }
        | Goal::CutoverTo(_)
        | Goal::Contract
        | Goal::Rollback => goal,
    };
    let fingerprint = plan.fingerprint();
    let no_way_back = no_way_back(plan.deletion(), recorded.purged_at.as_deref());
    let one_way = one_way(&plan.changes, &table.key);
    let context = StepContext {
        kind,
        plan: fingerprint.as_str(),
        flag: flag.as_ref(),
        left,
        failures: recorded.open.failures,
        not_computable: recorded.not_computable,
        unfinished: 0,
        diverged: recorded.open.diverged,
        limits: limits(plan),
        backup: backup_phases(plan),
        deletes_items: plan.deletes_items(),
        unrestorable_targets: recorded.unrestorable_targets,
        one_way: one_way.as_deref(),
        no_way_back: no_way_back.as_deref(),
        puts_items: plan.puts_items(),
        purged_at: recorded.purged_at.as_deref(),
        accept_no_way_back: input.accept_no_way_back,
        facts: &input.facts,
        force: input.force.as_deref(),
        accept_empty: input.accept_empty,
        confirmed: false,
        completed: &[],
        first: flag.as_ref().map(|flag| flag.version),
        missing_flag: Some(&missing_flag).filter(|_| flag.is_none()),
    };
    let missing_dual_writes = MissingDualWrites::find(kind, flag.as_ref().or(recorded.state.stated_flag.as_ref()));
    Ok(Some(Preview { goal, rehearsal: rehearse(&recorded.state, &context, goal, now)?, missing_dual_writes }))
}

impl RecordedMigration {
    async fn load(
        path: &Path,
        plan: &Plan,
        table: &TableDescription,
    ) -> Result<Option<RecordedMigration>, DriverError> {
        if state::is_absent(path).await {
            return Ok(Some(RecordedMigration::default()));
        }
        let Ok(file) = state::read(path) else { return Ok(None) };
        let begun = file.has_begun().await?;
        let ours = Identity::from_plan(plan, table);
        file.check_identity(&ours).await?;
        if !file.identity().await?.matches(&ours) {
            // This file does not contain a migration yet, so the command can use it for this plan.
            return Ok(Some(RecordedMigration::default()));
        }
        let mut state = MigrationState::default();
        for record in file.events().await? {
            state = state.next(&parse_event(&record.event)?)?;
        }
        let other = other_flag(file.fact(StoredFact::FlagLocation).await?, plan);
        let kind_differs = state.kind().is_some_and(|before| before != migration_kind(plan, &state));
        if !begun && (other.is_some() || kind_differs) {
            return Ok(Some(RecordedMigration::default()));
        }
        if let Some(other) = other {
            return Err(other);
        }
        let flag_record =
            file.fact(StoredFact::LastFlag).await?.map(|text| FlagRecord::from_text(&text)).transpose()?;
        let open = file.open_work_of_phase(EXPAND).await?;
        let not_computable = open.failures > 0 && has_not_computable(file.as_ref()).await?;
        let unrestorable_targets = file.unrestorable_targets().await?;
        let purged_at = file.fact(StoredFact::JournalPurged).await?;
        Ok(Some(RecordedMigration { state, flag_record, open, not_computable, unrestorable_targets, purged_at }))
    }
}
